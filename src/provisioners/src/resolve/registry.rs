//! Container images by their mutable names: which manifest a registry answers with for a platform.

use std::collections::BTreeSet;

use imgbuild_model::{Architecture, Class, Diagnostic, Event, Platform};
use imgbuild_plan::{ImagePin, ImageRequest};
use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::ImageIndexEntry;
use oci_client::secrets::RegistryAuth;

use super::ArchiveConfig;
use super::errors::Problem;

/// Answers requests for images.
pub(super) async fn resolve(
    config: &ArchiveConfig,
    requests: &BTreeSet<&ImageRequest>,
) -> Vec<Result<ImagePin, Problem>> {
    futures::future::join_all(requests.iter().map(|request| pin(config, request))).await
}

async fn pin(config: &ArchiveConfig, request: &ImageRequest) -> Result<ImagePin, Problem> {
    let reference = reference(&request.image)?;
    let auth = auth(config, reference.registry());
    let client = client(config, &reference, request.platform);
    let fail = |error| problem(&request.image, request.platform, &error);
    let (_, digest, text) = client.pull_manifest_and_config(&reference, &auth).await.map_err(fail)?;
    let about = ImageFacts::read(&text).ok_or_else(|| {
        Diagnostic::error(format!("`{}` has a configuration that cannot be read", request.image))
            .class(Class::Remote)
    })?;
    let wanted = request.platform.architecture.oci_name();
    if about.architecture != wanted {
        let message = format!(
            "`{}` is for `linux/{}`, not for `{}`",
            request.image, about.architecture, request.platform
        );
        return Err(Diagnostic::error(message).hint("name another image, or another platform").into());
    }
    Ok(ImagePin { request: request.clone(), digest, created: about.created })
}

/// A reference as the user writes it.
pub(crate) fn reference(image: &str) -> Result<Reference, Problem> {
    image.parse().map_err(|error: oci_client::ParseError| {
        Diagnostic::error(format!("`{image}` is not the reference of an image: {error}"))
            .hint("it looks like `registry.example/name:tag`")
            .into()
    })
}

pub(crate) fn client(config: &ArchiveConfig, reference: &Reference, platform: Platform) -> Client {
    let registry = reference.resolve_registry();
    let protocol = if is_local(registry) {
        ClientProtocol::HttpsExcept(vec![registry.to_owned()])
    } else {
        ClientProtocol::Https
    };
    Client::new(ClientConfig {
        protocol,
        platform_resolver: Some(Box::new(move |entries: &[ImageIndexEntry]| choose(entries, platform))),
        connect_timeout: Some(config.retry.connect_timeout),
        read_timeout: Some(config.retry.stall_timeout),
        user_agent: concat!("imgbuild/", env!("CARGO_PKG_VERSION")),
        https_proxy: config.proxies.https.clone(),
        http_proxy: config.proxies.http.clone().filter(|_| !is_local(registry)),
        no_proxy: config.proxies.no_proxy.clone(),
        ..ClientConfig::default()
    })
}

/// A registry of this machine is asked without encryption; no other is.
fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// The manifest for a platform. Of several variants the one that the distributions mean by the architecture's name.
fn choose(entries: &[ImageIndexEntry], platform: Platform) -> Option<String> {
    let preferred = match platform.architecture {
        Architecture::Arm => Some("v7"),
        Architecture::Arm64 => Some("v8"),
        _ => None,
    };
    let fitting = || {
        entries.iter().filter(|entry| {
            entry.platform.as_ref().is_some_and(|found| {
                found.os.to_string() == "linux"
                    && found.architecture.to_string() == platform.architecture.oci_name()
            })
        })
    };
    let variant = |entry: &&ImageIndexEntry| entry.platform.as_ref().and_then(|found| found.variant.clone());
    fitting()
        .find(|entry| variant(entry).as_deref() == preferred)
        .or_else(|| fitting().find(|entry| variant(entry).is_none()))
        .or_else(|| fitting().next())
        .map(|entry| entry.digest.clone())
}

/// What is asked of an image's configuration.
struct ImageFacts {
    architecture: String,
    created: i64,
}

impl ImageFacts {
    fn read(text: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Config {
            architecture: String,
            created: Option<String>,
        }
        let config: Config = serde_json::from_str(text).ok()?;
        let created = config.created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        Some(Self {
            architecture: config.architecture,
            // Before 1980 zip cannot go, and images that say so mean that they do not say.
            created: created.map_or(0, jiff::Timestamp::as_second).max(imgbuild_plan::default_source_date()),
        })
    }
}

