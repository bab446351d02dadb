//! The resolver against a small signed archive on this machine.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use imgbuild_debian::Sha256;
use imgbuild_debian::sources::AptSources;
use imgbuild_debian::test_archive::{TestArchive, TestPackage, TestServer};
use imgbuild_model::{Class, Event};
use imgbuild_plan::DebianPin;

use super::*;

/// 2026-08-01, three weeks after the archive's own date.
const NOW: i64 = 1_785_542_400;
/// How the snapshot service writes the archive's date.
const SNAPSHOT: &str = "archive/debian/20260711T101637Z";

struct Bench {
    folder: tempfile::TempDir,
    archive: TestArchive,
    server: TestServer,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new() -> Self {
        let mut archive = TestArchive::debian();
        archive.add(TestPackage::new("base", "1").essential().file("usr/bin/sh", b"#!", 0o755));
        archive.add(library("1.0"));
        archive.add(hello("1.0"));
        archive.add(TestPackage::new("tool", "3").depends("greeter"));
        Self::of(archive)
    }

    fn of(archive: TestArchive) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("keyring.gpg"), archive.keyring()).unwrap();
        fs_err::create_dir(folder.path().join("apt")).unwrap();
        let server = archive.serve();
        Self { folder, archive, server, warnings: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> ArchiveConfig {
        let warnings = self.warnings.clone();
        let events = move |event: Event| {
            if let Event::Warning { message } = event {
                warnings.lock().unwrap().push(message);
            }
        };
        let cache = Cache::open(self.path("cache")).unwrap();
        ArchiveConfig {
            debian: vec![self.server.url("debian").to_string()],
            snapshot: Some(self.server.url("").to_string()),
            debian_keyring: Some(self.path("keyring.gpg")),
            etc_apt: self.path("apt"),
            retry: RetryPolicy {
                attempts: 2,
                first_delay: Duration::from_millis(1),
                max_delay: Duration::from_millis(5),
                connect_timeout: Duration::from_secs(2),
                stall_timeout: Duration::from_secs(2),
            },
            ..ArchiveConfig::new(cache, NOW, Arc::new(events))
        }
    }

    async fn resolve(&self, requests: &[PinRequest], lock: &LockFile) -> Result<LockFile, Diagnostics> {
        Resolver::new(Arc::new(self.config())).resolve(requests, lock).await
    }

    /// The error that a changed configuration leads to.
    async fn failure(&self, change: impl FnOnce(&mut ArchiveConfig), request: DebianRequest) -> Diagnostic {
        let mut config = self.config();
        change(&mut config);
        let requests = [PinRequest::Debian(request)];
        let problems =
            Resolver::new(Arc::new(config)).resolve(&requests, &LockFile::default()).await.unwrap_err();
        let [problem] = problems.0.as_slice() else { panic!("{problems}") };
        problem.clone()
    }

    fn requested(&self, part: &str) -> usize {
        self.server.requests().iter().filter(|path| path.contains(part)).count()
    }
}

fn library(version: &str) -> TestPackage {
    TestPackage::new("libhello", version).field("Multi-Arch", "same").field("Source", "hello (1.0-1)")
}

fn hello(version: &str) -> TestPackage {
    TestPackage::new("hello", version).depends("libhello (>= 1)").field("Provides", "greeter")
}

fn request(installs: &[&[&str]]) -> DebianRequest {
    let base = DebianRequest {
        distribution: "debian".to_owned(),
        suite: "bookworm".to_owned(),
        components: vec!["main".to_owned()],
        variant: "minbase".to_owned(),
        packages: vec![],
        security: false,
        platform: "linux/amd64".parse().unwrap(),
        installs: vec![],
    };
    installs
        .iter()
        .fold(base, |request, list| request.with_install(list.iter().map(|name| (*name).to_owned())))
}

fn pins(installs: &[&[&str]]) -> [PinRequest; 1] {
    [PinRequest::Debian(request(installs))]
}

