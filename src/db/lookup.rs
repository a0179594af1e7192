//! Looks up whether an owner or a row that the operator named exists.

use sqlx::PgConnection;

use crate::db::encoding::storable;
use crate::db::errors::failed;
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation};
use crate::error::Failure;

const HAS: &str = "SELECT EXISTS (SELECT FROM {table} AS t WHERE t.{key} {=} $1)";

/// Tells whether a table that is looked at has a row with that primary key.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn has_row(
    connection: &mut PgConnection,
    schema: &Schema,
    key: &str,
) -> Result<bool, Failure> {
    let key = [key.to_owned()];
    let Some(key) = storable(connection, &key).await?.first().cloned() else {
        return Ok(false);
    };
    for table in schema.site_tables() {
        let fragments = [
            ("{key}", ident(table.key)),
            ("{table}", relation(table.table)),
        ];
        let there: bool = sqlx::query_scalar(schema.statement(HAS, &fragments))
            .persistent(false)
            .bind(&key)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed("look for the row that was asked about"))?;
        if there {
            return Ok(true);
        }
    }
    Ok(false)
}
