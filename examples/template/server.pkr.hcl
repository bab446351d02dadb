# A template as teams have it. `imgbuild build examples/template/server.pkr.hcl` builds it too, without a BUILD.star.

variable "motd" {
  type    = string
  default = "Welcome."
}

source "rootfs" "base" {
  debian {
    suite = "stable"
  }
  network = false
}

source "file" "readme" {
  content = "The message of the day is: ${var.motd}\n"
  target  = "readme.txt"
}

build {
  sources = ["source.rootfs.base", "source.file.readme"]

  provisioner "shell" {
    only   = ["rootfs.base"]
    inline = ["useradd --create-home app"]
  }

  provisioner "file" {
    only        = ["rootfs.base"]
    content     = "${var.motd}\n"
    destination = "/etc/motd"
  }
}
