//! Tells which runs were undone, from the journals that they left.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::repair::changeset::{Change, ChangesetPurpose, Identity};

/// The references that a changeset changes, each as a hash of where it is, and whether it comes or
/// goes: enough to tell which of them an undo put back, without keeping the journals in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChangedItems(BTreeMap<u64, Movement>);

/// Whether a reference comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Movement {
    Comes,
    Goes,
}

impl Movement {
    fn inverse(self) -> Self {
        match self {
            Self::Comes => Self::Goes,
            Self::Goes => Self::Comes,
        }
    }
}

impl ChangedItems {
    /// Adds what a change changes.
    pub(crate) fn add(&mut self, change: &Change) {
        let (table, row) = (change.table().name(), change.key());
        let hash = |item: (&str, &str)| {
            let mut hasher = DefaultHasher::new();
            (table, row, item).hash(&mut hasher);
            hasher.finish()
        };
        match change {
            Change::Row(change) => {
                for column in change.columns() {
                    let [before, after] = [column.before(), column.after()]
                        .map(|value| value.references().collect::<BTreeSet<_>>());
                    let name = column.site().name;
                    let goes = before.difference(&after).map(|r| (r, Movement::Goes));
                    let comes = after.difference(&before).map(|r| (r, Movement::Comes));
                    let changed = goes.chain(comes);
                    self.0
                        .extend(changed.map(|(r, movement)| (hash((name, r)), movement)));
                }
            }
            Change::Credentials(change) => {
                let each = change.table().each;
                let users = change.rows().iter().filter_map(|row| row.text(each));
                let movement = if change.deletes() {
                    Movement::Goes
                } else {
                    Movement::Comes
                };
                self.0
                    .extend(users.map(|user| (hash((each, &user)), movement)));
            }
        }
    }

    /// Tells whether these items are some of those of `other`, each the other way round.
    fn take_back(&self, other: &Self) -> bool {
        let mut items = self.0.iter();
        items.all(|(item, movement)| other.0.get(item) == Some(&movement.inverse()))
    }

    fn hashes(&self) -> BTreeSet<u64> {
        self.0.keys().copied().collect()
    }
}

/// What the journal of a run tells of what became of it and of other runs.
#[derive(Debug, Clone)]
pub(crate) struct RunRecord {
    /// The name of the run.
    pub run: String,
    /// When its journal was begun.
    pub time: String,
    /// The database.
    pub database: Identity,
    /// Whether it repaired or took a run back.
    pub purpose: ChangesetPurpose,
    /// The run that it took back; `None` if it is no undo, or if an older version wrote the
    /// journal.
    pub undoes: Option<String>,
    /// Whether it took back all that its run had written.
    pub is_complete: bool,
    /// Whether its journal says that it was committed.
    pub is_committed: bool,
    /// What it changed.
    pub items: ChangedItems,
}

/// Whether a run was undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UndoneState {
    /// No undo of it is in effect.
    No,
    /// A part of it was undone.
    Partly,
    /// All of it was undone.
    Wholly,
    /// It cannot be told: the journal of an undo does not say that the undo was committed, or it is
    /// of another database, which may be the same by another name or a copy. Or, by what the
    /// journals say, it is an undo of its own undo.
    Unknown,
}

/// Whether a run was undone, and by which runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunFate {
    /// Whether it was undone.
    pub undone: UndoneState,
    /// The undos that are in effect, oldest first.
    pub undone_by: Vec<String>,
}

/// Tells of each run whether it was undone, in the order of `records`. Copies of one journal are
/// one run.
#[must_use]
pub(crate) fn fates(records: &[RunRecord]) -> Vec<RunFate> {
    let mut runs: Vec<&RunRecord> = Vec::new();
    let mut places: BTreeMap<(&str, &str, bool), usize> = BTreeMap::new();
    let mut run_of = Vec::with_capacity(records.len());
    for record in records {
        let is_undo = record.purpose == ChangesetPurpose::Undo;
        let place = places.entry((&record.run, &record.time, is_undo));
        let place = *place.or_insert(runs.len());
        match runs.get_mut(place) {
            None => runs.push(record),
            // A copy may be of before the commit.
            Some(run) if record.is_committed => *run = record,
            Some(_) => {}
        }
        run_of.push(place);
    }
    let fates = Fates::of(&runs);
    run_of.into_iter().map(|at| fates.fate(at)).collect()
}

