//! Makes the code of a script that repairs without this program, and reads the digests that it
//! compares. This program never runs such a script.
//!
//! The code is PL/pgSQL for one `DO`, because one statement is atomic wherever it runs: in `psql`,
//! within another transaction, or in a migration tool. It does what a repair does, in the same
//! order: settings, the advisory lock, table locks, rows with `FOR UPDATE NOWAIT`, a comparison
//! before and after each write, owners, and last of all servers.
//!
//! PostgreSQL begins to count `statement_timeout` when a statement begins, so a `DO` cannot set its
//! own. The code looks at the clock before each row instead.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::db::advisory_lock::LOCK_KEY;
use crate::db::errors::failed;
use crate::db::fragments::{column_or, is_among, texts_or_none, value};
use crate::db::owners::links;
use crate::db::schema::{SERVER_COLUMNS, SERVER_ID, SERVER_SCOPE, Schema};
use crate::db::sql::{ident, part, relation};
use crate::db::update::{fragments, new_value};
use crate::db::verification::{Verification, digest};
use crate::error::Failure;
use crate::litellm::reference_sites::{
    ACCESS_GROUPS, Group, PERMISSIONS, ScannedTable, Site, SiteTable, TAGS,
};
use crate::litellm::server::SERVER_TABLE;
use crate::repair::script_code::{ScriptCode, ServerCheck, TableCode};

/// How many hexadecimal digits of a digest a script compares: 64 bits tell one value from another.
const DIGITS: &str = "pg_catalog.left({digest}, 16)";

// The settings are for this transaction alone. They are put back at the end, because the script may
// be a part of a longer transaction.
const VARIABLES: &str = "
  settings CONSTANT pg_catalog.text[] DEFAULT ARRAY[
    'search_path', 'row_security', 'DateStyle', 'IntervalStyle', 'TimeZone', 'bytea_output',
    'extra_float_digits', 'lock_timeout'];
  settings_meant CONSTANT pg_catalog.text[] DEFAULT ARRAY[
    '', 'off', 'ISO, MDY', 'postgres', 'UTC', 'hex', '1', lock_timeout];
  settings_before pg_catalog.text[];
  deadline CONSTANT pg_catalog.timestamptz
    DEFAULT pg_catalog.clock_timestamp() {+} time_limit::pg_catalog.interval;
  at_table pg_catalog.text DEFAULT '';
  at_row pg_catalog.text;
  rows_written pg_catalog.int8 DEFAULT 0;
  kept pg_catalog.text;
  change pg_catalog.record;
  was pg_catalog.record;
  stored pg_catalog.record;";

const BEGIN: &str = "
  IF pg_catalog.current_setting('transaction_isolation') {<>} 'read committed' THEN
    RAISE EXCEPTION
      'mcp-prune: this transaction is % and not READ COMMITTED, so the script could not see '
      'what others commit meanwhile; nothing was written. SET default_transaction_isolation '
      'to read committed, and run it again',
      pg_catalog.current_setting('transaction_isolation');
  END IF;

  -- Settings of this transaction. They are put back at the end.
  settings_before := ARRAY(
    SELECT pg_catalog.current_setting(s.name)
    FROM pg_catalog.unnest(settings) WITH ORDINALITY AS s (name, place) ORDER BY s.place);
  PERFORM pg_catalog.set_config(s.name, s.value, true)
  FROM ROWS FROM (pg_catalog.unnest(settings), pg_catalog.unnest(settings_meant))
       AS s (name, value);

  -- One repair at a time: mcp-prune takes the same lock.
  IF NOT pg_catalog.pg_try_advisory_xact_lock({lock_key}) THEN
    RAISE EXCEPTION
      'mcp-prune: another repair of this database is running; nothing was written. Run the '
      'script again when it has ended';
  END IF;

  -- Table locks come before row locks. None of them keeps readers or writers out.
{read_locks}";

