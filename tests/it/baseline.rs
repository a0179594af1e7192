//! Baselines: what a scan acknowledges, what it tells of it, and which files it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::program::{Ran, formats, mcp_prune, run, run_on};
use crate::samples::{GONE, LIVE, NOWHERE};
use crate::schemas::Format;
use crate::server::TestDatabase;

/// The id of another deleted server.
const NEW: &str = "a15e9c3d-84f2-4d7b-92c6-5e0b8f3a7d05";

/// Makes a key and a team with a reference each that a scan exits with 2 for, and a row without an
/// owner that has none.
fn leftovers() -> TestDatabase {
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('{LIVE}', 'gh');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers") VALUES
               ('p-1', ARRAY['{LIVE}', '{GONE}']), ('p-2', ARRAY['{LIVE}', 'a name']),
               ('p-3', ARRAY['{LIVE}']);
           INSERT INTO "LiteLLM_VerificationToken"
               ("token", "key_name", "key_alias", "object_permission_id") VALUES
               ('dcf1f059cedd01b2d9347bd1010bbabdbc54616cf25e2d6c5d103e63b64f0def', 'sk-...f3Qa',
                'ci' || chr(10) || 'bot', 'p-1');
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id") VALUES
               ('t-1', 'platform', 'p-2');"#
    ))
}

fn put(database: &TestDatabase, row: &str, references: &str) {
    database.execute(&format!(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['{LIVE}'{references}]
           WHERE "object_permission_id" = '{row}'"#
    ));
}

/// A database, and a folder for its baselines.
struct Desk {
    database: TestDatabase,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            database: leftovers(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn scan(&self, args: &[&str]) -> Ran {
        run_on(self.database.url(), &[&["scan"], args].concat())
    }

    /// Writes the baseline of now, and returns its path and its text.
    fn write(&self, args: &[&str]) -> (String, String) {
        let file = self.file("known");
        let _ = self
            .scan(&[&["--write-baseline", &file], args].concat())
            .exits(0);
        let text = fs::read_to_string(&file).unwrap();
        (file, text)
    }
}

fn references(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["reference"].as_str().unwrap())
        .collect()
}

#[test]
fn a_baseline_is_the_same_each_time_and_names_owners_without_secrets() {
    let desk = Desk::new();
    let (file, text) = desk.write(&[]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "mcp-prune-baseline 1");
    let (word, database) = lines[1].split_once(' ').unwrap();
    let database: Value = serde_json::from_str(database).unwrap();
    assert_eq!(
        (word, &database["name"]),
        ("database", &json!(desk.database.name()))
    );
    assert_eq!(
        lines[6..],
        [
            format!(
                "LiteLLM_ObjectPermissionTable p-1 mcp_servers {GONE} stale  \
                 # \"key ci\\nbot (dcf1f059)\""
            ),
            "LiteLLM_ObjectPermissionTable p-2 mcp_servers \"a name\" unverified  \
             # team platform (t-1)"
                .to_owned(),
        ]
    );
    assert!(!text.contains("dcf1f059c"), "{text}");
    assert_eq!(desk.write(&[]), (file, text));
}

#[test]
fn only_what_is_new_is_reported_and_sets_the_exit_code() {
    let desk = Desk::new();
    let (known, _) = desk.write(&[]);
    let baseline = ["--baseline", &known];
    for format in formats() {
        let ran = desk.scan(&[&baseline[..], &["--format", format]].concat());
        let ran = ran.exits(0);
        assert!(!ran.stdout.contains(GONE), "{format}: {ran}");
        let ran = desk.scan(&[&baseline[..], &["--format", format, "-q"]].concat());
        let ran = ran.exits(0);
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("", ""),
            "{ran}"
        );
    }
    let _ = desk
        .scan(&baseline)
        .exits(0)
        .prints("No new stale references.")
        .prints("acknowledges it: 1 stale, 1 unverified.");

    // fix is not said to leave alone what it would remove.
    desk.database.execute(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-4', ARRAY[NULL])"#,
    );
    let _ = desk
        .scan(&baseline)
        .exits(0)
        .prints("Of what is listed, there is nothing that fix may change. fix repairs what the");
    let malformed = r#"DELETE FROM "LiteLLM_ObjectPermissionTable"
                       WHERE "object_permission_id" = 'p-4'"#;
    desk.database.execute(malformed);

    put(&desk.database, "p-3", &format!(", '{NEW}'"));
    let metrics = desk.file("x.prom");
    let report = desk.scan(
        &[
            &baseline[..],
            &["--format=json", "--metrics-file", &metrics],
        ]
        .concat(),
    );
    let report = report.exits(2).json();
    assert_eq!(references(&report), [NEW]);
    assert_eq!(report["summary"]["stale"], 1);
    let acknowledged = json!({"stale": 1, "unverified": 1, "dangling_toolsets": 0});
    let expected = json!({"file": known, "acknowledged": acknowledged, "gone": 0, "written": null});
    assert_eq!(report["baseline"], expected);
    let metrics = fs::read_to_string(metrics).unwrap();
    for line in [
        r#"findings{command="scan",kind="stale",place="permissions",owner_kind="none"} 1"#,
        r#"findings_acknowledged{command="scan",kind="stale",place="permissions",owner_kind="key"} 1"#,
        r#"baseline_gone{command="scan"} 0"#,
    ] {
        assert!(
            metrics.contains(&format!("mcp_prune_{line}\n")),
            "{metrics}"
        );
    }
    let _ = desk
        .scan(&[&baseline[..], &["-q"]].concat())
        .exits(2)
        .prints("1 new stale reference in 1 row")
        .prints("In the rows listed, a repair would remove 1 stale reference from 1 row. fix ")
        .says("exit 2: found 1 stale (run ");
}

