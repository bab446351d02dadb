//! What of this host a machine is run with: looked for once.

use std::sync::Arc;

use imgbuild_digest::Hash;
use imgbuild_engine::{ActionError, Told};
use imgbuild_model::{Class, Diagnostic, with_causes};

use super::QemuBuilder;
use super::attributes::Source;
use super::disks::{Chain, failed};
use crate::probe::{
    AcceleratorProbe, Emulator, ImageTool, ProbeError, ProbeKey, find, host_processor, probe_accelerator,
};
use crate::spec::Accelerator;
use crate::tpm::TpmEmulator;

/// Where the answers of probes are kept.
const PROBE_MEMO: &str = "qemu-accelerator";

/// Emulator, tools and accelerator.
pub(crate) struct Host {
    pub(crate) emulator: Emulator,
    pub(crate) images: ImageTool,
    /// What runs guests here, where the user does not say it.
    pub(crate) accelerator: Accelerator,
    /// The host's processor.
    pub(crate) processor: String,
}

impl QemuBuilder {
    /// What runs machines of a source. Which accelerator that is, and why, is told once.
    ///
    /// # Errors
    /// If QEMU is not there; the hint says what to install.
    pub(crate) async fn host(&self, source: Source<'_>, told: &Told) -> Result<Arc<Host>, ActionError> {
        let program = source.program().to_owned();
        let cpu = source.text("cpu_model").unwrap_or("host").to_owned();
        let place = (program.clone(), cpu.clone());
        let mut hosts = self.0.hosts.lock().await;
        if let Some(host) = hosts.get(&place) {
            return Ok(host.clone());
        }
        let emulator = Emulator::find(&program, &self.0.folders).await?;
        let images = self.images().await?;
        let probe = self.probe(&emulator, &cpu).await?;
        if source.accelerator().is_none() {
            told.line(&format!(
                "The machine runs on {}: {}",
                probe.accelerator.name().to_uppercase(),
                probe.reason
            ));
        }
        let host =
            Arc::new(Host { emulator, images, accelerator: probe.accelerator, processor: host_processor()? });
        hosts.insert(place, host.clone());
        Ok(host)
    }

    /// Which accelerator runs guests: the cache remembers it as long as nothing has changed that it depends on.
    pub(crate) async fn probe(
        &self,
        emulator: &Emulator,
        cpu: &str,
    ) -> Result<AcceleratorProbe, ActionError> {
        let key = ProbeKey::now(emulator, cpu)?;
        let name = Hash::of(&serde_json::to_vec(&key).unwrap_or_default());
        let known = self.0.cache.memo_get(PROBE_MEMO, &name)?;
        if let Some(known) = known.and_then(|text| serde_json::from_slice(&text).ok()) {
            return Ok(known);
        }
        let folder = tempfile::Builder::new().prefix("imgbuild-").tempdir()?;
        let probe = probe_accelerator(emulator, cpu, folder.path()).await?;
        self.0.cache.memo_put(PROBE_MEMO, &name, &serde_json::to_vec(&probe).unwrap_or_default())?;
        Ok(probe)
    }

    /// The TPM of a source's machine, if it is to have one, with what it has kept in the layers so far.
    ///
    /// # Errors
    /// If the program for it is not there; the hint says what to install.
    pub(crate) async fn tpm(
        &self,
        source: Source<'_>,
        chain: &Chain<'_>,
    ) -> Result<Option<TpmEmulator>, ActionError> {
        let Some(version) = source.tpm_version() else { return Ok(None) };
        let program = find("swtpm", &self.0.folders)?;
        let tpm = TpmEmulator::start(&program, version, chain.tpm_state().as_deref()).await;
        tpm.map(Some).map_err(failed)
    }

    /// The program for images.
    ///
    /// # Errors
    /// If it is not there; the hint says what to install.
    pub(crate) async fn images(&self) -> Result<ImageTool, ActionError> {
        Ok(ImageTool::find("qemu-img", &self.0.folders).await?)
    }
}

impl From<ProbeError> for ActionError {
    fn from(error: ProbeError) -> Self {
        match error {
            ProbeError::Host(error) => failed(error),
            error => Diagnostic::error(with_causes(&error)).class(Class::Environment).into(),
        }
    }
}
