//! Keeps sensitive values out of what is shown.
//!
//! A value is looked for as it is and in the forms of [`written_forms`]: base64, percent-encoded, in hexadecimal digits,
//! as in JSON. Of a value of several lines each line counts by itself too, and so does the whole with either kind of line
//! ends. What is shorter than [`SHORTEST_SECRET`] bytes is left alone: to replace each `1` or `no` would make the output
//! unreadable, and say by its holes what the value is.

use aho_corasick::{AhoCorasick, MatchKind};
use imgbuild_model::{SHORTEST_SECRET, written_forms};

/// What stands in the place of a sensitive value.
pub const MASK: &str = "<sensitive>";

/// Replaces sensitive values; the longest that fits wins where several begin.
#[derive(Clone, Debug, Default)]
pub struct Masker {
    finder: Option<AhoCorasick>,
    too_short: usize,
}

impl Masker {
    /// For these values. Empty ones count for nothing.
    ///
    /// # Panics
    /// If the values have more than two gigabytes: to go on would be to show them.
    #[must_use]
    pub fn new<V: AsRef<str>>(values: impl IntoIterator<Item = V>) -> Self {
        let mut patterns = Vec::new();
        let mut too_short = 0;
        for value in values {
            let whole = value.as_ref().trim();
            too_short += usize::from(!whole.is_empty() && whole.len() < SHORTEST_SECRET);
            let unix = whole.replace("\r\n", "\n");
            let windows = unix.replace('\n', "\r\n");
            let texts = [whole, &unix, &windows].into_iter().chain(whole.lines().map(str::trim));
            patterns.extend(texts.flat_map(|text| written_forms(text.as_bytes())));
        }
        patterns.sort();
        patterns.dedup();
        let build = |patterns: &[Vec<u8>]| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(patterns)
                .expect("values have less than two gigabytes")
        };
        Self { finder: (!patterns.is_empty()).then(|| build(&patterns)), too_short }
    }

    /// How many values are so short that they are shown; a caller may warn of them.
    #[must_use]
    pub fn too_short(&self) -> usize {
        self.too_short
    }

    /// The text with each sensitive value replaced by [`MASK`].
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        let Some(finder) = &self.finder else { return text.to_owned() };
        let mut masked = String::with_capacity(text.len());
        let mut rest = 0;
        for found in finder.find_iter(text) {
            masked.push_str(&text[rest..found.start()]);
            masked.push_str(MASK);
            rest = found.end();
        }
        masked.push_str(&text[rest..]);
        masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_value_wins() {
        let masker = Masker::new(["pass", "password1", "word1234"]);
        for (text, shown) in [
            ("password1", "<sensitive>"),
            ("pass, password1", "<sensitive>, <sensitive>"),
            ("passwor", "<sensitive>wor"),
            ("äpassä", "ä<sensitive>ä"),
            ("pas", "pas"),
            ("", ""),
        ] {
            assert_eq!(masker.mask(text), shown, "{text}");
        }
    }

    #[test]
    fn a_value_of_several_lines_is_masked_whole_and_by_lines() {
        for value in ["first line\nsecond, line\n\nx\n", "first line\r\nsecond, line\r\n\r\nx\r\n"] {
            let masker = Masker::new([value]);
            for (text, shown) in [
                ("a first line\nsecond, line\n\nx b", "a <sensitive> b"),
                ("a first line\r\nsecond, line\r\n\r\nx b", "a <sensitive> b"),
                ("first line", "<sensitive>"),
                ("==> n: second, line.", "==> n: <sensitive>."),
                ("x", "x"),
            ] {
                assert_eq!(masker.mask(text), shown, "{text}");
            }
        }
    }

    #[test]
    fn a_value_is_masked_in_other_forms() {
        let masker = Masker::new(["p@ss wörd\""]);
        for text in
            ["p%40ss%20w%C3%B6rd%22", "p%40ss+w%C3%B6rd%22", "704073732077c3b6726422", r#"p@ss wörd\""#]
        {
            assert_eq!(masker.mask(text), MASK, "{text}");
        }
        // The last character of the base64 holds bits of what follows too.
        assert_eq!(masker.mask("cEBzcyB3w7ZyZCI="), "<sensitive>I=");
    }

    #[test]
    fn short_values_are_shown_and_counted() {
        let masker = Masker::new(["", "1", "no", " ab \n", "long enough"]);
        assert_eq!(masker.mask("no 1 ab long enough"), "no 1 ab <sensitive>");
        assert_eq!(masker.too_short(), 3);
        assert_eq!(Masker::new(Vec::<String>::new()).mask("a"), "a");
    }
}
