//! Files as a CD: ISO 9660 with names in capitals for old readers, and Joliet with the names as they are (ECMA-119; Microsoft:
//! "Joliet Specification"). Equal files give equal bytes: nothing says when the CD was made.

use super::{Files, MediaError};

/// The size of a block, in bytes.
const BLOCK: usize = 2048;

/// The first block that is not the system's.
const DESCRIPTORS: usize = 16;

/// Which names a tree has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// 8 and 3 capitals.
    Plain,
    /// Up to 103 characters of UTF-16, as other writers allow, where the rule is 64.
    Joliet,
}

const LONGEST_JOLIET: usize = 103;

/// A folder of one of the two trees.
struct Folder {
    /// Its number in the list; the root's is its own.
    parent: usize,
    /// As its parent calls it; one byte of 0 for the root.
    name: Vec<u8>,
    entries: Vec<Entry>,
    block: usize,
}

struct Entry {
    name: Vec<u8>,
    target: Target,
}

#[derive(Clone, Copy)]
enum Target {
    Folder(usize),
    File(usize),
}

/// Where a file lies.
struct Extent {
    block: usize,
    length: usize,
}

/// The bytes of a CD with these files. The label has at most 32 characters of ASCII, of which Joliet sees 16.
///
/// # Errors
/// If the label is none, or a name cannot be on a CD.
pub fn iso_image(label: &str, files: &Files) -> Result<Vec<u8>, MediaError> {
    if label.is_empty() || label.len() > 32 || !label.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        let rule = "1 to 32 characters of ASCII";
        return Err(MediaError::Label { label: label.to_owned(), medium: "CD", rule });
    }
    let mut plain = tree(files, Naming::Plain)?;
    let mut joliet = tree(files, Naming::Joliet)?;
    let mut next = DESCRIPTORS + 3;
    let mut place = |bytes: usize| {
        let block = next;
        next += bytes.div_ceil(BLOCK);
        block
    };
    let tables: Vec<[usize; 2]> = [&plain, &joliet]
        .into_iter()
        .map(|folders| {
            let size = path_table(folders, false).len();
            [place(size), place(size)]
        })
        .collect();
    for folder in plain.iter_mut().chain(joliet.iter_mut()) {
        folder.block = place(folder.size());
    }
    let mut extents = Vec::new();
    for (path, bytes) in files.iter() {
        if u32::try_from(bytes.len()).is_err() {
            let (needed, size) = (bytes.len() as u64, u64::from(u32::MAX));
            return Err(MediaError::Full { medium: "CD", needed, size }.at(path));
        }
        extents.push(Extent { block: place(bytes.len()), length: bytes.len() });
    }
    let blocks = next;

    let mut image = vec![0; blocks * BLOCK];
    let mut write = |block: usize, bytes: &[u8]| {
        let start = block * BLOCK;
        image[start..start + bytes.len()].copy_from_slice(bytes);
    };
    for (number, (folders, naming)) in
        [(&plain, Naming::Plain), (&joliet, Naming::Joliet)].into_iter().enumerate()
    {
        let [little, big] = tables[number];
        let table = path_table(folders, false);
        let places = Places { blocks, table: table.len(), little, big };
        write(DESCRIPTORS + number, &descriptor(label, naming, &folders[0], &places));
        write(little, &table);
        write(big, &path_table(folders, true));
        for folder in folders {
            write(folder.block, &folder.bytes(folders, &extents));
        }
    }
    write(DESCRIPTORS + 2, b"\xffCD001\x01");
    for (extent, (_, bytes)) in extents.iter().zip(files.iter()) {
        write(extent.block, bytes);
    }
    Ok(image)
}

impl MediaError {
    /// The same, said of a name; what does not fit is one file.
    fn at(self, name: &str) -> Self {
        match self {
            Self::Full { medium, .. } => {
                Self::BadName { name: name.to_owned(), medium, rule: "a file has less than 4 GiB" }
            }
            other => other,
        }
    }
}

/// All folders, the root first, in the order that the path table has: by depth, then by parent, then by name.
fn tree(files: &Files, naming: Naming) -> Result<Vec<Folder>, MediaError> {
    let paths: Vec<&str> = files.iter().map(|(path, _)| path).collect();
    let all_folders = files.folders();
    let mut folders = vec![Folder { parent: 0, name: vec![0], entries: Vec::new(), block: 0 }];
    let mut where_is = vec![String::new()];
    let mut current = 0;
    while current < folders.len() {
        let prefix = if current == 0 { String::new() } else { format!("{}/", where_is[current]) };
        let child =
            |path: &str| path.strip_prefix(&prefix).filter(|name| !name.contains('/')).map(str::to_owned);
        let inner = all_folders.iter().filter_map(|path| Some((child(path)?, None)));
        let direct = paths.iter().enumerate().filter_map(|(number, path)| Some((child(path)?, Some(number))));
        let mut taken = Vec::new();
        let mut entries = Vec::new();
        for (name, file) in inner.chain(direct) {
            let identifier = match naming {
                Naming::Plain => plain_name(&name, file.is_some(), &mut taken),
                Naming::Joliet => joliet_name(&name, file.is_some())?,
            };
            entries.push((identifier, name, file));
        }
        entries.sort();
        for (identifier, name, file) in entries {
            let target = match file {
                Some(number) => Target::File(number),
                None => {
                    where_is.push(format!("{prefix}{name}"));
                    let folder =
                        Folder { parent: current, name: identifier.clone(), entries: Vec::new(), block: 0 };
                    folders.push(folder);
                    Target::Folder(folders.len() - 1)
                }
            };
            folders[current].entries.push(Entry { name: identifier, target });
        }
        current += 1;
    }
    Ok(folders)
}

