//! What the tests share: a host whose answers do not change, a scope with values of all kinds, and a rendering of values
//! that shows their types.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::syntax::{Source, parse_expression};
use imgbuild_hcl::value::{Mark, Type, Value, to_json};
use imgbuild_model::Diagnostics;
use imgbuild_packer_functions::{FileKind, Host, LocalHost, SecretError, SecretRequest, functions};
use jiff::Timestamp;

/// The folder that file functions start at.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/data/root");

/// A machine on which it is always the same time, random bytes are all 7, and Vault and Consul know one secret each.
pub struct FixedHost(LocalHost);

impl FixedHost {
    pub fn new() -> Self {
        let environment = [("HELLO".to_owned(), "world".to_owned())];
        let started = "2018-01-02T03:04:05.12Z".parse().unwrap();
        let host = LocalHost::new(ROOT).with_cwd("/work/dir").with_home("/home/u").with_started(started);
        Self(host.with_environment(environment))
    }
}

impl Host for FixedHost {
    fn root(&self) -> &Path {
        self.0.root()
    }

    fn cwd(&self) -> &Path {
        self.0.cwd()
    }

    fn home(&self) -> Option<&Path> {
        self.0.home()
    }

    fn started(&self) -> Timestamp {
        self.0.started()
    }

    fn now(&self) -> Timestamp {
        "2024-02-29T23:59:58.9Z".parse().unwrap()
    }

    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        self.0.kind(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, FileKind)>> {
        self.0.list(folder)
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.real(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.0.env(name)
    }

    fn secret(&self, request: &SecretRequest) -> Result<String, SecretError> {
        let known = |value: &str| Ok(value.to_owned());
        match request {
            SecretRequest::Consul { key } if key == "a/key" => known("found"),
            SecretRequest::Vault { path, key } if path == "secret/data/x" && key == "pass" => {
                known("hunter2")
            }
            SecretRequest::Aws { key: None, .. } => known("only"),
            SecretRequest::Aws { name, key: Some(key) } => Ok(format!("{key} of {name}")),
            SecretRequest::AwsRaw { name } => Ok(format!("all of {name}")),
            _ => Err(SecretError::Failed {
                reason: "there is no such secret".to_owned(),
                hint: Some("look into the store".to_owned()),
            }),
        }
    }
}

/// All functions, on the machine that never changes.
pub fn fixed() -> Scope<'static> {
    let host: Arc<dyn Host> = Arc::new(FixedHost::new());
    with_variables(Scope::with_functions(Arc::new(functions(&host))))
}

/// Values of all kinds: `u…` are unknown, `sec…` sensitive.
fn with_variables(mut scope: Scope<'static>) -> Scope<'static> {
    let text = |text: &str| Value::string(text);
    let secret = |text: &str| Value::string(text).mark(Mark::SENSITIVE);
    let map = |entries: Vec<(&str, Value)>| {
        Value::map(Type::String, entries.into_iter().map(|(name, value)| (name.into(), value)).collect())
    };
    let all = [
        ("u", Value::dynamic()),
        ("us", Value::unknown(Type::String)),
        ("un", Value::unknown(Type::Number)),
        ("ul", Value::unknown(Type::list(Type::String))),
        ("um", Value::unknown(Type::map(Type::String))),
        ("uo", Value::unknown(Type::object([("a", Type::Number), ("b", Type::String)]))),
        ("m", map(vec![("z", text("1")), ("a", text("2"))])),
        ("sec", secret("secret")),
        ("secn", Value::int(1).mark(Mark::SENSITIVE)),
        ("secl", Value::list(Type::String, vec![text("a"), secret("b")])),
        ("secw", Value::strings(["a", "b"]).mark(Mark::SENSITIVE)),
        ("secm", map(vec![("a", secret("x")), ("b", text("y"))])),
        ("seco", Value::object_of([("a", secret("x")), ("b", Value::int(1))])),
    ];
    for (name, value) in all {
        scope.set(name, value);
    }
    scope
}

/// The value of an expression.
pub fn evaluate(text: &str, scope: &Scope<'_>) -> Result<Value, Diagnostics> {
    parse_expression(&Source::new("x", text))?.evaluate(scope)
}

/// A value with its kinds of collections: `list["a"]`, `map{"a"=1}`, `unknown(string)`, `sensitive("x")`.
pub fn render(value: &Value) -> String {
    let (inner, marks) = value.clone().unmark();
    let quoted = |text: &str| {
        let json = to_json(&Value::string(text)).unwrap();
        // The JSON of Go escapes more than a reader wants to see; a backslash before it is one of the text.
        let parts = json
            .split("\\\\")
            .map(|part| part.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&"));
        parts.collect::<Vec<_>>().join("\\\\")
    };
    let joined = |parts: Vec<String>| parts.join(",");
    let text = if !inner.is_known() {
        format!("unknown({})", inner.ty().name())
    } else if inner.is_null() {
        format!("null({})", inner.ty().name())
    } else if let Some(text) = inner.as_str() {
        quoted(text)
    } else if let Some(elements) = inner.elements() {
        let kind = match inner.ty() {
            Type::List(_) => "list",
            Type::Set(_) => "set",
            _ => "",
        };
        format!("{kind}[{}]", joined(elements.iter().map(render).collect()))
    } else if let Some(entries) = inner.entries() {
        let kind = if matches!(inner.ty(), Type::Map(_)) { "map" } else { "" };
        let entries = entries.iter().map(|(name, value)| format!("{}={}", quoted(name), render(value)));
        format!("{kind}{{{}}}", joined(entries.collect()))
    } else {
        inner.to_string()
    };
    if marks.is_empty() { text } else { format!("sensitive({text})") }
}
