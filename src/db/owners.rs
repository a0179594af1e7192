//! Reads the owners of rows: those who link to a row, or to whom it is granted.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use sqlx::PgConnection;

use crate::db::detect::functions;
use crate::db::errors::failed;
use crate::db::fragments::{column_or, is_among, names_any, shown_token, uncollated, value};
use crate::db::packed_owners::{LinkedOwner, Owners};
use crate::db::schema::Schema;
use crate::db::sql::{RARE, ident, part, relation};
use crate::error::Failure;
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, AGENT_TABLE, KEY_PARENTS, KEY_TABLE, LINK, OWNER_TABLES, OwnerKind,
    OwnerTable, TEAM_TABLE,
};
use crate::litellm::reference_sites::{
    ACCESS_GROUPS, GrantKind, Group, PERMISSIONS, Shape, Site, SiteTable,
};

/// Reads the owners of the rows of `table` with the given keys: those who link to a permission row,
/// those who have an access group, and those whose permission rows name a toolset.
///
/// The defaults of new keys have no owner yet, and nobody asks whose the credentials are.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn holders<'k>(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    keys: &'k [String],
) -> Result<Owners<'k>, Failure> {
    match table.group {
        Group::Permissions => owners(connection, schema, keys).await,
        Group::AccessGroups => members(connection, schema, keys).await,
        Group::Toolsets => users(connection, schema, keys).await,
        Group::Defaults | Group::Credentials => Ok(Owners::of_nobody(keys)),
    }
}

// There are as many virtual keys as rows, so parallel workers look for them by their hash (see
// `is_among`). A join with the array would take one process: the planner has no workers for what is
// no table.
//
// The other tables are joined together with one array. Each further array in the plan is sent to
// every worker, which takes 30 to 50 ms for 14,000 rows, even for an empty table. The array is
// distinct, so that the planner hashes it.
const OWNERS: &str = r"
SELECT {columns}
FROM ({keys}
      WHERE CASE WHEN {is_asked} THEN 1 ELSE 0 END {=} 1 AND {rare}
      UNION ALL
      SELECT o.*
      FROM ({others}) AS o
      JOIN (SELECT DISTINCT pg_catalog.unnest($1::pg_catalog.text[]) AS key) AS k
           ON k.key {=} o.link) AS o";

/// The columns of an owner. The prefix of a token is made here, outside the filter, so that it is
/// made only for the keys that pass.
pub(super) const COLUMNS: &str = r#"
       o.kind, o.link, CASE WHEN o.secret THEN {prefix} ELSE o.id END,
       o.name, o.team, o.organization, o."user", o.agent, o.has_access_groups"#;

const EVERYBODY: &str = "
SELECT {columns} FROM ({links}) AS o WHERE o.link IS NOT NULL";

const DOING: &str = "read who links to the permission rows";

const OWNERS_OF_TABLE: &str = r#"
SELECT {kind} AS kind, o.{link} AS link, o.{id} AS id, {secret} AS secret, {name} AS name,
       {team} AS team, {organization} AS organization, {user} AS "user", {agent} AS agent,
       {has_access_groups} AS has_access_groups
FROM {table} AS o"#;

/// Returns the SQL of everybody who links to permission rows, a row each: `link`, `kind`, `id` and
/// what [`KeyTies`](crate::litellm::owners::KeyTies) are made of.
pub(super) fn links(schema: &Schema) -> String {
    let tables = schema.owner_tables();
    let select = |owner| part(OWNERS_OF_TABLE, &owner_fragments(schema, owner));
    tables.map(select).collect::<Vec<_>>().join("\nUNION ALL\n")
}

/// Returns the SQL of the owners of the rows of `table` with the keys `$1`, with
/// [`COLUMNS`]; `None` if they take more than one statement, or if nobody owns them.
pub(super) fn of_rows(schema: &Schema, table: &SiteTable) -> Option<String> {
    match table.group {
        Group::Permissions => Some(linking(schema)),
        Group::AccessGroups => {
            let members = having(schema)?;
            Some(part(MEMBERS_AS_OWNERS, &[("{members}", members)]))
        }
        Group::Toolsets | Group::Defaults | Group::Credentials => None,
    }
}

