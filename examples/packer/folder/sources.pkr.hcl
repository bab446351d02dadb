packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = "~> 1.1"
    }
  }
}

source "qemu" "debian" {
  iso_url          = "https://cdimage.debian.org/debian-cd/12.11.0/amd64/iso-cd/${local.iso}"
  iso_checksum     = "sha256:${local.checksums[local.iso]}"
  vm_name          = "${var.image}.qcow2"
  format           = "qcow2"
  accelerator      = "kvm"
  disk_compression = true
  disk_interface   = "virtio-scsi"
  disk_discard     = "unmap"
  net_device       = "virtio-net"
  machine_type     = "q35"
  cpus             = 2
  memory           = 2048
  headless         = var.headless
  efi_boot         = true

  efi_firmware_code = "/usr/share/OVMF/OVMF_CODE_4M.fd"
  efi_firmware_vars = "/usr/share/OVMF/OVMF_VARS_4M.fd"

  http_content = {
    "/preseed.cfg" = templatefile("files/preseed.pkrtpl.hcl", {
      mirror  = var.mirror
      sudoers = local.sudoers
    })
  }

  boot_wait         = "5s"
  boot_key_interval = "10ms"
  boot_command = [
    "<wait><esc><wait>",
    "auto url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg priority=critical",
    "<enter><wait>",
  ]

  qemuargs = [
    ["-device", "virtio-rng-pci"],
    ["-cpu", "host"],
  ]

  ssh_username     = "deploy"
  ssh_password     = "changed-at-first-login"
  ssh_timeout      = "40m"
  shutdown_command = "echo changed-at-first-login | sudo -S systemctl poweroff"
}
