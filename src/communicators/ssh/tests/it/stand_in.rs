//! A small server of the library's own, for passwords and questions: OpenSSH's would need an account for them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use imgbuild_model::Secret;
use imgbuild_ssh::{Ask, Error, HostKeys, Login, Patience, Settings, TransferMethod, connect};
use russh::keys::key::safe_rng;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Response, Session};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use russh_sftp::protocol::{File, FileAttributes, Handle, Name, StatusCode};
use tokio::net::TcpListener;

use crate::server::{refusal, says};

#[derive(Clone, Default)]
struct StandIn {
    /// What each command writes.
    says: &'static [u8],
    /// The one file that each folder has over SFTP.
    file: &'static str,
    channels: Arc<Mutex<HashMap<ChannelId, Channel<Msg>>>>,
    takes_passwords: bool,
    questions: &'static [&'static str],
    answers: &'static [&'static str],
}

impl server::Handler for StandIn {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(if self.takes_passwords && (user, password) == ("me", "correct horse") {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(response) = response else {
            let prompts: Vec<_> = self.questions.iter().map(|&one| (Cow::Borrowed(one), false)).collect();
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts: prompts.into() });
        };
        let given: Vec<_> = response.map(|one| String::from_utf8_lossy(&one).into_owned()).collect();
        Ok(if given == self.answers { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.lock().unwrap().insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name != "sftp" || self.file.is_empty() {
            return session.channel_failure(channel);
        }
        session.channel_success(channel)?;
        let stream = self.channels.lock().unwrap().remove(&channel).unwrap().into_stream();
        tokio::spawn(russh_sftp::server::run(stream, Folder { file: self.file, listed: false }));
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        session.data(channel, self.says.to_vec())?;
        session.exit_status_request(channel, 0)?;
        session.close(channel)
    }
}

/// A machine on which each folder has one file.
struct Folder {
    file: &'static str,
    listed: bool,
}

impl russh_sftp::server::Handler for Folder {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::OpUnsupported
    }

    async fn opendir(&mut self, id: u32, _: String) -> Result<Handle, StatusCode> {
        self.listed = false;
        Ok(Handle { id, handle: "folder".to_owned() })
    }

    async fn readdir(&mut self, id: u32, _: String) -> Result<Name, StatusCode> {
        if std::mem::replace(&mut self.listed, true) {
            return Err(StatusCode::Eof);
        }
        let attributes =
            FileAttributes { permissions: Some(0o100_644), size: Some(4), ..FileAttributes::default() };
        Ok(Name { id, files: vec![File::new(self.file, attributes)] })
    }
}

fn passwords(says: &'static [u8]) -> StandIn {
    StandIn { says, takes_passwords: true, ..StandIn::default() }
}

async fn start(method: MethodKind, server: StandIn) -> u16 {
    let config = Arc::new(server::Config {
        keys: vec![PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap()],
        methods: MethodSet::from(&[method][..]),
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..server::Config::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let running = server::run_stream(config.clone(), stream, server.clone()).await;
            tokio::spawn(async move { running.unwrap().await });
        }
    });
    port
}

fn settings(port: u16, login: Login) -> Settings {
    let login = Login { username: "me".to_owned(), ..login };
    let mut settings = Settings::new("127.0.0.1", port, login, HostKeys::AcceptAny);
    settings.patience = Patience { timeout: Some(Duration::from_secs(10)), attempts: Some(2) };
    settings.waits.after_denial = Duration::from_millis(10);
    settings
}

fn password(text: &str) -> Login {
    Login { password: Some(Secret::new(text)), ..Login::default() }
}

#[tokio::test]
async fn a_password_logs_in() {
    let port = start(MethodKind::Password, passwords(b"here")).await;
    let connection = connect(settings(port, password("correct horse"))).await.unwrap();
    assert_eq!(says(&connection, "x").await, "here");
    let error = refusal(settings(port, password("wrong"))).await;
    assert_eq!(
        error.to_string(),
        format!("`me` cannot log in to `127.0.0.1:{port}`: the server refused the password")
    );
}

#[tokio::test]
async fn the_password_answers_questions() {
    let server = StandIn {
        says: b"here",
        takes_passwords: false,
        questions: &["Password: ", "Again: "],
        answers: &["correct horse", "correct horse"],
        ..StandIn::default()
    };
    let port = start(MethodKind::KeyboardInteractive, server).await;
    let connection = connect(settings(port, password("correct horse"))).await.unwrap();
    assert_eq!(says(&connection, "x").await, "here");
    let error = refusal(settings(port, password("wrong"))).await;
    assert!(error.to_string().ends_with("the server refused the password, keyboard-interactive"), "{error}");
}

