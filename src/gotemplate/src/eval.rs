//! Rendering a template.

use std::sync::Arc;

use crate::ast::{Branch, Command, Expr, ExprKind, Node, Number, Pipeline, Template};
use crate::builtin::{self, Builtin, Failure};
use crate::compare::kind;
use crate::error::{Error, ErrorKind, Span};
use crate::function::{Function, Functions, Param};
use crate::printf::display;
use crate::value::Value;

/// What a map does about a key that it lacks; Go's `missingkey`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingKey {
    /// The result is [`Value::Absent`], which prints as `<no value>` and has any field.
    #[default]
    Default,
    /// The result is [`Value::Nil`], which prints as `<no value>` and has no fields.
    Zero,
    /// It is an error.
    Error,
}

/// How much a rendering may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes and commands, and one for every 64 bytes of text that functions make.
    pub steps: u64,
    /// Bytes of the output and of every text on the way.
    pub output: usize,
    /// How deep templates, blocks and parentheses may nest while they run.
    pub depth: usize,
}

/// How to render.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What to do about missing keys.
    pub missing_key: MissingKey,
    /// How much it may take.
    pub limits: Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 1_000_000, output: 16 << 20, depth: 200 }
    }
}

impl Template {
    /// The text that the template makes of the data.
    ///
    /// # Errors
    /// What Go reports when a template is executed; something [late](Value::Late) that was needed; a limit.
    pub fn render(&self, functions: &Functions, data: &Value, options: &Options) -> Result<String, Error> {
        let mut machine = Machine::new(self, functions, data, options);
        machine.walk(&self.body, data).map_err(|(kind, span)| self.error(kind, span))?;
        Ok(machine.out)
    }

    pub(crate) fn error(&self, kind: ErrorKind, span: Span) -> Error {
        Error::new(kind, span, &self.source)
    }
}

pub(crate) type Evaluated<T> = Result<T, (ErrorKind, Span)>;

/// Where to go on after a node.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
}

pub(crate) struct Machine<'a> {
    template: &'a Template,
    functions: &'a Functions,
    options: &'a Options,
    pub(crate) out: String,
    pub(crate) variables: Vec<(Arc<str>, Value)>,
    steps: u64,
    depth: usize,
}

impl<'a> Machine<'a> {
    pub fn new(template: &'a Template, functions: &'a Functions, data: &Value, options: &'a Options) -> Self {
        Self {
            template,
            functions,
            options,
            out: String::new(),
            variables: vec![("".into(), data.clone())],
            steps: 0,
            depth: 0,
        }
    }

    fn step(&mut self, count: u64, span: Span) -> Evaluated<()> {
        self.steps = self.steps.saturating_add(count);
        let limit = self.options.limits.steps;
        if self.steps > limit { Err((ErrorKind::Steps(limit), span)) } else { Ok(()) }
    }

