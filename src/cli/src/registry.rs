//! Which code is behind which kind: the one place that knows all of it.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::sync::Arc;

use imgbuild::args::Environment;
use imgbuild::config::Config;
use imgbuild_cache::Cache;
use imgbuild_engine::{Builder, Registry, SharedExecutor};
use imgbuild_host::{HostBuilder, Reach, Surroundings};
use imgbuild_model::EventSink;
use imgbuild_plan::{ActionGraph, ActionNode, Builders};
use imgbuild_provisioners::{ArchiveConfig, Proxies};
use imgbuild_rootfs::RootfsBuilder;

/// Where packages and images come from, by flags, environment and configuration.
pub(crate) fn archives(
    config: &Config,
    environment: &Environment,
    cache: Cache,
    now: i64,
    events: Arc<dyn EventSink>,
) -> Arc<ArchiveConfig> {
    let mut archives = ArchiveConfig::new(cache, now, events);
    let downloads = &config.downloads;
    archives.parallel = downloads.parallel.map_or(archives.parallel, NonZero::get);
    if let Some(attempts) = downloads.attempts {
        archives.retry.attempts = u32::try_from(attempts.get()).unwrap_or(u32::MAX);
    }
    if let Some(timeout) = downloads.timeout {
        archives.retry.stall_timeout = timeout;
        archives.retry.connect_timeout = archives.retry.connect_timeout.min(timeout);
    }
    Arc::new(ArchiveConfig {
        debian: config.mirrors.debian.clone().into_iter().collect(),
        debian_security: config.mirrors.debian_security.clone().into_iter().collect(),
        ubuntu: config.mirrors.ubuntu.clone().into_iter().collect(),
        snapshot: config.mirrors.snapshot.clone(),
        debian_keyring: config.keyrings.debian.clone(),
        ubuntu_keyring: config.keyrings.ubuntu.clone(),
        docker_config: environment.home.as_ref().map(|home| home.join(".docker/config.json")),
        proxies: Proxies {
            http: downloads.http_proxy.clone(),
            https: downloads.https_proxy.clone(),
            no_proxy: downloads.no_proxy.clone(),
        },
        ..archives
    })
}

/// All the code that this build of the program has.
pub(crate) fn registry(archives: Arc<ArchiveConfig>, environment: &Environment) -> Registry {
    let cache = archives.cache.clone();
    let mut executors: HashMap<&'static str, SharedExecutor> = imgbuild_provisioners::executors();
    executors.extend(imgbuild_provisioners::source_executors(archives));
    executors.extend(imgbuild_exports::executors());
    let surroundings = Surroundings { home: environment.home.clone(), agent: environment.ssh_agent.clone() };
    let host = HostBuilder::new(surroundings);
    executors.insert("host", Arc::new(Reach::new(host.clone())));
    let builders: [Arc<dyn Builder>; 2] = [Arc::new(RootfsBuilder::new(cache)), Arc::new(host)];
    Registry::new(builders, executors)
}

/// What the builders are called in keys.
pub(crate) fn builders() -> Arc<Builders> {
    Arc::new(Builders::new([imgbuild_rootfs::KEY, imgbuild_host::KEY]))
}

/// The same with the versions of the programs of this host that the kinds of a graph run.
pub(crate) fn builders_for(graph: &ActionGraph) -> Arc<Builders> {
    let tools: BTreeSet<&'static str> = graph.nodes.iter().flat_map(ActionNode::tools).collect();
    let builders = builders();
    if tools.is_empty() {
        return builders;
    }
    let versions = tools.into_iter().filter_map(|name| Some((name, tool_version(name)?)));
    Arc::new((*builders).clone().with_tools(versions))
}

/// What a program of this host says that it is; `None` if it is not there.
fn tool_version(name: &str) -> Option<String> {
    let words: &[&str] = if name == "lynis" { &["show", "version"] } else { &["--version"] };
    let output = Command::new(name).args(words).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use imgbuild_model::{Effect, KindClass};

    use super::*;

    #[test]
    fn every_kind_has_code() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let events: Arc<dyn EventSink> = Arc::new(|_: imgbuild_model::Event| {});
        let registry = registry(Arc::new(ArchiveConfig::new(cache, 0, events)), &Environment::default());
        for schema in imgbuild_kinds::all() {
            // What only moves the state runs nothing, and single checks are run by `image_test`.
            let runs = schema.effect != Effect::State
                && (schema.class != KindClass::Test || schema.id == "image_test");
            assert_eq!(registry.executors.contains_key(schema.id), runs, "`{}`", schema.id);
            assert!(registry.builder(builders().key(schema.builder)).is_some(), "`{}`", schema.id);
        }
    }
}
