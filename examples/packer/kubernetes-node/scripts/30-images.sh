#!/bin/bash
set -euo pipefail
for image in $IMAGES; do ctr --namespace k8s.io images pull "$image"; done
