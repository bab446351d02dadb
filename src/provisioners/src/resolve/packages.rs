//! Sets of packages: a source and the lists on top of it, solved one on top of the other.
//!
//! What is locked is not solved again, it is what the next list stands on: the state of the image below is put together
//! from the pins, with the control data of the index, or of the package itself where the index has moved on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use imgbuild_debian::control::Paragraph;
use imgbuild_debian::deb;
use imgbuild_debian::index::MultiArch;
use imgbuild_debian::lock::{LockedClosure, LockedPackage};
use imgbuild_debian::solve::{self, PackageSpec, Request, Universe, solve};
use imgbuild_debian::status::{InstalledPackage, PackageStatus, State};
use imgbuild_debian::{Sha256, Version};
use imgbuild_model::Diagnostic;
use imgbuild_plan::{DebianPin, DebianRequest, ImageRequest, LockFile, PackageArchive, PinRequest};

use super::archive::{Archive, SuiteIndexes, SuiteRequest};
use super::download::{self, blocking};
use super::errors::{Problem, diagnostic, solve_diagnostic};
use super::pins;
use crate::base::packages::of_image;

/// Answers requests for packages, and those pins of the lock file that stand on an answer, or on an image that was looked
/// up anew.
pub(super) async fn resolve(
    archive: &Archive,
    requests: &BTreeSet<&DebianRequest>,
    images: &BTreeSet<&ImageRequest>,
    lock: &LockFile,
) -> Vec<Result<DebianPin, Problem>> {
    let mut by_base: BTreeMap<DebianRequest, BTreeSet<DebianRequest>> = BTreeMap::new();
    for request in missing(requests, images, lock) {
        let base = DebianRequest { installs: Vec::new(), ..request.clone() };
        by_base.entry(base).or_default().insert(request);
    }
    let work = by_base.into_values().map(|requests| chains(archive, requests, lock));
    futures::future::join_all(work).await.into_iter().flatten().collect()
}

/// What has to be solved: the requests, what they stand on, and what stands on any of these.
fn missing(
    requests: &BTreeSet<&DebianRequest>,
    images: &BTreeSet<&ImageRequest>,
    lock: &LockFile,
) -> BTreeSet<DebianRequest> {
    let on_new_image = |request: &DebianRequest| request.image().is_some_and(|image| images.contains(&image));
    let mut missing = BTreeSet::new();
    for request in requests {
        let prefixes: Vec<_> = request.prefixes().collect();
        let is_missing = |prefix: &DebianRequest| on_new_image(prefix) || lock.debian(prefix).is_none();
        if let Some(first) = prefixes.iter().position(is_missing) {
            missing.extend(prefixes.into_iter().skip(first));
        }
    }
    for pin in lock.debian_pins() {
        if on_new_image(&pin.request) || pin.request.prefixes().any(|prefix| missing.contains(&prefix)) {
            missing.insert(pin.request.clone());
        }
    }
    missing
}

/// The chains on one source. Requests that need the same architectures share the indexes; a chain may come to need more
/// of them on its way up, never fewer.
async fn chains(
    archive: &Archive,
    requests: BTreeSet<DebianRequest>,
    lock: &LockFile,
) -> Vec<Result<DebianPin, Problem>> {
    let Some(first) = requests.first() else { return Vec::new() };
    let base = match base_of(archive, first, lock).await {
        Ok(Some(base)) => base,
        // The image could not be looked up, which was said then.
        Ok(None) => return Vec::new(),
        Err(problem) => return vec![Err(problem)],
    };
    let mut groups: BTreeMap<(usize, BTreeSet<String>), Vec<DebianRequest>> = BTreeMap::new();
    for request in requests {
        let foreign = foreign(&request);
        groups.entry((foreign.len(), foreign)).or_default().push(request);
    }
    let mut known = Known::default();
    let mut results = Vec::new();
    for ((_, foreign), mut requests) in groups {
        requests.sort_by_key(|request| request.installs.len());
        match group(archive, &base, foreign, requests, lock, &mut known).await {
            Ok(solved) => results.extend(solved),
            Err(problem) => results.push(Err(problem)),
        }
    }
    results
}

