//! Events as JSON lines, and the description of each: one table, which makes `docs/events.md` and which a test compares
//! with what is really written.

use imgbuild_model::{Diagnostic, Event};

/// A field of an event.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type in JSON, with `?` after it if it may be absent.
    pub kind: &'static str,
    /// What it says.
    pub doc: &'static str,
}

/// A kind of event.
#[derive(Clone, Copy, Debug)]
pub struct EventSchema {
    /// The value of its field `event`.
    pub name: &'static str,
    /// When it is written.
    pub doc: &'static str,
    /// Its further fields.
    pub fields: &'static [Field],
}

const fn field(name: &'static str, kind: &'static str, doc: &'static str) -> Field {
    Field { name, kind, doc }
}

const ID: Field = field("id", "number", "The action, by its place in the plan of this run.");
const TARGET: Field = field("target", "string", "The target it belongs to, with its platform.");
const KIND: Field = field("kind", "string", "Its kind.");

/// Each kind of event that is written.
pub const EVENTS: &[EventSchema] = &[
    EventSchema {
        name: "run_started",
        doc: "The plan is made and execution starts.",
        fields: &[
            field("actions", "number", "How many actions the plan has."),
            field("hits", "number", "How many of them have a result already."),
            field("estimate_seconds", "number?", "What the rest will take, from recorded durations."),
        ],
    },
    EventSchema {
        name: "action_started",
        doc: "An action starts.",
        fields: &[ID, TARGET, KIND, field("description", "string", "What it does, in a few words.")],
    },
    EventSchema {
        name: "progress",
        doc: "An action says how far it is.",
        fields: &[
            ID,
            field("message", "string", "What it is doing."),
            field("done", "number", "How much is done."),
            field("total", "number", "Of how much; 0 if that is not known."),
        ],
    },
    EventSchema {
        name: "output",
        doc: "A line of an action's output, as it came: it may hold escape sequences.",
        fields: &[
            ID,
            field("stream", "string", "`stdout` or `stderr`."),
            field("line", "string", "The line, without its end."),
        ],
    },
    EventSchema {
        name: "tried",
        doc: "An attempt at an action failed, and the run goes on.",
        fields: &[
            ID,
            field("error", "string", "Why."),
            field(
                "left",
                "number?",
                "How many further attempts there are; absent where the chain goes on from what the last one left.",
            ),
        ],
    },
    EventSchema {
        name: "waiting",
        doc: "An action waits for another process that builds the same.",
        fields: &[ID, TARGET, field("message", "string", "For what.")],
    },
    EventSchema {
        name: "action_finished",
        doc: "An action ended. Cached actions end without having started.",
        fields: &[
            ID,
            TARGET,
            KIND,
            field("description", "string", "What it did, in a few words."),
            field("key", "string?", "Its key."),
            field(
                "outcome",
                "string",
                "`built`; `hit`: its result was there; `unchanged`: it ran and gave the result known already; `failed`; \
                 `skipped`: something before it failed, or the run was stopped.",
            ),
            field("message", "string?", "Why it failed, in one line."),
            field("duration", "number", "How long it took, in seconds."),
        ],
    },
    EventSchema {
        name: "artifact",
        doc: "A file or folder was written.",
        fields: &[
            TARGET,
            field("path", "string", "Where."),
            field("kind", "string", "What it is, by the kind of export."),
            field("digest", "string", "Its digest, with the function's name before a colon."),
            field("size", "number", "Its size in bytes."),
        ],
    },
    EventSchema {
        name: "warning",
        doc: "Something that should be known, without a place in a file.",
        fields: &[field("message", "string", "What.")],
    },
    EventSchema {
        name: "diagnostic",
        doc: "Something is wrong, or should be known, in the files of the workspace or around the run. May come before \
              `run_started`, or without it.",
        fields: &[
            field("severity", "string", "`error` or `warning`."),
            field(
                "class",
                "string",
                "Who must act: `input` (exit code 1), `environment` (2), `remote` (3) or `bug` (101).",
            ),
            field("message", "string", "What is wrong."),
            field(
                "location",
                "object?",
                "Where: `file`, `line`, `column`, `end_line`, `end_column`; lines and columns count from 1, 0 is \
                 unknown, the end is exclusive.",
            ),
            field("label", "string?", "What is to be said at that place."),
            field("notes", "array", "Further places, each with `text` and, or null, `location`."),
            field("hint", "string?", "What to do about it."),
            field("rendered", "string", "All of it in one line, for people."),
        ],
    },
    EventSchema {
        name: "run_finished",
        doc: "The run ended. Artifacts may still follow.",
        fields: &[
            field("success", "boolean", "Whether everything that was asked for is there."),
            field("built", "number", "How many actions ran."),
            field("hits", "number", "How many had a result already."),
            field("failed", "number", "How many failed."),
            field("skipped", "number", "How many did not run."),
            field("duration", "number", "How long the run took, in seconds."),
        ],
    },
];

