//! The identifiers of the journal, each its own type. Not for: what they name.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// An identifier that is not well formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {rule}")]
pub struct IdError {
    /// What was given.
    pub text: String,
    /// What it should have been.
    pub what: &'static str,
    /// What is required.
    pub rule: &'static str,
}

/// A run: 128 random bits as 32 lower-case hexadecimal digits, unique over all journals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

impl RunId {
    /// The id as text, safe as a file name and as the value of a tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError { text: text.to_owned(), what: "a run id", rule: "32 lower-case hexadecimal digits" })
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An effect within one journal. Later effects have higher ids; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub(super) i64);

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kind of an effect, such as `process` or `amazon-ebs/instance`: names the [`Undo`](super::Undo) that
/// knows how to undo it, in this version and in later ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectKind(Cow<'static, str>);

impl EffectKind {
    const RULE: &'static str = "lower-case letters, digits, `-` and `/`, beginning with a letter";

    /// A kind known at compile time.
    ///
    /// # Panics
    ///
    /// If it is not well formed; in a `const` that is an error of the compiler.
    pub const fn from_static(text: &'static str) -> Self {
        assert!(Self::is_well_formed(text.as_bytes()), "not the name of an effect's kind");
        Self(Cow::Borrowed(text))
    }

    /// The kind as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    const fn is_well_formed(text: &[u8]) -> bool {
        if text.is_empty() || !text[0].is_ascii_lowercase() {
            return false;
        }
        let mut at = 0;
        while at < text.len() {
            if !matches!(text[at], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'/') {
                return false;
            }
            at += 1;
        }
        true
    }
}

impl FromStr for EffectKind {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if Self::is_well_formed(text.as_bytes()) {
            Ok(Self(Cow::Owned(text.to_owned())))
        } else {
            Err(IdError { text: text.to_owned(), what: "the name of an effect's kind", rule: Self::RULE })
        }
    }
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Free text that must not be empty.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.is_empty() {
                    return Err(IdError { text: String::new(), what: $what, rule: "it must not be empty" });
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// What an effect is called where it was made: an instance's id, a process's identity.
    ResourceId, "the id of a resource"
}

text_id! {
    /// The workspace that a run builds, as the user knows it: usually the path of its root.
    WorkspaceId, "the name of a workspace"
}

text_id! {
    /// A machine, as far as pids and paths mean the same on it.
    HostId, "the name of a machine"
}

impl HostId {
    /// This machine: its machine id, which outlives a change of name, or else its name.
    pub fn current() -> Self {
        let machine_id = fs_err::read_to_string("/etc/machine-id").unwrap_or_default();
        match machine_id.trim() {
            // Images are shipped with one of these two in place of an id.
            "" | "uninitialized" => {
                let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
                Self(if name.is_empty() { "localhost".to_owned() } else { name })
            }
            id => Self(id.to_owned()),
        }
    }
}
