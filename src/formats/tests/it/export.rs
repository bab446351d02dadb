//! What the writers make, read back by this crate.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_formats::oci::{BlobKey, BlobReuse, LayerBlob, OciOptions, ReusableBlob, write_layout};
use imgbuild_formats::oci_read::{Layout, ReadError, Selector, StoredImage};
use imgbuild_formats::unpack::unpack_rootfs_tar;
use imgbuild_formats::{
    Compression, DirectoryOptions, ExportError, Image, ImageConfig, LayerPolicy, LayerSource, Platform, Step,
    TreeView, write_directory, write_tarball,
};
use imgbuild_tree::{DeltaManifest, Entry, Metadata, Node, TreePath};

use crate::fixture::{
    OPAQUE, Stack, TIME, config, is_root, manifest_of, manifest_over, paper_stack, path, stack,
};

fn amd64() -> Platform {
    Platform::linux("amd64")
}

/// Unpacks all layers of an image, each over those below, and captures them.
fn read_back(layout: &Path, folder: &Path) -> (StoredImage, Vec<Arc<DeltaManifest>>) {
    let layout = Layout::open(layout).unwrap();
    let image = layout.find(Selector::Only, &amd64()).unwrap();
    let mut trees: Vec<PathBuf> = Vec::new();
    let mut manifests = Vec::new();
    for (index, layer) in image.layers.iter().enumerate() {
        let tree = folder.join(format!("unpacked-{index}"));
        fs::create_dir(&tree).unwrap();
        let lower: Vec<&Path> = trees.iter().rev().map(PathBuf::as_path).collect();
        let notices = layout.unpack(layer, &tree, &lower, OPAQUE).unwrap();
        assert_eq!(notices, []);
        if !manifests.is_empty() {
            // What the rootfs builder does before it captures: the root of an upper directory is not its own.
            imgbuild_tree::prepare_root(&tree, &imgbuild_tree::MergedView::new(&manifests)).unwrap();
        }
        manifests.push(Arc::new(manifest_over(&tree, &manifests)));
        trees.push(tree);
    }
    (image, manifests)
}

fn merged(manifests: &[Arc<DeltaManifest>]) -> DeltaManifest {
    let entries = imgbuild_tree::merge(manifests);
    DeltaManifest {
        entries: entries
            .into_iter()
            .map(|entry| Entry { path: entry.path, node: entry.node.into_owned() })
            .collect(),
    }
}

#[track_caller]
fn assert_same(found: &DeltaManifest, expected: &DeltaManifest) {
    for (found, expected) in found.entries.iter().zip(&expected.entries) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.entries.len(), expected.entries.len());
}

#[test]
fn what_is_written_is_read_back_layer_by_layer() {
    if !is_root("what_is_written_is_read_back_layer_by_layer") {
        return;
    }
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let stack = stack();
        let layout = stack.folder.path().join("layout");
        let options = OciOptions { compression, ref_name: Some("v1"), ..OciOptions::default() };
        let written = write_layout(&layout, &[stack.image()], &options).unwrap();
        let (image, manifests) = read_back(&layout, stack.folder.path());
        assert_eq!(manifests.len(), 3);
        for (found, expected) in manifests.iter().zip(stack.manifests()) {
            assert_same(found, &expected);
        }
        assert_eq!(image.config, config());
        assert_eq!(image.platform, amd64());
        assert_eq!(image.created.as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(image.manifest, written.digest);
        let history: Vec<bool> = image.history.iter().map(|entry| entry.empty_layer).collect();
        assert_eq!(history, [false, true, false, false]);
        let layout = Layout::open(&layout).unwrap();
        assert_eq!(layout.find(Selector::Tag("v1"), &amd64()).unwrap(), image);
        let digest = format!("sha256:{}", image.manifest.hex());
        assert_eq!(layout.find(Selector::Digest(&digest), &amd64()).unwrap(), image);
    }
}

