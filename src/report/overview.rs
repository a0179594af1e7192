//! What the sentences of a report for people are made of: gathered over all rows in one pass, so
//! that no row stays in memory. It grows with the deleted servers, and with the teams and other
//! owners whose names a sentence may need, but not with the keys.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::litellm::finding::{Finding, FindingKind};
use crate::litellm::owners::OwnerKind;
use crate::litellm::reference_sites::Group;
use crate::litellm::server_catalog::Successor;
use crate::repair::plan::{Edit, Held, Reason, RowPlan};
use crate::report::Report;
use crate::report::decisions::Decisions;
use crate::report::named_owners::{NamedOwners, NamesById, SharedNames};
use crate::report::put_aside::Sorter;

/// How many names a sentence lists at most. The others are counted.
const NAMED: usize = 5;

/// What is known over all rows of a report.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    /// The references to deleted servers, each with the number of rows that hold it.
    stale: BTreeMap<String, usize>,
    /// What stale ids of config servers became, by id.
    pub successors: BTreeMap<String, Successor>,
    /// The settings outside the database that are assumed.
    pub assumed: BTreeSet<&'static str>,
    /// Whether any list has a stale reference.
    pub is_list_stale: bool,
    /// How many references are held for each reason.
    pub held: BTreeMap<Reason, usize>,
    /// The held references that are explained together, by their first reason.
    pub explained: Vec<ExplainedHolds>,
    /// The permission rows of keys that hold a reference because a list would run empty.
    pub stuck: usize,
    /// The owners to whom a toolset that is gone denies everything.
    pub denied: FirstNames,
    /// The keys to which a toolset that is gone grants nothing.
    pub granted_nothing: FirstNames,
    /// The owners of rows in which a rename made two lists of tools one, in the order of rows.
    pub united: FirstNames,
    /// The old ids of config servers whose new id is certain, and that are not remapped yet.
    pub remaps: BTreeMap<String, String>,
    /// How many owners of each kind rows with stale references have.
    pub owners: BTreeMap<OwnerKind, usize>,
    /// The rows with stale references that nobody owns, but somebody should.
    pub ownerless: usize,
    /// The names that several owners have.
    pub shared: SharedNames,
    /// The names of teams and organizations, and of every caller's levels where callers are listed.
    pub names: NamesById,
}

/// The references that are held with one explanation.
#[derive(Debug)]
pub(crate) struct ExplainedHolds {
    /// The first of the reasons that have this explanation.
    pub reason: Reason,
    /// How many references they are.
    pub references: usize,
    /// How many rows hold them.
    pub rows: usize,
    /// Who would gain or lose what.
    pub because: FirstNames,
}

/// The first names of a list, and how many names it has.
#[derive(Debug, Default)]
pub(crate) struct FirstNames {
    /// The first, five at most.
    pub first: Vec<String>,
    /// How many there are.
    pub all: usize,
}

impl FirstNames {
    /// Adds the next name.
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.all += 1;
        if self.first.len() < NAMED {
            self.first.push(name());
        }
    }

    /// Collects the different names among sorted ones.
    fn of_sorted(names: impl Iterator<Item = io::Result<String>>) -> io::Result<Self> {
        let mut collected = Self::default();
        let mut last = None;
        for name in names {
            let name = name?;
            if last.as_ref() != Some(&name) {
                collected.add(|| name.clone());
                last = Some(name);
            }
        }
        Ok(collected)
    }
}

impl Overview {
    /// Gathers what is known over all rows of a report.
    ///
    /// # Errors
    ///
    /// An I/O error if the rows cannot be read back.
    pub(crate) fn of(report: &Report) -> io::Result<Self> {
        let mut gathering = Gathering::new();
        for plan in report.plans() {
            gathering.add(&plan?)?;
        }
        let names_callers = report.facts().affected.is_some();
        gathering.finish(names_callers)
    }

