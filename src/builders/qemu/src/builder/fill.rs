//! Machines for disks of trees: one makes the root file system that is not written by calculation, and nobody logs in to it. What it does
//! is not said here but in the job ([`GuestJob`]).

use std::time::Duration;

use imgbuild_disk::{GuestJob, GuestReport};
use imgbuild_engine::{ActionError, Told};

use super::QemuBuilder;
use super::console::shows;
use super::machine::killed;
use super::start::{ANSWER, CONSOLE_LINES, with_console};
use crate::probe::Emulator;
use crate::process::{Ended, Launch, Machine};
use crate::spec::{Accelerator, Disk, DiskCache, DiskFormat, DiskZeroes, Kernel, MachineSpec, Topology};

/// Jobs are for this processor alone.
const PROGRAM: &str = "qemu-system-x86_64";
/// The processor under KVM, for which that is tried.
const PROCESSOR: &str = "host";
/// Memory in mebibytes.
const MEMORY: u64 = 1024;
/// How long a machine may take until it begins, also where a busy host emulates it.
const BEGIN: Duration = Duration::from_secs(15 * 60);
/// How long it may take until all is copied.
const COPY: Duration = Duration::from_secs(6 * 60 * 60);
/// What programs say where a file system is full (`ENOSPC`).
const FULL: &str = "No space left on device";
/// How much of the console is looked at for the machine's own lines, which it repeats.
const REPEATED: usize = 10 * CONSOLE_LINES;

impl QemuBuilder {
    /// Runs the machine of a job until it says that it is done, and ends it. It ends too when this is dropped.
    ///
    /// # Errors
    /// If QEMU is not there; if the machine does not come so far, with the last lines of its console.
    pub async fn run_guest(&self, job: &GuestJob, told: &Told) -> Result<(), ActionError> {
        let emulator = self.emulator(PROGRAM).await?;
        let probe = self.probe(&emulator, PROCESSOR).await?;
        let accelerator = probe.accelerator;
        told.line(&format!(
            "Starting a machine that makes the xfs file system, on {}...",
            accelerator.name().to_uppercase()
        ));
        let launch = Launch::new(&emulator.program, spec(job, &emulator, accelerator));
        let mut machine = launch.start(ANSWER).await?;
        let report = |text: &str| job.report(text);
        if !shows(&mut machine, |text| report(text).is_some(), BEGIN).await? {
            return Err(late("begin", BEGIN, &machine));
        }
        told.line("Copying the files to it...");
        let ended = |text: &str| report(text).is_some_and(|report| report != GuestReport::Started);
        if !shows(&mut machine, ended, COPY).await? {
            return Err(late("get done", COPY, &machine));
        }
        let console = machine.console(REPEATED);
        if let Some(GuestReport::Failed(what)) = report(&console) {
            return Err(failed(job, &what, &console));
        }
        match machine.quit().await? {
            Ended::Quit | Ended::PoweredDown => Ok(()),
            Ended::Killed => Err(killed()),
        }
    }
}

/// The machine of a job.
fn spec(job: &GuestJob, emulator: &Emulator, accelerator: Accelerator) -> MachineSpec {
    let cpu = if accelerator == Accelerator::Kvm { PROCESSOR } else { "max" };
    let target = Disk {
        serial: Some(GuestJob::SERIAL.to_owned()),
        // What a host loses as it stops is made again.
        cache: DiskCache::Unsafe,
        discard: true,
        zeroes: DiskZeroes::Discarded,
        ..Disk::new(&job.target, DiskFormat::Raw)
    };
    MachineSpec {
        machine: emulator.versioned_machine("q35").to_owned(),
        accelerator,
        cpu: Some(cpu.to_owned()),
        topology: Topology { cpus: 2, ..Topology::default() },
        memory: MEMORY,
        disks: vec![Disk::read_only(&job.system), target],
        vga: "none".to_owned(),
        kernel: Some(Kernel {
            image: job.kernel.clone(),
            initrd: Some(job.initrd.clone()),
            append: job.command_line.clone(),
        }),
        no_reboot: true,
        ..MachineSpec::default()
    }
}

fn late(what: &str, limit: Duration, machine: &Machine) -> ActionError {
    let what = format!(
        "the machine that makes the xfs file system did not {what} in {} minutes",
        limit.as_secs() / 60
    );
    let error = ActionError::environment(what).hint(
        "it runs the image's own kernel, whose initial RAM disk must have `ext4` and `virtio_blk`, on this host's QEMU",
    );
    with_console(error, &machine.console(CONSOLE_LINES))
}

/// Why the machine could not do it, as its console says before its own lines.
fn failed(job: &GuestJob, what: &str, console: &str) -> ActionError {
    let lines: Vec<&str> = console.lines().filter(|line| job.report(line).is_none()).collect();
    let last = lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n");
    let error = ActionError::input(format!("the machine that makes the xfs file system failed at `{what}`"));
    let hint = if last.contains(FULL) {
        "say a larger `size`, or none"
    } else {
        "it runs the image's own kernel and programs; `ext4` and `btrfs` need neither"
    };
    with_console(error.hint(hint), &last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_what_the_console_said_before() {
        let job = GuestJob {
            kernel: "/k".into(),
            initrd: "/i".into(),
            command_line: String::new(),
            system: "/s".into(),
            target: "/t".into(),
            mark: "imgbuild x:".to_owned(),
        };
        let console = "imgbuild x: started\ncp: error writing 'a': No space left on device\nimgbuild x: failed: cp\nimgbuild x: failed: cp";
        for (console, hint) in
            [(console.to_owned(), "a larger `size`"), (console.replace("No space left", "Nothing"), "`ext4`")]
        {
            let ActionError::Other(error) = failed(&job, "cp", &console) else {
                panic!("it has no diagnostic")
            };
            assert!(error.message.starts_with(
                "the machine that makes the xfs file system failed at `cp`; its console ends with:\ncp: error writing"
            ));
            assert!(!error.message.contains("imgbuild x:"), "{}", error.message);
            assert!(error.hint.as_ref().is_some_and(|text| text.contains(hint)), "{:?}", error.hint);
        }
    }
}
