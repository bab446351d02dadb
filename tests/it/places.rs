//! Where archives are reached: a folder of this machine, a proxy, the mirror of the security archive. Up to the lock file.

use imgbuild_debian::test_archive::{TestArchive, TestPackage, TestServer};
use jiff::{SignedDuration, Timestamp};

use crate::archive::Ubuntu;
use crate::support::Workspace;

fn essential(version: &str) -> TestPackage {
    TestPackage::new("base", version).essential()
}

/// An archive with one package, which is enough to lock an image.
fn tiny() -> Ubuntu {
    let mut archive = TestArchive::ubuntu();
    archive.date = Timestamp::now() - SignedDuration::from_hours(48);
    archive.architectures = vec!["amd64".to_owned(), "arm64".to_owned()];
    archive.add(essential("1.0").architecture("all"));
    Ubuntu::with(
        archive,
        Workspace::with("image(name = \"x\", source = ubuntu(\"noble\", variant = \"essential\"))"),
    )
}

#[test]
fn a_mirror_may_be_a_folder_of_this_machine() {
    let mut ubuntu = tiny();
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in ubuntu.archive.files() {
        let path = folder.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }
    ubuntu.set("IMGBUILD_UBUNTU_MIRROR", &format!("file://{}/ubuntu", folder.path().display()));
    ubuntu.ok(&["update"]);
    assert!(ubuntu.workspace.read("imgbuild.lock").contains("base 1.0 all"));
    assert!(ubuntu.server.requests().is_empty(), "{:?}", ubuntu.server.requests());
    ubuntu.set("IMGBUILD_UBUNTU_MIRROR", &format!("file://{}/none", folder.path().display()));
    ubuntu.fails(1, &["update"], &["suite `noble`", "/none/dists/noble/InRelease` does not exist"]);
}

#[test]
fn a_proxy_is_used_but_for_what_is_excepted() {
    let mut ubuntu = tiny();
    let mirror = ubuntu.server.url("ubuntu");
    let proxy = TestServer::start(Default::default());
    ubuntu.set("http_proxy", proxy.url("").as_str());
    ubuntu.fails(1, &["update"], &["suite `noble`", "does not exist"]);
    assert_eq!(proxy.requests(), [format!("{mirror}dists/noble/InRelease")]);
    assert!(ubuntu.server.requests().is_empty());

    let root = ubuntu.server.url("");
    let files = ubuntu.archive.files().into_iter().map(|(path, content)| (format!("{root}{path}"), content));
    proxy.publish(files.collect());
    ubuntu.ok(&["update"]);
    assert!(ubuntu.server.requests().is_empty(), "{:?}", ubuntu.server.requests());

    let asked = proxy.requests().len();
    ubuntu.set("no_proxy", "localhost,127.0.0.0/8");
    fs_err::remove_file(ubuntu.workspace.root().join("imgbuild.lock")).unwrap();
    ubuntu.ok(&["update"]);
    assert_eq!(proxy.requests().len(), asked);
    assert!(!ubuntu.server.requests().is_empty());

    ubuntu.set("http_proxy", "socks5://127.0.0.1:1");
    let said = ubuntu.run(&["update"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("`HTTP_PROXY`: `socks5://127.0.0.1:1` is not the address of a proxy"),
        "{said:?}"
    );
}

#[test]
fn the_security_archive_may_have_a_mirror_of_its_own() {
    let suite = |folder: &str, codename: &str, version: &str| {
        let mut archive = TestArchive::new(folder, "Debian", codename, codename);
        archive.date = Timestamp::now() - SignedDuration::from_hours(48);
        archive.architectures = vec!["amd64".to_owned(), "arm64".to_owned()];
        archive.add(essential(version).architecture("all"));
        archive
    };
    let (main, updates) = (suite("debian", "bookworm", "1.0"), suite("debian", "bookworm-updates", "1.1"));
    let security = suite("elsewhere", "bookworm-security", "1.2");
    let mut files = main.files();
    files.extend(updates.files());
    let (mirror, other) = (TestServer::start(files), security.serve());
    let source = "debian(\"bookworm\", variant = \"essential\", security = True)";
    let workspace = Workspace::with(&format!("image(name = \"x\", source = {source})"));
    let keyrings = [main.keyring(), updates.keyring(), security.keyring()].concat();
    fs_err::write(workspace.root().join("debian.gpg"), keyrings).unwrap();
    let (mirror_url, other_url) = (mirror.url("debian"), other.url("elsewhere"));
    workspace.write(
        "imgbuild.toml",
        &format!(
            "[mirrors]\ndebian = \"{mirror_url}\"\ndebian_security = \"{other_url}\"\n[keyrings]\ndebian = \"debian.gpg\"\n"
        ),
    );
    workspace.ok(&["update"]);
    let lock = workspace.read("imgbuild.lock");
    assert!(lock.contains("\"base 1.2 all") && lock.contains("archive=debian-security"), "{lock}");
    assert!(other.requests().iter().any(|path| path.ends_with("bookworm-security/InRelease")));
}
