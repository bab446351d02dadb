//! Partition tables: GPT as in chapter 5 of the UEFI specification 2.10, and the MBR before it.
//!
//! Written to and read from bytes. What partitions there are is the caller's; types are those of the Discoverable
//! Partitions Specification.

use std::fs::File;
use std::os::unix::fs::FileExt;

use flate2::Crc;
use uuid::{Uuid, uuid};

use crate::DiskError;

/// Bytes of a sector. Disks with sectors of 4096 bytes are not written.
pub const SECTOR: u64 = 512;

/// Sectors of GPT's list of 128 partitions.
const LIST_SECTORS: u64 = 32;

/// Bytes of one partition in the list.
const RECORD: usize = 128;

/// Bytes of GPT's header that count.
const HEADER: usize = 92;

/// Bit 59: a tool may grow the file system to the size of its partition (Discoverable Partitions Specification).
pub const GROW_FILE_SYSTEM: u64 = 1 << 59;

const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");

/// The type of a partition with Linux's files that says no more.
pub const LINUX_FILES: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");

/// The processor that a disk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// 64-bit x86 (Debian's `amd64`).
    X86_64,
    /// 64-bit Arm (Debian's `arm64`).
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
}

impl Architecture {
    /// The type of a root partition for it.
    #[must_use]
    pub fn root_type(self) -> Uuid {
        match self {
            Self::X86_64 => uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
            Self::Aarch64 => uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae"),
            Self::Riscv64 => uuid!("72ec70a6-cf74-40e6-bd49-4bda08e8f224"),
        }
    }

    /// As the UEFI specification abbreviates it in names of loaders: `x64`.
    #[must_use]
    pub fn efi_name(self) -> &'static str {
        match self {
            Self::X86_64 => "x64",
            Self::Aarch64 => "aa64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// For people: `x86-64`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86-64",
            Self::Aarch64 => "arm64",
            Self::Riscv64 => "riscv64",
        }
    }
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The EFI system partition.
    EfiSystem,
    /// GRUB's core image, for machines with BIOS.
    BiosBoot,
    /// The root file system of a machine.
    Root(Architecture),
    /// Another type, read from a GPT.
    Other(Uuid),
    /// Another type, read from an MBR.
    OtherMbr(u8),
}

impl Role {
    fn gpt_type(self) -> Uuid {
        match self {
            Self::EfiSystem => EFI_SYSTEM,
            Self::BiosBoot => BIOS_BOOT,
            Self::Root(architecture) => architecture.root_type(),
            Self::Other(kind) => kind,
            Self::OtherMbr(_) => LINUX_FILES,
        }
    }

    fn mbr_type(self) -> u8 {
        match self {
            Self::EfiSystem => 0xef,
            Self::OtherMbr(kind) => kind,
            Self::BiosBoot | Self::Root(_) | Self::Other(_) => 0x83,
        }
    }

