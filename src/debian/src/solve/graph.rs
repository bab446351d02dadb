//! What there is: names, packages (a name for one architecture), versions, and what satisfies a relation.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::index::{Field, Index, MultiArch, PackageRecord};
use crate::relation::{self, Relation};
use crate::status::{InstalledPackage, State};
use crate::version;

pub(super) type NameId = u32;
pub(super) type PkgId = u32;
pub(super) type VerId = u32;

#[derive(Clone)]
pub(super) struct Name<'a> {
    pub text: &'a str,
    pub packages: Vec<PkgId>,
    pub provides: Vec<Provide<'a>>,
}

#[derive(Clone, Copy)]
pub(super) struct Provide<'a> {
    pub by: VerId,
    pub version: Option<&'a str>,
}

#[derive(Clone)]
pub(super) struct Package {
    pub name: NameId,
    /// Index into [`Graph::architectures`]; 0 is the native one, which `all` counts as.
    pub architecture: usize,
    /// Newest first; among equals the earlier index first.
    pub versions: Vec<VerId>,
    pub installed: Option<VerId>,
}

#[derive(Clone, Copy)]
pub(super) enum Origin {
    Index { index: usize, entry: u32 },
    Installed(usize),
}

#[derive(Clone)]
pub(super) struct Ver<'a> {
    pub package: PkgId,
    pub version: &'a str,
    pub multi_arch: MultiArch,
    pub essential: bool,
    /// `Protected: yes`, or `Important: yes` as it was called first.
    pub important: bool,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PreDepends,
    Depends,
    Conflicts,
    Breaks,
}

impl Kind {
    pub fn is_negative(self) -> bool {
        matches!(self, Self::Conflicts | Self::Breaks)
    }

    pub fn verb(self) -> &'static str {
        match self {
            Self::PreDepends => "pre-depends on",
            Self::Depends => "depends on",
            Self::Conflicts => "conflicts with",
            Self::Breaks => "breaks",
        }
    }
}

/// One group of a dependency field, alternatives in order. Negative fields have groups of one.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    pub kind: Kind,
    pub text: &'a str,
    pub relations: Vec<Relation<'a>>,
}

#[derive(Clone)]
pub(super) struct Graph<'a> {
    indexes: &'a [Index],
    state: Option<&'a State>,
    pub architectures: Vec<&'a str>,
    by_name: HashMap<&'a str, NameId>,
    pub names: Vec<Name<'a>>,
    pub packages: Vec<Package>,
    pub versions: Vec<Ver<'a>>,
    /// Read off the indexes once for all roots; see [`Graph::mentioned`].
    mentions: Arc<OnceLock<Vec<u32>>>,
}

impl<'a> Graph<'a> {
    pub fn new(indexes: &'a [Index], native: &'a str, foreign: &'a [String]) -> Self {
        let architectures = std::iter::once(native).chain(foreign.iter().map(String::as_str)).collect();
        let total: usize = indexes.iter().map(Index::len).sum();
        let mut graph = Self {
            indexes,
            state: None,
            architectures,
            by_name: HashMap::with_capacity(total * 2),
            names: Vec::with_capacity(total * 2),
            packages: Vec::with_capacity(total),
            versions: Vec::with_capacity(total),
            mentions: Arc::default(),
        };
        for (number, index) in indexes.iter().enumerate() {
            for entry in 0..u32::try_from(index.len()).unwrap_or(u32::MAX) {
                let get = |field| index.get(entry, field);
                if get(Field::Filename).is_empty() {
                    continue;
                }
                graph.add(
                    get(Field::Package),
                    get(Field::Architecture),
                    Ver {
                        package: 0,
                        version: get(Field::Version),
                        multi_arch: MultiArch::parse(get(Field::MultiArch)),
                        essential: get(Field::Essential) == "yes",
                        important: get(Field::Protected) == "yes" || get(Field::Important) == "yes",
                        origin: Origin::Index { index: number, entry },
                    },
                );
            }
        }
        graph
    }

