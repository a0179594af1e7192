//! Every server known, and how a reference resolves against them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::litellm::config::ConfigServer;
use crate::litellm::config::entry::hex;
use crate::litellm::deleted_servers::DeletedServers;
use crate::litellm::ids::ServerId;
use crate::litellm::known_names::KnownNames;
use crate::litellm::reference_sites::Names;
use crate::litellm::server::{ConfigServers, SENTINELS, SavedAliases, Server, Signs};

/// What a reference means to LiteLLM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resolution {
    /// At least one served server has this id, alias or name.
    Live,
    /// Only rows that no proxy serves have it (pending, rejected, draft): the grant wakes up again
    /// once one of them is approved.
    Inactive,
    /// One of [`SENTINELS`].
    Sentinel,
    /// Declared live by the operator with `--keep`.
    Kept,
    /// Declared by the operator with `--remap` to be another server by now.
    Remapped,
    /// No server has it, and none outside the table can.
    Stale,
    /// No row has it, but a server of a `config.yaml` may.
    Unverified,
    /// No server has it, but it looks like the id of a config server that was edited or removed.
    MaybeEdited,
    /// It is an old id of a config server whose id of now cannot be told.
    MaybeRenewed,
    /// It is the name of a server, where LiteLLM takes ids alone: it means nothing there.
    OnlyAName,
    /// The operator did not ask about it, with `--reference`.
    Passed,
}

/// What a stale reference became: a config server of a new id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Successor {
    /// The config server's name.
    pub name: String,
    /// The id it has now; several where the config alone does not tell which.
    pub ids: BTreeSet<String>,
}

/// What the operator tells of ids that no config given yields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdHistory {
    /// Whether what looks like the id of a config server may be taken for stale.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prune: bool,
    /// The old ids of servers whose id of now cannot be told.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unclear: BTreeSet<String>,
    /// The ids of servers that a previous config had and that there are no longer.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub removed: BTreeSet<String>,
}

impl IdHistory {
    /// Tells whether the operator told nothing.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Every server there is, keyed by everything a reference may call it.
#[derive(Debug, Clone)]
pub(crate) struct ServerCatalog {
    /// Identifier to whether any server of that identifier is served.
    served: HashMap<String, bool>,
    /// Id to whether the server is served.
    ids: HashMap<String, bool>,
    toolsets: BTreeSet<String>,
    /// What people call servers, access groups and toolsets.
    names: Arc<KnownNames>,
    /// The references that the operator asked about; all where `None`.
    asked: Option<BTreeSet<String>>,
    /// The reference that is looked for, whatever it resolves to.
    sought: Option<String>,
    /// Every server that a proxy serves.
    registry: Vec<Registered>,
    kept: BTreeSet<String>,
    remaps: BTreeMap<String, String>,
    config: ConfigServers,
    signs: Signs,
    history: IdHistory,
    rows: usize,
    inactive: usize,
    /// The servers that are taken as deleted. They are in none of the maps above.
    deleted: DeletedServers,
    /// Those of them that are entries of a config.
    deleted_entries: Vec<ConfigServer>,
}

/// Why a remap cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadRemap {
    /// The old reference still names a server, or is a word that LiteLLM reserves.
    OldIsThere(String),
    /// The new reference names no server that is served.
    NewIsNot(String),
    /// The new reference names a server that is taken as deleted.
    NewIsDeleted(String),
}

impl fmt::Display for BadRemap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OldIsThere(old) => write!(f, "{old} is no deleted server"),
            Self::NewIsNot(new) => write!(f, "{new} names no server that is served"),
            Self::NewIsDeleted(new) => write!(f, "{new} is taken as deleted, by --if-deleted"),
        }
    }
}

/// A server that a proxy serves.
#[derive(Debug, Clone)]
struct Registered {
    /// Its id; several where a config alone does not tell which.
    ids: Vec<ServerId>,
    names: Vec<String>,
    tags: Vec<String>,
}

impl From<&Server> for Registered {
    fn from(server: &Server) -> Self {
        let names = [&server.alias, &server.server_name];
        Self {
            ids: vec![server.server_id.clone()],
            names: names.into_iter().flatten().cloned().collect(),
            tags: server.tags.clone(),
        }
    }
}

impl From<&ConfigServer> for Registered {
    fn from(server: &ConfigServer) -> Self {
        Self {
            ids: server.ids.iter().cloned().map(ServerId).collect(),
            names: server.names.iter().cloned().collect(),
            tags: server.tags.clone(),
        }
    }
}

