//! Each form that an image lies in on the host.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use imgbuild_compare::{OpenError, Options, open};
use imgbuild_formats::Platform;
use tempfile::TempDir;

use crate::fixture::{Pair, Tree, base, compared, files};

fn sha256(folder: &Path, bytes: &[u8]) -> String {
    let raw = folder.join("raw");
    fs_err::write(&raw, bytes).unwrap();
    let output = std::process::Command::new("sha256sum").arg(&raw).output().unwrap();
    fs_err::remove_file(&raw).unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

/// An OCI layout of these layers, each a tar.
fn layout(folder: &Path, layers: &[Vec<u8>], env: &str) {
    let blobs = folder.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let name = sha256(folder, bytes);
        fs_err::write(blobs.join(&name), bytes).unwrap();
        format!("\"digest\":\"sha256:{name}\",\"size\":{}", bytes.len())
    };
    let diff_ids: Vec<String> =
        layers.iter().map(|layer| format!("\"sha256:{}\"", sha256(folder, layer))).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A={env}"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let described: Vec<String> = layers
        .iter()
        .map(|layer| format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar",{}}}"#, put(layer)))
        .collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json",{}}},"layers":[{}]}}"#,
        put(config.as_bytes()),
        described.join(",")
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",{}}}]}}"#,
        put(manifest.as_bytes())
    );
    fs_err::write(folder.join("index.json"), index).unwrap();
    fs_err::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
fn layers_are_put_over_each_other() {
    let folder = TempDir::new().unwrap();
    let pair = Pair::new(base(), base());
    let lower = base()
        .file("srv/gone", 0o644, "x")
        .file("srv/hidden/a", 0o644, "x")
        .file("opt/x", 0o644, "x")
        .file("etc/motd", 0o600, "older");
    let upper = Tree::new()
        .file("etc/motd", 0o644, "one\ntwo\nthree\n")
        .file("srv/.wh.gone", 0o644, "")
        .file("srv/hidden/new", 0o644, "x")
        // The mark stands behind what the layer puts there.
        .file("srv/hidden/.wh..wh..opq", 0o644, "")
        .file(".wh.opt", 0o644, "");
    let place = folder.path().join("layout");
    layout(&place, &[lower.bytes(), upper.bytes()], "1");
    let found = compared(&pair.path("before"), &place, &Options::default());
    assert_eq!(files(&found), ["Added /srv ", "Added /srv/hidden ", "Added /srv/hidden/new "]);
    assert_eq!(found.notes, ["`tarball` has no image configuration, so that is not compared"]);

    // The same as a tar, with another configuration and nothing else that differs.
    let other = folder.path().join("other");
    let layers = [base().file("srv/hidden/new", 0o644, "x").bytes()];
    layout(&other, &layers, "2");
    let tar = folder.path().join("other.tar");
    let packed = std::process::Command::new("tar")
        .args([
            "-C",
            other.to_str().unwrap(),
            "-cf",
            tar.to_str().unwrap(),
            "oci-layout",
            "index.json",
            "blobs",
        ])
        .status();
    assert!(packed.unwrap().success());
    let found = compared(&place, &tar, &Options::default());
    assert!(found.files.is_empty(), "{:?}", found.files);
    assert!(!found.equal);
    let configuration: Vec<_> = found.configuration.iter().map(|change| &*change.name).collect();
    assert_eq!(configuration, ["env.A"]);
}

#[test]
fn a_damaged_layer_is_an_error() {
    let folder = TempDir::new().unwrap();
    let layer = base().bytes();
    layout(folder.path(), std::slice::from_ref(&layer), "1");
    let blob = folder.path().join("blobs/sha256").join(sha256(folder.path(), &layer));
    let mut bytes = fs_err::read(&blob).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs_err::write(&blob, bytes).unwrap();
    let temporary = TempDir::new().unwrap();
    let error = open(folder.path(), &[Platform::linux("amd64")], temporary.path()).err().unwrap();
    assert!(format!("{error:?}").contains("Damaged"), "{error:?}");
    let error = open(folder.path(), &[Platform::linux("arm64")], temporary.path()).err().unwrap();
    assert_eq!(error.hint().as_deref(), Some("name another with `--platform`"));
}

#[test]
fn packed_tarballs_are_read() {
    let pair = Pair::new(base(), base().file("x", 0o644, "x"));
    for (program, name) in [("gzip", "after.gz"), ("xz", "after.xz"), ("zstd", "after.zst")] {
        let input = fs::File::open(pair.path("after")).unwrap();
        let output = std::process::Command::new(program).arg("-c").stdin(input).output();
        let Ok(output) = output else {
            eprintln!("SKIPPED: there is no `{program}`");
            continue;
        };
        assert!(output.status.success());
        fs_err::write(pair.path(name), output.stdout).unwrap();
        let found = compared(&pair.path("before"), &pair.path(name), &Options::default());
        assert_eq!(files(&found), ["Added /x "], "{program}");
    }
}

#[test]
fn folders_are_read_without_following_links() {
    let folder = TempDir::new().unwrap();
    let make = |name: &str| {
        let root = folder.path().join(name);
        fs_err::create_dir_all(root.join("etc")).unwrap();
        fs_err::write(root.join("etc/a"), "same size 1").unwrap();
        fs_err::write(root.join("etc/b"), "x").unwrap();
        fs_err::hard_link(root.join("etc/b"), root.join("etc/c")).unwrap();
        symlink("/proc", root.join("out")).unwrap();
        symlink(root.join("etc"), root.join("in")).unwrap();
        root
    };
    let (one, other) = (make("one"), make("two"));
    let same = compared(&one, &other, &Options::default());
    assert_eq!(files(&same).len(), 1, "the link to its own folder: {:?}", files(&same));
    fs_err::write(other.join("etc/a"), "same size 2").unwrap();
    fs_err::remove_file(other.join("etc/c")).unwrap();
    fs_err::write(other.join("etc/c"), "x").unwrap();
    fs_err::set_permissions(other.join("etc/c"), fs::Permissions::from_mode(0o600)).unwrap();
    fs_err::remove_file(other.join("in")).unwrap();
    let found = compared(&one, &other, &Options::default());
    let expected = [
        "Changed /etc/a content",
        "Changed /etc/c mode 0644 → 0600, hard link to /etc/b → -",
        "Removed /in ",
    ];
    assert_eq!(files(&found), expected);
    assert!(found.files[0].before.as_ref().unwrap().digest.as_ref().unwrap().starts_with("blake3:"));
}

#[test]
fn a_disk_is_read_in_each_format() {
    use std::process::Command;
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("root");
    fs_err::create_dir_all(root.join("etc")).unwrap();
    fs_err::write(root.join("etc/a"), "one").unwrap();
    fs_err::write(root.join("etc/b"), vec![7; 200_000]).unwrap();
    symlink("a", root.join("etc/link")).unwrap();
    let raw = folder.path().join("disk.raw");
    fs::File::create(&raw).unwrap().set_len(16 << 20).unwrap();
    let made = Command::new("/usr/sbin/mkfs.ext4")
        .args(["-q", "-F", "-b", "4096", "-d", root.to_str().unwrap(), raw.to_str().unwrap()])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return eprintln!("SKIPPED: there is no /usr/sbin/mkfs.ext4 that fills what it makes");
    }
    let same = compared(&root, &raw, &Options::default());
    assert!(same.equal, "{:?}", files(&same));
    fs_err::write(root.join("etc/a"), "two").unwrap();
    for format in ["raw", "qcow2", "vmdk", "vpc", "vhdx"] {
        let disk = folder.path().join(format!("disk.{format}"));
        if format != "raw" {
            let converted = Command::new("/usr/bin/qemu-img")
                .args(["convert", "-O", format, raw.to_str().unwrap(), disk.to_str().unwrap()])
                .status();
            if !converted.is_ok_and(|status| status.success()) {
                eprintln!("SKIPPED: no /usr/bin/qemu-img that writes {format}; `tests/run` installs it");
                continue;
            }
        }
        let found = compared(&root, &disk, &Options::default());
        assert_eq!(files(&found), ["Changed /etc/a content"], "{format}");
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let folder = TempDir::new().unwrap();
    let temporary = TempDir::new().unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        open(&path, &[Platform::linux("amd64")], temporary.path()).err().unwrap()
    };
    let noise = refused("noise", &[7; 4096]);
    assert!(matches!(noise, OpenError::Disk { .. }) && noise.hint().unwrap().contains("qcow2"), "{noise:?}");
    assert!(matches!(refused("empty", b""), OpenError::Disk { .. }));
    let docker = Tree::new().file("layer-001.tar", 0o644, "x").file("manifest.json", 0o644, "[]").bytes();
    let docker = refused("docker.tar", &docker);
    assert!(docker.hint().unwrap().contains("skopeo copy docker-archive:"), "{docker:?}");
    let cut = base().bytes();
    assert!(matches!(refused("cut.tar", &cut[..700]), OpenError::Archive { .. }));
    let link = Tree::new().entry("a", tar::EntryType::Link, (0o644, 0), "none").bytes();
    let link = refused("link.tar", &link);
    assert!(format!("{link:?}").contains("none"), "{link:?}");
    let gone = open(&folder.path().join("gone"), &[], temporary.path()).err().unwrap();
    assert!(matches!(gone, OpenError::Io { .. }) && !gone.is_of_machine());
}
