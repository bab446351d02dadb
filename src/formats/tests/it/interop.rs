//! The tools of the field read what is written here, and what they write is read here.

use std::fs;
use std::path::Path;
use std::process::Command;

use imgbuild_formats::oci::{OciOptions, write_layout};
use imgbuild_formats::oci_read::{Layout, Selector};
use imgbuild_formats::{Compression, Image, LayerPolicy, Platform, write_docker_archive, write_tar};

use imgbuild_tree::{DeltaManifest, Node};

use crate::fixture::{LONG, OPAQUE, Stack, has, is_root, manifest_of, run, stack};

fn layout(stack: &Stack, compression: Compression) -> std::path::PathBuf {
    let place = stack.folder.path().join("layout");
    let options = OciOptions { compression, ref_name: Some("latest"), ..OciOptions::default() };
    write_layout(&place, &[stack.image()], &options).unwrap();
    place
}

/// Compares two trees and names the first path that differs.
#[track_caller]
fn assert_tree(found: &Path, stack: &Stack) {
    assert_same(&manifest_of(found), &stack.merged());
}

#[track_caller]
fn assert_same(found: &DeltaManifest, expected: &DeltaManifest) {
    for (found, expected) in found.entries.iter().zip(&expected.entries) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.entries.len(), expected.entries.len());
}

#[test]
fn umoci_unpacks_the_merged_tree() {
    let test = "umoci_unpacks_the_merged_tree";
    if !is_root(test) || !has("umoci", test) {
        return;
    }
    let stack = stack();
    // umoci 0.4 knows no zstd.
    let place = layout(&stack, Compression::Gzip);
    let bundle = stack.folder.path().join("bundle");
    run(Command::new("umoci")
        .arg("unpack")
        .arg("--image")
        .arg(format!("{}:latest", place.display()))
        .arg(&bundle));
    assert_tree(&bundle.join("rootfs"), &stack);
}

#[test]
fn skopeo_inspects_and_converts() {
    let test = "skopeo_inspects_and_converts";
    if !is_root(test) || !has("skopeo", test) {
        return;
    }
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let stack = stack();
        let place = layout(&stack, compression);
        let source = format!("oci:{}:latest", place.display());
        let text = run(Command::new("skopeo").args(["inspect", &source]));
        let inspected: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(inspected["Architecture"], "amd64");
        assert_eq!(inspected["Created"], "2023-11-14T22:13:20Z");
        assert_eq!(inspected["Layers"].as_array().unwrap().len(), 3);
        assert_eq!(inspected["Labels"]["a"], "1");
        let archive = stack.folder.path().join("converted.tar");
        let target = format!("docker-archive:{}:example:1", archive.display());
        // skopeo 1.9 does not turn zstd layers into Docker's.
        if compression != Compression::Zstd {
            run(Command::new("skopeo").args(["copy", "--quiet", &source, &target]));
        }
        // And the way back: what skopeo writes from our own docker archive is the same image.
        let own = stack.folder.path().join("own.tar");
        let tags = ["docker.io/library/example:1".to_owned()];
        write_docker_archive(&own, &stack.image(), &tags, LayerPolicy::Steps, None).unwrap();
        let back = stack.folder.path().join("back");
        let target = format!("oci:{}:again", back.display());
        run(Command::new("skopeo").args([
            "copy",
            "--quiet",
            &format!("docker-archive:{}", own.display()),
            &target,
        ]));
        let platform = Platform::linux("amd64");
        let one = Layout::open(&place).unwrap().find(Selector::Only, &platform).unwrap();
        let other = Layout::open(&back).unwrap().find(Selector::Tag("again"), &platform).unwrap();
        assert_eq!(one.config, other.config);
        let diff_ids = |image: &imgbuild_formats::oci_read::StoredImage| -> Vec<String> {
            image.layers.iter().map(|layer| layer.diff_id.clone()).collect()
        };
        assert_eq!(diff_ids(&one), diff_ids(&other));
    }
}

#[test]
fn a_layout_that_skopeo_wrote_in_docker_types_is_read() {
    let test = "a_layout_that_skopeo_wrote_in_docker_types_is_read";
    if !is_root(test) || !has("skopeo", test) {
        return;
    }
    let stack = stack();
    let place = layout(&stack, Compression::Gzip);
    let folder = stack.folder.path().join("docker");
    let source = format!("oci:{}:latest", place.display());
    // `dir:` keeps Docker's manifest; a layout around it is what a registry's copy looks like.
    let target = format!("dir:{}", folder.display());
    run(Command::new("skopeo").args(["copy", "--quiet", "--format", "v2s2", &source, &target]));
    let blobs = stack.folder.path().join("copied/blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), blobs.join(entry.file_name())).unwrap();
    }
    let manifest = fs_err::read(folder.join("manifest.json")).unwrap();
    let digest = sha256(&folder.join("manifest.json"));
    fs_err::write(blobs.join(&digest), &manifest).unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "digest": format!("sha256:{digest}"), "size": manifest.len(),
    }]});
    let copied = stack.folder.path().join("copied");
    fs_err::write(copied.join("index.json"), index.to_string()).unwrap();
    fs_err::write(copied.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let layout = Layout::open(&copied).unwrap();
    let image = layout.find(Selector::Only, &Platform::linux("amd64")).unwrap();
    assert_eq!(image.config, crate::fixture::config());
    let tree = stack.folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    layout.unpack(&image.layers[0], &tree, &[], OPAQUE).unwrap();
    assert_eq!(manifest_of(&tree), stack.layers[0].0);
}

