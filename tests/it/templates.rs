//! Packer's verbs on templates, under both names of the program: what is wrong with them, what they hold, and their builds.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Said, Workspace, busybox, files, has, has_not, said};

const GOOD: &str = r#"
variable "name" { default = "web" }
variable "token" {
  default   = "s3cr3t"
  sensitive = true
}
source "file" "x" {
  target  = "${var.name}.txt"
  content = "token ${var.token}"
}
build { sources = ["file.x"] }
"#;

/// The program under the name `packer`, with text on its standard input.
fn packer(workspace: &Workspace, words: &[&str], input: &str) -> Said {
    let link = workspace.root().join("packer");
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_imgbuild"), &link).unwrap();
    }
    let mut child = Command::new(&link)
        .args(words)
        .current_dir(workspace.root())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("PKR_VAR_name", "environment")
        .env("IMGBUILD_CACHE_DIR", workspace.cache())
        .env("PACKER_NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who does not read it may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn a_good_template_is_valid_under_both_names() {
    let workspace = files(&[("t.pkr.hcl", GOOD), ("vars.pkrvars.hcl", "nmae = 1\n")]);
    assert_eq!(workspace.ok(&["validate", "t.pkr.hcl"]).stdout, "The configuration is valid.\n");
    assert_eq!(packer(&workspace, &["validate", "."], "").stdout, "The configuration is valid.\n");
    let syntax = packer(&workspace, &["validate", "--syntax-only", "t.pkr.hcl"], "");
    assert_eq!(syntax.stdout, "Syntax-only check passed. Everything looks okay.\n");
    let warned = packer(&workspace, &["validate", "-var-file=vars.pkrvars.hcl", "t.pkr.hcl"], "");
    has(&warned, &["Warning: variable `nmae` is set here but not declared", "The configuration is valid."]);
    assert_eq!(warned.code, Some(0));
    let quiet = ["validate", "-no-warn-undeclared-var", "-var-file", "vars.pkrvars.hcl", "t.pkr.hcl"];
    assert_eq!(packer(&workspace, &quiet, "").stdout, "The configuration is valid.\n");
}

#[test]
fn all_that_is_wrong_is_shown_with_its_line() {
    let workspace = files(&[(
        "t.pkr.hcl",
        "source \"file\" \"x\" {\n  trget = var.nope\n}\nbuild {\n  sources = [\"file.x\"]\n  provisioner \"shell-lcal\" {}\n}\n",
    )]);
    let said = workspace.fails(1, &["validate", "t.pkr.hcl"]);
    has(
        &said,
        &[
            "Error: there is no variable named `nope`",
            "on t.pkr.hcl line 2:",
            "trget = var.nope",
            "did you mean `target`?",
            "there is no provisioner `shell-lcal`",
            "did you mean `shell-local`?",
        ],
    );
    assert_eq!(said.stderr, "");
}

#[test]
fn templates_are_inspected_and_asked() {
    let workspace = files(&[("t.pkr.hcl", GOOD)]);
    let said = packer(&workspace, &["inspect", "-var", "name=given", "t.pkr.hcl"], "");
    assert!(
        said.stdout.starts_with("Packer Inspect: HCL2 mode\n\n> input-variables:\n\nvar.name: \"given\"\n"),
        "{said:?}"
    );
    has_not(&said, &["s3cr3t"]);
    let said = packer(&workspace, &["console", "t.pkr.hcl"], "var.name\nupper(\"${var.name}!\")\n");
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "ENVIRONMENT!\n"));
    let said = packer(&workspace, &["console", "t.pkr.hcl"], "var.nme\n");
    assert_eq!(said.code, Some(1));
    has(&said, &["there is no variable named `nme`"]);
    assert_eq!(packer(&workspace, &["console"], "1 + 1\n").stdout, "2\n");
}