const READ_LOCK: &str = "
  at_table := '{name}';
  PERFORM 1 FROM {table} AS t WHERE false;";

const ROWS_VARIABLE: &str = "
  rows_{group} pg_catalog.text[] DEFAULT '{}';";

const OWNERS_VARIABLE: &str = "
  owners_{group} pg_catalog.text[] DEFAULT '{}';";

const STORED_VARIABLE: &str = "
  stored_{group} pg_catalog.text[] DEFAULT '{}';";

const WRITE_LOCK: &str = "
  at_table := '{name}';
  UPDATE {table} AS t SET {column} = t.{column} WHERE false;";

const ROWS: &str = r"

  -- The rows of {name}, each with its owners and what is done to it:
  -- primary key, old values, new values, and digests of what the repair depends on besides.
  at_table := '{name}';
  FOR change IN
    SELECT c.key, c.old::pg_catalog.jsonb AS old, c.new::pg_catalog.jsonb AS new,
           c.beside, c.owners
    FROM (";

const ROW: &str = r#"
    ) AS c (key, old, new, beside, owners)
  LOOP
    -- Each row is locked, compared with the old values, written, and compared with the new ones.
    at_row := change.key;
    IF pg_catalog.clock_timestamp() {>} deadline THEN
      RAISE EXCEPTION
        'mcp-prune: the script took longer than its time limit of %; nothing was written',
        time_limit;
    END IF;

    SELECT {cells},
           {beside} AS beside,
           {rest} AS rest
    INTO was
    FROM {table} AS t WHERE t.{key} {=} change.key
    FOR UPDATE OF t NOWAIT;
    IF NOT FOUND THEN
      RAISE EXCEPTION
        'mcp-prune: row % of "{name}" is gone; nothing was written. Make the script anew',
        change.key;
    END IF;
{compare}
    IF change.beside {<>} was.beside THEN
      RAISE EXCEPTION
        'mcp-prune: row % of "{name}" was changed beside the columns that the script '
        'writes, and the repair depends on that; nothing was written. Make the script anew',
        change.key;
    END IF;
{write}
    SELECT {cells},
           {rest} AS rest
    INTO stored
    FROM {table} AS t WHERE t.{key} {=} change.key;
    IF NOT coalesce(stored.rest {=} was.rest{written}, false) THEN
      RAISE EXCEPTION
        'mcp-prune: after the write, row % of "{name}" does not hold what it should; '
        'nothing was written. Look for a trigger or rule on the table that changes or drops '
        'updates', change.key;
    END IF;
{keep}
    rows_written := rows_written {+} 1;
  END LOOP;
  at_row := NULL;"#;

const CELL: &str = "coalesce(pg_catalog.to_jsonb({value}), 'null'::pg_catalog.jsonb) AS {cell}";

const COMPARE: &str = r#"
    IF NOT coalesce(was.{cell} {=} (change.old {->} '{site}'), true) THEN
      IF was.{cell} {=} (change.new {->} '{site}') THEN
        RAISE EXCEPTION
          'mcp-prune: {site} of row % of "{name}" is as the script would leave it, so it '
          'was run before; nothing was written', change.key;
      END IF;
      RAISE EXCEPTION
        'mcp-prune: {site} of row % of "{name}" no longer holds what it did when the script '
        'was made; nothing was written. Make the script anew', change.key;
    END IF;"#;

const WRITE: &str = r#"
    IF pg_catalog.jsonb_exists(change.new, '{site}') THEN
      UPDATE {table} AS t
      SET {column} = {new}{touched}
      FROM (SELECT (change.new {->} '{site}')::pg_catalog.text) AS c (value)
      WHERE t.{key} {=} change.key;
      IF NOT FOUND THEN
        RAISE EXCEPTION
          'mcp-prune: row % of "{name}" could not be written; nothing was written. Look for '
          'a trigger or rule on the table that changes or drops updates', change.key;
      END IF;
    END IF;"#;