/// Returns the SQL of [`OWNERS`], in one statement over all tables.
fn linking(schema: &Schema) -> String {
    // Every schema with permission rows has keys and other owners.
    let (of_keys, others): (Vec<&OwnerTable>, Vec<&OwnerTable>) = schema
        .owner_tables()
        .partition(|table| table.kind == OwnerKind::Key);
    let select = |owner: &&OwnerTable| part(OWNERS_OF_TABLE, &owner_fragments(schema, owner));
    let all = |tables: Vec<&OwnerTable>| -> Vec<String> { tables.iter().map(select).collect() };
    let fragments = [
        ("{columns}", columns()),
        ("{keys}", all(of_keys).join("\nUNION ALL\n")),
        ("{others}", all(others).join("\nUNION ALL\n")),
        (
            "{is_asked}",
            is_among(schema, "o.{link}", "$1::pg_catalog.text[]"),
        ),
        (
            "{rare}",
            RARE.replace("{never}", &format!("o.{} IS NULL", ident(LINK))),
        ),
        ("{link}", ident(LINK)),
    ];
    part(OWNERS, &fragments)
}

/// Returns the SQL of [`COLUMNS`].
fn columns() -> String {
    part(COLUMNS, &[("{prefix}", shown_token("o.id"))])
}

/// Reads everybody who links to a permission row that `is_wanted` accepts, in no order, and hands
/// them to `found`. All others who link to a row are sent too, so it is for very many rows.
///
/// # Errors
///
/// What the server said, or what `found` says.
pub(crate) async fn everybody(
    connection: &mut PgConnection,
    schema: &Schema,
    is_wanted: impl Fn(&str) -> bool,
    mut found: impl FnMut(LinkedOwner) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let fragments = [("{columns}", columns()), ("{links}", links(schema))];
    let mut rows = sqlx::query(schema.statement(EVERYBODY, &fragments))
        .persistent(false)
        .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(failed(DOING))? {
        if let Some(owner) = LinkedOwner::read(&row, &is_wanted)? {
            found(owner)?;
        }
    }
    Ok(())
}

/// Reads who links to the permission rows with the given keys.
///
/// No table has an index on the link, so each call reads every owner: ask once for all rows. For
/// very many rows see [`everybody`].
async fn owners<'k>(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &'k [String],
) -> Result<Owners<'k>, Failure> {
    let fragments = [("{owners}", linking(schema))];
    let mut rows = sqlx::query(schema.statement("{owners}", &fragments))
        .persistent(false)
        .bind(keys)
        .fetch(connection);
    let mut owners = Owners::of_nobody(keys);
    while let Some(row) = rows.try_next().await.map_err(failed(DOING))? {
        owners.add_row(&row)?;
    }
    Ok(owners.sorted())
}

fn owner_fragments(schema: &Schema, owner: &OwnerTable) -> [(&'static str, String); 11] {
    let is_key = owner.kind == OwnerKind::Key;
    let [team, organization, user, agent] = KEY_PARENTS.map(|column| {
        if is_key {
            column_or(schema, owner.table, column, "NULL::pg_catalog.text")
        } else {
            "NULL::pg_catalog.text".to_owned()
        }
    });
    let has_access_groups = if is_key && schema.has(owner.table, ACCESS_GROUP_IDS) {
        format!(
            "coalesce(pg_catalog.cardinality({}), 0) {{>}} 0",
            ident(ACCESS_GROUP_IDS)
        )
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
            column_or(schema, owner.table, owner.name, "NULL::pg_catalog.text"),
        ),
        ("{team}", team),
        ("{organization}", organization),
        ("{user}", user),
        ("{agent}", agent),
        ("{has_access_groups}", has_access_groups),
        ("{table}", relation(owner.table)),
    ]
}

// The columns are from several tables, so those that are told apart get one collation.
const MEMBERS: &str = r#"
SELECT DISTINCT m.kind, m.row COLLATE pg_catalog."C",
       (CASE WHEN m.kind {=} 'key' THEN {prefix} ELSE o.id END) COLLATE pg_catalog."C",
       m.name COLLATE pg_catalog."C"
FROM ({selects}) AS m (kind, row, id, name), LATERAL (SELECT m.id) AS o (id)
WHERE m.row {=} ANY ($1)"#;

const HAVING: &str = r"
SELECT '{kind}', e.row, t.{id}, {name} FROM {table} AS t, pg_catalog.unnest(t.{groups}) AS e (row)";

// LiteLLM stores both directions, and neither has a foreign key.
const ASSIGNED: &str = r"
SELECT '{kind}', g.{key}, t.{id}, {name}
FROM {group_table} AS g, pg_catalog.unnest(g.{assigned}) AS e (id)
JOIN {table} AS t ON t.{id} {=} {assigned_id}";

