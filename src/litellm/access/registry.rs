//! The servers that a proxy serves, and how it expands references to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    by_name: HashMap<String, ServerIds>,
    by_tag: BTreeMap<Tag, ServerIds>,
    by_submitter: BTreeMap<UserId, ServerIds>,
    /// The servers that every key may use.
    open: ServerIds,
    /// The tags of rows that are there and not served, by server id.
    unserved_tags: BTreeMap<ServerId, Vec<Tag>>,
    /// The rows that are there and not served, by tag.
    unserved_by_tag: BTreeMap<Tag, ServerIds>,
}

/// Collects the servers of each tag.
fn by_tag<'a>(
    servers: impl Iterator<Item = (&'a ServerId, &'a Vec<Tag>)>,
) -> BTreeMap<Tag, ServerIds> {
    let mut by_tag: BTreeMap<Tag, ServerIds> = BTreeMap::new();
    for (id, tags) in servers {
        for tag in tags {
            by_tag.entry(tag.clone()).or_default().insert(id.clone());
        }
    }
    by_tag
}

impl Registry {
    /// Indexes the servers served, by id, and the tags of rows that are not. There may be thousands
    /// of servers, and a repair asks for the access of each of thousands of callers many times.
    #[must_use]
    pub(crate) fn new(
        servers: BTreeMap<ServerId, ServedServer>,
        unserved_tags: BTreeMap<ServerId, Vec<Tag>>,
    ) -> Self {
        let mut by_name: HashMap<String, ServerIds> = HashMap::new();
        let mut by_submitter: BTreeMap<UserId, ServerIds> = BTreeMap::new();
        let mut open = ServerIds::new();
        for (id, server) in &servers {
            if server.allow_all_keys {
                open.insert(id.clone());
            }
            if let Some(user) = &server.submitted_by {
                let theirs = by_submitter.entry(user.clone()).or_default();
                theirs.insert(id.clone());
            }
            for name in [&server.alias, &server.name].into_iter().flatten() {
                by_name.entry(name.clone()).or_default().insert(id.clone());
            }
        }
        Self {
            by_name,
            by_tag: by_tag(servers.iter().map(|(id, server)| (id, &server.tags))),
            by_submitter,
            open,
            unserved_by_tag: by_tag(unserved_tags.iter()),
            servers,
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
    pub(crate) fn open(&self) -> &ServerIds {
        &self.open
    }

    /// Returns the ids of the servers that somebody submitted.
    pub(crate) fn submitted(&self) -> impl Iterator<Item = &ServerId> {
        self.by_submitter.values().flatten()
    }

    /// Returns the ids of the servers that `user` submitted.
    pub(crate) fn submitted_by(&self, user: &UserId) -> impl Iterator<Item = &ServerId> {
        self.by_submitter.get(user).into_iter().flatten()
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
            match self.bearers(reference, rules) {
                Some(named) => ids.extend(named.iter().cloned()),
                None => _ = ids.insert(ServerId(reference.clone())),
            }
        }
        ids
    }

    /// Returns the servers that a reference means by their alias or name; `None` where it stands
    /// for itself.
    fn bearers(&self, reference: &str, rules: AccessRules) -> Option<&ServerIds> {
        let named = self.by_name.get(reference);
        named.filter(|_| rules.names_resolve() && !self.servers.contains_key(reference))
    }

    /// Tells whether a reference means `server`, as [`Registry::expand`] resolves it.
    #[must_use]
    pub(crate) fn means(&self, reference: &str, server: &ServerId, rules: AccessRules) -> bool {
        match self.bearers(reference, rules) {
            Some(named) => named.contains(server),
            None => server.as_str() == reference,
        }
    }

    /// Returns the tools that are named for `server`, by any of the references that mean it; `None`
    /// where none does.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/mcp_server_manager.py`, `expand_tool_permissions`.
    #[must_use]
    pub(crate) fn tools_on(
        &self,
        server: &ServerId,
        tools: &NamedTools,
        rules: AccessRules,
    ) -> Option<ToolNames> {
        let mut named: Option<ToolNames> = None;
        for (_, names) in tools
            .iter()
            .filter(|(reference, _)| self.means(reference, server, rules))
        {
            let named = named.get_or_insert_default();
            named.extend(names.iter().cloned());
        }
        named
    }

    /// Returns the ids of the servers that carry one of `tags`.
    ///
    /// Before 1.106 rows of every state count, and since then those that are served.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
    /// `get_mcp_servers_from_access_groups`.
    #[must_use]
    pub(crate) fn tagged(&self, tags: &[Tag], rules: AccessRules) -> ServerIds {
        let mut ids = ServerIds::new();
        for tag in tags {
            let served = self.by_tag.get(tag);
            let others = self.unserved_by_tag.get(tag);
            let others = others.filter(|_| !rules.tags_without_servers_limit());
            ids.extend(served.into_iter().chain(others).flatten().cloned());
        }
        ids
    }
}
