//! Machines that are installed from a medium by keys that are typed at their screen: through a template and as a target, and
//! one whose installation comes to nothing.
//!
//! The medium is made here (`installer/iso`): a kernel of Debian whose first program reads what is typed and copies a disk that it
//! fetches. What it installs is the disk of `examples/qemu-debian`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::examples::Examples;
use crate::support::{ran, said};
use crate::virtual_machines::{change, examples};

/// The size of an extent's unit: that of clusters of qcow2.
const UNIT: u64 = 1 << 16;

/// The installer's medium, made once; `None`, with the reason said, where it cannot be made.
fn medium() -> Option<&'static Path> {
    static MEDIUM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("installer.iso");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/it/installer/iso");
        let output = Command::new(script).arg(&made).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => Some(made),
            Some(3) => {
                eprintln!("SKIPPED: {}", said.trim());
                None
            }
            _ => panic!("{said}"),
        }
    });
    MEDIUM.as_deref()
}

/// The example with what an installer serves beside it: the disk's data without its holes, and a script that puts it on the disk.
fn installation() -> Option<Examples> {
    let examples = examples()?;
    let medium = medium()?;
    let folder = examples.path("installed");
    fs_err::create_dir_all(folder.join("http")).unwrap();
    fs_err::copy(medium, folder.join("installer.iso")).unwrap();
    let sums = Command::new("sha256sum").arg("installer.iso").current_dir(&folder).output().unwrap();
    fs_err::write(folder.join("SHA256SUMS"), sums.stdout).unwrap();
    examples.ok("", &["build", "//examples/qemu-debian:base"]);
    let disk = examples.path("imgbuild-out/examples/qemu-debian/base/base.qcow2");
    let raw = folder.join("raw");
    let converted =
        Command::new("/usr/bin/qemu-img").args(["convert", "-O", "raw"]).args([&disk, &raw]).status();
    assert!(converted.unwrap().success());
    let map = Command::new("/usr/bin/qemu-img")
        .args(["map", "--output=json", "-f", "raw"])
        .arg(&raw)
        .output()
        .unwrap();
    let map: Vec<serde_json::Value> = serde_json::from_slice(&map.stdout).unwrap();
    let data: Vec<(u64, u64)> = map
        .iter()
        .filter(|extent| extent["data"] == true)
        .map(|extent| {
            let (start, length) = (extent["start"].as_u64().unwrap(), extent["length"].as_u64().unwrap());
            (start / UNIT, (start + length).div_ceil(UNIT))
        })
        .collect();
    pack(&raw, &data, &folder.join("http"));
    fs_err::remove_file(raw).unwrap();
    Some(examples)
}

/// Writes the data of a disk one after the other, and the script that takes it apart again.
fn pack(raw: &Path, data: &[(u64, u64)], folder: &Path) {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut disk = fs_err::File::open(raw).unwrap();
    let mut packed = fs_err::File::create(folder.join("disk")).unwrap();
    let mut script = "wget -q -O - \"$URL/disk\" | {\n".to_owned();
    let mut done = 0;
    for &(first, end) in data {
        // Two extents may share a unit.
        let first = first.max(done);
        if first >= end {
            continue;
        }
        disk.seek(SeekFrom::Start(first * UNIT)).unwrap();
        let copied = std::io::copy(&mut (&mut disk).take((end - first) * UNIT), &mut packed).unwrap();
        assert_eq!(copied % UNIT, 0, "the disk ends in the midst of a unit");
        let count = copied / UNIT;
        script += &format!(
            "dd of=/dev/vda bs={UNIT} count={count} seek={first} conv=notrunc iflag=fullblock 2>/dev/null\n"
        );
        done = end;
    }
    fs_err::write(folder.join("install.sh"), script + "}\n").unwrap();
}

/// Has the installation come to nothing unless a medium was read that says this.
fn require(examples: &Examples, seen: &str) {
    let path = examples.path("installed/http/install.sh");
    let script = fs_err::read_to_string(&path).unwrap();
    fs_err::write(path, format!("grep -qF '{seen}' /seen\n{script}")).unwrap();
}

