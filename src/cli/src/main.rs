//! The program: reads the command line, makes the session, carries out the verb, and turns what went wrong into
//! messages and an exit code.

mod continuity;
mod languages;
mod prompt;
mod provenance;
mod publish;
mod registry;
mod secrets;
mod session;
mod template;
mod tools;
mod verbs;

use std::process::ExitCode;
use std::sync::Arc;

use imgbuild::args::{self, Environment, Stop, Verb};
use imgbuild::diagnostics;
use imgbuild::ui::Shell;
use imgbuild_model::{Class, Diagnostic, Diagnostics};
use imgbuild_rootfs::{sandbox, userns};

use crate::session::Session;

/// A plan of a large workspace is millions of small allocations on all processors.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) use imgbuild_engine::ENTER_MARKER;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == sandbox::HELPER_ARGUMENT) {
        sandbox::helper_main();
    }
    let environment = Environment::of_process();
    let program = words.first().map(std::path::PathBuf::from).unwrap_or_default();
    if let Some(typed) = template::typed(&program, words.get(1..).unwrap_or_default()) {
        if template::makes_layers(&typed)
            && let Err(error) = enter_namespace(true, words)
        {
            let shell = Shell::of_process(&args::Global::default(), &environment);
            return fail(
                &Diagnostic::error(error.to_string()).class(Class::Environment).into(),
                &shell,
                &|_| None,
            );
        }
        return template::run(typed, environment);
    }
    let is_package = |name: &str| std::path::Path::new(name).join("BUILD.star").is_file();
    let cli = match args::parse(words.clone(), &is_package) {
        Ok(cli) => cli,
        Err(stop) => return refuse(stop, &environment),
    };
    let shell = Shell::of_process(&cli.global, &environment);
    shell.report_panics();
    let touches_trees = matches!(
        cli.verb,
        Verb::Build(_)
            | Verb::Test(_)
            | Verb::Diff(_)
            | Verb::Run(_)
            | Verb::Shell(_)
            | Verb::Cache(_)
            | Verb::Cleanup(_)
    );
    if let Err(error) = enter_namespace(touches_trees, words) {
        return fail(&Diagnostic::error(error.to_string()).class(Class::Environment).into(), &shell, &|_| {
            None
        });
    }
    start_log(&environment, &cli.global, &shell);
    let mut session = match Session::new(&cli.global, environment, shell.clone()) {
        Ok(session) => session,
        Err(diagnostics) => return fail(&diagnostics, &shell, &|_| None),
    };
    let result = verbs::run(cli.verb, &mut session);
    session.ui.close();
    match result {
        Ok(code) => code,
        Err(diagnostics) => {
            let root = session.root().map(std::path::Path::to_path_buf);
            fail(&diagnostics, &shell, &|file| source_text(root.as_deref(), file))
        }
    }
}

/// Real root takes mounts of its own at once, which costs nothing. An ordinary user becomes root in a namespace only
/// when something must run, by executing this program again with the marker set.
fn enter_namespace(touches_trees: bool, words: Vec<std::ffi::OsString>) -> Result<(), userns::UsernsError> {
    let marked = std::env::var_os(ENTER_MARKER).is_some();
    if marked || (touches_trees && rustix::process::geteuid().is_root()) {
        userns::enter(words)?;
    }
    Ok(())
}

fn start_log(environment: &Environment, global: &args::Global, shell: &Arc<Shell>) {
    let default = if global.verbose >= 2 { "imgbuild=debug,warn" } else { "off" };
    let filter = environment.log.clone().unwrap_or_else(|| default.to_owned());
    if filter == "off" {
        return;
    }
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_default();
    let shell = shell.clone();
    // A second subscriber in one process is no reason to stop.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(shell.settings().stderr_color)
        .with_writer(move || shell.log_writer())
        .try_init();
}

fn refuse(stop: Stop, environment: &Environment) -> ExitCode {
    let shell = Shell::of_process(&args::Global::default(), environment);
    match stop {
        Stop::Said { text, asked_for, exit_code } => {
            if asked_for {
                shell.print(&text)
            } else {
                shell.say(text.trim_end())
            }
            exit_code.into()
        }
        Stop::Unknown(diagnostics) => fail(&diagnostics, &shell, &|_| None),
    }
}

fn fail(diagnostics: &Diagnostics, shell: &Shell, source: &diagnostics::SourceText<'_>) -> ExitCode {
    shell.clear_region();
    diagnostics::report(diagnostics, source, shell);
    diagnostics.class().exit_code().into()
}

/// The text of a file of the workspace, or of the prelude, by the name in a diagnostic.
fn source_text(root: Option<&std::path::Path>, file: &str) -> Option<String> {
    let path = std::path::Path::new(file.trim_start_matches("//"));
    let path = match root {
        Some(root) if path.is_relative() => root.join(path),
        _ => path.to_path_buf(),
    };
    fs_err::read_to_string(path).ok()
}
