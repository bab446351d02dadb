use imgbuild_model::KindClass::{Builder, DataSource, PostProcessor, Provisioner};
use serde_json::json;

use crate::support::Good;

#[test]
fn googlecompute() {
    Good::new(
        Builder,
        "googlecompute",
        json!({
            "project_id": "web",
            "zone": "europe-west1-b",
            "source_image_family": "debian-12",
            "source_image_project_id": ["debian-cloud"],
            "machine_type": "e2-small",
            "image_name": "web-{{timestamp}}",
            "image_family": "web",
            "image_labels": {"team": "web"},
            "image_storage_locations": ["eu"],
            "metadata": {"enable-oslogin": "FALSE"},
            "disk_size": 20,
            "disk_attachment": [{"volume_size": 10, "volume_type": "pd-ssd", "attachment_mode": "READ_ONLY"}],
            "node_affinity": {"key": "workload", "operator": "IN", "values": ["build"]},
            "image_encryption_key": {"kmsKeyName": "projects/web/key"},
            "use_iap": true,
            "ssh_username": "packer",
        }),
    )
    .but(&[
        (json!({"project_id": null}), &["builder `googlecompute` needs the attribute `project_id`"]),
        (json!({"source_image_family": null}), &["one of `source_image` or `source_image_family` must be given"]),
        (json!({"account_file": "a.json"}), &[
            "warning: `account_file` is deprecated: it is an old name (use `credentials_file`)",
        ]),
        (json!({"access_token": "a", "credentials_json": "b"}), &[
            "only one of `access_token` and `credentials_json` may be given",
        ]),
        (json!({"image_storage_locations": ["eu", "us"]}), &[
            "`image_storage_locations`: the number of items must be at most 1, not 2",
        ]),
        (json!({"image_encryption_key": {"kms_key_name": "x"}}), &[
            "block `image_encryption_key` has no attribute or block `kms_key_name` (did you mean `kmsKeyName`?)",
        ]),
        (json!({"accelerator_count": 1}), &["`accelerator_count` needs `accelerator_type` beside it"]),
        (json!({"disk_attachment": [{"volume_type": "pd-ssd"}]}), &[
            "block `disk_attachment` needs the attribute `volume_size`",
        ]),
    ]);
    Good::new(DataSource, "googlecompute-image", json!({"filters": "family=debian-12", "most_recent": true}))
        .but(&[(json!({"filters": {"family": "x"}}), &["`filters`: expected string, got object"])]);
    Good::new(DataSource, "googlecompute-secretsmanager", json!({"project_id": "web", "name": "db"})).but(&[
        (json!({"name": null}), &["data source `googlecompute-secretsmanager` needs the attribute `name`"]),
    ]);
    Good::new(
        DataSource,
        "googlecompute-parametermanager",
        json!({"project_id": "w", "name": "db", "version": "1"}),
    )
    .but(&[(
        json!({"version": null}),
        &["data source `googlecompute-parametermanager` needs the attribute `version`"],
    )]);
    Good::new(PostProcessor, "googlecompute-export", json!({"paths": ["gs://images/web.tar.gz"]})).but(&[(
        json!({"paths": null}),
        &["post-processor `googlecompute-export` needs the attribute `paths`"],
    )]);
    let import = json!({"project_id": "web", "bucket": "images", "image_name": "web", "skip_clean": true});
    Good::new(PostProcessor, "googlecompute-import", import).but(&[(
        json!({"bucket": null}),
        &["post-processor `googlecompute-import` needs the attribute `bucket`"],
    )]);
}

#[test]
fn azure_arm() {
    Good::new(
        Builder,
        "azure-arm",
        json!({
            "use_azure_cli_auth": true,
            "subscription_id": "00000000-0000-0000-0000-000000000000",
            "os_type": "Linux",
            "image_publisher": "Canonical",
            "image_offer": "0001-com-ubuntu-server-jammy",
            "image_sku": "22_04-lts",
            "location": "West Europe",
            "vm_size": "Standard_B2s",
            "managed_image_name": "web",
            "managed_image_resource_group_name": "images",
            "shared_image_gallery_destination": {
                "subscription": "s",
                "resource_group": "images",
                "gallery_name": "g",
                "image_name": "web",
                "image_version": "1.0.0",
                "target_region": [{"name": "westeurope", "replicas": 2}],
            },
            "azure_tags": {"team": "web"},
            "azure_tag": [{"name": "stage", "value": "test"}],
            "spot": {"eviction_policy": "Delete", "max_price": -1.0},
            "disk_additional_size": [32],
        }),
    )
    .but(&[
        (json!({"os_type": null}), &["`os_type` must be given"]),
        (json!({"os_type": "linux"}), &[]),
        (json!({"image_sku": null}), &["`image_publisher` and `image_offer` need `image_sku` beside them"]),
        (json!({"image_url": "https://x/a.vhd"}), &["only one of `image_publisher` and `image_url` may be given"]),
        (json!({"location": null}), &["one of `location` or `build_resource_group_name` must be given"]),
        (json!({"managed_image_resource_group_name": null}), &[
            "`managed_image_name` needs `managed_image_resource_group_name` beside it",
        ]),
        (json!({"plan_info": {"plan_name": "a"}}), &["`plan_name` needs `plan_product` and `plan_publisher` beside it"]),
        (json!({"shared_image_gallery_destination": {"target_region": {"replicas": 101}}}), &[
            "`shared_image_gallery_destination.target_region.replicas`: the number must be from 1 to 100, not 101",
            "block `target_region` needs the attribute `name`",
        ]),
        (json!({"object_id": "a"}), &["warning: `object_id` is deprecated: it is found without it"]),
        (json!({"winrm_user": "a"}), &[
            "builder `azure-arm` has no attribute or block `winrm_user` (did you mean `winrm_username`?)",
        ]),
    ]);
}

