//! A guest that is up in seconds: Debian's kernel for clouds, from the mirror, and a first file system that holds busybox and
//! does what the kernel's command line says. What is missing on a host skips a test, with the reason.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use imgbuild_qemu::probe::{Emulator, ImageTool};
use imgbuild_qemu::process::Launch;
use imgbuild_qemu::spec::{Kernel, MachineSpec};

/// How long a guest may take for anything, on a machine that does much else.
pub const LONG: Duration = Duration::from_secs(120);

const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// In the order of their needs.
const MODULES: [&str; 21] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "nls_cp437",
    "nls_ascii",
    "nls_utf8",
    "fat",
    "vfat",
    "cdrom",
    "isofs",
    "evdev",
    "button",
    "virtio-rng",
    "pvpanic",
    "pvpanic-pci",
];

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module || echo "no $module"; done
echo 'guest is up'
(
    for input in /sys/class/input/event*; do
        [ "$(cat $input/device/name)" = 'Power Button' ] || continue
        echo 'listens to the power button'
        dd if=/dev/input/${input##*/} of=/dev/null bs=24 count=1 2>/dev/null
        echo 'switches off'
        poweroff -f
    done
) &
for word in $(cat /proc/cmdline); do
    case $word in
    do=count) n=0; while :; do n=$((n + 1)); echo "count $n"; sleep 0.1; done ;;
    do=off) poweroff -f ;;
    do=panic) echo c >/proc/sysrq-trigger ;;
    do=fill) tr '\0' x </dev/zero | dd of=/dev/vda bs=64k; echo 'filled' ;;
    do=hang) while :; do sleep 1000; done ;;
    do=type) while read -r line; do echo "typed: $line"; done </dev/tty1 ;;
    do=vfat|do=iso9660)
        mkdir /seed
        mount -t ${word#do=} -o ro /dev/vda /seed || echo 'not mounted'
        strings /dev/vda | grep -n CIDATA | head -n 3
        cd /seed
        find . -type f | sort | while read -r file; do echo "file $file: $(cat "$file")"; done
        echo 'that is all' ;;
    do=http*)
        ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
        wget -q -O - "http://10.0.2.2:${word#do=http}/answer" || echo 'nothing came'
        echo 'that is all' ;;
    esac
done
while :; do sleep 1000; done
"#;

/// What each test needs: an emulator, a kernel and a first file system.
pub struct Guest {
    pub emulator: Emulator,
    pub images: ImageTool,
    kernel: PathBuf,
    initrd: PathBuf,
    pub folder: tempfile::TempDir,
}

impl Guest {
    /// `None` with a word on standard error if this host lacks something.
    pub async fn new() -> Option<Self> {
        match Self::make().await {
            Ok(guest) => Some(guest),
            Err(reason) => {
                eprintln!("SKIPPED: {reason}");
                None
            }
        }
    }

