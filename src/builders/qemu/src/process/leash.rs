//! How a child ends when this program does, whatever ends it.
//!
//! For: a child that would otherwise run on, such as a machine. The kernel's own signal for this (`PR_SET_PDEATHSIG`, and so
//! QEMU's `-run-with exit-with-parent`) comes when the *thread* that made the child ends, which in a pool of threads is
//! no matter of the program's end. Not for: children that end by themselves.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

/// Which descriptor what the child has as standard output becomes in the program.
pub(crate) const DESCRIPTOR: u32 = 4;

/// Which descriptor a child is given as its memory, if it is given one.
pub(crate) const MEMORY: i32 = 5;

/// Becomes its arguments from the second on. Standard input is the leash, held by a process in the background: when the other
/// end closes, the folder that is the first argument goes and all of the process group is killed.
///
/// The process in the background lets go of all other descriptors, so that what they lead to ends with the program.
const HOLDER: &str = r#"
exec 3<&0 4>&1 </dev/null >&2
{ exec 4>&- 5>&-; read -r _ <&3; rm -rf -- "$1"; kill -KILL 0; } >/dev/null 2>&1 &
shift
exec "$@" 3<&-
"#;

/// The same without a folder, and with standard output as it is.
const PLAIN_HOLDER: &str = r#"
exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
exec "$@" 3<&-
"#;

/// A command that runs `program` in a process group of its own and ends with this program or when its standard input is
/// closed, upon which `folder` is removed. Arguments are to follow. What it gets as standard output is its descriptor
/// [`DESCRIPTOR`]; what it writes on its own standard output goes to standard error.
///
/// The pid is that of the program, because the shell becomes it.
pub(crate) fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", HOLDER, "sh"]).arg(folder).arg(program);
    command.stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

/// As [`command`], for a program that answers on its standard output and has no folder.
pub(crate) fn plain_command(program: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", PLAIN_HOLDER, "sh"]).arg(program);
    command.stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn who_lets_go_of_the_leash_ends_the_group() {
        let mut command = plain_command(Path::new("/bin/sh"));
        let mut child =
            command.args(["-c", "sleep 90 & echo $!; wait"]).stdout(Stdio::piped()).spawn().unwrap();
        let leash = child.stdin.take();
        let mut said = [0; 16];
        let mut stdout = child.stdout.take().unwrap();
        let length = tokio::io::AsyncReadExt::read(&mut stdout, &mut said).await.unwrap();
        let sleeper = String::from_utf8_lossy(&said[..length]).trim().to_owned();
        drop(leash);
        let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await.unwrap().unwrap();
        assert!(!status.success());
        let started = Instant::now();
        let stat = format!("/proc/{sleeper}/stat");
        while fs_err::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(started.elapsed() < Duration::from_secs(30), "what it started still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
