# One image of a worker for three clouds: what differs stands in `override`, `only` and `except`.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.8"
    }
    azure = {
      source  = "github.com/hashicorp/azure"
      version = ">= 2.0.0"
    }
    googlecompute = {
      source  = "github.com/hashicorp/googlecompute"
      version = ">= 1.1.0"
    }
  }
}

variable "image_version" {
  type    = string
  default = "1.4.0"

  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", var.image_version))
    error_message = "The version must have three numbers."
  }
}

variable "azure" {
  type = object({
    subscription_id = string
    client_id       = string
    tenant_id       = string
    resource_group  = optional(string, "images")
  })
  default = {
    subscription_id = "00000000-0000-0000-0000-000000000001"
    client_id       = "00000000-0000-0000-0000-000000000002"
    tenant_id       = "00000000-0000-0000-0000-000000000003"
  }
}

variable "azure_secret" {
  type      = string
  default   = "nobody-knows"
  sensitive = true
}

variable "gcp_project" {
  type    = string
  default = "images-example"
}

locals {
  dashed = replace(var.image_version, ".", "-")
  name   = "worker-${local.dashed}"

  labels = {
    role    = "worker"
    version = local.dashed
  }
}

source "amazon-ebs" "aws" {
  region        = "us-east-1"
  instance_type = "c6i.large"
  ssh_username  = "admin"
  ami_name      = local.name
  tags          = local.labels

  source_ami_filter {
    filters = {
      name         = "debian-12-amd64-*"
      architecture = "x86_64"
    }
    owners      = ["136693071363"]
    most_recent = true
  }
}

source "azure-arm" "azure" {
  subscription_id = var.azure.subscription_id
  client_id       = var.azure.client_id
  client_secret   = var.azure_secret
  tenant_id       = var.azure.tenant_id

  os_type         = "Linux"
  image_publisher = "Debian"
  image_offer     = "debian-12"
  image_sku       = "12-gen2"
  location        = "West Europe"
  vm_size         = "Standard_D2s_v5"
  azure_tags      = local.labels

  managed_image_name                = local.name
  managed_image_resource_group_name = var.azure.resource_group

  shared_image_gallery_destination {
    subscription         = var.azure.subscription_id
    resource_group       = var.azure.resource_group
    gallery_name         = "workers"
    image_name           = "debian-worker"
    image_version        = var.image_version
    replication_regions  = ["westeurope", "northeurope"]
    storage_account_type = "Standard_ZRS"
  }
}

source "googlecompute" "gcp" {
  project_id              = var.gcp_project
  source_image_family     = "debian-12"
  source_image_project_id = ["debian-cloud"]
  zone                    = "europe-west3-a"
  machine_type            = "n2-standard-2"
  disk_size               = 20
  disk_type               = "pd-ssd"
  image_name              = local.name
  image_family            = "worker"
  image_labels            = local.labels
  image_storage_locations = ["eu"]
  ssh_username            = "packer"
  use_os_login            = false

  metadata = {
    enable-oslogin = "FALSE"
  }
}

build {
  name = "worker"

  source "amazon-ebs.aws" {
    ssh_clear_authorized_keys = true
  }
  sources = [
    "source.azure-arm.azure",
    "source.googlecompute.gcp",
  ]

  provisioner "shell" {
    inline = [
      "sudo apt-get update",
      "sudo apt-get install -y \"$AGENT\" podman",
    ]
    env = {
      AGENT = source.type == "googlecompute" ? "google-osconfig-agent" : "unattended-upgrades"
    }
    override = {
      aws = {
        inline = ["sudo apt-get update", "sudo apt-get install -y awscli podman"]
      }
    }
  }

  provisioner "shell" {
    only   = ["googlecompute.gcp"]
    script = "${path.root}/scripts/guest-agent.sh"
  }

  provisioner "shell" {
    except          = ["amazon-ebs.aws", "googlecompute.gcp"]
    execute_command = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    inline          = ["/usr/sbin/waagent -force -deprovision+user && export HISTSIZE=0 && sync"]
    inline_shebang  = "/bin/sh -x"
  }

  post-processors {
    post-processor "manifest" {
      output = "${source.type}.json"
    }
    post-processor "shell-local" {
      inline              = ["echo ${source.name} is made by ${source.type}"]
      only                = ["azure-arm.azure"]
      keep_input_artifact = true
    }
  }
}
