//! systemd units of an image, enabled and masked as `systemctl --root` does: by links, without systemd.
//!
//! Presets are not consulted: what a step names is enabled, nothing else.

use std::collections::BTreeSet;

use super::{FilesError, Kind, Root, Status};

/// Where the administrator's units and all links are.
const ADMINISTRATOR: &str = "/etc/systemd/system";

/// Where units are looked up, the first that has one wins.
const SEARCHED: [&str; 4] =
    [ADMINISTRATOR, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// The types of units; a name without one is a service.
const TYPES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// Why a unit cannot be enabled, disabled or masked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It is not there.
    #[error("the unit `{unit}` is not in the image (searched {}); install its package or write it with a `file` step before", SEARCHED.join(", "))]
    NotFound {
        /// Its name.
        unit: String,
    },
    /// It says nothing about being enabled.
    #[error("the unit `{unit}` has no `[Install]` section: other units start it, it cannot be enabled")]
    Static {
        /// Its name.
        unit: String,
    },
    /// It is masked.
    #[error("the unit `{unit}` is masked; unmask it first")]
    Masked {
        /// Its name.
        unit: String,
    },
    /// It is another name for a unit.
    #[error("`{unit}` is another name of the unit `{target}`; use that")]
    Alias {
        /// The name used.
        unit: String,
        /// The unit's own name.
        target: String,
    },
    /// A template without an instance.
    #[error(
        "the unit `{unit}` is a template without a default; name an instance, as in `{prefix}@name.{suffix}`"
    )]
    NeedsInstance {
        /// The template.
        unit: String,
        /// The part before the `@`.
        prefix: String,
        /// The unit's type.
        suffix: String,
    },
    /// Not a unit's name.
    #[error("`{unit}` is not the name of a unit")]
    BadName {
        /// What was given.
        unit: String,
    },
    /// Something that is not a link to `/dev/null` is where the mask goes.
    #[error("cannot mask `{unit}`: `{ADMINISTRATOR}/{unit}` is a unit of the image; remove it first")]
    InTheWay {
        /// Its name.
        unit: String,
    },
}

/// What a unit's `[Install]` section says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Install {
    found: bool,
    wanted_by: Vec<String>,
    required_by: Vec<String>,
    upheld_by: Vec<String>,
    aliases: Vec<String>,
    also: Vec<String>,
    default_instance: Option<String>,
}

/// A unit's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    prefix: String,
    /// `None` without an `@`, empty for a template.
    instance: Option<String>,
    suffix: String,
}

impl Name {
    fn parse(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::BadName { unit: text.to_owned() };
        let (stem, suffix) = match text.rsplit_once('.') {
            Some((stem, suffix)) if TYPES.contains(&suffix) => (stem, suffix),
            _ => (text, "service"),
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if stem.is_empty() || stem.starts_with('@') || stem.len() > 240 || !stem.bytes().all(allowed) {
            return Err(bad());
        }
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance.to_owned())),
            None => (stem, None),
        };
        Ok(Self { prefix: prefix.to_owned(), instance, suffix: suffix.to_owned() })
    }

    fn full(&self) -> String {
        match &self.instance {
            Some(instance) => format!("{}@{instance}.{}", self.prefix, self.suffix),
            None => format!("{}.{}", self.prefix, self.suffix),
        }
    }

    /// The name of the file that defines it, where that is not its own.
    fn template(&self) -> Option<String> {
        let instance = self.instance.as_ref()?;
        (!instance.is_empty()).then(|| format!("{}@.{}", self.prefix, self.suffix))
    }

    /// Replaces the specifiers that make sense before a unit runs.
    fn expand(&self, text: &str) -> String {
        let mut expanded = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            match characters.next() {
                Some('i') => expanded.push_str(self.instance.as_deref().unwrap_or_default()),
                Some('p') => expanded.push_str(&self.prefix),
                Some('j') => expanded.push_str(self.prefix.rsplit('-').next().unwrap_or_default()),
                Some('n') => expanded.push_str(&self.full()),
                Some('N') => expanded.push_str(self.full().trim_end_matches(&format!(".{}", self.suffix))),
                Some('%') => expanded.push('%'),
                Some(other) => expanded.extend(['%', other]),
                None => expanded.push('%'),
            }
        }
        expanded
    }
}

