//! What a snapshot with memory can be loaded into: a machine whose every part that has a state is the same.
//!
//! For: comparing before a snapshot is loaded, so that a mismatch is a reason and not QEMU's `Missing section footer`. Not for:
//! keys of layers; a fingerprint never leaves the machine it was taken on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Accelerator, DiskCache, DiskZeroes, Display, Firmware, HostPort, MachineSpec, Serial, SpecError, Wiring,
};

/// What of the host a snapshot depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'h> {
    /// The emulator's build, as it says it: `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)`.
    pub emulator: &'h str,
    /// The machine's type with its version, which an alias such as `pc` stands for.
    pub machine: &'h str,
    /// The digest of the firmware's code, or of the emulator's own, in any stable form.
    pub firmware: &'h str,
    /// The host's processor, which only a machine that runs on it depends on.
    pub processor: &'h str,
}

/// The parts that a snapshot with memory depends on, each by name, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemoryFingerprint(BTreeMap<String, String>);

/// One part in which two fingerprints differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which part: `emulator`, `memory`.
    pub part: String,
    /// What it was; `None` if it was not there.
    pub was: Option<String>,
    /// What it is now.
    pub is: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{} was `{}` and is `{}`", self.part, shown(&self.was), shown(&self.is))
    }
}

impl MemoryFingerprint {
    /// The parts by name.
    pub fn parts(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// In what another differs from this one; nothing if its snapshots can be loaded.
    pub fn differences(&self, now: &Self) -> Vec<Difference> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let different = names.into_iter().filter(|name| self.0.get(*name) != now.0.get(*name));
        different
            .map(|name| Difference {
                part: name.clone(),
                was: self.0.get(name).cloned(),
                is: now.0.get(name).cloned(),
            })
            .collect()
    }
}

impl MachineSpec {
    /// What a snapshot with the memory of this machine depends on: the emulator's build, the machine's version, the
    /// processor, the accelerator, the memory, all devices in their order, the firmware. Where files lie, which ports are
    /// forwarded, how writes are cached and where the screen goes is not of it.
    ///
    /// # Errors
    /// If the machine is none that QEMU can have.
    pub fn memory_fingerprint(&self, host: &Host<'_>) -> Result<MemoryFingerprint, SpecError> {
        let same = self.without_places();
        let arguments = same.arguments(&Wiring::in_folder(Path::new("/")))?;
        let devices: Vec<String> = arguments
            .switches()
            .iter()
            .filter(|switch| {
                !matches!(switch.name.as_str(), "-name" | "-m" | "-cpu" | "-machine" | "-display")
            })
            .map(ToString::to_string)
            .collect();
        let mut parts = BTreeMap::from([
            ("emulator", host.emulator.to_owned()),
            ("machine", host.machine.to_owned()),
            ("firmware", host.firmware.to_owned()),
            ("accelerator", self.accelerator.name().to_owned()),
            ("cpu", self.cpu.clone().unwrap_or_default()),
            ("memory", format!("{}M", self.memory)),
            ("devices", devices.join(" ")),
        ]);
        // Overrides of these are among what is overridden, and not among devices.
        for switch in self.overrides.iter().map(super::Override::switch) {
            let part = match switch.name.as_str() {
                "-m" => "memory",
                "-cpu" => "cpu",
                "-machine" => "machine",
                _ => continue,
            };
            let value = switch.value.clone().unwrap_or_default();
            parts.entry(part).and_modify(|text| *text = format!("{text} {value}"));
        }
        if self.accelerator != Accelerator::Tcg {
            parts.insert("processor", host.processor.to_owned());
        }
        Ok(MemoryFingerprint(parts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()))
    }

