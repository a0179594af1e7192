//! Reads the owners of rows: those who link to a row, or to whom it is granted.

use std::borrow::Cow;
use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::db::decode::{self, TableColumn};
use crate::db::detect::functions;
use crate::db::errors::failed;
use crate::db::fragments::{column_or, is_among, names_any, shown_token, uncollated, value};
use crate::db::schema::Schema;
use crate::db::sql::{RARE, ident, part, relation};
use crate::error::{ErrorKind, Failure};
use crate::litellm::ids::{AgentId, OrganizationId, TeamId, UserId};
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, AGENT_TABLE, KEY_PARENTS, KEY_TABLE, KeyTies, LINK, OWNER_TABLES, Owner,
    OwnerKind, OwnerTable, Parents, TEAM_TABLE,
};
use crate::litellm::reference_sites::{
    ACCESS_GROUPS, GrantKind, Group, PERMISSIONS, Shape, Site, SiteTable,
};

/// The owners of rows, by primary key.
///
/// All are read at once, and there may be hundreds of thousands. So they are packed into a third of
/// the memory that they would take as values.
#[derive(Debug)]
pub(crate) struct Owners<'k> {
    keys: SortedKeys<'k>,
    /// Each owner as JSON, one after the other.
    text: Vec<u8>,
    /// For each owner the position of its row in `keys` and its own offset in `text`; ordered by
    /// row.
    places: Vec<(usize, usize)>,
}

/// The primary keys of rows, in byte order, so that the row of a key is found fast.
#[derive(Debug)]
struct SortedKeys<'k>(Cow<'k, [String]>);

impl<'k> SortedKeys<'k> {
    /// Borrows `keys` if they are in order, as they are nearly always; else sorts a copy.
    fn new(keys: &'k [String]) -> Self {
        let mut keys = Cow::Borrowed(keys);
        if !keys.is_sorted() {
            keys.to_mut().sort_unstable();
        }
        Self(keys)
    }

    /// Finds the position of a key.
    fn position(&self, key: &str) -> Option<usize> {
        let found = self.0.binary_search_by(|known| known.as_str().cmp(key));
        found.ok()
    }
}

/// The fields of [`Parents`].
type PackedParents = (
    Option<TeamId>,
    Option<OrganizationId>,
    Option<UserId>,
    Option<AgentId>,
);

/// An [`Owner`] as it is packed: its fields without their names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct PackedOwner(OwnerKind, String, Option<String>, PackedParents, bool);

/// An owner, and the key of the row that it links to: ordered by row.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LinkedOwner(String, PackedOwner);

impl PackedOwner {
    /// Reads an owner from `table` in a row with [`COLUMNS`].
    fn read(table: &OwnerTable, row: &PgRow) -> Result<Self, Failure> {
        let column = |name| TableColumn(table.table, name);
        let [team, organization, user, agent] = KEY_PARENTS.map(column);
        let id = decode::read(row, 2, column(table.id))?;
        let name = decode::read(row, 3, column(table.name))?;
        let team: Option<String> = decode::read(row, 4, team)?;
        let organization: Option<String> = decode::read(row, 5, organization)?;
        let user: Option<String> = decode::read(row, 6, user)?;
        let agent: Option<String> = decode::read(row, 7, agent)?;
        let parents = (
            team.map(TeamId),
            organization.map(OrganizationId),
            user.map(UserId),
            agent.map(AgentId),
        );
        let has_access_groups = decode::read(row, 8, column(ACCESS_GROUP_IDS))?;
        Ok(Self(table.kind, id, name, parents, has_access_groups))
    }

    fn pack(owner: &Owner) -> Self {
        let (kind, id) = (owner.kind(), owner.id().to_owned());
        let name = owner.name().map(str::to_owned);
        let ties = owner.as_key().map(|key| key.ties.clone());
        let KeyTies {
            parents,
            has_access_groups,
        } = ties.unwrap_or_default();
        let Parents {
            team,
            organization,
            user,
            agent,
        } = parents;
        let parents = (team, organization, user, agent);
        Self(kind, id, name, parents, has_access_groups)
    }

