//! What a target's attributes are after loading.

use imgbuild_model::AttributeValue;

use crate::workspace::{Workspace, show};

fn display(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Concrete(value) => show(value),
        AttributeValue::Sum(parts) => parts.iter().map(display).collect::<Vec<_>>().join(" + "),
        AttributeValue::Select(branches) => {
            let branches = branches.iter().map(|branch| {
                let condition = branch.condition.as_ref().map_or("default".to_owned(), ToString::to_string);
                format!("{condition}: {}", show(&branch.value))
            });
            format!("select({{{}}})", branches.collect::<Vec<_>>().join(", "))
        }
    }
}

fn attributes(files: &[(&str, &str)], label: &str) -> Vec<String> {
    let target = Workspace::new(files).target(label);
    target.attributes.iter().map(|(name, value)| format!("{name} = {}", display(value))).collect()
}

#[test]
fn what_is_not_given_has_the_rule_s_default() {
    assert_eq!(
        attributes(&[("p/BUILD.star", "image(name = \"i\", tags = [\"a\"])\n")], "//p:i"),
        [
            "source = None",
            "base = None",
            "steps = []",
            "exports = None",
            "tests = []",
            "platforms = []",
            "tags = [\"a\"]"
        ]
    );
}

#[test]
fn sums_with_choices_keep_their_order() {
    let text = r#"
filegroup(
    name = "g",
    srcs = ["a"] + select({":c": ["b"], "//conditions:default": None}) + [":d"] + select({"//x": ["//y:z"]}),
)
genrule(
    name = "r",
    cmd = "a" + select({":c": "b"}),
    outs = ["o"],
    env = select({":c": {"A": "b"}}),
)
"#;
    assert_eq!(
        attributes(&[("p/BUILD.star", text)], "//p:g")[0],
        "srcs = [//p:a] + select({//p:c: [//p:b], default: []}) + [//p:d] + select({//x:x: [//y:z]})"
    );
    let rule = attributes(&[("p/BUILD.star", text)], "//p:r");
    assert_eq!(rule[1], "cmd = \"a\" + select({//p:c: \"b\"})");
    assert_eq!(rule[4], "env = select({//p:c: {A: \"b\"}})");
}

#[test]
fn labels_are_relative_to_the_package_that_is_evaluated() {
    let files = [
        (
            "p/BUILD.star",
            "load(\"//lib/a.star\", \"m\", \"CONST\")\nimage(name = \"i\", steps = [m()] + CONST)\n",
        ),
        (
            "lib/a.star",
            "def m():\n    return file([\"here.txt\", \":t\", \"//q:x\"], \"/a/\")\nCONST = [file(\"there.txt\", \"/b\")]\n",
        ),
    ];
    let attributes = attributes(&files, "//p:i");
    assert_eq!(
        attributes[2],
        "steps = [file(src=[//p:here.txt, //p:t, //q:x], dest=\"/a/\"), file(src=[//lib:there.txt], dest=\"/b\")]"
    );
    let target = Workspace::new(&files).target("//p:i");
    let mut places = Vec::new();
    if let Some(AttributeValue::Concrete(steps)) = target.attribute("steps") {
        for step in steps.as_list().unwrap() {
            if let imgbuild_model::Value::Step(step) = step {
                places.push(step.location.to_string());
            }
        }
    }
    assert_eq!(places, ["p/BUILD.star:2:28", "lib/a.star:3:10"]);
    assert_eq!(target.location.to_string(), "p/BUILD.star:2:1");
    assert_eq!((target.location.end_line, target.location.end_column), (2, 41));
}

#[test]
fn each_type_of_attribute_takes_its_values() {
    let lib = r#"
def _impl(ctx):
    return []
Info = provider(fields = ["x"])
every = rule(
    implementation = _impl,
    attrs = {
        "string": attrs.string(default = "s"),
        "int": attrs.int(),
        "bool": attrs.bool(),
        "list": attrs.list(attrs.int(), default = [1]),
        "dict": attrs.dict(attrs.string(), attrs.label()),
        "label": attrs.label(providers = [Info], default = "//x:y"),
        "labels": attrs.label_list(),
        "source": attrs.source(default = "near.txt"),
        "sources": attrs.source_list(),
        "output": attrs.output(),
        "step": attrs.step(),
        "steps": attrs.steps(),
        "chain": attrs.source_value(),
        "platforms": attrs.platforms(),
        "any": attrs.any(default = {"a": [1, None]}),
    },
)
"#;
    let defaults = attributes(
        &[("lib/r.star", lib), ("p/BUILD.star", "load(\"//lib/r.star\", \"every\")\nevery(name = \"e\")\n")],
        "//p:e",
    );
    assert_eq!(
        defaults,
        [
            "string = \"s\"",
            "int = 0",
            "bool = false",
            "list = [1]",
            "dict = {}",
            "label = //x:y",
            "labels = []",
            "source = //lib:near.txt",
            "sources = []",
            "output = None",
            "step = None",
            "steps = []",
            "chain = None",
            "platforms = []",
            "any = {a: [1, None]}",
            "tags = []",
        ]
    );
    let build = r#"
load("//lib/r.star", "every")
every(
    name = "e", string = "t", int = -3, bool = True, list = [2, 3], dict = {"k": ":l"}, label = "l", labels = ["m", "//n"],
    source = "o.txt", sources = glob(["*.txt"]), output = "bin/p", step = oci(layers = 3), steps = [run_as("u")],
    chain = scratch(), platforms = ["arm64", "linux/amd64"], any = struct(a = (1, "b")),
)
"#;
    let given = attributes(&[("lib/r.star", lib), ("p/BUILD.star", build), ("p/q.txt", "")], "//p:e");
    assert_eq!(
        given,
        [
            "string = \"t\"",
            "int = -3",
            "bool = true",
            "list = [2, 3]",
            "dict = {k: //p:l}",
            "label = //p:l",
            "labels = [//p:m, //n:n]",
            "source = //p:o.txt",
            "sources = [//p:q.txt]",
            "output = \"bin/p\"",
            "step = oci(layers=\"3\")",
            "steps = [run_as(user=\"u\")]",
            "chain = scratch()",
            "platforms = [\"linux/arm64\", \"linux/amd64\"]",
            "any = struct(a: [1, \"b\"])",
            "tags = []",
        ]
    );
}

#[test]
fn the_conditions_of_a_setting_have_one_spelling() {
    let text = "config_setting(name = \"c\", values = {\"arch\": \"aarch64\", \"platform\": \"arm64\", \"mode\": \"debug\"})\n";
    assert_eq!(
        attributes(&[("p/BUILD.star", text)], "//p:c")[0],
        "values = {arch: \"arm64\", platform: \"linux/arm64\", mode: \"debug\"}"
    );
    let target = Workspace::new(&[("p/BUILD.star", text)]).target("//p:c");
    assert_eq!(target.rule, imgbuild_starlark::config_setting());
}
