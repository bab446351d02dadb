//! The differences of small text files, line by line.

use std::collections::BTreeSet;
use std::io;

use similar::TextDiff;

use crate::report::{Aspect, FileChange, Kind};
use crate::tree::Tree;

/// Larger files are not shown, in bytes.
const LARGEST: u64 = 256 << 10;

/// So many files are held at a time.
const BATCH: usize = 512;

/// Adds to each changed file of text what its lines differ in.
pub(crate) fn add(before: &dyn Tree, after: &dyn Tree, files: &mut [FileChange]) -> io::Result<()> {
    let is_small = |file: &FileChange| {
        file.aspects.contains(&Aspect::Content)
            && [&file.before, &file.after]
                .into_iter()
                .flatten()
                .all(|facts| facts.kind == Kind::File && facts.size.is_some_and(|size| size <= LARGEST))
    };
    let mut small: Vec<&mut FileChange> = files.iter_mut().filter(|file| is_small(file)).collect();
    for batch in small.chunks_mut(BATCH) {
        let paths: BTreeSet<Vec<u8>> = batch.iter().map(|file| file.bytes.clone()).collect();
        let (one, other) = (before.read(&paths, LARGEST)?, after.read(&paths, LARGEST)?);
        for file in batch {
            let texts = (text(one.get(&file.bytes)), text(other.get(&file.bytes)));
            if let (Some(one), Some(other)) = texts {
                file.text = Some(TextDiff::from_lines(one, other).unified_diff().to_string());
            }
        }
    }
    Ok(())
}

fn text(bytes: Option<&Vec<u8>>) -> Option<&str> {
    let bytes = bytes.filter(|bytes| !bytes.contains(&0))?;
    std::str::from_utf8(bytes).ok()
}
