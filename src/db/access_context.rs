//! Reads what the owners of rows would inherit if these rows were emptied.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::db::decode::{self, TableColumn};
use crate::db::errors::failed;
use crate::db::fragments::{column_or, json_text, names_any, texts_or_none};
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation};
use crate::db::{owners, rows};
use crate::error::Failure;
use crate::litellm::access_context::{Grants, RelatedGrants, Team};
use crate::litellm::ids::{AccessGroupId, OrganizationId, PermissionKey, TeamId, ToolsetId};
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, AGENT_TABLE, KEY_TABLE, LINK, ORGANIZATION_TABLE, Owner, OwnerKind,
    TEAM_TABLE, USER_TABLE,
};
use crate::litellm::reference_sites::{
    ACCESS_GROUP_SERVERS, ACCESS_GROUPS, GrantKind, PERMISSIONS, Shape, Site, SiteTable, TAGS,
    TOOLSET_TOOLS, TOOLSETS,
};
use crate::litellm::row::Row;
use crate::litellm::value::Value;

/// Reads all that decides what the owners of `rows` may use if these rows are emptied.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn related_grants(
    connection: &mut PgConnection,
    schema: &Schema,
    rows: &[&Row],
) -> Result<RelatedGrants, Failure> {
    let mut related = RelatedGrants::default();
    if rows.is_empty() {
        return Ok(related);
    }
    let owners = || rows.iter().flat_map(|row| &row.owners);
    let mut reader = Reader { connection, schema };
    let parents = || {
        owners()
            .filter_map(Owner::as_key)
            .map(|key| &key.ties.parents)
    };

    let teams = unique(parents().filter_map(|parents| parents.team.as_ref()));
    related.teams = reader.teams(&teams).await?;
    let teams = related.teams.values();
    let above = teams.filter_map(|team| team.organization.as_ref());
    let own = parents().filter_map(|parents| parents.organization.as_ref());
    let organizations = unique(own.chain(above));
    related.organizations = reader.organizations(&organizations).await?;

    let own = rows.iter().map(|row| row.key.as_str());
    let of_teams = related
        .teams
        .values()
        .filter_map(|t| t.permissions.as_ref());
    let of_organizations = related.organizations.values().flatten();
    let above = of_teams.chain(of_organizations).map(PermissionKey::as_str);
    let keys = unique(own.chain(above));
    related.rows = reader.grants(&keys).await?;

    let toolsets = unique(related.rows.values().flat_map(|grants| &grants.toolsets));
    related.toolsets = reader.toolsets(&toolsets).await?;
    let groups = unique(related.teams.values().flat_map(|team| &team.access_groups));
    related.access_groups = reader.access_groups(&groups).await?;
    related.keys_under = reader.keys_under(owners().collect()).await?;
    Ok(related)
}

fn unique<'a, S: Borrow<str> + ?Sized + 'a>(names: impl Iterator<Item = &'a S>) -> Vec<String> {
    let names: BTreeSet<&str> = names.map(Borrow::borrow).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Reads rows of a table by their primary keys; without keys it asks for nothing.
struct Reader<'a> {
    connection: &'a mut PgConnection,
    schema: &'a Schema,
}

const TEAMS: &str = r#"
SELECT t."team_id", t.{link}, {organization}, {groups} FROM {table} AS t
WHERE t."team_id" {=} ANY ($1)"#;

const ORGANIZATIONS: &str = r#"
SELECT t."organization_id", t.{link} FROM {table} AS t WHERE t."organization_id" {=} ANY ($1)"#;

const GRANTS: &str = "SELECT t.{key}, {grants} FROM {table} AS t WHERE t.{key} {=} ANY ($1)";

const TOOLS_OF_TOOLSETS: &str =
    "SELECT t.{key}, t.{tools}::pg_catalog.text FROM {table} AS t WHERE t.{key} {=} ANY ($1)";

const SERVERS_OF_GROUPS: &str =
    "SELECT t.{key}, {servers} FROM {table} AS t WHERE t.{key} {=} ANY ($1)";

const KEYS_UNDER: &str = r"
SELECT {kind}, {parent}, pg_catalog.count(*) FROM {keys} AS k {join}
WHERE {parent} {=} ANY ($1) GROUP BY {parent}";

