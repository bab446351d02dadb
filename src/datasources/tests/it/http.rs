use std::net::SocketAddr;
use std::time::Duration;

use imgbuild_datasources::{DataSource, Http, HttpLimits, Output};
use imgbuild_model::{Class, Diagnostic};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::object;

/// Answers one request with these bytes, and then closes the connection or waits for the other side to do so. What was
/// asked comes out.
async fn serve(answer: impl Into<Vec<u8>>, close: bool) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.into();
    let served = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !is_whole(&asked) {
            assert!(connection.read_buf(&mut asked).await.unwrap() > 0);
        }
        connection.write_all(&answer).await.unwrap();
        if close {
            connection.shutdown().await.unwrap();
        }
        // Whether the other side closes or resets is its own matter.
        let _ = connection.read_to_end(&mut Vec::new()).await;
        String::from_utf8(asked).unwrap()
    });
    (address, served)
}

fn is_whole(asked: &[u8]) -> bool {
    let text = String::from_utf8_lossy(asked).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn http(limits: HttpLimits) -> Http {
    Http::new(reqwest::Client::builder().no_proxy().build().unwrap(), limits)
}

async fn read(input: Value) -> Result<Output, Diagnostic> {
    http(HttpLimits::default()).read(&object(input)).await
}

#[tokio::test]
async fn an_answer_has_its_address_body_and_headers() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-many: a\r\nX-Many: b\r\netag: \"1\"\r\n\
                  Connection: close\r\nContent-Length: 9\r\n\r\n{\"a\": 1}\n";
    let (address, served) = serve(answer, true).await;
    let url = format!("http://{address}/x?y=1");
    let output = read(json!({"url": url, "method": null})).await.unwrap();
    assert_eq!(output.warnings, []);
    assert_eq!(
        Value::Object(output.values),
        json!({
            "url": url, "body": "{\"a\": 1}\n",
            "request_headers": {
                "Connection": "close", "Content-Length": "9", "Content-Type": "application/json",
                "Etag": "\"1\"", "X-Many": "a, b",
            },
        })
    );
    assert!(served.await.unwrap().starts_with("GET /x?y=1 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn method_headers_and_body_are_sent() {
    let (address, served) =
        serve("HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n", true).await;
    let input = json!({
        "url": format!("http://{address}/"), "method": "POST", "request_body": "sent",
        "request_headers": {"Authorization": "Bearer hunter2", "X-Own": "é"},
    });
    assert_eq!(read(input).await.unwrap().values["body"], "");
    let asked = served.await.unwrap();
    assert!(asked.starts_with("POST / HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: Bearer hunter2\r\n") && asked.contains("x-own: é\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\nsent"), "{asked}");
}

#[tokio::test]
async fn other_answers_than_success_are_errors() {
    for (status, hinted) in
        [("404 Not Found", false), ("401 Unauthorized", true), ("500 Internal Server Error", false)]
    {
        let (address, _) = serve(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"), true).await;
        let error =
            read(json!({"url": format!("http://me:hunter2@{address}/x?token=hunter2")})).await.unwrap_err();
        assert_eq!(error.message, format!("`http://{address}/x` answered {status}"));
        assert_eq!((error.class, error.hint.is_some()), (Class::Remote, hinted));
    }
}

#[tokio::test]
async fn what_may_be_no_text_is_a_warning() {
    let warnings = async |head: &str, body: &[u8]| {
        let mut answer =
            format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        let (address, _) = serve(answer, true).await;
        let output = read(json!({"url": format!("http://{address}/f")})).await.unwrap();
        let said: Vec<String> = output
            .warnings
            .into_iter()
            .map(|warning| {
                assert!(warning.hint.is_some() && warning.severity == imgbuild_model::Severity::Warning);
                warning.message.replace(&address.to_string(), "host")
            })
            .collect();
        (output.values["body"].as_str().unwrap().to_owned(), said)
    };
    assert_eq!(
        warnings("", b"x").await,
        ("x".to_owned(), vec!["`http://host/f` sent no type, which is not known to be text".to_owned()])
    );
    assert_eq!(
        warnings("Content-Type: application/octet-stream\r\n", b"\xffx").await,
        (
            "\u{fffd}x".to_owned(),
            vec![
                "`http://host/f` sent the type `application/octet-stream`, which is not known to be text"
                    .to_owned(),
                "what `http://host/f` sent is not UTF-8".to_owned(),
            ]
        )
    );
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_up() {
    let limits = HttpLimits { silence: Duration::from_millis(200), ..HttpLimits::default() };
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nhalf"] {
        let (address, _served) = serve(answer, false).await;
        let input = object(json!({"url": format!("http://{address}/")}));
        let error = http(limits).read(&input).await.unwrap_err();
        assert_eq!(error.message, format!("`http://{address}/` was silent for 0.2 s"));
        assert_eq!(error.hint.as_deref(), Some("check the address and the network"));
    }
    let limits = HttpLimits { total: Duration::from_millis(200), ..HttpLimits::default() };
    let (address, _served) = serve("HTTP/1.1 200 OK\r\n", false).await;
    let input = object(json!({"url": format!("http://{address}/")}));
    let error = http(limits).read(&input).await.unwrap_err();
    assert_eq!(error.message, format!("`http://{address}/` took longer than 0.2 s"));
}

#[tokio::test]
async fn a_server_that_sends_too_much_breaks_off_or_is_not_there_is_told() {
    let limits = HttpLimits { size: 4, ..HttpLimits::default() };
    let (address, _) =
        serve("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n12345", true).await;
    let input = object(json!({"url": format!("http://{address}/")}));
    let error = http(limits).read(&input).await.unwrap_err();
    assert_eq!(error.message, format!("`http://{address}/` sends more than 4 bytes"));

    let (address, _) =
        serve("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\n12345", true).await;
    let error = read(json!({"url": format!("http://{address}/")})).await.unwrap_err();
    assert!(error.message.starts_with(&format!("cannot read `http://{address}/`: ")), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = read(json!({"url": format!("http://{address}/")})).await.unwrap_err();
    assert!(
        error.message.starts_with(&format!("cannot read `http://{address}/`: Connection refused")),
        "{error}"
    );
}

#[tokio::test]
async fn attributes_that_cannot_be_are_told_without_their_secrets() {
    for (input, message, hint) in [
        (
            json!({"url": "hunter2"}),
            "`url` is no address: relative URL without a base",
            "write `https://host/path`",
        ),
        (json!({"url": "ftp://hunter2@x/"}), "`url` has the scheme `ftp`", "write `https://host/path`"),
        (
            json!({"url": "http://x", "method": "get"}),
            "`method` is `get`, which is none",
            "did you mean `GET`?",
        ),
        (
            json!({"url": "http://x", "method": "TRACE"}),
            "`method` is `TRACE`, which is none",
            "there are `HEAD`, `GET`, `POST`",
        ),
        (
            json!({"url": "http://x", "request_headers": {"A B": "hunter2"}}),
            "`request_headers` has no name of a header for `A B`",
            "a name is made of letters",
        ),
        (
            json!({"url": "http://x", "request_headers": {"A": "hunter2\n"}}),
            "`request_headers` has no value of a header for `A`",
            "a name is made of letters",
        ),
    ] {
        let error = read(input).await.unwrap_err();
        assert_eq!(error.message, message);
        assert!(error.hint.clone().unwrap().starts_with(hint), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
