//! Rows with very many entries: they are repaired in time and memory that grow with them, or
//! refused by their key.

use crate::program::{mcp_prune, run, run_on};
use crate::server::TestDatabase;

/// Makes a key's row with so many deleted servers in its list, and half as many with tools.
fn row_of(entries: usize) -> TestDatabase {
    let half = entries / 2;
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('id-1');
        INSERT INTO "LiteLLM_ObjectPermissionTable"
            ("object_permission_id", "mcp_servers", "mcp_tool_permissions")
        SELECT 'p-large', array_agg(gone.id) || 'id-1'::text,
               jsonb_object_agg(gone.id, '["t"]'::jsonb) FILTER (WHERE gone.n <= {half})
        FROM (SELECT n, md5(n::text)::uuid::text FROM generate_series(1, {entries} - 1) AS n)
             AS gone (n, id);
        INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id")
            VALUES ('team', 'p-large');"#
    ))
}

#[test]
fn a_row_with_very_many_entries_is_shown_repaired_and_taken_back() {
    let database = row_of(20_000);
    let url = database.url();
    let before = database.permission_rows();
    for format in crate::program::formats().filter(|format| *format != "table") {
        let ran = run_on(url, &["scan", "--notes", "--format", format]).exits(2);
        assert!(ran.stdout.len() > 20_000 * 36, "{format}");
    }
    let ran = run_on(url, &["scan"]).exits(2);
    let ran = ran.prints("29999 stale references in 1 row.");
    let ran = ran.prints("200 of 19999 lines are shown: --limit 0 shows all");
    assert!(ran.stdout.len() < 200_000, "{} bytes", ran.stdout.len());
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let ran = run_on(url, &["fix", "--yes", "--journal", journal]).exits(0);
    let ran = ran.prints("200 of 19999 lines are shown");
    assert!(ran.stdout.len() < 300_000, "{} bytes", ran.stdout.len());
    assert_eq!(database.permission_rows().len(), 1);
    let _ = run_on(url, &["undo", "--yes", "--no-journal", journal]).exits(0);
    assert!(database.permission_rows() == before);
}

#[test]
fn what_stays_in_an_object_of_tools_is_not_written_anew() {
    let database = row_of(1_000);
    let own = r#"{"id-1": ["b", "a", "b"], "no": [], "s p": ["ü"]}"#;
    database.execute(&format!(
        r#"UPDATE "LiteLLM_ObjectPermissionTable"
           SET "mcp_tool_permissions" = "mcp_tool_permissions" || '{own}'"#
    ));
    let _ = run_on(database.url(), &["fix", "--yes", "--no-journal"]).exits(0);
    let left = database
        .texts(r#"SELECT "mcp_tool_permissions"::text FROM "LiteLLM_ObjectPermissionTable""#);
    assert_eq!(
        left,
        [r#"{"no": [], "s p": ["ü"], "id-1": ["b", "a", "b"]}"#]
    );
}

#[test]
fn a_row_with_more_than_is_read_is_refused_by_its_key() {
    let database = row_of(100_001);
    let before = database.permission_rows();
    for args in [
        &["scan"][..],
        &["fix", "--yes", "--no-journal"],
        &["fix", "--dry-run", "--format", "ndjson"],
    ] {
        let ran = run_on(database.url(), args).exits(4);
        let _ = ran
            .says("error: row p-large of \"LiteLLM_ObjectPermissionTable\" holds 100001 entries")
            .says("hint: shorten the list in LiteLLM, or name the rows to look at with --row");
    }
    assert!(database.permission_rows() == before);
    // Rows besides are looked at.
    let _ = run_on(database.url(), &["scan", "--sites", "toolsets"]).exits(0);
}

#[test]
fn a_stream_needs_no_folder_for_temporary_files() {
    let database = row_of(30_000);
    for (args, status) in [(&["scan"][..], 2), (&["fix", "--yes", "--no-journal"], 0)] {
        let args = [args, &["--format", "ndjson"]].concat();
        let mut command = mcp_prune(&args);
        command.env("TMPDIR", "/no/such/folder");
        let ran = run(command.env("DATABASE_URL", database.url())).exits(status);
        let last = ran.stdout.lines().last().unwrap();
        assert!(last.contains(r#""type":"summary""#), "{last}");
        // More than is kept in memory where there is such a folder.
        assert!(
            status == 0 || ran.stdout.len() > 4 << 20,
            "{}",
            ran.stdout.len()
        );
    }
}

/// The search finds a row once for each of its stale references, in the order of the table.
#[test]
fn of_more_rows_than_are_read_at_a_time_each_is_reported_once_and_in_order() {
    const ROWS: usize = 5_000;
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable"
               ("object_permission_id", "mcp_servers", "mcp_tool_permissions")
           SELECT (ARRAY['a', 'B', 'z', 'é'])[1 + n % 4] || md5('row ' || n),
                  ARRAY['gone-1', 'gone-2'], '{{"gone-1": ["a"], "gone-3": ["b"]}}'
           FROM generate_series(1, {ROWS}) AS n;"#
    ));
    // Every reference is stale beside an empty server table, which counts the rows.
    let fix = ["fix", "--dry-run", "--no-config-servers"];
    run_on(database.url(), &fix)
        .exits(4)
        .says("yet servers are named in 5000 rows");
    let scan = ["scan", "--no-config-servers", "--format", "json"];
    let scan = run_on(database.url(), &scan).exits(2).json();
    let findings = scan["findings"].as_array().unwrap().iter();
    let mut rows: Vec<&str> = findings.map(|f| f["row"].as_str().unwrap()).collect();
    assert_eq!(rows.len(), 4 * ROWS);
    assert!(rows.is_sorted());
    rows.dedup();
    assert_eq!(rows.len(), ROWS);
}
