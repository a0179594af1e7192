//! `undo --owner`, `--row` and `--reference`: what they take back, what they leave, and how the
//! rest is taken back.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::concurrent::{Other, ended};
use crate::connection::{role, url_of};
use crate::history::{history, journalled, of_run, text};
use crate::program::{Ran, formats, mcp_prune, run, run_on, wait_until};
use crate::samples::case;
use crate::schemas::Format;
use crate::server::{TestDatabase, concurrent_server};

const LIVE: &str = "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10";
const G1: &str = "f0e1d2c3-b4a5-4687-9788-99aabbccddee";
const G2: &str = "0a9b8c7d-6e5f-4a3b-8c2d-1e0f9a8b7c6d";

/// Makes a database with two deleted servers in three rows. Teams A and B share the first.
fn shared() -> TestDatabase {
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('{LIVE}', 'github');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-1', ARRAY['{G1}', '{LIVE}', '{G2}']), ('p-2', ARRAY['{LIVE}', '{G1}']),
                      ('p-3', ARRAY['{G2}', '{LIVE}']);
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id")
               VALUES ('a', 'A', 'p-1'), ('b', 'B', 'p-1'), ('c', 'C', 'p-2'), ('d', 'D', 'p-3');"#
    ))
}

/// Returns the servers of each row: `p-1 {...}`.
fn rows(database: &TestDatabase) -> Vec<String> {
    database.texts(
        r#"SELECT "object_permission_id" || ' ' || array_to_string("mcp_servers", ' ')
           FROM "LiteLLM_ObjectPermissionTable" ORDER BY 1"#,
    )
}

fn undo(database: &TestDatabase, folder: &Path, args: &[&str]) -> Ran {
    let more = ["--yes", "--journal", text(folder), "--format", "json"];
    run_on(database.url(), &[&["undo"], args, &more].concat())
}

#[test]
fn parts_of_a_run_are_taken_back_one_after_the_other_and_then_the_rest() {
    let database = shared();
    let before = rows(&database);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fix = journalled(&database, folder, &["fix"], 0);
    let repaired = [
        format!("p-1 {LIVE}"),
        format!("p-2 {LIVE}"),
        format!("p-3 {LIVE}"),
    ];
    assert_eq!(rows(&database), repaired);

    // One reference of one row.
    let part = ["--row", "p-1", "--reference", G1];
    let report = undo(&database, folder, &[&[fix.as_str()], &part[..]].concat())
        .exits(0)
        .json();
    assert_eq!(
        report["undoes"],
        json!({"run": fix, "references": [G1], "rows": ["p-1"]})
    );
    assert_eq!(report["summary"]["rows_put_back"], 1);
    let now = rows(&database);
    assert_eq!(now[0], format!("p-1 {G1} {LIVE}"));
    assert_eq!(now[1..], repaired[1..]);
    let journals = history(folder);
    let listed = of_run(&journals, &fix);
    assert_eq!(listed["undone"], "partly");
    let first = report["run"].as_str().unwrap();
    assert_eq!(listed["undone_by"], json!([first]));
    let of_undo = of_run(&journals, first);
    assert_eq!(of_undo["kind"], "partial-undo");
    assert_eq!(of_undo["undoes"], report["undoes"]);

    // The same once more is back already.
    let again = undo(&database, folder, &[&[fix.as_str()], &part[..]].concat())
        .exits(0)
        .json();
    assert_eq!(again["outcome"], "nothing-to-do");
    assert_eq!(again["summary"]["rows_back_already"], 1);

    // Another reference wherever it was, then all that is left.
    let second = undo(&database, folder, &[&fix, "--reference", G2])
        .exits(0)
        .json();
    assert_eq!(second["summary"]["rows_put_back"], 2);
    let expected = [&before[0], &repaired[1], &before[2]].map(Clone::clone);
    assert_eq!(rows(&database), expected);
    assert_eq!(of_run(&history(folder), &fix)["undone"], "partly");
    let rest = undo(&database, folder, &[&fix]).exits(0).json();
    let summary = json!({"rows_put_back": 1, "rows_back_already": 2, "conflicts": 0});
    assert_eq!(rest["summary"], summary);
    assert_eq!(rows(&database), before);
    let journals = history(folder);
    assert_eq!(of_run(&journals, &fix)["undone"], "wholly");

    // Each part is undone by its own journal, the newest first.
    for run in [&rest, &second, &report] {
        let run = run["run"].as_str().unwrap();
        undo(&database, folder, &[run]).exits(0);
    }
    assert_eq!(rows(&database), repaired);
    assert_eq!(of_run(&history(folder), &fix)["undone"], "no");
}

