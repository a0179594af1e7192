//! The owners whose callers depend on rows that change: those who link to these rows, and those who
//! are below them in LiteLLM's order.

use futures_util::TryStreamExt as _;
use sqlx::PgConnection;

use crate::db::access_rows::ADMINISTRATORS;
use crate::db::errors::failed;
use crate::db::fragments::is_among;
use crate::db::schema::Schema;
use crate::db::sql::{RARE, ident, part, relation};
use crate::error::Failure;
use crate::litellm::ids::{EndUserId, TeamId, UserId};
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, AGENT_TABLE, END_USER_TABLE, KEY_TABLE, LINK, ORGANIZATION_TABLE, TEAM_TABLE,
    USER_TABLE,
};
use crate::litellm::packed_token::PackedToken;
use crate::litellm::reference_sites::{MCP_TOOLSETS, PERMISSIONS};

/// The primary keys of rows that change, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct AlteredKeys<'a> {
    /// Permission rows.
    pub permissions: Vec<&'a str>,
    /// Unified access groups.
    pub access_groups: Vec<&'a str>,
    /// Toolsets.
    pub toolsets: Vec<&'a str>,
}

impl AlteredKeys<'_> {
    /// Counts the rows.
    #[must_use]
    pub(crate) fn rows(&self) -> usize {
        self.permissions.len() + self.access_groups.len() + self.toolsets.len()
    }
}

/// The owners whose callers may get another answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AffectedOwners {
    /// The tokens of keys, in byte order.
    pub keys: Vec<PackedToken>,
    /// Teams, each with its callers who have no key.
    pub teams: Vec<TeamId>,
    /// Users, each with its session.
    pub users: Vec<UserId>,
    /// End users.
    pub end_users: Vec<EndUserId>,
}

impl AffectedOwners {
    /// Counts the owners.
    #[must_use]
    pub(crate) fn number(&self) -> usize {
        let Self {
            keys,
            teams,
            users,
            end_users,
        } = self;
        keys.len() + teams.len() + users.len() + end_users.len()
    }

    /// Adds other owners, some of whom may be there already.
    fn add(&mut self, other: Self) {
        fn merge<T: Ord>(these: &mut Vec<T>, others: Vec<T>) {
            these.extend(others);
            // Both are sorted in parts, which this sort makes use of.
            these.sort();
            these.dedup();
        }
        merge(&mut self.keys, other.keys);
        merge(&mut self.teams, other.teams);
        merge(&mut self.users, other.users);
        merge(&mut self.end_users, other.end_users);
    }
}

/// What is known of the owners so far: the parameters `$1` to `$6`.
#[derive(Default)]
struct Known<'a> {
    permissions: Vec<&'a str>,
    access_groups: Vec<&'a str>,
    /// The administrators' roles, where these count.
    roles: Vec<&'static str>,
    organizations: Vec<String>,
    teams: Vec<String>,
    users: Vec<String>,
    agents: Vec<String>,
}

// Parallel workers apply the conditions (see `RARE`): there may be a million keys.
const AFFECTED: &str = "
SELECT t.{id} AS id FROM {table} AS t
WHERE CASE WHEN {conditions} THEN 1 ELSE 0 END {=} 1 AND {rare}";

const NAMING: &str =
    "SELECT t.{id} FROM {table} AS t WHERE t.{toolsets} {&&} $1::pg_catalog.text[]";

