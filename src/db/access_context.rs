//! Reads what the owners of rows would inherit if these rows were emptied.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::db::decode::{self, TableColumn};
use crate::db::errors::failed;
use crate::db::fragments::{column_or, is_among, json_text, names_any, texts_or_none, uncollated};
use crate::db::owned_rows::OwnedRows;
use crate::db::schema::Schema;
use crate::db::sql::{ident, part, relation};
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

    let asked = AskedLevels {
        teams: unique(parents().filter_map(|parents| parents.team.as_ref())),
        organizations: unique(parents().filter_map(|parents| parents.organization.as_ref())),
        rows: unique(rows.iter().map(|row| row.key.as_str())),
    };
    reader.levels(&asked, &mut related).await?;

    let asked = AskedBeside {
        toolsets: unique(related.rows.values().flat_map(|grants| &grants.toolsets)),
        access_groups: unique(related.teams.values().flat_map(|team| &team.access_groups)),
        owners: COUNTED.map(|owner| {
            let of_kind = owners().filter(|o| o.kind() == owner.kind);
            unique(of_kind.map(Owner::id))
        }),
    };
    reader.beside(&asked, &mut related).await?;
    Ok(related)
}

/// What is asked about the rows above others.
struct AskedLevels {
    /// The teams of keys.
    teams: Vec<String>,
    /// The organizations of keys; those of the teams are read as well.
    organizations: Vec<String>,
    /// Permission rows; those of the teams and organizations are read as well.
    rows: Vec<String>,
}

/// What is asked once the levels are known.
struct AskedBeside {
    toolsets: Vec<String>,
    access_groups: Vec<String>,
    /// The owners whose keys are counted, of each kind of [`COUNTED`].
    owners: [Vec<String>; COUNTED.len()],
}

/// A kind of owner whose keys are counted.
struct CountedOwner {
    kind: OwnerKind,
    table: &'static str,
    /// The id, in this table and in that of the keys.
    column: &'static str,
}

/// An organization also has the keys of its teams.
const COUNTED: [CountedOwner; 4] = [
    CountedOwner {
        kind: OwnerKind::Team,
        table: TEAM_TABLE,
        column: "team_id",
    },
    CountedOwner {
        kind: OwnerKind::Organization,
        table: ORGANIZATION_TABLE,
        column: "organization_id",
    },
    CountedOwner {
        kind: OwnerKind::User,
        table: USER_TABLE,
        column: "user_id",
    },
    CountedOwner {
        kind: OwnerKind::Agent,
        table: AGENT_TABLE,
        column: "agent_id",
    },
];

fn unique<'a, S: Borrow<str> + ?Sized + 'a>(names: impl Iterator<Item = &'a S>) -> Vec<String> {
    let names: BTreeSet<&str> = names.map(Borrow::borrow).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Reads what is related to rows, in as few statements as their order allows.
struct Reader<'a> {
    connection: &'a mut PgConnection,
    schema: &'a Schema,
}

// The columns: kind, id, link, organization, access groups, and what is granted. The ids that are
// looked up come from columns of other tables: see `uncollated`.
const LEVELS: &str = r"
WITH teams AS (
    SELECT t.{team} AS id, t.{link} AS link, {organization_of_team} AS organization,
           {groups} AS groups
    FROM {team_table} AS t WHERE t.{team} {=} ANY ($1)
), organizations AS (
    SELECT t.{organization} AS id, t.{link} AS link
    FROM (SELECT pg_catalog.unnest($2::pg_catalog.text[]) AS id
          UNION SELECT {organization_above} FROM teams AS o) AS i
    JOIN {organization_table} AS t ON t.{organization} {=} i.id
), linked AS (
    SELECT pg_catalog.unnest($3::pg_catalog.text[]) AS id
    UNION SELECT {linked} FROM teams AS l
    UNION SELECT {linked} FROM organizations AS l
)
SELECT 1, t.id, t.link, t.organization, t.groups, {nothing} FROM teams AS t
UNION ALL
SELECT 2, t.id, t.link, NULL, NULL, {nothing} FROM organizations AS t
UNION ALL
SELECT 3, t.{key}, NULL, NULL, NULL, {grants}
FROM linked AS l JOIN {table} AS t ON t.{key} {=} l.id";

// The columns: the kind, the id, the tools, the servers, and the number of keys.
const TOOLS_OF_TOOLSETS: &str = "
SELECT 'toolset', t.{key}, t.{tools}::pg_catalog.text, NULL::pg_catalog.text[], 0::pg_catalog.int8
FROM {table} AS t WHERE t.{key} {=} ANY ($1)";

const SERVERS_OF_GROUPS: &str = "
SELECT 'group', t.{key}, NULL::pg_catalog.text, {servers}, 0::pg_catalog.int8
FROM {table} AS t WHERE t.{key} {=} ANY ($2)";

