//! Every message that a user can meet while a package is loaded: place, words, hint.

use imgbuild_model::{Class, Pattern, Visibility};

use crate::workspace::{Workspace, build_error};

/// Checks messages of one-file workspaces, and tells all that differ together.
fn check(cases: &[(&str, &str)]) {
    let differ = cases.iter().filter_map(|(text, message)| {
        let error = build_error(text);
        (error != *message).then(|| format!("{text}\n  is: {error}\n  should be: {message}\n"))
    });
    let differ = differ.collect::<String>();
    assert!(differ.is_empty(), "{differ}");
}

#[test]
fn what_is_missing_or_unknown() {
    check(&[
        ("imgae(name = \"x\")\n", "BUILD.star:1:1: variable `imgae` not found; hint: did you mean `image`?"),
        (
            "image(name = \"x\", source = scratch(), setps = [])\n",
            "BUILD.star:1:1: `image` has no attribute `setps`; hint: did you mean `steps`?",
        ),
        (
            "filegroup(name = \"x\", wholly_strange = 1)\n",
            "BUILD.star:1:1: `filegroup` has no attribute `wholly_strange`; \
             hint: it has `name`, `visibility`, `srcs`, `tags`",
        ),
        (
            "\nimage(source = scratch())\n",
            "BUILD.star:2:1: `image` needs a name; hint: write `image(name = \"...\", ...)`",
        ),
        (
            "image(\"x\")\n",
            "BUILD.star:1:1: `image` takes its attributes by name; hint: write `image(name = \"x\")`",
        ),
        (
            "genrule(name = \"x\")\n",
            "BUILD.star:1:1: `genrule` needs the attribute `cmd`; hint: `cmd` is of type string\n\
             BUILD.star:1:1: `genrule` needs the attribute `outs`; hint: `outs` is of type list of name of an output",
        ),
        (
            "x = attrs.strng()\n",
            "BUILD.star:1:5: object of type `namespace` has no attribute `strng`; hint: did you mean `string`?",
        ),
        ("load(\"//lib/none.star\", \"x\")\n", "BUILD.star:1:6: there is no file `lib/none.star`"),
        (
            "load(\"@prelude//imag.star\", \"x\")\n",
            "BUILD.star:1:6: there is no file `@prelude//imag.star`; hint: did you mean `image.star`?",
        ),
        (
            "load(\"@prelude//steps.star\", \"shel\")\n",
            "BUILD.star:1:30: module has no symbol `shel`; hint: did you mean `shell`?",
        ),
        (
            "load(\"lib.star\", \"x\")\nload(\"@other//x.star\", \"y\")\n",
            "BUILD.star:1:6: `lib.star` names no file to load: it begins with none of `//`, `:` and `@prelude//`; \
             hint: write `//folder/file.star`, `:file.star` or `@prelude//file.star`\n\
             BUILD.star:2:6: `@other//x.star` names no file to load: the only other repository is `@prelude`; \
             hint: write `//folder/file.star`, `:file.star` or `@prelude//file.star`",
        ),
    ]);
}