/// What a chain begins with.
struct Base {
    /// Where its packages are found.
    archive: PackageArchive,
    /// Whether a pin must say that: its request does not.
    is_image: bool,
    /// What is installed before any request.
    state: State,
}

/// What requests on one source stand on; `None` if that is an image which the lock file does not name.
async fn base_of(
    archive: &Archive,
    request: &DebianRequest,
    lock: &LockFile,
) -> Result<Option<Base>, Problem> {
    let Some(image) = request.image() else {
        let archive = request.index().archive();
        return Ok(Some(Base { archive, is_image: false, state: State::empty() }));
    };
    let Some(pin) = lock.image(&image) else { return Ok(None) };
    let found = of_image(archive.config(), pin).await?;
    Ok(Some(Base { archive: found.archive, is_image: true, state: found.state }))
}

/// Architectures that packages are asked for by name, as `name:architecture`.
fn foreign(request: &DebianRequest) -> BTreeSet<String> {
    let native = request.platform.architecture.debian_name();
    request
        .packages
        .iter()
        .chain(request.installs.iter().flatten())
        .filter_map(|text| text.parse::<PackageSpec>().ok()?.architecture)
        .filter(|architecture| architecture != native && architecture != "all")
        .collect()
}

/// The closures of a chain, as they are found.
#[derive(Clone, Default)]
struct Known(BTreeMap<DebianRequest, LockedClosure>);

impl Known {
    /// The closures that a request stands on; `None` if one of them could not be solved, which was said then.
    fn below(&self, request: &DebianRequest) -> Option<Vec<&LockedClosure>> {
        let below = request.prefixes().filter(|prefix| prefix.installs.len() < request.installs.len());
        below.map(|prefix| self.0.get(&prefix)).collect()
    }
}

async fn group(
    archive: &Archive,
    base: &Base,
    foreign: BTreeSet<String>,
    requests: Vec<DebianRequest>,
    lock: &LockFile,
    known: &mut Known,
) -> Result<Vec<Result<DebianPin, Problem>>, Problem> {
    let Some(first) = requests.first().cloned() else { return Ok(Vec::new()) };
    let being_solved: BTreeSet<&DebianRequest> = requests.iter().collect();
    for prefix in requests.iter().flat_map(DebianRequest::prefixes) {
        if !known.0.contains_key(&prefix)
            && !being_solved.contains(&prefix)
            && let Some(pin) = lock.debian(&prefix)
        {
            known.0.insert(prefix, pins::locked_closure(pin)?);
        }
    }
    let suites = archive
        .indexes(&SuiteRequest {
            distribution: base.archive.distribution.clone(),
            suite: base.archive.suite.clone(),
            components: base.archive.components.clone(),
            security: base.archive.security,
            native: first.platform.architecture.debian_name().to_owned(),
            foreign: foreign.clone(),
        })
        .await?;
    let suites = Arc::new(suites);
    let facts = facts(archive, &base.archive, &suites, known).await?;
    let foreign: Vec<String> = foreign.into_iter().collect();
    let before = known.clone();
    let start = Start { state: base.state.clone(), archive: base.is_image.then(|| base.archive.clone()) };
    let (results, after) =
        blocking(move || solve_group(&suites, &requests, &foreign, &facts, &start, before)).await?;
    *known = after;
    Ok(results)
}

/// What is known of packages that are, or were, in an archive, besides what a pin says.
#[derive(Default)]
struct Facts {
    /// `Multi-Arch` of packages of the index.
    indexed: HashMap<(String, String, String), MultiArch>,
    /// The control data of packages that the index no longer has.
    vanished: HashMap<Sha256, Paragraph>,
}

