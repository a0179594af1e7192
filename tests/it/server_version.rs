//! What the tests need of a server and only some versions of PostgreSQL have, and servers of a
//! version that is too old.

use std::process::Command;
use std::sync::OnceLock;

use crate::doctor::{self, check, doctor, has_every_check};
use crate::program::run_on;
use crate::proxy::replacing;
use crate::samples::demo;
use crate::server::{TestDatabase, concurrent_server};

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

/// A server that is too old is refused by its version, before it fails over a statement.
#[test]
fn a_server_before_version_12_is_refused_in_one_sentence() {
    let Some(server) = concurrent_server("an old server") else {
        return;
    };
    let database = demo();
    let before = database.permission_rows();
    let text = &database.texts("SHOW server_version")[0];
    let old = text.replace(&format!("{}.", major()), "11.");
    let (new_number, old_number) = (number(), number() % 10_000 + 110_000);
    let port = replacing(
        server.port(),
        &[
            (text.clone(), old.clone()),
            (new_number.to_string(), old_number.to_string()),
        ],
    );
    let url = format!(
        "postgresql://postgres@127.0.0.1:{port}/{}?sslmode=disable",
        database.name()
    );
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
