//! `powershell`: scripts of PowerShell, as who is logged in or, by a task, with elevated rights.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use imgbuild_engine::ActionError;

use super::elevated::Task;
use super::{Build, Moment, Runs, ScriptRun, Scripts, Upload, render, variables};
use crate::execute_command::format_variables;

/// How Packer writes a variable for PowerShell.
const FORMAT: &str = r#"$env:%s="%s"; "#;

/// `powershell` by its attributes. `None` stands for what Packer takes if an attribute is not given.
#[derive(Clone)]
pub struct PowerShell {
    /// `inline`, `script` or `scripts`.
    ///
    /// The lines of `inline` are uploaded inside of a `try`, behind their variables, so that an exception ends the script
    /// with exit code 1. It ends with the code of the program that it ran last otherwise, and with 0 if it ran none.
    /// `$ErrorActionPreference` is left alone: what PowerShell only reports does not end it.
    pub scripts: Scripts,
    /// `environment_vars`.
    pub environment_vars: Vec<String>,
    /// `env`.
    pub env: BTreeMap<String, String>,
    /// `env_var_format`.
    pub env_var_format: Option<String>,
    /// `elevated_env_var_format`, where there is an `elevated_user`.
    pub elevated_env_var_format: Option<String>,
    /// `execute_command`, a template that knows `.Path`, `.Vars` (the path of the uploaded variables) and what is known at
    /// the [`Moment`].
    pub execute_command: Option<String>,
    /// `elevated_execute_command`, where there is an `elevated_user`.
    pub elevated_execute_command: Option<String>,
    /// `elevated_user`, a template; nobody if empty.
    pub elevated_user: String,
    /// `elevated_password`, a template. If it comes out empty, the user is a service account such as `SYSTEM`.
    pub elevated_password: String,
    /// `execution_policy`.
    pub execution_policy: ExecutionPolicy,
    /// `use_pwsh`. The task of an `elevated_user` is made by `powershell` all the same, which each Windows has.
    pub use_pwsh: bool,
    /// `debug_mode`.
    pub debug_mode: u8,
    /// `remote_path`: where each script is put, one after the other.
    pub remote_path: Option<String>,
    /// `remote_env_var_path`: where the variables are put.
    pub remote_env_var_path: Option<String>,
    /// `skip_clean`. What makes the task of an `elevated_user` removes itself, and the task, all the same.
    pub skip_clean: bool,
    /// `valid_exit_codes`.
    pub valid_exit_codes: Vec<i64>,
}

/// PowerShell's execution policies, and [`Self::None`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutionPolicy {
    #[default]
    Bypass,
    AllSigned,
    Default,
    RemoteSigned,
    Restricted,
    Undefined,
    Unrestricted,
    /// The command names no program: the connection leads to PowerShell already.
    None,
}

impl ExecutionPolicy {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::Bypass,
        Self::AllSigned,
        Self::Default,
        Self::RemoteSigned,
        Self::Restricted,
        Self::Undefined,
        Self::Unrestricted,
        Self::None,
    ];

    /// As it is written in templates.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::AllSigned => "allsigned",
            Self::Default => "default",
            Self::RemoteSigned => "remotesigned",
            Self::Restricted => "restricted",
            Self::Undefined => "undefined",
            Self::Unrestricted => "unrestricted",
            Self::None => "none",
        }
    }
}

impl FromStr for ExecutionPolicy {
    type Err = ActionError;

    /// Reads it as it is written in templates, in lower case alone.
    fn from_str(text: &str) -> Result<Self, ActionError> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(|policy| format!("`{}`", policy.as_str()));
            ActionError::input(format!("`{text}` is no `execution_policy`"))
                .hint(format!("there are {}", known.join(", ")))
        })
    }
}

impl PowerShell {
    /// One that has nothing but scripts.
    #[must_use]
    pub fn new(scripts: Scripts) -> Self {
        Self {
            scripts,
            environment_vars: Vec::new(),
            env: BTreeMap::new(),
            env_var_format: None,
            elevated_env_var_format: None,
            execute_command: None,
            elevated_execute_command: None,
            elevated_user: String::new(),
            elevated_password: String::new(),
            execution_policy: ExecutionPolicy::default(),
            use_pwsh: false,
            debug_mode: 0,
            remote_path: None,
            remote_env_var_path: None,
            skip_clean: false,
            valid_exit_codes: Vec::new(),
        }
    }

    /// What is done.
    ///
    /// # Errors
    /// If a variable is none, a template or format cannot be used, or no task can hold a user, password or command.
    pub fn runs(&self, build: &Build, moment: &Moment) -> Result<Runs, ActionError> {
        let places = Places::new(self, &moment.id);
        let variables = self.variables(build, moment)?;
        let scripts = self.scripts.texts().into_iter();
        let scripts = scripts.map(|script| self.run(script, &variables, &places, moment));
        Ok(Runs {
            scripts: scripts.collect::<Result<_, _>>()?,
            cleanup: if self.skip_clean { None } else { Some(self.cleanup(&places, moment)?) },
            valid_exit_codes: self.valid_exit_codes.clone(),
        })
    }

    fn is_elevated(&self) -> bool {
        !self.elevated_user.is_empty()
    }

    fn is_inline(&self) -> bool {
        matches!(self.scripts, Scripts::Inline(_))
    }

    fn variables(&self, build: &Build, moment: &Moment) -> Result<String, ActionError> {
        let (name, format) = match self.is_elevated() {
            true => ("elevated_env_var_format", &self.elevated_env_var_format),
            false => ("env_var_format", &self.env_var_format),
        };
        let variables = variables::all(&self.environment_vars, &self.env, build, moment)?;
        format_variables(name, format.as_deref().unwrap_or(FORMAT), &variables, variables::escape)
    }

