//! What QEMU means when it ends as it starts: from its words to a reason and what can be done. Not for: reasons that come
//! over the control socket.

use std::fmt;

/// Why QEMU ended, as far as its words say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A port of the host that is forwarded, or that VNC is on, is taken.
    PortTaken {
        /// The rule of QEMU's: `tcp:127.0.0.1:2222-:22`.
        rule: String,
    },
    /// Another process uses an image.
    ImageInUse {
        /// The image.
        path: String,
    },
    /// There is no such file.
    MissingFile {
        /// The file.
        path: String,
    },
    /// The accelerator does not work here.
    Accelerator {
        /// What QEMU says.
        reason: String,
    },
    /// There is no such device.
    Device {
        /// Its name.
        name: String,
    },
    /// There is no such machine.
    Machine {
        /// Its name, which older QEMUs do not say.
        name: Option<String>,
    },
    /// There is no such processor.
    Processor {
        /// Its name.
        name: String,
    },
    /// The host has not enough memory.
    Memory,
    /// A switch that this QEMU does not have.
    Switch {
        /// The switch.
        name: String,
    },
    /// Something else.
    Other,
}

/// What QEMU says if a port cannot be bound.
const FORWARD: &str = "Could not set up host forwarding rule";

/// Whether that is what QEMU says of a port that is to be forwarded.
pub(super) fn is_port_taken(said: &str) -> bool {
    said.contains(FORWARD)
}

impl Cause {
    /// From what QEMU wrote on standard error.
    pub(super) fn of(said: &str) -> Self {
        let quoted = |mark: &str| quoted_after(said, mark);
        if let Some(rule) = quoted(FORWARD) {
            return Self::PortTaken { rule };
        }
        if said.contains("Address already in use") {
            return Self::PortTaken { rule: quoted("vnc").unwrap_or_else(|| "a socket".to_owned()) };
        }
        if said.contains("Failed to get \"write\" lock")
            || said.contains("Failed to get shared \"write\" lock")
        {
            let path = said.split_once("using the image [").and_then(|(_, rest)| rest.split_once("]?"));
            return Self::ImageInUse {
                path: path.map_or_else(|| "a disk".to_owned(), |(path, _)| path.to_owned()),
            };
        }
        for mark in [
            "Could not open ",
            "could not load PC BIOS ",
            "could not open kernel file ",
            "could not load kernel ",
            "could not read initrd ",
            "could not load initrd ",
        ] {
            let missing = said.contains("No such file or directory") || mark.contains("BIOS");
            if missing && let Some(path) = quoted(mark) {
                return Self::MissingFile { path };
            }
        }
        if said.contains("error reading initrd") {
            let path = said.split_once("error reading initrd ").and_then(|(_, rest)| rest.split_once(':'));
            return Self::MissingFile { path: path.map_or_else(String::new, |(path, _)| path.to_owned()) };
        }
        for mark in [
            "Could not access KVM",
            "failed to initialize",
            "invalid accelerator",
            "kvm_init",
            "failed to set MSR",
        ] {
            if let Some(line) = said.lines().find(|line| line.contains(mark)) {
                return Self::Accelerator { reason: line.trim().to_owned() };
            }
        }
        if said.contains("is not a valid device model name") {
            return Self::Device { name: quoted(": ").unwrap_or_default() };
        }
        if said.contains("unsupported machine type") {
            return Self::Machine { name: quoted("unsupported machine type") };
        }
        if let Some(name) = quoted("unable to find CPU model") {
            return Self::Processor { name };
        }
        if said.contains("cannot set up guest memory") {
            return Self::Memory;
        }
        if let Some((before, _)) = said.split_once(": invalid option") {
            let name = before.rsplit(": ").next().unwrap_or_default().trim();
            return Self::Switch { name: name.to_owned() };
        }
        Self::Other
    }
}

/// What stands in `'…'` or `"…"` next after a mark.
fn quoted_after(text: &str, mark: &str) -> Option<String> {
    let (_, rest) = text.split_once(mark)?;
    let start = rest.find(['\'', '"'])?;
    let quote = rest[start..].chars().next()?;
    let (inner, _) = rest[start + 1..].split_once(quote)?;
    Some(inner.to_owned())
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortTaken { rule } => {
                write!(f, "the port of `{rule}` is taken; let another be chosen, or end what listens on it")
            }
            Self::ImageInUse { path } => {
                write!(f, "`{path}` is used by another process; end the machine that runs from it")
            }
            Self::MissingFile { path } => write!(
                f,
                "there is no file `{path}`; UEFI firmware for x86 comes with the package `ovmf`, SeaBIOS with `seabios`"
            ),
            Self::Accelerator { reason } => {
                write!(f, "the accelerator does not work here ({reason}); set `accelerator = \"tcg\"`")
            }
            Self::Device { name } => {
                write!(f, "this QEMU has no device `{name}`; `-device help` lists those that it has")
            }
            Self::Machine { name } => {
                let name = name.as_ref().map_or("of this type".to_owned(), |name| format!("`{name}`"));
                write!(f, "this QEMU has no machine {name}; `-machine help` lists those that it has")
            }
            Self::Processor { name } => {
                write!(f, "this QEMU has no processor `{name}`; `-cpu help` lists those that it has")
            }
            Self::Memory => f.write_str("this host has not enough memory for the guest; lower `memory`"),
            Self::Switch { name } => {
                write!(f, "this QEMU does not know `{name}`; look at `qemuargs`, or use a newer QEMU")
            }
            Self::Other => f.write_str("for a reason of its own"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_qemu_are_understood() {
        let text = str::to_owned;
        for (said, wanted) in [
            (
                "qemu-system-x86_64: -netdev user,id=user.0: Could not set up host forwarding rule 'tcp:127.0.0.1:2222-:22'",
                Cause::PortTaken { rule: text("tcp:127.0.0.1:2222-:22") },
            ),
            (
                "qemu-system-x86_64: -drive file=/a: Failed to get \"write\" lock\nIs another process using the image [/a.qcow2]?",
                Cause::ImageInUse { path: text("/a.qcow2") },
            ),
            (
                "qemu-system-x86_64: -drive file=/c.fd: Could not open '/c.fd': No such file or directory",
                Cause::MissingFile { path: text("/c.fd") },
            ),
            ("qemu: could not load PC BIOS '/b'", Cause::MissingFile { path: text("/b") }),
            (
                "Could not access KVM kernel module: No such file or directory\nqemu-system-x86_64: failed to initialize kvm: No such file or directory",
                Cause::Accelerator {
                    reason: text("Could not access KVM kernel module: No such file or directory"),
                },
            ),
            (
                "qemu-system-x86_64: -device foo: 'foo' is not a valid device model name",
                Cause::Device { name: text("foo") },
            ),
            ("qemu-system-x86_64: unsupported machine type: \"z\"", Cause::Machine { name: Some(text("z")) }),
            (
                "qemu-system-x86_64: unsupported machine type\nUse -machine help to list supported machines",
                Cause::Machine { name: None },
            ),
            ("qemu-system-x86_64: unable to find CPU model 'z80'", Cause::Processor { name: text("z80") }),
            (
                "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory",
                Cause::Memory,
            ),
            ("qemu-system-x86_64: -wrong: invalid option", Cause::Switch { name: text("-wrong") }),
            ("", Cause::Other),
        ] {
            assert_eq!(Cause::of(said), wanted, "{said}");
        }
    }
}
