#!/bin/sh
set -eu
sudo cloud-init clean --logs --machine-id
sudo rm -rf /var/lib/apt/lists/* /home/ubuntu/.ssh/authorized_keys
