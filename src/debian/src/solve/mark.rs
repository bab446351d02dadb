//! Choosing: from the requests through their dependencies, depth first, in apt's order of preference.
//!
//! A choice is protected while its own dependencies are followed, so that nothing below it takes it back. What a request
//! needs without alternative is protected for good. What stays broken after this is for [`super::repair`].

use std::cell::OnceCell;
use std::rc::Rc;

use super::graph::{Graph, Group, Kind, PkgId, VerId};
use crate::index::MultiArch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Keep,
    Install,
    Delete,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PackageMark {
    pub current: Option<VerId>,
    pub candidate: Option<VerId>,
    /// What will be there.
    pub chosen: Option<VerId>,
    pub mode: Mode,
    pub protected: bool,
    /// Asked for by the user, not by a dependency.
    pub manual: bool,
}

pub(super) struct Marks<'g, 'a> {
    pub graph: &'g Graph<'a>,
    pub packages: Vec<PackageMark>,
    /// What was installed before the first stage.
    pub original: Vec<Option<VerId>>,
    groups: Vec<OnceCell<Rc<[Group<'a>]>>>,
    /// Packages whose mark ever moved: all that can be broken besides what was installed.
    pub touched: Vec<PkgId>,
}

/// Deeper chains than any archive has; a guard against a stack overflow, as apt has one.
const MAX_DEPTH: usize = 3000;

impl<'g, 'a> Marks<'g, 'a> {
    pub fn new(graph: &'g Graph<'a>) -> Self {
        let packages: Vec<PackageMark> = graph
            .packages
            .iter()
            .map(|package| PackageMark {
                current: package.installed,
                candidate: package.versions.first().copied(),
                chosen: package.installed,
                mode: Mode::Keep,
                protected: false,
                manual: package.installed.is_some(),
            })
            .collect();
        Self {
            graph,
            original: packages.iter().map(|mark| mark.current).collect(),
            groups: vec![OnceCell::new(); graph.versions.len()],
            touched: packages
                .iter()
                .enumerate()
                .filter(|(_, mark)| mark.current.is_some())
                .filter_map(|(number, _)| u32::try_from(number).ok())
                .collect(),
            packages,
        }
    }

    pub fn mark(&self, package: PkgId) -> &PackageMark {
        &self.packages[package as usize]
    }

    pub fn change(&mut self, package: PkgId) -> &mut PackageMark {
        if !self.touched.contains(&package) {
            self.touched.push(package);
        }
        &mut self.packages[package as usize]
    }

    pub fn package_of(&self, version: VerId) -> PkgId {
        self.graph.versions[version as usize].package
    }

    pub fn groups(&self, version: VerId) -> Rc<[Group<'a>]> {
        self.groups[version as usize].get_or_init(|| self.graph.groups(version).into()).clone()
    }

    pub fn set_candidate(&mut self, package: PkgId, version: VerId) {
        self.change(package).candidate = Some(version);
    }

    /// The versions that a group of `from` is about, alternative after alternative.
    pub fn group_targets(&self, group: &Group<'a>, from: VerId) -> Vec<VerId> {
        let negative = group.kind.is_negative();
        group.relations.iter().flat_map(|relation| self.graph.targets(relation, from, negative)).collect()
    }

    pub fn is_chosen(&self, version: VerId) -> bool {
        self.mark(self.package_of(version)).chosen == Some(version)
    }

    fn is_candidate(&self, version: VerId) -> bool {
        self.mark(self.package_of(version)).candidate == Some(version)
    }

    /// Whether a group of a version holds with what is chosen now.
    pub fn holds(&self, group: &Group<'a>, from: VerId) -> bool {
        self.group_targets(group, from).iter().any(|target| self.is_chosen(*target))
            != group.kind.is_negative()
    }

    /// The dependencies of a package's chosen version that do not hold.
    pub fn broken_groups(&self, package: PkgId) -> Vec<Group<'a>> {
        let Some(version) = self.mark(package).chosen else { return Vec::new() };
        self.groups(version).iter().filter(|group| !self.holds(group, version)).cloned().collect()
    }

