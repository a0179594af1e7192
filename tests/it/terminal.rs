//! What the binary shows on a terminal, which `script` makes, and only there.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::concurrent::while_open;
use crate::program::{mcp_prune, run, run_on, wait_until};
use crate::samples::demo;
use crate::server::{TestDatabase, concurrent_server, skip};

/// Returns a command that runs the binary on a terminal so many columns wide, with variables `set`.
/// All that the terminal is sent goes to `log`.
pub(crate) fn terminal(
    database: &TestDatabase,
    columns: u16,
    args: &str,
    set: &str,
    log: &Path,
) -> Command {
    let program = env!("CARGO_BIN_EXE_mcp-prune");
    let shell = format!("stty cols {columns} rows 50; exec env {set} {program} {args}");
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--flush", "--return", "--command", &shell])
        .arg(log)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("LC_ALL", "C.UTF-8")
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Runs the binary on a terminal and returns all that the terminal was sent; `None` if the test is
/// skipped.
pub(crate) fn on_a_terminal(
    database: &TestDatabase,
    columns: u16,
    args: &str,
    set: &str,
) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("typescript");
    if terminal(database, columns, args, set, &log)
        .status()
        .is_err()
    {
        skip("a terminal", "needs `script` of util-linux");
        return None;
    }
    Some(fs::read_to_string(&log).unwrap())
}

/// Returns the lines that are on the terminal in the end: without colours, and without what was
/// cleared.
pub(crate) fn lines_shown(told: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = told;
    while let Some((before, code)) = rest.split_once("\x1b[") {
        text.push_str(before);
        let end = code.find(char::is_alphabetic).unwrap() + 1;
        match &code[..end] {
            "2K" => text.truncate(text.rfind('\n').map_or(0, |at| at + 1)),
            code => assert!(code.ends_with('m'), "no colour: {code:?}"),
        }
        rest = &code[end..];
    }
    text.push_str(rest);
    let lines = text.lines().map(|line| line.trim_end_matches(['\r', ' ']));
    lines.map(str::to_owned).collect()
}

/// Returns the same lines without the space before them.
pub(crate) fn shown(told: &str) -> Vec<String> {
    let lines = lines_shown(told);
    lines
        .iter()
        .map(|line| line.trim_start().to_owned())
        .collect()
}

#[test]
fn show_breaks_no_id() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    run_on(database.url(), &["fix", "--yes", "--journal", journal]).exits(3);
    let show = ["show", journal, "--format", "json"];
    let changes = run_on(database.url(), &show).exits(0).json()["changes"].clone();
    for columns in [80, 100, 200] {
        let Some(told) = on_a_terminal(&database, columns, &format!("show {journal}"), "") else {
            return;
        };
        let told = lines_shown(&told).join("\n");
        for change in changes.as_array().unwrap() {
            assert!(told.contains(change["row"].as_str().unwrap()), "{told}");
            let lists = ["before", "after"].map(|side| &change[side]["mcp_servers"]);
            for id in lists
                .into_iter()
                .filter_map(|list| list.as_array())
                .flatten()
            {
                assert!(
                    told.contains(id.as_str().unwrap()),
                    "{columns}: {id}\n{told}"
                );
            }
        }
    }
}

#[test]
fn the_layout_is_the_same_at_every_width() {
    let database = demo();
    let Some(wide) = on_a_terminal(&database, 250, "scan", "") else {
        return;
    };
    let narrow = on_a_terminal(&database, 80, "scan", "").unwrap();
    for told in [&wide, &narrow] {
        let lines = shown(told);
        let owner = "hold    key release-bot (784395b4)  servers;";
        assert!(lines.iter().any(|line| line.starts_with(owner)), "{told}");
        let title = "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04: 3 rows, 3 owners; tools: post_message";
        assert!(lines.iter().any(|line| line == title), "{told}");
        assert!(!told.contains("3b9dd9b3-7b1d"), "no row: {told}");
    }
    for line in shown(&narrow) {
        // `script` says when it began and ended.
        if line.starts_with("Script ") || line.starts_with("database ") {
            continue;
        }
        assert!(line.chars().count() <= 80, "{line}");
    }
    let rows = on_a_terminal(&database, 80, "scan --wide", "").unwrap();
    assert!(
        rows.contains("3b9dd9b3-7b1d-4e3a-9c5f-0a2b4c6d8e03"),
        "{rows}"
    );
}

#[test]
fn verdicts_have_colours_where_somebody_sees_them() {
    let database = demo();
    let hold = "\x1b[33mhold\x1b[0m";
    let Some(told) = on_a_terminal(&database, 250, "scan", "") else {
        return;
    };
    assert!(told.contains(hold), "{told}");
    for (variable, args) in [
        ("NO_COLOR=1", "scan"),
        ("TERM=dumb", "scan"),
        ("TERM=xterm", "scan --color never"),
    ] {
        let told = on_a_terminal(&database, 250, args, variable);
        let told = told.unwrap();
        assert!(told.contains("  hold  "), "{variable}: {told}");
        assert!(!told.contains("\x1b[33m"), "{variable}: {told}");
    }
    let piped = run_on(database.url(), &["scan"]).exits(2);
    assert!(!piped.stdout.contains('\x1b'), "{piped}");
    let forced = run_on(database.url(), &["scan", "--color", "always"]).exits(2);
    let _ = forced.prints(hold);
}

