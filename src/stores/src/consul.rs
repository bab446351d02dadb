//! Consul's key-value store.

use imgbuild_model::Secret;
use reqwest::StatusCode;

use crate::StoreError;
use crate::environment::{Environment, file_of};
use crate::http::{Address, Tls, hidden, send};

const DEFAULT: &str = "127.0.0.1:8500";

/// The value of a key.
pub(crate) async fn read(environment: &Environment, key: &str) -> Result<Secret, StoreError> {
    let address = address(environment)?;
    let tls = Tls {
        authority: environment.first(&["CONSUL_CACERT"]),
        authorities: environment.first(&["CONSUL_CAPATH"]),
        certificate: environment.first(&["CONSUL_CLIENT_CERT"]),
        key: environment.first(&["CONSUL_CLIENT_KEY"]),
        verify: environment.flag("CONSUL_HTTP_SSL_VERIFY")?.unwrap_or(true),
    };
    let mut url = address.below(&["v1", "kv"], key)?;
    url.query_pairs_mut().append_pair("raw", "");
    for (variable, parameter) in [("CONSUL_NAMESPACE", "ns"), ("CONSUL_PARTITION", "partition")] {
        if let Some(value) = environment.get(variable) {
            url.query_pairs_mut().append_pair(parameter, value);
        }
    }
    let mut request = address.client(environment, &tls)?.get(url);
    if let Some((variable, token)) = token(environment)? {
        request = request.header("X-Consul-Token", hidden(variable, &token)?);
    }
    if let Some(login) = environment.get("CONSUL_HTTP_AUTH") {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        request = request.basic_auth(user, password);
    }
    let answer = send(request).await.map_err(|why| {
        let failed = StoreError::new(format!("`{}` cannot be asked: {why}", address.shown()));
        match environment.get("CONSUL_HTTP_ADDR") {
            _ if why.contains("certificate") => {
                failed.hint("set `CONSUL_CACERT` to a file with the certificate of its authority")
            }
            Some(_) => failed.hint("check `CONSUL_HTTP_ADDR` and the network"),
            None => failed.hint("set `CONSUL_HTTP_ADDR` to the address of an agent"),
        }
    })?;
    match answer.status {
        StatusCode::OK if answer.body.is_empty() => {
            Err(StoreError::new(format!("the value of `{key}` is empty")))
        }
        StatusCode::OK => match std::str::from_utf8(&answer.body) {
            Ok(_) => Ok(Secret::new(answer.body)),
            Err(_) => Err(StoreError::new(format!("the value of `{key}` is not UTF-8"))),
        },
        StatusCode::NOT_FOUND => Err(StoreError::new(format!("there is no key `{key}`"))
            .hint(format!("`consul kv put {key} VALUE` makes one"))),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(StoreError::new(format!("`{}` refuses to read `{key}`", address.shown()))
                .hint("set `CONSUL_HTTP_TOKEN` to a token that may read it"))
        }
        status => Err(StoreError::new(format!("`{}` answered {status}", address.shown()))
            .hint("check `CONSUL_HTTP_ADDR`")),
    }
}

/// With a scheme, or without one, as Consul's own tools take it.
fn address(environment: &Environment) -> Result<Address, StoreError> {
    let given = environment.get("CONSUL_HTTP_ADDR").unwrap_or(DEFAULT);
    let encrypted = environment.flag("CONSUL_HTTP_SSL")?.unwrap_or(false);
    let text = match given.split_once("://") {
        Some(("http", rest)) if encrypted => format!("https://{rest}"),
        Some(_) => given.to_owned(),
        None => format!("{}://{given}", if encrypted { "https" } else { "http" }),
    };
    Address::parse("CONSUL_HTTP_ADDR", &text)
}

/// The token, with the variable that it is from. A file counts more, as with Consul's own tools.
fn token(environment: &Environment) -> Result<Option<(&'static str, String)>, StoreError> {
    if let Some((variable, path)) = environment.first(&["CONSUL_HTTP_TOKEN_FILE"]) {
        let text = String::from_utf8_lossy(&file_of(variable, path.as_ref())?).trim().to_owned();
        if !text.is_empty() {
            return Ok(Some((variable, text)));
        }
    }
    Ok(environment.first(&["CONSUL_HTTP_TOKEN"]).map(|(variable, token)| (variable, token.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_consul() {
        for (given, encrypted, shown) in [
            ("", "", "http://127.0.0.1:8500"),
            ("", "true", "https://127.0.0.1:8500"),
            ("consul:1234", "", "http://consul:1234"),
            ("http://consul:1234", "1", "https://consul:1234"),
            ("https://consul", "0", "https://consul"),
            ("http://user:password@consul:1/prefix", "", "http://consul:1"),
            ("unix:///run/consul.sock", "", "unix:///run/consul.sock"),
        ] {
            let variables = [("CONSUL_HTTP_ADDR", given), ("CONSUL_HTTP_SSL", encrypted)];
            let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let environment = Environment::new(variables.into(), None);
            assert_eq!(address(&environment).unwrap().shown(), shown, "{given} {encrypted}");
        }
    }
}