impl ServerCatalog {
    /// Indexes the server table, the operator's `--keep` list, and what is known of config servers.
    #[must_use]
    pub(crate) fn new(servers: &[Server], kept: BTreeSet<String>, config: ConfigServers) -> Self {
        let mut served = HashMap::with_capacity(servers.len() * 2);
        let mut ids = HashMap::with_capacity(servers.len());
        for server in servers {
            ids.insert(server.server_id.to_string(), server.is_served());
            for identifier in server.identifiers() {
                *served.entry(identifier.to_owned()).or_insert(false) |= server.is_served();
            }
        }
        for server in config.servers() {
            ids.extend(server.ids.iter().map(|id| (id.clone(), true)));
            for identifier in server.ids.iter().chain(&server.names) {
                served.insert(identifier.clone(), true);
            }
        }
        let rows = servers.iter().filter(|server| server.is_served());
        let configured = config.servers().iter();
        Self {
            served,
            ids,
            toolsets: BTreeSet::new(),
            names: Arc::default(),
            asked: None,
            sought: None,
            registry: rows
                .map(Registered::from)
                .chain(configured.clone().map(Registered::from))
                .collect(),
            kept,
            remaps: BTreeMap::new(),
            rows: servers.len(),
            inactive: servers.iter().filter(|s| !s.is_served()).count(),
            signs: match &config {
                ConfigServers::Unknown(signs) => signs.clone(),
                ConfigServers::Known(_) => Signs::default(),
            },
            history: IdHistory::default(),
            config,
            deleted: DeletedServers::default(),
            deleted_entries: Vec::new(),
        }
    }

    /// Indexes everything but the servers `deleted`, as if they were gone already.
    ///
    /// The ids of an entry of a config that is taken as deleted are known to be removed, so that
    /// they are not held as "edited or removed?". The counts are those of the table as it is.
    #[must_use]
    pub(crate) fn as_if_deleted(
        servers: &[Server],
        kept: BTreeSet<String>,
        config: ConfigServers,
        deleted: DeletedServers,
    ) -> Self {
        let left = servers
            .iter()
            .filter(|row| !deleted.has_row(row.server_id.as_str()));
        let left: Vec<Server> = left.cloned().collect();
        let (config, deleted_entries) = match config {
            ConfigServers::Unknown(signs) => (ConfigServers::Unknown(signs), Vec::new()),
            ConfigServers::Known(entries) => {
                let is_deleted = |entry: &ConfigServer| deleted.has_entry(entry);
                let (gone, left) = entries.into_iter().partition(is_deleted);
                (ConfigServers::Known(left), gone)
            }
        };
        let ids = |entry: &ConfigServer| entry.ids.union(&entry.former_ids).cloned().collect();
        let removed = deleted_entries
            .iter()
            .flat_map(|entry| -> BTreeSet<String> { ids(entry) });
        Self {
            history: IdHistory {
                removed: removed.collect(),
                ..IdHistory::default()
            },
            rows: servers.len(),
            inactive: servers.iter().filter(|s| !s.is_served()).count(),
            deleted,
            deleted_entries,
            ..Self::new(&left, kept, config)
        }
    }

    /// Returns the servers that are taken as deleted.
    ///
    /// They are served until they are deleted in LiteLLM. Whoever compares access leaves them out
    /// of both sides.
    #[must_use]
    pub(crate) fn deleted(&self) -> &DeletedServers {
        &self.deleted
    }

    /// Returns the entries of configs that are taken as deleted.
    #[must_use]
    pub(crate) fn deleted_entries(&self) -> &[ConfigServer] {
        &self.deleted_entries
    }

    /// Adds what the database itself tells of config servers, whatever the operator says of them.
    #[must_use]
    pub(crate) fn with_signs(self, signs: Signs) -> Self {
        Self { signs, ..self }
    }

    /// Adds what the operator tells of ids that no config yields.
    #[must_use]
    pub(crate) fn with_history(self, mut history: IdHistory) -> Self {
        history.removed.extend(self.history.removed);
        Self { history, ..self }
    }

    /// Returns what the operator tells of ids that no config yields.
    #[must_use]
    pub(crate) fn history(&self) -> &IdHistory {
        &self.history
    }

    /// Returns what the database itself tells of config servers.
    #[must_use]
    pub(crate) fn signs(&self) -> &Signs {
        &self.signs
    }

    /// Adds the toolsets that there are, by id.
    #[must_use]
    pub(crate) fn with_toolsets(self, toolsets: BTreeSet<String>) -> Self {
        Self { toolsets, ..self }
    }

    /// Adds what people call servers, access groups and toolsets.
    #[must_use]
    pub(crate) fn with_names(self, names: KnownNames) -> Self {
        Self {
            names: Arc::new(names),
            ..self
        }
    }

    /// Returns what people call servers, access groups and toolsets.
    #[must_use]
    pub(crate) fn names(&self) -> &Arc<KnownNames> {
        &self.names
    }

    /// Passes over every reference but these.
    #[must_use]
    pub(crate) fn asked_about(self, references: BTreeSet<String>) -> Self {
        Self {
            asked: Some(references),
            ..self
        }
    }

    /// Has detection find the rows that name `reference` too, whatever it resolves to.
    #[must_use]
    pub(crate) fn seeking(mut self, reference: &str) -> Self {
        self.sought = Some(reference.to_owned());
        self
    }

