//! `ansible`: playbooks on this host against the machine.
//!
//! Ansible makes a connection of its own, by OpenSSH, from what the session says of its own ([`crate::ssh_files`]). The
//! playbook is run where it lies. There is no local proxy: only what is reached over SSH can be provisioned.
//!
//! What Ansible would take from the caller, and no key has, it is not given: variables `ANSIBLE_*`, and files `ansible.cfg` that are no
//! inputs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use imgbuild_engine::secrets::NamedSecret;
use imgbuild_engine::secrets::SecretFinder;
use imgbuild_engine::{ActionContext, ActionError, ConnectionFacts, Exit, Session};
use imgbuild_model::{Secret, Stream};
use imgbuild_plan::program_path;
use serde_json::{Map, Value as Json};
use tokio::process::Command;

use crate::Provisioner;
use crate::execute_command::render_with;
use crate::host;
use crate::ssh_files::{SshFiles, private_folder, write_private};

/// The code behind `ansible`.
pub(crate) struct Ansible {
    withheld: Vec<String>,
}

impl Ansible {
    /// With the names of those variables of this program's own environment that Ansible is not given.
    pub(crate) fn new(withheld: Vec<String>) -> Self {
        Self { withheld }
    }
}

/// The machine's line where the step does not say it.
const LINE: &str =
    "{{ .HostAlias }} ansible_host={{ .Host }} ansible_user={{ .User }} ansible_port={{ .Port }}";
/// Arguments of SSH that Ansible itself has where nothing is said.
const SSH_ARGS: &str = "-C -o ControlMaster=auto -o ControlPersist=60s";
/// Where Ansible looks for roles and collections besides.
pub(crate) const ROLES: &str = "~/.ansible/roles:/usr/share/ansible/roles:/etc/ansible/roles";
pub(crate) const COLLECTIONS: &str = "~/.ansible/collections:/usr/share/ansible/collections";

#[async_trait]
impl Provisioner for Ansible {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let facts = session.connection().await?.ok_or_else(|| {
            ActionError::input("`ansible` needs a machine that is reached over SSH")
                .hint("`ansible_local` runs a playbook in the machine itself")
        })?;
        let run = Run::prepare(context, &facts, &self.withheld)?;
        if !context.flag("skip_version_check") {
            run.check_version().await?;
        }
        run.galaxy().await?;
        run.playbook().await
    }

    fn heeds_cancel(&self) -> bool {
        true
    }
}

/// One run of Ansible.
struct Run<'a> {
    context: &'a ActionContext,
    withheld: &'a [String],
    playbook: PathBuf,
    workdir: PathBuf,
    configuration: PathBuf,
    inventory: PathBuf,
    variables: Option<PathBuf>,
    ssh: SshFiles,
    /// For sockets, whose paths may not be long.
    sockets: tempfile::TempDir,
    hidden: Option<SecretFinder>,
}

impl<'a> Run<'a> {
    fn prepare(
        context: &'a ActionContext,
        facts: &ConnectionFacts,
        withheld: &'a [String],
    ) -> Result<Self, ActionError> {
        let folder = context.temporary.join("ansible");
        private_folder(&folder)?;
        let playbook = one_file(context, "playbook_file")?
            .ok_or_else(|| ActionError::input("`ansible` needs `playbook_file`"))?;
        let workdir = match context.text("workdir") {
            Some(path) => context.workspace.join(path),
            None => playbook.parent().unwrap_or(Path::new("/")).to_path_buf(),
        };
        let user = context.text("user").unwrap_or_else(|| facts.user.clone());
        let inventory = match one_file(context, "inventory_file")? {
            Some(inventory) => inventory,
            None => write_inventory(context, facts, &user, &folder)?,
        };
        Ok(Self {
            variables: write_variables(context, facts, &folder)?,
            ssh: SshFiles::write(facts, &folder)?,
            sockets: tempfile::Builder::new().prefix("imgbuild-").tempdir()?,
            hidden: hidden(facts),
            configuration: configuration(context, &workdir, &folder)?,
            context,
            withheld,
            playbook,
            workdir,
            inventory,
        })
    }