fn key(package: &LockedPackage) -> (String, String, String) {
    (package.name.clone(), package.version.to_string(), package.architecture.clone())
}

/// Facts of locked packages. What the index has lost is read from the package file, which may have to be fetched.
async fn facts(
    archive: &Archive,
    PackageArchive { distribution, suite, .. }: &PackageArchive,
    suites: &Arc<SuiteIndexes>,
    known: &Known,
) -> Result<Facts, Problem> {
    let wanted: HashMap<_, LockedPackage> = known
        .0
        .values()
        .flat_map(LockedClosure::packages)
        .map(|package| (key(package), package.clone()))
        .collect();
    let mut facts = Facts::default();
    if wanted.is_empty() {
        return Ok(facts);
    }
    let shared = suites.clone();
    let (indexed, mut lost) = blocking(move || {
        let names: BTreeSet<&str> = wanted.keys().map(|(name, _, _)| name.as_str()).collect();
        let mut indexed = HashMap::new();
        for record in shared.indexes.iter().flat_map(|index| index.records()) {
            if names.contains(record.name.as_str()) {
                indexed.insert(
                    (record.name, record.version.to_string(), record.architecture),
                    record.multi_arch,
                );
            }
        }
        let lost: Vec<LockedPackage> = wanted
            .iter()
            .filter(|(key, _)| !indexed.contains_key(*key))
            .map(|(_, package)| package.clone())
            .collect();
        (indexed, lost)
    })
    .await?;
    facts.indexed = indexed;
    if lost.is_empty() {
        return Ok(facts);
    }
    lost.sort_by(|one, other| one.name.cmp(&other.name));
    tracing::debug!(packages = lost.len(), "locked versions have gone from the index; their files are read");
    // The newest date of the pins: what was locked then was there then.
    let date = known.0.values().filter_map(|closure| closure.date).max();
    let files = download::packages(archive, distribution, suite, &lost, date, &|_, _| {}).await?;
    let read = blocking(move || {
        let read = lost.iter().zip(&files).map(|(package, file)| {
            let control = deb::read_control_of(file)?;
            Ok((package.sha256, control.fields))
        });
        read.collect::<Result<HashMap<_, _>, deb::DebError>>()
    });
    facts.vanished = read.await?.map_err(|error| diagnostic(distribution, error))?;
    Ok(facts)
}

/// What is there before the first request, and where packages are found if no request says it.
struct Start {
    state: State,
    archive: Option<PackageArchive>,
}

/// Solves requests in order; shorter chains come first, so that each finds what it stands on.
fn solve_group(
    suites: &SuiteIndexes,
    requests: &[DebianRequest],
    foreign: &[String],
    facts: &Facts,
    start: &Start,
    mut known: Known,
) -> (Vec<Result<DebianPin, Problem>>, Known) {
    let Some(native) = requests.first().map(|request| request.platform.architecture.debian_name()) else {
        return (Vec::new(), known);
    };
    let universe = Universe::new(&suites.indexes, native, foreign);
    let mut results = Vec::with_capacity(requests.len());
    let mut solved = Facts::default();
    for request in requests {
        let Some(below) = known.below(request) else { continue };
        let state = state(&start.state, &below, native, &[facts, &solved]);
        let result = solve_one(suites, &universe, &state, request);
        let answer = result.and_then(|(closure, multi_arch)| {
            let pin = DebianPin {
                request: request.clone(),
                codename: suites.codename.clone(),
                date: suites.date.as_second(),
                archive: start.archive.clone(),
                add: pins::lines(&closure)?,
            };
            solved.indexed.extend(multi_arch);
            known.0.insert(request.clone(), closure);
            Ok(pin)
        });
        results.push(answer);
    }
    (results, known)
}

type MultiArchs = Vec<((String, String, String), MultiArch)>;

