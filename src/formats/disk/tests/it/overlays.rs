//! Images over others, as QEMU writes them and as they are written here.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use imgbuild_disk::{OverlayWriter, Qcow2Overlay, Said};
use tempfile::TempDir;

use crate::fixture::{content, noise, text};

const CLUSTER: u64 = 64 << 10;
/// No multiple of a cluster.
const SIZE: u64 = (20 << 20) + 4096;

/// A base with data everywhere, and an overlay that `commands` of `qemu-io` have written over it; `None`, with the reason said, where there
/// is no QEMU.
fn overlay(folder: &Path, commands: &[&str]) -> Option<(PathBuf, PathBuf)> {
    let (raw, base, overlay) = (folder.join("raw"), folder.join("base.qcow2"), folder.join("overlay.qcow2"));
    fs_err::write(&raw, noise(SIZE as usize)).unwrap();
    content("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", text(&raw), text(&base)])?;
    content("qemu-img", &["create", "-q", "-f", "qcow2", text(&overlay), &SIZE.to_string()])?;
    // As a machine opens it: what is below is said, not written down.
    let options = format!(
        "driver=qcow2,discard=unmap,file.driver=file,file.filename={},backing.driver=qcow2,backing.file.driver=file,\
         backing.file.filename={}",
        text(&overlay),
        text(&base)
    );
    let mut arguments = vec!["--image-opts", &*options];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    let said = content("qemu-io", &arguments)?;
    assert!(!said.contains("rror") && !said.contains("failed"), "{said}");
    Some((base, overlay))
}

/// Writes again what an overlay says, in pieces of an odd length.
fn again(overlay: &Qcow2Overlay, to: &Path) {
    let file = File::create(to).unwrap();
    let mut writer = OverlayWriter::new(&file, overlay.size()).unwrap();
    for Said { offset, length, zero } in overlay.said() {
        if zero {
            writer.zeros(offset, length).unwrap();
            continue;
        }
        let mut at = offset;
        while at < offset + length {
            let mut bytes = vec![0; 100_001.min(offset + length - at) as usize];
            overlay.read_at(&mut bytes, at).unwrap();
            writer.data(at, &bytes).unwrap();
            at += bytes.len() as u64;
        }
    }
    writer.finish().unwrap();
}

/// What the image shows over the base.
fn shown(base: &Path, overlay: &Path, to: &Path) -> Vec<u8> {
    let options = format!(
        "driver=qcow2,file.driver=file,file.filename={},backing.driver=qcow2,backing.file.driver=file,\
         backing.file.filename={}",
        text(overlay),
        text(base)
    );
    content("qemu-img", &["convert", "-O", "raw", "--image-opts", &options, text(to)]).unwrap();
    fs_err::read(to).unwrap()
}

#[test]
fn what_qemu_wrote_over_an_image_is_said_again() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let commands = [
        "write -P 1 12M 1M",
        "write -P 2 0 100k",
        "write -P 3 1M 1",
        "write -z 2M 1M",
        // Allocated, and zero by its flag.
        "write -P 4 4M 512k",
        "write -z 4M 256k",
        // Given back.
        "write -P 5 6M 1M",
        "discard 6M 512k",
        // Zeros that are stored.
        "write -P 0 8M 256k",
        // The last cluster, which is no whole one.
        "write -P 6 20M 4k",
        "write -P 7 11M 1M",
    ];
    let Some((base, overlay)) = overlay(folder.path(), &commands) else { return };
    let read = Qcow2Overlay::open(&overlay).unwrap();
    assert_eq!(read.size(), SIZE);
    let mut joined: Vec<Said> = Vec::new();
    for said in read.said() {
        match joined.last_mut() {
            Some(last) if last.zero == said.zero && last.offset + last.length == said.offset => {
                last.length += said.length;
            }
            _ => joined.push(said),
        }
    }
    let kib = |offset: u64, length: u64, zero| Said { offset: offset << 10, length: length << 10, zero };
    assert_eq!(
        joined,
        [
            kib(0, 128, false),
            kib(1024, 64, false),
            kib(2048, 1024, true),
            kib(4096, 256, true),
            kib(4096 + 256, 256, false),
            kib(6144, 512, true),
            kib(6144 + 512, 512, false),
            kib(8192, 256, false),
            kib(11 * 1024, 2048, false),
            kib(20 * 1024, 4, false),
        ]
    );

    let copy = path("copy.qcow2");
    again(&read, &copy);
    let checked = content("qemu-img", &["check", "-f", "qcow2", text(&copy)]).unwrap();
    assert!(checked.contains("No errors were found"), "{checked}");
    assert!(shown(&base, &overlay, &path("one")) == shown(&base, &copy, &path("other")));
    // The copy says the same; only its clusters lie elsewhere.
    let copied = Qcow2Overlay::open(&copy).unwrap();
    let all = |overlay: &Qcow2Overlay| overlay.said().map(|said| said.length).sum::<u64>();
    assert_eq!(all(&copied), all(&read));
    let twice = path("twice.qcow2");
    again(&copied, &twice);
    assert!(fs_err::read(&twice).unwrap() == fs_err::read(&copy).unwrap());

    let mut byte = [0];
    for nothing in [2 << 20, 9 << 20, SIZE] {
        let error = read.read_at(&mut byte, nothing).unwrap_err();
        assert_eq!(error.to_string(), "the image has no data there");
    }
}

#[test]
fn images_that_are_no_overlays_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let raw = path("raw");
    File::create(&raw).unwrap().write_all_at(&[1; 1 << 20], 0).unwrap();
    let image = path("image.qcow2");
    let convert = |arguments: &[&str]| {
        let convert = ["convert", "-f", "raw", "-O", "qcow2"];
        content("qemu-img", &[&convert[..], arguments, &[text(&raw), text(&image)]].concat())
    };
    for (arguments, wanted) in [
        (&["-c"][..], "compressed clusters"),
        (&["-o", "extended_l2=on"], "features that are not known here"),
        (&["-o", "backing_file=raw,backing_fmt=raw"], "it has a backing file"),
    ] {
        if convert(arguments).is_none() {
            return;
        }
        let error = Qcow2Overlay::open(&image).err().unwrap().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let error = Qcow2Overlay::open(&raw).err().unwrap().to_string();
    assert!(error.contains("it is no qcow2"), "{error}");
}

#[test]
fn what_is_out_of_place_is_refused() {
    let folder = TempDir::new().unwrap();
    let refused = |what: &dyn Fn(&mut OverlayWriter<'_>) -> Result<(), imgbuild_disk::DiskError>| {
        let file = File::create(folder.path().join("image")).unwrap();
        let mut writer = OverlayWriter::new(&file, SIZE).unwrap();
        let error = what(&mut writer).and_then(|()| writer.finish()).unwrap_err().to_string();
        assert!(error.contains("is no whole cluster, or out of order"), "{error}");
    };
    let cluster = noise(CLUSTER as usize);
    refused(&|writer| writer.data(5, &cluster));
    refused(&|writer| writer.data(0, &cluster[1..]));
    refused(&|writer| writer.data(SIZE - 4096, &cluster));
    refused(&|writer| writer.zeros(0, 5));
    refused(&|writer| writer.zeros(u64::MAX, CLUSTER));
    refused(&|writer| writer.data(0, &cluster[1..]).and_then(|()| writer.zeros(CLUSTER - 1, 1)));
    refused(&|writer| writer.data(CLUSTER, &cluster).and_then(|()| writer.data(0, &cluster)));
    refused(&|writer| writer.zeros(CLUSTER, CLUSTER).and_then(|()| writer.data(CLUSTER, &cluster)));
}
