//! A folder of this host on its way into a machine: what is in it, which of it differs from what is there, and the archive
//! that carries it. What it is carried by is not decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc::Sender;

use crate::connection::Core;
use crate::files::local_error;
use crate::quote::{path_word, quote_bytes};
use crate::{Error, Stdin};

/// How many names a command is given at once, in bytes: far below what any system takes.
const ARGUMENTS: usize = 32 * 1024;

/// What the archive is sent in.
const BLOCK: usize = 256 * 1024;

/// Where the tree lies in the archive, and the script that moves it to its place.
const TREE: &str = "t";
const SCRIPT: &str = "m";

/// A file or folder below a folder of this host.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its path below the folder, in bytes.
    pub(crate) below: Vec<u8>,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Permission bits.
    pub(crate) mode: u32,
    /// How long the file is; `None` for a folder.
    pub(crate) size: Option<u64>,
}

impl Entry {
    /// The path as it is shown.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.below).escape_debug().to_string()
    }

    fn parent(&self) -> &[u8] {
        self.below.iter().rposition(|&byte| byte == b'/').map_or(&[], |slash| &self.below[..slash])
    }
}

/// All below a folder, parents first. Links are followed, as `scp -r` does.
pub(crate) fn read(folder: &Path) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for found in walkdir::WalkDir::new(folder).min_depth(1).follow_links(true).sort_by_file_name() {
        let found = found.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            if error.loop_ancestor().is_some() {
                return Error::Local {
                    path: path.display().to_string(),
                    reason: "the link leads to a folder above it".to_owned(),
                };
            }
            local_error(&path, &error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into()))
        })?;
        let metadata = found.metadata().map_err(|error| local_error(found.path(), &error.into()))?;
        let size = if metadata.is_file() {
            Some(metadata.len())
        } else if metadata.is_dir() {
            None
        } else {
            let path = found.path().display().to_string();
            return Err(Error::Local { path, reason: "it is neither a file nor a folder".to_owned() });
        };
        let below = found.path().strip_prefix(folder).unwrap_or(found.path()).as_os_str().as_bytes().to_vec();
        let mode = metadata.permissions().mode() & 0o7777;
        entries.push(Entry { below, path: found.into_path(), mode, size });
    }
    Ok(entries)
}

/// Which entries the machine has as they are: by kind, mode and size, then by SHA-256. Names that the tools would write in
/// another way count as different.
pub(crate) async fn unchanged(
    core: &Core,
    entries: &[Entry],
    folder: &str,
) -> Result<BTreeSet<Vec<u8>>, Error> {
    let there = states(core, entries, folder).await?;
    let (mut same, mut candidates) = (BTreeSet::new(), Vec::new());
    for entry in entries {
        let kind = if entry.size.is_some() { 0o100_000 } else { 0o040_000 };
        match (there.get(&entry.below), entry.size) {
            // A folder that is there stays as it is.
            (Some(&(_, mode)), None) if mode & 0o170_000 == kind => {
                same.insert(entry.below.clone());
            }
            (Some(&found), Some(size)) if found == (size, kind | entry.mode) => {
                candidates.push(entry.clone())
            }
            _ => {}
        }
    }
    if candidates.is_empty() {
        return Ok(same);
    }
    let names = names(&candidates);
    let command = format!("CDPATH= cd {} && xargs -0 sha256sum", path_word(folder));
    let theirs = core.output(command.as_bytes(), Stdin::Bytes(&names));
    let ours = tokio::task::spawn_blocking(move || {
        candidates.into_iter().map(|entry| (hash(&entry.path), entry.below)).collect::<Vec<_>>()
    });
    let (theirs, ours) = tokio::join!(theirs, ours);
    let theirs: BTreeSet<Vec<u8>> = theirs?.stdout.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    for (hash, below) in ours.unwrap_or_default() {
        // One that cannot be read here is sent, which says why it cannot.
        let Ok(hash) = hash else { continue };
        let line = [hash.as_bytes(), b"  ./", &below].concat();
        if theirs.contains(&line) {
            same.insert(below);
        }
    }
    Ok(same)
}

