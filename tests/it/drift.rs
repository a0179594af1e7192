//! A schema of a newer LiteLLM than this program knows, made by a migration that nobody wrote.

use serde_json::{Value, json};

use crate::program::{Ran, run_on};
use crate::samples::{NOWHERE, demo};
use crate::server::TestDatabase;

/// The id of a server of the demo.
const LIVE: &str = "3f6d1b52-7c1e-4b0a-9d39-8c5f0f6a1e01";

/// The secret in a row that the search reads past.
const SECRET: &str = "s3cret-of-nobody";

/// Adds a table and columns as a future LiteLLM may, each with the id of a live server somewhere.
fn migrated() -> TestDatabase {
    let database = demo();
    database.load(&format!(
        r#"CREATE TABLE "LiteLLM_Squad" (
               "squad_id" text PRIMARY KEY,
               "mcp_server_ids" text[] NOT NULL DEFAULT '{{}}',
               "mcp_enabled" boolean NOT NULL DEFAULT true,
               "config" jsonb
           );
           INSERT INTO "LiteLLM_Squad" VALUES
               ('s1', ARRAY['{LIVE}'], true,
                '{{"tools": {{"{LIVE}": ["x"]}}, "Ann Smith": {{"id": "{LIVE}"}},
                   "mcp_servers": [], "password": "{SECRET}"}}'),
               ('s2', '{{}}', true, NULL);
           ALTER TABLE "LiteLLM_VerificationToken" ADD COLUMN "default_mcp_server" text;
           ALTER TABLE "LiteLLM_VerificationToken" ADD COLUMN "colour" text;
           UPDATE "LiteLLM_VerificationToken" SET "default_mcp_server" = '{LIVE}';"#
    ));
    database
}

fn check(ran: &Ran, name: &str) -> Value {
    let report = ran.json();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {ran}")).clone()
}

const UNKNOWN: &str = "no known release has table LiteLLM_Squad and columns \
                       LiteLLM_VerificationToken.colour, \
                       LiteLLM_VerificationToken.default_mcp_server";

const SUSPECTS: &str = "they are not looked at: LiteLLM_Squad.mcp_server_ids (text[]), \
                        LiteLLM_VerificationToken.default_mcp_server (text)";

#[test]
fn scan_tells_what_no_known_release_has() {
    let database = migrated();
    let ran = run_on(database.url(), &["scan", "--format", "json"]).exits(2);
    let ran = ran.says(UNKNOWN).says(SUSPECTS);
    let drift = &ran.json()["litellm"]["drift"];
    assert_eq!(drift["newest_known"], "1.110.2");
    assert_eq!(drift["tables"], json!(["LiteLLM_Squad"]));
    let columns = drift["columns"].as_array().unwrap();
    let suspects: Vec<&Value> = columns
        .iter()
        .filter(|column| column["may_hold_references"] == true)
        .map(|column| &column["column"])
        .collect();
    assert_eq!(suspects, ["mcp_server_ids", "default_mcp_server"]);
    assert_eq!(columns.len(), 6, "{columns:?}");
}

#[test]
fn fix_works_there_and_strict_refuses() {
    let database = migrated();
    let before = database.permission_rows();
    let strict = ["fix", "--yes", "--strict"];
    let ran = run_on(database.url(), &strict).exits(4);
    ran.says(UNKNOWN).says("leave out --strict");
    assert_eq!(database.permission_rows(), before);
    let squads = r#"SELECT t::text FROM "LiteLLM_Squad" AS t ORDER BY 1"#;
    let squads_before = database.texts(squads);
    let fix = ["fix", "--yes", "--format", "json"];
    let ran = run_on(database.url(), &fix).exits(3).says(SUSPECTS);
    assert_eq!(ran.json()["litellm"]["drift"]["newest_known"], "1.110.2");
    assert_ne!(database.permission_rows(), before);
    assert_eq!(database.texts(squads), squads_before);
    // A schema that is known is not refused.
    run_on(demo().url(), &strict).exits(3);
}

