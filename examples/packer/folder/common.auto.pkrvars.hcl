# Read without being asked for, in the order of the files' names.
image = "bookworm"

users = {
  deploy = { uid = 2001, groups = ["sudo", "adm"] }
  backup = { uid = 2002, shell = "/usr/sbin/nologin" }
}
