//! The rows on the path of a caller: those whose values its answer may depend on.

use std::collections::BTreeSet;

use super::caller::Caller;
use super::rows::{AccessRows, Key};
use crate::litellm::ids::{
    AccessGroupId, OrganizationId, PermissionKey, TeamId, ToolsetId, UserId,
};

/// The primary keys of the rows on a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RowsOnPath {
    /// Permission rows.
    pub permissions: BTreeSet<PermissionKey>,
    /// Unified access groups.
    pub access_groups: BTreeSet<AccessGroupId>,
    /// Toolsets.
    pub toolsets: BTreeSet<ToolsetId>,
}

impl AccessRows {
    /// Collects the rows on the path of `caller`. There may be one too many, never one too few.
    #[must_use]
    pub(crate) fn on_path(&self, caller: &Caller) -> RowsOnPath {
        let mut path = RowsOnPath::default();
        match caller {
            Caller::Key {
                token,
                end_user,
                on_behalf_of,
                toolset,
            } => {
                if let Some(key) = self.keys.get(token) {
                    self.add_key(key, &mut path);
                }
                let end_user = end_user.as_ref().and_then(|id| self.end_users.get(id));
                path.permissions.extend(end_user.cloned().flatten());
                if let Some(human) = on_behalf_of {
                    self.add_team(human.team.as_ref(), &mut path);
                    self.add_user(human.user.as_ref(), &mut path);
                }
                path.toolsets.extend(toolset.clone());
            }
            Caller::Keyless { team, user } => {
                self.add_team(team.as_ref(), &mut path);
                self.add_user(user.as_ref(), &mut path);
            }
            Caller::Session { user, toolset } => {
                self.add_user(Some(user), &mut path);
                path.toolsets.extend(toolset.clone());
            }
        }
        for id in &path.permissions {
            let whole = self.permissions.get(id).and_then(Option::as_ref);
            let row = whole.or_else(|| self.without_tools.get(id));
            path.toolsets
                .extend(row.into_iter().flat_map(|row| row.toolsets.clone()));
        }
        path
    }

    fn add_key(&self, key: &Key, path: &mut RowsOnPath) {
        path.permissions.extend(key.permission.clone());
        path.access_groups.extend(key.access_groups.iter().cloned());
        self.add_organization(key.organization.as_ref(), path);
        self.add_team(key.team.as_ref(), path);
        self.add_user(key.user.as_ref(), path);
        if let Some(agent) = key.agent.as_ref().and_then(|id| self.agents.get(id)) {
            path.permissions.extend(agent.permission.clone());
            path.access_groups
                .extend(agent.access_groups.iter().cloned());
        }
    }

    fn add_organization(&self, organization: Option<&OrganizationId>, path: &mut RowsOnPath) {
        let row = organization.and_then(|id| self.organizations.get(id));
        path.permissions.extend(row.cloned().flatten());
    }

    fn add_team(&self, team: Option<&TeamId>, path: &mut RowsOnPath) {
        if let Some(team) = team.and_then(|id| self.teams.get(id)) {
            path.permissions.extend(team.permission.clone());
            path.access_groups
                .extend(team.access_groups.iter().cloned());
            self.add_organization(team.organization.as_ref(), path);
        }
    }

    /// Adds the rows of a user and of all its teams, which a session and a key of no team reach.
    fn add_user(&self, user: Option<&UserId>, path: &mut RowsOnPath) {
        if let Some(user) = user.and_then(|id| self.users.get(id)) {
            path.permissions.extend(user.permission.clone());
            self.add_organization(user.organization.as_ref(), path);
            for team in &user.teams {
                self.add_team(Some(team), path);
            }
        }
    }
}
