//! Proves that what was written is what is committed, whatever the database does by itself.
//!
//! Each chunk of rows is compared once it is written. A trigger may still change its rows later:
//! when another chunk is written, or at the commit if the trigger is deferred. So deferred triggers
//! are fired before the commit, and then every row is compared once more. That also puts them under
//! `statement_timeout`, which a `COMMIT` is not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::{AssertSqlSafe, PgConnection};

use crate::db::errors::{failed, failed_over_secrets};
use crate::db::owned_rows::OwnedRows;
use crate::db::rows::{self, RowAndTexts};
use crate::db::schema::Schema;
use crate::db::side_effects::SideEffects;
use crate::db::sql::{ident, relation, statement, told};
use crate::db::update::{beside_paths, differs};
use crate::db::{credential_rows, decode};
use crate::error::Failure;
use crate::litellm::reference_sites::{ScannedTable, SiteTable};
use crate::litellm::row::Row;
use crate::repair::changeset::RowChange;

/// The rows that were written so far, as they were when they were compared.
#[derive(Debug)]
pub(crate) struct Verification {
    effects: SideEffects,
    parts: Vec<Part>,
    /// The columns that name no servers and that a trigger changed, each with its table.
    changed: BTreeSet<(&'static str, String)>,
}

/// The keys of rows of one table, each with its digests.
#[derive(Debug)]
struct Part {
    table: ScannedTable,
    rows: Vec<(String, WrittenDigests)>,
}

/// Digests of a row that was written. 64 bits are enough to tell one row from another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct WrittenDigests {
    /// Of everything that may not change any more.
    fixed: u64,
    /// Of each column that says when, how often or by whom the row was written.
    bookkeeping: Vec<u64>,
}

/// Digests of the columns of a row that name no servers.
#[derive(Debug)]
struct Fingerprint {
    /// A digest of everything that no trigger may change.
    rest: String,
    /// A digest of each column that says when, how often or by whom the row was written, with
    /// spaces between them.
    bookkeeping: String,
}

/// Rows, and the fingerprints of their other columns.
#[derive(Debug)]
pub(crate) struct RowsWithFingerprints {
    /// The rows, ordered by key.
    pub(crate) rows: Vec<Row>,
    /// The fingerprint of each row; none if there is nothing to cover.
    fingerprints: Vec<Option<Fingerprint>>,
}

impl RowsWithFingerprints {
    /// Makes fingerprints of the texts that were read with rows.
    fn new(read: Vec<RowAndTexts>) -> Self {
        let fingerprint = |[rest, bookkeeping]: [String; 2]| Fingerprint { rest, bookkeeping };
        let read = read.into_iter();
        let (rows, fingerprints) = read
            .map(|(row, texts)| (row, texts.map(fingerprint)))
            .unzip();
        Self { rows, fingerprints }
    }

    /// Returns the rows by their keys.
    pub(super) fn by_key(&self) -> HashMap<&str, &Row> {
        let rows = self.rows.iter();
        rows.map(|row| (row.key.as_str(), row)).collect()
    }

    /// Returns the fingerprints by the keys of their rows.
    fn fingerprints(&self) -> HashMap<&str, Option<&Fingerprint>> {
        let rows = self.rows.iter().zip(&self.fingerprints);
        rows.map(|(row, fingerprint)| (row.key.as_str(), fingerprint.as_ref()))
            .collect()
    }
}

const DIGESTS: &str = r"
SELECT t.{key}, {columns} FROM {table} AS t WHERE t.{key} {=} ANY ($1)";

// One digest of several columns.
const DIGEST: &str = "
pg_catalog.encode(pg_catalog.sha256(
    pg_catalog.convert_to(ROW({columns})::pg_catalog.text, 'UTF8')), 'hex')";

// One digest of all rows of a server, whatever their order: a digest of the sum of their hashes.
// PostgreSQL has `bit_xor` only from 14 on, and in it two equal rows would cancel each other out.
const ROWS_OF_SERVERS: &str = "
SELECT t.{key}, {sum}
FROM {table} AS t WHERE t.{key} {=} ANY ($1) GROUP BY t.{key}";

