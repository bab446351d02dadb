//! Virtual machines: one that is built again after a change of its last step, against the real Packer on the same disk with the same
//! steps; one that goes on from memory, against QEMU's own `loadvm`; log-in, against `ssh`. All run on QEMU's translation, so that
//! hosts with and without KVM can be compared.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use imgbuild_qemu::probe::{Emulator, ImageTool};
use imgbuild_qemu::process::{Launch, Machine};
use imgbuild_qemu::spec::{
    Accelerator, Disk, DiskFormat, HostForward, HostPort, Kernel, MachineSpec, Nic, Topology,
};
use imgbuild_ssh::{HostKeys, Key, KeySource, Login, Settings, Stdin, connect};

use crate::measure::ratio;
use crate::{Setup, which};

/// A disk without a boot loader, and beside it the kernel: Debian's version of Packer knows no UEFI.
const BASE: &str = r#"
image(
    name = "base",
    source = debian("bookworm", packages = ["dbus", "systemd-sysv", "udev"]),
    steps = [
        apt_install("initramfs-tools", "linux-image-cloud-amd64", "openssh-server"),
        systemd_unit("systemd-networkd.service"),
        file(content = "[Match]\nName=e*\n[Network]\nDHCP=yes\n", dest = "/etc/systemd/network/all.network"),
        file(content = "PermitRootLogin yes\n", dest = "/etc/ssh/sshd_config.d/bench.conf"),
        file(
            content = "[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n",
            dest = "/etc/systemd/system/ssh.service.d/keys.conf",
        ),
        shell("install -d -m 700 /root/.ssh"),
        file("key.pub", "/root/.ssh/authorized_keys", mode = "0600"),
    ],
    exports = [disk("qcow2", size = "3G", table = "none", bootloader = "none", hostname = "bench"), directory()],
    platforms = ["linux/amd64"],
)
"#;

/// How many steps the template has.
const STEPS: usize = 5;
/// How long each takes but the last, which is the one that changes, in seconds: what is installed once takes long.
const WORK: u32 = 15;

/// The kernel's command line.
const APPEND: &str = "root=/dev/vda rw console=ttyS0 quiet";
/// How long QEMU may take.
const MINUTES: Duration = Duration::from_secs(600);

/// The kernel of the base image and its initrd.
fn kernel(folder: &Path) -> Result<(PathBuf, PathBuf), String> {
    let boot = folder.join("imgbuild-out/base/base.rootfs/boot");
    let named = |start: &str| {
        let mut found = fs_err::read_dir(&boot).map_err(said)?.flatten().map(|entry| entry.path());
        let found =
            found.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)));
        found.ok_or_else(|| format!("there is no {start}"))
    };
    Ok((named("vmlinuz-")?, named("initrd.img-")?))
}

fn template(folder: &Path, output: &str, last: &str) -> Result<String, String> {
    let (kernel, initrd) = kernel(folder)?;
    let mut text = format!(
        r#"source "qemu" "web" {{
  iso_url          = "{}"
  iso_checksum     = "none"
  disk_image       = true
  skip_resize_disk = true
  skip_compaction  = true
  accelerator      = "tcg"
  headless         = true
  memory           = 1024
  cpus             = 2
  boot_wait        = "0s"
  ssh_username     = "root"
  ssh_private_key_file = "key"
  ssh_timeout      = "15m"
  shutdown_command = "poweroff"
  output_directory = "{output}"
  vm_name          = "web.qcow2"
  qemuargs = [
    ["-kernel", "{}"],
    ["-initrd", "{}"],
    ["-append", "{APPEND}"],
  ]
}}
build {{
  sources = ["source.qemu.web"]
"#,
        folder.join("imgbuild-out/base/base.qcow2").display(),
        kernel.display(),
        initrd.display(),
    );
    for step in 1..=STEPS {
        let (what, seconds) = if step == STEPS { (last, 0) } else { ("work", WORK) };
        text += &format!(
            "  provisioner \"shell\" {{\n    inline = [\"echo begins {step}\", \"sleep {seconds}\", \"echo {what} > /var/step-{step}\", \"echo ends {step}\"]\n  }}\n"
        );
    }
    text.push_str("}\n");
    Ok(text)
}

/// The bench.
pub fn machines(setup: &Setup) -> Result<(), String> {
    if which("qemu-system-x86_64").is_none() {
        return Err("qemu-system-x86_64 is not installed".to_owned());
    }
    let folder = setup.folder.path().join("machines");
    fs_err::create_dir_all(&folder).map_err(said)?;
    let bench = Bench { setup, cache: setup.folder.path().join("machines-cache"), folder };
    bench.base()?;
    let again = bench.again()?;
    bench.packer(again.took)?;
    let runtime = tokio::runtime::Runtime::new().map_err(said)?;
    runtime.block_on(bench.qemu(again.first_command))
}

/// A build of which only the last step was another.
struct Again {
    took: Duration,
    /// From the program's start to the first command of that step.
    first_command: Duration,
}