#[test]
fn lines_for_programs_have_packers_form() {
    let workspace = files(&[("t.pkr.hcl", GOOD), ("bad.pkr.hcl", "unknown {}\n")]);
    let said = packer(&workspace, &["validate", "t.pkr.hcl", "-machine-readable"], "");
    let (time, rest) = said.stdout.split_once(',').unwrap();
    assert!(time.parse::<u64>().is_ok(), "{said:?}");
    assert_eq!(rest, ",ui,say,The configuration is valid.\n");
    let said = packer(&workspace, &["-machine-readable", "validate", "bad.pkr.hcl"], "");
    has(&said, &[",,diagnostic,error,bad.pkr.hcl,1,1,a template has no block `unknown`", ",,ui,error,"]);
    let said = packer(&workspace, &["build", "-machine-readable", "t.pkr.hcl"], "");
    has(&said, &["file.x,artifact,0,builder-id,packer.file", "file.x,artifact,0,file,0,environment.txt"]);
}

#[test]
fn command_lines_that_are_wrong_say_so() {
    let workspace = files(&[("t.pkr.hcl", GOOD), ("t.json", "{}")]);
    for (words, code, part) in [
        (&["unheard"][..], 127, "`unheard` is not a command of `packer`"),
        (&[], 127, "Usage: packer <command>"),
        (&["validate"], 1, "Usage: packer validate"),
        (&["validate", "t.pkr.hcl", "-syntax-only"], 1, "Usage: packer validate"),
        (&["validate", "-sintax-only", "t.pkr.hcl"], 1, "did you mean `-syntax-only`?"),
        (&["validate", "gone.pkr.hcl"], 1, "gone.pkr.hcl"),
        (&["validate", "t.json"], 1, "a template needs at least one builder"),
        (&["fmt"], 1, "Usage: packer fmt"),
        (&["fmt", "t.json"], 1, "file t.json is not a HCL file"),
        (&["build", "-only=nothing.*", "t.pkr.hcl"], 1, "no builds to run"),
    ] {
        let said = packer(&workspace, words, "");
        assert_eq!(said.code, Some(code), "{words:?}: {said:?}");
        has(&said, &[part]);
    }
    assert_eq!(packer(&workspace, &["version"], "").stdout, "Packer v1.16.0\n");
}

#[test]
fn data_sources_are_asked_when_they_are_wanted() {
    let workspace = files(&[
        ("t.pkr.hcl", "data \"http\" \"x\" {\n  url = \"http://127.0.0.1:1/\"\n}\n"),
        (
            "n.pkr.hcl",
            "data \"null\" \"x\" { input = \"asked\" }\nsource \"file\" \"f\" {\n  target = \"f.txt\"\n  content = data.null.x.output\n}\nbuild { sources = [\"file.f\"] }\n",
        ),
    ]);
    assert_eq!(packer(&workspace, &["validate", "t.pkr.hcl"], "").code, Some(0));
    let said = packer(&workspace, &["validate", "-evaluate-datasources", "t.pkr.hcl"], "");
    assert_eq!(said.code, Some(1));
    has(&said, &["http://127.0.0.1:1/", "on t.pkr.hcl line 1:"]);
    workspace.ok(&["build", "n.pkr.hcl"]);
    assert_eq!(workspace.read("f.txt"), "asked");

    let step = "data \"null\" \"x\" {\n  input = \"asked\"\n}\nsource \"null\" \"n\" {\n  communicator = \"none\"\n}\n\
                build {\n  sources = [\"null.n\"]\n  provisioner \"shell-local\" {\n    \
                inline = [\"echo ${data.null.x.output} ${build.ConnType} > told\"]\n  }\n}\n";
    workspace.write("step.pkr.hcl", step);
    workspace.ok(&["validate", "step.pkr.hcl"]);
    workspace.ok(&["build", "step.pkr.hcl"]);
    assert_eq!(workspace.read("told"), "asked none\n");
}

