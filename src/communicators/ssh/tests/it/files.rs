//! Files and folders both ways, by each of the means.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use imgbuild_ssh::{Connection, Error, Stdin, TransferMethod, Uploaded, connect};

use crate::server::{Server, says};

const METHODS: [TransferMethod; 2] = [TransferMethod::Scp, TransferMethod::Sftp];

/// Names that are hard on shells, protocols and parsers.
const NAMES: &[&str] = &[
    "plain",
    "with space",
    "-rf",
    "it's",
    "\"double\"",
    "$(touch pwned)",
    "`touch pwned`",
    "a;b|c&d",
    "back\\slash",
    "star*?[x]",
    "ünïcödé",
    "~",
    "#hash",
    "%s%n",
    ".hidden",
];

/// A server whose machine lacks programs, which stand in a folder of links that is its whole path.
fn start_without(programs: &[&str]) -> Option<Server> {
    let mut server = Server::start()?;
    let folder = server.path("programs");
    fs_err::create_dir(&folder).unwrap();
    for name in
        ["sh", "mv", "rm", "mkdir", "cat", "tar", "xargs", "stat", "sha256sum", "scp", "chmod", "ls", "sleep"]
    {
        let real = ["/bin", "/usr/bin"].iter().map(|at| Path::new(at).join(name)).find(|path| path.exists());
        if let (Some(real), false) = (real, programs.contains(&name)) {
            fs_err::os::unix::fs::symlink(real, Path::new(&folder).join(name)).unwrap();
        }
    }
    server.down();
    let sftp = if programs.contains(&"sftp") { "Subsystem sftp /nowhere/sftp-server\n" } else { "" };
    server.set_extra(&format!("SetEnv PATH={folder}\n{sftp}"));
    server.up();
    Some(server)
}

async fn connect_by(server: &Server, method: TransferMethod) -> Connection {
    let mut settings = server.settings();
    settings.transfer = method;
    connect(settings).await.unwrap()
}

fn write(path: &Path, content: &[u8], mode: u32) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, content).unwrap();
    fs_err::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Paths with modes and contents; a folder has none.
fn tree(folder: &Path) -> BTreeMap<String, (u32, Option<Vec<u8>>)> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder).min_depth(1) {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let below = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        let content = metadata.is_file().then(|| fs_err::read(entry.path()).unwrap());
        let mode = if metadata.is_dir() { 0 } else { metadata.permissions().mode() & 0o7777 };
        found.insert(below, (mode, content));
    }
    found
}

