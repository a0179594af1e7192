//! MCP servers, references to them, and what a reference resolves to.

use std::collections::{BTreeMap, BTreeSet};

use crate::litellm::config::ConfigServer;
use crate::litellm::ids::ServerId;

/// The words LiteLLM gives a meaning of their own in a list of servers.
///
/// They are never stale, at any level. On a key `no-mcp-servers` denies everything, on a team
/// `all-proxy-mcpservers` stands for the whole registry, and `all-team-mcpservers` is reserved.
///
/// Source: LiteLLM 1.109.1 `proxy/_types.py`, `SpecialMCPServerNames` and `SpecialMCPServerName`.
pub(crate) const SENTINELS: [&str; 3] = [NO_SERVERS, ALL_SERVERS, "all-team-mcpservers"];

/// The marker that denies a key every server, and that elsewhere is an id no server has.
pub(crate) const NO_SERVERS: &str = "no-mcp-servers";

/// The word that gives a team the whole registry.
pub(crate) const ALL_SERVERS: &str = "all-proxy-mcpservers";

/// The table that says which servers exist.
pub(crate) const SERVER_TABLE: &str = "LiteLLM_MCPServerTable";

/// One row of [`SERVER_TABLE`], as far as resolving goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "the fields are named as the columns"
)]
pub(crate) struct Server {
    /// The primary key.
    pub server_id: ServerId,
    /// The display name, if the row has one.
    pub server_name: Option<String>,
    /// The short name, if the row has one.
    pub alias: Option<String>,
    /// The review state; `None` where the column is NULL or does not exist.
    pub approval_status: Option<String>,
    /// The tags by which a grant may mean it: `mcp_access_groups`.
    pub tags: Vec<String>,
    /// Whether every key may use it.
    pub allow_all_keys: bool,
}

impl Server {
    /// Tells whether a proxy loads this row into its registry.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/mcp_server/db.py`, `get_runtime_mcp_server_rows`.
    #[must_use]
    pub(crate) fn is_served(&self) -> bool {
        matches!(
            self.approval_status.as_deref(),
            None | Some("active" | "approved")
        )
    }

    pub(crate) fn identifiers(&self) -> impl Iterator<Item = &str> {
        [
            Some(self.server_id.as_str()),
            self.alias.as_deref(),
            self.server_name.as_deref(),
        ]
        .into_iter()
        .flatten()
    }
}

/// What is known of the servers that live in `config.yaml` and so have no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfigServers {
    /// Nothing but what the database tells: a reference that a config server may have cannot be
    /// called stale.
    Unknown(Signs),
    /// All of them, of every `--litellm-config`; none with `--no-config-servers`.
    Known(Vec<ConfigServer>),
}

/// What points to servers that have no row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Signs {
    /// The ids of such servers that proxies have OAuth clients for.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/mcp_server/mcp_server_manager.py` keeps them in
    /// `LiteLLM_MCPServerOAuthClient`.
    pub clients: BTreeSet<String>,
    /// Whether a proxy has saved a config with a section `mcp_servers`.
    pub saved: bool,
    /// The aliases of such servers that the database saves.
    pub aliases: SavedAliases,
}

/// The aliases of config servers that the database saves, in `LiteLLM_Config`.
///
/// With `store_model_in_db`, LiteLLM merges the saved `litellm_settings` with those of the file,
/// and so `mcp_aliases`. Which of two wins depends on the release.
///
/// Source: LiteLLM 1.110.2 `proxy/proxy_server.py`, `_update_config_from_db` and
/// `_init_non_llm_configs`, and `_update_config_fields` of 1.92.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SavedAliases {
    /// The name of the server, by alias, as stored.
    Known(BTreeMap<String, String>),
    /// There may be some: this role may not read them, or their shape is unexpected.
    Hidden,
}

impl Default for SavedAliases {
    fn default() -> Self {
        Self::Known(BTreeMap::new())
    }
}

impl SavedAliases {
    /// Returns the alias and server's name of each mapping that the configs do not tell.
    ///
    /// A name in the database may be `os.environ/` and a variable of the proxy.
    pub(crate) fn untold_by<'a>(
        &'a self,
        servers: &'a [ConfigServer],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let aliases = match self {
            Self::Known(aliases) if !servers.is_empty() => Some(aliases),
            Self::Known(_) | Self::Hidden => None,
        };
        let is_untold = |(alias, name): &(&String, &String)| {
            let differs =
                |server: &ConfigServer| (server.name == **name) != server.names.contains(*alias);
            name.starts_with("os.environ/") || servers.iter().any(differs)
        };
        let untold = aliases.into_iter().flatten().filter(is_untold);
        untold.map(|(alias, name)| (alias.as_str(), name.as_str()))
    }
}

impl ConfigServers {
    /// Returns the servers that are known.
    #[must_use]
    pub(crate) fn servers(&self) -> &[ConfigServer] {
        match self {
            Self::Unknown(_) => &[],
            Self::Known(servers) => servers,
        }
    }
}