/// How a column of an owner leads to a row that changes, or to an owner above.
#[derive(Clone, Copy)]
enum Leads {
    /// It holds one of these ids.
    Holds(&'static str, Ids),
    /// It is a list that shares one with these ids.
    Shares(&'static str, Ids),
}

/// The ids that a column leads to.
#[derive(Clone, Copy)]
enum Ids {
    /// Those of a parameter.
    Parameter(u8),
    /// Those that the same statement finds in the query of that name.
    Query(&'static str),
}

const PERMISSION: Leads = Leads::Holds(LINK, Ids::Parameter(1));
const GROUP: Leads = Leads::Shares(ACCESS_GROUP_IDS, Ids::Parameter(2));

/// An owner above keys, and what leads to it.
struct UpperOwner {
    /// The name of its query.
    query: &'static str,
    table: &'static str,
    id: &'static str,
    leads: &'static [Leads],
}

/// The owners above keys, from the top of LiteLLM's levels down.
const UPPER: [UpperOwner; 5] = [
    UpperOwner {
        query: "organizations",
        table: ORGANIZATION_TABLE,
        id: "organization_id",
        leads: &[PERMISSION],
    },
    UpperOwner {
        query: "teams",
        table: TEAM_TABLE,
        id: "team_id",
        leads: &[
            PERMISSION,
            GROUP,
            Leads::Holds("organization_id", Ids::Query("organizations")),
        ],
    },
    UpperOwner {
        query: "users",
        table: USER_TABLE,
        id: "user_id",
        leads: &[
            PERMISSION,
            Leads::Holds("organization_id", Ids::Query("organizations")),
            Leads::Shares("teams", Ids::Query("teams")),
            Leads::Holds("user_role", Ids::Parameter(3)),
        ],
    },
    UpperOwner {
        query: "agents",
        table: AGENT_TABLE,
        id: "agent_id",
        leads: &[PERMISSION, GROUP],
    },
    UpperOwner {
        query: "end_users",
        table: END_USER_TABLE,
        id: "user_id",
        leads: &[PERMISSION],
    },
];

/// The most permission rows that are looked for at a time: the driver holds the keys twice, as it
/// sends them.
const ROWS_AT_ONCE: usize = 40_000;

/// Finds the owners whose callers depend on the rows with these keys, from the top of LiteLLM's
/// levels down: first all owners above keys, in one statement, then the keys.
///
/// Beyond [`ROWS_AT_ONCE`] rows this is done again for each part of them. An owner that somebody
/// moves from a row of a later part to one of an earlier part meanwhile is not found, as one that
/// is moved once all are found.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn affected(
    connection: &mut PgConnection,
    schema: &Schema,
    altered: AlteredKeys<'_>,
) -> Result<AffectedOwners, Failure> {
    let AlteredKeys {
        mut permissions,
        access_groups,
        toolsets,
    } = altered;
    let mut known = Known {
        access_groups,
        ..Known::default()
    };
    let mut naming = Vec::new();
    if !toolsets.is_empty() {
        // Who administers the proxy may take the route of any toolset.
        known.roles = ADMINISTRATORS.to_vec();
        naming = self::naming(connection, schema, &toolsets).await?;
    }
    permissions.extend(naming.iter().map(String::as_str));
    let mut parts = permissions.chunks(ROWS_AT_ONCE);
    known.permissions = parts.next().unwrap_or_default().to_vec();
    let mut found = affected_by(connection, schema, known).await?;
    for permissions in parts {
        let known = Known {
            permissions: permissions.to_vec(),
            ..Known::default()
        };
        found.add(affected_by(connection, schema, known).await?);
    }
    Ok(found)
}

/// Finds the owners who depend on what is known.
async fn affected_by(
    connection: &mut PgConnection,
    schema: &Schema,
    mut known: Known<'_>,
) -> Result<AffectedOwners, Failure> {
    let mut reader = OwnerReader { connection, schema };
    let end_users = reader.upper(&mut known).await?;
    Ok(AffectedOwners {
        keys: reader.keys(&known).await?,
        teams: known.teams.into_iter().map(TeamId).collect(),
        users: known.users.into_iter().map(UserId).collect(),
        end_users: end_users.into_iter().map(EndUserId).collect(),
    })
}

/// Finds the permission rows that name one of these toolsets.
async fn naming(
    connection: &mut PgConnection,
    schema: &Schema,
    toolsets: &[&str],
) -> Result<Vec<String>, Failure> {
    let (table, column) = (PERMISSIONS.table, MCP_TOOLSETS.column);
    if !schema.has(table, column) {
        return Ok(Vec::new());
    }
    let fragments = [
        ("{id}", ident(PERMISSIONS.key)),
        ("{table}", relation(table)),
        ("{toolsets}", ident(column)),
    ];
    sqlx::query_scalar(schema.statement(NAMING, &fragments))
        .persistent(false)
        .bind(toolsets)
        .fetch_all(connection)
        .await
        .map_err(failed("read who names the toolsets"))
}

struct OwnerReader<'a> {
    connection: &'a mut PgConnection,
    schema: &'a Schema,
}

impl OwnerReader<'_> {
    /// Reads the owners above keys, and adds them to what is known. Returns the end users.
    async fn upper(&mut self, known: &mut Known<'_>) -> Result<Vec<String>, Failure> {
        let lengths = [
            known.permissions.len(),
            known.access_groups.len(),
            known.roles.len(),
        ];
        let (mut queries, mut selects) = (Vec::<&str>::new(), Vec::new());
        let mut with = Vec::new();
        for (at, owner) in UPPER.iter().enumerate() {
            let Some(sql) = self.select((owner.table, owner.id), owner.leads, &lengths, &queries)
            else {
                continue;
            };
            let query = owner.query;
            queries.push(query);
            with.push(format!("{query} AS ({sql})"));
            selects.push(format!("SELECT {at}, q.id FROM {query} AS q"));
        }
        if with.is_empty() {
            return Ok(Vec::new());
        }
        let fragments = [
            ("{with}", with.join(", ")),
            ("{selects}", selects.join("\nUNION ALL\n")),
        ];
        let found: Vec<(i32, String)> =
            sqlx::query_as(self.schema.statement("WITH {with}\n{selects}", &fragments))
                .persistent(false)
                .bind(&known.permissions)
                .bind(&known.access_groups)
                .bind(&known.roles)
                .fetch_all(&mut *self.connection)
                .await
                .map_err(failed(DOING))?;
        let mut end_users = Vec::new();
        for (at, id) in found {
            match at {
                0 => known.organizations.push(id),
                1 => known.teams.push(id),
                2 => known.users.push(id),
                3 => known.agents.push(id),
                i32::MIN..0 | 4..=i32::MAX => end_users.push(id),
            }
        }
        Ok(end_users)
    }

