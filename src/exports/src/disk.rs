//! Disk images of a layer's files.

use std::sync::Arc;

use async_trait::async_trait;
use imgbuild_digest::{ContentHash as _, ContentHasher};
use imgbuild_disk::{
    Bootloader, ClusterCompression, DiskError, DiskFormat, DiskOptions, FileSystem, GuestJob, Identity,
    Overlay, Table, UnfinishedDisk, begin_disk, parse_size, table::Architecture,
};
use imgbuild_engine::{ActionContext, ActionError, Executor, Outcome, Told};
use imgbuild_model::{Architecture as Target, Value, with_causes};

use crate::image::Layers;
use crate::keep::keep_file;
use crate::{failed, output, squashed, workers};

/// What a machine mounts file systems on before anything can make a folder; layers do not have them.
const MOUNT_POINTS: [&str; 4] = ["dev", "proc", "run", "sys"];

/// Who runs machines for what is not written by calculation.
#[async_trait]
pub trait Guests: Send + Sync {
    /// Runs the machine that a disk needs, until all is on it; lines are told on the way. Ends the machine when it is dropped.
    ///
    /// # Errors
    /// If it cannot be run here, or what it was to do does not work; with the last lines of its console.
    async fn run(&self, job: &GuestJob, told: &Told) -> Result<(), ActionError>;
}

/// Writes the disk that the action's attributes describe.
pub(crate) struct DiskOfTree {
    pub(crate) guests: Arc<dyn Guests>,
}

#[async_trait]
impl Executor for DiskOfTree {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        // Writing keeps a processor busy: not on the threads that wait for many things at once.
        let disk = tokio::task::block_in_place(|| begin(context))?;
        if let Some(job) = disk.job() {
            let told = context.told();
            let run = context.cancel.unless_cancelled(self.guests.run(job, &told)).await;
            run.ok_or(ActionError::Cancelled)??;
        }
        tokio::task::block_in_place(|| {
            let written = disk.finish().map_err(refused)?;
            let file = keep_file(&context.cache, &written.path, &output(context)?)?;
            Ok(Outcome { files: vec![file], ..Outcome::default() })
        })
    }
}

fn begin(context: &ActionContext) -> Result<UnfinishedDisk, ActionError> {
    let layers = Layers::of_parent(context)?;
    let options = options(context, &layers)?;
    // Some formats hold the name of the file.
    let path = context.temporary.join(output(context)?);
    let view = squashed(&layers)?;
    let mut tree = Overlay::new(&view);
    tree.add_missing_folders(&MOUNT_POINTS, options.epoch);
    begin_disk(&tree, &options, &path).map_err(refused)
}

fn options(context: &ActionContext, layers: &Layers) -> Result<DiskOptions, ActionError> {
    let architecture = match context.platform().architecture {
        Target::Amd64 => Architecture::X86_64,
        Target::Arm64 => Architecture::Aarch64,
        Target::Riscv64 => Architecture::Riscv64,
        other => {
            let what = format!("a disk for `{}` is not built in", other.oci_name());
            return Err(ActionError::input(what).hint("disks are for amd64, arm64 and riscv64"));
        }
    };
    let mut options = DiskOptions::new(identity(layers), architecture, layers.metadata.source_date);
    let text = |name: &str| context.text(name).unwrap_or_default();
    let number = context.attributes().get("number").and_then(Value::as_int).unwrap_or_default();
    if text("format") == "efivars" || number != 0 {
        let what =
            "a tree becomes one disk; only a virtual machine has several, and variables of its firmware";
        return Err(ActionError::input(what).hint("take out `number`, and say another `format`"));
    }
    options.format = match &*text("format") {
        "raw" => DiskFormat::Raw,
        "vmdk" => DiskFormat::Vmdk { packed: false },
        "vhd" => DiskFormat::Vhd,
        "vhdx" => DiskFormat::Vhdx,
        _ => DiskFormat::Qcow2 {
            compression: match &*text("compression") {
                "zlib" => Some(ClusterCompression::Zlib),
                "zstd" => Some(ClusterCompression::Zstd),
                _ => None,
            },
        },
    };
    options.table = match &*text("table") {
        "mbr" => Table::Mbr,
        "none" => Table::None,
        _ => Table::Gpt,
    };
    options.file_system = match &*text("filesystem") {
        "btrfs" => FileSystem::Btrfs,
        "xfs" => FileSystem::Xfs,
        _ => FileSystem::Ext4,
    };
    options.bootloader = match &*text("bootloader") {
        "systemd-boot" => Bootloader::SystemdBoot,
        "grub" => Bootloader::Grub,
        "grub-bios" => Bootloader::GrubBios,
        "hybrid" => Bootloader::Hybrid,
        "none" => Bootloader::None,
        _ => Bootloader::Auto,
    };
    let size = context.text("size").map(|size| parse_size(&size)).transpose();
    options.size = size.map_err(|error| ActionError::input(error.to_string()))?;
    options.command_line = text("cmdline");
    options.hostname = context.text("hostname");
    options.workers = workers();
    Ok(options)
}

/// What the identifiers of the disk follow from: its files, and nothing of this build.
fn identity(layers: &Layers) -> Identity {
    let mut hasher = ContentHasher::new("imgbuild disk identity");
    layers.ids.content_hash(&mut hasher);
    Identity::new(hasher.finish().0)
}

/// What of a disk this machine is to blame for, and what the image.
fn refused(error: DiskError) -> ActionError {
    match error {
        DiskError::Io { .. } | DiskError::Image { .. } | DiskError::Contents { .. } => failed(error),
        other => ActionError::input(with_causes(&other)),
    }
}
