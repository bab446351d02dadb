//! What a comparison found, for people: the most important first, long lists cut, files of packages that changed and of new
//! folders in one line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use imgbuild::ui::text::{count, harmless, size};
use imgbuild::ui::{Paint, Shell};
use imgbuild_compare::{
    Account, Change, Changed, Counts, FileChange, FileFacts, Group, Kind, Package, Password, Report, Unit,
};

/// So many lines of each section are shown.
const LINES: usize = 25;

/// So many folders are.
const FOLDERS: usize = 12;

/// A folder that came or went with at most so many files shows each of them.
const FEW: usize = 3;

/// So many columns a name may fill before what is said of it stands out of line.
const NAME: usize = 36;

struct Printer<'s> {
    shell: &'s Shell,
    paint: Paint,
    all: bool,
}

/// Shows a report on standard output. `all`: nothing is cut or put together.
pub(super) fn show(report: &Report, all: bool, shell: &Shell) {
    let printer = Printer { shell, paint: shell.stdout_paint(), all };
    printer.summary(report);
    let text = |text: &String| text.clone();
    printer.section("Packages", &report.packages, package, |one, other| {
        if one.version == other.version {
            other.manager.to_owned()
        } else {
            format!("{} → {}", one.version, other.version)
        }
    });
    printer.section("Users", &report.users, account, account_changes);
    printer
        .section("Groups", &report.groups, group, |one, other| format!("{} → {}", group(one), group(other)));
    printer.section("Units", &report.units, unit, |one, other| format!("{} → {}", unit(one), unit(other)));
    printer.section("Set-uid files and capabilities", &report.privileges, ToString::to_string, arrow);
    printer.section("System", &report.system, text, arrow);
    printer.section("Configuration", &report.configuration, text, arrow);
    printer.sizes(report);
    printer.files(report);
    for note in &report.notes {
        shell.note(&harmless(note));
    }
}

fn arrow<T: Display>(one: &T, other: &T) -> String {
    format!("{one} → {other}")
}

fn package(package: &Package) -> String {
    package.version.clone()
}

fn account(account: &Account) -> String {
    let Account { uid, gid, home, shell, groups, .. } = account;
    let groups = if groups.is_empty() { String::new() } else { format!(", in {}", groups.join(", ")) };
    format!("uid {uid}, gid {gid}, {home}, {shell}{groups}")
}

fn account_changes(one: &Account, other: &Account) -> String {
    let password = |account: &Account| match account.password {
        Password::Set => "set",
        Password::Locked => "locked",
        Password::Empty => "empty",
        Password::Unknown => "unknown",
    };
    let mut changes = Vec::new();
    let mut change = |what: &str, one: String, other: String| {
        if one != other {
            changes.push(format!("{what} {one} → {other}"));
        }
    };
    change("uid", one.uid.to_string(), other.uid.to_string());
    change("gid", one.gid.to_string(), other.gid.to_string());
    change("home", one.home.clone(), other.home.clone());
    change("shell", one.shell.clone(), other.shell.clone());
    change("groups", one.groups.join(","), other.groups.join(","));
    change("password", password(one).to_owned(), password(other).to_owned());
    if changes.is_empty() { "another password".to_owned() } else { changes.join(", ") }
}

fn group(group: &Group) -> String {
    let members =
        if group.members.is_empty() { String::new() } else { format!(" ({})", group.members.join(", ")) };
    format!("gid {}{members}", group.gid)
}

fn unit(unit: &Unit) -> String {
    let by =
        if unit.wanted_by.is_empty() { String::new() } else { format!(" ({})", unit.wanted_by.join(", ")) };
    format!("{}{by}", unit.state.word())
}

/// A size with its sign: `+1.5 MiB`.
fn growth(before: u64, after: u64) -> String {
    let sign = if after < before { '-' } else { '+' };
    format!("{sign}{}", size(after.abs_diff(before)))
}