/// Finds the record of the run that a record took back.
fn undone_by(records: &[&RunRecord], at: usize) -> Option<usize> {
    let undo = records[at];
    if undo.purpose != ChangesetPurpose::Undo {
        return None;
    }
    let others = records.iter().enumerate();
    let others = others.filter(|(other, _)| *other != at);
    let taken = others.filter(|(_, record)| match &undo.undoes {
        // The clock of this host may be behind.
        Some(run) => record.run == *run,
        // An older version did not write it. It took back the newest run that changed all of this.
        None => {
            record.time <= undo.time
                && record.database.may_be(&undo.database)
                && undo.items.take_back(&record.items)
        }
    });
    // Of two journals of one second, either may be the first.
    let newest = taken.max_by_key(|(_, record)| (record.time < undo.time, &record.time));
    newest.map(|(other, _)| other)
}

/// Lists the records so that each undo comes before the run that it took back, which `undone`
/// tells. Records that go in a circle are left out: journals that were made up may say so.
fn undos_first(undone: &[Option<usize>]) -> Vec<usize> {
    let mut missing = vec![0; undone.len()];
    for run in undone.iter().flatten() {
        missing[*run] += 1;
    }
    let mut order: Vec<usize> = (0..undone.len()).filter(|at| missing[*at] == 0).collect();
    let mut next = 0;
    while let Some(undo) = order.get(next) {
        next += 1;
        if let Some(run) = undone[*undo] {
            missing[run] -= 1;
            if missing[run] == 0 {
                order.push(run);
            }
        }
    }
    order
}

/// The records, and what became of each.
struct Fates<'a> {
    records: &'a [&'a RunRecord],
    /// The undos of each run.
    undos: Vec<Vec<usize>>,
    /// Whether every undo of a run was committed on its database, and every undo of these.
    are_certain: Vec<bool>,
    /// What each run changed and no undo has put back.
    left: Vec<BTreeSet<u64>>,
}

