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
