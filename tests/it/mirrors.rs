//! Mirrors that lie, stall, break off and forget: one message each, nothing kept of it, and the next build completes.

use std::net::TcpListener;
use std::time::Duration;

use imgbuild_debian::test_archive::{Fault, TestArchive, TestPackage, TestServer};
use jiff::{SignedDuration, Timestamp};

use crate::archive::{ALWAYS, FOREVER, IMAGES, IN_RELEASE, Ubuntu, hello};
use crate::support::ran;

const SILENT: &str = "could not be fetched in 2 attempts: the server was silent for 1 s";

#[test]
fn what_the_archive_says_is_believed_only_if_it_is_signed_valid_and_whole() {
    let Some(mut ubuntu) = Ubuntu::small() else { return };
    let refused = |ubuntu: &Ubuntu, code: i32, parts: &[&str]| {
        ubuntu.fails(code, &["//:app"], parts);
        assert!(!ubuntu.workspace.has("imgbuild.lock"), "{parts:?}: nothing is locked");
        ubuntu.server.heal();
        ubuntu.publish();
    };

    let signed = String::from_utf8(ubuntu.server.take(IN_RELEASE).unwrap()).unwrap();
    ubuntu.server.put(IN_RELEASE, signed.replace("Codename: noble", "Codename: nobel").into_bytes());
    refused(&ubuntu, 3, &["is not trusted", "does not match the text", "tampered with"]);

    let foreign = TestArchive::ubuntu().files().remove(IN_RELEASE).unwrap();
    ubuntu.server.put(IN_RELEASE, foreign);
    refused(&ubuntu, 3, &["is not trusted", "name its keyring"]);

    ubuntu.archive.valid_until = Some(Timestamp::now() - SignedDuration::from_hours(1));
    ubuntu.publish();
    ubuntu.archive.valid_until = None;
    refused(&ubuntu, 3, &["expired at", "the mirror is stale, or this machine's clock is wrong"]);

    ubuntu.server.fail("InRelease", Fault::Status(404), ALWAYS);
    refused(&ubuntu, 1, &["suite `noble`", "does not exist", "check the spelling of the suite"]);

    ubuntu.server.fail("InRelease", FOREVER, ALWAYS);
    ubuntu.wait_for_servers("1s");
    refused(&ubuntu, 3, &[SILENT, "IMGBUILD_UBUNTU_MIRROR"]);
    ubuntu.wait_for_servers("60s");

    ubuntu.server.fail("Packages", Fault::Status(404), ALWAYS);
    ubuntu.server.fail("by-hash", Fault::Status(404), ALWAYS);
    refused(&ubuntu, 3, &["Packages", "does not exist"]);

    ubuntu.server.fail("Packages", Fault::Corrupt, ALWAYS);
    ubuntu.server.fail("by-hash", Fault::Corrupt, ALWAYS);
    refused(&ubuntu, 3, &["has SHA-256", "the release file says"]);

    ubuntu.server.fail("by-hash", Fault::CutOff(0), ALWAYS);
    ubuntu.server.fail("Packages", Fault::CutOff(0), ALWAYS);
    refused(&ubuntu, 3, &["could not be fetched in 2 attempts"]);

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mirror = ubuntu.server.url("ubuntu");
    ubuntu.set("IMGBUILD_UBUNTU_MIRROR", &format!("http://{closed}/ubuntu"));
    refused(&ubuntu, 3, &["could not be fetched in 2 attempts", "check the network"]);
    ubuntu.set("IMGBUILD_UBUNTU_MIRROR", mirror.as_str());

    let keyring = ubuntu.workspace.root().join("../ubuntu.gpg");
    std::fs::rename(&keyring, keyring.with_extension("away")).unwrap();
    refused(&ubuntu, 2, &["the keyring of `ubuntu`", "is not there", "keyrings.ubuntu"]);
    std::fs::rename(keyring.with_extension("away"), &keyring).unwrap();

    // What passes is borne: the answer is read, and is the user's to mend.
    ubuntu.server.fail("InRelease", Fault::Status(503), 1);
    ubuntu.server.fail("by-hash", Fault::CutOff(100), 1);
    ubuntu.workspace.write("BUILD.star", &IMAGES.replace("\"hello\"", "\"no-such-package\""));
    refused(&ubuntu, 1, &["no-such-package"]);
    ubuntu.workspace.write("BUILD.star", IMAGES);
    let resumed = |path: &String| path.contains("by-hash") && path.ends_with("[100-]");
    assert!(ubuntu.server.requests().iter().any(resumed), "{:?}", ubuntu.server.requests());

    ubuntu.ok(&["//:app"]);
    assert!(ubuntu.workspace.has("imgbuild-out/app/app.tar"));
}

/// An image with one package of its own, on a base that all share.
fn image(name: &str) -> String {
    format!(
        "image(name = \"{name}\", base = \":base\", steps = [apt_install(\"{name}\")], exports = [tarball()])\n"
    )
}

fn package(name: &str) -> TestPackage {
    let mut package = hello("1.0");
    name.clone_into(&mut package.name);
    package.field("Section", name)
}

