//! Which rules of access a release of LiteLLM follows.
//!
//! Every rule names the first release that has it and where it stands there. Paths are those of the
//! package: `litellm/proxy/`, with `mcp_server/` under `_experimental/` until 1.108.

use crate::litellm::release::{self, Release};

/// The rules of one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccessRules(Release);

/// The releases in which a rule changed, oldest first.
pub(super) const CHANGES: [Release; 35] = [
    Release::new(1, 72, 0),
    Release::FAILS_CLOSED,
    Release::new(1, 80, 11),
    Release::new(1, 81, 11),
    Release::new(1, 81, 14),
    Release::new(1, 81, 16),
    Release::TOOL_KEYS_GRANT,
    Release::new(1, 82, 2),
    Release::new(1, 83, 0),
    Release::new(1, 83, 3),
    Release::RESOLVES_NAMES,
    Release::ORGANIZATIONS_LIMIT,
    Release::new(1, 86, 7),
    Release::new(1, 87, 0),
    Release::new(1, 87, 5),
    Release::new(1, 88, 0),
    Release::new(1, 88, 5),
    Release::new(1, 89, 0),
    Release::new(1, 89, 4),
    Release::new(1, 90, 0),
    Release::new(1, 91, 0),
    Release::new(1, 92, 0),
    Release::new(1, 93, 0),
    Release::new(1, 94, 0),
    Release::new(1, 95, 0),
    Release::new(1, 96, 0),
    Release::new(1, 99, 0),
    Release::new(1, 100, 0),
    Release::new(1, 101, 0),
    Release::new(1, 102, 0),
    Release::new(1, 104, 0),
    Release::AGENT_TOOL_KEYS_COUNT,
    Release::new(1, 106, 0),
    Release::new(1, 108, 0),
    Release::new(1, 109, 0),
];

impl AccessRules {
    /// Returns the rules of every later release that may have a schema which implies `release`.
    pub(crate) fn later(release: Release) -> impl Iterator<Item = Self> {
        let end = release::next_marked(release);
        let within =
            move |change: &Release| *change > release && end.is_none_or(|end| *change < end);
        CHANGES.into_iter().filter(within).map(Self)
    }

    /// Chooses the rules of `release`.
    #[must_use]
    pub(crate) fn of(release: Release) -> Self {
        Self(release)
    }

    /// Returns the release.
    pub(crate) fn release(self) -> Release {
        self.0
    }

    /// Tells whether the release is this one or a later one.
    #[cfg_attr(test, track_caller)]
    fn since(self, major: u16, minor: u16, patch: u16) -> bool {
        self.reaches(Release::new(major, minor, patch))
    }

    #[cfg_attr(test, track_caller)]
    fn reaches(self, first: Release) -> bool {
        let reaches = self.0 >= first;
        #[cfg(test)]
        let reaches = reaches != super::tests::is_broken(std::panic::Location::caller().line());
        reaches
    }

    /// Tells whether any permission row is looked at.
    ///
    /// Source: LiteLLM 1.72.6 `mcp_server/mcp_server_manager.py`; 1.68.2 has the columns alone.
    #[must_use]
    pub(crate) fn levels_count(self) -> bool {
        self.since(1, 72, 0)
    }

    /// Tells whether a caller who may use no server gets none, instead of all.
    ///
    /// Source: LiteLLM 1.79.3 against 1.80.0 `mcp_server/mcp_server_manager.py`,
    /// `get_allowed_mcp_servers`.
    #[must_use]
    pub(crate) fn fails_closed(self) -> bool {
        self.reaches(Release::FAILS_CLOSED)
    }

    /// Tells whether servers may be open to all keys.
    ///
    /// Source: LiteLLM 1.80.16 `mcp_server/mcp_server_manager.py`,
    /// `get_allow_all_keys_server_ids`.
    #[must_use]
    pub(crate) fn servers_may_be_open(self) -> bool {
        self.since(1, 80, 11)
    }

    /// Tells whether an administrator gets the whole registry.
    ///
    /// Source: LiteLLM 1.80.16 `mcp_server/mcp_server_manager.py`, `get_allowed_mcp_servers`.
    #[must_use]
    pub(crate) fn administrators_see_all(self) -> bool {
        self.reaches(Release::FAILS_CLOSED)
    }

    /// Tells whether a permission row of its own limits an administrator's key.
    ///
    /// Source: LiteLLM 1.81.14 `mcp_server/mcp_server_manager.py`, `get_allowed_mcp_servers`,
    /// `has_explicit_object_permission`; 1.81.10 has it not.
    #[must_use]
    pub(crate) fn rows_limit_administrators(self) -> bool {
        self.since(1, 81, 11)
    }

