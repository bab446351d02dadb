//! Provisioners of configuration management on a machine that is reached over SSH, with the real programs: this host is the
//! machine. `.ci/servers` installs Ansible and Salt, `tests/run` Puppet; what is not there is said.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::machines::Server;
use crate::support::{Workspace, files, has, has_not};

/// A program of `.ci/servers`, by the variable that names it or where that puts it; else the reason why not is printed.
pub fn tool(variable: &str, below: &str) -> Option<PathBuf> {
    let given = std::env::var_os(variable).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let path = given.unwrap_or_else(|| cache.join("imgbuild-ci/servers").join(below));
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: there is no {}; `.ci/servers` installs it", path.display());
    None
}

/// Ansible's program; else the reason why not is printed.
pub fn ansible() -> Option<String> {
    tool("IMGBUILD_TEST_ANSIBLE", "ansible/bin/ansible-playbook").map(|path| path.display().to_string())
}

/// The environment in which Ansible leaves nothing of its own on this host.
fn quiet(server: &Server) -> String {
    let home = server.path("ansible");
    format!(
        "ansible_env_vars = [\"ANSIBLE_NOCOWS=1\", \"ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3\", \"ANSIBLE_HOME={home}\", \"ANSIBLE_REMOTE_TMP={home}/remote\"]"
    )
}

#[test]
fn a_playbook_is_run_from_the_host() {
    let Some(command) = ansible() else { return };
    let galaxy = command.replace("ansible-playbook", "ansible-galaxy");
    let Some(server) = Server::start() else { return };
    let quiet = quiet(&server);
    let place = server.path("place");
    fs_err::create_dir(&place).unwrap();
    let build = format!(
        r#"
  provisioner "ansible" {{
    command         = "{command}"
    playbook_file   = "ansible/site.yml"
    host_alias      = "box"
    groups          = ["web"]
    empty_groups    = ["db"]
    inventory_directory = "inventory"
    extra_arguments = ["--diff", "-e", "given=more"]
    galaxy_file     = "requirements.yml"
    galaxy_command  = "{galaxy}"
    {quiet}
  }}
  provisioner "shell" {{ inline = ["cat {place}/said"] }}
"#
    );
    let playbook = format!(
        r#"
- hosts: web
  gather_facts: false
  roles: [told]
  tasks:
    - ansible.builtin.copy:
        dest: {place}/said
        content: "{{{{ inventory_hostname }}}} {{{{ packer_build_name }}}} {{{{ packer_builder_type }}}} {{{{ of_group }}}} {{{{ of_host }}}} {{{{ given }}}} {{{{ groups.db | length }}}}\n"
- import_playbook: second.yml
"#
    );
    let second = "- hosts: box\n  gather_facts: false\n  tasks:\n    - ansible.builtin.raw: echo second $((40 + 2))\n      register: second\n    - ansible.builtin.debug: {var: second.stdout}\n";
    let workspace = server.workspace(
        "user",
        "",
        &build,
        &[
            ("ansible/site.yml", playbook.as_str()),
            ("ansible/second.yml", second),
            ("ansible/roles/told/tasks/main.yml", "- ansible.builtin.debug: {msg: the role was found}\n"),
            ("inventory/group_vars/web.yml", "of_group: group\n"),
            ("inventory/host_vars/box.yml", "of_host: host\n"),
            ("requirements.yml", "roles: []\n"),
        ],
    );
    workspace.ok(&["validate", "t.pkr.hcl"]);
    let said = workspace.ok(&["build", "t.pkr.hcl"]);
    has(
        &said,
        &[
            "==> null.web: Provisioning with ansible: site.yml",
            "the role was found",
            "second 42",
            "failed=0",
            "==> null.web: box web null group host more 0",
        ],
    );
    // Neither keys nor inventories are left, nor a connection.
    let config =
        |line: &str| line.contains("ssh_config") && line.contains(&*workspace.root().to_string_lossy());
    let running = Command::new("ps").args(["axww", "-o", "args"]).output().unwrap();
    let running = String::from_utf8_lossy(&running.stdout).into_owned();
    assert!(!running.lines().any(config), "{running}");
    assert!(!workspace.has("inventory/hosts"));

    // What is wrong with a playbook is the step's failure.
    workspace.write(
        "ansible/second.yml",
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.raw: exit 4\n",
    );
    let said = workspace.fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["`ansible site.yml` ended with exit code 2", "failed=1"]);
}