    fn run(
        &self,
        script: Vec<u8>,
        variables: &str,
        places: &Places,
        moment: &Moment,
    ) -> Result<ScriptRun, ActionError> {
        let mut uploads = Vec::new();
        // The variables of `inline` are in the script; a command of the user's own may ask for them all the same.
        let has_own = self.execute_command.is_some() || self.elevated_execute_command.is_some();
        if !self.is_inline() || has_own {
            uploads.push(Upload::new(&places.variables, variables));
        }
        let script = if self.is_inline() { self.wrapped(&script, variables) } else { script };
        uploads.push(Upload::new(&places.script, script));
        let (name, template) = match self.is_elevated() {
            true => ("elevated_execute_command", &self.elevated_execute_command),
            false => ("execute_command", &self.execute_command),
        };
        let template = template.clone().unwrap_or_else(|| self.usual_command(self.is_elevated()));
        let command = places.render(name, &template, &places.script, moment)?;
        if !self.is_elevated() {
            return Ok(ScriptRun { uploads, command });
        }
        let task = Task {
            name: &format!("packer-{}", moment.id),
            user: &render("elevated_user", &self.elevated_user, &[], moment)?,
            password: &render("elevated_password", &self.elevated_password, &[], moment)?,
            command: &command,
        };
        uploads.push(Upload::new(&places.elevated, task.script()?));
        let command = format!(r#"powershell -executionpolicy bypass -file "{}""#, places.elevated);
        Ok(ScriptRun { uploads, command })
    }

    /// The command that runs a script if the user wrote none. With the policy `none` it is for a connection that leads to
    /// PowerShell; that of a task never does, so that there it names the program still.
    fn usual_command(&self, is_elevated: bool) -> String {
        let program = if self.use_pwsh { "pwsh" } else { "powershell" };
        let program = match self.execution_policy {
            ExecutionPolicy::None if is_elevated => Some(program.to_owned()),
            ExecutionPolicy::None => None,
            policy => Some(format!("{program} -executionpolicy {}", policy.as_str())),
        };
        if self.is_inline() {
            let program = program.map(|program| program + " ").unwrap_or_default();
            return format!("{program}-file {{{{.Path}}}}");
        }
        let debug = self.debug();
        let body = format!(
            "& {{ $ProgressPreference = 'SilentlyContinue'; {debug}. {{{{.Vars}}}}; &'{{{{.Path}}}}'; exit $LastExitCode }}"
        );
        program.map_or(body.clone(), |program| format!("{program} \"{body}\""))
    }

    fn debug(&self) -> String {
        match self.debug_mode {
            0 => String::new(),
            mode => format!("Set-PSDebug -Trace {mode}; "),
        }
    }

    /// The lines of `inline` with what makes their exit code say whether they succeeded. They are not indented, as the
    /// ends of here-strings must start their lines.
    fn wrapped(&self, script: &[u8], variables: &str) -> Vec<u8> {
        let debug = self.debug();
        // Under `Set-StrictMode` a variable that was never set is an error.
        let head = format!(
            "$ProgressPreference = 'SilentlyContinue'\n$global:LASTEXITCODE = 0\n{variables}\n{debug}try {{\n"
        );
        let tail =
            "} catch {\nWrite-Error -ErrorRecord $_ -ErrorAction Continue\nexit 1\n}\nexit $LASTEXITCODE\n";
        [head.as_bytes(), script, tail.as_bytes()].concat()
    }

    /// What removes the scripts and the variables, and itself. It runs without elevated rights.
    fn cleanup(&self, places: &Places, moment: &Moment) -> Result<ScriptRun, ActionError> {
        let literal = |path: &String| format!("'{}'", path.replace('\'', "''"));
        let paths = [&places.variables, &places.script, &places.cleanup].map(literal).join(", ");
        let script = format!(
            "foreach ($path in {paths}) {{\n    if (Test-Path -LiteralPath $path) {{ Remove-Item -LiteralPath $path -Force }}\n}}\nexit 0\n"
        );
        let template = self.execute_command.clone().unwrap_or_else(|| self.usual_command(false));
        Ok(ScriptRun {
            uploads: vec![Upload::new(&places.cleanup, script)],
            command: places.render("execute_command", &template, &places.cleanup, moment)?,
        })
    }
}

/// Where files are in the guest.
struct Places {
    script: String,
    variables: String,
    elevated: String,
    cleanup: String,
}

impl Places {
    fn new(provisioner: &PowerShell, id: &str) -> Self {
        let or = |path: &Option<String>, usual: String| path.clone().unwrap_or(usual);
        Self {
            script: or(&provisioner.remote_path, format!("c:/Windows/Temp/script-{id}.ps1")),
            variables: or(
                &provisioner.remote_env_var_path,
                format!("c:/Windows/Temp/packer-ps-env-vars-{id}.ps1"),
            ),
            elevated: format!("C:/Windows/Temp/packer-elevated-shell-{id}.ps1"),
            cleanup: format!("c:/Windows/Temp/packer-cleanup-{id}.ps1"),
        }
    }

    fn render(
        &self,
        attribute: &str,
        template: &str,
        path: &str,
        moment: &Moment,
    ) -> Result<String, ActionError> {
        render(attribute, template, &[("Path", path), ("Vars", &self.variables)], moment)
    }
}

impl fmt::Debug for PowerShell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PowerShell").field("scripts", &self.scripts).finish_non_exhaustive()
    }
}
