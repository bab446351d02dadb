//! Moves files and folders between this host and a machine, by whichever means it has. The protocols themselves are in `sftp`,
//! `scp` and `tree`.
//!
//! Nothing that is cut off is left under its own name, on neither side. What stands at a path is replaced by another file, and
//! not written into: a link there is replaced as well.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use futures::stream::{self, TryStreamExt};

use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use crate::connection::{Core, Live};
use crate::files::{PREFIX, local_error, remote_error, short_hash, temporary};
use crate::quote::{path_word, quote};
use crate::scp;
use crate::sftp::{Sftp, join};
use crate::tree::{self, Entry};
use crate::{Connection, Error, Exit, Stdin, TransferMethod};

/// How many files are under way at once over SFTP.
const FILES_AT_ONCE: usize = 64;

/// From so many files on, an archive is faster than one file after the other.
const ARCHIVE_FROM: usize = 4;

/// The largest file that one command is given, in bytes: beyond, what moves it counts more than what is started for it.
const SMALL: u64 = 64 * 1024;

/// The largest text that is part of a script, in bytes: some shells read what they are to do byte by byte.
const LITTLE: usize = 4 * 1024;

/// How a command ends that has written a file: not as one that was never there as a whole.
const WRITTEN: u32 = 33;

/// How it ends where the shell has no `printf` of its own.
const NO_PRINTF: u32 = 34;

/// How many blocks of an archive are ready ahead.
const BLOCKS_AHEAD: usize = 8;

/// What an upload of a folder did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Files that were sent.
    pub sent: u64,
    /// Files that were there as they are.
    pub unchanged: u64,
    /// Bytes of the files that were sent.
    pub bytes: u64,
}

/// What a download of a folder did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downloaded {
    /// Files that were read.
    pub files: u64,
    /// What is neither file nor folder, nor a link to a file: paths below the folder. Empty with `scp`, which follows all links
    /// and says nothing of the rest.
    pub left_out: Vec<String>,
}

impl Connection {
    /// Writes a file of the machine with these permission bits. Relative paths begin in the user's home; `~` is a name like
    /// any other.
    ///
    /// # Errors
    /// [`Error::Remote`] if the machine refuses, [`Error::Lost`] if the connection ends, [`Error::NoTransfer`] if the machine has
    /// neither SFTP nor `scp`.
    pub async fn upload_bytes(&self, content: &[u8], path: &str, mode: u32) -> Result<(), Error> {
        self.core.put(|| async { Ok(content) }, content.len() as u64, path, mode).await
    }

    /// Sends a file of this host, with its own permission bits if none are given.
    ///
    /// # Errors
    /// As [`Connection::upload_bytes`], and [`Error::Local`].
    pub async fn upload_file(&self, local: &Path, path: &str, mode: Option<u32>) -> Result<(), Error> {
        let metadata = fs_err::metadata(local).map_err(|error| local_error(local, &error))?;
        if metadata.is_dir() {
            let reason = "it is a folder".to_owned();
            return Err(Error::Local { path: local.display().to_string(), reason });
        }
        let mode = mode.unwrap_or(metadata.permissions().mode() & 0o7777);
        let sent = self.core.put(|| open(local), metadata.len(), path, mode).await;
        sent.map_err(|error| name_local(error, local))
    }