/// Size and mode, with the kind, of what is there.
async fn states(
    core: &Core,
    entries: &[Entry],
    folder: &str,
) -> Result<BTreeMap<Vec<u8>, (u64, u32)>, Error> {
    let names = names(entries);
    let mut there = BTreeMap::new();
    if names.is_empty() {
        return Ok(there);
    }
    let command =
        format!("CDPATH= cd {} 2>/dev/null && xargs -0 stat -c '%s %f %n' 2>/dev/null", path_word(folder));
    let said = core.output(command.as_bytes(), Stdin::Bytes(&names)).await?;
    for line in said.stdout.split(|&byte| byte == b'\n') {
        let mut words = line.splitn(3, |&byte| byte == b' ');
        let mut number = |base| {
            let word = std::str::from_utf8(words.next()?).ok()?;
            u64::from_str_radix(word, base).ok()
        };
        let (Some(size), Some(mode)) = (number(10), number(16)) else { continue };
        let name = words.next().and_then(|name| name.strip_prefix(b"./"));
        if let (Some(name), Ok(mode)) = (name, u32::try_from(mode)) {
            there.insert(name.to_vec(), (size, mode));
        }
    }
    Ok(there)
}

/// The names of entries as `xargs -0` reads them.
fn names(entries: &[Entry]) -> Vec<u8> {
    let is_plain = |entry: &&Entry| !entry.below.contains(&b'\n') && !entry.below.contains(&b'\\');
    entries.iter().filter(is_plain).flat_map(|entry| [b"./", &*entry.below, b"\0"].concat()).collect()
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => break,
            count => hasher.update(&block[..count]),
        }
    }
    Ok(hex::encode(hasher.finalize()))
}

/// The entries that must be sent: what is not `same`, and the folders above it.
pub(crate) fn changed<'a>(entries: &'a [Entry], same: &BTreeSet<Vec<u8>>) -> Vec<&'a Entry> {
    let mut needed = BTreeSet::new();
    for entry in entries.iter().filter(|entry| !same.contains(&entry.below)) {
        let mut below = entry.below.as_slice();
        while !below.is_empty() && needed.insert(below) {
            below = below.iter().rposition(|&byte| byte == b'/').map_or(&[], |slash| &below[..slash]);
        }
    }
    entries.iter().filter(|entry| needed.contains(entry.below.as_slice())).collect()
}

/// A script that moves a tree from `stage/t` into the folder it runs in. Each file takes the place of what is there at once;
/// a folder that is not there yet is moved as a whole. It is plain POSIX shell, and starts few programs.
pub(crate) fn script(entries: &[&Entry], stage: &str) -> Vec<u8> {
    let mut files: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.size.is_some()) {
        files.entry(entry.parent()).or_default().push(&entry.below);
    }
    let mut script = b"set -e\n".to_vec();
    let staged = |below: &[u8]| quote_bytes(&[stage.as_bytes(), b"/", TREE.as_bytes(), b"/", below].concat());
    let own = |below: &[u8]| quote_bytes(&[b"./", below].concat());
    let moves = |script: &mut Vec<u8>, parent: &[u8]| {
        let mut length = ARGUMENTS;
        for below in files.get(parent).into_iter().flatten() {
            if length >= ARGUMENTS {
                if !script.ends_with(b"\n") {
                    script.extend([b" ", &*own(parent), b"/\n"].concat());
                }
                script.extend_from_slice(b"mv -f");
                length = 0;
            }
            let word = staged(below);
            length += word.len();
            script.push(b' ');
            script.extend(word);
        }
        if !script.ends_with(b"\n") {
            script.extend([b" ", &*own(parent), b"/\n"].concat());
        }
    };
    moves(&mut script, b"");
    for entry in entries.iter().filter(|entry| entry.size.is_none()) {
        let (from, to) = (staged(&entry.below), own(&entry.below));
        script.extend([b"if [ -d ", &*from, b" ]; then if [ -d ", &to, b" ]; then :\n"].concat());
        moves(&mut script, &entry.below);
        script.extend([b"else mv -f ", &*from, b" ", &to, b"; fi; fi\n"].concat());
    }
    script
}

