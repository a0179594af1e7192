//! The owners whose callers depend on rows that change: those who link to these rows, and those who
//! are below them in LiteLLM's order.

use sqlx::PgConnection;

use crate::db::access_rows::ADMINISTRATORS;
use crate::db::errors::failed;
use crate::db::schema::Schema;
use crate::db::sql::{RARE, ident, relation};
use crate::error::Failure;
use crate::litellm::ids::{
    AccessGroupId, EndUserId, KeyToken, PermissionKey, TeamId, ToolsetId, UserId,
};
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, AGENT_TABLE, END_USER_TABLE, KEY_TABLE, LINK, ORGANIZATION_TABLE, TEAM_TABLE,
    USER_TABLE,
};
use crate::litellm::reference_sites::{MCP_TOOLSETS, PERMISSIONS};

/// The primary keys of rows that change.
#[derive(Debug, Clone, Default)]
pub(crate) struct AlteredKeys {
    /// Permission rows.
    pub permissions: Vec<PermissionKey>,
    /// Unified access groups.
    pub access_groups: Vec<AccessGroupId>,
    /// Toolsets.
    pub toolsets: Vec<ToolsetId>,
}

impl AlteredKeys {
    /// Counts the rows.
    #[must_use]
    pub(crate) fn rows(&self) -> usize {
        self.permissions.len() + self.access_groups.len() + self.toolsets.len()
    }
}

/// The owners whose callers may get another answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AffectedOwners {
    /// The hashes of keys, in byte order.
    pub keys: Vec<KeyToken>,
    /// Teams, each with its callers who have no key.
    pub teams: Vec<TeamId>,
    /// Users, each with its session.
    pub users: Vec<UserId>,
    /// End users.
    pub end_users: Vec<EndUserId>,
}

/// What is known of the owners so far: the parameters `$1` to `$6` of every statement, in this
/// order, and `$7`, the administrators' roles where these count.
#[derive(Default)]
struct Known {
    permissions: Vec<String>,
    access_groups: Vec<String>,
    organizations: Vec<String>,
    teams: Vec<String>,
    users: Vec<String>,
    agents: Vec<String>,
    roles: Vec<&'static str>,
}

// Parallel workers apply the conditions (see `RARE`): there may be a million keys.
const AFFECTED: &str = "
SELECT t.{id} FROM {table} AS t
WHERE CASE WHEN {conditions} THEN 1 ELSE 0 END {=} 1 AND {rare}";

const NAMING: &str =
    "SELECT t.{id} FROM {table} AS t WHERE t.{toolsets} {&&} $1::pg_catalog.text[]";

/// How a column of an owner leads to a row that changes.
#[derive(Clone, Copy)]
enum Leads {
    /// It holds one of the ids of a parameter.
    Holds(&'static str, u8),
    /// It is a list that shares one with a parameter.
    Shares(&'static str, u8),
}

/// Finds the owners whose callers depend on the rows with these keys, from the top of LiteLLM's
/// levels down.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn affected(
    connection: &mut PgConnection,
    schema: &Schema,
    altered: AlteredKeys,
) -> Result<AffectedOwners, Failure> {
    const PERMISSION: Leads = Leads::Holds(LINK, 1);
    const GROUP: Leads = Leads::Shares(ACCESS_GROUP_IDS, 2);
    const ORGANIZATION: Leads = Leads::Holds("organization_id", 3);
    const TEAM: Leads = Leads::Holds("team_id", 4);
    let mut known = Known {
        permissions: altered.permissions.into_iter().map(|key| key.0).collect(),
        access_groups: altered.access_groups.into_iter().map(|id| id.0).collect(),
        ..Known::default()
    };
    if !altered.toolsets.is_empty() {
        // Who administers the proxy may take the route of any toolset.
        known.roles = ADMINISTRATORS.to_vec();
        let naming = naming(connection, schema, &altered.toolsets).await?;
        known.permissions.extend(naming);
    }
    let mut reader = OwnerReader { connection, schema };
    known.organizations = reader
        .read(ORGANIZATION_TABLE, "organization_id", &[PERMISSION], &known)
        .await?;
    let teams = [PERMISSION, GROUP, ORGANIZATION];
    known.teams = reader.read(TEAM_TABLE, "team_id", &teams, &known).await?;
    let users = [
        PERMISSION,
        ORGANIZATION,
        Leads::Shares("teams", 4),
        Leads::Holds("user_role", 7),
    ];
    known.users = reader.read(USER_TABLE, "user_id", &users, &known).await?;
    let agents = [PERMISSION, GROUP];
    known.agents = reader
        .read(AGENT_TABLE, "agent_id", &agents, &known)
        .await?;
    let end_users = reader
        .read(END_USER_TABLE, "user_id", &[PERMISSION], &known)
        .await?;
    let keys = [
        PERMISSION,
        GROUP,
        ORGANIZATION,
        TEAM,
        Leads::Holds("user_id", 5),
        Leads::Holds("agent_id", 6),
    ];
    let mut keys = reader.read(KEY_TABLE, "token", &keys, &known).await?;
    keys.sort_unstable();
    Ok(AffectedOwners {
        keys: keys.into_iter().map(KeyToken).collect(),
        teams: known.teams.into_iter().map(TeamId).collect(),
        users: known.users.into_iter().map(UserId).collect(),
        end_users: end_users.into_iter().map(EndUserId).collect(),
    })
}

/// Finds the permission rows that name one of these toolsets.
async fn naming(
    connection: &mut PgConnection,
    schema: &Schema,
    toolsets: &[ToolsetId],
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
        .bind(toolsets.iter().map(ToolsetId::as_str).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
        .map_err(failed("read who names the toolsets"))
}

struct OwnerReader<'a> {
    connection: &'a mut PgConnection,
    schema: &'a Schema,
}

impl OwnerReader<'_> {
    /// Reads the ids of the owners of a table that one of the columns leads to what is `known`. No
    /// table has an index on the link, so each statement reads all of its table, once.
    async fn read(
        &mut self,
        table: &'static str,
        id: &'static str,
        leads: &[Leads],
        known: &Known,
    ) -> Result<Vec<String>, Failure> {
        let lengths = [
            known.permissions.len(),
            known.access_groups.len(),
            known.organizations.len(),
            known.teams.len(),
            known.users.len(),
            known.agents.len(),
            known.roles.len(),
        ];
        let condition = |lead: &Leads| {
            let (Leads::Holds(column, parameter) | Leads::Shares(column, parameter)) = *lead;
            let counts = lengths
                .get(usize::from(parameter) - 1)
                .is_some_and(|n| *n > 0);
            let name = ident(column);
            (counts && self.schema.has(table, column)).then(|| match lead {
                Leads::Holds(..) => {
                    format!("t.{name} {{=}} ANY (${parameter}::pg_catalog.text[])")
                }
                Leads::Shares(..) => format!("t.{name} {{&&}} ${parameter}::pg_catalog.text[]"),
            })
        };
        let conditions: Vec<String> = leads.iter().filter_map(condition).collect();
        if conditions.is_empty() || !self.schema.has(table, id) {
            return Ok(Vec::new());
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
        sqlx::query_scalar(self.schema.statement(AFFECTED, &fragments))
            .persistent(false)
            .bind(&known.permissions)
            .bind(&known.access_groups)
            .bind(&known.organizations)
            .bind(&known.teams)
            .bind(&known.users)
            .bind(&known.agents)
            .bind(&known.roles)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(failed("read whose access depends on the rows"))
    }
}
