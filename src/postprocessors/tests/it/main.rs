//! Post-processors on real files and with real programs.

mod chains;
mod checksum;
mod compress;
mod go;
mod local_command;
mod manifest;
mod packer;
mod support;
