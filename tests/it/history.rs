//! `history` and `show`: what they tell of journals, whole and broken, without a database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::journal_retention::aged;
use crate::program::{Ran, formats, mcp_prune, repository, run, run_on};
use crate::samples::{NOWHERE, case, demo};
use crate::schemas::Format;
use crate::server::TestDatabase;

/// Runs a command that writes, with its journal in `folder`, and returns the name of the run.
pub(crate) fn journalled(
    database: &TestDatabase,
    folder: &Path,
    args: &[&str],
    status: i32,
) -> String {
    let more = ["--journal", text(folder), "--format", "json", "--yes"];
    let ran = run_on(database.url(), &[args, &more].concat()).exits(status);
    ran.json()["run"].as_str().unwrap().to_owned()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Lists the journals of a folder, in a form that is checked against its schema.
pub(crate) fn history(folder: &Path) -> Vec<Value> {
    let args = ["history", "--journal", text(folder)];
    let (ran, documents) = Format::Json.run(NOWHERE, &args);
    assert_eq!(ran.stderr, "", "no database is connected to");
    let _ = ran.exits(0);
    documents[0]["journals"].as_array().unwrap().clone()
}

/// Returns the journal of a run.
pub(crate) fn of_run(journals: &[Value], run: &str) -> Value {
    let mut journals = journals.iter();
    let found = journals.find(|journal| journal["run"] == run);
    found.unwrap_or_else(|| panic!("no {run}")).clone()
}

fn show(args: &[&str]) -> Ran {
    run_on(NOWHERE, &[&["show"], args].concat())
}

#[test]
fn each_run_is_listed_with_what_became_of_it() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fix = journalled(&database, folder, &["fix"], 3);
    let listed = of_run(&history(folder), &fix);
    assert_eq!(
        (&listed["kind"], &listed["undone"]),
        (&json!("fix"), &json!("no"))
    );
    assert_eq!(listed["rows"], 4);
    assert_eq!(listed["state"], "committed");
    assert_eq!(listed["database"]["name"], database.name());
    assert_eq!(listed["user"], "postgres");
    assert!(listed["time"].as_str().unwrap().ends_with('Z'), "{listed}");

    let undo = journalled(&database, folder, &["undo", &fix], 0);
    let journals = history(folder);
    let undone = of_run(&journals, &fix);
    assert_eq!(
        (&undone["undone"], &undone["undone_by"]),
        (&json!("wholly"), &json!([undo]))
    );
    let of_undo = of_run(&journals, &undo);
    assert_eq!(
        (&of_undo["kind"], &of_undo["undone"]),
        (&json!("undo"), &json!("no"))
    );
    assert_eq!(of_undo["undoes"], json!({"run": fix}));

    // What is repaired again is not undone.
    let redo = journalled(&database, folder, &["undo", &undo[..5]], 0);
    let journals = history(folder);
    assert_eq!(of_run(&journals, &fix)["undone"], "no");
    assert_eq!(of_run(&journals, &undo)["undone_by"], json!([redo]));
    assert_eq!(journals.len(), 3);

    let plan = folder.join("a-plan");
    let dry = [
        "fix",
        "--dry-run",
        "--plan-out",
        text(&plan),
        "--remap-file",
    ];
    let csv = folder.join("remaps.csv");
    fs::write(&csv, "old,new\nd7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04,jira\n").unwrap();
    run_on(database.url(), &[&dry[..], &[text(&csv)]].concat()).exits(2);
    let journals = history(folder);
    let plan = journals
        .iter()
        .find(|journal| journal["kind"] == "plan")
        .unwrap();
    assert_eq!(
        (&plan["state"], plan.get("undone")),
        (&json!("saved"), None)
    );

    for format in formats() {
        let args = ["history", "--journal", text(folder), "--format", format];
        let ran = run_on(NOWHERE, &args).exits(0);
        for run in [&fix, &undo, &redo] {
            assert!(ran.stdout.contains(run.as_str()), "{format}: {ran}");
        }
        assert!(!ran.to_string().contains("s3cret"), "{format}: {ran}");
    }
    Format::Ndjson
        .run(NOWHERE, &["history", "--journal", text(folder)])
        .0
        .exits(0);
    let list = run_on(NOWHERE, &["history", "--journal", text(folder)]).exits(0);
    let list = list
        .prints("4 journals in ")
        .prints(&format!("undone by {redo}"));
    let _ = list.prints("not undone");
}

