//! Finds who holds a lock that is in the way, as far as the server lets this role see it.
//!
//! The answer only ever completes the message of a failure, so what cannot be found is left out.

use std::fmt;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::db::decode;
use crate::db::savepoint;
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation, statement, statement_in};
use crate::error::Failure;
use crate::litellm::reference_sites::ScannedTable;

/// A session that holds a lock.
#[derive(Debug)]
pub(crate) struct Holder {
    /// The server's process; a prepared transaction has none.
    process: Option<i32>,
    application: Option<String>,
}

/// `process 4711 (psql)`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.process, self.application.as_deref()) {
            (None, _) => f.write_str("a prepared transaction"),
            (Some(pid), Some(name)) if !name.is_empty() => write!(f, "process {pid} ({name})"),
            (Some(pid), _) => write!(f, "process {pid}"),
        }
    }
}

/// The condition that `l`, a row of `pg_locks`, is the advisory lock with the key `$1` in this
/// database.
///
/// `pg_locks` shows the two halves of a lock's 64-bit key (PostgreSQL 17 manual, 52.12,
/// "`pg_locks`").
pub(crate) const IS_ADVISORY_LOCK: &str = "
l.locktype {=} 'advisory' AND l.granted AND l.objsubid {=} 1
AND l.database {=} (SELECT d.oid FROM pg_catalog.pg_database AS d
                    WHERE d.datname {=} pg_catalog.current_database())
AND ((l.classid::pg_catalog.int8 {<<} 32) {|} l.objid::pg_catalog.int8) {=} $1";

const ADVISORY: &str = "
SELECT l.pid, a.application_name::pg_catalog.text
FROM pg_catalog.pg_locks AS l
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid {=} l.pid
WHERE {is_advisory_lock}
LIMIT 1";

const TABLES: &str = "
SELECT l.pid, a.application_name::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_class AS c ON c.oid {=} l.relation
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid {=} l.pid
WHERE l.locktype {=} 'relation' AND l.granted
      AND l.pid {<>} pg_catalog.pg_backend_pid()
      AND l.database {=} (
          SELECT d.oid FROM pg_catalog.pg_database AS d
          WHERE d.datname {=} pg_catalog.current_database())
      AND c.relname {=} ANY ($1)
      AND (l.mode {=} 'AccessExclusiveLock'
           OR c.relname {=} $2
              AND l.mode {=} ANY (
                  ARRAY['ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock']))
ORDER BY c.relname {=} $2 DESC, c.relname
LIMIT 1";

const THERE: &str = r#"
SELECT t.{key} FROM {table} AS t WHERE t.{key} {=} ANY ($1)
ORDER BY t.{key} COLLATE pg_catalog."C""#;

const FREE: &str = r"
SELECT t.{key} FROM {table} AS t WHERE t.{key} {=} ANY ($1)
FOR UPDATE OF t SKIP LOCKED";

// A locked row names the transaction that locked it, or a group of transactions.
const OF_ROW: &str = r"
SELECT l.pid, a.application_name::pg_catalog.text
FROM {table} AS t {members}
JOIN pg_catalog.pg_locks AS l
     ON l.locktype {=} 'transactionid' AND l.granted
     AND l.transactionid {=} {transaction}
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid {=} l.pid
WHERE t.{key} {=} $1
LIMIT 1";

/// Says who holds the advisory lock that only one run at a time holds.
pub(crate) async fn of_advisory_lock(connection: &mut PgConnection, key: i64) -> String {
    let condition = [("{is_advisory_lock}", IS_ADVISORY_LOCK.to_owned())];
    let query = sqlx::query(statement_in("pg_catalog", ADVISORY, &condition))
        .persistent(false)
        .bind(key);
    let row = query.fetch_optional(connection).await.ok().flatten();
    let holder = row.and_then(|row| holder(&row).ok());
    holder.map_or_else(
        || "it has ended by now, or this role cannot see it".to_owned(),
        |holder| holder.to_string(),
    )
}

