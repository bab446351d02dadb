//! The names of what is built in or comes from the prelude and is known to other crates.

use std::sync::{Arc, LazyLock};

use imgbuild_model::{Artifact, Label, Provider, ProviderId, RuleId, SourceFile, Value};

/// The module of what no file defines.
const NATIVE: &str = "@native";

fn id(module: &str, name: &str) -> RuleId {
    RuleId { module: module.into(), name: name.into() }
}

static DEFAULT_INFO: LazyLock<ProviderId> = LazyLock::new(|| id(NATIVE, "DefaultInfo"));
static IMAGE_INFO: LazyLock<ProviderId> = LazyLock::new(|| id("@prelude//providers.star", "ImageInfo"));
static TEST_INFO: LazyLock<ProviderId> = LazyLock::new(|| id("@prelude//providers.star", "TestInfo"));
static IMAGE_SET_INFO: LazyLock<ProviderId> =
    LazyLock::new(|| id("@prelude//providers.star", "ImageSetInfo"));
static CONFIG_SETTING_INFO: LazyLock<ProviderId> =
    LazyLock::new(|| id("@prelude//providers.star", "ConfigSettingInfo"));
static TEMPLATE_BUILD_INFO: LazyLock<ProviderId> =
    LazyLock::new(|| id("@prelude//providers.star", "TemplateBuildInfo"));
static TEMPLATE_INFO: LazyLock<ProviderId> = LazyLock::new(|| id("@prelude//providers.star", "TemplateInfo"));
static PACKER_TEMPLATE: LazyLock<RuleId> =
    LazyLock::new(|| id("@prelude//templates.star", "packer_template"));
static CONFIG_SETTING: LazyLock<RuleId> = LazyLock::new(|| id("@prelude//config.star", "config_setting"));

/// `DefaultInfo(files)`: what a target gives when nothing more is said. Each analysis has it.
#[must_use]
pub fn default_info() -> ProviderId {
    DEFAULT_INFO.clone()
}

/// `ImageInfo(layer, unsealed, exports, platform)`.
#[must_use]
pub fn image_info() -> ProviderId {
    IMAGE_INFO.clone()
}

/// `TestInfo(result)`.
#[must_use]
pub fn test_info() -> ProviderId {
    TEST_INFO.clone()
}

/// `ImageSetInfo(images)`.
#[must_use]
pub fn image_set_info() -> ProviderId {
    IMAGE_SET_INFO.clone()
}

/// `TemplateBuildInfo(name, builder, layer)`.
#[must_use]
pub fn template_build_info() -> ProviderId {
    TEMPLATE_BUILD_INFO.clone()
}

/// `TemplateInfo(builds)`.
#[must_use]
pub fn template_info() -> ProviderId {
    TEMPLATE_INFO.clone()
}

/// The rule whose targets are templates, which are analyzed by another front end.
#[must_use]
pub fn packer_template() -> RuleId {
    PACKER_TEMPLATE.clone()
}

/// `ConfigSettingInfo(values)`.
#[must_use]
pub fn config_setting_info() -> ProviderId {
    CONFIG_SETTING_INFO.clone()
}

/// The rule whose targets are the conditions of `select()`; its attribute `values` is a dict of strings.
#[must_use]
pub fn config_setting() -> RuleId {
    CONFIG_SETTING.clone()
}

/// `DefaultInfo` of a file of the workspace.
pub(crate) fn source_file_info(label: &Label) -> Arc<Provider> {
    let file = Artifact::Source(SourceFile { label: label.clone(), path: label.path() });
    files_info(vec![Value::Artifact(file)])
}

/// `DefaultInfo` with these files.
pub(crate) fn files_info(files: Vec<Value>) -> Arc<Provider> {
    let fields = vec![(Arc::from("files"), Value::List(files.into()))];
    Arc::new(Provider { id: default_info(), fields })
}
