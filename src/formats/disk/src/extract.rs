//! Trees from disk images: finds the root partition of a raw image and reads its ext4.
//!
//! Reads only; other file systems, other formats than raw and encrypted disks are refused. What is qcow2 is made raw first,
//! by [`crate::unpack_qcow2`].

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::DiskError;
use crate::ext4::Ext4Tree;
use crate::table::{self, Partition, Role};

/// A disk image that is being read.
pub struct DiskImage {
    image: File,
    size: u64,
    partitions: Vec<Partition>,
}

impl DiskImage {
    /// Opens the raw image at `path` and reads its partition table.
    ///
    /// # Errors
    ///
    /// No such file, a damaged table, an image of another format.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let image = File::open(path).map_err(DiskError::io("open", path))?;
        let size = image.metadata().map_err(DiskError::io("look at", path))?.len();
        let mut magic = [0; 8];
        if size >= 512 {
            image.read_exact_at(&mut magic, 0).map_err(DiskError::image("read"))?;
        }
        let formats: [(&[u8], &str); 4] =
            [(b"QFI\xfb", "qcow2"), (b"KDMV", "VMDK"), (b"vhdxfile", "VHDX"), (b"conectix", "dynamic VHD")];
        if let Some((_, name)) = formats.iter().find(|(start, _)| magic.starts_with(start)) {
            return Err(DiskError::Damaged(format!(
                "it is {name}; make it raw first with `qemu-img convert -O raw`"
            )));
        }
        let partitions = table::read_table(&image, size)?;
        Ok(Self { image, size, partitions })
    }

    /// Its partitions; none if it is not divided.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The partition that holds the root file system: one of a root's type, else the largest of a type for Linux's files.
    #[must_use]
    pub fn root_partition(&self) -> Option<&Partition> {
        let by_type = self.partitions.iter().find(|partition| matches!(partition.role, Role::Root(_)));
        by_type.or_else(|| {
            let files = self.partitions.iter().filter(|partition| match partition.role {
                Role::OtherMbr(kind) => kind == 0x83,
                Role::Other(kind) => kind == table::LINUX_FILES,
                _ => false,
            });
            files.max_by_key(|partition| partition.size)
        })
    }

    /// The tree on the root partition, or on the whole image if that is not divided.
    ///
    /// # Errors
    ///
    /// No root partition, another file system than ext4, damage.
    pub fn root_tree(&self) -> Result<Ext4Tree, DiskError> {
        let image = self.image.try_clone().map_err(DiskError::image("open"))?;
        let (start, size) = if self.partitions.is_empty() {
            (0, self.size)
        } else {
            let root = self.root_partition().ok_or_else(|| {
                DiskError::Damaged(
                    "none of its partitions has the type of a Linux root file system".to_owned(),
                )
            })?;
            (root.start, root.size)
        };
        if let Some(name) = other_file_system(&image, start) {
            return Err(DiskError::Damaged(format!("its root file system is {name}; only ext4 is read")));
        }
        Ext4Tree::open(image, start, size)
    }
}

/// What other file system begins at `start`, by what its superblock says.
fn other_file_system(image: &File, start: u64) -> Option<&'static str> {
    let known: [(u64, &[u8], &str); 2] = [(0x1_0040, b"_BHRfS_M", "btrfs"), (0, b"XFSB", "xfs")];
    known.into_iter().find_map(|(offset, magic, name)| {
        let mut found = vec![0; magic.len()];
        image.read_exact_at(&mut found, start + offset).ok()?;
        (found == magic).then_some(name)
    })
}
