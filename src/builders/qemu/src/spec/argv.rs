//! From a machine to QEMU's arguments: a pure function, no shell (QEMU: `qemu-options.hx`, and `docs/system/invocation`).
//!
//! The switches that Packer's builder has by default, in one fixed order, so that what a template overrides is what it
//! expects to override. Not for: the control socket, which belongs to the process.

mod drives;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::process::leash;

use super::overrides::{self, Switch};
use super::{Display, Firmware, FlashFile, HostPort, MachineSpec, Nic, Override, Serial, Topology};

/// Where files of one run of a machine lie. All are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiring {
    /// What the guest says on its first serial port.
    pub serial_log: PathBuf,
    /// The socket of that port, where it has one.
    pub serial_socket: PathBuf,
    /// The socket of VNC, where it has one.
    pub vnc_socket: PathBuf,
}

impl Wiring {
    /// The files of a machine whose own folder this is.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            serial_log: folder.join("serial.log"),
            serial_socket: folder.join("serial"),
            vnc_socket: folder.join("vnc"),
        }
    }
}

/// Why a machine cannot be written as arguments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A path depends on a working folder.
    #[error("the path `{}` of a machine's file is not absolute", .0.display())]
    RelativePath(PathBuf),
    /// A path that QEMU's options cannot hold.
    #[error("the path `{}` of a machine's file is no UTF-8; name it in UTF-8", .0.display())]
    NotText(PathBuf),
    /// A socket's path that the kernel does not take (`unix(7)`).
    #[error("the path `{}` of a socket has {length} bytes, and {LONGEST_SOCKET} are the most; use a folder with a shorter path", .path.display())]
    LongSocket {
        /// The path.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// A PC has two floppy drives.
    #[error("a machine has at most 2 floppy disks, not {0}")]
    Floppies(usize),
    /// More drives than there are places for on the board.
    #[error(
        "a machine of type `{machine}` has at most {most} IDE drives, CDs among them; attach some by another interface"
    )]
    IdeDrives {
        /// Its type.
        machine: String,
        /// How many it may have.
        most: u32,
    },
    /// Something that must be there to name.
    #[error("a machine's {0} is empty")]
    Empty(&'static str),
    /// No port can be of it.
    #[error("the ports from {0} to {1} are none; the first is larger than the last, or is 0")]
    Ports(u16, u16),
}

/// Switches by which a template says how much memory there is, where it lies, and on which board.
const MEMORY_SWITCHES: [&str; 9] =
    ["-m", "-machine", "-M", "-numa", "-object", "-mem-path", "-mem-prealloc", "-readconfig", "-set"];

/// `sun_path` has 108 bytes, the last of which is 0.
const LONGEST_SOCKET: usize = 107;

/// QEMU's arguments without the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    switches: Vec<Switch>,
}

impl Arguments {
    /// One argument after the other.
    pub fn to_vec(&self) -> Vec<String> {
        self.switches.iter().flat_map(|one| [Some(one.name.clone()), one.value.clone()]).flatten().collect()
    }

    /// Switch by switch.
    pub fn switches(&self) -> &[Switch] {
        &self.switches
    }
}

/// A text as part of an option of QEMU's, where a comma ends the part and two are one (QEMU: `util/qemu-option.c`).
pub fn doubled_commas(text: &str) -> String {
    text.replace(',', ",,")
}