const TEMPLATE: &str = r#"
source "qemu" "installed" {
  # The first of them is not there.
  iso_urls         = ["installed/none.iso", "installed/installer.iso"]
  iso_checksum     = "file:installed/SHA256SUMS"
  disk_size        = "3G"
  efi_boot         = true

  disk_additional_size = ["64M"]
  memory           = 1024
  cpus             = 2
  headless         = true
  vm_name          = "installed.qcow2"
  output_directory = "imgbuild-out/installed"
  http_directory   = "installed/http"
  # The kernel that is installed has no driver for other drives.
  cdrom_interface  = "virtio"
  cd_label         = "cidata"
  cd_content = {
    "meta-data" = "instance-id: installed\n"
    "user-data" = <<-EOT
      #cloud-config
      locale: false
      ssh_pwauth: true
      users:
        - name: packer
          sudo: ALL=(ALL) NOPASSWD:ALL
          shell: /bin/bash
          lock_passwd: false
          plain_text_passwd: packer
    EOT
  }
  floppy_content    = { "answers.txt" = "read from a floppy disk\n" }
  boot_wait         = "15s"
  boot_key_interval = "20ms"
  # How long it takes until somebody listens depends on what else this host does, so that it is said several times. What came
  # too early is lost, and what came too late does nothing.
  boot_command = [
    "INSTALLxx<bs><bs><spacebar>nowhere<enter><wait20>",
    "<leftShiftOn>i<leftShiftOff>nstall http://{{ .HTTPIP }}:{{ .HTTPPort }} {{ .Name }}<enter><wait30s>",
    "<enter>Install http://{{ .HTTPIP }}:{{ .HTTPPort }} {{ .Name }}<enter><wait45s>",
    "<enter>Install http://{{ .HTTPIP }}:{{ .HTTPPort }} {{ .Name }}<enter><wait>",
    "<enter>Reboot<enter>",
  ]
  ssh_username     = "packer"
  ssh_password     = "packer"
  ssh_timeout      = "15m"
  shutdown_command = "sudo poweroff"
}

build {
  sources = ["source.qemu.installed"]

  provisioner "shell" {
    inline = ["test -e /var/lib/cloud/instances/installed", "uname -r", "date > /tmp/built"]
  }

  provisioner "shell" {
    inline = ["sudo mv /tmp/built /etc/built"]
  }
}
"#;

#[test]
fn a_template_installs_a_machine_once() {
    let Some(examples) = installation() else { return };
    require(&examples, " has user-data: #cloud-config");
    let template = "installed.pkr.hcl";
    fs_err::write(examples.path(template), TEMPLATE).unwrap();
    let said = examples.ok("", &["build", template]).stdout;
    for line in
        ["Typing the boot command...", "Connected to SSH!", "VM files in directory: imgbuild-out/installed"]
    {
        assert!(said.contains(line), "{said}");
    }
    let folder = examples.path("imgbuild-out/installed");
    let sizes = ["installed.qcow2", "installed.qcow2-1"].map(|name| virtual_size(&folder.join(name)));
    assert_eq!(sizes, [3 << 30, 64 << 20]);
    // As large as the variables that OVMF starts with, and written to since.
    let variables = ["/usr/share/OVMF/OVMF_VARS_4M.fd".into(), folder.join("efivars.fd")];
    let [theirs, own] = variables.map(|file: PathBuf| fs_err::read(file).unwrap());
    assert!(theirs.len() == own.len() && theirs != own);

    // The machine is not installed again, and has no medium any more.
    change(&examples, template, "/etc/built\"", "/etc/built-again\"");
    let said = examples.ok("", &["build", template]).stdout;
    assert!(said.contains("1 step cached") && said.contains("Waiting for SSH"), "{said}");
    assert!(!said.contains("boot command"), "{said}");
}

/// The size of a disk as a machine sees it, in bytes.
fn virtual_size(disk: &Path) -> u64 {
    let info = Command::new("/usr/bin/qemu-img").args(["info", "--output=json"]).arg(disk).output().unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    info["virtual-size"].as_u64().unwrap()
}

const TARGETS: &str = r#"
INSTALLS = dict(
    disk = "installer.iso",
    checksum_list = "SHA256SUMS",
    installer = True,
    disk_size = "3G",
    efi_boot = True,
    memory = 1024,
    cpus = 2,
    network = True,
    boot_wait_for = "the installer is ready",
    boot_key_interval = "20ms",
    boot_command = [
        "INSTALLxx<bs><bs><spacebar>nowhere<enter>",
        "<leftShiftOn>i<leftShiftOff>nstall http://{{ .HTTPIP }}:{{ .HTTPPort }} {{ .Name }}<enter>",
        "Reboot<enter>",
    ],
)

