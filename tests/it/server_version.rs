//! What the tests need of a server and only some versions of PostgreSQL have, and servers of a
//! version that is too old.

use std::process::Command;
use std::sync::OnceLock;

use crate::doctor::{self, check, doctor, has_every_check};
use crate::program::{Ran, run_on};
use crate::proxy::replacing;
use crate::samples::demo;
use crate::server::{Server, TestDatabase, concurrent_server};

/// What a test needs, and only some versions of PostgreSQL or of its programs have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Feature {
    /// A server that ends the work of a client that was killed.
    NoticesLostClients,
    /// A server that can leave parameters out of its log in every format. Before, the verbosity
    /// `terse` keeps them out of the plain one, and not out of CSV.
    HidesParameters,
    /// A `pg_dump` on this machine that can dump this server.
    PgDump,
}

impl Feature {
    /// Returns why the server lacks it; `None` if it has it.
    fn lack(self) -> Option<String> {
        let (since, what) = match self {
            Self::NoticesLostClients => (14, "client_connection_check_interval"),
            Self::HidesParameters => (13, "log_parameter_max_length"),
            Self::PgDump => {
                let dump = program_major("pg_dump")?;
                let server = major();
                return (dump < server).then(|| {
                    format!("pg_dump of PostgreSQL {dump} dumps no server of version {server}")
                });
            }
        };
        (major() < since).then(|| format!("{what} came with PostgreSQL {since}"))
    }
}

/// Tells whether the server has what a test needs. If not, prints that the test does not apply to
/// it, and why: such a test passes.
pub(crate) fn has(feature: Feature, test: &str) -> bool {
    let lack = feature.lack();
    if let Some(lack) = &lack {
        println!("DOES NOT APPLY {test}: {lack}");
    }
    lack.is_none()
}

/// Returns the number of the server's version: 15.4 is 150004.
fn number() -> u32 {
    static NUMBER: OnceLock<u32> = OnceLock::new();
    *NUMBER.get_or_init(|| {
        TestDatabase::empty().texts("SELECT current_setting('server_version_num')")[0]
            .parse()
            .unwrap()
    })
}

/// Returns the server's major.
pub(crate) fn major() -> u32 {
    number() / 10_000
}

/// Returns the major of a program of PostgreSQL on this machine; `None` without it.
fn program_major(program: &str) -> Option<u32> {
    let version = Command::new(program).arg("--version").output().ok()?;
    let version = String::from_utf8(version.stdout).ok()?;
    // `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
    let (_, version) = version.split_once(") ")?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Returns the URL of a database whose server says that it is of another major, and what it says.
fn as_major(other: u32, server: &Server, database: &TestDatabase) -> (String, String) {
    let text = &database.texts("SHOW server_version")[0];
    let other_text = text.replace(&format!("{}.", major()), &format!("{other}."));
    let other_number = number() % 10_000 + other * 10_000;
    let texts = [
        (text.clone(), other_text.clone()),
        (number().to_string(), other_number.to_string()),
    ];
    let port = replacing(server.port(), &texts);
    let name = database.name();
    let url = format!("postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable");
    (url, other_text)
}

/// A server that is too old is refused by its version, before it fails over a statement.
#[test]
fn a_server_before_version_12_is_refused_in_one_sentence() {
    let Some(server) = concurrent_server("an old server") else {
        return;
    };
    let database = demo();
    let before = database.permission_rows();
    let (url, old) = as_major(11, server, &database);
    let told =
        format!("mcp-prune needs PostgreSQL 12 or later, and this server says that it is {old}");
    for command in [
        &["scan"][..],
        &["fix", "--yes", "--no-journal"],
        &["fix", "--dry-run"],
        &["access", "--no-config-servers"],
        &["grants", "--role", "postgres"],
    ] {
        let ran = run_on(&url, command).exits(4);
        assert_eq!(ran.stdout, "", "{ran}");
        let error = ran.stderr.lines().find(|line| line.starts_with("error: "));
        assert_eq!(error, Some(&*format!("error: {told}")), "{ran}");
        let _ = ran
            .says("upgrade the server")
            .says("--db-url embedded:FILE.sql");
    }
    let ran = doctor(&url, &[]).exits(1);
    has_every_check(&ran);
    doctor::has(&ran, "connection", "ok", database.name());
    doctor::has(&ran, "server", "fail", &told);
    for name in ["encryption", "schema", "privileges-fix", "size"] {
        let check = check(&ran, name);
        assert_eq!(check["status"], "skipped", "{ran}");
        assert_eq!(check["found"], "not checked: needs a newer server");
    }
    assert_eq!(database.permission_rows(), before);
}

/// PostgreSQL 12 and 13 hash the rows of a subquery, and no array. The statements for them work on
/// every server, so they are tried on each.
#[test]
fn a_server_before_version_14_looks_texts_up_by_their_hash() {
    let Some(server) = concurrent_server("an older server") else {
        return;
    };
    let database = demo();
    let (older, _) = as_major(13, server, &database);
    let mut statements = Vec::new();
    for command in [&["scan"][..], &["fix", "--dry-run"]] {
        let args = [command, &["--format", "ndjson", "-vv"]].concat();
        let [ran, expected] = [&older, database.url()].map(|url| run_on(url, &args).exits(2));
        assert_eq!(changes_and_findings(&ran), changes_and_findings(&expected));
        let lines = ran.stderr.lines();
        let lookups = lines.filter(|line| line.contains("ANY (SELECT m.element"));
        // "+0.273 s: 220.7 ms, 4 rows: SELECT ..."
        statements.extend(lookups.map(|line| line.splitn(3, ": ").nth(2).unwrap().to_owned()));
    }
    let kinds = ["WITH found", "SELECT 'row'", "SELECT t.\"token\" AS id"];
    let is_any = |kind: &str| statements.iter().any(|sql| sql.contains(kind));
    assert_eq!(kinds.map(is_any), [true; 3], "{statements:#?}");
    // So many that the server would not hash them if it expected as many.
    let many: Vec<String> = (0..200_000).map(|n| n.to_string()).collect();
    let many = format!("'{{{}}}'", many.join(","));
    for sql in statements {
        let parameters = (1..10).map(|number| format!("${number}"));
        let sql = parameters.fold(sql, |sql, parameter| sql.replace(&parameter, &many));
        let plan = database.texts(&format!("EXPLAIN (COSTS OFF) {sql}"));
        let plan = plan.join("\n");
        assert!(plan.contains("hashed SubPlan"), "{plan}");
        assert!(!plan.contains("(SubPlan"), "{plan}");
    }
}

/// Returns the changes and findings of a report, a line each.
fn changes_and_findings(ran: &Ran) -> Vec<&str> {
    let lines = ran.stdout.lines();
    let is_one = |line: &&str| {
        ["change", "finding"]
            .iter()
            .any(|kind| is_of_type(line, kind))
    };
    let lines: Vec<&str> = lines.filter(is_one).collect();
    assert!(!lines.is_empty(), "{ran}");
    lines
}

fn is_of_type(line: &str, kind: &str) -> bool {
    line.starts_with(&format!("{{\"type\":\"{kind}\""))
}
