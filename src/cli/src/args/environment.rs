//! The environment variables that the program reads: one table, from which the reference is made, and one struct, which
//! is filled once at the start. Nothing else in the program looks at the environment of the process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// A variable as the reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// Each variable that is read.
pub const VARIABLES: &[Variable] = &[
    Variable { name: "IMGBUILD_CACHE_DIR", doc: "The folder of the cache, as `--cache-dir`." },
    Variable { name: "IMGBUILD_CONFIG", doc: "The user's configuration file, as `--config`." },
    Variable {
        name: "IMGBUILD_DEBIAN_MIRROR",
        doc: "The mirror that Debian packages are fetched from, as `mirrors.debian`.",
    },
    Variable {
        name: "IMGBUILD_UBUNTU_MIRROR",
        doc: "The mirror that Ubuntu packages are fetched from, as `mirrors.ubuntu`.",
    },
    Variable {
        name: "IMGBUILD_SNAPSHOT_MIRROR",
        doc: "Where locked versions are fetched from that the mirror has dropped, as `mirrors.snapshot`.",
    },
    Variable {
        name: "HTTP_PROXY",
        doc: "The proxy through which archives and registries with `http://` addresses are reached; `http_proxy` \
              and `ALL_PROXY` do too. See `downloads.proxy`.",
    },
    Variable {
        name: "HTTPS_PROXY",
        doc: "The same for `https://` addresses; `https_proxy` and `ALL_PROXY` do too.",
    },
    Variable {
        name: "ALL_PROXY",
        doc: "The proxy for both kinds of addresses, where no variable for one of them is set; `all_proxy` does too.",
    },
    Variable {
        name: "NO_PROXY",
        doc: "Hosts, domains and networks that are reached without a proxy, separated by commas; `no_proxy` does \
              too. See `downloads.no_proxy`.",
    },
    Variable { name: "http_proxy", doc: "See `HTTP_PROXY`; decides over it." },
    Variable { name: "https_proxy", doc: "See `HTTPS_PROXY`; decides over it." },
    Variable { name: "all_proxy", doc: "See `ALL_PROXY`; decides over it." },
    Variable { name: "no_proxy", doc: "See `NO_PROXY`; decides over it." },
    Variable {
        name: "IMGBUILD_LOG",
        doc: "What to write of the program's own log to standard error, as a `tracing` filter: `debug`, \
              `imgbuild_engine=trace,warn`.",
    },
    Variable { name: "NO_COLOR", doc: "If set and not empty: no colours, unless `--color always` is given." },
    Variable { name: "PACKER_NO_COLOR", doc: "The same for the verbs that read templates." },
    Variable {
        name: "CLICOLOR_FORCE",
        doc: "If set and neither empty nor `0`: colours also where the output is not a terminal.",
    },
    Variable {
        name: "TERM",
        doc: "If `dumb`: no colours and plain progress, as where the output is not a terminal.",
    },
    Variable {
        name: "LC_ALL",
        doc: "With `LC_CTYPE` and `LANG`, the first that is set decides whether signs beyond ASCII are drawn.",
    },
    Variable { name: "LC_CTYPE", doc: "See `LC_ALL`." },
    Variable { name: "LANG", doc: "See `LC_ALL`." },
    Variable { name: "XDG_CONFIG_HOME", doc: "Where the user's configuration lies; else `~/.config`." },
    Variable { name: "XDG_CACHE_HOME", doc: "Where the cache lies unless it is named; else `~/.cache`." },
    Variable { name: "HOME", doc: "The user's home folder." },
    Variable {
        name: "SSH_AUTH_SOCK",
        doc: "The socket of the user's SSH agent, for machines that are reached with its keys.",
    },
];

