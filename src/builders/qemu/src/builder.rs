//! The builder `qemu`: layers that are disks, machines that go on from one step to the next.
//!
//! A step's result is what it wrote to the disks, as images over those of the layers below ([`disks`]). While it is kept the machine
//! stands still for a moment, goes on with new images over the old ones, and waits for the next step of the run; where none
//! comes it ends with the run. A later build starts from memory where there is a snapshot of it ([`warm`]), and else from the
//! disks, with what was in `/tmp` put back ([`guest`]). One that nobody logs in to is watched ([`console`]). What is not here: QEMU
//! itself, which is in the other modules of this crate, and SSH.

mod access;
mod attributes;
mod checksum;
mod console;
mod disks;
mod export;
mod fill;
mod guest;
mod host;
mod machine;
mod source;
mod start;
mod typing;
mod warm;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use imgbuild_cache::Cache;
use imgbuild_engine::{ActionError, Builder, Machine, MachineId, MachineSpec, Snapshot};
use imgbuild_model::Attributes;
use imgbuild_ssh::Surroundings;

pub use disks::raw_disk;
pub use export::DiskExport;
pub use source::QemuSource;

use machine::{Live, QemuMachine};

/// The builder's name and version, as it enters keys.
pub const KEY: &str = "qemu/1";

/// Who brings files from elsewhere.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Writes what an address has into a new file.
    ///
    /// # Errors
    /// If it cannot be had, or the file not be written.
    async fn fetch(&self, url: &str, to: &Path) -> Result<(), ActionError>;
}

/// Makes layers in machines of QEMU. Clones share what they know and the machines that wait.
#[derive(Clone)]
pub struct QemuBuilder(Arc<Inner>);

/// A machine that waits, and what it was made from: one of other devices over the same layers is another.
struct Waiting {
    source: Attributes,
    files: BTreeMap<Arc<str>, Vec<PathBuf>>,
    live: Live,
}

struct Inner {
    cache: Cache,
    surroundings: Surroundings,
    /// Where programs are looked for.
    folders: Vec<PathBuf>,
    /// Whether machines go on from memory where that is there and fits; else each time is a boot.
    from_memory: bool,
    /// Who brings media from elsewhere.
    fetch: Arc<dyn Fetch>,
    /// What is known of this host's emulators, by their names and the processors of machines.
    hosts: tokio::sync::Mutex<HashMap<(String, String), Arc<host::Host>>>,
    /// Machines that wait for a next step: by run and by what they have come to.
    waiting: Mutex<HashMap<(String, Snapshot), Waiting>>,
    /// The number of the next machine that waits with more than its layers.
    next_id: AtomicU64,
}

impl QemuBuilder {
    /// With the cache that layers lie in, the user's surroundings, the folders of `PATH`, whether machines go on
    /// from memory where they can (else from disks alone: each time is a boot), and who brings media.
    #[must_use]
    pub fn new(
        cache: Cache,
        surroundings: Surroundings,
        folders: Vec<PathBuf>,
        from_memory: bool,
        fetch: Arc<dyn Fetch>,
    ) -> Self {
        Self(Arc::new(Inner {
            cache,
            surroundings,
            folders,
            from_memory,
            fetch,
            hosts: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            next_id: AtomicU64::default(),
        }))
    }

    /// Ends machines that wait, by their runs and what they have come to.
    async fn end(&self, which: impl Fn(&str, &Snapshot) -> bool) {
        let machines: Vec<Live> = {
            let mut waiting = lock(&self.0.waiting);
            waiting.extract_if(|(run, from), _| which(run, from)).map(|(_, waiting)| waiting.live).collect()
        };
        for live in machines {
            live.kill().await;
        }
    }

    fn new_id(&self) -> MachineId {
        MachineId(self.0.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The machine that waits there, if it is such a one.
    fn waiting(&self, from: &Snapshot, wanted: &MachineSpec) -> Option<Live> {
        let place = (wanted.run.id().to_string(), from.clone());
        let mut waiting = lock(&self.0.waiting);
        let fits =
            waiting.get(&place).is_some_and(|it| it.source == wanted.source && it.files == wanted.files);
        fits.then(|| waiting.remove(&place).map(|it| it.live)).flatten()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Builder for QemuBuilder {
    fn key(&self) -> &str {
        KEY
    }

    async fn start(&self, from: &Snapshot, spec: &MachineSpec) -> Result<Box<dyn Machine>, ActionError> {
        let live = match self.waiting(from, spec) {
            Some(live) => live,
            None if from.machine.is_some() => {
                let error = ActionError::environment("the machine of the step before is gone");
                return Err(error.hint("build again: nothing was kept behind that step"));
            }
            None if !access::Access::is_given(attributes::Source { wanted: spec }) => {
                return Ok(Box::new(self.watched(&from.layers, spec).await?));
            }
            None => self.go_on(&from.layers, spec).await?,
        };
        Ok(Box::new(QemuMachine::new(self.clone(), spec.clone(), live, from.machine)))
    }

    async fn let_go(&self, of: &str, machine: MachineId) {
        self.end(|run, from| run == of && from.machine == Some(machine)).await;
    }

    async fn run_ended(&self, ended: &str) {
        self.end(|run, _| run == ended).await;
    }
}
