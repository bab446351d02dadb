//! Which Debian packages an image of a registry has, and which archive they are of: read from its layers before anything
//! is built, so that what is installed on top can be locked.
//!
//! Of the image's own apt configuration only the names of suites and components count; the mirror and the keyring are
//! those of whoever builds.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_cache::Run;
use imgbuild_debian::sources::AptSources;
use imgbuild_debian::status::State;
use imgbuild_engine::ActionError;
use imgbuild_formats::oci_read::{Layout, Selector};
use imgbuild_formats::peek::read_files;
use imgbuild_model::Diagnostic;
use imgbuild_plan::{ImagePin, PackageArchive};

use super::pull::Pull;
use super::transfer::Repository;
use super::{find, pulled};
use crate::resolve::{ArchiveConfig, Problem};

/// dpkg's database of what is installed.
const STATUS: &str = "var/lib/dpkg/status";
/// What system it is; the first that is there, links are not followed.
const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// apt's sources.
const SOURCES_LIST: &str = "etc/apt/sources.list";
const SOURCES_FOLDER: &str = "etc/apt/sources.list.d/";

/// Suites that stand beside a release's main one.
const BESIDE: [&str; 5] = ["-security", "-updates", "-proposed-updates", "-proposed", "-backports"];

/// The packages of an image.
pub(crate) struct ImagePackages {
    /// What is installed.
    pub(crate) state: State,
    /// Where more of them are found.
    pub(crate) archive: PackageArchive,
}

/// Reads the packages of the image that a pin names. Its blobs stay in the cache, for the build.
pub(crate) async fn of_image(config: &ArchiveConfig, pin: &ImagePin) -> Result<ImagePackages, Problem> {
    let files = files(config, pin).await.map_err(|error| match error {
        ActionError::Other(diagnostic) => Problem(diagnostic),
        other => Diagnostic::error(other.to_string()).into(),
    })?;
    let image = &pin.request.image;
    let status = files.get(STATUS).ok_or_else(|| {
        Diagnostic::error(format!(
            "`{image}` has no `/{STATUS}`, so no Debian packages can be installed on it"
        ))
        .hint("start from an image of Debian or Ubuntu, or from `debian(…)`")
    })?;
    let damaged =
        |problem: String| Diagnostic::error(format!("`{image}`: `/{STATUS}` is damaged: {problem}"));
    let text = std::str::from_utf8(status).map_err(|error| damaged(error.to_string()))?;
    let state = State::parse(text).map_err(|error| damaged(error.to_string()))?;
    Ok(ImagePackages { state, archive: archive(image, &files)? })
}

async fn files(config: &ArchiveConfig, pin: &ImagePin) -> Result<BTreeMap<String, Vec<u8>>, ActionError> {
    let (image, platform) = (&pin.request.image, pin.request.platform);
    let run = Arc::new(Run::begin(&config.cache)?);
    let folder = run.temporary().join("layout");
    let repository = Repository::new(config, image, platform, &config.cache, &run)?;
    let pull = Pull::new(&repository, &config.cache, &folder)?;
    pull.documents(&pin.digest, platform).await?;
    let layout = Layout::open(&folder).map_err(|error| pulled(image, &error))?;
    let found =
        find(&layout, Selector::Digest(&pin.digest), platform).map_err(|error| pulled(image, &error))?;
    pull.layers(&found.layers, &|_, _| {}).await?;
    let wanted = |path: &str| {
        path == STATUS
            || path == SOURCES_LIST
            || OS_RELEASE.contains(&path)
            || path.starts_with(SOURCES_FOLDER)
    };
    let image = image.clone();
    let read = tokio::task::spawn_blocking(move || {
        read_files(&layout, &found, &wanted).map_err(|error| pulled(&image, &error))
    });
    read.await.map_err(|error| ActionError::environment(error.to_string()))?
}

