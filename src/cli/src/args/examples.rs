//! The examples and tables at the end of the help texts. One table serves `--help`, the manual pages and the reference;
//! a test reads each line as a command line.

use std::fmt::Write as _;

use clap::Command;
use clap::builder::StyledStr;

use super::{EXIT_CODES, HELP_STYLES, VARIABLES};

/// A command line and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// What is typed.
    pub line: &'static str,
    /// What it does, in a few words.
    pub does: &'static str,
}

const fn example(line: &'static str, does: &'static str) -> Example {
    Example { line, does }
}

/// The examples of each command, by its path without the program's name; the program's own under the empty path.
pub const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "",
        &[
            example("imgbuild //images:web", "build one image"),
            example("imgbuild plan //images:web", "show what would run, and why"),
            example("imgbuild run //images:web -- cat /etc/os-release", "run a command in it"),
            example("imgbuild test //...", "run every test of the workspace"),
        ],
    ),
    (
        "build",
        &[
            example("imgbuild build //images:web", "build one image"),
            example("imgbuild //images:web", "the same: a label alone builds"),
            example("imgbuild build //... -//images/old/...", "everything except what lies below images/old"),
            example("imgbuild build //images:web --platform amd64,arm64", "for two platforms"),
            example("imgbuild build //images:web -D debug=true", "with a flag that `config_setting` reads"),
            example("imgbuild build //images:web --check", "build twice and list what differs"),
            example(
                "imgbuild build //images:vm --check-resume",
                "whether its machine can go on from each step",
            ),
        ],
    ),
    (
        "plan",
        &[
            example("imgbuild plan //images:web", "show what would run, and why"),
            example("imgbuild plan --json //...", "the whole plan, for a program"),
        ],
    ),
    ("why", &[example("imgbuild why //images:web", "which input moved, from what to what")]),
    (
        "run",
        &[
            example("imgbuild run //images:web", "run the image's own command"),
            example("imgbuild run //images:web -- cat /etc/os-release", "run another"),
        ],
    ),
    (
        "shell",
        &[
            example("imgbuild shell //images:web", "a shell in the image"),
            example("imgbuild shell --failed //images:web", "a shell where its last build failed"),
        ],
    ),
    (
        "test",
        &[
            example("imgbuild test //...", "run every test of the workspace"),
            example(
                "imgbuild test --rerun --test-output=all //images:web_test",
                "run one again and show what it says",
            ),
        ],
    ),
    (
        "diff",
        &[
            example("imgbuild diff //images:base //images:web", "what one image adds to another"),
            example("imgbuild diff //images:web --last", "what the last change of its inputs did to it"),
            example(
                "imgbuild diff --exit-code //images:web web.qcow2 --ignore '/boot/**'",
                "whether a disk holds what the target does",
            ),
            example(
                "imgbuild diff old.tar new.tar --path /etc --text",
                "changed configuration, line by line",
            ),
            example("imgbuild diff --format json old.oci new.oci", "all of it, for a program"),
        ],
    ),
    (
        "query",
        &[
            example("imgbuild query 'deps(//images:web)'", "what an image is made of"),
            example(
                "imgbuild query 'rdeps(//..., //images:base)'",
                "what must be built again if the base changes",
            ),
            example("imgbuild query 'kind(image, //...) - //images/old/...'", "every image but the old ones"),
            example(
                "imgbuild query --output=dot 'somepath(//images:web, //images:base)'",
                "how one comes to need the other",
            ),
        ],
    ),
    (
        "update",
        &[
            example("imgbuild update", "move every pin of the workspace"),
            example("imgbuild update --dry-run //images:web", "show what would move for one image"),
        ],
    ),
    (
        "log",
        &[
            example("imgbuild log //images:web", "what each step said"),
            example("imgbuild log //images:web --step 3", "what the third step said"),
        ],
    ),
    ("cache", &[example("imgbuild cache stats", "how much is in it, and of what")]),
    ("cache stats", &[example("imgbuild cache stats", "how much is in it, and of what")]),
    (
        "cache verify",
        &[
            example("imgbuild cache verify", "find what is damaged"),
            example("imgbuild cache verify --repair", "and remove it, so that it is built again"),
        ],
    ),
    (
        "cache gc",
        &[
            example("imgbuild cache gc --max-size 10GiB", "keep 10 GiB of what was used last"),
            example("imgbuild cache gc --max-age 30d --dry-run", "show what was not used for a month"),
        ],
    ),
    ("cache path", &[example("imgbuild cache path", "the folder where it lies")]),
    ("clean", &[example("imgbuild clean", "remove `imgbuild-out`")]),
    ("cleanup", &[example("imgbuild cleanup", "undo what dead runs have left")]),
    (
        "completions",
        &[example(
            "imgbuild completions bash > ~/.local/share/bash-completion/completions/imgbuild",
            "for bash, from the next login on",
        )],
    ),
    ("man", &[example("imgbuild man ~/.local/share/man/man1", "then `man imgbuild-build` works")]),
    ("version", &[example("imgbuild version", "what to put into a report")]),
];