#[test]
fn steps_and_sources_against_their_schemas() {
    check(&[
        (
            "x = [\n    shell(\"a\"),\n    shell(\"a\", netwrok = True),\n]\n",
            "BUILD.star:3:5: `shell` has no attribute `netwrok`; hint: did you mean `network`?",
        ),
        (
            "x = shell(\"a\", network = \"yes\")\n",
            "BUILD.star:1:5: attribute `network` of `shell`: expected bool, got string",
        ),
        (
            "x = shell([\"a\", 2])\n",
            "BUILD.star:1:5: attribute `inline` of `shell`: item 2: expected string, got int",
        ),
        ("x = shell()\n", "BUILD.star:1:5: `shell` takes either `inline` or `script`"),
        (
            "x = file(\"a//b\", \"/x\")\n",
            "BUILD.star:1:5: attribute `src` of `file`: `a//b` is not a label: it has an empty path component",
        ),
        (
            "x = file(\"a\", \"/x\", mode = 644)\n",
            "BUILD.star:1:5: attribute `mode` of `file`: the decimal number 644 is probably not the mode that was meant; \
             hint: write `\"0644\"` or `0o644`",
        ),
        (
            "x = file(\"a\", \"/x\", mode = \"rw\")\n",
            "BUILD.star:1:5: attribute `mode` of `file`: `rw` is no mode; \
             hint: write permission bits in octal, for example \"0644\"",
        ),
        (
            "x = shell(\"a\", timeout = \"90\")\n",
            "BUILD.star:1:5: attribute `timeout` of `shell`: `90` is no duration; \
             hint: write for example \"90s\", \"10m\" or \"1h30m\"",
        ),
        (
            "x = systemd_unit(\"a.service\", state = \"enable\")\n",
            "BUILD.star:1:5: attribute `state` of `systemd_unit`: expected \"enabled\" or \"disabled\" or \"masked\", got \"enable\"; \
             hint: did you mean `enabled`?",
        ),
        (
            "x = env({\"PORT\": 80})\n",
            "BUILD.star:1:5: attribute `variables` of `env`: entry `PORT`: expected string, got int; hint: write `\"80\"`",
        ),
        (
            "x = entrypoint(\"nginx\")\n",
            "BUILD.star:1:5: attribute `command` of `entrypoint`: expected list of strings, got string; hint: write `[\"nginx\"]`",
        ),
        (
            "x = apt_install(select({\"//conditions:default\": \"a\"}))\n",
            "BUILD.star:1:5: attribute `packages` of `apt_install`: `select()` cannot stand inside a step; \
             hint: choose between whole steps: `steps = [...] + select({...})`",
        ),
        (
            "x = native.step(\"shel\")\n",
            "BUILD.star:1:5: there is no kind of step called `shel`; hint: did you mean `shell`?",
        ),
        ("x = native.source(\"shell\")\n", "BUILD.star:1:5: `shell` is a kind of step, not of source"),
        ("x = native.step(\"scratch\")\n", "BUILD.star:1:5: `scratch` is a kind of source, not of step"),
        ("x = oci_base()\n", "BUILD.star:1:5: `oci_base` takes either `image` or `layout`"),
        ("x = ubuntu()\n", "BUILD.star:1:5: missing parameter `suite` for call to `ubuntu`"),
    ]);
}

#[test]
fn what_a_step_needs_is_said_with_its_type() {
    let error = build_error("x = file(\"a\")\n");
    assert!(
        error.starts_with(
            "BUILD.star:1:5: `file` needs the attribute `dest`; hint: `dest` is of type string: "
        ),
        "{error}"
    );
}

#[test]
fn what_was_loaded_cannot_be_changed() {
    let workspace =
        Workspace::new(&[("BUILD.star", "load(\"//a.star\", \"x\")\nx.append(1)\n"), ("a.star", "x = []\n")]);
    assert_eq!(workspace.load_error(), "BUILD.star:2:1: immutable");
}