    fn unpack(self) -> Owner {
        let Self(kind, id, name, (team, organization, user, agent), has_access_groups) = self;
        let parents = Parents {
            team,
            organization,
            user,
            agent,
        };
        let ties = KeyTies {
            parents,
            has_access_groups,
        };
        Owner::new(kind, id, name, ties)
    }
}

/// Reads the table of an owner, and the key of the row that it links to, in a row with [`COLUMNS`];
/// `None` if the row holds no owner.
fn link_of(row: &PgRow) -> Result<Option<(&'static OwnerTable, &str)>, Failure> {
    let kind: &str = decode::read(row, 0, "the kind of an owner")?;
    let Some(table) = OWNER_TABLES.iter().find(|table| table.kind.name() == kind) else {
        return Ok(None);
    };
    let link = decode::read(row, 1, TableColumn(table.table, LINK))?;
    Ok(Some((table, link)))
}

impl LinkedOwner {
    #[cfg(test)]
    pub(crate) fn new(row: &str, owner: &Owner) -> Self {
        Self(row.to_owned(), PackedOwner::pack(owner))
    }

    /// Returns the key of the row.
    #[must_use]
    pub(crate) fn row(&self) -> &str {
        &self.0
    }
}

impl<'k> Owners<'k> {
    pub(super) fn of_nobody(keys: &'k [String]) -> Self {
        Self {
            keys: SortedKeys::new(keys),
            text: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Takes the owners of rows with the given keys. Ignores a row that nobody asked about.
    ///
    /// # Errors
    ///
    /// An error if an owner cannot be packed.
    pub(crate) fn of_links(
        keys: &'k [String],
        links: impl IntoIterator<Item = LinkedOwner>,
    ) -> Result<Self, Failure> {
        let mut owners = Self::of_nobody(keys);
        for LinkedOwner(row, owner) in links {
            owners.add(&row, &owner)?;
        }
        Ok(owners.sorted())
    }

    /// Adds an owner of a row. Ignores a row that nobody asked about.
    fn add(&mut self, row: &str, owner: &PackedOwner) -> Result<(), Failure> {
        let Some(row) = self.keys.position(row) else {
            return Ok(());
        };
        self.places.push((row, self.text.len()));
        let packed = serde_json::to_writer(&mut self.text, owner);
        packed.map_err(|error| {
            let PackedOwner(kind, id, ..) = owner;
            Failure::caused(ErrorKind::Error, error)
                .context(format!("cannot keep {} {id}", kind.name()))
        })
    }

    /// Adds the owner in a row with [`COLUMNS`]. Returns whether there is one.
    pub(super) fn add_row(&mut self, row: &PgRow) -> Result<bool, Failure> {
        let Some((table, link)) = link_of(row)? else {
            return Ok(false);
        };
        self.add(link, &PackedOwner::read(table, row)?)?;
        Ok(true)
    }

    pub(super) fn sorted(mut self) -> Self {
        self.places.sort_unstable();
        self
    }

    /// Returns the owners of one row, ordered by kind.
    #[must_use]
    pub(crate) fn of(&self, row: &str) -> Vec<Owner> {
        let Some(row) = self.keys.position(row) else {
            return Vec::new();
        };
        let first = self.places.partition_point(|(of, _)| *of < row);
        let of_row = self.places[first..].iter().take_while(|(of, _)| *of == row);
        let mut owners: Vec<Owner> = of_row.filter_map(|(_, at)| self.unpacked(*at)).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.shrink_to_fit();
        owners
    }

    /// Returns the owners of every row.
    pub(crate) fn all(&self) -> impl Iterator<Item = Owner> {
        self.places.iter().filter_map(|(_, at)| self.unpacked(*at))
    }

    /// Unpacks the owner at an offset in the text.
    fn unpacked(&self, at: usize) -> Option<Owner> {
        let mut packed = serde_json::Deserializer::from_slice(&self.text[at..]).into_iter();
        let packed: PackedOwner = packed.next()?.ok()?;
        Some(packed.unpack())
    }
}

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

// There are as many virtual keys as rows, so parallel workers look for them, by `= ANY`, which
// hashes its array. A join with the array would take one process: the planner has no workers for
// what is no table.
//
// The other tables are joined together with one array. Each further array in the plan is sent to
// every worker, which takes 30 to 50 ms for 14,000 rows, even for an empty table. The array is
// distinct, so that the planner hashes it.
//
// The prefix of a token is made only for the keys that are found.
const OWNERS: &str = r"
SELECT {columns}
FROM ({keys}
      WHERE CASE WHEN {is_asked} THEN 1 ELSE 0 END {=} 1 AND {rare}
      UNION ALL
      SELECT o.*
      FROM ({others}) AS o
      JOIN (SELECT DISTINCT pg_catalog.unnest($1::pg_catalog.text[]) AS key) AS k
           ON k.key {=} o.link) AS o";

const COLUMNS: &str = r#"
       o.kind, o.link, CASE WHEN o.secret THEN {prefix} ELSE o.id END,
       o.name, o.team, o.organization, o."user", o.agent, o.has_access_groups"#;

const EVERYBODY: &str = "
SELECT {columns} FROM ({links}) AS o WHERE o.link IS NOT NULL";

const OWNERS_OF_TABLE: &str = r#"
SELECT {kind} AS kind, o.{link} AS link, o.{id} AS id, {secret} AS secret, {name} AS name,
       {team} AS team, {organization} AS organization, {user} AS "user", {agent} AS agent,
       {has_access_groups} AS has_access_groups
FROM {table} AS o"#;

/// Returns the SQL of everybody who links to permission rows, a row each: `link`, `kind`, `id` and
/// what [`KeyTies`] are made of.
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

/// Reads everybody who links to a permission row that is `wanted`, in no order, and hands them to
/// `found`. All others who link to a row are sent too, so it is for very many rows.
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
        if let Some((table, link)) = link_of(&row)?
            && is_wanted(link)
        {
            let owner = PackedOwner::read(table, &row)?;
            found(LinkedOwner(link.to_owned(), owner))?;
        }
    }
    Ok(())
}

