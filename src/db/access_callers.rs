//! The callers that there are, a page at a time.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use sqlx::PgConnection;

use crate::db::decode::{self, TableColumn};
use crate::db::errors::failed;
use crate::db::fragments::shown_token;
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation};
use crate::error::Failure;
use crate::litellm::ids::{AgentId, KeyToken, OrganizationId, ToolsetId};
use crate::litellm::owners::{KEY_TABLE, OWNER_TABLES, OwnerId, TEAM_TABLE};
use crate::litellm::reference_sites::TOOLSETS;

const PAGE: &str = r"
SELECT t.{key} FROM {table} AS t WHERE $1::pg_catalog.text IS NULL OR t.{key} {>} $1 ORDER BY t.{key} LIMIT {most}";

/// Reads the ids of the owners of a kind that follow `after`, in the database's order.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn page<I: OwnerId>(
    connection: &mut PgConnection,
    schema: &Schema,
    after: Option<&I>,
    most: usize,
) -> Result<Vec<I>, Failure> {
    let mut tables = OWNER_TABLES.iter();
    let Some(owner) = tables.find(|owner| owner.kind == I::KIND) else {
        return Ok(Vec::new());
    };
    if !schema.has(owner.table, owner.id) {
        return Ok(Vec::new());
    }
    let fragments = [
        ("{key}", ident(owner.id)),
        ("{table}", relation(owner.table)),
        (
            "{most}",
            i64::try_from(most).unwrap_or(i64::MAX).to_string(),
        ),
    ];
    let ids: Vec<String> = sqlx::query_scalar(schema.statement(PAGE, &fragments))
        .persistent(false)
        .bind(after.map(Borrow::borrow))
        .fetch_all(connection)
        .await
        .map_err(failed("read the callers"))?;
    Ok(ids.into_iter().map(I::from).collect())
}

/// Whose keys are read.
pub(crate) enum KeysOf {
    /// All keys.
    Anybody,
    /// The keys of an agent.
    Agent(AgentId),
    /// The keys of an organization, and of its teams.
    Organization(OrganizationId),
}

const KEY_PAGE: &str = r"
SELECT t.{key} FROM {table} AS t
WHERE ($1::pg_catalog.text IS NULL OR t.{key} {>} $1) AND {of} ORDER BY t.{key} LIMIT {most}";

/// Reads the hashes of keys that follow `after`, in the database's order.
///
/// # Errors
///
/// Fails where the server refuses.
pub(crate) async fn keys(
    connection: &mut PgConnection,
    schema: &Schema,
    of: &KeysOf,
    after: Option<&KeyToken>,
    most: usize,
) -> Result<Vec<KeyToken>, Failure> {
    let (column, id) = match of {
        KeysOf::Anybody => return page(connection, schema, after, most).await,
        KeysOf::Agent(id) => ("agent_id", id.as_str()),
        KeysOf::Organization(id) => ("organization_id", id.as_str()),
    };
    let mut owned = if schema.has(KEY_TABLE, column) {
        format!("t.{} {{=}} $2", ident(column))
    } else {
        "$2::pg_catalog.text IS NULL".to_owned()
    };
    if column == "organization_id" {
        owned = format!(
            r#"({owned} OR t.{} COLLATE pg_catalog."C" {{=}} ANY
                   (SELECT o.{} FROM {} AS o WHERE o.{} {{=}} $2))"#,
            ident("team_id"),
            ident("team_id"),
            relation(TEAM_TABLE),
            ident(column)
        );
    }
    let fragments = [
        ("{of}", owned),
        ("{key}", ident("token")),
        ("{table}", relation(KEY_TABLE)),
        (
            "{most}",
            i64::try_from(most).unwrap_or(i64::MAX).to_string(),
        ),
    ];
    let tokens: Vec<String> = sqlx::query_scalar(schema.statement(KEY_PAGE, &fragments))
        .persistent(false)
        .bind(after.map(KeyToken::as_str))
        .bind(id)
        .fetch_all(connection)
        .await
        .map_err(failed("read the callers"))?;
    Ok(tokens.into_iter().map(KeyToken).collect())
}

const ALL_TOOLSETS: &str = "SELECT t.{key} FROM {table} AS t";

/// Reads the ids of all toolsets.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn toolsets(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<BTreeSet<ToolsetId>, Failure> {
    if !schema.has(TOOLSETS.table, TOOLSETS.key) {
        return Ok(BTreeSet::new());
    }
    let fragments = [
        ("{key}", ident(TOOLSETS.key)),
        ("{table}", relation(TOOLSETS.table)),
    ];
    let rows = sqlx::raw_sql(schema.statement(ALL_TOOLSETS, &fragments))
        .fetch_all(connection)
        .await
        .map_err(failed("read the toolsets"))?;
    let id = |row| decode::read(row, 0, TableColumn(TOOLSETS.table, TOOLSETS.key));
    rows.iter().map(|row| Ok(ToolsetId(id(row)?))).collect()
}

const TOKENS: &str = "
SELECT t.{key} FROM {table} AS t
WHERE {shown} {=} $1 ORDER BY 1 LIMIT 2";

/// Reads the whole hashes of the keys that reports show by this part of them: at most two.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn tokens(
    connection: &mut PgConnection,
    schema: &Schema,
    shown: &str,
) -> Result<Vec<KeyToken>, Failure> {
    let key = format!("t.{}", ident("token"));
    let fragments = [
        ("{shown}", shown_token(&key)),
        ("{key}", ident("token")),
        ("{table}", relation(KEY_TABLE)),
    ];
    let tokens: Vec<String> = sqlx::query_scalar(schema.statement(TOKENS, &fragments))
        .persistent(false)
        .bind(shown)
        .fetch_all(connection)
        .await
        .map_err(failed("look for the key"))?;
    Ok(tokens.into_iter().map(KeyToken).collect())
}
