//! The configuration: what the user's file, the workspace's `imgbuild.toml`, the environment and the flags say together.
//! Flags decide over the environment, that over the workspace, that over the user. Not what verbs take as flags alone.

mod reader;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imgbuild_model::{Class, Diagnostic, Diagnostics, Location, Platform};

use crate::args::{Age, ByteSize, Environment, Variant};

/// The file in a workspace's root that marks it and configures it.
pub const WORKSPACE_FILE: &str = "imgbuild.toml";

/// A key of the configuration files, as the reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table it is in.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What may stand there.
    pub kind: &'static str,
    /// The same as TOML.
    pub example: &'static str,
    /// What it does.
    pub doc: &'static str,
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key { section, name, kind, example, doc }
}

/// Each key, the same for both files.
pub const KEYS: &[Key] = &[
    key(
        "mirrors",
        "debian",
        "address",
        "\"http://localhost:8080/debian\"",
        "Where Debian packages are fetched from; else the mirror that the host's apt uses, else `ftp.debian.org`. Or \
         `IMGBUILD_DEBIAN_MIRROR`.",
    ),
    key(
        "mirrors",
        "debian_security",
        "address",
        "\"http://localhost:8080/debian-security\"",
        "Where packages of Debian's security archive are fetched from; else `debian-security` beside the mirror that \
         `debian` names, else what the host's apt uses.",
    ),
    key(
        "mirrors",
        "ubuntu",
        "address",
        "\"file:///srv/ubuntu\"",
        "Where Ubuntu packages are fetched from. Or `IMGBUILD_UBUNTU_MIRROR`.",
    ),
    key(
        "mirrors",
        "snapshot",
        "address",
        "\"http://localhost:8080/snapshot\"",
        "Where locked versions are fetched from that a mirror has dropped; else `snapshot.debian.org`. Or \
         `IMGBUILD_SNAPSHOT_MIRROR`.",
    ),
    key("downloads", "parallel", "number", "8", "How many packages are fetched at once; else 8."),
    key(
        "downloads",
        "attempts",
        "number",
        "5",
        "How often a transfer that brings nothing is tried before it counts as failed, with pauses that begin with half a \
         second and double; else 5. One that was cut off goes on where it stopped.",
    ),
    key(
        "downloads",
        "timeout",
        "age",
        "\"30s\"",
        "How long a server may be silent before the next attempt; else 30 seconds. A transfer that goes on is never cut off.",
    ),
    key(
        "downloads",
        "proxy",
        "address",
        "\"http://proxy.example:3128\"",
        "The HTTP proxy through which archives and registries are reached. Or `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`.",
    ),
    key(
        "downloads",
        "no_proxy",
        "text",
        "\"localhost,.corp.example,10.0.0.0/8\"",
        "Hosts, domains and networks that are reached without the proxy, separated by commas; `*` is all. Or `NO_PROXY`.",
    ),
    key(
        "keyrings",
        "debian",
        "path",
        "\"/usr/share/keyrings/debian-archive-keyring.gpg\"",
        "A file with the keys that Debian's archive may be signed with.",
    ),
    key(
        "keyrings",
        "ubuntu",
        "path",
        "\"~/keyrings/ubuntu.gpg\"",
        "A file with the keys that Ubuntu's archive may be signed with.",
    ),
    key(
        "cache",
        "dir",
        "path",
        "\"/var/cache/imgbuild\"",
        "The folder of the cache; else `imgbuild` in `XDG_CACHE_HOME` or `~/.cache`. Or `--cache-dir`, `IMGBUILD_CACHE_DIR`.",
    ),
    key(
        "cache",
        "max_size",
        "size",
        "\"50GiB\"",
        "What `imgbuild cache gc` leaves at most. Or its `--max-size`.",
    ),
    key(
        "cache",
        "max_age",
        "age",
        "\"30d\"",
        "`imgbuild cache gc` removes what was not used for so long. Or its `--max-age`.",
    ),
    key(
        "build",
        "jobs",
        "number",
        "4",
        "How many actions run at once; else one for each processor. Or `--jobs`.",
    ),
    key(
        "build",
        "output_dir",
        "path",
        "\"out\"",
        "Where artifacts are written; else `imgbuild-out` in the workspace. Or `--output-dir`.",
    ),
    key(
        "build",
        "default_platform",
        "platform",
        "\"linux/arm64\"",
        "What is built for where no `--platform` is given; else this machine's.",
    ),
    key(
        "build",
        "salt",
        "text",
        "\"after the incident\"",
        "Enters every key: with another text, nothing that is in the cache is used.",
    ),
    key(
        "secrets",
        "providers",
        "table of providers",
        "{ pass = { command = [\"pass\", \"show\", \"{path}\"] } }",
        "Programs that write a secret to their output, by the name that stands before the colon in `secrets = {\"npm\": \
         \"pass:team/npm\"}`; `{path}` is what stands behind it. Only in the user's own file. Also written \
         `[secrets.providers.pass]`.",
    ),
];

