//! The front end for Packer's templates.
//!
//! [`template`] reads templates in HCL, [`legacy`] those in the older JSON form, [`interpolate`] has the functions of the
//! Go templates inside of both, [`fix`] brings old ones up to date, and [`upgrade`] writes them in HCL. Nothing here reads
//! files, the environment or the clock, and nothing prints: what is needed of them is given.

pub mod fix;
pub mod go_json;
pub mod go_time;
pub mod interpolate;
pub mod json;
pub mod legacy;
pub mod template;
pub mod upgrade;
