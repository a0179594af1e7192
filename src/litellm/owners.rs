//! The tables that link to a permission row, and what is shown of their rows.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::litellm::ids::{AgentId, EndUserId, KeyToken, OrganizationId, TeamId, UserId};

/// The kind of an owner of a permission row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OwnerKind {
    /// A virtual key.
    Key,
    /// A team.
    Team,
    /// An organization.
    Organization,
    /// A project.
    Project,
    /// An internal user.
    User,
    /// A customer named in a request.
    EndUser,
    /// An agent.
    Agent,
}

impl OwnerKind {
    /// Returns the kind's name in reports and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Team => "team",
            Self::Organization => "organization",
            Self::Project => "project",
            Self::User => "user",
            Self::EndUser => "end_user",
            Self::Agent => "agent",
        }
    }
}

/// A row that links to a permission row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Owner {
    /// A virtual key.
    Key(KeyOwner),
    /// An owner of any other kind.
    Other(OtherOwner),
}

/// A virtual key that links to a permission row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct KeyOwner {
    prefix: KeyPrefix,
    name: Option<String>,
    /// What the key is tied to.
    pub ties: KeyTies,
}

/// An owner that is not a key: [`Owner::new`] makes a key of every key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct OtherOwner {
    kind: OwnerKind,
    id: String,
    name: Option<String>,
}

/// The first characters of a key's token hash, enough to find the key and too few to use it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct KeyPrefix(String);

impl KeyPrefix {
    const LENGTH: usize = 8;

    /// Keeps the first characters of a token hash.
    #[must_use]
    pub(crate) fn of(hash: &str) -> Self {
        Self(hash.chars().take(Self::LENGTH).collect())
    }
}

/// What a key is tied to, and may get servers from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct KeyTies {
    /// Who it belongs to.
    pub parents: Parents,
    /// Whether it has unified access groups.
    pub has_access_groups: bool,
}

/// The id of an owner, of a kind that its type tells.
pub(crate) trait OwnerId: From<String> + Borrow<str> {
    /// What it is the id of.
    const KIND: OwnerKind;
}

impl OwnerId for KeyToken {
    const KIND: OwnerKind = OwnerKind::Key;
}

impl OwnerId for TeamId {
    const KIND: OwnerKind = OwnerKind::Team;
}

impl OwnerId for UserId {
    const KIND: OwnerKind = OwnerKind::User;
}

impl OwnerId for EndUserId {
    const KIND: OwnerKind = OwnerKind::EndUser;
}

/// Who a key belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Parents {
    /// Its team.
    pub team: Option<TeamId>,
    /// Its organization.
    pub organization: Option<OrganizationId>,
    /// Its user.
    pub user: Option<UserId>,
    /// Its agent.
    pub agent: Option<AgentId>,
}

impl Owner {
    /// Makes an owner of a kind that is known only when it is read. Only a key has `ties`, and of
    /// its id only the prefix is kept.
    #[must_use]
    pub(crate) fn new(kind: OwnerKind, id: String, name: Option<String>, ties: KeyTies) -> Self {
        if kind == OwnerKind::Key {
            let prefix = KeyPrefix::of(&id);
            return Self::Key(KeyOwner { prefix, name, ties });
        }
        Self::Other(OtherOwner { kind, id, name })
    }

    /// Returns what kind of owner it is.
    #[must_use]
    pub(crate) fn kind(&self) -> OwnerKind {
        match self {
            Self::Key(_) => OwnerKind::Key,
            Self::Other(other) => other.kind,
        }
    }

    /// Returns its id as it is shown: the primary key, or the prefix of a key's token hash.
    #[must_use]
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Key(key) => &key.prefix.0,
            Self::Other(other) => &other.id,
        }
    }

    /// Returns the name a person gave it.
    #[must_use]
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Key(key) => key.name.as_deref(),
            Self::Other(other) => other.name.as_deref(),
        }
    }

    /// Returns the key that it is; `None` for every other kind.
    #[must_use]
    pub(crate) fn as_key(&self) -> Option<&KeyOwner> {
        match self {
            Self::Key(key) => Some(key),
            Self::Other(_) => None,
        }
    }

    /// Tells whether it is a key without team, organization, user and agent, which inherits servers
    /// from nobody.
    #[must_use]
    pub(crate) fn stands_alone(&self) -> bool {
        self.as_key()
            .is_some_and(|key| key.ties.parents == Parents::default())
    }
}

/// "key ci-bot (ab12cd34)", or "team 7f3a…" where it has no name.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind().name().replace('_', " ");
        let id = self.id();
        match self.name() {
            Some(name) if !name.is_empty() => write!(f, "{kind} {name} ({id})"),
            _ => write!(f, "{kind} {id}"),
        }
    }
}

/// A table with a column [`LINK`], and what may be selected of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OwnerTable {
    /// What its rows are.
    pub kind: OwnerKind,
    /// The table's name.
    pub table: &'static str,
    /// The primary key.
    pub id: &'static str,
    /// The column with the name a person gave.
    pub name: &'static str,
    /// Whether every LiteLLM that has permission rows has the table with the link.
    pub required: bool,
    /// Whether the id is a credential's hash, of which only a prefix is selected.
    pub id_is_secret: bool,
}

