//! The plugin `ansible`.

use imgbuild_model::Role::{Content, Policy, Transport};
use imgbuild_model::{AttributeSchema, Availability, KindSchema, Rule, Table};

use super::attribute::{flag, int, provisioner, text, texts, tri, word_any_case};

/// Each component of the plugin.
pub(super) static ALL: &[&KindSchema] = &[&ANSIBLE, &ANSIBLE_LOCAL];

const PLAYBOOK_FILE: AttributeSchema = text("playbook_file", Content, "The playbook.");

/// Roles and collections that are fetched before.
const GALAXY: Table = Table::of(&[
    text("galaxy_file", Content, "The file that lists roles and collections to fetch."),
    text("galaxy_command", Content, "The program that fetches them.").or_text("ansible-galaxy"),
    flag("galaxy_force_install", Content, "Whether they are fetched again."),
]);

/// From the host.
static ANSIBLE: KindSchema = KindSchema {
    attributes: &[
        PLAYBOOK_FILE.required(),
        text("command", Content, "The program.").or_text("ansible-playbook"),
        texts("extra_arguments", Content, "Further arguments.").late(),
        texts("ansible_env_vars", Content, "Environment variables, as `NAME=value`.").late(),
        texts("ansible_ssh_extra_args", Transport, "Further arguments of SSH."),
        texts("groups", Content, "Groups that the machine is put into."),
        texts("empty_groups", Content, "Groups that are there without a machine."),
        text("host_alias", Content, "What the machine is called in the inventory.").or_text("default"),
        text("user", Content, "Who logs in; the user of this program if absent."),
        int("local_port", Transport, "The local port that Ansible connects to; a free one if absent.").between(1, 65535),
        text("ssh_host_key_file", Transport, "The host key of that port; made for the run if absent."),
        text("ssh_authorized_key_file", Transport, "The key that may connect to that port; made for the run if absent."),
        word_any_case("ansible_proxy_key_type", &["ECDSA", "RSA"], Transport, "The algorithm of keys made for the run.").or_text("ECDSA"),
        text("sftp_command", Transport, "The command that serves files in the guest.").or_text("/usr/lib/sftp-server -e"),
        flag("use_sftp", Transport, "Whether files go over SFTP."),
        tri("use_proxy", Transport, "Whether Ansible connects through a local port; it does unless false."),
        flag("skip_version_check", Policy, "Whether the program's version goes unchecked."),
        text("inventory_file", Content, "The inventory; made for the run if absent."),
        text("inventory_directory", Content, "The folder that the inventory is put into, beside variables of groups and hosts."),
        text("inventory_file_template", Content, "The machine's line in the inventory: a template with `.HostAlias`, `.Host`, `.User` and `.Port`.").late(),
        flag("keep_inventory_file", Policy, "Whether the inventory is left there."),
        flag("galaxy_force_with_deps", Content, "Whether what roles and collections depend on is fetched again too."),
        text("roles_path", Content, "Where roles are."),
        text("collections_path", Content, "Where collections are."),
        flag("ansible_winrm_use_http", Transport, "Whether WinRM goes without TLS."),
    ],
    includes: &[&GALAXY],
    availability: Availability::Native,
    ..provisioner("ansible", "Runs a playbook from the host.")
};

/// In the guest.
static ANSIBLE_LOCAL: KindSchema = KindSchema {
    attributes: &[
        PLAYBOOK_FILE,
        texts("playbook_files", Content, "The playbooks."),
        text("playbook_dir", Content, "A folder with playbooks and all that they need."),
        texts("playbook_paths", Content, "Folders with further playbooks."),
        texts("role_paths", Content, "Folders with roles."),
        texts("collection_paths", Content, "Folders with collections."),
        text("group_vars", Content, "A folder with variables of groups."),
        text("host_vars", Content, "A folder with variables of hosts."),
        text("command", Content, "The program, as the guest's shell runs it.").or_text("ANSIBLE_FORCE_COLOR=1 PYTHONUNBUFFERED=1 ansible-playbook"),
        texts("extra_arguments", Content, "Further arguments."),
        text("staging_directory", Content, "The folder of the guest that all is put into."),
        flag("clean_staging_directory", Content, "Whether that folder is removed after."),
        text("inventory_file", Content, "The inventory; `127.0.0.1` alone if absent."),
        texts("inventory_groups", Content, "Groups that the machine is put into."),
        text("galaxy_roles_path", Content, "Where fetched roles are put in the guest."),
        text("galaxy_collections_path", Content, "Where fetched collections are put in the guest."),
    ],
    rules: &[Rule::ExactlyOne(&["playbook_file", "playbook_files"])],
    includes: &[&GALAXY],
    availability: Availability::Native,
    ..provisioner("ansible-local", "Runs playbooks in the guest, which has Ansible.")
};