#[test]
fn joined_layers_show_the_same_tree() {
    if !is_root("joined_layers_show_the_same_tree") {
        return;
    }
    for (policy, count) in [(LayerPolicy::Squash, 1), (LayerPolicy::AtMost(NonZeroUsize::new(2).unwrap()), 2)]
    {
        let stack = stack();
        let layout = stack.folder.path().join("layout");
        let options = OciOptions { layers: policy, ..OciOptions::default() };
        write_layout(&layout, &[stack.image()], &options).unwrap();
        let (image, manifests) = read_back(&layout, stack.folder.path());
        assert_eq!(manifests.len(), count);
        assert_same(&merged(&manifests), &stack.merged());
        assert_eq!(image.history.len(), 4);
        assert_eq!(image.history.iter().filter(|entry| !entry.empty_layer).count(), count);
    }
}

#[test]
fn a_tarball_and_a_directory_hold_the_merged_tree() {
    if !is_root("a_tarball_and_a_directory_hold_the_merged_tree") {
        return;
    }
    let stack = stack();
    let expected = stack.merged();
    let directory = stack.folder.path().join("directory");
    let notices =
        write_directory(&directory, &stack.squashed(), DirectoryOptions { ownership: true }).unwrap();
    assert_eq!(notices, []);
    assert_same(&manifest_of(&directory), &expected);
    assert!(matches!(
        write_directory(&directory, &stack.squashed(), DirectoryOptions::default()),
        Err(ExportError::DestinationTaken { .. })
    ));
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let file = stack.folder.path().join(format!("root.tar{}", compression.extension()));
        let written = write_tarball(&file, &stack.squashed(), compression, NonZeroUsize::MIN).unwrap();
        assert_eq!(written.digest.size, fs::metadata(&file).unwrap().len());
        let tree = stack.folder.path().join(format!("tree{}", compression.extension()));
        fs::create_dir(&tree).unwrap();
        unpack_rootfs_tar(fs::File::open(&file).unwrap(), &tree).unwrap();
        assert_same(&manifest_of(&tree), &expected);
    }
}

#[test]
fn paths_that_are_left_out_are_in_no_layer() {
    if !is_root("paths_that_are_left_out_are_in_no_layer") {
        return;
    }
    let stack = stack();
    let leave_out = |path: &TreePath| {
        let path = path.as_bytes();
        path == b"var/cache" || path == b"opt" || path == b"etc/passwd"
    };
    let layout = stack.folder.path().join("layout");
    let options = OciOptions { leave_out: Some(&leave_out), ..OciOptions::default() };
    write_layout(&layout, &[stack.image()], &options).unwrap();
    let (_, manifests) = read_back(&layout, stack.folder.path());
    for manifest in &manifests {
        for entry in &manifest.entries {
            let path = entry.path.as_bytes();
            assert!(!path.starts_with(b"var/cache") && !path.starts_with(b"opt") && path != b"etc/passwd");
        }
    }
    let mut expected = stack.merged();
    expected.entries.retain(|entry| {
        let path = entry.path.as_bytes();
        !path.starts_with(b"var/cache") && !path.starts_with(b"opt") && path != b"etc/passwd"
    });
    assert_same(&merged(&manifests), &expected);
}

#[derive(Default)]
struct Store {
    folder: Option<tempfile::TempDir>,
    blobs: RefCell<HashMap<[u8; 32], ReusableBlob>>,
}

impl BlobReuse for Store {
    fn find(&self, key: &BlobKey) -> Option<ReusableBlob> {
        self.blobs.borrow().get(&key.0.0).cloned()
    }

    fn offer(&self, key: &BlobKey, blob: &LayerBlob, path: &Path) {
        let kept = self.folder.as_ref().unwrap().path().join(key.0.to_string());
        fs::copy(path, &kept).unwrap();
        self.blobs.borrow_mut().insert(key.0.0, ReusableBlob { blob: *blob, path: kept });
    }
}

