//! What happens in a build, for people: events of the engine and lines of post-processors as Packer's output.

use std::sync::Arc;
use std::time::Duration;

use imgbuild_engine::secrets::{Fillings, SENSITIVE};
use imgbuild_model::{Event, EventSink, KindClass, Outcome, Stream, Value};
use imgbuild_packer_cli::ui::{BuildId, Event as Said, Stream as SaidStream};
use imgbuild_plan::{ActionGraph, ActionNode};
use imgbuild_postprocessors::{OutputSink, Speaker, Voice};

use super::Printer;

/// One build's voice.
#[derive(Clone)]
pub(super) struct BuildVoice {
    pub(super) printer: Arc<Printer>,
    pub(super) build: BuildId,
    /// The kind of builder.
    pub(super) builder: Arc<str>,
    pub(super) fillings: Arc<Fillings>,
}

impl BuildVoice {
    pub(super) fn tell(&self, event: Said) {
        self.printer.with(|ui, now| ui.event(now, &event));
    }

    /// Shows a question; whether there is anybody to answer it.
    pub(super) fn ask(&self, question: &str) -> bool {
        let mut asked = false;
        self.printer.with(|ui, _| {
            let text = ui.ask(self.build, question);
            asked = text.is_some();
            text.unwrap_or_default()
        });
        asked
    }

    pub(super) fn say(&self, text: &str) {
        self.tell(Said::Say { build: self.build, text: without_marks(text) });
    }
}

/// A text without the marks of sensitive texts, whole or cut.
fn without_marks(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\u{27e8}") {
        shown.push_str(&rest[..start]);
        shown.push_str(SENSITIVE);
        rest = rest[start..].split_once('\u{27e9}').map_or("", |(_, rest)| rest);
    }
    shown.push_str(rest);
    shown
}

/// Takes the engine's events of one build.
pub(super) struct EngineEvents {
    pub(super) voice: BuildVoice,
    pub(super) graph: Arc<ActionGraph>,
}

/// Where a step's files come from and go to.
fn transfer(node: &ActionNode) -> String {
    let attributes = node.attributes();
    let names = |value: &Value| match value {
        Value::List(items) => {
            let names = items.iter().filter_map(|item| match item {
                Value::Artifact(artifact) => Some(artifact.base_name().to_owned()),
                _ => None,
            });
            names.collect::<Vec<_>>().join(" ")
        }
        Value::String(text) => text.to_string(),
        _ => String::new(),
    };
    let from = ["src", "generated"].into_iter().find_map(|name| attributes.get(name)).map(names);
    let from = from.unwrap_or_else(|| "the text of the template".to_owned());
    format!("{from} => {}", attributes.str("dest").unwrap_or_default())
}

/// What Packer calls a step, in a line that says that it begins.
fn beginning(kind: &str, description: &str, node: Option<&ActionNode>) -> Option<String> {
    let transfer = node.map(transfer).unwrap_or_default();
    Some(match kind {
        "shell" => format!("Provisioning with shell: {}", rest(description)),
        "shell_local" => format!("Running local shell: {}", rest(description)),
        "file" => format!("Uploading {transfer}"),
        "download" => format!("Downloading {transfer}"),
        "debian" | "ubuntu" | "oci_base" | "rootfs_tar" => format!("Preparing the base: {description}"),
        "oci" | "docker_archive" | "tarball" => format!("Exporting: {kind}"),
        "ansible" | "ansible_local" | "puppet_masterless" | "salt_masterless" => {
            format!("Provisioning with {}: {}", packer_name(kind), rest(description))
        }
        "qemu" => "Preparing the machine".to_owned(),
        "power_off" => "Gracefully halting virtual machine...".to_owned(),
        "disk" => "Converting hard drive...".to_owned(),
        "host" => "Using SSH communicator to connect".to_owned(),
        "goss_validate" => "Running goss tests...".to_owned(),
        "sleep" => "Sleeping".to_owned(),
        _ => return None,
    })
}

/// What a step says of itself, without its kind and the line that names an interpreter.
fn rest(description: &str) -> &str {
    let rest = description.split_once(' ').map_or(description, |(_, rest)| rest);
    match rest.strip_prefix("#!").and_then(|rest| rest.split_once("; ")) {
        Some((_, rest)) => rest,
        None => rest,
    }
}

/// What the template calls a kind.
pub(super) fn packer_name(kind: &str) -> &str {
    match kind {
        "shell_local" => "shell-local",
        "ansible_local" => "ansible-local",
        "puppet_masterless" => "puppet-masterless",
        "salt_masterless" => "salt-masterless",
        "download" => "file",
        "goss_validate" => "goss",
        "packer_build" => "packer",
        other => other,
    }
}

impl EventSink for EngineEvents {
    fn emit(&self, event: Event) {
        let build = self.voice.build;
        match event {
            Event::ActionStarted { id, kind, description, .. } => {
                let node = self.graph.nodes.get(id.0 as usize);
                let seconds = |name: &str| {
                    let seconds =
                        node?.attributes().get(name)?.as_int().and_then(|number| u64::try_from(number).ok());
                    seconds.map(Duration::from_secs)
                };
                if let Some(duration) = seconds("pause_before") {
                    self.voice.tell(Said::Pausing { build, duration });
                }
                if let Some(duration) = seconds("timeout") {
                    self.voice.tell(Said::Timeout { build, duration });
                }
                if let Some(text) = beginning(&kind, &description, node) {
                    self.voice.say(&text);
                }
            }
            Event::Output { stream, line, .. } => {
                let stream = match stream {
                    Stream::Stdout => SaidStream::Output,
                    Stream::Stderr => SaidStream::Error,
                };
                self.voice.tell(Said::Remote { build, stream, text: line });
            }
            Event::Tried { error, left: Some(left), .. } => {
                self.voice.tell(Said::Retrying { build, error, left });
            }
            Event::Tried { error, left: None, .. } => self.voice.tell(Said::Continuing { build, error }),
            Event::ActionFinished { id, outcome: Outcome::Failed { .. }, .. } => {
                let node = self.graph.nodes.get(id.0 as usize);
                if node
                    .and_then(|node| node.attributes().get("max_retries")?.as_int())
                    .is_some_and(|tries| tries > 0)
                {
                    self.voice.tell(Said::RetriesUsedUp { build });
                }
            }
            Event::ActionFinished { id, outcome: Outcome::Hit | Outcome::Unchanged, .. } => {
                let node = self.graph.nodes.get(id.0 as usize);
                if let Some(node) =
                    node.filter(|node| node.schema.class == KindClass::Step && node.schema.id != "seal")
                {
                    let step = packer_name(node.schema.id).to_owned();
                    self.voice.tell(Said::Cached { build, step, age: None });
                }
            }
            Event::Waiting { .. } => {
                self.voice.say("Waiting for another build that carries out the same step")
            }
            Event::Warning { message } => self.voice.say(&message),
            _ => {}
        }
    }
}

impl OutputSink for BuildVoice {
    fn line(&self, speaker: Speaker<'_>, voice: Voice, text: &str) {
        let build = self.build;
        let text = self.fillings.mask(text).into_owned();
        let stream = match voice {
            Voice::Say => SaidStream::Output,
            Voice::Error => SaidStream::Error,
        };
        self.tell(match speaker {
            Speaker::Build => Said::Remote { build, stream, text },
            Speaker::PostProcessor(kind) => {
                Said::PostProcessor { build, kind: kind.to_owned(), stream, text }
            }
        });
    }
}