/// 8 characters and 3, of which no two in one folder are equal.
fn plain_name(name: &str, is_file: bool, taken: &mut Vec<String>) -> Vec<u8> {
    let short = |text: &str, length: usize| -> String {
        let capital = |c: char| match c.to_ascii_uppercase() {
            c @ ('A'..='Z' | '0'..='9' | '_') => c,
            _ => '_',
        };
        text.chars().take(length).map(capital).collect()
    };
    let (stem, end) = match name.rsplit_once('.') {
        Some((stem, end)) if is_file && !stem.is_empty() => (stem, short(end, 3)),
        _ => (name, String::new()),
    };
    let made = |stem: &str| if is_file { format!("{stem}.{end};1") } else { stem.to_owned() };
    let mut identifier = made(&short(stem, 8));
    let mut number = 0;
    while taken.contains(&identifier) {
        number += 1;
        let digits = number.to_string();
        identifier = made(&format!("{}{digits}", short(stem, 8_usize.saturating_sub(digits.len()))));
    }
    taken.push(identifier.clone());
    identifier.into_bytes()
}

fn joliet_name(name: &str, is_file: bool) -> Result<Vec<u8>, MediaError> {
    let bad = |rule| MediaError::BadName { name: name.to_owned(), medium: "CD", rule };
    if name.chars().any(|c| c.is_control() || "*/:;?\\".contains(c)) {
        return Err(bad("without `*`, `/`, `:`, `;`, `?`, `\\` and control characters"));
    }
    if name.encode_utf16().count() > LONGEST_JOLIET {
        return Err(bad("at most 103 characters"));
    }
    let end = if is_file { ";1" } else { "" };
    Ok(name.encode_utf16().chain(end.encode_utf16()).flat_map(u16::to_be_bytes).collect())
}

impl Folder {
    /// The sizes of its records: itself, its parent, its entries.
    fn records(&self) -> impl Iterator<Item = usize> {
        [1, 1].into_iter().chain(self.entries.iter().map(|entry| entry.name.len())).map(record_size)
    }

    /// How many bytes it takes; no record crosses the end of a block.
    fn size(&self) -> usize {
        let end = self.records().fold(0, |at, size| fitting(at, size) + size);
        end.next_multiple_of(BLOCK)
    }

    fn bytes(&self, folders: &[Self], extents: &[Extent]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        let parent = &folders[self.parent];
        let mut put = |record: Vec<u8>| {
            bytes.resize(fitting(bytes.len(), record.len()), 0);
            bytes.extend(record);
        };
        put(record(&[0], self.block, self.size(), true));
        put(record(&[1], parent.block, parent.size(), true));
        for entry in &self.entries {
            put(match entry.target {
                Target::Folder(number) => {
                    record(&entry.name, folders[number].block, folders[number].size(), true)
                }
                Target::File(number) => {
                    record(&entry.name, extents[number].block, extents[number].length, false)
                }
            });
        }
        bytes.resize(self.size(), 0);
        bytes
    }
}

/// Where a record of this size starts, if the one before ended at `at`.
fn fitting(at: usize, size: usize) -> usize {
    if at % BLOCK + size > BLOCK { at.next_multiple_of(BLOCK) } else { at }
}

fn record_size(name: usize) -> usize {
    (33 + name).next_multiple_of(2)
}

/// One entry of a folder (ECMA-119, 9.1).
fn record(name: &[u8], block: usize, length: usize, folder: bool) -> Vec<u8> {
    let size = record_size(name.len());
    let mut bytes = Vec::with_capacity(size);
    bytes.extend([size as u8, 0]);
    bytes.extend(both(block));
    bytes.extend(both(length));
    // 1 January 1980, UTC.
    bytes.extend([80, 1, 1, 0, 0, 0, 0]);
    bytes.extend([if folder { 2 } else { 0 }, 0, 0]);
    bytes.extend(both_short(1));
    bytes.push(name.len() as u8);
    bytes.extend(name);
    bytes.resize(size, 0);
    bytes
}

/// All folders in short (ECMA-119, 9.4), with numbers of one or the other order of bytes.
fn path_table(folders: &[Folder], big: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for folder in folders {
        let (block, parent) = (folder.block as u32, folder.parent as u16 + 1);
        bytes.extend([folder.name.len() as u8, 0]);
        bytes.extend(if big { block.to_be_bytes() } else { block.to_le_bytes() });
        bytes.extend(if big { parent.to_be_bytes() } else { parent.to_le_bytes() });
        bytes.extend(&folder.name);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
    }
    bytes
}

