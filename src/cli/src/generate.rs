//! Documents made from the definitions themselves: completion scripts, manual pages, and the reference pages in `docs/`.
//! They are returned as text; a test compares the pages in the repository with them.

use std::fmt::Write as _;
use std::io;

use clap::{Arg, Command};

use crate::args::examples;
use crate::args::{EXIT_CODES, Example, VARIABLES, command};
use crate::config::KEYS;
use crate::ui::EVENTS;

/// A generated page of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its path from the repository's root.
    pub path: &'static str,
    /// What is to stand in it.
    pub text: String,
}

/// The first line of each page.
const MARK: &str = "<!-- Generated from the code; a test says how to bring it up to date. -->\n\n";

/// The completion script of a shell.
#[must_use]
pub fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "imgbuild", &mut script);
    String::from_utf8(script).expect("the script is made of UTF-8 texts")
}

/// The manual pages, by the name of their file: `imgbuild.1`, and one for each verb, such as `imgbuild-cache-gc.1`.
///
/// # Errors
/// If a page cannot be rendered.
pub fn man_pages() -> io::Result<Vec<(String, String)>> {
    fn collect(command: &Command, name: &str, pages: &mut Vec<(String, String)>) -> io::Result<()> {
        let path = name.strip_prefix("imgbuild").unwrap_or_default().replace('-', " ");
        let page = command.clone().name(name.to_owned()).display_name(name).after_long_help(None::<&str>);
        let mut text = Vec::new();
        clap_mangen::Man::new(page).render(&mut text)?;
        let mut text = String::from_utf8(text).map_err(io::Error::other)?;
        let examples = examples::of(path.trim());
        push_manual_section(
            &mut text,
            "EXAMPLES",
            examples.iter().map(|one| (one.line.to_owned(), one.does)),
        );
        push_manual_section(
            &mut text,
            "EXIT STATUS",
            EXIT_CODES.iter().map(|(code, means)| (code.to_string(), *means)),
        );
        push_manual_section(
            &mut text,
            "ENVIRONMENT",
            VARIABLES.iter().map(|variable| (variable.name.to_owned(), variable.doc)),
        );
        pages.push((format!("{name}.1"), text));
        for verb in shown(command) {
            collect(verb, &format!("{name}-{}", verb.get_name()), pages)?;
        }
        Ok(())
    }
    let mut command = command();
    command.build();
    let mut pages = Vec::new();
    collect(&command, "imgbuild", &mut pages)?;
    Ok(pages)
}

/// A section of a manual page with an entry for each pair.
fn push_manual_section<'a>(page: &mut String, title: &str, entries: impl Iterator<Item = (String, &'a str)>) {
    let escape = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('-', "\\-");
        // A line that begins so would be a request to the formatter.
        if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
    };
    let mut entries = entries.peekable();
    if entries.peek().is_some() {
        let _ = writeln!(page, ".SH \"{title}\"");
    }
    for (head, body) in entries {
        let _ = write!(page, ".TP\n\\fB{}\\fR\n{}\n", escape(&head), escape(body));
    }
}

/// Each generated page of the repository.
#[must_use]
pub fn pages() -> Vec<Page> {
    vec![
        Page { path: "docs/cli.md", text: cli_page() },
        Page { path: "docs/configuration.md", text: configuration_page() },
        Page { path: "docs/events.md", text: events_page() },
        Page { path: "docs/rules.md", text: imgbuild_starlark::reference_markdown() },
    ]
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
}

fn cli_page() -> String {
    let mut command = command();
    command.build();
    let mut page = format!("{MARK}# The command line\n\n{}\n", long_about(&command));
    page.push_str("\n| command | |\n|---|---|\n");
    for verb in shown(&command) {
        let about = verb.get_about().map(plain).unwrap_or_default();
        let _ = writeln!(page, "| [`{0}`](#imgbuild-{0}) | {1} |", verb.get_name(), cell(&about));
    }
    push_examples(&mut page, "");
    page.push_str("\n## Options of every command\n\n");
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        page.push_str(&option(argument));
    }
    for verb in shown(&command) {
        push_verb(&mut page, verb, verb.get_name());
    }
    page.push_str("\n## Exit codes\n\n| code | |\n|---|---|\n");
    for (code, means) in EXIT_CODES {
        let _ = writeln!(page, "| {code} | {means} |");
    }
    page.push_str("\n`imgbuild run` and `imgbuild shell` end with the code of the command that was run.\n");
    push_variables(&mut page);
    page
}

