//! Components that Packer brings.

use imgbuild_kinds::Dialect;
use imgbuild_model::KindClass::{Builder, DataSource, PostProcessor, Provisioner};
use serde_json::json;

use crate::support::{Good, lines, lines_in};

#[test]
fn null_and_file_builders() {
    Good::new(Builder, "null", json!({"communicator": "none"})).but(&[
        (json!({"comunicator": "ssh"}), &[
            "builder `null` has no attribute or block `comunicator` (did you mean `communicator`?)",
        ]),
        (json!({"communicator": "telnet"}), &[
            "`communicator`: expected \"ssh\" or \"winrm\" or \"none\" or \"docker\" or \"dockerWindowsContainer\", got \"telnet\"",
        ]),
    ]);
    Good::new(
        Builder,
        "null",
        json!({"ssh_host": "192.0.2.7", "ssh_username": "root", "ssh_password": "x", "ssh_timeout": "90s"}),
    )
    .but(&[
        (json!({"ssh_host": null}), &["`ssh_host` must be given where `communicator` is \"ssh\""]),
        (json!({"ssh_password": null}), &[
            "one of `ssh_password`, `ssh_private_key_file` or `ssh_agent_auth` must be given where `communicator` is \"ssh\"",
        ]),
        (json!({"ssh_agent_auth": true}), &[
            "only one of `ssh_password` and `ssh_agent_auth` may be given where `communicator` is \"ssh\"",
        ]),
        (json!({"ssh_agent_auth": false}), &[]),
        (json!({"ssh_port": 70000}), &["`ssh_port`: the number must be from 1 to 65535, not 70000"]),
        (json!({"ssh_timeout": 90}), &[
            "`ssh_timeout`: expected duration (\"90s\"), got 90 (write a unit: `\"90s\"`)",
        ]),
        (json!({"ssh_wait_timeout": "2m"}), &[
            "warning: `ssh_wait_timeout` is deprecated: it is an old name (use `ssh_timeout`)",
        ]),
        (json!({"ssh_bastion_host": "a", "ssh_proxy_host": "b"}), &[
            "only one of `ssh_bastion_host` and `ssh_proxy_host` may be given",
        ]),
        (json!({"ssh_certificate_file": "cert"}), &[
            "`ssh_certificate_file` needs `ssh_private_key_file` beside it",
        ]),
    ]);
    Good::new(Builder, "file", json!({"target": "out.txt", "content": "hello"})).but(&[
        (json!({"target": null}), &["builder `file` needs the attribute `target`"]),
        (json!({"target": ""}), &["`target` is required and must not be empty"]),
        (json!({"source": "in.txt"}), &["only one of `source` and `content` may be given"]),
        (json!({"content": ["a"]}), &["`content`: expected string, got list"]),
    ]);
}

#[test]
fn shell() {
    Good::new(
        Provisioner,
        "shell",
        json!({
            "inline": ["apt-get update", "apt-get install -y nginx"],
            "env": {"DEBIAN_FRONTEND": "noninteractive"},
            "environment_vars": ["A=b"],
            "execute_command": "sudo -S env {{ .Vars }} {{ .Path }}",
            "valid_exit_codes": [0, 3],
            "expect_disconnect": true,
            "pause_before": "10s",
            "max_retries": 3,
            "only": ["amazon-ebs.ubuntu"],
            "override": {"ubuntu": {"inline": ["true"]}},
        }),
    )
    .but(&[
        (json!({"inline": null}), &["one of `inline`, `script` or `scripts` must be given"]),
        (json!({"inline": []}), &["one of `inline`, `script` or `scripts` must be given"]),
        (json!({"script": "a.sh", "scripts": ["b.sh"]}), &[
            "only one of `inline`, `script` and `scripts` may be given",
        ]),
        (json!({"inline": null, "script": "<unknown>"}), &[]),
        (json!({"inline": "<unknown>", "script": "<unknown>"}), &[]),
        (json!({"inline": "apt-get update"}), &[
            "`inline`: expected list of strings, got \"apt-get update\" (write `[\"apt-get update\"]`)",
        ]),
        (json!({"inline": [["a"]]}), &["`inline[0]`: expected string, got list"]),
        (json!({"env": ["A=b"]}), &["`env`: expected dict of strings, got list"]),
        (json!({"env": {"A": ["b"]}}), &["`env.A`: expected string, got list"]),
        (json!({"valid_exit_codes": "3"}), &[
            "`valid_exit_codes`: expected list of ints, got \"3\" (write `[3]`)",
        ]),
        (json!({"valid_exit_codes": ["none"]}), &["`valid_exit_codes[0]`: expected int, got \"none\""]),
        (json!({"enviroment_vars": ["A=b"]}), &[
            "provisioner `shell` has no attribute or block `enviroment_vars` (did you mean `environment_vars`?)",
        ]),
        (json!({"pause_befor": "1s"}), &[
            "provisioner `shell` has no attribute or block `pause_befor` (did you mean `pause_before`?)",
        ]),
        (json!({"pause_before": "10"}), &[
            "`pause_before`: expected duration (\"90s\"), got \"10\" (write a unit: `\"10s\"`)",
        ]),
        (json!({"packer_build_name": "x", "type": "shell"}), &[]),
    ]);
}

