//! Hints: none proposes what was said, and a key that cannot be edited is told a way forward.

use crate::program::{repository, run_on};
use crate::server::TestDatabase;

/// Keys whose last references are held, beside a LiteLLM that refuses to edit them.
fn refusing() -> TestDatabase {
    let case = std::fs::read_to_string(repository("fixtures/cases/kept_by_key.sql"));
    TestDatabase::with(&case.unwrap())
}

#[test]
fn a_key_that_answers_403_is_told_how_to_get_out_of_it() {
    let database = refusing();
    for choice in [&[][..], &["--on-empty", "deny"]] {
        let args = [&["fix", "--dry-run"], choice].concat();
        let ran = run_on(database.url(), &args)
            .exits(2)
            .prints("LiteLLM answers 403 to an edit of such a key that still names a held")
            .prints("set its MCP servers anew in LiteLLM")
            .prints("--on-empty clear --accept-widening, if the key may gain what is shown");
        assert_eq!(ran.stdout.matches("answers 403").count(), 1, "{ran}");
    }
    let clear = [
        "fix",
        "--dry-run",
        "--on-empty",
        "clear",
        "--accept-widening",
    ];
    let ran = run_on(database.url(), &clear).exits(2);
    assert!(!ran.stdout.contains("answers 403 to"), "{ran}");
}

#[test]
fn no_hint_proposes_what_was_said() {
    for case in [
        "kept_by_key",
        "last_grant",
        "obstacles",
        "sites",
        "would_gain",
    ] {
        let script = std::fs::read_to_string(repository(&format!("fixtures/cases/{case}.sql")));
        let database = TestDatabase::with(&script.unwrap());
        for (said, never) in [
            (&["--on-empty", "hold"][..], &["--on-empty hold"][..]),
            (&["--on-empty", "deny"], &["--on-empty deny"]),
            (
                &["--on-empty", "deny", "--accept-narrowing"],
                &["--on-empty deny", "--accept-narrowing"],
            ),
            (
                &["--on-empty", "clear", "--accept-widening"],
                &["--on-empty", "--accept-"],
            ),
            (&["--max-rows", "0"], &["--dry-run"]),
        ] {
            let args = [&["fix", "--dry-run"], said].concat();
            let ran = run_on(database.url(), &args);
            // The command that carries it out says it again.
            let text = ran.to_string();
            let lines = text
                .lines()
                .filter(|line| !line.starts_with("  mcp-prune "));
            let hints: Vec<&str> = lines.collect();
            let hints = hints.join("\n");
            for hint in never {
                assert!(!hints.contains(hint), "{case} {said:?}: {ran}");
            }
        }
    }
}
