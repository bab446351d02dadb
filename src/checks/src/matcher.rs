//! Matchers of goss: what an attribute of a goss file expects, and whether a value is that.
//!
//! Which values are converted before they are compared is as goss 0.4 does it, also where its manual says otherwise.

use regex::Regex;

use crate::datum::Datum;
use crate::yaml::{Data, Node};
use crate::{gjson, patterns, semver};

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Actual {
    /// A value.
    Value(Datum),
    /// A text that is searched line by line.
    Lines(String),
}

/// Why a value is not what was expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// What was found.
    pub actual: Datum,
    /// What it was to be, in words: `to equal`.
    pub message: String,
    /// What was expected.
    pub expected: Datum,
    /// Elements that are not there.
    pub missing: Vec<Datum>,
    /// Elements that are there and were not expected.
    pub extra: Vec<Datum>,
}

/// Whether it matches (`None`), or why not; an error if it cannot be compared.
pub type Matched = Result<Option<Mismatch>, String>;

/// An expectation.
#[derive(Clone, Debug)]
pub struct Matcher {
    raw: Datum,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Equal,
    Text(String),
    Number(f64),
    Compare(Order, Option<f64>),
    Elements(Vec<Matcher>, Split),
    Element(Box<Matcher>),
    ConsistOf(Vec<Matcher>),
    Patterns,
    Prefix(String),
    Suffix(String),
    Substring(String),
    Regexp(String),
    Length(Option<i64>),
    Key(Box<Matcher>),
    Not(Box<Matcher>),
    And(Vec<Matcher>),
    Or(Vec<Matcher>),
    Semver(String),
    Gjson(Vec<(String, Matcher)>),
}

/// Whether a text is made a list of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    Lines,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Gt,
    Ge,
    Lt,
    Le,
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Lt => "lt",
            Self::Le => "le",
        }
    }
}

const NAMES: [&str; 20] = [
    "equal",
    "have-prefix",
    "have-suffix",
    "match-regexp",
    "contain-substring",
    "have-len",
    "have-patterns",
    "have-key",
    "contain-element",
    "contain-elements",
    "consist-of",
    "not",
    "and",
    "or",
    "gt",
    "ge",
    "lt",
    "le",
    "semver-constraint",
    "gjson",
];

impl Matcher {
    /// What a value of a goss file expects.
    ///
    /// # Errors
    /// If it expects nothing that goss knows.
    pub fn of(node: &Node) -> Result<Self, String> {
        let raw = node.datum();
        let kind = match &node.data {
            Data::Scalar(Datum::Null) => return Err("the attribute is required and has no value".to_owned()),
            Data::Scalar(Datum::Text(text)) => Kind::Text(text.clone()),
            Data::Scalar(datum) => datum.number().map_or(Kind::Equal, Kind::Number),
            Data::List(items) => Kind::Elements(all(items)?, Split::Never),
            Data::Map(entries) => match &entries[..] {
                [(key, value)] => Self::named(&key.name, value)?,
                [] => return Err("a mapping without a matcher expects nothing".to_owned()),
                several => {
                    let names: Vec<String> =
                        several.iter().map(|(key, _)| format!("`{}`", key.name)).collect();
                    return Err(format!(
                        "there is one matcher in a mapping, not {}; write them as a list below `and`",
                        names.join(", ")
                    ));
                }
            },
        };
        Ok(Self { raw, kind })
    }

