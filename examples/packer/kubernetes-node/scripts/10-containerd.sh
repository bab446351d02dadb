#!/bin/bash
set -euo pipefail
apt-get install -y containerd
