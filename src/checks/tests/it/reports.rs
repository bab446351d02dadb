//! The formats that results are written in.

use imgbuild_checks::report::{Format, FormatOptions, counts, written};
use imgbuild_checks::{Known, NotBooted};

use crate::host::Files;

const TEXT: &str = "matching:\n  good: {content: 1, matches: 1}\n  \"b<a>d\": {title: Odd, meta: {level: 2}, content: [a], matches: [a, \"b\\n&\"]}\n  \
                    left out: {content: 1, matches: 2, skip: true}\n  wrong: {content: 1, matches: {nosuch: 2}}\n";

fn said(format: &str, options: FormatOptions) -> String {
    let results = Files::new(&[("goss.yaml", TEXT)]).check(&Known::default(), true, NotBooted::Fail);
    let all = counts(&results);
    assert_eq!((all.total, all.failed, all.skipped), (4, 2, 1));
    written(&results, Format::named(format).unwrap(), options)
}

#[test]
fn junit_has_every_test_with_its_place() {
    let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <testsuite name=\"goss\" tests=\"4\" failures=\"2\" errors=\"0\" skipped=\"1\">\n\
        <testcase classname=\"goss.Matching\" name=\"Matching good matches\" file=\"goss.yaml\" line=\"2\">\n\
        <system-out>Matching: good: matches: matches expectation: 1</system-out>\n\
        </testcase>\n\
        <testcase classname=\"goss.Matching\" name=\"Matching b&lt;a&gt;d matches\" file=\"goss.yaml\" line=\"3\">\n\
        <failure message=\"expected [&quot;a&quot;] to contain elements matching [&quot;a&quot;,&quot;b\\n&amp;&quot;], missing: [&quot;b\\n&amp;&quot;]\">\
        Matching: b&lt;a&gt;d: matches:&#10;Expected&#10;    [&quot;a&quot;]&#10;to contain elements matching&#10;    \
        [&quot;a&quot;,&quot;b\\n&amp;&quot;]&#10;the missing elements were&#10;    [&quot;b\\n&amp;&quot;]&#10;at goss.yaml:3</failure>\n\
        </testcase>\n\
        <testcase classname=\"goss.Matching\" name=\"Matching left out matches\" file=\"goss.yaml\" line=\"4\">\n\
        <skipped message=\"Matching: left out: matches: skipped\"/>\n\
        </testcase>\n\
        <testcase classname=\"goss.Matching\" name=\"Matching wrong matches\" file=\"goss.yaml\" line=\"5\">\n\
        <failure message=\"there is no matcher `nosuch`\">Matching: wrong: matches:&#10;Error&#10;    there is no matcher `nosuch`&#10;at goss.yaml:5</failure>\n\
        </testcase>\n\
        </testsuite>\n";
    assert_eq!(said("junit", FormatOptions::default()), expected);
}

#[test]
fn the_other_formats_say_the_same() {
    let plain = FormatOptions::default();
    let text = said("documentation", plain);
    for part in [
        "Matching: good: matches: matches expectation: 1\n",
        "Matching: left out: matches: skipped\n",
        "Failures/Skipped:\n\nTitle: Odd\nMeta:\n    level: 2\nMatching: b<a>d: matches:\nExpected\n    [\"a\"]\n",
        "Count: 4, Failed: 2, Skipped: 1\n",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
    assert!(said("rspecish", plain).starts_with(".FSF\n\nFailures/Skipped:"));
    assert!(said("tap", plain).starts_with("1..4\nok 1 - Matching: good"));
    assert!(said("tap", plain).contains("\nok 3 - # SKIP Matching: left out"));
    assert_eq!(said("silent", plain), "");
    let line = "GOSS CRITICAL - Count: 4, Failed: 2, Skipped: 1";
    assert_eq!(said("nagios", plain), format!("{line}\n"));
    let options = FormatOptions { perfdata: true, verbose: true, pretty: true };
    assert!(
        said("nagios", options)
            .starts_with(&format!("{line}|total=4 failed=2 skipped=1\nFail 1 - Matching: b<a>d"))
    );
    let json: serde_json::Value = serde_json::from_str(&said("json", options)).unwrap();
    assert_eq!(json["summary"]["failed-count"], 2);
    assert_eq!(json["results"][1]["matcher-result"]["missing-elements"][0], "b\n&");
    assert_eq!(json["results"][1]["line"], 3);
    assert_eq!(json["results"][2]["result"], 2);
    assert_eq!(said("json_oneline", options).lines().count(), 1);
    assert!(Format::named("prometheus").is_none());
}
