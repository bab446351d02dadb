#!/bin/sh
set -eu
# PACKAGES holds names without spaces.
# shellcheck disable=SC2086
apt-get install -y --no-install-recommends $PACKAGES
echo "built on $BUILT_ON" > /etc/built-on