fn solve_one(
    suites: &SuiteIndexes,
    universe: &Universe<'_>,
    state: &State,
    request: &DebianRequest,
) -> Result<(LockedClosure, MultiArchs), Problem> {
    let is_source = request.installs.is_empty();
    let packages = request.installs.last().unwrap_or(&request.packages);
    let wanted = Request {
        install: specs(packages)?,
        base: if is_source { Some(base(&request.variant)?) } else { None },
        merged_usr: is_source,
    };
    let solution = solve(universe, state, &wanted)
        .map_err(|error| solve_diagnostic(&PinRequest::Debian(request.clone()).to_string(), &error))?;
    let multi_arch = solution
        .install()
        .map(|record| {
            (
                (record.name.clone(), record.version.to_string(), record.architecture.clone()),
                record.multi_arch,
            )
        })
        .collect();
    Ok((LockedClosure::new(&solution, Some(suites.date)), multi_arch))
}

/// Packages as the user writes them.
pub(crate) fn specs(packages: &[String]) -> Result<Vec<PackageSpec>, Problem> {
    let parse = |text: &String| {
        text.parse().map_err(|error: imgbuild_debian::solve::ParseSpecError| {
            Diagnostic::error(error.to_string()).into()
        })
    };
    packages.iter().map(parse).collect()
}

fn base(variant: &str) -> Result<solve::Base, Problem> {
    match variant {
        "essential" => Ok(solve::Base::Essential),
        "minbase" => Ok(solve::Base::Required),
        "standard" => Ok(solve::Base::Important),
        other => Err(Diagnostic::error(format!("`{other}` is not a variant"))
            .hint("known are `essential`, `minbase` and `standard`")
            .into()),
    }
}

/// What an image has after these closures, on top of what was there before.
fn state(before: &State, closures: &[&LockedClosure], native: &str, facts: &[&Facts]) -> State {
    let mut packages: Vec<InstalledPackage> = before.packages.clone();
    // dpkg takes `all` for its own architecture: a package may change from one to the other.
    let counts_as =
        |architecture: &str| if architecture == "all" { native.to_owned() } else { architecture.to_owned() };
    for closure in closures {
        packages.retain(|package| {
            let removed = |id: &String| match id.split_once(':') {
                Some((name, architecture)) => name == package.name && architecture == package.architecture,
                None => *id == package.name,
            };
            !closure.remove.iter().any(removed)
        });
        for package in closure.packages() {
            let installed = installed(package, facts);
            let slot = packages.iter_mut().find(|other| {
                other.name == installed.name
                    && counts_as(&other.architecture) == counts_as(&installed.architecture)
            });
            match slot {
                Some(slot) => *slot = installed,
                None => packages.push(installed),
            }
        }
    }
    State { packages }
}

fn installed(package: &LockedPackage, facts: &[&Facts]) -> InstalledPackage {
    let mut paragraph = Paragraph::default();
    paragraph.set("Package", package.name.as_str());
    paragraph.set("Status", "install ok installed");
    paragraph.set("Version", package.version.to_string());
    paragraph.set("Architecture", package.architecture.as_str());
    let mut multi_arch = MultiArch::No;
    if let Some(fields) = facts.iter().find_map(|facts| facts.vanished.get(&package.sha256)) {
        for (name, value) in fields.fields() {
            paragraph.set(name, value);
        }
        multi_arch = parse_multi_arch(fields.get("Multi-Arch").unwrap_or_default());
    } else if let Some(found) = facts.iter().find_map(|facts| facts.indexed.get(&key(package))) {
        multi_arch = *found;
    }
    InstalledPackage {
        name: package.name.clone(),
        version: Version::new(package.version.as_str()),
        architecture: package.architecture.clone(),
        multi_arch,
        status: PackageStatus::Installed,
        paragraph,
    }
}

fn parse_multi_arch(text: &str) -> MultiArch {
    match text {
        "same" => MultiArch::Same,
        "foreign" => MultiArch::Foreign,
        "allowed" => MultiArch::Allowed,
        _ => MultiArch::No,
    }
}
