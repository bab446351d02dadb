//! What a chain of steps carries besides its files: environment, user, and the image's configuration.

use std::collections::{BTreeMap, BTreeSet};

use imgbuild_digest::{ContentHash, ContentHasher};

use crate::{Step, Value};

/// The state of a chain at a step, relative to its source's own configuration, which is one too: what is absent here is
/// inherited.
///
/// `env`, `user`, `workdir` and `shell` are seen by later steps and so enter their keys. The rest is only read by
/// exports: changing it runs no step again.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ChainState {
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// The user that later steps and the container run as.
    pub user: Option<String>,
    /// The folder that later steps and the container start in.
    pub workdir: Option<String>,
    /// The command that `shell` steps hand their text to.
    pub shell: Option<Vec<String>>,
    /// The container's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// The container's default arguments.
    pub cmd: Option<Vec<String>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Ports that the container listens on, as `80/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// Paths meant for volumes.
    pub volumes: BTreeSet<String>,
    /// The signal that stops the container.
    pub stop_signal: Option<String>,
}

impl ChainState {
    /// The state after a step of a kind whose effect is `State`. A step of any other kind leaves it as it is.
    ///
    /// The kinds are `env`, `run_as`, `workdir`, `default_shell`, `entrypoint`, `cmd`, `label`, `expose`, `volume`
    /// and `stop_signal`; their attributes are valid under their schemas.
    #[must_use]
    pub fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        let attributes = &step.attributes;
        let text = |name: &str| attributes.str(name).map(str::to_owned);
        let texts = |name: &str| attributes.strings(name).map(str::to_owned).collect::<Vec<_>>();
        let pairs = |name: &str| {
            attributes
                .get(name)
                .and_then(Value::as_dict)
                .unwrap_or_default()
                .iter()
                .filter_map(|(key, value)| Some((key.to_string(), value.as_str()?.to_owned())))
                .collect::<Vec<_>>()
        };
        match step.kind.as_str() {
            "env" => next.env.extend(pairs("variables")),
            "run_as" => next.user = text("user"),
            "workdir" => next.workdir = text("path"),
            "default_shell" => next.shell = Some(texts("command")),
            "entrypoint" => next.entrypoint = Some(texts("command")),
            "cmd" => next.cmd = Some(texts("command")),
            "label" => next.labels.extend(pairs("labels")),
            "expose" => next.exposed_ports.extend(texts("ports")),
            "volume" => next.volumes.extend(texts("paths")),
            "stop_signal" => next.stop_signal = text("signal"),
            _ => {}
        }
        next
    }
}

impl ContentHash for ChainState {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        let Self { env, user, workdir, shell, entrypoint, cmd, labels, exposed_ports, volumes, stop_signal } =
            self;
        env.content_hash(hasher);
        user.content_hash(hasher);
        workdir.content_hash(hasher);
        shell.content_hash(hasher);
        entrypoint.content_hash(hasher);
        cmd.content_hash(hasher);
        labels.content_hash(hasher);
        exposed_ports.content_hash(hasher);
        volumes.content_hash(hasher);
        stop_signal.content_hash(hasher);
    }
}
