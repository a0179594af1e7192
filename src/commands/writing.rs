//! What `fix` and `undo` have in common once it is known what to write.

use super::journal::ChangesetFile;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::db::{whole, write};
use crate::failure::{Failure, Kind};
use crate::litellm::row::Row;
use crate::litellm::sites::SiteTable;
use crate::repair::changeset::Change;
use crate::report::count;

/// Writes the changes of locked rows of `table` and checks them; returns the rows as they are then.
pub(super) async fn write_rows(
    connection: &mut Connection,
    schema: &Schema,
    table: &'static SiteTable,
    locked: &[Row],
    changes: &[Change],
) -> Result<Vec<Row>, Failure> {
    let rest = write::fingerprints(connection, schema, table, changes).await?;
    write::apply(connection, schema, table, changes).await?;
    write::verify(connection, schema, table, locked, &rest, changes).await
}

/// Keeps the old values of planned changes, writes them and checks them; returns the rows as they are then.
///
/// Whole rows are read, kept and deleted part by part, so that memory does not grow with their number.
pub(super) async fn carry_out(
    connection: &mut Connection,
    schema: &Schema,
    table: &'static SiteTable,
    locked: &[Row],
    changes: Vec<Change>,
    mut out: Option<&mut ChangesetFile>,
) -> Result<Vec<Row>, Failure> {
    let is_plan = out.as_deref().is_some_and(ChangesetFile::is_plan);
    let in_parts = table.each().is_some() && !is_plan;
    if let Some(out) = out.as_deref_mut().filter(|_| !in_parts) {
        out.rows(&changes)?;
    }
    if table.each().is_none() {
        return write_rows(connection, schema, table, locked, &changes).await;
    }
    let mut stored = Vec::new();
    for mut change in changes {
        let mut left = Vec::new();
        while let Some(part) = whole::next_part(connection, table, &mut change).await? {
            let part = [part];
            if let Some(out) = out.as_deref_mut().filter(|_| in_parts) {
                out.rows(&part)?;
            }
            left = write_rows(connection, schema, table, locked, &part).await?;
        }
        stored.extend(left);
    }
    Ok(stored)
}

/// That what was planned or is to be undone is there no longer, and what to do then.
pub(super) fn moved(conflicts: usize, hint: &'static str) -> Failure {
    Failure::new(
        Kind::Moved,
        format!(
            "{} {} no longer as planned or journalled; nothing was written",
            count(conflicts, "column"),
            if conflicts == 1 { "is" } else { "are" }
        ),
    )
    .hint(hint)
}
