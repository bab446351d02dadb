//! Programs of another architecture, through QEMU's user emulation, registered for one step alone.
//!
//! Since Linux 6.7 each user namespace can have its own `binfmt_misc`. A step of another architecture gets a nested
//! user namespace with the same ids, in which the emulator is registered as an open file: the image need not hold
//! it, and the host's own registrations stay as they are. Not here: machine emulation (the `qemu` builder).

use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::MountAttrFlags;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::mounts::{INERT, attach_at, last_errno, new_filesystem};

/// Why programs of another architecture cannot run.
#[derive(Debug, thiserror::Error)]
pub enum BinfmtError {
    /// No emulator is installed.
    #[error(
        "images for `{architecture}` need `qemu-{architecture}-static` to run their programs on this machine: `sudo apt-get install qemu-user-static`"
    )]
    NoEmulator {
        /// The architecture, as the kernel names it.
        architecture: String,
    },
    /// This architecture is not known here.
    #[error(
        "images for `{architecture}` cannot run programs on this machine: no emulation of that architecture is known (known: {})",
        known()
    )]
    UnknownArchitecture {
        /// What was asked for.
        architecture: String,
    },
    /// The emulator cannot be opened.
    #[error("cannot open the emulator `{}`", path.display())]
    Open {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// An installed emulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    architecture: &'static Architecture,
    path: PathBuf,
}

/// How programs of one architecture are known: their ELF header.
#[derive(Debug, PartialEq, Eq)]
struct Architecture {
    /// As the kernel and QEMU name it.
    name: &'static str,
    /// As Debian and OCI name it.
    aliases: &'static [&'static str],
    /// ELF class: 1 is 32 bits, 2 is 64.
    class: u8,
    /// Byte order: 1 is little.
    order: u8,
    /// The ELF machine number.
    machine: u16,
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "aarch64", aliases: &["arm64"], class: 2, order: 1, machine: 183 },
    Architecture { name: "arm", aliases: &["armhf", "armel"], class: 1, order: 1, machine: 40 },
    Architecture { name: "i386", aliases: &["386"], class: 1, order: 1, machine: 3 },
    Architecture { name: "loongarch64", aliases: &["loong64"], class: 2, order: 1, machine: 258 },
    Architecture { name: "ppc64le", aliases: &["ppc64el"], class: 2, order: 1, machine: 21 },
    Architecture { name: "riscv64", aliases: &[], class: 2, order: 1, machine: 243 },
    Architecture { name: "s390x", aliases: &[], class: 2, order: 2, machine: 22 },
    Architecture { name: "x86_64", aliases: &["amd64"], class: 2, order: 1, machine: 62 },
];

fn known() -> String {
    ARCHITECTURES.iter().map(|architecture| architecture.name).collect::<Vec<_>>().join(", ")
}

impl Architecture {
    fn find(name: &str) -> Option<&'static Self> {
        ARCHITECTURES
            .iter()
            .find(|architecture| architecture.name == name || architecture.aliases.contains(&name))
    }

    /// The registration without the interpreter: name, offset, header bytes, mask.
    fn magic(&self) -> String {
        // Executables (2) and position-independent ones (3) differ in one bit of the type; the ABI byte and the
        // padding after it are free.
        let [low, high] =
            if self.order == 1 { self.machine.to_le_bytes() } else { self.machine.to_be_bytes() };
        let mut magic = vec![0x7f, b'E', b'L', b'F', self.class, self.order, 1, 0];
        let mut mask = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        magic.extend([0; 8]);
        mask.extend([0; 8]);
        if self.order == 1 {
            magic.extend([2, 0, low, high]);
            mask.extend([0xfe, 0xff, 0xff, 0xff]);
        } else {
            magic.extend([0, 2, low, high]);
            mask.extend([0xff, 0xfe, 0xff, 0xff]);
        }
        let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        format!(":imgbuild-{}:M::{}:{}", self.name, text(&magic), text(&mask))
    }
}

impl Emulator {
    /// What this machine needs to run programs of `architecture` (as the kernel, Debian or OCI name it): nothing for
    /// its own.
    ///
    /// # Errors
    ///
    /// [`BinfmtError`], which names the package to install.
    pub fn for_architecture(architecture: &str) -> Result<Option<Self>, BinfmtError> {
        let found = Architecture::find(architecture)
            .ok_or_else(|| BinfmtError::UnknownArchitecture { architecture: architecture.to_owned() })?;
        if found.name == std::env::consts::ARCH {
            return Ok(None);
        }
        Self::find_in(found, &["/usr/bin", "/usr/local/bin", "/bin"].map(PathBuf::from)).map(Some)
    }

    fn find_in(architecture: &'static Architecture, folders: &[PathBuf]) -> Result<Self, BinfmtError> {
        // Newer Debian has static programs under the plain name too; one that is linked needs libraries that the
        // image does not have.
        let names = [format!("qemu-{}-static", architecture.name), format!("qemu-{}", architecture.name)];
        folders
            .iter()
            .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
            .find(|path| is_static(path))
            .map(|path| Self { architecture, path })
            .ok_or_else(|| BinfmtError::NoEmulator { architecture: architecture.name.to_owned() })
    }

    /// The architecture as the kernel names it.
    #[must_use]
    pub fn architecture(&self) -> &str {
        self.architecture.name
    }

