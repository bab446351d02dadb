//! Views of layers as trees: merged as they are, contents checked against the manifests.

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

use imgbuild_digest::Digest;
use imgbuild_disk::ext4::{Ext4Options, Ext4Tree, write_ext4};
use imgbuild_disk::{DiskError, Tree};
use imgbuild_formats::{LayerSource, TreeView};
use imgbuild_tree::{DeltaManifest, Entry, Node, TreePath};
use tempfile::TempDir;

use crate::ext4::listing;
use crate::fixture::{EPOCH, Made, MemoryTree, owned};

const SIZE: u64 = 16 << 20;

struct Layer {
    manifest: DeltaManifest,
    tree: PathBuf,
}

impl Layer {
    fn new(folder: &TempDir, name: &str) -> Self {
        let tree = folder.path().join(name);
        fs_err::create_dir(&tree).unwrap();
        Self { manifest: DeltaManifest { entries: Vec::new() }, tree }
    }

    fn add(&mut self, path: &str, node: Node) -> &mut Self {
        let entry = Entry { path: TreePath::new(path.as_bytes()).unwrap(), node };
        self.manifest.entries.push(entry);
        self.manifest.entries.sort_by(|one, other| one.path.cmp(&other.path));
        self
    }

    fn file(&mut self, path: &str, contents: &[u8]) -> &mut Self {
        let place = self.tree.join(path);
        fs_err::create_dir_all(place.parent().unwrap()).unwrap();
        fs_err::write(place, contents).unwrap();
        let metadata = owned(0o644, 3, 4);
        self.add(path, Node::File { digest: Digest::of(contents), sha256: [0; 32], metadata })
    }

    fn source(&self) -> LayerSource<'_> {
        LayerSource { manifest: &self.manifest, tree: &self.tree }
    }
}

fn layers(folder: &TempDir) -> [Layer; 2] {
    let (mut low, mut high) = (Layer::new(folder, "low"), Layer::new(folder, "high"));
    let directory = || Node::Directory { opaque: false, metadata: owned(0o755, 1, 2) };
    low.add("etc", directory()).file("etc/gone", b"gone").file("etc/kept", b"kept").file("etc/new", b"old");
    low.add("etc/other", Node::HardLink { target: TreePath::new(b"etc/kept").unwrap() });
    high.add("etc/gone", Node::Whiteout).file("etc/new", &[7; 200_000]);
    high.add("etc/link", Node::SymbolicLink { target: (*b"new").into(), metadata: owned(0o777, 0, 0) });
    [low, high]
}

fn written(layers: &[Layer; 2]) -> Result<File, DiskError> {
    let sources = [layers[0].source(), layers[1].source()];
    let view = TreeView::squash(&sources, None).unwrap();
    let image = tempfile::tempfile().unwrap();
    image.set_len(SIZE).unwrap();
    let options = Ext4Options { size: SIZE, uuid: uuid::Uuid::nil(), label: None, epoch: EPOCH };
    write_ext4(&view as &dyn Tree, &options, &image, 0)?;
    Ok(image)
}

#[test]
fn layers_are_merged_on_the_disk() {
    let folder = TempDir::new().unwrap();
    let image = written(&layers(&folder)).unwrap();
    let mut expected = MemoryTree::default();
    expected.put("", imgbuild_tree::Metadata { mtime: EPOCH, ..owned(0o755, 0, 0) }, Made::Directory);
    expected.put("etc", owned(0o755, 1, 2), Made::Directory);
    expected.put("etc/kept", owned(0o644, 3, 4), Made::Bytes(b"kept".to_vec()));
    expected.put("etc/other", owned(0o644, 3, 4), Made::HardLink(b"etc/kept".to_vec()));
    expected.put("etc/new", owned(0o644, 3, 4), Made::Bytes(vec![7; 200_000]));
    expected.put("etc/link", owned(0o777, 0, 0), Made::SymbolicLink(b"new".to_vec()));
    assert_eq!(listing(&Ext4Tree::open(image, 0, SIZE).unwrap()), listing(&expected));
}

#[test]
fn a_damaged_layer_makes_no_disk() {
    let folder = TempDir::new().unwrap();
    let layers = layers(&folder);
    let kept = layers[0].tree.join("etc/kept");
    let message = || {
        let error = written(&layers).unwrap_err();
        format!("{error}: {}", error.source().unwrap())
    };
    fs_err::write(&kept, b"kepT").unwrap();
    let found = message();
    assert!(
        found.starts_with(
            "cannot read the contents of `/etc/kept`: the contents of `/etc/kept` do not match the layer's manifest: expected "
        ),
        "{found}"
    );
    fs_err::write(&kept, b"kept and more").unwrap();
    assert_eq!(
        written(&layers).unwrap_err().to_string(),
        "the contents of `/etc/kept` changed while the disk was written; nothing may write to a tree that is exported"
    );
    fs_err::remove_file(&kept).unwrap();
    fs_err::os::unix::fs::symlink("/etc/passwd", &kept).unwrap();
    assert!(message().contains("`/etc/kept` is not a regular file in the layer's tree"), "{}", message());
}