#[test]
fn the_rest_of_azure() {
    let chroot = json!({
        "source": "Canonical:UbuntuServer:22.04:latest",
        "image_resource_id": "/subscriptions/s/images/web",
        "shared_image_destination": {
            "resource_group": "images",
            "gallery_name": "g",
            "image_name": "web",
            "image_version": "1.0.0",
            "target_regions": [{"name": "westeurope"}],
        },
    });
    Good::new(Builder, "azure-chroot", chroot).but(&[
        (json!({"source": null}), &["one of `source` or `from_scratch` must be given"]),
        (json!({"source": null, "from_scratch": true}), &[
            "`from_scratch` needs `os_disk_size_gb` and `pre_mount_commands` beside it",
        ]),
        (json!({"shared_image_destination": {
            "resource_group": "a", "gallery_name": "b", "image_name": "c", "image_version": "d", "exlude_from_latest": true,
        }}), &["warning: `exlude_from_latest` is deprecated: it is an old name (use `exclude_from_latest`)"]),
    ]);
    let lab = json!({
        "custom_managed_image_name": "base",
        "custom_managed_image_resource_group_name": "images",
        "managed_image_name": "web",
        "managed_image_resource_group_name": "images",
        "lab_name": "lab",
        "lab_resource_group_name": "labs",
        "lab_subnet_name": "default",
        "lab_virtual_network_name": "net",
        "os_type": "Linux",
        "dtl_artifacts": {"artifact_name": "git", "parameters": [{"name": "branch", "value": "main", "type": "string"}]},
    });
    Good::new(Builder, "azure-dtl", lab)
        .but(&[(json!({"lab_name": null}), &["builder `azure-dtl` needs the attribute `lab_name`"])]);
    let artifact = json!({
        "lab_name": "lab",
        "lab_resource_group_name": "labs",
        "vm_name": "web",
        "dtl_artifacts": [{"artifact_name": "git"}],
    });
    Good::new(Provisioner, "azure-dtlartifact", artifact).but(&[(
        json!({"dtl_artifacts": null}),
        &["provisioner `azure-dtlartifact` needs a block `dtl_artifacts`"],
    )]);
    Good::new(DataSource, "azure-keyvaultsecret", json!({"vault_name": "v", "secret_name": "db"})).but(&[(
        json!({"vault_name": null}),
        &["data source `azure-keyvaultsecret` needs the attribute `vault_name`"],
    )]);
}

#[test]
fn openstack() {
    let image = json!({
        "cloud": "lab",
        "image_name": "web",
        "source_image_filter": {"filters": {"name": "debian-12", "tags": ["base"]}, "most_recent": true},
        "flavor": "m1.small",
        "networks": ["00000000-0000-0000-0000-000000000000"],
        "metadata": {"os": "debian"},
        "use_blockstorage_volume": true,
        "ssh_ip_version": "4",
        "ssh_username": "debian",
    });
    Good::new(Builder, "openstack", image).but(&[
        (json!({"flavor": null}), &["builder `openstack` needs the attribute `flavor`"]),
        (json!({"source_image_name": "debian"}), &[
            "only one of `source_image_name` and `source_image_filter` may be given",
        ]),
        (json!({"source_image_filter": null}), &[
            "one of `source_image`, `source_image_name`, `external_source_image_url` or `source_image_filter` must be given",
        ]),
        (json!({"image_visibility": "hidden"}), &[
            "`image_visibility`: expected \"public\" or \"private\" or \"shared\" or \"community\", got \"hidden\"",
        ]),
        (json!({"ssh_ip_version": 5}), &["`ssh_ip_version`: expected \"4\" or \"6\", got 5"]),
        (json!({"ssh_ip_version": 6}), &[]),
        (json!({"floating_ip_pool": "ext"}), &[
            "warning: `floating_ip_pool` is deprecated: it is an old name (use `floating_ip_network`)",
        ]),
    ]);
}

#[test]
fn digitalocean() {
    let snapshot = json!({
        "api_token": "x",
        "region": "fra1",
        "size": "s-1vcpu-1gb",
        "image": "debian-12-x64",
        "snapshot_regions": ["ams3"],
        "http_retry_wait_max": 2.5,
        "ssh_username": "root",
    });
    Good::new(Builder, "digitalocean", snapshot).but(&[
        (json!({"size": null}), &["builder `digitalocean` needs the attribute `size`"]),
        (
            json!({"user_data": "a", "user_data_file": "b"}),
            &["only one of `user_data` and `user_data_file` may be given"],
        ),
        (json!({"snapshot_timeout": "1d"}), &["`snapshot_timeout`: expected duration (\"90s\"), got \"1d\""]),
    ]);
    Good::new(
        DataSource,
        "digitalocean-image",
        json!({"name_regex": "web-.*", "type": "user", "latest": true}),
    )
    .but(&[(json!({"name": "web"}), &["only one of `name` and `name_regex` may be given"])]);
    let import = json!({
        "spaces_key": "a",
        "spaces_secret": "b",
        "spaces_region": "fra1",
        "space_name": "images",
        "image_name": "web",
        "image_regions": ["fra1"],
    });
    Good::new(PostProcessor, "digitalocean-import", import)
        .but(&[(json!({"image_regions": []}), &["`image_regions` is required and must not be empty"])]);
}
