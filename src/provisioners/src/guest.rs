//! `ansible_local`, `puppet_masterless`, `salt_masterless`: configuration management that runs in the machine.
//!
//! All that a program needs of the host is laid out in one folder, which the session shows to the machine and takes away
//! again. What the user wrote for the machine's shell goes there as it is; everything else is quoted.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use imgbuild_engine::{ActionContext, ActionError, Bind, Command, Exit, InputFile, Session};
use imgbuild_gotemplate::{Functions, Value};
use imgbuild_model::Stream;
use serde_json::{Map, Value as Json};

use crate::Provisioner;
use crate::ansible::{COLLECTIONS, ROLES, Wanted, quoted};
use crate::execute_command::render;
use crate::shell::{Surroundings, copy, set_mode};

/// The code behind `ansible_local`.
pub(crate) struct AnsibleLocal;
/// The code behind `puppet_masterless`.
pub(crate) struct Puppet;
/// The code behind `salt_masterless`.
pub(crate) struct Salt;

/// How a shell says that there is no such program.
const NOT_FOUND: i32 = 127;
/// How [`Salt`]'s script says that it could not fetch the program that installs Salt.
const NOT_FETCHED: i32 = 126;

/// What the machine is shown.
struct Staging<'a> {
    context: &'a ActionContext,
    /// On the host.
    folder: PathBuf,
    /// In the machine.
    shown: String,
    /// Whether it stays there.
    leave: bool,
    time: i64,
}

impl<'a> Staging<'a> {
    /// An empty one; `attribute` says where it is in the machine.
    fn new(context: &'a ActionContext, session: &dyn Session, attribute: &str) -> Result<Self, ActionError> {
        let folder = context.temporary.join("step");
        fs_err::create_dir_all(&folder)?;
        set_mode(&folder, 0o755)?;
        let given = context.text(attribute);
        Ok(Self {
            leave: given.is_some() && !context.flag("clean_staging_directory"),
            shown: given.unwrap_or_else(|| session.step_folder()).trim_end_matches('/').to_owned(),
            time: context.parent_metadata().source_date,
            context,
            folder,
        })
    }

    /// The path in the machine of what is below.
    fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.shown)
    }

    /// Whether something has been put there.
    fn has(&self, below: &str) -> bool {
        self.folder.join(below).symlink_metadata().is_ok()
    }

    /// Puts a file or folder there; gives its path in the machine. The contents of several folders may go to one place.
    fn put(&self, input: &InputFile, below: &str) -> Result<String, ActionError> {
        let target = self.folder.join(below);
        if let Some(above) = target.parent() {
            fs_err::create_dir_all(above)?;
        }
        copy(&input.path, &target, self.time)?;
        Ok(self.path(below))
    }

    /// Puts what an attribute names there.
    fn put_one(&self, attribute: &str, below: &str) -> Result<Option<String>, ActionError> {
        let input = self.context.files(attribute)?.into_iter().next();
        input.map(|input| self.put(&input, below)).transpose()
    }

    /// Puts all that an attribute names into a folder, under their names.
    fn put_all(&self, attribute: &str, below: &str) -> Result<Vec<String>, ActionError> {
        let inputs = self.context.files(attribute)?;
        inputs.iter().map(|input| self.put(input, &format!("{below}/{}", input.name))).collect()
    }

    /// Writes a file that may hold what not everybody is to read.
    fn write(&self, name: &str, text: &str) -> Result<String, ActionError> {
        let path = self.folder.join(name);
        fs_err::write(&path, text)?;
        // Who else is on a machine does not read it; in an image's tree there is nobody else.
        set_mode(&path, if self.context.node().logs_in() { 0o600 } else { 0o644 })?;
        Ok(self.path(name))
    }

    /// Runs a line in the machine, which sees the folder.
    async fn run(&self, session: &mut dyn Session, line: String) -> Result<Exit, ActionError> {
        let bind = Bind {
            source: self.folder.clone(),
            target: self.shown.clone(),
            writable: true,
            leave: self.leave,
        };
        let command = Command { binds: vec![bind], ..self.command(line) };
        session.exec(&command, &mut |stream, line| self.context.line(stream, line)).await
    }

    fn command(&self, line: String) -> Command {
        let context = self.context;
        let around = Surroundings::new(&context.node().state, &context.parent_metadata());
        Command {
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), line],
            env: around.env,
            user: context.text("user").or(around.user),
            network: context.flag("network"),
            new_privileges: context.flag("new_privileges"),
            ..Command::default()
        }
    }

    /// Whether commands are root's.
    async fn is_root(&self, session: &mut dyn Session) -> Result<bool, ActionError> {
        let mut said = String::new();
        let on_line = &mut |stream: Stream, line: &str| {
            if stream == Stream::Stdout {
                said.push_str(line);
            }
        };
        session.exec(&self.command("id -u".to_owned()), on_line).await?;
        Ok(said.trim() == "0")
    }

    /// An error for how it ended, if that is one; `program` is what may not be there.
    fn done(&self, exit: Exit, program: &str, valid: &[i64]) -> Result<(), ActionError> {
        let place = if self.context.node().logs_in() { "on the machine" } else { "in the image" };
        if exit == Exit::Code(NOT_FOUND) {
            return Err(ActionError::input(format!("there is no `{program}` {place}"))
                .hint("install it in a step before"));
        }
        exit.among(valid, &format!("`{}`", self.context.node().describe()))
    }
}

