//! A template's own switches of QEMU (`qemuargs`), which take the place of ours (Packer: `docs/builders/qemu`, `qemuargs`).
//!
//! A switch that a template gives replaces every default of that switch. What machine and program need to speak to each
//! other at all is no default and stays.

use std::fmt;

use imgbuild_kinds::DISK_SWITCHES;

/// One of QEMU's switches with its value, if it has one: `-m` with `512M`, `-enable-kvm` with none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// With its dash: `-device`.
    pub name: String,
    /// What follows.
    pub value: Option<String>,
}

impl Switch {
    /// A switch with a value.
    pub(super) fn with(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: Some(value.into()) }
    }

    /// A switch alone.
    pub(super) fn alone(name: &str) -> Self {
        Self { name: name.to_owned(), value: None }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, " {value}"))
    }
}

/// One row of `qemuargs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override(Switch);

impl Override {
    /// A row's texts: the switch, and then its value in parts, which are joined with nothing between. Parts that are all
    /// empty are no value. `None` if the row has no switch.
    #[must_use]
    pub fn from_row(row: &[String]) -> Option<Self> {
        let (name, parts) = row.split_first()?;
        let value = parts.concat();
        let value = (!value.is_empty()).then_some(value);
        (!name.is_empty()).then(|| Self(Switch { name: name.clone(), value }))
    }

    /// Whether it takes the place of the machine's disks.
    pub fn replaces_disks(&self) -> bool {
        DISK_SWITCHES.contains(&&*self.0.name)
    }

    /// The switch.
    pub fn switch(&self) -> &Switch {
        &self.0
    }
}

/// Replaces defaults. The order is that of the defaults, with a template's switches where the first default of
/// theirs was, and else at the end.
///
/// Where a template gives devices and none of them is the network card, the card is put back, because a machine without it
/// cannot be reached. As in Packer, a switch given once with a value and once without has only the values.
pub(super) fn apply(
    defaults: Vec<Switch>,
    overrides: &[Override],
    cards: &[(String, Switch)],
) -> Vec<Switch> {
    let given = |name: &str| overrides.iter().any(|one| one.0.name == name);
    let mut all: Vec<Switch> = Vec::with_capacity(defaults.len() + overrides.len());
    let mut done: Vec<&str> = Vec::new();
    let mut put = |name: &str, all: &mut Vec<Switch>| {
        let Some(first) = overrides.iter().find(|one| one.0.name == name) else { return };
        if done.contains(&first.0.name.as_str()) {
            return;
        }
        done.push(&first.0.name);
        let same = || overrides.iter().filter(|one| one.0.name == name).map(|one| &one.0);
        if same().any(|one| one.value.is_some()) {
            all.extend(same().filter(|one| one.value.is_some()).cloned());
        } else {
            all.push(first.0.clone());
        }
        if name == "-device" {
            let devices: String = same().filter_map(|one| one.value.as_deref()).collect();
            all.extend(
                cards
                    .iter()
                    .filter(|(model, _)| !devices.contains(model.as_str()))
                    .map(|(_, card)| card.clone()),
            );
        }
    };
    for default in defaults {
        if given(&default.name) {
            put(&default.name, &mut all);
        } else {
            all.push(default);
        }
    }
    for one in overrides {
        put(&one.0.name, &mut all);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Override> {
        let row = |row: &&[&str]| row.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        rows.iter().filter_map(|one| Override::from_row(&row(one))).collect()
    }

    fn applied(overrides: &[&[&str]]) -> String {
        let card = Switch::with("-device", "virtio-net,netdev=user.0");
        let defaults = vec![
            Switch::with("-m", "512M"),
            Switch::with("-device", "virtio-scsi-pci"),
            card.clone(),
            Switch::with("-drive", "file=/a"),
            Switch::with("-drive", "file=/b"),
        ];
        let cards = [("virtio-net".to_owned(), card)];
        let all = apply(defaults, &rows(overrides), &cards);
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_switch_replaces_all_defaults_of_its_name() {
        for (given, wanted) in [
            (
                &[][..],
                "-m 512M -device virtio-scsi-pci -device virtio-net,netdev=user.0 -drive file=/a -drive file=/b",
            ),
            (
                &[&["-m", "1G"][..]],
                "-m 1G -device virtio-scsi-pci -device virtio-net,netdev=user.0 -drive file=/a -drive file=/b",
            ),
            (
                &[&["-drive", "file=/c", ",if=virtio"], &["-enable-kvm"], &["-drive", "file=/d"]],
                "-m 512M -device virtio-scsi-pci -device virtio-net,netdev=user.0 -drive file=/c,if=virtio -drive file=/d -enable-kvm",
            ),
            (
                &[&["-device", "virtio-balloon"]],
                "-m 512M -device virtio-balloon -device virtio-net,netdev=user.0 -drive file=/a -drive file=/b",
            ),
            (
                &[&["-device", "virtio-net,netdev=user.0,mac=52:54:00:12:34:56"]],
                "-m 512M -device virtio-net,netdev=user.0,mac=52:54:00:12:34:56 -drive file=/a -drive file=/b",
            ),
            (&[&["-device", ""], &["-drive"]], "-m 512M -device -device virtio-net,netdev=user.0 -drive"),
            (
                &[&["-snapshot"], &["-snapshot"], &["-x", "1"], &["-x"]],
                "-m 512M -device virtio-scsi-pci -device virtio-net,netdev=user.0 -drive file=/a -drive file=/b -snapshot -x 1",
            ),
        ] {
            assert_eq!(applied(given), wanted, "{given:?}");
        }
    }

    #[test]
    fn a_row_without_a_switch_is_none() {
        assert_eq!(Override::from_row(&[]), None);
        assert_eq!(Override::from_row(&[String::new()]), None);
    }
}
