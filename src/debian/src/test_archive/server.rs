//! A local HTTP server with faults. A thread per connection and no runtime, so that every kind of test can use it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;

use super::Files;

/// How an answer goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status instead of the file.
    Status(u16),
    /// Nothing for so long, then the connection is closed.
    Stall(Duration),
    /// So many bytes of the body, then silence for so long, then the connection is closed.
    StallAfter(usize, Duration),
    /// So many bytes of the body, then the connection is closed.
    CutOff(usize),
    /// One byte in the middle is another.
    Corrupt,
    /// The file, but requests for a part of it get the whole.
    NoRanges,
}

struct Planned {
    pattern: String,
    fault: Fault,
    left: usize,
}

#[derive(Default)]
struct Shared {
    files: Files,
    faults: Vec<Planned>,
    requests: Vec<String>,
    stopped: bool,
}

/// A running server; it ends when dropped.
pub struct TestServer {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TestServer {
    /// Serves files on a free port of the loopback address.
    #[must_use]
    pub fn start(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback address has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Mutex::new(Shared { files, ..Shared::default() }));
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if lock(&accepting).stopped {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    // A client that goes away is no concern of the server.
                    let _ = converse(&stream, &shared);
                });
            }
        });
        Self { address, shared }
    }

    /// The base address of a folder, ending in `/`.
    #[must_use]
    pub fn url(&self, folder: &str) -> Url {
        let folder = folder.trim_matches('/');
        let end = if folder.is_empty() { "" } else { "/" };
        Url::parse(&format!("http://{}/{folder}{end}", self.address)).expect("an address of parts")
    }

    /// Replaces all files, for example after the archive has changed.
    pub fn publish(&self, files: Files) {
        lock(&self.shared).files = files;
    }

    /// Adds or replaces one file.
    pub fn put(&self, path: &str, content: Vec<u8>) {
        lock(&self.shared).files.insert(path.to_owned(), content);
    }

    /// Takes a file away; its content is returned.
    pub fn take(&self, path: &str) -> Option<Vec<u8>> {
        lock(&self.shared).files.remove(path)
    }

    /// The next `times` requests whose path contains `pattern` go wrong.
    pub fn fail(&self, pattern: &str, fault: Fault, times: usize) {
        lock(&self.shared).faults.push(Planned { pattern: pattern.to_owned(), fault, left: times });
    }

    /// No request goes wrong any more.
    pub fn heal(&self) {
        lock(&self.shared).faults.clear();
    }

    /// Every request so far: the path, and the range in brackets if one was asked for.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared).requests.clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        lock(&self.shared).stopped = true;
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn converse(stream: &TcpStream, shared: &Mutex<Shared>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let path = first.split_whitespace().nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let mut offset = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                offset = range.trim_end_matches('-').parse::<usize>().ok();
            }
        }
        let (body, fault) = {
            let mut shared = lock(shared);
            let asked = offset.map(|offset| format!(" [{offset}-]")).unwrap_or_default();
            shared.requests.push(format!("{path}{asked}"));
            let planned = shared.faults.iter_mut().find(|p| p.left > 0 && path.contains(&p.pattern));
            let fault = planned.map(|planned| {
                planned.left -= 1;
                planned.fault
            });
            (shared.files.get(&path).cloned(), fault)
        };
        if !answer(stream, body, offset, fault)? {
            return stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Whether the connection can be used again.
fn answer(
    mut stream: &TcpStream,
    body: Option<Vec<u8>>,
    offset: Option<usize>,
    fault: Option<Fault>,
) -> io::Result<bool> {
    let status = match (fault, &body) {
        (Some(Fault::Status(status)), _) => Some(status),
        (Some(Fault::Stall(time)), _) => {
            std::thread::sleep(time);
            return Ok(false);
        }
        (_, None) => Some(404),
        _ => None,
    };
    if let Some(status) = status {
        write!(stream, "HTTP/1.1 {status} Test\r\ncontent-length: 0\r\n\r\n")?;
        return Ok(true);
    }
    let mut body = body.unwrap_or_default();
    if fault == Some(Fault::Corrupt) {
        let middle = body.len() / 2;
        if let Some(byte) = body.get_mut(middle) {
            *byte ^= 0xff;
        }
    }
    let total = body.len();
    let start = offset.filter(|offset| fault != Some(Fault::NoRanges) && *offset < total);
    let head = match start {
        Some(start) => {
            let last = total - 1;
            format!("HTTP/1.1 206 Partial\r\ncontent-range: bytes {start}-{last}/{total}\r\n")
        }
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    let rest = &body[start.unwrap_or(0)..];
    write!(stream, "{head}content-length: {}\r\n\r\n", rest.len())?;
    match fault {
        Some(Fault::CutOff(count)) => {
            stream.write_all(&rest[..count.min(rest.len())])?;
            stream.flush()?;
            Ok(false)
        }
        Some(Fault::StallAfter(count, time)) => {
            stream.write_all(&rest[..count.min(rest.len())])?;
            stream.flush()?;
            std::thread::sleep(time);
            Ok(false)
        }
        _ => {
            stream.write_all(rest)?;
            stream.flush()?;
            Ok(true)
        }
    }
}
