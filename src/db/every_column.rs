//! Lists every column of every table of LiteLLM, known to this program or not.

use sqlx::postgres::PgRow;

use crate::db::decode;
use crate::db::schema::CATALOG;
use crate::error::Failure;
use crate::litellm::schema_drift::TypedColumn;

// Appended to the statement that reads the columns of known tables. A partition has the columns of
// its table, and a name that the site chose.
pub(crate) const EVERY_COLUMN: &str = r"
UNION ALL
SELECT 'every column', n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, NULL), NULL, NULL,
       pg_catalog.row_security_active(c.oid),
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'), NULL, NULL, NULL
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
JOIN pg_catalog.pg_attribute AS a
     ON a.attrelid {=} c.oid AND a.attnum {>} 0 AND NOT a.attisdropped
WHERE n.nspname {=} {named_schema} AND c.relkind {=} ANY ('{r,p}') AND NOT c.relispartition
      AND pg_catalog.strpos(c.relname::pg_catalog.text, {prefix}) {=} 1";

/// A column, and whether this role may read it in every row of its table.
#[derive(Debug)]
pub(crate) struct AnyColumn {
    /// The column.
    pub column: TypedColumn,
    /// Whether this role may read it, and sees every row.
    pub may_read: bool,
}

impl AnyColumn {
    /// Reads a row of the system catalog's answer; `None` if it is about something else.
    pub(crate) fn read(row: &PgRow) -> Result<Option<Self>, Failure> {
        let subject: &str = decode::read(row, "subject", CATALOG)?;
        if subject != "every column" {
            return Ok(None);
        }
        let hides_rows: bool = decode::read(row, "hides_rows", CATALOG)?;
        let may_select: bool = decode::read(row, "may_select", CATALOG)?;
        Ok(Some(Self {
            column: TypedColumn {
                table: decode::read(row, "table_name", CATALOG)?,
                name: decode::read(row, "column_name", CATALOG)?,
                sql_type: decode::read(row, "detail", CATALOG)?,
            },
            may_read: may_select && !hides_rows,
        }))
    }
}