#[test]
fn the_newest_journal_is_the_first_and_a_named_file_is_its_folder() {
    let database = case("beside_live");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let young = folder.join("a");
    let fix = [
        "fix",
        "--yes",
        "--no-config-servers",
        "--journal",
        text(&young),
    ];
    run_on(database.url(), &fix).exits(0);
    let journal = fs::read_to_string(&young).unwrap();
    fs::write(folder.join("b"), aged(&journal)).unwrap();
    for named in [folder, &young] {
        let files = history(named);
        let files: Vec<&Value> = files.iter().map(|journal| &journal["file"]).collect();
        assert_eq!(files, [text(&young), text(&folder.join("b"))]);
    }
    // The folder of `fix` is the default, and need not be there yet.
    let home = tempfile::tempdir().unwrap();
    let mut history = mcp_prune(&["history"]);
    let none = run(history.env("XDG_STATE_HOME", home.path())).exits(0);
    let _ = none.prints(&format!(
        "no journals in {}/mcp-prune.",
        home.path().display()
    ));
    run_on(NOWHERE, &["history", "--journal", "no/such/folder"])
        .exits(1)
        .says("cannot read the folder of journals no/such/folder")
        .says("--journal DIR");
    run(mcp_prune(&["history"]).env_remove("XDG_STATE_HOME"))
        .exits(1)
        .says("neither XDG_STATE_HOME nor HOME is set");
}

#[test]
fn broken_files_are_listed_with_what_is_wrong_and_refused_by_show_and_undo() {
    let database = case("beside_live");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let whole = folder.join("whole");
    let fix = [
        "fix",
        "--yes",
        "--no-config-servers",
        "--journal",
        text(&whole),
    ];
    run_on(database.url(), &fix).exits(0);
    let journal = fs::read_to_string(&whole).unwrap();
    let lines: Vec<&str> = journal.split_inclusive('\n').collect();
    let header_alone = lines[0].to_owned();
    let half_a_line = lines[..2].concat()[..journal.len() / 3].to_owned();
    let edited = journal.replacen("\"rows\"", "\"Rows\"", 1);
    let uncommitted = lines[..lines.len() - 1].concat();
    let newer = journal.replacen("\"format\":1", "\"format\":2", 1);
    let name = |n: u8| folder.join(format!("fix-20200102T03040{n}Z-0000000{n}.ndjson"));
    for (n, content, state, problem) in [
        (1, "", "cut-short", "line 1: the file ends here"),
        (2, &header_alone, "cut-short", "line 2: the file ends here"),
        (3, &half_a_line, "cut-short", "cut short"),
        (
            4,
            &edited,
            "damaged",
            "was changed or removed after it was written",
        ),
        (
            5,
            "somebody else's\n",
            "damaged",
            "this is not a line of a changeset",
        ),
        (6, &resummed(&newer), "damaged", "the format is version 2"),
    ] {
        fs::write(name(n), content).unwrap();
        let journals = history(folder);
        let file = name(n);
        let entry = journals
            .iter()
            .find(|journal| journal["file"] == text(&file))
            .unwrap();
        assert_eq!(entry["state"], state, "{entry}");
        assert!(
            entry["problem"].as_str().unwrap().contains(problem),
            "{entry}"
        );
        assert_eq!(entry.get("undone"), None);
        for format in formats() {
            show(&[text(&file), "--format", format]).exits(1);
        }
        show(&[text(&file)])
            .exits(1)
            .says(text(&file))
            .says(problem);
        let undo = ["undo", "--yes", "--no-journal", text(&file)];
        run_on(database.url(), &undo).exits(1).says(problem);
    }
    fs::write(name(7), uncommitted).unwrap();
    fs::write(name(8), b"\xff\xfe\n").unwrap();
    let journals = history(folder);
    let state = |n: u8| {
        let file = name(n);
        let entry = journals
            .iter()
            .find(|journal| journal["file"] == text(&file));
        entry.unwrap()["state"].clone()
    };
    assert_eq!(state(7), "uncertain");
    assert_eq!(state(8), "unreadable");
    show(&[text(&name(8))])
        .exits(1)
        .says("it is not UTF-8 text");
    let list = run_on(NOWHERE, &["history", "--journal", text(folder)]).exits(0);
    let list = list.prints("These files are not whole, and undo takes none of them:");
    let _ = list
        .prints("perhaps committed")
        .prints("cut short")
        .prints("damaged");
}

