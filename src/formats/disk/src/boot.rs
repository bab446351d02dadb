//! What makes a disk boot: the tree's own kernel, initial RAM disk and loaders, and the loaders' configuration.
//!
//! Nothing of the host is used. systemd-boot reads its entries (Boot Loader Specification, type 1) from the EFI system
//! partition, so the kernel is copied there; GRUB reads the kernel from the root file system.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use uuid::Uuid;

use crate::DiskError;
use crate::bios::{self, BiosLoader};
use crate::disk::FileSystem;
use crate::fat::{FatContents, FatFile};
use crate::table::Architecture;
use crate::tree::{Node, Tree, name_of};
use crate::version;

/// What of a tree's packages loads the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Bootloader {
    /// With UEFI: systemd-boot if the tree has it, else GRUB.
    #[default]
    Auto,
    /// systemd-boot.
    SystemdBoot,
    /// GRUB for UEFI: signed with shim in front if the tree has both, else Debian's monolithic one.
    Grub,
    /// GRUB on machines with BIOS.
    GrubBios,
    /// With UEFI as [`Bootloader::Auto`], and with BIOS by GRUB.
    Hybrid,
    /// None: the disk does not boot by itself.
    None,
}

impl Bootloader {
    /// Whether the disk boots by UEFI, for which it has an EFI system partition.
    #[must_use]
    pub fn is_for_uefi(self) -> bool {
        !matches!(self, Self::GrubBios | Self::None)
    }

    /// Whether the disk boots by BIOS.
    #[must_use]
    pub fn is_for_bios(self) -> bool {
        matches!(self, Self::GrubBios | Self::Hybrid)
    }
}

/// How loader and kernel find the root file system.
#[derive(Clone, Debug)]
pub struct RootReference {
    /// What comes after `root=PARTUUID=`.
    pub partuuid: String,
    /// The UUID of the file system.
    pub file_system: Uuid,
    /// What it is.
    pub kind: FileSystem,
}

/// What goes on the disk to make it boot.
pub struct BootPlan<'t> {
    /// The loader that was found for UEFI; [`Bootloader::GrubBios`] if none was wanted.
    pub loader: Bootloader,
    /// The version of the kernel that will run.
    pub kernel: String,
    /// The whole command line of the kernel.
    pub command_line: String,
    /// The files of the EFI system partition, folders in order; none if it does not boot by UEFI.
    pub files: Vec<FatFile<'t>>,
    /// What boots by BIOS, and the `/boot/grub/grub.cfg` that it reads.
    pub bios: Option<(BiosLoader, String)>,
}

/// `/etc/os-release` must not be longer.
const LONGEST_OS_RELEASE: u64 = 64 << 10;

/// Where a kernel says which modules are built in (`Documentation/kbuild/kbuild.rst`).
const BUILT_IN: &str = "modules.builtin";

/// What is read of such a list at most; Debian's have some 10 KB.
const LARGEST_LIST: u64 = 4 << 20;

/// What is read of a part of GRUB at most; the largest has some 150 KB.
const LARGEST_PART: u64 = 4 << 20;

