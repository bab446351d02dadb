//! What a qcow2 image over others says, and images that say it again.
//!
//! Such an image has data for some places of the disk, says of others that they are zero, and of all else nothing: what is
//! below shows there. Which image is below is not in it. Where the clusters of one lie in its file is of no interest here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::qcow2::{CLUSTER, Writer, ZERO};
use super::qcow2_read::{COMPRESSED, PLACE, each_entry, head};
use crate::DiskError;
use crate::sparse::ZEROS;

/// A part of the disk of which an image says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Where it begins on the disk, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// Whether it is zero by what the image says; else it has data, which may be zeros.
    pub zero: bool,
}

impl Said {
    fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// Clusters that lie one behind the other on the disk, and those with data also in the file.
#[derive(Clone, Copy)]
struct Clusters {
    said: Said,
    /// Where the data lie in the file, in bytes.
    at: u64,
}

/// A qcow2 image over others, of which only itself is looked at.
pub struct Qcow2Overlay {
    image: File,
    size: u64,
    clusters: Vec<Clusters>,
}

impl Qcow2Overlay {
    /// Opens an image and reads its tables.
    ///
    /// # Errors
    ///
    /// It cannot be read; it is damaged, names a backing file, is encrypted, or has compressed clusters or parts of clusters.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let image = File::open(path).map_err(DiskError::io("open", path))?;
        let head = head(&image)?;
        let cluster = 1u64 << head.cluster_bits;
        let mut clusters: Vec<Clusters> = Vec::new();
        each_entry(&image, &head, |offset, entry| {
            if entry & COMPRESSED != 0 {
                return Err(DiskError::Damaged(
                    "an image that lies over others has compressed clusters".into(),
                ));
            }
            let (zero, at) = (entry & ZERO != 0, entry & PLACE);
            if !zero && at == 0 {
                return Ok(());
            }
            if !at.is_multiple_of(cluster) {
                return Err(DiskError::Damaged(format!("the cluster at {offset} is not where one can be")));
            }
            let length = (head.size - offset).min(cluster);
            match clusters.last_mut() {
                Some(Clusters { said, at: first })
                    if said.end() == offset && said.zero == zero && (zero || *first + said.length == at) =>
                {
                    said.length += length;
                }
                _ => clusters.push(Clusters { said: Said { offset, length, zero }, at }),
            }
            Ok(())
        })?;
        Ok(Self { image, size: head.size, clusters })
    }

    /// The size of the disk in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What it says of which parts of the disk, in their order. What lies side by side and is stored apart, is apart.
    pub fn said(&self) -> impl Iterator<Item = Said> {
        self.clusters.iter().map(|clusters| clusters.said)
    }

    /// Reads what it has for a place of the disk and behind it.
    ///
    /// # Errors
    ///
    /// It has no data for all of that, or the file cannot be read.
    pub fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let place = self.clusters.partition_point(|clusters| clusters.said.end() <= offset);
            let nothing = || io::Error::new(io::ErrorKind::InvalidInput, "the image has no data there");
            let Clusters { said, at } = self.clusters.get(place).ok_or_else(nothing)?;
            if said.zero || said.offset > offset {
                return Err(nothing());
            }
            let length = (said.end() - offset).min(buffer.len() as u64);
            let (now, later) = buffer.split_at_mut(length as usize);
            read_or_zero(&self.image, now, at + (offset - said.offset))?;
            (buffer, offset) = (later, offset + length);
        }
        Ok(())
    }
}

/// Reads from a file; what is behind its end is zero, as QEMU has it for a last cluster that it wrote in part.
fn read_or_zero(file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, at) {
            Ok(0) => {
                buffer.fill(0);
                return Ok(());
            }
            Ok(read) => (buffer, at) = (&mut buffer[read..], at + read as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a qcow2 image that says what it is told, in the order of the disk: version 3, clusters of 64 KiB, no backing file.
pub struct OverlayWriter<'f> {
    writer: Writer<'f>,
    size: u64,
    /// The data of a cluster that is not full yet, and where on the disk they end.
    part: Vec<u8>,
    end: u64,
}

impl<'f> OverlayWriter<'f> {
    /// Of a disk of `size` bytes, into an empty file.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn new(file: &'f File, size: u64) -> Result<Self, DiskError> {
        let writer = Writer::begin(file, size).map_err(DiskError::image("write"))?;
        Ok(Self { writer, size, part: Vec::with_capacity(CLUSTER as usize), end: 0 })
    }

    /// Data from a place on: at the beginning of a cluster, or right behind the data before.
    ///
    /// # Errors
    ///
    /// Another place, or an image that cannot be written.
    pub fn data(&mut self, offset: u64, mut bytes: &[u8]) -> Result<(), DiskError> {
        self.go_to(offset, bytes.len() as u64)?;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CLUSTER as usize - self.part.len()));
            self.part.extend_from_slice(now);
            self.end += now.len() as u64;
            if self.part.len() == CLUSTER as usize {
                self.write_part()?;
            }
            bytes = later;
        }
        Ok(())
    }

    /// Zeros from a place on: whole clusters, or to the end of the disk.
    ///
    /// # Errors
    ///
    /// Another place, or an image that cannot be written.
    pub fn zeros(&mut self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.go_to(offset, length)?;
        let end = offset + length;
        if !self.part.is_empty() || !(end.is_multiple_of(CLUSTER) || end == self.size) {
            return Err(out_of_place(offset));
        }
        for cluster in offset / CLUSTER..end.div_ceil(CLUSTER) {
            self.writer.enter(cluster, ZERO);
        }
        self.end = end;
        Ok(())
    }

    /// Writes what is missing, and the header.
    ///
    /// # Errors
    ///
    /// The last data do not fill a cluster, or it cannot be written.
    pub fn finish(mut self) -> Result<(), DiskError> {
        self.end_part()?;
        self.writer.finish(false).map_err(DiskError::image("write"))
    }

    fn go_to(&mut self, offset: u64, length: u64) -> Result<(), DiskError> {
        let is_within = offset.checked_add(length).is_some_and(|end| end <= self.size);
        if offset != self.end {
            self.end_part()?;
        }
        let is_start = offset == self.end || offset.is_multiple_of(CLUSTER);
        if !is_within || !is_start || offset < self.end {
            return Err(out_of_place(offset));
        }
        self.end = offset;
        Ok(())
    }

    /// Ends a run of data. Only the disk's last cluster is not full.
    fn end_part(&mut self) -> Result<(), DiskError> {
        if self.part.is_empty() {
            return Ok(());
        }
        if self.end != self.size {
            return Err(out_of_place(self.end));
        }
        self.write_part()
    }

    fn write_part(&mut self) -> Result<(), DiskError> {
        let index = (self.end - 1) / CLUSTER;
        self.part.extend_from_slice(&ZEROS[..CLUSTER as usize - self.part.len()]);
        self.writer.whole(index, &self.part).map_err(DiskError::image("write"))?;
        self.part.clear();
        Ok(())
    }
}

fn out_of_place(offset: u64) -> DiskError {
    DiskError::Damaged(format!("what is said of the disk at {offset} is no whole cluster, or out of order"))
}
