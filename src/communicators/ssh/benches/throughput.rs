//! How fast files get into a machine and out of it, beside `scp` and `rsync` in the same run: one of 256 MiB, and 10,000 small
//! ones, over loopback to a server of its own. It needs root, `sshd`, `ssh`, `scp` and `rsync`.
//!
//! `cargo bench -p imgbuild-ssh`, with `-- large`, `-- small`, `-- again` or `-- out` for a part of
//! it. The peers take minutes over small files.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imgbuild_ssh::{Connection, HostKeys, Key, KeySource, Login, Settings, Stdin, TransferMethod, connect};

const LARGE: usize = 256 << 20;
const SMALL_FILES: usize = 10_000;
const ROUNDS: usize = 3;

struct Server {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).status().expect(program);
    assert!(status.success(), "{program} {arguments:?}");
}

fn start() -> Option<Server> {
    for program in ["/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/scp", "/usr/bin/rsync"] {
        if !Path::new(program).exists() {
            eprintln!("SKIPPED: there is no `{program}` on this host");
            return None;
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    for key in ["host", "user"] {
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]);
    }
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("a port").port();
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}.pub\nPidFile none\nStrictModes no\n\
         UsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
        at("host"),
        at("user")
    );
    fs_err::write(at("config"), config).expect("a file");
    fs_err::create_dir_all("/run/sshd").expect("a folder");
    let child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-f", &at("config")])
        .stdin(Stdio::null())
        .spawn()
        .expect("sshd");
    Some(Server { folder, port, child })
}

/// The best of a few rounds, each into a place that is empty.
async fn best<T>(clean: &Path, mut once: impl AsyncFnMut() -> T) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let _ = fs_err::remove_dir_all(clean);
        fs_err::create_dir_all(clean).expect("a folder");
        let begun = Instant::now();
        once().await;
        best = best.min(begun.elapsed());
    }
    best
}

fn show(what: &str, figures: &[(&str, Duration)]) {
    println!("{what}");
    let Some((_, own)) = figures.first() else { return };
    for (name, time) in figures {
        println!(
            "  {name:<28} {:>8.2} s   {:>5.2} times ours",
            time.as_secs_f64(),
            time.as_secs_f64() / own.as_secs_f64()
        );
    }
}

async fn connect_by(server: &Server, method: TransferMethod) -> Connection {
    let key = KeySource::File(server.folder.path().join("user"));
    let login = Login {
        username: "root".to_owned(),
        keys: vec![Key { private: key, certificate: None }],
        ..Login::default()
    };
    let mut settings = Settings::new("127.0.0.1", server.port, login, HostKeys::AcceptAny);
    settings.transfer = method;
    connect(settings).await.expect("a connection")
}

