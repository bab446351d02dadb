//! The plugin `googlecompute`.

use imgbuild_model::Role::{Content, Machine, Naming, Output, Placement, Policy, Transport};
use imgbuild_model::{AttributeSchema, AttributeType, BlockSchema, KindSchema, Role, Rule, Table};

use super::attribute::{
    builder, data_source, dict, dur, flag, int, output, post_processor, secret, secret_output, text, texts,
    typed_output, word, word_any_case,
};
use super::communicator::COMM_WITH_LOGIN;

/// Each component of the plugin.
pub(super) static ALL: &[&KindSchema] =
    &[&GOOGLECOMPUTE, &IMAGE, &SECRETSMANAGER, &PARAMETERMANAGER, &EXPORT, &IMPORT];

/// Who asks.
const ACCESS: Table = Table::of(&[
    secret("access_token", Placement, "A token."),
    text("account_file", Placement, "A file with an account's credentials.").old_name_of("credentials_file"),
    text("credentials_file", Placement, "A file with credentials; found as Google's tools do if absent."),
    secret("credentials_json", Placement, "Credentials, as JSON."),
    text("impersonate_service_account", Placement, "A service account to act for."),
    text("vault_gcp_oauth_engine", Placement, "The engine of a Vault that gives a token."),
])
.rules(&[Rule::AtMostOne(&["access_token", "account_file", "credentials_file", "credentials_json", "vault_gcp_oauth_engine"])]);

/// Where the cloud is.
const ENDPOINTS: Table = Table::of(&[
    text("universe_domain", Transport, "The domain of the cloud; Google's own if absent."),
    dict("custom_endpoints", Transport, "Addresses of single services."),
]);

const PROJECT_ID: AttributeSchema = text("project_id", Placement, "The project.").required();
const ZONE: AttributeSchema = text("zone", Placement, "The zone.");
const MACHINE_TYPE: AttributeSchema = text("machine_type", Placement, "The type of instance.");
const DISK_SIZE: AttributeSchema = int("disk_size", Machine, "The disk's size in gibibytes.").at_least(1);
const DISK_TYPE: AttributeSchema = text("disk_type", Placement, "The kind of disk.");
const SCOPES: AttributeSchema = texts("scopes", Placement, "What the service account may do.");
const NETWORK: AttributeSchema = text("network", Placement, "The network.");
const SUBNETWORK: AttributeSchema = text("subnetwork", Placement, "The subnetwork.");
const SERVICE_ACCOUNT: AttributeSchema = text("service_account_email", Placement, "The service account of the instance.");
const OMIT_EXTERNAL_IP: AttributeSchema = flag("omit_external_ip", Placement, "Whether the instance has no public address.");

/// What an image says of itself, for builder and import.
const IMAGE_CONFIG: Table = Table::of(&[
    word_any_case("image_architecture", &["x86_64", "arm64"], Machine, "The image's architecture."),
    text("image_description", Naming, "The image's description."),
    text("image_family", Naming, "The image's family.").at_most(63),
    texts("image_guest_os_features", Machine, "What the image's system can do."),
    dict("image_labels", Naming, "Labels of the image."),
    texts("image_storage_locations", Placement, "Where the image is kept: one location.").at_most(1),
    text("image_platform_key", Content, "The platform key of secure boot: a file."),
    texts("image_key_exchange_key", Content, "Key exchange keys of secure boot: files."),
    texts("image_signatures_db", Content, "Signatures that secure boot allows: files."),
    texts("image_forbidden_signatures_db", Content, "Signatures that secure boot forbids: files."),
]);

const KEY: Table = Table::of(&[
    text("kmsKeyName", Placement, "The key in the key service."),
    secret("rawKey", Placement, "The key itself, in base 64."),
]);

const fn encryption_key(name: &'static str, doc: &'static str) -> BlockSchema {
    BlockSchema::one(name, doc, KEY)
}

const ATTACHMENT: Table = Table::of(&[
    word("attachment_mode", &["READ_ONLY", "READ_WRITE"], Machine, "Whether it can be written to.").or_text("READ_WRITE"),
    flag("create_image", Output, "Whether the image is made of this disk."),
    text("device_name", Machine, "What the guest calls it."),
    text("disk_name", Naming, "The disk's name."),
    text("interface_type", Machine, "How it is attached."),
    int("iops", Placement, "Operations a second.").at_least(1),
    flag("keep_device", Policy, "Whether the disk is kept after."),
    texts("replica_zones", Placement, "Zones that the disk is kept in."),
    text("source_volume", Content, "A disk that is there already."),
    int("volume_size", Machine, "The disk's size in gibibytes.").required(),
    text("volume_type", Placement, "The kind of disk.").required(),
    text("source_image", Content, "The image that the disk starts from."),
])
.rules(&[Rule::AtMostOne(&["source_volume", "source_image"])])
.blocks(&[encryption_key("disk_encryption_key", "The key that encrypts the disk.")]);

