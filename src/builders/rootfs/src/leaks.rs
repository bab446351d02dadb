//! Looks for a step's secrets in what it changed, so that no layer holds one.

use std::path::Path;

use imgbuild_engine::ActionError;
use imgbuild_engine::secrets::SecretFinder;
use imgbuild_tree::{DeltaManifest, Entry, Metadata, Node};

/// How many paths an error names.
const NAMED: usize = 5;

/// Fails if a secret is in a captured folder: in a file, a name, a link or an attribute.
pub(crate) fn refuse(
    upper: &Path,
    manifest: &DeltaManifest,
    finder: &SecretFinder,
) -> Result<(), ActionError> {
    let mut leaks = Vec::new();
    for entry in &manifest.entries {
        if let Some(name) = found(upper, entry, finder)? {
            leaks.push((name, &entry.path));
        }
    }
    let Some((name, path)) = leaks.first() else { return Ok(()) };
    let path = shown(path, finder);
    let error = ActionError::input(format!("the step left the secret `{name}` in `/{path}`"));
    let others: Vec<String> =
        leaks[1..].iter().take(NAMED).map(|(_, path)| format!("`/{}`", shown(path, finder))).collect();
    let further = match leaks.len() - 1 - others.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(error.hint(match others.is_empty() {
        true => "remove it in the same step, or read the secret where it is used from `/run/secrets`; nothing was kept"
            .to_owned(),
        false => format!("also in {}{further}; remove them in the same step; nothing was kept", others.join(", ")),
    }))
}

/// The secret that an entry holds.
fn found<'f>(upper: &Path, entry: &Entry, finder: &'f SecretFinder) -> Result<Option<&'f str>, ActionError> {
    if let Some(name) = finder.in_bytes(entry.path.file_name()) {
        return Ok(Some(name));
    }
    let in_attributes = |metadata: &Metadata| {
        let texts = metadata.xattrs.iter().flat_map(|(name, value)| [name, value]);
        texts.into_iter().find_map(|text| finder.in_bytes(text))
    };
    Ok(match &entry.node {
        Node::Whiteout | Node::HardLink { .. } => None,
        Node::File { metadata, .. } => match in_attributes(metadata) {
            None => finder.in_file(fs_err::File::open(upper.join(entry.path.as_path()))?)?,
            found => found,
        },
        Node::SymbolicLink { target, metadata } => {
            finder.in_bytes(target).or_else(|| in_attributes(metadata))
        }
        Node::Directory { metadata, .. } | Node::Fifo { metadata } | Node::Device { metadata, .. } => {
            in_attributes(metadata)
        }
    })
}

/// A path as an error may show it.
fn shown(path: &imgbuild_tree::TreePath, finder: &SecretFinder) -> String {
    String::from_utf8_lossy(&finder.mask(path.as_bytes())).into_owned()
}
