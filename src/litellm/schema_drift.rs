//! Compares a schema with those of all known releases: which tables and columns no release up to
//! [`NEWEST_KNOWN`] has, and which of them look as if they held references.
//!
//! A newer release without a new table or column cannot be told from an older one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::litellm::reference_sites::{ScannedTable, table};
use crate::litellm::release::NEWEST_KNOWN;
use crate::litellm::server::SERVER_TABLE;

/// Every table that a release up to [`NEWEST_KNOWN`] has or had, with its columns.
///
/// Source: `schema.prisma` of 22 releases from LiteLLM 1.72.9 to 1.110.2, and the migrations of
/// litellm-proxy-extras 0.1.17 to 0.4.110. `.ci/known-columns` adds those of a newer release.
const KNOWN: &str = include_str!("known_columns.txt");

/// The beginning of the name of every table of LiteLLM.
pub(crate) const PREFIX: &str = "LiteLLM_";

/// A column of one of LiteLLM's tables, with its type as PostgreSQL's `format_type` spells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypedColumn {
    /// The table.
    pub table: String,
    /// The column.
    pub name: String,
    /// Its type.
    pub sql_type: String,
}

/// "`LiteLLM_Table.column` (text[])".
impl fmt::Display for TypedColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            name,
            sql_type,
        } = self;
        write!(f, "{table}.{name} ({sql_type})")
    }
}

/// Words in the name of a table or column that stores references.
const SIGNS: [&str; 3] = ["mcp", "server", "toolset"];

/// Beginnings of the names of types that hold neither a text nor JSON.
const OTHER_TYPES: [&str; 12] = [
    "bigint", "boolean", "bytea", "date", "double", "integer", "interval", "numeric", "real",
    "smallint", "time", "oid",
];

/// Known tables and columns that hold no references although their names or values may look so;
/// no columns stand for all columns of the table. Each has the reason.
///
/// A column that holds secrets is not searched even if a reference may stand in it. `scan` reads
/// the sites in `LiteLLM_Config.param_value`, and nothing else of that column.
///
/// Source: LiteLLM 1.110.2 `proxy/schema.prisma`, what reads these columns, and the columns that
/// LiteLLM encrypts (`proxy/db/master_key_migration.py`, `_SECRET_COLUMNS`).
const HOLD_NO_REFERENCES: [(&str, &[&str], &str); 42] = [
    (SERVER_TABLE, &[], "its rows are the servers"),
    (
        "LiteLLM_MCPToolsetTable",
        &["toolset_id", "toolset_name"],
        "they name the toolset",
    ),
    (
        "LiteLLM_ObjectPermissionTable",
        &["mcp_access_groups", "mcp_tool_search_enabled"],
        "tags of servers, and a switch",
    ),
    ("LiteLLM_AuditLog", &[], RECORD),
    ("LiteLLM_DailyAgentSpend", &[], RECORD),
    ("LiteLLM_DailyEndUserSpend", &[], RECORD),
    ("LiteLLM_DailyGlobalSpend", &[], RECORD),
    ("LiteLLM_DailyOrganizationSpend", &[], RECORD),
    ("LiteLLM_DailyTagSpend", &[], RECORD),
    ("LiteLLM_DailyTeamSpend", &[], RECORD),
    ("LiteLLM_DailyUserSpend", &[], RECORD),
    ("LiteLLM_DeletedTeamTable", &[], RECORD),
    ("LiteLLM_DeletedVerificationToken", &[], RECORD),
    ("LiteLLM_ErrorLogs", &[], RECORD),
    ("LiteLLM_SpendLogDelivery", &[], RECORD),
    ("LiteLLM_SpendLogs", &[], RECORD),
    ("LiteLLM_SpendLogToolIndex", &[], RECORD),
    (
        "LiteLLM_AgentsTable",
        &["litellm_params", "static_headers"],
        SECRET,
    ),
    ("LiteLLM_CacheConfig", &["cache_settings"], SECRET),
    ("LiteLLM_Config", &["param_value"], SECRET),
    ("LiteLLM_ConfigOverrides", &["config_value"], SECRET),
    ("LiteLLM_CredentialsTable", &["credential_values"], SECRET),
    (
        "LiteLLM_DeprecatedVerificationToken",
        &["active_token_id", "token"],
        SECRET,
    ),
    ("LiteLLM_EngineWorker", &["token_hash"], SECRET),
    ("LiteLLM_GuardrailsTable", &["litellm_params"], SECRET),
    ("LiteLLM_JWTKeyMapping", &["token"], SECRET),
    ("LiteLLM_LensIngestionKey", &["data"], SECRET),
    ("LiteLLM_LensWorker", &["token_hash"], SECRET),
    ("LiteLLM_MCPServerOAuthClient", &["credentials"], SECRET),
    ("LiteLLM_MCPUserCredentials", &["credential_b64"], SECRET),
    ("LiteLLM_MCPUserEnvVars", &["values_b64"], SECRET),
    (
        "LiteLLM_ManagedVectorStoreIndexTable",
        &["litellm_params"],
        SECRET,
    ),
    (
        "LiteLLM_ManagedVectorStoresTable",
        &["litellm_params"],
        SECRET,
    ),
    ("LiteLLM_PromptTable", &["litellm_params"], SECRET),
    ("LiteLLM_ProxyModelTable", &["litellm_params"], SECRET),
    ("LiteLLM_SSOConfig", &["sso_settings"], SECRET),
    ("LiteLLM_SSOIdentityAssertion", &["assertion_b64"], SECRET),
    ("LiteLLM_SearchToolsTable", &["litellm_params"], SECRET),
    ("LiteLLM_TeamTable", &["metadata"], SECRET),
    (
        "LiteLLM_UserProviderCredentials",
        &["credential_b64"],
        SECRET,
    ),
    ("LiteLLM_UserTable", &["metadata", "password"], SECRET),
    ("LiteLLM_VerificationToken", &["metadata", "token"], SECRET),
];

