# A container image with tags, pushed to a registry, and saved as an archive besides. Nothing in it is newer than
# Packer 1.6, so that distributions' packages of Packer build it too.

variable "registry" {
  type    = string
  default = "registry.example.com"
}

variable "registry_password" {
  type      = string
  default   = env("REGISTRY_PASSWORD")
  sensitive = true
}

variable "tags" {
  type    = list(string)
  default = ["1.2.0", "1.2", "latest"]
}

source "docker" "debian" {
  image       = "debian:12-slim"
  commit      = true
  pull        = true
  run_command = ["-d", "-i", "-t", "--entrypoint=/bin/sh", "--", "{{.Image}}"]
  volumes = {
    "/var/cache/apt" = "/var/cache/apt"
  }
  changes = [
    "EXPOSE 8080/tcp",
    "ENV LISTEN=:8080",
    "USER 65534:65534",
    "ENTRYPOINT [\"/usr/bin/python3\", \"-m\", \"http.server\", \"8080\"]",
    "LABEL org.opencontainers.image.version=${var.tags[0]}",
  ]
}

source "docker" "export" {
  image       = "debian:12-slim"
  export_path = "web.tar"
}

build {
  name    = "web"
  sources = ["source.docker.debian", "source.docker.export"]

  provisioner "shell" {
    inline = [
      "apt-get update",
      "apt-get install -y --no-install-recommends python3",
      "rm -rf /var/lib/apt/lists/*",
    ]
    environment_vars = ["DEBIAN_FRONTEND=noninteractive"]
  }

  provisioner "file" {
    source      = "${path.root}/files/index.html"
    destination = "/srv/index.html"
  }

  post-processors {
    post-processor "docker-tag" {
      repository = "${var.registry}/web"
      tags       = var.tags
      only       = ["docker.debian"]
    }
    post-processor "docker-push" {
      login          = true
      login_server   = var.registry
      login_username = "ci"
      login_password = var.registry_password
      only           = ["docker.debian"]
    }
  }

  post-processor "docker-save" {
    path = "web-saved.tar"
    only = ["docker.debian"]
  }

  post-processors {
    post-processor "docker-import" {
      repository = "${var.registry}/web"
      tag        = "flat"
      changes    = ["CMD [\"python3\"]"]
      only       = ["docker.export"]
    }
    post-processor "docker-push" {
      only = ["docker.export"]
    }
  }
}
