//! Journals and saved plans: what they keep, and how a repair is taken back or carried out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::program::{Ran, mcp_prune, run, run_on};
use crate::samples::demo;
use crate::server::TestDatabase;

/// Runs `args` with a path in place of `FILE`.
fn with(database: &TestDatabase, file: &Path, args: &[&str]) -> Ran {
    let file = file.to_str().unwrap();
    let args: Vec<&str> = args
        .iter()
        .map(|arg| if *arg == "FILE" { file } else { arg })
        .collect();
    run_on(database.url(), &args)
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn a_repair_is_taken_back_and_made_again() {
    let database = demo();
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let fixed = folder.path().join("fixed");
    with(&database, &fixed, &["fix", "--yes", "--journal", "FILE"])
        .exits(3)
        .prints(&format!(
            "To take it back:\n  mcp-prune undo {}",
            fixed.display()
        ));
    let repaired = database.permission_rows();
    assert_ne!(repaired, before);
    assert_eq!(
        fs::metadata(&fixed).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let written = lines(&fixed);
    let kinds: Vec<&str> = written
        .iter()
        .map(|l| l["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["changeset", "row", "row", "row", "row", "end", "committed"]
    );
    assert_eq!(written[0]["purpose"], "fix");
    assert_eq!(written[0]["on_empty"], "hold");

    with(&database, &fixed, &["undo", "--dry-run", "FILE"])
        .exits(0)
        .prints("It would put back 4 rows");
    assert_eq!(database.permission_rows(), repaired);

    let undone = folder.path().join("undone");
    let args = [
        "undo",
        "--yes",
        fixed.to_str().unwrap(),
        "--journal",
        "FILE",
        "--format",
        "json",
    ];
    let report = with(&database, &undone, &args).exits(0).json();
    assert_eq!(report["outcome"], "applied");
    assert_eq!(
        report["summary"],
        json!({"rows_put_back": 4, "rows_back_already": 0, "conflicts": 0})
    );
    assert_eq!(report["journal"], undone.to_str().unwrap());
    assert_eq!(database.permission_rows(), before);

    let again = with(
        &database,
        &fixed,
        &["undo", "--yes", "FILE", "--format", "json"],
    );
    let again = again.exits(0).json();
    assert_eq!(again["outcome"], "nothing-to-do");
    assert_eq!(again["summary"]["rows_back_already"], 4);
    assert_eq!(again["journal"], Value::Null);

    with(&database, &undone, &["undo", "--yes", "FILE"]).exits(0);
    assert_eq!(database.permission_rows(), repaired);
}

#[test]
fn what_was_changed_since_is_not_undone() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    with(
        &database,
        folder.path(),
        &["fix", "--yes", "--journal", "FILE"],
    )
    .exits(3);
    let journal = only_file(folder.path());
    let row = lines(&journal)[2]["key"].as_str().unwrap().to_owned();
    database.execute(&format!(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['github']
           WHERE "object_permission_id" = '{row}'"#
    ));
    let touched = database.permission_rows();

    let report = with(
        &database,
        &journal,
        &["undo", "--yes", "FILE", "--format", "json"],
    )
    .exits(5)
    .says("1 column is no longer as planned or journalled; nothing was written")
    .json();
    assert_eq!(report["outcome"], "moved");
    assert_eq!(report["conflicts"][0]["kind"], "changed");
    assert_eq!(report["conflicts"][0]["row"], row.as_str());
    assert_eq!(report["conflicts"][0]["column"], "mcp_servers");
    assert_eq!(report["conflicts"][0]["found"], json!(["github"]));
    assert_eq!(database.permission_rows(), touched);

    let skip = [
        "undo",
        "--yes",
        "FILE",
        "--skip-changed",
        "--format",
        "json",
    ];
    let report = with(&database, &journal, &skip).exits(0).json();
    assert_eq!(report["summary"]["rows_put_back"], 3);
    let kept = database.texts(&format!(
        r#"SELECT "mcp_servers"::text FROM "LiteLLM_ObjectPermissionTable"
           WHERE "object_permission_id" = '{row}'"#
    ));
    assert_eq!(kept, ["{github}"]);
}

#[test]
fn a_damaged_journal_is_refused_with_the_line() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    with(&database, &journal, &["fix", "--yes", "--journal", "FILE"]).exits(3);
    let repaired = database.permission_rows();
    let text = fs::read_to_string(&journal).unwrap();
    let cut: String = text.split_inclusive('\n').take(3).collect();
    let gone = "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04";
    for (text, told) in [
        (String::new(), "line 1: the file ends here"),
        (cut, "line 4: the file ends here"),
        (
            text.replacen(gone, "3f6d1b52", 1),
            "line 2: this line or one before it was changed",
        ),
        (
            format!("{text}{text}"),
            "line 8: this line or one before it was changed",
        ),
        (
            "no journal\n".to_owned(),
            "line 1: this is not a line of a changeset",
        ),
    ] {
        fs::write(&journal, text).unwrap();
        with(&database, &journal, &["undo", "--yes", "FILE"])
            .exits(1)
            .says(told);
    }
    let nowhere = folder.path().join("nowhere");
    with(&database, &nowhere, &["undo", "--yes", "FILE"])
        .exits(1)
        .says("cannot read");
    assert_eq!(database.permission_rows(), repaired);
}

#[test]
fn a_journal_that_cannot_be_written_stops_everything() {
    let database = demo();
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    fs::write(&taken, "somebody else's").unwrap();
    let nowhere = folder.path().join("no/such/folder/journal");
    for journal in [&taken, &nowhere] {
        with(&database, journal, &["fix", "--yes", "--journal", "FILE"])
            .exits(1)
            .says("cannot make the journal")
            .says("with --journal");
    }
    let homeless = ["fix", "--yes"];
    run(mcp_prune(&homeless)
        .env_remove("XDG_STATE_HOME")
        .env("DATABASE_URL", database.url()))
    .exits(1)
    .says("neither XDG_STATE_HOME nor HOME is set");
    assert_eq!(fs::read_to_string(&taken).unwrap(), "somebody else's");
    assert_eq!(database.permission_rows(), before);

    // No repair, no journal: neither of a dry run nor where there is nothing to do.
    run_on(database.url(), &["fix", "--yes", "--no-journal"]).exits(3);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    with(&database, &empty, &["fix", "--yes", "--journal", "FILE"]).exits(3);
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

#[test]
fn by_default_a_journal_goes_to_the_users_state_folder() {
    let database = demo();
    let home = tempfile::tempdir().unwrap();
    run(mcp_prune(&["fix", "--yes"])
        .env_remove("XDG_STATE_HOME")
        .env("HOME", home.path())
        .env("DATABASE_URL", database.url()))
    .exits(3);
    let folder = home.path().join(".local/state/mcp-prune");
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let journal = only_file(&folder);
    let name = journal.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("fix-20") && name.ends_with(".ndjson"),
        "{name}"
    );
}

#[test]
fn a_plan_is_carried_out_exactly_or_not_at_all() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan");
    let dry = ["fix", "--dry-run", "--plan-out", "FILE", "--format", "json"];
    let dry = with(&database, &plan, &dry).exits(2).json();
    assert_eq!(dry["plan"], plan.to_str().unwrap());
    assert_eq!(lines(&plan)[0]["purpose"], "plan");

    // Something stale elsewhere is none of the plan's business.
    database.execute(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('later', ARRAY['d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04'])"#,
    );
    let journal = folder.path().join("journal");
    let args = [
        "fix",
        "--yes",
        "--plan",
        plan.to_str().unwrap(),
        "--journal",
        "FILE",
    ];
    let args = [&args[..], &["--format", "json"]].concat();
    let fix = with(&database, &journal, &args).exits(0).json();
    assert_eq!(fix["changes"], dry["changes"]);
    let later = database.texts(
        r#"SELECT "mcp_servers"::text FROM "LiteLLM_ObjectPermissionTable"
           WHERE "object_permission_id" = 'later'"#,
    );
    assert_eq!(later, ["{d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04}"]);

    // Once done it does not fit any more, and is no journal; nor is a journal a plan.
    with(&database, &plan, &["fix", "--yes", "--plan", "FILE"])
        .exits(5)
        .says("carried out already");
    with(&database, &plan, &["undo", "--yes", "FILE"])
        .exits(64)
        .says("fix --plan");
    with(&database, &journal, &["fix", "--yes", "--plan", "FILE"])
        .exits(64)
        .says("undo");
}