const WRITTEN: &str = "
                    AND stored.{cell} {=} coalesce(change.new {->} '{site}', was.{cell})";

const KEEP_ROWS: &str = "
    rows_{group} := pg_catalog.array_append(rows_{group}, change.key);";

const KEEP_OWNERS: &str = "
    owners_{group} := pg_catalog.array_append(owners_{group}, change.owners);";

const KEEP_STORED: &str = "
    SELECT {whole} INTO kept FROM {table} AS t WHERE t.{key} {=} change.key;
    stored_{group} := pg_catalog.array_append(stored_{group}, kept);";

// What a deferred trigger does comes after the loops. It is fired in the check of the first table.
const CHECK_STORED: &str = r#"

  -- Triggers and rules act on what is written: deferred ones now, and then the rows are compared
  -- once more.
  SET CONSTRAINTS ALL IMMEDIATE;
  SELECT d.key INTO at_row
  FROM ROWS FROM (pg_catalog.unnest(rows_{group}), pg_catalog.unnest(stored_{group}))
       AS d (key, stored)
  LEFT JOIN {table} AS t ON t.{key} {=} d.key
  WHERE t.{key} IS NULL OR {whole} {<>} d.stored
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION
      'mcp-prune: a trigger or rule changed row % of "{name}" after it was written; nothing '
      'was written', at_row;
  END IF;"#;

const CHECK_OWNERS: &str = r#"

  -- The same owners as when the script was made: what may be emptied depends on them. The rows are
  -- locked, so nobody can link to them any more.
  SELECT d.key INTO at_row
  FROM ROWS FROM (pg_catalog.unnest(rows_{group}), pg_catalog.unnest(owners_{group}))
       AS d (key, digest)
  LEFT JOIN ({owners}) AS o ON o.link {=} d.key
  WHERE coalesce(o.digest, '') {<>} d.digest
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION
      'mcp-prune: the owners of row % of "{name}" are not those that it had when the script '
      'was made; nothing was written. Make the script anew', at_row;
  END IF;"#;

// The links are from several tables, so they get one collation.
const OWNERS: &str = r#"
SELECT o.link COLLATE pg_catalog."C" AS link, {digest} AS digest
FROM ({links}) AS o WHERE {is_asked} GROUP BY 1"#;

const OWNERS_OF_ROW: &str = r#"
pg_catalog.string_agg(
    ROW(o.kind, o.id, o.team, o.organization, o."user", o.agent, o.has_access_groups)
        ::pg_catalog.text, ','
    ORDER BY ROW(o.kind, o.id, o.team, o.organization, o."user", o.agent, o.has_access_groups)
                 ::pg_catalog.text COLLATE pg_catalog."C")"#;

const SERVERS: &str = r#"
  at_table := '{name}';
  IF NOT EXISTS (SELECT FROM {servers} AS s) AND NOT no_servers THEN
    RAISE EXCEPTION
      'mcp-prune: "{name}" has no rows, so this may be the wrong database; nothing was '
      'written';
  END IF;

  -- What was removed or renamed is still gone. A server that came back would miss its grants.
  SELECT r.reference INTO at_row
  FROM pg_catalog.unnest(gone) AS r (reference)
  JOIN ({identifiers}) AS i (id, identifier) ON i.identifier {=} r.reference
  WHERE NOT i.id {=} ANY (left_out)
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION
      'mcp-prune: row % of "{name}" is there again, and the script removes references to '
      'it; nothing was written. Make the script anew', at_row;
  END IF;

  -- What references were renamed to is still served.
  SELECT r.reference INTO at_row
  FROM pg_catalog.unnest(served) AS r (reference)
  WHERE NOT EXISTS (
    SELECT FROM ({served}) AS i (id, identifier)
    WHERE i.identifier {=} r.reference AND NOT i.id {=} ANY (left_out))
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION
      'mcp-prune: no row of "{name}" that is served answers to % any more, and the script '
      'renames references to it; nothing was written. Make the script anew', at_row;
  END IF;

  -- Where what becomes of a list was decided by what its owners may use, no server changed.
  IF servers_then {<>} ({digest}) THEN
    RAISE EXCEPTION
      'mcp-prune: the rows of "{name}" are not as they were when the script was made, and '
      'the choice of --on-empty depends on them; nothing was written. Make the script anew';
  END IF;
