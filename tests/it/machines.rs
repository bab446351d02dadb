//! Templates that provision a machine which is there already, over SSH, with a real server: this host is the machine.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Workspace, files, has, has_not};

const SSHD: &str = "/usr/sbin/sshd";

/// An SSH server with keys of its own.
pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Server {
    pub fn start() -> Option<Self> {
        if !Path::new(SSHD).exists() || !Path::new("/usr/bin/ssh-keygen").exists() {
            eprintln!("SKIPPED: there is no {SSHD}; `tests/run` installs it");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: an SSH server is started by root");
            return None;
        }
        fs_err::create_dir_all("/run/sshd").unwrap();
        let folder = tempfile::Builder::new().prefix("imgbuild-sshd-").tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["host", "user", "stranger"] {
            let made = Command::new("/usr/bin/ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &path(name)])
                .status()
                .unwrap();
            assert!(made.success());
        }
        fs_err::copy(path("user.pub"), path("authorized_keys")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let shown = folder.path().display();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
             Subsystem sftp internal-sftp\n"
        );
        fs_err::write(path("config"), config).unwrap();
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f", &path("config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { folder, port, child })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process that listens.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A source that reaches it with one of its keys.
    fn source(&self, key: &str, more: &str) -> String {
        format!(
            "source \"null\" \"web\" {{\n  ssh_host = \"127.0.0.1\"\n  ssh_port = {}\n  ssh_username = \"root\"\n  \
             ssh_private_key_file = \"{}\"\n{more}\n}}\n",
            self.port,
            self.path(key)
        )
    }

    pub fn workspace(&self, key: &str, more: &str, build: &str, others: &[(&str, &str)]) -> Workspace {
        let template =
            format!("{}build {{\n  sources = [\"null.web\"]\n{build}\n}}\n", self.source(key, more));
        files(&[&[("t.pkr.hcl", template.as_str())], others].concat())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_machine_is_provisioned_over_ssh_each_time() {
    for method in ["scp", "sftp"] {
        let Some(server) = Server::start() else { return };
        let place = server.path("place");
        fs_err::create_dir(&place).unwrap();
        let build = format!(
            r#"
  provisioner "shell" {{
    inline           = ["echo hello from $PACKER_BUILD_NAME, $WORD", "echo oops >&2", "echo once >> {place}/trace"]
    environment_vars = ["WORD=it's two"]
  }}
  provisioner "file" {{
    source      = "conf/"
    destination = "{place}/conf"
  }}
  provisioner "file" {{
    source      = "tool"
    destination = "{place}"
  }}
  provisioner "file" {{
    content     = "text of the template\n"
    destination = "{place}/text"
  }}
  provisioner "shell" {{
    execute_command = "chmod +x {{{{ .Path }}}}; env {{{{ .Vars }}}} sh -eu '{{{{ .Path }}}}'; ls {{{{ .Path }}}} >> {place}/paths"
    remote_path     = "{place}/its-script.sh"
    skip_clean      = true
    script          = "two.sh"
  }}
  provisioner "file" {{
    direction   = "download"
    source      = "{place}/conf"
    destination = "out/"
  }}
  provisioner "shell-local" {{ inline = ["cat out/conf/deep/a >> trace"] }}
"#
        );
        let workspace = server.workspace(
            "user",
            &format!("  ssh_file_transfer_method = \"{method}\""),
            &build,
            &[("conf/deep/a", "deep\n"), ("tool", "#!/bin/sh\necho tool says $1\n"), ("two.sh", "")],
        );
        workspace.write("two.sh", &format!("sh {place}/tool two\n"));
        workspace.ok(&["validate", "t.pkr.hcl"]);
        let first = workspace.ok(&["build", "t.pkr.hcl"]);
        has(
            &first,
            &[
                "==> null.web: Using SSH communicator to connect",
                " is not in ~/.ssh/known_hosts; its key ssh-ed25519 SHA256:",
                "==> null.web: Connected to SSH!",
                "==> null.web: hello from web, it's two",
                "==> null.web: oops",
                "==> null.web: tool says two",
                "--> null.web: Did not export anything. This is the null builder",
            ],
        );
        let read = |name: &str| fs_err::read_to_string(Path::new(&place).join(name)).unwrap();
        assert_eq!(read("conf/deep/a"), "deep\n");
        assert_eq!(read("text"), "text of the template\n");
        assert!(read("its-script.sh").contains("two"));
        assert_eq!(workspace.read("trace"), "deep\n");

        // Nothing of such a machine is known, so nothing is left out.
        let plan = workspace.ok(&["plan", "t.pkr.hcl"]);
        has(&plan, &["its machine is there already"]);
        workspace.ok(&["build", "t.pkr.hcl"]);
        assert_eq!(read("trace"), "once\nonce\n");
        assert_eq!(workspace.read("trace"), "deep\ndeep\n");
    }
}

#[test]
fn nothing_that_a_step_was_given_stays_on_the_machine() {
    let Some(server) = Server::start() else { return };
    let (place, name) = (server.path("place"), format!("imgbuild-test-{}", std::process::id()));
    fs_err::create_dir(&place).unwrap();
    let build = format!(
        r#"
  provisioner "file" {{
    content     = "in the home\n"
    destination = "~/{name}"
  }}
  provisioner "file" {{
    content     = "there too\n"
    destination = "{name}-2"
  }}
  provisioner "shell" {{
    remote_folder    = "{place}"
    use_env_var_file = true
    env              = {{ TOKEN = var.token }}
    inline           = ["cat ~/{name} ~/{name}-2", "rm ~/{name} ~/{name}-2", "echo $0 | grep -o {place}", "echo got $TOKEN"]
  }}
  provisioner "shell" {{
    remote_folder = "{place}"
    inline        = ["exit 3"]
  }}
"#
    );
    let workspace = server.workspace("user", "", &build, &[]);
    let template = workspace.read("t.pkr.hcl");
    let variable = "variable \"token\" {\n  default = \"s3cr3t-t0ken\"\n  sensitive = true\n}\n";
    workspace.write("t.pkr.hcl", &format!("{variable}{template}"));
    let said = workspace.fails(1, &["build", "t.pkr.hcl"]);
    has(
        &said,
        &["in the home", "there too", &format!("==> null.web: {place}"), "got <sensitive>", "exit code 3"],
    );
    has_not(&said, &["s3cr3t-t0ken"]);
    let left: Vec<_> = fs_err::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_machine_that_goes_away_is_reached_again_where_that_is_expected() {
    let Some(server) = Server::start() else { return };
    let cut = "kill -9 $(awk '/^PPid/ { print $2 }' /proc/$PPID/status)";
    let build = |expected: bool| {
        format!(
            r#"
  provisioner "shell" {{
    inline            = ["echo first", "sleep 1", "{cut}", "sleep 60"]
    expect_disconnect = {expected}
  }}
  provisioner "shell" {{ inline = ["echo later"] }}
  error-cleanup-provisioner "shell" {{ inline = ["echo cleaned"] }}
"#
        )
    };
    let said = server.workspace("user", "", &build(true), &[]).ok(&["build", "t.pkr.hcl"]);
    has(&said, &["==> null.web: first", "==> null.web: later"]);
    // What cleans up finds the port of the tunnel free.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tunnel = format!("  ssh_local_tunnels = [\"{port}:127.0.0.1:{}\"]", server.port);
    let said = server.workspace("user", &tunnel, &build(false), &[]).fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["Build 'null.web' errored after", "lost", "==> null.web: cleaned"]);
    has_not(&said, &["later"]);
}

#[test]
fn what_keeps_a_machine_from_being_reached_is_said() {
    let Some(server) = Server::start() else { return };
    let run = "  provisioner \"shell\" { inline = [\"true\"] }";
    let said = server
        .workspace("stranger", "  ssh_handshake_attempts = 1", run, &[])
        .fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["Build 'null.web' errored after", "127.0.0.1", "root"]);

    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let workspace = server.workspace("user", "  ssh_timeout = \"1s\"", run, &[]);
    let template = workspace.read("t.pkr.hcl").replace(&server.port.to_string(), &gone.to_string());
    workspace.write("t.pkr.hcl", &template);
    has(&workspace.fails(1, &["build", "t.pkr.hcl"]), &["127.0.0.1", "refuses connections"]);

    let fails = "  provisioner \"shell\" { inline = [\"exit 7\"] }";
    let said = server.workspace("user", "", fails, &[]).fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["exit code 7"]);
    let said = server.workspace("missing", "", run, &[]).fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["missing"]);
}