    /// A command with what all of Ansible's programs are given.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program_path(program, &self.context.workspace));
        command.current_dir(&self.workdir);
        self.withheld.iter().for_each(|name| _ = command.env_remove(name));
        command.env("ANSIBLE_CONFIG", &self.configuration);
        let given = self.context.pairs("env");
        let is_given = |name: &str| given.iter().any(|(given, _)| given == name);
        // What is compiled would lie among the inputs.
        command.env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("ANSIBLE_SSH_CONTROL_PATH_DIR", self.sockets.path());
        for (name, attribute, usual) in [
            ("ANSIBLE_ROLES_PATH", "roles_path", ROLES),
            ("ANSIBLE_COLLECTIONS_PATH", "collections_path", COLLECTIONS),
        ] {
            if let Some(path) = self.context.text(attribute)
                && !is_given(name)
            {
                command.env(name, format!("{}:{usual}", self.workdir.join(path).display()));
            }
        }
        let mut ssh_args = SSH_ARGS.to_owned();
        for (name, value) in given {
            if name == "ANSIBLE_SSH_ARGS" {
                ssh_args = value;
            } else {
                command.env(name, value);
            }
        }
        let config = quoted(&self.ssh.config.display().to_string());
        command.env("ANSIBLE_SSH_ARGS", format!("-F {config} {ssh_args}"));
        command
    }

    /// Runs a command of Ansible's.
    async fn run(
        &self,
        mut command: Command,
        on_line: &(dyn Fn(Stream, &str) + Send + Sync),
    ) -> Result<Exit, ActionError> {
        let exit = host::run_interruptible(self.context, &mut command, on_line).await;
        if self.context.cancel.is_cancelled() {
            return Err(ActionError::Cancelled);
        }
        exit.map_err(|error| {
            error.hint("is Ansible installed on this host? `pip install ansible-core` does it")
        })
    }

    /// The same, its output shown.
    async fn shown(&self, command: Command) -> Result<Exit, ActionError> {
        let on_line = |stream: Stream, line: &str| match &self.hidden {
            Some(finder) => {
                let masked = finder.mask(line.as_bytes());
                self.context.line(stream, &String::from_utf8_lossy(&masked));
            }
            None => self.context.line(stream, line),
        };
        self.run(command, &on_line).await
    }

    /// Whether the program is there and runs at all.
    async fn check_version(&self) -> Result<(), ActionError> {
        let program = self.context.text("command").unwrap_or_default();
        let mut command = self.command(&program);
        command.arg("--version");
        let said = Mutex::new(Vec::new());
        let on_line = |_: Stream, line: &str| {
            if let Ok(mut said) = said.lock() {
                said.push(line.to_owned());
            }
        };
        let exit = self.run(command, &on_line).await?;
        if exit != Exit::Code(0) {
            for line in said.into_inner().unwrap_or_default() {
                self.context.line(Stream::Stderr, &line);
            }
        }
        exit.success(&format!("`{program} --version`"))
    }

    /// Fetches roles and collections.
    async fn galaxy(&self) -> Result<(), ActionError> {
        let context = self.context;
        let Some(file) = one_file(context, "galaxy_file")? else { return Ok(()) };
        let wanted = Wanted::of(&fs_err::read_to_string(&file)?);
        let program = context.text("galaxy_command").unwrap_or_default();
        let one = async |words: &[&str], path: &str| {
            let mut command = self.command(&program);
            command.args(words).arg("-r").arg(&file);
            if let Some(path) = context.text(path) {
                command.arg("-p").arg(self.workdir.join(path));
            }
            if context.flag("galaxy_force_install") {
                command.arg("-f");
            }
            if context.flag("galaxy_force_with_deps") {
                command.arg("--force-with-deps");
            }
            self.shown(command).await?.success(&format!("`{program} {}`", words.join(" ")))
        };
        if wanted.roles {
            one(&["role", "install"], "roles_path").await?;
        }
        if wanted.collections {
            one(&["collection", "install"], "collections_path").await?;
        }
        Ok(())
    }

    async fn playbook(&self) -> Result<(), ActionError> {
        let context = self.context;
        let mut command = self.command(&context.text("command").unwrap_or_default());
        if let Some(variables) = &self.variables {
            command.arg("-e").arg(format!("@{}", variables.display()));
        }
        let ssh = context.texts("ssh_extra_args");
        if !ssh.is_empty() {
            command.arg(format!("--ssh-extra-args={}", ssh.join(" ")));
        }
        command.args(context.texts("extra_arguments")).arg("-i").arg(&self.inventory).arg(&self.playbook);
        self.shown(command).await?.success(&format!("`{}`", context.node().describe()))
    }
}

/// The file or folder that an attribute names.
fn one_file(context: &ActionContext, attribute: &str) -> Result<Option<PathBuf>, ActionError> {
    Ok(context.files(attribute)?.into_iter().next().map(|file| file.path))
}

/// The configuration: `ansible.cfg` of the folder that Ansible starts in where that is an input, else one that says nothing.
fn configuration(context: &ActionContext, workdir: &Path, folder: &Path) -> Result<PathBuf, ActionError> {
    let own = workdir.join("ansible.cfg");
    if own.is_file() {
        let inputs = context.files("srcs")?;
        if inputs.iter().any(|input| own.starts_with(&input.path)) {
            return Ok(own);
        }
        context.line(Stream::Stderr, &format!("{} is not heeded: it is not among `srcs`", own.display()));
    }
    let none = folder.join("ansible.cfg");
    write_private(&none, b"")?;
    Ok(none)
}

