//! The rows that the access of a number of callers depends on.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::db::decode::{self, TableColumn};
use crate::db::errors::failed;
use crate::db::fragments::column_or;
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation};
use crate::error::Failure;
use crate::litellm::access::rows::{
    AccessGroup, AccessRows, AccessTeam, Agent, Key, NamedTools, Permission, Toolset, User,
};
use crate::litellm::ids::{
    AccessGroupId, AgentId, EndUserId, KeyToken, PermissionKey, ServerId, TeamId, ToolsetId, UserId,
};
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, AGENT_TABLE, END_USER_TABLE, KEY_TABLE, LINK, ORGANIZATION_TABLE, TEAM_TABLE,
    USER_TABLE,
};
use crate::litellm::reference_sites::{
    ACCESS_GROUP_SERVERS, ACCESS_GROUPS, MCP_TOOLSETS, PERMISSIONS, TAGS, TOOLSET_TOOLS, TOOLSETS,
};

/// The roles that see every server.
///
/// Source: LiteLLM 1.109.1 `_types.py`, `LitellmUserRoles`.
pub(super) const ADMINISTRATORS: [&str; 2] = ["proxy_admin", "proxy_admin_viewer"];

/// Whose rows are to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Callers {
    /// The hashes of keys.
    pub keys: BTreeSet<KeyToken>,
    /// Teams that ask without a key, or behind an agent.
    pub teams: BTreeSet<TeamId>,
    /// Users who ask without a key, in a session, or behind an agent.
    pub users: BTreeSet<UserId>,
    /// End users.
    pub end_users: BTreeSet<EndUserId>,
    /// Toolsets on whose routes they ask.
    pub toolsets: BTreeSet<ToolsetId>,
}

/// A permission row, as far as LiteLLM can read it.
enum StoredRow {
    /// All of it.
    Read(Permission),
    /// All but its tools, which are malformed.
    WithoutTools(Permission),
    /// Nothing: an element of a list is NULL.
    Unreadable,
}

/// Reads the rows of `callers`, and those of every level above them.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn rows(
    connection: &mut PgConnection,
    schema: &Schema,
    callers: &Callers,
) -> Result<AccessRows, Failure> {
    let mut reader = RowReader { connection, schema };
    let mut rows = AccessRows {
        keys: reader.keys(&callers.keys).await?,
        ..AccessRows::default()
    };
    let keys = || rows.keys.values();
    let mut users = callers.users.clone();
    users.extend(keys().filter_map(|key| key.user.clone()));
    let agents = keys().filter_map(|key| key.agent.clone()).collect();
    rows.users = reader.users(&users).await?;
    rows.agents = reader.agents(&agents).await?;
    let mut teams = callers.teams.clone();
    teams.extend(rows.keys.values().filter_map(|key| key.team.clone()));
    teams.extend(rows.users.values().flat_map(|user| user.teams.clone()));
    rows.teams = reader.teams(&teams).await?;
    let of_keys = rows.keys.values().map(|key| &key.organization);
    let of_teams = rows.teams.values().map(|team| &team.organization);
    let of_users = rows.users.values().map(|user| &user.organization);
    let organizations = of_keys.chain(of_teams).chain(of_users);
    let organizations = organizations.flatten().cloned().collect();
    rows.organizations = reader
        .links(ORGANIZATION_TABLE, "organization_id", &organizations)
        .await?;
    rows.end_users = reader
        .links(END_USER_TABLE, "user_id", &callers.end_users)
        .await?;

    let links = rows.keys.values().map(|key| &key.permission);
    let links = links.chain(rows.teams.values().map(|team| &team.permission));
    let links = links.chain(rows.users.values().map(|user| &user.permission));
    let links = links.chain(rows.agents.values().map(|agent| &agent.permission));
    let links = links.chain(rows.organizations.values());
    let links = links.chain(rows.end_users.values());
    let links = links.flatten().cloned().collect();
    for (id, row) in reader.permissions(&links).await? {
        let row = match row {
            StoredRow::Read(row) => Some(row),
            StoredRow::WithoutTools(row) => {
                rows.without_tools.insert(id.clone(), row);
                None
            }
            StoredRow::Unreadable => None,
        };
        rows.permissions.insert(id, row);
    }

    let groups = rows.keys.values().map(|key| &key.access_groups);
    let groups = groups.chain(rows.teams.values().map(|team| &team.access_groups));
    let groups = groups.chain(rows.agents.values().map(|agent| &agent.access_groups));
    let groups = groups.flatten().cloned().collect();
    rows.access_groups = reader.access_groups(&groups).await?;
    let granted = rows.permissions.values().flatten();
    let granted = granted.flat_map(|row| row.toolsets.iter().cloned());
    let toolsets = granted.chain(callers.toolsets.iter().cloned()).collect();
    rows.toolsets = reader.toolsets(&toolsets).await?;
    Ok(rows)
}