    pub fn is_broken(&self, package: PkgId) -> bool {
        self.mark(package)
            .chosen
            .is_some_and(|version| self.groups(version).iter().any(|group| !self.holds(group, version)))
    }

    /// One `apt-get install` of these packages: all are marked first, so that each sees the others, then their
    /// dependencies are followed in the order given, which apt's results depend on too.
    pub fn install_all(&mut self, packages: &[PkgId]) {
        for package in packages {
            self.install(*package, false, true, 0);
            self.change(*package).protected = true;
        }
        for package in packages {
            if self.is_broken(*package) {
                self.install(*package, true, true, 0);
            }
        }
    }

    /// Puts packages that nobody named one by one into the order in which apt numbers them.
    pub fn sort_as_numbered(&self, packages: &mut [PkgId]) {
        packages.sort_by_key(|package| (self.mentioned(*package), *package));
    }

    fn mentioned(&self, package: PkgId) -> u32 {
        self.graph.mentioned(package)
    }

    fn may_change(&self, package: PkgId, mode: Mode) -> bool {
        let mark = self.mark(package);
        if mark.mode == mode {
            return true;
        }
        if mark.protected {
            return false;
        }
        let version = mark.current.or(mark.candidate);
        let precious = version.is_some_and(|version| {
            let version = &self.graph.versions[version as usize];
            version.essential || version.important
        });
        !(mode == Mode::Delete && precious)
    }

    pub fn keep(&mut self, package: PkgId) -> bool {
        if !self.may_change(package, Mode::Keep) {
            return false;
        }
        let mark = self.change(package);
        mark.mode = Mode::Keep;
        mark.chosen = mark.current;
        true
    }

    pub fn delete(&mut self, package: PkgId) -> bool {
        if !self.may_change(package, Mode::Delete) {
            return false;
        }
        let mark = self.mark(package);
        if mark.chosen.is_none() {
            return true;
        }
        if !self.may_delete(package) {
            return false;
        }
        let mark = self.change(package);
        mark.mode = if mark.current.is_none() { Mode::Keep } else { Mode::Delete };
        mark.chosen = None;
        true
    }

    /// A new package that the user asked for is not given up for another's sake.
    fn may_delete(&self, package: PkgId) -> bool {
        let mark = self.mark(package);
        !(mark.current.is_none() && mark.chosen.is_some() && mark.manual)
    }

    fn discard_candidate(&mut self, package: PkgId) {
        let mark = self.change(package);
        mark.candidate = mark.chosen;
    }

    fn discard_choice(&mut self, package: PkgId) {
        let mark = self.change(package);
        mark.chosen = mark.current;
        mark.mode = Mode::Keep;
        mark.candidate = mark.chosen;
    }

    fn choose(&mut self, package: PkgId, by_user: bool) {
        let mark = self.mark(package);
        if mark.protected && mark.chosen == mark.candidate {
            return;
        }
        let mark = self.change(package);
        mark.chosen = mark.candidate;
        mark.mode = if mark.candidate == mark.current { Mode::Keep } else { Mode::Install };
        if by_user {
            mark.manual = true;
        }
    }

