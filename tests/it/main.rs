//! Drives the built program from outside, as a user would.

mod archive;
mod asked;
mod basics;
mod delegated;
mod disks;
mod examples;
mod exported_disks;
mod failures;
mod faults;
mod golden;
mod images;
mod machines;
mod migrated;
mod mirrors;
mod packer_examples;
mod places;
mod provisioning;
mod reproducible;
mod seal;
mod secrets;
mod stores;
mod support;
mod targets;
mod templates;
mod ubuntu;
mod upgrades;
