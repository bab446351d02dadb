build {
  name = "machine"

  source "source.qemu.debian" {
    name             = "small"
    disk_size        = var.size
    output_directory = "out/${var.image}"
  }

  source "source.qemu.debian" {
    name             = "large"
    disk_size        = "64G"
    output_directory = "out/${var.image}-large"
  }

  provisioner "shell" {
    script           = "${path.root}/scripts/accounts.sh"
    environment_vars = ["ACCOUNTS=${join(" ", local.accounts)}"]
    execute_command  = "sudo env {{ .Vars }} sh {{ .Path }}"
  }

  provisioner "breakpoint" {
    disable = true
    note    = "the accounts are there"
  }

  post-processors {
    post-processor "compress" {
      output            = "out/${source.name}.tar.gz"
      compression_level = 9
    }
    post-processor "checksum" {
      checksum_types = ["sha256", "sha512"]
      output         = "out/${source.name}.{{.ChecksumType}}"
    }
  }
}
