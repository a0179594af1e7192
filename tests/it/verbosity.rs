//! What -v, -vv and MCP_PRUNE_LOG tell on stderr, and what they never tell.

use crate::concurrent::{rows, while_open};
use crate::program::{Ran, formats, mcp_prune, run, run_on};
use crate::samples::{GONE, case, demo};
use crate::server::{TestDatabase, concurrent_server};
use crate::terminal::{on_a_terminal, shown};

/// Returns the lines of stderr that tell what is done, without their times.
fn told(ran: &Ran) -> Vec<&str> {
    let lines = ran.stderr.lines();
    let lines = lines.filter_map(|line| line.strip_prefix('+')?.split_once(" s: "));
    lines.map(|(_, what)| what).collect()
}

fn is_statement(line: &str) -> bool {
    let (took, _) = line.split_once(',').unwrap_or_default();
    took.ends_with(" ms")
}

#[test]
fn each_step_is_told_with_its_numbers_and_its_time() {
    let database = demo();
    let ran = run_on(database.url(), &["scan", "-v"]).exits(2);
    let lines = told(&ran);
    let steps: Vec<&str> = lines
        .iter()
        .filter_map(|l| Some(l.split_once(':')?.0))
        .collect();
    let expected = [
        "connecting",
        "looking for stale references",
        "reading rows",
        "end",
    ];
    assert_eq!(steps, expected, "{ran}");
    assert!(
        lines[2].contains(" statements, ") && lines[2].contains(" rows, "),
        "{ran}"
    );
    assert!(lines[2].ends_with(" s"), "{ran}");
    assert!(lines[3].starts_with("end: exit code 2, "), "{ran}");
    assert!(!ran.stderr.contains("SELECT"), "{ran}");
    let quiet = run_on(database.url(), &["scan"]).exits(2);
    assert!(told(&quiet).is_empty(), "{quiet}");
}

/// To compare many takes long, and others would wait for the rows.
#[test]
fn many_callers_are_compared_before_rows_are_locked_and_few_after() {
    for (number, between) in [(2, Some("comparing access")), (2_001, None)] {
        let database = rows(number);
        let ran = run_on(database.url(), &["fix", "--yes", "--no-journal", "-v"]).exits(0);
        let steps = told(&ran).into_iter();
        let steps = steps.filter_map(|line| Some(line.split_once(':')?.0));
        let steps: Vec<&str> = steps.skip_while(|step| *step != "planning rows").collect();
        let expected = [
            Some("planning rows"),
            Some("comparing access"),
            Some("locking rows"),
            between,
            Some("writing and verifying rows"),
        ];
        let expected: Vec<&str> = expected.into_iter().flatten().collect();
        assert!(steps.starts_with(&expected), "{number}: {steps:?}");
    }
}

#[test]
fn statements_are_told_and_no_value_of_theirs() {
    let database = demo();
    let url = database.url().replace("postgres@", "postgres:s3cret@");
    let cases = [
        (&["scan", "-vv", "--owner", "team:platform"][..], 2),
        (&["fix", "-vv", "--yes", "--no-journal"], 3),
        (&["access", "-vv", "team:platform"], 0),
        (&["grants", "-vv"], 0),
        (&["doctor", "-vv"], 0),
    ];
    for (args, status) in cases {
        let ran = run_on(&url, args);
        let ran = if args[0] == "doctor" {
            ran
        } else {
            ran.exits(status)
        };
        let lines = told(&ran);
        let statements: Vec<&&str> = lines.iter().filter(|line| is_statement(line)).collect();
        assert!(
            statements.iter().any(|line| line.contains("SELECT")),
            "{ran}"
        );
        for line in lines {
            for value in ["s3cret", "platform", "d7c3f1a8", "1f0cc0f1", "dcf1f059"] {
                assert!(!line.contains(value), "{value} in {line}");
            }
        }
    }
}

