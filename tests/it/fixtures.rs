//! Every case of `fixtures/cases`, through the whole life of a repair: scan, dry run, fix, scan
//! again, fix again. The golden files in `golden/` show what the operator sees and what is stored.
//! Most of them hold the first scan whole, and of each later step what tells it apart from an
//! earlier one; see [`step_diff`](crate::step_diff).

use crate::program::{repository, run_on};
use crate::samples::script;
use crate::schemas::Format;
use crate::server::TestDatabase;
use crate::sql_script::repairs_alike;
use crate::step_diff::diff;

const LIFE: [&[&str]; 5] = [
    &["scan"],
    &["fix", "--dry-run"],
    &["fix", "--yes"],
    &["scan"],
    &["fix", "--yes"],
];

/// The step that each later step is compared with, as an index into [`LIFE`], and what the golden
/// files call it.
const COMPARED_WITH: [(usize, &str); 4] = [
    (0, "the first scan"),
    (1, "the dry run"),
    (0, "the first scan"),
    (3, "the second scan"),
];

/// The tests whose golden files hold every step whole: a plain repair, one that deletes rows, one
/// that writes deny markers, one that remaps, and one of every table that names servers.
const WHOLE: [&str; 5] = ["beside_live", "credentials", "deny", "remap", "sites"];

/// Loads a case; one with its own tables is complete, the others start from `schema.sql`.
fn load(case: &str) -> TestDatabase {
    let script = script(&format!("cases/{case}"));
    if script.contains(r#"CREATE TABLE "LiteLLM_MCPServerTable""#) {
        let database = TestDatabase::empty();
        database.load(&script);
        database
    } else {
        TestDatabase::with(&script)
    }
}

/// Returns the rows of every table that names servers; most cases only have permission rows.
fn rows(database: &TestDatabase, case: &str) -> Vec<String> {
    let mut rows = database.permission_rows();
    if case == "sites" {
        rows.extend(database.other_rows());
    }
    if case == "credentials" {
        let kept = database.credential_rows();
        // When a row was written differs from run to run.
        rows.extend(
            kept.iter()
                .map(|row| row.split(",\"").next().unwrap().to_owned()),
        );
    }
    rows
}

/// A command of the life of a case, and what it printed and left in the database.
struct Step {
    command: String,
    outcome: String,
}

/// Runs the life of a case. `more` is added to every command, and `fix` to those that repair.
fn live_through(case: &str, more: &[&str], fix: &[&str]) -> Vec<Step> {
    let database = load(case);
    let run = |args: &[&str]| {
        let fix = if args[0] == "fix" { fix } else { &[] };
        let args = [args, fix, more].concat();
        let before = rows(&database, case);
        let ran = run_on(database.url(), &args);
        let after = rows(&database, case);
        let stored = if before == after {
            "rows: unchanged".to_owned()
        } else {
            assert!(args.contains(&"--yes"), "{args:?} changed rows");
            format!("rows:\n{}", after.join("\n"))
        };
        Step {
            command: format!("$ mcp-prune {}", args.join(" ")),
            outcome: redact(&format!("{ran}\n{stored}")),
        }
    };
    LIFE.into_iter().map(run).collect()
}

/// Writes the life of a case as its golden file has it.
fn told(steps: &[Step], is_whole: bool) -> String {
    let written = |(at, step): (usize, &Step)| {
        let Step { command, outcome } = step;
        match at.checked_sub(1).map(|at| COMPARED_WITH[at]) {
            Some((other, name)) if !is_whole => {
                let difference = diff(&steps[other].outcome, outcome);
                format!("{command}\ncompared with {name}:\n{difference}")
            }
            _ => format!("{command}\n{outcome}"),
        }
    };
    let steps: Vec<String> = steps.iter().enumerate().map(written).collect();
    steps.join("\n\n")
}

/// Returns how golden files are stored: in one folder, named as their tests.
pub(crate) fn golden_settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// Runs the same life and then an undo, in both formats for machines. Each line and object must fit
/// its schema.
fn live_by_the_schema(case: &str, more: &[&str], fix: &[&str]) {
    for format in Format::BOTH {
        let database = load(case);
        let journals = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| format.run(database.url(), args);
        for args in LIFE {
            let args = match args {
                ["fix", "--yes"] => {
                    let journal = ["--journal", journals.path().to_str().unwrap()];
                    [args, fix, more, &journal].concat()
                }
                ["fix", ..] => [args, fix, more].concat(),
                args => [args, more].concat(),
            };
            run(&args);
        }
        for journal in std::fs::read_dir(journals.path()).unwrap() {
            let journal = journal.unwrap().path();
            let journal = journal.to_str().unwrap();
            for mode in ["--dry-run", "--yes", "--yes"] {
                run(&["undo", "--no-journal", mode, journal]);
            }
        }
    }
}