fn fill(folder: &Path) {
    for (index, name) in NAMES.iter().enumerate() {
        write(
            &folder.join(name),
            format!("this is {name}").as_bytes(),
            if index % 2 == 0 { 0o644 } else { 0o755 },
        );
        write(&folder.join("sub").join(name).join("file"), name.as_bytes(), 0o600);
    }
    fs_err::create_dir_all(folder.join("empty/in empty")).unwrap();
    write(&folder.join("nothing"), b"", 0o640);
    write(&folder.join("large"), &noise(3 << 20), 0o644);
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test]
async fn a_file_goes_both_ways() {
    let Some(server) = Server::start() else { return };
    let large = noise((9 << 20) + 12_345);
    for method in METHODS {
        let connection = connect_by(&server, method).await;
        let folder = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"x", &large[..32 * 1024], &large[..255 * 1024], &large] {
            let (from, there, back) =
                (folder.path().join("from"), folder.path().join("there"), folder.path().join("back"));
            write(&from, content, 0o751);
            connection.upload_file(&from, there.to_str().unwrap(), None).await.unwrap();
            connection.download_file(there.to_str().unwrap(), &back).await.unwrap();
            assert!(fs_err::read(&there).unwrap() == content && fs_err::read(&back).unwrap() == content);
            assert_eq!(fs_err::metadata(&there).unwrap().permissions().mode() & 0o7777, 0o751);
            assert_eq!(fs_err::metadata(&back).unwrap().permissions().mode() & 0o7777, 0o751);
        }
        let there = folder.path().join("bytes");
        connection.upload_bytes(b"text", there.to_str().unwrap(), 0o400).await.unwrap();
        assert_eq!(fs_err::read(&there).unwrap(), b"text");
        assert_eq!(fs_err::metadata(&there).unwrap().permissions().mode() & 0o7777, 0o400);
        let mut names: Vec<_> = tree(folder.path()).into_keys().collect();
        names.sort();
        assert_eq!(names, ["back", "bytes", "from", "there"], "{method:?}");
        // What says that it is empty and is not.
        if method == TransferMethod::Sftp {
            connection.download_file("/proc/version", &folder.path().join("version")).await.unwrap();
            assert!(!fs_err::read(folder.path().join("version")).unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_small_file_goes_by_one_command() {
    let Some(server) = Server::start() else { return };
    let connection = server.connect().await;
    let (local, remote) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = |name: &str| remote.path().join(name).to_str().unwrap().to_owned();
    let (one, two) = (local.path().join("one"), local.path().join("two"));
    for name in NAMES {
        write(&one.join(name), &noise(3000), 0o751);
        assert!(connection.upload_small(&one, &path("new/folder")).await.unwrap(), "{name}");
        assert!(connection.upload_small(&one.join(name), &path(name)).await.unwrap(), "{name}");
        fs_err::remove_file(one.join(name)).unwrap();
        for there in [path(&format!("new/folder/{name}")), path(name)] {
            assert_eq!(fs_err::read(&there).unwrap(), noise(3000), "{name}");
            assert_eq!(fs_err::metadata(&there).unwrap().permissions().mode() & 0o7777, 0o751, "{name}");
        }
    }
    let before = tree(remote.path()).len();
    assert_eq!(before, 2 * NAMES.len() + 2);

    // What stands there is replaced and not written into.
    write(&one.join("empty"), b"", 0o600);
    std::os::unix::fs::symlink("plain", path("link")).unwrap();
    assert!(connection.upload_small(&one.join("empty"), &path("link")).await.unwrap());
    assert!(fs_err::symlink_metadata(path("link")).unwrap().is_file());
    assert_eq!(fs_err::read(path("plain")).unwrap().len(), 3000);

    // What it is not for, or does not work, is left to the others.
    write(&two.join("a"), b"a", 0o644);
    write(&two.join("b"), b"b", 0o644);
    write(&local.path().join("large"), &noise((64 << 10) + 1), 0o644);
    for (from, to) in [
        (two.clone(), path("two")),
        (local.path().join("large"), path("large")),
        (one.join("empty"), path("new")),
        (one.join("empty"), path("plain/below")),
        (local.path().join("none"), path("none")),
    ] {
        assert!(!connection.upload_small(&from, &to).await.unwrap(), "{}", from.display());
    }
    assert_eq!(tree(remote.path()).len(), before + 1);
    drop(connection);

    let Some(server) = start_without(&["chmod"]) else { return };
    let connection = server.connect().await;
    assert!(!connection.upload_small(&one.join("empty"), &path("other")).await.unwrap());
    assert_eq!(tree(remote.path()).len(), before + 1);
}

#[tokio::test]
async fn what_is_owed_is_done_before_anything_else_and_once() {
    let Some(server) = Server::start() else { return };
    let connection = server.connect().await;
    let (local, remote) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (small, there) = (local.path().join("small"), remote.path().join("there"));
    write(&small, b"small", 0o644);
    let there_text = there.to_str().unwrap().to_owned();
    let log = remote.path().join("log");
    // It says whether the file is there already, and reads nothing of what is for others.
    let owe = || {
        let line =
            format!("cat; [ -e '{there_text}' ] && echo late >>'{0}' || echo early >>'{0}'", log.display());
        connection.owe(move || line.clone())
    };
    let said = || {
        let said = fs_err::read_to_string(&log).unwrap();
        fs_err::remove_file(&log).unwrap();
        let _ = fs_err::remove_file(&there);
        said
    };

    owe().await;
    assert!(connection.upload_small(&small, &there_text).await.unwrap());
    assert_eq!(fs_err::read(&there).unwrap(), b"small");
    assert_eq!(said(), "early\n");

    owe().await;
    connection.upload_file(&small, &there_text, None).await.unwrap();
    assert_eq!(said(), "early\n");
    // The server has a session for files already.
    owe().await;
    connection.upload_file(&small, &there_text, None).await.unwrap();
    assert_eq!(said(), "early\n");

    owe().await;
    let done = connection.output(&format!("cat '{}'", log.display()), Stdin::Empty).await.unwrap();
    assert_eq!(
        (&*done.stdout, said().as_str()),
        (b"early\n".as_slice(), "early\n"),
        "it is not part of another's output"
    );

    owe().await;
    connection.settle().await.unwrap();
    assert_eq!(said(), "early\n");
    connection.output("true", Stdin::Empty).await.unwrap();
    assert!(!log.exists());

    // A small file that does not go leaves it owed.
    owe().await;
    assert!(!connection.upload_small(&small, remote.path().to_str().unwrap()).await.unwrap());
    connection.settle().await.unwrap();
    assert_eq!(said(), "early\nearly\n");

    // Whoever comes meanwhile waits, and one that was dropped is begun again.
    let slow = format!("sleep 1; echo slow >>'{}'", log.display());
    connection.owe(move || slow.clone()).await;
    assert!(tokio::time::timeout(Duration::from_millis(300), connection.settle()).await.is_err());
    let show = format!("cat '{}'", log.display());
    let (one, other) =
        tokio::join!(connection.output(&show, Stdin::Empty), connection.output(&show, Stdin::Empty));
    for done in [one.unwrap(), other.unwrap()] {
        assert!(done.stdout.starts_with(b"slow\n"), "{done:?}");
    }
}

#[tokio::test]
async fn files_have_any_name() {
    let Some(server) = Server::start() else { return };
    for method in METHODS {
        let connection = connect_by(&server, method).await;
        let folder = tempfile::tempdir().unwrap();
        for name in NAMES.iter().chain(&["new\nline", "\t\r", "\u{1b}[31m"]) {
            let there = folder.path().join(name);
            connection.upload_bytes(name.as_bytes(), there.to_str().unwrap(), 0o644).await.unwrap();
            assert_eq!(fs_err::read(&there).unwrap(), name.as_bytes(), "{method:?} {name:?}");
            let back = folder.path().join("back");
            connection.download_file(there.to_str().unwrap(), &back).await.unwrap();
            assert_eq!(fs_err::read(&back).unwrap(), name.as_bytes(), "{method:?} {name:?}");
        }
        assert_eq!(tree(folder.path()).len(), NAMES.len() + 4);
        connection.upload_bytes(b"x", "-option", 0o644).await.unwrap();
        assert_eq!(says(&connection, "cat ./-option; rm ./-option").await, "x");
    }
}

#[tokio::test]
async fn what_a_file_cannot_be_written_to_is_said() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs_err::create_dir(at("folder")).unwrap();
    for method in METHODS {
        let connection = connect_by(&server, method).await;
        let error = connection.upload_bytes(b"x", &at("none/file"), 0o644).await.unwrap_err();
        let Error::Remote { path, reason } = &error else { panic!("{error:?}") };
        assert_eq!(path, &at("none/file"));
        assert!(
            reason.contains("no such file or") || reason.contains("there is no such file"),
            "{method:?} {reason}"
        );
        let error = connection.upload_bytes(b"x", &at("folder"), 0o644).await.unwrap_err();
        assert!(matches!(error, Error::Remote { .. }), "{error:?}");
        let error = connection.download_file(&at("missing"), Path::new(&at("back"))).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("`{}` of the machine: ", at("missing"))), "{error}");
        let error = connection.upload_file(Path::new(&at("missing")), "/tmp/x", None).await.unwrap_err();
        assert_eq!(error.to_string(), format!("`{}`: no such file or directory", at("missing")));
        assert_eq!(tree(folder.path()).into_keys().collect::<Vec<_>>(), ["folder"], "{method:?}");
    }
}

