//! What may differ, and what of a report is not allowed: the comparison as a test.

use std::collections::HashSet;
use std::str::FromStr;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::files::Globs;
use crate::report::{
    Account, Change, Changed, FileChange, Kind, Package, Password, Privilege, Report, Unit, UnitState,
};
use crate::tree::parent_of;

/// What may differ. A rule that is absent is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Globs of the paths that may; those of packages that came, went or changed are left to `packages`.
    pub files: Option<Vec<String>>,
    /// Globs of the names of packages that may come, go or change.
    pub packages: Option<Vec<String>>,
    /// Globs of the names of units that may come to be enabled, disabled or masked.
    pub units: Option<Vec<String>>,
    /// By how much the files may grow.
    pub growth: Option<Growth>,
    /// Globs of the paths whose files may give new rights; no others may.
    pub privileges: Option<Vec<String>>,
    /// Globs of the names of users that may come or get new rights; no others may.
    pub users: Option<Vec<String>>,
}

/// How much larger an image may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Growth {
    /// By so many bytes.
    Bytes(u64),
    /// By so many hundredths of the first image.
    Percent(f64),
}

/// Why a text is no growth.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no growth: write a size, such as `50MB` or `1GiB`, or a share of the first image, such as `10%`"
)]
pub struct GrowthError(String);

impl FromStr for Growth {
    type Err = GrowthError;

    fn from_str(text: &str) -> Result<Self, GrowthError> {
        let refused = || GrowthError(text.to_owned());
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let number: f64 = trimmed[..end].parse().map_err(|_| refused())?;
        let factor: u64 = match trimmed[end..].trim_start().to_ascii_lowercase().as_str() {
            "%" => return Ok(Self::Percent(number)),
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            _ => return Err(refused()),
        };
        Ok(Self::Bytes((number * factor as f64) as u64))
    }
}

impl Growth {
    /// In bytes, over an image of this size.
    fn over(self, before: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => (before as f64 * percent / 100.0) as u64,
        }
    }
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which rule: `packages`, `files`, …
    pub rule: &'static str,
    /// What is not allowed, a line each; none if all is.
    pub refused: Vec<String>,
}

/// Holds a report to the rules; one verdict for each rule that there is.
///
/// # Errors
///
/// What is no glob.
pub fn check(report: &Report, rules: &Rules) -> Result<Vec<Verdict>, globset::Error> {
    let mut verdicts = Vec::new();
    let mut verdict = |rule, refused| verdicts.push(Verdict { rule, refused });
    let packages = rules.packages.as_deref().map(names).transpose()?;
    if let Some(packages) = packages {
        let refused = report.packages.iter().filter(|package| !packages.is_match(&package.name));
        // What was not read may be anything.
        verdict("packages", report.unread.iter().cloned().chain(refused.map(package_line)).collect());
    }
    if let Some(files) = &rules.files {
        verdict("files", refused_files(report, &Globs::new(files)?));
    }
    if let Some(growth) = rules.growth {
        let (grown, most) = (report.sizes.growth(), growth.over(report.sizes.before));
        let line = format!("it grew by {grown} bytes, and may by {most}");
        verdict("growth", if grown > i128::from(most) { vec![line] } else { Vec::new() });
    }
    if let Some(allowed) = &rules.privileges {
        let allowed = Globs::new(allowed)?;
        let refused = report.privileges.iter().filter(|file| {
            gains_rights(file) && !allowed.matches(file.name.trim_start_matches('/').as_bytes())
        });
        let line = |file: &Change<Privilege>| {
            let rights = file.after.as_ref().map(Privilege::to_string).unwrap_or_default();
            format!("{} is {rights}", file.name)
        };
        verdict("setuid", refused.map(line).collect());
    }
    if let Some(allowed) = &rules.users {
        let allowed = names(allowed)?;
        let refused = report.users.iter().filter(|user| !allowed.is_match(&user.name));
        verdict("users", refused.filter_map(user_line).collect());
    }
    if let Some(allowed) = &rules.units {
        let allowed = names(allowed)?;
        let refused = report.units.iter().filter(|unit| !allowed.is_match(&unit.name));
        verdict("units", refused.filter_map(unit_line).collect());
    }
    Ok(verdicts)
}