// With COLUMNS. Whoever has an access group has access groups.
const MEMBERS_AS_OWNERS: &str = r"
SELECT m.kind, m.row, m.id, m.name, NULL::pg_catalog.text, NULL::pg_catalog.text,
       NULL::pg_catalog.text, NULL::pg_catalog.text, true
FROM ({members}) AS m (kind, row, id, name)";

/// Returns the SQL of who has access groups: keys, teams and agents; `None` if this database does
/// not tell.
///
/// Source: LiteLLM 1.109.1 `management_endpoints/access_group_endpoints.py` writes the groups of a
/// team or key and their members, each in its own table.
fn having(schema: &Schema) -> Option<String> {
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
            ("{group_table}", relation(ACCESS_GROUPS.table)),
            ("{assigned_id}", uncollated("e.id")),
            ("{assigned}", ident(assigned)),
            ("{groups}", ident(ACCESS_GROUP_IDS)),
            ("{table}", relation(owner.table)),
        ];
        if [KEY_TABLE, AGENT_TABLE, TEAM_TABLE].contains(&owner.table)
            && schema.has(owner.table, ACCESS_GROUP_IDS)
        {
            selects.push(part(HAVING, &fragments));
        }
        if schema.has(ACCESS_GROUPS.table, assigned) {
            selects.push(part(ASSIGNED, &fragments));
        }
    }
    if selects.is_empty() {
        return None;
    }
    let fragments = [
        ("{prefix}", shown_token("o.id")),
        ("{selects}", selects.join("\nUNION ALL\n")),
    ];
    Some(part(MEMBERS, &fragments))
}

/// Reads who has the access groups with the given keys.
async fn members<'k>(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &'k [String],
) -> Result<Owners<'k>, Failure> {
    let mut members = Owners::of_nobody(keys);
    let Some(sql) = of_rows(schema, &ACCESS_GROUPS).filter(|_| !keys.is_empty()) else {
        return Ok(members);
    };
    let rows = sqlx::query(schema.statement("{members}", &[("{members}", sql)]))
        .persistent(false)
        .bind(keys)
        .fetch_all(connection)
        .await
        .map_err(failed("read who has the access groups"))?;
    for row in &rows {
        members.add_row(row)?;
    }
    Ok(members.sorted())
}

fn qualified_or_null(schema: &Schema, owner: &OwnerTable) -> String {
    match column_or(schema, owner.table, owner.name, "") {
        name if name.is_empty() => "NULL::pg_catalog.text".to_owned(),
        name => format!("t.{name}"),
    }
}

const NAMING_TOOLSETS: &str = r"
SELECT DISTINCT e.toolset, t.{key}
FROM {table} AS t, {toolsets} AS e (toolset)
WHERE {names_any} AND e.toolset {=} ANY ($1)";

/// Returns a statement for each site of `table` that grants toolsets.
fn naming_toolsets(schema: &Schema, table: &'static SiteTable) -> Vec<String> {
    let grants_toolsets = |site: &&Site| {
        site.grants == Some(GrantKind::Toolsets) && schema.has(table.table, site.column)
    };
    let select = |site: &Site| {
        let each = if site.shape == Shape::TextArray {
            format!("pg_catalog.unnest({})", value(site))
        } else {
            functions(site)
        };
        let fragments = [
            ("{key}", ident(table.key)),
            ("{table}", relation(table.table)),
            ("{toolsets}", each),
            ("{names_any}", names_any(site, "$1")),
        ];
        part(NAMING_TOOLSETS, &fragments)
    };
    table
        .sites
        .iter()
        .filter(grants_toolsets)
        .map(select)
        .collect()
}

/// Reads who has been granted toolsets.
async fn users<'k>(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &'k [String],
) -> Result<Owners<'k>, Failure> {
    let selects = naming_toolsets(schema, &PERMISSIONS);
    if selects.is_empty() || keys.is_empty() {
        return Ok(Owners::of_nobody(keys));
    }
    let selects = [("{selects}", selects.join("\nUNION\n"))];
    let naming: Vec<(String, String)> = sqlx::query_as(schema.statement("{selects}", &selects))
        .persistent(false)
        .bind(keys)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed("read who is granted the toolsets"))?;
    let rows: BTreeSet<&String> = naming.iter().map(|(_, row)| row).collect();
    let rows: Vec<String> = rows.into_iter().cloned().collect();
    let owners = owners(connection, schema, &rows).await?;
    let mut users = Owners::of_nobody(keys);
    for (toolset, row) in naming {
        for owner in owners.of(&row) {
            users.add_owner(&toolset, &owner)?;
        }
    }
    Ok(users.sorted())
}
