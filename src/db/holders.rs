//! Who is affected by a row: who links to it, or has been given it.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, Row as _};

use super::read::column_or;
use super::schema::{AGENTS, GRANTED_TOOLSETS, KEYS, Schema};
use super::sql::{failed, ident, statement};
use crate::failure::Failure;
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, KEY_PARENTS, LINK, OWNER_TABLES, Owner, OwnerKind, OwnerTable, Parents,
};
use crate::litellm::sites::{ACCESS_GROUPS, Group, PERMISSIONS, SiteTable};

/// Whom rows affect, by primary key.
pub type Owners = BTreeMap<String, Vec<Owner>>;

/// Reads whom the rows of `table` with the given keys affect: of permission rows those who link to
/// them, of an access group those who have it, of a toolset those whose permission rows name it. What
/// every new key is given has nobody yet, and whose credentials there are is not asked.
///
/// # Errors
///
/// What the server said.
pub async fn holders(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    keys: &[String],
) -> Result<Owners, Failure> {
    match table.group {
        Group::Permissions => owners(connection, schema, keys).await,
        Group::AccessGroups => members(connection, schema, keys).await,
        Group::Toolsets => users(connection, schema, keys).await,
        Group::Defaults | Group::Credentials => Ok(Owners::new()),
    }
}

// The keys are joined, and distinct, so that PostgreSQL hashes them: they stand in the plan once, where
// `= ANY` in each branch puts them there once a table and ships every copy to every worker as text.
//
// The prefix of a token is made of those that are found, not of all.
const OWNERS: &str = r#"
SELECT o.kind, o.link, CASE WHEN o.secret THEN {prefix} ELSE o.id END,
       o.name, o.team, o.organization, o."user", o.agent, o.has_access_groups
FROM ({selects}) AS o
JOIN (SELECT DISTINCT unnest($1::text[]) AS key) AS k ON k.key = o.link"#;

// It is hashed once more where a token is stored as it is, so that not even a prefix is shown.
pub(super) const PREFIX: &str = "
CASE WHEN o.id ~ '^[0-9a-f]{64}$' THEN left(o.id, 8)
     ELSE left(encode(sha256(convert_to(o.id, 'UTF8')), 'hex'), 8) END";

const OWNERS_OF_TABLE: &str = r#"
SELECT {kind} AS kind, o.{link} AS link, o.{id} AS id, {secret} AS secret, {name} AS name,
       {team} AS team, {organization} AS organization, {user} AS "user", {agent} AS agent,
       {has_access_groups} AS has_access_groups
FROM {table} AS o"#;

/// Reads who links to the permission rows with the given keys: one statement over all tables, as
/// no table has an index on the link. So ask once for all rows: each call reads every owner.
async fn owners(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[String],
) -> Result<Owners, Failure> {
    let tables: Vec<&OwnerTable> = schema.owner_tables().collect();
    let selects: Vec<String> = tables
        .iter()
        .map(|owner| statement(OWNERS_OF_TABLE, &owner_fragments(schema, owner)).0)
        .collect();
    let fragments = [
        ("{prefix}", PREFIX.to_owned()),
        ("{selects}", selects.join("\nUNION ALL\n")),
    ];
    let sql = statement(OWNERS, &fragments);
    let rows = sqlx::query(sql)
        .persistent(false)
        .bind(keys)
        .fetch_all(connection)
        .await
        .map_err(failed("read who links to the permission rows"))?;
    let mut owners = Owners::new();
    for row in rows {
        let kind: &str = row.get(0);
        let Some(table) = tables.iter().find(|table| table.kind.name() == kind) else {
            continue;
        };
        owners.entry(row.get(1)).or_default().push(Owner {
            kind: table.kind,
            id: row.get(2),
            name: row.get(3),
            parents: Parents {
                team: row.get(4),
                organization: row.get(5),
                user: row.get(6),
                agent: row.get(7),
            },
            has_access_groups: row.get(8),
        });
    }
    for owners in owners.values_mut() {
        owners.sort_unstable();
    }
    Ok(owners)
}

