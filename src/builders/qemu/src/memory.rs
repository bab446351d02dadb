//! The memory of a guest beside QEMU: a file of the kernel's own that lies in no file system, which QEMU maps and this program reads and
//! fills while nothing runs in the guest (`memfd_create(2)`; QEMU: `memory-backend-file`, and the capability `x-ignore-shared` of
//! migrations).
//!
//! For: memory that is kept, and taken again while QEMU is not there yet, by copying it, which is several times as fast as QEMU's
//! stream. What is written down is the parts that are not zero; it follows from what is in the memory alone. Not for: devices, which
//! only QEMU can write down ([`crate::process::Machine::save_state`]).

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use blake3::Hasher;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use imgbuild_digest::{Digest, Hash};
use imgbuild_disk::Units;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

/// What a file begins with; the size of the memory follows.
const MAGIC: &[u8; 16] = b"imgbuild memory1";
/// What is left out where it is zero, in bytes. Its number stands before each that is not.
const UNIT: usize = 16 << 10;
/// How many units are read or written at a time.
const BATCH: usize = 64;
/// How many batches may wait to be hashed.
const WAITING: usize = 4;

/// The memory of a guest. It takes room on the host as it is written to, and is gone with the last who holds it.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    size: u64,
}

impl GuestMemory {
    /// Memory of this size in bytes, all zero.
    ///
    /// # Errors
    /// If the kernel gives none.
    pub fn new(size: u64) -> io::Result<Self> {
        let make = |more| memfd_create("imgbuild-guest", MemfdFlags::CLOEXEC | more);
        // Some hosts give no other (`vm.memfd_noexec`), and kernels before 6.3 do not know it.
        let file = match make(MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => make(MemfdFlags::empty()),
            made => made,
        };
        let file = File::from(file?);
        file.set_len(size)?;
        Ok(Self { file, size })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A descriptor of it for another process.
    ///
    /// # Errors
    /// If this one has too many.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Writes it into a new file that is the user's alone. Nobody may write to the memory meanwhile.
    ///
    /// # Errors
    /// If the file is there already or cannot be written.
    pub fn save(&self, to: &Path) -> io::Result<Digest> {
        let mut options = fs_err::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(to)?;
        let written = |hash: &Hashing| {
            let mut put = |batch: Vec<u8>| {
                file.write_all(&batch)?;
                hash.take(batch.into())
            };
            put([MAGIC.as_slice(), &self.size.to_le_bytes()].concat())?;
            let mut units = Units::new(&self.file, self.size, UNIT);
            loop {
                let mut batch = Vec::with_capacity(BATCH * (UNIT + 8));
                for unit in units.by_ref().take(BATCH) {
                    let (number, bytes) = unit?;
                    batch.extend_from_slice(&number.to_le_bytes());
                    batch.extend_from_slice(&bytes);
                }
                if batch.is_empty() {
                    return Ok(());
                }
                put(batch)?;
            }
        };
        hashed(written).map(|((), digest)| digest)
    }

    /// Memory that [`GuestMemory::save`] wrote down, unless it is told to `stop` before; with the digest of what was read. Whether that
    /// is what was written is for the caller to see before anything uses it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] if the file was not written so or is cut short, [`ErrorKind::Interrupted`] if it was to stop; if it cannot
    /// be read; if the kernel gives no memory.
    pub fn load(from: &Path, stop: &AtomicBool) -> io::Result<(Self, Digest)> {
        let file = fs_err::File::open(from)?;
        let wrong = || io::Error::new(ErrorKind::InvalidData, "this is not the memory of a guest");
        let read = |hash: &Hashing| {
            let take = |most: usize| {
                let mut batch = Vec::with_capacity(most);
                (&file).take(most as u64).read_to_end(&mut batch)?;
                let batch = Arc::new(batch);
                hash.take(batch.clone()).map(|()| batch)
            };
            let start = take(MAGIC.len() + 8)?;
            let size = start.strip_prefix(MAGIC).and_then(number).ok_or_else(wrong)?;
            let memory = Self::new(size)?;
            loop {
                if stop.load(Ordering::Relaxed) {
                    return Err(ErrorKind::Interrupted.into());
                }
                let batch = take(BATCH * (UNIT + 8))?;
                for unit in batch.chunks(UNIT + 8) {
                    let (at, bytes) = unit.split_at_checked(8).ok_or_else(wrong)?;
                    let at = number(at).and_then(|at| at.checked_mul(UNIT as u64)).filter(|at| *at < size);
                    let at = at.filter(|_| bytes.len() == UNIT).ok_or_else(wrong)?;
                    let length = (size - at).min(UNIT as u64) as usize;
                    memory.file.write_all_at(&bytes[..length], at)?;
                }
                if batch.len() < BATCH * (UNIT + 8) {
                    return Ok(memory);
                }
            }
        };
        hashed(read)
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().map(u64::from_le_bytes).ok()
}

/// Where what is read or written goes besides.
struct Hashing(SyncSender<Arc<Vec<u8>>>);

impl Hashing {
    fn take(&self, batch: Arc<Vec<u8>>) -> io::Result<()> {
        self.0.send(batch).map_err(|_| io::Error::other("the thread that hashes has ended"))
    }
}

/// Does something with bytes, and gives the digest of them all, which is calculated beside.
fn hashed<T>(work: impl FnOnce(&Hashing) -> io::Result<T>) -> io::Result<(T, Digest)> {
    std::thread::scope(|scope| {
        let (sender, batches) = sync_channel::<Arc<Vec<u8>>>(WAITING);
        let hasher = scope.spawn(move || {
            let mut hasher = Hasher::new();
            batches.iter().for_each(|batch| {
                hasher.update(&batch);
            });
            hasher
        });
        let done = work(&Hashing(sender))?;
        let hasher = hasher.join().map_err(|_| io::Error::other("the thread that hashes has panicked"))?;
        Ok((done, Digest::blake3(Hash(hasher.finalize().into()), hasher.count())))
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const SIZE: u64 = (4 << 20) + 4096;

    type Change = dyn Fn(&mut Vec<u8>);

    fn load(path: &Path) -> io::Result<(GuestMemory, Digest)> {
        GuestMemory::load(path, &AtomicBool::new(false))
    }

    fn written(folder: &Path, places: &[(u64, &[u8])]) -> (PathBuf, Digest) {
        let memory = GuestMemory::new(SIZE).unwrap();
        for (at, bytes) in places {
            memory.file.write_all_at(bytes, *at).unwrap();
        }
        let path = folder.join(places.len().to_string());
        let digest = memory.save(&path).unwrap();
        (path, digest)
    }

    #[test]
    fn what_is_written_down_is_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let places: [(u64, &[u8]); 3] = [(0, b"first"), (1 << 20, &[0; 1 << 20]), (SIZE - 4, b"last")];
        let (path, digest) = written(folder.path(), &places);
        assert_eq!(digest, Digest::of(&fs_err::read(&path).unwrap()));
        assert_eq!(digest.size, 24 + 2 * (UNIT as u64 + 8), "zeros are left out, written or not");
        let (memory, read) = load(&path).unwrap();
        assert_eq!((read, memory.size()), (digest, SIZE));
        let mut all = vec![0; SIZE as usize];
        File::from(memory.share().unwrap()).read_exact_at(&mut all, 0).unwrap();
        assert!(all.starts_with(b"first\0") && all.ends_with(b"\0last"));
        assert_eq!(all.iter().filter(|byte| **byte != 0).count(), 9);
        assert_eq!(memory.save(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        let again = folder.path().join("again");
        assert_eq!(memory.save(&again).unwrap(), digest);

        let stopped = GuestMemory::load(&path, &AtomicBool::new(true)).unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Interrupted);

        let (_, nothing) = written(folder.path(), &[]);
        assert_eq!(nothing.size, 24);
    }

    #[test]
    fn what_was_not_written_so_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, digest) = written(folder.path(), &[(0, b"some")]);
        let good = fs_err::read(&path).unwrap();
        let other = |change: &Change| {
            let mut bytes = good.clone();
            change(&mut bytes);
            fs_err::write(&path, bytes).unwrap();
            load(&path)
        };
        let changes: [&Change; 8] = [
            &|bytes| bytes.clear(),
            &|bytes| bytes[0] = 0,
            &|bytes| bytes.truncate(20),
            &|bytes| bytes.truncate(bytes.len() - 1),
            &|bytes| bytes.push(0),
            // Units behind the end: the next one, one far behind it, one that is nowhere.
            &|bytes| bytes[24..26].copy_from_slice(&257_u16.to_le_bytes()),
            &|bytes| bytes[27] = 1,
            &|bytes| bytes[31] = 1,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_eq!(other(change).unwrap_err().kind(), ErrorKind::InvalidData, "{number}");
        }
        let (_, read) = other(&|bytes| bytes[100] = 1).unwrap();
        assert_ne!(read, digest);
    }
}
