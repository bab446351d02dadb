d-i debian-installer/locale string en_GB.UTF-8
d-i mirror/http/hostname string ${mirror}
d-i passwd/root-login boolean false
%{ for name in sudoers ~}
d-i passwd/username string ${name}
%{ endfor ~}
d-i pkgsel/include string openssh-server
