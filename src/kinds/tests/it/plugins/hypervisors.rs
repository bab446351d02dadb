use imgbuild_model::KindClass::Builder;
use serde_json::json;

use crate::support::{Good, lines};

#[test]
fn virtualbox() {
    let iso = json!({
        "iso_url": "debian.iso",
        "iso_checksum": "none",
        "guest_os_type": "Debian_64",
        "hard_drive_interface": "sata",
        "vboxmanage": [["modifyvm", "{{.Name}}", "--nat-localhostreachable1", "on"]],
        "guest_additions_mode": "disable",
        "boot_command": ["<enter>"],
        "ssh_username": "debian",
        "shutdown_command": "poweroff",
    });
    Good::new(Builder, "virtualbox-iso", iso).but(&[
        (json!({"iso_checksum": null}), &["`iso_checksum` must be given"]),
        (json!({"hard_drive_interface": "nvme"}), &[
            "`hard_drive_interface`: expected \"ide\" or \"sata\" or \"scsi\" or \"pcie\" or \"virtio\", got \"nvme\"",
        ]),
        (json!({"gfx_vram_size": 256}), &["`gfx_vram_size`: the number must be from 1 to 128, not 256"]),
        (json!({"ssh_skip_nat_mapping": true}), &[
            "warning: `ssh_skip_nat_mapping` is deprecated: it is an old name (use `skip_nat_mapping`)",
        ]),
        (json!({"vboxmanage": ["modifyvm"]}), &[
            "`vboxmanage[0]`: expected list of strings, got \"modifyvm\" (write `[\"modifyvm\"]`)",
        ]),
    ]);
    Good::new(
        Builder,
        "virtualbox-ovf",
        json!({"source_path": "a.ova", "checksum": "none", "ssh_username": "x"}),
    )
    .but(&[(json!({"source_path": null}), &["builder `virtualbox-ovf` needs the attribute `source_path`"])]);
    Good::new(
        Builder,
        "virtualbox-vm",
        json!({"vm_name": "web", "ssh_username": "x", "target_snapshot": "done"}),
    )
    .but(&[(json!({"vm_name": null}), &["builder `virtualbox-vm` needs the attribute `vm_name`"])]);
}

#[test]
fn vmware() {
    let iso = json!({
        "iso_urls": ["a.iso", "b.iso"],
        "iso_checksum": "file:SHA256SUMS",
        "guest_os_type": "debian12-64",
        "vmx_data": {"cpuid.coresPerSocket": 1},
        "disk_adapter_type": "nvme",
        "tools_upload_flavor": "linux",
        "ssh_username": "debian",
    });
    Good::new(Builder, "vmware-iso", iso).but(&[
        (
            json!({"remote_type": "esx5"}),
            &["warning: `remote_type` is deprecated: remote hypervisors moved to the plugin `vsphere`"],
        ),
        (json!({"vmx_data": {"a": [1]}}), &["`vmx_data.a`: expected string, got list"]),
        (json!({"remote_host": "esx"}), &["builder `vmware-iso` has no attribute or block `remote_host`"]),
    ]);
    Good::new(Builder, "vmware-vmx", json!({"source_path": "a.vmx", "linked": true, "ssh_username": "x"}))
        .but(&[(json!({"source_path": null}), &["builder `vmware-vmx` needs the attribute `source_path`"])]);
}

#[test]
fn proxmox() {
    let iso = json!({
        "proxmox_url": "https://pve:8006/api2/json",
        "username": "root@pam!packer",
        "token": "x",
        "node": "pve",
        "boot_iso": {"type": "scsi", "iso_file": "local:iso/debian.iso", "unmount": true},
        "network_adapters": [{"model": "virtio", "bridge": "vmbr0", "vlan_tag": "10"}],
        "disks": [{"type": "scsi", "disk_size": "20G", "storage_pool": "local-lvm"}],
        "additional_iso_files": [{"cd_files": ["./cidata"], "cd_label": "cidata", "iso_storage_pool": "local"}],
        "rng0": {"source": "/dev/urandom", "max_bytes": 0},
        "tpm_config": {"tpm_storage_pool": "local"},
        "efi_config": {"efi_storage_pool": "local", "pre_enrolled_keys": true},
        "scsi_controller": "virtio-scsi-single",
        "cloud_init": true,
        "ssh_username": "debian",
    });
    Good::new(Builder, "proxmox-iso", iso.clone()).but(&[
        (json!({"node": null}), &["builder `proxmox-iso` needs the attribute `node`"]),
        (json!({"boot_iso": null}), &["one of `boot_iso`, `iso_file`, `iso_url` or `iso_urls` must be given"]),
        (json!({"boot_iso": {"iso_file": "a", "iso_url": "b", "iso_storage_pool": "c"}}), &[
            "only one of `iso_file` and `iso_url` may be given",
        ]),
        (json!({"boot_iso": {"iso_url": "b"}}), &["`iso_url` needs `iso_storage_pool` beside it"]),
        (json!({"network_adapter": {}}), &[
            "builder `proxmox-iso` has no attribute or block `network_adapter` (did you mean `network_adapters`?)",
        ]),
        (json!({"rng0": {"source": "/dev/urandom"}}), &["block `rng0` needs the attribute `max_bytes`"]),
        (json!({"vm_id": 99}), &["`vm_id`: the number must be from 100 to 999999999, not 99"]),
        (json!({"pci_devices": [{}]}), &["one of `host` or `mapping` must be given"]),
        (json!({"disks": [{"type": "nvme"}]}), &[
            "`disks[0].type`: expected \"ide\" or \"sata\" or \"scsi\" or \"virtio\", got \"nvme\"",
        ]),
        (json!({"efidisk": "local"}), &["warning: `efidisk` is deprecated: it became the block `efi_config`"]),
    ]);
    assert_eq!(
        lines(Builder, "proxmox", &iso),
        ["warning: builder `proxmox` is deprecated: it is an old name (use `proxmox-iso`)",]
    );
    let clone = json!({"node": "pve", "clone_vm": "base", "ssh_username": "x", "ipconfig": [{"ip": "dhcp"}]});
    Good::new(Builder, "proxmox-clone", clone).but(&[
        (json!({"clone_vm": null}), &["one of `clone_vm` or `clone_vm_id` must be given"]),
        (json!({"boot_iso": {}}), &["builder `proxmox-clone` has no attribute or block `boot_iso`"]),
    ]);
}
