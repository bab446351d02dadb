//! What runs look like, to the letter.

use imgbuild_model::{Diagnostic, Location};
use jiff::tz::TimeZone;

use super::*;

const MACHINE: Appearance = Appearance { color: false, timestamps: false, machine_readable: true };
const COLORED: Appearance = Appearance { color: true, timestamps: false, machine_readable: false };

fn now() -> Zoned {
    jiff::Timestamp::from_second(1_700_000_000).unwrap().to_zoned(TimeZone::UTC)
}

fn ui(appearance: Appearance, builds: &[&str]) -> Ui {
    Ui::new(appearance, Masker::default(), builds.iter().map(ToString::to_string))
}

fn told(ui: &mut Ui, events: Vec<Event>) -> String {
    events.iter().map(|event| ui.event(&now(), event)).collect()
}

fn ids(ui: &Ui) -> Vec<BuildId> {
    ui.builds().collect()
}

fn say(build: BuildId, text: &str) -> Event {
    Event::Say { build, text: text.to_owned() }
}

fn cached(build: BuildId, step: &str, days: Option<u64>) -> Event {
    Event::Cached { build, step: step.to_owned(), age: days.map(|days| Duration::from_secs(days * 86_400)) }
}

fn file(path: &str) -> Artifact {
    Artifact {
        builder_id: "packer.file".to_owned(),
        id: "File".to_owned(),
        text: format!("Stored file: {path}"),
        files: vec![path.to_owned()],
    }
}

fn finished(millis: u64) -> Event {
    Event::Finished { duration: Duration::from_millis(millis), cancelled: false }
}

/// Two builds, the second of which ends first and fails.
fn a_run(ui: &Ui) -> Vec<Event> {
    let [one, two] = ids(ui)[..] else { panic!() };
    let duration = Duration::from_millis(2_032);
    vec![
        Event::Started { debug: false },
        say(one, "Running local shell script: /tmp/x"),
        Event::Remote { build: one, stream: Stream::Output, text: "a, b\n\nc  \n".to_owned() },
        Event::Remote { build: two, stream: Stream::Error, text: "oops".to_owned() },
        Event::PostProcessor {
            build: one,
            kind: "manifest".to_owned(),
            stream: Stream::Output,
            text: "written".to_owned(),
        },
        Event::BuildFinished { build: two, duration, result: Err("exit status 3".to_owned()) },
        Event::BuildFinished { build: one, duration, result: Ok(vec![Some(file("/out")), None]) },
        Event::Finished { duration, cancelled: false },
    ]
}

