//! Small universes, one rule each. Agreement with apt on the real archive is `tests/apt_agreement.rs`.

use super::*;

fn index(stanzas: &[&str]) -> Vec<Index> {
    let mut text = String::new();
    for (number, stanza) in stanzas.iter().enumerate() {
        let has = |field: &str| stanza.contains(field);
        text.push_str(stanza);
        text.push('\n');
        if !has("Version:") {
            text.push_str("Version: 1\n");
        }
        if !has("Architecture:") {
            text.push_str("Architecture: amd64\n");
        }
        text.push_str(&format!(
            "Filename: pool/{number}.deb\nSize: 1\nSHA256: {}\n\n",
            crate::Sha256::of(b"")
        ));
    }
    vec![Index::parse(&text, None)]
}

fn resolve(stanzas: &[&str], status: &str, install: &[&str]) -> Result<Solution, Box<SolveError>> {
    let indexes = index(stanzas);
    let foreign = ["i386".to_owned()];
    let universe = Universe::new(&indexes, "amd64", &foreign);
    let request =
        Request { install: install.iter().map(|spec| spec.parse().unwrap()).collect(), ..Request::default() };
    solve(&universe, &State::parse(status).unwrap(), &request)
}

fn names(solution: &Solution) -> Vec<String> {
    solution.install().map(|p| p.name.clone()).collect()
}

fn installed(stanzas: &[&str]) -> String {
    stanzas.iter().map(|s| format!("{s}\nStatus: install ok installed\nArchitecture: amd64\n\n")).collect()
}

#[test]
fn dependencies_come_first_and_the_first_alternative_wins() {
    let solution = resolve(
        &["Package: aa\nDepends: xx | yy, zz", "Package: xx", "Package: yy", "Package: zz"],
        "",
        &["aa"],
    );
    assert_eq!(names(&solution.unwrap()), ["xx", "zz", "aa"]);
}

#[test]
fn an_installed_or_requested_alternative_is_preferred() {
    let all = ["Package: aa\nDepends: xx | yy", "Package: xx", "Package: yy"];
    let status = installed(&["Package: yy\nVersion: 1"]);
    assert_eq!(names(&resolve(&all, &status, &["aa"]).unwrap()), ["aa"]);
    assert_eq!(names(&resolve(&all, "", &["aa", "yy"]).unwrap()), ["yy", "aa"]);
}

#[test]
fn the_order_of_requests_counts_as_in_apt() {
    let all = [
        "Package: aa\nDepends: real",
        "Package: bb\nDepends: other",
        "Package: other\nProvides: real",
        "Package: real",
    ];
    assert_eq!(names(&resolve(&all, "", &["aa", "bb"]).unwrap()).len(), 4);
    assert_eq!(names(&resolve(&all, "", &["bb", "aa"]).unwrap()), ["other", "aa", "bb"]);
}

#[test]
fn an_alternative_that_cannot_be_installed_is_passed_over() {
    let all = ["Package: aa\nDepends: xx | yy", "Package: xx\nDepends: missing", "Package: yy"];
    assert_eq!(names(&resolve(&all, "", &["aa"]).unwrap()), ["yy", "aa"]);
    let deep = [
        "Package: aa\nDepends: xx | yy",
        "Package: xx\nDepends: left, deep",
        "Package: left",
        "Package: deep\nDepends: missing",
        "Package: yy",
    ];
    assert_eq!(names(&resolve(&deep, "", &["aa"]).unwrap()), ["yy", "aa"], "`left` is not left over");
}

#[test]
fn virtual_packages() {
    let all = [
        "Package: aa\nDepends: mta",
        "Package: exim\nProvides: mta\nPriority: optional",
        "Package: postfix\nProvides: mta\nPriority: standard",
    ];
    assert_eq!(names(&resolve(&all, "", &["aa"]).unwrap()), ["postfix", "aa"], "the better priority");
    let error = resolve(&all, "", &["mta"]).unwrap_err();
    assert_eq!(error.to_string(), "`mta` is a virtual package, provided by `exim`, `postfix`");
    let versioned = [
        "Package: aa\nDepends: api (>= 2)",
        "Package: old\nProvides: api (= 1)",
        "Package: none\nProvides: api",
        "Package: new\nProvides: api (= 2.1)",
    ];
    assert_eq!(names(&resolve(&versioned, "", &["aa"]).unwrap()), ["new", "aa"]);
}