/// Commits a repair with its journal in `folder`, and returns the name of the run and the file.
fn committed(database: &TestDatabase, folder: &Path) -> (String, PathBuf) {
    let run = journalled(database, folder, &["fix", "--no-config-servers"], 0);
    let file = of_run(&history(folder), &run)["file"].clone();
    (run, PathBuf::from(file.as_str().unwrap()))
}

#[test]
fn a_repair_is_undone_although_its_journal_ends_within_the_line_about_the_commit() {
    let database = case("beside_live");
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (run, file) = committed(&database, folder);
    let journal = fs::read_to_string(&file).unwrap();
    fs::write(&file, &journal[..journal.len() - 20]).unwrap();
    let listed = of_run(&history(folder), &run);
    assert_eq!(
        (&listed["state"], &listed["problem"], &listed["undone"]),
        (&json!("uncertain"), &Value::Null, &json!("no"))
    );
    show(&[&run, "--journal", text(folder)])
        .exits(0)
        .prints("State: perhaps committed");
    journalled(&database, folder, &["undo", &run], 0);
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn a_journal_that_cannot_be_finished_is_left_as_it_was_before_the_commit() {
    let database = case("beside_live");
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let (first, file) = committed(&database, folder.path());
    let journal = fs::read_to_string(&file).unwrap();
    let end = journal.trim_end().rfind('\n').unwrap() + 1;
    journalled(&database, folder.path(), &["undo", &first], 0);

    // The next journal is as long, and there is no room for all of its last line.
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let args = ["fix", "--yes", "--no-config-servers", "--journal"];
    let fix = mcp_prune(&[&args[..], &[text(folder)]].concat());
    let room = (end + 20).to_string();
    let mut limited = Command::new("sh");
    limited
        .args([
            "-c",
            "trap '' XFSZ; room=$1; shift; exec prlimit --fsize=$room \"$@\"",
        ])
        .args(["sh", &room])
        .arg(fix.get_program())
        .args(fix.get_args())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DATABASE_URL", database.url());
    run(&mut limited)
        .exits(0)
        .says("everything was committed, but cannot finish");
    assert_ne!(database.permission_rows(), before);
    let journals = history(folder);
    let left = &journals[0];
    assert_eq!(left["state"], "uncertain");
    let length = fs::metadata(left["file"].as_str().unwrap()).unwrap().len();
    assert_eq!(length, u64::try_from(end).unwrap());
    let second = left["run"].as_str().unwrap();
    journalled(&database, folder, &["undo", second], 0);
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn what_is_no_file_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let name = |run: &str| folder.join(format!("fix-20200102T030405Z-{run}.ndjson"));
    // Nobody may ever write to it.
    let fifo = name("00000001");
    run(Command::new("mkfifo").arg(&fifo)).exits(0);
    fs::create_dir(name("00000002")).unwrap();
    std::os::unix::fs::symlink("nowhere", name("00000003")).unwrap();
    fs::write(folder.join("fix.prom"), "mcp_prune 1\n").unwrap();
    fs::write(name("00000004"), "").unwrap();
    assert_eq!(history(folder).len(), 1);
    for command in [&["show"][..], &["undo", "--yes"]] {
        run_on(NOWHERE, &[command, &[text(&fifo)]].concat())
            .exits(1)
            .says("it is not a regular file");
    }
    show(&[text(folder)])
        .exits(1)
        .says("cannot read")
        .says("directory");
    show(&["no-such-file"])
        .exits(1)
        .says("cannot read no-such-file");
}

/// Returns changed lines with the right sum on each.
fn resummed(journal: &str) -> String {
    // Ageing makes the sums anew; the time does not matter here.
    aged(journal)
}

#[test]
fn a_journal_is_shown_in_every_form_with_owners_and_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let database = demo();
    let fix = journalled(&database, folder, &["fix"], 3);
    let by_run = [fix.as_str(), "--journal", text(folder)];
    for format in Format::BOTH {
        format
            .run(NOWHERE, &[&["show"], &by_run[..]].concat())
            .0
            .exits(0);
    }
    let shown = show(&[&by_run[..], &["--format", "json"]].concat())
        .exits(0)
        .json();
    assert_eq!(shown["journal"]["run"], fix.as_str());
    assert_eq!(shown["journal"]["rows"], 4);
    let changes = shown["changes"].as_array().unwrap();
    let of_platform = json!([{"kind": "team", "id": "platform", "name": "Platform"}]);
    let platform = changes
        .iter()
        .find(|change| change["owners"] == of_platform)
        .unwrap();
    assert!(
        platform["before"]["mcp_servers"]
            .to_string()
            .contains("d7c3f1a8"),
        "{platform}"
    );
    assert!(
        !platform["after"]["mcp_servers"]
            .to_string()
            .contains("d7c3f1a8"),
        "{platform}"
    );
    let of_key = json!([{"kind": "key", "id": "dcf1f059", "name": "ci-bot"}]);
    assert!(
        changes.iter().any(|change| change["owners"] == of_key),
        "{shown}"
    );
    let table = show(&by_run)
        .exits(0)
        .prints(&format!("Run {fix} (fix) changed 4 rows."));
    let _ = table
        .prints("team Platform (platform)")
        .prints("State: committed");
    let _ = show(&[&by_run[..], &["--limit", "1"]].concat())
        .exits(0)
        .prints("1 of 5 rows are shown");
    let markdown = show(&[&by_run[..], &["--format", "markdown"]].concat()).exits(0);
    let _ = markdown
        .prints("## Changes")
        .prints("team `Platform` (`platform`)");
    let csv = show(&[&by_run[..], &["--format", "csv"]].concat()).exits(0);
    let _ = csv
        .prints("change,LiteLLM_ObjectPermissionTable")
        .prints("team platform Platform");

    let database = case("credentials");
    let of_credentials = folder.join("credentials");
    let fix = [
        "fix",
        "--sites",
        "credentials",
        "--delete-rows",
        "--no-config-servers",
    ];
    let fix = [&fix[..], &["--yes", "--journal", text(&of_credentials)]].concat();
    let ran = run_on(database.url(), &fix);
    assert!([0, 3].contains(&ran.status), "{ran}");
    assert!(
        fs::read_to_string(&of_credentials)
            .unwrap()
            .contains("s3cret")
    );
    for format in formats() {
        let ran = show(&[text(&of_credentials), "--format", format]).exits(0);
        assert!(!ran.to_string().contains("s3cret"), "{format}: {ran}");
        assert!(ran.stdout.contains("f0e1d2c3"), "{format}: {ran}");
    }
}

