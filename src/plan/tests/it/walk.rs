//! The walk, with a front end that knows no language: packages are said outright.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use imgbuild_model::{
    Action, ActionRef, Analysis, AnalysisRequest, Artifact, AttributeValue, Attributes, Dependency,
    Diagnostic, Diagnostics, Files, FrontEnd, Label, LoadedPackage, Location, Package, PackagePath,
    PatternSet, Platform, Provider, RuleId, SelectBranch, Target, TargetName, Value, Visibility,
};
use imgbuild_plan::testing::{dict, label, platform, texts};
use imgbuild_plan::{ActionGraph, Analyzed, DiskFiles, Selection, Walk};

/// A front end whose packages are those of the test; each target makes one `mkdir` of its attribute `path`.
#[derive(Default)]
struct Said {
    packages: BTreeMap<PackagePath, Vec<Target>>,
    analyzed: Mutex<Vec<String>>,
}

fn rule(name: &str) -> RuleId {
    RuleId { module: "//rules.star".into(), name: name.into() }
}

/// A target with attributes as declared.
fn target(name: &str, attributes: &[(&str, AttributeValue)]) -> Target {
    let name = label(name);
    Target {
        rule: rule("thing"),
        attributes: attributes.iter().map(|(name, value)| (Arc::from(*name), value.clone())).collect(),
        visibility: Visibility::Public,
        location: Location { line: 1, ..Location::file(name.package.file("BUILD.star").as_str()) },
        label: name,
    }
}

fn setting(name: &str, values: &[(&str, &str)]) -> Target {
    let mut setting = target(name, &[("values", AttributeValue::Concrete(dict(values)))]);
    setting.rule = rule("config_setting");
    setting
}

fn plain(value: Value) -> AttributeValue {
    AttributeValue::Concrete(value)
}

fn deps(labels: &[&str]) -> AttributeValue {
    plain(Value::list(labels.iter().map(|text| Value::Label(label(text)))))
}

fn select(branches: &[(&str, Value)]) -> AttributeValue {
    let branch = |(condition, value): &(&str, Value)| SelectBranch {
        condition: (*condition != "default").then(|| label(condition)),
        value: value.clone(),
    };
    AttributeValue::Select(branches.iter().map(branch).collect())
}

impl Said {
    fn new(targets: Vec<Target>) -> Self {
        let mut said = Self::default();
        for target in targets {
            said.packages.entry(target.label.package.clone()).or_default().push(target);
        }
        said
    }
}

fn provider(name: &str, fields: &[(&str, Value)]) -> Arc<Provider> {
    let fields = fields.iter().map(|(name, value)| (Arc::from(*name), value.clone())).collect();
    Arc::new(Provider { id: rule(name), fields })
}

impl FrontEnd for Said {
    fn load(&self, package: &PackagePath, _: &dyn Files) -> Result<LoadedPackage, Diagnostics> {
        let Some(targets) = self.packages.get(package) else {
            return Err(Diagnostic::error(format!("there is no package `{package}`")).into());
        };
        let targets: BTreeMap<TargetName, Arc<Target>> =
            targets.iter().map(|target| (target.label.name.clone(), Arc::new(target.clone()))).collect();
        let package = Arc::new(Package { path: package.clone(), targets });
        Ok(LoadedPackage { package, reads: Arc::from([]), warnings: Diagnostics::default() })
    }

    fn source_file(&self, label: &Label) -> Dependency {
        Dependency { label: label.clone(), providers: Arc::from([]) }
    }

    fn platforms(&self, _: &Target, attributes: &Attributes) -> Option<Vec<Platform>> {
        Some(attributes.strings("platforms").map(platform).collect())
    }

