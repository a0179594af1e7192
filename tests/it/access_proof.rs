//! What a repair does to anybody's access: the comparison before the commit, and
//! `--on-empty unchanged`.

use std::ffi::OsString;

use mcp_prune::testing::{ErrorKind, run_unaccepted_fix};
use serde_json::{Value, json};

use crate::program::{repository, run_on};
use crate::samples::case;
use crate::server::TestDatabase;

/// Returns what every caller may use: lines of JSON, without the header, the summary, and the
/// reasons why somebody may use nothing.
fn everybody(database: &TestDatabase) -> Vec<String> {
    let access = [
        "access",
        "--every-caller",
        "--format",
        "ndjson",
        "--no-config-servers",
    ];
    let told = run_on(database.url(), &access).exits(0).stdout;
    let callers = told
        .lines()
        .filter(|line| line.contains(r#""type":"caller""#));
    let may_use = |line: &str| {
        let (may_use, _) = line.split_once(r#","denied_by""#).unwrap();
        may_use.to_owned()
    };
    callers.map(may_use).collect()
}

/// Runs a `fix` that reports as JSON, and returns its report.
fn fixed(database: &TestDatabase, more: &[&str], status: i32) -> Value {
    let fix = [&["fix", "--no-journal", "--format", "json"], more].concat();
    run_on(database.url(), &fix).exits(status).json()
}

#[test]
fn a_plan_that_widens_access_is_stopped() {
    let database = case("would_gain");
    let before = database.permission_rows();
    let words = [
        "mcp-prune",
        "fix",
        "--yes",
        "--no-journal",
        "--on-empty=clear",
        "--accept-widening",
        "--db-url",
        database.url(),
    ];
    let (kind, message) = run_unaccepted_fix(words.map(OsString::from)).unwrap();
    assert_eq!(kind, ErrorKind::Refused);
    assert!(
        message.contains("6 callers would gain, no callers would lose; nothing was written"),
        "{message}"
    );
    assert!(
        message.contains("key all (a1a1a1a1) would gain github, Jira"),
        "{message}"
    );
    assert_eq!(database.permission_rows(), before);
}

/// The comparison looks at the callers whom it expects to be concerned; here everybody is asked.
#[test]
fn no_choice_but_clear_changes_what_anybody_may_use() {
    let names = std::fs::read_dir(repository("fixtures/cases")).unwrap();
    let names = names.map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = names
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let mut compared = 0;
    for name in names {
        let script = std::fs::read_to_string(repository(&format!("fixtures/cases/{name}.sql")));
        // A case with tables of its own is of an old LiteLLM, or not of LiteLLM.
        if script.unwrap().contains("CREATE TABLE") {
            continue;
        }
        for choice in ["deny", "unchanged"] {
            let database = case(&name);
            let before = everybody(&database);
            let fix = [
                "fix",
                "--yes",
                "--no-journal",
                "--exit-zero",
                "--allow-empty-server-table",
                "--no-config-servers",
                "--on-empty",
                choice,
                "--format",
                "json",
            ];
            let told = run_on(database.url(), &fix).exits(0).json();
            assert_eq!(everybody(&database), before, "{name} {choice}");
            let access = &told["access"];
            if !access.is_null() {
                assert_eq!(access["differing"], json!([]), "{name} {choice}");
                compared += access["compared"].as_u64().unwrap();
            }
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn unchanged_settles_more_than_deny_and_says_how_much_before() {
    let left = |choice: &str| {
        let database = case("obstacles");
        let more = [
            "--yes",
            "--on-empty",
            choice,
            "--no-config-servers",
            "--exit-zero",
        ];
        fixed(&database, &more, 0)["held"].as_array().unwrap().len()
    };
    let (hold, deny, unchanged) = (left("hold"), left("deny"), left("unchanged"));
    assert!(hold > deny && deny > unchanged, "{hold} {deny} {unchanged}");
    for command in [&["scan"][..], &["fix", "--dry-run"]] {
        let database = case("obstacles");
        let ask = [command, &["--no-config-servers", "--format", "json"]].concat();
        let told = run_on(database.url(), &ask).exits(2).json();
        let settled = &told["settled_by"];
        assert_eq!(settled["held"], json!(hold));
        assert_eq!(settled["deny"], json!(hold - deny));
        assert_eq!(settled["unchanged"], json!(hold - unchanged));
    }
}

#[test]
fn who_would_lose_or_gain_is_named() {
    let database = case("obstacles");
    let more = ["--dry-run", "--on-empty", "deny", "--no-config-servers"];
    let told = fixed(&database, &more, 2);
    let held = told["held"].as_array().unwrap();
    let narrowing = held.iter().find(|held| held["reason"] == "would-narrow");
    let because = narrowing.unwrap()["because"].as_str().unwrap();
    assert_eq!(because, "key tool (a6a6a6a6) would lose GitHub MCP");
    let fix = [&["fix"], &more[..]].concat();
    run_on(database.url(), &fix).exits(2).prints(because);
}

#[test]
fn an_undo_tells_who_loses_what_was_gained() {
    let database = case("would_gain");
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let clear = [
        "fix",
        "--yes",
        "--on-empty",
        "clear",
        "--accept-widening",
        "--journal",
        journal,
    ];
    let clear = [&clear[..], &["--format", "json", "--exit-zero"]].concat();
    let gained = run_on(database.url(), &clear).exits(0).json()["access"].clone();
    assert!(gained["widened"].as_u64().unwrap() > 0, "{gained}");
    let undo = ["undo", "--yes", "--no-journal", journal, "--format", "json"];
    let lost = run_on(database.url(), &undo).exits(0).json()["access"].clone();
    assert_eq!(lost["narrowed"], gained["widened"], "{lost}");
    assert_eq!(lost["widened"], json!(0));
}

#[test]
fn what_is_not_compared_is_said() {
    let database = case("obstacles");
    let clear = ["--dry-run", "--on-empty", "clear", "--accept-widening"];
    for (most, says) in [
        ("2", "Raise --compare-at-most to compare them too."),
        (
            "0",
            "Access was not compared: --compare-at-most 0 compares nobody.",
        ),
    ] {
        let few = [&clear[..], &["--compare-at-most", most]].concat();
        let told = fixed(&database, &few, 2);
        assert_eq!(told["access"]["compared"].to_string(), most);
        assert!(told["access"]["not_compared"].as_u64().unwrap() > 0);
        let fix = [&["fix"], &few[..]].concat();
        run_on(database.url(), &fix).exits(2).prints(says);
    }
}

#[test]
fn what_cannot_all_be_compared_is_not_decided() {
    let database = case("obstacles");
    for choice in ["deny", "unchanged"] {
        let few = [
            "fix",
            "--dry-run",
            "--on-empty",
            choice,
            "--compare-at-most",
            "2",
        ];
        run_on(database.url(), &few)
            .exits(4)
            .says("more than 2 callers depend on lists that would run empty")
            .says("hint: raise --compare-at-most");
    }
    let told = fixed(&database, &["--dry-run", "--compare-at-most", "2"], 2);
    assert!(told["settled_by"].is_null(), "{told}");
}

#[test]
fn unchanged_is_planned_carried_out_and_taken_back() {
    let database = case("obstacles");
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [plan, journal] = [file("plan"), file("journal")];
    let servers = "--no-config-servers";
    let planned = [
        "fix",
        "--dry-run",
        "--on-empty",
        "unchanged",
        servers,
        "--plan-out",
        &plan,
    ];
    run_on(database.url(), &planned).exits(2);
    assert_eq!(database.permission_rows(), before);
    let header = std::fs::read_to_string(&plan).unwrap();
    assert!(
        header
            .lines()
            .next()
            .unwrap()
            .contains(r#""on_empty":"unchanged""#),
        "{header}"
    );
    let carry_out = [
        "fix",
        "--yes",
        "--plan",
        &plan,
        servers,
        "--journal",
        &journal,
    ];
    run_on(database.url(), &carry_out).exits(0);
    assert_ne!(database.permission_rows(), before);
    run_on(database.url(), &["undo", "--yes", &journal, "--no-journal"]).exits(0);
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn a_plan_does_not_hold_once_the_access_above_has_changed() {
    let database = case("obstacles");
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan");
    let plan = plan.to_str().unwrap();
    let servers = "--no-config-servers";
    let planned = [
        "fix",
        "--dry-run",
        "--on-empty",
        "unchanged",
        servers,
        "--plan-out",
        plan,
    ];
    run_on(database.url(), &planned).exits(2);
    // Emptied, the key of a team would inherit this now.
    database.execute(
        r#"UPDATE "LiteLLM_ObjectPermissionTable"
           SET "mcp_servers" = ARRAY(SELECT "server_id" FROM "LiteLLM_MCPServerTable")
           WHERE "object_permission_id" IN
                 (SELECT "object_permission_id" FROM "LiteLLM_TeamTable")"#,
    );
    let before = (database.permission_rows(), everybody(&database));
    run_on(
        database.url(),
        &["fix", "--yes", "--plan", plan, servers, "--no-journal"],
    )
    .exits(5);
    assert_eq!((database.permission_rows(), everybody(&database)), before);
}
