//! Images from elsewhere and for elsewhere: registries, layouts, tarballs in; podman, skopeo and registries out.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{BUSYBOX, Workspace, busybox, ran};

/// Whether programs are there and may be used; says why not.
pub fn has(programs: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: registries and podman are tested as root");
        return false;
    }
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| {
            !["/usr/bin", "/usr/sbin"].iter().any(|folder| Path::new(folder).join(program).exists())
        })
        .collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: there is no {missing:?}; `tests/run` installs it");
    }
    missing.is_empty()
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A registry on this machine, as Debian's package `docker-registry` has it.
pub struct Registry {
    child: Child,
    _folder: tempfile::TempDir,
    address: String,
}

impl Registry {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = folder.path().join("config.yml");
        let storage = folder.path().join("storage");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            storage.display()
        );
        fs_err::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { child, _folder: folder, address };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&registry.address).is_err() {
            assert!(Instant::now() < deadline, "the registry did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        registry
    }

    /// Pushes a layout with all its platforms; returns the reference.
    pub fn push(&self, layout: &Path, name: &str) -> String {
        let reference = format!("{}/{name}", self.address);
        let (from, to) = (format!("oci:{}", layout.display()), format!("docker://{reference}"));
        let options = ["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false"];
        run(Command::new("skopeo").args(options).args([from, to]));
        reference
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// podman with a storage of its own.
struct Podman<'a>(&'a Path);

impl Podman<'_> {
    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let configuration = self.0.join("containers.conf");
        fs_err::write(&configuration, "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n")
            .unwrap();
        let mut command = Command::new("podman");
        command.current_dir(self.0).env("CONTAINERS_CONF", &configuration);
        command.arg("--root").arg(self.0.join("podman")).arg("--runroot").arg(self.0.join("podman-run"));
        // Each image is a folder: nothing is left mounted.
        run(command.args(["--storage-driver", "vfs"]).args(words))
    }
}

fn on_busybox(build: &str) -> Option<Workspace> {
    let workspace = Workspace::with(&format!("{BUSYBOX}{build}"));
    busybox(&workspace)?;
    Some(workspace)
}