#[test]
fn files_are_laid_out() {
    let ugly = "locals {\n a=1\n  long   = 2\n}\n";
    let fine = "locals {\n  a    = 1\n  long = 2\n}\n";
    let workspace =
        files(&[("b.pkr.hcl", ugly), ("sub/c.pkrvars.hcl", "a=1\n"), (".d.pkr.hcl", ugly), ("e.hcl", ugly)]);
    assert_eq!(packer(&workspace, &["fmt", "-"], ugly).stdout, fine);
    let checked = packer(&workspace, &["fmt", "-check", "."], "");
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(3), "b.pkr.hcl\n"));
    let shown = packer(&workspace, &["fmt", "-write=false", "-diff", "b.pkr.hcl"], "");
    has(&shown, &["--- old/b.pkr.hcl\n+++ new/b.pkr.hcl\n", "\n- a=1\n"]);
    assert_eq!(workspace.read("b.pkr.hcl"), ugly);
    assert_eq!(packer(&workspace, &["fmt", "-recursive", "."], "").stdout, "b.pkr.hcl\nsub/c.pkrvars.hcl\n");
    assert_eq!(workspace.read("b.pkr.hcl"), fine);
    assert_eq!(workspace.read("sub/c.pkrvars.hcl"), "a = 1\n");
    assert_eq!((workspace.read(".d.pkr.hcl"), workspace.read("e.hcl")), (ugly.to_owned(), ugly.to_owned()));
    let again = packer(&workspace, &["fmt", "-check", "-recursive", "."], "");
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));
    workspace.write("bad.pkr.hcl", "a = \n");
    let bad = packer(&workspace, &["fmt", "bad.pkr.hcl"], "");
    assert_eq!(bad.code, Some(1));
    has(&bad, &["on bad.pkr.hcl line 1:"]);
}

const LEGACY: &str = r#"{
  "variables": {"name": "old", "token": null},
  "sensitive-variables": ["token"],
  "builders": [{"type": "file", "name": "one", "target": "{{user `name`}}.txt", "content": "from {{build_name}}"}],
  "provisioners": [{"type": "shell-local", "inline": ["echo with {{user `token`}} >> trace"]}],
  "post-processors": [[{"type": "checksum", "checksum_types": ["sha256"], "output": "sums"}, "manifest"]]
}"#;

#[test]
fn templates_in_json_are_fixed_upgraded_and_built() {
    let workspace = files(&[("t.json", LEGACY)]);
    let said = workspace.fails(1, &["validate", "t.json"]);
    has(&said, &["the variable `token` has no value"]);
    let var = ["-var", "token=t0ps3cret"];
    workspace.ok(&["validate", var[0], var[1], "t.json"]);
    has(&workspace.ok(&["inspect", "t.json"]), &["Packer Inspect: JSON mode", "one (file)"]);
    let fixed = workspace.ok(&["fix", "t.json"]).stdout;
    assert!(serde_json::from_str::<serde_json::Value>(&fixed).is_ok(), "{fixed}");
    let said = workspace.ok(&["build", var[0], var[1], "t.json"]);
    has(&said, &["==> file.one: Running post-processor: checksum", "--> file.one: Stored file: old.txt"]);
    has_not(&said, &["t0ps3cret"]);
    assert_eq!(workspace.read("old.txt"), "from one");
    assert_eq!(workspace.read("trace"), "with t0ps3cret\n");
    assert!(workspace.read("sums").ends_with("\told.txt\n"));
    workspace.ok(&["hcl2_upgrade", "-output-file=new.pkr.hcl", "t.json"]);
    workspace.ok(&["validate", var[0], var[1], "new.pkr.hcl"]);
    workspace.ok(&["fmt", "-check", "new.pkr.hcl"]);
}

