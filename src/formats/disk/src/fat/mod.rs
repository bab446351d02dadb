//! FAT32 file systems, as firmware wants them for the EFI system partition (Microsoft's FAT specification 1.03).
//!
//! Folders come first, then files, each in one piece, in the order in which they are given; all times are the first that
//! FAT knows, 1 January 1980. FAT12 and FAT16 are not written, and nothing is read.

mod names;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use crate::DiskError;
use crate::error::shown;
use crate::size::MIB;
use crate::sparse::{is_zero, read_full};
use crate::tree::Tree;

use names::{Taken, long_name_records};

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// Sectors before the first table: boot sector, counts, and copies of both.
const RESERVED: u64 = 32;

/// With fewer clusters it is FAT16, and some to spare.
const LEAST_CLUSTERS: u64 = 65_600;

/// Clusters are numbered from here; the first is the root's.
const FIRST_CLUSTER: u64 = 2;

/// Bytes of a record in a folder.
const RECORD: u64 = 32;

/// 1 January 1980.
const DATE: u16 = 1 << 5 | 1;

/// The end of a chain of clusters.
const END: u32 = 0x0fff_ffff;

const ATTRIBUTE_LABEL: u8 = 8;
const ATTRIBUTE_FOLDER: u8 = 16;
const ATTRIBUTE_FILE: u8 = 32;

/// What a FAT file system has besides its files.
#[derive(Clone, Debug)]
pub struct FatOptions {
    /// In bytes, a multiple of 512 and at least [`SMALLEST`].
    pub size: u64,
    /// Up to eleven letters, digits, spaces, `-` or `_`, put in upper case.
    pub label: String,
    /// The volume's number, which Linux shows as its UUID.
    pub volume_id: u32,
}

/// The smallest FAT32 that is written, in bytes.
pub const SMALLEST: u64 = 34 * MIB;

/// A file for a FAT file system. Folders are made as they are needed.
pub struct FatFile<'t> {
    /// Where, with `/` between names and none in front.
    pub path: String,
    /// What is in it.
    pub contents: FatContents<'t>,
}

/// What is in a file.
pub enum FatContents<'t> {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The contents of a file of a tree.
    Tree {
        /// The tree.
        tree: &'t dyn Tree,
        /// The file, as [`Tree::open`] takes it.
        path: Vec<u8>,
        /// Its size in bytes.
        size: u64,
    },
}

impl FatContents<'_> {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Tree { size, .. } => *size,
        }
    }
}

/// The size in bytes, a multiple of 1 MiB, that holds `files`.
#[must_use]
pub fn minimal_size(files: &[FatFile<'_>]) -> u64 {
    // The largest clusters there are, so that it is enough whichever are taken; each name may begin a folder's cluster.
    let clusters = |file: &FatFile<'_>| {
        file.contents.size().div_ceil(4096) + 1 + 2 * file.path.matches('/').count() as u64
    };
    let clusters = files.iter().map(clusters).sum::<u64>() + 64;
    let tables = 2 * 4 * clusters * 8;
    (clusters * 4096 + tables).next_multiple_of(MIB).max(SMALLEST)
}

