//! What must hold before a repair is committed, and why it is not where it does not.

use std::collections::{BTreeSet, HashMap};

use crate::cli::RepairArgs;
use crate::db::detect;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::failure::{Failure, Kind};
use crate::litellm::last_grant;
use crate::litellm::row::{Row, Value};
use crate::litellm::server::{Resolution, ServerCatalog};
use crate::litellm::sites::Names;
use crate::repair::plan::RowPlan;
use crate::report::{Summary, count};

/// That a table without servers is more likely the wrong database.
pub(super) fn refuse_empty_server_table(rows: usize) -> Failure {
    Failure::new(
        Kind::Refused,
        format!(
            "the MCP server table is empty, yet servers are named in {}",
            count(rows, "row")
        ),
    )
    .hint(
        "make sure that this is the right database; if every server really was deleted, \
         say --allow-empty-server-table",
    )
}

/// Refuses what `--max-rows` and `--max-percent` rule out.
pub(super) async fn check_size(
    repair: &RepairArgs,
    connection: &mut Connection,
    schema: &Schema,
    summary: Summary,
) -> Result<(), Failure> {
    let rows = summary.rows_changed;
    if let Some(most) = repair.max_rows.filter(|most| rows > *most) {
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "{} would change, more than --max-rows {most}",
                count(rows, "row")
            ),
        )
        .hint("scan shows them; raise --max-rows if that is right"));
    }
    let Some(most) = repair.max_percent.filter(|_| rows > 0) else {
        return Ok(());
    };
    // By now the rows that are to be deleted are.
    let looked_at = detect::looked_at(connection, schema).await?;
    let naming: usize = looked_at.iter().map(|(_, rows)| rows).sum();
    let all = summary.rows_deleted + naming;
    let part = percent(rows, all);
    if part > most {
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "{rows} of the {all} rows that name servers would change, {part:.1}%, more \
                 than --max-percent {most}"
            ),
        )
        .hint("scan shows them; raise --max-percent if that is right"));
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a part in percent needs no more than 52 bits"
)]
fn percent(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64 * 100.0
}

/// Nothing stale may be left in the rows written but what was held.
pub(super) fn check_nothing_left(
    stored: &[Row],
    plans: &[RowPlan],
    catalog: &ServerCatalog,
) -> Result<(), Failure> {
    let plans: HashMap<&str, &RowPlan> = plans.iter().map(|p| (p.audit.row.as_str(), p)).collect();
    for row in stored {
        let plan = plans.get(row.key.as_str());
        let edits = plan.map(|plan| plan.edits.as_slice()).unwrap_or_default();
        let held = plan.map(|plan| plan.held.as_slice()).unwrap_or_default();
        for cell in &row.cells {
            let column = cell.site.name;
            if !edits.iter().any(|edit| edit.site() == cell.site) {
                continue;
            }
            let references = cell.stored.iter().flat_map(Value::references);
            let mut stale = references.filter(|r| last_grant::is_stale(cell, r, catalog));
            let left = stale.find(|r| {
                !held
                    .iter()
                    .any(|held| held.column == column && held.reference == **r)
            });
            if let Some(reference) = left {
                return Err(Failure::new(
                    Kind::Error,
                    format!(
                        "row {} still names {reference} in {column} after the write; nothing was \
                         committed",
                        row.key
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The references removed, and how they were resolved.
#[derive(Debug, Default)]
pub(super) struct Removed(BTreeSet<(Names, String)>);

impl Removed {
    /// Adds what these plans remove.
    pub(super) fn add(&mut self, plans: &[RowPlan]) {
        for edit in plans.iter().flat_map(|plan| &plan.edits) {
            let names = edit.site().names;
            self.0
                .extend(edit.removed().iter().map(|r| (names, r.clone())));
        }
    }

    /// Refuses where a server is there `now`: it may have been created since the table was read, and its
    /// grants must not be lost.
    pub(super) fn check_still_gone(&self, now: &ServerCatalog) -> Result<(), Failure> {
        let mut removed = self.0.iter();
        let back = removed.find(|(names, r)| now.resolve_as(*names, r) != Resolution::Stale);
        let Some((_, reference)) = back else {
            return Ok(());
        };
        let message =
            format!("server {reference} came back while its references were being removed");
        Err(Failure::new(Kind::Moved, message).hint("nothing was written; run it again"))
    }
}

/// Only what the operator has seen may be committed.
pub(super) fn check_as_shown(shown: &[RowPlan], planned: &[RowPlan]) -> Result<(), Failure> {
    if shown == planned {
        return Ok(());
    }
    let moved = planned
        .iter()
        .find(|plan| !shown.contains(plan))
        .or_else(|| shown.iter().find(|plan| !planned.contains(plan)));
    let row = moved.map_or("", |plan| plan.audit.row.as_str());
    Err(
        Failure::new(Kind::Moved, format!("row {row} is no longer as shown"))
            .hint("nothing was written; run it again to see the plan as it is now"),
    )
}