/// The packages of a pin, as `name version`.
fn packages(lock: &LockFile, installs: &[&[&str]]) -> Vec<String> {
    let pin = lock.debian(&request(installs)).expect("it is locked");
    pin.add.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn a_chain_is_locked_with_a_line_for_each_package() {
    let bench = Bench::new();
    let requests = [pins(&[&["hello"]]), [PinRequest::Epoch("//a:b linux/amd64".to_owned())]].concat();
    let lock = bench.resolve(&requests, &LockFile::default()).await.unwrap();
    let line = |package: TestPackage, end: &str| {
        let deb = package.build();
        let (name, version, path) = (&package.name, &package.version, package.pool_path());
        format!("{name} {version} amd64 {} {} {path}{end}", Sha256::of(&deb), deb.len())
    };
    let base = line(TestPackage::new("base", "1").essential().file("usr/bin/sh", b"#!", 0o755), "");
    let libhello = line(library("1.0"), " source=hello=1.0-1");
    let hello = line(hello("1.0"), "");
    let head = r#""distribution": "debian",
      "suite": "bookworm",
      "components": [
        "main"
      ],
      "variant": "minbase",
      "packages": [],
      "security": false,
      "platform": "linux/amd64","#;
    let mut installed = [libhello, hello];
    // Within a batch the order is the resolver's own; it is the same in each run.
    if lock.debian(&request(&[&["hello"]])).unwrap().add[0].starts_with("hello ") {
        installed.swap(0, 1);
    }
    let [first, second] = installed;
    let expected = format!(
        r#"{{
  "version": 1,
  "epochs": {{
    "//a:b linux/amd64": "2026-08-01T00:00:00Z"
  }},
  "debian": [
    {{
      {head}
      "installs": [],
      "codename": "bookworm",
      "date": 1783764997,
      "add": [
        "{base}"
      ]
    }},
    {{
      {head}
      "installs": [
        [
          "hello"
        ]
      ],
      "codename": "bookworm",
      "date": 1783764997,
      "add": [
        "{first}",
        "{second}"
      ]
    }}
  ]
}}
"#
    );
    assert_eq!(lock.to_text(), expected);
    let again = bench.resolve(&requests, &LockFile::default()).await.unwrap();
    assert_eq!(again.to_text(), expected);
}

#[tokio::test]
async fn an_update_without_news_changes_nothing() {
    let mut bench = Bench::new();
    let requests = pins(&[&["hello"]]);
    let old = bench.resolve(&requests, &LockFile::default()).await.unwrap();

    bench.archive.date = "2026-07-20T00:00:00Z".parse().unwrap();
    bench.server.publish(bench.archive.files());
    let mut new = bench.resolve(&requests, &LockFile::default()).await.unwrap();
    assert_ne!(new, old, "the archive has a new date");
    keep_unchanged(&old, &mut new);
    assert_eq!(new.to_text(), old.to_text());

    bench.archive.add(hello("1.1"));
    bench.server.publish(bench.archive.files());
    let mut new = bench.resolve(&requests, &LockFile::default()).await.unwrap();
    keep_unchanged(&old, &mut new);
    assert_eq!(new.debian(&request(&[])), old.debian(&request(&[])));
    assert!(packages(&new, &[&["hello"]]).contains(&"hello 1.1".to_owned()));
    assert_eq!(new.debian(&request(&[&["hello"]])).unwrap().date, bench.archive.date.as_second());
}

#[tokio::test]
async fn what_is_locked_is_not_moved_and_its_packages_count() {
    let mut bench = Bench::new();
    let old = bench.resolve(&pins(&[&["hello"]]), &LockFile::default()).await.unwrap();

    // The archive drops both versions; the snapshot service still has them.
    let pool = bench.archive.files();
    for package in [hello("1.0"), library("1.0")] {
        let path = package.pool_path();
        bench.server.put(&format!("{SNAPSHOT}/{path}"), pool[&format!("debian/{path}")].clone());
    }
    let snapshots: Vec<String> = [hello("1.0"), library("1.0")]
        .iter()
        .map(|package| format!("{SNAPSHOT}/{}", package.pool_path()))
        .collect();
    bench.archive.remove("hello").remove("libhello").add(library("2.0"));
    bench.archive.add(TestPackage::new("other-greeter", "1").field("Provides", "greeter"));
    let mut files = bench.archive.files();
    for path in snapshots {
        files.insert(path.clone(), bench.server.take(&path).unwrap());
    }
    bench.server.publish(files);

    // `tool` needs `greeter`, which the locked `hello` provides: only its own control data says so now.
    let new = bench.resolve(&pins(&[&["hello"], &["tool"]]), &old).await.unwrap();
    assert_eq!(new.debian(&request(&[&["hello"]])), old.debian(&request(&[&["hello"]])));
    assert_eq!(packages(&new, &[&["hello"], &["tool"]]), ["tool 3"]);
    assert!(bench.requested(SNAPSHOT) >= 2, "{:?}", bench.server.requests());

    // The files are in the cache now.
    let before = bench.requested(SNAPSHOT);
    let again = bench.resolve(&pins(&[&["hello"], &["tool"]]), &old).await.unwrap();
    assert_eq!(again, new);
    assert_eq!(bench.requested(SNAPSHOT), before);
}

