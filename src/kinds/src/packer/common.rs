//! Tables that builders of several plugins share: files served at boot, install media, keys typed at boot, shutdown;
//! and those that provisioners share.

use imgbuild_model::Role::{Content, Naming, Output, Policy, Transport};
use imgbuild_model::{AttributeSchema, BlockSchema, Rule, Table};

use super::attribute::{dict, dur, flag, int, ints, rows, secret, text, texts, word};

/// A server for what a guest fetches at boot.
pub(super) const HTTP: Table = Table::of(&[
    text("http_directory", Content, "A folder whose files are served during the boot."),
    dict("http_content", Content, "Texts that are served during the boot, by path; paths start with `/`."),
    int("http_port_min", Transport, "The first port to try.").or_int(8000).between(1, 65535),
    int("http_port_max", Transport, "The last port to try.").or_int(9000).between(1, 65535),
    text("http_bind_address", Transport, "The address that is listened on.").or_text("0.0.0.0"),
    text("http_interface", Transport, "The network interface whose address is told to the guest."),
    word("http_network_protocol", &["tcp", "tcp4", "tcp6", "unix", "unixpacket"], Transport, "The protocol that is listened on.").or_text("tcp"),
])
.rules(&[
    Rule::AtMostOne(&["http_directory", "http_content"]),
    Rule::AtMostOne(&["http_bind_address", "http_interface"]),
]);

/// An image to download, where it may also come from elsewhere.
pub(super) const ISO_OPTIONAL: Table = Table::of(&[
    text("iso_url", Content, "Where the medium is: a path or URL."),
    texts("iso_urls", Content, "Where the medium is: paths or URLs, tried in order."),
    text("iso_checksum", Content, "Its checksum: `sha256:…`, bare digits, `file:` with the place of a list of checksums, or `none`."),
    text("iso_target_path", Output, "Where the download is kept; the cache if absent."),
    text("iso_target_extension", Output, "The file extension of the download.").or_text("iso"),
])
.rules(&[Rule::AtMostOne(&["iso_url", "iso_urls"])]);

/// An image to download.
pub(super) const ISO: Table = Table {
    attributes: &[],
    blocks: &[],
    rules: &[Rule::AtLeastOne(&["iso_url", "iso_urls"]), Rule::All(&["iso_checksum"])],
    includes: &[&ISO_OPTIONAL],
};

/// Keys that are typed at boot.
pub(super) const BOOT: Table = Table::of(&[
    dur("boot_wait", Policy, "How long to wait before keys are typed.").or_text("10s"),
    texts("boot_command", Content, "Keys to type, joined: texts and names such as `<enter>`, `<wait5>`, `<f6>`.").late(),
    dur("boot_keygroup_interval", Policy, "How long to wait between groups of keys."),
]);

/// Keys that are typed over VNC.
pub(super) const BOOT_VNC: Table = Table::of(&[
    dur("boot_key_interval", Policy, "How long to wait between keys.").or_text("100ms"),
    flag("disable_vnc", Transport, "Whether there is no VNC, and so no keys are typed."),
])
.includes(&[&BOOT]);

/// A floppy disk made for the guest.
pub(super) const FLOPPY: Table = Table::of(&[
    texts("floppy_files", Content, "Files for the root of a floppy disk."),
    texts("floppy_dirs", Content, "Folders for a floppy disk."),
    dict("floppy_content", Content, "Texts for a floppy disk, by path."),
    text("floppy_label", Content, "The floppy disk's label."),
]);

/// A CD made for the guest.
pub(super) const CD: Table = Table::of(&[
    texts("cd_files", Content, "Files and folders for a CD."),
    dict("cd_content", Content, "Texts for a CD, by path."),
    text("cd_label", Content, "The CD's label; `cidata` for cloud-init."),
]);

/// How the guest is shut down.
pub(super) const SHUTDOWN: Table = Table::of(&[
    text("shutdown_command", Content, "The command that shuts the guest down; it is switched off if absent."),
    dur("shutdown_timeout", Policy, "How long it may take to shut down.").or_text("5m"),
]);

/// What `mount_…`-style builders do in a chroot.
pub(super) const CHROOT: Table = Table::of(&[
    text("command_wrapper", Content, "A command around every command, for example `sudo {{.Command}}`.").or_text("{{.Command}}").late(),
    texts("pre_mount_commands", Content, "Commands before the disk is mounted.").late(),
    texts("post_mount_commands", Content, "Commands after the disk is mounted.").late(),
    texts("mount_options", Content, "Options of the mount."),
    text("mount_partition", Content, "The partition that is mounted; `0` is the whole disk.").or_text("1"),
    rows("chroot_mounts", Content, "Further mounts, as type, source and path; those of a usual system if absent."),
    texts("copy_files", Content, "Files of the host that are copied in; `/etc/resolv.conf` if absent."),
]);

/// The attributes that all provisioners with scripts share.
pub(super) const SCRIPT: Table = Table::of(&[
    texts("inline", Content, "Commands, run one after the other as one script."),
    text("script", Content, "A script of the host."),
    texts("scripts", Content, "Scripts of the host, run in order."),
    ints("valid_exit_codes", Content, "Exit codes that mean success; 0 if absent."),
    texts("environment_vars", Content, "Environment variables, as `NAME=value`.").assignments(),
    dict("env", Content, "Environment variables; they win over `environment_vars`."),
    text("env_var_format", Content, "How a variable is written before a command: a format with name and value."),
    flag("binary", Content, "Whether line ends are left as they are."),
]);

/// One of what [`SCRIPT`] offers to run.
pub(super) const ONE_SCRIPT: Rule = Rule::ExactlyOne(&["inline", "script", "scripts"]);

/// Another account to run as, on Windows.
pub(super) const ELEVATED: Table = Table::of(&[
    text("elevated_user", Content, "Who runs it with elevated rights, on Windows."),
    secret("elevated_password", Content, "That user's password.").late(),
])
.rules(&[Rule::Needs("elevated_password", &["elevated_user"])]);

/// `guest_os_type` of provisioners that know two.
pub(super) const GUEST_OS_TYPE: AttributeSchema =
    word("guest_os_type", &["unix", "windows"], Content, "What the guest runs; told from the communicator if absent.");

/// `x_tag` blocks beside an `x_tags` map.
pub(super) const KEY_VALUE: Table = Table::of(&[
    text("key", Naming, "The tag's name.").required(),
    text("value", Naming, "The tag's value.").late(),
]);

/// The same with other words.
pub(super) const NAME_VALUE: Table = Table::of(&[
    text("name", Naming, "The name.").required(),
    text("value", Naming, "The value."),
]);

/// A block of tags, so that `dynamic` can make them.
pub(super) const fn tag(name: &'static str, doc: &'static str) -> BlockSchema {
    BlockSchema::many(name, doc, KEY_VALUE)
}
