//! What a build made, as post-processors see it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The result of a builder or of a post-processor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Artifact {
    /// Which component made it, for example `packer.file`.
    pub builder_id: String,
    /// What it is known by where it lives, for example an image's id; empty for files.
    pub id: String,
    /// The line that the summary of a run shows.
    pub description: String,
    /// Its files, as they were named: relative ones to the folder that the run started in.
    pub files: Vec<PathBuf>,
    /// Facts by name; `generated_data` holds what templates see as `build.*`.
    pub state: BTreeMap<String, Value>,
    /// What goes when it is not kept.
    pub destroy: Destroy,
}

/// What is removed with an artifact that is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destroy {
    /// Nothing.
    #[default]
    Nothing,
    /// All of [`Artifact::files`].
    Files,
    /// A folder with everything in it.
    Folder(PathBuf),
}

/// Something that goes with an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A file.
    File(PathBuf),
    /// A folder with everything in it.
    Folder(PathBuf),
}

impl Removal {
    /// Where it is, as the artifact names it.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Folder(path) => path,
        }
    }
}

impl Artifact {
    /// An artifact of a post-processor: files without an id, which are removed with it.
    #[must_use]
    pub fn of_files(kind: &str, description: String, files: Vec<PathBuf>) -> Self {
        Self {
            builder_id: format!("packer.post-processor.{kind}"),
            description,
            files,
            destroy: Destroy::Files,
            ..Self::default()
        }
    }

    /// What goes when this artifact is not kept.
    #[must_use]
    pub fn removes(&self) -> Vec<Removal> {
        match &self.destroy {
            Destroy::Nothing => Vec::new(),
            Destroy::Files => self.files.iter().cloned().map(Removal::File).collect(),
            Destroy::Folder(folder) => vec![Removal::Folder(folder.clone())],
        }
    }
}

/// Paths as a list for people.
pub(crate) fn joined(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