    /// Sends what is in a folder of this host into one of the machine, which is made if it is not there. Only files that
    /// differ in size, mode or content are sent, if the machine has `sha256sum`, `stat` and `xargs`; all, if not. Links are
    /// followed. What is there besides stays.
    ///
    /// # Errors
    /// As [`Connection::upload_file`].
    pub async fn upload_folder(&self, local: &Path, path: &str) -> Result<Uploaded, Error> {
        let metadata = fs_err::metadata(local).map_err(|error| local_error(local, &error))?;
        if !metadata.is_dir() {
            let reason = "it is not a folder".to_owned();
            return Err(Error::Local { path: local.display().to_string(), reason });
        }
        let core = &*self.core;
        let entries = tree::read(local)?;
        let tools = core.tools().await?;
        let same = if tools.hashes { tree::unchanged(core, &entries, path).await? } else { BTreeSet::new() };
        let changed = tree::changed(&entries, &same);
        let files = || changed.iter().filter(|entry| entry.size.is_some());
        let report = Uploaded {
            sent: files().count() as u64,
            unchanged: entries.iter().filter(|entry| entry.size.is_some()).count() as u64
                - files().count() as u64,
            bytes: files().filter_map(|entry| entry.size).sum(),
        };
        let sender = Folder { core, entries: &changed, path };
        if changed.is_empty() {
            sender.make().await?;
        } else if tools.tar && changed.len() >= ARCHIVE_FROM {
            sender.by_archive().await?;
        } else {
            sender.one_by_one().await?;
        }
        Ok(report)
    }

