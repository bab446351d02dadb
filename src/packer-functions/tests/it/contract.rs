//! What holds for every function: marks reach the result, what is unknown makes it unknown, null is refused; and where
//! one of these does not hold, that is said here.

use std::collections::BTreeSet;
use std::sync::Arc;

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::value::{Mark, Type, Value};
use imgbuild_packer_functions::{Host, LocalHost, default_functions, functions};

use crate::support::{evaluate, fixed, render};

/// A call of each function that has a value, with its arguments apart.
const CALLS: [(&str, &[&str]); 104] = [
    ("abs", &["-1"]),
    ("abspath", &["\"a\""]),
    ("alltrue", &["[true]"]),
    ("anytrue", &["[true]"]),
    ("aws_secretsmanager", &["\"a\"", "\"b\""]),
    ("aws_secretsmanager_raw", &["\"a\""]),
    ("base64decode", &["\"YQ==\""]),
    ("base64encode", &["\"a\""]),
    ("base64gzip", &["\"a\""]),
    ("basename", &["\"a/b\""]),
    ("bcrypt", &["\"a\"", "4"]),
    ("can", &["\"a\""]),
    ("ceil", &["1.5"]),
    ("chomp", &["\"a\""]),
    ("chunklist", &["[1, 2]", "1"]),
    ("cidrhost", &["\"10.0.0.0/8\"", "1"]),
    ("cidrnetmask", &["\"10.0.0.0/8\""]),
    ("cidrsubnet", &["\"10.0.0.0/8\"", "1", "1"]),
    ("cidrsubnets", &["\"10.0.0.0/8\"", "1"]),
    ("coalesce", &["\"a\"", "\"b\""]),
    ("coalescelist", &["[1]", "[2]"]),
    ("compact", &["[\"a\"]"]),
    ("concat", &["[1]", "[2]"]),
    ("consul_key", &["\"a/key\""]),
    ("contains", &["[1]", "1"]),
    ("convert", &["\"1\"", "number"]),
    ("csvdecode", &["\"a\""]),
    ("dirname", &["\"a/b\""]),
    ("distinct", &["[1, 1]"]),
    ("element", &["[1, 2]", "0"]),
    ("endswith", &["\"ab\"", "\"b\""]),
    ("env", &["\"HELLO\""]),
    ("file", &["\"hello.txt\""]),
    ("filebase64", &["\"/dev/null\""]),
    ("fileexists", &["\"hello.txt\""]),
    ("fileset", &["\".\"", "\"*\""]),
    ("flatten", &["[[1]]"]),
    ("floor", &["1.5"]),
    ("format", &["\"%v %v\"", "1", "2"]),
    ("formatdate", &["\"YYYY\"", "\"2018-01-02T23:12:01Z\""]),
    ("formatlist", &["\"%v %v\"", "[1]", "2"]),
    ("indent", &["2", "\"a\""]),
    ("index", &["[1]", "1"]),
    ("join", &["\",\"", "[\"a\"]", "[\"b\"]"]),
    ("jsondecode", &["\"[1]\""]),
    ("jsonencode", &["[1]"]),
    ("keys", &["{a = 1}"]),
    ("legacy_isotime", &["\"2006\""]),
    ("legacy_strftime", &["\"%Y\""]),
    ("length", &["m"]),
    ("log", &["8", "2"]),
    ("lookup", &["m", "\"a\"", "\"b\""]),
    ("lower", &["\"A\""]),
    ("max", &["1", "2"]),
    ("md5", &["\"a\""]),
    ("merge", &["m", "{b = 1}"]),
    ("min", &["1", "2"]),
    ("parseint", &["\"f\"", "16"]),
    ("pathexpand", &["\"~\""]),
    ("pow", &["2", "3"]),
    ("range", &["0", "3", "1"]),
    ("regex", &["\"a\"", "\"a\""]),
    ("regex_replace", &["\"a\"", "\"a\"", "\"b\""]),
    ("regexall", &["\"a\"", "\"a\""]),
    ("replace", &["\"a\"", "\"a\"", "\"b\""]),
    ("reverse", &["[1, 2]"]),
    ("rfc3339_parse", &["\"2018-01-02T23:12:01Z\""]),
    ("rsadecrypt", &["CIPHERTEXT", "KEY"]),
    ("setintersection", &["[1]", "[1]"]),
    ("setproduct", &["[1]", "[2]"]),
    ("setunion", &["[1]", "[2]"]),
    ("sha1", &["\"a\""]),
    ("sha256", &["\"a\""]),
    ("sha512", &["\"a\""]),
    ("signum", &["-2"]),
    ("slice", &["[1, 2]", "0", "1"]),
    ("sort", &["[\"b\", \"a\"]"]),
    ("split", &["\",\"", "\"a,b\""]),
    ("startswith", &["\"ab\"", "\"a\""]),
    ("strcontains", &["\"ab\"", "\"a\""]),
    ("strrev", &["\"ab\""]),
    ("substr", &["\"abc\"", "1", "1"]),
    ("sum", &["[1, 2]"]),
    ("templatefile", &["\"one.tpl\"", "{list = 1}"]),
    ("textdecodebase64", &["\"YQ==\"", "\"UTF-8\""]),
    ("textencodebase64", &["\"a\"", "\"UTF-8\""]),
    ("timeadd", &["\"2018-01-02T23:12:01Z\"", "\"1h\""]),
    ("timestamp", &[]),
    ("title", &["\"a\""]),
    ("trim", &["\"ab\"", "\"a\""]),
    ("trimprefix", &["\"ab\"", "\"a\""]),
    ("trimspace", &["\" a \""]),
    ("trimsuffix", &["\"ab\"", "\"b\""]),
    ("try", &["\"a\"", "\"b\""]),
    ("unix_timestamp_parse", &["0"]),
    ("upper", &["\"a\""]),
    ("urlencode", &["\"a\""]),
    ("uuidv4", &[]),
    ("uuidv5", &["\"dns\"", "\"a\""]),
    ("values", &["{a = 1}"]),
    ("vault", &["\"secret/data/x\"", "\"pass\""]),
    ("yamldecode", &["\"a: 1\""]),
    ("yamlencode", &["[1]"]),
    ("zipmap", &["[\"a\"]", "[1]"]),
];

