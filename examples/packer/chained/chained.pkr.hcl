# The second image starts from the first one's artifact: it is built after it, whatever the order below.

source "rootfs" "base" {
  tarball = "out/base.tar"

  debian {
    components = ["main"]
    packages   = ["busybox-static"]
  }
}

source "rootfs" "app" {
  base_tarball = "out/base.tar"
  oci_layout   = "out/app.oci"
  cmd          = ["/usr/local/bin/app"]
}

build {
  name    = "app"
  sources = ["source.rootfs.app"]

  provisioner "file" {
    content     = "#!/bin/sh\ncat /etc/base\n"
    destination = "/usr/local/bin/app"
  }

  provisioner "shell" {
    inline = [
      "chmod 0755 /usr/local/bin/app",
      "test \"$(/usr/local/bin/app)\" = base",
    ]
  }
}

build {
  name    = "base"
  sources = ["source.rootfs.base"]

  provisioner "shell" {
    inline = ["echo base > /etc/base"]
  }
}
