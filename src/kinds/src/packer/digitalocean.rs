//! The plugin `digitalocean`.

use imgbuild_model::Role::{Content, Naming, Placement, Policy, Transport};
use imgbuild_model::{AttributeType, KindSchema, Rule, Table};

use super::attribute::{
    builder, data_source, dur, flag, int, number, post_processor, secret, text, texts, tri, typed_output, word,
};
use super::communicator::COMM_WITH_LOGIN;

/// Each component of the plugin.
pub(super) static ALL: &[&KindSchema] = &[&DIGITALOCEAN, &IMAGE, &IMPORT];

const RETRIES: Table = Table::of(&[
    secret("api_token", Placement, "The account's token; that of the environment if absent."),
    int("http_retry_max", Policy, "How often a request is tried again.").or_int(5),
    number("http_retry_wait_max", Policy, "The longest wait before a request is tried again, in seconds; 30 if absent."),
    number("http_retry_wait_min", Policy, "The shortest wait before a request is tried again, in seconds; 1 if absent."),
]);

const ACCESS: Table = Table::of(&[text("api_url", Transport, "Where the service is.")]).includes(&[&RETRIES]);

/// A snapshot.
static DIGITALOCEAN: KindSchema = KindSchema {
    attributes: &[
        text("region", Placement, "The region.").required(),
        text("size", Placement, "The size of the droplet.").required(),
        text("image", Content, "The image to start from.").required(),
        flag("private_networking", Placement, "Whether the droplet is in the private network."),
        flag("monitoring", Content, "Whether the droplet is watched."),
        tri("droplet_agent", Content, "Whether the provider's agent is put on it; as the image says if absent."),
        flag("ipv6", Placement, "Whether the droplet has an address of IPv6."),
        text("snapshot_name", Naming, "The snapshot's name.").or_text("packer-{{timestamp}}"),
        texts("snapshot_regions", Placement, "Regions that the snapshot is copied to."),
        tri("wait_snapshot_transfer", Policy, "Whether those copies are waited for; they are unless false."),
        dur("transfer_timeout", Policy, "How long the copies may take.").or_text("30m"),
        dur("state_timeout", Policy, "How long the droplet may take.").or_text("6m"),
        dur("snapshot_timeout", Policy, "How long the snapshot may take.").or_text("60m"),
        text("droplet_name", Naming, "The droplet's name; `packer-` and a UUID if absent."),
        text("user_data", Content, "What the droplet is told at its first boot."),
        text("user_data_file", Content, "A file with what the droplet is told at its first boot."),
        texts("tags", Naming, "The droplet's tags."),
        texts("snapshot_tags", Naming, "The snapshot's tags."),
        text("vpc_uuid", Placement, "The network."),
        flag("connect_with_private_ip", Transport, "Whether the private address is used."),
        int("ssh_key_id", Transport, "A key that the account has already."),
    ],
    rules: &[Rule::AtMostOne(&["user_data", "user_data_file"])],
    includes: &[&ACCESS, &COMM_WITH_LOGIN],
    ..builder("digitalocean", "A snapshot of DigitalOcean, made of a droplet that was provisioned.")
};

/// An image.
static IMAGE: KindSchema = KindSchema {
    attributes: &[
        text("name", Content, "The image's name."),
        text("name_regex", Content, "A regular expression that the image's name matches."),
        word("type", &["application", "distribution", "user"], Content, "The kind of image."),
        text("region", Content, "The region that the image is in."),
        flag("latest", Content, "Whether the newest of several is taken."),
    ],
    rules: &[Rule::AtMostOne(&["name", "name_regex"])],
    includes: &[&ACCESS],
    outputs: &[
        typed_output("image_id", AttributeType::Int, "The image's id."),
        typed_output("image_regions", AttributeType::StringList, "The regions that the image is in."),
    ],
    ..data_source("digitalocean-image", "An image of DigitalOcean, by what is known of it.")
};

/// A disk as an image.
static IMPORT: KindSchema = KindSchema {
    attributes: &[
        text("spaces_key", Placement, "The key of the object store.").required(),
        secret("spaces_secret", Placement, "The secret of that key.").required(),
        text("spaces_region", Placement, "The region of the object store.").required(),
        text("space_name", Placement, "The space that the disk goes through.").required(),
        text("space_object_name", Placement, "What it is called there.").late(),
        flag("skip_clean", Policy, "Whether it is left there."),
        texts("image_tags", Naming, "The image's tags."),
        text("image_name", Naming, "The image's name.").required(),
        text("image_description", Naming, "The image's description."),
        text("image_distribution", Naming, "The system that is on it."),
        texts("image_regions", Placement, "The regions that it is put into.").required(),
        dur("timeout", Policy, "How long it may take.").or_text("20m"),
    ],
    includes: &[&RETRIES],
    ..post_processor("digitalocean-import", "Makes an image of DigitalOcean of a disk.")
};