    async fn make() -> Result<Self, String> {
        if !cfg!(target_arch = "x86_64") {
            return Err("the guest is one for x86-64".to_owned());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let said = |error: imgbuild_qemu::probe::ProbeError| error.to_string();
        let emulator = Emulator::find("qemu-system-x86_64", &folders).await.map_err(said)?;
        let images = ImageTool::find("qemu-img", &folders).await.map_err(said)?;
        let files = tokio::task::spawn_blocking(files).await.unwrap()?;
        let folder = tempfile::Builder::new().prefix("iq").tempdir_in("/tmp").unwrap();
        Ok(Self { emulator, images, kernel: files.join("vmlinuz"), initrd: files.join("initrd"), folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A machine that boots the guest and tells it to do this.
    pub fn spec(&self, what: &str) -> MachineSpec {
        MachineSpec {
            memory: 192,
            kernel: Some(Kernel {
                image: self.kernel.clone(),
                initrd: Some(self.initrd.clone()),
                append: format!("console=ttyS0 quiet panic=-1 do={what}"),
            }),
            no_reboot: true,
            ..MachineSpec::default()
        }
    }

    pub fn launch(&self, spec: MachineSpec) -> Launch {
        Launch { folder: self.folder.path().to_owned(), ..Launch::new(&self.emulator.program, spec) }
    }
}

/// The folder with kernel and first file system, made once.
fn files() -> Result<PathBuf, String> {
    static ONCE: Mutex<()> = Mutex::new(());
    let _one = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
    // Another list of modules is another folder.
    let id =
        MODULES.concat().bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("qemu-guest-{id:08x}"));
    if !kept.join("vmlinuz").is_file() {
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
        let package = kernel_package(work.path())?;
        let tree = work.path().join("tree");
        run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&tree))?;
        let made = work.path().join("made");
        fs_err::create_dir(&made).unwrap();
        let kernel = entries(&tree.join("boot")).into_iter().find(|path| name(path).starts_with("vmlinuz"));
        fs_err::rename(kernel.ok_or("the package has no kernel")?, made.join("vmlinuz")).unwrap();
        fs_err::create_dir(made.join("modules")).unwrap();
        collect_modules(&tree.join("lib/modules"), &made.join("modules"));
        // Another process may have been first.
        let _ = fs_err::rename(&made, &kept);
    }
    let busybox = BUSYBOX.iter().find(|path| is_static(Path::new(path)));
    let busybox = busybox.ok_or("there is no static `busybox`; install the package `busybox-static`")?;
    let made = tempfile::NamedTempFile::new_in(&kept).unwrap();
    fs_err::write(made.path(), initrd(Path::new(busybox), &kept.join("modules"))).unwrap();
    made.persist(kept.join("initrd")).unwrap();
    Ok(kept)
}

fn kernel_package(folder: &Path) -> Result<PathBuf, String> {
    let depends = run(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.ok_or("no package list names `linux-image-cloud-amd64`; run `apt-get update`")?;
    run(Command::new("apt-get").args(["download", package]).current_dir(folder))?;
    entries(folder).into_iter().find(|path| name(path).ends_with(".deb")).ok_or("no package came".to_owned())
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs_err::read_dir(folder)
        .map_or_else(|_| Vec::new(), |all| all.map(|entry| entry.unwrap().path()).collect())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn collect_modules(from: &Path, to: &Path) {
    for path in entries(from) {
        if path.is_dir() {
            collect_modules(&path, to);
        } else if let Some(module) = name(&path).strip_suffix(".ko")
            && MODULES.contains(&module)
        {
            fs_err::copy(&path, to.join(name(&path))).unwrap();
        }
    }
}

/// One with an interpreter needs libraries (ELF: `PT_INTERP`).
fn is_static(program: &Path) -> bool {
    let Ok(bytes) = fs_err::read(program) else { return false };
    !bytes[..bytes.len().min(4096)].windows(8).any(|window| window == b"ld-linux")
}

fn initrd(busybox: &Path, modules: &Path) -> Vec<u8> {
    use std::io::Write as _;
    let mut archive = Vec::new();
    for folder in ["bin", "dev", "modules", "proc", "sys"] {
        member(&mut archive, folder, 0o040_755, &[]);
    }
    member(&mut archive, "bin/busybox", 0o100_755, &fs_err::read(busybox).unwrap());
    member(&mut archive, "init", 0o100_755, INIT.as_bytes());
    let mut order = String::new();
    for module in MODULES {
        let file = format!("{module}.ko");
        if let Ok(bytes) = fs_err::read(modules.join(&file)) {
            member(&mut archive, &format!("modules/{file}"), 0o100_644, &bytes);
            order += &format!("{file}\n");
        }
    }
    member(&mut archive, "modules/order", 0o100_644, order.as_bytes());
    member(&mut archive, "TRAILER!!!", 0, &[]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&archive).unwrap();
    packed.finish().unwrap()
}

/// One file of an archive in the form `newc` (`cpio(5)`).
fn member(archive: &mut Vec<u8>, name: &str, mode: u32, bytes: &[u8]) {
    let pad = |archive: &mut Vec<u8>| archive.resize(archive.len().next_multiple_of(4), 0);
    let number = archive.len() as u32;
    let fields = [number, mode, 0, 0, 1, 0, bytes.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(bytes);
    pad(archive);
}
