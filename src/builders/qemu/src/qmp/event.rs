//! Events: what QEMU tells unasked (QEMU: `qapi/run-state.json`, `qapi/job.json`). Not for: waiting for them.

use serde_json::Value;

/// Something that happened to the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When, in seconds since 1970, by the host's clock.
    pub seconds: i64,
}

/// What can happen to a machine. What nothing here acts on is `Other`.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// The machine is off, or asked to be ended; QEMU ends unless it was started with `-no-shutdown`.
    Shutdown {
        /// Whether the guest did it.
        guest: bool,
        /// QEMU's word for it: `guest-shutdown`, `guest-reset`, `host-qmp-quit`, `host-signal`, …
        reason: String,
    },
    /// The guest was asked to switch itself off (`system_powerdown`).
    PowerDown,
    /// The processors stand still.
    Stop,
    /// The processors run again.
    Resume,
    /// The machine was reset.
    Reset {
        /// Whether the guest did it.
        guest: bool,
    },
    /// The guest says that it cannot go on; seen only if it has a `pvpanic` device.
    GuestPanicked {
        /// What QEMU does about it: `pause`, `poweroff`, `run`.
        action: String,
    },
    /// A write or read of a disk failed on the host, for example because the host's disk is full.
    BlockIoError {
        /// Which.
        device: String,
        /// What QEMU does about it: `stop`, `report`, `ignore`.
        action: String,
        /// Why.
        reason: String,
    },
    /// A job of QEMU's is now in another state.
    JobStatusChange {
        /// Which job.
        id: String,
        /// QEMU's word for the state: `concluded`, …
        status: String,
    },
    /// Another.
    Other {
        /// QEMU's name of it.
        name: String,
        /// What it says about it.
        data: Value,
    },
}

impl Event {
    pub(super) fn new(name: &str, data: Value, seconds: i64) -> Self {
        let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
        let guest = data["guest"].as_bool().unwrap_or(false);
        let kind = match name {
            "SHUTDOWN" => EventKind::Shutdown { guest, reason: text("reason") },
            "POWERDOWN" => EventKind::PowerDown,
            "STOP" => EventKind::Stop,
            "RESUME" => EventKind::Resume,
            "RESET" => EventKind::Reset { guest },
            "GUEST_PANICKED" => EventKind::GuestPanicked { action: text("action") },
            "BLOCK_IO_ERROR" => EventKind::BlockIoError {
                device: text("device"),
                action: text("action"),
                reason: text("reason"),
            },
            "JOB_STATUS_CHANGE" => EventKind::JobStatusChange { id: text("id"), status: text("status") },
            _ => EventKind::Other { name: name.to_owned(), data },
        };
        Self { kind, seconds }
    }
}
