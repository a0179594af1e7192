//! Callers who come through several teams: a user's session, and a key of no team where the proxy
//! lets it inherit from its user's teams.

use std::collections::{BTreeMap, BTreeSet};

use super::caller::Human;
use super::model::{AccessModel, Credential};
use super::registry::{ServerIds, ToolNames};
use super::rows::{AccessTeam, LinkedPermission, Toolset, User};
use super::servers::{AccessScope, GrantedServers};
use super::tools::{Tools, both};
use super::trace::{Denial, Level, Trace};
use super::{Access, Entrance, concluded, nobody};
use crate::litellm::ids::{AccessGroupId, ServerId, TeamId, ToolsetId, UserId};

impl AccessModel<'_> {
    /// Computes what a user's session may use: the union of its own grants and of each of its
    /// teams', each within its own organization.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`, `reload_admitted_user`,
    /// `admitted_subject_sources` and `resolve_admitted_subject_servers`.
    pub(super) fn of_session(
        &self,
        user: &UserId,
        toolset: Option<&ToolsetId>,
        trace: &mut Trace,
    ) -> Access {
        let Some(row) = self
            .rows
            .users
            .get(user)
            .filter(|_| self.rules.has_sessions())
        else {
            return Access::denied(Level::Own, Denial::UnknownCaller);
        };
        let who = Credential {
            permission: self.rows.permission(row.permission.as_ref()),
            organization: row.organization.as_ref(),
            user: Some(user),
            administers: row.administers,
            toolset,
            ..nobody()
        };
        if !self.rules.sessions_come_through_teams() {
            let of_nobody_else = Credential {
                organization: None,
                toolset: None,
                ..who
            };
            return self.of_key(of_nobody_else, toolset, trace);
        }
        let own = Credential {
            administers: false,
            toolset: None,
            is_source: true,
            ..who
        };
        let mut sources = vec![own];
        for (id, team) in self.teams_of(row) {
            if team.members.contains(user) {
                sources.push(Credential {
                    permission: LinkedPermission::None,
                    team: Some(id),
                    organization: team.organization.as_ref().or(own.organization),
                    ..own
                });
            }
        }
        let sees_all = self.sees_all(&who, Entrance::OfSession);
        let pinned;
        let mut scope = None;
        if let Some(toolset) = toolset {
            let holds = |source: &Credential<'_>| self.holds_toolset(source, toolset);
            if !who.administers && !sources.iter().any(holds) {
                return Access::denied(Level::Toolset, Denial::ToolsetNotGranted);
            }
            if self.rules.toolset_routes_limit_sessions() {
                scope = Some(self.rows.toolset_tools(std::slice::from_ref(toolset)));
            } else {
                pinned = self.pinned(&who, toolset);
                if let Some(own) = sources.first_mut() {
                    own.permission = LinkedPermission::Read(&pinned);
                }
            }
        }
        let granted = sources.iter().map(|source| {
            let mut granted = self.granted(source, trace);
            if let Some(scope) = &scope {
                granted.servers.retain(|server| scope.contains_key(server));
            }
            granted
        });
        let granted: Vec<GrantedServers> = granted.collect();
        let united = united(&granted, AccessScope::Unscoped);
        let servers = self.with_open_servers(&who, &united, sees_all, trace);
        // A row of its own keeps a session from servers that its user submitted, and not from all
        // tools of one that a team grants.
        //
        // Source: LiteLLM 1.110.2 `mcp_server/mcp_server_manager.py`, `operator_open_server_ids`.
        let mut open = self.open(&who);
        if toolset.is_none() {
            open.extend(self.registry.submitted_by(user).cloned());
        }
        let tools = servers.into_iter().map(|server| {
            let is_open = sees_all || open.contains(&server);
            let reached = sources.iter().zip(&granted).filter(|(source, granted)| {
                granted.servers.contains(&server) || is_open && source.team.is_none()
            });
            let tools = any(reached.map(|(source, _)| self.tools(source, &server)));
            let tools = narrowed_to(tools, scope.as_ref(), &server);
            (server, tools)
        });
        let tools: BTreeMap<ServerId, Tools> = tools.collect();
        concluded(tools, united.denied_by)
    }

    /// Returns the teams of a user that are there, each once.
    fn teams_of<'u>(&'u self, user: &'u User) -> Vec<(&'u TeamId, &'u AccessTeam)> {
        let mut seen = BTreeSet::new();
        let teams = user.teams.iter().filter(|team| !team.is_of_dashboard());
        let teams = teams.filter(|team| seen.insert(*team));
        let teams = teams.filter_map(|team| Some((team, self.rows.teams.get(team)?)));
        teams.collect()
    }

    /// Returns the teams through which a key of no team comes, each as the credential that the key
    /// would be there; `None` where the key inherits from no team.
    ///
    /// Source: LiteLLM 1.109.1 `auth/auth_checks.py`, `personal_key_inherits_team_grants`, and
    /// `mcp_server/auth/user_api_key_auth_mcp.py`, `personal_key_team_sources`.
    pub(super) fn personal_sources<'c>(
        &'c self,
        who: &Credential<'c>,
    ) -> Option<Vec<Credential<'c>>> {
        let applies = self.settings.personal_keys_inherit
            && self.rules.personal_keys_may_inherit()
            && who.token.is_some()
            && who.team.is_none();
        let user = who.user.filter(|_| applies)?;
        let Some(row) = self.rows.users.get(user) else {
            return Some(Vec::new());
        };
        if row.is_proxy_admin {
            return None;
        }
        let mut sources = Vec::new();
        for (id, team) in self.teams_of(row) {
            let of_team = team.organization.as_ref();
            let of_another = who
                .organization
                .is_some_and(|own| of_team.is_some_and(|o| o != own));
            let is_readable = !matches!(
                self.rows.permission(team.permission.as_ref()),
                LinkedPermission::Gone | LinkedPermission::Malformed
            );
            if !team.blocked && !of_another && is_readable {
                sources.push(Credential {
                    team: Some(id),
                    organization: who.organization.or(of_team),
                    ..*who
                });
            }
        }
        Some(sources)
    }

    /// Unites what those teams grant the key; one whose access groups cannot all be read grants
    /// nothing.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `personal_key_team_server_grants`.
    pub(super) fn granted_to_personal_key(
        &self,
        who: &Credential<'_>,
        sources: &[Credential<'_>],
        trace: &mut Trace,
    ) -> GrantedServers {
        let granted: Vec<GrantedServers> = sources
            .iter()
            .map(|source| self.granted_by_source(source, trace))
            .collect();
        let unscoped = granted.iter().any(|g| g.scope == AccessScope::Unscoped);
        let scope = if unscoped {
            AccessScope::Unscoped
        } else {
            AccessScope::Scoped
        };
        // Every source is limited to the human already.
        if let Some(human) = who.human.filter(|_| self.rules.agents_echo_callers())
            && let Err(denial) = self.check_human(human)
        {
            return GrantedServers::denied(AccessScope::Unresolved, Level::Human, denial);
        }
        united(&granted, scope)
    }

    fn granted_by_source(&self, source: &Credential<'_>, trace: &mut Trace) -> GrantedServers {
        let team = source.team.and_then(|team| self.rows.teams.get(team));
        let groups = team.map(|team| team.access_groups.as_slice());
        let is_readable =
            |id: &AccessGroupId| matches!(self.rows.access_groups.get(id), Some(Some(_)));
        if !groups.unwrap_or_default().iter().all(is_readable) {
            let denial = Denial::UnreadableRow;
            return GrantedServers::denied(AccessScope::Scoped, Level::Team, denial);
        }
        self.granted(source, trace)
    }

    /// Denies where a level of the human behind an agent cannot be read.
    ///
    /// Source: LiteLLM 1.110.2 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_apply_agent_caller_ceiling_to_multi_source_server_access` and
    /// `_mcp_server_access_after_error`.
    fn check_human(&self, human: &Human) -> Result<(), Denial> {
        self.granted_by_team(human.team.as_ref())?;
        self.limit_of_user(human.user.as_ref())?;
        Ok(())
    }

    /// Unites the tools that those teams grant the key on a server; on one that is open, its own.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `resolve_personal_key_team_tools`.
    pub(super) fn tools_of_personal_key(
        &self,
        who: &Credential<'_>,
        sources: &[Credential<'_>],
        server: &ServerId,
    ) -> Tools {
        let grants = |source: &&Credential<'_>| {
            let granted = self.granted_by_source(source, &mut Trace::none());
            granted.servers.contains(server)
        };
        let granting: Vec<&Credential<'_>> = sources.iter().filter(grants).collect();
        if granting.is_empty() {
            return self.tools(who, server);
        }
        any(granting.iter().map(|source| self.tools(source, server)))
    }
}

/// Unites the servers of several sources.
fn united(granted: &[GrantedServers], scope: AccessScope) -> GrantedServers {
    let servers: ServerIds = granted.iter().flat_map(|g| g.servers.clone()).collect();
    GrantedServers {
        denied_by: granted.iter().find_map(|g| g.denied_by.clone()),
        servers,
        scope,
    }
}

/// Unites the tools of several sources: one that allows all allows all.
fn any(tools: impl Iterator<Item = Tools>) -> Tools {
    let mut all = ToolNames::new();
    for tools in tools {
        all.extend(tools?);
    }
    Some(all)
}

/// Leaves of the tools only those of the toolset on whose route the caller is.
///
/// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`, `_narrow_tools_to_toolset`.
fn narrowed_to(tools: Tools, scope: Option<&Toolset>, server: &ServerId) -> Tools {
    match scope {
        None => tools,
        Some(scope) => both(tools, Some(scope.get(server).cloned().unwrap_or_default())),
    }
}
