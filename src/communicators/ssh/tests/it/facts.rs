//! What a connection tells other programs, and machines that are started anew by a session.

use std::path::Path;
use std::time::Duration;

use imgbuild_engine::{Reboot, Session, Via};
use imgbuild_ssh::{Bastion, HostKeys, Login, Route, SshSession, connect};

use crate::server::{Server, file, have, run};

#[tokio::test]
async fn another_program_logs_in_with_the_facts_of_a_connection() {
    if !have(&["ssh"]) {
        return;
    }
    let (Some(server), Some(bastion)) = (Server::start(), Server::start()) else { return };
    let mut settings = server.settings();
    // Whoever answers is believed, and the others are to hold it to that key.
    settings.host_keys = HostKeys::AcceptAny;
    settings.route = Route::Bastion(Box::new(Bastion {
        host: "127.0.0.1".to_owned(),
        port: bastion.port,
        login: Login { keys: vec![file(&bastion.path("user"))], ..bastion.login() },
        host_keys: HostKeys::Pinned(vec![bastion.host_key()]),
    }));
    let mut session = SshSession::new(connect(settings).await.unwrap());
    let early = server.path("early");
    let line = format!("echo early >'{early}'");
    session.ssh().owe(move || line.clone()).await;
    let facts = session.connection().await.unwrap().unwrap();
    assert!(Path::new(&early).exists(), "others come to a machine that is ready");
    assert_eq!((&*facts.host, facts.port, &*facts.user), ("127.0.0.1", server.port, "root"));
    let Some(Via::Bastion(way)) = &facts.via else { panic!("{facts:?}") };
    assert_eq!((way.port, way.keys.len(), way.host_keys.len()), (bastion.port, 1, 1));
    assert!(!format!("{facts:?}").contains("PRIVATE KEY"));

    let path = |name: &str| server.path(name);
    let lines: Vec<_> = facts.host_keys.iter().map(|key| format!("machine {key}\n")).collect();
    assert_eq!(lines.len(), 1);
    fs_err::write(path("known"), lines.concat()).unwrap();
    fs_err::write(path("identity"), facts.keys[0].text.expose()).unwrap();
    run("chmod", &["600", &path("identity")]);
    let known = format!("UserKnownHostsFile={}", path("known"));
    let port = facts.port.to_string();
    let mut arguments = vec!["-F", "none", "-p", &port, "-o", "HostKeyAlias=machine", "-o", &known];
    let identity = path("identity");
    arguments.extend(["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-i", &identity]);
    arguments.extend(["root@127.0.0.1", "echo in"]);
    assert_eq!(run("ssh", &arguments), "in\n");
}

#[tokio::test]
async fn a_machine_that_does_not_start_anew_is_an_error() {
    let Some(server) = Server::start() else { return };
    let mut session = SshSession::new(server.connect().await);
    let mut reboot = async |command: &str| {
        let limit = Duration::from_millis(1500);
        session.reboot(&Reboot { command: Some(command.to_owned()), limit }).await.map_err(|e| e.to_string())
    };
    let refused = reboot("echo no such thing >&2; exit 3").await.unwrap_err();
    let expected = "`echo no such thing >&2; exit 3` did not start the machine anew: no such thing";
    assert!(refused.starts_with(expected), "{refused}");
    // Only the boot id tells: a connection that was cut is no other start.
    let cut = reboot("kill -9 $PPID; sleep 5").await.unwrap_err();
    assert!(cut.starts_with("the machine did not reboot within 1.5 s"), "{cut}");
}

#[tokio::test]
async fn a_machine_that_started_anew_is_waited_for() {
    if !have(&["unshare", "mount"]) {
        return;
    }
    // Every command sees a boot id that can be changed.
    let Some(server) = Server::start_with("ForceCommand FOLDER/wrap") else { return };
    let (wrap, boot) = (server.path("wrap"), server.path("boot"));
    let script = format!(
        "#!/bin/sh\nexec unshare -m sh -c 'mount --bind {boot} /proc/sys/kernel/random/boot_id && exec sh -c \"$SSH_ORIGINAL_COMMAND\"'\n"
    );
    fs_err::write(&boot, "first\n").unwrap();
    fs_err::write(&wrap, script).unwrap();
    run("chmod", &["755", &wrap]);
    let connection = server.connect().await;
    match connection.boot_id().await.unwrap() {
        Some(id) => assert_eq!(id, "first"),
        None => return eprintln!("SKIPPED: nothing can be mounted here"),
    }
    let mut session = SshSession::new(connection);
    let limit = Duration::from_secs(20);
    let command = format!("(sleep 1; echo second > {boot}) & kill -9 $PPID; sleep 5");
    let began = std::time::Instant::now();
    session.reboot(&Reboot { command: Some(command), limit }).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "not before it is another");
    assert_eq!(session.ssh().boot_id().await.unwrap().as_deref(), Some("second"));
}
