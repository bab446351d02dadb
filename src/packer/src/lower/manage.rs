//! Provisioners of configuration management: Ansible, Puppet, Salt.

use imgbuild_model::{Diagnostic, EntryKind, Value};

use super::Holes;
use super::chain::{Chain, Machine};
use super::config::Config;
use super::steps::{dict, texts, tries};
use crate::recipe::Step;

/// What Ansible reads of the folder of a playbook, beside files in YAML.
const AROUND_PLAYBOOKS: [&str; 22] = [
    "ansible.cfg",
    "action_plugins",
    "callback_plugins",
    "collections",
    "defaults",
    "files",
    "filter_plugins",
    "group_vars",
    "handlers",
    "host_vars",
    "inventory",
    "library",
    "lookup_plugins",
    "meta",
    "module_utils",
    "playbooks",
    "plugins",
    "roles",
    "tasks",
    "templates",
    "test_plugins",
    "vars",
];

/// The attributes of `ansible` that say how its local proxy works.
const PROXY: [&str; 6] = [
    "local_port",
    "ssh_host_key_file",
    "ssh_authorized_key_file",
    "ansible_proxy_key_type",
    "sftp_command",
    "use_sftp",
];

/// Reads attributes of a provisioner as those of a step.
struct Reader<'a, 'b, 'c> {
    config: &'a Config<'c>,
    chain: &'a mut Chain<'b>,
}

impl Reader<'_, '_, '_> {
    fn text(&self, name: &str) -> Value {
        self.config.hidden(name).map_or(Value::None, |text| Value::string(&text))
    }

    /// A program of the host: a name, or a path, which is one from where the build runs.
    fn program(&self, name: &str) -> Value {
        let is_relative =
            |text: &str| text.contains('/') && !text.starts_with('/') && Holes::mark_in(text).is_none();
        match self.config.hidden(name) {
            Some(text) if is_relative(&text) => {
                let path = self.chain.on_host(&text);
                // Without a `/` it would be looked for on the path.
                Value::string(&if path.contains('/') { path } else { format!("./{path}") })
            }
            _ => self.text(name),
        }
    }

    fn texts(&self, name: &str) -> Value {
        let found = self.config.hidden_texts(name);
        if found.is_empty() { Value::None } else { texts(&found) }
    }

    fn flag(&self, name: &str) -> Value {
        if self.config.flag(name) == Some(true) { Value::Bool(true) } else { Value::None }
    }

    /// A file or folder of the host.
    fn input(&mut self, name: &str) -> Value {
        let path = self.config.text(name);
        let found = path.and_then(|path| self.chain.input(&path, &self.config.location(name)));
        found.map_or(Value::None, |(input, _)| input)
    }

    /// One that must be a file.
    fn file(&mut self, name: &str) -> Value {
        let Some(path) = self.config.text(name) else { return Value::None };
        match self.chain.input(&path, &self.config.location(name)) {
            Some((input, EntryKind::File)) => input,
            Some(_) => {
                let error = Diagnostic::error(format!("`{path}` is not a file"));
                self.chain.problem(error.at(self.config.location(name)));
                Value::None
            }
            None => Value::None,
        }
    }

    fn inputs(&mut self, name: &str) -> Value {
        let location = self.config.location(name);
        let paths = self.config.texts(name);
        let found: Vec<_> = paths.iter().filter_map(|path| self.chain.input(path, &location)).collect();
        if found.is_empty() { Value::None } else { Value::list(found.into_iter().map(|(input, _)| input)) }
    }

    /// What every program is told of the build.
    fn build(&self, pairs: Vec<(String, String)>) -> Value {
        let recipe = self.chain.recipe;
        let own = [
            ("packer_build_name".to_owned(), recipe.source.to_string()),
            ("packer_builder_type".to_owned(), recipe.kind.to_string()),
        ];
        dict(own.into_iter().chain(pairs))
    }

    /// The attributes of all that runs in the guest.
    fn guest(&self) -> Vec<(&'static str, Value)> {
        let network = matches!(self.chain.machine, Machine::Rootfs { network: true });
        let network = if network { Value::Bool(true) } else { Value::None };
        vec![("network", network), ("new_privileges", Value::Bool(true))]
    }

    /// Refuses Windows guests, which have no shell of this kind.
    fn refuse_windows(&mut self) {
        if self.config.text("guest_os_type").is_some_and(|system| system == "windows") {
            let error = Diagnostic::error("this provisioner is not built in for guests with Windows");
            self.chain.problem(error.at(self.config.location("guest_os_type")));
        }
    }
}