#[test]
fn reports_stay_as_they_are() {
    let database = demo();
    for format in formats() {
        let args = ["scan", "--format", format];
        let plain = run_on(database.url(), &args).exits(2);
        let ran = run_on(database.url(), &[&args[..], &["-vv"]].concat()).exits(2);
        // The name of the run and the command line differ.
        let lines = |ran: &Ran| ran.stdout.lines().count();
        assert_eq!(lines(&plain), lines(&ran), "{ran}");
        assert!(!ran.stdout.contains(" ms, "), "{ran}");
    }
}

#[test]
fn the_variable_stands_for_the_option_and_the_option_wins() {
    let database = case("beside_live");
    let lines = |variable: &str, args: &[&str]| {
        let mut program = mcp_prune(&[&["scan"], args].concat());
        program.env("DATABASE_URL", database.url());
        let ran = run(program.env("MCP_PRUNE_LOG", variable)).exits(2);
        let statements = told(&ran).iter().any(|line| is_statement(line));
        (!told(&ran).is_empty(), statements)
    };
    let (off, steps, statements) = ((false, false), (true, false), (true, true));
    for (variable, option, expected) in [
        ("", None, off),
        ("off", None, off),
        ("0", None, off),
        ("info", None, steps),
        ("1", None, steps),
        ("debug", None, statements),
        ("2", None, statements),
        ("debug", Some("-v"), steps),
        ("off", Some("-vv"), statements),
        ("off", Some("--verbose"), steps),
        ("nonsense", Some("-vvv"), statements),
    ] {
        let args: Vec<&str> = option.into_iter().collect();
        assert_eq!(lines(variable, &args), expected, "{variable} {option:?}");
    }
    let mut program = mcp_prune(&["scan"]);
    program.env("DATABASE_URL", database.url());
    let ran = run(program.env("MCP_PRUNE_LOG", "loud")).exits(64);
    let _ = ran.says("MCP_PRUNE_LOG is none of off, info and debug");
}

#[test]
fn quiet_holds_it_back_until_there_is_something_to_say() {
    let database = case("beside_live");
    let ran = run_on(database.url(), &["scan", "-q", "-v"]).exits(2);
    assert!(!told(&ran).is_empty(), "{ran}");
    let _ = run_on(database.url(), &["fix", "--yes", "--no-journal"]).exits(0);
    let ran = run_on(database.url(), &["scan", "-q", "-vv"]).exits(0);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("", ""),
        "{ran}"
    );
}

#[test]
fn waiting_for_locked_rows_is_told() {
    if concurrent_server("locked rows are told").is_none() {
        return;
    }
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('live');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('p', ARRAY['live', '{GONE}']);"#
    ));
    let lock = r#"SELECT FROM "LiteLLM_ObjectPermissionTable" FOR UPDATE"#;
    let mut ran = None;
    while_open(&database, lock, || {
        let fix = [
            "fix",
            "--yes",
            "--no-journal",
            "-v",
            "--lock-timeout",
            "0.1",
        ];
        ran = Some(run_on(database.url(), &fix));
    });
    let ran = ran.unwrap().exits(6);
    let waits = "others have locked rows of LiteLLM_ObjectPermissionTable: asking again";
    assert!(told(&ran).contains(&waits), "{ran}");
}

#[test]
fn lines_and_the_progress_bar_do_not_garble_each_other() {
    let database = demo();
    let Some(told) = on_a_terminal(&database, 250, "scan -vv", "") else {
        return;
    };
    assert!(told.contains("\x1b[2K"), "the bar was shown: {told:?}");
    let left = shown(&told);
    let lines: Vec<&String> = left.iter().filter(|line| line.contains(" s: ")).collect();
    assert!(lines.len() > 10, "{left:#?}");
    for line in lines {
        assert!(line.starts_with('+'), "{line} in {left:#?}");
    }
    // Nothing of the bar is left.
    assert!(!left.iter().any(|line| line.contains("(0s)")), "{left:#?}");
}
