//! What this host has: which QEMU, and which accelerator really runs guests.
//!
//! For: answers that can be kept, with what they depend on ([`ProbeKey`]). Not for: choosing a machine, or reading the
//! environment; who calls says where programs lie.

mod accelerator;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

pub use accelerator::{AcceleratorProbe, KVM_DEVICE, probe_accelerator};

/// How long a program may take to say what it is.
const LIMIT: Duration = Duration::from_secs(20);

/// Why a program of QEMU's cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It is not where programs are looked for.
    #[error(
        "there is no `{program}`; install the package `{package}` (Debian, Ubuntu) or get it from elsewhere"
    )]
    Missing {
        /// Its name.
        program: String,
        /// The package of Debian's that has it.
        package: &'static str,
    },
    /// It does not run.
    #[error("cannot run `{}`: {source}", .program.display())]
    Run {
        /// Where it is.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It runs and is not what its name says.
    #[error("`{}` does not say its version as QEMU does; it says `{said}`", .program.display())]
    Foreign {
        /// Where it is.
        program: PathBuf,
        /// What it says.
        said: String,
    },
    /// It is too old.
    #[error("`{}` is of version {version}, and {OLDEST} is the oldest that imgbuild knows; install a newer one", .program.display())]
    Old {
        /// Where it is.
        program: PathBuf,
        /// Its version.
        version: EmulatorVersion,
    },
    /// What of the host a probe depends on cannot be read.
    #[error("cannot read what host this is: {0}")]
    Host(io::Error),
}

/// A version: `10.0.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EmulatorVersion {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub micro: u32,
}

/// Snapshots as jobs came with 6.0, and this is the first of a stable Debian with them all.
pub(crate) const OLDEST: EmulatorVersion = EmulatorVersion { major: 6, minor: 0, micro: 0 };

impl std::fmt::Display for EmulatorVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// An emulator that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    /// Where it is.
    pub program: PathBuf,
    /// Its version.
    pub version: EmulatorVersion,
    /// All that it says of its build: `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)`.
    pub build: String,
    /// For which name of a machine another stands that has a version: `q35` for `pc-q35-10.0`.
    pub aliases: BTreeMap<String, String>,
}

impl Emulator {
    /// The emulator `name`, such as `qemu-system-x86_64`: a path, or looked for in `folders` in their order.
    ///
    /// # Errors
    /// If it is not there, does not run, or is none of QEMU's.
    pub async fn find(name: &str, folders: &[PathBuf]) -> Result<Self, ProbeError> {
        Self::at(find(name, folders)?).await
    }

    /// The emulator that is there.
    ///
    /// # Errors
    /// If it does not run, or is none of QEMU's.
    pub(crate) async fn at(program: PathBuf) -> Result<Self, ProbeError> {
        let (build, version) = version(&program).await?;
        let machines = run(&program, &["-machine", "help"]).await?;
        Ok(Self { program, version, build, aliases: aliases(&machines) })
    }

    /// A machine's type with its version, if it is an alias, or as it is. A snapshot with memory can only be loaded into
    /// the same version, and another QEMU has another version under the alias.
    pub fn versioned_machine<'m>(&'m self, machine: &'m str) -> &'m str {
        self.aliases.get(machine).map_or(machine, String::as_str)
    }
}

/// The program for images that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageTool {
    /// Where it is.
    pub program: PathBuf,
    /// Its version.
    pub version: EmulatorVersion,
}

impl ImageTool {
    /// `qemu-img`: a path, or looked for in `folders` in their order.
    ///
    /// # Errors
    /// If it is not there, does not run, or is none of QEMU's.
    pub async fn find(name: &str, folders: &[PathBuf]) -> Result<Self, ProbeError> {
        Self::at(find(name, folders)?).await
    }

    /// The program that is there.
    ///
    /// # Errors
    /// As [`Emulator::at`].
    pub(crate) async fn at(program: PathBuf) -> Result<Self, ProbeError> {
        let (_, version) = version(&program).await?;
        Ok(Self { program, version })
    }
}

/// What a program's answer about itself depends on: its file. Another file of the same name has another inode or time, one that was
/// written to another time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ProgramKey {
    path: String,
    device: u64,
    inode: u64,
    size: u64,
    /// When its contents changed, in seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// The same of the inode, which nobody can set.
    changed: (i64, i64),
}

