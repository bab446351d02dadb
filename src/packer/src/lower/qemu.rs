//! The builder `qemu`: a virtual machine that starts from a disk or is installed from a medium (Packer: `qemu` plugin).

use imgbuild_kinds::DISK_SWITCHES;
use imgbuild_model::{ChainState, Diagnostic, Location, Value};

use super::chain::{Chain, Machine};
use super::config::Config;
use super::{Export, Makes, host};

/// What a template can ask for and only a real packer does.
pub(super) fn lacks(config: &Config<'_>, communicator: &str) -> Option<(String, Location)> {
    let at = |name: &str, what: String| Some((what, config.location(name)));
    if communicator != "ssh" {
        return at("communicator", format!("`communicator = \"{communicator}\"`"));
    }
    if config.flag("iso_skip_cache") == Some(true) {
        return at("iso_skip_cache", "`iso_skip_cache`".to_owned());
    }
    for name in ["net_bridge", "qmp_socket_path", "qemu_img_args"] {
        if config.get(name).is_some() {
            return at(name, format!("`{name}`"));
        }
    }
    // Disks are named by those switches as Packer lays them out.
    for row in config.rows("qemuargs").unwrap_or_default() {
        let words: Vec<&str> = row.as_list().unwrap_or_default().iter().filter_map(Value::as_str).collect();
        if let Some(switch) = words.first().filter(|switch| DISK_SWITCHES.contains(switch)) {
            return at("qemuargs", format!("`{switch}` among the `qemuargs`"));
        }
        if words.iter().any(|word| word.contains(".OutputDir") || word.contains(".HTTPContent")) {
            return at("qemuargs", "such a template among the `qemuargs`".to_owned());
        }
    }
    let is_named = config.text("iso_checksum").is_some_and(|text| text != "none");
    if urls(config).iter().any(|url| is_remote(url)) && !is_named {
        return at("iso_url", "a medium from elsewhere that has no checksum".to_owned());
    }
    None
}

/// Where the medium is.
fn urls(config: &Config<'_>) -> Vec<String> {
    config.text("iso_url").into_iter().chain(config.texts("iso_urls")).collect()
}

fn is_remote(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme != "file")
}

/// Declares the whole build.
pub(super) fn lower(config: &Config<'_>, chain: &mut Chain<'_>) {
    let mut own = vec![
        ("network", Value::Bool(true)),
        ("installer", if config.flag("disk_image") == Some(true) { Value::None } else { Value::Bool(true) }),
    ];
    medium(config, chain, &mut own);
    if let Some(path) = config.text("http_directory") {
        own.extend(chain.input(&path, &config.location("http_directory")).map(|(file, _)| ("http", file)));
    }
    for (attribute, names) in [("floppy", &["floppy_files", "floppy_dirs"][..]), ("cd", &["cd_files"])] {
        let mut files = Vec::new();
        for name in names {
            for path in config.texts(name) {
                files.extend(chain.input(&path, &config.location(name)).map(|(file, _)| file));
            }
        }
        if !files.is_empty() {
            own.push((attribute, Value::list(files)));
        }
    }
    let name = config.text("vm_name").unwrap_or_else(|| format!("packer-{}", chain.recipe.source));
    if saying(config, ".Name").is_some() {
        own.push(("vm_name", Value::string(&name)));
    }
    if saying(config, PUBLIC_KEY).is_some() {
        own.extend(authorized_key(config, chain).map(|file| ("authorized_key", file)));
    }
    let given = host::machine("qemu", config, chain);
    let given = given.iter().map(|(name, value)| (name.into(), value.clone()));
    let attributes = given.chain(own.into_iter().map(|(name, value)| (name.into(), value)));
    let attributes = attributes.filter(|(_, value)| *value != Value::None).collect();
    chain.machine = Machine::Host;
    chain.start("qemu", attributes, ChainState::default());
    chain.provision();
    chain.step("power_off", Vec::new(), &chain.recipe.location.clone());
    exports(config, chain, &name);
}

