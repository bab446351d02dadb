# A node for a Kubernetes cluster: what the kubelet reads is rendered here, and goss looks at the result.

packer {
  required_plugins {
    openstack = {
      version = "~> 1"
      source  = "github.com/hashicorp/openstack"
    }
    proxmox = {
      version = ">= 1.1.8"
      source  = "github.com/hashicorp/proxmox"
    }
    goss = {
      version = "~> 3"
      source  = "github.com/YaleUniversity/goss"
    }
  }
}

variable "kubernetes" {
  type = object({
    version  = string
    revision = optional(string, "1.1")
    pause    = optional(string, "3.9")
  })
  default = { version = "1.30.4" }

  validation {
    condition     = can(regex("^1\\.[0-9]+\\.[0-9]+$", var.kubernetes.version))
    error_message = "The version must be that of a release, as `1.30.4`."
  }
}

variable "preload" {
  type    = set(string)
  default = ["registry.k8s.io/coredns/coredns:v1.11.1", "registry.k8s.io/kube-proxy:v1.30.4"]
}

variable "proxmox_token" {
  type      = string
  sensitive = true
  default   = "00000000-0000-0000-0000-000000000000"
}

locals {
  minor = join(".", slice(split(".", var.kubernetes.version), 0, 2))
  name  = "node-${replace(var.kubernetes.version, ".", "-")}"

  kubelet = templatefile("templates/kubelet.yaml.pkrtpl", {
    reserved = { cpu = "200m", memory = "512Mi" }
    limit    = 110
    flags    = yamldecode(file("templates/flags.yaml"))
  })

  sysctls = {
    "net.ipv4.ip_forward"                = 1
    "net.bridge.bridge-nf-call-iptables" = 1
  }
}

source "openstack" "node" {
  image_name          = local.name
  source_image_name   = "Ubuntu 24.04"
  flavor              = "m1.medium"
  ssh_username        = "ubuntu"
  networks            = ["9f3bb1b0-6f30-4d10-a3a7-2a3ac6e5dcb1"]
  floating_ip_network = "public"
  security_groups     = ["ssh"]
  image_visibility    = "private"
  metadata = {
    kubernetes = var.kubernetes.version
  }
}

source "proxmox-clone" "node" {
  proxmox_url              = "https://pve.example.com:8006/api2/json"
  username                 = "images@pve!packer"
  token                    = var.proxmox_token
  insecure_skip_tls_verify = false
  node                     = "pve1"
  clone_vm                 = "ubuntu-noble"
  full_clone               = true
  vm_name                  = local.name
  template_name            = local.name
  template_description     = "Kubernetes ${var.kubernetes.version}"
  cores                    = 2
  memory                   = 4096
  scsi_controller          = "virtio-scsi-single"
  qemu_agent               = true
  cloud_init               = true
  cloud_init_storage_pool  = "local-lvm"
  ssh_username             = "ubuntu"
  ssh_timeout              = "15m"

  network_adapters {
    bridge   = "vmbr0"
    model    = "virtio"
    vlan_tag = "30"
  }
}

build {
  name    = "node"
  sources = ["openstack.node", "proxmox-clone.node"]

  provisioner "file" {
    content     = local.kubelet
    destination = "/tmp/kubelet.yaml"
  }

  provisioner "file" {
    content     = join("\n", concat([for name, value in local.sysctls : "${name} = ${value}"], [""]))
    destination = "/tmp/90-kubernetes.conf"
  }

  provisioner "shell" {
    scripts = [
      "${path.root}/scripts/10-containerd.sh",
      "${path.root}/scripts/20-kubernetes.sh",
      "${path.root}/scripts/30-images.sh",
    ]
    environment_vars = [
      "KUBERNETES=${var.kubernetes.version}-${var.kubernetes.revision}",
      "MINOR=${local.minor}",
      "PAUSE=${var.kubernetes.pause}",
      "IMAGES=${join(" ", var.preload)}",
    ]
    execute_command   = "sudo env {{ .Vars }} bash {{ .Path }}"
    expect_disconnect = false
    max_retries       = 2
    timeout           = "20m"
  }

  provisioner "shell" {
    inline            = ["sudo systemctl reboot"]
    expect_disconnect = true
    skip_clean        = true
  }

  provisioner "goss" {
    version       = "0.4.9"
    tests         = ["${path.root}/goss"]
    goss_file     = "node.yaml"
    vars_inline   = { minor = local.minor }
    use_sudo      = true
    retry_timeout = "60s"
    sleep         = "5s"
    format        = "documentation"
    pause_before  = "30s"
  }
}