#[tokio::test]
async fn a_locked_version_that_is_nowhere_is_an_error_that_says_what_to_do() {
    let mut bench = Bench::new();
    let old = bench.resolve(&pins(&[&["hello"]]), &LockFile::default()).await.unwrap();
    bench.archive.remove("hello").add(hello("1.1"));
    bench.server.publish(bench.archive.files());
    let problems = bench.resolve(&pins(&[&["hello"], &["tool"]]), &old).await.unwrap_err();
    let text = problems.to_string();
    assert!(text.contains("`hello_1.0_amd64` has vanished"), "{text}");
    assert!(text.contains("imgbuild update"), "{text}");
    assert_eq!(problems.class(), Class::Input);
}

#[tokio::test]
async fn what_stands_on_a_new_pin_is_made_anew() {
    let mut bench = Bench::new();
    let old = bench.resolve(&pins(&[&["hello"]]), &LockFile::default()).await.unwrap();
    bench.archive.add(hello("1.1"));
    bench.server.publish(bench.archive.files());
    // Only the source's pin was dropped and is asked for.
    let mut kept = LockFile::default();
    kept.set_debian(old.debian(&request(&[&["hello"]])).unwrap().clone());
    let new = bench.resolve(&pins(&[]), &kept).await.unwrap();
    assert!(packages(&new, &[&["hello"]]).contains(&"hello 1.1".to_owned()));
}

#[tokio::test]
async fn each_file_of_the_archive_is_fetched_once() {
    let mut archive = TestArchive::debian();
    archive.architectures.push("arm64".to_owned());
    for architecture in ["amd64", "arm64"] {
        archive.add(TestPackage::new("base", "1").essential().architecture(architecture));
        archive.add(TestPackage::new("hello", "1").architecture(architecture));
    }
    let bench = Bench::of(archive);
    let arm = |request: DebianRequest| DebianRequest { platform: "linux/arm64".parse().unwrap(), ..request };
    let requests = [
        request(&[&["hello"]]),
        request(&[]),
        DebianRequest { variant: "essential".to_owned(), ..request(&[]) },
        arm(request(&[&["hello"]])),
    ]
    .map(PinRequest::Debian);
    let lock = bench.resolve(&requests, &LockFile::default()).await.unwrap();
    assert_eq!(lock.debian_pins().count(), 5);
    assert!(lock.debian(&arm(request(&[&["hello"]]))).unwrap().add[0].starts_with("hello 1 arm64 "));
    assert_eq!(bench.requested("InRelease"), 1, "{:?}", bench.server.requests());
    assert_eq!(bench.requested("by-hash"), 2, "{:?}", bench.server.requests());
}

#[tokio::test]
async fn packages_of_another_architecture_are_found_in_its_index() {
    let mut archive = TestArchive::debian();
    archive.architectures.push("i386".to_owned());
    archive.add(TestPackage::new("base", "1").essential());
    archive.add(TestPackage::new("hello", "1").architecture("i386"));
    let bench = Bench::of(archive);
    let lock = bench.resolve(&pins(&[&["hello:i386"]]), &LockFile::default()).await.unwrap();
    assert!(lock.debian(&request(&[&["hello:i386"]])).unwrap().add[0].starts_with("hello 1 i386 "));
    let problem = bench.failure(|_| {}, request(&[&["hello"]])).await;
    assert!(problem.message.contains("there is no package `hello`"), "{problem}");
}

