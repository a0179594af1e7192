//! The names that people gave to servers, access groups and toolsets, by what is stored of them.

use std::collections::{BTreeSet, HashMap};

use crate::litellm::config::ConfigServer;
use crate::litellm::reference_sites::{Group, ScannedTable};
use crate::litellm::server::Server;

/// What a report says of a server besides the reference to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownServer {
    /// The id; several where a config alone does not tell which.
    pub ids: Vec<String>,
    /// What people call it: its alias, else its name.
    pub name: Option<String>,
    /// The review state of a server that no proxy serves.
    pub not_served: Option<String>,
}

/// The names of everything that a reference or a row may be called by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KnownNames {
    servers: Vec<KnownServer>,
    /// Id, alias or name to the places in `servers`: the first is what it means. Others follow only
    /// where none of them is served.
    identifiers: HashMap<String, Vec<usize>>,
    access_groups: HashMap<String, String>,
    toolsets: HashMap<String, String>,
}

impl KnownNames {
    /// Collects the names of the rows of the server table and of the entries of configs.
    ///
    /// An id comes before the names of other servers, and a server that is served before one that
    /// is not.
    #[must_use]
    pub(crate) fn of_servers(rows: &[Server], entries: &[ConfigServer]) -> Self {
        let mut known = Self::default();
        let mut names: Vec<(String, usize)> = Vec::new();
        let (served, others): (Vec<&Server>, Vec<&Server>) =
            rows.iter().partition(|server| server.is_served());
        for server in served {
            let at = known.add_row(server, None);
            names.extend(server.identifiers().map(|name| (name.to_owned(), at)));
        }
        for entry in entries {
            let at = known.servers.len();
            known.servers.push(KnownServer {
                ids: entry.ids.iter().cloned().collect(),
                name: Some(entry.name.clone()),
                not_served: None,
            });
            for id in &entry.ids {
                known
                    .identifiers
                    .entry(id.clone())
                    .or_insert_with(|| vec![at]);
            }
            names.extend(entry.names.iter().map(|name| (name.clone(), at)));
        }
        for server in others {
            let at = known.add_row(server, server.approval_status.clone());
            names.extend(server.identifiers().map(|name| (name.to_owned(), at)));
        }
        for (name, at) in names {
            known.add_name(name, at);
        }
        known
    }

    /// Adds a name of a server. If it means another one, that one keeps it; if neither is served,
    /// it means both.
    fn add_name(&mut self, name: String, at: usize) {
        let is_unserved = |at: usize| self.servers.get(at).is_some_and(|s| s.not_served.is_some());
        let Some(meant) = self.identifiers.get_mut(&name) else {
            self.identifiers.insert(name, vec![at]);
            return;
        };
        let first = meant.first().and_then(|first| self.servers.get(*first));
        let is_id = first.is_some_and(|server| server.ids.contains(&name));
        if !is_id && !meant.contains(&at) && meant.iter().copied().all(is_unserved) {
            meant.push(at);
        }
    }

    fn add_row(&mut self, server: &Server, not_served: Option<String>) -> usize {
        let at = self.servers.len();
        let names = [&server.alias, &server.server_name].into_iter().flatten();
        self.servers.push(KnownServer {
            ids: vec![server.server_id.to_string()],
            name: names.into_iter().find(|name| !name.is_empty()).cloned(),
            not_served,
        });
        self.identifiers
            .insert(server.server_id.to_string(), vec![at]);
        at
    }

    /// Adds the names of unified access groups and of toolsets, by id.
    #[must_use]
    pub(crate) fn with_groups(
        self,
        access_groups: HashMap<String, String>,
        toolsets: HashMap<String, String>,
    ) -> Self {
        Self {
            access_groups,
            toolsets,
            ..self
        }
    }

    /// Returns the server that a reference is the id, alias or name of; the first one if it is a
    /// name of several, none of which is served.
    #[must_use]
    pub(crate) fn server(&self, reference: &str) -> Option<&KnownServer> {
        let at = self.identifiers.get(reference)?.first()?;
        self.servers.get(*at)
    }

    /// Returns the server that a reference is the id, alias or name of, if it is only one.
    #[must_use]
    pub(crate) fn only_server(&self, reference: &str) -> Option<&KnownServer> {
        let [at] = self.identifiers.get(reference)?.as_slice() else {
            return None;
        };
        self.servers.get(*at)
    }

    /// Lists the ids, aliases and names that mean a server of a reference, in byte order; the
    /// reference alone if no server is known.
    #[must_use]
    pub(crate) fn same_server<'a>(&'a self, reference: &'a str) -> BTreeSet<&'a str> {
        let mut same = BTreeSet::from([reference]);
        if let Some(meant) = self.identifiers.get(reference) {
            let of_server = |of: &[usize]| of.iter().any(|at| meant.contains(at));
            let of_servers = self.identifiers.iter().filter(|(_, of)| of_server(of));
            same.extend(of_servers.map(|(identifier, _)| identifier.as_str()));
        }
        same
    }