fn names(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(Glob::new(pattern)?);
    }
    builder.build()
}

fn package_line(change: &Change<Package>) -> String {
    let version = |package: &Option<Package>| {
        package.as_ref().map(|package| package.version.clone()).unwrap_or_default()
    };
    let (before, after) = (version(&change.before), version(&change.after));
    match change.change {
        Changed::Added => format!("{} {after} was added", change.name),
        Changed::Removed => format!("{} {before} was removed", change.name),
        Changed::Changed if before == after => format!("{} is of another kind", change.name),
        Changed::Changed => format!("{} changed from {before} to {after}", change.name),
    }
}

fn refused_files(report: &Report, allowed: &Globs) -> Vec<String> {
    // What packages brought, and their database, is told once: by the rule for packages.
    let packages_changed = !report.packages.is_empty();
    let may = |file: &FileChange| {
        allowed.matches(file.bytes())
            || file.package.is_some()
            || (packages_changed && file.is_package_database())
    };
    let mut above: HashSet<&[u8]> = HashSet::new();
    for file in report.files.iter().filter(|file| file.change == Changed::Added && may(file)) {
        let mut folder = parent_of(file.bytes());
        while !folder.is_empty() && above.insert(folder) {
            folder = parent_of(folder);
        }
    }
    // A folder that had to be made for something that may be there, and is as folders are.
    let had_to_be = |file: &FileChange| {
        file.change == Changed::Added
            && above.contains(file.bytes())
            && file.after.as_ref().is_some_and(|facts| {
                facts.kind == Kind::Directory && facts.mode == "0755" && (facts.uid, facts.gid) == (0, 0)
            })
    };
    let refused = report.files.iter().filter(|file| !may(file) && !had_to_be(file));
    refused
        .map(|file| match file.change {
            Changed::Added => format!("{} was added", file.path),
            Changed::Removed => format!("{} was removed", file.path),
            Changed::Changed => format!("{} changed: {}", file.path, file.what()),
        })
        .collect()
}

/// Whether a file gives rights that it did not give before.
fn gains_rights(change: &Change<Privilege>) -> bool {
    let Some(after) = &change.after else { return false };
    let Some(before) = &change.before else { return true };
    let new = |before: Option<u32>, after: Option<u32>| after.is_some() && after != before;
    let more_capabilities = match (&before.capabilities, &after.capabilities) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(one), Some(other)) => {
            let lacks = |list: &[String], of: &[String]| of.iter().any(|name| !list.contains(name));
            lacks(&one.permitted, &other.permitted)
                || lacks(&one.inheritable, &other.inheritable)
                || (other.effective && !one.effective)
        }
    };
    new(before.setuid, after.setuid) || new(before.setgid, after.setgid) || more_capabilities
}

/// What a user has got, if it is more than before.
fn user_line(change: &Change<Account>) -> Option<String> {
    let after = change.after.as_ref()?;
    let name = &change.name;
    let Some(before) = &change.before else { return Some(format!("{name} ({}) was added", after.uid)) };
    if after.uid == 0 && before.uid != 0 {
        return Some(format!("{name} has become root"));
    }
    let opens = |password| matches!(password, Password::Set | Password::Empty);
    if opens(after.password) && (before.password, &before.secret) != (after.password, &after.secret) {
        return Some(format!("{name} has a new password"));
    }
    let joined: Vec<&str> =
        after.groups.iter().filter(|group| !before.groups.contains(group)).map(String::as_str).collect();
    if !joined.is_empty() {
        return Some(format!("{name} has joined {}", joined.join(", ")));
    }
    (after.gid != before.gid).then(|| format!("{name} has joined the group {}", after.gid))
}

/// What became of a unit, if it starts where it did not, or the other way round.
fn unit_line(change: &Change<Unit>) -> Option<String> {
    let state = |unit: &Option<Unit>| unit.as_ref().map(|unit| unit.state);
    let (before, after) = (state(&change.before), state(&change.after));
    let of = |state| matches!(state, Some(UnitState::Enabled | UnitState::Masked)).then_some(state).flatten();
    (of(before) != of(after)).then(|| {
        let word = |state: Option<UnitState>| state.map_or("not there", UnitState::word);
        format!("{} was {} and is {}", change.name, word(before), word(after))
    })
}
