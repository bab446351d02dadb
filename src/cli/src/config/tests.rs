use super::*;

fn parsed(text: &str) -> Result<Layer, String> {
    parse(text, "imgbuild.toml", Path::new("/w"), Some(Path::new("/home/u")))
        .map_err(|diagnostics| diagnostics.to_string())
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(parsed(""), Ok(Layer::default()));
    assert_eq!(parsed("# marks the root\n[build]\n"), Ok(Layer::default()));
}

#[test]
fn each_key_of_the_table_is_read_from_its_example() {
    for Key { section, name, example, .. } in KEYS {
        let config = parsed(&format!("[{section}]\n{name} = {example}\n"));
        assert_ne!(config.as_ref().unwrap(), &Layer::default(), "{section}.{name}");
        // And `over` passes it on.
        assert_eq!(
            Layer::default().over(config.clone().unwrap()),
            config.clone().unwrap(),
            "{section}.{name}"
        );
        assert_eq!(config.clone().unwrap().over(Layer::default()), config.unwrap(), "{section}.{name}");
    }
}

#[test]
fn values_have_types() {
    let config = parsed(
        "[mirrors]\ndebian = 'file:///srv/debian'\n[keyrings]\nubuntu = '~/u.gpg'\n\
         [cache]\ndir = 'c'\nmax_size = '10GiB'\nmax_age = '30d'\n[build]\njobs = 0x10\nsalt = ''\n",
    )
    .unwrap();
    assert_eq!(config.mirrors.debian.unwrap(), "file:///srv/debian");
    assert_eq!(config.keyrings.ubuntu.unwrap(), Path::new("/home/u/u.gpg"));
    assert_eq!(config.cache_dir.unwrap(), Path::new("/w/c"));
    assert_eq!(config.cache_max_size.unwrap().0, 10 << 30);
    assert_eq!(config.jobs.unwrap().get(), 16);
    assert_eq!(config.salt.as_deref(), Some(""));
}

#[test]
fn mistakes_have_their_place_and_a_hint() {
    for (text, message) in [
        (
            "[mirors]\n",
            "imgbuild.toml:1:2: there is no table `mirors` in the configuration; hint: did you mean `[mirrors]`?",
        ),
        (
            "jobs = 4\n",
            "imgbuild.toml:1:1: there is no table `jobs` in the configuration; hint: it belongs into `[build]`",
        ),
        (
            "[frobnicate]\n",
            "imgbuild.toml:1:2: there is no table `frobnicate` in the configuration; hint: there are `[mirrors]`, \
             `[downloads]`, `[keyrings]`, `[cache]`, `[build]`, `[secrets]`",
        ),
        (
            "[build]\njbos = 4\n",
            "imgbuild.toml:2:1: there is no key `jbos` in `[build]`; hint: did you mean `jobs`?",
        ),
        (
            "[build]\nmax_age = '3d'\n",
            "imgbuild.toml:2:1: there is no key `max_age` in `[build]`; hint: it belongs into `[cache]`",
        ),
        (
            "[keyrings]\nfedora = 'x'\n",
            "imgbuild.toml:2:1: there is no key `fedora` in `[keyrings]`; hint: there are `debian`, `ubuntu`",
        ),
        (
            "build = 3\n",
            "imgbuild.toml:1:9: `build` is a table, not an integer; hint: write `[build]` in a line of its own",
        ),
        (
            "[build]\n  jobs = '4'\n",
            "imgbuild.toml:2:10: `build.jobs`: a number is needed here, not a string; hint: for example `jobs = 4`",
        ),
        (
            "[build]\njobs = 0\n",
            "imgbuild.toml:2:8: `build.jobs`: `0` is not a number from 1 on; hint: for example `jobs = 4`",
        ),
        (
            "[cache]\nmax_size = '10 Gibs'\n",
            "imgbuild.toml:2:12: `cache.max_size`: `10 Gibs` is not a size: there is no unit `Gibs`; write a number and \
             a unit, as in `10GiB` or `500MB`; hint: for example `max_size = \"50GiB\"`",
        ),
        (
            "[cache]\nmax_size = 3\n",
            "imgbuild.toml:2:12: `cache.max_size`: a text is needed here, not an integer; hint: for example `max_size = \
             \"50GiB\"`",
        ),
        (
            "[mirrors]\nsnapshot = 'x'\n",
            "imgbuild.toml:2:12: `mirrors.snapshot`: `x` is not an address; it begins with `http://`, `https://` or \
             `file://`; hint: for example `snapshot = \"http://localhost:8080/snapshot\"`",
        ),
    ] {
        assert_eq!(parsed(text), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let diagnostics =
        parse("[build]\njobs = 0\nslat = ''\n[cahce]\n", "f", Path::new("/"), None).unwrap_err();
    assert_eq!(diagnostics.0.len(), 3);
    let syntax = parse("[build\njobs = = 3\n", "f", Path::new("/"), None).unwrap_err();
    assert!(syntax.0.iter().all(|diagnostic| diagnostic.location.as_ref().unwrap().line > 0), "{syntax}");
    let home = parse("[cache]\ndir = '~/c'\n", "f", Path::new("/"), None).unwrap_err().to_string();
    assert!(home.contains("`HOME` is not set"), "{home}");
}

#[test]
fn a_span_covers_the_value() {
    let diagnostics = parse("[build]\nsalt = \"ä\"\njobs = 'ö'\n", "f", Path::new("/"), None).unwrap_err();
    let location = diagnostics.0[0].location.clone().unwrap();
    assert_eq!((location.line, location.column, location.end_line, location.end_column), (3, 8, 3, 11));
}

#[test]
fn flags_before_the_environment_before_the_workspace_before_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("w");
    fs_err::create_dir_all(root.join("home/imgbuild")).unwrap();
    fs_err::write(
        root.join("home/imgbuild/config.toml"),
        "[cache]\ndir = '/user'\n[build]\njobs = 1\nsalt = 'u'\n",
    )
    .unwrap();
    let mut environment = Environment { config_home: Some(root.join("home")), ..Environment::default() };
    let mut flags = Flags::default();
    let load_now = |flags: &Flags, environment: &Environment| Config::load(flags, environment, Some(&root));

    let config = load_now(&flags, &environment).unwrap();
    assert_eq!(config.cache_dir, Path::new("/user"));
    fs_err::write(root.join(WORKSPACE_FILE), "[cache]\ndir = 'c'\n[build]\njobs = 2\n").unwrap();
    let config = load_now(&flags, &environment).unwrap();
    assert_eq!(config.cache_dir, root.join("c"));
    assert_eq!(config.jobs.unwrap().get(), 2);
    assert_eq!(config.salt.as_deref(), Some("u"));
    environment.cache_dir = Some("/env".into());
    assert_eq!(load_now(&flags, &environment).unwrap().cache_dir, Path::new("/env"));
    flags.cache_dir = Some("/flag".into());
    assert_eq!(load_now(&flags, &environment).unwrap().cache_dir, Path::new("/flag"));
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let flags = Flags { config: Some("/nowhere/c.toml".into()), ..Flags::default() };
    let error = Config::load(&flags, &Environment::default(), None).unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/c.toml: the configuration file is not there");
    let environment = Environment { config_home: Some("/nowhere".into()), ..Environment::default() };
    assert!(Config::load(&Flags::default(), &environment, None).is_ok());
}

#[test]
fn what_cannot_be_read_is_no_mistake_of_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let flags = Flags { config: Some(folder.path().to_owned()), ..Flags::default() };
    assert_eq!(Config::load(&flags, &Environment::default(), None).unwrap_err().class(), Class::Environment);
}