#[test]
fn layers_compressed_before_are_taken_again_unless_damaged() {
    if !is_root("layers_compressed_before_are_taken_again_unless_damaged") {
        return;
    }
    let stack = stack();
    let layout = stack.folder.path().join("layout");
    let store = Store { folder: Some(tempfile::tempdir().unwrap()), ..Store::default() };
    let options = OciOptions { reuse: Some(&store), ..OciOptions::default() };
    let reused = || {
        let written = write_layout(&layout, &[stack.image()], &options).unwrap();
        (written.digest, written.images[0].layers.iter().map(|layer| layer.reused).collect::<Vec<_>>())
    };
    let (first, none) = reused();
    assert_eq!(none, [false, false, false]);
    assert_eq!(reused(), (first, vec![true, true, true]));
    let damaged = store.blobs.borrow().values().next().unwrap().path.clone();
    let mut bytes = fs_err::read(&damaged).unwrap();
    bytes[20] ^= 1;
    fs_err::write(&damaged, bytes).unwrap();
    let (again, mut which) = reused();
    assert_eq!(again, first);
    which.sort_unstable();
    assert_eq!(which, [false, true, true]);
    // Another compression is another blob.
    let options = OciOptions { compression: Compression::Gzip, ..options };
    let gzip = write_layout(&layout, &[stack.image()], &options).unwrap();
    assert!(gzip.images[0].layers.iter().all(|layer| !layer.reused));
}

#[test]
fn a_file_that_is_not_what_its_manifest_says_ends_the_export() {
    if !is_root("a_file_that_is_not_what_its_manifest_says_ends_the_export") {
        return;
    }
    type Damage = fn(&Path);
    let damages: [(Damage, &str); 4] = [
        (
            |file| fs_err::write(file, b"root:x:0:0:toor:/root:/bin/sh\n").unwrap(),
            "`/etc/passwd` do not match",
        ),
        (|file| fs_err::write(file, b"root").unwrap(), "`/etc/passwd` do not match"),
        (|file| fs_err::write(file, [b'x'; 4000]).unwrap(), "`/etc/passwd` do not match"),
        (
            |file| {
                fs_err::remove_file(file).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", file).unwrap();
            },
            "`/etc/passwd` is not a regular file",
        ),
    ];
    for (damage, message) in damages {
        let stack = stack();
        damage(&stack.layers[0].1.join("etc/passwd"));
        let layout = stack.folder.path().join("layout");
        let error = write_layout(&layout, &[stack.image()], &OciOptions::default()).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.to_string().contains("imgbuild cache verify"), "{error}");
        let left: Vec<_> = fs::read_dir(stack.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("layer-"))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "something half-written is left");
    }
}

fn paper_image(manifests: &[DeltaManifest]) -> Image<'_> {
    let steps = manifests
        .iter()
        .map(|manifest| Step {
            layer: Some(LayerSource { manifest, tree: Path::new("/nowhere") }),
            created_by: String::new(),
        })
        .collect();
    Image { platform: amd64(), config: ImageConfig::default(), steps, created: 0 }
}

#[test]
fn too_many_layers_are_refused_with_a_way_out() {
    let manifests = paper_stack(&[1; 121]);
    let folder = tempfile::tempdir().unwrap();
    let write = |layers| {
        let options = OciOptions { layers, ..OciOptions::default() };
        write_layout(&folder.path().join("layout"), &[paper_image(&manifests)], &options)
    };
    let error = write(LayerPolicy::Steps).unwrap_err().to_string();
    assert_eq!(
        error,
        "the image would have 121 layers, and container engines take at most 120; \
         set `layers = \"squash\"`, or a number of layers to keep"
    );
    // These get as far as the files, which do not exist.
    for policy in [LayerPolicy::Squash, LayerPolicy::AtMost(NonZeroUsize::new(120).unwrap())] {
        assert!(matches!(write(policy), Err(ExportError::Io { .. })));
    }
}

#[test]
fn names_that_oci_reserves_are_refused() {
    let node = Node::Fifo { metadata: Metadata::default() };
    let manifest = DeltaManifest { entries: vec![Entry { path: path("srv/.wh.x"), node }] };
    let folder = tempfile::tempdir().unwrap();
    let image = paper_image(std::slice::from_ref(&manifest));
    let error = write_layout(&folder.path().join("layout"), &[image], &OciOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("`/srv/.wh.x` cannot be put in an OCI layer"), "{error}");
}

