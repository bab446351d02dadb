//! What stands between here and a machine: one that is not up yet, something else on its port, bastions, proxies, tunnels.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imgbuild_model::Secret;
use imgbuild_ssh::{
    Algorithms, Bastion, Error, HostKeys, Login, Patience, Proxy, Route, Settings, Stdin, connect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Server, file, free_port, have, refusal, says};

fn settings(port: u16, limit: Duration) -> Settings {
    let login = Login { username: "me".to_owned(), password: Some(Secret::new("x")), ..Login::default() };
    let mut settings = Settings::new("127.0.0.1", port, login, HostKeys::AcceptAny);
    settings.patience = Patience { timeout: Some(limit), attempts: None };
    settings.waits.greeting = Duration::from_millis(300);
    settings
}

/// A port that takes connections and says this, or nothing.
async fn listener(says: &'static [u8], closes: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(says).await.unwrap();
            if !closes {
                open.push(stream);
            }
        }
    });
    port
}

#[tokio::test]
async fn what_does_not_answer_is_said() {
    let limit = Duration::from_millis(1500);
    let port = free_port();
    let error = refusal(settings(port, limit)).await;
    assert_eq!(
        error.to_string(),
        format!("ssh did not come up within 1.5 s: `127.0.0.1:{port}` refuses connections")
    );
    assert!(error.hint().unwrap().contains("`ssh_port`"));
    let port = listener(b"", false).await;
    let error = refusal(settings(port, limit)).await;
    assert!(
        error.to_string().contains(&format!("`127.0.0.1:{port}` takes connections but says nothing within ")),
        "{error}"
    );
    let port = listener(b"", true).await;
    let error = refusal(settings(port, limit)).await;
    assert!(
        error.to_string().ends_with(&format!("`127.0.0.1:{port}` closes connections without a word")),
        "{error}"
    );
    let mut nowhere = settings(port, limit);
    nowhere.host = "host.invalid".to_owned();
    let error = refusal(nowhere).await;
    assert!(error.to_string().contains(&format!("`host.invalid:{port}` cannot be reached: ")), "{error}");
}

#[tokio::test]
async fn what_is_not_ssh_is_said_at_once() {
    let begun = Instant::now();
    for closes in [true, false] {
        let port = listener(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", closes).await;
        let error = refusal(settings(port, Duration::from_secs(60))).await;
        assert_eq!(
            error.to_string(),
            format!("what answers at `127.0.0.1:{port}` is not ssh: it says `HTTP/1.1 400 Bad Request`")
        );
    }
    let port = listener(&[b'x'; 20_000], false).await;
    assert!(matches!(refusal(settings(port, Duration::from_secs(60))).await, Error::NotSsh { .. }));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_handshake_that_stops_is_ended() {
    let port = listener(b"SSH-2.0-Stuck\r\n", false).await;
    let mut settings = settings(port, Duration::from_secs(3));
    settings.waits.handshake = Duration::from_millis(400);
    let error = refusal(settings).await;
    assert!(error.to_string().ends_with("did not finish the handshake within 0.4 s"), "{error}");
}

#[tokio::test]
async fn a_machine_that_starts_is_waited_for() {
    let Some(mut server) = Server::start() else { return };
    server.down();
    let settings = server.settings();
    let up = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_secs(2));
        server.up();
        server
    });
    let begun = Instant::now();
    connect(settings).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop(up.await.unwrap());
}

#[tokio::test]
async fn algorithms_are_those_that_are_named() {
    let Some(server) = Server::start_with("Ciphers aes128-ctr\nKexAlgorithms ecdh-sha2-nistp256\n") else {
        return;
    };
    server.connect().await;
    let mut settings = server.settings();
    settings.algorithms = Algorithms::named(&["aes256-ctr".to_owned()], &[]).unwrap();
    let error = refusal(settings.clone()).await;
    assert_eq!(
        error.to_string(),
        format!("no cipher in common with `127.0.0.1:{}`, which offers `aes128-ctr`", server.port)
    );
    assert_eq!(error.hint().unwrap(), "name one of them in `ssh_ciphers`");
    settings.algorithms =
        Algorithms::named(&["aes128-ctr".to_owned()], &["ecdh-sha2-nistp256".to_owned()]).unwrap();
    connect(settings).await.unwrap();
}

