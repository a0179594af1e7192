//! One column that a repair changed, reference by reference: a part of the repair can be taken
//! back, and later the rest.

use std::collections::{BTreeMap, BTreeSet};

use crate::litellm::server::NO_SERVERS;
use crate::litellm::value::Value;
use crate::repair::changeset::{ChangesetPurpose, ColumnChange, is_repair};

/// One column as a repair found it and as the repair left it, and what tells its references apart.
#[derive(Debug)]
pub(crate) struct RepairedColumn<'a> {
    /// What the column holds before the repair.
    full: &'a Value,
    /// What the column holds after the repair.
    repaired: &'a Value,
    renamed: &'a BTreeMap<String, String>,
    /// The references that the repair removed or renamed.
    taken: BTreeSet<&'a str>,
    /// Whether the change was the repair; otherwise it was the undo of one.
    is_repair: bool,
}

/// Whether a part of a run was taken back before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EarlierUndo {
    /// As far as the journals tell, it was not.
    None,
    /// A journal tells that it was.
    OfAPart,
}

/// The way to take back a change of a column, given what the column holds now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ColumnTakeBack {
    /// The column is back already.
    Back,
    /// The column is back once it holds this.
    Write(Value),
    /// The column holds something else than the change wrote and replaced.
    Changed,
    /// The changeset does not tell the references that are meant from the others.
    Inseparable,
}

impl<'a> RepairedColumn<'a> {
    /// Finds out which references a change of a changeset for `purpose` took away or put back.
    #[must_use]
    pub(crate) fn of(change: &'a ColumnChange, purpose: ChangesetPurpose) -> Self {
        let forwards = Self::between([change.before(), change.after()], change, true);
        let is_of_undo = match purpose {
            ChangesetPurpose::Plan | ChangesetPurpose::Fix => false,
            ChangesetPurpose::Undo => true,
        };
        if !is_of_undo || forwards.tells_references_apart() {
            return forwards;
        }
        // The undo of an undo repairs again; any other undo puts back.
        let backwards = Self::between([change.after(), change.before()], change, false);
        let may_be_forwards = !backwards.tells_references_apart()
            && is_repair(change.before(), change.after())
            && !is_repair(change.after(), change.before());
        if may_be_forwards { forwards } else { backwards }
    }

    fn between(
        [full, repaired]: [&'a Value; 2],
        change: &'a ColumnChange,
        is_repair: bool,
    ) -> Self {
        let left: BTreeSet<&str> = repaired.references().collect();
        let there = full.references();
        Self {
            full,
            repaired,
            renamed: change.renamed(),
            taken: there
                .filter(|reference| !left.contains(reference))
                .collect(),
            is_repair,
        }
    }

    /// Lists the references that the change took away or put back.
    pub(crate) fn references(&self) -> impl Iterator<Item = &'a str> {
        self.taken.iter().copied()
    }

    /// Compares the change with what the column holds `now`, and decides how to take back
    /// `references` of it; `None` means all.
    ///
    /// A value between the two is what an undo of a part left, if there was one. Otherwise somebody
    /// chose it since.
    #[must_use]
    pub(crate) fn take_back(
        &self,
        now: &Value,
        references: Option<&BTreeSet<String>>,
        earlier: EarlierUndo,
    ) -> ColumnTakeBack {
        let (original, written) = if self.is_repair {
            (self.full, self.repaired)
        } else {
            (self.repaired, self.full)
        };
        if references.is_none() && now == written {
            return ColumnTakeBack::Write(original.clone());
        }
        if now == original {
            return ColumnTakeBack::Back;
        }
        if now != written && earlier == EarlierUndo::None {
            return ColumnTakeBack::Changed;
        }
        let there: BTreeSet<&str> = now.references().collect();
        let taken = self.taken.iter().copied();
        let taken_now: BTreeSet<&str> = taken.filter(|r| !there.contains(r)).collect();
        if self.holding(&taken_now).as_ref() != Some(now) {
            return ColumnTakeBack::Changed;
        }
        let is_meant = |reference: &str| references.is_none_or(|all| all.contains(reference));
        let taken_then: BTreeSet<&str> = if self.is_repair {
            let stays = taken_now.iter().filter(|reference| !is_meant(reference));
            stays.copied().collect()
        } else {
            let again = self.taken.iter().filter(|reference| is_meant(reference));
            taken_now.iter().chain(again).copied().collect()
        };
        if taken_then == taken_now {
            return ColumnTakeBack::Back;
        }
        let Some(then) = self.holding(&taken_then) else {
            return ColumnTakeBack::Inseparable;
        };
        let [full, repaired] = if self.is_repair {
            [&then, now]
        } else {
            [now, &then]
        };
        // The journal of the undo has to be read again.
        if is_repair(full, repaired) {
            ColumnTakeBack::Write(then)
        } else {
            ColumnTakeBack::Inseparable
        }
    }

