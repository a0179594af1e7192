//! The rows, servers, rules and settings that a question is answered from, and what one permission
//! row grants at its level.

use super::caller::{AccessSettings, Human};
use super::registry::{Registry, ServerIds, ToolNames};
use super::rows::{AccessRows, LinkedPermission, Permission};
use super::rules::AccessRules;
use super::trace::Denial;
use crate::litellm::ids::{
    AccessGroupId, AgentId, EndUserId, KeyToken, OrganizationId, PermissionKey, ServerId, TeamId,
    ToolsetId, UserId,
};
use crate::litellm::server::{ALL_SERVERS, NO_SERVERS};

/// Everything that an answer depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessModel<'a> {
    /// The rows.
    pub rows: &'a AccessRows,
    /// The servers that are served.
    pub registry: &'a Registry,
    /// The rules of the release.
    pub rules: AccessRules,
    /// The settings of the proxy.
    pub settings: AccessSettings,
}

/// A credential, as LiteLLM hands it to its check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credential<'a> {
    /// The permission row of the key, or of the user behind a session.
    pub(super) permission: LinkedPermission<'a>,
    /// The hash of the key; `None` without a key.
    pub(super) token: Option<&'a KeyToken>,
    pub(super) access_groups: &'a [AccessGroupId],
    pub(super) team: Option<&'a TeamId>,
    pub(super) organization: Option<&'a OrganizationId>,
    pub(super) user: Option<&'a UserId>,
    pub(super) agent: Option<&'a AgentId>,
    pub(super) end_user: Option<&'a EndUserId>,
    pub(super) human: Option<&'a Human>,
    /// Whether the user administers the proxy.
    pub(super) administers: bool,
    /// The toolset on whose route it asks.
    pub(super) toolset: Option<&'a ToolsetId>,
    /// Whether it is one source of several of a session, which has no key to declare access on.
    pub(super) is_source: bool,
}

impl Credential<'_> {
    /// Returns the team, unless it is that of the dashboard's own sessions.
    pub(super) fn real_team(&self) -> Option<&TeamId> {
        self.team.filter(|team| !team.is_of_dashboard())
    }
}

/// Which rules a permission row is read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowOf {
    Key,
    Team,
    EndUser,
    Agent,
    User,
    Organization,
}

impl<'a> AccessModel<'a> {
    /// Returns the servers that a permission row names at its level; none where it sets no limit.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_allowed_mcp_servers_for_key` and its siblings.
    pub(super) fn named(&self, permission: &Permission, of: RowOf) -> Result<ServerIds, Denial> {
        let mut servers = self.registry.expand(&permission.servers, self.rules);
        servers.extend(self.registry.tagged(&permission.tags, self.rules));
        let keys_grant = match of {
            RowOf::Agent => self.rules.agent_tool_keys_grant(),
            RowOf::Key | RowOf::Team | RowOf::EndUser | RowOf::User | RowOf::Organization => {
                self.rules.tool_keys_grant()
            }
        };
        if keys_grant {
            servers.extend(self.registry.expand(permission.tools.keys(), self.rules));
        }
        match of {
            RowOf::Key if self.rules.key_toolsets_grant() => {
                let tools = self.rows.toolset_tools(&permission.toolsets);
                servers.extend(tools.into_keys());
            }
            RowOf::Key | RowOf::EndUser => {}
            RowOf::Team | RowOf::Agent | RowOf::User | RowOf::Organization => {
                servers.extend(self.toolset_tools(permission, of)?.into_keys());
            }
        }
        if servers.is_empty()
            && !permission.tags.is_empty()
            && self.rules.tags_without_servers_limit()
        {
            servers.insert(ServerId(NO_SERVERS.to_owned()));
        }
        Ok(servers)
    }

    /// Returns the tools of the toolsets that a row above the key declares; denies where it
    /// declares some and none of them grants anything.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_toolset_tool_permissions`.
    pub(super) fn toolset_tools(
        &self,
        permission: &Permission,
        of: RowOf,
    ) -> Result<super::rows::Toolset, Denial> {
        let count = match of {
            RowOf::Agent => self.rules.agent_toolsets_count(),
            RowOf::Key | RowOf::Team | RowOf::EndUser | RowOf::User | RowOf::Organization => {
                self.rules.toolsets_count_above()
            }
        };
        if !count || permission.toolsets.is_empty() {
            return Ok(super::rows::Toolset::new());
        }
        let tools = self.rows.toolset_tools(&permission.toolsets);
        if tools.is_empty() {
            return Err(Denial::EmptyToolsets(permission.toolsets.clone()));
        }
        Ok(tools)
    }