const INSTANCE: Table = Table::of(&[
    text("accelerator_type", Placement, "The accelerator."),
    int("accelerator_count", Placement, "The number of accelerators.").at_least(1),
    text("address", Placement, "The name of a public address."),
    flag("disable_default_service_account", Placement, "Whether the instance goes without the default service account."),
    text("disk_name", Naming, "The disk's name; the instance's if absent."),
    DISK_SIZE.or_int(20),
    DISK_TYPE.or_text("pd-standard"),
    flag("enable_nested_virtualization", Machine, "Whether the guest can run machines."),
    flag("enable_secure_boot", Machine, "Whether the instance boots signed code alone."),
    flag("enable_vtpm", Machine, "Whether the instance has a TPM."),
    flag("enable_integrity_monitoring", Policy, "Whether the boot is watched."),
    text("instance_name", Naming, "The instance's name; `packer-` and a UUID if absent."),
    dict("labels", Naming, "Labels of the instance."),
    MACHINE_TYPE.or_text("e2-standard-2"),
    dict("metadata", Content, "Metadata of the instance."),
    dict("metadata_files", Content, "Files with metadata of the instance."),
    text("min_cpu_platform", Placement, "The oldest processor that will do."),
    NETWORK,
    text("network_project_id", Placement, "The project of the network."),
    text("network_ip", Placement, "The instance's address in the network."),
    OMIT_EXTERNAL_IP,
    word("on_host_maintenance", &["MIGRATE", "TERMINATE"], Policy, "What becomes of the instance when its host is mended."),
    int("max_run_duration_in_seconds", Policy, "How long the instance may run, in seconds.").at_least(1),
    word("instance_termination_action", &["STOP", "DELETE"], Policy, "What becomes of the instance then."),
    flag("preemptible", Placement, "Whether the instance may be taken away."),
    text("region", Placement, "The region; the zone's if absent."),
    SCOPES,
    SERVICE_ACCOUNT,
    text("startup_script_file", Content, "A script that the instance runs at its start."),
    flag("wrap_startup_script", Content, "Whether the build waits for that script.").or_true(),
    SUBNETWORK,
    texts("tags", Placement, "Network tags of the instance."),
    dict("resource_manager_tags", Naming, "Tags of the resource manager."),
    ZONE.required(),
])
.blocks(&[
    encryption_key("disk_encryption_key", "The key that encrypts the disk."),
    BlockSchema::many("disk_attachment", "A further disk.", ATTACHMENT),
    BlockSchema::many(
        "node_affinity",
        "Which hosts will do.",
        Table::of(&[
            text("key", Placement, "The label of the host."),
            word("operator", &["IN", "NOT_IN"], Placement, "Whether the label must be one of the values."),
            texts("values", Placement, "The values."),
        ]),
    ),
    BlockSchema::one(
        "reservation_affinity",
        "Which reserved capacity is used.",
        Table::of(&[
            text("consume_reservation_type", Placement, "Which kind."),
            text("key", Placement, "The label of the reservation."),
            texts("values", Placement, "The values that will do."),
        ]),
    ),
])
.rules(&[Rule::Needs("accelerator_count", &["accelerator_type"])]);

const CONNECTION: Table = Table::of(&[
    flag("use_iap", Transport, "Whether the way goes through Google's proxy."),
    int("iap_localhost_port", Transport, "The proxy's local port; a free one if absent.").between(1, 65535),
    text("iap_hashbang", Transport, "The `#!` line of the script that starts the proxy."),
    text("iap_ext", Transport, "The file extension of that script."),
    int("iap_tunnel_launch_wait", Transport, "How many seconds the proxy may take to start."),
    flag("use_internal_ip", Transport, "Whether the private address is used."),
    flag("use_os_login", Transport, "Whether Google's log-in is used."),
    text("oslogin_ssh_username", Content, "Who logs in by Google's log-in."),
    dur("oslogin_ssh_key_expire_after", Transport, "How long the key is good for."),
    dur("wait_to_add_ssh_keys", Policy, "How long to wait before keys are added."),
    dur("windows_password_timeout", Policy, "How long to wait for Windows' password."),
    dur("state_timeout", Policy, "How long the cloud may take.").or_text("5m"),
])
.includes(&[&COMM_WITH_LOGIN]);