async fn folder_goes_both_ways(server: &Server, method: TransferMethod) {
    let connection = connect_by(server, method).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fill(&at("from"));
    let there = at("there of 'it'");
    let path = there.to_str().unwrap();
    let report = connection.upload_folder(&at("from"), path).await.unwrap();
    assert_eq!((report.sent, report.unchanged), (2 * NAMES.len() as u64 + 2, 0));
    assert_eq!(tree(&there), tree(&at("from")), "{method:?}");
    // Into one that is there.
    write(&there.join("besides"), b"stays", 0o644);
    write(&there.join("sub/-rf/besides"), b"stays", 0o644);
    write(&there.join("plain"), b"changed", 0o644);
    fs_err::remove_dir_all(there.join("sub/it's")).unwrap();
    connection.upload_folder(&at("from"), path).await.unwrap();
    let mut expected = tree(&at("from"));
    for name in ["besides", "sub/-rf/besides"] {
        expected.insert(name.to_owned(), (0o644, Some(b"stays".to_vec())));
    }
    assert_eq!(tree(&there), expected, "{method:?}");

    connection.download_folder(path, &at("back")).await.unwrap();
    assert_eq!(tree(&at("back")), expected, "{method:?}");
}

#[tokio::test]
async fn a_folder_goes_both_ways() {
    let Some(server) = Server::start() else { return };
    for method in METHODS {
        folder_goes_both_ways(&server, method).await;
    }
}

