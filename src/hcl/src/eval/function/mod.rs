//! Functions: their parameters, and how a call goes.
//!
//! A function declares what it takes; the rest is done here. Arguments are converted to the types of the parameters. A
//! null is refused, an unknown makes the result unknown, and marks are taken off and put on the result, unless the
//! parameter says that the function sees to it.
//!
//! ```
//! use imgbuild_hcl::eval::{CallError, Function, Parameter};
//! use imgbuild_hcl::value::{Type, Value};
//!
//! let repeat = Function::new("Repeats a text.")
//!     .parameter(Parameter::new("text", Type::String))
//!     .parameter(Parameter::new("count", Type::Number))
//!     .returns(Type::String)
//!     .runs(|arguments| {
//!         let count = arguments.usize(1)?;
//!         Ok(Value::string(arguments.str(0).repeat(count)))
//!     });
//! # let _ = repeat;
//! ```

mod call;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use imgbuild_model::{Diagnostic, Diagnostics};

use super::{Scope, Steps};
use crate::syntax::ast::Call;
use crate::syntax::{ExprRef, Expression};
use crate::value::{Marks, Number, Type, Value, convert};

/// A parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    name: &'static str,
    ty: Type,
    null: bool,
    unknown: bool,
    wholly_known: bool,
    dynamic: bool,
    marked: bool,
}

/// A function.
#[derive(Clone)]
pub struct Function {
    description: &'static str,
    parameters: Vec<Parameter>,
    variadic: Option<Parameter>,
    returns: TypeOf,
    body: Body,
}

type TypeFn = Arc<dyn Fn(&Arguments<'_>) -> Result<Type, CallError> + Send + Sync>;
type RunFn = Arc<dyn Fn(&Arguments<'_>) -> Result<Value, CallError> + Send + Sync>;
type LazyFn = Arc<dyn Fn(&LazyCall<'_>) -> Result<Value, Diagnostics> + Send + Sync>;

#[derive(Clone)]
enum TypeOf {
    Always(Type),
    Depends(TypeFn),
}

#[derive(Clone)]
enum Body {
    Eager(RunFn),
    Lazy(LazyFn),
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The argument that is to blame, counted from 0.
    pub argument: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// The arguments of a call, converted, without marks where the parameter does not ask for them.
pub struct Arguments<'a> {
    values: &'a [Value],
    ty: &'a Type,
}

/// The functions that can be called, by name (`a::b` with a namespace).
#[derive(Clone, Default)]
pub struct Functions(BTreeMap<Arc<str>, Function>);

/// A call whose arguments are not evaluated yet.
pub struct LazyCall<'a> {
    /// The arguments.
    pub arguments: Vec<LazyArgument<'a>>,
    expr: ExprRef<'a>,
    call: &'a Call,
    steps: &'a Steps,
}

/// An argument that is not evaluated yet.
#[derive(Clone, Copy)]
pub struct LazyArgument<'a> {
    /// The expression.
    pub expr: ExprRef<'a>,
    scope: &'a Scope<'a>,
    steps: &'a Steps,
}

impl LazyArgument<'_> {
    /// The value.
    pub fn evaluate(&self) -> Result<Value, Diagnostics> {
        self.expr.evaluate_within(self.scope, self.steps)
    }
}

impl LazyCall<'_> {
    /// The value of an expression that the call brings with it.
    pub fn evaluate(&self, expression: &Expression, scope: &Scope<'_>) -> Result<Value, Diagnostics> {
        expression.borrow().evaluate_within(scope, self.steps)
    }

    /// An error of the call as a whole.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> Diagnostic {
        self.expr.source.error(self.call.name_span, message)
    }
}