    /// Adds what the operator says that deleted servers are by now.
    ///
    /// # Errors
    ///
    /// Where the old one is not deleted or the new one not served.
    pub(crate) fn remapping(mut self, remaps: &BTreeMap<String, String>) -> Result<Self, BadRemap> {
        for (old, new) in remaps {
            match self.resolve(old) {
                Resolution::Stale
                | Resolution::Unverified
                | Resolution::MaybeEdited
                | Resolution::MaybeRenewed => {}
                Resolution::Live
                | Resolution::Inactive
                | Resolution::Sentinel
                | Resolution::Kept
                | Resolution::Remapped
                | Resolution::OnlyAName
                | Resolution::Passed => return Err(BadRemap::OldIsThere(old.clone())),
            }
            if self.resolve(new) != Resolution::Live {
                return Err(if self.deleted.are_called(new) {
                    BadRemap::NewIsDeleted(new.clone())
                } else {
                    BadRemap::NewIsNot(new.clone())
                });
            }
        }
        self.remaps.clone_from(remaps);
        Ok(self)
    }

    /// Returns what deleted servers are by now, by old reference.
    #[must_use]
    pub(crate) fn remaps(&self) -> &BTreeMap<String, String> {
        &self.remaps
    }

    /// Returns what the operator says that a deleted server is by now.
    #[must_use]
    pub(crate) fn remap(&self, reference: &str) -> Option<&str> {
        self.remaps.get(reference).map(String::as_str)
    }

    /// Returns what replaces a deleted server at a site with such names. Returns `None` where the
    /// site takes only an id, and the name that the operator gave means no server or several.
    #[must_use]
    pub(crate) fn remap_as(&self, names: Names, reference: &str) -> Option<String> {
        let new = self.remap(reference)?;
        match names {
            Names::Servers => Some(new.to_owned()),
            Names::ServerIds | Names::ConfigServerIds => {
                let mut ids = self.expand(new).into_iter();
                let only = ids.next().filter(|_| ids.next().is_none());
                only.map(|ServerId(id)| id)
            }
            Names::Toolsets => None,
        }
    }

    /// Resolves one reference at a site with such names.
    #[must_use]
    pub(crate) fn resolve_as(&self, names: Names, reference: &str) -> Resolution {
        let resolution = match names {
            Names::Servers => self.resolve_any(reference, self.served.get(reference)),
            Names::ServerIds | Names::ConfigServerIds => match self.ids.get(reference) {
                None if self.served.contains_key(reference) => Resolution::OnlyAName,
                known => self.resolve_any(reference, known),
            },
            Names::Toolsets if self.toolsets.contains(reference) => Resolution::Live,
            Names::Toolsets if self.kept.contains(reference) => Resolution::Kept,
            Names::Toolsets => Resolution::Stale,
        };
        let is_asked = self.asked.as_ref().is_none_or(|a| a.contains(reference));
        let is_fine = matches!(
            resolution,
            Resolution::Live | Resolution::Sentinel | Resolution::Kept
        );
        if is_fine || is_asked {
            resolution
        } else {
            Resolution::Passed
        }
    }

    /// Resolves one reference as LiteLLM does: exact, case-sensitive, untrimmed.
    ///
    /// A name that several servers share means all of them, so one served server makes it live.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/mcp_server/mcp_server_manager.py`, `expand_permission_list`.
    #[must_use]
    pub(crate) fn resolve(&self, reference: &str) -> Resolution {
        self.resolve_as(Names::Servers, reference)
    }

    /// Resolves a reference. `known` tells whether its server is served, where it has one.
    fn resolve_any(&self, reference: &str, known: Option<&bool>) -> Resolution {
        if SENTINELS.contains(&reference) {
            return Resolution::Sentinel;
        }
        if known == Some(&true) {
            Resolution::Live
        } else if self.kept.contains(reference) {
            Resolution::Kept
        } else if known == Some(&false) {
            Resolution::Inactive
        } else if self.remaps.contains_key(reference) {
            Resolution::Remapped
        } else if self.may_be_unseen(reference) {
            Resolution::Unverified
        } else if self.history.unclear.contains(reference) {
            Resolution::MaybeRenewed
        } else if self.may_be_edited(reference) {
            Resolution::MaybeEdited
        } else {
            Resolution::Stale
        }
    }

    /// Tells whether it may be the id of a config server that no config given yields any more.
    fn may_be_edited(&self, reference: &str) -> bool {
        let is_explained = self.history.prune
            || self.history.removed.contains(reference)
            || self.is_former_id(reference);
        let is_known = matches!(self.config, ConfigServers::Known(_));
        let looks_so = is_derived_id(reference) || self.signs.clients.contains(reference);
        is_known && !is_explained && looks_so
    }

    /// Tells whether a config server that is not known, or not fully, may be called `reference`.
    fn may_be_unseen(&self, reference: &str) -> bool {
        match &self.config {
            ConfigServers::Unknown(_) => {
                !is_hyphenated_uuid(reference) || self.signs.clients.contains(reference)
            }
            ConfigServers::Known(_) if self.is_former_id(reference) => false,
            ConfigServers::Known(servers) => {
                let is_free = !is_hyphenated_uuid(reference);
                let is_unset = servers.iter().any(|server| !server.unset.is_empty());
                is_free && (is_unset || self.hides_aliases())
                    || self.untold_aliases().any(|(alias, _)| {
                        // The alias is a name, and it is part of what the id hashes.
                        alias == reference || is_derived_id(reference)
                    })
            }
        }
    }

