//! Keys of each kind, certificates, the agent, and what is said when they are refused.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use imgbuild_model::Secret;
use imgbuild_ssh::{Error, HostKeys, Key, KeySource, Login, connect};

use crate::server::{Server, file, have, refusal, run, says};

fn authorize(server: &Server, public: &str) {
    let keys = fs_err::read_to_string(server.path("authorized_keys")).unwrap();
    let more = fs_err::read_to_string(public).unwrap();
    fs_err::write(server.path("authorized_keys"), format!("{keys}{more}")).unwrap();
}

#[tokio::test]
async fn keys_of_each_kind_log_in() {
    let Some(server) = Server::start() else { return };
    for (name, arguments) in [
        ("ed25519", &["-t", "ed25519"][..]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
        ("p521", &["-t", "ecdsa", "-b", "521"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("rsa_pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
        ("rsa_pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
        ("p256_pkcs8", &["-t", "ecdsa", "-b", "256", "-m", "PKCS8"]),
        ("p256_pem", &["-t", "ecdsa", "-b", "256", "-m", "PEM"]),
    ] {
        let path = server.path(name);
        run("ssh-keygen", &[&["-q", "-N", "", "-f", &path], arguments].concat());
        authorize(&server, &format!("{path}.pub"));
        let login = Login { keys: vec![file(&path)], ..server.login() };
        let connection =
            connect(server.settings_of(login)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(says(&connection, "echo in").await, "in", "{name}");
    }
    let text = Secret::new(fs_err::read(server.path("rsa")).unwrap());
    let login =
        Login { keys: vec![Key { private: KeySource::Text(text), certificate: None }], ..server.login() };
    connect(server.settings_of(login)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_logs_in() {
    let Some(mut server) = Server::start() else { return };
    let (authority, key) = (server.path("authority"), server.path("certified"));
    for (path, kind) in [(&authority, "ed25519"), (&key, "rsa")] {
        run("ssh-keygen", &["-q", "-t", kind, "-N", "", "-f", path]);
    }
    run("ssh-keygen", &["-q", "-s", &authority, "-I", "build", "-n", &server.user, &format!("{key}.pub")]);
    server.down();
    fs_err::write(server.path("authorized_keys"), "").unwrap();
    let mut server = server;
    let config = format!("TrustedUserCAKeys {authority}.pub\n");
    server = restart_with(server, &config);
    let certificate = format!("{key}-cert.pub");
    let with = |private: &str| Key {
        private: KeySource::File(private.into()),
        certificate: Some((&certificate).into()),
    };
    let login = Login { keys: vec![with(&key)], ..server.login() };
    let connection = connect(server.settings_of(login)).await.unwrap();
    assert_eq!(says(&connection, "echo in").await, "in");

    let error =
        refusal(server.settings_of(Login { keys: vec![with(&server.path("user"))], ..server.login() })).await;
    assert_eq!(
        error.to_string(),
        format!("the certificate `{certificate}` cannot be used: it is of another key")
    );
}

fn restart_with(mut server: Server, config: &str) -> Server {
    server.set_extra(config);
    server.up();
    server
}

struct Agent(Child);

impl Agent {
    fn start(socket: &str) -> Self {
        let child =
            Command::new("ssh-agent").args(["-D", "-a", socket]).stdout(Stdio::null()).spawn().unwrap();
        while !std::path::Path::new(socket).exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn add(socket: &str, key: &str) {
    let added = Command::new("ssh-add").args(["-q", key]).env("SSH_AUTH_SOCK", socket).status().unwrap();
    assert!(added.success());
}

#[tokio::test]
async fn an_agent_logs_in_and_is_forwarded_if_told_to() {
    let Some(server) = Server::start() else { return };
    if !have(&["ssh-agent", "ssh-add"]) {
        return;
    }
    let socket = server.path("agent");
    let _agent = Agent::start(&socket);
    let login = || Login { agent: Some((&socket).into()), ..server.login() };
    let error = refusal(server.settings_of(login())).await;
    assert!(error.to_string().ends_with("the server refused the agent, which has no keys"), "{error}");

    let rsa = server.path("rsa");
    run("ssh-keygen", &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", &rsa]);
    authorize(&server, &format!("{rsa}.pub"));
    add(&socket, &server.path("stranger"));
    add(&socket, &rsa);
    let connection = connect(server.settings_of(login())).await.unwrap();
    assert_eq!(says(&connection, "echo \"[$SSH_AUTH_SOCK]\"").await, "[]");

    let mut settings = server.settings_of(login());
    settings.forward_agent = Some((&socket).into());
    let connection = connect(settings).await.unwrap();
    assert_eq!(says(&connection, "ssh-add -l | wc -l").await, "2");

    let login = Login { agent: Some("/nowhere/agent".into()), ..server.login() };
    let error = refusal(server.settings_of(login)).await;
    assert!(error.to_string().starts_with("the ssh agent at `/nowhere/agent` cannot be used: "), "{error}");
}

#[tokio::test]
async fn a_wrong_key_is_named() {
    let Some(server) = Server::start() else { return };
    let stranger = server.path("stranger");
    let login =
        Login { keys: vec![file(&stranger)], password: Some(Secret::new("hunter2")), ..server.login() };
    let error = refusal(server.settings_of(login)).await;
    let text = error.to_string();
    assert!(text.starts_with(&format!("`root` cannot log in to `127.0.0.1:{}`: the server refused the key `{stranger}` (ssh-ed25519 SHA256:", server.port)), "{text}");
    assert!(!format!("{error:?}{text}").contains("hunter2"));
    assert!(error.hint().unwrap().contains("check `ssh_username`"));
    let Error::Denied { offered, .. } = error else { panic!("{text}") };
    assert_eq!(offered, ["publickey", "keyboard-interactive"][..offered.len()]);

    let login = Login {
        username: "nobody-of-that-name".to_owned(),
        keys: vec![file(&server.path("user"))],
        ..Login::default()
    };
    let error = refusal(server.settings_of(login)).await;
    assert!(error.to_string().starts_with("`nobody-of-that-name` cannot log in"), "{error}");
}

#[tokio::test]
async fn too_many_keys_are_named() {
    let Some(server) = Server::start_with("MaxAuthTries 2\n") else { return };
    let stranger = file(&server.path("stranger"));
    let keys = vec![stranger.clone(), stranger.clone(), stranger, file(&server.path("user"))];
    let error = refusal(server.settings_of(Login { keys, ..server.login() })).await;
    assert!(matches!(error, Error::Denied { hung_up: true, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("MaxAuthTries"));
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_named() {
    if !have(&["ssh-keygen"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, arguments) in [
        ("openssh", &["-t", "ed25519"][..]),
        ("pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
        ("pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
    ] {
        run("ssh-keygen", &[&["-q", "-N", "secret", "-f", &path(name)], arguments].concat());
        let error = Login { keys: vec![file(&path(name))], ..Login::default() }.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the private key `{}` is encrypted with a passphrase", path(name))
        );
        assert!(error.hint().unwrap().contains("ssh-add"));
    }
    fs_err::write(path("empty"), "\n").unwrap();
    fs_err::write(
        path("broken"),
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    )
    .unwrap();
    for (name, reason) in [
        ("openssh.pub", "it is not a private key"),
        ("empty", "it is empty"),
        ("missing", "no such file or directory"),
        ("broken", ""),
    ] {
        let error = Login { keys: vec![file(&path(name))], ..Login::default() }.check().unwrap_err();
        let start = format!("the private key `{}` cannot be read: {reason}", path(name));
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}

#[tokio::test]
async fn host_keys_are_checked() {
    let Some(server) = Server::start() else { return };
    let stranger = fs_err::read_to_string(server.path("stranger.pub")).unwrap().parse().unwrap();
    let mut settings = server.settings();
    settings.host_keys = HostKeys::Pinned(vec![stranger]);
    let error = refusal(settings.clone()).await;
    let print = |name: &str| {
        let said = run("ssh-keygen", &["-l", "-f", &server.path(name)]);
        said.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(
        error.to_string(),
        format!(
            "the host key of `127.0.0.1:{}` is ssh-ed25519 {}, which is not ssh-ed25519 {}",
            server.port,
            print("host.pub"),
            print("stranger.pub")
        )
    );
    // A pinned key of another kind than the server would show first.
    let ecdsa = fs_err::read_to_string(server.path("host_ecdsa.pub")).unwrap();
    settings.host_keys = HostKeys::Pinned(vec![ecdsa.parse().unwrap()]);
    connect(settings.clone()).await.unwrap();

    let known = server.path("known_hosts");
    settings.host_keys = HostKeys::KnownHosts((&known).into());
    let error = refusal(settings.clone()).await;
    assert!(
        error.to_string().starts_with(&format!("the known hosts in `{known}` cannot be read")),
        "{error}"
    );
    fs_err::write(&known, "").unwrap();
    let error = refusal(settings.clone()).await;
    assert!(error.to_string().ends_with(&format!("is not in `{known}`")), "{error}");
    fs_err::write(&known, format!("[127.0.0.1]:{} {ecdsa}", server.port)).unwrap();
    connect(settings.clone()).await.unwrap();
    run("ssh-keygen", &["-q", "-H", "-f", &known]);
    connect(settings.clone()).await.unwrap();
    let host = fs_err::read_to_string(server.path("host.pub")).unwrap();
    fs_err::write(&known, format!("@revoked * {host}")).unwrap();
    let error = refusal(settings.clone()).await;
    assert!(error.to_string().ends_with(&format!("is revoked in `{known}`")), "{error}");
    settings.host_keys = HostKeys::AcceptAny;
    connect(settings).await.unwrap();
}

#[tokio::test]
async fn an_authority_vouches_for_a_host() {
    let Some(mut server) = Server::start() else { return };
    let authority = server.path("authority");
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &authority]);
    run(
        "ssh-keygen",
        &["-q", "-s", &authority, "-h", "-I", "host", "-n", "127.0.0.1", &server.path("host.pub")],
    );
    server.down();
    server.set_extra("HostCertificate FOLDER/host-cert.pub\n");
    server.up();
    let known = server.path("known_hosts");
    let mut settings = server.settings();
    settings.host_keys = HostKeys::KnownHosts((&known).into());
    let public = fs_err::read_to_string(format!("{authority}.pub")).unwrap();
    fs_err::write(&known, format!("@cert-authority [127.*]:{} {public}", server.port)).unwrap();
    connect(settings.clone()).await.unwrap();
    let stranger = fs_err::read_to_string(server.path("stranger.pub")).unwrap();
    fs_err::write(&known, format!("@cert-authority * {stranger}")).unwrap();
    assert!(matches!(refusal(settings.clone()).await, Error::HostKeyDiffers { .. }));
    fs_err::write(&known, format!("@cert-authority * {public}\n@revoked * {public}")).unwrap();
    assert!(matches!(refusal(settings).await, Error::HostKeyRevoked { .. }));
}
