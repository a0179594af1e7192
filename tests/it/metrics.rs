//! `--metrics-file`: how a run went, for Prometheus; and the alerts that are shipped for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use mcp_prune::testing::{Group, TABLES};

use crate::concurrent::{ended, wait_for_lock, while_open};
use crate::program::{Ran, mcp_prune, run, run_on};
use crate::samples::{NOWHERE, case, demo};
use crate::server::{concurrent_server, skip};

/// Runs promtool; without one, skips the test and returns `None`.
fn promtool(args: &[&str], input: &str) -> Option<Ran> {
    let spawned = Command::new("promtool")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        skip("metrics", "needs promtool of Debian's package prometheus");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    Some(child.wait_with_output().unwrap().into())
}

/// The samples of a `.prom` file.
struct Samples(BTreeMap<String, String>);

impl Samples {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.to_owned())
        });
        Self(samples.collect())
    }

    /// Returns the value of `mcp_prune_NAME`, which only has the label of the command.
    #[track_caller]
    fn of(&self, command: &str, name: &str) -> Option<i64> {
        let series = format!("mcp_prune_{name}{{command=\"{command}\"}}");
        self.0.get(&series).map(|value| value.parse().unwrap())
    }

    /// Returns the sum of all findings whose labels have `label`.
    fn findings(&self, label: &str) -> i64 {
        let findings = self.0.iter();
        let findings = findings.filter(|(series, _)| series.starts_with("mcp_prune_findings{"));
        let labelled = findings.filter(|(series, _)| series.contains(label));
        labelled
            .map(|(_, value)| value.parse::<i64>().unwrap())
            .sum()
    }
}

fn file_in(folder: &tempfile::TempDir) -> String {
    folder.path().join("x.prom").to_str().unwrap().to_owned()
}

#[test]
fn a_scan_says_in_metrics_what_it_says_in_json() {
    let database = case("sites");
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let args = [
        "scan",
        "--notes",
        "--format",
        "json",
        "--metrics-file",
        &file,
    ];
    let scan = run_on(database.url(), &args).exits(2).json();
    let samples = Samples::read(&file);
    let mut kinds: BTreeMap<String, i64> = BTreeMap::new();
    let mut places: BTreeMap<&str, i64> = BTreeMap::new();
    let mut owners: BTreeMap<String, i64> = BTreeMap::new();
    for finding in scan["findings"].as_array().unwrap() {
        let word = |name: &str| finding[name].as_str().unwrap().to_owned();
        let name = word("table");
        let table = TABLES.iter().find(|table| table.name() == name).unwrap();
        let place = table.group().name();
        let of_row = finding["owners"].as_array().unwrap().iter();
        let mut of_row: Vec<String> = of_row
            .map(|o| o["kind"].as_str().unwrap().to_owned())
            .collect();
        of_row.dedup();
        let owner = match of_row.as_slice() {
            [] => "none".to_owned(),
            [kind] => kind.clone(),
            _ => "mixed".to_owned(),
        };
        *kinds.entry(word("kind")).or_default() += 1;
        *places.entry(place).or_default() += 1;
        *owners.entry(owner).or_default() += 1;
    }
    let groups = TABLES.iter().map(|table| table.group());
    let groups = groups.filter(|group| group.is_default());
    let groups: BTreeSet<&str> = groups.map(Group::name).collect();
    assert_eq!(places.keys().copied().collect::<BTreeSet<&str>>(), groups);
    assert!(kinds.len() > 1 && owners.len() > 1, "{kinds:?} {owners:?}");
    for (kind, count) in &kinds {
        assert_eq!(
            samples.findings(&format!("kind=\"{kind}\"")),
            *count,
            "{kind}"
        );
    }
    for (place, count) in &places {
        assert_eq!(
            samples.findings(&format!("place=\"{place}\"")),
            *count,
            "{place}"
        );
    }
    for (owner, count) in &owners {
        assert_eq!(
            samples.findings(&format!("owner_kind=\"{owner}\"")),
            *count,
            "{owner}"
        );
    }
    assert_eq!(samples.findings(""), kinds.values().sum::<i64>());
    assert_eq!(samples.of("scan", "exit_code"), Some(2));
    assert_eq!(
        samples.of("scan", "rows_changed"),
        None,
        "a scan changes none"
    );
    let run = scan["run"].as_str().unwrap();
    let info = format!("mcp_prune_run_info{{command=\"scan\",run=\"{run}\"}}");
    assert_eq!(samples.0[&info], "1");
    let version = env!("CARGO_PKG_VERSION");
    let info = format!("mcp_prune_build_info{{command=\"scan\",version=\"{version}\",commit=\"");
    let build: Vec<_> = samples
        .0
        .iter()
        .filter(|(name, _)| name.starts_with(&info))
        .collect();
    assert_eq!(build.len(), 1, "{build:?}");
    assert!(
        build[0].0.contains(",target=\"") && build[0].0.contains(",features=\""),
        "{build:?}"
    );
    assert_eq!(build[0].1, "1");
    let text = fs::read_to_string(&file).unwrap();
    if let Some(ran) = promtool(&["check", "metrics"], &text) {
        let ran = ran.exits(0);
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("", ""),
            "{ran}"
        );
    }
}