    /// Returns the alias and server's name of each mapping that the database saves and the configs
    /// do not tell.
    pub(crate) fn untold_aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.signs.aliases.untold_by(self.config.servers())
    }

    /// Tells whether config servers may have aliases in the database that cannot be read.
    #[must_use]
    pub(crate) fn hides_aliases(&self) -> bool {
        !self.config.servers().is_empty() && self.signs.aliases == SavedAliases::Hidden
    }

    /// Tells whether `reference` is for sure the former id of a config server, and no id of now.
    ///
    /// A server's name is part of what LiteLLM hashes, so only a server of the same name can have
    /// the id today: one of another config, whose variables are not set here.
    fn is_former_id(&self, reference: &str) -> bool {
        let Some(successor) = self.successor(reference) else {
            return false;
        };
        let servers = self.config.servers().iter();
        let mut namesakes = servers.filter(|server| server.name == successor.name);
        namesakes.all(|server| server.unset.is_empty())
    }

    /// Returns what a stale reference became, if it is the former id of a config server.
    ///
    /// Servers of one name in several configs may share it; then the ids of all are returned.
    #[must_use]
    pub(crate) fn successor(&self, reference: &str) -> Option<Successor> {
        let servers = self.config.servers().iter();
        let mut former = servers.filter(|server| server.former_ids.contains(reference));
        let first = former.next()?;
        let mut ids = first.ids.clone();
        ids.extend(former.flat_map(|server| server.ids.iter().cloned()));
        Some(Successor {
            name: first.name.clone(),
            ids,
        })
    }

    /// Returns the ids that LiteLLM takes an entry of a grant for: the server of that id, or else
    /// all servers of that name. A server that is not served has none.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/mcp_server/mcp_server_manager.py`, `expand_permission_list`.
    #[must_use]
    pub(crate) fn expand(&self, reference: &str) -> BTreeSet<ServerId> {
        let by_id = self.with_id(reference);
        if by_id.is_empty() {
            self.ids_where(|server| server.names.iter().any(|name| name == reference))
        } else {
            by_id
        }
    }

    /// Returns the id itself, where a served server has it.
    #[must_use]
    pub(crate) fn with_id(&self, id: &str) -> BTreeSet<ServerId> {
        let has = |server: &Registered| server.ids.iter().any(|known| known.as_str() == id);
        let known = self.registry.iter().any(has);
        known.then(|| ServerId(id.to_owned())).into_iter().collect()
    }

    /// Returns the served servers that carry any of these tags.
    #[must_use]
    pub(crate) fn tagged(&self, tags: &[String]) -> BTreeSet<ServerId> {
        self.ids_where(|server| server.tags.iter().any(|tag| tags.contains(tag)))
    }

    /// Returns every server that is served.
    #[must_use]
    pub(crate) fn registry(&self) -> BTreeSet<ServerId> {
        self.ids_where(|_| true)
    }

    fn ids_where(&self, is_meant: impl Fn(&Registered) -> bool) -> BTreeSet<ServerId> {
        let meant = self.registry.iter().filter(|server| is_meant(server));
        meant.flat_map(|server| server.ids.clone()).collect()
    }

    /// Tells whether every server of a config is known, with all its ids and names.
    #[must_use]
    pub(crate) fn config_is_complete(&self) -> bool {
        match &self.config {
            ConfigServers::Unknown(_) => false,
            ConfigServers::Known(servers) => {
                let all_set = servers.iter().all(|server| server.unset.is_empty());
                all_set && !self.hides_aliases() && self.untold_aliases().next().is_none()
            }
        }
    }

    /// Returns the references that need no report (live, kept, sentinel) at sites with such names,
    /// in order.
    ///
    /// Detection in SQL filters these out and returns everything else.
    #[must_use]
    pub(crate) fn unremarkable(&self, names: Names) -> Vec<String> {
        let live = |identifiers: &'_ HashMap<String, bool>| -> Vec<String> {
            let served = identifiers.iter().filter(|(_, served)| **served);
            served.map(|(identifier, _)| identifier.clone()).collect()
        };
        let words = || SENTINELS.map(str::to_owned);
        let mut all: BTreeSet<String> = self.kept.clone();
        match names {
            Names::Servers => all.extend(live(&self.served).into_iter().chain(words())),
            Names::ServerIds | Names::ConfigServerIds => {
                all.extend(live(&self.ids).into_iter().chain(words()));
            }
            Names::Toolsets => all.extend(self.toolsets.iter().cloned()),
        }
        if let Some(sought) = &self.sought {
            all.remove(sought);
        }
        all.into_iter().collect()
    }

    /// Tells whether the reference is the name of several servers that are served, and no id.
    #[must_use]
    pub(crate) fn is_shared(&self, reference: &str) -> bool {
        let named = |server: &&Registered| server.names.iter().any(|name| name == reference);
        !self.ids.contains_key(reference) && self.registry.iter().filter(named).count() > 1
    }

    /// Tells whether the reference is a server's name and no id.
    #[must_use]
    pub(crate) fn is_a_name(&self, reference: &str) -> bool {
        !self.ids.contains_key(reference) && self.served.contains_key(reference)
    }

    /// Returns a digest of the servers, toolsets and kept references, by which the reader of two
    /// changesets can tell whether they knew the same ones. Nothing compares it.
    #[must_use]
    pub(crate) fn digest(&self) -> String {
        let served: BTreeSet<(&String, &bool)> = self.served.iter().collect();
        let mut sha = Sha256::new();
        for (identifier, served) in served {
            sha.update([u8::from(*served)]);
            sha.update(identifier);
            sha.update([0]);
        }
        for (mark, references) in [(2, &self.kept), (3, &self.toolsets)] {
            for reference in references {
                sha.update([mark]);
                sha.update(reference);
                sha.update([0]);
            }
        }
        hex(&sha.finalize()[..16])
    }

    /// Returns the number of rows in the server table.
    #[must_use]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of those rows that no proxy serves.
    #[must_use]
    pub(crate) fn inactive(&self) -> usize {
        self.inactive
    }

    /// Returns what is known of the servers of `config.yaml`.
    #[must_use]
    pub(crate) fn config(&self) -> &ConfigServers {
        &self.config
    }
}

