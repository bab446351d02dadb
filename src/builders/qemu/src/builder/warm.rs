//! What is kept beside a machine's memory, on this host alone, so that the next step goes on without a boot; and when it is. Where it
//! lies and how long is the cache's to say ([`imgbuild_cache::WarmSnapshot`]).
//!
//! What a machine must be to take memory is kept with it, as is the digest of each file; what does not fit is not loaded, and the disks, which
//! always are there, are started instead.

use std::time::Duration;

use imgbuild_cache::WarmSnapshot;
use serde::{Deserialize, Serialize};

use super::access::Kept;
use super::disks::file_name;
use crate::spec::MemoryFingerprint;

/// The file of the memory. Beside it lie the uppermost images of the disks, and the firmware's variables.
pub(crate) const MEMORY: &str = "memory";

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

/// Whether the files beside the memory are as they were written.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn is_whole_beside_memory(warm: &WarmSnapshot) -> std::io::Result<bool> {
    for name in warm.files().keys().filter(|name| *name != MEMORY) {
        if !warm.is_whole(name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether memory is worth being kept, from what was measured in this run: it is, unless keeping it took longer than the boot that
/// it spares. A machine of which nothing is known is kept once.
pub(crate) fn is_worth(boot: Option<Duration>, last: Option<Duration>) -> bool {
    match (boot, last) {
        (Some(boot), Some(last)) => last < boot,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_more_than_a_boot_is_not_kept() {
        let seconds = Duration::from_secs;
        assert!(is_worth(None, Some(seconds(9))));
        assert!(is_worth(Some(seconds(10)), None));
        assert!(is_worth(Some(seconds(10)), Some(seconds(1))));
        assert!(!is_worth(Some(seconds(1)), Some(seconds(2))));
    }
}
