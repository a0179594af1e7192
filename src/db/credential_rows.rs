//! Reads, deletes, puts back and verifies the whole rows of servers.
//!
//! The rows hold secrets. Only the statement that puts rows back has secrets as parameters, and a
//! failure shows only the server's code and names.

use std::collections::HashSet;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::db::errors::{failed, failed_over_secrets};
use crate::db::schema::Schema;
use crate::db::sql::{column_without_value, ident, relation, statement};
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::SiteTable;
use crate::litellm::row::{Cell, Row};
use crate::litellm::value::WholeRow;
use crate::repair::changeset::Change;

// A row as JSON, without its NULL columns: if a migration of LiteLLM adds a column and leaves it
// NULL, the row stays the same. `*=` below tells a NULL from a JSON `null`.
const JSON: &str = "
(SELECT pg_catalog.jsonb_object_agg(e.key, e.value)
 FROM pg_catalog.jsonb_each(pg_catalog.to_jsonb(t)) AS e (key, value) WHERE e.value {<>} 'null')";

// Each row is made again from its JSON, and `*=` compares the bytes to see that nothing is lost.
// The rows are locked here as well, because a new row has no lock yet.
const READ: &str = "
SELECT {json}::pg_catalog.text,
       pg_catalog.jsonb_populate_record(NULL::{table}, {json}) {*=} t
FROM {table} AS t {which}
FOR UPDATE OF t NOWAIT";

const SOME_OF_A_SERVER: &str = r#"
WHERE t.{key} {=} $1 ORDER BY t.{each} COLLATE pg_catalog."C" LIMIT $2"#;

const IN_THE_PLACE_OF: &str = "
JOIN ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]),
                pg_catalog.unnest($2::pg_catalog.text[])) AS c (key, each)
     ON t.{key} {=} c.key AND t.{each} {=} c.each";

/// How many rows are read, and so are in memory, at a time.
const PART: u16 = 5_000;

/// Splits the next rows off `deletion`, which only has their number: reads and locks them, and
/// returns them as a change of their own. Returns `None` once no rows are left.
///
/// # Errors
///
/// What the server said; busy if another session has locked one of the rows; moved if there are
/// fewer rows than `deletion` says; refused if JSON cannot hold a row exactly.
pub(crate) async fn next_part(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    deletion: &mut Change,
) -> Result<Option<Change>, Failure> {
    let most = deletion.rows_to_delete();
    if most == 0 {
        return Ok(None);
    }
    let found = sqlx::query_as(sql(schema, READ, SOME_OF_A_SERVER, table))
        .persistent(false)
        .bind(deletion.key())
        .bind(i64::try_from(most.min(PART.into())).unwrap_or_default())
        .fetch_all(connection)
        .await
        .map_err(failed_over_secrets(READING))?;
    let rows = exact(table, found)?;
    if rows.is_empty() {
        return Err(moved(table, deletion.key()));
    }
    Ok(deletion.split_off(rows))
}

/// Reads and locks the stored rows with the keys of the rows of `changes`, whether they are equal
/// or not.
///
/// # Errors
///
/// As [`next_part`].
pub(crate) async fn in_the_place_of(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    changes: &[&Change],
) -> Result<Vec<WholeRow>, Failure> {
    let (servers, each) = places(table, changes);
    let found = sqlx::query_as(sql(schema, READ, IN_THE_PLACE_OF, table))
        .persistent(false)
        .bind(servers)
        .bind(each)
        .fetch_all(connection)
        .await
        .map_err(failed_over_secrets(READING))?;
    exact(table, found)
}

const READING: &str = "read the rows of deleted servers";

fn exact(table: &SiteTable, found: Vec<(String, bool)>) -> Result<Vec<WholeRow>, Failure> {
    let column = table.each().unwrap_or(table.key);
    let rows = found.into_iter().map(|(row, is_exact)| {
        let row = WholeRow::new(row);
        (is_exact && row.text(column).is_some()).then_some(row)
    });
    rows.collect::<Option<Vec<WholeRow>>>().ok_or_else(|| {
        Failure::new(
            ErrorKind::Refused,
            format!(
                "a row of \"{}\" holds what a journal cannot keep exactly",
                table.table
            ),
        )
        .hint("leave out --sites credentials, or delete these rows by hand")
    })
}

