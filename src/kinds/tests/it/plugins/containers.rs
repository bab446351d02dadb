use imgbuild_model::KindClass::{Builder, PostProcessor};
use serde_json::json;

use crate::support::Good;

#[test]
fn docker() {
    Good::new(
        Builder,
        "docker",
        json!({
            "image": "debian:12",
            "commit": true,
            "changes": ["EXPOSE 80", "CMD [\"nginx\"]"],
            "run_command": ["-d", "-i", "-t", "{{.Image}}", "/bin/bash"],
            "volumes": {"/tmp": "/host"},
            "privileged": true,
            "ecr_login": true,
            "login_server": "https://1.dkr.ecr.eu-west-1.amazonaws.com/",
        }),
    )
    .but(&[
        (json!({"image": null}), &["one of `image` or `build` must be given"]),
        (json!({"build": {"path": "Dockerfile", "pull": false}}), &["only one of `image` and `build` may be given"]),
        (json!({"image": null, "build": {}}), &["block `build` needs the attribute `path`", "one of `image` or `build` must be given"]),
        (json!({"image": null, "build": {"path": "Dockerfile", "argumnts": {}}}), &[
            "block `build` has no attribute or block `argumnts` (did you mean `arguments`?)",
        ]),
        (json!({"commit": null}), &["one of `commit`, `export_path` or `discard` must be given"]),
        (json!({"export_path": "image.tar"}), &["only one of `commit` and `export_path` may be given"]),
        (json!({"login_server": null}), &["`ecr_login` needs `login_server` beside it"]),
        (json!({"arguments": {"A": "b"}}), &[
            "builder `docker` has no attribute or block `arguments` (`arguments` stands in a block `build`)",
        ]),
        (json!({"communicator": "ssh"}), &["`ssh_username` must be given where `communicator` is \"ssh\""]),
    ]);
    Good::new(PostProcessor, "docker-import", json!({"repository": "example/web", "tag": "1.0"})).but(&[(
        json!({"repository": null}),
        &["post-processor `docker-import` needs the attribute `repository`"],
    )]);
    Good::new(PostProcessor, "docker-tag", json!({"repository": "example/web", "tags": ["1.0", "latest"]}))
        .but(&[
            (
                json!({"tags": null, "tag": ["1.0"]}),
                &["warning: `tag` is deprecated: it is an old name (use `tags`)"],
            ),
            (
                json!({"tags": "latest"}),
                &["`tags`: expected list of strings, got \"latest\" (write `[\"latest\"]`)"],
            ),
        ]);
    Good::new(PostProcessor, "docker-push", json!({"login": true, "login_username": "a", "login_password": "b"}))
        .but(&[(json!({"login_pasword": "b"}), &[
            "post-processor `docker-push` has no attribute or block `login_pasword` (did you mean `login_password`?)",
        ])]);
    Good::new(PostProcessor, "docker-save", json!({"path": "web.tar"}))
        .but(&[(json!({"path": ""}), &["`path` is required and must not be empty"])]);
}

#[test]
fn podman() {
    Good::new(Builder, "podman", json!({"image": "debian:12", "commit": true, "systemd": "always"})).but(&[
        (json!({"image": null}), &["builder `podman` needs the attribute `image`"]),
        (json!({"commit": false}), &["one of `commit`, `export_path` or `discard` must be given"]),
        (json!({"docker_path": "podman"}), &["builder `podman` has no attribute or block `docker_path`"]),
    ]);
}