impl Reader<'_> {
    async fn ask(
        &mut self,
        template: &'static str,
        fragments: &[(&'static str, String)],
        keys: &[String],
    ) -> Result<Vec<PgRow>, Failure> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        sqlx::query(self.schema.statement(template, fragments))
            .persistent(false)
            .bind(keys)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(failed("read what the owners would inherit"))
    }

    async fn teams(&mut self, teams: &[String]) -> Result<BTreeMap<TeamId, Team>, Failure> {
        let organization = column_or(
            self.schema,
            TEAM_TABLE,
            "organization_id",
            "NULL::pg_catalog.text",
        );
        let fragments = [
            ("{link}", ident(LINK)),
            ("{organization}", organization),
            (
                "{groups}",
                texts_or_none(self.schema, TEAM_TABLE, ACCESS_GROUP_IDS),
            ),
            ("{table}", relation(TEAM_TABLE)),
        ];
        let found = self.ask(TEAMS, &fragments, teams).await?;
        let column = |name| TableColumn(TEAM_TABLE, name);
        let team = |row: &PgRow| {
            let permissions: Option<String> = decode::read(row, 1, column(LINK))?;
            let organization: Option<String> = decode::read(row, 2, column("organization_id"))?;
            let access_groups: Vec<String> = decode::read(row, 3, column(ACCESS_GROUP_IDS))?;
            let team = Team {
                permissions: permissions.map(PermissionKey),
                organization: organization.map(OrganizationId),
                access_groups: access_groups.into_iter().map(AccessGroupId).collect(),
            };
            Ok((TeamId(decode::read(row, 0, column("team_id"))?), team))
        };
        found.iter().map(team).collect()
    }

    async fn organizations(
        &mut self,
        organizations: &[String],
    ) -> Result<BTreeMap<OrganizationId, Option<PermissionKey>>, Failure> {
        let fragments = [
            ("{link}", ident(LINK)),
            ("{table}", relation(ORGANIZATION_TABLE)),
        ];
        let found = self.ask(ORGANIZATIONS, &fragments, organizations).await?;
        let column = |name| TableColumn(ORGANIZATION_TABLE, name);
        let organization = |row: &PgRow| {
            let id = OrganizationId(decode::read(row, 0, column("organization_id"))?);
            let permissions: Option<String> = decode::read(row, 1, column(LINK))?;
            Ok((id, permissions.map(PermissionKey)))
        };
        found.iter().map(organization).collect()
    }

    async fn grants(
        &mut self,
        keys: &[String],
    ) -> Result<BTreeMap<PermissionKey, Grants>, Failure> {
        let columns = grant_columns(self.schema, &PERMISSIONS);
        let values: Vec<&str> = columns.iter().map(|column| column.sql.as_str()).collect();
        let fragments = [
            ("{key}", ident(PERMISSIONS.key)),
            ("{grants}", values.join(", ")),
            ("{table}", relation(PERMISSIONS.table)),
        ];
        let found = self.ask(GRANTS, &fragments, keys).await?;
        let key = TableColumn(PERMISSIONS.table, PERMISSIONS.key);
        let of_row = |row: &PgRow| {
            let grants = grants(row, &columns)?.unwrap_or_default();
            Ok((PermissionKey(decode::read(row, 0, key)?), grants))
        };
        found.iter().map(of_row).collect()
    }

    async fn toolsets(
        &mut self,
        ids: &[String],
    ) -> Result<BTreeMap<ToolsetId, Vec<String>>, Failure> {
        let (table, key, tools) = (TOOLSETS.table, TOOLSETS.key, TOOLSET_TOOLS.column);
        if !self.schema.has(table, tools) {
            return Ok(BTreeMap::new());
        }
        let fragments = [
            ("{key}", ident(key)),
            ("{tools}", ident(tools)),
            ("{table}", relation(table)),
        ];
        let found = self.ask(TOOLS_OF_TOOLSETS, &fragments, ids).await?;
        let toolset = |row: &PgRow| {
            let tools = decode::read(row, 1, TableColumn(table, tools))?;
            let id = ToolsetId(decode::read(row, 0, TableColumn(table, key))?);
            Ok((id, servers_of_tools(tools)))
        };
        found.iter().map(toolset).collect()
    }

    async fn access_groups(
        &mut self,
        ids: &[String],
    ) -> Result<BTreeMap<AccessGroupId, Vec<String>>, Failure> {
        let (table, key) = (ACCESS_GROUPS.table, ACCESS_GROUPS.key);
        let servers = ACCESS_GROUP_SERVERS.column;
        if !self.schema.has(table, servers) {
            return Ok(BTreeMap::new());
        }
        let fragments = [
            ("{key}", ident(key)),
            ("{servers}", texts_or_none(self.schema, table, servers)),
            ("{table}", relation(table)),
        ];
        let found = self.ask(SERVERS_OF_GROUPS, &fragments, ids).await?;
        let group = |row: &PgRow| {
            let id = AccessGroupId(decode::read(row, 0, TableColumn(table, key))?);
            Ok((id, decode::read(row, 1, TableColumn(table, servers))?))
        };
        found.iter().map(group).collect()
    }

    /// Counts the keys of each team, organization, user and agent; an organization also has the
    /// keys of its teams.
    async fn keys_under(
        &mut self,
        owners: Vec<&Owner>,
    ) -> Result<BTreeMap<(OwnerKind, String), u64>, Failure> {
        let team = self.schema.has(TEAM_TABLE, "organization_id");
        let mut under = BTreeMap::new();
        for (kind, table, column) in [
            (OwnerKind::Team, TEAM_TABLE, "team_id"),
            (
                OwnerKind::Organization,
                ORGANIZATION_TABLE,
                "organization_id",
            ),
            (OwnerKind::User, USER_TABLE, "user_id"),
            (OwnerKind::Agent, AGENT_TABLE, "agent_id"),
        ] {
            let of_kind = owners.iter().filter(|owner| owner.kind() == kind);
            let ids = unique(of_kind.map(|owner| owner.id()));
            let has = self.schema.has(KEY_TABLE, column) && self.schema.has(table, column);
            let joins = kind == OwnerKind::Organization && team;
            if !has && !joins {
                continue;
            }
            let own = format!("k.{}", ident(column));
            let (parent, join) = match (has, joins) {
                (true, true) => (format!("coalesce({own}, t.{})", ident(column)), true),
                (false, true) => (format!("t.{}", ident(column)), true),
                (_, false) => (own, false),
            };
            let join = if join {
                format!(
                    "LEFT JOIN {} AS t ON t.{team} {{=}} k.{team}",
                    relation(TEAM_TABLE),
                    team = ident("team_id")
                )
            } else {
                String::new()
            };
            let fragments = [
                ("{kind}", format!("'{}'", kind.name())),
                ("{parent}", parent),
                ("{keys}", relation(KEY_TABLE)),
                ("{join}", join),
            ];
            for row in self.ask(KEYS_UNDER, &fragments, &ids).await? {
                let id = decode::read(&row, 1, TableColumn(KEY_TABLE, column))?;
                let keys: i64 = decode::read(&row, 2, "the number of keys under an owner")?;
                under.insert((kind, id), keys.unsigned_abs());
            }
        }
        Ok(under)
    }
}