impl MachineSpec {
    /// The arguments that make this machine, the template's overrides applied.
    ///
    /// # Errors
    /// If a path is relative, no text, or too long for a socket, or the machine is none that QEMU can have.
    pub fn arguments(&self, wiring: &Wiring) -> Result<Arguments, SpecError> {
        for (what, text) in [("name", &self.name), ("type", &self.machine)] {
            if text.is_empty() {
                return Err(SpecError::Empty(what));
            }
        }
        let mut all = vec![Switch::with("-name", doubled_commas(&self.name))];
        all.push(Switch::alone("-no-user-config"));
        all.push(Switch::alone("-nodefaults"));
        self.push_board(&mut all);
        push_firmware(&mut all, &self.firmware)?;
        let cards = self.push_networks(&mut all)?;
        drives::push(&mut all, self)?;
        if self.entropy {
            all.push(Switch::with("-device", "virtio-rng-pci"));
        }
        if self.generation {
            // Each process has another number, which is what tells the guest.
            all.push(Switch::with("-device", "vmgenid,guid=auto"));
        }
        if self.panic {
            all.push(Switch::with("-device", "pvpanic-pci"));
        }
        if let Some(tpm) = &self.tpm {
            all.push(Switch::with("-chardev", format!("socket,id=vtpm,path={}", socket(&tpm.socket)?)));
            all.push(Switch::with("-tpmdev", "emulator,id=tpm0,chardev=vtpm"));
            all.push(Switch::with("-device", format!("{},tpmdev=tpm0", tpm.device)));
        }
        if let Some(kernel) = &self.kernel {
            all.push(Switch::with("-kernel", absolute(&kernel.image)?));
            if let Some(initrd) = &kernel.initrd {
                all.push(Switch::with("-initrd", absolute(initrd)?));
            }
            if !kernel.append.is_empty() {
                all.push(Switch::with("-append", kernel.append.as_str()));
            }
        }
        if let Some(boot) = &self.boot {
            all.push(Switch::with("-boot", boot.as_str()));
        }
        push_serial(&mut all, self.serial, wiring)?;
        push_display(&mut all, &self.display, &self.vga, wiring)?;
        if self.no_reboot {
            all.push(Switch::alone("-no-reboot"));
        }
        Ok(Arguments { switches: overrides::apply(all, &self.overrides, &cards) })
    }

    /// Whether its memory lies beside QEMU: it is to, the board is one of which it is known that it can, and a template has no word on how
    /// much there is and where.
    #[must_use]
    pub fn has_memory_beside(&self) -> bool {
        let is_known = ["pc", "q35", "virt"].iter().any(|board| {
            self.machine
                .strip_prefix(board)
                .is_some_and(|more| more.is_empty() || more.starts_with(['-', ',']))
        });
        let is_free = |one: &Override| !MEMORY_SWITCHES.contains(&&*one.switch().name);
        self.memory_beside && is_known && self.overrides.iter().all(is_free)
    }

    fn push_board(&self, all: &mut Vec<Switch>) {
        // QEMU takes no accelerator twice.
        let own =
            self.overrides.iter().any(|one| matches!(one.switch().name.as_str(), "-accel" | "-enable-kvm"));
        let accelerator = if own { String::new() } else { format!(",accel={}", self.accelerator.name()) };
        let mut board = format!("type={}{accelerator}", self.machine);
        if self.has_memory_beside() {
            board += ",memory-backend=memory";
            let size = self.memory;
            let path = format!("/proc/self/fd/{}", leash::MEMORY);
            let memory = format!("memory-backend-file,id=memory,share=on,size={size}M,mem-path={path}");
            all.push(Switch::with("-object", memory));
        }
        all.push(Switch::with("-machine", board));
        if let Some(cpu) = &self.cpu {
            all.push(Switch::with("-cpu", cpu.as_str()));
        }
        all.push(Switch::with("-m", format!("{}M", self.memory)));
        all.push(Switch::with("-smp", smp(self.topology)));
    }

    /// Gives for each card its model, and the switch that makes it.
    fn push_networks(&self, all: &mut Vec<Switch>) -> Result<Vec<(String, Switch)>, SpecError> {
        let mut cards = Vec::new();
        for (number, nic) in self.nics.iter().enumerate() {
            if nic.device.is_empty() {
                return Err(SpecError::Empty("network card"));
            }
            all.push(Switch::with("-netdev", netdev(number, nic)?));
            let mac = nic.mac.as_ref().map(|mac| format!(",mac={mac}")).unwrap_or_default();
            let card = Switch::with("-device", format!("{},netdev=user.{number}{mac}", nic.device));
            cards.push((nic.device.clone(), card.clone()));
            all.push(card);
        }
        Ok(cards)
    }
}

fn smp(topology: Topology) -> String {
    let Topology { cpus, sockets, cores, threads } = topology;
    let product: u32 = [sockets, cores, threads].iter().map(|&count| count.max(1)).product();
    let said = [sockets, cores, threads].iter().any(|&count| count > 0);
    // Packer takes the smaller of the two, where both are said.
    let cpus = match (cpus, said) {
        (0, true) => product,
        (0, false) => 1,
        (cpus, true) => cpus.min(product),
        (cpus, false) => cpus,
    };
    let mut value = format!("cpus={cpus}");
    for (name, count) in [("sockets", sockets), ("cores", cores), ("threads", threads)] {
        if said {
            value += &format!(",{name}={}", count.max(1));
        }
    }
    // Those that are not there at the start could be plugged in.
    if said && product > cpus {
        value += &format!(",maxcpus={product}");
    }
    value
}