impl Install {
    /// Reads one file; later ones add to it, and an empty value forgets what was before.
    fn read(&mut self, text: &str) {
        let joined = text.replace("\\\n", " ");
        let mut inside = false;
        for line in joined.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with('[') {
                inside = line == "[Install]";
                self.found |= inside;
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            if !inside {
                continue;
            }
            let value = value.trim();
            let list = match key.trim() {
                "WantedBy" => &mut self.wanted_by,
                "RequiredBy" => &mut self.required_by,
                "UpheldBy" => &mut self.upheld_by,
                "Alias" => &mut self.aliases,
                "Also" => &mut self.also,
                "DefaultInstance" => {
                    self.default_instance = (!value.is_empty()).then(|| value.to_owned());
                    continue;
                }
                _ => continue,
            };
            if value.is_empty() {
                list.clear();
            }
            list.extend(value.split_ascii_whitespace().map(str::to_owned));
        }
    }
}

impl Root {
    /// Makes the links that the unit's `[Install]` section asks for, and those of the units it names with `Also=`.
    /// Returns the links.
    ///
    /// # Errors
    ///
    /// [`UnitError`], and those of writing.
    pub fn enable_unit(&self, unit: &str) -> Result<Vec<String>, FilesError> {
        let mut links = BTreeSet::new();
        let mut seen = BTreeSet::new();
        self.enable_one(&Name::parse(unit)?, true, &mut seen, &mut links)?;
        Ok(links.into_iter().collect())
    }

    fn enable_one(
        &self,
        name: &Name,
        must_install: bool,
        seen: &mut BTreeSet<String>,
        links: &mut BTreeSet<String>,
    ) -> Result<(), FilesError> {
        if !seen.insert(name.full()) {
            return Ok(());
        }
        let path = self.find_unit(name)?;
        let install = self.read_install(name, &path)?;
        if must_install && !install.found {
            return Err(UnitError::Static { unit: name.full() }.into());
        }
        let mut linked = name.clone();
        if linked.instance.as_deref() == Some("") && install.found {
            let default = install.default_instance.clone().ok_or_else(|| UnitError::NeedsInstance {
                unit: name.full(),
                prefix: name.prefix.clone(),
                suffix: name.suffix.clone(),
            })?;
            linked.instance = Some(default);
        }
        let places = [
            ("wants", &install.wanted_by),
            ("requires", &install.required_by),
            ("upholds", &install.upheld_by),
        ];
        for (kind, targets) in places {
            for target in targets {
                let target = Name::parse(&linked.expand(target))?;
                links.insert(format!("{ADMINISTRATOR}/{}.{kind}/{}", target.full(), linked.full()));
            }
        }
        for alias in &install.aliases {
            let alias = Name::parse(&linked.expand(alias))?.full();
            if alias != linked.full() {
                links.insert(format!("{ADMINISTRATOR}/{alias}"));
            }
        }
        for link in links.iter().filter(|link| !seen.contains(*link)) {
            self.symlink(&path, link)?;
        }
        // A link belongs to the unit that asked for it first.
        seen.extend(links.iter().cloned());
        for also in &install.also {
            self.enable_one(&Name::parse(&linked.expand(also))?, false, seen, links)?;
        }
        Ok(())
    }

    /// Removes every link that enables the unit. Returns them.
    ///
    /// # Errors
    ///
    /// [`UnitError::BadName`], and those of removing.
    pub fn disable_unit(&self, unit: &str) -> Result<Vec<String>, FilesError> {
        let name = Name::parse(unit)?;
        let mut links = Vec::new();
        for entry in self.names_in(ADMINISTRATOR)? {
            let path = format!("{ADMINISTRATOR}/{entry}");
            if [".wants", ".requires", ".upholds"].iter().any(|suffix| entry.ends_with(suffix)) {
                let link = format!("{path}/{}", name.full());
                if matches!(self.status_if_there(&link)?, Some(Status { kind: Kind::SymbolicLink(_), .. })) {
                    links.push(link);
                }
            } else if entry != name.full()
                && let Some(Status { kind: Kind::SymbolicLink(target), .. }) = self.status_if_there(&path)?
                && target.rsplit(|byte| *byte == b'/').next() == Some(name.full().as_bytes())
            {
                links.push(path);
            }
        }
        for link in &links {
            self.remove(link, false)?;
        }
        Ok(links)
    }

