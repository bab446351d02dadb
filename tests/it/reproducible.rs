//! One lock file, two builds: as root and as an ordinary user, in other folders, with another umask, time zone and language,
//! from empty caches. Everything that comes out is the same, byte for byte.

use std::collections::BTreeMap;
use std::path::Path;

use imgbuild_debian::Sha256;
use imgbuild_debian::solve::Base;

use crate::archive::{Ubuntu, archive, hello};
use crate::support::{OrdinaryUser, Workspace, said};

const IMAGE: &str = r#"
image(
    name = "app",
    source = ubuntu("noble"),
    steps = [
        apt_install("hello"),
        user("app", uid = 10001, home = "/home/app"),
        file("motd", "/etc/motd"),
        shell(["umask > /built", "env | sort >> /built", "mkdir -m 2775 /srv/shared", "chown app /srv/shared", "ln /etc/motd /srv/motd", "rm /usr/share/hello/large"]),
    ],
    exports = [oci(), tarball(), docker_archive(), sbom("spdx"), sbom("cyclonedx")],
)
"#;

/// Every file of a folder, with its digest.
fn digests(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, Sha256::of(&fs_err::read(&path).unwrap()).to_string());
            }
        }
    }
    found
}

#[test]
fn root_and_an_ordinary_user_make_the_same_image_of_real_packages() {
    let Some(user) = OrdinaryUser::new() else { return };
    let Some(mut archive) = archive(Base::Required) else { return };
    archive.add(hello("1.0"));
    let workspace = || {
        let workspace = Workspace::with(IMAGE);
        workspace.write("motd", "welcome\n");
        workspace
    };
    let mut first = Ubuntu::with(archive, workspace());
    first.set("TZ", "Asia/Tokyo");
    first.set("LANG", "C");
    first.ok(&["build", "//:app"]);

    let second = workspace();
    second.write("imgbuild.lock", &first.workspace.read("imgbuild.lock"));
    let config = ".config/imgbuild/config.toml";
    for path in [config, "ubuntu.gpg"] {
        let place = |workspace: &Workspace| workspace.root().parent().unwrap().join(path);
        fs_err::create_dir_all(place(&second).parent().unwrap()).unwrap();
        std::fs::copy(place(&first.workspace), place(&second)).unwrap();
    }
    user.give(&second);
    let mut command = user.command(&second, "077", &["build", "--locked", "//:app"]);
    command.env("IMGBUILD_UBUNTU_MIRROR", first.server.url("ubuntu").as_str());
    let built = said(&command.env("TZ", "America/New_York").env("LC_ALL", "de_DE.UTF-8").output().unwrap());
    assert_eq!(built.code, Some(0), "{built:#?}");

    let output = |workspace: &Workspace| digests(&workspace.root().join("imgbuild-out/app"));
    let (ours, theirs) = (output(&first.workspace), output(&second));
    assert!(ours.len() > 10, "{ours:?}");
    for part in ["index.json", ".tar", ".spdx.json", ".cdx.json"] {
        assert!(ours.keys().any(|name| name.contains(part)), "{part}: {ours:?}");
    }
    assert_eq!(ours, theirs);
}
