//! The plugin `amazon`, and `amazon-ami-management`, which clears up behind it.

mod ami;
mod builders;
mod others;
mod run;

use imgbuild_model::Role::{Content, Machine, Naming, Placement, Policy, Transport};
use imgbuild_model::{AttributeSchema, BlockSchema, KindSchema, Rule, Table};

use super::attribute::{dict, flag, int, secret, text, texts, tri, word};

/// Each component of the plugins.
pub(super) static ALL: &[&KindSchema] = &[
    &builders::EBS,
    &builders::EBSSURROGATE,
    &builders::EBSVOLUME,
    &builders::CHROOT,
    &builders::INSTANCE,
    &others::AMI,
    &others::SECRETSMANAGER,
    &others::PARAMETERSTORE,
    &others::IMPORT,
    &others::AMI_MANAGEMENT,
];

const ASSUME_ROLE: BlockSchema = BlockSchema::one(
    "assume_role",
    "A role to take on.",
    Table::of(&[
        text("role_arn", Placement, "The role."),
        int("duration_seconds", Policy, "How long the role is held, in seconds."),
        text("external_id", Placement, "The external id that the role asks for."),
        text("policy", Placement, "A policy that narrows the role, as JSON."),
        texts("policy_arns", Placement, "Policies that narrow the role."),
        text("session_name", Naming, "What the session is called."),
        dict("tags", Naming, "Tags of the session."),
        texts("transitive_tag_keys", Naming, "Tags that further roles keep."),
    ]),
);

const VAULT: BlockSchema = BlockSchema::one(
    "vault_aws_engine",
    "Credentials from a Vault.",
    Table::of(&[
        text("name", Placement, "The role of the engine.").required(),
        text("role_arn", Placement, "The role that is taken on."),
        text("ttl", Policy, "How long the credentials are good for.").or_text("3600s"),
        text("engine_name", Placement, "The engine.").or_text("aws"),
    ]),
);

const POLLING: BlockSchema = BlockSchema::one(
    "aws_polling",
    "How long is waited for the cloud.",
    Table::of(&[
        int("max_attempts", Policy, "How often is asked.").at_least(1),
        int("delay_seconds", Policy, "How many seconds lie between.").at_least(1),
    ]),
);

/// The keys of an account, which every component takes.
const CREDENTIALS: Table = Table::of(&[
    text("access_key", Placement, "The account's key; found as the AWS tools do if absent."),
    secret("secret_key", Placement, "The account's secret key."),
    secret("token", Placement, "A session's token."),
    text("profile", Placement, "A profile of the AWS configuration."),
    secret("mfa_code", Placement, "The code of a second factor."),
    text("custom_endpoint_ec2", Transport, "The address of EC2, in place of Amazon's."),
    flag("skip_metadata_api_check", Policy, "Whether the instance's metadata are not asked for credentials."),
])
.rules(&[Rule::Together(&["access_key", "secret_key"])])
.blocks(&[ASSUME_ROLE]);

/// Access to an account in a region.
const ACCESS: Table = Table::of(&[
    text("region", Placement, "The region; that of the environment or the profile if absent."),
    text("shared_credentials_file", Placement, "A file with credentials."),
    flag("insecure_skip_tls_verify", Transport, "Whether the server's certificate goes unchecked."),
    int("max_retries", Policy, "How often a request is tried again.").or_int(10),
    flag("decode_authorization_messages", Policy, "Whether messages of refusals are decoded."),
    flag("skip_credential_validation", Policy, "Whether credentials go unchecked before the build."),
])
.blocks(&[VAULT, POLLING])
.rules(&[Rule::AtMostOne(&["vault_aws_engine", "access_key"])])
.includes(&[&CREDENTIALS]);

const DEVICE_NAME: AttributeSchema = text("device_name", Machine, "The device, for example `/dev/sda1`.");

/// A volume that belongs to an instance or an image, but for what is not everywhere.
const BLOCK_DEVICE: Table = Table::of(&[
    DEVICE_NAME.required(),
    flag("delete_on_termination", Policy, "Whether the volume goes with its instance."),
    tri("encrypted", Placement, "Whether the volume is encrypted; as its snapshot is if absent."),
    int("iops", Placement, "Operations a second.").between(100, 256_000),
    int("throughput", Placement, "Mebibytes a second.").between(125, 2000),
    VOLUME_TYPE,
    int("volume_size", Machine, "The volume's size in gibibytes.").at_least(1),
    text("snapshot_id", Content, "The snapshot that the volume starts from."),
    text("virtual_name", Machine, "An instance store, such as `ephemeral0`."),
    flag("no_device", Machine, "Whether the source's device of that name is left out."),
]);

const KMS_KEY_ID: AttributeSchema = text("kms_key_id", Placement, "The key that encrypts; the region's own if absent.");

const VOLUME_TYPE: AttributeSchema =
    word("volume_type", &["standard", "gp2", "gp3", "io1", "io2", "sc1", "st1"], Placement, "The kind of volume.");
