//! Newer packages over an older base, as real `apt-get` installs them: the order and the arguments of maintainer scripts,
//! configuration files, diversions, overrides, triggers.

use imgbuild_debian::solve::Base;
use imgbuild_debian::test_archive::TestPackage;

use crate::archive::{Ubuntu, archive};
use crate::support::Workspace;

/// A script that writes down how it was called, then does something.
fn logged(name: &str, version: &str, then: &str) -> String {
    format!(
        "#!/bin/sh\nset -e\necho \"$DPKG_MAINTSCRIPT_PACKAGE {version} {name} $*, $DPKG_MAINTSCRIPT_NAME, \
         $DPKG_RUNNING_VERSION\" >> /srv/calls\n{then}\n"
    )
}

/// A package whose scripts are all logged; `then` is what one of them does besides.
fn package(name: &str, version: &str, then: (&str, &str)) -> TestPackage {
    ["preinst", "postinst", "prerm", "postrm"].into_iter().fold(
        TestPackage::new(name, version).architecture("all"),
        |package, script| {
            let then = if script == then.0 { then.1 } else { "" };
            package.script(script, &logged(script, version, then))
        },
    )
}

const NOTHING: (&str, &str) = ("", "");

/// The packages below.
fn old() -> Vec<TestPackage> {
    vec![
        package("alpha", "1", NOTHING)
            .file("etc/alpha/same.conf", b"old\n", 0o644)
            .file("etc/alpha/changed.conf", b"old\n", 0o644)
            .file("etc/alpha/gone.conf", b"old\n", 0o644)
            .control_file(
                "conffiles",
                "/etc/alpha/same.conf\n/etc/alpha/changed.conf\n/etc/alpha/gone.conf\n",
            )
            .file("usr/share/alpha/data", b"alpha 1\n", 0o644)
            .file("usr/share/alpha/old/only", b"alpha 1\n", 0o644)
            .file("usr/share/alpha/private", b"alpha 1\n", 0o644)
            .file("usr/bin/tool", b"alpha 1\n", 0o755)
            .file("usr/share/beta/moved", b"alpha 1\n", 0o644),
        // The script of the old version fails, and the new one mends it: Debian Policy, 6.6.
        package("beta", "1", ("prerm", "[ \"$1\" != upgrade ] || exit 1")).depends("alpha").file(
            "usr/share/beta/data",
            b"beta 1\n",
            0o644,
        ),
        package("delta", "1", NOTHING).control_file("triggers", "interest-noawait /usr/share/alpha\n"),
        package("epsilon", "1", NOTHING).file("usr/share/epsilon/data", b"epsilon 1\n", 0o644),
    ]
}

/// Those above.
fn new() -> Vec<TestPackage> {
    vec![
        package("alpha", "2", NOTHING)
            .file("etc/alpha/same.conf", b"new\n", 0o644)
            .file("etc/alpha/changed.conf", b"new\n", 0o644)
            .file("etc/alpha/more.conf", b"new\n", 0o644)
            .control_file("conffiles", "/etc/alpha/same.conf\n/etc/alpha/changed.conf\n/etc/alpha/more.conf\n")
            .file("usr/share/alpha/data", b"alpha 2\n", 0o644)
            .file("usr/share/alpha/new/only", b"alpha 2\n", 0o644)
            .file("usr/share/alpha/private", b"alpha 2\n", 0o644)
            .file("usr/bin/tool", b"alpha 2\n", 0o755),
        package("beta", "2", NOTHING)
            .depends("alpha (>= 2)")
            .field("Breaks", "alpha (<< 2)")
            .field("Replaces", "alpha (<< 2)")
            .file("usr/share/beta/data", b"beta 2\n", 0o644)
            .file("usr/share/beta/moved", b"beta 2\n", 0o644),
        package(
            "gamma",
            "2",
            ("preinst", "dpkg-divert --quiet --package gamma --rename --divert /usr/bin/tool.alpha --add /usr/bin/tool"),
        )
        .depends("beta")
        .file("usr/bin/tool", b"gamma 2\n", 0o755),
        package("zeta", "2", NOTHING)
            .field("Conflicts", "epsilon")
            .field("Replaces", "epsilon")
            .field("Provides", "epsilon")
            .file("usr/share/epsilon/data", b"zeta 2\n", 0o644),
    ]
}

