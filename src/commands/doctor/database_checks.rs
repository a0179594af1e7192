//! The checks that need the database. An entry of [`CHECKS`] is all that there is of one: its name,
//! its place in the report, what it needs, and how it judges what was observed.

use std::time::Duration;

use crate::command_line::CommandLine;
use crate::commands::doctor::checks::{self, Check, ConnectionRequest, FixProblem, ServerRole};
use crate::db::reference_search::SearchedPlaces;
use crate::db::schema::Schema;
use crate::db::server_status::ServerStatus;
use crate::error::Failure;
use crate::litellm::config::Derivation;
use crate::litellm::reference_sites::Group;

/// What was observed of a server that answered.
#[derive(Debug)]
pub(crate) struct Observed {
    /// How the connection was requested; `None` for the embedded server.
    pub request: Option<ConnectionRequest>,
    /// How long ago it was requested.
    pub asked_ago: Duration,
    /// Whether the server is the primary.
    pub role: ServerRole,
    /// What the server says of itself.
    pub status: ServerStatus,
    /// The command that prints the privileges that this role needs.
    pub grants: CommandLine,
    /// The timeout of the operator.
    pub statement_timeout: Duration,
    /// What a search for references outside the sites found; `None` where there was none.
    pub searched: Option<Result<SearchedPlaces, Failure>>,
    /// Whether that search was asked for.
    pub depth: Depth,
    /// Whether a problem of `fix` alone is a failure.
    pub fix: FixProblem,
}

/// How far `doctor` looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At what scan and fix need.
    Usual,
    /// At other columns too, as `--deep` says.
    Deep,
}

/// A check that needs the database.
struct DatabaseCheck {
    name: &'static str,
    /// Whether it is skipped where the tables are not LiteLLM's.
    needs_litellm: bool,
    judge: fn(&'static str, &Observed) -> Check,
}

/// Defines a check of the server.
const fn of_server(
    name: &'static str,
    judge: fn(&'static str, &Observed) -> Check,
) -> DatabaseCheck {
    DatabaseCheck {
        name,
        needs_litellm: false,
        judge,
    }
}

/// Defines a check of LiteLLM's tables.
const fn of_tables(
    name: &'static str,
    judge: fn(&'static str, &Observed) -> Check,
) -> DatabaseCheck {
    DatabaseCheck {
        name,
        needs_litellm: true,
        judge,
    }
}

/// The checks, in the order of the report. The first tells whether the server answers.
const CHECKS: [DatabaseCheck; 12] = [
    of_server("server", |name, seen| {
        let (version, number) = &seen.status.version;
        checks::version(name, (version, *number), seen.fix)
    }),
    of_server("encryption", |name, seen| match &seen.request {
        Some(request) => checks::encryption(name, request, seen.status.tls.as_deref()),
        None => Check::ok(name, "not needed: a PostgreSQL inside this process"),
    }),
    of_server("pooler", |name, seen| match &seen.request {
        Some(request) => {
            let (port, age) = (seen.status.server_port, seen.status.backend_age);
            checks::pooler(name, request, port, age, seen.asked_ago)
        }
        None => Check::ok(name, "none"),
    }),
    of_server("primary", |name, seen| {
        checks::primary(name, seen.role, seen.fix)
    }),
    of_server("schema", |name, seen| {
        let examined = &seen.status.examined;
        let links = examined.schema.unknown_links();
        let links: Vec<&str> = links.iter().map(String::as_str).collect();
        checks::schema(name, &examined.litellm, examined.schema.release(), &links)
    }),
    of_tables("drift", |name, seen| {
        checks::drift(name, &seen.status.examined.schema.drift())
    }),
    of_tables("privileges-scan", |name, seen| {
        let examined = &seen.status.examined;
        passed(name, &examined.reading, readable(&examined.schema))
    }),
    of_tables("privileges-fix", |name, seen| {
        checks::writing(name, &seen.status.examined.writing, &seen.grants, seen.fix)
    }),
    of_tables("row-level-security", |name, seen| {
        let hidden = &seen.status.examined.row_security;
        passed(name, hidden, "hides no rows from this role")
    }),
    of_tables("triggers", |name, seen| {
        checks::triggers(name, &seen.status.effects.names())
    }),
    of_server("lock", |name, seen| {
        checks::lock(name, seen.status.lock_holder)
    }),
    of_tables("size", |name, seen| {
        let (permissions, servers) = (seen.status.permission_rows, seen.status.server_rows);
        checks::size(name, permissions, servers, seen.statement_timeout)
    }),
];

/// Returns every check of a depth.
fn checks_of(depth: Depth) -> impl Iterator<Item = &'static DatabaseCheck> {
    CHECKS.iter().chain((depth == Depth::Deep).then_some(&DEEP))
}

/// The check that `--deep` adds.
const DEEP: DatabaseCheck = of_tables("references-elsewhere", |name, seen| match &seen.searched {
    Some(Ok(searched)) => checks::elsewhere(name, searched),
    Some(Err(failure)) => Check::failed(name, failure),
    None => Check::skipped(name, "--deep"),
});

impl Observed {
    /// Makes every check.
    pub(crate) fn checks(&self) -> Vec<Check> {
        let made = checks_of(self.depth).map(|check| {
            if check.needs_litellm && !self.is_litellm() {
                Check::skipped(check.name, "LiteLLM's tables")
            } else {
                (check.judge)(check.name, self)
            }
        });
        made.collect()
    }

    /// Returns how this LiteLLM derives the ids of config servers.
    pub(crate) fn derivation(&self) -> Derivation {
        if self.is_litellm() {
            self.status.examined.schema.derivation()
        } else {
            Derivation::NEWEST
        }
    }

    fn is_litellm(&self) -> bool {
        self.status.examined.litellm.is_ok()
    }
}

/// Skips every check, as there is no connection.
pub(crate) fn without_connection(depth: Depth) -> Vec<Check> {
    let skipped = checks_of(depth);
    let skipped = skipped.map(|check| Check::skipped(check.name, "a connection"));
    skipped.collect()
}

/// Fails the first check, as the server did not answer, and skips the others.
pub(crate) fn without_answer(failure: &Failure, depth: Depth) -> Vec<Check> {
    let [first, ..] = &CHECKS;
    let mut checks = vec![Check::failed(first.name, failure)];
    let skipped = checks_of(depth).skip(1);
    checks.extend(skipped.map(|check| Check::skipped(check.name, "the server's answer")));
    checks
}

/// Makes a check of a result that is as it should be where it is `Ok`.
fn passed(name: &'static str, result: &Result<(), Failure>, found: &str) -> Check {
    match result {
        Ok(()) => Check::ok(name, found),
        Err(failure) => Check::failed(name, failure),
    }
}

/// Says which sites can be read by a role that has every privilege of a scan.
fn readable(schema: &Schema) -> &'static str {
    let mut left_out = schema.left_out().iter();
    if left_out.any(|left| left.table.group() == Group::Defaults) {
        "all that scan needs without --sites defaults or credentials"
    } else {
        "all that scan needs without --sites credentials"
    }
}