#[tokio::test]
async fn a_bastion_is_gone_through() {
    let (Some(server), Some(bastion)) = (Server::start(), Server::start()) else { return };
    let way = |port, login| {
        let host_keys = HostKeys::Pinned(vec![bastion.host_key()]);
        Route::Bastion(Box::new(Bastion { host: "127.0.0.1".to_owned(), port, login, host_keys }))
    };
    let login = Login { keys: vec![file(&bastion.path("user"))], ..bastion.login() };
    let mut settings = server.settings();
    settings.route = way(bastion.port, login.clone());
    let connection = connect(settings.clone()).await.unwrap();
    let peer = says(&connection, "echo $SSH_CONNECTION").await;
    assert!(peer.ends_with(&server.port.to_string()), "{peer}");
    assert!(bastion.log().contains("Accepted publickey"));

    settings.port = free_port();
    settings.patience.timeout = Some(Duration::from_secs(1));
    let error = refusal(settings.clone()).await;
    assert!(
        error.to_string().contains(&format!(
            "by way of the bastion: `127.0.0.1:{}` refused a connection to `127.0.0.1:{}`: the connection failed",
            bastion.port, settings.port
        )),
        "{error}"
    );
    settings.route =
        way(bastion.port, Login { keys: vec![file(&bastion.path("stranger"))], ..login.clone() });
    let error = refusal(settings.clone()).await;
    assert!(error.to_string().starts_with("by way of the bastion: `root` cannot log in to "), "{error}");
    assert!(error.hint().unwrap().contains("`ssh_bastion_username`"), "{:?}", error.hint());
    settings.route = way(free_port(), login);
    let error = refusal(settings).await;
    assert!(error.to_string().contains("by way of the bastion: `127.0.0.1:"), "{error}");
}

struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_socks_proxy_is_gone_through() {
    let (Some(server), Some(other)) = (Server::start(), Server::start()) else { return };
    if !have(&["ssh"]) {
        return;
    }
    other.connect().await.disconnect().await;
    let port = free_port();
    let child = Command::new("ssh")
        .args(["-F", "none", "-N", "-D", &format!("127.0.0.1:{port}"), "-p", &other.port.to_string()])
        .args([
            "-i",
            &other.path("user"),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "IdentityAgent=none", "root@127.0.0.1"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _client = Client(child);
    let mut settings = server.settings();
    settings.route = Route::Proxy(Proxy { host: "127.0.0.1".to_owned(), port, login: None });
    let connection = connect(settings.clone()).await.unwrap();
    assert_eq!(says(&connection, "echo in").await, "in");
    settings.port = free_port();
    settings.patience.timeout = Some(Duration::from_secs(1));
    let error = refusal(settings).await;
    let text = format!("the socks proxy `127.0.0.1:{port}` does not lead to `127.0.0.1:");
    assert!(error.to_string().contains(&text), "{error}");
}

#[tokio::test]
async fn tunnels_lead_both_ways() {
    let Some(server) = Server::start() else { return };
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let echo_port = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = echo.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            });
        }
    });
    let mut settings = server.settings();
    settings.local_tunnels = vec![format!("0:127.0.0.1:{echo_port}").parse().unwrap()];
    settings.remote_tunnels = vec![format!("0:localhost:{echo_port}").parse().unwrap()];
    let connection = connect(settings.clone()).await.unwrap();
    let [local] = connection.local_tunnels() else { panic!() };
    let remote = connection.remote_tunnels().await.unwrap();
    assert!(local.ip().is_loopback());
    for port in [local.port(), remote[0]] {
        for round in 0..3 {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let sent = format!("{round} there and back");
            stream.write_all(sent.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut back = String::new();
            stream.read_to_string(&mut back).await.unwrap();
            assert_eq!(back, sent);
        }
    }
    // A local tunnel goes on over the next connection.
    connection.reconnect().await.unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", local.port())).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');

    settings.local_tunnels = vec![format!("{}:localhost:1", local.port()).parse().unwrap()];
    let error = refusal(settings).await;
    assert!(
        error
            .to_string()
            .starts_with(&format!("the tunnel `{}:localhost:1` cannot be opened: ", local.port()))
    );
}

#[tokio::test]
async fn signs_of_life_and_limits() {
    let Some(server) = Server::start() else { return };
    let mut settings = server.settings();
    settings.keep_alive = Some(Duration::from_millis(200));
    settings.read_write_timeout = Some(Duration::from_secs(1));
    let connection = connect(settings.clone()).await.unwrap();
    // Signs of life are answered, so that the limit is not met.
    assert_eq!(says(&connection, "sleep 2; echo on").await, "on");
    settings.keep_alive = None;
    let connection = connect(settings).await.unwrap();
    let error = connection.exec("sleep 3", Stdin::Empty, &mut |_, _| {}).await.unwrap_err();
    assert!(error.to_string().contains("(`ssh_read_write_timeout`)"), "{error}");
}