fn netdev(number: usize, nic: &Nic) -> Result<String, SpecError> {
    if let Some(bridge) = &nic.bridge {
        return Ok(format!("bridge,id=user.{number},br={}", doubled_commas(bridge)));
    }
    let mut value = format!("user,id=user.{number}");
    if nic.restrict {
        value += ",restrict=on";
    }
    for forward in &nic.forwards {
        let host = match forward.host {
            HostPort::Fixed(port) => port,
            HostPort::Any => 0,
            // QEMU is asked for one after the other once it runs.
            HostPort::Range(first, last) if first == 0 || first > last => {
                return Err(SpecError::Ports(first, last));
            }
            HostPort::Range(..) => continue,
        };
        value += &format!(",hostfwd=tcp:127.0.0.1:{host}-:{}", forward.guest);
    }
    Ok(value)
}

fn push_firmware(all: &mut Vec<Switch>, firmware: &Firmware) -> Result<(), SpecError> {
    let flash = |unit: usize, file: &FlashFile, more: &str| -> Result<Switch, SpecError> {
        let (path, format) = (doubled_commas(absolute(&file.path)?), file.format.name());
        Ok(Switch::with(
            "-drive",
            format!("file={path},if=pflash,unit={unit},format={format},node-name=flash{unit}{more}"),
        ))
    };
    match firmware {
        Firmware::Default => {}
        Firmware::Bios(path) => all.push(Switch::with("-bios", absolute(path)?)),
        Firmware::Flash { code, vars } => {
            all.push(flash(0, code, ",readonly=on")?);
            if let Some(vars) = vars {
                all.push(flash(1, vars, "")?);
            }
        }
    }
    Ok(())
}

/// One switch and no `-chardev` beside it, which a template might override.
fn push_serial(all: &mut Vec<Switch>, serial: Serial, wiring: &Wiring) -> Result<(), SpecError> {
    let log = absolute(&wiring.serial_log)?;
    let value = match serial {
        Serial::None => return Ok(()),
        // All that follows is the path, commas too.
        Serial::Log => format!("file:{log}"),
        Serial::Socket => {
            let path = socket(&wiring.serial_socket)?;
            format!("unix:{path},server=on,wait=off,logfile={}", doubled_commas(log))
        }
    };
    all.push(Switch::with("-serial", value));
    Ok(())
}

fn push_display(
    all: &mut Vec<Switch>,
    display: &Display,
    vga: &str,
    wiring: &Wiring,
) -> Result<(), SpecError> {
    if !vga.is_empty() {
        all.push(Switch::with("-vga", vga));
    }
    match display {
        Display::None => all.push(Switch::with("-display", "none")),
        Display::Window(kind) => all.push(Switch::with("-display", kind.as_str())),
        Display::VncSocket => {
            all.push(Switch::with("-display", "none"));
            all.push(Switch::with("-vnc", format!("unix:{}", socket(&wiring.vnc_socket)?)));
        }
        Display::VncPort { address, first, last, password } => {
            if *first < 5900 || first > last {
                return Err(SpecError::Ports(*first, *last));
            }
            all.push(Switch::with("-display", "none"));
            let host = match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            let password = if *password { ",password=on" } else { "" };
            all.push(Switch::with("-vnc", format!("{host}:{},to={}{password}", first - 5900, last - first)));
        }
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<&str, SpecError> {
    if !path.is_absolute() {
        return Err(SpecError::RelativePath(path.to_owned()));
    }
    path.to_str().ok_or_else(|| SpecError::NotText(path.to_owned()))
}

fn socket(path: &Path) -> Result<String, SpecError> {
    let text = absolute(path)?;
    if text.len() > LONGEST_SOCKET {
        return Err(SpecError::LongSocket { path: path.to_owned(), length: text.len() });
    }
    Ok(doubled_commas(text))
}

#[cfg(test)]
#[path = "argv_tests.rs"]
mod tests;
