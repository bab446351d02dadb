#!/bin/sh
set -eu
for account in $ACCOUNTS; do
    IFS=: read -r name uid groups shell <<END
$account
END
    useradd --uid "$uid" --groups "$(echo "$groups" | tr + ,)" --shell "$shell" --create-home "$name"
done
