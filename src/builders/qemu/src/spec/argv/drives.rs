//! Disks, CDs and floppy disks as QEMU's arguments.
//!
//! Each drive on the board's own controller is given its place there: left alone, QEMU puts what `-drive` attaches on the first bus
//! and what is a device on the last, so that a second CD would come before the medium.

use super::super::{Cd, CdInterface, Disk, DiskInterface, DiskZeroes, Override};
use super::{MachineSpec, SpecError, Switch, absolute, doubled_commas};

/// Appends all drives of a machine.
pub(super) fn push(all: &mut Vec<Switch>, spec: &MachineSpec) -> Result<(), SpecError> {
    let scsi_disks = spec.disks.iter().any(|disk| disk.interface == DiskInterface::VirtioScsi);
    let scsi_cds = spec.cds.iter().any(|cd| cd.interface == CdInterface::VirtioScsi);
    if scsi_disks || scsi_cds {
        all.push(Switch::with("-device", "virtio-scsi-pci,id=scsi0"));
    }
    if spec.disks.iter().any(|disk| disk.interface == DiskInterface::Sata) {
        all.push(Switch::with("-device", "ahci,id=ahci0"));
    }
    let mut places = Places::of(board(spec));
    let mut sata = 0;
    for (number, disk) in spec.disks.iter().enumerate() {
        push_disk(all, disk, number, &mut places, &mut sata)?;
    }
    for (number, cd) in spec.cds.iter().enumerate() {
        push_cd(all, cd, number, &mut places)?;
    }
    push_floppies(all, spec)
}

fn push_disk(
    all: &mut Vec<Switch>,
    disk: &Disk,
    number: usize,
    places: &mut Places,
    sata: &mut u32,
) -> Result<(), SpecError> {
    let (attach, device) = match disk.interface {
        DiskInterface::Ide if disk.boot_index.is_some() => {
            ("none".to_owned(), Some(format!("ide-hd{}", places.next()?.of_device())))
        }
        DiskInterface::Ide => (format!("ide{}", places.next()?.of_drive()), None),
        DiskInterface::Scsi => ("scsi".to_owned(), None),
        DiskInterface::Sd => ("sd".to_owned(), None),
        // A drive given as `if=virtio` has no serial number, and no place among what is booted from.
        DiskInterface::Virtio if disk.serial.is_some() || disk.boot_index.is_some() => {
            ("none".to_owned(), Some("virtio-blk-pci".to_owned()))
        }
        DiskInterface::Virtio => ("virtio".to_owned(), None),
        DiskInterface::VirtioScsi => ("none".to_owned(), Some("scsi-hd,bus=scsi0.0".to_owned())),
        DiskInterface::Sata => {
            *sata += 1;
            ("none".to_owned(), Some(format!("ide-hd,bus=ahci0.{}", *sata - 1)))
        }
    };
    all.push(Switch::with("-drive", drive(disk, &attach, number)?));
    if let Some(device) = device {
        let serial = disk.serial.as_ref();
        let serial = serial.map(|text| format!(",serial={}", doubled_commas(text))).unwrap_or_default();
        let order = boot_index(disk.boot_index);
        all.push(Switch::with("-device", format!("{device},drive=drive{number}{serial}{order}")));
    }
    Ok(())
}

/// A drive and its node have names of their own; QEMU takes no two of one name.
fn drive(disk: &Disk, attach: &str, number: usize) -> Result<String, SpecError> {
    let file = doubled_commas(absolute(&disk.path)?);
    let discard = if disk.discard { "unmap" } else { "ignore" };
    let mut value = format!("file={file},if={attach},cache={},discard={discard}", disk.cache.name());
    if disk.zeroes != DiskZeroes::Written {
        value += &format!(",detect-zeroes={}", disk.zeroes.name());
    }
    value += &format!(",format={},id=drive{number},node-name=disk{number}", disk.format.name());
    if disk.read_only {
        value += ",readonly=on";
    }
    let mut place = String::new();
    for path in &disk.below {
        place += "backing.";
        let file = doubled_commas(absolute(path)?);
        value += &format!(",{place}driver=qcow2,{place}file.driver=file,{place}file.filename={file}");
    }
    Ok(value)
}

