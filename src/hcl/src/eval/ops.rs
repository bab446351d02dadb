//! Operators.

use imgbuild_model::Diagnostic;

use super::{Evaluation, Scope};
use crate::syntax::ast::{Node, Operand, Operator};
use crate::syntax::{ExprRef, Span};
use crate::value::{Number, NumberError, Type, Value, convert};

impl Evaluation {
    pub(super) fn binary(
        &mut self,
        expr: ExprRef<'_>,
        first: &Node,
        rest: &[Operand],
        scope: &Scope<'_>,
    ) -> Value {
        let (mut left, mut errors) = self.apart(|this| this.value(expr.at(first), scope));
        let mut left_span = first.span;
        for operand in rest {
            let span = first.span.to(operand.node.span);
            (left, errors) = match operand.operator {
                Operator::And | Operator::Or => {
                    self.apart(|this| this.logical(expr, (left, left_span, errors), operand, scope))
                }
                _ => self.apart(|this| {
                    this.extend(errors);
                    let right = this.value(expr.at(&operand.node), scope);
                    this.operation(expr, (left, left_span), operand, right, span)
                }),
            };
            left_span = span;
        }
        self.extend(errors);
        left
    }

    fn operand(
        &mut self,
        expr: ExprRef<'_>,
        span: Span,
        value: &Value,
        ty: &Type,
        side: &str,
    ) -> Option<Value> {
        let wrong = |message: String| expr.source.error(span, message);
        if value.is_null() {
            self.fail(wrong(format!("the {side} is null")));
            return None;
        }
        match convert(value, ty) {
            Ok(value) => Some(value),
            Err(_) => {
                let text =
                    format!("the {side} must be a {}, but is {}", ty.name(), value.ty().article_name());
                let text = match value.as_str() {
                    Some(_) if !value.is_marked() => {
                        format!("the {side} must be a {}, and this text is none", ty.name())
                    }
                    _ => text,
                };
                self.fail(wrong(text));
                None
            }
        }
    }

    /// `&&` and `||`. What is decided by one side does not depend on the other, nor on whether the other can be
    /// evaluated; a null is as good as false until it is decisive.
    fn logical(
        &mut self,
        expr: ExprRef<'_>,
        (left, left_span, left_errors): (Value, Span, Vec<Diagnostic>),
        operand: &Operand,
        scope: &Scope<'_>,
    ) -> Value {
        let decides = operand.operator == Operator::Or;
        let right_span = operand.node.span;
        let (right, right_errors) = self.apart(|this| this.value(expr.at(&operand.node), scope));
        // What is wrong decides nothing.
        let left = if left_errors.is_empty() { left } else { Value::dynamic() };
        let right = if right_errors.is_empty() { right } else { Value::dynamic() };
        let marked = |value: Value| value.with_marks_of([&left, &right]);
        let left_bool = self.truth(expr, left_span, &left, "left operand");
        let right_bool = self.truth(expr, right_span, &right, "right operand");
        let (Some(left_bool), Some(right_bool)) = (left_bool, right_bool) else {
            self.extend(left_errors);
            self.extend(right_errors);
            return marked(Value::unknown(Type::Bool));
        };
        if left_bool == Some(decides) || right_bool == Some(decides) {
            return marked(Value::bool(decides));
        }
        if left_bool.is_none() && left_errors.is_empty() {
            return marked(Value::unknown(Type::Bool));
        }
        self.extend(left_errors);
        self.extend(right_errors);
        if left_bool.is_none() || right_bool.is_none() {
            return marked(Value::unknown(Type::Bool));
        }
        for (value, span, side) in [(&left, left_span, "left"), (&right, right_span, "right")] {
            if value.is_null() {
                return self.fail(expr.source.error(span, format!("the {side} operand is null")));
            }
        }
        marked(Value::bool(!decides))
    }

    /// A truth value, or that it is unknown; `None` if it is wrong.
    fn truth(&mut self, expr: ExprRef<'_>, span: Span, value: &Value, side: &str) -> Option<Option<bool>> {
        if value.is_null() && convert(value, &Type::Bool).is_ok() {
            return Some(Some(false));
        }
        self.operand(expr, span, value, &Type::Bool, side).map(|value| value.as_bool())
    }

    fn operation(
        &mut self,
        expr: ExprRef<'_>,
        (left, left_span): (Value, Span),
        operand: &Operand,
        right: Value,
        span: Span,
    ) -> Value {
        let operator = operand.operator;
        if matches!(operator, Operator::Equal | Operator::NotEqual) {
            self.steps.count_walk(&left);
            self.steps.count_walk(&right);
        }
        match operator {
            Operator::Equal => return left.equals(&right),
            Operator::NotEqual => return negated(left.equals(&right)),
            _ => {}
        }
        let left = self.operand(expr, left_span, &left, &Type::Number, "left operand");
        let right = self.operand(expr, operand.node.span, &right, &Type::Number, "right operand");
        let ty = if is_comparison(operator) { Type::Bool } else { Type::Number };
        let (Some(left), Some(right)) = (left, right) else { return Value::unknown(ty) };
        let value = match (left.as_number(), right.as_number()) {
            (Some(a), Some(b)) => match numbers(operator, a, b) {
                Ok(value) => value,
                Err(error) => return self.fail(expr.source.error(span, error.to_string())),
            },
            _ => Value::unknown(ty),
        };
        value.with_marks_of([&left, &right])
    }

    pub(super) fn not(&mut self, inner: ExprRef<'_>, scope: &Scope<'_>) -> Value {
        let value = self.value(inner, scope);
        match self.operand(inner, inner.node.span, &value, &Type::Bool, "operand of `!`") {
            Some(value) => negated(value),
            None => Value::unknown(Type::Bool),
        }
    }

    pub(super) fn negate(&mut self, inner: ExprRef<'_>, scope: &Scope<'_>) -> Value {
        let value = self.value(inner, scope);
        match self.operand(inner, inner.node.span, &value, &Type::Number, "operand of `-`") {
            Some(value) => match value.as_number() {
                Some(number) => Value::number(number.neg()).with_marks_of([&value]),
                None => value,
            },
            None => Value::unknown(Type::Number),
        }
    }
}

fn negated(value: Value) -> Value {
    match value.as_bool() {
        Some(flag) => Value::bool(!flag).with_marks_of([&value]),
        None => value,
    }
}

fn is_comparison(operator: Operator) -> bool {
    matches!(operator, Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual)
}

fn numbers(operator: Operator, a: &Number, b: &Number) -> Result<Value, NumberError> {
    Ok(match operator {
        Operator::Less => Value::bool(a < b),
        Operator::LessEqual => Value::bool(a <= b),
        Operator::Greater => Value::bool(a > b),
        Operator::GreaterEqual => Value::bool(a >= b),
        Operator::Add => Value::number(a.add(b)?),
        Operator::Subtract => Value::number(a.sub(b)?),
        Operator::Multiply => Value::number(a.mul(b)?),
        Operator::Divide => Value::number(a.div(b)?),
        Operator::Modulo => Value::number(a.rem(b)?),
        Operator::And | Operator::Or | Operator::Equal | Operator::NotEqual => Value::dynamic(),
    })
}