/// Puts the examples at the end of each command's long help, and the tables at the end of the program's.
pub(super) fn add_to(command: Command) -> Command {
    let command = with_examples(command, "");
    let mut tail = examples_text("");
    heading(&mut tail, "Exit codes:");
    for (code, means) in EXIT_CODES {
        let _ = writeln!(tail, "  {code:>3}  {means}");
    }
    heading(&mut tail, "Environment variables:");
    let width = VARIABLES.iter().map(|variable| variable.name.len()).max().unwrap_or(0);
    for variable in VARIABLES {
        let _ = writeln!(tail, "  {:<width$}  {}", variable.name, variable.doc);
    }
    command.after_long_help(StyledStr::from(tail.trim_end().to_owned()))
}

/// The examples of a command, by its path without the program's name.
#[must_use]
pub(crate) fn of(path: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(key, _)| *key == path).map_or(&[], |(_, examples)| examples)
}

fn with_examples(mut command: Command, path: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(name, |verb| {
            let text = examples_text(&path);
            with_examples(verb.after_long_help(StyledStr::from(text.trim_end().to_owned())), &path)
        });
    }
    command
}

fn heading(text: &mut String, title: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    let style = HELP_STYLES.get_header();
    let _ = writeln!(text, "{style}{title}{style:#}");
}

fn examples_text(path: &str) -> String {
    let mut text = String::new();
    let examples = of(path);
    if examples.is_empty() {
        return text;
    }
    heading(&mut text, "Examples:");
    let literal = HELP_STYLES.get_literal();
    for Example { line, does } in examples {
        let _ = writeln!(text, "  {literal}{line}{literal:#}\n      {does}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::args::{command, parse};

    /// The words of a line as a POSIX shell would give them: single quotes, and nothing after `>`.
    fn words(line: &str) -> Vec<OsString> {
        let line = line.split(" > ").next().unwrap_or_default();
        let mut words = Vec::new();
        for (index, part) in line.split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(OsString::from(part));
            } else {
                words.extend(part.split_whitespace().map(OsString::from));
            }
        }
        words
    }

    #[test]
    fn each_example_is_a_command_line_of_its_command() {
        for (path, examples) in EXAMPLES {
            for Example { line, .. } in *examples {
                let parsed = parse(words(line), &|_| false);
                assert!(parsed.is_ok(), "{line}: {parsed:?}");
                let bare = line.starts_with("imgbuild //");
                assert!(bare || line.starts_with(format!("imgbuild {path}").trim_end()), "{path}: {line}");
            }
        }
    }

    #[test]
    fn each_command_has_an_example() {
        fn check(command: &Command, path: &str) {
            for verb in command.get_subcommands() {
                let path = format!("{path} {}", verb.get_name());
                assert!(!of(path.trim_start()).is_empty(), "`{path}` has no example");
                check(verb, &path);
            }
        }
        check(&command(), "");
        for (path, _) in EXAMPLES {
            let mut found = command();
            for name in path.split_whitespace() {
                found = found.find_subcommand(name).unwrap_or_else(|| panic!("no `{path}`")).clone();
            }
        }
    }
}
