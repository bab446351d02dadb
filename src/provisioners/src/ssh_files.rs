//! A folder by which OpenSSH's programs reach a machine as the build does: configuration, keys, known hosts.
//!
//! It is for this user alone, and goes with the action's folder. What is secret is in files, and on no command line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use imgbuild_engine::{ActionError, ConnectionFacts, Via};

use crate::shell::set_mode;

/// What hosts are called in the configuration and in the list of known hosts.
pub(crate) const MACHINE: &str = "imgbuild-machine";
const BASTION: &str = "imgbuild-bastion";

/// The folder's files. In the configuration the machine has two names: its address, and [`MACHINE`].
pub(crate) struct SshFiles {
    /// The configuration, for `ssh -F`.
    pub(crate) config: PathBuf,
}

impl SshFiles {
    /// Writes them into a folder that only this user can enter.
    ///
    /// # Errors
    /// If they cannot be written, or the machine cannot be reached by `ssh` alone.
    pub(crate) fn write(facts: &ConnectionFacts, folder: &Path) -> Result<Self, ActionError> {
        let address = word(&facts.host)?;
        let mut text = host(facts, &[&facts.host, MACHINE], MACHINE, folder)?;
        let _ = writeln!(text, "  HostName {address}\n  Port {}\n  User {}", facts.port, word(&facts.user)?);
        match &facts.via {
            None => {}
            Some(Via::Bastion(bastion)) => {
                if bastion.keys.is_empty() && bastion.agent.is_none() && bastion.password.is_some() {
                    return Err(ActionError::input(
                        "a bastion that asks for a password cannot be gone through by programs of this host",
                    )
                    .hint("give `ssh_bastion_private_key_file` or `ssh_bastion_agent_auth`"));
                }
                let _ = writeln!(text, "  ProxyJump {BASTION}");
                text.push_str(&host(bastion, &[BASTION], BASTION, folder)?);
                let _ = writeln!(text, "  HostName {}", word(&bastion.host)?);
                let _ = writeln!(text, "  Port {}", bastion.port);
                let _ = writeln!(text, "  User {}", word(&bastion.user)?);
            }
            Some(Via::Socks { .. }) => {
                return Err(ActionError::input(
                    "a machine behind a SOCKS proxy cannot be reached by programs of this host",
                )
                .hint("use a bastion (`ssh_bastion_host`), or a step that runs in the machine"));
            }
        }
        // Other hosts, which a playbook may name, are reached as ever.
        let _ = writeln!(text, "Host * !{address} !{MACHINE} !{BASTION}");
        text.push_str("  Include ~/.ssh/config\n  Include /etc/ssh/ssh_config\n");
        let config = folder.join("ssh_config");
        write_private(&config, text.as_bytes())?;
        Ok(Self { config })
    }
}

/// Writes a configuration beside another, by which programs that connect often do so once: over a socket in `sockets`, whose path
/// may not be long.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn with_one_connection(config: &Path, sockets: &Path) -> Result<PathBuf, ActionError> {
    let sockets = path_word(sockets)?;
    // Each host has its own.
    let text =
        format!("ControlPath {}/%C\"\nInclude {}\n", sockets.trim_end_matches('"'), path_word(config)?);
    let path = config.with_file_name("ssh_config-once");
    write_private(&path, text.as_bytes())?;
    Ok(path)
}

/// Makes a folder that only this user can enter.
pub(crate) fn private_folder(path: &Path) -> Result<(), ActionError> {
    fs_err::create_dir_all(path)?;
    set_mode(path, 0o700)
}

/// Writes a file that only this user can read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), ActionError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = fs_err::OpenOptions::from_options(options).open(path)?;
    Ok(file.write_all(content)?)
}

/// What concerns one host. `called` is what it is called on a command line, `name` what its files are.
fn host(facts: &ConnectionFacts, called: &[&str], name: &str, folder: &Path) -> Result<String, ActionError> {
    let called = called.iter().map(|name| word(name)).collect::<Result<Vec<_>, _>>()?;
    let mut text = format!("Host {}\n  HostKeyAlias {name}\n", called.join(" "));
    let known = folder.join(format!("{name}.known_hosts"));
    let lines: Vec<_> = facts.host_keys.iter().map(|key| format!("{name} {key}\n")).collect();
    write_private(&known, lines.concat().as_bytes())?;
    let _ = writeln!(text, "  UserKnownHostsFile {}", path_word(&known)?);
    text.push_str("  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  UpdateHostKeys no\n");
    for (place, key) in facts.keys.iter().enumerate() {
        let identity = folder.join(format!("{name}.key-{place}"));
        write_private(&identity, key.text.expose())?;
        let _ = writeln!(text, "  IdentityFile {}", path_word(&identity)?);
        if let Some(certificate) = &key.certificate {
            let path = folder.join(format!("{name}.key-{place}-cert.pub"));
            write_private(&path, format!("{certificate}\n").as_bytes())?;
            let _ = writeln!(text, "  CertificateFile {}", path_word(&path)?);
        }
    }
    match &facts.agent {
        Some(socket) => {
            let _ = writeln!(text, "  IdentityAgent {}", path_word(socket)?);
        }
        // Neither the user's agent nor the keys in the home folder are this machine's.
        None => text.push_str("  IdentityAgent none\n  IdentitiesOnly yes\n"),
    }
    Ok(text)
}