impl<'a> Fates<'a> {
    /// Finds out what became of each run, each undo before the run that it took back.
    fn of(records: &'a [&'a RunRecord]) -> Self {
        let undone = (0..records.len()).map(|at| undone_by(records, at));
        let undone: Vec<Option<usize>> = undone.collect();
        let mut fates = Self {
            records,
            undos: vec![Vec::new(); records.len()],
            are_certain: vec![false; records.len()],
            left: vec![BTreeSet::new(); records.len()],
        };
        for (undo, run) in undone.iter().enumerate() {
            if let Some(run) = run {
                fates.undos[*run].push(undo);
            }
        }
        for at in undos_first(&undone) {
            fates.are_certain[at] = fates.is_certain(at);
            fates.left[at] = fates.left_of(at);
        }
        fates
    }

    /// Tells whether the undos of a run are certain, once that is known of the undos of these.
    fn is_certain(&self, at: usize) -> bool {
        let here = &self.records[at].database;
        self.undos[at].iter().all(|undo| {
            let record = self.records[*undo];
            record.is_committed && record.database.may_be(here) && self.are_certain[*undo]
        })
    }

    /// Returns what a run changed and no undo has put back, once that is known of its undos.
    fn left_of(&self, at: usize) -> BTreeSet<u64> {
        let mut left = self.records[at].items.hashes();
        for undo in self.in_effect(at) {
            let (record, put_back) = (self.records[undo], &self.left[undo]);
            if record.is_complete && put_back.len() == record.items.0.len() {
                // What its journal lacks was back already.
                left.clear();
            }
            left.retain(|item| !put_back.contains(item));
        }
        left
    }

    /// Lists the undos of a run of which anything is in effect.
    fn in_effect(&self, at: usize) -> impl Iterator<Item = usize> {
        let undos = self.undos[at].iter().copied();
        undos.filter(|undo| !self.left[*undo].is_empty())
    }

    /// Tells whether the run of a record was undone.
    fn fate(&self, at: usize) -> RunFate {
        let mut undos: Vec<usize> = self.in_effect(at).collect();
        let undone = if !self.are_certain[at] {
            undos.clone_from(&self.undos[at]);
            UndoneState::Unknown
        } else if undos.is_empty() {
            UndoneState::No
        } else if self.left[at].is_empty() {
            UndoneState::Wholly
        } else {
            UndoneState::Partly
        };
        undos.sort_by_key(|undo| &self.records[*undo].time);
        let runs = undos.iter().map(|undo| self.records[*undo].run.clone());
        RunFate {
            undone,
            undone_by: runs.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the record of a run that takes references away, or of one that puts them back.
    fn record(run: &str, time: u8, undoes: Option<&str>, items: &[u64]) -> RunRecord {
        let movement = match undoes {
            None => Movement::Goes,
            Some(_) => Movement::Comes,
        };
        let name = "litellm".to_owned();
        let schema = "public".to_owned();
        RunRecord {
            run: run.to_owned(),
            time: format!("2026-01-02T03:04:{time:02}Z"),
            database: Identity {
                host: "db".to_owned(),
                port: 5432,
                name,
                schema,
            },
            purpose: match undoes {
                None => ChangesetPurpose::Fix,
                Some(_) => ChangesetPurpose::Undo,
            },
            undoes: undoes.map(str::to_owned),
            is_complete: false,
            is_committed: true,
            items: ChangedItems(items.iter().map(|item| (*item, movement)).collect()),
        }
    }

    fn complete(record: RunRecord) -> RunRecord {
        RunRecord {
            is_complete: true,
            ..record
        }
    }

    fn fate(undone: UndoneState, undone_by: &[&str]) -> RunFate {
        RunFate {
            undone,
            undone_by: undone_by.iter().map(|run| (*run).to_owned()).collect(),
        }
    }

    const NOT: UndoneState = UndoneState::No;

    #[test]
    fn two_parts_make_a_whole_and_a_complete_undo_is_one_whatever_it_found() {
        let fix = record("f", 0, None, &[1, 2, 3]);
        let one = record("u1", 1, Some("f"), &[1]);
        let two = record("u2", 2, Some("f"), &[2, 3]);
        assert_eq!(fates(std::slice::from_ref(&fix)), [fate(NOT, &[])]);
        let partly = fate(UndoneState::Partly, &["u1"]);
        assert_eq!(fates(&[fix.clone(), one.clone()])[0], partly);
        let wholly = fate(UndoneState::Wholly, &["u1", "u2"]);
        // The order of the files does not matter.
        assert_eq!(fates(&[two, fix.clone(), one])[1], wholly);
        let rest = complete(record("u3", 3, Some("f"), &[2]));
        assert_eq!(fates(&[fix, rest])[0], fate(UndoneState::Wholly, &["u3"]));
    }

    #[test]
    fn an_undo_that_was_undone_itself_does_not_count() {
        let fix = record("f", 0, None, &[1, 2]);
        let undo = complete(record("u", 1, Some("f"), &[1, 2]));
        let redo = complete(record("r", 2, Some("u"), &[1, 2]));
        let wholly = |by: &str| fate(UndoneState::Wholly, &[by]);
        let records = [fix.clone(), undo.clone(), redo.clone()];
        assert_eq!(
            fates(&records),
            [fate(NOT, &[]), wholly("r"), fate(NOT, &[])]
        );
        let part = record("r", 2, Some("u"), &[1]);
        let partly = [
            fate(UndoneState::Partly, &["u"]),
            fate(UndoneState::Partly, &["r"]),
        ];
        assert_eq!(fates(&[fix.clone(), undo.clone(), part])[..2], partly);
        // Whether the last undo was committed decides.
        let unsure = RunRecord {
            is_committed: false,
            ..redo
        };
        let found = fates(&[fix, undo, unsure]);
        assert_eq!(found[0], fate(UndoneState::Unknown, &["u"]));
        assert_eq!(found[1], fate(UndoneState::Unknown, &["r"]));
    }

    #[test]
    fn a_journal_of_an_older_version_took_back_the_newest_run_that_changed_all_of_it() {
        let of_older = |run: &str, time, items: &[u64]| RunRecord {
            undoes: None,
            ..record(run, time, Some("not written"), items)
        };
        let fix = record("f", 0, None, &[1, 2]);
        let undo = of_older("u", 1, &[1, 2]);
        let again = record("g", 2, None, &[1, 2]);
        let found = fates(&[fix.clone(), undo.clone(), again.clone()]);
        let expected = [
            fate(UndoneState::Wholly, &["u"]),
            fate(NOT, &[]),
            fate(NOT, &[]),
        ];
        assert_eq!(found, expected);
        // The second one may have been written in the same second.
        for time in [1, 3] {
            let mut redo = of_older("r", time, &[1, 2]);
            redo.items = again.items.clone();
            let found = fates(&[redo, fix.clone(), undo.clone()]);
            let expected = [
                fate(NOT, &[]),
                fate(NOT, &[]),
                fate(UndoneState::Wholly, &["r"]),
            ];
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_undo_counts_although_the_clock_of_its_host_was_behind() {
        let fix = record("f", 10, None, &[1, 2]);
        let undo = complete(record("u", 1, Some("f"), &[1, 2]));
        let redo = record("r", 0, Some("u"), &[1]);
        let records = [fix, undo, redo];
        assert_eq!(fates(&records[..2])[0], fate(UndoneState::Wholly, &["u"]));
        let expected = [
            fate(UndoneState::Partly, &["u"]),
            fate(UndoneState::Partly, &["r"]),
            fate(NOT, &[]),
        ];
        assert_eq!(fates(&records), expected);
    }

    #[test]
    fn copies_of_a_journal_are_one_run() {
        let fix = record("f", 0, None, &[1, 2]);
        let undo = record("u", 1, Some("f"), &[1]);
        let before_commit = RunRecord {
            is_committed: false,
            ..undo.clone()
        };
        let partly = fate(UndoneState::Partly, &["u"]);
        let records = [fix.clone(), undo, fix, before_commit];
        assert_eq!(
            fates(&records),
            [partly.clone(), fate(NOT, &[]), partly, fate(NOT, &[])]
        );
    }

    #[test]
    fn an_undo_of_another_database_may_be_of_a_copy_and_a_circle_ends() {
        let fix = record("f", 0, None, &[1]);
        let mut elsewhere = record("u", 1, Some("f"), &[1]);
        elsewhere.database.name = "other".to_owned();
        let unknown = fate(UndoneState::Unknown, &["u"]);
        assert_eq!(fates(&[fix, elsewhere])[0], unknown);
        let circle = [
            record("a", 0, Some("b"), &[1]),
            record("b", 0, Some("a"), &[1]),
        ];
        let unknown = |by: &str| fate(UndoneState::Unknown, &[by]);
        assert_eq!(fates(&circle), [unknown("b"), unknown("a")]);
    }

    #[test]
    fn a_long_chain_of_undos_of_undos_is_told_at_once() {
        let run = |at: u8| format!("run{at}");
        let mut chain = vec![record(&run(0), 0, None, &[1, 2])];
        for at in 1..=60 {
            let undo = record(&run(at), at, Some(&run(at - 1)), &[1, 2]);
            chain.push(complete(undo));
        }
        for (at, found) in (0..).zip(fates(&chain)) {
            // The last one counts, so the one before it does not, and so on.
            let expected = if at % 2 == 0 {
                fate(NOT, &[])
            } else {
                fate(UndoneState::Wholly, &[&run(at + 1)])
            };
            assert_eq!(found, expected, "{at}");
        }
    }
}