fn inspect(layout: &str, more: &[&str]) -> serde_json::Value {
    let text = run(Command::new("skopeo").args(more).args(["inspect", &format!("oci:{layout}")]));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn an_image_of_a_registry_is_pinned_until_it_is_updated() {
    if !has(&["docker-registry", "skopeo"]) {
        return;
    }
    let Some(workspace) = on_busybox(
        r#"
image(name = "app", base = ":base", steps = [shell("echo one > /version"), env(FROM = "below")], exports = [oci()])
"#,
    ) else {
        return;
    };
    let registry = Registry::start();
    let out = workspace.root().join("imgbuild-out/app/app.oci");
    workspace.ok(&["//:app"]);
    let reference = registry.push(&out, "team/app:1");
    let above = r#"image(name = "above", source = oci_base("REFERENCE"), steps = [shell("cat /version > /seen; echo $FROM >> /seen")], exports = [oci()])
"#;
    let build = workspace.read("BUILD.star");
    workspace.write("BUILD.star", &format!("{build}{}", above.replace("REFERENCE", &reference)));
    workspace.fails(1, &["build", "--locked", "//:above"]);
    workspace.ok(&["//:above"]);
    let lock = workspace.read("imgbuild.lock");
    assert!(lock.contains(&reference) && lock.contains("sha256:"), "{lock}");
    assert_eq!(workspace.ok(&["run", "//:above", "--", "/bin/cat", "/seen"]).stdout, "one\nbelow\n");

    workspace.write("BUILD.star", &workspace.read("BUILD.star").replace("echo one", "echo two"));
    workspace.ok(&["//:app"]);
    registry.push(&out, "team/app:1");
    assert!(ran(&workspace.ok(&["--json", "//:above"])).is_empty(), "the tag has moved, the pin has not");
    let moved = workspace.ok(&["update", "//:above"]).stdout;
    assert!(moved.contains(&format!("moved {reference}")), "{moved}");
    workspace.ok(&["//:above"]);
    assert_eq!(workspace.ok(&["run", "//:above", "--", "/bin/cat", "/seen"]).stdout, "two\nbelow\n");

    let missing = workspace.read("BUILD.star").replace("team/app:1", "team/none:1");
    workspace.write("BUILD.star", &missing);
    let said = workspace.run(&["//:above"]);
    assert_ne!(said.code, Some(0));
    assert!(said.stderr.contains("team/none:1"), "{}", said.stderr);
}

#[test]
fn each_platform_of_a_registry_and_of_a_layout_is_found() {
    if !has(&["docker-registry", "skopeo"]) {
        return;
    }
    let workspace = Workspace::with(
        r#"
image(
    name = "two",
    source = scratch(),
    steps = select({
        ":arm": [file(content = "arm64\n", dest = "/which")],
        "//conditions:default": [file(content = "amd64\n", dest = "/which")],
    }),
    platforms = ["linux/amd64", "linux/arm64"],
)
config_setting(name = "arm", values = {"platform": "linux/arm64"})
"#,
    );
    workspace.ok(&["//:two"]);
    let layout = workspace.root().join("imgbuild-out/two/two.oci");
    for (architecture, name) in [("amd64", "amd64"), ("arm64", "arm64")] {
        let found = inspect(layout.to_str().unwrap(), &["--override-arch", architecture]);
        assert_eq!(found["Architecture"], name);
    }
    let registry = Registry::start();
    let reference = registry.push(&layout, "two:1");
    run(Command::new("cp").arg("-a").arg(&layout).arg(workspace.root().join("layout")));
    workspace.write(
        "BUILD.star",
        &r#"
image(
    name = "pulled",
    source = oci_base("REFERENCE"),
    platforms = ["linux/amd64", "linux/arm64"],
    exports = [directory()],
)
image(name = "local", source = oci_base(layout = "layout"), platforms = ["linux/amd64", "linux/arm64"], exports = [directory()])
image(name = "none", source = oci_base("REFERENCE"), platforms = ["linux/riscv64"])
"#
        .replace("REFERENCE", &reference),
    );
    workspace.ok(&["//:pulled", "//:local"]);
    let mut seen = Vec::new();
    let mut folders =
        vec![workspace.root().join("imgbuild-out/pulled"), workspace.root().join("imgbuild-out/local")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("which") {
                seen.push(fs_err::read_to_string(&path).unwrap().trim().to_owned());
            }
        }
    }
    seen.sort();
    assert_eq!(seen, ["amd64", "amd64", "arm64", "arm64"]);
    let said = workspace.fails(1, &["//:none"]);
    assert!(said.stderr.contains("riscv64"), "{}", said.stderr);
}

#[test]
fn a_tarball_is_a_source() {
    let Some(workspace) = on_busybox(
        r#"
image(name = "packed", base = ":base", steps = [file(content = "in a tarball\n", dest = "/note", owner = "app:app")], exports = [tarball(compression = "gzip")])
"#,
    ) else {
        return;
    };
    workspace.ok(&["//:packed"]);
    std::fs::copy(
        workspace.root().join("imgbuild-out/packed/packed.tar.gz"),
        workspace.root().join("root.tar.gz"),
    )
    .unwrap();
    let build = workspace.read("BUILD.star");
    workspace.write(
        "BUILD.star",
        &format!("{build}image(name = \"x\", source = rootfs_tar(\"root.tar.gz\"), steps = [shell(\"cat /note > /seen\")], exports = [])\n"),
    );
    let said = workspace.ok(&["run", "//:x", "--", "/bin/sh", "-c", "cat /seen; stat -c %u /note"]);
    assert_eq!(said.stdout, "in a tarball\n1000\n");
    workspace.write("root.tar.gz", "no tarball");
    let said = workspace.run(&["run", "//:x", "--", "/bin/true"]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.stderr.contains("root.tar.gz"), "{}", said.stderr);
}

