//! What would change for a caller: if the stale references of its levels were removed, and if its
//! key were saved in the dashboard.
//!
//! Paths are those of LiteLLM's package, under `litellm/proxy/`.

use std::collections::BTreeSet;

use super::AccessModel;
use super::caller::Caller;
use super::rows::{AccessRows, Key, Permission};
use crate::litellm::ids::{
    AccessGroupId, AgentId, EndUserId, OrganizationId, PermissionKey, ServerId, TeamId, UserId,
};
use crate::litellm::owners::OwnerKind;
use crate::litellm::release::Release;
use crate::litellm::server::NO_SERVERS;
use crate::litellm::server_catalog::{Resolution, ServerCatalog};

/// The stale references that one owner's rows hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StaleLevel {
    /// The kind of the owner.
    pub kind: OwnerKind,
    /// Its id; of a key the hash.
    pub id: String,
    /// The references: of its permission row, of its unified access groups and of its toolsets.
    pub references: BTreeSet<String>,
}

/// What LiteLLM does when the dashboard saves a key: it sends the whole permission row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeySave {
    /// The references because of which LiteLLM answers 403.
    pub refused: BTreeSet<String>,
    /// The unified access groups because of which it answers 403 to everybody but a proxy admin.
    pub refused_groups: BTreeSet<AccessGroupId>,
    /// The references that it drops.
    pub dropped: BTreeSet<String>,
    /// Those that it drops too, unless a server of a config that is not known answers to them.
    pub perhaps_dropped: BTreeSet<String>,
}

/// An owner on the way of a caller, and what it links to.
struct OwnerLevel<'a> {
    kind: OwnerKind,
    id: &'a str,
    permission: Option<&'a PermissionKey>,
    groups: &'a [AccessGroupId],
}

