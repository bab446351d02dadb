#!/bin/sh
set -eu
echo "done by $(id -un)"
