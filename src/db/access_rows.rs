//! The rows that the access of a number of callers depends on.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::db::decode::{self, TableColumn};
use crate::db::errors::failed;
use crate::db::fragments::uncollated;
use crate::db::schema::Schema;
use crate::db::sql::{ident, part, relation};
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
    stored(connection, schema, callers).await?.rows(callers)
}

/// Reads, in one statement, the rows that the access of `callers` depends on, as they are stored.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn stored(
    connection: &mut PgConnection,
    schema: &Schema,
    callers: &Callers,
) -> Result<StoredRows, Failure> {
    let mut stored = StoredRows::default();
    if *callers == Callers::default() {
        return Ok(stored);
    }
    let tables: Vec<&LinkedTable> = LINKED.iter().filter(|t| t.is_in(schema)).collect();
    let (mut with, mut selects) = (Vec::new(), Vec::new());
    for table in &tables {
        with.push(table.query(schema, &tables));
        let name = table.name;
        selects.push(format!("SELECT '{name}', q.* FROM {name} AS q"));
    }
    if with.is_empty() {
        return Ok(stored);
    }
    let fragments = [
        ("{with}", with.join(", ")),
        ("{selects}", selects.join("\nUNION ALL\n")),
    ];
    let found = sqlx::query(schema.statement("WITH {with}\n{selects}", &fragments))
        .persistent(false)
        .bind(ids(&callers.keys))
        .bind(ids(&callers.users))
        .bind(ids(&callers.teams))
        .bind(ids(&callers.end_users))
        .bind(ids(&callers.toolsets))
        .fetch_all(connection)
        .await
        .map_err(failed("read what access depends on"))?;
    for row in found {
        let name: &str = decode::read(&row, 0, "the table of a row")?;
        let Some(table) = LINKED.iter().find(|table| table.name == name) else {
            continue;
        };
        let key = TableColumn(table.table, table.columns[0].name);
        let key: String = decode::read(&row, FIRST_TEXT, key)?;
        stored.0.entry(table.name).or_default().insert(key, row);
    }
    Ok(stored)
}

fn ids<I: Borrow<str>>(ids: &BTreeSet<I>) -> Vec<&str> {
    ids.iter().map(Borrow::borrow).collect()
}