    /// Marks the candidate of a package for installation and, with `follow`, what it depends on. `false` when that cannot
    /// be done; then nothing remains of the attempt, unless it was the user's own word.
    pub fn install(&mut self, package: PkgId, follow: bool, by_user: bool, depth: usize) -> bool {
        let mark = *self.mark(package);
        let only_protect_below = mark.protected
            && mark.mode == Mode::Keep
            && mark.candidate.is_some()
            && mark.candidate == mark.current;
        if depth > MAX_DEPTH || (!only_protect_below && !self.may_change(package, Mode::Install)) {
            return false;
        }
        let Some(candidate) = mark.candidate else { return false };
        if !mark.protected && !self.is_broken(package) {
            if mark.candidate == mark.current {
                return mark.chosen.is_some() || self.keep(package);
            }
            if mark.mode == Mode::Install {
                return true;
            }
        }
        if !self.versions_in_step(package, candidate, by_user)
            || (follow && !self.is_satisfiable(package, candidate))
        {
            return false;
        }
        if by_user {
            self.choose(package, true);
        }
        if !follow {
            if !by_user {
                self.choose(package, false);
            }
            return true;
        }
        let give_up_early = !mark.protected && !by_user;
        let mut failed = false;
        let groups = self.groups(candidate);
        let followed: Vec<&Group<'a>> =
            groups.iter().filter(|group| mark.protected || !self.holds(group, candidate)).collect();
        let (negative, positive): (Vec<_>, Vec<_>) = followed.into_iter().partition(|g| g.kind.is_negative());

        let mut conflicts = Conflicts::default();
        if !self.clear_candidates(&negative, candidate, mark.protected, by_user, &mut conflicts) {
            if give_up_early {
                return false;
            }
            failed = true;
        }
        if !by_user {
            self.choose(package, false);
        }
        self.change(package).protected = true;
        let below = self.follow(candidate, &positive, &conflicts, mark.protected, by_user, depth);
        self.change(package).protected = mark.protected;
        if !below {
            if give_up_early {
                self.discard_choice(package);
                return false;
            }
            failed = true;
        }
        !failed
    }

