//! Searches columns that are no sites for ids of known servers, and JSON for keys that look as if
//! references stood below them, within limits.
//!
//! The server compares the values; none of them leaves it. Only the places are read: the column,
//! and the path within its JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use sqlx::error::DatabaseError;

use crate::db::decode;
use crate::db::errors::failed_over_secrets;
use crate::db::purpose::Purpose;
use crate::db::schema::{SERVER_ID, Schema};
use crate::db::session::Session;
use crate::db::sql::{ident, part, relation, statement, told};
use crate::error::Failure;
use crate::litellm::schema_drift::TypedColumn;
use crate::litellm::server::SERVER_TABLE;

/// The most rows of a table that are searched.
pub(crate) const ROWS: i64 = 1_000;

/// The longest that the search of one table takes.
const TABLE_TIME: Duration = Duration::from_secs(5);

/// The longest that the whole search takes; a table that has begun is finished.
const WHOLE_TIME: Duration = Duration::from_mins(1);

/// How deep JSON is searched.
const DEPTH: i32 = 12;

/// The most signs of a table that are looked at.
const SIGNS: usize = 200;

// A value that is larger than 16 kB in the table is left out. The first key of a row's JSON is
// `value N` or `large N`, where N is the place of the column among those that are searched. The
// sign `above`, of which each column has one at most, comes first in the order, so that it is never
// cut off.
const SEARCH: &str = "
WITH RECURSIVE walked (path, value, depth) AS (
    SELECT ARRAY[]::pg_catalog.text[], pg_catalog.to_jsonb(r.*), 0
    FROM (SELECT {columns} FROM {table} AS t LIMIT $1) AS r
    UNION ALL
    SELECT w.path {||} s.key, s.value, w.depth {+} 1
    FROM walked AS w
    CROSS JOIN LATERAL (
        SELECT o.key, o.value
        FROM pg_catalog.jsonb_each(
            CASE WHEN pg_catalog.jsonb_typeof(w.value) {=} 'object' THEN w.value END
        ) AS o (key, value)
        UNION ALL
        SELECT '*', a.value
        FROM pg_catalog.jsonb_array_elements(
            CASE WHEN pg_catalog.jsonb_typeof(w.value) {=} 'array' THEN w.value END
        ) AS a (value)
    ) AS s (key, value)
    WHERE w.depth {<>} $2
)
SELECT DISTINCT w.path, w.sign
FROM (
    SELECT n.path, 'value' AS sign
    FROM walked AS n
    WHERE pg_catalog.jsonb_typeof(n.value) {=} 'string'
          AND (n.value {#>>} '{}') {=} ANY (SELECT m.{id} FROM {servers} AS m)
    UNION ALL
    SELECT n.path, 'key'
    FROM walked AS n
    WHERE n.path[pg_catalog.array_upper(n.path, 1)] {=} ANY (SELECT m.{id} FROM {servers} AS m)
    UNION ALL
    SELECT n.path, 'name'
    FROM walked AS n
    WHERE n.depth {>} 1 AND pg_catalog.jsonb_typeof(n.value) {<>} 'null'
          AND n.path[n.depth] {~} 'mcp_(server|tool)'
    UNION ALL
    SELECT n.path, 'above'
    FROM walked AS n
    WHERE n.depth {=} 1 AND pg_catalog.strpos(n.path[1], 'large ') {=} 1
          AND pg_catalog.jsonb_typeof(n.value) {<>} 'null'
) AS w
ORDER BY w.sign, w.path
LIMIT $3";

const SEARCHED: &str = "CASE WHEN pg_catalog.pg_column_size(t.{column}) {<} 16384 \
                        THEN t.{column} END AS {value}, \
                        CASE WHEN pg_catalog.pg_column_size(t.{column}) {>} 16383 \
                        THEN 1 END AS {large}";

const LIMIT_TIME: &str = "SELECT pg_catalog.set_config('statement_timeout', $1, true)";

/// A place outside the sites that holds references, or looks as if it did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OtherPlace {
    /// The column.
    pub column: TypedColumn,
    /// The path within its JSON or its array. `*` stands for an element of an array, and for a key
    /// that may be data.
    pub path: Vec<String>,
    /// Why it is told.
    pub sign: Sign,
}

/// A sign that a place holds references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sign {
    /// Its name, or that of a key.
    Name,
    /// The id of a known server stands there.
    Value,
}

/// "`LiteLLM_Table.column` (jsonb) at `settings.mcp_servers.*`".
impl fmt::Display for OtherPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.column)?;
        if self.column.sql_type.starts_with("json") && !self.path.is_empty() {
            write!(f, " at {}", self.path.join("."))?;
        }
        Ok(())
    }
}

/// What a search found and what it left out.
#[derive(Debug, Default)]
pub(crate) struct SearchedPlaces {
    /// The places.
    pub places: BTreeSet<OtherPlace>,
    /// How many tables were searched.
    pub tables: usize,
    /// The tables that could not be searched in time.
    pub too_slow: Vec<String>,
    /// The tables with more signs than are looked at.
    pub cut_off: Vec<String>,
    /// The columns with values that are too large to be searched: `Table.column`.
    pub too_large: Vec<String>,
    /// How many columns this role may not read.
    pub unreadable: usize,
    /// Whether nothing was searched, because this role may not read the ids of the servers.
    pub lacks_server_ids: bool,
}

