//! `query`.

use std::process::ExitCode;

use imgbuild::args::{Query, QueryOutput};
use imgbuild_model::{AttributeValue, Diagnostic, Diagnostics, Location, PatternSet, Value};
use imgbuild_plan::{Node, QueryGraph, parse_query};

use crate::session::Session;

/// `imgbuild query`.
pub(super) fn query(query: &Query, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let parsed = parse_query(&query.expression, session.package()).map_err(|error| {
        let column = u32::try_from(error.column).unwrap_or_default();
        let place = Location { file: "<query>".into(), line: 1, column, end_line: 1, end_column: column + 1 };
        Diagnostic::error(format!("the query cannot be read: {}", error.message)).at(place)
    })?;
    let mut selection = session.selection([], &query.variant)?;
    selection.patterns = PatternSet { include: parsed.patterns(), exclude: Vec::new() };
    let analyzed = session.analyze(&selection)?;
    session.ui.close();
    let mut graph = QueryGraph::default();
    for (_, entry) in analyzed.iter() {
        let dependencies = graph.dependencies.entry(entry.label.clone()).or_default();
        dependencies.extend(entry.dependencies.iter().map(|(label, _)| label.clone()));
        let kind = match &entry.node {
            Node::Target(target) => target.target.rule.name.to_string(),
            Node::Source(_) => "source file".to_owned(),
        };
        graph.kinds.insert(entry.label.clone(), kind);
        if let Node::Target(target) = &entry.node {
            let attributes = graph.attributes.entry(entry.label.clone()).or_default();
            for (name, value) in &target.target.attributes {
                let resolved = target.attributes.get(name);
                let text = match (value, resolved) {
                    (_, Some(value)) => show(value),
                    (AttributeValue::Concrete(value), None) => show(value),
                    _ => continue,
                };
                attributes.insert(name.to_string(), text);
            }
        }
    }
    let selected = graph.run(&parsed);
    match query.output {
        QueryOutput::Label => selected.iter().for_each(|label| session.shell.line(&label.to_string())),
        QueryOutput::Dot => session.shell.print(&graph.dot(&selected)),
        QueryOutput::Json => {
            let records: Vec<_> = selected
                .iter()
                .map(|label| {
                    serde_json::json!({
                        "label": label.to_string(),
                        "kind": graph.kinds.get(label),
                        "attributes": graph.attributes.get(label),
                        "dependencies": graph.dependencies.get(label).into_iter().flatten()
                            .map(ToString::to_string).collect::<Vec<_>>(),
                    })
                })
                .collect();
            session.shell.line(&serde_json::to_string_pretty(&records).unwrap_or_default());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(value: &Value) -> String {
    match value {
        Value::None => "None".to_owned(),
        Value::Bool(value) => (if *value { "True" } else { "False" }).to_owned(),
        Value::Int(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Label(label) => format!("\"{label}\""),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Dict(entries) | Value::Struct(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| format!("{key:?}: {}", show(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Step(step) => call(step.kind.as_str(), &step.attributes),
        Value::Source(source) => call(source.kind.as_str(), &source.attributes),
        Value::Artifact(artifact) => format!("{:?}", artifact.base_name()),
        Value::Layer(layer) => format!("<layer of {}>", layer.action.label),
        Value::Provider(provider) => format!("<{}>", provider.id.name),
    }
}

fn call(kind: &str, attributes: &imgbuild_model::Attributes) -> String {
    let arguments: Vec<_> =
        attributes.iter().map(|(name, value)| format!("{name} = {}", show(value))).collect();
    format!("{kind}({})", arguments.join(", "))
}