    /// Returns what people call the server of a reference; `None` if the reference says so itself.
    #[must_use]
    pub(crate) fn other_name(&self, reference: &str) -> Option<&str> {
        let name = self.server(reference)?.name.as_deref();
        name.filter(|name| *name != reference)
    }

    /// Returns what people call a server, or the reference itself.
    #[must_use]
    pub(crate) fn name_or<'a>(&'a self, reference: &'a str) -> &'a str {
        self.other_name(reference).unwrap_or(reference)
    }

    /// Returns the id of the server of a reference, by which two references to one server are seen
    /// to be of one; the reference itself if no server is known.
    #[must_use]
    pub(crate) fn id_or<'a>(&'a self, reference: &'a str) -> &'a str {
        let id = self.server(reference).and_then(|server| server.ids.first());
        id.map_or(reference, String::as_str)
    }

    /// Returns the name of an access group or a toolset; `None` of any other row.
    #[must_use]
    pub(crate) fn row(&self, table: ScannedTable, key: &str) -> Option<&str> {
        let names = match table.group() {
            Group::AccessGroups => &self.access_groups,
            Group::Toolsets => &self.toolsets,
            Group::Permissions | Group::Defaults | Group::Credentials => return None,
        };
        let name = names.get(key).map(String::as_str);
        name.filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::ids::ServerId;
    use crate::litellm::reference_sites::{ACCESS_GROUPS, PERMISSIONS, TOOLSETS};

    fn server(id: &str, alias: &str, status: Option<&str>) -> Server {
        Server {
            server_id: ServerId(id.to_owned()),
            server_name: Some(format!("the {alias}")),
            alias: Some(alias.to_owned()).filter(|alias| !alias.is_empty()),
            approval_status: status.map(str::to_owned),
            tags: Vec::new(),
            allow_all_keys: false,
        }
    }

    #[test]
    fn a_server_is_found_by_id_alias_and_name() {
        let rows = [
            server("id-1", "github", Some("rejected")),
            server("id-2", "github", Some("active")),
            server("github", "odd", None),
            server("id-4", "", Some("draft")),
            server("id-5", "jira", Some("rejected")),
            server("id-6", "jira", Some("rejected")),
        ];
        let names = KnownNames::of_servers(&rows, &[]);
        let status = |reference: &str| {
            let server = names.server(reference).unwrap();
            (server.ids[0].as_str(), server.not_served.as_deref())
        };
        assert_eq!(status("id-1"), ("id-1", Some("rejected")));
        assert_eq!(
            status("the github"),
            ("id-2", None),
            "the one that is served"
        );
        assert_eq!(status("github"), ("github", None), "an id comes first");
        assert_eq!(status("the "), ("id-4", Some("draft")));
        let same = |reference| Vec::from_iter(names.same_server(reference));
        assert_eq!(same("the github"), ["id-2", "the github"]);
        assert_eq!(same("id-1"), ["id-1"], "its names mean others");
        assert_eq!(same("odd"), ["github", "odd", "the odd"]);
        assert_eq!(same("gone"), ["gone"]);
        assert_eq!(same("id-6"), ["id-6", "jira", "the jira"]);
        assert_eq!(same("jira"), ["id-5", "id-6", "jira", "the jira"]);
        assert_eq!(names.only_server("jira"), None);
        assert_eq!(names.only_server("id-6"), names.server("id-6"));
        assert_eq!(names.other_name("id-2"), Some("github"));
        assert_eq!(names.other_name("odd"), None);
        assert_eq!(names.name_or("id-4"), "the ");
        assert_eq!(names.name_or("gone"), "gone");
        assert_eq!(names.id_or("the github"), "id-2");
        assert_eq!(names.id_or("id-1"), "id-1");
        assert_eq!(names.id_or("gone"), "gone");
    }

    #[test]
    fn only_access_groups_and_toolsets_have_names() {
        let one = |name: &str| HashMap::from([("1".to_owned(), name.to_owned())]);
        let names = KnownNames::default().with_groups(one("backend"), one("search"));
        let row = |table| names.row(ScannedTable::References(table), "1");
        assert_eq!(row(&ACCESS_GROUPS), Some("backend"));
        assert_eq!(row(&TOOLSETS), Some("search"));
        assert_eq!(row(&PERMISSIONS), None);
        assert_eq!(names.row(ScannedTable::References(&TOOLSETS), "2"), None);
    }
}
