//! The words behind a command into the command.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use imgbuild_model::{Diagnostic, did_you_mean};

use super::command::*;
use super::flags::{self, Words};
use super::table::{self, Passthrough, Verb};
use super::{Invocation, Program, Refusal, exit};

/// Reads the words behind a command.
pub(super) fn command(
    program: Program,
    verb: Verb,
    words: &[OsString],
    passthrough: &[Passthrough<'_>],
) -> Result<Invocation, Refusal> {
    let wrong = |diagnostic: Box<Diagnostic>| Refusal::new(Some(verb), exit::FAILURE, Some(*diagnostic));
    if verb == Verb::Version {
        return Ok(Invocation { command: Command::Version, machine_readable: false, passed: Vec::new() });
    }
    if verb == Verb::Plugins {
        return Err(Refusal::new(
            Some(verb),
            exit::FAILURE,
            words.first().map(|word| no_plugins_command(program, word)),
        ));
    }
    let read = flags::read(program, verb, words, passthrough).map_err(wrong)?;
    check_arguments(program, verb, &read.arguments).map_err(wrong)?;
    let command = make(verb, &read).map_err(wrong)?;
    Ok(Invocation { command, machine_readable: read.switch("machine-readable", false), passed: read.passed })
}

fn make(verb: Verb, words: &Words) -> Result<Command, Box<Diagnostic>> {
    let common = common(words);
    let argument = |index: usize| words.arguments.get(index).map(PathBuf::from);
    let text = |index: usize| words.arguments.get(index).map(|word| word.to_string_lossy().into_owned());
    let template = argument(0).unwrap_or_default();
    let evaluation = evaluation(words);
    Ok(match verb {
        Verb::Build => Command::Build(build(words, template, common)?),
        Verb::Validate => Command::Validate(Validate {
            template,
            common,
            evaluation,
            syntax_only: words.switch("syntax-only", false),
            warn_on_undeclared_var: !words.switch("no-warn-undeclared-var", false),
            evaluate_data_sources: words.switch("evaluate-datasources", false),
        }),
        Verb::Init => Command::Init(Init {
            template,
            common,
            upgrade: words.switch("upgrade", false),
            force: words.switch("force", false),
        }),
        Verb::Fmt => Command::Fmt(fmt(words, common)),
        Verb::Inspect => Command::Inspect(Inspect { template: argument(0), common, evaluation }),
        Verb::Console => Command::Console(Console { template: argument(0), common, evaluation }),
        Verb::Fix => Command::Fix(Fix { template, common, validate: words.switch("validate", true) }),
        Verb::Hcl2Upgrade => {
            let output_file = words.text("output-file").filter(|path| !path.is_empty()).map(PathBuf::from);
            Command::Hcl2Upgrade(Hcl2Upgrade {
                output_file: output_file.unwrap_or_else(|| upgraded(&template)),
                template,
                common,
                with_annotations: words.switch("with-annotations", false),
            })
        }
        Verb::Migrate => Command::Migrate(Migrate {
            template,
            common,
            output_file: words.text("output-file").filter(|path| !path.is_empty()).map(PathBuf::from),
            force: words.switch("force", false),
        }),
        Verb::PluginsInstall => Command::Plugins(Plugins::Install(PluginsInstall {
            source: text(0).unwrap_or_default(),
            constraint: text(1),
            path: words.text("path").filter(|path| !path.is_empty()).map(PathBuf::from),
            force: words.switch("force", false),
            common,
        })),
        Verb::PluginsInstalled => Command::Plugins(Plugins::Installed),
        Verb::PluginsRemove => {
            Command::Plugins(Plugins::Remove { source: text(0).unwrap_or_default(), constraint: text(1) })
        }
        Verb::PluginsRequired => Command::Plugins(Plugins::Required { template, common }),
        Verb::Plugins => Command::Help(Some(verb)),
        Verb::Version => Command::Version,
    })
}

fn build(words: &Words, template: PathBuf, common: Common) -> Result<Build, Box<Diagnostic>> {
    let on = |name| words.switch(name, false);
    let lock = match (on("lock"), on("locked")) {
        (true, true) => {
            let error = Diagnostic::error("`-lock` and `-locked` cannot both be given");
            let hint = "`-lock` writes what is resolved into the lock file; `-locked` refuses what it lacks";
            return Err(error.hint(hint).into());
        }
        (true, false) => Lock::Write,
        (false, true) => Lock::Required,
        (false, false) => Lock::AsFound,
    };
    let purpose = match (on("plan"), on("explain"), on("check-resume")) {
        (_, true, _) => Purpose::Explain,
        (true, false, _) => Purpose::Plan,
        (false, false, true) => Purpose::CheckResume,
        (false, false, false) => Purpose::Build,
    };
    let resume = match words.text("resume") {
        Some("cold") => Resume::Cold,
        Some("never") => Resume::Never,
        _ => Resume::Warm,
    };
    let parallel = words.number("parallel-builds").unwrap_or(0);
    Ok(Build {
        template,
        common,
        evaluation: evaluation(words),
        color: words.switch("color", true),
        debug: on("debug"),
        force: on("force"),
        on_error: on_error(words),
        parallel_builds: u64::try_from(parallel).ok().and_then(NonZeroU64::new),
        timestamp_ui: on("timestamp-ui"),
        warn_on_undeclared_var: on("warn-on-undeclared-var"),
        skip_enforcement: on("skip-enforcement"),
        reuse: Reuse { refresh: on("refresh"), max_age: words.age("max-age"), lock },
        purpose,
        resume,
    })
}

fn fmt(words: &Words, common: Common) -> Fmt {
    let check = words.switch("check", false);
    Fmt {
        paths: words.arguments.iter().map(PathBuf::from).collect(),
        common,
        check,
        diff: words.switch("diff", false),
        write: words.switch("write", true) && !check,
        recursive: words.switch("recursive", false),
    }
}

fn on_error(words: &Words) -> OnError {
    match words.text("on-error") {
        Some("abort") => OnError::Abort,
        Some("ask") => OnError::Ask,
        Some("run-cleanup-provisioner") => OnError::RunCleanupProvisioner,
        _ => OnError::Cleanup,
    }
}

fn common(words: &Words) -> Common {
    let list = |name| words.texts(name).flat_map(|text| text.split(',')).map(str::to_owned).collect();
    let pair = |text: &str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Common {
        only: list("only"),
        except: list("except"),
        vars: words.texts("var").filter_map(pair).collect(),
        var_files: words.texts("var-file").map(PathBuf::from).collect(),
        config_type: match words.text("config-type") {
            Some("hcl2") => ConfigType::Hcl2,
            _ => ConfigType::Json,
        },
    }
}

fn evaluation(words: &Words) -> Evaluation {
    Evaluation {
        sequential: words.switch("use-sequential-evaluation", false),
        ignore_prerelease_plugins: words.switch("ignore-prerelease-plugins", false),
    }
}

fn upgraded(template: &Path) -> PathBuf {
    let mut name = template.as_os_str().to_owned();
    name.push(".pkr.hcl");
    name.into()
}

fn check_arguments(program: Program, verb: Verb, arguments: &[OsString]) -> Result<(), Box<Diagnostic>> {
    let (least, most) = match verb {
        Verb::Console | Verb::Inspect => (0, 1),
        Verb::Fmt => (1, usize::MAX),
        Verb::PluginsInstall | Verb::PluginsRemove => (1, 2),
        Verb::PluginsInstalled | Verb::Plugins | Verb::Version => (0, 0),
        Verb::Build
        | Verb::Fix
        | Verb::Hcl2Upgrade
        | Verb::Init
        | Verb::Migrate
        | Verb::PluginsRequired
        | Verb::Validate => (1, 1),
    };
    let usage = format!("{program} {verb} [flags] {}", verb.arguments());
    if arguments.len() < least {
        let missing = verb.arguments().split(' ').next().unwrap_or_default().trim_end_matches("...");
        let message = format!("`{program} {verb}` needs an argument: `{missing}`");
        return Err(Diagnostic::error(message).hint(format!("write `{usage}`")).into());
    }
    if arguments.len() > most {
        let extra = &arguments[most];
        let message = format!("`{program} {verb}` has no use for the argument `{}`", extra.to_string_lossy());
        let hint = match program {
            Program::Packer if flags::is_flag(extra) => "flags stand before the template".to_owned(),
            _ if most == 1 && verb != Verb::PluginsRequired => {
                format!(
                    "one template at a time: `{}`; a folder is one template of many files",
                    usage.trim_end()
                )
            }
            _ => format!("write `{}`", usage.trim_end()),
        };
        return Err(Diagnostic::error(message).hint(hint).into());
    }
    Ok(())
}

fn no_plugins_command(program: Program, word: &OsString) -> Diagnostic {
    let word = word.to_string_lossy();
    let names = || table::of_plugins().map(|verb| verb.name().trim_start_matches("plugins "));
    let hint = match did_you_mean(&word, names()) {
        Some(near) => format!("did you mean `{program} plugins {near}`?"),
        None => format!(
            "it has the commands {}",
            names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ),
    };
    Diagnostic::error(format!("`{word}` is not a command of `{program} plugins`")).hint(hint)
}