#[derive(serde::Serialize)]
struct DiagnosticEvent<'a> {
    event: &'static str,
    severity: imgbuild_model::Severity,
    class: imgbuild_model::Class,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a imgbuild_model::Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    notes: &'a [imgbuild_model::Note],
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    rendered: String,
}

/// An event as one line of JSON, without its end.
#[must_use]
pub fn json_line(event: &Event) -> String {
    to_json(event)
}

/// A diagnostic as one line of JSON, without its end.
#[must_use]
pub fn json_diagnostic(diagnostic: &Diagnostic) -> String {
    let Diagnostic { severity, class, message, location, label, notes, hint } = diagnostic;
    to_json(&DiagnosticEvent {
        event: "diagnostic",
        severity: *severity,
        class: *class,
        message,
        location: location.as_ref(),
        label: label.as_deref(),
        notes,
        hint: hint.as_deref(),
        rendered: crate::diagnostics::one_line(diagnostic),
    })
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("events have text keys and finite numbers only")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use imgbuild_model::{ActionId, Location, Outcome, Stream};
    use serde_json::Value;

    use super::*;

    /// An event of each kind with each field that it can have, by exhaustive matching on the kind before it.
    fn after(event: Option<&Event>) -> Option<Event> {
        let id = ActionId(3);
        let text = String::new;
        Some(match event {
            None => Event::RunStarted { actions: 0, hits: 0, estimate_seconds: Some(1.5) },
            Some(Event::RunStarted { .. }) => {
                Event::ActionStarted { id, target: text(), kind: text(), description: text() }
            }
            Some(Event::ActionStarted { .. }) => {
                Event::Progress { id, message: "".into(), done: 0, total: 0 }
            }
            Some(Event::Progress { .. }) => Event::Output { id, stream: Stream::Stdout, line: text() },
            Some(Event::Output { .. }) => Event::Tried { id, error: text(), left: Some(1) },
            Some(Event::Tried { .. }) => Event::ActionFinished {
                id,
                target: text(),
                kind: text(),
                description: text(),
                key: Some(imgbuild_digest::Hash::of(b"")),
                outcome: Outcome::Failed { message: text() },
                duration: Duration::from_millis(1500),
            },
            Some(Event::ActionFinished { .. }) => {
                Event::Artifact { target: text(), path: text(), kind: text(), digest: text(), size: 0 }
            }
            Some(Event::Artifact { .. }) => Event::Warning { message: text() },
            Some(Event::Warning { .. }) => Event::Waiting { id, target: text(), message: text() },
            Some(Event::Waiting { .. }) => Event::RunFinished {
                success: true,
                built: 0,
                hits: 0,
                failed: 0,
                skipped: 0,
                duration: Duration::ZERO,
            },
            Some(Event::RunFinished { .. }) => return None,
        })
    }

    fn check(line: &str) -> String {
        let Value::Object(object) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
        let name = object["event"].as_str().unwrap();
        let schema =
            EVENTS.iter().find(|schema| schema.name == name).unwrap_or_else(|| panic!("no `{name}`"));
        let written: BTreeSet<&str> =
            object.keys().map(String::as_str).filter(|key| *key != "event").collect();
        let documented: BTreeSet<&str> = schema.fields.iter().map(|field| field.name).collect();
        assert_eq!(written, documented, "{name}");
        for field in schema.fields {
            let kind = match object[field.name] {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            assert_eq!(field.kind.trim_end_matches('?'), kind, "{name}.{}", field.name);
        }
        name.to_owned()
    }

    #[test]
    fn the_table_says_what_is_written() {
        let mut names = BTreeSet::new();
        let mut event = None;
        while let Some(next) = after(event.as_ref()) {
            names.insert(check(&json_line(&next)));
            event = Some(next);
        }
        let diagnostic = Diagnostic::error("x").at(Location::file("f")).label("l").note("n", None).hint("h");
        names.insert(check(&json_diagnostic(&diagnostic)));
        assert_eq!(names, EVENTS.iter().map(|schema| schema.name.to_owned()).collect());
    }

    #[test]
    fn absent_fields_are_left_out() {
        let line = json_diagnostic(&Diagnostic::error("a\nb"));
        assert_eq!(
            line,
            r#"{"event":"diagnostic","severity":"error","class":"input","message":"a\nb","notes":[],"rendered":"error: a b"}"#
        );
    }
}
