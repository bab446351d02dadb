//! What a language is to the rest of the program.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::{
    Action, Attributes, Configuration, Diagnostics, Label, PackagePath, Platform, Provider, Target,
    TargetName, WorkspacePath,
};

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file, or a symbolic link to one.
    File,
    /// A folder, or a symbolic link to one.
    Directory,
    /// Anything else.
    Other,
}

/// The files that a front end may read: the only way out of its sandbox.
pub trait Files: Send + Sync {
    /// The text of a file.
    ///
    /// # Errors
    /// As the file system gives them; text that is not UTF-8 is `InvalidData`.
    fn read(&self, path: &WorkspacePath) -> io::Result<Arc<str>>;

    /// The bytes of a file.
    ///
    /// # Errors
    /// As the file system gives them.
    fn read_bytes(&self, path: &WorkspacePath) -> io::Result<Vec<u8>> {
        self.read(path).map(|text| text.as_bytes().to_vec())
    }

    /// The names in a folder, sorted by their bytes.
    ///
    /// # Errors
    /// As the file system gives them.
    fn list(&self, path: &WorkspacePath) -> io::Result<Vec<(String, EntryKind)>>;

    /// What stands at a path, if anything does.
    fn kind(&self, path: &WorkspacePath) -> Option<EntryKind>;
}

/// Something that loading a package read, for the memo of its result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    /// The contents of a file.
    File(WorkspacePath),
    /// The names below a folder (a glob).
    Names(WorkspacePath),
}

/// A package that was loaded.
#[derive(Debug)]
pub struct Package {
    /// Where.
    pub path: PackagePath,
    /// Its targets, by name.
    pub targets: BTreeMap<TargetName, Arc<Target>>,
}

/// What loading gave: the package, and what it read.
#[derive(Clone, Debug)]
pub struct LoadedPackage {
    /// The package.
    pub package: Arc<Package>,
    /// What was read, sorted, each once.
    pub reads: Arc<[Read]>,
    /// Warnings.
    pub warnings: Diagnostics,
}

/// What a target that was depended on has to offer.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// Its label.
    pub label: Label,
    /// Its providers. A source file has the one that the front end makes for files.
    pub providers: Arc<[Arc<Provider>]>,
}

/// What to analyze.
pub struct AnalysisRequest<'a> {
    /// The target.
    pub target: &'a Target,
    /// What for.
    pub configuration: &'a Configuration,
    /// Its attributes, choices made.
    pub attributes: Attributes,
    /// What each label in the attributes stands for.
    pub dependencies: &'a BTreeMap<Label, Dependency>,
    /// The results of the same target for each of its platforms, when they are to be joined.
    pub combine: Option<&'a [(Platform, Arc<Analysis>)]>,
}

/// What analysis gives.
#[derive(Clone, Debug, Default)]
pub struct Analysis {
    /// The providers, in the order returned.
    pub providers: Arc<[Arc<Provider>]>,
    /// The actions, in the order declared.
    pub actions: Vec<Arc<Action>>,
}

/// A language that declares targets.
pub trait FrontEnd: Send + Sync {
    /// Loads a package. Pure: the result depends on nothing but what is read through `files`.
    ///
    /// # Errors
    /// Everything that is wrong with the package's own file and the files that it loads.
    fn load(&self, package: &PackagePath, files: &dyn Files) -> Result<LoadedPackage, Diagnostics>;

    /// The provider by which a source file or folder is depended on.
    fn source_file(&self, label: &Label) -> Dependency;

    /// The platforms that a target says it is for, if its rule has them and they are known before analysis.
    fn platforms(&self, target: &Target, attributes: &Attributes) -> Option<Vec<Platform>>;

    /// Runs a rule's implementation. Pure.
    ///
    /// # Errors
    /// What the implementation raises, or what it returns that is not allowed.
    fn analyze(&self, request: &AnalysisRequest<'_>) -> Result<Analysis, Diagnostics>;
}