    /// Where the emulator is on the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn magic(&self) -> String {
        self.architecture.magic()
    }

    pub(crate) fn open(&self) -> Result<OwnedFd, BinfmtError> {
        open(&self.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| BinfmtError::Open { path: self.path.clone(), source: error.into() })
    }
}

/// Whether this is an ELF program of 64 bits in this machine's byte order without an interpreter.
fn is_static(path: &Path) -> bool {
    const INTERPRETER: u32 = 3;
    let Ok(file) = std::fs::File::open(path) else { return false };
    let mut start = Vec::new();
    if file.take(4096).read_to_end(&mut start).is_err() || !start.starts_with(b"\x7fELF\x02") {
        return false;
    }
    let half =
        |at: usize| start.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let (Some(size), Some(count)) = (half(54), half(56)) else { return false };
    let Some(table) = start.get(32..40).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes)
    else {
        return false;
    };
    let Ok(table) = usize::try_from(table) else { return false };
    (0..usize::from(count)).all(|number| {
        let at = table + number * usize::from(size);
        start
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .is_some_and(|kind| u32::from_ne_bytes(kind) != INTERPRETER)
    })
}

/// Moves this process, which has one thread, into a nested user namespace with the same ids and registers the
/// emulator there. `/proc` must be mounted. Errors are said in words, as data for the helper's report.
pub(crate) fn enter_private(magic: &str, interpreter: BorrowedFd<'_>) -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| format!("cannot {what}: {error}")
    };
    nest_user_namespace().map_err(failed("make a nested user namespace"))?;
    let mount = new_filesystem("binfmt_misc", &[], INERT | MountAttrFlags::MOUNT_ATTR_RELATIME)
        .and_then(|mount| attach_at(&mount, "/proc/sys/fs/binfmt_misc"))
        .map_err(std::io::Error::from);
    mount.map_err(failed("mount a private `binfmt_misc`, which needs Linux 6.7 or newer"))?;
    // O: the program is opened by the kernel; C: its own owner and capabilities count; P: its name is kept; F: the
    // emulator is opened now, from outside of the image.
    let line = format!("{magic}:/proc/self/fd/{}:POCF", interpreter.as_raw_fd());
    std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/sys/fs/binfmt_misc/register")
        .and_then(|mut register| register.write_all(line.as_bytes()))
        .map_err(failed("register the emulator"))
}

/// Unshares the user and mount namespaces; a child that stays outside writes the maps.
fn nest_user_namespace() -> std::io::Result<()> {
    let (mut inside, mut outside) = UnixStream::pair()?;
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: the caller's process has one thread, so the child may do all that this process may.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno().into()),
        0 => {
            drop(inside);
            let mut ready = [0];
            let mapped = outside.read_exact(&mut ready).and_then(|()| {
                copy_map("uid_map", process)?;
                copy_map("gid_map", process)
            });
            let code = mapped.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
            let _ = outside.write_all(&code.to_ne_bytes());
            // SAFETY: ends the child without running the handlers of its parent.
            unsafe { libc::_exit(0) }
        }
        child => {
            drop(outside);
            // SAFETY: no descriptor table is unshared.
            unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }?;
            let mut code = [0; 4];
            inside.write_all(b"m")?;
            inside.read_exact(&mut code)?;
            let _ = rustix::process::waitpid(
                rustix::process::Pid::from_raw(child),
                rustix::process::WaitOptions::empty(),
            );
            match i32::from_ne_bytes(code) {
                0 => Ok(()),
                code => Err(std::io::Error::from_raw_os_error(code)),
            }
        }
    }
}

/// Gives another process' new namespace the ids of this one, each as itself.
fn copy_map(name: &str, process: i32) -> std::io::Result<()> {
    let ours = fs_err::read_to_string(format!("/proc/self/{name}"))?;
    let mut map = String::new();
    for line in ours.lines() {
        let mut fields = line.split_ascii_whitespace();
        if let (Some(inside), Some(count)) = (fields.next(), fields.nth(1)) {
            map.push_str(&format!("{inside} {inside} {count}\n"));
        }
    }
    // One write: the kernel takes a map once.
    std::fs::OpenOptions::new().write(true).open(format!("/proc/{process}/{name}"))?.write_all(map.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Architecture, BinfmtError, Emulator};

    #[test]
    fn this_machine_needs_no_emulator() {
        assert_eq!(Emulator::for_architecture(std::env::consts::ARCH).expect("known"), None);
    }

    #[test]
    fn a_missing_emulator_names_its_package() {
        let architecture = Architecture::find("arm64").expect("known");
        let error = Emulator::find_in(architecture, &["/nonexistent".into()]).expect_err("nothing there");
        assert_eq!(
            error.to_string(),
            "images for `aarch64` need `qemu-aarch64-static` to run their programs on this machine: `sudo apt-get \
             install qemu-user-static`"
        );
    }

    #[test]
    fn an_unknown_architecture_lists_the_known_ones() {
        let error = Emulator::for_architecture("vax").expect_err("unknown");
        assert!(matches!(error, BinfmtError::UnknownArchitecture { .. }));
        assert!(error.to_string().ends_with("ppc64le, riscv64, s390x, x86_64)"), "{error}");
    }

    #[test]
    fn magic_matches_what_qemu_documents() {
        assert_eq!(
            Architecture::find("aarch64").expect("known").magic(),
            r":imgbuild-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff"
        );
    }
}
