//! File operations on a plain folder; the namespaces' tests do some on mounts.

use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::accounts::{AccountError, Identity, NewGroup, NewUser};
use super::systemd::UnitError;
use super::{Attributes, Contents, FilesError, Kind, Modes, Root, TreeOptions};

const TIME: i64 = 1_700_000_000;

struct Fixture {
    folder: tempfile::TempDir,
    root: Root,
}

impl Fixture {
    /// A root with these files; a name that ends in `/` is a folder, a text `-> x` a link.
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().expect("a parent")).expect("folders");
            if name.ends_with('/') {
                fs_err::create_dir_all(path).expect("a folder");
            } else if let Some(target) = text.strip_prefix("-> ") {
                fs_err::os::unix::fs::symlink(target, path).expect("a link");
            } else {
                fs_err::write(path, text).expect("a file");
            }
        }
        let opened = std::fs::File::open(folder.path()).expect("the folder");
        let root = Root::open(opened.as_fd(), TIME).expect("a root");
        Self { folder, root }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).expect("a file")
    }

    fn link(&self, name: &str) -> String {
        fs_err::read_link(self.path(name)).expect("a link").to_string_lossy().into_owned()
    }
}

/// Owners that the user who runs the tests may give.
fn own(mode: u32) -> Attributes {
    Attributes { mode, uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

/// Folders that are made on the way are root's, which only root can give.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: this test gives files to other users, which needs root");
    }
    root
}

#[test]
fn links_are_followed_inside_and_never_out() {
    if !is_root() {
        return;
    }
    let outside = tempfile::tempdir().expect("a folder");
    let escape = format!("-> {}", outside.path().display());
    let fixture = Fixture::new(&[
        ("usr/lib/", ""),
        ("lib", "-> usr/lib"),
        ("absolute", "-> /usr/lib"),
        ("up", "-> ../../../../usr"),
        ("escape", &escape),
    ]);
    for path in ["/lib/a", "absolute/b", "/up/lib/c", "/../../lib/d"] {
        fixture.root.write_file(path, Contents::Bytes(b"x"), own(0o640)).expect(path);
    }
    for name in ["a", "b", "c", "d"] {
        assert_eq!(fixture.text(&format!("usr/lib/{name}")), "x");
    }
    // The link's target is taken inside the root, where it is made.
    fixture.root.write_file("/escape/file", Contents::Bytes(b"x"), own(0o644)).expect("a file inside");
    assert_eq!(fs_err::read_dir(outside.path()).expect("the folder outside").count(), 0);
    let inside = outside.path().strip_prefix("/").expect("absolute").join("file");
    assert_eq!(fs_err::read(fixture.folder.path().join(inside)).expect("the file"), b"x");
}

#[test]
fn a_loop_of_links_ends() {
    let fixture = Fixture::new(&[("a", "-> b"), ("b", "-> a")]);
    assert!(matches!(
        fixture.root.write_file("/a/x", Contents::Bytes(b""), own(0o644)),
        Err(FilesError::System { source: rustix::io::Errno::LOOP, .. })
    ));
}

#[test]
fn a_written_file_has_what_was_asked_and_other_names_keep_theirs() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&[("etc/one", "old"), ("etc/link", "-> one")]);
    fs_err::hard_link(fixture.path("etc/one"), fixture.path("etc/two")).expect("a link");
    let attributes = Attributes { mode: 0o4750, uid: 12, gid: 34 };
    fixture.root.write_file("/etc/one", Contents::Bytes(b"new"), attributes).expect("written");
    let meta = fs_err::metadata(fixture.path("etc/one")).expect("metadata");
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o4750, 12, 34, TIME));
    assert_eq!((fixture.text("etc/one").as_str(), fixture.text("etc/two").as_str()), ("new", "old"));
    assert_eq!(fs_err::metadata(fixture.path("etc")).expect("metadata").mtime(), TIME);
    fixture.root.write_file("/etc/link", Contents::Bytes(b"file"), own(0o600)).expect("written");
    assert_eq!(fixture.text("etc/one"), "new");
    assert!(matches!(
        fixture.root.write_file("/etc", Contents::Bytes(b""), own(0o644)),
        Err(FilesError::IsDirectory { .. })
    ));
    assert!(matches!(
        fixture.root.write_file("/", Contents::Bytes(b""), own(0o644)),
        Err(FilesError::WholeImage { .. })
    ));
    let host = fixture.path("etc/two");
    fixture.root.write_file("/deep/er/file", Contents::HostFile(&host), own(0o644)).expect("written");
    assert_eq!(fixture.text("deep/er/file"), "old");
    assert_eq!(fs_err::metadata(fixture.path("deep")).expect("metadata").mode() & 0o7777, 0o755);
    assert!(matches!(
        fixture.root.write_file("/x", Contents::HostFile(Path::new("/nonexistent")), own(0o644)),
        Err(FilesError::Host { .. })
    ));
}