const DOING: &str = "read who links to the permission rows";

/// Reads who links to the permission rows with the given keys.
///
/// No table has an index on the link, so each call reads every owner: ask once for all rows.
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
            users.add(&toolset, &PackedOwner::pack(&owner))?;
        }
    }
    Ok(users.sorted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_unpacked_as_they_were_packed() {
        let owner = |kind, id: &str, name: Option<&str>, team: Option<&str>| {
            let parents = Parents {
                team: team.map(|team| TeamId(team.to_owned())),
                agent: team.map(|team| AgentId(format!("{team}\"\n\u{e9}"))),
                ..Parents::default()
            };
            let ties = KeyTies {
                parents,
                has_access_groups: team.is_some(),
            };
            Owner::new(kind, id.to_owned(), name.map(str::to_owned), ties)
        };
        let of_row = [
            owner(OwnerKind::Key, "ab12cd34", Some("ci [\"]"), Some("t")),
            owner(OwnerKind::Key, "ab12cd35", None, None),
            owner(OwnerKind::Team, "", Some(""), None),
        ];
        let rows = ["p", "p-1", "p-3"].map(str::to_owned);
        let mut owners = Owners::of_nobody(&rows);
        for (row, owner) in [("p", &of_row[2]), ("p-1", &of_row[1]), ("p", &of_row[0])] {
            owners.add(row, &PackedOwner::pack(owner)).unwrap();
        }
        for owner in &of_row[..2] {
            owners.add("p", &PackedOwner::pack(owner)).unwrap();
        }
        let owners = owners.sorted();
        assert_eq!(owners.of("p"), of_row);
        assert_eq!(owners.of("p-1"), of_row[1..2]);
        for nobodys in ["", "o", "p-", "p-2", "p-3"] {
            assert_eq!(owners.of(nobodys), [], "{nobodys}");
        }
        assert_eq!(owners.all().count(), 5);
    }

    #[test]
    fn keys_are_found_in_whatever_order_they_come() {
        let keys = ["p-2", "P", "p", "\u{e9}"].map(str::to_owned);
        let sorted = SortedKeys::new(&keys);
        for (at, key) in ["P", "p", "p-2", "\u{e9}"].into_iter().enumerate() {
            assert_eq!(sorted.position(key), Some(at), "{key}");
        }
        assert_eq!(sorted.position("p-1"), None);
    }
}