/// The command that takes [`archive`] in and puts everything in its place.
pub(crate) fn unpack_command(folder: &str, stage: &str) -> String {
    let folder = path_word(folder);
    format!(
        "mkdir -p {folder} && CDPATH= cd {folder} && rm -rf {stage} && mkdir {stage} || exit 1; \
         tar -x -p -m -o -f - -C {stage} && sh {stage}/{SCRIPT}; code=$?; rm -rf {stage}; exit $code"
    )
}

/// Writes entries as an archive, which ends with the script: what was cut off has none and changes nothing.
pub(crate) fn archive(entries: &[Entry], script: &[u8], to: Sender<Vec<u8>>) -> Result<(), Error> {
    let mut builder = tar::Builder::new(io::BufWriter::with_capacity(BLOCK, Blocks(to)));
    let closed = |error: io::Error| Error::Stdin(crate::error::io_reason(&error));
    let mut root = header(tar::EntryType::Directory, 0o755, 0);
    builder.append_data(&mut root, TREE, io::empty()).map_err(closed)?;
    for entry in entries {
        let failed = |error: io::Error| local_error(&entry.path, &error);
        let name = [TREE.as_bytes(), b"/", &entry.below].concat();
        let name = Path::new(std::ffi::OsStr::from_bytes(&name));
        match entry.size {
            // Folders can be moved into whatever their mode is.
            None => {
                let mut header = header(tar::EntryType::Directory, entry.mode, 0);
                builder.append_data(&mut header, name, io::empty()).map_err(failed)?;
            }
            Some(size) => {
                let mut header = header(tar::EntryType::Regular, entry.mode, size);
                let file = fs_err::File::open(&entry.path).map_err(failed)?;
                builder
                    .append_data(&mut header, name, Exactly { inner: file, left: size })
                    .map_err(failed)?;
            }
        }
    }
    let mut header = header(tar::EntryType::Regular, 0o600, script.len() as u64);
    builder.append_data(&mut header, SCRIPT, script).map_err(closed)?;
    builder.into_inner().and_then(|mut writer| writer.flush()).map_err(closed)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Reads as much as was said, no more; less is an error.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 && most != 0 {
            return Err(io::Error::other("it became shorter while it was sent"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Hands blocks to whoever sends them.
struct Blocks(Sender<Vec<u8>>);

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(below: &str, size: Option<u64>) -> Entry {
        Entry { below: below.into(), path: PathBuf::new(), mode: 0o644, size }
    }

    #[test]
    fn what_changed_comes_with_the_folders_above_it() {
        let entries = [
            entry("a", None),
            entry("a/b", None),
            entry("a/b/c", Some(1)),
            entry("d", None),
            entry("d/e", Some(1)),
        ];
        let same =
            entries.iter().map(|entry| entry.below.clone()).filter(|below| below != b"a/b/c").collect();
        let below: Vec<_> = changed(&entries, &same).into_iter().map(Entry::shown).collect();
        assert_eq!(below, ["a", "a/b", "a/b/c"]);
        assert_eq!(changed(&entries, &BTreeSet::new()).len(), 5);
    }

    #[test]
    fn the_script_quotes_names() {
        let entries = [entry("it's", Some(1)), entry("-rf", None), entry("-rf/\n", Some(1))];
        let script = script(&entries.iter().collect::<Vec<_>>(), ".s");
        assert_eq!(
            String::from_utf8(script).unwrap(),
            "set -e\nmv -f '.s/t/it'\\''s' './'/\n\
             if [ -d '.s/t/-rf' ]; then if [ -d './-rf' ]; then :\nmv -f '.s/t/-rf/\n' './-rf'/\n\
             else mv -f '.s/t/-rf' './-rf'; fi; fi\n"
        );
    }
}