#[test]
fn a_machine_is_checked_by_goss_files() {
    let Some(server) = Server::start() else { return };
    let build = r#"
  provisioner "goss" {
    tests      = ["goss.yaml"]
    vars_file  = "vars.yaml"
    junit_file = "goss.xml"
    format     = "tap"
  }
"#;
    let port = server.port;
    let goss = "port: {'tcp:{{ .Vars.port }}': {listening: true, ip: [127.0.0.1]}, 'tcp:{{ .Vars.other }}': {listening: false}}\n\
                process: {sshd: {running: true}, no-such-process: {running: false}}\n\
                kernel-param: {kernel.ostype: {value: Linux}}\n\
                mount: {/proc: {exists: true, filesystem: proc}}\n\
                interface: {lo: {exists: true, mtu: {gt: 1000}}}\n\
                addr: {'tcp://127.0.0.1:{{ .Vars.port }}': {reachable: true}, 'tcp://127.0.0.1:{{ .Vars.other }}': {reachable: false}}\n\
                dns: {localhost: {resolvable: true, addrs: {contain-element: {or: ['127.0.0.1', '::1']}}}}\n\
                file: {/dev/null: {exists: true, filetype: character-device}, /etc/passwd: {exists: true, contents: ['/^root:/']}}\n\
                command: {'printf a; exit 3': {exit-status: 3, stdout: a}}\n";
    // Nobody listens at port 1, and no other test is given it.
    let vars = format!("port: {port}\nother: 1\n");
    let workspace = server.workspace("user", "", build, &[("goss.yaml", goss), ("vars.yaml", &vars)]);
    let said = workspace.ok(&["build", "t.pkr.hcl"]);
    has(&said, &["Running goss tests...", "ok 1 - Port: ", ": listening: matches expectation: true"]);
    has_not(&said, &["not ok", "SKIP"]);
    assert!(workspace.read("goss.xml").contains("failures=\"0\" errors=\"0\" skipped=\"0\""));

    workspace.write("goss.yaml", &goss.replace("Linux", "Minix"));
    let said = workspace.fails(1, &["build", "t.pkr.hcl"]);
    has(
        &said,
        &["not ok", "KernelParam: kernel.ostype: value", "\"Linux\" to equal \"Minix\"", "checks failed"],
    );
    let junit = workspace.read("goss.xml");
    assert!(junit.contains("failures=\"1\""), "{junit}");

    // A check that does not hold yet is tried again.
    let retried = format!("{build}  provisioner \"shell\" {{ inline = [\"true\"] }}")
        .replace("format ", "retry_timeout = \"30s\"\n    sleep = \"1s\"\n    format ");
    let late = server.path("late");
    let goss = format!("file: {{{late}: {{exists: true}}}}\n");
    let workspace = server.workspace("user", "", &retried, &[("goss.yaml", &goss), ("vars.yaml", "{}\n")]);
    let writer = std::thread::spawn({
        let late = late.clone();
        move || {
            std::thread::sleep(std::time::Duration::from_secs(4));
            fs_err::write(late, "").unwrap();
        }
    });
    let said = workspace.ok(&["build", "t.pkr.hcl"]);
    writer.join().unwrap();
    has(&said, &["ok 1 - File: "]);
}
