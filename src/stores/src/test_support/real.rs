//! Real servers: Consul's agent, and moto, which stands for AWS.
//!
//! They are found by a variable of the environment or on the path. Where there is none, tests are skipped and say so.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to be there.
const START: Duration = Duration::from_secs(60);

/// A program that ends when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An agent with access control: whoever has no token may read nothing.
pub struct ConsulAgent {
    port: u16,
    https: u16,
    folder: tempfile::TempDir,
    _running: Running,
}

impl ConsulAgent {
    /// The token that may do everything.
    pub const TOKEN: &str = "9f4c2b1e-1d9c-4d0e-8f3a-6b1f2f6f0c11";

    /// Starts an agent; `None`, with the reason printed, where there is no Consul.
    ///
    /// # Panics
    /// If Consul is there and does not run.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = program("IMGBUILD_TEST_CONSUL", "consul")?;
        let folder = tempfile::tempdir().expect("a folder");
        for words in
            [["ca", "create"].as_slice(), &["cert", "create", "-server"], &["cert", "create", "-cli"]]
        {
            let mut command = Command::new(&program);
            let made = command.arg("tls").args(words).current_dir(&folder).stdout(Stdio::null()).status();
            assert!(made.expect("it starts").success(), "`consul tls {words:?}` failed");
        }
        let [port, https, server, lan, wan] = free_ports();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let options = format!(
            "acl {{ enabled = true default_policy = \"deny\" tokens {{ master = \"{}\" }} }}\n\
             ca_file = \"{}\" cert_file = \"{}\" key_file = \"{}\" verify_incoming_https = true\n\
             ports {{ http = {port} https = {https} server = {server} serf_lan = {lan} serf_wan = {wan} dns = -1 \
             grpc = -1 }}",
            Self::TOKEN,
            path("consul-agent-ca.pem"),
            path("dc1-server-consul-0.pem"),
            path("dc1-server-consul-0-key.pem"),
        );
        let child = Command::new(&program)
            .args(["agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-hcl", &options])
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let agent = Self { port, https, folder, _running: Running(child.expect("it starts")) };
        wait("Consul", || agent.try_put("ready", "1"));
        Some(agent)
    }

    /// `127.0.0.1:port`, without encryption.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `https://127.0.0.1:port`, where clients show a certificate.
    #[must_use]
    pub fn https(&self) -> String {
        format!("https://127.0.0.1:{}", self.https)
    }

    /// A file that was made for it: `consul-agent-ca.pem`, `dc1-cli-consul-0.pem`, `dc1-cli-consul-0-key.pem`.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Gives a key a value.
    ///
    /// # Panics
    /// If the agent does not take it.
    pub fn put(&self, key: &str, value: &str) {
        assert!(self.try_put(key, value), "`{key}` cannot be written");
    }

    fn try_put(&self, key: &str, value: &str) -> bool {
        let head = format!("PUT /v1/kv/{key} HTTP/1.1\r\nX-Consul-Token: {}", Self::TOKEN);
        say(self.port, &head, value)
    }
}

/// AWS as moto knows it.
pub struct MotoServer {
    port: u16,
    _running: Running,
}

impl MotoServer {
    /// Starts moto; `None`, with the reason printed, where there is none.
    ///
    /// # Panics
    /// If it is there and does not run.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = program("IMGBUILD_TEST_MOTO", "moto_server")?;
        let [port] = free_ports();
        let mut command = Command::new(program);
        let child = command
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let running = Running(child.expect("it starts"));
        wait("moto", || say(port, "GET /moto-api/ HTTP/1.1", ""));
        Some(Self { port, _running: running })
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a secret in the region `eu-central-1`. Texts are of letters and what JSON lets stand.
    ///
    /// # Panics
    /// If moto does not take it.
    pub fn create_secret(&self, name: &str, text: &str) {
        self.create(name, "SecretString", text);
    }

    /// Makes a secret of bytes, given in base64.
    ///
    /// # Panics
    /// As [`MotoServer::create_secret`].
    pub fn create_binary_secret(&self, name: &str, base64: &str) {
        self.create(name, "SecretBinary", base64);
    }

    fn create(&self, name: &str, kind: &str, value: &str) {
        let body = serde_json::json!({"Name": name, kind: value, "ClientRequestToken": "1".repeat(32)});
        let head = "POST / HTTP/1.1\r\nX-Amz-Target: secretsmanager.CreateSecret\r\n\
                    Content-Type: application/x-amz-json-1.1\r\nAuthorization: AWS4-HMAC-SHA256 \
                    Credential=test/20260101/eu-central-1/secretsmanager/aws4_request, SignedHeaders=host, \
                    Signature=0";
        assert!(say(self.port, head, &body.to_string()), "`{name}` cannot be made");
    }
}

/// A program by a variable, or on the path.
fn program(variable: &str, name: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named
        .or_else(|| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()));
    let found = found.filter(|file: &PathBuf| Path::is_file(file));
    if found.is_none() {
        eprintln!("SKIPPED: there is no `{name}` on the path, and `{variable}` names none");
    }
    found
}

/// Ports that nobody listens on at the moment.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.each_ref().map(|listener| listener.local_addr().expect("it has an address").port())
}

fn wait(name: &str, mut is_there: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_there() {
        assert!(started.elapsed() < START, "{name} does not answer");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a server answers a request with success.
fn say(port: u16, head: &str, body: &str) -> bool {
    let talk = || {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        let length = body.len();
        write!(
            connection,
            "{head}\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    talk().unwrap_or(false)
}
