//! The distribution, the kernels, and boot loaders that say which version they are.

use std::collections::BTreeMap;

use imgbuild_formats::packages::parse_os_release;

use crate::tree::{Contents, name_of, parent_of};

/// The second is mostly a link to the first.
const OS_RELEASE: [&[u8]; 2] = [b"usr/lib/os-release", b"etc/os-release"];

/// Stands before a loader's name and version in its program, and behind them.
const LOADER_INFO: &[u8] = b"#### LoaderInfo: ";
const LOADER_END: &[u8] = b" ####";

pub(super) fn is_read(path: &[u8]) -> bool {
    OS_RELEASE.contains(&path) || is_loader(path)
}

fn is_loader(path: &[u8]) -> bool {
    let is_program = path.to_ascii_lowercase().ends_with(b".efi") || path.ends_with(b".efi.signed");
    let folders: [&[u8]; 4] = [b"usr/lib/systemd/boot/efi/", b"boot/efi/EFI/", b"boot/EFI/", b"efi/EFI/"];
    is_program && folders.iter().any(|folder| path.starts_with(folder))
}

/// Takes note of a kernel: `/boot/vmlinuz-VERSION`, or `vmlinuz` beside its modules.
pub(super) fn note_kernel(path: &[u8], system: &mut BTreeMap<String, String>) {
    let name = name_of(path);
    let version = match (name.strip_prefix(b"vmlinuz-"), parent_of(path)) {
        (Some(version), b"boot") => version,
        _ if name == b"vmlinuz" => {
            let folder = parent_of(path);
            match parent_of(folder) {
                b"usr/lib/modules" | b"lib/modules" => name_of(folder),
                _ => return,
            }
        }
        _ => return,
    };
    let version = String::from_utf8_lossy(version).into_owned();
    system.insert(format!("kernel {version}"), version);
}

pub(super) fn read(contents: &Contents, system: &mut BTreeMap<String, String>) {
    if let Some(bytes) = OS_RELEASE.iter().find_map(|path| contents.get(*path)) {
        let os = parse_os_release(&String::from_utf8_lossy(bytes));
        let name = [os.pretty_name, format!("{} {}", os.id, os.version_id).trim().to_owned()];
        if let Some(name) = name.into_iter().find(|name| !name.is_empty()) {
            system.insert("distribution".to_owned(), name);
        }
    }
    for (path, bytes) in contents.iter().filter(|(path, _)| is_loader(path)) {
        if let Some(version) = loader_version(bytes) {
            system.insert(format!("boot loader /{}", String::from_utf8_lossy(path)), version);
        }
    }
}

/// What systemd-boot and its like say of themselves.
fn loader_version(program: &[u8]) -> Option<String> {
    let find = |text: &[u8], wanted: &[u8]| text.windows(wanted.len()).position(|window| window == wanted);
    let rest = &program[find(program, LOADER_INFO)? + LOADER_INFO.len()..];
    let end = find(&rest[..rest.len().min(200)], LOADER_END)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_loaders_and_the_distribution_are_seen() {
        let mut system = BTreeMap::new();
        for path in [
            &b"boot/vmlinuz-6.1.0-18-amd64"[..],
            b"usr/lib/modules/6.9/vmlinuz",
            b"srv/vmlinuz-1",
            b"usr/lib/vmlinuz",
            b"boot/config-6.1",
        ] {
            note_kernel(path, &mut system);
        }
        let loader = b"MZ..\0#### LoaderInfo: systemd-boot 252.22 ####\0..".to_vec();
        let contents = Contents::from([
            (b"usr/lib/systemd/boot/efi/systemd-bootx64.efi".to_vec(), loader),
            (b"etc/os-release".to_vec(), b"ID=debian\nPRETTY_NAME=\"Debian 12\"\n".to_vec()),
        ]);
        assert!(contents.keys().all(|path| is_read(path)));
        read(&contents, &mut system);
        let found: Vec<String> = system.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            found,
            [
                "boot loader /usr/lib/systemd/boot/efi/systemd-bootx64.efi: systemd-boot 252.22",
                "distribution: Debian 12",
                "kernel 6.1.0-18-amd64: 6.1.0-18-amd64",
                "kernel 6.9: 6.9",
            ]
        );
    }
}
