//! The builder `qemu`, and machines of QEMU: how they are described, started, spoken to and ended.
//!
//! [`builder`] is what the engine sees: layers, and machines that go on from one step to the next. All other modules are below it, and
//! know nothing of layers, keys and the cache; who calls them says where things lie and keeps what a machine made.
//!
//! | module | for |
//! |---|---|
//! | [`builder`] | layers that are disks, snapshots with memory, the source `qemu`, the export `disk` |
//! | [`probe`] | which QEMU is there, and which accelerator really runs guests |
//! | [`spec`] | a machine in types, QEMU's arguments for it, what a snapshot with memory depends on |
//! | [`process`] | a machine that runs: start, console, why it died, end; it never outlives the program |
//! | [`memory`] | the memory of a guest beside QEMU: how it is written down and read again |
//! | [`qmp`] | what is asked of a machine that runs: state, power, snapshots, disks, ports |
//! | [`image`] | disk images, by `qemu-img` |
//! | [`media`] | floppy disks, FAT volumes and CDs, made here, equal for equal files |
//! | [`seed`] | what cloud-init reads at the first boot, with the key by which the guest is known |
//! | [`http`] | what a guest fetches while it boots |
//! | [`boot_command`], [`vnc`] | keys that are typed at its screen |
//! | [`tpm`] | a TPM beside it |
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use imgbuild_qemu::probe::Emulator;
//! use imgbuild_qemu::process::Launch;
//! use imgbuild_qemu::spec::{Disk, DiskFormat, HostForward, HostPort, MachineSpec, Nic};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = Emulator::find("qemu-system-x86_64", &["/usr/bin".into()]).await?;
//! let spec = MachineSpec {
//!     memory: 1024,
//!     disks: vec![Disk::new("/images/web.qcow2", DiskFormat::Qcow2)],
//!     nics: vec![Nic::new(vec![HostForward { host: HostPort::Any, guest: 22 }])],
//!     ..MachineSpec::default()
//! };
//! let launch = Launch { folder: "/run/imgbuild".into(), ..Launch::new(emulator.program, spec) };
//! let starting = launch.spawn()?;
//! println!("journaled: {}", starting.pid());
//! let mut machine = starting.ready(Duration::from_secs(30)).await?;
//! println!("SSH is forwarded: {:?}", machine.forwards().await?);
//! machine.shut_down(Duration::from_secs(300)).await?;
//! # Ok(())
//! # }
//! ```

pub mod boot_command;
pub mod builder;
pub mod http;
pub mod image;
pub mod media;
pub mod memory;
pub mod probe;
pub mod process;
pub mod qmp;
pub mod seed;
pub mod spec;
pub mod tpm;
pub mod vnc;
