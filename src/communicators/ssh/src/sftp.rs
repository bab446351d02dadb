//! Files over SFTP, with many requests under way at once. Which files, and what else could move them, is not decided here.

use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use futures::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use russh::ChannelMsg;
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as Failure;
use russh_sftp::protocol::{FileAttributes, FileType, OpenFlags, Packet, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::Error;
use crate::connection::Session;
use crate::files::{NewFile, checked_name, remote_error, temporary};
use crate::wire::Ending;

/// How many reads or writes of one file are under way at once.
const IN_FLIGHT: usize = 32;

/// How much is read or written at once if the server does not say what it takes: what every server must take.
const CHUNK: usize = 32 * 1024;

/// More than OpenSSH takes at once.
const LARGEST_CHUNK: usize = 255 * 1024;

/// A request that is not answered within an hour is no more waited for; a connection that ends is noticed at once.
const HOUR: u64 = 3600;

/// How many files of a folder are listed at most.
const MOST_FILES: usize = 4_000_000;

/// A running SFTP session.
pub(crate) struct Sftp {
    raw: RawSftpSession,
    chunk: usize,
    replaces: bool,
}

/// What stands at a path.
pub(crate) struct Found {
    pub(crate) kind: FileType,
    pub(crate) mode: u32,
    pub(crate) size: u64,
}

/// A file of a folder, with the path below it.
pub(crate) struct Listed {
    pub(crate) below: String,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) is_folder: bool,
}

