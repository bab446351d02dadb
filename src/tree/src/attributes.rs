//! Extended attributes: which of them belong to an image, which are overlayfs' own notes, and which are dropped.
//!
//! Kept: `security.capability` as version 2, POSIX ACLs (the kernel translates their ids to those of the reader's
//! user namespace, so they are the image's), and `user.*`. Everything else (labels of security modules,
//! `trusted.*`, overlayfs' notes about this machine's inodes) would make one step's result differ between machines.
//! What is not here: any decision about whole entries.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lremovexattr, lsetxattr};
use rustix::io::Errno;

/// The namespace in which overlayfs keeps its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrNamespace {
    /// `trusted.overlay.*`: a mount made by root.
    Trusted,
    /// `user.overlay.*`: a mount made in a user namespace, with the option `userxattr`.
    User,
}

impl XattrNamespace {
    /// The one that mounts of this process use: a process that sees only a part of all user ids is in a user namespace.
    #[must_use]
    pub fn of_process() -> Self {
        // The initial namespace maps all ids to themselves in one line: inside, outside, count.
        let maps_all = |map: &str| map.split_whitespace().nth(2) == Some("4294967295");
        match fs_err::read_to_string("/proc/self/uid_map") {
            Ok(map) if !maps_all(&map) => Self::User,
            // Without `/proc` nothing says that there is a namespace.
            _ => Self::Trusted,
        }
    }

    /// The name of the mark of a folder that hides what is below it.
    #[must_use]
    pub fn opaque_attribute(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    /// The prefix of overlayfs' marks, with the closing dot.
    #[must_use]
    pub fn prefix(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }
}

const CAPABILITY: &[u8] = b"security.capability";
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// What the extended attributes of one file say.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// What belongs to the image.
    pub(crate) kept: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// What does not and is to be removed from the file: full names.
    pub(crate) dropped: Vec<CString>,
    /// The full name of overlayfs' mark for a folder that hides what is below.
    pub(crate) opaque_mark: Option<CString>,
    /// Whether the mark says so (it also serves to announce whiteouts that are marked files).
    pub(crate) opaque: bool,
    /// Whether the file is a whiteout by mark.
    pub(crate) whiteout: bool,
    /// A mark that says that this layer does not hold the file whole.
    pub(crate) foreign_feature: Option<String>,
}

/// Reads the attributes of `path` itself, not of what it points to. Overlayfs' marks are looked for in
/// `namespaces`.
pub(crate) fn read(path: &Path, namespaces: &[XattrNamespace]) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    for name in list(path)? {
        let bytes = name.as_bytes();
        let mark = namespaces.iter().find_map(|namespace| bytes.strip_prefix(namespace.prefix()));
        match mark {
            Some(b"opaque") => {
                attributes.opaque = value(path, &name)?.as_deref() == Some(b"y");
                attributes.opaque_mark = Some(name);
            }
            Some(b"whiteout") => attributes.whiteout = true,
            Some(feature @ (b"metacopy" | b"redirect")) => {
                attributes.foreign_feature = Some(String::from_utf8_lossy(feature).into_owned());
            }
            Some(_) => attributes.dropped.push(name),
            None => match keep(path, &name)? {
                Some(kept) => {
                    attributes.kept.insert(bytes.into(), kept);
                }
                None => attributes.dropped.push(name),
            },
        }
    }
    Ok(attributes)
}

/// The value to record for the attribute, or `None` if it does not belong to an image.
fn keep(path: &Path, name: &CString) -> io::Result<Option<Box<[u8]>>> {
    match name.as_bytes() {
        CAPABILITY => Ok(value(path, name)?.and_then(|value| capability_version_2(&value))),
        ACCESS_ACL | DEFAULT_ACL => Ok(value(path, name)?.map(Vec::into_boxed_slice)),
        bytes if bytes.starts_with(b"user.") && !bytes.starts_with(XattrNamespace::User.prefix()) => {
            Ok(value(path, name)?.map(Vec::into_boxed_slice))
        }
        _ => Ok(None),
    }
}

