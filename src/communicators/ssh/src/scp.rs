//! Files by the protocol of `scp -t` and `scp -f`, for machines without an SFTP server. It is that of `rcp`: a line for each
//! file or folder, its bytes, and an answer of one byte to each.
//!
//! The other side's names are taken only if they are names; the bytes of a file are sent only when its line was taken, since
//! they would be read as lines otherwise.

use std::path::{Path, PathBuf};
use std::pin::pin;

use russh::ChannelMsg;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::connection::{Core, Live, Session};
use crate::error::io_reason;
use crate::exec::{Exit, Running};
use crate::files::{NewFile, checked_name, remote_error, temporary};
use crate::quote::path_word;
use crate::{Error, files};

/// A line of the protocol is at most so long.
const LINE_LIMIT: usize = 64 * 1024;

/// How much is sent at once.
const STEP: usize = 128 * 1024;

/// How deep folders may lie in each other.
const DEPTH: usize = 256;

/// What a shell says of a program that is not there.
const NO_PROGRAM: Exit = Exit::Code(127);

/// Why a transfer by `scp` failed.
pub(crate) enum Failure {
    /// The machine has no `scp`.
    Missing,
    /// All else.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A conversation with `scp` on the other side.
pub(crate) struct Talk<'a> {
    running: Running<'a>,
    path: &'a str,
    hearing: Hearing,
    ended: bool,
}

/// What was heard and not yet read, and what it ended with.
#[derive(Default)]
struct Hearing {
    heard: Vec<u8>,
    at: usize,
    stderr: Vec<u8>,
    exit: Option<Exit>,
}

impl Hearing {
    fn take(&mut self, message: Option<ChannelMsg>, ended: &mut bool) {
        match message {
            Some(ChannelMsg::Data { data }) => self.heard.extend_from_slice(&data),
            Some(ChannelMsg::ExtendedData { data, .. }) if self.stderr.len() < LINE_LIMIT => {
                self.stderr.extend_from_slice(&data);
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => self.exit = Some(Exit::Code(exit_status)),
            Some(ChannelMsg::Close) | None => *ended = true,
            Some(_) => {}
        }
    }
}

/// Writes a file under a temporary name and gives it its own when it is whole.
pub(crate) async fn put(
    core: &Core,
    source: &mut (dyn AsyncRead + Send + Unpin),
    size: u64,
    path: &str,
    mode: u32,
) -> Result<(), Failure> {
    let (part, whole) = (path_word(&temporary(path)), path_word(path));
    // `mv` would put the file into a folder of that name.
    let command = format!(
        "scp -t {part} || {{ code=$?; rm -f {part}; exit $code; }}; \
         if [ -d {whole} ]; then rm -f {part}; echo 'it is a folder' >&2; exit 1; fi; mv -f {part} {whole}"
    );
    let address = core.settings().address();
    let (live, mut talk) = Talk::start(core, &command, path, &address).await?;
    talk.answer().await?;
    talk.file("file", source, size, mode).await?;
    talk.end(&live).await
}

/// Reads a file into one of this host.
pub(crate) async fn get(core: &Core, path: &str, local: &Path) -> Result<(), Failure> {
    let address = core.settings().address();
    let command = format!("scp -f {}", path_word(path));
    let (live, mut talk) = Talk::start(core, &command, path, &address).await?;
    talk.say(b"\0".to_vec()).await?;
    let mut is_there = false;
    while let Some(line) = talk.line().await? {
        match (line.split_first(), is_there) {
            (Some((b'C', rest)), false) => {
                let (mode, size, _) = header(rest, path)?;
                let file = NewFile::create(local, mode)?;
                talk.receive(file, size).await?;
                is_there = true;
            }
            (Some((b'T', _)), _) => talk.say(b"\0".to_vec()).await?,
            _ => return Err(talk.nonsense(&line).into()),
        }
    }
    talk.end(&live).await?;
    if is_there { Ok(()) } else { Err(remote_error(path, "`scp` did not send it").into()) }
}

/// Reads a folder into one of this host.
pub(crate) async fn get_folder(core: &Core, path: &str, local: &Path) -> Result<u64, Failure> {
    let address = core.settings().address();
    let command = format!("scp -r -f {}", path_word(path));
    let (live, mut talk) = Talk::start(core, &command, path, &address).await?;
    talk.say(b"\0".to_vec()).await?;
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut count = 0;
    let mut begun = false;
    while let Some(line) = talk.line().await? {
        let Some((&kind, rest)) = line.split_first() else { return Err(talk.nonsense(&line).into()) };
        match (kind, folders.last()) {
            (b'T', _) => talk.say(b"\0".to_vec()).await?,
            (b'D', parent) => {
                let (_, _, name) = header(rest, path)?;
                let folder = match parent {
                    Some(parent) => parent.join(checked_name(name)?),
                    // The first is the folder itself, whatever it is called.
                    None if !begun => local.to_owned(),
                    None => return Err(talk.nonsense(&line).into()),
                };
                begun = true;
                if folders.len() >= DEPTH {
                    return Err(remote_error(path, "its folders lie too deep in each other").into());
                }
                fs_err::create_dir_all(&folder).map_err(|error| files::local_error(&folder, &error))?;
                folders.push(folder);
                talk.say(b"\0".to_vec()).await?;
            }
            (b'E', Some(_)) => {
                folders.pop();
                talk.say(b"\0".to_vec()).await?;
            }
            (b'C', Some(parent)) => {
                let (mode, size, name) = header(rest, path)?;
                let file = NewFile::create(&parent.join(checked_name(name)?), mode)?;
                talk.receive(file, size).await?;
                count += 1;
            }
            (b'C', None) => return Err(remote_error(path, "it is no folder").into()),
            _ => return Err(talk.nonsense(&line).into()),
        }
    }
    talk.end(&live).await?;
    Ok(count)
}

/// Reads `0644 123 name`.
fn header<'a>(line: &'a [u8], path: &str) -> Result<(u32, u64, &'a [u8]), Error> {
    let read = || {
        let mut words = line.splitn(3, |&byte| byte == b' ');
        let mode = u32::from_str_radix(std::str::from_utf8(words.next()?).ok()?, 8).ok()?;
        let size = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        Some((mode & 0o777, size, words.next()?))
    };
    read().ok_or_else(|| remote_error(path, "`scp` sent what is not its protocol"))
}