fn push_verb(page: &mut String, verb: &Command, path: &str) {
    let level = "#".repeat(path.split(' ').count() + 1);
    let _ = write!(page, "\n{level} imgbuild {path}\n\n{}\n", long_about(verb));
    let usage = plain(&verb.clone().render_usage());
    let _ = write!(page, "\n```text\n{}\n```\n", usage.trim_start_matches("Usage: ").trim());
    push_examples(page, path);
    let own: Vec<&Arg> = verb
        .get_arguments()
        .filter(|argument| {
            !argument.is_global_set() && !argument.is_hide_set() && argument.get_id() != "help"
        })
        .collect();
    if !own.is_empty() {
        page.push('\n');
        for argument in own {
            page.push_str(&option(argument));
        }
    }
    for verb in shown(verb) {
        push_verb(page, verb, &format!("{path} {}", verb.get_name()));
    }
}

fn push_examples(page: &mut String, path: &str) {
    let examples = examples::of(path);
    if examples.is_empty() {
        return;
    }
    let width = examples.iter().map(|example| example.line.len()).max().unwrap_or(0);
    page.push_str("\n```sh\n");
    for Example { line, does } in examples {
        let _ = writeln!(page, "{line:<width$}  # {does}");
    }
    page.push_str("```\n");
}

/// An option as an entry of a list: how it is written, what it does, its values and its default.
fn option(argument: &Arg) -> String {
    let mut forms = Vec::new();
    forms.extend(argument.get_short().map(|short| format!("-{short}")));
    forms.extend(argument.get_long().map(|long| format!("--{long}")));
    let value: Vec<String> = argument
        .get_value_names()
        .filter(|_| argument.is_positional() || argument.get_action().takes_values())
        .unwrap_or_default()
        .iter()
        .map(|name| format!("<{name}>"))
        .collect();
    let mut written = forms.join(", ");
    if !value.is_empty() {
        if !written.is_empty() {
            written.push(' ');
        }
        written.push_str(&value.join(" "));
    }
    let mut text = argument.get_help().map(plain).unwrap_or_default();
    if let Some(long) = argument.get_long_help().map(plain)
        && let Some((_, more)) = long.split_once("\n\n")
    {
        let _ = write!(text, ". {}", more.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let mut entry = format!("- `{written}`: {text}\n");
    let values: Vec<_> = argument.get_possible_values();
    if argument.get_action().takes_values() {
        for value in values.iter().filter(|value| !value.is_hide_set()) {
            let _ = write!(entry, "  - `{}`", value.get_name());
            if let Some(help) = value.get_help() {
                let _ = write!(entry, ": {}", plain(help));
            }
            entry.push('\n');
        }
    }
    entry
}

fn push_variables(page: &mut String) {
    page.push_str(
        "\n## Environment variables\n\nAn empty variable counts as not set.\n\n| variable | |\n|---|---|\n",
    );
    for variable in VARIABLES {
        let _ = writeln!(page, "| `{}` | {} |", variable.name, cell(variable.doc));
    }
}

fn configuration_page() -> String {
    let mut page = format!(
        "{MARK}# Configuration\n\nThe file `imgbuild.toml` marks the root of a workspace and configures it; it may be \
         empty. Your own file is `~/.config/imgbuild/config.toml` (in `XDG_CONFIG_HOME` where that is set, or the file \
         that `--config` or `IMGBUILD_CONFIG` names). Both take the same keys.\n\nA flag decides over the environment, \
         that over the workspace's file, that over yours.\n\nRelative paths start at the folder of the file; `~/` is \
         your home folder. A size is a number with a unit (`10GiB`, `500MB`), an age is one or more numbers with units \
         from `w` to `s` (`30d`, `1d12h`).\n"
    );
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            let _ = write!(page, "\n## `[{section}]`\n\n| key | value | |\n|---|---|---|\n");
        }
        let _ =
            writeln!(page, "| `{}` | {}: `{}` | {} |", key.name, key.kind, cell(key.example), cell(key.doc));
    }
    page.push_str(
        "\nThe environment variables are listed with [the command line](cli.md#environment-variables).\n",
    );
    page
}

