//! The `BUILD.star` front end.
//!
//! What is here: the evaluation of `BUILD.star` and `.star` files in a sandbox whose only way out is
//! [`Files`](imgbuild_model::Files); the primitives that rules are made of; the prelude, which is written with them;
//! the running of rules' implementations; and the reference, generated from all of it. What is not: the walk over
//! targets, the decision of `select()`, keys.
//!
//! A [`Starlark`] keeps each `.star` file that it has loaded, frozen, for as long as it lives. It is for one state of
//! the workspace: when files have changed, make a new one.

mod actions;
mod analysis;
mod attribute;
mod builtin;
mod context;
mod error;
mod glob;
mod limits;
mod loader;
mod module_id;
mod natives;
mod nesting;
mod package;
mod prelude;
mod reference;
mod resolve;
mod schema;
mod values;
mod visibility;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use imgbuild_model::{
    Analysis, AnalysisRequest, Attributes, Class, Dependency, Diagnostic, Diagnostics, EntryKind, Files,
    FrontEnd, Label, LoadedPackage, PackagePath, Platform, RuleId, Target, WorkspacePath,
};
use starlark::values::OwnedFrozenValueTyped;

pub use crate::builtin::{
    config_setting, config_setting_info, default_info, image_info, image_set_info, packer_template,
    template_build_info, template_info, test_info,
};
pub use crate::limits::Limits;
pub use crate::prelude::prelude_digest;
pub use crate::reference::reference_markdown;

use crate::attribute::AttributeKind;
use crate::loader::Loader;
use crate::module_id::ModuleId;
use crate::values::rule::FrozenRule;

/// The front end. Shared by all threads.
pub struct Starlark {
    loader: Loader,
    rules: RwLock<HashMap<RuleId, OwnedFrozenValueTyped<FrozenRule>>>,
}

impl Starlark {
    /// A front end that has loaded nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { loader: Loader::new(limits), rules: RwLock::default() }
    }

    /// Loads the prelude. Loading a package does so too; who has something else to do meanwhile calls this in a thread
    /// of its own. What is wrong with the prelude is told by the first package.
    pub fn preload(&self) {
        let _ = self.loader.globals(&NoFiles);
    }

    /// Loads the file that defines a rule, for targets that come from a memo and not from [`FrontEnd::load`]. Does
    /// nothing if it is loaded already.
    ///
    /// # Errors
    /// As loading a package that loads this file.
    pub fn load_rule(&self, rule: &RuleId, files: &dyn Files) -> Result<(), Diagnostics> {
        self.loader.module(&ModuleId::canonical(&rule.module), files).map(|_| ())
    }

    fn rule(&self, id: &RuleId) -> Result<OwnedFrozenValueTyped<FrozenRule>, Diagnostics> {
        if let Some(rule) = self.rules.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(rule.clone());
        }
        let module = ModuleId::canonical(&id.module);
        let loaded = match self.loader.loaded(&module) {
            Some(loaded) => loaded,
            // The prelude needs no files.
            None if module.in_prelude().is_some() => self.loader.module(&module, &NoFiles)?,
            None => {
                return Err(Diagnostic::error(format!(
                    "`{}` was not loaded before its rule `{}` is used",
                    id.module, id.name
                ))
                .class(Class::Bug)
                .into());
            }
        };
        let rule = loaded
            .module
            .get_any_visibility(&id.name)
            .ok()
            .and_then(|(value, _)| value.downcast::<FrozenRule>().ok())
            .ok_or_else(|| {
                Diagnostics::from(Diagnostic::error(format!("`{}` has no rule `{}`", id.module, id.name)))
            })?;
        self.rules.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), rule.clone());
        Ok(rule)
    }
}

impl Default for Starlark {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl FrontEnd for Starlark {
    fn load(&self, package: &PackagePath, files: &dyn Files) -> Result<LoadedPackage, Diagnostics> {
        package::load(&self.loader, package, files)
    }

    fn source_file(&self, label: &Label) -> Dependency {
        Dependency { label: label.clone(), providers: Arc::from([builtin::source_file_info(label)]) }
    }

    fn platforms(&self, target: &Target, attributes: &Attributes) -> Option<Vec<Platform>> {
        let rule = self.rule(&target.rule).ok()?;
        let info = &rule.as_ref().info;
        let (name, attribute) =
            info.attributes.iter().find(|(_, attribute)| attribute.kind == AttributeKind::Platforms)?;
        let value = attributes.get(name).unwrap_or(&attribute.default);
        let platforms = value.strings().filter_map(|text| text.parse().ok()).collect::<Vec<_>>();
        (!platforms.is_empty()).then_some(platforms)
    }

    fn analyze(&self, request: &AnalysisRequest<'_>) -> Result<Analysis, Diagnostics> {
        let rule = self.rule(&request.target.rule)?;
        analysis::analyze(self.loader.limits(), &rule, request)
    }
}

/// A workspace without files, for what loads the prelude alone.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &WorkspacePath) -> io::Result<Arc<str>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _path: &WorkspacePath) -> io::Result<Vec<(String, EntryKind)>> {
        Ok(Vec::new())
    }

    fn kind(&self, _path: &WorkspacePath) -> Option<EntryKind> {
        None
    }
}