/// Rows as they are stored, by the name of their table in [`LINKED`] and by their primary key.
#[derive(Debug, Default)]
pub(crate) struct StoredRows(BTreeMap<&'static str, BTreeMap<String, PgRow>>);

impl StoredRows {
    /// Returns the rows of `callers`, who are some of those that these rows were read for. It adds
    /// those of every level above them.
    ///
    /// # Errors
    ///
    /// Fails where a value cannot be decoded.
    pub(crate) fn rows(&self, callers: &Callers) -> Result<AccessRows, Failure> {
        of_callers(RowReader { stored: self }, callers)
    }
}

fn of_callers(reader: RowReader<'_>, callers: &Callers) -> Result<AccessRows, Failure> {
    let mut rows = AccessRows {
        keys: reader.keys(&callers.keys)?,
        ..AccessRows::default()
    };
    let keys = || rows.keys.values();
    let mut users = callers.users.clone();
    users.extend(keys().filter_map(|key| key.user.clone()));
    let agents = keys().filter_map(|key| key.agent.clone()).collect();
    rows.users = reader.users(&users)?;
    rows.agents = reader.agents(&agents)?;
    let mut teams = callers.teams.clone();
    teams.extend(rows.keys.values().filter_map(|key| key.team.clone()));
    teams.extend(rows.users.values().flat_map(|user| user.teams.clone()));
    rows.teams = reader.teams(&teams)?;
    let of_keys = rows.keys.values().map(|key| &key.organization);
    let of_teams = rows.teams.values().map(|team| &team.organization);
    let of_users = rows.users.values().map(|user| &user.organization);
    let organizations = of_keys.chain(of_teams).chain(of_users);
    let organizations = organizations.flatten().cloned().collect();
    rows.organizations = reader.links("organizations", &organizations)?;
    rows.end_users = reader.links("end_users", &callers.end_users)?;

    let links = rows.keys.values().map(|key| &key.permission);
    let links = links.chain(rows.teams.values().map(|team| &team.permission));
    let links = links.chain(rows.users.values().map(|user| &user.permission));
    let links = links.chain(rows.agents.values().map(|agent| &agent.permission));
    let links = links.chain(rows.organizations.values());
    let links = links.chain(rows.end_users.values());
    let links = links.flatten().cloned().collect();
    for (id, row) in reader.permissions(&links)? {
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
    rows.access_groups = reader.access_groups(&groups)?;
    let granted = rows.permissions.values().flatten();
    let granted = granted.flat_map(|row| row.toolsets.iter().cloned());
    let toolsets = granted.chain(callers.toolsets.iter().cloned()).collect();
    rows.toolsets = reader.toolsets(&toolsets)?;
    Ok(rows)
}

/// A column to read, and what it is of.
#[derive(Clone, Copy)]
struct RowColumn {
    name: &'static str,
    sql_type: &'static str,
}

impl RowColumn {
    /// Returns the SQL of its value in the table aliased `t`.
    fn value(self) -> String {
        let value = format!("t.{}", ident(self.name));
        match self.sql_type {
            "text[]" => PLAIN_ARRAY.replace("{value}", &value),
            "jsonb" => value + "::pg_catalog.text",
            _ => value,
        }
    }
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

/// A table of rows that access depends on, and what leads to its rows.
struct LinkedTable {
    /// The name of its query.
    name: &'static str,
    table: &'static str,
    /// The first is the primary key.
    columns: &'static [RowColumn],
    /// The parameter with the keys of rows that are asked for.
    parameter: Option<u8>,
    /// The rows that lead to it: the name of a query before, and a column of that.
    leads: &'static [(&'static str, &'static str)],
}

/// The tables, each after those that lead to it.
///
/// The parameters are keys, users, teams, end users and toolsets.
const LINKED: [LinkedTable; 9] = [
    LinkedTable {
        name: "keys",
        table: KEY_TABLE,
        columns: &[
            text("token"),
            text(LINK),
            text("team_id"),
            text("organization_id"),
            text("user_id"),
            text("agent_id"),
            texts(ACCESS_GROUP_IDS),
            text("key_alias"),
        ],
        parameter: Some(1),
        leads: &[],
    },
    LinkedTable {
        name: "users",
        table: USER_TABLE,
        columns: &[
            text("user_id"),
            text(LINK),
            text("organization_id"),
            texts("teams"),
            text("user_role"),
        ],
        parameter: Some(2),
        leads: &[("keys", "user_id")],
    },
    LinkedTable {
        name: "agents",
        table: AGENT_TABLE,
        columns: &[text("agent_id"), text(LINK), texts(ACCESS_GROUP_IDS)],
        parameter: None,
        leads: &[("keys", "agent_id")],
    },
    LinkedTable {
        name: "teams",
        table: TEAM_TABLE,
        columns: &[
            text("team_id"),
            text(LINK),
            text("organization_id"),
            texts(ACCESS_GROUP_IDS),
            json("members_with_roles"),
            flag("blocked"),
        ],
        parameter: Some(3),
        leads: &[("keys", "team_id"), ("users", "teams")],
    },
    LinkedTable {
        name: "organizations",
        table: ORGANIZATION_TABLE,
        columns: &[text("organization_id"), text(LINK)],
        parameter: None,
        leads: &[
            ("keys", "organization_id"),
            ("teams", "organization_id"),
            ("users", "organization_id"),
        ],
    },
    LinkedTable {
        name: "end_users",
        table: END_USER_TABLE,
        columns: &[text("user_id"), text(LINK)],
        parameter: Some(4),
        leads: &[],
    },
    LinkedTable {
        name: "permissions",
        table: PERMISSIONS.table,
        columns: &[
            text(PERMISSIONS.key),
            texts("mcp_servers"),
            json("mcp_tool_permissions"),
            texts(TAGS),
            texts(MCP_TOOLSETS.column),
        ],
        parameter: None,
        leads: &[
            ("keys", LINK),
            ("users", LINK),
            ("agents", LINK),
            ("teams", LINK),
            ("organizations", LINK),
            ("end_users", LINK),
        ],
    },
    LinkedTable {
        name: "access_groups",
        table: ACCESS_GROUPS.table,
        columns: &[
            text(ACCESS_GROUPS.key),
            texts(ACCESS_GROUP_SERVERS.column),
            json("mcp_tool_permissions"),
            texts("assigned_team_ids"),
            texts("assigned_key_ids"),
        ],
        parameter: None,
        leads: &[
            ("keys", ACCESS_GROUP_IDS),
            ("teams", ACCESS_GROUP_IDS),
            ("agents", ACCESS_GROUP_IDS),
        ],
    },
    LinkedTable {
        name: "toolsets",
        table: TOOLSETS.table,
        columns: &[text(TOOLSETS.key), json(TOOLSET_TOOLS.column)],
        parameter: Some(5),
        leads: &[("permissions", MCP_TOOLSETS.column)],
    },
];

/// The columns of every query, after the name of its table: the texts, then the lists, then one of
/// JSON and a flag.
const TEXTS: usize = 7;
const LISTS: usize = 3;
const FIRST_TEXT: usize = 1;
const FIRST_LIST: usize = FIRST_TEXT + TEXTS;
const JSON: usize = FIRST_LIST + LISTS;
const FLAG: usize = JSON + 1;

const QUERY: &str = "
{name} AS (SELECT {columns} FROM {linked} JOIN {table} AS t ON t.{key} {=} i.id)";

impl LinkedTable {
    /// Tells whether this database has the table.
    fn is_in(&self, schema: &Schema) -> bool {
        let mut columns = self.columns.iter();
        let key = columns.next();
        key.is_some_and(|key| schema.has(self.table, key.name))
    }

    /// Returns the place, in the answer, of the column at `at`.
    fn place(&self, at: usize) -> usize {
        let Some((column, before)) = self.columns.get(..=at).and_then(<[_]>::split_last) else {
            return FIRST_TEXT;
        };
        let alike = before.iter().filter(|b| b.sql_type == column.sql_type);
        let first = match column.sql_type {
            "text[]" => FIRST_LIST,
            "bool" => FLAG,
            "jsonb" => JSON,
            _ => FIRST_TEXT,
        };
        first + alike.count()
    }

    /// Returns the query of the rows that are asked for by `$1` to `$5`, and to which rows of the
    /// `tables` of this database lead.
    fn query(&self, schema: &Schema, tables: &[&Self]) -> String {
        let mut columns: Vec<String> = Vec::new();
        for place in FIRST_TEXT..=FLAG {
            let (name, null) = match place {
                FLAG => ("f".to_owned(), "NULL::pg_catalog.bool"),
                JSON => ("j".to_owned(), "NULL::pg_catalog.text"),
                FIRST_LIST.. => (format!("l{place}"), "NULL::pg_catalog.text[]"),
                _ => (format!("x{place}"), "NULL::pg_catalog.text"),
            };
            let mut all = self.columns.iter().enumerate();
            let column = all.find(|(at, column)| {
                self.place(*at) == place && schema.has(self.table, column.name)
            });
            let value = column.map_or_else(|| null.to_owned(), |(_, column)| column.value());
            columns.push(format!("{value} AS {name}"));
        }
        let mut linked: Vec<String> = Vec::new();
        let parameter = self.parameter.iter();
        linked.extend(
            parameter.map(|n| format!("SELECT pg_catalog.unnest(${n}::pg_catalog.text[])")),
        );
        for (name, column) in self.leads {
            let Some(table) = tables.iter().find(|table| table.name == *name) else {
                continue;
            };
            let at = table.columns.iter().position(|c| c.name == *column);
            let place = table.place(at.unwrap_or_default());
            linked.push(if place >= FIRST_LIST {
                let each = uncollated(&format!("pg_catalog.unnest(q.l{place})"));
                format!("SELECT {each} FROM {name} AS q")
            } else {
                format!(
                    "SELECT {} FROM {name} AS q",
                    uncollated(&format!("q.x{place}"))
                )
            });
        }
        let key = self.columns.first().map_or("", |key| key.name);
        let fragments = [
            ("{name}", self.name.to_owned()),
            ("{columns}", columns.join(", ")),
            (
                "{linked}",
                format!("({}) AS i (id)", linked.join(" UNION ")),
            ),
            ("{table}", relation(self.table)),
            ("{key}", ident(key)),
        ];
        part(QUERY, &fragments)
    }
}

/// Reads by the primary keys of a table.
#[derive(Clone, Copy)]
struct RowReader<'a> {
    stored: &'a StoredRows,
}

// A slice counts from 1, whatever the array does (PostgreSQL 17 manual, 8.15.3). LiteLLM reads no
// array of several dimensions, and none with a NULL in it.
const PLAIN_ARRAY: &str = "
CASE WHEN pg_catalog.array_ndims({value}) {>} 1 THEN ARRAY[NULL::pg_catalog.text]
     ELSE {value}[:] END";

/// One row, whose columns are counted as its table lists them.
struct Read<'r> {
    row: &'r PgRow,
    table: &'static LinkedTable,
}

impl Read<'_> {
    fn name(&self, at: usize) -> TableColumn<'static> {
        let column = self.table.columns.get(at).map_or("", |column| column.name);
        TableColumn(self.table.table, column)
    }

    fn place(&self, at: usize) -> usize {
        self.table.place(at)
    }

    fn id<I: From<String>>(&self) -> Result<I, Failure> {
        let id: String = decode::read(self.row, self.place(0), self.name(0))?;
        Ok(I::from(id))
    }

    /// Reads a text; LiteLLM takes an empty one for none.
    fn text<T: From<String>>(&self, at: usize) -> Result<Option<T>, Failure> {
        let text: Option<String> = decode::read(self.row, self.place(at), self.name(at))?;
        Ok(text.filter(|text| !text.is_empty()).map(T::from))
    }

    /// Reads a list, of which NULL is an empty one; `None` where an element is NULL.
    fn texts<T: From<String>>(&self, at: usize) -> Result<Option<Vec<T>>, Failure> {
        let texts: Option<Vec<Option<String>>> =
            decode::read(self.row, self.place(at), self.name(at))?;
        let texts = texts.unwrap_or_default().into_iter();
        Ok(texts.map(|text| text.map(T::from)).collect())
    }

    fn names<T: From<String>>(&self, at: usize) -> Result<Vec<T>, Failure> {
        Ok(self.texts(at)?.unwrap_or_default())
    }

    fn flag(&self, at: usize) -> Result<bool, Failure> {
        let flag: Option<bool> = decode::read(self.row, self.place(at), self.name(at))?;
        Ok(flag.unwrap_or_default())
    }

    fn json(&self, at: usize) -> Result<Json, Failure> {
        let text: Option<&str> = decode::read(self.row, self.place(at), self.name(at))?;
        let parsed = text.map(serde_json::from_str).transpose();
        Ok(parsed.unwrap_or_default().unwrap_or_default())
    }
}

