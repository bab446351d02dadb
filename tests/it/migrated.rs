//! The target that a template's build becomes has the keys of that build: what was built for the one is there for the other.

use std::process::Command;

use imgbuild_debian::solve::Base;

use crate::archive::{Ubuntu, archive, hello};
use crate::images::{Registry, has};
use crate::support::{Said, Workspace, busybox, ran, said};

/// A workspace with a template in the package `images`, beside a tarball that a static shell is in.
fn on_busybox(template: &str) -> Option<Workspace> {
    let workspace = Workspace::new();
    busybox(&workspace)?;
    workspace.write("images/t.pkr.hcl", template);
    workspace.write("busybox/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    let (tree, tarball) = (workspace.root().join("busybox"), workspace.root().join("images/base.tar"));
    let tar = Command::new("tar").arg("-C").arg(tree).arg("-cf").arg(tarball).arg(".").status().unwrap();
    assert!(tar.success());
    Some(workspace)
}

/// Runs the program in the package `images`; it must succeed.
#[track_caller]
fn ok(mut command: Command, workspace: &Workspace) -> Said {
    let said = said(&command.current_dir(workspace.root().join("images")).output().unwrap());
    assert_eq!(said.code, Some(0), "{command:?}: {said:#?}");
    said
}

/// The keys that `why` shows of a template's build, in the order of its steps.
fn keys_of_template(said: &Said) -> Vec<String> {
    let key = |line: &str| Some(line.strip_suffix(')')?.rsplit_once('(')?.1.to_owned());
    said.stdout.lines().filter(|line| line.starts_with("  cached  ")).filter_map(key).collect()
}

/// The keys that `plan --json` shows of a target, as short as those.
fn keys_of_target(said: &Said) -> Vec<String> {
    let plan: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let actions = plan["actions"].as_array().unwrap();
    actions.iter().map(|action| action["key"].as_str().unwrap()[..12].to_owned()).collect()
}

/// Builds the template, carries it over, and finds all of it built under the same keys.
#[track_caller]
fn is_the_same(workspace: &Workspace, run: &dyn Fn(&[&str]) -> Command, steps: usize) {
    ok(run(&["build", "t.pkr.hcl"]), workspace);
    let before = keys_of_template(&ok(run(&["why", "t.pkr.hcl"]), workspace));
    assert_eq!(before.len(), steps, "{before:?}");
    let migrated = ok(run(&["migrate", "t.pkr.hcl"]), workspace);
    assert!(migrated.stdout.contains("imgbuild.lock"), "{migrated:?}");
    assert!(!workspace.has("images/imgbuild.lock"), "it is the workspace's");
    assert_eq!(keys_of_target(&ok(run(&["--json", "plan", "--locked", "//images:web"]), workspace)), before);
    let built = ok(run(&["--json", "build", "--locked", "//images:web"]), workspace);
    assert!(ran(&built).is_empty(), "{built:?}");
    // The template is where it was.
    assert_eq!(keys_of_template(&ok(run(&["why", "t.pkr.hcl"]), workspace)), before);
}

/// A template that uses the network on the tarball.
const NETWORKED: &str = r#"
source "rootfs" "web" {
  base_tarball = "base.tar"
  tarball      = "out/web.tar"
  oci_layout   = "out/web.oci"
  entrypoint   = ["/bin/cat", "/greeting"]
}
build {
  sources = ["rootfs.web"]
  provisioner "file" {
    content     = "hello\n"
    destination = "/hello"
  }
  provisioner "shell" { inline = ["cat /hello > /greeting"] }
  provisioner "sleep" { duration = "1s" }
  provisioner "file" {
    direction   = "download"
    source      = "/greeting"
    destination = "greeting"
  }
  provisioner "shell" { inline = ["date > /date"] }
}
"#;

#[test]
fn the_epoch_of_a_template_is_that_of_its_target() {
    let template = NETWORKED.replace("provisioner \"sleep\" { duration = \"1s\" }", "");
    let Some(workspace) = on_busybox(&template) else { return };
    is_the_same(&workspace, &|words| workspace.command(words), 8);
    let lock = workspace.read("imgbuild.lock");
    assert!(lock.contains("\"//images:web linux/"), "{lock}");
    assert!(!lock.contains("rootfs.web"), "{lock}");

    // What the workspace says already stays, and that is told.
    let own = lock.split(": \"").nth(1).unwrap().split('"').next().unwrap();
    workspace.write("imgbuild.lock", &lock.replace(own, "its own"));
    let again = ok(workspace.command(&["migrate", "-force", "t.pkr.hcl"]), &workspace);
    let told = "Warning: `imgbuild.lock` has another `epoch of //images:web linux/";
    assert!(
        again.stdout.contains(told) && again.stdout.contains("than the plan of `rootfs.web`"),
        "{again:?}"
    );
    assert_eq!(workspace.read("imgbuild.lock"), lock.replace(own, "its own"));
}

#[test]
fn an_epoch_that_migrate_begins_is_that_of_the_template_too() {
    let Some(workspace) = on_busybox(NETWORKED) else { return };
    let shown = ok(workspace.command(&["migrate", "-output-file=-", "t.pkr.hcl"]), &workspace);
    let told = "`imgbuild.lock` is written only beside a file: the first build resolves what floats\n";
    assert_eq!(shown.stderr, told);
    assert!(!workspace.has("imgbuild.lock"));

    let said = ok(workspace.command(&["migrate", "t.pkr.hcl"]), &workspace);
    assert!(said.stdout.contains("Added `epoch of //images:web linux/"), "{said:?}");
    assert_eq!(workspace.read("images/BUILD.star"), shown.stdout);
    ok(workspace.command(&["build", "//images:web"]), &workspace);
    let built = ok(workspace.command(&["build", "t.pkr.hcl"]), &workspace);
    assert!(built.stdout.contains("file, shell, sleep, file, shell: not run again"), "{built:?}");
}

#[test]
fn a_command_on_the_host_runs_again_for_its_target() {
    let template = NETWORKED
        .replace("provisioner \"sleep\" { duration = \"1s\" }", "")
        .replace("date > /date", "cat /hello > /again")
        .replace("provisioner \"file\" {\n    direction", "provisioner \"shell-local\" { inline = [\"echo ran >> trace\"] }\n  provisioner \"file\" {\n    direction");
    let Some(workspace) = on_busybox(&template) else { return };
    ok(workspace.command(&["build", "t.pkr.hcl"]), &workspace);
    ok(workspace.command(&["migrate", "t.pkr.hcl"]), &workspace);
    let built = ok(workspace.command(&["--json", "build", "--locked", "//images:web"]), &workspace);
    // It may have made what comes next, so that runs too. Whatever comes out as it was stops the rebuild.
    let kinds: Vec<_> = ran(&built).iter().map(|step| step.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["shell_local", "download", "shell"], "{built:?}");
    assert_eq!(workspace.read("images/trace"), "ran\nran\n");
    let again = ok(workspace.command(&["--json", "build", "--locked", "//images:web"]), &workspace);
    assert!(ran(&again).is_empty(), "{again:?}");
}

#[test]
fn what_a_sensitive_step_leaves_is_what_the_template_has() {
    let template = NETWORKED.replace(
        "provisioner \"shell\" { inline = [\"cat /hello > /greeting\"] }",
        "provisioner \"shell\" {\n env = { TOKEN = var.token }\n inline = [\"[ -n $TOKEN ] && cat /hello > /greeting\"]\n }",
    );
    let token = "variable \"token\" {\n default = \"s3cr3t-t0ken\"\n sensitive = true\n}\n";
    let Some(workspace) = on_busybox(&format!("{token}{template}")) else { return };
    ok(workspace.command(&["build", "t.pkr.hcl"]), &workspace);
    ok(workspace.command(&["migrate", "t.pkr.hcl"]), &workspace);
    let mut build = workspace.command(&["--json", "build", "--locked", "//images:web"]);
    build.env("TOKEN", "s3cr3t-t0ken");
    // The first step of the chain that uses the network is another: its epoch is the same, and so is what stands on it.
    let built = ran(&ok(build, &workspace));
    assert!(matches!(built.as_slice(), [step] if step.contains("TOKEN")), "{built:?}");
    let lock = workspace.read("imgbuild.lock");
    assert!(!lock.contains("s3cr3t"), "{lock}");
}

#[test]
fn a_target_is_built_for_what_its_template_is() {
    let Some(workspace) = on_busybox(NETWORKED) else { return };
    let other = if cfg!(target_arch = "s390x") { "linux/amd64" } else { "linux/s390x" };
    workspace.write("imgbuild.toml", &format!("[build]\ndefault_platform = \"{other}\"\n"));
    is_the_same(&workspace, &|words| workspace.command(words), 9);
}

/// A template on the packages of an archive.
const PACKAGES: &str = r#"
source "rootfs" "web" {
  ubuntu {
    suite    = "noble"
    variant  = "essential"
    packages = ["hello"]
  }
  tarball = "out/web.tar"
}
build {
  sources = ["rootfs.web"]
  provisioner "shell" { inline = ["cat /usr/share/hello/greeting > /greeting"] }
}
"#;

#[test]
fn the_packages_of_a_template_are_those_of_its_target() {
    let Some(mut archive) = archive(Base::Essential) else { return };
    archive.add(hello("1.0"));
    let workspace = Workspace::new();
    workspace.write("images/t.pkr.hcl", PACKAGES);
    let mut ubuntu = Ubuntu::with(archive, workspace);
    is_the_same(&ubuntu.workspace, &|words| ubuntu.command(words), 4);
    let lock = ubuntu.workspace.read("imgbuild.lock");
    assert!(lock.contains("\"distribution\": \"ubuntu\"") && lock.contains("\"hello 1.0 "), "{lock}");

    // The template floats on; what the workspace has locked does not.
    ubuntu.archive.add(hello("2.0"));
    ubuntu.archive.date += jiff::SignedDuration::from_hours(1);
    ubuntu.publish();
    let moved = ok(ubuntu.command(&["migrate", "-force", "t.pkr.hcl"]), &ubuntu.workspace);
    let told = "`imgbuild.lock` has another `ubuntu noble";
    assert!(
        moved.stdout.contains(told) && moved.stdout.contains("`imgbuild update //images:web` moves it"),
        "{moved:?}"
    );
    let kept = ubuntu.workspace.read("imgbuild.lock");
    assert!(kept.contains("\"hello 1.0 ") && !kept.contains("\"hello 2.0 "), "{kept}");
    let built = ok(ubuntu.command(&["--json", "build", "--locked", "//images:web"]), &ubuntu.workspace);
    assert!(ran(&built).is_empty(), "{built:?}");

    // What a lock file of the template says is what its plan stands on.
    let remove = |name: &str| fs_err::remove_file(ubuntu.workspace.root().join(name)).unwrap();
    fs_err::rename(
        ubuntu.workspace.root().join("imgbuild.lock"),
        ubuntu.workspace.root().join("images/imgbuild.lock"),
    )
    .unwrap();
    ok(ubuntu.command(&["migrate", "-force", "t.pkr.hcl"]), &ubuntu.workspace);
    assert_eq!(ubuntu.workspace.read("imgbuild.lock"), kept);
    remove("images/imgbuild.lock");

    // Without the archive the target is written all the same.
    remove("imgbuild.lock");
    ubuntu.set("IMGBUILD_UBUNTU_MIRROR", "http://127.0.0.1:1/ubuntu");
    let alone = ok(ubuntu.command(&["migrate", "-force", "t.pkr.hcl"]), &ubuntu.workspace);
    let told =
        ["Wrote BUILD.star", "Warning: what the plan of `rootfs.web` pins is not known: ", "//images:web"];
    assert!(told.iter().all(|part| alone.stdout.contains(part)), "{alone:?}");
    assert!(!ubuntu.workspace.has("imgbuild.lock"));
}

#[test]
fn the_image_below_a_template_is_that_below_its_target() {
    if !has(&["docker-registry", "skopeo"]) {
        return;
    }
    let Some(workspace) = on_busybox(NETWORKED) else { return };
    ok(workspace.command(&["build", "t.pkr.hcl"]), &workspace);
    let registry = Registry::start();
    let reference = registry.push(&workspace.root().join("images/out/web.oci"), "team/web:1");
    let template = r#"
        source "rootfs" "web" {
          base_image = "REFERENCE"
          oci_layout = "out/web.oci"
        }
        build {
          sources = ["rootfs.web"]
          provisioner "shell" { inline = ["cat /greeting /date > /both"] }
        }"#;
    workspace.write("images/t.pkr.hcl", &template.replace("REFERENCE", &reference));
    is_the_same(&workspace, &|words| workspace.command(words), 4);
    let lock = workspace.read("imgbuild.lock");
    assert!(lock.contains(&reference) && lock.contains("sha256:"), "{lock}");
}