#[tokio::test]
async fn a_name_that_is_not_there_is_an_error_with_a_suggestion() {
    let bench = Bench::new();
    let problem = bench.failure(|_| {}, request(&[&["helo"]])).await;
    assert_eq!(problem.message, "debian bookworm (linux/amd64) + helo: there is no package `helo`");
    assert_eq!(problem.hint.as_deref(), Some("did you mean `hello`?"));
    assert_eq!(problem.class, Class::Input);
    let problem = bench.failure(|_| {}, request(&[&["Hello"]])).await;
    assert!(problem.message.contains("`Hello` is not a package"), "{problem}");
    // All that is wrong is said at once, and each thing once.
    let requests = [pins(&[&["helo"]]), pins(&[&["tol"]]), pins(&[&["helo"], &["tool"]])].concat();
    let problems = bench.resolve(&requests, &LockFile::default()).await.unwrap_err();
    assert_eq!(problems.0.len(), 2, "{problems}");
}

#[tokio::test]
async fn only_what_the_keyring_signs_is_believed() {
    let bench = Bench::new();
    fs_err::write(bench.path("keyring.gpg"), TestArchive::debian().keyring()).unwrap();
    let problem = bench.failure(|_| {}, request(&[])).await;
    assert!(
        problem.message.contains("is not trusted: signed by keys that the keyring does not hold"),
        "{problem}"
    );
    assert!(problem.hint.as_deref().is_some_and(|hint| hint.contains("keyring")), "{problem}");
    assert_eq!(problem.class, Class::Remote);

    fs_err::remove_file(bench.path("keyring.gpg")).unwrap();
    let problem = bench.failure(|_| {}, request(&[])).await;
    assert!(problem.message.ends_with("keyring.gpg`, is not there"), "{problem}");
    let hint = problem.hint.unwrap();
    assert!(hint.contains("`debian-archive-keyring`") && hint.contains("`keyrings.debian`"), "{hint}");
    assert_eq!(problem.class, Class::Environment);
}

#[tokio::test]
async fn tampering_is_seen() {
    let bench = Bench::new();
    let path = "debian/dists/bookworm/InRelease";
    let text = String::from_utf8(bench.server.take(path).unwrap()).unwrap();
    bench.server.put(path, text.replace("Label: Debian", "Label: Nobody").into_bytes());
    let problem = bench.failure(|_| {}, request(&[])).await;
    assert!(problem.message.contains("is not trusted: no good signature"), "{problem}");
    assert_eq!(problem.class, Class::Remote);
}

#[tokio::test]
async fn time_is_checked() {
    let mut bench = Bench::new();
    bench.archive.valid_until = Some("2026-07-30T00:00:00Z".parse().unwrap());
    bench.server.publish(bench.archive.files());
    let problem = bench.failure(|_| {}, request(&[])).await;
    assert!(problem.message.contains("expired at 2026-07-30T00:00:00Z"), "{problem}");
    assert_eq!(problem.class, Class::Remote);

    bench.archive.valid_until = None;
    bench.archive.date = "2026-08-03T00:00:00Z".parse().unwrap();
    bench.server.publish(bench.archive.files());
    let problem = bench.failure(|_| {}, request(&[])).await;
    assert!(problem.message.contains("this machine's clock says 2026-08-01T00:00:00Z"), "{problem}");
    assert_eq!((problem.class, problem.hint.as_deref()), (Class::Environment, Some("set the clock")));
}

#[tokio::test]
async fn a_suite_or_component_that_is_not_there_is_the_users() {
    let bench = Bench::new();
    let problem = bench.failure(|_| {}, DebianRequest { suite: "bokworm".to_owned(), ..request(&[]) }).await;
    assert!(problem.message.starts_with("suite `bokworm`: "), "{problem}");
    assert_eq!(problem.class, Class::Input);
    assert!(problem.hint.unwrap().contains("check the spelling of the suite"));
    let problem =
        bench.failure(|_| {}, DebianRequest { components: vec!["mian".to_owned()], ..request(&[]) }).await;
    assert!(problem.message.contains("no component `mian`"), "{problem}");
    assert_eq!(problem.class, Class::Input);
    let problem = bench.failure(|_| {}, DebianRequest { security: true, ..request(&[]) }).await;
    assert!(problem.hint.unwrap().contains("leave out `security`"));
}

