//! Whether KVM runs guests here, found out by running one.
//!
//! A device that can be opened says little: there are hosts whose KVM starts firmware and then stops at the first instruction
//! that it would have to emulate, or runs a guest a thousand times slower than QEMU itself does. The guest of `guest.S` enters
//! 64-bit mode, does what kernels do early, counts, and says that it is done.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::{Emulator, ProbeError, ProbeKey};
use crate::process::leash;
use crate::spec::Accelerator;

/// Where KVM is.
pub const KVM_DEVICE: &str = "/dev/kvm";

/// The guest: one sector, made from `guest.S` as is said there.
const GUEST: &[u8] = include_bytes!("guest.bin");

/// `isa-debug-exit` ends QEMU with twice the byte that was written, and one (QEMU: `hw/misc/debugexit.c`).
const DONE: i32 = (0x2a << 1) | 1;

/// How long the guest may take; where KVM works it takes some tenths of a second, most of them in the firmware, and where it only
/// seems to it may take seconds until it stops.
const LIMIT: Duration = Duration::from_secs(10);

/// What is said of one that takes longer.
const NOT_DONE: &str = "was not done after";

/// How often it is looked whether QEMU has said that the guest cannot go on.
const INTERVAL: Duration = Duration::from_millis(50);

/// Which accelerator is used here, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceleratorProbe {
    /// The accelerator.
    pub accelerator: Accelerator,
    /// Why it is that one, in a sentence.
    pub reason: String,
    /// What the answer depends on.
    pub key: ProbeKey,
    /// Whether it would be another if the host were less busy.
    pub in_doubt: bool,
}

/// Opens KVM's device.
pub(super) fn opened() -> std::io::Result<()> {
    fs_err::OpenOptions::new().read(true).write(true).open(KVM_DEVICE).map(drop)
}

/// Runs a guest under KVM, with a processor of the model `cpu` (`host` where machines are to have the host's), for at most
/// some seconds. KVM is used if the guest got through, else TCG. The guest's file is made in `folder`.
///
/// # Errors
/// If this host's `/proc` cannot be read; that KVM does not work is none.
pub async fn probe_accelerator(
    emulator: &Emulator,
    cpu: &str,
    folder: &Path,
) -> Result<AcceleratorProbe, ProbeError> {
    let key = ProbeKey::now(emulator, cpu)?;
    let (accelerator, reason) = match opened() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (Accelerator::Tcg, format!("this host has no `{KVM_DEVICE}`"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            (Accelerator::Tcg, format!("`{KVM_DEVICE}` may not be opened; add the user to the group `kvm`"))
        }
        Err(error) => (Accelerator::Tcg, error.to_string()),
        Ok(()) => match run_guest(emulator, &Accelerator::Kvm, cpu, folder).await {
            Ok(()) => (Accelerator::Kvm, "a small guest ran under KVM".to_owned()),
            Err(reason) => (Accelerator::Tcg, format!("`{KVM_DEVICE}` is there, but {reason}")),
        },
    };
    let in_doubt = reason.contains(NOT_DONE);
    Ok(AcceleratorProbe { accelerator, reason, key, in_doubt })
}

/// Runs the guest; why it did not get through, as the end of a sentence.
async fn run_guest(
    emulator: &Emulator,
    accelerator: &Accelerator,
    cpu: &str,
    folder: &Path,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("a small guest could not be tried: {error}");
    let own = tempfile::Builder::new().prefix("probe-").tempdir_in(folder).map_err(failed)?;
    let disk = own.path().join("guest");
    fs_err::write(&disk, GUEST).map_err(failed)?;
    let drive =
        format!("file={},format=raw,if=ide", crate::spec::doubled_commas(&disk.display().to_string()));

    let mut command = leash::command(&emulator.program, own.path());
    command.args(["-accel", accelerator.name(), "-cpu", cpu, "-machine", "pc", "-m", "16"]);
    command.args(["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot", "-drive", &drive]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    // The leash is held until this function returns.
    let _leash = child.stdin.take();
    let Some(mut stderr) = child.stderr.take() else { return Err("it has no standard error".to_owned()) };
    let deadline = Instant::now() + LIMIT;
    let mut said = Vec::new();
    let mut open = true;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break Some(status);
        }
        // QEMU stops the guest and waits for somebody to look at it.
        let stuck = String::from_utf8_lossy(&said).contains("internal error");
        if stuck || Instant::now() >= deadline {
            break None;
        }
        if open {
            let read = tokio::time::timeout(INTERVAL, stderr.read_buf(&mut said)).await;
            open = !matches!(read, Ok(Ok(0) | Err(_)));
        } else {
            tokio::time::sleep(INTERVAL).await;
        }
    };
    // The end of a QEMU that has just ended is still to be read.
    if status.is_some() && open {
        let _ = tokio::time::timeout(INTERVAL, stderr.read_to_end(&mut said)).await;
    }
    let said = String::from_utf8_lossy(&said);
    let telling = telling_line(&said);
    match status {
        Some(status) if status.code() == Some(DONE) => Ok(()),
        Some(status) => Err(format!("a small guest ended with {status}: {telling}")),
        None if said.contains("internal error") => {
            Err(format!("a small guest did not get through: {telling}"))
        }
        None => Err(format!("a small guest {NOT_DONE} {} s: {telling}", LIMIT.as_secs())),
    }
}

