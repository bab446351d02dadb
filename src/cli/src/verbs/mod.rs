//! One file a verb.

mod build;
mod cache;
mod check_resume;
mod diff;
mod enter;
mod explain;
mod house;
mod query;
mod update;

use std::process::ExitCode;

use imgbuild::args::Verb;
use imgbuild_model::Diagnostics;

use crate::session::Session;

pub(crate) use build::{become_root, diagnostic};

/// Carries out a verb.
pub(crate) fn run(verb: Verb, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    match verb {
        Verb::Build(build) => build::build(&build, session),
        Verb::Test(test) => build::test(&test, session),
        Verb::Plan(plan) => explain::plan(&plan, session),
        Verb::Why(why) => explain::why(&why, session),
        Verb::Log(log) => explain::log(&log, session),
        Verb::Run(run) => enter::run(&run, session),
        Verb::Shell(shell) => enter::shell(&shell, session),
        Verb::Diff(diff) => diff::diff(&diff, session),
        Verb::Query(query) => query::query(&query, session),
        Verb::Update(update) => update::update(&update, session),
        Verb::Cache(cache) => cache::cache(&cache, session),
        Verb::Clean(_) => house::clean(session),
        Verb::Cleanup(_) => house::cleanup(session),
        Verb::Completions(completions) => house::completions(&completions, session),
        Verb::Man(man) => house::man(&man, session),
        Verb::Version(_) => house::version(session),
    }
}
