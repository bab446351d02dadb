# The image that all others start from: scanned before it is kept, with its reports brought back.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1"
    }
    inspec = {
      source  = "github.com/hashicorp/inspec"
      version = "~> 1"
    }
  }
}

variable "accounts" {
  description = "Who may start machines from the image."
  type        = list(string)
  default     = ["111111111111", "222222222222"]

  validation {
    condition     = alltrue([for id in var.accounts : can(regex("^[0-9]{12}$", id))])
    error_message = "An account has twelve digits."
  }
}

variable "severity" {
  type    = string
  default = "HIGH"

  validation {
    condition     = contains(["LOW", "MEDIUM", "HIGH", "CRITICAL"], upper(var.severity))
    error_message = "The severity must be one of LOW, MEDIUM, HIGH, CRITICAL."
  }
}

data "http" "allowed" {
  url    = "https://security.example.com/allowed-findings.json"
  method = "GET"
  request_headers = {
    Accept = "application/json"
  }
}

data "amazon-parameterstore" "base" {
  name            = "/aws/service/debian/release/12/latest/amd64"
  region          = "eu-central-1"
  with_decryption = false
}

locals {
  allowed = try(jsondecode(data.http.allowed.body), [])
  version = formatdate("YYYY.MM.DD", timestamp())
  reports = "${path.root}/reports"
}

source "amazon-ebs" "golden" {
  region        = "eu-central-1"
  instance_type = "m6i.large"
  source_ami    = data.amazon-parameterstore.base.value
  ami_name      = "golden-${local.version}"
  ami_users     = var.accounts
  deprecate_at  = timeadd(timestamp(), "2160h")

  ssh_username         = "admin"
  iam_instance_profile = "image-builder"
  run_tags = {
    Purpose = "golden image ${local.version}"
  }

  run_volume_tags = { Ephemeral = "true" }

  ami_block_device_mappings {
    device_name  = "/dev/sdb"
    virtual_name = "ephemeral0"
  }
}

build {
  name    = "golden"
  sources = ["source.amazon-ebs.golden"]

  provisioner "shell" {
    script          = "${path.root}/scripts/harden.sh"
    execute_command = "{{ .Vars }} sudo -E bash '{{ .Path }}'"
  }

  provisioner "inspec" {
    profile = "${path.root}/policy"
    extra_arguments = [
      "--no-distinct-exit",
      "--reporter", "json:${local.reports}/inspec.json",
    ]
    inspec_env_vars = ["CHEF_LICENSE=accept"]
    only            = ["amazon-ebs.golden"]
  }

  provisioner "shell" {
    inline = [
      "sudo trivy rootfs --severity '${upper(var.severity)}' --format json --output /tmp/scan.json /",
      "dpkg-query -W -f '$${Package} $${Version}\\n' > /tmp/packages.txt",
    ]
    timeout = "30m"
  }

  provisioner "file" {
    direction   = "download"
    sources     = ["/tmp/scan.json", "/tmp/packages.txt"]
    destination = "${local.reports}/"
  }

  provisioner "shell-local" {
    inline           = ["${path.root}/scripts/judge.py ${local.reports}/scan.json"]
    environment_vars = ["ALLOWED=${jsonencode(local.allowed)}"]
    valid_exit_codes = [0, 3]
  }

  provisioner "shell" {
    inline            = ["sudo apt-get purge -y trivy"]
    continue_on_error = true
  }

  post-processors {
    post-processor "manifest" {
      output     = "reports/manifest.json"
      strip_path = true
      custom_data = {
        version  = local.version
        accounts = join(",", var.accounts)
      }
    }
    post-processor "artifice" {
      files = ["reports/scan.json", "reports/packages.txt", "reports/manifest.json"]
    }
    post-processor "compress" {
      output = "reports.tar.gz"
    }
  }
}
