//! What these verbs say: lines for people, or Packer's lines for programs.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use imgbuild::diagnostics;
use imgbuild::ui::Shell;
use imgbuild_hcl::syntax::Source;
use imgbuild_model::{Diagnostic, Diagnostics, Severity};

/// Says things.
pub(super) struct Output {
    shell: Arc<Shell>,
    machine: bool,
}

impl Output {
    pub(super) fn new(shell: Arc<Shell>, machine: bool) -> Self {
        Self { shell, machine }
    }

    /// What was asked for.
    pub(super) fn say(&self, text: &str) {
        if self.machine { self.shell.line(&line("say", text)) } else { self.shell.line(text) }
    }

    /// What was asked for, as it is, without an end of line of our own.
    pub(super) fn print(&self, text: &str) {
        if self.machine { self.say(text.trim_end_matches('\n')) } else { self.shell.print(text) }
    }

    /// What went wrong.
    pub(super) fn error(&self, text: &str) {
        if self.machine { self.shell.line(&line("error", text)) } else { self.shell.say(text) }
    }

    /// Diagnostics with the lines that they speak of.
    pub(super) fn diagnostics(&self, all: &Diagnostics, sources: &[Arc<Source>]) {
        if !self.machine {
            let text = |file: &str| {
                let own = sources.iter().find(|source| source.name() == file)?;
                Some(own.text().to_owned())
            };
            diagnostics::report(all, &text, &self.shell);
            return;
        }
        for diagnostic in &all.0 {
            self.shell.line(&line(kind(diagnostic), &diagnostics::one_line(diagnostic)));
        }
    }
}

fn kind(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "say",
    }
}

fn line(kind: &str, text: &str) -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    format!("{time},,ui,{kind},{}", escaped(text))
}

/// Data of a line for programs.
fn escaped(text: &str) -> String {
    text.replace(',', "%!(PACKER_COMMA)").replace('\r', "\\r").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn data_stays_on_one_line_and_in_one_field() {
        assert_eq!(escaped("a,b\r\nc"), "a%!(PACKER_COMMA)b\\r\\nc");
    }
}
