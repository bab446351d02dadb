//! How machines are reached: the attributes that every builder with a machine takes, and the communicators themselves.

use imgbuild_model::Role::{Content, Transport};
use imgbuild_model::{AttributeSchema, AttributeType, Default, KindSchema, Rule, Table};

use super::attribute::{communicator, dur, flag, int, secret, text, texts, tri, word, word_any_case};

/// Each communicator.
pub(super) static ALL: &[&KindSchema] = &[&SSH_KIND, &WINRM_KIND, &DOCKER, &DOCKER_WINDOWS, &NONE];

const TYPES: &[&str] = &["ssh", "winrm", "none", "docker", "dockerWindowsContainer"];

/// `communicator`, for a builder whose default is not SSH.
pub(super) const COMMUNICATOR: AttributeSchema =
    word("communicator", TYPES, Transport, "How the machine is reached.");

/// Everything but `communicator` itself.
pub(super) const CONNECTION: Table = Table::EMPTY.includes(&[&OVER_SSH, &KEY_PAIRS, &WINRM]);

/// What there is to say of a connection over SSH.
pub(crate) const OVER_SSH: Table = Table::of(&[dur(
    "pause_before_connecting",
    Transport,
    "How long to wait after a first connection before it is made again.",
)])
.includes(&[&SSH]);

/// All attributes of communicators, SSH being the default.
pub(super) const COMM: Table = Table::of(&[COMMUNICATOR.or_text("ssh")]).includes(&[&CONNECTION]);

/// Who logs in, for builders that know no user unless told.
pub(super) const LOGIN: Table = Table::EMPTY.rules(&[
    Rule::When { attribute: "communicator", values: &["ssh"], then: &Rule::All(&["ssh_username"]) },
    Rule::When { attribute: "communicator", values: &["winrm"], then: &Rule::All(&["winrm_username"]) },
]);

/// All attributes of communicators, for such builders.
pub(super) const COMM_WITH_LOGIN: Table = Table::EMPTY.includes(&[&COMM, &LOGIN]);

const BYTES: AttributeType = AttributeType::Bytes;

/// SSH.
const SSH: Table = Table::of(&[
    text("ssh_host", Transport, "The address, in place of what the builder knows."),
    int("ssh_port", Transport, "The port.").or_int(22).between(1, 65535),
    text("ssh_username", Content, "Who logs in, and so who runs what provisioners do."),
    secret("ssh_password", Transport, "The password."),
    texts("ssh_ciphers", Transport, "Ciphers that are offered; the library's own if absent."),
    texts("ssh_key_exchange_algorithms", Transport, "Key exchanges that are offered; the library's own if absent."),
    flag("ssh_clear_authorized_keys", Content, "Whether the temporary key is taken out of the guest at the end."),
    text("ssh_private_key_file", Transport, "A file with the private key; `~` is the home folder."),
    text("ssh_certificate_file", Transport, "A file with the user's certificate."),
    flag("ssh_pty", Transport, "Whether a terminal is asked for."),
    dur("ssh_timeout", Transport, "How long SSH may take to come up; 5 minutes if neither this nor `ssh_handshake_attempts` is given."),
    dur("ssh_wait_timeout", Transport, "How long SSH may take to come up.").old_name_of("ssh_timeout"),
    int("ssh_handshake_attempts", Transport, "How many log-ins may fail; 10 if neither this nor `ssh_timeout` is given, 0 for any number."),
    flag("ssh_agent_auth", Transport, "Whether the agent's keys are used."),
    flag("ssh_disable_agent_forwarding", Transport, "Whether the agent is kept from the guest."),
    text("ssh_bastion_host", Transport, "A host to go through."),
    int("ssh_bastion_port", Transport, "The bastion's port.").or_int(22).between(1, 65535),
    flag("ssh_bastion_agent_auth", Transport, "Whether the agent's keys are used for the bastion."),
    text("ssh_bastion_username", Transport, "Who logs in to the bastion."),
    secret("ssh_bastion_password", Transport, "The password for the bastion."),
    flag("ssh_bastion_interactive", Transport, "Whether the bastion's questions are asked of the user."),
    text("ssh_bastion_private_key_file", Transport, "A file with the private key for the bastion; that for the machine if absent."),
    text("ssh_bastion_certificate_file", Transport, "A file with the certificate for the bastion."),
    word("ssh_file_transfer_method", &["scp", "sftp"], Transport, "How files are sent.").or_text("scp"),
    text("ssh_proxy_host", Transport, "A SOCKS5 proxy to go through."),
    int("ssh_proxy_port", Transport, "The proxy's port.").or_int(1080).between(1, 65535),
    text("ssh_proxy_username", Transport, "Who logs in to the proxy."),
    secret("ssh_proxy_password", Transport, "The password for the proxy."),
    dur("ssh_keep_alive_interval", Transport, "How often a sign of life is sent; never if negative.").or_text("5s"),
    dur("ssh_read_write_timeout", Transport, "How long the connection may say nothing; any time if absent."),
    texts("ssh_remote_tunnels", Transport, "Ports of the guest that lead here, as `port:host:port`."),
    texts("ssh_local_tunnels", Transport, "Ports here that lead into the guest, as `port:host:port`."),
    AttributeSchema::new("ssh_public_key", BYTES, Default::None, Transport, "The public key, as bytes; set by builders."),
    AttributeSchema::new("ssh_private_key", BYTES, Default::None, Transport, "The private key, as bytes; set by builders.").secret(),
])
.rules(&[
    Rule::AtMostOne(&["ssh_bastion_host", "ssh_proxy_host"]),
    Rule::Needs("ssh_certificate_file", &["ssh_private_key_file"]),
    Rule::Needs("ssh_bastion_certificate_file", &["ssh_bastion_private_key_file"]),
]);

