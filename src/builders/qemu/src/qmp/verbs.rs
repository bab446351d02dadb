//! What is asked of a machine, in types: state, power, snapshots, disks, screen (QEMU: `qapi/*.json`). Not for: when to ask.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imgbuild_model::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{MemoryLies, Qmp, QmpError};

/// How often a job is asked whether it has ended.
const JOB_INTERVAL: Duration = Duration::from_millis(20);

/// Whether the processors run, and QEMU's word for the state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RunStatus {
    /// Whether they run.
    pub running: bool,
    /// `running`, `paused`, `prelaunch`, `shutdown`, `internal-error`, `guest-panicked`, `io-error`, …
    pub status: String,
}

/// A drive of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// The drive's name, or nothing if it has only one of a device.
    pub device: String,
    /// The name of its node in the graph of images.
    pub node: Option<String>,
    /// The file; `None` if it has no medium.
    pub file: Option<PathBuf>,
    /// The image's format: `qcow2`, `raw`.
    pub format: Option<String>,
    /// The size that the guest sees, in bytes.
    pub size: Option<u64>,
    /// Whether the guest cannot write.
    pub read_only: bool,
    /// The internal snapshots in its file, by tag.
    pub snapshots: Vec<String>,
}

/// Which nodes a snapshot of the whole machine is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSet {
    /// The snapshot's name.
    pub tag: String,
    /// The node whose file takes the memory; it must be qcow2.
    pub memory: String,
    /// The nodes whose contents are kept: all that the guest can write, the one with the memory among them.
    pub disks: Vec<String>,
}

/// A port of the host whose connections go to a port of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Forward {
    /// The host's address.
    pub address: Ipv4Addr,
    /// The host's port.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
}

impl Qmp {
    async fn ask<T: DeserializeOwned>(&self, command: &str, arguments: Value) -> Result<T, QmpError> {
        let value = self.execute(command, arguments).await?;
        T::deserialize(value)
            .map_err(|error| QmpError::Malformed { command: command.to_owned(), reason: error.to_string() })
    }

    async fn tell(&self, command: &str) -> Result<(), QmpError> {
        self.execute(command, Value::Null).await.map(drop)
    }

    /// Whether the processors run.
    ///
    /// # Errors
    /// If QEMU refuses, ends or is silent; so for each verb.
    pub async fn status(&self) -> Result<RunStatus, QmpError> {
        self.ask("query-status", Value::Null).await
    }

    /// Lets the processors stand still.
    pub async fn stop(&self) -> Result<(), QmpError> {
        self.tell("stop").await
    }

    /// Lets the processors run.
    pub async fn resume(&self) -> Result<(), QmpError> {
        self.tell("cont").await
    }

    /// Presses the power button; the guest may take its time, or not listen.
    pub async fn power_down(&self) -> Result<(), QmpError> {
        self.tell("system_powerdown").await
    }

    /// Presses the reset button.
    pub async fn reset(&self) -> Result<(), QmpError> {
        self.tell("system_reset").await
    }

    /// Ends QEMU as if power failed; what the guest wrote to disks is flushed.
    pub async fn quit(&self) -> Result<(), QmpError> {
        match self.tell("quit").await {
            // It may be gone before its answer is read.
            Err(QmpError::Closed { .. }) => Ok(()),
            other => other,
        }
    }

    /// Carries out a command of the monitor for humans and gives what it prints. Most print nothing unless they failed.
    pub async fn human(&self, command: &str, limit: Duration) -> Result<String, QmpError> {
        let arguments = json!({"command-line": command});
        match self.execute_within("human-monitor-command", arguments, limit).await? {
            Value::String(text) => Ok(text),
            other => Err(QmpError::Malformed {
                command: format!("human-monitor-command {command}"),
                reason: format!("it is no text but `{other}`"),
            }),
        }
    }

    /// A command for humans that prints only what went wrong.
    pub(crate) async fn human_silent(&self, command: &str, limit: Duration) -> Result<(), QmpError> {
        let said = self.human(command, limit).await?;
        match said.trim() {
            "" => Ok(()),
            said => Err(QmpError::Refused {
                command: command.to_owned(),
                class: "GenericError".to_owned(),
                description: said.trim_start_matches("Error: ").to_owned(),
            }),
        }
    }

    /// Keeps memory, devices and all disks that can be written in the snapshot `tag`, of the first qcow2 file that can
    /// hold it. The guest stands still meanwhile and then goes on as before. An older snapshot of that name is replaced.
    pub async fn savevm(&self, tag: &str, limit: Duration) -> Result<(), QmpError> {
        self.leave_out(MemoryLies::Within).await?;
        self.human_silent(&format!("savevm {}", word(tag)?), limit).await
    }

