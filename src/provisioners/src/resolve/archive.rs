//! A distribution's archives: which mirrors, which keyring, which suites; verified release files and read indexes.
//!
//! One [`Archive`] serves one run: each release file and each index is fetched once.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use imgbuild_debian::fetch::Fetcher;
use imgbuild_debian::index::{self, Index, IndexRequest};
use imgbuild_debian::keyring::Keyring;
use imgbuild_debian::mirror::{DEFAULT_MIRROR, DEFAULT_SNAPSHOT, Mirrors};
use imgbuild_debian::release::{self, Release, Validity};
use imgbuild_debian::sources::{AptSources, base_url};
use imgbuild_model::{Class, Diagnostic};
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use tokio::sync::OnceCell;

use super::ArchiveConfig;
use super::errors::{Problem, diagnostic, keyring_setting, mirror_setting};

/// The name of Debian's security archive.
const SECURITY_ARCHIVE: &str = "debian-security";
/// How far a release file may be ahead of this machine's clock.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// One suite that is looked in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Suite {
    /// The name, as it stands under `dists/`.
    pub(crate) name: String,
    /// The archive that has it, where that is not the distribution's main one.
    pub(crate) archive: Option<String>,
}

/// The packages of all suites of a request.
pub(crate) struct SuiteIndexes {
    /// The main suite's codename.
    pub(crate) codename: String,
    /// When the newest of the release files was made.
    pub(crate) date: Timestamp,
    /// The indexes, those of the main suite first.
    pub(crate) indexes: Vec<Index>,
}

/// Which packages are looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SuiteRequest {
    /// `debian` or `ubuntu`.
    pub(crate) distribution: String,
    /// Suite or codename.
    pub(crate) suite: String,
    /// Components.
    pub(crate) components: Vec<String>,
    /// Whether security and updates are looked in.
    pub(crate) security: bool,
    /// Debian's name of the native architecture.
    pub(crate) native: String,
    /// Those of further architectures.
    pub(crate) foreign: BTreeSet<String>,
}

/// Something that is made once, by whoever needs it first.
type Once<T> = Arc<OnceCell<Result<T, Problem>>>;
type Releases = HashMap<(String, Suite), Once<Arc<Release>>>;

