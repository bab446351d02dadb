//! Whether a machine's chain can go on from each of its steps: `--resume=never`, and `--check-resume`.
//!
//! The check has a chain's steps carried out once on one machine, and then each by itself in a machine that is started from the
//! disks of the step below. It stops at the first that fails there or leaves another disk. What differs between two
//! runs on one machine too, such as a date, is no matter of going on: where something differs, the chain is run once more to tell.
//! All that comes of it, but the first run, is of no use to anybody and is thrown away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild::args::Resume;
use imgbuild_cache::{ActionResult, Cache, Lease, Run};
use imgbuild_compare::{Aspect, Changed, Opened, Options, Side, compare, open};
use imgbuild_engine::{ActionError, Failure, RunReport};
use imgbuild_model::{Diagnostic, KindClass, with_causes};
use imgbuild_plan::{ActionGraph, ActionNode, KeyInputs, Plan, Planned, Reason, Status};
use imgbuild_qemu::builder::raw_disk;
use imgbuild_tree::DeltaId;

/// What of machines runs although its result is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MachineSteps {
    /// Nothing: a chain goes on from the last layer that holds.
    #[default]
    AsFound,
    /// All steps of a chain of which one has to run.
    WholeChains,
    /// All steps.
    Again,
}

impl MachineSteps {
    /// As it was asked for.
    pub(crate) fn asked(resume: Resume) -> Self {
        match resume {
            Resume::Never => Self::WholeChains,
            Resume::Warm | Resume::Cold => Self::AsFound,
        }
    }

    /// The actions of a plan that run for it, by their places.
    pub(crate) fn again(self, graph: &ActionGraph, plan: &Plan) -> BTreeSet<usize> {
        let step = |place: &usize| is_step(&graph.nodes[*place]);
        match self {
            Self::AsFound => BTreeSet::new(),
            Self::WholeChains => {
                plan.running().filter(step).flat_map(|place| up_to(graph, place)).filter(step).collect()
            }
            Self::Again => (0..graph.nodes.len()).filter(step).collect(),
        }
    }
}

/// Whether an action is a step in one of our machines.
fn is_step(node: &ActionNode) -> bool {
    node.builder == "qemu" && node.schema.class == KindClass::Step
}

/// An action and those below it in its chain.
fn up_to(graph: &ActionGraph, place: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(place), |place| graph.nodes[*place].parent)
}

/// A step and those below it that are joined to it.
fn with_fused(graph: &ActionGraph, place: usize) -> BTreeSet<usize> {
    let joined = up_to(graph, place).skip(1).take_while(|below| graph.nodes[*below].is_fused());
    joined.chain([place]).collect()
}

/// What is kept of the machine behind a step that need not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Kept {
    /// Whether its memory is, as well as its disks.
    memory: bool,
    /// Whether a step of the plan goes on from there.
    pub(crate) resumes: bool,
}

/// As a plan has it behind a step.
impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let from = if self.memory { "memory" } else { "disk" };
        if self.resumes { write!(f, "  <- goes on here, from {from}") } else { write!(f, "  ({from})") }
    }
}

/// What is kept of machines, by the place of the action behind which it is. Whether a machine of today takes its memory is found out
/// when it is started.
pub(crate) fn kept(graph: &ActionGraph, plan: &Plan, cache: &Cache) -> BTreeMap<usize, Kept> {
    let resumes = plan.resumes(graph);
    let is_there = |place: usize| {
        let Planned { status, result, .. } = &plan.actions[place];
        let result = result.as_ref().filter(|_| !matches!(status, Status::Run(_)))?;
        let memory = cache.warm_snapshot(&result.layers).is_some();
        Some((place, Kept { memory, resumes: resumes.contains(&place) }))
    };
    let has_machine = |place: &usize| graph.nodes[*place].has_machine();
    let places = (0..graph.nodes.len()).filter(has_machine);
    places.filter_map(is_there).collect()
}

