//! The schema of every kind, as data: one file a group of kinds, one constant a kind.
//!
//! Both front ends, the planner, the generated reference and completion read these tables. What is not here: code
//! that does anything. A kind's `key_version` is raised by hand when the same attributes come to mean other bytes.

mod attribute;
mod command;
mod export;
mod source;
mod state;
mod step;
mod test;

use imgbuild_model::KindSchema;

/// Each kind.
static ALL: &[&KindSchema] = &[
    &source::DEBIAN,
    &source::UBUNTU,
    &source::OCI_BASE,
    &source::ROOTFS_TAR,
    &source::SCRATCH,
    &step::SHELL,
    &step::SHELL_LOCAL,
    &step::SLEEP,
    &step::BREAKPOINT,
    &step::DOWNLOAD,
    &step::FILE,
    &step::APT_RESOLVE,
    &step::APT_INSTALL,
    &step::USER,
    &step::GROUP,
    &step::SYMLINK,
    &step::MKDIR,
    &step::REMOVE,
    &step::COPY_FROM,
    &step::SYSTEMD_UNIT,
    &step::SEAL,
    &state::ENV,
    &state::RUN_AS,
    &state::WORKDIR,
    &state::DEFAULT_SHELL,
    &state::ENTRYPOINT,
    &state::CMD,
    &state::LABEL,
    &state::EXPOSE,
    &state::VOLUME,
    &state::STOP_SIGNAL,
    &export::OCI,
    &export::DOCKER_ARCHIVE,
    &export::TARBALL,
    &export::DIRECTORY,
    &export::SBOM,
    &export::INDEX,
    &command::GENRULE,
    &test::COMMAND_SUCCEEDS,
    &test::FILE_EXISTS,
    &test::FILE_ABSENT,
    &test::USER_EXISTS,
    &test::PACKAGE_INSTALLED,
    &test::UNIT_ENABLED,
    &test::IMAGE_TEST,
];

/// Each kind, in the order of the reference.
#[must_use]
pub fn all() -> &'static [&'static KindSchema] {
    ALL
}

/// The kind of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static KindSchema> {
    ALL.iter().copied().find(|schema| schema.id == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use imgbuild_model::{AttributeType, Default, Effect, KindClass, Role};

    use super::*;

    #[test]
    fn names_are_unique_and_documented() {
        let mut seen = HashSet::new();
        for schema in all() {
            assert!(seen.insert(schema.id), "`{}` twice", schema.id);
            assert!(!schema.doc.is_empty(), "`{}` has no doc", schema.id);
            let mut attributes = HashSet::new();
            for attribute in schema.attributes {
                assert!(attributes.insert(attribute.name), "`{}.{}` twice", schema.id, attribute.name);
                assert!(!attribute.doc.is_empty(), "`{}.{}` has no doc", schema.id, attribute.name);
            }
        }
    }

    #[test]
    fn defaults_fit_their_types() {
        for schema in all() {
            for attribute in schema.attributes {
                let fits = match (attribute.default, attribute.type_) {
                    (Default::Required | Default::None, _) => true,
                    (Default::Bool(_), type_) => type_ == AttributeType::Bool,
                    (Default::Int(_), type_) => matches!(type_, AttributeType::Int | AttributeType::Duration),
                    (Default::String(word), AttributeType::Enum(words)) => words.contains(&word),
                    (Default::String(_), type_) => {
                        matches!(type_, AttributeType::String | AttributeType::Mode)
                    }
                    (Default::EmptyList, type_) => matches!(
                        type_,
                        AttributeType::StringList
                            | AttributeType::IntList
                            | AttributeType::Files
                            | AttributeType::Steps
                    ),
                    (Default::EmptyDict, type_) => {
                        matches!(type_, AttributeType::StringDict | AttributeType::Secrets)
                    }
                };
                assert!(fits, "`{}.{}`", schema.id, attribute.name);
            }
        }
    }

    #[test]
    fn what_only_moves_the_state_makes_no_layer() {
        for schema in all() {
            if schema.effect == Effect::State {
                assert_eq!(schema.class, KindClass::Step, "`{}`", schema.id);
                assert!(schema.keeps_packages, "`{}`", schema.id);
            }
        }
    }

    #[test]
    fn retries_and_timeouts_never_enter_a_key() {
        for schema in all() {
            for name in ["timeout", "max_retries", "pause_before", "pause_after", "cache"] {
                if let Some(attribute) = schema.attribute(name) {
                    assert_eq!(attribute.role, Role::Policy, "`{}.{name}`", schema.id);
                }
            }
        }
    }
}
