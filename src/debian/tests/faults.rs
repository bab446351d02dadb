//! A mirror that misbehaves, end to end: from the release file to packages in a folder.

mod common;

use std::time::Duration;

use imgbuild_debian::download::{DownloadError, DownloadEvent, DownloadOptions, FolderSink, fetch_packages};
use imgbuild_debian::fetch::{FetchError, Fetcher, Proxies, RetryPolicy};
use imgbuild_debian::index::{self, Index, IndexError, IndexRequest};
use imgbuild_debian::keyring::{Keyring, SignatureError};
use imgbuild_debian::lock::{LockedClosure, LockedPackage};
use imgbuild_debian::mirror::Mirrors;
use imgbuild_debian::release::{self, Release, ReleaseError, Validity};
use imgbuild_debian::solve::{Request, Universe, solve};
use imgbuild_debian::status::State;
use imgbuild_debian::test_archive::{Fault, TestArchive, TestPackage, TestServer};

fn fetcher() -> Fetcher {
    let policy = RetryPolicy {
        attempts: 3,
        first_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(5),
        connect_timeout: Duration::from_secs(2),
        stall_timeout: Duration::from_millis(300),
    };
    Fetcher::new(policy, &Proxies::default()).unwrap()
}

fn archive() -> TestArchive {
    let mut archive = TestArchive::ubuntu();
    archive.add(TestPackage::new("hello", "1.0-1").depends("libhello (>= 1)").file(
        "usr/bin/hello",
        &[7; 200_000],
        0o755,
    ));
    archive.add(TestPackage::new("libhello", "1.0-1").file("usr/lib/libhello.so", b"so", 0o644));
    archive
}

fn keyring(archive: &TestArchive) -> Keyring {
    Keyring::parse(&archive.keyring()).unwrap()
}

async fn release(server: &TestServer, archive: &TestArchive) -> Result<Release, ReleaseError> {
    let now = "2026-08-01T00:00:00Z".parse().unwrap();
    release::fetch(&fetcher(), &[server.url("ubuntu")], "noble", &keyring(archive), Validity::At(now)).await
}

fn wanted<'a>(component: &'a str, cache: Option<&'a std::path::Path>) -> IndexRequest<'a> {
    IndexRequest { suite: "noble", component, architecture: "amd64", archive: None, cache }
}

async fn read_index(server: &TestServer, release: &Release) -> Result<Index, IndexError> {
    index::fetch(&fetcher(), &[server.url("ubuntu")], release, wanted("main", None)).await
}

async fn locked(server: &TestServer, archive: &TestArchive) -> LockedClosure {
    let release = release(server, archive).await.unwrap();
    let index = read_index(server, &release).await.unwrap();
    let indexes = [index];
    let universe = Universe::new(&indexes, "amd64", &[]);
    let request = Request { install: vec!["hello".parse().unwrap()], ..Request::default() };
    LockedClosure::new(&solve(&universe, &State::empty(), &request).unwrap(), Some(release.date))
}

async fn download(
    packages: &[LockedPackage],
    mirrors: &Mirrors,
    closure: &LockedClosure,
) -> Result<usize, DownloadError> {
    let folder = tempfile::tempdir().unwrap();
    let sink = FolderSink::new(folder.path()).unwrap();
    let options = DownloadOptions { date: closure.date, ..DownloadOptions::default() };
    let paths = fetch_packages(&fetcher(), packages, mirrors, options, &sink, &|_| ()).await;
    let left = fs_err::read_dir(folder.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().unwrap() == "tmp");
    assert_eq!(left.count(), 0, "no half-written file stays");
    for (path, package) in paths.as_deref().unwrap_or_default().iter().zip(packages) {
        assert_eq!(imgbuild_debian::Sha256::of(&fs_err::read(path).unwrap()), package.sha256);
    }
    paths.map(|paths| paths.len())
}

fn packages(closure: &LockedClosure) -> Vec<LockedPackage> {
    closure.packages().cloned().collect()
}

#[tokio::test]
async fn survives_what_passes() {
    let archive = archive();
    let server = archive.serve();
    server.fail("InRelease", Fault::Status(503), 2);
    server.fail("by-hash", Fault::CutOff(10), 1);
    let closure = locked(&server, &archive).await;
    server.fail("hello_1.0-1", Fault::CutOff(50), 1);
    server.fail("libhello", Fault::Stall(Duration::from_millis(600)), 1);
    let mirrors = Mirrors::new(vec![server.url("ubuntu")]);
    assert_eq!(download(&packages(&closure), &mirrors, &closure).await.unwrap(), 2);
    let resumed =
        server.requests().iter().any(|request| request.contains("hello_1.0-1") && request.ends_with("[50-]"));
    assert!(resumed, "{:?}", server.requests());
}