#[test]
fn a_second_build_runs_nothing_and_makes_everything() {
    let workspace = files(&[(
        "t.pkr.hcl",
        r#"
variable "token" {
  default   = "s3cr3t-token"
  sensitive = true
}
variable "word" { default = "one" }
source "null" "n" { communicator = "none" }
source "file" "f" {
  target  = "out/f.txt"
  content = "${var.word} ${var.token}"
}
build {
  sources = ["null.n", "file.f"]
  provisioner "shell-local" {
    inline = ["echo $PACKER_BUILD_NAME $PACKER_BUILDER_TYPE ${var.token} >> trace", "echo said ${var.token}"]
  }
  post-processor "checksum" {
    only           = ["file.f"]
    checksum_types = ["sha256"]
    output         = "out/{{.BuildName}}.{{.ChecksumType}}"
  }
  post-processor "compress" {
    only                = ["file.f"]
    output              = "out/{{.BuildName}}.tar.gz"
    keep_input_artifact = true
  }
}
"#,
    )]);
    let first = workspace.ok(&["build", "t.pkr.hcl"]);
    has(
        &first,
        &[
            "==> null.n: said <sensitive>",
            "Build 'file.f' finished after",
            "--> file.f: Stored file: out/f.txt",
        ],
    );
    has_not(&first, &["s3cr3t-token"]);
    let mut lines: Vec<_> = workspace.read("trace").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["f file s3cr3t-token", "n null s3cr3t-token"]);
    assert!(workspace.read("out/f.sha256").ends_with("\tf.txt\n"));

    fs_err::remove_dir_all(workspace.root().join("out")).unwrap();
    let second = workspace.ok(&["build", "t.pkr.hcl"]);
    has(&second, &["==> null.n: shell-local: not run again, nothing changed (1 step cached"]);
    assert_eq!(workspace.read("trace").lines().count(), 2);
    assert_eq!(workspace.read("out/f.txt"), "one s3cr3t-token");
    assert!(workspace.has("out/f.tar.gz"));

    // Nothing that the plan says, and nothing that is kept, tells the secret.
    let plan = workspace.ok(&["build", "-explain", "t.pkr.hcl"]);
    has(&plan, &["null.n: 0 of 2 steps run"]);
    has_not(&plan, &["s3cr3t-token"]);

    // Another secret is another script.
    let third = workspace.ok(&["build", "-var", "token=an0ther-token", "-only=null.*", "t.pkr.hcl"]);
    has(&third, &["==> null.n: said <sensitive>"]);
    has_not(&third, &["file.f", "an0ther-token"]);
    assert_eq!(workspace.read("trace").lines().count(), 3);
}

/// A template of images that stand on a static shell.
const IMAGES: &str = r#"
source "rootfs" "web" {
  tarball    = "out/web.tar"
  oci_layout = "out/web.oci"
  entrypoint = ["/bin/cat", "/greeting"]
}
source "rootfs" "above" {
  base_tarball = "out/web.tar"
  tarball      = "out/above.tar"
}
source "file" "sums" {
  source = "out/sums.txt"
  target = "out/sums.copy"
}
build {
  name    = "all"
  sources = ["rootfs.web"]
  provisioner "file" {
    source      = "busybox/"
    destination = "/"
  }
  provisioner "file" {
    content     = "root:x:0:0:root:/root:/bin/sh\n"
    destination = "/etc/passwd"
  }
  provisioner "shell" {
    inline = ["echo hello from $PACKER_BUILD_NAME > /greeting"]
  }
  provisioner "shell" {
    execute_command = "chmod +x {{ .Path }}; env {{ .Vars }} sh -eu '{{ .Path }}'"
    script          = "two.sh"
    env             = { WORD = "it's two" }
  }
  provisioner "file" {
    direction   = "download"
    source      = "/greeting"
    destination = "out/greeting"
  }
  provisioner "shell-local" { inline = ["cat out/greeting >> trace"] }
  post-processor "checksum" {
    checksum_types = ["sha256"]
    output         = "out/sums.txt"
  }
}
build {
  sources = ["rootfs.above"]
  provisioner "shell" { inline = ["cat /greeting", "echo above > /above"] }
}
build { sources = ["file.sums"] }
"#;