#[test]
fn what_somebody_chose_since_is_not_taken_for_what_an_undo_of_a_part_left() {
    let database = shared();
    let folder = tempfile::tempdir().unwrap();
    let fix = journalled(&database, folder.path(), &["fix"], 0);
    // The server is there again, and somebody granted it, but not the other one.
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('{G1}');
           UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['{G1}', '{LIVE}']
           WHERE "object_permission_id" = 'p-1'"#
    ));
    let now = rows(&database);
    let report = undo(&database, folder.path(), &[&fix]).exits(5).json();
    assert_eq!(report["conflicts"][0]["row"], "p-1");
    assert_eq!(rows(&database), now);
}

#[test]
fn an_undo_of_an_undo_changes_nobodys_access() {
    let database = shared();
    database.execute(
        r#"INSERT INTO "LiteLLM_VerificationToken" ("token", "team_id", "object_permission_id")
               VALUES (repeat('a', 64), 'd', 'p-2')"#,
    );
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fix = journalled(&database, folder, &["fix"], 0);
    let repaired = rows(&database);
    let back = undo(&database, folder, &[&fix]).exits(0).json();
    let before = rows(&database);
    let back = back["run"].as_str().unwrap();
    // The server is there again: who has it would lose it.
    let server = format!(r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('{G1}')"#);
    database.execute(&server);
    let _ = undo(&database, folder, &[back])
        .exits(4)
        .says("access would not stay as it is")
        .says("to repair again, run fix");
    let _ = undo(&database, folder, &[back, "--compare-at-most", "0"])
        .exits(4)
        .says("not every caller was compared");
    assert_eq!(rows(&database), before);
    database.execute(
        &server
            .replace("INSERT INTO", "DELETE FROM")
            .replace(r#" ("server_id") VALUES ("#, r#" WHERE "server_id" IN ("#),
    );
    let _ = undo(&database, folder, &[back]).exits(0);
    assert_eq!(rows(&database), repaired);
}

#[test]
fn a_part_of_a_rename_does_not_lift_the_limit_of_tools() {
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('{LIVE}');
           INSERT INTO "LiteLLM_ObjectPermissionTable"
               ("object_permission_id", "mcp_servers", "mcp_tool_permissions") VALUES
               ('p-1', ARRAY['{G1}'], '{{"{G2}": ["read"]}}');
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id") VALUES ('a', 'p-1');"#
    ));
    let folder = tempfile::tempdir().unwrap();
    let remaps = [G1, G2].map(|gone| format!("--remap={gone}={LIVE}"));
    let fix = ["fix", &remaps[0], &remaps[1]];
    let fix = journalled(&database, folder.path(), &fix, 0);
    let repaired = rows(&database);
    let _ = undo(&database, folder.path(), &[&fix, "--reference", G2])
        .exits(4)
        .says("access would not stay as it is")
        .says("leave --reference out");
    assert_eq!(rows(&database), repaired);
    let _ = undo(&database, folder.path(), &[&fix]).exits(0);
    assert_eq!(rows(&database), [format!("p-1 {G1}")]);
}

