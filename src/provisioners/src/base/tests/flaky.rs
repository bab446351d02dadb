//! Transfers from a registry that fails in every way: a server made here, which answers by a script.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use imgbuild_digest::Digest;
use imgbuild_engine::ActionError;
use imgbuild_model::{Class, Diagnostic};
use sha2::{Digest as _, Sha256};

use super::super::transfer::Repository;
use super::fixture::{Bench, platform};

/// What the server does with one request for the blob.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Status 503.
    Unavailable,
    /// The blob from where it was asked for, cut off after so many bytes.
    Cut(usize),
    /// The same from the start, whatever was asked for.
    FromStart(usize),
    /// Everything that was asked for.
    Whole,
    /// More than there should be.
    TooMuch,
}

/// Serves one blob; returns the address and the offsets that were asked for.
fn serve(blob: Vec<u8>, script: Vec<Answer>) -> (String, Arc<Mutex<Vec<usize>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let offsets = Arc::new(Mutex::new(Vec::new()));
    let asked = offsets.clone();
    std::thread::spawn(move || {
        let mut script = script.into_iter();
        for stream in listener.incoming() {
            answer(stream.unwrap(), &blob, &mut script, &asked);
        }
    });
    (address, offsets)
}

fn answer(
    mut stream: TcpStream,
    blob: &[u8],
    script: &mut impl Iterator<Item = Answer>,
    asked: &Mutex<Vec<usize>>,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    if !request.contains("/blobs/") {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    let range =
        headers.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let offset: usize = range.as_ref().and_then(|text| text.trim_end_matches('-').parse().ok()).unwrap_or(0);
    asked.lock().unwrap().push(offset);
    let (from, bytes) = match script.next().unwrap_or(Answer::Whole) {
        Answer::Unavailable => {
            let _ = stream.write_all(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
            return;
        }
        Answer::Cut(length) => (offset, &blob[offset..offset + length]),
        Answer::FromStart(length) => (0, &blob[..length]),
        Answer::Whole => (offset, &blob[offset..]),
        Answer::TooMuch => {
            // Without a length nothing but the digest's size says where it should end.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(blob);
            let _ = stream.write_all(blob);
            return;
        }
    };
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", blob.len() - from);
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(bytes);
}

/// Fetches the blob; gives the bytes told as progress, too.
async fn fetch(script: Vec<Answer>) -> (Result<(), Box<Diagnostic>>, Vec<usize>, i64) {
    let bench = Bench::new();
    let blob: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest::sha256(Sha256::digest(&blob).into(), blob.len() as u64);
    let (address, offsets) = serve(blob, script);
    let config = bench.config();
    let image = format!("{address}/team/app:1");
    let repository = Repository::new(&config, &image, platform(), &bench.cache, &bench.run).unwrap();
    let told = std::sync::atomic::AtomicI64::new(0);
    let on_bytes = |more: i64| {
        told.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
    };
    let result = repository.blob(&digest, &on_bytes).await.map_err(|error| match error {
        ActionError::Other(problem) => problem,
        other => panic!("{other}"),
    });
    let found = repository.find(&digest).unwrap();
    assert_eq!(found.is_some(), result.is_ok());
    let offsets = offsets.lock().unwrap().clone();
    (result, offsets, told.into_inner())
}

#[tokio::test]
async fn a_transfer_goes_on_where_it_was_cut() {
    let script = vec![
        Answer::Unavailable,
        Answer::Cut(300_000),
        Answer::Unavailable,
        Answer::Cut(100_000),
        Answer::Whole,
    ];
    let (result, offsets, told) = fetch(script).await;
    result.unwrap();
    assert_eq!(offsets, [0, 0, 300_000, 300_000, 400_000]);
    assert_eq!(told, 800_000);
}

#[tokio::test]
async fn a_server_that_cannot_resume_is_taken_from_the_start() {
    let (result, offsets, told) = fetch(vec![Answer::Cut(300_000), Answer::FromStart(800_000)]).await;
    result.unwrap();
    assert_eq!(offsets, [0, 300_000]);
    assert_eq!(told, 800_000);
}

#[tokio::test]
async fn patience_has_an_end_unless_something_comes() {
    let (result, offsets, _) = fetch(vec![Answer::Unavailable; 9]).await;
    let problem = result.unwrap_err();
    assert!(
        problem.message.ends_with("could not be fetched in 3 attempts: the registry answered 503"),
        "{problem:?}"
    );
    assert_eq!(problem.class, Class::Remote);
    assert_eq!(offsets.len(), 3);

    let (result, offsets, _) = fetch(vec![Answer::Cut(100_000); 9]).await;
    result.unwrap();
    assert_eq!(offsets.len(), 8, "each attempt brought something");
}

#[tokio::test]
async fn a_blob_without_end_is_refused() {
    let (result, _, _) = fetch(vec![Answer::TooMuch]).await;
    let problem = result.unwrap_err();
    assert!(problem.message.contains("is something else"), "{problem:?}");
    assert_eq!(problem.class, Class::Remote);
}
