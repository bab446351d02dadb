# A file from a template, compressed, with checksums and a manifest.

variable "release" {
  type    = string
  default = "2.1"
}

variable "backends" {
  type = map(number)
  default = {
    "10.0.0.11" = 8080
    "10.0.0.12" = 8081
  }
}

locals {
  haproxy = templatefile("templates/haproxy.cfg.pkrtpl", {
    release  = var.release
    backends = var.backends
  })
}

source "file" "haproxy" {
  content = local.haproxy
  target  = "out/haproxy.cfg"
}

source "file" "license" {
  source = "templates/license.txt"
  target = "out/license.txt"
}

build {
  name    = "config"
  sources = ["source.file.haproxy", "source.file.license"]

  post-processor "checksum" {
    checksum_types      = ["sha256", "md5"]
    output              = "out/{{.BuildName}}.{{.ChecksumType}}"
    keep_input_artifact = true
  }

  post-processors {
    post-processor "compress" {
      output = "out/haproxy-${var.release}.tar.gz"
      only   = ["file.haproxy"]
    }
    post-processor "manifest" {
      output     = "out/${source.name}.json"
      strip_path = true
      strip_time = true
      custom_data = {
        release = var.release
      }
    }
  }
}
