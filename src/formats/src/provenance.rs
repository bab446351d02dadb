//! The provenance that lies beside an artifact: an in-toto statement with SLSA's build predicate, version 1.
//!
//! It says what was made, from which sources, by which steps and with which key, and nothing about when or where: the
//! same build gives the same document. Signatures are not made here.

use std::collections::BTreeMap;

use imgbuild_digest::{Digest, HashFunction};
use serde::Serialize;

use crate::ExportError;

/// The kind of build that the predicate's parameters are read by.
const BUILD_TYPE: &str = "urn:imgbuild:build:image:v1";

/// What made an artifact.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// What was made: a file, or the files of a folder.
    pub subjects: Vec<Subject>,
    /// The target, as a label: `//images:web`.
    pub target: String,
    /// The platform it runs on.
    pub platform: String,
    /// The key of what made it; absent where the result is never kept.
    pub key: Option<String>,
    /// The steps, in order.
    pub steps: Vec<BuildStep>,
    /// The version of this tool.
    pub tool_version: String,
}

/// A file that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its path relative to the output folder: never one of this machine's.
    pub path: String,
    /// Its digests, one for each function.
    pub digests: Vec<Digest>,
    /// Its size in bytes.
    pub size: u64,
}

/// Something that an artifact was made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// What it is: a package URL, an image's reference, a label.
    pub uri: String,
    /// The function that made its digest: `sha256` or `blake3`.
    pub function: String,
    /// The digest, in lower-case hexadecimal.
    pub hex: String,
    /// Its size in bytes, where that is known.
    pub size: Option<u64>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildStep {
    /// The step's kind.
    pub kind: String,
    /// What it did, as text for people.
    pub summary: String,
    /// The key of the layer; absent where it is never kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    predicate_type: &'static str,
    subject: Vec<Resource<'a>>,
    predicate: Predicate<'a>,
}

// What the sources follow from comes before them: see `is_current`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    run_details: RunDetails<'a>,
    build_definition: BuildDefinition<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition<'a> {
    build_type: &'static str,
    external_parameters: External<'a>,
    internal_parameters: Internal<'a>,
    resolved_dependencies: Vec<Resource<'a>>,
}

#[derive(Serialize)]
struct External<'a> {
    target: &'a str,
    platform: &'a str,
}

#[derive(Serialize)]
struct Internal<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    steps: &'a [BuildStep],
}

#[derive(Serialize)]
struct RunDetails<'a> {
    builder: Builder<'a>,
}

#[derive(Serialize)]
struct Builder<'a> {
    id: &'static str,
    version: BTreeMap<&'static str, &'a str>,
}

#[derive(Serialize)]
struct Resource<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
    digest: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, serde_json::Value>,
}

fn function_name(function: HashFunction) -> &'static str {
    match function {
        HashFunction::Blake3 => "blake3",
        HashFunction::Sha256 => "sha256",
    }
}

impl Provenance {
    /// The document, with a line feed at its end. `sources` are the base images, packages and files that the artifact was
    /// made from; the order does not matter.
    ///
    /// # Errors
    ///
    /// None that a caller can cause; JSON that cannot be written.
    pub fn to_json(&self, sources: &[Source]) -> Result<Vec<u8>, ExportError> {
        let Self { subjects, target, platform, key, steps, tool_version } = self;
        let subject = subjects
            .iter()
            .map(|subject| Resource {
                name: Some(&subject.path),
                uri: None,
                digest: subject
                    .digests
                    .iter()
                    .map(|digest| (function_name(digest.function), digest.hex()))
                    .collect(),
                annotations: BTreeMap::from([("size", subject.size.into())]),
            })
            .collect();
        let mut sources: Vec<&Source> = sources.iter().collect();
        sources.sort();
        sources.dedup();
        let resolved_dependencies = sources
            .into_iter()
            .map(|source| Resource {
                name: None,
                uri: Some(&source.uri),
                digest: BTreeMap::from([(source.function.as_str(), source.hex.clone())]),
                annotations: source.size.map(|size| ("size", size.into())).into_iter().collect(),
            })
            .collect();
        let statement = Statement {
            kind: "https://in-toto.io/Statement/v1",
            predicate_type: "https://slsa.dev/provenance/v1",
            subject,
            predicate: Predicate {
                run_details: RunDetails {
                    builder: Builder {
                        id: "urn:imgbuild:builder:local",
                        version: BTreeMap::from([("imgbuild", tool_version.as_str())]),
                    },
                },
                build_definition: BuildDefinition {
                    build_type: BUILD_TYPE,
                    external_parameters: External { target, platform },
                    internal_parameters: Internal { key: key.as_deref(), steps },
                    resolved_dependencies,
                },
            },
        };
        let mut bytes = serde_json::to_vec_pretty(&statement)
            .map_err(|error| ExportError::Description(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Whether `document` is what [`Self::to_json`] would write, whatever the sources: they follow from the key, so a
    /// document with the same key and the same artifact has the same sources. Spares the reading of them.
    #[must_use]
    pub fn is_current(&self, document: &[u8]) -> bool {
        if self.key.is_none() {
            return false;
        }
        let Ok(without) = self.to_json(&[]) else { return false };
        let Some(end) = without.iter().rposition(|byte| *byte == b'[') else { return false };
        document.starts_with(&without[..=end])
    }
}
