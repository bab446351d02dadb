//! Images as they lie on the host, compared.

mod archives;
mod fixture;
mod found;
mod rules;
