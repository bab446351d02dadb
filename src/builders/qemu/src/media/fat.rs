//! Files as a FAT volume: a floppy disk, or a seed that every guest can mount. Equal files give equal bytes: all times are
//! 1 January 1980, the identity is that of the label (Microsoft: "FAT: General Overview of On-Disk Format").

use std::io::{Cursor, Write as _};

use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};

use super::{Files, MediaError};

/// How large a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FatSize {
    /// That of a 3.5 inch floppy disk, 1,474,560 bytes.
    Floppy,
    /// As large as its files need, in mebibytes.
    Fitting,
}

impl FatSize {
    fn medium(self) -> &'static str {
        match self {
            Self::Floppy => "floppy disk",
            Self::Fitting => "FAT volume",
        }
    }
}

const FLOPPY: u64 = 1_474_560;

/// Above this FAT16 would need clusters that few can read.
const LARGEST: u64 = 1 << 30;

const SECTOR: u64 = 512;

/// The first moment that FAT can say.
#[derive(Debug)]
struct Beginning;

static BEGINNING: Beginning = Beginning;

impl TimeProvider for Beginning {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// The bytes of a volume with these files. The label has at most 11 characters, and is written in capitals.
///
/// # Errors
/// If the label is none, a name cannot be on such a volume, or the files do not fit.
pub fn fat_image(label: &str, files: &Files, size: FatSize) -> Result<Vec<u8>, MediaError> {
    let label = padded(label, size)?;
    let content: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    // Each file and each folder begins a cluster and takes some entries.
    let items = (files.iter().count() + files.folders().len()) as u64;
    let fitting = (content + content / 16 + items * 8192 + (512 << 10)).next_multiple_of(1 << 20);
    let bytes = match size {
        FatSize::Floppy => FLOPPY,
        FatSize::Fitting => fitting,
    };
    let full = || MediaError::Full { medium: size.medium(), needed: content, size: bytes.min(LARGEST) };
    if bytes > LARGEST || content > bytes {
        return Err(full());
    }
    let mut volume = vec![0; usize::try_from(bytes).map_err(|_| full())?];
    format(&mut volume, label, bytes)?;
    let options = FsOptions::new().time_provider(&BEGINNING).update_accessed_date(false);
    let system = FileSystem::new(Cursor::new(&mut volume), options)?;
    let write = || -> std::io::Result<()> {
        let root = system.root_dir();
        for folder in files.folders() {
            root.create_dir(folder)?;
        }
        for (path, bytes) in files.iter() {
            let mut file = root.create_file(path)?;
            file.write_all(bytes)?;
            file.flush()?;
        }
        Ok(())
    };
    write().map_err(|error| match error.kind() {
        std::io::ErrorKind::WriteZero | std::io::ErrorKind::StorageFull => full(),
        _ if error.to_string().contains("No space left") => full(),
        _ => MediaError::Read(error),
    })?;
    system.unmount()?;
    Ok(volume)
}

fn padded(label: &str, size: FatSize) -> Result<[u8; 11], MediaError> {
    let rule = "1 to 11 characters of ASCII, without `\"*+,./:;<=>?[\\]|`";
    let good = |c: char| (c.is_ascii_graphic() || c == ' ') && !"\"*+,./:;<=>?[\\]|".contains(c);
    if label.trim().is_empty() || label.len() > 11 || !label.chars().all(good) {
        return Err(MediaError::Label { label: label.to_owned(), medium: size.medium(), rule });
    }
    let mut bytes = [b' '; 11];
    bytes[..label.len()].copy_from_slice(label.to_ascii_uppercase().as_bytes());
    Ok(bytes)
}

fn format(volume: &mut [u8], label: [u8; 11], bytes: u64) -> Result<(), MediaError> {
    // A serial number that is the label's own.
    let id =
        label.iter().fold(0x811c_9dc5_u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let floppy = bytes == FLOPPY;
    let sectors = (bytes / SECTOR) as u32;
    let mut options = FormatVolumeOptions::new().volume_id(id).volume_label(label).total_sectors(sectors);
    options = if floppy {
        let options = options.bytes_per_cluster(512).max_root_dir_entries(224).media(0xf0);
        options.sectors_per_track(18).heads(2).drive_num(0).fat_type(FatType::Fat12)
    } else if bytes < 8 << 20 {
        options.bytes_per_cluster(4096).fat_type(FatType::Fat12)
    } else {
        let cluster = (bytes / 32_768).next_power_of_two().clamp(2048, 32_768) as u32;
        options.bytes_per_cluster(cluster).fat_type(FatType::Fat16)
    };
    fatfs::format_volume(Cursor::new(&mut *volume), options)?;
    // Programs look for the label in the root folder, and not in the first sector, where it is by now.
    let word = |at: usize| u64::from(u16::from_le_bytes([volume[at], volume[at + 1]]));
    let root = (word(14) + u64::from(volume[16]) * word(22)) * word(11);
    let entry = usize::try_from(root).unwrap_or(usize::MAX);
    if let Some(entry) = volume.get_mut(entry..entry.saturating_add(32)) {
        entry[..11].copy_from_slice(&label);
        entry[11] = 0x08;
        // 1 January 1980.
        entry[24..26].copy_from_slice(&0x0021_u16.to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn some() -> Files {
        let mut files = Files::new();
        files.add("user-data", "#cloud-config\n{}\n").unwrap();
        files.add("folder/A long name, that.is long.txt", vec![7; 100_000]).unwrap();
        files
    }

    #[test]
    fn files_can_be_read_again_and_bytes_are_equal() {
        for size in [FatSize::Floppy, FatSize::Fitting] {
            let volume = fat_image("cidata", &some(), size).unwrap();
            assert_eq!(volume, fat_image("cidata", &some(), size).unwrap());
            let system = FileSystem::new(Cursor::new(volume), FsOptions::new()).unwrap();
            assert_eq!(system.volume_label(), "CIDATA");
            for (path, bytes) in some().iter() {
                let mut read = Vec::new();
                system.root_dir().open_file(path).unwrap().read_to_end(&mut read).unwrap();
                assert_eq!(read, bytes, "{path}");
            }
            let file = system.root_dir().iter().map(Result::unwrap).find(|entry| entry.is_file()).unwrap();
            assert_eq!((file.modified().date.year, file.created().date.year), (1980, 1980));
        }
    }

    #[test]
    fn other_programs_see_the_label() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume");
        fs_err::write(&path, fat_image("cidata", &some(), FatSize::Fitting).unwrap()).unwrap();
        let asked = ["/usr/sbin/blkid", "/sbin/blkid"].iter().find_map(|program| {
            std::process::Command::new(program).args(["-p", "-o", "export"]).arg(&path).output().ok()
        });
        let Some(output) = asked else {
            eprintln!("SKIPPED: there is no `blkid`");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for wanted in ["LABEL=CIDATA\n", "LABEL_FATBOOT=CIDATA\n", "TYPE=vfat\n"] {
            assert!(said.contains(wanted), "{said}");
        }
    }

    #[test]
    fn sizes_are_those_that_are_asked_for() {
        assert_eq!(fat_image("x", &Files::new(), FatSize::Floppy).unwrap().len(), 1_474_560);
        assert_eq!(fat_image("x", &Files::new(), FatSize::Fitting).unwrap().len(), 1 << 20);
        for megabytes in [1, 7, 8, 20, 70] {
            let mut files = Files::new();
            files.add("large", vec![1; megabytes << 20]).unwrap();
            let length = fat_image("x", &files, FatSize::Fitting).unwrap().len();
            assert!(length > megabytes << 20 && length < (megabytes + 8) << 20, "{megabytes}: {length}");
        }
        let mut files = Files::new();
        files.add("large", vec![1; 1_470_000]).unwrap();
        let error = fat_image("x", &files, FatSize::Floppy).unwrap_err().to_string();
        assert_eq!(error, "1470000 bytes do not fit on a floppy disk of 1474560");
    }

    #[test]
    fn labels_are_short() {
        for wrong in ["", " ", "a label too long", "a.b", "ä"] {
            assert!(
                matches!(fat_image(wrong, &some(), FatSize::Fitting), Err(MediaError::Label { .. })),
                "{wrong}"
            );
        }
    }
}