struct Places {
    /// How many blocks the CD has.
    blocks: usize,
    /// How many bytes a path table has.
    table: usize,
    little: usize,
    big: usize,
}

/// What a tree begins with (ECMA-119, 8.4 and 8.5).
fn descriptor(label: &str, naming: Naming, root: &Folder, places: &Places) -> Vec<u8> {
    let joliet = naming == Naming::Joliet;
    let text = |text: &str, length: usize| -> Vec<u8> {
        let mut bytes: Vec<u8> = if joliet {
            let filled = text.encode_utf16().chain(std::iter::repeat(0x20));
            filled.take(length / 2).flat_map(u16::to_be_bytes).collect()
        } else {
            text.bytes().chain(std::iter::repeat(b' ')).take(length).collect()
        };
        bytes.resize(length, 0);
        bytes
    };
    let mut bytes = Vec::with_capacity(BLOCK);
    bytes.push(if joliet { 2 } else { 1 });
    bytes.extend(b"CD001\x01\0");
    bytes.extend(text("", 32));
    bytes.extend(text(label, 32));
    bytes.extend([0; 8]);
    bytes.extend(both(places.blocks));
    // The characters of Joliet's third level.
    bytes.extend(if joliet { *b"%/E" } else { [0; 3] });
    bytes.extend([0; 29]);
    bytes.extend(both_short(1));
    bytes.extend(both_short(1));
    bytes.extend(both_short(BLOCK as u16));
    bytes.extend(both(places.table));
    bytes.extend((places.little as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((places.big as u32).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(record(&[0], root.block, root.size(), true));
    for length in [128, 128, 128, 128, 37, 37, 37] {
        bytes.extend(text("", length));
    }
    for _ in 0..4 {
        // No time is said.
        bytes.extend(b"0000000000000000\0");
    }
    bytes.extend([1, 0]);
    bytes.resize(BLOCK, 0);
    bytes
}

/// A number in both orders of bytes.
fn both(number: usize) -> [u8; 8] {
    let number = number as u32;
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn both_short(number: u16) -> [u8; 4] {
    let mut bytes = [0; 4];
    bytes[..2].copy_from_slice(&number.to_le_bytes());
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Files {
        let mut files = Files::new();
        files.add("user-data", "#cloud-config\n").unwrap();
        files.add("a/Long name.is long.text", vec![7; 5000]).unwrap();
        files.add("a/b/empty", "").unwrap();
        for number in 0..100 {
            files.add(&format!("many/file-number-{number}.txt"), number.to_string()).unwrap();
        }
        files
    }

    #[test]
    fn bytes_are_equal_and_the_size_is_said() {
        let image = iso_image("cidata", &some()).unwrap();
        assert_eq!(image, iso_image("cidata", &some()).unwrap());
        assert_eq!(image.len() % BLOCK, 0);
        for descriptor in [16, 17] {
            let at = descriptor * BLOCK;
            assert_eq!(&image[at + 1..at + 6], b"CD001");
            let blocks = u32::from_le_bytes(image[at + 80..at + 84].try_into().unwrap());
            assert_eq!(blocks as usize * BLOCK, image.len());
        }
        assert_eq!(&image[16 * BLOCK + 40..16 * BLOCK + 47], b"cidata ");
        assert_eq!(iso_image("x", &Files::new()).unwrap().len() % BLOCK, 0);
    }

    #[test]
    fn names_for_old_readers_are_short_and_different() {
        let mut taken = Vec::new();
        let mut name =
            |text: &str, file: bool| String::from_utf8(plain_name(text, file, &mut taken)).unwrap();
        for (text, file, wanted) in [
            ("user-data", true, "USER_DAT.;1"),
            ("user-date", true, "USER_DA1.;1"),
            ("meta.data.yaml", true, "META_DAT.YAM;1"),
            (".hidden", true, "_HIDDEN.;1"),
            ("folder.d", false, "FOLDER_D"),
            ("äö", false, "__"),
        ] {
            assert_eq!(name(text, file), wanted);
        }
    }

    #[test]
    fn other_programs_see_the_label() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cd.iso");
        fs_err::write(&path, iso_image("cidata", &some()).unwrap()).unwrap();
        let asked = ["/usr/sbin/blkid", "/sbin/blkid"].iter().find_map(|program| {
            std::process::Command::new(program).args(["-p", "-o", "export"]).arg(&path).output().ok()
        });
        let Some(output) = asked else {
            eprintln!("SKIPPED: there is no `blkid`");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("LABEL=cidata\n") && said.contains("TYPE=iso9660\n"), "{said}");
    }

    #[test]
    fn what_cannot_be_on_a_cd_is_told() {
        let error = iso_image("", &some()).unwrap_err().to_string();
        assert_eq!(error, "`` cannot be the label of a CD: 1 to 32 characters of ASCII");
        let mut files = Files::new();
        files.add("a:b", "").unwrap();
        let error = iso_image("x", &files).unwrap_err().to_string();
        assert!(error.starts_with("`a:b` cannot be a name on a CD: without `*`"), "{error}");
    }
}
