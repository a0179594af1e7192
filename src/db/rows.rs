//! Reads and locks the rows that name servers.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::db::decode::{self, TableColumn};
use crate::db::encoding::storable;
use crate::db::errors::failed;
use crate::db::fragments::json_text;
use crate::db::oversized::refuse_oversized;
use crate::db::savepoint;
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation};
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::{Site, SiteTable};
use crate::litellm::row::{Cell, Row};
use crate::litellm::value::Value;

const ROWS: &str = r#"
SELECT t.{key}, {cells} FROM {table} AS t
WHERE t.{key} {=} ANY ($1) ORDER BY t.{key} COLLATE pg_catalog."C""#;

// FOR UPDATE, not FOR NO KEY UPDATE: it also blocks a session that links a new owner to the row,
// because a foreign key takes FOR KEY SHARE on it. So the owners that are read next are the owners
// at commit.
//
// NOWAIT, because a session that never waits while it holds locks is part of no deadlock.
// PostgreSQL breaks a deadlock by cancelling the session that notices it first, and that could be
// the proxy's.
pub(crate) const LOCK: &str = r#"
SELECT t.{key} FROM {table} AS t
WHERE t.{key} {=} ANY ($1) ORDER BY t.{key} COLLATE pg_catalog."C"
FOR UPDATE OF t NOWAIT"#;

/// A row, and the two texts about it that were asked for, if any were.
pub(super) type RowAndTexts = (Row, Option<[String; 2]>);

/// Reads the rows with the given primary keys, ordered by key, without their owners, each with the
/// two texts that the SQL in `more` yields for it, if there is any.
///
/// A key whose row is gone yields nothing.
///
/// # Errors
///
/// What the server said; refused if a row holds more than is ever read.
pub(super) async fn cells_and_more(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    keys: &[String],
    more: Option<&[String; 2]>,
) -> Result<Vec<RowAndTexts>, Failure> {
    let sites = schema.sites(table);
    let mut cells: Vec<String> = sites.iter().map(|site| json_text(site)).collect();
    cells.extend(more.into_iter().flatten().cloned());
    let sql = schema.statement(
        ROWS,
        &[
            ("{key}", ident(table.key)),
            ("{table}", relation(table.table)),
            ("{cells}", cells.join(", ")),
        ],
    );
    let found = sqlx::query(sql)
        .persistent(false)
        .bind(keys)
        .fetch_all(connection)
        .await
        .map_err(failed("read the rows that name servers"))
        .map_err(|failure| failure.context(format!("table \"{}\"", table.table)))?;
    for row in &found {
        refuse_oversized(table, &sites, row, 0)?;
    }
    let found = found.iter();
    found
        .map(|row| read_with_more(table, &sites, row, 0, more.is_some()))
        .collect()
}

/// Reads a row without its owners. Column `key` is its key; the columns after it are those of
/// `sites`, as JSON text.
fn read(
    table: &'static SiteTable,
    sites: &[&'static Site],
    row: &PgRow,
    key: usize,
) -> Result<Row, Failure> {
    let cells = sites.iter().enumerate().map(|(at, site)| {
        let text = decode::read(row, key + 1 + at, TableColumn(table.table, site.column))?;
        Ok(Cell {
            site,
            stored: Value::parse(site.shape, text),
        })
    });
    Ok(Row {
        key: decode::read(row, key, TableColumn(table.table, table.key))?,
        cells: cells.collect::<Result<_, Failure>>()?,
        owners: Vec::new(),
    })
}

/// Reads a row as [`read`] does, and if there are `more` columns, the texts in the next two.
pub(super) fn read_with_more(
    table: &'static SiteTable,
    sites: &[&'static Site],
    row: &PgRow,
    key: usize,
    more: bool,
) -> Result<RowAndTexts, Failure> {
    let next = key + 1 + sites.len();
    let text = |at| decode::read(row, at, "a digest of a row");
    let texts = more.then(|| Ok::<_, Failure>([text(next)?, text(next + 1)?]));
    Ok((read(table, sites, row, key)?, texts.transpose()?))
}

/// Locks the rows with the given primary keys until the transaction ends: no other session can
/// change them, delete them or link a new owner to them.
///
/// Returns the keys of the locked rows, because a row may be gone by now. Returns `None` if another
/// session has locked one of the rows; then none is locked.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    keys: &[String],
) -> Result<Option<Vec<String>>, Failure> {
    let fragments = [
        ("{key}", ident(table.key)),
        ("{table}", relation(table.table)),
    ];
    // A plan or journal of another database may name rows that this one cannot have.
    let keys = storable(connection, keys).await?;
    lock_now(connection, schema.statement(LOCK, &fragments), &keys).await
}

/// Runs a statement that locks rows with the given keys without waiting, and returns its keys;
/// `None` if another session has locked one of the rows.
pub(crate) async fn lock_now(
    connection: &mut PgConnection,
    sql: AssertSqlSafe<String>,
    keys: &[String],
) -> Result<Option<Vec<String>>, Failure> {
    let lock = async |connection: &mut _| {
        let query = sqlx::query_scalar(sql).persistent(false).bind(keys);
        let locked = query.fetch_all(connection).await;
        locked.map_err(failed("lock the rows that name servers"))
    };
    match savepoint::attempt(connection, lock).await? {
        Err(failure) if failure.kind() == ErrorKind::Busy => Ok(None),
        locked => locked.map(Some),
    }
}