/// Says who keeps `table` or another table of the schema locked as a whole; `None` if no such
/// session can be seen.
pub(crate) async fn of_tables(
    connection: &mut PgConnection,
    schema: &Schema,
    table: ScannedTable,
) -> Option<String> {
    let query = sqlx::query(statement(TABLES))
        .persistent(false)
        .bind(schema.table_names())
        .bind(table.name());
    let row = query.fetch_optional(connection).await.ok().flatten()?;
    let name: String = decode::read(&row, 2, "the name of a table").ok()?;
    let holder = holder(&row).ok()?;
    Some(format!("{holder} keeps table \"{name}\" locked"))
}

/// Says which of the rows with the given keys somebody else keeps locked, and who.
///
/// `NOWAIT` does not say which row is locked, nor by whom. So the rows are asked for once more; the
/// first one that is not free names the transaction that locked it.
pub(crate) async fn of_rows(
    connection: &mut PgConnection,
    schema: &Schema,
    table: ScannedTable,
    keys: &[String],
) -> String {
    let somebody = || format!("somebody else keeps a row of \"{}\" locked", table.name());
    let Some(locked) = first_locked(connection, schema, table, keys).await else {
        return somebody();
    };
    let row = format!("row {locked} of \"{}\"", table.name());
    let plain = [("{members}", ""), ("{transaction}", "t.xmax")];
    let group = [
        (
            "{members}",
            "CROSS JOIN LATERAL pg_catalog.pg_get_multixact_members(t.xmax) AS m",
        ),
        ("{transaction}", "m.xid"),
    ];
    for of in [plain, group] {
        let of = of.map(|(name, sql)| (name, sql.to_owned()));
        let names = [
            ("{key}", ident(table.key())),
            ("{table}", relation(table.name())),
        ];
        let sql = schema.statement(OF_ROW, &[&of[..], &names].concat());
        let rows = attempt(connection, sql, std::slice::from_ref(&locked), Keys::One).await;
        let holder = rows.first().and_then(|row| holder(row).ok());
        if let Some(holder) = holder {
            return format!("{holder} keeps {row} locked");
        }
    }
    format!("somebody else keeps {row} locked")
}

async fn first_locked(
    connection: &mut PgConnection,
    schema: &Schema,
    table: ScannedTable,
    keys: &[String],
) -> Option<String> {
    let names = [
        ("{key}", ident(table.key())),
        ("{table}", relation(table.name())),
    ];
    let key = |row: &PgRow| decode::read(row, 0, "the key of a row").ok();
    let there = attempt(connection, schema.statement(THERE, &names), keys, Keys::All).await;
    let free = attempt(connection, schema.statement(FREE, &names), keys, Keys::All).await;
    let free: Vec<String> = free.iter().filter_map(key).collect();
    let mut there = there.iter().filter_map(key);
    there.find(|key: &String| !free.contains(key))
}

/// How the keys are bound to a query.
#[derive(Clone, Copy)]
enum Keys {
    /// All of them, as an array.
    All,
    /// The first one, as a text.
    One,
}

/// Runs a query under a savepoint, which is rolled back; returns no rows if it fails.
async fn attempt(
    connection: &mut PgConnection,
    sql: AssertSqlSafe<String>,
    keys: &[String],
    bound: Keys,
) -> Vec<PgRow> {
    if savepoint::set(connection).await.is_err() {
        return Vec::new();
    }
    let query = sqlx::query(sql).persistent(false);
    let query = match bound {
        Keys::All => query.bind(keys),
        Keys::One => query.bind(keys.first()),
    };
    let rows = query.fetch_all(&mut *connection).await;
    // If even that fails, the transaction is over, and so is the run.
    let _ = savepoint::roll_back(connection).await;
    rows.unwrap_or_default()
}

fn holder(row: &PgRow) -> Result<Holder, Failure> {
    Ok(Holder {
        process: decode::read(row, 0, "the process of a session")?,
        application: decode::read(row, 1, "the application of a session")?,
    })
}
