//! `powershell`: what is uploaded and run, attribute by attribute.
//!
//! No PowerShell can be had where these tests run, so that they compare texts; what runs them first is a real guest.

use std::time::Duration;

use imgbuild_kinds::component;
use imgbuild_model::{AttributeType, Default as Usual, KindClass};
use imgbuild_provisioners::windows::{ExecutionPolicy, Policy, PowerShell, Scripts};

use crate::support::{build, message, moment, other_moment, paths, texts, uploaded};

const SCRIPT: &str = "c:/Windows/Temp/script-7f3a.ps1";
const VARIABLES: &str = "c:/Windows/Temp/packer-ps-env-vars-7f3a.ps1";
const CLEANUP: &str = "c:/Windows/Temp/packer-cleanup-7f3a.ps1";
const TOLD: &str = r#"$env:PACKER_BUILDER_TYPE="amazon-ebs"; $env:PACKER_BUILD_NAME="web"; "#;

fn inline(lines: &[&str]) -> PowerShell {
    PowerShell::new(Scripts::Inline(texts(lines)))
}

fn files(files: &[&str]) -> PowerShell {
    PowerShell::new(Scripts::Files(files.iter().map(|file| file.as_bytes().to_vec()).collect()))
}

/// The command of the first script.
fn command(of: &PowerShell) -> String {
    of.runs(&build(), &moment()).unwrap().scripts[0].command.clone()
}

/// The variables as they are uploaded for a script of the host.
fn variables(of: &PowerShell) -> String {
    let runs = of.runs(&build(), &moment()).unwrap();
    uploaded(&runs.scripts[0], VARIABLES).to_owned()
}

#[test]
fn lines_are_one_script_with_its_variables_that_says_how_it_ended() {
    let runs = inline(&["Write-Host one", "@\"", "text", "\"@"]).runs(&build(), &moment()).unwrap();
    let [run] = &*runs.scripts else { panic!("{runs:?}") };
    assert_eq!(paths(run), [SCRIPT]);
    let expected = format!(
        "$ProgressPreference = 'SilentlyContinue'\n$global:LASTEXITCODE = 0\n{TOLD}\ntry {{\n\
        Write-Host one\n@\"\ntext\n\"@\n\
        }} catch {{\nWrite-Error -ErrorRecord $_ -ErrorAction Continue\nexit 1\n}}\nexit $LASTEXITCODE\n"
    );
    assert_eq!(uploaded(run, SCRIPT), expected);
    assert_eq!(run.command, format!("powershell -executionpolicy bypass -file {SCRIPT}"));
}

#[test]
fn files_are_uploaded_as_they_are_behind_their_variables() {
    let runs = files(&["Write-Host A\r\nexit 3\r\n", "B"]).runs(&build(), &moment()).unwrap();
    assert_eq!(runs.scripts.len(), 2);
    for (run, text) in runs.scripts.iter().zip(["Write-Host A\r\nexit 3\r\n", "B"]) {
        assert_eq!(paths(run), [VARIABLES, SCRIPT]);
        assert_eq!(uploaded(run, VARIABLES), TOLD);
        assert_eq!(uploaded(run, SCRIPT), text);
        let expected = format!(
            "powershell -executionpolicy bypass \"& {{ $ProgressPreference = 'SilentlyContinue'; . {VARIABLES}; &'{SCRIPT}'; exit $LastExitCode }}\""
        );
        assert_eq!(run.command, expected);
    }
}

#[test]
fn policies_and_programs_are_in_the_command() {
    let body = format!(
        "& {{ $ProgressPreference = 'SilentlyContinue'; . {VARIABLES}; &'{SCRIPT}'; exit $LastExitCode }}"
    );
    for policy in ExecutionPolicy::ALL {
        for (use_pwsh, program) in [(false, "powershell"), (true, "pwsh")] {
            let (mut lines, mut file) = (inline(&["x"]), files(&["x"]));
            for provisioner in [&mut lines, &mut file] {
                provisioner.execution_policy = policy;
                provisioner.use_pwsh = use_pwsh;
            }
            if policy == ExecutionPolicy::None {
                assert_eq!(command(&lines), format!("-file {SCRIPT}"));
                assert_eq!(command(&file), body);
            } else {
                let start = format!("{program} -executionpolicy {}", policy.as_str());
                assert_eq!(command(&lines), format!("{start} -file {SCRIPT}"));
                assert_eq!(command(&file), format!("{start} \"{body}\""));
            }
        }
    }
}