/// The credentials of a registry in Docker's `config.json`.
pub(crate) fn auth(config: &ArchiveConfig, registry: &str) -> RegistryAuth {
    let Some(path) = &config.docker_config else { return RegistryAuth::Anonymous };
    let warn = |problem: String| {
        let message = format!("`{}`: {problem}; `{registry}` is asked anonymously", path.display());
        config.events.emit(Event::Warning { message });
        RegistryAuth::Anonymous
    };
    match fs_err::read_to_string(path) {
        Ok(text) => match credentials(&text, registry) {
            Ok(auth) => auth,
            Err(problem) => warn(problem),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => RegistryAuth::Anonymous,
        Err(error) => warn(error.to_string()),
    }
}

fn credentials(text: &str, registry: &str) -> Result<RegistryAuth, String> {
    use base64::Engine as _;
    #[derive(Default, serde::Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Config {
        auths: std::collections::HashMap<String, Entry>,
        creds_store: Option<String>,
        cred_helpers: std::collections::HashMap<String, String>,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Entry {
        auth: Option<String>,
        username: Option<String>,
        password: Option<String>,
    }
    let config: Config = serde_json::from_str(text).map_err(|error| format!("it cannot be read: {error}"))?;
    let host = |key: &str| {
        let key = key.split_once("://").map_or(key, |(_, rest)| rest);
        key.split('/').next().unwrap_or_default().to_owned()
    };
    let names: &[&str] =
        if registry == "docker.io" { &["docker.io", "index.docker.io"] } else { &[registry] };
    let entry =
        config.auths.iter().find(|(key, _)| names.contains(&host(key).as_str())).map(|(_, entry)| entry);
    if let Some(Entry { username: Some(user), password: Some(password), .. }) = entry {
        return Ok(RegistryAuth::Basic(user.clone(), password.clone()));
    }
    if let Some(auth) = entry.and_then(|entry| entry.auth.as_deref()).filter(|auth| !auth.is_empty()) {
        let bytes = base64::engine::general_purpose::STANDARD.decode(auth).ok();
        let pair = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        return match pair.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((user, password)) => Ok(RegistryAuth::Basic(user.to_owned(), password.to_owned())),
            None => Err("its `auth` is not base64 of `user:password`".to_owned()),
        };
    }
    let helper =
        config.cred_helpers.get(registry).or(config.creds_store.as_ref().filter(|_| entry.is_some()));
    match helper {
        Some(helper) => Err(format!("the credential helper `{helper}` is not asked")),
        None => Ok(RegistryAuth::Anonymous),
    }
}

pub(crate) fn problem(image: &str, platform: Platform, error: &OciDistributionError) -> Diagnostic {
    let remote = |message: String| Diagnostic::error(format!("`{image}`: {message}")).class(Class::Remote);
    let not_found = || {
        Diagnostic::error(format!("`{image}` does not exist in its registry"))
            .hint("check the name and the tag")
    };
    let refused = || {
        remote("the registry refuses access".to_owned())
            .hint("check the name, or log in with `docker login` or `podman login`")
    };
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => {
            Diagnostic::error(format!("`{image}` has no image for `{platform}`"))
                .hint("name another image, or another platform")
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let has = |code: fn(&OciErrorCode) -> bool| envelope.errors.iter().any(|error| code(&error.code));
            if has(|code| {
                matches!(
                    code,
                    OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound
                )
            }) {
                not_found()
            } else if has(|code| matches!(code, OciErrorCode::Unauthorized | OciErrorCode::Denied)) {
                refused()
            } else {
                remote(envelope.to_string())
            }
        }
        OciDistributionError::ServerError { code: 404, .. } => not_found(),
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            refused()
        }
        OciDistributionError::RequestError(error) => {
            // The innermost cause says what happened.
            let mut cause: &dyn std::error::Error = error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            remote(format!("the registry cannot be reached: {cause}"))
                .hint("check the network and the registry's name")
        }
        other => remote(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_host() {
        let text = r#"{"auths": {"https://registry.example/v2/": {"auth": "dXNlcjpwYTpzcw=="}, "other.example": {}},
            "credsStore": "desktop"}"#;
        let found = credentials(text, "registry.example").unwrap();
        assert_eq!(found, RegistryAuth::Basic("user".to_owned(), "pa:ss".to_owned()));
        assert_eq!(credentials(text, "third.example"), Ok(RegistryAuth::Anonymous));
        assert_eq!(
            credentials(text, "other.example"),
            Err("the credential helper `desktop` is not asked".to_owned())
        );
        assert!(credentials(r#"{"auths": {"a": {"auth": "!"}}}"#, "a").is_err());
        assert!(credentials("[", "a").unwrap_err().starts_with("it cannot be read"));
    }

    #[test]
    fn only_this_machine_is_asked_without_encryption() {
        for (registry, local) in [
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.0.0.1", true),
            ("localhost", true),
            ("localhost.example", false),
            ("127.0.0.1.example:80", false),
            ("registry.example", false),
        ] {
            assert_eq!(is_local(registry), local, "{registry}");
        }
    }

    #[test]
    fn the_usual_variant_is_chosen() {
        let entries: Vec<ImageIndexEntry> = serde_json::from_str(
            r#"[{"mediaType": "m", "digest": "sha256:6", "size": 1, "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}},
                {"mediaType": "m", "digest": "sha256:7", "size": 1, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
                {"mediaType": "m", "digest": "sha256:w", "size": 1, "platform": {"os": "windows", "architecture": "amd64"}},
                {"mediaType": "m", "digest": "sha256:8", "size": 1, "platform": {"os": "linux", "architecture": "arm64"}}]"#,
        )
        .unwrap();
        let chosen = |platform: &str| choose(&entries, platform.parse().unwrap());
        assert_eq!(chosen("linux/arm").as_deref(), Some("sha256:7"));
        assert_eq!(chosen("linux/arm64").as_deref(), Some("sha256:8"));
        assert_eq!(chosen("linux/amd64"), None);
    }

    #[test]
    fn dates_and_platforms_are_read() {
        let facts =
            ImageFacts::read(r#"{"architecture": "amd64", "created": "2026-07-11T10:16:37.5Z"}"#).unwrap();
        assert_eq!((facts.architecture.as_str(), facts.created), ("amd64", 1_783_764_997));
        assert_eq!(ImageFacts::read(r#"{"architecture": "amd64"}"#).unwrap().created, 315_532_800);
    }
}
