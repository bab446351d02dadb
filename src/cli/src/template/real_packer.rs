//! The real `packer` on the path: not this program under that name.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use imgbuild_packer::lower::RealPacker;

/// What carries out the components of plugins, in a few words.
pub(crate) fn satisfied_by() -> &'static str {
    match path() {
        Some(_) => {
            "components of it that are not built in run through the real `packer` on the path, with its own plugins"
        }
        None => "components of it that are not built in need a real `packer` on the path, with the plugin",
    }
}

/// Where it is.
pub(crate) fn path() -> Option<PathBuf> {
    let own = std::env::current_exe().ok().and_then(|path| fs_err::canonicalize(path).ok());
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("packer")).find(|candidate| {
        let real = fs_err::canonicalize(candidate).ok();
        is_executable(candidate) && real.is_some() && real != own
    })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Asks it for its versions; for which template it is called is not known yet. `None` if there is none. It takes a second.
///
/// # Errors
/// If it does not say its version.
pub(crate) fn ask() -> Result<Option<RealPacker>, String> {
    let Some(program) = path() else { return Ok(None) };
    let ask = |words: &[&str]| {
        Command::new(&program)
            .args(words)
            .env("CHECKPOINT_DISABLE", "1")
            .stdin(Stdio::null())
            .output()
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let version = ask(&["version"]).filter(|text| text.contains("Packer"));
    let version = version
        .ok_or_else(|| format!("`{}` is no Packer: it does not say its version", program.display()))?;
    // Versions before 1.7 have their plugins inside. The folders of plugins are this machine's.
    let plugins = ask(&["plugins", "installed"]).unwrap_or_default();
    let names = plugins.lines().filter_map(|line| line.rsplit('/').next());
    let versions =
        std::iter::once(version.lines().next().unwrap_or_default()).chain(names).collect::<Vec<_>>();
    Ok(Some(RealPacker {
        program: program.display().to_string(),
        versions: versions.join(" "),
        template: String::new(),
        args: Vec::new(),
    }))
}
