//! Which servers one credential may use: one key, or one source of a session.

use super::model::{AccessModel, Credential, RowOf};
use super::registry::ServerIds;
use super::trace::{Denial, Level, LevelEffect, Trace};
use crate::litellm::ids::{TeamId, UserId};
use crate::litellm::server::NO_SERVERS;

/// What is known of how a credential is limited, for what is layered on top of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessScope {
    /// Nothing limits it.
    Unscoped,
    /// Something does.
    Scoped,
    /// Something could not be read.
    Unresolved,
}

/// The servers of a credential, before those that are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GrantedServers {
    pub(super) servers: ServerIds,
    pub(super) scope: AccessScope,
    /// What denied everything, where something did.
    pub(super) denied_by: Option<(Level, Denial)>,
}

impl GrantedServers {
    pub(super) fn denied(scope: AccessScope, level: Level, denial: Denial) -> Self {
        Self {
            servers: ServerIds::new(),
            scope,
            denied_by: Some((level, denial)),
        }
    }
}

/// Whether a level lets the check go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LevelVerdict {
    Goes,
    Denied,
}

/// Servers on their way through the levels.
struct Narrowing<'t> {
    servers: ServerIds,
    /// Whether a level so far names servers.
    limited: bool,
    /// The level that left nothing of what there was.
    emptied_by: Option<Level>,
    trace: &'t mut Trace,
}

impl Narrowing<'_> {
    /// Tells whether anything is left besides the word that stands for no server.
    fn has_servers(&self) -> bool {
        self.servers
            .iter()
            .any(|server| server.as_str() != NO_SERVERS)
    }

    /// Leaves only what `limit` names, if it is one.
    fn limit(&mut self, level: Level, id: Option<&str>, limit: Option<ServerIds>) {
        match limit {
            None => self
                .trace
                .add(level, id, &self.servers, || LevelEffect::NoLimit),
            Some(limit) => {
                let had_some = self.has_servers();
                self.servers.retain(|server| limit.contains(server));
                self.limited = true;
                if had_some && !self.has_servers() {
                    self.emptied_by = Some(level);
                }
                let effect = || LevelEffect::Limits(limit);
                self.trace.add(level, id, &self.servers, effect);
            }
        }
    }
}

