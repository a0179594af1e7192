//! Plans the rows of a repair, and keeps what was planned until it is locked and written.

use crate::db::credential_rows;
use crate::db::owned_rows::OwnedRows;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::Failure;
use crate::litellm::access::other_values::OtherValues;
use crate::litellm::reference_sites::{CredentialTable, ScannedTable, SiteTable};
use crate::litellm::server_catalog::ServerCatalog;
use crate::process::print::cannot_put_aside;
use crate::process::progress::Progress;
use crate::repair::changeset::RowChange;
use crate::repair::conflict::Conflict;
use crate::repair::credentials_change::CredentialsChange;
use crate::repair::plan::RowPlan;
use crate::report::collected_plans::CollectedPlans;
use crate::workflow::access_proof::TwoStates;
use crate::workflow::cache_invalidation::ChangedRows;
use crate::workflow::candidate_rows::CandidateRows;
use crate::workflow::changeset_file::ChangesetDraft;
use crate::workflow::empty_list_search::HeldRows;
use crate::workflow::linked_owners::LinkedOwners;
use crate::workflow::lock_retry::Patience;
use crate::workflow::planned_rows::{ComparedWithPlan, PlannedRows};
use crate::workflow::planner::Planner;
use crate::workflow::preconditions::{RemovedReferences, check_nothing_left};
use crate::workflow::saved_plan::SavedPlan;
use crate::workflow::script_rows::{ScriptRowReader, refuse_credentials};
use crate::workflow::unmatched_references::UnmatchedReferences;
use crate::workflow::{CHUNK, OWNED};

/// A repair, as far as it is planned.
pub(super) struct PlannedRepair {
    /// The plans of the rows.
    pub(super) found: CollectedPlans,
    /// The rows that will be written.
    pub(super) rows: PlannedRows,
    /// The credentials that will be deleted.
    pub(super) deletions: Vec<CredentialsChange>,
    /// The rows that proxies are told of.
    pub(super) written: ChangedRows,
    /// The references that will be gone.
    pub(super) removed: RemovedReferences,
    /// The references that were not found in a row yet.
    pub(super) unmatched: UnmatchedReferences,
    /// The columns that are no longer as the saved plan has them.
    pub(super) conflicts: Vec<Conflict>,
    /// What access is compared with: what stands in the columns that are written, where a rename
    /// counts as done. Other columns are as they are read.
    pub(super) before: OtherValues,
    /// What will stand in the columns that are written.
    pub(super) after: OtherValues,
    /// The rows with something held because a list would run empty.
    pub(super) held: HeldRows,
    /// How many rows name servers, where that is asked for.
    pub(super) naming: Option<usize>,
}

impl PlannedRepair {
    /// Begins a plan without rows.
    pub(super) fn new(
        found: CollectedPlans,
        unmatched: UnmatchedReferences,
        naming: Option<usize>,
        compared: ComparedWithPlan,
    ) -> Self {
        Self {
            found,
            rows: PlannedRows::new(compared),
            deletions: Vec::new(),
            written: ChangedRows::default(),
            removed: RemovedReferences::default(),
            unmatched,
            conflicts: Vec::new(),
            before: OtherValues::default(),
            after: OtherValues::default(),
            held: HeldRows::default(),
            naming,
        }
    }

    /// Returns the two states of the rows that access is compared in.
    pub(super) fn states(&self) -> TwoStates<'_> {
        TwoStates {
            before: &self.before,
            after: &self.after,
        }
    }

    /// Adds the plans of rows.
    fn add(&mut self, plans: &[RowPlan], catalog: &ServerCatalog) -> Result<(), Failure> {
        for plan in plans {
            if let ScannedTable::References(table) = plan.audit.table {
                let row = &plan.audit.row;
                for edit in &plan.edits {
                    let site = edit.site();
                    let renamed = edit.before_renamed(catalog);
                    if renamed != *edit.before() {
                        self.before.set(table, row, site, &renamed);
                    }
                    self.after.set(table, row, site, &edit.after());
                }
            }
        }
        self.held.add(plans)?;
        self.removed.add(plans);
        self.unmatched.mark_found(plans);
        self.found.add(plans).map_err(cannot_put_aside)
    }

    /// Locks everything that will be written.
    pub(super) async fn lock(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        patience: &mut Patience,
        progress: &Progress,
    ) -> Result<(), Failure> {
        progress.stage("locking rows");
        let rows = &self.rows;
        rows.lock(connection, schema, patience, progress).await?;
        let credentials = self.credentials()?;
        lock(&credentials, connection, schema, patience, progress).await
    }

    /// Lists the servers whose credentials will be deleted, by table.
    fn credentials(&self) -> Result<CandidateRows, Failure> {
        let mut servers = CandidateRows::default();
        for deletion in &self.deletions {
            let table = ScannedTable::Credentials(deletion.table());
            servers.add(table, deletion.server())?;
        }
        Ok(servers)
    }
}