#[test]
fn a_reference_whose_verdict_changed_is_new() {
    let desk = Desk::new();
    let (known, _) = desk.write(&[]);
    let report = desk.scan(&["--baseline", &known, "--no-config-servers", "--format=json"]);
    let report = report.exits(2).json();
    assert_eq!(references(&report), ["a name"]);
    assert_eq!(report["baseline"]["acknowledged"]["stale"], 1);
    assert_eq!(report["baseline"]["gone"], 1);
}

#[test]
fn what_is_gone_is_told_and_the_command_writes_it_again() {
    let desk = Desk::new();
    let (known, before) = desk.write(&[]);
    // A person's comment stays with its line.
    let commented = before.replace(
        "LiteLLM_ObjectPermissionTable p-2",
        "# stays: OPS-17\nLiteLLM_ObjectPermissionTable p-2",
    );
    fs::write(&known, &commented).unwrap();
    put(&desk.database, "p-1", "");
    put(&desk.database, "p-3", &format!(", '{NEW}'"));
    let ran = desk.scan(&["--baseline", &known]).exits(2);
    let ran =
        ran.prints("1 reference of the baseline is gone. Write the baseline again to drop it.");
    let (_, after) = ran.stdout.split_once("To acknowledge all").unwrap();
    let command = after.lines().nth(1).unwrap().trim();
    let words = format!("mcp-prune scan --baseline {known} --write-baseline {known}");
    assert_eq!(command, words);
    let _ = desk
        .scan(&["--baseline", &known, "--write-baseline", &known])
        .exits(0)
        .prints("acknowledges 2 references.");
    let after = fs::read_to_string(&known).unwrap();
    assert!(after.contains("\n# stays: OPS-17\nLiteLLM_ObjectPermissionTable p-2"));
    assert!(after.contains(NEW) && !after.contains(GONE), "{after}");
    let ran = desk.scan(&["--baseline", &known]).exits(0);
    assert!(!ran.stdout.contains("gone"), "{ran}");
    assert!(!ran.stdout.contains("To acknowledge"), "{ran}");
}

#[test]
fn what_filters_leave_out_is_not_gone_and_stays_in_the_file() {
    let desk = Desk::new();
    let (known, all) = desk.write(&[]);
    put(&desk.database, "p-1", "");
    let gone = |filter: &[&str]| {
        let scan = [&["--baseline", &known, "--format=json"], filter].concat();
        desk.scan(&scan).exits(0).json()["baseline"]["gone"].clone()
    };
    assert_eq!(gone(&[]), 1);
    assert_eq!(gone(&["--row", "p-1"]), 1);
    for filter in [
        &["--row", "p-2"][..],
        &["--owner", "team:platform"],
        &["--reference", "a name"],
        &["--sites", "toolsets"],
    ] {
        assert_eq!(gone(filter), 0, "{filter:?}");
        let both = ["--baseline", &known, "--write-baseline", &known];
        let _ = desk.scan(&[&both, filter].concat()).exits(0);
        assert_eq!(fs::read_to_string(&known).unwrap(), all, "{filter:?}");
    }
    // A baseline of a part acknowledges that part alone, and says so.
    put(&desk.database, "p-1", &format!(", '{GONE}'"));
    fs::remove_file(&known).unwrap();
    let (known, part) = desk.write(&["--owner", "team:platform"]);
    assert!(
        part.contains("# It was written with --owner team:platform, and covers nothing else.\n"),
        "{part}"
    );
    let report = desk.scan(&["--baseline", &known, "--format=json"]).exits(2);
    assert_eq!(references(&report.json()), [GONE]);
}

