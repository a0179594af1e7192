//! From rows as read to their plans: what `scan`, a dry run and `fix` have in common.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::around;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::failure::Failure;
use crate::litellm::last_grant::{self, Surroundings, World};
use crate::litellm::notes::notes;
use crate::litellm::owners::OwnerKind;
use crate::litellm::row::{Row, Value};
use crate::litellm::server::{Resolution, ServerCatalog};
use crate::litellm::sites::{Group, PERMISSIONS, SiteTable};
use crate::repair::plan::RowPlan;
use crate::repair::policy::{OnEmpty, Policy};

/// What rows are judged by.
pub(crate) struct Planner<'a> {
    /// The database's tables.
    pub(crate) schema: &'a Schema,
    /// The servers.
    pub(crate) catalog: &'a ServerCatalog,
    /// What the operator chose.
    pub(crate) policy: Policy,
    /// Whether notes are wanted.
    pub(crate) notes: bool,
}

impl Planner<'_> {
    /// Plans `rows` of `table`, and reads what surrounds those whose last grant would go. Only rows
    /// with findings get a plan.
    pub(crate) async fn plan(
        &self,
        connection: &mut Connection,
        table: &'static SiteTable,
        rows: &[Row],
    ) -> Result<Vec<RowPlan>, Failure> {
        let around = match table.group {
            Group::Permissions => self.around(connection, rows).await?,
            Group::AccessGroups | Group::Toolsets | Group::Defaults | Group::Credentials => {
                Surroundings::default()
            }
        };
        let world = self.world(&around);
        let plans = rows.iter().map(|row| {
            let mut plan = RowPlan::of(table, row, world, self.policy);
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

    fn world<'a>(&'a self, around: &'a Surroundings) -> World<'a> {
        World {
            regime: self.schema.regime(),
            catalog: self.catalog,
            around,
            all_cleared: self.policy.on_empty == OnEmpty::Clear,
        }
    }

    async fn around(
        &self,
        connection: &mut Connection,
        rows: &[Row],
    ) -> Result<Surroundings, Failure> {
        let emptied: Vec<&Row> = rows
            .iter()
            .filter(|row| last_grant::loses_last_grant(row, self.catalog))
            .collect();
        let mut around = around::surroundings(connection, self.schema, &emptied).await?;
        if self.schema.regime().refuses_edits() {
            around.kept_by_keys = self.kept_by_keys(connection, rows).await?;
        }
        Ok(around)
    }

    /// The stale references that keys of a team keep, of the teams that own one of `rows`.
    async fn kept_by_keys(
        &self,
        connection: &mut Connection,
        rows: &[Row],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
        let mut teams = BTreeSet::new();
        let mut stale = BTreeSet::new();
        for row in rows {
            let of_teams = row.owners.iter().filter(|o| o.kind == OwnerKind::Team);
            let mut of_teams = of_teams.map(|team| team.id.clone()).peekable();
            if of_teams.peek().is_some() {
                let gone = |r: &&str| self.catalog.resolve(r) == Resolution::Stale;
                stale.extend(references(row).filter(gone).map(str::to_owned));
                teams.extend(of_teams);
            }
        }
        let mut kept: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        if stale.is_empty() {
            return Ok(kept);
        }
        let teams: Vec<String> = teams.into_iter().collect();
        let stale: Vec<String> = stale.into_iter().collect();
        // What a key keeps beside such a LiteLLM does not hang on what surrounds it: the marker is
        // not known there.
        let nothing = Surroundings::default();
        let world = World {
            all_cleared: false,
            ..self.world(&nothing)
        };
        let rows = around::rows_of_team_keys(connection, self.schema, &teams, &stale).await?;
        for (team, row) in rows {
            let kept = kept.entry(team).or_default();
            if row.owners.iter().any(|owner| owner.kind == OwnerKind::Team) {
                // What that team keeps hangs on keys of its own, so all of it may stay.
                kept.extend(references(&row).map(str::to_owned));
                continue;
            }
            let held = RowPlan::of(&PERMISSIONS, &row, world, self.policy).held;
            kept.extend(held.into_iter().map(|held| held.reference));
        }
        Ok(kept)
    }
}

fn references(row: &Row) -> impl Iterator<Item = &str> {
    let values = row
        .cells
        .iter()
        .filter_map(|cell| cell.stored.as_ref().ok());
    values.flat_map(Value::references)
}
