//! `validate`, `inspect` and `console`.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use imgbuild::args::Environment;
use imgbuild_model::{Diagnostic, EntryKind, Location, Severity};
use imgbuild_packer::template::{
    Answer, Components, Console, Files, Inputs, Loaded, inspect as inspection, read,
};
use imgbuild_packer_functions::{Host, LocalHost};

use super::disk::Disk;
use super::flags::{Flag, Parsed, switch, value};
use super::output::Output;

pub(super) const ONLY: Flag = value("only", "Only builds whose names match one of these patterns");
pub(super) const EXCEPT: Flag =
    value("except", "Not the builds and post-processors whose names match one of these patterns");
pub(super) const VAR: Flag = value("var", "A variable, `name=value`; may be given several times");
pub(super) const VAR_FILE: Flag = value("var-file", "A file of variables; may be given several times");
pub(super) const CONFIG_TYPE: Flag =
    value("config-type", "What a file of another name holds: `json` or `hcl2`");
const SEQUENTIAL: Flag = switch("use-sequential-evaluation", "Has no effect: order does not change values");

pub(super) const VALIDATE_USAGE: &str = "[options] TEMPLATE";
pub(super) const VALIDATE_FLAGS: &[Flag] = &[
    switch("syntax-only", "Only check syntax and declarations"),
    switch("no-warn-undeclared-var", "Do not warn of values for variables that are not declared"),
    switch("evaluate-datasources", "Ask the data sources"),
    switch("ignore-prerelease-plugins", "Has no effect: there are no plugins"),
    ONLY,
    EXCEPT,
    VAR,
    VAR_FILE,
    CONFIG_TYPE,
    SEQUENTIAL,
];

pub(super) const INSPECT_USAGE: &str = "[options] TEMPLATE";
pub(super) const INSPECT_FLAGS: &[Flag] = &[ONLY, EXCEPT, VAR, VAR_FILE, CONFIG_TYPE, SEQUENTIAL];

pub(super) const CONSOLE_USAGE: &str = "[options] [TEMPLATE]";
pub(super) const CONSOLE_FLAGS: &[Flag] = &[ONLY, EXCEPT, VAR, VAR_FILE, CONFIG_TYPE, SEQUENTIAL];

/// Checks a template.
pub(super) fn validate(flags: &Parsed, output: &Output) -> ExitCode {
    let Some(loaded) = load(flags, output, |inputs| {
        inputs.syntax_only = flags.is_on("syntax-only", false);
        inputs.warn_undeclared = !flags.is_on("no-warn-undeclared-var", false);
    }) else {
        return ExitCode::FAILURE;
    };
    let mut told = loaded.diagnostics.clone();
    if flags.is_on("evaluate-datasources", false) {
        told.0.extend(loaded.template.needs.iter().map(|need| {
            Diagnostic::error(format!("the data source `{}` cannot be asked by this version", need.kind))
                .at(need.location.clone())
                .hint("leave out `-evaluate-datasources`; what it would answer is then taken as good")
        }));
    }
    let failed = told.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    output.diagnostics(&told, &loaded.template.sources);
    if failed {
        return ExitCode::FAILURE;
    }
    output.say(if flags.is_on("syntax-only", false) {
        "Syntax-only check passed. Everything looks okay."
    } else {
        "The configuration is valid."
    });
    ExitCode::SUCCESS
}

/// Shows what a template holds. Errors after syntax do not matter.
pub(super) fn inspect(flags: &Parsed, output: &Output) -> ExitCode {
    let Some(loaded) = load(flags, output, |_| {}) else { return ExitCode::FAILURE };
    if !loaded.declared {
        output.diagnostics(&loaded.diagnostics, &loaded.template.sources);
        return ExitCode::FAILURE;
    }
    output.print(&inspection(&loaded.template));
    ExitCode::SUCCESS
}