#[test]
fn what_is_no_baseline_is_refused_and_not_replaced() {
    let desk = Desk::new();
    let (known, text) = desk.write(&[]);
    let report = desk.file("report.json");
    let _ = desk.scan(&["--format=json", "--output", &report]).exits(2);
    let journal = desk.file("journal");
    let fix = ["fix", "--yes", "--row=p-1", "--journal", &journal];
    let _ = run_on(desk.database.url(), &fix).exits(0);
    let files = [
        (report.as_str(), "is no baseline"),
        (&journal, "is no baseline"),
        ("fixtures/config/proxy.yaml", "is no baseline"),
        ("/dev/zero", ""),
    ];
    for (file, why) in files {
        let _ = desk.scan(&["--baseline", file]).exits(1).says(why);
        let before = fs::metadata(file).unwrap().len();
        let ran = desk.scan(&["--write-baseline", file]).exits(1);
        let _ = ran.says("--write-baseline");
        assert_eq!(fs::metadata(file).unwrap().len(), before, "{file}");
    }
    let _ = desk
        .scan(&["--baseline", "/dev/zero"])
        .exits(1)
        .says("64 MiB");
    let _ = desk
        .scan(&["--baseline", &desk.file("none")])
        .exits(1)
        .says("cannot read --baseline");
    for (old, new, why) in [
        ("baseline 1", "baseline 2", "has format 2"),
        (" stale", " stale stale", "line 7 of --baseline"),
        ("p-2", "", "line 8 of --baseline"),
    ] {
        fs::write(&known, text.replace(old, new)).unwrap();
        let _ = desk.scan(&["--baseline", &known]).exits(1).says(why);
    }
    // Nothing of the file's own text reaches the terminal.
    fs::write(&known, "\x1b[31m").unwrap();
    let ran = desk.scan(&["--baseline", &known]).exits(1);
    assert!(!ran.stderr.contains('\x1b'), "{ran}");
    // An empty file is nothing to lose.
    fs::write(&known, "").unwrap();
    assert!(desk.write(&[]).1.contains("a name"));
}

#[test]
fn a_baseline_of_another_database_is_refused() {
    let desk = Desk::new();
    let (known, text) = desk.write(&[]);
    let other = leftovers();
    for option in ["--baseline", "--write-baseline"] {
        let ran = run_on(other.url(), &["scan", option, &known]).exits(4);
        let ran = ran.says(&format!("{option} {known} is of database"));
        let _ = ran.says("--other-database");
    }
    assert_eq!(fs::read_to_string(&known).unwrap(), text);
    let accepted = ["scan", "--other-database", "--baseline", &known];
    let _ = run_on(other.url(), &accepted).exits(0);
    let accepted = ["scan", "--other-database", "--write-baseline", &known];
    let _ = run_on(other.url(), &accepted).exits(0);
    assert!(fs::read_to_string(&known).unwrap().contains(other.name()));
}

#[test]
fn the_file_is_written_as_a_whole_with_the_mode_that_it_had() {
    let desk = Desk::new();
    let (known, text) = desk.write(&[]);
    fs::set_permissions(&known, fs::Permissions::from_mode(0o640)).unwrap();
    put(&desk.database, "p-1", "");
    let (known, after) = desk.write(&[]);
    assert_ne!(after, text);
    let mode = fs::metadata(&known).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let _ = run_on(NOWHERE, &["scan", "--write-baseline", &known]).exits(7);
    assert_eq!(fs::read_to_string(&known).unwrap(), after);
    assert_eq!(fs::read_dir(desk.folder.path()).unwrap().count(), 1);
    let _ = desk
        .scan(&["--write-baseline", "/nowhere/known"])
        .exits(1)
        .says("cannot write --write-baseline /nowhere/known");
    let output = ["--write-baseline", &known, "--output", &known];
    let _ = desk.scan(&output).exits(64).says("are the same file");
}

#[test]
fn reports_with_a_baseline_are_as_the_schema_says() {
    let desk = Desk::new();
    let (known, _) = desk.write(&[]);
    let new = desk.file("new");
    for format in Format::BOTH {
        for args in [
            &["scan", "--baseline", &known][..],
            &["scan", "--write-baseline", &new],
            &["scan", "--baseline", &known, "--write-baseline", &new],
        ] {
            let (ran, documents) = format.run(desk.database.url(), args);
            let _ = ran.exits(0);
            let with = |document: &&Value| document.get("baseline").is_some();
            assert_eq!(documents.iter().filter(with).count(), 1, "{documents:?}");
        }
    }
}

#[test]
fn a_repair_is_of_all_that_is_stale() {
    let desk = Desk::new();
    let (known, _) = desk.write(&[]);
    put(&desk.database, "p-3", &format!(", '{NEW}'"));
    let ran = desk.scan(&["--baseline", &known]).exits(2);
    let _ = ran.prints("\n  mcp-prune fix --dry-run\n");
    assert!(Path::new(&known).is_file());
    let fix = ["fix", "--dry-run", "--format=json"];
    let fix = run_on(desk.database.url(), &fix).exits(2).json();
    assert_eq!(fix["summary"]["references_removed"], 2);
    let _ = run(&mut mcp_prune(&["fix", "--dry-run", "--baseline", &known])).exits(64);
}
