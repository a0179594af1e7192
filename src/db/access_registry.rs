//! The servers that a proxy serves, as access is computed from them.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::db::decode::{self, TableColumn};
use crate::db::errors::failed;
use crate::db::fragments::{column_or, texts_or_none};
use crate::db::schema::{SERVER_COLUMNS, SERVER_ID, SERVER_SCOPE, Schema};
use crate::db::sql::{ident, relation};
use crate::error::Failure;
use crate::litellm::access::registry::{Registry, ServedServer};
use crate::litellm::access::rules::AccessRules;
use crate::litellm::config::ConfigServer;
use crate::litellm::ids::{ServerId, Tag, UserId};
use crate::litellm::server::SERVER_TABLE;

/// The column with the user who submitted a server for review.
pub(super) const SUBMITTED_BY: &str = "submitted_by";

const SERVERS: &str = "
SELECT {id}, {name}, {alias}, {approval}, {tags}, {open}, {submitted} FROM {servers} AS t";

/// Reads the rows of the server table that a release serves and adds the servers of the configs;
/// a row wins over a config server of the same id.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn registry(
    connection: &mut PgConnection,
    schema: &Schema,
    configured: &[ConfigServer],
    rules: AccessRules,
) -> Result<Registry, Failure> {
    let [name, alias, approval] = SERVER_COLUMNS;
    let [tags, open] = SERVER_SCOPE;
    let text = |column| column_or(schema, SERVER_TABLE, column, "NULL::pg_catalog.text");
    let fragments = [
        ("{id}", ident(SERVER_ID)),
        ("{name}", text(name)),
        ("{alias}", text(alias)),
        ("{approval}", text(approval)),
        ("{submitted}", text(SUBMITTED_BY)),
        ("{tags}", texts_or_none(schema, SERVER_TABLE, tags)),
        ("{open}", column_or(schema, SERVER_TABLE, open, "false")),
        ("{servers}", relation(SERVER_TABLE)),
    ];
    let rows = sqlx::query(schema.statement(SERVERS, &fragments))
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(failed("read the MCP servers"))?;
    let column = |name| TableColumn(SERVER_TABLE, name);
    let mut served: BTreeMap<ServerId, ServedServer> = BTreeMap::new();
    for server in configured {
        let alias = server.names.iter().find(|name| **name != server.name);
        for id in &server.ids {
            let entry = ServedServer {
                alias: alias.cloned(),
                name: Some(server.name.clone()),
                tags: server.tags.iter().cloned().map(Tag).collect(),
                allow_all_keys: server.allow_all_keys,
                submitted_by: None,
            };
            served.insert(ServerId(id.clone()), entry);
        }
    }
    let mut unserved_tags = BTreeMap::new();
    for row in &rows {
        let id = ServerId(decode::read(row, 0, column(SERVER_ID))?);
        let approval: Option<&str> = decode::read(row, 3, column(approval))?;
        let carried: Vec<String> = decode::read(row, 4, column(tags))?;
        let carried = carried.into_iter().map(Tag).collect();
        let is_active = approval == Some("active");
        if !rules.serves(approval) {
            unserved_tags.insert(id, carried);
            continue;
        }
        let open: Option<bool> = decode::read(row, 5, column(open))?;
        let submitted: Option<String> = decode::read(row, 6, column(SUBMITTED_BY))?;
        let entry = ServedServer {
            alias: decode::read(row, 2, column(alias))?,
            name: decode::read(row, 1, column(name))?,
            tags: carried,
            allow_all_keys: open.unwrap_or_default(),
            submitted_by: submitted.filter(|_| is_active).map(UserId),
        };
        served.insert(id, entry);
    }
    Ok(Registry::new(served, unserved_tags))
}