impl<'a> Talk<'a> {
    async fn start(
        core: &Core,
        command: &str,
        path: &'a str,
        address: &'a str,
    ) -> Result<(std::sync::Arc<Live>, Talk<'a>), Failure> {
        let Session { channel, live, _busy } = core.session().await?;
        let running =
            Running::start(channel, command.as_bytes(), false, false, live.link.state.clone(), address)
                .await?;
        let talk = Self { running, path, hearing: Hearing::default(), ended: false };
        Ok((live, talk))
    }

    /// Sends, and hears at the same time: an other side that ended would be waited for without an end.
    async fn say(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        if self.send(bytes).await {
            return Ok(());
        }
        match self.answer().await {
            Err(failure) => Err(failure),
            Ok(()) => Err(self.broken()),
        }
    }

    async fn send(&mut self, bytes: Vec<u8>) -> bool {
        let Running { reader, writer, .. } = &mut self.running;
        let mut sending = pin!(writer.data_bytes(bytes));
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => return sent.is_ok(),
                message = reader.wait(), if !self.ended => self.hearing.take(message, &mut self.ended),
                () = std::future::ready(()), if self.ended => return false,
            }
        }
    }

    /// Waits for more; gives whether there is any.
    async fn hear(&mut self) -> bool {
        let hearing = &mut self.hearing;
        if hearing.at == hearing.heard.len() {
            hearing.heard.clear();
            hearing.at = 0;
        }
        let before = hearing.heard.len();
        while !self.ended {
            hearing.take(self.running.reader.wait().await, &mut self.ended);
            if hearing.heard.len() > before {
                return true;
            }
        }
        false
    }

    async fn byte(&mut self) -> Option<u8> {
        if self.hearing.at == self.hearing.heard.len() && !self.hear().await {
            return None;
        }
        self.hearing.at += 1;
        Some(self.hearing.heard[self.hearing.at - 1])
    }

    /// A line without its end; `None` at the end of all. What the other side says of an error is one.
    async fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        loop {
            match self.byte().await {
                None if line.is_empty() => return Ok(None),
                None => return Err(self.broken()),
                Some(b'\n') => break,
                Some(byte) => line.push(byte),
            }
            if line.len() > LINE_LIMIT {
                return Err(self.nonsense(&line).into());
            }
        }
        match line.split_first() {
            Some((1 | 2, text)) => Err(self.complaint(text).into()),
            _ => Ok(Some(line)),
        }
    }

    /// Waits for a byte that says whether all is well.
    async fn answer(&mut self) -> Result<(), Failure> {
        match self.byte().await {
            Some(0) => Ok(()),
            Some(1 | 2) => {
                let mut text = Vec::new();
                while let Some(byte) = self.byte().await {
                    if byte == b'\n' || text.len() > LINE_LIMIT {
                        break;
                    }
                    text.push(byte);
                }
                Err(self.complaint(&text).into())
            }
            Some(byte) => Err(self.nonsense(&[byte]).into()),
            None => Err(self.broken()),
        }
    }

    /// Sends a file with its line.
    pub(crate) async fn file(
        &mut self,
        name: &str,
        source: &mut (dyn AsyncRead + Send + Unpin),
        size: u64,
        mode: u32,
    ) -> Result<(), Failure> {
        self.say(format!("C{:04o} {size} {name}\n", mode & 0o7777).into_bytes()).await?;
        self.answer().await?;
        let mut left = size;
        while left > 0 {
            let mut step = Vec::with_capacity(STEP.min(usize::try_from(left).unwrap_or(STEP)));
            let read = (&mut *source).take(left.min(STEP as u64)).read_buf(&mut step).await;
            let count = read.map_err(|error| Error::Stdin(io_reason(&error)))?;
            if count == 0 {
                return Err(Error::Stdin("it is shorter than it was".to_owned()).into());
            }
            left -= count as u64;
            self.say(step).await?;
        }
        self.say(b"\0".to_vec()).await?;
        self.answer().await
    }

    /// Begins a folder.
    pub(crate) async fn folder(&mut self, name: &str, mode: u32) -> Result<(), Failure> {
        self.say(format!("D{:04o} 0 {name}\n", mode & 0o7777).into_bytes()).await?;
        self.answer().await
    }

    /// Ends a folder.
    pub(crate) async fn leave(&mut self) -> Result<(), Failure> {
        self.say(b"E\n".to_vec()).await?;
        self.answer().await
    }

    async fn receive(&mut self, mut file: NewFile, size: u64) -> Result<(), Failure> {
        self.say(b"\0".to_vec()).await?;
        let mut left = size;
        while left > 0 {
            if self.hearing.at == self.hearing.heard.len() && !self.hear().await {
                return Err(self.broken());
            }
            let count =
                (self.hearing.heard.len() - self.hearing.at).min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write(&self.hearing.heard[self.hearing.at..self.hearing.at + count]).await?;
            self.hearing.at += count;
            left -= count as u64;
        }
        self.answer().await?;
        file.finish().await?;
        self.say(b"\0".to_vec()).await
    }

    /// Says that nothing more comes and waits for the end.
    async fn end(mut self, live: &Live) -> Result<(), Failure> {
        // One that ended already hears nothing.
        let _ = self.running.writer.eof().await;
        while self.hear().await {
            self.hearing.at = self.hearing.heard.len();
        }
        match &self.hearing.exit {
            Some(exit) if exit.is_success() => Ok(()),
            Some(_) => Err(self.broken()),
            None if live.link.is_lost() => Err(live.lost().into()),
            None => Err(Error::NoExit(self.running.address.to_owned()).into()),
        }
    }

    /// The error of a conversation that ended too early.
    fn broken(&mut self) -> Failure {
        if self.hearing.exit == Some(NO_PROGRAM) {
            return Failure::Missing;
        }
        if self.hearing.exit.is_none() && self.running.state.ended() {
            return self.running.lost(&russh::Error::Disconnect).into();
        }
        let said = std::mem::take(&mut self.hearing.stderr);
        self.complaint(&said).into()
    }

    fn complaint(&self, text: &[u8]) -> Error {
        let text = String::from_utf8_lossy(text);
        let text = text.trim().lines().last().unwrap_or_default();
        let text = text.strip_prefix("scp: ").unwrap_or(text);
        let reason = text.rsplit_once(": ").map_or(text, |(_, reason)| reason).to_lowercase();
        remote_error(self.path, if reason.is_empty() { "`scp` failed and does not say why" } else { &reason })
    }

    fn nonsense(&self, line: &[u8]) -> Error {
        let shown: String = String::from_utf8_lossy(line).escape_debug().take(80).collect();
        remote_error(self.path, &format!("`scp` sent `{shown}`, which is not its protocol"))
    }
}

