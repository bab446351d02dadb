//! `fmt`: lays out templates and files of variables.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use imgbuild_hcl::{format::format, syntax};
use imgbuild_model::Diagnostics;

use super::flags::{Flag, Parsed, switch};
use super::output::Output;
use super::template::{CONFIG_TYPE, EXCEPT, ONLY, VAR, VAR_FILE};

pub(super) const USAGE: &str = "[options] PATH…";
pub(super) const FLAGS: &[Flag] = &[
    switch("check", "Write nothing; the exit code is 3 if something would change"),
    switch("diff", "Show what changes, with the program `diff`"),
    switch("write", "Write changes to the files (the default); `-write=false` does not"),
    switch("recursive", "Also the files in folders below"),
    // Every verb takes these, whether they mean something to it or not.
    ONLY,
    EXCEPT,
    VAR,
    VAR_FILE,
    CONFIG_TYPE,
];

/// The exit code of `-check` if something would change.
const WOULD_CHANGE: u8 = 3;

#[derive(Clone, Copy)]
struct Options {
    write: bool,
    diff: bool,
    recursive: bool,
}

/// Lays out the files that the words name; `-` is standard input.
pub(super) fn run(flags: &Parsed, output: &Output) -> ExitCode {
    let check = flags.is_on("check", false);
    let options = Options {
        write: flags.is_on("write", true) && !check,
        diff: flags.is_on("diff", false),
        recursive: flags.is_on("recursive", false),
    };
    if flags.rest.is_empty() {
        output.error("error: at least one path must be named, after the flags");
        return ExitCode::FAILURE;
    }
    let mut changed = 0;
    for path in &flags.rest {
        let result = if path == "-" { standard_input(output) } else { one(Path::new(path), options, output) };
        match result {
            Ok(count) => changed += count,
            Err(Told) => return ExitCode::FAILURE,
        }
    }
    if check && changed > 0 { WOULD_CHANGE.into() } else { ExitCode::SUCCESS }
}

/// What went wrong has been told.
struct Told;

fn fail(output: &Output, message: &str) -> Told {
    output.error(&format!("error: {message}"));
    Told
}

/// The text laid out; one that cannot be read is told.
fn formatted(name: &str, text: &str, output: &Output) -> Result<String, Told> {
    let file = syntax::parse(name, text);
    if file.errors.is_empty() {
        return Ok(format(text));
    }
    output.diagnostics(&Diagnostics(file.errors), &[file.body.source]);
    Err(Told)
}

fn standard_input(output: &Output) -> Result<usize, Told> {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        return Err(fail(output, &format!("standard input cannot be read: {error}")));
    }
    let result = formatted("<stdin>", &text, output)?;
    output.print(&result);
    Ok(usize::from(result != text))
}

fn plain(path: PathBuf) -> PathBuf {
    path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path)
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.ends_with(".pkr.hcl") || name.ends_with(".pkrvars.hcl")
}

/// Names that editors make, and hidden ones.
fn is_ignored(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.starts_with('.') || name.ends_with('~') || name.starts_with('#') && name.ends_with('#')
}

/// A file that was named, or those of a folder. Gives how many change.
fn one(path: &Path, options: Options, output: &Output) -> Result<usize, Told> {
    if path.is_dir() {
        return folder(path, options, output);
    }
    if !is_ours(path) {
        let message = format!(
            "`{}` is not a template in HCL: its name ends in neither `.pkr.hcl` nor `.pkrvars.hcl`",
            path.display()
        );
        return Err(fail(output, &message));
    }
    file(path, options, output)
}

fn folder(path: &Path, options: Options, output: &Output) -> Result<usize, Told> {
    let entries = fs_err::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut paths: Vec<PathBuf> = match entries {
        // What is found in `.` is named without it.
        Ok(entries) => entries.iter().map(|entry| path.join(entry.file_name())).map(plain).collect(),
        Err(error) => return Err(fail(output, &error.to_string())),
    };
    paths.sort();
    let mut changed = 0;
    for path in paths.iter().filter(|path| !is_ignored(path)) {
        if path.is_dir() {
            if options.recursive {
                changed += folder(path, options, output)?;
            }
        } else if is_ours(path) {
            changed += file(path, options, output)?;
        }
    }
    Ok(changed)
}

fn file(path: &Path, options: Options, output: &Output) -> Result<usize, Told> {
    let name = path.display().to_string();
    let text = fs_err::read_to_string(path).map_err(|error| fail(output, &error.to_string()))?;
    let result = formatted(&name, &text, output)?;
    if result == text {
        return Ok(0);
    }
    output.say(&name);
    if options.diff {
        let shown =
            diff(&name, &result).map_err(|error| fail(output, &format!("`diff` cannot be run: {error}")))?;
        output.print(&shown);
    }
    if options.write {
        fs_err::write(path, &result).map_err(|error| fail(output, &error.to_string()))?;
    }
    Ok(1)
}

/// What `diff -u` says of a file and its new text.
fn diff(name: &str, new: &str) -> std::io::Result<String> {
    let labels = ["--label", &format!("old/{name}"), "--label", &format!("new/{name}")];
    let mut child = Command::new("diff")
        .arg("-u")
        .args(labels)
        .args(["--", name, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = child.stdin.take();
    let new = new.to_owned();
    // What it reads and what it writes can both be more than a pipe holds.
    let writer = std::thread::spawn(move || input.map(|mut input| input.write_all(new.as_bytes())));
    let said = child.wait_with_output()?;
    let _ = writer.join();
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}
