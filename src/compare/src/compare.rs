//! The comparison of two images.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use imgbuild_formats::ImageConfig;

use crate::facts::{Facts, FactsError, Owners, is_of_package_database};
use crate::files::{Globs, walk};
use crate::report::{Change, Changed, Counts, FileChange, Package, Report, SCHEMA_VERSION, Summary, changes};
use crate::text;
use crate::tree::Tree;

/// One of the two images.
#[derive(Clone, Copy)]
pub struct Side<'t> {
    /// What it is called.
    pub name: &'t str,
    /// Its files.
    pub tree: &'t dyn Tree,
    /// How its containers run and on what, if it says so; see [`configuration`].
    pub configuration: Option<&'t BTreeMap<String, String>>,
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether users and groups of files are.
    pub owners: bool,
    /// Whether the times of files are.
    pub times: bool,
    /// Whether to show the lines that small text files differ in.
    pub text: bool,
    ignore: Globs,
    only: Option<Globs>,
}

impl Default for Options {
    fn default() -> Self {
        Self { owners: true, times: false, text: false, ignore: Globs::default(), only: None }
    }
}

impl Options {
    /// Leaves files out whose paths match one of these globs, and looks at no others than those that match one of `only`,
    /// if there are any: then files alone are compared. A glob that names a folder takes in what is below it.
    ///
    /// # Errors
    ///
    /// What is no glob.
    pub fn limited(mut self, ignore: &[String], only: &[String]) -> Result<Self, globset::Error> {
        self.ignore = Globs::new(ignore)?;
        self.only = if only.is_empty() { None } else { Some(Globs::new(only)?) };
        Ok(self)
    }

    pub(crate) fn takes(&self, path: &[u8]) -> bool {
        !self.ignore.matches(path) && self.only.as_ref().is_none_or(|only| only.matches(path))
    }
}

/// Why two images cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A file of an image cannot be read.
    #[error("cannot read the files")]
    Io(#[from] io::Error),
    /// A database of an image is damaged or cannot be read.
    #[error("cannot read the image `{image}`")]
    Facts {
        /// Which image.
        image: String,
        /// Why not.
        source: FactsError,
    },
}

/// How containers of an image run, as names and values: `platform`, `env.PATH`, `entrypoint`, `label.version`, …
#[must_use]
pub fn configuration(config: &ImageConfig, platform: &str) -> BTreeMap<String, String> {
    let words = |words: &[String]| serde_json::to_string(words).unwrap_or_default();
    let ImageConfig { env, entrypoint, cmd, user, working_dir, labels, exposed_ports, volumes, stop_signal } =
        config;
    let mut values = BTreeMap::from([("platform".to_owned(), platform.to_owned())]);
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            values.insert(name.to_owned(), value.to_owned());
        }
    };
    put("user", user);
    put("workdir", working_dir);
    put("stop_signal", stop_signal.as_deref().unwrap_or_default());
    for (name, list) in [("entrypoint", entrypoint), ("cmd", cmd)] {
        if !list.is_empty() {
            put(name, &words(list));
        }
    }
    // What is there and empty differs from what is not.
    for (name, value) in env {
        values.insert(format!("env.{name}"), value.clone());
    }
    for (name, value) in labels {
        values.insert(format!("label.{name}"), value.clone());
    }
    for port in exposed_ports {
        values.insert(format!("port.{port}"), port.clone());
    }
    for path in volumes {
        values.insert(format!("volume.{path}"), path.clone());
    }
    values
}

