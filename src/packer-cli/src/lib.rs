//! The shape of Packer's command line and of its output, as data and text: what may be typed, what a run looks like, what
//! is asked. Not here: printing, the environment, files, and what any of the commands does.
//!
//! A program reads its words with [`args`], renders what happens with [`ui::Ui`], what is wrong with [`diagnostics`], and
//! asks with [`prompt`].

pub mod args;
pub mod diagnostics;
pub mod prompt;
pub mod ui;
