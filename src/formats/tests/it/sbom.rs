//! Package lists and the documents made of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use imgbuild_digest::Digest;
use imgbuild_formats::packages::{Inventory, parse_os_release, parse_status};
use imgbuild_formats::provenance::{BuildStep, Provenance, Source, Subject as ProvenanceSubject};
use imgbuild_formats::sbom::{Subject, cyclonedx::cyclonedx, package_url, spdx::spdx};

use crate::fixture::{OS_RELEASE, STATUS, TIME, has, is_root, run, stack};

fn inventory() -> Inventory {
    Inventory {
        os: parse_os_release(OS_RELEASE),
        packages: parse_status("status", STATUS.as_bytes()).unwrap(),
    }
}

fn subject(inventory: &Inventory) -> Subject<'_> {
    Subject { name: "example", digest: Digest::sha256([7; 32], 1), created: TIME, inventory }
}

#[test]
fn installed_packages_are_read_from_dpkgs_database() {
    let inventory = inventory();
    let names: Vec<&str> = inventory.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["libc6", "g++"]);
    let compiler = &inventory.packages[1];
    assert_eq!(compiler.source.as_deref(), Some("gcc-defaults"));
    assert_eq!(compiler.source_version.as_deref(), Some("1.203"));
    assert_eq!(compiler.summary.as_deref(), Some("GNU C++ compiler"));
    assert_eq!(
        package_url(compiler, &inventory),
        "pkg:deb/debian/g%2B%2B@4:12.2.0-3?arch=amd64&distro=debian-12"
    );
    let error =
        parse_status("var/lib/dpkg/status", b"Package: x\nStatus: install ok installed\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`/var/lib/dpkg/status` is not a valid package database: `x` has no field `Version`"
    );
}

#[test]
fn a_view_and_a_directory_have_the_same_inventory() {
    if !is_root("a_view_and_a_directory_have_the_same_inventory") {
        return;
    }
    let stack = stack();
    let mut expected = inventory();
    expected.packages.sort();
    assert_eq!(Inventory::of_view(&stack.squashed()).unwrap(), expected);
    assert_eq!(Inventory::of_directory(&stack.layers[0].1).unwrap(), expected);
    assert_eq!(Inventory::of_directory(&stack.layers[2].1).unwrap(), Inventory::default());
}

#[test]
fn os_release_is_unquoted() {
    let os = parse_os_release("ID='my\\$id'\nVERSION_ID=\"1\\\"2\"\n# ID=x\nPRETTY_NAME=plain\n");
    assert_eq!((os.id.as_str(), os.version_id.as_str(), os.pretty_name.as_str()), ("my$id", "1\"2", "plain"));
}