const RECORD: &str = "a record of what was: nobody is granted anything by it";
const SECRET: &str = "it holds secrets";

/// What a schema has that no known release has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SchemaDrift {
    tables: BTreeSet<String>,
    columns: BTreeSet<TypedColumn>,
}

impl SchemaDrift {
    /// Compares the columns of a schema with those that are known.
    #[must_use]
    pub(crate) fn of(columns: &[TypedColumn]) -> Self {
        let known = known();
        let has = |column: &TypedColumn| {
            let columns = known.get(column.table.as_str());
            columns.is_some_and(|columns| columns.contains(column.name.as_str()))
        };
        let unknown: BTreeSet<TypedColumn> = columns.iter().filter(|c| !has(c)).cloned().collect();
        let tables = unknown.iter().map(|column| &column.table);
        let tables = tables.filter(|table| !known.contains_key(table.as_str()));
        Self {
            tables: tables.cloned().collect(),
            columns: unknown,
        }
    }

    /// Tells whether a known release may have made all of the schema.
    #[must_use]
    pub(crate) fn is_none(&self) -> bool {
        self.columns.is_empty()
    }

    /// Returns the unknown tables.
    #[must_use]
    pub(crate) fn tables(&self) -> &BTreeSet<String> {
        &self.tables
    }

    /// Returns the unknown columns, those of unknown tables among them.
    #[must_use]
    pub(crate) fn columns(&self) -> &BTreeSet<TypedColumn> {
        &self.columns
    }

    /// Returns the unknown columns that look by name and type as if they held references.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = &TypedColumn> {
        self.columns.iter().filter(|column| column.is_suspect())
    }

    /// Returns what is unknown, in words: "table X and column Y.z".
    #[must_use]
    pub(crate) fn unknown(&self) -> String {
        let tables: Vec<String> = self.tables.iter().cloned().collect();
        let columns = self.columns.iter();
        let columns = columns.filter(|column| !self.tables.contains(&column.table));
        let columns: Vec<String> = columns
            .map(|column| format!("{}.{}", column.table, column.name))
            .collect();
        let parts = [named("table", &tables), named("column", &columns)];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        parts.join(" and ")
    }

    /// Returns a sentence about the columns that look as if they held references; `None` if there
    /// are none.
    #[must_use]
    pub(crate) fn suspicion(&self) -> Option<String> {
        let suspects: Vec<String> = self.suspects().map(ToString::to_string).collect();
        if suspects.is_empty() {
            return None;
        }
        Some(format!(
            "By name these may hold references to servers, and they are not looked at: {}",
            suspects.join(", ")
        ))
    }
}