    /// Puts the machine back to the snapshot `tag`. It must be of the same devices.
    pub async fn loadvm(&self, tag: &str, limit: Duration) -> Result<(), QmpError> {
        self.human_silent(&format!("loadvm {}", word(tag)?), limit).await
    }

    /// Forgets the snapshot `tag`.
    pub async fn delvm(&self, tag: &str, limit: Duration) -> Result<(), QmpError> {
        self.human_silent(&format!("delvm {}", word(tag)?), limit).await
    }

    /// Keeps memory, devices and the named disks in a snapshot. Unlike [`Qmp::savevm`] it says which disks, so that a drive
    /// without snapshots, such as firmware variables in a raw file, is no hindrance. A snapshot of that name must not
    /// be there.
    pub async fn save_snapshot(&self, set: &SnapshotSet, limit: Duration) -> Result<(), QmpError> {
        self.leave_out(MemoryLies::Within).await?;
        let arguments = json!({"tag": set.tag, "vmstate": set.memory, "devices": set.disks});
        self.job("snapshot-save", arguments, limit).await
    }

    /// Puts the machine back to a snapshot that [`Qmp::save_snapshot`] made of the same nodes.
    pub async fn load_snapshot(&self, set: &SnapshotSet, limit: Duration) -> Result<(), QmpError> {
        let arguments = json!({"tag": set.tag, "vmstate": set.memory, "devices": set.disks});
        self.job("snapshot-load", arguments, limit).await
    }

    /// Forgets a snapshot on the named nodes.
    pub async fn delete_snapshot(&self, set: &SnapshotSet, limit: Duration) -> Result<(), QmpError> {
        let arguments = json!({"tag": set.tag, "devices": set.disks});
        self.job("snapshot-delete", arguments, limit).await
    }

    /// Starts a job and waits until it has ended, however it did.
    async fn job(&self, command: &str, mut arguments: Value, limit: Duration) -> Result<(), QmpError> {
        #[derive(Deserialize)]
        struct Job {
            id: String,
            status: String,
            #[serde(default)]
            error: Option<String>,
        }
        let deadline = Instant::now() + limit;
        let id = format!("imgbuild-{}", self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        arguments["job-id"] = Value::String(id.clone());
        self.execute_within(command, arguments, limit).await?;
        loop {
            let jobs: Vec<Job> = self.ask("query-jobs", Value::Null).await?;
            let job = jobs.into_iter().find(|job| job.id == id).ok_or_else(|| QmpError::Malformed {
                command: command.to_owned(),
                reason: "its job is not there any more".to_owned(),
            })?;
            if job.status == "concluded" {
                self.execute("job-dismiss", json!({"id": id})).await?;
                return match job.error {
                    None => Ok(()),
                    Some(description) => Err(QmpError::Refused {
                        command: command.to_owned(),
                        class: "GenericError".to_owned(),
                        description,
                    }),
                };
            }
            if Instant::now() >= deadline {
                return Err(QmpError::TimedOut { command: command.to_owned(), limit });
            }
            tokio::time::sleep(JOB_INTERVAL).await;
        }
    }

    /// The drives.
    pub async fn block_devices(&self) -> Result<Vec<BlockDevice>, QmpError> {
        let drives: Vec<Value> = self.ask("query-block", Value::Null).await?;
        Ok(drives.iter().map(block_device).collect())
    }

    /// Makes the disk with this node larger while the machine runs; `size` is in bytes.
    pub async fn resize_disk(&self, node: &str, size: u64) -> Result<(), QmpError> {
        self.execute("block_resize", json!({"node-name": node, "size": size})).await.map(drop)
    }

    /// Writes what the screen shows to a file: PNG if its name ends so, else PPM. QEMU writes it, with QEMU's rights.
    pub async fn screenshot(&self, file: &Path) -> Result<(), QmpError> {
        let format = if file.extension().is_some_and(|end| end == "png") { "png" } else { "ppm" };
        let name = file.to_str().ok_or_else(|| QmpError::Malformed {
            command: "screendump".to_owned(),
            reason: format!("`{}` is no UTF-8, as QEMU's protocol needs", file.display()),
        })?;
        self.execute("screendump", json!({"filename": name, "format": format})).await.map(drop)
    }

    /// Where VNC listens, as host and port; `None` if it does not, or on a socket.
    pub async fn vnc_address(&self) -> Result<Option<(String, u16)>, QmpError> {
        let server: Value = self.ask("query-vnc", Value::Null).await?;
        let host = server["host"].as_str().map(str::to_owned);
        let port = server["service"].as_str().and_then(|port| port.parse().ok());
        Ok(host.zip(port))
    }

    /// Sets VNC's password, of which 8 characters count; until then nobody gets in where one is asked for.
    pub async fn set_vnc_password(&self, password: &Secret) -> Result<(), QmpError> {
        let password = String::from_utf8_lossy(password.expose()).into_owned();
        self.execute("set_password", json!({"protocol": "vnc", "password": password})).await.map(drop)
    }

    /// Ports of the host that now go to the guest, those that the kernel chose among them.
    pub async fn forwards(&self) -> Result<Vec<Forward>, QmpError> {
        Ok(parse_usernet(&self.human("info usernet", super::COMMAND_LIMIT).await?))
    }

    /// Forwards a port of the host's loopback to the guest, through the network `netdev`; 0 lets the kernel choose.
    pub async fn add_forward(&self, netdev: &str, host: u16, guest: u16) -> Result<(), QmpError> {
        let command = format!("hostfwd_add {netdev} tcp:127.0.0.1:{host}-:{guest}");
        self.human_silent(&command, super::COMMAND_LIMIT).await
    }
}

/// The monitor for humans cuts its line at spaces.
fn word(tag: &str) -> Result<&str, QmpError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !tag.is_empty() && tag.chars().all(plain) && tag.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(tag);
    }
    Err(QmpError::Refused {
        command: "savevm, loadvm or delvm".to_owned(),
        class: "GenericError".to_owned(),
        description: format!(
            "`{tag}` cannot name a snapshot; use letters, digits, `-`, `_` and `.`, a letter first"
        ),
    })
}

