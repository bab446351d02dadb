//! A `qemu` source's attributes as a machine. Durations are whole milliseconds in them.

use std::path::PathBuf;
use std::time::Duration;

use imgbuild_engine::{ActionError, MachineSpec as Wanted};
use imgbuild_model::{Architecture, Attributes, Value};
use imgbuild_ssh::milliseconds;

use super::words::Words;
use crate::probe::Emulator;
use crate::spec::{
    Accelerator, Cd, CdInterface, Disk, DiskCache, DiskFormat, DiskInterface, DiskZeroes, Display, Firmware,
    FlashFile, HostForward, HostPort, MachineSpec, Nic, Override, Serial, Topology, Tpm,
};
use crate::tpm::TpmVersion;

/// Where OVMF is: code and variables, as Debian, Fedora, Arch and SUSE have them.
const OVMF: [(&str, &str); 5] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
];

/// What has been asked for and is not there.
const NOT_YET: [(&str, &str); 1] = [("net_bridge", "a network on a bridge of the host")];

/// Reads a source's attributes, with the defaults of its schema.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) wanted: &'a Wanted,
}

impl Source<'_> {
    fn attributes(&self) -> &Attributes {
        &self.wanted.source
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.attributes().str(name).filter(|text| !text.is_empty())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.attributes().is_true(name)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.attributes().get(name).and_then(Value::as_int)
    }

    fn count(&self, name: &str, usual: u32) -> u32 {
        let number = self.number(name).and_then(|number| u32::try_from(number).ok());
        number.filter(|&number| number > 0).unwrap_or(usual)
    }

    fn port(&self, name: &str) -> Option<u16> {
        self.number(name).and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0)
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.attributes().strings(name).map(str::to_owned).collect()
    }

    pub(crate) fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let entries = self.attributes().get(name).and_then(Value::as_dict).unwrap_or_default();
        entries
            .iter()
            .filter_map(|(key, value)| Some((key.to_string(), value.as_str()?.to_owned())))
            .collect()
    }

    /// A list of lists.
    pub(crate) fn rows(&self, name: &str) -> Vec<Vec<String>> {
        let rows = self.attributes().get(name).and_then(Value::as_list).unwrap_or_default();
        let texts = |row: &Value| {
            let texts = row.as_list().unwrap_or_default().iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        rows.iter().map(texts).collect()
    }

    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        milliseconds(self.attributes(), name)
    }

    pub(crate) fn files(&self, name: &str) -> Vec<PathBuf> {
        self.wanted.files.get(name).cloned().unwrap_or_default()
    }

    /// What the file of an attribute is called.
    pub(crate) fn name_of(&self, name: &str) -> &str {
        match self.attributes().get(name) {
            Some(Value::Artifact(artifact)) => artifact.base_name(),
            _ => "",
        }
    }

    /// Whether an attribute names files.
    pub(crate) fn names_files(&self, name: &str) -> bool {
        self.attributes().get(name).and_then(Value::as_list).is_some_and(|files| !files.is_empty())
    }

    /// Whether memory is kept where it can be.
    pub(crate) fn warm(&self) -> bool {
        self.attributes().get("warm").and_then(Value::as_bool) != Some(false)
    }

    /// Whether cloud-init is told who may log in.
    pub(crate) fn has_seed(&self) -> bool {
        self.text("seed") == Some("nocloud")
    }

    /// The port on which the machine listens.
    pub(crate) fn ssh_port(&self) -> u16 {
        self.port("ssh_port").unwrap_or(22)
    }

    /// What is run to switch the machine off, if not its button.
    pub(crate) fn shutdown_command(&self) -> Option<&str> {
        self.text("shutdown_command")
    }

    /// How long that may take.
    pub(crate) fn shutdown_timeout(&self) -> Duration {
        self.duration("shutdown_timeout").unwrap_or(Duration::from_secs(5 * 60))
    }

    /// The emulator's name or path.
    pub(crate) fn program(&self) -> &str {
        self.text("qemu_binary").unwrap_or(match self.wanted.platform.architecture {
            Architecture::Arm64 => "qemu-system-aarch64",
            Architecture::Riscv64 => "qemu-system-riscv64",
            _ => "qemu-system-x86_64",
        })
    }

    /// The accelerator that the user wants.
    pub(crate) fn accelerator(&self) -> Option<Accelerator> {
        Some(match self.text("accelerator")? {
            "kvm" => Accelerator::Kvm,
            "none" | "tcg" => Accelerator::Tcg,
            other => Accelerator::Other(other.to_owned()),
        })
    }

    /// The size of the disk in bytes; `None` if it keeps the one it has.
    pub(crate) fn disk_size(&self) -> Result<Option<u64>, ActionError> {
        if self.flag("skip_resize_disk") {
            return Ok(None);
        }
        size(self.text("disk_size").unwrap_or("40960M")).map(Some)
    }

    /// The sizes of further disks in bytes.
    pub(crate) fn further_disks(&self) -> Result<Vec<u64>, ActionError> {
        self.texts("disk_additional_size").iter().map(|text| size(text)).collect()
    }

    /// The firmware: code, and the variables that a new machine starts with.
    pub(crate) fn efi(&self) -> Result<Option<(PathBuf, PathBuf)>, ActionError> {
        let named = (self.text("efi_firmware_code"), self.text("efi_firmware_vars"));
        let found = match named {
            (Some(code), Some(vars)) => Some((PathBuf::from(code), PathBuf::from(vars))),
            (None, None) if !self.flag("efi_boot") => return Ok(None),
            (Some(_), None) | (None, Some(_)) => {
                return Err(ActionError::input(
                    "`efi_firmware_code` and `efi_firmware_vars` belong together",
                )
                .hint("name both files, or say `efi_boot = True` for those of this host"));
            }
            _ => OVMF
                .iter()
                .map(|(code, vars)| (PathBuf::from(code), PathBuf::from(vars)))
                .find(|(code, vars)| code.exists() && vars.exists()),
        };
        found.map(Some).ok_or_else(|| {
            ActionError::environment("the machine is to boot by UEFI, and there is no OVMF here")
                .hint("install `ovmf`, or name the files by `efi_firmware_code` and `efi_firmware_vars`")
        })
    }

    /// Which TPM it has.
    pub(crate) fn tpm_version(&self) -> Option<TpmVersion> {
        let version = if self.flag("use_tpm1") { TpmVersion::One } else { TpmVersion::Two };
        self.flag("vtpm").then_some(version)
    }

    /// The TPM behind a socket.
    pub(crate) fn tpm(&self, socket: PathBuf) -> Tpm {
        Tpm { socket, device: self.text("tpm_device_type").unwrap_or("tpm-tis").to_owned() }
    }

    /// The machine without what lies on its disks.
    pub(crate) fn machine(
        &self,
        emulator: &Emulator,
        accelerator: Accelerator,
    ) -> Result<MachineSpec, ActionError> {
        for (name, what) in NOT_YET {
            if self.flag(name) || self.text(name).is_some() {
                return Err(ActionError::input(format!("{what} (`{name}`) is not built in yet")));
            }
        }
        let forward = HostForward {
            host: match (self.port("host_port_min"), self.port("host_port_max")) {
                (Some(first), Some(last)) => HostPort::Range(first, last),
                (Some(first), None) => HostPort::Range(first, u16::MAX),
                _ => HostPort::Any,
            },
            guest: self.ssh_port(),
        };
        let nic = Nic {
            device: self.text("net_device").unwrap_or("virtio-net").to_owned(),
            restrict: !self.flag("network"),
            ..Nic::new(vec![forward])
        };
        let firmware = match self.text("firmware") {
            Some(path) if self.flag("use_pflash") => {
                Firmware::Flash { code: FlashFile { path: path.into(), format: DiskFormat::Raw }, vars: None }
            }
            Some(path) => Firmware::Bios(path.into()),
            None => Firmware::Default,
        };
        let machine = self.text("machine_type").unwrap_or("pc");
        Ok(MachineSpec {
            name: "imgbuild".to_owned(),
            machine: emulator.versioned_machine(machine).to_owned(),
            cpu: self.text("cpu_model").map(str::to_owned).or_else(|| usual_cpu(&accelerator)),
            accelerator,
            topology: Topology {
                cpus: self.count("cpus", 0),
                sockets: self.count("sockets", 0),
                cores: self.count("cores", 0),
                threads: self.count("threads", 0),
            },
            memory: u64::from(self.count("memory", 512)),
            firmware,
            nics: vec![nic],
            vga: self.text("vga").unwrap_or("std").to_owned(),
            display: Display::VncSocket,
            serial: Serial::Log,
            generation: matches!(self.wanted.platform.architecture, Architecture::Amd64),
            overrides: self.overrides(&Words::of_each_boot(*self)?)?,
            ..MachineSpec::default()
        })
    }

    /// The machine's own switches.
    ///
    /// # Errors
    /// If a template in them cannot be filled in.
    pub(crate) fn overrides(&self, words: &Words) -> Result<Vec<Override>, ActionError> {
        let mut overrides = Vec::new();
        for row in self.rows("qemuargs") {
            let row: Result<Vec<_>, _> = row.iter().map(|word| words.fill(*self, "qemuargs", word)).collect();
            overrides.extend(Override::from_row(&row?));
        }
        if let Some(disks) = overrides.iter().find(|one| one.replaces_disks()) {
            let what = format!(
                "`{}` among the `qemuargs` would take the place of the machine's disks",
                disks.switch().name
            );
            return Err(ActionError::input(what).hint("say `disk`, `disk_additional_size`, `cd` or `floppy`"));
        }
        Ok(overrides)
    }

    /// A disk of the machine.
    pub(crate) fn disk(&self, path: PathBuf, below: Vec<PathBuf>) -> Disk {
        let discard = self.text("disk_discard") != Some("ignore");
        Disk {
            below,
            interface: match self.text("disk_interface") {
                Some("ide") => DiskInterface::Ide,
                Some("sata") => DiskInterface::Sata,
                Some("scsi") => DiskInterface::Scsi,
                Some("sd") => DiskInterface::Sd,
                Some("virtio-scsi") => DiskInterface::VirtioScsi,
                _ => DiskInterface::Virtio,
            },
            // What a host loses when it stops is a run's own, and is made again.
            cache: match self.text("disk_cache") {
                Some("writethrough") => DiskCache::Writethrough,
                Some("writeback") => DiskCache::Writeback,
                Some("none") => DiskCache::None,
                Some("directsync") => DiskCache::Directsync,
                _ => DiskCache::Unsafe,
            },
            // What the guest gives back is not kept in layers.
            discard,
            zeroes: match self.text("disk_detect_zeroes") {
                Some("off") => DiskZeroes::Written,
                Some("on") => DiskZeroes::Noted,
                // QEMU gives nothing back that way where the guest cannot either.
                Some("unmap") if !discard => DiskZeroes::Noted,
                _ if !discard => DiskZeroes::Written,
                _ => DiskZeroes::Discarded,
            },
            ..Disk::new(path, DiskFormat::Qcow2)
        }
    }

    /// A CD of the machine. One of a machine without drives for them is a disk that cannot be written.
    pub(crate) fn cd(&self, path: PathBuf) -> Cd {
        let interface = match self.text("cdrom_interface") {
            Some("ide") => CdInterface::Ide,
            Some("scsi") => CdInterface::Scsi,
            Some("virtio") => CdInterface::Virtio,
            Some("virtio-scsi") => CdInterface::VirtioScsi,
            _ => CdInterface::Default,
        };
        Cd { interface, ..Cd::new(path) }
    }
}

/// The firmware of a machine whose own variables lie at `vars`.
pub(crate) fn flash(code: PathBuf, vars: PathBuf) -> Firmware {
    let raw = |path| FlashFile { path, format: DiskFormat::Raw };
    Firmware::Flash { code: raw(code), vars: Some(raw(vars)) }
}

/// The processor where the user says none: all that the host has under KVM, and all that QEMU has without.
fn usual_cpu(accelerator: &Accelerator) -> Option<String> {
    match accelerator {
        Accelerator::Kvm => Some("host".to_owned()),
        Accelerator::Tcg | Accelerator::Other(_) => None,
    }
}

/// A size as Packer takes it: mebibytes where there is no unit.
fn size(text: &str) -> Result<u64, ActionError> {
    let with_unit =
        if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("{text}M") } else { text.to_owned() };
    imgbuild_disk::parse_size(&with_unit).map_err(|error| ActionError::input(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_without_a_unit_are_mebibytes() {
        assert_eq!(size("512").unwrap(), 512 << 20);
        assert_eq!(size("40960M").unwrap(), 40 << 30);
        assert_eq!(size("10G").unwrap(), 10 << 30);
        assert!(size("ten").is_err());
    }
}