    /// Returns how owners are named who are no keys; `is_wide` if always with their ids.
    #[must_use]
    pub(crate) fn named(&self, is_wide: bool) -> NamedOwners<'_> {
        NamedOwners {
            names: &self.names,
            shared: &self.shared,
            is_wide,
        }
    }

    /// Returns the references to deleted servers, each with the number of rows that hold it, most
    /// rows first.
    #[must_use]
    pub(crate) fn stale_references(&self) -> Vec<(&str, usize)> {
        let rows = self.stale.iter();
        let mut rows: Vec<(&str, usize)> =
            rows.map(|(name, rows)| (name.as_str(), *rows)).collect();
        rows.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        rows
    }
}

/// An overview that is being gathered.
struct Gathering {
    overview: Overview,
    /// The owners of rows with stale references.
    owners: Sorter<(OwnerKind, String)>,
    /// The names of all owners, with their ids.
    names: Sorter<(OwnerKind, String, String)>,
    /// Who would gain or lose what, by the place of the explanation.
    because: Sorter<(usize, String)>,
    denied: Sorter<String>,
    granted_nothing: Sorter<String>,
    /// The references that are renamed.
    remapped: BTreeSet<String>,
}

impl Gathering {
    fn new() -> Self {
        Self {
            overview: Overview::default(),
            owners: Sorter::new(),
            names: Sorter::new(),
            because: Sorter::new(),
            denied: Sorter::new(),
            granted_nothing: Sorter::new(),
            remapped: BTreeSet::new(),
        }
    }

    fn add(&mut self, plan: &RowPlan) -> io::Result<()> {
        self.add_stale(plan);
        self.add_ids(plan);
        self.add_held(plan)?;
        self.add_owners(plan)?;
        let overview = &mut self.overview;
        let effects = plan.audit.impacts.iter();
        let effects = effects.filter_map(|impact| impact.if_emptied.as_ref());
        let assumed = effects.filter_map(|effect| effect.assuming);
        overview.assumed.extend(assumed);
        if plan.edits.iter().any(Edit::unites) {
            overview.united.add(|| match plan.audit.owners().next() {
                Some(owner) => owner.to_string(),
                None => format!("row {}", plan.audit.row),
            });
        }
        Ok(())
    }

    /// Adds the references to deleted servers.
    fn add_stale(&mut self, plan: &RowPlan) {
        let decisions = Decisions::of(plan);
        let stale = plan.audit.findings.iter();
        let stale = stale.filter(|finding| finding.kind == FindingKind::Stale);
        let stale = stale.filter(|finding| !is_config_id(&decisions, finding));
        let stale = stale.filter_map(|finding| finding.reference.as_deref());
        for reference in stale.collect::<BTreeSet<&str>>() {
            let rows = plan.rows();
            match self.overview.stale.get_mut(reference) {
                Some(all) => *all += rows,
                None => {
                    self.overview.stale.insert(reference.to_owned(), rows);
                }
            }
        }
    }

    /// Adds what the ids of config servers became.
    fn add_ids(&mut self, plan: &RowPlan) {
        let Overview {
            successors, remaps, ..
        } = &mut self.overview;
        for edit in &plan.edits {
            self.remapped.extend(edit.remapped().keys().cloned());
        }
        for finding in &plan.audit.findings {
            let (Some(old), Some(now)) = (&finding.reference, &finding.successor) else {
                continue;
            };
            if !successors.contains_key(old) {
                successors.insert(old.clone(), now.clone());
            }
            if let ([id], None) = (
                &now.ids.iter().collect::<Vec<_>>()[..],
                plan.audit.credentials(),
            ) {
                remaps.insert(old.clone(), (*id).clone());
            }
        }
    }