/// A column of a permission row that grants something, and how it is read.
#[derive(Debug)]
struct GrantColumn {
    kind: GrantKind,
    name: &'static str,
    /// The shape of the JSON text that is read; `None` where `text[]` is, without NULL elements.
    shape: Option<Shape>,
    /// The value in a statement with the table aliased `t`.
    sql: String,
}

/// Lists the columns of `table`, the permission rows, that grant something: its sites and the tags.
fn grant_columns(schema: &Schema, table: &SiteTable) -> Vec<GrantColumn> {
    let texts = |kind, name| GrantColumn {
        kind,
        name,
        shape: None,
        sql: texts_or_none(schema, table.table, name),
    };
    let of_site = |site: &Site| {
        let kind = site.grants?;
        Some(match (kind, site.shape) {
            (GrantKind::Tags | GrantKind::Toolsets, Shape::TextArray) => texts(kind, site.column),
            (
                GrantKind::Servers | GrantKind::ServerTools | GrantKind::Tags | GrantKind::Toolsets,
                shape,
            ) => GrantColumn {
                kind,
                name: site.column,
                shape: Some(shape),
                sql: if schema.has(table.table, site.column) {
                    json_text(site)
                } else {
                    "NULL::pg_catalog.text".to_owned()
                },
            },
        })
    };
    let of_sites = table.sites.iter().filter_map(of_site);
    of_sites.chain([texts(GrantKind::Tags, TAGS)]).collect()
}

/// Reads what a row of these columns, after its key, grants; `None` if a column is malformed,
/// because LiteLLM then drops the row.
///
/// Source: LiteLLM 1.109.1 `auth/auth_checks.py`, `get_object_permission`.
fn grants(row: &PgRow, columns: &[GrantColumn]) -> Result<Option<Grants>, Failure> {
    let mut grants = Grants::default();
    for (at, column) in columns.iter().enumerate() {
        let name = TableColumn(PERMISSIONS.table, column.name);
        let Some(shape) = column.shape else {
            grants.add(column.kind, decode::read::<Vec<String>>(row, at + 1, name)?);
            continue;
        };
        let Ok(value) = Value::parse(shape, decode::read(row, at + 1, name)?) else {
            return Ok(None);
        };
        grants.add(column.kind, value.references().map(str::to_owned));
    }
    Ok(Some(grants))
}

