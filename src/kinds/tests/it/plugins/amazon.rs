use imgbuild_kinds::{Dialect, check};
use imgbuild_model::KindClass::{Builder, DataSource, PostProcessor};
use imgbuild_model::{Field, Form, Location, Node, NodeData};
use serde_json::{Value, json};

use crate::support::{Good, lines, node, schema};

fn ebs() -> Value {
    json!({
        "ami_name": "web-{{timestamp}}",
        "ami_description": "made from {{ .SourceAMI }}",
        "instance_type": "t3.micro",
        "region": "eu-west-1",
        "source_ami_filter": {
            "filters": {"name": "ubuntu/images/*22.04*", "virtualization-type": "hvm"},
            "owners": ["099720109477"],
            "most_recent": true,
        },
        "ami_regions": ["eu-west-1", "us-east-1"],
        "encrypt_boot": false,
        "launch_block_device_mappings": [
            {"device_name": "/dev/sda1", "volume_size": 20, "volume_type": "gp3", "delete_on_termination": true},
        ],
        "metadata_options": {"http_tokens": "required", "http_put_response_hop_limit": 1},
        "temporary_iam_instance_profile_policy_document": {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["*"]}],
        },
        "assume_role": {"role_arn": "arn:aws:iam::1:role/build"},
        "aws_polling": {"delay_seconds": 30, "max_attempts": 50},
        "tags": {"Name": "web", "Base": "{{ .SourceAMIName }}"},
        "run_tag": [{"key": "team", "value": "web"}, {"key": "stage", "value": "test"}],
        "fast_launch": {"enable_fast_launch": true, "region_launch_templates": {"region": "eu-west-1", "template_name": "x"}},
        "ssh_username": "ubuntu",
    })
}

#[test]
fn amazon_ebs() {
    Good::new(Builder, "amazon-ebs", ebs()).but(&[
        (json!({"ami_name": null}), &["builder `amazon-ebs` needs the attribute `ami_name`"]),
        (json!({"ami_name": "x"}), &["`ami_name`: the number of characters must be from 3 to 128, not 1"]),
        (json!({"instance_type": null}), &["one of `instance_type` or `spot_instance_types` must be given"]),
        (json!({"spot_instance_types": ["t3.micro"]}), &[
            "only one of `instance_type` and `spot_instance_types` may be given",
        ]),
        (json!({"source_ami_filter": null}), &["one of `source_ami` or `source_ami_filter.owners` must be given"]),
        (json!({"source_ami": "ami-1"}), &[]),
        (json!({"source_ami_filters": {}}), &[
            "builder `amazon-ebs` has no attribute or block `source_ami_filters` (did you mean `source_ami_filter`?)",
        ]),
        (json!({"source_ami_filter": {"filter": {"name": "x"}, "owner": ["a"], "owners": ["a"]}}), &[
            "block `source_ami_filter` has no attribute or block `owner` (did you mean `owners`?)",
        ]),
        (json!({"volume_size": 20}), &[
            "builder `amazon-ebs` has no attribute or block `volume_size` (`volume_size` stands in a block `launch_block_device_mappings`)",
        ]),
        (json!({"launch_block_device_mappings": [{"volume_size": 20}]}), &[
            "block `launch_block_device_mappings` needs the attribute `device_name`",
        ]),
        (json!({"launch_block_device_mappings": [{"device_name": "a", "volume_type": "gp9"}]}), &[
            "`launch_block_device_mappings[0].volume_type`: expected \"standard\" or \"gp2\" or \"gp3\" or \"io1\" or \"io2\" or \"sc1\" or \"st1\", got \"gp9\" (did you mean `\"gp2\"`?)",
        ]),
        (json!({"ami_block_device_mappings": {"device_name": "a", "kms_key_id": "b"}}), &[
            "block `ami_block_device_mappings` has no attribute or block `kms_key_id`",
        ]),
        (json!({"kms_key_id": "alias/a"}), &["`kms_key_id` needs `encrypt_boot` beside it"]),
        (json!({"force_delete_snapshot": true}), &[]),
        (json!({"access_key": "a"}), &["`access_key` needs `secret_key` beside it"]),
        (json!({"user_data": "a", "user_data_file": "b"}), &[
            "only one of `user_data` and `user_data_file` may be given",
        ]),
        (json!({"metadata_options": {"http_put_response_hop_limit": 65}}), &[
            "`metadata_options.http_put_response_hop_limit`: the number must be from 1 to 64, not 65",
        ]),
        (json!({"metadata_options": {"http_tokens": "require"}}), &[
            "`metadata_options.http_tokens`: expected \"optional\" or \"required\", got \"require\" (did you mean `\"required\"`?)",
        ]),
        (json!({"enable_t2_unlimited": true}), &[
            "warning: `enable_t2_unlimited` is deprecated: it is an old name (use `enable_unlimited_credits`)",
        ]),
        (json!({"tenancy": "dedicated"}), &[
            "warning: `tenancy` is deprecated: it moved into the block `placement`",
        ]),
        (json!({"tags": ["a"]}), &["`tags`: expected dict of strings, got list"]),
        (json!({"run_tag": [{"value": "web"}]}), &["block `run_tag` needs the attribute `key`"]),
        (json!({"ssh_interface": "public"}), &[
            "`ssh_interface`: expected \"public_ip\" or \"private_ip\" or \"public_dns\" or \"private_dns\" or \"ipv6\" or \"session_manager\", got \"public\" (did you mean `\"public_ip\"`?)",
        ]),
        (json!({"fast_launch": {"max_parallel_launches": 3}}), &[
            "`fast_launch.max_parallel_launches`: the number must be at least 6, not 3",
        ]),
    ]);
}

