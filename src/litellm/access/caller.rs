//! Who asks for tools.

/// A caller, by the ids of its rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// A virtual key.
    Key {
        /// The hash of the key.
        token: String,
        /// The end user on whose behalf it asks.
        end_user: Option<String>,
        /// The human whom an agent names behind its call.
        on_behalf_of: Option<Human>,
        /// The toolset on whose route it asks.
        toolset: Option<String>,
    },
    /// A caller without a key, of a team and a user: a JWT.
    Keyless {
        /// The team.
        team: Option<String>,
        /// The user.
        user: Option<String>,
    },
    /// A user's session at the gateway.
    Session {
        /// The user.
        user: String,
        /// The toolset on whose route it asks.
        toolset: Option<String>,
    },
}

/// The human behind a call of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Human {
    /// The user.
    pub user: Option<String>,
    /// The team.
    pub team: Option<String>,
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

/// A setting of the proxy on which access hangs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessSetting {
    /// The section of `config.yaml`, and the row of `"LiteLLM_Config"`.
    pub section: &'static str,
    /// The name.
    pub name: &'static str,
    set: fn(&mut AccessSettings, bool),
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
    },
    AccessSetting {
        section: "general_settings",
        name: "require_end_user_mcp_access_defined",
        set: |settings, on| settings.end_users_must_declare = on,
    },
    AccessSetting {
        section: "general_settings",
        name: "mcp_allow_all_keys_respects_mcp_scope",
        set: |settings, on| settings.scope_limits_open_servers = on,
    },
    AccessSetting {
        section: "litellm_settings",
        name: "personal_key_model_access_from_teams",
        set: |settings, on| settings.personal_keys_inherit = on,
    },
];

impl AccessSetting {
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