const SUM: &str = "
pg_catalog.sum(pg_catalog.hashtextextended(ROW({columns})::pg_catalog.text, 0))";

impl Verification {
    /// Begins a proof in a database that does `effects` by itself.
    #[must_use]
    pub(crate) fn new(effects: SideEffects) -> Self {
        Self {
            effects,
            parts: Vec::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Returns the columns that name no servers and that a trigger changed, each with its table.
    #[must_use]
    pub(crate) fn changed(&self) -> &BTreeSet<(&'static str, String)> {
        &self.changed
    }

    /// Returns the SQL of everything in a row of `table` that no trigger may change, an expression
    /// each: the same as a fingerprint covers.
    #[must_use]
    pub(crate) fn rest(&self, schema: &Schema, table: &'static SiteTable) -> Vec<String> {
        let (rest, _) = self.columns(schema, table);
        let mut rest: Vec<String> = rest.into_iter().map(column).collect();
        rest.extend(beside_paths(table));
        rest
    }

    /// Tells whether triggers or rules act on what is written, some of them perhaps later.
    #[must_use]
    pub(crate) fn may_be_changed(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Returns the SQL of the two texts of a fingerprint; `None` if there is nothing to cover. It
    /// covers the columns that name no servers, that this role may read, and that the server does
    /// not compute itself.
    fn fingerprint(&self, schema: &Schema, table: &'static SiteTable) -> Option<[String; 2]> {
        let (_, bookkeeping) = self.columns(schema, table);
        let rest = self.rest(schema, table);
        if rest.is_empty() && bookkeeping.is_empty() {
            return None;
        }
        Some([digest(&rest), each_digest(&bookkeeping)])
    }

    /// Reads the rows with the given primary keys without their owners, and their fingerprints, in
    /// one statement.
    ///
    /// # Errors
    ///
    /// What the server said; refused if a row holds more than is ever read.
    pub(crate) async fn cells_and_fingerprints(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        table: &'static SiteTable,
        keys: &[String],
    ) -> Result<RowsWithFingerprints, Failure> {
        let more = self.fingerprint(schema, table);
        let read = rows::cells_and_more(connection, schema, table, keys, more.as_ref());
        Ok(RowsWithFingerprints::new(read.await?))
    }

    /// Reads some of the rows of `owned` with their owners and their fingerprints.
    ///
    /// # Errors
    ///
    /// What the server said; refused if a row holds more than is ever read.
    pub(crate) async fn rows_and_fingerprints(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        owned: &mut OwnedRows<'_>,
        some: &[String],
    ) -> Result<RowsWithFingerprints, Failure> {
        let more = self.fingerprint(schema, owned.table());
        let read = owned.read_and_more(connection, schema, some, more.as_ref());
        Ok(RowsWithFingerprints::new(read.await?))
    }

    /// Compares the fingerprints of the rows of `changes` before and after they were written.
    ///
    /// If a trigger changed a column that says when or by whom a row was written, the column is
    /// remembered for a warning. A change of any other column is an error.
    pub(super) fn compare(
        &mut self,
        schema: &Schema,
        table: &'static SiteTable,
        changes: &[RowChange],
        before: &RowsWithFingerprints,
        after: &RowsWithFingerprints,
    ) -> Result<(), Failure> {
        let (_, bookkeeping) = self.columns(schema, table);
        let (before, after) = (before.fingerprints(), after.fingerprints());
        let mut noted = BTreeSet::new();
        for change in changes {
            let (before, after) = match (before.get(change.key()), after.get(change.key())) {
                (Some(Some(before)), Some(Some(after))) if before.rest == after.rest => {
                    (before, after)
                }
                (Some(None), Some(None)) => continue,
                _ => return Err(differs(table, change.key(), "another column")),
            };
            let pairs = before
                .bookkeeping
                .split(' ')
                .zip(after.bookkeeping.split(' '));
            let moved = pairs
                .zip(&bookkeeping)
                .filter(|((before, after), _)| before != after);
            noted.extend(moved.map(|(_, name)| (table.table, (*name).to_owned())));
        }
        self.changed.extend(noted);
        Ok(())
    }

    /// Remembers rows as they were compared, if a trigger or rule could still change them.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn keep(
        &mut self,
        connection: &mut PgConnection,
        schema: &Schema,
        table: ScannedTable,
        keys: Vec<String>,
    ) -> Result<(), Failure> {
        if self.effects.is_empty() || keys.is_empty() {
            return Ok(());
        }
        let mut found = self.digests(connection, schema, table, &keys).await?;
        // The credentials of a server are written in several parts, and the last part counts.
        if let ScannedTable::Credentials(_) = table {
            for part in &mut self.parts {
                part.rows
                    .retain(|(key, _)| part.table != table || !keys.contains(key));
            }
        }
        let rows = keys.into_iter().map(|key| {
            let digest = found.remove(&key).unwrap_or_default();
            (key, digest)
        });
        let rows = rows.collect();
        self.parts.push(Part { table, rows });
        Ok(())
    }

    /// Fires the deferred triggers, and compares every row once more.
    ///
    /// # Errors
    ///
    /// What the server said; an error if a row has changed since it was compared; moved if the
    /// whole rows of a server have changed.
    pub(crate) async fn settle(
        &mut self,
        connection: &mut PgConnection,
        schema: &Schema,
    ) -> Result<(), Failure> {
        sqlx::raw_sql(statement("SET CONSTRAINTS ALL IMMEDIATE"))
            .execute(&mut *connection)
            .await
            .map_err(failed("fire the deferred triggers"))?;
        let mut noted = BTreeSet::new();
        for part in &self.parts {
            let keys: Vec<String> = part.rows.iter().map(|(key, _)| key.clone()).collect();
            let now = self.digests(connection, schema, part.table, &keys).await?;
            let gone = WrittenDigests::default();
            for (key, then) in &part.rows {
                let now = now.get(key).unwrap_or(&gone);
                if now.fixed != then.fixed {
                    return Err(match part.table {
                        ScannedTable::References(table) => {
                            differs(table, key, "one of its columns")
                        }
                        ScannedTable::Credentials(table) => credential_rows::moved(table, key),
                    });
                }
                if now.bookkeeping != then.bookkeeping
                    && let ScannedTable::References(table) = part.table
                {
                    let (_, names) = self.columns(schema, table);
                    let pairs = now.bookkeeping.iter().zip(&then.bookkeeping).zip(names);
                    let moved = pairs.filter(|((now, then), _)| now != then);
                    noted.extend(moved.map(|(_, name)| (table.table, name.to_owned())));
                }
            }
        }
        self.changed.extend(noted);
        Ok(())
    }

    /// Reads digests of each row, over all its columns. Of credentials it is one digest of all rows
    /// of a server, without the columns that a trigger may change.
    async fn digests(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        table: ScannedTable,
        keys: &[String],
    ) -> Result<BTreeMap<String, WrittenDigests>, Failure> {
        const DOING: &str = "look at the rows that were written once more";
        let (mut columns, bookkeeping) = match table {
            ScannedTable::References(table) => {
                let (mut columns, bookkeeping) = self.columns(schema, table);
                columns.extend(schema.sites(table).iter().map(|site| site.column));
                (columns, bookkeeping)
            }
            ScannedTable::Credentials(table) => {
                let (columns, _) = self.stored(schema, table.table, schema.readable(table.table));
                (columns, Vec::new())
            }
        };
        columns.sort_unstable();
        columns.dedup();
        let columns: Vec<String> = columns.into_iter().map(column).collect();
        let sql = match table {
            ScannedTable::References(table) => select(
                schema,
                DIGESTS,
                (table.table, table.key),
                &[(
                    "{columns}",
                    format!("{}, {}", digest(&columns), each_digest(&bookkeeping)),
                )],
            ),
            ScannedTable::Credentials(table) => select(
                schema,
                ROWS_OF_SERVERS,
                (table.table, table.server),
                &[(
                    "{sum}",
                    digest(&[SUM.replace("{columns}", &columns.join(", "))]),
                )],
            ),
        };
        let rows = sqlx::query(sql)
            .persistent(false)
            .bind(keys)
            .fetch_all(connection)
            .await;
        let rows = match table {
            ScannedTable::References(_) => rows.map_err(failed(DOING))?,
            ScannedTable::Credentials(_) => rows.map_err(failed_over_secrets(DOING))?,
        };
        let mut digests = BTreeMap::new();
        for row in &rows {
            let bookkeeping: &str = match table {
                ScannedTable::References(_) => decode::read(row, 2, "the digests of a row")?,
                ScannedTable::Credentials(_) => "",
            };
            let bookkeeping = bookkeeping.split_terminator(' ').map(short);
            let of_row = WrittenDigests {
                fixed: short(decode::read(row, 1, "the digest of a row")?)?,
                bookkeeping: bookkeeping.collect::<Result<_, Failure>>()?,
            };
            digests.insert(decode::read(row, 0, "the key of a row")?, of_row);
        }
        Ok(digests)
    }

    /// Returns the columns that name no servers: first those that no trigger may change, then those
    /// that say when, how often or by whom a row was written.
    fn columns<'s>(
        &self,
        schema: &'s Schema,
        table: &'static SiteTable,
    ) -> (Vec<&'s str>, Vec<&'s str>) {
        self.stored(schema, table.table, schema.columns_beside(table))
    }

    /// Divides those of `columns` that the server does not compute itself in the same way.
    fn stored<'s>(
        &self,
        schema: &Schema,
        table: &str,
        columns: Vec<&'s str>,
    ) -> (Vec<&'s str>, Vec<&'s str>) {
        let stored = columns
            .into_iter()
            .filter(|name| !self.effects.is_generated(table, name));
        stored.partition(|name| !schema.is_bookkeeping(table, name))
    }
}

