use imgbuild_model::KindClass::Builder;
use serde_json::json;

use crate::support::Good;

#[test]
fn qemu() {
    Good::new(
        Builder,
        "qemu",
        json!({
            "iso_url": "https://cdimage.debian.org/debian-12.iso",
            "iso_checksum": "sha256:00",
            "disk_size": "10G",
            "disk_additional_size": ["20G"],
            "memory": 2048,
            "cpus": 2,
            "accelerator": "kvm",
            "headless": true,
            "http_directory": "http",
            "boot_wait": "5s",
            "boot_command": ["<esc><wait>", "auto url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg<enter>"],
            "qemuargs": [["-m", "2048M"], ["-smp", "2"]],
            "qemu_img_args": {"create": ["-o", "preallocation=off"]},
            "cd_content": {"meta-data": "", "user-data": "#cloud-config"},
            "cd_label": "cidata",
            "ssh_username": "debian",
            "ssh_password": "debian",
            "ssh_timeout": "30m",
            "shutdown_command": "sudo poweroff",
            "vm_name": "web",
        }),
    )
    .but(&[
        (json!({"iso_url": null}), &["one of `iso_url` or `iso_urls` must be given"]),
        (json!({"iso_urls": ["a"]}), &["only one of `iso_url` and `iso_urls` may be given"]),
        (json!({"iso_checksum": null}), &["one of `iso_checksum` or `iso_skip_cache` must be given"]),
        (json!({"iso_checksum": null, "iso_skip_cache": true}), &[]),
        (json!({"iso_checksum_type": "sha256"}), &[
            "builder `qemu` has no attribute or block `iso_checksum_type` (did you mean `iso_checksum`?)",
        ]),
        (json!({"ssh_username": null}), &["`ssh_username` must be given where `communicator` is \"ssh\""]),
        (json!({"ssh_username": null, "communicator": "none"}), &[]),
        (json!({"communicator": "winrm"}), &["`winrm_username` must be given where `communicator` is \"winrm\""]),
        (json!({"use_backing_file": true}), &["`use_backing_file` needs `disk_image` beside it"]),
        (json!({"disk_interface": "virtio-blk"}), &[
            "`disk_interface`: expected \"ide\" or \"sata\" or \"scsi\" or \"sd\" or \"virtio\" or \"virtio-scsi\", got \"virtio-blk\"",
        ]),
        (json!({"qemuargs": ["-m", "2048M"]}), &[
            "`qemuargs[0]`: expected list of strings, got \"-m\" (write `[\"-m\"]`)",
            "`qemuargs[1]`: expected list of strings, got \"2048M\" (write `[\"2048M\"]`)",
        ]),
        (json!({"vnc_port_min": 5000}), &["`vnc_port_min`: the number must be from 5900 to 65535, not 5000"]),
        (json!({"vnc_password": "much too long"}), &[
            "`vnc_password`: the number of characters must be at most 8",
        ]),
        (json!({"http_content": {"/a": "b"}}), &["only one of `http_directory` and `http_content` may be given"]),
        (json!({"boot_steps": [["<enter>", "go"]]}), &["only one of `boot_steps` and `boot_command` may be given"]),
        (json!({"ssh_host_port_min": 2222}), &[
            "warning: `ssh_host_port_min` is deprecated: it is an old name (use `host_port_min`)",
        ]),
        (json!({"memory": "lots"}), &["`memory`: expected int, got \"lots\""]),
        (json!({"memory": "2048"}), &[]),
        (json!({"qemu_img_args": [{}, {}]}), &["block `qemu_img_args` may stand there only once"]),
    ]);
}