/// `ansible`: from the host.
pub(super) fn ansible(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    if chain.machine != Machine::Host {
        let message = format!(
            "`ansible` needs a machine that is reached over SSH, and the builder `{}` has none",
            chain.recipe.kind
        );
        let error = Diagnostic::error(message).at(step.location.clone());
        return chain.problem(error.hint("`ansible-local` runs a playbook in the image itself"));
    }
    if config.flag("use_proxy") == Some(true) {
        let message = "`use_proxy = true` does nothing here: Ansible connects to the machine itself";
        let warning = Diagnostic::warning(message).at(config.location("use_proxy"));
        chain.problem(warning.hint("there is no local proxy, and what concerns one is passed over"));
    } else {
        for name in PROXY.into_iter().filter(|name| config.get(name).is_some()) {
            let message = format!("`{name}` does nothing here: Ansible connects to the machine itself");
            chain.problem(Diagnostic::warning(message).at(config.location(name)));
        }
    }
    for name in ["extra_arguments", "ansible_env_vars"] {
        if config.texts(name).iter().any(|text| text.contains("{{")) {
            let message = format!("`{name}` asks for what only a running build of Packer knows");
            let error = Diagnostic::error(message).at(config.location(name));
            chain.problem(error.hint("write what it stands for"));
        }
    }
    let mut env = Vec::new();
    for assignment in config.assignments("ansible_env_vars") {
        match assignment {
            Ok(pair) => env.push(pair),
            Err(text) => {
                let error = Diagnostic::error(format!("`{text}` in `ansible_env_vars` is no `NAME=value`"));
                chain.problem(error.at(config.location("ansible_env_vars")));
            }
        }
    }
    let on_host = |name: &str, chain: &Chain<'_>| {
        config.text(name).map_or(Value::None, |path| Value::string(&chain.on_host(&path)))
    };
    let (roles_path, collections_path) = (on_host("roles_path", chain), on_host("collections_path", chain));
    let user = user(config, chain);
    let srcs = around_playbook(config, chain);
    let workdir = Value::string(&chain.on_host("."));
    let mut reader = Reader { config, chain };
    let own = vec![
        ("playbook_file", reader.file("playbook_file")),
        ("srcs", srcs),
        ("command", reader.program("command")),
        ("extra_arguments", reader.texts("extra_arguments")),
        ("extra_vars", reader.build(Vec::new())),
        ("env", if env.is_empty() { Value::None } else { dict(env) }),
        ("host_alias", reader.text("host_alias")),
        ("groups", reader.texts("groups")),
        ("empty_groups", reader.texts("empty_groups")),
        ("user", user),
        ("inventory_file", reader.input("inventory_file")),
        ("inventory_directory", reader.input("inventory_directory")),
        ("inventory_file_template", reader.text("inventory_file_template")),
        ("keep_inventory_file", reader.flag("keep_inventory_file")),
        ("ssh_extra_args", reader.texts("ansible_ssh_extra_args")),
        ("galaxy_file", reader.file("galaxy_file")),
        ("galaxy_command", reader.program("galaxy_command")),
        ("galaxy_force_install", reader.flag("galaxy_force_install")),
        ("galaxy_force_with_deps", reader.flag("galaxy_force_with_deps")),
        ("roles_path", roles_path),
        ("collections_path", collections_path),
        ("skip_version_check", reader.flag("skip_version_check")),
        ("workdir", workdir),
    ];
    chain.step("ansible", [own, tries(step, true)].concat(), &step.location);
}

/// Who logs in. By Packer's proxy that is who the build logs in as, whatever `user` says.
fn user(config: &Config<'_>, chain: &mut Chain<'_>) -> Value {
    let Some(user) = config.text("user") else { return Value::None };
    if config.flag("use_proxy") == Some(false) {
        return Value::string(&user);
    }
    let own = Config::new(&chain.recipe.settings, chain.around.holes, chain.recipe.dialect);
    let who = own.text("ssh_username").unwrap_or_default();
    if who != user {
        let message = format!("Ansible logs in as `{who}`, as the build does, and not as `{user}`");
        let warning = Diagnostic::warning(message).at(config.location("user"));
        chain.problem(warning.hint("`use_proxy = false` lets `user` say who logs in"));
    }
    Value::None
}

/// What a playbook reads of its folder: all of it, but where the build runs in that folder only what Ansible knows, since the
/// rest is what the build itself writes. Also the configuration in the folder that Ansible starts in, and the folders of roles
/// and collections that nothing is fetched into.
fn around_playbook(config: &Config<'_>, chain: &mut Chain<'_>) -> Value {
    let location = config.location("playbook_file");
    let Some(playbook) = config.text("playbook_file").map(|path| chain.absolute(&path)) else {
        return Value::None;
    };
    let folder = playbook.rsplit_once('/').map_or("/", |(folder, _)| folder).to_owned();
    let cwd = chain.around.cwd.trim_end_matches('/');
    let is_around =
        |folder: &str| cwd == folder || cwd.starts_with(&format!("{}/", folder.trim_end_matches('/')));
    let mut paths = Vec::new();
    if is_around(&folder) {
        let is_read = |name: &str| {
            AROUND_PLAYBOOKS.contains(&name) || name.ends_with(".yml") || name.ends_with(".yaml")
        };
        let names = chain.around.files.list(&folder).unwrap_or_default();
        let inside = names.into_iter().map(|(name, _)| name).filter(|name| is_read(name));
        paths.extend(inside.map(|name| format!("{}/{name}", folder.trim_end_matches('/'))));
        paths.retain(|path| *path != playbook);
    } else if chain.around.files.kind(&folder).is_some() {
        paths.push(folder);
    }
    let configuration = format!("{cwd}/ansible.cfg");
    if !paths.contains(&configuration) && chain.around.files.kind(&configuration).is_some() {
        paths.push(configuration);
    }
    if config.text("galaxy_file").is_none() {
        for name in ["roles_path", "collections_path"] {
            let path = config.text(name).map(|path| chain.absolute(&path));
            let path = path.filter(|path| !is_around(path) && chain.around.files.kind(path).is_some());
            paths.extend(path);
        }
    }
    let found: Vec<_> = paths.iter().filter_map(|path| chain.input(path, &location)).collect();
    if found.is_empty() { Value::None } else { Value::list(found.into_iter().map(|(input, _)| input)) }
}