#[test]
fn types_of_attributes() {
    check(&[
        (
            "filegroup(name = 3)\n",
            "BUILD.star:1:1: attribute `name` of `filegroup`: expected string, got int",
        ),
        (
            "filegroup(name = \"a//b\")\n",
            "BUILD.star:1:1: `a//b` is not a target name: it has an empty path component",
        ),
        (
            "filegroup(name = \"x\", srcs = \"a\")\n",
            "BUILD.star:1:1: attribute `srcs` of `filegroup`: expected list of labels of files, got string; hint: write `[\"a\"]`",
        ),
        (
            "filegroup(name = \"x\", srcs = [\"a\", \"//../b\"])\n",
            "BUILD.star:1:1: attribute `srcs` of `filegroup`: item 2: `//../b` is not a label: `.` and `..` are not allowed in it",
        ),
        (
            "image(name = \"x\", source = \"debian\")\n",
            "BUILD.star:1:1: attribute `source` of `image`: expected source, got string",
        ),
        (
            "image(name = \"x\", steps = shell(\"a\"))\n",
            "BUILD.star:1:1: attribute `steps` of `image`: expected list of steps, got step; hint: put it in a list: `[shell(...)]`",
        ),
        (
            "image(name = \"x\", steps = [shell(\"a\"), [shell(\"b\")]])\n",
            "BUILD.star:1:1: attribute `steps` of `image`: item 2: expected step, got list; \
             hint: join lists with `+`: `steps = COMMON + [shell(\"...\")]`",
        ),
        (
            "image(name = \"x\", steps = [oci()])\n",
            "BUILD.star:1:1: attribute `steps` of `image`: item 1: `oci` is no step but an export",
        ),
        (
            "image(name = \"x\", exports = [file_absent(\"/x\")])\n",
            "BUILD.star:1:1: attribute `exports` of `image`: item 1: `file_absent` is no export but a check",
        ),
        (
            "image(name = \"x\", platforms = [\"linux/vax\"])\n",
            "BUILD.star:1:1: attribute `platforms` of `image`: `linux/vax` is not a platform; known are `linux/amd64`, \
             `linux/arm64`, `linux/arm`, `linux/386`, `linux/ppc64le`, `linux/riscv64`, `linux/s390x`",
        ),
        (
            "image(name = \"x\", platforms = select({\"//conditions:default\": []}))\n",
            "BUILD.star:1:1: attribute `platforms` of `image`: `select()` cannot be used here; \
             hint: this attribute is read before choices are made",
        ),
        (
            "genrule(name = \"x\", cmd = \"a\", outs = [\"/etc/x\"])\n",
            "BUILD.star:1:1: attribute `outs` of `genrule`: item 1: `/etc/x` is not the name of an output; \
             hint: write a relative path without `..`, for example `bin/tool`",
        ),
        (
            "genrule(name = \"x\", cmd = \"a\", outs = [\"o\"], env = {\"A\": 1})\n",
            "BUILD.star:1:1: attribute `env` of `genrule`: entry `A`: expected string, got int",
        ),
        (
            "genrule(name = \"x\", cmd = len, outs = [\"o\"])\n",
            "BUILD.star:1:1: attribute `cmd` of `genrule`: a value of type `function` is not data",
        ),
        (
            "config_setting(name = \"x\", values = {\"arch\": \"vax\"})\n",
            "BUILD.star:1:1: attribute `values` of `config_setting`: `vax` is not a platform; known are `linux/amd64`, \
             `linux/arm64`, `linux/arm`, `linux/386`, `linux/ppc64le`, `linux/riscv64`, `linux/s390x`",
        ),
        (
            "filegroup(name = \"x\", visibility = \"//visibility:public\")\n",
            "BUILD.star:1:1: attribute `visibility` of `filegroup`: expected list of string, got string; \
             hint: write `[\"//visibility:public\"]`",
        ),
        (
            "filegroup(name = \"x\", visibility = [\"//a:b\"])\n",
            "BUILD.star:1:1: attribute `visibility` of `filegroup`: `//a:b` is no visibility; hint: write `//visibility:public`, \
             `//visibility:private`, `//a:__pkg__`, `//a:__subpackages__` or `//a/...`",
        ),
    ]);
}

#[test]
fn every_branch_of_a_select_is_checked() {
    check(&[
        (
            "filegroup(name = \"x\", srcs = [\"a\"] + select({\":c\": [\"b\"], \"//conditions:default\": [1]}))\n",
            "BUILD.star:1:1: attribute `srcs` of `filegroup`: branch `//conditions:default`: item 1: expected label of a file, got int",
        ),
        (
            "filegroup(name = \"x\", srcs = select({\"//a::c\": []}))\n",
            "BUILD.star:1:1: attribute `srcs` of `filegroup`: branch `//a::c`: `//a::c` is not a label: it has more than one `:`",
        ),
        (
            "genrule(name = \"x\", cmd = \"c\", outs = [\"o\"], host = select({\":c\": True}) + select({\":d\": True}))\n",
            "BUILD.star:1:1: attribute `host` of `genrule`: values of type bool cannot be joined by `+`",
        ),
        (
            "x = select({})\n",
            "BUILD.star:1:5: `select()` has no branches; \
             hint: write `select({\"//config:arm64\": ..., \"//conditions:default\": ...})`",
        ),
        ("x = select([1])\n", "BUILD.star:1:5: `select()` takes a dict, not list"),
        ("x = select({1: []})\n", "BUILD.star:1:5: the conditions of `select()` are labels, one is `int`"),
        (
            "x = [select({\":a\": 1})]\nfilegroup(name = \"x\", srcs = x)\n",
            "BUILD.star:2:1: attribute `srcs` of `filegroup`: `select()` cannot stand inside another value; \
             hint: choose between whole values: `attribute = [...] + select({...})`",
        ),
    ]);
}