#[tokio::test]
async fn a_folder_goes_without_tar_and_without_hashes() {
    let Some(server) = start_without(&["tar", "sha256sum"]) else { return };
    for method in METHODS {
        folder_goes_both_ways(&server, method).await;
    }
}

#[tokio::test]
async fn either_way_stands_in_for_the_other() {
    for lacking in ["sftp", "scp"] {
        let Some(server) = start_without(&["tar", lacking]) else { return };
        for method in METHODS {
            folder_goes_both_ways(&server, method).await;
        }
    }
    let Some(server) = start_without(&["scp", "sftp"]) else { return };
    let connection = connect_by(&server, TransferMethod::Scp).await;
    let error = connection.upload_bytes(b"x", "/tmp/x", 0o644).await.unwrap_err();
    assert!(
        error.to_string().ends_with("cannot take or give files: it has neither an sftp server nor `scp`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_of_files_only_is_enough() {
    let Some(server) = Server::start_with("ForceCommand internal-sftp\n") else { return };
    let connection = connect_by(&server, TransferMethod::Sftp).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fill(&at("from"));
    let there = at("new/and/new");
    connection.upload_folder(&at("from"), there.to_str().unwrap()).await.unwrap();
    connection.download_folder(there.to_str().unwrap(), &at("back")).await.unwrap();
    assert_eq!(tree(&at("back")), tree(&at("from")));
}

#[tokio::test]
async fn only_what_differs_is_sent() {
    let Some(server) = Server::start() else { return };
    let connection = connect_by(&server, TransferMethod::Sftp).await;
    let folder = tempfile::tempdir().unwrap();
    let (from, there) = (folder.path().join("from"), folder.path().join("there"));
    for index in 0..20 {
        write(
            &from.join(format!("folder {}/file {index}", index % 3)),
            format!("content {index}").as_bytes(),
            0o644,
        );
    }
    let send = async || connection.upload_folder(&from, there.to_str().unwrap()).await.unwrap();
    assert_eq!(send().await, Uploaded { sent: 20, unchanged: 0, bytes: 10 * 9 + 10 * 10 });
    assert_eq!(send().await, Uploaded { sent: 0, unchanged: 20, bytes: 0 });
    write(&from.join("folder 0/file 0"), b"content X", 0o644);
    write(&from.join("folder 1/file 1"), b"content 1", 0o755);
    write(&from.join("folder 2/new"), b"new", 0o644);
    fs_err::remove_file(there.join("folder 0/file 3")).unwrap();
    assert_eq!(send().await, Uploaded { sent: 4, unchanged: 17, bytes: 9 + 9 + 3 + 9 });
    assert_eq!(tree(&there), tree(&from));
    assert_eq!(send().await.sent, 0);
    fs_err::create_dir(from.join("empty")).unwrap();
    assert_eq!(send().await.sent, 0);
    assert!(there.join("empty").is_dir());
}

#[tokio::test]
async fn names_with_ends_of_lines_go_in_folders() {
    let Some(server) = Server::start() else { return };
    for (method, count) in [(TransferMethod::Sftp, 2), (TransferMethod::Sftp, 20), (TransferMethod::Scp, 20)]
    {
        let connection = connect_by(&server, method).await;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for index in 0..count {
            write(
                &at("from").join(format!("a\nb{index}")).join("\n'\\"),
                format!("{index}").as_bytes(),
                0o644,
            );
        }
        for _ in 0..2 {
            let report = connection.upload_folder(&at("from"), at("there").to_str().unwrap()).await.unwrap();
            assert_eq!(report.sent, count, "what the tools would write in another way is sent each time");
            assert_eq!(tree(&at("there")), tree(&at("from")));
        }
        if method == TransferMethod::Sftp {
            connection.download_folder(at("there").to_str().unwrap(), &at("back")).await.unwrap();
            assert_eq!(tree(&at("back")), tree(&at("from")));
        }
    }
}

#[tokio::test]
async fn links_are_followed() {
    let Some(server) = Server::start() else { return };
    for method in METHODS {
        let connection = connect_by(&server, method).await;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("from/file"), b"file", 0o644);
        fs_err::os::unix::fs::symlink("file", at("from/link")).unwrap();
        connection.upload_folder(&at("from"), at("there").to_str().unwrap()).await.unwrap();
        assert!(at("there/link").symlink_metadata().unwrap().is_file());
        connection.download_folder(at("from").to_str().unwrap(), &at("back")).await.unwrap();
        assert_eq!(tree(&at("back")), tree(&at("there")));
        fs_err::os::unix::fs::symlink(".", at("from/loop")).unwrap();
        let error = connection.upload_folder(&at("from"), at("there").to_str().unwrap()).await.unwrap_err();
        assert!(error.to_string().ends_with("/loop`: the link leads to a folder above it"), "{error}");
    }
}

/// Waits until a part of a file is there under its temporary name.
async fn begun(folder: &Path) {
    let is_part = |entry: walkdir::Result<walkdir::DirEntry>| {
        entry.is_ok_and(|entry| {
            entry.path().to_str().is_some_and(|path| path.contains("/.imgbuild-"))
                && entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 1 << 20)
        })
    };
    let begun = Instant::now();
    while !walkdir::WalkDir::new(folder).into_iter().any(is_part) {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_cut_leaves_no_half_file() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("from/file"), &vec![7; 700 << 20], 0o644);
    for index in 0..10 {
        write(&at(&format!("from/small {index}")), b"small", 0o644);
    }
    write(&at("there"), b"before", 0o644);
    for method in METHODS {
        let connection = connect_by(&server, method).await;
        let cutting = async {
            begun(folder.path()).await;
            server.cut();
        };
        let (from, there) = (at("from/file"), at("there"));
        let sending = connection.upload_file(&from, there.to_str().unwrap(), None);
        let (sent, ()) = tokio::join!(sending, cutting);
        assert!(matches!(sent, Err(Error::Lost { .. })), "{method:?} {sent:?}");
        assert_eq!(fs_err::read(&there).unwrap(), b"before");
        // The next try leaves nothing of the last.
        connection.upload_bytes(b"after", there.to_str().unwrap(), 0o644).await.unwrap();
        connection.upload_bytes(b"before", there.to_str().unwrap(), 0o644).await.unwrap();
    }
    let connection = connect_by(&server, TransferMethod::Sftp).await;
    let cutting = async {
        begun(folder.path()).await;
        server.cut();
    };
    let (from, there) = (at("from"), at("folder"));
    let (sent, ()) = tokio::join!(connection.upload_folder(&from, there.to_str().unwrap()), cutting);
    assert!(matches!(sent, Err(Error::Lost { .. })), "{sent:?}");
    assert!(!there.join("file").exists() && !there.join("small 1").exists());
    fs_err::write(at("from/file"), "short now").unwrap();
    connection.upload_folder(&from, there.to_str().unwrap()).await.unwrap();
    assert_eq!(tree(&there), tree(&from));
}
