//! What the seal removes: everything that belongs to one machine, or to the making of the image, and not to the image.

use crate::files::{Attributes, Contents, FilesError, Kind, Root};

/// Removed, where they are; patterns as in a glob.
const REMOVED: &[&str] = &[
    "/etc/ssh/ssh_host_*",
    "/etc/dropbear/dropbear_*_host_key",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/coredump/*",
    "/var/lib/urandom/random-seed",
    "/boot/loader/random-seed",
    "/boot/efi/loader/random-seed",
    "/efi/loader/random-seed",
    "/var/crash/*",
    "/var/lib/cloud/*",
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/network/interfaces.d/50-cloud-init*",
    "/var/lib/dhcp/*",
    "/var/lib/dhclient/*",
    "/var/lib/dhcpcd/*",
    "/var/lib/NetworkManager/*",
    "/var/log/journal/*",
    "/var/log/installer",
    "/var/log/syslog",
    "/var/log/messages",
    "/var/log/debug",
    "/var/log/dmesg*",
    "/var/log/**/*.log",
    "/var/log/**/*.log.*",
    "/var/log/**/*.gz",
    "/var/log/**/*.[0-9]",
    "/var/log/apt/*",
    "/var/cache/apt/*.bin",
    "/var/cache/apt/archives/*.deb",
    "/var/lib/apt/lists/*",
];

/// Removed from every home.
const REMOVED_FROM_HOMES: &[&str] = &[
    ".*_history",
    ".histfile",
    ".lesshst",
    ".viminfo",
    ".wget-hsts",
    ".local/share/fish/fish_history",
    ".local/state/bash/history",
];

/// Where systemd is, if it is there.
const SYSTEMD: &[&str] = &["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

/// Emptied with all that is hidden in them; the folders stay.
const EMPTIED_FOLDERS: &[&str] = &["/tmp", "/var/tmp", "/run"];

/// Files that stay, empty: programs expect them.
const EMPTIED_FILES: &[&str] = &[
    "/etc/machine-id",
    "/var/log/wtmp",
    "/var/log/btmp",
    "/var/log/lastlog",
    "/var/log/faillog",
    "/var/log/tallylog",
];

/// Seals a root.
pub(crate) fn seal(root: &Root) -> Result<(), FilesError> {
    for pattern in REMOVED {
        root.remove_matching(pattern, true)?;
    }
    for home in homes(root)? {
        for pattern in REMOVED_FROM_HOMES {
            root.remove_matching(&format!("{home}/{pattern}"), true)?;
        }
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
    empty_machine_id(root)?;
    // D-Bus falls back to the machine id of systemd when it has none of its own.
    if root.status("/var/lib/dbus/machine-id").is_ok_and(|status| status.kind == Kind::File) {
        root.remove("/var/lib/dbus/machine-id", false)?;
    }
    Ok(())
}

/// The homes of the image's accounts, and the usual ones.
fn homes(root: &Root) -> Result<Vec<String>, FilesError> {
    let passwd = match root.read_file("/etc/passwd") {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(FilesError::NotFound { .. } | FilesError::NotDirectory { .. }) => String::new(),
        Err(error) => return Err(error),
    };
    let mut homes = vec!["/root".to_owned(), "/home/*".to_owned()];
    let named = passwd.lines().filter_map(|line| line.split(':').nth(5));
    // A name with signs would be a pattern.
    let plain =
        named.filter(|home| home.starts_with('/') && !home.contains(['*', '?', '[', '{', '\\', '\0']));
    homes.extend(plain.map(|home| home.trim_end_matches('/').to_owned()));
    homes.sort();
    homes.dedup();
    Ok(homes)
}

/// systemd takes an empty `/etc/machine-id` for an image that many machines are started from, also where the root is
/// read-only, since it has a place to mount over. `uninitialized` would ask for the first boot's presets too, which
/// would enable again what `systemd_unit` disabled.
fn empty_machine_id(root: &Root) -> Result<(), FilesError> {
    const FILE: &str = "/etc/machine-id";
    let is_wanted = match root.status(FILE) {
        Ok(status) => status.kind != Kind::File,
        Err(FilesError::NotFound { .. }) => SYSTEMD.iter().any(|program| root.status(program).is_ok()),
        Err(error) => return Err(error),
    };
    if is_wanted {
        root.remove(FILE, true)?;
        root.write_file(FILE, Contents::Bytes(b""), Attributes { mode: 0o444, uid: 0, gid: 0 })?;
    }
    Ok(())
}
