//! The seal: what belongs to one machine is planted, and looked for in all that comes out.

use std::path::Path;
use std::process::Command;

use crate::secrets::holding;
use crate::support::{BUSYBOX, Workspace, busybox};

/// What a machine leaves, by path; each holds a mark of its own.
const PLANTED: &[&str] = &[
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_ed25519_key.pub",
    "/etc/dropbear/dropbear_rsa_host_key",
    "/etc/machine-id",
    "/etc/netplan/50-cloud-init.yaml",
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/boot/efi/loader/random-seed",
    "/var/lib/cloud/instance/user-data.txt",
    "/var/lib/dhcp/dhclient.eth0.leases",
    "/var/lib/dhcpcd/eth0.lease",
    "/var/lib/NetworkManager/secret_key",
    "/var/log/syslog",
    "/var/log/auth.log",
    "/var/log/auth.log.1",
    "/var/log/dmesg.0",
    "/var/log/nginx/access.log",
    "/var/log/nginx/access.log.2.gz",
    "/var/log/journal/abc/system.journal",
    "/var/log/wtmp",
    "/var/log/lastlog",
    "/var/log/faillog",
    "/root/.bash_history",
    "/root/.python_history",
    "/root/.lesshst",
    "/home/app/.zsh_history",
    "/home/app/.local/share/fish/fish_history",
    "/srv/service/.psql_history",
    "/tmp/left",
    "/tmp/.hidden/left",
    "/var/tmp/left",
    "/var/crash/core",
];

fn mark(number: usize) -> String {
    format!("planted-{number:03}-mark")
}

/// The files of a folder with the gzip streams among them unpacked beside them.
fn unpack(folder: &Path) {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && fs_err::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
                let out = std::fs::File::create(path.with_extension("unpacked")).unwrap();
                let done = Command::new("gzip").arg("-dc").arg(&path).stdout(out).status().unwrap();
                assert!(done.success());
            }
        }
    }
}

#[test]
fn nothing_of_one_machine_comes_out_of_an_image() {
    let exports = r#"exports = [
        oci(compression = "gzip", layers = "steps"),
        docker_archive(layers = "steps"),
        tarball(compression = "none"),
        directory(),
        sbom("spdx"),
        sbom("cyclonedx"),
    ]"#;
    let plant: String = PLANTED
        .iter()
        .enumerate()
        .map(|(number, path)| format!("mkdir -p $(busybox dirname {path}); echo {} > {path}\n", mark(number)))
        .collect();
    let workspace = Workspace::with(&format!(
        r#"{BUSYBOX}
image(
    name = "planted",
    base = ":base",
    steps = [
        file(content = "root:x:0:0:root:/root:/bin/sh\nservice:x:900:900::/srv/service:/bin/sh\n", dest = "/etc/passwd"),
        file(content = "ID=debian\n", dest = "/etc/os-release"),
        file(content = "", dest = "/var/lib/dpkg/status"),
        file(content = "", dest = "/usr/lib/systemd/systemd"),
        shell(script = "plant.sh"),
        shell("cat /tmp/left /root/.bash_history > /dev/null; echo kept-mark > /var/log/nginx/readme"),
    ],
    {exports},
)
image(
    name = "child",
    base = ":planted",
    steps = [shell("test ! -s /etc/machine-id; echo child > /child; echo child > /var/log/child.log")],
    {exports},
    tests = [
        file_exists("/etc/machine-id", content_matches = "^$"),
        file_exists("/var/log/nginx/readme", content_matches = "kept-mark"),
        file_absent("/var/log/child.log"),
    ],
)
image(name = "bare", base = ":base", steps = [file(content = "", dest = "/usr/lib/systemd/systemd")], tests = [file_exists("/etc/machine-id", content_matches = "^$")])
image(name = "without", base = ":base", steps = [], tests = [file_absent("/etc/machine-id")])
"#
    ));
    workspace.write("plant.sh", &format!("#!/bin/sh -eu\n{plant}"));
    if busybox(&workspace).is_none() {
        return;
    }
    workspace.ok(&["//:planted", "//:child"]);
    workspace.ok(&["test", "//..."]);
    let out = workspace.root().join("imgbuild-out");
    unpack(&out);
    // A docker archive is not compressed, and neither are its layers.
    assert!(!holding(&out, &[b"kept-mark"]).is_empty(), "the search finds what is there");
    for (number, path) in PLANTED.iter().enumerate() {
        let found = holding(&out, &[mark(number).as_bytes()]);
        assert_eq!(found, Vec::<String>::new(), "{path}");
    }
}