/// Tells whether `text` is shaped as the ids LiteLLM gives to rows of the server table.
///
/// A config server has such an id only in two cases. Somebody pins it, which is what `--keep` and
/// `--litellm-config` are for. Or LiteLLM is 1.72.0 to 1.72.6, which drew new ids at every start,
/// so that a grant never outlived the start. Otherwise the id is 32 hexadecimal digits without
/// hyphens.
///
/// Source: LiteLLM 1.109.1 `proxy/mcp_server/db.py` (`create_mcp_server` draws a `uuid4`) and
/// `proxy/mcp_server/mcp_server_manager.py` (`load_servers_from_config` hashes or pins).
fn is_hyphenated_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Tells whether `text` is shaped as the ids that LiteLLM derives for config servers: 32 lower-case
/// hexadecimal digits.
///
/// Source: LiteLLM 1.110.2 `proxy/mcp_server/mcp_server_manager.py`, `_generate_stable_server_id`.
fn is_derived_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::server::{ALL_SERVERS, NO_SERVERS};

    const UUID: &str = "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10";

    fn server(id: &str, name: Option<&str>, alias: Option<&str>, status: Option<&str>) -> Server {
        Server {
            server_id: ServerId(id.to_owned()),
            server_name: name.map(str::to_owned),
            alias: alias.map(str::to_owned),
            approval_status: status.map(str::to_owned),
            tags: Vec::new(),
            allow_all_keys: false,
        }
    }

    fn unknown() -> ConfigServers {
        ConfigServers::Unknown(Signs::default())
    }

    fn catalog(servers: &[Server]) -> ServerCatalog {
        ServerCatalog::new(servers, BTreeSet::new(), unknown())
    }

    #[test]
    fn an_id_an_alias_and_a_name_are_live() {
        let catalog = catalog(&[server("id-1", Some("GitHub MCP"), Some("gh"), None)]);
        for reference in ["id-1", "GitHub MCP", "gh"] {
            assert_eq!(catalog.resolve(reference), Resolution::Live, "{reference}");
        }
    }

    #[test]
    fn matching_is_exact_case_sensitive_and_untrimmed() {
        let catalog = catalog(&[server("id-1", Some("github"), None, None)]);
        for reference in ["GitHub", " github", "github ", "ID-1", ""] {
            assert_eq!(
                catalog.resolve(reference),
                Resolution::Unverified,
                "{reference:?}"
            );
        }
    }

    #[test]
    fn a_shared_name_is_live_when_any_of_its_servers_is_served() {
        let pending = server("id-1", Some("gh"), None, Some("pending_review"));
        let active = server("id-2", Some("gh"), None, Some("active"));
        let catalog = catalog(&[active, pending]);
        assert_eq!(catalog.resolve("gh"), Resolution::Live);
        assert_eq!(catalog.resolve("id-1"), Resolution::Inactive);
    }

    #[test]
    fn every_approval_status_exists_and_some_are_served() {
        let served = [None, Some("active"), Some("approved")];
        let unserved = ["pending_review", "rejected", "draft", "something new"];
        for status in served {
            let catalog = catalog(&[server(UUID, None, None, status)]);
            assert_eq!(catalog.resolve(UUID), Resolution::Live, "{status:?}");
        }
        for status in unserved {
            let catalog = catalog(&[server(UUID, None, None, Some(status))]);
            assert_eq!(catalog.resolve(UUID), Resolution::Inactive, "{status}");
        }
    }

    #[test]
    fn sentinels_are_never_stale() {
        let catalog = ServerCatalog::new(&[], BTreeSet::new(), ConfigServers::Known(Vec::new()));
        for sentinel in SENTINELS {
            assert_eq!(catalog.resolve(sentinel), Resolution::Sentinel);
        }
        assert_eq!(catalog.resolve("No-MCP-Servers"), Resolution::Stale);
    }

    #[test]
    fn without_the_config_only_a_hyphenated_uuid_can_be_stale() {
        let catalog = catalog(&[]);
        assert_eq!(catalog.resolve(UUID), Resolution::Stale);
        assert_eq!(catalog.resolve(&UUID.to_uppercase()), Resolution::Stale);
        let may_be_config = [
            "8617b96e5cdbfd8ff49b7f89aeca1072",
            "deepwiki",
            "0b8f8e0c2-f5d-4a51-9a35-1f4a1c9f7d10",
            "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d1g",
            "{0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d1}",
        ];
        for reference in may_be_config {
            assert_eq!(
                catalog.resolve(reference),
                Resolution::Unverified,
                "{reference}"
            );
        }
    }

    #[test]
    fn without_config_servers_every_unknown_reference_is_stale() {
        let catalog = ServerCatalog::new(&[], BTreeSet::new(), ConfigServers::Known(Vec::new()));
        for reference in ["deepwiki", "", UUID, &HASH.to_uppercase(), &HASH[1..]] {
            assert_eq!(
                catalog.resolve(reference),
                Resolution::Stale,
                "{reference:?}"
            );
        }
    }

    const HASH: &str = "8617b96e5cdbfd8ff49b7f89aeca1072";

    #[test]
    fn what_looks_like_the_id_of_a_config_server_is_not_stale_until_it_is_told() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let signs = Signs {
            clients: texts(&["pinned", UUID]),
            ..Signs::default()
        };
        let catalog = |history: &IdHistory| {
            ServerCatalog::new(&[], BTreeSet::new(), ConfigServers::Known(Vec::new()))
                .with_signs(signs.clone())
                .with_history(history.clone())
        };
        let nothing = IdHistory::default();
        let looks_so = [HASH, "pinned", UUID];
        for reference in looks_so {
            let resolution = catalog(&nothing).resolve(reference);
            assert_eq!(resolution, Resolution::MaybeEdited, "{reference}");
        }
        assert_eq!(catalog(&nothing).resolve("free"), Resolution::Stale);
        assert_eq!(
            catalog(&nothing).resolve_as(Names::Toolsets, HASH),
            Resolution::Stale
        );
        let prune = IdHistory {
            prune: true,
            ..IdHistory::default()
        };
        let removed = IdHistory {
            removed: looks_so.map(str::to_owned).into(),
            ..IdHistory::default()
        };
        for history in [prune, removed] {
            for reference in looks_so {
                let resolution = catalog(&history).resolve(reference);
                assert_eq!(resolution, Resolution::Stale, "{reference} {history:?}");
            }
        }
        // A server that is still there, with an id that is unclear, counts more than the option.
        let unclear = IdHistory {
            prune: true,
            unclear: looks_so.map(str::to_owned).into(),
            removed: BTreeSet::new(),
        };
        for reference in looks_so {
            let resolution = catalog(&unclear).resolve(reference);
            assert_eq!(resolution, Resolution::MaybeRenewed, "{reference}");
        }
        // And it may be remapped.
        let known = ConfigServers::Known(vec![config_server(&["new"], &[], &[])]);
        let catalog = ServerCatalog::new(&[], BTreeSet::new(), known);
        let remaps = BTreeMap::from([(HASH.to_owned(), "new".to_owned())]);
        let resolution = catalog.remapping(&remaps).unwrap().resolve(HASH);
        assert_eq!(resolution, Resolution::Remapped);
    }

    fn config_server(ids: &[&str], former_ids: &[&str], unset: &[&str]) -> ConfigServer {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        ConfigServer {
            name: "docs".to_owned(),
            names: set(&["docs", "d"]),
            ids: set(ids),
            current: ids.first().map(|id| (*id).to_owned()),
            is_pinned: false,
            former_ids: set(former_ids),
            unset: set(unset),
            tags: Vec::new(),
            allow_all_keys: false,
        }
    }

    #[test]
    fn a_config_server_is_live_by_its_ids_and_names() {
        let known = ConfigServers::Known(vec![config_server(&["new"], &["old"], &[])]);
        let catalog = ServerCatalog::new(&[], BTreeSet::new(), known);
        for reference in ["new", "docs", "d"] {
            assert_eq!(catalog.resolve(reference), Resolution::Live, "{reference}");
        }
        for reference in ["old", "free", UUID] {
            assert_eq!(catalog.resolve(reference), Resolution::Stale, "{reference}");
        }
        let successor = catalog.successor("old").unwrap();
        assert_eq!((successor.name.as_str(), successor.ids.len()), ("docs", 1));
        assert_eq!(catalog.successor("free"), None);
    }

    #[test]
    fn an_id_that_cannot_be_derived_leaves_others_unverified() {
        let known = ConfigServers::Known(vec![config_server(&[], &["old"], &["NOT_SET"])]);
        let catalog = ServerCatalog::new(&[], BTreeSet::new(), known);
        for reference in [HASH, "free", "old"] {
            assert_eq!(
                catalog.resolve(reference),
                Resolution::Unverified,
                "{reference}"
            );
        }
        assert_eq!(catalog.resolve(UUID), Resolution::Stale);
    }

    #[test]
    fn a_former_id_may_be_the_id_of_a_namesake_whose_variables_are_not_set() {
        let resolve = |namesake: ConfigServer| {
            let pinned = config_server(&["pinned"], &[HASH], &[]);
            let known = ConfigServers::Known(vec![pinned, namesake]);
            let catalog = ServerCatalog::new(&[], BTreeSet::new(), known);
            catalog.resolve(HASH)
        };
        let unset = config_server(&[], &[], &["NOT_SET"]);
        assert_eq!(resolve(unset.clone()), Resolution::Unverified);
        // A server of another name never hashes to it.
        let other = ConfigServer {
            name: "other".to_owned(),
            ..unset
        };
        assert_eq!(resolve(other), Resolution::Stale);
        let known = config_server(&["also"], &[], &[]);
        assert_eq!(resolve(known), Resolution::Stale);
    }

    #[test]
    fn namesakes_that_share_a_former_id_are_both_what_it_became() {
        let servers = ["pin-1", "pin-2"].map(|id| config_server(&[id], &[HASH], &[]));
        let known = ConfigServers::Known(servers.to_vec());
        let catalog = ServerCatalog::new(&[], BTreeSet::new(), known);
        let ids = BTreeSet::from(["pin-1", "pin-2"].map(str::to_owned));
        assert_eq!(catalog.successor(HASH).unwrap().ids, ids);
    }

    #[test]
    fn an_alias_that_the_database_saves_is_not_stale() {
        let resolve = |aliases: SavedAliases, servers: &[ConfigServer]| {
            let signs = Signs {
                aliases,
                ..Signs::default()
            };
            let history = IdHistory {
                prune: true,
                ..IdHistory::default()
            };
            let known = ConfigServers::Known(servers.to_vec());
            let catalog = ServerCatalog::new(&[], BTreeSet::new(), known)
                .with_signs(signs)
                .with_history(history);
            let complete = catalog.config_is_complete();
            (
                ["saved", "free", HASH, UUID].map(|r| catalog.resolve(r)),
                complete,
            )
        };
        let saved = |alias: &str, name: &str| {
            SavedAliases::Known(BTreeMap::from([(alias.to_owned(), name.to_owned())]))
        };
        let docs = [config_server(&["new"], &[], &[])];
        let stale = ([Resolution::Stale; 4], true);
        // Nothing saved, an alias of a server that no config has, and one that the file has too.
        for aliases in [
            SavedAliases::default(),
            saved("saved", "else"),
            saved("d", "docs"),
        ] {
            assert_eq!(resolve(aliases, &docs), stale);
        }
        let [may_be, is_not] = [Resolution::Unverified, Resolution::Stale];
        for name in ["docs", "os.environ/NAME"] {
            let expected = ([may_be, is_not, may_be, is_not], false);
            assert_eq!(resolve(saved("saved", name), &docs), expected, "{name}");
        }
        // In LiteLLM 1.92.2 the database wins, so docs may have lost its alias of the file.
        let expected = ([is_not, is_not, may_be, is_not], false);
        assert_eq!(resolve(saved("d", "else"), &docs), expected);
        let expected = ([may_be, may_be, may_be, is_not], false);
        assert_eq!(resolve(SavedAliases::Hidden, &docs), expected);
        // Without config servers an alias means nothing.
        for aliases in [SavedAliases::Hidden, saved("saved", "os.environ/NAME")] {
            assert_eq!(resolve(aliases, &[]), stale);
        }
    }

    #[test]
    fn a_kept_reference_is_live_by_decree() {
        let kept = BTreeSet::from([UUID.to_owned(), "draft".to_owned()]);
        let draft = server("id-1", Some("draft"), None, Some("draft"));
        let catalog = ServerCatalog::new(&[draft], kept, ConfigServers::Known(Vec::new()));
        assert_eq!(catalog.resolve(UUID), Resolution::Kept);
        assert_eq!(catalog.resolve("draft"), Resolution::Kept);
        assert_eq!(catalog.resolve("id-1"), Resolution::Inactive);
    }

    #[test]
    fn what_detection_filters_out_is_exactly_what_needs_no_report() {
        let catalog = ServerCatalog::new(
            &[
                server("id-1", Some("a"), Some("b"), None),
                server("id-2", Some("c"), None, Some("rejected")),
            ],
            BTreeSet::from(["kept".to_owned()]),
            unknown(),
        );
        assert_eq!(
            catalog.unremarkable(Names::Servers),
            [
                "a",
                "all-proxy-mcpservers",
                "all-team-mcpservers",
                "b",
                "id-1",
                "kept",
                "no-mcp-servers"
            ]
        );
    }

    #[test]
    fn a_remap_goes_from_a_deleted_server_to_one_that_is_served() {
        let other = "7d1c1e6e-51a5-4c6f-8f6f-5f0f5e1d2c3b";
        let servers = [
            server("id-1", Some("one"), None, None),
            server("id-2", None, None, Some("draft")),
        ];
        let remapping = |old: &str, new: &str| {
            let remaps = BTreeMap::from([(old.to_owned(), new.to_owned())]);
            catalog(&servers).remapping(&remaps)
        };
        let remapped = remapping(UUID, "one").unwrap();
        assert_eq!(remapped.resolve(UUID), Resolution::Remapped);
        assert_eq!(remapped.remap(UUID), Some("one"));
        assert_eq!(remapped.resolve(other), Resolution::Stale);
        for old in ["id-1", "one", "id-2", NO_SERVERS] {
            let bad = remapping(old, "id-1").unwrap_err();
            assert_eq!(bad, BadRemap::OldIsThere(old.to_owned()));
        }
        for new in ["id-2", "free", other, ALL_SERVERS] {
            let bad = remapping(UUID, new).unwrap_err();
            assert_eq!(bad, BadRemap::NewIsNot(new.to_owned()));
        }
    }

    /// Makes a catalog without config servers, or with these, as if servers were deleted.
    fn as_if_deleted(
        references: &[&str],
        servers: &[Server],
        config: ConfigServers,
    ) -> ServerCatalog {
        let references = references.iter().map(|r| (*r).to_owned()).collect();
        let deleted = DeletedServers::named(&references, servers, config.servers()).unwrap();
        ServerCatalog::as_if_deleted(servers, BTreeSet::new(), config, deleted)
    }

    #[test]
    fn what_a_deleted_server_is_called_goes_stale_and_what_another_is_called_too_does_not() {
        let servers = [
            server(UUID, Some("GitHub MCP"), Some("gh"), None),
            server("id-2", Some("gh"), None, None),
            server("id-3", Some("GitHub MCP"), None, Some("draft")),
        ];
        let none = || ConfigServers::Known(Vec::new());
        let before = as_if_deleted(&[], &servers, none());
        let after = as_if_deleted(&[UUID], &servers, none());
        for (reference, was, is) in [
            (UUID, Resolution::Live, Resolution::Stale),
            ("gh", Resolution::Live, Resolution::Live),
            ("GitHub MCP", Resolution::Live, Resolution::Inactive),
            ("id-2", Resolution::Live, Resolution::Live),
            ("no-mcp-servers", Resolution::Sentinel, Resolution::Sentinel),
        ] {
            assert_eq!(before.resolve(reference), was, "{reference}");
            assert_eq!(after.resolve(reference), is, "{reference}");
        }
        assert_eq!(after.resolve_as(Names::ServerIds, UUID), Resolution::Stale);
        let left = BTreeSet::from([ServerId("id-2".to_owned())]);
        assert_eq!(after.expand("gh"), left);
        assert_eq!(after.registry(), left);
        assert!(
            !after
                .unremarkable(Names::Servers)
                .contains(&UUID.to_owned())
        );
        // The table is not empty, and its rows are counted as they are.
        let counts = |catalog: &ServerCatalog| (catalog.rows(), catalog.inactive());
        assert_eq!(counts(&after), (3, 1));
        assert!(after.deleted().are_called("gh") && before.deleted().is_empty());
    }

    #[test]
    fn a_name_stays_unverified_where_config_servers_are_not_known() {
        let servers = [server(UUID, None, Some("gh"), None)];
        let catalog = as_if_deleted(&["gh"], &servers, unknown());
        assert_eq!(catalog.resolve(UUID), Resolution::Stale);
        assert_eq!(catalog.resolve("gh"), Resolution::Unverified);
    }

    #[test]
    fn the_ids_of_a_deleted_config_server_are_no_riddle() {
        let (id, former) = (
            "0123456789abcdef0123456789abcdef",
            "f123456789abcdef0123456789abcdef",
        );
        let entry = ConfigServer {
            name: "jira".to_owned(),
            names: BTreeSet::from(["jira".to_owned()]),
            ids: BTreeSet::from([id.to_owned()]),
            current: Some(id.to_owned()),
            is_pinned: false,
            former_ids: BTreeSet::from([former.to_owned()]),
            unset: BTreeSet::new(),
            tags: Vec::new(),
            allow_all_keys: false,
        };
        let config = ConfigServers::Known(vec![entry]);
        let catalog = as_if_deleted(&["jira"], &[], config).with_history(IdHistory::default());
        for reference in ["jira", id, former] {
            assert_eq!(catalog.resolve(reference), Resolution::Stale, "{reference}");
        }
        let other = "a123456789abcdef0123456789abcdef";
        assert_eq!(catalog.resolve(other), Resolution::MaybeEdited);
        assert_eq!(catalog.deleted_entries().len(), 1);
        assert!(catalog.config().servers().is_empty());
    }

    #[test]
    fn references_are_remapped_from_a_deleted_server_and_not_to_one() {
        let servers = [
            server(UUID, None, Some("gh"), None),
            server("id-2", None, Some("jira"), None),
        ];
        let none = ConfigServers::Known(Vec::new());
        let catalog = as_if_deleted(&["gh"], &servers, none);
        let remap = |old: &str, new: &str| {
            let remaps = BTreeMap::from([(old.to_owned(), new.to_owned())]);
            catalog.clone().remapping(&remaps)
        };
        let remapped = remap(UUID, "jira").unwrap();
        assert_eq!(remapped.resolve(UUID), Resolution::Remapped);
        let refused = remap("gone", UUID).unwrap_err();
        assert_eq!(refused, BadRemap::NewIsDeleted(UUID.to_owned()));
        assert_eq!(
            remap("jira", "id-2").unwrap_err(),
            BadRemap::OldIsThere("jira".to_owned())
        );
    }
}