#[test]
fn what_cannot_hold_references_is_noted_and_not_warned_of() {
    let database = demo();
    database.execute(r#"ALTER TABLE "LiteLLM_TeamTable" ADD COLUMN "colour" text"#);
    let ran = run_on(database.url(), &["scan"]).exits(2);
    let ran = ran
        .says("the schema is newer than LiteLLM 1.110.2")
        .says("no known release has column LiteLLM_TeamTable.colour");
    assert!(!ran.stderr.contains("may hold references"), "{ran}");
    assert!(!ran.stderr.contains("warning"), "{ran}");
}

#[test]
fn a_partition_and_a_table_of_somebody_else_are_no_drift() {
    let database = demo();
    database.load(
        r#"CREATE TABLE my_mcp_servers (id text);
           CREATE TABLE "LiteLLM_SpendLogs" ("request_id" text, "startTime" timestamp)
               PARTITION BY RANGE ("startTime");
           CREATE TABLE "LiteLLM_SpendLogs_2026" PARTITION OF "LiteLLM_SpendLogs"
               FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');"#,
    );
    let ran = run_on(database.url(), &["scan", "--format", "json"]).exits(2);
    assert_eq!(ran.json()["litellm"].get("drift"), None, "{ran}");
    assert!(!ran.to_string().contains("newer than"), "{ran}");
}

#[test]
fn doctor_tells_by_name_and_deep_by_value_and_shows_no_value() {
    let database = migrated();
    let ran = run_on(database.url(), &["doctor", "--format", "json"]).exits(0);
    let drift = check(&ran, "drift");
    assert_eq!(drift["status"], "warn");
    assert!(
        drift["found"].as_str().unwrap().contains(UNKNOWN),
        "{drift}"
    );
    assert_eq!(drift["places"].as_array().unwrap().len(), 2);
    assert_eq!(drift["places"][0]["sign"], "name");

    let deep = ["doctor", "--deep", "--format", "json"];
    let ran = run_on(database.url(), &deep).exits(0);
    let check = check(&ran, "references-elsewhere");
    assert_eq!(check["status"], "warn", "{check}");
    let place = |table: &str, column: &str, sql_type: &str, path: &[&str], sign: &str| {
        json!({
            "table": table, "column": column, "type": sql_type, "path": path, "sign": sign,
        })
    };
    let squad = "LiteLLM_Squad";
    let expected = [
        place(squad, "config", "jsonb", &["*", "id"], "value"),
        place(squad, "config", "jsonb", &["mcp_servers"], "name"),
        place(squad, "config", "jsonb", &["tools", "*"], "value"),
        place(squad, "mcp_server_ids", "text[]", &["*"], "value"),
        place(
            "LiteLLM_VerificationToken",
            "default_mcp_server",
            "text",
            &[],
            "value",
        ),
    ];
    assert_eq!(check["places"], json!(expected));
    let found = check["found"].as_str().unwrap();
    assert!(found.contains("LiteLLM_Squad.config (jsonb) at tools.*"));
    for value in [SECRET, LIVE, "Ann Smith"] {
        assert!(!ran.to_string().contains(value), "{value} in {ran}");
    }
}

#[test]
fn a_deep_search_of_a_known_schema_finds_nothing_and_says_what_it_may_not_read() {
    let database = demo();
    let deep = ["doctor", "--deep", "--format", "json"];
    let ran = run_on(database.url(), &deep).exits(0);
    let check_of = |ran: &Ran| check(ran, "references-elsewhere");
    assert_eq!(check_of(&ran)["status"], "ok", "{ran}");
    assert_eq!(check_of(&ran).get("places"), None);
    let role = format!("{}_narrow", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 's3cret'"));
    let (_, address) = database.url().split_once('@').unwrap();
    let url = format!("postgresql://{role}:s3cret@{address}");
    let grants = run_on(database.url(), &["grants", "--role", &role]).exits(0);
    database.load(&grants.stdout);
    let ran = run_on(&url, &deep).exits(0);
    let check = check_of(&ran);
    assert_eq!(check["status"], "warn", "{check}");
    let found = check["found"].as_str().unwrap();
    assert!(found.contains("which this role may not read"), "{found}");
}

#[test]
fn a_deep_search_leaves_out_columns_that_hold_secrets() {
    let database = demo();
    database.load(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerOAuthClient" ("server_id", "credentials")
               VALUES ('{LIVE}', '{{"mcp_servers": ["{LIVE}"]}}');
           UPDATE "LiteLLM_MCPUserCredentials" SET "credential_b64" = '{LIVE}';
           INSERT INTO "LiteLLM_MCPUserEnvVars" ("id", "user_id", "server_id", "values_b64")
               VALUES ('e', 'u', '{LIVE}', '{LIVE}');
           UPDATE "LiteLLM_AgentsTable" SET "litellm_params" = '{{"mcp_server": "{LIVE}"}}';
           INSERT INTO "LiteLLM_Config" ("param_name", "param_value")
               VALUES ('environment_variables', '{{"A": "{LIVE}"}}');
           ALTER TABLE "LiteLLM_AgentsTable" ADD COLUMN "static_headers" jsonb;
           ALTER TABLE "LiteLLM_TeamTable" ADD COLUMN "metadata" jsonb;
           UPDATE "LiteLLM_TeamTable" SET "metadata" = '{{"mcp_servers": "{LIVE}"}}';
           CREATE TABLE "LiteLLM_SSOConfig" ("id" text PRIMARY KEY, "sso_settings" jsonb);
           INSERT INTO "LiteLLM_SSOConfig" VALUES ('sso', '["{LIVE}"]');"#
    ));
    let ran = run_on(database.url(), &["doctor", "--deep", "--format", "json"]).exits(0);
    let check = check(&ran, "references-elsewhere");
    assert_eq!(check["status"], "ok", "{check}");
    assert_eq!(check.get("places"), None, "{check}");
}

#[test]
fn a_deep_search_tells_what_it_left_out() {
    let database = demo();
    database.load(&format!(
        r#"CREATE TABLE "LiteLLM_Squad" ("id" text, "notes" text, "more" jsonb);
           ALTER TABLE "LiteLLM_Squad" ALTER COLUMN "notes" SET STORAGE EXTERNAL;
           INSERT INTO "LiteLLM_Squad" VALUES ('s1', '{LIVE}' || repeat('x', 20000), NULL);"#
    ));
    let deep = ["doctor", "--deep", "--format", "json"];
    let found = || {
        let ran = run_on(database.url(), &deep).exits(0);
        let check = check(&ran, "references-elsewhere");
        let found = check["found"].as_str().unwrap().to_owned();
        (check["status"].as_str().unwrap().to_owned(), found)
    };
    let above = "not the values above 16 kB in LiteLLM_Squad.notes";
    let (status, told) = found();
    assert_eq!(status, "ok", "{told}");
    assert!(told.contains(above), "{told}");
    // Each pair of letters is a path of its own.
    database.load(&format!(
        r#"INSERT INTO "LiteLLM_Squad" SELECT 's2', NULL, jsonb_object_agg(
               chr(97 + a) || chr(97 + b), '{LIVE}'::text)
           FROM generate_series(0, 20) AS a, generate_series(0, 20) AS b;"#
    ));
    let (status, told) = found();
    assert_eq!(status, "warn", "{told}");
    let cut = "there are more such places than are listed in LiteLLM_Squad";
    assert!(told.contains(cut) && told.contains(above), "{told}");
}

