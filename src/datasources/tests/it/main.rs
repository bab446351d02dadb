//! Data sources against a real server on loopback and real programs.

mod external;
mod http;

use imgbuild_datasources::{DataSource, Fields, Null, OutputKind};
use serde_json::{Value, json};

/// A JSON object as attributes.
fn object(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}

#[tokio::test]
async fn null_gives_back_what_it_is_given() {
    let output = Null.read(&object(json!({"input": "x"}))).await.unwrap();
    assert_eq!(Value::Object(output.values), json!({"output": "x"}));
    let error = Null.read(&Fields::new()).await.unwrap_err();
    assert_eq!(error.message, "the attributes of the data source `null` do not fit: missing field `input`");
}

#[test]
fn outputs_are_declared() {
    use imgbuild_datasources::{External, ExternalRaw, Http, HttpLimits};
    let here = || std::path::PathBuf::from(".");
    let sources: [Box<dyn DataSource>; 4] = [
        Box::new(Null),
        Box::new(Http::new(reqwest::Client::new(), HttpLimits::default())),
        Box::new(External::new(here())),
        Box::new(ExternalRaw::new(here())),
    ];
    let names = sources.each_ref().map(|source| {
        assert!(source.outputs().iter().all(|output| output.kind == OutputKind::Follow));
        let names: Vec<&str> = source.outputs().iter().map(|output| output.name).collect();
        format!("{}: {}", source.kind(), names.join(" "))
    });
    assert_eq!(
        names,
        ["null: output", "http: url body request_headers", "external: result", "external-raw: result"]
    );
}
