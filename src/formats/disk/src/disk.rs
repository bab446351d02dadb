//! A whole disk from a tree: lays out the partitions, fills them, and hands the raw image to the writer of its format.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::boot::{BootPlan, Bootloader, RootReference};
use crate::btrfs::{BtrfsOptions, BtrfsPlan};
use crate::error::DiskError;
use crate::ext4::{Ext4Options, Ext4Plan};
use crate::fat::{self, FatOptions};
use crate::format::{Conversion, DiskFormat, RawFile};
use crate::identity::Identity;
use crate::size::MIB;
use crate::table::{self, ACTIVE, Architecture, GROW_FILE_SYSTEM, Partition, Role};
use crate::tree::{Node, Overlay, Tree};
use crate::xfs::{Guest, GuestJob, LONGEST_LABEL, LaidOut};

/// What the UUID of the root file system is for.
pub(crate) const ROOT_FILE_SYSTEM: &str = "root file system";

/// How a disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Table {
    /// A GUID partition table.
    #[default]
    Gpt,
    /// A table in the master boot record.
    Mbr,
    /// Not at all: the root file system is the disk, which then has no loader.
    None,
}

/// What the root file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FileSystem {
    /// ext4.
    #[default]
    Ext4,
    /// btrfs, without subvolumes.
    Btrfs,
    /// xfs, which a machine makes ([`begin_disk`]).
    Xfs,
}

/// What a disk is like.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// The format of the file.
    pub format: DiskFormat,
    /// The size of the disk in bytes as the machine sees it, a multiple of 1 MiB; as large as its contents and some room
    /// if not given.
    pub size: Option<u64>,
    /// How it is divided.
    pub table: Table,
    /// The size of the EFI system partition in bytes, a multiple of 1 MiB; from its contents if not given.
    pub efi_size: Option<u64>,
    /// What the root file system is.
    pub file_system: FileSystem,
    /// The label of the root file system: up to 16 bytes on ext4, up to 255 on btrfs; up to 12 letters, digits, `-`, `_` and
    /// `.` on xfs.
    pub label: Option<String>,
    /// What loads the kernel.
    pub bootloader: Bootloader,
    /// For which machines.
    pub architecture: Architecture,
    /// What is put behind the kernel's command line.
    pub command_line: String,
    /// What `/etc/hostname` says in place of what the tree has.
    pub hostname: Option<String>,
    /// What all identifiers follow from.
    pub identity: Identity,
    /// The time of what the disk has besides the tree, in seconds since 1970.
    pub epoch: i64,
    /// How many threads compress; the bytes do not depend on it.
    pub workers: NonZeroUsize,
}

impl DiskOptions {
    /// A raw disk with a GPT, ext4 and whatever loader the tree has.
    #[must_use]
    pub fn new(identity: Identity, architecture: Architecture, epoch: i64) -> Self {
        Self {
            format: DiskFormat::Raw,
            size: None,
            table: Table::Gpt,
            efi_size: None,
            file_system: FileSystem::Ext4,
            label: None,
            bootloader: Bootloader::Auto,
            architecture,
            command_line: String::new(),
            hostname: None,
            identity,
            epoch,
            workers: NonZeroUsize::MIN,
        }
    }
}

/// A finished disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenDisk {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes as a machine sees it.
    pub size: u64,
    /// Its partitions; none if it is not divided.
    pub partitions: Vec<Partition>,
    /// The version of the kernel that it boots.
    pub kernel: Option<String>,
}

/// The root file system, ready to be written.
enum RootPlan<'t> {
    Ext4(Ext4Plan<'t>),
    Btrfs(BtrfsPlan<'t>),
    /// With what the machine runs from that is to write it.
    Xfs(Guest, Ext4Plan<'t>),
}

/// Who writes the root file system.
enum RootWriter {
    Ext4,
    Btrfs,
    /// A machine that runs the tree.
    Guest(Guest),
}

impl RootWriter {
    fn find(tree: &dyn Tree, options: &DiskOptions) -> Result<Self, DiskError> {
        Ok(match options.file_system {
            FileSystem::Ext4 => Self::Ext4,
            FileSystem::Btrfs => Self::Btrfs,
            FileSystem::Xfs => Self::Guest(Guest::find(tree, options, root_number(options))?),
        })
    }

    fn plan<'t>(self, tree: &'t dyn Tree) -> Result<RootPlan<'t>, DiskError> {
        Ok(match self {
            Self::Ext4 => RootPlan::Ext4(Ext4Plan::new(tree)?),
            Self::Btrfs => RootPlan::Btrfs(BtrfsPlan::new(tree)?),
            Self::Guest(guest) => RootPlan::Xfs(guest, Ext4Plan::new(tree)?),
        })
    }
}

