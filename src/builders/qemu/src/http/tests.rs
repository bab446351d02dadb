//! A server, asked over TCP.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn ask(server: &HttpServer, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = format!("{request}Host: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(server: &HttpServer, path: &str) -> (u16, String) {
    let answer = ask(server, &format!("GET {path} HTTP/1.1\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_folder_is_served_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let served = folder.path().join("served");
    fs_err::create_dir_all(served.join("sub dir")).unwrap();
    fs_err::write(folder.path().join("secret"), "no").unwrap();
    fs_err::write(served.join("ks.cfg"), "install\n").unwrap();
    fs_err::write(served.join("sub dir/large"), vec![b'x'; 300_000]).unwrap();
    let server = HttpServer::start(Served::Folder(served), LOOPBACK, 0, 0).await.unwrap();

    assert_eq!(get(&server, "/ks.cfg").await, (200, "install\n".to_owned()));
    assert_eq!(get(&server, "/ks.cfg?x=1").await.0, 200);
    assert_eq!(get(&server, "/sub%20dir/large").await.1.len(), 300_000);
    let listing = "<!doctype html>\n<pre>\n<a href=\"ks.cfg\">ks.cfg</a>\n<a href=\"sub%20dir/\">sub dir/</a>\n</pre>\n";
    assert_eq!(get(&server, "/").await, (200, listing.to_owned()));
    assert_eq!(get(&server, "/sub%20dir").await.0, 301);
    for path in ["/../secret", "/%2e%2e/secret", "/sub%20dir/../../secret", "/..%2fsecret"] {
        assert_eq!(get(&server, path).await.0, 400, "{path}");
    }
    assert_eq!(get(&server, "/none").await.0, 404);

    let head = ask(&server, "HEAD /ks.cfg HTTP/1.1\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-length: 8\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let part = ask(&server, "GET /ks.cfg HTTP/1.1\r\nRange: bytes=2-4\r\n").await;
    assert!(part.starts_with("HTTP/1.1 206 ") && part.ends_with("\r\n\r\nsta"), "{part}");
    assert!(part.contains("content-range: bytes 2-4/8\r\n"), "{part}");
    assert!(ask(&server, "GET /ks.cfg HTTP/1.1\r\nRange: bytes=8-\r\n").await.starts_with("HTTP/1.1 416 "));
    assert!(ask(&server, "POST /ks.cfg HTTP/1.1\r\n").await.starts_with("HTTP/1.1 405 "));
    assert_eq!(server.asked()[0], Asked { path: "/ks.cfg".to_owned(), status: 200 });
    assert!(server.asked().contains(&Asked { path: "/none".to_owned(), status: 404 }));
}

#[tokio::test]
async fn texts_are_served() {
    let texts = BTreeMap::from([("/a/user-data".to_owned(), "secret text".to_owned())]);
    let served = Served::Texts(texts);
    assert_eq!(format!("{served:?}"), "{\"/a/user-data\"}");
    let server = HttpServer::start(served, LOOPBACK, 0, 0).await.unwrap();
    assert_eq!(get(&server, "/a/user-data").await, (200, "secret text".to_owned()));
    assert_eq!(get(&server, "/a").await.0, 404);
}

#[tokio::test]
async fn a_port_that_is_taken_is_passed_over() {
    let taken = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let served = || Served::Texts(BTreeMap::new());
    let server = HttpServer::start(served(), LOOPBACK, port, port.saturating_add(200)).await.unwrap();
    assert!(server.port() > port);
    let error = HttpServer::start(served(), LOOPBACK, port, port).await.unwrap_err().to_string();
    let wanted = format!(
        "each port from {port} to {port} of `127.0.0.1` is taken; widen `http_port_min` to `http_port_max`"
    );
    assert_eq!(error, wanted);
    let address = server.address();
    drop(server);
    for _ in 0..100 {
        if TcpStream::connect(address).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it still listens");
}

#[tokio::test]
async fn what_cannot_be_served_is_told() {
    let nowhere = Served::Folder("/nowhere".into());
    let error = HttpServer::start(nowhere, LOOPBACK, 0, 0).await.unwrap_err().to_string();
    assert!(error.starts_with("`http_directory` is no folder that can be read: "), "{error}");
    let texts = Served::Texts(BTreeMap::from([("a".to_owned(), String::new())]));
    let error = HttpServer::start(texts, LOOPBACK, 0, 0).await.unwrap_err().to_string();
    assert_eq!(error, "the path `a` of `http_content` does not begin with `/`");
    let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let error =
        HttpServer::start(Served::Texts(BTreeMap::new()), foreign, 0, 0).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot listen on `192.0.2.1:0`: "), "{error}");
}