#[test]
fn ansible_has_the_settings_that_keys_have() {
    let Some(command) = ansible() else { return };
    let Some(server) = Server::start() else { return };
    let quiet = quiet(&server);
    let build = format!(
        "  provisioner \"ansible\" {{\n    command = \"{command}\"\n    playbook_file = \"a/site.yml\"\n    {quiet}\n  }}"
    );
    let build = build.replace(&command, "tools/ansible-playbook");
    let playbook = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug: {msg: \"forks: {{ lookup('config', 'DEFAULT_FORKS') }}\"}\n";
    let workspace = server.workspace(
        "user",
        "",
        &build,
        &[("a/site.yml", playbook), ("../.ansible.cfg", "[defaults]\nforks = 66\n")],
    );
    // A path is one from where the build runs, wherever the playbook lies.
    fs_err::create_dir(workspace.root().join("tools")).unwrap();
    fs_err::os::unix::fs::symlink(&command, workspace.root().join("tools/ansible-playbook")).unwrap();
    let run = || {
        let output = workspace.command(&["build", "t.pkr.hcl"]).env("ANSIBLE_FORKS", "77").output().unwrap();
        let said = crate::support::said(&output);
        assert_eq!(said.code, Some(0), "{said:#?}");
        said
    };
    has(&run(), &["forks: 5\""]);
    workspace.write("ansible.cfg", "[defaults]\nforks = 44\n");
    has(&run(), &["forks: 44\""]);
}

#[test]
fn ansible_is_held_to_the_host_key_that_the_build_believes() {
    let Some(command) = ansible() else { return };
    let Some(server) = Server::start() else { return };
    let quiet = quiet(&server);
    // Whoever answers the second time is somebody else.
    let build = format!(
        r#"
  provisioner "shell-local" {{ inline = ["cp other-key {host}", "kill -HUP {pid}", "sleep 1"] }}
  provisioner "ansible" {{
    command       = "{command}"
    playbook_file = "a/site.yml"
    {quiet}
  }}
"#,
        host = server.path("host"),
        pid = server.pid()
    );
    let playbook = "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.raw: 'true'}]\n";
    let workspace = server.workspace("user", "", &build, &[("a/site.yml", playbook)]);
    fs_err::copy(server.path("stranger"), workspace.root().join("other-key")).unwrap();
    let said = workspace.fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["UNREACHABLE", "Host key verification failed"]);
}

#[test]
fn ansible_goes_through_the_bastion_of_the_build() {
    let Some(command) = ansible() else { return };
    let (Some(server), Some(bastion)) = (Server::start(), Server::start()) else { return };
    let quiet = quiet(&server);
    let build = format!(
        r#"
  provisioner "ansible" {{
    command       = "{command}"
    playbook_file = "a/site.yml"
    {quiet}
  }}
"#
    );
    let playbook = "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.raw: 'echo from $SSH_CONNECTION', register: said}, {ansible.builtin.debug: {var: said.stdout}}]\n";
    let more = format!(
        "  ssh_bastion_host = \"127.0.0.1\"\n  ssh_bastion_port = {}\n  ssh_bastion_username = \"root\"\n  ssh_bastion_private_key_file = \"{}\"",
        bastion.port(),
        bastion.path("user")
    );
    let workspace = server.workspace("user", &more, &build, &[("a/site.yml", playbook)]);
    // Who is not let through the bastion does not get there: it is no detour that is passed over.
    has(&workspace.ok(&["build", "t.pkr.hcl"]), &["from 127.0.0.1", "failed=0"]);
    let stop =
        format!("  provisioner \"shell-local\" {{ inline = [\"kill {}\", \"sleep 1\"] }}\n", bastion.pid());
    let workspace = server.workspace("user", &more, &format!("{stop}{build}"), &[("a/site.yml", playbook)]);
    has(&workspace.fails(1, &["build", "t.pkr.hcl"]), &["UNREACHABLE"]);
}