#[tokio::test]
async fn a_mirror_that_is_gone_is_a_remote_failure() {
    let bench = Bench::new();
    bench.server.fail("InRelease", imgbuild_debian::test_archive::Fault::Status(503), 10);
    let problem = bench.failure(|_| {}, request(&[])).await;
    assert!(problem.message.contains("could not be fetched in 2 attempts"), "{problem}");
    assert_eq!(problem.class, Class::Remote);
    let problem = bench.failure(|config| config.debian = vec!["ftp.example".to_owned()], request(&[])).await;
    assert_eq!(problem.message, "the Debian mirror, `ftp.example`, is not an address");
}

#[tokio::test]
async fn security_and_updates_are_looked_in() {
    let mut bench = Bench::new();
    let key_holder = &mut bench.archive;
    let mut files = key_holder.files();
    for (suite, folder, version) in
        [("bookworm-updates", "debian", "1.0+u1"), ("bookworm-security", "debian-security", "1.0+deb12u1")]
    {
        key_holder.folder = folder.to_owned();
        key_holder.suite = suite.replace("bookworm", "stable");
        key_holder.codename = suite.to_owned();
        key_holder.remove("base").remove("libhello").remove("tool").remove("hello");
        key_holder.add(hello(version));
        if suite == "bookworm-updates" {
            key_holder.add(library("1.0+u1"));
        }
        files.extend(key_holder.files());
    }
    bench.server.publish(files);
    let asked = DebianRequest { security: true, ..request(&[&["hello"]]) };
    let lock = bench.resolve(&[PinRequest::Debian(asked.clone())], &LockFile::default()).await.unwrap();
    let pin = lock.debian(&asked).unwrap();
    let line = |name: &str| pin.add.iter().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    assert!(line("hello").starts_with("hello 1.0+u1 "), "{:?}", pin.add);
    assert!(!line("hello").contains("archive="));

    // The newest wins, wherever it is.
    let newest = DebianRequest { security: true, ..request(&[&["hello=1.0+deb12u1"]]) };
    let lock = bench.resolve(&[PinRequest::Debian(newest.clone())], &LockFile::default()).await.unwrap();
    let pin = lock.debian(&newest).unwrap();
    assert!(pin.add.iter().any(|line| line.contains(" archive=debian-security")), "{:?}", pin.add);
    let files = download_pin(&bench, pin).await;
    assert_eq!(files.len(), 2);
}

async fn download_pin(bench: &Bench, pin: &DebianPin) -> Vec<PathBuf> {
    let archive = Archive::new(Arc::new(bench.config()));
    let closure = locked_closure(pin).unwrap();
    let packages: Vec<_> = closure.packages().cloned().collect();
    let reports = Mutex::new(Vec::new());
    let report = |done, total| reports.lock().unwrap().push((done, total));
    let files =
        download_packages(&archive, "debian", "bookworm", &packages, closure.date, &report).await.unwrap();
    for (file, package) in files.iter().zip(&packages) {
        assert_eq!(Sha256::of(&fs_err::read(file).unwrap()), package.sha256);
    }
    let total = closure.download_size();
    assert_eq!(reports.lock().unwrap().last(), Some(&(total, total)));
    files
}