/// Two sentences: what no known release has, and what of it may hold references.
impl fmt::Display for SchemaDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the schema is newer than LiteLLM {NEWEST_KNOWN}, the newest release that this \
             mcp-prune knows, or somebody added to it: no known release has {}",
            self.unknown()
        )?;
        match self.suspicion() {
            Some(suspicion) => write!(f, ". {suspicion}"),
            None => Ok(()),
        }
    }
}

impl TypedColumn {
    /// Tells whether the name and the type are those of a column that holds references.
    #[must_use]
    pub(crate) fn is_suspect(&self) -> bool {
        let is_sign = |name: &str| {
            let name = name.to_lowercase();
            SIGNS.iter().any(|sign| name.contains(sign))
        };
        self.may_hold_text() && (is_sign(&self.name) || is_sign(&self.table))
    }

    /// Tells whether the type holds texts or JSON. One that is not known may.
    #[must_use]
    fn may_hold_text(&self) -> bool {
        let mut others = OTHER_TYPES.iter();
        !others.any(|other| self.sql_type.starts_with(other))
    }

    /// Tells whether a search by value looks at the column: it may hold texts, and it is not known
    /// that they are no references.
    #[must_use]
    pub(crate) fn is_searched(&self) -> bool {
        self.may_hold_text() && reason(&self.table, &self.name).is_none()
    }

    /// Tells whether the references at a path in this column are those of a site or of credentials,
    /// which other code looks at. The path has `*` for each element of an
    /// array and for each key that is no name.
    #[must_use]
    pub(crate) fn is_site(&self, path: &[String]) -> bool {
        match table(&self.table) {
            Some(ScannedTable::References(table)) => table.sites.iter().any(|site| {
                let is_within = site.path.iter().zip(path).all(|(site, key)| site == key);
                site.column == self.name && site.path.len() <= path.len() && is_within
            }),
            Some(ScannedTable::Credentials(table)) => table.server == self.name,
            None => false,
        }
    }
}

/// Lists tables or columns, at most ten of them; `None` where there are none.
fn named(noun: &str, names: &[String]) -> Option<String> {
    const MOST: usize = 10;
    let shown = names.get(..MOST).unwrap_or(names).join(", ");
    match names.len() {
        0 => None,
        1 => Some(format!("{noun} {shown}")),
        n if n > MOST => Some(format!("{noun}s {shown} and {} more", n - MOST)),
        _ => Some(format!("{noun}s {shown}")),
    }
}

/// Reads the known tables, each with its columns.
fn known() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let lines = KNOWN.lines().filter_map(|line| line.split_once(": "));
    lines
        .map(|(table, columns)| (table, columns.split(' ').collect()))
        .collect()
}

