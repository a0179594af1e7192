//! Carries out a saved plan: exactly what it says, or nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::Failure;
use crate::litellm::credentials::ServerRows;
use crate::litellm::reference_sites::{CredentialTable, SiteTable, TABLES};
use crate::litellm::row::Row;
use crate::litellm::server_catalog::ServerCatalog;
use crate::repair::changeset::{Change, RowChange};
use crate::repair::conflict::{self, Conflict};
use crate::repair::credentials_conflict;
use crate::repair::plan::RowPlan;
use crate::repair::selection::Selection;
use crate::workflow::candidate_rows::CandidateRows;
use crate::workflow::changeset_file::SavedChangeset;

/// The changes of a saved plan that were not compared yet, by table and primary key.
pub(crate) struct SavedPlan(BTreeMap<(&'static str, String), Change>);

impl SavedPlan {
    /// Reads the whole plan.
    pub(crate) fn read(saved: &SavedChangeset) -> Result<Self, Failure> {
        let by_row = saved.changes()?.map(|change| {
            let change = change?;
            Ok(((change.table().name(), change.key().to_owned()), change))
        });
        by_row.collect::<Result<_, Failure>>().map(Self)
    }

    /// Returns the rows that the plan changes.
    pub(crate) fn rows(&self) -> Result<CandidateRows, Failure> {
        let mut rows = CandidateRows::default();
        for table in TABLES {
            let of_table = self.0.keys().filter(|(name, _)| *name == table.name());
            for (_, key) in of_table {
                rows.add(table, key)?;
            }
        }
        Ok(rows)
    }

    /// Selects the rows of the plan alone, so that every other row counts as one that stays.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            rows: self.0.keys().map(|(_, key)| key.clone()).collect(),
            ..Selection::default()
        }
    }

    /// Compares the saved plan with what would be planned `now` for `rows`, and keeps in `now` only
    /// the edits of the saved plan. Returns the conflicts.
    pub(crate) fn hold(
        &mut self,
        table: &SiteTable,
        rows: &[Row],
        now: &mut [RowPlan],
        catalog: &ServerCatalog,
    ) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        let by_key: HashMap<&str, &RowPlan> =
            now.iter().map(|p| (p.audit.row.as_str(), p)).collect();
        let mut fits: HashMap<String, RowChange> = HashMap::new();
        for row in rows {
            let planned = self.0.remove(&(table.table, row.key.clone()));
            let Some(Change::Row(change)) = planned else {
                continue;
            };
            let plan = by_key.get(row.key.as_str()).copied();
            let moved = conflict::with_plan(&change, Some(row), plan, catalog);
            if moved.is_empty() {
                fits.insert(row.key.clone(), change);
            }
            conflicts.extend(moved);
        }
        for plan in now.iter_mut() {
            let fit = fits.get(&plan.audit.row);
            plan.edits.retain(|edit| {
                fit.is_some_and(|change| change.columns().iter().any(|c| c.site() == edit.site()))
            });
        }
        conflicts
    }

    /// Compares the saved plan with what would be planned `now` for the credentials of servers, and
    /// keeps in `now` only the deletions of the saved plan. Returns the conflicts.
    pub(crate) fn hold_credentials(
        &mut self,
        table: &CredentialTable,
        rows: &[ServerRows],
        now: &mut [RowPlan],
        catalog: &ServerCatalog,
    ) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        let by_server: HashMap<&str, &RowPlan> =
            now.iter().map(|p| (p.audit.row.as_str(), p)).collect();
        let mut fits = HashSet::new();
        for rows in rows {
            let planned = self.0.remove(&(table.table, rows.server.clone()));
            let Some(Change::Credentials(change)) = planned else {
                continue;
            };
            let plan = by_server.get(rows.server.as_str()).copied();
            match credentials_conflict::with_plan(&change, Some(rows.rows), plan, catalog) {
                Some(moved) => conflicts.push(moved),
                None => _ = fits.insert(&rows.server),
            }
        }
        for plan in now {
            plan.deletion.take_if(|rows| !fits.contains(&rows.server));
        }
        conflicts
    }

    /// Returns the conflicts of the changes that were not compared: their rows are gone.
    pub(crate) fn without_row(&self, catalog: &ServerCatalog) -> Vec<Conflict> {
        let conflicts = self.0.values().map(|change| match change {
            Change::Row(change) => conflict::with_plan(change, None, None, catalog),
            Change::Credentials(change) => {
                let moved = credentials_conflict::with_plan(change, None, None, catalog);
                moved.into_iter().collect()
            }
        });
        conflicts.flatten().collect()
    }
}
