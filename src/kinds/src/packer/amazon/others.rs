//! Data sources and post-processors.

use imgbuild_model::Role::{Content, Machine, Naming, Placement, Policy};
use imgbuild_model::{AttributeType, BlockSchema, KindSchema, Rule, Table};

use super::{ACCESS, CREDENTIALS};
use crate::packer::attribute::{
    data_source, dict, flag, int, output, post_processor, secret_output, text, texts, typed_output, word,
};

/// An image.
pub(super) static AMI: KindSchema = KindSchema {
    attributes: &[
        dict("filters", Content, "What must hold, by the name that the cloud gives it."),
        texts("owners", Content, "Accounts that the image may belong to.").required(),
        flag("most_recent", Content, "Whether the newest of several is taken."),
        flag("include_deprecated", Content, "Whether deprecated images are looked at."),
    ],
    blocks: &[BlockSchema::many("filter", "One thing that must hold.", Table::of(&[
        text("name", Content, "What the cloud calls it.").required(),
        text("value", Content, "Its value."),
    ]))],
    rules: &[Rule::AtLeastOne(&["filters", "filter"])],
    includes: &[&ACCESS],
    outputs: &[
        output("id", "The image's id."),
        output("name", "The image's name."),
        output("creation_date", "When the image was made."),
        output("owner", "Whose the image is."),
        output("owner_name", "The name of that account."),
        typed_output("tags", AttributeType::StringDict, "The image's tags."),
    ],
    ..data_source("amazon-ami", "An image of Amazon, by what is known of it.")
};

/// A secret.
pub(super) static SECRETSMANAGER: KindSchema = KindSchema {
    attributes: &[
        text("name", Content, "The secret.").required(),
        text("key", Content, "The entry of the secret's JSON object."),
        text("version_id", Content, "The version."),
        text("version_stage", Content, "The version's stage.").or_text("AWSCURRENT"),
    ],
    includes: &[&ACCESS],
    outputs: &[
        secret_output("value", "The entry, or the whole secret if it is no object."),
        secret_output("secret_string", "The whole secret."),
        secret_output("secret_binary", "The whole secret, in base 64, if it is binary."),
        output("version_id", "The version."),
    ],
    ..data_source("amazon-secretsmanager", "A secret of Amazon's secrets manager.")
};

/// A parameter.
pub(super) static PARAMETERSTORE: KindSchema = KindSchema {
    attributes: &[
        text("name", Content, "The parameter.").required(),
        flag("with_decryption", Content, "Whether it is decrypted."),
    ],
    includes: &[&ACCESS],
    outputs: &[
        secret_output("value", "The parameter's value."),
        output("version", "The parameter's version."),
        output("arn", "The parameter's full name."),
    ],
    ..data_source("amazon-parameterstore", "A parameter of Amazon's systems manager.")
};

/// A disk as an image.
pub(super) static IMPORT: KindSchema = KindSchema {
    attributes: &[
        text("s3_bucket_name", Placement, "The bucket that the disk goes through.").required(),
        text("s3_key_name", Placement, "What it is called there; `packer-import-{{timestamp}}` and the format if absent.").late(),
        word("s3_encryption", &["AES256", "aws:kms"], Placement, "How it is encrypted there."),
        text("s3_encryption_key", Placement, "The key that encrypts it there."),
        flag("skip_clean", Policy, "Whether it is left in the bucket."),
        word("format", &["ova", "raw", "vmdk", "vhd", "vhdx"], Content, "The disk's format.").or_text("ova"),
        word("architecture", &["i386", "x86_64", "arm64"], Machine, "The image's architecture.").or_text("x86_64"),
        word("boot_mode", &["legacy-bios", "uefi"], Machine, "How instances boot; by the architecture if absent."),
        word("platform", &["linux", "windows"], Machine, "The system that is on the disk."),
        text("license_type", Policy, "Who brings the licence: `AWS` or `BYOL`."),
        text("role_name", Placement, "The role that imports.").or_text("vmimport"),
        text("ami_name", Naming, "The image's name.").between(3, 128),
        text("ami_description", Naming, "The image's description."),
        texts("ami_users", Policy, "Accounts that may use the image."),
        texts("ami_groups", Policy, "Groups that may use the image."),
        texts("ami_org_arns", Policy, "Organizations that may use the image."),
        texts("ami_ou_arns", Policy, "Organizational units that may use the image."),
        flag("ami_encrypt", Placement, "Whether the image is encrypted."),
        text("ami_kms_key", Placement, "The key that encrypts it."),
        word("imds_support", &["v2.0"], Machine, "Which metadata service instances ask by default."),
        dict("tags", Naming, "Tags of the image and its snapshots."),
    ],
    includes: &[&ACCESS],
    ..post_processor("amazon-import", "Makes an Amazon image of a disk.")
};

/// Old images.
pub(super) static AMI_MANAGEMENT: KindSchema = KindSchema {
    attributes: &[
        flag("skip_region_validation", Policy, "Whether regions go unchecked."),
        dict("tags", Naming, "The tags that the images have.").required(),
        int("keep_releases", Policy, "How many of them are kept.").at_least(1),
        int("keep_days", Policy, "How many days they are kept.").at_least(1),
        texts("regions", Placement, "The regions in which they are.").required(),
        flag("dry_run", Policy, "Whether they are only named."),
        flag("resolve_aliases", Policy, "Whether launch templates that name an image by a parameter are looked through."),
    ],
    rules: &[Rule::ExactlyOne(&["keep_releases", "keep_days"])],
    includes: &[&CREDENTIALS],
    ..post_processor("amazon-ami-management", "Takes away old images and their snapshots.")
};
