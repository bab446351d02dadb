//! Where the values of secrets come from: the environment, files, and programs that the user has configured.
//!
//! A value is asked for when the first step that needs it runs, and kept in memory until the run is over. Nothing here
//! writes or shows one.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use async_trait::async_trait;
use imgbuild_engine::secrets::SecretStore;
use imgbuild_model::{Class, Diagnostic, Secret, SecretReference};
use tokio::sync::Mutex;

/// What a provider's command has in the place of the path.
const PATH: &str = "{path}";

/// Tells the value of an environment variable.
type Variables = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// The secrets of one run.
pub(crate) struct Store {
    variable: Box<Variables>,
    home: Option<PathBuf>,
    providers: BTreeMap<String, Vec<String>>,
    /// What was asked for already, without fields: no program is asked twice.
    known: Mutex<HashMap<(String, String), Secret>>,
}

impl Store {
    /// With the environment of this process, the user's home and the programs by provider.
    pub(crate) fn new(home: Option<PathBuf>, providers: BTreeMap<String, Vec<String>>) -> Self {
        Self { variable: Box::new(|name| std::env::var_os(name)), home, providers, known: Mutex::default() }
    }

    async fn whole(&self, reference: &SecretReference) -> Result<Secret, Box<Diagnostic>> {
        let SecretReference { provider, path, field: _ } = reference;
        match &**provider {
            "env" => match (self.variable)(path) {
                Some(value) => Ok(Secret::new(value.into_vec())),
                None => Err(Diagnostic::error(format!(
                    "the environment variable `{path}` of a secret is not set"
                ))
                .class(Class::Environment)
                .hint(format!("set it for imgbuild: `{path}=… imgbuild …`"))
                .into()),
            },
            "file" => self.file(path),
            name => match self.providers.get(name) {
                Some(command) => ask(name, command, path).await,
                None => Err(self.unknown(name).into()),
            },
        }
    }

    fn file(&self, path: &str) -> Result<Secret, Box<Diagnostic>> {
        let on_disk = match (path.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            (Some(_), None) => {
                return Err(Diagnostic::error(format!(
                    "`{path}` is in the home folder, and `HOME` is not set"
                ))
                .class(Class::Environment)
                .into());
            }
            (None, _) => PathBuf::from(path),
        };
        let bytes = fs_err::read(&on_disk).map_err(|error| {
            let reason = std::io::Error::from(error.kind());
            Diagnostic::error(format!("the file `{path}` of a secret cannot be read: {reason}"))
                .class(Class::Environment)
        })?;
        Ok(Secret::new(bytes))
    }

    fn unknown(&self, name: &str) -> Diagnostic {
        let known: Vec<String> = ["env", "file"]
            .into_iter()
            .chain(self.providers.keys().map(String::as_str))
            .map(|name| format!("`{name}`"))
            .collect();
        Diagnostic::error(format!("there is no provider of secrets called `{name}`")).hint(format!(
            "there are {}; `[secrets.providers.{name}]` in your own configuration file adds one",
            known.join(", ")
        ))
    }
}

#[async_trait]
impl SecretStore for Store {
    async fn resolve(&self, reference: &SecretReference) -> Result<Secret, Box<Diagnostic>> {
        let key = (reference.provider.clone(), reference.path.clone());
        let mut known = self.known.lock().await;
        let whole = match known.get(&key) {
            Some(secret) => secret.clone(),
            None => {
                let secret = self.whole(reference).await?;
                known.insert(key, secret.clone());
                secret
            }
        };
        match &reference.field {
            None => Ok(whole),
            Some(field) => pick(&whole, field).map_err(|reason| {
                Diagnostic::error(format!("the secret `{reference}` cannot be had: {reason}"))
                    .hint("`#field` takes one text of a JSON object")
                    .into()
            }),
        }
    }
}

