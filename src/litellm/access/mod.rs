//! Who may use which server, which tools of it, and which level said so: LiteLLM's own check, as
//! plain functions over rows.
//!
//! A release differs from another by its [`rules::AccessRules`]; `tests/conformance/` compares
//! every answer with LiteLLM's code. Not modelled are budgets that are used up, sessions limited
//! to one server, callers without any credential, and agents that the proxy manages itself.

pub(crate) mod basis;
pub(crate) mod caller;
pub(crate) mod difference;
mod model;
pub(crate) mod other_values;
pub(crate) mod path;
pub(crate) mod possible;
pub(crate) mod registry;
pub(crate) mod rows;
pub(crate) mod rules;
mod servers;
mod sources;
#[cfg(test)]
mod tests;
pub(crate) mod tools;
pub(crate) mod trace;
pub(crate) mod what_if;

use std::collections::BTreeMap;

use self::caller::{Caller, Human};
pub(crate) use self::model::AccessModel;
use self::model::Credential;
use self::registry::ServerIds;
use self::rows::{Key, LinkedPermission, Permission};
use self::servers::{AccessScope, GrantedServers};
use self::tools::Tools;
use self::trace::{AccessStep, Denial, Level, LevelEffect, Trace};
use super::ids::{EndUserId, ServerId, TeamId, ToolsetId, UserId};
use super::server::NO_SERVERS;

/// Where a credential comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entrance {
    /// Where keys do, and callers without one.
    OfKey,
    /// Where the sessions of users do.
    OfSession,
}

/// What a caller may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// The servers that are served and that it may use, each with its tools; `None` stands for all.
    pub servers: BTreeMap<ServerId, Tools>,
    /// Why there is none, where there is none.
    pub denied_by: Option<(Level, Denial)>,
    /// How it came about, in LiteLLM's order; empty unless it was asked for.
    pub steps: Vec<AccessStep>,
}

impl Access {
    fn denied(level: Level, denial: Denial) -> Self {
        Self {
            denied_by: Some((level, denial)),
            ..Self::default()
        }
    }
}

