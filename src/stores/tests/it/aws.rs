use imgbuild_stores::test_support::{MotoServer, StandIn};

use crate::{shown, stores, stores_at};

const REGION: (&str, &str) = ("AWS_REGION", "eu-central-1");
const ID: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AKIATEST");
const KEY: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "very-secret-key");
const NO_MACHINE: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

#[tokio::test]
async fn secrets_of_moto_are_read() {
    let Some(moto) = MotoServer::start() else { return };
    moto.create_secret("db", r#"{"user": "ada", "password": "hunter2"}"#);
    moto.create_secret("one", r#"{"only": 5432}"#);
    moto.create_secret("plain", "a plain text");
    moto.create_binary_secret("bytes", "AAEC");
    let url = moto.url();
    let known = stores(&[REGION, ID, KEY, ("AWS_ENDPOINT_URL", &url)]);
    assert_eq!(shown(known.aws_secret("db", Some("password")).await), "hunter2");
    assert_eq!(shown(known.aws_secret("one", None).await), "5432");
    assert_eq!(shown(known.aws_secret("plain", None).await), "a plain text");
    assert_eq!(shown(known.aws_secret_text("db").await), r#"{"user": "ada", "password": "hunter2"}"#);
    assert_eq!(
        shown(known.aws_secret("db", None).await),
        "error: the secret `db` has 2 fields; hint: name one of `user`, `password` as the second argument"
    );
    assert_eq!(shown(known.aws_secret_text("bytes").await), "error: the secret `bytes` is no text");
    assert_eq!(
        shown(known.aws_secret_text("none").await),
        "error: there is no secret `none` in `eu-central-1`; hint: `AWS_REGION` and `AWS_PROFILE` decide where it is \
         looked for"
    );

    let home = tempfile::tempdir().unwrap();
    let aws = home.path().join(".aws");
    fs_err::create_dir(&aws).unwrap();
    let profile = "[profile team]\nregion = eu-central-1\naws_access_key_id = A\naws_secret_access_key = B\n";
    fs_err::write(aws.join("config"), profile).unwrap();
    let variables = [
        ("HOME", home.path().to_str().unwrap()),
        ("AWS_PROFILE", "team"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &url),
        NO_MACHINE,
    ];
    let by_profile = stores_at(home.path(), &variables);
    assert_eq!(shown(by_profile.aws_secret("one", Some("only")).await), "5432");
    let elsewhere = stores_at(home.path(), &[variables.as_slice(), &[("AWS_REGION", "us-east-1")]].concat());
    let said = shown(elsewhere.aws_secret_text("one").await);
    assert!(said.starts_with("error: there is no secret `one` in `us-east-1`"), "{said}");
}

#[tokio::test]
async fn what_is_asked_is_signed_and_asked_once() {
    let server = StandIn::start(|_| Some((200, r#"{"Name": "x", "SecretString": "s"}"#.to_owned())));
    let url = server.url();
    let stores = stores(&[REGION, ID, KEY, ("AWS_SESSION_TOKEN", "session"), ("AWS_ENDPOINT_URL", &url)]);
    assert_eq!(shown(stores.aws_secret_text("x").await), "s");
    assert_eq!(shown(stores.aws_secret("x", None).await), "s");
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("x-amz-target"), "secretsmanager.GetSecretValue");
    assert_eq!(requests[0].header("x-amz-security-token"), "session");
    let signed = requests[0].header("authorization");
    assert!(
        signed.contains("Credential=AKIATEST/") && signed.contains("/eu-central-1/secretsmanager/"),
        "{signed}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let none = shown(stores(&[NO_MACHINE]).aws_secret_text("x").await);
    assert_eq!(
        none,
        "error: there is no region; hint: set `AWS_REGION`, or `region` in the profile that `AWS_PROFILE` names"
    );
    let none = shown(stores(&[REGION, NO_MACHINE]).aws_secret_text("x").await);
    assert!(none.starts_with("error: there are no credentials: "), "{none}");
    assert!(
        none.ends_with(
            "hint: set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or name a profile by `AWS_PROFILE`"
        ),
        "{none}"
    );
    let server = StandIn::start(|_| {
        let body = r#"{"__type": "AccessDeniedException", "Message": "User: u is not authorized"}"#;
        Some((400, body.to_owned()))
    });
    let refused = stores(&[REGION, ID, KEY, ("AWS_ENDPOINT_URL", &server.url())]);
    assert_eq!(
        shown(refused.aws_secret_text("x").await),
        "error: `x` is refused with AccessDeniedException: User: u is not authorized; hint: the credentials must be \
         valid, and allow `secretsmanager:GetSecretValue` on it"
    );
    let nobody = stores(&[REGION, ID, KEY, ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]);
    assert_eq!(
        shown(nobody.aws_secret_text("x").await),
        "error: it cannot be asked in `eu-central-1`: Connection refused (os error 111); hint: check `AWS_REGION`, \
         `AWS_ENDPOINT_URL` and the network"
    );
}
