//! Templates in HCL from outside: cases in files, each with what is told and what the template becomes.

mod cases;
mod components;
mod console;
mod peer;
mod robust;
mod support;
