//! GRUB for machines with BIOS: the code of the master boot record, and the core image that it loads.
//!
//! What `grub-mkimage` and `grub-bios-setup` do for `i386-pc`, done by calculation from the same files of the tree's
//! `grub-pc-bin`. A core image is `diskboot.img`, which reads the rest by its list of blocks; `lzma_decompress.img`; and,
//! packed by LZMA, the kernel, the modules, a first configuration and a prefix. Offsets are those of GRUB 2.00 and later
//! (`include/grub/offsets.h`, `include/grub/i386/pc/boot.h`, `include/grub/kernel.h`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use liblzma::read::XzEncoder;
use liblzma::stream::{Filters, LzmaOptions, Stream};

use crate::DiskError;
use crate::table::SECTOR;

/// Where a tree has GRUB's parts.
pub(crate) const FOLDER: &str = "usr/lib/grub/i386-pc";

/// What every core image has, besides the module that reads the root file system: enough for the configuration that is
/// written here, and for the one that `update-grub` makes on the machine later. No module is ever read from the disk.
const MODULES: [&str; 20] = [
    "biosdisk",
    "part_gpt",
    "part_msdos",
    "search",
    "search_fs_uuid",
    "search_label",
    "linux",
    "normal",
    "configfile",
    "echo",
    "test",
    "true",
    "gzio",
    "loadenv",
    "all_video",
    "serial",
    "terminal",
    "minicmd",
    "halt",
    "reboot",
];

/// Bytes of the master boot record before the disk's signature.
const BOOT_CODE: usize = 440;

/// How many modules may need each other in a row; those of GRUB are a dozen.
const DEEPEST: usize = 64;

/// Bytes of a sector, as lengths of memory.
const BLOCK: usize = SECTOR as usize;

/// The first byte that a core image must not reach: memory above it is GRUB's own, and it is loaded at `0x8200`.
const LARGEST: usize = 0x78000 - 0x8200 + BLOCK;

/// `mimg`, which stands before the modules.
const MODULES_MAGIC: u32 = 0x676d_696d;

/// Types of what stands among the modules.
const ELF: u32 = 0;
const CONFIG: u32 = 2;
const PREFIX: u32 = 3;

/// Reads a file of the tree's folder of GRUB's parts.
pub(crate) type ReadPart<'r> = dyn Fn(&str) -> Result<Vec<u8>, DiskError> + 'r;

/// What makes a disk boot by BIOS.
pub struct BiosLoader {
    /// `boot.img`.
    boot: [u8; BLOCK],
    /// Whole sectors.
    core: Vec<u8>,
}

impl BiosLoader {
    /// Links a core image that reads file systems by the module `file_system`, carries out `config`, a line a command,
    /// and then goes on with `grub.cfg` in the folder `$prefix`, which the configuration has to set.
    ///
    /// # Errors
    ///
    /// A part that is missing or has not the form that GRUB 2 gives it.
    pub(crate) fn link(read: &ReadPart<'_>, file_system: &str, config: &str) -> Result<Self, DiskError> {
        let boot = read("boot.img")?;
        let boot = boot.as_slice().try_into().map_err(|_| odd("boot.img"))?;
        let mut core = read("diskboot.img")?;
        if core.len() != BLOCK {
            return Err(odd("diskboot.img"));
        }
        let mut unpacked = loaded(&read("kernel.img")?).ok_or_else(|| odd("kernel.img"))?;
        let modules = modules(read, file_system, config)?;
        put32(&mut unpacked, MODULES_MAGIC);
        put32(&mut unpacked, 12);
        put32(&mut unpacked, length32(12 + modules.len())?);
        unpacked.extend_from_slice(&modules);

        let packed = packed(&unpacked)?;
        let mut stub = read("lzma_decompress.img")?;
        if stub.len() < BLOCK {
            return Err(odd("lzma_decompress.img"));
        }
        // Compressed size, size, and no codes of Reed and Solomon.
        stub[8..12].copy_from_slice(&length32(packed.len())?.to_le_bytes());
        stub[12..16].copy_from_slice(&length32(unpacked.len())?.to_le_bytes());
        stub[16..20].fill(0);
        core.extend_from_slice(&stub);
        core.extend_from_slice(&packed);
        core.resize(core.len().next_multiple_of(BLOCK), 0);
        if core.len() > LARGEST {
            return Err(odd("the modules"));
        }
        Ok(Self { boot, core })
    }

    /// Writes the core image at `at` bytes of `image`, which is a multiple of 512 where nothing else lies, and the boot
    /// code into the first sector, whose table is left as it is.
    ///
    /// # Errors
    ///
    /// An image that cannot be written.
    pub(crate) fn write(&self, image: &File, at: u64) -> Result<(), DiskError> {
        let first = at / SECTOR;
        let mut boot = self.boot;
        boot[0x5c..0x64].copy_from_slice(&first.to_le_bytes());
        // The drive that the BIOS says, whatever it is: some pass the number of a floppy for a hard disk.
        boot[0x64] = 0xff;
        boot[0x66..0x68].fill(0x90);
        let mut core = self.core.clone();
        // The list of blocks: the next sector, how many, and the segment that they are loaded to, which stays.
        let count = (core.len() / BLOCK - 1) as u16;
        core[500..508].copy_from_slice(&(first + 1).to_le_bytes());
        core[508..510].copy_from_slice(&count.to_le_bytes());
        image
            .write_all_at(&boot[..BOOT_CODE], 0)
            .and_then(|()| image.write_all_at(&core, at))
            .map_err(DiskError::image("write the boot loader of"))
    }
}

