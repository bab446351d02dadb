#!/bin/sh
set -eu
sed -i "s/GREETING/$GREETING/" /srv/www/index.html
echo "made by $PACKER_BUILD_NAME on $PACKER_BUILDER_TYPE" > /etc/made-by