/// One text of a JSON object. The reason never quotes the value.
fn pick(whole: &Secret, field: &str) -> Result<Secret, String> {
    let value: serde_json::Value = serde_json::from_slice(whole.expose())
        .map_err(|_| "what the provider gives is no JSON".to_owned())?;
    match value.get(field) {
        Some(serde_json::Value::String(text)) => Ok(Secret::new(text.as_str())),
        Some(serde_json::Value::Number(number)) => Ok(Secret::new(number.to_string())),
        Some(_) => Err(format!("the field `{field}` is no text")),
        None => Err(format!("there is no field `{field}`")),
    }
}

/// What a provider's program writes, without the end of its last line.
async fn ask(provider: &str, command: &[String], path: &str) -> Result<Secret, Box<Diagnostic>> {
    let words: Vec<String> = command.iter().map(|word| word.replace(PATH, path)).collect();
    let failed = |reason: String| {
        let message = format!("the provider `{provider}` gives no secret `{path}`: {reason}");
        Box::new(Diagnostic::error(message).class(Class::Environment))
    };
    let output = tokio::process::Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| failed(format!("`{}` cannot be started: {error}", words[0])))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
        let said = if last.is_empty() { String::new() } else { format!(": {last}") };
        return Err(failed(format!("`{}` ended with {}{said}", words[0], output.status)));
    }
    let mut bytes = output.stdout;
    if bytes.ends_with(b"\n") {
        bytes.pop();
    }
    Ok(Secret::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(home: Option<PathBuf>) -> Store {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let providers = BTreeMap::from([
            ("echo".to_owned(), words(&["/bin/echo", "of {path}"])),
            ("json".to_owned(), words(&["/bin/echo", r#"{"token": "abc\"d", "number": 12345, "list": []}"#])),
            ("fails".to_owned(), words(&["/bin/sh", "-c", "echo no such entry >&2; exit 3"])),
            ("gone".to_owned(), words(&["/nonexistent/program"])),
        ]);
        let mut store = Store::new(home, providers);
        store.variable = Box::new(|name| (name == "TOKEN").then(|| OsString::from("from the environment")));
        store
    }

    async fn resolved(store: &Store, reference: &str) -> Result<String, String> {
        let secret = store.resolve(&reference.parse().unwrap()).await.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(secret.expose().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn each_provider_gives_its_secret() {
        let home = tempfile::tempdir().unwrap();
        fs_err::write(home.path().join("key"), "in a file\n").unwrap();
        let store = store(Some(home.path().to_owned()));
        let absolute = format!("file:{}", home.path().join("key").display());
        for (reference, value) in [
            ("env:TOKEN", "from the environment"),
            ("file:~/key", "in a file\n"),
            (&absolute, "in a file\n"),
            ("echo:team/npm", "of team/npm"),
            ("json:x#token", "abc\"d"),
            ("json:x#number", "12345"),
        ] {
            assert_eq!(resolved(&store, reference).await.as_deref(), Ok(value), "{reference}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_said() {
        let store = store(None);
        for (reference, parts) in [
            ("env:NONE", vec!["the environment variable `NONE` of a secret is not set"]),
            ("file:~/key", vec!["`HOME` is not set"]),
            ("file:/nonexistent/key", vec!["the file `/nonexistent/key` of a secret cannot be read"]),
            (
                "fails:a/b",
                vec!["the provider `fails` gives no secret `a/b`", "exit status: 3: no such entry"],
            ),
            ("gone:a", vec!["`/nonexistent/program` cannot be started"]),
            ("other:a", vec!["there is no provider of secrets called `other`", "`env`, `file`, `echo`"]),
            ("json:x#none", vec!["there is no field `none`"]),
            ("json:x#list", vec!["the field `list` is no text"]),
            ("echo:x#field", vec!["what the provider gives is no JSON"]),
        ] {
            let message = resolved(&store, reference).await.unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{reference}: {message}");
            }
        }
    }

    #[tokio::test]
    async fn a_program_is_asked_once_in_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let counter = folder.path().join("asked");
        let script = format!("echo x >> {}; echo secret", counter.display());
        let command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        let store = Store::new(None, BTreeMap::from([("counted".to_owned(), command)]));
        for _ in 0..3 {
            assert_eq!(resolved(&store, "counted:x").await.as_deref(), Ok("secret"));
        }
        assert_eq!(fs_err::read_to_string(counter).unwrap(), "x\n");
    }
}
