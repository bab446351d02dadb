//! What is the same for all servers: proxies, second tries, redirects, addresses.

use std::sync::atomic::{AtomicUsize, Ordering};

use imgbuild_stores::test_support::StandIn;

use crate::{shown, stores};

#[tokio::test]
async fn proxies_are_those_of_the_environment() {
    let proxy = StandIn::start(|_| Some((200, r#"{"data": {"a": "by the proxy"}}"#.to_owned())));
    let url = proxy.url();
    let far = [("VAULT_ADDR", "http://vault.invalid:8200"), ("VAULT_TOKEN", "t")];
    let through = stores(&[far.as_slice(), &[("HTTP_PROXY", &url)]].concat());
    assert_eq!(shown(through.vault("x", "a").await), "by the proxy");
    assert_eq!(proxy.requests()[0].line, "GET http://vault.invalid:8200/v1/x");

    let without = stores(&[far.as_slice(), &[("HTTP_PROXY", &url), ("NO_PROXY", "vault.invalid")]].concat());
    let said = shown(without.vault("x", "a").await);
    assert!(said.starts_with("error: `http://vault.invalid:8200` cannot be asked: "), "{said}");
    assert!(said.ends_with("; hint: check `VAULT_ADDR` and the network"), "{said}");

    let near = StandIn::vault();
    let near = stores(&[("VAULT_ADDR", &near.url()), ("VAULT_TOKEN", "s.token"), ("http_proxy", &url)]);
    assert_eq!(shown(near.vault("kv/db", "user").await), "ada", "this machine is asked directly");
    assert_eq!(proxy.requests().len(), 1);

    let wrong = stores(&[far.as_slice(), &[("HTTPS_PROXY", "http://user:password@:")]].concat());
    let said = shown(wrong.vault("x", "a").await);
    assert_eq!(said, "error: `HTTPS_PROXY` is no address of a proxy; hint: write `http://host:port`");
}

#[tokio::test]
async fn a_lost_connection_is_tried_again() {
    let tries = AtomicUsize::new(0);
    let server = StandIn::start(move |_| {
        (tries.fetch_add(1, Ordering::Relaxed) > 1).then(|| (200, "value".to_owned()))
    });
    let stores = stores(&[("CONSUL_HTTP_ADDR", &server.url())]);
    assert_eq!(shown(stores.consul_key("a").await), "value");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn who_does_not_answer_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let consul = stores(&[("CONSUL_HTTP_ADDR", &address.to_string())]);
    let said = shown(consul.consul_key("a").await);
    assert_eq!(
        said,
        format!(
            "error: `http://{address}` cannot be asked: Connection refused (os error 111); hint: check \
             `CONSUL_HTTP_ADDR` and the network"
        )
    );
}

#[tokio::test]
async fn a_socket_of_this_machine_is_asked() {
    use std::io::{Read as _, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("consul.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let served = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut asked = [0; 64];
        let length = connection.read(&mut asked).unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nvalue").unwrap();
        String::from_utf8_lossy(&asked[..length]).into_owned()
    });
    let address = format!("unix://{}", path.display());
    let stores = stores(&[("CONSUL_HTTP_ADDR", &address), ("HTTP_PROXY", "http://127.0.0.1:9")]);
    assert_eq!(shown(stores.consul_key("a").await), "value");
    assert!(served.join().unwrap().starts_with("GET /v1/kv/a?raw= HTTP/1.1\r\n"));
}

#[tokio::test]
async fn what_is_set_wrongly_is_named() {
    for (variable, value, expected) in [
        (
            "CONSUL_HTTP_ADDR",
            "ftp://consul",
            "`CONSUL_HTTP_ADDR` is no address of a server: it has another scheme; hint: write `https://host:port`, \
             `http://host:port` or `unix:///path`",
        ),
        (
            "CONSUL_HTTP_SSL",
            "yes",
            "`CONSUL_HTTP_SSL` is neither true nor false; hint: write `true` or `false`",
        ),
        (
            "CONSUL_CACERT",
            "/nowhere/ca.pem",
            "cannot read the file that `CONSUL_CACERT` names: failed to open file `/nowhere/ca.pem`: No such file or \
             directory (os error 2); hint: let `CONSUL_CACERT` name a file that can be read",
        ),
        (
            "CONSUL_CACERT",
            "/dev/null",
            "there is no certificate in `/dev/null`; hint: let `CONSUL_CACERT` name certificates in PEM",
        ),
    ] {
        let said = shown(stores(&[(variable, value)]).consul_key("a").await);
        assert_eq!(said, format!("error: {expected}"));
    }
}