#[test]
fn an_image_is_built_in_cached_steps_and_another_stands_on_it() {
    let workspace = files(&[("t.pkr.hcl", IMAGES), ("two.sh", "echo \"$WORD\" >> /greeting\n")]);
    if busybox(&workspace).is_none() {
        return;
    }
    workspace.ok(&["validate", "t.pkr.hcl"]);
    let first = workspace.ok(&["build", "t.pkr.hcl"]);
    has(
        &first,
        &[
            "==> all.rootfs.web: Uploading busybox => /",
            "==> rootfs.above: hello from web",
            "==> rootfs.above: it's two",
            "--> all.rootfs.web: Image files: out/web.oci, out/web.tar",
        ],
    );
    assert_eq!(workspace.read("out/greeting"), "hello from web\nit's two\n");
    assert_eq!(workspace.read("trace"), "hello from web\nit's two\n");
    // What a post-processor writes is waited for as an artifact is.
    assert_eq!(workspace.read("out/sums.copy"), workspace.read("out/sums.txt"));

    fs_err::remove_dir_all(workspace.root().join("out")).unwrap();
    let second = workspace.ok(&["build", "t.pkr.hcl"]);
    has(
        &second,
        &["file, file, shell, shell, file and 1 more: not run again, nothing changed (6 steps cached"],
    );
    has(&second, &["==> rootfs.above: shell: not run again"]);
    assert!(workspace.has("out/web.oci/index.json") && workspace.has("out/above.tar"));
    assert_eq!(workspace.read("out/greeting"), "hello from web\nit's two\n");
    assert_eq!(workspace.read("trace").lines().count(), 2);

    // A script that leaves the same does not move what stands on it.
    workspace.write("two.sh", "echo \"$WORD\" >> /greeting # as before\n");
    let plan = workspace.ok(&["plan", "t.pkr.hcl"]);
    has(&plan, &["run     shell two.sh: input script two.sh changed", "cached  file /"]);
    let third = workspace.ok(&["build", "t.pkr.hcl"]);
    has(
        &third,
        &["==> all.rootfs.web: Provisioning with shell: two.sh", "==> rootfs.above: shell: not run again"],
    );
    // A command on the host runs whenever something before it has.
    assert_eq!(workspace.read("trace").lines().count(), 4);
}

#[test]
fn a_chain_goes_on_where_a_file_may_fail_and_variables_come_as_the_template_says() {
    let template = r#"
source "rootfs" "web" { tarball = "out/web.tar" }
build {
  sources = ["rootfs.web"]
  provisioner "file" {
    source      = "busybox/"
    destination = "/"
  }
  provisioner "file" {
    direction         = "download"
    source            = "/gone"
    destination       = "out/gone"
    continue_on_error = true
  }
  provisioner "file" {
    source            = "out/never-made"
    destination       = "/never"
    generated         = true
    continue_on_error = true
  }
  provisioner "shell" {
    use_env_var_file = true
    env_var_format   = "export %s='<%s>'\n"
    env              = { WORD = "hello" }
    inline           = ["echo $WORD; ls / | grep -c never || true"]
  }
}
"#;
    let workspace = files(&[("t.pkr.hcl", template)]);
    if busybox(&workspace).is_none() {
        return;
    }
    let said = workspace.ok(&["build", "t.pkr.hcl"]);
    has(
        &said,
        &[
            "==> rootfs.web: <hello>",
            "==> rootfs.web: 0",
            "never-made` is not there, and no step before",
            "continue_on_error is set; continuing the build",
        ],
    );
    assert!(workspace.has("out/web.tar") && !workspace.has("out/gone"));
}

