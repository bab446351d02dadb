//! Steps that only a machine can carry out, on one: it is started anew, is provisioned by Ansible in a second try, and is checked while
//! its service runs.

use crate::provisioners::ansible;
use crate::support::ran;
use crate::virtual_machines;

/// What stands in the example's package besides.
const BUILD: &str = r#"
image(
    name = "machine",
    source = qemu(
        ssh_timeout = "15m",
        disk = ":base",
        efi_boot = True,
        memory = 1024,
        cpus = 2,
        machine_type = "q35",
        seed = "nocloud",
    ),
    steps = [
        shell([
            "systemd-run --quiet --unit=before.service sleep infinity",
            "systemctl is-active before.service",
            "cp /proc/sys/kernel/random/boot_id /root/before",
        ]),
        reboot(timeout = "20m", check_command = "test -e /root/before"),
        shell([
            "! cmp /proc/sys/kernel/random/boot_id /root/before",
            "! systemctl --quiet is-active before.service",
            "cp /proc/sys/kernel/random/boot_id /root/after",
        ]),
        ansible("steps/play/site.yml", groups = ["web"], max_retries = 1),
        goss_validate(["steps/goss.yaml"], vars = {"port": "8080"}, retry_timeout = "10m", dest = "results/goss.xml"),
        shell(["test \"$(cat /root/trace)\" = once", "test ! -e /root/failed", "cmp /proc/sys/kernel/random/boot_id /root/after || echo later"]),
    ],
    exports = [disk("qcow2")],
    platforms = ["linux/amd64"],
)
"#;

const PACKAGE: &str = "examples/qemu-debian";
const MACHINE: &str = "//examples/qemu-debian:machine";

/// A service, by a role with a template and a handler; of what fails first, nothing may be left.
const TASKS: &str = "
- ansible.builtin.template: {src: site.service.j2, dest: /etc/systemd/system/site.service}
  notify: start
- ansible.builtin.shell: echo once >> /root/trace
- ansible.builtin.meta: flush_handlers
";
const FAILS: &str = "- ansible.builtin.shell: touch /root/failed && exit 9\n";
const HANDLERS: &str = "- name: start\n  ansible.builtin.systemd_service: {name: site.service, state: restarted, enabled: true, daemon_reload: true}\n";
const SERVICE: &str = "[Service]\nExecStart=/usr/bin/python3 -m http.server --directory /srv {{ port }}\n[Install]\nWantedBy=multi-user.target\n";
const PLAYBOOK: &str = "- hosts: web\n  gather_facts: false\n  vars: {port: 8080}\n  roles: [site]\n";
const GOSS: &str = "
service: {site: {running: true}, before: {running: false}}
port: {'tcp:{{ .Vars.port }}': {listening: true}}
process: {python3: {running: true}}
file: {/root/trace: {exists: true, contents: [once]}}
";

/// The kinds of the steps that have run on the machine. Where it begins is that of the example, so that it may be there already.
fn steps(run: &[String]) -> Vec<&str> {
    let of_machines = ["shell", "reboot", "ansible", "goss_validate"];
    run.iter().filter_map(|step| step.split(' ').next()).filter(|kind| of_machines.contains(kind)).collect()
}

#[test]
fn a_machine_is_started_anew_provisioned_again_and_checked_as_it_runs() {
    let Some(examples) = virtual_machines::examples() else { return };
    if ansible().is_none() {
        return;
    }
    let write = |path: &str, text: &str| {
        let path = examples.path(PACKAGE).join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    };
    let own = fs_err::read_to_string(examples.path(PACKAGE).join("BUILD.star")).unwrap();
    write("BUILD.star", &format!("{own}{BUILD}"));
    write("steps/goss.yaml", GOSS);
    write("steps/play/site.yml", PLAYBOOK);
    write("steps/play/roles/site/tasks/main.yml", &format!("{TASKS}{FAILS}"));
    write("steps/play/roles/site/handlers/main.yml", HANDLERS);
    write("steps/play/roles/site/templates/site.service.j2", SERVICE);

    // Each try of the playbook begins where the first did.
    let said = examples.fails(1, "", &["--json", "build", MACHINE]);
    assert_eq!(steps(&ran(&said)), ["shell", "reboot", "shell"], "{said:#?}");
    let log = examples.ok("", &["log", MACHINE]).stdout;
    for part in ["Restarting the machine...", "The machine is back"] {
        assert!(log.contains(part), "`{part}` is not in:\n{log}");
    }

    // Mended, it goes on from the machine as it was before the playbook.
    write("steps/play/roles/site/tasks/main.yml", TASKS);
    write("BUILD.star", &format!("{own}{}", BUILD.replace("retry_timeout = \"10m\", ", "")));
    write("steps/goss.yaml", &GOSS.replace("before: {running: false}", "before: {running: true}"));
    let said = examples.fails(1, "", &["--json", "build", MACHINE]);
    assert_eq!(steps(&ran(&said)), ["ansible"], "{said:#?}");
    assert!(said.stdout.contains("checks failed"), "{said:#?}");
    let junit = fs_err::read_to_string(examples.path("results/goss.xml")).unwrap();
    let (_, case) = junit.split_once("name=\"Service before running\"").unwrap();
    assert!(case.split("<testcase").next().unwrap().contains("<failure"), "{junit}");

    // What the playbook has started runs, also where the machine had to be started for this.
    write("BUILD.star", &format!("{own}{BUILD}"));
    write("steps/goss.yaml", GOSS);
    let said = examples.ok("", &["--json", "build", MACHINE]);
    assert_eq!(steps(&ran(&said)), ["goss_validate", "shell"], "{said:#?}");
    let junit = fs_err::read_to_string(examples.path("results/goss.xml")).unwrap();
    assert!(junit.contains("failures=\"0\" errors=\"0\" skipped=\"0\""), "{junit}");
}
