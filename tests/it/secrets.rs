//! Secrets: given to a step, and found nowhere afterwards.

use std::path::Path;

use crate::support::{BUSYBOX, Said, Workspace, busybox, ran, said};

const VALUE: &str = "tok-9f31c2+/=e7a5";

fn workspace(steps: &str) -> Option<Workspace> {
    let image = format!(
        "image(name = \"x\", base = \":base\", steps = [{steps}], exports = [tarball(compression = \"none\")])\n"
    );
    let workspace = Workspace::with(&format!("{BUSYBOX}{image}"));
    busybox(&workspace)?;
    Some(workspace)
}

fn build(workspace: &Workspace, value: &str, words: &[&str]) -> Said {
    said(&workspace.command(words).env("TOKEN", value).output().unwrap())
}

/// Every file below a folder that holds one of these texts.
pub fn holding(folder: &Path, texts: &[&[u8]]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let bytes = fs_err::read(&path).unwrap();
                if texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == *text)) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    found
}

#[test]
fn a_step_reads_a_secret_that_is_kept_nowhere() {
    let Some(workspace) = workspace(
        r#"shell([
            "stat -c '%a %u' /run/secrets/token /run/secrets",
            "echo value $(cat /run/secrets/token) and $VARIABLE",
            "cat /run/secrets/token | busybox base64",
            "if touch /run/secrets/more 2>/dev/null; then exit 1; fi",
            "tr -d '\\n' < /run/secrets/token | busybox wc -c > /length",
        ], user = "app", workdir = "/tmp", secrets = {"token": "env:TOKEN"}, secret_env = {"VARIABLE": "token"}),
        shell("test ! -e /run/secrets && test -z \"${VARIABLE:-}\"")"#,
    ) else {
        return;
    };
    // Who runs it may not write to `/`.
    let text = workspace.read("BUILD.star").replace("> /length", "> /tmp/length");
    workspace.write("BUILD.star", &text);
    let first = build(&workspace, VALUE, &["--json", "build", "//:x"]);
    assert_eq!(first.code, Some(0), "{first:#?}");
    assert!(first.stdout.contains("400 1000") && first.stdout.contains("500 1000"), "{}", first.stdout);
    assert!(first.stdout.contains("value *** and ***"), "{}", first.stdout);
    let log = workspace.ok(&["log", "//:x"]).stdout;
    assert!(log.contains("value *** and ***"), "{log}");
    let encoded = "dG9rLTlmMzFjMisvPWU3YTU";
    for said in [&first.stdout, &first.stderr, &log] {
        assert!(!said.contains(VALUE) && !said.contains(encoded), "{said}");
    }
    let texts: [&[u8]; 2] = [VALUE.as_bytes(), encoded.as_bytes()];
    let folder = workspace.root().parent().unwrap().to_path_buf();
    assert_eq!(holding(&folder, &texts), Vec::<String>::new());
    assert!(!holding(&folder, &[b"env:TOKEN"]).is_empty(), "the search finds what is there");

    let rotated = build(&workspace, "another-value", &["--json", "build", "//:x"]);
    assert!(ran(&rotated).is_empty(), "a rotated secret runs nothing: {:?}", ran(&rotated));
    let absent = workspace.ok(&["--json", "build", "//:x"]);
    assert!(ran(&absent).is_empty(), "a secret that is not there is not asked for: {:?}", ran(&absent));
    workspace.ok(&["plan", "//:x"]);
    let text = workspace.read("BUILD.star").replace("env:TOKEN", "env:OTHER");
    workspace.write("BUILD.star", &text);
    let said = workspace.fails(2, &["//:x"]);
    assert!(
        said.stderr.contains("the environment variable `OTHER` of a secret is not set"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("BUILD.star:"), "{}", said.stderr);
}

#[test]
fn a_secret_left_in_the_image_fails_the_step() {
    for (command, path) in [
        ("cp /run/secrets/token /etc/token", "/etc/token"),
        ("busybox base64 /run/secrets/token > /etc/encoded", "/etc/encoded"),
        ("head -c 200000 /dev/zero > /big; cat /run/secrets/token >> /big", "/big"),
        ("cat /run/secrets/token > /tmp/left", "/tmp/left"),
        ("ln -s $(cat /run/secrets/token) /link", "/link"),
    ] {
        let step = format!("shell([\"mkdir -p /etc\", {command:?}], secrets = {{\"token\": \"env:TOKEN\"}})");
        let Some(workspace) = workspace(&step) else { return };
        // A link and a file's name cannot hold a slash as they are.
        let value = "tok-9f31c2e7a5-tok";
        let said = build(&workspace, value, &["//:x"]);
        assert_eq!(said.code, Some(1), "{command}: {said:#?}");
        assert!(
            said.stderr.contains(&format!("the step left the secret `token` in `{path}`")),
            "{}",
            said.stderr
        );
        assert!(
            said.stderr.contains("BUILD.star:") && said.stderr.contains("nothing was kept"),
            "{}",
            said.stderr
        );
        let folder = workspace.root().parent().unwrap().to_path_buf();
        assert_eq!(holding(&folder, &[value.as_bytes()]), Vec::<String>::new(), "{command}");
    }
}

