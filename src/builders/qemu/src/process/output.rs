//! What a machine says: QEMU on standard error, the guest on its console; the last of it, for errors. Not for: showing it as
//! it comes.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinHandle;

/// How much is kept, in bytes.
const KEPT: usize = 16 << 10;

/// How much of a console's end is looked at, in bytes.
const CONSOLE: u64 = 256 << 10;

/// How long the end of a stream is waited for once its writer is gone.
const DRAIN: Duration = Duration::from_secs(1);

/// The last of what a stream brought.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    /// Reads a stream from now on.
    pub(super) fn of(stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let reader = tokio::spawn(async move {
            let Some(mut stream) = stream else { return };
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..length]);
                let surplus = kept.len().saturating_sub(KEPT);
                kept.drain(..surplus);
            }
        });
        Self { bytes, reader }
    }

    /// What there is now.
    pub(super) fn now(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// What there is once the stream has ended.
    pub(super) async fn last(&mut self) -> String {
        let _ = tokio::time::timeout(DRAIN, &mut self.reader).await;
        self.now()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The end of a console's text, without what moves cursors and colours. Nothing if there is no such file yet.
pub(super) fn read(log: &Path) -> String {
    let from = fs_err::metadata(log).map_or(0, |file| file.len().saturating_sub(CONSOLE));
    plain(&String::from_utf8_lossy(&read_from(log, from).unwrap_or_default()))
}

fn read_from(log: &Path, from: u64) -> std::io::Result<Vec<u8>> {
    let mut file = fs_err::File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A console that is read as it grows, each byte once.
#[derive(Debug)]
pub(super) struct Follower<'l> {
    log: &'l Path,
    offset: u64,
    /// What a text that is looked for could begin in.
    bytes: Vec<u8>,
}

impl<'l> Follower<'l> {
    /// From the beginning.
    pub(super) fn new(log: &'l Path) -> Self {
        Self { log, offset: 0, bytes: Vec::new() }
    }

    /// Whether what is looked for has come since it was asked last, or shortly before.
    pub(super) fn shows(&mut self, is_there: impl Fn(&str) -> bool) -> bool {
        let new = read_from(self.log, self.offset).unwrap_or_default();
        self.offset += new.len() as u64;
        self.bytes.extend(new);
        let found = is_there(&plain(&String::from_utf8_lossy(&self.bytes)));
        let surplus = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..surplus);
        found
    }
}

/// The last lines that hold something.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A text without escape sequences (ECMA-48: `ESC [ … letter`, `ESC ] … BEL`, `ESC letter`) and control characters.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => match characters.next() {
                Some('[') => while characters.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']') => while characters.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
                _ => {}
            },
            '\n' | '\t' => plain.push(character),
            character if character.is_control() => {}
            character => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_read_as_text() {
        assert_eq!(
            plain("\u{1b}c\u{1b}[?7l\u{1b}[2JSeaBIOS\r\n\u{1b}]0;t\u{7}a\tb\u{0}\n"),
            "SeaBIOS\na\tb\n"
        );
        assert_eq!(last_lines("a\n\nb  \n\nc\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn a_console_is_followed() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let add = |text: &str| {
            let before = fs_err::read_to_string(log.path()).unwrap();
            fs_err::write(log.path(), before + text).unwrap();
        };
        let mut follower = Follower::new(log.path());
        let login = |text: &str| text.contains("login:");
        assert!(!follower.shows(login));
        add("boots\nlog");
        assert!(!follower.shows(login));
        add("in: \u{1b}[0m");
        assert!(follower.shows(login));
        add(&"x".repeat(2 * KEPT));
        assert!(!follower.shows(|text| text.contains("nothing")));
        assert!(!follower.shows(login), "that was long ago");
        assert!(!Follower::new(Path::new("/nowhere")).shows(|_| false));
    }

    #[tokio::test]
    async fn only_the_last_is_kept() {
        let text = format!("{}the end", "x".repeat(3 * KEPT));
        let mut tail = Tail::of(Some(std::io::Cursor::new(text.into_bytes())));
        let last = tail.last().await;
        assert!(last.len() == KEPT && last.ends_with("xthe end"));
    }
}