/// `ansible-local`: in the guest.
pub(super) fn ansible_local(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    let mut reader = Reader { config, chain };
    let playbooks = match reader.file("playbook_file") {
        Value::None => reader.inputs("playbook_files"),
        playbook => Value::list([playbook]),
    };
    let mut own = vec![
        ("playbook_files", playbooks),
        ("playbook_dir", reader.input("playbook_dir")),
        ("playbook_paths", reader.inputs("playbook_paths")),
        ("role_paths", reader.inputs("role_paths")),
        ("collection_paths", reader.inputs("collection_paths")),
        ("group_vars", reader.input("group_vars")),
        ("host_vars", reader.input("host_vars")),
        ("command", reader.text("command")),
        ("extra_arguments", reader.texts("extra_arguments")),
        ("extra_vars", reader.build(Vec::new())),
        ("inventory_file", reader.file("inventory_file")),
        ("inventory_groups", reader.texts("inventory_groups")),
        ("galaxy_file", reader.file("galaxy_file")),
        ("galaxy_command", reader.text("galaxy_command")),
        ("galaxy_force_install", reader.flag("galaxy_force_install")),
        ("galaxy_roles_path", reader.text("galaxy_roles_path")),
        ("galaxy_collections_path", reader.text("galaxy_collections_path")),
        ("staging_directory", reader.text("staging_directory")),
        ("clean_staging_directory", reader.flag("clean_staging_directory")),
    ];
    own.extend(reader.guest());
    chain.step("ansible_local", [own, tries(step, true)].concat(), &step.location);
}

/// `puppet-masterless`.
pub(super) fn puppet_masterless(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    let mut reader = Reader { config, chain };
    reader.refuse_windows();
    let mut own = vec![
        ("manifest_file", reader.input("manifest_file")),
        ("manifest_dir", reader.input("manifest_dir")),
        ("module_paths", reader.inputs("module_paths")),
        ("hiera_config_path", reader.file("hiera_config_path")),
        ("facter", reader.build(config.hidden_pairs("facter"))),
        ("extra_arguments", reader.texts("extra_arguments")),
        ("ignore_exit_codes", reader.flag("ignore_exit_codes")),
        ("prevent_sudo", reader.flag("prevent_sudo")),
        ("puppet_bin_dir", reader.text("puppet_bin_dir")),
        ("working_directory", reader.text("working_directory")),
        ("execute_command", reader.text("execute_command")),
        ("staging_directory", reader.text("staging_directory")),
        ("clean_staging_directory", reader.flag("clean_staging_directory")),
    ];
    own.extend(reader.guest());
    chain.step("puppet_masterless", [own, tries(step, true)].concat(), &step.location);
}

/// `salt-masterless`.
pub(super) fn salt_masterless(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    let mut reader = Reader { config, chain };
    reader.refuse_windows();
    if !config.texts("formulas").is_empty() {
        let error = Diagnostic::error("`formulas` are not fetched here").at(config.location("formulas"));
        reader.chain.problem(error.hint("put them into the folder of `local_state_tree`"));
    }
    let skips = config.flag("skip_bootstrap") == Some(true);
    let mut own = vec![
        ("local_state_tree", reader.input("local_state_tree")),
        ("local_pillar_roots", reader.input("local_pillar_roots")),
        ("remote_state_tree", reader.text("remote_state_tree")),
        ("remote_pillar_roots", reader.text("remote_pillar_roots")),
        ("minion_config", reader.file("minion_config")),
        ("grains_file", reader.file("grains_file")),
        ("custom_state", reader.text("custom_state")),
        ("skip_bootstrap", if skips { Value::None } else { Value::Bool(false) }),
        ("bootstrap_args", reader.text("bootstrap_args")),
        ("disable_sudo", reader.flag("disable_sudo")),
        ("no_exit_on_failure", reader.flag("no_exit_on_failure")),
        ("log_level", reader.text("log_level")),
        ("salt_call_args", reader.text("salt_call_args")),
        ("salt_bin_dir", reader.text("salt_bin_dir")),
        ("temp_config_dir", reader.text("temp_config_dir")),
    ];
    own.extend(reader.guest());
    chain.step("salt_masterless", [own, tries(step, true)].concat(), &step.location);
}