image(
    name = "installed",
    source = qemu(
        http = "http",
        # The drives of a `q35` are SATA's, as installers know them.
        machine_type = "q35",
        vtpm = True,
        seed = "nocloud",
        cd_content = {"deep/answers.txt": "on a CD"},
        ssh_timeout = "15m",
        **INSTALLS
    ),
    steps = [shell(["cat /sys/class/tpm/tpm0/tpm_version_major", "date > /etc/built"])],
    tests = [file_exists("/etc/built")],
    platforms = ["linux/amd64"],
)

image(
    name = "lost",
    source = qemu(
        http_content = {
            "/install.sh": "echo \"$URL\" | sed 's/:[0-9]*$//'; wget -q -O - $URL/word",
            "/word": "and is lost\n",
        },
        vm_name = "lost-machine",
        floppy_content = {"answers.txt": "on a floppy disk"},
        cd = ["SHA256SUMS"],
        cd_content = {"deep/answers.txt": "on a CD"},
        ssh_username = "nobody",
        ssh_timeout = "1m",
        authorized_key = "key.pub",
        boot_steps = [
            ["Install http://{{ .HTTPIP }}:{{ .HTTPPort }} {{ .Name }}<enter>", "Where the script is"],
            ["Key {{ .SSHPublicKey | urlquery }}<enter>", "Who is let in"],
            ["<wait>", "A moment"],
        ],
        **{name: value for name, value in INSTALLS.items() if name != "boot_command"}
    ),
    platforms = ["linux/amd64"],
)
"#;

#[test]
fn a_target_is_installed_once() {
    let Some(examples) = installation() else { return };
    require(&examples, "sr1 has deep/answers.txt: on a CD");
    fs_err::write(examples.path("installed/BUILD.star"), TARGETS).unwrap();
    // Sockets and files of machines lie there, and an option of QEMU's ends at a comma.
    let temporary = examples.path("a, b");
    fs_err::create_dir(&temporary).unwrap();
    let ok = |words: &[&str]| {
        let output = examples.command("", words).env("TMPDIR", &temporary).output().unwrap();
        let said = said(&output);
        assert_eq!(said.code, Some(0), "{said:#?}");
        said
    };
    let built = ran(&ok(&["--json", "build", "//installed:installed"]));
    assert!(built.iter().any(|step| step.starts_with("qemu")), "{built:?}");
    ok(&["test", "//installed:installed"]);
    change(&examples, "installed/BUILD.star", "date > /etc/built", "date -u > /etc/built");
    let built = ran(&ok(&["--json", "build", "//installed:installed"]));
    assert!(built.iter().any(|step| step.starts_with("shell")), "{built:?}");
    assert!(!built.iter().any(|step| step.starts_with("qemu")), "it is installed again: {built:?}");
}

/// A key of which nobody has the private half.
const PUBLIC_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICcE1lQMp+VMa2gyrew8MhOgmRnYrW8iUYO1RTmgsyE4";

#[test]
fn an_installation_that_comes_to_nothing_shows_the_console() {
    let Some(examples) = installation() else { return };
    fs_err::write(examples.path("installed/BUILD.star"), TARGETS).unwrap();
    fs_err::write(examples.path("installed/key.pub"), format!("{PUBLIC_KEY} whose@it.is\n")).unwrap();
    let failed = said(&examples.command("", &["build", "//installed:lost"]).output().unwrap());
    assert_eq!(failed.code, Some(3), "{failed:#?}");
    for part in [
        "Typing: Where the script is",
        "its console ends with:",
        "typed: Install http://10.0.2.2:",
        " lost-machine\n",
        "fd0 has answers.txt: on a floppy disk",
        // The medium is the first CD, whatever else there is.
        "sr0 has efi.img: ",
        "sr1 has SHA256SUMS: ",
        "sr1 has deep/answers.txt: on a CD",
        "http://10.0.2.2\n",
        "and is lost\n",
        "the disk is written",
        "typed: Key ssh-ed25519+AAAAC3NzaC1lZDI1NTE5AAAAI",
    ] {
        assert!(
            failed.stderr.contains(part) || failed.stdout.contains(part),
            "`{part}`: {}\n{}",
            failed.stdout,
            failed.stderr
        );
    }
}