#[test]
fn other_provisioners() {
    Good::new(Provisioner, "shell-local", json!({"inline": ["true"], "only_on": ["linux"]})).but(&[
        (json!({"inline": null, "command": "true"}), &[
            "warning: `command` is deprecated: it is an old name (use `inline`)",
        ]),
        (json!({"only_on": ["linx"]}), &[
            "`only_on[0]`: expected \"darwin\" or \"freebsd\" or \"linux\" or \"openbsd\" or \"solaris\" or \"windows\", got \"linx\" (did you mean `\"linux\"`?)",
        ]),
        (json!({"use_linux_pathing": true}), &["`use_linux_pathing` cannot stand beside `inline`"]),
        (json!({"execute_command": "sh {{.Script}}"}), &[
            "`execute_command`: expected list of strings, got \"sh {{.Script}}\" (write `[\"sh {{.Script}}\"]`)",
        ]),
    ]);
    Good::new(Provisioner, "file", json!({"source": "app/", "destination": "/opt/app", "generated": true}))
        .but(&[
            (json!({"destination": null}), &["provisioner `file` needs the attribute `destination`"]),
            (json!({"content": "x"}), &["only one of `source` and `content` may be given"]),
            (json!({"direction": "up"}), &["`direction`: expected \"upload\" or \"download\", got \"up\""]),
            (json!({"direction": "{{ user `x` }}"}), &[]),
        ]);
    Good::new(Provisioner, "breakpoint", json!({"note": "look"}))
        .but(&[(json!({"disable": "maybe"}), &["`disable`: expected bool, got \"maybe\""])]);
    Good::new(Provisioner, "sleep", json!({"duration": "1h30m"})).but(&[(
        json!({"duration": "a while"}),
        &["`duration`: expected duration (\"90s\"), got \"a while\""],
    )]);
    Good::new(
        Provisioner,
        "powershell",
        json!({"inline": ["Get-Date"], "elevated_user": "a", "elevated_password": "b"}),
    )
    .but(&[
        (json!({"elevated_user": null}), &["`elevated_password` needs `elevated_user` beside it"]),
        (json!({"execution_policy": "unrestricted"}), &[]),
        (json!({"debug_mode": 3}), &["`debug_mode`: the number must be from 0 to 2, not 3"]),
        (json!({"debug_mode": -1}), &["`debug_mode`: the number must be from 0 to 2, not -1"]),
        (json!({"elevated_password": ["hunter2"]}), &["`elevated_password`: expected string, got list"]),
        (json!({"elevated_password": null}), &[]),
        (json!({"elevated_password": "", "elevated_user": "SYSTEM"}), &[]),
        (json!({"inline": null}), &["one of `inline`, `script` or `scripts` must be given"]),
        (json!({"inline": []}), &["one of `inline`, `script` or `scripts` must be given"]),
        (json!({"script": "a.ps1"}), &["only one of `inline` and `script` may be given"]),
        (json!({"inline": null, "script": "a.ps1", "scripts": ["b.ps1"]}), &[
            "only one of `script` and `scripts` may be given",
        ]),
        (json!({"execution_policy": "ByPass"}), &[concat!(
            "`execution_policy`: expected \"bypass\" or \"allsigned\" or \"default\" or \"remotesigned\" or \"restricted\" or ",
            "\"undefined\" or \"unrestricted\" or \"none\", got \"ByPass\" (did you mean `\"bypass\"`?)",
        )]),
        (json!({"valid_exit_codes": [0, 3010, 2_300_218]}), &[]),
        (json!({"valid_exit_codes": ["reboot"]}), &["`valid_exit_codes[0]`: expected int, got \"reboot\""]),
        (json!({"start_retry_timeout": "soon"}), &[
            "`start_retry_timeout`: expected duration (\"90s\"), got \"soon\"",
        ]),
        (json!({"environment_vars": ["A=1", "B"]}), &["`B` in `environment_vars` is no `NAME=value`"]),
        (json!({"environment_vars": [1]}), &["`environment_vars[0]` is no `NAME=value`"]),
    ]);
    Good::new(Provisioner, "windows-shell", json!({"scripts": ["a.bat"]})).but(&[
        (json!({"scripts": null}), &["one of `inline`, `script` or `scripts` must be given"]),
        (json!({"inline": ["dir"]}), &["only one of `inline` and `scripts` may be given"]),
        (json!({"environment_vars": ["=1"]}), &["`=1` in `environment_vars` is no `NAME=value`"]),
        (
            json!({"elevated_user": "a"}),
            &["provisioner `windows-shell` has no attribute or block `elevated_user`"],
        ),
        (
            json!({"execution_policy": "none"}),
            &["provisioner `windows-shell` has no attribute or block `execution_policy`"],
        ),
        (
            json!({"start_retry_timeout": "soon"}),
            &["`start_retry_timeout`: expected duration (\"90s\"), got \"soon\""],
        ),
    ]);
    Good::new(Provisioner, "windows-restart", json!({"restart_timeout": "15m", "check_registry": true})).but(&[
        (json!({"registry_key": ["HKLM"]}), &[
            "provisioner `windows-restart` has no attribute or block `registry_key` (did you mean `registry_keys`?)",
        ]),
        (json!({"restart_timeout": "soon"}), &["`restart_timeout`: expected duration (\"90s\"), got \"soon\""]),
        (json!({"registry_keys": ["HKCU:\\Mine"]}), &[]),
    ]);
    Good::new(Provisioner, "hcp-sbom", json!({"source": "/tmp/sbom.json", "sbom_name": "web-server"})).but(
        &[
            (json!({"auto_generate": true}), &["only one of `source` and `auto_generate` may be given"]),
            (
                json!({"sbom_name": "x"}),
                &["`sbom_name`: the number of characters must be from 3 to 36, not 1"],
            ),
            (
                json!({"scanner_url": "x"}),
                &["warning: `scanner_url` is deprecated: Packer brings the scanner since 1.15.4"],
            ),
        ],
    );
}