impl AccessModel<'_> {
    /// Computes what `caller` may use.
    #[must_use]
    pub(crate) fn access(&self, caller: &Caller) -> Access {
        self.answer(caller, &mut Trace::none())
    }

    /// Computes what `caller` may use, and keeps every step on the way.
    #[must_use]
    pub(crate) fn explained(&self, caller: &Caller) -> Access {
        let mut trace = Trace::kept();
        let access = self.answer(caller, &mut trace);
        Access {
            steps: trace.into_steps(),
            ..access
        }
    }

    fn answer(&self, caller: &Caller, trace: &mut Trace) -> Access {
        if !self.rules.levels_count() {
            return self.whole_registry();
        }
        match caller {
            Caller::Key {
                token,
                end_user,
                on_behalf_of,
                toolset,
            } => match self.rows.keys.get(token) {
                Some(key) => {
                    let who = self.key(key, end_user.as_ref(), on_behalf_of.as_ref());
                    self.of_key(who, toolset.as_ref(), trace)
                }
                None => Access::denied(Level::Own, Denial::UnknownCaller),
            },
            Caller::Keyless { team, user } => {
                let mut who = nobody();
                who.team = team.as_ref();
                who.user = user.as_ref();
                who.administers = self.administers(who.user);
                let row = who.real_team().and_then(|team| self.rows.teams.get(team));
                who.organization = row.and_then(|team| team.organization.as_ref());
                self.of_credential(&who, trace)
            }
            Caller::Session { user, toolset } => {
                if toolset.is_some() && self.session_opts_out(user) {
                    return Access::denied(Level::Toolset, Denial::DenyMarker);
                }
                self.of_session(user, toolset.as_ref(), trace)
            }
        }
    }

    /// Tells whether the user's own row denies the session the routes of toolsets. It does not
    /// deny them to a session of the dashboard, which only becomes the user's after this check.
    ///
    /// Source: LiteLLM 1.110.2 `mcp_server/server.py`, `apply_toolset_scope`.
    fn session_opts_out(&self, user: &UserId) -> bool {
        let user = self.rows.users.get(user);
        let row = user.and_then(|user| self.rows.permission(user.permission.as_ref()).read());
        self.rules.has_sessions() && row.is_some_and(|row| self.denies(row))
    }

    fn whole_registry(&self) -> Access {
        let servers = self.registry.ids().map(|id| (id.clone(), None));
        Access {
            servers: servers.collect(),
            ..Access::default()
        }
    }

    /// Makes the credential of a key: its organization is its own, else its team's.
    fn key<'c>(
        &'c self,
        key: &'c Key,
        end_user: Option<&'c EndUserId>,
        human: Option<&'c Human>,
    ) -> Credential<'c> {
        let team = key.team.as_ref().and_then(|team| self.rows.teams.get(team));
        let of_team = team.and_then(|team| team.organization.as_ref());
        Credential {
            permission: self.rows.permission(key.permission.as_ref()),
            token: Some(&key.token),
            access_groups: &key.access_groups,
            team: key.team.as_ref(),
            organization: key.organization.as_ref().or(of_team),
            user: key.user.as_ref(),
            agent: key.agent.as_ref(),
            end_user,
            human: human.filter(|_| key.agent.is_some()),
            administers: self.administers(key.user.as_ref()),
            toolset: None,
            is_source: false,
        }
    }

    fn administers(&self, user: Option<&UserId>) -> bool {
        let user = user.and_then(|user| self.rows.users.get(user));
        user.is_some_and(|user| user.administers)
    }

    fn of_key(
        &self,
        who: Credential<'_>,
        toolset: Option<&ToolsetId>,
        trace: &mut Trace,
    ) -> Access {
        let Some(toolset) = toolset else {
            return self.of_credential(&who, trace);
        };
        // Source: LiteLLM 1.110.2 `mcp_server/ui_session_utils.py`, `acting_user_auth`: a session
        // of the dashboard acts as its user there.
        if let Some(user) = who.user.filter(|user| self.rows.users.contains_key(*user))
            && who.team.is_some_and(TeamId::is_of_dashboard)
            && !who.administers
            && !self.opts_out(&who)
            && self.rules.toolset_routes_limit_sessions()
        {
            return self.of_session(user, Some(toolset), trace);
        }
        if let Err(denial) = self.check_toolset(&who, toolset) {
            return Access::denied(Level::Toolset, denial);
        }
        let pinned = self.pinned(&who, toolset);
        let who = Credential {
            permission: LinkedPermission::Read(&pinned),
            toolset: Some(toolset),
            ..who
        };
        self.of_credential(&who, trace)
    }

    /// Computes what a credential may use: what is granted, and the servers that are open.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/mcp_server_manager.py`, `get_allowed_mcp_servers`.
    fn of_credential(&self, who: &Credential<'_>, trace: &mut Trace) -> Access {
        // Absolute: not even an administrator or an open server is left.
        if self.opts_out(who) {
            return Access::denied(Level::Own, Denial::DenyMarker);
        }
        let personal = self.personal_sources(who);
        let granted = match &personal {
            Some(sources) => self.granted_to_personal_key(who, sources, trace),
            None => self.granted(who, trace),
        };
        let sees_all = self.sees_all(who, Entrance::OfKey);
        let servers = self.with_open_servers(who, &granted, sees_all, trace);
        let tools = |server: &ServerId| match &personal {
            Some(sources) => self.tools_of_personal_key(who, sources, server),
            None => self.tools(who, server),
        };
        let servers = servers.into_iter().map(|server| {
            let tools = tools(&server);
            (server, tools)
        });
        concluded(servers.collect(), granted.denied_by)
    }

    fn opts_out(&self, who: &Credential<'_>) -> bool {
        who.permission.read().is_some_and(|row| self.denies(row))
    }

    fn denies(&self, row: &Permission) -> bool {
        self.rules.knows_the_deny_marker() && row.servers.iter().any(|s| s == NO_SERVERS)
    }

    /// Tells whether the caller's role gives it every server.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`, `admin_view_unscoped`;
    /// 1.81.10, 1.81.14 and 1.98.1 `mcp_server/mcp_server_manager.py`, `get_allowed_mcp_servers`.
    fn sees_all(&self, who: &Credential<'_>, entrance: Entrance) -> bool {
        let rules = self.rules;
        let bound_by_team = rules.teams_bind_administrators() && who.real_team().is_some();
        let bound_by_row = match entrance {
            Entrance::OfSession => !rules.sessions_of_administrators_see_all(),
            Entrance::OfKey => rules.rows_limit_administrators() && who.permission.read().is_some(),
        };
        who.administers
            && rules.administrators_see_all()
            && !bound_by_team
            && !bound_by_row
            && matches!(self.limit_of_user(who.user), Ok(None))
    }

    /// Adds the servers that are open to every key, and those that the user submitted; leaves only
    /// what is served.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/mcp_server_manager.py`, `operator_open_server_ids` and
    /// `get_allowed_mcp_servers`.
    fn with_open_servers(
        &self,
        who: &Credential<'_>,
        granted: &GrantedServers,
        sees_all: bool,
        trace: &mut Trace,
    ) -> ServerIds {
        let all = || self.registry.ids().cloned().collect::<ServerIds>();
        let (mut servers, scope) = if sees_all {
            (all(), AccessScope::Unscoped)
        } else {
            (granted.servers.clone(), granted.scope)
        };
        if sees_all {
            let effect = || LevelEffect::Grants(servers.clone());
            trace.add(
                Level::Administrator,
                who.user.map(UserId::as_str),
                &servers,
                effect,
            );
        }
        if !self.rules.fails_closed() && servers.is_empty() {
            return all();
        }
        let submitted = self.submitted(who);
        let limits_open = self.settings.scope_limits_open_servers
            && self.rules.open_servers_may_be_limited()
            && who.token.is_some()
            && scope != AccessScope::Unscoped;
        let mut open = if limits_open {
            ServerIds::new()
        } else {
            self.open(who)
        };
        let submitted = if limits_open && scope == AccessScope::Unresolved {
            &submitted - self.registry.open()
        } else {
            submitted
        };
        open.extend(submitted);
        servers.retain(|id| self.registry.get(id).is_some());
        // `open` has served servers only: the registry lists them.
        servers.extend(open.iter().cloned());
        if !open.is_empty() {
            let effect = || LevelEffect::Grants(open);
            trace.add(Level::OpenServers, None, &servers, effect);
        }
        servers
    }

    /// Returns the servers that every key may use; none on the route of a toolset.
    fn open(&self, who: &Credential<'_>) -> ServerIds {
        if who.toolset.is_some() || !self.rules.servers_may_be_open() {
            return ServerIds::new();
        }
        self.registry.open().clone()
    }

    /// Returns the servers that the user submitted, unless the credential has servers of its own.
    fn submitted(&self, who: &Credential<'_>) -> ServerIds {
        let has_a_row = who.permission.read().is_some();
        if who.toolset.is_some() || has_a_row || !self.rules.submitters_may_use() {
            return ServerIds::new();
        }
        let submitted = who.user.map(|user| self.registry.submitted_by(user));
        submitted.into_iter().flatten().cloned().collect()
    }

    /// Refuses the route of a toolset that the credential does not hold.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/server.py`, `apply_toolset_scope`, and
    /// `mcp_server/ui_session_utils.py`, `granted_toolset_ids`.
    fn check_toolset(&self, who: &Credential<'_>, toolset: &ToolsetId) -> Result<(), Denial> {
        if self.opts_out(who) {
            return Err(Denial::DenyMarker);
        }
        let bound_by_team = self.rules.teams_bind_administrators() && who.real_team().is_some();
        if who.administers && !bound_by_team {
            return Ok(());
        }
        if self.holds_toolset(who, toolset) {
            Ok(())
        } else {
            Err(Denial::ToolsetNotGranted)
        }
    }

    /// Tells whether a credential holds a toolset by its own row or, where that names nothing, by
    /// its team's.
    fn holds_toolset(&self, who: &Credential<'_>, toolset: &ToolsetId) -> bool {
        let names = |row: &Permission| row.toolsets.contains(toolset);
        if !self.rules.toolset_routes_inherit() {
            return who.permission.read().is_some_and(names);
        }
        match who.permission {
            LinkedPermission::Gone | LinkedPermission::Malformed => return false,
            LinkedPermission::Read(row) if row.restricts() => return names(row),
            LinkedPermission::Read(_) | LinkedPermission::None => {}
        }
        if self.settings.keys_must_declare && !who.is_source {
            return false;
        }
        let team = who.real_team().and_then(|team| self.rows.teams.get(team));
        let row = team.and_then(|team| self.rows.permission(team.permission.as_ref()).read());
        row.is_some_and(names)
    }

    /// Makes the permission row that a key has on the route of a toolset: the tags stay.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/server.py`, `apply_toolset_scope`.
    fn pinned(&self, who: &Credential<'_>, toolset: &ToolsetId) -> Permission {
        let tools = self.rows.toolset_tools(std::slice::from_ref(toolset));
        let names = |(server, names): (&ServerId, &registry::ToolNames)| {
            (server.to_string(), names.iter().cloned().collect())
        };
        Permission {
            servers: tools.keys().map(ServerId::to_string).collect(),
            tools: tools.iter().map(names).collect(),
            tags: who
                .permission
                .read()
                .map(|row| row.tags.clone())
                .unwrap_or_default(),
            toolsets: Vec::new(),
        }
    }
}

/// Makes a credential that nothing is known of.
fn nobody<'c>() -> Credential<'c> {
    Credential {
        permission: LinkedPermission::None,
        token: None,
        access_groups: &[],
        team: None,
        organization: None,
        user: None,
        agent: None,
        end_user: None,
        human: None,
        administers: false,
        toolset: None,
        is_source: false,
    }
}

fn concluded(servers: BTreeMap<ServerId, Tools>, denied_by: Option<(Level, Denial)>) -> Access {
    let denied_by = match (servers.is_empty(), denied_by) {
        (false, _) => None,
        (true, Some(denied_by)) => Some(denied_by),
        (true, None) => Some((Level::Own, Denial::NothingGranted)),
    };
    Access {
        servers,
        denied_by,
        steps: Vec::new(),
    }
}
