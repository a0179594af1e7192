//! Reads the servers and toolsets that the database has.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::db::decode::{self, TableColumn};
use crate::db::errors::failed;
use crate::db::fragments::{column_or, texts_or_none};
use crate::db::schema::{CONFIG, SERVER_COLUMNS, SERVER_ID, SERVER_SCOPE, Schema};
use crate::db::sql::{ident, relation};
use crate::error::Failure;
use crate::litellm::ids::ServerId;
use crate::litellm::reference_sites::{
    ACCESS_GROUP_NAME, ACCESS_GROUPS, OAUTH_CLIENTS, TOOLSET_NAME, TOOLSETS,
};
use crate::litellm::server::{SERVER_TABLE, SavedAliases, Server, Signs};

/// The servers and toolsets of a database.
#[derive(Debug, Default)]
pub(crate) struct KnownServers {
    /// Every row of the server table, whatever its state.
    pub servers: Vec<Server>,
    /// The ids of the toolsets; none if this database has no such table.
    pub toolsets: BTreeSet<String>,
    /// The names of toolsets, by id, as far as this role may read them.
    pub toolset_names: HashMap<String, String>,
    /// The names of unified access groups, by id, as far as this role may read them.
    pub access_group_names: HashMap<String, String>,
    /// Signs of servers without a row, as far as this role may read them.
    pub signs: Signs,
}

// The first column says which statement a row is from. Tags are JSON: these statements go out
// without parameters, so arrays come back as text, and there the driver takes an empty element, or
// the word NULL, for NULL.
const SERVERS: &str = "
SELECT 1, {id}, {name}, {alias}, {approval}, pg_catalog.to_jsonb({tags})::pg_catalog.text, {open}
FROM {servers} AS t";

const TOOLSET_IDS: &str = "SELECT 2, t.{key}, {toolset_name} FROM {toolsets} AS t";

const GROUP_NAMES: &str = "SELECT 6, g.{group_key}, g.{group_name} FROM {groups} AS g";

const CLIENTS: &str = r#"
SELECT 3, o.{id} FROM {clients} AS o
WHERE NOT EXISTS (SELECT FROM {servers} AS s WHERE s.{id} {=} o.{id} COLLATE pg_catalog."C")"#;

// Its values hold secrets and are not read.
const SAVED: &str = "SELECT 4 FROM {config} AS c WHERE c.{param} {=} 'mcp_servers'";

// Of the settings only the aliases are read. NULL stands for a value of an unexpected shape.
const ALIASES: &str = "
SELECT 5, CASE WHEN pg_catalog.jsonb_typeof(c.settings) {=} 'object'
               THEN coalesce(c.settings {->} 'mcp_aliases', 'null')::pg_catalog.text
               WHEN pg_catalog.jsonb_typeof(c.settings) {=} 'null' THEN 'null'
          END
FROM (SELECT pg_catalog.to_jsonb(c.{value}) AS settings
      FROM {config} AS c
      WHERE c.{param} {=} 'litellm_settings' AND c.{value} IS NOT NULL) AS c";

// Where the values may not be read, the name alone tells that there may be aliases.
const SETTINGS: &str = "
SELECT 5, NULL::pg_catalog.text FROM {config} AS c WHERE c.{param} {=} 'litellm_settings'";

/// The column of the values in [`CONFIG`].
const CONFIG_VALUE: &str = "param_value";

