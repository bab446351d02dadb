//! Goss files: which resources they check, with what they include, variables and templates filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use globset::GlobBuilder;
use imgbuild_model::{Diagnostic, Location, did_you_mean};

use crate::datum::Datum;
use crate::template::{Failure, Known, render};
use crate::yaml::{Data, Key, Node, read};

/// How deep files may include each other.
const DEEPEST: usize = 50;

/// A file that goss files may be read from, and how it is found.
#[derive(Clone, Debug)]
pub struct InputFile {
    /// Its name, for people.
    pub shown: String,
    /// The paths that includes find it by.
    pub found_as: Vec<PathBuf>,
    /// Where it is.
    pub path: PathBuf,
}

/// The resources that are checked.
#[derive(Clone, Debug, Default)]
pub struct GossFile {
    /// In the order of the files.
    pub resources: Vec<Resource>,
    /// What is odd and no error.
    pub warnings: Vec<Diagnostic>,
}

/// One thing that is checked.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its kind.
    pub kind: &'static ResourceKind,
    /// Its name.
    pub key: Key,
    /// What is expected of it.
    pub attributes: Vec<(Key, Node)>,
}

/// A kind of resources.
#[derive(Debug)]
pub struct ResourceKind {
    /// The key in a goss file.
    pub name: &'static str,
    /// What results call it.
    pub shown: &'static str,
    /// The attribute that names it where it is not the key.
    pub id: Option<&'static str>,
    /// What is compared, in the order of the results: attribute and what results call it.
    pub properties: &'static [(&'static str, &'static str)],
    /// Whether without the first of them it is an error.
    pub first_required: bool,
    /// What says how.
    pub options: &'static [&'static str],
}

const fn kind(
    name: &'static str,
    shown: &'static str,
    id: &'static str,
    properties: &'static [(&'static str, &'static str)],
    options: &'static [&'static str],
) -> ResourceKind {
    ResourceKind { name, shown, id: Some(id), properties, first_required: true, options }
}

/// Each kind.
pub static KINDS: [ResourceKind; 15] = [
    kind(
        "file",
        "File",
        "path",
        &[
            ("exists", "exists"),
            ("mode", "mode"),
            ("owner", "owner"),
            ("uid", "uid"),
            ("group", "group"),
            ("gid", "gid"),
            ("linked-to", "linkedto"),
            ("filetype", "filetype"),
            ("contents", "contents"),
            ("contains", "contents"),
            ("size", "size"),
            ("md5", "md5"),
            ("sha256", "sha256"),
            ("sha512", "sha512"),
        ],
        &[],
    ),
    kind("package", "Package", "name", &[("installed", "installed"), ("versions", "version")], &[]),
    kind("addr", "Addr", "address", &[("reachable", "reachable")], &["timeout", "local-address"]),
    kind("port", "Port", "port", &[("listening", "listening"), ("ip", "ip")], &[]),
    ResourceKind {
        first_required: false,
        ..kind(
            "service",
            "Service",
            "name",
            &[("enabled", "enabled"), ("running", "running"), ("runlevels", "runlevels")],
            &[],
        )
    },
    kind(
        "user",
        "User",
        "username",
        &[
            ("exists", "exists"),
            ("uid", "uid"),
            ("gid", "gid"),
            ("home", "home"),
            ("groups", "groups"),
            ("shell", "shell"),
        ],
        &[],
    ),
    kind("group", "Group", "groupname", &[("exists", "exists"), ("gid", "gid")], &[]),
    kind(
        "command",
        "Command",
        "exec",
        &[("exit-status", "exit-status"), ("stdout", "stdout"), ("stderr", "stderr")],
        &["timeout"],
    ),
    kind(
        "dns",
        "DNS",
        "resolve",
        &[("resolvable", "resolvable"), ("resolveable", "resolvable"), ("addrs", "addrs")],
        &["server", "timeout"],
    ),
    kind("process", "Process", "comm", &[("running", "running")], &[]),
    kind("kernel-param", "KernelParam", "name", &[("value", "value")], &[]),
    kind(
        "mount",
        "Mount",
        "mountpoint",
        &[
            ("exists", "exists"),
            ("opts", "opts"),
            ("vfs-opts", "vfs-opts"),
            ("source", "source"),
            ("filesystem", "filesystem"),
            ("usage", "usage"),
        ],
        &["timeout"],
    ),
    kind("interface", "Interface", "name", &[("exists", "exists"), ("addrs", "addrs"), ("mtu", "mtu")], &[]),
    kind(
        "http",
        "HTTP",
        "url",
        &[("status", "status"), ("headers", "Headers"), ("body", "Body")],
        &[
            "allow-insecure",
            "no-follow-redirects",
            "timeout",
            "request-headers",
            "request-body",
            "username",
            "password",
            "ca-file",
            "cert-file",
            "key-file",
            "method",
            "proxy",
        ],
    ),
    ResourceKind {
        id: None,
        ..kind("matching", "Matching", "", &[("matches", "matches")], &["content", "as-reader"])
    },
];