/// The table of keys.
pub(crate) const KEY_TABLE: &str = "LiteLLM_VerificationToken";

/// The table of teams.
pub(crate) const TEAM_TABLE: &str = "LiteLLM_TeamTable";

/// The table of organizations.
pub(crate) const ORGANIZATION_TABLE: &str = "LiteLLM_OrganizationTable";

/// The table of projects.
pub(crate) const PROJECT_TABLE: &str = "LiteLLM_ProjectTable";

/// The table of users.
pub(crate) const USER_TABLE: &str = "LiteLLM_UserTable";

/// The table of end users.
pub(crate) const END_USER_TABLE: &str = "LiteLLM_EndUserTable";

/// The table of agents.
pub(crate) const AGENT_TABLE: &str = "LiteLLM_AgentsTable";

/// The column by which an owner links to its permission row.
pub(crate) const LINK: &str = "object_permission_id";

/// The columns of a key that name its [`Parents`], in the order of that type.
pub(crate) const KEY_PARENTS: [&str; 4] = ["team_id", "organization_id", "user_id", "agent_id"];

/// The column of keys, teams and agents with their unified access groups.
pub(crate) const ACCESS_GROUP_IDS: &str = "access_group_ids";

/// The team that LiteLLM gives to the keys of its own user interface.
///
/// Source: LiteLLM 1.109.1 `proxy/_types.py`, `UI_TEAM_ID`.
pub(crate) const DASHBOARD_TEAM: &str = "litellm-dashboard";

impl TeamId {
    /// Tells whether it is the team of the keys of LiteLLM's own user interface.
    #[must_use]
    pub(crate) fn is_of_dashboard(&self) -> bool {
        self.as_str() == DASHBOARD_TEAM
    }
}

/// Every table that links to a permission row by [`LINK`].
///
/// Keys, teams, organizations and users have linked to it since the table exists (migration
/// `20250507184818_add_mcp_key_team_permission_mgmt`).
///
/// Source: `schema.prisma` of litellm-proxy-extras 0.4.110, the relations of
/// `LiteLLM_ObjectPermissionTable`. Columns that hold credentials (`password`, `litellm_params`,
/// `metadata`) or personal data (`user_email`) are left out on purpose.
pub(crate) const OWNER_TABLES: [OwnerTable; 7] = [
    OwnerTable {
        kind: OwnerKind::Key,
        table: KEY_TABLE,
        id: "token",
        name: "key_alias",
        required: true,
        id_is_secret: true,
    },
    owner(OwnerKind::Team, TEAM_TABLE, "team_id", "team_alias"),
    owner(
        OwnerKind::Organization,
        ORGANIZATION_TABLE,
        "organization_id",
        "organization_alias",
    ),
    owner(
        OwnerKind::Project,
        PROJECT_TABLE,
        "project_id",
        "project_alias",
    ),
    owner(OwnerKind::User, USER_TABLE, "user_id", "user_alias"),
    owner(OwnerKind::EndUser, END_USER_TABLE, "user_id", "alias"),
    owner(OwnerKind::Agent, AGENT_TABLE, "agent_id", "agent_name"),
];

/// Tables with a column [`LINK`] whose rows own nothing: copies kept for audit.
///
/// Source: the same schema; neither has a foreign key to the permission table.
pub(crate) const AUDIT_COPIES: [&str; 2] = [
    "LiteLLM_DeletedVerificationToken",
    "LiteLLM_DeletedTeamTable",
];

const fn owner(
    kind: OwnerKind,
    table: &'static str,
    id: &'static str,
    name: &'static str,
) -> OwnerTable {
    OwnerTable {
        kind,
        table,
        id,
        name,
        required: matches!(
            kind,
            OwnerKind::Team | OwnerKind::Organization | OwnerKind::User
        ),
        id_is_secret: false,
    }
}

impl OwnerKind {
    /// Tells whether a toolset that is gone denies every server to the callers of such an owner.
    /// For a key the toolset is empty. An end user and a project have none.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `UnloadableEntitlementError`.
    #[must_use]
    pub(crate) fn is_denied_by_missing_toolset(self) -> bool {
        match self {
            Self::Team | Self::Organization | Self::User | Self::Agent => true,
            Self::Key | Self::EndUser | Self::Project => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_has_ties_and_only_the_prefix_of_its_hash() {
        let ties = KeyTies {
            parents: Parents {
                team: Some(TeamId("red".to_owned())),
                ..Parents::default()
            },
            has_access_groups: true,
        };
        let owner = |kind| Owner::new(kind, "88dc28d0f030c55e".to_owned(), None, ties.clone());
        let key = owner(OwnerKind::Key);
        assert_eq!(key.to_string(), "key 88dc28d0");
        assert_eq!(key.as_key().map(|key| &key.ties), Some(&ties));
        assert_eq!(owner(OwnerKind::Team).to_string(), "team 88dc28d0f030c55e");
        assert_eq!(owner(OwnerKind::Team).as_key(), None);
        assert!(!key.stands_alone() && !owner(OwnerKind::Team).stands_alone());
    }
}
