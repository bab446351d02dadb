//! `run` and `shell`: a throw-away copy of an image, entered.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use imgbuild::args::{BuildOptions, Run, Shell, Variant};
use imgbuild::ui::Aim;
use imgbuild_cache::Run as CacheRun;
use imgbuild_engine::{
    ActionError, Builder as _, Command, Exit, FAILED_MEMO, FailedState, LayerMetadata, MachineSpec, Results,
    Snapshot, Told, failed_memo_key,
};
use imgbuild_model::{Attributes, ChainState, Diagnostic, Diagnostics, Platform, Stream};
use imgbuild_rootfs::RootfsBuilder;

use super::build::{become_root, carry_out};
use crate::session::{Planning, Session, Want, cache_error, image_layer, runtime};

/// What is entered.
struct Copy {
    snapshot: Snapshot,
    base: ChainState,
    state: ChainState,
    platform: Platform,
    source_date: i64,
}

/// `imgbuild run`.
pub(super) fn run(run: &Run, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let copy = image(&run.label, &run.variant, session)?;
    let mut argv: Vec<String> = run.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if argv.is_empty() {
        argv = own_command(&copy).ok_or_else(|| {
            Diagnostic::error(format!("`{}` has no command of its own", run.label))
                .hint("name one after `--`")
        })?;
    }
    enter(session, &copy, argv)
}

/// `imgbuild shell`.
pub(super) fn shell(shell: &Shell, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let copy = match shell.failed {
        true => failed(&shell.label, session)?,
        false => image(&shell.label, &shell.variant, session)?,
    };
    enter(session, &copy, vec!["/bin/sh".to_owned()])
}

fn own_command(copy: &Copy) -> Option<Vec<String>> {
    let entrypoint =
        copy.state.entrypoint.clone().or_else(|| copy.base.entrypoint.clone()).unwrap_or_default();
    let cmd = copy.state.cmd.clone().or_else(|| copy.base.cmd.clone()).unwrap_or_default();
    let argv = [entrypoint, cmd].concat();
    (!argv.is_empty()).then_some(argv)
}

/// Builds an image's layer where that is needed.
fn image(label: &str, variant: &Variant, session: &mut Session) -> Result<Copy, Diagnostics> {
    let label = session.label(label)?;
    let selection = session.selection([label.to_string().as_str()], variant)?;
    let prepared = session.prepare(&selection, &Planning { want: Want::Layers, ..Planning::default() })?;
    let Some((platform, id)) =
        prepared.analyzed.roots.first().and_then(|root| root.platforms.first()).copied()
    else {
        return Err(Diagnostic::error(format!("`{label}` is no image")).into());
    };
    if prepared.plan.running().next().is_none() {
        become_root(session)?;
    }
    let report = carry_out(session, &prepared, &BuildOptions::default(), Aim::Build)?;
    session.ui.close();
    if let Some(failure) = report.failures.first() {
        return Err(Diagnostic::error(format!("`{label}` failed: {}", failure.error))
            .class(failure.error.class())
            .at(prepared.keys.graph.nodes[failure.place].action.location.clone())
            .into());
    }
    let layer = image_layer(&prepared.analyzed, id)
        .ok_or_else(|| Diagnostics::from(Diagnostic::error(format!("`{label}` is no image"))))?;
    let result =
        prepared.keys.graph.find(&layer.action).and_then(|place| report.results.get(&place).cloned());
    let Some(result) = result else {
        return Err(Diagnostic::error(format!("`{label}` was not built")).into());
    };
    let metadata: LayerMetadata = serde_json::from_slice(&result.metadata).unwrap_or_default();
    Ok(Copy {
        snapshot: Snapshot::of(result.layers.clone()),
        base: metadata.base,
        state: (*layer.state).clone(),
        platform,
        source_date: metadata.source_date,
    })
}

fn failed(label: &str, session: &mut Session) -> Result<Copy, Diagnostics> {
    let label = session.label(label)?;
    let cache = session.cache()?;
    let memo = cache.memo_get(FAILED_MEMO, &failed_memo_key(&label)).map_err(|error| cache_error(&error))?;
    let state: FailedState = memo.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(|| {
        Diagnostic::error(format!("no step of `{label}` has failed here"))
            .hint(format!("`imgbuild shell {label}` opens a shell in the image itself"))
    })?;
    if let Some(gone) = state.layers.iter().find(|delta| !cache.has_layer(delta)) {
        return Err(Diagnostic::error(format!(
            "the state that `{}` left is gone from the cache",
            state.description
        ))
        .note(format!("layer {gone}"), None)
        .hint("build it again")
        .into());
    }
    become_root(session)?;
    session.shell.note(&format!("this is the state that `{}` left", state.description));
    Ok(Copy {
        snapshot: Snapshot::of(state.layers),
        base: ChainState::default(),
        state: state.state,
        platform: state.platform,
        source_date: imgbuild_plan::default_source_date(),
    })
}

fn enter(session: &mut Session, copy: &Copy, argv: Vec<String>) -> Result<ExitCode, Diagnostics> {
    let cache = session.cache()?;
    session.ui.close();
    let mut env = copy.base.env.clone();
    env.extend(copy.state.env.clone());
    let interactive = std::io::stdin().is_terminal();
    if interactive {
        env.entry("TERM".to_owned()).or_insert_with(|| "xterm-256color".to_owned());
    }
    let stdin = match interactive {
        true => None,
        false => {
            let mut bytes = Vec::new();
            // A caller that closed standard input has nothing to say.
            let _ = std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes);
            Some(bytes)
        }
    };
    let command = Command {
        argv,
        env,
        user: copy.state.user.clone().or_else(|| copy.base.user.clone()),
        workdir: copy.state.workdir.clone().or_else(|| copy.base.workdir.clone()),
        new_privileges: true,
        interactive,
        stdin,
        ..Command::default()
    };
    let exit: Result<Exit, ActionError> = runtime()?.block_on(async {
        let run = Arc::new(CacheRun::begin(&cache)?);
        let spec = MachineSpec {
            platform: copy.platform,
            source_date: copy.source_date,
            run,
            chain: String::new(),
            source: Attributes::default(),
            files: BTreeMap::new(),
            sensitive: false,
            results: Results::ThrownAway,
            told: Told::nobody(),
        };
        let mut machine = RootfsBuilder::new(cache.clone()).start(&copy.snapshot, &spec).await?;
        let exit = machine
            .session()
            .exec(&command, &mut |stream, line| {
                let written = match stream {
                    Stream::Stdout => writeln!(std::io::stdout(), "{line}"),
                    Stream::Stderr => writeln!(std::io::stderr(), "{line}"),
                };
                // Whoever reads the output may stop reading.
                let _ = written;
            })
            .await;
        machine.discard().await?;
        exit
    });
    match exit {
        Ok(Exit::Code(code)) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        Ok(Exit::Signal(signal)) => Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))),
        Err(ActionError::Other(diagnostic)) => Err((*diagnostic).into()),
        Err(error) => Err(Diagnostic::error(error.to_string()).class(error.class()).into()),
    }
}
