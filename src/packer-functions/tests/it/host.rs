//! What functions ask the host for, on the real machine.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::value::{Mark, Value};
use imgbuild_packer_functions::{
    Host, LocalHost, Observation, SecretError, SecretRequest, Stores, functions,
};
use jiff::Timestamp;

use crate::support::{ROOT, evaluate, render};

fn on(host: LocalHost) -> (Arc<LocalHost>, Scope<'static>) {
    let host = Arc::new(host);
    let asked: Arc<dyn Host> = Arc::clone(&host) as Arc<dyn Host>;
    (host, Scope::with_functions(Arc::new(functions(&asked))))
}

fn shown(text: &str, scope: &Scope<'_>) -> String {
    evaluate(text, scope).map_or_else(|errors| format!("error: {errors}"), |value| render(&value))
}

#[test]
fn all_that_is_asked_for_is_observed() {
    let environment = [("HELLO".to_owned(), "world".to_owned())];
    let (host, scope) = on(LocalHost::new(ROOT).with_environment(environment));
    for text in ["upper(\"a\")", "abspath(\"a\")", "basename(\"a\")", "sha256(\"a\")", "try(sum([]), 1)"] {
        evaluate(text, &scope).unwrap();
    }
    assert_eq!(host.observations(), [], "these only compute");
    let root = Path::new(ROOT);
    let expected = [
        ("file(\"hello.txt\")", Observation::File(root.join("hello.txt"))),
        ("try(file(\"nope\"), 1)", Observation::File(root.join("nope"))),
        ("templatefile(\"one.tpl\", {list = 1})", Observation::File(root.join("one.tpl"))),
        ("fileexists(\"nope\")", Observation::Kind(root.join("nope"))),
        ("fileset(\"sub\", \"*\")", Observation::Folder(root.join("sub"))),
        ("fileset(\"nope\", \"*\")", Observation::Folder(root.join("nope"))),
        ("env(\"HELLO\")", Observation::Environment("HELLO".to_owned())),
        ("env(\"NOPE\")", Observation::Environment("NOPE".to_owned())),
        ("timestamp()", Observation::Clock),
        ("legacy_isotime()", Observation::Started),
        ("legacy_strftime(\"%Y\")", Observation::Started),
        ("uuidv4()", Observation::Random),
        ("bcrypt(\"a\", 4)", Observation::Random),
        (
            "try(vault(\"a\", \"b\"), 1)",
            Observation::Secret(SecretRequest::Vault { path: "a".into(), key: "b".into() }),
        ),
    ];
    for (text, observation) in expected {
        let (host, scope) = on(LocalHost::new(ROOT));
        evaluate(text, &scope).unwrap();
        assert!(host.observations().contains(&observation), "{text}: {:?}", host.observations());
    }
}

#[test]
fn each_call_asks_anew_for_time_and_chance() {
    let (_, scope) = on(LocalHost::new("/").with_started("2001-02-03T04:05:06Z".parse().unwrap()));
    let before = Timestamp::now().as_second();
    let value = evaluate("timestamp()", &scope).unwrap();
    let time: Timestamp = value.as_str().unwrap().parse().unwrap();
    assert!((before..=Timestamp::now().as_second()).contains(&time.as_second()));
    assert_eq!(shown("legacy_isotime()", &scope), "\"2001-02-03T04:05:06Z\"");
    let uuid = || evaluate("uuidv4()", &scope).unwrap().as_str().unwrap().to_owned();
    let (first, second) = (uuid(), uuid());
    assert_ne!(first, second);
    assert!(first.len() == 36 && first.as_bytes()[14] == b'4', "{first}");
    let hash = evaluate("bcrypt(\"password\", 5)", &scope).unwrap();
    let hash = hash.as_str().unwrap();
    assert!(hash.starts_with("$2a$05$") && hash.len() == 60, "{hash}");
    assert!(bcrypt::verify("password", hash).unwrap());
}

#[test]
fn paths_start_where_packer_lets_them() {
    let (root, cwd) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = tempfile::tempdir().unwrap();
    for (folder, text) in [(&root, "in root"), (&cwd, "in cwd"), (&home, "in home")] {
        fs_err::write(folder.path().join("f"), text).unwrap();
    }
    let host = LocalHost::new(root.path()).with_cwd(cwd.path()).with_home(home.path());
    let (_, scope) = on(host);
    assert_eq!(shown("file(\"f\")", &scope), "\"in root\"");
    assert_eq!(shown("file(\"~/f\")", &scope), "\"in home\"");
    assert_eq!(shown("base64decode(filebase64(\"f\"))", &scope), "\"in cwd\"");
    assert_eq!(shown("fileexists(\"~/f\")", &scope), "true");
    assert_eq!(shown("fileset(\"~\", \"*\")", &scope), "set[\"f\"]");
    assert_eq!(shown("abspath(\"f\")", &scope), format!("\"{}/f\"", cwd.path().display()));
    assert_eq!(shown("pathexpand(\"~\")", &scope), format!("\"{}\"", home.path().display()));
    let (_, homeless) = on(LocalHost::new("/"));
    assert_eq!(
        shown("pathexpand(\"~\")", &homeless),
        "error: x:1:12: the value for `path` of `pathexpand` is wrong: `~`: the home is not known"
    );
}

