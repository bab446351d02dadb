//! `diff`: two images compared. What differs is found by `imgbuild-compare`; here the images are had, and what was found is
//! shown.

mod show;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use imgbuild::args::{BuildOptions, Diff, DiffFormat, Variant};
use imgbuild::ui::Aim;
use imgbuild_cache::{ActionResult, Cache, Lease, Run};
use imgbuild_compare::{
    CompareError, LayerTree, OpenError, Opened, Options, Report, Side, compare, configuration, is_there, open,
};
use imgbuild_engine::LayerMetadata;
use imgbuild_exports::image_config;
use imgbuild_formats::{LayerSource, Platform as OciPlatform};
use imgbuild_model::{
    Architecture, ChainState, Class, Diagnostic, Diagnostics, Label, Platform, with_causes,
};
use imgbuild_plan::slot;
use imgbuild_tree::DeltaManifest;

use super::build::{become_root, carry_out, failures};
use crate::session::{Planning, Session, Want, cache_error, sealed_layer};

/// One of the two, as it was typed.
enum Named {
    Target(Label),
    Path(PathBuf),
}

impl Named {
    fn shown(&self) -> String {
        match self {
            Self::Target(label) => label.to_string(),
            Self::Path(path) => path.display().to_string(),
        }
    }
}

/// One of the two, as it can be compared.
enum Image {
    Opened(Opened),
    Built(Built),
}

/// An image of the cache.
struct Built {
    deltas: Vec<(Arc<DeltaManifest>, PathBuf)>,
    /// Not known of earlier results.
    configuration: Option<BTreeMap<String, String>>,
}

impl Built {
    fn new(
        cache: &Cache,
        run: &Run,
        result: &ActionResult,
        configuration: Option<BTreeMap<String, String>>,
    ) -> Result<Self, Diagnostics> {
        let leases: Vec<Lease> = result.layers.iter().map(|delta| Lease::Layer(*delta)).collect();
        run.lease(&leases).map_err(|error| cache_error(&error))?;
        let delta = |delta| Ok((cache.layer_manifest(delta)?, cache.layer_tree(delta)));
        let deltas = result.layers.iter().map(delta).collect::<Result<_, imgbuild_cache::Error>>();
        Ok(Self { deltas: deltas.map_err(|error| cache_error(&error))?, configuration })
    }
}

impl Image {
    /// Its layers, the lowest first; none if it is not of the cache.
    fn layers(&self) -> Vec<LayerSource<'_>> {
        match self {
            Self::Opened(_) => Vec::new(),
            Self::Built(built) => {
                built.deltas.iter().map(|(manifest, tree)| LayerSource { manifest, tree }).collect()
            }
        }
    }

    /// What is compared; `view` is the tree of its layers.
    fn side<'t>(&'t self, name: &'t str, view: &'t LayerTree<'t>) -> Side<'t> {
        match self {
            Self::Opened(opened) => {
                Side { name, tree: &*opened.tree, configuration: opened.configuration.as_ref() }
            }
            Self::Built(built) => Side { name, tree: view, configuration: built.configuration.as_ref() },
        }
    }
}