#[test]
fn an_owner_is_who_links_to_the_row_now_and_a_shared_row_comes_back_for_all() {
    let database = shared();
    let before = rows(&database);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fix = journalled(&database, folder, &["fix"], 0);
    // Since then the team got the row of another one.
    database.execute(
        r#"UPDATE "LiteLLM_TeamTable" SET "object_permission_id" = 'p-3' WHERE "team_id" = 'c'"#,
    );
    let of_c = undo(&database, folder, &[&fix, "--owner", "team:C"])
        .exits(0)
        .json();
    assert_eq!(of_c["changes"].as_array().unwrap().len(), 1);
    assert_eq!(of_c["changes"][0]["row"], "p-3");
    assert_eq!(of_c["undoes"]["owners"], json!(["team:C"]));
    let of_a = undo(&database, folder, &[&fix, "--owner", "team:a"])
        .exits(0)
        .json();
    assert_eq!(of_a["changes"][0]["row"], "p-1");
    assert_eq!(rows(&database)[0], before[0], "also for B, which shares it");
    // The journal of the repair says who owned it then; that of the undo does not repeat it.
    let owner = r#"{"kind":"team","id":"b","name":"B"}"#;
    for (run, records) in [(fix.as_str(), true), (of_a["run"].as_str().unwrap(), false)] {
        let file = of_run(&history(folder), run)["file"].clone();
        let journal = fs::read_to_string(file.as_str().unwrap()).unwrap();
        assert_eq!(journal.contains(owner), records, "{journal}");
    }
    let shown = [
        "show",
        of_a["run"].as_str().unwrap(),
        "--journal",
        text(folder),
    ];
    let _ = run(&mut mcp_prune(&shown)).exits(0).prints("not recorded");

    // Nobody links to this row any more.
    let nobody = undo(
        &database,
        folder,
        &[&fix, "--owner", "team:D", "--row", "p-2"],
    )
    .exits(1);
    nobody
        .says("--owner matches nothing: run ")
        .says("changed no row that team D links to now");
    undo(&database, folder, &[&fix]).exits(0);
    assert_eq!(rows(&database), before);
}

#[test]
fn a_filter_that_matches_nothing_writes_nothing_and_is_named() {
    let database = shared();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fix = journalled(&database, folder, &["fix"], 0);
    let repaired = rows(&database);
    for (args, told) in [
        (
            &["--row", "p-9"][..],
            "--row matches nothing: run FIX changed no row p-9",
        ),
        (&["--row", "p-1", "--row", "p-9"], "changed no row p-9"),
        (
            &["--reference", LIVE],
            "--reference matches nothing: run FIX changed no reference",
        ),
        (
            &["--row", "p-2", "--reference", G2],
            "--row matches nothing: run FIX changed no row p-2 that the other filters take",
        ),
        (
            &["--owner", "team:c", "--owner", "team:d", "--reference", G1],
            "changed no row that team d links to now that the other filters take",
        ),
        (
            &["--owner", "team:nobody"],
            "--owner matches nothing: there is no team nobody",
        ),
    ] {
        let told = told.replace("FIX", &fix);
        undo(&database, folder, &[&[fix.as_str()], args].concat())
            .exits(1)
            .says(&told);
        assert_eq!(rows(&database), repaired, "{args:?}");
    }
    assert_eq!(history(folder).len(), 1, "no journal is left behind");
}

#[test]
fn what_was_changed_since_is_a_conflict_of_the_part_that_has_it() {
    let database = shared();
    let before = rows(&database);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fix = journalled(&database, folder, &["fix"], 0);
    database.execute(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['other']
           WHERE "object_permission_id" = 'p-1'"#,
    );
    let moved = undo(&database, folder, &[&fix, "--reference", G1])
        .exits(5)
        .json();
    assert_eq!(moved["conflicts"][0]["row"], "p-1");
    // Another part is not concerned.
    undo(&database, folder, &[&fix, "--row", "p-2"]).exits(0);
    undo(&database, folder, &[&fix]).exits(5);
    let skip = undo(&database, folder, &[&fix, "--skip-changed"])
        .exits(0)
        .json();
    let summary = json!({"rows_put_back": 1, "rows_back_already": 1, "conflicts": 1});
    assert_eq!(skip["summary"], summary);
    assert_eq!(rows(&database)[1..], before[1..]);
    // One row was left as it is, so not all of it is undone.
    assert_eq!(of_run(&history(folder), &fix)["undone"], "partly");
}

