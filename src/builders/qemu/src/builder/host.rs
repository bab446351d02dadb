//! What of this host a machine is run with: looked for once, and asked again only where something has changed since.

use std::path::Path;
use std::sync::Arc;

use imgbuild_digest::Hash;
use imgbuild_engine::{ActionError, Told};
use imgbuild_model::{Class, Diagnostic, with_causes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::QemuBuilder;
use super::attributes::Source;
use super::disks::{Chain, failed};
use crate::probe::{
    AcceleratorProbe, Emulator, ImageTool, OLDEST, ProbeError, ProbeKey, ProgramKey, find, host_processor,
    probe_accelerator,
};
use crate::spec::Accelerator;
use crate::tpm::TpmEmulator;

/// Where the answers of probes are kept.
const PROBE_MEMO: &str = "qemu-accelerator";
/// Where it is kept what emulators say of themselves.
const EMULATOR_MEMO: &str = "qemu-emulator";
/// Where it is kept what programs for images say of themselves.
const IMAGES_MEMO: &str = "qemu-images";

/// The version of what is read out of their answers.
const ANSWERS: u32 = 1;

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
        let emulator = self.emulator(&program).await?;
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
        let asked = async {
            let folder = tempfile::Builder::new().prefix("imgbuild-").tempdir()?;
            Ok(probe_accelerator(emulator, cpu, folder.path()).await?)
        };
        self.remembered(PROBE_MEMO, &key, asked, |probe| !probe.in_doubt).await
    }

    /// An answer that was given before to the same question, or a new one, which is kept if it lasts. What is kept and cannot be read
    /// was not given.
    async fn remembered<T: Serialize + DeserializeOwned>(
        &self,
        memo: &str,
        key: &impl Serialize,
        asked: impl Future<Output = Result<T, ActionError>>,
        lasts: impl Fn(&T) -> bool,
    ) -> Result<T, ActionError> {
        let encoded = |error: serde_json::Error| ActionError::from(std::io::Error::from(error));
        let name = Hash::of(&serde_json::to_vec(key).map_err(encoded)?);
        let known = self.0.cache.memo_get(memo, &name)?;
        if let Some(known) = known.and_then(|text| serde_json::from_slice(&text).ok()) {
            return Ok(known);
        }
        let answer = asked.await?;
        if lasts(&answer) {
            self.0.cache.memo_put(memo, &name, &serde_json::to_vec(&answer).map_err(encoded)?)?;
        }
        Ok(answer)
    }

    /// What a program says of itself, which is asked once as long as its file stays as it is.
    async fn of_program<T: Serialize + DeserializeOwned>(
        &self,
        memo: &str,
        program: &Path,
        asked: impl Future<Output = Result<T, ProbeError>>,
    ) -> Result<T, ActionError> {
        match ProgramKey::of(program) {
            Some(key) => {
                let key = (ANSWERS, OLDEST, key);
                self.remembered(memo, &key, async { Ok(asked.await?) }, |_| true).await
            }
            None => Ok(asked.await?),
        }
    }

    /// An emulator, by its name or path.
    ///
    /// # Errors
    /// If it is not there; the hint says what to install.
    pub(crate) async fn emulator(&self, name: &str) -> Result<Emulator, ActionError> {
        let program = find(name, &self.0.folders)?;
        self.of_program(EMULATOR_MEMO, &program, Emulator::at(program.clone())).await
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
        let program = find("qemu-img", &self.0.folders)?;
        self.of_program(IMAGES_MEMO, &program, ImageTool::at(program.clone())).await
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

#[cfg(test)]
mod tests {
    use imgbuild_cache::Cache;
    use imgbuild_ssh::Surroundings;

    use super::*;
    use crate::builder::Fetch;

    struct Nowhere;

    #[async_trait::async_trait]
    impl Fetch for Nowhere {
        async fn fetch(&self, _: &str, _: &Path) -> Result<(), ActionError> {
            Err(ActionError::input("there is nothing"))
        }
    }

    #[tokio::test]
    async fn an_answer_is_asked_for_once_and_again_where_what_is_kept_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let builder =
            QemuBuilder::new(cache.clone(), Surroundings::default(), Vec::new(), true, Arc::new(Nowhere));
        let ask = async |key: &str, answer: &str| {
            let answer: Result<String, ActionError> = Ok(answer.to_owned());
            builder.remembered("words", &key, async { answer }, |_| true).await.unwrap()
        };
        assert_eq!(ask("one", "first").await, "first");
        assert_eq!(ask("one", "second").await, "first");
        assert_eq!(ask("two", "second").await, "second");
        cache.memo_put("words", &Hash::of(b"\"one\""), b"\"fir").unwrap();
        assert_eq!(ask("one", "third").await, "third");
        assert_eq!(ask("one", "fourth").await, "third");
        // What was not answered is not remembered.
        let refused = async { Err::<String, _>(ActionError::input("no")) };
        assert!(builder.remembered("words", &"three", refused, |_| true).await.is_err());
        let doubtful = async { Ok("perhaps".to_owned()) };
        let given: Result<String, _> = builder.remembered("words", &"three", doubtful, |_| false).await;
        assert_eq!(given.unwrap(), "perhaps");
        assert_eq!(ask("three", "fifth").await, "fifth");
    }
}
