//! The command line, case by case: what is understood.

mod messages;

use std::path::PathBuf;
use std::time::Duration;

use super::*;

const PASSTHROUGH: &[Passthrough<'static>] =
    &[Passthrough { name: "cache-dir", takes_value: true }, Passthrough { name: "q", takes_value: false }];

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(|word| OsString::from(word.replace('␣', " "))).collect()
}

fn packer(line: &str) -> Result<Invocation, Refusal> {
    parse_packer(&words(line))
}

fn imgbuild(line: &str) -> Result<Invocation, Refusal> {
    parse_imgbuild(&words(line), PASSTHROUGH)
}

fn build(line: &str) -> Build {
    match packer(line).unwrap().command {
        Command::Build(build) => build,
        other => panic!("{other:?}"),
    }
}

fn ours(line: &str) -> Build {
    match imgbuild(line).unwrap().command {
        Command::Build(build) => build,
        other => panic!("{other:?}"),
    }
}

/// The exit code, the topic of the help, and the message with its hint.
fn refused(result: Result<Invocation, Refusal>) -> (u8, Option<Verb>, String) {
    let refusal = result.unwrap_err();
    (
        refusal.exit_code,
        refusal.topic,
        refusal.diagnostic.map(|diagnostic| diagnostic.to_string()).unwrap_or_default(),
    )
}

#[test]
fn a_build_without_flags_has_packers_defaults() {
    let build = build("build x.json");
    assert_eq!(
        build,
        Build {
            template: "x.json".into(),
            common: Common::default(),
            evaluation: Evaluation::default(),
            color: true,
            debug: false,
            force: false,
            on_error: OnError::Cleanup,
            parallel_builds: None,
            timestamp_ui: false,
            warn_on_undeclared_var: false,
            skip_enforcement: false,
            reuse: Reuse::default(),
            purpose: Purpose::Build,
            resume: Resume::Warm,
        }
    );
}

#[test]
fn flags_are_written_as_in_go() {
    for line in [
        "-on-error=ask",
        "--on-error=ask",
        "-on-error ask",
        "--on-error ask",
        "-on-error=abort -on-error=ask",
    ] {
        assert_eq!(build(&format!("build {line} x")).on_error, OnError::Ask, "{line}");
    }
    for (line, on) in [
        ("-force", true),
        ("--force", true),
        ("-force=1", true),
        ("-force=T", true),
        ("-force=false", false),
        ("-force=F", false),
        ("-force -force=0", false),
        ("-force=0 -force", true),
    ] {
        assert_eq!(build(&format!("build {line} x")).force, on, "{line}");
    }
    // A value may look like a flag, may be empty, and may hold further `=`.
    let build = build("build -var a=-force -var b= -var c=d=e -var-file -only -only= x");
    assert!(!build.force);
    let vars: Vec<(&str, &str)> = build.common.vars.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(vars, [("a", "-force"), ("b", ""), ("c", "d=e")]);
    assert_eq!(build.common.var_files, [PathBuf::from("-only")]);
    assert_eq!(build.common.only, [""]);
}

#[test]
fn the_first_argument_ends_the_flags_of_packer() {
    assert_eq!(build("build -").template, PathBuf::from("-"));
    assert_eq!(build("build -force -- -x.json").template, PathBuf::from("-x.json"));
    let (code, topic, message) = refused(packer("build x.json -force"));
    assert_eq!((code, topic), (1, Some(Verb::Build)));
    assert_eq!(
        message,
        "`packer build` has no use for the argument `-force`; hint: flags stand before the template"
    );
}

#[test]
fn lists_add_up_and_of_variables_the_last_counts() {
    let common =
        build("build -only a,b -except=c -only=d -var x=1 -var x=2 -var-file b -var-file a x").common;
    assert_eq!(common.only, ["a", "b", "d"]);
    assert_eq!(common.except, ["c"]);
    assert_eq!(common.vars["x"], "2");
    assert_eq!(common.var_files, [PathBuf::from("b"), PathBuf::from("a")]);
}

#[test]
fn any_number_below_one_is_no_limit_of_builds() {
    for (number, limit) in [("0", None), ("-3", None), ("1", Some(1)), ("0x10", Some(16))] {
        let parallel = build(&format!("build -parallel-builds={number} x")).parallel_builds;
        assert_eq!(parallel.map(std::num::NonZeroU64::get), limit, "{number}");
    }
}

/// Words for a flag of the table that are not its default.
fn sample(flag: &table::Flag) -> String {
    let value = match flag.kind {
        table::Kind::Switch if flag.value.is_empty() => String::new(),
        table::Kind::Switch => "=false".to_owned(),
        table::Kind::Number => "=3".to_owned(),
        table::Kind::Age => "=3d".to_owned(),
        table::Kind::Pair => "=a=b".to_owned(),
        table::Kind::Choice(choices) => format!("={}", choices[1]),
        table::Kind::Text | table::Kind::List | table::Kind::Each => "=some".to_owned(),
    };
    format!("-{}{value}", flag.name)
}

