//! The help texts: what a command does, its flags, an example, and its exit codes where they say more than success and
//! failure.

use std::fmt::Write as _;

use super::table::{self, Flag, Kind, Verb};
use super::{Program, exit};

/// Where in a line the texts of a list begin, at most.
const LONGEST: usize = 30;

/// The help of a command, or of the program, as it is shown; it ends with a line's end.
#[must_use]
pub fn help(program: Program, topic: Option<Verb>) -> String {
    match topic {
        None => of_program(program),
        Some(verb) => of_verb(program, verb),
    }
}

fn of_program(program: Program) -> String {
    let mut text = format!("Usage: {program} <command> [flags] [arguments]\n\nCommands:\n");
    let rows: Vec<(String, &str)> =
        table::shown(program).map(|verb| (verb.name().to_owned(), about(verb).0)).collect();
    list(&mut text, &rows);
    let _ = write!(
        text,
        "\nEvery command:\n  -help               Show the help of a command\n  -machine-readable   Write lines for programs\n"
    );
    if program == Program::Packer {
        text.push_str("  -version            Show the version\n");
    }
    let _ = write!(text, "\nExample:\n  {program} build web.pkr.hcl\n");
    text
}

fn of_verb(program: Program, verb: Verb) -> String {
    let (short, long) = about(verb);
    let has_flags = verb.flags(program).next().is_some();
    let mut usage = format!("Usage: {program} {verb}");
    if has_flags {
        usage.push_str(" [flags]");
    }
    if !verb.arguments().is_empty() {
        let _ = write!(usage, " {}", verb.arguments());
    }
    let mut text = format!("{usage}\n\n  {short}.\n");
    for line in long.lines() {
        let _ = writeln!(text, "  {line}");
    }
    if verb == Verb::Plugins {
        text.push_str("\nCommands:\n");
        let rows: Vec<(String, &str)> = table::of_plugins()
            .map(|verb| (verb.name().trim_start_matches("plugins ").to_owned(), about(verb).0))
            .collect();
        list(&mut text, &rows);
    }
    if has_flags {
        text.push_str("\nFlags (one dash is as good as two):\n");
        let rows: Vec<(String, &str)> = verb.flags(program).map(|flag| (shape(flag), flag.help)).collect();
        list(&mut text, &rows);
    }
    let _ = write!(text, "\nExample:\n  {program} {verb}{}\n", example(program, verb));
    if verb == Verb::Fmt {
        let _ = write!(text, "\nExit codes:\n  0  done\n  1  a file cannot be read or parsed\n");
        let _ = writeln!(text, "  {}  with -check: something would change", exit::UNFORMATTED);
    }
    text
}

/// A flag as it is typed.
fn shape(flag: &Flag) -> String {
    match flag.kind {
        Kind::Switch => format!("-{}{}", flag.name, flag.value),
        Kind::Pair => format!("-{} {}", flag.name, flag.value),
        _ => format!("-{}={}", flag.name, flag.value),
    }
}

fn list(text: &mut String, rows: &[(String, &str)]) {
    let width = rows.iter().map(|(left, _)| left.len()).filter(|width| *width <= LONGEST).max().unwrap_or(0);
    for (left, right) in rows {
        if left.len() > width {
            let _ = write!(text, "  {left}\n  {:width$}   {right}\n", "");
        } else {
            let _ = writeln!(text, "  {left:width$}   {right}");
        }
    }
}

/// What a command does: in a few words, and what else is good to know.
fn about(verb: Verb) -> (&'static str, &'static str) {
    match verb {
        Verb::Build => (
            "Build the images of a template",
            "A step whose inputs have not changed is taken from the cache, and a line says so.\n\
             `-` as template reads legacy JSON from standard input.",
        ),
        Verb::Console => (
            "Evaluate expressions, with the names of a template",
            "Lines that come through a pipe are evaluated, and the last result is written.",
        ),
        Verb::Fix => (
            "Bring a legacy JSON template up to date",
            "The new template goes to standard output; the file stays as it is.",
        ),
        Verb::Fmt => (
            "Bring HCL2 files into the canonical form",
            "Takes files (*.pkr.hcl, *.pkrvars.hcl), folders, and `-` for standard input.",
        ),
        Verb::Hcl2Upgrade => (
            "Write a legacy JSON template as HCL2",
            "The JSON file stays as it is; read what comes out before you use it.",
        ),
        Verb::Init => (
            "Say what satisfies the plugins that a template requires",
            "What is built in needs none, and nothing is installed. Templates in HCL2 only.",
        ),
        Verb::Inspect => ("Show what is in a template: variables, builds, steps", ""),
        Verb::Migrate => (
            "Write the BUILD.star that builds what a template builds",
            "Comments are kept, and what could not be carried over is said. What floats in the template is pinned in\n\
             the workspace's `imgbuild.lock`, so that what the template has built is not built again.",
        ),
        Verb::Plugins => ("List the plugins of templates; a real `packer` installs and removes them", ""),
        Verb::PluginsInstall => (
            "Refused: a real `packer` installs plugins",
            "SOURCE is host/owner/name, as github.com/hashicorp/docker; VERSION may be a constraint.",
        ),
        Verb::PluginsInstalled => ("Say where components come from", ""),
        Verb::PluginsRemove => ("Refused: a real `packer` removes plugins", ""),
        Verb::PluginsRequired => ("List the plugins that a template requires", ""),
        Verb::Validate => (
            "Say what is wrong with a template, all of it at once",
            "Nothing is built, and no data source is asked unless -evaluate-datasources is given.",
        ),
        Verb::Version => ("Show the version", ""),
    }
}

/// What stands behind a command in an example.
fn example(program: Program, verb: Verb) -> &'static str {
    match (verb, program) {
        (Verb::Build, Program::Packer) => " -only='*.ubuntu' -var region=eu-west-1 web.pkr.hcl",
        (Verb::Build, Program::Imgbuild) => " web.pkr.hcl -var region=eu-west-1 -plan",
        (Verb::Console, _) => " web.pkr.hcl",
        (Verb::Fix, _) => " old.json > new.json",
        (Verb::Fmt, _) => " -check -diff .",
        (Verb::Hcl2Upgrade, _) => " -with-annotations old.json",
        (Verb::Init, _) => " -upgrade .",
        (Verb::Inspect, _) => " web.pkr.hcl",
        (Verb::Migrate, _) => " -output-file=- web.pkr.hcl",
        (Verb::Plugins, _) => " installed",
        (Verb::PluginsInstall, _) => " github.com/hashicorp/docker '~> 1.0'",
        (Verb::PluginsInstalled | Verb::Version, _) => "",
        (Verb::PluginsRemove, _) => " github.com/hashicorp/docker '< 1.0'",
        (Verb::PluginsRequired, _) => " .",
        (Verb::Validate, _) => " -var-file=eu.pkrvars.hcl .",
    }
}