#[test]
fn links_are_followed_but_not_in_circles() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs_err::create_dir_all(at("real/deep")).unwrap();
    fs_err::write(at("real/deep/f"), "").unwrap();
    symlink("real", at("link")).unwrap();
    symlink("..", at("real/up")).unwrap();
    symlink("real/deep/f", at("file")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let (_, scope) = on(LocalHost::new(root.path()));
    assert_eq!(shown("fileset(\".\", \"**\")", &scope), "set[\"file\",\"link/deep/f\",\"real/deep/f\"]");
    assert_eq!(shown("fileset(\".\", \"*/deep/*\")", &scope), "set[\"link/deep/f\",\"real/deep/f\"]");
    assert!(shown("fileexists(\"dangling\")", &scope).ends_with("is not a regular file"));
}

#[test]
fn names_that_are_no_text_are_left_out() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    fs_err::write(root.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    fs_err::write(root.path().join("f"), "").unwrap();
    let (_, scope) = on(LocalHost::new(root.path()));
    assert_eq!(shown("fileset(\".\", \"*\")", &scope), "set[\"f\"]");
}

/// Stores that say what they are asked.
#[derive(Debug)]
struct Repeating;

impl Stores for Repeating {
    fn secret(&self, request: &SecretRequest) -> Result<String, SecretError> {
        Ok(format!("{request:?}"))
    }
}

#[test]
fn stores_are_asked_if_the_host_has_some() {
    let (host, scope) = on(LocalHost::new("/").with_stores(Arc::new(Repeating)));
    assert_eq!(shown("consul_key(\"a\")", &scope), r#""Consul { key: \"a\" }""#);
    assert_eq!(shown("aws_secretsmanager_raw(\"a\")", &scope), r#"sensitive("AwsRaw { name: \"a\" }")"#);
    let asked = Observation::Secret(SecretRequest::Consul { key: "a".into() });
    assert!(host.observations().contains(&asked));
}

#[test]
fn stores_that_cannot_be_asked_are_named() {
    let (_, scope) = on(LocalHost::new("/"));
    for (text, store) in [
        ("consul_key(\"a\")", "Consul"),
        ("vault(\"a\", \"b\")", "Vault"),
        ("aws_secretsmanager(\"a\", null)", "AWS Secrets Manager"),
        ("aws_secretsmanager_raw(\"a\")", "AWS Secrets Manager"),
    ] {
        let errors = shown(text, &scope);
        assert!(errors.contains(&format!("{store} gave no value: it cannot be asked from here")), "{errors}");
        assert!(errors.contains("hint: give the value in a variable"), "{errors}");
    }
}

#[test]
fn what_was_encrypted_for_a_key_is_decrypted_with_it() {
    let data = |name: &str| {
        fs_err::read_to_string(PathBuf::from(ROOT).parent().unwrap().join("rsa").join(name)).unwrap()
    };
    let (_, mut scope) = on(LocalHost::new("/"));
    for name in ["ciphertext.txt", "binary.txt", "pkcs1.pem", "pkcs8.pem", "other.pem", "short.pem"] {
        scope.set(name.split('.').next().unwrap(), Value::string(data(name)));
    }
    assert_eq!(shown("rsadecrypt(ciphertext, pkcs1)", &scope), "\"message of the test\"");
    assert_eq!(shown("rsadecrypt(ciphertext, pkcs8)", &scope), "\"message of the test\"");
    let fails = |text: &str, reason: &str| {
        let errors = shown(text, &scope);
        assert!(errors.starts_with("error:") && errors.contains(reason), "{errors}");
    };
    fails("rsadecrypt(ciphertext, other)", "it cannot be decrypted with this key");
    fails("rsadecrypt(\"YQ==\", pkcs1)", "it cannot be decrypted with this key");
    fails("rsadecrypt(ciphertext, short)", "the key is not a valid RSA key of 2048 to 8192 bits");
    fails("rsadecrypt(binary, pkcs1)", "is not text in UTF-8");
}

#[test]
fn gzip_is_that_of_the_text_and_always_the_same() {
    use std::io::Read;
    let (_, scope) = on(LocalHost::new("/"));
    let value = evaluate("base64gzip(\"hello hello hello\")", &scope).unwrap();
    assert_eq!(value, evaluate("base64gzip(\"hello hello hello\")", &scope).unwrap());
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello hello hello");
}

#[test]
fn a_template_points_at_its_own_lines_and_at_the_call() {
    let (_, scope) = on(LocalHost::new(ROOT));
    let errors = evaluate("templatefile(\"wrong.tpl\", {})", &scope).unwrap_err();
    let error = &errors.0[0];
    let place = error.location.as_ref().unwrap();
    assert_eq!((place.file.as_ref(), place.line), ("wrong.tpl", 2));
    assert_eq!(error.notes[0].location.as_ref().unwrap().file.as_ref(), "x");
}

#[test]
fn a_template_keeps_what_is_sensitive() {
    let (_, mut scope) = on(LocalHost::new(ROOT));
    scope.set("secret", Value::string("one.tpl").mark(Mark::SENSITIVE));
    for text in ["templatefile(secret, {list = 1})", "templatefile(\"one.tpl\", {list = secret})"] {
        assert!(evaluate(text, &scope).unwrap().is_sensitive(), "{text}");
    }
}
