//! Arrays of every shape: nothing stale or unreadable in them is overlooked, wherever it stands.

use std::collections::BTreeSet;

use crate::program::run_on;
use crate::server::TestDatabase;

/// Arrays in which all is well. The servers have the ids 1, 2, ..., and the aliases `alias-1`, ...
const WELL: [(&str, &str); 8] = [
    ("none", "NULL"),
    ("empty", "'{}'"),
    ("id", "ARRAY['1']"),
    ("alias", "ARRAY['1', 'alias-2']"),
    ("twice", "ARRAY['1', '1']"),
    ("eight", "ARRAY['1', '2', '3', '4', '5', '6', '7', '8']"),
    ("nine", "ARRAY['1', '2', '3', '4', '5', '6', '7', '8', '9']"),
    ("shifted", "'[0:2]={1,2,3}'"),
];

/// Arrays that must be found.
const FOUND: [(&str, &str); 16] = [
    ("only", "ARRAY['gone']"),
    ("first", "ARRAY['gone', '1']"),
    ("last", "ARRAY['1', 'gone']"),
    (
        "last of eight",
        "ARRAY['1', '2', '3', '4', '5', '6', '7', 'gone']",
    ),
    (
        "last of nine",
        "ARRAY['1', '2', '3', '4', '5', '6', '7', '8', 'gone']",
    ),
    ("beside alias", "ARRAY['alias-2', 'gone']"),
    ("empty text", "ARRAY['1', '']"),
    ("null", "ARRAY[NULL]::text[]"),
    ("null first", "ARRAY[NULL, '1']"),
    ("null last", "ARRAY['1', NULL]"),
    (
        "null of eight",
        "ARRAY['1', '2', '3', NULL, '5', '6', '7', '8']",
    ),
    (
        "null of nine",
        "ARRAY['1', '2', '3', NULL, '5', '6', '7', '8', '9']",
    ),
    ("nested", "ARRAY[['1', '2'], ['3', '4']]"),
    ("nested one", "ARRAY[['1']]"),
    ("shifted and gone", "'[2:3]={1,gone}'"),
    ("below and gone", "'[0:1]={gone,1}'"),
];

/// Makes a row of each array, beside so many servers.
fn database_with(servers: usize) -> TestDatabase {
    let rows = WELL.iter().chain(&FOUND);
    let rows = rows.map(|(key, array)| format!("('{key}', {array})"));
    let rows: Vec<String> = rows.collect();
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias")
           SELECT n, 'alias-' || n FROM generate_series(1, {servers}) AS n;
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES {};"#,
        rows.join(", ")
    ))
}

#[test]
fn what_is_stale_or_unreadable_is_found_wherever_it_stands() {
    // So few that ids are looked up in place, and too many for that.
    for servers in [9, 1_001] {
        let database = database_with(servers);
        let scan = ["scan", "--no-config-servers", "--format", "json"];
        let report = run_on(database.url(), &scan).exits(2).json();
        let findings = report["findings"].as_array().unwrap().iter();
        let found: BTreeSet<&str> = findings
            .filter_map(|finding| finding["row"].as_str())
            .collect();
        let expected = FOUND.map(|(key, _)| key);
        assert_eq!(found, BTreeSet::from(expected), "{servers} servers");
    }
}