"#;

const IDENTIFIERS: &str = "
SELECT s.{id}, s.{id} FROM {servers} AS s WHERE {served}
UNION ALL SELECT s.{id}, {server_name} FROM {servers} AS s WHERE {served}
UNION ALL SELECT s.{id}, {alias} FROM {servers} AS s WHERE {served}";

// As `Server::is_served` has it.
const IS_SERVED: &str = "coalesce({approval}, 'active') {=} ANY (ARRAY['active', 'approved'])";

const SERVER_DIGEST: &str = r"
SELECT {digest} FROM {servers} AS s WHERE NOT s.{id} {=} ANY ({left_out})";

const SERVERS_IN_ORDER: &str = r#"
coalesce(pg_catalog.string_agg(
    ROW(s.{id}, {server_name}, {alias}, {approval}, {tags}, {open})::pg_catalog.text, ','
    ORDER BY s.{id} COLLATE pg_catalog."C"), '')"#;

const END: &str = "{servers}
  PERFORM pg_catalog.set_config(s.name, s.value, true)
  FROM ROWS FROM (pg_catalog.unnest(settings), pg_catalog.unnest(settings_before))
       AS s (name, value);
  RAISE NOTICE 'mcp-prune: % rows were written and checked', rows_written;
EXCEPTION WHEN lock_not_available THEN
  RAISE EXCEPTION
    'mcp-prune: somebody else holds a lock on \"%\"% that is needed; nothing was written. '
    'Run the script again (%)',
    at_table, coalesce(' (row ' {||} at_row {||} ')', ''), SQLERRM;";

const BESIDE: &str = "
SELECT t.{key}, {beside} FROM {table} AS t WHERE t.{key} {=} ANY ($1)";

/// Makes the code of a script for the tables of this database that are looked at.
///
/// `verification` tells what a row has besides its references, and whether triggers act on it.
pub(crate) fn code(schema: &Schema, verification: &Verification, check: ServerCheck) -> ScriptCode {
    let sites = schema.site_tables().iter();
    let tables = sites.filter_map(|table| match table {
        ScannedTable::References(table) => Some(*table),
        ScannedTable::Credentials(_) => None,
    });
    let tables: Vec<TableCode> = tables
        .filter(|table| ScannedTable::References(table).may_change())
        .map(|table| table_code(schema, table, verification, check))
        .collect();
    let (read_locks, servers) = match check {
        ServerCheck::Made => (read_lock(SERVER_TABLE), SERVERS.to_owned()),
        ServerCheck::LeftOut => (String::new(), String::new()),
    };
    let mut ending = vec![("{servers}", servers)];
    ending.extend(server_fragments(schema, "left_out"));
    ScriptCode {
        variables: schema.statement(VARIABLES, &[]).0,
        begin: schema
            .statement(
                BEGIN,
                &[
                    ("{lock_key}", LOCK_KEY.to_string()),
                    ("{read_locks}", read_locks),
                ],
            )
            .0,
        tables,
        end: schema.statement(END, &ending).0,
    }
}

/// Returns the statement that takes the lock of a reader.
fn read_lock(table: &'static str) -> String {
    let fragments = [("{name}", table.to_owned()), ("{table}", relation(table))];
    part(READ_LOCK, &fragments)
}

