//! What is found, sort by sort.

use imgbuild_compare::{Changed, Options, UnitState};
use tar::EntryType;

use crate::fixture::{Pair, Tree, base, files, report, status};

#[test]
fn equal_trees_are_equal_whatever_their_order() {
    let other = Tree::new()
        .link("./bin", "usr/bin")
        .file("./usr/bin/tool", 0o755, "program")
        .file("etc/motd", 0o644, "old")
        .file("etc/group", 0o644, "root:x:0:\nsudo:x:27:\napp:x:7:\n")
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\napp:x:7:7::/srv:/bin/false\n")
        .folder("etc/", 0o755)
        .file("etc/motd", 0o644, "one\ntwo\nthree\n");
    let found = report(base(), other);
    assert!(found.equal, "{:#?}", found.files);
    assert_eq!(found.sizes.before, found.sizes.after);
    assert!(found.sizes.folders.is_empty() && found.notes.is_empty());
}

#[test]
fn files_differ_in_what_they_are() {
    let before = Tree::new()
        .file("a", 0o644, "same size 1")
        .file("b", 0o644, "short")
        .file("c", 0o644, "x")
        .entry("d", EntryType::Regular, (0o644, 5), "x")
        .link("e", "one")
        .file("f", 0o644, "x")
        .file("g", 0o644, "x")
        .folder("h", 0o755)
        .file("h/in", 0o644, "x")
        .file("only", 0o644, "x")
        .file("x-y", 0o644, "x")
        .entry("fifo", EntryType::Fifo, (0o600, 0), "");
    let after = Tree::new()
        .file("a", 0o644, "same size 2")
        .file("b", 0o644, "longer")
        .file("c", 0o600, "x")
        .entry("d", EntryType::Regular, (0o644, 6), "x")
        .link("e", "two")
        .link("f", "x")
        .attribute("user.note", b"1")
        .file("g", 0o644, "x")
        .file("h", 0o644, "x")
        .file("new", 0o644, "x")
        // In order of bytes it stands between `x` and what is below it.
        .file("x-y", 0o644, "x")
        .file("x/below", 0o644, "x")
        .entry("fifo", EntryType::Fifo, (0o600, 0), "");
    assert_eq!(
        files(&report(before, after)),
        [
            "Changed /a content",
            "Changed /b content, 5 → 6 bytes",
            "Changed /c mode 0644 → 0600",
            "Changed /d owner 5:0 → 6:0",
            "Changed /e target one → two",
            "Changed /f file → link",
            "Changed /g attributes",
            "Changed /h folder → file",
            "Removed /h/in ",
            "Added /new ",
            "Removed /only ",
            "Added /x ",
            "Added /x/below ",
        ]
    );
}

#[test]
fn times_and_owners_are_compared_as_asked() {
    let before = Tree::new().entry("a", EntryType::Regular, (0o644, 1), "x");
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(2);
    header.set_gid(0);
    header.set_mtime(5);
    header.set_size(1);
    let mut after = tar::Builder::new(Vec::new());
    after.append_data(&mut header, "a", &b"x"[..]).unwrap();
    let pair = Pair::new(before, Tree::new());
    fs_err::write(pair.path("after"), after.into_inner().unwrap()).unwrap();
    assert_eq!(files(&pair.compare(&Options::default())), ["Changed /a owner 1:0 → 2:0"]);
    let mut options = Options::default();
    (options.owners, options.times) = (false, true);
    assert_eq!(files(&pair.compare(&options)), ["Changed /a time 1700000000 → 5"]);
}

#[test]
fn hard_links_are_names_of_one_file() {
    let linked = || Tree::new().file("b", 0o644, "x").entry("a", EntryType::Link, (0o644, 0), "b");
    // The same file, whichever name stands first in the archive.
    let other = Tree::new().file("a", 0o644, "x").entry("b", EntryType::Link, (0o644, 0), "a");
    let same = report(linked(), other);
    assert!(same.equal, "{:?}", same.files);
    assert_eq!(same.sizes.after, 1, "it counts once");
    let apart = report(linked(), Tree::new().file("a", 0o644, "x").file("b", 0o644, "x"));
    assert_eq!(files(&apart), ["Changed /b hard link to /a → -"]);
    assert_eq!((apart.sizes.before, apart.sizes.after), (1, 2));
}