/// What is not to be seen in what Ansible says.
fn hidden(facts: &ConnectionFacts) -> Option<SecretFinder> {
    let password = facts.password.iter().cloned();
    let keys = facts.keys.iter().map(|key| key.text.clone());
    let named = |value: Secret| NamedSecret { name: "connection".to_owned(), value };
    let secrets: Vec<_> = password
        .chain(keys)
        .filter(|secret| secret.expose().len() >= imgbuild_engine::secrets::SHORTEST)
        .map(named)
        .collect();
    SecretFinder::new(&secrets)
}

/// Writes the inventory, beside the variables that belong to one.
fn write_inventory(
    context: &ActionContext,
    facts: &ConnectionFacts,
    user: &str,
    folder: &Path,
) -> Result<PathBuf, ActionError> {
    let folder = folder.join("inventory");
    private_folder(&folder)?;
    if let Some(directory) = one_file(context, "inventory_directory")? {
        for name in ["group_vars", "host_vars"] {
            if directory.join(name).is_dir() {
                fs_err::os::unix::fs::symlink(directory.join(name), folder.join(name))?;
            }
        }
    }
    let alias = context.text("host_alias").unwrap_or_default();
    let template = context.text("inventory_file_template");
    let line = match &template {
        Some(template) => template.as_str(),
        None => {
            for word in [&alias, &facts.host, user] {
                if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "\"'#\\".contains(c)) {
                    return Err(ActionError::input(format!("`{word}` cannot be written into an inventory")));
                }
            }
            LINE
        }
    };
    let port = facts.port.to_string();
    let known = [("HostAlias", &*alias), ("Host", &*facts.host), ("User", user), ("Port", &*port)];
    let mut text = render_with("inventory_file_template", line, &known)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for group in context.texts("groups") {
        let _ = write!(text, "[{}]\n{alias}\n", group_name(&group)?);
    }
    for group in context.texts("empty_groups") {
        let _ = writeln!(text, "[{}]", group_name(&group)?);
    }
    let path = folder.join("hosts");
    write_private(&path, text.as_bytes())?;
    if context.flag("keep_inventory_file") {
        let mut kept = tempfile::Builder::new().prefix("imgbuild-inventory-").tempfile()?;
        std::io::Write::write_all(&mut kept, text.as_bytes())?;
        let (_, kept) = kept.keep().map_err(|error| ActionError::from(error.error))?;
        context.line(Stream::Stdout, &format!("The inventory is kept as {}", kept.display()));
    }
    Ok(path)
}

pub(crate) fn group_name(name: &str) -> Result<&str, ActionError> {
    match name.is_empty() || name.contains(['[', ']', '\n', '\r', '#']) {
        true => Err(ActionError::input(format!("`{name}` is not the name of a group"))),
        false => Ok(name),
    }
}

/// Writes the variables that the playbook gets, and the password where there is no other way to log in.
fn write_variables(
    context: &ActionContext,
    facts: &ConnectionFacts,
    folder: &Path,
) -> Result<Option<PathBuf>, ActionError> {
    let mut all: Map<String, Json> =
        context.pairs("extra_vars").into_iter().map(|(name, value)| (name, value.into())).collect();
    if let Some(password) = facts.password.as_ref().filter(|_| facts.keys.is_empty() && facts.agent.is_none())
    {
        let text = String::from_utf8_lossy(password.expose()).into_owned();
        all.insert("ansible_password".to_owned(), text.into());
    }
    if all.is_empty() {
        return Ok(None);
    }
    let path = folder.join("variables.json");
    write_private(&path, Json::Object(all).to_string().as_bytes())?;
    Ok(Some(path))
}

/// What a file of requirements asks for. A list without names is one of roles.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) roles: bool,
    pub(crate) collections: bool,
}

impl Wanted {
    pub(crate) fn of(text: &str) -> Self {
        let has = |name: &str| {
            text.lines()
                .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(':')))
        };
        let collections = has("collections");
        Self { roles: has("roles") || !collections, collections }
    }
}

/// A word as Ansible reads it out of a list of arguments, which is as a shell does.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_for_roles_or_collections_or_both() {
        for (text, roles, collections) in [
            ("- src: x\n", true, false),
            ("---\nroles:\n  - x\n", true, false),
            ("collections:\n  - x\n", false, true),
            ("collections :\n - x\nroles:\n - y\n", true, true),
            ("- name: collections:\n", true, false),
        ] {
            assert_eq!(Wanted::of(text), Wanted { roles, collections }, "{text}");
        }
    }
}