/// Answers expressions: each line where somebody types, else the last line.
pub(super) fn console(flags: &Parsed, output: &Output) -> ExitCode {
    let loaded = if flags.rest.is_empty() {
        load_paths(&[], flags, output, |_| {})
    } else {
        load(flags, output, |_| {})
    };
    let Some(loaded) = loaded else { return ExitCode::FAILURE };
    if !loaded.declared {
        output.diagnostics(&loaded.diagnostics, &loaded.template.sources);
        return ExitCode::FAILURE;
    }
    let console = Console::new(&loaded.template);
    let typed = std::io::stdin().is_terminal();
    let mut last = None;
    let mut code = ExitCode::SUCCESS;
    if typed {
        output.print("> ");
    }
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return ExitCode::FAILURE };
        match console.answer(&line) {
            Ok(Answer::Exit) => break,
            Ok(Answer::Text(text)) if typed => output.say(&text),
            Ok(Answer::Text(text)) => last = Some(text),
            Err(errors) => {
                let source = imgbuild_hcl::syntax::Source::new("console", line.trim());
                output.diagnostics(&errors, &[source]);
                if !typed {
                    code = ExitCode::FAILURE;
                }
            }
        }
        if typed {
            output.print("> ");
        }
    }
    if let Some(text) = last {
        output.say(&text);
    }
    code
}

/// Reads the template that a command line names; says why it cannot.
fn load(flags: &Parsed, output: &Output, adjust: impl FnOnce(&mut Inputs)) -> Option<Loaded> {
    let [path] = flags.rest.as_slice() else {
        let found = flags.rest.len();
        output.error(&format!("error: one template must be named, after the flags; there are {found}"));
        return None;
    };
    if !is_hcl(path) {
        let error = Diagnostic::error(format!(
            "`{path}` is a template in the older JSON form, which this verb cannot read yet"
        ));
        let error =
            error.at(Location::file(path)).hint("names of templates in HCL end in `.pkr.hcl` or `.pkr.json`");
        output.diagnostics(&error.into(), &[]);
        return None;
    }
    load_paths(std::slice::from_ref(path), flags, output, adjust)
}

fn load_paths(
    paths: &[String],
    flags: &Parsed,
    output: &Output,
    adjust: impl FnOnce(&mut Inputs),
) -> Option<Loaded> {
    let mut inputs = match inputs(flags) {
        Ok(inputs) => inputs,
        Err(message) => {
            output.error(&format!("error: {message}"));
            return None;
        }
    };
    adjust(&mut inputs);
    let home = inputs.environment.get("HOME").map(PathBuf::from);
    let cwd = PathBuf::from(&inputs.cwd);
    let host = |root: &str| -> Arc<dyn Host> {
        let host = LocalHost::new(cwd.join(Path::new(root))).with_cwd(&cwd);
        Arc::new(match &home {
            Some(home) => host.with_home(home),
            None => host,
        })
    };
    Some(read(paths, &inputs, &Disk, &Components(host)))
}

/// Whether a path is that of a template in HCL: a folder, or a file of such a name. There are files of other names that
/// hold HCL, but no program reads them.
fn is_hcl(path: &str) -> bool {
    path.ends_with(".pkr.hcl")
        || path.ends_with(".pkr.json")
        || Disk.kind(path).is_none_or(|kind| kind == EntryKind::Directory) && path != "-"
}

fn inputs(flags: &Parsed) -> Result<Inputs, String> {
    let variable = |text: &str| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("`-var {text}` has no value; write `-var {text}=value`")),
    };
    let patterns = |name: &str| {
        let all = flags.all(name).flat_map(|text| text.split(','));
        all.filter(|text| !text.is_empty()).map(str::to_owned).collect()
    };
    let cwd =
        std::env::current_dir().map_err(|error| format!("the working folder cannot be told: {error}"))?;
    Ok(Inputs {
        variables: flags.all("var").map(variable).collect::<Result<_, _>>()?,
        var_files: flags.all("var-file").map(str::to_owned).collect(),
        environment: Environment::whole(),
        cwd: cwd.to_string_lossy().into_owned(),
        only: patterns("only"),
        except: patterns("except"),
        ..Inputs::default()
    })
}
