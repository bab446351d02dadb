//! A TPM that a program beside the machine emulates (`swtpm`): how it is started, and what it keeps.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin};
use tokio::time::Instant;

use crate::process::leash;

/// How long it may take to listen.
const LISTENS: Duration = Duration::from_secs(60);
/// How often it is looked whether it does.
const INTERVAL: Duration = Duration::from_millis(20);
/// The socket in its folder.
const SOCKET: &str = "socket";

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
        // Sockets have short names.
        Self::start_in(&std::env::temp_dir(), program, version, kept).await
    }

    /// The same, with its own folder in this one.
    async fn start_in(
        folder: &Path,
        program: &Path,
        version: TpmVersion,
        kept: Option<&Path>,
    ) -> Result<Self, TpmError> {
        let failed = |source| TpmError::Start { program: program.to_owned(), source };
        let folder = tempfile::Builder::new().prefix("tpm-").tempdir_in(folder).map_err(failed)?;
        if let Some(kept) = kept {
            fs_err::copy(kept, folder.path().join(state_file(version))).map_err(failed)?;
        }
        let socket = folder.path().join(SOCKET);
        let mut command = leash::command(program, folder.path());
        // Its options have no way of writing a comma, which the folder's name may have.
        command.current_dir(folder.path());
        command.args(["socket", "--terminate", "--tpmstate", "dir=."]);
        command.arg("--ctrl").arg(format!("type=unixio,path={SOCKET}"));
        if version == TpmVersion::Two {
            command.arg("--tpm2");
        }
        let said = folder.path().join("said");
        let log = fs_err::File::create(&said).map_err(failed)?;
        let mut child = command.stdout(Stdio::null()).stderr(log.into_parts().0).spawn().map_err(failed)?;
        let leash = child.stdin.take();
        let deadline = Instant::now() + LISTENS;
        // The socket is there a moment before anybody listens.
        while let Err(error) = UnixStream::connect(&socket).await {
            let is_not_yet = matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock
            );
            if !is_not_yet {
                return Err(TpmError::Silent { program: program.to_owned(), said: format!(": {error}") });
            }
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
        self.folder.path().join(SOCKET)
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream as Socket;

    use super::*;

    /// A folder whose name no option of `swtpm` can hold.
    fn folder() -> TempDir {
        tempfile::Builder::new().prefix("a, b=c").tempdir().unwrap()
    }

    #[tokio::test]
    async fn a_tpm_listens_once_it_is_there() {
        let program = Path::new("/usr/bin/swtpm");
        if !program.exists() {
            return eprintln!("SKIPPED: there is no /usr/bin/swtpm; `tests/run` installs it");
        }
        let folder = folder();
        let tpm = TpmEmulator::start_in(folder.path(), program, TpmVersion::Two, None).await.unwrap();
        // Who looks whether it listens is not the machine with which it ends. One that connects waits, as QEMU does.
        for _ in 0..3 {
            Socket::connect(tpm.socket()).unwrap();
        }
        // What it can do is asked by 1, and answered with 0 before all else (`swtpm_ioctls.h`).
        let mut machine = Socket::connect(tpm.socket()).unwrap();
        machine.write_all(&1_u32.to_be_bytes()).unwrap();
        let mut answer = [0xff; 4];
        machine.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0; 4]);
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_at_is_no_tpm() {
        let folder = folder();
        let program = folder.path().join("swtpm");
        fs_err::write(&program, "#!/bin/sh\n: >socket\necho 'there is no room' >&2\nexit 1\n").unwrap();
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = TpmEmulator::start_in(folder.path(), &program, TpmVersion::Two, None).await.unwrap_err();
        assert!(error.to_string().ends_with("` does not listen: there is no room"), "{error}");
    }
}
