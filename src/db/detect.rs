//! Finding the rows worth a look, within PostgreSQL: only they travel.

use std::collections::BTreeSet;

use sqlx::{PgConnection, Row as _};

use super::read::value;
use super::schema::Schema;
use super::sql::{failed, ident, statement};
use crate::failure::Failure;
use crate::litellm::release::Release;
use crate::litellm::server::ServerCatalog;
use crate::litellm::sites::{Empty, Names, Shape, Site, SiteTable};

/// A table, and the primary keys of rows of it, in byte order.
pub type Found = Vec<(&'static SiteTable, Vec<String>)>;

// The functions stand in the select list, where PostgreSQL evaluates them in parallel workers without
// storing their rows first, and the array is hashed: `= ANY` from PostgreSQL 14 on, where `<> ALL`
// takes 15. `IS NOT TRUE` finds NULL elements as well. On a million rows with 500 servers (2 cores,
// PostgreSQL 15), for both columns: 0.5 s, where the functions in FROM (LATERAL) took 1.4 s, as their
// estimates keep the plan out of workers, a hash anti-join 0.9 s, one pass over both columns 1.0 s
// and a correlated EXISTS 1.3 s.
const DETECT: &str = r"
SELECT {place} AS place, s.key
FROM (SELECT t.{key} AS key, {references} AS reference FROM {table} AS t {rows}) AS s
WHERE (s.reference = ANY (${names}::text[])) IS NOT TRUE {or}";

// An array of more than one dimension becomes one NULL element, and so is found as such; asked for
// each element, its dimensions would unpack a large array once an element.
const TEXT_ARRAY: &str =
    "unnest(CASE WHEN array_ndims({value}) > 1 THEN ARRAY[NULL] ELSE {value} END)";

// What is no object of lists of strings becomes one empty key, and an empty key is always looked at.
// The path is strict because lax mode would unwrap a nested list before looking at it; where it
// cannot be followed at all the answer is NULL.
const JSON_KEYS: &str = r#"
jsonb_object_keys(CASE WHEN jsonb_path_exists({value}, 'strict $.*[*] ? (@.type() <> "string")',
                                              '{}', true) IS FALSE THEN {value}
                       WHEN jsonb_typeof({value}) <> 'null' THEN '{"": null}' END)"#;

const OR_EMPTY: &str = "OR s.reference = ''";

// What is no array of strings has a NULL element: of such a place there is one row, or few.
const JSON_ARRAY: &str = r#"
jsonb_array_elements_text(
    CASE WHEN jsonb_path_exists({value}, 'strict $[*] ? (@.type() <> "string")',
                                '{}', true) IS FALSE THEN {value}
         WHEN jsonb_typeof({value}) <> 'null' THEN '[null]' END)"#;

// The same of an array of objects. Whether they hold anything besides is told once they are read.
const JSON_TOOLS: &str = r"
jsonb_array_elements(CASE WHEN jsonb_typeof({value}) = 'array' THEN {value}
                          WHEN jsonb_typeof({value}) <> 'null' THEN '[null]' END) ->> 'server_id'";

/// Finds the rows of every table looked at that hold anything but unremarkable references; with
/// `notes` also those of which something else may be worth a note.
///
/// # Errors
///
/// What the server said.
pub async fn detect(
    connection: &mut PgConnection,
    schema: &Schema,
    catalog: &ServerCatalog,
    notes: bool,
) -> Result<Found, Failure> {
    let tables = schema.site_tables();
    let mut selects = Vec::new();
    for (place, table) in tables.iter().enumerate() {
        for site in schema.sites(table) {
            selects.push(select(place, table, site));
            if notes {
                selects.extend(noted(place, table, site));
            }
        }
    }
    let mut found: Vec<BTreeSet<String>> = vec![BTreeSet::new(); tables.len()];
    if selects.is_empty() {
        return Ok(Found::new());
    }
    // One statement, as each takes two round trips.
    let sql = statement("{selects}", &[("{selects}", selects.join("\nUNION ALL\n"))]);
    let resolves_names = schema.release() >= Release::RESOLVES_NAMES;
    let is_noted = |reference: &str| {
        catalog.is_a_name(reference) && (!resolves_names || catalog.is_shared(reference))
    };
    let unremarkable = |names| {
        let mut known = catalog.unremarkable(names);
        known.retain(|reference| !(notes && is_noted(reference)));
        known
    };
    let rows = sqlx::query(sql)
        .persistent(false)
        .bind(unremarkable(Names::Servers))
        .bind(unremarkable(Names::ServerIds))
        .bind(unremarkable(Names::Toolsets))
        .fetch_all(connection)
        .await
        .map_err(failed("look for stale references"))?;
    for row in rows {
        let place: i32 = row.get(0);
        if let Some(found) = usize::try_from(place).ok().and_then(|at| found.get_mut(at)) {
            found.insert(row.get(1));
        }
    }
    let keys = found.into_iter().map(|keys| keys.into_iter().collect());
    let found = tables.iter().copied().zip(keys);
    Ok(found
        .filter(|(_, keys): &(_, Vec<String>)| !keys.is_empty())
        .collect())
}

fn select(place: usize, table: &SiteTable, site: &Site) -> String {
    let (references, or) = match site.shape {
        Shape::TextArray => (TEXT_ARRAY, ""),
        Shape::JsonKeys => (JSON_KEYS, OR_EMPTY),
        Shape::JsonArray => (JSON_ARRAY, ""),
        Shape::JsonTools => (JSON_TOOLS, ""),
        Shape::Rows { .. } => ("{value}", ""),
    };
    let names = match site.names {
        Names::Servers => "1",
        Names::ServerIds | Names::ConfigServerIds => "2",
        Names::Toolsets => "3",
    };
    let fragments = [
        ("{place}", place.to_string()),
        ("{references}", references.replace("{value}", &value(site))),
        ("{rows}", rows(table)),
        ("{names}", names.to_owned()),
        ("{or}", or.to_owned()),
        ("{key}", ident(table.key)),
        ("{table}", ident(table.table)),
    ];
    statement(DETECT, &fragments).0
}

/// The clause that limits `table` to the row that matters, or takes all whole rows of a server for one.
fn rows(table: &SiteTable) -> String {
    let key = ident(table.key);
    match table.row {
        Some(row) => format!("WHERE t.{key} = '{row}'"),
        None if table.each().is_some() => format!("GROUP BY t.{key}"),
        None => String::new(),
    }
}

const DUPLICATES: &str = r"
SELECT {place}, t.{key} FROM {table} AS t
WHERE cardinality({value}) <> (SELECT count(DISTINCT e) FROM unnest({value}) AS e)";

const ONLY_BY_TOOLS: &str = r"
SELECT {place}, t.{key} FROM {table} AS t
WHERE cardinality(t.{beside}) > 0
      AND EXISTS (SELECT FROM jsonb_object_keys(
                      CASE WHEN jsonb_typeof({value}) = 'object' THEN {value} END) AS k
                  WHERE k <> ALL (t.{beside}))";

/// What finds rows with something to note, where that is more than a name.
fn noted(place: usize, table: &SiteTable, site: &Site) -> Option<String> {
    let (template, beside) = match (site.shape, site.empty) {
        (Shape::TextArray, _) => (DUPLICATES, ""),
        (Shape::JsonKeys, Empty::WidensBeside(beside)) if table.row.is_none() => {
            (ONLY_BY_TOOLS, beside)
        }
        _ => return None,
    };
    let fragments = [
        ("{place}", place.to_string()),
        ("{value}", value(site)),
        ("{beside}", ident(beside)),
        ("{key}", ident(table.key)),
        ("{table}", ident(table.table)),
    ];
    Some(statement(template, &fragments).0)
}

// JSON `null` and JSON of another type name nothing.
const NAMING: &str = "(SELECT count(*) FROM {table} AS t WHERE {names})";

/// Counts the rows of every table looked at that name anything.
///
/// # Errors
///
/// What the server said.
pub async fn count_naming(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<usize, Failure> {
    let counts: Vec<String> = schema
        .site_tables()
        .iter()
        .map(|t| naming(schema, t))
        .collect();
    let sql = statement("SELECT {counts}", &[("{counts}", counts.join(" + "))]);
    let row = sqlx::raw_sql(sql)
        .fetch_one(connection)
        .await
        .map_err(failed("count the rows that name servers"))?;
    let count: i64 = row.get(0);
    Ok(usize::try_from(count).unwrap_or_default())
}

fn naming(schema: &Schema, table: &'static SiteTable) -> String {
    let names = |site: &&Site| {
        let value = value(site);
        match site.shape {
            Shape::TextArray => format!("cardinality({value}) > 0"),
            Shape::Rows { .. } => format!("{value} IS NOT NULL"),
            Shape::JsonKeys => format!("(jsonb_typeof({value}) = 'object' AND {value} <> '{{}}')"),
            Shape::JsonArray | Shape::JsonTools => {
                format!("(jsonb_typeof({value}) = 'array' AND {value} <> '[]')")
            }
        }
    };
    let sites = schema.sites(table);
    let names: Vec<String> = sites.iter().map(names).collect();
    let fragments = [
        ("{table}", ident(table.table)),
        ("{names}", names.join(" OR ")),
    ];
    statement(NAMING, &fragments).0
}
