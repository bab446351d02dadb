//! `elevated_user`: the script that makes a task, and the task.

use imgbuild_provisioners::windows::{ExecutionPolicy, PowerShell, Runs, Scripts};
use roxmltree::Document;

use crate::support::{build, message, moment, other_moment, paths, texts, uploaded};

const SCRIPT: &str = "c:/Windows/Temp/script-7f3a.ps1";
const VARIABLES: &str = "c:/Windows/Temp/packer-ps-env-vars-7f3a.ps1";
const RUNNER: &str = "C:/Windows/Temp/packer-elevated-shell-7f3a.ps1";

fn elevated(scripts: Scripts, user: &str, password: &str) -> PowerShell {
    let mut provisioner = PowerShell::new(scripts);
    provisioner.elevated_user = user.to_owned();
    provisioner.elevated_password = password.to_owned();
    provisioner
}

fn inline(user: &str, password: &str) -> PowerShell {
    elevated(Scripts::Inline(texts(&["x"])), user, password)
}

fn runs(provisioner: &PowerShell) -> Runs {
    provisioner.runs(&build(), &moment()).unwrap()
}

/// The script that makes the task.
fn runner(provisioner: &PowerShell) -> String {
    uploaded(&runs(provisioner).scripts[0], RUNNER).to_owned()
}

/// The task's definition, out of the here-string that it is in.
fn definition(script: &str) -> &str {
    let (_, rest) = script.split_once("@'\n").unwrap();
    rest.split_once("\n'@\n").unwrap().0
}

/// The text of the only element of a name.
fn element(script: &str, name: &str) -> Option<String> {
    let document = Document::parse(definition(script)).unwrap();
    let mut found = document.descendants().filter(|node| node.tag_name().name() == name);
    let text = found.next().map(|node| node.text().unwrap_or_default().to_owned());
    assert!(found.next().is_none(), "{name}");
    text
}

/// The text that a variable of the script is set to by way of XML.
fn variable(script: &str, name: &str) -> String {
    let line = script.lines().find(|line| line.starts_with(&format!("${name} = "))).unwrap();
    let (_, xml) = line.split_once("([xml]'").unwrap();
    let (xml, rest) = xml.split_once('\'').unwrap();
    assert_eq!(rest, ").DocumentElement.InnerText");
    Document::parse(xml).unwrap().root_element().text().unwrap_or_default().to_owned()
}

