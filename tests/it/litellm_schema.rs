//! LiteLLM's real schema, release by release: the migrations that `litellm-proxy-extras` ships.
//!
//! `MCP_PRUNE_TEST_LITELLM_MIGRATIONS` names a folder with a folder of migrations for each
//! release; `.ci/run` downloads them. Nothing of them is kept in this repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::program::run_on;
use crate::samples::{GONE, LIVE};
use crate::server::{Server, TestDatabase, concurrent_server, skip};

pub(crate) fn releases() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("MCP_PRUNE_TEST_LITELLM_MIGRATIONS") else {
        skip(
            "LiteLLM's schema",
            "needs MCP_PRUNE_TEST_LITELLM_MIGRATIONS",
        );
        return Vec::new();
    };
    let mut releases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    releases.sort();
    assert!(releases.len() >= 4, "at least four releases: {releases:?}");
    releases
}

/// Applies a release's migrations in the order of their names, as Prisma does.
pub(crate) fn migrate(server: &Server, release: &Path) -> TestDatabase {
    let database = server.create(None);
    let mut migrations: Vec<PathBuf> = std::fs::read_dir(release)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("migration.sql"))
        .filter(|path| path.exists())
        .collect();
    migrations.sort();
    for migration in migrations {
        database.load(&std::fs::read_to_string(migration).unwrap());
    }
    database
}

fn has(database: &TestDatabase, table: &str, column: &str) -> bool {
    let found = database.texts(&format!(
        "SELECT attname::text FROM pg_attribute
         WHERE attrelid = to_regclass('\"{table}\"') AND attname = '{column}'"
    ));
    !found.is_empty()
}

/// Adds two servers, one of them deleted as LiteLLM does it, and grants to both at every level.
pub(crate) fn populate(database: &TestDatabase) {
    let mut sql = String::new();
    let tools = has(
        database,
        "LiteLLM_ObjectPermissionTable",
        "mcp_tool_permissions",
    );
    for (row, servers, permissions) in [
        (
            "p-mixed",
            format!("'{GONE}','{LIVE}','github'"),
            format!(r#"{{"{GONE}":["a"],"{LIVE}":["b"]}}"#),
        ),
        ("p-team", format!("'{GONE}'"), "null".to_owned()),
        ("p-alone", format!("'{GONE}'"), "{}".to_owned()),
        (
            "p-nobody",
            format!("'{GONE}'"),
            format!(r#"{{"{GONE}":[]}}"#),
        ),
        (
            "p-live",
            format!("'{LIVE}','no-mcp-servers'"),
            "{}".to_owned(),
        ),
    ] {
        writeln!(
            sql,
            r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('{row}', ARRAY[{servers}]);"#
        )
        .unwrap();
        if tools {
            writeln!(
                sql,
                r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_tool_permissions" = '{permissions}'
                   WHERE "object_permission_id" = '{row}';"#
            )
            .unwrap();
        }
    }
    for server in [LIVE, GONE] {
        let name = if server == LIVE { "github" } else { "slack" };
        writeln!(
            sql,
            r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias", "url", "transport")
               VALUES ('{server}', '{name}', 'http://127.0.0.1/mcp', 'http');"#
        )
        .unwrap();
    }
    writeln!(
        sql,
        r#"DELETE FROM "LiteLLM_MCPServerTable" WHERE "server_id" = '{GONE}';
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id",
                "admins", "members", "members_with_roles", "models", "blocked", "model_spend",
                "model_max_budget")
           VALUES ('team-1', 'core', 'p-team', '{{}}', '{{}}', '[]', '{{}}', false, '{{}}', '{{}}');
           INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "team_id", "object_permission_id")
           VALUES ('{}', 'ci-bot', 'team-1', 'p-mixed'), ('{}', 'alone', NULL, 'p-alone');"#,
        "a".repeat(64),
        "b".repeat(64)
    )
    .unwrap();
    database.load(&sql);
}

/// Writes the deny marker where the schema is of a release that knows it.
fn deny_what_is_left(database: &TestDatabase, knows_it: bool, context: &str) {
    let deny = [
        "fix",
        "--yes",
        "--strict",
        "--on-empty",
        "deny",
        "--no-config-servers",
    ];
    run_on(database.url(), &deny).exits(if knows_it { 0 } else { 3 });
    assert_eq!(
        database.texts(
            r#"SELECT "mcp_servers"::text FROM "LiteLLM_ObjectPermissionTable"
               WHERE "object_permission_id" = 'p-team'"#
        ),
        [format!(
            "{{{}}}",
            if knows_it { "no-mcp-servers" } else { GONE }
        )],
        "{context}"
    );
}