    /// Tells whether an administrator is so whatever team the key is of.
    ///
    /// Source: LiteLLM 1.109.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `has_team_unbound_mcp_admin_view`; 1.108.14 has it not.
    #[must_use]
    pub(crate) fn teams_bind_administrators(self) -> bool {
        self.since(1, 109, 0)
    }

    /// Tells whether end users limit.
    ///
    /// Source: LiteLLM 1.81.14 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_allowed_mcp_servers_for_end_user`.
    #[must_use]
    pub(crate) fn end_users_limit(self) -> bool {
        self.since(1, 81, 14)
    }

    /// Tells whether agents limit.
    ///
    /// Source: LiteLLM 1.81.16 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_allowed_mcp_servers_for_agent`; 1.81.15 has it not.
    #[must_use]
    pub(crate) fn agents_limit(self) -> bool {
        self.since(1, 81, 16)
    }

    /// Tells whether an agent's row is read as the database has it, so that malformed tools do not
    /// make the row unreadable.
    ///
    /// Source: LiteLLM 1.88.6 against 1.91.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_agent_object_permission`.
    #[must_use]
    pub(crate) fn agents_need_no_readable_tools(self) -> bool {
        !self.since(1, 89, 0)
    }

    /// Tells whether the keys of `mcp_tool_permissions` grant their servers.
    ///
    /// Source: LiteLLM 1.82.1 `mcp_server/auth/user_api_key_auth_mcp.py`, `tool_perm_servers`.
    #[must_use]
    pub(crate) fn tool_keys_grant(self) -> bool {
        self.reaches(Release::TOOL_KEYS_GRANT)
    }

    /// Tells whether they do so on an agent too.
    ///
    /// Source: LiteLLM 1.105.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `get_allowed_mcp_servers_for_agent`, `inline_tools`.
    #[must_use]
    pub(crate) fn agent_tool_keys_grant(self) -> bool {
        self.reaches(Release::AGENT_TOOL_KEYS_COUNT)
    }

    /// Tells whether a reference may be an alias or a name.
    ///
    /// Source: LiteLLM 1.83.14 `mcp_server/mcp_server_manager.py`, `expand_permission_list`.
    #[must_use]
    pub(crate) fn names_resolve(self) -> bool {
        self.reaches(Release::RESOLVES_NAMES)
    }

    /// Tells whether organizations limit.
    ///
    /// Source: LiteLLM 1.84.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_allowed_mcp_servers_for_org`.
    #[must_use]
    pub(crate) fn organizations_limit(self) -> bool {
        self.reaches(Release::ORGANIZATIONS_LIMIT)
    }

    /// Tells whether `no-mcp-servers` on a key denies everything.
    ///
    /// Patch releases of 1.86 to 1.89 have it, and those of 1.90 have it not.
    ///
    /// Source: `_types.py`, `SpecialMCPServerNames`, of LiteLLM 1.86.7, 1.87.5, 1.88.5, 1.89.4,
    /// 1.91.0, and its absence in 1.90.7.
    #[must_use]
    pub(crate) fn knows_the_deny_marker(self) -> bool {
        let backported = |minor: u16, patch: u16| {
            self.since(1, minor, patch) && self.0 < Release::new(1, minor + 1, 0)
        };
        self.since(1, 91, 0)
            || backported(86, 7)
            || backported(87, 5)
            || backported(88, 5)
            || backported(89, 4)
    }

    /// Tells whether unified access groups grant.
    ///
    /// Source: LiteLLM 1.88.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_key_access_group_mcp_server_extras`.
    #[must_use]
    pub(crate) fn access_groups_grant(self) -> bool {
        self.since(1, 88, 0)
    }

    /// Tells whether `require_key_mcp_access_defined` is read.
    ///
    /// Source: LiteLLM 1.91.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `get_allowed_mcp_servers`.
    #[must_use]
    pub(crate) fn keys_may_have_to_declare(self) -> bool {
        self.since(1, 91, 0)
    }

    /// Tells whether `all-proxy-mcpservers` gives a team the whole registry.
    ///
    /// Source: LiteLLM 1.92.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_allowed_mcp_servers_for_team`.
    #[must_use]
    pub(crate) fn knows_all_servers(self) -> bool {
        self.since(1, 92, 0)
    }

    /// Tells whether a user may use the servers that they submitted.
    ///
    /// Source: LiteLLM 1.92.0 `mcp_server/mcp_server_manager.py`,
    /// `_get_active_submitted_mcp_server_ids_for_user`.
    #[must_use]
    pub(crate) fn submitters_may_use(self) -> bool {
        self.since(1, 92, 0)
    }

