//! `cache`: looks at the store, checks it, makes room in it.

use std::process::ExitCode;

use imgbuild::args::{Cache, CacheVerb};
use imgbuild::ui::text;
use imgbuild_cache::{GcPolicy, VerifyOptions};
use imgbuild_model::{Class, Diagnostic, Diagnostics};

use super::build::become_root;
use crate::session::{Session, cache_error};

/// `imgbuild cache`.
pub(super) fn cache(verb: &Cache, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    session.ui.close();
    match &verb.verb {
        CacheVerb::Path => {
            session.shell.line(&session.config.cache_dir.display().to_string());
            Ok(ExitCode::SUCCESS)
        }
        CacheVerb::Stats => stats(session),
        CacheVerb::Verify(verify) => check(session, verify.repair),
        CacheVerb::Gc(gc) => {
            become_root(session)?;
            let policy = GcPolicy {
                max_size: gc.max_size.map(|size| size.0).or(session.config.cache_max_size),
                max_age: gc.max_age.map(|age| age.0).or(session.config.cache_max_age),
                dry_run: gc.dry_run,
                ..GcPolicy::default()
            };
            let report = session.cache()?.gc(&policy).map_err(|error| cache_error(&error))?;
            let would = if gc.dry_run { "would remove" } else { "removed" };
            session.shell.line(&format!(
                "{would} {}, {}, {}, {}, {}, {} and {}: {}",
                text::count(report.results, "result"),
                text::count(report.layers, "layer"),
                text::count(report.blobs, "blob"),
                text::count(report.chunks, "chunk"),
                text::count(report.whole, "whole file"),
                text::count(report.warm, "warm snapshot"),
                text::count(report.indexes, "package list"),
                text::size(report.bytes_freed + report.index_bytes_freed)
            ));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn stats(session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let stats = session.cache()?.stats().map_err(|error| cache_error(&error))?;
    if session.shell.settings().json {
        let document = serde_json::json!({
            "results": stats.results,
            "keys": stats.keys,
            "layers": stats.layers,
            "layer_bytes": stats.layer_bytes,
            "blobs": stats.blobs,
            "blob_bytes": stats.blob_bytes,
            "chunks": stats.chunks,
            "chunk_bytes": stats.chunk_bytes,
            "whole": stats.whole,
            "whole_bytes": stats.whole_bytes,
            "index_bytes": stats.index_bytes,
            "package_indexes": stats.package_indexes,
            "package_index_bytes": stats.package_index_bytes,
            "warm": stats.warm,
            "warm_bytes": stats.warm_bytes,
            "live_runs": stats.runs,
        });
        session.shell.line(&serde_json::to_string_pretty(&document).unwrap_or_default());
        return Ok(ExitCode::SUCCESS);
    }
    let rows = [
        ("results", stats.results, None),
        ("layers", stats.layers, Some(stats.layer_bytes)),
        ("blobs", stats.blobs, Some(stats.blob_bytes)),
        ("chunks", stats.chunks, Some(stats.chunk_bytes)),
        ("whole", stats.whole, Some(stats.whole_bytes)),
        ("warm", stats.warm, Some(stats.warm_bytes)),
        ("lists", stats.package_indexes, Some(stats.package_index_bytes)),
    ];
    for (name, count, bytes) in rows {
        let line = format!("{name:<10} {count:>8} {:>10}", bytes.map(text::size).unwrap_or_default());
        session.shell.line(line.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn check(session: &mut Session, repair: bool) -> Result<ExitCode, Diagnostics> {
    become_root(session)?;
    let options = VerifyOptions { repair };
    let report = session.cache()?.verify(options, &|_| {}).map_err(|error| cache_error(&error))?;
    for damage in &report.damage {
        session.shell.error(&damage.to_string());
    }
    let looked = format!(
        "checked {}, {}, {} and {}",
        text::count(report.blobs, "blob"),
        text::count(report.chunks, "chunk"),
        text::count(report.layers, "layer"),
        text::count(report.results, "result")
    );
    if report.damage.is_empty() {
        session.shell.line(&format!("{looked}: nothing is wrong"));
        return Ok(ExitCode::SUCCESS);
    }
    let diagnostic =
        Diagnostic::error(format!("{looked}: {} damaged", report.damage.len())).class(Class::Environment);
    Err(if repair {
        diagnostic.hint("what was damaged has been removed and will be built again")
    } else {
        diagnostic.hint("`imgbuild cache verify --repair` removes what is damaged, so that it is built again")
    }
    .into())
}