    fn named(name: &str, value: &Node) -> Result<Kind, String> {
        let text = || match value.text() {
            Some(text) => Ok(text.to_owned()),
            None => Err(format!("`{name}` takes a text, not {}", value.described())),
        };
        let number = || value.datum().number();
        Ok(match name {
            "equal" => Kind::Equal,
            "have-prefix" => Kind::Prefix(text()?),
            "have-suffix" => Kind::Suffix(text()?),
            "match-regexp" => Kind::Regexp(text()?),
            "contain-substring" => Kind::Substring(text()?),
            "have-len" => Kind::Length(match value.datum() {
                Datum::Int(length) => Some(length),
                _ => None,
            }),
            "have-patterns" => Kind::Patterns,
            "have-key" => Kind::Key(Box::new(Self::of(value)?)),
            "contain-element" => Kind::Element(Box::new(Self::of(value)?)),
            "contain-elements" => Kind::Elements(several(name, value)?, Split::Lines),
            "consist-of" => Kind::ConsistOf(several(name, value)?),
            "not" => Kind::Not(Box::new(Self::of(value)?)),
            "and" => Kind::And(several(name, value)?),
            "or" => Kind::Or(several(name, value)?),
            "gt" => Kind::Compare(Order::Gt, number()),
            "ge" => Kind::Compare(Order::Ge, number()),
            "lt" => Kind::Compare(Order::Lt, number()),
            "le" => Kind::Compare(Order::Le, number()),
            "semver-constraint" => Kind::Semver(text()?),
            "gjson" => {
                let Data::Map(entries) = &value.data else {
                    return Err(format!("`gjson` takes a mapping of paths, not {}", value.described()));
                };
                let inner = entries.iter().map(|(path, value)| Ok((path.name.clone(), Self::of(value)?)));
                Kind::Gjson(inner.collect::<Result<_, String>>()?)
            }
            other => {
                let near = imgbuild_model::did_you_mean(other, NAMES);
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(format!("there is no matcher `{other}`{near}"));
            }
        })
    }

    /// What is expected, as it was written.
    #[must_use]
    pub fn expected(&self) -> &Datum {
        &self.raw
    }

    /// Compares.
    ///
    /// # Errors
    /// If the value cannot be compared with this at all.
    pub fn check(&self, actual: &Actual) -> Matched {
        match (actual, &self.kind, &self.raw) {
            // A list of patterns is what a text is most often compared with.
            (Actual::Lines(text), Kind::Elements(..), Datum::List(items)) => patterns::check(text, items)
                .map(|missing| mismatch(&Datum::text(text), "to have patterns", &self.raw, missing)),
            (Actual::Lines(text), ..) => self.matches(&Datum::text(text)),
            (Actual::Value(datum), ..) => self.matches(datum),
        }
    }

    /// What the matcher is about: its argument, or the value itself.
    fn argument(&self) -> &Datum {
        match &self.raw {
            Datum::Map(entries) if entries.len() == 1 => entries.values().next().unwrap_or(&self.raw),
            other => other,
        }
    }

