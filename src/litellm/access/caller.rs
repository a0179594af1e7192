//! Who asks for tools.

use std::fmt::Write as _;

use super::registry::Registry;
use super::rows::{AccessRows, Key};
use super::rules::AccessRules;
use crate::litellm::api_key;

/// The hash of a key, and the id of its row, that is made up to be limited by others. No key has
/// such a hash.
pub(crate) const MADE_UP_KEY: &str = "a key that may use every server";
use crate::litellm::ids::{EndUserId, KeyToken, TeamId, ToolsetId, UserId};

/// A caller, by the ids of its rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// A virtual key.
    Key {
        /// The hash of the key.
        token: KeyToken,
        /// The end user on whose behalf it asks.
        end_user: Option<EndUserId>,
        /// The human whom an agent names behind its call.
        on_behalf_of: Option<Human>,
        /// The toolset on whose route it asks.
        toolset: Option<ToolsetId>,
    },
    /// A caller without a key, of a team and a user: a JWT.
    Keyless {
        /// The team.
        team: Option<TeamId>,
        /// The user.
        user: Option<UserId>,
    },
    /// A user's session at the gateway.
    Session {
        /// The user.
        user: UserId,
        /// The toolset on whose route it asks.
        toolset: Option<ToolsetId>,
    },
}

impl Caller {
    /// Names the caller as reports do: "key ci-bot (ab12cd34) on the route of toolset t-1".
    #[must_use]
    pub(crate) fn label(&self, rows: &AccessRows) -> String {
        let mut label = match self {
            Self::Key { token, .. } if token.as_str().starts_with(MADE_UP_KEY) => {
                token.as_str().to_owned()
            }
            Self::Key { token, .. } => {
                let id = api_key::shown_prefix(token.as_str());
                match rows.keys.get(token).and_then(|key| key.name.as_ref()) {
                    Some(name) => format!("key {name} ({id})"),
                    None => format!("key {id}"),
                }
            }
            Self::Keyless { team, user } => {
                let mut label = "a caller without a key".to_owned();
                // Writing to a String does not fail.
                if let Some(team) = team {
                    let _ = write!(label, " of team {team}");
                }
                if let Some(user) = user {
                    let _ = write!(label, " of user {user}");
                }
                label
            }
            Self::Session { user, .. } => format!("the session of user {user}"),
        };
        let (end_user, human, toolset) = match self {
            Self::Key {
                end_user,
                on_behalf_of,
                toolset,
                ..
            } => (end_user.as_ref(), on_behalf_of.as_ref(), toolset.as_ref()),
            Self::Keyless { .. } => (None, None, None),
            Self::Session { toolset, .. } => (None, None, toolset.as_ref()),
        };
        if let Some(end_user) = end_user {
            let _ = write!(label, " on behalf of end user {end_user}");
        }
        if let Some(human) = human {
            if let Some(user) = &human.user {
                let _ = write!(label, " on behalf of user {user}");
            }
            if let Some(team) = &human.team {
                let _ = write!(label, " on behalf of team {team}");
            }
        }
        if let Some(toolset) = toolset {
            let _ = write!(label, " on the route of toolset {toolset}");
        }
        label
    }
}

/// The human behind a call of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Human {
    /// The user.
    pub user: Option<UserId>,
    /// The team.
    pub team: Option<TeamId>,
}

/// Settings of the proxy that stand in no row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::struct_excessive_bools, reason = "LiteLLM has four switches")]
pub(crate) struct AccessSettings {
    /// `general_settings.require_key_mcp_access_defined`.
    pub keys_must_declare: bool,
    /// `general_settings.require_end_user_mcp_access_defined`.
    pub end_users_must_declare: bool,
    /// `general_settings.mcp_allow_all_keys_respects_mcp_scope`.
    pub scope_limits_open_servers: bool,
    /// `personal_key_model_access_from_teams`.
    pub personal_keys_inherit: bool,
}

/// A setting of the proxy on which access depends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessSetting {
    /// The section of `config.yaml`, and the row of `"LiteLLM_Config"`.
    pub section: &'static str,
    /// The name.
    pub name: &'static str,
    set: fn(&mut AccessSettings, bool),
    matters: fn(&SettingUse<'_>) -> bool,
}

/// What decides whether a setting matters to a caller at all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SettingUse<'a> {
    /// The rules of the release.
    pub rules: AccessRules,
    /// Who asks.
    pub caller: &'a Caller,
    /// The rows that the answer is computed from.
    pub rows: &'a AccessRows,
    /// The servers that are served.
    pub registry: &'a Registry,
}

