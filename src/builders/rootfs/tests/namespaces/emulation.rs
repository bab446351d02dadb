//! Programs of another architecture.

use std::os::unix::fs::PermissionsExt as _;

use imgbuild_rootfs::binfmt::Emulator;
use imgbuild_rootfs::sandbox::{Exit, SandboxSpec};
use libtest_mimic::{Failed, Trial};

use crate::support::{Root, holds, same};

pub fn add(prefix: &str, tests: &mut Vec<Trial>) {
    tests.push(Trial::test(format!("{prefix}::emulation::an_arm64_program_runs"), arm64));
}

/// A whole arm64 program: writes a line and ends with 42.
fn arm64_program() -> Vec<u8> {
    const MESSAGE: &[u8] = b"hello from arm64\n";
    const BASE: u64 = 0x40_0000;
    let code: [u32; 8] = [
        0xd280_0020,                               // mov x0, #1
        0x1000_0001 | (7 * 4 / 4) << 5,            // adr x1, the message: 28 bytes on
        0xd280_0002 | (MESSAGE.len() as u32) << 5, // mov x2, its length
        0xd280_0808,                               // mov x8, #64 (write)
        0xd400_0001,                               // svc #0
        0xd280_0540,                               // mov x0, #42
        0xd280_0ba8,                               // mov x8, #93 (exit)
        0xd400_0001,                               // svc #0
    ];
    let mut program = Vec::new();
    program.extend(b"\x7fELF\x02\x01\x01");
    program.extend([0; 9]);
    program.extend(2_u16.to_le_bytes());
    program.extend(183_u16.to_le_bytes());
    program.extend(1_u32.to_le_bytes());
    for number in [BASE + 120, 64, 0] {
        program.extend(number.to_le_bytes());
    }
    program.extend(0_u32.to_le_bytes());
    for number in [64_u16, 56, 1, 0, 0, 0] {
        program.extend(number.to_le_bytes());
    }
    let size = (120 + size_of_val(&code) + MESSAGE.len()) as u64;
    program.extend(1_u32.to_le_bytes());
    program.extend(5_u32.to_le_bytes());
    for number in [0, BASE, BASE, size, size, 0x1000] {
        program.extend(number.to_le_bytes());
    }
    for instruction in code {
        program.extend(instruction.to_le_bytes());
    }
    program.extend(MESSAGE);
    program
}

fn arm64() -> Result<(), Failed> {
    let emulator = match Emulator::for_architecture("arm64") {
        Ok(emulator) => emulator,
        Err(error) => {
            eprintln!("skipped: {error}");
            return Ok(());
        }
    };
    let root = Root::with(|tree| {
        crate::support::busybox_tree(tree)?;
        fs_err::write(tree.join("bin/arm"), arm64_program())?;
        Ok(fs_err::set_permissions(tree.join("bin/arm"), std::fs::Permissions::from_mode(0o755))?)
    })?;
    let before = fs_err::read_to_string("/proc/self/mountinfo")?;
    let mut spec = SandboxSpec::new(["/bin/arm"]);
    if std::env::consts::ARCH == "x86_64" {
        let error = root.run(&spec).err().map(|error| error.to_string()).unwrap_or_default();
        holds(error.contains("another architecture"), error)?;
    }
    spec.emulator = emulator;
    let ran = root.run(&spec)?;
    same((ran.outcome.exit, ran.stdout()), (Exit::Code(42), "hello from arm64\n".to_owned()))?;
    // The same rights as a native step, and a registration that nobody else has.
    spec.arguments = [
        "/bin/sh",
        "-c",
        "chown 12:34 /tmp; stat -c %u:%g /tmp; grep CapEff /proc/self/status; umount /proc || arm",
    ]
    .map(str::to_owned)
    .to_vec();
    let ran = root.run(&spec)?;
    same(ran.stdout(), "12:34\nCapEff:\t00000000800404fb\nhello from arm64\n".to_owned())?;
    same(fs_err::read_to_string("/proc/self/mountinfo")?, before)?;
    holds(
        !std::path::Path::new("/proc/sys/fs/binfmt_misc/imgbuild-aarch64").exists(),
        "registered on the host",
    )
}