    /// Sends a small file of this host, or a folder that has one such file and nothing else, by a single command: a machine that is
    /// emulated starts each program slowly, and those that move files are large. The folders above it are made, and what is there is
    /// replaced without being looked at.
    ///
    /// Gives `false` if it is larger or more, or the machine does not do it; then nothing has changed but for folders, and
    /// [`Connection::upload_file`] or [`Connection::upload_folder`] does it or says why it cannot be done.
    ///
    /// # Errors
    /// [`Error::Lost`] if the connection ends.
    pub async fn upload_small(&self, local: &Path, path: &str) -> Result<bool, Error> {
        let Some((content, path, mode)) = small(local, path) else { return Ok(false) };
        let mut how = if is_little_text(&content) { Put::Text } else { Put::Read };
        loop {
            match self.put(how, &content, &path, mode).await {
                Ok(Exit::Code(code)) if code == WRITTEN => return Ok(true),
                // It has no `printf` of its own.
                Ok(Exit::Code(code)) if code == NO_PRINTF && how == Put::Text => how = Put::Read,
                Ok(_) => return Ok(false),
                // A server that gives files only.
                Err(Error::ChannelRefused { .. } | Error::NoExit(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes a file by one command, together with what the machine owes.
    async fn put(&self, how: Put, content: &[u8], path: &str, mode: u32) -> Result<Exit, Error> {
        // Who owes nothing makes nobody wait.
        let mut owed = Some(self.core.owed.lock().await).filter(|owed| owed.is_some());
        let session = self.core.next_session().await?;
        let line = owed.as_ref().and_then(|owed| owed.as_ref().map(|line| line()));
        let before = line.map(|line| format!("(\n{line}\n) </dev/null >/dev/null 2>&1\n"));
        let (command, stdin) = put_command(how, before.as_deref().unwrap_or_default(), path, content, mode);
        let exit = self
            .core
            .run_in(session, command.as_bytes(), Stdin::Bytes(&stdin), false, &mut |_, _| {})
            .await?;
        if let (Some(owed), Exit::Code(WRITTEN)) = (&mut owed, &exit) {
            **owed = None;
        }
        Ok(exit)
    }

    /// Reads a file of the machine into one of this host, with its permission bits less the mask of this process.
    ///
    /// # Errors
    /// As [`Connection::upload_file`].
    pub async fn download_file(&self, path: &str, local: &Path) -> Result<(), Error> {
        let core = &*self.core;
        for method in core.methods() {
            match method {
                TransferMethod::Sftp => {
                    if let (live, Some(sftp)) = core.sftp().await? {
                        let read = async {
                            let found = sftp.find(path).await?;
                            let (mode, size) = found.map_or((0o644, 0), |found| (found.mode, found.size));
                            sftp.get(path, local, mode, size).await
                        };
                        return over(&live, read).await.map(drop);
                    }
                }
                TransferMethod::Scp => match scp::get(core, path, local).await {
                    Ok(()) => return Ok(()),
                    Err(scp::Failure::Error(error)) => return Err(error),
                    Err(scp::Failure::Missing) => {}
                },
            }
        }
        Err(core.no_transfer())
    }

    /// Reads what is in a folder of the machine into one of this host, which is made if it is not there. Names that would lead
    /// out of it end the download. Links to files are followed.
    ///
    /// # Errors
    /// As [`Connection::upload_file`], and [`Error::HostileName`].
    pub async fn download_folder(&self, path: &str, local: &Path) -> Result<Downloaded, Error> {
        let core = &*self.core;
        for method in core.methods() {
            match method {
                TransferMethod::Sftp => {
                    if let (live, Some(sftp)) = core.sftp().await? {
                        return over(&live, read_folder(&sftp, path, local)).await;
                    }
                }
                TransferMethod::Scp => match scp::get_folder(core, path, local).await {
                    Ok(files) => return Ok(Downloaded { files, left_out: Vec::new() }),
                    Err(scp::Failure::Error(error)) => return Err(error),
                    Err(scp::Failure::Missing) => {}
                },
            }
        }
        Err(core.no_transfer())
    }
}

impl Core {
    /// What is tried to move files, in order.
    fn methods(&self) -> [TransferMethod; 2] {
        match self.settings().transfer {
            TransferMethod::Scp => [TransferMethod::Scp, TransferMethod::Sftp],
            TransferMethod::Sftp => [TransferMethod::Sftp, TransferMethod::Scp],
        }
    }

    fn no_transfer(&self) -> Error {
        let reason = "it has neither an sftp server nor `scp`".to_owned();
        Error::NoTransfer { address: self.settings().address(), reason }
    }

    async fn put<R, F>(&self, open: impl Fn() -> F, size: u64, path: &str, mode: u32) -> Result<(), Error>
    where
        R: AsyncRead + Send + Unpin,
        F: Future<Output = Result<R, Error>>,
    {
        for method in self.methods() {
            match method {
                TransferMethod::Sftp => {
                    if let (live, Some(sftp)) = self.sftp().await? {
                        let mut source = open().await?;
                        return over(&live, sftp.put(&mut source, path, mode)).await.map(drop);
                    }
                }
                TransferMethod::Scp => match scp::put(self, &mut open().await?, size, path, mode).await {
                    Ok(()) => return Ok(()),
                    Err(scp::Failure::Error(error)) => return Err(error),
                    Err(scp::Failure::Missing) => {}
                },
            }
        }
        Err(self.no_transfer())
    }
}

/// What is in a file that is small, or in the one file of a folder, with its path in the machine and its permission bits.
fn small(local: &Path, path: &str) -> Option<(Vec<u8>, String, u32)> {
    let metadata = fs_err::metadata(local).ok()?;
    let (file, size, path, mode) = if metadata.is_dir() {
        // A large folder is not walked to learn that it is large.
        let mut first = fs_err::read_dir(local).ok()?;
        let only = first.next()?.ok()?;
        if first.next().is_some() || !only.file_type().is_ok_and(|kind| kind.is_file()) {
            return None;
        }
        match tree::read(local).ok()?.as_slice() {
            [Entry { below, path: file, mode, size: Some(size) }] => {
                (file.clone(), *size, join(path, std::str::from_utf8(below).ok()?), *mode)
            }
            _ => return None,
        }
    } else {
        (local.to_owned(), metadata.len(), path.to_owned(), metadata.permissions().mode() & 0o7777)
    };
    let content = (size <= SMALL).then(|| fs_err::read(file).ok())??;
    // It may have grown meanwhile.
    (content.len() as u64 <= SMALL).then_some((content, path, mode))
}

/// How a command is given what a file is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    /// As a word of a script, which a shell reads: on no command line, and with no program but the shell.
    Text,
    /// A program reads it.
    Read,
}

/// Whether a script can hold it as a word.
fn is_little_text(content: &[u8]) -> bool {
    content.len() <= LITTLE && !content.contains(&0) && std::str::from_utf8(content).is_ok()
}

/// A command and what it reads, by which a file is written, with lines before that; it ends with [`WRITTEN`]. The file has its own name only
/// once it is whole; but at once in a folder that is made for it, where nobody looks for it yet. Each program that is started counts.
fn put_command<'c>(
    how: Put,
    before: &str,
    path: &str,
    content: &'c [u8],
    mode: u32,
) -> (String, Cow<'c, [u8]>) {
    match how {
        Put::Text => {
            let write = format!("printf %s {}", quote(&String::from_utf8_lossy(content)));
            let put = put_script(path, &write, None, mode);
            // As a program of its own it would have the text on its command line.
            let is_own = format!("[ \"$(command -v printf)\" = printf ] || exit {NO_PRINTF}");
            // Of a script that is not there as a whole nothing is done, and another code comes out.
            let script = format!("{is_own}\n{before}{{ {put}; exit {WRITTEN}; }}\n");
            ("exec sh".to_owned(), script.into_bytes().into())
        }
        Put::Read => {
            let put = put_script(path, "cat", Some(content.len()), mode);
            (format!("{before}{{ {put}; }} && exit {WRITTEN}"), content.into())
        }
    }
}

/// The script that writes what `write` says to a file, of which it is seen that it has `length` bytes where that is given.
fn put_script(path: &str, write: &str, length: Option<usize>, mode: u32) -> String {
    let (part, whole) = (path_word(&temporary(path)), path_word(path));
    let is_whole =
        length.map(|length| format!(" && [ \"$(wc -c <{part})\" -eq {length} ]")).unwrap_or_default();
    // `mv` would put the file into a folder of that name.
    // What was left there by another time may be what `set -C` would write to: a pipe, a link to a device.
    let is_free = format!("{{ {{ [ ! -e {part} ] && [ ! -L {part} ]; }} || rm -f {part}; }}");
    let beside = format!(
        "[ ! -d {whole} ] && {is_free} && (umask 077 && set -C && {write} >{part}){is_whole} && \
         chmod {mode:o} {part} && mv -f {part} {whole} || {{ rm -f {part}; exit 1; }}"
    );
    match path.rsplit_once('/') {
        None | Some(("", _)) => beside,
        Some((folder, _)) => {
            let folder = path_word(folder);
            format!(
                "if [ ! -d {folder} ] && mkdir {folder} 2>/dev/null; then \
                 (umask 077 && set -C && {write} >{whole}) && chmod {mode:o} {whole} || {{ rm -f {whole}; exit 1; }}; \
                 else {{ [ -d {folder} ] || mkdir -p {folder}; }} && {beside}; fi"
            )
        }
    }
}

/// A folder that is sent.
struct Folder<'a> {
    core: &'a Core,
    entries: &'a [&'a Entry],
    path: &'a str,
}

impl Folder<'_> {
    fn stage(&self) -> String {
        format!("{PREFIX}{}", short_hash(self.path.as_bytes()))
    }