/// What is configured by all together. What is absent has the default of the module that uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where packages are fetched from.
    pub mirrors: Mirrors,
    /// Which keys archives may be signed with.
    pub keyrings: Keyrings,
    /// How archives and registries are reached.
    pub downloads: Downloads,
    /// The folder of the cache.
    pub cache_dir: PathBuf,
    /// How many bytes the garbage collector leaves at most.
    pub cache_max_size: Option<u64>,
    /// The age from which on the garbage collector removes what is not used.
    pub cache_max_age: Option<Duration>,
    /// How many actions run at once.
    pub jobs: Option<NonZero<usize>>,
    /// Where artifacts are written.
    pub output_dir: Option<PathBuf>,
    /// What is built for where no platform is given.
    pub default_platform: Option<Platform>,
    /// Enters every key.
    pub salt: Option<String>,
    /// The programs that give secrets, by the provider's name.
    pub secret_providers: BTreeMap<String, Vec<String>>,
}

/// The flags that configure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--cache-dir`.
    pub cache_dir: Option<PathBuf>,
    /// `--jobs`.
    pub jobs: Option<NonZero<usize>>,
    /// `--output-dir`.
    pub output_dir: Option<PathBuf>,
}

/// Where packages are fetched from: addresses that begin with `http://`, `https://` or `file://`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// A mirror of Debian.
    pub debian: Option<String>,
    /// A mirror of Debian's security archive.
    pub debian_security: Option<String>,
    /// A mirror of Ubuntu.
    pub ubuntu: Option<String>,
    /// The service that has old versions.
    pub snapshot: Option<String>,
}

/// How archives and registries are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downloads {
    /// Transfers at the same time.
    pub parallel: Option<NonZero<usize>>,
    /// Attempts without progress before giving up.
    pub attempts: Option<NonZero<usize>>,
    /// How long a server may be silent.
    pub timeout: Option<Duration>,
    /// The proxy for `http://` addresses.
    pub http_proxy: Option<String>,
    /// The proxy for `https://` addresses.
    pub https_proxy: Option<String>,
    /// What is reached without them.
    pub no_proxy: Option<String>,
}

/// Files with the keys that archives may be signed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyrings {
    /// Debian's.
    pub debian: Option<PathBuf>,
    /// Ubuntu's.
    pub ubuntu: Option<PathBuf>,
}

/// What one place says: a file, or the flags and the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layer {
    mirrors: Mirrors,
    keyrings: Keyrings,
    downloads: Downloads,
    cache_dir: Option<PathBuf>,
    cache_max_size: Option<ByteSize>,
    cache_max_age: Option<Age>,
    jobs: Option<NonZero<usize>>,
    output_dir: Option<PathBuf>,
    default_platform: Option<Platform>,
    salt: Option<String>,
    secret_providers: Option<Providers>,
}