/// Returns the servers that the tools of a toolset name. A list that is stored as a JSON string
/// counts as well.
///
/// Source: LiteLLM 1.109.1 `mcp_server/toolset_db.py`, `_toolset_from_row`.
fn servers_of_tools(text: Option<&str>) -> Vec<String> {
    let json = |text: &str| serde_json::from_str(text).unwrap_or_default();
    let mut tools: serde_json::Value = text.map(json).unwrap_or_default();
    if let Some(text) = tools.as_str() {
        tools = json(text);
    }
    let tools = tools.as_array().into_iter().flatten();
    let servers = tools.filter_map(|tool| tool.get("server_id")?.as_str());
    servers.map(str::to_owned).collect()
}

const ROWS_OF_TEAM_KEYS: &str = r#"
SELECT DISTINCT k."team_id", k.{link} FROM {keys} AS k JOIN {table} AS t ON t.{key} {=} k.{link}
WHERE k."team_id" {=} ANY ($1) AND ({names_any})"#;

/// Returns the SQL that tells whether a row of `table` names any of the references `$2` at a site
/// that a repair may change.
fn names_any_of_references(schema: &Schema, table: &'static SiteTable) -> String {
    let sites = schema.sites(table).into_iter();
    let names: Vec<String> = sites
        .filter(|site| site.may_change())
        .map(|site| names_any(site, "$2"))
        .collect();
    names.join(" OR ")
}

/// Reads the permission rows of the keys of `teams` that name any of `references`, each with its
/// team.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn rows_of_team_keys(
    connection: &mut PgConnection,
    schema: &Schema,
    teams: &[TeamId],
    references: &[String],
) -> Result<Vec<(TeamId, Row)>, Failure> {
    let sql = schema.statement(
        ROWS_OF_TEAM_KEYS,
        &[
            ("{link}", ident(LINK)),
            ("{keys}", relation(KEY_TABLE)),
            ("{table}", relation(PERMISSIONS.table)),
            ("{key}", ident(PERMISSIONS.key)),
            ("{names_any}", names_any_of_references(schema, &PERMISSIONS)),
        ],
    );
    let found: Vec<(String, String)> = sqlx::query_as(sql)
        .persistent(false)
        .bind(teams.iter().map(TeamId::as_str).collect::<Vec<_>>())
        .bind(references)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed("read the keys of a team"))?;
    let keys = unique(found.iter().map(|(_, key)| key));
    let owners = owners::holders(connection, schema, &PERMISSIONS, &keys).await?;
    let rows = rows::rows(connection, schema, &PERMISSIONS, &keys, &owners).await?;
    let rows: BTreeMap<String, Row> = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
    let of_team = |(team, key): (String, String)| Some((TeamId(team), rows.get(&key)?.clone()));
    Ok(found.into_iter().filter_map(of_team).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::test_support::MADE_UP;

    #[test]
    fn what_a_row_grants_is_read_from_every_site_of_its_table() {
        let columns = grant_columns(&Schema::of_table(&MADE_UP), &MADE_UP);
        let found: Vec<(&str, GrantKind)> = columns.iter().map(|c| (c.name, c.kind)).collect();
        assert_eq!(
            found,
            [
                ("made_up_servers", GrantKind::Servers),
                ("mcp_servers", GrantKind::Servers),
                ("mcp_tool_permissions", GrantKind::ServerTools),
                ("mcp_toolsets", GrantKind::Toolsets),
                ("mcp_access_groups", GrantKind::Tags),
            ]
        );
        for column in &columns {
            let name = ident(column.name);
            assert!(column.sql.contains(&name), "{name}: {}", column.sql);
        }
        let all = grant_columns(&Schema::of_table(&PERMISSIONS), &PERMISSIONS);
        assert_eq!(all.len(), PERMISSIONS.sites.len() + 1);
    }

    #[test]
    fn a_column_that_a_database_does_not_have_is_not_read() {
        let schema = Schema::of_columns([(MADE_UP.table, "mcp_servers")]);
        for column in grant_columns(&schema, &MADE_UP) {
            let is_read = column.sql.contains(&ident(column.name));
            assert_eq!(is_read, column.name == "mcp_servers", "{}", column.sql);
        }
        assert_eq!(
            names_any_of_references(&schema, &MADE_UP),
            r#"t."mcp_servers" {&&} $2"#
        );
    }

    #[test]
    fn the_keys_of_a_team_are_searched_at_every_site_that_a_repair_may_change() {
        assert_eq!(
            names_any_of_references(&Schema::of_table(&MADE_UP), &MADE_UP),
            r#"t."made_up_servers" {?|} $2 OR t."mcp_servers" {&&} $2 OR t."mcp_tool_permissions" {?|} $2"#
        );
    }
}
