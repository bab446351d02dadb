//! The builders: what each has beside the shared tables.

use imgbuild_model::Role::{Content, Machine, Naming, Output, Placement, Policy};
use imgbuild_model::{AttributeSchema, BlockSchema, KindSchema, OutputSchema, Rule, Table};

use super::ami::{AMI, FIRMWARE, NETWORK_SUPPORT, TPM_SUPPORT};
use super::run::{RUN, SOURCE_AMI, SOURCE_AMI_FILTER, VOLUME_TAGS};
use super::{ACCESS, BLOCK_DEVICE, DEVICE_NAME, KMS_KEY_ID, VOLUME_TYPE};
use crate::packer::attribute::{builder, dict, flag, int, output, secret, text, texts, tri};
use crate::packer::common::{CHROOT as IN_CHROOT, tag};

const OUTPUTS: &[OutputSchema] = &[
    output("SourceAMI", "The image that it started from."),
    output("SourceAMIName", "That image's name."),
    output("SourceAMICreationDate", "When that image was made."),
    output("SourceAMIOwner", "Whose that image is."),
    output("SourceAMIOwnerName", "The name of that account."),
    output("BuildRegion", "The region of the build."),
];

const LAUNCH_DEVICE: Table = Table::of(&[KMS_KEY_ID]).includes(&[&BLOCK_DEVICE]);

const LAUNCH_MAPPINGS: BlockSchema =
    BlockSchema::many("launch_block_device_mappings", "A volume of the instance.", LAUNCH_DEVICE);

const AMI_MAPPINGS: BlockSchema =
    BlockSchema::many("ami_block_device_mappings", "A volume of the image.", BLOCK_DEVICE);

const SKIP_RUN_TAGS: AttributeSchema =
    flag("skip_ami_run_tags", Naming, "Whether the tags of the instance are kept from the image.");

const LAUNCH_TEMPLATE: Table = Table::of(&[
    text("template_id", Placement, "The launch template."),
    text("template_name", Placement, "The launch template, by name."),
    int("template_version", Placement, "The launch template's version.").at_least(1),
])
.rules(&[Rule::AtMostOne(&["template_id", "template_name"])]);

const FAST_LAUNCH: BlockSchema = BlockSchema::one(
    "fast_launch",
    "How Windows images start faster.",
    Table::of(&[
        flag("enable_fast_launch", Policy, "Whether they do."),
        int("max_parallel_launches", Policy, "How many instances are prepared at once.").at_least(6),
        int("target_resource_count", Policy, "How many snapshots are kept ready.").at_least(1),
    ])
    .blocks(&[BlockSchema::many(
        "region_launch_templates",
        "The launch template of a region.",
        Table::of(&[
            text("region", Placement, "The region.").required(),
            tri("enable_fast_launch", Policy, "Whether images start faster there."),
        ])
        .includes(&[&LAUNCH_TEMPLATE]),
    )])
    .includes(&[&LAUNCH_TEMPLATE]),
);

/// An image of an instance.
pub(super) static EBS: KindSchema = KindSchema {
    attributes: &[
        flag("no_ephemeral", Machine, "Whether the image has no instance stores."),
        flag("skip_create_ami", Policy, "Whether no image is made."),
        SKIP_RUN_TAGS,
    ],
    blocks: &[LAUNCH_MAPPINGS, AMI_MAPPINGS, FAST_LAUNCH],
    includes: &[&ACCESS, &AMI, &RUN, &VOLUME_TAGS],
    outputs: OUTPUTS,
    ..builder("amazon-ebs", "An Amazon image, made of an instance that was provisioned.")
};

const ROOT_DEVICE: BlockSchema = BlockSchema::one(
    "ami_root_device",
    "The volume that becomes the image's root.",
    Table::of(&[
        text("source_device_name", Machine, "The device on the instance."),
        DEVICE_NAME,
        flag("delete_on_termination", Policy, "Whether the volume goes with its instance."),
        int("iops", Placement, "Operations a second.").between(100, 256_000),
        VOLUME_TYPE,
        int("volume_size", Machine, "The volume's size in gibibytes.").at_least(1),
    ]),
)
.required();

/// An image of a second volume.
pub(super) static EBSSURROGATE: KindSchema = KindSchema {
    attributes: &[
        SKIP_RUN_TAGS,
        flag("use_create_image", Content, "Whether the volume is put in the place of the root, and the instance made an image."),
        text("snapshot_description", Naming, "The snapshots' description."),
    ],
    blocks: &[
        ROOT_DEVICE,
        BlockSchema::many(
            "launch_block_device_mappings",
            "A volume of the instance.",
            Table::of(&[flag("omit_from_artifact", Content, "Whether the volume is left out of the image.")])
                .includes(&[&LAUNCH_DEVICE]),
        ),
        AMI_MAPPINGS,
    ],
    rules: &[Rule::All(&["ami_virtualization_type"])],
    includes: &[&ACCESS, &AMI, &FIRMWARE, &RUN, &VOLUME_TAGS],
    outputs: OUTPUTS,
    ..builder("amazon-ebssurrogate", "An Amazon image, made of a volume that an instance filled.")
};