impl RootPlan<'_> {
    fn minimal_size(&self) -> Result<u64, DiskError> {
        match self {
            Self::Ext4(plan) => plan.minimal_size(),
            Self::Btrfs(plan) => plan.minimal_size(),
            Self::Xfs(guest, contents) => Ok(guest.minimal_size(contents.minimal_size()?)),
        }
    }

    /// Writes it to the place of `raw` that it has, or what a machine needs that does.
    fn write(
        &self,
        tree: &dyn Tree,
        options: &DiskOptions,
        (start, size): (u64, u64),
        raw: &RawFile,
    ) -> Result<Option<LaidOut>, DiskError> {
        let uuid = options.identity.uuid(ROOT_FILE_SYSTEM);
        let (label, epoch) = (options.label.clone(), options.epoch);
        match self {
            Self::Ext4(plan) => plan.write(&Ext4Options { size, uuid, label, epoch }, raw.file(), start)?,
            Self::Btrfs(plan) => plan.write(&BtrfsOptions { size, uuid, label, epoch }, raw.file(), start)?,
            Self::Xfs(guest, contents) => {
                let needed = self.minimal_size()?;
                if size < needed {
                    return Err(DiskError::TooSmall {
                        what: "the root file system",
                        option: "size",
                        size,
                        needed,
                    });
                }
                return guest.lay_out(tree, contents, options, raw.path()).map(Some);
            }
        }
        Ok(None)
    }
}

/// Where the parts of a disk lie.
struct Plan {
    size: u64,
    partitions: Vec<Partition>,
    /// Start and size in bytes.
    efi: Option<(u64, u64)>,
    /// Where GRUB's core image begins, in bytes.
    core: Option<u64>,
    root: (u64, u64),
}

/// Writes `tree` as a disk to the file `destination`, which is replaced when all is written.
///
/// The raw disk is made beside it as a file with holes, so that folder needs room for the tree's contents.
///
/// # Errors
///
/// No kernel or loader in the tree, a size that is too small, options that contradict each other, entries that the file
/// system cannot hold, contents that cannot be read, a destination that cannot be written. [`FileSystem::Xfs`], which needs a
/// machine between [`begin_disk`] and [`UnfinishedDisk::finish`].
pub fn write_disk(
    tree: &dyn Tree,
    options: &DiskOptions,
    destination: &Path,
) -> Result<WrittenDisk, DiskError> {
    begin_disk(tree, options, destination)?.finish()
}

/// A disk on its way. What there is of it goes away unless it is finished.
pub struct UnfinishedDisk {
    raw: RawFile,
    destination: PathBuf,
    options: DiskOptions,
    written: WrittenDisk,
    /// Start and size in bytes.
    root: (u64, u64),
    laid_out: Option<LaidOut>,
}

impl UnfinishedDisk {
    /// What a machine has to do before the disk is finished; nothing, where all is written.
    #[must_use]
    pub fn job(&self) -> Option<&GuestJob> {
        self.laid_out.as_ref().map(|laid_out| &laid_out.job)
    }

    /// Puts the disk in its place, in its format.
    ///
    /// # Errors
    ///
    /// [`DiskError::Unmade`] if a machine was needed and has not made its part, a destination that cannot be written.
    pub fn finish(self) -> Result<WrittenDisk, DiskError> {
        let (start, size) = self.root;
        if let Some(laid_out) = &self.laid_out {
            laid_out.check(self.raw.file(), start, size)?;
        }
        let DiskOptions { format, ref identity, epoch, workers, .. } = self.options;
        self.raw.finish(&Conversion { format, identity, epoch, workers }, &self.destination)?;
        Ok(self.written)
    }
}