#[test]
fn a_sensitive_text_is_not_shown_by_ansible_and_cancelling_ends_it() {
    let Some(command) = ansible() else { return };
    let Some(server) = Server::start() else { return };
    let home = server.path("ansible");
    let name = format!("waits-{}", std::process::id());
    let build = format!(
        r#"
  provisioner "ansible" {{
    command          = "{command}"
    playbook_file    = "a/{name}.yml"
    ansible_env_vars = ["TOKEN=${{var.token}}", "ANSIBLE_HOME={home}"]
  }}
"#
    );
    let mark = server.path("waits");
    let playbook = format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug: {{msg: \"got {{{{ lookup('env', 'TOKEN') }}}}\"}}\n    - ansible.builtin.raw: touch {mark}; sleep 600\n"
    );
    let workspace = server.workspace("user", "", &build, &[(&format!("a/{name}.yml"), playbook.as_str())]);
    let template = workspace.read("t.pkr.hcl");
    let variable = "variable \"token\" {\n  default = \"s3cr3t-t0ken\"\n  sensitive = true\n}\n";
    workspace.write("t.pkr.hcl", &format!("{variable}{template}"));
    let child = workspace
        .command(&["build", "t.pkr.hcl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !Path::new(&mark).exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the playbook does not begin");
        std::thread::sleep(Duration::from_millis(100));
    }
    let interrupted = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let said = crate::support::said(&child.wait_with_output().unwrap());
    assert_ne!(said.code, Some(0));
    assert!(interrupted.elapsed() < Duration::from_secs(20), "{said:?}");
    has(&said, &["got <sensitive>"]);
    has_not(&said, &["s3cr3t-t0ken"]);
    let running = Command::new("pgrep").args(["-f", &name]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&running.stdout), "");
}

/// A rule that tests a machine which is there already.
const LOOKS_AT: &str = r#"
def _looks_at(ctx):
    machine = native.source("host", ssh_host = "127.0.0.1", ssh_port = ctx.attrs.port, ssh_username = "root", ssh_private_key_file = ctx.attrs.key)
    result = ctx.actions.test(ctx.actions.source(machine), native.step("image_test", checks = ctx.attrs.checks))
    return [DefaultInfo(files = [result]), TestInfo(result = result)]

looks_at = rule(
    implementation = _looks_at,
    attrs = {"port": attrs.int(), "key": attrs.string(), "checks": attrs.steps(of = "check")},
)
"#;