impl AccessModel<'_> {
    /// Lists the owners of a caller's levels whose rows hold stale references.
    #[must_use]
    pub(crate) fn stale_levels(&self, caller: &Caller, catalog: &ServerCatalog) -> Vec<StaleLevel> {
        let levels = self.owner_levels(caller).into_iter();
        let levels = levels.map(|level| StaleLevel {
            kind: level.kind,
            id: level.id.to_owned(),
            references: self.stale_references(&level, catalog),
        });
        let mut levels: Vec<StaleLevel> = levels.filter(|l| !l.references.is_empty()).collect();
        // The human behind an agent may be the user of its key.
        let mut seen = BTreeSet::new();
        levels.retain(|level| seen.insert((level.kind, level.id.clone())));
        levels
    }

    fn stale_references(
        &self,
        level: &OwnerLevel<'_>,
        catalog: &ServerCatalog,
    ) -> BTreeSet<String> {
        let row = self.rows.permission(level.permission).read();
        let without_tools = level.permission;
        let without_tools = without_tools.and_then(|id| self.rows.without_tools.get(id));
        let rows = row.into_iter().chain(without_tools);
        let of_rows = rows.clone().flat_map(references);
        let of_toolsets = rows.flat_map(|row| self.rows.toolset_tools(&row.toolsets).into_keys());
        let of_toolsets = of_toolsets.map(|ServerId(id)| id);
        let groups = self.rows.groups(level.groups);
        let of_groups = groups.flat_map(|group| group.servers.iter().chain(group.tools.keys()));
        let all = of_rows.chain(of_groups).cloned().chain(of_toolsets);
        all.filter(|reference| is_stale(reference, catalog))
            .collect()
    }

    /// Lists the owners whose rows the access of a caller may depend on.
    fn owner_levels<'c>(&'c self, caller: &'c Caller) -> Vec<OwnerLevel<'c>> {
        let mut levels = Vec::new();
        match caller {
            Caller::Key {
                token,
                end_user,
                on_behalf_of,
                toolset: _,
            } => {
                let Some(key) = self.rows.keys.get(token) else {
                    return levels;
                };
                levels.push(OwnerLevel {
                    kind: OwnerKind::Key,
                    id: token.as_str(),
                    permission: key.permission.as_ref(),
                    groups: &key.access_groups,
                });
                let team = key.team.as_ref();
                levels.extend(self.team_level(team));
                let own = key.organization.as_ref();
                levels.extend(self.organization_level(own.or(self.organization_of(team))));
                levels.extend(self.user_level(key.user.as_ref()));
                if team.is_none() && self.settings.personal_keys_inherit {
                    levels.extend(self.levels_of_teams(key.user.as_ref()));
                }
                levels.extend(self.agent_level(key.agent.as_ref()));
                levels.extend(self.end_user_level(end_user.as_ref()));
                if let Some(human) = on_behalf_of {
                    levels.extend(self.user_level(human.user.as_ref()));
                    levels.extend(self.team_level(human.team.as_ref()));
                }
            }
            Caller::Keyless { team, user } => {
                let team = team.as_ref();
                levels.extend(self.team_level(team));
                levels.extend(self.organization_level(self.organization_of(team)));
                levels.extend(self.user_level(user.as_ref()));
            }
            Caller::Session { user, toolset: _ } => {
                levels.extend(self.user_level(Some(user)));
                let row = self.rows.users.get(user);
                let organization = row.and_then(|user| user.organization.as_ref());
                levels.extend(self.organization_level(organization));
                levels.extend(self.levels_of_teams(Some(user)));
            }
        }
        levels
    }

    fn organization_of(&self, team: Option<&TeamId>) -> Option<&OrganizationId> {
        let team = team.and_then(|team| self.rows.teams.get(team))?;
        team.organization.as_ref()
    }

    fn team_level<'c>(&'c self, id: Option<&'c TeamId>) -> Option<OwnerLevel<'c>> {
        let id = id.filter(|id| !id.is_of_dashboard())?;
        let team = self.rows.teams.get(id)?;
        Some(OwnerLevel {
            kind: OwnerKind::Team,
            id: id.as_str(),
            permission: team.permission.as_ref(),
            groups: &team.access_groups,
        })
    }

    /// Lists the teams of a user, each with its organization.
    fn levels_of_teams<'c>(&'c self, user: Option<&UserId>) -> Vec<OwnerLevel<'c>> {
        let user = user.and_then(|user| self.rows.users.get(user));
        let teams = user.map_or(&[][..], |user| &user.teams);
        let levels = teams.iter().flat_map(|id| {
            let organization = self.organization_of(Some(id));
            let team = self.team_level(Some(id));
            team.into_iter()
                .chain(self.organization_level(organization))
        });
        levels.collect()
    }

    fn organization_level<'c>(&'c self, id: Option<&'c OrganizationId>) -> Option<OwnerLevel<'c>> {
        let link = self.rows.organizations.get(id?)?.as_ref();
        Some(OwnerLevel {
            kind: OwnerKind::Organization,
            id: id?.as_str(),
            permission: link,
            groups: &[],
        })
    }

    fn end_user_level<'c>(&'c self, id: Option<&'c EndUserId>) -> Option<OwnerLevel<'c>> {
        let link = self.rows.end_users.get(id?)?.as_ref();
        Some(OwnerLevel {
            kind: OwnerKind::EndUser,
            id: id?.as_str(),
            permission: link,
            groups: &[],
        })
    }

    fn user_level<'c>(&'c self, id: Option<&'c UserId>) -> Option<OwnerLevel<'c>> {
        let user = self.rows.users.get(id?)?;
        Some(OwnerLevel {
            kind: OwnerKind::User,
            id: id?.as_str(),
            permission: user.permission.as_ref(),
            groups: &[],
        })
    }

    fn agent_level<'c>(&'c self, id: Option<&'c AgentId>) -> Option<OwnerLevel<'c>> {
        let agent = self.rows.agents.get(id?)?;
        Some(OwnerLevel {
            kind: OwnerKind::Agent,
            id: id?.as_str(),
            permission: agent.permission.as_ref(),
            groups: &agent.access_groups,
        })
    }

    /// Tells what LiteLLM of this release does when the dashboard saves the key as it is.
    ///
    /// It looks at references to servers and at unified access groups. LiteLLM may refuse for other
    /// reasons.
    #[must_use]
    pub(crate) fn key_save(&self, key: &Key, catalog: &ServerCatalog) -> KeySave {
        let mut save = KeySave::default();
        let release = self.rules.release();
        let row = self.rows.permission(key.permission.as_ref()).read();
        if let Some(row) = row.filter(|_| refuses_unknown_servers(release)) {
            save.refused = self.refused_servers(key, row);
        }
        if let Some(row) = row.filter(|_| drops_stale_servers(release)) {
            let is_kept = |reference: &&String| match catalog.resolve(reference) {
                Resolution::Live
                | Resolution::Inactive
                | Resolution::Kept
                | Resolution::OnlyAName => true,
                Resolution::Sentinel => {
                    // As a key of the tools alone it is dropped like a server that is gone.
                    *reference == NO_SERVERS
                        && self.rules.knows_the_deny_marker()
                        && row.servers.contains(reference)
                }
                Resolution::Remapped
                | Resolution::Stale
                | Resolution::Unverified
                | Resolution::MaybeEdited
                | Resolution::MaybeRenewed
                | Resolution::Passed => false,
            };
            let gone = references(row).filter(|reference| !is_kept(reference));
            let gone = gone.cloned().collect::<BTreeSet<String>>();
            let is_unverified = |r: &String| catalog.resolve(r) == Resolution::Unverified;
            (save.perhaps_dropped, save.dropped) = gone.into_iter().partition(is_unverified);
        }
        if refuses_foreign_groups(release) {
            let team = key.team.as_ref().and_then(|team| self.rows.teams.get(team));
            let granted = team.map_or(&[][..], |team| &team.access_groups);
            let foreign = key.access_groups.iter().filter(|id| !granted.contains(id));
            save.refused_groups = foreign.cloned().collect();
        }
        save
    }

    /// Returns the references that are neither the team's nor of a server open to all keys. They
    /// are compared as they are stored.
    ///
    /// Source: LiteLLM 1.86.7 `management_helpers/object_permission_utils.py`,
    /// `validate_key_mcp_servers_against_team` and `_resolve_team_allowed_mcp_servers`.
    fn refused_servers(&self, key: &Key, row: &Permission) -> BTreeSet<String> {
        let team = key.team.as_ref().and_then(|team| self.rows.teams.get(team));
        let team = team.and_then(|team| self.rows.permission(team.permission.as_ref()).read());
        let mut allowed: BTreeSet<&str> =
            self.registry.open().iter().map(ServerId::as_str).collect();
        allowed.extend(team.into_iter().flat_map(references).map(String::as_str));
        let tags = team.map_or(&[][..], |team| &team.tags);
        let tagged = self.registry.tagged(tags, self.rules);
        let is_marker = |r: &String| r == NO_SERVERS && self.rules.knows_the_deny_marker();
        // The marker is no server in the list, and is one among the keys of the tools.
        let servers = row.servers.iter().filter(|r| !is_marker(r));
        let requested = servers.chain(row.tools.keys());
        let refused = requested.filter(|r| {
            let reference = r.as_str();
            !allowed.contains(reference) && !tagged.contains(reference)
        });
        refused.cloned().collect()
    }
}