/// Writes of a disk what [`write_disk`] writes, but for what a machine has to make ([`UnfinishedDisk::job`]).
///
/// # Errors
///
/// As [`write_disk`], and for [`FileSystem::Xfs`] what the tree lacks to be run.
pub fn begin_disk(
    tree: &dyn Tree,
    options: &DiskOptions,
    destination: &Path,
) -> Result<UnfinishedDisk, DiskError> {
    check(options)?;
    let mut overlay = Overlay::new(tree);
    if let Some(hostname) = &options.hostname {
        overlay.put("etc/hostname", format!("{hostname}\n").into_bytes(), options.epoch);
    }
    let tree: &dyn Tree = &overlay;
    let identity = &options.identity;
    let boots = options.bootloader != Bootloader::None;
    let reference = root_reference(options);
    let boot = boots
        .then(|| {
            BootPlan::find(tree, options.architecture, options.bootloader, &reference, &options.command_line)
        })
        .transpose()?;
    let bios = boot.as_ref().and_then(|boot| boot.bios.as_ref());
    let mut overlay = Overlay::new(tree);
    if let Some((_, config)) = bios {
        add_grub_config(tree, &mut overlay, config, options.epoch)?;
    }
    let writer = RootWriter::find(tree, options)?;
    if let RootWriter::Guest(guest) = &writer {
        guest.add_program(&mut overlay, options.epoch);
    }
    let contents = writer.plan(&overlay)?;
    let plan = plan(options, boot.as_ref(), &contents)?;

    let raw = RawFile::beside(destination)?;
    raw.file().set_len(plan.size).map_err(DiskError::image("size"))?;
    if let (Some(boot), Some((start, size))) = (&boot, plan.efi) {
        let volume = FatOptions { size, label: "ESP".to_owned(), volume_id: identity.number("esp") };
        fat::write_fat(&volume, &boot.files, raw.file(), start)?;
    }
    write_table(options, &plan, raw.file())?;
    let around = plan.size - plan.root.1;
    let laid_out = contents.write(tree, options, plan.root, &raw).map_err(|error| match error {
        DiskError::TooSmall { needed, .. } => {
            DiskError::TooSmall { what: "the disk", option: "size", size: plan.size, needed: needed + around }
        }
        other => other,
    })?;
    if let (Some((loader, _)), Some(at)) = (bios, plan.core) {
        loader.write(raw.file(), at)?;
    }
    let destination = destination.to_owned();
    let written = WrittenDisk {
        path: destination.clone(),
        size: plan.size,
        partitions: plan.partitions,
        kernel: boot.map(|boot| boot.kernel),
    };
    Ok(UnfinishedDisk { raw, destination, options: options.clone(), written, root: plan.root, laid_out })
}

/// The number of the root partition, which is the last; none if the disk is not divided.
fn root_number(options: &DiskOptions) -> Option<usize> {
    let before = usize::from(options.bootloader.is_for_uefi());
    match options.table {
        Table::Gpt => Some(1 + before + usize::from(options.bootloader.is_for_bios())),
        Table::Mbr => Some(1 + before),
        Table::None => None,
    }
}

fn root_reference(options: &DiskOptions) -> RootReference {
    let identity = &options.identity;
    let partuuid = match (options.table, root_number(options)) {
        (Table::Mbr, Some(number)) => table::mbr_partuuid(identity.number("mbr"), number),
        _ => identity.uuid("root partition").to_string(),
    };
    RootReference { partuuid, file_system: identity.uuid(ROOT_FILE_SYSTEM), kind: options.file_system }
}

/// Puts GRUB's configuration where it reads it.
fn add_grub_config(
    tree: &dyn Tree,
    overlay: &mut Overlay<'_>,
    config: &str,
    epoch: i64,
) -> Result<(), DiskError> {
    for folder in ["boot", "boot/grub"] {
        let entry = tree.entries().find(|entry| entry.path == folder.as_bytes());
        if entry.is_some_and(|entry| !matches!(entry.node, Node::Directory)) {
            return Err(DiskError::Options(format!(
                "`/{folder}` is no folder, and GRUB reads its configuration below it"
            )));
        }
    }
    overlay.add_missing_folders(&["boot", "boot/grub"], epoch);
    overlay.put("boot/grub/grub.cfg", config.as_bytes().to_vec(), epoch);
    Ok(())
}

