//! What a user reads when the machine does not allow user namespaces.

use std::path::Path;

use rustix::io::Errno;

use super::{IdRange, SubordinateIds, Switches, UsernsError, mapped_ids};

fn etc(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs_err::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n";

#[test]
fn ranges_are_found_by_name_and_by_number() {
    let etc = etc(&[
        ("passwd", PASSWD),
        ("subuid", "bob:100000:65536\nalice:165536:65536\n"),
        ("subgid", "1000:300000:40000\nalice:400000:40000\n"),
    ]);
    let ids = SubordinateIds::of_user(1000, etc.path()).expect("ranges");
    assert_eq!(ids.users, [IdRange { start: 165_536, count: 65_536 }]);
    assert_eq!(
        ids.groups,
        [IdRange { start: 300_000, count: 40_000 }, IdRange { start: 400_000, count: 40_000 }]
    );
}

#[test]
fn a_user_without_a_range_is_told_the_command() {
    let etc = etc(&[("passwd", PASSWD), ("subuid", "bob:100000:65536\n"), ("subgid", "")]);
    let message = SubordinateIds::of_user(1000, etc.path()).expect_err("no range").to_string();
    assert!(
        message.ends_with(
            "subuid`; building without root needs them: `sudo usermod --add-subuids 165536-231071 --add-subgids \
             165536-231071 alice`"
        ),
        "{message}"
    );
}

#[test]
fn a_small_range_is_told_too() {
    let etc = etc(&[("passwd", PASSWD), ("subuid", "alice:100000:1000\n")]);
    let message = SubordinateIds::of_user(1000, etc.path()).expect_err("a small range").to_string();
    assert!(message.contains("has only 1000 subordinate ids"), "{message}");
    assert!(message.contains("--add-subuids 101000-166535"), "{message}");
}

#[test]
fn missing_files_are_no_ranges() {
    let missing = Path::new("/nonexistent");
    assert!(matches!(
        SubordinateIds::of_user(987_654, missing),
        Err(UsernsError::NoSubordinateIds { user, .. }) if user == "987654"
    ));
}

#[test]
fn a_missing_mapper_names_its_package() {
    let message = UsernsError::MissingMapper { program: "newuidmap" }.to_string();
    assert!(message.contains("`sudo apt-get install uidmap`"), "{message}");
}

#[test]
fn each_switch_is_told_apart() {
    let open = Switches { unprivileged_clone: Some(1), max_namespaces: Some(1000), apparmor_restricts: None };
    let text = |switches: Switches, error| switches.diagnose(error).to_string();
    assert!(
        text(Switches { unprivileged_clone: Some(0), ..open }, Errno::PERM)
            .contains("`sudo sysctl -w kernel.unprivileged_userns_clone=1`")
    );
    assert!(
        text(Switches { max_namespaces: Some(0), ..open }, Errno::NOSPC)
            .contains("`user.max_user_namespaces` is 0")
    );
    assert!(text(open, Errno::NOSPC).contains("`user.max_user_namespaces` is 1000"));
    assert!(
        text(Switches { apparmor_restricts: Some(1), ..open }, Errno::ACCESS)
            .contains("`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`")
    );
    assert!(text(open, Errno::INVAL).contains("CONFIG_USER_NS"));
    assert!(text(open, Errno::PERM).contains("a container without"));
}

#[test]
fn the_first_namespace_maps_everything() {
    assert_eq!(mapped_ids("         0          0 4294967295\n"), u32::MAX);
    assert_eq!(mapped_ids("0 1000 1\n1 100000 65536\n"), 65_537);
}

#[test]
fn entering_with_threads_is_refused() {
    // The test harness runs tests in threads.
    let release = std::sync::Arc::new(std::sync::Barrier::new(2));
    let held = release.clone();
    let other = std::thread::spawn(move || held.wait());
    assert!(matches!(super::enter([]), Err(UsernsError::Threads { threads }) if threads > 1));
    release.wait();
    other.join().expect("the other thread");
}