#[test]
fn a_deep_search_that_cannot_read_the_servers_warns() {
    let database = demo();
    let role = format!("{}_blind", database.name());
    database.load(&format!(
        r#"CREATE ROLE {role} LOGIN PASSWORD 's3cret';
           GRANT SELECT ON "LiteLLM_TeamTable" TO {role};"#
    ));
    let (_, address) = database.url().split_once('@').unwrap();
    let url = format!("postgresql://{role}:s3cret@{address}");
    let ran = run_on(&url, &["doctor", "--deep", "--format", "json"]).exits(7);
    let check = check(&ran, "references-elsewhere");
    assert_eq!(check["status"], "warn", "{check}");
    let found = check["found"].as_str().unwrap();
    assert!(found.starts_with("nothing was searched: "), "{found}");
}

#[test]
fn a_deep_search_is_skipped_where_the_tables_are_not_litellms() {
    let database = demo();
    database.execute(r#"DROP TABLE "LiteLLM_ObjectPermissionTable" CASCADE"#);
    let ran = run_on(database.url(), &["doctor", "--deep", "--format", "json"]).exits(1);
    assert_eq!(check(&ran, "references-elsewhere")["status"], "skipped");
    let ran = run_on(NOWHERE, &["doctor", "--deep", "--format", "json"]).exits(7);
    assert_eq!(check(&ran, "references-elsewhere")["status"], "skipped");
}
