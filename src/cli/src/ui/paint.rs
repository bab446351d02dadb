//! Colours and signs, on or off. Not what is painted.

use std::fmt::Display;

use console::{StyledObject, style};

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    /// Whether there are colours.
    pub color: bool,
    /// Whether signs beyond ASCII may be used.
    pub unicode: bool,
}

impl Paint {
    fn apply<D: Display>(self, text: D, with: impl Fn(StyledObject<D>) -> StyledObject<D>) -> String {
        with(style(text)).force_styling(self.color).to_string()
    }

    /// What went well.
    #[must_use]
    pub fn good(self, text: impl Display) -> String {
        self.apply(text, |text| text.green().bold())
    }

    /// What failed.
    #[must_use]
    pub fn bad(self, text: impl Display) -> String {
        self.apply(text, |text| text.red().bold())
    }

    /// What should be known.
    #[must_use]
    pub fn warn(self, text: impl Display) -> String {
        self.apply(text, |text| text.yellow().bold())
    }

    /// What may be typed.
    #[must_use]
    pub fn literal(self, text: impl Display) -> String {
        self.apply(text, StyledObject::cyan)
    }

    /// What matters most in its line.
    #[must_use]
    pub fn strong(self, text: impl Display) -> String {
        self.apply(text, StyledObject::bold)
    }

    /// What matters least.
    #[must_use]
    pub fn faint(self, text: impl Display) -> String {
        self.apply(text, StyledObject::dim)
    }

    /// What stands for the cut part of a line.
    #[must_use]
    pub fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// Stands before an action that was built.
    #[must_use]
    pub fn sign_built(self) -> String {
        self.good(if self.unicode { "✓" } else { "+" })
    }

    /// Stands before an action that failed.
    #[must_use]
    pub fn sign_failed(self) -> String {
        self.bad(if self.unicode { "✗" } else { "x" })
    }

    /// Stands before an action whose result was there, or came out the same.
    #[must_use]
    pub fn sign_same(self) -> String {
        self.faint("=")
    }

    /// Stands before an action that did not run.
    #[must_use]
    pub fn sign_skipped(self) -> String {
        self.faint("-")
    }
}
