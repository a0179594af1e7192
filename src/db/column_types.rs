//! The types that LiteLLM's migrations give to the columns that are read or written.
//!
//! A column of any other type (`varchar`, `citext`, a domain, `integer`, `json`) compares, prints
//! or sorts in another way in some statement. So it is refused, and the error names it.

use crate::db::schema::{
    AROUND, ASSIGNED, CONFIG, GROUP_SERVERS, SERVER_COLUMNS, SERVER_ID, SERVER_SCOPE, SERVER_TABLE,
    TAGS, TOOLS,
};
use crate::litellm::owners::{ACCESS_GROUP_IDS, KEY_PARENTS, LINK, OWNER_TABLES, OwnerKind};
use crate::litellm::reference_sites::{PERMISSIONS, SiteTable, TABLES};

/// A table, a column of it, the column's type as PostgreSQL's `format_type` spells it, and whether
/// every LiteLLM that has the table has the column.
pub(crate) type Expected = (&'static str, &'static str, &'static str, bool);

/// Lists every column that is read or written: those of the tables that are looked at (`sites`),
/// and those that describe owners and servers.
///
/// Source: the migrations of litellm-proxy-extras 0.1.17 to 0.4.110: `String` is `text`, `String[]`
/// is `text[]`, `Json` is `jsonb`, and `DateTime` is `timestamp(3) without time zone`.
pub(crate) fn expected(sites: &[&'static SiteTable]) -> Vec<Expected> {
    let mut expected = vec![
        (SERVER_TABLE, SERVER_ID, "text", true),
        (PERMISSIONS.table, PERMISSIONS.key, "text", true),
    ];
    for table in sites.iter().copied().chain([&PERMISSIONS]) {
        let columns = table.sites.iter();
        expected.extend(columns.map(|s| (table.table, s.column, s.sql_type(), s.required)));
    }
    for owner in OWNER_TABLES.iter().filter(|owner| owner.required) {
        expected.push((owner.table, LINK, "text", true));
    }
    for table in TABLES {
        expected.push((table.table, table.key, "text", false));
        expected.extend(table.each().map(|each| (table.table, each, "text", false)));
        if let Some((at, by)) = table.touched {
            expected.push((table.table, at, "timestamp without time zone", false));
            expected.push((table.table, by, "text", false));
        }
    }
    for owner in &OWNER_TABLES {
        let parents = KEY_PARENTS.iter().copied();
        let parents = parents.filter(|_| owner.kind == OwnerKind::Key);
        for column in [LINK, owner.id, owner.name].into_iter().chain(parents) {
            expected.push((owner.table, column, "text", false));
        }
    }
    for column in SERVER_COLUMNS {
        expected.push((SERVER_TABLE, column, "text", false));
    }
    for (table, columns) in AROUND.into_iter().chain(ASSIGNED) {
        expected.extend(columns.iter().map(|c| (table, *c, type_around(c), false)));
    }
    expected.push((CONFIG.0, CONFIG.1, "text", false));
    expected
}

/// Returns the type of a column that decides what an emptied list means.
fn type_around(column: &str) -> &'static str {
    let [tags, open] = SERVER_SCOPE;
    if column == open {
        "boolean"
    } else if column == TOOLS {
        "jsonb"
    } else if [tags, TAGS, GROUP_SERVERS, ACCESS_GROUP_IDS].contains(&column)
        || column.starts_with("assigned_")
        || column == crate::db::schema::GRANTED_TOOLSETS
    {
        "text[]"
    } else {
        "text"
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn no_column_is_expected_to_be_of_two_types() {
        let mut types = BTreeMap::new();
        for (table, column, sql_type, _) in expected(&TABLES) {
            let first = *types.entry((table, column)).or_insert(sql_type);
            assert_eq!(first, sql_type, "{column} of {table}");
        }
        for (column, sql_type) in [
            ("team_id", "text"),
            ("assigned_team_ids", "text[]"),
            ("mcp_toolsets", "text[]"),
        ] {
            assert_eq!(type_around(column), sql_type);
        }
    }
}
