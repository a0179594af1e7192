//! The lock that keeps other runs out, and the change of one chunk of rows, checked.

use std::collections::HashMap;

use sqlx::{PgConnection, Row as _};

use super::read::json_text;
use super::sql::{failed, ident, statement};
use crate::failure::{Failure, Kind};
use crate::litellm::row::{Stored, Value};
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
WHERE t.{key} = c.key
RETURNING t.{key}, {cell}";

// Taking keys away in SQL keeps what stays as it is, byte for byte.
const UPDATE_JSON_KEYS: &str = r"
UPDATE {table} AS t
SET {column} = t.{column} - ARRAY(SELECT jsonb_array_elements_text(c.value::jsonb))
FROM unnest($1::text[], $2::text[]) AS c (key, value)
WHERE t.{key} = c.key
RETURNING t.{key}, {cell}";

/// Writes the edits of `plans`, whose rows this transaction has locked, and checks what the
/// table then holds.
///
/// # Errors
///
/// What the server said, and an error where a row does not hold what was planned afterwards.
pub async fn apply(
    connection: &mut PgConnection,
    table: &SiteTable,
    plans: &[RowPlan],
) -> Result<(), Failure> {
    for site in table.sites {
        let edits: Vec<(&str, &Edit)> = plans
            .iter()
            .flat_map(|plan| {
                plan.edits
                    .iter()
                    .map(|edit| (plan.audit.row.as_str(), edit))
            })
            .filter(|(_, edit)| edit.site() == site)
            .collect();
        if !edits.is_empty() {
            apply_site(connection, table, site, &edits).await?;
        }
    }
    Ok(())
}

async fn apply_site(
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
            ("{cell}", json_text(site, "t")),
        ],
    );
    let keys: Vec<&str> = edits.iter().map(|(key, _)| *key).collect();
    let values: Vec<String> = edits.iter().map(|(_, edit)| operand(edit)).collect();
    let written = sqlx::query(sql)
        .bind(keys)
        .bind(values)
        .fetch_all(connection)
        .await
        .map_err(failed("write the permission rows"))?;
    let stored: HashMap<&str, Stored> = written
        .iter()
        .map(|row| (row.get(0), Value::parse(site.shape, row.get(1))))
        .collect();
    for (key, edit) in edits {
        if stored.get(key) != Some(&Ok(edit.after())) {
            return Err(Failure::new(
                Kind::Error,
                format!(
                    "row {key} of \"{}\" does not hold in \"{}\" what was written; \
                     nothing was committed",
                    table.table, site.column
                ),
            )
            .hint("look for a trigger or rule on the table that changes or drops updates"));
        }
    }
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
