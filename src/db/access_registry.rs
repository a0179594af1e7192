//! The servers that a proxy serves, as access is computed from them.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::db::decode::{self, TableColumn};
use crate::db::errors::failed;
use crate::db::fragments::{column_or, texts_or_none};
use crate::db::schema::{SERVER_COLUMNS, SERVER_ID, SERVER_SCOPE, Schema};
use crate::db::sql::{ident, part, relation};
use crate::db::{access_settings, batch};
use crate::error::Failure;
use crate::litellm::access::caller::AccessSetting;
use crate::litellm::access::registry::{Registry, ServedServer};
use crate::litellm::access::rules::AccessRules;
use crate::litellm::ids::{ServerId, Tag, UserId};
use crate::litellm::server::SERVER_TABLE;
use crate::litellm::server_catalog::ServerCatalog;

/// The column with the user who submitted a server for review.
pub(super) const SUBMITTED_BY: &str = "submitted_by";

// Without parameters, so arrays are read as JSON: see `servers.rs`.
const SERVERS: &str = "
SELECT {id}, {name}, {alias}, {approval}, pg_catalog.to_jsonb({tags})::pg_catalog.text, {open},
       {submitted}
FROM {servers} AS t";

/// Which of the servers that are taken as deleted a registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeletedAre {
    /// None of them, as if they were gone.
    LeftOut,
    /// All of them, as they are served until they are deleted.
    Served,
}

/// Reads the rows of the server table that a release serves and adds the servers of the configs
/// that the catalog has; a row wins over a config server of the same id.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn registry(
    connection: &mut PgConnection,
    schema: &Schema,
    catalog: &ServerCatalog,
    deleted: DeletedAre,
    rules: AccessRules,
) -> Result<Registry, Failure> {
    let select = [("{select}", select(schema))];
    let rows = sqlx::raw_sql(schema.statement("{select}", &select))
        .fetch_all(connection)
        .await
        .map_err(failed(DOING))?;
    of_rows(&rows, catalog, deleted, rules)
}

/// Reads the servers as [`registry`] does, without those that are taken as deleted, and which of
/// `settings` are saved as on or off, by name: one that no row tells, or that this role may not
/// read, is left out. All of it is one round trip.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn with_settings(
    connection: &mut PgConnection,
    schema: &Schema,
    catalog: &ServerCatalog,
    rules: AccessRules,
    settings: &[AccessSetting],
) -> Result<(Registry, BTreeMap<String, bool>), Failure> {
    let mut selects = vec![select(schema)];
    selects.extend(access_settings::select(schema, settings));
    let selects = [("{selects}", selects.join(";\n"))];
    let sql = schema.statement("{selects}", &selects);
    let rows = batch::run(connection, sql, &[DOING, access_settings::DOING]).await;
    let rows = rows.map_err(|failed| failed.failure)?;
    let of_statement = |at: usize| rows.get(at).map_or(&[][..], Vec::as_slice);
    Ok((
        of_rows(of_statement(0), catalog, DeletedAre::LeftOut, rules)?,
        access_settings::of_rows(of_statement(1))?,
    ))
}

const DOING: &str = "read the MCP servers";

/// Returns the SQL of the rows that [`of_rows`] reads.
fn select(schema: &Schema) -> String {
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
    part(SERVERS, &fragments)
}

fn of_rows(
    rows: &[PgRow],
    catalog: &ServerCatalog,
    deleted: DeletedAre,
    rules: AccessRules,
) -> Result<Registry, Failure> {
    let [name, alias, approval] = SERVER_COLUMNS;
    let [tags, open] = SERVER_SCOPE;
    let column = |name| TableColumn(SERVER_TABLE, name);
    let mut served: BTreeMap<ServerId, ServedServer> = BTreeMap::new();
    let gone = match deleted {
        DeletedAre::LeftOut => &[],
        DeletedAre::Served => catalog.deleted_entries(),
    };
    for server in catalog.config().servers().iter().chain(gone) {
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
    for row in rows {
        let id = ServerId(decode::read(row, 0, column(SERVER_ID))?);
        if deleted == DeletedAre::LeftOut && catalog.deleted().has_row(id.as_str()) {
            continue;
        }
        let approval: Option<&str> = decode::read(row, 3, column(approval))?;
        let carried: &str = decode::read(row, 4, column(tags))?;
        let carried: Vec<String> = serde_json::from_str(carried).map_err(anyhow::Error::from)?;
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