impl<'t> BootPlan<'t> {
    /// Finds kernel and loaders in `tree`. The kernel's command line is `root=PARTUUID=… rw`, the consoles that
    /// `architecture` has, and `extra`.
    ///
    /// # Errors
    ///
    /// No kernel, no initial RAM disk, no loader; BIOS where `architecture` has none.
    pub fn find(
        tree: &'t dyn Tree,
        architecture: Architecture,
        wanted: Bootloader,
        root: &RootReference,
        extra: &str,
    ) -> Result<Self, DiskError> {
        let files = Files::of(tree);
        let system = files.os_release()?;
        let console = if architecture == Architecture::Aarch64 { "ttyAMA0" } else { "ttyS0" };
        let mut command_line = format!("root=PARTUUID={} rw console=tty0 console={console}", root.partuuid);
        if !extra.trim().is_empty() {
            command_line.push(' ');
            command_line.push_str(extra.trim());
        }
        if command_line.contains(['\n', '\r', '\0']) {
            return Err(DiskError::Options("`cmdline` must be one line".to_owned()));
        }
        let kernel = files.kernel(architecture)?;
        let mut plan = Self {
            loader: wanted,
            kernel: kernel.version.clone(),
            command_line,
            files: Vec::new(),
            bios: None,
        };
        if wanted.is_for_bios() {
            let config = grub_config(&system, &kernel, root, &plan.command_line)?;
            plan.bios = Some((files.bios_loader(architecture, root)?, config));
        }
        if wanted.is_for_uefi() {
            let loader = files.loader(architecture, wanted)?;
            for (from, to) in loader.copies {
                plan.files.push(files.copy(&from, to)?);
            }
            plan.loader = loader.kind;
            plan.files.extend(match loader.kind {
                Bootloader::SystemdBoot => {
                    systemd_boot(&files, &system, &kernel, architecture, &plan.command_line)?
                }
                _ => grub(&system, grub_config(&system, &kernel, root, &plan.command_line)?),
            });
        }
        Ok(plan)
    }
}

/// A kernel of the tree.
pub(crate) struct Kernel {
    pub(crate) version: String,
    /// Its path in the tree.
    pub(crate) image: String,
    /// The path of its initial RAM disk.
    pub(crate) initrd: String,
}

/// A loader of the tree.
struct Loader {
    kind: Bootloader,
    /// What is copied from the tree to which place of the partition.
    copies: Vec<(String, String)>,
}

/// What the system calls itself.
struct System {
    id: String,
    title: String,
}

/// The regular files of a tree by path, hard links resolved.
pub(crate) struct Files<'t> {
    tree: &'t dyn Tree,
    by_path: BTreeMap<&'t [u8], (&'t [u8], u64)>,
}

impl<'t> Files<'t> {
    pub(crate) fn of(tree: &'t dyn Tree) -> Self {
        let mut by_path: BTreeMap<&[u8], (&[u8], u64)> = BTreeMap::new();
        for entry in tree.entries() {
            let file = match entry.node {
                Node::File { size } => (entry.path, size),
                Node::HardLink { target } => match by_path.get(target) {
                    Some(file) => *file,
                    None => continue,
                },
                _ => continue,
            };
            by_path.insert(entry.path, file);
        }
        Self { tree, by_path }
    }

    fn has(&self, path: &str) -> bool {
        self.by_path.contains_key(path.as_bytes())
    }