/// Arguments that need not be known for the result to be.
const NOT_NEEDED: [(&str, usize); 8] = [
    // Whatever comes after the first that counts.
    ("coalesce", 1),
    ("coalescelist", 1),
    ("try", 1),
    // The type tells enough.
    ("keys", 0),
    ("length", 0),
    // This is no value but a type.
    ("convert", 1),
    // Whether they are one depends on more, but they are not looked at.
    ("lookup", 2),
    ("can", 0),
];

/// Arguments that may be null.
const NULLABLE: [(&str, usize); 18] = [
    ("aws_secretsmanager", 1),
    ("can", 0),
    ("coalesce", 0),
    ("coalesce", 1),
    ("coalescelist", 0),
    ("coalescelist", 1),
    ("convert", 0),
    ("convert", 1),
    ("format", 1),
    ("format", 2),
    ("formatlist", 1),
    ("formatlist", 2),
    ("jsonencode", 0),
    ("merge", 0),
    ("merge", 1),
    ("try", 0),
    ("try", 1),
    ("yamlencode", 0),
];

/// Arguments whose marks do not matter: they are not part of the result.
const UNSEEN: [(&str, usize); 4] = [("can", 0), ("convert", 1), ("lookup", 2), ("try", 1)];

const CIPHERTEXT: &str = include_str!("data/rsa/ciphertext.txt");
const KEY: &str = include_str!("data/rsa/pkcs1.pem");

fn scope() -> Scope<'static> {
    let mut scope = fixed();
    scope.set("CIPHERTEXT", Value::string(CIPHERTEXT));
    scope.set("KEY", Value::string(KEY));
    scope
}

/// The call with one of its arguments changed.
fn changed(call: (&str, &[&str]), at: usize, change: fn(Value) -> Value) -> (String, Scope<'static>) {
    let (name, arguments) = call;
    let mut scope = scope();
    let value = evaluate(arguments[at], &scope).unwrap_or(Value::string(""));
    scope.set("changed", change(value));
    let mut arguments = arguments.to_vec();
    arguments[at] = "changed";
    (format!("{name}({})", arguments.join(", ")), scope)
}

