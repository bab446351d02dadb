//! `-only` and `-except`: which builds are wanted, by patterns on their names.

use std::cell::RefCell;
use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use imgbuild_model::{Diagnostic, Location};

use super::report::Report;

/// Patterns that were given.
pub(super) struct Selection {
    only: Vec<Pattern>,
    except: Vec<Pattern>,
    used: RefCell<BTreeSet<(&'static str, usize)>>,
}

struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

const ONLY: &str = "-only";
const EXCEPT: &str = "-except";

impl Selection {
    pub(super) fn new(only: &[String], except: &[String], report: &Report) -> Self {
        Self {
            only: patterns(ONLY, only, report),
            except: patterns(EXCEPT, except, report),
            used: RefCell::default(),
        }
    }

    fn matches(&self, flag: &'static str, name: &str) -> bool {
        let patterns = if flag == ONLY { &self.only } else { &self.except };
        let mut found = false;
        for (index, pattern) in patterns.iter().enumerate() {
            if pattern.matcher.is_match(name) {
                self.used.borrow_mut().insert((flag, index));
                found = true;
            }
        }
        found
    }

    /// Whether a build is wanted.
    pub(super) fn wants(&self, build: &str) -> bool {
        let excepted = self.matches(EXCEPT, build);
        (self.only.is_empty() || self.matches(ONLY, build)) && !excepted
    }

    /// Whether a post-processor, and all after it in its chain, is left out.
    pub(super) fn leaves_out(&self, post_processor: &str) -> bool {
        self.matches(EXCEPT, post_processor)
    }

    /// Warns of patterns that met nothing.
    pub(super) fn warn(&self, builds: &[String], report: &Report) {
        let used = self.used.borrow();
        for (flag, patterns) in [(ONLY, &self.only), (EXCEPT, &self.except)] {
            for (index, pattern) in patterns.iter().enumerate() {
                if !used.contains(&(flag, index)) {
                    let message = format!("`{flag}={}` matches nothing", pattern.text);
                    let hint = match builds {
                        [] => "the template has no builds".to_owned(),
                        builds => format!(
                            "the builds are {}",
                            builds.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                        ),
                    };
                    report.push(Diagnostic::warning(message).hint(hint));
                }
            }
        }
    }
}

fn patterns(flag: &str, texts: &[String], report: &Report) -> Vec<Pattern> {
    let pattern = |text: &String| {
        let glob = GlobBuilder::new(text)
            .literal_separator(false)
            .backslash_escape(true)
            .empty_alternates(true)
            .build();
        match glob {
            Ok(glob) => Some(Pattern { text: text.clone(), matcher: glob.compile_matcher() }),
            Err(error) => {
                let message = format!("`{text}` is not a pattern: {}", error.kind());
                report.push(
                    Diagnostic::error(message)
                        .at(Location::file(&format!("{flag}={text}")))
                        .hint("`*` stands for any characters, `?` for one, `{a,b}` for either"),
                );
                None
            }
        }
    };
    texts.iter().filter_map(pattern).collect()
}