#[test]
fn mistakes_of_one_file_are_told_together() {
    check(&[(
        "filegroup(name = \"a\", src = [])\nfilegroup(name = \"b\")\nfilegroup(name = \"b\")\nfail(\"the end\")\n",
        "BUILD.star:1:1: `filegroup` has no attribute `src`; hint: did you mean `srcs`?\n\
         BUILD.star:3:1: `//:b` is declared twice; first declared here (BUILD.star:2:1); hint: give one of the two another name\n\
         BUILD.star:4:1: the end",
    )]);
}

#[test]
fn package_and_rule_in_their_places() {
    check(&[
        (
            "filegroup(name = \"a\")\npackage(default_visibility = [])\n",
            "BUILD.star:2:1: `package()` stands below a target; hint: move it to the top of the file",
        ),
        (
            "package(default_visibility = [])\npackage(default_visibility = [])\n",
            "BUILD.star:2:1: `package()` is called twice; hint: keep one call, at the top of the file",
        ),
        (
            "def f(ctx):\n    return []\nmy = rule(implementation = f)\n",
            "BUILD.star:3:6: a rule cannot be defined in a `BUILD.star`; hint: define it in a `.star` file and `load()` it",
        ),
        (
            "P = provider(fields = [\"a\"])\n",
            "BUILD.star:1:5: a provider cannot be defined in a `BUILD.star`; hint: define it in a `.star` file and `load()` it",
        ),
    ]);
    let lib = |text: &str| {
        let workspace = Workspace::new(&[("BUILD.star", "load(\"//a.star\", \"x\")\n"), ("a.star", text)]);
        let error = workspace.load_error();
        error.replace("; loaded by `BUILD.star` (BUILD.star:1:6)", "")
    };
    for (text, message) in [
        (
            "filegroup(name = \"x\")\n",
            "a.star:1:1: `filegroup` cannot be called while `//a.star` is loaded; hint: call it in a `BUILD.star`, or in a function \
             that a `BUILD.star` calls; `filegroup` belongs to a package",
        ),
        (
            "x = rule(implementation = 1)\n",
            "a.star:1:5: `implementation` is a function that takes `ctx`, not int",
        ),
        (
            "def f(ctx):\n    return []\nx = rule(implementation = f, attrs = {\"a\": \"string\"})\n",
            "a.star:3:5: attribute `a`: expected a type such as `attrs.string()`, got string",
        ),
        (
            "def f(ctx):\n    return []\nx = rule(implementation = f, attrs = {\"tags\": attrs.string()})\n",
            "a.star:3:5: every rule has the attribute `tags`; hint: give the attribute another name",
        ),
        ("x = attrs.string(default = 1)\n", "a.star:1:5: `default`: expected string, got int"),
        (
            "x = attrs.string(default = \"a\", mandatory = True)\n",
            "a.star:1:5: an attribute that is mandatory needs no default; hint: remove one of `mandatory` and `default`",
        ),
        (
            "x = attrs.steps(of = \"layer\")\n",
            "a.star:1:5: `of` is \"step\", \"export\", \"command\" or \"check\", not \"layer\"",
        ),
        ("x = provider(fields = 1)\n", "a.star:1:5: `fields` is a list of names or a dict, not int"),
        (
            "P = provider(fields = [\"first\"])\nx = P(frist = 1)\n",
            "a.star:2:5: `P` has no field `frist`; hint: did you mean `first`?",
        ),
        (
            "P = provider(fields = [\"f\"])\nx = P(f = len)\n",
            "a.star:2:5: `P.f`: a value of type `function` is not data",
        ),
        (
            "x = provider(fields = [\"f\"])(f = 1)\n",
            "a.star:1:5: this provider has no name yet; \
             hint: assign it to a name at the top of a `.star` file: `MyInfo = provider(...)`",
        ),
    ] {
        assert_eq!(lib(text), message, "{text}");
    }
    let unnamed = Workspace::new(&[
        ("BUILD.star", "load(\"//a.star\", \"x\")\nx[\"r\"](name = \"t\")\n"),
        ("a.star", "def f(ctx):\n    return []\nx = {\"r\": rule(implementation = f)}\n"),
    ]);
    assert_eq!(
        unnamed.load_error(),
        "BUILD.star:2:1: this rule has no name; hint: assign it to a name at the top of a `.star` file: `my_rule = rule(...)`"
    );
}

