//! The lock that keeps other runs out, and the change of one chunk of rows, and its check.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::read;
use super::schema::Schema;
use super::sql::{failed, ident, statement};
use crate::failure::{Failure, Kind};
use crate::litellm::row::{Row, Value};
use crate::litellm::sites::{Shape, Site, SiteTable};
use crate::repair::plan::{Edit, RowPlan};

/// The key of the advisory lock: "mcp-prun" in ASCII. Advisory locks are local to a database.
const LOCK_KEY: i64 = 0x6d63_702d_7072_756e;

/// Takes the lock that one run at a time holds, until the transaction ends.
///
/// Source: PostgreSQL 17 manual, section 13.3.5, "Advisory Locks".
///
/// # Errors
///
/// Busy where another run holds it.
pub async fn lock_out_other_runs(connection: &mut PgConnection) -> Result<(), Failure> {
    let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .persistent(false)
        .bind(LOCK_KEY)
        .fetch_one(connection)
        .await
        .map_err(failed("take the advisory lock"))?;
    if locked {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Taken,
        "another run of mcp-prune is repairing this database",
    )
    .hint("wait for it to end, then run this one again"))
}

const UPDATE_TEXT_ARRAY: &str = r"
UPDATE {table} AS t
SET {column} = ARRAY(SELECT e.reference
                     FROM jsonb_array_elements_text(c.value::jsonb)
                          WITH ORDINALITY AS e (reference, position)
                     ORDER BY e.position)
FROM unnest($1::text[], $2::text[]) AS c (key, value)
WHERE t.{key} = c.key";

// Taking keys away in SQL keeps what stays as it is, byte for byte.
const UPDATE_JSON_KEYS: &str = r"
UPDATE {table} AS t
SET {column} = t.{column} - ARRAY(SELECT jsonb_array_elements_text(c.value::jsonb))
FROM unnest($1::text[], $2::text[]) AS c (key, value)
WHERE t.{key} = c.key";

/// Takes the table locks that reading owners and writing rows need, before any row is locked, so
/// that later nobody who holds a whole table is waited for with rows in hand.
///
/// # Errors
///
/// What the server said; busy where somebody else keeps a whole table locked.
pub async fn enter(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
) -> Result<(), Failure> {
    read::cells(connection, schema, table, &[]).await?;
    read::owners(connection, schema, &[]).await?;
    for site in schema.sites(table) {
        update(connection, table, site, &[]).await?;
    }
    Ok(())
}

/// Writes the edits of `plans`, whose rows this transaction has locked.
///
/// # Errors
///
/// What the server said.
pub async fn apply(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    plans: &[RowPlan],
) -> Result<(), Failure> {
    for site in schema.sites(table) {
        let edits: Vec<(&str, &Edit)> = plans
            .iter()
            .flat_map(|plan| plan.edits.iter().map(|e| (plan.audit.row.as_str(), e)))
            .filter(|(_, edit)| edit.site() == site)
            .collect();
        if !edits.is_empty() {
            update(connection, table, site, &edits).await?;
        }
    }
    Ok(())
}

/// Reads the rows of `plans` again and checks that they hold what was planned, and in their other
/// columns that name servers what they held when locked (`locked`).
///
/// # Errors
///
/// Where a row does not; the transaction must then not be committed.
pub async fn verify(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    locked: &[Row],
    plans: &[RowPlan],
) -> Result<(), Failure> {
    let changed: HashMap<&str, &[Edit]> = plans
        .iter()
        .filter(|plan| !plan.edits.is_empty())
        .map(|plan| (plan.audit.row.as_str(), plan.edits.as_slice()))
        .collect();
    let keys: Vec<String> = changed.keys().map(|key| (*key).to_owned()).collect();
    let stored = read::cells(connection, schema, table, &keys).await?;
    let stored: HashMap<&str, &Row> = stored.iter().map(|row| (row.key.as_str(), row)).collect();
    for row in locked {
        let Some(edits) = changed.get(row.key.as_str()) else {
            continue;
        };
        for cell in &row.cells {
            let edit = edits.iter().find(|edit| edit.site() == cell.site);
            let expected = edit.map_or_else(|| cell.stored.clone(), |edit| Ok(edit.after()));
            let found = stored
                .get(row.key.as_str())
                .and_then(|row| row.cells.iter().find(|c| c.site == cell.site));
            if found.map(|cell| &cell.stored) != Some(&expected) {
                return Err(Failure::new(
                    Kind::Error,
                    format!(
                        "row {} of \"{}\" does not hold in \"{}\" what it should after the write; \
                         nothing was committed",
                        row.key, table.table, cell.site.column
                    ),
                )
                .hint("look for a trigger or rule on the table that changes or drops updates"));
            }
        }
    }
    Ok(())
}

async fn update(
    connection: &mut PgConnection,
    table: &SiteTable,
    site: &Site,
    edits: &[(&str, &Edit)],
) -> Result<(), Failure> {
    let template = match site.shape {
        Shape::TextArray => UPDATE_TEXT_ARRAY,
        Shape::JsonKeys => UPDATE_JSON_KEYS,
    };
    let sql = statement(
        template,
        &[
            ("{table}", ident(table.table)),
            ("{key}", ident(table.key)),
            ("{column}", ident(site.column)),
        ],
    );
    let keys: Vec<&str> = edits.iter().map(|(key, _)| *key).collect();
    let values: Vec<String> = edits.iter().map(|(_, edit)| operand(edit)).collect();
    sqlx::query(sql)
        .persistent(false)
        .bind(keys)
        .bind(values)
        .execute(connection)
        .await
        .map_err(failed("write the permission rows"))?;
    Ok(())
}

/// What the update of the edit's shape takes as its value: the elements that stay, or the keys
/// that go.
fn operand(edit: &Edit) -> String {
    let texts: Vec<String> = match edit.after() {
        Value::Array(stay) => stay,
        Value::Keys(_) => edit.removed().iter().cloned().collect(),
    };
    serde_json::Value::from(texts).to_string()
}
