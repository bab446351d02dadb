//! The same template by the real Packer, where it is installed.

use std::collections::BTreeMap;
use std::process::Command;

use imgbuild_postprocessors::local_command::LocalCommandSettings;
use imgbuild_postprocessors::{
    Artifice, ArtificeSettings, Chain, Checksum, ChecksumSettings, Compress, CompressSettings, Link,
    Manifest, ManifestSettings, PostProcessor, ShellLocal, run_chains,
};

use crate::support::{World, built, installed};

const TEMPLATE: &str = r#"{
  "builders": [{"type": "file", "name": "web", "content": "hello\n", "target": "out/a.txt"}],
  "post-processors": [
    [
      {"type": "checksum", "checksum_types": ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"],
       "output": "sums/{{.BuildName}}_{{.BuilderType}}_{{.ChecksumType}}"},
      {"type": "manifest", "output": "all.json", "strip_time": true, "custom_data": {"b": "<&>", "a": "x y"}},
      {"type": "compress", "output": "one.zip"}
    ],
    [{"type": "artifice", "files": ["out/*", "no*"]}, {"type": "manifest", "output": "all.json", "strip_path": true, "strip_time": true}]
  ]
}"#;

fn link(processor: impl PostProcessor + 'static) -> Link {
    Link { name: processor.kind().to_owned(), processor: Box::new(processor), keep_input: None }
}

fn chains() -> [Chain; 2] {
    let custom_data =
        BTreeMap::from([("b", "<&>"), ("a", "x y")].map(|(name, text)| (name.to_owned(), text.to_owned())));
    let manifest = ManifestSettings { output: "all.json".to_owned(), strip_time: true, ..Default::default() };
    [
        vec![
            link(
                Checksum::new(ChecksumSettings {
                    checksum_types: ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"]
                        .map(str::to_owned)
                        .into(),
                    output: "sums/{{.BuildName}}_{{.BuilderType}}_{{.ChecksumType}}".to_owned(),
                })
                .unwrap(),
            ),
            link(
                Manifest::new(ManifestSettings { custom_data: Some(custom_data), ..manifest.clone() })
                    .unwrap(),
            ),
            link(
                Compress::new(CompressSettings { output: "one.zip".to_owned(), ..Default::default() })
                    .unwrap(),
            ),
        ],
        vec![
            link(
                Artifice::new(ArtificeSettings { files: vec!["out/*".to_owned(), "no*".to_owned()] })
                    .unwrap(),
            ),
            link(Manifest::new(ManifestSettings { strip_path: true, ..manifest }).unwrap()),
        ],
    ]
}

/// Builds a template with the real Packer.
fn build(world: &World, template: &str) {
    world.write("template.json", template);
    let run = Command::new("packer")
        .args(["build", "-color=false", "template.json"])
        .current_dir(world.folder.path())
        .env("CHECKPOINT_DISABLE", "1")
        .env("HOME", world.folder.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}

#[tokio::test]
async fn files_are_those_of_packer() {
    if !installed("packer") {
        return;
    }
    let theirs = World::new();
    build(&theirs, TEMPLATE);
    let ours = World::new();
    ours.write("out/a.txt", "hello\n");
    let outcome = run_chains(&ours.context, &chains(), built(&["out/a.txt"])).await;
    assert_eq!(outcome.errors.0, []);

    // Packer has taken the first chain's input away before the second saw it; here it goes in the end.
    assert!(!theirs.exists("out/a.txt") && !ours.exists("out/a.txt"));
    let manifest = theirs.text("all.json");
    let uuid = manifest.split("\"last_run_uuid\": \"").nth(1).unwrap().trim_end_matches("\"\n}");
    let (theirs_first, _) = manifest.split_once("    },\n").unwrap();
    let ours_manifest = ours.text("all.json");
    let (ours_first, ours_second) = ours_manifest.split_once("    },\n").unwrap();
    assert_eq!(ours_first, theirs_first.replace(uuid, &ours.context.run_uuid));
    assert!(ours_second.contains("\"name\": \"a.txt\""), "{ours_second}");

    if installed("unzip") {
        let contents = |world: &World| {
            crate::support::output("unzip", &["-q", "one.zip", "-d", "x"], world.folder.path());
            let sums = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"]
                .map(|name| world.text(&format!("x/sums/web_file_{name}")));
            (world.text("x/out/a.txt"), sums)
        };
        assert_eq!(contents(&ours), contents(&theirs));
    }
}

#[tokio::test]
async fn local_scripts_see_what_packer_shows_them() {
    if !installed("packer") {
        return;
    }
    let lines = [
        "exec >>out.txt",
        "printf '%s\\n' \"$A\" \"$B\" \"$C\" \"$PACKER_BUILD_NAME\" \"$PACKER_BUILDER_TYPE\" \"${PACKER_HTTP_ADDR-none}\"",
        "head -n 1 \"$0\"; stat -c %a \"$0\"; basename \"$PWD\" | wc -l; false | true; echo $-",
    ];
    let settings = LocalCommandSettings {
        inline: lines.map(str::to_owned).into(),
        environment_vars: ["A=it's \"$HOME\" `x` \\\\ 'q'", "B=", "C=a=b c"].map(str::to_owned).into(),
        ..Default::default()
    };
    let own = |command: &[&str]| LocalCommandSettings {
        execute_command: command.iter().map(ToString::to_string).collect(),
        env_var_format: "export %s='%s';".to_owned(),
        ..settings.clone()
    };
    for settings in [
        settings.clone(),
        own(&["{{.Vars}} echo {{.Vars}} >>out.txt; {{.Script}}"]),
        own(&["bash", "-c", "{{.Vars}} . {{.Command}}"]),
    ] {
        let LocalCommandSettings { inline, environment_vars, execute_command, env_var_format, .. } =
            &settings;
        let mut processor = serde_json::json!({
            "type": "shell-local", "inline": inline, "environment_vars": environment_vars,
        });
        if !execute_command.is_empty() {
            processor["execute_command"] = serde_json::json!(execute_command);
            processor["env_var_format"] = serde_json::json!(env_var_format);
        }
        let template = serde_json::json!({
            "builders": [{"type": "file", "name": "web", "content": "x", "target": "a.txt"}],
            "post-processors": [processor],
        });
        let (theirs, ours) = (World::new(), World::new());
        build(&theirs, &template.to_string());
        let chain = vec![link(ShellLocal::new(settings).unwrap())];
        let outcome = run_chains(&ours.context, &[chain], built(&["a.txt"])).await;
        assert_eq!(outcome.errors.0, []);
        assert!(ours.text("out.txt").contains("web\nfile\n"));
        assert_eq!(ours.text("out.txt"), theirs.text("out.txt"));
    }
}
