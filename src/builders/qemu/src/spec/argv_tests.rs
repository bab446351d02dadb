//! Machines beside the arguments that they become.

use crate::spec::{
    Accelerator, Cd, CdInterface, Disk, DiskFormat, DiskInterface, DiskZeroes, HostForward, Kernel, Override,
    Tpm,
};

use super::*;

fn arguments(spec: &MachineSpec) -> Result<String, SpecError> {
    Ok(spec.arguments(&Wiring::in_folder(Path::new("/run/m,1")))?.to_vec().join(" "))
}

/// What a machine has besides what a machine without anything has.
fn more(change: impl FnOnce(&mut MachineSpec)) -> String {
    let mut spec = bare();
    change(&mut spec);
    let all = arguments(&spec).unwrap();
    let (before, after) = ("-smp cpus=1 ", " -display none");
    let (start, end) = (all.find(before).unwrap() + before.len() - 1, all.rfind(after).unwrap());
    all[start..end.max(start)].trim().to_owned()
}

fn bare() -> MachineSpec {
    MachineSpec { serial: Serial::None, entropy: false, vga: String::new(), ..MachineSpec::default() }
}

#[test]
fn a_machine_without_anything() {
    assert_eq!(
        arguments(&bare()).unwrap(),
        "-name imgbuild -no-user-config -nodefaults -machine type=pc,accel=tcg -m 512M -smp cpus=1 -display none"
    );
    assert_eq!(
        arguments(&MachineSpec::default()).unwrap(),
        "-name imgbuild -no-user-config -nodefaults -machine type=pc,accel=tcg -m 512M -smp cpus=1 \
         -device virtio-rng-pci -serial file:/run/m,1/serial.log -vga std -display none"
    );
}

#[test]
fn memory_beside_the_emulator() {
    let beside = |change: &dyn Fn(&mut MachineSpec)| {
        let mut spec = MachineSpec { memory_beside: true, ..bare() };
        change(&mut spec);
        (spec.has_memory_beside(), arguments(&spec).unwrap().contains("memory"))
    };
    assert_eq!(
        arguments(&MachineSpec { memory_beside: true, ..bare() }).unwrap(),
        "-name imgbuild -no-user-config -nodefaults -object memory-backend-file,id=memory,share=on,size=512M,mem-path=/proc/self/fd/5 \
         -machine type=pc,accel=tcg,memory-backend=memory -m 512M -smp cpus=1 -display none"
    );
    for board in ["pc-i440fx-7.2", "q35", "pc-q35-10.0", "virt", "virt-7.2", "q35,smm=on"] {
        assert_eq!(beside(&|spec| spec.machine = board.to_owned()), (true, true), "{board}");
    }
    for board in ["isapc", "microvm", "pcx", "virtual"] {
        assert_eq!(beside(&|spec| spec.machine = board.to_owned()), (false, false), "{board}");
    }
    for (switch, wanted) in
        [("-M", false), ("-object", false), ("-set", false), ("-cpu", true), ("-accel", true)]
    {
        let own = Override::from_row(&[switch.to_owned(), "1".to_owned()]).unwrap();
        assert_eq!(beside(&|spec| spec.overrides.push(own.clone())).0, wanted, "{switch}");
    }
}

#[test]
fn processors() {
    for ((cpus, sockets, cores, threads), wanted) in [
        ((0, 0, 0, 0), "cpus=1"),
        ((4, 0, 0, 0), "cpus=4"),
        ((0, 2, 2, 0), "cpus=4,sockets=2,cores=2,threads=1"),
        ((8, 1, 2, 2), "cpus=4,sockets=1,cores=2,threads=2"),
        ((2, 1, 2, 2), "cpus=2,sockets=1,cores=2,threads=2,maxcpus=4"),
    ] {
        assert_eq!(smp(Topology { cpus, sockets, cores, threads }), wanted);
    }
}