    /// The same graph with a root's packages, which shadow equal versions of the indexes.
    pub fn with_installed<'b>(&self, state: &'b State) -> Graph<'b>
    where
        'a: 'b,
    {
        let mut graph: Graph<'b> = self.clone();
        graph.state = Some(state);
        for (number, package) in state.packages.iter().enumerate() {
            if package.status.is_unpacked() {
                graph.add_installed(number, package);
            }
        }
        graph
    }

    fn add_installed(&mut self, number: usize, package: &'a InstalledPackage) {
        let yes = |field: &str| package.paragraph.get(field) == Some("yes");
        let name = self.intern(&package.name);
        let known = self
            .architecture(&package.architecture)
            .and_then(|arch| self.package_of(name, arch))
            .and_then(|pkg| {
                let versions = &self.packages[pkg as usize].versions;
                versions
                    .iter()
                    .copied()
                    .find(|v| self.versions[*v as usize].version == package.version.as_str())
            });
        let version = known.or_else(|| {
            self.add(
                &package.name,
                &package.architecture,
                Ver {
                    package: 0,
                    version: package.version.as_str(),
                    multi_arch: package.multi_arch,
                    essential: yes("Essential"),
                    important: yes("Protected") || yes("Important"),
                    origin: Origin::Installed(number),
                },
            )
        });
        if let Some(version) = version {
            let pkg = self.versions[version as usize].package;
            self.packages[pkg as usize].installed = Some(version);
        }
    }

    fn add(&mut self, name: &'a str, architecture: &str, mut ver: Ver<'a>) -> Option<VerId> {
        let architecture = self.architecture(architecture)?;
        let name = self.intern(name);
        let package = self.package_of(name, architecture).unwrap_or_else(|| {
            let package = id(self.packages.len());
            self.packages.push(Package {
                name,
                architecture,
                versions: Vec::with_capacity(1),
                installed: None,
            });
            self.names[name as usize].packages.push(package);
            package
        });
        ver.package = package;
        let version = id(self.versions.len());
        let place = self.packages[package as usize]
            .versions
            .iter()
            .position(|other| version::compare(ver.version, self.versions[*other as usize].version).is_gt());
        let versions = &mut self.packages[package as usize].versions;
        versions.insert(place.unwrap_or(versions.len()), version);
        self.versions.push(ver);
        let provides = self.field(version, Field::Provides);
        for relation in relation::groups(provides).flat_map(relation::alternatives) {
            let provided = self.intern(relation.name);
            let provide = Provide { by: version, version: relation.constraint.map(|(_, version)| version) };
            self.names[provided as usize].provides.push(provide);
        }
        Some(version)
    }

    fn intern(&mut self, name: &'a str) -> NameId {
        *self.by_name.entry(name).or_insert_with(|| {
            self.names.push(Name { text: name, packages: Vec::new(), provides: Vec::new() });
            id(self.names.len() - 1)
        })
    }

    /// `all` counts as native. `None` for architectures that the root does not have.
    fn architecture(&self, name: &str) -> Option<usize> {
        if name == "all" { Some(0) } else { self.architectures.iter().position(|a| *a == name) }
    }

    pub fn native(&self) -> &'a str {
        self.architectures[0]
    }

    pub fn name(&self, text: &str) -> Option<NameId> {
        self.by_name.get(text).copied()
    }

    fn package_of(&self, name: NameId, architecture: usize) -> Option<PkgId> {
        let packages = &self.names[name as usize].packages;
        packages.iter().copied().find(|p| self.packages[*p as usize].architecture == architecture)
    }

    pub fn package(&self, name: &str, architecture: &str) -> Option<PkgId> {
        self.package_of(self.name(name)?, self.architecture(architecture)?)
    }

    /// Native packages whose newest version is chosen by `wanted`.
    pub fn natives(&self, wanted: impl Fn(VerId) -> bool) -> Vec<PkgId> {
        let is_wanted = |package: &PkgId| {
            let package = &self.packages[*package as usize];
            package.architecture == 0 && package.versions.first().is_some_and(|newest| wanted(*newest))
        };
        (0..id(self.packages.len())).filter(is_wanted).collect()
    }

    pub fn field(&self, version: VerId, field: Field) -> &'a str {
        match self.versions[version as usize].origin {
            Origin::Index { index, entry } => self.indexes[index].get(entry, field),
            Origin::Installed(number) => {
                let name = match field {
                    Field::Depends => "Depends",
                    Field::PreDepends => "Pre-Depends",
                    Field::Conflicts => "Conflicts",
                    Field::Breaks => "Breaks",
                    Field::Provides => "Provides",
                    Field::Recommends => "Recommends",
                    Field::Priority => "Priority",
                    Field::Section => "Section",
                    _ => return "",
                };
                self.state.and_then(|s| s.packages[number].paragraph.get(name)).unwrap_or_default()
            }
        }
    }

    pub fn priority(&self, version: VerId) -> &'a str {
        self.field(version, Field::Priority)
    }

    /// apt's number for a priority: lower is more important.
    pub fn priority_rank(&self, version: VerId) -> u8 {
        match self.priority(version) {
            "important" => 1,
            "required" => 2,
            "standard" => 3,
            "optional" => 4,
            "extra" => 5,
            _ => 0,
        }
    }

    /// The index entry that is downloaded for a version.
    pub fn record(&self, version: VerId) -> Option<PackageRecord> {
        match self.versions[version as usize].origin {
            Origin::Index { index, entry } => self.indexes[index].record(entry),
            Origin::Installed(_) => None,
        }
    }

    pub fn suite(&self, version: VerId) -> Option<&'a str> {
        match self.versions[version as usize].origin {
            Origin::Index { index, .. } => self.indexes[index].suite(),
            Origin::Installed(_) => None,
        }
    }

    pub fn installed_paragraph(&self, package: PkgId) -> Option<&'a InstalledPackage> {
        let name = self.names[self.packages[package as usize].name as usize].text;
        let architecture = self.packages[package as usize].architecture;
        self.state?
            .unpacked()
            .find(|p| p.name == name && self.architecture(&p.architecture) == Some(architecture))
    }

    /// The critical dependencies of a version, pre-dependencies first, as apt keeps them.
    pub fn groups(&self, version: VerId) -> Vec<Group<'a>> {
        let fields = [
            (Field::PreDepends, Kind::PreDepends),
            (Field::Depends, Kind::Depends),
            (Field::Conflicts, Kind::Conflicts),
            (Field::Breaks, Kind::Breaks),
        ];
        let mut groups = Vec::new();
        for (field, kind) in fields {
            for text in relation::groups(self.field(version, field)) {
                let relations: Vec<_> = relation::alternatives(text).collect();
                if !relations.is_empty() {
                    groups.push(Group { kind, text, relations });
                }
            }
        }
        groups
    }

    /// The versions that a relation of `from` is about: real packages first, then providers.
    pub fn targets(&self, relation: &Relation<'a>, from: VerId, negative: bool) -> Vec<VerId> {
        let Some(name) = self.name(relation.name) else { return Vec::new() };
        let name = &self.names[name as usize];
        let mut found = Vec::new();
        for package in &name.packages {
            for version in &self.packages[*package as usize].versions {
                let ver = &self.versions[*version as usize];
                let fits = relation.constraint.is_none_or(|(op, bound)| op.holds(ver.version, bound));
                if fits && self.speaks_of(relation, from, *version, negative) {
                    found.push(*version);
                }
            }
        }
        for provide in &name.provides {
            let fits = match (relation.constraint, provide.version) {
                (None, _) => true,
                (Some((op, bound)), Some(version)) => op.holds(version, bound),
                (Some(_), None) => false,
            };
            if fits && self.speaks_of(relation, from, provide.by, negative) && !found.contains(&provide.by) {
                found.push(provide.by);
            }
        }
        found
    }

    /// The multi-arch rules: whether a relation of `from` reaches the architecture of `target`.
    fn speaks_of(&self, relation: &Relation<'a>, from: VerId, target: VerId, negative: bool) -> bool {
        let (from, target) = (&self.versions[from as usize], &self.versions[target as usize]);
        let (from_package, target_package) =
            (&self.packages[from.package as usize], &self.packages[target.package as usize]);
        if negative && from_package.name == target_package.name {
            return false;
        }
        match relation.arch {
            None if negative => true,
            None => {
                from_package.architecture == target_package.architecture
                    || target.multi_arch == MultiArch::Foreign
            }
            Some("any") => negative || target.multi_arch == MultiArch::Allowed,
            Some("native") => target_package.architecture == 0,
            Some(name) => self.architecture(name) == Some(target_package.architecture),
        }
    }

    pub fn package_name(&self, package: PkgId) -> &'a str {
        self.names[self.packages[package as usize].name as usize].text
    }

    /// `name`, or `name:arch` for a foreign package.
    pub fn display(&self, package: PkgId) -> String {
        let name = self.package_name(package);
        match self.packages[package as usize].architecture {
            0 => name.to_owned(),
            other => format!("{name}:{}", self.architectures[other]),
        }
    }

    /// Every name with a real package, for suggestions.
    pub fn real_names(&self) -> impl Iterator<Item = &'a str> {
        self.names.iter().filter(|name| !name.packages.is_empty()).map(|name| name.text)
    }

    /// When apt would first meet a package's name: in stanzas and in the dependencies of earlier stanzas. apt's last word
    /// between equal providers is the later of the two. What only an installed package names comes last.
    pub fn mentioned(&self, package: PkgId) -> u32 {
        let name = self.packages[package as usize].name as usize;
        self.mentions.get_or_init(|| self.first_mentions()).get(name).copied().unwrap_or(u32::MAX)
    }

    fn first_mentions(&self) -> Vec<u32> {
        let mut when = vec![u32::MAX; self.names.len()];
        let mut next = 0;
        let mut meet = |name: NameId| {
            if when[name as usize] == u32::MAX {
                when[name as usize] = next;
                next += 1;
            }
        };
        let fields = [
            Field::PreDepends,
            Field::Depends,
            Field::Conflicts,
            Field::Breaks,
            Field::Recommends,
            Field::Replaces,
            Field::Provides,
        ];
        for version in 0..id(self.versions.len()) {
            meet(self.packages[self.versions[version as usize].package as usize].name);
            for field in fields {
                for relation in relation::groups(self.field(version, field)).flat_map(relation::alternatives)
                {
                    if let Some(name) = self.name(relation.name) {
                        meet(name);
                    }
                }
            }
        }
        when
    }
}

/// Archives are read through 32-bit ranges, so there are always fewer things than that.
fn id(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
