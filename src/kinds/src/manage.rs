//! Configuration management: Ansible, Puppet, Salt; and starting a machine anew.
//!
//! Names are those of Packer's plugins. Files of the host are inputs, so that what is in them is in the key; what a program
//! reads besides is not known here.

use imgbuild_model::{
    AttributeSchema, AttributeType, Default, Effect, KindClass, KindSchema, Role, StateUse,
};

use crate::attribute::{
    CACHE, CHECKPOINTS, CONTINUE_ON_ERROR, MAX_RETRIES, PAUSE_BEFORE, TIMEOUT, content, unkeyed,
};

/// A step that runs commands in the image.
const fn in_guest(id: &'static str, doc: &'static str, attributes: &'static [AttributeSchema]) -> KindSchema {
    KindSchema {
        id,
        class: KindClass::Step,
        key_version: 1,
        effect: Effect::Guest,
        doc,
        attributes,
        keeps_packages: false,
        state: StateUse::Commands,
        includes: &[&CHECKPOINTS],
        ..KindSchema::BLANK
    }
}

/// A step that needs a machine that runs.
const fn on_machine(
    id: &'static str,
    doc: &'static str,
    attributes: &'static [AttributeSchema],
) -> KindSchema {
    KindSchema { needs_machine: true, state: StateUse::None, ..in_guest(id, doc, attributes) }
}

const fn text(name: &'static str, doc: &'static str) -> AttributeSchema {
    content(name, AttributeType::String, Default::None, doc)
}

const fn texts(name: &'static str, doc: &'static str) -> AttributeSchema {
    content(name, AttributeType::StringList, Default::EmptyList, doc)
}

const fn flag(name: &'static str, doc: &'static str) -> AttributeSchema {
    content(name, AttributeType::Bool, Default::Bool(false), doc)
}

const fn file(name: &'static str, doc: &'static str) -> AttributeSchema {
    content(name, AttributeType::File, Default::None, doc)
}

const fn files(name: &'static str, doc: &'static str) -> AttributeSchema {
    content(name, AttributeType::Files, Default::EmptyList, doc)
}

const NETWORK: AttributeSchema = flag("network", "Whether it may use the network.");
const NEW_PRIVILEGES: AttributeSchema = flag(
    "new_privileges",
    "Whether programs may gain privileges by set-user-id bits (`sudo` and `su` need it).",
);
const USER: AttributeSchema = text("user", "Who runs it; the chain's user if absent, else root.");
const STAGING: AttributeSchema = text(
    "staging_directory",
    "The folder of the machine that all is put into; one of the step's own, which is always taken away, if absent.",
);
const CLEAN_STAGING: AttributeSchema = flag(
    "clean_staging_directory",
    "Whether the `staging_directory` of a machine is removed after. In an image's tree nothing of it ever stays.",
);
const EXTRA_VARS: AttributeSchema = content(
    "extra_vars",
    AttributeType::StringDict,
    Default::EmptyDict,
    "Variables of the playbook. They go through a file and not over a command line.",
);
const GALAXY_FILE: AttributeSchema = file(
    "galaxy_file",
    "A list of roles and collections to fetch before, as `requirements.yml` of `ansible-galaxy`.",
);
const GALAXY_COMMAND: AttributeSchema = content(
    "galaxy_command",
    AttributeType::String,
    Default::String("ansible-galaxy"),
    "The program that fetches them.",
);
const GALAXY_FORCE: AttributeSchema =
    flag("galaxy_force_install", "Whether they are fetched again where they are there already.");

