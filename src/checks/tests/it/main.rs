//! Goss files, evaluated on this host: what they say, and that a real goss says the same.

mod agreement;
mod host;
mod reports;
mod said;
