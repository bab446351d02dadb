//! Package indexes as pins, and the way back from a pin to its packages, wherever they still are.

use std::collections::{BTreeSet, HashMap};

use imgbuild_debian::Sha256;
use imgbuild_debian::index::IndexError;
use imgbuild_debian::mirror::Mirrors;
use imgbuild_debian::release::{Release, ReleaseFile};
use imgbuild_model::Diagnostic;
use imgbuild_plan::{IndexPin, IndexRequest, LockFile, PackageArchive};
use jiff::Timestamp;
use reqwest::Url;

use super::archive::{Archive, Suite, SuiteIndexes, SuiteRequest};
use super::errors::{Problem, diagnostic};
use crate::base::packages::of_image;

/// The forms that an index has, the smallest first.
const FORMS: [&str; 3] = ["Packages.xz", "Packages.gz", "Packages"];

/// Answers requests for indexes.
pub(super) async fn resolve(
    archive: &Archive,
    requests: &BTreeSet<&IndexRequest>,
    lock: &LockFile,
) -> Vec<Result<IndexPin, Problem>> {
    let answers = requests.iter().map(|request| pin(archive, request, lock));
    futures::future::join_all(answers).await.into_iter().filter_map(Result::transpose).collect()
}

/// The answer to one; `None` if it stands on an image that could not be looked up, which was said then.
async fn pin(
    archive: &Archive,
    request: &IndexRequest,
    lock: &LockFile,
) -> Result<Option<IndexPin>, Problem> {
    let of_image = match request.image() {
        None => None,
        Some(image) => match lock.image(&image) {
            Some(pin) => Some(of_image(archive.config(), pin).await?.archive),
            None => return Ok(None),
        },
    };
    let PackageArchive { distribution, suite, components, security } =
        of_image.clone().unwrap_or_else(|| request.archive());
    let architecture = request.platform.architecture.debian_name();
    let wanted = SuiteRequest {
        distribution: distribution.clone(),
        suite: suite.clone(),
        components: components.clone(),
        security,
        native: architecture.to_owned(),
        foreign: BTreeSet::new(),
    };
    let releases = archive.releases(&wanted).await?;
    let mut files = Vec::new();
    for (suite, release) in &releases {
        for component in &components {
            let listed = FORMS.iter().find_map(|form| {
                let path = format!("{component}/binary-{architecture}/{form}");
                release.files.get(&path).map(|file| (path, *file))
            });
            let Some((path, ReleaseFile { sha256, size })) = listed else {
                return Err(diagnostic(&distribution, not_listed(suite, release, component, architecture)));
            };
            let mut line = format!("{} {path} {sha256} {size}", suite.name);
            if let Some(archive) = &suite.archive {
                line.push_str(&format!(" archive={archive}"));
            }
            files.push(line);
        }
    }
    let codename = releases.first().and_then(|(_, release)| release.codename.clone());
    let date = releases.iter().map(|(_, release)| release.date.as_second()).max().unwrap_or_default();
    Ok(Some(IndexPin {
        request: request.clone(),
        codename: codename.unwrap_or(suite),
        date,
        archive: of_image,
        files,
    }))
}

fn not_listed(suite: &Suite, release: &Release, component: &str, architecture: &str) -> IndexError {
    IndexError::NotListed {
        suite: suite.name.clone(),
        component: component.to_owned(),
        architecture: architecture.to_owned(),
        known: vec![
            format!("components {}", release.components.join(" ")),
            format!("architectures {}", release.architectures.join(" ")),
        ],
    }
}

/// One line of an [`IndexPin`].
struct Line {
    suite: Suite,
    component: String,
    architecture: String,
    path: String,
    file: ReleaseFile,
}