    /// Tells whether the toolsets of a key grant at large, and not on their routes alone.
    ///
    /// Source: LiteLLM 1.94.0 `mcp_server/auth/user_api_key_auth_mcp.py`, `toolset_servers`.
    #[must_use]
    pub(crate) fn key_toolsets_grant(self) -> bool {
        self.since(1, 94, 0)
    }

    /// Tells whether those of teams, organizations and users count, and one that grants nothing
    /// denies.
    ///
    /// Source: LiteLLM 1.100.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_toolset_tool_permissions`; 1.99.0 has it not.
    #[must_use]
    pub(crate) fn toolsets_count_above(self) -> bool {
        self.since(1, 100, 0)
    }

    /// Tells whether those of agents count in the same way.
    ///
    /// Source: LiteLLM 1.102.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_allowed_mcp_servers_for_agent` and `_get_agent_tool_permissions_for_server`; those of
    /// 1.101.0 look at no toolset.
    #[must_use]
    pub(crate) fn agent_toolsets_count(self) -> bool {
        self.since(1, 102, 0)
    }

    /// Tells whether there are toolsets, each with a route of its own.
    ///
    /// Source: LiteLLM 1.83.3, migration `20260321000000_add_mcp_toolsets`.
    #[must_use]
    pub(crate) fn has_toolset_routes(self) -> bool {
        self.since(1, 83, 3)
    }

    /// Tells whether a session of a user at the gateway is a caller.
    ///
    /// Source: LiteLLM 1.94.0 `mcp_server/auth/user_api_key_auth_mcp.py`, `_reload_admitted_user`;
    /// 1.93.0 has it not.
    #[must_use]
    pub(crate) fn has_sessions(self) -> bool {
        self.since(1, 94, 0)
    }

    /// Tells whether a session also comes through its user's teams. Before, it is a key of no team
    /// that has the user's own row.
    ///
    /// Source: LiteLLM 1.95.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_is_mcp_admitted_user_subject`; 1.94.0 there, `_reload_admitted_user` ("Only the user's OWN
    /// object permission is bound").
    #[must_use]
    pub(crate) fn sessions_come_through_teams(self) -> bool {
        self.since(1, 95, 0)
    }

    /// Tells whether the team of the dashboard's own keys, which has no row, is known as such.
    ///
    /// Source: LiteLLM 1.93.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_team_object_permission`, `UI_TEAM_ID`; 1.92.2 has it not.
    #[must_use]
    pub(crate) fn knows_dashboard_team(self) -> bool {
        self.since(1, 93, 0)
    }

    /// Tells whether a row of the server table is served, by its `approval_status`.
    ///
    /// Source: LiteLLM 1.82.6 and 1.83.3 `mcp_server/mcp_server_manager.py`,
    /// `reload_servers_from_database`: `active` alone in the former, and since the latter also
    /// `approved` and none. Before 1.82.2 there is no status.
    #[must_use]
    pub(crate) fn serves(self, approval: Option<&str>) -> bool {
        match approval {
            Some("active") => true,
            None | Some("approved") => self.since(1, 83, 0) || !self.since(1, 82, 2),
            Some(_) => !self.since(1, 82, 2),
        }
    }

    /// Tells whether the route of a toolset limits every source of a session, instead of taking the
    /// place of the user's own row alone.
    ///
    /// Source: LiteLLM 1.105.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_narrow_tools_to_toolset`; 1.104.9 `mcp_server/server.py`, `_apply_toolset_scope`.
    #[must_use]
    pub(crate) fn toolset_routes_limit_sessions(self) -> bool {
        self.since(1, 105, 0)
    }

    /// Tells whether a blocked team grants nothing.
    ///
    /// Source: LiteLLM 1.95.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_allowed_mcp_servers_for_single_team`.
    #[must_use]
    pub(crate) fn blocked_teams_grant_nothing(self) -> bool {
        self.since(1, 95, 0)
    }

    /// Tells whether users limit their keys.
    ///
    /// Source: LiteLLM 1.96.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_apply_user_server_ceiling`.
    #[must_use]
    pub(crate) fn users_limit(self) -> bool {
        self.since(1, 96, 0)
    }

    /// Tells whether a permission row that is linked and cannot be read denies, instead of setting
    /// no limit, at the levels of organization, user, agent and end user. For sessions, that of the
    /// organization did before.
    ///
    /// Source: LiteLLM 1.96.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `UnloadableEntitlementError`.
    #[must_use]
    pub(crate) fn unreadable_rows_deny(self) -> bool {
        self.since(1, 96, 0)
    }

    /// Tells whether an administrator's session, and one key's limit of a user, are judged alike.
    ///
    /// Source: LiteLLM 1.99.0 `mcp_server/auth/user_api_key_auth_mcp.py`, `admin_view_unscoped`.
    #[must_use]
    pub(crate) fn sessions_of_administrators_see_all(self) -> bool {
        self.since(1, 99, 0)
    }