struct Person;

impl Ask for Person {
    fn ask<'a>(&'a self, question: &'a str, echo: bool) -> BoxFuture<'a, Option<Secret>> {
        assert!(!echo);
        let answer = match question {
            "Password: " => Some(Secret::new("hunter2")),
            "Token: " => Some(Secret::new("123456")),
            _ => None,
        };
        Box::pin(async { answer })
    }
}

#[tokio::test]
async fn a_person_answers_questions() {
    let server = StandIn {
        says: b"here",
        takes_passwords: false,
        questions: &["Password: ", "Token: "],
        answers: &["hunter2", "123456"],
        ..StandIn::default()
    };
    let port = start(MethodKind::KeyboardInteractive, server).await;
    let login = || Login { ask: Some(Arc::new(Person)), ..Login::default() };
    connect(settings(port, login())).await.unwrap();
    let port = start(
        MethodKind::KeyboardInteractive,
        StandIn {
            says: b"here",
            takes_passwords: false,
            questions: &["Who? "],
            answers: &["me"],
            ..StandIn::default()
        },
    )
    .await;
    let error = refusal(settings(port, login())).await;
    assert!(
        error.to_string().ends_with("the server refused keyboard-interactive, which nobody answered"),
        "{error}"
    );
}

#[tokio::test]
async fn log_ins_are_tried_as_often_as_is_said() {
    let port =
        start(MethodKind::PublicKey, StandIn { says: b"here", takes_passwords: false, ..StandIn::default() })
            .await;
    let error = refusal(settings(port, password("correct horse"))).await;
    assert!(error.hint().unwrap().contains("takes no passwords"), "{error}: {:?}", error.hint());
    let error = refusal(settings(port, Login::default())).await;
    assert_eq!(error.to_string(), format!("there is nothing to log in to `127.0.0.1:{port}` with"));
}

#[tokio::test]
async fn names_that_lead_out_of_the_folder_are_refused() {
    let hostile = ["../evil", "..", ".", "/tmp/evil", "sub/evil", ""];
    for name in hostile {
        let whole = |kind: &str| -> &'static [u8] {
            format!("D0755 0 top\n{kind}0755 4 {name}\nevil\0E\nE\n").into_bytes().leak()
        };
        for (says, file) in [(whole("C"), ""), (whole("D"), ""), (&b""[..], name)] {
            let server = StandIn { file, ..passwords(says) };
            let port = start(MethodKind::Password, server).await;
            let mut settings = settings(port, password("correct horse"));
            settings.transfer = if says.is_empty() { TransferMethod::Sftp } else { TransferMethod::Scp };
            if says.is_empty() && matches!(name, "" | "." | "..") {
                continue;
            }
            let connection = connect(settings).await.unwrap();
            let folder = tempfile::tempdir().unwrap();
            let to = folder.path().join("a/b");
            fs_err::create_dir_all(&to).unwrap();
            let error = connection.download_folder("/x", &to).await.unwrap_err();
            assert_eq!(error, Error::HostileName(name.to_owned()));
            let found = walkdir::WalkDir::new(folder.path()).into_iter().count();
            assert_eq!(found, 3, "{name}");
        }
    }
}

#[tokio::test]
async fn what_scp_may_not_say_ends_the_download() {
    for says in [
        &b"C0644 4 a\nevil\0"[..],
        b"D0755 0 a\nE\nD0755 0 b\n",
        b"E\n",
        b"nonsense\n",
        b"D0755 0 a\nC0644 -1 a\n",
        b"D0755 0 a\nC0644 99999999999999999999 a\n",
        b"D0755 0 a\nC0644 100 a\nshort",
        b"D0755 0 a\nC0644",
        b"\x01scp: /x: no such thing\n",
    ] {
        let port = start(MethodKind::Password, passwords(says)).await;
        let connection = connect(settings(port, password("correct horse"))).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let error = connection.download_folder("/x", &folder.path().join("x")).await.unwrap_err();
        assert!(matches!(error, Error::Remote { .. }), "{says:?} {error:?}");
        let files = walkdir::WalkDir::new(folder.path())
            .into_iter()
            .filter(|one| one.as_ref().unwrap().file_type().is_file());
        assert_eq!(files.count(), 0, "{says:?}");
    }
}