/// Volumes.
pub(super) static EBSVOLUME: KindSchema = KindSchema {
    blocks: &[BlockSchema::many(
        "ebs_volumes",
        "A volume that is made.",
        Table::of(&[
            dict("tags", Naming, "Tags of the volume.").late(),
            flag("snapshot_volume", Output, "Whether a snapshot is made of it."),
            text("snapshot_description", Naming, "The snapshot's description."),
            dict("snapshot_tags", Naming, "Tags of the snapshot.").late(),
            texts("snapshot_users", Policy, "Accounts that may use the snapshot."),
            texts("snapshot_groups", Policy, "Groups that may use the snapshot."),
        ])
        .blocks(&[tag("tag", "A tag of the volume."), tag("snapshot_tag", "A tag of the snapshot.")])
        .includes(&[&LAUNCH_DEVICE]),
    )],
    includes: &[&ACCESS, &NETWORK_SUPPORT, &RUN, &VOLUME_TAGS],
    outputs: OUTPUTS,
    ..builder("amazon-ebsvolume", "Volumes that an instance filled.")
};

/// An image made on the instance that the program runs on.
pub(super) static CHROOT: KindSchema = KindSchema {
    attributes: &[
        text("device_path", Placement, "The device that the volume is attached as; a free one if absent."),
        text("nvme_device_path", Placement, "The device as the system sees it, if it differs."),
        flag("from_scratch", Content, "Whether it starts from an empty volume."),
        text("mount_path", Placement, "Where the volume is mounted.").or_text("/mnt/packer-amazon-chroot-volumes/{{.Device}}").late(),
        text("root_device_name", Machine, "The root device of the image."),
        int("root_volume_size", Machine, "The root volume's size in gibibytes; that of the source if absent.").at_least(1),
        text("root_volume_type", Placement, "The kind of root volume.").or_text("gp2"),
        dict("root_volume_tags", Naming, "Tags of the root volume.").late(),
        tri("root_volume_encrypt_boot", Placement, "Whether the root volume is encrypted."),
        text("root_volume_kms_key_id", Placement, "The key that encrypts it."),
        SOURCE_AMI,
    ],
    blocks: &[AMI_MAPPINGS, SOURCE_AMI_FILTER, tag("root_volume_tag", "A tag of the root volume.")],
    rules: &[
        Rule::AtLeastOne(&["source_ami", "source_ami_filter.owners", "from_scratch"]),
        Rule::Needs(
            "from_scratch",
            &["ami_virtualization_type", "pre_mount_commands", "root_volume_size", "root_device_name", "ami_block_device_mappings"],
        ),
        Rule::Needs("root_volume_kms_key_id", &["root_volume_encrypt_boot"]),
    ],
    includes: &[&ACCESS, &AMI, &FIRMWARE, &IN_CHROOT],
    outputs: &[
        output("SourceAMI", "The image that it started from."),
        output("SourceAMIName", "That image's name."),
        output("SourceAMICreationDate", "When that image was made."),
        output("SourceAMIOwner", "Whose that image is."),
        output("SourceAMIOwnerName", "The name of that account."),
        output("BuildRegion", "The region of the build."),
        output("Device", "The device of the volume."),
        output("MountPath", "Where the volume is mounted."),
    ],
    ..builder("amazon-chroot", "An Amazon image, made of a volume on the instance that this runs on.")
};

/// An image in a bucket.
pub(super) static INSTANCE: KindSchema = KindSchema {
    attributes: &[
        text("account_id", Placement, "The account's number.").required(),
        text("s3_bucket", Output, "The bucket that the image is put into.").required(),
        text("x509_cert_path", Placement, "The certificate that signs.").required(),
        secret("x509_key_path", Placement, "The key that signs.").required(),
        text("bundle_destination", Placement, "The folder of the instance that it is packed in.").or_text("/tmp"),
        text("bundle_prefix", Naming, "How the names of its parts start.").or_text("image-{{timestamp}}"),
        text("bundle_vol_command", Content, "The command that packs it.").late(),
        text("bundle_upload_command", Policy, "The command that sends it to the bucket.").late(),
        text("x509_upload_path", Placement, "The folder of the instance that key and certificate are put into.").or_text("/tmp"),
        TPM_SUPPORT,
    ],
    blocks: &[LAUNCH_MAPPINGS, AMI_MAPPINGS],
    includes: &[&ACCESS, &AMI, &RUN],
    outputs: OUTPUTS,
    ..builder("amazon-instance", "An Amazon image in a bucket, packed on an instance.")
};