/// What is a block stays one in native syntax, whatever documentation shows.
#[test]
fn a_block_is_no_attribute() {
    let Node { data: NodeData::Object(mut fields), .. } = node(&ebs()) else { unreachable!() };
    fields.push(Field {
        name: "placement".into(),
        location: Location { line: 7, ..Location::default() },
        form: Form::Attribute,
        value: node(&json!({"tenancy": "host"})),
    });
    let body = Node::new(NodeData::Object(fields), Location::default());
    let problems = check(schema(Builder, "amazon-ebs"), &body, Dialect::Hcl);
    assert_eq!(problems[0].message(), "`placement` is a block, not an attribute");
    assert_eq!(problems[0].hint().unwrap(), "write `placement { … }`, without `=`, once for each");
    assert_eq!(problems[0].location.line, 7);
}

#[test]
fn other_builders() {
    let mut surrogate = ebs();
    surrogate.as_object_mut().unwrap().remove("fast_launch");
    surrogate["ami_virtualization_type"] = json!("hvm");
    surrogate["ami_root_device"] = json!({"source_device_name": "/dev/xvdf", "device_name": "/dev/xvda"});
    surrogate["launch_block_device_mappings"][0]["omit_from_artifact"] = json!(true);
    Good::new(Builder, "amazon-ebssurrogate", surrogate).but(&[
        (json!({"ami_root_device": null}), &["builder `amazon-ebssurrogate` needs a block `ami_root_device`"]),
        (json!({"ami_virtualization_type": null}), &["`ami_virtualization_type` must be given"]),
        (json!({"boot_mode": "bios"}), &[
            "`boot_mode`: expected \"legacy-bios\" or \"uefi\" or \"uefi-preferred\", got \"bios\" (did you mean `\"legacy-bios\"`?)",
        ]),
        (json!({"skip_create_ami": true}), &[
            "builder `amazon-ebssurrogate` has no attribute or block `skip_create_ami`",
        ]),
    ]);
    let volumes = json!({
        "instance_type": "t3.micro",
        "source_ami": "ami-1",
        "ssh_username": "admin",
        "ebs_volumes": [{"device_name": "/dev/xvdf", "volume_size": 10, "tags": {"a": "b"}, "snapshot_volume": true}],
    });
    Good::new(Builder, "amazon-ebsvolume", volumes).but(&[(
        json!({"ami_name": "web"}),
        &["builder `amazon-ebsvolume` has no attribute or block `ami_name`"],
    )]);
    let chroot = json!({
        "ami_name": "web",
        "source_ami": "ami-1",
        "chroot_mounts": [["proc", "proc", "/proc"]],
        "command_wrapper": "sudo {{.Command}}",
    });
    Good::new(Builder, "amazon-chroot", chroot).but(&[
        (json!({"source_ami": null, "from_scratch": true, "root_volume_size": 8}), &[
            "`from_scratch` needs `ami_virtualization_type`, `pre_mount_commands`, `root_device_name` and `ami_block_device_mappings` beside it",
        ]),
        (json!({"source_ami": null}), &["one of `source_ami`, `source_ami_filter.owners` or `from_scratch` must be given"]),
        (json!({"ssh_username": "x"}), &["builder `amazon-chroot` has no attribute or block `ssh_username`"]),
    ]);
    let bundled = json!({
        "ami_name": "web",
        "instance_type": "t3.micro",
        "source_ami": "ami-1",
        "ssh_username": "admin",
        "account_id": "1234",
        "s3_bucket": "images",
        "x509_cert_path": "cert.pem",
        "x509_key_path": "key.pem",
    });
    Good::new(Builder, "amazon-instance", bundled).but(&[(
        json!({"account_id": null}),
        &["builder `amazon-instance` needs the attribute `account_id`"],
    )]);
}

#[test]
fn data_sources_and_post_processors() {
    Good::new(
        DataSource,
        "amazon-ami",
        json!({"filters": {"name": "x"}, "owners": ["self"], "most_recent": true}),
    )
    .but(&[
        (json!({"owners": null}), &["data source `amazon-ami` needs the attribute `owners`"]),
        (json!({"filters": null}), &["one of `filters` or `filter` must be given"]),
    ]);
    Good::new(DataSource, "amazon-secretsmanager", json!({"name": "db", "key": "password"}))
        .but(&[(json!({"name": null}), &["data source `amazon-secretsmanager` needs the attribute `name`"])]);
    Good::new(DataSource, "amazon-parameterstore", json!({"name": "/db", "with_decryption": true}))
        .but(&[(json!({"with_decription": true}), &[
            "data source `amazon-parameterstore` has no attribute or block `with_decription` (did you mean `with_decryption`?)",
        ])]);
    Good::new(PostProcessor, "amazon-import", json!({"s3_bucket_name": "images", "format": "raw"})).but(&[(
        json!({"format": "qcow2"}),
        &["`format`: expected \"ova\" or \"raw\" or \"vmdk\" or \"vhd\" or \"vhdx\", got \"qcow2\""],
    )]);
    let management = json!({"tags": {"a": "b"}, "keep_releases": 3, "regions": ["eu-west-1"]});
    Good::new(PostProcessor, "amazon-ami-management", management)
        .but(&[(json!({"keep_days": 3}), &["only one of `keep_releases` and `keep_days` may be given"])]);
    let secret = schema(DataSource, "amazon-secretsmanager");
    assert!(secret.outputs.iter().any(|output| output.name == "value" && output.secret));
    assert_eq!(
        lines(DataSource, "amazon-secretsmanager", &json!({"name": "<unknown>"})),
        Vec::<String>::new()
    );
}
