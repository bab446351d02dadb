//! Which files a path means, and reading them through a trait, so that what was read is known.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use imgbuild_hcl::syntax::Source;
use imgbuild_model::{Diagnostic, EntryKind, Location};

use super::report::Report;

/// The suffix of templates in the native syntax.
const NATIVE: &str = ".pkr.hcl";
/// The suffix of templates in the JSON syntax.
const JSON: &str = ".pkr.json";

/// The files that a template may be read from. Paths are as the user wrote them, relative to the working folder or
/// absolute, with `/` between names.
pub trait Files {
    /// What stands at a path, if anything does.
    fn kind(&self, path: &str) -> Option<EntryKind>;

    /// The names in a folder and what they stand for, sorted by their bytes.
    ///
    /// # Errors
    /// As the file system gives them.
    fn list(&self, path: &str) -> io::Result<Vec<(String, EntryKind)>>;

    /// The text of a file.
    ///
    /// # Errors
    /// As the file system gives them; text that is not UTF-8 is `InvalidData`.
    fn read(&self, path: &str) -> io::Result<Arc<str>>;
}

/// Something that loading read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    /// The contents of a file.
    File(String),
    /// The names in a folder.
    Names(String),
}

/// The two syntaxes of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// HCL.
    Native,
    /// JSON.
    Json,
}

/// A file and its syntax.
pub(super) type Found = (String, Syntax);

/// What belongs to a template.
#[derive(Debug, Default)]
pub(super) struct Discovered {
    /// The templates.
    pub templates: Vec<Found>,
    /// Files of variables that are read without being asked for.
    pub auto: Vec<Found>,
    /// `path.root`: the folder as it was given, or the folder of the file.
    pub root: String,
}

/// Reads files and keeps what was read.
pub(super) struct Reader<'a> {
    files: &'a dyn Files,
    report: &'a Report,
    reads: RefCell<BTreeSet<Read>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(files: &'a dyn Files, report: &'a Report) -> Self {
        Self { files, report, reads: RefCell::default() }
    }

    pub(super) fn into_reads(self) -> Vec<Read> {
        self.reads.into_inner().into_iter().collect()
    }

    /// The files of a template: of one folder, or the given files; none is a template too.
    pub(super) fn discover(&self, paths: &[String]) -> Discovered {
        let mut found = Discovered { root: ".".to_owned(), ..Discovered::default() };
        for (index, path) in paths.iter().enumerate() {
            let is_folder = self.files.kind(path) == Some(EntryKind::Directory);
            if index == 0 {
                found.root = if is_folder { path.replace('\\', "/") } else { folder_of(path) };
            }
            if is_folder { self.folder(path, &mut found) } else { self.file(path, &mut found) }
        }
        let mut seen = BTreeSet::new();
        found.templates.retain(|(path, _)| seen.insert(path.clone()));
        found.templates.sort_by_key(|(_, syntax)| *syntax == Syntax::Json);
        found
    }

    fn file(&self, path: &str, found: &mut Discovered) {
        if self.files.kind(path).is_none() {
            self.report.push(
                Diagnostic::error(format!("there is no template at `{path}`"))
                    .hint("give a file whose name ends in `.pkr.hcl` or `.pkr.json`, or a folder of them"),
            );
            return;
        }
        match syntax_of(path, NATIVE, JSON) {
            Some(syntax) => found.templates.push((path.to_owned(), syntax)),
            None => self.report.push(
                Diagnostic::error(format!("`{path}` is not the name of a template"))
                    .at(Location::file(path))
                    .hint("names of templates end in `.pkr.hcl` or `.pkr.json`"),
            ),
        }
    }

    fn folder(&self, path: &str, found: &mut Discovered) {
        self.reads.borrow_mut().insert(Read::Names(path.to_owned()));
        let entries = match self.files.list(path) {
            Ok(entries) => entries,
            Err(error) => {
                let message = format!("the folder `{path}` cannot be read: {error}");
                self.report.push(Diagnostic::error(message).at(Location::file(path)));
                return;
            }
        };
        let start = found.templates.len();
        for syntax in [Syntax::Native, Syntax::Json] {
            for (name, kind) in &entries {
                if *kind != EntryKind::File {
                    continue;
                }
                if syntax_of(name, NATIVE, JSON) == Some(syntax) {
                    found.templates.push((join(path, name), syntax));
                }
                if syntax_of(name, ".auto.pkrvars.hcl", ".auto.pkrvars.json") == Some(syntax) {
                    found.auto.push((join(path, name), syntax));
                }
            }
        }
        if found.templates.len() == start {
            self.report.push(
                Diagnostic::error(format!("there is no template in the folder `{path}`"))
                    .at(Location::file(path))
                    .hint("names of templates end in `.pkr.hcl` or `.pkr.json`"),
            );
        }
    }

    /// The files of variables that were asked for.
    pub(super) fn var_files(&self, paths: &[String]) -> Vec<Found> {
        let known = |path: &String| match syntax_of(path, ".hcl", ".json") {
            Some(syntax) => Some((path.clone(), syntax)),
            None => {
                self.report.push(
                    Diagnostic::error(format!("`{path}` is not the name of a file of variables"))
                        .at(Location::file(path))
                        .hint("names of files of variables end in `.pkrvars.hcl` or `.pkrvars.json`"),
                );
                None
            }
        };
        paths.iter().filter_map(known).collect()
    }

    /// The text of a file; what goes wrong is reported.
    pub(super) fn source(&self, path: &str) -> Option<Arc<Source>> {
        self.reads.borrow_mut().insert(Read::File(path.to_owned()));
        match self.files.read(path) {
            Ok(text) => Some(Source::new(path, text.as_ref())),
            Err(error) => {
                let reason = match error.kind() {
                    io::ErrorKind::NotFound => "it does not exist".to_owned(),
                    io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
                    _ => error.to_string(),
                };
                let message = format!("`{path}` cannot be read: {reason}");
                self.report.push(Diagnostic::error(message).at(Location::file(path)));
                None
            }
        }
    }
}

fn syntax_of(name: &str, native: &str, json: &str) -> Option<Syntax> {
    if name.ends_with(native) {
        Some(Syntax::Native)
    } else if name.ends_with(json) {
        Some(Syntax::Json)
    } else {
        None
    }
}

fn folder_of(path: &str) -> String {
    let path = path.replace('\\', "/");
    match path.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((folder, _)) => folder.to_owned(),
        None => ".".to_owned(),
    }
}

fn join(folder: &str, name: &str) -> String {
    match folder {
        "" | "." => name.to_owned(),
        folder => format!("{}/{name}", folder.trim_end_matches('/')),
    }
}
