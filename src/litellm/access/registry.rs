//! The servers that a proxy serves, and how it expands references to them.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::NamedTools;
use super::rules::AccessRules;
use crate::litellm::ids::{ServerId, Tag, UserId};

/// Ids of servers. An id that no server has grants nothing, but still counts as a limit.
pub(crate) type ServerIds = BTreeSet<ServerId>;

/// Names of tools on one server.
pub(crate) type ToolNames = BTreeSet<String>;

/// A server that a proxy serves: an approved row, or an entry of a `config.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServedServer {
    /// Its alias.
    pub alias: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// The tags by which a grant may mean it.
    pub tags: Vec<Tag>,
    /// Whether every key may use it.
    pub allow_all_keys: bool,
    /// The user who submitted it, where that is the reason why it is there.
    pub submitted_by: Option<UserId>,
}

/// Everything that a proxy serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Registry {
    servers: BTreeMap<ServerId, ServedServer>,
    by_name: BTreeMap<String, ServerIds>,
    /// The tags of rows that are there and not served, by server id.
    unserved_tags: BTreeMap<ServerId, Vec<Tag>>,
}

impl Registry {
    /// Indexes the servers served, by id, and the tags of rows that are not.
    #[must_use]
    pub(crate) fn new(
        servers: BTreeMap<ServerId, ServedServer>,
        unserved_tags: BTreeMap<ServerId, Vec<Tag>>,
    ) -> Self {
        let mut by_name: BTreeMap<String, ServerIds> = BTreeMap::new();
        for (id, server) in &servers {
            for name in [&server.alias, &server.name].into_iter().flatten() {
                by_name.entry(name.clone()).or_default().insert(id.clone());
            }
        }
        Self {
            servers,
            by_name,
            unserved_tags,
        }
    }

    /// Returns the registry with `others` served as well.
    #[must_use]
    pub(super) fn and(&self, others: impl IntoIterator<Item = (ServerId, ServedServer)>) -> Self {
        let mut servers = self.servers.clone();
        servers.extend(others);
        Self::new(servers, self.unserved_tags.clone())
    }

    /// Returns the ids of all servers.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &ServerId> {
        self.servers.keys()
    }

    /// Returns the server with this id.
    #[must_use]
    pub(crate) fn get(&self, id: &ServerId) -> Option<&ServedServer> {
        self.servers.get(id)
    }

    /// Returns the ids of the servers that every key may use.
    pub(crate) fn open(&self) -> impl Iterator<Item = &ServerId> {
        let open = self.servers.iter().filter(|(_, s)| s.allow_all_keys);
        open.map(|(id, _)| id)
    }

    /// Returns the ids of the servers that somebody submitted.
    pub(crate) fn submitted(&self) -> impl Iterator<Item = &ServerId> {
        let submitted = self
            .servers
            .iter()
            .filter(|(_, s)| s.submitted_by.is_some());
        submitted.map(|(id, _)| id)
    }

    /// Returns the ids of the servers that `user` submitted.
    pub(crate) fn submitted_by<'a>(
        &'a self,
        user: &'a UserId,
    ) -> impl Iterator<Item = &'a ServerId> {
        let theirs = move |server: &ServedServer| server.submitted_by.as_ref() == Some(user);
        let servers = self.servers.iter().filter(move |(_, s)| theirs(s));
        servers.map(|(id, _)| id)
    }

    /// Replaces aliases and names by the ids of all servers that have them; what no server answers
    /// to stays as it is.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/mcp_server_manager.py`, `expand_permission_list`.
    #[must_use]
    pub(crate) fn expand<'a>(
        &self,
        references: impl IntoIterator<Item = &'a String>,
        rules: AccessRules,
    ) -> ServerIds {
        let mut ids = ServerIds::new();
        for reference in references {
            match self.by_name.get(reference) {
                Some(named)
                    if rules.names_resolve() && !self.servers.contains_key(reference.as_str()) =>
                {
                    ids.extend(named.iter().cloned());
                }
                _ => _ = ids.insert(ServerId(reference.clone())),
            }
        }
        ids
    }

    /// Replaces aliases and names in the keys likewise; tools of keys that mean one server are
    /// united.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/mcp_server_manager.py`, `expand_tool_permissions`.
    #[must_use]
    pub(crate) fn expand_tools(
        &self,
        tools: &NamedTools,
        rules: AccessRules,
    ) -> BTreeMap<ServerId, ToolNames> {
        let mut expanded: BTreeMap<ServerId, ToolNames> = BTreeMap::new();
        for (reference, names) in tools {
            for id in self.expand([reference], rules) {
                let granted = expanded.entry(id).or_default();
                granted.extend(names.iter().cloned());
            }
        }
        expanded
    }

    /// Returns the ids of the servers that carry one of `tags`.
    ///
    /// Before 1.106 rows of every state count, and since then those that are served.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `get_mcp_servers_from_access_groups`.
    #[must_use]
    pub(crate) fn tagged(&self, tags: &[Tag], rules: AccessRules) -> ServerIds {
        let carries = |carried: &[Tag]| carried.iter().any(|tag| tags.contains(tag));
        let served = self.servers.iter().filter(|(_, s)| carries(&s.tags));
        let mut ids: ServerIds = served.map(|(id, _)| id.clone()).collect();
        if !rules.tags_without_servers_limit() {
            let others = self.unserved_tags.iter().filter(|(_, t)| carries(t));
            ids.extend(others.map(|(id, _)| id.clone()));
        }
        ids
    }
}