/// The programs that give secrets, and where they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Providers {
    commands: BTreeMap<String, Vec<String>>,
    location: Location,
}

/// The folder of the cache for a user without a home, as services are.
const CACHE_WITHOUT_HOME: &str = "/var/cache/imgbuild";

impl Config {
    /// Reads all that configures: the flags, the environment, the `imgbuild.toml` in `workspace` and the user's file.
    /// Relative paths of flags and the environment start at the current folder, those in a file at its folder.
    ///
    /// # Errors
    /// If a file says what it may not, with all such places of both files; if one that was named is not there.
    pub fn load(
        flags: &Flags,
        environment: &Environment,
        workspace: Option<&Path>,
    ) -> Result<Self, Diagnostics> {
        let mut problems = Vec::new();
        let mut take = |read: Result<Layer, Diagnostics>| {
            read.unwrap_or_else(|diagnostics| {
                problems.extend(diagnostics.0);
                Layer::default()
            })
        };
        let typed = take(from_surroundings(flags, environment));
        let in_workspace = match workspace {
            Some(root) => take(read_file(&root.join(WORKSPACE_FILE), WORKSPACE_FILE, environment, false)),
            None => Layer::default(),
        };
        let named = flags.config.as_ref().or(environment.config.as_ref());
        let path = match named {
            Some(path) => Some(path.clone()),
            None => environment.config_home.as_ref().map(|home| home.join("imgbuild/config.toml")),
        };
        let of_user = match path {
            Some(path) => take(read_file(&path, &path.to_string_lossy(), environment, named.is_some())),
            None => Layer::default(),
        };
        if let Some(providers) = &in_workspace.secret_providers {
            problems.push(
                Diagnostic::error("a workspace may not name programs that give secrets")
                    .at(providers.location.clone())
                    .hint("write `[secrets.providers]` into your own configuration file, `~/.config/imgbuild/config.toml`"),
            );
        }
        if !problems.is_empty() {
            return Err(Diagnostics(problems));
        }
        let Layer {
            mirrors,
            keyrings,
            downloads,
            cache_dir,
            cache_max_size,
            cache_max_age,
            jobs,
            output_dir,
            default_platform,
            salt,
            secret_providers,
        } = typed.over(in_workspace).over(of_user);
        let cache_dir = cache_dir.unwrap_or_else(|| match &environment.cache_home {
            Some(home) => home.join("imgbuild"),
            None => CACHE_WITHOUT_HOME.into(),
        });
        Ok(Self {
            mirrors,
            keyrings,
            downloads,
            cache_dir,
            cache_max_size: cache_max_size.map(|size| size.0),
            cache_max_age: cache_max_age.map(|age| age.0),
            jobs,
            output_dir,
            default_platform,
            salt,
            secret_providers: secret_providers.map(|providers| providers.commands).unwrap_or_default(),
        })
    }

    /// The platforms to build for: those of the command line, else the configured one, else this machine's.
    #[must_use]
    pub fn platforms(&self, variant: &Variant) -> Vec<Platform> {
        let mut platforms: Vec<Platform> = Vec::new();
        for platform in &variant.platforms {
            if !platforms.contains(platform) {
                platforms.push(*platform);
            }
        }
        if platforms.is_empty() {
            platforms.push(self.default_platform.unwrap_or_else(Platform::host));
        }
        platforms
    }
}