#[async_trait]
impl Provisioner for AnsibleLocal {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let staging = Staging::new(context, session, "staging_directory")?;
        let folder = context.files("playbook_dir")?.into_iter().next();
        if let Some(folder) = &folder {
            staging.put(folder, "")?;
        }
        let mut playbooks = Vec::new();
        for playbook in context.files("playbook_files")? {
            let inside = folder.as_ref().and_then(|folder| playbook.path.strip_prefix(&folder.path).ok());
            let path = inside.and_then(|path| path.to_str());
            if path.is_none() && staging.has(&playbook.name) {
                return Err(ActionError::input(format!(
                    "another file that `ansible_local` is given is called `{}`, as a playbook is",
                    playbook.name
                ))
                .hint("playbooks are put beside each other under their own names: rename one, or give the folder of both as `playbook_dir`"));
            }
            playbooks.push(match path {
                Some(path) => staging.path(path),
                None => staging.put(&playbook, &playbook.name)?,
            });
        }
        for (attribute, below) in
            [("playbook_paths", "playbooks"), ("role_paths", "roles"), ("collection_paths", "collections")]
        {
            staging.put_all(attribute, below)?;
        }
        staging.put_one("group_vars", "group_vars")?;
        staging.put_one("host_vars", "host_vars")?;
        let inventory = match context.files("inventory_file")?.into_iter().next() {
            Some(file) => staging.put(&file, &file.name)?,
            None => {
                staging.write("imgbuild-inventory", &local_inventory(&context.texts("inventory_groups"))?)?
            }
        };
        let mut line = format!("cd {} || exit 1\n", quoted(&staging.shown));
        galaxy(&staging, &mut line)?;
        let variables: Map<String, Json> =
            context.pairs("extra_vars").into_iter().map(|(name, value)| (name, value.into())).collect();
        let mut arguments = String::new();
        if !variables.is_empty() {
            let path = staging.write("imgbuild-variables.json", &Json::Object(variables).to_string())?;
            let _ = write!(arguments, " --extra-vars {}", quoted(&format!("@{path}")));
        }
        for word in context.texts("extra_arguments") {
            let _ = write!(arguments, " {word}");
        }
        let program = context.text("command").unwrap_or_default();
        for playbook in &playbooks {
            let (playbook, inventory) = (quoted(playbook), quoted(&inventory));
            let _ = writeln!(line, "{program} {playbook}{arguments} -c local -i {inventory} || exit");
        }
        let exit = staging.run(session, line).await?;
        staging.done(exit, program.split(' ').next_back().unwrap_or("ansible-playbook"), &[])
    }
}

/// The inventory of a machine that is its own.
fn local_inventory(groups: &[String]) -> Result<String, ActionError> {
    if groups.is_empty() {
        return Ok("127.0.0.1\n".to_owned());
    }
    let section = |group: &String| Ok(format!("[{}]\n127.0.0.1\n", crate::ansible::group_name(group)?));
    groups.iter().map(section).collect()
}