/// An image of an instance's disk.
static GOOGLECOMPUTE: KindSchema = KindSchema {
    attributes: &[
        PROJECT_ID,
        text("source_image", Content, "The image to start from."),
        text("source_image_family", Content, "The family whose newest image it starts from."),
        texts("source_image_project_id", Content, "Projects that the image is looked for in."),
        flag("skip_create_image", Policy, "Whether no image is made."),
        text("image_name", Naming, "The image's name; `packer-{{timestamp}}` if absent.").at_most(63),
        texts("image_licenses", Policy, "Licences of the image."),
        text("image_project_id", Placement, "The project that the image is put into."),
        text("deprecate_at", Policy, "When the image is deprecated, as RFC 3339 writes times."),
        text("obsolete_at", Policy, "When the image is obsolete."),
        text("delete_at", Policy, "When the image is deleted."),
    ],
    blocks: &[encryption_key("image_encryption_key", "The key that encrypts the image.")],
    rules: &[Rule::AtLeastOne(&["source_image", "source_image_family"])],
    includes: &[&INSTANCE, &IMAGE_CONFIG, &CONNECTION, &ACCESS, &ENDPOINTS],
    outputs: &[output("SourceImageName", "The image that it started from.")],
    ..builder("googlecompute", "An image of Google's cloud, made of an instance's disk.")
};

/// An image.
static IMAGE: KindSchema = KindSchema {
    attributes: &[
        text("project_id", Content, "The project."),
        text("filters", Content, "What must hold, in Google's words for filters."),
        flag("most_recent", Content, "Whether the newest of several is taken."),
    ],
    includes: &[&ENDPOINTS],
    outputs: &[
        output("id", "The image's id."),
        output("name", "The image's name."),
        output("creation_date", "When the image was made."),
        typed_output("labels", AttributeType::StringDict, "The image's labels."),
    ],
    ..data_source("googlecompute-image", "An image of Google's cloud, by what is known of it.")
};

const fn named(name: &'static str, doc: &'static str) -> AttributeSchema {
    text(name, Role::Content, doc)
}

/// A secret.
static SECRETSMANAGER: KindSchema = KindSchema {
    attributes: &[
        PROJECT_ID,
        named("name", "The secret.").required(),
        named("key", "The entry of the secret's JSON object."),
        named("version", "The version; the newest if absent."),
    ],
    includes: &[&ENDPOINTS],
    outputs: &[
        secret_output("payload", "The whole secret."),
        secret_output("value", "The entry."),
        typed_output("checksum", AttributeType::Int, "The secret's checksum."),
    ],
    ..data_source("googlecompute-secretsmanager", "A secret of Google's secret manager.")
};

/// A parameter.
static PARAMETERMANAGER: KindSchema = KindSchema {
    attributes: &[
        PROJECT_ID,
        named("location", "Where the parameter is kept; everywhere if absent."),
        named("name", "The parameter.").required(),
        named("version", "The version.").required(),
        named("key", "The entry of the parameter's JSON object."),
    ],
    outputs: &[secret_output("payload", "The whole parameter."), secret_output("value", "The entry.")],
    ..data_source("googlecompute-parametermanager", "A parameter of Google's parameter manager.")
};

/// An image as files.
static EXPORT: KindSchema = KindSchema {
    attributes: &[
        SCOPES,
        DISK_SIZE.or_int(200),
        DISK_TYPE.or_text("pd-ssd"),
        MACHINE_TYPE.or_text("n1-highcpu-4"),
        text("source_image_family", Placement, "The family of the image that the export runs on."),
        NETWORK,
        texts("paths", Output, "Where the image goes, as `gs://bucket/name.tar.gz`.").required(),
        SUBNETWORK,
        ZONE,
        SERVICE_ACCOUNT,
        OMIT_EXTERNAL_IP,
    ],
    includes: &[&ACCESS, &ENDPOINTS],
    ..post_processor("googlecompute-export", "Writes an image into a bucket.")
};

/// A disk as an image.
static IMPORT: KindSchema = KindSchema {
    attributes: &[
        SCOPES,
        PROJECT_ID,
        flag("iap", Transport, "Whether the way goes through Google's proxy."),
        text("bucket", Placement, "The bucket that the disk goes through.").required(),
        text("gcs_object_name", Placement, "What it is called there.").late(),
        text("image_name", Naming, "The image's name.").required().at_most(63),
        flag("skip_clean", Policy, "Whether it is left in the bucket."),
    ],
    includes: &[&IMAGE_CONFIG, &ACCESS, &ENDPOINTS],
    ..post_processor("googlecompute-import", "Makes an image of Google's cloud of a disk.")
};
