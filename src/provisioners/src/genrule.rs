//! `genrule`: files made with an image's tools, or on the host.

use std::path::Path;

use async_trait::async_trait;
use imgbuild_cache::OutputFile;
use imgbuild_engine::{ActionContext, ActionError, Bind, Command, Executor, Exit, Outcome};

use crate::host;
use crate::shell::{Surroundings, lay_out, set_mode};

/// The code behind `genrule`.
pub(crate) struct Genrule;

#[async_trait]
impl Executor for Genrule {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let folder = context.temporary.join("step");
        let out = folder.join("out");
        fs_err::create_dir_all(&out)?;
        // Whoever the command runs as may write there; the folders above are this user's alone.
        set_mode(&out, 0o777)?;
        for name in &context.node().action.outputs {
            if let Some(above) = out.join(&**name).parent() {
                fs_err::create_dir_all(above)?;
                set_mode(above, 0o777)?;
            }
        }
        let inputs = context.files("srcs")?;
        lay_out(&inputs, &folder.join("srcs"), context.parent_metadata().source_date)?;
        let script = folder.join("script");
        fs_err::write(&script, context.text("cmd").unwrap_or_default())?;
        let work = async {
            if context.flag("host") {
                on_host(context, &folder).await
            } else {
                in_image(context, &folder).await
            }
        };
        let exit = context.cancel.unless_cancelled(work).await.unwrap_or(Err(ActionError::Cancelled))?;
        exit.success(&format!("`{}`", context.node().describe()))?;
        let mut files = Vec::new();
        for name in &context.node().action.outputs {
            let path = out.join(&**name);
            if path.symlink_metadata().is_err() {
                return Err(ActionError::input(format!("the command did not make `{name}`"))
                    .hint("outputs are written below the folder that `$OUT` names"));
            }
            keep(context, &path, name, &mut files)?;
        }
        Ok(Outcome { files, ..Outcome::default() })
    }
}

async fn in_image(context: &ActionContext, folder: &Path) -> Result<Exit, ActionError> {
    let around = Surroundings::new(&context.node().state, &context.parent_metadata());
    let mut env = around.env;
    env.extend(context.pairs("env"));
    let mut machine = context.machine(&context.parent()).await?;
    let shown = machine.session().step_folder();
    env.insert("SRCS".to_owned(), format!("{shown}/srcs"));
    env.insert("OUT".to_owned(), format!("{shown}/out"));
    let bind = |name: &str, writable| Bind {
        source: folder.join(name),
        target: format!("{shown}/{name}"),
        writable,
        leave: false,
    };
    let command = Command {
        argv: vec!["/bin/sh".to_owned(), "-eu".to_owned(), format!("{shown}/script")],
        env,
        user: around.user,
        workdir: around.workdir,
        network: context.flag("network"),
        binds: vec![bind("script", false), bind("srcs", false), bind("out", true)],
        ..Command::default()
    };
    let exit = machine.session().exec(&command, &mut |stream, line| context.line(stream, line)).await;
    machine.discard().await?;
    exit
}

async fn on_host(context: &ActionContext, folder: &Path) -> Result<Exit, ActionError> {
    let mut command = tokio::process::Command::new("/bin/sh");
    command
        .arg("-eu")
        .arg(folder.join("script"))
        .current_dir(folder)
        .envs(context.pairs("env"))
        .env("SRCS", folder.join("srcs"))
        .env("OUT", folder.join("out"));
    host::run(context, &mut command).await
}

/// Puts an output, a file or all files of a folder, into the store.
pub(crate) fn keep(
    context: &ActionContext,
    path: &Path,
    name: &str,
    files: &mut Vec<OutputFile>,
) -> Result<(), ActionError> {
    let metadata = fs_err::metadata(path)?;
    if metadata.is_dir() {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(path)? {
            names.push(entry?.file_name());
        }
        names.sort();
        for entry in names {
            let text = entry.to_string_lossy();
            keep(context, &path.join(&entry), &format!("{name}/{text}"), files)?;
        }
        return Ok(());
    }
    use std::os::unix::fs::PermissionsExt as _;
    let blob = context.cache.put_file(path)?;
    files.push(OutputFile {
        path: name.to_owned(),
        digest: blob.digest,
        executable: metadata.permissions().mode() & 0o100 != 0,
    });
    Ok(())
}
