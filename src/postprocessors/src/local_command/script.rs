//! A script's file: the user's own, or one of lines that is gone after its use.

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use imgbuild_model::{Class, Diagnostic};
use tempfile::TempPath;

use super::LocalContext;
use crate::files::unusable;

pub(super) enum Script {
    OfUser { path: PathBuf, shown: String },
    OfLines { path: TempPath, shown: String },
}

impl Script {
    /// # Errors
    ///
    /// If there is no such file.
    pub(super) fn of_user(folder: &Path, file: &str) -> Result<Self, Diagnostic> {
        let path = folder.join(file);
        match fs_err::metadata(&path) {
            Ok(status) if status.is_file() => Ok(Self::OfUser { path, shown: file.to_owned() }),
            Ok(_) => Err(Diagnostic::error(format!("the script `{file}` is no file"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Diagnostic::error(format!("the script `{file}` does not exist"))
                    .hint(format!("paths are relative to `{}`", folder.display())))
            }
            Err(error) => Err(unusable("read", Path::new(file), &error)),
        }
    }

    /// Writes a file with these lines, which are late templates; for this user alone.
    pub(super) async fn of_lines(
        context: &LocalContext,
        lines: &[String],
        shebang: &str,
        extension: &str,
    ) -> Result<Self, Diagnostic> {
        let mut text = format!("#!{shebang}\n");
        for line in lines {
            text.push_str(&context.render(line, "inline")?);
            text.push('\n');
        }
        let suffix = if extension.is_empty() { String::new() } else { format!(".{extension}") };
        let written = tokio::task::spawn_blocking(move || write(&text, &suffix)).await;
        let path = written.map_err(std::io::Error::other).and_then(|written| written).map_err(|error| {
            Diagnostic::error(format!("cannot write a script to run: {error}"))
                .class(Class::Environment)
                .hint("check the folder for temporary files, `TMPDIR`")
        })?;
        Ok(Self::OfLines { shown: path.display().to_string(), path })
    }

    /// Where it is, absolute.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::OfUser { path, .. } => path,
            Self::OfLines { path, .. } => path,
        }
    }

    /// What people know it by.
    pub(super) fn shown(&self) -> &str {
        match self {
            Self::OfUser { shown, .. } | Self::OfLines { shown, .. } => shown,
        }
    }
}

fn write(text: &str, suffix: &str) -> std::io::Result<TempPath> {
    let mut file = tempfile::Builder::new()
        .prefix("imgbuild-shell")
        .suffix(suffix)
        .permissions(Permissions::from_mode(0o700))
        .tempfile()?;
    file.write_all(text.as_bytes())?;
    // A process that another thread starts at this moment has the file open for writing until its own program runs, and
    // until then the script cannot be executed. The lock belongs to the open file, so it is free when nobody has it open.
    file.as_file().lock()?;
    let path = file.into_temp_path();
    File::open(&path)?.lock_shared()?;
    Ok(path)
}
