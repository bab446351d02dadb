//! The subordinate ids of a user, as `/etc/subuid` and `/etc/subgid` give them.

use std::path::Path;

use super::{NEEDED_IDS, UsernsError};

/// A run of ids of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first one.
    pub start: u32,
    /// How many there are.
    pub count: u32,
}

/// What a user may map into a namespace besides itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubordinateIds {
    /// From `subuid`.
    pub users: Vec<IdRange>,
    /// From `subgid`.
    pub groups: Vec<IdRange>,
}

impl SubordinateIds {
    /// Reads the ranges of the user with this number from the files in `etc`.
    ///
    /// # Errors
    ///
    /// [`UsernsError::NoSubordinateIds`] or [`UsernsError::TooFewSubordinateIds`].
    pub fn of_user(uid: u32, etc: &Path) -> Result<Self, UsernsError> {
        let name = user_name(uid, etc);
        Ok(Self {
            users: ranges_in(&etc.join("subuid"), uid, name.as_deref())?,
            groups: ranges_in(&etc.join("subgid"), uid, name.as_deref())?,
        })
    }
}

/// The user's name, from the password file or, where accounts come from elsewhere, from the C library's resolver.
fn user_name(uid: u32, etc: &Path) -> Option<String> {
    let listed = fs_err::read_to_string(etc.join("passwd")).ok().and_then(|passwd| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
    });
    listed.or_else(|| name_from_resolver(uid))
}

fn name_from_resolver(uid: u32) -> Option<String> {
    let mut record = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut buffer = vec![0; 16 * 1024];
    let mut found = std::ptr::null_mut();
    // SAFETY: every pointer is valid for the length passed with it.
    let status = unsafe {
        libc::getpwuid_r(uid, record.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found)
    };
    if status != 0 || found.is_null() {
        return None;
    }
    // SAFETY: `found` points to `record`, filled in, whose name is a C string in `buffer`.
    let name = unsafe { std::ffi::CStr::from_ptr((*found).pw_name) };
    name.to_str().ok().map(str::to_owned)
}

fn ranges_in(file: &Path, uid: u32, name: Option<&str>) -> Result<Vec<IdRange>, UsernsError> {
    let text = fs_err::read_to_string(file).unwrap_or_default();
    let number = uid.to_string();
    let mut ranges = Vec::new();
    // Free above every range that is given to anybody, and above what distributions give by default.
    let mut start = 100_000_u32;
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let (Some(owner), Some(first), Some(count)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (Ok(first), Ok(count)) = (first.parse::<u32>(), count.parse::<u32>()) else { continue };
        start = start.max(first.saturating_add(count));
        if count > 0 && (Some(owner) == name || owner == number) {
            ranges.push(IdRange { start: first, count });
        }
    }
    let user = name.map_or(number, str::to_owned);
    let end = start.saturating_add(65_535);
    let count = ranges.iter().fold(0, |sum: u32, range| sum.saturating_add(range.count));
    if ranges.is_empty() {
        return Err(UsernsError::NoSubordinateIds { user, file: file.into(), start, end });
    }
    if count < NEEDED_IDS {
        return Err(UsernsError::TooFewSubordinateIds { user, file: file.into(), count, start, end });
    }
    Ok(ranges)
}