#[test]
fn testinfra_clears_up_when_the_run_is_cancelled() {
    let Some(command) = tool("IMGBUILD_TEST_TESTINFRA", "testinfra/bin/pytest") else { return };
    let Some(server) = Server::start() else { return };
    let (waits, cleared) = (server.path("waits"), server.path("cleared"));
    let workspace = Workspace::with(&format!(
        "load(\":looks.star\", \"looks_at\")\nlooks_at(name = \"t\", port = {}, key = \"{}\", \
         checks = [testinfra(\"test_it.py\", command = \"{}\")])\n",
        server.port(),
        server.path("user"),
        command.display()
    ));
    workspace.write("looks.star", LOOKS_AT);
    let test = format!(
        "import pathlib, pytest\n\n@pytest.fixture\ndef place():\n    yield\n    pathlib.Path(\"{cleared}\").touch()\n\n\
         def test_it(host, place):\n    host.run(\"touch {waits}; sleep 600\")\n"
    );
    workspace.write("test_it.py", &test);
    let mut program = workspace.command(&["test", "//:t"]);
    let child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while !Path::new(&waits).exists() {
        assert!(began.elapsed() < Duration::from_secs(300), "the test does not begin");
        std::thread::sleep(Duration::from_millis(100));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let said = crate::support::said(&child.wait_with_output().unwrap());
    assert_ne!(said.code, Some(0), "{said:#?}");
    assert!(Path::new(&cleared).exists(), "{said:#?}");
}

#[test]
fn what_keeps_ansible_from_running_is_said() {
    let Some(server) = Server::start() else { return };
    let build = |more: &str| {
        format!("  provisioner \"ansible\" {{\n    playbook_file = \"a/site.yml\"\n{more}\n  }}")
    };
    let workspace = |more: &str, source: &str| {
        server.workspace("user", source, &build(more), &[("a/site.yml", "- hosts: all\n")])
    };
    let said = workspace("    command = \"/no/ansible-playbook\"", "").fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["`/no/ansible-playbook` cannot be started", "pip install ansible-core"]);
    let proxy = workspace("    use_proxy = true\n    user = \"me\"", "");
    let said = proxy.ok(&["validate", "t.pkr.hcl"]);
    has(
        &said,
        &[
            "`use_proxy = true` does nothing here",
            "Ansible logs in as `root`, as the build does, and not as `me`",
        ],
    );
    let said = workspace("    extra_arguments = [\"{{ .Host }}\"]", "").fails(1, &["validate", "t.pkr.hcl"]);
    has(
        &said,
        &["`extra_arguments` asks for what only a running build of Packer knows", "on t.pkr.hcl line"],
    );
    let tree = files(&[
        (
            "t.pkr.hcl",
            "source \"rootfs\" \"x\" {}\nbuild {\n  sources = [\"rootfs.x\"]\n  provisioner \"ansible\" {\n    playbook_file = \"site.yml\"\n  }\n}\n",
        ),
        ("site.yml", ""),
    ]);
    let said = tree.fails(1, &["validate", "t.pkr.hcl"]);
    has(&said, &["`ansible` needs a machine that is reached over SSH", "`ansible-local` runs a playbook"]);
}

#[test]
fn a_workspace_says_which_steps_need_a_machine() {
    let workspace = Workspace::with(
        "image(name = \"a\", source = scratch(), steps = [reboot()], exports = [tarball()])\n\
         image(name = \"b\", source = scratch(), steps = [ansible(\"a/site.yml\")], exports = [tarball()])\n",
    );
    workspace.write("a/site.yml", "");
    let said = workspace.fails(1, &["plan", "//:a"]);
    let says = |said: &str, text: &str| assert!(said.contains(text), "{said}");
    says(&said.stderr, "`reboot` needs a machine that runs, and this image is a tree");
    says(&said.stderr, "--> BUILD.star:1:48");
    let said = workspace.fails(1, &["plan", "//:b"]);
    says(&said.stderr, "`ansible` needs a machine that runs");
    says(&said.stderr, "`ansible_local` runs a playbook in the image itself");
}