#[test]
fn each_flag_of_each_command_changes_what_is_done() {
    for program in [Program::Packer, Program::Imgbuild] {
        for verb in Verb::all() {
            for flag in verb.flags(program) {
                let parse = |flags: &str| match program {
                    Program::Packer if *verb == Verb::Migrate => None,
                    Program::Packer => Some(packer(&format!("{verb} {flags} a")).unwrap()),
                    Program::Imgbuild if *verb == Verb::Version => None,
                    Program::Imgbuild => Some(imgbuild(&format!("{verb} {flags} a")).unwrap()),
                };
                let plain = parse("");
                if plain.is_some() {
                    assert_ne!(parse(&sample(flag)), plain, "{program} {verb} -{}", flag.name);
                    assert_eq!(
                        parse(&format!("-{}", sample(flag))),
                        parse(&sample(flag)),
                        "{verb} --{}",
                        flag.name
                    );
                }
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn commands_have_their_own_flags() {
    let command = |line: &str| packer(line).unwrap().command;
    assert!(matches!(
        command("validate -syntax-only -no-warn-undeclared-var -evaluate-datasources x"),
        Command::Validate(Validate {
            syntax_only: true,
            warn_on_undeclared_var: false,
            evaluate_data_sources: true,
            ..
        })
    ));
    assert!(matches!(
        command("validate x"),
        Command::Validate(Validate { warn_on_undeclared_var: true, .. })
    ));
    assert!(matches!(command("init -upgrade x"), Command::Init(Init { upgrade: true, force: false, .. })));
    let Command::Fmt(fmt) = command("fmt -recursive a b") else { panic!() };
    assert_eq!((fmt.paths.len(), fmt.write, fmt.check, fmt.recursive), (2, true, false, true));
    assert!(matches!(command("fmt -check a"), Command::Fmt(Fmt { check: true, write: false, .. })));
    assert!(matches!(command("inspect"), Command::Inspect(Inspect { template: None, .. })));
    assert!(matches!(command("console x"), Command::Console(Console { template: Some(_), .. })));
    assert!(matches!(command("fix -validate=false x"), Command::Fix(Fix { validate: false, .. })));
    let Command::Hcl2Upgrade(upgrade) = command("hcl2_upgrade d/input.json") else { panic!() };
    assert_eq!(upgrade.output_file, PathBuf::from("d/input.json.pkr.hcl"));
    let Command::Hcl2Upgrade(upgrade) = command("hcl2_upgrade -output-file=o x") else { panic!() };
    assert_eq!(upgrade.output_file, PathBuf::from("o"));
    let Command::Plugins(Plugins::Install(install)) =
        command("plugin install -force -path p github.com/a/b 1.0")
    else {
        panic!()
    };
    assert_eq!(
        (&*install.source, install.constraint.as_deref(), install.force),
        ("github.com/a/b", Some("1.0"), true)
    );
    assert_eq!(install.path, Some(PathBuf::from("p")));
    let remove = Plugins::Remove { source: "github.com/a/b".to_owned(), constraint: None };
    assert_eq!(command("plugins remove github.com/a/b"), Command::Plugins(remove));
    assert!(matches!(command("plugins required ."), Command::Plugins(Plugins::Required { .. })));
    assert_eq!(command("plugins installed"), Command::Plugins(Plugins::Installed));
}

#[test]
fn machine_readable_is_taken_out_wherever_it_stands() {
    for line in [
        "-machine-readable build x",
        "build -machine-readable x",
        "build x -machine-readable",
        "-machine-readable version",
    ] {
        assert!(packer(line).unwrap().machine_readable, "{line}");
    }
    // Packer takes this form and does nothing with it; here it means what it says.
    for line in
        ["build --machine-readable x", "build -machine-readable=true x", "inspect --machine-readable x"]
    {
        assert!(packer(line).unwrap().machine_readable, "{line}");
    }
    assert!(!packer("build -machine-readable=false x").unwrap().machine_readable);
    let refusal = packer("build -machine-readable -nope x").unwrap_err();
    assert!(refusal.machine_readable);
}

#[test]
fn version_and_help_are_asked_for_in_many_ways() {
    for line in ["version", "-v", "-version", "--version", "build x -v", "version -nope"] {
        assert_eq!(packer(line).unwrap().command, Command::Version, "{line}");
    }
    for flag in ["-h", "-help", "--help"] {
        assert_eq!(packer(flag).unwrap().command, Command::Help(None));
        assert_eq!(
            packer(&format!("build {flag} -nope x y")).unwrap().command,
            Command::Help(Some(Verb::Build))
        );
        assert_eq!(packer(&format!("{flag} fmt")).unwrap().command, Command::Help(Some(Verb::Fmt)));
        assert_eq!(
            packer(&format!("plugins install {flag}")).unwrap().command,
            Command::Help(Some(Verb::PluginsInstall))
        );
        assert_eq!(imgbuild(&format!("migrate {flag}")).unwrap().command, Command::Help(Some(Verb::Migrate)));
    }
    // Behind `--` they are arguments.
    assert_eq!(build("build -- -h").template, PathBuf::from("-h"));
}

#[test]
fn imgbuild_takes_flags_behind_the_template_and_its_own() {
    let build = ours("build -refresh x.json -max-age 7d -locked -only=a");
    assert_eq!(build.template, PathBuf::from("x.json"));
    assert_eq!(build.common.only, ["a"]);
    let max_age = Some(Duration::from_secs(7 * 86_400));
    assert_eq!(build.reuse, Reuse { refresh: true, max_age, lock: Lock::Required });
    assert_eq!(ours("build x -lock").reuse.lock, Lock::Write);
    for (line, resume) in [("warm", Resume::Warm), ("cold", Resume::Cold), ("never", Resume::Never)] {
        assert_eq!(ours(&format!("build x -resume={line}")).resume, resume, "{line}");
    }
    for (line, purpose) in [
        ("-plan", Purpose::Plan),
        ("-explain", Purpose::Explain),
        ("-plan -explain", Purpose::Explain),
        ("-check-resume", Purpose::CheckResume),
        ("-check-resume -plan", Purpose::Plan),
    ] {
        assert_eq!(ours(&format!("build x {line}")).purpose, purpose, "{line}");
    }
    assert_eq!(ours("build -- -x").template, PathBuf::from("-x"));
    for (line, color) in
        [("--color=never", false), ("--color=always", true), ("--color=auto", true), ("-color=false", false)]
    {
        assert_eq!(ours(&format!("build {line} x")).color, color, "{line}");
    }
}

#[test]
fn the_flags_of_the_program_itself_come_back() {
    let read = imgbuild("build --cache-dir /c -q x.json --cache-dir=/d").unwrap();
    assert_eq!(read.passed, ["--cache-dir", "/c", "-q", "--cache-dir=/d"]);
    assert_eq!(imgbuild("-q --cache-dir /c fmt . -q").unwrap().passed, ["-q", "--cache-dir", "/c", "-q"]);
    assert!(matches!(read.command, Command::Build(build) if *build.template == *"x.json"));
    // Packer has none of them.
    assert_eq!(refused(packer("build -q x")).0, 1);
}

#[test]
fn each_help_names_each_flag_and_gives_an_example_that_is_understood() {
    for program in [Program::Packer, Program::Imgbuild] {
        for verb in Verb::all() {
            let foreign = matches!(
                (program, verb),
                (Program::Packer, Verb::Migrate) | (Program::Imgbuild, Verb::Version)
            );
            if foreign {
                continue;
            }
            let text = help(program, Some(*verb));
            for flag in verb.flags(program) {
                assert!(text.contains(&format!("\n  -{}", flag.name)), "{verb} -{}", flag.name);
            }
            assert!(text.starts_with(&format!("Usage: {program} {verb}")) && text.ends_with('\n'));
            assert!(text.lines().all(|line| line.chars().count() <= 120 && !line.ends_with(' ')), "{text}");
            let (_, example) = text.split_once("Example:\n").unwrap();
            let line = example.lines().next().unwrap().trim();
            let line =
                line.split(" > ").next().unwrap().replace("'~ 1.0'", "~␣1.0").replace("'< 1.0'", "<␣1.0");
            let line = line.replace("'~> 1.0'", "~>␣1.0").replace('\'', "");
            let typed = line.strip_prefix(&format!("{program} ")).unwrap();
            let read = if program == Program::Packer { packer(typed) } else { imgbuild(typed) };
            assert!(read.is_ok(), "{line}: {read:?}");
        }
    }
}

#[test]
fn the_help_of_the_program_lists_its_commands() {
    let text = help(Program::Packer, None);
    for verb in [
        "build",
        "console",
        "fix",
        "fmt",
        "hcl2_upgrade",
        "init",
        "inspect",
        "plugins",
        "validate",
        "version",
    ] {
        assert!(text.contains(&format!("\n  {verb} ")), "{verb}");
    }
    assert!(!text.contains("migrate"));
    let text = help(Program::Imgbuild, None);
    assert!(text.contains("\n  migrate ") && !text.contains("\n  version "));
    let listed: Vec<&str> = Verb::of_templates().collect();
    assert_eq!(listed.len(), 10);
    assert!(listed.contains(&"build") && listed.contains(&"plugins"));
}

#[test]
fn the_help_of_fmt_is_as_written() {
    let expected = "\
Usage: packer fmt [flags] PATH...

  Bring HCL2 files into the canonical form.
  Takes files (*.pkr.hcl, *.pkrvars.hcl), folders, and `-` for standard input.

Flags (one dash is as good as two):
  -check                   Change nothing; exit with 3 if something would change
  -diff                    Show what changes
  -write=false             Do not change the files
  -recursive               Go into folders below
  -var NAME=VALUE          Set a variable; may be repeated, and wins over any file
  -var-file=FILE           Read variables from a file (HCL2 or JSON); may be repeated
  -only=A,B                Take only these builds: names in JSON templates, globs in HCL2
  -except=A,B              Leave out these builds and post-processors
  -config-type=json|hcl2   The language of a template whose name does not say it [default: json]

Example:
  packer fmt -check -diff .

Exit codes:
  0  done
  1  a file cannot be read or parsed
  3  with -check: something would change
";
    assert_eq!(help(Program::Packer, Some(Verb::Fmt)), expected);
}
