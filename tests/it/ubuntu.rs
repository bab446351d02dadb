//! An image from Ubuntu's archive, as a user of `examples/monorepo` builds it.

use std::path::Path;
use std::process::Command;

use imgbuild_debian::solve::Base;

use crate::archive::{Ubuntu, archive};
use crate::support::{Workspace, ran};

#[test]
fn the_ubuntu_example_builds_from_an_archive_of_that_shape() {
    let Some(archive) = archive(Base::Required) else { return };
    let workspace = Workspace::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/monorepo/.");
    let copied = Command::new("cp").arg("-a").arg(example).arg(workspace.root()).status().unwrap();
    assert!(copied.success());
    fs_err::remove_file(workspace.root().join("imgbuild.lock")).unwrap();
    let ubuntu = Ubuntu::with(archive, workspace);

    ubuntu.ok(&["update", "//images:ubuntu-base"]);
    let lock = ubuntu.workspace.read("imgbuild.lock");
    assert!(
        lock.contains("\"distribution\": \"ubuntu\"") && lock.contains("\"codename\": \"noble\""),
        "{lock}"
    );
    assert!(lock.contains("\"dpkg "), "{lock}");

    let first = ran(&ubuntu.ok(&["--json", "build", "--locked", "//images:ubuntu-base"]));
    assert!(first.iter().any(|step| step.starts_with("ubuntu")), "{first:?}");
    assert!(ran(&ubuntu.ok(&["--json", "//images:ubuntu-base"])).is_empty());
    let said = ubuntu.ok(&[
        "run",
        "//images:ubuntu-base",
        "--",
        "sh",
        "-c",
        "dpkg --audit && id -u app && echo $LANG",
    ]);
    assert_eq!(said.stdout, "10001\nC.UTF-8\n");
    ubuntu.is_sound();
}
