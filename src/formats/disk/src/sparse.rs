//! Holes: runs of zeros that take no room on the disk.
//!
//! What is a hole follows from contents alone, never from how the host happens to store a file, so that one tree makes
//! one image everywhere.

use std::io::{self, Read};

use crate::DiskError;
use crate::error::shown;

/// What becomes a hole: whole units of zeros. Smaller runs would cost more in extents than they save.
pub(crate) const UNIT: usize = 64 << 10;

/// Bytes of zero to compare with.
pub(crate) static ZEROS: [u8; UNIT] = [0; UNIT];

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) hole: bool,
    /// In bytes.
    pub(crate) length: u64,
}

/// Whether `bytes` are all zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(UNIT).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// Reads until `buffer` is full or the source ends; how much was read.
pub(crate) fn read_full(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The data and holes of a file in turn; `None` if it is all data.
pub(crate) fn segments(source: &mut dyn Read) -> io::Result<Option<Vec<Segment>>> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut buffer = vec![0; UNIT];
    loop {
        let read = read_full(source, &mut buffer)?;
        if read == 0 {
            break;
        }
        let hole = is_zero(&buffer[..read]);
        let length = read as u64;
        match segments.last_mut() {
            Some(last) if last.hole == hole => last.length += length,
            _ => segments.push(Segment { hole, length }),
        }
    }
    Ok(segments.iter().any(|segment| segment.hole).then_some(segments))
}

/// The data of a file without its holes, checked to be as long as was said and empty where a hole was.
pub(crate) struct DataReader<'r> {
    path: &'r [u8],
    source: Box<dyn Read + 'r>,
    segments: std::vec::IntoIter<Segment>,
    left: u64,
    error: Option<DiskError>,
}

impl<'r> DataReader<'r> {
    pub(crate) fn new(path: &'r [u8], source: Box<dyn Read + 'r>, segments: Vec<Segment>) -> Self {
        Self { path, source, segments: segments.into_iter(), left: 0, error: None }
    }

    /// Reads on to the file's end, where its digest is checked. An earlier failure is given here too.
    pub(crate) fn finish(mut self) -> Result<(), DiskError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.left > 0 || self.skip_holes()? {
            return Err(DiskError::Changed { path: shown(self.path) });
        }
        match read_full(&mut self.source, &mut [0]).map_err(DiskError::contents(self.path))? {
            0 => Ok(()),
            _ => Err(DiskError::Changed { path: shown(self.path) }),
        }
    }

    /// Goes to the next data; whether there is any.
    fn skip_holes(&mut self) -> Result<bool, DiskError> {
        for segment in self.segments.by_ref() {
            if !segment.hole {
                self.left = segment.length;
                return Ok(true);
            }
            let mut left = segment.length;
            let mut buffer = vec![0; UNIT];
            while left > 0 {
                let wanted = left.min(UNIT as u64) as usize;
                let read = read_full(&mut self.source, &mut buffer[..wanted])
                    .map_err(DiskError::contents(self.path))?;
                if read < wanted || !is_zero(&buffer[..read]) {
                    return Err(DiskError::Changed { path: shown(self.path) });
                }
                left -= wanted as u64;
            }
        }
        Ok(false)
    }

    fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, DiskError> {
        if self.left == 0 && !self.skip_holes()? {
            return Ok(0);
        }
        let wanted = self.left.min(buffer.len() as u64) as usize;
        let read =
            read_full(&mut self.source, &mut buffer[..wanted]).map_err(DiskError::contents(self.path))?;
        if read < wanted {
            return Err(DiskError::Changed { path: shown(self.path) });
        }
        self.left -= read as u64;
        Ok(read)
    }
}

impl Read for DataReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_data(buffer).map_err(|error| {
            self.error = Some(error);
            io::Error::other("the contents could not be read")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(parts: &[(u8, usize)]) -> Vec<u8> {
        parts.iter().flat_map(|(byte, length)| std::iter::repeat_n(*byte, *length)).collect()
    }

    #[test]
    fn holes_are_whole_units_of_zeros() {
        let bytes = file(&[(1, UNIT + 1), (0, 3 * UNIT), (2, 1), (0, UNIT)]);
        let found = segments(&mut bytes.as_slice()).unwrap().unwrap();
        let unit = UNIT as u64;
        assert_eq!(
            found,
            [
                Segment { hole: false, length: 2 * unit },
                Segment { hole: true, length: 2 * unit },
                Segment { hole: false, length: unit },
                Segment { hole: true, length: 2 },
            ]
        );
        let mut data = Vec::new();
        let mut reader = DataReader::new(b"f", Box::new(bytes.as_slice()), found);
        reader.read_to_end(&mut data).unwrap();
        reader.finish().unwrap();
        assert_eq!(data.len(), 3 * UNIT);
    }

    #[test]
    fn a_file_that_changes_is_an_error() {
        let plan = vec![Segment { hole: false, length: 4 }, Segment { hole: true, length: 4 }];
        for bytes in [&b"abc"[..], b"abcd\0\0\0x", b"abcd\0\0\0", b"abcd\0\0\0\0\0"] {
            let mut reader = DataReader::new(b"f", Box::new(bytes), plan.clone());
            let _ = reader.read_to_end(&mut Vec::new());
            let error = reader.finish().unwrap_err();
            assert_eq!(
                error.to_string(),
                "the contents of `/f` changed while the disk was written; nothing may write to a tree that is exported"
            );
        }
    }
}