#[test]
fn a_deleted_server_is_found_and_repaired_on_every_release() {
    let Some(server) = concurrent_server("LiteLLM's schema") else {
        return;
    };
    for release in releases() {
        let database = migrate(server, &release);
        let context = release.display();
        populate(&database);
        let tools = has(
            &database,
            "LiteLLM_ObjectPermissionTable",
            "mcp_tool_permissions",
        );
        // Before 1.80.0 an emptied key would reach every server, and so would a key and a team
        // whose lists no longer share an entry: only a row nobody links to may be touched.
        let fails_closed = has(&database, "LiteLLM_AgentsTable", "agent_id");

        let scan = run_on(database.url(), &["scan", "--format", "json"])
            .exits(2)
            .json();
        let implied = match release.file_name().unwrap().to_str().unwrap() {
            "0.1.17" | "0.2.10" => "1.68.2",
            "0.4.45" => "1.81.14",
            "0.4.110" => "1.108.0",
            other => panic!("which LiteLLM has the schema of extras {other}?"),
        };
        assert_eq!(scan["litellm"]["schema_of"], implied, "{context}");
        assert_eq!(scan["litellm"].get("drift"), None, "{context}");
        assert_eq!(scan["summary"]["rows"], 4, "{context}");
        assert_eq!(
            scan["summary"]["stale"],
            if tools { 6 } else { 4 },
            "{context}"
        );
        assert_eq!(scan["summary"]["unverified"], 0, "{context}");
        assert_eq!(scan["servers"]["database"], 1, "{context}");

        let before = database.permission_rows();
        let dry = run_on(database.url(), &["fix", "--dry-run", "--format", "json"])
            .exits(2)
            .json();
        assert_eq!(database.permission_rows(), before, "{context}");
        let fix = run_on(database.url(), &["fix", "--yes", "--format", "json"])
            .exits(3)
            .json();
        assert_eq!(dry["changes"], fix["changes"], "{context}");

        let held: Vec<&str> = fix["held"]
            .as_array()
            .unwrap()
            .iter()
            .map(|held| held["row"].as_str().unwrap())
            .collect();
        let expected: &[&str] = if fails_closed {
            &["p-team"]
        } else {
            &["p-alone", "p-mixed", "p-team"]
        };
        assert_eq!(held, expected, "{context}");
        assert_eq!(
            database.texts(
                r#"SELECT "object_permission_id" || ' ' || "mcp_servers"::text
                   FROM "LiteLLM_ObjectPermissionTable" ORDER BY 1"#
            ),
            [
                format!("p-alone {{{}}}", if fails_closed { "" } else { GONE }),
                format!("p-live {{{LIVE},no-mcp-servers}}"),
                if fails_closed {
                    format!("p-mixed {{{LIVE},github}}")
                } else {
                    format!("p-mixed {{{GONE},{LIVE},github}}")
                },
                "p-nobody {}".to_owned(),
                format!("p-team {{{GONE}}}"),
            ],
            "{context}"
        );
        if tools {
            assert_eq!(
                database.texts(
                    r#"SELECT "mcp_tool_permissions"::text FROM "LiteLLM_ObjectPermissionTable"
                       ORDER BY "object_permission_id""#
                ),
                ["{}", "{}", &format!(r#"{{"{LIVE}": ["b"]}}"#), "{}", "null"],
                "{context}"
            );
        }
        let scan = run_on(database.url(), &["scan", "--format", "json"])
            .exits(2)
            .json();
        assert_eq!(scan["summary"]["stale"], expected.len(), "{context}");
        run_on(database.url(), &["fix", "--yes"]).exits(3);

        deny_what_is_left(&database, fails_closed, &context.to_string());
    }
}

#[test]
fn nothing_of_a_real_release_is_unknown_and_nothing_else_names_a_server() {
    let Some(server) = concurrent_server("LiteLLM's schema") else {
        return;
    };
    for release in releases() {
        let database = migrate(server, &release);
        populate(&database);
        let doctor = ["doctor", "--deep", "--format", "json"];
        let doctor = run_on(database.url(), &doctor).exits(0).json();
        let checks = doctor["checks"].as_array().unwrap();
        for name in ["drift", "references-elsewhere"] {
            let check = checks.iter().find(|check| check["name"] == name);
            let context = release.display();
            assert_eq!(check.unwrap()["status"], "ok", "{context} {check:?}");
        }
    }
}

#[test]
fn groups_toolsets_and_defaults_are_repaired_on_every_release_that_has_them() {
    let Some(server) = concurrent_server("LiteLLM's schema") else {
        return;
    };
    let releases = releases();
    if releases.is_empty() {
        return;
    }
    let mut tables = 0;
    for release in releases {
        let database = migrate(server, &release);
        let context = release.display();
        let mut sql = format!(
            r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "url", "transport")
               VALUES ('{LIVE}', 'http://127.0.0.1/mcp', 'http');"#
        );
        let mut places = 0;
        if has(
            &database,
            "LiteLLM_AccessGroupTable",
            "access_mcp_server_ids",
        ) {
            places += 1;
            writeln!(
                sql,
                r#"INSERT INTO "LiteLLM_AccessGroupTable"
                       ("access_group_id", "access_group_name", "access_mcp_server_ids")
                   VALUES ('ag', 'ag', ARRAY['{GONE}', '{LIVE}']);"#
            )
            .unwrap();
        }
        if has(&database, "LiteLLM_MCPToolsetTable", "tools") {
            places += 1;
            writeln!(
                sql,
                r#"INSERT INTO "LiteLLM_MCPToolsetTable" ("toolset_id", "toolset_name", "tools")
                   VALUES ('ts', 'ts', '[{{"server_id": "{GONE}", "tool_name": "x"}},
                                         {{"server_id": "{LIVE}", "tool_name": "y"}}]');"#
            )
            .unwrap();
        }
        if has(&database, "LiteLLM_Config", "param_value") {
            places += 1;
            writeln!(
                sql,
                r#"INSERT INTO "LiteLLM_Config" ("param_name", "param_value") VALUES
                       ('litellm_settings', '{{"public_mcp_servers": ["{GONE}"]}}');"#
            )
            .unwrap();
        }
        tables += places;
        database.load(&sql);
        let fix = run_on(database.url(), &["fix", "--yes", "--format", "json"])
            .exits(0)
            .json();
        assert_eq!(fix["summary"]["rows_changed"], places, "{context}");
        let scan = run_on(database.url(), &["scan", "--format", "json"]).exits(0);
        assert_eq!(scan.json()["summary"]["rows"], 0, "{context}");
    }
    assert!(tables >= 5, "{tables} places in all releases");
}

#[test]
fn what_users_left_is_deleted_and_put_back_on_every_release_that_keeps_it() {
    let Some(server) = concurrent_server("LiteLLM's schema") else {
        return;
    };
    let releases = releases();
    if releases.is_empty() {
        return;
    }
    let mut tables = 0;
    for release in releases {
        let database = migrate(server, &release);
        let context = release.display();
        let mut sql = format!(
            r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "url", "transport")
               VALUES ('{LIVE}', 'http://127.0.0.1/mcp', 'http');"#
        );
        let mut kept = Vec::new();
        for (table, secret) in [
            ("LiteLLM_MCPUserCredentials", "credential_b64"),
            ("LiteLLM_MCPUserEnvVars", "values_b64"),
        ] {
            if !has(&database, table, secret) {
                continue;
            }
            kept.push(format!(r#"SELECT t::text FROM "{table}" AS t"#));
            writeln!(
                sql,
                r#"INSERT INTO "{table}" ("id", "user_id", "server_id", "{secret}")
                   SELECT u || s, 'user ' || u, s, 'gAAAAA_' || u
                   FROM generate_series(1, 3) AS u, unnest(ARRAY['{LIVE}', '{GONE}']) AS s;"#
            )
            .unwrap();
        }
        database.load(&sql);
        let rows = || match kept.len() {
            0 => Vec::new(),
            _ => database.texts(&format!("{} ORDER BY 1", kept.join(" UNION ALL "))),
        };
        let before = rows();
        tables += kept.len();
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let journal = journal.to_str().unwrap();
        let sites = ["--sites", "credentials", "--format", "json"];
        let fix = [
            &["fix", "--yes", "--delete-rows", "--journal", journal],
            &sites[..],
        ]
        .concat();
        let fix = run_on(database.url(), &fix).exits(0).json();
        assert_eq!(fix["summary"]["rows_changed"], 3 * kept.len(), "{context}");
        let left = rows();
        assert_eq!(left.len(), 3 * kept.len(), "{context}");
        assert!(!left.join(" ").contains(GONE), "{context}");
        let scan = run_on(database.url(), &[&["scan"], &sites[..]].concat()).exits(0);
        assert_eq!(scan.json()["summary"]["rows"], 0, "{context}");
        if !kept.is_empty() {
            run_on(database.url(), &["undo", "--yes", journal, "--no-journal"]).exits(0);
            assert_eq!(rows(), before, "{context}");
        }
    }
    assert!(tables >= 2, "{tables} tables in all releases");
}
