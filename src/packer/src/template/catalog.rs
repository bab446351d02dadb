//! What a template is read against: the functions that it may call, and what is known of the components that it names.

use std::collections::BTreeMap;

use imgbuild_hcl::eval::Functions;
use imgbuild_hcl::value::Type;
use imgbuild_model::{Diagnostic, KindClass, Location};

use super::settings::Settings;

/// Functions and components. The default answers are those of one who knows no component.
pub trait Catalog {
    /// The functions, without `env`; relative paths that they read are relative to `root`, a folder as the user wrote
    /// it, or to the working folder if it is empty.
    fn functions(&self, root: &str) -> Functions;

    /// The type of what a kind of data source answers.
    fn data_type(&self, kind: &str) -> Option<Type> {
        let _ = kind;
        None
    }

    /// What a kind of builder tells of its machine beside what all tell (`build.Name`); `None` if that is not known.
    fn generated(&self, builder: &str) -> Option<Vec<String>> {
        let _ = builder;
        None
    }

    /// What of `build.*` is known before a build of this builder runs.
    fn known(&self, builder: &str) -> BTreeMap<String, String> {
        let _ = builder;
        BTreeMap::new()
    }

    /// What is wrong with the settings of a component, the kind itself among it. `location` is that of its block.
    fn check(
        &self,
        class: KindClass,
        kind: &str,
        location: &Location,
        settings: &Settings,
    ) -> Vec<Diagnostic> {
        let _ = (class, kind, location, settings);
        Vec::new()
    }
}