impl ProgramKey {
    /// The key of a program as it is now; none of one that is no program by itself, as a script that starts another is not, or a link
    /// to a program that starts several by the names that it is given.
    pub(crate) fn of(program: &Path) -> Option<Self> {
        use std::io::Read as _;
        use std::os::unix::fs::MetadataExt as _;
        let path = program.to_str()?.to_owned();
        if fs_err::canonicalize(program).ok()?.file_name() != program.file_name() {
            return None;
        }
        let mut file = fs_err::File::open(program).ok()?;
        let mut head = [0; ELF.len()];
        file.read_exact(&mut head).ok()?;
        let is = file.metadata().ok()?;
        (head == *ELF).then(|| Self {
            path,
            device: is.dev(),
            inode: is.ino(),
            size: is.size(),
            modified: (is.mtime(), is.mtime_nsec()),
            changed: (is.ctime(), is.ctime_nsec()),
        })
    }
}

/// How programs of Linux begin.
const ELF: &[u8; 4] = b"\x7fELF";

/// What the answer of a probe depends on; with another key it is asked again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProbeKey {
    /// The emulator's path, and its build: those for several processors are of one build.
    pub emulator: (String, String),
    /// How far KVM's device could be opened: permissions and modules may change while the host runs.
    pub device: String,
    /// The host's kernel: `6.12.0-1-amd64 #1 SMP …`.
    pub kernel: String,
    /// The host's boot (`/proc/sys/kernel/random/boot_id`): modules and permissions may be others after another.
    pub boot: String,
    /// The processor's model that the probe's guest had.
    pub cpu: String,
}

impl ProbeKey {
    /// The key of this host as it is now.
    ///
    /// # Errors
    /// If `/proc` is not readable.
    pub fn now(emulator: &Emulator, cpu: &str) -> Result<Self, ProbeError> {
        let read = |path: &str| {
            fs_err::read_to_string(path).map(|text| text.trim().to_owned()).map_err(ProbeError::Host)
        };
        Ok(Self {
            emulator: (emulator.program.display().to_string(), emulator.build.clone()),
            device: accelerator::opened().err().map_or_else(String::new, |error| error.kind().to_string()),
            kernel: format!("{} {}", read("/proc/sys/kernel/osrelease")?, read("/proc/sys/kernel/version")?),
            boot: read("/proc/sys/kernel/random/boot_id")?,
            cpu: cpu.to_owned(),
        })
    }
}

/// The host's processor with all that it can, as text: what a snapshot with memory depends on where the guest has the host's
/// processor. From `/proc/cpuinfo`, without what changes as it runs.
///
/// # Errors
/// If `/proc` is not readable.
pub fn host_processor() -> Result<String, ProbeError> {
    Ok(processor(&fs_err::read_to_string("/proc/cpuinfo").map_err(ProbeError::Host)?))
}

/// The first processor's lines that say what it is.
fn processor(text: &str) -> String {
    const SAID: [&str; 10] = [
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping",
        "microcode",
        "flags",
        "CPU implementer",
        "CPU part",
        "Features",
    ];
    let first = text.split("\n\n").next().unwrap_or_default();
    let pairs = first.lines().filter_map(|line| line.split_once(':'));
    let said = pairs.map(|(name, value)| (name.trim(), value.trim())).filter(|(name, _)| SAID.contains(name));
    said.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("; ")
}

/// The package of Debian's that has a program.
fn package(program: &str) -> &'static str {
    match program.trim_start_matches("qemu-system-") {
        "x86_64" | "i386" => "qemu-system-x86",
        "aarch64" | "arm" => "qemu-system-arm",
        "riscv64" | "riscv32" | "s390x" | "loongarch64" => "qemu-system-misc",
        "ppc64" | "ppc" => "qemu-system-ppc",
        "swtpm" => "swtpm",
        "qemu-img" | "qemu-io" | "qemu-nbd" => "qemu-utils",
        _ => "qemu-system",
    }
}

pub(crate) fn find(name: &str, folders: &[PathBuf]) -> Result<PathBuf, ProbeError> {
    let there = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        fs_err::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let found = if name.contains('/') {
        Some(PathBuf::from(name)).filter(|path| there(path))
    } else {
        folders.iter().map(|folder| folder.join(name)).find(|path| there(path))
    };
    found.ok_or_else(|| {
        let file = Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or(name);
        ProbeError::Missing { program: name.to_owned(), package: package(file) }
    })
}

async fn run(program: &Path, arguments: &[&str]) -> Result<String, ProbeError> {
    let failed = |source| ProbeError::Run { program: program.to_owned(), source };
    let output =
        Command::new(program).args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output)
        .await
        .map_err(|_| failed(io::Error::new(io::ErrorKind::TimedOut, "it does not end")))?
        .map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(io::Error::other(format!("{}: {}", output.status, said.trim()))))
}

