//! The fixers.

use super::{Change, Existing, Fixer, Kind, Only, Target, rules};

const ANY: &[Kind] = &[Kind::Any];
const AMAZON: &[Kind] = &[Kind::Begins("amazon-")];
const PARALLELS: &[Kind] = &[Kind::Is("parallels-iso"), Kind::Is("parallels-pvm")];
const QEMU: &[Kind] = &[Kind::Is("qemu")];

const fn renamed(from: &'static str, to: &'static str, only: Only, existing: Existing) -> Change {
    Change::Rename { from, to, only, existing }
}

/// All fixers, in their order.
pub static FIXERS: [Fixer; 34] = [
    Fixer {
        name: "iso-md5",
        summary: "writes `iso_md5` of builders as `iso_checksum` and `iso_checksum_type`",
        target: Target::Builders(ANY),
        changes: &[Change::Call(rules::iso_md5)],
    },
    Fixer {
        name: "createtime",
        summary: "writes `{{.CreateTime}}` in names of images as `{{timestamp}}`",
        target: Target::Builders(ANY),
        changes: &[Change::Call(rules::create_time)],
    },
    Fixer {
        name: "virtualbox-gaattach",
        summary: "writes `guest_additions_attach` of VirtualBox builders as `guest_additions_mode`",
        target: Target::Builders(&[Kind::Is("virtualbox")]),
        changes: &[Change::Call(rules::guest_additions)],
    },
    Fixer {
        name: "pp-vagrant-override",
        summary: "moves settings for one provider in `vagrant` post-processors into `override`",
        target: Target::PostProcessors("vagrant"),
        changes: &[Change::Call(rules::vagrant_override)],
    },
    Fixer {
        name: "virtualbox-rename",
        summary: "renames the builder `virtualbox` to `virtualbox-iso`",
        target: Target::Template,
        changes: &[Change::Call(rules::virtualbox_iso)],
    },
    Fixer {
        name: "vmware-rename",
        summary: "renames the builder `vmware` to `vmware-iso`",
        target: Target::Builders(&[Kind::Is("vmware")]),
        changes: &[Change::Type("vmware-iso")],
    },
    Fixer {
        name: "parallels-headless",
        summary: "removes `headless`, which Parallels builders do not use",
        target: Target::Builders(PARALLELS),
        changes: &[Change::Remove("headless")],
    },
    Fixer {
        name: "parallels-deprecations",
        summary: "removes `parallels_tools_host_path` of Parallels builders, and renames `guest_os_distribution` to `guest_os_type`",
        target: Target::Builders(PARALLELS),
        changes: &[
            Change::Remove("parallels_tools_host_path"),
            renamed("guest_os_distribution", "guest_os_type", Only::Any, Existing::Replaced),
        ],
    },
    Fixer {
        name: "sshkeypath",
        summary: "renames `ssh_key_path` to `ssh_private_key_file`",
        target: Target::Builders(ANY),
        changes: &[renamed("ssh_key_path", "ssh_private_key_file", Only::Strings, Existing::Kept)],
    },
    Fixer {
        name: "sshdisableagent",
        summary: "renames `ssh_disable_agent` to `ssh_disable_agent_forwarding`",
        target: Target::Builders(ANY),
        changes: &[renamed("ssh_disable_agent", "ssh_disable_agent_forwarding", Only::Bools, Existing::Kept)],
    },
    Fixer {
        name: "scaleway-access-key",
        summary: "renames `access_key` of Scaleway builders to `organization_id`",
        target: Target::Builders(&[Kind::Is("scaleway")]),
        changes: &[renamed("access_key", "organization_id", Only::Strings, Existing::Kept)],
    },
    Fixer {
        name: "manifest-filename",
        summary: "renames `filename` of `manifest` post-processors to `output`",
        target: Target::PostProcessors("manifest"),
        changes: &[renamed("filename", "output", Only::Strings, Existing::Replaced)],
    },
    Fixer {
        name: "amazon-shutdown_behavior",
        summary: "renames `shutdown_behaviour` of Amazon builders to `shutdown_behavior`",
        target: Target::Builders(AMAZON),
        changes: &[renamed("shutdown_behaviour", "shutdown_behavior", Only::Any, Existing::Replaced)],
    },
    Fixer {
        name: "amazon-enhanced-networking",
        summary: "renames `enhanced_networking` of Amazon builders to `ena_support`",
        target: Target::Builders(AMAZON),
        changes: &[renamed("enhanced_networking", "ena_support", Only::Bools, Existing::Replaced)],
    },
    Fixer {
        name: "amazon-private-ip",
        summary: "writes `ssh_private_ip` of Amazon builders as `ssh_interface`",
        target: Target::Builders(AMAZON),
        changes: &[Change::Call(rules::private_ip)],
    },
    Fixer {
        name: "amazon-temp-sec-cidrs",
        summary: "makes `temporary_security_group_source_cidr` of Amazon builders a list, `temporary_security_group_source_cidrs`",
        target: Target::Builders(AMAZON),
        changes: &[Change::Call(rules::source_cidrs)],
    },
    Fixer {
        name: "docker-email",
        summary: "removes `login_email`, which Docker has no use for",
        target: Target::Template,
        changes: &[Change::Call(rules::login_email)],
    },
    Fixer {
        name: "docker-tag-tags",
        summary: "makes `tag` of `docker-tag` post-processors a list, `tags`",
        target: Target::PostProcessors("docker-tag"),
        changes: &[Change::Call(rules::docker_tags)],
    },
    Fixer {
        name: "powershell-escapes",
        summary: "removes escapes from variables and accounts of `powershell` provisioners",
        target: Target::Provisioners("powershell"),
        changes: &[Change::Call(rules::powershell)],
    },
    Fixer {
        name: "vmware-compaction",
        summary: "adds `skip_compaction` to `vmware-iso` builders whose disks cannot be compacted",
        target: Target::Builders(&[Kind::Is("vmware-iso")]),
        changes: &[Change::Call(rules::compaction)],
    },
    Fixer {
        name: "hyperv-deprecations",
        summary: "removes `vhd_temp_path` of `hyperv-iso` builders",
        target: Target::Builders(&[Kind::Is("hyperv-iso")]),
        changes: &[Change::Remove("vhd_temp_path")],
    },
    Fixer {
        name: "hyperv-vmxc-typo",
        summary: "renames `clone_from_vmxc_path` of `hyperv-vmcx` builders to `clone_from_vmcx_path`",
        target: Target::Builders(&[Kind::Is("hyperv-vmcx")]),
        changes: &[renamed("clone_from_vmxc_path", "clone_from_vmcx_path", Only::Any, Existing::Replaced)],
    },
    Fixer {
        name: "hyperv-cpu-and-ram",
        summary: "renames `cpu` of Hyper-V builders to `cpus`, and `ram_size` to `memory`",
        target: Target::Builders(&[Kind::Is("hyperv-vmcx"), Kind::Is("hyperv-iso")]),
        changes: &[
            renamed("cpu", "cpus", Only::Any, Existing::Replaced),
            renamed("ram_size", "memory", Only::Any, Existing::Replaced),
        ],
    },
    Fixer {
        name: "clean-image-name",
        summary: "writes `clean_ami_name` and `clean_image_name` as `clean_resource_name`",
        target: Target::Builders(ANY),
        changes: &[Change::Call(rules::clean_resource_name)],
    },
    Fixer {
        name: "spot-price-auto-product",
        summary: "removes `spot_price_auto_product` of Amazon builders",
        target: Target::Builders(&[
            Kind::Is("amazon-ebs"),
            Kind::Is("amazon-ebssurrogate"),
            Kind::Is("amazon-ebsvolume"),
            Kind::Is("amazon-instance"),
        ]),
        changes: &[Change::Remove("spot_price_auto_product")],
    },
    Fixer {
        name: "qemu-disk-size",
        summary: "gives `disk_size` of `qemu` builders its unit",
        target: Target::Builders(QEMU),
        changes: &[Change::Call(rules::disk_size)],
    },
    Fixer {
        name: "galaxy-command",
        summary: "renames `galaxycommand` of `ansible-local` provisioners to `galaxy_command`",
        target: Target::Provisioners("ansible-local"),
        changes: &[renamed("galaxycommand", "galaxy_command", Only::Strings, Existing::Final)],
    },
    Fixer {
        name: "comm-config",
        summary: "removes `ssh_` from the port forwarding of VirtualBox builders",
        target: Target::Builders(&[Kind::Begins("virtualbox")]),
        changes: &[
            renamed("ssh_host_port_min", "host_port_min", Only::Any, Existing::Final),
            renamed("ssh_host_port_max", "host_port_max", Only::Any, Existing::Final),
            renamed("ssh_skip_nat_mapping", "skip_nat_mapping", Only::Bools, Existing::Final),
        ],
    },
    Fixer {
        name: "ssh-wait-timeout",
        summary: "renames `ssh_wait_timeout` to `ssh_timeout`",
        target: Target::Builders(ANY),
        changes: &[renamed("ssh_wait_timeout", "ssh_timeout", Only::Strings, Existing::Final)],
    },
    Fixer {
        name: "vsphere-iso-net-disk",
        summary: "moves networks and disks of `vsphere-iso` builders into `network_adapters` and `storage`",
        target: Target::Builders(&[Kind::Is("vsphere-iso")]),
        changes: &[Change::Call(rules::adapters), Change::Call(rules::storage)],
    },
    Fixer {
        name: "iso-checksum-type-and-url",
        summary: "writes `iso_checksum_type` and `iso_checksum_url` into `iso_checksum`",
        target: Target::Builders(ANY),
        changes: &[Change::Call(rules::checksum)],
    },
    Fixer {
        name: "qemu-host-port",
        summary: "renames `ssh_host_port_min` and `_max` of `qemu` builders to `host_port_min` and `_max`",
        target: Target::Builders(QEMU),
        changes: &[
            renamed("ssh_host_port_min", "host_port_min", Only::Any, Existing::Replaced),
            renamed("ssh_host_port_max", "host_port_max", Only::Any, Existing::Replaced),
        ],
    },
    Fixer {
        name: "azure-exclude_from_latest",
        summary: "renames `exlude_from_latest` of `azure-chroot` builders to `exclude_from_latest`",
        target: Target::Builders(&[Kind::Begins("azure-chroot")]),
        changes: &[Change::Call(rules::exclude_from_latest)],
    },
    Fixer {
        name: "proxmox-type",
        summary: "renames the builder `proxmox` to `proxmox-iso`",
        target: Target::Builders(&[Kind::Is("proxmox")]),
        changes: &[Change::Type("proxmox-iso")],
    },
];