/// Sends folders and files, parents first, into a folder that is there.
pub(crate) async fn put_tree(
    core: &Core,
    entries: &[&crate::tree::Entry],
    folder: &str,
) -> Result<(), Failure> {
    let address = core.settings().address();
    let command = format!("scp -r -t {}", path_word(folder));
    let (live, mut talk) = Talk::start(core, &command, folder, &address).await?;
    talk.answer().await?;
    let mut inside: Vec<&[u8]> = Vec::new();
    for entry in entries {
        let parts: Vec<&[u8]> = entry.below.split(|&byte| byte == b'/').collect();
        let Some((name, parents)) = parts.split_last() else { continue };
        while !parents.starts_with(&inside) {
            inside.pop();
            talk.leave().await?;
        }
        let name = std::str::from_utf8(name).ok().filter(|name| !name.contains('\n')).ok_or_else(|| {
            remote_error(folder, &format!("`scp` has no way to send the name `{}`", entry.shown()))
        })?;
        match entry.size {
            None => {
                talk.folder(name, entry.mode | 0o700).await?;
                inside = parts;
            }
            Some(size) => {
                let opened = tokio::fs::File::open(&entry.path).await;
                let mut file = opened.map_err(|error| files::local_error(&entry.path, &error))?;
                talk.file(name, &mut file, size, entry.mode).await?;
            }
        }
    }
    for _ in inside {
        talk.leave().await?;
    }
    talk.end(&live).await
}