#[test]
fn an_image_that_is_made_in_a_machine_exports_its_disk() {
    let source = "source = qemu(disk = \"d.qcow2\", ssh_username = \"root\")";
    let workspace = Workspace::with(&format!(
        "image(name = \"a\", {source})\nimage(name = \"b\", base = \":a\")\n\
         image(name = \"c\", {source}, exports = [oci()])\n"
    ));
    workspace.write("d.qcow2", "");
    for target in ["//:a", "//:b"] {
        let said = workspace.ok(&["plan", target]);
        assert!(said.stdout.contains("run  disk ") && !said.stdout.contains("oci"), "{said:#?}");
    }
    // It is refused before a machine is started.
    let said = workspace.fails(1, &["build", "//:c"]).stderr;
    for part in [
        "`oci` is made from a tree, and this image is made in a machine, which has disks",
        "--> BUILD.star:3:",
        "export it as `disk(...)`; without `exports` it is `disk(\"qcow2\")`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn playbooks_are_run_on_the_machine() {
    let Some(program) = ansible() else { return };
    let Some(server) = Server::start() else { return };
    let home = server.path("ansible");
    let (place, stage) = (server.path("place"), server.path("stage"));
    fs_err::create_dir(&place).unwrap();
    let build = |more: &str| {
        format!(
            r#"
  provisioner "ansible-local" {{
    command          = "ANSIBLE_NOCOWS=1 ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3 ANSIBLE_HOME={home} {program}"
    playbook_files   = ["play/site.yml", "other.yml"]
    playbook_dir     = "play"
    role_paths       = ["shared/told"]
    group_vars       = "group_vars"
    inventory_groups = ["web"]
    extra_arguments  = ["--extra-vars", "'given=it has'", "-e", "more=words"]
{more}
  }}
  provisioner "shell" {{ inline = ["cat {place}/said", "ls {stage} 2>/dev/null || echo nothing staged"] }}
"#
        )
    };
    let playbook = format!(
        "- hosts: web\n  gather_facts: false\n  roles: [told]\n  tasks:\n    - ansible.builtin.copy:\n        dest: {place}/said\n        content: \"{{{{ lookup('file', 'word') }}}} {{{{ of_group }}}} {{{{ given }}}} {{{{ more }}}} {{{{ packer_build_name }}}}\\n\"\n"
    );
    let others: &[(&str, &str)] = &[
        ("play/site.yml", &playbook),
        ("play/files/word", "word"),
        (
            "other.yml",
            "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: the other}}]\n",
        ),
        ("shared/told/tasks/main.yml", "- ansible.builtin.debug: {msg: the role was found}\n"),
        ("group_vars/web.yml", "of_group: group\n"),
    ];
    let said = server.workspace("user", "", &build(""), others).ok(&["build", "t.pkr.hcl"]);
    let all = [
        "==> null.web: Provisioning with ansible-local: ",
        "the role was found",
        "the other",
        "==> null.web: word group it words web",
        "nothing staged",
    ];
    has(&said, &all);
    let staged = format!("    staging_directory = \"{stage}\"");
    let said = server.workspace("user", "", &build(&staged), others).ok(&["build", "t.pkr.hcl"]);
    has(&said, &["==> null.web: site.yml", "==> null.web: group_vars"]);
    fs_err::remove_dir_all(&stage).unwrap();
    let cleaned = format!("{staged}\n    clean_staging_directory = true");
    let said = server.workspace("user", "", &build(&cleaned), others).ok(&["build", "t.pkr.hcl"]);
    has(&said, &["nothing staged"]);
    let missing = build("").replace(&program, "/no/ansible-playbook");
    let said = server.workspace("user", "", &missing, others).fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["there is no `/no/ansible-playbook` on the machine", "install it in a step before"]);
    let same = build("").replace("\"other.yml\"", "\"other/site.yml\"");
    let others = [others, &[("other/site.yml", "- hosts: all\n")]].concat();
    let said = server.workspace("user", "", &same, &others).fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["another file that `ansible_local` is given is called `site.yml`"]);
}

#[test]
fn manifests_of_puppet_are_applied() {
    if !Path::new("/usr/bin/puppet").exists() {
        eprintln!("SKIPPED: there is no /usr/bin/puppet; `tests/run` installs it");
        return;
    }
    let Some(server) = Server::start() else { return };
    let place = server.path("place");
    fs_err::create_dir(&place).unwrap();
    let build = |manifest: &str, more: &str| {
        format!(
            r#"
  provisioner "puppet-masterless" {{
    manifest_file = "{manifest}"
    module_paths  = ["modules"]
    facter        = {{ word = "it's two" }}
{more}
  }}
  provisioner "shell" {{ inline = ["cat {place}/said"] }}
"#
        )
    };
    let manifest = format!(
        "include told\nfile {{ '{place}/said': content => \"${{facts['word']}} ${{facts['packer_build_name']}} ${{told::word}}\\n\" }}\n"
    );
    let others: &[(&str, &str)] = &[
        ("site.pp", &manifest),
        ("wrong.pp", "exec { '/bin/false': }\n"),
        ("modules/told/manifests/init.pp", "class told { $word = 'module' }\n"),
    ];
    // The first time something is changed, which is exit code 2; the second time nothing, which is 0.
    for _ in 0..2 {
        let said = server.workspace("user", "", &build("site.pp", ""), others).ok(&["build", "t.pkr.hcl"]);
        has(
            &said,
            &[
                "==> null.web: Provisioning with puppet-masterless: site.pp",
                "==> null.web: it's two web module",
            ],
        );
    }
    let said = server.workspace("user", "", &build("wrong.pp", ""), others).fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["`puppet_masterless wrong.pp` ended with exit code 4"]);
    server
        .workspace("user", "", &build("wrong.pp", "    ignore_exit_codes = true"), others)
        .ok(&["build", "t.pkr.hcl"]);
    let own = "    execute_command = \"cd {{.WorkingDir}} && {{.FacterVars}} puppet apply --noop --modulepath='{{.ModulePath}}' {{.ManifestFile}} && echo by its own line\"";
    fs_err::remove_file(format!("{place}/said")).unwrap();
    let said = server.workspace("user", "", &build("site.pp", own), others).fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["==> null.web: by its own line", "said: No such file"]);
}

