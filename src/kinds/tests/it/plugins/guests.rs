use imgbuild_model::KindClass::{DataSource, Provisioner};
use serde_json::json;

use crate::support::{Good, lines};

#[test]
fn chef() {
    let solo = json!({
        "cookbook_paths": ["cookbooks"],
        "run_list": ["recipe[web]"],
        "json": {"web": {"port": 80}},
        "prevent_sudo": true,
    });
    Good::new(Provisioner, "chef-solo", solo).but(&[
        (json!({"guest_os_type": "linux"}), &["`guest_os_type`: expected \"unix\" or \"windows\", got \"linux\""]),
        (json!({"cookbook_path": ["a"]}), &[
            "provisioner `chef-solo` has no attribute or block `cookbook_path` (did you mean `cookbook_paths`?)",
        ]),
    ]);
    Good::new(
        Provisioner,
        "chef-client",
        json!({"server_url": "https://chef", "policy_name": "a", "policy_group": "b"}),
    )
    .but(&[
        (json!({"server_url": null}), &["provisioner `chef-client` needs the attribute `server_url`"]),
        (json!({"policy_group": null}), &["`policy_name` needs `policy_group` beside it"]),
    ]);
}

#[test]
fn puppet_and_salt() {
    let masterless =
        json!({"manifest_file": "site.pp", "module_paths": ["modules"], "facter": {"role": "web"}});
    Good::new(Provisioner, "puppet-masterless", masterless).but(&[
        (
            json!({"manifest_file": null}),
            &["provisioner `puppet-masterless` needs the attribute `manifest_file`"],
        ),
        (json!({"facter": ["role"]}), &["`facter`: expected dict of strings, got list"]),
    ]);
    Good::new(
        Provisioner,
        "puppet-server",
        json!({"puppet_server": "puppet", "extra_arguments": ["--test"]}),
    )
    .but(&[(
        json!({"client_cert_path": "a"}),
        &["`client_cert_path` needs `client_private_key_path` beside it"],
    )]);
    Good::new(
        Provisioner,
        "salt-masterless",
        json!({"local_state_tree": "salt", "formulas": ["git::https://x"]}),
    )
    .but(&[
        (
            json!({"local_state_tree": null}),
            &["provisioner `salt-masterless` needs the attribute `local_state_tree`"],
        ),
        (
            json!({"minion_config": "a", "remote_state_tree": "/srv/salt"}),
            &["`minion_config` cannot stand beside `remote_state_tree`"],
        ),
    ]);
}

#[test]
fn checks() {
    Good::new(
        Provisioner,
        "inspec",
        json!({"profile": "https://example.com/linux-baseline", "valid_exit_codes": [0, 101]}),
    )
    .but(&[(json!({"profile": null}), &["provisioner `inspec` needs the attribute `profile`"])]);
    Good::new(Provisioner, "goss", json!({"tests": ["goss/goss.yaml"], "format": "junit", "vars_inline": {"a": "b"}})).but(&[
        (json!({"tests": "goss.yaml"}), &[
            "`tests`: expected list of strings, got \"goss.yaml\" (write `[\"goss.yaml\"]`)",
        ]),
        (json!({"format": "junitxml"}), &[
            "`format`: expected \"documentation\" or \"json\" or \"json_oneline\" or \"junit\" or \"nagios\" or \"nagios_verbose\" or \"rspecish\" or \"silent\" or \"tap\", got \"junitxml\"",
        ]),
    ]);
    let update =
        json!({"filters": ["exclude:$_.Title -like '*Preview*'", "include:$true"], "update_limit": 25});
    Good::new(Provisioner, "windows-update", update)
        .but(&[(json!({"update_limit": "all"}), &["`update_limit`: expected int, got \"all\""])]);
}

#[test]
fn external() {
    Good::new(DataSource, "external", json!({"program": ["jq", "."], "query": {"a": "b"}})).but(&[
        (json!({"program": "jq"}), &["`program`: expected list of strings, got \"jq\" (write `[\"jq\"]`)"]),
        (json!({"query": "a"}), &["`query`: expected dict of strings, got \"a\""]),
    ]);
    Good::new(DataSource, "external-raw", json!({"program": ["cat"], "query": "a"}))
        .but(&[(json!({"program": null}), &["data source `external-raw` needs the attribute `program`"])]);
    assert_eq!(
        lines(DataSource, "external-json", &json!({"program": ["cat"]})),
        ["warning: data source `external-json` is deprecated: it is an old name (use `external`)",]
    );
}
