//! Images for boards: the plugins `arm-image` and `arm`.

use imgbuild_model::Role::{Content, Machine, Output, Placement, Policy};
use imgbuild_model::{BlockSchema, KindSchema, Rule, Table};

use super::attribute::{builder, flag, int, output, post_processor, rows, text, texts, word};
use super::common::ISO;

/// Each component of the plugins.
pub(super) static ALL: &[&KindSchema] = &[&ARM_IMAGE, &FLASH, &ARM];

/// An image that was changed.
static ARM_IMAGE: KindSchema = KindSchema {
    attributes: &[
        text("output_filename", Output, "The image that is made; `output-` and the build's name, `image`, if absent."),
        text("output_directory", Output, "The folder that it is put into.").old_name_of("output_filename"),
        word("image_type", &["raspberrypi", "beaglebone", "kali", "ubuntu", "armbian", "unknown"], Content, "The kind of image; told from its name if absent."),
        word("image_arch", &["arm", "armbe", "arm64", "arm64be"], Content, "The image's architecture.").or_text("arm"),
        texts("image_mounts", Content, "Where partitions are mounted, one after the other; by the kind of image if absent."),
        text("mount_path", Placement, "Where the image is mounted; a temporary folder if absent."),
        rows("chroot_mounts", Content, "Mounts, as type, source and path; those of a usual system if absent."),
        rows("additional_chroot_mounts", Content, "Further mounts, as type, source and path."),
        word("resolv-conf", &["off", "copy-host", "bind-host", "delete"], Content, "What becomes of the image's file of name servers.").or_text("off"),
        int("last_partition_extra_size", Machine, "How many bytes the last partition grows by.").at_least(0),
        int("target_image_size", Machine, "How many bytes the image grows to.").at_least(0),
        text("qemu_binary", Placement, "The emulator; by the architecture if absent."),
        texts("qemu_args", Machine, "Arguments of the emulator."),
        flag("qemu_required", Policy, "Whether the emulator is used in any case."),
        flag("disable_embedded", Placement, "Whether the emulator that the plugin brings is left aside."),
        text("command_wrapper", Content, "A command around every command.").late(),
    ],
    includes: &[&ISO],
    outputs: &[output("MountPath", "Where the image is mounted.")],
    ..builder("arm-image", "A board's image, changed without the board.")
};

/// An image onto a card.
static FLASH: KindSchema = KindSchema {
    attributes: &[
        text("device", Output, "The device."),
        flag("not_interactive", Policy, "Whether nothing is asked."),
        flag("verify", Policy, "Whether what was written is read again.").or_true(),
    ],
    ..post_processor("arm-image", "Writes an image onto a device.")
};

const MOUNT: Table = Table::of(&[
    text("mount_type", Content, "Its type."),
    text("source_path", Content, "What is mounted."),
    text("destination_path", Content, "Where."),
]);

/// An image made or changed.
static ARM: KindSchema = KindSchema {
    attributes: &[
        texts("file_urls", Content, "Where the archive is: addresses, tried in order."),
        text("file_checksum", Content, "The archive's checksum."),
        text("file_checksum_url", Content, "Where the archive's checksum is."),
        text("file_checksum_type", Content, "The checksum's function."),
        texts("file_unarchive_cmd", Content, "The command that unpacks it: a template with `$ARCHIVE_PATH` and `$TMP_DIR`.").late(),
        text("file_target_path", Output, "Where the download is kept; the cache if absent."),
        text("file_target_extension", Output, "The file extension of the download."),
        text("file_tmp_dir_location", Placement, "The folder that it is unpacked in."),
        word("image_build_method", &["new", "reuse", "resize", "repartition"], Content, "Whether an image is made, taken as it is, or made larger."),
        text("image_path", Output, "The image that is made.").required(),
        text("image_size", Machine, "The image's size, with a unit."),
        word("image_type", &["dos", "gpt"], Machine, "The kind of partition table."),
        text("image_mount_path", Placement, "Where the image is mounted; a temporary folder if absent."),
        int("image_size_bytes", Machine, "The image's size in bytes; found from `image_size`."),
        rows("image_setup_extra", Content, "Commands after the image is mounted."),
        texts("image_chroot_env", Content, "Environment variables, as `NAME=value`."),
        text("qemu_binary_source_path", Placement, "The emulator on the host.").required(),
        text("qemu_binary_destination_path", Content, "Where it is put in the image.").required(),
    ],
    blocks: &[
        BlockSchema::many(
            "image_partitions",
            "A partition.",
            Table::of(&[
                int("int", Machine, "Its number."),
                text("name", Machine, "Its name."),
                text("type", Machine, "Its type."),
                text("size", Machine, "Its size, with a unit; 0 for the rest."),
                int("start_sector", Machine, "The sector that it starts at."),
                text("filesystem", Machine, "Its file system."),
                texts("filesystem_make_options", Machine, "Arguments of the program that makes the file system."),
                text("mountpoint", Content, "Where it is mounted."),
            ]),
        ),
        BlockSchema::many("image_chroot_mounts", "A mount; those of a usual system if there are none.", MOUNT),
        BlockSchema::many("additional_chroot_mounts", "A further mount.", MOUNT),
    ],
    rules: &[Rule::AtLeastOne(&["file_checksum", "file_checksum_url", "file_checksum_type"])],
    ..builder("arm", "A board's image, made of an archive or changed, without the board.")
};
