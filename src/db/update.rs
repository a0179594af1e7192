//! Locks the tables, and writes and verifies one chunk of rows.

use sqlx::PgConnection;

use crate::db::batch::{self, FailedBatch};
use crate::db::errors::failed;
use crate::db::fragments::{path, value};
use crate::db::schema::Schema;
use crate::db::sql::{ident, part, relation};
use crate::db::verification::{RowsWithFingerprints, Verification};
use crate::db::{array_bounds, credential_rows, lock_holders, savepoint};
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::{ScannedTable, Shape, Site, SiteTable};
use crate::litellm::value::Value;
use crate::repair::changeset::{ColumnChange, RowChange};

const UPDATE: &str = r"
UPDATE {table} AS t
SET {column} = {new}{touched}
FROM ROWS FROM (pg_catalog.unnest({keys}), pg_catalog.unnest({values})) AS c (key, value)
WHERE t.{key} {=} c.key";

/// The values of [`UPDATE`]: the keys and the new values.
const BOUND: [(&str, &str); 2] = [
    ("{keys}", "$1::pg_catalog.text[]"),
    ("{values}", "$2::pg_catalog.text[]"),
];

/// No values of [`UPDATE`]: it only takes the lock of the table.
const NO_ROWS: [(&str, &str); 2] = [
    ("{keys}", "ARRAY[]::pg_catalog.text[]"),
    ("{values}", "ARRAY[]::pg_catalog.text[]"),
];

const NEW_TEXT_ARRAY: &str = r"
ARRAY(SELECT e.reference
      FROM pg_catalog.jsonb_array_elements_text(c.value::pg_catalog.jsonb)
           WITH ORDINALITY AS e (reference, position)
      ORDER BY e.position)";

// Only keys are removed and added, so every other key stays as it is, byte for byte. The operator
// `jsonb - text[]` would compare every key with every removed one: 25 seconds for 100,000 of each;
// the join takes 0.1.
const NEW_JSON_KEYS: &str = r"
coalesce((SELECT pg_catalog.jsonb_object_agg(e.key, e.value)
          FROM pg_catalog.jsonb_each({value}) AS e (key, value)
          WHERE NOT EXISTS (
              SELECT FROM pg_catalog.jsonb_array_elements_text(
                  c.value::pg_catalog.jsonb {->} 'away') AS a (key)
              WHERE a.key {=} e.key)),
         '{}'::pg_catalog.jsonb)
{||} (c.value::pg_catalog.jsonb {->} 'in')";

const NEW_JSON: &str = "c.value::pg_catalog.jsonb";

// Everything else in the column stays as it is and does not leave the database.
const AT_PATH: &str = "pg_catalog.jsonb_set(t.{column}, {path}, {new}, false)";

// Prisma's client and LiteLLM set them like this.
const TOUCHED: &str = "
, {at} = pg_catalog.timezone('UTC', pg_catalog.now()), {by} = 'mcp-prune'";

/// Takes all table locks that reading and writing need. Call it before a row is locked, so that the
/// run never waits for a table lock while it holds row locks.
///
/// The tables of references are locked in one round trip.
///
/// # Errors
///
/// What the server said; busy if another session keeps a whole table locked.
pub(crate) async fn enter(connection: &mut PgConnection, schema: &Schema) -> Result<(), Failure> {
    let Some(first) = schema.site_tables().first() else {
        return Ok(());
    };
    // Under a savepoint, the transaction can still ask who keeps a table locked.
    let mut statements = vec![(*first, LOCKING, savepoint::SET.to_owned())];
    let reading = lock_for_reading(schema);
    statements.extend(reading.map(|reading| (*first, LOCKING, reading)));
    for scanned in schema.site_tables() {
        if let ScannedTable::References(table) = *scanned {
            let sites = schema.sites(table).into_iter();
            for site in sites.filter(|site| site.may_change()) {
                let update = part(UPDATE, &update_fragments(schema, table, site, NO_ROWS));
                statements.push((*scanned, WRITING, update));
            }
        }
    }
    statements.push((*first, LOCKING, savepoint::RELEASE.to_owned()));
    let doing: Vec<&str> = statements.iter().map(|(_, doing, _)| *doing).collect();
    let all: Vec<&str> = statements.iter().map(|(.., sql)| sql.as_str()).collect();
    let all = [("{all}", all.join(";\n"))];
    if let Err(FailedBatch { at, failure }) =
        batch::run(connection, schema.statement("{all}", &all), &doing).await
    {
        let table = statements.get(at).map_or(*first, |(table, ..)| *table);
        // If even that fails, the transaction is over, and the first failure says more.
        if savepoint::roll_back(connection).await.is_err() {
            return Err(failure);
        }
        return Err(busy_with(connection, schema, table, failure).await);
    }
    for table in schema.site_tables() {
        if let ScannedTable::Credentials(credentials) = *table
            && credentials.names.may_change()
        {
            let enter = async |connection: &mut _| {
                credential_rows::enter(connection, schema, credentials).await
            };
            if let Err(failure) = savepoint::attempt(connection, enter).await? {
                return Err(busy_with(connection, schema, *table, failure).await);
            }
        }
    }
    Ok(())
}

