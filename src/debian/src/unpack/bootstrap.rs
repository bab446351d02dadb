//! The least that an empty root needs before packages are unpacked into it.

use std::path::Path;

use super::root::{Metadata, Root};
use super::{RootContext, UnpackError};

/// The package whose presence says that a root has a merged `/usr`; see [`crate::solve::Request::merged_usr`].
pub const MERGED_USR_GUARD: &str = "usr-is-merged";

const DATABASE_FILE: Metadata = Metadata { mode: 0o644, uid: 0, gid: 0, mtime: 0 };

/// The folders at the top that are links into `/usr`, by architecture. Libraries of further ABIs have a folder of their own.
#[must_use]
pub fn merged_usr_links(architecture: &str) -> Vec<&'static str> {
    let mut links = vec!["bin", "sbin", "lib"];
    links.extend_from_slice(match architecture {
        "amd64" => &["lib32", "lib64", "libx32"],
        "i386" => &["lib64", "libx32"],
        "x32" | "powerpc" => &["lib32", "lib64"],
        "mips" | "mipsel" | "sparc64" => &["lib32", "lib64"],
        "mips64" | "mips64el" => &["lib32", "lib64", "libo32"],
        "ppc64" => &["lib32", "lib64"],
        "ppc64el" | "loong64" | "sparc" => &["lib64"],
        "s390x" => &["lib32"],
        _ => &[],
    });
    links
}

pub(super) fn prepare(
    root: &Root,
    native: &str,
    foreign: &[String],
    merged_usr: bool,
) -> Result<(), UnpackError> {
    if merged_usr {
        for name in merged_usr_links(native) {
            let target = Path::new("usr").join(name);
            root.make_folders(&target).at("create", &target)?;
            if !root.exists(Path::new(name)).at("look at", name)? {
                root.symlink(&target, Path::new(name)).at("link", name)?;
            }
        }
    }
    for folder in [
        "var/lib/dpkg/info",
        "var/lib/dpkg/alternatives",
        "var/lib/dpkg/parts",
        "var/lib/dpkg/triggers",
        "var/lib/dpkg/updates",
    ] {
        root.make_folders(Path::new(folder)).at("create", folder)?;
    }
    let mut architectures = format!("{native}\n");
    for architecture in foreign {
        architectures.push_str(architecture);
        architectures.push('\n');
    }
    let files = [
        ("var/lib/dpkg/arch", architectures.as_str()),
        ("var/lib/dpkg/available", ""),
        ("var/lib/dpkg/status", ""),
        ("var/lib/dpkg/info/format", "1\n"),
    ];
    for (file, content) in files {
        if !root.exists(Path::new(file)).at("look at", file)? {
            root.write(Path::new(file), content.as_bytes(), DATABASE_FILE).at("write", file)?;
        }
    }
    Ok(())
}
