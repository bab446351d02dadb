//! `shell`: commands in the image.
//!
//! What the step is given (its script, its inputs) is shown to it in a folder of the session's, which is never captured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use imgbuild_engine::{ActionContext, ActionError, Bind, Command, Exit, InputFile, LayerMetadata, Session};
use imgbuild_model::{ChainState, Value};

use crate::Provisioner;
use crate::execute_command::Line;

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
        let shown = session.step_folder();
        let script = folder.join("script");
        let runs_itself = self.write_script(context, &script)?;
        let mut own: BTreeMap<String, String> = context.pairs("env").into_iter().collect();
        let inputs = context.files("srcs")?;
        if !inputs.is_empty() {
            lay_out(&inputs, &folder.join("srcs"), layer.source_date)?;
            own.insert("SRCS".to_owned(), format!("{shown}/srcs"));
        }
        let mut env = around.env;
        let argv = match context.text("execute_command") {
            Some(template) => by_command(context, &template, &own, (&folder, &shown))?,
            None => {
                env.extend(own);
                let program = format!("{shown}/script");
                let shell = if runs_itself { Vec::new() } else { around.shell };
                shell.into_iter().chain([program]).chain(context.texts("args")).collect()
            }
        };
        let secrets = context.secrets().await?;
        // Lines that run a script make it executable first, and are to see that succeed.
        let writable = context.text("execute_command").is_some();
        let skip_clean = context.flag("skip_clean");
        let mut binds = Vec::new();
        if let Some(target) = context.text("remote_path") {
            binds.push(Bind { source: script, target, writable, leave: skip_clean });
        }
        binds.push(Bind { source: folder, target: shown, writable, leave: skip_clean && binds.is_empty() });
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
            binds,
            ..Command::default()
        };
        let exit = match session.exec(&command, &mut |stream, line| context.line(stream, line)).await {
            Err(ActionError::MachineLost(_)) if context.flag("expect_disconnect") => Exit::Code(0),
            exit => exit?,
        };
        exit.among(&context.numbers("valid_exit_codes"), &format!("`{}`", context.node().describe()))?;
        context.pause("pause_after").await
    }
}

/// The words by which the machine's shell runs the script as the step's `execute_command` says.
fn by_command(
    context: &ActionContext,
    template: &str,
    variables: &BTreeMap<String, String>,
    (folder, shown): (&Path, &str),
) -> Result<Vec<String>, ActionError> {
    if !context.texts("args").is_empty() {
        return Err(ActionError::input("`shell` takes `args` or `execute_command`, not both")
            .hint("write the arguments after `{{ .Path }}`"));
    }
    let format = context.text("env_var_format");
    let line = Line {
        template,
        format: format.as_deref(),
        variables,
        script: &context.text("remote_path").unwrap_or_else(|| format!("{shown}/script")),
        variables_file: &format!("{shown}/variables"),
    };
    if template.contains("EnvVarFile") {
        let file = folder.join("variables");
        fs_err::write(&file, line.variables_text()?)?;
        // Who else is on a machine does not read it; in an image's tree there is nobody else.
        set_mode(&file, if context.node().logs_in() { 0o600 } else { 0o644 })?;
    }
    Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), line.render()?])
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
        let text = if context.flag("unix_line_ends") { unix_line_ends(text) } else { text };
        let runs_itself = text.starts_with(b"#!");
        fs_err::write(path, text)?;
        set_mode(path, 0o755)?;
        Ok(runs_itself)
    }
}

/// A text without the carriage returns that end its lines.
fn unix_line_ends(text: Vec<u8>) -> Vec<u8> {
    let ends_line = |place: usize| text[place] == b'\r' && text.get(place + 1) == Some(&b'\n');
    (0..text.len()).filter(|place| !ends_line(*place)).map(|place| text[place]).collect()
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

pub(crate) fn copy(from: &Path, to: &Path, time: i64) -> Result<(), ActionError> {
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