    fn matches(&self, actual: &Datum) -> Matched {
        let unless = |matches: bool, actual: &Datum, words: &str| {
            if matches { None } else { mismatch(actual, words, self.argument(), Some(Vec::new())) }
        };
        let as_text = || text_of(actual);
        Ok(match &self.kind {
            Kind::Equal => unless(actual == self.argument(), actual, &self.words()),
            Kind::Text(expected) => {
                let text = as_text();
                unless(text == *expected, &Datum::Text(text.clone()), &self.words())
            }
            Kind::Number(expected) => {
                let number = number_of(actual)?;
                #[expect(clippy::float_cmp, reason = "goss compares numbers for equality")]
                let same = number == *expected;
                unless(same, actual, &self.words())
            }
            Kind::Compare(order, expected) => {
                let number = number_of(actual)?;
                let expected = expected
                    .ok_or_else(|| format!("`{}` takes a number, not {}", order.word(), self.argument()))?;
                let holds = match order {
                    Order::Gt => number > expected,
                    Order::Ge => number >= expected,
                    Order::Lt => number < expected,
                    Order::Le => number <= expected,
                };
                unless(holds, actual, &self.words())
            }
            Kind::Elements(wanted, split) => {
                let elements = elements(actual, *split)?;
                let (missing, _) = pair(wanted, &elements);
                let missing: Vec<Datum> = missing.into_iter().map(|at| wanted[at].raw.clone()).collect();
                if missing.is_empty() {
                    None
                } else {
                    mismatch(&Datum::List(elements), &self.words(), self.argument(), Some(missing))
                }
            }
            Kind::ConsistOf(wanted) => {
                let elements = elements(actual, Split::Never)?;
                let (missing, extra) = pair(wanted, &elements);
                if missing.is_empty() && extra.is_empty() {
                    None
                } else {
                    let missing = missing.into_iter().map(|at| wanted[at].raw.clone()).collect();
                    let extra = extra.into_iter().map(|at| elements[at].clone()).collect();
                    let found =
                        mismatch(&Datum::List(elements), &self.words(), self.argument(), Some(missing));
                    found.map(|found| Mismatch { extra, ..found })
                }
            }
            Kind::Element(wanted) => {
                let elements = elements(actual, Split::Lines)?;
                let mut problem = None;
                for element in &elements {
                    match wanted.matches(element) {
                        Ok(None) => return Ok(None),
                        Ok(Some(_)) => {}
                        Err(error) => problem = Some(error),
                    }
                }
                match problem {
                    Some(error) => return Err(error),
                    None => unless(false, &Datum::List(elements), &self.words()),
                }
            }
            Kind::Patterns => {
                let text = as_text();
                let Datum::List(items) = self.argument() else {
                    return Err("`have-patterns` takes a list".to_owned());
                };
                mismatch(
                    &Datum::Text(text.clone()),
                    &self.words(),
                    self.argument(),
                    patterns::check(&text, items)?,
                )
            }
            Kind::Prefix(prefix) => unless(as_text().starts_with(prefix), actual, &self.words()),
            Kind::Suffix(suffix) => unless(as_text().ends_with(suffix), actual, &self.words()),
            Kind::Substring(part) => unless(as_text().contains(part), actual, &self.words()),
            Kind::Regexp(pattern) => {
                let regex = compiled(pattern)?;
                unless(regex.is_match(&as_text()), actual, &self.words())
            }
            Kind::Length(expected) => {
                let length = match actual {
                    Datum::Text(text) => text.len(),
                    Datum::List(items) => items.len(),
                    Datum::Map(entries) => entries.len(),
                    other => return Err(format!("{other} has no length")),
                };
                let expected = expected
                    .ok_or_else(|| format!("`have-len` takes a whole number, not {}", self.argument()))?;
                unless(i64::try_from(length) == Ok(expected), actual, &self.words())
            }
            Kind::Key(wanted) => {
                let Datum::Map(entries) = actual else { return Err(format!("{actual} has no keys")) };
                let found = entries.keys().any(|key| wanted.matches(&Datum::text(key)) == Ok(None));
                unless(found, actual, &self.words())
            }
            Kind::Not(inner) => match inner.matches(actual)? {
                Some(_) => None,
                None => {
                    mismatch(actual, &format!("not {}", inner.words()), inner.argument(), Some(Vec::new()))
                }
            },
            Kind::And(inner) => {
                for matcher in inner {
                    if let Some(found) = matcher.matches(actual)? {
                        return Ok(Some(found));
                    }
                }
                None
            }
            Kind::Or(inner) => {
                for matcher in inner {
                    if matcher.matches(actual)?.is_none() {
                        return Ok(None);
                    }
                }
                unless(false, actual, &self.words())
            }
            Kind::Semver(constraint) => {
                let range = semver::Range::parse(constraint)?;
                let versions = match actual {
                    Datum::List(items) => items.iter().map(Datum::plain).collect(),
                    other => vec![other.plain()],
                };
                let mut all = true;
                for version in versions {
                    all &= range.contains(&semver::Version::parse(&version)?);
                }
                unless(all, actual, &self.words())
            }
            Kind::Gjson(inner) => {
                let Datum::Text(text) = actual else { return Err(format!("{actual} is no text of JSON")) };
                let value =
                    serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?;
                let value = Datum::from_json(&value);
                for (path, matcher) in inner {
                    let part = gjson::get(&value, path)?;
                    if let Some(found) = matcher.matches(&part)? {
                        return Ok(Some(Mismatch {
                            message: format!("at `{path}` {}", found.message),
                            ..found
                        }));
                    }
                }
                None
            }
        })
    }