#[test]
fn journals_of_earlier_programs_are_listed_and_shown() {
    let folder = repository("fixtures/changesets");
    let journals = history(&folder);
    assert_eq!(journals.len(), 4);
    let kinds = journals
        .iter()
        .map(|journal| journal["kind"].as_str().unwrap());
    let mut kinds: Vec<&str> = kinds.collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["fix", "plan", "undo", "undo"]);
    for journal in &journals {
        assert_eq!(journal["user"], Value::Null);
        let file = journal["file"].as_str().unwrap();
        let shown = show(&[file]).exits(0).prints("not recorded");
        assert!(!shown.stdout.contains("bm9uZQ=="), "{shown}");
        if journal["kind"] == "fix" {
            // They do not say what they undid, but what they changed tells.
            assert_eq!(journal["undone"], "no", "it was repaired again");
        }
    }
    let undone = journals
        .iter()
        .filter(|journal| journal["undone"] == "wholly");
    assert_eq!(undone.count(), 1);
}

#[test]
fn a_run_is_named_by_its_first_digits_if_they_are_enough() {
    let database = case("beside_live");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let whole = folder.join("whole");
    let fix = [
        "fix",
        "--yes",
        "--no-config-servers",
        "--journal",
        text(&whole),
    ];
    run_on(database.url(), &fix).exits(0);
    let journal = fs::read_to_string(&whole).unwrap();
    let header: Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    let run_of = header["run"].as_str().unwrap().to_owned();
    let renamed = |run: &str| resummed(&journal.replacen(&run_of, run, 1));
    let other = folder.join("other");
    fs::create_dir(&other).unwrap();
    for (file, run) in [
        ("one", "abcd0001"),
        ("two", "abcd0002"),
        ("copy", "abcd0002"),
    ] {
        fs::write(other.join(file), renamed(run)).unwrap();
    }
    let there = ["--journal", text(&other)];
    let named = |run: &str| show(&[&[run], &there[..]].concat());
    named("abcd0001").exits(0).prints("Run abcd0001 (fix)");
    named("ABCD0001").exits(0).prints("Run abcd0001 (fix)");
    named("abcd")
        .exits(1)
        .says("the run abcd is ambiguous")
        .says("give more digits, as in abcd000");
    named("abcd0002")
        .exits(1)
        .says("name one of the files: ")
        .says(text(&other.join("copy")));
    named("beef")
        .exits(1)
        .says("no journal in ")
        .says("is of a run beef")
        .says("abcd0001 (fix, 2020-")
        .says("./beef");
    let empty = tempfile::tempdir().unwrap();
    show(&["beef", "--journal", text(empty.path())])
        .exits(1)
        .says("there are no journals");

    // A word of digits is a run, whatever files there are.
    let desk = tempfile::tempdir().unwrap();
    fs::write(desk.path().join("beef"), &journal).unwrap();
    let at_the_desk = |word: &str| {
        let mut command = mcp_prune(&["show", word, "--journal", text(&other)]);
        run(command.current_dir(desk.path()))
    };
    at_the_desk("beef").exits(1).says("is of a run beef");
    at_the_desk("./beef")
        .exits(0)
        .prints(&format!("Run {run_of} (fix)"));

    // A plan is shown and not undone.
    let plan = other.join("plan");
    let dry = ["fix", "--dry-run", "--plan-out", text(&plan)];
    let fresh = demo();
    let ran = run_on(fresh.url(), &[&dry[..], &["--format", "json"]].concat()).exits(2);
    let of_plan = ran.json()["run"].as_str().unwrap().to_owned();
    named(&of_plan).exits(0).prints("(plan) would change");
    let undo = ["undo", "--yes", &of_plan, "--journal", text(&other)];
    run_on(fresh.url(), &undo).exits(1).says("no journal in ");
}

