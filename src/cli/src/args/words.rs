//! What is done to the words of a command line before clap sees them: a bare label builds, a word that is no verb gets
//! a hint, and `-//a:b` is told from a cluster of flags. Not the flags themselves.

use std::ffi::OsString;

use clap::Command;
use imgbuild_model::{Diagnostic, Diagnostics, did_you_mean};

/// Stands before a pattern that begins with `-`, which clap would take for flags. No argument of a process can hold it.
const EXCLUSION: char = '\0';

/// Makes of the words as typed (the program's name first) words that clap understands. `is_package` says whether a
/// folder of that name, relative to the current one, is a package.
///
/// # Errors
/// If the first word that is no flag is neither a verb nor looks like a pattern.
pub(super) fn prepare(
    command: &Command,
    words: Vec<OsString>,
    is_package: &dyn Fn(&str) -> bool,
) -> Result<Vec<OsString>, Diagnostics> {
    let mut words = words;
    if let Some(first) = first_positional(command, &words) {
        match words[first].to_str() {
            Some("--") => words.insert(1, "build".into()),
            Some(word) if is_verb(command, word) => {}
            Some(word) if looks_like_a_pattern(word) => words.insert(1, "build".into()),
            Some(word) => return Err(unknown(command, word, is_package)),
            // A name that is not UTF-8 is no verb and no label; clap says so.
            None => {}
        }
    }
    let escape = words.iter().position(|word| word == "--").unwrap_or(words.len());
    for word in &mut words[..escape] {
        if word.to_str().is_some_and(is_exclusion) {
            let mut marked = OsString::from(EXCLUSION.to_string());
            marked.push(&*word);
            *word = marked;
        }
    }
    Ok(words)
}

/// Reads a pattern argument: takes away the mark that [`prepare`] set.
#[expect(clippy::unnecessary_wraps, reason = "clap's value parsers return a result")]
pub(super) fn pattern(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.strip_prefix(EXCLUSION).unwrap_or(text).to_owned())
}

/// The words without the marks that [`prepare`] set, for messages.
pub(super) fn unmarked(text: &str) -> String {
    text.replace(EXCLUSION, "")
}

fn is_exclusion(word: &str) -> bool {
    word.starts_with("-//") || word.starts_with("-:") || word.starts_with("-...")
}

fn looks_like_a_pattern(word: &str) -> bool {
    word.contains(['/', ':']) || word.contains("...")
}

fn verbs(command: &Command) -> impl Iterator<Item = &str> {
    command.get_subcommands().flat_map(Command::get_name_and_visible_aliases).chain(["help"])
}

fn is_verb(command: &Command, word: &str) -> bool {
    verbs(command).any(|verb| verb == word)
}

/// The place of the first word that is neither a flag nor the value of one; `--` counts as such a word.
///
/// The flags of `build` are known here too: `imgbuild -k //a:b` is a build.
fn first_positional(command: &Command, words: &[OsString]) -> Option<usize> {
    let build = command.find_subcommand("build");
    let takes_value = |matches: &dyn Fn(&clap::Arg) -> bool| {
        command
            .get_arguments()
            .chain(build.into_iter().flat_map(Command::get_arguments))
            .find(|argument| matches(argument))
            .is_some_and(|argument| argument.get_action().takes_values())
    };
    let mut index = 1;
    while index < words.len() {
        let Some(word) = words[index].to_str() else { return Some(index) };
        if word == "--" || !word.starts_with('-') || word == "-" || is_exclusion(word) {
            return Some(index);
        }
        let value_follows = if let Some(long) = word.strip_prefix("--") {
            !long.contains('=') && takes_value(&|argument| argument.get_long() == Some(long))
        } else {
            let mut letters = word[1..].chars();
            // `-vC dir`: the first letter that takes a value takes the rest of the word, or else the next word.
            letters.find(|letter| takes_value(&|argument| argument.get_short() == Some(*letter))).is_some()
                && letters.as_str().is_empty()
        };
        index += if value_follows { 2 } else { 1 };
    }
    None
}

