//! What a proxy may serve besides what is known: the servers of a `config.yaml` that was not given.

use std::collections::BTreeSet;

use super::registry::{Registry, ServedServer};
use super::rows::AccessRows;
use crate::litellm::ids::{ServerId, Tag};

/// What the id of a made-up server begins with; no server has such an id.
const MADE_UP: &str = "\u{0}possible server ";

/// Whether a `config.yaml` that is not known may add servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OtherServers {
    /// Every server is known.
    None,
    /// It may add servers under any name, with any tag, and open to everybody.
    Any,
}

impl Registry {
    /// Returns the registry with every server that a `config.yaml` may add and `rows` can notice:
    /// one for each reference in `rows` that `may_be_served`; and if `others` are possible, one
    /// with each tag, and one that is open to every key. Returns `None` if that adds nothing.
    #[must_use]
    pub(crate) fn with_possible(
        &self,
        rows: &AccessRows,
        others: OtherServers,
        may_be_served: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let permissions = || {
            let whole = rows.permissions.values().flatten();
            whole.chain(rows.without_tools.values())
        };
        let groups = || rows.access_groups.values().flatten();
        let named = permissions().flat_map(|row| row.servers.iter().chain(row.tools.keys()));
        let named = named.chain(groups().flat_map(|group| &group.servers));
        let of_toolsets = rows.toolsets.values().flat_map(|toolset| toolset.keys());
        let named = named.chain(of_toolsets.map(|ServerId(id)| id));
        let named: BTreeSet<ServerId> = named
            .filter(|reference| may_be_served(reference))
            .map(|reference| ServerId(reference.clone()))
            .filter(|id| self.get(id).is_none())
            .collect();
        let mut added: Vec<(ServerId, ServedServer)> = named
            .into_iter()
            .map(|id| (id, ServedServer::default()))
            .collect();
        if others == OtherServers::Any {
            let tags: BTreeSet<&Tag> = permissions().flat_map(|row| &row.tags).collect();
            added.extend(tags.into_iter().map(|tag| {
                let server = ServedServer {
                    tags: vec![tag.clone()],
                    ..ServedServer::default()
                };
                (ServerId(format!("{MADE_UP}with tag {tag}")), server)
            }));
            let open = ServedServer {
                allow_all_keys: true,
                ..ServedServer::default()
            };
            added.push((ServerId(format!("{MADE_UP}open to all")), open));
        }
        (!added.is_empty()).then(|| self.and(added))
    }
}

/// Tells whether an id is that of a made-up server.
#[must_use]
pub(crate) fn is_made_up(id: &ServerId) -> bool {
    id.as_str().starts_with(MADE_UP)
}