#[test]
fn no_report_takes_the_place_of_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let database = case("beside_live");
    let fix = [
        "fix",
        "--yes",
        "--no-config-servers",
        "--journal",
        text(&journal),
    ];
    run_on(database.url(), &fix).exits(0);
    let before = fs::read_to_string(&journal).unwrap();
    for args in [
        &["show", text(&journal)][..],
        &["history", "--journal", text(&journal)],
        &["show", "1a2b3c4d", "--journal", text(&journal)],
    ] {
        let args = [args, &["--output", text(&journal)]].concat();
        run_on(NOWHERE, &args).exits(64).says("are the same file");
    }
    // The name of a run is no file, and an option may name the folder or nothing at all.
    let header: Value = serde_json::from_str(before.lines().next().unwrap()).unwrap();
    let run_of = header["run"].as_str().unwrap();
    let rows = database.permission_rows();
    let undo = ["undo", "--yes", run_of, "--journal", text(folder.path())];
    let scan = ["scan", "--no-config-servers"];
    let show = ["show", run_of, "--journal", text(folder.path())];
    for (args, option) in [
        (&undo[..], "--output"),
        (&undo, "--metrics-file"),
        (&scan, "--output"),
        (&scan, "--metrics-file"),
        (&show, "--output"),
    ] {
        let args = [args, &[option, text(&journal)]].concat();
        run_on(database.url(), &args)
            .exits(64)
            .says(&format!("{option} would replace "))
            .says("a journal or plan");
    }
    // These options replace no file at all, or only one of their own kind.
    let dry_run = ["fix", "--dry-run", "--no-config-servers", "--format", "sql"];
    for (args, option) in [
        (&scan[..], "--write-baseline"),
        (&["access", "--no-config-servers"], "--save"),
        (&dry_run, "--undo-sql"),
        (&dry_run[..3], "--plan-out"),
    ] {
        let args = [args, &[option, text(&journal)]].concat();
        run_on(database.url(), &args).exits(1).says(text(&journal));
    }
    assert_eq!(database.permission_rows(), rows);
    assert_eq!(fs::read_to_string(&journal).unwrap(), before);
    let report = folder.path().join("report");
    let args = [
        "show",
        text(&journal),
        "--output",
        text(&report),
        "--format",
        "json",
    ];
    let ran = run_on(NOWHERE, &args).exits(0);
    assert_eq!(ran.stdout, "");
    assert!(
        fs::read_to_string(&report)
            .unwrap()
            .contains("\"command\": \"show\"")
    );
}