#[test]
fn podman_runs_what_is_exported() {
    if !has(&["podman", "skopeo", "runc"]) {
        return;
    }
    let Some(workspace) = on_busybox(
        r#"
image(
    name = "app",
    base = ":base",
    steps = [
        shell("echo first > /one"),
        shell("echo second > /two; rm /one"),
        env(GREETING = "hello"),
        workdir("/tmp"),
        entrypoint(["/bin/sh", "-c"]),
        cmd(["echo $GREETING; cat /two; pwd; test ! -e /one"]),
        label(team = "web"),
    ],
    exports = [oci(ref = "app:1"), docker_archive(ref = "localhost/app:docker")],
)
"#,
    ) else {
        return;
    };
    workspace.ok(&["//:app"]);
    let layout = workspace.root().join("imgbuild-out/app/app.oci");
    let found = inspect(layout.to_str().unwrap(), &[]);
    assert_eq!(found["Labels"]["team"], "web");
    let folder = tempfile::tempdir().unwrap();
    let podman = Podman(folder.path());
    podman.run(&[
        "load",
        "--quiet",
        "--input",
        workspace.root().join("imgbuild-out/app/app.docker.tar").to_str().unwrap(),
    ]);
    run(Command::new("cp").arg("-a").arg(&layout).arg(folder.path().join("layout")));
    let pulled = podman.run(&["pull", "--quiet", "oci:layout"]);
    for name in ["localhost/app:docker", pulled.trim()] {
        let inspected: serde_json::Value =
            serde_json::from_str(&podman.run(&["image", "inspect", name])).unwrap();
        assert_eq!(inspected[0]["Config"]["WorkingDir"], "/tmp");
        // Limits as low as any machine has them: raising one needs a privilege that containers often lack.
        let options = [
            "--rm",
            "--network",
            "none",
            "--runtime",
            "runc",
            "--ulimit",
            "nofile=512:512",
            "--ulimit",
            "nproc=512:512",
        ];
        let said = podman.run(&[&["run"][..], &options, &[name]].concat());
        assert_eq!(said, "hello\nsecond\n/tmp\n", "{name}");
    }
}

#[test]
fn layers_are_divided_as_asked() {
    if !has(&["skopeo"]) {
        return;
    }
    let steps: String = (0..6).map(|n| format!("shell(\"echo {n} > /{n}\"), ")).collect();
    let image = |name: &str, layers: &str| {
        format!(
            "image(name = \"{name}\", base = \":base\", steps = [{steps}], exports = [oci(layers = {layers})])\n"
        )
    };
    let build = [image("steps", "\"steps\""), image("squash", "\"squash\""), image("three", "3")].concat();
    let Some(workspace) = on_busybox(&build) else { return };
    workspace.ok(&["//..."]);
    let count = |name: &str| {
        let layout = workspace.root().join(format!("imgbuild-out/{name}/{name}.oci"));
        inspect(layout.to_str().unwrap(), &[])["Layers"].as_array().unwrap().len()
    };
    assert_eq!((count("squash"), count("three")), (1, 3));
    assert!(count("steps") >= 10, "one for each of the steps that change something: {}", count("steps"));
}

#[test]
fn hundreds_of_layers_are_one_image() {
    let Some(workspace) = on_busybox(
        r#"
image(
    name = "long",
    base = ":base",
    steps = [file(content = str(n), dest = "/numbers/%d" % n) for n in range(520)] + [
        shell("ls /numbers | busybox wc -l > /count; cat /numbers/0 /numbers/519 >> /count"),
        remove("/numbers/7"),
    ],
    exports = [oci(layers = "squash"), tarball(compression = "none")],
    tests = [
        file_exists("/count", content_matches = "520"),
        file_exists("/numbers/519", content_matches = "519"),
        file_absent("/numbers/7"),
    ],
)
image(name = "apart", base = ":long", steps = [], exports = [oci(layers = "steps")])
"#,
    ) else {
        return;
    };
    workspace.ok(&["//:long"]);
    workspace.ok(&["test", "//:long"]);
    assert_eq!(workspace.ok(&["run", "//:long", "--", "/bin/cat", "/count"]).stdout, "520\n0519\n");
    assert!(ran(&workspace.ok(&["--json", "//:long"])).is_empty());
    let said = workspace.fails(1, &["//:apart"]);
    assert!(said.stderr.contains("120"), "an error above 120 layers: {}", said.stderr);
}

#[test]
fn files_come_out_of_another_image() {
    let Some(workspace) = on_busybox(
        r#"
image(
    name = "builder",
    base = ":base",
    steps = [shell(["mkdir -p /out/d", "echo made > /out/d/file", "ln -s d/file /out/link", "chmod 0750 /out/d", "touch /waste"])],
    exports = [],
)
image(
    name = "final",
    base = ":base",
    steps = [copy_from(":builder", "/out", "/opt/app", owner = "app:app"), copy_from(":builder", "/out/d/*", "/srv/")],
    exports = [],
    tests = [
        file_exists("/opt/app/d", mode = "0750", owner = "app:app"),
        file_exists("/opt/app/link", link_target = "d/file"),
        file_exists("/srv/file", content_matches = "made"),
        file_absent("/waste"),
    ],
)
"#,
    ) else {
        return;
    };
    workspace.ok(&["test", "//:final"]);
}

