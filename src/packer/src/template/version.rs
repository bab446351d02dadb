//! Versions and constraints on them, in the words of Packer's templates: `>= 1.7.0, < 2.0.0`, `~> 1.7`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version: numbers, perhaps a pre-release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    numbers: [u64; 3],
    given: usize,
    /// What follows `-`; empty for a release.
    pub prerelease: String,
}

/// Constraints that a version must meet all of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraints {
    text: String,
    all: Vec<(Operator, Version)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Pessimistic,
}

const OPERATORS: [(&str, Operator); 7] = [
    (">=", Operator::GreaterEqual),
    ("<=", Operator::LessEqual),
    ("!=", Operator::NotEqual),
    ("~>", Operator::Pessimistic),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("=", Operator::Equal),
];

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a version");
        let plain = text.strip_prefix('v').unwrap_or(text);
        let plain = plain.split_once('+').map_or(plain, |(version, _)| version);
        let (numbers, prerelease) = plain.split_once('-').unwrap_or((plain, ""));
        let parts: Vec<&str> = numbers.split('.').collect();
        if parts.len() > 3 || (prerelease.is_empty() && plain.contains('-')) {
            return Err(wrong());
        }
        let mut all = [0; 3];
        for (slot, part) in all.iter_mut().zip(&parts) {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *slot = part.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        }
        Ok(Self { numbers: all, given: parts.len(), prerelease: prerelease.to_owned() })
    }
}

impl Version {
    fn compare(&self, other: &Self) -> Ordering {
        let releases = self.prerelease.is_empty().cmp(&other.prerelease.is_empty());
        self.numbers
            .cmp(&other.numbers)
            .then(releases)
            .then_with(|| compare_prereleases(&self.prerelease, &other.prerelease))
    }

    /// The same without its pre-release.
    #[must_use]
    pub fn release(&self) -> Self {
        Self { prerelease: String::new(), ..self.clone() }
    }
}

fn compare_prereleases(left: &str, right: &str) -> Ordering {
    let mut right = right.split('.');
    for part in left.split('.') {
        let Some(other) = right.next() else { return Ordering::Greater };
        let order = match (part.parse::<u64>(), other.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            _ => part.cmp(other),
        };
        if order.is_ne() {
            return order;
        }
    }
    if right.next().is_some() { Ordering::Less } else { Ordering::Equal }
}

impl FromStr for Constraints {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let one = |part: &str| {
            let part = part.trim();
            let (operator, version) = OPERATORS
                .iter()
                .find_map(|(sign, operator)| Some((*operator, part.strip_prefix(sign)?)))
                .unwrap_or((Operator::Equal, part));
            let version: Version =
                version.trim().parse().map_err(|_| format!("`{part}` is not a constraint"))?;
            Ok((operator, version))
        };
        let all = text.split(',').map(one).collect::<Result<_, String>>()?;
        Ok(Self { text: text.to_owned(), all })
    }
}

impl Constraints {
    /// Whether a version meets all of them.
    #[must_use]
    pub fn allow(&self, version: &Version) -> bool {
        self.all.iter().all(|(operator, wanted)| operator.allows(version, wanted))
    }

    /// Whether one of them names a pre-release.
    #[must_use]
    pub fn has_prerelease(&self) -> bool {
        self.all.iter().any(|(_, version)| !version.prerelease.is_empty())
    }
}

impl Operator {
    fn allows(self, version: &Version, wanted: &Version) -> bool {
        let order = version.compare(wanted);
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Greater => order.is_gt(),
            Self::GreaterEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessEqual => order.is_le(),
            Self::Pessimistic => {
                // All numbers but the last that was given stay as they are.
                let fixed = wanted.given.saturating_sub(1);
                order.is_ge() && version.numbers[..fixed] == wanted.numbers[..fixed]
            }
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if self.prerelease.is_empty() { Ok(()) } else { write!(f, "-{}", self.prerelease) }
    }
}

impl fmt::Display for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Constraints, Version};

    fn allows(constraints: &str, version: &str) -> bool {
        constraints
            .parse::<Constraints>()
            .expect("constraints")
            .allow(&version.parse::<Version>().expect("a version"))
    }

    #[test]
    fn constraints_are_met_or_not() {
        for (constraints, version, expected) in [
            (">= 1.7.0", "1.16.0", true),
            (">= 1.7.0, < 1.16", "1.16.0", false),
            ("~> 1.7", "1.16.0", true),
            ("~> 1.7", "2.0.0", false),
            ("~> 1.7.1", "1.7.9", true),
            ("~> 1.7.1", "1.8.0", false),
            ("~> 1", "1.16.0", true),
            ("~> 1", "2.1.0", true),
            ("~> 2", "1.16.0", false),
            ("1.16.0", "1.16.0", true),
            ("=1.16", "1.16.0", true),
            ("!= 1.16.0", "1.16.0", false),
            ("> 1.16.0-dev", "1.16.0", true),
            ("< 1.16.0", "1.16.0-beta.2", true),
            ("> v1.2", "1.10", true),
        ] {
            assert_eq!(allows(constraints, version), expected, "{constraints} {version}");
        }
    }

    #[test]
    fn what_is_no_constraint_is_refused() {
        for text in ["", "latest", ">=", ">= 1.x", "1.2.3.4", "=> 1", "1,", "1.2-"] {
            assert!(text.parse::<Constraints>().is_err(), "{text}");
        }
    }
}
