//! The components that Packer's templates name: one file a plugin, one constant a component, shared tables beside them.
//!
//! Types, defaults and what is required are those of the plugins' releases of July 2026; words are our own. Roles follow
//! what enters keys: what runs in the guest, what is written into it, where its chain starts and what files come out is
//! content; virtual hardware that a guest can tell is the machine; accounts, regions, networks, sizes of instances and
//! keys of storage are placement; names, tags, labels and descriptions are naming; who may use the image, waiting,
//! retries and what is cleaned up are policy; how a machine is reached is transport, but who logs in is content. What says
//! whether a step has succeeded is content too: a result that passed by other rules is another result. A doubtful attribute
//! is content: that costs a rebuild, the opposite a wrong image.

// The tables have an attribute a line, which is longer than code may be: `rustfmt` leaves them alone.
#[rustfmt::skip]
mod amazon;
#[rustfmt::skip]
mod ansible;
#[rustfmt::skip]
mod arm;
mod attribute;
#[rustfmt::skip]
mod azure;
#[rustfmt::skip]
mod builtin;
#[rustfmt::skip]
mod checks;
#[rustfmt::skip]
mod common;
#[rustfmt::skip]
mod communicator;
pub(crate) use communicator::OVER_SSH;
#[rustfmt::skip]
mod digitalocean;
#[rustfmt::skip]
mod docker;
#[rustfmt::skip]
mod googlecompute;
#[rustfmt::skip]
mod management;
mod meta;
#[rustfmt::skip]
mod openstack;
#[rustfmt::skip]
mod proxmox;
#[rustfmt::skip]
mod qemu;
pub(crate) use qemu::{MACHINE as QEMU_MACHINE, MAKING as QEMU_MAKING};
#[rustfmt::skip]
mod vagrant;
#[rustfmt::skip]
mod virtualbox;
#[rustfmt::skip]
mod vmware;

use imgbuild_model::{KindClass, KindSchema, did_you_mean};

pub use meta::{POST_PROCESSOR_META, PROVISIONER_META};
pub use qemu::DISK_SWITCHES;

/// Each component, a slice a plugin.
static ALL: &[&[&KindSchema]] = &[
    builtin::ALL,
    communicator::ALL,
    docker::ALL,
    qemu::ALL,
    amazon::ALL,
    ansible::ALL,
    googlecompute::ALL,
    azure::ALL,
    openstack::ALL,
    digitalocean::ALL,
    vagrant::ALL,
    virtualbox::ALL,
    vmware::ALL,
    proxmox::ALL,
    arm::ALL,
    management::ALL,
    checks::ALL,
];

/// Each component that templates name, in the order of the reference.
pub fn components() -> impl Iterator<Item = &'static KindSchema> {
    ALL.iter().flat_map(|plugin| plugin.iter().copied())
}

/// The component of that class and name.
#[must_use]
pub fn component(class: KindClass, id: &str) -> Option<&'static KindSchema> {
    components().find(|schema| schema.class == class && schema.id == id)
}

/// A component's name that may have been meant by a name that there is not.
#[must_use]
pub fn suggest(class: KindClass, id: &str) -> Option<&'static str> {
    did_you_mean(id, components().filter(|schema| schema.class == class).map(|schema| schema.id))
}

/// The classes that have a component of that name, for one that stands in the wrong place.
pub fn classes_of(id: &str) -> impl Iterator<Item = KindClass> {
    components().filter(move |schema| schema.id == id).map(|schema| schema.class)
}