#[test]
fn a_plan_says_with_which_options_it_is_to_be_carried_out() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan");
    let option = "--no-config-servers";
    let dry = ["fix", "--dry-run", option, "--plan-out", "FILE"];
    let next = format!("mcp-prune fix --plan {} {option}\n", plan.display());
    with(&database, &plan, &dry).exits(2).prints(&next);
    // There it would be written over.
    with(&database, &plan, &dry)
        .exits(1)
        .says("no file is written over; name one that is not there yet, with --plan-out");
    // Without them other references are stale, which is nobody's doing.
    let fix = ["fix", "--yes", "--no-journal", "--plan", "FILE"];
    with(&database, &plan, &fix)
        .exits(64)
        .says("the plan was made with --no-config-servers");
    with(&database, &plan, &[&fix[..], &[option]].concat()).exits(0);
}

#[test]
fn a_plan_that_no_longer_holds_says_what_moved() {
    let folder = tempfile::tempdir().unwrap();
    let notion = "a15e9c3d-84f2-4d7b-92c6-5e0b8f3a7d05";
    let edits = [
        (
            "changed",
            r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = "mcp_servers" || 'x'::text
               WHERE "object_permission_id" = 'ROW'"#
                .to_owned(),
        ),
        (
            "row-gone",
            r#"DELETE FROM "LiteLLM_ObjectPermissionTable" WHERE "object_permission_id" = 'ROW'"#
                .to_owned(),
        ),
        (
            "server-back",
            format!(
                r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id")
                   VALUES ('d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04'), ('{notion}')"#
            ),
        ),
    ];
    for (kind, sql) in edits {
        let database = demo();
        let plan = folder.path().join(kind);
        with(
            &database,
            &plan,
            &["fix", "--dry-run", "--plan-out", "FILE"],
        )
        .exits(2);
        let row = lines(&plan)
            .iter()
            .find(|line| line["columns"]["mcp_servers"].is_object())
            .map(|line| line["key"].as_str().unwrap().to_owned())
            .unwrap();
        database.execute(&sql.replace("ROW", &row));
        let before = database.permission_rows();
        let args = ["fix", "--yes", "--plan", "FILE", "--format", "json"];
        let report = with(&database, &plan, &args).exits(5).json();
        assert_eq!(report["outcome"], "moved", "{kind}");
        let conflicts = report["conflicts"].as_array().unwrap();
        assert!(
            conflicts
                .iter()
                .any(|c| c["kind"] == kind && c["row"] == row.as_str()),
            "{kind}: {conflicts:?}"
        );
        assert_eq!(database.permission_rows(), before, "{kind}");
    }
}