/// File capabilities in the form that says nothing about user namespaces.
///
/// Version 3 adds the id of the namespace's root; 0 is this image's root, which version 2 means. Any other id
/// grants the capabilities to the root of some namespace inside the image only: an image cannot say that, and
/// version 2 would grant them to everybody, so they are dropped.
fn capability_version_2(value: &[u8]) -> Option<Box<[u8]>> {
    const REVISION_MASK: u32 = 0xff00_0000;
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_3: u32 = 0x0300_0000;
    let magic = u32::from_le_bytes(value.get(..4)?.try_into().ok()?);
    match (magic & REVISION_MASK, value.len()) {
        (REVISION_2, 20) => Some(value.into()),
        (REVISION_3, 24) if value[20..] == [0; 4] => {
            let mut version_2 = value[..20].to_vec();
            version_2[..4].copy_from_slice(&(magic & !REVISION_MASK | REVISION_2).to_le_bytes());
            Some(version_2.into())
        }
        _ => None,
    }
}

fn list(path: &Path) -> io::Result<Vec<CString>> {
    let mut buffer = [0u8; 1024];
    let mut large;
    let names: &[u8] = match llistxattr(path, &mut buffer[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(length) => &buffer[..length],
        Err(Errno::RANGE) => {
            // The kernel's limit for a list is 64 KiB.
            large = vec![0u8; 1 << 16];
            let length = llistxattr(path, &mut large[..])?;
            &large[..length]
        }
        Err(error) => return Err(error.into()),
    };
    Ok(names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| CString::new(name).ok())
        .collect())
}

fn value(path: &Path, name: &CString) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0u8; 1024];
    match lgetxattr(path, name, &mut buffer[..]) {
        Ok(length) => Ok(Some(buffer[..length].to_vec())),
        Err(Errno::NODATA) => Ok(None),
        Err(Errno::RANGE) => {
            // The kernel's limit for a value is 64 KiB.
            let mut large = vec![0u8; 1 << 16];
            let length = lgetxattr(path, name, &mut large[..])?;
            large.truncate(length);
            Ok(Some(large))
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes an attribute; one that the system does not let go of (a security module's label) stays and is not seen
/// in any manifest.
pub(crate) fn remove(path: &Path, name: &CString) -> io::Result<()> {
    match lremovexattr(path, name) {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL)
            if name.as_bytes().starts_with(b"security.") || name.as_bytes().starts_with(b"system.") =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Sets an attribute to a value, whether it exists or not.
pub(crate) fn set(path: &Path, name: &[u8], value: &[u8]) -> io::Result<()> {
    lsetxattr(path, name, value, XattrFlags::empty()).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(magic: u32, root: Option<u32>) -> Vec<u8> {
        let mut value = magic.to_le_bytes().to_vec();
        value.extend([0x00, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        value.extend(root.iter().flat_map(|root| root.to_le_bytes()));
        value
    }

    #[test]
    fn the_mark_of_an_opaque_folder_has_the_prefix_of_its_namespace() {
        for namespace in [XattrNamespace::Trusted, XattrNamespace::User] {
            assert_eq!(
                namespace.opaque_attribute().as_bytes().strip_prefix(namespace.prefix()),
                Some(&b"opaque"[..])
            );
        }
    }

    #[test]
    fn capabilities_of_this_root_become_version_2() {
        let version_2 = capability(0x0200_0001, None);
        assert_eq!(capability_version_2(&version_2).as_deref(), Some(&*version_2));
        assert_eq!(capability_version_2(&capability(0x0300_0001, Some(0))).as_deref(), Some(&*version_2));
    }

    #[test]
    fn capabilities_of_another_root_are_not_widened() {
        assert_eq!(capability_version_2(&capability(0x0300_0001, Some(1000))), None);
        assert_eq!(capability_version_2(&capability(0x0100_0001, None)), None);
        assert_eq!(capability_version_2(&[]), None);
    }
}
