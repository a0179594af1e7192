//! What the binary shows on a terminal, which `script` makes, and not off one.

use std::fs;
use std::process::{Command, Stdio};

use crate::program::{mcp_prune, repository, run, run_on};
use crate::server::{TestDatabase, skip};

fn demo() -> TestDatabase {
    let database = TestDatabase::empty();
    database.load(&fs::read_to_string(repository("fixtures/demo.sql")).unwrap());
    database
}

/// Runs the binary on a terminal so many columns wide, with variables `set`; returns all that the terminal
/// was sent. `None` where the test is skipped.
fn on_a_terminal(database: &TestDatabase, columns: u16, args: &str, set: &str) -> Option<String> {
    let program = env!("CARGO_BIN_EXE_mcp-prune");
    let command = format!("stty cols {columns} rows 50; exec env {set} {program} {args}");
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("typescript");
    let status = Command::new("script")
        .args(["--quiet", "--return", "--command", &command])
        .arg(&log)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("LC_ALL", "C.UTF-8")
        .env("XDG_STATE_HOME", folder.path())
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if status.is_err() {
        skip("a terminal", "needs `script` of util-linux");
        return None;
    }
    Some(fs::read_to_string(&log).unwrap())
}

/// The lines as they stand on the terminal, without colours and what was cleared.
fn shown(told: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = told;
    while let Some((before, code)) = rest.split_once("\x1b[") {
        text.push_str(before);
        let end = code.find(char::is_alphabetic).unwrap() + 1;
        rest = &code[end..];
    }
    text.push_str(rest);
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
fn a_narrow_terminal_gets_blocks_with_whole_ids() {
    let database = demo();
    let Some(wide) = on_a_terminal(&database, 250, "scan", "") else {
        return;
    };
    let id = "3b9dd9b3-7b1d-4e3a-9c5f-0a2b4c6d8e03";
    assert!(
        shown(&wide)
            .iter()
            .any(|line| line.starts_with(" key release-bot (784395b4)") && line.ends_with(id)),
        "{wide}"
    );
    let narrow = on_a_terminal(&database, 80, "scan", "").unwrap();
    let lines = shown(&narrow);
    let at = lines
        .iter()
        .position(|line| line == "OWNER        key release-bot (784395b4)");
    let block = &lines[at.unwrap_or_else(|| panic!("{narrow}"))..];
    assert_eq!(block[3], "VERDICT      stale");
    assert_eq!(block[6], format!("ROW          {id}"));
    // What the terminal still cuts is prose.
    for line in lines.iter().filter(|line| line.chars().count() > 80) {
        assert!(!line.contains("-4"), "an id in {line}");
    }
}

#[test]
fn verdicts_have_colours_where_somebody_sees_them() {
    let database = demo();
    let stale = "\x1b[31mstale\x1b[0m";
    let Some(told) = on_a_terminal(&database, 250, "scan", "") else {
        return;
    };
    assert!(told.contains(stale), "{told}");
    for (variable, args) in [
        ("NO_COLOR=1", "scan"),
        ("TERM=dumb", "scan"),
        ("TERM=xterm", "scan --color never"),
    ] {
        let told = on_a_terminal(&database, 250, args, variable);
        let told = told.unwrap();
        assert!(told.contains(" stale "), "{variable}: {told}");
        assert!(!told.contains("\x1b[31m"), "{variable}: {told}");
    }
    let piped = run_on(database.url(), &["scan"]).exits(2);
    assert!(!piped.stdout.contains('\x1b'), "{piped}");
    let forced = run_on(database.url(), &["scan", "--color", "always"]).exits(2);
    let _ = forced.prints(stale);
}

#[test]
fn lines_are_drawn_as_the_locale_can() {
    let database = demo();
    let scan = |locale: &str| {
        let mut command = mcp_prune(&["scan"]);
        command.env("DATABASE_URL", database.url());
        run(command.env("LC_ALL", locale)).exits(2)
    };
    let _ = scan("de_DE.UTF-8").prints("────");
    let ascii = scan("C").prints("----");
    assert!(ascii.stdout.is_ascii(), "{ascii}");
}

#[test]
fn a_long_table_ends_with_what_was_left_out() {
    let database = TestDatabase::with(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           SELECT 'p-' || n, ARRAY['c1e2a7d4-93b6-4d0e-b8a5-6a2f9e4d7c33'] FROM generate_series(1, 300) AS n"#,
    );
    let rows = |args: &[&str]| {
        let ran = run_on(database.url(), &[&["scan"], args].concat()).exits(2);
        let rows = ran
            .stdout
            .lines()
            .filter(|line| line.contains("  p-"))
            .count();
        (rows, ran)
    };
    let (shown, ran) = rows(&[]);
    assert_eq!(shown, 200);
    let _ = ran.prints("200 of 300 rows are shown: --limit 0 shows all");
    assert_eq!(rows(&["--limit", "7"]).0, 7);
    let (shown, ran) = rows(&["--limit", "0"]);
    assert_eq!(shown, 300);
    assert!(!ran.stdout.contains("are shown"), "{ran}");
    let all = run_on(database.url(), &["scan", "--format", "json"])
        .exits(2)
        .json();
    assert_eq!(
        all["findings"].as_array().unwrap().len(),
        300,
        "of tables alone"
    );
}
