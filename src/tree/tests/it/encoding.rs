//! The canonical bytes: golden vectors, round trips, and what a decoder must refuse.

use std::collections::BTreeMap;

use imgbuild_digest::Digest;
use imgbuild_tree::{DecodeError, DeltaManifest, Entry, InvalidManifest, Metadata, Node, TreePath};
use proptest::prelude::*;

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn entry(at: &str, node: Node) -> Entry {
    Entry { path: path(at), node }
}

fn file(contents: &[u8], metadata: Metadata) -> Node {
    Node::File { digest: Digest::of(contents), sha256: [7; 32], metadata }
}

/// One entry of every kind.
fn every_kind() -> DeltaManifest {
    let plain = Metadata::of_root(0o644, 1_700_000_000);
    let folder = Metadata::of_root(0o755, 0);
    let rich = Metadata {
        mode: 0o4755,
        uid: 1000,
        gid: u32::MAX,
        mtime: -1,
        xattrs: BTreeMap::from([
            (b"security.capability"[..].into(), vec![1, 0, 0, 2].into()),
            (b"user.a"[..].into(), vec![].into()),
        ]),
    };
    DeltaManifest {
        entries: vec![
            entry("", Node::Directory { opaque: false, metadata: folder.clone() }),
            entry("bin", Node::Directory { opaque: false, metadata: folder.clone() }),
            entry("bin-old", Node::Whiteout),
            entry("bin/tool", file(b"tool", rich)),
            entry("bin/tool2", Node::HardLink { target: path("bin/tool") }),
            entry("dev/null", Node::Device { block: false, major: 1, minor: 3, metadata: plain.clone() }),
            entry("dev/sda", Node::Device { block: true, major: 8, minor: 0, metadata: plain.clone() }),
            entry("etc", Node::Directory { opaque: true, metadata: folder }),
            entry(
                "etc/link",
                Node::SymbolicLink { target: b"../bin"[..].into(), metadata: Metadata::of_root(0o777, 5) },
            ),
            entry("pipe", Node::Fifo { metadata: plain }),
        ],
    }
}

