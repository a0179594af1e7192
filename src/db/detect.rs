//! Finds the rows worth a look. PostgreSQL does the search, so that no other row is sent.

use std::collections::HashSet;

use futures_util::TryStreamExt as _;
use sqlx::PgConnection;

use crate::db::decode::{self, TableColumn};
use crate::db::encoding::storable;
use crate::db::errors::failed;
use crate::db::fragments::{TOOL_IDS, is_among, value};
use crate::db::schema::Schema;
use crate::db::sql::{RARE, ident, part, relation};
use crate::error::Failure;
use crate::litellm::reference_sites::{
    CredentialTable, Empty, Names, ScannedTable, Shape, Site, SiteTable,
};
use crate::litellm::release::Release;
use crate::litellm::server_catalog::ServerCatalog;

// Reads each table once. The functions stand in the select list, where parallel workers evaluate
// them without storing their rows first. They advance together: a row of `s` has the next reference
// of each site, or NULL where a site has no more. `= ANY` hashes its array from PostgreSQL 14 on
// (see `is_among` for older servers); `<> ALL` does so only from 15 on.
const DETECT: &str = r"
SELECT {place}, s.key
FROM (SELECT t.{key} AS key, {references} FROM {table} AS t {rows}) AS s
WHERE CASE WHEN {remarkable} THEN 1 ELSE 0 END {=} 1 AND {rare}";

const REMARKABLE: &str = "
s.{name} IS NOT NULL AND ({is_known}) IS NOT TRUE";

// A value that cannot be read becomes one empty reference, which is always remarkable. An array
// with NULL elements or with several dimensions cannot be read. An empty array becomes NULL, for
// which `unnest` is not even called. Only an empty one has at most 16 bytes, and to ask for its
// size copies nothing. The dimensions are asked for once a row: asked for each element, they would
// unpack a large array each time.
const TEXT_ARRAY: &str = "
pg_catalog.unnest(
    CASE WHEN pg_catalog.pg_column_size({value}) {>} 16
         THEN CASE {known} WHEN pg_catalog.array_ndims({value}) {>} 1 THEN ARRAY['']
                   WHEN pg_catalog.array_position({value}, NULL::pg_catalog.text) IS NULL
                   THEN {value} ELSE ARRAY[''] END END)";

// Most arrays hold a few ids of known servers and nothing else. To look these up in place takes a
// fifth less of the whole search's time than to make a row of each. An element that is NULL, or
// that has no such subscript because the array has several dimensions or begins elsewhere, is not
// known.
const ALL_KNOWN: &str = "
WHEN pg_catalog.cardinality({value}) {<} {subscripts} AND {elements} THEN NULL";

const KNOWN_ELEMENT: &str = "{value}[{at}] {=} ANY ($4::pg_catalog.text[])";

/// The most elements that are looked up in place.
const SUBSCRIPTS: usize = 8;

/// The most ids that elements are looked up among in place, on a server that hashes them. Each
/// place takes its own copy of them, which is sent to every worker.
const IDS: usize = 1_000;

// The path finds anything that is no string, faster than `type()` does. It is strict because lax
// mode would unwrap a nested list before it looks at it. If it cannot be followed at all, the
// answer is NULL.
const JSON_KEYS: &str = r#"
pg_catalog.jsonb_object_keys(
    CASE WHEN ({value} {@?} 'strict $.*[*] ? ((@ starts with "") is unknown)') IS FALSE THEN {value}
         WHEN pg_catalog.jsonb_typeof({value}) {<>} 'null' THEN '{"": null}' END)"#;

const JSON_ARRAY: &str = r#"
pg_catalog.jsonb_array_elements_text(
    CASE WHEN ({value} {@?} 'strict $[*] ? ((@ starts with "") is unknown)') IS FALSE THEN {value}
         WHEN pg_catalog.jsonb_typeof({value}) {<>} 'null' THEN '[""]' END)"#;

// Every element must be an object with a string: there are as many strings as elements. What else
// the objects hold is judged once they are read.
const JSON_TOOLS: &str = r#"
pg_catalog.jsonb_array_elements_text(
    CASE WHEN pg_catalog.jsonb_typeof({value}) {=} 'null' THEN NULL
         WHEN pg_catalog.jsonb_typeof({value}) {<>} 'array' THEN '[""]'
         WHEN pg_catalog.jsonb_array_length({value}) {<>} pg_catalog.jsonb_array_length({ids})
         THEN '[""]'
         ELSE {ids} END)"#;