fn sha256(file: &Path) -> String {
    run(Command::new("sha256sum").arg(file)).split_whitespace().next().unwrap().to_owned()
}

#[test]
fn skopeo_finds_each_platform_in_an_index() {
    let test = "skopeo_finds_each_platform_in_an_index";
    if !is_root(test) || !has("skopeo", test) {
        return;
    }
    let stack = stack();
    let place = stack.folder.path().join("layout");
    let images = [stack.image(), Image { platform: Platform::linux("arm64"), ..stack.image() }];
    let options = OciOptions { ref_name: Some("latest"), ..OciOptions::default() };
    write_layout(&place, &images, &options).unwrap();
    for architecture in ["amd64", "arm64"] {
        let source = format!("oci:{}:latest", place.display());
        let text = run(Command::new("skopeo").args(["--override-arch", architecture, "inspect", &source]));
        let inspected: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(inspected["Architecture"], architecture);
    }
}

#[test]
fn podman_loads_and_shows_the_merged_tree() {
    let test = "podman_loads_and_shows_the_merged_tree";
    if !is_root(test) || !has("podman", test) {
        return;
    }
    let stack = stack();
    let folder = stack.folder.path();
    let archive = folder.join("image.tar");
    let tags = ["localhost/example:1".to_owned()];
    write_docker_archive(&archive, &stack.image(), &tags, LayerPolicy::Steps, None).unwrap();
    layout(&stack, Compression::Zstd);
    let configuration = folder.join("containers.conf");
    fs_err::write(&configuration, "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n")
        .unwrap();
    let podman = |arguments: &[&str]| {
        let (root, runroot) = (folder.join("podman"), folder.join("podman-run"));
        let options = ["--root", root.to_str().unwrap(), "--runroot", runroot.to_str().unwrap()];
        // With overlayfs each layer is unpacked by itself, which is where a missing parent folder shows.
        let driver = ["--storage-driver", "overlay"];
        // In the folder, because podman takes the name of the image from a path that must then be in lower case.
        let mut command = Command::new("podman");
        command.current_dir(folder).env("CONTAINERS_CONF", &configuration);
        run(command.args(options).args(driver).args(arguments))
    };
    podman(&["load", "--quiet", "--input", archive.to_str().unwrap()]);
    let pulled = podman(&["pull", "--quiet", "oci:layout:latest"]);
    for name in ["localhost/example:1", pulled.trim()] {
        let inspected: serde_json::Value =
            serde_json::from_str(&podman(&["image", "inspect", name])).unwrap();
        assert_eq!(inspected[0]["Config"]["Entrypoint"], serde_json::json!(["/usr/bin/tool"]));
        let tree = podman(&["image", "mount", name]);
        // What podman mounts is read-only, and a capture settles what it captures.
        let copy = folder.join("copy");
        run(Command::new("cp").arg("--archive").arg(tree.trim()).arg(&copy));
        // podman gives the root of an image a mode and a time of its own, and knows no time before 1970.
        let [mut found, mut expected] = [manifest_of(&copy), stack.merged()];
        found.entries.remove(0);
        expected.entries.remove(0);
        for entry in &mut expected.entries {
            if let Node::File { metadata, .. } = &mut entry.node {
                metadata.mtime = metadata.mtime.max(0);
            }
        }
        assert_same(&found, &expected);
        fs_err::remove_dir_all(&copy).unwrap();
        podman(&["image", "unmount", name]);
    }
}

#[test]
fn tar_lists_and_unpacks_the_stream() {
    let test = "tar_lists_and_unpacks_the_stream";
    if !is_root(test) || !has("tar", test) {
        return;
    }
    let stack = stack();
    let file = stack.folder.path().join("root.tar");
    write_tar(&stack.squashed(), &mut fs::File::create(&file).unwrap()).unwrap();
    let listing = run(Command::new("tar").args(["--utc", "-tvf"]).arg(&file));
    assert!(listing.contains(&format!("srv/{LONG}\n")), "{listing}");
    assert!(listing.contains("prw-------"), "{listing}");
    assert!(listing.contains("1,3"), "{listing}");
    assert!(!listing.contains(".wh."), "{listing}");
    let tree = stack.folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let flags = ["--numeric-owner", "--same-permissions", "--xattrs", "--xattrs-include=*", "-xf"];
    run(Command::new("tar").current_dir(&tree).args(flags).arg(&file));
    assert_tree(&tree, &stack);
}
