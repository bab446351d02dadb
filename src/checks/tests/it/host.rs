//! This host as a machine.

use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_trait::async_trait;
use imgbuild_checks::report::TestResult;
use imgbuild_checks::{Failure, GossFile, InputFile, Known, NotBooted, check, load, machine};
use imgbuild_engine::{ActionError, Command, Exit, FileOperation, OnLine, Session, Stat};
use imgbuild_model::{Diagnostic, Stream};
use tokio::io::AsyncWriteExt as _;

/// A session on this host.
pub(crate) struct Host;

#[async_trait]
impl Session for Host {
    async fn exec(&mut self, command: &Command, on_line: OnLine<'_>) -> Result<Exit, ActionError> {
        let mut child = tokio::process::Command::new(&command.argv[0])
            .args(&command.argv[1..])
            .envs(&command.env)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(command.stdin.as_deref().unwrap_or_default()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        for (stream, bytes) in [(Stream::Stdout, output.stdout), (Stream::Stderr, output.stderr)] {
            String::from_utf8_lossy(&bytes).lines().for_each(|line| on_line(stream, line));
        }
        Ok(Exit::Code(output.status.code().unwrap_or(-1)))
    }

    async fn apply(&mut self, _: Vec<FileOperation>) -> Result<(), ActionError> {
        panic!("checks change nothing");
    }

    async fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, ActionError> {
        match fs_err::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn stat(&mut self, path: &str) -> Result<Option<Stat>, ActionError> {
        let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(None) };
        Ok(Some(Stat {
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            size: found.size(),
            link_target: std::fs::read_link(path).ok().map(|target| target.display().to_string()),
            is_directory: found.is_dir(),
        }))
    }

    async fn list(&mut self, path: &str) -> Result<Vec<String>, ActionError> {
        let Ok(entries) = std::fs::read_dir(path) else { return Ok(Vec::new()) };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    async fn download(&mut self, _: &str, _: &Path) -> Result<Vec<String>, ActionError> {
        panic!("checks read and list");
    }

    async fn identity(&mut self, _: &str) -> Result<(u32, u32), ActionError> {
        panic!("checks read /etc/passwd");
    }

    fn root(&mut self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A folder with goss files.
pub(crate) struct Files {
    pub(crate) folder: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `goss.yaml` with all files beside it.
    pub(crate) fn load(&self, known: &Known) -> Result<GossFile, Box<Diagnostic>> {
        let inputs: Vec<InputFile> = walkdir::WalkDir::new(self.folder.path())
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| InputFile {
                shown: entry.path().strip_prefix(self.folder.path()).unwrap().display().to_string(),
                found_as: vec![entry.path().to_path_buf()],
                path: entry.path().to_path_buf(),
            })
            .collect();
        let main = inputs.iter().find(|input| input.shown == "goss.yaml").unwrap();
        match load(main, &inputs, known) {
            Ok(file) => Ok(file),
            Err(Failure::Wrong(error)) => Err(error),
            Err(Failure::Needs(path)) => {
                let mut known = known.clone();
                known.files.insert(path.clone(), fs_err::read_to_string(path).ok());
                self.load(&known)
            }
        }
    }

    pub(crate) fn check(&self, known: &Known, booted: bool, not_booted: NotBooted) -> Vec<TestResult> {
        let file = self.load(known).unwrap_or_else(|error| panic!("{error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let around = machine::Surroundings::default();
        let mut host = Host;
        let mut machine = machine::Machine::new(&mut host, booted, around);
        runtime.block_on(check(&file, &mut machine, not_booted)).unwrap()
    }
}
