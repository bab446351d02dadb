# A web server's AMI, made from the newest Ubuntu that Canonical has published.

packer {
  required_version = ">= 1.9.0"

  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.3"
    }
    ansible = {
      source  = "github.com/hashicorp/ansible"
      version = ">= 1.1.0, < 2.0.0"
    }
  }
}

variable "region" {
  type        = string
  default     = "eu-central-1"
  description = "Where the image is built."

  validation {
    condition     = can(regex("^[a-z]{2}-[a-z]+-[0-9]$", var.region))
    error_message = "The region must look like `eu-central-1`."
  }
}

variable "copy_to" {
  type    = list(string)
  default = ["eu-west-1", "us-east-1"]

  validation {
    condition     = length(var.copy_to) == length(distinct(var.copy_to))
    error_message = "Each region may be named once."
  }
}

variable "instance_type" {
  type    = string
  default = "t3.small"
}

variable "disks" {
  description = "Volumes besides the root."
  type = list(object({
    device = string
    size   = number
    type   = optional(string, "gp3")
    iops   = optional(number)
  }))
  default = [
    { device = "/dev/sdf", size = 20 },
    { device = "/dev/sdg", size = 100, type = "io2", iops = 4000 },
  ]
}

variable "registration_token" {
  type      = string
  default   = "not-a-real-token"
  sensitive = true
}

variable "extra_tags" {
  type = map(string)
  default = {
    CostCentre = "4711"
  }
}

variable "kms_key" {
  type    = string
  default = null
}

data "amazon-ami" "noble" {
  region      = var.region
  owners      = ["099720109477"]
  most_recent = true

  filters = {
    name                = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"
    root-device-type    = "ebs"
    virtualization-type = "hvm"
  }
}

locals {
  stamp    = formatdate("YYYYMMDDhhmm", timestamp())
  ami_name = "web-noble-${local.stamp}"

  tags = merge(var.extra_tags, {
    Name      = local.ami_name
    Role      = "web"
    BaseImage = data.amazon-ami.noble.id
    BaseName  = data.amazon-ami.noble.name
  })

  packages = [for name in ["nginx", "curl", "unattended-upgrades"] : lower(name)]
}

local "agent_config" {
  expression = jsonencode({
    token    = var.registration_token
    endpoint = "https://agents.example.com"
  })
  sensitive = true
}

source "amazon-ebs" "ubuntu" {
  region        = var.region
  source_ami    = data.amazon-ami.noble.id
  instance_type = var.instance_type
  ami_name      = local.ami_name
  ami_regions   = var.copy_to
  ami_users     = []

  ami_description             = "Web server on Ubuntu 24.04, built ${local.stamp}"
  associate_public_ip_address = true
  encrypt_boot                = var.kms_key != null
  kms_key_id                  = var.kms_key
  ena_support                 = true
  force_deregister            = true
  force_delete_snapshot       = true
  imds_support                = "v2.0"

  communicator            = "ssh"
  ssh_username            = "ubuntu"
  ssh_timeout             = "10m"
  ssh_interface           = "public_ip"
  temporary_key_pair_type = "ed25519"

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  vpc_filter {
    filters = {
      "tag:Purpose" = "image-builds"
    }
  }

  subnet_filter {
    filters = {
      "tag:Tier" = "public"
    }
    most_free = true
    random    = false
  }

  security_group_filter {
    filters = {
      "tag:Purpose" = "image-builds"
    }
  }

  launch_block_device_mappings {
    device_name           = "/dev/sda1"
    volume_size           = 16
    volume_type           = "gp3"
    throughput            = 250
    delete_on_termination = true
  }

  dynamic "launch_block_device_mappings" {
    for_each = var.disks
    iterator = disk

    content {
      device_name           = disk.value.device
      volume_size           = disk.value.size
      volume_type           = disk.value.type
      iops                  = disk.value.iops
      delete_on_termination = true
    }
  }

  aws_polling {
    delay_seconds = 20
    max_attempts  = 90
  }

  temporary_iam_instance_profile_policy_document {
    Version = "2012-10-17"
    Statement {
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["arn:aws:s3:::images-example-com/*"]
    }
  }

  run_tags        = { Name = "building ${local.ami_name}" }
  run_volume_tags = local.tags
  snapshot_tags   = local.tags

  dynamic "tag" {
    for_each = local.tags
    content {
      key   = tag.key
      value = tag.value
    }
  }
}

build {
  name        = "web"
  description = "Installs nginx, and hardens what stands around it."
  sources     = ["source.amazon-ebs.ubuntu"]

  provisioner "shell" {
    inline = [
      "cloud-init status --wait",
      "sudo apt-get update",
    ]
    valid_exit_codes = [0, 2]
    max_retries      = 3
  }

  provisioner "shell" {
    script          = "${path.root}/scripts/install.sh"
    execute_command = "chmod +x {{ .Path }}; sudo -E sh -c '{{ .Vars }} {{ .Path }}'"
    env = {
      DEBIAN_FRONTEND = "noninteractive"
      PACKAGES        = join(" ", local.packages)
      BUILT_ON        = build.Host
    }
  }

  provisioner "file" {
    source      = "${path.root}/files/nginx.conf"
    destination = "/tmp/nginx.conf"
  }

  provisioner "file" {
    content     = local.agent_config
    destination = "/tmp/agent.json"
  }

  provisioner "shell" {
    inline = [
      "sudo install -m 0644 /tmp/nginx.conf /etc/nginx/nginx.conf",
      "sudo install -D -m 0600 /tmp/agent.json /etc/agent/agent.json",
      "rm /tmp/agent.json",
    ]
    pause_before = "5s"
  }

  provisioner "ansible" {
    playbook_file    = "${path.root}/ansible/harden.yml"
    user             = "ubuntu"
    use_proxy        = false
    ansible_env_vars = ["ANSIBLE_HOST_KEY_CHECKING=False", "ANSIBLE_NOCOLOR=1"]
    extra_arguments = [
      "--extra-vars", "region=${var.region}",
      "--skip-tags", "reboot",
    ]
  }

  provisioner "shell" {
    scripts = [for name in fileset("scripts", "9*.sh") : "${path.root}/scripts/${name}"]
    timeout = "5m"
  }

  error-cleanup-provisioner "shell-local" {
    inline = ["echo 'the build ${build.PackerRunUUID} failed' >&2"]
  }

  post-processor "manifest" {
    output     = "manifest.json"
    strip_path = true
    custom_data = {
      base   = data.amazon-ami.noble.id
      region = var.region
    }
  }

  post-processor "checksum" {
    checksum_types = ["sha256"]
    output         = "web_{{.ChecksumType}}.checksum"
  }
}
