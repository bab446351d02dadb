//! The templates in `examples/packer`: what is said of each is committed, and those that can be built here are.
//!
//! `IMGBUILD_BLESS=1` writes the files in `golden/packer` anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::examples::Examples;
use crate::golden::check;
use crate::support::{Said, said};

/// Each folder, and its template as the verbs are told of it there.
const TEMPLATES: [(&str, &str); 13] = [
    ("chained", "."),
    ("container", "."),
    ("file", "."),
    ("folder", "."),
    ("golden-image", "."),
    ("hcp-registry", "."),
    ("kubernetes-node", "."),
    ("legacy-json", "jenkins.json"),
    ("multi-cloud", "."),
    ("null", "."),
    ("rootfs", "."),
    ("ubuntu-ami", "."),
    ("windows", "."),
];

/// Locals that say when they were evaluated, by digits.
const OF_TODAY: [&str; 4] = ["local.ami_name: ", "local.stamp: ", "local.version: ", "local.when: "];

/// A verb of Packer's in the folder of a template, without colours.
fn run(examples: &Examples, folder: &str, words: &[&str]) -> Said {
    let mut command = examples.command(&format!("examples/packer/{folder}"), words);
    said(&command.env("PACKER_NO_COLOR", "1").output().unwrap())
}

fn ok(examples: &Examples, folder: &str, words: &[&str]) -> Said {
    let said = run(examples, folder, words);
    assert_eq!(said.code, Some(0), "imgbuild {}: {said:#?}", words.join(" "));
    said
}

/// A text with zeros for the digits of what is another tomorrow.
fn timeless(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let moves = OF_TODAY.iter().any(|start| line.starts_with(start));
        let still = |c: char| if moves && c.is_ascii_digit() { '0' } else { c };
        line.chars().map(still).chain(['\n']).collect::<String>()
    });
    lines.collect()
}

#[test]
fn every_example_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/packer");
    let found: BTreeSet<String> = fs_err::read_dir(&folder)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let listed: BTreeSet<String> = TEMPLATES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, listed);
    let readme = fs_err::read_to_string(folder.join("README.md")).unwrap();
    for name in listed {
        assert!(readme.contains(&format!("| [`{name}`](")), "{name}");
    }
}

#[test]
fn what_is_said_of_the_examples_has_not_moved() {
    let examples = Examples::new();
    for (folder, template) in TEMPLATES {
        let mut text = String::new();
        for verb in ["validate", "inspect"] {
            let said = ok(&examples, folder, &[verb, template]);
            writeln!(text, "$ imgbuild {verb} {template}").unwrap();
            text.push_str(&timeless(&said.stdout));
            text.push_str(&timeless(&said.stderr));
        }
        check(&format!("packer/{folder}.txt"), &text);
    }
}

#[test]
fn the_examples_are_laid_out() {
    let said = ok(&Examples::new(), "", &["fmt", "-check", "-recursive", "."]);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
}

#[test]
fn the_legacy_example_is_fixed_and_upgraded() {
    let examples = Examples::new();
    let folder = "legacy-json";
    let old = ok(&examples, folder, &["validate", "jenkins.json"]);
    let old = old.stdout + &old.stderr;
    assert!(
        old.contains("`tag` is deprecated") && old.contains("`spot_price_auto_product` is deprecated"),
        "{old}"
    );

    let fixed = ok(&examples, folder, &["fix", "jenkins.json"]).stdout;
    fs_err::write(examples.path("examples/packer/legacy-json/fixed.json"), fixed).unwrap();
    let valid = "The configuration is valid.\n";
    let said = ok(&examples, folder, &["validate", "fixed.json"]);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), (valid, ""));

    ok(&examples, folder, &["hcl2_upgrade", "-output-file=upgraded.pkr.hcl", "fixed.json"]);
    let said = ok(&examples, folder, &["validate", "upgraded.pkr.hcl"]);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), (valid, ""));
    let said = ok(&examples, folder, &["fmt", "-check", "upgraded.pkr.hcl"]);
    assert_eq!(said.stdout, "");
}

#[test]
fn the_example_without_a_machine_runs_each_step_once() {
    let examples = Examples::new();
    let first = ok(&examples, "null", &["build", "."]);
    for line in
        ["staging: first of null", "staging: second of null", "checks.null.first: Did not export anything"]
    {
        assert!(first.stdout.contains(line), "{line}: {first:#?}");
    }
    assert!(first.stdout.contains("the token is <sensitive>"), "{first:#?}");
    assert!(!first.stdout.contains("a check failed"), "{first:#?}");
    assert!(!(first.stdout + &first.stderr).contains("only-for-show"));

    let second = ok(&examples, "null", &["build", "."]).stdout;
    assert!(second.contains("(5 steps cached") && second.contains("(4 steps cached"), "{second}");
    assert!(!second.contains("Running"), "{second}");

    let other = ok(&examples, "null", &["build", "-var", "environment=production", "."]).stdout;
    assert!(other.contains("production: first of null"), "{other}");
    assert!(!other.contains("Running local shell: command -v sh"), "{other}");

    let wrong = run(&examples, "null", &["build", "-var=environment=prod", "."]);
    assert_eq!(wrong.code, Some(1), "{wrong:#?}");
    let said = wrong.stdout + &wrong.stderr;
    assert!(said.contains("The environment must be staging or production."), "{said}");
}

