//! Patterns of names and the form of JSON, compared with Go's own where Go is installed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use imgbuild_postprocessors::{Manifest, ManifestSettings, Pattern};
use serde_json::{Value, json};

use crate::support::{World, built, installed};

const ORACLE: &str = include_str!("oracle.go");

/// Texts of a few characters each, the same in every run.
fn texts(alphabet: &str, count: usize, mut state: u64) -> Vec<String> {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    (0..count)
        .map(|_| {
            let length = next(8);
            (0..length).map(|_| alphabet[next(alphabet.len())]).collect()
        })
        .collect()
}

fn asked_of_go(cases: &[Value]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("oracle.go"), ORACLE).unwrap();
    let mut child = Command::new("go")
        .args(["run", "oracle.go"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = Value::from(cases.to_vec()).to_string();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(asked.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn patterns_and_json_are_those_of_go() {
    if !installed("go") {
        return;
    }
    let patterns = texts("aabb*?[]^-\\é/", 6000, 1);
    let names = texts("abé-^]/", 6000, 2);
    let odd = texts("a\"\\\u{1}\u{8}\u{c}\n\r\t\u{7f}<>&\u{2028}\u{2029}é\u{1f600}/'", 200, 3);
    let cases: Vec<Value> = patterns
        .iter()
        .zip(&names)
        .chain(odd.iter().zip(&odd))
        .map(|(pattern, name)| json!({"Pattern": pattern, "Name": name}))
        .collect();
    let answers = asked_of_go(&cases);
    let mut matched = 0;
    for (case, answer) in cases.iter().zip(&answers).take(patterns.len()) {
        let (pattern, name) = (case["Pattern"].as_str().unwrap(), case["Name"].as_str().unwrap());
        match Pattern::new(pattern) {
            // Go does not look at all of a pattern when it knows already that a name does not match.
            Err(_) => assert!(answer["Bad"] == true || answer["Matches"] == false, "{pattern:?}"),
            Ok(read) => {
                assert_eq!(answer["Bad"], false, "{pattern:?}");
                assert_eq!(answer["Matches"], read.matches(name), "{pattern:?} {name:?}");
                matched += usize::from(read.matches(name));
            }
        }
    }
    assert!(matched > 100, "{matched}");

    for (text, answer) in odd.iter().zip(&answers[patterns.len()..]) {
        // The text of Go's list item is that of a value of `custom_data`.
        let item = answer["JSON"].as_str().unwrap().lines().nth(2).unwrap().trim();
        let world = World::new();
        let settings = ManifestSettings {
            custom_data: Some(BTreeMap::from([("x".to_owned(), text.clone())])),
            ..Default::default()
        };
        world.process(&Manifest::new(settings).unwrap(), &built(&[])).await.unwrap();
        let manifest = world.text("packer-manifest.json");
        assert!(manifest.contains(&format!("        \"x\": {item}\n")), "{item} in {manifest}");
    }
}
