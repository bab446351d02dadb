use std::collections::BTreeMap;

use imgbuild_postprocessors::{Manifest, ManifestSettings, PostProcessor as _, Voice};

use crate::support::{World, built};

fn manifest(settings: ManifestSettings) -> Manifest {
    Manifest::new(settings).unwrap()
}

#[tokio::test]
async fn the_file_is_that_of_packer_to_the_byte() {
    let mut world = World::new();
    world.write("out/a.txt", "hello\n");
    world.context.generated.insert("ID".to_owned(), "i-1".into());
    let custom_data = BTreeMap::from([
        ("b".to_owned(), "x<y>&\u{2028}é".to_owned()),
        ("a".to_owned(), "{{.ID}}".to_owned()),
    ]);
    let settings = ManifestSettings { custom_data: Some(custom_data), ..ManifestSettings::default() };
    let processed = world.process(&manifest(settings), &built(&["out/a.txt"])).await.unwrap();
    assert_eq!(processed.artifact.unwrap(), built(&["out/a.txt"]));
    assert!(processed.keep_input && processed.force_keep);
    // As Packer 1.6.6 wrote it for the same artifact.
    let first = r#"    {
      "name": "web",
      "builder_type": "file",
      "build_time": 1795278681,
      "files": [
        {
          "name": "out/a.txt",
          "size": 6
        }
      ],
      "artifact_id": "File",
      "packer_run_uuid": "9dbfe30d-e0eb-df91-50ca-69e7190ba629",
      "custom_data": {
        "a": "i-1",
        "b": "x\u003cy\u003e\u0026\u2028é"
      }
    }"#;
    let whole = |entries: &str, run: &str| {
        format!("{{\n  \"builds\": [\n{entries}\n  ],\n  \"last_run_uuid\": \"{run}\"\n}}")
    };
    assert_eq!(world.text("packer-manifest.json"), whole(first, "9dbfe30d-e0eb-df91-50ca-69e7190ba629"));

    world.context.run_uuid = "second".to_owned();
    let settings = ManifestSettings { strip_path: true, strip_time: true, ..ManifestSettings::default() };
    world.process(&manifest(settings), &built(&["out/a.txt", "gone/b.txt"])).await.unwrap();
    let second = r#"    {
      "name": "web",
      "builder_type": "file",
      "files": [
        {
          "name": "a.txt",
          "size": 6
        },
        {
          "name": "b.txt",
          "size": 0
        }
      ],
      "artifact_id": "File",
      "packer_run_uuid": "second",
      "custom_data": null
    }"#;
    assert_eq!(world.text("packer-manifest.json"), whole(&format!("{first},\n{second}"), "second"));

    // `-force` forgets other runs, and only those.
    world.context.force = true;
    world.process(&manifest(ManifestSettings::default()), &built(&[])).await.unwrap();
    assert_eq!(world.text("packer-manifest.json").matches("packer_run_uuid").count(), 3);
    world.context.run_uuid = "third".to_owned();
    for _ in 0..2 {
        world.process(&manifest(ManifestSettings::default()), &built(&[])).await.unwrap();
    }
    let text = world.text("packer-manifest.json");
    assert_eq!(text.matches("\"packer_run_uuid\": \"third\"").count(), 2);
    assert_eq!(text.matches("\"files\": null,").count(), 2);
    assert_eq!(world.names(), ["out", "packer-manifest.json"]);
}

#[tokio::test]
async fn what_others_wrote_into_the_file_stays() {
    let world = World::new();
    let before = "{\n  \"builds\": [\n    {\n      \"name\": \"x\",\n      \"more\": 1.5\n    }\n  ],\n  \"last_run_uuid\": \"\",\n  \"own\": true\n}";
    world.write("packer-manifest.json", before);
    world.process(&manifest(ManifestSettings::default()), &built(&[])).await.unwrap();
    let after = world.text("packer-manifest.json");
    assert!(after.contains("\"more\": 1.5\n"), "{after}");
    assert!(after.contains("\"own\": true\n"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_that_share_a_manifest_lose_no_entry() {
    let world = World::new();
    let runs: Vec<_> = (0..12)
        .map(|number| {
            let mut context = world.context.clone();
            context.build_name = format!("build{number}");
            tokio::spawn(async move {
                manifest(ManifestSettings::default()).process(&context, &built(&[])).await.unwrap();
            })
        })
        .collect();
    for run in runs {
        run.await.unwrap();
    }
    let text = world.text("packer-manifest.json");
    for number in 0..12 {
        assert!(text.contains(&format!("\"build{number}\"")), "{text}");
    }
}

#[tokio::test]
async fn the_lock_of_a_packer_is_waited_for_and_one_left_behind_is_taken() {
    let world = World::new();
    world.write("packer-manifest.json.lock", "");
    world.process(&manifest(ManifestSettings::default()), &built(&[])).await.unwrap();
    assert_eq!(world.names(), ["packer-manifest.json"]);
    let path = world.folder.path().join("packer-manifest.json.lock");
    assert!(
        world
            .said
            .has(Voice::Error, &format!("Warning: `{}` was left behind and is removed", path.display()))
    );
}

#[tokio::test]
async fn another_file_is_left_alone() {
    let world = World::new();
    for (contents, reason) in [
        ("{", "EOF while parsing an object at line 1 column 1"),
        ("[]", "it holds no object"),
        (r#"{"builds":{}}"#, "its `builds` is no list"),
    ] {
        world.write("m.json", contents);
        let settings = ManifestSettings { output: "m.json".to_owned(), ..ManifestSettings::default() };
        let error = world.process(&manifest(settings), &built(&[])).await.unwrap_err();
        assert_eq!(error.message, format!("`m.json` is not a manifest: {reason}"));
        assert!(error.hint.is_some());
        assert_eq!(world.text("m.json"), contents);
        assert_eq!(world.names(), ["m.json"]);
    }
    let error = Manifest::new(ManifestSettings { output: String::new(), ..Default::default() }).unwrap_err();
    assert_eq!(error.message, "`output` of `manifest` is empty");
}
