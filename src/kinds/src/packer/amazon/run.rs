//! The instance that the image is made on.

use imgbuild_model::Role::{Content, Machine, Naming, Placement, Policy, Transport};
use imgbuild_model::{AttributeSchema, BlockSchema, Rule, Table};

use crate::packer::attribute::{dict, dur, flag, int, text, texts, tri, word};
use crate::packer::common::{NAME_VALUE, tag};
use crate::packer::communicator::COMM_WITH_LOGIN;

const FILTERS: AttributeSchema = dict("filters", Placement, "What must hold, by the name that the cloud gives it.");

const FILTER: BlockSchema = BlockSchema::many("filter", "One thing that must hold.", NAME_VALUE);

/// The image to start from, by what is known of it.
pub(super) const SOURCE_AMI_FILTER: BlockSchema = BlockSchema::one(
    "source_ami_filter",
    "What is known of the image to start from.",
    Table::of(&[
        dict("filters", Content, "What must hold, by the name that the cloud gives it."),
        texts("owners", Content, "Accounts that the image may belong to."),
        flag("most_recent", Content, "Whether the newest of several is taken."),
        flag("include_deprecated", Content, "Whether deprecated images are looked at."),
    ])
    .blocks(&[BlockSchema::many("filter", "One thing that must hold.", Table::of(&[
        text("name", Content, "What the cloud calls it.").required(),
        text("value", Content, "Its value."),
    ]))]),
);

/// The image to start from, by id.
pub(super) const SOURCE_AMI: AttributeSchema = text("source_ami", Content, "The image to start from.");

const POLICY_DOCUMENT: BlockSchema = BlockSchema::one(
    "temporary_iam_instance_profile_policy_document",
    "What a profile made for the build allows.",
    Table::of(&[text("Version", Placement, "The language's version.")]).blocks(&[BlockSchema::many(
        "Statement",
        "What is allowed or denied.",
        Table::of(&[
            text("Effect", Placement, "`Allow` or `Deny`."),
            texts("Action", Placement, "The actions."),
            texts("Resource", Placement, "What they may be done to."),
        ]),
    )]),
);

const NETWORK: Table = Table::of(&[
    tri("associate_public_ip_address", Placement, "Whether the instance gets a public address; as its subnet says if absent."),
    text("availability_zone", Placement, "The zone; Amazon's choice if absent."),
    text("vpc_id", Placement, "The network."),
    text("subnet_id", Placement, "The subnet."),
    text("security_group_id", Placement, "A security group; one is made if none is given."),
    texts("security_group_ids", Placement, "Security groups."),
    texts("temporary_security_group_source_cidrs", Transport, "Addresses that may reach the instance through the group made for it."),
    flag("temporary_security_group_source_public_ip", Transport, "Whether that is the public address of this host alone."),
])
.blocks(&[
    BlockSchema::one("vpc_filter", "What is known of the network.", Table::of(&[FILTERS]).blocks(&[FILTER])),
    BlockSchema::one(
        "subnet_filter",
        "What is known of the subnet.",
        Table::of(&[
            FILTERS,
            flag("most_free", Placement, "Whether the one with the most free addresses is taken."),
            flag("random", Placement, "Whether any one is taken."),
        ])
        .blocks(&[FILTER]),
    ),
    BlockSchema::one("security_group_filter", "What is known of the security group.", Table::of(&[FILTERS]).blocks(&[FILTER])),
])
.rules(&[Rule::AtMostOne(&["security_group_id", "security_group_ids"])]);

const PRICE: Table = Table::of(&[
    text("spot_price", Placement, "The most that an hour may cost, or `auto`."),
    texts("spot_instance_types", Placement, "Types of instances to bid for."),
    word("spot_allocation_strategy", &["price-capacity-optimized", "capacity-optimized", "diversified", "lowest-price"], Placement, "How among them is chosen."),
    text("spot_price_auto_product", Placement, "The product whose price counts.").deprecated("the price is found without it"),
    dict("spot_tags", Naming, "Tags of the bid.").late(),
    dict("fleet_tags", Naming, "Tags of the fleet.").late(),
    int("block_duration_minutes", Placement, "How long the instance is kept, in minutes.").deprecated("Amazon no longer offers it"),
    word("capacity_reservation_preference", &["open", "none"], Placement, "Whether reserved capacity is used."),
    text("capacity_reservation_id", Placement, "The reserved capacity that is used."),
    text("capacity_reservation_group_arn", Placement, "The group of reserved capacity that is used."),
])
.blocks(&[tag("spot_tag", "A tag of the bid."), tag("fleet_tag", "A tag of the fleet.")])
.rules(&[
    Rule::ExactlyOne(&["instance_type", "spot_instance_types"]),
    Rule::AtMostOne(&["capacity_reservation_preference", "capacity_reservation_id", "capacity_reservation_group_arn"]),
]);