/// Where the medium is and what it must be.
fn medium(config: &Config<'_>, chain: &mut Chain<'_>, own: &mut Vec<(&'static str, Value)>) {
    let name = if config.get("iso_url").is_some() { "iso_url" } else { "iso_urls" };
    let (remote, local): (Vec<_>, Vec<_>) = urls(config).into_iter().partition(|url| is_remote(url));
    let local: Vec<&str> = local.iter().map(|url| url.strip_prefix("file://").unwrap_or(url)).collect();
    // As Packer, which takes the first that is there.
    let there = |path: &&&str| chain.around.files.kind(&chain.absolute(path)).is_some();
    let found = local.iter().find(there).or(local.first().filter(|_| remote.is_empty()));
    match found {
        Some(path) => own.extend(chain.input(path, &config.location(name)).map(|(file, _)| ("disk", file))),
        None => own.push(("urls", Value::list(remote.iter().map(|url| Value::string(url))))),
    }
    let Some(checksum) = config.text("iso_checksum").filter(|text| text != "none") else { return };
    let of_list = checksum.strip_prefix("file:");
    if let (Some(_), None, Some(first)) = (of_list, found, remote.first()) {
        let path = first.split(['?', '#']).next().unwrap_or_default();
        own.push(("listed_as", Value::string(path.rsplit('/').next().unwrap_or_default())));
    }
    match of_list {
        Some(list) if !is_remote(list) => {
            let path = list.strip_prefix("//").unwrap_or(list);
            let file = chain.input(path, &config.location("iso_checksum"));
            own.extend(file.map(|(file, _)| ("checksum_list", file)));
        }
        _ => own.push(("checksum", Value::string(&checksum))),
    }
}

/// The key whose public half is typed. It is on the disk then, so that the file counts.
fn authorized_key(config: &Config<'_>, chain: &mut Chain<'_>) -> Option<Value> {
    const FILE: &str = "ssh_private_key_file";
    let (why, hint) = match config.text(FILE) {
        Some(path) if !path.starts_with('~') => {
            // One that is not there is told of wherever it is named. Where its public half lies beside it, that is what counts.
            chain.around.files.kind(&chain.absolute(&path))?;
            let public = format!("{path}.pub");
            let beside = chain.around.files.kind(&chain.absolute(&public)).is_some();
            return Some(chain.input(if beside { &public } else { &path }, &config.location(FILE))?.0);
        }
        Some(_) => ("where `~` is, is not known as it is read", "`pathexpand` of HCL tells it"),
        None => ("no key pair is made for the connection", "`ssh_private_key_file` names a key"),
    };
    let typed = saying(config, PUBLIC_KEY);
    let warning = Diagnostic::warning(format!("`{{{{ .SSHPublicKey }}}}` is empty: {why}"));
    chain.problem(warning.at(config.location(typed.unwrap_or(FILE))).hint(hint));
    None
}

/// How the public key is named.
const PUBLIC_KEY: &str = ".SSHPublicKey";

/// The first attribute that is typed or said to QEMU and has that in it.
fn saying(config: &Config<'_>, what: &str) -> Option<&'static str> {
    let says = |name: &str| {
        let rows = config.rows(name).into_iter().flatten();
        let words = rows.flat_map(|row| row.as_list().unwrap_or_default().to_vec());
        let words = words.filter_map(|word| word.as_str().map(str::to_owned));
        config.texts(name).into_iter().chain(words).any(|text| text.contains(what))
    };
    ["boot_command", "boot_steps", "qemuargs"].into_iter().find(|name| says(name))
}

/// What the build makes: each disk, and the variables of UEFI.
fn exports(config: &Config<'_>, chain: &mut Chain<'_>, name: &str) {
    let source = chain.recipe.source.to_string();
    let folder = config.text("output_directory").unwrap_or_else(|| format!("output-{source}"));
    let folder = folder.trim_end_matches('/');
    let format = config.text("format").unwrap_or_else(|| "qcow2".to_owned());
    let compression = match config.flag("disk_compression") {
        Some(true) if format == "qcow2" => Value::string("zlib"),
        _ => Value::None,
    };
    let mut wanted = Vec::new();
    for disk in 0..=config.texts("disk_additional_size").len() {
        let number = i64::try_from(disk).ok().filter(|&disk| disk > 0).map_or(Value::None, Value::Int);
        let output = if disk == 0 { name.to_owned() } else { format!("{name}-{disk}") };
        let attributes = vec![
            ("format", Value::string(&format)),
            ("compression", compression.clone()),
            ("number", number),
        ];
        wanted.push((output, attributes));
    }
    let named = ["efi_firmware_code", "efi_firmware_vars"].iter().any(|name| config.text(name).is_some());
    if (named || config.flag("efi_boot") == Some(true)) && config.flag("efi_drop_efivars") != Some(true) {
        wanted.push(("efivars.fd".to_owned(), vec![("format", Value::string("efivars"))]));
    }
    let mut exports = Vec::new();
    for (output, attributes) in wanted {
        let shown = format!("{folder}/{output}");
        let action = chain.export("disk", attributes, &output);
        exports.push(Export { action, output: output.into(), destination: chain.absolute(&shown), shown });
    }
    chain.makes(Makes::Exports(exports));
}