#[tokio::test]
async fn starts_again_where_a_server_cannot_resume() {
    let archive = archive();
    let server = archive.serve();
    let closure = locked(&server, &archive).await;
    server.fail("/hello_", Fault::CutOff(50), 1);
    server.fail("/hello_", Fault::NoRanges, 1);
    let mirrors = Mirrors::new(vec![server.url("ubuntu")]);
    assert_eq!(download(&packages(&closure), &mirrors, &closure).await.unwrap(), 2);
}

#[tokio::test]
async fn gives_up_with_one_error() {
    let archive = archive();
    let server = archive.serve();
    server.fail("InRelease", Fault::Stall(Duration::from_secs(1)), 10);
    let error = release(&server, &archive).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("could not be fetched in 3 attempts: the server was silent for 0.3 s"), "{text}");
    assert!(error.hint().unwrap().contains("IMGBUILD_DEBIAN_MIRROR"));
    let url = server.url("ubuntu");
    drop(server);
    let error = fetcher().get(&url, 10).await.unwrap_err();
    assert!(matches!(error, FetchError::GaveUp { attempts: 3, .. }), "{error}");
}

#[tokio::test]
async fn refuses_what_is_not_signed_by_the_keyring() {
    let archive = archive();
    let server = archive.serve();
    let other = TestArchive::ubuntu();
    let error = release(&server, &other).await.unwrap_err();
    assert!(
        matches!(&error, ReleaseError::Signature { source: SignatureError::UnknownKey { keys }, .. } if keys[0].len() == 40),
        "{error}"
    );

    let path = "ubuntu/dists/noble/InRelease";
    let good = String::from_utf8(server.take(path).unwrap()).unwrap();
    server.put(path, good.replace("Codename: noble", "Codename: nobel").into_bytes());
    let error = release(&server, &archive).await.unwrap_err();
    assert!(error.to_string().contains("does not match the text"), "{error}");

    server.put(path, format!("Injected: yes\n{good}").into_bytes());
    assert!(matches!(release(&server, &archive).await, Err(ReleaseError::Signature { .. })));
    server.put(path, format!("{good}\nInjected: yes\n").into_bytes());
    assert!(matches!(release(&server, &archive).await, Err(ReleaseError::Signature { .. })));
    server.put(path, b"Origin: Ubuntu\n".to_vec());
    assert!(matches!(release(&server, &archive).await, Err(ReleaseError::Signature { .. })));
}

#[tokio::test]
async fn one_good_signature_of_several_is_enough() {
    let archive = archive();
    let other = TestArchive::ubuntu();
    let mut both = other.keyring();
    both.extend(archive.keyring());
    let keyring = Keyring::parse(&both).unwrap();
    assert_eq!(keyring.len(), 2);
    assert!(keyring.verify_cleartext(&archive.sign("- text\n-----with dashes\n"), None).is_ok());
}

#[tokio::test]
async fn refuses_a_stale_or_foreign_release() {
    let mut archive = archive();
    archive.valid_until = Some("2026-07-20T00:00:00Z".parse().unwrap());
    let server = archive.serve();
    let error = release(&server, &archive).await.unwrap_err();
    assert!(error.to_string().contains("expired at 2026-07-20T00:00:00Z"), "{error}");

    archive.valid_until = None;
    let mut files = archive.files();
    let foreign = {
        let mut other = TestArchive::new("ubuntu", "Ubuntu", "jammy", "jammy");
        std::mem::swap(&mut other.codename, &mut archive.codename);
        std::mem::swap(&mut other.suite, &mut archive.suite);
        let path = "ubuntu/dists/jammy/InRelease".to_owned();
        archive.files().remove(&path).unwrap()
    };
    files.insert("ubuntu/dists/noble/InRelease".to_owned(), foreign);
    server.publish(files);
    let error = release(&server, &archive).await.unwrap_err();
    assert!(matches!(error, ReleaseError::OtherSuite { .. }), "{error}");
}