#[test]
fn platforms_share_an_index_and_are_found_in_it() {
    if !is_root("platforms_share_an_index_and_are_found_in_it") {
        return;
    }
    let stack = stack();
    let layout = stack.folder.path().join("layout");
    let arm64 = Platform { variant: Some("v8".to_owned()), ..Platform::linux("arm64") };
    let images = [stack.image(), Image { platform: arm64.clone(), ..stack.image() }];
    let options = OciOptions { ref_name: Some("latest"), ..OciOptions::default() };
    let written = write_layout(&layout, &images, &options).unwrap();
    let read = Layout::open(&layout).unwrap();
    let index = format!("sha256:{}", written.digest.hex());
    for selector in [Selector::Only, Selector::Tag("latest"), Selector::Digest(&index)] {
        assert_eq!(read.find(selector, &amd64()).unwrap().manifest, written.images[0].manifest);
        for wanted in [&arm64, &Platform::linux("arm64")] {
            assert_eq!(read.find(selector, wanted).unwrap().manifest, written.images[1].manifest);
        }
    }
    let error = read.find(Selector::Only, &Platform::linux("riscv64")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image does not exist for `linux/riscv64`; it has `linux/amd64`, `linux/arm64/v8`"
    );
    let error = read.find(Selector::Tag("v2"), &amd64()).unwrap_err();
    assert_eq!(error.to_string(), "there is no image `v2` in the layout; it has `latest`");
    // Both have the same layers, which are stored once.
    assert_eq!(fs::read_dir(layout.join("blobs/sha256")).unwrap().count(), 3 + 2 * 2 + 1);
    let twice = [stack.image(), stack.image()];
    assert!(matches!(write_layout(&layout, &twice, &options), Err(ExportError::DuplicatePlatform(_))));
}

#[test]
fn only_a_layout_is_replaced_by_a_layout() {
    let manifest = DeltaManifest::default();
    let image = || paper_image(std::slice::from_ref(&manifest));
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("layout");
    fs::create_dir(&place).unwrap();
    let write = || write_layout(&place, &[image()], &OciOptions::default());
    write().unwrap();
    write().unwrap();
    fs_err::remove_file(place.join("oci-layout")).unwrap();
    assert!(matches!(write(), Err(ExportError::DestinationTaken { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn stored(stack: &Stack) -> (PathBuf, StoredImage) {
    let place = stack.folder.path().join("layout");
    write_layout(&place, &[stack.image()], &OciOptions::default()).unwrap();
    let image = Layout::open(&place).unwrap().find(Selector::Only, &amd64()).unwrap();
    (place, image)
}

#[test]
fn damage_is_found_when_a_layout_is_read() {
    if !is_root("damage_is_found_when_a_layout_is_read") {
        return;
    }
    let stack = stack();
    let (place, image) = stored(&stack);
    let layout = Layout::open(&place).unwrap();
    let tree = stack.folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let blob = layout.blob_path(&image.layers[0].blob);
    let whole = fs_err::read(&blob).unwrap();
    for damaged in [&whole[..whole.len() - 1], &[&whole[..], b"x"].concat(), &{
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        bytes
    }] {
        fs_err::write(&blob, damaged).unwrap();
        let error = layout.unpack(&image.layers[0], &tree, &[], OPAQUE).unwrap_err();
        assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
        fs_err::remove_dir_all(&tree).unwrap();
        fs::create_dir(&tree).unwrap();
    }
    fs_err::write(&blob, &whole).unwrap();
    let mut wrong = image.layers[0].clone();
    wrong.diff_id = image.layers[1].diff_id.clone();
    let error = layout.unpack(&wrong, &tree, &[], OPAQUE).unwrap_err();
    assert!(matches!(error, ReadError::DiffId { .. }), "{error}");
    let config = layout.blob_path(&image.config_digest);
    let text = fs_err::read_to_string(&config).unwrap().replace("amd64", "arm64");
    fs_err::write(&config, text).unwrap();
    let error = layout.find(Selector::Only, &amd64()).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    assert!(matches!(Layout::open(&tree), Err(ReadError::NotALayout(_))));
}

#[test]
fn an_empty_image_has_no_layers() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("layout");
    let image = Image { created: TIME, ..paper_image(&[]) };
    write_layout(&place, &[image], &OciOptions::default()).unwrap();
    let image = Layout::open(&place).unwrap().find(Selector::Only, &amd64()).unwrap();
    assert_eq!(image.layers, []);
    assert!(TreeView::squash(&[], None).unwrap().is_empty());
}