/// Repairs a case by the script of a dry run. There is none of credentials.
fn repaired_by_a_script(case: &str, options: &[&str]) {
    if options.contains(&"credentials") {
        let args = [&["fix", "--dry-run", "--format", "sql"], options].concat();
        let _ = run_on(load(case).url(), &args)
            .exits(64)
            .says("--format sql does not go with --sites credentials");
        return;
    }
    repairs_alike(|| load(case), options);
}

/// Replaces what differs from run to run (the database, the id of the run and the journal) and from
/// build to build (the advice about Redis).
fn redact(told: &str) -> String {
    let mut lines = Vec::new();
    let with_redis = "restart them, or give --notify-redis.";
    let told = told.replace("restart them.", with_redis);
    for line in told.lines() {
        if let Some((_, rest)) = line.split_once(", schema ")
            && line.starts_with("database ")
        {
            lines.push(format!("database [...], schema {rest}"));
        } else if let Some((head, _)) = line.split_once("mcp-prune undo ") {
            lines.push(format!("{head}mcp-prune undo [...]"));
        } else if let Some((head, rest)) = line.split_once("(run ") {
            let (_, rest) = rest.split_once(')').unwrap();
            lines.push(format!("{head}(run [...]){rest}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

/// Tests named as their golden files: `TEST of CASE fix OPTIONS with OPTIONS`.
macro_rules! cases {
    ($($test:ident of $case:ident $(fix $($fix:literal)*)? $(with $($more:literal)*)?;)*) => {
        const CASES: &[&str] = &[$(stringify!($case)),*];
        const TESTS: &[&str] = &[$(stringify!($test)),*];

        $(#[test]
        fn $test() {
            let test = stringify!($test);
            let life = live_through(stringify!($case), &[$($($more),*)?], &[$($($fix),*)?]);
            let told = told(&life, WHOLE.contains(&test));
            golden_settings().bind(|| insta::assert_snapshot!(test, told));
        })*

        /// The same cases, repaired by a script.
        mod by_a_script {
            $(#[test]
            fn $test() {
                let options = [&[$($($more),*)?][..], &[$($($fix),*)?]].concat();
                super::repaired_by_a_script(stringify!($case), &options);
            })*
        }

        /// The same cases, in the formats for machines.
        mod as_the_schema_says {
            $(#[test]
            fn $test() {
                super::live_by_the_schema(stringify!($case), &[$($($more),*)?], &[$($($fix),*)?]);
            })*
        }
    };
}

cases! {
    beside_live of beside_live;
    clean of clean;
    clear of would_gain fix "--on-empty" "clear" "--accept-widening";
    config_hints of config_hints;
    credentials of credentials fix "--delete-rows" with "--sites" "credentials" "--no-config-servers";
    credentials_held of credentials with "--sites" "credentials";
    deny of last_grant fix "--on-empty" "deny" with "--no-config-servers";
    deny_narrowing of obstacles fix "--on-empty" "deny" "--accept-narrowing" with "--no-config-servers";
    deny_open_to_all_keys of open_to_all_keys fix "--on-empty" "deny" with "--no-config-servers";
    deny_unknown_config of last_grant fix "--on-empty" "deny";
    empty_server_table of empty_server_table;
    first_schema of first_schema;
    inactive of inactive;
    last_grant of last_grant;
    malformed of malformed;
    odd_names of odd_names;
    remap of tool_permissions fix "--remap" "c1e2a7d4-93b6-4d0e-b8a5-6a2f9e4d7c33=Jira";
    sentinels of sentinels;
    sites of sites;
    sites_chosen of sites with "--sites" "toolsets,defaults" "--no-config-servers";
    sites_remap of sites fix "--remap" "f0e1d2c3-b4a5-4687-9788-99aabbccddee=jira";
    tool_permissions of tool_permissions;
    unknown_owner of unknown_owner;
    unverified of unverified;
    no_config_servers of unverified with "--no-config-servers";
    kept_by_key of kept_by_key;
    kept_by_key_deny of kept_by_key fix "--on-empty" "deny" with "--no-config-servers";
    obstacles of obstacles fix "--on-empty" "deny" with "--no-config-servers";
    would_gain of would_gain;
    kept of unverified with "--no-config-servers" "--keep" "deepwiki" "--keep" "@fixtures/keep.txt";
}

#[test]
fn notes_are_printed_only_with_the_option() {
    let database = load("notes");
    run_on(database.url(), &["scan"]).exits(0);
    let noted = run_on(database.url(), &["scan", "--notes"]).exits(0);
    golden_settings().bind(|| insta::assert_snapshot!("notes", redact(&noted.to_string())));
}

#[test]
fn no_case_is_forgotten() {
    let mut files: Vec<String> = std::fs::read_dir(repository("fixtures/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let mut cases = CASES.to_vec();
    cases.push("notes");
    cases.sort_unstable();
    cases.dedup();
    assert_eq!(files, cases);
    assert!(WHOLE.iter().all(|test| TESTS.contains(test)));
}
