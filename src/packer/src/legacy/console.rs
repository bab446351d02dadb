//! `console`: Go templates against a template's variables, one a line.

use std::fmt::Write as _;

use imgbuild_model::{Diagnostics, Location};

use super::{MASKED, Values};
use crate::interpolate::{Context, Place, Renderer, Run};

/// What `help` answers.
const HELP: &str = "A Go template is answered with what it gives: `{{user `name`}}`, `{{timestamp}}`.\n\
                    `variables` shows all variables, `exit` ends.\n\
                    Expressions of HCL work with `-config-type=hcl2`.";

/// Answers lines.
pub struct Console {
    renderer: Renderer,
    values: Values,
}

impl Console {
    /// With these values of variables.
    #[must_use]
    pub fn new(run: Run, values: Values) -> Self {
        let context = Context::new(run, Place::Elsewhere, Some(values.values.clone()));
        Self { renderer: Renderer::new(context), values }
    }

    /// Answers a line; `None` says that nothing more is wanted.
    ///
    /// # Errors
    /// What is wrong with the line; places are in a file named `console`.
    pub fn answer(&mut self, line: &str) -> Result<Option<String>, Diagnostics> {
        match line {
            "" => Ok(Some(String::new())),
            "exit" => Ok(None),
            "help" => Ok(Some(HELP.to_owned())),
            "variables" => Ok(Some(self.variables())),
            template => {
                let settled = self.renderer.settle(template).map_err(|why| {
                    let column = |offset: usize| {
                        let before = &template[..template.floor_char_boundary(offset)];
                        u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX)
                    };
                    let at = |span: imgbuild_gotemplate::Span| {
                        let (column, end_column) = (column(span.start), column(span.end));
                        Some(Location { file: "console".into(), line: 1, column, end_line: 1, end_column })
                    };
                    Diagnostics::from(self.renderer.unsettled(&why, at, template))
                })?;
                Ok(Some(self.masked(settled)))
            }
        }
    }

    fn variables(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.values.values {
            let shown = if self.values.sensitive.contains(name) { MASKED } else { value };
            let _ = writeln!(out, "{name}: {shown}");
        }
        self.masked(out)
    }

    /// Without the values of sensitive variables, the longest first.
    fn masked(&self, mut text: String) -> String {
        let secrets = self.values.sensitive.iter().filter_map(|name| self.values.values.get(name));
        let mut secrets: Vec<&String> = secrets.filter(|secret| !secret.is_empty()).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            text = text.replace(secret.as_str(), MASKED);
        }
        text
    }
}