/// Tells whether a column of that name and type says when, how often or by whom a row was written.
///
/// In the tables that a repair writes, LiteLLM has no column of such a type or name that grants
/// anything.
pub(crate) fn is_bookkeeping(name: &str, sql_type: &str) -> bool {
    const TIMES_AND_NUMBERS: [&str; 11] = [
        "date",
        "time without time zone",
        "time with time zone",
        "timestamp without time zone",
        "timestamp with time zone",
        "smallint",
        "integer",
        "bigint",
        "numeric",
        "real",
        "double precision",
    ];
    let is_text = ["text", "character varying", "name"].contains(&sql_type);
    TIMES_AND_NUMBERS.contains(&sql_type) || (is_text && name.ends_with("_by"))
}

fn column(name: &str) -> String {
    format!("t.{}", told(name))
}

/// Returns the SQL of one digest of several columns.
pub(super) fn digest(columns: &[String]) -> String {
    DIGEST.replace("{columns}", &columns.join(", "))
}

/// Returns the SQL of a digest of each column, with spaces between them.
fn each_digest(columns: &[&str]) -> String {
    let each = columns.iter().map(|name| digest(&[column(name)]));
    let each = each.collect::<Vec<_>>().join(", ");
    format!("pg_catalog.array_to_string(ARRAY[{each}]::pg_catalog.text[], ' ')")
}