#[test]
fn states_of_salt_are_applied() {
    let Some(salt) = tool("IMGBUILD_TEST_SALT", "salt/bin/salt-call") else { return };
    let Some(server) = Server::start() else { return };
    let place = server.path("place");
    fs_err::create_dir(&place).unwrap();
    let quiet = format!("--config-dir={place}/etc --cachedir={place}/cache --log-file={place}/log");
    let build = |state: &str, more: &str| {
        format!(
            r#"
  provisioner "salt-masterless" {{
    local_state_tree    = "states"
    local_pillar_roots  = "pillar"
    remote_state_tree   = "{place}/srv/states"
    remote_pillar_roots = "{place}/srv/pillar/"
    salt_bin_dir        = "{bin}"
    salt_call_args      = "{quiet} --id=it"
    log_level           = "warning"
    {state}
{more}
  }}
  provisioner "shell" {{ inline = ["cat {place}/said"] }}
"#,
            bin = salt.parent().unwrap().display()
        )
    };
    let told = format!("{place}/said:\n  file.managed:\n    - contents: {{{{ pillar['word'] }}}}\n");
    let others: &[(&str, &str)] = &[
        ("states/top.sls", "base:\n  '*':\n    - told\n"),
        ("states/told.sls", &told),
        ("states/wrong.sls", "/bin/false:\n  cmd.run\n"),
        ("pillar/top.sls", "base:\n  '*':\n    - words\n"),
        ("pillar/words.sls", "word: from the pillar\n"),
    ];
    // Salt is there, so nothing is fetched.
    let said = server.workspace("user", "", &build("", ""), others).ok(&["build", "t.pkr.hcl"]);
    has(&said, &["==> null.web: Provisioning with salt-masterless: states", "==> null.web: from the pillar"]);
    assert!(Path::new(&format!("{place}/srv/states/told.sls")).exists());
    let wrong = build("custom_state = \"wrong\"", "    skip_bootstrap = true");
    let said = server.workspace("user", "", &wrong, others).fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["`salt_masterless states` ended with exit code 2"]);
    let let_pass =
        build("custom_state = \"wrong\"", "    skip_bootstrap = true\n    no_exit_on_failure = true");
    server.workspace("user", "", &let_pass, others).ok(&["build", "t.pkr.hcl"]);
}

#[test]
fn formulas_of_salt_are_refused() {
    let Some(server) = Server::start() else { return };
    let workspace = |formulas: &str| {
        let settings = format!("    local_state_tree = \"states\"\n    formulas = {formulas}\n");
        let build = format!("  provisioner \"salt-masterless\" {{\n{settings}  }}");
        server.workspace("user", "", &build, &[("states/top.sls", "")])
    };
    let said = workspace("[\"git::https://x\"]").fails(1, &["validate", "t.pkr.hcl"]);
    has(&said, &["`formulas` are not fetched here", "local_state_tree"]);
    workspace("[]").ok(&["validate", "t.pkr.hcl"]);
}