/// What [`detect`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// Rows with references that may need a repair.
    References,
    /// These, and rows with something else that is worth a note.
    ReferencesAndNotes,
}

// The bytes of UTF-8 are in the order of Rust's strings, whatever the encoding of the database is.
//
// The search is a materialized part, apart from the order. With `ORDER BY` in the same query,
// PostgreSQL plans the searches of all tables as one, and sends every worker the known references
// of all tables. With 20,000 servers the search then takes a quarter longer.
const IN_ORDER: &str = r"
WITH found (place, key) AS MATERIALIZED ({selects})
SELECT f.place, f.key FROM found AS f ORDER BY f.place, pg_catalog.convert_to(f.key, 'UTF8')";

/// Finds the rows that hold anything but unremarkable references, in every table that is looked at.
///
/// Calls `found` once for each row, with its primary key, and once for each server with such
/// credentials, with its id: ordered by table, then by key in byte order.
///
/// # Errors
///
/// What the server said, or what `found` says.
pub(crate) async fn detect(
    connection: &mut PgConnection,
    schema: &Schema,
    catalog: &ServerCatalog,
    search: Search,
    mut found: impl FnMut(ScannedTable, &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    const DOING: &str = "look for stale references";
    let notes = search == Search::ReferencesAndNotes;
    let resolves_names = schema.release() >= Release::RESOLVES_NAMES;
    let is_noted = |reference: &str| {
        catalog.is_a_name(reference) && (!resolves_names || catalog.is_shared(reference))
    };
    let unremarkable = |names| {
        let mut known = catalog.unremarkable(names);
        known.retain(|reference| !(reference.is_empty() || notes && is_noted(reference)));
        known
    };
    let mut known = Vec::new();
    for names in [Names::Servers, Names::ServerIds, Names::Toolsets] {
        // A text that no row can hold need not be known as unremarkable.
        let texts = unremarkable(names);
        known.push(storable(connection, &texts).await?.into_owned());
    }
    let ids = if schema.hashes_arrays() {
        ids_of_both(&known)
    } else {
        Vec::new()
    };
    let in_place = !ids.is_empty();
    let tables = schema.site_tables();
    let mut selects = Vec::new();
    for (place, table) in tables.iter().enumerate() {
        match table {
            ScannedTable::References(table) => {
                selects.push(select(schema, place, table, in_place));
                if notes {
                    let sites = schema.sites(table);
                    selects.extend(sites.iter().filter_map(|site| noted(place, table, site)));
                }
            }
            ScannedTable::Credentials(table) => {
                selects.push(select_servers(schema, place, table));
            }
        }
    }
    if selects.is_empty() {
        return Ok(());
    }
    // One statement, as each takes two round trips.
    let selects = selects.join("\nUNION ALL\n");
    let sql = schema.statement(IN_ORDER, &[("{selects}", selects)]);
    let mut query = sqlx::query(sql).persistent(false);
    for texts in known {
        query = query.bind(texts);
    }
    query = query.bind(ids);
    let mut rows = query.fetch(connection);
    // A row comes once for each remarkable reference and each note; equal ones follow each other.
    let mut last = None;
    while let Some(row) = rows.try_next().await.map_err(failed(DOING))? {
        let place: i32 = decode::read(&row, 0, "the table of a row")?;
        let Some(table) = usize::try_from(place).ok().and_then(|at| tables.get(at)) else {
            continue;
        };
        let column = TableColumn(table.name(), table.key());
        let this = Some((place, decode::read::<String>(&row, 1, column)?));
        if this != last {
            last = this;
            if let Some((_, key)) = &last {
                found(*table, key)?;
            }
        }
    }
    Ok(())
}

/// Returns the ids that are unremarkable wherever servers are named, for the parameter `$4`; none
/// if they are too many to be looked up in place. `known` are the parameters `$1` to `$3`.
fn ids_of_both(known: &[Vec<String>]) -> Vec<String> {
    let [servers, ids, ..] = known else {
        return Vec::new();
    };
    let servers: HashSet<&String> = servers.iter().collect();
    let both = ids.iter().filter(|id| servers.contains(id));
    let both: Vec<String> = both.take(IDS + 1).cloned().collect();
    if both.len() > IDS { Vec::new() } else { both }
}

/// Returns the SQL that finds the rows of a table; `in_place` tells whether `$4` holds any ids.
fn select(schema: &Schema, place: usize, table: &'static SiteTable, in_place: bool) -> String {
    let sites = schema.sites(table);
    let (mut references, mut known) = (Vec::new(), Vec::new());
    for site in sites {
        references.push(match site.names {
            Names::Servers | Names::ServerIds | Names::ConfigServerIds if in_place => {
                functions_among(site, &all_known(site))
            }
            Names::Servers | Names::ServerIds | Names::ConfigServerIds | Names::Toolsets => {
                functions(site)
            }
        });
        known.push(site.names);
    }
    let rows = table.row.map_or_else(String::new, |row| {
        format!("WHERE t.{} {{=}} '{row}'", ident(table.key))
    });
    let names = (table.table, table.key);
    candidates(schema, place, names, &references, &known, rows)
}

/// Returns the SQL that finds the servers whose credentials may be stale.
fn select_servers(schema: &Schema, place: usize, table: &CredentialTable) -> String {
    let server = format!("t.{}", ident(table.server));
    let rows = format!("GROUP BY {server}");
    let names = (table.table, table.server);
    candidates(schema, place, names, &[server], &[table.names], rows)
}

/// Fills [`DETECT`] for a table and its key: `references` is the SQL of each site, `names` tells
/// what its references are, and `rows` limits or groups the rows.
fn candidates(
    schema: &Schema,
    place: usize,
    (table, key): (&str, &str),
    references: &[String],
    names: &[Names],
    rows: String,
) -> String {
    let references = references.iter().enumerate();
    let references = references.map(|(at, sql)| format!("{sql} AS r{at}"));
    let remarkable = names.iter().enumerate().map(|(at, names)| {
        let names = match names {
            Names::Servers => "1",
            Names::ServerIds | Names::ConfigServerIds => "2",
            Names::Toolsets => "3",
        };
        let (reference, names) = (format!("r{at}"), format!("${names}::pg_catalog.text[]"));
        let is_known = is_among(schema, &format!("s.{reference}"), &names);
        REMARKABLE
            .replace("{name}", &reference)
            .replace("{is_known}", &is_known)
    });
    let fragments = [
        ("{place}", place.to_string()),
        ("{references}", references.collect::<Vec<_>>().join(", ")),
        ("{rows}", rows),
        ("{remarkable}", remarkable.collect::<Vec<_>>().join(" OR ")),
        // It names a column of a function too; else it would be checked before the functions are
        // called.
        (
            "{rare}",
            RARE.replace("{never}", "s.r0 IS NULL AND s.key IS NULL"),
        ),
        ("{key}", ident(key)),
        ("{table}", relation(table)),
    ];
    part(DETECT, &fragments)
}

/// Returns the SQL that yields the references of a site, one a row.
pub(crate) fn functions(site: &Site) -> String {
    functions_among(site, "")
}

/// Returns the same, but for arrays that `known`, the SQL of a case, takes out.
fn functions_among(site: &Site, known: &str) -> String {
    let functions = match site.shape {
        Shape::TextArray => TEXT_ARRAY,
        Shape::JsonKeys => JSON_KEYS,
        Shape::JsonArray => JSON_ARRAY,
        Shape::JsonTools => JSON_TOOLS,
    };
    functions
        .replace("{ids}", TOOL_IDS)
        .replace("{known}", known)
        .replace("{value}", &value(site))
}

/// Returns the SQL of the case that an array has few elements, and that each is in `$4`.
fn all_known(site: &Site) -> String {
    let element = |at: usize| KNOWN_ELEMENT.replace("{at}", &at.to_string());
    let mut elements = element(SUBSCRIPTS);
    for at in (1..SUBSCRIPTS).rev() {
        elements = format!(
            "{} AND (pg_catalog.cardinality({{value}}) {{=}} {at} OR {elements})",
            element(at)
        );
    }
    ALL_KNOWN
        .replace("{subscripts}", &(SUBSCRIPTS + 1).to_string())
        .replace("{elements}", &elements)
        .replace("{value}", &value(site))
}

const DUPLICATES: &str = r"
SELECT {place}, t.{key} FROM {table} AS t
WHERE pg_catalog.cardinality({value})
      {<>} (SELECT pg_catalog.count(DISTINCT e.element)
            FROM pg_catalog.unnest({value}) AS e (element))";

// EXCEPT hashes, where `<> ALL` compares every key with every entry.
const ONLY_BY_TOOLS: &str = r"
SELECT {place}, t.{key} FROM {table} AS t
WHERE pg_catalog.cardinality(t.{beside}) {>} 0
      AND EXISTS (SELECT k.key FROM pg_catalog.jsonb_object_keys(
                      CASE WHEN pg_catalog.jsonb_typeof({value}) {=} 'object' THEN {value} END
                  ) AS k (key)
                  EXCEPT SELECT b.key FROM pg_catalog.unnest(t.{beside}) AS b (key))";

/// Returns the SQL that finds rows with a note that does not come from a name: a duplicate, or a
/// server that only tool permissions name.
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
        ("{table}", relation(table.table)),
    ];
    Some(part(template, &fragments))
}

