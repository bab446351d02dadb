//! Closures as the archive's crate knows them, and as the lock file writes them.

use imgbuild_debian::Version;
use imgbuild_debian::lock::{LockedClosure, LockedPackage};
use imgbuild_model::{Class, Diagnostic};
use imgbuild_plan::{DebianPin, PinnedClosure, PinnedPackage};

use super::errors::Problem;

/// The closure that a pin says.
pub(crate) fn locked_closure(pin: &DebianPin) -> Result<LockedClosure, Problem> {
    let damaged = |what: String| {
        Diagnostic::error(format!("`imgbuild.lock`: {what}"))
            .class(Class::Input)
            .hint("restore the file from version control, or remove the entry and run `imgbuild update`")
    };
    let closure = pin.closure().map_err(|error| damaged(error.to_string()))?;
    let unpin = |package: PinnedPackage| -> Result<LockedPackage, Problem> {
        let sha256 = package.sha256.parse().map_err(|_| {
            damaged(format!("the SHA-256 of package `{}` does not have 64 digits", package.name))
        })?;
        Ok(LockedPackage {
            version: Version::new(&package.version),
            sha256,
            size: package.size,
            filename: package.path,
            archive: package.archive,
            source: package.source.map(|(name, version)| match version {
                Some(version) => format!("{name} ({version})"),
                None => name,
            }),
            name: package.name,
            architecture: package.architecture,
        })
    };
    let batches: Result<Vec<Vec<LockedPackage>>, Problem> =
        closure.batches.into_iter().map(|batch| batch.into_iter().map(unpin).collect()).collect();
    Ok(LockedClosure {
        date: jiff::Timestamp::from_second(pin.date).ok(),
        remove: closure.remove,
        batches: batches?,
    })
}

/// The lines that say a closure.
///
/// # Errors
/// If a word of a package has white space in it, which no archive has and no line can say.
pub(crate) fn lines(closure: &LockedClosure) -> Result<Vec<String>, Problem> {
    let mut batches = Vec::with_capacity(closure.batches.len());
    for batch in &closure.batches {
        batches.push(batch.iter().map(pin).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(PinnedClosure { remove: closure.remove.clone(), batches }.lines())
}

fn pin(package: &LockedPackage) -> Result<PinnedPackage, Problem> {
    let source = package.source.as_deref().map(|source| match source.split_once(" (") {
        Some((name, version)) => (name.trim().to_owned(), Some(version.trim_end_matches(')').to_owned())),
        None => (source.to_owned(), None),
    });
    let pinned = PinnedPackage {
        name: package.name.clone(),
        version: package.version.to_string(),
        architecture: package.architecture.clone(),
        sha256: package.sha256.to_string(),
        size: package.size,
        path: package.filename.clone(),
        archive: package.archive.clone(),
        source,
    };
    let PinnedPackage { name, version, architecture, sha256: _, size: _, path, archive, source } = &pinned;
    let source_words = source.iter().flat_map(|(name, version)| std::iter::once(name).chain(version));
    let words: Vec<&String> =
        [name, version, architecture, path].into_iter().chain(archive).chain(source_words).collect();
    if words.into_iter().any(|word| word.is_empty() || word.contains(char::is_whitespace)) {
        return Err(Diagnostic::error(format!(
            "the archive's entry of package `{}` is malformed",
            package.name
        ))
        .class(Class::Remote)
        .hint("the mirror is faulty; name another one")
        .into());
    }
    Ok(pinned)
}

#[cfg(test)]
mod tests {
    use imgbuild_debian::Sha256;
    use imgbuild_plan::DebianRequest;

    use super::*;

    fn package(name: &str) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: Version::new("2:1.0~rc1-3+b1"),
            architecture: "all".to_owned(),
            sha256: Sha256::of(name.as_bytes()),
            size: 77,
            filename: format!("pool/main/{name}_1.0~rc1-3+b1_all.deb"),
            archive: None,
            source: None,
        }
    }

    fn pin_of(add: Vec<String>) -> DebianPin {
        let request = DebianRequest {
            distribution: "debian".to_owned(),
            suite: "stable".to_owned(),
            components: vec!["main".to_owned()],
            variant: "minbase".to_owned(),
            packages: vec![],
            security: false,
            platform: "linux/amd64".parse().unwrap(),
            installs: vec![],
        };
        DebianPin { request, codename: "bookworm".to_owned(), date: 1_783_764_997, archive: None, add }
    }

    #[test]
    fn a_closure_survives_the_lock_file() {
        let closure = LockedClosure {
            date: Some("2026-07-11T10:16:37Z".parse().unwrap()),
            remove: vec!["gone".to_owned(), "other:i386".to_owned()],
            batches: vec![
                vec![package("a"), LockedPackage { source: Some("src (1.0-1)".to_owned()), ..package("b") }],
                vec![LockedPackage {
                    archive: Some("debian-security".to_owned()),
                    source: Some("src".to_owned()),
                    ..package("c")
                }],
            ],
        };
        let pin = pin_of(lines(&closure).unwrap());
        assert_eq!(locked_closure(&pin).unwrap(), closure);
        let empty = LockedClosure { batches: vec![], remove: vec![], ..closure };
        assert_eq!(locked_closure(&pin_of(lines(&empty).unwrap())).unwrap(), empty);
    }

    #[test]
    fn what_no_line_can_say_is_refused() {
        let closure = LockedClosure {
            batches: vec![vec![LockedPackage { filename: "pool/a b.deb".to_owned(), ..package("a") }]],
            ..LockedClosure::default()
        };
        assert_eq!(lines(&closure).unwrap_err().0.message, "the archive's entry of package `a` is malformed");
        let error = locked_closure(&pin_of(vec!["a 1 all 00 1 p".to_owned()])).unwrap_err();
        assert_eq!(error.0.message, "`imgbuild.lock`: the SHA-256 of package `a` does not have 64 digits");
    }
}
