//! `plan`, `why` and `log`: what would run, what ran, and why.

use std::process::ExitCode;

use imgbuild::args::{Log, Plan, Why};
use imgbuild::ui::text;
use imgbuild_cache::Cache;
use imgbuild_digest::{Digest, Hash};
use imgbuild_engine::LOG_MEMO;
use imgbuild_model::{Diagnostic, Diagnostics};
use imgbuild_plan::{Ancestry, Generation, Moved, Reason, Status, slot};

use crate::continuity::kept;
use crate::session::{Planning, Prepared, Session, Want, cache_error};

/// `imgbuild plan`.
pub(super) fn plan(plan: &Plan, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let selection = session.selection(plan.selection.patterns(), &plan.selection.variant)?;
    let planning =
        Planning { locked: plan.locked, write_lock: false, explain_all: true, ..Planning::default() };
    let prepared = session.prepare(&selection, &planning)?;
    session.ui.close();
    let cache = session.cache()?;
    if session.shell.settings().json {
        session.shell.line(&to_json(&prepared, &cache));
        return Ok(ExitCode::SUCCESS);
    }
    let paint = session.shell.stdout_paint();
    let kept = kept(&prepared.keys.graph, &prepared.plan, &cache);
    let mut last = None;
    for (place, node) in prepared.keys.graph.nodes.iter().enumerate() {
        let planned = &prepared.plan.actions[place];
        let target = (node.label().clone(), node.platform());
        if last.as_ref() != Some(&target) {
            session.shell.line(&paint.strong(format!("{} ({})", target.0, target.1)));
            last = Some(target);
        }
        let line = match &planned.status {
            Status::Hit { by_content: true } => {
                format!("  {}  {} (by content)", paint.good("hit"), node.describe())
            }
            Status::Hit { by_content: false } => format!("  {}  {}", paint.good("hit"), node.describe()),
            Status::NotNeeded if planned.result.is_some() => {
                format!("  {}  {}", paint.good("hit"), node.describe())
            }
            Status::NotNeeded => format!("  {}    {}", paint.faint("-"), node.describe()),
            Status::Run(reason) => {
                let time =
                    planned.estimate.map(|time| format!(", ~{}", text::rough(time))).unwrap_or_default();
                format!(
                    "  {}  {} {}",
                    paint.warn("run"),
                    node.describe(),
                    paint.faint(format!("({reason}{time})"))
                )
            }
        };
        let mark = match kept.get(&place) {
            None => String::new(),
            Some(kept) if kept.resumes => paint.warn(kept.to_string()),
            Some(kept) => paint.faint(kept.to_string()),
        };
        session.shell.line(&format!("{line}{mark}"));
    }
    let running = prepared.plan.running().count();
    let known: Option<f64> = prepared.plan.estimate_seconds();
    let time =
        known.map(|seconds| format!(", about {}", text::rough(std::time::Duration::from_secs_f64(seconds))));
    session.shell.note(&format!(
        "{} to run, {} cached{}",
        running,
        prepared.plan.actions.len() - running,
        time.unwrap_or_default()
    ));
    Ok(ExitCode::SUCCESS)
}

fn to_json(prepared: &Prepared, cache: &Cache) -> String {
    let kept = kept(&prepared.keys.graph, &prepared.plan, cache);
    let actions: Vec<_> = prepared
        .keys
        .graph
        .nodes
        .iter()
        .enumerate()
        .map(|(place, node)| {
            let planned = &prepared.plan.actions[place];
            let (status, reason) = match &planned.status {
                Status::Hit { .. } => ("hit", None),
                Status::Run(reason) => ("run", Some(reason)),
                Status::NotNeeded => ("not_needed", None),
            };
            serde_json::json!({
                "id": place,
                "target": node.label().to_string(),
                "platform": node.platform().to_string(),
                "kind": node.schema.id,
                "description": node.describe(),
                "key": planned.key.map(|key| key.to_string()),
                "status": status,
                "reason": reason,
                "estimate_milliseconds": planned.estimate.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                "machine": kept.get(&place),
                "prerequisites": node.prerequisites,
                "location": node.action.location.to_string(),
            })
        })
        .collect();
    serde_json::to_string_pretty(&serde_json::json!({ "version": 1, "actions": actions })).unwrap_or_default()
}

