//! Answers what the lock file does not say: which packages a suite means today, which manifest an image's tag names,
//! which indexes an archive has, when a chain's epoch began.
//!
//! All network access before a build is here. What is not here: when an answer is asked for and where it is written (the
//! command line), and what is done with it (`debian`, and the planner's keys).

mod archive;
mod download;
mod errors;
mod indexes;
mod packages;
mod pins;
pub(crate) mod registry;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use imgbuild_cache::Cache;
pub use imgbuild_debian::fetch::Proxies;
use imgbuild_debian::fetch::RetryPolicy;
use imgbuild_model::{Class, Diagnostic, Diagnostics, EventSink};
use imgbuild_plan::{DebianRequest, ImageRequest, IndexRequest, LockFile, PinRequest};

pub(crate) use archive::{Archive, SuiteIndexes};
pub(crate) use download::{blocking, packages as download_packages};
pub(crate) use errors::{Problem, diagnostic, solve_diagnostic};
pub(crate) use indexes::pinned_indexes;
pub(crate) use packages::specs;
pub(crate) use pins::locked_closure;

/// Where archives and registries are reached. Nothing of this may enter a key or a lock file.
#[derive(Clone)]
pub struct ArchiveConfig {
    /// Mirrors of Debian that the user names, tried in order; if empty, those of the host's apt, else Debian's own.
    pub debian: Vec<String>,
    /// Mirrors of Debian's security archive; if empty, those of the host's apt, else the neighbour of each Debian mirror.
    pub debian_security: Vec<String>,
    /// Mirrors of Ubuntu; if empty, those of the host's apt. There is no default.
    pub ubuntu: Vec<String>,
    /// The snapshot service, for versions that mirrors have dropped; Debian's own, for Debian alone, if absent.
    pub snapshot: Option<String>,
    /// Debian's keyring; the one of the host's `debian-archive-keyring` if absent.
    pub debian_keyring: Option<PathBuf>,
    /// Ubuntu's keyring; the one of the host's `ubuntu-keyring` if absent.
    pub ubuntu_keyring: Option<PathBuf>,
    /// The folder of the host's apt configuration: `/etc/apt`.
    pub etc_apt: PathBuf,
    /// The proxies for archives and registries.
    pub proxies: Proxies,
    /// Docker's `config.json`, for the credentials of registries; all access is anonymous if absent.
    pub docker_config: Option<PathBuf>,
    /// How long to try.
    pub retry: RetryPolicy,
    /// Transfers at the same time.
    pub parallel: usize,
    /// Where packages and indexes are kept.
    pub cache: Cache,
    /// The time of the run, in seconds since 1970: for expiry dates, and for the ids of epochs.
    pub now: i64,
    /// Where warnings go.
    pub events: Arc<dyn EventSink>,
}

impl ArchiveConfig {
    /// What holds when the user says nothing.
    #[must_use]
    pub fn new(cache: Cache, now: i64, events: Arc<dyn EventSink>) -> Self {
        Self {
            debian: Vec::new(),
            debian_security: Vec::new(),
            ubuntu: Vec::new(),
            snapshot: None,
            debian_keyring: None,
            ubuntu_keyring: None,
            etc_apt: PathBuf::from("/etc/apt"),
            proxies: Proxies::default(),
            docker_config: None,
            retry: RetryPolicy::default(),
            parallel: 8,
            cache,
            now,
            events,
        }
    }
}

/// Answers [`PinRequest`]s.
pub struct Resolver {
    config: Arc<ArchiveConfig>,
}

impl Resolver {
    /// A resolver that looks where `config` says.
    #[must_use]
    pub fn new(config: Arc<ArchiveConfig>) -> Self {
        Self { config }
    }

    /// The lock file with answers to the requests. Pins that are there are not moved, unless they stand on one that had to
    /// be made anew: packages on top of other packages mean something else on top of new ones.
    ///
    /// # Errors
    /// All that cannot be answered, each once; then nothing is to be written.
    pub async fn resolve(&self, requests: &[PinRequest], lock: &LockFile) -> Result<LockFile, Diagnostics> {
        let mut debian: BTreeSet<&DebianRequest> = BTreeSet::new();
        let mut images: BTreeSet<&ImageRequest> = BTreeSet::new();
        let mut indexes: BTreeSet<&IndexRequest> = BTreeSet::new();
        let mut answered = lock.clone();
        for request in requests {
            match request {
                PinRequest::Debian(request) => drop(debian.insert(request)),
                PinRequest::Image(request) => drop(images.insert(request)),
                PinRequest::Index(request) => drop(indexes.insert(request)),
                PinRequest::Epoch(chain) => answered
                    .set_epoch(chain, &epoch_id(self.config.now).map_err(|Problem(problem)| *problem)?),
            }
        }
        let archive = Archive::new(self.config.clone());
        let mut problems = Problems::default();
        // What is installed on an image depends on which one it is.
        for pin in problems.keep(registry::resolve(&self.config, &images).await) {
            answered.set_image(pin);
        }
        let (packages, indexes) = tokio::join!(
            packages::resolve(&archive, &debian, &images, &answered),
            indexes::resolve(&archive, &indexes, &answered),
        );
        for pin in problems.keep(packages) {
            answered.set_debian(pin);
        }
        for pin in problems.keep(indexes) {
            answered.set_index(pin);
        }
        if problems.0.is_empty() { Ok(answered) } else { Err(Diagnostics(problems.0)) }
    }
}

/// Gives a new lock file the old one's pins back where both mean the same, so that an update without news changes nothing:
/// not the dates, not the keys.
pub fn keep_unchanged(old: &LockFile, new: &mut LockFile) {
    for pin in old.debian_pins() {
        let is_same = new.debian(&pin.request).is_some_and(|found| {
            let dated_alike = imgbuild_plan::DebianPin { date: pin.date, ..found.clone() };
            found.codename == pin.codename && dated_alike.identity() == pin.identity()
        });
        if is_same {
            new.set_debian(pin.clone());
        }
    }
    for pin in old.index_pins() {
        if new.index(&pin.request).is_some_and(|found| found.files == pin.files) {
            new.set_index(pin.clone());
        }
    }
    for pin in old.image_pins() {
        if new.image(&pin.request).is_some_and(|found| found.digest == pin.digest) {
            new.set_image(pin.clone());
        }
    }
}

fn epoch_id(now: i64) -> Result<String, Problem> {
    match jiff::Timestamp::from_second(now) {
        Ok(time) => Ok(time.to_string()),
        Err(_) => {
            Err(Diagnostic::error("this machine's clock is out of range").class(Class::Environment).into())
        }
    }
}

/// What went wrong, each thing once: ten chains on one suite that is not there are one problem.
#[derive(Default)]
struct Problems(Vec<Diagnostic>);

impl Problems {
    fn keep<T>(&mut self, results: Vec<Result<T, Problem>>) -> Vec<T> {
        let mut good = Vec::with_capacity(results.len());
        for result in results {
            match result {
                Ok(value) => good.push(value),
                Err(Problem(problem)) if self.0.contains(&problem) => {}
                Err(Problem(problem)) => self.0.push(*problem),
            }
        }
        good
    }
}