#[tokio::test]
async fn mirrors_come_from_the_user_or_from_the_hosts_apt() {
    let bench = Bench::new();
    let mirror = bench.server.url("debian").to_string();
    fs_err::write(
        bench.path("apt/sources.list"),
        format!("deb http://127.0.0.1:9/docker/linux/debian bookworm stable\ndeb {mirror} bookworm main\n"),
    )
    .unwrap();
    let of = |config: ArchiveConfig, suite: &str| {
        let mirrors = Archive::new(Arc::new(config)).mirrors("debian", suite).unwrap();
        (mirrors.primary.iter().map(ToString::to_string).collect::<Vec<_>>(), mirrors)
    };
    let host = ArchiveConfig { debian: vec![], snapshot: None, ..bench.config() };
    let (primary, mirrors) = of(host.clone(), "bookworm");
    assert_eq!(primary, std::slice::from_ref(&mirror));
    assert_eq!(mirrors.snapshot.unwrap().as_str(), "http://snapshot.debian.org/");
    assert_eq!(mirrors.others["debian-security"][0].path(), "/debian-security/");
    let named = ArchiveConfig { debian: vec!["http://named.example/debian".to_owned()], ..bench.config() };
    assert_eq!(of(named, "bookworm").0, ["http://named.example/debian/"]);
    let nothing = ArchiveConfig { etc_apt: Path::new("/nonexistent").to_owned(), ..host };
    assert_eq!(of(nothing, "bookworm").0, ["http://ftp.debian.org/debian/"]);
    // A suite that the host does not use is on the same mirror.
    let (primary, _) = of(ArchiveConfig { debian: vec![], ..bench.config() }, "trixie");
    assert!(primary.contains(&mirror), "{primary:?}");
}

#[tokio::test]
async fn ubuntu_has_no_default_mirror() {
    let mut archive = TestArchive::ubuntu();
    archive.add(TestPackage::new("base", "1").essential());
    let bench = Bench::of(archive);
    let ubuntu =
        DebianRequest { distribution: "ubuntu".to_owned(), suite: "noble".to_owned(), ..request(&[]) };
    let problem = bench.failure(|_| {}, ubuntu.clone()).await;
    assert_eq!(problem.message, "no mirror of Ubuntu is known");
    assert!(problem.hint.unwrap().contains("IMGBUILD_UBUNTU_MIRROR"));
    assert_eq!(problem.class, Class::Environment);

    let mut config = bench.config();
    config.ubuntu = vec![bench.server.url("ubuntu").to_string()];
    config.ubuntu_keyring = Some(bench.path("keyring.gpg"));
    let requests = [PinRequest::Debian(ubuntu.clone())];
    let lock = Resolver::new(Arc::new(config)).resolve(&requests, &LockFile::default()).await.unwrap();
    assert_eq!(lock.debian(&ubuntu).unwrap().codename, "noble");
}

#[tokio::test]
async fn indexes_are_locked_and_found_again_later() {
    let mut bench = Bench::new();
    let asked = request(&[]).index();
    let lock = bench.resolve(&[PinRequest::Index(asked.clone())], &LockFile::default()).await.unwrap();
    let pin = lock.index(&asked).unwrap().clone();
    let path = "dists/bookworm/main/binary-amd64/Packages.xz";
    let bytes = bench.archive.files()[&format!("debian/{path}")].clone();
    assert_eq!(
        pin.files,
        [format!("bookworm main/binary-amd64/Packages.xz {} {}", Sha256::of(&bytes), bytes.len())]
    );

    bench.archive.add(hello("1.1"));
    let mut files = bench.archive.files();
    files.insert(format!("{SNAPSHOT}/{path}"), bytes);
    bench.server.publish(files);
    let archive = Archive::new(Arc::new(bench.config()));
    let found = pinned_indexes(&archive, &pin).await.unwrap();
    let versions: Vec<_> = found.indexes[0]
        .records()
        .filter(|record| record.name == "hello")
        .map(|record| record.version.to_string())
        .collect();
    assert_eq!(versions, ["1.0"]);
    assert!(bench.requested(SNAPSHOT) > 0);
    let before = bench.server.requests().len();
    pinned_indexes(&archive, &pin).await.unwrap();
    assert_eq!(bench.server.requests().len(), before, "it is in the cache");
}

