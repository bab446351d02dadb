//! `windows-shell`: what is uploaded and run, attribute by attribute.

use imgbuild_provisioners::windows::{Scripts, WindowsShell};

use crate::support::{build, message, moment, other_moment, texts};

fn shell(lines: &[&str]) -> WindowsShell {
    WindowsShell::new(Scripts::Inline(texts(lines)))
}

fn command(shell: &WindowsShell) -> String {
    let runs = shell.runs(&build(), &moment()).unwrap();
    runs.scripts[0].command.clone()
}

const TOLD: &str = r#"set "PACKER_BUILDER_TYPE=amazon-ebs" && set "PACKER_BUILD_NAME=web" && "#;

#[test]
fn lines_are_one_script_that_is_run_with_its_variables() {
    let runs = shell(&["dir c:\\", "echo two"]).runs(&build(), &moment()).unwrap();
    let [run] = &*runs.scripts else { panic!("{runs:?}") };
    let [upload] = &*run.uploads else { panic!("{run:?}") };
    assert_eq!(upload.path, "c:/Windows/Temp/script.bat");
    assert_eq!(upload.content, b"dir c:\\\necho two\n");
    assert_eq!(run.command, format!(r#"{TOLD}"c:/Windows/Temp/script.bat""#));
    assert_eq!(runs.cleanup, None);
}

#[test]
fn files_are_uploaded_as_they_are_one_after_the_other() {
    let files = vec![b"@echo off\r\ngoto end\r\n:end\r\n".to_vec(), b"\xff\xfe".to_vec()];
    let shell = WindowsShell::new(Scripts::Files(files.clone()));
    let runs = shell.runs(&build(), &moment()).unwrap();
    assert_eq!(runs.scripts.len(), 2);
    for (run, file) in runs.scripts.iter().zip(files) {
        assert_eq!(run.uploads[0].path, "c:/Windows/Temp/script.bat");
        assert_eq!(run.uploads[0].content, file);
        assert_eq!(run.command, format!(r#"{TOLD}"c:/Windows/Temp/script.bat""#));
    }
}

#[test]
fn variables_are_in_the_order_of_their_names_and_not_escaped() {
    let mut shell = shell(&["x"]);
    shell.environment_vars = texts(&["ZED=a$b`c'd\"e%PATH%&^", "FOO=bar=baz", "EMPTY=", "BOTH=list"]);
    shell.env = [("BOTH".to_owned(), "map".to_owned())].into();
    let expected = r#"set "BOTH=map" && set "EMPTY=" && set "FOO=bar=baz" && set "PACKER_BUILDER_TYPE=amazon-ebs" && set "PACKER_BUILD_NAME=web" && set "ZED=a$b`c'd"e%PATH%&^" && "c:/Windows/Temp/script.bat""#;
    assert_eq!(command(&shell), expected);
}

#[test]
fn formats_commands_and_paths_are_the_users() {
    let mut shell = shell(&["x"]);
    shell.env_var_format = Some("[%s:%s]".to_owned());
    shell.execute_command = Some("cmd /c {{ .Vars }} {{.Path}}".to_owned());
    shell.remote_path = Some("d:/q.cmd".to_owned());
    let runs = shell.runs(&build(), &moment()).unwrap();
    assert_eq!(runs.scripts[0].uploads[0].path, "d:/q.cmd");
    assert_eq!(
        runs.scripts[0].command,
        "cmd /c [PACKER_BUILDER_TYPE:amazon-ebs][PACKER_BUILD_NAME:web] d:/q.cmd"
    );
}

#[test]
fn a_server_for_files_is_told() {
    let run = &shell(&["x"]).runs(&build(), &other_moment()).unwrap().scripts[0];
    for variable in ["PACKER_HTTP_ADDR=10.0.0.1:8000", "PACKER_HTTP_IP=10.0.0.1", "PACKER_HTTP_PORT=8000"] {
        assert!(run.command.contains(&format!("set \"{variable}\" && ")), "{}", run.command);
    }
}

#[test]
fn what_cannot_be_used_is_said() {
    let mut none = shell(&["x"]);
    for text in ["FOO", "=foo", ""] {
        none.environment_vars = texts(&[text]);
        let error = message(none.runs(&build(), &moment()).unwrap_err());
        assert_eq!(error, format!("`{text}` in `environment_vars` is no `NAME=value`"));
    }
    let mut more = shell(&["x"]);
    for template in ["{{.Path", "{{.WinRMPassword}}", "{{ build `Password` }}"] {
        more.execute_command = Some(template.to_owned());
        let error = message(more.runs(&build(), &other_moment()).unwrap_err());
        assert!(error.starts_with("`execute_command` cannot be rendered: "), "{error}");
    }
}

#[test]
fn exit_codes_decide() {
    let mut runs = shell(&["x"]).runs(&build(), &moment()).unwrap();
    for (valid, accepted, refused) in [
        (vec![], vec![Some(0)], vec![Some(3), Some(-1), None]),
        (vec![0, 3010], vec![Some(0), Some(3010)], vec![Some(1), None]),
        (vec![1, 3], vec![Some(1), Some(3)], vec![Some(0), Some(2)]),
        (vec![0, 2_300_218], vec![Some(0), None, Some(2_300_218)], vec![Some(1)]),
    ] {
        runs.valid_exit_codes = valid;
        for code in accepted {
            assert!(runs.judge(code).is_ok(), "{code:?} {runs:?}");
        }
        for code in refused {
            assert!(runs.judge(code).is_err(), "{code:?} {runs:?}");
        }
    }
    runs.valid_exit_codes.clear();
    assert_eq!(message(runs.judge(Some(3)).unwrap_err()), "the script ended with exit code 3");
    assert_eq!(message(runs.judge(None).unwrap_err()), "the connection broke while the script ran");
}