/// The line that says most: warnings about what the processor lacks come before what went wrong.
fn telling_line(said: &str) -> &str {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let worst = lines().find(|line| !line.contains("warning:"));
    worst.or_else(|| lines().next()).unwrap_or("QEMU says nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn emulator() -> Option<Emulator> {
        match Emulator::find("qemu-system-x86_64", &["/usr/bin".into(), "/usr/local/bin".into()]).await {
            Ok(emulator) => Some(emulator),
            Err(error) => {
                eprintln!("SKIPPED: {error}");
                None
            }
        }
    }

    #[tokio::test]
    async fn the_guest_gets_through_where_an_accelerator_works() {
        let Some(emulator) = emulator().await else { return };
        let folder = tempfile::tempdir().unwrap();
        for cpu in ["qemu64", "max"] {
            assert_eq!(run_guest(&emulator, &Accelerator::Tcg, cpu, folder.path()).await, Ok(()), "{cpu}");
        }
        let left = fs_err::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "its files are gone");
    }

    #[tokio::test]
    async fn an_accelerator_that_does_not_work_is_told_with_its_reason() {
        let Some(emulator) = emulator().await else { return };
        let folder = tempfile::tempdir().unwrap();
        let xen = Accelerator::Other("nothing".to_owned());
        let reason = run_guest(&emulator, &xen, "qemu64", folder.path()).await.unwrap_err();
        assert!(
            reason.starts_with("a small guest ended with exit status: 1: ") && reason.contains("nothing"),
            "{reason}"
        );
    }

    #[tokio::test]
    async fn the_answer_says_why_and_can_be_kept() {
        let Some(emulator) = emulator().await else { return };
        let folder = tempfile::tempdir().unwrap();
        for cpu in ["host", "qemu64"] {
            let started = Instant::now();
            let probe = probe_accelerator(&emulator, cpu, folder.path()).await.unwrap();
            eprintln!("{:?}: {} ({} ms)", probe.accelerator, probe.reason, started.elapsed().as_millis());
            assert!(started.elapsed() < LIMIT + Duration::from_secs(10));
            assert!(
                matches!(probe.accelerator, Accelerator::Kvm | Accelerator::Tcg) && !probe.reason.is_empty()
            );
            let kept = serde_json::to_string(&probe).unwrap();
            assert_eq!(serde_json::from_str::<AcceleratorProbe>(&kept).unwrap(), probe);
            assert_eq!(ProbeKey::now(&emulator, cpu).unwrap(), probe.key);
        }
    }

    /// The blob is what its source says.
    #[test]
    fn the_guest_is_made_from_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let run = |program: &str, arguments: &[&str]| {
            std::process::Command::new(program)
                .args(arguments)
                .current_dir(folder.path())
                .stdout(std::process::Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
        };
        if !(cfg!(target_arch = "x86_64") && run("as", &["--version"]) && run("ld", &["--version"])) {
            eprintln!("SKIPPED: no `as` and `ld` for x86-64");
            return;
        }
        fs_err::write(folder.path().join("guest.S"), include_str!("guest.S")).unwrap();
        assert!(run("as", &["--64", "guest.S", "-o", "guest.o"]));
        assert!(run(
            "ld",
            &["-m", "elf_x86_64", "-Ttext", "0x7c00", "--oformat", "binary", "guest.o", "-o", "guest.bin"]
        ));
        assert_eq!(fs_err::read(folder.path().join("guest.bin")).unwrap(), GUEST);
    }
}