    /// Keeps a unit from being started by anything; it need not exist.
    ///
    /// # Errors
    ///
    /// [`UnitError::InTheWay`] when the image has the unit itself in `/etc`.
    pub fn mask_unit(&self, unit: &str) -> Result<(), FilesError> {
        let name = Name::parse(unit)?.full();
        let path = format!("{ADMINISTRATOR}/{name}");
        match self.status_if_there(&path)? {
            None | Some(Status { kind: Kind::SymbolicLink(_), .. }) => self.symlink("/dev/null", &path),
            Some(_) => Err(UnitError::InTheWay { unit: name }.into()),
        }
    }

    /// Undoes [`Root::mask_unit`]. Returns whether the unit was masked.
    ///
    /// # Errors
    ///
    /// [`UnitError::BadName`], and those of removing.
    pub fn unmask_unit(&self, unit: &str) -> Result<bool, FilesError> {
        let path = format!("{ADMINISTRATOR}/{}", Name::parse(unit)?.full());
        match self.status_if_there(&path)? {
            Some(Status { kind: Kind::SymbolicLink(target), .. }) if target == b"/dev/null" => {
                self.remove(&path, false)
            }
            _ => Ok(false),
        }
    }

    /// The unit's file. An instance may have one of its own.
    fn find_unit(&self, name: &Name) -> Result<String, FilesError> {
        for candidate in std::iter::once(name.full()).chain(name.template()) {
            for folder in SEARCHED {
                let path = format!("{folder}/{candidate}");
                let Some(status) = self.status_if_there(&path)? else { continue };
                let Kind::SymbolicLink(target) = status.kind else { return Ok(path) };
                if target == b"/dev/null" {
                    return Err(UnitError::Masked { unit: name.full() }.into());
                }
                let target =
                    String::from_utf8_lossy(target.rsplit(|byte| *byte == b'/').next().unwrap_or_default())
                        .into_owned();
                if target == candidate {
                    return Ok(path);
                }
                return Err(UnitError::Alias { unit: name.full(), target }.into());
            }
        }
        Err(UnitError::NotFound { unit: name.full() }.into())
    }

    fn read_install(&self, name: &Name, path: &str) -> Result<Install, FilesError> {
        let mut install = Install::default();
        install.read(&String::from_utf8_lossy(&self.read_file(path)?));
        let mut additions = std::collections::BTreeMap::new();
        for candidate in name.template().into_iter().chain([name.full()]) {
            // Reversed, so that what is first in the search replaces what comes later under the same name.
            for folder in SEARCHED.iter().rev() {
                let folder = format!("{folder}/{candidate}.d");
                for entry in self.names_in(&folder)? {
                    if entry.ends_with(".conf") {
                        additions.insert(entry.clone(), format!("{folder}/{entry}"));
                    }
                }
            }
        }
        for path in additions.values() {
            install.read(&String::from_utf8_lossy(&self.read_file(path)?));
        }
        Ok(install)
    }

    fn names_in(&self, folder: &str) -> Result<Vec<String>, FilesError> {
        match self.list(folder) {
            Ok(names) => Ok(names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect()),
            Err(FilesError::NotFound { .. } | FilesError::NotDirectory { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn status_if_there(&self, path: &str) -> Result<Option<Status>, FilesError> {
        match self.status(path) {
            Ok(status) => Ok(Some(status)),
            Err(FilesError::NotFound { .. } | FilesError::NotDirectory { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Install, Name};

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(Name::parse("ssh").expect("a name").full(), "ssh.service");
        assert_eq!(Name::parse("a.b.timer").expect("a name").full(), "a.b.timer");
        let instance = Name::parse("getty@tty1.service").expect("a name");
        assert_eq!(instance.template().as_deref(), Some("getty@.service"));
        assert_eq!(instance.expand("%p-%i-%n-%N-%%-%z"), "getty-tty1-getty@tty1.service-getty@tty1-%-%z");
        for bad in ["", "@x.service", "a/b", "../x.service", ".service"] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_install_section_is_read() {
        let mut install = Install::default();
        install.read(
            "[Unit]\nWantedBy=no.target\n[Install]\n# c\nWantedBy=a.target \\\n  b.target\nAlias=x.service\nAlias=\n",
        );
        install.read("[Install]\nWantedBy=c.target\nDefaultInstance=one\n");
        assert_eq!(install.wanted_by, ["a.target", "b.target", "c.target"]);
        assert!(install.aliases.is_empty() && install.found);
        assert_eq!(install.default_instance.as_deref(), Some("one"));
    }
}