/// What differs by nature between two boots of one disk, and so is not compared. `docs/virtual-machines.md` has the list.
const OF_A_BOOT: [&str; 24] = [
    "/etc/machine-id",
    "/etc/ssh/ssh_host_*",
    // Written anew for each instance, with the time.
    "/etc/sudoers.d/90-cloud-init-users",
    "/home/*/.ssh/authorized_keys",
    "/root/.ssh/authorized_keys",
    "/run",
    "/tmp/.*-unix",
    "/tmp/imgbuild-*",
    "/tmp/snap-private-tmp",
    "/tmp/systemd-private-*",
    "/var/cache/debconf/*-old",
    "/var/cache/ldconfig",
    "/var/lib/NetworkManager",
    "/var/lib/cloud",
    "/var/lib/dbus/machine-id",
    "/var/lib/dhclient",
    "/var/lib/dhcp",
    "/var/lib/imgbuild",
    "/var/lib/systemd",
    "/var/lib/urandom",
    "/var/log",
    "/var/tmp/imgbuild-*",
    "/var/tmp/systemd-private-*",
    "/var/tmp/.*-unix",
];

/// Steps that are ours, and take nothing from the ones below.
const OURS: [&str; 2] = ["power_off", "seal"];

/// How many paths a report has.
const SHOWN: usize = 20;

/// Chains whose steps have been run, each on one machine.
pub(crate) struct Chains<'a> {
    /// What they are.
    pub(crate) keys: &'a KeyInputs,
    /// How they were run.
    pub(crate) plan: &'a Plan,
    /// What came of it, by place.
    pub(crate) live: &'a HashMap<usize, Arc<ActionResult>>,
    /// Where that lies.
    pub(crate) cache: &'a Cache,
    /// The folders of `PATH`.
    pub(crate) folders: &'a [PathBuf],
}

/// The first step from below which a machine cannot go on.
#[derive(Debug)]
pub(crate) struct Finding {
    place: usize,
    what: Found,
}

#[derive(Debug)]
enum Found {
    /// It fails in a machine that is started anew.
    Fails(ActionError),
    /// It leaves another disk: paths, and in what they differ.
    Differs(BTreeMap<String, String>),
}

impl Finding {
    /// The finding for the user.
    pub(crate) fn diagnostic(&self, graph: &ActionGraph) -> Diagnostic {
        let node = &graph.nodes[self.place];
        self.what.diagnostic(&node.label().to_string(), &node.describe()).at(node.action.location.clone())
    }
}

impl Found {
    /// The same of a step of a target.
    fn diagnostic(&self, target: &str, step: &str) -> Diagnostic {
        let what = match self {
            Self::Fails(error) => {
                format!("fails in a machine that is started from the disks below it: {error}")
            }
            Self::Differs(paths) => format!(
                "leaves another disk in a machine that is started from the disks below it ({} differ)",
                paths.len()
            ),
        };
        let message = format!("`{target}` cannot go on from each of its steps: `{step}` {what}");
        let mut diagnostic = Diagnostic::error(message).label("the first step of which it is so").hint(
            "it needs what an earlier step has left in memory, as a service or a setting of the kernel: let the step start it itself, enable it for each boot, or join the earlier step to it (`fuse = True`, in a `BUILD.star`)",
        );
        match self {
            // One that does not boot may be this host's fault.
            Self::Fails(error) => diagnostic = diagnostic.class(error.class()),
            Self::Differs(paths) => {
                for (path, how) in paths.iter().take(SHOWN) {
                    diagnostic = diagnostic.note(format!("{path}: {how}"), None);
                }
                if paths.len() > SHOWN {
                    diagnostic = diagnostic.note(format!("and {} more", paths.len() - SHOWN), None);
                }
            }
        }
        diagnostic
    }
}