#[test]
fn the_task_runs_the_command_as_the_user() {
    let provisioner = inline("Administrator", "p");
    let runs = runs(&provisioner);
    let run = &runs.scripts[0];
    assert_eq!(paths(run), [SCRIPT, RUNNER]);
    assert_eq!(run.command, format!(r#"powershell -executionpolicy bypass -file "{RUNNER}""#));
    let script = uploaded(run, RUNNER);
    assert_eq!(element(script, "UserId").unwrap(), "Administrator");
    assert_eq!(element(script, "LogonType").unwrap(), "Password");
    assert_eq!(element(script, "RunLevel").unwrap(), "HighestAvailable");
    assert_eq!(element(script, "ExecutionTimeLimit").unwrap(), "PT0S");
    assert_eq!(element(script, "Command").unwrap(), "cmd");
    let command = format!("powershell -executionpolicy bypass -file {SCRIPT}");
    let arguments = format!(r#"/s /c "{command} > %SystemRoot%\Temp\packer-7f3a.out 2>&1""#);
    assert_eq!(element(script, "Arguments").unwrap(), arguments);
    let root = Document::parse(definition(script)).unwrap();
    let namespace = root.root_element().tag_name().namespace().map(str::to_owned);
    assert_eq!(namespace.unwrap(), "http://schemas.microsoft.com/windows/2004/02/mit/task");
    for part in [
        r"$output = Join-Path $env:SystemRoot 'Temp\packer-7f3a.out'",
        "RegisterTaskDefinition('packer-7f3a', $task, 6, $user, $password, 1, $null)",
        "$folder.DeleteTask('packer-7f3a', 0)",
        "Remove-Item -LiteralPath $output -Force",
        "Remove-Item -LiteralPath $MyInvocation.MyCommand.Path -Force",
        "$result = $task.LastTaskResult\n",
        "\nexit $result\n",
    ] {
        assert!(script.contains(part), "{part}\n{script}");
    }
}

#[test]
fn a_script_of_the_host_runs_with_its_variables() {
    let provisioner = elevated(Scripts::Files(vec![b"A".to_vec(), b"B".to_vec()]), "SYSTEM", "");
    let runs = runs(&provisioner);
    for (run, text) in runs.scripts.iter().zip(["A", "B"]) {
        assert_eq!(paths(run), [VARIABLES, SCRIPT, RUNNER]);
        assert_eq!(uploaded(run, SCRIPT), text);
        let arguments = element(uploaded(run, RUNNER), "Arguments").unwrap();
        let command = format!(
            "powershell -executionpolicy bypass \"& {{ $ProgressPreference = 'SilentlyContinue'; . {VARIABLES}; &'{SCRIPT}'; exit $LastExitCode }}\""
        );
        assert!(arguments.starts_with(&format!(r#"/s /c "{command} > "#)), "{arguments}");
    }
    let cleanup = runs.cleanup.unwrap();
    assert!(cleanup.command.starts_with("powershell -executionpolicy bypass \"& {"), "{}", cleanup.command);
}

#[test]
fn without_a_password_it_is_a_service_account() {
    let script = runner(&inline("SYSTEM", ""));
    assert_eq!(element(&script, "UserId").unwrap(), "SYSTEM");
    assert_eq!(element(&script, "LogonType"), None);
    assert!(script.contains("\n$password = $null\n"));
    assert!(script.contains("6, $user, $password, 5, $null)"));
}

#[test]
fn whatever_users_passwords_and_commands_hold_arrives() {
    for text in [
        "plain",
        "Super$3cr3t!",
        "p`a$s'\"<&>",
        "it''s '@\n'@ <![CDATA[ ]]> --> &amp; &#39;",
        "äöü ‘curly’ “quotes” 日本 😀",
        "DOMAIN\\user%PATH%{}",
    ] {
        let mut provisioner = inline(text, text);
        provisioner.elevated_execute_command = Some(text.to_owned());
        let script = runner(&provisioner);
        assert!(script.is_ascii(), "{script}");
        assert_eq!(element(&script, "UserId").unwrap(), text);
        assert_eq!(variable(&script, "user"), text);
        assert_eq!(variable(&script, "password"), text);
        let arguments = format!("/s /c \"{text} > %SystemRoot%\\Temp\\packer-7f3a.out 2>&1\"");
        assert_eq!(element(&script, "Arguments").unwrap(), arguments);
    }
}

#[test]
fn what_no_task_can_hold_is_refused_unseen() {
    for (user, password, attribute) in
        [("a\u{1}", "p", "elevated_user"), ("a", "hunter2\0", "elevated_password")]
    {
        let error = message(inline(user, password).runs(&build(), &moment()).unwrap_err());
        assert_eq!(error, format!("`{attribute}` has a character that no task can hold"));
    }
}

#[test]
fn users_and_passwords_may_be_known_only_now() {
    for template in ["{{.WinRMPassword}}", "{{ build `Password` }}"] {
        let provisioner = inline("Administrator", template);
        let runs = provisioner.runs(&build(), &other_moment()).unwrap();
        let script = uploaded(&runs.scripts[0], "C:/Windows/Temp/packer-elevated-shell-c0de.ps1");
        assert_eq!(variable(script, "password"), "s3cret");
        let error = message(provisioner.runs(&build(), &moment()).unwrap_err());
        assert!(error.starts_with("`elevated_password` cannot be rendered: "), "{error}");
    }
}

#[test]
fn its_command_is_the_users() {
    let mut provisioner = inline("SYSTEM", "");
    provisioner.elevated_execute_command = Some("run {{.Vars}} {{.Path}}".to_owned());
    provisioner.execute_command = Some("other {{.Vars}} {{.Path}}".to_owned());
    let runs = runs(&provisioner);
    assert_eq!(paths(&runs.scripts[0]), [VARIABLES, SCRIPT, RUNNER]);
    let arguments = element(uploaded(&runs.scripts[0], RUNNER), "Arguments").unwrap();
    assert!(arguments.starts_with(&format!(r#"/s /c "run {VARIABLES} {SCRIPT} > "#)), "{arguments}");
    let cleanup = runs.cleanup.unwrap().command;
    assert_eq!(cleanup, format!("other {VARIABLES} c:/Windows/Temp/packer-cleanup-7f3a.ps1"));
}

#[test]
fn a_task_names_its_program_under_each_policy() {
    for policy in ExecutionPolicy::ALL {
        for (use_pwsh, program) in [(false, "powershell"), (true, "pwsh")] {
            let mut provisioner = inline("SYSTEM", "");
            provisioner.execution_policy = policy;
            provisioner.use_pwsh = use_pwsh;
            let arguments = element(&runner(&provisioner), "Arguments").unwrap();
            let start = match policy {
                ExecutionPolicy::None => program.to_owned(),
                policy => format!("{program} -executionpolicy {}", policy.as_str()),
            };
            assert!(arguments.starts_with(&format!(r#"/s /c "{start} -file {SCRIPT} > "#)), "{arguments}");
            assert!(
                runs(&provisioner).scripts[0]
                    .command
                    .starts_with("powershell -executionpolicy bypass -file ")
            );
        }
    }
}
