//! `migrate`: writes the `BUILD.star` that builds what a template builds, and pins what its plan stands on.

use std::path::{Path, PathBuf};

use imgbuild::args::{Environment, Global};
use imgbuild::ui::Shell;
use imgbuild_engine::outputs;
use imgbuild_model::{Class, Diagnostic, Diagnostics, PackagePath, Platform};
use imgbuild_packer::lower::{Holes, Lowering};
use imgbuild_packer::migrate::{Build, Request, migrate as write};
use imgbuild_packer_cli::args::{Migrate, exit};
use imgbuild_plan::{DiskFiles, LOCK_FILE};

use super::load::{LoadOptions, Place, load};
use super::pins::{self, Written};
use super::prepare::{folder_of, lower_in};
use super::{Done, Printer};
use crate::session::Session;

/// `migrate`.
pub(super) fn migrate(
    command: &Migrate,
    printer: &Printer,
    place: &Place,
    global: &Global,
    environment: Environment,
) -> Done {
    let options = LoadOptions { ask: true, ..LoadOptions::default() };
    let loaded = load(&command.template, &command.common, options, place, printer)?;
    let holes = Holes::new([0; 32], loaded.sensitive.iter().map(String::as_str));
    let lowered = loaded
        .recipes
        .recipes
        .iter()
        .map(|recipe| lower_in(recipe, &command.template, place, &holes))
        .collect::<Result<Vec<_>, _>>()?;
    let builds: Vec<Build<'_>> = loaded
        .recipes
        .recipes
        .iter()
        .zip(&lowered)
        .map(|(recipe, lowered)| Build {
            recipe,
            lowered: match lowered {
                Lowering::Native(lowered) => Ok(&**lowered),
                Lowering::Foreign(why) => Err(why),
            },
        })
        .collect();
    let output = output(command, place);
    let folder = output.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    let folder = folder.unwrap_or_else(|| folder_of(&command.template, place));
    let folder = fs_err::canonicalize(&folder).map_err(|error| {
        Diagnostic::error(format!("cannot find the folder: {error}")).class(Class::Environment)
    })?;
    let root = DiskFiles::find_root(&folder);
    let workspace = root.clone().unwrap_or_else(|| folder.clone());
    let below = folder.strip_prefix(&workspace).ok().and_then(Path::to_str).unwrap_or_default();
    let package = PackagePath::new(below).map_err(|error| Diagnostic::error(error.to_string()))?;
    // The cache and the settings are those that the targets will be built with.
    let global = Global { workspace: Some(folder.clone()), ..global.clone() };
    let shell = Shell::of_process(&global, &environment);
    let session = Session::new(&global, environment, shell.clone());
    let default_platform = session.as_ref().ok().and_then(|session| session.config.default_platform);
    let migration = write(Request {
        builds: &builds,
        template: &loaded.template,
        reads: &loaded.recipes.reads,
        workspace: &workspace.display().to_string(),
        package: &package,
        platform: default_platform.unwrap_or_else(Platform::host),
    });
    if migration.targets.is_empty() {
        printer.diagnostics(&migration.left);
        return Err(Diagnostic::error("no build of this template can be carried over")
            .hint("`rootfs` and `null` builds can; `imgbuild build` runs the template as it is")
            .into());
    }
    let Some(path) = output else {
        printer.print(&migration.text);
        shell.note(&format!(
            "`{LOCK_FILE}` is written only beside a file: the first build resolves what floats"
        ));
        return Ok(exit::SUCCESS);
    };
    put(&path, &migration.text, command.force)?;
    printer.diagnostics(&migration.left);
    printer.say(&format!("Wrote {}", shown(&path, place)));
    for target in &migration.targets {
        printer.say(&format!("  {} is {} now", target.build, target.target));
    }
    let lock = workspace.join(LOCK_FILE);
    let template = (&*command.template, &loaded);
    let written =
        session.and_then(|mut session| pins::write(&lock, &migration.targets, template, place, &mut session));
    match written {
        Ok(Written { added, warnings }) => {
            if let Some(added) = added {
                printer.say(&format!("Added {added} to {}", shown(&lock, place)));
            }
            printer.diagnostics(&warnings);
        }
        Err(problems) => printer.diagnostics(&not_pinned(&problems)),
    }
    if root.is_none() {
        let mark = folder.join("imgbuild.toml");
        printer.say(&format!(
            "{} is in no workspace yet: a file {} marks its root",
            shown(&folder, place),
            shown(&mark, place)
        ));
    }
    Ok(exit::SUCCESS)
}

/// What is written builds the same without its pins, if only once everything has run again.
fn not_pinned(problems: &Diagnostics) -> Diagnostics {
    let why = problems.0.first().map(|problem| problem.message.clone()).unwrap_or_default();
    Diagnostic::warning(format!("`{LOCK_FILE}` is not written: {why}"))
        .hint("the first build resolves what floats, and runs all whose key is another then")
        .into()
}

/// Where it is written; `None` is standard output.
fn output(command: &Migrate, place: &Place) -> Option<PathBuf> {
    match &command.output_file {
        Some(path) if path == Path::new("-") => None,
        Some(path) => Some(place.cwd.join(path)),
        None => Some(folder_of(&command.template, place).join("BUILD.star")),
    }
}

fn put(path: &Path, text: &str, force: bool) -> Result<(), Diagnostics> {
    if path.exists() && !force {
        return Err(Diagnostic::error(format!("`{}` is there already", path.display()))
            .hint("`-force` replaces it, `-output-file` names another file, `-output-file=-` shows it")
            .into());
    }
    outputs::write_whole(path, false, &mut text.as_bytes()).map_err(|error| {
        Diagnostic::error(format!("cannot write `{}`: {error}", path.display()))
            .class(Class::Environment)
            .into()
    })
}

fn shown(path: &Path, place: &Place) -> String {
    path.strip_prefix(&place.cwd).unwrap_or(path).display().to_string()
}