/// The lines that fetch roles and collections, and where they are found then.
fn galaxy(staging: &Staging<'_>, line: &mut String) -> Result<(), ActionError> {
    let context = staging.context;
    let roles = context.text("galaxy_roles_path").unwrap_or_else(|| staging.path("roles"));
    let collections = context.text("galaxy_collections_path").unwrap_or_else(|| staging.path("collections"));
    let _ = writeln!(line, "export ANSIBLE_ROLES_PATH={}", quoted(&format!("{roles}:{ROLES}")));
    let paths = quoted(&format!("{collections}:{COLLECTIONS}"));
    let _ = writeln!(line, "export ANSIBLE_COLLECTIONS_PATH={paths}");
    let Some(file) = context.files("galaxy_file")?.into_iter().next() else { return Ok(()) };
    let wanted = Wanted::of(&fs_err::read_to_string(&file.path)?);
    let list = quoted(&staging.put(&file, &file.name)?);
    let program = context.text("galaxy_command").unwrap_or_default();
    let force = if context.flag("galaxy_force_install") { " -f" } else { "" };
    for (is_wanted, what, path) in
        [(wanted.roles, "role", &roles), (wanted.collections, "collection", &collections)]
    {
        if is_wanted {
            let _ = writeln!(line, "{program} {what} install -r {list} -p {}{force} || exit", quoted(path));
        }
    }
    Ok(())
}

#[async_trait]
impl Provisioner for Puppet {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let staging = Staging::new(context, session, "staging_directory")?;
        let manifest_dir = staging.put_one("manifest_dir", "manifests")?;
        let manifest = match context.files("manifest_file")?.into_iter().next() {
            Some(folder) if folder.is_directory => staging.put(&folder, "manifests")?,
            Some(file) => staging.put(&file, &format!("manifests/{}", file.name))?,
            None => return Err(ActionError::input("`puppet_masterless` needs `manifest_file`")),
        };
        let mut modules = Vec::new();
        for (place, input) in context.files("module_paths")?.iter().enumerate() {
            modules.push(staging.put(input, &format!("module-{place}"))?);
        }
        let sudo = !context.flag("prevent_sudo") && !staging.is_root(session).await?;
        let call = Apply {
            workdir: context.text("working_directory").unwrap_or_else(|| staging.shown.clone()),
            facts: facts(&context.pairs("facter"))?,
            sudo,
            folder: context.text("puppet_bin_dir").unwrap_or_default(),
            modules: modules.join(":"),
            hiera: staging.put_one("hiera_config_path", "hiera.yaml")?.unwrap_or_default(),
            manifest_dir: manifest_dir.unwrap_or_default(),
            arguments: context.texts("extra_arguments").join(" "),
            manifest,
        };
        let line = match context.text("execute_command") {
            Some(template) => call.render(&template)?,
            None => call.line(),
        };
        let exit = staging.run(session, line).await?;
        if context.flag("ignore_exit_codes") && matches!(exit, Exit::Code(code) if code != NOT_FOUND) {
            return Ok(());
        }
        // 2 is that something was changed.
        staging.done(exit, "puppet", &[0, 2])
    }
}

/// A call of `puppet apply`.
struct Apply {
    workdir: String,
    /// As assignments.
    facts: String,
    sudo: bool,
    folder: String,
    modules: String,
    hiera: String,
    manifest_dir: String,
    arguments: String,
    manifest: String,
}

impl Apply {
    fn line(&self) -> String {
        let mut line = format!("cd {} && ", quoted(&self.workdir));
        if !self.facts.is_empty() {
            let _ = write!(line, "{} ", self.facts);
        }
        if self.sudo {
            line.push_str("sudo -E ");
        }
        let program =
            if self.folder.is_empty() { "puppet".to_owned() } else { format!("{}/puppet", self.folder) };
        let _ = write!(line, "{} apply --detailed-exitcodes", quoted(&program));
        for (option, value) in [
            ("modulepath", &self.modules),
            ("hiera_config", &self.hiera),
            ("manifestdir", &self.manifest_dir),
        ] {
            if !value.is_empty() {
                let _ = write!(line, " --{option}={}", quoted(value));
            }
        }
        if !self.arguments.is_empty() {
            let _ = write!(line, " {}", self.arguments);
        }
        let _ = write!(line, " {}", quoted(&self.manifest));
        line
    }

