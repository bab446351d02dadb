use imgbuild_model::KindClass::{Builder, PostProcessor};
use serde_json::json;

use crate::support::Good;

#[test]
fn vagrant() {
    Good::new(
        Builder,
        "vagrant",
        json!({"communicator": "ssh", "source_path": "debian/bookworm64", "provider": "libvirt", "add_force": true}),
    )
    .but(&[
        (json!({"communicator": null}), &["builder `vagrant` needs the attribute `communicator`"]),
            (json!({"source_path": null}), &["one of `source_path` or `global_id` must be given"]),
        (
            json!({"teardown_method": "stop"}),
            &["`teardown_method`: expected \"halt\" or \"suspend\" or \"destroy\", got \"stop\""],
        ),
    ]);
    let made = json!({
        "output": "{{.BuildName}}-{{.Provider}}.box",
        "compression_level": 9,
        "override": {"virtualbox": {"compression_level": 0}},
    });
    Good::new(PostProcessor, "vagrant", made).but(&[(
        json!({"compression_level": 10}),
        &["`compression_level`: the number must be from -2 to 9, not 10"],
    )]);
    Good::new(
        PostProcessor,
        "vagrant-cloud",
        json!({"box_tag": "example/web", "version": "1.0.0", "access_token": "x"}),
    )
    .but(&[(json!({"version": null}), &["post-processor `vagrant-cloud` needs the attribute `version`"])]);
    Good::new(
        PostProcessor,
        "vagrant-registry",
        json!({"box_tag": "example/web", "version": "1.0.0", "client_id": "a"}),
    )
    .but(&[(
        json!({"access_token": "x"}),
        &["post-processor `vagrant-registry` has no attribute or block `access_token`"],
    )]);
}