#[test]
fn folders_and_links_are_made() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&[("file", "")]);
    let attributes = Attributes { mode: 0o1777, uid: 5, gid: 6 };
    fixture.root.make_directory("/var/spool/x", Some(attributes)).expect("made");
    let status = fixture.root.status("/var/spool/x").expect("there");
    assert_eq!((status.kind, status.attributes, status.modified), (Kind::Directory, attributes, TIME));
    assert!(matches!(fixture.root.make_directory("/file/x", None), Err(FilesError::NotDirectory { .. })));
    fixture.root.symlink("../x", "/var/link").expect("made");
    fixture.root.symlink("/y", "/var/link").expect("replaced");
    assert_eq!(fixture.root.status("var/link").expect("there").kind, Kind::SymbolicLink(b"/y".to_vec()));
    assert_eq!(fs_err::symlink_metadata(fixture.path("var/link")).expect("metadata").mtime(), TIME);
    assert_eq!(fixture.root.list("/var").expect("names"), [b"link".to_vec(), b"spool".to_vec()]);
    assert!(
        matches!(fixture.root.read_file("/nothing"), Err(FilesError::NotFound { path }) if path == "/nothing")
    );
    assert!(matches!(fixture.root.read_file("/var"), Err(FilesError::IsDirectory { .. })));
}

#[test]
fn removal_follows_no_last_link_and_respects_what_is_in_a_folder() {
    let fixture = Fixture::new(&[
        ("data/a.log", ""),
        ("data/b.log", ""),
        ("data/keep", ""),
        ("data/sub/c.log", ""),
        ("link", "-> data"),
    ]);
    assert!(matches!(fixture.root.remove("/data", false), Err(FilesError::NotEmpty { .. })));
    assert!(fixture.root.remove("/link", true).expect("removed"));
    assert!(!fixture.root.remove("/link", true).expect("gone already"));
    assert_eq!(
        fixture.root.remove_matching("/data/*.log", false).expect("removed"),
        ["/data/a.log", "/data/b.log"]
    );
    assert_eq!(fixture.root.remove_matching("/**/*.log", false).expect("removed"), ["/data/sub/c.log"]);
    assert_eq!(fixture.root.remove_matching("/none/*", false).expect("nothing"), Vec::<String>::new());
    assert!(matches!(fixture.root.remove_matching("/data/[", false), Err(FilesError::BadPattern { .. })));
    assert_eq!(fixture.root.remove_matching("/d*", true).expect("removed"), ["/data"]);
    assert!(matches!(fixture.root.remove("/", true), Err(FilesError::WholeImage { .. })));
    assert_eq!(fs_err::read_dir(fixture.folder.path()).expect("the root").count(), 0);
}

#[test]
fn a_host_tree_is_merged_with_normal_modes() {
    if !is_root() {
        return;
    }
    let source = tempfile::tempdir().expect("a folder");
    fs_err::create_dir(source.path().join("etc")).expect("a folder");
    for (name, mode) in [("etc/script", 0o775), ("etc/text", 0o660)] {
        fs_err::write(source.path().join(name), name).expect("a file");
        fs_err::set_permissions(source.path().join(name), std::fs::Permissions::from_mode(mode))
            .expect("a mode");
    }
    fs_err::os::unix::fs::symlink("text", source.path().join("etc/link")).expect("a link");
    let fixture = Fixture::new(&[("etc/passwd", "x")]);
    fs_err::set_permissions(fixture.path("etc"), std::fs::Permissions::from_mode(0o711)).expect("a mode");
    let options = TreeOptions { owner: Some((7, 8)), modes: Modes::Normal, attributes: false };
    fixture.root.copy_from_host(source.path(), "/", options).expect("copied");
    let mode = |name: &str| fs_err::metadata(fixture.path(name)).expect("metadata").mode() & 0o7777;
    assert_eq!((mode("etc/script"), mode("etc/text"), mode("etc")), (0o755, 0o644, 0o711));
    let meta = fs_err::symlink_metadata(fixture.path("etc/link")).expect("metadata");
    assert_eq!((meta.uid(), meta.gid(), meta.mtime()), (7, 8, TIME));
    assert_eq!(fixture.text("etc/passwd"), "x");
}