    /// Reads the keys that lead to what is known.
    async fn keys(&mut self, known: &Known<'_>) -> Result<Vec<PackedToken>, Failure> {
        const LEADS: [Leads; 6] = [
            PERMISSION,
            GROUP,
            Leads::Holds("organization_id", Ids::Parameter(3)),
            Leads::Holds("team_id", Ids::Parameter(4)),
            Leads::Holds("user_id", Ids::Parameter(5)),
            Leads::Holds("agent_id", Ids::Parameter(6)),
        ];
        let of_owners = [
            &known.organizations,
            &known.teams,
            &known.users,
            &known.agents,
        ];
        let of_owners = of_owners.map(|ids| ids.iter().map(String::as_str).collect::<Vec<_>>());
        let of_rows = [&known.permissions, &known.access_groups];
        let parameters: Vec<&Vec<&str>> = of_rows.into_iter().chain(&of_owners).collect();
        let lengths: Vec<usize> = parameters.iter().map(|ids| ids.len()).collect();
        let Some(sql) = self.select((KEY_TABLE, "token"), &LEADS, &lengths, &[]) else {
            return Ok(Vec::new());
        };
        let keys = [("{keys}", sql)];
        let mut query =
            sqlx::query_scalar(self.schema.statement("{keys}", &keys)).persistent(false);
        for parameter in parameters {
            query = query.bind(parameter);
        }
        let mut found = query.fetch(&mut *self.connection);
        let mut keys = Vec::new();
        while let Some(key) = found.try_next().await.map_err(failed(DOING))? {
            keys.push(PackedToken::from(String::as_str(&key)));
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Returns the SQL of the owners of a table that one of the columns leads to ids; `None` if
    /// there are no such ids. `lengths` are those of the parameters. No table has an index on the
    /// link, so each of these reads all of its table, once.
    fn select(
        &self,
        (table, id): (&str, &str),
        leads: &[Leads],
        lengths: &[usize],
        queries: &[&str],
    ) -> Option<String> {
        let condition = |lead: &Leads| {
            let (Leads::Holds(column, ids) | Leads::Shares(column, ids)) = *lead;
            let is_any = match ids {
                Ids::Parameter(at) => lengths.get(usize::from(at) - 1).is_some_and(|n| *n > 0),
                Ids::Query(query) => queries.contains(&query),
            };
            let ids = match ids {
                Ids::Parameter(at) => format!("${at}::pg_catalog.text[]"),
                // No index is used, and the ids are from another table: they get one collation.
                Ids::Query(query) => {
                    format!(r#"(ARRAY(SELECT q.id FROM {query} AS q) COLLATE pg_catalog."C")"#)
                }
            };
            let column = (is_any && self.schema.has(table, column))
                .then(|| format!("t.{}", ident(column)))?;
            Some(match lead {
                Leads::Holds(_, Ids::Parameter(_)) => is_among(self.schema, &column, &ids),
                Leads::Holds(_, Ids::Query(_)) => format!("{column} {{=}} ANY ({ids})"),
                Leads::Shares(..) => format!("{column} {{&&}} {ids}"),
            })
        };
        let conditions: Vec<String> = leads.iter().filter_map(condition).collect();
        if conditions.is_empty() || !self.schema.has(table, id) {
            return None;
        }
        let fragments = [
            ("{id}", ident(id)),
            ("{table}", relation(table)),
            ("{conditions}", conditions.join(" OR ")),
            (
                "{rare}",
                RARE.replace("{never}", &format!("t.{} IS NULL", ident(id))),
            ),
        ];
        Some(part(AFFECTED, &fragments))
    }
}

const DOING: &str = "read whose access depends on the rows";
