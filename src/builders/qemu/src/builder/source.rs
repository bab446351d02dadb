//! The source `qemu`: the medium as the lowest layer, and over it what the machine wrote until it could be logged in to.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use imgbuild_cache::Lease;
use imgbuild_digest::{Digest, Hash};
use imgbuild_engine::{
    ActionContext, ActionError, Executor, LayerMetadata, Machine as _, MachineSpec as Wanted, Outcome,
};
use imgbuild_model::{Artifact, Value};
use imgbuild_plan::default_source_date;
use imgbuild_tree::DeltaId;

use super::access::Access;
use super::attributes::Source;
use super::disks::{self, file_name};
use super::machine::QemuMachine;
use super::typing::Typing;
use super::words::Words;
use super::{QemuBuilder, checksum};
use crate::spec::{Firmware, MachineSpec};

/// Where it is kept which blob a checksum is of.
const MEDIUM_MEMO: &str = "qemu-medium";

/// The code behind the sources `qemu` and `boot`.
pub struct QemuSource {
    builder: QemuBuilder,
    /// Whether the machine is started to make the lowest layer, which is the medium alone else.
    starts: bool,
}

impl QemuSource {
    /// `qemu`, for the steps that this builder carries out.
    #[must_use]
    pub fn new(builder: QemuBuilder) -> Self {
        Self { builder, starts: true }
    }

    /// `boot`: who stands on it starts the machine.
    #[must_use]
    pub fn of_disk(builder: QemuBuilder) -> Self {
        Self { builder, starts: false }
    }

    /// The disk or medium, as a file of this host.
    async fn medium(&self, source: Source<'_>) -> Result<PathBuf, ActionError> {
        let urls = source.texts("urls");
        if let Some(path) = source.files("disk").into_iter().next() {
            if let Some(checksum) = self.checksum(source, source.name_of("disk")).await? {
                checksum::verify(&path, &checksum)?;
            }
            return Ok(path);
        }
        let Some(first) = urls.first() else {
            return Err(ActionError::input(
                "a machine needs a disk to start from, or a medium that installs one",
            )
            .hint("say `disk`, the label of a file"));
        };
        match self.checksum(source, source.text("listed_as").unwrap_or_else(|| file_of(first))).await? {
            Some(checksum) => self.fetched(source, &urls, &checksum).await,
            None => Err(ActionError::input("`urls` need a `checksum`: it is what the key is made of")
                .hint("write it as `sha256:` and 64 hexadecimal digits")),
        }
    }

    /// The checksum of the medium of that name; looked up, if it is in a list. `none` says nothing of what it is.
    async fn checksum(&self, source: Source<'_>, name: &str) -> Result<Option<String>, ActionError> {
        let said = source.text("checksum").filter(|text| *text != "none");
        if let Some(list) = source.files("checksum_list").into_iter().next() {
            let text = fs_err::read(list)?;
            return checksum::in_list(&String::from_utf8_lossy(&text), name).map(Some);
        }
        let Some(url) = said.and_then(|text| text.strip_prefix("file:")) else {
            return Ok(said.map(str::to_owned));
        };
        let folder = tempfile::Builder::new().prefix("list-").tempdir_in(source.wanted.run.temporary())?;
        let list = folder.path().join("list");
        source.wanted.told.line(&format!("Retrieving {url}..."));
        self.builder.0.fetch.fetch(url, &list).await?;
        let text = fs_err::read(list)?;
        checksum::in_list(&String::from_utf8_lossy(&text), name).map(Some)
    }

