use imgbuild_stores::test_support::{ConsulAgent, StandIn};

use crate::{shown, stores};

#[tokio::test]
async fn keys_of_a_real_agent_are_read() {
    let Some(agent) = ConsulAgent::start() else { return };
    agent.put("app/name", "web\nserver");
    agent.put("app/a%20b", "spaced");
    agent.put("app/empty", "");
    let address = agent.address();
    let known = stores(&[("CONSUL_HTTP_ADDR", &address), ("CONSUL_HTTP_TOKEN", ConsulAgent::TOKEN)]);
    assert_eq!(shown(known.consul_key("app/name").await), "web\nserver");
    assert_eq!(shown(known.consul_key("/app/a b").await), "spaced");
    assert_eq!(shown(known.consul_key("app/empty").await), "error: the value of `app/empty` is empty");
    assert_eq!(
        shown(known.consul_key("app/none").await),
        "error: there is no key `app/none`; hint: `consul kv put app/none VALUE` makes one"
    );
    agent.put("app/name", "moved");
    assert_eq!(shown(known.consul_key("app/name").await), "web\nserver", "it is asked once");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs_err::write(&file, format!("{}\n", ConsulAgent::TOKEN)).unwrap();
    let with_scheme = format!("http://{address}");
    let by_file = stores(&[
        ("CONSUL_HTTP_ADDR", &with_scheme),
        ("CONSUL_HTTP_TOKEN_FILE", file.to_str().unwrap()),
        ("CONSUL_HTTP_TOKEN", "another"),
    ]);
    assert_eq!(shown(by_file.consul_key("app/name").await), "moved", "a file counts more");

    let refused = format!(
        "error: `http://{address}` refuses to read `app/name`; hint: set `CONSUL_HTTP_TOKEN` to a token that may read it"
    );
    let wrong = "00000000-0000-0000-0000-000000000000";
    let wrong = stores(&[("CONSUL_HTTP_ADDR", &address), ("CONSUL_HTTP_TOKEN", wrong)]);
    assert_eq!(shown(wrong.consul_key("app/name").await), refused);
    let hidden = stores(&[("CONSUL_HTTP_ADDR", &address)]).consul_key("app/name").await;
    assert!(hidden.is_err(), "who has no token sees nothing");
}

#[tokio::test]
async fn certificates_of_a_real_agent_are_checked() {
    let Some(agent) = ConsulAgent::start() else { return };
    agent.put("app/name", "web");
    let (https, authority) = (agent.https(), agent.file("consul-agent-ca.pem"));
    let (certificate, key) = (agent.file("dc1-cli-consul-0.pem"), agent.file("dc1-cli-consul-0-key.pem"));
    let plain = https.trim_start_matches("https://");
    let token = ("CONSUL_HTTP_TOKEN", ConsulAgent::TOKEN);
    let shows = [("CONSUL_CLIENT_CERT", certificate.as_str()), ("CONSUL_CLIENT_KEY", &key)];
    let ask =
        async |more: &[(&str, &str)]| shown(stores(&[more, &[token]].concat()).consul_key("app/name").await);
    let [certificate, key] = shows;
    let trusts = ("CONSUL_CACERT", authority.as_str());
    assert_eq!(ask(&[("CONSUL_HTTP_ADDR", &https), trusts, certificate, key]).await, "web");
    let by_flag = [("CONSUL_HTTP_ADDR", plain), ("CONSUL_HTTP_SSL", "true")];
    assert_eq!(ask(&[by_flag.as_slice(), &[trusts, certificate, key]].concat()).await, "web");
    let unchecked = ("CONSUL_HTTP_SSL_VERIFY", "false");
    assert_eq!(ask(&[("CONSUL_HTTP_ADDR", &https), unchecked, certificate, key]).await, "web");

    let said = ask(&[("CONSUL_HTTP_ADDR", &https), certificate, key]).await;
    let expected = format!("error: `{https}` cannot be asked: invalid peer certificate: UnknownIssuer");
    assert!(said.starts_with(&expected), "{said}");
    assert!(
        said.ends_with("hint: set `CONSUL_CACERT` to a file with the certificate of its authority"),
        "{said}"
    );
    let said = ask(&[("CONSUL_HTTP_ADDR", &https), trusts]).await;
    assert!(said.starts_with(&format!("error: `{https}` cannot be asked: ")), "{said}");
    let said = ask(&[("CONSUL_HTTP_ADDR", &https), trusts, certificate]).await;
    assert_eq!(
        said,
        "error: `CONSUL_CLIENT_CERT` is set alone; hint: a certificate and its key are set together"
    );
}

#[tokio::test]
async fn what_is_asked_follows_the_environment() {
    let server = StandIn::start(|_| Some((200, "value".to_owned())));
    let url = format!("{}/prefix/", server.url());
    let stores = stores(&[
        ("CONSUL_HTTP_ADDR", &url),
        ("CONSUL_HTTP_AUTH", "ada:pass"),
        ("CONSUL_HTTP_TOKEN", "t"),
        ("CONSUL_NAMESPACE", "team"),
        ("CONSUL_PARTITION", "part"),
    ]);
    assert_eq!(shown(stores.consul_key("a/ä%b?").await), "value");
    let request = &server.requests()[0];
    assert_eq!(request.line, "GET /prefix/v1/kv/a/%C3%A4%25b%3F?raw=&ns=team&partition=part");
    assert_eq!(request.header("x-consul-token"), "t");
    assert_eq!(request.header("authorization"), "Basic YWRhOnBhc3M=");
}