/// `imgbuild diff`.
pub(super) fn diff(diff: &Diff, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let mut options = Options::default();
    (options.owners, options.times, options.text) = (!diff.no_owners, diff.times, diff.text);
    let options = options.limited(&diff.ignore, &diff.paths).map_err(|error| {
        Diagnostic::error(format!("{error}")).hint("`*` and `?` stop at `/`, `**` does not")
    })?;
    let before = named(&diff.before, session)?;
    let after = diff.after.as_deref().map(|text| named(text, session)).transpose()?;
    let targets: Vec<Label> = [Some(&before), after.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|named| match named {
            Named::Target(label) => Some(label.clone()),
            Named::Path(_) => None,
        })
        .collect();
    let built = if targets.is_empty() { BTreeMap::new() } else { build(&targets, diff, session)? };
    let cache = session.cache()?;
    let run = Run::begin(&cache).map_err(|error| cache_error(&error))?;
    session.ui.phase("reading");
    let image = |named: &Named| match named {
        Named::Target(label) => {
            let found = found(&built, label)?;
            Built::new(&cache, &run, &found.result, found.configuration.clone()).map(Image::Built)
        }
        Named::Path(path) => {
            let platforms = platforms(&diff.variant);
            open(path, &platforms, run.temporary()).map(Image::Opened).map_err(|error| not_opened(&error))
        }
    };
    let report = match (&before, &after) {
        (_, Some(named)) => {
            let names = [before.shown(), named.shown()];
            compared((&names[0], image(&before)?), (&names[1], image(named)?), &options)?
        }
        (Named::Target(label), None) => {
            let now = found(&built, label)?;
            let last = last(&cache, label, now)?;
            let one = Image::Built(Built::new(&cache, &run, &last, None)?);
            let other = Image::Built(Built::new(&cache, &run, &now.result, None)?);
            compared((&format!("{label} before"), one), (&label.to_string(), other), &options)?
        }
        (Named::Path(path), None) => {
            return Err(Diagnostic::error(format!(
                "`{}` is no target, so there is no last result",
                path.display()
            ))
            .hint("name both: what it was and what it is")
            .into());
        }
    };
    session.ui.close();
    if diff.format == DiffFormat::Json || session.shell.settings().json {
        session.shell.line(&serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        show::show(&report, diff.all, &session.shell);
    }
    Ok(if diff.exit_code && !report.equal { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What begins as labels do is one; what is there is a path; what else has a colon is a label.
fn named(text: &str, session: &Session) -> Result<Named, Diagnostics> {
    let is_label = text.starts_with("//") || text.starts_with(':');
    if !is_label && is_there(Path::new(text)) {
        return Ok(Named::Path(PathBuf::from(text)));
    }
    if is_label || (text.contains(':') && !text.starts_with(['/', '.'])) {
        session.files()?;
        return session.label(text).map(Named::Target);
    }
    Err(Diagnostic::error(format!("there is no file or folder `{text}`"))
        .hint("a target is written `//package:name` or `:name`")
        .into())
}

/// A target that was built.
struct Found {
    result: Arc<ActionResult>,
    configuration: Option<BTreeMap<String, String>>,
    /// What the place of its last layer is called in the history.
    slot: String,
}

fn found<'f>(built: &'f BTreeMap<Label, Found>, label: &Label) -> Result<&'f Found, Diagnostics> {
    built.get(label).ok_or_else(|| Diagnostic::error(format!("`{label}` was not built")).into())
}

/// Builds targets where that is needed.
fn build(
    targets: &[Label],
    diff: &Diff,
    session: &mut Session,
) -> Result<BTreeMap<Label, Found>, Diagnostics> {
    let patterns: Vec<String> = targets.iter().map(Label::to_string).collect();
    let selection = session.selection(patterns.iter().map(String::as_str), &diff.variant)?;
    let prepared = session.prepare(&selection, &Planning { want: Want::Sealed, ..Planning::default() })?;
    if prepared.plan.running().next().is_none() {
        // Only root of the namespace reads the files of layers.
        become_root(session)?;
    }
    let report = carry_out(session, &prepared, &BuildOptions::default(), Aim::Build)?;
    let problems = failures(&prepared, &report);
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }
    let mut built = BTreeMap::new();
    for root in &prepared.analyzed.roots {
        let label = &root.label;
        let no_image = || Diagnostic::error(format!("`{label}` is no image"));
        let (platform, id) = root.platforms.first().copied().ok_or_else(no_image)?;
        let layer = sealed_layer(&prepared.analyzed, id).ok_or_else(no_image)?;
        let place = prepared.keys.graph.find(&layer.action);
        let result = place.and_then(|place| Some((place, report.results.get(&place)?.clone())));
        let (place, result) = result.ok_or_else(|| Diagnostic::error(format!("`{label}` was not built")))?;
        let metadata: LayerMetadata = serde_json::from_slice(&result.metadata).unwrap_or_default();
        let configuration = Some(described(&metadata, &layer.state, platform));
        built.insert(label.clone(), Found { result, configuration, slot: slot(&prepared.keys.graph, place) });
    }
    Ok(built)
}

/// How containers of a target run, as its exports say it.
fn described(metadata: &LayerMetadata, state: &ChainState, platform: Platform) -> BTreeMap<String, String> {
    configuration(&image_config(metadata, state), &platform.to_string())
}

/// The newest result of a target that is another than this one, and still in the cache.
fn last(cache: &Cache, label: &Label, found: &Found) -> Result<Arc<ActionResult>, Diagnostics> {
    let failed = |error| cache_error(&error);
    let mut gone = 0;
    for record in cache.slot_history(&found.slot, usize::MAX).map_err(failed)? {
        let Some(result) = cache.get(&record.key).map_err(failed)? else {
            gone += 1;
            continue;
        };
        if result.layers == found.result.layers {
            continue;
        }
        if result.layers.iter().all(|delta| cache.has_layer(delta)) {
            return Ok(Arc::new(result));
        }
        gone += 1;
    }
    let problem = Diagnostic::error(format!("there is no other result of `{label}` in the cache"));
    Err(match gone {
        0 => {
            problem.hint("it compares with what was built here before the target, or what it needs, changed")
        }
        _ => problem.hint("earlier ones were removed from the cache to make room"),
    }
    .into())
}

/// The platforms that an image of a layout may be for, the best first: those that were asked for, or this machine's.
fn platforms(variant: &Variant) -> Vec<OciPlatform> {
    let asked: &[Platform] = &variant.platforms;
    let own = [Platform::host()];
    let wanted = if asked.is_empty() { &own[..] } else { asked };
    let of = |platform: &Platform| {
        let any = OciPlatform::linux(platform.architecture.oci_name());
        match platform.architecture {
            // Of several for 32-bit ARM, the one that distributions mean.
            Architecture::Arm => vec![OciPlatform { variant: Some("v7".to_owned()), ..any.clone() }, any],
            _ => vec![any],
        }
    };
    wanted.iter().flat_map(of).collect()
}

fn not_opened(error: &OpenError) -> Diagnostics {
    let class = if error.is_of_machine() { Class::Environment } else { Class::Input };
    Diagnostic::error(with_causes(error)).class(class).maybe_hint(error.hint()).into()
}

fn compared(
    (before, one): (&str, Image),
    (after, other): (&str, Image),
    options: &Options,
) -> Result<Report, Diagnostics> {
    let layers = [one.layers(), other.layers()];
    let damaged = |error| Diagnostic::error(with_causes(&error)).class(Class::Environment);
    let views = [LayerTree::new(&layers[0]).map_err(damaged)?, LayerTree::new(&layers[1]).map_err(damaged)?];
    let report = compare(one.side(before, &views[0]), other.side(after, &views[1]), options);
    report.map_err(|error| {
        let class = match &error {
            CompareError::Io(_) => Class::Environment,
            CompareError::Facts { .. } => Class::Input,
        };
        Diagnostic::error(with_causes(&error)).class(class).into()
    })
}
