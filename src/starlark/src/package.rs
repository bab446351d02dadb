//! Loading of packages: evaluates a `BUILD.star`.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use imgbuild_model::{
    Class, Diagnostic, Diagnostics, EntryKind, Files, LoadedPackage, Package, PackagePath, Read,
};
use starlark::environment::Module;
use starlark::eval::Evaluator;

use crate::context::{Context, PackageContext};
use crate::error::diagnostic_in;
use crate::loader::Loader;
use crate::module_id::Folder;

/// The file that makes a folder a package.
pub(crate) const BUILD_FILE: &str = "BUILD.star";

/// Evaluates a package's `BUILD.star`.
pub(crate) fn load(
    loader: &Loader,
    package: &PackagePath,
    files: &dyn Files,
) -> Result<LoadedPackage, Diagnostics> {
    let path = package.file(BUILD_FILE);
    let text = files.read(&path).map_err(|error| unreadable(package, &error, files))?;
    let name = path.as_str();
    let prepared = loader
        .prepare(name, &text, Folder::Workspace(package), None, files)
        .map_err(|failure| failure.diagnostics)?;
    let globals = loader.globals(files)?;
    let mut reads = prepared.reads;
    reads.insert(Read::File(path.clone()));
    let context = Context::Package(PackageContext {
        package: package.clone(),
        file: name.into(),
        files,
        targets: RefCell::new(BTreeMap::new()),
        default_visibility: RefCell::new(None),
        reads: RefCell::new(reads),
        warnings: RefCell::new(prepared.warnings),
        errors: RefCell::new(Vec::new()),
        listings: RefCell::new(HashMap::new()),
    });
    let outcome = Module::with_temp_heap(|module| {
        let mut eval = Evaluator::new(&module);
        loader.limits().apply(&mut eval);
        eval.set_loader(&prepared.imports);
        eval.extra = Some(&context);
        eval.eval_module(prepared.ast, globals)
            .map(|_| ())
            .map_err(|error| Box::new(diagnostic_in(name, &error)))
    });
    let Context::Package(context) = context else { unreachable!("it was made a few lines above") };
    let mut errors = context.errors.into_inner();
    errors.extend(outcome.err().map(|error| *error));
    if !errors.is_empty() {
        return Err(Diagnostics(errors));
    }
    Ok(LoadedPackage {
        package: Arc::new(Package { path: package.clone(), targets: context.targets.into_inner() }),
        reads: context.reads.into_inner().into_iter().collect(),
        warnings: Diagnostics(context.warnings.into_inner()),
    })
}

fn unreadable(package: &PackagePath, error: &io::Error, files: &dyn Files) -> Diagnostics {
    let diagnostic = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Diagnostic::error(format!(
            "`{package}` is no package: there is no `{}`",
            package.file(BUILD_FILE)
        ))
        .hint(match nearest(package, files) {
            Some(above) => format!("the nearest package above is `{above}`"),
            None => format!("a package is a folder with a `{BUILD_FILE}`"),
        }),
        io::ErrorKind::InvalidData => {
            Diagnostic::error(format!("`{}` is not text in UTF-8", package.file(BUILD_FILE)))
        }
        _ => Diagnostic::error(format!("cannot read `{}`: {error}", package.file(BUILD_FILE)))
            .class(Class::Environment),
    };
    diagnostic.into()
}

/// The package that the folder lies in.
fn nearest(package: &PackagePath, files: &dyn Files) -> Option<PackagePath> {
    let mut path = package.as_str();
    while !path.is_empty() {
        path = path.rsplit_once('/').map_or("", |(above, _)| above);
        let above = PackagePath::new(path).ok()?;
        if files.kind(&above.file(BUILD_FILE)) == Some(EntryKind::File) {
            return Some(above);
        }
    }
    None
}
