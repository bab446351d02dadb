use imgbuild_model::KindClass::Provisioner;
use serde_json::json;

use crate::support::Good;

#[test]
fn ansible() {
    Good::new(
        Provisioner,
        "ansible",
        json!({
            "playbook_file": "site.yml",
            "user": "ubuntu",
            "use_proxy": false,
            "groups": ["web"],
            "extra_arguments": ["--extra-vars", "version=1", "-vv"],
            "ansible_env_vars": ["ANSIBLE_HOST_KEY_CHECKING=False"],
            "galaxy_file": "requirements.yml",
            "galaxy_force_with_deps": true,
            "inventory_file_template": "{{ .HostAlias }} ansible_host={{ .Host }}\n",
        }),
    )
    .but(&[
        (json!({"playbook_file": null}), &["provisioner `ansible` needs the attribute `playbook_file`"]),
        (json!({"playbook_files": ["a.yml"]}), &[
            "provisioner `ansible` has no attribute or block `playbook_files` (did you mean `playbook_file`?)",
        ]),
        (json!({"extra_arguments": "-vv"}), &[
            "`extra_arguments`: expected list of strings, got \"-vv\" (write `[\"-vv\"]`)",
        ]),
        (json!({"use_proxy": "no"}), &["`use_proxy`: expected bool, got \"no\""]),
        (json!({"ansible_proxy_key_type": "ed25519"}), &[
            "`ansible_proxy_key_type`: expected \"ECDSA\" or \"RSA\", got \"ed25519\"",
        ]),
    ]);
    let local =
        json!({"playbook_file": "site.yml", "role_paths": ["roles/web"], "clean_staging_directory": true});
    Good::new(Provisioner, "ansible-local", local).but(&[
        (
            json!({"playbook_files": ["a.yml"]}),
            &["only one of `playbook_file` and `playbook_files` may be given"],
        ),
        (json!({"playbook_file": null}), &["one of `playbook_file` or `playbook_files` must be given"]),
        (json!({"use_proxy": true}), &["provisioner `ansible-local` has no attribute or block `use_proxy`"]),
    ]);
}