// All keys are read, and hashed, so no index is used, and the columns of two tables are compared in
// one collation.
const KEYS_UNDER: &str = r"
SELECT {kind}, {parent}, NULL::pg_catalog.text, NULL::pg_catalog.text[], pg_catalog.count(*)
FROM {keys} AS k {join}
WHERE {is_asked} GROUP BY {parent}";

impl Reader<'_> {
    /// Reads teams, organizations and permission rows.
    async fn levels(
        &mut self,
        asked: &AskedLevels,
        related: &mut RelatedGrants,
    ) -> Result<(), Failure> {
        let columns = grant_columns(self.schema, &PERMISSIONS);
        let values: Vec<&str> = columns.iter().map(|column| column.sql.as_str()).collect();
        let nothing = columns.iter().map(|column| match column.shape {
            Some(_) => "NULL::pg_catalog.text",
            None => "NULL::pg_catalog.text[]",
        });
        let nothing: Vec<&str> = nothing.collect();
        let organization = column_or(
            self.schema,
            TEAM_TABLE,
            "organization_id",
            "NULL::pg_catalog.text",
        );
        let fragments = [
            ("{team}", ident("team_id")),
            ("{organization}", ident("organization_id")),
            ("{organization_of_team}", organization),
            ("{organization_above}", uncollated("o.organization")),
            ("{linked}", uncollated("l.link")),
            (
                "{groups}",
                texts_or_none(self.schema, TEAM_TABLE, ACCESS_GROUP_IDS),
            ),
            ("{link}", ident(LINK)),
            ("{team_table}", relation(TEAM_TABLE)),
            ("{organization_table}", relation(ORGANIZATION_TABLE)),
            ("{nothing}", nothing.join(", ")),
            ("{key}", ident(PERMISSIONS.key)),
            ("{grants}", values.join(", ")),
            ("{table}", relation(PERMISSIONS.table)),
        ];
        let found = sqlx::query(self.schema.statement(LEVELS, &fragments))
            .persistent(false)
            .bind(&asked.teams)
            .bind(&asked.organizations)
            .bind(&asked.rows)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(failed(DOING))?;
        for row in &found {
            let id = |table, column| decode::read(row, 1, TableColumn(table, column));
            let link = |table| -> Result<_, Failure> {
                let link: Option<String> = decode::read(row, 2, TableColumn(table, LINK))?;
                Ok(link.map(PermissionKey))
            };
            match decode::read(row, 0, "the kind of a row")? {
                1 => {
                    let column = |name| TableColumn(TEAM_TABLE, name);
                    let organization: Option<String> =
                        decode::read(row, 3, column("organization_id"))?;
                    let access_groups: Vec<String> =
                        decode::read(row, 4, column(ACCESS_GROUP_IDS))?;
                    let team = Team {
                        permissions: link(TEAM_TABLE)?,
                        organization: organization.map(OrganizationId),
                        access_groups: access_groups.into_iter().map(AccessGroupId).collect(),
                    };
                    related
                        .teams
                        .insert(TeamId(id(TEAM_TABLE, "team_id")?), team);
                }
                2 => {
                    let organization = OrganizationId(id(ORGANIZATION_TABLE, "organization_id")?);
                    let link = link(ORGANIZATION_TABLE)?;
                    related.organizations.insert(organization, link);
                }
                i32::MIN..=0 | 3..=i32::MAX => {
                    let grants = grants(row, 5, &columns)?.unwrap_or_default();
                    let row = PermissionKey(id(PERMISSIONS.table, PERMISSIONS.key)?);
                    related.rows.insert(row, grants);
                }
            }
        }
        Ok(())
    }

    /// Reads toolsets and access groups, and counts the keys of owners.
    async fn beside(
        &mut self,
        asked: &AskedBeside,
        related: &mut RelatedGrants,
    ) -> Result<(), Failure> {
        let mut selects = Vec::new();
        let (toolsets, tools) = (TOOLSETS.table, TOOLSET_TOOLS.column);
        if !asked.toolsets.is_empty() && self.schema.has(toolsets, tools) {
            let fragments = [
                ("{key}", ident(TOOLSETS.key)),
                ("{tools}", ident(tools)),
                ("{table}", relation(toolsets)),
            ];
            selects.push(part(TOOLS_OF_TOOLSETS, &fragments));
        }
        let (groups, servers) = (ACCESS_GROUPS.table, ACCESS_GROUP_SERVERS.column);
        if !asked.access_groups.is_empty() && self.schema.has(groups, servers) {
            let fragments = [
                ("{key}", ident(ACCESS_GROUPS.key)),
                ("{servers}", texts_or_none(self.schema, groups, servers)),
                ("{table}", relation(groups)),
            ];
            selects.push(part(SERVERS_OF_GROUPS, &fragments));
        }
        for (at, (owner, ids)) in COUNTED.iter().zip(&asked.owners).enumerate() {
            if !ids.is_empty() {
                selects.extend(self.keys_under(owner, at + 3));
            }
        }
        if selects.is_empty() {
            return Ok(());
        }
        let selects = [("{selects}", selects.join("\nUNION ALL\n"))];
        let mut query = sqlx::query(self.schema.statement("{selects}", &selects))
            .persistent(false)
            .bind(&asked.toolsets)
            .bind(&asked.access_groups);
        for ids in &asked.owners {
            query = query.bind(ids);
        }
        let found = query.fetch_all(&mut *self.connection).await;
        for row in &found.map_err(failed(DOING))? {
            let kind: &str = decode::read(row, 0, "the kind of a row")?;
            let counted = COUNTED.iter().find(|owner| owner.kind.name() == kind);
            match (kind, counted) {
                (_, Some(owner)) => {
                    let id = decode::read(row, 1, TableColumn(KEY_TABLE, owner.column))?;
                    let keys: i64 = decode::read(row, 4, "the number of keys under an owner")?;
                    let keys = keys.unsigned_abs();
                    related.keys_under.insert((owner.kind, id), keys);
                }
                ("toolset", None) => {
                    let id = decode::read(row, 1, TableColumn(toolsets, TOOLSETS.key))?;
                    let tools = decode::read(row, 2, TableColumn(toolsets, tools))?;
                    let servers = servers_of_tools(tools);
                    related.toolsets.insert(ToolsetId(id), servers);
                }
                (_, None) => {
                    let id = decode::read(row, 1, TableColumn(groups, ACCESS_GROUPS.key))?;
                    let servers = decode::read(row, 3, TableColumn(groups, servers))?;
                    related.access_groups.insert(AccessGroupId(id), servers);
                }
            }
        }
        Ok(())
    }

    /// Returns the SQL that counts the keys of owners of a kind, whose ids are a parameter of that
    /// number; `None` if keys have no such owner.
    fn keys_under(&self, owner: &CountedOwner, parameter: usize) -> Option<String> {
        let column = owner.column;
        let has = self.schema.has(KEY_TABLE, column) && self.schema.has(owner.table, column);
        let joins =
            owner.kind == OwnerKind::Organization && self.schema.has(TEAM_TABLE, "organization_id");
        if !has && !joins {
            return None;
        }
        let own = format!("k.{}", ident(column));
        let (parent, join) = match (has, joins) {
            (true, true) => {
                let either = format!("coalesce({own}, t.{})", ident(column));
                (format!(r#"({either} COLLATE pg_catalog."C")"#), true)
            }
            (false, true) => (format!("t.{}", ident(column)), true),
            (_, false) => (own, false),
        };
        let join = if join {
            format!(
                r#"LEFT JOIN {} AS t ON t.{team} {{=}} k.{team} COLLATE pg_catalog."C""#,
                relation(TEAM_TABLE),
                team = ident("team_id")
            )
        } else {
            String::new()
        };
        let fragments = [
            ("{kind}", format!("'{}'", owner.kind.name())),
            (
                "{is_asked}",
                is_among(
                    self.schema,
                    "{parent}",
                    &format!("${parameter}::pg_catalog.text[]"),
                ),
            ),
            ("{parent}", parent),
            ("{keys}", relation(KEY_TABLE)),
            ("{join}", join),
        ];
        Some(part(KEYS_UNDER, &fragments))
    }
}

const DOING: &str = "read what the owners would inherit";

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

/// Reads what a row grants in these columns, of which the first is at `first`. Returns `None` if a
/// column is malformed, because LiteLLM then drops the row.
///
/// Source: LiteLLM 1.109.1 `auth/auth_checks.py`, `get_object_permission`.
fn grants(row: &PgRow, first: usize, columns: &[GrantColumn]) -> Result<Option<Grants>, Failure> {
    let mut grants = Grants::default();
    for (at, column) in columns.iter().enumerate() {
        let name = TableColumn(PERMISSIONS.table, column.name);
        let Some(shape) = column.shape else {
            grants.add(
                column.kind,
                decode::read::<Vec<String>>(row, first + at, name)?,
            );
            continue;
        };
        let Ok(value) = Value::parse(shape, decode::read(row, first + at, name)?) else {
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
SELECT DISTINCT k."team_id", k.{link} FROM {keys} AS k JOIN {table} AS t ON t.{key} {=} {linked}
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
            ("{linked}", uncollated(&format!("k.{}", ident(LINK)))),
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
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let keys = unique(found.iter().map(|(_, key)| key));
    let mut owned = OwnedRows::new(&PERMISSIONS, &keys);
    let rows = owned.read(connection, schema, &keys).await?;
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
