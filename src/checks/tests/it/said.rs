//! What is said of goss files that are wrong, and of images whose system does not run.

use std::collections::BTreeMap;

use imgbuild_checks::report::Outcome;
use imgbuild_checks::{Known, NotBooted, read_vars};

use crate::host::Files;

fn problem(text: &str) -> String {
    Files::new(&[("goss.yaml", text)]).load(&Known::default()).unwrap_err().to_string()
}

#[test]
fn errors_say_where_and_what_to_do() {
    for (text, expected) in [
        (
            "file:\n  /x: {exist: true}\n",
            "goss.yaml:2:8: `file` has no attribute `exist`; hint: did you mean `exists`?",
        ),
        (
            "pakage:\n  bash: {}\n",
            "goss.yaml:1:1: there is no resource `pakage`; hint: did you mean `package`?",
        ),
        ("file: [a]\n", "goss.yaml:1:7: `file` is a mapping, not a list"),
        ("file: {/a: {}}\nuser: {}\nfile: {/b: {}}\n", "goss.yaml:3:1: `file` is there already, in line 1"),
        ("gossfile: {gone.yaml: {}}\n", "goss.yaml:1:12: no file matches `gone.yaml`"),
        ("gossfile: {'*.yml': {file: none*}}\n", "goss.yaml:1:12: no file matches `none*`"),
        ("gossfile: {goss.yaml: {skp: true}}\n", "goss.yaml:1:24: `gossfile` has no attribute `skp`"),
        ("# nothing\n", "goss.yaml: it checks nothing; hint: a goss file has file, package"),
        ("user:\n  {{ .Vars.name }}: {}\n", "goss.yaml:2:"),
        ("user: {{ .Env.X }}\n", "goss.yaml:1:"),
        ("user: {{ nosuch 1 }}\n", "goss.yaml:1:"),
        (
            "matching: {a: {content: {{ readFile \"/no/such\" }}}}\n",
            "there is no file `/no/such` in the machine",
        ),
        ("file:\n  /a: {exists: true\n", "goss.yaml:3:1: this is no YAML"),
    ] {
        let said = problem(text);
        assert!(said.contains(expected), "{text}{said}");
    }
    assert!(problem("user:\n  {{ .Vars.name }}: {}\n").contains("name"));
    let error = read_vars("- a\n", "vars.yaml").unwrap_err().to_string();
    assert!(error.contains("vars.yaml:1:1: variables are a mapping, not a list"), "{error}");
}

#[test]
fn strangers_and_what_is_replaced_are_told() {
    let files = Files::new(&[
        ("goss.yaml", "x-common: &c {exists: true}\nfile: {/etc: *c}\ngossfile: {other.yaml: {}}\n"),
        ("other.yaml", "file: {/etc: {exists: false}}\n"),
    ]);
    let loaded = files.load(&Known::default()).unwrap();
    let said: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("`x-common` is no resource of goss"), "{said:?}");
    assert!(said[1].contains("other.yaml:1:8: `/etc` replaces the one of goss.yaml:2"), "{said:?}");
    assert_eq!(loaded.resources.len(), 1);
}

#[test]
fn matchers_that_are_none_fail_and_say_why() {
    let text = "matching:\n  a: {content: 1, matches: {have-sufix: x}}\n  b: {content: 1, matches: {gt: 1, lt: 2}}\n  \
                c: {content: 1, matches: {and: 3}}\n  d: {content: 1, matches: {}}\n  e: {content: 1}\n  \
                f: {content: x, matches: {match-regexp: '('}}\n  g: {content: x, matches: {semver-constraint: '>4'}}\n";
    let results = Files::new(&[("goss.yaml", text)]).check(&Known::default(), true, NotBooted::Fail);
    let said: Vec<String> = results.iter().map(|result| result.problem().unwrap()).collect();
    for (said, expected) in said.iter().zip([
        "there is no matcher `have-sufix`; did you mean `have-suffix`?",
        "there is one matcher in a mapping, not `gt`, `lt`; write them as a list below `and`",
        "`and` takes a list, not a number",
        "a mapping without a matcher expects nothing",
        "`matches` is required and is not there",
        "`(` is no regular expression",
        "`>4` is no range of semantic versions",
    ]) {
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(results[0].place(), "goss.yaml:2");
}

const RUNNING: &str = "service: {ssh: {running: true}}\nport: {'tcp:22': {listening: true, ip: [0.0.0.0]}}\n\
                       process: {sshd: {running: true}}\nkernel-param: {kernel.ostype: {value: Linux}}\n\
                       mount: {/proc: {exists: true}}\ninterface: {lo: {exists: true}}\n\
                       addr: {'tcp://127.0.0.1:1': {reachable: false}}\ndns: {localhost: {resolvable: true}}\n\
                       http: {'http://127.0.0.1:1': {status: 200}}\n";

#[test]
fn what_only_a_booted_system_knows_is_not_taken_from_elsewhere() {
    let files = Files::new(&[("goss.yaml", RUNNING)]);
    let results = files.check(&Known::default(), false, NotBooted::Fail);
    assert_eq!(results.len(), 10);
    for result in &results {
        match &result.outcome {
            Outcome::Error(why) => assert!(why.contains("the image's system does not run here"), "{why}"),
            // The address of a port of which it is not known whether it is listened on.
            Outcome::Skipped(None) => assert_eq!(result.property, "ip"),
            other => panic!("{}: {other:?}", result.name()),
        }
    }
    let results = files.check(&Known::default(), false, NotBooted::Skip);
    assert!(results.iter().all(|result| matches!(result.outcome, Outcome::Skipped(_))));
    assert!(results[0].lines()[0].contains("skipped: whether a service runs cannot be known"));
}

#[test]
fn variables_and_environment_are_those_given() {
    let text = "matching:\n{{ range $name, $number := .Vars.numbers }}  {{ $name }}: {content: {{ $number }}, matches: {lt: 2}}\n\
                {{ end }}  env: {content: '{{ .Env.A }}', matches: b}\n  home: {content: '{{ getEnv \"HOME\" \"none\" }}', matches: none}\n  \
                part: {content: '{{ get (findStringSubmatch \"(?P<x>[0-9]+)\" \"ab12\") \"x\" }}', matches: '12'}\n";
    let known = Known {
        vars: read_vars("numbers: {one: 1, two: 2}", "v").unwrap(),
        env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
        ..Known::default()
    };
    let results = Files::new(&[("goss.yaml", text)]).check(&known, true, NotBooted::Fail);
    let failed: Vec<&str> =
        results.iter().filter(|result| result.failed()).map(|result| &*result.id).collect();
    assert_eq!((results.len(), failed), (5, vec!["two"]));
}