/// Returns why a known column holds no references, if it does not.
fn reason(table: &str, column: &str) -> Option<&'static str> {
    let mut entries = HOLD_NO_REFERENCES.iter();
    let entry = entries.find(|(listed, columns, _)| {
        *listed == table && (columns.is_empty() || columns.contains(&column))
    });
    let is_known = known()
        .get(table)
        .is_some_and(|columns| columns.contains(column));
    entry.filter(|_| is_known).map(|(.., reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::reference_sites::TABLES;
    use crate::litellm::release::MARKERS;

    fn typed(table: &str, name: &str, sql_type: &str) -> TypedColumn {
        TypedColumn {
            table: table.to_owned(),
            name: name.to_owned(),
            sql_type: sql_type.to_owned(),
        }
    }

    #[test]
    fn what_no_release_has_is_named_and_what_may_hold_references_twice() {
        let drift = SchemaDrift::of(&[
            typed("LiteLLM_TeamTable", "team_id", "text"),
            typed("LiteLLM_TeamTable", "colour", "text"),
            typed("LiteLLM_TeamTable", "mcp_allowed", "boolean"),
            typed("LiteLLM_VerificationToken", "default_mcp_servers", "text[]"),
            typed("LiteLLM_Squad", "id", "text"),
            typed("LiteLLM_Squad", "mcp_server_ids", "text[]"),
        ]);
        assert!(!drift.is_none());
        assert_eq!(
            drift.unknown(),
            "table LiteLLM_Squad and columns LiteLLM_TeamTable.colour, \
             LiteLLM_TeamTable.mcp_allowed, LiteLLM_VerificationToken.default_mcp_servers"
        );
        let suspects: Vec<String> = drift.suspects().map(ToString::to_string).collect();
        assert_eq!(
            suspects,
            [
                "LiteLLM_Squad.mcp_server_ids (text[])",
                "LiteLLM_VerificationToken.default_mcp_servers (text[])"
            ]
        );
        assert!(SchemaDrift::of(&[typed("LiteLLM_TeamTable", "team_id", "text")]).is_none());
    }

    #[test]
    fn many_unknown_columns_are_counted_and_every_suspect_is_named() {
        let columns: Vec<TypedColumn> = (10..25)
            .map(|n| typed("LiteLLM_TeamTable", &format!("mcp_{n}"), "text"))
            .collect();
        let drift = SchemaDrift::of(&columns);
        assert!(
            drift
                .unknown()
                .ends_with("LiteLLM_TeamTable.mcp_19 and 5 more")
        );
        assert!(
            drift
                .suspicion()
                .unwrap()
                .ends_with("LiteLLM_TeamTable.mcp_24 (text)")
        );
    }

    #[test]
    fn every_known_column_that_looks_like_a_site_is_one_or_has_a_reason() {
        let mut looks_so = 0;
        for (table, columns) in known() {
            for column in columns {
                let column = typed(table, column, "text");
                let is_site = TABLES.iter().any(|scanned| {
                    scanned.name() == table && scanned.columns().contains(&column.name.as_str())
                });
                if !SIGNS.iter().any(|sign| column.name.contains(sign)) || is_site {
                    continue;
                }
                looks_so += 1;
                assert!(reason(table, &column.name).is_some(), "{column}");
            }
        }
        assert!(looks_so > 10, "{looks_so}");
    }

    #[test]
    fn every_reason_is_of_a_known_column_that_is_no_site_or_holds_secrets_too() {
        let known = known();
        for (table, columns, why) in HOLD_NO_REFERENCES {
            let of_table = &known[table];
            assert!(columns.iter().all(|c| of_table.contains(c)), "{table}");
            assert!(!why.is_empty());
            for column in columns {
                let site = TABLES.iter().find(|scanned| scanned.name() == table);
                let is_site = site.is_some_and(|site| site.columns().contains(column));
                assert!(!is_site || why == SECRET, "{table} {column}");
            }
        }
    }

    #[test]
    fn no_known_column_is_searched_that_is_called_like_a_secret() {
        let called_so = [
            "_b64",
            "_settings",
            "config_value",
            "credential_values",
            "credentials",
            "litellm_params",
            "param_value",
            "password",
            "static_headers",
            "token",
            "token_hash",
        ];
        // They hold no secrets: switches of the dashboard, and how requests are routed.
        let harmless = ["router_settings", "ui_settings"];
        for (table, columns) in known() {
            for column in columns {
                let is_secret = called_so.iter().any(|end| column.ends_with(end));
                let is_searched = typed(table, column, "jsonb").is_searched();
                let is_harmless = harmless.contains(&column);
                assert!(
                    !is_secret || is_harmless || !is_searched,
                    "{table} {column}"
                );
            }
        }
        for metadata in ["VerificationToken", "TeamTable", "UserTable"] {
            let table = format!("LiteLLM_{metadata}");
            assert!(!typed(&table, "metadata", "jsonb").is_searched());
        }
        // A table that somebody made is searched whatever its columns are called.
        assert!(typed("LiteLLM_Squad", "token", "text").is_searched());
    }

    #[test]
    fn every_site_and_every_schema_marker_is_known() {
        let known = known();
        for table in TABLES {
            let columns = &known[table.name()];
            assert!(columns.contains(table.key()), "{table:?}");
            assert!(
                table
                    .columns()
                    .iter()
                    .all(|column| columns.contains(column))
            );
        }
        for marker in &MARKERS {
            let columns = &known[marker.table];
            assert!(marker.column.is_none_or(|column| columns.contains(column)));
            assert!(marker.release <= NEWEST_KNOWN);
        }
        assert!(known.keys().all(|table| table.starts_with(PREFIX)));
    }

    #[test]
    fn a_path_of_a_site_is_told_from_another_in_the_same_column() {
        let config = typed("LiteLLM_Config", "param_value", "jsonb");
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        assert!(config.is_site(&path("public_mcp_servers.*")));
        assert!(!config.is_site(&path("default_team_params.mcp_servers.*")));
        assert!(!config.is_site(&[]));
        let row = typed("LiteLLM_ObjectPermissionTable", "mcp_servers", "text[]");
        assert!(row.is_site(&path("*")));
    }
}
