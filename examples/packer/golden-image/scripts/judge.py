#!/usr/bin/env python3
"""Fails if the scan has findings that nobody has allowed."""

import json
import os
import sys

allowed = set(json.loads(os.environ["ALLOWED"]))
with open(sys.argv[1]) as report:
    results = json.load(report).get("Results", [])
found = {item["VulnerabilityID"] for result in results for item in result.get("Vulnerabilities", [])}
sys.exit(1 if found - allowed else 0)
