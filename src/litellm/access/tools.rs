//! Which tools of a server one credential may use.

use super::model::{AccessModel, Credential, RowOf};
use super::registry::ToolNames;
use super::rows::{AccessGroup, LinkedPermission, Permission, Toolset};
use super::trace::Denial;
use crate::litellm::ids::{AccessGroupId, AgentId, ServerId, TeamId, UserId};

/// The tools of one server; `None` stands for all.
pub(crate) type Tools = Option<ToolNames>;

/// The word that grants every tool.
///
/// Source: LiteLLM 1.109.1 `constants.py`, `MCP_ALL_TOOLS_WILDCARD`.
const ALL_TOOLS: &str = "*";

/// What the unified access groups of a key say of a server.
///
/// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`, `KeyGroupTools`.
#[derive(Debug, Default)]
struct KeyGroupTools {
    /// The tools of the groups that name the key, or its team, as their own.
    owned: Tools,
    /// Whether one of those grants the server.
    owns_server: bool,
    /// The tools of all groups attached to the key.
    attached: Tools,
}

impl AccessModel<'_> {
    /// Computes the tools of `server` for a credential, level by level; none where a level that
    /// limits cannot be read.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `get_allowed_tools_for_server` and `_single_credential_tools`.
    pub(super) fn tools(&self, who: &Credential<'_>, server: &ServerId) -> Tools {
        self.narrowed_tools(who, server)
            .unwrap_or_else(|_: Denial| Some(ToolNames::new()))
    }

    fn narrowed_tools(&self, who: &Credential<'_>, server: &ServerId) -> Result<Tools, Denial> {
        // Source: LiteLLM 1.110.2 `mcp_server/auth/user_api_key_auth_mcp.py`,
        // `get_allowed_tools_for_server`: an error that is no unreadable entitlement, such as a
        // team that is gone, allows a key every tool.
        if self.is_gone(who.team) {
            return Ok(Some(ToolNames::new()).filter(|_| who.is_source));
        }
        if self.rules.malformed_rows_lift_tool_limits() && self.has_malformed_row(who) {
            return Ok(None);
        }
        let own = self.tools_of_key(who, server);
        let team = self.tools_of_team(who.team, server)?;
        let mut tools = if self.rules.empty_tool_lists_deny() {
            both(team, own)
        } else {
            match (team.filter(|team| !team.is_empty()), own) {
                (None, own) => own,
                (Some(team), Some(own)) if !own.is_empty() => Some(&team & &own),
                (Some(team), _) => Some(team),
            }
        };
        if who.end_user.is_some() && self.rules.end_users_limit_tools() {
            let row = self.of_end_user(who.end_user)?;
            tools = both(tools, self.tools_above(RowOf::EndUser, row, server)?);
        }
        if !who.is_source {
            tools = both(tools, self.tools_of_user(who.user, server)?);
        }
        if let Some(human) = who.human.filter(|_| self.rules.agents_echo_callers()) {
            // Source: LiteLLM 1.110.2 `mcp_server/auth/user_api_key_auth_mcp.py`,
            // `apply_agent_caller_tool_ceiling`: a team that cannot be loaded denies.
            if self.is_gone(human.team.as_ref()) {
                return Ok(Some(ToolNames::new()));
            }
            tools = both(tools, self.tools_of_team(human.team.as_ref(), server)?);
            tools = both(tools, self.tools_of_user(human.user.as_ref(), server)?);
        }
        if let Some(agent) = who.agent.filter(|_| self.rules.agents_limit()) {
            tools = both(tools, self.tools_of_agent(agent, server)?);
        }
        if who.organization.is_some() && self.rules.organizations_limit() {
            let row = self.of_organization(who)?;
            tools = both(tools, self.tools_above(RowOf::Organization, row, server)?);
        }
        Ok(tools)
    }

    /// Tells whether a team is named and there is no such row.
    fn is_gone(&self, team: Option<&TeamId>) -> bool {
        let knows_dashboard = self.rules.knows_dashboard_team();
        let team = team.filter(|team| !knows_dashboard || !team.is_of_dashboard());
        team.is_some_and(|team| !self.rows.teams.contains_key(team))
    }

    fn has_malformed_row(&self, who: &Credential<'_>) -> bool {
        let team = who.team.and_then(|team| self.rows.teams.get(team));
        let of_team = self
            .rows
            .permission(team.and_then(|team| team.permission.as_ref()));
        [who.permission, of_team].contains(&LinkedPermission::Malformed)
    }

    fn tools_of_key(&self, who: &Credential<'_>, server: &ServerId) -> Tools {
        let row = who.permission.read();
        let direct = row.and_then(|row| self.direct_tools(row, server));
        let toolsets = row.filter(|_| self.rules.key_toolsets_grant());
        let toolsets = toolsets.and_then(|row| {
            let mut tools = self.rows.toolset_tools(&row.toolsets);
            tools.remove(server)
        });
        if !self.rules.access_groups_limit_tools() {
            return self.union([direct, toolsets]);
        }
        let groups = self.tools_of_key_groups(who, server);
        let names_server = row.is_some_and(|row| {
            let mut named = row.servers.iter();
            named.any(|reference| self.registry.means(reference, server, self.rules))
                || self.registry.tagged(&row.tags, self.rules).contains(server)
        });
        // A grant of its own is not limited by groups that are merely attached.
        if names_server || direct.is_some() || toolsets.is_some() || groups.owns_server {
            self.union([direct, toolsets, groups.owned])
        } else {
            groups.attached
        }
    }

    fn tools_of_key_groups(&self, who: &Credential<'_>, server: &ServerId) -> KeyGroupTools {
        if who.access_groups.is_empty() {
            return KeyGroupTools::default();
        }
        let unreadable = |id: &AccessGroupId| matches!(self.rows.access_groups.get(id), Some(None));
        if who.access_groups.iter().any(unreadable) {
            return KeyGroupTools {
                owned: Some(ToolNames::new()),
                owns_server: false,
                attached: Some(ToolNames::new()),
            };
        }
        let attached: Vec<&AccessGroup> = self.rows.groups(who.access_groups).collect();
        let is_owned = |group: &&AccessGroup| {
            who.team.is_some_and(|team| group.teams.contains(team))
                || who.token.is_some_and(|token| group.keys.contains(token))
        };
        let owned: Vec<&AccessGroup> = attached.iter().copied().filter(is_owned).collect();
        KeyGroupTools {
            owned: self.tools_of_groups(&owned, server),
            owns_server: owned.iter().any(|group| self.grants(group, server)),
            attached: self.tools_of_groups(&attached, server),
        }
    }

    fn grants(&self, group: &AccessGroup, server: &ServerId) -> bool {
        let mut named = group.servers.iter();
        named.any(|reference| self.registry.means(reference, server, self.rules))
    }

    /// Unites the tools of the groups that grant the server; a group without a list grants all.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `access_group_tools_for_server`.
    fn tools_of_groups(&self, groups: &[&AccessGroup], server: &ServerId) -> Tools {
        let mut united: Tools = None;
        for group in groups.iter().filter(|group| self.grants(group, server)) {
            let tools = self.registry.tools_on(server, &group.tools, self.rules)?;
            if tools.contains(ALL_TOOLS) {
                return None;
            }
            united.get_or_insert_default().extend(tools);
        }
        united
    }

    fn tools_of_team(&self, team: Option<&TeamId>, server: &ServerId) -> Result<Tools, Denial> {
        let team = team.filter(|team| !team.is_of_dashboard());
        let Some(team) = team.and_then(|team| self.rows.teams.get(team)) else {
            return Ok(None);
        };
        let row = self.rows.permission(team.permission.as_ref()).read();
        let direct = row.and_then(|row| self.direct_tools(row, server));
        let toolsets = self.tools_of_toolsets(RowOf::Team, row, server)?;
        let groups = if self.rules.access_groups_limit_tools() && !team.access_groups.is_empty() {
            let unreadable =
                |id: &AccessGroupId| matches!(self.rows.access_groups.get(id), Some(None));
            if team.access_groups.iter().any(unreadable) {
                Some(ToolNames::new())
            } else {
                let groups: Vec<&AccessGroup> = self.rows.groups(&team.access_groups).collect();
                self.tools_of_groups(&groups, server)
            }
        } else {
            None
        };
        Ok(self.union([direct, toolsets, groups]))
    }

    fn tools_of_user(&self, user: Option<&UserId>, server: &ServerId) -> Result<Tools, Denial> {
        if !self.rules.users_limit() {
            return Ok(None);
        }
        self.tools_above(RowOf::User, self.of_user(user)?, server)
    }

    fn tools_of_agent(&self, agent: &AgentId, server: &ServerId) -> Result<Tools, Denial> {
        let own = self.tools_above(RowOf::Agent, self.of_agent(Some(agent))?, server)?;
        let own = own.filter(|own| self.rules.empty_agent_tool_lists_deny() || !own.is_empty());
        let groups = self
            .rows
            .agents
            .get(agent)
            .map(|agent| &agent.access_groups);
        let groups = groups.filter(|groups| !groups.is_empty());
        let Some(named) = groups.filter(|_| self.rules.access_groups_limit_tools()) else {
            return Ok(own);
        };
        let unreadable = |id: &AccessGroupId| matches!(self.rows.access_groups.get(id), Some(None));
        if named.iter().any(unreadable) {
            return Ok(both(own, Some(ToolNames::new())));
        }
        let groups: Vec<&AccessGroup> = self.rows.groups(named).collect();
        Ok(both(own, self.tools_of_groups(&groups, server)))
    }

    /// Returns the tools that a row above the key leaves on the server; `None` where it names none.
    fn tools_above(
        &self,
        of: RowOf,
        row: Option<&Permission>,
        server: &ServerId,
    ) -> Result<Tools, Denial> {
        let Some(row) = row else {
            return Ok(None);
        };
        let direct = self.direct_tools(row, server);
        let toolsets = self.tools_of_toolsets(of, Some(row), server)?;
        Ok(self.union([direct, toolsets]))
    }

    fn tools_of_toolsets(
        &self,
        of: RowOf,
        row: Option<&Permission>,
        server: &ServerId,
    ) -> Result<Tools, Denial> {
        let mut tools = match row {
            Some(row) => self.toolset_tools(row, of)?,
            None => Toolset::new(),
        };
        Ok(tools.remove(server))
    }

    /// Unites what one level grants in several ways; the first of them may grant every tool.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`, `_union_tool_grants`.
    fn union<const N: usize>(&self, grants: [Tools; N]) -> Tools {
        let direct = grants.first().and_then(Option::as_ref);
        if self.rules.knows_all_tools() && direct.is_some_and(|tools| tools.contains(ALL_TOOLS)) {
            return None;
        }
        grants.into_iter().flatten().reduce(|mut all, tools| {
            all.extend(tools);
            all
        })
    }
}

/// Leaves what both allow; `None` allows everything.
pub(super) fn both(one: Tools, other: Tools) -> Tools {
    match (one, other) {
        (None, tools) | (tools, None) => tools,
        (Some(one), Some(other)) => Some(&one & &other),
    }
}