impl Sftp {
    /// Starts a session; `None` if the server has no SFTP.
    pub(crate) async fn start(session: Session) -> Result<Option<Self>, Error> {
        let Session { mut channel, live, _busy } = session;
        if channel.request_subsystem(true, "sftp").await.is_err() {
            return Err(live.lost());
        }
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::Failure | ChannelMsg::Close | ChannelMsg::Eof) => return Ok(None),
                Some(_) => {}
                None if live.link.is_lost() => return Err(live.lost()),
                None => return Ok(None),
            }
        }
        let config = russh_sftp::client::Config {
            max_packet_len: 1 << 20,
            request_timeout_secs: HOUR,
            ..russh_sftp::client::Config::default()
        };
        let raw =
            RawSftpSession::new_with_config(Ending::new(channel.into_stream(), &live.link.state), config);
        let Ok(version) = raw.init().await else {
            // The server names a program for it that is not there.
            return if live.link.is_lost() { Err(live.lost()) } else { Ok(None) };
        };
        let mut chunk = CHUNK;
        if version.extensions.contains_key("limits@openssh.com")
            && let Ok(limits) = raw.limits().await
        {
            let both = limits.max_read_len.min(limits.max_write_len);
            chunk = usize::try_from(both).unwrap_or(CHUNK).clamp(CHUNK, LARGEST_CHUNK);
        }
        let replaces = version.extensions.contains_key("posix-rename@openssh.com");
        Ok(Some(Self { raw, chunk, replaces }))
    }

    /// Writes a file under a temporary name and gives it its own when it is whole.
    pub(crate) async fn put(
        &self,
        source: &mut (dyn AsyncRead + Send + Unpin),
        path: &str,
        mode: u32,
    ) -> Result<u64, Error> {
        let temporary = temporary(path);
        let written = async {
            let count = self.write(source, &temporary, mode).await?;
            self.rename(&temporary, path).await?;
            Ok(count)
        };
        match written.await {
            Ok(count) => Ok(count),
            Err(error) => {
                // It may not be there at all.
                let _ = self.raw.remove(temporary).await;
                Err(match error {
                    Error::Remote { reason, .. } => remote_error(path, &reason),
                    error => error,
                })
            }
        }
    }

    async fn write(
        &self,
        source: &mut (dyn AsyncRead + Send + Unpin),
        path: &str,
        mode: u32,
    ) -> Result<u64, Error> {
        let failed = |error| failure(path, error);
        let unread = |error: std::io::Error| Error::Stdin(crate::error::io_reason(&error));
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let handle = self.raw.open(path, flags, permissions(0o600)).await.map_err(failed)?.handle;
        let mut writes = FuturesUnordered::new();
        let (mut offset, mut ended) = (0, false);
        let mut next = self.step(source).await.map_err(unread)?;
        let result = 'writing: loop {
            while !ended && writes.len() < IN_FLIGHT {
                let step = std::mem::take(&mut next);
                if step.is_empty() {
                    ended = true;
                    break;
                }
                let length = step.len();
                writes.push(self.raw.write(handle.clone(), offset, step));
                offset += length as u64;
                if length < self.chunk {
                    ended = true;
                    break;
                }
                // What is pushed is sent when it is first looked at.
                if let Poll::Ready(Some(Err(error))) = futures::poll!(writes.next()) {
                    break 'writing Err(error);
                }
                next = self.step(source).await.map_err(unread)?;
            }
            if ended && writes.len() <= 1 {
                // The last write, the mode and the end are sent together: a small file costs one way less.
                let last = async {
                    match writes.next().await {
                        Some(done) => done.map(drop),
                        None => Ok(()),
                    }
                };
                let mode = self.raw.fsetstat(handle.clone(), permissions(mode));
                let close = self.raw.close(handle.clone());
                let (last, mode, close) = futures::join!(last, mode, close);
                break last.and(mode.map(drop)).and(close.map(drop));
            }
            if let Some(Err(error)) = writes.next().await {
                break Err(error);
            }
        };
        drop(writes);
        if let Err(error) = result {
            // It may be closed already.
            let _ = self.raw.close(handle).await;
            return Err(failed(error));
        }
        Ok(offset)
    }

    /// Reads a chunk, which is shorter only at the end.
    async fn step(&self, source: &mut (dyn AsyncRead + Send + Unpin)) -> std::io::Result<Vec<u8>> {
        let mut step = Vec::with_capacity(self.chunk);
        let mut limited = source.take(self.chunk as u64);
        while limited.read_buf(&mut step).await? != 0 {}
        Ok(step)
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        if self.replaces {
            let mut names = Vec::new();
            for name in [from, to] {
                names.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
                names.extend_from_slice(name.as_bytes());
            }
            return match self.raw.extended("posix-rename@openssh.com", names).await {
                Ok(Packet::Status(status)) if status.status_code == StatusCode::Ok => Ok(()),
                Ok(Packet::Status(status)) => Err(failure(to, Failure::Status(status))),
                Ok(_) => Err(failure(to, Failure::UnexpectedPacket)),
                Err(error) => Err(failure(to, error)),
            };
        }
        // The plain request refuses what exists.
        let _ = self.raw.remove(to).await;
        self.raw.rename(from, to).await.map(drop).map_err(|error| failure(to, error))
    }

    /// Makes a folder; one that is there is as well.
    pub(crate) async fn make_folder(&self, path: &str, mode: u32) -> Result<(), Error> {
        let Err(error) = self.raw.mkdir(path, permissions(mode)).await else {
            // The server took its own mask away.
            return self
                .raw
                .setstat(path, permissions(mode))
                .await
                .map(drop)
                .map_err(|error| failure(path, error));
        };
        match self.find(path).await {
            Ok(Some(Found { kind: FileType::Dir, .. })) => Ok(()),
            _ => Err(failure(path, error)),
        }
    }

    /// Makes a folder and those above it that are not there.
    pub(crate) async fn make_path(&self, path: &str) -> Result<(), Error> {
        if let Some(Found { kind: FileType::Dir, .. }) = self.find(path).await? {
            return Ok(());
        }
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for above in ends.map(|end| &path[..end]).filter(|above| !above.is_empty()) {
            if self.find(above).await?.is_none() {
                self.raw
                    .mkdir(above, FileAttributes::default())
                    .await
                    .map_err(|error| failure(above, error))?;
            }
        }
        Ok(())
    }

    /// What stands at a path, links followed.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Found>, Error> {
        match self.raw.stat(path).await {
            Ok(found) => {
                let mode = found.attrs.permissions.unwrap_or(0o100_644);
                let size = found.attrs.size.unwrap_or_default();
                Ok(Some(Found { kind: found.attrs.file_type(), mode: mode & 0o7777, size }))
            }
            Err(Failure::Status(status)) if status.status_code == StatusCode::NoSuchFile => Ok(None),
            Err(error) => Err(failure(path, error)),
        }
    }

    /// Reads a file into one of this host. One whose size is said to be 0 is read to its end, as in `/proc`.
    pub(crate) async fn get(&self, path: &str, local: &Path, mode: u32, size: u64) -> Result<u64, Error> {
        let failed = |error| failure(path, error);
        let handle =
            self.raw.open(path, OpenFlags::READ, FileAttributes::default()).await.map_err(failed)?.handle;
        let copied = async {
            let mut file = NewFile::create(local, mode)?;
            let length = u32::try_from(self.chunk).unwrap_or(u32::MAX);
            let mut reads = FuturesOrdered::new();
            let (mut asked, mut have) = (0, 0);
            'reading: loop {
                while reads.len() < IN_FLIGHT && (asked < size || (asked == have && size == 0)) {
                    reads.push_back(self.raw.read(handle.clone(), asked, length));
                    asked += u64::from(length);
                }
                if size == 0 {
                    asked = u64::MAX;
                }
                let Some(read) = reads.next().await else { break };
                let mut data = match read {
                    Ok(data) => data.data,
                    Err(Failure::Status(status)) if status.status_code == StatusCode::Eof => break,
                    Err(error) => return Err(failed(error)),
                };
                let mut got = 0;
                loop {
                    got += data.len();
                    have += data.len() as u64;
                    file.write(&data).await?;
                    if size != 0 && have >= size {
                        break;
                    }
                    if got >= self.chunk || data.is_empty() {
                        asked = if size == 0 { have } else { asked };
                        break;
                    }
                    // A server may give less than it was asked for: the rest, or that there is none.
                    let rest = u32::try_from(self.chunk - got).unwrap_or(length);
                    data = match self.raw.read(handle.clone(), have, rest).await {
                        Ok(data) => data.data,
                        Err(Failure::Status(status)) if status.status_code == StatusCode::Eof => {
                            break 'reading;
                        }
                        Err(error) => return Err(failed(error)),
                    };
                }
            }
            file.finish().await?;
            Ok(have)
        };
        let result = pin!(copied).await;
        // What was read is whole whether this goes well or not.
        let _ = self.raw.close(handle).await;
        result
    }

    /// All files and folders below a folder, parents first. Links to files are followed; links to folders and what is neither
    /// are given as the second list.
    pub(crate) async fn walk(&self, folder: &str) -> Result<(Vec<Listed>, Vec<String>), Error> {
        let (mut found, mut left_out) = (Vec::new(), Vec::new());
        let mut todo = vec![String::new()];
        while let Some(below) = todo.pop() {
            let path = join(folder, &below);
            let failed = |error| failure(&path, error);
            let handle = self.raw.opendir(path.clone()).await.map_err(failed)?.handle;
            loop {
                let names = match self.raw.readdir(handle.clone()).await {
                    Ok(names) => names.files,
                    Err(Failure::Status(status)) if status.status_code == StatusCode::Eof => break,
                    Err(error) => return Err(failed(error)),
                };
                for one in names.into_iter().filter(|one| one.filename != "." && one.filename != "..") {
                    let below = join(&below, checked_name(one.filename.as_bytes())?);
                    let mode = one.attrs.permissions.unwrap_or(0o100_644) & 0o777;
                    let size = one.attrs.size.unwrap_or_default();
                    match one.attrs.file_type() {
                        FileType::Dir => {
                            todo.push(below.clone());
                            found.push(Listed { below, mode, size, is_folder: true });
                        }
                        FileType::File => found.push(Listed { below, mode, size, is_folder: false }),
                        FileType::Symlink => match self.find(&join(folder, &below)).await {
                            Ok(Some(Found { kind: FileType::File, mode, size })) => {
                                found.push(Listed { below, mode: mode & 0o777, size, is_folder: false });
                            }
                            _ => left_out.push(below),
                        },
                        FileType::Other => left_out.push(below),
                    }
                    if found.len() > MOST_FILES {
                        return Err(remote_error(folder, "it holds more files than can be listed"));
                    }
                }
            }
            self.raw.close(handle).await.map_err(failed)?;
        }
        Ok((found, left_out))
    }
}

/// A path below a folder.
pub(crate) fn join(folder: &str, below: &str) -> String {
    match (folder, below) {
        ("", below) => below.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, below) => format!("{}/{below}", folder.trim_end_matches('/')),
    }
}

fn permissions(mode: u32) -> FileAttributes {
    FileAttributes { permissions: Some(mode & 0o7777), ..FileAttributes::default() }
}

fn failure(path: &str, error: Failure) -> Error {
    let reason = match error {
        Failure::Status(status) => match status.status_code {
            StatusCode::NoSuchFile => "there is no such file or folder".to_owned(),
            StatusCode::PermissionDenied => "permission denied".to_owned(),
            _ if status.error_message.is_empty() || status.error_message == "Failure" => {
                "the sftp server refuses it and does not say why; is it a folder, or the disk full?"
                    .to_owned()
            }
            _ => status.error_message.to_lowercase(),
        },
        error => error.to_string().to_lowercase(),
    };
    remote_error(path, &reason)
}
