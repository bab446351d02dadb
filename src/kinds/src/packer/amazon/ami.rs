//! What the image is like, who may use it and where it is copied to.

use imgbuild_model::Role::{Content, Machine, Naming, Placement, Policy};
use imgbuild_model::{AttributeSchema, BlockSchema, Rule, Table};

use super::KMS_KEY_ID;
use crate::packer::attribute::{dict, flag, int, text, texts, tri, word};
use crate::packer::common::tag;

/// How the image's hardware must be.
pub(super) const NETWORK_SUPPORT: Table = Table::of(&[
    tri("ena_support", Machine, "Whether the image works with Amazon's own network card; as its source does if absent."),
    flag("sriov_support", Machine, "Whether the image works with Intel's network card."),
]);

/// `tpm_support`, where the image is registered.
pub(super) const TPM_SUPPORT: AttributeSchema = word("tpm_support", &["v2.0"], Machine, "The TPM that instances get.");

/// How an image that is registered boots.
pub(super) const FIRMWARE: Table = Table::of(&[
    word("ami_architecture", &["x86_64", "arm64", "i386", "x86_64_mac", "arm64_mac"], Machine, "The image's architecture.").or_text("x86_64"),
    word("boot_mode", &["legacy-bios", "uefi", "uefi-preferred"], Machine, "How instances boot; by the architecture if absent."),
    text("uefi_data", Content, "The variables of the firmware, in base 64."),
    TPM_SUPPORT,
]);

/// Everything else.
pub(super) const AMI: Table = Table::of(&[
    text("ami_name", Naming, "The image's name.").required().between(3, 128),
    text("ami_description", Naming, "The image's description: a template with `.SourceAMI` and `.BuildRegion`.").late(),
    word("ami_virtualization_type", &["paravirtual", "hvm"], Machine, "How instances are virtualized; as the source is if absent."),
    texts("ami_users", Policy, "Accounts that may use the image."),
    texts("ami_groups", Policy, "Groups that may use the image: `all`."),
    texts("ami_org_arns", Policy, "Organizations that may use the image."),
    texts("ami_ou_arns", Policy, "Organizational units that may use the image."),
    texts("ami_product_codes", Policy, "Product codes of the image."),
    texts("ami_regions", Placement, "Regions that the image is copied to."),
    dict("region_kms_key_ids", Placement, "The key that encrypts, by region."),
    KMS_KEY_ID,
    tri("encrypt_boot", Placement, "Whether the image is encrypted; as its source is if absent."),
    flag("skip_region_validation", Policy, "Whether regions go unchecked."),
    int("snapshot_copy_duration_minutes", Policy, "How long copies may take, in steps of 15 minutes.").between(15, 2880),
    dict("tags", Naming, "Tags of the image and its snapshots.").late(),
    dict("snapshot_tags", Naming, "Tags of the snapshots; they win over `tags`.").late(),
    texts("snapshot_users", Policy, "Accounts that may use the snapshots."),
    texts("snapshot_groups", Policy, "Groups that may use the snapshots."),
    flag("force_deregister", Policy, "Whether an image of that name is taken away before."),
    flag("force_delete_snapshot", Policy, "Whether that image's snapshots are too."),
    flag("skip_save_build_region", Policy, "Whether the image is not kept in the region of the build."),
    word("imds_support", &["v2.0"], Machine, "Which metadata service instances ask by default."),
    text("deprecate_at", Policy, "When the image is deprecated, as RFC 3339 writes times."),
])
.blocks(&[
    tag("tag", "A tag of the image and its snapshots."),
    tag("snapshot_tag", "A tag of the snapshots."),
    BlockSchema::one(
        "deregistration_protection",
        "Whether the image is kept from being taken away.",
        Table::of(&[
            flag("enabled", Policy, "Whether it is."),
            flag("with_cooldown", Policy, "Whether the protection lasts a day after it was lifted."),
        ]),
    ),
])
.rules(&[Rule::Needs("kms_key_id", &["encrypt_boot"])])
.includes(&[&NETWORK_SUPPORT]);
