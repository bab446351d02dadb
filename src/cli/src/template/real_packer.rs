//! The real `packer` on the path: not this program under that name.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use imgbuild_packer::lower::RealPacker;

/// Runs its arguments from the second on as a process group of their own, until they end or the standard input does, as it
/// does when this program ends in any way. Then all of the group is killed, and the folder goes that is the first argument.
const SUPERVISOR: &str = r#"
folder=$1
shift
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ read -r _ <&3; rm -rf -- "$folder"; kill -KILL 0; } >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait $child
code=$?
kill -KILL $watcher
exit $code
"#;

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
    let version = version(&program)?;
    // Versions before 1.7 have their plugins inside. The folders of plugins are this machine's.
    let plugins = answer(&program, &["plugins", "installed"]).unwrap_or_default();
    let names = plugins.lines().filter_map(|line| line.rsplit('/').next());
    let versions = std::iter::once(version.as_str()).chain(names).collect::<Vec<_>>();
    Ok(Some(RealPacker {
        program: program.display().to_string(),
        versions: versions.join(" "),
        template: String::new(),
        args: Vec::new(),
        variables: String::new(),
    }))
}

/// Which version it says it is: `Packer v1.11.2`. Asked once.
///
/// # Errors
/// If it does not say.
pub(crate) fn version(program: &Path) -> Result<String, String> {
    static SAID: Mutex<BTreeMap<PathBuf, Result<String, String>>> = Mutex::new(BTreeMap::new());
    let mut known = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(program.to_path_buf()).or_insert_with(|| ask_version(program)).clone()
}

fn ask_version(program: &Path) -> Result<String, String> {
    let said = answer(program, &["version"]).filter(|text| text.contains("Packer"));
    let said =
        said.ok_or_else(|| format!("`{}` is no Packer: it does not say its version", program.display()))?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// What it says to words, if it knows them.
fn answer(program: &Path, words: &[&str]) -> Option<String> {
    Command::new(program)
        .args(words)
        .env("CHECKPOINT_DISABLE", "1")
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// How a build of a template that only asks ended.
pub(crate) struct Asked {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Builds a template that lies in a folder of its own. It ends with this program, and so does the folder. `None` if it takes
/// longer than the limit.
///
/// # Errors
/// If it cannot be started.
pub(crate) async fn build(
    program: &Path,
    template: &Path,
    cwd: &Path,
    limit: Duration,
) -> io::Result<Option<Asked>> {
    let mut command = tokio::process::Command::new("/bin/sh");
    command.args(["-c", SUPERVISOR, "sh"]).arg(template.parent().unwrap_or(cwd));
    command.arg(program).args(["build", "-machine-readable"]).arg(template).current_dir(cwd);
    // What it builds is no image that anybody registers.
    command.env("CHECKPOINT_DISABLE", "1").env("PACKER_NO_COLOR", "1").env("HCP_PACKER_REGISTRY", "off");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let leash = child.stdin.take();
    let mut ended = std::pin::pin!(child.wait_with_output());
    let output = match tokio::time::timeout(limit, &mut ended).await {
        Ok(output) => output?,
        Err(_) => {
            drop(leash);
            ended.await?;
            return Ok(None);
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(Asked {
        success: output.status.success(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn build_with(script: &str, limit: Duration) -> (Option<Asked>, tempfile::TempDir) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("packer");
        fs_err::write(&program, script).unwrap();
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let template = folder.path().join("own/t.pkr.json");
        fs_err::create_dir_all(template.parent().unwrap()).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let asked = runtime.block_on(build(&program, &template, folder.path(), limit)).unwrap();
        (asked, folder)
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let started = Instant::now();
        let script = "#!/bin/sh\nsleep 90 &\necho $! > sleeper\nsleep 90\n";
        let (asked, folder) = build_with(script, Duration::from_secs(2));
        assert!(asked.is_none() && started.elapsed() < Duration::from_secs(30));
        assert!(!folder.path().join("own").exists(), "what it was told lies there no more");
        let sleeper = fs_err::read_to_string(folder.path().join("sleeper")).unwrap();
        let stat = Path::new("/proc").join(sleeper.trim()).join("stat");
        let gone = || fs_err::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        while !gone() {
            assert!(started.elapsed() < Duration::from_secs(60), "what it started still runs");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn how_it_ends_is_told() {
        let script = "#!/bin/sh\ncat\necho $HCP_PACKER_REGISTRY $1 $2\necho no >&2\nexit 3\n";
        let (asked, folder) = build_with(script, Duration::from_secs(60));
        let Asked { success, stdout, stderr } = asked.unwrap();
        assert_eq!(
            (success, stdout.as_str(), stderr.as_str()),
            (false, "off build -machine-readable\n", "no\n")
        );
        assert!(folder.path().join("own").exists());
    }
}