fn each_argument() -> impl Iterator<Item = ((&'static str, &'static [&'static str]), usize)> {
    CALLS.into_iter().flat_map(|call| (0..call.1.len()).map(move |at| (call, at)))
}

#[test]
fn all_functions_of_packer_are_there() {
    let host: Arc<dyn Host> = Arc::new(LocalHost::new("/"));
    let all = functions(&host);
    let names: Vec<&str> = all.names().collect();
    assert_eq!(names, CALLS.map(|(name, _)| name));
    assert_eq!(default_functions(&host).names().collect::<Vec<_>>(), ["env"]);
    for name in names {
        let description = all.get(name).unwrap().description();
        assert!(description.ends_with('.') && description.len() > 10, "{name}: {description}");
    }
}

#[test]
fn every_call_has_a_value() {
    for (name, arguments) in CALLS {
        let text = format!("{name}({})", arguments.join(", "));
        let value = evaluate(&text, &scope()).unwrap_or_else(|errors| panic!("{text}: {errors}"));
        assert!(value.is_wholly_known(), "{text}: {}", render(&value));
    }
}

#[test]
fn marks_reach_the_result() {
    for (call, at) in each_argument().filter(|(call, at)| !UNSEEN.contains(&(call.0, *at))) {
        // What comes after the first that counts is not looked at, but as an argument it is.
        let (text, scope) = changed(call, at, |value| value.mark(Mark::SENSITIVE));
        let value = evaluate(&text, &scope).unwrap_or_else(|errors| panic!("{text} {at}: {errors}"));
        assert!(value.marks().contains(&Mark::SENSITIVE), "{text} {at}: {}", render(&value));
    }
}

#[test]
fn marks_of_the_unknown_reach_the_result() {
    let lazy = ["can", "convert", "try"];
    for (call, at) in each_argument().filter(|(call, _)| !lazy.contains(&call.0)) {
        let (text, scope) =
            changed(call, at, |value| Value::unknown(value.ty().clone()).mark(Mark::SENSITIVE));
        let value = evaluate(&text, &scope).unwrap_or_else(|errors| panic!("{text} {at}: {errors}"));
        assert!(value.marks().contains(&Mark::SENSITIVE), "{text} {at}: {}", render(&value));
    }
}

#[test]
fn the_unknown_makes_the_result_unknown() {
    for change in [|value: Value| Value::unknown(value.ty().clone()), |_| Value::dynamic()] {
        for (call, at) in each_argument().filter(|(call, at)| !NOT_NEEDED.contains(&(call.0, *at))) {
            let (text, scope) = changed(call, at, change);
            let value = evaluate(&text, &scope).unwrap_or_else(|errors| panic!("{text} {at}: {errors}"));
            assert!(!value.is_wholly_known(), "{text} {at}: {}", render(&value));
        }
    }
}

#[test]
fn null_is_refused_with_the_name_of_the_parameter() {
    for (call, at) in each_argument().filter(|(call, at)| !NULLABLE.contains(&(call.0, *at))) {
        let (text, scope) = changed(call, at, |value| Value::null(value.ty().clone()));
        let errors = evaluate(&text, &scope).expect_err(&text).to_string();
        assert!(errors.contains("null"), "{text}: {errors}");
        assert!(errors.contains(&format!("`{}`", call.0)), "{text}: {errors}");
    }
    for (call, at) in each_argument().filter(|(call, at)| NULLABLE.contains(&(call.0, *at))) {
        if call.0 != "convert" {
            let (text, scope) = changed(call, at, |value| Value::null(value.ty().clone()));
            evaluate(&text, &scope).unwrap_or_else(|errors| panic!("{text}: {errors}"));
        }
    }
}

#[test]
fn too_few_and_too_many_arguments_are_refused() {
    let open: BTreeSet<&str> = [
        "can",
        "try",
        "convert",
        "templatefile",
        "coalesce",
        "coalescelist",
        "concat",
        "merge",
        "max",
        "min",
        "range",
        "bcrypt",
        "legacy_isotime",
        "legacy_strftime",
        "setproduct",
        "format",
        "formatlist",
        "join",
        "cidrsubnets",
        "setunion",
        "setintersection",
    ]
    .into();
    for (name, arguments) in CALLS.into_iter().filter(|(name, _)| !open.contains(name)) {
        let more = [arguments, &["1"]].concat().join(", ");
        let errors = evaluate(&format!("{name}({more})"), &scope()).expect_err(name).to_string();
        assert!(errors.contains(&format!("`{name}` needs only")), "{errors}");
        if let Some((_, fewer)) = arguments.split_last() {
            let errors =
                evaluate(&format!("{name}({})", fewer.join(", ")), &scope()).expect_err(name).to_string();
            assert!(errors.contains("there is none for"), "{name}: {errors}");
        }
    }
}

#[test]
fn a_wrong_type_is_named() {
    let list = Value::list(Type::String, vec![]);
    let mut scope = scope();
    scope.set("l", list);
    for text in ["upper(l)", "abs(l)", "startswith(\"a\", l)", "md5({})", "range(l)", "log(1, {})", "env(l)"]
    {
        let errors = evaluate(text, &scope).expect_err(text).to_string();
        assert!(errors.contains("required"), "{text}: {errors}");
    }
}
