//! Which builds are carried out here, and which files must be there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use imgbuild_kinds::Dialect;
use imgbuild_model::{
    Configuration, EntryKind, Field, Form, Label, Location, Node, NodeData, PackagePath, Platform, TargetName,
};
use imgbuild_packer::lower::{Holes, Lowering, Purpose, Surroundings, lower};
use imgbuild_packer::recipe::{Post, Recipe, Step};
use imgbuild_packer::template::Files;
use serde_json::{Value, json};

/// Files of these absolute paths.
struct There(&'static [&'static str]);

impl Files for There {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        self.0.contains(&path).then_some(EntryKind::File)
    }

    fn list(&self, _: &str) -> io::Result<Vec<(String, EntryKind)>> {
        Ok(Vec::new())
    }

    fn read(&self, _: &str) -> io::Result<Arc<str>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A configuration as JSON has it. `"<unknown>"` is not known yet.
fn node(value: &Value) -> Node {
    let data = match value {
        Value::Null => NodeData::Null,
        Value::Bool(value) => NodeData::Bool(*value),
        Value::Number(number) => NodeData::Number(number.as_f64().expect("it is small")),
        Value::String(text) if text == "<unknown>" => NodeData::Unknown,
        Value::String(text) => NodeData::String(text.as_str().into()),
        Value::Array(items) => NodeData::List(items.iter().map(node).collect()),
        Value::Object(members) => NodeData::Object(
            members
                .iter()
                .map(|(name, value)| Field {
                    name: name.as_str().into(),
                    location: Location::file("t"),
                    form: Form::Attribute,
                    value: node(value),
                })
                .collect(),
        ),
    };
    Node { data, location: Location::file("t"), secret: false }
}

fn recipe(kind: &str, settings: &Value, steps: &[(&str, Value)], posts: &[&str]) -> Recipe {
    let step = |(kind, settings): &(&str, Value)| Step {
        kind: (*kind).into(),
        pause_before: Duration::ZERO,
        timeout: None,
        max_retries: 0,
        continue_on_error: false,
        settings: node(settings),
        location: Location::file("t"),
    };
    let post = |kind: &&str| Post {
        kind: (*kind).into(),
        name: None,
        keep_input_artifact: None,
        settings: node(&json!({})),
        location: Location::file("t"),
    };
    Recipe {
        name: format!("{kind}.x"),
        plain_name: format!("{kind}.x"),
        kind: kind.into(),
        source: "x".into(),
        settings: node(settings),
        provisioners: steps.iter().map(step).collect(),
        error_cleanup: None,
        post_processors: posts.iter().map(|kind| vec![post(kind)]).collect(),
        location: Location::file("t"),
        dialect: Dialect::Hcl,
        build: None,
    }
}

/// `native`, the reason why it is not, or what is wrong.
fn lowered(recipe: &Recipe, purpose: Purpose) -> String {
    let holes = Holes::new([0; 32], []);
    let around = Surroundings {
        label: Label::new(PackagePath::root(), TargetName::new("x").expect("it is a name")),
        configuration: Configuration { platform: Platform::host(), flags: Arc::default() },
        cwd: "/w",
        files: &There(&["/w/there.sh", "/w/site.yml"]),
        holes: &holes,
        purpose,
    };
    match lower(recipe, &around) {
        Ok(Lowering::Native(_)) => "native".to_owned(),
        Ok(Lowering::Foreign(why)) => why.message,
        Err(problems) => problems.0.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "),
    }
}

#[test]
fn builds_are_native_if_all_of_them_is() {
    let none = json!({"communicator": "none"});
    let file = json!({"target": "x", "content": "y"});
    let echo = ("shell-local", json!({"inline": ["true"]}));
    for (recipe, expected) in [
        (recipe("null", &none, std::slice::from_ref(&echo), &["manifest"]), "native"),
        (
            recipe("file", &file, &[("powershell", json!({}))], &[]),
            "the provisioner `powershell` is not built in yet",
        ),
        (
            recipe("null", &none, &[echo, ("comment", json!({}))], &[]),
            "the provisioner `comment` is not built in yet",
        ),
        (
            recipe("null", &none, &[], &["manifest", "docker-push"]),
            "the post-processor `docker-push` is not built in yet",
        ),
        (recipe("null", &json!({}), &[], &[]), "native"),
        (recipe("null", &json!({"ssh_private_key_file": "gone"}), &[], &[]), "there is no file `gone`"),
        (
            recipe("null", &json!({"communicator": "winrm"}), &[], &[]),
            "`null` with `communicator = \"winrm\"` is not built in yet",
        ),
        (recipe("docker", &json!({}), &[], &[]), "the builder `docker` is not built in yet"),
        // No other program has `rootfs`.
        (
            recipe("rootfs", &json!({}), &[("ansible", json!({}))], &[]),
            "`ansible` needs a machine that is reached over SSH, and the builder `rootfs` has none",
        ),
        (recipe("rootfs", &json!({"expose": ["80", "53/udp", "http"]}), &[], &[]), "`http` is not a port"),
    ] {
        assert_eq!(lowered(&recipe, Purpose::Build), expected);
    }
    // What is done to somebody's machine is no target.
    let elsewhere = lowered(&recipe("null", &json!({}), &[], &[]), Purpose::Target);
    assert_eq!(elsewhere, "`null` over SSH works on a machine that is there already, which is no image");
}

#[test]
fn files_of_foreign_builds_are_looked_for() {
    let check = |steps: &[(&str, Value)]| lowered(&recipe("docker", &json!({}), steps, &[]), Purpose::Build);
    let foreign = "the builder `docker` is not built in yet";
    let gone = "there is no file or folder `gone`";
    for (kind, settings, expected) in [
        ("shell", json!({"scripts": ["there.sh", "gone"]}), gone),
        ("shell", json!({"script": "there.sh"}), foreign),
        ("shell", json!({"script": "<unknown>"}), foreign),
        ("shell", json!({"script": "{{ build `ID` }}"}), foreign),
        ("file", json!({"source": "gone", "destination": "/x"}), gone),
        ("file", json!({"source": "gone", "destination": "/x", "generated": true}), foreign),
        ("file", json!({"source": "gone", "destination": "x", "direction": "download"}), foreign),
        ("ansible", json!({"playbook_file": "site.yml", "galaxy_file": "gone"}), gone),
        ("powershell", json!({"script": "gone"}), gone),
        ("powershell", json!({"scripts": ["there.sh"], "remote_path": "gone"}), foreign),
        ("windows-shell", json!({"scripts": ["there.sh", "gone"]}), gone),
        ("windows-restart", json!({"restart_command": "gone"}), foreign),
        ("comment", json!({"script": "gone"}), foreign),
    ] {
        assert_eq!(check(&[(kind, settings)]), expected, "{kind}");
    }
}

#[test]
fn values_that_are_not_known_are_passed_over_only_where_that_is_wanted() {
    let steps = [("shell-local", json!({"inline": ["<unknown>"]}))];
    let recipe = recipe("null", &json!({"communicator": "none"}), &steps, &[]);
    assert_eq!(lowered(&recipe, Purpose::Check), "native");
    assert_eq!(
        lowered(&recipe, Purpose::Build),
        "this is only known while the build runs, and no key can be made of it"
    );
}