impl RowReader<'_> {
    /// Reads the rows with these keys. A column that this database does not have reads as NULL, and
    /// a table as one without rows.
    fn read<K: Borrow<str> + Ord, T>(
        self,
        name: &str,
        keys: &BTreeSet<K>,
        read: impl Fn(&Read<'_>) -> Result<(K, T), Failure>,
    ) -> Result<BTreeMap<K, T>, Failure> {
        let table = LINKED.iter().find(|table| table.name == name);
        let Some((table, rows)) = table.zip(self.stored.0.get(name)) else {
            return Ok(BTreeMap::new());
        };
        let found = keys.iter().filter_map(|key| rows.get(key.borrow()));
        found.map(|row| read(&Read { row, table })).collect()
    }

    fn keys(self, keys: &BTreeSet<KeyToken>) -> Result<BTreeMap<KeyToken, Key>, Failure> {
        self.read("keys", keys, |row| {
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
        })
    }

    fn teams(self, teams: &BTreeSet<TeamId>) -> Result<BTreeMap<TeamId, AccessTeam>, Failure> {
        self.read("teams", teams, |row| {
            let team = AccessTeam {
                permission: row.text(1)?,
                organization: row.text(2)?,
                access_groups: row.names(3)?,
                members: members(&row.json(4)?),
                blocked: row.flag(5)?,
            };
            Ok((row.id()?, team))
        })
    }

    fn users(self, users: &BTreeSet<UserId>) -> Result<BTreeMap<UserId, User>, Failure> {
        self.read("users", users, |row| {
            let role: String = row.text(4)?.unwrap_or_default();
            let user = User {
                permission: row.text(1)?,
                organization: row.text(2)?,
                teams: row.names(3)?,
                administers: ADMINISTRATORS.contains(&role.as_str()),
                is_proxy_admin: role == "proxy_admin",
            };
            Ok((row.id()?, user))
        })
    }

    fn agents(self, agents: &BTreeSet<AgentId>) -> Result<BTreeMap<AgentId, Agent>, Failure> {
        self.read("agents", agents, |row| {
            let agent = Agent {
                permission: row.text(1)?,
                access_groups: row.names(2)?,
            };
            Ok((row.id()?, agent))
        })
    }

    /// Reads which permission row each of these owners links to.
    fn links<I: From<String> + Borrow<str> + Ord>(
        self,
        name: &str,
        ids: &BTreeSet<I>,
    ) -> Result<BTreeMap<I, Option<PermissionKey>>, Failure> {
        self.read(name, ids, |row| Ok((row.id()?, row.text(1)?)))
    }

    fn permissions(
        self,
        ids: &BTreeSet<PermissionKey>,
    ) -> Result<BTreeMap<PermissionKey, StoredRow>, Failure> {
        self.read("permissions", ids, |row| {
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
        })
    }

    fn access_groups(
        self,
        ids: &BTreeSet<AccessGroupId>,
    ) -> Result<BTreeMap<AccessGroupId, Option<AccessGroup>>, Failure> {
        self.read("access_groups", ids, |row| {
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
        })
    }

    fn toolsets(self, ids: &BTreeSet<ToolsetId>) -> Result<BTreeMap<ToolsetId, Toolset>, Failure> {
        self.read("toolsets", ids, |row| {
            Ok((row.id()?, toolset(row.json(1)?)))
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_place_of_its_own_and_every_lead_comes_from_a_query_before() {
        for (at, table) in LINKED.iter().enumerate() {
            let places: BTreeSet<usize> = (0..table.columns.len())
                .map(|column| table.place(column))
                .collect();
            assert_eq!(places.len(), table.columns.len(), "{}", table.name);
            for (column, place) in table.columns.iter().zip((0..).map(|c| table.place(c))) {
                let range = match column.sql_type {
                    "text" => FIRST_TEXT..FIRST_LIST,
                    "text[]" => FIRST_LIST..JSON,
                    "jsonb" => JSON..FLAG,
                    _ => FLAG..FLAG + 1,
                };
                assert!(range.contains(&place), "{} of {}", column.name, table.name);
            }
            for (name, column) in table.leads {
                let from = LINKED[..at].iter().find(|before| before.name == *name);
                let columns = from.unwrap().columns;
                assert!(columns.iter().any(|c| c.name == *column), "{name}.{column}");
            }
        }
    }

    #[test]
    fn a_table_that_a_database_does_not_have_leads_nowhere() {
        let schema = Schema::of_columns([(KEY_TABLE, "token"), (TEAM_TABLE, "team_id")]);
        let tables: Vec<&LinkedTable> = LINKED.iter().filter(|t| t.is_in(&schema)).collect();
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        assert_eq!(names, ["keys", "teams"]);
        let teams = tables[1].query(&schema, &tables);
        assert!(
            teams.contains("FROM keys AS q") && !teams.contains("users"),
            "{teams}"
        );
        assert!(teams.contains("NULL::pg_catalog.text[] AS l8"), "{teams}");
    }
}
