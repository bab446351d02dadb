//! Steps that leave the machine as it is: commands on the host, pauses and questions between two steps of a chain.
//!
//! Their layer is the one that they stand on. Skipped with what stands on them where nothing has changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use imgbuild_engine::{ActionContext, ActionError, Executor, Outcome};
use imgbuild_model::Value;

use crate::execute_command::HostLine;
use crate::host;
use crate::shell::set_mode;

/// The code behind `shell_local`.
pub(crate) struct ShellLocal;
/// The code behind `sleep`.
pub(crate) struct Sleep;
/// The code behind `breakpoint`.
pub(crate) struct Breakpoint;

/// What interprets a script that does not say it.
const SHEBANG: &str = "#!/bin/sh -e\n";

/// The layer below, as it is.
fn unchanged(context: &ActionContext) -> Outcome {
    Outcome { layers: context.parent().layers, ..Outcome::default() }
}

#[async_trait]
impl Executor for ShellLocal {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let script = script(context)?;
        let variables: BTreeMap<String, String> = context.pairs("env").into_iter().collect();
        let line = HostLine {
            template: context.texts("execute_command"),
            format: context.text("env_var_format"),
            variables: &variables,
            script: &script,
        };
        let words = line.render()?;
        let (program, arguments) =
            words.split_first().ok_or_else(|| ActionError::input("`execute_command` names no program"))?;
        let workdir = context.text("workdir").unwrap_or_default();
        let workdir = context.workspace.join(workdir);
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).current_dir(workdir);
        let work = host::run(context, &mut command);
        let exit = context.cancel.unless_cancelled(work).await.unwrap_or(Err(ActionError::Cancelled))?;
        let what = format!("`{}`", context.node().describe());
        exit.among(&context.numbers("valid_exit_codes"), &what)?;
        Ok(unchanged(context))
    }
}

/// The script to run: the file itself where there is one, so that it finds what lies beside it.
fn script(context: &ActionContext) -> Result<PathBuf, ActionError> {
    let inline = matches!(context.attributes().get("inline"), Some(Value::List(_)));
    let file = context.files("script")?.into_iter().next();
    match (inline, file) {
        (true, None) => write(context, &context.texts("inline")),
        (false, Some(file)) if !file.is_directory => Ok(file.path),
        (false, Some(_)) => Err(ActionError::input("`script` is a folder")),
        (true, Some(_)) => Err(ActionError::input("`shell_local` takes `inline` or `script`, not both")),
        (false, None) => Err(ActionError::input("`shell_local` needs `inline` or `script`")),
    }
}

fn write(context: &ActionContext, lines: &[String]) -> Result<PathBuf, ActionError> {
    let path: &Path = &context.temporary.join("script");
    let mut text = lines.join("\n");
    text.push('\n');
    if !text.starts_with("#!") {
        text.insert_str(0, SHEBANG);
    }
    fs_err::write(path, text)?;
    set_mode(path, 0o700)?;
    Ok(path.to_path_buf())
}

#[async_trait]
impl Executor for Sleep {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        context.pause("duration").await?;
        Ok(unchanged(context))
    }
}

#[async_trait]
impl Executor for Breakpoint {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        if context.flag("disable") {
            return Ok(unchanged(context));
        }
        let note = context.text("note").filter(|note| !note.is_empty());
        let question = match note {
            Some(note) => format!("{note}: press enter to go on"),
            None => "press enter to go on".to_owned(),
        };
        let answer = context.prompt.ask(&question);
        context.cancel.unless_cancelled(answer).await.unwrap_or(Err(ActionError::Cancelled))?;
        Ok(unchanged(context))
    }
}