    fn analyze(&self, request: &AnalysisRequest<'_>) -> Result<Analysis, Diagnostics> {
        let (target, for_) = (request.target, request.configuration.platform);
        self.analyzed.lock().unwrap().push(format!("{} {for_}", target.label));
        let index = if request.combine.is_some() { ActionRef::COMBINED } else { 0 };
        let reference = Arc::new(ActionRef {
            label: target.label.clone(),
            configuration: request.configuration.clone(),
            index,
        });
        let joins: Vec<Arc<ActionRef>> = request
            .combine
            .into_iter()
            .flatten()
            .map(|(platform, _)| {
                let configuration =
                    imgbuild_model::Configuration { platform: *platform, ..request.configuration.clone() };
                Arc::new(ActionRef { label: target.label.clone(), configuration, index: 0 })
            })
            .collect();
        let action = Action {
            kind: imgbuild_model::KindId::new(if joins.is_empty() { "genrule" } else { "index" }),
            source: None,
            parent: None,
            attributes: request
                .attributes
                .iter()
                .filter(|(name, _)| *name == "cmd")
                .map(|(n, v)| (n.into(), v.clone()))
                .collect(),
            outputs: vec!["out".into()],
            joins,
            location: target.location.clone(),
        };
        let file = Value::Artifact(Artifact::Output { action: reference, name: "out".into() });
        let providers = Arc::from([provider("DefaultInfo", &[("files", Value::list([file]))])]);
        Ok(Analysis { providers, actions: vec![Arc::new(action)] })
    }
}

/// A folder with these files; a package's `BUILD.star` says nothing, since the front end knows already.
fn workspace(files: &[&str]) -> tempfile::TempDir {
    let folder = crate::support::folder();
    fs_err::write(folder.path().join("imgbuild.toml"), "").unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs_err::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs_err::write(path, "").unwrap();
    }
    folder
}