#[test]
fn a_run_in_colours() {
    let mut ui = ui(COLORED, &["file.a", "null.b"]);
    let events = a_run(&ui);
    let expected = "\
\x1b[1;32mfile.a: output will be in this color.\x1b[0m
\x1b[1;36mnull.b: output will be in this color.\x1b[0m

\x1b[1;32m==> file.a: Running local shell script: /tmp/x\x1b[0m
\x1b[1;32m==> file.a: a, b
==> file.a: 
==> file.a: c  
==> file.a:\x1b[0m
\x1b[1;31m==> null.b: oops\x1b[0m
\x1b[1;32m==> file.a (manifest): written\x1b[0m
\x1b[1;31mBuild 'null.b' errored after 2 seconds 32 milliseconds: exit status 3\x1b[0m
\x1b[1;32mBuild 'file.a' finished after 2 seconds 32 milliseconds.\x1b[0m

==> Wait completed after 2 seconds 32 milliseconds

==> Some builds didn't complete successfully and had errors:
--> null.b: exit status 3

==> Builds finished. The artifacts of successful builds are:
--> file.a: Stored file: /out
--> file.a: <nothing>
";
    assert_eq!(told(&mut ui, events), expected);
    assert_eq!(ui.exit_code(), 1);
}

#[test]
fn a_run_for_programs() {
    let mut ui = ui(MACHINE, &["file.a", "null.b"]);
    let events = a_run(&ui);
    let expected = "\
1700000000,,ui,say,==> file.a: Running local shell script: /tmp/x
1700000000,,ui,say,==> file.a: a%!(PACKER_COMMA) b\\n==> file.a: \\n==> file.a: c  \\n==> file.a:
1700000000,,ui,error,==> null.b: oops
1700000000,,ui,say,==> file.a (manifest): written
1700000000,,ui,error,Build 'null.b' errored after 2 seconds 32 milliseconds: exit status 3
1700000000,,ui,say,Build 'file.a' finished after 2 seconds 32 milliseconds.
1700000000,,ui,say,\\n==> Wait completed after 2 seconds 32 milliseconds
1700000000,,error-count,1
1700000000,,ui,error,\\n==> Some builds didn't complete successfully and had errors:
1700000000,null.b,error,exit status 3
1700000000,,ui,error,--> null.b: exit status 3
1700000000,,ui,say,\\n==> Builds finished. The artifacts of successful builds are:
1700000000,file.a,artifact-count,2
1700000000,file.a,artifact,0,builder-id,packer.file
1700000000,file.a,artifact,0,id,File
1700000000,file.a,artifact,0,string,Stored file: /out
1700000000,file.a,artifact,0,files-count,1
1700000000,file.a,artifact,0,file,0,/out
1700000000,file.a,artifact,0,end
1700000000,,ui,say,--> file.a: Stored file: /out
1700000000,file.a,artifact,1,nil
1700000000,file.a,artifact,1,end
1700000000,,ui,say,--> file.a: <nothing>
";
    assert_eq!(told(&mut ui, events), expected);
}

#[test]
fn the_time_stands_before_messages_of_builds_alone() {
    let appearance = Appearance { color: true, timestamps: true, machine_readable: false };
    let mut ui = ui(appearance, &["a"]);
    let build = ids(&ui)[0];
    let east = jiff::Timestamp::from_second(1_700_000_000).unwrap();
    let east = east.to_zoned(TimeZone::fixed(jiff::tz::offset(2)));
    assert_eq!(
        ui.event(&east, &say(build, "x\ny")),
        "\x1b[1;32m2023-11-15T00:13:20+02:00: ==> a: x\n==> a: y\x1b[0m\n"
    );
    assert_eq!(ui.event(&now(), &say(build, "x")), "\x1b[1;32m2023-11-14T22:13:20Z: ==> a: x\x1b[0m\n");
    assert_eq!(ui.event(&now(), &finished(1)).lines().nth(1), Some("==> Wait completed after 1 millisecond"));
    assert_eq!(ui.ask(build, "Why?").unwrap(), "\x1b[1;32m==> a: Why?\x1b[0m ");
}

#[test]
fn what_surrounds_provisioners_is_said_as_packer_does() {
    let mut ui = ui(Appearance::default(), &["a"]);
    let build = ids(&ui)[0];
    let error = || "it \"broke\"\nbadly".to_owned();
    let events = vec![
        Event::Started { debug: true },
        Event::Pausing { build, duration: Duration::from_millis(1_500) },
        Event::Timeout { build, duration: Duration::from_secs(90) },
        Event::Retrying { build, error: error(), left: 2 },
        Event::RetriesUsedUp { build },
        Event::Continuing { build, error: error() },
        Event::CleanupProvisioner { build },
        Event::Error { build, text: "hm".to_owned() },
        Event::BuildFinished { build, duration: Duration::from_secs(1), result: Ok(vec![]) },
        finished(1_000),
    ];
    let expected = r#"Debug mode enabled. Builds will not be parallelized.
==> a: Pausing 1.5s before the next provisioner...
==> a: Setting a 1m30s timeout for the next provisioner...
==> a: Provisioner failed with "it \"broke\"\nbadly", retrying with 2 trie(s) left
==> a: retry limit reached.
==> a: Warning: Provisioner failed with "it \"broke\"\nbadly", but continue_on_error is set; continuing the build.
==> a: Provisioning step had errors: Running the cleanup provisioner, if present...
==> a: hm
Build 'a' finished after 1 second.

==> Wait completed after 1 second

==> Builds finished but no artifacts were created.
"#;
    assert_eq!(told(&mut ui, events), expected);
    assert_eq!(ui.exit_code(), 0);
}

#[test]
fn steps_from_the_cache_are_told_in_one_line_a_row() {
    let mut ui = ui(Appearance::default(), &["a", "b"]);
    let [one, two] = ids(&ui)[..] else { panic!() };
    let row = || (0..7).map(|step| cached(two, &format!("s{step}"), None));
    let mut events = vec![
        cached(one, "shell-local", Some(1)),
        say(two, "hello"),
        say(one, "next"),
        cached(one, "file", Some(2)),
        cached(one, "shell", Some(40)),
        cached(one, "shell", None),
    ];
    events.extend(row());
    let ok = |build| Event::BuildFinished { build, duration: Duration::from_secs(1), result: Ok(vec![]) };
    events.extend([ok(two), finished(1_000)]);
    let expected = "\
==> b: hello
==> a: shell-local: not run again, nothing changed (1 step cached, from 1 day ago)
==> a: next
==> b: s0, s1, s2, s3, s4 and 2 more: not run again, nothing changed (7 steps cached)
Build 'b' finished after 1 second.
==> a: file, shell, shell: not run again, nothing changed (3 steps cached, the oldest from 5 weeks ago)

==> Wait completed after 1 second
";
    let text = told(&mut ui, events);
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_run_that_was_cancelled_has_no_summary() {
    let mut ui = ui(MACHINE, &["a"]);
    let build = ids(&ui)[0];
    let events = vec![
        Event::Interrupted { signal: Signal::Interrupt },
        Event::Interrupted { signal: Signal::Terminate },
        Event::BuildFinished { build, duration: Duration::ZERO, result: Err("cancelled".to_owned()) },
        Event::Finished { duration: Duration::ZERO, cancelled: true },
    ];
    let expected = "\
1700000000,,ui,error,Cancelling build after receiving interrupt
1700000000,,ui,error,Cancelling build after receiving terminated
1700000000,,ui,error,Build 'a' errored after 0 seconds: cancelled
1700000000,,ui,say,\\n==> Wait completed after 0 seconds
1700000000,,ui,say,Cleanly cancelled builds after being interrupted.
";
    assert_eq!(told(&mut ui, events), expected);
    assert_eq!(ui.exit_code(), 1);
    let mut none = super::tests::ui(Appearance::default(), &[]);
    let _ = told(&mut none, vec![Event::Finished { duration: Duration::ZERO, cancelled: true }]);
    assert_eq!(none.exit_code(), 1);
}

#[test]
fn sensitive_values_are_shown_nowhere() {
    for appearance in [Appearance::default(), COLORED, MACHINE] {
        let builds = ["a".to_owned()];
        let mut ui = Ui::new(appearance, Masker::new(["hunter22,x", "key-one\nkey-two"]), builds);
        let build = ids(&ui)[0];
        let secret = || "say hunter22,x".to_owned();
        let artifact = Artifact { builder_id: secret(), id: secret(), text: secret(), files: vec![secret()] };
        let both = "key-one\nkey-two".to_owned();
        let mut text = told(
            &mut ui,
            vec![
                say(build, &secret()),
                Event::Remote { build, stream: Stream::Error, text: both.clone() },
                Event::Remote { build, stream: Stream::Output, text: "a key-two b".to_owned() },
                Event::Retrying { build, error: both.clone(), left: 1 },
                Event::PostProcessor { build, kind: "x".to_owned(), stream: Stream::Output, text: secret() },
                Event::BuildFinished { build, duration: Duration::ZERO, result: Ok(vec![Some(artifact)]) },
                finished(1),
                Event::BuildFinished { build, duration: Duration::ZERO, result: Err(secret()) },
                finished(1),
            ],
        );
        text.push_str(&ui.ask(build, &secret()).unwrap_or_default());
        text.push_str(&ui.say(&now(), &secret()));
        let wrong = Diagnostic::error(secret()).hint(secret()).at(Location::file("hunter22,x"));
        text.push_str(&ui.diagnostics(&now(), &wrong.into(), &|_| None, Style::default()));
        for part in ["hunter22", "key-one", "key-two"] {
            assert!(!text.contains(part), "{text}");
        }
        assert!(text.contains("<sensitive>"));
    }
}

#[test]
fn diagnostics_decide_the_exit_code() {
    let mut ui = ui(Appearance::default(), &[]);
    let show = |ui: &mut Ui, diagnostic: Diagnostic| {
        ui.diagnostics(&now(), &diagnostic.into(), &|_| None, Style::default())
    };
    assert_eq!(ui.diagnostics(&now(), &Diagnostics::default(), &|_| None, Style::default()), "");
    assert_eq!(show(&mut ui, Diagnostic::warning("odd")), "Warning: odd\n\n\n");
    assert_eq!(ui.exit_code(), 0);
    assert_eq!(show(&mut ui, Diagnostic::error("wrong")), "Error: wrong\n\n\n");
    assert_eq!(ui.exit_code(), 1);
}

#[test]
fn diagnostics_for_programs_are_fields_and_text() {
    let mut ui = ui(MACHINE, &[]);
    let place = Location { file: "a".into(), line: 2, column: 3, end_line: 2, end_column: 4 };
    let wrong = Diagnostics(vec![Diagnostic::error("a, b").at(place).hint("c"), Diagnostic::warning("d")]);
    let style = Style { color: true, width: Some(80) };
    let expected = "\
1700000000,,diagnostic,error,a,2,3,a%!(PACKER_COMMA) b,c
1700000000,,diagnostic,warning,,0,0,d,
1700000000,,ui,error,Error: a%!(PACKER_COMMA) b\\n\\n  on a line 2:\\n  (source code not available)\\n\\nc\\n\\nWarning: d\\n\\n
";
    assert_eq!(ui.diagnostics(&now(), &wrong, &|_| None, style), expected);
}

#[test]
fn a_refusal_shows_the_help_and_what_is_wrong() {
    let refused = |line: &str| {
        let words: Vec<_> = line.split_whitespace().map(std::ffi::OsString::from).collect();
        crate::args::parse_packer(&words).unwrap_err()
    };
    let mut human = ui(Appearance::default(), &[]);
    let text = human.refusal(&now(), Program::Packer, &refused("fmt -chek x"), Style::default());
    assert!(text.starts_with("Usage: packer fmt [flags] PATH...\n"), "{text}");
    assert!(
        text.ends_with("\n\nError: `-chek` is not a flag of `packer fmt`\n\ndid you mean `-check`?\n\n\n"),
        "{text}"
    );
    assert_eq!(human.exit_code(), 1);
    let text = human.refusal(&now(), Program::Packer, &refused("biuld"), Style::default());
    assert!(text.starts_with("Usage: packer <command>"), "{text}");
    assert!(
        text.ends_with("\n\nError: `biuld` is not a command of `packer`\n\ndid you mean `packer build`?\n"),
        "{text}"
    );
    let mut machine = ui(MACHINE, &[]);
    let text = machine.refusal(&now(), Program::Packer, &refused("fmt -chek x"), Style::default());
    let kinds: Vec<&str> = text.lines().map(|line| line.split(',').nth(2).unwrap()).collect();
    assert_eq!(kinds, ["ui", "diagnostic", "ui"]);
    let text = machine.refusal(&now(), Program::Packer, &refused(""), Style::default());
    assert_eq!(text, args::help(Program::Packer, None));
}

#[test]
fn the_version_is_told() {
    let version = Version { number: "1.16.0", prerelease: "", commit: "" };
    assert_eq!(ui(Appearance::default(), &[]).version(&now(), &version), "Packer v1.16.0\n");
    let expected = "\
1700000000,,version,1.16.0
1700000000,,version-prelease,dev
1700000000,,version-commit,
1700000000,,ui,say,Packer v1.16.0-dev
";
    assert_eq!(ui(MACHINE, &[]).version(&now(), &Version { prerelease: "dev", ..version }), expected);
}

#[test]
fn colours_are_used_unless_something_speaks_against_them() {
    let build = |line: &str| {
        let words: Vec<_> = line.split_whitespace().map(std::ffi::OsString::from).collect();
        match crate::args::parse_packer(&words).unwrap().command {
            crate::args::Command::Build(build) => build,
            other => panic!("{other:?}"),
        }
    };
    let plain = build("build x");
    assert_eq!(Appearance::of(&plain, false, false), COLORED);
    assert_eq!(Appearance::of(&plain, false, true), Appearance::default());
    assert_eq!(Appearance::of(&plain, true, false), MACHINE);
    assert_eq!(Appearance::of(&build("build -color=false x"), false, false), Appearance::default());
    assert!(Appearance::of(&build("build -timestamp-ui x"), false, false).timestamps);
}

#[test]
fn colours_come_in_turn() {
    let names: Vec<String> = (0..6).map(|index| index.to_string()).collect();
    let mut ui = Ui::new(COLORED, Masker::default(), names);
    let text = ui.event(&now(), &Event::Started { debug: false });
    let colors: Vec<&str> = text.lines().filter_map(|line| line.get(4..6)).collect();
    assert_eq!(colors, ["32", "36", "35", "33", "34", "32"]);
}

#[test]
fn nobody_is_asked_where_programs_read() {
    let ui = ui(MACHINE, &["a"]);
    assert_eq!(ui.ask(ids(&ui)[0], "Why?"), None);
}
