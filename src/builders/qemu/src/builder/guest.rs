//! What is done in a machine besides its steps: before its disks are kept, behind that, when it is back, and at its end.
//!
//! Each is a script for `/bin/sh` as root, given on standard input, so that no secret is on a command line; only a clock is set by a
//! line. What the script needs and the machine lacks is left out where the next boot can do without it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imgbuild_engine::ActionError;
use imgbuild_ssh::{SshSession, Stdin, quote};

use super::access::Access;
use crate::seed::{SSHD_CONFIG, SSHD_LINES};

/// How long a script may take: it may write all that is in memory to a slow disk, or wait for cloud-init.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Where what was in `/tmp` waits for the next boot.
const PACK: &str = "/var/lib/imgbuild/tmp.tar";

/// Where is written for a moment what is packed: not on the disk, which may be full.
const LIST: &str = "/run/imgbuild-tmp.list";

/// Packs `/tmp` and `/var/tmp`, which a boot empties. What belongs to processes and to this program is left out.
const PACK_TMP: &str = r#"
umask 077
mkdir -p /var/lib/imgbuild
rm -f "$PACK"
if command -v tar >/dev/null && command -v find >/dev/null; then
    cd /
    { : >"$LIST"; } 2>/dev/null || LIST=$PACK.list
    find tmp var/tmp -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' ! -name '.*-unix' ! -name 'imgbuild-*' \
        ! -name 'snap-private-tmp' ! -type s >"$LIST" 2>/dev/null || true
    if [ -s "$LIST" ]; then
        # What is written meanwhile is packed as it is found: 1 of GNU's tar.
        tar --numeric-owner --xattrs -cf "$PACK" -T "$LIST" 2>/dev/null || [ $? -eq 1 ] ||
            tar -cf "$PACK" -T "$LIST" || {
                # It does not say so itself where the disk is full.
                cat "$LIST" >"$PACK.rest" || true
                rm -f "$LIST"
                exit 1
            }
    fi
    rm -f "$LIST"
fi
"#;

/// Unpacks it again.
const UNPACK_TMP: &str = r#"
if [ -f "$PACK" ]; then
    cd /
    tar --numeric-owner --xattrs -xpf "$PACK" 2>/dev/null || tar -xpf "$PACK"
fi
rm -rf /var/lib/imgbuild
"#;

/// Takes away what lets us in, and what cloud-init was told: the keys are in memory, and are given to each boot anew.
const TAKE_KEYS: &str = r#"
rm -f "$SSHD_CONFIG"
rm -rf /var/lib/cloud/instances/imgbuild-* /var/lib/cloud/instance
"#;

/// Lets us in again where a machine goes on.
const GIVE_KEYS: &str = r#"
printf '%s' "$SSHD_LINES" >"$SSHD_CONFIG"
"#;

/// Writes all that is in memory to the disks, and gives free blocks back.
const SYNC: &str = "
fstrim -a >/dev/null 2>&1 || true
sync
";

/// What belongs to one machine and not to an image.
const SEAL: &str = r#"
if [ -d /var/lib/cloud ]; then
    rm -rf /var/lib/cloud/instances /var/lib/cloud/instance /var/lib/cloud/data /var/lib/cloud/sem
