use std::collections::BTreeMap;

use imgbuild_postprocessors::local_command::{LocalCommand, LocalCommandSettings, Ran};
use imgbuild_postprocessors::{ShellLocal, Voice};

use crate::support::{World, built};

fn inline(lines: &[&str]) -> LocalCommandSettings {
    LocalCommandSettings { inline: texts(lines), ..Default::default() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

async fn run(world: &World, settings: LocalCommandSettings) -> Result<Ran, imgbuild_model::Diagnostic> {
    LocalCommand::new(settings).unwrap().run(&world.context.local()).await
}

/// What was said, without the line that names a temporary file.
fn said(world: &World) -> Vec<String> {
    let said = world.said.take();
    said.into_iter().filter(|line| !line.starts_with("Running local shell script: ")).collect()
}

#[tokio::test]
async fn lines_are_a_script_with_variables_and_late_values() {
    let mut world = World::new();
    world.context.generated.insert("ID".to_owned(), "i-1".into());
    world.context.generated.insert("PackerHTTPAddr".to_owned(), "10.0.0.1:80".into());
    world
        .context
        .generated
        .insert("PackerHTTPIP".to_owned(), "ERR_HTTP_IP_NOT_IMPLEMENTED_BY_BUILDER".into());
    let settings = LocalCommandSettings {
        environment_vars: texts(&["QUOTED=it's \"$HOME\" `x` \\", "LATE={{.ID}}", "BOTH=1", "EMPTY="]),
        env: BTreeMap::from([("BOTH".to_owned(), "2".to_owned())]),
        ..inline(&[
            "printf '%s\\n' \"$PACKER_BUILD_NAME\" \"$PACKER_BUILDER_TYPE\" \"$PACKER_RUN_UUID\" \"$QUOTED\" \"$LATE\" \"$BOTH\"",
            "echo \"$PACKER_HTTP_ADDR ${PACKER_HTTP_IP-none} ${EMPTY-none}\"",
            "echo {{.ID}}; pwd; echo wrong >&2",
            "head -n 1 \"$0\"; stat -c %a \"$0\"; echo \"$TEST_MARK\"",
        ])
    };
    assert_eq!(run(&world, settings).await.unwrap(), Ran::Yes);
    assert!(world.said.has(Voice::Error, "wrong"));
    let folder = world.folder.path().canonicalize().unwrap().display().to_string();
    let said: Vec<String> = said(&world).into_iter().filter(|line| line != "wrong").collect();
    let uuid = "9dbfe30d-e0eb-df91-50ca-69e7190ba629";
    assert_eq!(
        said,
        [
            "web",
            "file",
            uuid,
            "it's \"$HOME\" `x` \\",
            "i-1",
            "2",
            "10.0.0.1:80 none ",
            "i-1",
            &folder,
            "#!/bin/sh -e",
            "700",
            "marked"
        ]
    );
    let events = world.journal.events();
    assert!(events[0].starts_with("intend `/") && events[0].ends_with("` of the build `web`"), "{events:?}");
    assert_eq!(events[1..], ["started", "ended"]);
}

#[tokio::test]
async fn the_script_of_lines_is_gone_afterwards_also_after_a_failure() {
    let world = World::new();
    for (line, code) in [("true", None), ("exit 4", Some(4))] {
        let settings =
            LocalCommandSettings { tempfile_extension: "py".to_owned(), ..inline(&["echo \"$0\"", line]) };
        let ran = run(&world, settings).await;
        let lines = said(&world);
        let path = std::path::Path::new(&lines[0]);
        assert!(path.is_absolute() && path.extension().unwrap() == "py");
        assert!(!path.exists());
        if let Some(code) = code {
            let expected = format!(
                "`{}` exited with code {code}, which is not among the valid exit codes (0)",
                lines[0]
            );
            assert_eq!(ran.unwrap_err().message, expected);
        }
    }
    assert_eq!(world.journal.events().len(), 6);
}

#[tokio::test]
async fn settings_change_how_a_script_runs() {
    let world = World::new();
    world.write_script("s/own.sh", "#!/bin/sh\necho \"own $1 $A\"\nexit 3\n");
    let settings = LocalCommandSettings {
        scripts: texts(&["s/own.sh", "s/own.sh"]),
        execute_command: texts(&["env", "-i", "/bin/sh", "-c", "{{.Vars}} {{.Script}} {{.BuildName}}"]),
        env: BTreeMap::from([("A".to_owned(), "b c".to_owned())]),
        env_var_format: "export %s='%s';".to_owned(),
        valid_exit_codes: vec![0, 3],
        ..Default::default()
    };
    let mut context = world.context.local();
    context.generated.insert("BuildName".to_owned(), "web".into());
    LocalCommand::new(settings.clone()).unwrap().run(&context).await.unwrap();
    assert_eq!(
        world.said.take(),
        [
            "Running local shell script: s/own.sh",
            "own web b c",
            "Running local shell script: s/own.sh",
            "own web b c"
        ]
    );
    let wrong = LocalCommandSettings { valid_exit_codes: vec![0, 1], ..settings };
    let error = LocalCommand::new(wrong).unwrap().run(&context).await.unwrap_err();
    assert_eq!(
        error.message,
        "`s/own.sh` exited with code 3, which is not among the valid exit codes (0, 1)"
    );

    let settings = LocalCommandSettings {
        inline_shebang: "/bin/sh -u".to_owned(),
        ..inline(&["echo $UNSET", "echo on"])
    };
    assert!(run(&world, settings).await.is_err());
    assert!(!world.said.has(Voice::Say, "on"));
}

#[tokio::test]
async fn a_single_text_is_run_by_sh_in_the_post_processor() {
    let world = World::new();
    let settings = LocalCommandSettings {
        execute_command: texts(&["{{.Vars}} sh {{.Command}}; echo after"]),
        ..inline(&["echo in"])
    };
    let input = built(&["a.img"]);
    let processed = world.process(&ShellLocal::new(settings).unwrap(), &input).await.unwrap();
    assert!(processed.keep_input && processed.force_keep);
    assert_eq!(processed.artifact.unwrap(), input);
    assert_eq!(said(&world), ["in", "after"]);
}

#[tokio::test]
async fn other_systems_are_left_out() {
    let world = World::new();
    let settings = LocalCommandSettings { only_on: texts(&["windows", "darwin"]), ..inline(&["exit 1"]) };
    if cfg!(target_os = "linux") {
        assert_eq!(run(&world, settings).await.unwrap(), Ran::OtherSystem);
        assert_eq!(world.said.take(), ["Skipping shell-local due to runtime OS"]);
    }
    let settings =
        LocalCommandSettings { only_on: texts(&["linux", "darwin", "freebsd"]), ..inline(&["true"]) };
    assert_eq!(run(&world, settings).await.unwrap(), Ran::Yes);
}

#[tokio::test]
async fn what_cannot_run_is_told() {
    let world = World::new();
    world.write("plain.sh", "#!/bin/sh\n");
    let of_file = |script: &str| LocalCommandSettings { script: script.to_owned(), ..Default::default() };
    let error = run(&world, of_file("none.sh")).await.unwrap_err();
    assert_eq!(error.message, "the script `none.sh` does not exist");
    assert!(error.hint.unwrap().contains(world.folder.path().to_str().unwrap()));
    let scripts =
        LocalCommandSettings { scripts: texts(&["plain.sh", "none.sh", "."]), ..Default::default() };
    let missing = LocalCommand::new(scripts).unwrap().check_scripts(world.folder.path()).unwrap_err();
    assert_eq!(missing.0.len(), 2);
    assert_eq!(missing.0[0].message, "the script `none.sh` does not exist");
    assert_eq!(run(&world, of_file(".")).await.unwrap_err().message, "the script `.` is no file");
    let error = run(&world, of_file("plain.sh")).await.unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("a script must be executable: run `chmod +x` on it"));
    let settings =
        LocalCommandSettings { execute_command: texts(&["/no/program", "x"]), ..inline(&["true"]) };
    let error = run(&world, settings).await.unwrap_err();
    assert!(error.message.starts_with("cannot start `/no/program`: "), "{error}");
    assert_eq!(error.hint.as_deref(), Some("check `execute_command`"));
    let killed = LocalCommandSettings {
        execute_command: texts(&["/bin/sh", "-c", "kill -TERM $$"]),
        ..inline(&["true"])
    };
    let error = run(&world, killed).await.unwrap_err();
    assert!(error.message.ends_with("was ended by signal 15"), "{error}");
    let settings = LocalCommandSettings { environment_vars: texts(&["{{.ID}}"]), ..inline(&["true"]) };
    let mut context = world.context.local();
    context.generated.insert("ID".to_owned(), "i-1".into());
    let error = LocalCommand::new(settings).unwrap().run(&context).await.unwrap_err();
    assert_eq!(error.message, "`i-1` in `environment_vars` is no variable");
    let error = run(&world, inline(&["{{.Nobody}}"])).await.unwrap_err();
    assert_eq!(error.to_string(), "no `Nobody` here; in `inline`");
}

#[test]
fn settings_that_do_not_fit_are_told_all_at_once() {
    let messages = |settings: LocalCommandSettings| -> Vec<String> {
        let errors = LocalCommand::new(settings).unwrap_err();
        assert!(errors.0.iter().all(|error| error.hint.is_some()));
        errors.0.into_iter().map(|error| error.message).collect()
    };
    assert_eq!(messages(LocalCommandSettings::default()), ["`shell-local` has nothing to run"]);
    let settings = LocalCommandSettings {
        command: "x".to_owned(),
        script: "y".to_owned(),
        only_on: texts(&["linx", "plan9"]),
        environment_vars: texts(&["A", "=b", "C=d"]),
        use_linux_pathing: true,
        env_var_format: "%d".to_owned(),
        ..inline(&["z"])
    };
    assert_eq!(
        messages(settings),
        [
            "`shell-local` has `command` and `inline` and `script`",
            "`use_linux_pathing` does not go with `inline` and `command`",
            "`only_on` names `linx`, which is no system",
            "`only_on` names `plan9`, which is no system",
            "`A` in `environment_vars` is no variable",
            "`=b` in `environment_vars` is no variable",
            "`env_var_format` is `%d`",
        ]
    );
}

#[tokio::test]
async fn a_cancelled_command_ends_with_what_it_started() {
    let world = World::new();
    let fifo = world.folder.path().join("alive");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Both processes hold the pipe open for writing; a reader sees its end only when both have ended.
    let settings = inline(&["exec 3>alive", "sleep 1000 &", "echo ready >&3", "sleep 1000"]);
    let reader = tokio::task::spawn_blocking({
        let (fifo, cancel) = (fifo.clone(), world.context.cancel.clone());
        move || {
            use std::io::{BufRead as _, BufReader, Read as _};
            let mut pipe = BufReader::new(std::fs::File::open(fifo).unwrap());
            let mut line = String::new();
            pipe.read_line(&mut line).unwrap();
            cancel.cancel();
            pipe.read_to_string(&mut line).unwrap();
            line
        }
    });
    let error = run(&world, settings).await.unwrap_err();
    assert_eq!(error.message, "cancelled");
    assert_eq!(reader.await.unwrap(), "ready\n");
    assert_eq!(world.journal.events()[1..], ["started", "ended"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn scripts_that_start_at_once_all_run() {
    let world = World::new();
    let runs: Vec<_> = (0..60)
        .map(|number| {
            let context = world.context.local();
            let command = LocalCommand::new(inline(&[&format!("echo {number}")])).unwrap();
            tokio::spawn(async move { command.run(&context).await })
        })
        .collect();
    for run in runs {
        assert_eq!(run.await.unwrap(), Ok(Ran::Yes));
    }
    assert_eq!(said(&world).len(), 60);
}