#[test]
fn a_plan_is_not_carried_out_where_it_would_widen_by_now() {
    let database = TestDatabase::with(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('live');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('p-1', ARRAY['c1e2a7d4-93b6-4d0e-b8a5-6a2f9e4d7c33']);"#,
    );
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan");
    with(
        &database,
        &plan,
        &["fix", "--dry-run", "--plan-out", "FILE"],
    )
    .exits(2);
    database.execute(
        r#"INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id") VALUES ('t', 'p-1')"#,
    );
    let args = ["fix", "--yes", "--plan", "FILE", "--format", "json"];
    let report = with(&database, &plan, &args).exits(5).json();
    assert_eq!(report["conflicts"][0]["kind"], "would-hold");
}

const SLACK: &str = "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04";

#[test]
fn a_remap_is_planned_carried_out_and_taken_back() {
    let database = demo();
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let [csv, plan, journal] = ["remaps.csv", "plan", "journal"].map(|n| folder.path().join(n));
    fs::write(&csv, format!("old,new\n{SLACK},jira\n")).unwrap();
    let args = [
        "fix",
        "--dry-run",
        "--plan-out",
        plan.to_str().unwrap(),
        "--remap-file",
        "FILE",
    ];
    let args = [&args[..], &["--format", "json"]].concat();
    let dry = with(&database, &csv, &args).exits(2).json();
    assert!(
        dry["summary"]["references_remapped"].as_u64() > Some(0),
        "{dry}"
    );
    assert_eq!(dry["held"], json!([]));

    let args = [
        "fix",
        "--yes",
        "--plan",
        plan.to_str().unwrap(),
        "--journal",
        "FILE",
    ];
    with(&database, &journal, &args).exits(0);
    assert!(!database.permission_rows().join(" ").contains(SLACK));
    with(&database, &journal, &["undo", "--yes", "FILE"]).exits(0);
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn a_remap_that_cannot_be_meant_is_refused() {
    let database = demo();
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("remaps.csv");
    for (remap, status, told) in [
        ("jira=github", 4, "jira is no deleted server"),
        (
            "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04=nowhere",
            4,
            "nowhere names no server",
        ),
        (
            "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04",
            64,
            "must be OLD=NEW",
        ),
    ] {
        run_on(database.url(), &["fix", "--yes", "--remap", remap])
            .exits(status)
            .says(told);
    }
    for (text, status, told) in [
        ("a,b\nc,d\n", 1, "header: old,new"),
        ("old,new\na,b,c\n", 1, "remaps.csv"),
        (
            "old,new\na,b\na,c\n",
            64,
            "remap a to different servers, b and c",
        ),
    ] {
        fs::write(&csv, text).unwrap();
        let args = ["fix", "--yes", "--remap-file", "FILE"];
        with(&database, &csv, &args).exits(status).says(told);
    }
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn guards_refuse_with_the_number_they_saw() {
    let database = demo();
    let before = database.permission_rows();
    for (args, told) in [
        (
            &["--max-rows", "3"],
            "4 rows would change, more than --max-rows 3",
        ),
        (
            &["--max-percent", "20"],
            "4 of the 7 rows that name servers would change, 57.1%",
        ),
    ] {
        for mode in ["--yes", "--dry-run"] {
            let args = [&["fix", mode], &args[..]].concat();
            run_on(database.url(), &args).exits(4).says(told);
        }
    }
    assert_eq!(database.permission_rows(), before);
    run_on(
        database.url(),
        &["fix", "--yes", "--max-rows", "4", "--max-percent", "67"],
    )
    .exits(3);
}

#[test]
fn a_journal_with_a_name_like_that_of_a_run_is_taken_back_by_the_command_that_is_told() {
    let database = demo();
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |args: &[&str]| {
        let mut command = mcp_prune(args);
        run(command
            .current_dir(folder.path())
            .env("DATABASE_URL", database.url()))
    };
    let told = in_folder(&["fix", "--yes", "--journal", "cafe1234"]).exits(3);
    let _ = told.prints("mcp-prune undo ./cafe1234 ");
    let _ = in_folder(&["undo", "--yes", "./cafe1234"]).exits(0);
    assert_eq!(database.permission_rows(), before);
}
