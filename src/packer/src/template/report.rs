//! Diagnostics as they are found: all of a template at once, each once.

use std::cell::RefCell;
use std::collections::BTreeMap;

use imgbuild_hcl::eval::Expanded;
use imgbuild_model::{Diagnostic, Diagnostics, Location, Severity};

/// What there is to tell so far.
#[derive(Debug, Default)]
pub(super) struct Report(RefCell<Found>, Expanded);

#[derive(Debug, Default)]
struct Found {
    all: Vec<Diagnostic>,
    /// Those of one place and message, by their positions.
    known: BTreeMap<(Option<Location>, String), Vec<usize>>,
}

impl Report {
    /// What `dynamic` blocks have made so far: one measure for the whole template.
    pub(super) fn expanded(&self) -> &Expanded {
        &self.1
    }

    /// One more; the same twice is told once.
    pub(super) fn push(&self, diagnostic: Diagnostic) {
        let Found { all, known } = &mut *self.0.borrow_mut();
        let same = known.entry((diagnostic.location.clone(), diagnostic.message.clone())).or_default();
        if same.iter().all(|&position| all[position] != diagnostic) {
            same.push(all.len());
            all.push(diagnostic);
        }
    }

    pub(super) fn extend(&self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        diagnostics.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    pub(super) fn has_errors(&self) -> bool {
        self.0.borrow().all.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// By place; those without one come last, in the order in which they were found.
    pub(super) fn into_diagnostics(self) -> Diagnostics {
        let mut all = self.0.into_inner().all;
        let place = |one: &Diagnostic| (one.location.is_none(), one.location.clone());
        all.sort_by_cached_key(place);
        Diagnostics(all)
    }
}