#[test]
fn policies_are_those_of_the_schema() {
    let schema = component(KindClass::Provisioner, "powershell").unwrap();
    let words = match schema.attribute("execution_policy").unwrap().type_ {
        AttributeType::Enum(words) => words,
        other => panic!("{other:?}"),
    };
    let mut written: Vec<_> = words.to_vec();
    written.sort_unstable();
    let mut known = ExecutionPolicy::ALL.map(ExecutionPolicy::as_str);
    known.sort_unstable();
    assert_eq!(written, known);
    for word in words {
        assert_eq!(word.parse::<ExecutionPolicy>().unwrap().as_str(), *word);
    }
    for word in ["", "ByPass", "all"] {
        let error = message(word.parse::<ExecutionPolicy>().unwrap_err());
        assert_eq!(error, format!("`{word}` is no `execution_policy`"));
    }
    let usual = |name| schema.table().attribute(name).unwrap().default;
    assert_eq!(usual("execution_policy"), Usual::String(ExecutionPolicy::default().as_str()));
    assert_eq!(usual("start_retry_timeout"), Usual::String("5m"));
    assert_eq!(Policy::default().start_retry_timeout, Duration::from_secs(300));
}

#[test]
fn debug_mode_traces() {
    for (mode, expected) in [(0, ""), (1, "Set-PSDebug -Trace 1; "), (2, "Set-PSDebug -Trace 2; ")] {
        let (mut lines, mut file) = (inline(&["x"]), files(&["x"]));
        lines.debug_mode = mode;
        file.debug_mode = mode;
        let runs = lines.runs(&build(), &moment()).unwrap();
        assert!(uploaded(&runs.scripts[0], SCRIPT).contains(&format!("{TOLD}\n{expected}try {{\nx\n}}")));
        assert!(command(&file).contains(&format!("'SilentlyContinue'; {expected}. {VARIABLES};")));
    }
}

#[test]
fn values_of_variables_are_escaped() {
    for (value, expected) in [
        ("plain text", "plain text"),
        ("a$b", "a`$b"),
        ("a\"b", "a`\"b"),
        ("a'b", "a`'b"),
        ("a`b", "a``b"),
        ("`$", "```$"),
        ("a=b", "a=b"),
        ("", ""),
        ("c:\\dir\\", "c:\\dir\\"),
        ("two\nlines", "two\nlines"),
    ] {
        let mut file = files(&["x"]);
        file.environment_vars = vec![format!("FOO={value}")];
        assert_eq!(variables(&file), format!("$env:FOO=\"{expected}\"; {TOLD}"), "{value}");
        let mut lines = inline(&["x"]);
        lines.env = [("FOO".to_owned(), value.to_owned())].into();
        let runs = lines.runs(&build(), &moment()).unwrap();
        let script = uploaded(&runs.scripts[0], SCRIPT);
        assert!(script.contains(&format!("$env:FOO=\"{expected}\"; {TOLD}\ntry")), "{script}");
    }
}

#[test]
fn env_wins_over_environment_vars_and_packer_over_both() {
    let mut file = files(&["x"]);
    file.environment_vars = texts(&["B=list", "A=list", "PACKER_BUILD_NAME=mine"]);
    file.env = [("B".to_owned(), "map".to_owned())].into();
    assert_eq!(variables(&file), format!("$env:A=\"list\"; $env:B=\"map\"; {TOLD}"));
}

#[test]
fn formats_are_the_users() {
    let mut file = files(&["x"]);
    file.env_var_format = Some("ENV %s => %s|".to_owned());
    file.elevated_env_var_format = Some("ELEVATED %s => %s|".to_owned());
    assert_eq!(variables(&file), "ENV PACKER_BUILDER_TYPE => amazon-ebs|ENV PACKER_BUILD_NAME => web|");
    file.elevated_user = "SYSTEM".to_owned();
    assert_eq!(
        variables(&file),
        "ELEVATED PACKER_BUILDER_TYPE => amazon-ebs|ELEVATED PACKER_BUILD_NAME => web|"
    );
}

#[test]
fn paths_are_the_users() {
    let mut file = files(&["x"]);
    file.remote_path = Some("d:/it's.ps1".to_owned());
    file.remote_env_var_path = Some("d:/e.ps1".to_owned());
    let runs = file.runs(&build(), &moment()).unwrap();
    assert_eq!(paths(&runs.scripts[0]), ["d:/e.ps1", "d:/it's.ps1"]);
    let cleanup = runs.cleanup.unwrap();
    let expected =
        "foreach ($path in 'd:/e.ps1', 'd:/it''s.ps1', 'c:/Windows/Temp/packer-cleanup-7f3a.ps1') {\n";
    assert!(uploaded(&cleanup, CLEANUP).starts_with(expected));
}