/// Adds to the failure who keeps a table locked, if that is the reason.
async fn busy_with(
    connection: &mut PgConnection,
    schema: &Schema,
    table: ScannedTable,
    failure: Failure,
) -> Failure {
    if failure.kind() != ErrorKind::Busy {
        return failure;
    }
    match lock_holders::of_tables(connection, schema, table).await {
        Some(holder) => failure.context(holder),
        None => failure,
    }
}

const LOCKING: &str = "lock the tables";

const WRITING: &str = "write the rows that name servers";

const READING: &str = "SELECT 1 FROM {table} AS t WHERE false";

/// Returns the SQL that takes the lock of a reader on every table that this role can read, because
/// owners, parents, access groups and toolsets are read while rows are locked, too.
fn lock_for_reading(schema: &Schema) -> Option<String> {
    let reading = schema
        .readable_tables()
        .map(|table| part(READING, &[("{table}", relation(table))]));
    let reading: Vec<String> = reading.collect();
    (!reading.is_empty()).then(|| reading.join("\nUNION ALL\n"))
}

/// Writes `changes`, whose rows this transaction has locked.
///
/// # Errors
///
/// What the server said; an error if it wrote another number of rows.
pub(crate) async fn apply(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    changes: &[RowChange],
) -> Result<(), Failure> {
    for site in schema.sites(table) {
        let columns: Vec<(&str, &ColumnChange)> = changes
            .iter()
            .flat_map(|change| change.columns().iter().map(|c| (change.key(), c)))
            .filter(|(_, column)| column.site() == site)
            .collect();
        if columns.is_empty() {
            continue;
        }
        array_bounds::refuse_to_lose(connection, schema, table, site, &columns).await?;
        let written = update(connection, schema, table, site, &columns).await?;
        if written != columns.len() {
            return Err(Failure::new(
                ErrorKind::Error,
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

/// The hint for a database that itself changes what was written.
const LOOK_FOR_A_TRIGGER: &str =
    "look for a trigger or rule on the table that changes or drops updates";

/// Reads the rows of `changes` again, and checks them.
///
/// The columns that were written must hold what was written. The other columns that name servers
/// must hold what they held when the rows were locked and read (`locked`), and all other columns
/// must have the same fingerprint as then.
///
/// # Errors
///
/// An error if a row differs; the transaction must then not be committed.
pub(crate) async fn verify(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    locked: &RowsWithFingerprints,
    changes: &[RowChange],
    verification: &mut Verification,
) -> Result<(), Failure> {
    let keys = keys(changes);
    let stored = verification.cells_and_fingerprints(connection, schema, table, &keys);
    let stored = stored.await?;
    let (before, found) = (locked.by_key(), stored.by_key());
    for change in changes {
        let cells = before.get(change.key()).map(|row| &row.cells);
        for cell in cells.into_iter().flatten() {
            let column = change.columns().iter().find(|c| c.site() == cell.site);
            let expected = column.map_or_else(|| cell.stored.clone(), |c| Ok(c.after().clone()));
            let found = found
                .get(change.key())
                .and_then(|row| row.cells.iter().find(|c| c.site == cell.site));
            if found.map(|cell| &cell.stored) != Some(&expected) {
                return Err(differs(table, change.key(), cell.site.name));
            }
        }
    }
    verification.compare(schema, table, changes, locked, &stored)
}

pub(crate) fn differs(table: &SiteTable, key: &str, column: &str) -> Failure {
    Failure::new(
        ErrorKind::Error,
        format!(
            "after the write, row {key} of \"{}\" does not hold what it should in {column}; nothing \
             was committed",
            table.table
        ),
    )
    .hint(LOOK_FOR_A_TRIGGER)
}

pub(crate) fn keys(changes: &[RowChange]) -> Vec<String> {
    changes
        .iter()
        .map(|change| change.key().to_owned())
        .collect()
}

// A path that cannot be followed is not deleted: PostgreSQL would fail where it leads into an array
// or the value is no object. To delete the empty path changes nothing.
const WITHOUT_PATHS: &str = "
CASE WHEN pg_catalog.jsonb_typeof({column}) {=} 'object' THEN {column}{less} ELSE {column} END";

const WITHOUT_PATH: &str =
    " {#-} CASE WHEN ({column} {#>} {path}) IS NULL THEN '{}' ELSE {path} END";

/// Returns the SQL that yields a column without the sites in it, or `None` if its sites are whole
/// columns.
pub(crate) fn beside_paths(table: &SiteTable) -> Option<String> {
    let mut within = table
        .sites
        .iter()
        .filter(|site| !site.path.is_empty())
        .peekable();
    let column = format!("t.{}", ident(within.peek()?.column));
    let less: Vec<String> = within
        .map(|site| WITHOUT_PATH.replace("{path}", &format!("{}::pg_catalog.text[]", path(site))))
        .collect();
    let sql = WITHOUT_PATHS.replace("{less}", &less.concat());
    Some(sql.replace("{column}", &column))
}

/// Writes one site of several rows; returns the number of rows.
async fn update(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    site: &Site,
    columns: &[(&str, &ColumnChange)],
) -> Result<usize, Failure> {
    let sql = schema.statement(UPDATE, &update_fragments(schema, table, site, BOUND));
    let keys: Vec<&str> = columns.iter().map(|(key, _)| *key).collect();
    let values: Vec<String> = columns.iter().map(|(_, column)| operand(column)).collect();
    let done = sqlx::query(sql)
        .persistent(false)
        .bind(keys)
        .bind(values)
        .execute(connection)
        .await
        .map_err(failed(WRITING))?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

/// Returns what [`UPDATE`] is filled with.
fn update_fragments(
    schema: &Schema,
    table: &'static SiteTable,
    site: &Site,
    values: [(&'static str, &str); 2],
) -> Vec<(&'static str, String)> {
    let new = match site.shape {
        Shape::TextArray => new_text_array(),
        Shape::JsonKeys => NEW_JSON_KEYS.to_owned(),
        Shape::JsonArray | Shape::JsonTools => NEW_JSON.to_owned(),
    };
    let values = values.map(|(name, value)| (name, value.to_owned()));
    let fragments = fragments(schema, table, site, &new);
    fragments.into_iter().chain(values).collect()
}

fn new_text_array() -> String {
    array_bounds::KEPT.replace("{array}", NEW_TEXT_ARRAY)
}

/// Returns the SQL of the new value of a site, from the whole value as JSON text in `c.value`.
pub(super) fn new_value(site: &Site) -> String {
    match site.shape {
        Shape::TextArray => new_text_array(),
        Shape::JsonKeys | Shape::JsonArray | Shape::JsonTools => NEW_JSON.to_owned(),
    }
}

/// Returns what a statement is filled with that sets a site of the table aliased `t` to `new`, SQL
/// with the placeholder `{value}` for the value that is there.
pub(super) fn fragments(
    schema: &Schema,
    table: &'static SiteTable,
    site: &Site,
    new: &str,
) -> [(&'static str, String); 6] {
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
    [
        (
            "{new}",
            at_path.replace("{new}", &new.replace("{value}", &value(site))),
        ),
        ("{touched}", touched),
        ("{path}", path(site)),
        ("{table}", relation(table.table)),
        ("{key}", ident(table.key)),
        ("{column}", ident(site.column)),
    ]
}

/// Returns the value that the update of a column takes: all new elements, or the keys to remove and
/// the keys to add.
fn operand(column: &ColumnChange) -> String {
    let json = match (column.before(), column.after()) {
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
