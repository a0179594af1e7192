//! The checks before a repair is committed, and their errors.

use std::collections::{BTreeSet, HashMap};
use std::io;

use crate::cli::repair::GuardArgs;
use crate::db::detect;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::last_grant;
use crate::litellm::reference_sites::{Names, ScannedTable, TABLES};
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::process::print::cannot_put_aside;
use crate::repair::access_comparison::{AcceptedDifferences, ComparedAccess};
use crate::repair::changeset::RowChange;
use crate::repair::plan::RowPlan;
use crate::report::shown_text::count;
use crate::report::summary::Summary;

/// Builds the error for an empty server table, which suggests the wrong database.
pub(crate) fn refuse_empty_server_table(rows: usize) -> Failure {
    Failure::new(
        ErrorKind::Refused,
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

/// The limits of `--max-rows` and `--max-percent`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SizeLimits {
    max_rows: Option<usize>,
    max_percent: Option<f64>,
}

impl From<&GuardArgs> for SizeLimits {
    fn from(args: &GuardArgs) -> Self {
        Self {
            max_rows: args.max_rows,
            max_percent: args.max_percent,
        }
    }
}

impl SizeLimits {
    /// Counts the rows that name servers, where `--max-percent` asks for that. It comes before
    /// anything is written: a list that was emptied names none.
    pub(crate) async fn rows_naming(
        self,
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<Option<usize>, Failure> {
        if self.max_percent.is_none() {
            return Ok(None);
        }
        let looked_at = detect::looked_at(connection, schema).await?;
        Ok(Some(looked_at.iter().map(|(_, rows)| rows).sum()))
    }
}

/// Refuses a repair that changes more than `--max-rows` or `--max-percent` allow; `naming` is the
/// number of rows that named servers before.
pub(crate) fn check_size(
    limits: SizeLimits,
    naming: Option<usize>,
    summary: Summary,
) -> Result<(), Failure> {
    let rows = summary.rows_changed;
    if let Some(most) = limits.max_rows.filter(|most| rows > *most) {
        return Err(Failure::new(
            ErrorKind::Refused,
            format!(
                "{} would change, more than --max-rows {most}",
                count(rows, "row")
            ),
        )
        .hint("scan shows them; raise --max-rows if that is right"));
    }
    let (Some(most), Some(all)) = (limits.max_percent.filter(|_| rows > 0), naming) else {
        return Ok(());
    };
    let part = percent(rows, all);
    if part > most {
        return Err(Failure::new(
            ErrorKind::Refused,
            format!(
                "{rows} of the {all} rows that name servers would change, {part:.1}%, more \
                 than --max-percent {most}"
            ),
        )
        .hint("scan shows them; raise --max-percent if that is right"));
    }
    Ok(())
}

/// Refuses a repair that changes somebody's access in a way that the operator did not accept.
pub(crate) fn check_access(
    access: &ComparedAccess,
    accepted: AcceptedDifferences,
    planned: PlannedBy,
) -> Result<(), Failure> {
    const NAMED: usize = 5;
    if access.is_accepted(accepted) {
        return Ok(());
    }
    let named: Vec<String> = access
        .differing
        .iter()
        .filter(|differing| !differing.is_accepted(accepted))
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let message = format!(
        "access would not stay as it is: {} would gain, {} would lose; nothing was written. {}",
        count(access.widened, "caller"),
        count(access.narrowed, "caller"),
        named.join("; ")
    );
    Err(match planned {
        PlannedBy::Search | PlannedBy::RulesWithoutLocks => Failure::new(ErrorKind::Moved, message)
            .hint("somebody changed what their access depends on: run it again"),
        PlannedBy::Journal => Failure::new(ErrorKind::Refused, message).hint(
            "what their access depends on changed since; to repair again, run fix, which looks at \
             what is stale now; to take back more of the run, leave --reference out",
        ),
        PlannedBy::Rules => Failure::new(ErrorKind::Refused, message).hint(
            "report this, because fix is not meant to plan such a change; to repair other rows, \
             name them with --owner or --reference; mcp-prune access tells what each caller may use",
        ),
    })
}

/// How it was decided what becomes of lists that would run empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlannedBy {
    /// By rules alone.
    Rules,
    /// By rules alone, from rows that were not locked, so that a difference can be new.
    RulesWithoutLocks,
    /// By asking the access model, so that a difference can only be new.
    Search,
    /// By an earlier run, whose journal is taken back.
    Journal,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a part in percent needs no more than 52 bits"
)]
fn percent(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64 * 100.0
}

