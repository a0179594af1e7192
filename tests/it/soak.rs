//! Repairs of permission rows and access groups in a loop, beside writers like LiteLLM's, for as
//! many seconds as `MCP_PRUNE_TEST_SOAK_SECONDS` says (5).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::run_on;
use crate::server::{TestDatabase, concurrent_server};

const ROWS: u32 = 40;

/// A server lives from before it is granted until its grants are forgotten. So every grant in
/// `granted` has to be in its row.
const LOST: &str = r#"
SELECT g."row" || ' ' || g."server" FROM granted AS g
LEFT JOIN (SELECT "object_permission_id" AS "row", "mcp_servers" AS "servers"
           FROM "LiteLLM_ObjectPermissionTable"
           UNION ALL SELECT "access_group_id", "access_mcp_server_ids"
           FROM "LiteLLM_AccessGroupTable") AS p ON p."row" = g."row"
WHERE p."servers" @> ARRAY[g."server"] IS NOT TRUE"#;

fn create_and_grant(writer: u32, turn: u32) -> String {
    let row = (writer * 7 + turn) % ROWS;
    format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id")
               VALUES (md5('{writer}-{turn}')::uuid::text);
           BEGIN;
           UPDATE "LiteLLM_ObjectPermissionTable"
               SET "mcp_servers" = "mcp_servers" || md5('{writer}-{turn}')::uuid::text
               WHERE "object_permission_id" = 'p-{row}';
           UPDATE "LiteLLM_AccessGroupTable"
               SET "access_mcp_server_ids" = "access_mcp_server_ids" || md5('{writer}-{turn}')::uuid::text
               WHERE "access_group_id" = 'g-{row}';
           INSERT INTO granted VALUES ('p-{row}', md5('{writer}-{turn}')::uuid::text),
                                      ('g-{row}', md5('{writer}-{turn}')::uuid::text);
           COMMIT;"#
    )
}

/// Deletes every other server it made a few turns ago, as LiteLLM does: the grants stay.
fn delete(writer: u32, turn: u32) -> String {
    let turn = turn.saturating_sub(3) / 2 * 2;
    format!(
        r#"BEGIN;
           DELETE FROM granted WHERE "server" = md5('{writer}-{turn}')::uuid::text;
           DELETE FROM "LiteLLM_MCPServerTable"
               WHERE "server_id" = md5('{writer}-{turn}')::uuid::text;
           COMMIT;"#
    )
}

/// Deletes a key and makes another with the same permission row.
fn renew_key(writer: u32, turn: u32) -> String {
    let row = (writer * 11 + turn) % ROWS;
    format!(
        r#"DELETE FROM "LiteLLM_VerificationToken" WHERE "key_alias" = 'k-{row}';
           INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "team_id", "object_permission_id")
               VALUES (md5(random()::text)::uuid::text, 'k-{row}', 't', 'p-{row}');"#
    )
}

#[test]
fn no_grant_that_should_live_is_lost_beside_writers() {
    if concurrent_server("a soak").is_none() {
        return;
    }
    let seconds = std::env::var("MCP_PRUNE_TEST_SOAK_SECONDS");
    let seconds = seconds.map_or(5, |seconds| seconds.parse().unwrap());
    let database = TestDatabase::with(&format!(
        r#"CREATE TABLE granted ("row" text, "server" text);
           INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('always');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               SELECT 'p-' || n, ARRAY['always'] FROM generate_series(0, {ROWS} - 1) AS n;
           INSERT INTO "LiteLLM_AccessGroupTable"
                   ("access_group_id", "access_group_name", "access_mcp_server_ids")
               SELECT 'g-' || n, n, ARRAY['always'] FROM generate_series(0, {ROWS} - 1) AS n;
           INSERT INTO granted SELECT 'p-' || n, 'always' FROM generate_series(0, {ROWS} - 1) AS n;
           INSERT INTO granted SELECT 'g-' || n, 'always' FROM generate_series(0, {ROWS} - 1) AS n;"#
    ));
    let stop = AtomicBool::new(false);
    let mut repaired = 0;
    thread::scope(|scope| {
        for writer in 0..3 {
            let (database, stop) = (&database, &stop);
            scope.spawn(move || {
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    database.execute(&create_and_grant(writer, turn));
                    database.execute(&delete(writer, turn));
                    database.execute(&renew_key(writer, turn));
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            let ran = run_on(database.url(), &["fix", "--yes", "--format", "json"]);
            if !matches!(ran.status, 0 | 3 | 5 | 6) {
                stop.store(true, Ordering::Relaxed);
                panic!("{ran}");
            }
            if matches!(ran.status, 0 | 3) {
                repaired += ran.json()["summary"]["rows_changed"].as_u64().unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(database.texts(LOST), Vec::<String>::new());
    assert!(repaired > 0, "nothing was repaired meanwhile");
    run_on(database.url(), &["fix", "--yes"]).exits(0);
    let scan = run_on(database.url(), &["scan", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(scan["summary"]["stale"], 0);
    assert_eq!(database.texts(LOST), Vec::<String>::new());
    println!("{repaired} rows repaired beside writers in {seconds} s, 0 grants lost");
}
