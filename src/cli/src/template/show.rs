//! The verbs that look at templates and run nothing.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use imgbuild_model::{Class, Diagnostic, Diagnostics, KindClass};
use imgbuild_packer::template::{Answer, Console as TemplateConsole, inspect as inspect_text};
use imgbuild_packer::{fix as fixers, legacy, upgrade as upgrader};
use imgbuild_packer_cli::args::{Common, Console, Fix, Hcl2Upgrade, Init, Inspect, Plugins, Validate, exit};

use super::load::{self, Language, LoadOptions, Place, language};
use super::{Done, Printer, prepare, real_packer};

/// `validate`.
pub(super) fn validate(command: &Validate, printer: &Printer, place: &Place) -> Done {
    let options = LoadOptions {
        ask: command.evaluate_data_sources,
        warn_undeclared: command.warn_on_undeclared_var,
        syntax_only: command.syntax_only,
        ..LoadOptions::default()
    };
    if command.syntax_only {
        match language(&command.template, command.common.config_type) {
            Language::Hcl => {
                let loaded = load::read_hcl(&command.template, &command.common, options, place, printer)?;
                printer.diagnostics(&loaded.into_result()?.1);
            }
            Language::Legacy => {
                load::read_json(&command.template, place)?;
            }
        }
        printer.say("Syntax-only check passed. Everything looks okay.");
        return Ok(exit::SUCCESS);
    }
    let loaded = load::load(&command.template, &command.common, options, place, printer)?;
    let warnings = prepare::check(&loaded, place)?;
    printer.diagnostics(&loaded.warnings);
    printer.diagnostics(&loaded.recipes.warnings);
    printer.diagnostics(&warnings);
    printer.say("The configuration is valid.");
    Ok(exit::SUCCESS)
}

/// `inspect`.
pub(super) fn inspect(command: &Inspect, printer: &Printer, place: &Place) -> Done {
    let Some(path) = &command.template else {
        return Err(Diagnostic::error("no template is named").hint("write `inspect TEMPLATE`").into());
    };
    if language(path, command.common.config_type) == Language::Legacy {
        let template = load::read_json(path, place)?;
        for line in legacy::inspect(&template) {
            match line {
                legacy::Line::Say(text) => printer.say(&text),
                legacy::Line::Machine(kind, values) => printer.machine(kind, &values),
            }
        }
        return Ok(exit::SUCCESS);
    }
    // As in Packer, what cannot be evaluated is shown as unknown. To look at a template asks nobody anything.
    let options = LoadOptions { offline: true, ..LoadOptions::default() };
    let loaded = load::read_hcl(path, &command.common, options, place, printer)?;
    if loaded.has_errors() && loaded.template.builds.is_empty() && loaded.template.variables.is_empty() {
        return Err(loaded.diagnostics);
    }
    let text = loaded.template.mask().apply(&inspect_text(&loaded.template));
    printer.say(text.trim_end());
    Ok(exit::SUCCESS)
}

/// `console`.
pub(super) fn console(command: &Console, printer: &Printer, place: &Place) -> Done {
    let options = LoadOptions { ask: true, ..LoadOptions::default() };
    let path = command.template.as_deref();
    if let Some(path) = path.filter(|path| language(path, command.common.config_type) == Language::Legacy) {
        return Err(Diagnostic::error(format!(
            "`{}` is a template in JSON, which has no expressions",
            path.display()
        ))
        .hint("`hcl2_upgrade` writes it in HCL")
        .into());
    }
    let folder = tempfile::tempdir().map_err(|error| {
        Diagnostic::error(format!("cannot make a folder: {error}")).class(Class::Environment)
    })?;
    let nothing = folder.path().join("nothing.pkr.hcl");
    fs_err::write(&nothing, "")
        .map_err(|error| Diagnostic::error(error.to_string()).class(Class::Environment))?;
    let loaded = load::read_hcl(path.unwrap_or(&nothing), &command.common, options, place, printer)?;
    let (template, warnings) = loaded.into_result()?;
    printer.diagnostics(&warnings);
    let console = TemplateConsole::new(&template);
    let mask = template.mask();
    let terminal = std::io::stdin().is_terminal();
    let mut last = None;
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(b"> ").and_then(|()| out.flush());
        }
        let Some(line) = lines.next() else { break };
        let line = line.map_err(|error| Diagnostic::error(error.to_string()).class(Class::Environment))?;
        match console.answer(&line) {
            Ok(Answer::Exit) => break,
            Ok(Answer::Text(text)) if terminal => printer.say(&mask.apply(&text)),
            Ok(Answer::Text(text)) => last = Some(text),
            Err(diagnostics) if terminal => printer.diagnostics(&diagnostics),
            Err(diagnostics) => return Err(diagnostics),
        }
    }
    // From a pipe, each line is evaluated and the last answer is shown, as in Packer.
    if let Some(text) = last {
        printer.say(&mask.apply(&text));
    }
    Ok(exit::SUCCESS)
}