    fn follow(
        &mut self,
        candidate: VerId,
        positive: &[&Group<'a>],
        conflicts: &Conflicts,
        protected: bool,
        by_user: bool,
        depth: usize,
    ) -> bool {
        let persist = protected || by_user;
        let mut failed = false;
        for other in &conflicts.upgrade {
            if self.mark(*other).mode == Mode::Install || self.install(*other, true, false, depth + 1) {
                continue;
            }
            if self.delete(*other) {
                if protected {
                    self.change(*other).protected = true;
                }
            } else {
                failed = true;
                if !persist {
                    return false;
                }
            }
        }
        for group in positive {
            if !self.follow_group(group, candidate, protected, depth) {
                failed = true;
                if !persist {
                    return false;
                }
            }
        }
        for other in &conflicts.remove {
            if !self.delete(*other) {
                failed = true;
                if !persist {
                    return false;
                }
            }
        }
        !failed
    }

    /// Satisfies one positive group by the first solution that works.
    fn follow_group(&mut self, group: &Group<'a>, from: VerId, protected: bool, depth: usize) -> bool {
        if self.holds(group, from) {
            if !protected {
                return true;
            }
            // The only way to satisfy what is protected is protected too.
            let mut solutions = self.group_targets(group, from);
            solutions.retain(|v| self.is_candidate(*v) || self.mark(self.package_of(*v)).current == Some(*v));
            solutions.retain(|v| !self.is_ruled_out(*v));
            solutions.sort_unstable();
            solutions.dedup();
            let &[only] = solutions.as_slice() else { return true };
            let package = self.package_of(only);
            if self.mark(package).protected {
                return true;
            }
            self.change(package).protected = true;
            return self.install(package, true, false, depth + 1);
        }
        let solutions = self.solutions(group, from);
        for solution in &solutions {
            let package = self.package_of(*solution);
            if self.mark(package).candidate != Some(*solution) {
                continue;
            }
            if protected && solutions.len() == 1 {
                if !self.install(package, false, false, depth + 1) {
                    continue;
                }
                self.change(package).protected = true;
            }
            if self.install(package, true, false, depth + 1) {
                return true;
            }
        }
        false
    }

    /// Candidates for a group in order of preference: alternatives as written, among the providers of one alternative the
    /// better one first, and what only upgrades an installed package before what is new.
    fn solutions(&self, group: &Group<'a>, from: VerId) -> Vec<VerId> {
        let (mut upgrades, mut news) = (Vec::new(), Vec::new());
        for relation in &group.relations {
            let mut targets = self.graph.targets(relation, from, group.kind.is_negative());
            targets.retain(|version| self.is_candidate(*version));
            targets.sort_by(|a, b| self.compare_providers(*a, *b, relation.name));
            for version in targets {
                let installed = self.mark(self.package_of(version)).current.is_some();
                let list = if installed { &mut upgrades } else { &mut news };
                if !list.contains(&version) {
                    list.push(version);
                }
            }
        }
        upgrades.append(&mut news);
        if !group.kind.is_negative() {
            upgrades.retain(|version| !self.is_ruled_out(*version));
        }
        upgrades
    }

    fn is_ruled_out(&self, version: VerId) -> bool {
        let mark = self.mark(self.package_of(version));
        mark.protected && (mark.mode == Mode::Delete || (mark.mode == Mode::Keep && mark.current.is_none()))
    }

    fn compare_providers(&self, a: VerId, b: VerId, wanted: &str) -> std::cmp::Ordering {
        let (va, vb) = (&self.graph.versions[a as usize], &self.graph.versions[b as usize]);
        let (ma, mb) = (self.mark(va.package), self.mark(vb.package));
        let (pa, pb) = (&self.graph.packages[va.package as usize], &self.graph.packages[vb.package as usize]);
        let first = |a: bool, b: bool| b.cmp(&a);
        let sibling_installed = |package: &super::graph::Package, multi_arch: MultiArch| {
            multi_arch == MultiArch::Same
                && self.graph.names[package.name as usize]
                    .packages
                    .iter()
                    .any(|p| self.mark(*p).current.is_some())
        };
        let same_name =
            |package: &super::graph::Package| self.graph.names[package.name as usize].text == wanted;
        first(ma.protected, mb.protected)
            .then_with(|| first(sibling_installed(pa, va.multi_arch), sibling_installed(pb, vb.multi_arch)))
            .then_with(|| first(ma.current.is_some(), mb.current.is_some()))
            .then_with(|| first(same_name(pa), same_name(pb)))
            .then_with(|| first(va.essential, vb.essential))
            .then_with(|| first(va.important, vb.important))
            .then_with(|| pa.architecture.cmp(&pb.architecture))
            .then_with(|| self.graph.priority_rank(a).cmp(&self.graph.priority_rank(b)))
            .then_with(|| self.mentioned(vb.package).cmp(&self.mentioned(va.package)))
    }

    /// Takes back candidates that the new package excludes, and collects what must be upgraded or removed for it.
    fn clear_candidates(
        &mut self,
        negative: &[&Group<'a>],
        from: VerId,
        protected: bool,
        by_user: bool,
        conflicts: &mut Conflicts,
    ) -> bool {
        let persist = protected || by_user;
        let mut failed = false;
        let mut bad = Vec::new();
        for group in negative {
            for version in self.solutions(group, from) {
                let package = self.package_of(version);
                let mark = *self.mark(package);
                if mark.candidate != Some(version) {
                    continue;
                }
                if mark.current == Some(version) {
                    failed |= !self.give_way(package, protected, conflicts);
                } else if mark.mode == Mode::Install && !self.keep(package) {
                    failed = true;
                } else if protected {
                    self.discard_candidate(package);
                    if mark.current.is_none() {
                        self.change(package).protected = true;
                    }
                } else {
                    bad.push(package);
                }
                if failed && !persist {
                    return false;
                }
            }
            for version in self.group_targets(group, from) {
                let package = self.package_of(version);
                let mark = *self.mark(package);
                if mark.current != Some(version) || mark.candidate == mark.current {
                    continue;
                }
                if mark.candidate.is_some() && !bad.contains(&package) {
                    conflicts.upgrade.push(package);
                } else {
                    failed |= !self.give_way(package, protected, conflicts);
                }
                if failed && !persist {
                    return false;
                }
            }
        }
        !failed
    }

    /// An installed package has no version that the new one tolerates.
    fn give_way(&mut self, package: PkgId, protected: bool, conflicts: &mut Conflicts) -> bool {
        if self.mark(package).mode == Mode::Delete && !protected {
            return true;
        }
        if !protected {
            let allowed = self.may_change(package, Mode::Delete) && self.may_delete(package);
            if allowed {
                conflicts.remove.push(package);
            }
            return allowed;
        }
        if self.mark(package).mode != Mode::Delete && !self.delete(package) {
            return false;
        }
        self.discard_candidate(package);
        self.change(package).protected = true;
        true
    }

    /// Builds of one package for several architectures must have one version.
    fn versions_in_step(&self, package: PkgId, candidate: VerId, by_user: bool) -> bool {
        let ver = &self.graph.versions[candidate as usize];
        if by_user || ver.multi_arch != MultiArch::Same || self.mark(package).chosen == Some(candidate) {
            return true;
        }
        let name = self.graph.packages[package as usize].name;
        self.graph.names[name as usize].packages.iter().filter(|other| **other != package).all(|other| {
            let mark = self.mark(*other);
            match (mark.current, mark.candidate) {
                (Some(_), Some(theirs)) => {
                    let theirs = &self.graph.versions[theirs as usize];
                    theirs.multi_arch != MultiArch::Same || theirs.version == ver.version
                }
                _ => true,
            }
        })
    }

    /// Whether every dependency has at least a candidate; if not, the package itself ceases to be one.
    fn is_satisfiable(&mut self, package: PkgId, candidate: VerId) -> bool {
        if self.mark(package).current == Some(candidate) {
            return true;
        }
        let groups = self.groups(candidate);
        let possible = |group: &Group<'a>| {
            group.kind.is_negative()
                || self
                    .group_targets(group, candidate)
                    .iter()
                    .any(|v| self.is_chosen(*v) || self.is_candidate(*v))
        };
        if groups.iter().all(possible) {
            return true;
        }
        if !self.mark(package).protected {
            let mark = self.change(package);
            mark.candidate = mark.current;
            if mark.mode != Mode::Delete {
                mark.mode = Mode::Keep;
                mark.chosen = mark.current;
            }
        }
        false
    }

    /// Takes back new packages that nothing needs any more: remains of alternatives that were tried.
    pub fn drop_unneeded(&mut self) {
        let mut needed = vec![false; self.packages.len()];
        let mut queue: Vec<PkgId> = self
            .touched
            .iter()
            .copied()
            .filter(|package| {
                let mark = self.mark(*package);
                let precious = mark.chosen.is_some_and(|v| self.graph.versions[v as usize].essential);
                mark.chosen.is_some() && (mark.manual || mark.current.is_some() || precious)
            })
            .collect();
        while let Some(package) = queue.pop() {
            if std::mem::replace(&mut needed[package as usize], true) {
                continue;
            }
            let Some(version) = self.mark(package).chosen else { continue };
            for group in
                self.groups(version).iter().filter(|g| matches!(g.kind, Kind::Depends | Kind::PreDepends))
            {
                let chosen = self.group_targets(group, version).into_iter().filter(|v| self.is_chosen(*v));
                queue.extend(chosen.map(|v| self.package_of(v)));
            }
            let recommends = self.graph.field(version, crate::index::Field::Recommends);
            for relation in crate::relation::groups(recommends).flat_map(crate::relation::alternatives) {
                let chosen =
                    self.graph.targets(&relation, version, false).into_iter().filter(|v| self.is_chosen(*v));
                queue.extend(chosen.map(|v| self.package_of(v)));
            }
        }
        for package in self.touched.clone() {
            let mark = self.mark(package);
            if !needed[package as usize] && mark.chosen.is_some() && mark.current.is_none() {
                let mark = self.change(package);
                mark.chosen = None;
                mark.mode = Mode::Keep;
            }
        }
    }

    /// Ends a stage: what is chosen counts as installed for the next.
    pub fn commit(&mut self) {
        for package in self.touched.clone() {
            let newest = self.graph.packages[package as usize].versions.first().copied();
            let mark = &mut self.packages[package as usize];
            mark.current = mark.chosen;
            mark.candidate = mark.chosen.or(newest);
            mark.mode = Mode::Keep;
            mark.protected = false;
            mark.manual = mark.current.is_some();
        }
    }
}

#[derive(Default)]
struct Conflicts {
    upgrade: Vec<PkgId>,
    remove: Vec<PkgId>,
}
