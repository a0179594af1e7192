//! Whole rows of servers: read with everything in them, deleted, put back, and looked at again.
//!
//! They hold secrets. No statement but the one that puts rows back takes any, and of a failure only the
//! server's code is told.

use std::collections::{BTreeMap, HashSet};

use sqlx::PgConnection;

use super::sql::{failed_over_secrets, ident, statement};
use crate::failure::{Failure, Kind};
use crate::litellm::row::WholeRow;
use crate::litellm::sites::SiteTable;
use crate::repair::changeset::Change;

/// Whole rows, by server.
pub type WholeRows = BTreeMap<String, Vec<WholeRow>>;

// A row is taken apart and put together again to see that nothing is lost: `*=` compares bytes. It is
// locked as well, as one that is new by now has not been.
const READ: &str = r#"
SELECT t.{key}, to_jsonb(t)::text, jsonb_populate_record(NULL::{table}, to_jsonb(t)) *= t
FROM {table} AS t WHERE t.{key} = ANY ($1) ORDER BY t.{key} COLLATE "C", t.{each} COLLATE "C"
FOR UPDATE OF t NOWAIT"#;

/// Reads and locks all rows of the servers with these ids.
///
/// # Errors
///
/// What the server said; busy where somebody else has locked one of them; refused where JSON cannot hold
/// one exactly.
pub async fn read(
    connection: &mut PgConnection,
    table: &'static SiteTable,
    servers: &[String],
) -> Result<WholeRows, Failure> {
    let found: Vec<(String, String, bool)> = sqlx::query_as(sql(READ, table))
        .persistent(false)
        .bind(servers)
        .fetch_all(connection)
        .await
        .map_err(failed_over_secrets("read the rows of deleted servers"))?;
    let mut rows = WholeRows::new();
    for (server, row, is_exact) in found {
        if !is_exact {
            return Err(Failure::new(
                Kind::Refused,
                format!(
                    "a row of \"{}\" holds what a journal cannot keep exactly",
                    table.table
                ),
            )
            .hint("leave out --sites credentials, or delete these rows by hand"));
        }
        rows.entry(server).or_default().push(WholeRow::new(row));
    }
    Ok(rows)
}

/// Fills in the whole rows that `changes` delete; of other tables there is nothing to fill in.
///
/// # Errors
///
/// What [`read`] says, and moved where their number is not what was planned for.
pub async fn fill(
    connection: &mut PgConnection,
    table: &'static SiteTable,
    changes: &mut [Change],
) -> Result<(), Failure> {
    if table.each().is_none() || changes.is_empty() {
        return Ok(());
    }
    let mut rows = read(connection, table, &servers(changes)).await?;
    for change in changes {
        change.rows = rows.remove(&change.key).unwrap_or_default();
        if change.rows.len() != change.size() {
            return Err(moved(table, &change.key));
        }
    }
    Ok(())
}

const DELETE: &str = r"
DELETE FROM {table} AS t
USING unnest($1::text[], $2::text[]) AS c (key, each)
WHERE t.{key} = c.key AND t.{each} = c.each
RETURNING to_jsonb(t)::text";

// Where another row has taken the place of one meanwhile, that one is not among those returned.
const PUT_BACK: &str = r"
INSERT INTO {table} AS t
SELECT r.* FROM unnest($1::text[]) AS c (row),
                jsonb_populate_record(NULL::{table}, c.row::jsonb) AS r
ON CONFLICT DO NOTHING
RETURNING to_jsonb(t)::text";

/// Takes the table locks that [`write`] needs.
///
/// # Errors
///
/// What the server said.
pub async fn enter(
    connection: &mut PgConnection,
    table: &'static SiteTable,
) -> Result<(), Failure> {
    read(connection, table, &[]).await?;
    delete(connection, table, &[]).await?;
    put_back(connection, table, &[]).await?;
    Ok(())
}