/// Plans the rows of one table after the other, and puts the old values into the journal.
pub(super) struct PlanningPass<'a, 'd> {
    pub(super) planner: &'a Planner<'a>,
    /// What is left of the saved plan, with `--plan`.
    pub(super) plan: Option<SavedPlan>,
    pub(super) draft: Option<ChangesetDraft<'d>>,
    /// The reader of the rows of a script, with `--format sql`.
    pub(super) script: Option<ScriptRowReader>,
    /// Whether proxies are told of the rows.
    pub(super) tells: bool,
    pub(super) repair: PlannedRepair,
}

impl PlanningPass<'_, '_> {
    /// Plans the candidates, table by table.
    pub(super) async fn tables(
        &mut self,
        connection: &mut Connection,
        candidates: &CandidateRows,
        progress: &Progress,
    ) -> Result<(), Failure> {
        for listed in candidates.tables() {
            match listed.table() {
                ScannedTable::References(table) => {
                    let schema = self.planner.schema;
                    // With a script, the digests of owners are kept beside the owners. So fewer are
                    // read at a time.
                    let at_once = if self.script.is_some() {
                        OWNED / 4
                    } else {
                        OWNED
                    };
                    let owners = LinkedOwners::read(connection, schema, listed, at_once);
                    let mut owners = owners.await?;
                    let mut owners = owners.in_order();
                    for keys in listed.parts(at_once) {
                        let keys = keys?;
                        let mut owned = owners.name_rows(table, &keys)?;
                        if let Some(script) = &mut self.script {
                            script.begin_rows(connection, schema, table, &keys).await?;
                        }
                        for chunk in keys.chunks(CHUNK) {
                            self.rows(connection, table, chunk, &mut owned).await?;
                            progress.rows(chunk.len());
                        }
                    }
                    owners.finish()?;
                }
                ScannedTable::Credentials(table) => {
                    for servers in listed.parts(CHUNK) {
                        let servers = servers?;
                        self.credentials(connection, table, &servers).await?;
                        progress.rows(servers.len());
                    }
                }
            }
        }
        if let Some(plan) = &self.plan {
            let gone = plan.without_row(self.planner.catalog);
            self.repair.conflicts.extend(gone);
        }
        Ok(())
    }

    /// Plans the rows with the given keys.
    async fn rows(
        &mut self,
        connection: &mut Connection,
        table: &'static SiteTable,
        keys: &[String],
        owned: &mut OwnedRows<'_>,
    ) -> Result<(), Failure> {
        let Planner {
            schema,
            catalog,
            selection,
            ..
        } = *self.planner;
        let mut rows = owned.read(connection, schema, keys).await?;
        rows.retain(|row| selection.takes(row));
        let mut now = self.planner.plan(connection, table, &rows).await?;
        if let Some(plan) = &mut self.plan {
            let moved = plan.hold(table, &rows, &mut now, catalog);
            self.repair.conflicts.extend(moved);
        }
        let changes = now.iter().filter_map(|plan| {
            let change = RowChange::of_edits(table, &plan.audit.row, &plan.edits)?;
            Some(change.with_owners(plan.audit.owners()))
        });
        let changes: Vec<RowChange> = changes.collect();
        check_nothing_left(&changes, &now, catalog)?;
        if self.tells {
            self.repair.written.add(&changes);
        }
        if let Some(script) = &mut self.script {
            let rows = script.add(connection, schema, table, &now, &changes);
            rows.await?;
        }
        if let Some(draft) = &mut self.draft {
            draft.rows(&changes)?;
        }
        self.repair.rows.add(table, &rows, changes)?;
        self.repair.add(&now, catalog)
    }

    /// Plans the deletion of the credentials of the given servers.
    async fn credentials(
        &mut self,
        connection: &mut Connection,
        table: &'static CredentialTable,
        servers: &[String],
    ) -> Result<(), Failure> {
        let Planner {
            schema,
            catalog,
            selection,
            ..
        } = *self.planner;
        let mut rows = credential_rows::numbers(connection, schema, table, servers).await?;
        rows.retain(|rows| selection.takes_credentials(rows));
        let mut now = self.planner.plan_credentials(table, &rows);
        if let Some(plan) = &mut self.plan {
            let moved = plan.hold_credentials(table, &rows, &mut now, catalog);
            self.repair.conflicts.extend(moved);
        }
        for rows in now.iter().filter_map(|plan| plan.deletion.clone()) {
            if self.script.is_some() {
                return Err(refuse_credentials());
            }
            let deletion = CredentialsChange::deletion(table, rows);
            if let Some(draft) = self.draft.as_mut().filter(|draft| draft.is_plan()) {
                draft.rows([&deletion])?;
            }
            self.repair.deletions.push(deletion);
        }
        self.repair.add(&now, catalog)
    }
}

/// Locks the rows that may change, in all tables. A row that is gone by now is left out later.
pub(super) async fn lock(
    candidates: &CandidateRows,
    connection: &mut Connection,
    schema: &Schema,
    patience: &mut Patience,
    progress: &Progress,
) -> Result<(), Failure> {
    for listed in candidates.tables() {
        for keys in listed.parts(OWNED) {
            let keys = keys?;
            if listed.table().may_change() {
                let locked = patience.lock(connection, schema, listed.table(), &keys);
                locked.await?;
            }
            progress.rows(keys.len());
        }
    }
    Ok(())
}