fn events_page() -> String {
    let mut page = format!(
        "{MARK}# Events\n\nWith `--json`, the verbs that build write one JSON object a line to standard output, in the \
         order in which things happen. The field `event` says which of the following it is. A type with `?` is of a \
         field that may be absent. Further events and fields may be added; what is here keeps its meaning. Standard \
         error is for people and may change.\n\n```sh\nimgbuild build --json //images:web | jq -r \
         'select(.event == \"artifact\") | .path'\n```\n"
    );
    for event in EVENTS {
        let _ = write!(page, "\n## `{}`\n\n{}\n\n| field | type | |\n|---|---|---|\n", event.name, event.doc);
        for field in event.fields {
            let _ = writeln!(page, "| `{}` | {} | {} |", field.name, field.kind, cell(field.doc));
        }
    }
    page
}

fn long_about(command: &Command) -> String {
    let about = command.get_about().map(plain).unwrap_or_default();
    match command.get_long_about().map(plain) {
        Some(long) if long != about => {
            let (first, rest) = long.split_once("\n\n").unwrap_or((&long, ""));
            format!("{first}.\n\n{rest}").trim_end().to_owned()
        }
        _ => format!("{about}."),
    }
}

fn plain(text: &clap::builder::StyledStr) -> String {
    // `Display` leaves the styles out.
    text.to_string()
}

/// A text as it may stand in the cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_pages_in_the_repository_are_up_to_date() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let write = std::env::var_os("IMGBUILD_WRITE_DOCS").is_some();
        let mut stale = Vec::new();
        for page in pages() {
            let path = root.join(page.path);
            if write {
                fs_err::create_dir_all(path.parent().unwrap()).unwrap();
                fs_err::write(&path, &page.text).unwrap();
            }
            if fs_err::read_to_string(&path).ok().as_ref() != Some(&page.text) {
                stale.push(page.path);
            }
        }
        assert!(
            stale.is_empty(),
            "{stale:?} differ from the code; run `IMGBUILD_WRITE_DOCS=1 cargo test -p imgbuild --lib generate`"
        );
    }

    #[test]
    fn pages_name_every_verb_flag_variable_key_and_event() {
        let pages = pages();
        let mut command = command();
        command.build();
        fn check(page: &str, command: &Command, path: &str) {
            assert!(page.contains(&format!(" {path}\n")), "{path}");
            for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
                if let Some(long) = argument.get_long() {
                    assert!(page.contains(&format!("--{long}")), "{path} --{long}");
                }
            }
            for verb in shown(command) {
                check(page, verb, &format!("{path} {}", verb.get_name()));
            }
        }
        for verb in shown(&command) {
            check(&pages[0].text, verb, &format!("imgbuild {}", verb.get_name()));
        }
        for variable in VARIABLES {
            assert!(pages[0].text.contains(&format!("| `{}` |", variable.name)), "{}", variable.name);
        }
        for key in KEYS {
            assert!(pages[1].text.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        }
        for page in &pages {
            assert!(!page.text.contains('\u{1b}'), "{}", page.path);
            assert!(page.text.ends_with('\n') && !page.text.contains("\n\n\n"), "{}", page.path);
        }
    }

    #[test]
    fn each_shell_has_completions() {
        use clap::ValueEnum;
        for shell in clap_complete::Shell::value_variants() {
            let script = completions(*shell);
            assert!(script.contains("keep-going") && script.contains("cleanup"), "{shell}");
        }
    }

    #[test]
    fn each_verb_has_a_manual_page() {
        let pages = man_pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["imgbuild.1", "imgbuild-build.1", "imgbuild-cache-gc.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        for (name, text) in &pages {
            assert!(text.contains(".SH SYNOPSIS") && !text.contains('\u{1b}'), "{name}");
        }
        let (_, build) = pages.iter().find(|(name, _)| name == "imgbuild-build.1").unwrap();
        assert!(build.starts_with(".ie") && build.contains(".TH imgbuild-build 1"), "{build}");
        assert!(build.contains(".SH \"EXAMPLES\"\n.TP\n\\fBimgbuild build //images:web\\fR\n"), "{build}");
    }
}
