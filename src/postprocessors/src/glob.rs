//! Patterns of file names as Go's `path/filepath` has them: `*`, `?`, `[a-z]`, `[^a-z]` and `\` before a character that
//! stands for itself. Nothing matches a `/`; a name that starts with a dot is a name like another; `**` is `*`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use imgbuild_model::Diagnostic;

/// A pattern for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Any,
    AnyCharacter,
    Character(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// The text breaks a rule of patterns.
struct BadPattern;

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// If a `[` is not closed, a range is none, or a `\` ends the text.
    pub fn new(text: &str) -> Result<Self, Diagnostic> {
        Self::parse(text).map_err(|BadPattern| {
            Diagnostic::error(format!("`{text}` is not a pattern of file names"))
                .hint("write a `\\` before a `[` or `\\` that stands for itself")
        })
    }

    fn parse(text: &str) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(character) = rest.next() {
            tokens.push(match character {
                '*' if tokens.last() == Some(&Token::Any) => continue,
                '*' => Token::Any,
                '?' => Token::AnyCharacter,
                '[' => class(&mut rest)?,
                '\\' => Token::Character(rest.next().ok_or(BadPattern)?),
                character => Token::Character(character),
            });
        }
        Ok(Self(tokens))
    }

    /// Whether all of `name` matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut token, mut at) = (0, 0);
        // The last `*` seen, and where what it took ends.
        let mut star: Option<(usize, usize)> = None;
        while at < name.len() {
            match self.0.get(token) {
                Some(Token::Any) => {
                    star = Some((token, at));
                    token += 1;
                }
                Some(one) if one.takes(name[at]) => {
                    token += 1;
                    at += 1;
                }
                _ => {
                    let Some((last, end)) = &mut star else { return false };
                    if name[*end] == '/' {
                        return false;
                    }
                    *end += 1;
                    (token, at) = (*last + 1, *end);
                }
            }
        }
        self.0[token..].iter().all(|token| *token == Token::Any)
    }
}

impl Token {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Any => false,
            Self::AnyCharacter => character != '/',
            Self::Character(own) => *own == character,
            Self::Class { negated, ranges } => {
                character != '/'
                    && ranges.iter().any(|(first, last)| (*first..=*last).contains(&character)) != *negated
            }
        }
    }
}

fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, BadPattern> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if rest.peek() == Some(&']') && !ranges.is_empty() {
            rest.next();
            return Ok(Token::Class { negated, ranges });
        }
        let first = class_character(rest)?;
        let last = if rest.next_if_eq(&'-').is_some() { class_character(rest)? } else { first };
        ranges.push((first, last));
    }
}

fn class_character(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, BadPattern> {
    match rest.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => rest.next().ok_or(BadPattern),
        Some(character) => Ok(character),
    }
}

fn has_magic(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// The paths that match `pattern`, in order of their names, each written as the pattern is (relative ones to `folder`
/// stay relative). A folder that cannot be read has no matches.
///
/// # Errors
///
/// If a part of the pattern breaks a rule.
pub fn glob(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, Diagnostic> {
    if !has_magic(pattern) {
        let path = PathBuf::from(pattern);
        let is_there = folder.join(&path).symlink_metadata().is_ok();
        return Ok(if is_there { vec![path] } else { Vec::new() });
    }
    let mut found = vec![PathBuf::from(if pattern.starts_with('/') { "/" } else { "" })];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let matcher = has_magic(part).then(|| Pattern::new(part)).transpose()?;
        let mut next = Vec::new();
        for above in &found {
            match &matcher {
                None => next.push(above.join(part)),
                Some(matcher) => {
                    let mut names = names_in(&folder.join(above)).unwrap_or_default();
                    names.retain(|name| name.to_str().is_some_and(|name| matcher.matches(name)));
                    names.sort_unstable();
                    next.extend(names.into_iter().map(|name| above.join(name)));
                }
            }
        }
        found = next;
    }
    found.retain(|path| folder.join(path).symlink_metadata().is_ok());
    Ok(found)
}

fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    fs_err::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, matches) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*b*c*d*e*", "axbxcxdxexxx", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("a?b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[x\\-]", "x", true),
            ("[\\-x]", "a", false),
            ("*x", "xxx", true),
            ("**", ".hidden", true),
            ("{a,b}", "a", false),
            ("[!a]", "!", true),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn broken_patterns_are_refused() {
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "[a-b-c]", "\\"] {
            let error = Pattern::new(pattern).unwrap_err();
            assert_eq!(error.message, format!("`{pattern}` is not a pattern of file names"));
            assert!(error.hint.is_some());
        }
    }

    #[test]
    fn folders_are_walked_and_names_are_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/2.img", "b/1.img", "a/1.img", "a/.img", "c.txt"] {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "").unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            let found = glob(folder.path(), pattern).unwrap();
            found.iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(found("*/*.img"), ["a/.img", "a/1.img", "b/1.img", "b/2.img"]);
        assert_eq!(found("?/1.img"), ["a/1.img", "b/1.img"]);
        assert_eq!(found("c.txt"), ["c.txt"]);
        assert_eq!(found("c.txt/*"), [""; 0]);
        assert_eq!(found("d*"), [""; 0]);
        let absolute = format!("{}/*.txt", folder.path().display());
        assert_eq!(found(&absolute), [folder.path().join("c.txt").display().to_string()]);
    }
}
