use imgbuild_stores::test_support::StandIn;

use crate::{shown, stores, stores_at};

#[tokio::test]
async fn fields_of_both_versions_are_read() {
    let server = StandIn::vault();
    let stores =
        stores(&[("VAULT_ADDR", &server.url()), ("VAULT_TOKEN", "s.token"), ("VAULT_NAMESPACE", "team")]);
    assert_eq!(shown(stores.vault("secret/data/db", "password").await), "hunter2-from-vault");
    assert_eq!(shown(stores.vault("secret/data/db", "user").await), "ada");
    assert_eq!(shown(stores.vault("/kv/db", "user").await), "ada");
    assert_eq!(shown(stores.vault("moved", "user").await), "ada");
    let requests = server.requests();
    let lines: Vec<&str> = requests.iter().map(|request| request.line.as_str()).collect();
    let asked = ["GET /v1/secret/data/db", "GET /v1/kv/db", "GET /v1/moved", "GET /v1/kv/db"];
    assert_eq!(lines, asked, "two fields of one secret are of one answer");
    for request in requests {
        assert_eq!(request.header("x-vault-namespace"), "team");
        assert_eq!(request.header("x-vault-request"), "true");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let server = StandIn::vault();
    let url = server.url();
    let stores = stores(&[("VAULT_ADDR", &url), ("VAULT_TOKEN", "s.token")]);
    for (path, field, expected) in [
        ("secret/data/db", "port", "error: `port` of `secret/data/db` is a number, not a text".to_owned()),
        (
            "secret/data/db",
            "pass",
            "error: the secret at `secret/data/db` has no `pass`; hint: it has `user`, `password`, `port`".to_owned(),
        ),
        ("secret/data/gone", "a", "error: the newest version of `secret/data/gone` was deleted".to_owned()),
        (
            "secret/db",
            "a",
            "error: there is no secret at `secret/db`; hint: with version 2 of the key-value store, `data/` stands behind \
             the mount: `secret/data/…`"
                .to_owned(),
        ),
        (
            "sealed",
            "a",
            format!(
                "error: `{url}` answered 503 Service Unavailable: Vault is sealed; hint: check `VAULT_ADDR`, and with \
                 `vault status` whether it is sealed"
            ),
        ),
        ("a/../b", "a", "error: `a/../b` is no path in a store".to_owned()),
        ("", "a", "error: `` is no path in a store".to_owned()),
    ] {
        assert_eq!(shown(stores.vault(path, field).await), expected);
    }
    let sealed = server.requests().into_iter().filter(|request| request.line == "GET /v1/sealed").count();
    assert_eq!(sealed, 3, "a server that is not ready is asked again");
    assert_eq!(shown(stores.vault("sealed", "b").await), shown(stores.vault("sealed", "a").await));
    let sealed = server.requests().into_iter().filter(|request| request.line == "GET /v1/sealed").count();
    assert_eq!(sealed, 3, "that there is no answer is remembered");
}

#[tokio::test]
async fn a_token_is_of_the_environment_or_of_a_login() {
    let server = StandIn::vault();
    let url = server.url();
    let home = tempfile::tempdir().unwrap();
    let hint = "hint: set `VAULT_TOKEN`, or log in by `vault login`, which writes `~/.vault-token`";
    let none = stores_at(home.path(), &[("VAULT_ADDR", &url)]);
    assert_eq!(shown(none.vault("kv/db", "user").await), format!("error: there is no token; {hint}"));
    assert_eq!(
        shown(stores(&[("VAULT_ADDR", &url)]).vault("kv/db", "user").await),
        format!("error: there is no token; {hint}")
    );
    fs_err::write(home.path().join(".vault-token"), "s.token\n").unwrap();
    let login = stores_at(home.path(), &[("VAULT_ADDR", &url), ("VAULT_TOKEN", "")]);
    assert_eq!(shown(login.vault("kv/db", "user").await), "ada");
    let wrong = stores_at(home.path(), &[("VAULT_ADDR", &url), ("VAULT_TOKEN", "s.other")]);
    assert_eq!(
        shown(wrong.vault("kv/db", "user").await),
        format!(
            "error: `{url}` refuses to read `kv/db`: 1 error occurred: * permission denied; hint: the token in \
             `VAULT_TOKEN` must be valid, and its policies must allow that"
        )
    );
    let broken = stores(&[("VAULT_ADDR", &url), ("VAULT_TOKEN", "s.to\nken")]);
    let said = shown(broken.vault("kv/db", "user").await);
    assert_eq!(said, "error: `VAULT_TOKEN` holds characters that it cannot have");
}

#[tokio::test]
async fn a_token_that_a_server_repeats_is_not_shown() {
    let server = StandIn::start(|request| {
        Some((500, format!("{{\"errors\": [\"bad token {}\"]}}", request.header("x-vault-token"))))
    });
    let stores = stores(&[("VAULT_ADDR", &server.url()), ("VAULT_TOKEN", "s.hidden")]);
    let said = shown(stores.vault("kv/db", "user").await);
    assert!(said.contains("answered 500 Internal Server Error: bad token <token>;"), "{said}");
    assert!(!format!("{said} {stores:?}").contains("s.hidden"), "{said} {stores:?}");
}

#[tokio::test]
async fn what_is_no_vault_is_named() {
    let server = StandIn::start(|_| Some((200, "<html>".to_owned())));
    let url = server.url();
    let stores = stores(&[("VAULT_ADDR", &url), ("VAULT_TOKEN", "t")]);
    assert_eq!(
        shown(stores.vault("a/b", "c").await),
        format!("error: what `{url}` says of `a/b` is no secret; hint: check `VAULT_ADDR` and the path")
    );
}
