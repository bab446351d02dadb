//! What is kept beside a machine's memory, on this host alone, so that the next step goes on without a boot; and when it is. Where it
//! lies and how long is the cache's to say ([`imgbuild_cache::WarmSnapshot`]).
//!
//! What a machine must be to take memory is kept with it, as is the digest of each file; what does not fit is not loaded, and the disks, which
//! always are there, are started instead.

use std::time::Duration;

use imgbuild_cache::{Cache, WarmSnapshot};
use imgbuild_digest::Hash;
use imgbuild_engine::{ActionError, MachineSpec as Wanted, Results, believed};
use serde::{Deserialize, Serialize};

use super::access::Kept;
use super::disks::file_name;
use crate::spec::MemoryFingerprint;

/// The file of the memory, where that lies beside QEMU ([`crate::memory::GuestMemory`]). Beside it lie the uppermost images of the
/// disks, and the firmware's variables.
pub(crate) const MEMORY: &str = "memory";
/// The file of all else that a machine is, and of its memory where that is nowhere else.
pub(crate) const STATE: &str = "state";

/// Under what it is remembered how long machines take to come up.
const BOOT: &str = "boot";

/// What is known of a machine whose memory is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct About {
    /// What a machine must be to take it.
    pub(crate) fingerprint: MemoryFingerprint,
    /// The keys that the machine has been given.
    pub(crate) access: Option<Kept>,
}

/// Whether it is of a machine with so many disks.
pub(crate) fn has_disks(warm: &WarmSnapshot, count: usize) -> bool {
    let has = |disk| warm.files().contains_key(&file_name(disk));
    (0..count).all(has) && !has(count)
}

/// Whether the files that QEMU opens are as they were written: those that are read for it are looked at as they are read.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn is_whole_beside_memory(warm: &WarmSnapshot) -> std::io::Result<bool> {
    for name in warm.files().keys().filter(|name| ![MEMORY, STATE].contains(&name.as_str())) {
        if !warm.is_whole(name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What was measured of the machines of a chain, in this run and in earlier ones.
pub(crate) struct Measured<'a> {
    cache: &'a Cache,
    wanted: &'a Wanted,
}

impl<'a> Measured<'a> {
    /// Of the chain that a machine is for.
    pub(crate) fn of(cache: &'a Cache, wanted: &'a Wanted) -> Self {
        Self { cache, wanted }
    }

    fn key(&self, what: &str) -> Hash {
        Hash::of(format!("{what} {}", self.wanted.chain).as_bytes())
    }

    fn record(&self, what: &str, took: Duration) -> Result<(), ActionError> {
        match self.wanted.results {
            Results::Kept => Ok(self.cache.record_duration(&self.key(what), took)?),
            Results::ThrownAway => Ok(()),
        }
    }

    /// Takes note of how long one took to come up.
    pub(crate) fn booted_in(&self, took: Duration) -> Result<(), ActionError> {
        self.record(BOOT, took)
    }

    /// Takes note of what it cost to keep the memory of one, in time and space.
    pub(crate) fn memory_cost(&self, price: Duration) -> Result<(), ActionError> {
        self.record(MEMORY, price)
    }

    /// Whether memory is worth being kept: it is, unless that costs more than the boot that it spares. One of which not both are known is
    /// kept. A cost that is not paid is believed less the next time.
    pub(crate) fn is_memory_worth(&self) -> Result<bool, ActionError> {
        let known = self.cache.estimates(&[self.key(BOOT), self.key(MEMORY)])?;
        match known[..] {
            [Some(boot), Some(price)] if boot <= price => {
                self.memory_cost(believed(price))?;
                Ok(false)
            }
            _ => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imgbuild_cache::Run;
    use imgbuild_engine::Told;
    use imgbuild_model::Attributes;

    use super::*;

    #[test]
    fn what_costs_more_than_a_boot_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let wanted = |chain: &str, results| Wanted {
            platform: "linux/amd64".parse().unwrap(),
            source_date: 0,
            run: Arc::new(Run::begin(&cache).unwrap()),
            chain: chain.to_owned(),
            source: Attributes::default(),
            files: Default::default(),
            sensitive: false,
            results,
            told: Told::nobody(),
        };
        let seconds = Duration::from_secs;
        for (chain, boot, price, worth) in [
            ("new", None, None, true),
            ("never kept", Some(10), None, true),
            ("quick", Some(10), Some(1), true),
            ("slow", Some(1), Some(2), false),
        ] {
            let wanted = wanted(chain, Results::Kept);
            let measured = Measured::of(&cache, &wanted);
            boot.into_iter().for_each(|boot| measured.booted_in(seconds(boot)).unwrap());
            price.into_iter().for_each(|price| measured.memory_cost(seconds(price)).unwrap());
            assert_eq!(measured.is_memory_worth().unwrap(), worth, "{chain}");
        }
        let slow = wanted("slow", Results::Kept);
        let asked = (0..100).find(|_| Measured::of(&cache, &slow).is_memory_worth().unwrap());
        assert!(asked.is_some(), "one slow day does not decide for ever");

        let apart = wanted("apart", Results::ThrownAway);
        let measured = Measured::of(&cache, &apart);
        measured.booted_in(seconds(1)).unwrap();
        measured.memory_cost(seconds(2)).unwrap();
        assert!(measured.is_memory_worth().unwrap(), "nothing of such a run is remembered");
    }
}
