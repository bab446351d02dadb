//! Names on FAT: the short one that every file has, and the records that hold a long one beside it.

use std::collections::HashSet;

/// UTF-16 units of a name in one record.
const UNITS: usize = 13;

/// Where in a record they stand.
const PLACES: [usize; UNITS] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// The names of a folder.
#[derive(Default)]
pub(super) struct Taken {
    short: HashSet<[u8; 11]>,
    long: HashSet<String>,
}

impl Taken {
    /// The short name for `name`, and whether it needs a long one too; `None` if FAT cannot hold it or has it already.
    pub(super) fn short_name(&mut self, name: &str) -> Option<([u8; 11], bool)> {
        let forbidden = |letter: char| letter.is_control() || "\"*/:<>?\\|".contains(letter);
        let length = name.encode_utf16().count();
        let odd_end = name.ends_with([' ', '.']);
        if length == 0 || length > 255 || odd_end || name.chars().any(forbidden) {
            return None;
        }
        if !self.long.insert(name.to_uppercase()) {
            return None;
        }
        if let Some(short) = plain(name)
            && self.short.insert(short)
        {
            return Some((short, false));
        }
        let (stem, extension) =
            name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).unwrap_or((name, ""));
        let (stem, extension) = (letters(stem, 8), letters(extension, 3));
        for number in 1..1_000_000 {
            let tail = format!("~{number}");
            let mut short = [b' '; 11];
            let kept = stem.len().min(8 - tail.len());
            short[..kept].copy_from_slice(&stem[..kept]);
            short[kept..kept + tail.len()].copy_from_slice(tail.as_bytes());
            short[8..8 + extension.len()].copy_from_slice(&extension);
            if self.short.insert(short) {
                return Some((short, true));
            }
        }
        None
    }
}

/// A name that is a short one as it is.
fn plain(name: &str) -> Option<[u8; 11]> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let allowed = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-~".contains(&byte))
    };
    if stem.is_empty() || stem.len() > 8 || extension.len() > 3 || !allowed(stem) || !allowed(extension) {
        return None;
    }
    let mut short = [b' '; 11];
    short[..stem.len()].copy_from_slice(stem.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    Some(short)
}

/// What of a name can stand in a short one.
fn letters(part: &str, most: usize) -> Vec<u8> {
    let letter = |letter: char| match letter {
        ' ' | '.' => None,
        _ if letter.is_ascii_alphanumeric() || "_-".contains(letter) => {
            Some(letter.to_ascii_uppercase() as u8)
        }
        _ => Some(b'_'),
    };
    part.chars().filter_map(letter).take(most).collect()
}

/// The records before that of the short name: the last part of the long name first.
pub(super) fn long_name_records(name: &str, short: [u8; 11]) -> Vec<u8> {
    let sum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(UNITS) {
        units.push(0);
        units.resize(units.len().next_multiple_of(UNITS), u16::MAX);
    }
    let parts = units.len() / UNITS;
    let mut bytes = Vec::with_capacity(parts * 32);
    for (index, part) in units.chunks(UNITS).enumerate().rev() {
        let mut record = [0; 32];
        let last = if index + 1 == parts { 0x40 } else { 0 };
        record[0] = (index as u8 + 1) | last;
        record[11] = 0x0f;
        record[13] = sum;
        for (place, unit) in PLACES.iter().zip(part) {
            record[*place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        bytes.extend(record);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_made_and_kept_apart() {
        let mut taken = Taken::default();
        let mut short = |name: &str| {
            taken.short_name(name).map(|(short, long)| (String::from_utf8(short.to_vec()).unwrap(), long))
        };
        let named = |short: &str, long| Some((short.to_owned(), long));
        assert_eq!(short("BOOTX64.EFI"), named("BOOTX64 EFI", false));
        assert_eq!(short("loader"), named("LOADER~1   ", true));
        assert_eq!(short("loader.conf"), named("LOADER~1CON", true));
        assert_eq!(short("loader-two.conf"), named("LOADER~2CON", true));
        assert_eq!(short("initrd.img-6.1.0"), named("INITRD~10  ", true));
        assert_eq!(short(".hidden"), named("HIDDEN~1   ", true));
        assert_eq!(short("\u{fc}ber"), named("_BER~1     ", true));
        for refused in ["LOADER", "bootx64.efi", "", ".", "..", "a:b", "end.", "end ", &"n".repeat(256)] {
            assert_eq!(short(refused), None, "{refused}");
        }
    }

    #[test]
    fn long_names_are_cut_in_parts_of_thirteen() {
        let records = long_name_records("thirteen-char", *b"THIRTE~1   ");
        assert_eq!((records.len(), records[0]), (32, 0x41));
        let records = long_name_records("fourteen-chars", *b"FOURTE~1   ");
        assert_eq!((records.len(), records[0], records[32]), (64, 0x42, 0x01));
        assert_eq!(&records[1..7], b"s\0\0\0\xff\xff");
    }
}
