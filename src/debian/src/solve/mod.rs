//! The resolver: which packages a request installs, as `apt-get install --no-install-recommends` would choose them.
//!
//! The order of choices is apt's own (requests first, then depth first through dependencies, first satisfiable alternative,
//! then repair by score), because users compare with apt and because archives are tested with apt. [`graph`] is what there
//! is, [`mark`] chooses, [`repair`] mends what is broken after that, [`order`] makes batches, [`explain`] says why not.

mod explain;
mod graph;
mod mark;
mod order;
mod repair;

use std::fmt;

use crate::Version;
use crate::index::{Index, PackageRecord};
use crate::status::State;

pub use explain::{Reason, SolveError};

use graph::{Graph, PkgId};
use mark::Marks;

/// All packages that may be installed.
#[derive(Clone)]
pub struct Universe<'a> {
    graph: Graph<'a>,
}

impl<'a> Universe<'a> {
    /// Joins indexes; an earlier index wins where two have the same version. `native` is the root's architecture.
    #[must_use]
    pub fn new(indexes: &'a [Index], native: &'a str, foreign: &'a [String]) -> Self {
        Self { graph: Graph::new(indexes, native, foreign) }
    }

    /// Whether a package of this name exists.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.graph.name(name).is_some_and(|name| !self.graph.names[name as usize].packages.is_empty())
    }
}

/// What the user writes for a package: `name`, `name:arch`, `name=version`, `name/suite`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageSpec {
    /// Name.
    pub name: String,
    /// Architecture; the native one otherwise.
    pub architecture: Option<String>,
    /// Exactly this version.
    pub version: Option<Version>,
    /// The version of this suite; see [`Index::with_suite`].
    pub suite: Option<String>,
}

/// A text is not a package specification.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a package: expected `name`, `name:arch`, `name=version` or `name/suite`")]
pub struct ParseSpecError(String);

impl std::str::FromStr for PackageSpec {
    type Err = ParseSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (target, version, suite) = match (text.split_once('='), text.split_once('/')) {
            (Some((target, version)), _) => (target, Some(version), None),
            (None, Some((target, suite))) => (target, None, Some(suite)),
            (None, None) => (text, None, None),
        };
        let (name, architecture) = match target.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture)),
            None => (target, None),
        };
        let is_name = |word: &str| {
            word.len() > 1
                && word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
        };
        let filled =
            |part: Option<&str>| part.is_none_or(|p| !p.is_empty() && !p.contains(char::is_whitespace));
        if !is_name(name) || !filled(architecture) || !filled(version) || !filled(suite) {
            return Err(ParseSpecError(text.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            architecture: architecture.map(str::to_owned),
            version: version.map(Version::new),
            suite: suite.map(str::to_owned),
        })
    }
}

impl fmt::Display for PackageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(architecture) = &self.architecture {
            write!(f, ":{architecture}")?;
        }
        if let Some(version) = &self.version {
            write!(f, "={version}")?;
        }
        if let Some(suite) = &self.suite {
            write!(f, "/{suite}")?;
        }
        Ok(())
    }
}

/// The set that a new root starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// `Essential: yes` and what that depends on.
    Essential,
    /// Essential, priority `required`, and apt: what `mmdebstrap --variant=minbase` makes.
    Required,
    /// [`Base::Required`] and priority `important`: what the installer starts from.
    Important,
    /// [`Base::Important`] and priority `standard`.
    Standard,
}

impl Base {
    fn priorities(self) -> &'static [&'static str] {
        match self {
            Self::Essential => &[],
            Self::Required => &["required"],
            Self::Important => &["required", "important"],
            Self::Standard => &["required", "important", "standard"],
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Packages by the user's word.
    pub install: Vec<PackageSpec>,
    /// The base, for a new root.
    pub base: Option<Base>,
    /// The root's merged-`/usr` links are made by the caller: `usr-is-merged` is taken where `usrmerge`, with its need of
    /// perl, would be. Has no effect in suites whose base needs neither.
    pub merged_usr: bool,
}

/// A package that must go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// dpkg's name for it.
    pub id: String,
    /// Its version.
    pub version: Version,
}

/// A resolution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Solution {
    /// What is unpacked and configured, batch after batch: pre-dependencies of a batch are in earlier ones.
    pub batches: Vec<Vec<PackageRecord>>,
    /// What is removed first.
    pub remove: Vec<Removed>,
}

impl Solution {
    /// All packages in unpack order.
    pub fn install(&self) -> impl Iterator<Item = &PackageRecord> {
        self.batches.iter().flatten()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.remove.is_empty()
    }
}

/// Resolves a request on top of what is installed.
pub fn solve(universe: &Universe<'_>, state: &State, request: &Request) -> Result<Solution, Box<SolveError>> {
    let graph = universe.graph.with_installed(state);
    let solution = run(&graph, request, false)?;
    let wants_usrmerge = |solution: &Solution| solution.install().any(|package| package.name == "usrmerge");
    if request.merged_usr && wants_usrmerge(&solution) && universe.has("usr-is-merged") {
        return run(&graph, request, true);
    }
    Ok(solution)
}

fn run(graph: &Graph<'_>, request: &Request, usr_is_merged: bool) -> Result<Solution, Box<SolveError>> {
    let mut marks = Marks::new(graph);
    if usr_is_merged {
        let spec =
            PackageSpec { name: "usr-is-merged".to_owned(), architecture: None, version: None, suite: None };
        stage(&mut marks, &[spec], Vec::new())?;
    }
    let mut from_base = Vec::new();
    if let Some(base) = request.base {
        let essential = graph.natives(|version| graph.versions[version as usize].essential);
        stage(&mut marks, &[], essential)?;
        let priorities = base.priorities();
        if !priorities.is_empty() {
            from_base = graph.natives(|version| priorities.contains(&graph.priority(version)));
            from_base.extend(graph.package("apt", graph.native()));
        }
    }
    stage(&mut marks, &request.install, from_base)?;
    order::solution(graph, &marks, request.base.is_some())
}

/// One run of `apt-get install`: what it decides counts as installed for the next stage.
fn stage(
    marks: &mut Marks<'_, '_>,
    specs: &[PackageSpec],
    mut packages: Vec<PkgId>,
) -> Result<(), Box<SolveError>> {
    marks.sort_as_numbered(&mut packages);
    for spec in specs {
        let (package, version) = explain::find(marks, spec)?;
        if let Some(version) = version {
            marks.set_candidate(package, version);
        }
        packages.push(package);
    }
    marks.install_all(&packages);
    repair::repair(marks);
    if let Some(error) = explain::failure(marks, &packages) {
        return Err(Box::new(error));
    }
    marks.drop_unneeded();
    marks.commit();
    Ok(())
}

#[cfg(test)]
mod tests;
