//! `execute_command`: the line by which a script is run, as Packer's templates write it.
//!
//! Packer puts a script into the machine and hands a rendered line to its shell; the step's variables are in that line and
//! nowhere else, so that `sudo` and its like can be told what to pass on.

use std::collections::BTreeMap;
use std::path::Path;

use imgbuild_engine::ActionError;
use imgbuild_gotemplate::{Functions, MissingKey, Options, Template, Value};

/// How a variable is written where `env_var_format` does not say it.
const FORMAT: &str = "%s='%s' ";
/// The same in an [`Line::variables_file`] that is sourced.
const EXPORT_FORMAT: &str = "export %s='%s'\n";

/// What a line is rendered with.
pub(crate) struct Line<'a> {
    /// The template, as the user wrote it.
    pub(crate) template: &'a str,
    /// How a variable is written, if the step says it.
    pub(crate) format: Option<&'a str>,
    /// The variables.
    pub(crate) variables: &'a BTreeMap<String, String>,
    /// Where the script is, in the machine.
    pub(crate) script: &'a str,
    /// Where the file of variables is, in the machine.
    pub(crate) variables_file: &'a str,
}

/// The words by which a script of the host is run.
pub(crate) struct HostLine<'a> {
    /// Program and arguments as templates; the shell if empty.
    pub(crate) template: Vec<String>,
    /// How `{{ .Vars }}` writes a variable, if the step says it.
    pub(crate) format: Option<String>,
    /// The variables.
    pub(crate) variables: &'a BTreeMap<String, String>,
    /// Where the script is.
    pub(crate) script: &'a Path,
}

impl HostLine<'_> {
    /// Program and arguments.
    ///
    /// # Errors
    /// If a template is none, or asks for what there is not.
    pub(crate) fn render(&self) -> Result<Vec<String>, ActionError> {
        let usual = ["/bin/sh", "-c", "{{.Vars}} {{.Quoted}}"].map(str::to_owned);
        let words = if self.template.is_empty() { usual.as_slice() } else { self.template.as_slice() };
        let script = self.script.display().to_string();
        let data = Value::record([
            ("Vars", write_variables(self.format.as_deref().unwrap_or(FORMAT), self.variables)?),
            ("Quoted", format!("'{}'", script.replace('\'', r"'\''"))),
            ("Script", script.clone()),
            ("Command", script),
        ]);
        let known = ["Script", "Vars", "Command"];
        words.iter().map(|word| render("execute_command", word, &Functions::new(), &data, &known)).collect()
    }
}

impl Line<'_> {
    /// The line for the machine's shell.
    ///
    /// # Errors
    /// If the template is none, or asks for what there is not.
    pub(crate) fn render(&self) -> Result<String, ActionError> {
        let variables = write_variables(self.format.unwrap_or(FORMAT), self.variables)?;
        let known = [("Path", self.script), ("Vars", &*variables), ("EnvVarFile", self.variables_file)];
        render_with("execute_command", self.template, &known)
    }

    /// The text of the file that exports the variables.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub(crate) fn variables_text(&self) -> Result<String, ActionError> {
        write_variables(self.format.unwrap_or(EXPORT_FORMAT), self.variables)
    }
}

/// Renders the template of an attribute.
///
/// # Errors
/// If it is none, or asks for something else than `known` names.
pub(crate) fn render(
    attribute: &str,
    template: &str,
    functions: &Functions,
    data: &Value,
    known: &[&str],
) -> Result<String, ActionError> {
    let options = Options { missing_key: MissingKey::Error, ..Options::default() };
    Template::parse(template, functions)
        .and_then(|template| template.render(functions, data, &options))
        .map_err(|error| {
            let known: Vec<_> = known.iter().map(|name| format!("`{{{{ .{name} }}}}`")).collect();
            let known = match known.split_last() {
                Some((last, [])) => format!("it may use {last}"),
                Some((last, others)) => format!("it may use {} and {last}", others.join(", ")),
                None => "nothing is known that it could use".to_owned(),
            };
            ActionError::input(format!("`{attribute}` cannot be rendered: {error}")).hint(known)
        })
}

/// Renders the template of an attribute with nothing but these texts.
///
/// # Errors
/// As [`render`].
pub(crate) fn render_with(
    attribute: &str,
    template: &str,
    data: &[(&str, &str)],
) -> Result<String, ActionError> {
    let names: Vec<_> = data.iter().map(|(name, _)| *name).collect();
    render(attribute, template, &Functions::new(), &Value::record(data.iter().copied()), &names)
}

/// Each variable in a format, quotes in values closed, escaped and opened again.
fn write_variables(format: &str, variables: &BTreeMap<String, String>) -> Result<String, ActionError> {
    format_variables("env_var_format", format, variables, |value| value.replace('\'', r#"'"'"'"#))
}

/// Each variable in the format that an attribute gives, in the order of their names.
///
/// # Errors
/// If the format cannot be used.
pub(crate) fn format_variables(
    attribute: &str,
    format: &str,
    variables: &BTreeMap<String, String>,
    escape: impl Fn(&str) -> String,
) -> Result<String, ActionError> {
    let printf = Template::parse("{{ printf .Format .Name .Value }}", &Functions::new());
    let printf = printf.map_err(|error| ActionError::input(error.to_string()))?;
    let mut text = String::new();
    for (name, value) in variables {
        let data =
            Value::record([("Format", format), ("Name", name.as_str()), ("Value", escape(value).as_str())]);
        let one = printf.render(&Functions::new(), &data, &Options::default());
        let one =
            one.map_err(|error| ActionError::input(format!("`{attribute}` cannot be used: {error}")))?;
        text.push_str(&one);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(template: &str, variables: &[(&str, &str)]) -> Result<String, ActionError> {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let script = "/run/s";
        Line { template, format: None, variables: &variables, script, variables_file: "/run/v" }.render()
    }

    #[test]
    fn the_usual_lines_are_rendered_as_packer_does() {
        let variables = [("B", "it's"), ("A", "1 2")];
        for (template, expected) in [
            ("chmod +x {{.Path}}; {{.Vars}} {{.Path}}", r#"chmod +x /run/s; A='1 2' B='it'"'"'s'  /run/s"#),
            (
                "echo 'x' | {{ .Vars }} sudo -S -E sh -eux '{{ .Path }}'",
                r#"echo 'x' | A='1 2' B='it'"'"'s'  sudo -S -E sh -eux '/run/s'"#,
            ),
            ("chmod +x {{.Path}}; . {{.EnvVarFile}} && {{.Path}}", "chmod +x /run/s; . /run/v && /run/s"),
            ("{{if .Vars}}env {{.Vars}}{{end}}bash {{.Path}}", r#"env A='1 2' B='it'"'"'s' bash /run/s"#),
        ] {
            assert_eq!(line(template, &variables).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        for template in ["{{ .Nothing }}", "{{ .Path", "{{ nothing }}"] {
            let error = line(template, &[]).unwrap_err().to_string();
            assert!(error.contains("`execute_command` cannot be rendered"), "{error}");
        }
    }

    #[test]
    fn a_file_of_variables_exports_them_or_is_as_the_step_says() {
        let variables = [("A".to_owned(), "it's".to_owned())].into();
        for (format, expected) in
            [(None, "export A='it'\"'\"'s'\n"), (Some("declare -x %s='%s'\n"), "declare -x A='it'\"'\"'s'\n")]
        {
            let line = Line {
                template: "",
                format,
                variables: &variables,
                script: "/run/s",
                variables_file: "/run/v",
            };
            assert_eq!(line.variables_text().unwrap(), expected);
        }
    }
}