const BASE: &str = r#"
image(
    name = "base",
    source = ubuntu("noble"),
    steps = [
        apt_install("alpha", "beta", "delta", "epsilon"),
        shell([
            "echo mine > /etc/alpha/changed.conf",
            "dpkg-divert --quiet --local --rename --divert /usr/share/alpha/data.orig --add /usr/share/alpha/data",
            "echo mine > /usr/share/alpha/data",
            "dpkg-statoverride --update --add root mail 2640 /usr/share/alpha/private",
            ": > /srv/calls",
        ]),
    ],
    exports = [],
)
"#;

const ABOVE: &str = r#"
image(name = "ours", base = ":base", steps = [apt_install("alpha", "beta", "gamma", "zeta")], exports = [])

image(
    name = "theirs",
    base = ":base",
    steps = [
        file("repository", "/opt/repository"),
        shell([
            "echo 'deb [trusted=yes] file:/opt/repository ./' > /tmp/sources.list",
            "apt='apt-get -q -o APT::Sandbox::User=root -o Dir::Etc::SourceList=/tmp/sources.list -o Dir::Etc::SourceParts=/dev/null'",
            "$apt update",
            "DEBIAN_FRONTEND=noninteractive $apt -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold " +
            "install --no-install-recommends alpha beta gamma zeta",
        ]),
    ],
    exports = [],
)
"#;

/// What an image has: the packages with their state, the files of the packages, and what dpkg knows about them.
const LOOK: &str = r#"
dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\n${Conffiles}\n' alpha beta gamma delta epsilon zeta 2>&1
dpkg --audit
dpkg-divert --list '*alpha*'; dpkg-divert --list '*tool*'; dpkg-statoverride --list
cd / && for name in etc/alpha usr/share/alpha usr/share/beta usr/share/epsilon usr/bin/tool*; do
    find $name | sort | while read path; do
        stat -c '%n %A %U %G' $path
        [ -d $path ] || cat $path
    done
done
cat /var/lib/dpkg/info/alpha.list /var/lib/dpkg/info/beta.list /var/lib/dpkg/info/gamma.list /var/lib/dpkg/info/zeta.list
ls /var/lib/dpkg/info | grep -E '^(alpha|beta|gamma|delta|epsilon|zeta)'
"#;

#[test]
fn an_upgrade_calls_what_apt_calls_and_leaves_what_apt_leaves() {
    let Some(mut archive) = archive(Base::Required) else { return };
    for package in old() {
        archive.add(package);
    }
    let mut ubuntu = Ubuntu::with(archive, Workspace::with(BASE));
    ubuntu.ok(&["run", "//:base", "--", "true"]);

    let mut index = String::new();
    for package in new() {
        let deb = package.build();
        let name = package.file_name();
        index.push_str(&package.stanza(&deb).replace(&package.pool_path(), &format!("./{name}")));
        index.push('\n');
        let path = ubuntu.workspace.root().join("repository").join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, deb).unwrap();
        ubuntu.archive.remove(&package.name).add(package);
    }
    ubuntu.workspace.write("repository/Packages", &index);
    ubuntu.publish();
    ubuntu.workspace.write("BUILD.star", &format!("{BASE}{ABOVE}"));

    let read = |image: &str, script: &str| ubuntu.ok(&["run", image, "--", "sh", "-c", script]).stdout;
    let calls = |image: &str| read(image, "cat /srv/calls");
    let theirs = calls("//:theirs");
    assert!(theirs.contains("beta 2 prerm failed-upgrade 1 2"), "{theirs}");
    assert_eq!(calls("//:ours"), theirs);
    let looked = read("//:ours", LOOK);
    assert!(looked.contains("gamma 2") && looked.contains("mine"), "{looked}");
    assert_eq!(looked, read("//:theirs", LOOK));
}
