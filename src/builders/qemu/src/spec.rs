//! A machine in types: processors, memory, firmware, disks, networks, console.
//!
//! For: saying which machine is wanted. `argv` turns it into QEMU's arguments, `overrides` lets a template's own
//! switches take the place of ours, `fingerprint` says what a memory snapshot of it depends on. Not for: where files of one run
//! lie ([`Wiring`]), or starting it.

mod argv;
mod fingerprint;
mod overrides;

use std::path::PathBuf;

pub use argv::{Arguments, SpecError, Wiring, doubled_commas};
pub use fingerprint::{Difference, Host, MemoryFingerprint};
pub use overrides::{Override, Switch};

/// A machine. What is `None` or empty is not there, or as QEMU has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSpec {
    /// The machine's name, as titles and process lists show it.
    pub name: String,
    /// The machine's type: `pc`, `q35`, or one with a version, `pc-q35-10.0`.
    pub machine: String,
    /// What runs the guest's code.
    pub accelerator: Accelerator,
    /// The processor's model: `qemu64`, `max`, `host`.
    pub cpu: Option<String>,
    /// The processors.
    pub topology: Topology,
    /// The memory in mebibytes.
    pub memory: u64,
    /// What runs first.
    pub firmware: Firmware,
    /// Disks, seeds among them.
    pub disks: Vec<Disk>,
    /// CDs.
    pub cds: Vec<Cd>,
    /// Images of floppy disks, at most two; raw.
    pub floppies: Vec<PathBuf>,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// Where the screen goes.
    pub display: Display,
    /// The graphics card: `std`, `virtio`, `none`.
    pub vga: String,
    /// Where the first serial port goes.
    pub serial: Serial,
    /// Whether it has a source of entropy (`virtio-rng-pci`).
    pub entropy: bool,
    /// Whether the guest is told when it goes on from a snapshot (`vmgenid`), upon which its kernel renews its random numbers.
    /// Only on a PC.
    pub generation: bool,
    /// Whether the guest can say that it cannot go on (`pvpanic-pci`), which comes as an event.
    pub panic: bool,
    /// A TPM.
    pub tpm: Option<Tpm>,
    /// A kernel that is started without a boot loader.
    pub kernel: Option<Kernel>,
    /// What is booted from first, in QEMU's letters: `once=d` is the CD one time, `c` the first disk.
    pub boot: Option<String>,
    /// Whether QEMU ends where the guest would be reset.
    pub no_reboot: bool,
    /// Whether its memory is to lie beside QEMU ([`crate::memory::GuestMemory`]); see [`MachineSpec::has_memory_beside`].
    pub memory_beside: bool,
    /// A template's own switches, which take the place of ours.
    pub overrides: Vec<Override>,
}

impl Default for MachineSpec {
    /// A machine without disks and networks: that of Packer's builder, with its 512 MiB, on TCG.
    fn default() -> Self {
        Self {
            name: "imgbuild".to_owned(),
            machine: "pc".to_owned(),
            accelerator: Accelerator::Tcg,
            cpu: None,
            topology: Topology::default(),
            memory: 512,
            firmware: Firmware::Default,
            disks: Vec::new(),
            cds: Vec::new(),
            floppies: Vec::new(),
            nics: Vec::new(),
            display: Display::None,
            vga: "std".to_owned(),
            serial: Serial::Log,
            entropy: true,
            generation: false,
            panic: false,
            tpm: None,
            kernel: None,
            boot: None,
            no_reboot: false,
            memory_beside: false,
            overrides: Vec::new(),
        }
    }
}

/// What runs the guest's code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// QEMU itself translates it.
    Tcg,
    /// The host's processor, through Linux.
    Kvm,
    /// Another that QEMU knows: `hvf`, `whpx`, `xen`.
    Other(String),
}

impl Accelerator {
    /// QEMU's name of it.
    pub fn name(&self) -> &str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
            Self::Other(name) => name,
        }
    }
}