#[test]
fn the_example_of_files_writes_them() {
    let examples = Examples::new();
    let read = |name: &str| fs_err::read(examples.path(&format!("examples/packer/file/out/{name}"))).unwrap();
    ok(&examples, "file", &["build", "."]);
    let config = String::from_utf8(read("haproxy.cfg")).unwrap();
    assert!(config.starts_with("# release 2.1\n"), "{config}");
    assert!(config.ends_with("    server 10-0-0-12 10.0.0.12:8081 check\n"), "{config}");
    assert_eq!(read("license.txt"), b"Use it as you like.\n");
    for (kind, digits) in [("sha256", 64), ("md5", 32)] {
        let line = String::from_utf8(read(&format!("haproxy.{kind}"))).unwrap();
        assert_eq!(line.find("\thaproxy.cfg\n"), Some(digits), "{line}");
    }
    let manifest: serde_json::Value = serde_json::from_slice(&read("haproxy.json")).unwrap();
    let build = &manifest["builds"][0];
    assert_eq!(build["files"][0]["name"], "haproxy-2.1.tar.gz", "{manifest}");
    assert_eq!(build["custom_data"]["release"], "2.1", "{manifest}");

    let archive = read("haproxy-2.1.tar.gz");
    let second = ok(&examples, "file", &["build", "."]).stdout;
    assert!(second.contains("Nothing changed: the kept result is out/haproxy-2.1.tar.gz"), "{second}");
    assert_eq!(read("haproxy-2.1.tar.gz"), archive);
}

/// Whether a build carried anything out, by what it said.
fn worked(stdout: &str) -> bool {
    ["Preparing the base", "Uploading", "Provisioning", "Downloading", "Exporting"]
        .iter()
        .any(|word| stdout.contains(&format!(": {word}")))
}

#[test]
fn the_example_of_a_container_image_is_built_from_the_archive() {
    let examples = Examples::new();
    let out = examples.path("examples/packer/rootfs/out");
    let first = ok(&examples, "rootfs", &["build", "."]).stdout;
    assert!(worked(&first), "{first}");
    let packages = fs_err::read_to_string(out.join("packages.txt")).unwrap();
    assert!(packages.lines().any(|line| line.starts_with("busybox-static ")), "{packages}");
    let listed =
        Command::new("tar").arg("-xzOf").arg(out.join("web.tar.gz")).arg("etc/made-by").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "made by web on rootfs\n", "{listed:?}");
    match Command::new("skopeo")
        .args(["inspect", "--config"])
        .arg(format!("oci:{}", out.join("web.oci").display()))
        .output()
    {
        Ok(output) => {
            let config: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(config["config"]["WorkingDir"], "/srv/www", "{config}");
            assert_eq!(config["config"]["ExposedPorts"]["8080/tcp"], serde_json::json!({}), "{config}");
        }
        Err(error) => eprintln!("SKIPPED: skopeo: {error}"),
    }

    // What it made is gone, and comes out of the cache.
    fs_err::remove_dir_all(&out).unwrap();
    let second = ok(&examples, "rootfs", &["build", "."]).stdout;
    assert!(!worked(&second) && second.contains("(5 steps cached"), "{second}");
    assert_eq!(fs_err::read_to_string(out.join("packages.txt")).unwrap(), packages);
    assert!(out.join("web.oci/index.json").exists() && out.join("web.tar.gz").exists());

    let other = ok(&examples, "rootfs", &["build", "-var=greeting=welcome", "."]).stdout;
    assert!(other.contains("Provisioning with shell: personalise.sh"), "{other}");
    assert!(!other.contains("busybox --list") && !other.contains("Preparing the base"), "{other}");
}

#[test]
fn the_example_that_starts_from_an_artifact_is_built_after_it() {
    let examples = Examples::new();
    let out = examples.path("examples/packer/chained/out");
    let first = ok(&examples, "chained", &["build", "."]).stdout;
    let place = |text: &str| first.find(text).unwrap_or_else(|| panic!("{text}: {first}"));
    assert!(
        place("Build 'base.rootfs.base' finished") < place("app.rootfs.app: Preparing the base"),
        "{first}"
    );

    fs_err::remove_dir_all(&out).unwrap();
    let second = ok(&examples, "chained", &["build", "."]).stdout;
    assert!(!worked(&second), "{second}");
    assert!(out.join("base.tar").exists() && out.join("app.oci/index.json").exists());
}