/// Deletes and puts back the whole rows of `changes`: exactly those, or it fails.
///
/// # Errors
///
/// What the server said, and where a row deleted or put back is not the one that was meant.
pub async fn write(
    connection: &mut PgConnection,
    table: &'static SiteTable,
    changes: &[Change],
) -> Result<(), Failure> {
    let (taken, given): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|change| change.takes_rows());
    let mut written = delete(connection, table, &taken).await?;
    written.extend(put_back(connection, table, &given).await?);
    let written: HashSet<&str> = written.iter().map(String::as_str).collect();
    let rows = changes.iter().flat_map(|change| &change.rows);
    let meant: HashSet<&str> = rows.map(WholeRow::json).collect();
    if written.is_subset(&meant) {
        let missing = |change: &&Change| {
            let mut rows = change.rows.iter();
            rows.any(|row| !written.contains(row.json()))
        };
        let missing = changes.iter().find(missing);
        missing.map_or(Ok(()), |change| Err(moved(table, &change.key)))
    } else {
        Err(differs(table))
    }
}

/// Looks at the rows of `changes` again.
///
/// # Errors
///
/// Where one that was deleted is there, or one that was put back is not, as it was; moved where their
/// server has another number of rows by now.
pub async fn verify(
    connection: &mut PgConnection,
    table: &'static SiteTable,
    changes: &[Change],
) -> Result<(), Failure> {
    let there = read(connection, table, &servers(changes)).await?;
    for change in changes {
        let there = there.get(&change.key).map(Vec::as_slice);
        let there: HashSet<&str> = there.into_iter().flatten().map(WholeRow::json).collect();
        let kept = change.rows.iter();
        let kept = kept.filter(|row| there.contains(row.json())).count();
        let expected = if change.takes_rows() {
            0
        } else {
            change.rows.len()
        };
        if kept != expected {
            return Err(differs(table));
        }
        let mut after = change.columns.iter().filter_map(|c| c.after.rows());
        if after.next() != u64::try_from(there.len()).ok() {
            return Err(moved(table, &change.key));
        }
    }
    Ok(())
}

async fn delete(
    connection: &mut PgConnection,
    table: &'static SiteTable,
    changes: &[&Change],
) -> Result<Vec<String>, Failure> {
    let column = table.each().unwrap_or(table.key);
    let rows = changes
        .iter()
        .flat_map(|change| change.rows.iter().map(|row| (change.key.as_str(), row)));
    let (servers, each): (Vec<&str>, Vec<Option<String>>) =
        rows.map(|(server, row)| (server, row.text(column))).unzip();
    sqlx::query_scalar(sql(DELETE, table))
        .persistent(false)
        .bind(servers)
        .bind(each)
        .fetch_all(connection)
        .await
        .map_err(failed_over_secrets("delete the rows of deleted servers"))
}

async fn put_back(
    connection: &mut PgConnection,
    table: &'static SiteTable,
    changes: &[&Change],
) -> Result<Vec<String>, Failure> {
    let rows = changes.iter().flat_map(|change| &change.rows);
    let rows: Vec<&str> = rows.map(WholeRow::json).collect();
    sqlx::query_scalar(sql(PUT_BACK, table))
        .persistent(false)
        .bind(rows)
        .fetch_all(connection)
        .await
        .map_err(failed_over_secrets("put the deleted rows back"))
}

fn sql(template: &'static str, table: &SiteTable) -> sqlx::AssertSqlSafe<String> {
    let fragments = [
        ("{table}", ident(table.table)),
        ("{key}", ident(table.key)),
        ("{each}", ident(table.each().unwrap_or(table.key))),
    ];
    statement(template, &fragments)
}

fn servers(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| change.key.clone()).collect()
}

fn moved(table: &SiteTable, server: &str) -> Failure {
    let message = format!(
        "the rows of server {server} in \"{}\" changed meanwhile",
        table.table
    );
    Failure::new(Kind::Moved, message).hint("nothing was written; run it again")
}

fn differs(table: &SiteTable) -> Failure {
    Failure::new(
        Kind::Error,
        format!(
            "rows of \"{}\" are not what they should be after the write; nothing was committed",
            table.table
        ),
    )
    .hint("look for a trigger or rule on the table that changes what is written")
}
