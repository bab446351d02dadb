//! A real server on a free port of this host, with keys of its own; no accounts are made.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use imgbuild_ssh::{
    Connection, Error, HostKey, HostKeys, Key, KeySource, Login, Patience, Settings, Stdin, connect,
};
use tempfile::TempDir;

/// A running `sshd`, ended when it is dropped.
pub struct Server {
    pub folder: TempDir,
    pub port: u16,
    pub user: String,
    extra: String,
    child: Option<Child>,
}

/// Says why a test does not run, and whether all programs are there.
pub fn have(programs: &[&str]) -> bool {
    for program in programs {
        if which(program).is_none() {
            eprintln!("SKIPPED: there is no `{program}` on this host");
            return false;
        }
    }
    true
}

fn which(program: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/bin", "/sbin", "/usr/local/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists())
}

pub fn run(program: &str, arguments: &[&str]) -> String {
    let ended = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(ended.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Starts one, unless this host has none.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// The same with further lines of configuration.
    pub fn start_with(extra: &str) -> Option<Self> {
        if !have(&["sshd", "ssh-keygen"]) {
            return None;
        }
        if run("id", &["-u"]).trim() != "0" {
            eprintln!("SKIPPED: a server of one's own needs root");
            return None;
        }
        fs_err::create_dir_all("/run/sshd").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for (name, kind) in
            [("host", "ed25519"), ("host_ecdsa", "ecdsa"), ("user", "ed25519"), ("stranger", "ed25519")]
        {
            run("ssh-keygen", &["-q", "-t", kind, "-N", "", "-f", &path(name)]);
        }
        fs_err::copy(path("user.pub"), path("authorized_keys")).unwrap();
        let mut server =
            Self { folder, port: free_port(), user: "root".to_owned(), extra: extra.to_owned(), child: None };
        server.up();
        Some(server)
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Starts it again, with the same port and keys.
    pub fn up(&mut self) {
        let folder = self.folder.path().display();
        let mut config = format!(
            "ListenAddress 127.0.0.1\nPort {}\nHostKey {folder}/host\nHostKey {folder}/host_ecdsa\n\
             AuthorizedKeysFile {folder}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nAllowTcpForwarding yes\nMaxStartups 200\nMaxSessions 50\n",
            self.port
        );
        config.push_str(&self.extra.replace("FOLDER", &folder.to_string()));
        if !config.contains("Subsystem") {
            config.push_str("\nSubsystem sftp internal-sftp\n");
        }
        fs_err::write(self.path("config"), config).unwrap();
        let log = fs_err::File::create(self.path("log")).unwrap();
        let child = Command::new(which("sshd").unwrap())
            .args(["-D", "-e", "-f", &self.path("config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.into_parts().0)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Further lines of configuration for the next start; `FOLDER` is its folder.
    pub fn set_extra(&mut self, extra: &str) {
        self.extra = extra.to_owned();
    }

    /// Ends it and all its connections.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.cut();
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Kills the processes that serve connections, and not the one that listens.
    pub fn cut(&self) {
        let Some(child) = &self.child else { return };
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        for pid in fs_err::read_to_string(children).unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args(["-9", pid]).stderr(Stdio::null()).status();
        }
    }

    pub fn log(&self) -> String {
        fs_err::read_to_string(self.path("log")).unwrap()
    }

    pub fn host_key(&self) -> HostKey {
        fs_err::read_to_string(self.path("host.pub")).unwrap().parse().unwrap()
    }

    /// Settings that log in.
    pub fn settings(&self) -> Settings {
        self.settings_of(Login { keys: vec![file(&self.path("user"))], ..self.login() })
    }

    /// Settings of another login.
    pub fn settings_of(&self, login: Login) -> Settings {
        let mut settings =
            Settings::new("127.0.0.1", self.port, login, HostKeys::Pinned(vec![self.host_key()]));
        settings.patience = Patience { timeout: Some(Duration::from_secs(20)), attempts: Some(1) };
        settings
    }

    /// A login with nothing but a name.
    pub fn login(&self) -> Login {
        Login { username: self.user.clone(), ..Login::default() }
    }

    pub async fn connect(&self) -> Connection {
        match connect(self.settings()).await {
            Ok(connection) => connection,
            Err(error) => panic!("{error}\n{}", self.log()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

pub fn file(path: &str) -> Key {
    Key { private: KeySource::File(path.into()), certificate: None }
}

/// What a command writes to standard output.
pub async fn says(connection: &Connection, command: &str) -> String {
    let mut said = String::new();
    let exit = connection
        .exec(command, Stdin::Empty, &mut |_, line| {
            said.push_str(line);
            said.push('\n');
        })
        .await
        .unwrap();
    assert!(exit.is_success(), "{exit}: {said}");
    said.trim_end().to_owned()
}

pub async fn refusal(settings: Settings) -> Error {
    match connect(settings).await {
        Ok(_) => panic!("it went well"),
        Err(error) => error,
    }
}
