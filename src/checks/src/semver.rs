//! Semantic versions and ranges of them, in the words of the library that goss uses: `>=1.0.0 <2.0.0 || 3.x`.

use std::cmp::Ordering;

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    numbers: [u64; 3],
    before: Vec<Part>,
}

/// A part of what stands behind `-`: numbers come before words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

fn number(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0');
    if plain && text.bytes().all(|c| c.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
}

impl Version {
    /// # Errors
    /// If it is no semantic version of three numbers.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::parsed(text).ok_or_else(|| format!("`{text}` is no semantic version"))
    }

    fn parsed(text: &str) -> Option<Self> {
        let (text, build) = match text.split_once('+') {
            Some((text, build)) => (text, Some(build)),
            None => (text, None),
        };
        if build.is_some_and(|build| !build.split('.').all(is_word)) {
            return None;
        }
        let (numbers, before) = match text.split_once('-') {
            Some((numbers, before)) => (numbers, Some(before)),
            None => (text, None),
        };
        let numbers: Vec<u64> = numbers.split('.').map(number).collect::<Option<_>>()?;
        let part = |text: &str| match number(text) {
            Some(number) => Some(Part::Number(number)),
            None if text.bytes().all(|c| c.is_ascii_digit()) => None,
            None => is_word(text).then(|| Part::Word(text.to_owned())),
        };
        let before = before.map(|before| before.split('.').map(part).collect::<Option<_>>());
        let before = match before {
            Some(parts) => parts?,
            None => Vec::new(),
        };
        Some(Self { numbers: numbers.try_into().ok()?, before })
    }

    fn of(numbers: [u64; 3]) -> Self {
        Self { numbers, before: Vec::new() }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let released = self.before.is_empty().cmp(&other.before.is_empty());
        self.numbers.cmp(&other.numbers).then(released).then_with(|| self.before.cmp(&other.before))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

type Bound = (Operator, Version);

/// A range: one of the lists must hold whole.
#[derive(Clone, Debug)]
pub(crate) struct Range(Vec<Vec<Bound>>);

impl Range {
    /// # Errors
    /// If it is no range.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no range of semantic versions");
        let mut any = Vec::new();
        for side in text.split("||") {
            let mut lists: Vec<Vec<Bound>> = vec![Vec::new()];
            for word in words(side).ok_or_else(bad)? {
                let choices = bounds(&word).ok_or_else(bad)?;
                let with = |list: &Vec<Bound>| {
                    choices.iter().map(|choice| [list.clone(), choice.clone()].concat()).collect::<Vec<_>>()
                };
                lists = lists.iter().flat_map(with).collect();
            }
            if lists.iter().any(Vec::is_empty) {
                return Err(bad());
            }
            any.extend(lists);
        }
        Ok(Self(any))
    }

    pub(crate) fn contains(&self, version: &Version) -> bool {
        let holds = |(operator, bound): &Bound| match operator {
            Operator::Eq => version == bound || version.cmp(bound).is_eq(),
            Operator::Ne => version.cmp(bound).is_ne(),
            Operator::Gt => version > bound,
            Operator::Ge => version >= bound,
            Operator::Lt => version < bound,
            Operator::Le => version <= bound,
        };
        self.0.iter().any(|list| list.iter().all(holds))
    }
}

/// The words of a list: an operator may stand apart from its version.
fn words(side: &str) -> Option<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    let mut operator = String::new();
    for word in side.split_whitespace() {
        if word.chars().all(|c| "<>=!".contains(c)) {
            operator.push_str(word);
        } else {
            found.push(format!("{operator}{word}"));
            operator.clear();
        }
    }
    operator.is_empty().then_some(found)
}

/// What a word stands for: lists of which one must hold.
fn bounds(word: &str) -> Option<Vec<Vec<Bound>>> {
    let version = word.trim_start_matches(['<', '>', '=', '!']);
    let operator = match &word[..word.len() - version.len()] {
        "" | "=" | "==" => Operator::Eq,
        "!" | "!=" => Operator::Ne,
        ">" => Operator::Gt,
        ">=" => Operator::Ge,
        "<" => Operator::Lt,
        "<=" => Operator::Le,
        _ => return None,
    };
    let parts: Vec<&str> = version.split('.').collect();
    let Some(open) = parts.iter().position(|part| matches!(*part, "x" | "X" | "*")) else {
        return Some(vec![vec![(operator, Version::parsed(version)?)]]);
    };
    if open == 0 || open > 2 {
        return None;
    }
    let mut low = [0; 3];
    for (place, part) in parts[..open].iter().enumerate() {
        low[place] = number(part)?;
    }
    let mut high = low;
    high[open - 1] += 1;
    let (low, high) = (Version::of(low), Version::of(high));
    Some(match operator {
        Operator::Eq => vec![vec![(Operator::Ge, low), (Operator::Lt, high)]],
        Operator::Ne => vec![vec![(Operator::Lt, low)], vec![(Operator::Ge, high)]],
        Operator::Gt => vec![vec![(Operator::Ge, high)]],
        Operator::Ge => vec![vec![(Operator::Ge, low)]],
        Operator::Lt => vec![vec![(Operator::Lt, low)]],
        Operator::Le => vec![vec![(Operator::Lt, high)]],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_or_do_not() {
        for (range, version, holds) in [
            (">=1.0.0 <2.0.0", "1.2.3", true),
            (">=1.0.0 <2.0.0", "2.0.0", false),
            (">5.0.0 || < 1.5.0", "1.0.1", true),
            (">1.0.0 <2.0.0 !=1.5.0", "1.5.0", false),
            ("1.x", "1.9.0", true),
            ("!=1.x", "1.9.0", false),
            ("<=1.2.x", "1.2.9", true),
            (">=1.2.3", "1.2.3-rc1", false),
            (">5.0.0", "5.2.15-2+b8", true),
            ("=1.0.0", "1.0.0+other", true),
        ] {
            let version = Version::parse(version).unwrap();
            assert_eq!(Range::parse(range).unwrap().contains(&version), holds, "{range} {version:?}");
        }
        for range in [">4", "", "1.0.0 ||", "~1.0.0", "x"] {
            assert!(Range::parse(range).is_err(), "{range}");
        }
        for version in ["1.2", "v1.2.3", "01.0.0", "1.0.0-01", "1.0.0-"] {
            assert!(Version::parse(version).is_err(), "{version}");
        }
    }
}