#[test]
fn another_root_is_copied_with_links_and_owners() {
    if !is_root() {
        return;
    }
    let stage = Fixture::new(&[("out/bin/tool", "tool"), ("out/lib", "-> bin"), ("current", "-> out")]);
    fs_err::hard_link(stage.path("out/bin/tool"), stage.path("out/bin/same")).expect("a link");
    std::os::unix::fs::chown(stage.path("out/bin/tool"), Some(9), Some(9)).expect("an owner");
    let fixture = Fixture::new(&[]);
    let options = TreeOptions { owner: None, modes: Modes::Keep, attributes: true };
    fixture.root.copy_from(&stage.root, "/current", "/opt/app", options).expect("copied");
    let tool = fs_err::metadata(fixture.path("opt/app/bin/tool")).expect("metadata");
    assert_eq!((tool.nlink(), tool.uid(), tool.mtime()), (2, 9, TIME));
    assert_eq!(fixture.link("opt/app/lib"), "bin");
    fixture.root.copy_from(&stage.root, "/current/lib/tool", "/usr/bin/renamed", options).expect("copied");
    assert_eq!(fixture.text("usr/bin/renamed"), "tool");
    assert!(matches!(
        fixture.root.copy_from(&stage.root, "/missing", "/x", options),
        Err(FilesError::NotFound { .. })
    ));
    // A tree whose folder meets a link says so instead of writing through it.
    let linked = Fixture::new(&[("app", "-> elsewhere"), ("elsewhere/", "")]);
    let error = linked.root.copy_from(&stage.root, "/", "/", options);
    assert!(error.is_ok(), "{error:?}");
    let nested = Fixture::new(&[("out", "-> elsewhere"), ("elsewhere/", "")]);
    let error = nested.root.copy_from(&stage.root, "/", "/", options).expect_err("a link in the way");
    assert!(error.to_string().contains("`out`"), "{error}");
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:d:/:/x\nseen:x:998:998::/:/x\n";
const GROUP: &str = "root:x:0:\nshadow:x:42:\naudio:x:29:seen\nvideo:x:44:\nseen:x:998:\nother:x:1000:\n";

#[test]
fn accounts_are_added_as_useradd_would() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&[
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/shadow", "root:*:1::::::\n"),
        ("etc/gshadow", "root:*::\naudio:!::seen\nvideo:!::\n"),
        ("etc/skel/.profile", "hello"),
    ]);
    let shadow = std::fs::Permissions::from_mode(0o640);
    fs_err::set_permissions(fixture.path("etc/shadow"), shadow).expect("a mode");
    let service = NewUser { name: "web".into(), system: true, ..NewUser::default() };
    let found = fixture.root.add_user(&service).expect("added");
    assert_eq!(found, Identity { uid: 999, gid: 999, groups: vec![], home: "/nonexistent".into() });
    let next = NewUser { name: "db".into(), ..service.clone() };
    assert_eq!(fixture.root.add_user(&next).expect("added").uid, 997);
    let person = NewUser {
        name: "alice".into(),
        comment: "Alice".into(),
        create_home: true,
        shell: Some("/bin/bash".into()),
        groups: vec!["audio".into(), "video".into()],
        ..NewUser::default()
    };
    let found = fixture.root.add_user(&person).expect("added");
    assert_eq!((found.uid, found.gid, found.groups), (1001, 1001, vec![29, 44]));
    assert_eq!(
        fixture.text("etc/passwd"),
        format!(
            "{PASSWD}web:x:999:999::/nonexistent:/usr/sbin/nologin\ndb:x:997:997::/nonexistent:/usr/sbin/nologin\n\
             alice:x:1001:1001:Alice:/home/alice:/bin/bash\n"
        )
    );
    assert!(fixture.text("etc/group").contains("audio:x:29:seen,alice\nvideo:x:44:alice\n"));
    assert!(fixture.text("etc/group").ends_with("web:x:999:\ndb:x:997:\nalice:x:1001:\n"));
    assert_eq!(
        fixture.text("etc/gshadow"),
        "root:*::\naudio:!::seen,alice\nvideo:!::alice\nweb:!::\ndb:!::\nalice:!::\n"
    );
    assert_eq!(
        fixture.text("etc/shadow"),
        "root:*:1::::::\nweb:!:19675::::::\ndb:!:19675::::::\nalice:!:19675:0:99999:7:::\n"
    );
    let mode = |name: &str| fs_err::metadata(fixture.path(name)).expect("metadata");
    assert_eq!(mode("etc/shadow").mode() & 0o7777, 0o640);
    assert_eq!((mode("home/alice").mode() & 0o7777, mode("home/alice").uid()), (0o700, 1001));
    assert_eq!(mode("home/alice/.profile").gid(), 1001);
    assert_eq!(fixture.root.owner("alice:audio").expect("known").gid, 29);
    let again = fixture.root.add_user(&person).expect_err("taken");
    assert_eq!(again.to_string(), "the user `alice` is in the image already, with the number 1001");
    let taken = NewUser { name: "bob".into(), uid: Some(999), ..NewUser::default() };
    assert!(matches!(
        fixture.root.add_user(&taken),
        Err(FilesError::Account(AccountError::NumberTaken { owner, .. })) if owner == "web"
    ));
    let unknown = NewUser { name: "bob".into(), groups: vec!["none".into()], ..NewUser::default() };
    assert!(matches!(fixture.root.add_user(&unknown), Err(FilesError::Identity(_))));
    for name in ["", "Bob", "1st", "a:b", "a\nb", "-x"] {
        let group = NewGroup { name: name.into(), ..NewGroup::default() };
        assert!(matches!(
            fixture.root.add_group(&group),
            Err(FilesError::Account(AccountError::BadName { .. }))
        ));
    }
    let group = NewGroup { name: "team".into(), gid: None, system: false };
    assert_eq!(fixture.root.add_group(&group).expect("added"), 1002);
}

