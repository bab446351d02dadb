//! `templatefile`: a file as a template, with variables that the call gives.
//!
//! It is a lazy function, so that an error within the file is shown in the file, with a note of the call.

use std::sync::Arc;

use imgbuild_hcl::eval::{CallError, Function, Functions, LazyArgument, LazyCall, Scope, references};
use imgbuild_hcl::syntax::{self, Expression, Source, is_identifier};
use imgbuild_hcl::value::{Entries, Mark, Type, Value, convert};
use imgbuild_model::{Diagnostic, Diagnostics, did_you_mean};

use super::{paths, read_text, resolved};
use crate::described;
use crate::host::Host;

/// The functions that a template can call: all but `templatefile` itself.
pub(super) fn functions_within(functions: &Functions) -> Functions {
    let mut within = functions.clone();
    let refused = Function::new("Cannot be called here.").runs_lazily(|call| {
        Err(call.error("a template cannot call `templatefile`").hint("give it the text in a variable").into())
    });
    within.add("templatefile", refused);
    within
}

pub(super) fn templatefile(host: &Arc<dyn Host>, functions: Arc<Functions>) -> Function {
    let asking = Arc::clone(host);
    Function::new("The content of a file, with what its template refers to put in.")
        .runs_lazily(move |call| run(asking.as_ref(), &functions, call))
}

fn run(host: &dyn Host, functions: &Arc<Functions>, call: &LazyCall<'_>) -> Result<Value, Diagnostics> {
    let [path, vars] = call.arguments.as_slice() else {
        return Err(call.error("`templatefile` needs a path and the variables of the template").into());
    };
    let (path_value, mut marks) = path.evaluate()?.unmark_deep();
    let hidden = marks.contains(&Mark::SENSITIVE);
    let (vars_value, more) = vars.evaluate()?.unmark();
    marks.extend(&more);
    let path_value = convert(&path_value, &Type::String).map_err(|error| {
        path.expr.error(format!("the value for `path` of `templatefile` is wrong: {error}"))
    })?;
    if path_value.is_null() || vars_value.is_null() {
        let (null, name) = if path_value.is_null() { (path, "path") } else { (vars, "variables") };
        return Err(null.expr.error(format!("the {name} of `templatefile` must not be null")).into());
    }
    let mapping = vars_value.ty().is_mapping() || *vars_value.ty() == Type::Dynamic;
    if !mapping {
        let given = described(vars_value.ty());
        return Err(vars
            .expr
            .error(format!("the variables of `templatefile` must be a map or object, not {given}"))
            .into());
    }
    let (Some(name), Some(entries)) = (path_value.as_str(), vars_value.entries()) else {
        return Ok(Value::dynamic().with_marks(&marks));
    };
    let template = syntax::parse_template(&source(host, path, name, hidden)?)
        .map_err(|errors| called_here(errors, call))?;
    check_names(vars, entries)?;
    check_references(&template, call, entries)?;
    let mut scope = Scope::with_functions(Arc::clone(functions));
    for (name, value) in entries {
        scope.set(name, value.clone());
    }
    let result = call.evaluate(&template, &scope).map_err(|errors| called_here(errors, call))?;
    Ok(result.with_marks(&marks))
}

fn source(
    host: &dyn Host,
    argument: &LazyArgument<'_>,
    name: &str,
    hidden: bool,
) -> Result<Arc<Source>, Diagnostics> {
    let at_argument = |error: CallError| -> Diagnostics {
        let error =
            if hidden { CallError::new("what is wrong is not shown, as it is sensitive") } else { error };
        argument
            .expr
            .error(format!("the value for `path` of `templatefile` is wrong: {}", error.message))
            .maybe_hint(error.hint)
            .into()
    };
    let path = resolved(host, name, 0).map_err(at_argument)?;
    let text = read_text(host, &path).map_err(at_argument)?;
    let shown = if hidden { "(sensitive)".to_owned() } else { paths::clean(name) };
    Ok(Source::new(&shown, text))
}

fn check_names(argument: &LazyArgument<'_>, entries: &Entries) -> Result<(), Diagnostics> {
    match entries.keys().find(|name| !is_identifier(name)) {
        None => Ok(()),
        Some(name) => Err(argument
            .expr
            .error(format!("`{name}` cannot be the name of a variable of a template"))
            .hint("names start with a letter, and have letters, digits, `_` and `-`")
            .into()),
    }
}

/// What a template refers to must be given, even where it is not evaluated.
fn check_references(
    template: &Expression,
    call: &LazyCall<'_>,
    entries: &Entries,
) -> Result<(), Diagnostics> {
    let mut errors = Vec::new();
    for reference in references(template) {
        let name = &reference.root.name;
        if !entries.contains_key(name) {
            let error = template
                .source
                .error(reference.root.span, format!("the call gives no variable named `{name}`"));
            let near = did_you_mean(name, entries.keys().map(AsRef::as_ref));
            let hint = near.map_or_else(
                || format!("add `{name} = …` to the variables of `templatefile`"),
                |near| format!("did you mean `{near}`?"),
            );
            errors.push(error.hint(hint));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(called_here(Diagnostics(errors), call)) }
}

fn called_here(Diagnostics(errors): Diagnostics, call: &LazyCall<'_>) -> Diagnostics {
    let place = call.error("").location;
    let noted = |error: Diagnostic| error.note("the template is used here", place.clone());
    Diagnostics(errors.into_iter().map(noted).collect())
}