struct Bench<'s> {
    setup: &'s Setup,
    cache: PathBuf,
    folder: PathBuf,
}

impl Bench<'_> {
    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        fs_err::write(self.folder.join(name), text).map_err(said)
    }

    fn imgbuild(&self, words: &[&str]) -> Result<Said, String> {
        timed(self.setup.imgbuild(&self.folder, &self.cache, words))
    }

    /// The disk that all start from, and a key that it lets in.
    fn base(&self) -> Result<(), String> {
        let mut key = Command::new("ssh-keygen");
        key.args(["-q", "-t", "ed25519", "-N", "", "-f", "key"]).current_dir(&self.folder);
        timed(key)?;
        self.write("imgbuild.toml", "")?;
        self.write("BUILD.star", BASE)?;
        self.imgbuild(&["-q", "build", "//:base"]).map(drop)
    }

    /// Builds, and twice again after a change of the last step. Gives the quicker of those.
    fn again(&self) -> Result<Again, String> {
        let ours = |last: &str| {
            self.write("ours.pkr.hcl", &template(&self.folder, "out-ours", last)?)?;
            self.imgbuild(&["build", "ours.pkr.hcl"])
        };
        let first = ours("work")?;
        println!(
            "  a first build of {STEPS} steps, all but the last of {WORK} s   {:.1} s",
            first.took.as_secs_f32()
        );
        let pauses: Result<Vec<Duration>, String> = (1..STEPS)
            .map(|step| first.between(&format!("ends {step}"), &format!("begins {}", step + 1)))
            .collect();
        let pause = pauses?.iter().sum::<Duration>().as_secs_f32() / (STEPS - 1) as f32;
        println!("  from one step to the next, with the snapshots of disk and memory   {pause:.2} s");
        let (chunks, images) = (self.kept("chunks")?, self.kept("layers")?);
        let again = ours("other work")?;
        println!(
            "  a snapshot of the disk takes {} KiB in chunks, {} KiB as it lies beside them, of memory {} MiB",
            (self.kept("chunks")? - chunks) / 1024,
            (self.kept("layers")? - images) / 1024,
            self.kept("warm")? / (1 << 20) / self.snapshots()?.max(1)
        );
        let third = ours("still other work")?;
        let begins = |said: &Said| said.at(&format!("begins {STEPS}"));
        let (one, other) = (begins(&again)?, begins(&third)?);
        println!(
            "  the last one changed   {:.1} s, {:.1} s; from the start to its first command {:.2} s, {:.2} s",
            again.took.as_secs_f32(),
            third.took.as_secs_f32(),
            one.as_secs_f32(),
            other.as_secs_f32()
        );
        for line in third.lines.iter().filter(|(_, line)| line.contains("from memory")) {
            println!("  {}", line.1.trim_start_matches("==> qemu.web: "));
        }
        Ok(Again { took: again.took.min(third.took), first_command: one.min(other) })
    }

    /// How many bytes a folder of the cache has on the disk.
    fn kept(&self, name: &str) -> Result<u64, String> {
        let mut du = Command::new("du");
        du.args(["-s", "-B1"]).arg(self.cache.join(name));
        let Ok(said) = timed(du) else { return Ok(0) };
        let bytes = said.lines.first().and_then(|(_, line)| line.split_whitespace().next()?.parse().ok());
        bytes.ok_or_else(|| "`du` gives no number".to_owned())
    }

    fn snapshots(&self) -> Result<u64, String> {
        Ok(fs_err::read_dir(self.cache.join("warm")).map_err(said)?.count() as u64)
    }

    /// The same change, as the real Packer builds it.
    fn packer(&self, again: Duration) -> Result<(), String> {
        if which("packer").is_none() {
            println!("  packer is not installed");
            return Ok(());
        }
        self.write("theirs.pkr.hcl", &template(&self.folder, "out-theirs", "other work")?)?;
        let mut packer = Command::new("packer");
        packer.args(["build", "-force", "theirs.pkr.hcl"]).current_dir(&self.folder);
        packer.env("CHECKPOINT_DISABLE", "1").env("PACKER_CACHE_DIR", self.folder.join("packer-cache"));
        let theirs = timed(packer)?.took;
        println!(
            "  the same change, against `packer build`   {:.1} s : {:.1} s, {:.1} times",
            again.as_secs_f32(),
            theirs.as_secs_f32(),
            theirs.as_secs_f32() / again.as_secs_f32()
        );
        Ok(())
    }

    /// What QEMU and OpenSSH take alone: from a snapshot with memory, and to log in.
    async fn qemu(&self, ours: Duration) -> Result<(), String> {
        let folders = [PathBuf::from("/usr/bin"), PathBuf::from("/usr/local/bin")];
        let emulator = Emulator::find("qemu-system-x86_64", &folders).await.map_err(said)?;
        let images = ImageTool::find("qemu-img", &folders).await.map_err(said)?;
        let base = self.folder.join("imgbuild-out/base/base.qcow2");
        let overlay = self.folder.join("overlay.qcow2");
        let size = images.info(&base, Some(DiskFormat::Qcow2)).await.map_err(said)?.virtual_size;
        images.create(&overlay, DiskFormat::Qcow2, Some(size), None, &[]).await.map_err(said)?;
        let (image, initrd) = kernel(&self.folder)?;
        let spec = MachineSpec {
            accelerator: Accelerator::Tcg,
            memory: 1024,
            topology: Topology { cpus: 2, ..Topology::default() },
            disks: vec![Disk { below: vec![base], ..Disk::new(overlay, DiskFormat::Qcow2) }],
            nics: vec![Nic::new(vec![HostForward { host: HostPort::Any, guest: 22 }])],
            kernel: Some(Kernel { image, initrd: Some(initrd), append: APPEND.to_owned() }),
            ..MachineSpec::default()
        };
        let launch = |paused| Launch { paused, ..Launch::new(&emulator.program, spec.clone()) };
        let mut machine = launch(false).start(MINUTES).await.map_err(said)?;
        self.log_in(&machine).await?;
        let began = Instant::now();
        machine.qmp().savevm("bench", MINUTES).await.map_err(said)?;
        println!("  QEMU's own `savevm`   {:.2} s", began.elapsed().as_secs_f32());
        machine.kill().await;
        drop(machine);
        let mut theirs = Duration::MAX;
        for _ in 0..2 {
            let began = Instant::now();
            let again = launch(true).start(MINUTES).await.map_err(said)?;
            again.qmp().loadvm("bench", MINUTES).await.map_err(said)?;
            again.qmp().resume().await.map_err(said)?;
            let loaded = began.elapsed();
            timed(self.ssh(port_of(&again).await?, "echo"))?;
            theirs = theirs.min(began.elapsed());
            println!(
                "  QEMU's own start with `loadvm`   {:.2} s; to the first command by `ssh`   {:.2} s",
                loaded.as_secs_f32(),
                began.elapsed().as_secs_f32()
            );
            drop(again);
        }
        println!(
            "  from memory to the first command, all of the program, against that   {:.2} s : {:.2} s = {:.2}",
            ours.as_secs_f32(),
            theirs.as_secs_f32(),
            ours.as_secs_f32() / theirs.as_secs_f32()
        );
        Ok(())
    }

    fn ssh(&self, port: u16, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-i", "key", "-p", &port.to_string()]);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "IdentityAgent=none",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.args(["root@127.0.0.1", command]).current_dir(&self.folder);
        ssh
    }

    /// Logs in ten times each way, and runs `true`.
    async fn log_in(&self, machine: &Machine) -> Result<(), String> {
        let port = port_of(machine).await?;
        let key = Key { private: KeySource::File(self.folder.join("key")), certificate: None };
        let login = Login { username: "root".to_owned(), keys: vec![key], ..Login::default() };
        let settings = Settings::new("127.0.0.1", port, login, HostKeys::AcceptAny);
        connect(settings.clone()).await.map_err(said)?.disconnect().await;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let began = Instant::now();
            let connection = connect(settings.clone()).await.map_err(said)?;
            connection.exec("true", Stdin::Empty, &mut |_, _| {}).await.map_err(said)?;
            ours.push(began.elapsed());
            connection.disconnect().await;
            theirs.push(timed(self.ssh(port, "true"))?.took);
        }
        println!("  log in and run `true`, against `ssh`   {}", ratio(&(ours.into(), theirs.into())));
        Ok(())
    }
}

