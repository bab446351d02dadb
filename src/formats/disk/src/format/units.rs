//! The parts of a raw image that have data, in units of one size.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::sparse::is_zero;

/// The units of an image that are not all zero, each with its number and its bytes. The last is filled up with zeros.
pub struct Units<'f> {
    image: &'f File,
    size: u64,
    unit: usize,
    next: u64,
    /// Up to here the host stores data.
    data_until: u64,
}

impl<'f> Units<'f> {
    /// The units of `unit` bytes of an image of `size`.
    pub fn new(image: &'f File, size: u64, unit: usize) -> Self {
        Self { image, size, unit, next: 0, data_until: 0 }
    }

    fn find(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let mut buffer = vec![0; self.unit];
        loop {
            let unit = self.unit as u64;
            if self.next * unit >= self.data_until && !self.skip_hole()? {
                return Ok(None);
            }
            let start = self.next * unit;
            let Some(left) = self.size.checked_sub(start).filter(|left| *left > 0) else { return Ok(None) };
            let length = left.min(unit) as usize;
            self.image.read_exact_at(&mut buffer[..length], start)?;
            buffer[length..].fill(0);
            self.next += 1;
            if !is_zero(&buffer) {
                return Ok(Some((self.next - 1, buffer)));
            }
        }
    }

    /// Goes to the next data that the host stores; whether there is any.
    fn skip_hole(&mut self) -> io::Result<bool> {
        let start = self.next * self.unit as u64;
        if start >= self.size {
            return Ok(false);
        }
        match rustix::fs::seek(self.image, SeekFrom::Data(start)) {
            Ok(data) => {
                self.next = data / self.unit as u64;
                self.data_until = rustix::fs::seek(self.image, SeekFrom::Hole(data))?;
                Ok(true)
            }
            Err(Errno::NXIO) => Ok(false),
            // A file system that knows no holes: all of it is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                self.data_until = self.size;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Iterator for Units<'_> {
    type Item = io::Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.find().transpose()
    }
}

/// Copies what has data into an empty file of the same size.
pub(super) fn copy(image: &File, sink: &File, size: u64) -> io::Result<()> {
    sink.set_len(size)?;
    for unit in Units::new(image, size, 64 << 10) {
        let (index, bytes) = unit?;
        let start = index * (64 << 10);
        let length = (size - start).min(bytes.len() as u64) as usize;
        sink.write_all_at(&bytes[..length], start)?;
    }
    Ok(())
}