#[test]
fn disks() {
    let disk = |interface| Disk { interface, ..Disk::new("/a,b.qcow2", DiskFormat::Qcow2) };
    for (interface, wanted) in [
        (
            DiskInterface::Virtio,
            "-drive file=/a,,b.qcow2,if=virtio,cache=writeback,discard=ignore,format=qcow2,id=drive0,node-name=disk0",
        ),
        (
            DiskInterface::Ide,
            "-drive file=/a,,b.qcow2,if=ide,index=0,cache=writeback,discard=ignore,format=qcow2,id=drive0,node-name=disk0",
        ),
        (
            DiskInterface::VirtioScsi,
            "-device virtio-scsi-pci,id=scsi0 -drive file=/a,,b.qcow2,if=none,cache=writeback,discard=ignore,format=qcow2,id=drive0,node-name=disk0 -device scsi-hd,bus=scsi0.0,drive=drive0",
        ),
        (
            DiskInterface::Sata,
            "-device ahci,id=ahci0 -drive file=/a,,b.qcow2,if=none,cache=writeback,discard=ignore,format=qcow2,id=drive0,node-name=disk0 -device ide-hd,bus=ahci0.0,drive=drive0",
        ),
    ] {
        assert_eq!(more(|spec| spec.disks.push(disk(interface))), wanted);
    }
    let seed = Disk {
        serial: Some("seed".into()),
        discard: true,
        zeroes: DiskZeroes::Discarded,
        ..Disk::read_only("/s")
    };
    assert_eq!(
        more(|spec| spec.disks.push(seed)),
        "-drive file=/s,if=none,cache=writeback,discard=unmap,detect-zeroes=unmap,format=raw,id=drive0,node-name=disk0,readonly=on -device virtio-blk-pci,drive=drive0,serial=seed"
    );
}

#[test]
fn other_media() {
    let cd = |interface| Cd { interface, ..Cd::new("/c.iso") };
    for (interface, wanted) in [
        (
            CdInterface::Default,
            "-drive file=/c.iso,index=0,media=cdrom,format=raw,readonly=on,id=cdrom0,node-name=cd0",
        ),
        (CdInterface::Virtio, "-drive file=/c.iso,if=virtio,format=raw,readonly=on,id=cdrom0,node-name=cd0"),
        (
            CdInterface::VirtioScsi,
            "-device virtio-scsi-pci,id=scsi0 -drive file=/c.iso,if=none,media=cdrom,format=raw,readonly=on,id=cdrom0,node-name=cd0 -device scsi-cd,bus=scsi0.0,drive=cdrom0",
        ),
    ] {
        assert_eq!(more(|spec| spec.cds.push(cd(interface))), wanted);
    }
    assert_eq!(
        more(|spec| spec.floppies.push("/f".into())),
        "-drive file=/f,if=floppy,index=0,format=raw,readonly=on,id=diskette0,node-name=floppy0"
    );
    let three = MachineSpec { floppies: vec!["/f".into(); 3], ..bare() };
    assert_eq!(arguments(&three).unwrap_err().to_string(), "a machine has at most 2 floppy disks, not 3");
}

/// Where drives of the board's own controller are, in the order of the arguments.
fn places(spec: &MachineSpec) -> Vec<String> {
    let of = |value: &str| {
        let parts = value.split(',').filter(|part| {
            ["index=", "bus=", "unit=", "bootindex="].iter().any(|name| part.starts_with(name))
        });
        parts.collect::<Vec<_>>().join(" ")
    };
    let all = spec.arguments(&Wiring::in_folder(Path::new("/run"))).unwrap();
    let places = all.switches().iter().filter_map(|switch| switch.value.as_deref()).map(of);
    places.filter(|place| !place.is_empty()).collect()
}