#[tokio::main]
async fn main() {
    let Some(server) = start() else { return };
    let parts: Vec<String> = std::env::args().skip(1).filter(|part| !part.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|one| one == part);
    let at = |name: &str| server.folder.path().join(name);
    let text = |path: &Path| path.display().to_string();
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(LARGE)
    .collect();
    fs_err::write(at("large"), &noise).expect("a file");
    for index in 0..SMALL_FILES {
        let folder = at("small").join(format!("folder {}", index % 100));
        fs_err::create_dir_all(&folder).expect("a folder");
        fs_err::write(folder.join(format!("file {index}")), &noise[index * 64..index * 64 + 2000])
            .expect("a file");
    }
    let sftp = connect_by(&server, TransferMethod::Sftp).await;
    let scp = connect_by(&server, TransferMethod::Scp).await;
    let port = server.port.to_string();
    let options = format!(
        "-F none -p {port} -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentityAgent=none -o LogLevel=ERROR",
        text(&at("user"))
    );
    let shell = format!("ssh {options}");
    let peer = |program: &'static str, more: &'static [&'static str], from: String, to: String| {
        let options: Vec<String> = options.replace("-p ", "-P ").split(' ').map(str::to_owned).collect();
        let shell = shell.clone();
        let mut arguments: Vec<String> = more.iter().map(|&one| one.to_owned()).collect();
        if program == "rsync" {
            arguments.extend(["-e".to_owned(), shell]);
        } else {
            arguments.extend(options);
        }
        arguments.extend([from, to]);
        async move || {
            let status =
                tokio::process::Command::new(program).args(&arguments).status().await.expect(program);
            assert!(status.success(), "{program} {arguments:?}");
        }
    };
    let there = at("there");
    let remote = |path: &Path| format!("root@127.0.0.1:{}", text(path));
    let (large, small) = (at("large"), at("small"));
    let to = there.join("file");

    if wanted("large") {
        let own =
            best(&there, async || sftp.upload_file(&large, &text(&to), None).await.expect("an upload")).await;
        let by_scp =
            best(&there, async || scp.upload_file(&large, &text(&to), None).await.expect("an upload")).await;
        let theirs = best(&there, peer("scp", &["-q"], text(&large), remote(&to))).await;
        let rsync = best(&there, peer("rsync", &["-a"], text(&large), remote(&to))).await;
        show(
            "one file of 256 MiB into the machine",
            &[("sftp", own), ("scp, own", by_scp), ("scp of OpenSSH", theirs), ("rsync", rsync)],
        );

        let own =
            best(&there, async || sftp.download_file(&text(&large), &to).await.expect("a download")).await;
        let by_scp =
            best(&there, async || scp.download_file(&text(&large), &to).await.expect("a download")).await;
        let theirs = best(&there, peer("scp", &["-q"], remote(&large), text(&to))).await;
        let rsync = best(&there, peer("rsync", &["-a"], remote(&large), text(&to))).await;
        show(
            "one file of 256 MiB out of it",
            &[("sftp", own), ("scp, own", by_scp), ("scp of OpenSSH", theirs), ("rsync", rsync)],
        );
    }
    if wanted("again") {
        let kept = at("kept");
        fs_err::create_dir_all(&kept).expect("a folder");
        sftp.upload_folder(&small, &text(&kept)).await.expect("an upload");
        let own =
            best(&there, async || sftp.upload_folder(&small, &text(&kept)).await.expect("an upload")).await;
        let rsync = best(&there, peer("rsync", &["-rpc"], format!("{}/", text(&small)), remote(&kept))).await;
        show("the same again, nothing changed, by content", &[("archive", own), ("rsync --checksum", rsync)]);
    }
    if wanted("out") {
        let own =
            best(&there, async || sftp.download_folder(&text(&small), &there).await.expect("a download"))
                .await;
        let by_scp =
            best(&there, async || scp.download_folder(&text(&small), &there).await.expect("a download"))
                .await;
        let theirs = best(&there, peer("scp", &["-q", "-r"], remote(&small), text(&there))).await;
        let rsync = best(&there, peer("rsync", &["-a"], format!("{}/", remote(&small)), text(&there))).await;
        show(
            "10,000 small files out of it",
            &[("sftp", own), ("scp, own", by_scp), ("scp of OpenSSH", theirs), ("rsync", rsync)],
        );
    }
    if wanted("small") {
        let own =
            best(&there, async || sftp.upload_folder(&small, &text(&there)).await.expect("an upload")).await;
        let theirs = best(&there, peer("scp", &["-q", "-r"], text(&small), remote(&there))).await;
        let rsync = best(&there, peer("rsync", &["-a"], format!("{}/", text(&small)), remote(&there))).await;
        show(
            "10,000 small files into the machine",
            &[("archive", own), ("scp of OpenSSH", theirs), ("rsync", rsync)],
        );
    }
    let mut count = 0;
    let begun = Instant::now();
    for _ in 0..100 {
        sftp.exec("true", Stdin::Empty, &mut |_, _| count += 1).await.expect("a command");
    }
    println!("a command: {:.2} ms", begun.elapsed().as_secs_f64() * 10.0);
}