impl Chains<'_> {
    /// The steps that are looked at, each behind those that it stands on.
    pub(crate) fn steps(graph: &ActionGraph) -> Vec<usize> {
        let looked_at = |node: &ActionNode| {
            is_step(node) && !node.leaves_machine() && !node.is_fused() && !OURS.contains(&node.schema.id)
        };
        (0..graph.nodes.len()).filter(|place| looked_at(&graph.nodes[*place])).collect()
    }

    /// The plan by which these run once more, with all else as it came out.
    fn only(&self, places: &BTreeSet<usize>) -> Plan {
        let mut plan = self.plan.clone();
        for (place, action) in plan.actions.iter_mut().enumerate() {
            action.result = self.live.get(&place).cloned().or(action.result.take());
            action.status = match &action.result {
                _ if places.contains(&place) => Status::Run(Reason::Forced),
                Some(_) => Status::Hit { by_content: false },
                None => Status::NotNeeded,
            };
        }
        plan
    }

    /// Looks from the first step to the last. `run` carries a plan out apart, its steps on one machine that is started from disks;
    /// `told` hears what is done.
    ///
    /// # Errors
    /// If the chains cannot be run again on one machine either, if disks cannot be read, or if the run is cancelled.
    pub(crate) async fn first_finding(
        &self,
        mut run: impl AsyncFnMut(Plan) -> Result<RunReport, ActionError>,
        told: &dyn Fn(&str),
    ) -> Result<Option<Finding>, ActionError> {
        let graph = &self.keys.graph;
        for place in Self::steps(graph) {
            let step = graph.nodes[place].describe();
            told(&format!("`{step}` once more, in a machine that is started from the disks below it"));
            let mut cold = run(self.only(&with_fused(graph, place))).await?;
            match failure(&mut cold)? {
                None => {}
                Some(failure) if failure.error.left_a_state() => {
                    let Failure { place, error } = failure;
                    return Ok(Some(Finding { place, what: Found::Fails(error) }));
                }
                // It is not the step that is at fault.
                Some(failure) => return Err(failure.error),
            }
            let mut differ = self.differences(place, &cold).await?;
            if !differ.is_empty() {
                told(&format!(
                    "{} differ: up to `{step}` once more on one machine, which tells why",
                    differ.len()
                ));
                let same_chain = up_to(graph, place).filter(|place| is_step(&graph.nodes[*place])).collect();
                let mut again = run(self.only(&same_chain)).await?;
                if let Some(failure) = failure(&mut again)? {
                    return Err(failure.error);
                }
                let by_itself = self.differences(place, &again).await?;
                let (changing, others) = differ
                    .into_iter()
                    .partition::<BTreeMap<_, _>, _>(|(path, _)| by_itself.contains_key(path));
                for path in changing.keys() {
                    told(&format!("{path} is another each time that `{step}` runs"));
                }
                differ = others;
            }
            if !differ.is_empty() {
                return Ok(Some(Finding { place, what: Found::Differs(differ) }));
            }
        }
        Ok(None)
    }

    /// What another run of a step has left otherwise. Its layers are removed.
    async fn differences(
        &self,
        place: usize,
        other: &RunReport,
    ) -> Result<BTreeMap<String, String>, ActionError> {
        let lost = || ActionError::environment("a step has run and left nothing");
        let live = &self.live.get(&place).ok_or_else(lost)?.layers;
        let other = &other.results.get(&place).ok_or_else(lost)?.layers;
        let run = Run::begin(self.cache)?;
        run.lease(&live.iter().chain(other).map(|delta| Lease::Layer(*delta)).collect::<Vec<_>>())?;
        let before = self.disk(&run, live, "before").await?;
        let after = self.disk(&run, other, "after").await?;
        let found = tokio::task::block_in_place(|| differences(&before, &after, run.temporary()))?;
        drop(run);
        self.cache.remove_unused_layers(other)?;
        Ok(found)
    }

    /// The first disk of layers, as it lies in a file.
    async fn disk(&self, run: &Run, layers: &[DeltaId], name: &str) -> Result<PathBuf, ActionError> {
        let path = run.temporary().join(name);
        raw_disk(run, self.folders, layers, &path).await?;
        Ok(path)
    }
}

/// Why a run failed, if it did.
fn failure(report: &mut RunReport) -> Result<Option<Failure>, ActionError> {
    if report.cancelled {
        return Err(ActionError::Cancelled);
    }
    Ok(report.failures.drain(..).next())
}

/// What two disks differ in, by path.
fn differences(
    before: &Path,
    after: &Path,
    temporary: &Path,
) -> Result<BTreeMap<String, String>, ActionError> {
    let ignored = OF_A_BOOT.map(str::to_owned);
    let options = Options::default()
        .limited(&ignored, &["**".to_owned()])
        .map_err(|error| ActionError::environment(error.to_string()))?;
    let disk = |path: &Path| -> Result<Opened, ActionError> {
        open(path, &[], temporary).map_err(|error| {
            ActionError::input(format!("the disks cannot be compared: {}", with_causes(&error)))
                .hint("`--check-resume` compares the first disk's root file system, and reads ext4")
        })
    };
    let (one, other) = (disk(before)?, disk(after)?);
    let report = compare(side(&one), side(&other), &options)
        .map_err(|error| ActionError::environment(with_causes(&error)))?;
    Ok(report.files.into_iter().map(|file| (file.path, described(file.change, &file.aspects))).collect())
}

