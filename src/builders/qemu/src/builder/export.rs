//! `disk` of a machine's layers: one of its disks as one file, or the variables of its firmware.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use imgbuild_cache::OutputFile;
use imgbuild_engine::{ActionContext, ActionError, Executor, Outcome};
use imgbuild_model::Value;

use super::QemuBuilder;
use super::disks::Chain;
use crate::image::Conversion;
use crate::spec::DiskFormat;

/// The code behind `disk` for layers of this builder.
pub struct DiskExport {
    builder: QemuBuilder,
}

impl DiskExport {
    /// For layers of this builder.
    #[must_use]
    pub fn new(builder: QemuBuilder) -> Self {
        Self { builder }
    }
}

/// What only a disk that is made from a tree has.
const OF_TREES: [&str; 6] = ["size", "table", "filesystem", "bootloader", "cmdline", "hostname"];

#[async_trait]
impl Executor for DiskExport {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        for name in OF_TREES {
            if context.attributes().get(name).is_some_and(|value| *value != Value::None) {
                let what =
                    format!("`{name}` of `disk` says how a disk is made, and a machine's is there already");
                return Err(ActionError::input(what)
                    .hint("take it out; `disk_size` of the source says how large it is"));
            }
        }
        let outputs = &context.node().action.outputs;
        let name = outputs.first().ok_or_else(|| ActionError::input("`disk` has no output"))?.to_string();
        let layers = context.parent().layers;
        let chain = Chain::new(&context.run, &layers);
        let format = context.text("format");
        if format.as_deref() == Some("efivars") {
            return variables(context, &chain, name);
        }
        let images = images(context, &chain)?;
        let tool = self.builder.images().await?;
        let (to, mut arguments) = match format.as_deref() {
            Some("raw") => ("raw", Vec::new()),
            Some("vmdk") => ("vmdk", vec!["-o", "subformat=streamOptimized"]),
            Some("vhd") => ("vpc", vec!["-o", "subformat=fixed,force_size=on"]),
            Some("vhdx") => ("vhdx", Vec::new()),
            _ => ("qcow2", Vec::new()),
        };
        let compression = context.text("compression").filter(|text| text != "none");
        if compression.is_some() && to != "qcow2" {
            return Err(ActionError::input(format!("`compression` is for `qcow2`, not for `{to}`")));
        }
        let compress = match compression.as_deref() {
            Some("zstd") => {
                arguments.extend(["-o", "compression_type=zstd"]);
                true
            }
            Some("zlib") => true,
            _ => false,
        };
        if compress {
            // Clusters are compressed at once by as many as there are processors, and still written in their order.
            arguments.extend(["-m", "8"]);
        }
        let conversion = Conversion {
            from: DiskFormat::Qcow2,
            to: to.to_owned(),
            compress,
            backing: None,
            arguments: arguments.into_iter().map(str::to_owned).collect(),
        };
        let path = context.temporary.join(&name);
        let work = tool.flatten(&images, &path, &conversion);
        context.cancel.unless_cancelled(work).await.ok_or(ActionError::Cancelled)??;
        made(context, &path, name)
    }
}

/// The images of the disk that is wanted, the highest first.
fn images(context: &ActionContext, chain: &Chain<'_>) -> Result<Vec<PathBuf>, ActionError> {
    let number = context.attributes().get("number").and_then(Value::as_int).unwrap_or_default();
    let images = usize::try_from(number).map_or(Ok(Vec::new()), |number| chain.disk(number))?;
    if images.is_empty() {
        let what =
            format!("the machine has no disk {number}: they are numbered from 0 to {}", chain.disks() - 1);
        return Err(ActionError::input(what).hint("`disk_additional_size` of the source gives it more"));
    }
    Ok(images)
}

/// The variables of the machine's firmware.
fn variables(context: &ActionContext, chain: &Chain<'_>, name: String) -> Result<Outcome, ActionError> {
    let variables = chain.variables().ok_or_else(|| {
        ActionError::input("the machine has no variables of UEFI").hint("say `efi_boot = True` of its source")
    })?;
    made(context, &variables, name)
}

fn made(context: &ActionContext, path: &Path, name: String) -> Result<Outcome, ActionError> {
    let digest = tokio::task::block_in_place(|| context.cache.put_file(path))?.digest;
    Ok(Outcome { files: vec![OutputFile { path: name, digest, executable: false }], ..Outcome::default() })
}