impl Printer<'_> {
    fn summary(&self, report: &Report) {
        let paint = self.paint;
        let title = format!("{} → {}", harmless(&report.before), harmless(&report.after));
        self.shell.line(&paint.strong(title));
        if report.equal {
            return self.shell.line("  no differences");
        }
        let summary = &report.summary;
        let rows = [
            ("packages", summary.packages),
            ("users", summary.users),
            ("groups", summary.groups),
            ("units", summary.units),
            ("rights", summary.privileges),
            ("system", summary.system),
            ("configuration", summary.configuration),
            ("files", summary.files),
        ];
        for (what, counts) in rows.into_iter().filter(|(_, counts)| counts.total() > 0) {
            self.shell.line(&format!("  {what:<14}{}", self.counts(counts)));
        }
        let sizes = &report.sizes;
        if sizes.before != sizes.after {
            self.shell.line(&format!(
                "  {:<14}{} → {} ({})",
                "size",
                size(sizes.before),
                size(sizes.after),
                growth(sizes.before, sizes.after)
            ));
        }
    }

    fn counts(&self, counts: Counts) -> String {
        let parts = [(counts.added, "added"), (counts.removed, "removed"), (counts.changed, "changed")];
        let parts = parts.into_iter().filter(|(number, _)| *number > 0);
        parts.map(|(number, word)| format!("{number} {word}")).collect::<Vec<_>>().join(", ")
    }

    fn sign(&self, change: Changed) -> String {
        match change {
            Changed::Added => self.paint.good("+"),
            Changed::Removed => self.paint.bad("-"),
            Changed::Changed => self.paint.warn("~"),
        }
    }

    fn title(&self, title: &str) {
        self.shell.line("");
        self.shell.line(&self.paint.strong(title));
    }

    /// Lines up to the limit, and how many there are beyond it.
    fn lines(&self, lines: Vec<String>) {
        let shown = if self.all { lines.len() } else { lines.len().min(LINES) };
        for line in &lines[..shown] {
            self.shell.line(line);
        }
        if shown < lines.len() {
            let more = format!("  and {} more; `--all` lists them", lines.len() - shown);
            self.shell.line(&self.paint.faint(more));
        }
    }

    fn section<T>(
        &self,
        title: &str,
        changes: &[Change<T>],
        one: impl Fn(&T) -> String,
        both: impl Fn(&T, &T) -> String,
    ) {
        if changes.is_empty() {
            return;
        }
        self.title(title);
        let width = changes.iter().map(|change| change.name.chars().count()).max().unwrap_or(0).min(NAME);
        let line = |change: &Change<T>| {
            let what = match (&change.before, &change.after) {
                (Some(before), Some(after)) => both(before, after),
                (Some(own), None) | (None, Some(own)) => one(own),
                (None, None) => String::new(),
            };
            format!("  {} {:<width$}  {}", self.sign(change.change), harmless(&change.name), harmless(&what))
        };
        self.lines(changes.iter().map(line).collect());
    }

    fn sizes(&self, report: &Report) {
        let folders = &report.sizes.folders;
        if folders.is_empty() {
            return;
        }
        self.title("Size by folder");
        let lines = folders.iter().map(|folder| {
            format!(
                "  {:>12}  {}  {}",
                growth(folder.before, folder.after),
                harmless(&folder.path),
                self.paint.faint(format!("{} → {}", size(folder.before), size(folder.after)))
            )
        });
        let lines: Vec<String> = lines.collect();
        if self.all || lines.len() <= FOLDERS {
            return self.lines(lines);
        }
        // The largest growth is at one end and the largest shrinking at the other.
        let shrinking = folders.iter().filter(|folder| folder.after < folder.before).count().min(FOLDERS / 3);
        let growing = FOLDERS - shrinking;
        for line in lines[..growing].iter().chain(&lines[lines.len() - shrinking..]) {
            self.shell.line(line);
        }
        let more = format!("  and {} between; `--all` lists them", count(lines.len() - FOLDERS, "folder"));
        self.shell.line(&self.paint.faint(more));
    }

    fn files(&self, report: &Report) {
        if report.files.is_empty() {
            return;
        }
        self.title("Files");
        let of_database = |file: &FileChange| !report.packages.is_empty() && file.is_package_database();
        let (of_packages, own): (Vec<&FileChange>, Vec<&FileChange>) = match self.all {
            true => (Vec::new(), report.files.iter().collect()),
            false => report.files.iter().partition(|file| file.package.is_some() || of_database(file)),
        };
        let folded = if self.all { BTreeMap::new() } else { folded(&own) };
        let mut lines = Vec::new();
        for file in own {
            let top = top(file, &folded);
            match top {
                Some((folder, below)) if *below > FEW => {
                    if folder == &file.path {
                        let what = format!("folder with {} below", count(*below, "path"));
                        lines.push(format!("  {} {}/  {what}", self.sign(file.change), harmless(&file.path)));
                    }
                }
                _ => lines.push(self.file(file)),
            }
        }
        self.lines(lines);
        if !of_packages.is_empty() {
            let names: BTreeSet<&str> =
                of_packages.iter().filter_map(|file| file.package.as_deref()).collect();
            let line = format!(
                "  {} of {} that changed and of their database; `--all` lists them",
                count(of_packages.len(), "file"),
                count(names.len(), "package"),
            );
            self.shell.line(&self.paint.faint(line));
        }
    }

    fn file(&self, file: &FileChange) -> String {
        let what = match (&file.before, &file.after) {
            (Some(_), Some(_)) => file.what(),
            (Some(own), None) | (None, Some(own)) => facts(own),
            (None, None) => String::new(),
        };
        let mut line = format!("  {} {}  {}", self.sign(file.change), harmless(&file.path), harmless(&what));
        for text in file.text.iter().flat_map(|text| text.lines()) {
            let shown = harmless(text).into_owned();
            let shown = match text.as_bytes().first() {
                Some(b'+') => self.paint.good(shown),
                Some(b'-') => self.paint.bad(shown),
                Some(b'@') => self.paint.literal(shown),
                _ => shown,
            };
            line.push_str("\n      ");
            line.push_str(&shown);
        }
        line
    }
}