#[test]
fn the_encoding_has_not_drifted() {
    let manifest = every_kind();
    let encoded = manifest.encode();
    assert_eq!(hex(&encoded), GOLDEN_BYTES);
    assert_eq!(manifest.id().to_string(), GOLDEN_ID);
    assert_eq!(DeltaManifest::decode(&encoded), Ok(manifest));
    assert_eq!(DeltaManifest::default().id().to_string(), GOLDEN_EMPTY_ID);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const GOLDEN_BYTES: &str = "696d6764656c7461010a000001ed0300000000000362696e01ed030000000003042d6f6c640003052f746f6f6c035c9c\
    c8c53d49a31722f68557e0ef0f12ec15232a4fb43c284e92b22367927e99040707070707070707070707070707070707\
    070707070707070707070707070707ed13e807ffffffff0f01021373656375726974792e6361706162696c6974790401\
    00000206757365722e6100080132040862696e2f746f6f6c00086465762f6e756c6c070103a403000080c49fd50c0004\
    03736461080800a403000080c49fd50c00000365746302ed030000000003052f6c696e6b05062e2e2f62696eff030000\
    0a0000047069706506a403000080c49fd50c00";
const GOLDEN_ID: &str = "80355b01a37b976189c6a5af217302a92ded015de54fa20bdb82fbddc623d834";
const GOLDEN_EMPTY_ID: &str = "0479b113a01d30d8272ea986d6e86b2df0942574f81baff5581b2740d4a0ff06";

#[test]
fn a_path_is_found_by_search() {
    let manifest = every_kind();
    for entry in &manifest.entries {
        assert_eq!(manifest.get(&entry.path), Some(&entry.node));
    }
    assert_eq!(manifest.get(&path("bin/too")), None);
}

#[test]
fn what_is_not_a_manifest_is_refused_with_its_reason() {
    assert_eq!(DeltaManifest::decode(b"hello"), Err(DecodeError::NotAManifest));
    let newer = [&b"imgdelta"[..], &[2, 0]].concat();
    let error = DeltaManifest::decode(&newer).unwrap_err();
    assert_eq!(
        error.to_string(),
        "delta manifest of version 2, but this program reads version 1; use a newer imgbuild"
    );
    let decode = |body: &[u8]| DeltaManifest::decode(&[&b"imgdelta\x01"[..], body].concat());
    assert!(decode(&[0]).is_ok());
    assert_eq!(decode(&[0, 0]), Err(DecodeError::Damaged("bytes follow the last entry")));
    assert_eq!(decode(&[0x80, 0]), Err(DecodeError::Damaged("a number is not in its shortest form")));
    // `ab`, then `ac` that shares nothing although it could share one byte.
    assert_eq!(
        decode(&[2, 0, 2, b'a', b'b', 0, 0, 2, b'a', b'c', 0]),
        Err(DecodeError::Damaged("a path shares less than it could"))
    );
    for bad in [&b"a/"[..], b"/a", b"a//b", b"a/../b", b".", b"a\0"] {
        let body = [&[1, 0, bad.len() as u8][..], bad, &[0]].concat();
        assert_eq!(decode(&body), Err(DecodeError::Damaged("a path is not in canonical form")), "{bad:?}");
    }
    assert!(matches!(decode(&[0xff; 12]), Err(DecodeError::Damaged(_))));
}

#[test]
fn entries_that_contradict_each_other_are_refused() {
    let check = |entries: Vec<Entry>| DeltaManifest { entries }.validate();
    let plain = || file(b"", Metadata::default());
    assert_eq!(check(vec![entry("b", plain()), entry("a", plain())]), Err(InvalidManifest::Order(path("a"))));
    assert_eq!(check(vec![entry("a", plain()), entry("a", plain())]), Err(InvalidManifest::Order(path("a"))));
    assert_eq!(
        check(vec![entry("a", plain()), entry("a-b", Node::Whiteout), entry("a/b/c", Node::Whiteout)]),
        Err(InvalidManifest::Parent(path("a/b/c")))
    );
    for target in ["b", "c", "nothing"] {
        let link = entry("b", Node::HardLink { target: path(target) });
        assert_eq!(
            check(vec![entry("a", Node::Whiteout), link, entry("c", plain())]),
            Err(InvalidManifest::Link(path("b")))
        );
    }
    assert_eq!(check(vec![entry("", plain())]), Err(InvalidManifest::Root));
    assert_eq!(
        check(vec![entry("a", file(b"", Metadata { mode: 0o10_000, ..Metadata::default() }))]),
        Err(InvalidManifest::Field(path("a")))
    );
    assert_eq!(
        check(vec![entry(
            "a",
            Node::File { digest: Digest::sha256([0; 32], 0), sha256: [0; 32], metadata: Metadata::default() }
        )]),
        Err(InvalidManifest::Field(path("a")))
    );
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let xattrs = proptest::collection::btree_map(
        proptest::collection::vec(1u8.., 1..8).prop_map(Into::into),
        proptest::collection::vec(any::<u8>(), 0..8).prop_map(Into::into),
        0..3,
    );
    (0..=0o7777u32, any::<u32>(), any::<u32>(), any::<i64>(), xattrs)
        .prop_map(|(mode, uid, gid, mtime, xattrs)| Metadata { mode, uid, gid, mtime, xattrs })
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        Just(Node::Whiteout),
        (any::<bool>(), metadata()).prop_map(|(opaque, metadata)| Node::Directory { opaque, metadata }),
        (any::<[u8; 32]>(), any::<u64>(), any::<[u8; 32]>(), metadata()).prop_map(
            |(hash, size, sha256, metadata)| {
                let digest = Digest::blake3(imgbuild_digest::Hash(hash), size);
                Node::File { digest, sha256, metadata }
            }
        ),
        (proptest::collection::vec(any::<u8>(), 0..20), metadata()).prop_map(|(target, metadata)| {
            let metadata = Metadata { mode: 0o777, ..metadata };
            Node::SymbolicLink { target: target.into(), metadata }
        }),
        metadata().prop_map(|metadata| Node::Fifo { metadata }),
        (any::<bool>(), any::<u32>(), any::<u32>(), metadata())
            .prop_map(|(block, major, minor, metadata)| Node::Device { block, major, minor, metadata }),
    ]
}

/// Any valid manifest: of random entries those that break a rule are left out.
fn manifest() -> impl Strategy<Value = DeltaManifest> {
    let at = proptest::collection::vec("[a-c\\-]{1,2}", 0..4).prop_map(|parts| parts.join("/"));
    let entries = proptest::collection::btree_map(at, (node(), any::<bool>()), 0..24);
    entries.prop_map(|entries| {
        let mut manifest = DeltaManifest::default();
        let mut first_file: Option<TreePath> = None;
        for (at, (node, link)) in entries {
            let path = path(&at);
            let node = match (&first_file, link) {
                (Some(target), true) => Node::HardLink { target: target.clone() },
                _ => node,
            };
            let is_file = matches!(node, Node::File { .. });
            manifest.entries.push(Entry { path: path.clone(), node });
            if manifest.validate().is_err() {
                manifest.entries.pop();
            } else if is_file {
                first_file = Some(path);
            }
        }
        manifest
    })
}

proptest! {
    #[test]
    fn a_round_trip_changes_nothing(manifest in manifest()) {
        let encoded = manifest.encode();
        let decoded = DeltaManifest::decode(&encoded).unwrap();
        prop_assert_eq!(&decoded, &manifest);
        prop_assert_eq!(decoded.id(), DeltaManifest::id_of_encoded(&encoded));
    }

    /// No other bytes decode to the same manifest: whatever still decodes after a change encodes to just those
    /// bytes.
    #[test]
    fn there_is_one_encoding(manifest in manifest(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut encoded = manifest.encode();
        let at = at.index(encoded.len());
        encoded[at] = to;
        if let Ok(decoded) = DeltaManifest::decode(&encoded) {
            prop_assert_eq!(decoded.encode(), encoded);
        }
    }

    #[test]
    fn a_cut_manifest_is_refused(manifest in manifest(), at in any::<prop::sample::Index>()) {
        let encoded = manifest.encode();
        prop_assert!(DeltaManifest::decode(&encoded[..at.index(encoded.len())]).is_err());
    }
}