// JSON `null`, and JSON of a type other than the site's, name nothing.
const NAMING: &str = "(SELECT pg_catalog.count(*) FROM {table} AS t WHERE {names})";

const NAMING_JSON: &str =
    "(pg_catalog.jsonb_typeof({value}) {=} '{type}' AND {value} {<>} '{empty}')";

/// Counts the rows that name anything, for every table that is looked at.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn looked_at(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<(ScannedTable, usize)>, Failure> {
    let tables = schema.site_tables();
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let counts: Vec<String> = tables.iter().map(|t| naming(schema, *t)).collect();
    let sql = schema.statement("SELECT {counts}", &[("{counts}", counts.join(", "))]);
    let row = sqlx::raw_sql(sql)
        .fetch_one(connection)
        .await
        .map_err(failed("count the rows that name servers"))?;
    let number = |at: usize| -> Result<usize, Failure> {
        let count: i64 = decode::read(&row, at, "the number of rows that name servers")?;
        Ok(usize::try_from(count).unwrap_or_default())
    };
    let tables = tables.iter().copied().enumerate();
    tables.map(|(at, table)| Ok((table, number(at)?))).collect()
}

fn naming(schema: &Schema, table: ScannedTable) -> String {
    let names = |site: &&Site| {
        let value = value(site);
        match site.shape {
            Shape::TextArray => format!("pg_catalog.cardinality({value}) {{>}} 0"),
            Shape::JsonKeys => NAMING_JSON
                .replace("{value}", &value)
                .replace("{type}", "object")
                .replace("{empty}", "{}"),
            Shape::JsonArray | Shape::JsonTools => NAMING_JSON
                .replace("{value}", &value)
                .replace("{type}", "array")
                .replace("{empty}", "[]"),
        }
    };
    let names: Vec<String> = match table {
        ScannedTable::References(table) => schema.sites(table).iter().map(names).collect(),
        ScannedTable::Credentials(table) => {
            vec![format!("t.{} IS NOT NULL", ident(table.server))]
        }
    };
    let fragments = [
        ("{table}", relation(table.name())),
        ("{names}", names.join(" OR ")),
    ];
    part(NAMING, &fragments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::column_types::{self, Presence};
    use crate::litellm::test_support::{MADE_UP, MADE_UP_SERVERS};

    #[test]
    fn every_site_of_a_table_is_searched_counted_and_checked() {
        let schema = Schema::of_table(&MADE_UP);
        let sites = schema.sites(&MADE_UP);
        assert_eq!(sites.len(), MADE_UP.sites.len());
        let search = select(&schema, 0, &MADE_UP, true);
        let count = naming(&schema, ScannedTable::References(&MADE_UP));
        for site in &sites {
            let value = value(site);
            assert!(search.contains(&value), "{value} in {search}");
            assert!(count.contains(&value), "{value} in {count}");
        }
        let made_up = (
            MADE_UP.table,
            MADE_UP_SERVERS.column,
            "jsonb",
            Presence::Sometimes,
        );
        let expected = column_types::expected(&[ScannedTable::References(&MADE_UP)]);
        assert!(expected.contains(&made_up));
    }
}