#[test]
fn post_processors() {
    Good::new(
        PostProcessor,
        "manifest",
        json!({"output": "m.json", "custom_data": {"commit": "abc"}, "name": "x"}),
    )
    .but(&[(json!({"custom_data": "x"}), &["`custom_data`: expected dict of strings, got \"x\""])]);
    Good::new(PostProcessor, "checksum", json!({"checksum_types": ["sha256"], "keep_input_artifact": true})).but(&[
        (json!({"checksum_types": ["sha265"]}), &[
            "`checksum_types[0]`: expected \"md5\" or \"sha1\" or \"sha224\" or \"sha256\" or \"sha384\" or \"sha512\", got \"sha265\" (did you mean `\"sha256\"`?)",
        ]),
    ]);
    Good::new(PostProcessor, "compress", json!({"output": "{{.BuildName}}.tar.gz", "compression_level": 9}))
        .but(&[(json!({"compression_level": "best"}), &["`compression_level`: expected int, got \"best\""])]);
    Good::new(PostProcessor, "artifice", json!({"files": ["out/*.qcow2"], "keep_input_artifact": false}))
        .but(&[(json!({"files": []}), &["`files` is required and must not be empty"])]);
    Good::new(PostProcessor, "shell-local", json!({"script": "publish.sh"}))
        .but(&[(json!({"only": ["a"], "except": ["b"]}), &["only one of `only` and `except` may be given"])]);
    Good::new(PostProcessor, "provenance", json!({"signing_mode": "keyless", "sbom": true})).but(&[(
        json!({"signing_mode": "pgp"}),
        &["`signing_mode`: expected \"none\" or \"key\" or \"kms\" or \"keyless\", got \"pgp\""],
    )]);
}

#[test]
fn data_sources() {
    Good::new(DataSource, "http", json!({"url": "https://example.com/", "method": "POST", "request_body": "x"})).but(&[
        (json!({"method": "FETCH"}), &[
            "`method`: expected \"GET\" or \"HEAD\" or \"POST\" or \"PUT\" or \"DELETE\" or \"OPTIONS\" or \"PATCH\", got \"FETCH\"",
        ]),
        (json!({"url": null}), &["data source `http` needs the attribute `url`"]),
        (json!({"url": "<unknown>"}), &[]),
    ]);
    Good::new(DataSource, "null", json!({"input": "x"}))
        .but(&[(json!({"input": null}), &["data source `null` needs the attribute `input`"])]);
    Good::new(DataSource, "hcp-packer-version", json!({"bucket_name": "b", "channel_name": "prod"}))
        .but(&[(json!({"channel": "prod"}), &[
            "data source `hcp-packer-version` has no attribute or block `channel` (did you mean `channel_name`?)",
        ])]);
    let artifact =
        json!({"bucket_name": "b", "channel_name": "prod", "platform": "aws", "region": "eu-west-1"});
    Good::new(DataSource, "hcp-packer-artifact", artifact).but(&[(
        json!({"version_fingerprint": "x"}),
        &["only one of `channel_name` and `version_fingerprint` may be given"],
    )]);
    let image =
        json!({"bucket_name": "b", "channel": "prod", "cloud_provider": "aws", "region": "eu-west-1"});
    assert_eq!(
        lines(DataSource, "hcp-packer-image", &image),
        [
            "warning: data source `hcp-packer-image` is deprecated: the registry has new words (use `hcp-packer-artifact`)",
        ]
    );
    let iteration = json!({"bucket_name": "b", "channel": "prod"});
    assert_eq!(lines_in(DataSource, "hcp-packer-iteration", &iteration, Dialect::Legacy).len(), 1);
}