fi
if [ -e /etc/machine-id ]; then : >/etc/machine-id; fi
rm -f /var/lib/dbus/machine-id
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
rm -f /var/lib/systemd/random-seed /var/lib/urandom/random-seed /var/lib/systemd/credential.secret
rm -rf /var/lib/dhcp/*.leases /var/lib/dhclient/* /var/lib/NetworkManager/*.lease /var/lib/systemd/network/*
rm -rf /var/lib/imgbuild
find /root /home -maxdepth 2 \( -name .bash_history -o -name .ash_history -o -name .lesshst -o -name .viminfo -o -name .wget-hsts \) \
    -exec rm -f {} + 2>/dev/null || true
rm -rf /var/log/journal/* /run/log/journal/*
find /var/log -type f \( -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' \) -exec rm -f {} + 2>/dev/null || true
find /var/log -type f -exec sh -c 'for file; do : >"$file"; done' sh {} + 2>/dev/null || true
find /tmp /var/tmp -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' ! -name '.*-unix' -exec rm -rf {} + 2>/dev/null || true
fstrim -a >/dev/null 2>&1 || true
sync
"#;

/// Ends a sealed machine without what services write as they end: file systems are as they are now.
const STOP: &str = r#"
sync
echo 1 >/proc/sys/kernel/sysrq 2>/dev/null || true
(sleep 1; echo u >/proc/sysrq-trigger; sleep 1; echo o >/proc/sysrq-trigger) </dev/null >/dev/null 2>&1 &
"#;

/// Sets a clock, in seconds since 1970. It starts as little as can be: nothing of the guest has been translated yet where that is emulated.
/// That of busybox does not say that it may not, so that who is no root is told from who is by what they may write to.
fn clock_line(seconds: u64) -> String {
    let set = format!("date -u -s @{seconds} >/dev/null 2>&1");
    format!("if [ -w / ]; then {set} || sudo -n {set}; else sudo -n {set} || {set}; fi || :")
}

/// Where a script says what it needs.
fn words(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect()
}

/// What takes away that which lets us in, if it was given.
fn take_keys(access: &Access) -> String {
    if access.is_made() { words(&[("SSHD_CONFIG", SSHD_CONFIG)]) + TAKE_KEYS } else { String::new() }
}

/// What is done before disks are kept.
///
/// # Errors
/// If the machine is gone, or nobody there may do it.
pub(crate) async fn before(session: &SshSession, access: &Access) -> Result<(), ActionError> {
    let script = words(&[("PACK", PACK), ("LIST", LIST)]) + PACK_TMP + &take_keys(access);
    run(session, "be kept", &(script + SYNC)).await
}

/// What is done before a machine is switched off: `/tmp` is not of its disks then.
///
/// # Errors
/// As [`before`].
pub(crate) async fn before_end(session: &SshSession, access: &Access) -> Result<(), ActionError> {
    run(session, "be switched off", &(take_keys(access) + SYNC)).await
}

/// What is done behind that, in a machine that goes on.
///
/// # Errors
/// As [`before`].
pub(crate) async fn behind(session: &SshSession, access: &Access) -> Result<(), ActionError> {
    let mut script = "rm -rf /var/lib/imgbuild\n".to_owned();
    if access.is_made() {
        script += &words(&[("SSHD_CONFIG", SSHD_CONFIG), ("SSHD_LINES", SSHD_LINES)]);
        script += GIVE_KEYS;
    }
    run(session, "go on", &script).await
}

/// What is done when a machine was started from disks: cloud-init, if it was told something, must be at its end, since what it was told
/// is taken away before disks are kept.
///
/// # Errors
/// As [`before`].
pub(crate) async fn started(session: &SshSession, access: &Access) -> Result<(), ActionError> {
    let mut script = words(&[("PACK", PACK)]) + UNPACK_TMP;
    if access.is_made() {
        script += "if command -v cloud-init >/dev/null; then timeout 600 cloud-init status --wait >/dev/null 2>&1 || true; fi\n";
    }
    run(session, "go on", &script).await
}

/// What is done when a machine goes on from memory, before anything else in it: its clock stood still. One that cannot be set stays as
/// it is.
pub(crate) async fn woken(session: &SshSession) {
    let line = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        clock_line(now.as_secs())
    };
    session.ssh().owe(line).await;
}

/// Makes an image of the machine.
///
/// # Errors
/// As [`before`].
pub(crate) async fn seal(session: &SshSession, access: &Access) -> Result<(), ActionError> {
    let script = take_keys(access);
    run(session, "be sealed", &(script + SEAL)).await
}

/// Begins to stop a sealed machine.
///
/// # Errors
/// As [`before`].
pub(crate) async fn stop(session: &SshSession) -> Result<(), ActionError> {
    run(session, "be switched off", STOP).await
}

/// Runs a script as root.
async fn run(session: &SshSession, purpose: &str, script: &str) -> Result<(), ActionError> {
    // The shell is a child of its own, so that nothing else reads what is left of the script.
    let line = "if [ \"$(id -u)\" = 0 ]; then exec /bin/sh -e; else exec sudo -n /bin/sh -e; fi";
    let script = format!("set -e\n{script}");
    let done = within(purpose, session.ssh().output(line, Stdin::Bytes(script.as_bytes()))).await?;
    if done.exit.is_success() {
        return Ok(());
    }
    let last = done.stderr.trim().lines().last().unwrap_or_default().to_owned();
    let what = format!("the machine cannot {purpose}: {} {last}", done.exit);
    let error = ActionError::environment(what.trim().to_owned());
    Err(if last.contains("sudo") {
        error.hint("log in as root, or as somebody who may use `sudo` without a password")
    } else if done.stderr.contains("No space left on device") {
        error.hint(
            "its disk is full: `disk_size` makes a larger one, and steps may remove what they no longer need",
        )
    } else {
        error
    })
}

/// What a machine says, unless it takes too long.
async fn within<T, E>(purpose: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, ActionError>
where
    ActionError: From<E>,
{
    let done = tokio::time::timeout(LIMIT, work).await.map_err(|_| {
        ActionError::environment(format!(
            "the machine cannot {purpose}: nothing came of it in {} s",
            LIMIT.as_secs()
        ))
    })?;
    Ok(done?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_scripts_are_scripts() {
        for (name, script) in [
            ("pack", PACK_TMP),
            ("unpack", UNPACK_TMP),
            ("take", TAKE_KEYS),
            ("give", GIVE_KEYS),
            ("sync", SYNC),
            ("seal", SEAL),
            ("stop", STOP),
            ("clock", &clock_line(1)),
        ] {
            let checked = Command::new("/bin/sh").args(["-n", "-c", script]).output().unwrap();
            assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }

    #[test]
    fn a_clock_is_set_by_whoever_may() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in
            [("date", "#!/bin/sh\n[ $R ] && echo $*>$0.said"), ("sudo", "#!/bin/sh\nR=1 $2 $3 $4 $5")]
        {
            let path = folder.path().join(name);
            fs_err::write(&path, script).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let said = folder.path().join("date.said");
        for (root, expected) in [("1", "-u -s @77\n"), ("", "-u -s @77\n")] {
            let done = Command::new("/bin/sh")
                .args(["-c", &clock_line(77)])
                .envs([("PATH", folder.path().to_str().unwrap()), ("R", root)])
                .output()
                .unwrap();
            assert!(done.status.success() && done.stdout.is_empty() && done.stderr.is_empty(), "{done:?}");
            assert_eq!(fs_err::read_to_string(&said).unwrap(), expected);
            fs_err::remove_file(&said).unwrap();
        }
        let nobody =
            Command::new("/bin/sh").args(["-c", &clock_line(77)]).env("PATH", "/nowhere").output().unwrap();
        assert!(nobody.status.success(), "{nobody:?}");
    }

    #[test]
    fn what_is_in_tmp_survives_a_boot() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        for name in ["tmp", "var/tmp", "var/lib"] {
            fs_err::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in ["tmp/kept", "tmp/imgbuild-1", "tmp/systemd-private-1", "var/tmp/.hidden"] {
            fs_err::write(folder.path().join(name), name).unwrap();
        }
        let run = |script: &str| {
            let list = format!("{root}/list");
            let script = words(&[("PACK", &format!("{root}{PACK}")), ("LIST", &list)])
                + &script
                    .replace(" /var/lib/imgbuild", &format!(" {root}/var/lib/imgbuild"))
                    .replace("cd /\n", &format!("cd {root}\n"));
            let done = Command::new("/bin/sh").args(["-e", "-c", &script]).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        run(PACK_TMP);
        for name in ["tmp", "var/tmp"] {
            fs_err::remove_dir_all(folder.path().join(name)).unwrap();
            fs_err::create_dir(folder.path().join(name)).unwrap();
        }
        run(UNPACK_TMP);
        let there = |name: &str| folder.path().join(name).exists();
        assert!(there("tmp/kept") && there("var/tmp/.hidden"));
        assert!(!there("tmp/imgbuild-1") && !there("tmp/systemd-private-1") && !there("var/lib/imgbuild"));
    }
}
