//! The prelude's rules: what each declares.

use crate::workspace::{Workspace, dump};

/// Analyzes a target and compares all that it declares and returns.
fn check(build: &str, label: &str, expected: &str) {
    let workspace = Workspace::new(&[("p/BUILD.star", build)]);
    let analysis = workspace.analyze(label, "linux/amd64").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(dump(&analysis), expected.trim_start_matches('\n'));
}

#[test]
fn an_image_is_a_source_steps_a_seal_and_exports() {
    check(
        r#"
image(
    name = "web",
    source = debian("bookworm", packages = ["ca-certificates"]),
    steps = [
        apt_install("nginx", "curl"),
        env(LANG = "C.UTF-8"),
        file("index.html", "/var/www/html/index.html", mode = 0o600),
        shell("nginx -t", timeout = "1m30s"),
        entrypoint(["nginx"]),
        expose(80, "53/udp"),
    ],
    exports = [oci(layers = 3), tarball(), tarball(compression = "gzip"), tarball()],
    tests = [package_installed("nginx")],
)
"#,
        "//p:web",
        r#"
0 debian suite="bookworm" packages=["ca-certificates"] at p/BUILD.star:4:14
1 apt_install on <//p:web#0> packages=["nginx", "curl"] at p/BUILD.star:6:9
2 file on <//p:web#1 LANG=C.UTF-8> src=[<p/index.html>] dest="/var/www/html/index.html" mode="0600" at p/BUILD.star:8:9
3 shell on <//p:web#2 LANG=C.UTF-8> inline=["nginx -t"] timeout=90 at p/BUILD.star:9:9
4 seal on <//p:web#3 LANG=C.UTF-8 entrypoint=nginx 53/udp 80/tcp> at p/BUILD.star:2:1
5 oci on <//p:web#4 LANG=C.UTF-8 entrypoint=nginx 53/udp 80/tcp> layers="3" -> web.oci at p/BUILD.star:13:16
6 tarball on <//p:web#4 LANG=C.UTF-8 entrypoint=nginx 53/udp 80/tcp> -> web.tar.zst at p/BUILD.star:13:33
7 tarball on <//p:web#4 LANG=C.UTF-8 entrypoint=nginx 53/udp 80/tcp> compression="gzip" -> web.tar.gz at p/BUILD.star:13:44
8 tarball on <//p:web#4 LANG=C.UTF-8 entrypoint=nginx 53/udp 80/tcp> -> web-2.tar.zst at p/BUILD.star:13:75
9 image_test on <//p:web#4 LANG=C.UTF-8 entrypoint=nginx 53/udp 80/tcp> checks=[package_installed(name="nginx")] -> test.json at p/BUILD.star:2:1
DefaultInfo(files=[<web.oci of //p:web#5>, <web.tar.zst of //p:web#6>, <web.tar.gz of //p:web#7>, <web-2.tar.zst of //p:web#8>])
ImageInfo(layer=<//p:web#4 LANG=C.UTF-8 entrypoint=nginx 53/udp 80/tcp>, unsealed=<//p:web#3 LANG=C.UTF-8 entrypoint=nginx 53/udp 80/tcp>, exports=[struct(kind: "oci", artifact: <web.oci of //p:web#5>), struct(kind: "tarball", artifact: <web.tar.zst of //p:web#6>), struct(kind: "tarball", artifact: <web.tar.gz of //p:web#7>), struct(kind: "tarball", artifact: <web-2.tar.zst of //p:web#8>)], platform="linux/amd64")
TestInfo(result=<test.json of //p:web#9>)
"#,
    );
}

#[test]
fn a_child_stands_on_the_sealed_layer_and_inherits_its_state() {
    check(
        r#"
image(name = "base", source = scratch(), steps = [env(A = "1", B = "2"), run_as("app"), workdir("/srv"), stop_signal("SIGQUIT")])
image(
    name = "child",
    base = ":base",
    steps = [env({"B": "3"}, C = "4"), default_shell(["/bin/bash"]), shell("x"), cmd(["y"]), label(team = "web"), volume("/data")],
)
"#,
        "//p:child",
        r#"
0 shell on <//p:base#1 A=1 B=3 C=4 user=app workdir=/srv stop=SIGQUIT shell=/bin/bash> inline=["x"] at p/BUILD.star:6:70
1 seal on <//p:child#0 A=1 B=3 C=4 user=app workdir=/srv stop=SIGQUIT shell=/bin/bash cmd=y label:team=web volume:/data> at p/BUILD.star:3:1
2 oci on <//p:child#1 A=1 B=3 C=4 user=app workdir=/srv stop=SIGQUIT shell=/bin/bash cmd=y label:team=web volume:/data> -> child.oci at p/BUILD.star:3:1
DefaultInfo(files=[<child.oci of //p:child#2>])
ImageInfo(layer=<//p:child#1 A=1 B=3 C=4 user=app workdir=/srv stop=SIGQUIT shell=/bin/bash cmd=y label:team=web volume:/data>, unsealed=<//p:child#0 A=1 B=3 C=4 user=app workdir=/srv stop=SIGQUIT shell=/bin/bash cmd=y label:team=web volume:/data>, exports=[struct(kind: "oci", artifact: <child.oci of //p:child#2>)], platform="linux/amd64")
"#,
    );
}

#[test]
fn every_step_passes_its_schema() {
    check(
        r#"
image(
    name = "i",
    source = scratch(),
    exports = [],
    steps = [
        shell(script = "a.sh", args = ["-x"], network = True, cache = False),
        file([":g", "dir"], "/etc/", owner = "app:app"),
        file(content = "hello\n", dest = "/etc/motd"),
        user("app", uid = 1000),
        group("app", gid = 1000),
        symlink("/bin/sh", "/sh"),
        mkdir("/srv", mode = "750"),
        remove("/a", "/b*", missing_ok = True),
        copy_from(":stage", "/out"),
        systemd_unit("a.service", "a.service"),
        systemd_unit("b.timer", state = "masked"),
    ],
)
image(name = "stage", source = rootfs_tar("r.tar"), exports = [])
filegroup(name = "g", srcs = ["x", "y"])
"#,
        "//p:i",
        r#"
0 scratch at p/BUILD.star:4:14
1 shell on <//p:i#0> script=<p/a.sh> args=["-x"] network=true cache=false at p/BUILD.star:7:9
2 file on <//p:i#1> src=[<p/x>, <p/y>, <p/dir>] dest="/etc/" owner="app:app" at p/BUILD.star:8:9
3 file on <//p:i#2> content="hello\n" dest="/etc/motd" at p/BUILD.star:9:9
4 user on <//p:i#3> name="app" uid=1000 at p/BUILD.star:10:9
5 group on <//p:i#4> name="app" gid=1000 at p/BUILD.star:11:9
6 symlink on <//p:i#5> target="/bin/sh" path="/sh" at p/BUILD.star:12:9
7 mkdir on <//p:i#6> path="/srv" mode="0750" at p/BUILD.star:13:9
8 remove on <//p:i#7> paths=["/a", "/b*"] missing_ok=true at p/BUILD.star:14:9
9 copy_from on <//p:i#8> image=<//p:stage#1> src="/out" dest="/out" at p/BUILD.star:15:9
10 systemd_unit on <//p:i#9> name="a.service" src=<p/a.service> at p/BUILD.star:16:9
11 systemd_unit on <//p:i#10> name="b.timer" state="masked" at p/BUILD.star:17:9
12 seal on <//p:i#11> at p/BUILD.star:2:1
DefaultInfo(files=[])
ImageInfo(layer=<//p:i#12>, unsealed=<//p:i#11>, exports=[], platform="linux/amd64")
"#,
    );
}

#[test]
fn sources_keep_what_was_written() {
    for (source, expected) in [
        ("debian()", "0 debian at p/BUILD.star:1:26"),
        (
            "debian(\"sid\", components = [\"main\"], variant = \"essential\")",
            "0 debian suite=\"sid\" components=[\"main\"] variant=\"essential\" at p/BUILD.star:1:26",
        ),
        ("ubuntu(\"noble\", \"vim\")", "0 ubuntu suite=\"noble\" packages=[\"vim\"] at p/BUILD.star:1:26"),
        ("oci_base(\"r.example/a:1\")", "0 oci_base image=\"r.example/a:1\" at p/BUILD.star:1:26"),
        ("oci_base(layout = \"dir\")", "0 oci_base layout=<p/dir> at p/BUILD.star:1:26"),
        ("rootfs_tar(\"a.tar\")", "0 rootfs_tar src=<p/a.tar> at p/BUILD.star:1:26"),
        ("scratch()", "0 scratch at p/BUILD.star:1:26"),
    ] {
        let build = format!("image(name = \"i\", source = {source})\n").replace("source = ", "source=");
        let workspace = Workspace::new(&[("p/BUILD.star", &build)]);
        let analysis = workspace.analyze("//p:i", "linux/amd64").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(dump(&analysis).lines().next(), Some(expected), "{source}");
        let action = &analysis.actions[0];
        let kept = action.source.as_ref().expect("the action of a source has it");
        assert_eq!((&kept.kind, &kept.attributes), (&action.kind, &action.attributes));
    }
}

#[test]
fn several_platforms_are_joined_by_an_index() {
    let build = r#"
image(
    name = "multi",
    source = debian(),
    exports = [oci(ref = "web:1"), sbom(), oci(layers = "squash")],
    platforms = ["linux/amd64", "linux/arm64"],
)
"#;
    let workspace = Workspace::new(&[("p/BUILD.star", build)]);
    let analysis = workspace
        .combine("//p:multi", &["linux/amd64", "linux/arm64"])
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        dump(&analysis),
        "0 index ref=\"web:1\" -> multi.oci join //p:multi#2@linux/amd64 join //p:multi#2@linux/arm64 at p/BUILD.star:2:1\n\
         1 index -> multi-2.oci join //p:multi#4@linux/amd64 join //p:multi#4@linux/arm64 at p/BUILD.star:2:1\n\
         DefaultInfo(files=[<multi.oci of //p:multi#2147483648>, <multi.spdx.json of //p:multi#3>, \
         <multi.spdx.json of //p:multi#3>, <multi-2.oci of //p:multi#2147483649>])\n"
    );
}

#[test]
fn an_image_of_a_machine_exports_its_disk_if_nothing_is_said() {
    let build = r#"
image(name = "m", source = qemu(disk = "d.qcow2"), platforms = ["linux/amd64", "linux/arm64"])
image(name = "child", base = ":m")
image(name = "tree", source = scratch())
"#;
    let workspace = Workspace::new(&[("p/BUILD.star", build)]);
    let analyzed = |label: &str| {
        let analysis = workspace.analyze(label, "linux/amd64");
        dump(&analysis.unwrap_or_else(|error| panic!("{error}")))
    };
    for (label, export) in [
        ("//p:m", "2 disk on <//p:m#1> format=\"qcow2\" -> m.qcow2 at "),
        ("//p:child", "1 disk on <//p:child#0> format=\"qcow2\" -> child.qcow2 at "),
        ("//p:tree", "2 oci on <//p:tree#1> -> tree.oci at "),
    ] {
        let all = analyzed(label);
        assert!(all.lines().any(|line| line.starts_with(export)), "{all}");
    }
    let combined = workspace.combine("//p:m", &["linux/amd64", "linux/arm64"]);
    let combined = dump(&combined.unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(combined, "DefaultInfo(files=[<m.qcow2 of //p:m#2>, <m.qcow2 of //p:m#2>])\n");
}

#[test]
fn a_genrule_runs_in_an_image_or_on_the_host() {
    let build = r#"
image(name = "tools", source = scratch())
genrule(name = "g", image = ":tools", srcs = ["a.c", ":h"], outs = ["a", "b/c"], cmd = "make", env = {"A": "b"}, timeout = "5m")
genrule(name = "h", host = True, outs = ["d"], cmd = "date > $OUT/d", cache = False)
"#;
    check(
        build,
        "//p:g",
        r#"
0 genrule on <//p:tools#1> cmd="make" srcs=[<p/a.c>, <d of //p:h#0>] env={A: "b"} network=false host=false timeout=300 cache=true -> a b/c at p/BUILD.star:3:1
DefaultInfo(files=[<a of //p:g#0>, <b/c of //p:g#0>])
"#,
    );
    check(
        build,
        "//p:h",
        r#"
0 genrule cmd="date > $OUT/d" srcs=[] env={} network=false host=true cache=false -> d at p/BUILD.star:4:1
DefaultInfo(files=[<d of //p:h#0>])
"#,
    );
}

#[test]
fn groups_pass_on_what_they_stand_for() {
    let build = r#"
image(name = "i", source = scratch())
image(name = "j", source = scratch())
alias(name = "a", actual = ":i")
image_set(name = "s", images = [":a", ":j"])
image(name = "child", base = ":a", exports = [])
filegroup(name = "f", srcs = ["x.txt", ":i"])
"#;
    check(
        build,
        "//p:s",
        r"
DefaultInfo(files=[<i.oci of //p:i#2>, <j.oci of //p:j#2>])
ImageSetInfo(images=[//p:a, //p:j])
",
    );
    check(build, "//p:f", "DefaultInfo(files=[<p/x.txt>, <i.oci of //p:i#2>])\n");
    check(
        build,
        "//p:child",
        "0 seal on <//p:i#1> at p/BUILD.star:6:1\n\
         DefaultInfo(files=[])\n\
         ImageInfo(layer=<//p:child#0>, unsealed=<//p:i#1>, exports=[], platform=\"linux/amd64\")\n",
    );
}

#[test]
fn an_image_test_is_one_action_with_all_checks() {
    check(
        r#"
image(name = "i", source = scratch())
image_test(
    name = "t",
    image = ":i",
    command = ["true"],
    checks = [
        file_exists("/x", mode = "644", content_matches = "a"),
        file_absent("/y"),
        user_exists("u", uid = 7),
        unit_enabled("a.service"),
        command_succeeds("id", stdout_matches = "root"),
    ],
    timeout = "1m",
)
"#,
        "//p:t",
        r#"
0 image_test on <//p:i#1> checks=[command_succeeds(command=["true"]), file_exists(path="/x", mode="0644", content_matches="a"), file_absent(path="/y"), user_exists(name="u", uid=7), unit_enabled(name="a.service"), command_succeeds(command=["/bin/sh", "-c", "id"], stdout_matches="root")] timeout=60 -> test.json at p/BUILD.star:3:1
DefaultInfo(files=[<test.json of //p:t#0>])
TestInfo(result=<test.json of //p:t#0>)
"#,
    );
}

#[test]
fn the_test_of_a_boot_starts_a_machine_from_the_images_disk() {
    // One that the image exports, or one that is made.
    check(
        r#"
image(name = "i", source = scratch(), exports = [oci(), disk("vhd"), disk("raw")])
image_test(name = "t", image = ":i", boot = True, console = "up")
"#,
        "//p:t",
        r#"
0 boot console="up" disk=<i.raw of //p:i#4> skip_resize_disk=true memory=1024 efi_boot=true ssh_timeout=600000 at p/BUILD.star:3:1
1 image_test on <//p:t#0> checks=[] -> test.json at p/BUILD.star:3:1
DefaultInfo(files=[<test.json of //p:t#1>])
TestInfo(result=<test.json of //p:t#1>)
"#,
    );
    check(
        r#"
image(name = "i", source = scratch())
image_test(
    name = "t",
    image = ":i",
    boot = True,
    machine = qemu(memory = 2048, seed = "nocloud", disk_size = "8G"),
    boot_timeout = "90s",
    checks = [port_listening(22)],
    reports = True,
)
"#,
        "//p:t",
        r#"
0 disk on <//p:i#1> format="qcow2" -> disk.qcow2 at p/BUILD.star:3:1
1 boot disk=<disk.qcow2 of //p:t#0> seed="nocloud" disk_size="8G" memory=2048 efi_boot=true ssh_timeout=90000 at p/BUILD.star:3:1
2 image_test on <//p:t#1> checks=[port_listening(port=22)] -> results at p/BUILD.star:3:1
DefaultInfo(files=[<results of //p:t#2>])
TestInfo(result=<results of //p:t#2>)
"#,
    );
    // What the machine of an image was is what it is again, but for how its disk was made.
    check(
        r#"
image(
    name = "i",
    source = qemu(disk = "d.qcow2", checksum = "md5:1", memory = 512, ssh_username = "me", ssh_timeout = "7m", disk_size = "4G", shutdown_command = "halt"),
    exports = [],
)
image(name = "child", base = ":i", exports = [disk("qcow2")])
image_test(name = "t", image = ":child", boot = True, machine = qemu(memory = 1024), checks = [unit_active("a.service")])
"#,
        "//p:t",
        r#"
0 boot disk=<child.qcow2 of //p:child#1> skip_resize_disk=true memory=1024 ssh_username="me" ssh_timeout=420000 at p/BUILD.star:8:1
1 image_test on <//p:t#0> checks=[unit_active(name="a.service")] -> test.json at p/BUILD.star:8:1
DefaultInfo(files=[<test.json of //p:t#1>])
TestInfo(result=<test.json of //p:t#1>)
"#,
    );
}

#[test]
fn a_condition_gives_its_values() {
    check(
        "config_setting(name = \"c\", values = {\"arch\": \"arm64\"})\n",
        "//p:c",
        "DefaultInfo(files=[])\nConfigSettingInfo(values={arch: \"arm64\"})\n",
    );
}

#[test]
fn what_the_rules_themselves_refuse_is_said_at_the_target() {
    for (build, message) in [
        ("image(name = \"x\")\n", "an `image` has either a `source` or a `base`"),
        (
            "image(name = \"x\", source = scratch(), base = \":b\")\nimage(name = \"b\", source = scratch())\n",
            "an `image` has either a `source` or a `base`",
        ),
        (
            "genrule(name = \"x\", cmd = \"c\", outs = [\"o\"])\n",
            "a `genrule` needs the `image` that it runs in",
        ),
        (
            "genrule(name = \"x\", cmd = \"c\", outs = [], host = True)\n",
            "a `genrule` needs the names of its outputs in `outs`",
        ),
        (
            "genrule(name = \"x\", cmd = \"c\", outs = [\"o\"], host = True, image = \":b\")\nimage(name = \"b\", source = scratch())\n",
            "a `genrule` runs either in an `image` or, with `host = True`, on the host",
        ),
        (
            "image_test(name = \"x\", image = \":b\")\nimage(name = \"b\", source = scratch())\n",
            "`image_test` takes `command`, `checks` or both",
        ),
        (
            "image_test(name = \"x\", image = \":b\", console = \"up\", command = [\"true\"])\nimage(name = \"b\", source = scratch())\n",
            "`console` is of a machine that is started: say `boot = True`",
        ),
        (
            "image_test(name = \"x\", image = \":b\", boot = True, command = [\"true\"])\nimage(name = \"b\", source = scratch())\n",
            "the checks look into a machine that nobody is named to log in to: say `machine = qemu(seed = \"nocloud\")`, or who logs in",
        ),
        (
            "image_test(name = \"x\", image = \":b\", boot = True, machine = scratch())\nimage(name = \"b\", source = scratch())\n",
            "`machine` is a `qemu(...)`, not a `scratch(...)`",
        ),
        (
            "image_test(name = \"x\", image = \":b\", boot = True, machine = qemu(installer = True))\nimage(name = \"b\", source = scratch())\n",
            "`machine` says `installer`, and the machine starts from the image's disk: take `installer` out",
        ),
        (
            "image_test(name = \"x\", image = \":b\", boot = True)\nimage(name = \"b\", source = native.source(\"host\"))\n",
            "the image's machine is there already, and has no disk that could be booted: take `boot` out",
        ),
    ] {
        let workspace = Workspace::new(&[("BUILD.star", build)]);
        let error = workspace.analyze("//:x", "linux/amd64").unwrap_err();
        let diagnostic = &error.0[0];
        assert_eq!(diagnostic.message, message);
        assert_eq!(diagnostic.location.as_ref().unwrap().to_string(), "BUILD.star:1:1");
        assert!(diagnostic.notes[0].location.as_ref().unwrap().file.starts_with("@prelude//"));
    }
}
