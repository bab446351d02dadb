//! The same words and the same runs in the real Packer (Debian's package, 1.6.6) and here: exit codes, lines for programs,
//! output for people. What newer versions do otherwise is left out: output of commands, which that version indents in
//! place of `==>`, and `-v` behind a command.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use imgbuild_packer_cli::args::{self, exit};
use imgbuild_packer_cli::ui::{Appearance, Artifact, Event, Masker, Ui, Version};
use jiff::Zoned;
use tempfile::TempDir;

const ERROR: &str = "Script exited with non-zero exit status: 3.Allowed exit codes are: [0]";

/// The program in a folder of its own, with templates; `None`, and why, where it is not installed.
struct Packer {
    folder: TempDir,
}

struct Run {
    code: i32,
    output: String,
}

impl Packer {
    fn find() -> Option<Self> {
        let found = Command::new("packer").arg("version").env("CHECKPOINT_DISABLE", "1").output();
        let is_old = found.is_ok_and(|output| output.stdout.starts_with(b"Packer v1.6."));
        if !is_old {
            eprintln!("skipped: there is no `packer` 1.6 on the path (Debian: apt-get install packer)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let packer = Self { folder };
        let target = packer.target();
        let template = format!(
            r#"{{"builders": [
                {{"type": "null", "name": "broken", "communicator": "none"}},
                {{"type": "file", "name": "made", "content": "x", "target": {target:?}}}
              ], "provisioners": [
                {{"type": "shell-local", "inline": ["exit 3"], "only": ["broken"], "pause_before": "1ms", "max_retries": 1}}
              ]}}"#
        );
        fs_err::write(packer.path("two.json"), template).unwrap();
        let template = r#"{"builders": [{"type": "null", "communicator": "none"}]}"#;
        fs_err::write(packer.path("null.json"), template).unwrap();
        Some(packer)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn target(&self) -> String {
        self.path("out").to_str().unwrap().to_owned()
    }

    fn run(&self, line: &str) -> Run {
        let folder: &Path = self.folder.path();
        let output = Command::new("packer")
            .args(line.split_whitespace())
            .current_dir(folder)
            .env("CHECKPOINT_DISABLE", "1")
            .env("HOME", folder)
            .env("TZ", "UTC")
            .env_remove("PACKER_NO_COLOR")
            .env_remove("PACKER_LOG")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        Run { code: output.status.code().unwrap(), output: String::from_utf8(output.stdout).unwrap() }
    }
}

fn parse(line: &str) -> Result<args::Invocation, args::Refusal> {
    args::parse_packer(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
}

/// Takes out what differs from run to run: times, durations, names of temporary files.
fn steady(text: &str) -> String {
    text.lines().map(|line| steady_line(line) + "\n").collect()
}

fn steady_line(line: &str) -> String {
    let mut line = line.to_owned();
    let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    if digits >= 9 && line[digits..].starts_with(',') {
        line.replace_range(..digits, "SECONDS");
    }
    // `2023-11-14T22:13:20Z: ` is 22 long.
    if let Some(place) = line.find("Z: ").filter(|end| *end >= 19).map(|end| end - 19)
        && line.as_bytes()[place + 10] == b'T'
    {
        line.replace_range(place..place + 20, "TIME");
    }
    if let Some((before, _)) = line.split_once("Running local shell script: ") {
        let reset = if line.ends_with("\x1b[0m") { "\x1b[0m" } else { "" };
        line = format!("{before}Running local shell script: SCRIPT{reset}");
    }
    if let Some((before, after)) = line.split_once(" after ") {
        let mut rest = after;
        while let Some((number, further)) = rest.split_once(' ')
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            let end = further.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(further.len());
            rest = further[end..].strip_prefix(' ').unwrap_or(&further[end..]);
        }
        line = format!("{before} after DURATION{rest}");
    }
    line
}

/// The run of `two.json` as events, told here.
fn told(packer: &Packer, appearance: Appearance) -> (String, u8) {
    let names = ["broken", "made"].map(str::to_owned);
    let mut ui = Ui::new(appearance, Masker::default(), names);
    let [broken, made] = ui.builds().collect::<Vec<_>>()[..] else { panic!() };
    let error = || ERROR.to_owned();
    let duration = Duration::from_millis(1);
    let script = || Event::Say { build: broken, text: "Running local shell script: /tmp/x".to_owned() };
    let artifact = Artifact {
        builder_id: "packer.file".to_owned(),
        id: "File".to_owned(),
        text: format!("Stored file: {}", packer.target()),
        files: vec![packer.target()],
    };
    let events = [
        Event::Started { debug: false },
        Event::Pausing { build: broken, duration },
        script(),
        Event::Retrying { build: broken, error: error(), left: 1 },
        Event::Pausing { build: broken, duration },
        script(),
        Event::RetriesUsedUp { build: broken },
        Event::CleanupProvisioner { build: broken },
        Event::BuildFinished { build: broken, duration, result: Err(error()) },
        Event::BuildFinished { build: made, duration, result: Ok(vec![Some(artifact)]) },
        Event::Finished { duration, cancelled: false },
    ];
    let text = events.iter().map(|event| ui.event(&Zoned::now(), event)).collect();
    (text, ui.exit_code())
}

