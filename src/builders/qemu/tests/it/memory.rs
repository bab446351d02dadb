//! Snapshots with memory: a guest goes on in another process where it was.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use imgbuild_qemu::memory::GuestMemory;
use imgbuild_qemu::process::{Launch, Machine};
use imgbuild_qemu::qmp::SnapshotSet;
use imgbuild_qemu::spec::{Disk, DiskFormat, Host, HostForward, HostPort, MachineSpec, Nic};

use crate::guest::{Guest, LONG};

fn last_count(machine: &Machine) -> u32 {
    let console = machine.console(1);
    console.strip_prefix("count ").and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{console}"))
}

/// Saves in one process and loads in another. Gives how long each took, in milliseconds.
async fn goes_on(guest: &Guest, as_job: bool) {
    let disk = guest.path(&format!("disk-{as_job}.qcow2"));
    guest.images.create(&disk, DiskFormat::Qcow2, Some(1 << 30), None, &[]).await.unwrap();
    let forward = |port| Nic::new(vec![HostForward { host: port, guest: 22 }]);
    let spec = |port| MachineSpec {
        disks: vec![Disk::new(&disk, DiskFormat::Qcow2)],
        nics: vec![forward(port)],
        ..guest.spec("count")
    };
    let set = SnapshotSet { tag: "warm".into(), memory: "disk0".into(), disks: vec!["disk0".into()] };
    let host = Host {
        emulator: &guest.emulator.build,
        machine: guest.emulator.versioned_machine("pc"),
        firmware: "",
        processor: "",
    };

    let started = Instant::now();
    let mut first = guest.launch(spec(HostPort::Any)).start(LONG).await.unwrap();
    assert!(first.wait_for_console("count 5", LONG).await.unwrap());
    let booted = started.elapsed();
    let saving = Instant::now();
    if as_job {
        first.qmp().save_snapshot(&set, LONG).await.unwrap();
    } else {
        first.qmp().savevm("warm", LONG).await.unwrap();
    }
    let saved = saving.elapsed();
    let at = last_count(&first);
    let drives = first.qmp().block_devices().await.unwrap();
    assert_eq!(drives[0].snapshots, ["warm"]);
    first.kill().await;
    drop(first);

    let again = spec(HostPort::Any);
    let was = spec(HostPort::Any).memory_fingerprint(&host).unwrap();
    assert_eq!(was.differences(&again.memory_fingerprint(&host).unwrap()), []);
    let loading = Instant::now();
    let launch = Launch { paused: true, ..guest.launch(again) };
    let mut second = launch.start(LONG).await.unwrap();
    assert_eq!(second.qmp().status().await.unwrap().status, "prelaunch");
    if as_job {
        second.qmp().load_snapshot(&set, LONG).await.unwrap();
    } else {
        second.qmp().loadvm("warm", LONG).await.unwrap();
    }
    second.qmp().resume().await.unwrap();
    assert!(second.wait_for_console("count ", LONG).await.unwrap());
    let loaded = loading.elapsed();
    eprintln!(
        "job {as_job}: counts to 5 after {} ms, saved in {} ms, counts again {} ms after the start",
        booted.as_millis(),
        saved.as_millis(),
        loaded.as_millis()
    );
    assert!(second.wait_for_console(&format!("count {}", at + 3), LONG).await.unwrap());
    assert!(!second.console(100_000).contains("guest is up"), "it has not booted");

    if as_job {
        second.qmp().delete_snapshot(&set, LONG).await.unwrap();
        let error = second.qmp().load_snapshot(&set, LONG).await.unwrap_err().to_string();
        assert!(error.starts_with("QEMU refused `snapshot-load`: ") && error.contains("warm"), "{error}");
    } else {
        second.qmp().delvm("warm", LONG).await.unwrap();
        let error = second.qmp().loadvm("warm", LONG).await.unwrap_err().to_string();
        assert!(error.starts_with("QEMU refused `loadvm warm`: ") && error.contains("warm"), "{error}");
    }
    assert!(second.qmp().block_devices().await.unwrap()[0].snapshots.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_goes_on_in_another_process() {
    let Some(guest) = Guest::new().await else { return };
    goes_on(&guest, false).await;
    goes_on(&guest, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_beside_the_emulator_is_taken_again() {
    let Some(guest) = Guest::new().await else { return };
    memory_is_taken_again(&guest, "pc", 192).await;
    // Some of it lies above 4 GiB.
    memory_is_taken_again(&guest, "q35", 5120).await;
}

async fn memory_is_taken_again(guest: &Guest, board: &str, mebibytes: u64) {
    let spec = || MachineSpec {
        machine: guest.emulator.versioned_machine(board).to_owned(),
        memory: mebibytes,
        memory_beside: true,
        ..guest.spec("count")
    };
    let mut first = guest.launch(spec()).start(LONG).await.unwrap();
    assert!(first.wait_for_console("count 3", LONG).await.unwrap());
    first.qmp().stop().await.unwrap();
    let at = last_count(&first);
    let path = |name: &str| guest.path(&format!("{board}-{name}"));
    let (memory, state) = (path("memory"), path("state"));
    let wrote = first.save_state(&state, LONG).await.unwrap();
    let saved = first.memory().unwrap().save(&memory).unwrap();
    assert!(wrote.size * 4 < saved.size, "memory is not in the stream: {wrote:?}, {saved:?}");
    first.qmp().resume().await.unwrap();
    assert!(first.wait_for_console(&format!("count {}", at + 2), LONG).await.unwrap(), "it goes on itself");
    first.kill().await;

    let (taken, read) = GuestMemory::load(&memory, &AtomicBool::new(false)).unwrap();
    assert_eq!(read, saved);
    let launch =
        Launch { paused: true, incoming: true, memory: Some(Arc::new(taken)), ..guest.launch(spec()) };
    let mut second = launch.start(LONG).await.unwrap();
    assert_eq!(second.load_state(&state, LONG).await.unwrap(), wrote);
    let again = second.memory().unwrap().save(&path("again")).unwrap();
    assert_eq!(again, saved, "nothing has written to it yet");
    second.qmp().resume().await.unwrap();
    assert!(second.wait_for_console(&format!("count {}", at + 3), LONG).await.unwrap());
    assert!(!second.console(100_000).contains("guest is up"), "it has not booted");

    // What went on is kept and taken again.
    second.qmp().stop().await.unwrap();
    let (memory, state) = (path("memory-2"), path("state-2"));
    let at = last_count(&second);
    second.save_state(&state, LONG).await.unwrap();
    second.memory().unwrap().save(&memory).unwrap();
    second.kill().await;
    let (taken, _) = GuestMemory::load(&memory, &AtomicBool::new(false)).unwrap();
    let launch = Launch { memory: Some(Arc::new(taken)), ..launch };
    let mut third = launch.start(LONG).await.unwrap();
    third.load_state(&state, LONG).await.unwrap();
    third.qmp().resume().await.unwrap();
    assert!(third.wait_for_console(&format!("count {}", at + 3), LONG).await.unwrap());
    assert!(!third.console(100_000).contains("guest is up"), "it has not booted");

    let error = |launch: Launch| launch.spawn().unwrap_err().to_string();
    let small = || Some(Arc::new(GuestMemory::new(1 << 20).unwrap()));
    let size = mebibytes << 20;
    assert_eq!(
        error(Launch { memory: small(), ..guest.launch(spec()) }),
        format!("the memory has 1048576 bytes, and the machine {size}")
    );
    let misplaced = "a machine is given memory to go on with where that lies beside QEMU, and only there";
    assert_eq!(error(Launch { memory: None, ..launch.clone() }), misplaced);
    let within = MachineSpec { memory_beside: false, ..spec() };
    assert_eq!(error(Launch { memory: small(), ..guest.launch(within) }), misplaced);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_does_not_take_the_memory() {
    let Some(guest) = Guest::new().await else { return };
    let disk = guest.path("disk.qcow2");
    guest.images.create(&disk, DiskFormat::Qcow2, Some(1 << 30), None, &[]).await.unwrap();
    let spec = |memory| MachineSpec {
        disks: vec![Disk::new(&disk, DiskFormat::Qcow2)],
        memory,
        ..MachineSpec::default()
    };
    let first = guest.launch(spec(32)).start(LONG).await.unwrap();
    first.qmp().savevm("warm", LONG).await.unwrap();
    drop(first);
    let launch = Launch { paused: true, ..guest.launch(spec(48)) };
    // The kernel frees the image's lock a moment after the process was killed.
    let second = loop {
        match launch.start(LONG).await {
            Err(error) if error.to_string().contains("is used by another process") => {}
            other => break other.unwrap(),
        }
    };
    let error = second.qmp().loadvm("warm", LONG).await.unwrap_err().to_string();
    assert!(error.starts_with("QEMU refused `loadvm warm`: "), "{error}");
    eprintln!("{error}");
}