impl KeySave {
    /// Returns what is left of the key's row; `None` where nothing is dropped for sure.
    #[must_use]
    pub(crate) fn left_of(&self, row: &Permission) -> Option<Permission> {
        let is_dropped = |reference: &str| self.dropped.contains(reference);
        (!self.dropped.is_empty()).then(|| without(row, is_dropped))
    }
}

impl AccessRows {
    /// Returns the rows without any stale reference.
    #[must_use]
    pub(crate) fn without_stale(&self, catalog: &ServerCatalog) -> Self {
        let is_gone = |reference: &str| is_stale(reference, catalog);
        let mut rows = self.clone();
        for row in rows.permissions.values_mut().flatten() {
            *row = without(row, is_gone);
        }
        for row in rows.without_tools.values_mut() {
            *row = without(row, is_gone);
        }
        for group in rows.access_groups.values_mut().flatten() {
            group.servers.retain(|reference| !is_gone(reference));
            group.tools.retain(|reference, _| !is_gone(reference));
        }
        for toolset in rows.toolsets.values_mut() {
            toolset.retain(|server, _| !is_gone(server.as_str()));
        }
        rows
    }
}

fn references(row: &Permission) -> impl Iterator<Item = &String> {
    row.servers.iter().chain(row.tools.keys())
}

fn without(row: &Permission, is_gone: impl Fn(&str) -> bool) -> Permission {
    let mut row = row.clone();
    row.servers.retain(|reference| !is_gone(reference));
    row.tools.retain(|reference, _| !is_gone(reference));
    row
}

fn is_stale(reference: &str, catalog: &ServerCatalog) -> bool {
    catalog.resolve(reference) == Resolution::Stale
}

/// Tells whether a key is refused for a server that its team does not have, be it gone or not.
///
/// Source: LiteLLM 1.82.2 to 1.87.5 `management_helpers/object_permission_utils.py`,
/// `validate_key_mcp_servers_against_team`.
fn refuses_unknown_servers(release: Release) -> bool {
    (Release::new(1, 82, 2)..Release::new(1, 88, 0)).contains(&release)
}

/// Tells whether references that no server answers to are dropped from a key.
///
/// Source: LiteLLM 1.88.0 `management_helpers/object_permission_utils.py`,
/// `_rewrite_object_permission_mcp_identifiers`; from 1.101.0
/// `_drop_stale_object_permission_mcp_identifiers`.
fn drops_stale_servers(release: Release) -> bool {
    release >= Release::new(1, 88, 0)
}

/// Tells whether a key is refused for a unified access group that its team does not have.
///
/// Source: LiteLLM 1.110.0 `management_helpers/team_member_permission_checks.py`,
/// `enforce_member_can_assign_access_groups`.
fn refuses_foreign_groups(release: Release) -> bool {
    release >= Release::new(1, 110, 0)
}
