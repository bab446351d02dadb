//! What the seal removes: everything that belongs to one machine, or to the making of the image, and not to the image.

use crate::files::{Attributes, Contents, FilesError, Kind, Root};

/// Removed, where they are; patterns as in a glob.
const REMOVED: &[&str] = &[
    "/etc/ssh/ssh_host_*",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/urandom/random-seed",
    "/var/lib/cloud/*",
    "/var/lib/dhcp/*",
    "/var/lib/dhclient/*",
    "/var/lib/NetworkManager/*",
    "/var/log/journal/*",
    "/var/log/*.log",
    "/var/log/*.log.*",
    "/var/log/*.gz",
    "/var/log/apt/*",
    "/var/cache/apt/*.bin",
    "/var/cache/apt/archives/*.deb",
    "/var/lib/apt/lists/*",
    "/root/.*_history",
    "/home/*/.*_history",
    "/root/.wget-hsts",
    "/root/.lesshst",
    "/root/.viminfo",
];

/// Emptied with all that is hidden in them; the folders stay.
const EMPTIED_FOLDERS: &[&str] = &["/tmp", "/var/tmp", "/run"];

/// Files that stay, empty: programs expect them.
const EMPTIED_FILES: &[&str] = &["/etc/machine-id", "/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog"];

/// Seals a root.
pub(crate) fn seal(root: &Root) -> Result<(), FilesError> {
    for pattern in REMOVED {
        root.remove_matching(pattern, true)?;
    }
    for folder in EMPTIED_FOLDERS {
        let names = match root.list(folder) {
            Ok(names) => names,
            Err(FilesError::NotFound { .. } | FilesError::NotDirectory { .. }) => continue,
            Err(error) => return Err(error),
        };
        for name in names {
            if let Ok(name) = String::from_utf8(name) {
                root.remove(&format!("{folder}/{name}"), true)?;
            }
        }
    }
    for file in EMPTIED_FILES {
        match root.status(file) {
            Ok(status) if status.kind == Kind::File && status.size > 0 => {
                let attributes = Attributes { ..status.attributes };
                root.write_file(file, Contents::Bytes(b""), attributes)?;
            }
            Ok(_) | Err(FilesError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // D-Bus falls back to the machine id of systemd when it has none of its own.
    if root.status("/var/lib/dbus/machine-id").is_ok_and(|status| status.kind == Kind::File) {
        root.remove("/var/lib/dbus/machine-id", false)?;
    }
    Ok(())
}