#[test]
fn a_mirror_in_the_environment_is_checked() {
    let environment = Environment { debian_mirror: Some("mirror".to_owned()), ..Environment::default() };
    let error = Config::load(&Flags::default(), &environment, None).unwrap_err().to_string();
    assert!(error.starts_with("`IMGBUILD_DEBIAN_MIRROR`: `mirror` is not an address"), "{error}");
}

#[test]
fn platforms_come_from_flags_then_files_then_the_machine() {
    let platform = |name: &str| name.parse::<Platform>().unwrap();
    let variant = |names: &[&str]| Variant {
        platforms: names.iter().map(|name| platform(name)).collect(),
        definitions: Vec::new(),
    };
    let mut config = Config::load(&Flags::default(), &Environment::default(), None).unwrap();
    assert_eq!(config.platforms(&variant(&[])), [Platform::host()]);
    config.default_platform = Some(platform("s390x"));
    assert_eq!(config.platforms(&variant(&[])), [platform("s390x")]);
    assert_eq!(
        config.platforms(&variant(&["arm64", "aarch64", "amd64"])),
        [platform("arm64"), platform("amd64")]
    );
}

#[test]
fn the_cache_lies_in_the_users_cache_folder_or_the_systems() {
    let dir =
        |environment: &Environment| Config::load(&Flags::default(), environment, None).unwrap().cache_dir;
    assert_eq!(dir(&Environment::default()), Path::new("/var/cache/imgbuild"));
    let environment = Environment { cache_home: Some("/c".into()), ..Environment::default() };
    assert_eq!(dir(&environment), Path::new("/c/imgbuild"));
}

#[test]
fn providers_of_secrets_are_programs() {
    let config = parsed("[secrets.providers.pass]\ncommand = ['pass', 'show', '{path}']\n").unwrap();
    assert_eq!(config.secret_providers.unwrap().commands["pass"], ["pass", "show", "{path}"]);
    for (text, message) in [
        ("[secrets]\nproviders = 3\n", "a table is needed here, not an integer"),
        ("[secrets.providers.env]\ncommand = ['x']\n", "`env` is a provider of imgbuild's own"),
        ("[secrets.providers.'a b']\ncommand = ['x']\n", "`a b` is not the name of a provider"),
        ("[secrets.providers.pass]\ncomand = ['x']\n", "a provider has no `comand`, only a `command`"),
        ("[secrets.providers.pass]\n", "a provider has a `command`"),
        ("[secrets.providers.pass]\ncommand = []\n", "the command is empty"),
        ("[secrets.providers.pass]\ncommand = 'pass'\n", "a list of texts is needed here, not a string"),
        ("[secrets.providers.pass]\ncommand = [1]\n", "a text is needed here, not an integer"),
    ] {
        let found = parsed(text).unwrap_err();
        assert!(found.contains(message), "{text}: {found}");
    }
}

#[test]
fn a_workspace_names_no_programs() {
    let workspace = tempfile::tempdir().unwrap();
    let text = "[secrets.providers.pass]\ncommand = ['curl', 'http://localhost']\n";
    fs_err::write(workspace.path().join(WORKSPACE_FILE), text).unwrap();
    let environment = Environment::default();
    let problem =
        Config::load(&Flags::default(), &environment, Some(workspace.path())).unwrap_err().to_string();
    assert!(problem.contains("imgbuild.toml:1:"), "{problem}");
    assert!(problem.contains("a workspace may not name programs that give secrets"), "{problem}");
    let flags = Flags { config: Some(workspace.path().join(WORKSPACE_FILE)), ..Flags::default() };
    assert_eq!(Config::load(&flags, &environment, None).unwrap().secret_providers.len(), 1);
}
