//! `update`: moves the pins of the lock file.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use imgbuild::args::Update;
use imgbuild_digest::Hash;
use imgbuild_model::{Diagnostics, PackagePath, Pattern};
use imgbuild_plan::{ActionGraph, ActionNode, LOCK_FILE, LockFile, PinRequest};

use crate::session::Session;

/// `imgbuild update`.
pub(super) fn update(update: &Update, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let selection = session.selection(update.patterns(), &update.variant)?;
    let analyzed = session.analyze(&selection)?;
    let artifacts: Vec<_> = analyzed.roots.iter().flat_map(|root| root.artifacts(&analyzed)).collect();
    let graph = ActionGraph::build(&analyzed, &artifacts)?;
    let needed: BTreeSet<PinRequest> = graph.nodes.iter().flat_map(ActionNode::pins).collect();
    let old = session.read_lock()?;
    let whole = selection.patterns.include.contains(&Pattern::Recursive(PackagePath::root()))
        && selection.patterns.exclude.is_empty();
    let mut base = old.clone();
    // Pins that nothing names any more go when all of the workspace is looked at.
    let kept: BTreeSet<PinRequest> = if whole { BTreeSet::new() } else { &old.requests() - &needed };
    base.retain(&kept);
    session.ui.phase("asking archives and registries");
    let ordered: Vec<PinRequest> = needed.into_iter().collect();
    let mut new = session.resolve(&ordered, &base)?;
    imgbuild_provisioners::keep_unchanged(&old, &mut new);
    session.ui.close();
    let moved = report(session, &old, &new);
    if moved == 0 {
        session.shell.note(&format!("`{LOCK_FILE}` is up to date"));
    }
    if update.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    new.write(&session.lock_path()?).map_err(|error| {
        imgbuild_model::Diagnostic::error(format!("cannot write `{LOCK_FILE}`: {error}"))
            .class(imgbuild_model::Class::Environment)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn report(session: &Session, old: &LockFile, new: &LockFile) -> usize {
    let before: BTreeMap<String, Hash> = old.pins().collect();
    let after: BTreeMap<String, Hash> = new.pins().collect();
    let mut moved = 0;
    for (name, hash) in &after {
        let word = match before.get(name) {
            None => "added",
            Some(other) if other != hash => "moved",
            Some(_) => continue,
        };
        moved += 1;
        session.shell.line(&format!("{word} {name}"));
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        moved += 1;
        session.shell.line(&format!("removed {name}"));
    }
    moved
}
