//! The provenance that lies beside an artifact: an in-toto statement with SLSA's build predicate, version 1.
//!
//! It says what was made, from which sources, by which steps and with which key, and nothing about when or where: the
//! same build gives the same document. Signatures are not made here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imgbuild_digest::{Digest, HashFunction};
use serde::Serialize;

use crate::ExportError;
use crate::image::Platform;
use crate::staging::write_file;

/// The kind of build that the predicate's parameters are read by.
const BUILD_TYPE: &str = "urn:imgbuild:build:image:v1";

/// What made an artifact.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// What was made.
    pub artifact: Artifact,
    /// The target, as a label: `//images:web`.
    pub target: String,
    /// The platform it runs on.
    pub platform: Platform,
    /// The key of its last layer.
    pub key: String,
    /// Base images, packages and files that it was made from.
    pub sources: Vec<Source>,
    /// The steps, in order.
    pub steps: Vec<BuildStep>,
    /// The version of this tool.
    pub tool_version: String,
}

/// An artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its path relative to the output folder: never one of this machine's.
    pub path: String,
    /// SHA-256 of the file; of the manifest or index for an OCI layout; absent for a directory.
    pub sha256: Option<Digest>,
    /// What names the contents: the digest of the merged tree's manifest.
    pub tree: String,
    /// Its size in bytes: of the file, of all blobs of a layout, of all contents of a directory.
    pub size: u64,
}

/// Something that an artifact was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What it is: a package URL, an image's reference, a label.
    pub uri: String,
    /// Its digest.
    pub digest: Digest,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildStep {
    /// The step's kind.
    pub kind: String,
    /// What it did, as text for people.
    pub summary: String,
    /// The key of the layer.
    pub key: String,
    /// What came out: the delta's digest; absent where nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: [Resource<'a>; 1],
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    build_definition: BuildDefinition<'a>,
    run_details: RunDetails<'a>,
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
#[serde(rename_all = "camelCase")]
struct External<'a> {
    target: &'a str,
    platform: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Internal<'a> {
    key: &'a str,
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
    digest: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, serde_json::Value>,
}

impl Provenance {
    /// The document, with a line feed at its end.
    ///
    /// # Errors
    ///
    /// None that a caller can cause; JSON that cannot be written.
    pub fn to_json(&self) -> Result<Vec<u8>, ExportError> {
        let Self { artifact, target, platform, key, sources, steps, tool_version } = self;
        let mut digest = BTreeMap::from([("imgbuildTree", artifact.tree.clone())]);
        if let Some(sha256) = &artifact.sha256 {
            digest.insert("sha256", sha256.hex());
        }
        let subject = Resource {
            name: Some(&artifact.path),
            uri: None,
            digest,
            annotations: BTreeMap::from([("size", artifact.size.into())]),
        };
        let mut dependencies: Vec<&Source> = sources.iter().collect();
        dependencies.sort_by(|one, other| (&one.uri, one.digest).cmp(&(&other.uri, other.digest)));
        dependencies.dedup();
        let resource = |source: &'_ Source| -> (BTreeMap<&'static str, String>, u64) {
            let name = match source.digest.function {
                HashFunction::Blake3 => "blake3",
                HashFunction::Sha256 => "sha256",
            };
            (BTreeMap::from([(name, source.digest.hex())]), source.digest.size)
        };
        let resolved_dependencies = dependencies
            .into_iter()
            .map(|source| {
                let (digest, size) = resource(source);
                let annotations = BTreeMap::from([("size", size.into())]);
                Resource { name: None, uri: Some(&source.uri), digest, annotations }
            })
            .collect();
        let statement = Statement {
            kind: "https://in-toto.io/Statement/v1",
            subject: [subject],
            predicate_type: "https://slsa.dev/provenance/v1",
            predicate: Predicate {
                build_definition: BuildDefinition {
                    build_type: BUILD_TYPE,
                    external_parameters: External { target, platform: platform.to_string() },
                    internal_parameters: Internal { key, steps },
                    resolved_dependencies,
                },
                run_details: RunDetails {
                    builder: Builder {
                        id: "urn:imgbuild:builder:local",
                        version: BTreeMap::from([("imgbuild", tool_version.as_str())]),
                    },
                },
            },
        };
        let mut bytes = serde_json::to_vec_pretty(&statement)
            .map_err(|error| ExportError::Description(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Writes the document beside the artifact `path`, as `path.provenance.json`, and returns where.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_beside(&self, path: &Path) -> Result<PathBuf, ExportError> {
        let destination = beside(path, "provenance.json");
        write_file(&destination, &self.to_json()?)?;
        Ok(destination)
    }
}

/// `path` with one more extension.
pub(crate) fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