/// What is worth saying of something that came or went.
fn facts(facts: &FileFacts) -> String {
    let mut parts = Vec::new();
    match facts.kind {
        Kind::File => parts.push(size(facts.size.unwrap_or(0))),
        Kind::Symlink => parts.push(format!("link to {}", facts.target.as_deref().unwrap_or_default())),
        kind => parts.push(kind.word().to_owned()),
    }
    let usual = if facts.kind == Kind::Directory { "0755" } else { "0644" };
    if facts.kind != Kind::Symlink && facts.mode != usual {
        parts.push(format!("mode {}", facts.mode));
    }
    if (facts.uid, facts.gid) != (0, 0) {
        parts.push(format!("owner {}:{}", facts.uid, facts.gid));
    }
    parts.extend(facts.first_name.iter().map(|first| format!("hard link to {first}")));
    parts.join(", ")
}

/// Folders that came or went as a whole, each with how much is below it.
fn folded(files: &[&FileChange]) -> BTreeMap<String, usize> {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for file in files.iter().filter(|file| file.change != Changed::Changed) {
        let is_folder =
            [&file.before, &file.after].into_iter().flatten().any(|facts| facts.kind == Kind::Directory);
        match above(&file.path).find(|folder| folders.contains_key(*folder)).map(str::to_owned) {
            Some(folder) => *folders.entry(folder).or_default() += 1,
            None if is_folder => drop(folders.insert(file.path.clone(), 0)),
            None => {}
        }
    }
    folders
}

fn top<'f>(file: &FileChange, folded: &'f BTreeMap<String, usize>) -> Option<(&'f String, &'f usize)> {
    if file.change == Changed::Changed {
        return None;
    }
    std::iter::once(&*file.path).chain(above(&file.path)).find_map(|path| folded.get_key_value(path))
}

/// The folders above a path, the nearest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rfind('/').map(|end| &path[..end])).skip(1)
}