#[tokio::test]
async fn an_image_is_its_manifest_for_the_platform() {
    let bench = Bench::new();
    let server = TestServer::start(imgbuild_debian::test_archive::Files::new());
    let registry =
        server.url("").host_str().unwrap().to_owned() + ":" + &server.url("").port().unwrap().to_string();
    let name = |bytes: &[u8]| format!("sha256:{}", Sha256::of(bytes));
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let config = format!(
            r#"{{"architecture": "{architecture}", "os": "linux", "created": "2026-07-11T10:16:37Z", "rootfs": {{"type": "layers", "diff_ids": []}}}}"#
        );
        let config = config.into_bytes();
        let manifest = format!(
            r#"{{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "{}", "size": {}}}, "layers": []}}"#,
            name(&config),
            config.len()
        )
        .into_bytes();
        server.put(&format!("v2/team/app/blobs/{}", name(&config)), config);
        let size = manifest.len();
        entries.push(format!(
            r#"{{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "{}", "size": {size}, "platform": {{"architecture": "{architecture}", "os": "linux"}}}}"#,
            name(&manifest)
        ));
        server.put(&format!("v2/team/app/manifests/{}", name(&manifest)), manifest.clone());
        server.put(&format!("v2/team/app/manifests/only-{architecture}"), manifest);
    }
    let index = format!(
        r#"{{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [{}]}}"#,
        entries.join(", ")
    );
    server.put("v2/team/app/manifests/1.2", index.into_bytes());

    let ask = |tag: &str, platform: &str| ImageRequest {
        image: format!("{registry}/team/app:{tag}"),
        platform: platform.parse().unwrap(),
    };
    let arm = ask("1.2", "linux/arm64");
    let lock = bench.resolve(&[PinRequest::Image(arm.clone())], &LockFile::default()).await.unwrap();
    let pin = lock.image(&arm).unwrap();
    assert!(entries[1].contains(&pin.digest), "{}", pin.digest);
    assert_eq!(pin.created, 1_783_764_997);

    let failure = async |request: ImageRequest| {
        let problems = bench.resolve(&[PinRequest::Image(request)], &LockFile::default()).await.unwrap_err();
        problems.0[0].clone()
    };
    let problem = failure(ask("1.2", "linux/s390x")).await;
    assert!(problem.message.ends_with("has no image for `linux/s390x`"), "{problem}");
    let problem = failure(ask("only-amd64", "linux/arm64")).await;
    assert!(problem.message.ends_with("is for `linux/amd64`, not for `linux/arm64`"), "{problem}");
    let problem = failure(ask("gone", "linux/amd64")).await;
    assert!(problem.message.ends_with("does not exist in its registry"), "{problem}");
    assert_eq!(problem.class, Class::Input);
    let bad = ImageRequest { image: "Not A Reference".to_owned(), platform: "linux/amd64".parse().unwrap() };
    assert!(failure(bad).await.message.starts_with("`Not A Reference` is not the reference of an image"));
    drop(server);
    let problem = failure(ask("1.2", "linux/amd64")).await;
    assert!(problem.message.contains("the registry cannot be reached"), "{problem}");
    assert_eq!(problem.class, Class::Remote);
    assert!(bench.warnings.lock().unwrap().is_empty());
}

/// What the small archives cannot show: the indexes of a real one, and the default of every setting.
#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_own_archive_answers() {
    let has_mirror =
        AptSources::read(Path::new("/etc/apt")).is_ok_and(|host| !host.mirrors("bookworm").is_empty());
    if !has_mirror || !Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() {
        eprintln!("skipped: this host's apt has no mirror of bookworm, or there is no keyring of Debian");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().join("cache")).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let resolver = Resolver::new(Arc::new(ArchiveConfig::new(cache, now, Arc::new(|_: Event| {}))));
    let start = std::time::Instant::now();
    let mut lock = resolver.resolve(&pins(&[]), &LockFile::default()).await.unwrap();
    eprintln!("a base from nothing: {:.2?}", start.elapsed());
    let base = packages(&lock, &[]);
    assert!(base.iter().any(|line| line.starts_with("apt ")), "{base:?}");
    assert!(base.len() > 60 && base.len() < 150, "{}", base.len());
    let start = std::time::Instant::now();
    lock = resolver.resolve(&pins(&[&["nginx"]]), &lock).await.unwrap();
    eprintln!("nginx on top of it: {:.2?}", start.elapsed());
    let nginx = packages(&lock, &[&["nginx"]]);
    assert!(nginx.iter().any(|line| line.starts_with("nginx ")), "{nginx:?}");
    assert!(nginx.iter().all(|line| !base.contains(line)), "what is below is not locked twice");
    assert_eq!(LockFile::parse(&lock.to_text()).unwrap(), lock);
    eprintln!("{} + {} packages, {} bytes of lock file", base.len(), nginx.len(), lock.to_text().len());
}