    fn from_gpt(kind: Uuid) -> Self {
        let roots = [Architecture::X86_64, Architecture::Aarch64, Architecture::Riscv64];
        match kind {
            EFI_SYSTEM => Self::EfiSystem,
            BIOS_BOOT => Self::BiosBoot,
            _ => {
                roots.into_iter().find(|root| root.root_type() == kind).map_or(Self::Other(kind), Self::Root)
            }
        }
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub role: Role,
    /// Where it begins, in bytes; a multiple of 512.
    pub start: u64,
    /// Its size in bytes; a multiple of 512.
    pub size: u64,
    /// Its own GUID; nil in an MBR.
    pub uuid: Uuid,
    /// Its name, up to 36 UTF-16 units; empty in an MBR.
    pub name: String,
    /// GPT's attributes, such as [`GROW_FILE_SYSTEM`]; in an MBR, 4 (legacy BIOS bootable) says that it is active.
    pub attributes: u64,
}

/// GPT's bit 2, and in an MBR the mark of the active partition.
pub const ACTIVE: u64 = 1 << 2;

/// How many bytes GPT takes before the first partition and after the last.
pub const GPT_RESERVED: (u64, u64) = ((2 + LIST_SECTORS) * SECTOR, (1 + LIST_SECTORS) * SECTOR);

/// Writes a GPT with its protective MBR to `image`, a disk of `size` bytes: the table at the start, its copy at the end.
///
/// # Errors
///
/// More than 128 partitions, an image that cannot be written.
pub fn write_gpt(image: &File, size: u64, disk: Uuid, partitions: &[Partition]) -> Result<(), DiskError> {
    if partitions.len() > 128 {
        return Err(DiskError::Options("a GPT has room for 128 partitions".to_owned()));
    }
    let sectors = size / SECTOR;
    let mut list = vec![0; (LIST_SECTORS * SECTOR) as usize];
    for (record, partition) in list.chunks_mut(RECORD).zip(partitions) {
        record[0..16].copy_from_slice(&partition.role.gpt_type().to_bytes_le());
        record[16..32].copy_from_slice(&partition.uuid.to_bytes_le());
        record[32..40].copy_from_slice(&(partition.start / SECTOR).to_le_bytes());
        record[40..48].copy_from_slice(&((partition.start + partition.size) / SECTOR - 1).to_le_bytes());
        record[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
        for (unit, letter) in record[56..128].chunks_mut(2).zip(partition.name.encode_utf16()) {
            unit.copy_from_slice(&letter.to_le_bytes());
        }
    }
    let header = |own: u64, other: u64, list_at: u64| {
        let mut header = [0; SECTOR as usize];
        header[0..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
        header[12..16].copy_from_slice(&(HEADER as u32).to_le_bytes());
        header[24..32].copy_from_slice(&own.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[40..48].copy_from_slice(&(2 + LIST_SECTORS).to_le_bytes());
        header[48..56].copy_from_slice(&(sectors - 2 - LIST_SECTORS).to_le_bytes());
        header[56..72].copy_from_slice(&disk.to_bytes_le());
        header[72..80].copy_from_slice(&list_at.to_le_bytes());
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&(RECORD as u32).to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&list).to_le_bytes());
        let sum = crc32(&header[..HEADER]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header
    };
    let last = sectors - 1;
    let copy_at = last - LIST_SECTORS;
    let protective = Record {
        active: false,
        kind: 0xee,
        first: 1,
        sectors: u32::try_from(last).unwrap_or(u32::MAX),
        heads: [[0, 2, 0], [0xff, 0xff, 0xff]],
    };
    let write = |bytes: &[u8], sector: u64| {
        image.write_all_at(bytes, sector * SECTOR).map_err(DiskError::image("write the partition table of"))
    };
    write(&mbr(0, &[protective]), 0)?;
    write(&header(1, last, 2), 1)?;
    write(&list, 2)?;
    write(&list, copy_at)?;
    write(&header(last, 1, copy_at), last)
}

/// Writes an MBR with up to four partitions to `image`. `signature` is the disk's: with the partition's number it makes
/// what Linux calls its PARTUUID.
///
/// # Errors
///
/// More than four partitions, one beyond 2 TiB, an image that cannot be written.
pub fn write_mbr(image: &File, signature: u32, partitions: &[Partition]) -> Result<(), DiskError> {
    if partitions.len() > 4 {
        return Err(DiskError::Options("an MBR has room for 4 partitions; set `table = \"gpt\"`".to_owned()));
    }
    let mut records = Vec::new();
    for partition in partitions {
        let sector = |bytes: u64| {
            u32::try_from(bytes / SECTOR).map_err(|_| DiskError::BadSize {
                what: "an MBR",
                size: partition.start + partition.size,
                reason: "partitions must end before 2T; set `table = \"gpt\"`".to_owned(),
            })
        };
        records.push(Record {
            active: partition.attributes & ACTIVE != 0,
            kind: partition.role.mbr_type(),
            first: sector(partition.start)?,
            sectors: sector(partition.size)?,
            heads: [[0xfe, 0xff, 0xff]; 2],
        });
    }
    image.write_all_at(&mbr(signature, &records), 0).map_err(DiskError::image("write the partition table of"))
}

/// What Linux calls the PARTUUID of partition `number` (from 1) on a disk with an MBR.
#[must_use]
pub fn mbr_partuuid(signature: u32, number: usize) -> String {
    format!("{signature:08x}-{number:02x}")
}

/// One of the four lines of an MBR.
struct Record {
    active: bool,
    kind: u8,
    first: u32,
    sectors: u32,
    /// Head, sector and cylinder of the first and last sector, which nobody reads any more.
    heads: [[u8; 3]; 2],
}

fn mbr(signature: u32, records: &[Record]) -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    sector[440..444].copy_from_slice(&signature.to_le_bytes());
    for (line, record) in sector[446..510].chunks_mut(16).zip(records) {
        line[0] = if record.active { 0x80 } else { 0 };
        line[1..4].copy_from_slice(&record.heads[0]);
        line[4] = record.kind;
        line[5..8].copy_from_slice(&record.heads[1]);
        line[8..12].copy_from_slice(&record.first.to_le_bytes());
        line[12..16].copy_from_slice(&record.sectors.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The partitions of a disk of `size` bytes, in the table's order; none if it has no table. A GPT whose first header is
/// damaged is read from its copy at the end.
///
/// # Errors
///
/// Both headers damaged, partitions beyond the disk, an image that cannot be read.
pub fn read_table(image: &File, size: u64) -> Result<Vec<Partition>, DiskError> {
    let damaged = |what: &str| DiskError::Damaged(what.to_owned());
    if size < SECTOR {
        return Err(damaged("it is smaller than a sector"));
    }
    let mut sector = [0; SECTOR as usize];
    let read = |bytes: &mut [u8], at: u64| {
        image.read_exact_at(bytes, at).map_err(DiskError::image("read the partition table of"))
    };
    read(&mut sector, 0)?;
    if sector[510..] != [0x55, 0xaa] {
        return Ok(Vec::new());
    }
    let lines: Vec<[u8; 16]> = sector[446..510].as_chunks().0.to_vec();
    if lines.iter().any(|line| line[4] == 0xee) {
        return match read_gpt(image, size, 1)? {
            Some(partitions) => Ok(partitions),
            None => read_gpt(image, size, size / SECTOR - 1)?
                .ok_or_else(|| damaged("both headers of its GPT are damaged")),
        };
    }
    let mut partitions = Vec::new();
    for line in lines.iter().filter(|line| line[4] != 0) {
        let [.., f0, f1, f2, f3, s0, s1, s2, s3] = *line;
        let kind = line[4];
        let partition = Partition {
            role: if kind == 0xef { Role::EfiSystem } else { Role::OtherMbr(kind) },
            start: u64::from(u32::from_le_bytes([f0, f1, f2, f3])) * SECTOR,
            size: u64::from(u32::from_le_bytes([s0, s1, s2, s3])) * SECTOR,
            uuid: Uuid::nil(),
            name: String::new(),
            attributes: if line[0] == 0x80 { ACTIVE } else { 0 },
        };
        // A boot sector of a file system ends like an MBR and has no such lines.
        if partition.start == 0 || partition.start + partition.size > size {
            return Ok(Vec::new());
        }
        partitions.push(partition);
    }
    Ok(partitions)
}

/// The GPT whose header is in sector `at`; `None` if that is damaged.
fn read_gpt(image: &File, size: u64, at: u64) -> Result<Option<Vec<Partition>>, DiskError> {
    let sectors = size / SECTOR;
    if at >= sectors {
        return Ok(None);
    }
    let read = |bytes: &mut [u8], sector: u64| {
        image.read_exact_at(bytes, sector * SECTOR).map_err(DiskError::image("read the partition table of"))
    };
    let mut header = [0; SECTOR as usize];
    read(&mut header, at)?;
    let sum = number32(&header, 16);
    header[16..20].fill(0);
    let list_at = number64(&header, 72);
    let (count, length) = (number32(&header, 80) as usize, number32(&header, 84) as usize);
    let sound = &header[0..8] == b"EFI PART"
        && number32(&header, 12) as usize == HEADER
        && crc32(&header[..HEADER]) == sum
        && number64(&header, 24) == at
        && count <= 1024
        && (RECORD..=4096).contains(&length);
    let bytes = count * length;
    let fits = list_at.checked_add((bytes as u64).div_ceil(SECTOR)).is_some_and(|end| end <= sectors);
    if !sound || !fits {
        return Ok(None);
    }
    let mut list = vec![0; bytes];
    read(&mut list, list_at)?;
    if crc32(&list) != number32(&header, 88) {
        return Ok(None);
    }
    let mut partitions = Vec::new();
    for record in list.chunks(length) {
        let kind = uuid_at(record, 0);
        if kind.is_nil() {
            continue;
        }
        let (first, last) = (number64(record, 32), number64(record, 40));
        if first > last || last >= sectors {
            return Err(DiskError::Damaged("a partition does not lie on the disk".to_owned()));
        }
        let name: Vec<u16> = record[56..128]
            .chunks(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .take_while(|unit| *unit != 0)
            .collect();
        partitions.push(Partition {
            role: Role::from_gpt(kind),
            start: first * SECTOR,
            size: (last - first + 1) * SECTOR,
            uuid: uuid_at(record, 16),
            name: String::from_utf16_lossy(&name),
            attributes: number64(record, 48),
        });
    }
    Ok(Some(partitions))
}

fn number32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn number64(bytes: &[u8], at: usize) -> u64 {
    u64::from(number32(bytes, at)) | u64::from(number32(bytes, at + 4)) << 32
}

fn uuid_at(bytes: &[u8], at: usize) -> Uuid {
    let mut field = [0; 16];
    field.copy_from_slice(&bytes[at..at + 16]);
    Uuid::from_bytes_le(field)
}
