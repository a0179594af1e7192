//! The rows of credentials: what users and proxies store for one server.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::litellm::finding::{Audit, Finding, FindingKind, Note};
use crate::litellm::reference_sites::{CredentialTable, ScannedTable};
use crate::litellm::server_catalog::{Resolution, ServerCatalog};

/// How many rows of a table of credentials belong to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerRows {
    /// The server's id.
    pub server: String,
    /// The number of its rows.
    pub rows: u64,
}

impl ServerRows {
    /// Returns what is left once all of these rows are deleted.
    #[must_use]
    pub(crate) fn none_left(&self) -> Self {
        Self {
            server: self.server.clone(),
            rows: 0,
        }
    }

    /// Returns the number by the server's id, which is how reports and changesets write it. The map
    /// is empty where the server has no rows.
    #[must_use]
    pub(crate) fn by_server(self) -> BTreeMap<String, u64> {
        let some = (self.rows > 0).then_some((self.server, self.rows));
        some.into_iter().collect()
    }
}

/// Finds what is wrong with the credentials that a server has in `table`.
#[must_use]
pub(crate) fn audit(
    table: &'static CredentialTable,
    rows: &ServerRows,
    catalog: &ServerCatalog,
) -> Audit {
    let server = rows.server.as_str();
    let there = (rows.rows > 0).then(|| catalog.resolve_as(table.names, server));
    let finding = there.and_then(FindingKind::of).map(|kind| Finding {
        kind,
        column: table.server,
        reference: Some(server.to_owned()),
        successor: catalog.successor(server),
        last_grant: false,
        tools: Vec::new(),
    });
    Audit {
        table: ScannedTable::Credentials(table),
        row: server.to_owned(),
        rows: rows.rows,
        impacts: Vec::new(),
        findings: finding.into_iter().collect(),
    }
}

/// Returns what is worth knowing of credentials that are not stale.
#[must_use]
pub(crate) fn note(
    table: &'static CredentialTable,
    rows: &ServerRows,
    catalog: &ServerCatalog,
) -> Option<Finding> {
    let resolution = catalog.resolve_as(table.names, &rows.server);
    (rows.rows > 0 && resolution == Resolution::OnlyAName).then(|| Finding {
        kind: FindingKind::Note(Note::OnlyAName),
        column: table.server,
        reference: Some(rows.server.clone()),
        successor: None,
        last_grant: false,
        tools: Vec::new(),
    })
}

/// A whole row as the JSON text that PostgreSQL makes of it. It holds secrets, so it is only ever
/// written to a journal and read from one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WholeRow(String);

impl WholeRow {
    /// Takes the JSON text of a row.
    #[must_use]
    pub(crate) fn new(json: String) -> Self {
        Self(json)
    }

    /// Returns the JSON text, for the journal and the database alone.
    #[must_use]
    pub(crate) fn json(&self) -> &str {
        &self.0
    }

    /// Returns the value of a column of type `text`, or `None` where the row has no such column.
    #[must_use]
    pub(crate) fn text(&self, column: &str) -> Option<String> {
        let row: Json = serde_json::from_str(&self.0).ok()?;
        Some(row.get(column)?.as_str()?.to_owned())
    }
}

/// Written by hand: nothing of it is ever printed.
impl fmt::Debug for WholeRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WholeRow(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_whole_row_is_printed() {
        let row = WholeRow::new(r#"{"user_id":"ada","credential_b64":"s3cret"}"#.to_owned());
        assert_eq!(format!("{row:?}"), "WholeRow(..)");
        assert_eq!(row.text("user_id").as_deref(), Some("ada"));
        assert_eq!(row.text("nothing"), None);
    }
}