fn owner_fragments(schema: &Schema, owner: &OwnerTable) -> [(&'static str, String); 11] {
    let is_key = owner.kind == OwnerKind::Key;
    let [team, organization, user, agent] = KEY_PARENTS.map(|column| {
        if is_key {
            column_or(schema, owner.table, column, "NULL::text")
        } else {
            "NULL::text".to_owned()
        }
    });
    let has_access_groups = if is_key && schema.has(owner.table, ACCESS_GROUP_IDS) {
        format!("coalesce(cardinality({}), 0) > 0", ident(ACCESS_GROUP_IDS))
    } else {
        "false".to_owned()
    };
    [
        ("{kind}", format!("'{}'", owner.kind.name())),
        ("{link}", ident(LINK)),
        ("{id}", ident(owner.id)),
        ("{secret}", owner.id_is_secret.to_string()),
        (
            "{name}",
            column_or(schema, owner.table, owner.name, "NULL::text"),
        ),
        ("{team}", team),
        ("{organization}", organization),
        ("{user}", user),
        ("{agent}", agent),
        ("{has_access_groups}", has_access_groups),
        ("{table}", ident(owner.table)),
    ]
}

const MEMBERS: &str = r"
SELECT DISTINCT m.kind, m.row, CASE WHEN m.kind = 'key' THEN {prefix} ELSE o.id END, m.name
FROM ({selects}) AS m (kind, row, id, name), LATERAL (SELECT m.id) AS o (id)
WHERE m.row = ANY ($1)";

const HAVING: &str = r"
SELECT '{kind}', e.row, t.{id}, {name} FROM {table} AS t, unnest(t.{groups}) AS e (row)";

// LiteLLM keeps both directions, and neither by a foreign key.
const ASSIGNED: &str = r"
SELECT '{kind}', g.{key}, t.{id}, {name}
FROM {group_table} AS g, unnest(g.{assigned}) AS e (id) JOIN {table} AS t ON t.{id} = e.id";

/// Reads who has access groups: keys, teams and agents.
///
/// Source: LiteLLM 1.109.1 `management_endpoints/access_group_endpoints.py` writes the groups of a
/// team or key and their members, each in its own table.
async fn members(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[String],
) -> Result<Owners, Failure> {
    let mut selects = Vec::new();
    for owner in &OWNER_TABLES {
        let assigned = match owner.kind {
            OwnerKind::Key => "assigned_key_ids",
            OwnerKind::Team => "assigned_team_ids",
            OwnerKind::Organization
            | OwnerKind::Project
            | OwnerKind::User
            | OwnerKind::EndUser
            | OwnerKind::Agent => "",
        };
        let fragments = [
            ("{kind}", owner.kind.name().to_owned()),
            ("{key}", ident(ACCESS_GROUPS.key)),
            ("{id}", ident(owner.id)),
            ("{name}", qualified_or_null(schema, owner)),
            ("{group_table}", ident(ACCESS_GROUPS.table)),
            ("{assigned}", ident(assigned)),
            ("{groups}", ident(ACCESS_GROUP_IDS)),
            ("{table}", ident(owner.table)),
        ];
        if [KEYS, AGENTS, "LiteLLM_TeamTable"].contains(&owner.table)
            && schema.has(owner.table, ACCESS_GROUP_IDS)
        {
            selects.push(statement(HAVING, &fragments).0);
        }
        if schema.has(ACCESS_GROUPS.table, assigned) {
            selects.push(statement(ASSIGNED, &fragments).0);
        }
    }
    if selects.is_empty() || keys.is_empty() {
        return Ok(Owners::new());
    }
    let fragments = [
        ("{prefix}", PREFIX.to_owned()),
        ("{selects}", selects.join("\nUNION ALL\n")),
    ];
    let rows = sqlx::query(statement(MEMBERS, &fragments))
        .persistent(false)
        .bind(keys)
        .fetch_all(connection)
        .await
        .map_err(failed("read who has the access groups"))?;
    let mut members = Owners::new();
    for row in rows {
        let kind: &str = row.get(0);
        let Some(table) = OWNER_TABLES.iter().find(|table| table.kind.name() == kind) else {
            continue;
        };
        members.entry(row.get(1)).or_default().push(Owner {
            kind: table.kind,
            id: row.get(2),
            name: row.get(3),
            parents: Parents::default(),
            has_access_groups: true,
        });
    }
    for members in members.values_mut() {
        members.sort_unstable();
    }
    Ok(members)
}

fn qualified_or_null(schema: &Schema, owner: &OwnerTable) -> String {
    match column_or(schema, owner.table, owner.name, "") {
        name if name.is_empty() => "NULL::text".to_owned(),
        name => format!("t.{name}"),
    }
}

const NAMING_TOOLSETS: &str = r"
SELECT DISTINCT e.toolset, t.{key} FROM {table} AS t, unnest(t.{toolsets}) AS e (toolset)
WHERE t.{toolsets} && $1 AND e.toolset = ANY ($1)";

/// Reads who has been granted toolsets.
async fn users(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[String],
) -> Result<Owners, Failure> {
    if !schema.has(PERMISSIONS.table, GRANTED_TOOLSETS) || keys.is_empty() {
        return Ok(Owners::new());
    }
    let fragments = [
        ("{key}", ident(PERMISSIONS.key)),
        ("{table}", ident(PERMISSIONS.table)),
        ("{toolsets}", ident(GRANTED_TOOLSETS)),
    ];
    let naming: Vec<(String, String)> = sqlx::query_as(statement(NAMING_TOOLSETS, &fragments))
        .persistent(false)
        .bind(keys)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed("read who is granted the toolsets"))?;
    let rows: BTreeSet<&String> = naming.iter().map(|(_, row)| row).collect();
    let rows: Vec<String> = rows.into_iter().cloned().collect();
    let owners = owners(connection, schema, &rows).await?;
    let mut users = Owners::new();
    for (toolset, row) in naming {
        let of_row = owners.get(&row).into_iter().flatten().cloned();
        users.entry(toolset).or_default().extend(of_row);
    }
    for users in users.values_mut() {
        users.sort_unstable();
        users.dedup();
    }
    Ok(users)
}