    /// The medium from elsewhere: it is fetched once, and lies in the cache by its checksum.
    async fn fetched(
        &self,
        source: Source<'_>,
        urls: &[String],
        checksum: &str,
    ) -> Result<PathBuf, ActionError> {
        let cache = &self.builder.0.cache;
        let name = Hash::of(checksum.to_ascii_lowercase().as_bytes());
        let known = cache.memo_get(MEDIUM_MEMO, &name)?;
        let known = known.and_then(|text| String::from_utf8_lossy(&text).parse::<Digest>().ok());
        if let Some(digest) = known {
            source.wanted.run.lease(&[Lease::Blob(digest)])?;
            if let Ok(path) = cache.path(&digest)
                && checksum::verify(&path, checksum).is_ok()
            {
                return Ok(path);
            }
        }
        let folder = tempfile::Builder::new().prefix("medium-").tempdir_in(source.wanted.run.temporary())?;
        let mut problem = ActionError::input("there is no address to fetch the medium from");
        for (place, url) in urls.iter().enumerate() {
            let path = folder.path().join(place.to_string());
            source.wanted.told.line(&format!("Retrieving {url}..."));
            let fetched = self.builder.0.fetch.fetch(url, &path).await;
            match fetched.and_then(|()| checksum::verify(&path, checksum)) {
                Ok(()) => {
                    let digest = tokio::task::block_in_place(|| cache.put_file(&path))?.digest;
                    cache.memo_put(MEDIUM_MEMO, &name, digest.to_string().as_bytes())?;
                    source.wanted.run.lease(&[Lease::Blob(digest)])?;
                    return Ok(cache.path(&digest)?);
                }
                Err(error) => {
                    source.wanted.told.line(&format!("Error retrieving {url}: {error}"));
                    problem = error;
                }
            }
        }
        Err(problem)
    }

    /// The lowest layer.
    async fn lay(&self, source: Source<'_>, medium: &Path) -> Result<Vec<DeltaId>, ActionError> {
        let images = self.builder.images().await?;
        let staged = self.builder.0.cache.stage(&source.wanted.run)?;
        let at = |disk: usize| staged.upper().join(file_name(disk));
        let installs = source.flag("installer");
        let size = source.disk_size()?;
        disks::lay(&images, (!installs).then_some(medium), &at(0), size).await?;
        for (place, size) in source.further_disks()?.into_iter().enumerate() {
            disks::create(&images, &at(place + 1), size).await?;
        }
        tokio::task::block_in_place(|| disks::commit(&source.wanted.run, &[], staged))
    }
}

#[async_trait]
impl Executor for QemuSource {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let wanted = context.machine_spec();
        let work = self.make(&wanted);
        let layers = context.cancel.unless_cancelled(work).await.unwrap_or(Err(ActionError::Cancelled))?;
        let metadata = LayerMetadata {
            source_date: default_source_date(),
            materials: material(context).into_iter().collect(),
            ..LayerMetadata::default()
        };
        Ok(Outcome { layers, layer: Some(metadata), ..Outcome::default() })
    }
}

/// Boots the first CD once, and the first disk from then on.
fn boot_from_medium(spec: &mut MachineSpec) {
    match (&spec.firmware, spec.disks.first(), spec.cds.first_mut()) {
        // UEFI knows no "once": an empty disk does not boot, and one that is written comes first.
        (Firmware::Flash { .. }, Some(disk), Some(cd)) => {
            cd.boot_index = disk.boot_index.map(|place| place + 1);
        }
        _ => spec.boot = Some("once=d".to_owned()),
    }
}

/// The file's name at the end of an address.
fn file_of(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

/// What the chain stands on, for provenance.
fn material(context: &ActionContext) -> Option<(String, String)> {
    let checksum = context.text("checksum");
    let name = match context.attributes().get("disk") {
        Some(Value::Artifact(Artifact::Source(file))) => file.label.to_string(),
        Some(Value::Artifact(Artifact::Output { name, .. })) => name.to_string(),
        _ => return None,
    };
    Some((name, checksum.unwrap_or_default()))
}

impl QemuSource {
    async fn make(&self, wanted: &Wanted) -> Result<Vec<DeltaId>, ActionError> {
        let source = Source { wanted };
        let medium = self.medium(source).await?;
        wanted.told.line("Laying out the disk...");
        let layers = self.lay(source, &medium).await?;
        if !self.starts {
            return Ok(layers);
        }
        let access = Access::new(source)?;
        let mut parts = self.builder.parts(&layers, wanted, Some(&access), None).await?;
        let (typing, words) = Typing::new(source, &access).await?;
        let words = Words { http_port: words.http_port, ..Words::of_each_boot(source)? };
        parts.spec.overrides = source.overrides(&words)?;
        if source.flag("installer") {
            parts.spec.cds.insert(0, source.cd(medium));
            boot_from_medium(&mut parts.spec);
        }
        wanted.told.line("Starting the machine...");
        let mut live = self.builder.boot(parts, &layers, wanted, access, typing).await?;
        // One that goes on from its disks has no such medium, and is another machine.
        live.keeps_memory = !source.flag("installer");
        let machine = Box::new(QemuMachine::new(self.builder.clone(), wanted.clone(), live, None));
        Ok(machine.finish().await?.layers)
    }
}
