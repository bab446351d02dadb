//! ext4 file systems against `e2fsck`, `debugfs` and their own reader.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use imgbuild_disk::ext4::{Ext4Options, Ext4Plan, Ext4Tree, write_ext4};
use imgbuild_disk::{Node, Tree};
use tempfile::TempDir;
use uuid::Uuid;

use crate::fixture::{EPOCH, Made, MemoryTree, content, hash, noise, owned, text};

fn options(size: u64) -> Ext4Options {
    Ext4Options { size, uuid: Uuid::from_u128(0x1234), label: Some("root".to_owned()), epoch: EPOCH }
}

/// Writes `tree` to a file of `size` bytes.
fn written(folder: &TempDir, name: &str, tree: &dyn Tree, size: u64) -> PathBuf {
    let path = folder.path().join(name);
    let image = File::create_new(&path).unwrap();
    image.set_len(size).unwrap();
    write_ext4(tree, &options(size), &image, 0).unwrap();
    path
}

fn check(image: &Path) {
    content("e2fsck", &["-fn", text(image)]);
}

/// Everything of a tree as text, contents by hash.
pub fn listing(tree: &dyn Tree) -> BTreeMap<Vec<u8>, String> {
    let mut lines = BTreeMap::new();
    for entry in tree.entries() {
        let metadata = entry.metadata;
        let line = match entry.node {
            Node::File { size } => {
                let mut hasher = blake3::Hasher::new();
                let read = std::io::copy(&mut tree.open(entry.path).unwrap(), &mut hasher).unwrap();
                assert_eq!(read, size);
                format!("{metadata:?} {size} {}", hasher.finalize())
            }
            Node::HardLink { target } => format!("link to {}", target.escape_ascii()),
            node => format!("{metadata:?} {node:?}"),
        };
        lines.insert(entry.path.to_vec(), line);
    }
    lines
}

/// A tree with something of each sort.
pub fn everything() -> MemoryTree {
    let mut tree = MemoryTree::default();
    tree.put("", owned(0o755, 0, 0), Made::Directory);
    tree.directory("dev").directory("etc").directory("home").directory("tmp");
    tree.put("tmp", owned(0o1777, 0, 0), Made::Directory);
    tree.put("home/user", owned(0o700, 1000, 1000), Made::Directory);
    tree.put("home/user/large-ids", owned(0o640, 4_000_000_000, 3_000_000_000), Made::Bytes(b"x".to_vec()));
    tree.file("etc/empty", "").file("etc/hostname", "box\n");
    tree.file("etc/blocks", noise(3 * 4096)).file("etc/odd", noise(100_001));
    tree.put("etc/program", owned(0o4755, 0, 0), Made::Bytes(noise(5000)));
    tree.put("etc/zz-link", owned(0o644, 0, 0), Made::HardLink(b"etc/odd".to_vec()));
    tree.put("etc/short", owned(0o777, 0, 0), Made::SymbolicLink(b"hostname".to_vec()));
    tree.put("etc/long", owned(0o777, 0, 0), Made::SymbolicLink(vec![b'l'; 1000]));
    tree.put("dev/null", owned(0o666, 0, 0), Made::Device { block: false, major: 1, minor: 3 });
    tree.put("dev/disk", owned(0o660, 0, 6), Made::Device { block: true, major: 259, minor: 70_000 });
    tree.put("dev/pipe", owned(0o600, 0, 0), Made::Fifo);
    tree.file("etc/\u{e4}\u{1f980}", "name");
    tree.file([b"etc/".as_slice(), &[b'n'; 255]].concat(), "long name");
    let mut attributes = owned(0o755, 0, 0);
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    attributes.xattrs.insert((*b"security.capability").into(), capability.into());
    attributes.xattrs.insert((*b"user.large").into(), vec![7; 3000].into());
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    attributes.xattrs.insert((*b"system.posix_acl_access").into(), acl.into());
    tree.put("etc/attributes", attributes, Made::Bytes(b"a".to_vec()));
    tree.put(
        "etc/sparse",
        owned(0o600, 0, 0),
        Made::Sparse { size: 3_000_000_007, marks: vec![(0, 1), (1_500_000_000, 2), (3_000_000_006, 3)] },
    );
    tree.put("etc/void", owned(0o600, 0, 0), Made::Sparse { size: 10 << 20, marks: vec![] });
    tree.put(
        "etc/old",
        imgbuild_tree::Metadata { mtime: -86_400, ..owned(0o600, 0, 0) },
        Made::Bytes(vec![]),
    );
    tree.put(
        "etc/late",
        imgbuild_tree::Metadata { mtime: 5_000_000_000, ..owned(0o600, 0, 0) },
        Made::Bytes(vec![]),
    );
    tree
}