/// The modules with those that they need before them, the configuration and the prefix, each behind its head.
fn modules(read: &ReadPart<'_>, file_system: &str, config: &str) -> Result<Vec<u8>, DiskError> {
    let list = read("moddep.lst")?;
    let list = String::from_utf8(list).map_err(|_| odd("moddep.lst"))?;
    let needs: BTreeMap<&str, &str> = list.lines().filter_map(|line| line.split_once(':')).collect();
    let mut order = Vec::new();
    for module in [file_system].iter().chain(&MODULES) {
        add_with_needs(module, &needs, &mut Vec::new(), &mut order)?;
    }
    let mut bytes = Vec::new();
    for module in order {
        put(&mut bytes, ELF, &read(&format!("{module}.mod"))?)?;
    }
    put(&mut bytes, CONFIG, &[config.as_bytes(), b"\0"].concat())?;
    put(&mut bytes, PREFIX, b"/boot/grub\0")?;
    Ok(bytes)
}

/// Adds `module` behind all that it needs. `above` are those that lead to it.
fn add_with_needs<'m>(
    module: &'m str,
    needs: &BTreeMap<&'m str, &'m str>,
    above: &mut Vec<&'m str>,
    order: &mut Vec<&'m str>,
) -> Result<(), DiskError> {
    if order.contains(&module) {
        return Ok(());
    }
    if above.len() > DEEPEST || above.contains(&module) {
        return Err(odd("moddep.lst"));
    }
    above.push(module);
    for needed in needs.get(module).into_iter().flat_map(|needed| needed.split_whitespace()) {
        add_with_needs(needed, needs, above, order)?;
    }
    above.pop();
    order.push(module);
    Ok(())
}

/// What an ELF file for 32 bits has in memory when it is loaded, without what is zero at its end.
fn loaded(elf: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?) as usize);
    let short = |at: usize| Some(usize::from(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?)));
    // Magic, 32 bits, little endian.
    if elf.get(..6)? != b"\x7fELF\x01\x01" {
        return None;
    }
    let (table, length, count) = (number(28)?, short(42)?, short(44)?);
    let mut segments = Vec::new();
    for index in 0..count {
        let at = table.checked_add(index * length)?;
        // Type 1 is loaded; offset, virtual address, size in the file.
        if number(at)? == 1 {
            segments.push((number(at + 8)?, number(at + 4)?, number(at + 16)?));
        }
    }
    let base = segments.iter().map(|(address, ..)| *address).min()?;
    let mut image = Vec::new();
    for (address, offset, size) in segments {
        let bytes = elf.get(offset..offset.checked_add(size)?)?;
        let place = address - base..(address - base).checked_add(size)?;
        if place.end > LARGEST {
            return None;
        }
        image.resize(image.len().max(place.end), 0);
        image[place].copy_from_slice(bytes);
    }
    Some(image)
}

/// As GRUB's assembler unpacks it: LZMA without a header, 3 bits of literal context, 2 of position, 64 KiB of dictionary.
fn packed(bytes: &[u8]) -> Result<Vec<u8>, DiskError> {
    let failed = |error: liblzma::stream::Error| {
        DiskError::Options(format!("GRUB's core image cannot be compressed: {error}"))
    };
    let mut options = LzmaOptions::new_preset(9).map_err(failed)?;
    options.dict_size(1 << 16).literal_context_bits(3).literal_position_bits(0).position_bits(2);
    let stream = Stream::new_raw_encoder(Filters::new().lzma1(&options)).map_err(failed)?;
    let mut packed = Vec::new();
    XzEncoder::new_stream(bytes, stream)
        .read_to_end(&mut packed)
        .map_err(DiskError::image("compress the boot loader of"))?;
    Ok(packed)
}

/// One of the modules: type, length with the head, contents up to a multiple of 4.
fn put(bytes: &mut Vec<u8>, kind: u32, contents: &[u8]) -> Result<(), DiskError> {
    let length = contents.len().next_multiple_of(4);
    put32(bytes, kind);
    put32(bytes, length32(8 + length)?);
    bytes.extend_from_slice(contents);
    bytes.resize(bytes.len() + length - contents.len(), 0);
    Ok(())
}

fn put32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn length32(length: usize) -> Result<u32, DiskError> {
    u32::try_from(length).map_err(|_| odd("the modules"))
}

fn odd(part: &str) -> DiskError {
    DiskError::Options(format!(
        "`{part}` in `/{FOLDER}` is not what GRUB 2 has there; reinstall `grub-pc-bin`"
    ))
}
