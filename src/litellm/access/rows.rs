//! The rows that access is computed from, as LiteLLM reads them.

use std::collections::{BTreeMap, BTreeSet};

use crate::litellm::ids::{
    AccessGroupId, AgentId, EndUserId, KeyToken, OrganizationId, PermissionKey, ServerId, Tag,
    TeamId, ToolsetId, UserId,
};
use crate::litellm::reference_sites::Names;

/// The tools that permission rows and groups name, by reference to a server.
pub(crate) type NamedTools = BTreeMap<String, Vec<String>>;

/// A permission row that LiteLLM can read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Permission {
    /// `mcp_servers`; a NULL column reads as an empty list.
    pub servers: Vec<String>,
    /// `mcp_tool_permissions`.
    pub tools: NamedTools,
    /// `mcp_access_groups`: tags of servers.
    pub tags: Vec<Tag>,
    /// `mcp_toolsets`: ids of toolsets.
    pub toolsets: Vec<ToolsetId>,
}

impl Permission {
    /// Tells whether the row grants anything at all, be it there or not.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/ui_session_utils.py`, `_restricts_mcp`.
    #[must_use]
    pub(crate) fn restricts(&self) -> bool {
        !(self.servers.is_empty()
            && self.toolsets.is_empty()
            && self.tools.is_empty()
            && self.tags.is_empty())
    }
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The hash of the key, by which access groups name it.
    pub token: KeyToken,
    /// Its permission row.
    pub permission: Option<PermissionKey>,
    /// Its team.
    pub team: Option<TeamId>,
    /// Its own organization.
    pub organization: Option<OrganizationId>,
    /// The user that it belongs to.
    pub user: Option<UserId>,
    /// The agent that it belongs to.
    pub agent: Option<AgentId>,
    /// Its unified access groups.
    pub access_groups: Vec<AccessGroupId>,
    /// Its alias.
    pub name: Option<String>,
}

/// A team.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessTeam {
    /// Its permission row.
    pub permission: Option<PermissionKey>,
    /// Its organization.
    pub organization: Option<OrganizationId>,
    /// Its unified access groups.
    pub access_groups: Vec<AccessGroupId>,
    /// Its members: the users of `members_with_roles`.
    pub members: BTreeSet<UserId>,
    /// Whether it is blocked.
    pub blocked: bool,
}

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    /// Its permission row.
    pub permission: Option<PermissionKey>,
    /// Its organization.
    pub organization: Option<OrganizationId>,
    /// Its teams, in their order.
    pub teams: Vec<TeamId>,
    /// Whether it administers the proxy: its role is `proxy_admin` or `proxy_admin_viewer`.
    pub administers: bool,
    /// Whether it is `proxy_admin`, who inherits from no team.
    pub is_proxy_admin: bool,
}

/// An agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Agent {
    /// Its permission row.
    pub permission: Option<PermissionKey>,
    /// Its unified access groups.
    pub access_groups: Vec<AccessGroupId>,
}

/// A unified access group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessGroup {
    /// `access_mcp_server_ids`.
    pub servers: Vec<String>,
    /// `mcp_tool_permissions`.
    pub tools: NamedTools,
    /// `assigned_team_ids`.
    pub teams: BTreeSet<TeamId>,
    /// `assigned_key_ids`.
    pub keys: BTreeSet<KeyToken>,
}

/// The tools that a toolset grants, by server id.
pub(crate) type Toolset = BTreeMap<ServerId, BTreeSet<String>>;

/// All rows that the callers asked about depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessRows {
    /// The keys by hash.
    pub keys: BTreeMap<KeyToken, Key>,
    /// The permission rows by id; `None` where LiteLLM cannot read the row.
    pub permissions: BTreeMap<PermissionKey, Option<Permission>>,
    /// The permission rows whose `mcp_tool_permissions` alone LiteLLM cannot read, without these.
    pub without_tools: BTreeMap<PermissionKey, Permission>,
    /// The teams by id.
    pub teams: BTreeMap<TeamId, AccessTeam>,
    /// The permission rows of the organizations, by organization.
    pub organizations: BTreeMap<OrganizationId, Option<PermissionKey>>,
    /// The users by id.
    pub users: BTreeMap<UserId, User>,
    /// The agents by id.
    pub agents: BTreeMap<AgentId, Agent>,
    /// The permission rows of the end users, by end user.
    pub end_users: BTreeMap<EndUserId, Option<PermissionKey>>,
    /// The unified access groups by id; `None` where LiteLLM cannot read the row.
    pub access_groups: BTreeMap<AccessGroupId, Option<AccessGroup>>,
    /// The toolsets by id.
    pub toolsets: BTreeMap<ToolsetId, Toolset>,
}

/// A permission row, seen from whoever links to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkedPermission<'a> {
    /// Nothing is linked.
    None,
    /// The linked row is gone.
    Gone,
    /// The linked row is there and LiteLLM cannot read it.
    Malformed,
    /// The row.
    Read(&'a Permission),
}

impl<'a> LinkedPermission<'a> {
    /// Returns the row where it can be read.
    #[must_use]
    pub(crate) fn read(self) -> Option<&'a Permission> {
        match self {
            Self::Read(permission) => Some(permission),
            Self::None | Self::Gone | Self::Malformed => None,
        }
    }
}

impl AccessRows {
    /// Looks up the permission row that `link` names.
    #[must_use]
    pub(crate) fn permission(&self, link: Option<&PermissionKey>) -> LinkedPermission<'_> {
        match link {
            None => LinkedPermission::None,
            Some(id) => match self.permissions.get(id) {
                Some(Some(permission)) => LinkedPermission::Read(permission),
                Some(None) => LinkedPermission::Malformed,
                None => LinkedPermission::Gone,
            },
        }
    }

    /// Returns these rows without the references that `is_gone` tells at sites with such names.
    /// Lists may run empty by it.
    #[must_use]
    pub(crate) fn without(&self, is_gone: impl Fn(Names, &str) -> bool) -> Self {
        let mut rows = self.clone();
        let is_left = |reference: &String| !is_gone(Names::Servers, reference);
        let of_agents = rows.without_tools.values_mut();
        for row in rows.permissions.values_mut().flatten().chain(of_agents) {
            row.servers.retain(is_left);
            row.tools.retain(|reference, _| is_left(reference));
        }
        for group in rows.access_groups.values_mut().flatten() {
            group.servers.retain(is_left);
            group.tools.retain(|reference, _| is_left(reference));
        }
        for toolset in rows.toolsets.values_mut() {
            toolset.retain(|id, _| !is_gone(Names::ServerIds, id.as_str()));
        }
        rows
    }

    /// Unites the tools of the toolsets with these ids; those that are gone grant nothing.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/mcp_server_manager.py`,
    /// `resolve_toolset_tool_permissions`: servers by id alone.
    #[must_use]
    pub(crate) fn toolset_tools(&self, ids: &[ToolsetId]) -> Toolset {
        let mut tools = Toolset::new();
        for toolset in ids.iter().filter_map(|id| self.toolsets.get(id)) {
            for (server, names) in toolset {
                let granted = tools.entry(server.clone()).or_default();
                granted.extend(names.iter().cloned());
            }
        }
        tools
    }

    /// Returns the access groups with these ids that can be read.
    pub(crate) fn groups<'a>(
        &'a self,
        ids: &'a [AccessGroupId],
    ) -> impl Iterator<Item = &'a AccessGroup> {
        ids.iter()
            .filter_map(|id| self.access_groups.get(id)?.as_ref())
    }
}
