//! What the plan of a template takes from elsewhere, written down for the targets that its builds have become: what floats is
//! pinned, and the epochs are those of the builds before. So the targets have the keys that the template's builds have.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use imgbuild_model::{Diagnostic, Diagnostics};
use imgbuild_packer::load::Loaded;
use imgbuild_packer::lower::{Holes, Volatile};
use imgbuild_packer::migrate::Migrated;
use imgbuild_packer_cli::args::Reuse;
use imgbuild_plan::{ActionNode, LOCK_FILE, LockFile, PinRequest};

use super::load::Place;
use super::prepare::{Arguments, Planned, Planner, secret_key};
use crate::continuity::MachineSteps;
use crate::session::{Session, added, lock_error};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// What the lock file has that it had not, in a few words.
    pub(super) added: Option<String>,
    /// Where keys differ all the same.
    pub(super) warnings: Diagnostics,
}

/// Plans the builds that became targets, and adds what their plans pin to a workspace's lock file. What that says already
/// stays.
///
/// An epoch is taken however old it is, as one in a lock file is; where no build has begun one, it is begun here.
///
/// # Errors
/// If the cache or the lock file cannot be used. A build that cannot be planned is a warning.
pub(super) fn write(
    path: &Path,
    targets: &[Migrated],
    (template, loaded): (&Path, &Loaded),
    place: &Place,
    session: &mut Session,
) -> Result<Written, Diagnostics> {
    let holes = Holes::new(secret_key(&session.cache()?)?, loaded.sensitive.iter().map(String::as_str));
    holes.define(Volatile::RunUuid, &uuid::Uuid::new_v4().to_string());
    let planner = Planner {
        place,
        template: template.to_path_buf(),
        reuse: Reuse { max_age: Some(Duration::MAX), ..Reuse::default() },
        holes: &holes,
        epochs: Mutex::default(),
        keeps_epochs: true,
        machines: MachineSteps::AsFound,
        args: Arguments::default(),
        real: OnceLock::new(),
    };
    let before = LockFile::read(path).map_err(|error| lock_error(&error))?;
    let mut lock = before.clone();
    let mut warnings = Vec::new();
    for target in targets {
        let recipe = &loaded.recipes.recipes[target.place];
        let planned = planner.lower(recipe, &[]).and_then(|lowered| match lowered {
            Ok(lowered) => planner.plan(lowered, session),
            Err(why) => Err(why.into()),
        });
        match planned {
            Ok(planned) => {
                let differ = take_over(&mut lock, &planned, target);
                warnings.extend(differ.iter().map(|request| {
                    Diagnostic::warning(format!(
                        "`{LOCK_FILE}` has another `{request}` than the plan of `{}`, and keeps it",
                        target.build
                    ))
                    .hint(format!(
                        "`{0}` is built from what the file says; `imgbuild update {0}` moves it",
                        target.target
                    ))
                }));
            }
            Err(problems) => warnings.extend(problems.0.into_iter().take(1).map(|problem| {
                let message =
                    format!("what the plan of `{}` pins is not known: {}", target.build, problem.message);
                let hint = format!(
                    "migrate again with `-force` when it can be known; a build of `{}` before runs all whose key is another then",
                    target.target
                );
                Diagnostic::warning(message).hint(hint)
            })),
        }
    }
    let changed = lock != before;
    if changed {
        lock.write(path).map_err(|error| lock_error(&error))?;
    }
    let added = changed.then(|| added(&before, &lock));
    Ok(Written { added, warnings: Diagnostics(warnings) })
}

/// Takes over what a build's plan was made with, under the name of its target; gives what the lock file says otherwise.
fn take_over(lock: &mut LockFile, planned: &Planned, target: &Migrated) -> Vec<PinRequest> {
    let renamed = |chain: &str| match chain.strip_prefix(&format!("{} ", target.from)) {
        Some(platform) => format!("{} {platform}", target.target),
        None => chain.to_owned(),
    };
    let mut found = (*planned.keys.lock).clone();
    found.rename_epochs(renamed);
    let pins = planned.keys.graph.nodes.iter().flat_map(ActionNode::pins);
    let requests: BTreeSet<PinRequest> = pins
        .map(|request| match request {
            PinRequest::Epoch(chain) => PinRequest::Epoch(renamed(&chain)),
            other => other,
        })
        .collect();
    lock.take_over(&found, &requests)
}