#[test]
fn packages_that_do_not_arrive_are_asked_for_again_and_then_named() {
    let Some(mut ubuntu) = Ubuntu::small() else { return };
    let update = "run `imgbuild update`";
    let cases: &[(&str, Fault, i32, &[&str])] = &[
        (
            "gone",
            Fault::Status(404),
            1,
            &["`gone_1.0_all` has vanished: neither the mirror nor the snapshot service", update],
        ),
        (
            "wrong",
            Fault::Corrupt,
            3,
            &["`wrong_1.0_all` from", "its SHA-256 is", "the mirror is faulty; name another", update],
        ),
        ("silent", FOREVER, 3, &["`silent_1.0_all`", SILENT, "IMGBUILD_UBUNTU_MIRROR"]),
        ("stops", Fault::StallAfter(0, Duration::from_secs(3600)), 3, &["`stops_1.0_all`", SILENT]),
        ("cut", Fault::CutOff(0), 3, &["`cut_1.0_all`", "could not be fetched in 2 attempts"]),
        (
            "refused",
            Fault::Status(403),
            3,
            &["`refused_1.0_all`", "answered 403 Forbidden", "IMGBUILD_UBUNTU_MIRROR"],
        ),
        ("busy", Fault::Status(503), 3, &["`busy_1.0_all`", "in 2 attempts: the server answered 503"]),
    ];
    let mut build = IMAGES.to_owned();
    for (name, ..) in cases {
        ubuntu.archive.add(package(name));
        build.push_str(&image(name));
    }
    ubuntu.archive.add(package("resumed"));
    build.push_str(&image("resumed"));
    ubuntu.publish();
    ubuntu.workspace.write("BUILD.star", &build);
    ubuntu.ok(&["update"]);

    for (name, fault, code, parts) in cases {
        let target = format!("//:{name}");
        ubuntu.server.fail(&format!("/{name}_"), *fault, ALWAYS);
        if parts.contains(&SILENT) {
            ubuntu.wait_for_servers("1s");
        }
        ubuntu.fails(*code, &["--locked", &target], parts);
        ubuntu.wait_for_servers("60s");
        let artifact = format!("imgbuild-out/{name}");
        assert!(!ubuntu.workspace.has(&artifact), "{name}");
        ubuntu.server.heal();
        ubuntu.ok(&["build", "--locked", &target]);
        assert!(ubuntu.workspace.has(&artifact), "{name}");
    }

    ubuntu.server.fail("/resumed_", Fault::CutOff(500), 1);
    ubuntu.ok(&["build", "--locked", "//:resumed"]);
    let resumed = |path: &String| path.contains("/resumed_") && path.ends_with("[500-]");
    assert!(ubuntu.server.requests().iter().any(resumed), "{:?}", ubuntu.server.requests());
    ubuntu.is_sound();
}

#[test]
fn a_locked_version_that_the_mirror_dropped_comes_from_the_snapshot_service() {
    let Some(mut ubuntu) = Ubuntu::small() else { return };
    ubuntu.ok(&["update"]);
    let lock = ubuntu.workspace.read("imgbuild.lock");
    let path = "pool/main/h/hello/hello_1.0_all.deb";
    let old = ubuntu.archive.files().remove(&format!("ubuntu/{path}")).unwrap();
    ubuntu.archive.remove("hello").add(hello("1.1"));
    ubuntu.publish();

    let empty = TestServer::start(Default::default());
    ubuntu.set("IMGBUILD_SNAPSHOT_MIRROR", empty.url("").as_str());
    let vanished = [
        "`hello_1.0_all` has vanished: neither the mirror nor the snapshot service",
        "run `imgbuild update`",
    ];
    ubuntu.fails(1, &["//:app"], &vanished);
    assert!(
        empty.requests().iter().all(|path| path.starts_with("archive/ubuntu/")),
        "{:?}",
        empty.requests()
    );

    let stamp = ubuntu.archive.date.strftime("%Y%m%dT%H%M%SZ");
    let snapshot = TestServer::start([(format!("archive/ubuntu/{stamp}/{path}"), old)].into());
    ubuntu.set("IMGBUILD_SNAPSHOT_MIRROR", snapshot.url("").as_str());
    ubuntu.ok(&["//:app"]);
    assert_eq!(ubuntu.workspace.read("imgbuild.lock"), lock, "a build moves no pin");
    let greeting = ["run", "//:app", "--", "cat", "/usr/share/hello/greeting"];
    assert_eq!(ubuntu.ok(&greeting).stdout, "hello 1.0\n");

    ubuntu.ok(&["update"]);
    let rebuilt = ran(&ubuntu.ok(&["--json", "//:app"]));
    assert!(rebuilt.iter().any(|step| step.starts_with("apt_install")), "{rebuilt:?}");
    assert!(!rebuilt.iter().any(|step| step.starts_with("ubuntu")), "{rebuilt:?}");
    assert_eq!(ubuntu.ok(&greeting).stdout, "hello 1.1\n");
    ubuntu.is_sound();
}
