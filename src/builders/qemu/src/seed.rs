//! What cloud-init reads at the first boot: a volume labelled `CIDATA` with user data, meta data and network
//! (cloud-init: `reference/datasources/nocloud`).
//!
//! Everything is made by serde: YAML holds JSON, so that no value can end the text that it is in. Not for: installers, whose
//! answers a template has itself.

mod host_key;

use std::collections::BTreeMap;

use imgbuild_model::Secret;
use serde_json::{Map, Value, json};

use crate::media::{FatSize, Files, MediaError, fat_image};

pub use host_key::{HostKey, HostKeyError};

/// The label that cloud-init looks for.
pub const LABEL: &str = "CIDATA";

/// The folder of the guest's memory that the keys of a boot are in.
pub const KEYS: &str = "/run/imgbuild";

/// The file by which the guest's SSH knows them: it names files and holds nothing that is secret.
pub const SSHD_CONFIG: &str = "/etc/ssh/sshd_config.d/00-imgbuild.conf";

/// What is in it (OpenSSH 8.2, which is the first that includes such files; `sshd_config(5)`).
pub const SSHD_LINES: &str = "HostKey /run/imgbuild/host_key\nAuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /run/imgbuild/authorized_keys\n";

/// Takes keys from the seed into the guest's memory before SSH starts. What cloud-init itself is told lies on the disk, also
/// where it was and is free again.
const TAKE_KEYS: &str = r"
set -e
umask 077
mkdir -p /run/imgbuild/seed
chmod 755 /run/imgbuild
mount -o ro /dev/disk/by-label/CIDATA /run/imgbuild/seed 2>/dev/null || mount -o ro LABEL=CIDATA /run/imgbuild/seed
cp /run/imgbuild/seed/host_key /run/imgbuild/host_key
cp /run/imgbuild/seed/authorized_keys /run/imgbuild/authorized_keys
chmod 600 /run/imgbuild/host_key
chmod 644 /run/imgbuild/authorized_keys
umount /run/imgbuild/seed
mkdir -p /etc/ssh/sshd_config.d
chmod 755 /etc/ssh/sshd_config.d
printf 'HostKey /run/imgbuild/host_key\nAuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /run/imgbuild/authorized_keys\n' >/etc/ssh/sshd_config.d/00-imgbuild.conf
chmod 644 /etc/ssh/sshd_config.d/00-imgbuild.conf
";

/// What a guest is told at its first boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// A guest that has seen this identity does nothing again.
    pub instance: String,
    /// The guest's name.
    pub hostname: String,
    /// Who may log in besides the image's own users; `root` is made to be let in.
    pub user: Option<SeedUser>,
    /// The key by which the guest proves who it is; it makes its own if absent.
    pub host_key: Option<HostKey>,
    /// The network in the form of netplan's version 2; DHCP on the first card if absent.
    pub network: Option<Value>,
    /// Further user data, which take the place of what is made here.
    pub more: Map<String, Value>,
}

/// Who may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedUser {
    /// The name.
    pub name: String,
    /// Public keys in the form of `authorized_keys`.
    pub keys: Vec<String>,
    /// A password in clear, for guests that are reached by one. It is in the seed and so in the guest's files.
    pub password: Option<Secret>,
}

impl Seed {
    /// The files: `user-data`, `meta-data`, `network-config` where there is something to say, and the keys.
    ///
    /// # Errors
    /// None of its own; a medium refuses two files of one name.
    pub fn files(&self) -> Result<Files, MediaError> {
        let meta = json!({"instance-id": self.instance, "local-hostname": self.hostname});
        let mut files = Files::new();
        files.add("meta-data", yaml(&meta))?;
        // Without it cloud-init asks DHCP on the first card, by its own name; a pattern of names means nothing to older ones.
        if let Some(network) = &self.network {
            files.add("network-config", yaml(network))?;
        }
        if let Some(key) = &self.host_key {
            files.add("host_key", key.private().expose())?;
            let keys = self.user.iter().flat_map(|user| &user.keys).map(|key| format!("{key}\n"));
            files.add("authorized_keys", keys.collect::<String>())?;
        }
        files.add("user-data", format!("#cloud-config\n{}", yaml(&Value::Object(self.user_data()))))?;
        Ok(files)
    }

    /// The bytes of a volume that cloud-init finds as any disk. They hold the host's key: a file of them is the owner's alone.
    ///
    /// # Errors
    /// If the files do not fit on a volume.
    pub fn image(&self) -> Result<Vec<u8>, MediaError> {
        fat_image(LABEL, &self.files()?, FatSize::Fitting)
    }

    fn user_data(&self) -> Map<String, Value> {
        let mut data = BTreeMap::new();
        data.insert("hostname", json!(self.hostname));
        data.insert("preserve_hostname", json!(false));
        if let Some(user) = &self.user {
            data.extend(user.data(self.host_key.is_some()));
        }
        if self.host_key.is_some() {
            data.insert("bootcmd", json!([["/bin/sh", "-c", TAKE_KEYS]]));
            data.insert("ssh_deletekeys", json!(true));
            data.insert("ssh_genkeytypes", json!([]));
        }
        let mut map: Map<String, Value> =
            data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        map.extend(self.more.clone());
        map
    }
}

