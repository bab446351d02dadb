//! Which code is behind which kind: the one place that knows all of it.

use std::collections::HashMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use imgbuild::args::{Environment, Resume};
use imgbuild::config::Config;
use imgbuild_cache::Cache;
use imgbuild_engine::{
    ActionContext, ActionError, Builder, Executor, Outcome, Registry, SharedExecutor, Told,
};
use imgbuild_exports::{GuestJob, Guests};
use imgbuild_host::{HostBuilder, Reach};
use imgbuild_model::{EventSink, KindClass};
use imgbuild_plan::Builders;
use imgbuild_provisioners::{ArchiveConfig, Proxies};
use imgbuild_qemu::builder::{DiskExport, Fetch, QemuBuilder, QemuSource};
use imgbuild_rootfs::RootfsBuilder;
use imgbuild_ssh::Surroundings;

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
pub(crate) fn registry(archives: Arc<ArchiveConfig>, environment: &Environment, resume: Resume) -> Registry {
    let downloads = Arc::new(Downloads(archives.clone()));
    let cache = archives.cache.clone();
    let withheld = Environment::whole().into_keys().filter(|name| name.starts_with("ANSIBLE_")).collect();
    let mut executors: HashMap<&'static str, SharedExecutor> = imgbuild_provisioners::executors(withheld);
    executors.extend(imgbuild_provisioners::source_executors(archives));
    let surroundings = Surroundings { home: environment.home.clone(), agent: environment.ssh_agent.clone() };
    let host = HostBuilder::new(surroundings.clone());
    executors.insert("host", Arc::new(Reach::new(host.clone())));
    let qemu = QemuBuilder::new(cache.clone(), surroundings, folders(), resume == Resume::Warm, downloads);
    executors.extend(imgbuild_exports::executors(Arc::new(Machines(qemu.clone()))));
    executors.insert("qemu", Arc::new(QemuSource::new(qemu.clone())));
    executors.insert("boot", Arc::new(QemuSource::of_disk(qemu.clone())));
    for (name, executor) in &mut executors {
        if imgbuild_kinds::find(name).is_some_and(|schema| schema.class == KindClass::Export) {
            let of_disks: Option<SharedExecutor> =
                (*name == "disk").then(|| Arc::new(DiskExport::new(qemu.clone())) as SharedExecutor);
            *executor = Arc::new(ByBuilder { of_trees: executor.clone(), of_disks });
        }
    }
    let builders: [Arc<dyn Builder>; 3] =
        [Arc::new(RootfsBuilder::new(cache)), Arc::new(host), Arc::new(qemu)];
    Registry::new(builders, executors)
}

/// Where programs are looked for.
pub(crate) fn folders() -> Vec<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect()
}

/// Media of machines, fetched as packages are.
struct Downloads(Arc<ArchiveConfig>);

#[async_trait]
impl Fetch for Downloads {
    async fn fetch(&self, url: &str, to: &Path) -> Result<(), ActionError> {
        self.0.fetch_file(url, to).await
    }
}

/// Machines for exports, of the same QEMU as those of images.
struct Machines(QemuBuilder);

#[async_trait]
impl Guests for Machines {
    async fn run(&self, job: &GuestJob, told: &Told) -> Result<(), ActionError> {
        self.0.run_guest(job, told).await
    }
}

/// An export, which reads layers and so is another for each form that they have.
struct ByBuilder {
    of_trees: SharedExecutor,
    of_disks: Option<SharedExecutor>,
}

#[async_trait]
impl Executor for ByBuilder {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        match (context.node().builder, &self.of_disks) {
            ("qemu", Some(of_disks)) => of_disks.execute(context).await,
            ("qemu", None) => {
                let kind = context.node().schema.id;
                Err(ActionError::input(format!(
                    "`{kind}` is made from a tree, and a virtual machine has disks"
                ))
                .hint("export it as `disk(...)`"))
            }
            _ => self.of_trees.execute(context).await,
        }
    }
}

/// What the builders are called in keys.
pub(crate) fn builders() -> Arc<Builders> {
    Arc::new(Builders::new([imgbuild_rootfs::KEY, imgbuild_host::KEY, imgbuild_qemu::builder::KEY]))
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
        let archives = Arc::new(ArchiveConfig::new(cache, 0, events));
        let registry = registry(archives, &Environment::default(), Resume::default());
        for schema in imgbuild_kinds::all() {
            // What only moves the state runs nothing, and single checks are run by `image_test`.
            let runs = schema.effect != Effect::State
                && (schema.class != KindClass::Test || matches!(schema.id, "image_test" | "image_diff"));
            assert_eq!(registry.executors.contains_key(schema.id), runs, "`{}`", schema.id);
            assert!(registry.builder(builders().key(schema.builder)).is_some(), "`{}`", schema.id);
        }
    }
}
