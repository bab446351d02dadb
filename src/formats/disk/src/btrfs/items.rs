//! Keys of btrfs' trees, and the items that stand behind them, as bytes (`include/uapi/linux/btrfs_tree.h`).

use uuid::Uuid;

/// Where an item stands: object, type, offset, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64, pub(super) u8, pub(super) u64);

/// Objects that every file system has.
pub(super) const ROOT_TREE: u64 = 1;
pub(super) const EXTENT_TREE: u64 = 2;
pub(super) const CHUNK_TREE: u64 = 3;
pub(super) const DEV_TREE: u64 = 4;
pub(super) const FS_TREE: u64 = 5;
pub(super) const ROOT_TREE_DIR: u64 = 6;
pub(super) const CSUM_TREE: u64 = 7;
pub(super) const UUID_TREE: u64 = 9;
pub(super) const FREE_SPACE_TREE: u64 = 10;
pub(super) const DATA_RELOC_TREE: u64 = (-9i64).cast_unsigned();
/// What checksums belong to.
pub(super) const EXTENT_CSUM: u64 = (-10i64).cast_unsigned();
/// The first object of a tree of files, which is its root folder; also what all chunks belong to.
pub(super) const FIRST: u64 = 256;
/// The only device.
pub(super) const DEVICE: u64 = 1;

/// Types of items.
pub(super) mod kind {
    pub(in super::super) const INODE: u8 = 1;
    pub(in super::super) const INODE_REF: u8 = 12;
    pub(in super::super) const XATTR: u8 = 24;
    pub(in super::super) const DIR_ITEM: u8 = 84;
    pub(in super::super) const DIR_INDEX: u8 = 96;
    pub(in super::super) const EXTENT_DATA: u8 = 108;
    pub(in super::super) const EXTENT_CSUM: u8 = 128;
    pub(in super::super) const ROOT: u8 = 132;
    pub(in super::super) const EXTENT: u8 = 168;
    pub(in super::super) const METADATA: u8 = 169;
    pub(in super::super) const TREE_BLOCK_REF: u8 = 176;
    pub(in super::super) const EXTENT_DATA_REF: u8 = 178;
    pub(in super::super) const BLOCK_GROUP: u8 = 192;
    pub(in super::super) const FREE_SPACE_INFO: u8 = 198;
    pub(in super::super) const FREE_SPACE_EXTENT: u8 = 199;
    pub(in super::super) const DEV_EXTENT: u8 = 204;
    pub(in super::super) const DEV: u8 = 216;
    pub(in super::super) const CHUNK: u8 = 228;
    pub(in super::super) const UUID_SUBVOLUME: u8 = 251;
}

/// What a name stands for, in its folder.
pub(super) mod named {
    pub(in super::super) const FILE: u8 = 1;
    pub(in super::super) const DIRECTORY: u8 = 2;
    pub(in super::super) const CHARACTER_DEVICE: u8 = 3;
    pub(in super::super) const BLOCK_DEVICE: u8 = 4;
    pub(in super::super) const FIFO: u8 = 5;
    pub(in super::super) const SYMBOLIC_LINK: u8 = 7;
    pub(in super::super) const XATTR: u8 = 8;
}

/// Everything is written in one transaction, the first.
pub(super) const GENERATION: u64 = 1;

/// Bytes being put together, all numbers little endian.
#[derive(Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn u8(mut self, number: u8) -> Self {
        self.0.push(number);
        self
    }

    pub(super) fn u16(mut self, number: u16) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(super) fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(super) fn u64(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn uuid(self, uuid: Uuid) -> Self {
        self.raw(uuid.as_bytes())
    }

    pub(super) fn key(self, key: Key) -> Self {
        self.u64(key.0).u8(key.1).u64(key.2)
    }

    fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// Whole seconds since 1970.
    fn time(self, seconds: i64) -> Self {
        self.u64(seconds.cast_unsigned()).u32(0)
    }
}

