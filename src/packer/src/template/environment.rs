//! The function `env`, and which names were looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use imgbuild_hcl::eval::{Function, Functions};
use imgbuild_hcl::value::{Type, Value, convert};
use imgbuild_model::{Diagnostic, Severity};

/// The environment of a run, and what was asked of it.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    variables: Arc<BTreeMap<String, String>>,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    reads: BTreeSet<String>,
    warnings: Vec<Diagnostic>,
}

impl Environment {
    pub(super) fn new(variables: BTreeMap<String, String>) -> Self {
        Self { variables: Arc::new(variables), told: Arc::default() }
    }

    /// `env`. Outside the defaults of variables, where Packer has it alone, each use is warned of.
    pub(super) fn functions(&self, warn: bool) -> Functions {
        let own = self.clone();
        let mut functions = Functions::new();
        let description = "The value of an environment variable; empty if it is not set.";
        functions.add(
            "env",
            Function::new(description).runs_lazily(move |call| {
                let [argument] = call.arguments.as_slice() else {
                    let error = call.error("`env` needs exactly one argument, the name of a variable");
                    return Err(error.hint("write for example `env(\"HOME\")`").into());
                };
                let (name, marks) = argument.evaluate()?.unmark();
                let wrong = |what: &str| argument.expr.error(what).hint("write for example `env(\"HOME\")`");
                let name = convert(&name, &Type::String)
                    .map_err(|_| wrong("the name of an environment variable is text"))?;
                if warn {
                    let warning = call.error("`env` outside the default of a variable is not portable");
                    let hint = "declare a variable whose default is this call";
                    own.lock()
                        .warnings
                        .push(Diagnostic { severity: Severity::Warning, ..warning }.hint(hint));
                }
                if name.is_null() {
                    return Err(wrong("the name of an environment variable is null").into());
                }
                let Some(name) = name.as_str() else {
                    return Ok(Value::unknown(Type::String).with_marks(&marks));
                };
                own.lock().reads.insert(name.to_owned());
                let value = own.variables.get(name).map_or("", String::as_str);
                Ok(Value::string(value).with_marks(&marks))
            }),
        );
        functions
    }

    pub(super) fn note(&self, reads: BTreeSet<String>) {
        self.lock().reads.extend(reads);
    }

    /// The names that were looked up, and warnings.
    pub(super) fn told(&self) -> (BTreeSet<String>, Vec<Diagnostic>) {
        let told = self.lock();
        (told.reads.clone(), told.warnings.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