/// The archives of all distributions, for one run.
pub(crate) struct Archive {
    config: Arc<ArchiveConfig>,
    fetcher: OnceLock<Fetcher>,
    host: OnceLock<AptSources>,
    releases: Mutex<Releases>,
    /// Held while an index is fetched, so that whoever needs it too finds it in the cache.
    fetching: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Archive {
    pub(crate) fn new(config: Arc<ArchiveConfig>) -> Self {
        Self {
            config,
            fetcher: OnceLock::new(),
            host: OnceLock::new(),
            releases: Mutex::default(),
            fetching: Mutex::default(),
        }
    }

    pub(crate) fn config(&self) -> &ArchiveConfig {
        &self.config
    }

    /// The HTTP client. It is made late: most runs fetch nothing.
    pub(crate) fn fetcher(&self) -> Result<&Fetcher, Problem> {
        if let Some(fetcher) = self.fetcher.get() {
            return Ok(fetcher);
        }
        let fetcher = Fetcher::new(self.config.retry.clone(), &self.config.proxies)
            .map_err(|error| diagnostic("debian", error))?;
        Ok(self.fetcher.get_or_init(|| fetcher))
    }

    /// Where reduced indexes are kept.
    pub(crate) fn index_folder(&self) -> PathBuf {
        self.config.cache.indexes()
    }

    /// The mirrors of a distribution, for a suite of it.
    pub(crate) fn mirrors(&self, distribution: &str, suite: &str) -> Result<Mirrors, Problem> {
        let snapshot =
            self.config.snapshot.as_deref().map(|text| url("the snapshot service", text)).transpose()?;
        match distribution {
            "debian" => {
                let named = urls("the Debian mirror", &self.config.debian)?;
                let primary = self.first_of(named, suite, "debian", Some(DEFAULT_MIRROR));
                let named = urls("the mirror of Debian's security archive", &self.config.debian_security)?;
                let security = if named.is_empty() && !self.config.debian.is_empty() {
                    neighbours(&primary)
                } else {
                    match self.first_of(named, &format!("{suite}-security"), SECURITY_ARCHIVE, None) {
                        found if found.is_empty() => neighbours(&primary),
                        found => found,
                    }
                };
                Ok(Mirrors::new(primary)
                    .with_snapshot(snapshot.or_else(|| base_url(DEFAULT_SNAPSHOT)))
                    .with_archive(SECURITY_ARCHIVE, security))
            }
            "ubuntu" => {
                let primary =
                    self.first_of(urls("the Ubuntu mirror", &self.config.ubuntu)?, suite, "ubuntu", None);
                if primary.is_empty() {
                    return Err(Diagnostic::error("no mirror of Ubuntu is known")
                        .class(Class::Environment)
                        .hint(format!(
                            "name one with `{}`, or with `ubuntu` under `[mirrors]` in the configuration",
                            mirror_setting("ubuntu")
                        ))
                        .into());
                }
                Ok(Mirrors { archive: "ubuntu".to_owned(), ..Mirrors::new(primary).with_snapshot(snapshot) })
            }
            other => {
                Err(Diagnostic::error(format!("`{other}` is not a distribution whose archive is known"))
                    .hint("known are `debian` and `ubuntu`")
                    .into())
            }
        }
    }

    /// What the user names, else what the host's apt uses for the suite, else what it uses for the archive, else a default.
    fn first_of(&self, named: Vec<Url>, suite: &str, archive: &str, default: Option<&str>) -> Vec<Url> {
        if !named.is_empty() {
            return named;
        }
        let host = self.host.get_or_init(|| {
            AptSources::read(&self.config.etc_apt).unwrap_or_else(|error| {
                // The host's configuration is a convenience: a broken one is apt's business to complain about.
                tracing::debug!(%error, "the host's apt configuration is not used");
                AptSources::default()
            })
        });
        let mut found = Vec::new();
        // Further repositories are often configured under a suite's name too, with components of their own.
        for entry in host.entries.iter().filter(|entry| entry.suites.iter().any(|name| name == suite)) {
            if entry.components.iter().any(|component| component == "main") {
                found.extend(entry.uris.iter().filter(|uri| serves(uri, archive)).cloned());
            }
        }
        if found.is_empty() {
            found = host.mirrors_of_archive(archive);
        }
        if found.is_empty() {
            found.extend(default.and_then(base_url));
        }
        let mut unique: Vec<Url> = Vec::with_capacity(found.len());
        for url in found {
            if !unique.contains(&url) {
                unique.push(url);
            }
        }
        unique
    }

    fn keyring(&self, distribution: &str) -> Result<Keyring, Problem> {
        let (named, default, package) = match distribution {
            "ubuntu" => (
                &self.config.ubuntu_keyring,
                "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
                "ubuntu-keyring",
            ),
            _ => (
                &self.config.debian_keyring,
                "/usr/share/keyrings/debian-archive-keyring.gpg",
                "debian-archive-keyring",
            ),
        };
        let path = named.as_deref().unwrap_or(Path::new(default));
        let fail = |problem: String| -> Problem {
            Diagnostic::error(format!("the keyring of `{distribution}`, `{}`, {problem}", path.display()))
                .class(Class::Environment)
                .hint(format!(
                    "install the package `{package}`, or name a keyring with `{}`",
                    keyring_setting(distribution)
                ))
                .into()
        };
        let bytes = fs_err::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => fail("is not there".to_owned()),
            _ => fail(format!("cannot be read: {error}")),
        })?;
        Keyring::parse(&bytes).map_err(|error| fail(format!("is of no use: {error}")))
    }

    /// The verified release file of a suite.
    pub(crate) async fn release(
        &self,
        distribution: &str,
        main: &str,
        suite: &Suite,
    ) -> Result<Arc<Release>, Problem> {
        let once = {
            let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
            releases.entry((distribution.to_owned(), suite.clone())).or_default().clone()
        };
        once.get_or_init(|| self.fetch_release(distribution, main, suite)).await.clone()
    }

    async fn fetch_release(
        &self,
        distribution: &str,
        main: &str,
        suite: &Suite,
    ) -> Result<Arc<Release>, Problem> {
        let mirrors = self.mirrors(distribution, main)?;
        let keyring = self.keyring(distribution)?;
        let now = Timestamp::from_second(self.config.now).unwrap_or(Timestamp::UNIX_EPOCH);
        let places = mirrors.of(suite.archive.as_deref());
        let release = release::fetch(self.fetcher()?, places, &suite.name, &keyring, Validity::At(now))
            .await
            .map_err(|error| {
                let problem = diagnostic(distribution, error);
                if suite.name != main && problem.0.class == Class::Input {
                    problem.hint(format!(
                        "`{main}` has no security archive on this mirror; leave out `security`"
                    ))
                } else {
                    problem
                }
            })?;
        if release.date > now.checked_add(CLOCK_TOLERANCE).unwrap_or(now) {
            return Err(Diagnostic::error(format!(
                "suite `{}` was published at {}, and this machine's clock says {now}",
                suite.name, release.date
            ))
            .class(Class::Environment)
            .hint("set the clock")
            .into());
        }
        Ok(Arc::new(release))
    }

    /// The release files of all suites of a request, the main one first.
    pub(crate) async fn releases(
        &self,
        request: &SuiteRequest,
    ) -> Result<Vec<(Suite, Arc<Release>)>, Problem> {
        let suites = suites(&request.distribution, &request.suite, request.security);
        let work = suites.into_iter().map(|suite| async move {
            let release = self.release(&request.distribution, &request.suite, &suite).await?;
            Ok::<_, Problem>((suite, release))
        });
        futures::future::try_join_all(work).await
    }

    /// The packages of all suites of a request.
    pub(crate) async fn indexes(&self, request: &SuiteRequest) -> Result<SuiteIndexes, Problem> {
        let releases = self.releases(request).await?;
        let mirrors = &self.mirrors(&request.distribution, &request.suite)?;
        let mut work = Vec::new();
        for (suite, release) in &releases {
            for component in &request.components {
                for architecture in std::iter::once(&request.native).chain(&request.foreign) {
                    work.push(async move {
                        let archive = suite.archive.as_deref();
                        self.index(
                            &request.distribution,
                            mirrors.of(archive),
                            release,
                            suite,
                            component,
                            architecture,
                        )
                        .await
                    });
                }
            }
        }
        let indexes = futures::future::try_join_all(work).await?;
        let date = releases.iter().map(|(_, release)| release.date).max().unwrap_or(Timestamp::UNIX_EPOCH);
        let codename = releases.first().and_then(|(_, release)| release.codename.clone());
        Ok(SuiteIndexes { codename: codename.unwrap_or_else(|| request.suite.clone()), date, indexes })
    }

    /// One index that a release file lists.
    pub(crate) async fn index(
        &self,
        distribution: &str,
        mirrors: &[Url],
        release: &Release,
        suite: &Suite,
        component: &str,
        architecture: &str,
    ) -> Result<Index, Problem> {
        let name = format!("{distribution} {:?} {} {component} {architecture}", suite.archive, suite.name);
        let turn =
            self.fetching.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone();
        let _turn = turn.lock().await;
        let folder = self.index_folder();
        let request = IndexRequest {
            suite: &suite.name,
            component,
            architecture,
            archive: suite.archive.as_deref(),
            cache: Some(&folder),
        };
        index::fetch(self.fetcher()?, mirrors, release, request)
            .await
            .map_err(|error| diagnostic(distribution, error))
    }
}

