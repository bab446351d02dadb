//! `packer_build`: a whole build by a real `packer`.
//!
//! The program is told to write lines for programs: what its builds say becomes the action's output, and the artifacts that
//! it tells at the end are kept. It is interrupted, not killed, when the run is cancelled, since only it knows what it made.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use imgbuild_cache::{Cache, OutputFile};
use imgbuild_engine::{ActionContext, ActionError, DelegatedArtifact, Executor, Outcome};
use imgbuild_model::Stream;

use crate::host;

/// The code behind `packer_build`.
pub(crate) struct PackerBuild;

#[async_trait]
impl Executor for PackerBuild {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let text = |name: &str| context.text(name).unwrap_or_default();
        let workdir = context.workspace.join(text("workdir"));
        let mut command = tokio::process::Command::new(text("program"));
        command.args(["build", "-machine-readable"]).arg(format!("-only={}", text("name")));
        command.args(context.texts("args"));
        // Who lists processes sees their arguments. The last file in JSON counts as `-var` does, after all others.
        let variables = text("variables");
        if !variables.is_empty() {
            let path = context.temporary.join("variables.pkrvars.json");
            write_private(&path, &variables)?;
            command.arg(format!("-var-file={}", path.display()));
        }
        command.arg(text("template")).current_dir(&workdir);
        command.env("CHECKPOINT_DISABLE", "1").env("PACKER_NO_COLOR", "1");
        let told = Mutex::new(Told::default());
        let on_line = |stream: Stream, line: &str| {
            let said = told.lock().unwrap_or_else(PoisonError::into_inner).take(line);
            for line in said.iter().flat_map(|said| said.lines()) {
                context.line(stream, line);
            }
        };
        let exit = host::run_interruptible(context, &mut command, &on_line).await?;
        if context.cancel.is_cancelled() {
            return Err(ActionError::Cancelled);
        }
        let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = told.errors.first() {
            return Err(ActionError::input(error.clone()));
        }
        exit.success("`packer build`")?;
        let artifacts: Vec<DelegatedArtifact> = told.artifacts.into_values().collect();
        let artifacts = with_digests(&context.cache, artifacts, &workdir)?;
        let json = serde_json::to_vec_pretty(&artifacts)
            .map_err(|error| ActionError::environment(error.to_string()))?;
        let path = context.node().action.outputs.first().map_or("artifacts.json", |name| &**name).to_owned();
        let digest = context.cache.put_bytes(&json)?.digest;
        Ok(Outcome { files: vec![OutputFile { path, digest, executable: false }], ..Outcome::default() })
    }
}

/// Writes a file that only the user reads.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs_err::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Notes what is in the files of artifacts, so that a later run can tell whether they are still there.
fn with_digests(
    cache: &Cache,
    mut artifacts: Vec<DelegatedArtifact>,
    workdir: &Path,
) -> Result<Vec<DelegatedArtifact>, ActionError> {
    for artifact in &mut artifacts {
        for (path, digest) in &mut artifact.files {
            let path = workdir.join(&*path);
            if path.is_file() {
                let digests = cache.file_memo(false).digest_many(&[path])?;
                *digest = digests.into_iter().flatten().next().map(|file| file.digest.to_string());
            }
        }
    }
    Ok(artifacts)
}

/// What the program told so far.
#[derive(Default)]
struct Told {
    artifacts: BTreeMap<usize, DelegatedArtifact>,
    errors: Vec<String>,
    ended: bool,
}

impl Told {
    /// Takes a line: gives what it says to people.
    fn take(&mut self, line: &str) -> Option<String> {
        let fields: Vec<String> = line.split(',').map(unescape).collect();
        let [time, _, kind, data @ ..] = fields.as_slice() else { return Some(line.to_owned()) };
        if time.parse::<i64>().is_err() {
            return Some(line.to_owned());
        }
        match (kind.as_str(), data) {
            // What stands after a build's end sums up what is told at the end of this run.
            ("ui", [_, text, ..]) if text.starts_with("Build '") => self.ended = true,
            ("ui", [_, text, ..]) if !self.ended => return Some(without_name(text).to_owned()),
            ("error", [text, ..]) => self.errors.push(text.clone()),
            ("artifact", [index, what, rest @ ..]) => {
                if let Ok(index) = index.parse() {
                    self.artifact(index, what, rest);
                }
            }
            _ => {}
        }
        None
    }

    fn artifact(&mut self, index: usize, what: &str, rest: &[String]) {
        let artifact = self.artifacts.entry(index).or_default();
        match (what, rest) {
            ("builder-id", [text, ..]) => artifact.builder_id.clone_from(text),
            ("id", [text, ..]) => artifact.id.clone_from(text),
            ("string", [text, ..]) => artifact.description.clone_from(text),
            ("file", [_, path, ..]) => artifact.files.push((path.clone(), None)),
            _ => {}
        }
    }
}

fn unescape(field: &str) -> String {
    field.replace("%!(PACKER_COMMA)", ",").replace("\\n", "\n").replace("\\r", "\r")
}

/// A line without the build's name before it, which stands there again when it is shown.
fn without_name(text: &str) -> &str {
    let rest = text.strip_prefix("==> ").or_else(|| text.strip_prefix("    "));
    rest.and_then(|rest| rest.split_once(": ")).map_or(text, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let mut told = Told::default();
        let said = |told: &mut Told, line: &str| told.take(line);
        assert_eq!(
            said(&mut told, "1,,ui,say,==> docker.x: Pulling%!(PACKER_COMMA) please").as_deref(),
            Some("Pulling, please")
        );
        assert_eq!(said(&mut told, "1,,ui,message,    docker.x: done").as_deref(), Some("done"));
        assert_eq!(said(&mut told, "not for programs, this").as_deref(), Some("not for programs, this"));
        for line in [
            "1,docker.x,artifact-count,1",
            "1,docker.x,artifact,0,builder-id,packer.docker",
            "1,docker.x,artifact,0,id,sha256:1",
            "1,docker.x,artifact,0,string,Imported Docker image: sha256:1",
            "1,docker.x,artifact,0,files-count,1",
            "1,docker.x,artifact,0,file,0,out/image.tar",
            "1,docker.x,artifact,0,end",
        ] {
            assert_eq!(said(&mut told, line), None, "{line}");
        }
        assert_eq!(told.artifacts[&0].id, "sha256:1");
        assert_eq!(told.artifacts[&0].files, [("out/image.tar".to_owned(), None)]);
        said(&mut told, "1,docker.x,error,it broke\\nbadly");
        assert_eq!(told.errors, ["it broke\nbadly"]);
    }
}
