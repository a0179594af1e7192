//! Places besides permission rows, repaired, planned and taken back; and commands limited to some.

use serde_json::json;

use crate::program::run_on;
use crate::samples::{GONE, case, script};
use crate::server::{TestDatabase, concurrent_server};

fn company() -> TestDatabase {
    case("sites")
}

#[test]
fn what_was_repaired_anywhere_is_put_back() {
    let database = company();
    // Whoever wrote last is not put back: that is the undo now.
    database.execute(r#"UPDATE "LiteLLM_AccessGroupTable" SET "updated_by" = 'mcp-prune'"#);
    database.execute(r#"UPDATE "LiteLLM_MCPToolsetTable" SET "updated_by" = 'mcp-prune'"#);
    let before = database.other_rows();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [plan, journal] = [file("plan"), file("journal")];
    let remap = format!("{GONE}=jira");
    let plan_out = ["fix", "--dry-run", "--remap", &remap, "--plan-out", &plan];
    run_on(database.url(), &plan_out).exits(2);
    assert_eq!(database.other_rows(), before);
    let carry_out = ["fix", "--yes", "--plan", &plan, "--journal", &journal];
    run_on(database.url(), &carry_out).exits(0);
    let after = database.other_rows();
    assert!(
        after != before && after.iter().all(|row| !row.contains(GONE)),
        "{after:?}"
    );
    run_on(database.url(), &["undo", "--yes", &journal, "--no-journal"]).exits(0);
    assert_eq!(database.other_rows(), before);
}

#[test]
fn the_settings_beside_a_place_are_neither_changed_nor_journalled() {
    let database = company();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let fix = [
        "fix",
        "--yes",
        "--sites",
        "defaults",
        "--journal",
        journal.to_str().unwrap(),
    ];
    let told = run_on(database.url(), &fix).exits(0);
    let journal = std::fs::read_to_string(&journal).unwrap();
    assert!(!format!("{told}{journal}").contains("sk-secret"));
    let kept = r#"SELECT ("param_value" #- '{public_mcp_servers}'
                                        #- '{default_key_generate_params,object_permission}')::text
                  FROM "LiteLLM_Config" ORDER BY "param_name""#;
    assert_eq!(
        database.texts(kept),
        [
            r#"{"master_key": "sk-secret"}"#,
            r#"{"api_key": "sk-secret", "drop_params": true, "default_key_generate_params": {"max_budget": 1.50}}"#,
        ]
    );
}

/// PostgreSQL deletes no path from a value that is no object, and none that leads into an array.
#[test]
fn a_place_that_is_no_longer_there_is_a_conflict_and_no_error() {
    let database = company();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let fix = ["fix", "--yes", "--sites", "defaults", "--journal", journal];
    run_on(database.url(), &fix).exits(0);
    let set = |settings: &str| {
        database.execute(&format!(
            r#"UPDATE "LiteLLM_Config" SET "param_value" = '{settings}'
               WHERE "param_name" = 'litellm_settings'"#
        ));
    };
    for settings in [
        "null",
        r#""text""#,
        "[1]",
        r#"{"default_key_generate_params": [1]}"#,
        r#"{"default_key_generate_params": {"object_permission": ["x"]}}"#,
    ] {
        set(settings);
        let undo = ["undo", "--yes", journal, "--no-journal"];
        run_on(database.url(), &undo).exits(5);
    }
    set(&format!(
        r#"{{"default_key_generate_params": {{"object_permission": ["x"]}}, "public_mcp_servers": ["{GONE}"]}}"#
    ));
    run_on(
        database.url(),
        &[
            "fix",
            "--yes",
            "--sites",
            "defaults",
            "--no-journal",
            "--exit-zero",
        ],
    )
    .exits(0);
    let kept = r#"SELECT "param_value"::text FROM "LiteLLM_Config"
                  WHERE "param_name" = 'litellm_settings'"#;
    let repaired = r#"{"public_mcp_servers": [], "default_key_generate_params": {"object_permission": ["x"]}}"#;
    assert_eq!(database.texts(kept), [repaired]);
}

#[test]
fn a_group_that_changes_meanwhile_stops_a_repair_of_everything() {
    let Some(_) = concurrent_server("a locked group") else {
        return;
    };
    let database = company();
    let before = (database.permission_rows(), database.other_rows());
    let lock = r#"SELECT FROM "LiteLLM_AccessGroupTable" FOR UPDATE"#;
    crate::concurrent::while_open(&database, lock, || {
        run_on(database.url(), &["fix", "--yes", "--lock-timeout", "0.3"]).exits(6);
    });
    assert_eq!((database.permission_rows(), database.other_rows()), before);
}

#[test]
fn a_command_is_limited_to_owners_references_and_rows() {
    let database = company();
    let rows = |filter: &[&str]| {
        let args = [&["scan", "--format", "json"], filter].concat();
        let findings = run_on(database.url(), &args).exits(2).json()["findings"].take();
        let rows = findings.as_array().unwrap().iter();
        let mut rows: Vec<String> = rows
            .map(|f| f["row"].as_str().unwrap().to_owned())
            .collect();
        rows.dedup();
        rows
    };
    assert_eq!(rows(&["--owner", "team:platform"]), ["ag-last"]);
    assert_eq!(
        rows(&["--owner", "key:ci-bot"]),
        ["ag-mixed", "ts-mixed", "p-key"]
    );
    assert_eq!(
        rows(&["--row", "ts-last", "--row", "ag-last"]),
        ["ag-last", "ts-last"]
    );
    assert_eq!(
        rows(&["--reference", GONE, "--sites", "access-groups"]),
        ["ag-last", "ag-mixed"]
    );
    for (filter, told) in [
        (["--owner", "team:gone"], "there is no team gone"),
        (["--row", "p-gone"], "there is no row p-gone"),
        (["--reference", "jira"], "it is a server that is served"),
        (["--reference", "nowhere"], "no row looked at names it"),
    ] {
        let args = [&["scan"], &filter[..]].concat();
        run_on(database.url(), &args).exits(1).says(told);
    }
}

#[test]
fn a_repair_of_one_reference_leaves_the_others() {
    let database = company();
    let other = "0a9b8c7d-6e5f-4a3b-8c2d-1e0f9a8b7c6d";
    let fix = ["fix", "--yes", "--format", "json", "--reference", other];
    let fix = run_on(database.url(), &fix).exits(0).json();
    assert_eq!(fix["summary"]["references_removed"], 2);
    let scan = run_on(database.url(), &["scan", "--format", "json"])
        .exits(2)
        .json();
    let findings = scan["findings"].as_array().unwrap().iter();
    let stale: Vec<_> = findings.filter(|f| f["kind"] == "stale").collect();
    assert_eq!(stale.len(), 7);
    assert!(stale.iter().all(|f| f["reference"] == json!(GONE)));
}

#[test]
fn a_name_is_no_successor_where_ids_alone_count() {
    let database = company();
    database.execute(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "server_name") VALUES
               ('id-1', 'twice'), ('id-2', 'twice')"#,
    );
    let remap = format!("{GONE}=twice");
    let fix = [
        "fix",
        "--dry-run",
        "--sites",
        "toolsets",
        "--format",
        "json",
        "--remap",
        &remap,
    ];
    let fix = run_on(database.url(), &fix).exits(2).json();
    assert_eq!(fix["changes"], json!([]));
    let held = fix["held"].as_array().unwrap();
    assert!(
        !held.is_empty() && held.iter().all(|h| h["reason"] == "needs-id"),
        "{held:?}"
    );
}

#[test]
fn tags_of_servers_may_hold_anything() {
    let database = company();
    let scan = || {
        let scan = run_on(database.url(), &["scan", "--format", "json"]).exits(2);
        scan.json()["findings"].take()
    };
    let before = scan();
    database.execute(
        r#"UPDATE "LiteLLM_MCPServerTable"
           SET "mcp_access_groups" = ARRAY['', 'NULL', NULL, 'a"b\c', 'd,e', '{f}']"#,
    );
    assert_eq!(scan(), before);
}

/// A server orders by bytes of its own encoding, and this one has U+0451 before U+0430.
#[test]
fn owners_of_rows_are_known_in_every_encoding() {
    if concurrent_server("a second database").is_none() {
        return;
    }
    let beside = TestDatabase::empty();
    let name = format!("{}_1251", beside.name());
    beside.execute(&format!(
        "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'WIN1251' LC_COLLATE 'C' LC_CTYPE 'C'"
    ));
    let (server, _) = beside.url().rsplit_once('/').unwrap();
    let database = TestDatabase::at(format!("{server}/{name}"));
    database.load(&script("schema"));
    let keys = ["\u{451}", "\u{430}", "\u{431}", "\u{44f}"].map(|key| format!("'{key}'"));
    let keys = keys.join(", ");
    database.load(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('live');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           SELECT k, '{{{GONE}}}' FROM unnest(ARRAY[{keys}]) AS k;
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id")
           SELECT 'team ' || "object_permission_id", "object_permission_id"
           FROM "LiteLLM_ObjectPermissionTable";"#
    ));
    let before = database.permission_rows();
    let fix = ["fix", "--yes", "--no-journal", "--format", "json"];
    let report = run_on(database.url(), &fix).exits(3).json();
    assert_eq!(report["summary"]["rows_held"], 4);
    assert_eq!(database.permission_rows(), before);
    beside.execute(&format!("DROP DATABASE {name}"));
}

#[test]
fn a_toolset_that_is_gone_is_told_as_the_outage_that_it_is() {
    let database = TestDatabase::with(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_toolsets")
               VALUES ('p-team', '{gone}'), ('p-key', '{gone}');
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id")
               VALUES ('t-1', 'core', 'p-team');
           INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "object_permission_id")
               VALUES ('dcf1f059cedd01b2d9347bd1010bbabdbc54616cf25e2d6c5d103e63b64f0def', 'ci', 'p-key');"#,
    );
    let _ = run_on(database.url(), &["scan", "--no-config-servers"])
        .exits(2)
        .prints("LiteLLM denies every MCP server to all callers of team core (t-1).")
        .prints("Such a toolset grants nothing to key ci (dcf1f059).");
    let args = ["scan", "--no-config-servers", "--format", "json"];
    let report = run_on(database.url(), &args).exits(2).json();
    let detail = report["findings"][0]["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("denies every MCP server to a team"),
        "{detail}"
    );
}
