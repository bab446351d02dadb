//! Values as the console shows them.

use imgbuild_packer::template::{Answer, Console, Inputs, inspect, read};

use crate::support::{Memory, Small};

const TEMPLATE: &str = r#"
variable "name" { default = "web" }
variable "token" {
  default   = "s3cr3t\nsecond line"
  sensitive = true
}
variable "unset" {}
locals {
  tags = { b = [1, true, null], a = "x\"y", gone = null }
  told = "token: ${upper(var.token)}"
}
"#;

fn answers(lines: &[&str]) -> Vec<String> {
    let files = Memory([("t.pkr.hcl".to_owned(), TEMPLATE.to_owned())].into());
    let loaded = read(&["t.pkr.hcl".to_owned()], &Inputs::default(), &files, &Small);
    let console = Console::new(&loaded.template);
    let answer = |line: &&str| match console.answer(line) {
        Ok(Answer::Text(text)) => text,
        Ok(Answer::Exit) => "exit".to_owned(),
        Err(errors) => format!("error: {errors}"),
    };
    lines.iter().map(answer).collect()
}

#[test]
fn values_have_the_form_of_other_tools() {
    for (line, expected) in [
        ("var.name", "web"),
        ("\"a\\nb\"", "a\nb"),
        ("local.tags", "{\n  \"a\" = \"x\\\"y\"\n  \"b\" = [\n    1,\n    true,\n    null,\n  ]\n}"),
        ("[]", "[]"),
        ("{}", "{}"),
        ("{a = null}", "{}"),
        ("null", "null"),
        ("1e30", "1e+30"),
        ("12345678901234567890123", "1.2345678901234568e+22"),
        ("1/3", "0.3333333333333333"),
        ("-0.5", "-0.5"),
        ("[\"é\\t\\u0001\\u200b\"]", "[\n  \"é\\t\\x01\\u200b\",\n]"),
        ("var.unset", "<unknown>"),
        ("[var.unset]", "<unknown>"),
        ("", ""),
        (" exit ", "exit"),
        ("path.root", "."),
        ("packer.version", "1.16.0"),
    ] {
        assert_eq!(answers(&[line]), [expected], "{line}");
    }
}

#[test]
fn what_is_sensitive_is_not_shown_nor_what_is_made_of_it() {
    assert_eq!(
        answers(&["var.token", "local.told", "[var.token]", "length(var.token)", "\"s3cr3t\""]),
        ["<sensitive>", "<sensitive>", "[\n  <sensitive>,\n]", "<sensitive>", "<sensitive>"],
    );
    let variables = &answers(&["variables"])[0];
    assert!(!variables.contains("s3cr3t") && !variables.contains("S3CR3T"), "{variables}");
}

#[test]
fn mistakes_are_told() {
    assert_eq!(
        answers(&["var.nme", "1 +", "nope(1)", "toset([1])", "local.tag"]),
        [
            "error: console:1:1: there is no variable named `nme`; hint: did you mean `var.name`?",
            "error: console:1:4: expected an expression, found the end of the file",
            "error: console:1:1: there is no function named `nope`",
            "error: console:1:1: there is no function named `toset`; hint: here it is written `convert(…, set(any))`",
            "error: console:1:1: there is no local named `tag`; hint: did you mean `local.tags`?",
        ],
    );
}

#[test]
fn a_text_is_masked_as_a_whole_and_line_by_line() {
    let files = Memory([("t.pkr.hcl".to_owned(), TEMPLATE.to_owned())].into());
    let mask = read(&["t.pkr.hcl".to_owned()], &Inputs::default(), &files, &Small).template.mask();
    assert_eq!(mask.apply("a s3cr3t\nsecond line b"), "a <sensitive> b");
    assert_eq!(mask.apply("<second line> S3CR3T"), "<<sensitive>> S3CR3T");
    assert_eq!(mask.apply("token: S3CR3T"), "<sensitive>");
    assert_eq!(mask.apply("nothing"), "nothing");
}

#[test]
fn inspection_shows_all_of_a_template_even_with_errors() {
    let files = Memory([("t.pkr.hcl".to_owned(), TEMPLATE.to_owned())].into());
    let loaded = read(&["t.pkr.hcl".to_owned()], &Inputs::default(), &files, &Small);
    assert!(loaded.has_errors());
    let text = inspect(&loaded.template);
    assert!(
        text.contains("var.unset: \"<unknown>\"\n") && text.contains("var.token: \"<sensitive>\"\n"),
        "{text}"
    );
}