fn unknown(command: &Command, word: &str, is_package: &dyn Fn(&str) -> bool) -> Diagnostics {
    let mut hints = Vec::new();
    if let Some(verb) = did_you_mean(word, verbs(command)) {
        hints.push(format!("did you mean `{verb}`?"));
    }
    if is_package(word) {
        hints.push(format!("to build the package of that name, write `imgbuild {word}:all`"));
    }
    if hints.is_empty() {
        hints.push("`imgbuild help` lists the commands; a label begins with `//` or `:`".to_owned());
    }
    Diagnostic::error(format!("`{word}` is not a command")).hint(hints.join(" ")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::command;

    fn prepared(line: &str) -> Result<String, String> {
        let mut words = vec![OsString::from("imgbuild")];
        words.extend(line.split_whitespace().map(OsString::from));
        prepare(&command(), words, &|name| name == "images" || name == "tests")
            .map(|words| words[1..].iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
            .map_err(|diagnostics| diagnostics.to_string())
    }

    #[test]
    fn a_bare_label_builds() {
        for (typed, means) in [
            ("//a:b", "build //a:b"),
            ("//a/...", "build //a/..."),
            ("...", "build ..."),
            (":b", "build :b"),
            ("images/base", "build images/base"),
            ("images:base", "build images:base"),
            ("-v //a:b -k", "build -v //a:b -k"),
            ("-k //a:b", "build -k //a:b"),
            ("--platform arm64 //a:b", "build --platform arm64 //a:b"),
            ("--platform=arm64 //a:b", "build --platform=arm64 //a:b"),
            ("-C dir/x //a:b", "build -C dir/x //a:b"),
            ("-Cdir/x //a:b", "build -Cdir/x //a:b"),
            ("-vC dir/x //a:b", "build -vC dir/x //a:b"),
            ("--color never //a", "build --color never //a"),
            ("-D mode=x //a", "build -D mode=x //a"),
            ("-- //a -//b", "build -- //a -//b"),
            ("//... -//b:c", "build //... \0-//b:c"),
            ("-//b:c //...", "build \0-//b:c //..."),
            ("build //a", "build //a"),
            ("-C build plan //a", "-C build plan //a"),
            ("run //a -- rm -//x", "run //a -- rm -//x"),
            ("help build", "help build"),
            ("--version", "--version"),
            ("-v", "-v"),
            ("", ""),
        ] {
            assert_eq!(prepared(typed).as_deref(), Ok(means), "{typed}");
        }
    }

    #[test]
    fn an_unknown_word_gets_a_hint() {
        for (typed, message) in [
            ("biuld //a", "`biuld` is not a command; hint: did you mean `build`?"),
            ("-q qeury x", "`qeury` is not a command; hint: did you mean `query`?"),
            (
                "images",
                "`images` is not a command; hint: to build the package of that name, write `imgbuild images:all`",
            ),
            (
                "tests",
                "`tests` is not a command; hint: did you mean `test`? to build the package of that name, write \
                 `imgbuild tests:all`",
            ),
            (
                "frobnicate",
                "`frobnicate` is not a command; hint: `imgbuild help` lists the commands; a label begins with `//` \
                 or `:`",
            ),
        ] {
            assert_eq!(prepared(typed), Err(message.to_owned()), "{typed}");
        }
    }

    #[test]
    fn no_option_takes_its_value_only_sometimes() {
        // `first_positional` relies on it.
        let command = command();
        for argument in
            command.get_arguments().chain(command.find_subcommand("build").unwrap().get_arguments())
        {
            if let Some(range) = argument.get_num_args().filter(|_| !argument.is_positional()) {
                assert_ne!((range.min_values(), range.max_values()), (0, 1), "{}", argument.get_id());
            }
        }
    }
}