/// Ansible, on this host.
pub(crate) static ANSIBLE: KindSchema = KindSchema {
    tool: "command",
    key_version: 2,
    ..on_machine(
        "ansible",
        "Runs a playbook of Ansible on this host against the machine, over a connection of its own with the keys of the build.",
        &[
            content("playbook_file", AttributeType::File, Default::Required, "The playbook."),
            files(
                "srcs",
                "What the playbook reads besides: files and folders of roles, variables, templates. They are inputs and are read where they lie.",
            ),
            unkeyed(
                "command",
                AttributeType::String,
                Default::String("ansible-playbook"),
                Role::Placement,
                "The program: a name on the path, or a path relative to the workspace's root, as that of `galaxy_command` is. The first line of what it says of its version is in the key.",
            ),
            texts("extra_arguments", "Further arguments, as they are."),
            EXTRA_VARS,
            content(
                "env",
                AttributeType::StringDict,
                Default::EmptyDict,
                "Environment variables, beside those of the program itself.",
            ),
            content(
                "host_alias",
                AttributeType::String,
                Default::String("default"),
                "What the machine is called in the inventory.",
            ),
            texts("groups", "Groups that the machine is put into."),
            texts("empty_groups", "Groups that are there without a machine."),
            text("user", "Who logs in; who the build logs in as if absent."),
            file("inventory_file", "The inventory, in place of one that is made."),
            file(
                "inventory_directory",
                "A folder with the `group_vars` and `host_vars` of the inventory that is made.",
            ),
            text(
                "inventory_file_template",
                "The machine's line in the inventory that is made: a template with `{{ .HostAlias }}`, `{{ .Host }}`, `{{ .User }}` and `{{ .Port }}`.",
            )
            .late(),
            unkeyed(
                "keep_inventory_file",
                AttributeType::Bool,
                Default::Bool(false),
                Role::Policy,
                "Whether the inventory that is made is left in the host's folder for temporary files; its path is told.",
            ),
            unkeyed(
                "ssh_extra_args",
                AttributeType::StringList,
                Default::EmptyList,
                Role::Transport,
                "Further arguments of `ssh`.",
            ),
            GALAXY_FILE,
            GALAXY_COMMAND,
            GALAXY_FORCE,
            flag("galaxy_force_with_deps", "Whether what they depend on is fetched again too."),
            unkeyed(
                "roles_path",
                AttributeType::String,
                Default::None,
                Role::Placement,
                "The folder of the host that roles are fetched into and found in, relative to `workdir`. What a build is to notice of it goes into `srcs`.",
            ),
            unkeyed(
                "collections_path",
                AttributeType::String,
                Default::None,
                Role::Placement,
                "The same for collections.",
            ),
            unkeyed(
                "skip_version_check",
                AttributeType::Bool,
                Default::Bool(false),
                Role::Policy,
                "Whether the program is not asked for its version before.",
            ),
            unkeyed(
                "workdir",
                AttributeType::String,
                Default::None,
                Role::Placement,
                "The folder that it starts in, relative to the workspace's root; the playbook's folder if absent. An `ansible.cfg` there is heeded if it is among `srcs`.",
            ),
            CONTINUE_ON_ERROR,
            MAX_RETRIES,
            PAUSE_BEFORE,
            TIMEOUT,
            CACHE,
        ],
    )
};

/// Ansible, in the guest.
pub(crate) static ANSIBLE_LOCAL: KindSchema = in_guest(
    "ansible_local",
    "Runs playbooks of Ansible in the image, which has Ansible.",
    &[
        content("playbook_files", AttributeType::Files, Default::Required, "The playbooks, in order."),
        file(
            "playbook_dir",
            "A folder with all that the playbooks need; they are found in it by their path.",
        ),
        files("playbook_paths", "Folders with further playbooks; they are put into `playbooks/`."),
        files("role_paths", "Folders with a role each; they are put into `roles/`."),
        files("collection_paths", "Folders that are put into `collections/`."),
        file("group_vars", "A folder with variables of groups."),
        file("host_vars", "A folder with variables of hosts."),
        content(
            "command",
            AttributeType::String,
            Default::String("ANSIBLE_FORCE_COLOR=1 PYTHONUNBUFFERED=1 ansible-playbook"),
            "How Ansible is called: words for the machine's shell.",
        ),
        texts("extra_arguments", "Further words for the machine's shell, after the playbook."),
        EXTRA_VARS,
        file("inventory_file", "The inventory; `127.0.0.1` alone if absent."),
        texts("inventory_groups", "Groups of the inventory that is made, which `127.0.0.1` is put into."),
        GALAXY_FILE,
        GALAXY_COMMAND,
        GALAXY_FORCE,
        text(
            "galaxy_roles_path",
            "The folder of the machine that roles are fetched into; `roles/` of the staging directory if absent.",
        ),
        text(
            "galaxy_collections_path",
            "The folder of the machine that collections are fetched into; `collections/` of the staging directory if absent.",
        ),
        STAGING,
        CLEAN_STAGING,
        USER,
        NETWORK,
        NEW_PRIVILEGES,
        CONTINUE_ON_ERROR,
        MAX_RETRIES,
        PAUSE_BEFORE,
        TIMEOUT,
        CACHE,
    ],
);