    fn render(&self, template: &str) -> Result<String, ActionError> {
        let texts = [
            ("WorkingDir", &self.workdir),
            ("FacterVars", &self.facts),
            ("PuppetBinDir", &self.folder),
            ("ModulePath", &self.modules),
            ("HieraConfigPath", &self.hiera),
            ("ManifestDir", &self.manifest_dir),
            ("ManifestFile", &self.manifest),
            ("ExtraArguments", &self.arguments),
        ];
        let mut fields: Vec<(String, Value)> = texts
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Value::String(text.as_str().into())))
            .collect();
        fields.push(("Sudo".to_owned(), Value::Bool(self.sudo)));
        fields.push(("Debug".to_owned(), Value::Bool(false)));
        let names: Vec<_> = texts.iter().map(|(name, _)| *name).chain(["Sudo", "Debug"]).collect();
        render("execute_command", template, &Functions::new(), &Value::Record(Arc::new(fields)), &names)
    }
}

/// Facts as assignments for a shell.
fn facts(facts: &[(String, String)]) -> Result<String, ActionError> {
    let mut words = Vec::new();
    for (name, value) in facts {
        if name.is_empty() || name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            return Err(ActionError::input(format!("`{name}` in `facter` is not the name of a fact"))
                .hint("a name has letters, digits and `_`"));
        }
        words.push(format!("FACTER_{name}={}", quoted(value)));
    }
    Ok(words.join(" "))
}

#[async_trait]
impl Provisioner for Salt {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let skip_bootstrap = context.flag("skip_bootstrap");
        if !skip_bootstrap && !context.flag("network") && !context.node().logs_in() {
            return Err(ActionError::input("Salt is installed over the network, which this step has not")
                .hint(
                    "say `network = True`, or install Salt in a step before and say `skip_bootstrap = True`",
                ));
        }
        let staging = Staging::new(context, session, "temp_config_dir")?;
        let folder = context.text("salt_bin_dir").map(|folder| format!("{}/", folder.trim_end_matches('/')));
        let program = format!("{}salt-call", folder.unwrap_or_default());
        let mut line = "set -eu\n".to_owned();
        line.push_str(if context.flag("disable_sudo") {
            "as_root() { \"$@\"; }\n"
        } else {
            "as_root() { if [ \"$(id -u)\" = 0 ]; then \"$@\"; else sudo \"$@\"; fi; }\n"
        });
        line.push_str("replace() { as_root rm -rf \"$2\" && as_root mkdir -p \"${2%/*}/\" && as_root cp -R \"$1\" \"$2\"; }\n");
        if !skip_bootstrap {
            let url = context.text("bootstrap_url").unwrap_or_default();
            let words = context.text("bootstrap_args").unwrap_or_default();
            line.push_str(&bootstrap(&program, &url, &staging.path("bootstrap-salt.sh"), &words));
        }
        for (attribute, name) in [("minion_config", "minion"), ("grains_file", "grains")] {
            if let Some(path) = staging.put_one(attribute, name)? {
                let _ = writeln!(line, "replace {} /etc/salt/{name}", quoted(&path));
            }
        }
        let mut trees = String::new();
        for (attribute, name, remote, option) in [
            ("local_state_tree", "states", "remote_state_tree", "file-root"),
            ("local_pillar_roots", "pillar", "remote_pillar_roots", "pillar-root"),
        ] {
            let target = context.text(remote).unwrap_or_default();
            let target = target.trim_end_matches('/');
            if !target.starts_with('/') {
                return Err(ActionError::input(format!("`{remote}` is not the path of a folder")));
            }
            if let Some(path) = staging.put_one(attribute, name)? {
                let _ = writeln!(line, "replace {} {}", quoted(&path), quoted(target));
            }
            let _ = write!(trees, " --{option}={}", quoted(target));
        }
        let _ = write!(line, "as_root {} --local", quoted(&program));
        match context.text("custom_state") {
            Some(state) => {
                let _ = write!(line, " state.sls {}", quoted(&state));
            }
            None => line.push_str(" state.highstate"),
        }
        // A minion's configuration says itself where all is.
        let configured = !context.files("minion_config")?.is_empty();
        line.push_str(if configured { " --config-dir=/etc/salt" } else { &trees });
        if !context.flag("no_exit_on_failure") {
            line.push_str(" --retcode-passthrough");
        }
        let _ = write!(line, " -l {}", quoted(&context.text("log_level").unwrap_or_default()));
        if let Some(words) = context.text("salt_call_args") {
            let _ = write!(line, " {words}");
        }
        if context.flag("no_exit_on_failure") {
            // States that fail are let pass, and nothing else: neither what was done before nor a program that is not there.
            let _ = write!(line, " || {{ code=$?; [ \"$code\" -ne {NOT_FOUND} ] || exit \"$code\"; }}");
        }
        let exit = staging.run(session, line).await?;
        if exit == Exit::Code(NOT_FETCHED) && !skip_bootstrap {
            let url = context.text("bootstrap_url").unwrap_or_default();
            return Err(ActionError::environment(format!(
                "the program that installs Salt cannot be fetched from {url}"
            ))
            .hint(
                "install Salt in a step before and say `skip_bootstrap`, or give another `bootstrap_url`",
            ));
        }
        staging.done(exit, &program, &[])
    }
}

