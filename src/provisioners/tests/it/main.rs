//! What provisioners do, seen from outside of the crate.

mod powershell;
mod powershell_elevated;
mod support;
mod windows_restart;
mod windows_shell;