impl SeedUser {
    /// `keys_apart` says that keys are given in another way.
    fn data(&self, keys_apart: bool) -> BTreeMap<&'static str, Value> {
        let mut data = BTreeMap::new();
        let keys: &[String] = if keys_apart { &[] } else { &self.keys };
        let mut user = json!({"name": self.name, "ssh_authorized_keys": keys});
        if self.name == "root" {
            data.insert("disable_root", json!(false));
        } else {
            user["sudo"] = json!("ALL=(ALL) NOPASSWD:ALL");
            user["shell"] = json!("/bin/bash");
        }
        if let Some(password) = &self.password {
            user["plain_text_passwd"] = json!(String::from_utf8_lossy(password.expose()));
            user["lock_passwd"] = json!(false);
        }
        data.insert("ssh_pwauth", json!(self.password.is_some()));
        data.insert("users", json!(["default", user]));
        data
    }
}

/// A value as YAML that is JSON too. YAML takes fewer characters as they are than JSON does, and more of them as line ends
/// (YAML 1.1, `c-printable` and `b-char`).
fn yaml(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut escaped = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                escaped += &format!("\\u{:04x}", u32::from(character));
            }
            character => escaped.push(character),
        }
    }
    escaped.push('\n');
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Seed {
        Seed {
            instance: "i-1".into(),
            hostname: "web".into(),
            user: Some(SeedUser {
                name: "debian".into(),
                keys: vec!["ssh-ed25519 AAAA me".into()],
                password: None,
            }),
            host_key: Some(HostKey::from_seed([7; 32])),
            network: None,
            more: Map::new(),
        }
    }

    fn user_data(seed: &Seed) -> Value {
        let files = seed.files().unwrap();
        let (_, bytes) = files.iter().find(|(path, _)| *path == "user-data").unwrap();
        let text = std::str::from_utf8(bytes).unwrap().strip_prefix("#cloud-config\n").unwrap().to_owned();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_guest_is_told_who_may_log_in_and_who_it_is() {
        let data = user_data(&seed());
        // What cloud-init is told stays on the guest's disk.
        assert_eq!(data["users"][1]["ssh_authorized_keys"], json!([]));
        assert!(!data.to_string().contains("PRIVATE KEY"));
        assert_eq!(data["ssh_pwauth"], json!(false));
        let without = user_data(&Seed { host_key: None, ..seed() });
        assert_eq!(without["users"][1]["ssh_authorized_keys"], json!(["ssh-ed25519 AAAA me"]));
        assert_eq!(without["bootcmd"], Value::Null);
        let script = TAKE_KEYS.replace("\\n", "\n");
        assert!(
            script.contains(SSHD_LINES.trim_end()) && script.contains(SSHD_CONFIG) && script.contains(KEYS)
        );
        let paths: Vec<String> = seed().files().unwrap().iter().map(|(path, _)| path.to_owned()).collect();
        assert_eq!(paths, ["authorized_keys", "host_key", "meta-data", "user-data"]);
        let told = Seed { network: Some(json!({"version": 2})), ..seed() };
        assert_eq!(told.files().unwrap().iter().count(), 5);
        assert_eq!(seed().image().unwrap(), seed().image().unwrap());

        let user =
            SeedUser { name: "root".into(), keys: vec![], password: Some(Secret::new("p\u{7f}\"\n: x")) };
        let root = Seed { user: Some(user), ..seed() };
        let data = user_data(&root);
        assert_eq!(data["disable_root"], json!(false));
        assert_eq!(data["users"][1]["plain_text_passwd"], json!("p\u{7f}\"\n: x"));
        assert!(!format!("{root:?}").contains("x\""), "{root:?}");
    }

    #[test]
    fn further_data_take_the_place_of_ours() {
        let mut more = Map::new();
        more.insert("hostname".into(), json!("other"));
        more.insert("package_update".into(), json!(true));
        let data = user_data(&Seed { more, ..seed() });
        assert_eq!((&data["hostname"], &data["package_update"]), (&json!("other"), &json!(true)));
    }

    #[test]
    fn a_reader_of_yaml_reads_the_same() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let odd = json!({"a": "x: y # \u{7f}\u{85}\u{9f}\u{2028}\u{feff}\u{fffe}\u{1f600}\n\t- 'b' \"c\" \\", "no": [null, true, 1.5, "", "~"]});
        let script =
            "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin.buffer.read().decode())))";
        let reader = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut reader) = reader else {
            eprintln!("SKIPPED: there is no `python3`");
            return;
        };
        reader.stdin.take().unwrap().write_all(yaml(&odd).as_bytes()).unwrap();
        let output = reader.wait_with_output().unwrap();
        if !output.status.success() {
            let has = Command::new("python3").args(["-c", "import yaml"]).stderr(Stdio::null()).status();
            assert!(!has.unwrap().success(), "PyYAML does not read it");
            eprintln!("SKIPPED: there is no PyYAML");
            return;
        }
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), odd);
    }

    #[test]
    fn what_is_written_is_yaml_as_well() {
        assert_eq!(yaml(&json!("a\u{7f}\u{85}\u{2028}ä")), "\"a\\u007f\\u0085\\u2028ä\"\n");
    }
}