    /// Returns what the column holds if the repair took only these references; `None` if the
    /// changeset does not tell.
    fn holding(&self, taken: &BTreeSet<&str>) -> Option<Value> {
        if taken.len() == self.taken.len() {
            return Some(self.repaired.clone());
        }
        if taken.is_empty() {
            return Some(self.full.clone());
        }
        self.tells_references_apart().then(|| self.without(taken))
    }

    /// Removes and renames these references in the value before the repair.
    fn without(&self, taken: &BTreeSet<&str>) -> Value {
        let new = |old: &str| self.renamed.get(old).filter(|_| taken.contains(old));
        let left = self.full.without(|r| taken.contains(r) && new(r).is_none());
        left.renamed(|reference| new(reference).map(String::as_str))
    }

    /// Tells whether the value after the repair follows from the references that it took. It does
    /// not where an older version wrote the changeset, and references were renamed.
    fn tells_references_apart(&self) -> bool {
        let is_marked = match self.repaired {
            Value::Array(only) => *only == [NO_SERVERS],
            Value::Keys(_) | Value::Tools(_) => false,
        };
        let follows = self.without(&self.taken) == *self.repaired;
        !self.taken.is_empty() && (follows || is_marked && self.takes_all())
    }

    /// Tells whether the repair took every reference of the column.
    fn takes_all(&self) -> bool {
        self.full
            .references()
            .all(|reference| self.taken.contains(reference))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::litellm::reference_sites::{MCP_SERVERS, MCP_TOOL_PERMISSIONS, PERMISSIONS, Site};
    use crate::repair::changeset::RowChange;

    fn array(references: &[&str]) -> Value {
        Value::Array(references.iter().map(|r| (*r).to_owned()).collect())
    }

    fn keys(keys: &[(&str, &[&str])]) -> Value {
        let keys = keys.iter().map(|(key, tools)| {
            let tools = tools.iter().map(|tool| (*tool).to_owned()).collect();
            ((*key).to_owned(), tools)
        });
        Value::Keys(keys.collect())
    }

    fn change(site: &'static Site, values: [Value; 2], renamed: &[(&str, &str)]) -> RowChange {
        RowChange::of_column(&PERMISSIONS, "p", site, values).with_renamed(renamed)
    }

    fn only(references: &[&str]) -> BTreeSet<String> {
        references.iter().map(|r| (*r).to_owned()).collect()
    }

    /// Takes back `references` of a change of `purpose`, from `now`.
    fn taken_back(
        purpose: ChangesetPurpose,
        change: &RowChange,
        now: &Value,
        references: Option<&[&str]>,
    ) -> ColumnTakeBack {
        let column = RepairedColumn::of(&change.columns()[0], purpose);
        column.take_back(now, references.map(only).as_ref(), EarlierUndo::OfAPart)
    }

    #[test]
    fn a_part_is_put_back_and_then_the_rest_and_both_are_taken_away_again() {
        let full = array(&["g1", "a", "g2"]);
        let repaired = array(&["a"]);
        let fix = change(&MCP_SERVERS, [full.clone(), repaired.clone()], &[]);
        let fixed = ChangesetPurpose::Fix;
        let first = array(&["g1", "a"]);
        let part = taken_back(fixed, &fix, &repaired, Some(&["g1", "other"]));
        assert_eq!(part, ColumnTakeBack::Write(first.clone()));
        for rest in [None, Some(&["g2"][..])] {
            let rest = taken_back(fixed, &fix, &first, rest);
            assert_eq!(rest, ColumnTakeBack::Write(full.clone()));
        }
        let again = taken_back(fixed, &fix, &first, Some(&["g1"]));
        assert_eq!(again, ColumnTakeBack::Back);
        assert_eq!(taken_back(fixed, &fix, &full, None), ColumnTakeBack::Back);

        let undone = ChangesetPurpose::Undo;
        let undo = change(&MCP_SERVERS, [repaired.clone(), full.clone()], &[]);
        let again = taken_back(undone, &undo, &full, Some(&["g2"]));
        assert_eq!(again, ColumnTakeBack::Write(first.clone()));
        let again = taken_back(undone, &undo, &first, None);
        assert_eq!(again, ColumnTakeBack::Write(repaired.clone()));
        // The undo of an undo repairs.
        let redo = taken_back(undone, &fix, &repaired, Some(&["g1"]));
        assert_eq!(redo, ColumnTakeBack::Write(first));
    }

    #[test]
    fn what_somebody_else_wrote_is_no_part() {
        let fix = change(
            &MCP_SERVERS,
            [array(&["g1", "a", "g2"]), array(&["a"])],
            &[],
        );
        for now in [
            array(&["a", "b"]),
            array(&["a", "g1"]),
            array(&["g1"]),
            array(&[]),
        ] {
            let taken = taken_back(ChangesetPurpose::Fix, &fix, &now, None);
            assert_eq!(taken, ColumnTakeBack::Changed, "{now:?}");
        }
    }

    #[test]
    fn a_deny_marker_goes_with_the_first_reference_that_comes_back() {
        let full = array(&["g1", "g2"]);
        let marked = array(&[NO_SERVERS]);
        let fix = change(&MCP_SERVERS, [full.clone(), marked.clone()], &[]);
        let first = array(&["g2"]);
        let part = taken_back(ChangesetPurpose::Fix, &fix, &marked, Some(&["g2"]));
        assert_eq!(part, ColumnTakeBack::Write(first.clone()));
        let rest = taken_back(ChangesetPurpose::Fix, &fix, &first, None);
        assert_eq!(rest, ColumnTakeBack::Write(full.clone()));
        let undo = change(&MCP_SERVERS, [marked.clone(), full.clone()], &[]);
        let again = taken_back(ChangesetPurpose::Undo, &undo, &full, None);
        assert_eq!(again, ColumnTakeBack::Write(marked));
    }

    #[test]
    fn a_new_name_stays_until_the_last_of_its_old_names_is_back() {
        let full = array(&["o1", "o2"]);
        let renamed = array(&["n"]);
        let names = [("o1", "n"), ("o2", "n")];
        let fix = change(&MCP_SERVERS, [full.clone(), renamed.clone()], &names);
        let first = array(&["o1", "n"]);
        let part = taken_back(ChangesetPurpose::Fix, &fix, &renamed, Some(&["o1"]));
        assert_eq!(part, ColumnTakeBack::Write(first.clone()));
        let undo = change(&MCP_SERVERS, [renamed.clone(), first.clone()], &names);
        let again = taken_back(ChangesetPurpose::Undo, &undo, &first, None);
        assert_eq!(again, ColumnTakeBack::Write(renamed.clone()));
        let rest = taken_back(ChangesetPurpose::Fix, &fix, &first, None);
        assert_eq!(rest, ColumnTakeBack::Write(full));
    }

    #[test]
    fn references_that_the_changeset_does_not_tell_apart_come_back_together() {
        let full = array(&["o1", "o2", "a"]);
        let renamed = array(&["n", "a"]);
        // As an older version wrote it.
        let fix = change(&MCP_SERVERS, [full.clone(), renamed.clone()], &[]);
        let part = taken_back(ChangesetPurpose::Fix, &fix, &renamed, Some(&["o1"]));
        assert_eq!(part, ColumnTakeBack::Inseparable);
        for all in [None, Some(&["o1", "o2"][..])] {
            let all = taken_back(ChangesetPurpose::Fix, &fix, &renamed, all);
            assert_eq!(all, ColumnTakeBack::Write(full.clone()));
        }
        // Here the order of the tools is not that of a repair.
        let full = keys(&[("o1", &["x"]), ("o2", &["y"])]);
        let united = keys(&[("n", &["x", "y"])]);
        let names = [("o1", "n"), ("o2", "n")];
        let fix = change(&MCP_TOOL_PERMISSIONS, [full, united.clone()], &names);
        let part = taken_back(ChangesetPurpose::Fix, &fix, &united, Some(&["o1"]));
        assert_eq!(part, ColumnTakeBack::Inseparable);
        let part = taken_back(ChangesetPurpose::Fix, &fix, &united, Some(&["o2"]));
        let expected = keys(&[("n", &["x"]), ("o2", &["y"])]);
        assert_eq!(part, ColumnTakeBack::Write(expected));
    }

    /// Makes a value of references by number; six of them are stale and three are live.
    fn value_of(entries: &[(usize, Vec<usize>)], is_array: bool) -> Value {
        let entries = entries.iter().map(|(number, tools)| {
            let tools = tools.iter().map(|tool| format!("t{tool}"));
            (format!("r{number}"), tools.collect())
        });
        if is_array {
            Value::Array(
                entries
                    .map(|(reference, _): (_, Vec<String>)| reference)
                    .collect(),
            )
        } else {
            Value::Keys(entries.collect())
        }
    }

    /// Makes the change of a repair that takes and renames references as told.
    fn repair_of(
        full: &Value,
        taken: &BTreeSet<usize>,
        renamed: &BTreeMap<usize, usize>,
        marks: bool,
    ) -> Option<RowChange> {
        let taken: BTreeSet<String> = taken.iter().map(|number| format!("r{number}")).collect();
        let there: BTreeSet<&str> = full.references().filter(|r| taken.contains(*r)).collect();
        let renamed = renamed.iter();
        let renamed = renamed.map(|(old, new)| (format!("r{old}"), format!("r{new}")));
        let renamed: BTreeMap<String, String> = renamed
            .filter(|(old, _)| there.contains(old.as_str()))
            .collect();
        let new = |old: &str| renamed.get(old).map(String::as_str);
        let left = full.without(|r| there.contains(r) && new(r).is_none());
        let mut repaired = left.renamed(new);
        let is_array = matches!(full, Value::Array(_));
        if marks && is_array && repaired.is_empty() {
            repaired = array(&[NO_SERVERS]);
        }
        let site = if is_array {
            &MCP_SERVERS
        } else {
            &MCP_TOOL_PERMISSIONS
        };
        let renamed: Vec<(&str, &str)> = renamed.iter().map(|(o, n)| (&**o, &**n)).collect();
        (!there.is_empty()).then(|| change(site, [full.clone(), repaired], &renamed))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn any_parts_and_then_the_rest_put_back_what_was_there(
            entries in vec((0..9_usize, vec(0..4_usize, 0..3)), 1..8),
            is_array in any::<bool>(),
            taken in btree_set(0..6_usize, 1..6),
            renamed in btree_map(0..6_usize, 6..9_usize, 0..4),
            marks in any::<bool>(),
            parts in vec(btree_set(0..6_usize, 0..3), 0..5),
        ) {
            let full = value_of(&entries, is_array);
            let Some(fix) = repair_of(&full, &taken, &renamed, marks) else {
                return Ok(());
            };
            let made = &fix.columns()[0];
            let column = RepairedColumn::of(made, ChangesetPurpose::Fix);
            let mut now = made.after().clone();
            let parts = parts.into_iter().map(Some).chain([None]);
            for part in parts {
                let named = |part: BTreeSet<usize>| part.iter().map(|n| format!("r{n}")).collect();
                let part: Option<BTreeSet<String>> = part.map(named);
                let back: BTreeSet<&str> = column.references().collect();
                let is_meant = |r: &str| part.as_ref().is_none_or(|part| part.contains(r));
                let then = match column.take_back(&now, part.as_ref(), EarlierUndo::OfAPart) {
                    ColumnTakeBack::Back => now.clone(),
                    ColumnTakeBack::Write(then) => {
                        // The undo of this undo leaves the column as it was.
                        let undo = made.with_values(now.clone(), then.clone());
                        let redo = RepairedColumn::of(&undo, ChangesetPurpose::Undo);
                        let redone = redo.take_back(&then, None, EarlierUndo::None);
                        prop_assert_eq!(redone, ColumnTakeBack::Write(now.clone()));
                        then
                    }
                    ColumnTakeBack::Inseparable => {
                        // Of an array, only those that got one new name may be told apart no more.
                        let new: Vec<usize> = renamed.values().copied().collect();
                        let distinct: BTreeSet<usize> = new.iter().copied().collect();
                        let share_a_name = distinct.len() < new.len();
                        prop_assert!(part.is_some() && (!is_array || share_a_name));
                        continue;
                    }
                    ColumnTakeBack::Changed => return Err(TestCaseError::fail("changed")),
                };
                // Exactly the references that are meant are back besides those that were.
                let [before, after]: [BTreeSet<&str>; 2] =
                    [&now, &then].map(|value| value.references().collect());
                for reference in back {
                    let expected = before.contains(reference) || is_meant(reference);
                    prop_assert_eq!(after.contains(reference), expected, "{}", reference);
                }
                now = then;
            }
            prop_assert_eq!(now, full);
        }
    }
}
