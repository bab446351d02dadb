//! Dependency fields: `Depends`, `Conflicts`, `Provides` and their kin, parsed without copying.
//!
//! Not here: what satisfies a relation, which is a question of the whole universe (`solve`).

use std::cmp::Ordering;
use std::fmt;

use crate::version;

/// The comparison in a versioned relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=` (and the obsolete `<`)
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=` (and the obsolete `>`)
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<<" => Self::Earlier,
            "<=" | "<" => Self::EarlierOrEqual,
            "=" => Self::Equal,
            ">=" | ">" => Self::LaterOrEqual,
            ">>" => Self::Later,
            _ => return None,
        })
    }

    /// Whether `version` stands in this relation to `bound`.
    #[must_use]
    pub fn holds(self, version: &str, bound: &str) -> bool {
        let order = version::compare(version, bound);
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::EarlierOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::LaterOrEqual => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

/// One alternative of a dependency, `name[:arch] [(op version)]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The package's or virtual package's name.
    pub name: &'a str,
    /// What stands after the colon: an architecture, `any`, `native`.
    pub arch: Option<&'a str>,
    /// The version it is restricted to.
    pub constraint: Option<(Operator, &'a str)>,
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(arch) = self.arch {
            write!(f, ":{arch}")?;
        }
        if let Some((operator, version)) = self.constraint {
            write!(f, " ({operator} {version})")?;
        }
        Ok(())
    }
}

/// The groups of a field: what commas separate. Each group is read with [`alternatives`]; malformed parts are skipped,
/// as apt does.
pub fn groups(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').map(str::trim).filter(|group| !group.is_empty())
}

/// The alternatives of one group: what `|` separates.
pub fn alternatives(group: &str) -> impl Iterator<Item = Relation<'_>> {
    group.split('|').filter_map(parse_relation)
}

fn parse_relation(text: &str) -> Option<Relation<'_>> {
    let text = text.trim();
    let end =
        text.find(|c: char| c == '(' || c == '[' || c == '<' || c.is_whitespace()).unwrap_or(text.len());
    let (target, rest) = text.split_at(end);
    let (name, arch) = match target.split_once(':') {
        Some((name, arch)) => (name, Some(arch)),
        None => (target, None),
    };
    if name.is_empty() {
        return None;
    }
    let constraint = match rest.split_once('(') {
        None => None,
        Some((_, inner)) => {
            let inner = inner.split(')').next()?.trim();
            let length = inner.bytes().take_while(|b| matches!(b, b'<' | b'>' | b'=')).count();
            let (operator, version) = inner.split_at(length);
            Some((Operator::parse(operator)?, version.trim()))
        }
    };
    Some(Relation { name, arch, constraint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_form() {
        let field = "libc6 (>= 2.34), python3:any (>= 3.11~), a | b(= 1:2-3) | c:amd64, , broken (";
        let parsed: Vec<Vec<String>> =
            groups(field).map(|g| alternatives(g).map(|r| r.to_string()).collect()).collect();
        assert_eq!(
            parsed,
            [
                vec!["libc6 (>= 2.34)"],
                vec!["python3:any (>= 3.11~)"],
                vec!["a", "b (= 1:2-3)", "c:amd64"],
                vec![]
            ]
        );
    }

    #[test]
    fn operators_compare() {
        assert!(Operator::Earlier.holds("1.0~rc1", "1.0"));
        assert!(Operator::LaterOrEqual.holds("1:0", "9"));
        assert!(!Operator::Later.holds("2", "2"));
        assert!(Operator::Equal.holds("0:2", "2"));
    }
}
