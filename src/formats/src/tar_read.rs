//! Reads tar streams entry by entry: POSIX headers with PAX records, GNU's long names.
//!
//! The `tar` crate reads headers here and no more, because it takes PAX records apart at line feeds, which values of
//! extended attributes may contain, and puts no bound on how much memory an archive can ask for. Sparse files are not
//! supported: no image has any.

use std::io::{self, Read};

use tar::{EntryType, Header};

use crate::unpack::UnpackError;

const BLOCK: u64 = 512;

/// The longest extension header: Linux bounds names to 4 KiB and the attributes of a file to 64 KiB each.
const MAX_EXTENSION: u64 = 4 << 20;

/// The key and the value of a PAX record.
type Record = (Vec<u8>, Vec<u8>);

/// A tar stream.
pub(crate) struct TarReader<R> {
    source: R,
    /// What is left of the present entry's contents, and the padding behind it.
    left: u64,
    padding: u64,
}

/// An entry's header with everything that extends it.
pub(crate) struct Head {
    pub(crate) header: Header,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    /// PAX records, in order; of two with one key the later counts.
    pub(crate) records: Vec<Record>,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0 }
    }

    /// The next entry; what was not read of the one before is skipped. `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Head>, UnpackError> {
        let mut records = Vec::new();
        let (mut long_path, mut long_link) = (None, None);
        loop {
            self.skip(self.left + self.padding)?;
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.header()? else {
                if long_path.is_some() || long_link.is_some() || !records.is_empty() {
                    return Err(damaged("it ends after an extension header"));
                }
                return Ok(None);
            };
            let size = header.entry_size().map_err(UnpackError::Archive)?;
            match header.entry_type() {
                EntryType::XHeader => records = pax_records(&self.extension(size)?)?,
                // What holds for all entries is a comment in practice: git writes its commit there.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                EntryType::GNULongName => long_path = Some(until_nul(self.extension(size)?)),
                EntryType::GNULongLink => long_link = Some(until_nul(self.extension(size)?)),
                kind => {
                    let record = |key: &[u8]| {
                        records
                            .iter()
                            .rev()
                            .find(|(name, _)| name == key)
                            .map(|(_, value): &(_, Vec<u8>)| value.clone())
                    };
                    let path =
                        record(b"path").or(long_path).unwrap_or_else(|| header.path_bytes().into_owned());
                    let link = record(b"linkpath")
                        .or(long_link)
                        .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
                    let size = match record(b"size") {
                        Some(text) => number(&text).ok_or_else(|| damaged("a size that is no number"))?,
                        None => size,
                    };
                    // Only files have contents, whatever the header of another kind says of its size.
                    let has_contents =
                        matches!(kind, EntryType::Regular | EntryType::Continuous) || !known(kind);
                    let size = if has_contents { size } else { 0 };
                    self.left = size;
                    self.padding = size.next_multiple_of(BLOCK) - size;
                    return Ok(Some(Head { header, path, link, records }));
                }
            }
        }
    }

    /// How much of the present entry's contents was not read yet.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Reads to the end of the stream, so that a digest taken below covers all of it.
    pub(crate) fn drain(mut self) -> Result<(), UnpackError> {
        io::copy(&mut self.source, &mut io::sink()).map_err(UnpackError::Archive)?;
        Ok(())
    }

    /// The next header; `None` at the first empty block or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut length = 0;
        while length < block.len() {
            match self.source.read(&mut block[length..]) {
                // Some writers leave the two empty blocks at the end out, and readers have always taken that.
                Ok(0) if length == 0 => return Ok(None),
                Ok(0) => return Err(damaged("it is cut off in a header")),
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::Archive(error)),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 =
            block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        if header.cksum().map_err(UnpackError::Archive)? != sum {
            return Err(damaged("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > MAX_EXTENSION {
            return Err(damaged("an extension header is larger than 4 MiB"));
        }
        let mut bytes = Vec::new();
        (&mut self.source).take(size).read_to_end(&mut bytes).map_err(UnpackError::Archive)?;
        if bytes.len() as u64 != size {
            return Err(damaged("it is cut off in an extension header"));
        }
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(bytes)
    }

    fn skip(&mut self, size: u64) -> Result<(), UnpackError> {
        let skipped =
            io::copy(&mut (&mut self.source).take(size), &mut io::sink()).map_err(UnpackError::Archive)?;
        if skipped == size { Ok(()) } else { Err(damaged("it is cut off")) }
    }
}

/// Reads the present entry's contents; an archive that ends before them is an error.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Whether a kind of entry is one that this crate knows, contents or not.
fn known(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::Regular
            | EntryType::Continuous
            | EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo
    )
}

fn damaged(why: &str) -> UnpackError {
    UnpackError::Archive(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()))
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Takes `length key=value\n` records apart; the length, not the line feed, says where one ends.
fn pax_records(mut bytes: &[u8]) -> Result<Vec<Record>, UnpackError> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let record = || -> Option<(&[u8], &[u8], &[u8])> {
            let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
            let length = usize::try_from(number(&bytes[..space])?).ok()?;
            let text = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = text.iter().position(|byte| *byte == b'=')?;
            Some((&text[..equals], &text[equals + 1..], &bytes[length..]))
        };
        let (key, value, rest) = record().ok_or_else(|| damaged("a PAX record is malformed"))?;
        records.push((key.to_vec(), value.to_vec()));
        bytes = rest;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_their_length_says() {
        let records = pax_records(b"19 a=one\ntwo = 3\n\xff\n6 b=\xff\n5 c=\n").unwrap();
        let expected: Vec<Record> = vec![
            (b"a".to_vec(), b"one\ntwo = 3\n\xff".to_vec()),
            (b"b".to_vec(), b"\xff".to_vec()),
            (b"c".to_vec(), b"".to_vec()),
        ];
        assert_eq!(records, expected);
        for wrong in ["7 a=b", "99 a=b\n", "6 ab\n", "x a=b\n", "0 a=b\n", " a=b\n", "6 a=bc\n"] {
            assert!(pax_records(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