/// Fails if a change leaves a stale reference that was not held. What is written is later compared
/// with the change.
pub(crate) fn check_nothing_left(
    changes: &[RowChange],
    plans: &[RowPlan],
    catalog: &ServerCatalog,
) -> Result<(), Failure> {
    let plans: HashMap<&str, &RowPlan> = plans.iter().map(|p| (p.audit.row.as_str(), p)).collect();
    for change in changes {
        let plan = plans.get(change.key());
        let held = plan.map(|plan| plan.held.as_slice()).unwrap_or_default();
        for column in change.columns() {
            let site = column.site();
            let references = column.after().references();
            let mut stale = references.filter(|r| last_grant::is_stale(site, r, catalog));
            let left = stale.find(|r| {
                !held
                    .iter()
                    .any(|held| held.column == site.name && held.reference == **r)
            });
            if let Some(reference) = left {
                let (key, name) = (change.key(), site.name);
                return Err(Failure::new(
                    ErrorKind::Error,
                    format!(
                        "the planned change of row {key} leaves {reference} in {name}; nothing was \
                         written"
                    ),
                )
                .hint("report this; to repair other rows, name them with --owner or --reference"));
            }
        }
    }
    Ok(())
}

/// The references that a repair removes, each with how its column names servers.
#[derive(Debug, Default)]
pub(crate) struct RemovedReferences(BTreeSet<(Names, String)>);

impl RemovedReferences {
    /// Adds the references that these plans remove.
    pub(crate) fn add(&mut self, plans: &[RowPlan]) {
        for plan in plans {
            for edit in &plan.edits {
                let names = edit.site().names;
                self.0
                    .extend(edit.removed().iter().map(|r| (names, r.clone())));
            }
            if let (ScannedTable::Credentials(table), Some(rows)) =
                (plan.audit.table, &plan.deletion)
            {
                self.0.insert((table.names, rows.server.clone()));
            }
        }
    }

    /// Fails if a removed reference names a server `now`: the server may have been created since
    /// the table was read, and its grants must not be lost.
    pub(crate) fn check_still_gone(&self, now: &ServerCatalog) -> Result<(), Failure> {
        let mut removed = self.0.iter();
        let back = removed.find(|(names, r)| now.resolve_as(*names, r) != Resolution::Stale);
        let Some((_, reference)) = back else {
            return Ok(());
        };
        let message =
            format!("server {reference} came back while its references were being removed");
        Err(Failure::new(ErrorKind::Moved, message).hint("nothing was written; run it again"))
    }
}

/// Fails if the plans are not those that the operator was shown. Both come by table and key.
pub(crate) fn check_as_shown(
    mut shown: impl Iterator<Item = io::Result<RowPlan>>,
    mut planned: impl Iterator<Item = io::Result<RowPlan>>,
) -> Result<(), Failure> {
    let place = |plan: &RowPlan| {
        let table = TABLES.iter().position(|table| *table == plan.audit.table);
        (table, plan.audit.row.clone())
    };
    loop {
        let shown = shown.next().transpose().map_err(cannot_put_aside)?;
        let planned = planned.next().transpose().map_err(cannot_put_aside)?;
        if shown == planned {
            match shown {
                Some(_) => continue,
                None => return Ok(()),
            }
        }
        let moved = shown.into_iter().chain(planned).min_by_key(place);
        let row = moved.map_or(String::new(), |plan| plan.audit.row);
        return Err(
            Failure::new(ErrorKind::Moved, format!("row {row} is no longer as shown"))
                .hint("nothing was written; run it again to see the plan as it is now"),
        );
    }
}