/// Returns the first 64 bits of a digest.
fn short(digest: &str) -> Result<u64, Failure> {
    let digest = digest.get(..16).unwrap_or(digest);
    Ok(u64::from_str_radix(digest, 16).map_err(anyhow::Error::from)?)
}

fn select(
    schema: &Schema,
    template: &'static str,
    (table, key): (&str, &str),
    fragments: &[(&'static str, String)],
) -> AssertSqlSafe<String> {
    let names = [("{key}", ident(key)), ("{table}", relation(table))];
    schema.statement(template, &[fragments, &names].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_grant_something_is_no_bookkeeping() {
        for (name, sql_type, expected) in [
            ("updated_at", "timestamp without time zone", true),
            ("updated_at", "timestamp with time zone", true),
            ("version", "integer", true),
            ("updated_by", "text", true),
            ("updated_by", "text[]", false),
            ("access_group_name", "text", false),
            ("object_permission_id", "text", false),
            ("mcp_access_groups", "text[]", false),
            ("mcp_toolsets", "text[]", false),
            ("mcp_tool_search_enabled", "boolean", false),
            ("granted_by", "jsonb", false),
        ] {
            assert_eq!(
                is_bookkeeping(name, sql_type),
                expected,
                "{name} {sql_type}"
            );
        }
    }
}