/// What every resource may have.
const COMMON: [&str; 3] = ["title", "meta", "skip"];

impl Resource {
    /// The value of an attribute; `None` if it is absent or nothing.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Node> {
        self.attributes
            .iter()
            .find(|(key, value)| key.name == name && !value.is_null())
            .map(|(_, value)| value)
    }

    /// The text of an attribute.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.attribute(name).map(|node| node.datum().plain())
    }

    /// Whether an attribute says so.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.attribute(name).is_some_and(|node| matches!(node.data, Data::Scalar(Datum::Bool(true))))
    }

    /// What is looked at: the key unless an attribute says otherwise.
    #[must_use]
    pub fn target(&self) -> String {
        let named = self.kind.id.and_then(|name| self.text(name)).filter(|name| !name.is_empty());
        named.unwrap_or_else(|| self.key.name.clone())
    }

    /// What results call it.
    #[must_use]
    pub fn id(&self) -> String {
        let target = self.target();
        if target == self.key.name || matches!(self.kind.name, "command" | "matching") {
            return self.key.name.clone();
        }
        format!("{}: {target}", self.key.name)
    }
}

/// Reads variables: a mapping of YAML or JSON.
///
/// # Errors
/// What is wrong, with its place.
pub fn read_vars(text: &str, file: &str) -> Result<BTreeMap<String, Datum>, Box<Diagnostic>> {
    match read(text, file)?.map(|node| (node.datum(), node)) {
        None | Some((Datum::Null, _)) => Ok(BTreeMap::new()),
        Some((Datum::Map(entries), _)) => Ok(entries),
        Some((_, node)) => {
            let message = format!("variables are a mapping, not {}", node.described());
            Err(Box::new(Diagnostic::error(message).at(node.location)))
        }
    }
}

/// Reads a goss file and all that it includes.
///
/// # Errors
/// What is wrong, with its place; or which file of the machine templates need first.
pub fn load(main: &InputFile, inputs: &[InputFile], known: &Known) -> Result<GossFile, Failure> {
    let mut loader = Loader { inputs, known, found: GossFile::default(), places: BTreeMap::new() };
    loader.file(main, 0)?;
    if loader.found.resources.is_empty() {
        let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let error = Diagnostic::error("it checks nothing").at(Location::file(&main.shown));
        return Err(Failure::Wrong(Box::new(error.hint(format!("a goss file has {}", kinds.join(", "))))));
    }
    Ok(loader.found)
}

struct Loader<'a> {
    inputs: &'a [InputFile],
    known: &'a Known,
    found: GossFile,
    /// Where each resource is in the list.
    places: BTreeMap<(&'static str, String), usize>,
}

fn wrong(message: impl Into<String>, at: &Location) -> Diagnostic {
    Diagnostic::error(message.into()).at(at.clone())
}