/// The environment of the process, read once. An empty variable counts as not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `IMGBUILD_CACHE_DIR`.
    pub cache_dir: Option<PathBuf>,
    /// `IMGBUILD_CONFIG`.
    pub config: Option<PathBuf>,
    /// `IMGBUILD_DEBIAN_MIRROR`.
    pub debian_mirror: Option<String>,
    /// `IMGBUILD_UBUNTU_MIRROR`.
    pub ubuntu_mirror: Option<String>,
    /// `IMGBUILD_SNAPSHOT_MIRROR`.
    pub snapshot_mirror: Option<String>,
    /// `http_proxy`, `HTTP_PROXY`, `all_proxy` or `ALL_PROXY`.
    pub http_proxy: Option<String>,
    /// `https_proxy`, `HTTPS_PROXY`, `all_proxy` or `ALL_PROXY`.
    pub https_proxy: Option<String>,
    /// `no_proxy` or `NO_PROXY`.
    pub no_proxy: Option<String>,
    /// `IMGBUILD_LOG`.
    pub log: Option<String>,
    /// `NO_COLOR` is set.
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set, and not to `0`.
    pub force_color: bool,
    /// `PACKER_NO_COLOR` is set.
    pub packer_no_color: bool,
    /// `TERM` is `dumb`.
    pub dumb_terminal: bool,
    /// The locale's encoding is UTF-8.
    pub unicode: bool,
    /// The folder of configuration files: `XDG_CONFIG_HOME`, else `.config` in the home folder.
    pub config_home: Option<PathBuf>,
    /// The folder of caches: `XDG_CACHE_HOME`, else `.cache` in the home folder.
    pub cache_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `SSH_AUTH_SOCK`.
    pub ssh_agent: Option<PathBuf>,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    /// All variables of this process, for templates, which can name any. Those that are not UTF-8 are left out.
    #[must_use]
    pub fn whole() -> BTreeMap<String, String> {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        std::env::vars_os().filter_map(text).collect()
    }

    /// The environment as `get` tells it.
    #[must_use]
    pub fn read(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let text = |name: &str| get(name).map(|value| value.to_string_lossy().into_owned());
        let home = path("HOME");
        // The base directory specification tells programs to ignore relative paths.
        let base = |name: &str, below: &str| {
            path(name)
                .filter(|path| path.is_absolute())
                .or_else(|| home.as_ref().map(|home| home.join(below)))
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(text).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let proxy_for_all = ["all_proxy", "ALL_PROXY"].into_iter().find_map(text);
        let proxy = |names: [&str; 2]| names.into_iter().find_map(text).or_else(|| proxy_for_all.clone());
        Self {
            cache_dir: path("IMGBUILD_CACHE_DIR"),
            config: path("IMGBUILD_CONFIG"),
            debian_mirror: text("IMGBUILD_DEBIAN_MIRROR"),
            ubuntu_mirror: text("IMGBUILD_UBUNTU_MIRROR"),
            snapshot_mirror: text("IMGBUILD_SNAPSHOT_MIRROR"),
            http_proxy: proxy(["http_proxy", "HTTP_PROXY"]),
            https_proxy: proxy(["https_proxy", "HTTPS_PROXY"]),
            no_proxy: ["no_proxy", "NO_PROXY"].into_iter().find_map(text),
            log: text("IMGBUILD_LOG"),
            no_color: get("NO_COLOR").is_some(),
            packer_no_color: get("PACKER_NO_COLOR").is_some(),
            force_color: get("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            dumb_terminal: get("TERM").is_some_and(|value| value == "dumb"),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            config_home: base("XDG_CONFIG_HOME", ".config"),
            cache_home: base("XDG_CACHE_HOME", ".cache"),
            home,
            ssh_agent: path("SSH_AUTH_SOCK"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_table_names_what_is_read_and_nothing_else() {
        let asked = RefCell::new(BTreeSet::new());
        let _ = Environment::read(|name| {
            asked.borrow_mut().insert(name.to_owned());
            None
        });
        let documented: BTreeSet<_> = VARIABLES.iter().map(|variable| variable.name.to_owned()).collect();
        assert_eq!(asked.into_inner(), documented);
    }

    #[test]
    fn empty_and_relative_values_count_as_unset() {
        let environment =
            of(&[("IMGBUILD_CACHE_DIR", ""), ("NO_COLOR", ""), ("XDG_CONFIG_HOME", "rel"), ("HOME", "/h")]);
        assert_eq!(environment.cache_dir, None);
        assert!(!environment.no_color);
        assert_eq!(environment.config_home, Some(PathBuf::from("/h/.config")));
        assert!(!of(&[("CLICOLOR_FORCE", "0")]).force_color);
    }

    #[test]
    fn proxies_are_named_in_small_and_in_large_letters() {
        let environment = of(&[("http_proxy", "small"), ("HTTP_PROXY", "large"), ("ALL_PROXY", "all")]);
        assert_eq!(environment.http_proxy.as_deref(), Some("small"));
        assert_eq!(environment.https_proxy.as_deref(), Some("all"));
        assert_eq!(of(&[("NO_PROXY", "a,b")]).no_proxy.as_deref(), Some("a,b"));
    }

    #[test]
    fn the_first_locale_variable_decides() {
        assert!(of(&[("LANG", "en_GB.UTF-8")]).unicode);
        assert!(of(&[("LANG", "C.utf8")]).unicode);
        assert!(!of(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]).unicode);
        assert!(!of(&[]).unicode);
    }
}