/// Returns what the statements about servers are filled with; `left_out` is the SQL of the ids that
/// count as deleted.
fn server_fragments(schema: &Schema, left_out: &str) -> Vec<(&'static str, String)> {
    let [server_name, alias, approval] =
        SERVER_COLUMNS.map(|column| match column_or(schema, SERVER_TABLE, column, "") {
            missing if missing.is_empty() => "NULL::pg_catalog.text".to_owned(),
            column => format!("s.{column}"),
        });
    let [tags, open] = SERVER_SCOPE;
    let all = IDENTIFIERS.replace("{served}", "true");
    let served = IDENTIFIERS.replace("{served}", IS_SERVED);
    vec![
        ("{identifiers}", all),
        ("{served}", served),
        ("{digest}", SERVER_DIGEST.to_owned()),
        (
            "{digest}",
            DIGITS.replace("{digest}", &digest(&[SERVERS_IN_ORDER.to_owned()])),
        ),
        ("{left_out}", left_out.to_owned()),
        ("{server_name}", server_name),
        ("{alias}", alias),
        ("{approval}", approval),
        ("{tags}", texts_or_none(schema, SERVER_TABLE, tags)),
        ("{open}", column_or(schema, SERVER_TABLE, open, "false")),
        ("{id}", ident(SERVER_ID)),
        ("{servers}", relation(SERVER_TABLE)),
        ("{name}", SERVER_TABLE.to_owned()),
    ]
}

fn table_code(
    schema: &Schema,
    table: &'static SiteTable,
    verification: &Verification,
    check: ServerCheck,
) -> TableCode {
    let sites = schema.sites(table);
    let group = table.group.name().replace('-', "_");
    let may_change = sites.iter().filter(|site| site.may_change());
    let of_sites = |template: &'static str, sites: &[(usize, &'static Site)]| -> String {
        let each = sites.iter().map(|(number, site)| {
            let cell = [
                ("{cell}", format!("v{number}")),
                ("{site}", site.name.to_owned()),
            ];
            let new = fragments(schema, table, site, new_value(site).trim_start());
            part(template, &[&cell[..], &new[..]].concat())
        });
        each.collect()
    };
    let numbered: Vec<(usize, &Site)> = sites.iter().copied().enumerate().collect();
    let changeable: Vec<(usize, &Site)> = numbered
        .iter()
        .copied()
        .filter(|(_, site)| site.may_change())
        .collect();
    let cells: Vec<String> = numbered
        .iter()
        .map(|(number, site)| {
            let cell = format!("v{number}");
            part(CELL, &[("{value}", value(site)), ("{cell}", cell)])
        })
        .collect();
    let rest = verification.rest(schema, table);
    let whole = [rest.clone(), sites.iter().map(|site| value(site)).collect()].concat();
    let rest = if rest.is_empty() {
        "''".to_owned()
    } else {
        format!("ROW({})::pg_catalog.text", rest.join(", "))
    };
    let beside = match check {
        ServerCheck::Made => beside(schema, table),
        ServerCheck::LeftOut => "''".to_owned(),
    };
    let mut lock = String::new();
    let (mut variables, mut keep, mut checked) = (String::new(), String::new(), String::new());
    let mut add = |variable: &str, kept: &str, check: &str| {
        if variables.is_empty() {
            variables.push_str(ROWS_VARIABLE);
            keep.push_str(KEEP_ROWS);
        }
        variables.push_str(variable);
        keep.push_str(kept);
        checked.push_str(check);
    };
    if verification.may_be_changed() {
        add(STORED_VARIABLE, KEEP_STORED, CHECK_STORED);
    }
    if table.group == Group::Permissions && check == ServerCheck::Made {
        add(OWNERS_VARIABLE, KEEP_OWNERS, CHECK_OWNERS);
        let owners = schema.owner_tables().map(|owner| read_lock(owner.table));
        lock.extend(owners);
    }
    lock.push_str(WRITE_LOCK);
    let column = may_change
        .map(|site| site.column)
        .next()
        .unwrap_or(table.key);
    let filled = [
        ("{compare}", of_sites(COMPARE, &changeable)),
        ("{write}", of_sites(WRITE, &changeable)),
        ("{written}", of_sites(WRITTEN, &numbered)),
        ("{keep}", keep),
        ("{cells}", cells.join(",\n           ")),
        ("{beside}", beside),
        ("{rest}", rest),
        ("{whole}", DIGITS.replace("{digest}", &digest(&whole))),
        ("{owners}", owner_digests(schema, &format!("rows_{group}"))),
        ("{group}", group),
        ("{name}", table.table.to_owned()),
        ("{table}", relation(table.table)),
        ("{key}", ident(table.key)),
        ("{column}", ident(column)),
    ];
    let fill = |template: &'static str| schema.statement(template, &filled).0;
    let assembled = |code: String| {
        let code = [&[("{code}", code)], &filled[..]].concat();
        schema.statement("{code}", &code).0
    };
    TableCode {
        table,
        variables: assembled(variables),
        lock: assembled(lock),
        rows: fill(ROWS),
        row: fill(ROW),
        check: assembled(checked),
        ends_deferral: verification.may_be_changed(),
    }
}