#[test]
fn a_failed_step_leaves_no_secret_behind() {
    let Some(workspace) = workspace(
        "shell([\"cat /run/secrets/token > /left\", \"exit 4\"], secrets = {\"token\": \"env:TOKEN\"})",
    ) else {
        return;
    };
    let said = build(&workspace, VALUE, &["//:x"]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.stderr.contains("exit code 4"), "{}", said.stderr);
    assert_eq!(holding(workspace.root().parent().unwrap(), &[VALUE.as_bytes()]), Vec::<String>::new());
    workspace.fails(1, &["shell", "--failed", "//:x"]);
}

#[test]
fn a_long_line_is_masked_where_it_is_cut() {
    // The program's own limit of a line is 64 KiB: the secret lies across it.
    let Some(workspace) = workspace(
        r#"shell([
            "head -c 65530 /dev/zero | tr '\\0' 'x'; cat /run/secrets/token; echo end",
        ], secrets = {"token": "env:TOKEN"})"#,
    ) else {
        return;
    };
    let said = build(&workspace, VALUE, &["--json", "build", "//:x"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("***") && said.stdout.contains("end"), "it was shown at all");
    for part in [VALUE, &VALUE[..8], &VALUE[8..]] {
        assert!(!said.stdout.contains(part), "`{part}` was shown");
    }
}

#[test]
fn a_provider_of_the_users_own_gives_a_secret() {
    let Some(workspace) = workspace(
        r#"shell("test $(cat /run/secrets/token) = secret-of-team/npm", secrets = {"token": "pass:team/npm#password"})"#,
    ) else {
        return;
    };
    let said = workspace.fails(1, &["//:x"]);
    assert!(said.stderr.contains("there is no provider of secrets called `pass`"), "{}", said.stderr);
    assert!(said.stderr.contains("[secrets.providers.pass]"), "{}", said.stderr);
    let provider = r#"command = ["/bin/echo", '{"password": "secret-of-{path}"}']"#;
    let config = workspace.root().parent().unwrap().join(".config/imgbuild");
    fs_err::create_dir_all(&config).unwrap();
    fs_err::write(config.join("config.toml"), format!("[secrets.providers.pass]\n{provider}\n")).unwrap();
    workspace.ok(&["//:x"]);
    fs_err::remove_dir_all(&config).unwrap();
    workspace.write("imgbuild.toml", &format!("[secrets.providers.pass]\n{provider}\n"));
    let said = workspace.fails(1, &["//:x"]);
    assert!(said.stderr.contains("a workspace may not name programs that give secrets"), "{}", said.stderr);
    assert!(said.stderr.contains("imgbuild.toml:1:"), "{}", said.stderr);
}

#[test]
fn mistakes_with_secrets_are_shown_where_they_are() {
    for (secrets, message) in [
        (r#"secrets = {"a": "hunter22"}"#, "`hunter22` does not say where the secret is"),
        (r#"secrets = {"a": "file:key.pem"}"#, "`key.pem` is neither absolute nor in the home folder"),
        (r#"secrets = {"a": "env:A=B"}"#, "`A=B` is not the name of an environment variable"),
        (r#"secrets = {"../a": "env:A"}"#, "`../a` is not the name of a secret"),
        (r#"secrets = ["env:A"]"#, "expected dict of secrets"),
    ] {
        let workspace = Workspace::with(&format!(
            "image(name = \"x\", source = scratch(), steps = [shell(\"true\", {secrets})])"
        ));
        let said = workspace.fails(1, &["//:x"]);
        assert!(
            said.stderr.contains(message) && said.stderr.contains("BUILD.star:1:"),
            "{secrets}: {}",
            said.stderr
        );
    }
    for (attributes, value, message) in [
        (r#"secrets = {"a": "env:TOKEN"}"#, "abc", "the secret `a` of `env:TOKEN` has 3 bytes"),
        (
            r#"secrets = {"a": "env:TOKEN"}, secret_env = {"A": "b"}"#,
            "abcd",
            "`secret_env` names `b`, which `secrets` lacks",
        ),
    ] {
        let Some(workspace) = workspace(&format!("shell(\"true\", {attributes})")) else { return };
        let said = build(&workspace, value, &["//:x"]);
        assert_eq!(said.code, Some(1), "{said:#?}");
        assert!(said.stderr.contains(message), "{attributes}: {}", said.stderr);
    }
    let Some(workspace) =
        workspace("shell(\"true\", secrets = {\"a\": \"file:/dev/zero-none\"}, secret_env = {\"A\": \"a\"})")
    else {
        return;
    };
    let file = workspace.root().join("../binary");
    fs_err::write(&file, [0xff, 0, 1, 2, 3]).unwrap();
    let text = workspace.read("BUILD.star").replace("/dev/zero-none", &file.display().to_string());
    workspace.write("BUILD.star", &text);
    let said = workspace.fails(1, &["//:x"]);
    assert!(said.stderr.contains("the secret `a` is no text"), "{}", said.stderr);
}