/// Refuses a deletion that would delete or change rows of other tables, because no journal has
/// those.
async fn refuse_to_take_others(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
) -> Result<(), Failure> {
    let other: Option<String> = sqlx::query_scalar(statement(GOES_WITH_IT))
        .persistent(false)
        .bind(schema.name())
        .bind(table.table)
        .fetch_one(connection)
        .await
        .map_err(failed(
            "read which tables change with the rows of deleted servers",
        ))?;
    other.map_or(Ok(()), |other| {
        Err(Failure::new(
            ErrorKind::Refused,
            format!(
                "deleting rows of \"{}\" changes table {other}, which undo could not put back",
                table.table
            ),
        )
        .hint("leave out --sites credentials, or delete these rows by hand"))
    })
}

const DELETE: &str = r"
DELETE FROM {table} AS t
USING ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]),
                 pg_catalog.unnest($2::pg_catalog.text[])) AS c (key, each)
WHERE t.{key} {=} c.key AND t.{each} {=} c.each
RETURNING {json}::pg_catalog.text";

// A row is not returned if another row has taken its place meanwhile.
const PUT_BACK: &str = r"
INSERT INTO {table} AS t
SELECT r.*
FROM pg_catalog.unnest($1::pg_catalog.text[]) AS c (row),
     pg_catalog.jsonb_populate_record(NULL::{table}, c.row::pg_catalog.jsonb) AS r
ON CONFLICT DO NOTHING
RETURNING {json}::pg_catalog.text";

// The journal does not have the rows that a foreign key deletes or changes along with a deleted
// row.
const GOES_WITH_IT: &str = "
SELECT pg_catalog.min(
    pg_catalog.quote_ident(cn.nspname) {||} '.' {||} pg_catalog.quote_ident(c.relname))
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid {=} k.conrelid
JOIN pg_catalog.pg_namespace AS cn ON cn.oid {=} c.relnamespace
JOIN pg_catalog.pg_class AS p ON p.oid {=} k.confrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid {=} p.relnamespace
WHERE k.contype {=} 'f' AND k.confdeltype {=} ANY ('{c,n,d}')
      AND n.nspname {=} $1 AND p.relname {=} $2";

/// Takes the table locks that [`write()`] needs.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn enter(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
) -> Result<(), Failure> {
    in_the_place_of(connection, schema, table, &[]).await?;
    delete(connection, schema, table, &[]).await?;
    put_back(connection, schema, table, &[]).await?;
    Ok(())
}

/// Deletes and puts back exactly the whole rows of `changes`, or fails.
///
/// # Errors
///
/// What the server said; an error if a row that was deleted or put back is another than planned;
/// refused if a deletion would change another table.
pub(crate) async fn write(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    changes: &[Change],
) -> Result<(), Failure> {
    let (taken, given): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|change| change.takes_rows());
    if !taken.is_empty() {
        refuse_to_take_others(connection, schema, table).await?;
    }
    let mut written = delete(connection, schema, table, &taken).await?;
    written.extend(put_back(connection, schema, table, &given).await?);
    let written: HashSet<&str> = written.iter().map(String::as_str).collect();
    let rows = changes.iter().flat_map(Change::rows);
    let meant: HashSet<&str> = rows.map(WholeRow::json).collect();
    if written.is_subset(&meant) {
        let missing = |change: &&Change| {
            let mut rows = change.rows().iter();
            rows.any(|row| !written.contains(row.json()))
        };
        let missing = changes.iter().find(missing);
        missing.map_or(Ok(()), |change| Err(moved(table, change.key())))
    } else {
        Err(differs(table))
    }
}

