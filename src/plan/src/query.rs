//! `imgbuild query`: a language of sets over the target graph, after Bazel's.
//!
//! ```text
//! expression = pattern | (expression) | expression operator expression | function(arguments)
//! operator   = + | union | - | except | ^ | intersect
//! function   = deps(set [, depth]) | rdeps(universe, set [, depth]) | somepath(from, to) | allpaths(from, to)
//!            | kind(regex-free glob, set) | attr(name, text, set) | labels(set)
//! ```
//! `-` between two sets needs spaces around it, since names of targets may hold it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use imgbuild_model::{Label, PackagePath, Pattern};

/// The graph that is asked.
#[derive(Clone, Debug, Default)]
pub struct QueryGraph {
    /// Each target and file: what it depends on.
    pub dependencies: BTreeMap<Label, BTreeSet<Label>>,
    /// Each target: its rule's name; files are `source file`.
    pub kinds: BTreeMap<Label, String>,
    /// Each target: its attributes as text.
    pub attributes: BTreeMap<Label, BTreeMap<String, String>>,
}

/// What is wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct QueryError {
    /// Where, from 1.
    pub column: usize,
    /// What.
    pub message: String,
}

/// A query that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The targets of a pattern.
    Pattern(Pattern),
    /// Both.
    Union(Box<Query>, Box<Query>),
    /// The first without the second.
    Except(Box<Query>, Box<Query>),
    /// What is in both.
    Intersect(Box<Query>, Box<Query>),
    /// All that it depends on, itself included, down to a depth.
    Deps(Box<Query>, Option<usize>),
    /// All of the first that depends on the second, itself included, up to a depth.
    Rdeps(Box<Query>, Box<Query>, Option<usize>),
    /// The targets of one path.
    SomePath(Box<Query>, Box<Query>),
    /// The targets of all paths.
    AllPaths(Box<Query>, Box<Query>),
    /// Those whose rule's name matches a glob.
    Kind(String, Box<Query>),
    /// Those whose attribute's text contains a text.
    Attr(String, String, Box<Query>),
}

const FUNCTIONS: [&str; 6] = ["deps", "rdeps", "somepath", "allpaths", "kind", "attr"];