fn push_cd(all: &mut Vec<Switch>, cd: &Cd, number: usize, places: &mut Places) -> Result<(), SpecError> {
    let file = doubled_commas(absolute(&cd.path)?);
    let named = format!("format=raw,readonly=on,id=cdrom{number},node-name=cd{number}");
    let drive = |attach: &str| format!("file={file}{attach},media=cdrom,{named}");
    let disk = |attach: &str| format!("file={file},if={attach},{named}");
    let is_ordered = cd.boot_index.is_some();
    let (value, device) = match cd.interface {
        CdInterface::Default | CdInterface::Ide if is_ordered => {
            (drive(",if=none"), Some(format!("ide-cd{}", places.next()?.of_device())))
        }
        CdInterface::Default => (drive(&places.next()?.of_drive()), None),
        CdInterface::Ide => (drive(&format!(",if=ide{}", places.next()?.of_drive())), None),
        CdInterface::Scsi => (drive(",if=scsi"), None),
        CdInterface::Virtio if is_ordered => (disk("none"), Some("virtio-blk-pci".to_owned())),
        CdInterface::Virtio => (disk("virtio"), None),
        CdInterface::VirtioScsi => (drive(",if=none"), Some("scsi-cd,bus=scsi0.0".to_owned())),
    };
    all.push(Switch::with("-drive", value));
    if let Some(device) = device {
        let order = boot_index(cd.boot_index);
        all.push(Switch::with("-device", format!("{device},drive=cdrom{number}{order}")));
    }
    Ok(())
}

fn push_floppies(all: &mut Vec<Switch>, spec: &MachineSpec) -> Result<(), SpecError> {
    if spec.floppies.len() > 2 {
        return Err(SpecError::Floppies(spec.floppies.len()));
    }
    for (number, path) in spec.floppies.iter().enumerate() {
        let file = doubled_commas(absolute(path)?);
        all.push(Switch::with(
            "-drive",
            format!(
                "file={file},if=floppy,index={number},format=raw,readonly=on,id=diskette{number},node-name=floppy{number}"
            ),
        ));
    }
    Ok(())
}

fn boot_index(place: Option<u32>) -> String {
    place.map(|place| format!(",bootindex={place}")).unwrap_or_default()
}

/// The type of machine, which a template's own switch may say.
fn board(spec: &MachineSpec) -> &str {
    let own = spec.overrides.iter().map(Override::switch).rev();
    let own = own.filter(|switch| matches!(&*switch.name, "-machine" | "-M")).find_map(|switch| {
        let parts = switch.value.as_deref()?.split(',');
        parts.enumerate().find_map(|(number, part)| match part.split_once('=') {
            Some(("type", name)) => Some(name),
            None if number == 0 => Some(part),
            _ => None,
        })
    });
    own.unwrap_or(&spec.machine)
}

/// The places on a board's own IDE or AHCI, in the order in which they are given out.
struct Places {
    machine: String,
    board: Option<Board>,
    next: u32,
}

/// A controller on a board: how many buses it has, and how many drives each of them.
#[derive(Clone, Copy)]
struct Board {
    buses: u32,
    units: u32,
}

/// Where a drive is on its board; nothing is said of a board that is not known.
struct Place(Option<(Board, u32)>);

impl Places {
    /// Those of a type of machine: `pc`, `pc-i440fx-7.2`, `pc-q35-7.2`.
    fn of(machine: &str) -> Self {
        let name = machine.split(',').next().unwrap_or_default();
        let board = match name {
            _ if name == "q35" || name.starts_with("pc-q35") => Some(Board { buses: 6, units: 1 }),
            _ if name == "pc" || name.starts_with("pc-i440fx") => Some(Board { buses: 2, units: 2 }),
            _ => None,
        };
        Self { machine: name.to_owned(), board, next: 0 }
    }

    fn next(&mut self) -> Result<Place, SpecError> {
        let Some(board) = self.board else { return Ok(Place(None)) };
        let most = board.buses * board.units;
        if self.next == most {
            return Err(SpecError::IdeDrives { machine: self.machine.clone(), most });
        }
        self.next += 1;
        Ok(Place(Some((board, self.next - 1))))
    }
}

impl Place {
    /// For `-drive`, which counts over all buses.
    fn of_drive(&self) -> String {
        self.0.map(|(_, number)| format!(",index={number}")).unwrap_or_default()
    }

    /// For `-device`.
    fn of_device(&self) -> String {
        let place = |(board, number): (Board, u32)| {
            format!(",bus=ide.{},unit={}", number / board.units, number % board.units)
        };
        self.0.map(place).unwrap_or_default()
    }
}