fn block_device(drive: &Value) -> BlockDevice {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let inserted = &drive["inserted"];
    let image = &inserted["image"];
    let snapshots = image["snapshots"].as_array().map(Vec::as_slice).unwrap_or_default();
    BlockDevice {
        device: text(&drive["device"]).unwrap_or_default(),
        node: text(&inserted["node-name"]),
        file: text(&inserted["file"]).map(PathBuf::from),
        format: text(&inserted["drv"]),
        size: image["virtual-size"].as_u64(),
        read_only: inserted["ro"].as_bool().unwrap_or(false),
        snapshots: snapshots.iter().filter_map(|snapshot| text(&snapshot["name"])).collect(),
    }
}

/// From what `info usernet` prints: `  TCP[HOST_FORWARD]  12  127.0.0.1 43289  10.0.2.15  80  0  0`.
fn parse_usernet(text: &str) -> Vec<Forward> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        if fields.next()? != "TCP[HOST_FORWARD]" {
            return None;
        }
        let address = fields.nth(1)?;
        let address = if address == "*" { Ipv4Addr::UNSPECIFIED } else { address.parse().ok()? };
        let host = fields.next()?.parse().ok()?;
        Some(Forward { address, host, guest: fields.nth(1)?.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read() {
        let text = "Hub -1 (n0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  TCP[HOST_FORWARD]  13       127.0.0.1 22222       10.0.2.15    81     0     0\r\n  TCP[ESTABLISHED]   14       127.0.0.1 40000       10.0.2.15    81     0     0\r\n  UDP[236 sec]       15       10.0.2.15 53          10.0.2.3     53     0     0\r\n  TCP[HOST_FORWARD]  12               * 43289       10.0.2.15    80     0     0\r\n";
        let forward = |address: [u8; 4], host, guest| Forward { address: address.into(), host, guest };
        assert_eq!(
            parse_usernet(text),
            [forward([127, 0, 0, 1], 22222, 81), forward([0, 0, 0, 0], 43289, 80)]
        );
    }

    #[test]
    fn names_of_snapshots_are_words() {
        assert_eq!(word("warm-1.a_B").unwrap(), "warm-1.a_B");
        for wrong in ["", "1", "a b", "a\nquit", "ä", "-a"] {
            assert!(word(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn drives_are_read() {
        let drive = json!({"device": "disk0", "inserted": {"node-name": "disk0", "ro": false, "drv": "qcow2", "file": "/d/a.qcow2",
            "image": {"virtual-size": 1024, "snapshots": [{"name": "warm", "id": "1"}]}}});
        let read = block_device(&drive);
        assert_eq!((read.size, read.snapshots.as_slice()), (Some(1024), &["warm".to_owned()][..]));
        let empty = block_device(&json!({"device": "cd0", "inserted": null}));
        assert_eq!((empty.file, empty.node), (None, None));
    }
}
