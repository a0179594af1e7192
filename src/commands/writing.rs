//! What `fix` and `undo` have in common once it is known what to write.

use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::db::write;
use crate::failure::{Failure, Kind};
use crate::litellm::row::Row;
use crate::litellm::sites::SiteTable;
use crate::repair::changeset::Change;

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

/// That what was planned or is to be undone is there no longer.
pub(super) fn moved(conflicts: usize) -> Failure {
    Failure::new(
        Kind::Moved,
        format!("{conflicts} column(s) are no longer as they should be; nothing was written"),
    )
    .hint("the report tells which; plan anew, or look into who changed them")
}
