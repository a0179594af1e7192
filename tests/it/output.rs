//! `--output FILE`: the report as a file, which is whole or not there at all.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory as _;
use mcp_prune::testing::Cli;
use serde_json::Value;

use crate::concurrent::{ended, wait_for_lock, while_open};
use crate::program::{Ran, mcp_prune, run, run_on};
use crate::samples::{NOWHERE, demo};
use crate::server::concurrent_server;

/// Makes a folder with a report of yesterday; returns its path too.
fn reports() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report");
    fs::write(&path, "yesterday's").unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn last_line(path: &str) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn every_report_can_be_a_file() {
    let database = demo();
    let (folder, path) = reports();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let json = ["--format", "json"];
    let mut tried = BTreeSet::from(["ids".to_owned()]);
    for (args, status, command) in [
        (&["scan"][..], 2, "scan"),
        (&["fix", "--yes", "--journal", journal], 3, "fix"),
        (&["undo", "--yes", "--no-journal", journal], 0, "undo"),
        (&["history", "--journal", journal], 0, "history"),
        (&["show", journal], 0, "show"),
        (&["access"], 0, "access"),
        (&["doctor"], 0, "doctor"),
    ] {
        let ran = run_on(
            database.url(),
            &[args, &json, &["--output", &path]].concat(),
        );
        let ran = ran.exits(status);
        assert_eq!(ran.stdout, "", "{ran}");
        let written: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(written["command"], command);
        tried.insert(command.to_owned());
    }
    let definition = Cli::command();
    let may_write = definition.get_subcommands().filter(|command| {
        let mut options = command.get_arguments();
        options.any(|option| option.get_long() == Some("output"))
    });
    let may_write: BTreeSet<String> = may_write.map(|c| c.get_name().to_owned()).collect();
    assert_eq!(tried, may_write, "every command that has --output");
    let config = "fixtures/config/proxy.yaml";
    let args = ["ids", "--litellm-config", config];
    let on_stdout = run(&mut mcp_prune(&[&args[..], &["--output", "-"]].concat())).exits(0);
    let ran = run(&mut mcp_prune(&[&args[..], &["--output", &path]].concat())).exits(0);
    assert_eq!(ran.stdout, "");
    assert_eq!(fs::read_to_string(&path).unwrap(), on_stdout.stdout);
    assert_eq!(files_in(folder.path()), 2, "the report and the journal");
}

#[test]
fn the_umask_decides_who_may_read_a_new_one() {
    let database = demo();
    let (_folder, path) = reports();
    for (umask, mode) in [("022", 0o644), ("077", 0o600)] {
        // Of one that is replaced, the mode is kept.
        fs::remove_file(&path).unwrap();
        let command = format!(
            "umask {umask}; exec {} scan --output {path}",
            env!("CARGO_BIN_EXE_mcp-prune")
        );
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &command]).env_clear();
        let _ = run(shell.env("DATABASE_URL", database.url())).exits(2);
        let permissions = fs::metadata(&path).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "umask {umask}");
    }
}

#[test]
fn a_run_that_fails_leaves_the_old_file() {
    let (folder, path) = reports();
    for format in crate::program::formats().filter(|format| *format != "ndjson") {
        let args = ["scan", "--output", &path, "--format", format];
        let _ = run_on(NOWHERE, &args).exits(7);
        assert_eq!(fs::read_to_string(&path).unwrap(), "yesterday's");
    }
    assert_eq!(files_in(folder.path()), 1);
}

#[test]
fn a_stream_ends_with_the_error_in_the_file_too() {
    let (folder, path) = reports();
    let args = ["scan", "--output", &path, "--format", "ndjson"];
    let ran = run_on(NOWHERE, &args).exits(7);
    assert_eq!(ran.stdout, "", "{ran}");
    assert_eq!(last_line(&path)["type"], "error");
    assert_eq!(last_line(&path)["code"], 7);
    assert_eq!(files_in(folder.path()), 1);
}

#[test]
fn conflicts_are_in_the_file() {
    let database = demo();
    let (folder, path) = reports();
    let plan = folder.path().join("plan");
    let plan = plan.to_str().unwrap();
    let _ = run_on(database.url(), &["fix", "--dry-run", "--plan-out", plan]).exits(2);
    database.execute(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = '{github}'
           WHERE "object_permission_id" LIKE '2a7e%'"#,
    );
    let args = ["fix", "--yes", "--plan", plan, "--output", &path];
    let _ = run_on(database.url(), &args).exits(5);
    let table = fs::read_to_string(&path).unwrap();
    assert!(table.contains("  expected  "), "{table}");
    let args = [&args[..], &["--format", "ndjson"]].concat();
    let _ = run_on(database.url(), &args).exits(5);
    assert_eq!(last_line(&path)["code"], 5);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""type":"conflict""#), "{text}");
}