impl Loader<'_> {
    fn file(&mut self, file: &InputFile, depth: usize) -> Result<(), Failure> {
        let unreadable = |error: String| {
            Failure::Wrong(Box::new(Diagnostic::error(error).at(Location::file(&file.shown))))
        };
        if depth > DEEPEST {
            return Err(unreadable(format!("files include each other more than {DEEPEST} deep")));
        }
        let bytes = fs_err::read(&file.path).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is no text in UTF-8".to_owned()))?;
        let rendered = render(&text, &file.shown, self.known)?;
        let document = read(&rendered, &file.shown).map_err(|mut error| {
            if rendered != text {
                *error = error.clone().hint("the place is that in the file with its templates filled in");
            }
            error
        })?;
        let Some(document) = document else { return Ok(()) };
        let entries = mapping(&document, "a goss file")?;
        let mut includes = Vec::new();
        for (key, value) in entries {
            if key.name == "gossfile" {
                includes = mapping(value, "`gossfile`")?.to_vec();
                continue;
            }
            match KINDS.iter().find(|kind| kind.name == key.name) {
                Some(kind) => self.resources(kind, value)?,
                None => self.stranger(key)?,
            }
        }
        for (key, value) in &includes {
            self.include(file, key, value, depth)?;
        }
        Ok(())
    }

    /// A key that goss does not know: it takes no notice, and a slip would check nothing.
    fn stranger(&mut self, key: &Key) -> Result<(), Failure> {
        let names = KINDS.iter().map(|kind| kind.name).chain(["gossfile"]);
        match did_you_mean(&key.name, names) {
            Some(near) => {
                let error = wrong(format!("there is no resource `{}`", key.name), &key.location);
                Err(Failure::Wrong(Box::new(error.hint(format!("did you mean `{near}`?")))))
            }
            None => {
                let warning = format!("`{}` is no resource of goss and checks nothing", key.name);
                self.found.warnings.push(Diagnostic::warning(warning).at(key.location.clone()));
                Ok(())
            }
        }
    }

    fn resources(&mut self, kind: &'static ResourceKind, value: &Node) -> Result<(), Failure> {
        if value.is_null() {
            return Ok(());
        }
        for (key, value) in mapping(value, &format!("`{}`", kind.name))? {
            let attributes = if value.is_null() { Vec::new() } else { mapping(value, &key.name)?.to_vec() };
            for (attribute, _) in &attributes {
                check_attribute(kind, attribute)?;
            }
            let resource = Resource { kind, key: key.clone(), attributes };
            match self.places.get(&(kind.name, key.name.clone())) {
                Some(place) => {
                    let before = &self.found.resources[*place].key.location;
                    let warning =
                        format!("`{}` replaces the one of {}:{}", key.name, before.file, before.line);
                    self.found.warnings.push(Diagnostic::warning(warning).at(key.location.clone()));
                    self.found.resources[*place] = resource;
                }
                None => {
                    self.places.insert((kind.name, key.name.clone()), self.found.resources.len());
                    self.found.resources.push(resource);
                }
            }
        }
        Ok(())
    }

    fn include(&mut self, from: &InputFile, key: &Key, value: &Node, depth: usize) -> Result<(), Failure> {
        let entries: &[(Key, Node)] = if value.is_null() { &[] } else { mapping(value, &key.name)? };
        let attribute = |name: &str| entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value);
        if let Some((stranger, _)) =
            entries.iter().find(|(key, _)| !["file", "skip", "title", "meta"].contains(&&*key.name))
        {
            let error = wrong(format!("`gossfile` has no attribute `{}`", stranger.name), &stranger.location);
            return Err(Failure::Wrong(Box::new(error)));
        }
        if attribute("skip").is_some_and(|skip| matches!(skip.data, Data::Scalar(Datum::Bool(true)))) {
            return Ok(());
        }
        let pattern = attribute("file").and_then(Node::text).unwrap_or(&key.name).to_owned();
        let matching =
            self.matching(from, &pattern).map_err(|reason| wrong(reason, &key.location)).map_err(Box::new)?;
        if matching.is_empty() {
            let error = wrong(format!("no file matches `{pattern}`"), &key.location);
            let hint = "what is included must be among the files that the check is given";
            return Err(Failure::Wrong(Box::new(error.hint(hint))));
        }
        for place in matching {
            let file = &self.inputs[place];
            if file.path == from.path {
                continue;
            }
            self.file(file, depth + 1)?;
        }
        Ok(())
    }

    /// The places of the inputs that a pattern means, as seen from a file.
    fn matching(&self, from: &InputFile, pattern: &str) -> Result<Vec<usize>, String> {
        let mut found = BTreeSet::new();
        for base in &from.found_as {
            let whole = tidy(&base.parent().unwrap_or(Path::new("")).join(pattern));
            let glob = GlobBuilder::new(&whole.to_string_lossy())
                .literal_separator(true)
                .build()
                .map_err(|error| format!("`{pattern}` is no pattern: {error}"))?
                .compile_matcher();
            for (place, input) in self.inputs.iter().enumerate() {
                if input.found_as.iter().any(|path| *path == whole || glob.is_match(path)) {
                    found.insert(place);
                }
            }
        }
        let mut found: Vec<usize> = found.into_iter().collect();
        found.sort_by_key(|place| &self.inputs[*place].found_as);
        Ok(found)
    }
}

/// A path without `.` and `..`, as text alone.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(tidy.pop()),
            part => tidy.push(part),
        }
    }
    tidy
}

fn mapping<'n>(node: &'n Node, what: &str) -> Result<&'n [(Key, Node)], Failure> {
    match &node.data {
        Data::Map(entries) => Ok(entries),
        _ => {
            let error = wrong(format!("{what} is a mapping, not {}", node.described()), &node.location);
            Err(Failure::Wrong(Box::new(error)))
        }
    }
}

fn check_attribute(kind: &ResourceKind, attribute: &Key) -> Result<(), Failure> {
    let names = || {
        let properties = kind.properties.iter().map(|(name, _)| *name);
        properties.chain(kind.options.iter().copied()).chain(kind.id).chain(COMMON)
    };
    if names().any(|name| name == attribute.name) {
        return Ok(());
    }
    let error = wrong(format!("`{}` has no attribute `{}`", kind.name, attribute.name), &attribute.location);
    let near = did_you_mean(&attribute.name, names()).map(|near| format!("did you mean `{near}`?"));
    Err(Failure::Wrong(Box::new(error.maybe_hint(near))))
}
