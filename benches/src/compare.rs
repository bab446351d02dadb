//! Two trees of 100,000 entries compared: `imgbuild diff` beside `diff -rq`, which looks at contents alone.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::measure::{self, measure, pair, ratio};
use crate::{Setup, which};

/// Files of each tree; with folders and links there are 100,000 entries.
const FILES: usize = 92_000;

/// Files in a folder.
const FOLDER: usize = 20;

/// Every so manieth file differs.
const EVERY: usize = 1000;

/// Time and memory of the comparison.
pub fn diff(setup: &Setup) -> Result<(), String> {
    let folder = setup.folder.path().join("trees");
    let (one, other) = (folder.join("one"), folder.join("two"));
    tree(&one, 0)?;
    tree(&other, 1)?;
    let cache = setup.folder.path().join("trees-cache");
    let ours = |words: &[&str]| {
        let mut command = setup.imgbuild(&folder, &cache, &["-q", "diff", "one", "two"]);
        command.args(words);
        command
    };
    let report: serde_json::Value = serde_json::from_str(&measure::output(ours(&["--format", "json"]))?)
        .map_err(|error| error.to_string())?;
    let changed = &report["summary"]["files"];
    if changed["changed"] != FILES / EVERY || changed["added"] != 0 {
        return Err(format!("it found {changed}"));
    }
    println!("  two trees of 100,000 entries   {}", measure(5, || ours(&[]))?);
    if which("diff").is_none() {
        println!("  diff is not installed");
        return Ok(());
    }
    // `diff` ends with 1 where something differs, which is no failure here.
    let theirs = || {
        let mut command = Command::new("sh");
        command.args(["-c", "diff -rq --no-dereference one two; test $? = 1"]).current_dir(&folder);
        command
    };
    println!("  the same, against `diff -rq`   {}", ratio(&pair(5, || ours(&[]), theirs)?));
    println!("  `diff -rq` alone               {}", measure(3, theirs)?);
    let _ = fs_err::remove_dir_all(&folder);
    Ok(())
}

/// Files of up to 4 KB, one link and one folder for each twenty. Of another `variant`, some files hold something else of the
/// same length.
fn tree(root: &Path, variant: usize) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    for number in 0..FILES {
        let folder = root.join(format!("usr/share/p{}/d{}", number / 1000, number / FOLDER));
        if number % FOLDER == 0 {
            fs_err::create_dir_all(&folder).map_err(failed)?;
            if number % (FOLDER * 2) == 0 {
                symlink("f0", folder.join("link")).map_err(failed)?;
            }
        }
        let path = folder.join(format!("f{}", number % FOLDER));
        let own = if number % EVERY == 7 { variant } else { 0 };
        let line = format!("{number:08} {own}\n");
        fs_err::write(&path, line.repeat(number % 373 + 1)).map_err(failed)?;
        if number % 50 == 0 {
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
        }
    }
    Ok(())
}