#[test]
fn what_is_locked_holds_in_another_folder_too() {
    let workspace = files(&[("one/t.pkr.hcl", IMAGES), ("one/two.sh", "echo \"$WORD\" >> /greeting\n")]);
    if busybox(&workspace).is_none() {
        return;
    }
    let build = |folder: &str, flag: &str| {
        let mut command = workspace.command(&["build", flag, "-only=all.rootfs.web", "t.pkr.hcl"]);
        let busybox = workspace.root().join(folder).join("busybox");
        if !busybox.exists() {
            std::os::unix::fs::symlink(workspace.root().join("busybox"), busybox).unwrap();
        }
        said(&command.current_dir(workspace.root().join(folder)).output().unwrap())
    };
    let refused = build("one", "-locked");
    assert_eq!(refused.code, Some(1));
    has(&refused, &["does not say what `epoch of //:all.rootfs.web linux/", "build once with `-lock`"]);
    assert!(!workspace.has("one/imgbuild.lock"));

    assert_eq!(build("one", "-lock").code, Some(0));
    let locked = workspace.read("one/imgbuild.lock");
    assert!(locked.contains("\"//:all.rootfs.web linux/"), "{locked}");
    for name in ["t.pkr.hcl", "two.sh", "imgbuild.lock"] {
        workspace.write(&format!("two/{name}"), &workspace.read(&format!("one/{name}")));
    }
    let second = build("two", "-locked");
    has(&second, &["file, file, shell, shell, file: not run again, nothing changed"]);
    assert_eq!(workspace.read("two/imgbuild.lock"), locked);
}

#[test]
fn a_template_is_carried_over_to_starlark() {
    let template = IMAGES.split("source \"rootfs\" \"above\"").next().unwrap().to_owned()
        + r#"build {
          sources = ["rootfs.web"]
          provisioner "file" {
            source      = "busybox/"
            destination = "/"
          }
          provisioner "file" {
            content     = "root:x:0:0:root:/root:/bin/sh\n"
            destination = "/etc/passwd"
          }
          provisioner "shell" { inline = ["echo hello from $PACKER_BUILD_NAME > /greeting"] }
        }"#;
    let workspace = files(&[("t.pkr.hcl", &template)]);
    if busybox(&workspace).is_none() {
        return;
    }

    let shown = workspace.ok(&["migrate", "-output-file=-", "t.pkr.hcl"]);
    assert!(shown.stdout.starts_with("# What every script of a template gets."), "{}", shown.stdout);
    assert!(!workspace.has("BUILD.star"));
    let said = workspace.ok(&["migrate", "t.pkr.hcl"]);
    has(&said, &["Wrote BUILD.star", "rootfs.web is //:web now"]);
    assert_eq!(workspace.read("BUILD.star"), shown.stdout);

    let again = workspace.run(&["migrate", "t.pkr.hcl"]);
    assert_eq!(again.code, Some(1));
    has(&again, &["is there already", "`-force` replaces it"]);
    workspace.ok(&["migrate", "-force", "t.pkr.hcl"]);

    // The image is that of the template, and says the same.
    workspace.ok(&["build", "t.pkr.hcl"]);
    let built = workspace.ok(&["//:web"]);
    assert!(
        built.stderr.contains("//:web (linux/") && built.stderr.contains("is up to date (7 cached)"),
        "{}",
        built.stderr
    );
    let said = workspace.ok(&["run", "//:web", "--", "cat", "/greeting"]);
    assert_eq!(said.stdout, "hello from web\n");

    workspace.write("other.pkr.hcl", GOOD);
    let refused = workspace.run(&["migrate", "-output-file=out/BUILD.star", "other.pkr.hcl"]);
    assert_eq!(refused.code, Some(1));
    has(&refused, &["no build of this template can be carried over"]);
    assert!(!workspace.has("out/BUILD.star"));
}

