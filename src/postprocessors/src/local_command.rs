//! Commands on the host, as `shell-local` gives them: scripts of the user, run by a command line that the user may
//! change.
//!
//! Where a script gets its values from a command line, they are quoted for `sh`, and the command line is the user's own
//! template; no other text becomes part of it.
//!
//! What is not here: any step, any cache. The caller's journal knows each process before it starts.

mod format;
mod process;
mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_model::{Diagnostic, Diagnostics, did_you_mean};
use tokio_util::sync::CancellationToken;

use self::format::EnvFormat;
use self::script::Script;
use crate::context::{LateTemplate, TemplateData, Voice, in_field};

pub use process::{JournaledProcess, ProcessJournal};

/// The names of operating systems that `only_on` knows.
const SYSTEMS: [&str; 6] = ["darwin", "freebsd", "linux", "openbsd", "solaris", "windows"];

const EXECUTE_COMMAND: [&str; 3] = ["/bin/sh", "-c", "{{.Vars}} {{.Script}}"];
const INLINE_SHEBANG: &str = "/bin/sh -e";
const ENV_VAR_FORMAT: &str = "%s='%s' ";

/// The settings of `shell-local`, provisioner and post-processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalCommandSettings {
    /// One line, as the only one of `inline`.
    pub command: String,
    /// Lines of a script.
    pub inline: Vec<String>,
    /// A script's file, relative to the folder that the run started in.
    pub script: String,
    /// Scripts' files.
    pub scripts: Vec<String>,
    /// The program and its arguments, late templates with `Vars`, `Script` and `Command`.
    pub execute_command: Vec<String>,
    /// What stands behind `#!` in a script of lines.
    pub inline_shebang: String,
    /// How a variable is written in `Vars`: `%s` twice, for the name and the value.
    pub env_var_format: String,
    /// Variables as `NAME=value`, late templates.
    pub environment_vars: Vec<String>,
    /// Variables; they win over `environment_vars`.
    pub env: BTreeMap<String, String>,
    /// The only systems that this runs on; empty for all.
    pub only_on: Vec<String>,
    /// What a script of lines ends in behind a dot.
    pub tempfile_extension: String,
    /// Paths as Windows' Linux has them. Changes nothing here, but as in Packer there are no scripts of lines with it.
    pub use_linux_pathing: bool,
    /// What a script may exit with; empty for 0 alone.
    pub valid_exit_codes: Vec<i32>,
}

/// Takes a line.
pub type Output = dyn Fn(Voice, &str) + Send + Sync;

/// What runs are given.
#[derive(Clone)]
pub struct LocalContext {
    /// `PACKER_BUILD_NAME`.
    pub build_name: String,
    /// `PACKER_BUILDER_TYPE`.
    pub builder_type: String,
    /// `PACKER_RUN_UUID`.
    pub run_uuid: String,
    /// The folder that commands run in.
    pub folder: PathBuf,
    /// What late templates may refer to.
    pub generated: TemplateData,
    /// The language of late templates.
    pub late: Arc<dyn LateTemplate>,
    /// What knows processes before they start.
    pub journal: Arc<dyn ProcessJournal>,
    /// Cancelled when the run is to end; what runs is killed then.
    pub cancel: CancellationToken,
    /// Where lines go.
    pub output: Arc<Output>,
}

impl LocalContext {
    /// Renders a late template of a field with the generated data.
    fn render(&self, text: &str, field: &str) -> Result<String, Diagnostic> {
        self.late.render(text, &self.generated).map_err(|error| in_field(error, field))
    }
}

/// Whether anything ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// All scripts.
    Yes,
    /// None: `only_on` names other systems.
    OtherSystem,
}

/// Settings that fit together.
#[derive(Clone, Debug)]
pub struct LocalCommand {
    scripts: Vec<String>,
    inline: Option<Vec<String>>,
    execute_command: Vec<String>,
    shebang: String,
    extension: String,
    format: EnvFormat,
    environment_vars: Vec<String>,
    env: BTreeMap<String, String>,
    only_on: Vec<String>,
    valid_exit_codes: Vec<i32>,
}

