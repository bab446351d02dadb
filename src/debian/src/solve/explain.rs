//! Why a request cannot be met, and what the user may have meant.

use std::fmt;

use super::PackageSpec;
use super::graph::{Group, Kind, PkgId, VerId};
use super::mark::Marks;
use crate::index::Field;

/// A request cannot be met.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SolveError {
    /// No package has this name.
    #[error("there is no package `{name}`")]
    UnknownPackage {
        /// The name.
        name: String,
        /// Names that are spelled alike.
        similar: Vec<String>,
    },
    /// The package exists, but not for this architecture.
    #[error("there is no package `{name}` for architecture `{architecture}`")]
    UnknownArchitecture {
        /// The name.
        name: String,
        /// The architecture asked for.
        architecture: String,
        /// The architectures that it exists for.
        available: Vec<String>,
    },
    /// The package exists, but not in this version or suite.
    #[error("package `{name}` has no version that is `{wanted}`")]
    UnknownVersion {
        /// The name.
        name: String,
        /// The specification.
        wanted: String,
        /// The versions that exist, newest first.
        available: Vec<String>,
    },
    /// The name is virtual and has several providers.
    #[error("`{name}` is a virtual package, provided by {}", quoted(providers))]
    Ambiguous {
        /// The name.
        name: String,
        /// What provides it.
        providers: Vec<String>,
    },
    /// A dependency cannot be satisfied.
    #[error("`{package}` cannot be installed{}", chain(reasons))]
    Unsatisfiable {
        /// The package that was asked for.
        package: String,
        /// From the package down to what is missing or in the way.
        reasons: Vec<Reason>,
    },
    /// A chosen version has no file in any index.
    #[error("no index has a file for package `{package}`")]
    NoFile {
        /// The package.
        package: String,
    },
}

impl SolveError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownPackage { similar, .. } if !similar.is_empty() => {
                Some(format!("did you mean {}?", quoted(similar)))
            }
            Self::UnknownPackage { .. } => Some("check the spelling, or add the component that has it".to_owned()),
            Self::UnknownArchitecture { available, .. } => Some(format!("it exists for {}", available.join(", "))),
            Self::UnknownVersion { available, .. } => Some(format!("it exists as {}", available.join(", "))),
            Self::Ambiguous { .. } => Some("name one of them".to_owned()),
            Self::Unsatisfiable { .. } => {
                Some("leave out one of the packages that exclude each other, or add the component or suite that is missing".to_owned())
            }
            Self::NoFile { .. } => Some("the mirror is faulty; name another one".to_owned()),
        }
    }
}

/// One step of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Whose dependency it is, with its version.
    pub package: String,
    /// `depends on`, `conflicts with`, …
    pub verb: &'static str,
    /// The dependency as the package writes it.
    pub relation: String,
    /// Why it does not hold.
    pub why: Why,
}

/// Why a dependency does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing has the name.
    Missing,
    /// Only other versions exist.
    OtherVersion(Vec<String>),
    /// It exists, but cannot be installed itself; the next reason says why.
    NotInstallable,
    /// It exists and excludes, or is excluded by, what is named here.
    Excluded(String),
    /// This package, which must not be there, will be.
    Present(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {} `{}`", self.package, self.verb, self.relation)?;
        match &self.why {
            Why::Missing => f.write_str(", which does not exist"),
            Why::OtherVersion(versions) => write!(f, ", but only {} exists", versions.join(", ")),
            Why::NotInstallable => f.write_str(", which cannot be installed either"),
            Why::Excluded(other) => write!(f, ", which `{other}` excludes"),
            Why::Present(other) => write!(f, ", but `{other}` is needed too"),
        }
    }
}