#[test]
fn drives_on_the_board_have_places_of_their_own() {
    let machine = |machine: &str, disks: &[Option<u32>], cds: &[Option<u32>]| {
        let disk = |&boot_index: &Option<u32>| Disk {
            boot_index,
            interface: DiskInterface::Ide,
            ..Disk::new("/d", DiskFormat::Qcow2)
        };
        let cd = |&boot_index: &Option<u32>| Cd { boot_index, ..Cd::new("/c") };
        MachineSpec {
            machine: machine.to_owned(),
            disks: disks.iter().map(disk).collect(),
            cds: cds.iter().map(cd).collect(),
            ..bare()
        }
    };
    let (medium, other) = (Some(1), None);
    for name in ["pc", "pc-i440fx-7.2"] {
        let two = places(&machine(name, &[], &[medium, other]));
        assert_eq!(two, ["bus=ide.0 unit=0 bootindex=1", "index=1"]);
    }
    for name in ["q35", "pc-q35-7.2", "q35,smm=on"] {
        let two = places(&machine(name, &[], &[medium, other]));
        assert_eq!(two, ["bus=ide.0 unit=0 bootindex=1", "index=1"]);
    }
    let disks = [Some(0), None];
    let wanted = ["bus=ide.0 unit=0 bootindex=0", "index=1", "bus=ide.1 unit=0 bootindex=1", "index=3"];
    assert_eq!(places(&machine("pc", &disks, &[medium, other])), wanted);
    let wanted = ["bus=ide.0 unit=0 bootindex=0", "index=1", "bus=ide.2 unit=0 bootindex=1", "index=3"];
    assert_eq!(places(&machine("q35", &disks, &[medium, other])), wanted);
    // A template may name another board itself.
    for (switch, value) in
        [("-machine", "type=q35,accel=tcg"), ("-M", "q35"), ("-machine", "accel=tcg,type=q35")]
    {
        let own = Override::from_row(&[switch.to_owned(), value.to_owned()]).unwrap();
        let other_board = MachineSpec { overrides: vec![own], ..machine("pc", &disks, &[medium, other]) };
        assert_eq!(places(&other_board), wanted, "{value}");
    }
    // Of a board that is not known QEMU knows more.
    assert_eq!(places(&machine("virt", &[], &[other, other])), Vec::<String>::new());

    let five = machine("pc", &[None, None, None], &[other, other]);
    let wanted =
        "a machine of type `pc` has at most 4 IDE drives, CDs among them; attach some by another interface";
    assert_eq!(arguments(&five).unwrap_err().to_string(), wanted);
    assert!(arguments(&machine("q35", &[None, None, None], &[other, other])).is_ok());
}

#[test]
fn firmware_kernel_and_boot() {
    let file = |path: &str| FlashFile { path: path.into(), format: DiskFormat::Raw };
    let flash = Firmware::Flash {
        code: file("/c.fd"),
        vars: Some(FlashFile { format: DiskFormat::Qcow2, ..file("/v") }),
    };
    assert_eq!(
        more(|spec| spec.firmware = flash),
        "-drive file=/c.fd,if=pflash,unit=0,format=raw,node-name=flash0,readonly=on -drive file=/v,if=pflash,unit=1,format=qcow2,node-name=flash1"
    );
    assert_eq!(more(|spec| spec.firmware = Firmware::Bios("/b,c".into())), "-bios /b,c");
    let kernel =
        Kernel { image: "/k,1".into(), initrd: Some("/i".into()), append: "console=ttyS0,115200 x".into() };
    assert_eq!(
        more(|spec| (spec.kernel, spec.boot) = (Some(kernel), Some("once=d".into()))),
        "-kernel /k,1 -initrd /i -append console=ttyS0,115200 x -boot once=d"
    );
}

#[test]
fn what_else_a_machine_has() {
    assert_eq!(more(|spec| spec.generation = true), "-device vmgenid,guid=auto");
    assert_eq!(more(|spec| spec.panic = true), "-device pvpanic-pci");
    let tpm = Tpm { socket: "/t,1".into(), device: "tpm-tis".into() };
    assert_eq!(
        more(|spec| spec.tpm = Some(tpm)),
        "-chardev socket,id=vtpm,path=/t,,1 -tpmdev emulator,id=tpm0,chardev=vtpm -device tpm-tis,tpmdev=tpm0"
    );
    let nic = Nic { bridge: Some("br0".into()), ..Nic::new(Vec::new()) };
    assert_eq!(
        more(|spec| spec.nics.push(nic)),
        "-netdev bridge,id=user.0,br=br0 -device virtio-net,netdev=user.0"
    );
}

