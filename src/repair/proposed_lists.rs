//! The lists that would run empty by a planned repair, and the evidence of the callers whom they
//! concern.

use std::collections::BTreeMap;

use crate::litellm::access::difference::AccessDifference;
use crate::litellm::access::other_values::OtherValues;
use crate::litellm::access::path::RowsOnPath;
use crate::litellm::access::rows::AccessRows;
use crate::litellm::ids::{AccessGroupId, PermissionKey, ToolsetId};
use crate::litellm::reference_sites::{ACCESS_GROUPS, PERMISSIONS, ScannedTable, TOOLSETS};
use crate::litellm::server_catalog::ServerCatalog;
use crate::litellm::value::Value;
use crate::repair::caller_rows::ComparedCaller;
use crate::repair::empty_lists::{EmptyList, Evidence, Fallback, ProposedList};
use crate::repair::plan::{EmptyOutcome, RowPlan};

/// The lists that would run empty, and everything else that the repair would write in their rows.
#[derive(Debug, Default)]
pub(crate) struct ProposedLists {
    lists: BTreeMap<EmptyList, ProposedList>,
    /// The state to compare with: the rows as they are, with references remapped, because the
    /// operator asked for that.
    pub before: OtherValues,
    /// What the repair would write.
    pub after: OtherValues,
    /// How many references would be held because their list would run empty.
    pub held: usize,
    /// How many with those that LiteLLM before 1.80 asks to hold.
    pub stays: usize,
}

impl ProposedLists {
    /// Adds what the plan of a row would write, where it concerns these lists.
    pub(crate) fn add(&mut self, plan: &RowPlan, catalog: &ServerCatalog) {
        self.held += plan.held_in_empty_lists();
        self.stays += plan.held_by_any_choice();
        let ScannedTable::References(table) = plan.audit.table else {
            return;
        };
        let runs_empty = plan.edits.iter().any(|e| e.ending() != EmptyOutcome::No);
        let row = &plan.audit.row;
        for edit in &plan.edits {
            // Other edits remove only references that no server answers to; the proof looks at
            // every edit.
            if !runs_empty && edit.remapped().is_empty() {
                continue;
            }
            let (site, after) = (edit.site(), edit.after());
            self.before
                .set(table, row, site, &edit.before_renamed(catalog));
            self.after.set(table, row, site, &after);
            if edit.ending() == EmptyOutcome::No {
                continue;
            }
            let list = EmptyList {
                table: table.table,
                row: row.clone(),
                column: site.name,
            };
            let proposed = ProposedList {
                table,
                site,
                before: edit.before().clone(),
                after,
                fallbacks: edit.fallbacks(),
            };
            self.lists.insert(list, proposed);
        }
    }

    /// Tells whether no list would run empty.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Asks a caller whose access would change which of the lists on its path make the difference.
    pub(crate) fn evidence(
        &self,
        caller: &ComparedCaller<'_>,
        counts: fn(&AccessDifference) -> bool,
    ) -> Option<Evidence> {
        let differing = caller.differing.as_ref()?;
        let path = caller.rows.before.on_path(caller.caller);
        let mut evidence = Evidence {
            because: differing.to_string(),
            widens: differing.widens,
            ..Evidence::default()
        };
        let mut trial = caller.rows.trial().borrow_mut();
        for (list, proposed) in self.on(&path) {
            let put = |value: &Value, rows: &mut AccessRows| {
                let mut other = OtherValues::default();
                other.set(proposed.table, &list.row, proposed.site, value);
                other.put_into(rows);
            };
            let keeps = |to: &&Fallback| {
                put(&to.value(&proposed.before), &mut trial);
                let compared = caller.rows;
                compared.difference(caller.caller, &trial, counts).is_none()
            };
            let kept_by = proposed.fallbacks.iter().find(keeps);
            put(&proposed.after, &mut trial);
            evidence.alone.extend(kept_by.map(|to| (list.clone(), *to)));
            let next = proposed.fallbacks.first();
            evidence.together.extend(next.map(|to| (list.clone(), *to)));
        }
        Some(evidence)
    }

    /// Lists the proposed lists of these rows.
    fn on<'p>(
        &'p self,
        path: &'p RowsOnPath,
    ) -> impl Iterator<Item = (&'p EmptyList, &'p ProposedList)> {
        let permissions = path.permissions.iter().map(PermissionKey::as_str);
        let groups = path.access_groups.iter().map(AccessGroupId::as_str);
        let toolsets = path.toolsets.iter().map(ToolsetId::as_str);
        let rows = permissions.map(|row| (PERMISSIONS.table, row));
        let rows = rows.chain(groups.map(|row| (ACCESS_GROUPS.table, row)));
        let rows = rows.chain(toolsets.map(|row| (TOOLSETS.table, row)));
        rows.flat_map(move |(table, row)| {
            let first = EmptyList {
                table,
                row: row.to_owned(),
                column: "",
            };
            let of_row = move |(list, _): &(&EmptyList, &ProposedList)| {
                list.table == table && list.row == row
            };
            self.lists.range(first..).take_while(of_row)
        })
    }
}