/// Searches every column that may hold texts and is not known to hold no references.
///
/// # Errors
///
/// What the server said, except that a table took too long.
pub(crate) async fn search(
    session: &mut Session,
    schema: &Schema,
) -> Result<SearchedPlaces, Failure> {
    let mut found = SearchedPlaces::default();
    let mut tables: BTreeMap<&str, Vec<&TypedColumn>> = BTreeMap::new();
    let searched = schema.every_column().iter();
    for any in searched.filter(|any| any.column.is_searched()) {
        if any.may_read {
            let columns = tables.entry(&any.column.table).or_default();
            columns.push(&any.column);
        } else {
            found.unreadable += 1;
        }
    }
    if !schema.may_read(SERVER_TABLE, SERVER_ID) {
        found.lacks_server_ids = true;
        return Ok(found);
    }
    let begun = Instant::now();
    for (table, columns) in tables {
        if begun.elapsed() > WHOLE_TIME {
            found.too_slow.push(table.to_owned());
            continue;
        }
        // Each has a transaction of its own, as a timeout ends one.
        let mut transaction = session.start(Purpose::Read).await?;
        match search_table(&mut transaction, schema, table, &columns).await? {
            Some(searched) => {
                found.tables += 1;
                found.places.extend(searched.places);
                let too_large = searched.too_large.into_iter();
                found
                    .too_large
                    .extend(too_large.map(|column| format!("{table}.{column}")));
                if searched.is_cut_off {
                    found.cut_off.push(table.to_owned());
                }
            }
            None => found.too_slow.push(table.to_owned()),
        }
        let rolled_back = transaction.rollback().await;
        rolled_back.map_err(failed_over_secrets("roll back"))?;
    }
    Ok(found)
}

/// What the search of one table found and left out.
#[derive(Debug, Default)]
struct SearchedTable {
    places: Vec<OtherPlace>,
    /// The columns with values that are too large to be searched.
    too_large: Vec<String>,
    /// Whether there are more signs than are looked at.
    is_cut_off: bool,
}

/// Searches the columns of one table; `None` if that took too long.
async fn search_table(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &str,
    columns: &[&TypedColumn],
) -> Result<Option<SearchedTable>, Failure> {
    sqlx::query(statement(LIMIT_TIME))
        .persistent(false)
        .bind(TABLE_TIME.as_millis().to_string())
        .execute(&mut *connection)
        .await
        .map_err(failed_over_secrets("limit the search's time"))?;
    let expressions = columns.iter().enumerate().map(|(at, column)| {
        let fragments = [
            ("{column}", told(&column.name)),
            ("{value}", ident(&format!("value {at}"))),
            ("{large}", ident(&format!("large {at}"))),
        ];
        part(SEARCHED, &fragments)
    });
    let fragments = [
        ("{columns}", expressions.collect::<Vec<_>>().join(", ")),
        ("{table}", relation(table)),
        ("{servers}", relation(SERVER_TABLE)),
        ("{id}", ident(SERVER_ID)),
    ];
    let rows = sqlx::query(schema.statement(SEARCH, &fragments))
        .persistent(false)
        .bind(ROWS)
        .bind(DEPTH)
        .bind(i64::try_from(SIGNS).unwrap_or(i64::MAX).saturating_add(1))
        .fetch_all(connection)
        .await;
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) if is_timeout(&error) => return Ok(None),
        Err(error) => return Err(failed_over_secrets("search for server ids")(error)),
    };
    let mut searched = SearchedTable {
        is_cut_off: rows.len() > SIGNS,
        ..SearchedTable::default()
    };
    for row in rows.iter().take(SIGNS) {
        let path: Vec<String> = decode::read(row, 0, "the path of a server id")?;
        let sign: &str = decode::read(row, 1, "the sign of a server id")?;
        let Some((first, path)) = path.split_first() else {
            continue;
        };
        let at = first.split_once(' ').and_then(|(_, at)| at.parse().ok());
        let Some(column) = at.and_then(|at: usize| columns.get(at)) else {
            continue;
        };
        if sign == "above" {
            searched.too_large.push(column.name.clone());
            continue;
        }
        let mut path: Vec<String> = path.iter().map(|key| shown_key(key).to_owned()).collect();
        if let Some(last) = path.last_mut().filter(|_| sign == "key") {
            "*".clone_into(last);
        }
        if !column.is_site(&path) {
            searched.places.push(OtherPlace {
                column: (*column).clone(),
                path,
                sign: if sign == "name" {
                    Sign::Name
                } else {
                    Sign::Value
                },
            });
        }
    }
    Ok(Some(searched))
}

/// Returns a key of JSON, or `*` where it may be data: a name that a program gives has lower-case
/// letters and underscores alone.
fn shown_key(key: &str) -> &str {
    const LONGEST: usize = 60;
    let is_name = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if is_name && !key.is_empty() && key.len() <= LONGEST {
        key
    } else {
        "*"
    }
}

/// Tells whether a statement took longer than its time.
fn is_timeout(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code == "57014")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_shown_of_keys() {
        for (key, shown) in [
            ("object_permission", "object_permission"),
            ("*", "*"),
            ("Ann Smith", "*"),
            ("ann@example.com", "*"),
            ("4b1c8f0e", "*"),
            ("", "*"),
        ] {
            assert_eq!(shown_key(key), shown, "{key}");
        }
    }
}
