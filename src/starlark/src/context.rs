//! What the native functions know of the evaluation that they are called from.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use imgbuild_model::{
    Diagnostic, EntryKind, Files, Label, Location, PackagePath, Read, Target, TargetName, Visibility,
    WorkspacePath,
};
use starlark::eval::Evaluator;
use starlark::values::ProvidesStaticType;

use crate::analysis::AnalysisContext;
use crate::error::{Problem, location, location_in};
use crate::module_id::ModuleId;

/// The evaluation that runs.
#[derive(ProvidesStaticType)]
pub(crate) enum Context<'e> {
    /// A `.star` file is being loaded.
    Module(ModuleContext),
    /// A `BUILD.star` is being evaluated.
    Package(PackageContext<'e>),
    /// A rule's implementation runs.
    Analysis(AnalysisContext<'e>),
}

/// Loading of a `.star` file.
pub(crate) struct ModuleContext {
    pub(crate) id: ModuleId,
    /// Its folder, if it lies in the workspace.
    pub(crate) package: Option<PackagePath>,
    pub(crate) warnings: RefCell<Vec<Diagnostic>>,
}

/// Evaluation of a `BUILD.star`.
pub(crate) struct PackageContext<'e> {
    pub(crate) package: PackagePath,
    /// The `BUILD.star`, as it is called in messages.
    pub(crate) file: Arc<str>,
    pub(crate) files: &'e dyn Files,
    pub(crate) targets: RefCell<BTreeMap<TargetName, Arc<Target>>>,
    pub(crate) default_visibility: RefCell<Option<Visibility>>,
    pub(crate) reads: RefCell<BTreeSet<Read>>,
    pub(crate) warnings: RefCell<Vec<Diagnostic>>,
    /// What is wrong with targets: collected, so that a file's mistakes are told together.
    pub(crate) errors: RefCell<Vec<Diagnostic>>,
    pub(crate) listings: RefCell<HashMap<WorkspacePath, Listing>>,
}

/// The names in a folder.
pub(crate) type Listing = Arc<Vec<(String, EntryKind)>>;

impl<'e> Context<'e> {
    /// The context of an evaluation. Each evaluation of this crate has one.
    pub(crate) fn of<'a>(eval: &Evaluator<'_, 'a, 'e>) -> &'a Self {
        eval.extra.and_then(|extra| extra.downcast_ref()).expect("each evaluation has its context")
    }

    /// The file that is being loaded, unless it is a `BUILD.star`.
    pub(crate) fn module(&self) -> Option<&ModuleId> {
        match self {
            Self::Module(module) => Some(&module.id),
            Self::Package(_) | Self::Analysis(_) => None,
        }
    }

    /// Reads a label as written in this file.
    pub(crate) fn label(&self, text: &str) -> Result<Label, Problem> {
        let package = match self {
            Self::Module(module) => module.package.as_ref(),
            Self::Package(package) => Some(&package.package),
            Self::Analysis(analysis) => Some(&analysis.target.label.package),
        };
        match package {
            Some(package) => Ok(Label::parse(text, package)?),
            None => Ok(text.parse::<Label>()?),
        }
    }

    /// The place that a value is said to be written at: the outermost call in the file that is evaluated, and for
    /// what an implementation makes, its target.
    pub(crate) fn written_at(&self, eval: &Evaluator<'_, '_, '_>) -> Location {
        // The first entry of the stack is the file itself, the second its call of a function.
        let outermost =
            || eval.call_stack_count().checked_sub(2).and_then(|n| eval.call_stack_nth_location(n));
        match self {
            Self::Analysis(analysis) => analysis.target.location.clone(),
            Self::Package(package) => match outermost() {
                Some(span) if span.filename() == &*package.file => location_in(&span, package.file.clone()),
                // A function that was inlined has its caller's place in the full stack alone.
                _ => eval
                    .call_stack()
                    .frames
                    .iter()
                    .filter_map(|frame| frame.location.as_ref())
                    .find(|span| span.filename() == &*package.file)
                    .map_or_else(
                        || Location::file(&package.file),
                        |span| location_in(span, package.file.clone()),
                    ),
            },
            Self::Module(module) => {
                outermost().map_or_else(|| Location::file(module.id.file_name()), |span| location(&span))
            }
        }
    }

    /// The package that is being evaluated.
    ///
    /// # Errors
    /// If this is another evaluation: `function` works in a `BUILD.star` only.
    pub(crate) fn in_package(&self, function: &str) -> Result<&PackageContext<'e>, Problem> {
        match self {
            Self::Package(package) => Ok(package),
            Self::Module(module) => Err(Problem::new(format!(
                "`{function}` cannot be called while `{}` is loaded",
                module.id
            ))
            .hint(format!("call it in a `BUILD.star`, or in a function that a `BUILD.star` calls; `{function}` belongs to a package"))),
            Self::Analysis(_) => {
                Err(Problem::new(format!("`{function}` cannot be called in a rule's implementation"))
                    .hint("call it in a `BUILD.star`"))
            }
        }
    }
}

impl PackageContext<'_> {
    /// The names in a folder of the workspace; empty if it is not there.
    pub(crate) fn list(&self, folder: &WorkspacePath) -> Result<Listing, Problem> {
        if let Some(listing) = self.listings.borrow().get(folder) {
            return Ok(listing.clone());
        }
        let listing = Arc::new(
            self.files
                .list(folder)
                .map_err(|error| Problem::new(format!("cannot list the folder `{folder}`: {error}")))?,
        );
        self.reads.borrow_mut().insert(Read::Names(folder.clone()));
        self.listings.borrow_mut().insert(folder.clone(), listing.clone());
        Ok(listing)
    }
}
