//! The verdicts on this host, compared with those of a real goss.

use std::collections::BTreeMap;
use std::process::Command;

use imgbuild_checks::report::Outcome;
use imgbuild_checks::{Known, NotBooted, read_vars};

use crate::host::Files;

const GOSS: &str = "/usr/local/bin/goss";

/// Each resource with attributes that hold, that do not, and that cannot be compared; and every matcher.
const MAIN: &str = include_str!("all.yaml");

type Verdicts = BTreeMap<(String, String, String), i64>;

fn of_goss(files: &Files) -> Verdicts {
    let output = Command::new(GOSS)
        .arg("--vars")
        .arg(files.path("vars.yaml"))
        .arg("-g")
        .arg(files.path("goss.yaml"))
        .args(["validate", "--format", "json"])
        .env("WORD", "from the environment")
        .output()
        .unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let text = |result: &serde_json::Value, name: &str| result[name].as_str().unwrap().to_owned();
    let verdict = |result: &serde_json::Value| {
        let key = (text(result, "resource-type"), text(result, "resource-id"), text(result, "property"));
        (key, result["result"].as_i64().unwrap())
    };
    document["results"].as_array().unwrap().iter().map(verdict).collect()
}

#[test]
fn a_real_goss_says_the_same() {
    if !std::path::Path::new(GOSS).exists() {
        return eprintln!("SKIPPED: there is no {GOSS}; `tests/run` installs it");
    }
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/var/lib/dpkg/status").exists() {
        return eprintln!("SKIPPED: what is compared is a Debian system, and its root's");
    }
    let files = Files::new(&[
        ("goss.yaml", MAIN),
        (
            "more/one.yaml",
            "file: {/etc/group: {exists: true, mode: '0600'}}\nuser: {root: {exists: false}}\n",
        ),
        ("more/two.yaml", "gossfile: {../deep/*.json: {}}\n"),
        ("deep/a.json", "{\"group\": {\"daemon\": {\"exists\": true, \"gid\": 2}}}"),
        ("text", "hello world\nsecond\n"),
    ]);
    std::os::unix::fs::symlink("text", files.path("link")).unwrap();
    let vars = format!("folder: {}\nusers: [root, daemon]\nnumber: 7\n", files.folder.path().display());
    fs_err::write(files.path("vars.yaml"), &vars).unwrap();
    let known = Known {
        vars: read_vars(&vars, "vars.yaml").unwrap(),
        env: BTreeMap::from([("WORD".to_owned(), "from the environment".to_owned())]),
        ..Known::default()
    };
    let results = files.check(&known, true, NotBooted::Fail);
    let expected = of_goss(&files);
    let mut found = Verdicts::new();
    for result in &results {
        let code = match &result.outcome {
            Outcome::Passed => 0,
            Outcome::Failed(_) | Outcome::Error(_) => 1,
            Outcome::Skipped(_) => 2,
        };
        let key = (result.resource.to_owned(), result.id.clone(), result.property.to_owned());
        assert!(found.insert(key, code).is_none(), "{} twice", result.name());
    }
    // A mount that is not there is an error to goss 0.4, also where it is not expected to be there.
    let absent = ("Mount".to_owned(), "/nowhere".to_owned(), "exists".to_owned());
    assert_eq!((expected.get(&absent), found.remove(&absent)), (Some(&1), Some(0)));
    let mut expected = expected;
    expected.remove(&absent);
    let mut differences = Vec::new();
    for key in expected.keys().chain(found.keys()) {
        let (goss, ours) = (expected.get(key), found.get(key));
        if goss != ours {
            let said = results.iter().find(|result| result.id == key.1 && result.property == key.2);
            differences
                .push(format!("{key:?}: goss {goss:?}, here {ours:?} {:?}", said.map(|said| &said.outcome)));
        }
    }
    differences.sort();
    differences.dedup();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    for code in 0..=2 {
        assert!(expected.values().filter(|found| **found == code).count() > 10, "verdict {code}");
    }
    assert!(expected.len() > 200, "{}", expected.len());
}