/// Key pairs of the builders that have some made, or name one that a cloud has. Those of this program do neither.
const KEY_PAIRS: Table = Table::of(&[
    text("ssh_keypair_name", Transport, "A key pair that the cloud has already."),
    text("temporary_key_pair_name", Transport, "What a key pair made for the build is called; `packer_` and a UUID if absent."),
    word_any_case("temporary_key_pair_type", &["rsa", "dsa", "ecdsa", "ed25519"], Transport, "The algorithm of a key pair made for the build; RSA if absent."),
    int("temporary_key_pair_bits", Transport, "The size of a key pair made for the build.").at_least(0),
]);

/// WinRM.
pub(super) const WINRM: Table = Table::of(&[
    text("winrm_username", Content, "Who logs in, and so who runs what provisioners do."),
    secret("winrm_password", Transport, "The password."),
    text("winrm_host", Transport, "The address, in place of what the builder knows."),
    flag("winrm_no_proxy", Transport, "Whether the machine's address is kept from proxies."),
    int("winrm_port", Transport, "The port; 5985, or 5986 with TLS, if absent.").between(1, 65535),
    dur("winrm_timeout", Transport, "How long WinRM may take to come up.").or_text("30m"),
    flag("winrm_use_ssl", Transport, "Whether TLS is used."),
    flag("winrm_insecure", Transport, "Whether the server's certificate goes unchecked."),
    tri("winrm_use_ntlm", Transport, "Whether NTLM is used in place of basic authentication."),
]);

/// `ssh_interface` of builders with several addresses.
pub(super) const SSH_INTERFACE: AttributeSchema =
    text("ssh_interface", Transport, "Which of the machine's addresses is used.");

/// `ssh_ip_version`, beside it.
pub(super) const SSH_IP_VERSION: AttributeSchema =
    word("ssh_ip_version", &["4", "6"], Transport, "Which protocol's address is used.");

static SSH_KIND: KindSchema =
    KindSchema { includes: &[&SSH, &KEY_PAIRS], ..communicator("ssh", "A session over SSH.") };

static WINRM_KIND: KindSchema =
    KindSchema { includes: &[&WINRM], ..communicator("winrm", "A session over WinRM.") };

static DOCKER: KindSchema = communicator("docker", "Commands and copies through the container engine.");

static DOCKER_WINDOWS: KindSchema =
    communicator("dockerWindowsContainer", "Commands and copies through the engine of Windows containers.");

static NONE: KindSchema = communicator("none", "No session: nothing can be provisioned.");
