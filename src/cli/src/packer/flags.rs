//! Flags as Go's `flag` package reads them: one hyphen or two, `-x=v` or `-x v`, truth values alone or `-b=false`, up to
//! the first word that is none.

use imgbuild_model::did_you_mean;

/// A flag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub name: &'static str,
    pub takes_value: bool,
    pub doc: &'static str,
}

/// What was given, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    values: Vec<(&'static str, String)>,
    /// The words that are no flags.
    pub rest: Vec<String>,
}

/// Why there is nothing to carry out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Help was asked for.
    Help,
    /// The command line is wrong: how.
    Wrong(String),
}

/// A flag that is given or not.
pub(super) const fn switch(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, takes_value: false, doc }
}

/// A flag with a value.
pub(super) const fn value(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, takes_value: true, doc }
}

impl Parsed {
    /// Whether a switch is on; the last of several counts.
    pub(super) fn is_on(&self, name: &str, default: bool) -> bool {
        self.all(name).last().map_or(default, |value| value == "true")
    }

    /// All values of a flag, in their order.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values.iter().filter(move |(own, _)| *own == name).map(|(_, value)| value.as_str())
    }
}

/// Reads words.
pub(super) fn parse(flags: &[Flag], words: &[String]) -> Result<Parsed, Stop> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            parsed.rest.push(word.clone());
            break;
        };
        let name = name.strip_prefix('-').unwrap_or(name);
        if name.is_empty() {
            break;
        }
        let (name, given) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
        if matches!(name, "h" | "help") {
            return Err(Stop::Help);
        }
        let flag = flags.iter().find(|flag| flag.name == name).ok_or_else(|| unknown(flags, name))?;
        let value = match (flag.takes_value, given) {
            (false, given) => truth(given.unwrap_or("true"), name)?.to_string(),
            (true, Some(value)) => value.to_owned(),
            (true, None) => words
                .next()
                .cloned()
                .ok_or_else(|| Stop::Wrong(format!("the value of `-{name}` is missing")))?,
        };
        parsed.values.push((flag.name, value));
    }
    parsed.rest.extend(words.cloned());
    Ok(parsed)
}

fn unknown(flags: &[Flag], name: &str) -> Stop {
    let near = did_you_mean(name, flags.iter().map(|flag| flag.name));
    let hint = near.map_or_else(String::new, |near| format!("; did you mean `-{near}`?"));
    Stop::Wrong(format!("there is no flag `-{name}`{hint}"))
}

fn truth(text: &str, name: &str) -> Result<bool, Stop> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Stop::Wrong(format!("`{text}` is not a value of `-{name}`; write `true` or `false`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Parsed, Stop, parse, switch, value};

    fn parsed(line: &str) -> Result<Parsed, Stop> {
        let words: Vec<String> = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        parse(&[switch("check", ""), value("var", ""), value("only", "")], &words)
    }

    fn wrong(line: &str) -> String {
        match parsed(line) {
            Err(Stop::Wrong(message)) => message,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn one_hyphen_or_two_and_both_ways_of_values() {
        let flags = parsed("-check --var=a=b -var c=d --only x t.pkr.hcl -var e=f").expect("good flags");
        assert!(flags.is_on("check", false));
        assert_eq!(flags.all("var").collect::<Vec<_>>(), ["a=b", "c=d"]);
        assert_eq!(flags.all("only").collect::<Vec<_>>(), ["x"]);
        assert_eq!(flags.rest, ["t.pkr.hcl", "-var", "e=f"]);
    }

    #[test]
    fn switches_have_values_only_after_an_equal_sign() {
        assert!(!parsed("-check=false").expect("good flags").is_on("check", true));
        assert!(parsed("-check=0 -check=T").expect("good flags").is_on("check", false));
        let flags = parsed("-check false").expect("good flags");
        assert_eq!(
            (flags.is_on("check", false), flags.rest.as_slice()),
            (true, ["false".to_owned()].as_slice())
        );
        assert!(parsed("").expect("good flags").is_on("check", true));
    }

    #[test]
    fn two_hyphens_end_the_flags_and_one_alone_is_a_word() {
        assert_eq!(parsed("-- -check").expect("good flags").rest, ["-check"]);
        assert_eq!(parsed("-").expect("good flags").rest, ["-"]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(wrong("-chek"), "there is no flag `-chek`; did you mean `-check`?");
        assert_eq!(wrong("--nothing"), "there is no flag `-nothing`");
        assert_eq!(wrong("-var"), "the value of `-var` is missing");
        assert_eq!(wrong("-check=maybe"), "`maybe` is not a value of `-check`; write `true` or `false`");
        assert_eq!(parsed("-only x -h"), Err(Stop::Help));
        assert_eq!(parsed("--help"), Err(Stop::Help));
    }
}
