//! Telling templates from labels: `imgbuild build web.pkr.hcl` from `imgbuild build //images:web`.

use std::ffi::OsString;

use super::table::{Kind, Passthrough, Verb};
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

/// Where among the words behind `build` the first template stands; `None` if labels are to be built.
///
/// The values of flags are no templates, as in `-var-file common.json //images:web`. `is_folder_of_templates` is asked
/// only for words that are neither files of that kind nor labels.
#[must_use]
pub fn template_word(
    words: &[OsString],
    passthrough: &[Passthrough<'_>],
    is_folder_of_templates: &dyn Fn(&str) -> bool,
) -> Option<usize> {
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
                return Some(index);
            }
        }
        index += 1;
    }
    None
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
    fn the_template_is_found_behind_flags_and_their_values() {
        let passthrough = [
            Passthrough { name: "cache-dir", takes_value: true },
            Passthrough { name: "v", takes_value: false },
        ];
        let find = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            template_word(&words, &passthrough, &|word| word == "folder")
        };
        for (line, place) in [
            ("a.json", Some(0)),
            ("-var-file x.json a.pkr.hcl -force", Some(2)),
            ("-var-file=x.json //a", None),
            ("--var-file x.json //a", None),
            ("--cache-dir x.json //a", None),
            ("-v a.json", Some(1)),
            ("-force folder", Some(1)),
            ("folder", Some(0)),
            ("other", None),
            ("-", Some(0)),
            ("-only x -", Some(2)),
            ("-- -x.json", Some(1)),
            ("//a b.json", Some(1)),
            ("-//a.json", None),
            ("", None),
        ] {
            assert_eq!(find(line), place, "{line}");
        }
    }
}
