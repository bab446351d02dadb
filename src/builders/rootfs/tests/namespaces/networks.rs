//! What a step reaches: a network namespace stands for the host, with a metadata service in it.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::Command;

use imgbuild_rootfs::sandbox::{Bind, Network, SandboxSpec};
use libtest_mimic::{Failed, Trial};

use crate::probe;
use crate::support::{Root, holds, same};

pub fn add(prefix: &str, tests: &mut Vec<Trial>) {
    let mut test = |name: &str, body: fn() -> Result<(), Failed>| {
        tests.push(Trial::test(format!("{prefix}::network::{name}"), body));
    };
    test("kernel_interfaces_are_denied", kernel_interfaces);
    test("metadata_services_are_out_of_reach", || on_a_host(without_metadata));
    test("metadata_services_are_reached_when_allowed", || on_a_host(with_metadata));
    test("a_user_connects_with_its_own_rights", || on_a_host(own_rights));
}

/// A root in which this very program runs: the host's `/usr` holds its libraries.
fn probing(what: &str) -> Result<(Root, SandboxSpec), Failed> {
    let root = Root::with(|tree| {
        crate::support::busybox_tree(tree)?;
        for link in ["lib", "lib64"] {
            fs_err::os::unix::fs::symlink(format!("usr/{link}"), tree.join(link))?;
        }
        Ok(())
    })?;
    let mut spec = SandboxSpec::new(["/probe", probe::ARGUMENT, what]);
    spec.binds = vec![
        Bind { source: "/usr".into(), target: "/usr".into(), writable: false },
        Bind { source: std::env::current_exe()?, target: "/probe".into(), writable: false },
    ];
    Ok((root, spec))
}

fn kernel_interfaces() -> Result<(), Failed> {
    let (root, spec) = probing("kernel")?;
    let ran = root.run(&spec)?;
    for line in ran.stdout().lines() {
        let (name, result) = line.split_once(": ").unwrap_or_default();
        let wanted = match name {
            "clone3" | "io_uring_setup" | "keyctl" | "add_key" | "x32 getpid" => libc::ENOSYS.to_string(),
            "vsock" | "alg" | "packet" => libc::EAFNOSUPPORT.to_string(),
            "netlink" => "done".to_owned(),
            _ => libc::EPERM.to_string(),
        };
        same((name, result), (name, wanted.as_str()))?;
    }
    same(ran.stdout().lines().count(), 35)
}

/// Runs a test in a thread with a network of its own, in which services answer where clouds have theirs.
fn on_a_host(test: fn() -> Result<(), Failed>) -> Result<(), Failed> {
    let thread = std::thread::spawn(move || -> Result<(), String> {
        let prepare = || -> Result<Vec<TcpListener>, Box<dyn std::error::Error>> {
            // SAFETY: no descriptor table is unshared.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
            for arguments in ["link set lo up", "addr add 169.254.169.254/32 dev lo"] {
                let status = Command::new("busybox").arg("ip").args(arguments.split(' ')).status()?;
                if !status.success() {
                    return Err(format!("`ip {arguments}` failed").into());
                }
            }
            let addresses = ["169.254.169.254:80", "169.254.169.254:53", "127.0.0.1:8080"];
            Ok(addresses.into_iter().map(TcpListener::bind).collect::<Result<_, _>>()?)
        };
        let listeners = prepare().map_err(|error| error.to_string())?;
        let _abstract = SocketAddr::from_abstract_name("imgbuild-test")
            .and_then(|address| UnixListener::bind_addr(&address))
            .map_err(|error| error.to_string())?;
        let _datagrams = SocketAddr::from_abstract_name("imgbuild-test-datagram")
            .and_then(|address| UnixDatagram::bind_addr(&address))
            .map_err(|error| error.to_string())?;
        for listener in listeners {
            std::thread::spawn(move || {
                for connection in listener.incoming() {
                    let _ = connection.and_then(|mut connection| connection.write_all(b"hello\n"));
                }
            });
        }
        test().map_err(|failed| failed.message().unwrap_or("failed").to_owned())
    });
    match thread.join() {
        Ok(result) => Ok(result?),
        Err(_) => Err("the test panicked".into()),
    }
}

fn probe_network(metadata: bool) -> Result<std::collections::BTreeMap<String, String>, Failed> {
    let (root, mut spec) = probing("network")?;
    spec.network = Network::Host { metadata };
    spec.user = "build".into();
    let ran = root.run(&spec)?;
    holds(ran.outcome.exit.success(), &ran)?;
    let text = ran.stdout();
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    Ok(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn without_metadata() -> Result<(), Failed> {
    let found = probe_network(false)?;
    let refused = libc::ECONNREFUSED.to_string();
    for (name, wanted) in [
        ("metadata", refused.as_str()),
        ("mapped metadata", &refused),
        ("metadata name server", "done"),
        ("other", "done"),
        ("other, nobody", &refused),
        ("datagram", "done"),
        ("fast open", &libc::EOPNOTSUPP.to_string()),
        ("without waiting", &libc::EINPROGRESS.to_string()),
        ("bad address", &libc::EFAULT.to_string()),
        ("bad descriptor", &libc::EBADF.to_string()),
        ("threads", "32"),
        ("peer", "0 1000 1000"),
        ("local", "done"),
        ("local, nobody", &libc::ENOENT.to_string()),
        ("abstract", &refused),
    ] {
        holds(found.get(name).map_or("", String::as_str) == wanted, (name, wanted, &found))?;
    }
    // Landlock scopes are in Linux 6.12 and newer.
    let scoped = found.get("abstract datagram").map_or("", String::as_str);
    if scoped == "done" {
        eprintln!("skipped: this kernel cannot keep datagrams from abstract sockets of the host");
        return Ok(());
    }
    same(scoped, libc::EPERM.to_string().as_str())
}

fn with_metadata() -> Result<(), Failed> {
    let found = probe_network(true)?;
    for name in ["metadata", "mapped metadata", "other", "datagram", "local"] {
        same((name, found.get(name).map_or("", String::as_str)), (name, "done"))?;
    }
    Ok(())
}

fn own_rights() -> Result<(), Failed> {
    let (root, mut spec) = probing("local")?;
    spec.network = Network::Host { metadata: false };
    same(root.run(&spec)?.stdout(), format!("root: done\nthe group: done\nanother user: {}\n", libc::EACCES))
}