#[test]
fn what_does_not_depend_on_a_failure_is_built_all_the_same() {
    let Some(workspace) = on_busybox(
        r#"
image(name = "bad", base = ":base", steps = [shell("exit 3"), shell("echo never > /never")], exports = [tarball()])
image(name = "good", base = ":base", steps = [shell("echo good > /good")], exports = [tarball(compression = "none")])
"#,
    ) else {
        return;
    };
    let said = workspace.fails(1, &["--json", "build", "--keep-going", "--jobs", "1", "//..."]);
    assert!(said.stderr.contains("`//:bad` failed"), "{}", said.stderr);
    let steps = ran(&said);
    assert!(steps.iter().any(|step| step.contains("echo good")), "{steps:?}");
    assert!(!steps.iter().any(|step| step.contains("never")), "{steps:?}");
    workspace.ok(&["--jobs", "1", "//:good"]);
    assert!(workspace.has("imgbuild-out/good/good.tar"));
}

/// One chain, since each part stands on the one before: a Debian that goes into a registry and comes back as a base.
#[test]
fn packages_are_locked_on_an_image_of_debian_from_a_registry() {
    if !has(&["docker-registry", "skopeo"]) {
        return;
    }
    let workspace = Workspace::with(
        r#"
SOURCES = "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: stable\nComponents: main\n"
image(
    name = "debian",
    source = debian("stable", variant = "essential"),
    steps = [file(content = SOURCES, dest = "/etc/apt/sources.list.d/debian.sources")],
    exports = [oci(layers = "squash")],
)
image(name = "alpine", source = scratch(), steps = [file(content = "ID=alpine\n", dest = "/etc/os-release")], exports = [oci()])
image(
    name = "other",
    source = scratch(),
    steps = [
        file(content = "ID=arch\n", dest = "/etc/os-release"),
        file(content = "", dest = "/var/lib/dpkg/status"),
    ],
    exports = [oci()],
)
"#,
    );
    workspace.ok(&["//..."]);
    let registry = Registry::start();
    let push = |name: &str| {
        registry.push(&workspace.root().join(format!("imgbuild-out/{name}/{name}.oci")), &format!("{name}:1"))
    };
    let (debian, alpine, other) = (push("debian"), push("alpine"), push("other"));
    let build = r#"
image(
    name = "x",
    source = oci_base("DEBIAN"),
    steps = [
        apt_install("hostname"),
        apt_install("netbase"),
        shell("test -x /bin/hostname; dpkg -s netbase > /etc/seen"),
        apt_install("ed"),
    ],
    exports = [tarball(compression = "none")],
    tests = [package_installed("hostname"), package_installed("netbase"), package_installed("ed"), package_installed("dpkg")],
)
image(name = "no_status", source = oci_base("ALPINE"), steps = [apt_install("ed")])
image(name = "unknown", source = oci_base("OTHER"), steps = [apt_install("ed")])
"#
    .replace("DEBIAN", &debian)
    .replace("ALPINE", &alpine)
    .replace("OTHER", &other);
    workspace.write("BUILD.star", &build);
    let plan = workspace.ok(&["plan", "//:x"]).stdout;
    assert_eq!(
        plan.matches("apt_resolve").count(),
        1,
        "only what stands on `shell` is found while building:\n{plan}"
    );
    workspace.ok(&["--json", "build", "//:x"]);
    let lock = workspace.read("imgbuild.lock");
    for part in ["hostname ", "netbase ", "\"distribution\": \"oci_base\"", "\"suite\": \"stable\""] {
        assert!(lock.contains(part), "{part}: {lock}");
    }
    assert!(!lock.contains("ed 1"), "what is found while building is not in the lock file: {lock}");
    workspace.ok(&["test", "//:x"]);
    assert!(ran(&workspace.ok(&["--json", "build", "--locked", "//:x"])).is_empty());
    let before = workspace.read("imgbuild.lock");
    workspace.ok(&["update", "//:x"]);
    assert_eq!(workspace.read("imgbuild.lock"), before, "an update without news changes nothing");

    let said = workspace.fails(1, &["//:no_status"]);
    assert!(said.stderr.contains("has no `/var/lib/dpkg/status`"), "{}", said.stderr);
    let said = workspace.fails(1, &["//:unknown"]);
    assert!(said.stderr.contains("is a system of `arch`, whose archive is not known"), "{}", said.stderr);
}
