locals {
  checksums = {
    for line in split("\n", chomp(file("files/SHA256SUMS"))) :
    trimspace(element(split("  ", line), 1)) => element(split("  ", line), 0)
  }

  iso = "debian-12.11.0-amd64-netinst.iso"

  sudoers = [for name, user in var.users : name if contains(user.groups, "sudo")]

  accounts = [
    for name in sort(keys(var.users)) :
    format("%s:%d:%s:%s", name, var.users[name].uid, join("+", var.users[name].groups), var.users[name].shell)
  ]
}