    async fn run(&self, command: &str, stdin: Stdin<'_>) -> Result<(), Error> {
        let said = self.core.output(command.as_bytes(), stdin).await?;
        if said.exit.is_success() {
            return Ok(());
        }
        let last = said.stderr.lines().last().unwrap_or("the command ended with an error and said nothing");
        Err(remote_error(self.path, last))
    }

    async fn make(&self) -> Result<(), Error> {
        self.run(&format!("mkdir -p {}", path_word(self.path)), Stdin::Empty).await
    }

    /// As one archive: no waiting between files, and few programs.
    async fn by_archive(&self) -> Result<(), Error> {
        let stage = self.stage();
        let script = tree::script(self.entries, &stage);
        let command = tree::unpack_command(self.path, &stage);
        let entries: Vec<Entry> = self.entries.iter().map(|&entry| entry.clone()).collect();
        let (to, mut from) = mpsc::channel::<Vec<u8>>(BLOCKS_AHEAD);
        let making = tokio::task::spawn_blocking(move || tree::archive(&entries, &script, to));
        let blocks = stream::poll_fn(move |context| {
            from.poll_recv(context)
                .map(|block| block.map(|block| Ok::<_, std::io::Error>(std::io::Cursor::new(block))))
        });
        let sent = {
            let mut reader = pin!(StreamReader::new(blocks));
            self.run(&command, Stdin::Reader(&mut reader)).await
        };
        // Nobody takes blocks any more, so that this ends as well.
        let made = making.await.unwrap_or(Ok(()));
        match (sent, made) {
            // The machine sees only that the archive is too short.
            (Err(Error::Remote { .. }), Err(error @ Error::Local { .. })) => Err(error),
            (sent, _) => sent,
        }
    }

