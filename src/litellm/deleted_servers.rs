//! Servers that are taken as deleted before they are: `--if-deleted`.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::litellm::config::ConfigServer;
use crate::litellm::server::{SENTINELS, Server};

/// Where a server is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServerPlace {
    /// It is a row of the server table.
    Database,
    /// It is an entry of a `config.yaml`.
    Config,
}

impl ServerPlace {
    /// Returns the name of the place in reports.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Config => "config",
        }
    }
}

/// A server that is taken as deleted, as it was when it was looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeletedServer {
    /// The references by which the operator named it.
    pub references: BTreeSet<String>,
    /// Its id; several where a config alone does not tell which.
    pub ids: BTreeSet<String>,
    /// Its alias and its name.
    pub names: BTreeSet<String>,
    /// Where it is defined.
    pub place: ServerPlace,
}

impl DeletedServer {
    fn of_row(server: &Server) -> Self {
        let names = [&server.alias, &server.server_name];
        Self {
            references: BTreeSet::new(),
            ids: BTreeSet::from([server.server_id.as_str().to_owned()]),
            names: names.into_iter().flatten().cloned().collect(),
            place: ServerPlace::Database,
        }
    }

    fn of_entry(server: &ConfigServer) -> Self {
        Self {
            references: BTreeSet::new(),
            ids: server.ids.clone(),
            names: server.names.clone(),
            place: ServerPlace::Config,
        }
    }

    /// Tells whether both are the same server under the same names.
    fn is(&self, other: &Self) -> bool {
        let this = (self.place, &self.ids, &self.names);
        this == (other.place, &other.ids, &other.names)
    }

    /// Tells whether a reference may mean this server: it is its id, its alias or its name.
    #[must_use]
    pub(crate) fn is_called(&self, reference: &str) -> bool {
        self.ids.contains(reference) || self.names.contains(reference)
    }
}

/// "github (0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10)": its names, then its ids.
impl fmt::Display for DeletedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |texts: &BTreeSet<String>| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            texts.join(", ")
        };
        if self.names.is_empty() {
            return f.write_str(&join(&self.ids));
        }
        write!(f, "{} ({})", join(&self.names), join(&self.ids))
    }
}

/// Why a server cannot be taken as deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadDeletion {
    /// The reference is a word that LiteLLM reserves.
    Reserved(String),
    /// No server has this id, alias or name.
    NoServer(String),
    /// Several servers have this alias or name: their ids.
    Several(String, Vec<String>),
    /// The server changed since it was looked up: how it was, and how it is.
    Changed(Box<DeletedServer>, Box<DeletedServer>),
}

/// The servers that are taken as deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct DeletedServers(Vec<DeletedServer>);

impl DeletedServers {
    /// Finds the servers that these references name: by id, else by alias or name.
    ///
    /// # Errors
    ///
    /// Where a reference names no server or several.
    pub(crate) fn named(
        references: &BTreeSet<String>,
        rows: &[Server],
        entries: &[ConfigServer],
    ) -> Result<Self, BadDeletion> {
        let mut deleted: Vec<DeletedServer> = Vec::new();
        for reference in references {
            let mut server = find(reference, rows, entries)?;
            if let Some(known) = deleted.iter_mut().find(|known| known.is(&server)) {
                known.references.insert(reference.clone());
            } else {
                server.references.insert(reference.clone());
                deleted.push(server);
            }
        }
        Ok(Self(deleted))
    }

    /// Makes sure that those of the servers that are still there are as they were.
    ///
    /// A server that is gone by now is no error: that is what was meant.
    ///
    /// # Errors
    ///
    /// Where a server has other names by now.
    pub(crate) fn check_same(
        &self,
        rows: &[Server],
        entries: &[ConfigServer],
    ) -> Result<(), BadDeletion> {
        for server in &self.0 {
            let now: Vec<DeletedServer> = match server.place {
                ServerPlace::Database => {
                    let same = rows
                        .iter()
                        .filter(|row| server.ids.contains(row.server_id.as_str()));
                    same.map(DeletedServer::of_row).collect()
                }
                ServerPlace::Config => {
                    let same = entries.iter().filter(|e| !e.ids.is_disjoint(&server.ids));
                    same.map(DeletedServer::of_entry).collect()
                }
            };
            if let Some(changed) = now.into_iter().find(|now| !now.is(server)) {
                return Err(BadDeletion::Changed(
                    Box::new(server.clone()),
                    Box::new(changed),
                ));
            }
        }
        Ok(())
    }

