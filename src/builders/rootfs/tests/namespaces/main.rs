//! The namespaces as they are: as root and, executed again by an ordinary user, in a user namespace.
//!
//! The harness is off because the program must be able to be the sandbox's helper and to enter namespaces before any
//! thread exists, just as `imgbuild` does.

mod support;

mod emulation;
mod networks;
mod overlays;
mod probe;
mod processes;
mod sandboxes;

use std::process::ExitCode;

use imgbuild_rootfs::{sandbox, userns};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(sandbox::HELPER_ARGUMENT) {
        sandbox::helper_main();
    }
    // Inside a sandbox: tries what a step may not do.
    if std::env::args().nth(1).as_deref() == Some(probe::ARGUMENT) {
        return probe::main();
    }
    let entered = match userns::enter(std::env::args_os()) {
        Ok(entered) => entered,
        Err(error) => {
            eprintln!("skipped: these tests need namespaces: {error}");
            return ExitCode::from(u8::from(std::env::var_os("CI").is_some()));
        }
    };
    if let Some(code) = processes::other_main() {
        return code;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let prefix = match entered {
        userns::Entered::Root => "root",
        userns::Entered::UserNamespace => "user",
    };
    let mut tests = Vec::new();
    overlays::add(prefix, &mut tests);
    sandboxes::add(prefix, &mut tests);
    networks::add(prefix, &mut tests);
    processes::add(prefix, &mut tests);
    emulation::add(prefix, &mut tests);
    if entered == userns::Entered::Root && !arguments.list {
        support::add_ordinary_user(&mut tests);
    }
    libtest_mimic::run(&arguments, tests).exit_code()
}
