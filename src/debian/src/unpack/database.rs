//! dpkg's database as far as unpacking reads it: states, file lists, diversions, overrides.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::root::Root;
use super::triggers::Triggers;
use super::{Owners, RootContext, UnpackError, damaged};
use crate::status::State;

pub(crate) const STATUS: &str = "var/lib/dpkg/status";
pub(crate) const INFO: &str = "var/lib/dpkg/info";

/// A file that is put elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diversion {
    pub to: PathBuf,
    /// The package whose own file is not diverted; `None` for a local diversion.
    pub by: Option<String>,
}

/// Owner and permissions that the administrator chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Override {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

#[derive(Debug)]
pub(crate) struct Database {
    pub state: State,
    /// Paths of each package, relative to the root, by dpkg's name for it.
    pub lists: BTreeMap<String, Vec<PathBuf>>,
    /// Packages that have a path, by its canonical form.
    pub owners: Owners,
    pub diversions: HashMap<PathBuf, Diversion>,
    pub overrides: HashMap<PathBuf, Override>,
    pub triggers: Triggers,
    aliases: HashMap<PathBuf, PathBuf>,
}

pub(crate) fn read_state(root: &Root) -> Result<State, UnpackError> {
    let text = root.read_text(Path::new(STATUS)).at("read", STATUS)?;
    State::parse(&text).map_err(|error| damaged(STATUS, &error))
}

impl Database {
    pub fn read(root: &Root) -> Result<Self, UnpackError> {
        let state = read_state(root)?;
        let aliases = aliases(root)?;
        let mut lists = BTreeMap::new();
        let mut owners = Owners::new();
        for package in &state.packages {
            let id = package.id();
            let file = Path::new(INFO).join(format!("{id}.list"));
            let paths: Vec<PathBuf> = root
                .read_text(&file)
                .at("read", &file)?
                .lines()
                .map(|line| PathBuf::from(line.trim_start_matches('/')))
                .map(|path| if path == Path::new(".") { PathBuf::new() } else { path })
                .collect();
            if package.status.is_unpacked() {
                for path in &paths {
                    owners.entry(canonical(&aliases, path)).or_default().push(id.clone());
                }
            }
            lists.insert(id, paths);
        }
        Ok(Self {
            diversions: diversions(root)?,
            overrides: overrides(root)?,
            triggers: Triggers::read(root)?,
            state,
            lists,
            owners,
            aliases,
        })
    }

    /// The path without the links at the top that a merged `/usr` has, so that one file has one name.
    pub fn canonical(&self, path: &Path) -> PathBuf {
        canonical(&self.aliases, path)
    }

    /// Where a path of `package` really goes.
    pub fn place(&self, path: &Path, package: &str) -> PathBuf {
        match self.diversions.get(path) {
            Some(diversion) if diversion.by.as_deref() != Some(package) => diversion.to.clone(),
            _ => path.to_owned(),
        }
    }
}

fn canonical(aliases: &HashMap<PathBuf, PathBuf>, path: &Path) -> PathBuf {
    let mut components = path.components();
    let first = components.next().map(|c| PathBuf::from(c.as_os_str())).unwrap_or_default();
    match aliases.get(&first) {
        // The link itself is not below itself.
        Some(target) if !components.as_path().as_os_str().is_empty() => target.join(components.as_path()),
        _ => path.to_owned(),
    }
}

/// Links at the top of the root and where they lead.
fn aliases(root: &Root) -> Result<HashMap<PathBuf, PathBuf>, UnpackError> {
    let mut aliases = HashMap::new();
    for name in root.list(Path::new("")).at("list", "")? {
        let path = PathBuf::from(name);
        let Some(stat) = root.stat(&path).at("look at", &path)? else { continue };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && root.is_folder(&path) {
            let (parent, name) = root.parent(&path).at("look at", &path)?;
            let target = rustix::fs::readlinkat(parent, name, Vec::new()).at("read", &path)?;
            let target = target.to_string_lossy();
            let target = target.trim_start_matches('/').trim_end_matches('/');
            if !target.split('/').any(|part| matches!(part, "." | ".." | "")) {
                aliases.insert(path, PathBuf::from(target));
            }
        }
    }
    Ok(aliases)
}

fn diversions(root: &Root) -> Result<HashMap<PathBuf, Diversion>, UnpackError> {
    const FILE: &str = "var/lib/dpkg/diversions";
    let text = root.read_text(Path::new(FILE)).at("read", FILE)?;
    let lines: Vec<&str> = text.lines().collect();
    let relative = |line: &str| PathBuf::from(line.trim_start_matches('/'));
    lines
        .chunks(3)
        .map(|chunk| match chunk {
            [from, to, by] => {
                let by = (*by != ":").then(|| (*by).to_owned());
                Ok((relative(from), Diversion { to: relative(to), by }))
            }
            _ => Err(UnpackError::Database { file: FILE.to_owned(), problem: "it is cut off".to_owned() }),
        })
        .collect()
}

fn overrides(root: &Root) -> Result<HashMap<PathBuf, Override>, UnpackError> {
    const FILE: &str = "var/lib/dpkg/statoverride";
    let text = root.read_text(Path::new(FILE)).at("read", FILE)?;
    if text.trim().is_empty() {
        return Ok(HashMap::new());
    }
    let users = ids(root, "etc/passwd")?;
    let groups = ids(root, "etc/group")?;
    let mut found = HashMap::new();
    for line in text.lines() {
        let parsed = (|| {
            let mut words = line.splitn(4, ' ');
            let (user, group, mode, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
            let id = |name: &str, ids: &HashMap<String, u32>| match name.strip_prefix('#') {
                Some(number) => number.parse().ok(),
                None => ids.get(name).copied(),
            };
            let chosen = Override {
                uid: id(user, &users)?,
                gid: id(group, &groups)?,
                mode: u32::from_str_radix(mode, 8).ok()?,
            };
            Some((PathBuf::from(path.trim_start_matches('/')), chosen))
        })();
        let (path, chosen) = parsed.ok_or_else(|| UnpackError::Database {
            file: FILE.to_owned(),
            problem: format!("line `{line}` is not an override with a known user and group"),
        })?;
        found.insert(path, chosen);
    }
    Ok(found)
}

/// Names and numbers of `passwd` or `group`.
fn ids(root: &Root, file: &str) -> Result<HashMap<String, u32>, UnpackError> {
    let text = root.read_text(Path::new(file)).at("read", file)?;
    let parse = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    Ok(text.lines().filter_map(parse).collect())
}
