//! What an artifact was made from and by what, gathered from the plan that made it.

use imgbuild_cache::{ActionResult, Cache, OutputFile};
use imgbuild_digest::Digest;
use imgbuild_engine::LayerMetadata;
use imgbuild_formats::provenance::{BuildStep, Provenance, Source, Subject};
use imgbuild_formats::sbom::debian_package_url;
use imgbuild_model::Diagnostics;
use imgbuild_plan::{ActionNode, DebianPin, IndexPin, InputDigest, PinRequest};

use crate::session::{Prepared, cache_error};

/// The provenance of files that the action at `place` made, but for its sources.
pub(crate) fn describe(
    prepared: &Prepared,
    cache: &Cache,
    place: usize,
    files: &[&OutputFile],
) -> Result<Provenance, Diagnostics> {
    let node = &prepared.keys.graph.nodes[place];
    let digests: Vec<Digest> = files.iter().map(|file| file.digest).collect();
    let sha256 = cache.sha256_of(&digests).map_err(|error| cache_error(&error))?;
    let subjects = files.iter().zip(sha256).map(|(file, sha256)| Subject {
        path: file.path.clone(),
        digests: std::iter::once(file.digest)
            .chain(sha256.map(|hash| Digest::sha256(hash, file.digest.size)))
            .collect(),
        size: file.digest.size,
    });
    let key = |place: usize| prepared.plan.actions[place].key.map(|key| key.to_string());
    let mut steps: Vec<BuildStep> = chain(prepared, place)
        .map(|at| {
            let node = &prepared.keys.graph.nodes[at];
            BuildStep { kind: node.schema.id.to_owned(), summary: node.describe(), key: key(at) }
        })
        .collect();
    steps.reverse();
    Ok(Provenance {
        subjects: subjects.collect(),
        target: node.label().to_string(),
        platform: node.platform().to_string(),
        key: key(place),
        steps,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// An action and those below it, down to the source.
fn chain(prepared: &Prepared, place: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(place), |at| prepared.keys.graph.nodes[*at].parent)
}

/// The base images, packages and files that the action at `place` stands on.
pub(crate) fn sources(prepared: &Prepared, place: usize, result: &ActionResult) -> Vec<Source> {
    let mut sources = Vec::new();
    for at in chain(prepared, place) {
        let node = &prepared.keys.graph.nodes[at];
        sources.extend(files(prepared, node));
        let resolve = node.resolve.map(|resolve| &prepared.keys.graph.nodes[resolve]);
        for request in node.pins().iter().chain(resolve.map(ActionNode::pins).iter().flatten()) {
            match request {
                PinRequest::Debian(request) => {
                    sources.extend(prepared.keys.lock.debian(request).into_iter().flat_map(packages));
                }
                PinRequest::Index(request) => {
                    sources.extend(prepared.keys.lock.index(request).into_iter().flat_map(indexes));
                }
                PinRequest::Image(_) | PinRequest::Epoch(_) => {}
            }
        }
    }
    let metadata: LayerMetadata = serde_json::from_slice(&result.metadata).unwrap_or_default();
    sources.extend(metadata.materials.into_iter().map(|(uri, digest)| {
        let (function, hex) = digest.split_once(':').unwrap_or(("blake3", &digest));
        Source { uri, function: function.to_owned(), hex: hex.to_owned(), size: None }
    }));
    sources
}

/// The workspace's files and folders that an action reads.
fn files(prepared: &Prepared, node: &ActionNode) -> Vec<Source> {
    let digested = |path| {
        let (hex, size) = match prepared.keys.digests.get(path)? {
            InputDigest::File { digest, .. } => (digest.hex(), Some(digest.size)),
            InputDigest::Tree(hash) => (hash.to_string(), None),
        };
        Some(Source { uri: format!("workspace:{path}"), function: "blake3".to_owned(), hex, size })
    };
    node.inputs().iter().filter_map(digested).collect()
}

fn packages(pin: &DebianPin) -> Vec<Source> {
    let vendor = &pin.request.distribution;
    let packages = pin.closure().unwrap_or_default().batches.into_iter().flatten();
    packages
        .map(|package| Source {
            uri: debian_package_url(vendor, &package.name, &package.version, &package.architecture),
            function: "sha256".to_owned(),
            hex: package.sha256,
            size: Some(package.size),
        })
        .collect()
}

/// The package indexes that an `apt_install` was resolved against while building.
fn indexes(pin: &IndexPin) -> Vec<Source> {
    let source = |line: &String| {
        let [suite, path, sha256, size, ..] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        Some(Source {
            uri: format!("{}:dists/{suite}/{path}", pin.request.distribution),
            function: "sha256".to_owned(),
            hex: sha256.to_owned(),
            size: size.parse().ok(),
        })
    };
    pin.files.iter().filter_map(source).collect()
}