/// Checks that the rows of `changes` are deleted or put back; `stored` has the number of rows that
/// their servers have by now.
///
/// # Errors
///
/// An error if a deleted row is still there, or if a row that was put back is missing or another;
/// moved if a server has another number of rows than expected.
pub(crate) async fn verify(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    changes: &[Change],
    stored: &[Row],
) -> Result<(), Failure> {
    let all: Vec<&Change> = changes.iter().collect();
    let there = in_the_place_of(connection, schema, table, &all).await?;
    let there: HashSet<&str> = there.iter().map(WholeRow::json).collect();
    for change in changes {
        let mut rows = change.rows().iter();
        if !rows.all(|row| there.contains(row.json()) != change.takes_rows()) {
            return Err(differs(table));
        }
        let mut cells = stored.iter().filter(|row| row.key == change.key());
        let mut cells = cells.next().into_iter().flat_map(|row| &row.cells);
        let is_as_meant = |cell: &Cell| {
            let mut columns = change.columns().iter();
            columns.any(|c| c.site() == cell.site && cell.stored.as_ref() == Ok(c.after()))
        };
        if !cells.any(is_as_meant) {
            return Err(moved(table, change.key()));
        }
    }
    Ok(())
}

async fn delete(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    changes: &[&Change],
) -> Result<Vec<String>, Failure> {
    let (servers, each) = places(table, changes);
    sqlx::query_scalar(sql(schema, DELETE, "", table))
        .persistent(false)
        .bind(servers)
        .bind(each)
        .fetch_all(connection)
        .await
        .map_err(failed_over_secrets("delete the rows of deleted servers"))
}

/// Says what to do about a column that LiteLLM added after the rows were deleted: they have no
/// value for it.
fn let_be_null(schema: &Schema, table: &SiteTable, column: &str) -> String {
    let change = format!(
        "ALTER TABLE {}.{} ALTER COLUMN {}",
        ident(schema.name()),
        ident(table.table),
        ident(column)
    );
    format!(
        "nothing was written, because the column was added after the rows were deleted; have the \
         table's owner run: {change} DROP NOT NULL; then run undo again, fill the column, and run: \
         {change} SET NOT NULL;"
    )
}

async fn put_back(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    changes: &[&Change],
) -> Result<Vec<String>, Failure> {
    let rows = changes.iter().flat_map(|change| change.rows());
    let rows: Vec<&str> = rows.map(WholeRow::json).collect();
    sqlx::query_scalar(sql(schema, PUT_BACK, "", table))
        .persistent(false)
        .bind(rows)
        .fetch_all(connection)
        .await
        .map_err(|error| {
            let hint = column_without_value(&error, table.table)
                .map(|column| let_be_null(schema, table, column));
            let failure = failed_over_secrets("put the deleted rows back")(error);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })
}

fn sql(
    schema: &Schema,
    template: &'static str,
    which: &'static str,
    table: &SiteTable,
) -> AssertSqlSafe<String> {
    let fragments = [
        ("{which}", which.to_owned()),
        ("{json}", JSON.to_owned()),
        ("{table}", relation(table.table)),
        ("{key}", ident(table.key)),
        ("{each}", ident(table.each().unwrap_or(table.key))),
    ];
    schema.statement(template, &fragments)
}

/// Returns, for each row, its server and the value that tells it from the server's other rows.
fn places<'a>(table: &SiteTable, changes: &[&'a Change]) -> (Vec<&'a str>, Vec<Option<String>>) {
    let column = table.each().unwrap_or(table.key);
    let rows = changes
        .iter()
        .flat_map(|change| change.rows().iter().map(|row| (change.key(), row)));
    rows.map(|(server, row)| (server, row.text(column))).unzip()
}

/// Makes the failure for rows of a server that another session or a trigger changed meanwhile.
pub(crate) fn moved(table: &SiteTable, server: &str) -> Failure {
    let message = format!(
        "the rows of server {server} in \"{}\" changed meanwhile",
        table.table
    );
    Failure::new(ErrorKind::Moved, message).hint(
        "run it again, and if that does not help, look for a trigger on the table; nothing was written",
    )
}

fn differs(table: &SiteTable) -> Failure {
    Failure::new(
        ErrorKind::Error,
        format!(
            "rows of \"{}\" are not what they should be after the write; nothing was committed",
            table.table
        ),
    )
    .hint("look for a trigger or rule on the table that changes what is written")
}