#[test]
fn credentials_are_chosen_by_their_server_and_never_by_an_owner() {
    let database = case("credentials");
    let before = database.credential_rows();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let delete = [
        "fix",
        "--sites",
        "credentials",
        "--delete-rows",
        "--no-config-servers",
    ];
    let status = 3;
    let fix = journalled(&database, folder, &delete, status);
    let deleted = database.credential_rows();
    assert_ne!(deleted, before);
    for option in ["--row", "--reference"] {
        let part = undo(&database, folder, &[&fix, option, G2]).exits(0).json();
        assert_eq!(part["summary"]["rows_put_back"], 1, "{option}");
        let run = part["run"].as_str().unwrap();
        undo(&database, folder, &[run]).exits(0);
        assert_eq!(database.credential_rows(), deleted);
    }
    undo(&database, folder, &[&fix, "--reference", G2]).exits(0);
    assert_eq!(of_run(&history(folder), &fix)["undone"], "partly");
    undo(&database, folder, &[&fix]).exits(0);
    assert_eq!(database.credential_rows(), before);
    assert_eq!(of_run(&history(folder), &fix)["undone"], "wholly");
}

#[test]
fn remapped_references_come_back_one_by_one() {
    let database = shared();
    database
        .execute(r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('jira'), ('wiki')"#);
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let remaps = [format!("{G1}=jira"), format!("{G2}=wiki")];
    let fix = ["fix", "--remap", &remaps[0], "--remap", &remaps[1]];
    let fix = journalled(&database, folder, &fix, 0);
    let part = ["--row", "p-1", "--reference", G1];
    let report = undo(&database, folder, &[&[fix.as_str()], &part[..]].concat())
        .exits(0)
        .json();
    assert_eq!(report["summary"]["rows_put_back"], 1);
    let now = database.permission_rows().join("\n");
    assert!(now.contains(G1) && !now.contains(G2), "{now}");
    let run = report["run"].as_str().unwrap();
    // To rename it again would give access to jira.
    undo(&database, folder, &[run]).exits(4);
    undo(&database, folder, &[&fix, "--reference", G2]).exits(0);
    undo(&database, folder, &[&fix]).exits(0);
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn every_form_says_which_part_it_was_and_the_next_command_repeats_it() {
    let database = shared();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fix = journalled(&database, folder, &["fix"], 0);
    let dry = [
        "undo",
        "--dry-run",
        &fix,
        "--owner",
        "team:A",
        "--journal",
        text(folder),
    ];
    let told = run_on(database.url(), &dry).exits(0);
    let told = told.prints(&format!("Only a part of run {fix}: --owner team:A."));
    let next = format!(
        "mcp-prune undo {fix} --owner team:A --journal {}",
        folder.display()
    );
    let _ = told.prints(&next);
    let markdown = [&dry[..], &["--format", "markdown"]].concat();
    let _ = run_on(database.url(), &markdown)
        .exits(0)
        .prints("| Only of | `");
    for format in Format::BOTH {
        format.run(database.url(), &dry).0.exits(0);
    }
    for format in formats() {
        let _ = run_on(database.url(), &[&dry[..], &["--format", format]].concat()).exits(0);
    }
}

/// Returns the file of a run's journal.
fn file_of(folder: &Path, run: &str) -> String {
    let journal = of_run(&history(folder), run);
    journal["file"].as_str().unwrap().to_owned()
}

/// Returns why access is not compared, and the hint.
fn not_compared(ran: Ran) -> (String, Option<String>) {
    let report = ran.exits(0).json();
    assert_eq!(report["outcome"], "applied");
    assert_eq!(report.get("access"), None);
    let text = |field: &str| report[field].as_str().map(str::to_owned);
    (text("access_failure").unwrap(), text("access_failure_hint"))
}

#[test]
fn an_undo_is_not_kept_from_its_work_where_access_cannot_be_compared() {
    if concurrent_server("a role that may not read what access depends on").is_none() {
        return;
    }
    let database = shared();
    let before = rows(&database);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let role = role(&database, "undoer");
    database.execute(&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    database.execute(&format!(
        r#"REVOKE ALL ON "LiteLLM_TeamTable" FROM {role};
           GRANT SELECT ("team_id", "team_alias", "organization_id", "object_permission_id",
                         "access_group_ids") ON "LiteLLM_TeamTable" TO {role};
           ALTER TABLE "LiteLLM_TeamTable" ADD "blocked" boolean"#
    ));
    let url = url_of(&database, &role, "s3cret");
    run_on(&url, &["fix", "--yes", "--no-journal"])
        .exits(7)
        .says("GRANT SELECT (\"blocked\")");
    let fix = journalled(&database, folder, &["fix"], 0);
    let journal = file_of(folder, &fix);
    let undo = [
        "undo",
        "--yes",
        "--no-journal",
        &journal,
        "--format",
        "json",
    ];
    let (told, hint) = not_compared(run_on(&url, &undo));
    assert!(
        told.contains("lacks SELECT on table \"LiteLLM_TeamTable\""),
        "{told}"
    );
    assert!(hint.unwrap().contains("GRANT SELECT (\"blocked\")"));
    assert_eq!(rows(&database), before);

    // In words, with the grant that helps.
    let again = journalled(&database, folder, &["fix"], 0);
    let journal = file_of(folder, &again);
    let undo = ["undo", "--yes", "--no-journal", &journal];
    run_on(&url, &undo)
        .exits(0)
        .prints("Access was not compared: role ")
        .prints("GRANT SELECT (\"blocked\")")
        .prints("verified and committed");
    assert_eq!(rows(&database), before);
    // Who does not want to know is not told of privileges.
    let again = journalled(&database, folder, &["fix"], 0);
    let journal = file_of(folder, &again);
    let none = [
        "undo",
        "--yes",
        "--no-journal",
        "--compare-at-most",
        "0",
        &journal,
    ];
    let _ = run_on(&url, &none)
        .exits(0)
        .prints("--compare-at-most 0 compares nobody");
}

#[test]
fn a_statement_that_fails_while_access_is_compared_is_told_and_costs_nothing() {
    if concurrent_server("a statement that fails while access is compared").is_none() {
        return;
    }
    let database = shared();
    let before = rows(&database);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fix = journalled(&database, folder, &["fix"], 0);
    let role = role(&database, "undoer");
    database.execute(&format!(
        r#"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
           CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;
           CREATE TRIGGER gate AFTER UPDATE ON "LiteLLM_ObjectPermissionTable"
               FOR EACH ROW EXECUTE FUNCTION gate()"#
    ));
    // The undo stands at the gate with its rows written, and then loses a privilege.
    let mut keeper = Other::connect(&database);
    keeper.execute("SELECT pg_advisory_lock(7)");
    let args = [
        "undo",
        &fix,
        "--yes",
        "--journal",
        text(folder),
        "--format",
        "json",
    ];
    let undo = mcp_prune(&args)
        .env("DATABASE_URL", url_of(&database, &role, "s3cret"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_at_the_gate(&database);
    database.execute(&format!(r#"REVOKE ALL ON "LiteLLM_TeamTable" FROM {role}"#));
    drop(keeper);
    let (told, _) = not_compared(ended(undo));
    assert!(
        told.contains("permission denied for table LiteLLM_TeamTable"),
        "{told}"
    );
    assert_eq!(rows(&database), before);
    assert_eq!(of_run(&history(folder), &fix)["undone"], "wholly");
}

/// Waits until a run stands at an advisory lock.
fn wait_at_the_gate(database: &TestDatabase) {
    let sql = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database()
               AND application_name LIKE 'mcp-prune/%' AND wait_event = 'advisory'";
    wait_until("the undo stands at the gate", || {
        !database.texts(sql).is_empty()
    });
}
