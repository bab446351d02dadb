//! The schema of every kind, as data: one file a group of kinds, one constant a kind; and the check of a body against
//! its schema ([`check()`]).
//!
//! Both front ends, the planner, the generated reference and completion read these tables. [`all`] has the kinds that
//! `BUILD.star` names, [`components`] those that templates name. What is not here: code that does anything. A kind's
//! `key_version` is raised by hand when the same attributes come to mean other bytes.
//!
//! ```
//! use imgbuild_kinds::{Dialect, check, component};
//! use imgbuild_model::{Field, Form, KindClass, Location, Node, NodeData};
//!
//! let place = Location::file("web.pkr.hcl");
//! let size = Field {
//!     name: "durations".into(),
//!     location: place.clone(),
//!     form: Form::Attribute,
//!     value: Node::string("90s", place.clone()),
//! };
//! let body = Node::new(NodeData::Object(vec![size]), place);
//! let sleep = component(KindClass::Provisioner, "sleep").unwrap();
//! let problems = check(sleep, &body, Dialect::Hcl);
//! assert_eq!(problems[0].message(), "provisioner `sleep` has no attribute or block `durations`");
//! assert_eq!(problems[0].hint().as_deref(), Some("did you mean `duration`?"));
//! ```

mod attribute;
mod check;
mod command;
mod export;
mod manage;
mod packer;
mod source;
mod state;
mod step;
mod test;

use imgbuild_model::KindSchema;

pub use check::{Dialect, PathStep, Problem, ProblemKind, Subject, check};
pub use packer::{
    DISK_SWITCHES, POST_PROCESSOR_META, PROVISIONER_META, classes_of, component, components, suggest,
};

/// Each kind.
static ALL: &[&KindSchema] = &[
    &source::DEBIAN,
    &source::UBUNTU,
    &source::OCI_BASE,
    &source::ROOTFS_TAR,
    &source::SCRATCH,
    &source::HOST,
    &source::QEMU,
    &source::BOOT,
    &step::SHELL,
    &step::SHELL_LOCAL,
    &step::SLEEP,
    &step::BREAKPOINT,
    &step::DOWNLOAD,
    &manage::REBOOT,
    &manage::ANSIBLE,
    &manage::ANSIBLE_LOCAL,
    &manage::PUPPET_MASTERLESS,
    &manage::SALT_MASTERLESS,
    &step::GOSS_VALIDATE,
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
    &step::POWER_OFF,
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
    &export::DISK,
    &export::SBOM,
    &export::INDEX,
    &command::GENRULE,
    &command::PACKER_BUILD,
    &command::WRITE_FILE,
    &test::COMMAND_SUCCEEDS,
    &test::FILE_EXISTS,
    &test::FILE_ABSENT,
    &test::USER_EXISTS,
    &test::PACKAGE_INSTALLED,
    &test::UNIT_ENABLED,
    &test::UNIT_ACTIVE,
    &test::PORT_LISTENING,
    &test::GOSS,
    &test::OPENSCAP,
    &test::LYNIS,
    &test::TESTINFRA,
    &test::IMAGE_TEST,
    &test::IMAGE_DIFF,
];

/// Each kind that `BUILD.star` names, in the order of the reference.
#[must_use]
pub fn all() -> &'static [&'static KindSchema] {
    ALL
}

/// The kind of `BUILD.star` of that name.
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
            assert!(schema.tool.is_empty() || schema.attribute(schema.tool).is_some(), "`{}`", schema.id);
            let mut attributes = HashSet::new();
            for attribute in schema.table().all_attributes() {
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
                    (Default::Strings(_), type_) => type_ == AttributeType::StringList,
                    (Default::EmptyList, type_) => matches!(
                        type_,
                        AttributeType::StringList
                            | AttributeType::List(_)
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