/// Reads a query, as typed in the folder of `package`.
///
/// # Errors
/// If it does not follow the grammar; the column is where reading stopped.
pub fn parse(text: &str, package: &PackagePath) -> Result<Query, QueryError> {
    let mut parser = Parser { text, at: 0, package };
    let query = parser.expression()?;
    match parser.peek() {
        None => Ok(query),
        Some(word) => Err(parser.fail(format!("`{word}` is not expected here"))),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    package: &'a PackagePath,
}

impl<'a> Parser<'a> {
    fn fail(&self, message: impl Into<String>) -> QueryError {
        let rest = &self.text[self.at..];
        let at = self.at + (rest.len() - rest.trim_start().len());
        QueryError { column: self.text[..at].chars().count() + 1, message: message.into() }
    }

    /// The next word and the place after it.
    fn word(&self) -> Option<(&'a str, usize)> {
        let rest = self.text[self.at..].trim_start();
        let start = self.text.len() - rest.len();
        let first = rest.chars().next()?;
        if matches!(first, '(' | ')' | ',' | '+' | '^') {
            return Some((&rest[..1], start + 1));
        }
        if matches!(first, '"' | '\'') {
            let end = rest[1..].find(first).map_or(rest.len(), |end| end + 2);
            return Some((&rest[..end], start + end));
        }
        let end =
            rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',')).unwrap_or(rest.len());
        Some((&rest[..end], start + end))
    }

    fn peek(&self) -> Option<&'a str> {
        self.word().map(|(word, _)| word)
    }

    fn next(&mut self) -> Option<&'a str> {
        let (word, after) = self.word()?;
        self.at = after;
        Some(word)
    }

    fn expect(&mut self, wanted: &str) -> Result<(), QueryError> {
        if self.peek() == Some(wanted) {
            self.next();
            return Ok(());
        }
        Err(self.fail(match self.peek() {
            Some(word) => format!("expected `{wanted}`, found `{word}`"),
            None => format!("expected `{wanted}`, found the end"),
        }))
    }

    fn expression(&mut self) -> Result<Query, QueryError> {
        let mut left = self.operand()?;
        loop {
            let make: fn(Box<Query>, Box<Query>) -> Query = match self.peek() {
                Some("+" | "union") => Query::Union,
                Some("-" | "except") => Query::Except,
                Some("^" | "intersect") => Query::Intersect,
                _ => return Ok(left),
            };
            self.next();
            left = make(Box::new(left), Box::new(self.operand()?));
        }
    }

    fn operand(&mut self) -> Result<Query, QueryError> {
        let Some(word) = self.peek() else {
            return Err(self.fail("expected a target pattern or a function"));
        };
        if word == "(" {
            self.next();
            let inner = self.expression()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let before = self.at;
        self.next();
        if self.peek() == Some("(") {
            self.next();
            let query = self.function(word, before)?;
            self.expect(")")?;
            return Ok(query);
        }
        let pattern = unquote(word);
        Pattern::parse(pattern, self.package).map(Query::Pattern).map_err(|error| {
            self.at = before;
            self.fail(error.to_string())
        })
    }

    fn function(&mut self, name: &str, before: usize) -> Result<Query, QueryError> {
        match name {
            "deps" => {
                let set = self.expression()?;
                Ok(Query::Deps(Box::new(set), self.depth()?))
            }
            "rdeps" => {
                let universe = self.expression()?;
                self.expect(",")?;
                let set = self.expression()?;
                Ok(Query::Rdeps(Box::new(universe), Box::new(set), self.depth()?))
            }
            "somepath" | "allpaths" => {
                let from = self.expression()?;
                self.expect(",")?;
                let to = self.expression()?;
                let make = if name == "somepath" { Query::SomePath } else { Query::AllPaths };
                Ok(make(Box::new(from), Box::new(to)))
            }
            "kind" => {
                let kind = self.text_argument()?;
                self.expect(",")?;
                Ok(Query::Kind(kind, Box::new(self.expression()?)))
            }
            "attr" => {
                let attribute = self.text_argument()?;
                self.expect(",")?;
                let text = self.text_argument()?;
                self.expect(",")?;
                Ok(Query::Attr(attribute, text, Box::new(self.expression()?)))
            }
            other => {
                self.at = before;
                let hint = imgbuild_model::did_you_mean(other, FUNCTIONS).map_or_else(
                    || format!("known are {}", FUNCTIONS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                Err(self.fail(format!("there is no function `{other}`; {hint}")))
            }
        }
    }

    fn text_argument(&mut self) -> Result<String, QueryError> {
        match self.peek() {
            Some(word) if !matches!(word, "(" | ")" | ",") => {
                self.next();
                Ok(unquote(word).to_owned())
            }
            _ => Err(self.fail("expected a text")),
        }
    }

    fn depth(&mut self) -> Result<Option<usize>, QueryError> {
        if self.peek() != Some(",") {
            return Ok(None);
        }
        self.next();
        let before = self.at;
        let word = self.next().unwrap_or_default();
        word.parse().map(Some).map_err(|_| {
            self.at = before;
            self.fail("expected a depth: a whole number")
        })
    }
}

fn unquote(word: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = word.strip_prefix(quote) {
            return inner.strip_suffix(quote).unwrap_or(inner);
        }
    }
    word
}

impl Query {
    /// The patterns that the query names: what must be loaded before it can be asked.
    #[must_use]
    pub fn patterns(&self) -> Vec<Pattern> {
        match self {
            Self::Pattern(pattern) => vec![pattern.clone()],
            Self::Union(one, other)
            | Self::Except(one, other)
            | Self::Intersect(one, other)
            | Self::Rdeps(one, other, _)
            | Self::SomePath(one, other)
            | Self::AllPaths(one, other) => [one.patterns(), other.patterns()].concat(),
            Self::Deps(set, _) | Self::Kind(_, set) | Self::Attr(_, _, set) => set.patterns(),
        }
    }
}

impl QueryGraph {
    /// The labels that a query selects.
    #[must_use]
    pub fn run(&self, query: &Query) -> BTreeSet<Label> {
        match query {
            Query::Pattern(pattern) => self.of_pattern(pattern),
            Query::Union(one, other) => self.run(one).union(&self.run(other)).cloned().collect(),
            Query::Except(one, other) => self.run(one).difference(&self.run(other)).cloned().collect(),
            Query::Intersect(one, other) => self.run(one).intersection(&self.run(other)).cloned().collect(),
            Query::Deps(set, depth) => {
                reach(&self.run(set), *depth, |label| self.dependencies.get(label).into_iter().flatten())
            }
            Query::Rdeps(universe, set, depth) => {
                let universe = reach(&self.run(universe), None, |label| {
                    self.dependencies.get(label).into_iter().flatten()
                });
                let users = self.users(&universe);
                let start = self.run(set).intersection(&universe).cloned().collect();
                reach(&start, *depth, |label| users.get(label).into_iter().flatten().copied())
            }
            Query::SomePath(from, to) => self.path(&self.run(from), &self.run(to)),
            Query::AllPaths(from, to) => {
                let below =
                    reach(&self.run(from), None, |label| self.dependencies.get(label).into_iter().flatten());
                let users = self.users(&below);
                let start = self.run(to).intersection(&below).cloned().collect();
                reach(&start, None, |label| users.get(label).into_iter().flatten().copied())
            }
            Query::Kind(glob, set) => {
                let mut set = self.run(set);
                set.retain(|label| self.kinds.get(label).is_some_and(|kind| matches_glob(glob, kind)));
                set
            }
            Query::Attr(name, text, set) => {
                let mut set = self.run(set);
                set.retain(|label| {
                    self.attributes
                        .get(label)
                        .and_then(|attributes| attributes.get(name))
                        .is_some_and(|value| value.contains(text.as_str()))
                });
                set
            }
        }
    }

    /// The selected part of the graph in Graphviz's language.
    #[must_use]
    pub fn dot(&self, selected: &BTreeSet<Label>) -> String {
        let mut text = String::from("digraph imgbuild {\n  node [shape=box];\n");
        for label in selected {
            text.push_str(&format!("  \"{label}\";\n"));
            for needed in
                self.dependencies.get(label).into_iter().flatten().filter(|needed| selected.contains(needed))
            {
                text.push_str(&format!("  \"{label}\" -> \"{needed}\";\n"));
            }
        }
        text.push_str("}\n");
        text
    }

    fn of_pattern(&self, pattern: &Pattern) -> BTreeSet<Label> {
        self.kinds
            .iter()
            .filter(|(label, kind)| {
                pattern.matches(label) && (matches!(pattern, Pattern::Single(_)) || *kind != "source file")
            })
            .map(|(label, _)| label.clone())
            .collect()
    }

    fn users<'a>(&'a self, within: &'a BTreeSet<Label>) -> BTreeMap<&'a Label, Vec<&'a Label>> {
        let mut users: BTreeMap<&Label, Vec<&Label>> = BTreeMap::new();
        for label in within {
            for needed in self.dependencies.get(label).into_iter().flatten() {
                users.entry(needed).or_default().push(label);
            }
        }
        users
    }

    fn path(&self, from: &BTreeSet<Label>, to: &BTreeSet<Label>) -> BTreeSet<Label> {
        let mut came_from: BTreeMap<&Label, Option<&Label>> =
            from.iter().map(|label| (label, None)).collect();
        let mut queue: VecDeque<&Label> = from.iter().collect();
        while let Some(label) = queue.pop_front() {
            if to.contains(label) {
                let mut path = BTreeSet::new();
                let mut step = Some(label);
                while let Some(label) = step {
                    path.insert(label.clone());
                    step = came_from.get(label).copied().flatten();
                }
                return path;
            }
            for needed in self.dependencies.get(label).into_iter().flatten() {
                if !came_from.contains_key(needed) {
                    came_from.insert(needed, Some(label));
                    queue.push_back(needed);
                }
            }
        }
        BTreeSet::new()
    }
}