fn parse_line(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let name = words.next()?.to_owned();
    let path = words.next()?.to_owned();
    let sha256: Sha256 = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let archive = words.next().map(|word| word.strip_prefix("archive=").map(str::to_owned));
    let archive = match archive {
        None => None,
        Some(Some(archive)) if words.next().is_none() => Some(archive),
        Some(_) => return None,
    };
    let (component, rest) = path.rsplit_once("/binary-")?;
    let (architecture, form) = rest.split_once('/')?;
    if !FORMS.contains(&form) {
        return None;
    }
    Some(Line {
        suite: Suite { name, archive },
        component: component.to_owned(),
        architecture: architecture.to_owned(),
        file: ReleaseFile { sha256, size },
        path,
    })
}

/// The packages of pinned indexes: from a mirror while it has them, else from the snapshot service.
pub(crate) async fn pinned_indexes(archive: &Archive, pin: &IndexPin) -> Result<SuiteIndexes, Problem> {
    let date = Timestamp::from_second(pin.date).unwrap_or(Timestamp::UNIX_EPOCH);
    let PackageArchive { distribution, suite, .. } = &pin.archive();
    let mirrors = &archive.mirrors(distribution, suite)?;
    let work = pin.files.iter().map(|text| async move {
        let line = parse_line(text).ok_or_else(|| {
            Diagnostic::error(format!("`imgbuild.lock`: `{text}` is not a locked index"))
                .hint("restore the file from version control, or run `imgbuild update`")
        })?;
        let places = places(mirrors, &line.suite, date);
        let release = release_of(&line, date);
        archive
            .index(distribution, &places, &release, &line.suite, &line.component, &line.architecture)
            .await
            .map_err(|problem| problem.hint("the index is too old for the mirror: run `imgbuild update`"))
    });
    let indexes = futures::future::try_join_all(work).await?;
    Ok(SuiteIndexes { codename: pin.codename.clone(), date, indexes })
}

/// The mirrors, then the archive as it was at the time, each as the base of a mirror.
fn places(mirrors: &Mirrors, suite: &Suite, date: Timestamp) -> Vec<Url> {
    let archive = suite.archive.as_deref();
    let mut places = mirrors.of(archive).to_vec();
    places.extend(mirrors.snapshots(archive, date, ""));
    places
}

/// A release file that lists one index: its digest was verified when it was pinned, the signature is not needed again.
fn release_of(line: &Line, date: Timestamp) -> Release {
    Release {
        suite: Some(line.suite.name.clone()),
        codename: None,
        version: None,
        origin: None,
        date,
        valid_until: None,
        acquire_by_hash: true,
        architectures: vec![line.architecture.clone()],
        components: vec![line.component.clone()],
        files: HashMap::from([(line.path.clone(), line.file)]),
        signer: String::new(),
        digest: line.file.sha256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let line = parse_line(&format!(
            "bookworm-security main/binary-amd64/Packages.xz {sha256} 12 archive=debian-security"
        ))
        .unwrap();
        assert_eq!(line.suite.archive.as_deref(), Some("debian-security"));
        assert_eq!((line.component.as_str(), line.architecture.as_str()), ("main", "amd64"));
        assert_eq!((line.file.sha256.to_string().as_str(), line.file.size), (sha256, 12));
        // A component may have a slash in it.
        let line = parse_line(&format!("bookworm updates/main/binary-arm64/Packages.gz {sha256} 1")).unwrap();
        assert_eq!(line.component, "updates/main");
        for bad in ["", "a", "bookworm main/source/Sources.xz 00 1"] {
            assert!(parse_line(bad).is_none(), "{bad}");
        }
        assert!(parse_line(&format!("b main/binary-amd64/Packages.xz {sha256} 1 mirror=x")).is_none());
    }

    #[test]
    fn old_indexes_are_looked_for_at_the_snapshot_service() {
        let mirrors = Mirrors::debian();
        let suite = Suite { name: "bookworm".to_owned(), archive: None };
        let places = places(&mirrors, &suite, "2026-07-11T10:16:37Z".parse().unwrap());
        assert_eq!(places.len(), 4);
        assert_eq!(places[1].as_str(), "http://snapshot.debian.org/archive/debian/20260711T101637Z/");
    }
}
