//! The credentials of users at deleted servers: whole rows, deleted and put back, and never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;

use serde_json::{Value, json};

use crate::concurrent::{Other, ended, wait_for_lock};
use crate::connection::{grant_what_is_asked, role, url_of};
use crate::program::{Ran, mcp_prune, repository, run_on, wait_until};
use crate::samples::{GONE, case};
use crate::server::{TestDatabase, concurrent_server};
use crate::server_version::{Feature, has};

const SITES: [&str; 2] = ["--sites", "credentials"];

fn company() -> TestDatabase {
    case("credentials")
}

/// A folder for journals and plans.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

fn delete(database: &TestDatabase, journal: &str, more: &[&str]) -> Ran {
    let fix = ["fix", "--yes", "--delete-rows", "--journal", journal];
    run_on(database.url(), &[&fix[..], &SITES, more].concat())
}

fn undo(database: &TestDatabase, of: &str, journal: &str, more: &[&str]) -> Ran {
    let undo = [
        "undo",
        "--yes",
        of,
        "--journal",
        journal,
        "--format",
        "json",
    ];
    run_on(database.url(), &[&undo[..], more].concat())
}

fn lines(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn credentials_are_read_only_with_the_option() {
    let database = company();
    let before = database.credential_rows();
    let scan = run_on(database.url(), &["scan"]).exits(0);
    assert!(!scan.to_string().contains("redentials"), "{scan}");
    run_on(database.url(), &["fix", "--yes", "--no-journal"]).exits(0);
    assert_eq!(database.credential_rows(), before);
    for more in [&[][..], &["--sites", "permissions,access-groups"]] {
        let args = [&["fix", "--yes", "--delete-rows"], more].concat();
        run_on(database.url(), &args)
            .exits(64)
            .says("--delete-rows goes with --sites credentials");
    }
    let args = [&["scan", "--owner", "user:ada"], &SITES[..]].concat();
    run_on(database.url(), &args)
        .exits(64)
        .says("the owners of credentials are not read");
}

#[test]
fn a_finding_tells_the_number_of_rows_in_every_form() {
    let database = company();
    let scan = |format: &str| {
        let args = [&["scan", "--format", format], &SITES[..]].concat();
        run_on(database.url(), &args).exits(2)
    };
    let findings = scan("json").json()["findings"].take();
    let findings = findings.as_array().unwrap();
    assert!(
        findings.contains(&json!({
            "kind": "stale", "table": "LiteLLM_MCPUserCredentials", "row": GONE,
            "column": "server_id", "reference": GONE, "last_grant": false, "rows": 2,
            "held": "needs-delete-rows", "owners": [],
        })),
        "{findings:?}"
    );
    // Without the configs an id of 32 digits may be that of a config server.
    let unverified = findings.iter().filter(|f| f["kind"] == "unverified");
    assert_eq!(unverified.count(), 1);
    let line = scan("ndjson").prints(&format!(r#""row":"{GONE}""#));
    assert!(line.stdout.contains(r#""rows":2"#), "{line}");
    let csv = scan("csv").prints("successor,rows,held,row_name,server_name\r\n");
    let row = format!(
        "stale,LiteLLM_MCPUserCredentials,{GONE},server_id,{GONE},false,,,,2,needs-delete-rows,,\r\n"
    );
    assert!(csv.stdout.contains(&row), "{csv}");
    scan("markdown").prints(&format!("| not shown | `server_id` | `{GONE}`<br>(2 rows)"));
}

#[test]
fn what_was_deleted_is_put_back_byte_for_byte_and_deleted_again() {
    let database = company();
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_MCPUserCredentials" VALUES
               ('odd', E'\u00fc "x"\\\n\t', '{GONE}', E'a''b\u0001\U0001F511 ', '1999-12-31 23:59:59.999', 'infinity'),
               ('empty', '', '{GONE}', '', '-infinity', '0044-03-15 BC')"#
    ));
    let before = database.credential_rows();
    let folder = Folder::new();
    let [fixed, undone, redone] = ["fixed", "undone", "redone"].map(|name| folder.file(name));

    let fix = delete(&database, &fixed, &["--format", "json"])
        .exits(0)
        .json();
    assert_eq!(fix["summary"]["rows_changed"], 6);
    assert_eq!(fix["summary"]["rows_deleted"], 6);
    let deleted = database.credential_rows();
    assert_eq!(deleted.len(), before.len() - 6);
    assert!(deleted.iter().all(|row| before.contains(row)));

    let report = undo(&database, &fixed, &undone, &[]).exits(0).json();
    assert_eq!(report["summary"]["rows_put_back"], 6);
    assert_eq!(database.credential_rows(), before);
    let again = undo(&database, &fixed, &redone, &[]).exits(0).json();
    assert_eq!(again["outcome"], "nothing-to-do");
    assert_eq!(again["summary"]["rows_back_already"], 6);

    let redo = undo(&database, &undone, &redone, &[]).exits(0).json();
    assert_eq!(redo["summary"]["rows_put_back"], 6);
    assert_eq!(database.credential_rows(), deleted);
    let again = folder.file("again");
    undo(&database, &redone, &again, &[]).exits(0);
    assert_eq!(database.credential_rows(), before);

    let schema = fs::read_to_string(repository("fixtures/schema/changeset.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    for journal in [&fixed, &undone, &redone] {
        let mode = fs::metadata(journal).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{journal}");
        for line in lines(journal) {
            let wrong: Vec<String> = schema.iter_errors(&line).map(|e| e.to_string()).collect();
            assert_eq!(wrong, Vec::<String>::new(), "{line}");
        }
    }
}

#[test]
fn more_rows_than_are_read_at_a_time_go_and_come_back_in_parts() {
    let database = company();
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_MCPUserCredentials" ("id", "user_id", "server_id", "credential_b64")
           SELECT 'n-' || n, 'user ' || n, '{GONE}', 'x' FROM generate_series(1, 5001) AS n"#
    ));
    let folder = Folder::new();
    let [plan, fixed, undone] = ["plan", "fixed", "undone"].map(|name| folder.file(name));
    let before = database.credential_rows();
    let dry = ["fix", "--dry-run", "--delete-rows", "--plan-out", &plan];
    run_on(database.url(), &[&dry[..], &SITES].concat()).exits(2);
    let carry_out = ["fix", "--yes", "--plan", &plan, "--journal", &fixed];
    run_on(database.url(), &carry_out)
        .exits(0)
        .prints("Done: delete 5005 rows");
    let deleted = database.credential_rows();
    assert_eq!(deleted.len(), before.len() - 5005);
    let of_gone = |file: &str| -> Vec<Value> {
        let of_gone =
            |line: &Value| line["table"] == "LiteLLM_MCPUserCredentials" && line["key"] == GONE;
        let lines = lines(file).into_iter().filter(of_gone);
        lines
            .map(|line| line["columns"]["server_id"].clone())
            .collect()
    };
    assert_eq!(
        of_gone(&plan),
        [json!({"before": {GONE: 5003}, "after": {}})]
    );
    assert_eq!(
        of_gone(&fixed),
        [
            json!({"before": {GONE: 5003}, "after": {GONE: 3}}),
            json!({"before": {GONE: 3}, "after": {}}),
        ]
    );
    let report = undo(&database, &fixed, &undone, &[]).exits(0).json();
    assert_eq!(report["summary"]["rows_put_back"], 5005);
    assert!(database.credential_rows() == before, "rows are lost");
    undo(&database, &undone, &folder.file("redone"), &[]).exits(0);
    assert!(database.credential_rows() == deleted, "rows are left");
}

#[test]
fn a_row_that_is_another_by_now_is_a_conflict_and_the_others_are_not() {
    let database = company();
    let folder = Folder::new();
    let [fixed, undone, skipped] = ["fixed", "undone", "skipped"].map(|name| folder.file(name));
    let before = database.credential_rows();
    delete(&database, &fixed, &[]).exits(0);
    // Ada's is back as it was, Ben has another one by now, and Cy is new.
    let (ada, ben) = (&before[1], "credential (c-9,ben,");
    assert!(ada.starts_with("credential (c-1,ada,"), "{ada}");
    let [_, row] = ada.split("credential ").collect::<Vec<_>>()[..] else {
        panic!("{ada}")
    };
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_MCPUserCredentials" SELECT ('{row}'::"LiteLLM_MCPUserCredentials").*;
           INSERT INTO "LiteLLM_MCPUserCredentials" ("id", "user_id", "server_id", "credential_b64")
           VALUES ('c-9', 'ben', '{GONE}', 'new'), ('c-10', 'cy', '{GONE}', 'new')"#
    ));
    let touched = database.credential_rows();
    let report = undo(&database, &fixed, &undone, &[]).exits(5).json();
    assert_eq!(report["outcome"], "moved");
    let conflicts = report["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0]["kind"], "changed");
    assert_eq!(conflicts[0]["row"], GONE);
    assert_eq!(
        conflicts[0]["detail"],
        "1 of its rows hold something else by now"
    );
    assert_eq!(database.credential_rows(), touched);

    let report = undo(&database, &fixed, &skipped, &["--skip-changed"])
        .exits(0)
        .json();
    // Both variables; Ada's credential was back.
    assert_eq!(report["summary"]["rows_put_back"], 2);
    assert_eq!(report["summary"]["rows_back_already"], 1);
    let rows = database.credential_rows();
    assert!(rows.iter().any(|row| row.starts_with(ben)), "{rows:?}");
    undo(&database, &skipped, &undone, &[]).exits(0);
    assert_eq!(database.credential_rows(), touched);
}

#[test]
fn a_plan_names_the_number_and_is_carried_out_only_where_it_still_is() {
    let folder = Folder::new();
    for (name, change, status) in [
        ("same", "SELECT", 0),
        // As many as before, though not the same ones: they are deleted as they are then.
        (
            "edited",
            r#"UPDATE "LiteLLM_MCPUserCredentials" SET "credential_b64" = 's3cret-new'"#,
            0,
        ),
        (
            "fewer",
            r#"DELETE FROM "LiteLLM_MCPUserCredentials" WHERE "id" = 'c-2'"#,
            5,
        ),
        (
            "more",
            r#"INSERT INTO "LiteLLM_MCPUserCredentials" ("id", "user_id", "server_id", "credential_b64")
               VALUES ('c-9', 'cy', 'f0e1d2c3-b4a5-4687-9788-99aabbccddee', 'new')"#,
            5,
        ),
        ("none", r#"DELETE FROM "LiteLLM_MCPUserEnvVars""#, 5),
        (
            "server back",
            r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id")
               VALUES ('f0e1d2c3-b4a5-4687-9788-99aabbccddee')"#,
            5,
        ),
    ] {
        let database = company();
        let [plan, journal] =
            ["plan", "journal"].map(|kind| folder.file(&format!("{name}-{kind}")));
        let dry = ["fix", "--dry-run", "--delete-rows", "--plan-out", &plan];
        run_on(database.url(), &[&dry[..], &SITES].concat()).exits(2);
        let written = lines(&plan);
        assert_eq!(written[0]["delete_rows"], true);
        let of_gone = written.iter().find(|line| line["key"] == GONE).unwrap();
        assert_eq!(
            of_gone["columns"]["server_id"],
            json!({"before": {GONE: 2}, "after": {}})
        );
        assert_eq!(of_gone.get("rows"), None);
        let text = fs::read_to_string(&plan).unwrap();
        assert!(
            !text.contains("s3cret") && !text.contains("\"ada\""),
            "{text}"
        );

        database.execute(change);
        let before = database.credential_rows();
        let carry_out = ["fix", "--yes", "--plan", &plan, "--journal", &journal];
        let ran = run_on(database.url(), &carry_out).exits(status);
        if status == 5 {
            assert_eq!(database.credential_rows(), before, "{name}: {ran}");
            continue;
        }
        assert!(
            !database.credential_rows().join(" ").contains(GONE),
            "{name}"
        );
        undo(
            &database,
            &journal,
            &folder.file(&format!("{name}-undone")),
            &[],
        )
        .exits(0);
        assert_eq!(database.credential_rows(), before, "{name}");
    }
    let plan = folder.file("same-plan");
    let both = ["fix", "--yes", "--delete-rows", "--plan", &plan];
    let database = company();
    run_on(database.url(), &both).exits(64);
}

#[test]
fn what_is_remapped_is_not_deleted_instead() {
    let database = company();
    let before = database.credential_rows();
    let remap = format!("{GONE}=github");
    let folder = Folder::new();
    let more = ["--remap", &remap, "--reference", GONE, "--format", "json"];
    let fix = delete(&database, &folder.file("journal"), &more)
        .exits(3)
        .json();
    let held = fix["held"].as_array().unwrap();
    assert_eq!(held.len(), 2);
    assert!(
        held.iter().all(|held| held["reason"] == "not-remapped"),
        "{held:?}"
    );
    assert_eq!(database.credential_rows(), before);
}

#[test]
fn clients_of_proxies_are_reported_where_the_configs_are_known_and_never_deleted() {
    let database = company();
    let client = "LiteLLM_MCPServerOAuthClient";
    let tables = |more: &[&str]| {
        let args = [&["scan", "--format", "json"], &SITES[..], more].concat();
        let ran = run_on(database.url(), &args).exits(2);
        let findings = ran.json()["findings"].take();
        let findings = findings.as_array().unwrap().iter();
        let of_clients = findings.filter(|finding| finding["table"] == client);
        (
            ran.stderr.matches("MCPServerOAuthClient").count(),
            of_clients.count(),
        )
    };
    assert_eq!(tables(&[]), (1, 0));
    assert_eq!(tables(&["--no-config-servers"]), (0, 1));
    let keep = [
        "--no-config-servers",
        "--keep",
        "9e8d7c6b5a493827160f1e2d3c4b5a69",
    ];
    assert_eq!(tables(&keep), (0, 0));

    let folder = Folder::new();
    let more = ["--no-config-servers", "--format", "json"];
    let fix = delete(&database, &folder.file("journal"), &more)
        .exits(3)
        .json();
    assert_eq!(fix["held"][0]["reason"], "oauth-client");
    let rows = database.credential_rows();
    assert!(
        rows.iter().any(|row| row.starts_with("client ")),
        "{rows:?}"
    );
}

#[test]
fn tables_that_are_not_there_are_left_out() {
    let database = company();
    database.execute(r#"DROP TABLE "LiteLLM_MCPUserEnvVars", "LiteLLM_MCPServerOAuthClient""#);
    let folder = Folder::new();
    delete(&database, &folder.file("journal"), &[])
        .exits(0)
        .says(
            "not looked at: credentials: MCPServerOAuthClient, credentials: MCPUserEnvVars (this \
         LiteLLM has no such table)",
        );
}

#[test]
fn guards_count_the_rows_that_would_go() {
    let database = company();
    let before = database.credential_rows();
    let folder = Folder::new();
    let journal = folder.file("journal");
    delete(&database, &journal, &["--max-rows", "3"])
        .exits(4)
        .says("4 rows would change, more than --max-rows 3");
    delete(&database, &journal, &["--max-percent", "40"])
        .exits(4)
        .says("4 of the 8 rows that name servers would change, 50.0%");
    database.execute(r#"DELETE FROM "LiteLLM_MCPServerTable""#);
    delete(&database, &journal, &[])
        .exits(4)
        .says("the MCP server table is empty");
    assert_eq!(database.credential_rows(), before);
}

/// Secrets are wherever LiteLLM keeps some. Every run is tried in every format, and with failures
/// whose messages the server makes of the rows.
#[test]
fn no_secret_and_no_user_is_told_to_anybody_but_the_journal() {
    let folder = Folder::new();
    let mut told = String::new();
    for format in crate::program::formats() {
        let database = company();
        for table in ["LiteLLM_MCPUserCredentials", "LiteLLM_MCPUserEnvVars"] {
            database.execute(&format!(
                r#"UPDATE "{table}" SET "user_id" = 's3cret-' || "user_id""#
            ));
        }
        database.execute(
            r#"UPDATE "LiteLLM_MCPServerTable" SET "url" = 's3cret', "credentials" = '"s3cret"'"#,
        );
        let [plan, fixed, undone] =
            ["plan", "fixed", "undone"].map(|name| folder.file(&format!("{format}-{name}")));
        let form = [
            "--format",
            format,
            "--no-config-servers",
            "--prune-config-ids",
        ];
        let mut tell = |ran: Ran| told.push_str(&ran.to_string());
        let run = |args: &[&str]| run_on(database.url(), &[args, &SITES, &form].concat());
        tell(run(&["scan"]).exits(2));
        tell(run(&["scan", "--notes"]).exits(2));
        tell(run(&["fix", "--yes"]).exits(3));
        tell(run(&["fix", "--dry-run", "--delete-rows", "--plan-out", &plan]).exits(2));
        tell(delete(&database, &fixed, &form).exits(3));
        database.execute(&format!(
            r#"INSERT INTO "LiteLLM_MCPUserCredentials" ("id", "user_id", "server_id", "credential_b64")
               VALUES ('c-9', 's3cret-ben', '{GONE}', 's3cret-new')"#
        ));
        let args = ["undo", "--format", format, "--journal", &undone, &fixed];
        tell(run_on(database.url(), &[&args[..], &["--dry-run"]].concat()).exits(5));
        tell(run_on(database.url(), &[&args[..], &["--yes"]].concat()).exits(5));
        let skip = ["--yes", "--skip-changed"];
        tell(run_on(database.url(), &[&args[..], &skip].concat()).exits(0));
        told.push_str(&fs::read_to_string(plan).unwrap());
        let journal = fs::read_to_string(fixed).unwrap();
        for secret in ["c-1", "c-2", "c-5", "v-1", "v-2"] {
            assert!(journal.contains(&format!("s3cret-{secret}")), "{secret}");
        }
        for secret in ["c-3", "c-4", "v-3", "o-1"] {
            assert!(!journal.contains(&format!("s3cret-{secret}")), "{secret}");
        }
    }

    let database = company();
    let [failed, fixed] = ["failed", "fixed"].map(|name| folder.file(name));
    database.execute(
        r#"CREATE FUNCTION leak() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'no: %', OLD; END $$;
           CREATE TRIGGER leak BEFORE DELETE ON "LiteLLM_MCPUserCredentials"
               FOR EACH ROW EXECUTE FUNCTION leak()"#,
    );
    let ran = delete(&database, &failed, &[]).exits(1);
    told.push_str(&ran.says("the server says P0001").to_string());
    database.execute(r#"DROP TRIGGER leak ON "LiteLLM_MCPUserCredentials""#);
    delete(&database, &fixed, &[]).exits(0);
    database.execute(
        r#"ALTER TABLE "LiteLLM_MCPUserCredentials" ALTER "credential_b64" TYPE int USING 0"#,
    );
    let ran = undo(&database, &fixed, &failed, &[]).exits(1);
    told.push_str(&ran.says("the server says 22P02").to_string());

    assert!(told.contains(GONE));
    let secrets = told.lines().filter(|line| line.contains("s3cret"));
    assert_eq!(secrets.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_row_that_would_not_come_back_as_it_was_is_not_deleted() {
    let database = company();
    database.execute(
        r#"ALTER TABLE "LiteLLM_MCPUserCredentials" ADD "more" json;
           UPDATE "LiteLLM_MCPUserCredentials" SET "more" = '{"a":   1}'"#,
    );
    let before = database.credential_rows();
    let folder = Folder::new();
    delete(&database, &folder.file("journal"), &[])
        .exits(4)
        .says("holds what a journal cannot keep exactly");
    assert_eq!(database.credential_rows(), before);
}

/// Starts a deletion, which waits at `GATE` if there is one.
fn start(database: &TestDatabase, journal: &str, sites: &str) -> Child {
    let fix = [
        "fix",
        "--yes",
        "--delete-rows",
        "--lock-timeout",
        "600",
        "--sites",
        sites,
    ];
    mcp_prune(&[&fix[..], &["--journal", journal]].concat())
        .env("DATABASE_URL", database.url())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

/// Stops every deletion of a row until the test opens it.
const GATE: &str = r#"
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN OLD; END $$;
CREATE TRIGGER gate BEFORE DELETE ON "LiteLLM_MCPUserEnvVars"
    FOR EACH ROW EXECUTE FUNCTION gate()"#;

const NEW_ROW: &str = r#"
INSERT INTO "LiteLLM_MCPUserEnvVars" ("id", "user_id", "server_id", "values_b64")
VALUES ('new', 'dee', 'f0e1d2c3-b4a5-4687-9788-99aabbccddee', 's3cret-new')"#;

/// Runs a deletion, and runs `meanwhile` while it deletes its last rows.
fn delete_while(
    database: &TestDatabase,
    journal: &str,
    sites: &str,
    meanwhile: impl FnOnce(),
) -> Ran {
    database.execute(GATE);
    let mut keeper = Other::connect(database);
    keeper.execute("SELECT pg_advisory_lock(7)");
    let child = start(database, journal, sites);
    wait_until_at_the_gate(database);
    meanwhile();
    keeper.execute("SELECT pg_advisory_unlock(7)");
    ended(child)
}

fn wait_until_at_the_gate(database: &TestDatabase) {
    let waiting = "SELECT pid::text FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event = 'advisory'";
    wait_until("fix stands at the gate", || {
        !database.texts(waiting).is_empty()
    });
}

#[test]
fn a_row_added_before_the_others_are_locked_goes_with_them_into_the_journal() {
    if concurrent_server("a row added meanwhile").is_none() {
        return;
    }
    let database = company();
    let folder = Folder::new();
    let journal = folder.file("journal");
    let mut other = Other::connect(&database);
    other.execute("BEGIN");
    other.execute(r#"SELECT FROM "LiteLLM_MCPUserEnvVars" WHERE "id" = 'v-1' FOR UPDATE"#);
    let child = start(&database, &journal, "credentials");
    wait_for_lock(&database);
    database.execute(NEW_ROW);
    let before = database.credential_rows();
    other.execute("COMMIT");
    ended(child).exits(0);
    assert!(!database.credential_rows().join(" ").contains(GONE));
    assert!(fs::read_to_string(&journal).unwrap().contains("s3cret-new"));
    undo(&database, &journal, &folder.file("undone"), &[]).exits(0);
    assert_eq!(database.credential_rows(), before);
}

#[test]
fn a_row_added_while_the_others_are_deleted_starts_it_anew() {
    if concurrent_server("a row added meanwhile").is_none() {
        return;
    }
    let database = company();
    let folder = Folder::new();
    let journal = folder.file("journal");
    delete_while(&database, &journal, "credentials", || {
        database.execute(NEW_ROW);
    })
    .exits(0);
    assert!(!database.credential_rows().join(" ").contains(GONE));
    let rows = lines(&journal)
        .iter()
        .filter_map(|line| line["rows"].as_array().cloned())
        .flatten()
        .count();
    assert_eq!(rows, 5);
    assert!(fs::read_to_string(&journal).unwrap().contains("s3cret-new"));
}

#[test]
fn a_server_that_comes_back_keeps_what_users_left_with_it() {
    if concurrent_server("a returning server").is_none() {
        return;
    }
    let database = company();
    let before = database.credential_rows();
    let folder = Folder::new();
    let back = r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id")
                  VALUES ('f0e1d2c3-b4a5-4687-9788-99aabbccddee'), ('0a9b8c7d-6e5f-4a3b-8c2d-1e0f9a8b7c6d')"#;
    let journal = folder.file("journal");
    let ran = delete_while(&database, &journal, "credentials", || {
        database.execute(back);
    });
    ran.exits(0).prints("There is nothing that fix may change.");
    assert_eq!(database.credential_rows(), before);
}

#[test]
fn places_roll_back_together_where_the_journal_cannot_be_written() {
    if concurrent_server("a journal that goes away").is_none() {
        return;
    }
    let database = company();
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('p-1', ARRAY['github', '{GONE}'])"#
    ));
    let before = (database.permission_rows(), database.credential_rows());
    let folder = tempfile::tempdir().unwrap();
    let journals = folder.path().join("journals");
    fs::create_dir(&journals).unwrap();
    let journal = journals.join("journal");
    let sites = "permissions,credentials";
    let lose_it = || fs::remove_dir_all(&journals).unwrap();
    let ran = delete_while(&database, journal.to_str().unwrap(), sites, lose_it);
    ran.exits(1).says("cannot write");
    assert_eq!(
        (database.permission_rows(), database.credential_rows()),
        before
    );

    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    ended(start(&database, journal, sites)).exits(0);
    assert!(!database.permission_rows().join(" ").contains(GONE));
    assert!(!database.credential_rows().join(" ").contains(GONE));
    run_on(database.url(), &["undo", "--yes", journal, "--no-journal"]).exits(0);
    assert_eq!(
        (database.permission_rows(), database.credential_rows()),
        before
    );
}

#[test]
fn a_role_is_told_what_it_lacks_and_needs_no_more() {
    if concurrent_server("privileges").is_none() {
        return;
    }
    let database = company();
    let role = role(&database, "cleaner");
    let url = url_of(&database, &role, "s3cret");
    let grants = |purpose: &str| {
        let grants = ["grants", "--role", &role, "--for", purpose];
        run_on(database.url(), &[&grants[..], &SITES].concat())
            .exits(0)
            .stdout
    };
    let scan = grants("scan");
    let mut of_users = scan.lines().filter(|grant| grant.contains("MCPUser"));
    assert!(
        of_users.all(|grant| grant.contains("GRANT SELECT (\"server_id\") ON")),
        "{scan}"
    );
    database.load(&scan);
    run_on(&url, &[&["scan"], &SITES[..]].concat()).exits(2);

    let folder = Folder::new();
    let fix = |journal: &str| {
        let fix = ["fix", "--yes", "--delete-rows", "--journal", journal];
        run_on(&url, &[&fix[..], &SITES].concat())
    };
    let journal = folder.file("journal");
    fix(&journal).exits(7).says("lacks SELECT on table");
    let before = database.credential_rows();
    database.load(&grants("fix"));
    for lacking in ["DELETE", "INSERT"] {
        database.execute(&format!(
            r#"REVOKE {lacking} ON "LiteLLM_MCPUserCredentials" FROM {role}"#
        ));
        fix(&journal).exits(7).says(&format!(
            "lacks {lacking} on table \"LiteLLM_MCPUserCredentials\""
        ));
        let args = ["fix", "--yes", "--delete-rows", "--sites", "credentials"];
        grant_what_is_asked(&database, &url, &args);
    }
    fix(&journal).exits(0);
    assert!(Path::new(&journal).exists());
    run_on(&url, &["undo", "--yes", &journal, "--no-journal"]).exits(0);
    assert_eq!(database.credential_rows(), before);
}

#[test]
fn a_damaged_journal_of_secrets_is_refused_without_them() {
    let database = company();
    let folder = Folder::new();
    let journal = PathBuf::from(folder.file("journal"));
    delete(&database, journal.to_str().unwrap(), &[]).exits(0);
    let text = fs::read_to_string(&journal).unwrap();
    for damaged in [
        text.replacen("s3cret-c-1", "s3cret-x", 1),
        text[..text.len() / 2].to_owned(),
    ] {
        fs::write(&journal, damaged).unwrap();
        let ran = undo(
            &database,
            journal.to_str().unwrap(),
            &folder.file("undone"),
            &[],
        )
        .exits(1);
        assert!(!ran.to_string().contains("s3cret"), "{ran}");
    }
}

#[test]
fn rows_are_put_back_after_litellm_has_added_a_column() {
    let database = company();
    let before = database.credential_rows();
    let folder = Folder::new();
    let [journal, again] = ["journal", "again"].map(|name| folder.file(name));
    delete(&database, &journal, &[]).exits(0);
    database.execute(r#"ALTER TABLE "LiteLLM_MCPUserCredentials" ADD "new" text"#);
    undo(&database, &journal, &again, &[]).exits(0);
    undo(&database, &again, &folder.file("once-more"), &[]).exits(0);
    undo(&database, &journal, &folder.file("at-last"), &[]).exits(0);
    database.execute(r#"ALTER TABLE "LiteLLM_MCPUserCredentials" DROP "new""#);
    assert_eq!(database.credential_rows(), before);
}

#[test]
fn a_row_that_lacks_a_new_required_value_is_put_back_as_the_hint_says() {
    let database = company();
    let before = database.credential_rows();
    let folder = Folder::new();
    let journal = folder.file("journal");
    delete(&database, &journal, &[]).exits(0);
    let deleted = database.credential_rows();
    database.execute(
        r#"ALTER TABLE "LiteLLM_MCPUserCredentials" ADD "kind" text NOT NULL DEFAULT 'x'"#,
    );
    let refused = undo(&database, &journal, &folder.file("refused"), &[])
        .exits(1)
        .says(r#"the server says 23502, of column "kind", table "LiteLLM_MCPUserCredentials""#)
        .says("hint: ");
    assert!(!refused.to_string().contains("s3cret"), "{refused}");
    let hint = "ALTER TABLE \"public\".\"LiteLLM_MCPUserCredentials\" ALTER COLUMN \"kind\" DROP NOT NULL;";
    let refused = refused.says(hint);
    assert!(!refused.stderr.contains("ada"), "{refused}");
    database.execute(hint);
    undo(&database, &journal, &folder.file("undone"), &[]).exits(0);
    database.execute(r#"ALTER TABLE "LiteLLM_MCPUserCredentials" DROP "kind""#);
    assert_ne!(database.credential_rows(), deleted);
    assert_eq!(database.credential_rows(), before);
}

#[test]
fn settings_of_the_session_do_not_change_what_is_put_back() {
    let database = company();
    database.execute(
        r#"ALTER TABLE "LiteLLM_MCPUserCredentials"
               ADD "bytes" bytea DEFAULT '\x00ff5c', ADD "number" float8 DEFAULT 0.1::float8 + 0.2::float8,
               ADD "span" interval DEFAULT '-1 day 02:03:04.5'"#,
    );
    let before = database.credential_rows();
    let set = |setting: &str| {
        database.execute(&format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting}', current_database()); END $$"
        ));
    };
    let folder = Folder::new();
    let journal = folder.file("journal");
    for setting in [
        "bytea_output = escape",
        "extra_float_digits = -3",
        "IntervalStyle = sql_standard",
    ] {
        set(setting);
    }
    delete(&database, &journal, &[]).exits(0);
    for setting in ["bytea_output", "extra_float_digits", "IntervalStyle"] {
        set(&format!("{setting} TO DEFAULT"));
    }
    undo(&database, &journal, &folder.file("undo"), &[]).exits(0);
    assert_eq!(database.credential_rows(), before);
}

#[test]
fn what_could_not_be_put_back_is_not_deleted() {
    for (obstacle, told) in [
        (
            r#"CREATE TABLE "Child" ("id" text REFERENCES "LiteLLM_MCPUserCredentials" ("id") ON DELETE CASCADE)"#
                .to_owned(),
            r#"changes table public."Child""#,
        ),
        (
            r#"CREATE TABLE "Child" ("id" text REFERENCES "LiteLLM_MCPUserCredentials" ("id") ON DELETE SET NULL)"#
                .to_owned(),
            r#"changes table public."Child""#,
        ),
        (
            format!(
                r#"ALTER TABLE "LiteLLM_MCPUserCredentials" ADD "new" jsonb;
                   UPDATE "LiteLLM_MCPUserCredentials" SET "new" = (repeat('[', 200) || repeat(']', 200))::jsonb
                   WHERE "server_id" = '{GONE}'"#
            ),
            "holds what a journal cannot keep exactly",
        ),
    ] {
        let database = company();
        database.execute(&obstacle);
        let before = database.credential_rows();
        let folder = Folder::new();
        delete(&database, &folder.file("journal"), &[])
            .exits(4)
            .says(told);
        assert_eq!(database.credential_rows(), before);
    }
}

#[test]
fn what_is_put_back_stays_out_of_the_servers_log_or_the_operator_is_told() {
    let Some(server) = concurrent_server("the server's log") else {
        return;
    };
    let Some(folder) = &server.tls else {
        return crate::server::skip("the server's log", "needs a private cluster");
    };
    let database = company();
    let secret = format!("s3cret of {}", database.name());
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_MCPUserCredentials" ("id", "user_id", "server_id", "credential_b64")
           VALUES ('c-9', 'dee', '{GONE}', '{secret}')"#
    ));
    let role = role(&database, "writer");
    database.execute(&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    let least = url_of(&database, &role, "s3cret");
    let files = Folder::new();
    let logged = || fs::read_to_string(folder.join("server.log")).unwrap();
    let hides = has(
        Feature::HidesParameters,
        "parameters kept out of the server's log",
    );
    let undo = |url: &str, of: &str| {
        let undo = run_on(url, &["undo", "--yes", of, "--no-journal"]).exits(0);
        assert!(!undo.to_string().contains(&secret), "{undo}");
        undo
    };
    for (setting, value) in [
        ("log_statement", "all"),
        ("log_min_duration_statement", "0"),
    ] {
        let name = database.name();
        database.execute(&format!("ALTER DATABASE {name} SET {setting} = '{value}'"));
        let journal = files.file(setting);
        delete(&database, &journal, &[]).exits(0);
        let told = undo(database.url(), &journal);
        assert_eq!(told.stderr.contains("server's log"), !hides, "{told}");
        assert!(!logged().contains(&secret), "{setting}");
        database.execute(&format!("ALTER DATABASE {name} RESET {setting}"));
    }
    let name = database.name();
    database.execute(&format!("ALTER DATABASE {name} SET log_statement = 'mod'"));
    let journal = files.file("least");
    delete(&database, &journal, &[]).exits(0);
    undo(&least, &journal)
        .says("may get into the server's log, by log_error_verbosity, log_statement,")
        .says("log_parameter_max_length");
    database.execute(&format!("ALTER DATABASE {name} RESET log_statement"));
    // A row that breaks a constraint is in the detail of the error.
    for (verbosity, is_told) in [("terse", false), ("default", true), ("verbose", true)] {
        database.execute(&format!(
            "ALTER DATABASE {name} SET log_error_verbosity = '{verbosity}'"
        ));
        let journal = files.file(verbosity);
        delete(&database, &journal, &[]).exits(0);
        let told = undo(&least, &journal).stderr;
        let told = told.contains("server's log, by log_error_verbosity");
        assert_eq!(told, is_told, "{verbosity}");
        let journal = files.file(&format!("{verbosity} again"));
        delete(&database, &journal, &[]).exits(0);
        let told = undo(database.url(), &journal).stderr;
        assert!(!told.contains("server's log"), "{verbosity}: {told}");
    }
}

#[test]
fn a_deferred_trigger_that_puts_rows_back_stops_their_deletion() {
    let database = company();
    database.load(
        r#"CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
               BEGIN INSERT INTO "LiteLLM_MCPUserCredentials" SELECT OLD.*; RETURN NULL; END $$;
           CREATE CONSTRAINT TRIGGER again AFTER DELETE ON "LiteLLM_MCPUserCredentials"
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION again()"#,
    );
    let before = database.credential_rows();
    let files = Folder::new();
    delete(&database, &files.file("journal"), &[])
        .exits(5)
        .says(r#"trigger "again" on "LiteLLM_MCPUserCredentials""#)
        .says("look for a trigger on the table");
    assert_eq!(database.credential_rows(), before);
}

/// Nothing keeps two rows apart where the table has lost its keys, and the sum of two equal rows is
/// not that of none.
#[test]
fn a_deferred_trigger_that_puts_a_row_back_twice_stops_its_deletion() {
    let database = company();
    database.load(
        r#"ALTER TABLE "LiteLLM_MCPUserCredentials"
               DROP CONSTRAINT "LiteLLM_MCPUserCredentials_pkey",
               DROP CONSTRAINT "LiteLLM_MCPUserCredentials_user_id_server_id_key";
           CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
               BEGIN INSERT INTO "LiteLLM_MCPUserCredentials" SELECT OLD.* FROM generate_series(1, 2);
               RETURN NULL; END $$;
           CREATE CONSTRAINT TRIGGER twice AFTER DELETE ON "LiteLLM_MCPUserCredentials"
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION twice()"#,
    );
    let before = database.credential_rows();
    let files = Folder::new();
    delete(&database, &files.file("journal"), &[])
        .exits(5)
        .says("look for a trigger on the table");
    assert_eq!(database.credential_rows(), before);
}
