//! POSIX ACLs between the form of the system calls and the one on ext4.
//!
//! The system calls have version 2, eight bytes an entry (`posix_acl_xattr.h`); the disk has version 1, where only
//! entries for a named user or group have a number (`fs/ext4/acl.h`).

use std::borrow::Cow;

const NAMES: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

const CALL_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;

/// Tags of entries that name a user or a group.
const USER: u16 = 2;
const GROUP: u16 = 8;

/// What entries that name nobody have as their number in system calls.
const NOBODY: u32 = u32::MAX;

/// The value of the attribute `name` as it stands on the disk; `None` if it is no ACL but named like one.
pub(super) fn to_disk<'v>(name: &str, value: &'v [u8]) -> Option<Cow<'v, [u8]>> {
    if !NAMES.contains(&name) {
        return Some(Cow::Borrowed(value));
    }
    let (version, entries) = value.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != CALL_VERSION || !rest.is_empty() {
        return None;
    }
    let mut disk = DISK_VERSION.to_le_bytes().to_vec();
    for entry in entries {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let length = if matches!(tag, USER | GROUP) { 8 } else { 4 };
        disk.extend_from_slice(&entry[..length]);
    }
    Some(Cow::Owned(disk))
}

/// The value of the attribute `name` as a system call gives it; `None` if it is no ACL but named like one.
pub(super) fn from_disk(name: &[u8], value: Vec<u8>) -> Option<Vec<u8>> {
    if !NAMES.iter().any(|known| known.as_bytes() == name) {
        return Some(value);
    }
    let (version, mut rest) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != DISK_VERSION {
        return None;
    }
    let mut call = CALL_VERSION.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<4>()?;
        call.extend_from_slice(head);
        rest = after;
        if matches!(u16::from_le_bytes([head[0], head[1]]), USER | GROUP) {
            let (id, after) = rest.split_first_chunk::<4>()?;
            call.extend_from_slice(id);
            rest = after;
        } else {
            call.extend_from_slice(&NOBODY.to_le_bytes());
        }
    }
    Some(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let mut call = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in
            [(1u16, 6u16, NOBODY), (2, 4, 1000), (4, 4, NOBODY), (0x10, 4, NOBODY), (0x20, 0, NOBODY)]
        {
            call.extend(tag.to_le_bytes());
            call.extend(permissions.to_le_bytes());
            call.extend(id.to_le_bytes());
        }
        let disk = to_disk(NAMES[0], &call).unwrap().into_owned();
        assert_eq!(disk.len(), 4 + 4 * 4 + 8);
        assert_eq!(from_disk(NAMES[0].as_bytes(), disk).unwrap(), call);
        assert_eq!(to_disk(NAMES[0], b"junk"), None);
        assert_eq!(to_disk("user.x", b"junk").unwrap(), b"junk".as_slice());
    }
}
