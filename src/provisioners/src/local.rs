//! Steps that leave the machine as it is: commands on the host, pauses and questions between two steps of a chain.
//!
//! Their layer is the one that they stand on. Skipped with what stands on them where nothing has changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use imgbuild_engine::{ActionContext, ActionError, Command, Executor, Outcome};
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

/// What is answered to a breakpoint by who wants a shell.
const ENTER: &str = "shell";
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

/// Gives the user a shell on the machine, and then the machine back.
async fn enter(context: &ActionContext) -> Result<(), ActionError> {
    let mut machine = context.machine(&context.parent()).await?;
    let shell = Command { interactive: true, ..Command::default() };
    let mut nothing = |_, _: &str| {};
    let entered = machine.session().exec(&shell, &mut nothing);
    let entered = context.cancel.unless_cancelled(entered).await;
    machine.discard().await?;
    // How the last command ended that the user gave is nobody's failure.
    entered.unwrap_or(Err(ActionError::Cancelled)).map(drop)
}

#[async_trait]
impl Executor for Breakpoint {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        if context.flag("disable") {
            return Ok(unchanged(context));
        }
        let note = context.text("note").filter(|note| !note.is_empty());
        // A machine that runs can be looked at; a tree is entered by `imgbuild shell`.
        let can_enter = context.node().logs_in();
        let offer = if can_enter { ", `shell` for a shell on the machine" } else { "" };
        let question = match note {
            Some(note) => format!("{note}: press enter to go on{offer}"),
            None => format!("press enter to go on{offer}"),
        };
        loop {
            let answer = context.prompt.ask(&question);
            let answer = context.cancel.unless_cancelled(answer).await;
            let answer = answer.unwrap_or(Err(ActionError::Cancelled))?;
            if !(can_enter && answer.trim() == ENTER) {
                return Ok(unchanged(context));
            }
            enter(context).await?;
        }
    }
}