#[test]
fn lines_are_drawn_as_the_locale_can() {
    let database = demo();
    let scan = |locale: &str| {
        let mut command = mcp_prune(&["scan"]);
        command.env("DATABASE_URL", database.url());
        run(command.env("LC_ALL", locale)).exits(2)
    };
    let ids = |locale: &str| {
        let mut command = mcp_prune(&["doctor"]);
        command.env("DATABASE_URL", database.url());
        run(command.env("LC_ALL", locale))
    };
    let _ = ids("de_DE.UTF-8").prints("────");
    let ascii = ids("C").prints("----");
    assert!(ascii.stdout.is_ascii(), "{ascii}");
    let ascii = scan("C");
    assert!(ascii.stdout.is_ascii(), "{ascii}");
}

#[test]
fn a_long_table_ends_with_what_was_left_out() {
    let database = TestDatabase::with(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           SELECT 'p-' || n, ARRAY['c1e2a7d4-93b6-4d0e-b8a5-6a2f9e4d7c33'] FROM generate_series(1, 300) AS n"#,
    );
    let rows = |args: &[&str]| {
        let ran = run_on(database.url(), &[&["scan", "--wide"], args].concat()).exits(2);
        let rows = ran
            .stdout
            .lines()
            .filter(|line| line.contains("row p-"))
            .count();
        (rows, ran)
    };
    let (shown, ran) = rows(&[]);
    assert_eq!(shown, 200);
    let _ = ran.prints("200 of 300 lines are shown: --limit 0 shows all");
    assert_eq!(rows(&["--limit", "7"]).0, 7);
    let (shown, ran) = rows(&["--limit", "0"]);
    assert_eq!(shown, 300);
    assert!(!ran.stdout.contains("are shown"), "{ran}");
    let folded = run_on(database.url(), &["scan"]).exits(2);
    let _ = folded.prints("300 rows without an owner");
    let all = run_on(database.url(), &["scan", "--format", "json"])
        .exits(2)
        .json();
    assert_eq!(
        all["findings"].as_array().unwrap().len(),
        300,
        "of tables alone"
    );
}

#[test]
fn a_terminal_shows_each_stage_until_the_run_is_done() {
    let database = demo();
    for (args, stages) in [
        (
            "scan",
            &["connecting", "looking for stale references", "reading rows"][..],
        ),
        (
            "fix --yes --no-journal",
            &[
                "connecting",
                "planning rows",
                "locking rows",
                "writing and verifying rows",
                "committing",
            ],
        ),
    ] {
        let Some(told) = on_a_terminal(&database, 250, args, "") else {
            return;
        };
        let left = shown(&told);
        for stage in stages {
            assert!(told.contains(stage), "{stage} in {told:?}");
            assert!(
                !left.iter().any(|line| line.contains(stage)),
                "{stage} in {left:#?}"
            );
        }
        // It does not stand in the way of what is said meanwhile.
        assert!(left[1].starts_with("database "), "{left:#?}");
        let again = on_a_terminal(&database, 250, &format!("{args} -q"), "").unwrap();
        assert!(!again.contains("connecting"), "{again}");
        let piped = run_on(
            database.url(),
            args.split(' ').collect::<Vec<_>>().as_slice(),
        );
        for stage in stages {
            assert!(!piped.to_string().contains(stage), "{piped}");
        }
    }
}

#[test]
fn rows_are_counted_while_they_are_written() {
    if concurrent_server("rows counted").is_none() {
        return;
    }
    // Someone keeps a row of the second chunk from being written.
    let database = TestDatabase::with(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               SELECT 'p-' || n, ARRAY['github', 'c1e2a7d4-93b6-4d0e-b8a5-6a2f9e4d7c33']
               FROM generate_series(1, 2500) AS n;
           CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;
           CREATE TRIGGER gate AFTER UPDATE ON "LiteLLM_ObjectPermissionTable" FOR EACH ROW
               WHEN (NEW."object_permission_id" = 'p-999') EXECUTE FUNCTION gate();"#,
    );
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("typescript");
    let told = || fs::read_to_string(&log).unwrap_or_default();
    let fix = "fix --yes --no-journal --lock-timeout 600";
    let counted = "writing and verifying rows: 2,000 rows, ";
    let mut child = None;
    while_open(&database, "SELECT pg_advisory_xact_lock(7)", || {
        child = terminal(&database, 250, fix, "", &log).spawn().ok();
        wait_until("the rows are counted, or the run has ended", || {
            let ended = child
                .as_mut()
                .is_none_or(|run| run.try_wait().unwrap().is_some());
            ended || told().contains(counted)
        });
    });
    let Some(mut child) = child else {
        skip("rows counted", "needs `script` of util-linux");
        return;
    };
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", told());
    assert!(told().contains(counted), "{}", told());
    let left = shown(&told());
    assert!(
        !left.iter().any(|line| line.contains("verifying rows")),
        "{left:#?}"
    );
}

#[test]
fn the_prompt_stands_on_a_line_of_its_own() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("typescript");
    let told = || fs::read_to_string(&log).unwrap_or_default();
    let mut command = terminal(&database, 250, "fix --no-journal", "", &log);
    let Ok(mut child) = command.stdin(Stdio::piped()).spawn() else {
        skip("the prompt below progress", "needs `script` of util-linux");
        return;
    };
    wait_until("the question is asked, or the run has ended", || {
        told().contains("[y/N]") || child.try_wait().unwrap().is_some()
    });
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"y\r").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{}", told());
    assert!(told().contains("locking rows"), "{:?}", told());
    let left = shown(&told());
    let at = left.iter().position(|line| {
        line.starts_with("Repair 4 rows of database ") && line.ends_with("? [y/N] y")
    });
    let at = at.unwrap_or_else(|| panic!("{left:#?}"));
    assert_eq!(left[at - 1], "");
    assert!(
        !left.iter().any(|line| line.contains("locking rows")),
        "{left:#?}"
    );
}