impl Layer {
    /// What this one says, and where it says nothing, what `other` says.
    fn over(self, other: Self) -> Self {
        let Self {
            mirrors,
            keyrings,
            downloads,
            cache_dir,
            cache_max_size,
            cache_max_age,
            jobs,
            output_dir,
            default_platform,
            salt,
            secret_providers,
        } = self;
        let Mirrors { debian, debian_security, ubuntu, snapshot } = mirrors;
        let mirrors = Mirrors {
            debian: debian.or(other.mirrors.debian),
            debian_security: debian_security.or(other.mirrors.debian_security),
            ubuntu: ubuntu.or(other.mirrors.ubuntu),
            snapshot: snapshot.or(other.mirrors.snapshot),
        };
        let Keyrings { debian, ubuntu } = keyrings;
        let keyrings =
            Keyrings { debian: debian.or(other.keyrings.debian), ubuntu: ubuntu.or(other.keyrings.ubuntu) };
        Self {
            mirrors,
            keyrings,
            downloads: downloads.over(other.downloads),
            cache_dir: cache_dir.or(other.cache_dir),
            cache_max_size: cache_max_size.or(other.cache_max_size),
            cache_max_age: cache_max_age.or(other.cache_max_age),
            jobs: jobs.or(other.jobs),
            output_dir: output_dir.or(other.output_dir),
            default_platform: default_platform.or(other.default_platform),
            salt: salt.or(other.salt),
            secret_providers: secret_providers.or(other.secret_providers),
        }
    }
}

impl Downloads {
    fn over(self, other: Self) -> Self {
        let Self { parallel, attempts, timeout, http_proxy, https_proxy, no_proxy } = self;
        Self {
            parallel: parallel.or(other.parallel),
            attempts: attempts.or(other.attempts),
            timeout: timeout.or(other.timeout),
            http_proxy: http_proxy.or(other.http_proxy),
            https_proxy: https_proxy.or(other.https_proxy),
            no_proxy: no_proxy.or(other.no_proxy),
        }
    }
}

/// What the flags and the environment say.
fn from_surroundings(flags: &Flags, environment: &Environment) -> Result<Layer, Diagnostics> {
    let mut problems = Vec::new();
    let mut address =
        |variable: &str, value: &Option<String>, check: fn(&str) -> Result<String, String>| match check(
            value.as_deref()?,
        ) {
            Ok(value) => Some(value),
            Err(reason) => {
                problems.push(Diagnostic::error(format!("`{variable}`: {reason}")));
                None
            }
        };
    let mirrors = Mirrors {
        debian: address("IMGBUILD_DEBIAN_MIRROR", &environment.debian_mirror, reader::mirror_address),
        ubuntu: address("IMGBUILD_UBUNTU_MIRROR", &environment.ubuntu_mirror, reader::mirror_address),
        snapshot: address("IMGBUILD_SNAPSHOT_MIRROR", &environment.snapshot_mirror, reader::mirror_address),
        ..Mirrors::default()
    };
    let downloads = Downloads {
        http_proxy: address("HTTP_PROXY", &environment.http_proxy, reader::proxy_address),
        https_proxy: address("HTTPS_PROXY", &environment.https_proxy, reader::proxy_address),
        no_proxy: environment.no_proxy.clone(),
        ..Downloads::default()
    };
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }
    Ok(Layer {
        mirrors,
        downloads,
        cache_dir: flags.cache_dir.as_ref().or(environment.cache_dir.as_ref()).map(absolute),
        jobs: flags.jobs,
        output_dir: flags.output_dir.as_ref().map(absolute),
        ..Layer::default()
    })
}

/// Reads the text of a configuration file. `name` is what diagnostics call it, `folder` is where its relative paths
/// start, `home` is what `~/` stands for.
fn parse(text: &str, name: &str, folder: &Path, home: Option<&Path>) -> Result<Layer, Diagnostics> {
    reader::read(text, name, folder, home)
}

fn read_file(path: &Path, name: &str, environment: &Environment, needed: bool) -> Result<Layer, Diagnostics> {
    let fail = |message: String, class| {
        Diagnostics::from(Diagnostic::error(message).class(class).at(Location::file(name)))
    };
    let bytes = match fs_err::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !needed => return Ok(Layer::default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(fail("the configuration file is not there".to_owned(), Class::Input));
        }
        Err(error) => {
            return Err(fail(format!("the configuration file cannot be read: {error}"), Class::Environment));
        }
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| fail("the configuration file is not UTF-8".to_owned(), Class::Input))?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    parse(&text, name, folder, environment.home.as_deref())
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