/// Refuses options that cannot go together.
fn check(options: &DiskOptions) -> Result<(), DiskError> {
    let refused = |text: &str| Err(DiskError::Options(text.to_owned()));
    if options.table == Table::None && options.bootloader != Bootloader::None {
        return refused(
            "a disk without a partition table has no place for a boot loader; set `bootloader = \"none\"`, \
             or `table = \"gpt\"`",
        );
    }
    let (name, longest) = match options.file_system {
        FileSystem::Ext4 => ("an ext4", 16),
        FileSystem::Btrfs => ("a btrfs", 255),
        FileSystem::Xfs => ("an xfs", LONGEST_LABEL),
    };
    if options.label.as_ref().is_some_and(|label| label.len() > longest) {
        return refused(&format!("the label of {name} file system has at most {longest} bytes"));
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let of_label = |byte: u8| letter(byte) || byte == b'_';
    if options.file_system == FileSystem::Xfs
        && let Some(label) = options.label.as_ref().filter(|label| !label.bytes().all(of_label))
    {
        return refused(&format!(
            "`{label}` cannot be the label of an xfs file system here: letters, digits, `-`, `_` and `.`"
        ));
    }
    if let Some(hostname) = &options.hostname
        && (hostname.is_empty() || hostname.len() > 64 || !hostname.bytes().all(letter))
    {
        return Err(DiskError::Options(format!(
            "`{hostname}` is not a host name: up to 64 letters, digits, `-` and `.`"
        )));
    }
    if !(0..=i64::from(u32::MAX)).contains(&options.epoch) {
        return Err(DiskError::Options(format!(
            "{} seconds since 1970 is not a time that a file system's superblock holds",
            options.epoch
        )));
    }
    for (what, size) in [("a disk", options.size), ("the EFI system partition", options.efi_size)] {
        if let Some(size) = size.filter(|size| !size.is_multiple_of(MIB)) {
            return Err(DiskError::BadSize { what, size, reason: "it is no multiple of 1M".to_owned() });
        }
    }
    Ok(())
}

/// Says where everything lies. Partitions begin at multiples of 1 MiB.
fn plan(
    options: &DiskOptions,
    boot: Option<&BootPlan<'_>>,
    contents: &RootPlan<'_>,
) -> Result<Plan, DiskError> {
    let identity = &options.identity;
    let mut partitions = Vec::new();
    let mut at = if options.table == Table::None { 0 } else { MIB };
    let mut add = |role, size, purpose: &str, name: &str, attributes, at: &mut u64| {
        let uuid = match options.table {
            Table::Gpt => identity.uuid(purpose),
            Table::Mbr | Table::None => uuid::Uuid::nil(),
        };
        let name = if options.table == Table::Gpt { name.to_owned() } else { String::new() };
        partitions.push(Partition { role, start: *at, size, uuid, name, attributes });
        *at += size;
    };
    let efi = boot.filter(|boot| !boot.files.is_empty()).map(|boot| {
        let needed = fat::minimal_size(&boot.files);
        // Room for another kernel beside this one.
        let size = options.efi_size.unwrap_or_else(|| (2 * needed).max(128 * MIB));
        let place = (at, size);
        add(Role::EfiSystem, size, "esp partition", "EFI system partition", 0, &mut at);
        place
    });
    // A GPT has a partition for GRUB's core image; with an MBR it lies in the gap behind it. Each has far more room than
    // the image may have.
    let core = boot.and_then(|boot| boot.bios.as_ref()).map(|_| match options.table {
        Table::Gpt => {
            let start = at;
            add(Role::BiosBoot, MIB, "bios boot partition", "BIOS boot partition", 0, &mut at);
            start
        }
        Table::Mbr | Table::None => table::SECTOR,
    });
    // GPT's copy at the end takes less than the last MiB.
    let end = if options.table == Table::Gpt { MIB } else { 0 };
    let (size, root_size) = match options.size {
        Some(size) => {
            let least = at + end + MIB;
            if size < least {
                let needed = at + end + contents.minimal_size()?;
                return Err(DiskError::TooSmall { what: "the disk", option: "size", size, needed });
            }
            (size, size - at - end)
        }
        None => {
            let needed = contents.minimal_size()?;
            let root = (needed + (needed / 8).max(64 * MIB)).next_multiple_of(MIB);
            (at + root + end, root)
        }
    };
    let root = (at, root_size);
    let role = Role::Root(options.architecture);
    let attributes = match options.table {
        Table::Mbr => ACTIVE,
        Table::Gpt | Table::None => GROW_FILE_SYSTEM,
    };
    add(role, root_size, "root partition", "root", attributes, &mut at);
    if options.table == Table::None {
        partitions.clear();
    }
    Ok(Plan { size, partitions, efi, core, root })
}

fn write_table(options: &DiskOptions, plan: &Plan, image: &File) -> Result<(), DiskError> {
    match options.table {
        Table::Gpt => table::write_gpt(image, plan.size, options.identity.uuid("disk"), &plan.partitions),
        Table::Mbr => table::write_mbr(image, options.identity.number("mbr"), &plan.partitions),
        Table::None => Ok(()),
    }
}
