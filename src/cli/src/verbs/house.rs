//! The small verbs: `clean`, `cleanup`, `completions`, `man`, `version`.

use std::process::ExitCode;
use std::time::Duration;

use imgbuild::args::{Completions, Man};
use imgbuild::generate;
use imgbuild::ui::text;
use imgbuild_cache::GcPolicy;
use imgbuild_engine::journal::{
    self, CleanupOptions, EffectCleanup, EffectResult, Journal, PathUndo, ProcessUndo, UndoRegistry,
};
use imgbuild_model::{Class, Diagnostic, Diagnostics};
use imgbuild_plan::KEY_SCHEMA;

use super::build::become_root;
use crate::publish::OUTPUT_FOLDER;
use crate::session::{Session, cache_error, runtime};

/// How long a process of a dead run may take to end before it is killed.
const PROCESS_GRACE: Duration = Duration::from_secs(5);

fn environment(message: String) -> Diagnostics {
    Diagnostic::error(message).class(Class::Environment).into()
}

/// `imgbuild clean`.
pub(super) fn clean(session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let folder = match &session.config.output_dir {
        Some(folder) => folder.clone(),
        None => session.files()?.root().join(OUTPUT_FOLDER),
    };
    match fs_err::remove_dir_all(&folder) {
        Ok(()) => session.shell.note(&format!("removed `{}`", folder.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            session.shell.note("there is nothing to remove")
        }
        Err(error) => return Err(environment(error.to_string())),
    }
    Ok(ExitCode::SUCCESS)
}

/// `imgbuild cleanup`.
pub(super) fn cleanup(session: &mut Session) -> Result<ExitCode, Diagnostics> {
    become_root(session)?;
    session.ui.close();
    let cache = session.cache()?;
    // Beginning a collection sweeps the temporary files of dead runs; with no limits it removes nothing of use.
    let swept = cache.gc(&GcPolicy::default()).map_err(|error| cache_error(&error))?.dead_runs;
    let journal =
        Journal::open(cache.root().join(journal::FOLDER)).map_err(|error| environment(error.to_string()))?;
    let undo = UndoRegistry::new()
        .with(ProcessUndo::new(PROCESS_GRACE))
        .with(PathUndo::new([cache.root().to_path_buf()]));
    let report = runtime()?
        .block_on(journal::cleanup(&journal, &undo, &CleanupOptions::default()))
        .map_err(|error| environment(error.to_string()))?;
    let mut undone = 0;
    for (run, EffectCleanup { effect, result }) in report.effects() {
        undone += 1;
        let word = match result {
            EffectResult::Undone => "undone".to_owned(),
            EffectResult::AlreadyGone => "already gone".to_owned(),
            EffectResult::WouldUndo => "to be undone".to_owned(),
            EffectResult::UnknownKind => "left: this program does not know its kind".to_owned(),
            EffectResult::Failed { message } => format!("left: {message}"),
        };
        let name = effect.resource.as_ref().map(ToString::to_string).unwrap_or_default();
        session.shell.line(&format!("{} {name} of run {}: {word}", effect.kind, run.id));
    }
    match (swept, undone) {
        (0, 0) => session.shell.note("no run has left anything"),
        (0, _) => {}
        (runs, _) => {
            session.shell.note(&format!("removed the temporary files of {}", text::count(runs, "dead run")));
        }
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(Class::Environment.exit_code()) })
}

/// `imgbuild completions`.
pub(super) fn completions(completions: &Completions, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    session.shell.print(&generate::completions(completions.shell));
    Ok(ExitCode::SUCCESS)
}

/// `imgbuild man`.
pub(super) fn man(man: &Man, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let write = || -> std::io::Result<usize> {
        fs_err::create_dir_all(&man.dir)?;
        let pages = generate::man_pages()?;
        for (name, text) in &pages {
            fs_err::write(man.dir.join(name), text)?;
        }
        Ok(pages.len())
    };
    let count = write().map_err(|error| environment(error.to_string()))?;
    session.shell.note(&format!("wrote {count} pages into `{}`", man.dir.display()));
    Ok(ExitCode::SUCCESS)
}

/// `imgbuild version`.
pub(super) fn version(session: &mut Session) -> Result<ExitCode, Diagnostics> {
    session.shell.line(&format!("imgbuild {}", env!("CARGO_PKG_VERSION")));
    session.shell.line(&format!("keys      {KEY_SCHEMA}"));
    session.shell.line(&format!("prelude   {}", imgbuild_starlark::prelude_digest().short()));
    session.shell.line(&format!("platform  {}", imgbuild_model::Platform::host()));
    Ok(ExitCode::SUCCESS)
}
