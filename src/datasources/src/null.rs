//! `null`: gives back what it is given. For values that are to be known only once others are.

use async_trait::async_trait;
use imgbuild_model::Diagnostic;

use crate::{DataSource, Fields, Output, OutputKind, OutputSchema, OutputType, fields, settings};

/// The data source `null`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    input: String,
}

#[async_trait]
impl DataSource for Null {
    fn kind(&self) -> &'static str {
        "null"
    }

    fn outputs(&self) -> &'static [OutputSchema] {
        &[OutputSchema {
            name: "output",
            of: OutputType::String,
            kind: OutputKind::Follow,
            doc: "the same as `input`",
        }]
    }

    async fn read(&self, input: &Fields) -> Result<Output, Diagnostic> {
        let Settings { input } = settings(self.kind(), input)?;
        Ok(Output { values: fields([("output", input.into())]), warnings: Vec::new() })
    }
}