fn reach<'a, I: Iterator<Item = L>, L: std::borrow::Borrow<Label> + 'a>(
    start: &BTreeSet<Label>,
    depth: Option<usize>,
    next: impl Fn(&Label) -> I,
) -> BTreeSet<Label> {
    let mut found = start.clone();
    let mut edge: Vec<Label> = start.iter().cloned().collect();
    let mut left = depth.unwrap_or(usize::MAX);
    while !edge.is_empty() && left > 0 {
        left -= 1;
        let mut further = Vec::new();
        for label in &edge {
            for needed in next(label) {
                if found.insert(needed.borrow().clone()) {
                    further.push(needed.borrow().clone());
                }
            }
        }
        edge = further;
    }
    found
}

/// Whether a glob with `*` and `?` matches a whole text.
fn matches_glob(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut at, mut here, mut star) = (0, 0, None);
    while here < text.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[here] => {
                at += 1;
                here += 1;
            }
            _ => match star {
                Some((star_at, star_here)) => {
                    at = star_at + 1;
                    here = star_here + 1;
                    star = Some((star_at, star_here + 1));
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> QueryGraph {
        let label = |text: &str| text.parse::<Label>().unwrap();
        let edges =
            [("//:app", "//:lib"), ("//:app", "//:data"), ("//:lib", "//:base"), ("//:tool", "//:base")];
        let mut graph = QueryGraph::default();
        for (from, to) in edges {
            graph.dependencies.entry(label(from)).or_default().insert(label(to));
            for name in [from, to] {
                graph.kinds.insert(label(name), "image".to_owned());
            }
        }
        graph.kinds.insert(label("//:data"), "filegroup".to_owned());
        graph
            .attributes
            .entry(label("//:lib"))
            .or_default()
            .insert("tags".to_owned(), "[\"slow\"]".to_owned());
        graph
    }

    fn ask(text: &str) -> String {
        let query = parse(text, &PackagePath::root()).unwrap();
        graph().run(&query).iter().map(|label| label.name.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_function_and_operator_answers() {
        for (text, answer) in [
            ("//:app", "app"),
            ("deps(//:app)", "app base data lib"),
            ("deps(//:app, 1)", "app data lib"),
            ("rdeps(//..., //:base)", "app base lib tool"),
            ("rdeps(//:app, //:base)", "app base lib"),
            ("somepath(//:app, //:base)", "app base lib"),
            ("somepath(//:base, //:app)", ""),
            ("allpaths(//:app, //:base)", "app base lib"),
            ("kind(file*, deps(//:app))", "data"),
            ("attr(tags, slow, //...)", "lib"),
            ("deps(//:app) - deps(//:lib)", "app data"),
            ("deps(//:app) intersect deps(//:tool)", "base"),
            ("(//:app + //:tool) except //:app", "tool"),
        ] {
            assert_eq!(ask(text), answer, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_column() {
        for (text, message) in [
            ("dep(//:a)", "column 1: there is no function `dep`; did you mean `deps`?"),
            ("deps(//:a", "column 10: expected `)`, found the end"),
            ("deps(//:a, x)", "column 12: expected a depth: a whole number"),
            ("//:a //:b", "column 6: `//:b` is not expected here"),
        ] {
            assert_eq!(parse(text, &PackagePath::root()).unwrap_err().to_string(), message);
        }
    }
}