#[test]
fn a_repair_counts_what_it_wrote_and_what_it_left() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let fix = ["fix", "--format", "json", "--metrics-file", &file];
    let _ = run_on(database.url(), &[&fix[..], &["--dry-run"]].concat()).exits(2);
    let samples = Samples::read(&file);
    assert_eq!(samples.of("fix", "rows_changed"), Some(0), "a dry run");
    assert_eq!(samples.findings("kind=\"stale\""), 6);

    let options = ["--yes", "--journal", journal, "--exit-zero"];
    let fixed = run_on(database.url(), &[&fix[..], &options].concat())
        .exits(0)
        .json();
    let samples = Samples::read(&file);
    let summary = &fixed["summary"];
    for name in [
        "rows_changed",
        "rows_held",
        "references_removed",
        "references_remapped",
    ] {
        assert_eq!(samples.of("fix", name), summary[name].as_i64(), "{name}");
    }
    assert_eq!(samples.of("fix", "exit_code"), Some(0), "as it exited");
    assert_eq!(samples.of("fix", "references_held"), Some(1));
    assert_eq!(samples.findings("kind=\"stale\""), 1, "what is held");
    assert_eq!(samples.findings("kind=\"unverified\""), 1);
    let duration = &samples.0["mcp_prune_duration_seconds{command=\"fix\"}"];
    assert!(duration.parse::<f64>().unwrap() > 0.0);

    let undo = [
        "undo",
        "--yes",
        "--no-journal",
        "--metrics-file",
        &file,
        journal,
    ];
    let _ = run_on(database.url(), &undo).exits(0);
    let undone = Samples::read(&file);
    assert_eq!(
        undone.of("undo", "rows_changed"),
        samples.of("fix", "rows_changed")
    );
    assert_eq!(
        undone.of("fix", "exit_code"),
        None,
        "the file is of the last command alone"
    );
}

#[test]
fn a_failure_is_told_and_keeps_when_it_last_went_well() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let scan = |url: &str| {
        run(mcp_prune(&["scan"])
            .env("DATABASE_URL", url)
            .env("MCP_PRUNE_METRICS_FILE", &file))
    };
    let _ = scan(NOWHERE).exits(7);
    assert_eq!(
        Samples::read(&file).of("scan", "last_success_timestamp_seconds"),
        Some(0)
    );
    let _ = scan(database.url()).exits(2);
    let well = Samples::read(&file);
    let success = well.of("scan", "last_success_timestamp_seconds");
    assert_eq!(well.of("scan", "last_run_timestamp_seconds"), success);
    // As if it had been some time ago.
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace(&format!(" {}\n", success.unwrap()), " 1700000000\n");
    fs::write(&file, text).unwrap();
    let _ = scan(NOWHERE).exits(7);
    let failed = Samples::read(&file);
    assert_eq!(failed.of("scan", "exit_code"), Some(7));
    assert_eq!(
        failed.of("scan", "last_success_timestamp_seconds"),
        Some(1_700_000_000)
    );
    assert!(failed.of("scan", "last_run_timestamp_seconds") >= success);
    assert_eq!(failed.findings(""), 0, "nothing is known of them");
    // Before anything is connected to, too.
    let usage = ["fix", "--metrics-file", &file];
    let _ = run_on(NOWHERE, &usage).exits(64);
    let usage = Samples::read(&file);
    assert_eq!(usage.of("fix", "exit_code"), Some(64));
    assert_eq!(
        usage.of("fix", "last_success_timestamp_seconds"),
        Some(0),
        "of another command"
    );
    let text = fs::read_to_string(&file).unwrap();
    if let Some(ran) = promtool(&["check", "metrics"], &text) {
        let _ = ran.exits(0);
    }
}

#[test]
fn a_run_that_a_signal_ends_is_told() {
    if concurrent_server("metrics of an interrupted fix").is_none() {
        return;
    }
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let lock = r#"SELECT FROM "LiteLLM_ObjectPermissionTable" FOR UPDATE"#;
    while_open(&database, lock, || {
        let fix = [
            "fix",
            "--yes",
            "--lock-timeout",
            "600",
            "--metrics-file",
            &file,
        ];
        let child = mcp_prune(&fix)
            .env("DATABASE_URL", database.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for_lock(&database);
        let id = child.id().to_string();
        let _ = run(Command::new("kill").args(["-s", "TERM", &id])).exits(0);
        let _ = ended(child).exits(143);
    });
    assert_eq!(Samples::read(&file).of("fix", "exit_code"), Some(143));
}

#[test]
fn everybody_may_read_the_file_and_a_repair_does_not_hang_on_it() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let program = env!("CARGO_BIN_EXE_mcp-prune");
    let command = format!("umask 077; exec {program} scan --metrics-file {file}");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &command]).env_clear();
    let _ = run(shell.env("DATABASE_URL", database.url())).exits(2);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    let before = database.permission_rows();
    let nowhere = "/no/such/folder/x.prom";
    let ran = run_on(database.url(), &["fix", "--yes", "--metrics-file", nowhere]).exits(3);
    let told = format!("warning: cannot write --metrics-file {nowhere}: No such file");
    let ran = ran.says(&told);
    assert_eq!(ran.stderr.matches("cannot write").count(), 1, "{ran}");
    assert!(
        ran.stderr.starts_with("warning: "),
        "before the work: {ran}"
    );
    assert_ne!(database.permission_rows(), before);
}

#[test]
fn the_alerts_that_are_shipped_go_off_when_they_should() {
    let rules = promtool(&["check", "rules", "packaging/alerts.yaml"], "");
    let tests = promtool(&["test", "rules", "fixtures/alerts.test.yaml"], "");
    for ran in [rules, tests].into_iter().flatten() {
        let _ = ran.exits(0).prints("SUCCESS");
    }
}
