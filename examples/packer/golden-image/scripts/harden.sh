#!/bin/bash
set -euo pipefail
echo 'kernel.kptr_restrict = 2' > /etc/sysctl.d/60-hardening.conf
chmod 0700 /root