impl LocalCommand {
    /// Checks the settings, but no file: see [`LocalCommand::check_scripts`].
    ///
    /// # Errors
    ///
    /// Everything that does not fit.
    pub fn new(settings: LocalCommandSettings) -> Result<Self, Diagnostics> {
        let mut errors = Vec::new();
        let LocalCommandSettings { command, mut inline, script, mut scripts, .. } = settings.clone();
        let given: Vec<&str> = [
            ("command", !command.is_empty()),
            ("inline", !inline.is_empty()),
            ("script", !script.is_empty()),
            ("scripts", !scripts.is_empty()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect();
        match given[..] {
            [] => errors.push(
                Diagnostic::error("`shell-local` has nothing to run")
                    .hint("give one of `inline`, `script` and `scripts`"),
            ),
            ["command"] => inline = vec![command],
            ["script"] => scripts = vec![script],
            [_] => {}
            [..] => errors.push(
                Diagnostic::error(format!("`shell-local` has {}", named(&given)))
                    .hint("give one of them; scripts run in the order of `scripts`"),
            ),
        }
        if settings.use_linux_pathing && !inline.is_empty() {
            errors.push(
                Diagnostic::error("`use_linux_pathing` does not go with `inline` and `command`")
                    .hint("put the lines into a file and name it with `script`"),
            );
        }
        errors.extend(settings.only_on.iter().filter_map(|system| unknown_system(system)));
        errors.extend(settings.environment_vars.iter().filter_map(|variable| no_variable(variable)));
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        let format = EnvFormat::new(&or(settings.env_var_format, ENV_VAR_FORMAT));
        let (format, execute_command) = match format {
            Ok(format) if errors.is_empty() => (format, settings.execute_command),
            Ok(_) => return Err(Diagnostics(errors)),
            Err(error) => {
                errors.push(error);
                return Err(Diagnostics(errors));
            }
        };
        Ok(Self {
            inline: scripts.is_empty().then_some(inline),
            scripts,
            execute_command: if execute_command.is_empty() {
                EXECUTE_COMMAND.map(str::to_owned).to_vec()
            } else {
                execute_command
            },
            shebang: or(settings.inline_shebang, INLINE_SHEBANG),
            extension: settings.tempfile_extension,
            format,
            environment_vars: settings.environment_vars,
            env: settings.env,
            only_on: settings.only_on,
            valid_exit_codes: settings.valid_exit_codes,
        })
    }

    /// The files that are scripts, as the settings name them: what a key has to look at.
    #[must_use]
    pub fn scripts(&self) -> &[String] {
        &self.scripts
    }

    /// Looks at the scripts' files before anything runs.
    ///
    /// # Errors
    ///
    /// Every script that is not there.
    pub fn check_scripts(&self, folder: &Path) -> Result<(), Diagnostics> {
        let missing = self.scripts.iter().filter_map(|script| Script::of_user(folder, script).err());
        let missing: Vec<Diagnostic> = missing.collect();
        if missing.is_empty() { Ok(()) } else { Err(Diagnostics(missing)) }
    }

    /// Runs all scripts, one after the other.
    ///
    /// # Errors
    ///
    /// If one cannot be started or exits with a code that is not valid. Cancelled, the script and what it started is
    /// killed.
    pub async fn run(&self, context: &LocalContext) -> Result<Ran, Diagnostic> {
        if !self.only_on.is_empty() && !self.only_on.iter().any(|system| system == system_name()) {
            (context.output)(Voice::Say, "Skipping shell-local due to runtime OS");
            return Ok(Ran::OtherSystem);
        }
        let vars = self.vars(context)?;
        if let Some(lines) = &self.inline {
            let script = Script::of_lines(context, lines, &self.shebang, &self.extension).await?;
            self.run_script(context, &script, &vars).await?;
        }
        for script in &self.scripts {
            self.run_script(context, &Script::of_user(&context.folder, script)?, &vars).await?;
        }
        Ok(Ran::Yes)
    }

    async fn run_script(
        &self,
        context: &LocalContext,
        script: &Script,
        vars: &str,
    ) -> Result<(), Diagnostic> {
        (context.output)(Voice::Say, &format!("Running local shell script: {}", script.shown()));
        let path = script.path().to_str().ok_or_else(|| {
            Diagnostic::error(format!("`{}` is not UTF-8", script.path().display()))
                .hint("rename the script or its folder")
        })?;
        let mut data = context.generated.clone();
        for (name, value) in [("Vars", vars), ("Script", path), ("Command", path)] {
            data.insert(name.to_owned(), value.into());
        }
        let command = self
            .execute_command
            .iter()
            .map(|part| context.late.render(part, &data).map_err(|error| in_field(error, "execute_command")))
            .collect::<Result<Vec<_>, _>>()?;
        let exit = process::run(context, &command, script.shown()).await?;
        match exit {
            Ok(0) if self.valid_exit_codes.is_empty() => Ok(()),
            Ok(code) if self.valid_exit_codes.contains(&code) => Ok(()),
            Ok(code) => Err(self.wrong_code(script, code)),
            Err(signal) => {
                Err(Diagnostic::error(format!("`{}` was ended by signal {signal}", script.shown())))
            }
        }
    }

    fn wrong_code(&self, script: &Script, code: i32) -> Diagnostic {
        let valid = match &self.valid_exit_codes[..] {
            [] => "0".to_owned(),
            codes => codes.iter().map(i32::to_string).collect::<Vec<_>>().join(", "),
        };
        let error = Diagnostic::error(format!(
            "`{}` exited with code {code}, which is not among the valid exit codes ({valid})",
            script.shown()
        ));
        match code {
            126 => error.hint("a script must be executable: run `chmod +x` on it"),
            _ => error,
        }
    }

    /// The variables as a text for the command line, in order of name.
    fn vars(&self, context: &LocalContext) -> Result<String, Diagnostic> {
        let mut variables = BTreeMap::from([
            ("PACKER_BUILD_NAME".to_owned(), context.build_name.clone()),
            ("PACKER_BUILDER_TYPE".to_owned(), context.builder_type.clone()),
        ]);
        for (name, generated) in [
            ("PACKER_HTTP_ADDR", "PackerHTTPAddr"),
            ("PACKER_HTTP_IP", "PackerHTTPIP"),
            ("PACKER_HTTP_PORT", "PackerHTTPPort"),
        ] {
            // A builder without a server says `ERR_…`.
            let value = context.generated.get(generated).and_then(|value| value.as_str());
            if let Some(value) = value.filter(|value| !value.starts_with("ERR_")) {
                variables.insert(name.to_owned(), value.to_owned());
            }
        }
        for variable in &self.environment_vars {
            let variable = context.render(variable, "environment_vars")?;
            match variable.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    variables.insert(name.to_owned(), value.to_owned());
                }
                _ => return Err(not_a_variable(&variable)),
            }
        }
        for (name, value) in &self.env {
            variables.insert(name.clone(), context.render(value, "env")?);
        }
        Ok(variables.iter().map(|(name, value)| self.format.write(name, &quoted(value))).collect())
    }
}

/// A text between single quotes of `sh`, without those at its ends: `env_var_format` has them.
fn quoted(value: &str) -> String {
    value.replace('\'', r#"'"'"'"#)
}

/// This system by the name that Go has for it.
fn system_name() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        system => system,
    }
}

fn named(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}

fn unknown_system(system: &str) -> Option<Diagnostic> {
    if SYSTEMS.contains(&system) {
        return None;
    }
    let error = Diagnostic::error(format!("`only_on` names `{system}`, which is no system"));
    Some(error.hint(match did_you_mean(system, SYSTEMS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", SYSTEMS.map(|system| format!("`{system}`")).join(", ")),
    }))
}

/// A template may give the `=` too, so it is only looked for where there is none.
fn no_variable(text: &str) -> Option<Diagnostic> {
    let is_variable = text.contains("{{") || text.split_once('=').is_some_and(|(name, _)| !name.is_empty());
    (!is_variable).then(|| not_a_variable(text))
}

fn not_a_variable(text: &str) -> Diagnostic {
    Diagnostic::error(format!("`{text}` in `environment_vars` is no variable")).hint("write `NAME=value`")
}