#[test]
fn everything_comes_back() {
    let folder = TempDir::new().unwrap();
    let tree = everything();
    let image = written(&folder, "image", &tree, 32 << 20);
    check(&image);
    let read = Ext4Tree::open(File::open(&image).unwrap(), 0, 32 << 20).unwrap();
    assert_eq!(listing(&read), listing(&tree));
    assert_eq!(read.uuid(), Uuid::from_u128(0x1234));
    assert!(read.open(b"etc").is_err());
    assert!(read.open(b"no").is_err());
}

#[test]
fn debugfs_sees_the_same() {
    let folder = TempDir::new().unwrap();
    let image = written(&folder, "image", &everything(), 32 << 20);
    let ask = |question: &str| content("debugfs", &["-R", question, text(&image)]);
    let Some(stat) = ask("stat /etc/odd") else { return };
    assert!(
        stat.contains("Links: 2") && stat.contains("Mode:  0644") && stat.contains("Size: 100001"),
        "{stat}"
    );
    assert!(stat.contains("0x6553ed18:00000000"), "{stat}");
    let stat = ask("stat /dev/disk").unwrap();
    assert!(stat.contains("Type: block special") && stat.contains("259:70000"), "{stat}");
    let stat = ask("stat /etc/sparse").unwrap();
    assert!(stat.contains("Size: 3000000007") && stat.contains("Blockcount: 304"), "{stat}");
    let attributes = ask("ea_list /etc/attributes").unwrap();
    assert!(attributes.contains("security.capability (20)"), "{attributes}");
    assert!(attributes.contains("system.posix_acl_access"), "{attributes}");
    assert!(ask("stat /etc/program").unwrap().contains("Mode:  04755"));
    assert!(ask("cat /etc/hostname").unwrap().contains("box\n"));
    let stat = ask("stat /home/user/large-ids").unwrap();
    // Some versions show it as a signed number.
    assert!(stat.contains("User: 4000000000") || stat.contains("User: -294967296"), "{stat}");
}

#[test]
fn bytes_do_not_depend_on_place_or_time() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new_in("/dev/shm").unwrap());
    let first = written(&one, "image", &everything(), 32 << 20);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = written(&other, "another name", &everything(), 32 << 20);
    assert_eq!(hash(&first), hash(&second));
}

#[test]
fn a_folder_of_many_files_and_a_deep_one() {
    let folder = TempDir::new().unwrap();
    let mut tree = MemoryTree::default();
    for index in 0..100_000 {
        tree.file(format!("many/file-{index:06}"), if index % 1000 == 0 { "x" } else { "" });
    }
    let mut deep = "deep".to_owned();
    for level in 0..1500 {
        deep.push_str(if level % 2 == 0 { "/d" } else { "/\u{e9}" });
    }
    tree.file(format!("{deep}/end"), "found");
    tree.file("many/linked", "l");
    for index in 0..5000 {
        tree.put(
            format!("names/{index:04}{}", "n".repeat(200)),
            owned(0o644, 0, 0),
            Made::HardLink(b"many/linked".to_vec()),
        );
    }
    let needed = Ext4Plan::new(&tree).unwrap().minimal_size().unwrap();
    let image = written(&folder, "image", &tree, needed);
    check(&image);
    let read = Ext4Tree::open(File::open(&image).unwrap(), 0, needed).unwrap();
    assert_eq!(read.entries().count(), 100_000 + 1 + 5000 + 3 + 1500 + 1 + 1);
    let mut end = String::new();
    read.open(format!("{deep}/end").as_bytes()).unwrap().read_to_string(&mut end).unwrap();
    assert_eq!(end, "found");
}

#[test]
fn the_smallest_size_is_enough_and_little_more() {
    let folder = TempDir::new().unwrap();
    let mut tree = MemoryTree::default();
    for index in 0..300 {
        tree.file(format!("f{index}"), noise(100_000));
    }
    let needed = Ext4Plan::new(&tree).unwrap().minimal_size().unwrap();
    assert!((30_000_000..45_000_000).contains(&needed), "{needed}");
    check(&written(&folder, "image", &tree, needed));
    let image = File::create_new(folder.path().join("small")).unwrap();
    let error = write_ext4(&tree, &options(24 << 20), &image, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the root file system needs at least {0}M and has 24M; set `size` to {0}M or more, or leave it out",
            needed >> 20
        )
    );
}