impl<'a> SettingUse<'a> {
    fn key(&self) -> Option<&'a Key> {
        match self.caller {
            Caller::Key { token, .. } => self.rows.keys.get(token),
            Caller::Keyless { .. } | Caller::Session { .. } => None,
        }
    }
}

/// All of them.
///
/// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py` and
/// `mcp_server/mcp_server_manager.py`, which ask `general_settings`, and `auth/auth_checks.py`,
/// `personal_key_inherits_team_grants`, which asks what `litellm_settings` sets.
pub(crate) const SETTINGS: [AccessSetting; 4] = [
    AccessSetting {
        section: "general_settings",
        name: "require_key_mcp_access_defined",
        set: |settings, on| settings.keys_must_declare = on,
        matters: |it| {
            // A key that names a server itself has declared it.
            let key = it.key();
            let row = key.and_then(|key| it.rows.permission(key.permission.as_ref()).read());
            let declares = row.is_some_and(|row| !row.servers.is_empty());
            // On the route of a toolset its servers take the place of the key's own.
            let is_on_route = matches!(
                it.caller,
                Caller::Key {
                    toolset: Some(_),
                    ..
                }
            );
            it.rules.keys_may_have_to_declare() && (is_on_route || !declares)
        },
    },
    AccessSetting {
        section: "general_settings",
        name: "require_end_user_mcp_access_defined",
        set: |settings, on| settings.end_users_must_declare = on,
        matters: |it| {
            let Caller::Key { end_user, .. } = it.caller else {
                return false;
            };
            it.rules.end_users_limit() && end_user.is_some()
        },
    },
    AccessSetting {
        section: "general_settings",
        name: "mcp_allow_all_keys_respects_mcp_scope",
        set: |settings, on| settings.scope_limits_open_servers = on,
        matters: |it| {
            let mut open = it.registry.open().iter().chain(it.registry.submitted());
            it.rules.open_servers_may_be_limited() && open.next().is_some()
        },
    },
    AccessSetting {
        section: "litellm_settings",
        name: "personal_key_model_access_from_teams",
        set: |settings, on| settings.personal_keys_inherit = on,
        matters: |it| {
            let is_personal = it.key().is_none_or(|key| key.team.is_none());
            it.rules.personal_keys_may_inherit() && is_personal
        },
    },
];

impl AccessSetting {
    /// Tells whether it can make a difference to the caller.
    #[must_use]
    pub(crate) fn matters(&self, it: &SettingUse<'_>) -> bool {
        (self.matters)(it)
    }

    /// Tells whether it is switched on.
    #[must_use]
    pub(crate) fn is_on(&self, settings: AccessSettings) -> bool {
        let mut switched_on = settings;
        self.set(&mut switched_on, true);
        switched_on == settings
    }

    /// Switches it on or off.
    pub(crate) fn set(&self, settings: &mut AccessSettings, on: bool) {
        (self.set)(settings, on);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::access::rows::Permission;
    use crate::litellm::ids::PermissionKey;
    use crate::litellm::release::Release;

    #[test]
    fn a_key_that_names_servers_has_declared_them_but_not_on_the_route_of_a_toolset() {
        let link = PermissionKey("p".to_owned());
        let token = KeyToken("k".to_owned());
        let key = Key {
            token: token.clone(),
            permission: Some(link.clone()),
            team: None,
            organization: None,
            user: None,
            agent: None,
            access_groups: Vec::new(),
            name: None,
        };
        let matters = |servers: &[&str], toolset: Option<&str>| {
            let row = Permission {
                servers: servers.iter().map(|s| (*s).to_owned()).collect(),
                ..Permission::default()
            };
            let rows = AccessRows {
                keys: [(token.clone(), key.clone())].into(),
                permissions: [(link.clone(), Some(row))].into(),
                ..AccessRows::default()
            };
            let caller = Caller::Key {
                token: token.clone(),
                end_user: None,
                on_behalf_of: None,
                toolset: toolset.map(|id| ToolsetId(id.to_owned())),
            };
            let [must_declare, ..] = SETTINGS;
            must_declare.matters(&SettingUse {
                rules: AccessRules::of(Release::AGENT_TOOL_KEYS_COUNT),
                caller: &caller,
                rows: &rows,
                registry: &Registry::default(),
            })
        };
        assert!(!matters(&["s"], None));
        assert!(matters(&["s"], Some("t")));
        assert!(matters(&[], None));
    }
}