    /// Tells whether no server is taken as deleted.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lists the servers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &DeletedServer> {
        self.0.iter()
    }

    /// Returns all references by which the operator named them.
    #[must_use]
    pub(crate) fn references(&self) -> BTreeSet<String> {
        let references = self.0.iter().flat_map(|server| &server.references);
        references.cloned().collect()
    }

    /// Tells whether a reference may mean one of them.
    #[must_use]
    pub(crate) fn are_called(&self, reference: &str) -> bool {
        self.0.iter().any(|server| server.is_called(reference))
    }

    /// Returns the one of them that a reference means; `None` where it means another server, or
    /// another one too.
    #[must_use]
    pub(crate) fn meant_by(
        &self,
        reference: &str,
        rows: &[Server],
        entries: &[ConfigServer],
    ) -> Option<&DeletedServer> {
        let named = |server: &&DeletedServer| {
            server.ids.contains(reference) || server.references.contains(reference)
        };
        if let Some(server) = self.0.iter().find(named) {
            return Some(server);
        }
        let mut rows = rows
            .iter()
            .filter(|row| !self.has_row(row.server_id.as_str()));
        let mut entries = entries.iter().filter(|entry| !self.has_entry(entry));
        let is_of_others = rows.any(|row| row.identifiers().any(|name| name == reference))
            || entries.any(|e| e.ids.contains(reference) || e.names.contains(reference));
        let mut servers = self.0.iter().filter(|_| !is_of_others);
        servers.find(|server| server.names.contains(reference))
    }

    /// Tells whether the row with this id is taken as deleted.
    #[must_use]
    pub(crate) fn has_row(&self, id: &str) -> bool {
        let mut rows = self.0.iter().filter(|s| s.place == ServerPlace::Database);
        rows.any(|server| server.ids.contains(id))
    }

    /// Tells whether an entry of a config is taken as deleted.
    #[must_use]
    pub(crate) fn has_entry(&self, entry: &ConfigServer) -> bool {
        let mut entries = self.0.iter().filter(|s| s.place == ServerPlace::Config);
        entries.any(|server| !server.ids.is_disjoint(&entry.ids))
    }
}

