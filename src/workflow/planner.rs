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
        let related = if table.group == Group::Permissions {
            self.related(connection, rows).await?
        } else {
            RelatedGrants::default()
        };
        let context = self.context(&related);
        let plans = rows.iter().map(|row| {
            let mut plan = RowPlan::of(table, row, context, self.choices());
            if self.notes {
                let notes = notes(row, self.catalog, self.schema.release());
                plan.audit.findings.extend(notes);
            }
            plan
        });
        Ok(plans
            .filter(|plan| !plan.audit.findings.is_empty())
            .collect())
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

    async fn related(
        &self,
        connection: &mut Connection,
        rows: &[Row],
    ) -> Result<RelatedGrants, Failure> {
        let emptied: Vec<&Row> = rows
            .iter()
            .filter(|row| last_grant::loses_last_grant(row, self.catalog))
            .collect();
        let mut related = access_context::related_grants(connection, self.schema, &emptied).await?;
        if self.schema.behavior().refuses_edits() {
            related.kept_by_keys = self.kept_by_keys(connection, rows).await?;
        }
        Ok(related)
    }

    /// Reads the references that keys of a team keep, for each team that owns one of `rows`.
    async fn kept_by_keys(
        &self,
        connection: &mut Connection,
        rows: &[Row],
    ) -> Result<BTreeMap<TeamId, BTreeSet<String>>, Failure> {
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
        let mut kept: BTreeMap<TeamId, BTreeSet<String>> = BTreeMap::new();
        if taken.is_empty() {
            return Ok(kept);
        }
        let teams: Vec<TeamId> = teams.into_iter().collect();
        let taken: Vec<String> = taken.into_iter().collect();
        // What a key keeps beside such a LiteLLM does not depend on its team or organization: that
        // LiteLLM does not know the deny marker.
        let nothing = RelatedGrants::default();
        let context = AccessContext {
            all_cleared: false,
            ..self.context(&nothing)
        };
        let rows =
            access_context::rows_of_team_keys(connection, self.schema, &teams, &taken).await?;
        for (team, row) in rows {
            let left = references_left_to_key(&row, self.selection, context, self.choices());
            kept.entry(team).or_default().extend(left);
        }
        Ok(kept)
    }
}