#[test]
fn a_breakpoint_opens_a_shell_on_the_machine() {
    if !Path::new("/usr/bin/script").exists() {
        eprintln!("SKIPPED: there is no /usr/bin/script, which makes terminals");
        return;
    }
    let Some(server) = Server::start() else { return };
    let build = "  provisioner \"breakpoint\" { note = \"look\" }\n  provisioner \"shell\" { inline = [\"echo went on\"] }";
    let workspace = server.workspace("user", "", build, &[]);
    let program = workspace.command(&["build", "t.pkr.hcl"]);
    let line = format!("{} build t.pkr.hcl", program.get_program().to_string_lossy());
    let mut command = Command::new("/usr/bin/script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(workspace.root());
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = out.read(&mut part) {
            if sender.send(String::from_utf8_lossy(&part[..count]).into_owned()).is_err() {
                break;
            }
        }
    });
    let mut all = String::new();
    let mut seen = 0;
    let mut wait_for = |text: &str| {
        let began = Instant::now();
        while !all[seen..].contains(text) {
            assert!(began.elapsed() < Duration::from_secs(30), "no `{text}` in {all}");
            if let Ok(part) = said.recv_timeout(Duration::from_millis(200)) {
                all.push_str(&part);
            }
        }
        seen += all[seen..].find(text).unwrap() + text.len();
    };
    wait_for("look: press enter to go on, `shell` for a shell on the machine");
    keys.write_all(b"shell\n").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    keys.write_all(b"tty && echo in-$((40+2))-$SSH_CONNECTION\r").unwrap();
    wait_for("/dev/pts/");
    wait_for("in-42-127.0.0.1");
    keys.write_all(b"exit 3\r").unwrap();
    wait_for("look: press enter");
    keys.write_all(b"\n").unwrap();
    wait_for("went on");
    assert!(child.wait().unwrap().success());
}

#[test]
fn in_a_tree_programs_see_what_they_need_and_nothing_of_it_stays() {
    // What is called is a script that tells what it sees; the layers and keys are real.
    let build = r##"
image(
    name = "web",
    base = ":base",
    steps = [
        file("tell", "/bin/ansible-playbook", mode = "0755"),
        file("tell", "/bin/puppet", mode = "0755"),
        ansible_local(
            "play/site.yml",
            playbook_dir = "play",
            role_paths = ["roles/told"],
            command = "ansible-playbook",
            extra_vars = {"release": "it's 1"},
        ),
        puppet_masterless("site.pp", facter = {"role": "it's web"}, module_paths = ["modules"]),
    ],
    exports = [directory()],
)
"##;
    let workspace = Workspace::with(&format!("{}{build}", crate::support::BUSYBOX));
    if crate::support::busybox(&workspace).is_none() {
        return;
    }
    // Puppet says 2 where it changed something.
    let tell = "#!/bin/sh\n{ echo \"$0 $FACTER_role $*\"; busybox find . -type f | busybox sort; cat *.json; } >> /told 2>/dev/null\ncase $0 in *puppet) exit 2;; esac\n";
    for (path, text) in [
        ("tell", tell),
        ("play/site.yml", "one"),
        ("roles/told/tasks/main.yml", "two"),
        ("site.pp", ""),
        ("modules/told/manifests/init.pp", ""),
    ] {
        workspace.write(path, text);
    }
    workspace.ok(&["//:web"]);
    let told = workspace.read("imgbuild-out/web/web.rootfs/told");
    for line in [
        "/bin/ansible-playbook  /run/imgbuild/site.yml --extra-vars @/run/imgbuild/imgbuild-variables.json -c local -i /run/imgbuild/imgbuild-inventory\n",
        "./roles/told/tasks/main.yml\n./site.yml\n",
        "{\"release\":\"it's 1\"}",
        "/bin/puppet it's web apply --detailed-exitcodes --modulepath=/run/imgbuild/module-0 /run/imgbuild/manifests/site.pp\n",
        "./module-0/told/manifests/init.pp\n",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!workspace.has("imgbuild-out/web/web.rootfs/run/imgbuild"), "nothing of it stays");
    let plan = workspace.ok(&["plan", "//:web"]).stdout;
    assert!(!plan.contains("run  "), "{plan}");
    // Each file below a folder is an input.
    workspace.write("roles/told/tasks/main.yml", "three");
    let plan = workspace.ok(&["plan", "//:web"]).stdout;
    assert!(plan.contains("run  ansible_local site.yml (input role_paths"), "{plan}");
}
