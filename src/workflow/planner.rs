//! Plans rows that were read, for `scan`, for a dry run and for `fix`.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::access_context;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::Failure;
use crate::litellm::access_context::{AccessContext, RelatedGrants};
use crate::litellm::credentials::{self, ServerRows};
use crate::litellm::ids::TeamId;
use crate::litellm::last_grant;
use crate::litellm::notes::notes;
use crate::litellm::owners::OwnerKind;
use crate::litellm::reference_sites::{CredentialTable, Group, SiteTable};
use crate::litellm::row::Row;
use crate::litellm::server_catalog::ServerCatalog;
use crate::repair::credentials_plan;
use crate::repair::empty_lists::EmptyListDecisions;
use crate::repair::plan::{
    RepairChoices, RowPlan, may_be_taken, references, references_left_to_key,
};
use crate::repair::policy::{OnEmpty, Policy};
use crate::repair::selection::Selection;

/// Everything that decides the plan of a row.
#[derive(Clone, Copy)]
pub(crate) struct Planner<'a> {
    /// The database's tables.
    pub(crate) schema: &'a Schema,
    /// The servers.
    pub(crate) catalog: &'a ServerCatalog,
    /// What the operator chose.
    pub(crate) policy: Policy,
    /// What becomes of lists that would run empty, where that is not the policy's first choice.
    pub(crate) decisions: &'a EmptyListDecisions,
    /// The rows that the operator asked about. The others stay as they are.
    pub(crate) selection: &'a Selection,
    /// Whether notes are wanted.
    pub(crate) notes: bool,
}

impl<'a> Planner<'a> {
    /// Makes the planner of a `scan`, to which nobody told what becomes of lists that would run
    /// empty.
    pub(crate) fn of_a_scan(
        schema: &'a Schema,
        catalog: &'a ServerCatalog,
        selection: &'a Selection,
        notes: bool,
    ) -> Self {
        Self {
            schema,
            catalog,
            policy: Policy::default(),
            decisions: EmptyListDecisions::FIRST_CHOICES,
            selection,
            notes,
        }
    }
}

impl Planner<'_> {
    /// Plans `rows` of `table`. Only rows with findings get a plan.
    ///
    /// For rows that would lose their last grant it also reads what their owners would inherit.
    pub(crate) async fn plan(
        &self,
        connection: &mut Connection,
        table: &'static SiteTable,
        rows: &[Row],
    ) -> Result<Vec<RowPlan>, Failure> {
        let mut related = self.related(connection, table, rows).await?;
        Ok(self.plan_related(table, rows, &mut related))
    }

    /// Plans `rows` of `table` as [`Planner::plan`] does; `related` is what was read for them.
    pub(crate) fn plan_related(
        &self,
        table: &'static SiteTable,
        rows: &[Row],
        related: &mut RelatedRows,
    ) -> Vec<RowPlan> {
        related.grants.kept_by_keys = self.kept_by_keys(&related.of_team_keys);
        let context = self.context(&related.grants);
        let plans = rows.iter().map(|row| {
            let mut plan = RowPlan::of(table, row, context, self.choices());
            if self.notes {
                let notes = notes(row, self.catalog, self.schema.release());
                plan.audit.findings.extend(notes);
            }
            plan
        });
        plans
            .filter(|plan| !plan.audit.findings.is_empty())
            .collect()
    }

    /// Plans the credentials in `table`, as [`Planner::plan`] does.
    pub(crate) fn plan_credentials(
        &self,
        table: &'static CredentialTable,
        rows: &[ServerRows],
    ) -> Vec<RowPlan> {
        let plans = rows.iter().map(|rows| {
            let mut plan = credentials_plan::plan(table, rows, self.catalog, self.policy);
            if self.notes {
                let note = credentials::note(table, rows, self.catalog);
                plan.audit.findings.extend(note);
            }
            plan
        });
        plans
            .filter(|plan| !plan.audit.findings.is_empty())
            .collect()
    }

    fn choices(&self) -> RepairChoices<'_> {
        RepairChoices {
            policy: self.policy,
            decisions: self.decisions,
        }
    }

    fn context<'a>(&'a self, related: &'a RelatedGrants) -> AccessContext<'a> {
        AccessContext {
            behavior: self.schema.behavior(),
            catalog: self.catalog,
            related,
            all_cleared: self.policy.on_empty == OnEmpty::Clear,
        }
    }

    /// Reads what the plans of `rows` depend on besides the rows: whatever the policy is.
    pub(crate) async fn related(
        &self,
        connection: &mut Connection,
        table: &'static SiteTable,
        rows: &[Row],
    ) -> Result<RelatedRows, Failure> {
        if table.group != Group::Permissions {
            return Ok(RelatedRows::default());
        }
        let emptied: Vec<&Row> = rows
            .iter()
            .filter(|row| last_grant::loses_last_grant(row, self.catalog))
            .collect();
        let grants = access_context::related_grants(connection, self.schema, &emptied).await?;
        let mut of_team_keys = Vec::new();
        if self.schema.behavior().refuses_edits() {
            of_team_keys = self.rows_of_team_keys(connection, rows).await?;
        }
        Ok(RelatedRows {
            grants,
            of_team_keys,
        })
    }

    /// Reads the permission rows of the keys of each team that owns one of `rows`, if they name
    /// what may be taken from these rows.
    async fn rows_of_team_keys(
        &self,
        connection: &mut Connection,
        rows: &[Row],
    ) -> Result<Vec<(TeamId, Row)>, Failure> {
        let mut teams = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for row in rows {
            let of_teams = row.owners.iter().filter(|o| o.kind() == OwnerKind::Team);
            let mut of_teams = of_teams.map(|team| TeamId(team.id().to_owned())).peekable();
            if of_teams.peek().is_some() {
                let taken_here = references(row).filter(|r| may_be_taken(r, self.catalog));
                taken.extend(taken_here.map(str::to_owned));
                teams.extend(of_teams);
            }
        }
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let teams: Vec<TeamId> = teams.into_iter().collect();
        let taken: Vec<String> = taken.into_iter().collect();
        access_context::rows_of_team_keys(connection, self.schema, &teams, &taken).await
    }

    /// Returns the references that keys keep in their rows, for each team.
    fn kept_by_keys(&self, rows: &[(TeamId, Row)]) -> BTreeMap<TeamId, BTreeSet<String>> {
        // What a key keeps beside such a LiteLLM does not depend on its team or organization: that
        // LiteLLM does not know the deny marker.
        let nothing = RelatedGrants::default();
        let context = AccessContext {
            all_cleared: false,
            ..self.context(&nothing)
        };
        let mut kept: BTreeMap<TeamId, BTreeSet<String>> = BTreeMap::new();
        for (team, row) in rows {
            let left = references_left_to_key(row, self.selection, context, self.choices());
            kept.entry(team.clone()).or_default().extend(left);
        }
        kept
    }
}

/// What the plans of rows depend on besides the rows.
#[derive(Debug, Default)]
pub(crate) struct RelatedRows {
    /// What the owners of rows would inherit. What keys keep is of the last plan.
    grants: RelatedGrants,
    /// The permission rows of keys, each with the team of the key.
    of_team_keys: Vec<(TeamId, Row)>,
}
