//! The source `qemu`: the medium as the lowest layer, and over it what the machine wrote until it could be logged in to.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use imgbuild_cache::Lease;
use imgbuild_digest::{Digest, Hash};
use imgbuild_engine::{
    ActionContext, ActionError, Executor, LayerMetadata, Machine as _, MachineSpec as Wanted, Outcome, Told,
};
use imgbuild_gotemplate::{Functions, MissingKey, Options, Template, Value};
use imgbuild_model::{Artifact, Value as Data};
use imgbuild_plan::default_source_date;
use imgbuild_tree::DeltaId;

use super::access::Access;
use super::attributes::Source;
use super::disks::{self, file_name};
use super::machine::QemuMachine;
use super::{QemuBuilder, checksum};
use crate::boot_command::{BootCommand, BootCommandError};
use crate::http::{GUEST_ADDRESS, HttpError, HttpServer, Served};
use crate::process::Machine;
use crate::spec::Cd;
use crate::vnc::{Pace, Vnc, VncError};

/// Where it is kept which blob a checksum is of.
const MEDIUM_MEMO: &str = "qemu-medium";

/// How long VNC may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// The code behind the sources `qemu` and `boot`.
pub struct QemuSource {
    builder: QemuBuilder,
    /// Whether the machine is started to make the lowest layer, which is the medium alone else.
    starts: bool,
}

/// What is typed at the screen of a machine that boots first.
pub(crate) struct Typing {
    command: BootCommand,
    wait: Duration,
    pace: Pace,
    /// Serves as long as the machine boots.
    http: Option<HttpServer>,
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
        // `none` says nothing of what it is.
        let checksum = source.text("checksum").filter(|text| *text != "none");
        if let Some(path) = source.files("disk").into_iter().next() {
            if let Some(checksum) = checksum {
                checksum::verify(&path, checksum)?;
            }
            return Ok(path);
        }
        let urls = source.texts("urls");
        match checksum {
            Some(checksum) if !urls.is_empty() => return self.fetched(source, &urls, checksum).await,
            None if !urls.is_empty() => {
                return Err(ActionError::input("`urls` need a `checksum`: it is what the key is made of")
                    .hint("write it as `sha256:` and 64 hexadecimal digits"));
            }
            _ => {}
        }
        Err(ActionError::input("a machine needs a disk to start from, or a medium that installs one")
            .hint("say `disk`, the label of a file"))
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
        let cache = &self.builder.0.cache;
        tokio::task::block_in_place(|| disks::commit(cache, &[], staged))
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

/// What the chain stands on, for provenance.
fn material(context: &ActionContext) -> Option<(String, String)> {
    let checksum = context.text("checksum");
    let name = match context.attributes().get("disk") {
        Some(Data::Artifact(Artifact::Source(file))) => file.label.to_string(),
        Some(Data::Artifact(Artifact::Output { name, .. })) => name.to_string(),
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
        let mut parts = self.builder.parts(&layers, wanted, &access, None).await?;
        if source.flag("installer") {
            let Cd { interface, .. } = source.cd(medium.clone());
            parts.spec.cds.insert(0, Cd { path: medium, interface });
            parts.spec.boot = Some("once=d".to_owned());
        }
        let typing = Typing::new(source, &access).await?;
        wanted.told.line("Starting the machine...");
        let mut live = self.builder.boot(parts, &layers, wanted, access, typing).await?;
        // One that goes on from its disks has no such medium, and is another machine.
        live.keeps_memory = !source.flag("installer");
        let machine = Box::new(QemuMachine::new(self.builder.clone(), wanted.clone(), live));
        Ok(machine.finish().await?.layers)
    }
}

impl Typing {
    async fn new(source: Source<'_>, access: &Access) -> Result<Option<Self>, ActionError> {
        let texts = source.pairs("http_content");
        let served = match source.files("http").into_iter().next() {
            Some(folder) => Some(Served::Folder(folder)),
            None if texts.is_empty() => None,
            None => Some(Served::Texts(texts.into_iter().collect())),
        };
        if served.is_some() && !source.flag("network") {
            return Err(ActionError::input(
                "the machine has no network, and could fetch nothing that is served",
            )
            .hint("say `network = True`, or give it the files on a CD"));
        }
        let http = match served {
            None => None,
            Some(served) => Some(HttpServer::start(served, IpAddr::V4(Ipv4Addr::LOCALHOST), 0, 0).await?),
        };
        let text = source.texts("boot_command").concat();
        if text.is_empty() {
            return Ok(http.map(|http| Self {
                command: BootCommand::default(),
                wait: Duration::ZERO,
                pace: Pace::default(),
                http: Some(http),
            }));
        }
        let port = http.as_ref().map(|http| http.port().to_string()).unwrap_or_default();
        let data = Value::record([
            ("HTTPIP", GUEST_ADDRESS.to_string()),
            ("HTTPPort", port),
            ("Name", "imgbuild".to_owned()),
            ("SSHPublicKey", access.public_key().unwrap_or_default().to_owned()),
        ]);
        let options = Options { missing_key: MissingKey::Error, ..Options::default() };
        let rendered = Template::parse(&text, &Functions::new())
            .and_then(|template| template.render(&Functions::new(), &data, &options))
            .map_err(|error| {
                ActionError::input(format!("`boot_command` cannot be rendered: {error}")).hint(
                    "it may use `{{ .HTTPIP }}`, `{{ .HTTPPort }}`, `{{ .Name }}` and `{{ .SSHPublicKey }}`",
                )
            })?;
        let usual = Pace::default();
        Ok(Some(Self {
            command: BootCommand::parse(&rendered)?,
            wait: source.duration("boot_wait").unwrap_or(Duration::from_secs(10)),
            pace: Pace {
                key: source.duration("boot_key_interval").unwrap_or(usual.key),
                group: source.duration("boot_keygroup_interval").unwrap_or(usual.group),
            },
            http,
        }))
    }

    /// Waits, and types.
    ///
    /// # Errors
    /// If the machine's screen is gone.
    pub(crate) async fn carry_out(
        self,
        machine: &mut Machine,
        told: &Told,
    ) -> Result<Option<HttpServer>, ActionError> {
        if self.command.steps().is_empty() {
            return Ok(self.http);
        }
        for warning in self.command.warnings() {
            told.line(&format!("Warning: `boot_command`: {warning}"));
        }
        told.line(&format!("Waiting {} s for boot...", self.wait.as_secs()));
        tokio::time::sleep(self.wait).await;
        told.line("Typing the boot command...");
        let mut vnc = Vnc::connect(&machine.wiring().vnc_socket, ANSWER).await?;
        vnc.type_command(&self.command, self.pace).await?;
        Ok(self.http)
    }
}

impl From<BootCommandError> for ActionError {
    fn from(error: BootCommandError) -> Self {
        Self::input(format!("`boot_command`: {error}"))
    }
}

impl From<HttpError> for ActionError {
    fn from(error: HttpError) -> Self {
        Self::input(error.to_string())
    }
}

impl From<VncError> for ActionError {
    fn from(error: VncError) -> Self {
        disks::failed(error)
    }
}
