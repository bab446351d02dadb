//! What is known of a layer's package database before anything runs.

use imgbuild_model::{Action, KindSchema, Platform};

use crate::{DebianRequest, IndexRequest};

/// What the planner knows of the packages that a layer has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PackageState {
    /// No package database that we can read.
    #[default]
    None,
    /// Just those of these lock entries, on top of those of an image that the lock file names by its digest.
    Known(DebianRequest),
    /// Some step may have changed them; new ones are found in these indexes.
    Unknown(IndexRequest),
}

impl PackageState {
    /// The state after an action, given the state before it.
    #[must_use]
    pub fn after(&self, action: &Action, schema: &KindSchema, platform: Platform) -> Self {
        if let Some(source) = &action.source {
            return match source.kind.as_str() {
                "debian" | "ubuntu" => Self::Known(DebianRequest::of_source(source, platform)),
                "oci_base" => match source.attributes.str("image") {
                    Some(image) => Self::Known(DebianRequest::of_image(image, platform)),
                    None => Self::None,
                },
                _ => Self::None,
            };
        }
        match self {
            Self::None => Self::None,
            Self::Known(request) if action.kind.as_str() == "apt_install" => {
                Self::Known(request.with_install(action.attributes.strings("packages").map(str::to_owned)))
            }
            Self::Known(request) if schema.keeps_packages => Self::Known(request.clone()),
            Self::Known(request) => Self::Unknown(request.index()),
            Self::Unknown(index) => Self::Unknown(index.clone()),
        }
    }
}
