//! The one place where this crate reads the clock, for bookkeeping only: ages for garbage collection, and whether a
//! file's status is old enough to be believed. Nothing read here becomes part of a key or a result.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    since_epoch().as_secs() as i64
}

/// Nanoseconds since 1970.
pub(crate) fn now_nanoseconds() -> i64 {
    since_epoch().as_nanos() as i64
}

fn since_epoch() -> std::time::Duration {
    // A clock before 1970 makes everything look unused for long; nothing worse.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