    /// File by file, for machines without `tar` and for few files.
    async fn one_by_one(&self) -> Result<(), Error> {
        for method in self.core.methods() {
            match method {
                TransferMethod::Sftp => {
                    if let (live, Some(sftp)) = self.core.sftp().await? {
                        return over(&live, self.by_sftp(&sftp)).await;
                    }
                }
                TransferMethod::Scp => match self.by_scp().await {
                    Ok(()) => return Ok(()),
                    Err(scp::Failure::Error(error)) => return Err(error),
                    Err(scp::Failure::Missing) => {}
                },
            }
        }
        Err(self.core.no_transfer())
    }

    async fn by_sftp(&self, sftp: &Arc<Sftp>) -> Result<(), Error> {
        let named = self.entries.iter().map(|&entry| {
            let below = std::str::from_utf8(&entry.below).map_err(|_| {
                remote_error(self.path, &format!("sftp has no way to send the name `{}`", entry.shown()))
            })?;
            Ok((entry, join(self.path, below)))
        });
        let named = named.collect::<Result<Vec<_>, Error>>()?;
        sftp.make_path(self.path).await?;
        for (entry, path) in named.iter().filter(|(entry, _)| entry.size.is_none()) {
            sftp.make_folder(path, entry.mode).await?;
        }
        let files = named.into_iter().filter(|(entry, _)| entry.size.is_some());
        stream::iter(files.map(Ok))
            .try_for_each_concurrent(FILES_AT_ONCE, |(entry, path)| async move {
                let mut file = open(&entry.path).await?;
                sftp.put(&mut file, &path, entry.mode)
                    .await
                    .map_err(|error| name_local(error, &entry.path))?;
                Ok(())
            })
            .await
    }

    async fn by_scp(&self) -> Result<(), scp::Failure> {
        let (stage, folder) = (self.stage(), path_word(self.path));
        let make =
            format!("mkdir -p {folder} && CDPATH= cd {folder} && rm -rf {stage} && mkdir -p {stage}/t");
        self.run(&make, Stdin::Empty).await?;
        let sent = scp::put_tree(self.core, self.entries, &join(self.path, &format!("{stage}/t"))).await;
        let clean = format!("rm -rf {}", path_word(&join(self.path, &stage)));
        if let Err(failure) = sent {
            // Why it failed is what counts.
            let _ = self.run(&clean, Stdin::Empty).await;
            return Err(failure);
        }
        let script = tree::script(self.entries, &stage);
        let command = format!("CDPATH= cd {folder} && sh -s; code=$?; rm -rf {stage}; exit $code");
        self.run(&command, Stdin::Bytes(&script)).await.map_err(Into::into)
    }
}

async fn read_folder(sftp: &Sftp, path: &str, local: &Path) -> Result<Downloaded, Error> {
    let (found, left_out) = sftp.walk(path).await?;
    let make = |path: &Path| fs_err::create_dir_all(path).map_err(|error| local_error(path, &error));
    make(local)?;
    for folder in found.iter().filter(|one| one.is_folder) {
        make(&local.join(&folder.below))?;
    }
    let files: Vec<_> = found.iter().filter(|one| !one.is_folder).collect();
    stream::iter(files.iter().map(Ok))
        .try_for_each_concurrent(FILES_AT_ONCE, |one| async move {
            let to: PathBuf = local.join(&one.below);
            sftp.get(&join(path, &one.below), &to, one.mode, one.size).await.map(drop)
        })
        .await?;
    Ok(Downloaded { files: files.len() as u64, left_out })
}

async fn open(path: &Path) -> Result<tokio::fs::File, Error> {
    tokio::fs::File::open(path).await.map_err(|error| local_error(path, &error))
}

