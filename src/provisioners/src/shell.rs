//! `shell`: commands in the image.
//!
//! What the step is given (its script, its inputs) is shown to it under `/run/imgbuild`, which is never captured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use imgbuild_engine::{ActionContext, ActionError, Bind, Command, InputFile, LayerMetadata, Session};
use imgbuild_model::{ChainState, Value};

use crate::Provisioner;

/// Where a step finds what it is given.
pub(crate) const STEP_FOLDER: &str = "/run/imgbuild";

/// The code behind `shell`.
pub(crate) struct Shell;

/// The environment, user and folder that commands of a chain run with.
pub(crate) struct Surroundings {
    /// Variables: of the source, then of the chain.
    pub(crate) env: BTreeMap<String, String>,
    /// The user.
    pub(crate) user: Option<String>,
    /// The folder.
    pub(crate) workdir: Option<String>,
    /// The shell.
    pub(crate) shell: Vec<String>,
}

impl Surroundings {
    /// Those of a chain on a source.
    pub(crate) fn new(state: &ChainState, layer: &LayerMetadata) -> Self {
        let base = &layer.base;
        let mut env = base.env.clone();
        env.extend(state.env.clone());
        let shell = state.shell.clone().or_else(|| base.shell.clone());
        Self {
            env,
            user: state.user.clone().or_else(|| base.user.clone()),
            workdir: state.workdir.clone().or_else(|| base.workdir.clone()),
            shell: shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-eu".to_owned()]),
        }
    }
}

#[async_trait]
impl Provisioner for Shell {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let layer = context.parent_metadata();
        let around = Surroundings::new(&context.node().state, &layer);
        let folder = context.temporary.join("step");
        fs_err::create_dir_all(&folder)?;
        let script = folder.join("script");
        let runs_itself = self.write_script(context, &script)?;
        let mut env = around.env;
        env.extend(context.pairs("env"));
        let inputs = context.files("srcs")?;
        if !inputs.is_empty() {
            lay_out(&inputs, &folder.join("srcs"), layer.source_date)?;
            env.insert("SRCS".to_owned(), format!("{STEP_FOLDER}/srcs"));
        }
        let program = format!("{STEP_FOLDER}/script");
        let mut argv = if runs_itself { Vec::new() } else { around.shell };
        argv.push(program);
        argv.extend(context.texts("args"));
        let secrets = context.secrets().await?;
        let command = Command {
            argv,
            env,
            secret_env: context.secret_env(&secrets)?,
            secrets,
            user: context.text("user").or(around.user),
            workdir: context.text("workdir").or(around.workdir),
            network: context.flag("network"),
            metadata: context.flag("metadata"),
            new_privileges: context.flag("new_privileges"),
            binds: vec![Bind { source: folder, target: STEP_FOLDER.to_owned(), writable: false }],
            ..Command::default()
        };
        let exit = session.exec(&command, &mut |stream, line| context.line(stream, line)).await?;
        exit.success(&format!("`{}`", context.node().describe()))
    }
}

impl Shell {
    /// Writes the script; tells whether it names its own interpreter.
    fn write_script(&self, context: &ActionContext, path: &Path) -> Result<bool, ActionError> {
        let lines = match context.attributes().get("inline") {
            Some(Value::List(_)) => Some(context.texts("inline")),
            _ => None,
        };
        let file = context.files("script")?.into_iter().next();
        let text = match (lines, file) {
            (Some(lines), None) => {
                let mut text = lines.join("\n").into_bytes();
                text.push(b'\n');
                text
            }
            (None, Some(InputFile { path, is_directory: false, .. })) => fs_err::read(path)?,
            (None, Some(_)) => return Err(ActionError::input("`script` is a folder")),
            (Some(_), Some(_)) => {
                return Err(ActionError::input("`shell` takes `inline` or `script`, not both"));
            }
            (None, None) => return Err(ActionError::input("`shell` needs `inline` or `script`")),
        };
        let runs_itself = text.starts_with(b"#!");
        fs_err::write(path, text)?;
        set_mode(path, 0o755)?;
        Ok(runs_itself)
    }
}

/// Copies inputs into a folder under their base names, all of one time, so that nothing of this host shows.
pub(crate) fn lay_out(inputs: &[InputFile], folder: &Path, time: i64) -> Result<(), ActionError> {
    fs_err::create_dir_all(folder)?;
    set_mode(folder, 0o755)?;
    for input in inputs {
        let target = folder.join(&input.name);
        if target.symlink_metadata().is_ok() {
            return Err(ActionError::input(format!("two inputs have the name `{}`", input.name)));
        }
        copy(&input.path, &target, time)?;
    }
    set_time(folder, time)
}

fn copy(from: &Path, to: &Path, time: i64) -> Result<(), ActionError> {
    let metadata = fs_err::symlink_metadata(from)?;
    if metadata.is_dir() {
        fs_err::create_dir_all(to)?;
        set_mode(to, 0o755)?;
        let mut names: Vec<PathBuf> = Vec::new();
        for entry in fs_err::read_dir(from)? {
            names.push(entry?.path());
        }
        names.sort();
        for path in names {
            if let Some(name) = path.file_name() {
                copy(&path, &to.join(name), time)?;
            }
        }
    } else if metadata.is_symlink() && from.metadata().map_or(true, |target| target.is_dir()) {
        fs_err::os::unix::fs::symlink(fs_err::read_link(from)?, to)?;
        return Ok(());
    } else {
        fs_err::copy(from, to)?;
        use std::os::unix::fs::PermissionsExt as _;
        set_mode(to, if metadata.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 })?;
    }
    set_time(to, time)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), ActionError> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))?)
}

fn set_time(path: &Path, time: i64) -> Result<(), ActionError> {
    let stamp = rustix::fs::Timespec { tv_sec: time, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: stamp, last_modification: stamp };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| ActionError::from(std::io::Error::from(error)))
}