/// The suites that are looked in, the main one first.
pub(crate) fn suites(distribution: &str, suite: &str, security: bool) -> Vec<Suite> {
    let mut suites = vec![Suite { name: suite.to_owned(), archive: None }];
    if security {
        suites.push(Suite { name: format!("{suite}-updates"), archive: None });
        let archive = (distribution == "debian").then(|| SECURITY_ARCHIVE.to_owned());
        suites.push(Suite { name: format!("{suite}-security"), archive });
    }
    suites
}

/// Whether a mirror may have an archive: one whose path ends in the name of another has not.
fn serves(uri: &Url, archive: &str) -> bool {
    let last = uri.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    last == archive || !["debian", SECURITY_ARCHIVE, "ubuntu"].contains(&last)
}

/// The security archive beside each mirror whose path ends in `debian`, where most mirrors that have it keep it.
fn neighbours(mirrors: &[Url]) -> Vec<Url> {
    mirrors
        .iter()
        .filter(|mirror| mirror.path().trim_end_matches('/').ends_with("debian"))
        .filter_map(|mirror| base_url(&format!("{}-security", mirror.as_str().trim_end_matches('/'))))
        .collect()
}

fn urls(what: &str, texts: &[String]) -> Result<Vec<Url>, Problem> {
    texts.iter().map(|text| url(what, text)).collect()
}

fn url(what: &str, text: &str) -> Result<Url, Problem> {
    base_url(text).ok_or_else(|| {
        Diagnostic::error(format!("{what}, `{text}`, is not an address"))
            .hint("it begins with `http://`, `https://` or `file://`")
            .into()
    })
}