#[test]
fn a_build_that_waits_for_another_gets_its_secrets_too() {
    let workspace = files(&[(
        "t.pkr.hcl",
        r#"
variable "token" {
  default   = "l4te-s3cret"
  sensitive = true
}
source "file" "first" {
  target  = "first.txt"
  content = "x"
}
source "file" "second" {
  source = "first.txt"
  target = "second.txt"
}
build { sources = ["file.first"] }
build {
  sources = ["file.second"]
  provisioner "shell-local" { inline = ["echo ${var.token} > trace", "echo ${base64encode(var.token)}"] }
}
"#,
    )]);
    let said = workspace.ok(&["build", "t.pkr.hcl"]);
    assert_eq!(workspace.read("trace"), "l4te-s3cret\n");
    has(&said, &["==> file.second: <sensitive>"]);
    assert_eq!(workspace.read("second.txt"), "x");
    workspace.ok(&["cache", "verify"]);
    workspace.ok(&["cache", "gc"]);
    has(&workspace.ok(&["build", "t.pkr.hcl"]), &["==> file.second: shell-local: not run again"]);
}

#[test]
fn sensitive_texts_are_given_to_steps_and_are_no_names() {
    let workspace = files(&[
        (
            "t.pkr.hcl",
            r#"
variable "place" {
  default   = "staging"
  sensitive = true
}
source "file" "f" {
  target  = "out/${var.place}.txt"
  content = "x"
}
build {
  sources = ["file.f"]
  provisioner "shell-local" {
    environment_vars = ["PLACE=${var.place}", "B=1"]
    inline           = ["echo $PLACE$B >> trace"]
  }
  provisioner "shell-local" { script = "staging.sh" }
}
"#,
        ),
        ("staging.sh", "#!/bin/sh\necho script >> trace\n"),
        (
            "bad.pkr.hcl",
            "source \"null\" \"n\" { communicator = \"none\" }\nbuild {\n  sources = [\"null.n\"]\n  provisioner \"shell-local\" {\n    environment_vars = [\"FOO\"]\n    inline = [\"true\"]\n  }\n}\n",
        ),
    ]);
    use std::os::unix::fs::PermissionsExt as _;
    let script = workspace.root().join("staging.sh");
    fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    workspace.ok(&["build", "t.pkr.hcl"]);
    assert_eq!(workspace.read("out/staging.txt"), "x");
    assert_eq!(workspace.read("trace"), "staging1\nscript\n");
    has(
        &workspace.fails(1, &["validate", "bad.pkr.hcl"]),
        &["`FOO` in `environment_vars` is no `NAME=value`"],
    );
}

#[test]
fn the_same_commands_elsewhere_are_others() {
    let template = "source \"null\" \"n\" { communicator = \"none\" }\nbuild {\n  sources = [\"null.n\"]\n  provisioner \"shell-local\" { inline = [\"echo x >> trace\"] }\n}\n";
    let workspace = files(&[("a/t.pkr.hcl", template), ("b/t.pkr.hcl", template)]);
    for folder in ["a", "b", "a"] {
        let output = workspace
            .command(&["build", "t.pkr.hcl"])
            .current_dir(workspace.root().join(folder))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!((workspace.read("a/trace"), workspace.read("b/trace")), ("x\n".to_owned(), "x\n".to_owned()));
}

#[test]
fn a_command_line_knows_the_templates_functions() {
    let workspace = files(&[(
        "t.json",
        r#"{
  "variables": {"p": "pass"},
  "builders": [{"type": "null", "communicator": "none"}],
  "provisioners": [{
    "type": "shell-local",
    "execute_command": ["/bin/sh", "-c", "echo {{user `p`}} {{build_name}} > trace; {{.Vars}} {{.Script}}"],
    "inline": ["echo script >> trace"]
  }]
}"#,
    )]);
    workspace.ok(&["build", "t.json"]);
    assert_eq!(workspace.read("trace"), "pass null\nscript\n");
    workspace.ok(&["build", "-var", "p=word", "t.json"]);
    assert_eq!(workspace.read("trace"), "word null\nscript\n");
}