/// A column to read, and what it is of.
#[derive(Clone, Copy)]
struct RowColumn {
    name: &'static str,
    sql_type: &'static str,
}

const fn text(name: &'static str) -> RowColumn {
    let sql_type = "text";
    RowColumn { name, sql_type }
}

const fn texts(name: &'static str) -> RowColumn {
    let sql_type = "text[]";
    RowColumn { name, sql_type }
}

const fn flag(name: &'static str) -> RowColumn {
    let sql_type = "bool";
    RowColumn { name, sql_type }
}

/// Names a JSON column, which is read as text.
const fn json(name: &'static str) -> RowColumn {
    let sql_type = "jsonb";
    RowColumn { name, sql_type }
}

/// Reads by the primary keys of a table; what is empty is not asked for.
struct RowReader<'a> {
    connection: &'a mut PgConnection,
    schema: &'a Schema,
}

const SELECT: &str = "SELECT {columns} FROM {table} AS t WHERE t.{key} {=} ANY ($1)";

// A slice counts from 1, whatever the array does (PostgreSQL 17 manual, 8.15.3). LiteLLM reads no
// array of several dimensions, and none with a NULL in it.
const PLAIN_ARRAY: &str = "
CASE WHEN pg_catalog.array_ndims({value}) {>} 1 THEN ARRAY[NULL::pg_catalog.text]
     ELSE {value}[:] END";

/// One row, whose columns are read in the order in which they were asked for.
struct Read<'r> {
    row: &'r PgRow,
    table: &'static str,
    columns: &'r [RowColumn],
}

impl Read<'_> {
    fn name(&self, at: usize) -> TableColumn<'static> {
        let column = self.columns.get(at).map_or("", |column| column.name);
        TableColumn(self.table, column)
    }

    fn id<I: From<String>>(&self) -> Result<I, Failure> {
        let id: String = decode::read(self.row, 0, self.name(0))?;
        Ok(I::from(id))
    }

    /// Reads a text; LiteLLM takes an empty one for none.
    fn text<T: From<String>>(&self, at: usize) -> Result<Option<T>, Failure> {
        let text: Option<String> = decode::read(self.row, at, self.name(at))?;
        Ok(text.filter(|text| !text.is_empty()).map(T::from))
    }

    /// Reads a list, of which NULL is an empty one; `None` where an element is NULL.
    fn texts<T: From<String>>(&self, at: usize) -> Result<Option<Vec<T>>, Failure> {
        let texts: Option<Vec<Option<String>>> = decode::read(self.row, at, self.name(at))?;
        let texts = texts.unwrap_or_default().into_iter();
        Ok(texts.map(|text| text.map(T::from)).collect())
    }

    fn names<T: From<String>>(&self, at: usize) -> Result<Vec<T>, Failure> {
        Ok(self.texts(at)?.unwrap_or_default())
    }

    fn flag(&self, at: usize) -> Result<bool, Failure> {
        let flag: Option<bool> = decode::read(self.row, at, self.name(at))?;
        Ok(flag.unwrap_or_default())
    }

    fn json(&self, at: usize) -> Result<Json, Failure> {
        let text: Option<&str> = decode::read(self.row, at, self.name(at))?;
        let parsed = text.map(serde_json::from_str).transpose();
        Ok(parsed.unwrap_or_default().unwrap_or_default())
    }
}