#[test]
fn syntax_and_evaluation() {
    check(&[
        ("x = (1,\n\ny = 2\n", "BUILD.star:3:3: unexpected symbol '=', expected symbol ')'"),
        ("x = \"abc\n", "BUILD.star:1:5: unfinished string literal"),
        ("x = 1 / 0\n", "BUILD.star:1:5: float division by zero: 1 / 0"),
        (
            "x: int = \"a\"\n",
            "BUILD.star:1:4: value `a` of type `string` does not match the type annotation `int` for return type",
        ),
        (
            "def f(n):\n    return g(n)\ndef g(n):\n    fail(\"n is\", n)\n\nf(3)\n",
            "BUILD.star:4:5: n is 3; called from here (BUILD.star:2:12); called from here (BUILD.star:6:1)",
        ),
        (
            "load(\"@prelude//steps.star\", \"shell\")\nshell(1, 2, 3)\n",
            "BUILD.star:2:1: found 1 extra positional argument(s) for call to `shell`",
        ),
    ]);
}

#[test]
fn a_macro_s_mistake_is_placed_in_the_macro_and_its_targets_at_the_call() {
    let workspace = Workspace::new(&[
        ("BUILD.star", "load(\"//a.star\", \"m\")\n\nm(\"x\")\nm(\"y\")\n"),
        (
            "a.star",
            "def m(name):\n    if name == \"y\":\n        fail(\"no y\")\n    image(name = name, source = scratch(), steps = [shell(\"a\")], stesp = [])\n",
        ),
    ]);
    assert_eq!(
        workspace.load_error(),
        "BUILD.star:3:1: `image` has no attribute `stesp`; hint: did you mean `steps`?\n\
         a.star:3:9: no y; called from here (BUILD.star:4:1)"
    );
}

#[test]
fn a_folder_without_build_file() {
    let workspace = Workspace::new(&[("a/BUILD.star", ""), ("a/b/c.txt", "")]);
    assert_eq!(
        workspace.load("a/b").unwrap_err().to_string(),
        "`//a/b` is no package: there is no `a/b/BUILD.star`; hint: the nearest package above is `//a`"
    );
    assert_eq!(
        workspace.load("b").unwrap_err().to_string(),
        "`//b` is no package: there is no `b/BUILD.star`; hint: a package is a folder with a `BUILD.star`"
    );
    assert_eq!(workspace.load("b").unwrap_err().class(), Class::Input);
}

#[test]
fn visibility_is_the_target_s_else_the_package_s_else_private() {
    let workspace = Workspace::new(&[
        (
            "a/BUILD.star",
            "filegroup(name = \"x\")\nfilegroup(name = \"y\", visibility = [\"//visibility:public\"])\n",
        ),
        (
            "b/BUILD.star",
            "package(default_visibility = [\"//a/...\"])\nfilegroup(name = \"x\")\nfilegroup(name = \"y\", visibility = [\"//visibility:private\"])\n",
        ),
    ]);
    assert_eq!(workspace.target("//a:x").visibility, Visibility::Private);
    assert_eq!(workspace.target("//a:y").visibility, Visibility::Public);
    let below_a = Pattern::Recursive(imgbuild_model::PackagePath::new("a").unwrap());
    assert_eq!(workspace.target("//b:x").visibility, Visibility::Packages(vec![below_a]));
    assert_eq!(workspace.target("//b:y").visibility, Visibility::Private);
}
