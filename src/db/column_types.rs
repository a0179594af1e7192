//! The types that LiteLLM's migrations give to the columns that are read or written.
//!
//! A column of any other type (`varchar`, `citext`, a domain, `integer`, `json`) compares, prints
//! or sorts in another way in some statement. So it is refused, and the error names it.

use crate::db::schema::{
    ASSIGNED, CONFIG, RELATED_COLUMNS, SERVER_COLUMNS, SERVER_ID, SERVER_SCOPE,
};
use crate::litellm::owners::{ACCESS_GROUP_IDS, KEY_PARENTS, LINK, OWNER_TABLES, OwnerKind};
use crate::litellm::reference_sites::{self, PERMISSIONS, ScannedTable, TABLES, TAGS};
use crate::litellm::server::SERVER_TABLE;

/// A table, a column of it, the column's type as PostgreSQL's `format_type` spells it, and its
/// presence.
pub(crate) type Expected = (&'static str, &'static str, &'static str, Presence);

/// Whether a column is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Every LiteLLM that has the table has the column.
    Always,
    /// Some do not have it.
    Sometimes,
}

/// Lists every column that is read or written: those of the tables that are looked at (`sites`),
/// and those that describe owners and servers.
///
/// Source: the migrations of litellm-proxy-extras 0.1.17 to 0.4.110: `String` is `text`, `String[]`
/// is `text[]`, `Json` is `jsonb`, and `DateTime` is `timestamp(3) without time zone`.
pub(crate) fn expected(sites: &[ScannedTable]) -> Vec<Expected> {
    let mut expected = vec![
        (SERVER_TABLE, SERVER_ID, "text", Presence::Always),
        (PERMISSIONS.table, PERMISSIONS.key, "text", Presence::Always),
    ];
    let permissions = ScannedTable::References(&PERMISSIONS);
    for table in sites.iter().copied().chain([permissions]) {
        match table {
            ScannedTable::References(table) => {
                for site in table.sites {
                    let presence = if site.required {
                        Presence::Always
                    } else {
                        Presence::Sometimes
                    };
                    expected.push((table.table, site.column, site.sql_type(), presence));
                }
            }
            ScannedTable::Credentials(table) => {
                expected.push((table.table, table.server, "text", Presence::Always));
            }
        }
    }
    for owner in OWNER_TABLES.iter().filter(|owner| owner.required) {
        expected.push((owner.table, LINK, "text", Presence::Always));
    }
    for table in TABLES {
        expected.push((table.name(), table.key(), "text", Presence::Sometimes));
        match table {
            ScannedTable::References(table) => {
                if let Some((at, by)) = table.touched {
                    expected.push((
                        table.table,
                        at,
                        "timestamp without time zone",
                        Presence::Sometimes,
                    ));
                    expected.push((table.table, by, "text", Presence::Sometimes));
                }
            }
            ScannedTable::Credentials(table) => {
                expected.push((table.table, table.each, "text", Presence::Sometimes));
            }
        }
    }
    for owner in &OWNER_TABLES {
        let parents = KEY_PARENTS.iter().copied();
        let parents = parents.filter(|_| owner.kind == OwnerKind::Key);
        for column in [LINK, owner.id, owner.name].into_iter().chain(parents) {
            expected.push((owner.table, column, "text", Presence::Sometimes));
        }
    }
    for column in SERVER_COLUMNS {
        expected.push((SERVER_TABLE, column, "text", Presence::Sometimes));
    }
    for (table, columns) in RELATED_COLUMNS.into_iter().chain(ASSIGNED) {
        expected.extend(
            columns
                .iter()
                .map(|c| (table, *c, type_of_related(table, c), Presence::Sometimes)),
        );
    }
    expected.push((CONFIG.0, CONFIG.1, "text", Presence::Sometimes));
    expected
}

/// Returns the type of a column of `table` that decides what an emptied list means.
fn type_of_related(table: &str, column: &str) -> &'static str {
    let [tags, open] = SERVER_SCOPE;
    let sites = match reference_sites::table(table) {
        Some(ScannedTable::References(table)) => table.sites,
        Some(ScannedTable::Credentials(_)) | None => &[],
    };
    let site = sites.iter().find(|site| site.column == column);
    if let Some(site) = site {
        site.sql_type()
    } else if column == open {
        "boolean"
    } else if [tags, TAGS, ACCESS_GROUP_IDS].contains(&column) || column.starts_with("assigned_") {
        "text[]"
    } else {
        "text"
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::litellm::owners::KEY_TABLE;
    use crate::litellm::reference_sites::{ACCESS_GROUPS, TOOLSETS};

    #[test]
    fn no_column_is_expected_to_be_of_two_types() {
        let mut types = BTreeMap::new();
        for (table, column, sql_type, _) in expected(&TABLES) {
            let first = *types.entry((table, column)).or_insert(sql_type);
            assert_eq!(first, sql_type, "{column} of {table}");
        }
        for (table, column, sql_type) in [
            (KEY_TABLE, "team_id", "text"),
            (ACCESS_GROUPS.table, "assigned_team_ids", "text[]"),
            (ACCESS_GROUPS.table, "access_mcp_server_ids", "text[]"),
            (TOOLSETS.table, "tools", "jsonb"),
            (PERMISSIONS.table, "mcp_access_groups", "text[]"),
        ] {
            assert_eq!(type_of_related(table, column), sql_type);
        }
    }
}