const PLACEMENT: Table = Table::of(&[
    word("tenancy", TENANCIES, Placement, "Who shares the hardware.").deprecated("it moved into the block `placement`"),
    flag("ebs_optimized", Placement, "Whether the way to volumes is the instance's own."),
    flag("enable_nitro_enclave", Machine, "Whether enclaves can be made."),
    flag("enable_unlimited_credits", Placement, "Whether a burstable instance may burst without end."),
    flag("enable_t2_unlimited", Placement, "Whether a burstable instance may burst without end.").old_name_of("enable_unlimited_credits"),
])
.blocks(&[
    BlockSchema::one(
        "placement",
        "Which hardware the instance is put on.",
        Table::of(&[
            text("host_resource_group_arn", Placement, "The group of hosts."),
            text("host_id", Placement, "The host."),
            word("tenancy", TENANCIES, Placement, "Who shares the hardware."),
        ]),
    ),
    BlockSchema::many(
        "license_specifications",
        "Licences that the instance uses.",
        Table::EMPTY.blocks(&[BlockSchema::one(
            "license_configuration_request",
            "One licence.",
            Table::of(&[text("license_configuration_arn", Placement, "The licence's configuration.")]),
        )]),
    ),
    BlockSchema::one(
        "metadata_options",
        "How the instance asks for its metadata.",
        Table::of(&[
            word("http_endpoint", &["enabled", "disabled"], Machine, "Whether it can.").or_text("enabled"),
            word("http_tokens", &["optional", "required"], Machine, "Whether it needs a token.").or_text("optional"),
            int("http_put_response_hop_limit", Machine, "How many hops answers go.").or_int(1).between(1, 64),
            word("instance_metadata_tags", &["enabled", "disabled"], Machine, "Whether its tags are among them.").or_text("disabled"),
        ]),
    ),
]);

const TENANCIES: &[&str] = &["default", "dedicated", "host"];

/// `run_volume_tags` and its block.
pub(super) const VOLUME_TAGS: Table = Table::of(&[dict("run_volume_tags", Naming, "Tags of the volumes while it builds.").late()])
    .blocks(&[BlockSchema::many("run_volume_tag", "A tag of the volumes while it builds.", NAME_VALUE)]);

/// The instance that the image is made on, and how it is reached.
pub(super) const RUN: Table = Table::of(&[
    text("instance_type", Placement, "The type of instance."),
    SOURCE_AMI,
    text("iam_instance_profile", Placement, "The profile with the instance's rights."),
    flag("skip_profile_validation", Policy, "Whether the profile goes unchecked."),
    text("user_data", Content, "What the instance is told at its first boot."),
    text("user_data_file", Content, "A file with what the instance is told at its first boot."),
    dict("run_tags", Naming, "Tags of the instance and of all that is made for it.").late(),
    word("shutdown_behavior", &["stop", "terminate"], Policy, "What a shutdown from inside does.").or_text("stop"),
    flag("disable_stop_instance", Policy, "Whether the instance is left to stop itself."),
    dur("windows_password_timeout", Policy, "How long to wait for Windows' password.").or_text("20m"),
    word("ssh_interface", &["public_ip", "private_ip", "public_dns", "private_dns", "ipv6", "session_manager"], Transport, "Which of the instance's addresses is used."),
    dur("pause_before_ssm", Transport, "How long to wait before a session through the session manager."),
    int("session_manager_port", Transport, "The local port of that session; a free one if absent.").between(1, 65535),
])
.blocks(&[SOURCE_AMI_FILTER, POLICY_DOCUMENT, tag("run_tag", "A tag of the instance and of all that is made for it.")])
.rules(&[
    Rule::AtLeastOne(&["source_ami", "source_ami_filter.owners"]),
    Rule::AtMostOne(&["user_data", "user_data_file"]),
])
.includes(&[&NETWORK, &PRICE, &PLACEMENT, &COMM_WITH_LOGIN]);