    /// A file of the tree to be copied to `to`.
    fn copy(&self, from: &str, to: String) -> Result<FatFile<'t>, DiskError> {
        let (path, size) = self
            .by_path
            .get(from.as_bytes())
            .ok_or_else(|| DiskError::NoSuchFile { path: format!("/{from}") })?;
        let contents = FatContents::Tree { tree: self.tree, path: path.to_vec(), size: *size };
        Ok(FatFile { path: to, contents })
    }

    /// The newest kernel that the tree has.
    pub(crate) fn kernel(&self, architecture: Architecture) -> Result<Kernel, DiskError> {
        let prefix = b"boot/vmlinuz-";
        let newest = self
            .by_path
            .range(&prefix[..]..)
            .map_while(|(path, _)| path.strip_prefix(prefix))
            .filter(|version| !version.contains(&b'/') && !version.is_empty())
            .filter_map(|version| std::str::from_utf8(version).ok())
            .max_by(|one, other| version::compare(one, other));
        let Some(version) = newest else {
            let packages = match architecture {
                Architecture::X86_64 => "`linux-image-cloud-amd64` or `linux-image-amd64`",
                Architecture::Aarch64 => "`linux-image-cloud-arm64` or `linux-image-arm64`",
                Architecture::Riscv64 => "`linux-image-riscv64`",
            };
            return Err(DiskError::NoKernel { packages });
        };
        let initrd = [format!("boot/initrd.img-{version}"), format!("boot/initramfs-{version}.img")]
            .into_iter()
            .find(|path| self.has(path))
            .ok_or_else(|| DiskError::NoInitrd { version: version.to_owned() })?;
        Ok(Kernel { version: version.to_owned(), image: format!("boot/vmlinuz-{version}"), initrd })
    }

    /// Whether a kernel of the tree has a module, as a file or built in; `None` where the tree does not say what is built in, which then
    /// tells nothing.
    ///
    /// # Errors
    ///
    /// A list of what is built in that cannot be read.
    pub(crate) fn has_module(&self, kernel: &Kernel, module: &str) -> Result<Option<bool>, DiskError> {
        let file = format!("{module}.ko");
        let mut known = None;
        for folder in ["usr/lib/modules", "lib/modules"] {
            let prefix = format!("{folder}/{}/", kernel.version).into_bytes();
            let below =
                self.by_path.range(&prefix[..]..).map_while(|(path, _)| path.strip_prefix(&prefix[..]));
            for path in below {
                let name = name_of(path);
                // `xfs.ko`, `xfs.ko.xz`.
                let rest = name.strip_prefix(file.as_bytes());
                if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b".")) {
                    return Ok(Some(true));
                }
            }
            let list = format!("{folder}/{}/{BUILT_IN}", kernel.version);
            if self.has(&list) {
                known = Some(false);
                let text = self.read(&list, LARGEST_LIST)?;
                let mut lines = text.split(|byte| *byte == b'\n');
                if lines.any(|line| name_of(line) == file.as_bytes()) {
                    return Ok(Some(true));
                }
            }
        }
        Ok(known)
    }

    /// The loader that is wanted, or the first that the tree has.
    fn loader(&self, architecture: Architecture, wanted: Bootloader) -> Result<Loader, DiskError> {
        let efi = architecture.efi_name();
        // GRUB's name for the processor is the same but for x86.
        let grub = match architecture {
            Architecture::X86_64 => "x86_64",
            Architecture::Aarch64 => "arm64",
            Architecture::Riscv64 => "riscv64",
        };
        let first = format!("EFI/BOOT/BOOT{}.EFI", efi.to_ascii_uppercase());
        let systemd_boot = format!("usr/lib/systemd/boot/efi/systemd-boot{efi}.efi");
        let shim = format!("usr/lib/shim/shim{efi}.efi.signed");
        let manager = format!("usr/lib/shim/mm{efi}.efi.signed");
        let signed = format!("usr/lib/grub/{grub}-efi-signed/grub{efi}.efi.signed");
        let monolithic = format!("usr/lib/grub/{grub}-efi/monolithic/grub{efi}.efi");

        let (systemd_wanted, grub_wanted) = match wanted {
            Bootloader::Auto | Bootloader::Hybrid => (true, true),
            Bootloader::SystemdBoot => (true, false),
            Bootloader::Grub => (false, true),
            Bootloader::GrubBios | Bootloader::None => {
                return Err(DiskError::Options("there is nothing to find without a boot loader".to_owned()));
            }
        };
        if systemd_wanted && self.has(&systemd_boot) {
            let own = format!("EFI/systemd/systemd-boot{efi}.efi");
            let copies = vec![(systemd_boot.clone(), first), (systemd_boot, own)];
            return Ok(Loader { kind: Bootloader::SystemdBoot, copies });
        }
        if grub_wanted && self.has(&shim) && self.has(&signed) {
            let mut copies = vec![(shim, first), (signed, format!("EFI/BOOT/grub{efi}.efi"))];
            if self.has(&manager) {
                copies.push((manager, format!("EFI/BOOT/mm{efi}.efi")));
            }
            return Ok(Loader { kind: Bootloader::Grub, copies });
        }
        if grub_wanted && self.has(&monolithic) {
            return Ok(Loader { kind: Bootloader::Grub, copies: vec![(monolithic, first)] });
        }
        let looked_for =
            [(systemd_wanted, &systemd_boot), (grub_wanted, &signed), (grub_wanted, &monolithic)];
        let looked_for: Vec<_> =
            looked_for.iter().filter(|(was, _)| *was).map(|(_, path)| format!("`/{path}`")).collect();
        let packages = match (architecture, systemd_wanted, grub_wanted) {
            (_, true, false) => "`systemd-boot-efi`",
            (Architecture::X86_64, true, _) => "`systemd-boot-efi` or `grub-efi-amd64-bin`",
            (Architecture::X86_64, false, _) => {
                "`grub-efi-amd64-bin`, or `grub-efi-amd64-signed` and `shim-signed`"
            }
            (Architecture::Aarch64, true, _) => "`systemd-boot-efi` or `grub-efi-arm64-bin`",
            (Architecture::Aarch64, false, _) => {
                "`grub-efi-arm64-bin`, or `grub-efi-arm64-signed` and `shim-signed`"
            }
            (Architecture::Riscv64, ..) => "`systemd-boot-efi` or `grub-efi-riscv64-bin`",
        };
        let architecture = architecture.name();
        Err(DiskError::NoLoader {
            firmware: "UEFI",
            architecture,
            looked_for: looked_for.join(", "),
            packages,
        })
    }

    /// GRUB for machines with BIOS, linked to look for the root file system and to go on with its `grub.cfg`.
    fn bios_loader(&self, architecture: Architecture, root: &RootReference) -> Result<BiosLoader, DiskError> {
        if architecture != Architecture::X86_64 {
            let name = architecture.name();
            return Err(DiskError::Options(format!(
                "no {name} machine has a BIOS; set `bootloader = \"auto\"`, which boots by UEFI"
            )));
        }
        let core = format!("{}/kernel.img", bios::FOLDER);
        if !self.has(&core) {
            let (architecture, packages) = (architecture.name(), "`grub-pc-bin`");
            let looked_for = format!("`/{core}`");
            return Err(DiskError::NoLoader { firmware: "BIOS", architecture, looked_for, packages });
        }
        let uuid = root.file_system;
        let config = format!("search.fs_uuid {uuid} root\nset prefix=($root)/boot/grub\n");
        let module = match root.kind {
            FileSystem::Ext4 => "ext2",
            FileSystem::Btrfs => "btrfs",
            FileSystem::Xfs => "xfs",
        };
        BiosLoader::link(
            &|part| self.read(&format!("{}/{part}", bios::FOLDER), LARGEST_PART),
            module,
            &config,
        )
    }

    /// Writes the contents of a file to `destination` of the host.
    pub(crate) fn save(&self, path: &str, destination: &Path) -> Result<(), DiskError> {
        let missing = || DiskError::NoSuchFile { path: format!("/{path}") };
        let (path, _) = self.by_path.get(path.as_bytes()).ok_or_else(missing)?;
        let mut source = self.tree.open(path).map_err(DiskError::contents(path))?;
        let mut file = File::create_new(destination).map_err(DiskError::io("create", destination))?;
        io::copy(&mut source, &mut file).map_err(DiskError::io("write", destination))?;
        Ok(())
    }

    /// The first `limit` bytes of a file.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, DiskError> {
        let missing = || DiskError::NoSuchFile { path: format!("/{path}") };
        let (path, _) = self.by_path.get(path.as_bytes()).ok_or_else(missing)?;
        let mut bytes = Vec::new();
        self.tree
            .open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(DiskError::contents(path))?;
        Ok(bytes)
    }

    /// What the tree's `os-release` says; something general if there is none.
    fn os_release(&self) -> Result<System, DiskError> {
        let path = ["usr/lib/os-release", "etc/os-release"].into_iter().find(|path| self.has(path));
        let text = path.map_or(Ok(Vec::new()), |path| self.read(path, LONGEST_OS_RELEASE))?;
        let text = String::from_utf8_lossy(&text);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
            let value = line.trim().trim_matches(['"', '\'']);
            let value: String =
                value.chars().filter(|letter| !letter.is_control() && *letter != '\\').collect();
            (!value.is_empty()).then_some(value)
        };
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        let id = value("ID").filter(|id| id.chars().all(allowed) && !id.starts_with('.'));
        Ok(System {
            id: id.unwrap_or_else(|| "linux".to_owned()),
            title: value("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
        })
    }
}