#[test]
fn a_file_that_cannot_be_written_is_found_before_anything_is_done() {
    let database = demo();
    let before = database.permission_rows();
    let cannot = |path: &str, why: &str| -> Ran {
        run_on(database.url(), &["fix", "--yes", "--output", path])
            .exits(1)
            .says(&format!("cannot write --output {path}: {why}"))
    };
    for (path, why) in [
        ("/no/such/folder/report", "No such file or directory"),
        ("/dev/null", "not a regular file"),
        ("/proc/report", ""),
    ] {
        let ran = cannot(path, why).says("hint: nothing was done");
        assert!(
            !ran.stderr.contains("database "),
            "not even connected: {ran}"
        );
    }
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn a_report_that_could_not_be_placed_does_not_hide_that_the_repair_stands() {
    if concurrent_server("a report without a place").is_none() {
        return;
    }
    let database = demo();
    let before = database.permission_rows();
    let (folder, path) = reports();
    let lock = r#"SELECT FROM "LiteLLM_ObjectPermissionTable" FOR UPDATE"#;
    let fix = ["fix", "--yes", "--lock-timeout", "600", "--output", &path];
    let child = while_open(&database, lock, || {
        let child = mcp_prune(&fix)
            .env("DATABASE_URL", database.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for_lock(&database);
        fs::remove_dir_all(folder.path()).unwrap();
        child
    });
    let _ = ended(child)
        .exits(1)
        .says("error: the repair was committed, but: cannot write --output ")
        .says("hint: the old values are in ")
        .says("To take it back:\n  mcp-prune undo ");
    assert_ne!(database.permission_rows(), before);
}

#[test]
fn no_file_takes_the_place_of_the_old_values() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [one, other, again] = ["one", "other", "./one"].map(file);
    let before = database.other_rows();
    let fix = ["fix", "--yes", "--journal", &one];
    let plan = ["fix", "--dry-run", "--plan-out", &one];
    let undo = ["undo", "--yes", "--journal", &other, &one];
    for (args, named) in [
        (&fix[..], "--output and --journal"),
        (&plan[..], "--output and --plan-out"),
        (&undo[..], "--output and JOURNAL"),
        (
            &["scan", "--metrics-file", &one],
            "--output and --metrics-file",
        ),
    ] {
        let args = [args, &["--output", &again]].concat();
        run_on(database.url(), &args)
            .exits(64)
            .says(&format!("{named} are the same file"));
    }
    let args = [&fix[..], &["--metrics-file", &one]].concat();
    run_on(database.url(), &args).exits(64);
    assert_eq!(files_in(folder.path()), 0);
    assert_eq!(database.other_rows(), before);
    run_on(database.url(), &fix).exits(3);
    let journal = fs::read_to_string(&one).unwrap();
    let args = [&undo[..], &["--metrics-file", &one]].concat();
    run_on(database.url(), &args).exits(64);
    assert_eq!(fs::read_to_string(&one).unwrap(), journal);
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode() {
    let database = demo();
    let (folder, path) = reports();
    let metrics = folder.path().join("scan.prom");
    fs::write(&metrics, "").unwrap();
    let metrics = metrics.to_str().unwrap();
    for mode in [0o600, 0o640] {
        for path in [&path, metrics] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let args = ["scan", "--output", &path, "--metrics-file", metrics];
        let _ = run_on(database.url(), &args).exits(2);
        for path in [&path, metrics] {
            assert!(fs::read_to_string(path).unwrap().contains("stale"));
            let permissions = fs::metadata(path).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, mode, "{path}");
        }
    }
}

#[test]
fn a_link_that_another_user_made_is_not_followed() {
    let database = demo();
    let (folder, path) = reports();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let args = ["scan", "--output", link.to_str().unwrap()];
    let _ = run_on(database.url(), &args).exits(2);
    let ours = fs::read_to_string(&path).unwrap();
    assert!(ours.contains("stale"), "a link of one's own is");
    // Only root can give a link away; elsewhere the tests of `atomic_file` stand for this.
    if std::os::unix::fs::lchown(&link, Some(65_534), None).is_err() {
        return;
    }
    let args = ["fix", "--yes", "--output", link.to_str().unwrap()];
    let _ = run_on(database.url(), &args)
        .exits(1)
        .says("is a symbolic link that another user made")
        .says("hint: nothing was done");
    let args = ["scan", "--quiet", "--metrics-file", link.to_str().unwrap()];
    let _ = run_on(database.url(), &args)
        .exits(2)
        .says("warning: cannot write --metrics-file");
    assert_eq!(fs::read_to_string(&path).unwrap(), ours);
}

#[test]
fn a_journal_in_a_folder_that_others_may_write_is_told() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (mode, told) in [
        (0o700, false),
        (0o755, false),
        (0o777, true),
        (0o1777, true),
    ] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let plan = path(&format!("plan-{mode:o}"));
        let ran = run_on(database.url(), &["fix", "--dry-run", "--plan-out", &plan]).exits(2);
        let warning = format!("warning: others may write to the folder of the plan {plan}");
        assert_eq!(ran.stderr.contains(&warning), told, "{mode:o}: {ran}");
    }
    let journal = path("journal");
    let _ = run_on(database.url(), &["fix", "--yes", "--journal", &journal])
        .exits(3)
        .says("warning: others may write to the folder of the journal");
}