impl CallError {
    /// An error of the call as a whole.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { argument: None, message: message.into(), hint: None }
    }

    /// An error of one argument.
    #[must_use]
    pub fn argument(index: usize, message: impl Into<String>) -> Self {
        Self { argument: Some(index), message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint if there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}

impl Parameter {
    /// A parameter of a type. [`Type::Dynamic`] takes anything.
    #[must_use]
    pub fn new(name: &'static str, ty: Type) -> Self {
        Self { name, ty, null: false, unknown: false, wholly_known: false, dynamic: false, marked: false }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its type.
    #[must_use]
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// The function takes null.
    #[must_use]
    pub fn allow_null(mut self) -> Self {
        self.null = true;
        self
    }

    /// The function takes unknown values, and those of unknown type with [`Self::allow_dynamic`].
    #[must_use]
    pub fn allow_unknown(mut self) -> Self {
        self.unknown = true;
        self
    }

    /// Something unknown inside the value makes the result unknown too.
    #[must_use]
    pub fn wholly_known(mut self) -> Self {
        self.wholly_known = true;
        self
    }

    /// The function can tell its type even if that of the argument is not known.
    #[must_use]
    pub fn allow_dynamic(mut self) -> Self {
        self.dynamic = true;
        self
    }

    /// The function carries marks itself.
    #[must_use]
    pub fn allow_marked(mut self) -> Self {
        self.marked = true;
        self
    }
}

impl Function {
    /// A function without parameters that returns something of any type; see the module for how to go on.
    #[must_use]
    pub fn new(description: &'static str) -> Self {
        let unset: RunFn = Arc::new(|_| Err(CallError::new("the function has no body")));
        Self {
            description,
            parameters: Vec::new(),
            variadic: None,
            returns: TypeOf::Always(Type::Dynamic),
            body: Body::Eager(unset),
        }
    }

    /// One parameter more.
    #[must_use]
    pub fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// All further arguments.
    #[must_use]
    pub fn variadic(mut self, parameter: Parameter) -> Self {
        self.variadic = Some(parameter);
        self
    }

    /// The type of every result.
    #[must_use]
    pub fn returns(mut self, ty: Type) -> Self {
        self.returns = TypeOf::Always(ty);
        self
    }

    /// The type of the result, told from the arguments; some of them may be unknown.
    #[must_use]
    pub fn returns_by(
        mut self,
        ty: impl Fn(&Arguments<'_>) -> Result<Type, CallError> + Send + Sync + 'static,
    ) -> Self {
        self.returns = TypeOf::Depends(Arc::new(ty));
        self
    }

    /// What it does.
    #[must_use]
    pub fn runs(
        mut self,
        run: impl Fn(&Arguments<'_>) -> Result<Value, CallError> + Send + Sync + 'static,
    ) -> Self {
        self.body = Body::Eager(Arc::new(run));
        self
    }

    /// What it does with arguments that it evaluates itself.
    #[must_use]
    pub fn runs_lazily(
        mut self,
        run: impl Fn(&LazyCall<'_>) -> Result<Value, Diagnostics> + Send + Sync + 'static,
    ) -> Self {
        self.body = Body::Lazy(Arc::new(run));
        self
    }

    /// What it is for.
    #[must_use]
    pub fn description(&self) -> &'static str {
        self.description
    }

    /// Its parameters, and the one for all further arguments.
    #[must_use]
    pub fn parameters(&self) -> (&[Parameter], Option<&Parameter>) {
        (&self.parameters, self.variadic.as_ref())
    }

    fn parameter_of(&self, index: usize) -> Option<&Parameter> {
        self.parameters.get(index).or(self.variadic.as_ref())
    }

    /// Calls it with values, as the evaluator does.
    pub fn call(&self, values: &[Value]) -> Result<Value, CallError> {
        if let Body::Lazy(_) = self.body {
            return Err(CallError::new("the function can only be called in an expression"));
        }
        if values.len() < self.parameters.len() {
            let missing = self.parameters[values.len()].name;
            return Err(CallError::new(format!("an argument for `{missing}` is missing")));
        }
        if values.len() > self.parameters.len() && self.variadic.is_none() {
            return Err(CallError::argument(
                self.parameters.len(),
                format!("there are {} arguments, but {} parameters", values.len(), self.parameters.len()),
            ));
        }
        let mut marks = Marks::default();
        let mut known = true;
        let mut open = false;
        let mut arguments = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            let Some(parameter) = self.parameter_of(index) else { break };
            let value = convert(value, &parameter.ty)
                .map_err(|error| CallError::argument(index, error.to_string()))?;
            let value = if parameter.marked {
                value
            } else {
                let (value, more) = value.unmark_deep();
                marks.extend(&more);
                value
            };
            if value.is_null() && !parameter.null {
                return Err(CallError::argument(index, "it must not be null"));
            }
            if *value.ty() == Type::Dynamic && !value.is_known() && !parameter.dynamic {
                open = true;
            }
            if !parameter.unknown && !value.is_known() || parameter.wholly_known && !value.is_wholly_known() {
                known = false;
            }
            arguments.push(value);
        }
        let marked = |value: Value| value.with_marks(&marks);
        // The function is not asked what it would carry over: so all marks of all arguments.
        let unknown = |ty| {
            let value = marked(Value::unknown(ty));
            arguments.iter().fold(value, |value, argument| value.with_marks(&argument.marks_deep()))
        };
        let ty = match &self.returns {
            TypeOf::Always(ty) => ty.clone(),
            TypeOf::Depends(_) if open => return Ok(unknown(Type::Dynamic)),
            TypeOf::Depends(ty) => ty(&Arguments { values: &arguments, ty: &Type::Dynamic })?,
        };
        if !known || open {
            return Ok(unknown(ty));
        }
        let Body::Eager(run) = &self.body else { return Ok(unknown(ty)) };
        run(&Arguments { values: &arguments, ty: &ty }).map(marked)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({})", self.description)
    }
}

impl<'a> Arguments<'a> {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &'a [Value] {
        self.values
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One of them; null if there is no such.
    #[must_use]
    pub fn get(&self, index: usize) -> Value {
        self.values.get(index).cloned().unwrap_or_else(|| Value::null(Type::Dynamic))
    }

    /// The text of a string; empty if it is none.
    #[must_use]
    pub fn str(&self, index: usize) -> &'a str {
        self.values.get(index).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number.
    pub fn number(&self, index: usize) -> Result<&'a Number, CallError> {
        self.values
            .get(index)
            .and_then(Value::as_number)
            .ok_or_else(|| CallError::argument(index, "a number is required"))
    }

    /// A whole number.
    pub fn int(&self, index: usize) -> Result<i64, CallError> {
        self.number(index)?.to_i64().ok_or_else(|| CallError::argument(index, "a whole number is required"))
    }

    /// A whole number that is not negative.
    pub fn usize(&self, index: usize) -> Result<usize, CallError> {
        usize::try_from(self.int(index)?)
            .map_err(|_| CallError::argument(index, "a whole number that is not negative is required"))
    }

    /// A truth value; false if it is none.
    #[must_use]
    pub fn bool(&self, index: usize) -> bool {
        self.values.get(index).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The elements of a list, set or tuple; none if it is something else.
    #[must_use]
    pub fn elements(&self, index: usize) -> &'a [Value] {
        self.values.get(index).and_then(Value::elements).unwrap_or_default()
    }

    /// The type that was told for the result.
    #[must_use]
    pub fn result_type(&self) -> &'a Type {
        self.ty
    }
}

impl Functions {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn add(&mut self, name: &str, function: Function) {
        self.0.insert(name.into(), function);
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Function> {
        self.0.get(name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(Arc::as_ref)
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