/// Finds the one server that a reference names. A row wins over an entry of the same id, as it does
/// in a proxy.
fn find(
    reference: &str,
    rows: &[Server],
    entries: &[ConfigServer],
) -> Result<DeletedServer, BadDeletion> {
    if SENTINELS.contains(&reference) {
        return Err(BadDeletion::Reserved(reference.to_owned()));
    }
    let row = rows.iter().find(|row| row.server_id.as_str() == reference);
    if let Some(row) = row {
        return Ok(DeletedServer::of_row(row));
    }
    let by_id = |entry: &&ConfigServer| entry.ids.contains(reference);
    let by_name = |entry: &&ConfigServer| entry.names.contains(reference);
    let mut found: Vec<DeletedServer> = entries
        .iter()
        .filter(by_id)
        .map(DeletedServer::of_entry)
        .collect();
    if found.is_empty() {
        let rows = rows.iter().filter(|row| {
            let names = [&row.alias, &row.server_name];
            names.into_iter().flatten().any(|name| name == reference)
        });
        let entries = entries.iter().filter(by_name).map(DeletedServer::of_entry);
        found = rows.map(DeletedServer::of_row).chain(entries).collect();
    }
    // Two files may have the same entry.
    let mut different: Vec<DeletedServer> = Vec::new();
    for server in found {
        if !different.iter().any(|known| known.is(&server)) {
            different.push(server);
        }
    }
    match (different.pop(), different.is_empty()) {
        (None, _) => Err(BadDeletion::NoServer(reference.to_owned())),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            let all = different.into_iter().chain([last]);
            let ids: BTreeSet<String> = all.flat_map(|server| server.ids).collect();
            let ids = ids.into_iter().collect();
            Err(BadDeletion::Several(reference.to_owned(), ids))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::ids::ServerId;

    fn row(id: &str, name: Option<&str>, alias: Option<&str>) -> Server {
        Server {
            server_id: ServerId(id.to_owned()),
            server_name: name.map(str::to_owned),
            alias: alias.map(str::to_owned),
            approval_status: None,
            tags: Vec::new(),
            allow_all_keys: false,
        }
    }

    fn entry(name: &str, id: &str) -> ConfigServer {
        ConfigServer {
            name: name.to_owned(),
            names: BTreeSet::from([name.to_owned()]),
            ids: BTreeSet::from([id.to_owned()]),
            current: Some(id.to_owned()),
            is_pinned: false,
            former_ids: BTreeSet::new(),
            unset: BTreeSet::new(),
            tags: Vec::new(),
            allow_all_keys: false,
        }
    }

    fn named(
        references: &[&str],
        rows: &[Server],
        entries: &[ConfigServer],
    ) -> Result<Vec<String>, BadDeletion> {
        let references = references.iter().map(|r| (*r).to_owned()).collect();
        let deleted = DeletedServers::named(&references, rows, entries)?;
        Ok(deleted.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_server_is_named_by_id_alias_or_name_and_to_the_letter() {
        let rows = [
            row("id-1", Some("GitHub MCP"), Some("gh")),
            row("gh2", None, None),
        ];
        let entries = [entry("jira", "c1")];
        for reference in ["id-1", "GitHub MCP", "gh"] {
            let found = named(&[reference], &rows, &entries).unwrap();
            assert_eq!(found, ["GitHub MCP, gh (id-1)"], "{reference}");
        }
        for reference in ["jira", "c1"] {
            assert_eq!(named(&[reference], &rows, &entries).unwrap(), ["jira (c1)"]);
        }
        assert_eq!(named(&["gh2"], &rows, &entries).unwrap(), ["gh2"]);
        for reference in ["ID-1", "Gh", "gh ", "github", ""] {
            let told = named(&[reference], &rows, &entries).unwrap_err();
            assert_eq!(told, BadDeletion::NoServer(reference.to_owned()));
        }
        let told = named(&["no-mcp-servers"], &rows, &entries).unwrap_err();
        assert_eq!(told, BadDeletion::Reserved("no-mcp-servers".to_owned()));
    }

    #[test]
    fn a_server_that_is_named_twice_is_one_server() {
        let rows = [row("id-1", None, Some("gh"))];
        assert_eq!(named(&["id-1", "gh"], &rows, &[]).unwrap(), ["gh (id-1)"]);
        let references = ["id-1", "gh"].map(str::to_owned).into();
        let deleted = DeletedServers::named(&references, &rows, &[]).unwrap();
        assert_eq!(deleted.references(), references);
        // Two files have the same entry.
        let entries = [entry("jira", "c1"), entry("jira", "c1")];
        assert_eq!(named(&["jira"], &[], &entries).unwrap(), ["jira (c1)"]);
    }

    #[test]
    fn a_shared_name_is_ambiguous_and_an_id_is_not() {
        let rows = [row("id-1", None, Some("gh")), row("id-2", Some("gh"), None)];
        let entries = [entry("gh", "c1"), entry("id-1", "c2")];
        let told = named(&["gh"], &rows, &entries).unwrap_err();
        let ids = ["c1", "id-1", "id-2"].map(str::to_owned).to_vec();
        assert_eq!(told, BadDeletion::Several("gh".to_owned(), ids));
        assert_eq!(named(&["id-1"], &rows, &entries).unwrap(), ["gh (id-1)"]);
    }

    #[test]
    fn a_reference_means_a_deleted_server_by_each_name_that_no_other_server_has() {
        let rows = [
            row("id-1", Some("GitHub MCP"), Some("gh")),
            row("id-2", Some("gh"), None),
        ];
        let entries = [entry("jira", "c1")];
        for (references, meant) in [
            (&["id-1"][..], &["id-1", "GitHub MCP"][..]),
            (&["GitHub MCP"], &["id-1", "GitHub MCP"]),
            // The other server of the name is deleted too.
            (&["id-1", "id-2"], &["id-1", "id-2", "GitHub MCP", "gh"]),
            (&["c1"], &["c1", "jira"]),
        ] {
            let named = references.iter().map(|r| (*r).to_owned()).collect();
            let deleted = DeletedServers::named(&named, &rows, &entries).unwrap();
            for reference in ["id-1", "id-2", "GitHub MCP", "gh", "c1", "jira", "gone"] {
                let found = deleted.meant_by(reference, &rows, &entries).is_some();
                assert_eq!(
                    found,
                    meant.contains(&reference),
                    "{references:?}: {reference}"
                );
            }
        }
    }

    #[test]
    fn a_row_wins_over_an_entry_of_its_id() {
        let (rows, entries) = ([row("id-1", None, None)], [entry("jira", "id-1")]);
        let deleted = DeletedServers::named(&BTreeSet::from(["id-1".to_owned()]), &rows, &entries);
        let deleted = deleted.unwrap();
        assert!(deleted.has_row("id-1"));
        assert!(!deleted.has_entry(&entries[0]), "the entry is served then");
    }

    #[test]
    fn a_server_may_go_meanwhile_and_must_not_change() {
        let rows = [row("id-1", None, Some("gh"))];
        let deleted = DeletedServers::named(&BTreeSet::from(["gh".to_owned()]), &rows, &[]);
        let deleted = deleted.unwrap();
        deleted.check_same(&rows, &[]).unwrap();
        deleted.check_same(&[], &[]).unwrap();
        // Another server of the same name is another server.
        deleted
            .check_same(&[row("id-2", None, Some("gh"))], &[])
            .unwrap();
        let renamed = [row("id-1", None, Some("jira"))];
        let told = deleted.check_same(&renamed, &[]).unwrap_err();
        let BadDeletion::Changed(was, is) = told else {
            panic!("{told:?}");
        };
        assert_eq!(
            (was.to_string(), is.to_string()),
            ("gh (id-1)".to_owned(), "jira (id-1)".to_owned())
        );
    }
}
