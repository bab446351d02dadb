//! `windows-shell`: scripts of Windows' command shell.

use std::collections::BTreeMap;

use imgbuild_engine::ActionError;

use super::{Build, Moment, Runs, ScriptRun, Scripts, Upload, variables};
use crate::execute_command::{self, format_variables};

/// `windows-shell` by its attributes. `None` stands for what Packer takes if an attribute is not given.
#[derive(Clone, Debug)]
pub struct WindowsShell {
    /// `inline`, `script` or `scripts`.
    ///
    /// The lines of `inline` end with a line feed, as Packer writes them; a script of `inline` that jumps to labels
    /// over long distances is better put into a file with Windows' line ends.
    pub scripts: Scripts,
    /// `environment_vars`.
    pub environment_vars: Vec<String>,
    /// `env`.
    pub env: BTreeMap<String, String>,
    /// `env_var_format`. Values are not escaped, as the command shell knows no way that holds everywhere: a `"`, a `%`
    /// or a line end in one means what it means there.
    pub env_var_format: Option<String>,
    /// `execute_command`, a template that knows `.Vars` and `.Path` and nothing else.
    pub execute_command: Option<String>,
    /// `remote_path`: where each script is put, one after the other. It is never removed.
    pub remote_path: Option<String>,
    /// `valid_exit_codes`.
    pub valid_exit_codes: Vec<i64>,
}

impl WindowsShell {
    /// One that has nothing but scripts.
    #[must_use]
    pub fn new(scripts: Scripts) -> Self {
        Self {
            scripts,
            environment_vars: Vec::new(),
            env: BTreeMap::new(),
            env_var_format: None,
            execute_command: None,
            remote_path: None,
            valid_exit_codes: Vec::new(),
        }
    }

    /// What is done.
    ///
    /// # Errors
    /// If a variable is none, or a template or format cannot be used.
    pub fn runs(&self, build: &Build, moment: &Moment) -> Result<Runs, ActionError> {
        let format = self.env_var_format.as_deref().unwrap_or(r#"set "%s=%s" && "#);
        let path = self.remote_path.as_deref().unwrap_or("c:/Windows/Temp/script.bat");
        let template = self.execute_command.as_deref().unwrap_or(r#"{{.Vars}}"{{.Path}}""#);
        let variables = variables::all(&self.environment_vars, &self.env, build, moment)?;
        let variables = format_variables("env_var_format", format, &variables, str::to_owned)?;
        let known = [("Vars", &*variables), ("Path", path)];
        let command = execute_command::render_with("execute_command", template, &known)?;
        let run = |text| ScriptRun { uploads: vec![Upload::new(path, text)], command: command.clone() };
        Ok(Runs {
            scripts: self.scripts.texts().into_iter().map(run).collect(),
            cleanup: None,
            valid_exit_codes: self.valid_exit_codes.clone(),
        })
    }
}