/// The Python programs of SPDX and CycloneDX in an environment of their own, which is made once.
fn validators(test: &str) -> Option<PathBuf> {
    if !has("python3", test) {
        return None;
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sbom-validators-1");
    let ready = place.join("ready");
    if !ready.exists() {
        let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place).output().unwrap();
        let installed = Command::new(place.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(["spdx-tools>=0.8,<0.9", "cyclonedx-python-lib[json-validation]>=11,<12"])
            .output();
        let installed = installed.is_ok_and(|output| output.status.success());
        if !made.status.success() || !installed {
            eprintln!("SKIPPED: `{test}` needs `pip` to install spdx-tools and cyclonedx-python-lib");
            return None;
        }
        fs_err::write(&ready, "").unwrap();
    }
    Some(place)
}

#[test]
fn public_validators_accept_both_documents() {
    let Some(place) = validators("public_validators_accept_both_documents") else { return };
    let folder = tempfile::tempdir().unwrap();
    let empty = Inventory::default();
    for (name, inventory) in [("full", inventory()), ("empty", empty)] {
        let subject = subject(&inventory);
        let file = folder.path().join(format!("{name}.spdx.json"));
        fs_err::write(&file, spdx(&subject).unwrap()).unwrap();
        run(Command::new(place.join("bin/pyspdxtools")).arg("--infile").arg(&file));
        let file = folder.path().join(format!("{name}.cdx.json"));
        fs_err::write(&file, cyclonedx(&subject).unwrap()).unwrap();
        let script = "import sys\n\
                      from cyclonedx.schema import SchemaVersion\n\
                      from cyclonedx.validation.json import JsonStrictValidator\n\
                      text = open(sys.argv[1]).read()\n\
                      sys.exit(str(JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) or '') or 0)\n";
        run(Command::new(place.join("bin/python")).arg("-c").arg(script).arg(&file));
        // The validators do find faults.
        let broken = fs_err::read_to_string(&file).unwrap().replace("\"container\"", "\"vessel\"");
        fs_err::write(&file, broken).unwrap();
        let output =
            Command::new(place.join("bin/python")).arg("-c").arg(script).arg(&file).output().unwrap();
        assert!(!output.status.success());
    }
}

#[test]
fn documents_are_functions_of_the_subject() {
    let inventory = inventory();
    let other = Subject { digest: Digest::sha256([8; 32], 1), ..subject(&inventory) };
    for write in [spdx, cyclonedx] {
        assert_eq!(write(&subject(&inventory)).unwrap(), write(&subject(&inventory)).unwrap());
        assert_ne!(write(&subject(&inventory)).unwrap(), write(&other).unwrap());
    }
}

#[test]
fn provenance_names_the_artifact_its_sources_and_steps() {
    let package = |name: &str| Source {
        uri: format!("pkg:deb/debian/{name}@1"),
        function: "sha256".to_owned(),
        hex: "02".repeat(32),
        size: Some(9),
    };
    let provenance = Provenance {
        subjects: vec![ProvenanceSubject {
            path: "web.tar".to_owned(),
            digests: vec![Digest::sha256([1; 32], 5), Digest::of(b"bytes")],
            size: 5,
        }],
        target: "//images:web".to_owned(),
        platform: "linux/amd64".to_owned(),
        key: Some("cd".to_owned()),
        steps: vec![BuildStep {
            kind: "shell".to_owned(),
            summary: "true".to_owned(),
            key: Some("ef".to_owned()),
        }],
        tool_version: "0.1.0".to_owned(),
    };
    let text = provenance.to_json(&[package("b"), package("a"), package("b")]).unwrap();
    let statement: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["subject"][0]["name"], "web.tar");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], "01".repeat(32));
    assert_eq!(statement["subject"][0]["digest"]["blake3"], Digest::of(b"bytes").hex());
    let definition = &statement["predicate"]["buildDefinition"];
    assert_eq!(definition["externalParameters"]["target"], "//images:web");
    assert_eq!(definition["externalParameters"]["platform"], "linux/amd64");
    assert_eq!(definition["internalParameters"]["steps"][0]["kind"], "shell");
    let dependencies = definition["resolvedDependencies"].as_array().unwrap();
    let uris: Vec<_> = dependencies.iter().map(|dependency| dependency["uri"].as_str().unwrap()).collect();
    assert_eq!(uris, ["pkg:deb/debian/a@1", "pkg:deb/debian/b@1"]);
    assert_eq!(dependencies[0]["digest"]["sha256"], "02".repeat(32));

    assert!(provenance.is_current(&text));
    assert!(provenance.is_current(&provenance.to_json(&[]).unwrap()), "sources follow from the key");
    let changed: [fn(&mut Provenance); 6] = [
        |other| other.subjects[0].digests.truncate(1),
        |other| other.target.push('x'),
        |other| other.platform.push('x'),
        |other| other.key = Some("other".to_owned()),
        |other| other.steps.clear(),
        |other| other.tool_version.push('x'),
    ];
    for change in changed {
        let mut other = provenance.clone();
        change(&mut other);
        assert!(!other.is_current(&text), "{other:?}");
    }
    let unstable = Provenance { key: None, ..provenance };
    assert!(!unstable.is_current(&unstable.to_json(&[]).unwrap()), "nothing tells its sources");
}
