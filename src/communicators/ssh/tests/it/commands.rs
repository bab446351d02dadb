//! Commands: how they end, what they say and read; lost connections and new ones.

use std::time::{Duration, Instant};

use imgbuild_model::Stream;
use imgbuild_ssh::{Error, Exit, Stdin, connect, quote};

use crate::server::{Server, says};

#[tokio::test]
async fn commands_say_how_they_ended() {
    let Some(server) = Server::start() else { return };
    let connection = server.connect().await;
    let mut lines = Vec::new();
    let exit = connection
        .exec("echo out; echo err >&2; printf rest; exit 7", Stdin::Empty, &mut |stream, line| {
            lines.push((stream, line.to_owned()));
        })
        .await
        .unwrap();
    assert_eq!(exit, Exit::Code(7));
    for line in [(Stream::Stdout, "out"), (Stream::Stderr, "err"), (Stream::Stdout, "rest")] {
        assert!(lines.contains(&(line.0, line.1.to_owned())), "{lines:?}");
    }
    let exit = connection.exec("kill -TERM $$", Stdin::Empty, &mut |_, _| {}).await.unwrap();
    let Exit::Signal(signal) = exit else { panic!("{exit}") };
    assert_eq!((signal.to_string().as_str(), signal.number()), ("TERM", Some(15)));
}

#[tokio::test]
async fn commands_read() {
    let Some(server) = Server::start() else { return };
    let connection = server.connect().await;
    let mut said = Vec::new();
    let stdin = Stdin::Bytes(b"one\ntwo\n");
    connection.exec("cat -n", stdin, &mut |_, line| said.push(line.trim().to_owned())).await.unwrap();
    assert_eq!(said, ["1\tone", "2\ttwo"]);
    // More than any window, and a command that ends before it read it.
    let many = vec![b'x'; 50 << 20];
    let mut reader = &many[..];
    let mut said = String::new();
    connection
        .exec("wc -c", Stdin::Reader(&mut reader), &mut |_, line| said = line.to_owned())
        .await
        .unwrap();
    assert_eq!(said.trim(), (50 << 20).to_string());
    let exit = connection.exec("exit 3", Stdin::Bytes(&many), &mut |_, _| {}).await.unwrap();
    assert_eq!(exit, Exit::Code(3));
    assert_eq!(says(&connection, "cat; echo end").await, "end");
    let hostile = "a 'b' $(c) `d` \"e\" \\ \n f*";
    assert_eq!(says(&connection, &format!("printf %s {}", quote(hostile))).await, hostile);
}

#[tokio::test]
async fn a_terminal_is_given_if_asked_for() {
    let Some(server) = Server::start() else { return };
    let connection = server.connect().await;
    let probe = "test -t 1 && stty size && stty -a | grep -o -e '-echo ' || echo none";
    assert_eq!(says(&connection, probe).await, "none");
    let mut settings = server.settings();
    settings.pty = true;
    let connection = connect(settings).await.unwrap();
    assert_eq!(says(&connection, probe).await, "40 80\n-echo");
}

#[tokio::test]
async fn commands_run_beside_each_other() {
    let Some(server) = Server::start() else { return };
    let connection = server.connect().await;
    let begun = Instant::now();
    let all = (0..8).map(|n| {
        let connection = &connection;
        async move { says(connection, &format!("sleep 1; echo {n}")).await }
    });
    let said = futures::future::join_all(all).await;
    assert_eq!(said, (0..8).map(|n: u8| n.to_string()).collect::<Vec<_>>());
    assert!(begun.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn a_lost_connection_is_an_error_of_its_own_and_is_made_again() {
    let Some(mut server) = Server::start() else { return };
    let connection = server.connect().await;
    let first = says(&connection, "echo $PPID").await;
    assert_eq!(says(&connection, "echo $PPID").await, first);
    let running = async { connection.exec("sleep 60", Stdin::Empty, &mut |_, _| {}).await };
    let cutting = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.cut();
    };
    let (ended, ()) = tokio::join!(running, cutting);
    assert!(matches!(ended, Err(Error::Lost { .. })), "{ended:?}");
    assert!(connection.is_lost().await);
    assert_ne!(says(&connection, "echo $PPID").await, first);
    connection.reconnect().await.unwrap();
    // The server is away for a while, as in a reboot.
    server.down();
    let mut server = server;
    let up = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_secs(2));
        server.up();
        server
    });
    assert_eq!(says(&connection, "echo back").await, "back");
    drop(up.await.unwrap());
}

#[tokio::test]
async fn a_reboot_is_waited_for() {
    let Some(server) = Server::start() else { return };
    let connection = server.connect().await;
    let id = connection.boot_id().await.unwrap().unwrap();
    assert_eq!(id.len(), 36);
    connection.wait_for_reboot(Some("another"), Duration::from_secs(5)).await.unwrap();
    let error = connection.wait_for_reboot(Some(&id), Duration::from_millis(1200)).await.unwrap_err();
    assert_eq!(error.to_string(), "the machine did not reboot within 1.2 s");
    // A machine without boot ids has rebooted when its connection ended.
    server.cut();
    tokio::time::sleep(Duration::from_millis(100)).await;
    connection.wait_for_reboot(None, Duration::from_secs(5)).await.unwrap();
    connection.disconnect().await;
}

#[tokio::test]
async fn a_command_that_is_dropped_is_ended() {
    let Some(server) = Server::start() else { return };
    let connection = server.connect().await;
    let mark = server.path("ended");
    let command = format!("trap 'echo ended > {}; exit' TERM HUP; echo on; sleep 60 & wait", quote(&mark));
    let mut nothing = |_, _: &str| {};
    let running = connection.exec_with(&command, Stdin::Empty, true, &mut nothing);
    tokio::time::timeout(Duration::from_secs(1), running).await.unwrap_err();
    let begun = Instant::now();
    while !std::path::Path::new(&mark).exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said = connection.output("printf '\\377'; echo err >&2; exit 4", Stdin::Empty).await.unwrap();
    assert_eq!((said.exit, said.stdout, said.stderr.as_str()), (Exit::Code(4), vec![0xff], "err"));
}