impl RowReader<'_> {
    /// Reads the rows with these keys; the first of `columns` is the primary key. A column that
    /// this database does not have reads as NULL, and a table as one without rows.
    async fn read<K: Borrow<str> + Ord, T>(
        &mut self,
        table: &'static str,
        columns: &[RowColumn],
        keys: &BTreeSet<K>,
        read: impl Fn(&Read<'_>) -> Result<(K, T), Failure>,
    ) -> Result<BTreeMap<K, T>, Failure> {
        let Some(key) = columns
            .first()
            .filter(|key| self.schema.has(table, key.name))
        else {
            return Ok(BTreeMap::new());
        };
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let select = columns.iter().map(|column| {
            let (cast, null) = match column.sql_type {
                "text[]" => ("", "NULL::pg_catalog.text[]"),
                "bool" => ("", "NULL::pg_catalog.bool"),
                "jsonb" => ("::pg_catalog.text", "NULL::pg_catalog.text"),
                _ => ("", "NULL::pg_catalog.text"),
            };
            if self.schema.has(table, column.name) {
                let value = format!("t.{}", ident(column.name));
                match column.sql_type {
                    "text[]" => PLAIN_ARRAY.replace("{value}", &value),
                    _ => value + cast,
                }
            } else {
                column_or(self.schema, table, column.name, null)
            }
        });
        let fragments = [
            ("{columns}", select.collect::<Vec<_>>().join(", ")),
            ("{table}", relation(table)),
            ("{key}", ident(key.name)),
        ];
        let keys: Vec<&str> = keys.iter().map(Borrow::borrow).collect();
        let found = sqlx::query(self.schema.statement(SELECT, &fragments))
            .persistent(false)
            .bind(keys)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(failed("read what access depends on"))?;
        let of_row = |row: &PgRow| {
            let row = Read {
                row,
                table,
                columns,
            };
            read(&row)
        };
        found.iter().map(of_row).collect()
    }

    async fn keys(
        &mut self,
        keys: &BTreeSet<KeyToken>,
    ) -> Result<BTreeMap<KeyToken, Key>, Failure> {
        let columns = [
            text("token"),
            text(LINK),
            text("team_id"),
            text("organization_id"),
            text("user_id"),
            text("agent_id"),
            texts(ACCESS_GROUP_IDS),
            text("key_alias"),
        ];
        let key = |row: &Read<'_>| {
            let key = Key {
                token: row.id()?,
                permission: row.text(1)?,
                team: row.text(2)?,
                organization: row.text(3)?,
                user: row.text(4)?,
                agent: row.text(5)?,
                access_groups: row.names(6)?,
                name: row.text(7)?,
            };
            Ok((row.id()?, key))
        };
        self.read(KEY_TABLE, &columns, keys, key).await
    }

    async fn teams(
        &mut self,
        teams: &BTreeSet<TeamId>,
    ) -> Result<BTreeMap<TeamId, AccessTeam>, Failure> {
        let columns = [
            text("team_id"),
            text(LINK),
            text("organization_id"),
            texts(ACCESS_GROUP_IDS),
            json("members_with_roles"),
            flag("blocked"),
        ];
        let team = |row: &Read<'_>| {
            let team = AccessTeam {
                permission: row.text(1)?,
                organization: row.text(2)?,
                access_groups: row.names(3)?,
                members: members(&row.json(4)?),
                blocked: row.flag(5)?,
            };
            Ok((row.id()?, team))
        };
        self.read(TEAM_TABLE, &columns, teams, team).await
    }

    async fn users(&mut self, users: &BTreeSet<UserId>) -> Result<BTreeMap<UserId, User>, Failure> {
        let columns = [
            text("user_id"),
            text(LINK),
            text("organization_id"),
            texts("teams"),
            text("user_role"),
        ];
        let user = |row: &Read<'_>| {
            let role: String = row.text(4)?.unwrap_or_default();
            let user = User {
                permission: row.text(1)?,
                organization: row.text(2)?,
                teams: row.names(3)?,
                administers: ADMINISTRATORS.contains(&role.as_str()),
                is_proxy_admin: role == "proxy_admin",
            };
            Ok((row.id()?, user))
        };
        self.read(USER_TABLE, &columns, users, user).await
    }

    async fn agents(
        &mut self,
        agents: &BTreeSet<AgentId>,
    ) -> Result<BTreeMap<AgentId, Agent>, Failure> {
        let columns = [text("agent_id"), text(LINK), texts(ACCESS_GROUP_IDS)];
        let agent = |row: &Read<'_>| {
            let agent = Agent {
                permission: row.text(1)?,
                access_groups: row.names(2)?,
            };
            Ok((row.id()?, agent))
        };
        self.read(AGENT_TABLE, &columns, agents, agent).await
    }

    /// Reads which permission row each of these owners links to.
    async fn links<I: From<String> + Borrow<str> + Ord>(
        &mut self,
        table: &'static str,
        id: &'static str,
        ids: &BTreeSet<I>,
    ) -> Result<BTreeMap<I, Option<PermissionKey>>, Failure> {
        let link = |row: &Read<'_>| Ok((row.id()?, row.text(1)?));
        self.read(table, &[text(id), text(LINK)], ids, link).await
    }

    async fn permissions(
        &mut self,
        ids: &BTreeSet<PermissionKey>,
    ) -> Result<BTreeMap<PermissionKey, StoredRow>, Failure> {
        let columns = [
            text(PERMISSIONS.key),
            texts("mcp_servers"),
            json("mcp_tool_permissions"),
            texts(TAGS),
            texts(MCP_TOOLSETS.column),
        ];
        let permission = |row: &Read<'_>| {
            let lists = (row.texts(1)?, row.texts(3)?, row.texts(4)?);
            let (Some(servers), Some(tags), Some(toolsets)) = lists else {
                return Ok((row.id()?, StoredRow::Unreadable));
            };
            let tools = named_tools(&row.json(2)?);
            let is_read = tools.is_some();
            let permission = Permission {
                servers,
                tools: tools.unwrap_or_default(),
                tags,
                toolsets,
            };
            let permission = if is_read {
                StoredRow::Read(permission)
            } else {
                StoredRow::WithoutTools(permission)
            };
            Ok((row.id()?, permission))
        };
        self.read(PERMISSIONS.table, &columns, ids, permission)
            .await
    }

    async fn access_groups(
        &mut self,
        ids: &BTreeSet<AccessGroupId>,
    ) -> Result<BTreeMap<AccessGroupId, Option<AccessGroup>>, Failure> {
        let columns = [
            text(ACCESS_GROUPS.key),
            texts(ACCESS_GROUP_SERVERS.column),
            json("mcp_tool_permissions"),
            texts("assigned_team_ids"),
            texts("assigned_key_ids"),
        ];
        let group = |row: &Read<'_>| {
            let group = match (row.texts(1)?, named_tools(&row.json(2)?)) {
                (Some(servers), Some(tools)) => Some(AccessGroup {
                    servers,
                    tools,
                    teams: row.names(3)?.into_iter().collect(),
                    keys: row.names(4)?.into_iter().collect(),
                }),
                _ => None,
            };
            Ok((row.id()?, group))
        };
        self.read(ACCESS_GROUPS.table, &columns, ids, group).await
    }

    async fn toolsets(
        &mut self,
        ids: &BTreeSet<ToolsetId>,
    ) -> Result<BTreeMap<ToolsetId, Toolset>, Failure> {
        let columns = [text(TOOLSETS.key), json(TOOLSET_TOOLS.column)];
        let toolset = |row: &Read<'_>| Ok((row.id()?, toolset(row.json(1)?)));
        self.read(TOOLSETS.table, &columns, ids, toolset).await
    }
}