/// Puppet without a server.
pub(crate) static PUPPET_MASTERLESS: KindSchema = in_guest(
    "puppet_masterless",
    "Applies a manifest of Puppet in the image, which has Puppet. Exit codes 0 and 2 are success.",
    &[
        content(
            "manifest_file",
            AttributeType::File,
            Default::Required,
            "The manifest, or a folder of manifests.",
        ),
        file("manifest_dir", "A folder of further manifests."),
        files("module_paths", "Folders of modules."),
        file("hiera_config_path", "The configuration of Hiera."),
        content("facter", AttributeType::StringDict, Default::EmptyDict, "Facts that are added."),
        texts("extra_arguments", "Further words for the machine's shell, before the manifest."),
        flag("ignore_exit_codes", "Whether every exit code is success."),
        flag("prevent_sudo", "Whether it goes without `sudo` where somebody else than root is logged in."),
        text("puppet_bin_dir", "The folder of the machine with the program."),
        text("working_directory", "The folder of the machine that it runs in; the staging directory if absent."),
        text(
            "execute_command",
            "The line for the machine's shell, as a template with `{{ .WorkingDir }}`, `{{ .FacterVars }}`, `{{ .Sudo }}`, `{{ .PuppetBinDir }}`, `{{ .ModulePath }}`, `{{ .HieraConfigPath }}`, `{{ .ManifestDir }}`, `{{ .ManifestFile }}`, `{{ .ExtraArguments }}` and `{{ .Debug }}`.",
        )
        .late(),
        STAGING,
        CLEAN_STAGING,
        USER,
        NETWORK,
        NEW_PRIVILEGES,
        CONTINUE_ON_ERROR,
        MAX_RETRIES,
        PAUSE_BEFORE,
        TIMEOUT,
        CACHE,
    ],
);

/// Salt without a master.
pub(crate) static SALT_MASTERLESS: KindSchema = in_guest(
    "salt_masterless",
    "Applies states of Salt in the image. States and pillars stay where they are put.",
    &[
        content("local_state_tree", AttributeType::File, Default::Required, "A folder of states."),
        file("local_pillar_roots", "A folder of pillars."),
        content(
            "remote_state_tree",
            AttributeType::String,
            Default::String("/srv/salt"),
            "Where states are put in the image, in place of what is there.",
        ),
        content(
            "remote_pillar_roots",
            AttributeType::String,
            Default::String("/srv/pillar"),
            "Where pillars are put in the image, in place of what is there.",
        ),
        file("minion_config", "The minion's configuration, which is put to `/etc/salt/minion`."),
        file("grains_file", "A file of grains, which is put to `/etc/salt/grains`."),
        text("custom_state", "The state that is applied; the highest if absent."),
        content(
            "skip_bootstrap",
            AttributeType::Bool,
            Default::Bool(true),
            "Whether Salt is there already. Else it is installed by the program that `bootstrap_url` names, over the network.",
        ),
        text("bootstrap_args", "Words for the shell that are given to that program."),
        content(
            "bootstrap_url",
            AttributeType::String,
            Default::String(
                "https://github.com/saltstack/salt-bootstrap/releases/latest/download/bootstrap-salt.sh",
            ),
            "Where the program is found that installs Salt.",
        ),
        flag("disable_sudo", "Whether it goes without `sudo` where somebody else than root is logged in."),
        flag("no_exit_on_failure", "Whether states that fail are let pass."),
        unkeyed(
            "log_level",
            AttributeType::String,
            Default::String("info"),
            Role::Policy,
            "How much Salt says.",
        ),
        text("salt_call_args", "Further words for the machine's shell, behind all others."),
        text("salt_bin_dir", "The folder of the machine with the program."),
        unkeyed(
            "temp_config_dir",
            AttributeType::String,
            Default::None,
            Role::Transport,
            "The folder of the machine that all goes through; one of the step's own if absent.",
        ),
        USER,
        NETWORK,
        NEW_PRIVILEGES,
        CONTINUE_ON_ERROR,
        MAX_RETRIES,
        PAUSE_BEFORE,
        TIMEOUT,
        CACHE,
    ],
);

/// A machine that is started anew.
pub(crate) static REBOOT: KindSchema = on_machine(
    "reboot",
    "Starts the machine anew and waits until it is back, which its boot id tells.",
    &[
        content(
            "command",
            AttributeType::String,
            Default::None,
            "The line for the machine's shell that does it; what is usual there if absent.",
        ),
        text(
            "check_command",
            "A line for the machine's shell that is run until it succeeds once the machine is back.",
        ),
        CONTINUE_ON_ERROR,
        MAX_RETRIES,
        PAUSE_BEFORE,
        unkeyed(
            "timeout",
            AttributeType::Duration,
            Default::Int(300),
            Role::Policy,
            "How long it may take until the machine is back.",
        ),
    ],
);