#[test]
fn the_file_system_grows() {
    let folder = TempDir::new().unwrap();
    let image = written(&folder, "image", &everything(), 32 << 20);
    File::options().write(true).open(&image).unwrap().set_len(700 << 20).unwrap();
    if content("resize2fs", &["-f", text(&image)]).is_some() {
        check(&image);
        let tree = Ext4Tree::open(File::open(&image).unwrap(), 0, 700 << 20).unwrap();
        assert_eq!(listing(&tree), listing(&everything()));
    }
}

#[test]
fn what_ext4_cannot_hold_is_said() {
    let mut huge = owned(0o644, 0, 0);
    huge.xattrs.insert((*b"user.huge").into(), vec![0; 5000].into());
    let mut odd = owned(0o644, 0, 0);
    odd.xattrs.insert((*b"odd.name").into(), vec![0].into());
    let mut acl = owned(0o644, 0, 0);
    acl.xattrs.insert((*b"system.posix_acl_access").into(), vec![1].into());
    let late = imgbuild_tree::Metadata { mtime: 1 << 40, ..owned(0o644, 0, 0) };
    let file = || Made::Bytes(Vec::new());
    let cases: Vec<(&[u8], imgbuild_tree::Metadata, Made, &str)> = vec![
        (
            b"n\xff",
            owned(0o644, 0, 0),
            file(),
            "the name `/n\u{fffd}` is not UTF-8, which the ext4 writer needs; rename it",
        ),
        (
            b"l",
            owned(0o777, 0, 0),
            Made::SymbolicLink(b"\xff".to_vec()),
            "the target of the link `/l` is not UTF-8, which the ext4 writer needs; rename it",
        ),
        (
            b"l",
            owned(0o777, 0, 0),
            Made::SymbolicLink(vec![b'l'; 5000]),
            "`/l` cannot be put on ext4: symlink target length 5000 (must be 1..=4095, no NUL)",
        ),
        (
            b"f",
            huge,
            file(),
            "`/f` cannot be put on ext4: its extended attributes take more than a block of 4096 bytes",
        ),
        (
            b"f",
            odd,
            file(),
            "`/f` cannot be put on ext4: xattr name \"odd.name\" has no recognized namespace",
        ),
        (b"f", acl, file(), "`/f` cannot be put on ext4: `system.posix_acl_access` is no POSIX ACL"),
        (
            b"f",
            late,
            file(),
            "`/f` cannot be put on ext4: 1099511627776 seconds since 1970 is beyond its times",
        ),
        (
            b"h",
            owned(0o644, 0, 0),
            Made::HardLink(b"none".to_vec()),
            "the hard link `/h` points to `/none`, which is no file before it in the tree",
        ),
        (
            b"d",
            owned(0o644, 0, 0),
            Made::Device { block: true, major: 5000, minor: 0 },
            "`/d` cannot be put on ext4: device numbers (5000, 0) out of dev_t range",
        ),
        (
            b"lost+found/x",
            owned(0o644, 0, 0),
            file(),
            "`/lost+found/x` cannot be put on ext4: `/lost+found` belongs to `e2fsck`",
        ),
    ];
    for (path, metadata, made, expected) in cases {
        let mut tree = MemoryTree::default();
        tree.put(path, metadata, made);
        let image = tempfile::tempfile().unwrap();
        let error = write_ext4(&tree, &options(16 << 20), &image, 0).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn an_empty_lost_and_found_is_no_obstacle() {
    let folder = TempDir::new().unwrap();
    let mut tree = MemoryTree::default();
    tree.put("lost+found", owned(0o700, 0, 0), Made::Directory).file("lost+found2", "x");
    check(&written(&folder, "image", &tree, 16 << 20));
}

#[test]
fn damaged_file_systems_are_read_to_an_end() {
    let folder = TempDir::new().unwrap();
    let path = written(&folder, "image", &everything(), 32 << 20);
    let sound = fs_err::read(&path).unwrap();
    let image = File::options().write(true).open(&path).unwrap();
    let used: Vec<usize> =
        (0..sound.len()).filter(|at| sound[*at] != 0 && *at % 4096 < 512).take(200_000).collect();
    let marks = noise(4 * 400);
    let (mut opened, mut refused) = (0, 0);
    for mark in marks.as_chunks::<4>().0 {
        let at = used[u32::from_le_bytes(*mark) as usize % used.len()];
        image.write_all_at(&[sound[at] ^ (mark[0] | 1)], at as u64).unwrap();
        match Ext4Tree::open(File::open(&path).unwrap(), 0, 32 << 20) {
            Ok(tree) => {
                opened += 1;
                for entry in tree.entries() {
                    if let Node::File { size: ..1_000_000 } = entry.node
                        && let Ok(file) = tree.open(entry.path)
                    {
                        let _ = std::io::copy(&mut file.take(1 << 20), &mut std::io::sink());
                    }
                }
            }
            Err(_) => refused += 1,
        }
        image.write_all_at(&[sound[at]], at as u64).unwrap();
    }
    eprintln!("{opened} opened, {refused} refused");
    assert!(opened > 0);
}

#[test]
fn what_mke2fs_writes_is_read() {
    let folder = TempDir::new().unwrap();
    let source = folder.path().join("source");
    fs_err::create_dir_all(source.join("a/b")).unwrap();
    fs_err::write(source.join("a/file"), noise(300_000)).unwrap();
    fs_err::hard_link(source.join("a/file"), source.join("a/second")).unwrap();
    fs_err::os::unix::fs::symlink("a/file", source.join("link")).unwrap();
    for index in 0..3000 {
        fs_err::write(source.join(format!("a/b/file-{index}")), index.to_string()).unwrap();
    }
    let image = folder.path().join("image");
    File::create_new(&image).unwrap().set_len(64 << 20).unwrap();
    if content("mke2fs", &["-q", "-F", "-t", "ext4", "-b", "4096", "-d", text(&source), text(&image)])
        .is_none()
    {
        return;
    }
    let tree = Ext4Tree::open(File::open(&image).unwrap(), 0, 64 << 20).unwrap();
    let found = listing(&tree);
    assert_eq!(found.len(), 3000 + 6);
    assert_eq!(found[b"a/second".as_slice()], "link to a/file");
    let mut bytes = Vec::new();
    tree.open(b"a/file").unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, noise(300_000));
    // And what was read is written again.
    let copy = written(&folder, "copy", &tree, 64 << 20);
    check(&copy);
    assert_eq!(listing(&Ext4Tree::open(File::open(&copy).unwrap(), 0, 64 << 20).unwrap()), found);
}

/// As a disk that was kept while its machine ran: what was written last stands in the journal alone.
#[test]
fn a_journal_that_was_not_replayed_is_read_too() {
    let folder = TempDir::new().unwrap();
    let mut tree = everything();
    tree.file("etc/revoked", noise(4096));
    let image = written(&folder, "image", &tree, 32 << 20);
    let Some(_) = content("debugfs", &["-V"]) else { return };
    let block = |path: &str| {
        let said = content("debugfs", &["-R", &format!("bmap {path} 0"), text(&image)]).unwrap();
        said.lines().next().unwrap().trim().parse::<u64>().unwrap()
    };
    // One of the blocks begins as those of a journal do.
    let escaped = [&0xc03b_3998_u32.to_be_bytes()[..], &[b'e'; 4092]].concat();
    let plain = folder.path().join("plain");
    let special = folder.path().join("special");
    fs_err::write(&plain, [b'p'; 4096]).unwrap();
    fs_err::write(&special, &escaped).unwrap();
    let (blocks, odd, revoked) = (block("/etc/blocks"), block("/etc/odd"), block("/etc/revoked"));
    for version in ["", "-c -v 2", "-c -v 3"] {
        let dirty =
            folder.path().join(format!("dirty{}", version.len() + usize::from(version.ends_with('3'))));
        std::fs::copy(&image, &dirty).unwrap();
        let commands = folder.path().join("commands");
        let (plain, special) = (text(&plain), text(&special));
        let write = format!(
            "jo {version}\njw -b {revoked} {plain}\njw -b {blocks} {special}\njw -b {odd} {plain}\njw -r {revoked}\njc\n"
        );
        fs_err::write(&commands, write).unwrap();
        content("debugfs", &["-w", "-f", text(&commands), text(&dirty)]).unwrap();
        let size = std::fs::metadata(&dirty).unwrap().len();
        let read = || Ext4Tree::open(File::open(&dirty).unwrap(), 0, size).unwrap();
        let found = read();
        let start = |path: &[u8]| {
            let mut bytes = [0; 4096];
            found.open(path).unwrap().read_exact(&mut bytes).unwrap();
            bytes.to_vec()
        };
        assert_eq!(start(b"etc/blocks"), escaped, "{version}");
        assert_eq!(start(b"etc/odd"), [b'p'; 4096], "{version}");
        assert_eq!(start(b"etc/revoked"), noise(4096), "{version}");
        let before = listing(&found);
        content("debugfs", &["-w", "-R", "jr", text(&dirty)]).unwrap();
        assert_eq!(listing(&read()), before, "{version}: the same as e2fsprogs makes of it");
    }
}