fn chain(reasons: &[Reason]) -> String {
    let separator = |number| if number == 0 { ": " } else { "; " };
    reasons.iter().enumerate().map(|(number, reason)| format!("{}{reason}", separator(number))).collect()
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The package that a specification means, and the version if it names one.
pub(super) fn find(
    marks: &Marks<'_, '_>,
    spec: &PackageSpec,
) -> Result<(PkgId, Option<VerId>), Box<SolveError>> {
    let graph = marks.graph;
    let unknown = || {
        Box::new(SolveError::UnknownPackage { name: spec.name.clone(), similar: similar(marks, &spec.name) })
    };
    let name = &graph.names[graph.name(&spec.name).ok_or_else(unknown)? as usize];
    let architecture = spec.architecture.as_deref().unwrap_or(graph.native());
    let package = match graph.package(&spec.name, architecture) {
        Some(package) => package,
        None if !name.packages.is_empty() => {
            return Err(Box::new(SolveError::UnknownArchitecture {
                name: spec.name.clone(),
                architecture: architecture.to_owned(),
                available: name
                    .packages
                    .iter()
                    .map(|p| graph.architectures[graph.packages[*p as usize].architecture].to_owned())
                    .collect(),
            }));
        }
        None => only_provider(marks, spec, name.provides.iter().map(|p| p.by), unknown)?,
    };
    if spec.version.is_none() && spec.suite.is_none() {
        return Ok((package, None));
    }
    let versions = &graph.packages[package as usize].versions;
    let fits = |version: &VerId| {
        let text = graph.versions[*version as usize].version;
        spec.version.as_ref().is_none_or(|v| v.as_str() == text)
            && spec.suite.as_deref().is_none_or(|suite| graph.suite(*version) == Some(suite))
    };
    match versions.iter().copied().find(fits) {
        Some(version) => Ok((package, Some(version))),
        None => Err(Box::new(SolveError::UnknownVersion {
            name: spec.name.clone(),
            wanted: spec.to_string(),
            available: versions.iter().map(|v| graph.versions[*v as usize].version.to_owned()).collect(),
        })),
    }
}

fn only_provider(
    marks: &Marks<'_, '_>,
    spec: &PackageSpec,
    providers: impl Iterator<Item = VerId>,
    unknown: impl Fn() -> Box<SolveError>,
) -> Result<PkgId, Box<SolveError>> {
    let mut packages: Vec<PkgId> = providers
        .filter(|version| marks.mark(marks.package_of(*version)).candidate == Some(*version))
        .map(|version| marks.package_of(version))
        .collect();
    packages.sort_unstable();
    packages.dedup();
    match packages.as_slice() {
        [] => Err(unknown()),
        [one] => Ok(*one),
        many => {
            let mut providers: Vec<String> =
                many.iter().map(|package| marks.graph.display(*package)).collect();
            providers.sort();
            Err(Box::new(SolveError::Ambiguous { name: spec.name.clone(), providers }))
        }
    }
}

fn similar(marks: &Marks<'_, '_>, name: &str) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = marks
        .graph
        .real_names()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(score, known)| *score > 0.9 || strsim::damerau_levenshtein(name, known) <= 1)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, known)| known.to_owned()).collect()
}

/// Why the first request that is not met is not met; `None` if all are and nothing is broken.
pub(super) fn failure(marks: &Marks<'_, '_>, requested: &[PkgId]) -> Option<SolveError> {
    let broken = marks.touched.iter().copied().find(|p| marks.is_broken(*p));
    let unmet = requested.iter().copied().find(|p| marks.mark(*p).chosen.is_none());
    let last = unmet.or(broken)?;
    // A request that is whole itself may stand on a package that is not.
    for package in unmet.iter().chain(requested).chain([&last]) {
        let mark = marks.mark(*package);
        let newest = || marks.graph.packages[*package as usize].versions.first().copied();
        let Some(version) = mark.chosen.or_else(newest) else { continue };
        let mut reasons = Vec::new();
        if descend(marks, version, &mut reasons, &mut vec![*package]) {
            return Some(SolveError::Unsatisfiable { package: marks.graph.display(*package), reasons });
        }
    }
    Some(SolveError::Unsatisfiable { package: marks.graph.display(last), reasons: Vec::new() })
}