/// The hash of a name in a folder, or of an attribute: CRC-32C from another start and without the last turn.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    u64::from(!crc32c::crc32c_append(1, name))
}

/// What is known of a file, folder or device.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) size: u64,
    /// What its data takes.
    pub(super) bytes: u64,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// With the type.
    pub(super) mode: u32,
    pub(super) device: u64,
    /// When it was changed.
    pub(super) mtime: i64,
    /// When it was made.
    pub(super) made: i64,
}

impl Inode {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        Bytes::default()
            .u64(GENERATION)
            .u64(GENERATION)
            .u64(self.size)
            .u64(self.bytes)
            .u64(0)
            .u32(self.links)
            .u32(self.uid)
            .u32(self.gid)
            .u32(self.mode)
            .u64(self.device)
            .u64(0)
            .u64(0)
            .zeros(32)
            .time(self.mtime)
            .time(self.mtime)
            .time(self.mtime)
            .time(self.made)
            .0
    }
}

/// A name that an object has, the `index`th in its folder.
pub(super) fn inode_ref(index: u64, name: &[u8]) -> Vec<u8> {
    Bytes::default().u64(index).u16(name.len() as u16).raw(name).0
}

/// A name in a folder, or an extended attribute with its value.
pub(super) fn dir_item(location: Key, kind: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    Bytes::default()
        .key(location)
        .u64(if kind == named::XATTR { 0 } else { GENERATION })
        .u16(value.len() as u16)
        .u16(name.len() as u16)
        .u8(kind)
        .raw(name)
        .raw(value)
        .0
}

/// Contents that stand in the tree.
pub(super) fn inline_extent(contents: &[u8]) -> Vec<u8> {
    // Neither compressed nor encrypted nor encoded.
    Bytes::default().u64(GENERATION).u64(contents.len() as u64).u32(0).u8(0).raw(contents).0
}

/// Contents that stand elsewhere, in one piece.
pub(super) fn file_extent(logical: u64, length: u64) -> Vec<u8> {
    Bytes::default().u64(GENERATION).u64(length).u32(0).u8(1).u64(logical).u64(length).u64(0).u64(length).0
}

/// That a piece of contents is in use, by the file `object` from `offset` on.
pub(super) fn data_extent(object: u64, offset: u64) -> Vec<u8> {
    Bytes::default()
        .u64(1)
        .u64(GENERATION)
        .u64(1)
        .u8(kind::EXTENT_DATA_REF)
        .u64(FS_TREE)
        .u64(object)
        .u64(offset)
        .u32(1)
        .0
}

/// That a block is in use by the tree `owner`.
pub(super) fn tree_block(owner: u64) -> Vec<u8> {
    Bytes::default().u64(1).u64(GENERATION).u64(2).u8(kind::TREE_BLOCK_REF).u64(owner).0
}

/// Where a tree begins.
pub(super) struct Root {
    pub(super) tree: u64,
    pub(super) block: u64,
    pub(super) level: u8,
    /// What its blocks take.
    pub(super) bytes: u64,
    /// Its own, if it holds files that are seen.
    pub(super) uuid: Uuid,
    pub(super) made: i64,
}

impl Root {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let inode = Inode { size: 3, bytes: 16384, links: 1, mode: 0o40755, ..Inode::default() };
        let holds_files = matches!(self.tree, FS_TREE | DATA_RELOC_TREE);
        let made = if self.tree == FS_TREE { self.made } else { 0 };
        Bytes::default()
            .raw(&inode.to_bytes())
            .u64(GENERATION)
            .u64(if holds_files { FIRST } else { 0 })
            .u64(self.block)
            .u64(0)
            .u64(self.bytes)
            .u64(0)
            .u64(0)
            .u32(1)
            .zeros(17)
            .u8(0)
            .u8(self.level)
            .u64(GENERATION)
            .uuid(self.uuid)
            .zeros(32)
            .zeros(32)
            .time(made)
            .time(made)
            .zeros(24)
            .zeros(64)
            .0
    }
}