fn side(disk: &Opened) -> Side<'_> {
    Side { name: "disk", tree: &*disk.tree, configuration: None }
}

/// How a path differs.
fn described(change: Changed, aspects: &[Aspect]) -> String {
    match change {
        Changed::Added => "only in the machine that was started anew".to_owned(),
        Changed::Removed => "not in the machine that was started anew".to_owned(),
        Changed::Changed => {
            let names = aspects.iter().map(|aspect| match aspect {
                Aspect::Kind => "what it is",
                Aspect::Mode => "its mode",
                Aspect::Owner => "its owner",
                Aspect::Content => "its contents",
                Aspect::Target => "where it leads",
                Aspect::Device => "its device",
                Aspect::Attributes => "its attributes",
                Aspect::Names => "its other names",
                Aspect::Time => "its time",
            });
            format!("{} differ", names.collect::<Vec<_>>().join(" and "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    /// A disk with these files; `None`, with the reason said, where none can be made.
    fn disk(folder: &Path, name: &str, files: &[(&str, &str, u32)]) -> Option<PathBuf> {
        let root = folder.join(name);
        for (path, text, mode) in files {
            let path = root.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, text).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
        let disk = folder.join(format!("{name}.raw"));
        fs_err::File::create(&disk).unwrap().set_len(16 << 20).unwrap();
        let mut command = Command::new("/usr/sbin/mkfs.ext4");
        let made = command.args(["-q", "-F", "-b", "4096", "-d"]).arg(&root).arg(&disk).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: there is no /usr/sbin/mkfs.ext4 that fills what it makes");
            return None;
        }
        Some(disk)
    }

    #[test]
    fn disks_differ_in_what_a_step_has_left_and_not_in_what_a_boot_does() {
        let folder = tempfile::tempdir().unwrap();
        let live = [
            ("etc/helper", "active", 0o644),
            ("etc/same", "same", 0o644),
            ("etc/mode", "", 0o755),
            ("etc/gone", "", 0o644),
            ("etc/machine-id", "1", 0o444),
            ("var/log/syslog", "one boot", 0o640),
            ("home/me/.ssh/authorized_keys", "a key", 0o600),
        ];
        let cold = [
            ("etc/helper", "inactive", 0o644),
            ("etc/same", "same", 0o644),
            ("etc/mode", "", 0o644),
            ("etc/new", "", 0o644),
            ("etc/machine-id", "2", 0o444),
            ("var/log/syslog", "another", 0o640),
            ("home/me/.ssh/authorized_keys", "another", 0o600),
        ];
        let Some(before) = disk(folder.path(), "live", &live) else { return };
        let after = disk(folder.path(), "cold", &cold).unwrap();
        let found = differences(&before, &after, folder.path()).unwrap();
        let said: Vec<_> = found.iter().map(|(path, how)| format!("{path}: {how}")).collect();
        assert_eq!(
            said,
            [
                "/etc/gone: not in the machine that was started anew",
                "/etc/helper: its contents differ",
                "/etc/mode: its mode differ",
                "/etc/new: only in the machine that was started anew",
            ]
        );
        assert!(differences(&before, &before, folder.path()).unwrap().is_empty());

        fs_err::write(folder.path().join("noise"), [7; 4096]).unwrap();
        let error = differences(&before, &folder.path().join("noise"), folder.path()).unwrap_err();
        assert!(error.to_string().contains("the disks cannot be compared: "), "{error}");
    }

    #[test]
    fn another_disk_is_told_with_its_first_paths() {
        let how = |number: usize| (format!("/etc/{number:02}"), "its contents differ".to_owned());
        let found = Found::Differs((0..SHOWN + 3).map(how).collect());
        let diagnostic = found.diagnostic("//:web", "shell x");
        assert_eq!(
            diagnostic.message,
            "`//:web` cannot go on from each of its steps: `shell x` leaves another disk in a machine that is started from the disks below it (23 differ)"
        );
        let said = diagnostic.to_string();
        for part in ["/etc/00: its contents differ", "/etc/19: its contents differ", "and 3 more"] {
            assert!(said.contains(part), "`{part}` is not in {said}");
        }
        assert!(!said.contains("/etc/20"), "{said}");
    }
}