fn label(marks: &Marks<'_, '_>, version: VerId) -> String {
    let ver = &marks.graph.versions[version as usize];
    format!("{} {}", marks.graph.display(ver.package), ver.version)
}

/// Walks to the first cause. Each package is visited once.
fn descend(marks: &Marks<'_, '_>, version: VerId, reasons: &mut Vec<Reason>, seen: &mut Vec<PkgId>) -> bool {
    let groups = marks.groups(version);
    let failing: Vec<&Group<'_>> = groups.iter().filter(|group| !marks.holds(group, version)).collect();
    let reason = |group: &Group<'_>, why: Why| Reason {
        package: label(marks, version),
        verb: group.kind.verb(),
        relation: group.text.to_owned(),
        why,
    };
    for group in failing.iter().filter(|group| !group.kind.is_negative()) {
        if marks.group_targets(group, version).is_empty() {
            let others = other_versions(marks, group);
            let why = if others.is_empty() { Why::Missing } else { Why::OtherVersion(others) };
            reasons.push(reason(group, why));
            return true;
        }
    }
    for group in failing.iter().filter(|group| group.kind.is_negative()) {
        if let Some(target) = marks.group_targets(group, version).into_iter().find(|t| marks.is_chosen(*t)) {
            reasons.push(reason(group, Why::Present(label(marks, target))));
            return true;
        }
    }
    for group in failing.iter().filter(|group| !group.kind.is_negative()) {
        for target in marks.group_targets(group, version) {
            if let Some(other) = excluded_by(marks, target) {
                reasons.push(reason(group, Why::Excluded(other)));
                return true;
            }
            let package = marks.package_of(target);
            if seen.contains(&package) {
                continue;
            }
            seen.push(package);
            let length = reasons.len();
            reasons.push(reason(group, Why::NotInstallable));
            if descend(marks, target, reasons, seen) {
                return true;
            }
            reasons.truncate(length);
        }
    }
    if let Some(group) = failing.first() {
        reasons.push(reason(group, Why::NotInstallable));
        return true;
    }
    for group in groups.iter().filter(|group| !group.kind.is_negative()) {
        let chosen =
            marks.group_targets(group, version).into_iter().filter(|target| marks.is_chosen(*target));
        for target in chosen {
            let package = marks.package_of(target);
            if seen.contains(&package) {
                continue;
            }
            seen.push(package);
            let length = reasons.len();
            reasons.push(reason(group, Why::NotInstallable));
            if descend(marks, target, reasons, seen) {
                return true;
            }
            reasons.truncate(length);
        }
    }
    false
}

fn other_versions(marks: &Marks<'_, '_>, group: &Group<'_>) -> Vec<String> {
    let graph = marks.graph;
    let names = group.relations.iter().filter_map(|relation| graph.name(relation.name));
    names
        .flat_map(|name| &graph.names[name as usize].packages)
        .flat_map(|package| &graph.packages[*package as usize].versions)
        .map(|version| label(marks, *version))
        .collect()
}

/// A chosen package with which `version` cannot be.
fn excluded_by(marks: &Marks<'_, '_>, version: VerId) -> Option<String> {
    let own = marks.groups(version).iter().filter(|g| g.kind.is_negative()).find_map(|group| {
        marks.group_targets(group, version).into_iter().find(|target| marks.is_chosen(*target))
    });
    let theirs = || {
        marks.touched.iter().find_map(|package| {
            let chosen = marks.mark(*package).chosen?;
            let hits = |kind: Kind, field: Field| {
                !marks.graph.field(chosen, field).is_empty()
                    && marks.groups(chosen).iter().any(|group| {
                        group.kind == kind && marks.group_targets(group, chosen).contains(&version)
                    })
            };
            (hits(Kind::Conflicts, Field::Conflicts) || hits(Kind::Breaks, Field::Breaks)).then_some(chosen)
        })
    };
    own.or_else(theirs).map(|other| label(marks, other))
}
