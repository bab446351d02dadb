use std::path::Path;

use imgbuild_datasources::{DataSource as _, External, ExternalRaw};
use imgbuild_model::{Class, Diagnostic};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::object;

async fn read(folder: &Path, input: Value) -> Result<Value, Diagnostic> {
    let output = External::new(folder.to_owned()).read(&object(input)).await?;
    assert_eq!(output.warnings, []);
    Ok(Value::Object(output.values))
}

/// The result of a line of `sh`.
async fn shell(line: &str) -> Result<Value, Diagnostic> {
    let folder = TempDir::new().unwrap();
    read(folder.path(), json!({"program": ["sh", "-c", line]})).await
}

/// Writes a script that can be executed at once, whatever other threads start at this moment: a process that is about to
/// become another program holds every open file, and what is open for writing cannot be executed.
fn write_script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let mut file = fs_err::File::create(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    file.file().lock().unwrap();
    drop(file);
    fs_err::File::open(path).unwrap().file().lock_shared().unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_program_reads_its_query_and_writes_its_result() {
    let folder = TempDir::new().unwrap();
    fs_err::create_dir(folder.path().join("sub")).unwrap();
    let own = folder.path().join("sub/own.sh");
    let text = "#!/bin/sh\nprintf '{\"at\": \"%s\", \"with\": \"%s\"}' \"${PWD##*/}\" \"$1\"\n";
    write_script(&own, text);
    let input =
        json!({"program": ["./own.sh", "a b; $x"], "working_dir": "sub", "query": {"b": "2", "a": "é"}});
    let found = read(folder.path(), input).await.unwrap();
    assert_eq!(found["result"]["at"], "sub");
    assert_eq!(found["result"]["with"], "a b; $x");

    let input = json!({"program": ["sh", "-c", "tee query"], "query": {"b": "2", "a": "é\"\n"}});
    let found = read(folder.path(), input).await.unwrap();
    assert_eq!(found, json!({"result": {"a": "é\"\n", "b": "2"}}));
    assert_eq!(
        fs_err::read_to_string(folder.path().join("query")).unwrap(),
        "{\"a\":\"é\\\"\\n\",\"b\":\"2\"}"
    );
    // Without a query the object is empty; a program need not read it.
    assert_eq!(shell("cat").await.unwrap(), json!({"result": {}}));
    assert_eq!(shell("echo '{\"a\": \"b\"}'").await.unwrap(), json!({"result": {"a": "b"}}));
}

#[tokio::test]
async fn raw_is_a_text_for_a_text() {
    let source = ExternalRaw::new(std::env::temp_dir());
    let big = "x".repeat(1 << 20);
    let output = source.read(&object(json!({"program": ["cat"], "query": big}))).await.unwrap();
    assert_eq!(output.values["result"], big);
    // More than a pipe holds, for a program that reads nothing.
    let output = source.read(&object(json!({"program": ["true"], "query": big}))).await.unwrap();
    assert_eq!(output.values["result"], "");
    let error = source.read(&object(json!({"program": ["printf", "\\377"]}))).await.unwrap_err();
    assert_eq!(error.message, "what `printf` wrote is not UTF-8");
}

#[tokio::test]
async fn a_program_that_fails_is_told_with_what_it_wrote() {
    let error = shell("echo lost >&2; exit 3").await.unwrap_err();
    assert_eq!(error.to_string(), "`sh` exited with code 3; it wrote: lost");
    assert_eq!(shell("exit 4").await.unwrap_err().to_string(), "`sh` exited with code 4");
    assert_eq!(shell("kill -KILL $$").await.unwrap_err().message, "`sh` was ended by signal 9");
}

#[tokio::test]
async fn results_that_are_no_texts_are_told_and_not_shown() {
    for (written, what) in [
        ("hunter2", "expected value at line 1 column 1"),
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[\"hunter2\"]", "it is a list"),
        ("{\"a\": 1}", "`a` is a number"),
        ("{\"a\": \"b\", \"c\": {\"d\": \"hunter2\"}}", "`c` is an object"),
        ("{\"a\": null}", "`a` is null"),
        ("{\"a\": true}", "`a` is a bool"),
        ("\"hunter2\"", "it is a text"),
    ] {
        let error = shell(&format!("printf %s '{written}'")).await.unwrap_err();
        assert_eq!(error.message, format!("what `sh` wrote is no JSON object of texts: {what}"));
        assert!(error.hint.is_some() && !error.to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn programs_that_cannot_start_are_told() {
    let folder = TempDir::new().unwrap();
    fs_err::write(folder.path().join("plain"), "").unwrap();
    let error = async |program: Value, working_dir: &str| {
        read(folder.path(), json!({"program": program, "working_dir": working_dir})).await.unwrap_err()
    };
    let missing = error(json!(["no-such-program"]), "").await;
    assert!(missing.message.starts_with("cannot start `no-such-program`: "), "{missing}");
    assert_eq!(missing.class, Class::Environment);
    assert_eq!(missing.hint.as_deref(), Some("install it, or name it by its path from `working_dir`"));
    assert_eq!(error(json!(["./plain"]), "").await.hint.as_deref(), Some("run `chmod +x` on it"));
    for empty in [json!([]), json!([""])] {
        assert_eq!(error(empty, "").await.message, "`program` is empty");
    }
    let nowhere = folder.path().join("gone").display().to_string();
    assert_eq!(
        error(json!(["true"]), "gone").await.message,
        format!("`working_dir` is `{nowhere}`, which is no folder")
    );
}

#[tokio::test]
async fn a_program_that_nobody_waits_for_ends_with_what_it_started() {
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("alive");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Both processes hold the pipe open for writing; a reader sees its end only when both have ended.
    let input = json!({"program": ["sh", "-c", "exec 3>alive; sleep 1000 & echo ready >&3; sleep 1000"]});
    let (ready, told) = tokio::sync::oneshot::channel();
    let reader = tokio::task::spawn_blocking(move || {
        use std::io::{BufRead as _, BufReader, Read as _};
        let mut pipe = BufReader::new(std::fs::File::open(fifo).unwrap());
        let mut line = String::new();
        pipe.read_line(&mut line).unwrap();
        ready.send(()).unwrap();
        pipe.read_to_string(&mut line).unwrap();
        line
    });
    tokio::select! {
        ended = read(folder.path(), input) => panic!("{ended:?}"),
        told = told => told.unwrap(),
    }
    assert_eq!(reader.await.unwrap(), "ready\n");
}
