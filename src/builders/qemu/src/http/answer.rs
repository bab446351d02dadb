//! From a question to an answer. Not for: connections.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncRead as _, AsyncSeekExt as _, ReadBuf};

use super::Served;

type Answer = Response<BoxBody<Bytes, io::Error>>;

/// How much of a file is read at a time, in bytes.
const CHUNK: usize = 64 << 10;

pub(super) async fn answer<B>(served: &Served, request: &Request<B>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let Some(parts) = parts(request.uri().path()) else {
        return plain(StatusCode::BAD_REQUEST, "no path\n");
    };
    match served {
        Served::Texts(texts) => match texts.get(&format!("/{}", parts.join("/"))) {
            Some(text) => whole(text.clone().into_bytes(), request.uri().path()),
            None => missing(),
        },
        Served::Folder(folder) => {
            let path = parts.iter().fold(folder.clone(), |path, part| path.join(part));
            of_folder(path, request).await.unwrap_or_else(|_| missing())
        }
    }
}

/// The parts of a path with their `%` signs read. `None` if one would lead out of the folder or is no name of a file.
fn parts(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    let mut parts = Vec::new();
    for part in path.split('/') {
        let part = decoded(part)?;
        match part.as_str() {
            "" | "." => {}
            ".." => return None,
            _ if part.contains(['/', '\0']) => return None,
            _ => parts.push(part),
        }
    }
    Some(parts)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            let good = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| good)?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

async fn of_folder<B>(path: PathBuf, request: &Request<B>) -> io::Result<Answer> {
    let asked = request.uri().path();
    if tokio::fs::metadata(&path).await?.is_dir() {
        if !asked.ends_with('/') {
            // Names in the listing are relative.
            let mut moved = plain(StatusCode::MOVED_PERMANENTLY, "");
            if let Ok(to) = format!("{asked}/").parse() {
                moved.headers_mut().insert(LOCATION, to);
            }
            return Ok(moved);
        }
        let index = path.join("index.html");
        return match file(&index, request.headers()).await {
            Ok(answer) => Ok(answer),
            Err(_) => listing(&path).await,
        };
    }
    file(&path, request.headers()).await
}

async fn file(path: &Path, headers: &HeaderMap) -> io::Result<Answer> {
    let mut file = File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let size = metadata.len();
    let mut response = Response::builder().header(ACCEPT_RANGES, "bytes").header(CONTENT_TYPE, kind(path));
    let (start, length) = match headers
        .get(RANGE)
        .and_then(|range| range.to_str().ok())
        .and_then(|range| parse_range(range, size))
    {
        None => (0, size),
        Some(None) => {
            let mut refusal = plain(StatusCode::RANGE_NOT_SATISFIABLE, "no such part\n");
            if let Ok(all) = format!("bytes */{size}").parse() {
                refusal.headers_mut().insert(CONTENT_RANGE, all);
            }
            return Ok(refusal);
        }
        Some(Some((first, last))) => {
            response = response
                .status(StatusCode::PARTIAL_CONTENT)
                .header(CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
            (first, last - first + 1)
        }
    };
    file.seek(SeekFrom::Start(start)).await?;
    let body = FileBody { file, left: length, buffer: vec![0; CHUNK] };
    Ok(response.header(CONTENT_LENGTH, length).body(BoxBody::new(body)).unwrap_or_else(|_| missing()))
}

/// First and last byte of a range of one part (RFC 9110, 14.2). The outer `None` for what is to be ignored, the inner for one
/// that is not in the file.
fn parse_range(range: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
    if range.contains(',') {
        return None;
    }
    let (first, last) = match (first.trim(), last.trim()) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size.checked_sub(1)),
        (first, "") => (first.parse().ok()?, size.checked_sub(1)),
        (first, last) => (first.parse().ok()?, Some(last.parse::<u64>().ok()?.min(size.saturating_sub(1)))),
    };
    Some(last.filter(|last| first <= *last && first < size).map(|last| (first, last)))
}

async fn listing(folder: &Path) -> io::Result<Answer> {
    let mut names = Vec::new();
    let mut entries = tokio::fs::read_dir(folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        let end = if entry.path().is_dir() { "/" } else { "" };
        names.push(format!("{}{end}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let line = |name: &String| {
        let coded: String = name.bytes().map(coded_byte).collect();
        let shown = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        format!("<a href=\"{coded}\">{shown}</a>\n")
    };
    let text: String = names.iter().map(line).collect();
    Ok(whole(format!("<!doctype html>\n<pre>\n{text}</pre>\n").into_bytes(), "index.html"))
}

fn coded_byte(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    }
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|end| end.to_str()).unwrap_or_default() {
        "html" | "htm" => "text/html; charset=utf-8",
        "json" => "application/json",
        "xml" => "text/xml; charset=utf-8",
        "" | "cfg" | "conf" | "ks" | "txt" | "sh" | "yaml" | "yml" | "toml" | "ipxe" | "ps1" | "preseed" => {
            "text/plain; charset=utf-8"
        }
        _ => "application/octet-stream",
    }
}

fn whole(bytes: Vec<u8>, path: &str) -> Answer {
    let body = Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind(Path::new(path))));
    response
}

fn plain(status: StatusCode, text: &str) -> Answer {
    let mut response = whole(text.as_bytes().to_vec(), "");
    *response.status_mut() = status;
    response
}

fn missing() -> Answer {
    plain(StatusCode::NOT_FOUND, "nothing is here\n")
}

/// Part of a file, read as it is sent.
struct FileBody {
    file: File,
    left: u64,
    buffer: Vec<u8>,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let most = usize::try_from(this.left).unwrap_or(usize::MAX).min(this.buffer.len());
        let mut buffer = ReadBuf::new(&mut this.buffer[..most]);
        ready!(Pin::new(&mut this.file).poll_read(context, &mut buffer))?;
        let read = Bytes::copy_from_slice(buffer.filled());
        if read.is_empty() {
            let shorter = io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter");
            return Poll::Ready(Some(Err(shorter)));
        }
        this.left -= read.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(read))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_do_not_lead_out() {
        for (path, wanted) in [
            ("/", Some("")),
            ("/a/b", Some("a|b")),
            ("//a/./b/", Some("a|b")),
            ("/a%20b%C3%A4", Some("a bä")),
            ("/..", None),
            ("/a/../b", None),
            ("/%2e%2e/b", None),
            ("/a%2fb", None),
            ("/..%2f", None),
            ("/a%00", None),
            ("/%", None),
            ("/%+1", None),
            ("/%ff", None),
            ("*", None),
        ] {
            assert_eq!(parts(path).map(|parts| parts.join("|")).as_deref(), wanted, "{path}");
        }
    }

    #[test]
    fn ranges_are_read() {
        for (range, wanted) in [
            ("bytes=0-3", Some(Some((0, 3)))),
            ("bytes=4-", Some(Some((4, 9)))),
            ("bytes=-3", Some(Some((7, 9)))),
            ("bytes=-30", Some(Some((0, 9)))),
            ("bytes=8-99", Some(Some((8, 9)))),
            ("bytes=10-", Some(None)),
            ("bytes=5-4", Some(None)),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=x-1", None),
        ] {
            assert_eq!(parse_range(range, 10), wanted, "{range}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Some(None));
    }
}
