//! The protocol against a QEMU that says what a test tells it.

use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::*;

const HELLO: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "Debian 1:10.0.2+ds"}, "capabilities": ["oob"]}}"#;
const SOON: Duration = Duration::from_secs(5);

struct Fake {
    stream: BufReader<DuplexStream>,
}

impl Fake {
    async fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        serde_json::from_slice(&read_line(&mut self.stream).await.unwrap().unwrap()).unwrap()
    }

    async fn agree(&mut self) {
        self.say(HELLO).await;
        let heard = self.hear().await;
        assert_eq!(heard["execute"], "qmp_capabilities");
        self.say(&json!({"return": {}, "id": heard["id"]}).to_string()).await;
    }
}

async fn pair() -> (Qmp, Fake) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut fake = Fake { stream: BufReader::new(far) };
    let (qmp, ()) = tokio::join!(Qmp::over(near, SOON), fake.agree());
    (qmp.unwrap(), fake)
}

#[tokio::test]
async fn the_greeting_says_the_version() {
    let (qmp, _fake) = pair().await;
    let package = "Debian 1:10.0.2+ds".to_owned();
    assert_eq!(qmp.version(), &QmpVersion { major: 10, minor: 0, micro: 2, package });
}

#[tokio::test]
async fn replies_find_who_asked_and_events_come_in_between() {
    let (qmp, mut fake) = pair().await;
    let mut events = qmp.events();
    let server = async {
        let (first, second) = (fake.hear().await, fake.hear().await);
        fake.say(r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}, "timestamp": {"seconds": 7, "microseconds": 1}}"#).await;
        fake.say(&json!({"return": "second", "id": second["id"]}).to_string()).await;
        fake.say(&json!({"return": "first", "id": first["id"]}).to_string()).await;
        assert_eq!(first["arguments"], json!({"a": 1}));
        assert!(second.get("arguments").is_none());
    };
    let (first, second, ()) =
        tokio::join!(qmp.execute("one", json!({"a": 1})), qmp.execute("two", Value::Null), server);
    assert_eq!((first.unwrap(), second.unwrap()), (json!("first"), json!("second")));
    let event = events.recv().await.unwrap();
    let kind = EventKind::Shutdown { guest: true, reason: "guest-shutdown".to_owned() };
    assert_eq!(event, Event { kind, seconds: 7 });
}

#[tokio::test]
async fn a_refusal_a_silence_and_an_end_are_told_apart() {
    let (qmp, mut fake) = pair().await;
    let server = async {
        let heard = fake.hear().await;
        let error = json!({"class": "CommandNotFound", "desc": "The command foo has not been found"});
        fake.say(&json!({"error": error, "id": heard["id"]}).to_string()).await;
    };
    let (refused, ()) = tokio::join!(qmp.execute("foo", Value::Null), server);
    assert_eq!(refused.unwrap_err().to_string(), "QEMU refused `foo`: The command foo has not been found");

    let silent = qmp.execute_within("stop", Value::Null, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(silent.to_string(), "QEMU did not answer `stop` within 0.05 s");

    drop(fake);
    let closed = "QEMU closed its control socket before it answered `cont`; it has ended or is ending";
    assert_eq!(qmp.resume().await.unwrap_err().to_string(), closed);
    assert!(qmp.is_closed());
    qmp.quit().await.unwrap();
}

#[tokio::test]
async fn what_is_no_qemu_is_not_greeted() {
    let (near, mut far) = tokio::io::duplex(1 << 10);
    far.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    let error = Qmp::over(near, SOON).await.unwrap_err().to_string();
    assert!(error.starts_with("QEMU's answer to `the greeting` is not of the known form: "), "{error}");

    let (near, _far) = tokio::io::duplex(1 << 10);
    let error = Qmp::over(near, Duration::from_millis(20)).await.unwrap_err().to_string();
    assert_eq!(error, "QEMU did not answer `the greeting` within 0.02 s");
}

#[tokio::test]
async fn a_command_for_humans_that_prints_has_failed() {
    let (qmp, mut fake) = pair().await;
    let server = async {
        let heard = fake.hear().await;
        assert_eq!(heard["execute"], "migrate-set-capabilities");
        fake.say(&json!({"return": {}, "id": heard["id"]}).to_string()).await;
        let heard = fake.hear().await;
        assert_eq!(heard["arguments"]["command-line"], "savevm warm");
        let said = "Error: Device 'pflash1' is writable but does not support snapshots\r\n";
        fake.say(&json!({"return": said, "id": heard["id"]}).to_string()).await;
    };
    let (saved, ()) = tokio::join!(qmp.savevm("warm", SOON), server);
    let wanted = "QEMU refused `savevm warm`: Device 'pflash1' is writable but does not support snapshots";
    assert_eq!(saved.unwrap_err().to_string(), wanted);
}
