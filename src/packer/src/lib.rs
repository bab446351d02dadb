//! The front end for Packer's templates.
//!
//! [`template`] reads templates in HCL, [`legacy`] those in the older JSON form, [`interpolate`] has the functions of the
//! Go templates inside of both. Both end in [`recipe`]s, which [`lower`] makes actions of and [`migrate`] makes a
//! `BUILD.star` of. [`fix`] brings templates in JSON up to date and [`upgrade`] makes HCL of them. Nothing here reads files, the environment or the clock, and nothing
//! prints: what is needed of them is given.

pub mod builders;
pub mod fix;
pub mod go_json;
pub mod go_time;
pub mod interpolate;
pub mod json;
pub mod legacy;
pub mod load;
pub mod lower;
pub mod migrate;
pub mod recipe;
pub mod target;
pub mod template;
pub mod upgrade;
