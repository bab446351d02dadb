//! Texts that must not be shown, and finding them in output.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use imgbuild_hcl::value::{Mark, Value};
use imgbuild_model::Diagnostic;

/// What stands in the place of what must not be shown.
pub const MASKED: &str = "<sensitive>";

/// Finds in texts what must not be shown: each sensitive text as a whole, with other line ends, and line by line.
#[derive(Clone, Debug)]
pub struct Mask {
    finder: Option<AhoCorasick>,
}

impl Mask {
    /// Of all that is marked in these values.
    pub(super) fn new<'v>(values: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut texts = BTreeSet::new();
        values.into_iter().for_each(|value| collect(value, false, &mut texts));
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts).ok();
        Self { finder: finder.filter(|_| !texts.is_empty()) }
    }

    /// The text without what must not be shown.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        match &self.finder {
            Some(finder) => {
                let mut out = String::with_capacity(text.len());
                finder.replace_all_with(text, &mut out, |_, _, out| {
                    out.push_str(MASKED);
                    true
                });
                out
            }
            None => text.to_owned(),
        }
    }

    /// The diagnostic without what must not be shown in its words.
    pub(super) fn diagnostic(&self, mut one: Diagnostic) -> Diagnostic {
        if self.finder.is_none() {
            return one;
        }
        one.message = self.apply(&one.message);
        one.hint = one.hint.map(|hint| self.apply(&hint));
        one.notes.iter_mut().for_each(|note| note.text = self.apply(&note.text));
        one
    }
}

fn collect(value: &Value, inherited: bool, texts: &mut BTreeSet<String>) {
    let sensitive = inherited || value.marks().contains(&Mark::SENSITIVE);
    if let Some(text) = value.as_str().filter(|_| sensitive) {
        let whole = text.replace("\r\n", "\n");
        texts.extend(whole.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
        texts.extend([text.to_owned(), whole].into_iter().filter(|text| !text.trim().is_empty()));
    }
    for element in value.elements().into_iter().flatten() {
        collect(element, sensitive, texts);
    }
    for element in value.entries().into_iter().flat_map(|entries| entries.values()) {
        collect(element, sensitive, texts);
    }
}