#[test]
fn a_plan_warns_of_what_the_build_warns_of() {
    let workspace = files(&[(
        "t.pkr.hcl",
        r#"
source "null" "n" { communicator = "none" }
build {
  sources = ["null.n"]
  provisioner "shell-local" {
    only_on = ["windows"]
    inline  = ["exit 1"]
  }
}
"#,
    )]);
    for words in [&["validate"][..], &["plan"], &["build", "-plan"], &["build", "-explain"], &["build"]] {
        let said = workspace.ok(&[words, &["t.pkr.hcl"]].concat());
        has(&said, &["Warning: `shell-local` is passed over: it is for windows"]);
    }
}

#[test]
fn what_fails_stops_its_build_and_no_other() {
    let workspace = files(&[
        (
            "t.pkr.hcl",
            r#"
source "null" "good" { communicator = "none" }
source "null" "bad" { communicator = "none" }
build {
  sources = ["null.good", "null.bad"]
  provisioner "shell-local" {
    inline       = ["test $PACKER_BUILD_NAME = good || { echo x >> tries; exit 7; }"]
    max_retries  = 2
  }
  provisioner "shell-local" {
    inline            = ["exit 9"]
    continue_on_error = true
  }
  provisioner "sleep" {
    duration          = "1h"
    timeout           = "1s"
    continue_on_error = true
  }
  provisioner "shell-local" {
    inline           = ["exit 3"]
    valid_exit_codes = [3]
  }
}
"#,
        ),
        (
            "machine.pkr.hcl",
            "source \"null\" \"n\" { communicator = \"none\" }\nbuild {\n  sources = [\"null.n\"]\n  provisioner \"shell\" { inline = [\"true\"] }\n  provisioner \"file\" {\n    source = \"gone\"\n    destination = \"/x\"\n  }\n}\n",
        ),
    ]);
    let said = workspace.fails(1, &["build", "-parallel-builds=1", "t.pkr.hcl"]);
    has(
        &said,
        &[
            "Build 'null.good' finished after",
            "Build 'null.bad' errored after",
            "==> Some builds didn't complete successfully and had errors:",
            "--> null.bad:",
            "exit code 7",
            "--> null.good: Did not export anything. This is the null builder",
        ],
    );
    assert_eq!(workspace.read("tries"), "x\nx\nx\n");
    let said = workspace.fails(1, &["validate", "machine.pkr.hcl"]);
    has(&said, &["`shell` needs a machine, and this build has none", "on machine.pkr.hcl line 4:"]);
}

#[test]
fn builds_that_wait_for_each_other_are_refused() {
    let workspace = files(&[(
        "t.pkr.hcl",
        r#"
source "file" "a" {
  source = "b.txt"
  target = "a.txt"
}
source "file" "b" {
  source = "a.txt"
  target = "b.txt"
}
build { sources = ["file.a", "file.b"] }
"#,
    )]);
    let said = workspace.fails(1, &["validate", "t.pkr.hcl"]);
    has(&said, &["builds wait for each other's artifacts"]);
}

#[test]
fn hints_say_what_was_meant() {
    let workspace = files(&[
        (
            "sub/t.pkr.hcl",
            "source \"file\" \"x\" {\n  target  = \"x\"\n  content = file(\"${path.root}/a.txt\")\n}\nbuild {\n  sources = [\"file.x\"]\n}\n",
        ),
        ("sub/a.txt", "a"),
        (
            "ports.pkr.hcl",
            "source \"rootfs\" \"x\" {\n  expose = [\"80\", \"53/udp\", \"http\", \"0\"]\n}\nbuild {\n  sources = [\"rootfs.x\"]\n}\n",
        ),
    ]);
    let said = workspace.fails(1, &["validate", "sub"]);
    has(
        &said,
        &[
            "sub/a.txt` is there: relative paths start in the template's folder, so `${path.root}/` is too much",
        ],
    );
    let said = workspace.fails(1, &["validate", "ports.pkr.hcl"]);
    has(&said, &["`http` is not a port", "`0` is not a port", "on ports.pkr.hcl line 2:", "as `53/udp`"]);
    has_not(&said, &["`80` is not", "`53/udp` is not"]);
}