/// Does something over SFTP as long as the connection lasts. Its end is the error then, whatever else went wrong by it.
async fn over<T>(live: &Live, doing: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let done = tokio::select! {
        biased;
        done = doing => done,
        () = live.link.state.over() => return Err(live.lost()),
    };
    match done {
        Err(Error::Remote { .. }) if live.link.is_lost() => Err(live.lost()),
        done => done,
    }
}

/// What cannot be read of the input is that of a file.
fn name_local(error: Error, path: &Path) -> Error {
    match error {
        Error::Stdin(reason) => Error::Local { path: path.display().to_string(), reason },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// Whether a command wrote its file, given so much to read.
    fn run(shell: &str, command: &str, content: &[u8]) -> bool {
        let mut words = shell.split(' ');
        let mut shell = Command::new(words.next().unwrap());
        let mut shell = shell
            .args(words)
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // One that refuses before it reads is gone already.
        let _ = shell.stdin.take().unwrap().write_all(content);
        shell.wait().unwrap().code() == Some(WRITTEN as i32)
    }

    #[test]
    fn what_is_cut_off_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it's/here");
        let (command, _) = put_command(Put::Read, "", path.to_str().unwrap(), b"12345678", 0o750);
        assert!(run("sh", &command, b"12345678"));
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o750);
        assert!(!run("sh", &command, b"cut"));
        assert_eq!(fs_err::read(&path).unwrap(), b"12345678");
        assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_little_text_is_written_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let text = "echo 'it''s'\n\tcafé %s \\n $(touch pwned)\r\n\n";
        for shell in ["sh", "bash", "busybox sh"] {
            if Command::new(shell.split(' ').next().unwrap()).arg("--help").output().is_err() {
                eprintln!("SKIPPED: there is no {shell}");
                continue;
            }
            for (name, count) in [("beside", 0), ("new/folder", 1)] {
                let path = folder.path().join(name);
                let put = put_command(Put::Text, "true\n", path.to_str().unwrap(), text.as_bytes(), 0o640);
                let (command, script) = (put.0.replace("sh", shell), put.1);
                let step = if shell == "sh" { 3 } else { 29 };
                for end in (0..script.len() - 1).step_by(step) {
                    assert!(!run(shell, &command, &script[..end]), "{end}");
                    let there = fs_err::read_dir(folder.path()).unwrap().count();
                    assert_eq!(there, count, "{}", String::from_utf8_lossy(&script[..end]));
                }
                assert!(run(shell, &command, &script), "{name}");
                assert_eq!(fs_err::read(&path).unwrap(), text.as_bytes());
                assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
                assert!(run(shell, &command, &script), "{name} is replaced");
            }
            fs_err::remove_file(folder.path().join("beside")).unwrap();
            fs_err::remove_dir_all(folder.path().join("new")).unwrap();
        }
        for other in [b"a\0b".to_vec(), vec![b'a'; LITTLE + 1], vec![0xff]] {
            assert!(!is_little_text(&other));
        }
    }

    #[test]
    fn what_was_left_at_the_temporary_name_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        let part = PathBuf::from(temporary(path.to_str().unwrap()));
        fs_err::write(&other, "other").unwrap();
        let leave: [&dyn Fn(); 4] = [
            &|| fs_err::write(&part, "left").unwrap(),
            &|| fs_err::os::unix::fs::symlink(&other, &part).unwrap(),
            &|| fs_err::os::unix::fs::symlink("nowhere", &part).unwrap(),
            &|| assert!(Command::new("mkfifo").arg(&part).status().unwrap().success()),
        ];
        for (how, leave) in [Put::Text, Put::Read].into_iter().flat_map(|how| leave.map(|leave| (how, leave)))
        {
            leave();
            let (command, read) = put_command(how, "", path.to_str().unwrap(), b"new", 0o600);
            assert!(run("sh", &command, &read));
            assert!(fs_err::symlink_metadata(&path).unwrap().is_file());
            assert_eq!(fs_err::read(&path).unwrap(), b"new");
            assert_eq!(fs_err::read(&other).unwrap(), b"other");
            assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 2);
        }
    }
}