/// A word of the configuration.
fn word(text: &str) -> Result<String, ActionError> {
    if text.is_empty() || text.contains(['"', '\\', '*', '?', '!', ',']) || text.chars().any(char::is_control)
    {
        return Err(ActionError::input(format!("`{text}` cannot be written into a configuration of SSH")));
    }
    Ok(if text.contains([' ', '#', '=']) { format!("\"{text}\"") } else { text.to_owned() })
}

/// A path, in which `%` would begin something else.
fn path_word(path: &Path) -> Result<String, ActionError> {
    let text =
        path.to_str().filter(|text| !text.contains(['"', '\\', '$']) && !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| {
        ActionError::environment(format!(
            "`{}` cannot be written into a configuration of SSH",
            path.display()
        ))
        .hint("use a folder for the cache whose name has letters and digits")
    })?;
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use imgbuild_engine::PrivateKeyFacts;
    use imgbuild_model::Secret;

    use super::*;

    fn facts() -> ConnectionFacts {
        ConnectionFacts {
            host: "10.0.0.7".to_owned(),
            port: 2222,
            user: "admin".to_owned(),
            password: None,
            keys: vec![PrivateKeyFacts {
                text: Secret::new("THE KEY"),
                certificate: Some("THE CERT".to_owned()),
            }],
            agent: None,
            host_keys: vec!["ssh-ed25519 AAAA".to_owned()],
            via: None,
        }
    }

    #[test]
    fn a_machine_is_held_to_its_key_and_secrets_are_in_private_files() {
        let folder = tempfile::tempdir().unwrap();
        let files = SshFiles::write(&facts(), folder.path()).unwrap();
        let text = fs_err::read_to_string(&files.config).unwrap();
        for line in [
            "Host 10.0.0.7 imgbuild-machine\n  HostKeyAlias imgbuild-machine\n",
            "  HostName 10.0.0.7\n  Port 2222\n  User admin\n",
            "  StrictHostKeyChecking yes\n",
            "  IdentityAgent none\n  IdentitiesOnly yes\n",
            "Host * !10.0.0.7 !imgbuild-machine !imgbuild-bastion\n  Include ~/.ssh/config\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("THE KEY"), "{text}");
        let known = fs_err::read_to_string(folder.path().join("imgbuild-machine.known_hosts")).unwrap();
        assert_eq!(known, "imgbuild-machine ssh-ed25519 AAAA\n");
        let key = folder.path().join("imgbuild-machine.key-0");
        assert_eq!(fs_err::read_to_string(&key).unwrap(), "THE KEY");
        assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_stands_in_between_is_gone_through_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |via: Via| {
            SshFiles::write(&ConnectionFacts { via: Some(via), ..facts() }, folder.path())
                .map(|files| fs_err::read_to_string(files.config).unwrap())
                .map_err(|error| error.to_string())
        };
        let bastion = ConnectionFacts { host: "door".to_owned(), port: 23, user: "me".to_owned(), ..facts() };
        let text = write(Via::Bastion(Box::new(bastion.clone()))).unwrap();
        assert!(text.contains("  ProxyJump imgbuild-bastion\nHost imgbuild-bastion\n"), "{text}");
        assert!(text.contains("  HostName door\n  Port 23\n  User me\n"), "{text}");
        let asks =
            ConnectionFacts { password: Some(Secret::new("hunter2hunter2")), keys: Vec::new(), ..bastion };
        assert!(write(Via::Bastion(Box::new(asks))).unwrap_err().contains("asks for a password"));
        let socks = write(Via::Socks { host: "proxy".to_owned(), port: 1080 });
        assert!(socks.unwrap_err().contains("behind a SOCKS proxy"));
    }

    #[test]
    fn what_would_be_another_line_or_a_pattern_is_refused() {
        for text in ["a\nProxyCommand x", "*", "a\"b", ""] {
            assert!(word(text).is_err(), "{text:?}");
        }
        assert_eq!(path_word(Path::new("/a b/%h")).unwrap(), "\"/a b/%%h\"");
        assert!(path_word(Path::new("/a\"b")).is_err());
    }
}