/// Reads servers, toolsets and signs in one round trip: statements without parameters go together.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn told(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<KnownServers, Failure> {
    let (config, param) = CONFIG;
    let mut statements = vec![SERVERS];
    if schema.has(TOOLSETS.table, TOOLSETS.key) {
        statements.push(TOOLSET_IDS);
    }
    let may_name = |table, column| schema.may_read(table, column);
    if may_name(ACCESS_GROUPS.table, ACCESS_GROUPS.key)
        && may_name(ACCESS_GROUPS.table, ACCESS_GROUP_NAME)
    {
        statements.push(GROUP_NAMES);
    }
    let toolset_name = if may_name(TOOLSETS.table, TOOLSET_NAME) {
        format!("t.{}", ident(TOOLSET_NAME))
    } else {
        "NULL::pg_catalog.text".to_owned()
    };
    if schema.may_read(OAUTH_CLIENTS.table, OAUTH_CLIENTS.server) {
        statements.push(CLIENTS);
    }
    if schema.may_read(config, param) {
        statements.push(SAVED);
        statements.push(if schema.may_read(config, CONFIG_VALUE) {
            ALIASES
        } else {
            SETTINGS
        });
    }
    let [name, alias, approval] = SERVER_COLUMNS
        .map(|column| column_or(schema, SERVER_TABLE, column, "NULL::pg_catalog.text"));
    let [tags, open] = SERVER_SCOPE;
    let fragments = [
        ("{statements}", statements.join(";\n")),
        ("{id}", ident(SERVER_ID)),
        ("{name}", name),
        ("{alias}", alias),
        ("{approval}", approval),
        ("{tags}", texts_or_none(schema, SERVER_TABLE, tags)),
        ("{open}", column_or(schema, SERVER_TABLE, open, "false")),
        ("{servers}", relation(SERVER_TABLE)),
        ("{key}", ident(TOOLSETS.key)),
        ("{toolset_name}", toolset_name),
        ("{toolsets}", relation(TOOLSETS.table)),
        ("{group_key}", ident(ACCESS_GROUPS.key)),
        ("{group_name}", ident(ACCESS_GROUP_NAME)),
        ("{groups}", relation(ACCESS_GROUPS.table)),
        ("{clients}", relation(OAUTH_CLIENTS.table)),
        ("{config}", relation(config)),
        ("{param}", ident(param)),
        ("{value}", ident(CONFIG_VALUE)),
    ];
    let rows = sqlx::raw_sql(schema.statement("{statements}", &fragments))
        .fetch_all(connection)
        .await
        .map_err(failed("read the MCP servers"))?;
    let mut told = KnownServers::default();
    if schema.has(config, param) && !schema.may_read(config, param) {
        told.signs.aliases = SavedAliases::Hidden;
    }
    for row in rows {
        let id = |table, key| decode::read(&row, 1, TableColumn(table, key));
        match decode::read(&row, 0, "the kind of a row")? {
            1 => told.servers.push(server(&row)?),
            2 => {
                let toolset: String = id(TOOLSETS.table, TOOLSETS.key)?;
                let name = name_of(&row, TableColumn(TOOLSETS.table, TOOLSET_NAME))?;
                told.toolset_names
                    .extend(name.map(|name| (toolset.clone(), name)));
                told.toolsets.insert(toolset);
            }
            3 => {
                let client = id(OAUTH_CLIENTS.table, OAUTH_CLIENTS.server)?;
                told.signs.clients.insert(client);
            }
            5 => told.signs.aliases = aliases(decode::read(&row, 1, "the saved aliases")?),
            6 => {
                let group = id(ACCESS_GROUPS.table, ACCESS_GROUPS.key)?;
                let name = name_of(&row, TableColumn(ACCESS_GROUPS.table, ACCESS_GROUP_NAME))?;
                told.access_group_names
                    .extend(name.map(|name| (group, name)));
            }
            i32::MIN..=0 | 4 | 7..=i32::MAX => told.signs.saved = true,
        }
    }
    Ok(told)
}

/// Reads the name that a person gave to a row.
fn name_of(row: &PgRow, column: TableColumn) -> Result<Option<String>, Failure> {
    decode::read(row, 2, column)
}

/// Reads the aliases that LiteLLM saved, of which only texts mean a server.
fn aliases(saved: Option<&str>) -> SavedAliases {
    let Some(Ok(saved)) = saved.map(serde_json::from_str::<serde_json::Value>) else {
        return SavedAliases::Hidden;
    };
    let entries = saved.as_object().into_iter().flatten();
    let texts =
        entries.filter_map(|(alias, name)| Some((alias.clone(), name.as_str()?.to_owned())));
    SavedAliases::Known(texts.collect())
}

fn server(row: &PgRow) -> Result<Server, Failure> {
    let column = |name| TableColumn(SERVER_TABLE, name);
    let [name, alias, approval] = SERVER_COLUMNS;
    let [tags, open] = SERVER_SCOPE;
    let texts: &str = decode::read(row, 5, column(tags))?;
    let open: Option<bool> = decode::read(row, 6, column(open))?;
    Ok(Server {
        server_id: ServerId(decode::read(row, 1, column(SERVER_ID))?),
        server_name: decode::read(row, 2, column(name))?,
        alias: decode::read(row, 3, column(alias))?,
        approval_status: decode::read(row, 4, column(approval))?,
        tags: serde_json::from_str(texts).map_err(anyhow::Error::from)?,
        allow_all_keys: open.unwrap_or_default(),
    })
}
