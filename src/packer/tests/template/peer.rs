//! The same templates in Debian's `packer`.
