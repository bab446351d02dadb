//! The builder `rootfs`: an image made in namespaces, from a distribution's archive, another image or a tarball.

use imgbuild_model::{Attributes, ChainState, Diagnostic, Platform, Value};

use super::chain::{Chain, Machine, attributes_of};
use super::config::Config;
use super::{Export, Makes, Purpose};

/// The attributes that name an artifact's path, with the kind of export.
const EXPORTS: [(&str, &str); 3] =
    [("oci_layout", "oci"), ("docker_archive", "docker_archive"), ("tarball", "tarball")];

/// Declares the whole build.
pub(super) fn lower(config: &Config<'_>, chain: &mut Chain<'_>) {
    if let Some(text) = config.text("platform") {
        match text.parse::<Platform>() {
            Ok(platform) => chain.set_platform(platform),
            Err(error) => {
                chain.problem(Diagnostic::error(error.to_string()).at(config.location("platform")));
            }
        }
    }
    for port in config.texts("expose").into_iter().filter(|port| !is_port(port)) {
        let error = Diagnostic::error(format!("`{port}` is not a port")).at(config.location("expose"));
        chain.problem(error.hint("write its number, or that with a protocol, as `53/udp`"));
    }
    chain.machine = Machine::Rootfs { network: config.flag("network") != Some(false) };
    let state = state(config, chain.around.purpose == Purpose::WriteDown);
    for name in ["env", "entrypoint", "cmd", "labels"].into_iter().filter(|name| config.is_secret(name)) {
        let message = format!("something sensitive is in `{name}`, and so in the image's configuration");
        let warning = Diagnostic::warning(message).at(config.location(name));
        chain.problem(warning.hint("whoever has the image can read it there"));
    }
    match source(config, chain) {
        Some((kind, attributes)) => chain.start(kind, attributes, state),
        None => return,
    }
    chain.provision();
    chain.step("seal", Vec::new(), &chain.recipe.location.clone());
    let mut exports = Vec::new();
    for (attribute, kind) in EXPORTS {
        let Some(shown) = config.text(attribute) else { continue };
        let unknown = shown.rsplit('.').next().filter(|ending| UNKNOWN_ENDINGS.contains(ending));
        if let (Some(unknown), "tarball") = (unknown, kind) {
            let error = Diagnostic::error(format!("a tarball is not compressed as `.{unknown}`"));
            chain.problem(error.at(config.location(attribute)).hint("use `.tar`, `.tar.gz` or `.tar.zst`"));
        }
        let output = format!("{}.{}", chain.recipe.image_name(), ending(kind, &shown));
        let mut attributes = Vec::new();
        if kind != "tarball" {
            let reference =
                config.text("image_name").unwrap_or_else(|| format!("{}:latest", chain.recipe.source));
            attributes.push(("ref", Value::string(&reference)));
        } else {
            attributes.push(("compression", Value::string(compression(&shown))));
        }
        let action = chain.export(kind, attributes, &output);
        exports.push(Export { action, output: output.into(), destination: chain.absolute(&shown), shown });
    }
    chain.makes(Makes::Exports(exports));
}

/// What the names of artifacts end in, as those of an `image` of a workspace do: names are part of keys.
fn ending(kind: &str, path: &str) -> &'static str {
    match (kind, compression(path)) {
        ("oci", _) => "oci",
        ("docker_archive", _) => "docker.tar",
        (_, "gzip") => "tar.gz",
        (_, "zstd") => "tar.zst",
        _ => "tar",
    }
}

/// Whether a container can listen on it.
fn is_port(text: &str) -> bool {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    number.parse::<u16>().is_ok_and(|number| number > 0) && ["tcp", "udp", "sctp"].contains(&protocol)
}

/// Endings of tarballs that are not written.
const UNKNOWN_ENDINGS: [&str; 6] = ["xz", "txz", "bz2", "tbz2", "lz4", "zip"];

/// How a tarball of this name is compressed.
fn compression(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("gz" | "tgz") => "gzip",
        Some("zst" | "zstd") => "zstd",
        _ => "none",
    }
}

fn state(config: &Config<'_>, hide: bool) -> ChainState {
    let pairs = |name| if hide { config.hidden_pairs(name) } else { config.pairs(name) };
    let texts = |name| if hide { config.hidden_texts(name) } else { config.texts(name) };
    let some = |texts: Vec<String>| (!texts.is_empty()).then_some(texts);
    let port = |port: String| if port.contains('/') { port } else { format!("{port}/tcp") };
    ChainState {
        env: pairs("env").into_iter().collect(),
        user: config.text("user"),
        workdir: config.text("workdir"),
        // A script that names no interpreter is one of the shell's, as it is where Packer runs it.
        shell: Some(vec!["/bin/sh".to_owned()]),
        entrypoint: some(texts("entrypoint")),
        cmd: some(texts("cmd")),
        labels: pairs("labels").into_iter().collect(),
        exposed_ports: config.texts("expose").into_iter().map(port).collect(),
        volumes: config.texts("volumes").into_iter().collect(),
        stop_signal: None,
    }
}

fn source(config: &Config<'_>, chain: &mut Chain<'_>) -> Option<(&'static str, Attributes)> {
    for kind in ["debian", "ubuntu"] {
        let Some(block) = config.block(kind) else { continue };
        let list = |name: &str| match block.texts(name) {
            texts if texts.is_empty() => Value::None,
            texts => Value::list(texts.iter().map(|text| Value::string(text))),
        };
        let text = |name: &str| block.text(name).map_or(Value::None, |text| Value::string(&text));
        let mut found = vec![
            ("suite", text("suite")),
            ("components", list("components")),
            ("variant", text("variant")),
            ("packages", list("packages")),
        ];
        if kind == "debian" {
            found.push(("security", block.flag("security").map_or(Value::None, Value::Bool)));
        }
        return Some((kind, attributes_of(found)));
    }
    if let Some(image) = config.text("base_image") {
        return Some(("oci_base", attributes_of(vec![("image", Value::string(&image))])));
    }
    for (name, kind, attribute) in
        [("base_layout", "oci_base", "layout"), ("base_tarball", "rootfs_tar", "src")]
    {
        if let Some(path) = config.text(name) {
            let (input, _) = chain.input(&path, &config.location(name))?;
            return Some((kind, attributes_of(vec![(attribute, input)])));
        }
    }
    Some(("scratch", Attributes::default()))
}