    /// The same machine with all files in one place, no ports, no screen, and nothing that only its start depends on.
    fn without_places(&self) -> Self {
        let mut same = self.clone();
        let place = || PathBuf::from("/-");
        same.display = Display::None;
        (same.boot, same.no_reboot) = (None, false);
        if same.serial == Serial::Socket {
            same.serial = Serial::Log;
        }
        for disk in &mut same.disks {
            disk.path = place();
            disk.below.clear();
            (disk.cache, disk.zeroes) = (DiskCache::Writeback, DiskZeroes::Written);
        }
        same.cds.iter_mut().for_each(|cd| cd.path = place());
        same.floppies.iter_mut().for_each(|path| *path = place());
        for nic in &mut same.nics {
            (nic.restrict, nic.bridge) = (false, None);
            nic.forwards
                .retain(|forward| matches!(forward.host, HostPort::Range(first, last) if first > last));
        }
        match &mut same.firmware {
            Firmware::Default => {}
            Firmware::Bios(path) => *path = place(),
            Firmware::Flash { code, vars } => {
                code.path = place();
                vars.iter_mut().for_each(|file| file.path = place());
            }
        }
        if let Some(tpm) = &mut same.tpm {
            tpm.socket = place();
        }
        if let Some(kernel) = &mut same.kernel {
            kernel.image = place();
            kernel.append.clear();
            kernel.initrd.iter_mut().for_each(|path| *path = place());
        }
        same
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{Disk, DiskFormat, HostForward, Nic};

    use super::*;

    const HOST: Host<'_> =
        Host { emulator: "QEMU 10.0.2", machine: "pc-i440fx-10.0", firmware: "aa", processor: "EPYC" };

    fn machine() -> MachineSpec {
        let forward = HostForward { host: HostPort::Fixed(2222), guest: 22 };
        MachineSpec {
            disks: vec![Disk::new("/one", DiskFormat::Qcow2)],
            nics: vec![Nic::new(vec![forward])],
            ..MachineSpec::default()
        }
    }

    fn differs(change: impl FnOnce(&mut MachineSpec)) -> Vec<String> {
        let mut other = machine();
        change(&mut other);
        let (was, is) =
            (machine().memory_fingerprint(&HOST).unwrap(), other.memory_fingerprint(&HOST).unwrap());
        was.differences(&is).into_iter().map(|difference| difference.part).collect()
    }

    #[test]
    fn places_ports_and_screens_are_not_of_it() {
        let nothing: [&str; 0] = [];
        assert_eq!(differs(|spec| spec.name = "other".into()), nothing);
        assert_eq!(differs(|spec| spec.disks[0].path = "/two".into()), nothing);
        assert_eq!(differs(|spec| spec.disks[0].cache = DiskCache::Unsafe), nothing);
        assert_eq!(differs(|spec| spec.nics[0].forwards[0].host = HostPort::Any), nothing);
        assert_eq!(differs(|spec| spec.display = Display::VncSocket), nothing);
        assert_eq!(differs(|spec| spec.serial = Serial::Socket), nothing);
        assert_eq!(differs(|spec| spec.boot = Some("once=d".into())), nothing);
    }

    #[test]
    fn each_part_with_a_state_is_of_it() {
        assert_eq!(differs(|spec| spec.memory = 513), ["memory"]);
        assert_eq!(differs(|spec| spec.cpu = Some("max".into())), ["cpu"]);
        assert_eq!(differs(|spec| spec.topology.cpus = 2), ["devices"]);
        assert_eq!(differs(|spec| spec.accelerator = Accelerator::Kvm), ["accelerator", "processor"]);
        assert_eq!(differs(|spec| spec.memory_beside = true), ["devices"]);
        assert_eq!(differs(|spec| spec.disks.clear()), ["devices"]);
        assert_eq!(differs(|spec| spec.nics[0].device = "e1000".into()), ["devices"]);
        assert_eq!(differs(|spec| spec.entropy = false), ["devices"]);
        assert_eq!(differs(|spec| spec.serial = Serial::None), ["devices"]);
        assert_eq!(differs(|spec| spec.panic = true), ["devices"]);
        assert_eq!(differs(|spec| spec.generation = true), ["devices"]);
        assert_eq!(differs(|spec| spec.vga = "virtio".into()), ["devices"]);
        let row = ["-m".to_owned(), "1G".to_owned()];
        assert_eq!(differs(|spec| spec.overrides.extend(super::super::Override::from_row(&row))), ["memory"]);
        let newer = Host { emulator: "QEMU 10.1.0", ..HOST };
        let was = machine().memory_fingerprint(&HOST).unwrap();
        let differences = was.differences(&machine().memory_fingerprint(&newer).unwrap());
        assert_eq!(differences[0].to_string(), "emulator was `QEMU 10.0.2` and is `QEMU 10.1.0`");
        let kept = serde_json::to_string(&was).unwrap();
        assert_eq!(serde_json::from_str::<MemoryFingerprint>(&kept).unwrap(), was);
    }
}