    /// Returns the servers that a team grants; none where it sets no limit.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_allowed_mcp_servers_for_single_team` and `_team_granted_servers`.
    pub(super) fn granted_by_team(&self, team: Option<&TeamId>) -> Result<ServerIds, Denial> {
        let team = team.filter(|team| !team.is_of_dashboard());
        let Some(team) = team.and_then(|team| self.rows.teams.get(team)) else {
            return Ok(ServerIds::new());
        };
        if team.blocked && self.rules.blocked_teams_grant_nothing() {
            return Ok(ServerIds::new());
        }
        // Not expanded: a name in a team's group is no server.
        let mut servers = ServerIds::new();
        if self.rules.access_groups_grant() {
            for group in self.rows.groups(&team.access_groups) {
                servers.extend(group.servers.iter().cloned().map(ServerId));
            }
        }
        let Some(permission) = self.rows.permission(team.permission.as_ref()).read() else {
            return Ok(servers);
        };
        if self.rules.knows_all_servers() && permission.servers.iter().any(|s| s == ALL_SERVERS) {
            return Ok(self.registry.ids().cloned().collect());
        }
        let named = self.named(permission, RowOf::Team)?;
        // What says that tags name no server gives way to any server.
        let only_tags = named.len() == 1 && named.contains(NO_SERVERS) && !servers.is_empty();
        if !only_tags || permission.servers.iter().any(|s| s == NO_SERVERS) {
            servers.extend(named);
        }
        Ok(servers)
    }

    /// Reads a row that somebody links to at a level above the key.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_load_named_object_permission`.
    pub(super) fn linked(
        &self,
        link: Option<&PermissionKey>,
    ) -> Result<Option<&'a Permission>, Denial> {
        match self.rows.permission(link) {
            LinkedPermission::Read(permission) => Ok(Some(permission)),
            LinkedPermission::Gone | LinkedPermission::Malformed
                if self.rules.unreadable_rows_deny() =>
            {
                Err(Denial::UnreadableRow)
            }
            LinkedPermission::None | LinkedPermission::Gone | LinkedPermission::Malformed => {
                Ok(None)
            }
        }
    }

    /// Reads the row of an end user; one that is malformed sets no limit in any release.
    ///
    /// LiteLLM loads an end user together with its row, and an end user that it cannot load has no
    /// limit.
    ///
    /// Source: LiteLLM 1.110.2 `auth/auth_checks.py`, `get_end_user_object`, and
    /// `mcp_server/auth/user_api_key_auth_mcp.py`, `_get_end_user_object_permission`.
    pub(super) fn of_end_user(
        &self,
        id: Option<&EndUserId>,
    ) -> Result<Option<&'a Permission>, Denial> {
        let link = id.and_then(|id| self.rows.end_users.get(id));
        let link = link.and_then(Option::as_ref);
        match self.rows.permission(link) {
            LinkedPermission::Malformed => Ok(None),
            LinkedPermission::None | LinkedPermission::Gone | LinkedPermission::Read(_) => {
                self.linked(link)
            }
        }
    }

    /// Reads the row of an agent.
    pub(super) fn of_agent(&self, id: Option<&AgentId>) -> Result<Option<&'a Permission>, Denial> {
        let agent = id.and_then(|id| self.rows.agents.get(id));
        let link = agent.and_then(|agent| agent.permission.as_ref());
        let without_tools = link.and_then(|link| self.rows.without_tools.get(link));
        if let Some(row) = without_tools.filter(|_| self.rules.agents_need_no_readable_tools()) {
            return Ok(Some(row));
        }
        self.linked(link)
    }

    /// Reads the row of a user.
    pub(super) fn of_user(&self, id: Option<&UserId>) -> Result<Option<&'a Permission>, Denial> {
        let user = id.and_then(|id| self.rows.users.get(id));
        self.linked(user.and_then(|user| user.permission.as_ref()))
    }

    /// Reads the row of a credential's organization. For a source of a session, one that cannot be
    /// read denies in every release that has sources.
    ///
    /// Source: LiteLLM 1.95.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_org_object_permission` (`ValueError`), and what `_apply_primary_org_ceiling` and
    /// `_apply_agent_and_org_tool_ceilings` make of it for a `keyless_source`.
    pub(super) fn of_organization(
        &self,
        who: &Credential<'_>,
    ) -> Result<Option<&'a Permission>, Denial> {
        let link = who
            .organization
            .and_then(|id| self.rows.organizations.get(id));
        let link = link.and_then(Option::as_ref);
        let row = self.linked(link)?;
        if who.is_source && link.is_some() && row.is_none() {
            return Err(Denial::UnreadableRow);
        }
        Ok(row)
    }

    /// Returns what a user's own row leaves of its servers; `None` where it sets no limit.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_allowed_mcp_servers_for_user`.
    pub(super) fn limit_of_user(&self, id: Option<&UserId>) -> Result<Option<ServerIds>, Denial> {
        if !self.rules.users_limit() {
            return Ok(None);
        }
        let servers = match self.of_user(id)? {
            Some(permission) => self.named(permission, RowOf::User)?,
            None => ServerIds::new(),
        };
        Ok(Some(servers).filter(|servers| !servers.is_empty()))
    }

    /// Returns the servers that the unified access groups of an agent allow; `None` where it has
    /// none.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_agent_access_group_server_ceiling`.
    pub(super) fn limit_of_agent_groups(&self, agent: &AgentId) -> Option<ServerIds> {
        let agent = self.rows.agents.get(agent)?;
        if agent.access_groups.is_empty() || !self.rules.agent_groups_limit() {
            return None;
        }
        let groups = self.rows.groups(&agent.access_groups);
        let servers = groups.flat_map(|group| &group.servers);
        Some(self.registry.expand(servers, self.rules))
    }

    /// Returns the tools that a row grants directly on a server; `None` where it names none there.
    pub(super) fn direct_tools(
        &self,
        permission: &Permission,
        server: &ServerId,
    ) -> Option<ToolNames> {
        self.registry
            .tools_on(server, &permission.tools, self.rules)
    }
}