    /// What it is to be, in words.
    fn words(&self) -> String {
        match &self.kind {
            Kind::Equal | Kind::Text(_) => "to equal",
            Kind::Number(_) => "to be numerically eq",
            Kind::Compare(order, _) => return format!("to be numerically {}", order.word()),
            Kind::Elements(..) => "to contain elements matching",
            Kind::Element(_) => "to contain element matching",
            Kind::ConsistOf(_) => "to consist of",
            Kind::Patterns => "to have patterns",
            Kind::Prefix(_) => "to have prefix",
            Kind::Suffix(_) => "to have suffix",
            Kind::Substring(_) => "to contain substring",
            Kind::Regexp(_) => "to match regular expression",
            Kind::Length(_) => "to have length",
            Kind::Key(_) => "to have key matching",
            Kind::Not(inner) => return format!("not {}", inner.words()),
            Kind::And(_) => "to satisfy all of these matchers",
            Kind::Or(_) => "to satisfy at least one of these matchers",
            Kind::Semver(_) => "to satisfy semver constraint",
            Kind::Gjson(_) => "to satisfy the matchers of these paths",
        }
        .to_owned()
    }
}

/// A regular expression.
pub(crate) fn compiled(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("`{pattern}` is no regular expression: {error}"))
}

/// A mismatch, if there is one: `None` says that nothing is missing.
fn mismatch(actual: &Datum, words: &str, expected: &Datum, missing: Option<Vec<Datum>>) -> Option<Mismatch> {
    missing.map(|missing| Mismatch {
        actual: actual.clone(),
        message: words.to_owned(),
        expected: expected.clone(),
        missing,
        extra: Vec::new(),
    })
}

fn all(items: &[Node]) -> Result<Vec<Matcher>, String> {
    items.iter().map(Matcher::of).collect()
}

fn several(name: &str, value: &Node) -> Result<Vec<Matcher>, String> {
    match &value.data {
        Data::List(items) => all(items),
        _ => Err(format!("`{name}` takes a list, not {}", value.described())),
    }
}

fn text_of(actual: &Datum) -> String {
    match actual {
        Datum::List(items) => items.iter().map(Datum::plain).collect::<Vec<_>>().join("\n"),
        other => other.plain(),
    }
}

fn number_of(actual: &Datum) -> Result<f64, String> {
    match actual {
        Datum::Text(_) | Datum::List(_) => {
            let text = text_of(actual);
            text.trim().parse().map_err(|_| format!("`{text}` is no number"))
        }
        other => other.number().ok_or_else(|| format!("{other} is no number")),
    }
}

fn elements(actual: &Datum, split: Split) -> Result<Vec<Datum>, String> {
    match actual {
        Datum::List(items) => Ok(items.clone()),
        Datum::Map(entries) => Ok(entries.values().cloned().collect()),
        Datum::Text(text) if split == Split::Lines => Ok(text.split('\n').map(Datum::text).collect()),
        other => Err(format!("{other} is no list")),
    }
}

/// Gives each matcher an element of its own, as many as can be; the matchers and elements that are left over.
fn pair(wanted: &[Matcher], elements: &[Datum]) -> (Vec<usize>, Vec<usize>) {
    fn assign(matcher: usize, fits: &[Vec<usize>], taken: &mut [Option<usize>], tried: &mut [bool]) -> bool {
        for &element in &fits[matcher] {
            if std::mem::replace(&mut tried[element], true) {
                continue;
            }
            let free = taken[element].is_none_or(|other| assign(other, fits, taken, tried));
            if free {
                taken[element] = Some(matcher);
                return true;
            }
        }
        false
    }
    let fits: Vec<Vec<usize>> = wanted
        .iter()
        .map(|matcher| {
            let fitting = elements.iter().enumerate();
            fitting.filter(|(_, element)| matcher.matches(element) == Ok(None)).map(|(at, _)| at).collect()
        })
        .collect();
    let mut taken = vec![None; elements.len()];
    let missing = (0..wanted.len())
        .filter(|matcher| !assign(*matcher, &fits, &mut taken, &mut vec![false; elements.len()]))
        .collect();
    let extra = taken.iter().enumerate().filter(|(_, by)| by.is_none()).map(|(at, _)| at).collect();
    (missing, extra)
}