/// The lines that install Salt where it is not there yet.
fn bootstrap(program: &str, url: &str, path: &str, words: &str) -> String {
    let (url, path) = (quoted(url), quoted(path));
    format!(
        "if ! command -v {program} >/dev/null 2>&1; then\n\
         {{ curl -fsSL -o {path} {url} || wget -q -O {path} {url}; }} || exit {NOT_FETCHED}\n\
         as_root sh {path} {words}\n\
         fi\n",
        program = quoted(program)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply() -> Apply {
        Apply {
            workdir: "/run/s".to_owned(),
            facts: facts(&[("role".to_owned(), "it's".to_owned())]).unwrap(),
            sudo: true,
            folder: String::new(),
            modules: "/run/s/module-0:/run/s/module-1".to_owned(),
            hiera: String::new(),
            manifest_dir: String::new(),
            arguments: "--noop -v".to_owned(),
            manifest: "/run/s/manifests/a b.pp".to_owned(),
        }
    }

    #[test]
    fn puppet_is_called_with_quoted_words() {
        assert_eq!(
            apply().line(),
            r"cd '/run/s' && FACTER_role='it'\''s' sudo -E 'puppet' apply --detailed-exitcodes --modulepath='/run/s/module-0:/run/s/module-1' --noop -v '/run/s/manifests/a b.pp'"
        );
        let own = Apply { sudo: false, folder: "/opt/puppetlabs/bin".to_owned(), ..apply() };
        assert!(own.line().contains(r"FACTER_role='it'\''s' '/opt/puppetlabs/bin/puppet' apply"));
    }

    #[test]
    fn a_template_says_how_puppet_is_called() {
        let template = "cd {{.WorkingDir}} && {{if .Sudo}}sudo {{end}}{{if ne .PuppetBinDir \"\"}}{{.PuppetBinDir}}/{{end}}puppet apply {{if .Debug}}-d {{end}}{{if ne .ModulePath \"\"}}--modulepath='{{.ModulePath}}' {{end}}{{.ManifestFile}}";
        assert_eq!(
            apply().render(template).unwrap(),
            "cd /run/s && sudo puppet apply --modulepath='/run/s/module-0:/run/s/module-1' /run/s/manifests/a b.pp"
        );
        let error = apply().render("{{.Nothing}}").unwrap_err().to_string();
        assert!(error.contains("`execute_command` cannot be rendered"), "{error}");
    }

    #[test]
    fn salt_is_installed_where_it_is_not_there() {
        if !std::path::Path::new("/usr/bin/curl").exists() {
            eprintln!("SKIPPED: there is no /usr/bin/curl");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs_err::write(path("installer"), "echo installs \"$@\"\n").unwrap();
        let run = |program: &str, url: &str| {
            let lines = bootstrap(program, url, &path("a copy"), "-P 'a b'");
            let line = format!("set -eu\nas_root() {{ \"$@\"; }}\n{lines}echo end\n");
            let ended = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
        };
        let url = format!("file://{}", path("installer"));
        assert_eq!(run("/no/salt-call", &url), (Some(0), "installs -P a b\nend\n".to_owned()));
        assert_eq!(run("sh", &url), (Some(0), "end\n".to_owned()));
        let gone = format!("file://{}", path("gone"));
        assert_eq!(run("/no/salt-call", &gone), (Some(NOT_FETCHED), String::new()));
    }

    #[test]
    fn names_of_facts_and_groups_are_looked_at() {
        assert!(facts(&[("a-b".to_owned(), String::new())]).is_err());
        assert_eq!(local_inventory(&[]).unwrap(), "127.0.0.1\n");
        assert_eq!(local_inventory(&["web".to_owned()]).unwrap(), "[web]\n127.0.0.1\n");
        assert!(local_inventory(&["a]".to_owned()]).is_err());
    }
}
