//! Templates against the functions and schemas of this program.

use std::sync::Arc;

use imgbuild_packer::template::{Components, Inputs, Loaded, read};
use imgbuild_packer_functions::{Host, LocalHost};

use crate::support::{Memory, dump, told};

fn load(name: &str, text: &str) -> Loaded {
    let host = |root: &str| -> Arc<dyn Host> { Arc::new(LocalHost::new(format!("/templates/{root}"))) };
    let files = Memory([(name.to_owned(), text.to_owned())].into());
    read(&[name.to_owned()], &Inputs::default(), &files, &Components(host))
}

#[test]
fn a_good_template_has_nothing_to_tell() {
    let loaded = load(
        "a.pkr.hcl",
        r#"
variable "names" { default = ["b", "a"] }
locals {
  sorted = join(",", sort(var.names))
  sum    = sha256("x")
}
data "null" "d" { input = local.sorted }
source "file" "x" {
  target  = "${local.sorted}.txt"
  content = data.null.d.output
}
build {
  sources = ["file.x"]
  provisioner "shell-local" {
    inline       = ["echo ${build.ID}"]
    pause_before = "1s"
  }
  post-processor "checksum" {
    checksum_types      = ["sha256"]
    keep_input_artifact = true
  }
}
"#,
    );
    assert_eq!(told(&loaded), "");
    let dump = dump(&loaded.template);
    assert!(
        dump.contains("local.sorted = \"a,b\"\n") && dump.contains("needs null {input = \"a,b\"}\n"),
        "{dump}"
    );
}

#[test]
fn settings_are_checked_where_they_stand() {
    let text = r#"
source "file" "x" {
  target = ["x"]
  conten = "y"
}
build {
  sources = ["file.x"]
  provisioner "shell-local" {
    inline = ["x", { a = 1 }]
    env    = { A = ["b"] }
  }
  post-processor "checksum" {
    checksum_type = ["md5"]
  }
}
"#;
    assert_eq!(
        told(&load("a.pkr.hcl", text)),
        "error: a.pkr.hcl:3:12: `target`: expected string, got list\n\
         error: a.pkr.hcl:4:3: builder `file` has no attribute or block `conten`; hint: did you mean `content`?\n\
         error: a.pkr.hcl:9:20: `inline[1]`: expected string, got object\n\
         error: a.pkr.hcl:10:20: `env.A`: expected string, got list\n\
         error: a.pkr.hcl:13:5: post-processor `checksum` has no attribute or block `checksum_type`; \
         hint: did you mean `checksum_types`?\n",
    );
}

#[test]
fn kinds_are_known_or_not() {
    let text = r#"
source "nul" "x" {}
source "shell-local" "y" {}
source "mycloud" "z" {}
build { sources = ["nul.x", "shell-local.y", "mycloud.z"] }
"#;
    assert_eq!(
        told(&load("a.pkr.hcl", text)),
        "error: a.pkr.hcl:2:1: there is no builder `nul`; hint: did you mean `null`?\n\
         error: a.pkr.hcl:3:1: there is no builder `shell-local`; hint: `shell-local` is a provisioner\n\
         warning: a.pkr.hcl:4:1: the builder `mycloud` is not known here, so its settings are not checked; \
         hint: real `packer` can run it, if its plugin is installed\n",
    );
}

#[test]
fn blocks_in_json_are_told_by_the_schema() {
    let text = r#"{
  "source": { "file": { "x": { "target": "x", "contents": "y" } } },
  "build": { "sources": ["file.x"] }
}"#;
    assert_eq!(
        told(&load("a.pkr.json", text)),
        "error: a.pkr.json:2:47: builder `file` has no attribute or block `contents`; hint: did you mean `content`?\n",
    );
}

#[test]
fn what_data_sources_answer_has_a_type() {
    let loaded =
        load("a.pkr.hcl", "data \"null\" \"a\" { input = \"x\" }\nlocals { b = data.null.a.outptu }\n");
    let told = told(&loaded);
    assert!(told.starts_with("error: a.pkr.hcl:2:25: this object has no attribute `outptu`"), "{told}");
}