fn selection(patterns: &[&str], platforms: &[&str], flags: &[(&str, &str)]) -> Selection {
    Selection {
        patterns: PatternSet::parse(patterns.iter().copied(), &PackagePath::root()).unwrap(),
        platforms: platforms.iter().map(|name| platform(name)).collect(),
        flags: Arc::new(flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        default_platform: platform("amd64"),
    }
}

fn walk(targets: Vec<Target>, files: &[&str], selection: &Selection) -> Result<Analyzed, Diagnostics> {
    let folder = workspace(files);
    let files = DiskFiles::new(folder.path());
    Walk::new(&Said::new(targets), &files).run(selection)
}

/// The attribute `cmd` of the only target that was asked for.
fn chosen(targets: Vec<Target>, flags: &[(&str, &str)], platforms: &[&str]) -> Result<Value, String> {
    let analyzed = walk(targets, &["BUILD.star", "lib/BUILD.star"], &selection(&["//:a"], platforms, flags))
        .map_err(|diagnostics| diagnostics.to_string())?;
    let entry = analyzed.get(analyzed.roots[0].platforms[0].1);
    match &entry.node {
        imgbuild_plan::Node::Target(target) => Ok(target.attributes.get("cmd").cloned().unwrap()),
        imgbuild_plan::Node::Source(_) => panic!("a target is no file"),
    }
}

fn settings() -> Vec<Target> {
    vec![
        setting("//lib:arm", &[("arch", "arm64")]),
        setting("//lib:fast", &[("mode", "fast")]),
        setting("//lib:small", &[("size", "small")]),
        setting("//lib:fast_arm", &[("mode", "fast"), ("arch", "arm64")]),
        setting("//lib:fast_small", &[("mode", "fast"), ("size", "small")]),
        setting("//lib:linux", &[("os", "linux"), ("platform", "linux/amd64")]),
    ]
}

fn with(value: AttributeValue) -> Vec<Target> {
    let mut targets = settings();
    targets.push(target("//:a", &[("cmd", value)]));
    targets
}

fn text(value: &str) -> Value {
    Value::string(value)
}

#[test]
fn a_choice_takes_the_branch_that_holds_or_the_default() {
    let value = select(&[("//lib:arm", text("arm")), ("default", text("other"))]);
    assert_eq!(chosen(with(value.clone()), &[], &["arm64"]), Ok(text("arm")));
    assert_eq!(chosen(with(value), &[], &["amd64"]), Ok(text("other")));
    let value = select(&[("default", text("other")), ("//lib:fast", text("fast"))]);
    assert_eq!(chosen(with(value.clone()), &[("mode", "fast")], &[]), Ok(text("fast")));
    assert_eq!(chosen(with(value), &[("mode", "slow")], &[]), Ok(text("other")));
    let value = select(&[("//lib:linux", text("linux"))]);
    assert_eq!(chosen(with(value), &[], &["amd64"]), Ok(text("linux")));
}

#[test]
fn the_most_special_condition_wins_wherever_it_stands() {
    let branches = [
        ("//lib:fast", text("fast")),
        ("//lib:small", text("small")),
        ("//lib:fast_small", text("both")),
        ("default", text("none")),
    ];
    let flags = [("mode", "fast"), ("size", "small")];
    // Of the first two none is more special than the other, but the third is more special than both.
    for turn in 0..branches.len() {
        let mut turned = branches.to_vec();
        turned.rotate_left(turn);
        assert_eq!(chosen(with(select(&turned)), &flags, &[]), Ok(text("both")), "turned by {turn}");
    }
    assert_eq!(chosen(with(select(&branches)), &[("mode", "fast")], &[]), Ok(text("fast")));
}

#[test]
fn two_conditions_of_which_none_is_more_special_are_ambiguous_unless_they_say_the_same() {
    let flags = [("mode", "fast"), ("size", "small")];
    let value = select(&[("//lib:fast", text("one")), ("//lib:small", text("two")), ("default", text("x"))]);
    let error = chosen(with(value), &flags, &[]).unwrap_err();
    assert_eq!(
        error,
        "BUILD.star:1: attribute `cmd` of `//:a` is ambiguous: `//lib:fast` and `//lib:small` both hold; hint: make one \
         `config_setting` ask for all that the other does, and for more"
    );
    let value = select(&[("//lib:fast", text("one")), ("//lib:small", text("one"))]);
    assert_eq!(chosen(with(value), &flags, &[]), Ok(text("one")));
    // More values make no condition more special than one that asks for something else.
    let value = select(&[("//lib:small", text("one")), ("//lib:fast_arm", text("two"))]);
    let error = chosen(with(value), &flags, &["arm64"]).unwrap_err();
    assert!(error.contains("ambiguous"), "{error}");
}

#[test]
fn a_choice_without_a_value_names_its_conditions() {
    let value = select(&[("//lib:arm", text("arm")), ("//lib:fast", text("fast"))]);
    assert_eq!(
        chosen(with(value), &[], &["amd64"]).unwrap_err(),
        "BUILD.star:1: attribute `cmd` of `//:a` has no value for linux/amd64: none of `//lib:arm`, `//lib:fast` holds; \
         hint: add a branch `\"//conditions:default\"`"
    );
    let value = select(&[("//:a", text("x"))]);
    let error = chosen(with(value), &[], &[]).unwrap_err();
    assert!(error.contains("`//:a` is no `config_setting`"), "{error}");
}

#[test]
fn sums_of_choices_are_joined_in_order() {
    let sum = |parts: &[AttributeValue]| AttributeValue::Sum(parts.to_vec());
    let lists = sum(&[
        plain(texts(&["a"])),
        select(&[("//lib:fast", texts(&["b"])), ("default", texts(&["c"]))]),
        plain(texts(&["d"])),
    ]);
    assert_eq!(chosen(with(lists.clone()), &[("mode", "fast")], &[]), Ok(texts(&["a", "b", "d"])));
    assert_eq!(chosen(with(lists), &[], &[]), Ok(texts(&["a", "c", "d"])));
    let strings = sum(&[plain(text("a")), select(&[("default", text("b"))])]);
    assert_eq!(chosen(with(strings), &[], &[]), Ok(text("ab")));
    let dicts = sum(&[
        plain(dict(&[("x", "1"), ("y", "2")])),
        select(&[("default", dict(&[("x", "3"), ("z", "4")]))]),
    ]);
    assert_eq!(chosen(with(dicts), &[], &[]), Ok(dict(&[("x", "3"), ("y", "2"), ("z", "4")])));
    let mixed = sum(&[plain(text("a")), plain(texts(&["b"]))]);
    assert_eq!(
        chosen(with(mixed), &[], &[]).unwrap_err(),
        "BUILD.star:1: cannot join string and list in attribute `cmd` of `//:a`"
    );
}

#[test]
fn what_is_not_visible_may_not_be_depended_on() {
    let mut hidden = target("//lib:hidden", &[]);
    hidden.visibility = Visibility::Private;
    let mut shared = target("//lib:shared", &[]);
    shared.visibility =
        Visibility::Packages(vec![imgbuild_model::Pattern::Recursive(PackagePath::new("apps").unwrap())]);
    let inside = target("//lib:inside", &[("deps", deps(&["//lib:hidden"]))]);
    let app = target("//apps/web:app", &[("deps", deps(&["//lib:shared", "//lib:inside"]))]);
    let bad = target("//:bad", &[("deps", deps(&["//lib:hidden", "//lib:shared"]))]);
    let targets = vec![hidden, shared, inside, app, bad];
    let files = ["BUILD.star", "lib/BUILD.star", "apps/web/BUILD.star"];
    walk(targets.clone(), &files, &selection(&["//apps/web:app"], &[], &[])).unwrap();
    let error = walk(targets, &files, &selection(&["//:bad"], &[], &[])).unwrap_err();
    assert_eq!(error.0.len(), 2);
    assert_eq!(error.0[0].message, "`//:bad` may not depend on `//lib:hidden`: it is not visible there");
    assert_eq!(
        error.0[0].hint.as_deref(),
        Some("add `\"//:__pkg__\"` to the `visibility` of `//lib:hidden`")
    );
}

#[test]
fn a_circle_is_told_as_a_path() {
    let targets = vec![
        target("//:a", &[("deps", deps(&["//:b"]))]),
        target("//:b", &[("deps", deps(&["//:c", "//:leaf"]))]),
        target("//:c", &[("deps", deps(&["//:d"]))]),
        target("//:d", &[("deps", deps(&["//:b"]))]),
        target("//:leaf", &[]),
        target("//:self", &[("deps", deps(&["//:self"]))]),
    ];
    let error =
        |pattern| walk(targets.clone(), &["BUILD.star"], &selection(&[pattern], &[], &[])).unwrap_err();
    let found = error("//:a");
    assert_eq!(found.0.len(), 1);
    assert_eq!(
        found.0[0].message,
        "targets depend on each other in a circle: `//:b` -> `//:c` -> `//:d` -> `//:b`"
    );
    assert_eq!(found.0[0].notes.len(), 2);
    assert_eq!(
        error("//:self").0[0].message,
        "targets depend on each other in a circle: `//:self` -> `//:self`"
    );
}

#[test]
fn what_is_not_there_is_named_with_what_was_meant() {
    let targets = vec![
        target("//:server", &[]),
        target("//:user", &[("deps", deps(&["//:servr"]))]),
        target("//:far", &[("deps", deps(&["//nowhere:x"]))]),
        target("//:file", &[("deps", deps(&["//:motd.text"]))]),
    ];
    let error = |pattern| {
        walk(targets.clone(), &["BUILD.star", "motd.txt"], &selection(&[pattern], &[], &[]))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(error("//:sever"), "there is no target or file `//:sever`; hint: did you mean `//:server`?");
    assert_eq!(
        error("//:user"),
        "BUILD.star:1: there is no target or file `//:servr`; hint: did you mean `//:server`?"
    );
    assert_eq!(
        error("//:far"),
        "BUILD.star:1: there is no package `//nowhere`; needed as `//nowhere:x`; hint: a package is a folder with a \
         `BUILD.star`"
    );
    assert_eq!(
        error("//:file"),
        "BUILD.star:1: there is no target or file `//:motd.text`; hint: did you mean `//:motd.txt`?"
    );
}

#[test]
fn a_label_may_not_reach_into_another_package() {
    let targets = vec![target("//:a", &[("deps", deps(&["//:lib/x.txt"]))]), target("//lib:y", &[])];
    let error =
        walk(targets, &["BUILD.star", "lib/BUILD.star", "lib/x.txt"], &selection(&["//:a"], &[], &[]));
    assert_eq!(
        error.unwrap_err().to_string(),
        "BUILD.star:1: `//:lib/x.txt` reaches into the package `//lib`; hint: name it `//lib:x.txt`"
    );
}

#[test]
fn a_pattern_for_everything_passes_over_what_is_not_the_workspaces_own() {
    let names =
        ["//:root", "//a:x", "//a/b:y", "//nested:z", "//nested/in:w", "//imgbuild-out:o", "//.hidden:h"];
    let mut targets: Vec<Target> = names.iter().map(|name| target(name, &[])).collect();
    targets.push(setting("//a:condition", &[("mode", "fast")]));
    let files = [
        "BUILD.star",
        "a/BUILD.star",
        "a/b/BUILD.star",
        "nested/imgbuild.toml",
        "nested/BUILD.star",
        "nested/in/BUILD.star",
        "imgbuild-out/BUILD.star",
        ".hidden/BUILD.star",
    ];
    let labels = |patterns: &[&str]| -> Result<Vec<String>, String> {
        let analyzed = walk(targets.clone(), &files, &selection(patterns, &[], &[]))
            .map_err(|error| error.to_string())?;
        Ok(analyzed.roots.iter().map(|root| root.label.to_string()).collect())
    };
    let found = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(labels(&["//..."]), found(&["//:root", "//a:x", "//a/b:y"]));
    assert_eq!(labels(&["//a/..."]), found(&["//a:x", "//a/b:y"]));
    assert_eq!(labels(&["//a:all"]), found(&["//a:x"]));
    assert_eq!(labels(&["//...", "-//a/..."]), found(&["//:root"]));
    assert_eq!(
        labels(&["//nowhere/..."]).unwrap_err(),
        "no targets match `//nowhere/...`; hint: a package is a folder with a `BUILD.star`"
    );
}

#[test]
fn a_target_is_split_over_its_platforms_and_joined_again() {
    let platforms = plain(texts(&["amd64", "arm64", "amd64"]));
    let cmd = select(&[("//lib:arm", text("for arm")), ("default", text("for others"))]);
    let mut targets = settings();
    targets.push(target("//:a", &[("platforms", platforms), ("cmd", cmd), ("deps", deps(&["//:b"]))]));
    targets.push(target("//:b", &[]));
    let files = ["BUILD.star", "lib/BUILD.star"];
    let analyzed = walk(targets.clone(), &files, &selection(&["//:a"], &[], &[])).unwrap();
    let root = &analyzed.roots[0];
    let names: Vec<String> = root.platforms.iter().map(|(platform, _)| platform.to_string()).collect();
    assert_eq!(names, ["linux/amd64", "linux/arm64"]);
    // The target and what it depends on, each for each platform.
    assert_eq!(analyzed.iter().count(), 4);
    assert!(root.combined.is_some());
    let artifacts = root.artifacts(&analyzed);
    assert_eq!(artifacts.len(), 1, "the joined one alone");
    let graph = ActionGraph::build(&analyzed, &artifacts).unwrap();
    let kinds: Vec<&str> = graph.nodes.iter().map(|node| node.schema.id).collect();
    assert_eq!(kinds, ["genrule", "genrule", "index"]);
    let commands: Vec<Option<&str>> =
        graph.nodes[..2].iter().map(|node| node.attributes().str("cmd")).collect();
    assert!(commands.contains(&Some("for arm")) && commands.contains(&Some("for others")));
    assert_eq!(graph.nodes[2].prerequisites, [0, 1]);

    // What is asked for on the command line counts, and one platform is joined with none; twice the same is one.
    let analyzed = walk(targets, &files, &selection(&["//:a"], &["arm64", "arm64"], &[])).unwrap();
    assert_eq!(analyzed.roots[0].platforms.len(), 1);
    assert!(analyzed.roots[0].combined.is_none());
    let graph = ActionGraph::build(&analyzed, &analyzed.roots[0].artifacts(&analyzed)).unwrap();
    assert_eq!(graph.nodes[0].attributes().str("cmd"), Some("for arm"));
}

#[test]
fn each_target_is_analyzed_once_and_after_what_it_needs() {
    let targets = vec![
        target("//:top", &[("deps", deps(&["//:left", "//:right"]))]),
        target("//:left", &[("deps", deps(&["//:bottom"]))]),
        target("//:right", &[("deps", deps(&["//:bottom"]))]),
        target("//:bottom", &[]),
    ];
    let folder = workspace(&["BUILD.star"]);
    let files = DiskFiles::new(folder.path());
    let said = Said::new(targets);
    Walk::new(&said, &files).run(&selection(&["//..."], &[], &[])).unwrap();
    let order = said.analyzed.into_inner().unwrap();
    assert_eq!(order.len(), 4, "{order:?}");
    let at = |name: &str| order.iter().position(|entry| entry.starts_with(&format!("//:{name} "))).unwrap();
    assert!(at("bottom") < at("left") && at("bottom") < at("right"));
    assert!(at("left") < at("top") && at("right") < at("top"));
}