/// How many processors, and how they are told to lie in sockets. 0 is what is not said; QEMU fills it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Processors in all.
    pub cpus: u32,
    /// Sockets.
    pub sockets: u32,
    /// Cores of a socket.
    pub cores: u32,
    /// Threads of a core.
    pub threads: u32,
}

impl Default for Topology {
    fn default() -> Self {
        Self { cpus: 1, sockets: 0, cores: 0, threads: 0 }
    }
}

/// What runs first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// That of the machine: SeaBIOS on a PC.
    Default,
    /// A file in place of it (`-bios`).
    Bios(PathBuf),
    /// UEFI in flash memory.
    Flash {
        /// The code, which the guest cannot write.
        code: FlashFile,
        /// The variables: a copy of the guest's own.
        vars: Option<FlashFile>,
    },
}

/// A file of a flash memory. Only variables in qcow2 can be part of a snapshot; some distributions have the code in it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlashFile {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
}

/// How a disk lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// QEMU's own, with backing files and snapshots.
    Qcow2,
    /// The bytes as they are.
    Raw,
}

impl DiskFormat {
    /// QEMU's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// A disk. Its node in QEMU is named `disk0`, `disk1`, … in the order of [`MachineSpec::disks`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file, an absolute path; that of the backing file is in the image itself, if it has one and `below` names none.
    pub path: PathBuf,
    /// The images below it in qcow2, the nearest first. What they say of backing files themselves does not count.
    pub below: Vec<PathBuf>,
    /// Its format; it is never guessed, because a guest could write what makes a guess go wrong.
    pub format: DiskFormat,
    /// How it is attached.
    pub interface: DiskInterface,
    /// How writes are cached on the host.
    pub cache: DiskCache,
    /// Whether blocks that the guest discards are given back to the host.
    pub discard: bool,
    /// What becomes of blocks of zeros.
    pub zeroes: DiskZeroes,
    /// Whether the guest cannot write.
    pub read_only: bool,
    /// The serial number that the guest sees.
    pub serial: Option<String>,
    /// Its place among what is booted from, for firmware that goes by such places (UEFI); the lowest is first. Not of disks
    /// attached as [`DiskInterface::Scsi`] and [`DiskInterface::Sd`].
    pub boot_index: Option<u32>,
}

impl Disk {
    /// A disk at an absolute path with Packer's defaults: virtio, write-back.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self {
            path: path.into(),
            below: Vec::new(),
            format,
            interface: DiskInterface::Virtio,
            cache: DiskCache::Writeback,
            discard: false,
            zeroes: DiskZeroes::Written,
            read_only: false,
            serial: None,
            boot_index: None,
        }
    }

    /// A raw image that the guest reads and does not write, such as a seed.
    #[must_use]
    pub fn read_only(path: impl Into<PathBuf>) -> Self {
        Self { read_only: true, ..Self::new(path, DiskFormat::Raw) }
    }
}

/// How writes to a disk are cached on the host (QEMU: `-drive cache=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskCache {
    /// In the host's memory; the guest's flushes reach the disk.
    Writeback,
    /// In the host's memory for reading; each write reaches the disk.
    Writethrough,
    /// Not in the host's memory; the guest's flushes reach the disk.
    None,
    /// Not in the host's memory; each write reaches the disk.
    Directsync,
    /// In the host's memory; the guest's flushes do nothing. What is written is lost if the host stops.
    Unsafe,
}

impl DiskCache {
    /// QEMU's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Writeback => "writeback",
            Self::Writethrough => "writethrough",
            Self::None => "none",
            Self::Directsync => "directsync",
            Self::Unsafe => "unsafe",
        }
    }
}

/// What becomes of blocks of zeros that a guest writes (QEMU: `-drive detect-zeroes=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskZeroes {
    /// They are written like others.
    Written,
    /// They are written as zeros, which take no place where the format can say so.
    Noted,
    /// They are given back to the host, if the disk discards.
    Discarded,
}

