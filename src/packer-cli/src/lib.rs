//! The shape of Packer's command line and of its output, as data and text: what may be typed, what a run looks like, what
//! is asked. Not here: printing, the environment, files, and what any of the commands does.
//!
//! A program reads its words with [`args`], renders what happens with [`ui::Ui`], what is wrong with [`diagnostics`], and
//! asks with [`prompt`]:
//!
//! ```
//! use imgbuild_packer_cli::args::{Command, parse_packer};
//! use imgbuild_packer_cli::ui::{Appearance, Event, Masker, Ui};
//!
//! let words = ["build", "-color=false", "web.pkr.hcl"].map(std::ffi::OsString::from);
//! let invocation = parse_packer(&words).expect("a build");
//! let Command::Build(build) = invocation.command else { unreachable!() };
//! let appearance = Appearance::of(&build, invocation.machine_readable, false);
//! let sensitive = Masker::new(["hunter22"]);
//! let mut ui = Ui::new(appearance, sensitive, ["null.web".to_owned()]);
//! let web = ui.builds().next().expect("one build");
//! let event = Event::Say { build: web, text: "the password is hunter22".to_owned() };
//! assert_eq!(ui.event(&jiff::Zoned::now(), &event), "==> null.web: the password is <sensitive>\n");
//! ```

pub mod args;
pub mod diagnostics;
pub mod prompt;
pub mod ui;
