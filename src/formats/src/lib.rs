//! Readers and writers of image formats: OCI layouts, docker archives, tarballs, directories, package lists, SBOMs
//! and provenance.
//!
//! Whatever is written is a function of its arguments to the byte: times are given, maps are sorted, compressors run
//! at fixed levels with fixed block sizes, so that neither the clock, the machine nor the number of threads shows. File
//! contents are streamed, never held, and hashed on the way: what does not match its manifest is an error.
//!
//! What is not here: registries (the caller fetches a layout), mounts, the cache, any idea of a target or a step's
//! kind. Nothing prints and nothing reads the clock or the environment.

mod compress;
mod directory;
mod docker_archive;
mod error;
mod gzip;
mod hashing;
mod image;
pub mod oci;
pub mod oci_read;
pub mod packages;
pub mod peek;
mod place;
pub mod provenance;
pub mod sbom;
pub mod scan;
mod staging;
mod tar_read;
mod tar_stream;
mod tarball;
pub mod unpack;
mod view;

pub use compress::{Compression, Compressor};
pub use directory::{DirectoryOptions, write_directory};
pub use docker_archive::{WrittenDockerArchive, write_docker_archive};
pub use error::ExportError;
pub use image::{Image, ImageConfig, LayerPolicy, Platform, Step};
pub use place::Notice;
pub use tar_stream::{tar_size, write_tar};
pub use tarball::{WrittenTarball, write_tarball};
pub use view::{LayerSource, LeaveOut, TreeView, ViewEntry, ViewFile, ViewNode};
