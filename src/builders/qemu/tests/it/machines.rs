//! How machines start, end, and die.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use imgbuild_model::Secret;
use imgbuild_qemu::image::Conversion;
use imgbuild_qemu::process::{Cause, Ended, Halt, Launch, StartError};
use imgbuild_qemu::qmp::{EventKind, SnapshotSet};
use imgbuild_qemu::spec::{
    Cd, CdInterface, Disk, DiskFormat, DiskInterface, DiskZeroes, Display, Firmware, FlashFile, HostForward,
    HostPort, MachineSpec, Nic, Override, Serial, Topology, Tpm,
};
use imgbuild_qemu::vnc::Vnc;

use crate::guest::{Guest, LONG};

fn runs(pid: u32) -> bool {
    fs_err::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn empty() -> MachineSpec {
    MachineSpec { memory: 32, ..MachineSpec::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_boots_and_listens_to_the_power_button() {
    let Some(guest) = Guest::new().await else { return };
    let started = Instant::now();
    let mut launch = guest.launch(guest.spec("hang"));
    launch.environment.push(("IMGBUILD_TEST_MARK".into(), "here".into()));
    let starting = launch.spawn().unwrap();
    let pid = starting.pid();
    let mut machine = starting.ready(LONG).await.unwrap();
    assert_eq!(machine.pid(), pid);
    let environment = fs_err::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains("IMGBUILD_TEST_MARK=here"));
    eprintln!("answers after {} ms", started.elapsed().as_millis());
    let folder = machine.folder().to_owned();
    let command = fs_err::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command.contains("qemu-system"), "the pid is that of QEMU: {command}");
    assert!(machine.wait_for_console("listens to the power button", LONG).await.unwrap());
    eprintln!("guest is up after {} ms", started.elapsed().as_millis());
    let status = machine.qmp().status().await.unwrap();
    assert!(status.running && status.status == "running");
    assert_eq!(machine.qmp().version().major, guest.emulator.version.major);

    let mut events = machine.qmp().events();
    assert_eq!(machine.shut_down(LONG).await.unwrap(), Ended::PoweredDown);
    eprintln!("off after {} ms", started.elapsed().as_millis());
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(event.kind);
    }
    assert!(seen.contains(&EventKind::PowerDown), "{seen:?}");
    let off = EventKind::Shutdown { guest: true, reason: "guest-shutdown".to_owned() };
    assert!(seen.contains(&off), "{seen:?}");
    assert!(machine.console(3).contains("switches off"), "{}", machine.console(3));
    assert!(!runs(pid));
    drop(machine);
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_does_not_listen_is_ended() {
    let Some(guest) = Guest::new().await else { return };
    let launch = guest.launch(empty());
    // From a task of its own, as callers do.
    let task = tokio::spawn(async move {
        let mut machine = launch.start(LONG).await.unwrap();
        let found = machine.wait_for_console("never said", Duration::from_millis(100)).await.unwrap();
        (found, machine.shut_down(Duration::from_millis(300)).await.unwrap(), machine.pid())
    });
    let (found, ended, pid) = task.await.unwrap();
    assert_eq!((found, ended), (false, Ended::Quit));
    assert!(!runs(pid));

    // One that does not even answer.
    let mut machine = guest.launch(empty()).start(LONG).await.unwrap();
    let pid = machine.pid();
    assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
    machine.kill().await;
    assert!(!runs(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_dropped_is_gone() {
    let Some(guest) = Guest::new().await else { return };
    let machine = guest.launch(empty()).start(LONG).await.unwrap();
    let (pid, folder) = (machine.pid(), machine.folder().to_owned());
    drop(machine);
    wait_until(|| !runs(pid) && !folder.exists()).await;
    assert_eq!(fs_err::read_dir(guest.folder.path()).unwrap().count(), 0);
}

async fn wait_until(done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(30), "it does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_dies_shows_the_end_of_its_console() {
    let Some(guest) = Guest::new().await else { return };
    let mut machine = guest.launch(guest.spec("count")).start(LONG).await.unwrap();
    assert!(machine.wait_for_console("count 2", LONG).await.unwrap());
    machine.alive().await.unwrap();
    assert!(Command::new("kill").args(["-KILL", &machine.pid().to_string()]).status().unwrap().success());
    let died = machine.wait_for_console("never said", LONG).await.unwrap_err();
    assert!(died.console.contains("guest is up\n") && died.console.contains("\ncount 2"), "{died}");
    let text = died.to_string();
    assert!(text.starts_with("QEMU ended (signal: 9 (SIGKILL)); the guest's console ends with:\n"), "{text}");
    assert!(machine.qmp().status().await.unwrap_err().to_string().contains("closed its control socket"));
}

async fn refused(launch: Launch) -> (Cause, String) {
    let error = launch.start(LONG).await.unwrap_err();
    let text = error.to_string();
    match error {
        StartError::Ended { cause, .. } => (cause, text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_machine_from_starting_is_named() {
    let Some(guest) = Guest::new().await else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let forward = HostForward { host: HostPort::Fixed(port), guest: 22 };
    let spec = MachineSpec { nics: vec![Nic::new(vec![forward])], ..empty() };
    let (cause, text) = refused(guest.launch(spec)).await;
    let rule = format!("tcp:127.0.0.1:{port}-:22");
    assert_eq!(cause, Cause::PortTaken { rule: rule.clone() });
    let wanted = format!(
        "QEMU ended as it started (exit status: 1): the port of `{rule}` is taken; let another be chosen, or end what listens on it; it said:\n"
    );
    assert!(text.starts_with(&wanted), "{text}");

    let disk = guest.path("disk.qcow2");
    guest.images.create(&disk, DiskFormat::Qcow2, Some(1 << 20), None, &[]).await.unwrap();
    let spec = || MachineSpec { disks: vec![Disk::new(&disk, DiskFormat::Qcow2)], ..empty() };
    let first = guest.launch(spec()).start(LONG).await.unwrap();
    let (cause, text) = refused(guest.launch(spec())).await;
    assert_eq!(cause, Cause::ImageInUse { path: disk.display().to_string() }, "{text}");
    drop(first);

    let code = FlashFile { path: "/nowhere/OVMF.fd".into(), format: DiskFormat::Raw };
    let (cause, text) =
        refused(guest.launch(MachineSpec { firmware: Firmware::Flash { code, vars: None }, ..empty() }))
            .await;
    assert_eq!(cause, Cause::MissingFile { path: "/nowhere/OVMF.fd".into() }, "{text}");
    let bios = Firmware::Bios("/nowhere/bios".into());
    let (cause, text) = refused(guest.launch(MachineSpec { firmware: bios, ..empty() })).await;
    assert_eq!(cause, Cause::MissingFile { path: "/nowhere/bios".into() }, "{text}");
    let mut kernel = guest.spec("hang");
    kernel.kernel.as_mut().unwrap().image = "/nowhere/vmlinuz".into();
    let (cause, text) = refused(guest.launch(kernel)).await;
    assert_eq!(cause, Cause::MissingFile { path: "/nowhere/vmlinuz".into() }, "{text}");
    let mut kernel = guest.spec("hang");
    kernel.kernel.as_mut().unwrap().initrd = Some("/nowhere/initrd".into());
    let (cause, text) = refused(guest.launch(kernel)).await;
    assert_eq!(cause, Cause::MissingFile { path: "/nowhere/initrd".into() }, "{text}");

    let (cause, text) = refused(guest.launch(MachineSpec { machine: "z80".into(), ..empty() })).await;
    // QEMU before 8 does not say which.
    assert!(
        matches!(&cause, Cause::Machine { name } if name.as_deref().is_none_or(|name| name == "z80")),
        "{text}"
    );
    let (cause, text) = refused(guest.launch(MachineSpec { cpu: Some("z80".into()), ..empty() })).await;
    assert_eq!(cause, Cause::Processor { name: "z80".into() }, "{text}");
    let row =
        |row: &[&str]| Override::from_row(&row.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    for (row, wanted) in [
        (row(&["-device", "flux"]), Cause::Device { name: "flux".into() }),
        (row(&["-flux"]), Cause::Switch { name: "-flux".into() }),
    ] {
        let (cause, text) =
            refused(guest.launch(MachineSpec { overrides: row.into_iter().collect(), ..empty() })).await;
        assert_eq!(cause, wanted, "{text}");
    }
    let missing = Launch { program: "/nowhere/qemu".into(), ..guest.launch(empty()) };
    let error = missing.start(LONG).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot start `/nowhere/qemu`: "), "{error}");
    wait_until(|| fs_err::read_dir(guest.folder.path()).unwrap().count() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_chosen_by_who_binds_them() {
    let Some(guest) = Guest::new().await else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = taken.local_addr().unwrap().port();
    let last = first.saturating_add(200);
    let forwards = vec![
        HostForward { host: HostPort::Any, guest: 22 },
        HostForward { host: HostPort::Range(first, last), guest: 5985 },
    ];
    let spec = |forwards| MachineSpec { nics: vec![Nic { restrict: true, ..Nic::new(forwards) }], ..empty() };
    let machine = guest.launch(spec(forwards)).start(LONG).await.unwrap();
    let found = machine.forwards().await.unwrap();
    let host = |guest| found.iter().find(|forward| forward.guest == guest).unwrap().host;
    assert!(host(22) > 0 && host(5985) > first && host(5985) <= last, "{found:?}");
    assert!(std::net::TcpStream::connect(("127.0.0.1", host(22))).is_ok());

    let row = |row: [&str; 2]| Override::from_row(&row.map(str::to_owned)).unwrap();
    let range = || vec![HostForward { host: HostPort::Range(first, last), guest: 22 }];
    let own = ["-netdev", "user,id=mine"];
    let other = MachineSpec {
        overrides: vec![row(own), row(["-device", "virtio-net,netdev=mine"])],
        ..spec(range())
    };
    let error = guest.launch(other).start(LONG).await.unwrap_err().to_string();
    assert!(
        error.starts_with("cannot forward a port to the guest: QEMU refused `hostfwd_add user.0 "),
        "{error}"
    );
    assert!(error.ends_with("; is `-netdev` among the `qemuargs`?"), "{error}");

    let none = vec![HostForward { host: HostPort::Range(first, first), guest: 22 }];
    let error = guest.launch(spec(none)).start(LONG).await.unwrap_err();
    let wanted = format!(
        "each port from {first} to {first} of this host is taken; widen `host_port_min` to `host_port_max`"
    );
    assert_eq!(error.to_string(), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn drives_screens_and_sockets_of_a_machine() {
    let Some(guest) = Guest::new().await else { return };
    let disk = guest.path("a,b.qcow2");
    guest.images.create(&disk, DiskFormat::Qcow2, Some(1 << 20), None, &[]).await.unwrap();
    let spec = MachineSpec {
        disks: vec![Disk::new(&disk, DiskFormat::Qcow2)],
        serial: Serial::Socket,
        machine: "q35".into(),
        ..empty()
    };
    let machine = guest.launch(spec).start(LONG).await.unwrap();
    let drives = machine.qmp().block_devices().await.unwrap();
    let drive = drives.iter().find(|drive| drive.device == "drive0").unwrap();
    assert_eq!((drive.node.as_deref(), drive.file.as_deref()), (Some("disk0"), Some(disk.as_path())));
    assert_eq!((drive.size, drive.read_only), (Some(1 << 20), false));
    machine.qmp().resize_disk("disk0", 2 << 20).await.unwrap();
    let screen = guest.path("screen.png");
    machine.qmp().screenshot(&screen).await.unwrap();
    assert!(fs_err::read(&screen).unwrap().starts_with(b"\x89PNG"));
    assert!(tokio::net::UnixStream::connect(&machine.wiring().serial_socket).await.is_ok());
    let error = machine.qmp().execute("flux", serde_json::Value::Null).await.unwrap_err().to_string();
    assert_eq!(error, "QEMU refused `flux`: The command flux has not been found");
    assert_eq!(guest.emulator.versioned_machine("q35").split('-').next(), Some("pc"));
    drop(machine);
    let info = guest.images.info(&disk, Some(DiskFormat::Qcow2)).await.unwrap();
    assert_eq!(info.virtual_size, 2 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_takes_each_interface() {
    let Some(guest) = Guest::new().await else { return };
    let file = guest.path("raw,1");
    fs_err::write(&file, vec![0; 1 << 20]).unwrap();
    for machine in ["pc", "q35"] {
        for interface in
            [DiskInterface::Ide, DiskInterface::Sata, DiskInterface::Virtio, DiskInterface::VirtioScsi]
        {
            let disk = || Disk { interface, zeroes: DiskZeroes::Noted, ..Disk::read_only(&file) };
            let serial = Disk { interface: DiskInterface::Virtio, serial: Some("a,b".into()), ..disk() };
            // An IDE disk is always written.
            let disk = if interface == DiskInterface::Ide || interface == DiskInterface::Sata {
                Disk { read_only: false, ..disk() }
            } else {
                disk()
            };
            let disks = [disk, serial];
            let spec = MachineSpec { machine: machine.into(), disks: disks[..1].to_vec(), ..empty() };
            let machine = guest.launch(spec.clone()).start(LONG).await.unwrap();
            drop(machine);
            let spec = MachineSpec { disks: disks[1..].to_vec(), ..spec };
            wait_until_free(&guest, spec).await;
        }
        for interface in
            [CdInterface::Default, CdInterface::Ide, CdInterface::Virtio, CdInterface::VirtioScsi]
        {
            let cds = vec![Cd { interface, ..Cd::new(&file) }];
            wait_until_free(&guest, MachineSpec { machine: machine.into(), cds, ..empty() }).await;
        }
        let floppies = vec![file.clone()];
        wait_until_free(&guest, MachineSpec { machine: machine.into(), floppies, ..empty() }).await;
        let topology = Topology { cpus: 2, sockets: 1, cores: 2, threads: 2 };
        wait_until_free(&guest, MachineSpec { machine: machine.into(), topology, ..empty() }).await;
    }
    let display =
        Display::VncPort { address: Ipv4Addr::LOCALHOST.into(), first: 5900, last: 6100, password: true };
    let machine = guest.launch(MachineSpec { display, ..empty() }).start(LONG).await.unwrap();
    let (host, port) = machine.qmp().vnc_address().await.unwrap().unwrap();
    assert!(host == "127.0.0.1" && (5900..=6100).contains(&port));
    machine.qmp().set_vnc_password(&Secret::new("secret")).await.unwrap();
    let stream = tokio::net::TcpStream::connect((host, port)).await.unwrap();
    let error = Vnc::over(stream, LONG).await.unwrap_err().to_string();
    assert!(error.starts_with("the VNC server wants a password"), "{error}");
}

/// The kernel frees an image's lock a moment after who held it was killed.
async fn wait_until_free(guest: &Guest, spec: MachineSpec) {
    loop {
        match guest.launch(spec.clone()).start(LONG).await {
            Err(StartError::Ended { cause: Cause::ImageInUse { .. }, .. }) => {}
            other => return drop(other.unwrap_or_else(|error| panic!("{error}: {spec:?}"))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uefi_with_its_variables_can_be_saved() {
    let Some(guest) = Guest::new().await else { return };
    let found = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"];
    let Some(code) = found.into_iter().find(|path| Path::new(path).is_file()) else {
        eprintln!("SKIPPED: there is no UEFI firmware; install the package `ovmf`");
        return;
    };
    let vars = guest.path("vars.qcow2");
    let conversion = Conversion {
        from: DiskFormat::Raw,
        to: "qcow2".into(),
        compress: false,
        backing: None,
        arguments: vec![],
    };
    guest.images.convert(Path::new(&code.replace("CODE", "VARS")), &vars, &conversion).await.unwrap();
    let disk = guest.path("disk.qcow2");
    guest.images.create(&disk, DiskFormat::Qcow2, Some(1 << 30), None, &[]).await.unwrap();
    let spec = MachineSpec {
        machine: "q35".into(),
        memory: 128,
        firmware: Firmware::Flash {
            code: FlashFile { path: code.into(), format: DiskFormat::Raw },
            vars: Some(FlashFile { path: vars, format: DiskFormat::Qcow2 }),
        },
        disks: vec![Disk::new(&disk, DiskFormat::Qcow2)],
        ..MachineSpec::default()
    };
    let mut machine = guest.launch(spec).start(LONG).await.unwrap();
    assert!(machine.wait_for_console("BdsDxe", LONG).await.unwrap(), "{}", machine.console(5));
    let set = SnapshotSet {
        tag: "warm".into(),
        memory: "disk0".into(),
        disks: vec!["disk0".into(), "flash1".into()],
    };
    machine.qmp().save_snapshot(&set, LONG).await.unwrap();
    machine.qmp().load_snapshot(&set, LONG).await.unwrap();
    assert!(machine.qmp().status().await.unwrap().running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_panics_says_so() {
    let Some(guest) = Guest::new().await else { return };
    let spec = MachineSpec { panic: true, generation: true, ..guest.spec("panic") };
    let mut machine = guest.launch(spec).start(LONG).await.unwrap();
    let mut events = machine.qmp().events();
    assert!(machine.wait_for_console("sysrq triggered crash", LONG).await.unwrap_or(true));
    let mut seen = Vec::new();
    while let Ok(Ok(event)) = tokio::time::timeout(LONG, events.recv()).await {
        let done = matches!(event.kind, EventKind::GuestPanicked { .. });
        seen.push(event.kind);
        if done {
            break;
        }
    }
    assert!(matches!(seen.last(), Some(EventKind::GuestPanicked { .. })), "{seen:?}: {}", machine.console(5));
}

/// A file system in memory; gone when dropped.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_disk_is_full_is_named() {
    let Some(guest) = Guest::new().await else { return };
    let folder = guest.path("small");
    fs_err::create_dir(&folder).unwrap();
    let mut mount = Command::new("mount");
    let mounted = mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&folder).output().unwrap();
    if !mounted.status.success() {
        eprintln!("SKIPPED: a small disk cannot be mounted: {}", String::from_utf8_lossy(&mounted.stderr));
        return;
    }
    let small = SmallDisk(folder);
    let disk = small.0.join("disk.qcow2");
    guest.images.create(&disk, DiskFormat::Qcow2, Some(64 << 20), None, &[]).await.unwrap();
    let spec = MachineSpec { disks: vec![Disk::new(&disk, DiskFormat::Qcow2)], ..guest.spec("fill") };
    let machine = guest.launch(spec).start(LONG).await.unwrap();
    let halt = tokio::time::timeout(LONG, machine.halted()).await.unwrap();
    assert_eq!(halt, Halt::Disk(Some("No space left on device".to_owned())));
    assert!(!machine.console(5).contains("filled"));
    // Who looks later sees it too.
    assert!(matches!(tokio::time::timeout(LONG, machine.halted()).await.unwrap(), Halt::Disk(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_has_a_tpm() {
    let Some(guest) = Guest::new().await else { return };
    let (state, socket) = (guest.path("state"), guest.path("tpm"));
    fs_err::create_dir(&state).unwrap();
    let emulator = Command::new("swtpm")
        .args(["socket", "--tpm2", "--terminate", "--tpmstate", &format!("dir={}", state.display())])
        .args(["--ctrl", &format!("type=unixio,path={}", socket.display())])
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut emulator) = emulator else {
        eprintln!("SKIPPED: there is no `swtpm`; install the package `swtpm`");
        return;
    };
    wait_until(|| socket.exists()).await;
    let tpm = Some(Tpm { socket, device: "tpm-tis".into() });
    let mut machine = guest.launch(MachineSpec { tpm, ..empty() }).start(LONG).await.unwrap();
    let found = machine.qmp().execute("query-tpm", serde_json::Value::Null).await.unwrap();
    assert_eq!(found[0]["model"], "tpm-tis", "{found}");
    machine.kill().await;
    // It ends with who is connected.
    let _ = emulator.kill();
    emulator.wait().unwrap();
}

const PARENT: &str = "IMGBUILD_QEMU_TEST_PARENT";
const EMULATOR: &str = "IMGBUILD_QEMU_TEST_EMULATOR";

/// Not a test by itself: what is killed in the next.
#[tokio::test(flavor = "multi_thread")]
async fn parent_that_is_killed() {
    let Some(folder) = std::env::var_os(PARENT) else { return };
    // Nothing of its own, which would be left behind.
    let program = std::env::var_os(EMULATOR).unwrap();
    let launch = Launch { folder: folder.into(), ..Launch::new(program, empty()) };
    let machine = launch.start(LONG).await.unwrap();
    println!("\npid {}", machine.pid());
    tokio::time::sleep(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_parent_that_is_killed() {
    let Some(guest) = Guest::new().await else { return };
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "machines::parent_that_is_killed", "--nocapture"])
        .env(PARENT, guest.folder.path())
        .env(EMULATOR, &guest.emulator.program)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let pid: u32 = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("pid ").and_then(|pid| pid.parse().ok()))
        .unwrap();
    assert!(runs(pid) && fs_err::read_dir(guest.folder.path()).unwrap().count() == 1);
    let group = group_of(pid);
    assert!(group.len() >= 2, "QEMU and who holds the leash: {group:?}");
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until(|| !runs(pid) && group_of(pid).is_empty()).await;
    wait_until(|| fs_err::read_dir(guest.folder.path()).unwrap().count() == 0).await;
}

/// All processes of a group that run.
fn group_of(leader: u32) -> Vec<u32> {
    let pids = fs_err::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_of = |pid: &u32| {
        let stat = fs_err::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
        stat.is_ok_and(|stat| {
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            fields[0] != "Z" && fields[2] == leader.to_string()
        })
    };
    pids.filter(is_of).collect()
}
