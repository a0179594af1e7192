//! From rows as read to their plans: what `scan`, a dry run and `fix` have in common.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::around;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::failure::Failure;
use crate::litellm::access::{self, Surroundings, World};
use crate::litellm::owners::OwnerKind;
use crate::litellm::row::{Row, Value};
use crate::litellm::server::{Resolution, ServerCatalog};
use crate::litellm::sites::PERMISSIONS;
use crate::repair::plan::RowPlan;
use crate::repair::policy::{OnEmpty, Policy};

/// Plans `rows`, and reads what surrounds those whose last grant would go.
pub(crate) async fn plan(
    connection: &mut Connection,
    schema: &Schema,
    rows: &[Row],
    catalog: &ServerCatalog,
    policy: Policy,
) -> Result<Vec<RowPlan>, Failure> {
    let emptied: Vec<&Row> = rows
        .iter()
        .filter(|row| access::loses_last_grant(row, catalog))
        .collect();
    let mut around = around::surroundings(connection, schema, &emptied).await?;
    if schema.regime().refuses_edits() {
        around.kept_by_keys = kept_by_keys(connection, schema, rows, catalog, policy).await?;
    }
    let world = World {
        regime: schema.regime(),
        catalog,
        around: &around,
        all_cleared: policy.on_empty == OnEmpty::Clear,
    };
    let plans = rows
        .iter()
        .map(|row| RowPlan::of(&PERMISSIONS, row, world, policy));
    Ok(plans
        .filter(|plan| !plan.audit.findings.is_empty())
        .collect())
}

/// The stale references that keys of a team keep, of the teams that own one of `rows`.
async fn kept_by_keys(
    connection: &mut Connection,
    schema: &Schema,
    rows: &[Row],
    catalog: &ServerCatalog,
    policy: Policy,
) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    let mut teams = BTreeSet::new();
    let mut stale = BTreeSet::new();
    for row in rows {
        let of_teams = row.owners.iter().filter(|o| o.kind == OwnerKind::Team);
        let mut of_teams = of_teams.map(|team| team.id.clone()).peekable();
        if of_teams.peek().is_some() {
            let values = row
                .cells
                .iter()
                .filter_map(|cell| cell.stored.as_ref().ok());
            let references = values.flat_map(Value::references);
            let gone = references.filter(|r| catalog.resolve(r) == Resolution::Stale);
            stale.extend(gone.map(str::to_owned));
            teams.extend(of_teams);
        }
    }
    let mut kept: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    if stale.is_empty() {
        return Ok(kept);
    }
    let teams: Vec<String> = teams.into_iter().collect();
    let stale: Vec<String> = stale.into_iter().collect();
    // What a key keeps beside such a LiteLLM does not hang on what surrounds it: the marker is not
    // known there.
    let world = World {
        regime: schema.regime(),
        catalog,
        around: &Surroundings::default(),
        all_cleared: false,
    };
    for (team, row) in around::rows_of_team_keys(connection, schema, &teams, &stale).await? {
        let kept = kept.entry(team).or_default();
        if row.owners.iter().any(|owner| owner.kind == OwnerKind::Team) {
            // What that team keeps hangs on keys of its own, so all of it may stay.
            let values = row
                .cells
                .iter()
                .filter_map(|cell| cell.stored.as_ref().ok());
            kept.extend(values.flat_map(Value::references).map(str::to_owned));
            continue;
        }
        let held = RowPlan::of(&PERMISSIONS, &row, world, policy).held;
        kept.extend(held.into_iter().map(|held| held.reference));
    }
    Ok(kept)
}