    fn deeper<T>(&mut self, span: Span, run: impl FnOnce(&mut Self) -> Evaluated<T>) -> Evaluated<T> {
        let limit = self.options.limits.depth;
        if self.depth >= limit {
            return Err((ErrorKind::CallDepth(limit), span));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    fn write(&mut self, text: &str, span: Span) -> Evaluated<()> {
        let limit = self.options.limits.output;
        if self.out.len() + text.len() > limit {
            return Err((ErrorKind::Output(limit), span));
        }
        self.out.push_str(text);
        Ok(())
    }

    pub fn walk(&mut self, nodes: &'a [Node], dot: &Value) -> Evaluated<Flow> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    pub fn node(&mut self, node: &'a Node, dot: &Value) -> Evaluated<Flow> {
        let span = node.span();
        self.step(1, span)?;
        match node {
            Node::Text { text, .. } => self.write(text, span)?,
            Node::Action { pipeline, .. } => self.action(pipeline, dot)?,
            Node::If(branch) => return self.deeper(span, |machine| machine.condition(branch, dot, false)),
            Node::With(branch) => return self.deeper(span, |machine| machine.condition(branch, dot, true)),
            Node::Range(branch) => return self.deeper(span, |machine| machine.range(branch, dot)),
            Node::Break { .. } => return Ok(Flow::Break),
            Node::Continue { .. } => return Ok(Flow::Continue),
            Node::Call { name, argument, .. } => self.call_template(name, argument.as_ref(), span, dot)?,
        }
        Ok(Flow::Next)
    }

    fn action(&mut self, pipeline: &Pipeline, dot: &Value) -> Evaluated<()> {
        let value = self.pipeline(pipeline, dot)?;
        if !pipeline.variables.is_empty() {
            return Ok(());
        }
        match &value {
            Value::String(text) => self.write(text, pipeline.span),
            Value::Absent | Value::Nil => self.write("<no value>", pipeline.span),
            _ => {
                let text = display(&value);
                self.step(text.len() as u64 / 64, pipeline.span)?;
                self.write(&text, pipeline.span)
            }
        }
    }

    fn condition(&mut self, branch: &'a Branch, dot: &Value, rebinds: bool) -> Evaluated<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = if value.is_true() {
            self.walk(&branch.body, if rebinds { &value } else { dot })
        } else {
            self.walk(branch.otherwise.as_deref().unwrap_or_default(), dot)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &'a Branch, dot: &Value) -> Evaluated<Flow> {
        let scope = self.variables.len();
        let flow = self.iterate(branch, dot);
        self.variables.truncate(scope);
        flow
    }

    fn iterate(&mut self, branch: &'a Branch, dot: &Value) -> Evaluated<Flow> {
        let pipeline = &branch.pipeline;
        let value = self.pipeline(pipeline, dot)?;
        let ran = match &value {
            Value::Int(count) => {
                if pipeline.variables.len() > 1 {
                    return Err((ErrorKind::RangeNumberVariables, pipeline.span));
                }
                let items = (0..*count).map(|number| (Value::Absent, Value::Int(number)));
                self.rounds(branch, items)?
            }
            Value::List(elements) => {
                let items = elements
                    .iter()
                    .enumerate()
                    .map(|(position, element)| (Value::Int(position as i64), element.clone()));
                self.rounds(branch, items)?
            }
            Value::Map(entries) => {
                let items = entries.iter().map(|(key, value)| (Value::from(key.as_str()), value.clone()));
                self.rounds(branch, items)?
            }
            Value::Absent | Value::Nil => false,
            other => return Err((ErrorKind::CannotRange(kind(other)), pipeline.span)),
        };
        if ran {
            return Ok(Flow::Next);
        }
        self.walk(branch.otherwise.as_deref().unwrap_or_default(), dot)
    }

    /// Whether there was a round at all.
    fn rounds(&mut self, branch: &'a Branch, items: impl Iterator<Item = (Value, Value)>) -> Evaluated<bool> {
        let scope = self.variables.len();
        let mut any = false;
        for (index, element) in items {
            any = true;
            self.step(1, branch.span)?;
            if element == Value::Late {
                return Err((ErrorKind::Late("an element".to_owned()), branch.pipeline.span));
            }
            match branch.pipeline.variables.as_slice() {
                [] => {}
                [one] => self.set(one, element.clone(), branch.span)?,
                [first, second, ..] => {
                    self.set(first, index, branch.span)?;
                    self.set(second, element.clone(), branch.span)?;
                }
            }
            let flow = self.walk(&branch.body, &element)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(any)
    }

    fn call_template(
        &mut self,
        name: &Arc<str>,
        argument: Option<&Pipeline>,
        span: Span,
        dot: &Value,
    ) -> Evaluated<()> {
        let template = self.template;
        let Some(body) = template.defines.get(name) else {
            return Err((ErrorKind::UnknownTemplate(name.to_string()), span));
        };
        let scope = self.variables.len();
        let argument = match argument {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Absent,
        };
        self.variables.truncate(scope);
        let own = vec![("".into(), argument.clone())];
        let outer = std::mem::replace(&mut self.variables, own);
        self.deeper(span, |machine| machine.walk(body, &argument))?;
        self.variables = outer;
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value, span: Span) -> Evaluated<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| &**known == name) {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => Err((ErrorKind::UndefinedVariable(format!("${name}")), span)),
        }
    }

    /// The value, after what the pipeline declares or assigns.
    pub fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Evaluated<Value> {
        let mut value = None;
        for command in &pipeline.commands {
            self.step(1, pipeline.span)?;
            let result = self.command(command, dot, value.take(), pipeline.span)?;
            value = Some(if result == Value::Nil { Value::Absent } else { result });
        }
        let value = value.unwrap_or_default();
        for name in &pipeline.variables {
            if pipeline.assigns {
                self.set(name, value.clone(), pipeline.span)?;
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &Command,
        dot: &Value,
        piped: Option<Value>,
        span: Span,
    ) -> Evaluated<Value> {
        let Some((first, arguments)) = command.words.split_first() else {
            return Err((ErrorKind::EmptyCommand, span));
        };
        let has_arguments = !arguments.is_empty() || piped.is_some();
        match &first.kind {
            ExprKind::Function(name) => return self.function(name, arguments, piped, first.span, dot),
            ExprKind::Field(_) | ExprKind::Chain(..) => return self.term(first, dot, has_arguments),
            ExprKind::Variable(_, fields) if !fields.is_empty() => {
                return self.term(first, dot, has_arguments);
            }
            _ => {}
        }
        if has_arguments {
            let text = self.template.source[first.span.start..first.span.end].to_owned();
            return Err((ErrorKind::NotAFunction(text), first.span));
        }
        match first.kind {
            ExprKind::Nil => Err((ErrorKind::NilCommand, first.span)),
            _ => self.term(first, dot, false),
        }
    }

    /// The value of one word; `has_arguments` if it stands where a function is expected.
    fn term(&mut self, expr: &Expr, dot: &Value, has_arguments: bool) -> Evaluated<Value> {
        let span = expr.span;
        let value = match &expr.kind {
            ExprKind::Dot => dot.clone(),
            ExprKind::Nil => Value::Nil,
            ExprKind::Bool(value) => Value::Bool(*value),
            ExprKind::Number(Number::Int(value)) => Value::Int(*value),
            ExprKind::Number(Number::Float(value, _)) => Value::Float(*value),
            ExprKind::Number(Number::Unsigned(value)) => {
                return Err((ErrorKind::IntegerOverflow(value.to_string()), span));
            }
            ExprKind::String(text) => Value::String(text.clone()),
            ExprKind::Field(names) => self.fields(dot.clone(), names, span, has_arguments)?,
            ExprKind::Variable(name, names) => {
                let value = self.variable(name, span)?;
                self.fields(value, names, span, has_arguments)?
            }
            ExprKind::Function(name) => self.function(name, &[], None, span, dot)?,
            ExprKind::Chain(inner, names) => {
                if matches!(inner.kind, ExprKind::Nil) {
                    return Err((ErrorKind::NilFields, span));
                }
                let value = self.deeper(span, |machine| machine.term(inner, dot, false))?;
                self.fields(value, names, span, has_arguments)?
            }
            ExprKind::Pipeline(pipeline) => self.deeper(span, |machine| machine.pipeline(pipeline, dot))?,
        };
        if value == Value::Late {
            let text = self.template.source[span.start..span.end].to_owned();
            return Err((ErrorKind::Late(text), span));
        }
        Ok(value)
    }

    fn variable(&self, name: &str, span: Span) -> Evaluated<Value> {
        self.variables
            .iter()
            .rev()
            .find(|(known, _)| &**known == name)
            .map(|(_, value)| value.clone())
            .ok_or_else(|| (ErrorKind::UndefinedVariable(format!("${name}")), span))
    }

    fn fields(
        &self,
        mut value: Value,
        names: &[Arc<str>],
        span: Span,
        has_arguments: bool,
    ) -> Evaluated<Value> {
        for (position, name) in names.iter().enumerate() {
            let with_arguments = has_arguments && position + 1 == names.len();
            value = self.field(&value, name, with_arguments).map_err(|kind| (kind, span))?;
        }
        Ok(value)
    }

    fn field(&self, value: &Value, name: &str, has_arguments: bool) -> Result<Value, ErrorKind> {
        let missing_key = self.options.missing_key;
        let found = value.member(name).cloned();
        match value {
            Value::Late => Err(ErrorKind::Late(format!(".{name}"))),
            Value::Absent if missing_key == MissingKey::Error => Err(ErrorKind::MissingKey(name.to_owned())),
            Value::Absent => Ok(Value::Absent),
            Value::Nil => Err(ErrorKind::NilField(name.to_owned())),
            Value::Map(_) if has_arguments => Err(ErrorKind::FieldWithArguments(name.to_owned())),
            Value::Map(_) => match (found, missing_key) {
                (Some(value), _) => Ok(value),
                (None, MissingKey::Default) => Ok(Value::Absent),
                (None, MissingKey::Zero) => Ok(Value::Nil),
                (None, MissingKey::Error) => Err(ErrorKind::MissingKey(name.to_owned())),
            },
            _ => match found {
                Some(_) if has_arguments => Err(ErrorKind::FieldWithArguments(name.to_owned())),
                Some(value) => Ok(value),
                None => Err(ErrorKind::NoField {
                    field: name.to_owned(),
                    type_name: match value {
                        Value::Record(_) => "the data".to_owned(),
                        other => kind(other).to_owned(),
                    },
                }),
            },
        }
    }

    fn function(
        &mut self,
        name: &str,
        words: &[Expr],
        piped: Option<Value>,
        span: Span,
        dot: &Value,
    ) -> Evaluated<Value> {
        if let Some(function) = self.functions.get(name) {
            return self.call_function(name, function, words, piped, span, dot);
        }
        let count = words.len() + usize::from(piped.is_some());
        if matches!(name, "and" | "or") {
            self.count_arguments(name, 1, true, count, span)?;
            return self.and_or(name, words, piped, dot);
        }
        let Some(builtin) = builtin::get(name) else {
            return Err((ErrorKind::UnknownFunction { name: name.to_owned() }, span));
        };
        self.count_arguments(name, builtin.params.len(), builtin.rest.is_some(), count, span)?;
        let arguments = self.arguments(name, builtin.params, builtin.rest, words, piped, span, dot)?;
        self.call_builtin(builtin, &arguments, span)
    }

    fn call_builtin(&mut self, builtin: &Builtin, arguments: &[Value], span: Span) -> Evaluated<Value> {
        let limit = self.options.limits.output;
        match (builtin.call)(arguments, limit) {
            Ok(value) => self.made(value, span),
            Err(Failure::TooLarge) => Err((ErrorKind::Output(limit), span)),
            Err(Failure::Message(message)) => {
                Err((ErrorKind::Call { function: builtin.name.to_owned(), message }, span))
            }
        }
    }

    fn call_function(
        &mut self,
        name: &str,
        function: &Function,
        words: &[Expr],
        piped: Option<Value>,
        span: Span,
        dot: &Value,
    ) -> Evaluated<Value> {
        let count = words.len() + usize::from(piped.is_some());
        self.count_arguments(name, function.params.len(), function.rest.is_some(), count, span)?;
        let arguments = self.arguments(name, &function.params, function.rest, words, piped, span, dot)?;
        let Some(body) = &function.body else {
            return Err((ErrorKind::Late(name.to_owned()), span));
        };
        match body(&arguments) {
            Ok(Value::Late) => Err((ErrorKind::Late(name.to_owned()), span)),
            Ok(value) => self.made(value, span),
            Err(message) => Err((ErrorKind::Call { function: name.to_owned(), message }, span)),
        }
    }

    /// Counts the text that a function has made.
    fn made(&mut self, value: Value, span: Span) -> Evaluated<Value> {
        if let Value::String(text) = &value {
            self.step(text.len() as u64 / 64, span)?;
            let limit = self.options.limits.output;
            if text.len() > limit {
                return Err((ErrorKind::Output(limit), span));
            }
        }
        Ok(value)
    }

    fn count_arguments(
        &self,
        name: &str,
        expected: usize,
        at_least: bool,
        found: usize,
        span: Span,
    ) -> Evaluated<()> {
        let fits = if at_least { found >= expected } else { found == expected };
        if fits {
            return Ok(());
        }
        Err((ErrorKind::ArgumentCount { function: name.to_owned(), expected, found, at_least }, span))
    }

    /// The first argument that decides, and no argument after it is evaluated.
    fn and_or(&mut self, name: &str, words: &[Expr], piped: Option<Value>, dot: &Value) -> Evaluated<Value> {
        let mut value = Value::Absent;
        for word in words {
            value = self.argument(name, Param::Any, word, dot)?;
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(piped.unwrap_or(value))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all of a call's parts, and nobody else has use for a struct"
    )]
    fn arguments(
        &mut self,
        name: &str,
        params: &[Param],
        rest: Option<Param>,
        words: &[Expr],
        piped: Option<Value>,
        span: Span,
        dot: &Value,
    ) -> Evaluated<Vec<Value>> {
        let param = |position: usize| params.get(position).copied().or(rest).unwrap_or(Param::Any);
        let mut arguments = Vec::with_capacity(words.len() + 1);
        for (position, word) in words.iter().enumerate() {
            arguments.push(self.argument(name, param(position), word, dot)?);
        }
        if let Some(value) = piped {
            arguments.push(check(name, param(words.len()), value, span)?);
        }
        Ok(arguments)
    }

    fn argument(&mut self, name: &str, param: Param, word: &Expr, dot: &Value) -> Evaluated<Value> {
        if let (Param::Int, ExprKind::Number(Number::Float(_, Some(whole)))) = (param, &word.kind) {
            return Ok(Value::Int(*whole));
        }
        let value = self.term(word, dot, false)?;
        check(name, param, value, word.span)
    }
}

fn check(name: &str, param: Param, value: Value, span: Span) -> Evaluated<Value> {
    let fits = match param {
        Param::Any => true,
        Param::String => matches!(value, Value::String(_)),
        Param::Int => matches!(value, Value::Int(_)),
        Param::Bool => matches!(value, Value::Bool(_)),
    };
    if !fits {
        let found = kind(&value).to_owned();
        let error = ErrorKind::ArgumentType { function: name.to_owned(), expected: param.words(), found };
        return Err((error, span));
    }
    Ok(if value == Value::Absent { Value::Nil } else { value })
}
