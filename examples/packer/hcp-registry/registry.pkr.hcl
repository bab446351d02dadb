# What is built is recorded in an HCP registry, and starts from what is recorded there.

packer {
  required_version = ">= 1.7.7"

  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.3"
    }
  }
}

variable "team" {
  type    = string
  default = "payments"
}

data "hcp-packer-version" "base" {
  bucket_name  = "golden"
  channel_name = "production"
}

data "hcp-packer-artifact" "base" {
  bucket_name         = "golden"
  version_fingerprint = data.hcp-packer-version.base.fingerprint
  platform            = "aws"
  region              = "us-west-2"
}

source "amazon-ebs" "service" {
  region        = "us-west-2"
  instance_type = "t3.medium"
  source_ami    = data.hcp-packer-artifact.base.external_identifier
  ssh_username  = "admin"
  ami_name      = "${var.team}-{{timestamp}}"
}

hcp_packer_registry {
  bucket_name = "${var.team}-service"
  description = <<-EOT
    Services of the team ${var.team},
    on top of the golden image.
  EOT

  bucket_labels = {
    team = var.team
    os   = "debian"
  }

  build_labels = {
    base     = data.hcp-packer-version.base.id
    built_at = formatdate("YYYY-MM-DD", timestamp())
  }
}

build {
  name    = "service"
  sources = ["source.amazon-ebs.service"]

  provisioner "shell" {
    inline = [
      "echo 'made from ${data.hcp-packer-artifact.base.external_identifier}' | sudo tee /etc/image-base",
    ]
  }
}