    /// Adds what is held, and why.
    fn add_held(&mut self, plan: &RowPlan) -> io::Result<()> {
        let explained = &mut self.overview.explained;
        let mut of_row: BTreeSet<usize> = BTreeSet::new();
        for held in &plan.held {
            *self.overview.held.entry(held.reason).or_default() += 1;
            let explanation = held.reason.explanation();
            let known = explained.iter();
            let mut known = known.map(|holds| holds.reason.explanation());
            let place = known.position(|known| known == explanation);
            let place = place.unwrap_or_else(|| {
                explained.push(ExplainedHolds {
                    reason: held.reason,
                    references: 0,
                    rows: 0,
                    because: FirstNames::default(),
                });
                explained.len() - 1
            });
            if let Some(holds) = explained.get_mut(place) {
                holds.reason = holds.reason.min(held.reason);
                holds.references += 1;
                if of_row.insert(place) {
                    holds.rows += plan.rows();
                }
            }
            if let Some(because) = &held.because {
                self.because.add((place, because.clone()))?;
            }
        }
        let is_last = |held: &Held| held.reason.is_of_empty_list();
        let mut owners = plan.audit.owners();
        let is_stuck = plan.audit.table.group() == Group::Permissions
            && owners.any(|owner| owner.kind() == OwnerKind::Key)
            && plan.held.iter().any(is_last);
        self.overview.stuck += usize::from(is_stuck);
        let mut held = plan.held.iter();
        if held.any(|held| held.reason == Reason::DanglingToolset) {
            for owner in plan.audit.owners() {
                if owner.kind().is_denied_by_missing_toolset() {
                    self.denied.add(owner.to_string())?;
                } else if owner.kind() == OwnerKind::Key {
                    self.granted_nothing.add(owner.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Adds whose the row is.
    fn add_owners(&mut self, plan: &RowPlan) -> io::Result<()> {
        let is_stale = plan.audit.is_stale();
        let group = plan.audit.table.group();
        self.overview.is_list_stale |= is_stale && group != Group::Credentials;
        let needs_none = matches!(group, Group::Defaults | Group::Credentials);
        let is_ownerless = is_stale && plan.audit.impacts.is_empty() && !needs_none;
        self.overview.ownerless += usize::from(is_ownerless);
        for owner in plan.audit.owners() {
            let (kind, id) = (owner.kind(), owner.id());
            if is_stale {
                self.owners.add((kind, id.to_owned()))?;
            }
            if let Some(name) = owner.name() {
                self.names.add((kind, name.to_owned(), id.to_owned()))?;
            }
        }
        Ok(())
    }

    fn finish(mut self, names_callers: bool) -> io::Result<Overview> {
        let mut overview = self.overview;
        overview
            .remaps
            .retain(|old, _| !self.remapped.contains(old));
        let mut last = None;
        for owner in self.owners.sorted() {
            let owner = owner?;
            if last.as_ref() != Some(&owner) {
                *overview.owners.entry(owner.0).or_default() += 1;
                last = Some(owner);
            }
        }
        let is_looked_up = |kind| match kind {
            OwnerKind::Team | OwnerKind::Organization => true,
            OwnerKind::User | OwnerKind::Agent => names_callers,
            OwnerKind::Key | OwnerKind::Project | OwnerKind::EndUser => false,
        };
        let mut last: Option<(OwnerKind, String, String)> = None;
        for owner in self.names.sorted() {
            let (kind, name, id) = owner?;
            if let Some((last_kind, last_name, last_id)) = &last
                && (*last_kind, last_name) == (kind, &name)
                && *last_id != id
            {
                overview.shared.add(kind, &name);
            }
            if is_looked_up(kind) && !name.is_empty() {
                let names = overview.names.entry(kind).or_default();
                names.insert(id.clone(), name.clone());
            }
            last = Some((kind, name, id));
        }
        let mut last = None;
        for because in self.because.sorted() {
            let because = because?;
            if last.as_ref() != Some(&because) {
                if let Some(holds) = overview.explained.get_mut(because.0) {
                    holds.because.add(|| because.1.clone());
                }
                last = Some(because);
            }
        }
        overview.explained.sort_by_key(|holds| holds.reason);
        overview.denied = FirstNames::of_sorted(self.denied.sorted())?;
        overview.granted_nothing = FirstNames::of_sorted(self.granted_nothing.sorted())?;
        Ok(overview)
    }
}

/// Tells whether a finding may be of a config server that was edited or removed.
fn is_config_id(decisions: &Decisions<'_>, finding: &Finding) -> bool {
    decisions
        .held(finding)
        .is_some_and(|held| matches!(held.reason, Reason::MaybeEdited | Reason::MaybeRenewed))
}
