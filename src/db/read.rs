//! What is read of LiteLLM's tables: the servers, the rows worth a look, and who links to them.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::schema::{
    CONFIG, OAUTH_CLIENTS, SERVER_COLUMNS, SERVER_ID, SERVER_SCOPE, SERVER_TABLE, Schema,
};
use super::sql::{failed, ident, is_lock_not_available, statement};
use crate::failure::Failure;
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, KEY_PARENTS, LINK, Owner, OwnerKind, OwnerTable, Parents,
};
use crate::litellm::row::{Cell, Row, Value};
use crate::litellm::server::Server;
use crate::litellm::sites::{Shape, Site, SiteTable};

const SERVERS: &str = "SELECT {id}, {name}, {alias}, {approval}, {tags}, {open} FROM {table} AS t";

/// Reads every row of the server table, whatever its state.
///
/// # Errors
///
/// What the server said.
pub async fn servers(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<Server>, Failure> {
    let [name, alias, approval] =
        SERVER_COLUMNS.map(|column| column_or(schema, SERVER_TABLE, column, "NULL::text"));
    let [tags, open] = SERVER_SCOPE;
    let sql = statement(
        SERVERS,
        &[
            ("{id}", ident(SERVER_ID)),
            ("{name}", name),
            ("{alias}", alias),
            ("{approval}", approval),
            ("{tags}", texts_or_none(schema, SERVER_TABLE, tags)),
            ("{open}", column_or(schema, SERVER_TABLE, open, "false")),
            ("{table}", ident(SERVER_TABLE)),
        ],
    );
    let rows = sqlx::raw_sql(sql)
        .fetch_all(connection)
        .await
        .map_err(failed("read the MCP servers"))?;
    Ok(rows
        .iter()
        .map(|row| Server {
            server_id: row.get(0),
            server_name: row.get(1),
            alias: row.get(2),
            approval_status: row.get(3),
            tags: row.get(4),
            allow_all_keys: row.get::<Option<bool>, _>(5).unwrap_or_default(),
        })
        .collect())
}

/// A column, or `otherwise` where this database has none such.
pub(super) fn column_or(schema: &Schema, table: &str, column: &str, otherwise: &str) -> String {
    if schema.has(table, column) {
        ident(column)
    } else {
        otherwise.to_owned()
    }
}

/// The SQL that yields a `text[]` column of the table aliased `t` without NULL elements; an empty
/// array where this database has none such.
pub(super) fn texts_or_none(schema: &Schema, table: &str, column: &str) -> String {
    let column = column_or(schema, table, column, "'{}'::text[]");
    format!("ARRAY(SELECT e.text FROM unnest({column}) AS e (text) WHERE e.text IS NOT NULL)")
}

const CLIENTS: &str = r"
SELECT o.{id} FROM {clients} AS o
WHERE NOT EXISTS (SELECT FROM {servers} AS s WHERE s.{id} = o.{id})";

/// Reads the ids of servers without a row that proxies have OAuth clients for; none where this role
/// may not.
///
/// # Errors
///
/// What the server said.
pub async fn clients(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<BTreeSet<String>, Failure> {
    if !schema.may_read(OAUTH_CLIENTS, SERVER_ID) {
        return Ok(BTreeSet::new());
    }
    let sql = statement(
        CLIENTS,
        &[
            ("{id}", ident(SERVER_ID)),
            ("{clients}", ident(OAUTH_CLIENTS)),
            ("{servers}", ident(SERVER_TABLE)),
        ],
    );
    let rows = sqlx::raw_sql(sql)
        .fetch_all(connection)
        .await
        .map_err(failed("read which servers have an OAuth client"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

const SAVED_SERVERS: &str =
    "SELECT EXISTS (SELECT FROM {config} AS c WHERE c.{name} = 'mcp_servers')";

/// Tells whether a proxy has saved a config with MCP servers; their values hold secrets and are not
/// read. False where this role may not ask.
///
/// # Errors
///
/// What the server said.
pub async fn has_saved_servers(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<bool, Failure> {
    let (config, name) = CONFIG;
    if !schema.may_read(config, name) {
        return Ok(false);
    }
    let fragments = [("{config}", ident(config)), ("{name}", ident(name))];
    let row = sqlx::raw_sql(statement(SAVED_SERVERS, &fragments))
        .fetch_one(connection)
        .await
        .map_err(failed("look for a saved config"))?;
    Ok(row.get(0))
}

// The functions stand in the select list, where PostgreSQL evaluates them in parallel workers without
// storing their rows first, and the array is hashed: `= ANY` from PostgreSQL 14 on, where `<> ALL`
// takes 15. `IS NOT TRUE` finds NULL elements as well. On a million rows with 500 servers (2 cores,
// PostgreSQL 15), for both columns: 0.5 s, where the functions in FROM (LATERAL) took 1.4 s, as their
// estimates keep the plan out of workers, a hash anti-join 0.9 s, one pass over both columns 1.0 s
// and a correlated EXISTS 1.3 s.
//
// An array of more than one dimension becomes one NULL element, and so is found as such; asked for
// each element, its dimensions would unpack a large array once an element.
const DETECT_TEXT_ARRAY: &str = r"
SELECT s.key
FROM (SELECT t.{key} AS key,
             unnest(CASE WHEN array_ndims(t.{column}) > 1 THEN ARRAY[NULL]
                         ELSE t.{column} END) AS reference
      FROM {table} AS t) AS s
WHERE (s.reference = ANY ($1::text[])) IS NOT TRUE";

// What is no object of lists of strings becomes one empty key, and an empty key is always looked at.
// The path is strict because lax mode would unwrap a nested list before looking at it; where it
// cannot be followed at all the answer is NULL.
const DETECT_JSON_KEYS: &str = r#"
SELECT s.key
FROM (SELECT t.{key} AS key,
             jsonb_object_keys(
                 CASE WHEN jsonb_path_exists(t.{column}, 'strict $.*[*] ? (@.type() <> "string")',
                                             '{}', true) IS FALSE THEN t.{column}
                      WHEN jsonb_typeof(t.{column}) <> 'null' THEN '{"": null}' END) AS reference
      FROM {table} AS t
      WHERE t.{column} IS NOT NULL) AS s
WHERE (s.reference = ANY ($1::text[])) IS NOT TRUE OR s.reference = ''"#;

/// Finds the rows of `table` that hold anything besides `unremarkable` references.
///
/// Returns their primary keys, in byte order.
///
/// # Errors
///
/// What the server said.
pub async fn detect(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    unremarkable: &[String],
) -> Result<BTreeSet<String>, Failure> {
    let select = |site: &&Site| {
        let template = match site.shape {
            Shape::TextArray => DETECT_TEXT_ARRAY,
            Shape::JsonKeys => DETECT_JSON_KEYS,
        };
        let fragments = [
            ("{key}", ident(table.key)),
            ("{table}", ident(table.table)),
            ("{column}", ident(site.column)),
        ];
        statement(template, &fragments).0
    };
    // One statement, as each takes two round trips.
    let selects: Vec<String> = schema.sites(table).iter().map(select).collect();
    let sql = statement("{selects}", &[("{selects}", selects.join("\nUNION ALL\n"))]);
    let found: Vec<String> = sqlx::query_scalar(sql)
        .persistent(false)
        .bind(unremarkable)
        .fetch_all(connection)
        .await
        .map_err(failed("look for stale references"))?;
    Ok(found.into_iter().collect())
}

// JSON `null` and JSON that is no object name nothing.
const COUNT_NAMING: &str = "SELECT count(*) FROM {table} AS t WHERE {names}";

/// Counts the rows of `table` that name any server.
///
/// # Errors
///
/// What the server said.
pub async fn count_naming(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
) -> Result<usize, Failure> {
    let names: Vec<String> = schema
        .sites(table)
        .iter()
        .map(|site| match site.shape {
            Shape::TextArray => format!("cardinality(t.{}) > 0", ident(site.column)),
            Shape::JsonKeys => format!(
                "(jsonb_typeof(t.{0}) = 'object' AND t.{0} <> '{{}}')",
                ident(site.column)
            ),
        })
        .collect();
    let fragments = [
        ("{table}", ident(table.table)),
        ("{names}", names.join(" OR ")),
    ];
    let row = sqlx::raw_sql(statement(COUNT_NAMING, &fragments))
        .fetch_one(connection)
        .await
        .map_err(failed("count the rows that name servers"))?;
    let count: i64 = row.get(0);
    Ok(usize::try_from(count).unwrap_or_default())
}

const ROWS: &str = r#"
SELECT t.{key}, {cells} FROM {table} AS t WHERE t.{key} = ANY ($1) ORDER BY t.{key} COLLATE "C""#;

// FOR UPDATE, not FOR NO KEY UPDATE: it also keeps out whoever is linking a new owner to the row,
// as a foreign key takes FOR KEY SHARE on it. So the owners read after it are those at commit.
//
// NOWAIT, because who never waits while holding locks is in no deadlock: PostgreSQL breaks one by
// cancelling whichever session notices it first, and that could be the proxy's.
const LOCK: &str = r#"
SELECT t.{key} FROM {table} AS t WHERE t.{key} = ANY ($1) ORDER BY t.{key} COLLATE "C"
FOR UPDATE OF t NOWAIT"#;

/// Reads the rows with the given primary keys, ordered by key, without who links to them.
///
/// A key whose row is gone yields nothing.
///
/// # Errors
///
/// What the server said.
pub async fn cells(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    keys: &[String],
) -> Result<Vec<Row>, Failure> {
    let sites = schema.sites(table);
    let cells: Vec<String> = sites.iter().map(|site| json_text(site, "t")).collect();
    let sql = statement(
        ROWS,
        &[
            ("{key}", ident(table.key)),
            ("{table}", ident(table.table)),
            ("{cells}", cells.join(", ")),
        ],
    );
    let found = sqlx::query(sql)
        .persistent(false)
        .bind(keys)
        .fetch_all(connection)
        .await
        .map_err(failed("read the permission rows"))?;
    let row = |row: &PgRow| Row {
        key: row.get(0),
        cells: sites
            .iter()
            .enumerate()
            .map(|(at, site)| Cell {
                site,
                stored: Value::parse(site.shape, row.get(at + 1)),
            })
            .collect(),
        owners: Vec::new(),
    };
    Ok(found.iter().map(row).collect())
}

/// Reads the same, and takes who links to them out of `owners`.
///
/// # Errors
///
/// What the server said.
pub async fn rows(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    keys: &[String],
    owners: &mut Owners,
) -> Result<Vec<Row>, Failure> {
    let mut rows = cells(connection, schema, table, keys).await?;
    for row in &mut rows {
        row.owners = owners.remove(&row.key).unwrap_or_default();
    }
    Ok(rows)
}

/// Locks the rows with the given primary keys until the transaction ends: nobody else changes,
/// deletes or newly links to them.
///
/// Returns the keys of the rows locked, as a row may be gone by now; `None` where somebody else has
/// locked one of them, and none is locked then.
///
/// # Errors
///
/// What the server said.
pub async fn lock(
    connection: &mut PgConnection,
    table: &'static SiteTable,
    keys: &[String],
) -> Result<Option<Vec<String>>, Failure> {
    const DOING: &str = "lock the permission rows";
    let sql = statement(
        LOCK,
        &[("{key}", ident(table.key)), ("{table}", ident(table.table))],
    );
    // A savepoint, so that only this statement is undone where it fails.
    let mut savepoint = connection.begin().await.map_err(failed(DOING))?;
    let locked = sqlx::query_scalar(sql)
        .persistent(false)
        .bind(keys)
        .fetch_all(&mut *savepoint)
        .await;
    match locked {
        Ok(locked) => {
            savepoint.commit().await.map_err(failed(DOING))?;
            Ok(Some(locked))
        }
        Err(error) if is_lock_not_available(&error) => {
            savepoint.rollback().await.map_err(failed(DOING))?;
            Ok(None)
        }
        Err(error) => Err(failed(DOING)(error)),
    }
}

/// The SQL that yields a column of the table aliased `alias` as JSON text.
fn json_text(site: &Site, alias: &str) -> String {
    match site.shape {
        Shape::TextArray => format!("to_jsonb({alias}.{})::text", ident(site.column)),
        Shape::JsonKeys => format!("{alias}.{}::text", ident(site.column)),
    }
}

// The keys are joined, and distinct, so that PostgreSQL hashes them: they stand in the plan once, where
// `= ANY` in each branch puts them there once a table and ships every copy to every worker as text.
//
// The prefix of a token is made of those that are found, not of all. It is hashed once more where a
// token is stored as it is, so that not even a prefix is shown.
const OWNERS: &str = r#"
SELECT o.kind, o.link,
       CASE WHEN NOT o.secret THEN o.id
            WHEN o.id ~ '^[0-9a-f]{64}$' THEN left(o.id, 8)
            ELSE left(encode(sha256(convert_to(o.id, 'UTF8')), 'hex'), 8) END,
       o.name, o.team, o.organization, o."user", o.agent, o.has_access_groups
FROM ({selects}) AS o
JOIN (SELECT DISTINCT unnest($1::text[]) AS key) AS k ON k.key = o.link"#;

const OWNERS_OF_TABLE: &str = r#"
SELECT {kind} AS kind, o.{link} AS link, o.{id} AS id, {secret} AS secret, {name} AS name,
       {team} AS team, {organization} AS organization, {user} AS "user", {agent} AS agent,
       {has_access_groups} AS has_access_groups
FROM {table} AS o"#;

/// Who links to permission rows, by primary key.
pub type Owners = BTreeMap<String, Vec<Owner>>;

/// Reads who links to the permission rows with the given keys: one statement over all tables, as
/// no table has an index on the link. So ask once for all rows: each call reads every owner.
///
/// # Errors
///
/// What the server said.
pub async fn owners(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[String],
) -> Result<Owners, Failure> {
    let tables: Vec<&OwnerTable> = schema.owner_tables().collect();
    let selects: Vec<String> = tables
        .iter()
        .map(|owner| statement(OWNERS_OF_TABLE, &owner_fragments(schema, owner)).0)
        .collect();
    let sql = statement(OWNERS, &[("{selects}", selects.join("\nUNION ALL\n"))]);
    let rows = sqlx::query(sql)
        .persistent(false)
        .bind(keys)
        .fetch_all(connection)
        .await
        .map_err(failed("read who links to the permission rows"))?;
    let mut owners = Owners::new();
    for row in rows {
        let kind: &str = row.get(0);
        let Some(table) = tables.iter().find(|table| table.kind.name() == kind) else {
            continue;
        };
        owners.entry(row.get(1)).or_default().push(Owner {
            kind: table.kind,
            id: row.get(2),
            name: row.get(3),
            parents: Parents {
                team: row.get(4),
                organization: row.get(5),
                user: row.get(6),
                agent: row.get(7),
            },
            has_access_groups: row.get(8),
        });
    }
    for owners in owners.values_mut() {
        owners.sort_unstable();
    }
    Ok(owners)
}

fn owner_fragments(schema: &Schema, owner: &OwnerTable) -> [(&'static str, String); 11] {
    let is_key = owner.kind == OwnerKind::Key;
    let [team, organization, user, agent] = KEY_PARENTS.map(|column| {
        if is_key {
            column_or(schema, owner.table, column, "NULL::text")
        } else {
            "NULL::text".to_owned()
        }
    });
    let has_access_groups = if is_key && schema.has(owner.table, ACCESS_GROUP_IDS) {
        format!("coalesce(cardinality({}), 0) > 0", ident(ACCESS_GROUP_IDS))
    } else {
        "false".to_owned()
    };
    [
        ("{kind}", format!("'{}'", owner.kind.name())),
        ("{link}", ident(LINK)),
        ("{id}", ident(owner.id)),
        ("{secret}", owner.id_is_secret.to_string()),
        (
            "{name}",
            column_or(schema, owner.table, owner.name, "NULL::text"),
        ),
        ("{team}", team),
        ("{organization}", organization),
        ("{user}", user),
        ("{agent}", agent),
        ("{has_access_groups}", has_access_groups),
        ("{table}", ident(owner.table)),
    ]
}