/// Compares two images.
///
/// # Errors
///
/// A file that cannot be read, a damaged package database.
pub fn compare(before: Side<'_>, after: Side<'_>, options: &Options) -> Result<Report, CompareError> {
    let (walked, facts) = rayon::join(
        || walk(before.tree, after.tree, options),
        || match options.only {
            Some(_) => Ok([Facts::default(), Facts::default()]),
            None => Ok::<_, CompareError>([facts(before)?, facts(after)?]),
        },
    );
    let (walked, [one, other]) = (walked?, facts?);
    let mut files = walked.files;
    let packages = changes(&one.packages, &other.packages, |(name, _)| name.clone());
    attribute(before.tree, after.tree, &packages, &mut files)?;
    if options.text {
        text::add(before.tree, after.tree, &mut files)?;
    }
    let same = |name: &String| name.clone();
    let configuration = match (before.configuration, after.configuration) {
        (Some(one), Some(other)) if options.only.is_none() => changes(one, other, same),
        _ => Vec::new(),
    };
    let mut report = Report {
        version: SCHEMA_VERSION,
        equal: false,
        before: before.name.to_owned(),
        after: after.name.to_owned(),
        summary: Summary::default(),
        packages,
        users: changes(&one.users, &other.users, same),
        groups: changes(&one.groups, &other.groups, same),
        units: changes(&one.units, &other.units, same),
        privileges: changes(&walked.privileges[0], &walked.privileges[1], same),
        system: changes(&one.system, &other.system, same),
        configuration,
        sizes: walked.sizes,
        files,
        notes: notes([before, after], [&one, &other], options),
        unread: unread([before, after], [&one, &other]),
    };
    report.summary = summary(&report);
    report.equal = report.summary == Summary::default();
    Ok(report)
}

fn facts(side: Side<'_>) -> Result<Facts, CompareError> {
    Facts::of(side.tree).map_err(|source| CompareError::Facts { image: side.name.to_owned(), source })
}

/// Databases of packages that nothing here reads.
fn unread(sides: [Side<'_>; 2], facts: [&Facts; 2]) -> Vec<String> {
    let of = |(side, facts): (&Side<'_>, &Facts)| {
        let database = facts.unread?;
        Some(format!("`{}` has packages of {database}, which are not read", side.name))
    };
    sides.iter().zip(facts).filter_map(of).collect()
}

/// What could not be compared.
fn notes(sides: [Side<'_>; 2], facts: [&Facts; 2], options: &Options) -> Vec<String> {
    let mut notes = Vec::new();
    if options.only.is_some() {
        return notes;
    }
    notes.extend(unread(sides, facts));
    let without: Vec<&Side<'_>> = sides.iter().filter(|side| side.configuration.is_none()).collect();
    if let [side] = without[..] {
        notes.push(format!("`{}` has no image configuration, so that is not compared", side.name));
    }
    notes
}

/// Says of files which of the changed packages they belong to.
fn attribute(
    before: &dyn Tree,
    after: &dyn Tree,
    packages: &[Change<Package>],
    files: &mut [FileChange],
) -> io::Result<()> {
    let of = |package: fn(&Change<Package>) -> Option<&Package>| -> BTreeSet<(String, String)> {
        packages
            .iter()
            .filter_map(|change| Some((change.name.clone(), package(change)?.architecture.clone())))
            .collect()
    };
    let owners = [
        Owners::read(before, &of(|change| change.before.as_ref()))?,
        Owners::read(after, &of(|change| change.after.as_ref()))?,
    ];
    let names: BTreeSet<&str> = packages.iter().map(|change| &*change.name).collect();
    for file in files {
        let order = if file.change == Changed::Removed { [0, 1] } else { [1, 0] };
        let owner = order.into_iter().find_map(|side| owners[side].of(&file.bytes));
        file.package = owner.or_else(|| names.get(kept_for(&file.bytes)?).copied()).map(str::to_owned);
    }
    Ok(())
}

/// The package that dpkg keeps a file for: `nginx` of `var/lib/dpkg/info/nginx.list`.
fn kept_for(path: &[u8]) -> Option<&str> {
    let file = std::str::from_utf8(path.strip_prefix(b"var/lib/dpkg/info/")?).ok()?;
    let name = file.rsplit_once('.')?.0;
    Some(name.split(':').next().unwrap_or(name))
}

impl FileChange {
    /// Whether it changes whenever any package does.
    #[must_use]
    pub fn is_package_database(&self) -> bool {
        is_of_package_database(&self.bytes)
    }

    /// The path as the tree has it, without a leading slash.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn summary(report: &Report) -> Summary {
    fn count<T>(changes: &[Change<T>]) -> Counts {
        Counts::of(changes.iter().map(|change| change.change))
    }
    Summary {
        files: Counts::of(report.files.iter().map(|file| file.change)),
        packages: count(&report.packages),
        users: count(&report.users),
        groups: count(&report.groups),
        units: count(&report.units),
        privileges: count(&report.privileges),
        system: count(&report.system),
        configuration: count(&report.configuration),
    }
}
