//! Mending: packages that are broken after the choices are upgraded, kept back or removed, the most depended-on last.

use super::graph::{Kind, PkgId};
use super::mark::{Marks, Mode};

/// Rounds after which it is not going to become better.
const ROUNDS: usize = 10;

/// Tries to make every chosen package whole. What the user asked for is never given up; if it stays broken, the caller
/// reports it.
pub(super) fn repair(marks: &mut Marks<'_, '_>) {
    for round in 0..ROUNDS {
        let mut broken: Vec<PkgId> = marks.touched.iter().copied().filter(|p| marks.is_broken(*p)).collect();
        if broken.is_empty() {
            return;
        }
        let scores = scores(marks);
        broken.sort_by_key(|package| (std::cmp::Reverse(scores[*package as usize]), *package));
        let before: Vec<_> = marks.touched.iter().map(|p| marks.mark(*p).chosen).collect();
        for package in broken {
            mend(marks, package, &scores, round);
        }
        let after: Vec<_> = marks.touched.iter().map(|p| marks.mark(*p).chosen).collect();
        if before == after {
            return;
        }
    }
}

/// apt's measure of how much breaks when a package is changed.
fn scores(marks: &Marks<'_, '_>) -> Vec<i64> {
    let mut scores = vec![0_i64; marks.packages.len()];
    let chosen: Vec<_> = marks.touched.iter().filter_map(|p| Some((*p, marks.mark(*p).chosen?))).collect();
    for (package, version) in &chosen {
        let score = &mut scores[*package as usize];
        *score += match marks.graph.priority_rank(*version) {
            1 => 3,
            2 => 2,
            3 => 1,
            4 => -1,
            5 => -2,
            _ => 0,
        };
        let ver = &marks.graph.versions[*version as usize];
        *score += if ver.essential || ver.important { 100 } else { 0 };
        *score += i64::from(marks.mark(*package).current.is_some());
    }
    let base = scores.clone();
    for (package, version) in &chosen {
        for group in
            marks.groups(*version).iter().filter(|g| matches!(g.kind, Kind::Depends | Kind::PreDepends))
        {
            for target in marks.group_targets(group, *version).into_iter().filter(|v| marks.is_chosen(*v)) {
                scores[marks.package_of(target) as usize] += 1 + base[*package as usize].abs();
            }
        }
    }
    for (package, version) in &chosen {
        let ver = &marks.graph.versions[*version as usize];
        let score = &mut scores[*package as usize];
        *score += if marks.mark(*package).protected { 10_000 } else { 0 };
        *score += if ver.essential || ver.important { 5_000 } else { 0 };
    }
    scores
}

fn mend(marks: &mut Marks<'_, '_>, package: PkgId, scores: &[i64], round: usize) {
    for group in marks.broken_groups(package) {
        let Some(version) = marks.mark(package).chosen else { return };
        if marks.holds(&group, version) {
            continue;
        }
        if group.kind.is_negative() {
            for target in marks.group_targets(&group, version) {
                if !marks.is_chosen(target) {
                    continue;
                }
                let other = marks.package_of(target);
                let upgradable = marks.mark(other).candidate != marks.mark(other).chosen;
                if upgradable && marks.install(other, true, false, 0) && marks.holds(&group, version) {
                    continue;
                }
                let stronger = scores[package as usize] > scores[other as usize];
                if (stronger || marks.mark(package).protected) && marks.delete(other) {
                    continue;
                }
                yield_place(marks, package);
                return;
            }
        } else if !try_solutions(marks, package, round) {
            yield_place(marks, package);
            return;
        }
    }
}

/// Follows the dependencies of a broken package once more: what stood in the way may be gone.
fn try_solutions(marks: &mut Marks<'_, '_>, package: PkgId, round: usize) -> bool {
    let mark = *marks.mark(package);
    if mark.mode != Mode::Install && mark.candidate == mark.current && round > 0 {
        return false;
    }
    if mark.candidate.is_none() {
        return false;
    }
    marks.install(package, true, mark.manual && mark.protected, 0) && !marks.is_broken(package)
}

/// Keeps the old version if that is whole, else removes the package.
fn yield_place(marks: &mut Marks<'_, '_>, package: PkgId) {
    if marks.mark(package).protected {
        return;
    }
    marks.keep(package);
    if marks.is_broken(package) {
        marks.delete(package);
    }
}
