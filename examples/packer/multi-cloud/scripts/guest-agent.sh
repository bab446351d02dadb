#!/bin/sh
set -eu
systemctl is-enabled google-guest-agent
