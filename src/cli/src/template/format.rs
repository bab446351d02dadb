//! `fmt`: brings templates into the canonical form.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use imgbuild_hcl::format::format;
use imgbuild_hcl::syntax::{Source, parse_source};
use imgbuild_model::{Class, Diagnostic, Diagnostics};
use imgbuild_packer_cli::args::{Fmt, exit};

use super::load::Place;
use super::{Done, Printer};

/// `fmt`.
pub(super) fn fmt(command: &Fmt, printer: &Printer, place: &Place) -> Done {
    let mut changed = false;
    let mut problems = Vec::new();
    for path in &command.paths {
        match one(path, command, printer, place) {
            Ok(changes) => changed |= changes,
            Err(diagnostics) => problems.extend(diagnostics.0),
        }
    }
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }
    Ok(if command.check && changed { exit::UNFORMATTED } else { exit::SUCCESS })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostics {
    Diagnostic::error(format!("cannot read `{}`: {error}", path.display())).class(Class::Environment).into()
}

fn one(path: &Path, command: &Fmt, printer: &Printer, place: &Place) -> Result<bool, Diagnostics> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
        let formatted = formatted("<stdin>", &text)?;
        if !command.check {
            use std::io::Write as _;
            // Whoever reads the output may stop reading.
            let _ = std::io::stdout().write_all(formatted.as_bytes());
        }
        return Ok(formatted != text);
    }
    let mut files = Vec::new();
    let whole = place.cwd.join(path);
    if whole.is_dir() {
        collect(path, place, command.recursive, &mut files)?;
    } else if is_template(path) {
        files.push(path.to_path_buf());
    } else {
        return Err(Diagnostic::error(format!("file {} is not a HCL file", path.display()))
            .hint("`fmt` lays out `*.pkr.hcl` and `*.pkrvars.hcl`")
            .into());
    }
    let mut changed = false;
    let mut problems = Vec::new();
    for file in files {
        match lay_out(&file, command, printer, place) {
            Ok(changes) => changed |= changes,
            Err(diagnostics) => problems.extend(diagnostics.0),
        }
    }
    if problems.is_empty() { Ok(changed) } else { Err(Diagnostics(problems)) }
}

fn is_template(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ignored =
        name.starts_with('.') || name.ends_with('~') || (name.starts_with('#') && name.ends_with('#'));
    !ignored && (name.ends_with(".pkr.hcl") || name.ends_with(".pkrvars.hcl"))
}

fn collect(
    folder: &Path,
    place: &Place,
    recursive: bool,
    files: &mut Vec<PathBuf>,
) -> Result<(), Diagnostics> {
    let mut entries = fs_err::read_dir(place.cwd.join(folder))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(folder, &error))?;
    entries.sort_by_key(fs_err::DirEntry::file_name);
    for entry in entries {
        let path = folder.join(entry.file_name());
        // What is found in `.` is named without it.
        let path = path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path);
        let kind = entry.file_type().map_err(|error| unreadable(&path, &error))?;
        if kind.is_dir() {
            if recursive && !entry.file_name().to_string_lossy().starts_with('.') {
                collect(&path, place, true, files)?;
            }
        } else if is_template(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn lay_out(file: &Path, command: &Fmt, printer: &Printer, place: &Place) -> Result<bool, Diagnostics> {
    let path = place.cwd.join(file);
    let text = fs_err::read_to_string(&path).map_err(|error| unreadable(file, &error))?;
    let formatted = formatted(&file.display().to_string(), &text)?;
    if formatted == text {
        return Ok(false);
    }
    printer.say(&file.display().to_string());
    if command.diff {
        printer.say(difference(file, &text, &formatted).trim_end());
    }
    if command.write && !command.check {
        let executable = false;
        imgbuild_engine::outputs::write_whole(&path, executable, &mut formatted.as_bytes()).map_err(
            |error| {
                Diagnostic::error(format!("cannot write `{}`: {error}", file.display()))
                    .class(Class::Environment)
            },
        )?;
    }
    Ok(true)
}

/// A text in the canonical form. One that is no HCL is left alone.
fn formatted(name: &str, text: &str) -> Result<String, Diagnostics> {
    let source = Source::new(name, text);
    let parsed = parse_source(&source);
    if parsed.errors.is_empty() { Ok(format(text)) } else { Err(Diagnostics(parsed.errors)) }
}

/// The difference of two texts, as `diff -u` writes it.
fn difference(file: &Path, old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new)
        .unified_diff()
        .header(&format!("old/{}", file.display()), &format!("new/{}", file.display()))
        .to_string()
}