fn only_json(path: &Path, common: &Common, verb: &str) -> Result<(), Diagnostics> {
    match language(path, common.config_type) {
        Language::Legacy => Ok(()),
        Language::Hcl => Err(Diagnostic::error(format!("`{verb}` is for templates in JSON"))
            .hint("templates in HCL are laid out by `fmt`")
            .into()),
    }
}

/// `fix`.
pub(super) fn fix(command: &Fix, printer: &Printer, place: &Place) -> Done {
    only_json(&command.template, &command.common, "fix")?;
    let (name, text) = load::json_text(&command.template, place)?;
    let fixed = fixers::fix(&name, &text)?;
    if command.validate {
        let template = legacy::Template::parse(&name, &fixed.text)?;
        let problems = template.validate(imgbuild_packer::template::VERSION);
        if !problems.is_empty() {
            return Err(Diagnostics(problems));
        }
    }
    printer.diagnostics(&Diagnostics(fixed.warnings));
    printer.say(fixed.text.trim_end());
    Ok(exit::SUCCESS)
}

/// `hcl2_upgrade`.
pub(super) fn upgrade(command: &Hcl2Upgrade, printer: &Printer, place: &Place) -> Done {
    only_json(&command.template, &command.common, "hcl2_upgrade")?;
    let template = load::read_json(&command.template, place)?;
    let is_known = |kind: &str| imgbuild_kinds::component(KindClass::Builder, kind).is_some();
    let options = upgrader::Options { annotations: command.with_annotations };
    let upgraded = upgrader::upgrade(&template, options, &is_known);
    let path = place.cwd.join(&command.output_file);
    imgbuild_engine::outputs::write_whole(&path, false, &mut upgraded.text.as_bytes()).map_err(|error| {
        Diagnostic::error(format!("cannot write `{}`: {error}", path.display())).class(Class::Environment)
    })?;
    let code = if upgraded.unknown_builders.is_empty() { exit::SUCCESS } else { exit::FAILURE };
    printer.diagnostics(&Diagnostics(upgraded.unknown_builders));
    printer.say(&format!("Successfully created {}. Exit {code}", command.output_file.display()));
    Ok(code)
}

/// `init`: nothing is fetched, since components are built in, or are carried out by a real `packer` with its own plugins.
pub(super) fn init(command: &Init, printer: &Printer, place: &Place) -> Done {
    if language(&command.template, command.common.config_type) == Language::Legacy {
        return Err(Diagnostic::error("plugins are required by templates in HCL only")
            .hint("`hcl2_upgrade` writes a template in JSON in HCL")
            .into());
    }
    let options = LoadOptions { syntax_only: true, ..LoadOptions::default() };
    let (template, _) =
        load::read_hcl(&command.template, &command.common, options, place, printer)?.into_result()?;
    if template.plugins.is_empty() {
        printer.say("No plugins requirement found, make sure you reference a Packer config\ncontaining a packer.required_plugins block.");
        return Ok(exit::SUCCESS);
    }
    for plugin in &template.plugins {
        printer.say(&format!("{}: {}", plugin.source, real_packer::satisfied_by()));
    }
    Ok(exit::SUCCESS)
}

/// `plugins required`.
pub(super) fn required(path: &Path, common: &Common, printer: &Printer, place: &Place) -> Done {
    let options = LoadOptions { syntax_only: true, ..LoadOptions::default() };
    let (template, _) = load::read_hcl(path, common, options, place, printer)?.into_result()?;
    for plugin in &template.plugins {
        printer.say(&format!("{} {} \"{}\"", plugin.name, plugin.source, plugin.version));
    }
    Ok(exit::SUCCESS)
}

/// `plugins install`, `installed` and `remove`.
pub(super) fn plugins(command: &Plugins, printer: &Printer) -> Done {
    match command {
        Plugins::Installed => {
            printer.say("Components are built in; a build that needs another runs through a real `packer` with its own plugins.");
            Ok(exit::SUCCESS)
        }
        _ => Err(Diagnostic::error("plugins are neither installed nor removed by this program")
            .hint("components are built in; for others, install a real `packer` and its plugins")
            .into()),
    }
}