/// Returns the SQL of a digest of everything in a row of the table aliased `t` that grants servers,
/// so that a plan for the row depends on it.
fn beside(schema: &Schema, table: &'static SiteTable) -> String {
    let mut columns: Vec<String> = schema.sites(table).iter().map(|site| value(site)).collect();
    let more: &[&str] = if table.table == PERMISSIONS.table {
        &[TAGS]
    } else if table.table == ACCESS_GROUPS.table {
        &["assigned_team_ids", "assigned_key_ids"]
    } else {
        &[]
    };
    let more = more
        .iter()
        .filter(|column| schema.may_read(table.table, column));
    columns.extend(more.map(|column| format!("t.{}", ident(column))));
    DIGITS.replace("{digest}", &digest(&columns))
}

/// Returns a query of the digest of the owners of permission rows; `keys` is the SQL of their keys.
/// A row without owners is not among the results.
fn owner_digests(schema: &Schema, keys: &str) -> String {
    let fragments = [
        (
            "{digest}",
            DIGITS.replace("{digest}", &digest(&[OWNERS_OF_ROW.to_owned()])),
        ),
        ("{links}", links(schema)),
        ("{is_asked}", is_among(schema, "o.link", keys)),
    ];
    part(OWNERS, &fragments)
}

/// Reads the digest of everything that grants servers in the rows with the given keys, by key.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn read_beside(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    keys: &[String],
) -> Result<BTreeMap<String, String>, Failure> {
    let fragments = [
        ("{beside}", beside(schema, table)),
        ("{table}", relation(table.table)),
        ("{key}", ident(table.key)),
    ];
    let rows: Vec<(String, String)> = sqlx::query_as(schema.statement(BESIDE, &fragments))
        .persistent(false)
        .bind(keys)
        .fetch_all(connection)
        .await
        .map_err(failed("read what else the rows grant"))?;
    Ok(rows.into_iter().collect())
}

/// Reads the digest of the owners of the permission rows with the given keys, by key. A row without
/// owners has none.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn read_owners(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[String],
) -> Result<BTreeMap<String, String>, Failure> {
    let fragments = [("{owners}", owner_digests(schema, "$1::pg_catalog.text[]"))];
    let rows: Vec<(String, String)> = sqlx::query_as(schema.statement("{owners}", &fragments))
        .persistent(false)
        .bind(keys)
        .fetch_all(connection)
        .await
        .map_err(failed("read who links to the permission rows"))?;
    Ok(rows.into_iter().collect())
}

/// Reads the digest of the server table without the rows that count as deleted.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn read_servers(
    connection: &mut PgConnection,
    schema: &Schema,
    left_out: &[String],
) -> Result<String, Failure> {
    let fragments = server_fragments(schema, "$1");
    sqlx::query_scalar(schema.statement("{digest}", &fragments))
        .persistent(false)
        .bind(left_out)
        .fetch_one(connection)
        .await
        .map_err(failed("read the MCP servers"))
}
