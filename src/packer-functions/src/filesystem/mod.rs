//! Functions of files and paths.
//!
//! Relative paths start at the folder of the template, but for `abspath` and `filebase64`, where, as in Packer, they
//! start at the working directory.

mod fileset;
mod paths;

pub use paths::joined;
mod template;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use imgbuild_hcl::eval::{CallError, Function, Functions};
use imgbuild_hcl::value::{Type, Value};

use crate::encoding::STANDARD;
use crate::host::{FileKind, Host};
use crate::{Returned, text, wrong};

pub(crate) fn add(functions: &mut Functions, host: &Arc<dyn Host>) {
    let of_path = |description, run: fn(&dyn Host, &str) -> Returned| {
        let asking = Arc::clone(host);
        Function::new(description).parameter(text("path")).runs(move |a| run(asking.as_ref(), a.str(0)))
    };
    let of_text = |run: fn(&str) -> String| move |path: &str| Value::string(run(path));
    let basename = of_text(paths::base);
    let dirname = of_text(paths::folder);
    let pure = |description| Function::new(description).parameter(text("path")).returns(Type::String);
    functions.add("basename", pure("The last part of a path.").runs(move |a| Ok(basename(a.str(0)))));
    functions.add("dirname", pure("A path without its last part.").runs(move |a| Ok(dirname(a.str(0)))));
    let returning = |function: Function, ty| function.returns(ty);
    let abspath = of_path("A path from the root of the file system.", |host, path| {
        Ok(Value::string(paths::joined(&host.cwd().to_string_lossy(), path)))
    });
    functions.add("abspath", returning(abspath, Type::String));
    let pathexpand = of_path("A path with the home of the user for a `~` at its start.", |host, path| {
        expanded(host, path, 0).map(Value::string)
    });
    functions.add("pathexpand", returning(pathexpand, Type::String));
    functions.add("file", returning(of_path("The content of a file.", file), Type::String));
    functions
        .add("filebase64", returning(of_path("The content of a file in base64.", filebase64), Type::String));
    functions.add("fileexists", returning(of_path("Whether there is a file.", fileexists), Type::Bool));
    let asking = Arc::clone(host);
    let fileset = Function::new("The files in a folder whose paths match a pattern.")
        .parameter(text("path"))
        .parameter(text("pattern"))
        .returns(Type::set(Type::String))
        .runs(move |a| fileset::files(asking.as_ref(), a.str(0), a.str(1)));
    functions.add("fileset", fileset);
    let within = Arc::new(template::functions_within(functions));
    functions.add("templatefile", template::templatefile(host, within));
}

/// A path with the home for a `~` at its start.
fn expanded(host: &dyn Host, path: &str, index: usize) -> Result<String, CallError> {
    let Some(rest) = path.strip_prefix('~') else { return Ok(path.to_owned()) };
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err(wrong(index, format!("`{path}`: only the own home can be written as `~`"))
            .hint("write the whole path, or `./~…` for a name that starts with `~`"));
    }
    let home = host.home().ok_or_else(|| wrong(index, format!("`{path}`: the home is not known")))?;
    Ok(paths::joined(&home.to_string_lossy(), rest.trim_start_matches('/')))
}

/// Where a path of a template leads.
fn resolved(host: &dyn Host, path: &str, index: usize) -> Result<PathBuf, CallError> {
    let path = expanded(host, path, index)?;
    Ok(paths::joined(&host.root().to_string_lossy(), &path).into())
}

/// The reason of an error of the file system, without the path that `fs_err` puts into it.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            "there is no such file".to_owned()
        }
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it must not be read by this user".to_owned(),
        _ => error.to_string(),
    }
}

/// The file that is meant by a path with the template's folder in it twice, as `${path.root}/` leads to.
fn elsewhere(host: &dyn Host, path: &Path) -> Option<PathBuf> {
    let other = host.cwd().join(path.strip_prefix(host.root()).ok()?);
    (other != path && matches!(host.kind(&other), Ok(Some(FileKind::File)))).then_some(other)
}

fn read(host: &dyn Host, path: &Path) -> Result<Vec<u8>, CallError> {
    host.read(path).map_err(|error| {
        let failed = wrong(0, format!("`{}` cannot be read: {}", path.display(), reason(&error)));
        match error.kind() {
            std::io::ErrorKind::NotFound => failed.hint(match elsewhere(host, path) {
                Some(other) => format!(
                    "`{}` is there: relative paths start in the template's folder, so `${{path.root}}/` is too much",
                    other.display()
                ),
                None => "a file that the build makes is not there yet: functions run before it starts".to_owned(),
            }),
            _ => failed,
        }
    })
}

fn read_text(host: &dyn Host, path: &Path) -> Result<String, CallError> {
    String::from_utf8(read(host, path)?).map_err(|_| {
        wrong(0, format!("`{}` is not text in UTF-8", path.display()))
            .hint("`filebase64` gives the content of any file, in base64")
    })
}

fn file(host: &dyn Host, path: &str) -> Returned {
    read_text(host, &resolved(host, path, 0)?).map(Value::string)
}

fn filebase64(host: &dyn Host, path: &str) -> Returned {
    let path = paths::joined(&host.cwd().to_string_lossy(), path);
    Ok(Value::string(STANDARD.encode(read(host, Path::new(&path))?)))
}

fn fileexists(host: &dyn Host, path: &str) -> Returned {
    let path = resolved(host, path, 0)?;
    let failed = |what: &str| Err(wrong(0, format!("`{}` {what}", path.display())));
    match host.kind(&path) {
        Ok(None) => Ok(Value::bool(false)),
        Ok(Some(FileKind::File)) => Ok(Value::bool(true)),
        Ok(Some(FileKind::Folder | FileKind::LinkedFolder)) => failed("is a folder, not a file"),
        Ok(Some(FileKind::Other)) => failed("is not a regular file"),
        Err(error) => failed(&format!("cannot be looked at: {}", reason(&error))),
    }
}
