//! Telling templates from labels: `imgbuild build web.pkr.hcl` from `imgbuild build //images:web`.

use std::ffi::OsString;

use super::table::{self, Kind, Passthrough, Verb};
use super::{Program, flags};

/// Whether a word means a template: `-` (JSON on standard input), a file that ends with `.pkr.hcl`, `.pkr.json` or
/// `.json`, or a folder in which there are files of the first two kinds. The caller looks whether it is such a folder.
///
/// What begins with `//`, `:` or `@` is a label, whatever it ends with. A legacy template that is not called `.json` is
/// taken by `packer` alone, where there are no labels.
#[must_use]
pub fn is_template(word: &str, is_folder_of_templates: bool) -> bool {
    let label = ["//", ":", "@", "-//", "-:"].iter().any(|start| word.starts_with(start));
    !label
        && (word == "-"
            || is_folder_of_templates
            || [".pkr.hcl", ".pkr.json", ".json"].iter().any(|end| word.ends_with(end)))
}

/// Whether the words behind the program's name `imgbuild` are for [`super::parse_imgbuild`]: whether they name one of
/// [`Verb::of_templates`], and for `build` also a template. The rest is about targets.
///
/// The values of flags are no templates, as in `build -var-file common.json //images:web`. `is_folder_of_templates` is
/// asked only for words that are neither files of that kind nor labels.
#[must_use]
pub fn concerns_template(
    words: &[OsString],
    passthrough: &[Passthrough<'_>],
    is_folder_of_templates: &dyn Fn(&str) -> bool,
) -> bool {
    let words = words.get(flags::skip(words, passthrough)..).unwrap_or_default();
    match table::find(Program::Imgbuild, words) {
        None => false,
        Some((Verb::Build, used)) => names_template(&words[used..], passthrough, is_folder_of_templates),
        Some(_) => true,
    }
}

/// Whether there is a template among the words behind `build`.
fn names_template(
    words: &[OsString],
    passthrough: &[Passthrough<'_>],
    is_folder_of_templates: &dyn Fn(&str) -> bool,
) -> bool {
    let takes_value = |word: &str| match flags::split(word) {
        Ok((_, Some(_))) | Err(_) => false,
        Ok((name, None)) => {
            let packers = Verb::Build
                .flags(Program::Imgbuild)
                .any(|flag| flag.name == name && flag.kind != Kind::Switch);
            packers || passthrough.iter().any(|flag| flag.name == name && flag.takes_value)
        }
    };
    let mut index = 0;
    let mut escaped = false;
    while index < words.len() {
        if let Some(word) = words[index].to_str() {
            if word == "--" && !escaped {
                escaped = true;
            } else if flags::is_flag(&words[index]) && !escaped {
                index += usize::from(takes_value(word));
            } else if is_template(word, false) || (is_template(word, true) && is_folder_of_templates(word)) {
                return true;
            }
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_told_from_labels() {
        for word in ["a.pkr.hcl", "a.pkr.json", "a.json", "./a/b.pkr.hcl", "/a.json", "-", "../a.json"] {
            assert!(is_template(word, false), "{word}");
        }
        for word in [
            "//a",
            "//a:b",
            ":b",
            "a",
            "a/b",
            "...",
            "//a:x.json",
            "@x//a.json",
            "-//a.json",
            ":x.json",
            "a.hcl",
        ] {
            assert!(!is_template(word, false), "{word}");
        }
        assert!(is_template("images", true) && is_template(".", true));
        assert!(!is_template("//images", true));
    }

    #[test]
    fn templates_are_found_behind_flags_and_their_values() {
        let passthrough = [
            Passthrough { name: "cache-dir", takes_value: true },
            Passthrough { name: "v", takes_value: false },
        ];
        let concerns = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            concerns_template(&words, &passthrough, &|word| word == "folder")
        };
        for (line, expected) in [
            ("build a.json", true),
            ("build -var-file x.json a.pkr.hcl -force", true),
            ("build -var-file=x.json //a", false),
            ("build --var-file x.json //a", false),
            ("build --cache-dir x.json //a", false),
            ("build -v a.json", true),
            ("-v --cache-dir c build a.json", true),
            ("-v --cache-dir=c build a.json", true),
            ("--cache-dir build a.json", false),
            ("--cache-dir", false),
            ("build -force folder", true),
            ("build folder", true),
            ("build other", false),
            ("build -", true),
            ("build -only x -", true),
            ("build -- -x.json", true),
            ("build //a b.json", true),
            ("build -//a.json", false),
            ("build", false),
            ("fmt", true),
            ("-v migrate x", true),
            ("plugins installed", true),
            ("version", false),
            ("test a.json", false),
            ("//a:b", false),
            ("", false),
        ] {
            assert_eq!(concerns(line), expected, "{line}");
        }
    }
}
