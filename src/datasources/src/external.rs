//! `external` and `external-raw`: what a program of the user says.
//!
//! The program is started directly, without a shell. It reads the query on its standard input: for `external` a JSON
//! object of texts, for `external-raw` a text. It writes its result on its standard output: a JSON object of texts, or a
//! text. What it writes on its standard error becomes part of the message if it fails.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use async_trait::async_trait;
use imgbuild_model::{Class, Diagnostic};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::{DataSource, Fields, Output, OutputKind, OutputSchema, OutputType, fields, settings};

/// The largest output of a program, in bytes.
const LIMIT: u64 = 64 << 20;

/// How much of a program's standard error a message shows: its end.
const SHOWN: usize = 4096;

/// The data source `external`.
#[derive(Clone, Debug)]
pub struct External {
    folder: PathBuf,
}

/// The data source `external-raw`.
#[derive(Clone, Debug)]
pub struct ExternalRaw {
    folder: PathBuf,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "Q: serde::de::DeserializeOwned + Default"))]
struct Settings<Q> {
    program: Vec<String>,
    #[serde(default)]
    working_dir: String,
    #[serde(default)]
    query: Q,
}

impl External {
    /// Programs run in `folder`, unless the user names another, relative to it.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

impl ExternalRaw {
    /// As [`External::new`].
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

#[async_trait]
impl DataSource for External {
    fn kind(&self) -> &'static str {
        "external"
    }

    fn outputs(&self) -> &'static [OutputSchema] {
        &[OutputSchema {
            name: "result",
            of: OutputType::StringMap,
            kind: OutputKind::Follow,
            doc: "the object of texts that the program wrote",
        }]
    }

    async fn read(&self, input: &Fields) -> Result<Output, Diagnostic> {
        let Settings::<BTreeMap<String, String>> { program, working_dir, query } =
            settings(self.kind(), input)?;
        let query = query.into_iter().map(|(name, text)| (name, Value::String(text))).collect();
        let query = Value::Object(query).to_string();
        let written = run(&program, &self.folder.join(working_dir), query.into_bytes()).await?;
        let result = texts(&program[0], &written)?;
        Ok(Output { values: fields([("result", result.into())]), warnings: Vec::new() })
    }
}

#[async_trait]
impl DataSource for ExternalRaw {
    fn kind(&self) -> &'static str {
        "external-raw"
    }

    fn outputs(&self) -> &'static [OutputSchema] {
        &[OutputSchema {
            name: "result",
            of: OutputType::String,
            kind: OutputKind::Follow,
            doc: "what the program wrote",
        }]
    }

    async fn read(&self, input: &Fields) -> Result<Output, Diagnostic> {
        let Settings::<String> { program, working_dir, query } = settings(self.kind(), input)?;
        let written = run(&program, &self.folder.join(working_dir), query.into_bytes()).await?;
        let result = String::from_utf8(written)
            .map_err(|_| Diagnostic::error(format!("what `{}` wrote is not UTF-8", program[0])))?;
        Ok(Output { values: fields([("result", result.into())]), warnings: Vec::new() })
    }
}

/// The object of texts that a program wrote. What it wrote may be secret and is not shown.
fn texts(program: &str, written: &[u8]) -> Result<Fields, Diagnostic> {
    let bad = |what: String| {
        Diagnostic::error(format!("what `{program}` wrote is no JSON object of texts: {what}"))
            .hint("it writes one object to its standard output, and all else to its standard error")
    };
    let found: Value = serde_json::from_slice(written).map_err(|error| bad(error.to_string()))?;
    let Value::Object(fields) = found else { return Err(bad(format!("it is {}", type_name(&found)))) };
    match fields.iter().find(|(_, value)| !value.is_string()) {
        None => Ok(fields),
        Some((name, value)) => Err(bad(format!("`{name}` is {}", type_name(value)))),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A program that runs. Dropped before its end, it is killed with the processes of its group.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // Who has ended already cannot be killed.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What a program writes for a query.
async fn run(command: &[String], folder: &Path, query: Vec<u8>) -> Result<Vec<u8>, Diagnostic> {
    let Some((program, arguments)) = command.split_first().filter(|(program, _)| !program.is_empty()) else {
        return Err(Diagnostic::error("`program` is empty").hint(
            "write the program and its arguments, for example `program = [\"python3\", \"read.py\"]`",
        ));
    };
    if !folder.is_dir() {
        return Err(Diagnostic::error(format!(
            "`working_dir` is `{}`, which is no folder",
            folder.display()
        )));
    }
    let mut command = Command::new(program_path(program, folder));
    command.args(arguments).current_dir(folder).process_group(0).kill_on_drop(true);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| {
        let shown = Diagnostic::error(format!("cannot start `{program}`: {error}")).class(Class::Environment);
        match error.kind() {
            io::ErrorKind::NotFound => shown.hint("install it, or name it by its path from `working_dir`"),
            io::ErrorKind::PermissionDenied => shown.hint("run `chmod +x` on it"),
            _ => shown,
        }
    })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut running = Running { child, group };
    let (stdout, stderr, status) = talk(&mut running.child, &query)
        .await
        .map_err(|error| Diagnostic::error(format!("lost `{program}`: {error}")).class(Class::Environment))?;
    // Its number is free for others now.
    running.group = None;
    if !status.success() {
        return Err(exited(program, status, &stderr));
    }
    if stdout.len() as u64 > LIMIT {
        return Err(Diagnostic::error(format!("`{program}` wrote more than {LIMIT} bytes")));
    }
    Ok(stdout)
}

/// A program with a `/` in its name is found from the folder that it runs in; another one on the path.
fn program_path(program: &str, folder: &Path) -> PathBuf {
    if program.contains('/') { folder.join(program) } else { PathBuf::from(program) }
}

async fn talk(child: &mut Child, query: &[u8]) -> io::Result<(Vec<u8>, Vec<u8>, ExitStatus)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        match stdin.write_all(query).await {
            // A program need not read its query.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    };
    let ((), stdout, stderr) = tokio::try_join!(write, read_all(stdout), read_all(stderr))?;
    Ok((stdout, stderr, child.wait().await?))
}

/// Reads to the end, and keeps as much as tells that it is too much.
async fn read_all(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(mut from) = from else { return Ok(bytes) };
    (&mut from).take(LIMIT + 1).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

fn exited(program: &str, status: ExitStatus, stderr: &[u8]) -> Diagnostic {
    use std::os::unix::process::ExitStatusExt as _;
    let message = match (status.code(), status.signal()) {
        (Some(code), _) => format!("`{program}` exited with code {code}"),
        (None, signal) => format!("`{program}` was ended by signal {}", signal.unwrap_or_default()),
    };
    let error = Diagnostic::error(message);
    let tail = String::from_utf8_lossy(&stderr[stderr.len().saturating_sub(SHOWN)..]);
    match tail.trim() {
        "" => error,
        tail => error.note(format!("it wrote: {tail}"), None),
    }
}