/// Reads `mcp_tool_permissions`; `None` where LiteLLM refuses the value, and with it the whole row.
///
/// Source: LiteLLM 1.109.1 `models/object_permission.py`: `dict[str, list[str]] | None`.
fn named_tools(value: &Json) -> Option<NamedTools> {
    let Json::Object(entries) = value else {
        return value.is_null().then(NamedTools::new);
    };
    let tools = entries.iter().map(|(server, names)| {
        let names = names.as_array()?.iter();
        let names: Option<Vec<String>> = names.map(|n| n.as_str().map(str::to_owned)).collect();
        Some((server.clone(), names?))
    });
    tools.collect()
}

/// Reads the tools of a toolset; a list that is stored as a JSON string is read too.
///
/// Source: LiteLLM 1.109.1 `mcp_server/toolset_db.py`, `_toolset_from_row`.
fn toolset(mut tools: Json) -> Toolset {
    if let Some(text) = tools.as_str() {
        tools = serde_json::from_str(text).unwrap_or_default();
    }
    let mut toolset = Toolset::new();
    for tool in tools.as_array().into_iter().flatten() {
        let named = |field| tool.get(field).and_then(Json::as_str);
        if let (Some(server), Some(name)) = (named("server_id"), named("tool_name")) {
            let granted = toolset.entry(ServerId(server.to_owned())).or_default();
            granted.insert(name.to_owned());
        }
    }
    toolset
}

/// Reads the members of a team from its `members_with_roles`.
fn members(value: &Json) -> BTreeSet<UserId> {
    let members = value.as_array().into_iter().flatten();
    let ids = members.filter_map(|member| member.get("user_id")?.as_str());
    ids.map(|id| UserId(id.to_owned())).collect()
}