/// What a command said, each line with the time since its start.
struct Said {
    lines: Vec<(Duration, String)>,
    took: Duration,
}

impl Said {
    fn at(&self, text: &str) -> Result<Duration, String> {
        let found = self.lines.iter().find(|(_, line)| line.ends_with(text));
        found.map(|(at, _)| *at).ok_or_else(|| format!("nothing says `{text}`"))
    }

    fn between(&self, one: &str, other: &str) -> Result<Duration, String> {
        Ok(self.at(other)? - self.at(one)?)
    }
}

async fn port_of(machine: &Machine) -> Result<u16, String> {
    let forwards = machine.forwards().await.map_err(said)?;
    Ok(forwards.first().ok_or("the machine has no port")?.host)
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Runs a command once.
fn timed(mut command: Command) -> Result<Said, String> {
    let began = Instant::now();
    let errors = tempfile::tempfile().map_err(said)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors.try_clone().map_err(said)?);
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let mut lines = Vec::new();
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        lines.push((began.elapsed(), line.map_err(said)?));
    }
    let status = child.wait().map_err(said)?;
    let took = began.elapsed();
    if status.success() {
        return Ok(Said { lines, took });
    }
    let last: Vec<String> = lines.into_iter().rev().take(20).map(|(_, line)| line).collect();
    let mut wrong = String::new();
    let mut errors = errors;
    errors.seek(SeekFrom::Start(0)).and_then(|_| errors.read_to_string(&mut wrong)).map_err(said)?;
    Err(format!("{command:?} failed:\n{}\n{wrong}", last.into_iter().rev().collect::<Vec<_>>().join("\n")))
}