    /// Tells whether a toolset of a key or a team keeps an organization from granting.
    ///
    /// Source: LiteLLM 1.100.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_key_or_team_declares_toolsets`.
    #[must_use]
    pub(crate) fn declared_toolsets_limit(self) -> bool {
        self.since(1, 100, 0)
    }

    /// Tells whether `mcp_allow_all_keys_respects_mcp_scope` is read.
    ///
    /// Source: LiteLLM 1.101.0 `mcp_server/mcp_server_manager.py`, `restrict_allow_all`.
    #[must_use]
    pub(crate) fn open_servers_may_be_limited(self) -> bool {
        self.since(1, 101, 0)
    }

    /// Tells whether end users limit tools.
    ///
    /// Source: LiteLLM 1.102.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_apply_end_user_tool_ceiling`.
    #[must_use]
    pub(crate) fn end_users_limit_tools(self) -> bool {
        self.since(1, 102, 0)
    }

    /// Tells whether the unified access groups of an agent limit it.
    ///
    /// Source: LiteLLM 1.104.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_get_agent_access_group_server_ceiling`.
    #[must_use]
    pub(crate) fn agent_groups_limit(self) -> bool {
        self.since(1, 104, 0)
    }

    /// Tells whether the human whom an agent names limits its key.
    ///
    /// Source: LiteLLM 1.104.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_apply_agent_caller_ceiling`.
    #[must_use]
    pub(crate) fn agents_echo_callers(self) -> bool {
        self.since(1, 104, 0)
    }

    /// Tells whether `*` stands for every tool.
    ///
    /// Source: LiteLLM 1.104.0 `constants.py`, `MCP_ALL_TOOLS_WILDCARD`.
    #[must_use]
    pub(crate) fn knows_all_tools(self) -> bool {
        self.since(1, 104, 0)
    }

    /// Tells whether a team's list without tools denies, instead of setting no limit.
    ///
    /// Source: LiteLLM 1.109.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_single_credential_tools`; 1.108.0 `get_allowed_tools_for_server`.
    #[must_use]
    pub(crate) fn empty_tool_lists_deny(self) -> bool {
        self.since(1, 108, 0)
    }

    /// Tells whether an agent's list without tools denies.
    ///
    /// Source: LiteLLM 1.105.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `get_agent_tool_permissions_for_server`.
    #[must_use]
    pub(crate) fn empty_agent_tool_lists_deny(self) -> bool {
        self.since(1, 105, 0)
    }

    /// Tells whether a source of an inherited toolset is looked up beyond the key's own row.
    ///
    /// Source: LiteLLM 1.105.0 `mcp_server/ui_session_utils.py`, `granted_toolset_ids`.
    #[must_use]
    pub(crate) fn toolset_routes_inherit(self) -> bool {
        self.since(1, 105, 0)
    }

    /// Tells whether `no-mcp-servers` denies a key wherever its row names it, also as a key of
    /// `mcp_tool_permissions`.
    ///
    /// Source: LiteLLM 1.104.9 against 1.106.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `get_allowed_mcp_servers`.
    #[must_use]
    pub(crate) fn deny_marker_may_be_a_tool_key(self) -> bool {
        self.knows_the_deny_marker() && !self.tags_without_servers_limit()
    }

    /// Tells whether a malformed row of a key or its team is an error, instead of no row, where
    /// tools are asked for.
    ///
    /// Source: LiteLLM 1.80.16 `auth/auth_checks.py`, `get_object_permission`, which caches a row
    /// before it reads it; since 1.81.14 the row is loaded with its owner.
    #[must_use]
    pub(crate) fn malformed_rows_lift_tool_limits(self) -> bool {
        !self.since(1, 81, 14)
    }

    /// Tells whether tags that no server carries keep a level closed, and whether tags are looked
    /// up among the servers that are served.
    ///
    /// Source: LiteLLM 1.106.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_server_grants_with_group_scope` and `catalog.current`.
    #[must_use]
    pub(crate) fn tags_without_servers_limit(self) -> bool {
        self.since(1, 106, 0)
    }

    /// Tells whether unified access groups limit tools.
    ///
    /// Source: LiteLLM 1.108.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `access_group_tools_for_server`.
    #[must_use]
    pub(crate) fn access_groups_limit_tools(self) -> bool {
        self.since(1, 108, 0)
    }

    /// Tells whether a key of no team may inherit from the teams of its user.
    ///
    /// Source: LiteLLM 1.109.0 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `personal_key_team_server_grants`.
    #[must_use]
    pub(crate) fn personal_keys_may_inherit(self) -> bool {
        self.since(1, 109, 0)
    }
}
