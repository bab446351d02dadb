//! The builder `qemu`: a virtual machine that starts from a disk or is installed from a medium (Packer: `qemu` plugin).

use imgbuild_model::{ChainState, Location, Value};

use super::chain::{Chain, Machine};
use super::config::Config;
use super::{Export, Makes, host};

/// What a template can ask for and only a real packer does.
pub(super) fn lacks(config: &Config<'_>, communicator: &str) -> Option<(String, Location)> {
    let at = |name: &str, what: String| Some((what, config.location(name)));
    if communicator != "ssh" {
        return at("communicator", format!("`communicator = \"{communicator}\"`"));
    }
    for name in ["vtpm", "iso_skip_cache"] {
        if config.flag(name) == Some(true) {
            return at(name, format!("`{name}`"));
        }
    }
    for name in ["disk_additional_size", "net_bridge", "firmware", "boot_steps", "qmp_socket_path"] {
        if config.get(name).is_some() {
            return at(name, format!("`{name}`"));
        }
    }
    if config.text("iso_checksum").is_some_and(|text| text.starts_with("file:")) {
        return at("iso_checksum", "a list of checksums".to_owned());
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
    let name = if config.get("iso_url").is_some() { "iso_url" } else { "iso_urls" };
    let (remote, local): (Vec<_>, Vec<_>) = urls(config).into_iter().partition(|url| is_remote(url));
    // As Packer, which takes the first that is there.
    let found = local
        .iter()
        .map(|url| url.strip_prefix("file://").unwrap_or(url))
        .find(|path| remote.is_empty() || chain.around.files.kind(&chain.absolute(path)).is_some());
    match found {
        Some(path) => own.extend(chain.input(path, &config.location(name)).map(|(file, _)| ("disk", file))),
        None => own.push(("urls", Value::list(remote.iter().map(|url| Value::string(url))))),
    }
    if let Some(checksum) = config.text("iso_checksum").filter(|text| text != "none") {
        own.push(("checksum", Value::string(&checksum)));
    }
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
    let given = host::machine("qemu", config, chain);
    let given = given.iter().map(|(name, value)| (name.into(), value.clone()));
    let attributes = given.chain(own.into_iter().map(|(name, value)| (name.into(), value)));
    let attributes = attributes.filter(|(_, value)| *value != Value::None).collect();
    chain.machine = Machine::Host;
    chain.start("qemu", attributes, ChainState::default());
    chain.provision();
    chain.step("power_off", Vec::new(), &chain.recipe.location.clone());
    let source = chain.recipe.source.to_string();
    let folder = config.text("output_directory").unwrap_or_else(|| format!("output-{source}"));
    let name = config.text("vm_name").unwrap_or_else(|| format!("packer-{source}"));
    let format = config.text("format").unwrap_or_else(|| "qcow2".to_owned());
    let compression = match config.flag("disk_compression") {
        Some(true) if format == "qcow2" => Value::string("zlib"),
        _ => Value::None,
    };
    let shown = format!("{}/{name}", folder.trim_end_matches('/'));
    let action =
        chain.export("disk", vec![("format", Value::string(&format)), ("compression", compression)], &name);
    let destination = chain.absolute(&shown);
    chain.makes(Makes::Exports(vec![Export { action, output: name.into(), destination, shown }]));
}