impl AccessModel<'_> {
    /// Computes the servers of a credential, level by level.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`, `get_mcp_server_access`.
    pub(super) fn granted(&self, who: &Credential<'_>, trace: &mut Trace) -> GrantedServers {
        self.narrowed(who, trace).unwrap_or_else(|(level, denial)| {
            trace.add(level, None, &ServerIds::new(), || {
                LevelEffect::Denies(denial.clone())
            });
            // LiteLLM calls a credential with a row of its own scoped here. That comes to the same:
            // only what was submitted tells the two apart, and such a credential has none of that.
            GrantedServers::denied(AccessScope::Unresolved, level, denial)
        })
    }

    fn narrowed(
        &self,
        who: &Credential<'_>,
        trace: &mut Trace,
    ) -> Result<GrantedServers, (Level, Denial)> {
        let at = |level: Level| move |denial: Denial| (level, denial);
        let own = match who.permission.read() {
            Some(row) => {
                let opts_out = row.servers.iter().any(|s| s == NO_SERVERS)
                    && self.rules.knows_the_deny_marker();
                let by_tool_key = self.rules.deny_marker_may_be_a_tool_key()
                    && row.tools.contains_key(NO_SERVERS);
                if opts_out || by_tool_key {
                    let none = ServerIds::new();
                    let effect = || LevelEffect::Denies(Denial::DenyMarker);
                    trace.add(Level::Own, None, &none, effect);
                    let denial = Denial::DenyMarker;
                    return Ok(GrantedServers::denied(
                        AccessScope::Scoped,
                        Level::Own,
                        denial,
                    ));
                }
                self.named(row, RowOf::Key).map_err(at(Level::Own))?
            }
            None => ServerIds::new(),
        };
        trace.add(Level::Own, None, &own, || named(&own));
        let team = self.granted_by_team(who.team).map_err(at(Level::Team))?;
        let groups = if self.rules.access_groups_grant() {
            let groups = self.rows.groups(who.access_groups);
            let servers = groups.flat_map(|group| &group.servers);
            self.registry.expand(servers, self.rules)
        } else {
            ServerIds::new()
        };
        let limited = !(own.is_empty() && team.is_empty() && groups.is_empty())
            || self.declares_toolsets(who);
        let both_limit = !own.is_empty() && !team.is_empty();
        let inherits = own.is_empty();
        let base = self.inherited(who, own, &team);
        let emptied_by = Some(Level::Team).filter(|_| both_limit && base.is_empty());
        if who.team.is_some() {
            trace.add(Level::Team, who.team.map(TeamId::as_str), &base, || {
                if team.is_empty() {
                    LevelEffect::NoLimit
                } else if both_limit {
                    LevelEffect::Limits(team.clone())
                } else if inherits && base.is_empty() {
                    LevelEffect::NotInherited(team.clone())
                } else {
                    LevelEffect::Grants(team.clone())
                }
            });
        }
        let mut servers = base;
        servers.extend(groups.iter().cloned());
        if !who.access_groups.is_empty() {
            trace.add(Level::AccessGroups, None, &servers, || named(&groups));
        }
        let mut left = Narrowing {
            servers,
            limited,
            emptied_by,
            trace,
        };

        if self.limit_by_end_user(who, &mut left)? == LevelVerdict::Denied {
            return Ok(GrantedServers::denied(
                AccessScope::Scoped,
                Level::EndUser,
                Denial::MustDeclare,
            ));
        }
        self.limit_by_agent(who, &mut left)?;
        self.limit_by_human(who, &mut left)?;
        if let Some(user) = who.user.filter(|_| !who.is_source) {
            let limit = self.limit_of_user(Some(user)).map_err(at(Level::User))?;
            left.limit(Level::User, Some(user.as_str()), limit);
        }
        let by_organization = self.limit_by_organization(who, &mut left)?;
        let scoped = left.limited || by_organization || who.permission.read().is_some();
        left.servers.remove(NO_SERVERS);
        let scope = if scoped {
            AccessScope::Scoped
        } else {
            AccessScope::Unscoped
        };
        Ok(GrantedServers {
            servers: left.servers,
            scope,
            denied_by: left.emptied_by.map(|level| (level, Denial::LeavesNothing)),
        })
    }

    /// Applies the row of the end user; denies where a setting asks for servers that it lacks.
    fn limit_by_end_user(
        &self,
        who: &Credential<'_>,
        left: &mut Narrowing<'_>,
    ) -> Result<LevelVerdict, (Level, Denial)> {
        let Some(end_user) = who.end_user.filter(|_| self.rules.end_users_limit()) else {
            return Ok(LevelVerdict::Goes);
        };
        let at = |denial: Denial| (Level::EndUser, denial);
        let servers = match self.of_end_user(Some(end_user)).map_err(at)? {
            Some(row) => self.named(row, RowOf::EndUser).map_err(at)?,
            None => ServerIds::new(),
        };
        if servers.is_empty() && self.settings.end_users_must_declare {
            let none = ServerIds::new();
            let effect = || LevelEffect::Denies(Denial::MustDeclare);
            left.trace
                .add(Level::EndUser, Some(end_user.as_str()), &none, effect);
            return Ok(LevelVerdict::Denied);
        }
        let limit = Some(servers).filter(|servers| !servers.is_empty());
        left.limit(Level::EndUser, Some(end_user.as_str()), limit);
        Ok(LevelVerdict::Goes)
    }

    /// Applies the row of the agent and its unified access groups.
    fn limit_by_agent(
        &self,
        who: &Credential<'_>,
        left: &mut Narrowing<'_>,
    ) -> Result<(), (Level, Denial)> {
        let Some(agent) = who.agent.filter(|_| self.rules.agents_limit()) else {
            return Ok(());
        };
        let at = |denial: Denial| (Level::Agent, denial);
        let servers = match self.of_agent(Some(agent)).map_err(at)? {
            Some(row) => self.named(row, RowOf::Agent).map_err(at)?,
            None => ServerIds::new(),
        };
        let groups = self.limit_of_agent_groups(agent);
        let limit = match (servers.is_empty(), groups) {
            (true, None) => None,
            (true, Some(groups)) => Some(groups),
            (false, None) => Some(servers),
            (false, Some(groups)) => Some(&servers & &groups),
        };
        left.limit(Level::Agent, Some(agent.as_str()), limit);
        Ok(())
    }

    /// Applies the team and the user whom an agent names behind its call.
    fn limit_by_human(
        &self,
        who: &Credential<'_>,
        left: &mut Narrowing<'_>,
    ) -> Result<(), (Level, Denial)> {
        let Some(human) = who.human.filter(|_| self.rules.agents_echo_callers()) else {
            return Ok(());
        };
        let at = |denial: Denial| (Level::Human, denial);
        let team = self.granted_by_team(human.team.as_ref()).map_err(at)?;
        let limit = Some(team).filter(|servers| !servers.is_empty());
        let id = human.team.as_ref().map(TeamId::as_str);
        left.limit(Level::Human, id, limit);
        let limit = self.limit_of_user(human.user.as_ref()).map_err(at)?;
        let id = human.user.as_ref().map(UserId::as_str);
        left.limit(Level::Human, id, limit);
        Ok(())
    }

    /// Combines a key's own servers with its team's: both limit, or one is inherited.
    fn inherited(&self, who: &Credential<'_>, own: ServerIds, team: &ServerIds) -> ServerIds {
        let must_declare = self.settings.keys_must_declare
            && self.rules.keys_may_have_to_declare()
            && !who.is_source;
        match (own.is_empty(), team.is_empty()) {
            (_, true) => own,
            (true, false) if must_declare => ServerIds::new(),
            (true, false) => team.clone(),
            (false, false) => &own & team,
        }
    }

    /// Tells whether the key or its team declares toolsets, be there any server in them or not.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_key_or_team_declares_toolsets`.
    fn declares_toolsets(&self, who: &Credential<'_>) -> bool {
        if !self.rules.declared_toolsets_limit() {
            return false;
        }
        let team = who.real_team().and_then(|team| self.rows.teams.get(team));
        let team = team.and_then(|team| self.rows.permission(team.permission.as_ref()).read());
        let mut rows = who.permission.read().into_iter().chain(team);
        rows.any(|row| !row.toolsets.is_empty())
    }

    /// Applies the organization's list, which becomes the grant where nothing below it limits.
    /// Returns whether it did anything.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `_apply_primary_org_ceiling`.
    fn limit_by_organization(
        &self,
        who: &Credential<'_>,
        left: &mut Narrowing<'_>,
    ) -> Result<bool, (Level, Denial)> {
        let Some(id) = who
            .organization
            .filter(|_| self.rules.organizations_limit())
        else {
            return Ok(false);
        };
        let at = |denial: Denial| (Level::Organization, denial);
        let servers = match self.of_organization(who).map_err(at)? {
            Some(row) => self.named(row, RowOf::Organization).map_err(at)?,
            None => ServerIds::new(),
        };
        if servers.is_empty() {
            left.limit(Level::Organization, Some(id.as_str()), None);
            return Ok(false);
        }
        if left.limited || who.is_source {
            let limited = left.limited;
            left.limit(Level::Organization, Some(id.as_str()), Some(servers));
            left.limited = limited;
        } else {
            left.servers.clone_from(&servers);
            let effect = || LevelEffect::Becomes(servers);
            left.trace.add(
                Level::Organization,
                Some(id.as_str()),
                &left.servers,
                effect,
            );
        }
        Ok(true)
    }
}

fn named(servers: &ServerIds) -> LevelEffect {
    if servers.is_empty() {
        LevelEffect::NoLimit
    } else {
        LevelEffect::Grants(servers.clone())
    }
}
