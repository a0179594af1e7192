//! The lock that keeps other runs out, and the change of one chunk of rows, and its check.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

use super::holders;
use super::read::{self, path, value};
use super::schema::Schema;
use super::sql::{failed, ident, statement};
use super::whole;
use crate::failure::{Failure, Kind};
use crate::litellm::row::{Row, Value};
use crate::litellm::sites::{Shape, Site, SiteTable};
use crate::repair::changeset::{Change, ColumnChange};

/// The key of the advisory lock: "mcp-prun" in ASCII. Advisory locks are local to a database.
pub(super) const LOCK_KEY: i64 = 0x6d63_702d_7072_756e;

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

const UPDATE: &str = r"
UPDATE {table} AS t
SET {column} = {new}{touched}
FROM unnest($1::text[], $2::text[]) AS c (key, value)
WHERE t.{key} = c.key";

const NEW_TEXT_ARRAY: &str = r"
ARRAY(SELECT e.reference
      FROM jsonb_array_elements_text(c.value::jsonb) WITH ORDINALITY AS e (reference, position)
      ORDER BY e.position)";

// Taking keys away and putting keys in keeps what stays as it is, byte for byte. `jsonb - text[]` would
// compare every key with every one that goes: 25 seconds for 100,000 of each, where the join takes 0.1.
const NEW_JSON_KEYS: &str = r"
coalesce((SELECT pg_catalog.jsonb_object_agg(e.key, e.value)
          FROM pg_catalog.jsonb_each({value}) AS e (key, value)
          WHERE NOT EXISTS (
              SELECT FROM pg_catalog.jsonb_array_elements_text(
                  c.value::pg_catalog.jsonb OPERATOR(pg_catalog.->) 'away') AS a (key)
              WHERE a.key OPERATOR(pg_catalog.=) e.key)),
         '{}'::pg_catalog.jsonb)
OPERATOR(pg_catalog.||) (c.value::pg_catalog.jsonb OPERATOR(pg_catalog.->) 'in')";

const NEW_JSON: &str = "c.value::jsonb";

// Everything else in the column stays as it is, and is not even read.
const AT_PATH: &str = "jsonb_set(t.{column}, {path}, {new}, false)";

// As Prisma's client and LiteLLM set them.
const TOUCHED: &str = ", {at} = now() AT TIME ZONE 'UTC', {by} = 'mcp-prune'";

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
    holders::holders(connection, schema, table, &[]).await?;
    if table.each().is_some() && table.may_change() {
        return whole::enter(connection, table).await;
    }
    for site in schema
        .sites(table)
        .into_iter()
        .filter(|site| site.may_change())
    {
        update(connection, schema, table, site, &[]).await?;
    }
    Ok(())
}

/// Writes `changes`, whose rows this transaction has locked; of whole rows those that they carry.
///
/// # Errors
///
/// What the server said, and where it wrote another number of rows.
pub async fn apply(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    changes: &[Change],
) -> Result<(), Failure> {
    if table.each().is_some() {
        return whole::write(connection, table, changes).await;
    }
    for site in schema.sites(table) {
        let columns: Vec<(&str, &ColumnChange)> = changes
            .iter()
            .flat_map(|change| change.columns.iter().map(|c| (change.key.as_str(), c)))
            .filter(|(_, column)| column.site == site)
            .collect();
        if columns.is_empty() {
            continue;
        }
        let written = update(connection, schema, table, site, &columns).await?;
        if written != columns.len() {
            return Err(Failure::new(
                Kind::Error,
                format!(
                    "{written} rows of \"{}\" were written where {} should have been; nothing was \
                     committed",
                    table.table,
                    columns.len()
                ),
            )
            .hint(LOOK_FOR_A_TRIGGER));
        }
    }
    Ok(())
}

/// Where the database itself undoes or adds to what was written.
const LOOK_FOR_A_TRIGGER: &str =
    "look for a trigger or rule on the table that changes or drops updates";

/// Reads the rows of `changes` again and checks that they hold what was written, that their other
/// columns that name servers hold what they held when locked (`locked`), and that all the rest of
/// them is as before (`rest`, from [`fingerprints`]). Returns the rows.
///
/// # Errors
///
/// Where a row does not; the transaction must then not be committed.
pub async fn verify(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    locked: &[Row],
    rest: &BTreeMap<String, String>,
    changes: &[Change],
) -> Result<Vec<Row>, Failure> {
    let keys = keys(changes);
    let stored = read::cells(connection, schema, table, &keys).await?;
    if table.each().is_some() {
        whole::verify(connection, table, changes, &stored).await?;
        return Ok(stored);
    }
    let locked: HashMap<&str, &Row> = locked.iter().map(|row| (row.key.as_str(), row)).collect();
    let found: HashMap<&str, &Row> = stored.iter().map(|row| (row.key.as_str(), row)).collect();
    for change in changes {
        let cells = locked.get(change.key.as_str()).map(|row| &row.cells);
        for cell in cells.into_iter().flatten() {
            let column = change.columns.iter().find(|c| c.site == cell.site);
            let expected = column.map_or_else(|| cell.stored.clone(), |c| Ok(c.after.clone()));
            let found = found
                .get(change.key.as_str())
                .and_then(|row| row.cells.iter().find(|c| c.site == cell.site));
            if found.map(|cell| &cell.stored) != Some(&expected) {
                return Err(differs(table, &change.key, cell.site.name));
            }
        }
    }
    let rest_now = fingerprints(connection, schema, table, changes).await?;
    match keys.iter().find(|key| rest.get(*key) != rest_now.get(*key)) {
        Some(key) => Err(differs(table, key, "another column")),
        None => Ok(stored),
    }
}

