use imgbuild_model::KindClass::{Builder, PostProcessor};
use serde_json::json;

use crate::support::Good;

#[test]
fn arm_image() {
    let image = json!({
        "iso_url": "https://example.com/raspios.img.xz",
        "iso_checksum": "sha256:00",
        "image_type": "raspberrypi",
        "image_arch": "arm64",
        "resolv-conf": "bind-host",
        "target_image_size": 4_294_967_296_u64,
        "additional_chroot_mounts": [["bind", "/opt", "/opt"]],
    });
    Good::new(Builder, "arm-image", image).but(&[
        (json!({"iso_url": null}), &["one of `iso_url` or `iso_urls` must be given"]),
        (json!({"iso_checksum": null}), &["`iso_checksum` must be given"]),
        (
            json!({"resolv_conf": "off"}),
            &["builder `arm-image` has no attribute or block `resolv_conf` (did you mean `resolv-conf`?)"],
        ),
        (
            json!({"additional_chroot_mounts": ["bind"]}),
            &["`additional_chroot_mounts[0]`: expected list of strings, got \"bind\" (write `[\"bind\"]`)"],
        ),
    ]);
    Good::new(PostProcessor, "arm-image", json!({"device": "/dev/sdb", "verify": false}))
        .but(&[(json!({"verify": "later"}), &["`verify`: expected bool, got \"later\""])]);
}

#[test]
fn arm() {
    let image = json!({
        "file_urls": ["https://example.com/rootfs.tar.gz"],
        "file_checksum_url": "https://example.com/rootfs.tar.gz.sha256",
        "file_checksum_type": "sha256",
        "image_build_method": "new",
        "image_path": "board.img",
        "image_size": "2G",
        "image_type": "dos",
        "image_partitions": [
            {"name": "boot", "type": "c", "start_sector": 2048, "filesystem": "vfat", "size": "256M", "mountpoint": "/boot"},
            {"name": "root", "type": "83", "start_sector": 526336, "filesystem": "ext4", "size": "0", "mountpoint": "/"},
        ],
        "image_chroot_env": ["PATH=/usr/bin"],
        "qemu_binary_source_path": "/usr/bin/qemu-arm-static",
        "qemu_binary_destination_path": "/usr/bin/qemu-arm-static",
    });
    Good::new(Builder, "arm", image).but(&[
        (json!({"image_path": null}), &["builder `arm` needs the attribute `image_path`"]),
        (json!({"file_checksum_url": null, "file_checksum_type": null}), &["one of `file_checksum`, `file_checksum_url` or `file_checksum_type` must be given"]),
        (json!({"image_partitions": [{"fs": "ext4"}]}), &["block `image_partitions` has no attribute or block `fs`"]),
        (json!({"image_build_method": "copy"}), &[
            "`image_build_method`: expected \"new\" or \"reuse\" or \"resize\" or \"repartition\", got \"copy\"",
        ]),
    ]);
}
