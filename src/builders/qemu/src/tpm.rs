//! A TPM that a program beside the machine emulates (`swtpm`): how it is started, and what it keeps.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, ChildStdin};
use tokio::time::Instant;

use crate::process::leash;

/// How long it may take to listen.
const LISTENS: Duration = Duration::from_secs(60);
/// How often it is looked whether it does.
const INTERVAL: Duration = Duration::from_millis(20);

/// Which TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TpmVersion {
    /// 1.2.
    One,
    /// 2.0.
    Two,
}

/// Why there is no TPM.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// It has no folder, or is not started.
    #[error("cannot start `{}`: {source}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended, or does not listen.
    #[error("`{}` does not listen{}", .program.display(), .said)]
    Silent {
        /// The program.
        program: PathBuf,
        /// What it said, after a colon.
        said: String,
    },
}

/// A TPM that listens. It ends with the machine that connects to it, with this program, and when it is dropped.
#[derive(Debug)]
pub struct TpmEmulator {
    _child: Child,
    _leash: Option<ChildStdin>,
    folder: TempDir,
    version: TpmVersion,
}

impl TpmEmulator {
    /// Starts `swtpm` with what such a TPM has kept, if there is something.
    ///
    /// # Errors
    /// If it cannot be started, or does not listen.
    pub async fn start(program: &Path, version: TpmVersion, kept: Option<&Path>) -> Result<Self, TpmError> {
        let failed = |source| TpmError::Start { program: program.to_owned(), source };
        // Sockets have short names.
        let folder = tempfile::Builder::new().prefix("tpm-").tempdir().map_err(failed)?;
        if let Some(kept) = kept {
            fs_err::copy(kept, folder.path().join(state_file(version))).map_err(failed)?;
        }
        let socket = folder.path().join("socket");
        let mut command = leash::command(program, folder.path());
        command.arg("socket").arg("--terminate").arg("--tpmstate").arg(option("dir", folder.path()));
        command.arg("--ctrl").arg(format!("type=unixio,{}", option("path", &socket)));
        if version == TpmVersion::Two {
            command.arg("--tpm2");
        }
        let said = folder.path().join("said");
        let log = fs_err::File::create(&said).map_err(failed)?;
        let mut child = command.stdout(Stdio::null()).stderr(log.into_parts().0).spawn().map_err(failed)?;
        let leash = child.stdin.take();
        let deadline = Instant::now() + LISTENS;
        while !socket.exists() {
            let has_ended = child.try_wait().map_err(failed)?.is_some();
            if has_ended || Instant::now() >= deadline {
                let said = fs_err::read_to_string(&said).unwrap_or_default();
                let said = said.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
                return Err(TpmError::Silent { program: program.to_owned(), said });
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(Self { _child: child, _leash: leash, folder, version })
    }

    /// Where the machine connects to it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The file with what it keeps, if it has kept something.
    #[must_use]
    pub fn state(&self) -> Option<PathBuf> {
        let file = self.folder.path().join(state_file(self.version));
        file.exists().then_some(file)
    }
}

/// The file in which `swtpm` keeps what a TPM keeps (`swtpm`: `swtpm_nvstore.c`).
#[must_use]
pub fn state_file(version: TpmVersion) -> &'static str {
    match version {
        TpmVersion::One => "tpm-00.permall",
        TpmVersion::Two => "tpm2-00.permall",
    }
}

/// An option of `swtpm`, which has no way of writing a comma; temporary folders have none.
fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
