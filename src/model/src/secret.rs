//! Secrets as a type, and what a build file says in place of one.

use std::fmt;
use std::str::FromStr;

/// A value that is never shown: no `Display`, no serde, and `Debug` writes `Secret(***)`.
///
/// What needs the bytes asks for them by [`Secret::expose`], which is easy to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Wraps bytes or a text.
    #[must_use]
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(value.into().into())
    }

    /// The bytes themselves. For handing them to the step that asked for them, and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Where a secret is found: `provider:path`, or `provider:path#field` for one text of a JSON object.
///
/// This is all of a secret that enters a key: one that was changed where it is kept runs nothing again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretReference {
    /// `env`, `file`, or one of the user's configuration.
    pub provider: String,
    /// What the provider knows it by.
    pub path: String,
    /// Which field of the JSON object that the provider gives.
    pub field: Option<String>,
}

/// Why a text is no [`SecretReference`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretReferenceError {
    /// There is no provider before a colon, or nothing behind it.
    #[error("`{0}` does not say where the secret is")]
    Shape(String),
    /// A relative path of a file.
    #[error("`{0}` is neither absolute nor in the home folder")]
    RelativeFile(String),
    /// No name of a variable.
    #[error("`{0}` is not the name of an environment variable")]
    Variable(String),
}

impl SecretReferenceError {
    /// What may be written instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Shape(_) => {
                "write `provider:path`, for example `env:NPM_TOKEN` or `file:~/.netrc`; a value itself never stands in a build file"
            }
            Self::RelativeFile(_) => {
                "write `file:/absolute/path` or `file:~/path`; secrets do not lie in the workspace"
            }
            Self::Variable(_) => "write `env:NAME`",
        }
    }
}

impl FromStr for SecretReference {
    type Err = SecretReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || SecretReferenceError::Shape(text.to_owned());
        let (provider, rest) = text.split_once(':').ok_or_else(shape)?;
        let (path, field) = match rest.rsplit_once('#') {
            Some((path, field)) => (path, Some(field.to_owned())),
            None => (rest, None),
        };
        if !is_secret_name(provider)
            || path.is_empty()
            || field.as_ref().is_some_and(String::is_empty)
            || text.contains(char::is_control)
        {
            return Err(shape());
        }
        match provider {
            "file" if !path.starts_with('/') && !path.starts_with("~/") => {
                return Err(SecretReferenceError::RelativeFile(path.to_owned()));
            }
            "env" if path.contains('=') => return Err(SecretReferenceError::Variable(path.to_owned())),
            _ => {}
        }
        Ok(Self { provider: provider.to_owned(), path: path.to_owned(), field })
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.path)?;
        match &self.field {
            Some(field) => write!(f, "#{field}"),
            None => Ok(()),
        }
    }
}

/// Whether a text can be the name of a secret, and so of the file that holds it, or of a provider: letters, digits,
/// `.`, `_` and `-`, the first a letter or digit.
#[must_use]
pub fn is_secret_name(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        for (text, provider, path, field) in [
            ("env:NPM_TOKEN", "env", "NPM_TOKEN", None),
            ("file:~/.netrc", "file", "~/.netrc", None),
            ("file:/etc/key#1#token", "file", "/etc/key#1", Some("token")),
            ("pass:team/npm", "pass", "team/npm", None),
            ("vault:secret/data/npm#token", "vault", "secret/data/npm", Some("token")),
        ] {
            let read: SecretReference = text.parse().unwrap();
            assert_eq!((&*read.provider, &*read.path, read.field.as_deref()), (provider, path, field));
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in ["", "NPM_TOKEN", "env:", ":x", "e v:x", "pass:a#", "env:A\nB", "../x:y"] {
            assert_eq!(text.parse::<SecretReference>(), Err(SecretReferenceError::Shape(text.to_owned())));
        }
        assert!(matches!("file:key".parse::<SecretReference>(), Err(SecretReferenceError::RelativeFile(_))));
        assert!(matches!("env:A=B".parse::<SecretReference>(), Err(SecretReferenceError::Variable(_))));
    }

    #[test]
    fn names_are_names_of_files() {
        for name in ["npm", "npm_token", "a.b-c", "1"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "-a", "a b", "a\0b", "ä"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(***)");
    }
}
