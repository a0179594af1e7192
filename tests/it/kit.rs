//! The crontab line, the systemd units and the Kubernetes job as they are shipped, run on a real database.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{Ran, mcp_prune, repository, run};
use crate::server::{TestDatabase, skip};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-prune");

fn shipped(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap()
}

/// A database with three stale references in two rows, of which nothing is held; and the folder of a machine
/// that knows its URL by a file.
fn installed() -> (TestDatabase, tempfile::TempDir) {
    let case = shipped("fixtures/cases/beside_live.sql");
    let database = TestDatabase::with(&case);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("db-url"),
        format!("{}\n", database.url()),
    )
    .unwrap();
    (database, folder)
}

fn is_clean(database: &TestDatabase) {
    let ran = run(&mut mcp_prune(&["scan", "--db-url", database.url()]));
    let _ = ran.exits(0);
}

/// The journals of repairs in a folder.
fn journals(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("fix-")).count()
}

/// As cron runs it: by `/bin/sh`, with next to no environment, from the home of the user.
fn by_cron(line: &str, home: &Path) -> Ran {
    let fields: Vec<&str> = line.split_whitespace().take(5).collect();
    assert!(
        fields
            .iter()
            .all(|field| !field.contains(char::is_alphabetic)),
        "{line}"
    );
    let (_, command) = line.split_once("*  ").unwrap();
    // What follows a percent sign cron would feed to the command as its input.
    assert!(!command.contains('%'), "{command}");
    let url = home.join("db-url");
    let command = command
        .replace("/etc/mcp-prune/db-url", url.to_str().unwrap())
        .replace("/usr/bin/mcp-prune", PROGRAM);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &command]).env_clear().env("HOME", home);
    run(shell.env("PATH", "/usr/bin:/bin").current_dir(home))
}

#[test]
fn the_crontab_line_says_what_it_repaired_and_why_it_could_not_and_else_nothing() {
    let readme = shipped("README.md");
    let (_, block) = readme.split_once("```crontab\n").unwrap();
    let line = block.lines().next().unwrap();
    let (database, home) = installed();
    // The rows that it is about are all that there are: more than the five in a hundred it may change.
    let ran = by_cron(line, home.path()).exits(4);
    let _ = ran.says("error: ").says("more than --max-percent 5");
    let line = line.replace("--max-percent 5", "--max-percent 100");
    let _ = by_cron(&line, home.path())
        .exits(0)
        .prints("Done: remove 3");
    is_clean(&database);
    assert_eq!(journals(&home.path().join(".local/state/mcp-prune")), 1);
    let ran = by_cron(&line, home.path()).exits(0);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("", ""),
        "no mail: {ran}"
    );

    std::fs::write(
        home.path().join("db-url"),
        "postgresql://u:s3cret@127.0.0.1:1/none",
    )
    .unwrap();
    let ran = by_cron(&line, home.path())
        .exits(7)
        .says("cannot connect")
        .says("mcp-prune fix: exit 7: no access (run ");
    assert!(!ran.to_string().contains("s3cret"), "{ran}");
}

#[test]
fn the_service_runs_as_its_unit_says() {
    let unit = shipped("packaging/mcp-prune.service");
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let (database, folder) = installed();
    let place = folder.path().to_str().unwrap();
    let command: Vec<String> = command
        .replace("--max-percent 5", "--max-percent 100")
        .split_whitespace()
        // A variable without braces becomes as many words as it has.
        .flat_map(|word| match word {
            "$MCP_PRUNE_OPTIONS" => vec!["--no-config-servers".to_owned()],
            word => vec![
                word.replace("${CREDENTIALS_DIRECTORY}", place)
                    .replace("${STATE_DIRECTORY}", place),
            ],
        })
        .collect();
    assert_eq!(command[0], "/usr/bin/mcp-prune");
    let words: Vec<&str> = command[1..].iter().map(String::as_str).collect();
    assert!(words.iter().all(|word| !word.contains('$')), "{words:?}");
    let _ = run(&mut mcp_prune(&words)).exits(0);
    is_clean(&database);
    assert_eq!(journals(folder.path()), 1);
}

#[test]
fn systemd_takes_the_units_and_finds_the_service_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let path = folder.path().join(name);
        // It checks that the program is there.
        let unit = shipped(&format!("packaging/{name}")).replace("/usr/bin/mcp-prune", PROGRAM);
        std::fs::write(&path, unit).unwrap();
        path
    };
    let (service, timer) = (copy("mcp-prune.service"), copy("mcp-prune.timer"));
    let analyze = |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(args).arg(&service).output();
        output.ok().map(Ran::from)
    };
    let timer = timer.to_str().unwrap();
    // The manual pages are installed with the program, or not.
    let Some(ran) = analyze(&["verify", "--man=no", "--recursive-errors=no", timer]) else {
        skip("systemd units", "needs systemd-analyze");
        return;
    };
    let ran = ran.exits(0);
    assert_eq!(ran.stderr, "", "{ran}");
    // From 0, nothing can be reached, to 10; the threshold is in tenths.
    let _ = analyze(&["security", "--offline=true", "--threshold=15"])
        .unwrap()
        .exits(0);
}

#[test]
fn the_kubernetes_job_finds_its_secret_and_its_volume_on_a_read_only_root() {
    let text = shipped("packaging/cronjob.yaml");
    let (claim, job) = text.split_once("\n---\n").unwrap();
    let parse = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    let (claim, job) = (parse(claim), parse(job));
    assert_eq!(claim["kind"], "PersistentVolumeClaim");
    assert_eq!(
        (&job["kind"], &job["apiVersion"]),
        (&"CronJob".into(), &"batch/v1".into())
    );
    assert_eq!(job["spec"]["concurrencyPolicy"], "Forbid");
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(container["image"], format!("mcp-prune:{version}"));

    // Each mount is of a volume that is there, and the one that is written is of the claim.
    let (database, folder) = installed();
    let volumes = pod["volumes"].as_array().unwrap();
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert_eq!(volumes.len(), mounts.len());
    let mut args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    for mount in mounts {
        let volume = volumes.iter().find(|v| v["name"] == mount["name"]).unwrap();
        let of_claim = volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"];
        assert_ne!(of_claim, mount["readOnly"] == true, "{mount}");
        let path = mount["mountPath"].as_str().unwrap();
        let used = args.iter_mut().filter(|arg| arg.starts_with(path));
        let used: Vec<()> = used
            .map(|arg| *arg = arg.replace(path, folder.path().to_str().unwrap()))
            .collect();
        assert_eq!(used.len(), 1, "{mount}");
    }
    assert!(
        args.iter()
            .all(|arg| !arg.starts_with("/etc") && !arg.starts_with("/var"))
    );
    let percent = args.iter().position(|arg| arg == "--max-percent").unwrap();
    "100".clone_into(&mut args[percent + 1]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let _ = run(mcp_prune(&args).env_remove("XDG_STATE_HOME")).exits(0);
    is_clean(&database);
    assert_eq!(journals(folder.path()), 1);
}