#[tokio::test]
async fn refuses_an_index_that_is_not_the_signed_one() {
    let archive = archive();
    let server = archive.serve();
    let release = release(&server, &archive).await.unwrap();
    server.fail("Packages", Fault::Corrupt, 9);
    server.fail("by-hash", Fault::Corrupt, 9);
    assert!(matches!(read_index(&server, &release).await, Err(IndexError::Digest { .. })));
    let unknown = index::fetch(&fetcher(), &[server.url("ubuntu")], &release, wanted("universe", None)).await;
    let error = unknown.unwrap_err();
    assert_eq!(error.to_string(), "suite `noble` has no component `universe` for architecture `amd64`");
    assert_eq!(error.hint().unwrap(), "it has components main, architectures amd64");
}

#[tokio::test]
async fn an_index_comes_from_the_cache_the_second_time() {
    let archive = archive();
    let server = archive.serve();
    let release = release(&server, &archive).await.unwrap();
    let cache = tempfile::tempdir().unwrap();
    let mirrors = [server.url("ubuntu")];
    for _ in 0..2 {
        let index = index::fetch(&fetcher(), &mirrors, &release, wanted("main", Some(cache.path()))).await;
        assert_eq!(index.unwrap().len(), 2);
    }
    assert_eq!(server.requests().iter().filter(|request| request.contains("by-hash")).count(), 1);
}

#[tokio::test]
async fn a_wrong_package_is_refused_and_another_mirror_is_asked() {
    let archive = archive();
    let (bad, good) = (archive.serve(), archive.serve());
    let closure = locked(&good, &archive).await;
    bad.fail("/hello_", Fault::Corrupt, 9);
    let only_bad = Mirrors::new(vec![bad.url("ubuntu")]);
    let error = download(&packages(&closure), &only_bad, &closure).await.unwrap_err();
    assert!(error.to_string().contains("its SHA-256 is"), "{error}");
    assert!(error.hint().unwrap().contains("imgbuild update"));
    let both = Mirrors::new(vec![bad.url("ubuntu"), good.url("ubuntu")]);
    assert_eq!(download(&packages(&closure), &both, &closure).await.unwrap(), 2);
}

#[tokio::test]
async fn a_dropped_version_comes_from_the_snapshot_service_or_names_update() {
    let mut archive = archive();
    let server = archive.serve();
    let closure = locked(&server, &archive).await;
    let old = archive.files();
    archive.remove("hello").add(TestPackage::new("hello", "1.0-2"));
    server.publish(archive.files());
    let mirrors = Mirrors { archive: "ubuntu".to_owned(), ..Mirrors::new(vec![server.url("ubuntu")]) };
    let error = download(&packages(&closure), &mirrors, &closure).await.unwrap_err();
    assert!(
        matches!(&error, DownloadError::Vanished { package, .. } if package == "hello_1.0-1_amd64"),
        "{error}"
    );
    assert_eq!(error.hint(), Some("run `imgbuild update` to lock the version that the archive has now"));

    let path = "ubuntu/pool/main/h/hello/hello_1.0-1_amd64.deb";
    let stamp = "archive/ubuntu/20260711T221637Z/pool/main/h/hello/hello_1.0-1_amd64.deb";
    let snapshot = TestServer::start([(stamp.to_owned(), old[path].clone())].into());
    let mirrors = mirrors.with_snapshot(Some(snapshot.url("")));
    assert_eq!(download(&packages(&closure), &mirrors, &closure).await.unwrap(), 2);
    assert_eq!(snapshot.requests().len(), 2, "the import of the day first, then the next");
}

#[tokio::test]
async fn what_the_store_has_is_not_fetched() {
    let archive = archive();
    let server = archive.serve();
    let closure = locked(&server, &archive).await;
    let folder = tempfile::tempdir().unwrap();
    let sink = FolderSink::new(folder.path()).unwrap();
    let mirrors = Mirrors::new(vec![server.url("ubuntu")]);
    let packages = packages(&closure);
    for round in 0..2 {
        let cached = std::sync::atomic::AtomicUsize::new(0);
        let count = |event: DownloadEvent<'_>| {
            if matches!(event, DownloadEvent::Cached(_)) {
                cached.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        };
        fetch_packages(&fetcher(), &packages, &mirrors, DownloadOptions::default(), &sink, &count)
            .await
            .unwrap();
        assert_eq!(cached.into_inner(), round * 2);
    }
}