#[test]
fn a_run_looks_the_same() {
    let Some(packer) = Packer::find() else { return };
    for flags in [
        "",
        "-color=false",
        "-timestamp-ui",
        "-timestamp-ui -color=false",
        "-machine-readable",
        "-machine-readable -timestamp-ui",
    ] {
        let line = format!("build -parallel-builds=1 {flags} two.json");
        let real = packer.run(&line);
        let invocation = parse(&line).unwrap();
        let args::Command::Build(build) = invocation.command else { panic!() };
        let appearance = Appearance::of(&build, invocation.machine_readable, false);
        let (text, code) = told(&packer, appearance);
        assert_eq!(steady(&text), steady(&real.output), "{line}");
        assert_eq!(i32::from(code), real.code, "{line}");
    }
}

/// What a breakpoint that is switched off says is the template's own text, so anything can be said.
#[test]
fn messages_of_several_lines_and_sensitive_values_look_the_same() {
    let Some(packer) = Packer::find() else { return };
    let template = r#"{"variables": {"password": "hunter22"}, "sensitive-variables": ["password"],
        "builders": [{"type": "null", "name": "one", "communicator": "none"}],
        "provisioners": [{"type": "breakpoint", "disable": true, "note": NOTE}]}"#;
    for (note, flags) in [
        (r"a, b\n\r\nc  \n\n", ""),
        (r"a, b\n\r\nc  \n\n", "-machine-readable"),
        (r"a\nb", "-timestamp-ui"),
        // As lines for programs, this version shows what is sensitive.
        ("the {{user `password`}}, hunter222", "-color=false"),
    ] {
        fs_err::write(packer.path("note.json"), template.replace("NOTE", &format!("\"{note}\""))).unwrap();
        let line = format!("build {flags} note.json");
        let real = packer.run(&line);
        let invocation = parse(&line).unwrap();
        let args::Command::Build(build) = invocation.command else { panic!() };
        let appearance = Appearance::of(&build, invocation.machine_readable, false);
        let mut ui = Ui::new(appearance, Masker::new(["hunter22"]), ["one".to_owned()]);
        let build = ui.builds().next().unwrap();
        let said = note.replace(r"\n", "\n").replace(r"\r", "\r").replace("{{user `password`}}", "hunter22");
        let text = format!("Breakpoint provisioner with note \"{said}\" disabled; continuing...");
        let events = [Event::Started { debug: false }, Event::Say { build, text }];
        let told: String = events.iter().map(|event| ui.event(&Zoned::now(), event)).collect();
        let real = steady(&real.output);
        assert!(real.starts_with(&steady(&told)), "{line}: {real}\nand here: {told}");
    }
}

#[test]
fn the_version_is_told_the_same() {
    let Some(packer) = Packer::find() else { return };
    let number = packer.run("-v").output;
    let version = Version { number: number.trim(), prerelease: "", commit: "" };
    for (line, machine_readable) in [("version", false), ("-machine-readable version", true)] {
        let ui = Ui::new(Appearance { machine_readable, ..Appearance::default() }, Masker::default(), []);
        assert_eq!(parse(line).unwrap().command, args::Command::Version);
        assert_eq!(steady(&ui.version(&Zoned::now(), &version)), steady(&packer.run(line).output), "{line}");
    }
}

#[test]
fn command_lines_are_taken_and_refused_alike() {
    let Some(packer) = Packer::find() else { return };
    for line in [
        "",
        "-foo",
        "nope",
        "help",
        "-help nope",
        "-- version",
        "-h",
        "--help",
        "-v",
        "--version",
        "version",
        "version a -b",
        "-foo build null.json",
        "build",
        "build -h -nope",
        "-help fmt",
        "build null.json null.json",
        "build null.json -force",
        "build -- null.json",
        "build - -force",
        "build -nope null.json",
        "build -only",
        "build -var x null.json",
        "build -var x= null.json",
        "build -on-error=x null.json",
        "build -on-error abort null.json",
        "build -color=maybe null.json",
        "build -color=never null.json",
        "build ---color null.json",
        "build -=x null.json",
        "build -force= null.json",
        "build --force -debug=F null.json",
        "validate",
        "validate -syntax-only null.json",
        "validate -only=a -except b,c -syntax-only null.json",
        "validate -syntax-only -machine-readable null.json",
        "-machine-readable validate -syntax-only null.json",
        "validate null.json -machine-readable",
        "validate null.json -syntax-only",
        "inspect -machine-readable null.json",
        "fix",
        "fix null.json",
        "fmt",
        "fmt -nope .",
        "hcl2_upgrade",
    ] {
        let ours = match parse(line) {
            Ok(_) => exit::SUCCESS,
            Err(refusal) => refusal.exit_code,
        };
        assert_eq!(i32::from(ours), packer.run(line).code, "{line}");
    }
}

#[test]
fn values_are_read_alike() {
    let Some(packer) = Packer::find() else { return };
    let switches = [
        "1", "t", "T", "true", "TRUE", "True", "tRUE", "yes", "on", "2", "0", "f", "F", "false", "False",
        "FALSE", "no",
    ];
    let numbers = [
        "0",
        "-1",
        "+1",
        "0x1",
        "0b1",
        "0o1",
        "01",
        "08",
        "1_0",
        "_1",
        "1_",
        "1__0",
        "0_1",
        "0x_1",
        "1e3",
        "1.0",
        "9223372036854775808",
    ];
    let lines = switches
        .map(|value| format!("validate -syntax-only={value} null.json"))
        .into_iter()
        .chain(numbers.map(|value| format!("build -parallel-builds={value} null.json")));
    for line in lines {
        assert_eq!(parse(&line).is_ok(), packer.run(&line).code == 0, "{line}");
    }
}
