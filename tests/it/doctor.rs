//! The checks of `doctor` on servers, roles and machines that are fit, and on others.

use serde_json::Value;

use crate::program::{Ran, mcp_prune, run, run_on};
use crate::samples::{NOWHERE, demo};
use crate::server::{TestDatabase, block_on, concurrent_server};
use crate::server_version;

/// Makes a role that may log in and nothing else; returns its name and its URL.
fn role(database: &TestDatabase, suffix: &str) -> (String, String) {
    let role = format!("{}_{suffix}", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 's3cret'"));
    let (_, address) = database.url().split_once('@').unwrap();
    let url = format!("postgresql://{role}:s3cret@{address}");
    (role, url)
}

pub(crate) fn doctor(url: &str, args: &[&str]) -> Ran {
    let args = [&["doctor", "--format", "json"], args].concat();
    let ran = run_on(url, &args);
    assert!(!ran.to_string().contains("s3cret"), "{ran}");
    ran
}

/// Returns the check with that name.
#[track_caller]
pub(crate) fn check(ran: &Ran, name: &str) -> Value {
    let report = ran.json();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {ran}")).clone()
}

#[track_caller]
pub(crate) fn has(ran: &Ran, name: &str, status: &str, found: &str) -> Value {
    let check = check(ran, name);
    assert_eq!(check["status"], status, "{check}");
    assert!(check["found"].as_str().unwrap().contains(found), "{check}");
    check
}

const NAMES: [&str; 16] = [
    "program",
    "connection",
    "server",
    "encryption",
    "pooler",
    "primary",
    "schema",
    "drift",
    "privileges-scan",
    "privileges-fix",
    "row-level-security",
    "triggers",
    "lock",
    "size",
    "config-servers",
    "journal",
];

#[track_caller]
pub(crate) fn has_every_check(ran: &Ran) {
    let report = ran.json();
    assert_eq!(report["version"], 1);
    assert_eq!(report["command"], "doctor");
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
}

#[test]
fn a_healthy_database_passes_every_check_and_is_not_touched() {
    let database = demo();
    database.execute("ANALYZE");
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().to_str().unwrap();
    let args = ["--for", "fix", "--no-config-servers", "--journal", journal];
    let ran = doctor(database.url(), &args).exits(0);
    has_every_check(&ran);
    for name in NAMES {
        // Before PostgreSQL 14, a server may go on with what was interrupted.
        if name == "server" && server_version::major() < 14 {
            let server = has(&ran, name, "warn", "PostgreSQL 1");
            let advice = server["advice"].as_str().unwrap();
            assert!(advice.contains("may run on in a server before"), "{ran}");
            continue;
        }
        assert_eq!(check(&ran, name)["status"], "ok", "{ran}");
        assert_eq!(check(&ran, name)["advice"], Value::Null, "{ran}");
    }
    has(&ran, "connection", "ok", database.name());
    assert!(
        check(&ran, "server")["found"]
            .as_str()
            .unwrap()
            .starts_with("PostgreSQL 1")
    );
    has(&ran, "schema", "ok", "that of LiteLLM 1.");
    has(&ran, "size", "ok", "permission rows");
    has(&ran, "journal", "ok", journal);
    assert_eq!(std::fs::read_dir(journal).unwrap().count(), 0);
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn the_table_tells_people_what_to_do() {
    let database = demo();
    let ran = run_on(database.url(), &["doctor", "--no-journal"]).exits(0);
    ran.prints("CHECK")
        .prints("\nconfig-servers: give their file with --litellm-config")
        .prints("\njournal: without one");
}

#[test]
fn a_role_that_may_only_scan_is_warned_and_sent_to_grants() {
    if concurrent_server("privileges").is_none() {
        return;
    }
    let database = demo();
    let (role, url) = role(&database, "reader");
    let grants = ["grants", "--role", &role, "--for", "scan"];
    database.load(&run_on(database.url(), &grants).exits(0).stdout);

    let ran = doctor(&url, &[]).exits(0);
    has(
        &ran,
        "privileges-scan",
        "ok",
        "without --sites defaults or credentials",
    );
    let fix = has(&ran, "privileges-fix", "warn", "lacks UPDATE");
    let advice = fix["advice"].as_str().unwrap();
    let command = format!("mcp-prune grants --role {role} --for fix");
    assert!(advice.contains(&command), "{advice}");
    // The same is a failure where it has to repair, until it is given what the advice says.
    let ran = doctor(&url, &["--for", "fix"]).exits(7);
    has(&ran, "privileges-fix", "fail", "lacks UPDATE");
    let grants = ["grants", "--role", &role, "--for", "fix"];
    database.load(&run_on(database.url(), &grants).exits(0).stdout);
    doctor(&url, &["--for", "fix"]).exits(0);
}

#[test]
fn a_role_without_privileges_fails_with_the_grants_it_needs() {
    if concurrent_server("privileges").is_none() {
        return;
    }
    let database = demo();
    let (role, url) = role(&database, "nobody");
    let ran = doctor(&url, &[]).exits(7);
    has_every_check(&ran);
    has(&ran, "connection", "ok", &role);
    has(&ran, "schema", "ok", "");
    let scan = has(&ran, "privileges-scan", "fail", "lacks SELECT");
    let (_, grants) = scan["advice"]
        .as_str()
        .unwrap()
        .split_once("run: ")
        .unwrap();
    database.load(grants);
    doctor(&url, &[]).exits(0);
}

#[test]
fn row_level_security_that_hides_rows_fails() {
    if concurrent_server("row-level security").is_none() {
        return;
    }
    let database = demo();
    let (role, url) = role(&database, "hidden");
    database.execute(&format!(
        r#"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
           ALTER TABLE "LiteLLM_MCPServerTable" ENABLE ROW LEVEL SECURITY;"#
    ));
    let ran = doctor(&url, &[]).exits(1);
    has(&ran, "row-level-security", "fail", "LiteLLM_MCPServerTable");
}

#[test]
fn a_schema_that_is_not_litellms_fails_and_what_needs_it_is_skipped() {
    let database = TestDatabase::empty();
    let ran = doctor(database.url(), &[]).exits(1);
    has_every_check(&ran);
    has(&ran, "connection", "ok", "");
    has(&ran, "schema", "fail", "is not one of LiteLLM");
    for name in [
        "privileges-scan",
        "privileges-fix",
        "row-level-security",
        "triggers",
        "size",
    ] {
        has(&ran, name, "skipped", "not checked: needs LiteLLM's tables");
    }
    let database = demo();
    let ran = doctor(database.url(), &["--schema", "elsewhere"]).exits(1);
    let schema = has(&ran, "schema", "fail", "elsewhere");
    assert!(
        schema["advice"]
            .as_str()
            .unwrap()
            .contains("--schema public")
    );
}

#[test]
fn another_run_that_holds_the_lock_is_seen() {
    if concurrent_server("the lock").is_none() {
        return;
    }
    let database = demo();
    let lock = 0x6d63_702d_7072_756e_i64;
    let take = format!("SELECT pg_advisory_lock({lock})");
    let runtime = crate::server::runtime();
    let mut holder = runtime.block_on(database.connect());
    runtime
        .block_on(sqlx::raw_sql(sqlx::AssertSqlSafe(take)).execute(&mut holder))
        .unwrap();
    let ran = doctor(database.url(), &[]).exits(0);
    has(&ran, "lock", "warn", "held by another fix or undo");
    // It is the lock that a fix minds, and no other database's.
    run_on(database.url(), &["fix", "--yes", "--no-journal"]).exits(6);
    has(&doctor(demo().url(), &[]), "lock", "ok", "free");
    drop(holder);
}

#[test]
fn without_a_connection_the_rest_is_said_to_be_unchecked() {
    let ran = doctor(NOWHERE, &[]).exits(7);
    has_every_check(&ran);
    let connection = has(&ran, "connection", "fail", "cannot connect to 127.0.0.1:1");
    assert_ne!(connection["advice"], Value::Null);
    for name in &NAMES[2..12] {
        has(&ran, name, "skipped", "not checked: needs a connection");
    }
    // What this machine alone can tell is told all the same.
    has(&ran, "journal", "ok", "");
    doctor("mysql://u:s3cret@db/litellm", &[]).exits(64);
}

#[test]
fn config_files_and_the_journal_folder_are_checked() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let config = file("config.yaml");
    std::fs::write(
        &config,
        "mcp_servers:\n  one: {url: \"https://one/mcp\", transport: http}\n  two: {url: os.environ/TWO, \
         transport: http}\n",
    )
    .unwrap();
    let ran = doctor(database.url(), &["--litellm-config", &config]).exits(0);
    let check = has(&ran, "config-servers", "warn", "2 servers in 1 file");
    assert!(
        check["found"].as_str().unwrap().contains("TWO is not set"),
        "{check}"
    );
    let mut command = mcp_prune(&["doctor", "--format", "json", "--litellm-config", &config]);
    let command = command
        .env("DATABASE_URL", database.url())
        .env("TWO", "https://two/mcp");
    has(&run(command).exits(0), "config-servers", "ok", "2 servers");

    let ran = doctor(database.url(), &["--litellm-config", &file("none.yaml")]).exits(1);
    has(&ran, "config-servers", "fail", "none.yaml");

    let missing = file("no/such/journal");
    let ran = doctor(database.url(), &["--journal", &missing]).exits(0);
    has(&ran, "journal", "warn", &missing);
    doctor(database.url(), &["--journal", &missing, "--for", "fix"]).exits(1);
    let taken = doctor(database.url(), &["--journal", &config]).exits(0);
    has(&taken, "journal", "warn", &config);
    // A folder that is yet to be made is not made here.
    let state = file("state");
    let mut command = mcp_prune(&["doctor", "--format", "json"]);
    let command = command
        .env("DATABASE_URL", database.url())
        .env("XDG_STATE_HOME", &state);
    has(&run(command).exits(0), "journal", "ok", &state);
    assert!(!std::path::Path::new(&state).exists());
}

#[test]
fn an_encrypted_connection_is_told_from_a_plain_one() {
    if concurrent_server("TLS").is_none_or(|server| server.tls.is_none()) {
        return;
    }
    let database = demo();
    for (mode, found) in [("require", "TLSv1."), ("disable", "none")] {
        let url = format!("{}?sslmode={mode}", database.url());
        has(&doctor(&url, &[]).exits(0), "encryption", "ok", found);
    }
    let url = format!("{}?pgbouncer=true", database.url());
    has(
        &doctor(&url, &[]).exits(0),
        "pooler",
        "warn",
        "pgbouncer=true",
    );
    let version = block_on(async {
        let mut connection = database.connect().await;
        sqlx::query_scalar::<_, String>("SHOW server_version")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    });
    let server = check(&doctor(database.url(), &[]), "server");
    assert_eq!(server["found"], format!("PostgreSQL {version}"));
}
