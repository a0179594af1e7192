//! Hints: none proposes an option that was given, and there is a way forward for a key that cannot
//! be edited.

use crate::program::run_on;
use crate::samples::case;

#[test]
fn a_key_that_answers_403_is_told_how_to_get_out_of_it() {
    // Its keys have references that are held, and this LiteLLM refuses to edit such keys.
    let database = case("kept_by_key");
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
    for name in [
        "kept_by_key",
        "last_grant",
        "obstacles",
        "sites",
        "would_gain",
    ] {
        let database = case(name);
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
            // Nothing of `obstacles` may be changed, so its rows are not too many.
            let refused = said[0] == "--max-rows" && name != "obstacles";
            let ran = run_on(database.url(), &args).exits(if refused { 4 } else { 2 });
            let errors = ran.stderr.lines();
            let hints = errors.filter(|line| line.starts_with("hint: ")).count();
            assert_eq!(hints, usize::from(refused), "{name} {said:?}: {ran}");
            // The command that carries it out says it again.
            let text = ran.to_string();
            let lines = text
                .lines()
                .filter(|line| !line.starts_with("  mcp-prune "));
            let hints: Vec<&str> = lines.collect();
            let hints = hints.join("\n");
            for hint in never {
                assert!(!hints.contains(hint), "{name} {said:?}: {ran}");
            }
        }
    }
}
