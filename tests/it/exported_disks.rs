//! Disk images as exports: the same bytes each time, judged by QEMU's own tools.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::examples::Examples;
use crate::support::{BUSYBOX, Workspace, busybox};

/// What is needed to boot a machine, by UEFI in the end.
const MACHINE: [&str; 3] =
    ["/usr/bin/qemu-system-x86_64", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
/// How long a machine without hardware's help may take to its log-in.
const PATIENCE: Duration = Duration::from_secs(600);

/// A machine, ended when it is dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const DISKS: &str = r#"
image(
    name = "web",
    base = ":base",
    steps = [shell("echo one > /one; ln /one /two; mkdir -m 700 /secret")],
    exports = [
        disk("raw", bootloader = "none", size = "64M"),
        disk("qcow2", bootloader = "none", size = "64M"),
        disk("qcow2", bootloader = "none", size = "64M", compression = "zstd"),
        disk("vmdk", bootloader = "none", size = "64M"),
        disk("vhdx", bootloader = "none", size = "64M"),
        disk("raw", bootloader = "none", size = "160M", filesystem = "btrfs"),
    ],
)
"#;

fn workspace(images: &str) -> Option<Workspace> {
    let workspace = Workspace::with(&format!("{BUSYBOX}{images}"));
    busybox(&workspace)?;
    Some(workspace)
}

#[test]
fn disks_of_each_format_hold_the_same_and_are_the_same_each_time() {
    let Some(workspace) = workspace(DISKS) else { return };
    workspace.ok(&["build", "//:web"]);
    let out = workspace.root().join("imgbuild-out/web");
    let names = ["web.raw", "web.qcow2", "web-2.qcow2", "web.vmdk", "web.vhdx", "web-2.raw"];
    let hashes = || names.map(|name| imgbuild_digest::Hash::of(&fs_err::read(out.join(name)).unwrap()));
    let first = hashes();
    fs_err::remove_dir_all(workspace.root().join("imgbuild-out")).unwrap();
    workspace.ok(&["build", "--force", "//:web"]);
    assert_eq!(first, hashes());

    if !std::path::Path::new("/usr/bin/qemu-img").exists() {
        return eprintln!("SKIPPED: there is no /usr/bin/qemu-img; `tests/run` installs it");
    }
    for name in &names[1..5] {
        let compared = Command::new("/usr/bin/qemu-img")
            .args(["compare", "web.raw", name])
            .current_dir(&out)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(compared.status.success(), "{name}: {compared:?}");
    }
}

#[test]
fn disks_that_cannot_be_made_are_refused() {
    let Some(workspace) = workspace(
        "image(name = \"bare\", base = \":base\", exports = [disk()])\n\
         image(name = \"small\", base = \":base\", exports = [disk(bootloader = \"none\", size = \"4M\")])\n\
         image(name = \"odd\", base = \":base\", exports = [disk(bootloader = \"none\", size = \"big\")])\n",
    ) else {
        return;
    };
    for (image, expected) in
        [("bare", "install `linux-image-cloud-amd64`"), ("small", "set `size` to"), ("odd", "`big`")]
    {
        let said = workspace.fails(1, &["build", &format!("//:{image}")]);
        assert!(said.stderr.contains(expected), "{}", said.stderr);
    }
    assert!(!workspace.has("imgbuild-out/bare"));
}

#[test]
fn the_machines_of_the_examples_boot_from_their_disks() {
    if let Some(missing) = MACHINE.iter().find(|path| !Path::new(path).exists()) {
        return eprintln!("SKIPPED: there is no {missing}; `tests/run` installs it");
    }
    let examples = Examples::new();
    examples.ok("", &["build", "//examples/machine:vm", "//examples/machine:bios"]);
    let out = |name: &str| examples.path(&format!("imgbuild-out/examples/machine/{name}/{name}.qcow2"));
    boots(&out("vm"), Firmware::Uefi);
    boots(&out("vm"), Firmware::Bios);
    boots(&out("bios"), Firmware::Bios);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Firmware {
    Uefi,
    /// QEMU's own.
    Bios,
}

/// Waits for the log-in of a machine that has a disk and nothing else.
fn boots(disk: &Path, firmware: Firmware) {
    let folder = tempfile::tempdir().unwrap();
    let (variables, console) = (folder.path().join("variables"), folder.path().join("console"));
    let mut command = Command::new(MACHINE[0]);
    command
        .args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-m", "768", "-smp", "2"])
        .args(["-display", "none", "-no-reboot", "-nic", "none", "-snapshot"])
        .args(["-serial", &format!("file:{}", console.display())])
        .args(["-drive", &format!("if=virtio,format=qcow2,file={}", disk.display())]);
    if firmware == Firmware::Uefi {
        fs_err::copy(MACHINE[2], &variables).unwrap();
        command
            .args(["-drive", &format!("if=pflash,format=raw,readonly=on,file={}", MACHINE[1])])
            .args(["-drive", &format!("if=pflash,format=raw,file={}", variables.display())]);
    }
    let _machine = Machine(command.stdin(Stdio::null()).spawn().unwrap());
    let began = Instant::now();
    loop {
        let said = String::from_utf8_lossy(&fs_err::read(&console).unwrap_or_default()).into_owned();
        if said.contains("machine login:") {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "no log-in of {} by {firmware:?}: {said}", disk.display());
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Images of the example's first one on xfs. GRUB's reader is the oldest of what has to understand it.
const XFS: &str = r#"
ODD = """
import os
os.makedirs("/opt/odd")
os.chdir("/opt/odd")
open("one", "w").write("word")
os.link("one", "two")
os.symlink("nowhere", "link")
os.mkfifo("pipe", 0o600)
open("holes", "w").truncate(8 << 20)
open("tool", "w").write("x")
os.chown("tool", 1234, 4321)
os.chmod("tool", 0o4711)
for name, value in [("user.word", "6b657074"), ("security.capability", CAPABILITY), ("system.posix_acl_access", ACL)]:
    os.setxattr("one", name, bytes.fromhex(value))
os.utime("tool", (1000000000, 1000000000))
os.chmod(".", 0o2750)
os.utime(".", (1000000000, 1000000000))
"""

SHOWN = """
import os
os.chdir("/opt/odd")
for name in sorted(os.listdir(".")) + ["."]:
    it = os.lstat(name)
    print(name, oct(it.st_mode), it.st_uid, it.st_gid, it.st_nlink)
for name in ["tool", "."]:
    print(name, "of", int(os.stat(name).st_mtime))
print("holes of", os.stat("holes").st_size, "in", os.stat("holes").st_blocks)
print("link to", os.readlink("link"))
for name in ["user.word", "security.capability", "system.posix_acl_access"]:
    print(name, os.getxattr("one", name).hex())
print("besides", [name for name in os.listdir("/") if name.startswith(".") or name == "lost+found"])
"""

CAPABILITY = "0100000200040000000000000000000000000000"
ACL = "0200000001000600ffffffff02000400d204000004000400ffffffff10000400ffffffff20000400ffffffff"

image(
    name = "without",
    base = ":base",
    exports = [disk(filesystem = "xfs")],
    platforms = ["linux/amd64"],
)

image(
    name = "xfs",
    base = ":base",
    steps = [
        apt_install("cloud-guest-utils", "grub-pc-bin", "xfsprogs"),
        shell(["python3 - <<'EOF'\n" + ODD.replace("CAPABILITY", repr(CAPABILITY)).replace("ACL", repr(ACL)) + "EOF"]),
    ],
    exports = [disk("qcow2", size = "2G", filesystem = "xfs", bootloader = "grub-bios", cmdline = "no_timer_check")],
    platforms = ["linux/amd64"],
)

image(
    name = "small",
    base = ":xfs",
    exports = [disk(size = "400M", filesystem = "xfs", bootloader = "grub-bios")],
    platforms = ["linux/amd64"],
)

image_test(
    name = "xfs_boots",
    image = ":xfs",
    boot = True,
    machine = qemu(cpus = 2, machine_type = "q35", seed = "nocloud", disk_size = "3G"),
    boot_timeout = "15m",
    checks = [
        command_succeeds("findmnt -n -o FSTYPE /", stdout_matches = "(?m)^xfs$"),
        command_succeeds("stat -f -c '%b * %S / 1048576' / | xargs expr", stdout_matches = "(?m)^(2[5-9]|3.)..$"),
        command_succeeds(["python3", "-c", SHOWN]),
    ],
)
"#;

/// What the machine shows of the odd files.
const ODD_FILES: [&str; 15] = [
    "holes 0o100644 0 0 1",
    "link 0o120777 0 0 1",
    "one 0o100644 0 0 2",
    "pipe 0o10600 0 0 1",
    "tool 0o104711 1234 4321 1",
    "two 0o100644 0 0 2",
    ". 0o42750 0 0 2",
    "tool of 1000000000",
    ". of 1000000000",
    "holes of 8388608 in 0",
    "link to nowhere",
    "user.word 6b657074",
    "security.capability 0100000200040000000000000000000000000000",
    "system.posix_acl_access 0200000001000600ffffffff02000400d204000004000400ffffffff10000400ffffffff20000400ffffffff",
    "besides []",
];

#[test]
fn a_disk_on_xfs_is_made_by_a_machine_that_runs_the_image() {
    let Some(examples) = crate::virtual_machines::examples() else { return };
    let file = examples.path("examples/qemu-debian/BUILD.star");
    let build = fs_err::read_to_string(&file).unwrap();
    fs_err::write(&file, format!("{build}{XFS}")).unwrap();
    let target = |name: &str| format!("//examples/qemu-debian:{name}");

    for (name, expected) in
        [("without", "has no `mkfs.xfs`; install `xfsprogs`"), ("small", "and has 400M; set `size` to ")]
    {
        let said = examples.fails(1, "", &["build", &target(name)]);
        assert!(said.stderr.contains(expected), "{said:#?}");
    }
    let no_machines =
        examples.command("", &["build", &target("xfs")]).env("PATH", "/nowhere").output().unwrap();
    let said = String::from_utf8_lossy(&no_machines.stderr);
    assert!(said.contains("install the package `qemu-system-x86`"), "{said}");

    let said = examples.ok("", &["test", "-v", &target("xfs_boots")]);
    let said = format!("{}{}", said.stdout, said.stderr);
    for line in ODD_FILES {
        assert!(said.contains(&format!("| {line}\n")), "`{line}` is not in {said}");
    }
    examples.ok("", &["build", &target("xfs")]);
    check_xfs(&examples.path("imgbuild-out/examples/qemu-debian/xfs/xfs.qcow2"));
}

/// Has the root partition of a disk of 2 GiB looked at, which is behind one of 1 MiB for GRUB.
fn check_xfs(disk: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let partition = format!(
        "driver=raw,offset={},size={},file.driver=qcow2,file.file.driver=file,file.file.filename={}",
        2_u64 << 20,
        (2_u64 << 30) - (3 << 20),
        disk.display()
    );
    let cut = Command::new("/usr/bin/qemu-img")
        .args(["convert", "--image-opts", "-O", "raw", &partition])
        .arg(&root)
        .status()
        .unwrap();
    assert!(cut.success());
    let Ok(checked) = Command::new("/usr/sbin/xfs_repair").args(["-n", "-f"]).arg(&root).output() else {
        return eprintln!("SKIPPED: there is no /usr/sbin/xfs_repair; `tests/run` installs it");
    };
    assert!(checked.status.success(), "{checked:?}");
}