/// systemd-boot's configuration, its entry, and the kernel that it loads.
fn systemd_boot<'t>(
    files: &Files<'t>,
    system: &System,
    kernel: &Kernel,
    architecture: Architecture,
    command_line: &str,
) -> Result<Vec<FatFile<'t>>, DiskError> {
    let version = name_on_fat(&kernel.version)?;
    let folder = format!("{}/{version}", system.id);
    let initrd = kernel.initrd.trim_start_matches("boot/");
    let sort_key = &system.id;
    let title = &system.title;
    let architecture = architecture.efi_name();
    let entry = format!(
        "title {title}\nversion {version}\nsort-key {sort_key}\narchitecture {architecture}\n\
         options {command_line}\nlinux /{folder}/linux\ninitrd /{folder}/{initrd}\n"
    );
    Ok(vec![
        bytes("loader/loader.conf", "timeout 0\nconsole-mode keep\n".to_owned()),
        bytes("loader/entries.srel", "type1\n".to_owned()),
        bytes(&format!("loader/entries/{}-{version}.conf", system.id), entry),
        files.copy(&kernel.image, format!("{folder}/linux"))?,
        files.copy(&kernel.initrd, format!("{folder}/{initrd}"))?,
    ])
}

/// GRUB's configuration, where Debian's, Ubuntu's and the removable loaders look for it.
fn grub<'t>(system: &System, config: String) -> Vec<FatFile<'t>> {
    let mut folders = vec!["BOOT", "debian", "ubuntu"];
    if !folders.contains(&system.id.as_str()) {
        folders.push(&system.id);
    }
    folders.iter().map(|folder| bytes(&format!("EFI/{folder}/grub.cfg"), config.clone())).collect()
}