#[test]
fn globs_leave_out_and_choose() {
    let before = || base().file("var/log/a", 0o644, "1").file("srv/x", 0o644, "1");
    let pair = Pair::new(
        before(),
        base().file("var/log/a", 0o644, "2").file("srv/x", 0o644, "2").file("var/log/b", 0o644, "2"),
    );
    let options = Options::default().limited(&["/var/log/**".to_owned()], &[]).unwrap();
    assert_eq!(files(&pair.compare(&options)), ["Changed /srv/x content"]);
    let options = Options::default().limited(&["b".to_owned()], &["/var".to_owned()]).unwrap();
    assert_eq!(files(&pair.compare(&options)), ["Changed /var/log/a content", "Added /var/log/b "]);
    assert!(Options::default().limited(&["/[".to_owned()], &[]).is_err());
}

#[test]
fn packages_and_the_files_that_are_theirs() {
    let with = |packages: &[(&str, &str)]| {
        base().file("var/lib/dpkg/status", 0o644, &status(packages)).link("lib", "usr/lib")
    };
    let before = with(&[("gone", "1"), ("stays", "1"), ("moved", "1:1.0")])
        .file("var/lib/dpkg/info/gone.list", 0o644, "/.\n/usr\n/usr/bin\n/usr/bin/gone\n")
        .file("usr/bin/gone", 0o755, "x");
    let after = with(&[("new", "2"), ("stays", "1"), ("moved", "1:1.1")])
        .file("var/lib/dpkg/info/new:amd64.list", 0o644, "/.\n/lib\n/lib/new.so\n/usr/bin/new\n")
        .file("usr/lib/new.so", 0o644, "x")
        .file("usr/bin/new", 0o755, "x")
        .file("usr/bin/stray", 0o755, "x");
    let found = report(before, after);
    let packages: Vec<String> = found
        .packages
        .iter()
        .map(|package| {
            let version = |package: &Option<imgbuild_compare::Package>| {
                package.as_ref().map_or("-".to_owned(), |package| package.version.clone())
            };
            format!("{} {} {}", package.name, version(&package.before), version(&package.after))
        })
        .collect();
    assert_eq!(packages, ["gone 1 -", "moved 1:1.0 1:1.1", "new - 2"]);
    let owners: Vec<String> = found
        .files
        .iter()
        .map(|file| format!("{} {}", file.path, file.package.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        owners,
        [
            "/usr/bin/gone gone",
            "/usr/bin/new new",
            "/usr/bin/stray -",
            // The package says `/lib`, which is a link.
            "/usr/lib new",
            "/usr/lib/new.so new",
            "/var/lib/dpkg/info/gone.list gone",
            "/var/lib/dpkg/info/new:amd64.list new",
            "/var/lib/dpkg/status -",
        ]
    );
    assert!(found.files.last().unwrap().is_package_database());
}

#[test]
fn accounts_units_rights_and_the_system() {
    let unit = "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n";
    let system = "usr/lib/systemd/system";
    let before = base()
        .file(&format!("{system}/web.service"), 0o644, unit)
        .file(&format!("{system}/ssh.service"), 0o644, unit)
        .file("etc/os-release", 0o644, "PRETTY_NAME=\"Debian 12\"\n")
        .file("boot/vmlinuz-6.1.0-1", 0o644, "k");
    let mut capability = 0x0200_0001u32.to_le_bytes().to_vec();
    capability.extend([0u32.to_le_bytes(), [0; 4], [0; 4], [0; 4]].concat());
    capability[5] = 1 << 5;
    let after = Tree::new()
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\napp:x:7:7::/srv:/bin/sh\nweb:x:8:8::/:\n")
        .file("etc/group", 0o644, "root:x:0:\nsudo:x:27:app\napp:x:7:\nweb:x:8:\n")
        .file("etc/motd", 0o644, "one\ntwo\nthree\n")
        .attribute("security.capability", &capability)
        .file("usr/bin/tool", 0o755, "program")
        .link("bin", "usr/bin")
        .file("usr/bin/su", 0o4755, "x")
        .file(&format!("{system}/web.service"), 0o644, unit)
        .file(&format!("{system}/ssh.service"), 0o644, unit)
        .link("etc/systemd/system/multi-user.target.wants/web.service", "/usr/lib/systemd/system/web.service")
        .link("etc/systemd/system/ssh.service", "/dev/null")
        .file("etc/os-release", 0o644, "PRETTY_NAME=\"Debian 13\"\n")
        .file("boot/vmlinuz-6.12.0-1", 0o644, "k");
    let found = report(before, after);

    let users: Vec<_> = found.users.iter().map(|user| (&*user.name, user.change)).collect();
    assert_eq!(users, [("app", Changed::Changed), ("web", Changed::Added)]);
    assert_eq!(found.users[0].after.as_ref().unwrap().groups, ["sudo"]);
    let groups: Vec<_> = found.groups.iter().map(|group| (&*group.name, group.change)).collect();
    assert_eq!(groups, [("sudo", Changed::Changed), ("web", Changed::Added)]);

    let units: Vec<_> = found
        .units
        .iter()
        .map(|unit| (&*unit.name, unit.before.as_ref().unwrap().state, unit.after.as_ref().unwrap().state))
        .collect();
    assert_eq!(
        units,
        [
            ("ssh.service", UnitState::Disabled, UnitState::Masked),
            ("web.service", UnitState::Disabled, UnitState::Enabled)
        ]
    );

    let rights: Vec<String> = found
        .privileges
        .iter()
        .map(|file| format!("{:?} {} {}", file.change, file.name, file.after.as_ref().unwrap()))
        .collect();
    assert_eq!(rights, ["Added /usr/bin/su set-uid root", "Added /usr/bin/tool cap_net_raw=ep"]);

    let system: Vec<String> =
        found.system.iter().map(|change| format!("{:?} {}", change.change, change.name)).collect();
    assert_eq!(system, ["Changed distribution", "Removed kernel 6.1.0-1", "Added kernel 6.12.0-1"]);
    assert_eq!(found.summary.files.total(), found.files.len());
}

#[test]
fn folders_are_told_by_growth() {
    let before = Tree::new().file("srv/data/a", 0o644, "aaaa").file("var/old", 0o644, "0123456789");
    let after =
        Tree::new().file("srv/data/a", 0o644, "aaaa").file("srv/data/deep/er/and/more/b", 0o644, "123456");
    let found = report(before, after);
    assert_eq!(found.sizes.growth(), -4);
    let folders: Vec<String> = found
        .sizes
        .folders
        .iter()
        .map(|folder| format!("{} {} {}", folder.path, folder.before, folder.after))
        .collect();
    assert_eq!(
        folders,
        [
            "/srv 4 10",
            "/srv/data 4 10",
            "/srv/data/deep 0 6",
            "/srv/data/deep/er 0 6",
            "/ 14 10",
            "/var 10 0",
        ]
    );
}

#[test]
fn text_is_compared_by_line_and_nothing_else_is() {
    let before = base().file("data", 0o644, "a\0b").file("empty", 0o644, "");
    let after = Tree::new()
        .folder("etc", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\napp:x:7:7::/srv:/bin/false\n")
        .file("etc/group", 0o644, "root:x:0:\nsudo:x:27:\napp:x:7:\n")
        .file("etc/motd", 0o644, "one\n2\nthree\n")
        .file("usr/bin/tool", 0o755, "program")
        .link("bin", "usr/bin")
        .file("data", 0o644, "a\0c")
        .file("empty", 0o644, "x");
    let mut options = Options::default();
    options.text = true;
    let found = Pair::new(before, after).compare(&options);
    let texts: Vec<(&str, Option<&str>)> =
        found.files.iter().map(|file| (&*file.path, file.text.as_deref())).collect();
    assert_eq!(
        texts,
        [
            ("/data", None),
            ("/empty", Some("@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n")),
            ("/etc/motd", Some("@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n")),
        ]
    );
}

#[test]
fn what_cannot_be_compared_is_said() {
    let found = report(base(), base().file("var/lib/rpm/rpmdb.sqlite", 0o644, "x"));
    assert_eq!(found.notes, ["`tarball` has packages of rpm, which are not read"]);
}