/// Writes a FAT32 file system at `start` bytes of `image`, which must be zero there: what is zero is not written.
///
/// # Errors
///
/// [`DiskError::TooSmall`], a label or a name that FAT cannot hold, contents that cannot be read.
pub fn write_fat(
    options: &FatOptions,
    files: &[FatFile<'_>],
    image: &File,
    start: u64,
) -> Result<(), DiskError> {
    let needed = minimal_size(files);
    if options.size < needed {
        let size = options.size;
        return Err(DiskError::TooSmall {
            what: "the EFI system partition",
            option: "efi_size",
            size,
            needed,
        });
    }
    let label = label(&options.label)?;
    let geometry = Geometry::of(options.size)?;
    let mut folders = arrange(files)?;
    folders[0].bytes.extend(record(label, ATTRIBUTE_LABEL, 0, 0));

    let mut table = vec![0x0fff_fff8, END];
    let mut places = Vec::with_capacity(folders.len());
    for folder in &folders {
        places.push(chain(&mut table, (folder.length() + 2 * RECORD).div_ceil(geometry.cluster)));
    }
    let contents: Vec<u64> =
        files.iter().map(|file| chain(&mut table, file.contents.size().div_ceil(geometry.cluster))).collect();
    if table.len() as u64 > geometry.clusters + FIRST_CLUSTER {
        let size = options.size;
        return Err(DiskError::TooSmall {
            what: "the EFI system partition",
            option: "efi_size",
            size,
            needed: needed.max(size + MIB),
        });
    }

    let volume = Volume { image, start, geometry };
    let free = geometry.clusters + FIRST_CLUSTER - table.len() as u64;
    volume.write_heads(options.volume_id, label, free, table.len() as u64)?;
    let table: Vec<u8> = table.iter().flat_map(|entry: &u32| entry.to_le_bytes()).collect();
    for copy in 0..2 {
        volume.write((RESERVED + copy * geometry.table_sectors) * SECTOR, &table)?;
    }
    for (index, folder) in folders.iter().enumerate() {
        volume.write(geometry.at(places[index]), &folder.finish(index, &places, &contents, files))?;
    }
    for (file, place) in files.iter().zip(&contents) {
        volume.write_contents(&file.contents, geometry.at(*place))?;
    }
    Ok(())
}

/// Adds a chain of `clusters` in one piece; its first, or zero for none.
fn chain(table: &mut Vec<u32>, clusters: u64) -> u64 {
    if clusters == 0 {
        return 0;
    }
    let first = table.len() as u64;
    table.extend((1..clusters).map(|next| (first + next) as u32));
    table.push(END);
    first
}

/// How the volume is divided.
#[derive(Clone, Copy)]
struct Geometry {
    sectors: u32,
    /// Bytes of a cluster.
    cluster: u64,
    clusters: u64,
    /// Sectors of one of the two tables.
    table_sectors: u64,
}

impl Geometry {
    fn of(size: u64) -> Result<Self, DiskError> {
        let bad = |reason: &str| DiskError::BadSize { what: "FAT32", size, reason: reason.to_owned() };
        if !size.is_multiple_of(SECTOR) {
            return Err(bad("it is no multiple of 512"));
        }
        let sectors = u32::try_from(size / SECTOR).map_err(|_| bad("the most is 2T"))?;
        let cluster = [32768, 16384, 8192, 4096, 2048, 1024]
            .into_iter()
            .find(|cluster| (*cluster <= 4096 || size > 8 << 30) && size / cluster >= LEAST_CLUSTERS)
            .unwrap_or(512);
        let mut table_sectors = 1;
        loop {
            let data = u64::from(sectors) - RESERVED - 2 * table_sectors;
            let clusters = data * SECTOR / cluster;
            let needed = ((clusters + FIRST_CLUSTER) * 4).div_ceil(SECTOR);
            if needed <= table_sectors {
                return Ok(Self { sectors, cluster, clusters, table_sectors });
            }
            table_sectors += 1.max((needed - table_sectors) / 2);
        }
    }

    /// Where a cluster begins, in bytes from the volume's start.
    fn at(&self, cluster: u64) -> u64 {
        (RESERVED + 2 * self.table_sectors) * SECTOR + cluster.saturating_sub(FIRST_CLUSTER) * self.cluster
    }
}

/// A folder being made.
#[derive(Default)]
struct Folder {
    /// The folder that holds it.
    parent: usize,
    taken: Taken,
    /// Records of long names and of the label.
    bytes: Vec<u8>,
    /// Records that need to know a cluster: where in `bytes`, which name, what.
    children: Vec<(usize, [u8; 11], Child)>,
}

#[derive(Clone, Copy)]
enum Child {
    Folder(usize),
    File(usize),
}

impl Folder {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn add(&mut self, path: &str, name: &str, child: Child) -> Result<(), DiskError> {
        let (short, long) = self.taken.short_name(name).ok_or_else(|| {
            DiskError::Options(format!(
                "`{path}` cannot be a name on FAT, or is there twice but for upper and lower case"
            ))
        })?;
        if long {
            self.bytes.extend(long_name_records(name, short));
        }
        self.children.push((self.bytes.len(), short, child));
        self.bytes.extend([0; RECORD as usize]);
        Ok(())
    }

    /// The folder's bytes, now that all places are known.
    fn finish(&self, index: usize, places: &[u64], contents: &[u64], files: &[FatFile<'_>]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (at, short, child) in &self.children {
            let finished = match child {
                Child::Folder(folder) => record(*short, ATTRIBUTE_FOLDER, places[*folder], 0),
                Child::File(file) => {
                    record(*short, ATTRIBUTE_FILE, contents[*file], files[*file].contents.size())
                }
            };
            bytes[*at..*at + RECORD as usize].copy_from_slice(&finished);
        }
        if index == 0 {
            return bytes;
        }
        // The root is called zero here, wherever it is.
        let above = if self.parent == 0 { 0 } else { places[self.parent] };
        let mut whole = record(*b".          ", ATTRIBUTE_FOLDER, places[index], 0).to_vec();
        whole.extend(record(*b"..         ", ATTRIBUTE_FOLDER, above, 0));
        whole.extend(bytes);
        whole
    }
}

/// The folders of `files`, the root first, those above before those below.
fn arrange(files: &[FatFile<'_>]) -> Result<Vec<Folder>, DiskError> {
    let mut folders = vec![Folder::default()];
    let mut by_path: HashMap<&str, usize> = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        let path = file.path.as_str();
        if u32::try_from(file.contents.size()).is_err() {
            return Err(DiskError::Options(format!("`{path}` is too large for FAT, where files end at 4G")));
        }
        let (mut folder, mut name_at) = (0, 0);
        for (end, _) in path.match_indices('/') {
            folder = match by_path.get(&path[..end]) {
                Some(known) => *known,
                None => {
                    let new = folders.len();
                    folders[folder].add(path, &path[name_at..end], Child::Folder(new))?;
                    folders.push(Folder { parent: folder, ..Folder::default() });
                    by_path.insert(&path[..end], new);
                    new
                }
            };
            name_at = end + 1;
        }
        folders[folder].add(path, &path[name_at..], Child::File(index))?;
    }
    Ok(folders)
}

/// A record of a folder.
fn record(name: [u8; 11], attribute: u8, cluster: u64, size: u64) -> [u8; RECORD as usize] {
    let mut record = [0; RECORD as usize];
    record[..11].copy_from_slice(&name);
    record[11] = attribute;
    for at in [16, 18, 24] {
        record[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    let cluster = (cluster as u32).to_le_bytes();
    record[20..22].copy_from_slice(&cluster[2..]);
    record[26..28].copy_from_slice(&cluster[..2]);
    record[28..].copy_from_slice(&(size as u32).to_le_bytes());
    record
}

/// Where a volume is written.
struct Volume<'f> {
    image: &'f File,
    start: u64,
    geometry: Geometry,
}

impl Volume<'_> {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if is_zero(bytes) {
            return Ok(());
        }
        self.image
            .write_all_at(bytes, self.start + at)
            .map_err(DiskError::image("write the FAT file system of"))
    }

    /// The boot sector, the counts, and the copies of both.
    fn write_heads(&self, volume_id: u32, label: [u8; 11], free: u64, next: u64) -> Result<(), DiskError> {
        let mut boot = [0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
        let Geometry { sectors, cluster, table_sectors, .. } = self.geometry;
        // A jump that is asked for, to a loop that nobody runs.
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"IMGBUILD");
        put(11, &(SECTOR as u16).to_le_bytes());
        put(13, &[(cluster / SECTOR) as u8]);
        put(14, &(RESERVED as u16).to_le_bytes());
        put(16, &[2]);
        put(21, &[0xf8]);
        put(24, &63u16.to_le_bytes());
        put(26, &255u16.to_le_bytes());
        put(28, &((self.start / SECTOR) as u32).to_le_bytes());
        put(32, &sectors.to_le_bytes());
        put(36, &(table_sectors as u32).to_le_bytes());
        put(44, &(FIRST_CLUSTER as u32).to_le_bytes());
        put(48, &1u16.to_le_bytes());
        put(50, &6u16.to_le_bytes());
        put(64, &[0x80, 0, 0x29]);
        put(67, &volume_id.to_le_bytes());
        put(71, &label);
        put(82, b"FAT32   ");
        put(90, &[0xeb, 0xfe]);
        put(510, &[0x55, 0xaa]);
        let mut counts = [0; SECTOR as usize];
        let mut put = |at: usize, number: u32| counts[at..at + 4].copy_from_slice(&number.to_le_bytes());
        put(0, 0x4161_5252);
        put(484, 0x6141_7272);
        put(488, free as u32);
        put(492, next as u32);
        put(508, 0xaa55_0000);
        for sector in [0, 6] {
            self.write(sector * SECTOR, &boot)?;
            self.write((sector + 1) * SECTOR, &counts)?;
        }
        Ok(())
    }

    fn write_contents(&self, contents: &FatContents<'_>, at: u64) -> Result<(), DiskError> {
        let (tree, path, size) = match contents {
            FatContents::Bytes(bytes) => return self.write(at, bytes),
            FatContents::Tree { tree, path, size } => (tree, path, *size),
        };
        let failed = DiskError::contents(path);
        let mut source: Box<dyn Read> = tree.open(path).map_err(&failed)?;
        let mut buffer = vec![0; 256 << 10];
        let mut done = 0;
        loop {
            let read = read_full(&mut source, &mut buffer).map_err(&failed)?;
            if done + read as u64 > size || (read == 0 && done < size) {
                return Err(DiskError::Changed { path: shown(path) });
            }
            if read == 0 {
                return Ok(());
            }
            self.write(at + done, &buffer[..read])?;
            done += read as u64;
        }
    }
}

fn label(text: &str) -> Result<[u8; 11], DiskError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | b'_');
    if text.is_empty() || text.len() > 11 || !text.bytes().all(allowed) {
        return Err(DiskError::Options(format!(
            "`{text}` cannot be the label of a FAT file system: up to 11 letters, digits, spaces, `-` or `_`"
        )));
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.to_ascii_uppercase().as_bytes());
    Ok(label)
}