/// What GRUB does: load `kernel` from the root file system at once.
fn grub_config(
    system: &System,
    kernel: &Kernel,
    root: &RootReference,
    command_line: &str,
) -> Result<String, DiskError> {
    let Kernel { version: _, image, initrd } = kernel;
    let plain = |text: &str| {
        text.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-+~=,:@%^ ".contains(letter))
    };
    for text in [image, initrd, command_line] {
        if !plain(text) {
            return Err(DiskError::Options(format!(
                "`{text}` cannot be written to `grub.cfg`: it has characters that GRUB's language gives a meaning"
            )));
        }
    }
    let title: String = system.title.chars().filter(|letter| !"'\\$".contains(*letter)).collect();
    let uuid = root.file_system;
    Ok(format!(
        "set timeout=0\nsearch --no-floppy --set=root --fs-uuid {uuid}\nmenuentry '{title}' {{\n\
         \tlinux /{image} {command_line}\n\tinitrd /{initrd}\n}}\n"
    ))
}

fn bytes<'t>(path: &str, text: String) -> FatFile<'t> {
    FatFile { path: path.to_owned(), contents: FatContents::Bytes(text.into_bytes()) }
}

/// A kernel's version as a name on FAT.
fn name_on_fat(version: &str) -> Result<&str, DiskError> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-+~^".contains(letter);
    if version.len() <= 200 && version.chars().all(allowed) {
        return Ok(version);
    }
    Err(DiskError::Options(format!("`{version}`, the kernel's version, cannot be a name on FAT")))
}