async fn version(program: &Path) -> Result<(String, EmulatorVersion), ProbeError> {
    let said = run(program, &["--version"]).await?;
    let build = said.lines().next().unwrap_or_default().trim().to_owned();
    let version = parse_version(&build)
        .ok_or_else(|| ProbeError::Foreign { program: program.to_owned(), said: build.clone() })?;
    if version < OLDEST {
        return Err(ProbeError::Old { program: program.to_owned(), version });
    }
    Ok((build, version))
}

/// From `QEMU emulator version 10.0.2 (Debian …)` or `qemu-img version 10.0.2 (…)`.
fn parse_version(line: &str) -> Option<EmulatorVersion> {
    let (name, rest) = line.split_once(" version ")?;
    if !name.to_ascii_lowercase().contains("qemu") {
        return None;
    }
    let numbers = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut numbers = numbers.split('.').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(EmulatorVersion { major: next()?, minor: next()?, micro: next().unwrap_or(0) })
}

/// From `-machine help`: `pc  Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-10.0)`.
fn aliases(text: &str) -> BTreeMap<String, String> {
    let alias = |line: &str| {
        let (_, target) = line.split_once("(alias of ")?;
        let name = line.split_ascii_whitespace().next()?;
        Some((name.to_owned(), target.split(')').next()?.to_owned()))
    };
    text.lines().filter_map(alias).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (line, wanted) in [
            ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)", Some("10.0.2")),
            ("qemu-img version 7.2.0", Some("7.2.0")),
            ("QEMU emulator version 11.0", Some("11.0.0")),
            ("bash version 5.2.1", None),
            ("", None),
        ] {
            assert_eq!(parse_version(line).map(|version| version.to_string()).as_deref(), wanted, "{line}");
        }
    }

    #[test]
    fn a_program_is_known_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let [program, other] = ["program", "other"].map(|name| folder.path().join(name));
        fs_err::write(&program, b"\x7fELF and more").unwrap();
        let key = ProgramKey::of(&program);
        assert!(key.is_some());
        assert_eq!(ProgramKey::of(&program), key);
        // The same bytes in another file, as a package that is installed again has them, and other bytes in the same.
        fs_err::copy(&program, &other).unwrap();
        fs_err::rename(&other, &program).unwrap();
        let again = ProgramKey::of(&program);
        assert!(again.is_some() && again != key);
        fs_err::write(&program, b"\x7fELF and much more").unwrap();
        assert_ne!(ProgramKey::of(&program), again);
        for script in [&b"#!/bin/sh\nexec qemu"[..], b"\x7fEL", b""] {
            fs_err::write(&program, script).unwrap();
            assert_eq!(ProgramKey::of(&program), None);
        }
        assert_eq!(ProgramKey::of(&other), None);
        fs_err::write(&program, b"\x7fELF and more").unwrap();
        std::os::unix::fs::symlink(&program, &other).unwrap();
        assert_eq!(ProgramKey::of(&other), None);
    }

    #[test]
    fn a_processor_is_what_does_not_change() {
        let text = "processor\t: 0\nmodel name\t: EPYC\ncpu MHz\t: 2000.1\nflags\t: fpu cx16\n\nprocessor\t: 1\nmodel name\t: EPYC\n";
        assert_eq!(processor(text), "model name: EPYC; flags: fpu cx16");
        assert_eq!(host_processor().unwrap(), host_processor().unwrap());
    }

    #[test]
    fn aliases_are_read() {
        let text = "Supported machines are:\npc   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-10.0)\npc-i440fx-10.0  Standard PC (i440FX + PIIX, 1996) (default)\n";
        let wanted = BTreeMap::from([("pc".to_owned(), "pc-i440fx-10.0".to_owned())]);
        assert_eq!(aliases(text), wanted);
    }

    #[tokio::test]
    async fn what_is_missing_names_its_package() {
        for (name, package) in [
            ("qemu-system-x86_64", "qemu-system-x86"),
            ("/nowhere/qemu-system-aarch64", "qemu-system-arm"),
            ("qemu-system-tricore", "qemu-system"),
        ] {
            let error = Emulator::find(name, &["/nowhere".into()]).await.unwrap_err().to_string();
            let wanted = format!(
                "there is no `{name}`; install the package `{package}` (Debian, Ubuntu) or get it from elsewhere"
            );
            assert_eq!(error, wanted);
        }
        let error = ImageTool::find("qemu-img", &[]).await.unwrap_err().to_string();
        assert!(error.contains("`qemu-utils`"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_qemu_is_told() {
        let error = Emulator::find("/bin/bash", &[]).await.unwrap_err().to_string();
        assert!(
            error.starts_with("`/bin/bash` does not say its version as QEMU does; it says `GNU bash"),
            "{error}"
        );
    }
}