#[test]
fn networks() {
    let forward = |host| HostForward { host, guest: 22 };
    let forwards =
        vec![forward(HostPort::Any), forward(HostPort::Fixed(2222)), forward(HostPort::Range(1, 2))];
    assert_eq!(
        more(|spec| spec.nics.push(Nic {
            restrict: true,
            mac: Some("52:54:00:00:00:01".into()),
            ..Nic::new(forwards)
        })),
        "-netdev user,id=user.0,restrict=on,hostfwd=tcp:127.0.0.1:0-:22,hostfwd=tcp:127.0.0.1:2222-:22 -device virtio-net,netdev=user.0,mac=52:54:00:00:00:01"
    );
    let spec = MachineSpec { nics: vec![Nic::new(vec![forward(HostPort::Range(9, 8))])], ..bare() };
    let wanted = "the ports from 9 to 8 are none; the first is larger than the last, or is 0";
    assert_eq!(arguments(&spec).unwrap_err().to_string(), wanted);
}

#[test]
fn screens_and_serial_ports() {
    let end = |spec: &MachineSpec| {
        let all = arguments(spec).unwrap();
        all[all.find("cpus=1").unwrap() + 7..].to_owned()
    };
    assert_eq!(
        end(&MachineSpec { display: Display::VncSocket, ..bare() }),
        "-display none -vnc unix:/run/m,,1/vnc"
    );
    let port = |address: &str| Display::VncPort {
        address: address.parse().unwrap(),
        first: 5901,
        last: 6000,
        password: true,
    };
    assert_eq!(
        end(&MachineSpec { display: port("127.0.0.1"), ..bare() }),
        "-display none -vnc 127.0.0.1:1,to=99,password=on"
    );
    assert_eq!(
        end(&MachineSpec { display: port("::1"), ..bare() }),
        "-display none -vnc [::1]:1,to=99,password=on"
    );
    assert_eq!(
        end(&MachineSpec { serial: Serial::Socket, ..bare() }),
        "-serial unix:/run/m,,1/serial,server=on,wait=off,logfile=/run/m,,1/serial.log -display none"
    );
    let long = Wiring::in_folder(Path::new(&format!("/{}", "x".repeat(120))));
    let spec = MachineSpec { display: Display::VncSocket, ..bare() };
    let error = spec.arguments(&long).unwrap_err().to_string();
    assert!(
        error.ends_with("of a socket has 125 bytes, and 107 are the most; use a folder with a shorter path"),
        "{error}"
    );
}

#[test]
fn a_template_has_the_last_word() {
    let row = |row: &[&str]| {
        Override::from_row(&row.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    };
    let spec = MachineSpec {
        accelerator: Accelerator::Kvm,
        overrides: vec![row(&["-accel", "tcg"]), row(&["-m", "1G"]), row(&["-display", "gtk"])],
        ..bare()
    };
    assert_eq!(
        arguments(&spec).unwrap(),
        "-name imgbuild -no-user-config -nodefaults -machine type=pc -m 1G -smp cpus=1 -display gtk -accel tcg"
    );
}

#[test]
fn paths_that_depend_on_a_folder_are_refused() {
    let spec = MachineSpec { disks: vec![Disk::new("a.qcow2", DiskFormat::Qcow2)], ..bare() };
    assert_eq!(
        arguments(&spec).unwrap_err().to_string(),
        "the path `a.qcow2` of a machine's file is not absolute"
    );
    use std::os::unix::ffi::OsStrExt as _;
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"/\xff")).to_owned();
    let spec = MachineSpec { firmware: Firmware::Bios(odd), ..bare() };
    assert!(matches!(arguments(&spec), Err(SpecError::NotText(_))));
    let spec = MachineSpec { machine: String::new(), ..bare() };
    assert_eq!(arguments(&spec).unwrap_err().to_string(), "a machine's type is empty");
}