#[test]
fn a_dependency_upgrades_what_is_installed() {
    let all = ["Package: aa\nDepends: lib (>= 2)", "Package: lib\nVersion: 2"];
    let status = installed(&["Package: lib\nVersion: 1"]);
    assert_eq!(names(&resolve(&all, &status, &["aa"]).unwrap()), ["lib", "aa"]);
    let all = ["Package: aa\nDepends: lib", "Package: lib\nVersion: 2"];
    assert_eq!(names(&resolve(&all, &status, &["aa"]).unwrap()), ["aa"], "nothing is upgraded without need");
}

#[test]
fn conflicts_remove_and_breaks_upgrade() {
    let status = installed(&["Package: old\nVersion: 1"]);
    let all = ["Package: aa\nConflicts: old", "Package: old"];
    let solution = resolve(&all, &status, &["aa"]).unwrap();
    assert_eq!((names(&solution), solution.remove[0].id.as_str()), (vec!["aa".to_owned()], "old"));
    let all = ["Package: aa\nBreaks: old (<< 2)", "Package: old\nVersion: 2"];
    let solution = resolve(&all, &status, &["aa"]).unwrap();
    assert!(solution.remove.is_empty());
    assert_eq!(names(&solution).len(), 2);
}

#[test]
fn pre_dependencies_are_in_an_earlier_batch() {
    let all = [
        "Package: aa\nPre-Depends: pp\nDepends: dd",
        "Package: pp\nDepends: ll",
        "Package: ll",
        "Package: dd\nDepends: aa",
    ];
    let solution = resolve(&all, "", &["aa"]).unwrap();
    let batches: Vec<Vec<&str>> =
        solution.batches.iter().map(|batch| batch.iter().map(|p| p.name.as_str()).collect()).collect();
    assert_eq!(batches, [vec!["ll", "pp"], vec!["dd", "aa"]]);
}

#[test]
fn multi_arch_rules() {
    let all = [
        "Package: app\nArchitecture: i386\nDepends: tool, lib, python:any",
        "Package: tool\nMulti-Arch: foreign",
        "Package: lib\nMulti-Arch: same",
        "Package: lib\nMulti-Arch: same\nArchitecture: i386",
        "Package: python\nMulti-Arch: allowed",
    ];
    let solution = resolve(&all, "", &["app:i386"]).unwrap();
    let chosen: Vec<String> = solution.install().map(|p| format!("{}:{}", p.name, p.architecture)).collect();
    assert_eq!(chosen, ["tool:amd64", "lib:i386", "python:amd64", "app:i386"]);
}

#[test]
fn specifications_choose_a_version() {
    let all = ["Package: aa\nVersion: 1", "Package: aa\nVersion: 2"];
    let version = |spec: &str| {
        resolve(&all, "", &[spec]).map(|s| s.install().map(|p| p.version.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(version("aa").unwrap(), ["2"]);
    assert_eq!(version("aa=1").unwrap(), ["1"]);
    let error = version("aa=3").unwrap_err();
    assert_eq!(error.to_string(), "package `aa` has no version that is `aa=3`");
    assert_eq!(error.hint().unwrap(), "it exists as 2, 1");
    assert!("not a name".parse::<PackageSpec>().is_err());
    assert_eq!("aa:i386=1".parse::<PackageSpec>().unwrap().to_string(), "aa:i386=1");
}

#[test]
fn errors_explain() {
    let message = |stanzas: &[&str], install: &[&str]| resolve(stanzas, "", install).unwrap_err().to_string();
    let error = resolve(&["Package: nginx", "Package: nginx-full"], "", &["ngnix"]).unwrap_err();
    assert_eq!(error.to_string(), "there is no package `ngnix`");
    assert_eq!(error.hint().unwrap(), "did you mean `nginx`?");
    assert_eq!(
        message(&["Package: aa\nDepends: bb (>= 2)", "Package: bb"], &["aa"]),
        "`aa` cannot be installed: `aa 1` depends on `bb (>= 2)`, but only bb 1 exists"
    );
    assert_eq!(
        message(&["Package: aa\nDepends: bb", "Package: bb\nDepends: cc"], &["aa"]),
        "`aa` cannot be installed: `aa 1` depends on `bb`, which cannot be installed either; `bb 1` depends on `cc`, which does \
         not exist"
    );
    assert_eq!(
        message(&["Package: aa\nConflicts: bb", "Package: bb"], &["aa", "bb"]),
        "`aa` cannot be installed: `aa 1` conflicts with `bb`, but `bb 1` is needed too"
    );
}
