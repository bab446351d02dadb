//! An HTTP server on loopback. A thread per connection and no runtime, so that every kind of test can use it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// For example `GET /v1/secret/data/db`.
    pub line: String,
    /// By their names in small letters.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// A header, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }
}

/// What is answered: status, header lines, body. `None` closes the connection.
type Answer = Option<(u16, String)>;

/// A server that answers what a function says, and remembers what it was asked.
pub struct StandIn {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl StandIn {
    /// Serves until the process ends.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let answer = Arc::new(answer);
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                // Whether the other side waits for the answer is its own matter.
                std::thread::spawn(move || drop(serve(connection, &seen, &*answer)));
            }
        });
        Self { address, requests }
    }

    /// A server of Vault's with one secret in both versions of the key-value store, for who has the token `s.token`:
    /// `password` of `secret/data/db` and of `kv/db` is `hunter2-from-vault`.
    #[must_use]
    pub fn vault() -> Self {
        Self::start(|request| {
            let fields = r#"{"user": "ada", "password": "hunter2-from-vault", "port": 5432}"#;
            Some(match request.line.as_str() {
                _ if request.header("x-vault-token") != "s.token" => {
                    (403, r#"{"errors": ["1 error occurred:\n\t* permission denied\n\n"]}"#.to_owned())
                }
                "GET /v1/secret/data/db" => {
                    (200, format!("{{\"data\": {{\"data\": {fields}, \"metadata\": {{\"version\": 3}}}}}}"))
                }
                "GET /v1/kv/db" => (200, format!("{{\"data\": {fields}}}")),
                "GET /v1/secret/data/gone" => (404, r#"{"data": {"data": null, "metadata": {}}}"#.to_owned()),
                "GET /v1/sealed" => (503, r#"{"errors": ["Vault is sealed"]}"#.to_owned()),
                "GET /v1/moved" => (307, "location: /v1/kv/db".to_owned()),
                _ => (404, r#"{"errors": []}"#.to_owned()),
            })
        })
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(
    mut connection: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> Answer,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let request = Request { line, headers };
    let mut body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body)?;
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let Some((status, text)) = answer(&request) else { return Ok(()) };
    let (location, text) = match text.strip_prefix("location: ") {
        Some(to) => (format!("Location: {to}\r\n"), ""),
        None => (String::new(), text.as_str()),
    };
    write!(
        connection,
        "HTTP/1.1 {status} Said\r\n{location}Content-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
}
