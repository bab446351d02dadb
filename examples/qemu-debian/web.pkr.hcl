# The same machine as a Packer template. Its disk is that of the image beside it:
#
#     imgbuild //examples/qemu-debian:base
#     imgbuild build examples/qemu-debian/web.pkr.hcl

source "qemu" "web" {
  iso_url          = "imgbuild-out/examples/qemu-debian/base/base.qcow2"
  iso_checksum     = "none"
  disk_image       = true
  skip_resize_disk = true
  efi_boot         = true
  machine_type     = "q35"
  memory           = 1024
  cpus             = 2
  headless         = true
  output_directory = "imgbuild-out/web-by-packer"
  vm_name          = "web.qcow2"

  # The kernel for clouds has no driver for the CD drives of a `q35`.
  cdrom_interface = "virtio"
  cd_label        = "cidata"
  cd_content = {
    "meta-data" = "instance-id: web\n"
    "user-data" = <<-EOT
      #cloud-config
      locale: false
      ssh_pwauth: true
      users:
        - name: packer
          sudo: ALL=(ALL) NOPASSWD:ALL
          shell: /bin/bash
          lock_passwd: false
          plain_text_passwd: packer
    EOT
  }
  ssh_username     = "packer"
  ssh_password     = "packer"
  ssh_timeout      = "15m"
  shutdown_command = "sudo poweroff"
}

build {
  sources = ["source.qemu.web"]

  provisioner "shell" {
    inline = ["uname -r", "date > /tmp/built"]
  }

  provisioner "file" {
    source      = "examples/qemu-debian/motd"
    destination = "/tmp/motd"
  }

  # By the password of the source, which takes ansible-core 2.19 or later, or `sshpass`.
  provisioner "ansible" {
    playbook_file   = "examples/qemu-debian/ansible/site.yml"
    groups          = ["web"]
    extra_arguments = ["--extra-vars", "site_port=8080"]
  }

  provisioner "shell" {
    inline = ["sudo mv /tmp/motd /etc/motd", "sudo mv /tmp/built /etc/built"]
  }
}
