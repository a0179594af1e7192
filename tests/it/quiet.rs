//! `-q`, for those who get the output by mail from cron; and the last line, which says why.

use std::fs;

use crate::program::{Ran, run_on};
use crate::samples::{NOWHERE, case, demo};

#[track_caller]
fn is_silent(ran: Ran) {
    let ran = ran.exits(0);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("", ""),
        "{ran}"
    );
}

/// Returns the last line on stderr, without the id of the run.
fn last_word(ran: &Ran) -> &str {
    let last = ran.stderr.lines().last().unwrap();
    last.rsplit_once(" (run ").unwrap().0
}

#[test]
fn without_findings_and_changes_nothing_is_printed() {
    let database = case("clean");
    for format in crate::program::formats() {
        is_silent(run_on(database.url(), &["scan", "-q", "--format", format]));
        is_silent(run_on(
            database.url(),
            &["fix", "--yes", "--quiet", "--format", format],
        ));
    }
    // A server that exists and is not served is no finding, and --exit-zero accepts held
    // references.
    let inactive = case("inactive");
    let _ = run_on(inactive.url(), &["fix", "--yes"]).exits(0);
    let _ = run_on(inactive.url(), &["scan"])
        .exits(0)
        .prints("4 inactive");
    is_silent(run_on(inactive.url(), &["scan", "-q"]));
    let held = demo();
    let _ = run_on(held.url(), &["fix", "--yes"]).exits(3);
    is_silent(run_on(held.url(), &["fix", "--yes", "-q", "--exit-zero"]));
}

#[test]
fn findings_are_printed_with_the_warnings_before_them() {
    let database = demo();
    let loud = run_on(database.url(), &["scan"]).exits(2);
    let quiet = run_on(database.url(), &["scan", "-q"]).exits(2);
    assert_eq!(quiet.stdout, loud.stdout);
    assert!(quiet.stderr.starts_with(&loud.stderr), "{quiet}");
    assert_eq!(
        last_word(&quiet),
        "mcp-prune scan: exit 2: found 6 stale, 1 unverified"
    );
    let accepted = run_on(database.url(), &["scan", "-q", "--exit-zero"]).exits(0);
    assert_eq!(
        (accepted.stdout, accepted.stderr),
        (loud.stdout, loud.stderr)
    );
}

#[test]
fn changes_and_held_references_are_printed() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let fix = ["fix", "--yes", "-q", "--journal", journal];
    let fixed = run_on(database.url(), &fix).exits(3).prints("Done: ");
    assert_eq!(last_word(&fixed), "mcp-prune fix: exit 3: 1 reference held");
    let held = run_on(database.url(), &["fix", "--yes", "-q"]).exits(3);
    assert_eq!(last_word(&held), "mcp-prune fix: exit 3: 1 reference held");
    let undo = ["undo", "--yes", "-q", "--no-journal", journal];
    let undone = run_on(database.url(), &undo).exits(0).prints("Put back ");
    assert!(undone.stderr.starts_with("database "), "{undone}");
    assert!(!undone.stderr.contains("exit"), "{undone}");
    is_silent(run_on(database.url(), &undo));
}

#[test]
fn a_failure_is_printed_and_quiet_repeats_it_in_the_last_line() {
    let ran = run_on(NOWHERE, &["fix", "--yes", "-q"])
        .exits(7)
        .says("error: cannot connect");
    assert_eq!(last_word(&ran), "mcp-prune fix: exit 7: no access");
    let ran = run_on(NOWHERE, &["fix", "--yes"]).exits(7);
    assert!(!ran.stderr.contains("exit 7"), "the error says it: {ran}");

    let database = demo();
    let args = ["fix", "--yes", "-q", "--max-rows", "1"];
    let ran = run_on(database.url(), &args).exits(4);
    assert_eq!(last_word(&ran), "mcp-prune fix: exit 4: a guard refused");
    assert!(ran.stderr.starts_with("database "), "which one: {ran}");
}

#[test]
fn without_a_visible_report_the_last_line_says_why() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report");
    let file = file.to_str().unwrap();
    let ran = run_on(database.url(), &["scan", "--output", file]).exits(2);
    assert_eq!(
        last_word(&ran),
        "mcp-prune scan: exit 2: found 6 stale, 1 unverified"
    );
    let ran = run_on(database.url(), &["scan"]).exits(2);
    assert!(!ran.stderr.contains("exit 2"), "{ran}");
    // The file is written whether or not there is anything to say.
    is_silent(run_on(
        case("clean").url(),
        &["scan", "-q", "--output", file],
    ));
    assert!(
        fs::read_to_string(file)
            .unwrap()
            .starts_with("No stale references.")
    );
}

#[test]
fn quiet_still_warns_of_metrics_that_cannot_be_written() {
    let database = case("clean");
    let scan = ["scan", "-q", "--metrics-file", "/nonexistent/run.prom"];
    run_on(database.url(), &scan)
        .exits(0)
        .says("warning: cannot write --metrics-file /nonexistent/run.prom");
}