#[test]
fn units_are_enabled_by_links() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&[
        (
            "usr/lib/systemd/system/web.service",
            "[Install]\nWantedBy=multi-user.target\nAlias=http.service\nAlso=web.socket\n",
        ),
        ("usr/lib/systemd/system/web.socket", "[Install]\nWantedBy=sockets.target\n"),
        ("usr/lib/systemd/system/plain.service", "[Service]\nExecStart=/bin/true\n"),
        ("usr/lib/systemd/system/getty@.service", "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n"),
        ("usr/lib/systemd/system/raw@.service", "[Install]\nRequiredBy=%i.target\n"),
        ("usr/lib/systemd/system/other.service", "-> web.service"),
        ("usr/lib/systemd/system/plain.timer.d/x", ""),
        ("lib", "-> usr/lib"),
        ("etc/systemd/system/mine.service", "[Install]\nWantedBy=a.target\n"),
        ("etc/systemd/system/mine.service.d/10.conf", "[Install]\nWantedBy=b.target\n"),
    ]);
    let root = &fixture.root;
    assert_eq!(
        root.enable_unit("web").expect("enabled"),
        [
            "/etc/systemd/system/http.service",
            "/etc/systemd/system/multi-user.target.wants/web.service",
            "/etc/systemd/system/sockets.target.wants/web.socket",
        ]
    );
    assert_eq!(
        fixture.link("etc/systemd/system/multi-user.target.wants/web.service"),
        "/usr/lib/systemd/system/web.service"
    );
    assert_eq!(fixture.link("etc/systemd/system/http.service"), "/usr/lib/systemd/system/web.service");
    assert_eq!(
        fixture.link("etc/systemd/system/sockets.target.wants/web.socket"),
        "/usr/lib/systemd/system/web.socket"
    );
    root.enable_unit("getty@.service").expect("enabled");
    assert_eq!(
        fixture.link("etc/systemd/system/getty.target.wants/getty@tty1.service"),
        "/usr/lib/systemd/system/getty@.service"
    );
    root.enable_unit("raw@one.service").expect("enabled");
    assert_eq!(
        fixture.link("etc/systemd/system/one.target.requires/raw@one.service"),
        "/usr/lib/systemd/system/raw@.service"
    );
    assert_eq!(root.enable_unit("mine").expect("enabled").len(), 2);
    let error = |unit: &str| match root.enable_unit(unit) {
        Err(FilesError::Unit(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(error("none"), UnitError::NotFound { .. }));
    assert!(matches!(error("plain"), UnitError::Static { .. }));
    assert!(matches!(error("raw@"), UnitError::NeedsInstance { .. }));
    assert_eq!(
        error("other").to_string(),
        "`other.service` is another name of the unit `web.service`; use that"
    );
    root.mask_unit("plain").expect("masked");
    assert_eq!(fixture.link("etc/systemd/system/plain.service"), "/dev/null");
    assert!(matches!(error("plain"), UnitError::Masked { .. }));
    assert!(root.unmask_unit("plain").expect("unmasked"));
    assert!(matches!(root.mask_unit("mine"), Err(FilesError::Unit(UnitError::InTheWay { .. }))));
    assert_eq!(root.disable_unit("web").expect("disabled").len(), 2);
    assert!(!fixture.path("etc/systemd/system/http.service").exists());
}
