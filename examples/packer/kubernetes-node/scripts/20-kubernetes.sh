#!/bin/bash
set -euo pipefail
apt-get install -y "kubelet=$KUBERNETES" "kubeadm=$KUBERNETES"
install -m 0644 /tmp/kubelet.yaml /etc/kubernetes/kubelet.yaml
echo "v$MINOR with pause $PAUSE" > /etc/kubernetes/release