#[test]
fn a_command_of_the_users_may_ask_for_the_variables_file() {
    for mut provisioner in [inline(&["x"]), files(&["x"])] {
        provisioner.execute_command =
            Some("run {{.Vars}} {{ .Path }} {{.WinRMPassword}} {{build `Password`}}".to_owned());
        provisioner.skip_clean = true;
        let runs = provisioner.runs(&build(), &other_moment()).unwrap();
        let run = &runs.scripts[0];
        let script = SCRIPT.replace("7f3a", "c0de");
        let variables = VARIABLES.replace("7f3a", "c0de");
        assert_eq!(paths(run), [&*variables, &*script]);
        assert_eq!(run.command, format!("run {variables} {script} s3cret s3cret"));
        let error = message(provisioner.runs(&build(), &moment()).unwrap_err());
        assert!(error.starts_with("`execute_command` cannot be rendered: "), "{error}");
    }
}

#[test]
fn files_are_removed_unless_it_is_skipped() {
    let mut file = files(&["A", "B"]);
    let cleanup = file.runs(&build(), &moment()).unwrap().cleanup.unwrap();
    assert_eq!(paths(&cleanup), [CLEANUP]);
    let expected = format!(
        "foreach ($path in '{VARIABLES}', '{SCRIPT}', '{CLEANUP}') {{\n    \
        if (Test-Path -LiteralPath $path) {{ Remove-Item -LiteralPath $path -Force }}\n}}\nexit 0\n"
    );
    assert_eq!(uploaded(&cleanup, CLEANUP), expected);
    assert!(cleanup.command.ends_with(&format!("&'{CLEANUP}'; exit $LastExitCode }}\"")));
    let cleanup = inline(&["x"]).runs(&build(), &moment()).unwrap().cleanup.unwrap();
    assert_eq!(cleanup.command, format!("powershell -executionpolicy bypass -file {CLEANUP}"));
    file.skip_clean = true;
    assert_eq!(file.runs(&build(), &moment()).unwrap().cleanup, None);
}

#[test]
fn moments_differ_in_names_and_servers_alone() {
    for mut provisioner in [inline(&["x"]), files(&["x"])] {
        provisioner.environment_vars = texts(&["A=1"]);
        let texts = |moment| {
            let runs = provisioner.runs(&build(), &moment).unwrap();
            let all = runs.scripts.iter().chain(&runs.cleanup);
            all.flat_map(|run| {
                let uploads = run.uploads.iter().flat_map(|upload| {
                    [upload.path.clone(), String::from_utf8(upload.content.clone()).unwrap()]
                });
                uploads.chain([run.command.clone()]).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
        };
        let server = r#"$env:PACKER_HTTP_ADDR="10.0.0.1:8000"; $env:PACKER_HTTP_IP="10.0.0.1"; $env:PACKER_HTTP_PORT="8000"; "#;
        let other: Vec<_> = texts(other_moment())
            .iter()
            .map(|text| text.replace("c0de", "7f3a").replace(server, ""))
            .collect();
        assert_eq!(other, texts(moment()));
        assert_eq!(texts(moment()), texts(moment()));
    }
}

#[test]
fn starting_is_tried_again_for_a_while() {
    let policy = Policy::default();
    assert_eq!(policy.pause_after, Duration::ZERO);
    for (seconds, expected) in [(0, Some(2)), (299, Some(2)), (300, None), (900, None)] {
        assert_eq!(policy.again(Duration::from_secs(seconds)), expected.map(Duration::from_secs));
    }
}

#[test]
fn nothing_secret_is_in_what_is_logged() {
    let mut provisioner = files(&["the script"]);
    provisioner.env = [("TOKEN".to_owned(), "hunter2".to_owned())].into();
    provisioner.elevated_user = "a".to_owned();
    provisioner.elevated_password = "hunter2".to_owned();
    let runs = provisioner.runs(&build(), &other_moment()).unwrap();
    let logged = format!("{runs:?} {provisioner:?} {:?}", other_moment());
    assert!(!logged.contains("hunter2") && !logged.contains("s3cret"), "{logged}");
}
