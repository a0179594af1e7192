//! Keeps the lower bounds of arrays. An array of PostgreSQL need not begin at element 1. LiteLLM
//! reads such an array like any other, so a repair leaves it with the bound that it had.

use sqlx::PgConnection;

use crate::db::decode::{self, TableColumn};
use crate::db::errors::failed;
use crate::db::fragments::value;
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation};
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::{Shape, Site, SiteTable};
use crate::repair::changeset::ColumnChange;

/// The SQL of a new array with the lower bound of the one that it replaces. An empty array has no
/// bounds.
///
/// Source: PostgreSQL 17 manual, section 8.15.6, "Array Input and Output Syntax".
pub(crate) const KEPT: &str = "
CASE WHEN pg_catalog.array_lower({value}, 1) {<>} 1
          AND pg_catalog.jsonb_array_length(c.value::pg_catalog.jsonb) {>} 0
     THEN pg_catalog.format('[%s:%s]=%s', pg_catalog.array_lower({value}, 1),
              pg_catalog.array_lower({value}, 1)::pg_catalog.int8 {+}
              pg_catalog.jsonb_array_length(c.value::pg_catalog.jsonb) {-} 1,
              ({array})::pg_catalog.text)::pg_catalog.text[]
     ELSE {array} END";

const ELSEWHERE: &str = "
SELECT t.{key}, pg_catalog.array_lower({value}, 1)
FROM {table} AS t
WHERE t.{key} {=} ANY ($1)
      AND pg_catalog.array_lower({value}, 1) {<>} 1
LIMIT 1";

/// Refuses to empty an array that does not begin at element 1: an undo could not restore the bound.
pub(crate) async fn refuse_to_lose(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    site: &Site,
    columns: &[(&str, &ColumnChange)],
) -> Result<(), Failure> {
    let emptied = columns
        .iter()
        .filter(|(_, column)| column.after().is_empty() && !column.before().is_empty());
    let emptied: Vec<&str> = emptied.map(|(key, _)| *key).collect();
    if site.shape != Shape::TextArray || emptied.is_empty() {
        return Ok(());
    }
    let fragments = [
        ("{value}", value(site)),
        ("{key}", ident(table.key)),
        ("{table}", relation(table.table)),
    ];
    let found = sqlx::query(schema.statement(ELSEWHERE, &fragments))
        .persistent(false)
        .bind(emptied)
        .fetch_optional(connection)
        .await
        .map_err(failed("read where arrays begin"))?;
    let Some(row) = found else {
        return Ok(());
    };
    let key: String = decode::read(&row, 0, TableColumn(table.table, table.key))?;
    let lower: i32 = decode::read(&row, 1, TableColumn(table.table, site.column))?;
    Err(Failure::new(
        ErrorKind::Refused,
        format!(
            "{} begins at element {lower} in row {key}; undo could not restore that if it were emptied",
            TableColumn(table.table, site.column)
        ),
    )
    .hint(format!(
        "let it begin at 1, which LiteLLM reads alike: UPDATE {}.{} SET {column} = {column}[:] \
         WHERE {} = '{}';",
        ident(schema.name()),
        ident(table.table),
        ident(table.key),
        key.replace('\'', "''"),
        column = ident(site.column),
    )))
}
