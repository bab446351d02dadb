//! Configuration management: the plugins `chef`, `puppet` and `salt`.

use imgbuild_model::Role::{Content, Naming, Placement, Policy};
use imgbuild_model::{AttributeSchema, Availability, KindSchema, Rule, Table};

use super::attribute::{any, dict, flag, provisioner, text, texts, word};
use super::common::{ELEVATED, GUEST_OS_TYPE};

/// Each component of the plugins.
pub(super) static ALL: &[&KindSchema] = &[&CHEF_SOLO, &CHEF_CLIENT, &PUPPET_MASTERLESS, &PUPPET_SERVER, &SALT_MASTERLESS];

const PREVENT_SUDO: AttributeSchema = flag("prevent_sudo", Content, "Whether commands go without `sudo`.");

/// What both of Chef's provisioners take.
const CHEF: Table = Table::of(&[
    text("encrypted_data_bag_secret_path", Content, "A file with the secret of encrypted data bags."),
    texts("run_list", Content, "Recipes and roles, in order."),
    any("json", Content, "Attributes of the node."),
    text("json_string", Content, "Attributes of the node, as JSON."),
    text("chef_environment", Content, "The environment."),
    text("chef_license", Policy, "Whether the licence is accepted.").or_text("accept-silent"),
    text("config_template", Content, "A file with a template of Chef's configuration."),
    text("execute_command", Content, "How Chef is run.").late(),
    text("install_command", Content, "How Chef is installed.").late(),
    text("version", Content, "The version that is installed; the newest if absent."),
    GUEST_OS_TYPE,
    PREVENT_SUDO,
    flag("skip_install", Content, "Whether Chef is there already."),
])
.rules(&[Rule::AtMostOne(&["json", "json_string"])]);

const CHEF_STAGING: AttributeSchema = text("staging_directory", Content, "The folder of the guest that all is put into.");

/// Without a server.
static CHEF_SOLO: KindSchema = KindSchema {
    attributes: &[
        texts("cookbook_paths", Content, "Folders with cookbooks."),
        texts("remote_cookbook_paths", Content, "Folders of the guest with cookbooks."),
        text("roles_path", Content, "A folder with roles."),
        text("data_bags_path", Content, "A folder with data bags."),
        text("environments_path", Content, "A folder with environments."),
        CHEF_STAGING.or_text("/tmp/packer-chef-solo"),
    ],
    includes: &[&CHEF, &ELEVATED],
    ..provisioner("chef-solo", "Runs Chef's recipes in the guest.")
};

/// With a server.
static CHEF_CLIENT: KindSchema = KindSchema {
    attributes: &[
        text("server_url", Content, "The server.").required(),
        text("client_key", Placement, "A file with the node's key."),
        text("validation_key_path", Placement, "A file with the key that makes nodes."),
        text("validation_client_name", Placement, "The client of that key."),
        text("node_name", Naming, "The node's name; `packer-` and a UUID if absent."),
        text("policy_name", Content, "The policy."),
        text("policy_group", Content, "The policy's group."),
        text("knife_command", Policy, "How the server is told to forget the node.").late(),
        text("rubygems_url", Content, "Where Ruby's packages are."),
        word("ssl_verify_mode", &["verify_none", "verify_peer"], Placement, "Whether the server's certificate is checked."),
        text("trusted_certs_dir", Placement, "A folder with certificates to trust."),
        flag("skip_clean_client", Policy, "Whether the server keeps the client."),
        flag("skip_clean_node", Policy, "Whether the server keeps the node."),
        flag("skip_clean_staging_directory", Content, "Whether that folder is left in the guest."),
        CHEF_STAGING.or_text("/tmp/packer-chef-client"),
    ],
    rules: &[Rule::Together(&["policy_name", "policy_group"])],
    includes: &[&CHEF, &ELEVATED],
    ..provisioner("chef-client", "Runs what a Chef server says in the guest.")
};

/// What both of Puppet's provisioners take.
const PUPPET: Table = Table::of(&[
    dict("facter", Content, "Facts that are added."),
    texts("extra_arguments", Content, "Further arguments."),
    flag("ignore_exit_codes", Content, "Whether any exit code means success."),
    PREVENT_SUDO,
    text("puppet_bin_dir", Content, "The folder of the guest with the program."),
    text("working_directory", Content, "The folder of the guest that it runs in."),
    text("execute_command", Content, "How Puppet is run.").late(),
    GUEST_OS_TYPE,
])
.includes(&[&ELEVATED]);

/// Without a server.
static PUPPET_MASTERLESS: KindSchema = KindSchema {
    attributes: &[
        text("manifest_file", Content, "The manifest, or a folder with manifests.").required(),
        text("manifest_dir", Content, "A folder with further manifests."),
        texts("module_paths", Content, "Folders with modules."),
        text("hiera_config_path", Content, "Hiera's configuration."),
        text("staging_directory", Content, "The folder of the guest that all is put into.").or_text("/tmp/packer-puppet-masterless"),
        flag("clean_staging_directory", Content, "Whether that folder is removed after."),
    ],
    includes: &[&PUPPET],
    availability: Availability::Native,
    ..provisioner("puppet-masterless", "Applies Puppet's manifests in the guest.")
};

/// With a server.
static PUPPET_SERVER: KindSchema = KindSchema {
    attributes: &[
        text("puppet_server", Content, "The server; `puppet` if absent."),
        text("puppet_node", Content, "The node's name; the guest's own if absent."),
        text("client_cert_path", Placement, "A folder with the node's certificate."),
        text("client_private_key_path", Placement, "A folder with the node's key."),
        text("staging_dir", Content, "The folder of the guest that all is put into.").or_text("/tmp/packer-puppet-server"),
    ],
    rules: &[Rule::Together(&["client_cert_path", "client_private_key_path"])],
    includes: &[&PUPPET],
    ..provisioner("puppet-server", "Applies what a Puppet server says in the guest.")
};

/// Salt.
static SALT_MASTERLESS: KindSchema = KindSchema {
    attributes: &[
        text("local_state_tree", Content, "A folder with states.").required(),
        text("local_pillar_roots", Content, "A folder with pillars."),
        text("remote_state_tree", Content, "Where states are put in the guest; `/srv/salt` if absent."),
        text("remote_pillar_roots", Content, "Where pillars are put in the guest; `/srv/pillar` if absent."),
        text("minion_config", Content, "The minion's configuration."),
        text("grains_file", Content, "A file with grains."),
        text("custom_state", Content, "The state; the highest if absent."),
        texts("formulas", Content, "Addresses of formulas."),
        flag("skip_bootstrap", Content, "Whether Salt is there already."),
        text("bootstrap_args", Content, "Arguments of the program that installs it."),
        flag("disable_sudo", Content, "Whether commands go without `sudo`."),
        text("temp_config_dir", Content, "The folder of the guest that all goes through; `/tmp/salt` if absent."),
        flag("no_exit_on_failure", Content, "Whether a failure is ignored."),
        text("log_level", Policy, "How much Salt says."),
        text("salt_call_args", Content, "Further arguments."),
        text("salt_bin_dir", Content, "The folder of the guest with the program."),
        GUEST_OS_TYPE,
    ],
    rules: &[Rule::Excludes("minion_config", &["remote_state_tree", "remote_pillar_roots"])],
    availability: Availability::Native,
    ..provisioner("salt-masterless", "Applies Salt's states in the guest.")
};
