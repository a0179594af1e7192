//! The callers that there are, in an order that this program can compare.

use sqlx::PgConnection;

use crate::db::access_callers::KeysOf;
use crate::db::errors::failed;
use crate::db::fragments::first_digits;
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation};
use crate::error::Failure;
use crate::litellm::owners::{KEY_TABLE, OWNER_TABLES, OwnerId, OwnerKind, TEAM_TABLE};

/// Whose callers are read.
pub(crate) enum OrderedOwners<'a> {
    /// The keys of somebody.
    Keys(&'a KeysOf),
    /// Every owner of a kind.
    All(OwnerKind),
}

// The server sorts, in memory or on its disk, so that here a page is in memory at a time. Its
// collation may be any; the bytes of UTF-8 are in the order of Rust's strings.
//
// The name of a cursor has no schema. It is found by the session alone.
const DECLARE: &str = r"
DECLARE mcp_prune_callers NO SCROLL CURSOR FOR
SELECT t.{key} FROM {table} AS t WHERE {of}
ORDER BY pg_catalog.convert_to({order}, 'UTF8'), t.{key}";

const FETCH: &str = "FETCH FORWARD 2000 mcp_prune_callers";

const CLOSE: &str = "CLOSE mcp_prune_callers";

/// Begins to read the ids of these owners: keys by what a saved file has of their hash, others by
/// their ids. One list is read at a time. Returns `false` where this database has no such owners.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn begin(
    connection: &mut PgConnection,
    schema: &Schema,
    owners: &OrderedOwners<'_>,
) -> Result<bool, Failure> {
    let kind = match owners {
        OrderedOwners::Keys(_) => OwnerKind::Key,
        OrderedOwners::All(kind) => *kind,
    };
    let known = OWNER_TABLES.iter().find(|owner| owner.kind == kind);
    let (table, key) = known.map_or((KEY_TABLE, "token"), |owner| (owner.table, owner.id));
    if !schema.has(table, key) {
        return Ok(false);
    }
    let order = if kind == OwnerKind::Key {
        // As `api_key::told_apart_by` makes it.
        first_digits("t.{key}", 16)
    } else {
        "t.{key}".to_owned()
    };
    let (of, id) = match owners {
        OrderedOwners::All(_) | OrderedOwners::Keys(KeysOf::Anybody) => ("TRUE".to_owned(), None),
        OrderedOwners::Keys(KeysOf::Agent(id)) => (owned_by(schema, "agent_id"), Some(id.as_str())),
        OrderedOwners::Keys(KeysOf::Organization(id)) => {
            (owned_by(schema, "organization_id"), Some(id.as_str()))
        }
    };
    let fragments = [
        ("{of}", of),
        ("{order}", order),
        ("{key}", ident(key)),
        ("{table}", relation(table)),
    ];
    let query = sqlx::query(schema.statement(DECLARE, &fragments)).persistent(false);
    let query = match id {
        Some(id) => query.bind(id),
        None => query,
    };
    let begun = query.execute(connection).await;
    begun.map_err(failed("read the callers"))?;
    Ok(true)
}

/// Returns the condition on the keys of an owner, which is bound.
fn owned_by(schema: &Schema, column: &'static str) -> String {
    let own = if schema.has(KEY_TABLE, column) {
        format!("t.{} {{=}} $1", ident(column))
    } else {
        "$1::pg_catalog.text IS NULL".to_owned()
    };
    if column != "organization_id" {
        return own;
    }
    let (team, table) = (ident("team_id"), relation(TEAM_TABLE));
    let of_teams = format!(
        "SELECT o.{team} FROM {table} AS o WHERE o.{} {{=}} $1",
        ident(column)
    );
    format!(r#"({own} OR t.{team} COLLATE pg_catalog."C" {{=}} ANY ({of_teams}))"#)
}

/// Reads the next ids; none at the end, and then another list may begin.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn next<I: OwnerId>(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<I>, Failure> {
    let ids: Vec<String> = sqlx::query_scalar(schema.statement(FETCH, &[]))
        .persistent(false)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed("read the callers"))?;
    if ids.is_empty() {
        let closed = sqlx::raw_sql(schema.statement(CLOSE, &[]));
        let closed = closed.execute(connection).await;
        closed.map_err(failed("read the callers"))?;
    }
    Ok(ids.into_iter().map(I::from).collect())
}