fn differs(table: &SiteTable, key: &str, column: &str) -> Failure {
    Failure::new(
        Kind::Error,
        format!(
            "row {key} of \"{}\" does not hold in {column} what it should after the write; nothing \
             was committed",
            table.table
        ),
    )
    .hint(LOOK_FOR_A_TRIGGER)
}

fn keys(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| change.key.clone()).collect()
}

const FINGERPRINTS: &str = r"
SELECT t.{key}, encode(sha256(convert_to(ROW({rest})::text, 'UTF8')), 'hex')
FROM {table} AS t WHERE t.{key} = ANY ($1)";

/// A fingerprint, by key, of all columns of the rows of `changes` that name no servers, as far as
/// this role may read them. Of whole rows there is none: nothing of them is left, or all is compared.
///
/// # Errors
///
/// What the server said.
pub async fn fingerprints(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    changes: &[Change],
) -> Result<BTreeMap<String, String>, Failure> {
    let columns = schema.columns_beside(table).into_iter();
    let mut rest: Vec<String> = columns.map(|c| format!("t.{}", ident(c))).collect();
    rest.extend(beside_paths(table));
    if rest.is_empty() || changes.is_empty() || table.each().is_some() {
        return Ok(BTreeMap::new());
    }
    let sql = statement(
        FINGERPRINTS,
        &[
            ("{key}", ident(table.key)),
            ("{rest}", rest.join(", ")),
            ("{table}", ident(table.table)),
        ],
    );
    let rows: Vec<(String, String)> = sqlx::query_as(sql)
        .persistent(false)
        .bind(keys(changes))
        .fetch_all(connection)
        .await
        .map_err(failed("read the rows' other columns"))?;
    Ok(rows.into_iter().collect())
}

/// The SQL that yields what is in a column besides the places in it.
fn beside_paths(table: &SiteTable) -> Option<String> {
    let mut within = table
        .sites
        .iter()
        .filter(|site| !site.path.is_empty())
        .peekable();
    let column = ident(within.peek()?.column);
    let less: Vec<String> = within.map(|site| format!(" #- {}", path(site))).collect();
    Some(format!("t.{column}{}", less.concat()))
}

/// Writes one place of several rows; returns how many.
async fn update(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    site: &Site,
    columns: &[(&str, &ColumnChange)],
) -> Result<usize, Failure> {
    let new = match site.shape {
        Shape::TextArray => NEW_TEXT_ARRAY,
        Shape::JsonKeys => NEW_JSON_KEYS,
        Shape::JsonArray | Shape::JsonTools => NEW_JSON,
        // Written as a whole, and nothing within it.
        Shape::Rows { .. } => return Ok(0),
    };
    let at_path = if site.path.is_empty() {
        "{new}"
    } else {
        AT_PATH
    };
    let touched = match schema.touched(table) {
        Some((at, by)) => TOUCHED
            .replace("{at}", &ident(at))
            .replace("{by}", &ident(by)),
        None => String::new(),
    };
    let sql = statement(
        UPDATE,
        &[
            (
                "{new}",
                at_path.replace("{new}", &new.replace("{value}", &value(site))),
            ),
            ("{touched}", touched),
            ("{path}", path(site)),
            ("{table}", ident(table.table)),
            ("{key}", ident(table.key)),
            ("{column}", ident(site.column)),
        ],
    );
    let keys: Vec<&str> = columns.iter().map(|(key, _)| *key).collect();
    let values: Vec<String> = columns.iter().map(|(_, column)| operand(column)).collect();
    let done = sqlx::query(sql)
        .persistent(false)
        .bind(keys)
        .bind(values)
        .execute(connection)
        .await
        .map_err(failed("write the rows that name servers"))?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

/// What the update of the column's shape takes as its value: the elements to be, or the keys that go
/// and those that come.
fn operand(column: &ColumnChange) -> String {
    let json = match (&column.before, &column.after) {
        (Value::Keys(before), Value::Keys(after)) => {
            let away = before.keys().filter(|key| !after.contains_key(*key));
            let put = after
                .iter()
                .filter(|(key, tools)| before.get(*key) != Some(tools));
            let put = put
                .map(|(key, tools)| (key.clone(), tools.clone()))
                .collect();
            serde_json::json!({
                "away": away.collect::<Vec<_>>(),
                "in": Value::Keys(put).to_json(),
            })
        }
        (_, after) => after.to_json(),
    };
    json.to_string()
}