impl DiskZeroes {
    /// QEMU's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Written => "off",
            Self::Noted => "on",
            Self::Discarded => "unmap",
        }
    }
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskInterface {
    /// IDE; on `q35` that is the machine's AHCI.
    Ide,
    /// An AHCI of its own.
    Sata,
    /// The machine's SCSI adapter, if it has one.
    Scsi,
    /// An SD card.
    Sd,
    /// `virtio-blk`.
    Virtio,
    /// A disk of a `virtio-scsi` adapter.
    VirtioScsi,
}

/// A CD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cd {
    /// The image, an absolute path.
    pub path: PathBuf,
    /// How it is attached.
    pub interface: CdInterface,
    /// As [`Disk::boot_index`]; not of CDs attached as [`CdInterface::Scsi`].
    pub boot_index: Option<u32>,
}

impl Cd {
    /// A CD at an absolute path, attached as QEMU does by itself.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), interface: CdInterface::Default, boot_index: None }
    }
}

/// How a CD is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CdInterface {
    /// As QEMU does by itself: IDE, or the machine's AHCI.
    Default,
    /// IDE.
    Ide,
    /// The machine's SCSI adapter.
    Scsi,
    /// A disk of `virtio-blk` that cannot be written: what has no driver for CDs sees it as well.
    Virtio,
    /// A CD of a `virtio-scsi` adapter.
    VirtioScsi,
}

/// A network card on a network of its own that QEMU makes in user mode, or on a bridge of the host. The network's name in QEMU is
/// `user.0`, `user.1`, …
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// The card: `virtio-net`, `e1000`.
    pub device: String,
    /// Its address; QEMU's choice if absent.
    pub mac: Option<String>,
    /// A bridge of the host, which QEMU's helper attaches it to; then nothing is forwarded or restricted.
    pub bridge: Option<String>,
    /// Whether the guest reaches nothing but what is forwarded to it.
    pub restrict: bool,
    /// Ports of the host's loopback that go to the guest.
    pub forwards: Vec<HostForward>,
}

impl Nic {
    /// A `virtio-net` card that may reach everything.
    #[must_use]
    pub fn new(forwards: Vec<HostForward>) -> Self {
        Self { device: "virtio-net".to_owned(), mac: None, bridge: None, restrict: false, forwards }
    }
}

/// A TCP port of the host's loopback that goes to one of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostForward {
    /// The host's.
    pub host: HostPort,
    /// The guest's.
    pub guest: u16,
}

/// Which port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPort {
    /// This one.
    Fixed(u16),
    /// One that the kernel chooses when QEMU binds it; nobody can be quicker.
    Any,
    /// The first of these, both ends included, that QEMU can bind. It is tried by QEMU itself.
    Range(u16, u16),
}

/// Where the screen goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Display {
    /// Nowhere.
    None,
    /// To VNC on a socket of the machine's own folder.
    VncSocket,
    /// To VNC on a TCP port from 5900 on, or the next that is free up to the last; with a password that is set later.
    VncPort {
        /// The host's address.
        address: std::net::IpAddr,
        /// The first port that is tried.
        first: u16,
        /// The last.
        last: u16,
        /// Whether a password is asked for.
        password: bool,
    },
    /// To a window of this kind: `gtk`, `sdl`.
    Window(String),
}

/// Where the first serial port goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Serial {
    /// Nowhere; there is none.
    None,
    /// To a file of the machine's own folder.
    Log,
    /// To a socket of the machine's own folder, and also to the file. What is written to the socket is typed.
    Socket,
}

/// A kernel that is started without a boot loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The kernel.
    pub image: PathBuf,
    /// Its first file system.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub append: String,
}

/// A TPM that another program emulates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tpm {
    /// The control socket of `swtpm`, an absolute path.
    pub socket: PathBuf,
    /// The device: `tpm-tis`, `tpm-crb`, `tpm-tis-device` on ARM.
    pub device: String,
}