/// `imgbuild why`.
pub(super) fn why(why: &Why, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let selection = session.selection(why.selection.patterns(), &why.selection.variant)?;
    let planning = Planning { write_lock: false, explain_all: true, ..Planning::default() };
    let prepared = session.prepare(&selection, &planning)?;
    session.ui.close();
    let cache = session.cache()?;
    let mut ancestry = Ancestry::new(prepared.keys.context(), &cache, Generation::BeforeLastChange);
    let mut said = Vec::new();
    for (place, node) in prepared.keys.graph.nodes.iter().enumerate() {
        let reason = match &prepared.plan.actions[place].status {
            Status::Run(Reason::Below { .. }) => continue,
            Status::Run(reason) => Some(reason.clone()),
            Status::Hit { .. } | Status::NotNeeded => {
                let keys = |needed: usize| prepared.plan.actions[needed].key;
                match ancestry.moved(place, &keys).map_err(|error| cache_error(&error))? {
                    Moved::Own(changes) => Some(Reason::Changed { changes }),
                    Moved::New => Some(Reason::New),
                    Moved::NeverBuilt | Moved::Nothing | Moved::Below(_) => None,
                }
            }
        };
        if let Some(reason) = reason {
            let runs = matches!(prepared.plan.actions[place].status, Status::Run(_));
            said.push((node, runs, reason));
        }
    }
    if session.shell.settings().json {
        let records: Vec<_> = said
            .iter()
            .map(|(node, runs, reason)| {
                serde_json::json!({
                    "target": node.label().to_string(),
                    "platform": node.platform().to_string(),
                    "description": node.describe(),
                    "tense": if *runs { "will run" } else { "ran" },
                    "why": reason,
                })
            })
            .collect();
        session.shell.line(&serde_json::to_string_pretty(&records).unwrap_or_default());
        return Ok(ExitCode::SUCCESS);
    }
    if said.is_empty() {
        session.shell.line("nothing has changed since it was first built");
    }
    let paint = session.shell.stdout_paint();
    for (node, runs, reason) in said {
        let tense = if runs { "will run" } else { "ran" };
        session.shell.line(&format!("{} {}: {}", node.label(), tense, paint.strong(node.describe())));
        match &reason {
            Reason::Changed { changes } => {
                for change in changes.iter().filter(|change| change.component != "parent") {
                    session.shell.line(&format!("  {change}"));
                }
                if changes.iter().all(|change| change.component == "parent") {
                    session.shell.line("  the layer below it changed");
                }
            }
            other => session.shell.line(&format!("  {other}")),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `imgbuild log`.
pub(super) fn log(log: &Log, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let label = session.label(&log.label)?;
    let selection = session.selection([label.to_string().as_str()], &log.variant)?;
    let mut prepared = None;
    for want in [Want::Artifacts, Want::Tests] {
        let planning = Planning { want, write_lock: false, ..Planning::default() };
        let found = session.prepare(&selection, &planning)?;
        if !found.keys.graph.nodes.is_empty() {
            prepared = Some(found);
            break;
        }
    }
    session.ui.close();
    let prepared =
        prepared.ok_or_else(|| Diagnostic::error(format!("`{label}` has no actions, so there is no log")))?;
    let cache = session.cache()?;
    let mut number = 0;
    let mut shown = false;
    for (place, node) in prepared.keys.graph.nodes.iter().enumerate() {
        if *node.label() != label {
            continue;
        }
        number += 1;
        if log.step.is_some_and(|step| step.get() != number) {
            continue;
        }
        let key = Hash::of(slot(&prepared.keys.graph, place).as_bytes());
        let Some(digest) = cache.memo_get(LOG_MEMO, &key).map_err(|error| cache_error(&error))? else {
            continue;
        };
        let digest = String::from_utf8_lossy(&digest).parse::<Digest>().ok();
        let Some(text) = digest.and_then(|digest| cache.read(&digest).ok()) else { continue };
        if log.step.is_none() {
            let paint = session.shell.stdout_paint();
            session.shell.line(&paint.strong(format!("{number}. {}", node.describe())));
        }
        session.shell.print(&String::from_utf8_lossy(&text));
        shown = true;
    }
    if !shown {
        session.shell.note(&format!("`{label}` has said nothing yet"));
    }
    Ok(ExitCode::SUCCESS)
}