/// The archive that an image's packages are of.
fn archive(image: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<PackageArchive, Problem> {
    let text = |path: &str| files.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let release = OS_RELEASE.iter().find_map(|path| text(path)).unwrap_or_default();
    let fact = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    let distribution = match fact("ID").as_deref() {
        Some(known @ ("debian" | "ubuntu")) => known.to_owned(),
        Some(other) => {
            return Err(Diagnostic::error(format!(
                "`{image}` is a system of `{other}`, whose archive is not known"
            ))
            .hint("packages are installed on images of Debian and Ubuntu")
            .into());
        }
        None => {
            return Err(Diagnostic::error(format!(
                "`{image}` does not say in `/etc/os-release` which system it is"
            ))
            .hint("packages are installed on images of Debian and Ubuntu")
            .into());
        }
    };
    let sources = sources(files);
    let suites = || sources.entries.iter().flat_map(|entry| &entry.suites);
    let is_main = |suite: &str| !suite.contains('/') && !BESIDE.iter().any(|end| suite.ends_with(end));
    let configured = suites().find(|suite| is_main(suite)).cloned();
    let Some(suite) = configured.or_else(|| fact("VERSION_CODENAME")) else {
        return Err(Diagnostic::error(format!("`{image}` does not say which suite of {distribution} it is"))
            .hint("it has neither sources of apt nor `VERSION_CODENAME` in `/etc/os-release`")
            .into());
    };
    let of_suite = sources.entries.iter().filter(|entry| entry.suites.contains(&suite));
    let mut components: Vec<String> = of_suite.flat_map(|entry| entry.components.clone()).collect();
    components.sort();
    components.dedup();
    if components.is_empty() {
        components.push("main".to_owned());
    }
    let security = suites().any(|found| *found == format!("{suite}-security"));
    Ok(PackageArchive { distribution, suite, components, security })
}

/// The sources of an image's apt. What it would not understand is passed over, as the image's owner never saw it used.
fn sources(files: &BTreeMap<String, Vec<u8>>) -> AptSources {
    let mut sources = AptSources::default();
    for (path, bytes) in files {
        let text = String::from_utf8_lossy(bytes);
        if path == SOURCES_LIST || (path.starts_with(SOURCES_FOLDER) && path.ends_with(".list")) {
            sources.add_list(&text);
        } else if path.starts_with(SOURCES_FOLDER)
            && path.ends_with(".sources")
            && let Err(problem) = sources.add_deb822(&text)
        {
            tracing::debug!(path, %problem, "sources that cannot be read");
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Result<String, String> {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        match archive("app:1", &files) {
            Ok(PackageArchive { distribution, suite, components, security }) => Ok(format!(
                "{distribution} {suite} {}{}",
                components.join(","),
                if security { " +security" } else { "" }
            )),
            Err(Problem(problem)) => Err(problem.to_string()),
        }
    }

    #[test]
    fn the_archive_is_told_by_the_image() {
        let debian = ("usr/lib/os-release", "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=bookworm\n");
        assert_eq!(found(&[debian]).unwrap(), "debian bookworm main");
        let sources = "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: stable stable-updates\nComponents: main contrib\n\n\
                       Types: deb\nURIs: http://deb.debian.org/debian-security\nSuites: stable-security\nComponents: main\n";
        assert_eq!(
            found(&[debian, ("etc/apt/sources.list.d/debian.sources", sources)]).unwrap(),
            "debian stable contrib,main +security"
        );
        let list = "# no\ndeb http://archive.ubuntu.com/ubuntu noble-updates main\ndeb http://archive.ubuntu.com/ubuntu noble main universe\n";
        assert_eq!(
            found(&[("etc/os-release", "ID='ubuntu'\n"), ("etc/apt/sources.list", list)]).unwrap(),
            "ubuntu noble main,universe"
        );
    }

    #[test]
    fn what_an_image_does_not_tell_is_said() {
        for (files, message) in [
            (
                &[("etc/os-release", "ID=alpine\n")][..],
                "`app:1` is a system of `alpine`, whose archive is not known",
            ),
            (&[("etc/os-release", "NAME=x\n")], "does not say in `/etc/os-release` which system it is"),
            (&[], "does not say in `/etc/os-release` which system it is"),
            (&[("etc/os-release", "ID=debian\n")], "does not say which suite of debian it is"),
        ] {
            let problem = found(files).unwrap_err();
            assert!(problem.contains(message), "{problem}");
        }
    }
}
