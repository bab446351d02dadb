# A container image from Debian's archive: no machine and no container engine.

variable "suite" {
  type    = string
  default = "stable"
}

variable "greeting" {
  type    = string
  default = "hello"
}

locals {
  packages = ["busybox-static", "ca-certificates"]
}

source "rootfs" "web" {
  oci_layout = "out/web.oci"
  tarball    = "out/web.tar.gz"
  image_name = "example/web:1.0"

  debian {
    suite      = var.suite
    components = ["main"]
    variant    = "minbase"
    packages   = local.packages
  }

  env = {
    LISTEN = "8080"
  }
  entrypoint = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/srv/www"]
  expose     = ["8080"]
  workdir    = "/srv/www"
  labels = {
    "org.opencontainers.image.title" = "web"
  }
}

build {
  name    = "web"
  sources = ["source.rootfs.web"]

  # Shells start in `workdir`, so this comes first and makes it.
  provisioner "file" {
    source      = "${path.root}/files/index.html"
    destination = "/srv/www/index.html"
  }

  provisioner "shell" {
    inline = ["busybox --list | grep -q httpd"]
  }

  provisioner "shell" {
    script = "${path.root}/scripts/personalise.sh"
    env = {
      GREETING = var.greeting
    }
  }

  provisioner "shell" {
    inline = ["dpkg-query -W -f '$${Package} $${Version}\\n' > /var/lib/packages.txt"]
  }

  provisioner "file" {
    direction   = "download"
    source      = "/var/lib/packages.txt"
    destination = "out/packages.txt"
  }

  post-processor "checksum" {
    checksum_types = ["sha256"]
    output         = "out/web.{{.ChecksumType}}"
  }
}
