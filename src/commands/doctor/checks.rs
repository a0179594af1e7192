//! The checks of `doctor`: each turns an observation into a verdict, and reads nothing itself.

use std::time::Duration;

use crate::build_info;
use crate::command_line::CommandLine;
use crate::db::reference_search::{OtherPlace, ROWS, SearchedPlaces, Sign};
use crate::db::server_version::ServerVersion;
use crate::error::{ErrorKind, Failure};
use crate::litellm::release::{NEWEST_KNOWN, Release};
use crate::litellm::schema_drift::SchemaDrift;
use crate::report::shown_text::count;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// As it should be.
    Ok,
    /// Something to know; the command works all the same.
    Warn,
    /// The command would not work, and how it would fail.
    Fail(ErrorKind),
    /// Not checked, because of a failure before it.
    Skipped,
}

impl Status {
    /// Returns its name in reports and JSON.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail(_) => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// What was checked.
    pub name: &'static str,
    /// The result.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The columns outside the sites that it found.
    pub places: Vec<OtherPlace>,
}

impl Check {
    /// Makes a check that found everything as it should be.
    pub(crate) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, found, None)
    }

    /// Makes a check that found something to know, and says what to do about it.
    pub(crate) fn warn(
        name: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(name, Status::Warn, found, Some(advice.into()))
    }

    /// Makes a check that found why the command would fail.
    #[must_use]
    pub(crate) fn failed(name: &'static str, failure: &Failure) -> Self {
        let advice = failure.advice().map(str::to_owned);
        Self::new(
            name,
            Status::Fail(failure.kind()),
            failure.message(),
            advice,
        )
    }

    /// Makes a check that was skipped because `missing` failed.
    #[must_use]
    pub(crate) fn skipped(name: &'static str, missing: &str) -> Self {
        Self::new(
            name,
            Status::Skipped,
            format!("not checked: needs {missing}"),
            None,
        )
    }

    fn new(
        name: &'static str,
        status: Status,
        found: impl Into<String>,
        advice: Option<String>,
    ) -> Self {
        Self {
            name,
            status,
            found: found.into(),
            advice,
            places: Vec::new(),
        }
    }
}

/// Returns the kind of failure that `doctor` exits with; `None` if no check fails.
#[must_use]
pub(crate) fn worst(checks: &[Check]) -> Option<ErrorKind> {
    let kinds = checks.iter().filter_map(|check| match check.status {
        Status::Fail(kind) => Some(kind),
        Status::Ok | Status::Warn | Status::Skipped => None,
    });
    // A missing connection or privilege goes first, because a script may wait for it.
    kinds
        .map(|kind| kind == ErrorKind::Access)
        .max()
        .map(|access| {
            if access {
                ErrorKind::Access
            } else {
                ErrorKind::Error
            }
        })
}

/// How the connection was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionRequest {
    /// The host name or address, or the folder of a Unix-domain socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the certificate has to be signed by a known authority.
    pub checks_certificate: bool,
    /// Whether the URL says `pgbouncer=true`.
    pub says_pooled: bool,
}

impl ConnectionRequest {
    fn is_local(&self) -> bool {
        let address: Result<std::net::IpAddr, _> = self.host.parse();
        self.is_socket()
            || self.host == "localhost"
            || address.is_ok_and(|address| address.is_loopback())
    }

    fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }
}

/// Checks whether somebody in between could read or change the traffic. `tls` is the protocol that
/// the server reports.
#[must_use]
pub(crate) fn encryption(
    name: &'static str,
    asked: &ConnectionRequest,
    tls: Option<&str>,
) -> Check {
    const VERIFY: &str = "add sslmode=verify-full to the URL, and sslrootcert=FILE if the server's \
        authority is not among this machine's";
    match tls {
        None if asked.is_socket() => Check::ok(name, "not needed: a Unix-domain socket"),
        None if asked.is_local() => Check::ok(name, "none, to this very machine"),
        // Only the server's end is seen; behind a pooler that is another connection.
        None if asked.checks_certificate => Check::warn(
            name,
            "encrypted from here, but not where it reaches the server: a pooler is in between",
            "encrypt the pooler's connection to the server too",
        ),
        None => Check::warn(name, "none, as far as the server sees", VERIFY),
        Some(tls) if asked.checks_certificate => {
            Check::ok(name, format!("{tls}, with the certificate checked"))
        }
        Some(tls) if asked.is_local() => Check::ok(name, format!("{tls}, to this very machine")),
        Some(tls) => Check::warn(
            name,
            format!("{tls}, with the certificate not checked"),
            VERIFY,
        ),
    }
}

/// Tells which program this is, for a report of a fault. It is always as it should be.
#[must_use]
pub(crate) fn program(name: &'static str) -> Check {
    // Enough of the commit to find it.
    let commit = build_info::COMMIT;
    let found = format!(
        "mcp-prune {}, commit {}, {}, features: {}",
        build_info::VERSION,
        commit.get(..12).unwrap_or(commit),
        build_info::TARGET,
        build_info::FEATURES,
    );
    Check::ok(name, found)
}

/// Checks whether the server notices that its client is gone. `examine` tells a server that is too
/// old for the statements before this.
#[must_use]
pub(crate) fn version(name: &'static str, version: &ServerVersion) -> Check {
    let found = format!("PostgreSQL {}", version.text);
    // PostgreSQL 14 brought client_connection_check_interval, which a session sets.
    if version.is_before(14) {
        return Check::warn(
            name,
            found,
            "a statement that is interrupted may run on in a server before PostgreSQL 14, up to \
             --statement-timeout",
        );
    }
    Check::ok(name, found)
}

/// Checks whether a pooler is in between. The server's process is `backend_age` old; the connection
/// was requested `asked_ago`.
#[must_use]
pub(crate) fn pooler(
    name: &'static str,
    asked: &ConnectionRequest,
    server_port: Option<u16>,
    backend_age: Duration,
    asked_ago: Duration,
) -> Check {
    const SLACK: Duration = Duration::from_secs(1);
    const ADVICE: &str = "connect to the server itself if you can: everything works through a pooler, \
        in transaction mode too, but its own timeouts (query_timeout, idle_transaction_timeout) \
        may end a long run";
    if asked.says_pooled {
        return Check::warn(name, "the URL says pgbouncer=true", ADVICE);
    }
    // Each duration is measured by one clock, so the two clocks need not agree.
    let older = backend_age.saturating_sub(asked_ago);
    if older > SLACK {
        return Check::warn(
            name,
            format!(
                "the server's process is {} s older than this connection: a pooler is in between",
                older.as_secs()
            ),
            ADVICE,
        );
    }
    match server_port {
        Some(port) if port != asked.port && !asked.is_socket() => Check::warn(
            name,
            format!(
                "asked for port {}, and the server listens on {port}: a pooler, a tunnel or a \
                 mapped port is in between",
                asked.port
            ),
            format!("if it is a pooler: {ADVICE}"),
        ),
        Some(_) | None => Check::ok(
            name,
            "no sign of one (one that opened a new connection for this run leaves none)",
        ),
    }
}

/// Whether a problem of `fix` alone is a failure, or only something to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FixProblem {
    /// The operator wants to repair.
    Fails,
    /// The operator wants to scan.
    Warns,
}

impl FixProblem {
    /// Makes a check that found a problem of `fix` alone.
    pub(crate) fn check(
        self,
        name: &'static str,
        kind: ErrorKind,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Check {
        let status = match self {
            Self::Fails => Status::Fail(kind),
            Self::Warns => Status::Warn,
        };
        Check::new(name, status, found, Some(advice.into()))
    }
}

/// What a server is among those that hold the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerRole {
    /// The one that is written.
    Primary,
    /// One that only follows.
    Replica,
}

/// Checks whether the server can be written.
#[must_use]
pub(crate) fn primary(name: &'static str, role: ServerRole, fix: FixProblem) -> Check {
    match role {
        ServerRole::Primary => Check::ok(name, "yes, it can be written"),
        ServerRole::Replica => fix.check(
            name,
            ErrorKind::Refused,
            "a replica, which cannot be written",
            "scan works here; to repair, point the URL at the primary server",
        ),
    }
}

/// Checks which LiteLLM made the tables, and whether unknown tables link to permission rows.
#[must_use]
pub(crate) fn schema(
    name: &'static str,
    litellm: &Result<(), Failure>,
    release: Release,
    unknown_links: &[&str],
) -> Check {
    match litellm {
        Err(failure) => Check::failed(name, failure),
        Ok(()) if unknown_links.is_empty() => {
            Check::ok(name, format!("that of LiteLLM {release} or later"))
        }
        Ok(()) => Check::warn(
            name,
            format!(
                "that of LiteLLM {release} or later; {} links to permission rows in a way that is \
                 not known",
                unknown_links.join(", ")
            ),
            "fix treats every row as used; a newer mcp-prune may know the table",
        ),
    }
}

/// Checks whether a newer LiteLLM than this program knows made the schema.
#[must_use]
pub(crate) fn drift(name: &'static str, drift: &SchemaDrift) -> Check {
    if drift.is_none() {
        let found = format!("none: a LiteLLM up to {NEWEST_KNOWN} has every table and column");
        return Check::ok(name, found);
    }
    let places = drift.suspects().map(|column| OtherPlace {
        column: column.clone(),
        path: Vec::new(),
        sign: Sign::Name,
    });
    Check {
        places: places.collect(),
        ..Check::warn(
            name,
            drift.to_string(),
            "fix repairs the sites that it knows and touches nothing else; fix --strict refuses \
             this schema. doctor --deep looks for server ids in the other columns. An mcp-prune \
             that knows this LiteLLM may know them as sites",
        )
    }
}

/// Checks whether references stand outside the sites.
#[must_use]
pub(crate) fn elsewhere(name: &'static str, searched: &SearchedPlaces) -> Check {
    let SearchedPlaces {
        places,
        tables,
        too_slow,
        cut_off,
        too_large,
        unreadable,
        lacks_server_ids,
    } = searched;
    if *lacks_server_ids {
        return Check::warn(
            name,
            "nothing was searched: this role may not read server_id of the server table, so it \
             does not know which ids to look for",
            "run doctor --deep as the tables' owner",
        );
    }
    let of_sign = |sign: Sign, told: &str| {
        let places = places.iter().filter(|place| place.sign == sign);
        let places: Vec<String> = places.map(ToString::to_string).collect();
        (!places.is_empty()).then(|| format!("{told}: {}", places.join(", ")))
    };
    let looked = format!(
        "up to {ROWS} rows of each of {} were searched",
        count(*tables, "table")
    );
    let found = [
        of_sign(
            Sign::Value,
            "ids of known servers stand outside the sites, where they are neither reported nor \
             repaired",
        ),
        of_sign(Sign::Name, "by the name of a key these may hold references"),
        places
            .is_empty()
            .then(|| "no id of a known server was found outside the sites".to_owned()),
        Some(looked),
        (!too_slow.is_empty()).then(|| format!("not in time: {}", too_slow.join(", "))),
        (!cut_off.is_empty()).then(|| {
            let tables = cut_off.join(", ");
            format!("there are more such places than are listed in {tables}")
        }),
        (!too_large.is_empty())
            .then(|| format!("not the values above 16 kB in {}", too_large.join(", "))),
        (*unreadable > 0).then(|| {
            let columns = count(*unreadable, "column");
            format!("not {columns}, which this role may not read")
        }),
    ];
    let found: Vec<String> = found.into_iter().flatten().collect();
    let found = found.join("; ");
    let check = if !places.is_empty() {
        Check::warn(
            name,
            found,
            "look at these columns yourself: after a server is deleted, its id stays there. An \
             mcp-prune that knows this LiteLLM may know them as sites",
        )
    } else if !cut_off.is_empty() {
        Check::warn(name, found, "look at these tables yourself")
    } else if !too_slow.is_empty() || *unreadable > 0 {
        Check::warn(
            name,
            found,
            "run doctor --deep as the tables' owner, and when the database has less to do",
        )
    } else {
        Check::ok(name, found)
    };
    Check {
        places: places.iter().cloned().collect(),
        ..check
    }
}

/// Checks whether the role may do what `fix` does; `grants` prints what it lacks.
#[must_use]
pub(crate) fn writing(
    name: &'static str,
    writing: &Result<(), Failure>,
    grants: &CommandLine,
    fix: FixProblem,
) -> Check {
    match writing {
        Ok(()) => Check::ok(
            name,
            "all that fix and undo need without --sites credentials",
        ),
        Err(failure) => fix.check(
            name,
            failure.kind(),
            failure.message(),
            command(
                "to repair, have the tables' owner run what this prints:",
                grants,
            ),
        ),
    }
}

/// Checks whether triggers or rules act on what `fix` writes; `names` is empty if none does.
#[must_use]
pub(crate) fn triggers(name: &'static str, names: &str) -> Check {
    if names.is_empty() {
        return Check::ok(name, "none acts on what fix writes");
    }
    Check::warn(
        name,
        format!("these act on what fix writes: {names}"),
        "fix compares every row after they have run, deferred ones too, and writes nothing if one \
         changed more than a date, a number or a column named ..._by",
    )
}

/// Makes advice that ends with a command, on a line of its own so that it can be pasted.
fn command(lead: &str, command: &CommandLine) -> String {
    let mut lines = vec![lead.to_owned(), format!("  {command}")];
    lines.extend_from_slice(command.notes());
    lines.join("\n")
}

/// Checks whether another run is at work on this database.
#[must_use]
pub(crate) fn lock(name: &'static str, holder: Option<i32>) -> Check {
    match holder {
        None => Check::ok(name, "free: no other run is at work"),
        Some(pid) => Check::warn(
            name,
            format!("held by another fix or undo, the server's process {pid}"),
            "fix exits with 6 until that run has ended; scan works",
        ),
    }
}

/// Checks how many rows there are to read, and estimates how long a scan takes.
///
/// Measured on 1,000,000 rows of LiteLLM's schema: 1.3 seconds (PostgreSQL 15, 500 servers, two
/// cores).
#[must_use]
pub(crate) fn size(
    name: &'static str,
    permission_rows: Option<u64>,
    server_rows: Option<u64>,
    statement_timeout: Duration,
) -> Check {
    const ROWS_A_SECOND: u64 = 750_000;
    let Some(rows) = permission_rows else {
        return Check::ok(
            name,
            "few rows, or not known: the tables were never analyzed",
        );
    };
    let seconds = rows.div_ceil(ROWS_A_SECOND);
    let counted = |rows: u64, noun| count(usize::try_from(rows).unwrap_or(usize::MAX), noun);
    let servers =
        server_rows.map_or_else(String::new, |rows| format!(", {}", counted(rows, "server")));
    let permissions = counted(rows, "permission row");
    let found = format!("about {permissions}{servers}; a scan takes about {seconds} s");
    // Half of it, because other machines are slower than the one that was measured.
    if !statement_timeout.is_zero() && seconds > statement_timeout.as_secs() / 2 {
        Check::warn(name, found, "raise --statement-timeout")
    } else {
        Check::ok(name, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> ConnectionRequest {
        ConnectionRequest {
            host: "db.internal".to_owned(),
            port: 5432,
            checks_certificate: false,
            says_pooled: false,
        }
    }

    fn at(host: &str) -> ConnectionRequest {
        ConnectionRequest {
            host: host.to_owned(),
            ..asked()
        }
    }

    #[test]
    fn an_unencrypted_or_unchecked_connection_to_another_machine_is_warned_of() {
        let checked = ConnectionRequest {
            checks_certificate: true,
            ..asked()
        };
        for (asked, tls, status) in [
            (asked(), None, Status::Warn),
            (asked(), Some("TLSv1.3"), Status::Warn),
            (checked.clone(), Some("TLSv1.3"), Status::Ok),
            // Then it is a pooler's connection that the server sees.
            (checked, None, Status::Warn),
            (at("127.0.0.1"), None, Status::Ok),
            (at("::1"), None, Status::Ok),
            (at("localhost"), Some("TLSv1.3"), Status::Ok),
            (at("/run/postgresql"), None, Status::Ok),
            (at("10.0.0.7"), None, Status::Warn),
        ] {
            let check = encryption("encryption", &asked, tls);
            assert_eq!(check.status, status, "{asked:?} {tls:?} {check:?}");
        }
    }

    #[test]
    fn a_pooler_shows_by_the_url_an_older_process_or_another_port() {
        let second = Duration::from_secs(1);
        let look = |asked: &ConnectionRequest, port, age: u32, ago: u32| {
            pooler("pooler", asked, port, second * age, second * ago)
        };
        let says = ConnectionRequest {
            says_pooled: true,
            ..asked()
        };
        assert_eq!(look(&asked(), Some(5432), 0, 0).status, Status::Ok);
        assert_eq!(look(&says, Some(5432), 0, 0).status, Status::Warn);
        // As old as the connection, or nearly.
        assert_eq!(look(&asked(), Some(5432), 5, 5).status, Status::Ok);
        assert_eq!(look(&asked(), Some(5432), 5, 4).status, Status::Ok);
        let older = look(&asked(), Some(5432), 65, 5);
        assert_eq!(older.status, Status::Warn);
        assert!(older.found.contains("60 s older"), "{older:?}");
        let mapped = look(&asked(), Some(6432), 0, 0);
        assert!(mapped.found.contains("a mapped port"), "{mapped:?}");
        assert_eq!(look(&at("/run/postgresql"), None, 0, 0).status, Status::Ok);
    }

    #[test]
    fn what_only_fix_needs_fails_only_where_fix_is_asked_for() {
        let lacks = Err(Failure::new(ErrorKind::Access, "role \"ro\" lacks UPDATE"));
        for (fix, access) in [
            (FixProblem::Warns, Status::Warn),
            (FixProblem::Fails, Status::Fail(ErrorKind::Access)),
        ] {
            let grants = CommandLine::new("grants");
            let check = writing("privileges-fix", &lacks, &grants, fix);
            assert_eq!(check.status, access);
            let advice = check.advice.unwrap();
            assert_eq!(advice.lines().last(), Some("  mcp-prune grants"));
        }
        assert_eq!(
            primary("primary", ServerRole::Replica, FixProblem::Warns).status,
            Status::Warn
        );
        assert_eq!(
            primary("primary", ServerRole::Replica, FixProblem::Fails).status,
            Status::Fail(ErrorKind::Refused)
        );
    }

    #[test]
    fn an_old_server_is_warned_of() {
        let status = |number| {
            let text = "x".to_owned();
            version("server", &ServerVersion { text, number }).status
        };
        assert_eq!(status(130_012), Status::Warn);
        assert_eq!(status(140_000), Status::Ok);
    }

    #[test]
    fn a_scan_that_may_outlast_its_timeout_is_warned_of() {
        let status =
            |rows, timeout| size("size", rows, Some(3), Duration::from_secs(timeout)).status;
        assert_eq!(status(Some(1_000_000), 600), Status::Ok);
        assert_eq!(status(Some(1_000_000_000), 600), Status::Warn);
        // No timeout at all.
        assert_eq!(status(Some(1_000_000_000), 0), Status::Ok);
        assert_eq!(status(None, 600), Status::Ok);
    }

    #[test]
    fn a_missing_connection_or_privilege_decides_the_exit() {
        let check = |status| Check::new("x", status, "", None);
        let fine = [Status::Ok, Status::Warn, Status::Skipped].map(check);
        assert_eq!(worst(&fine), None);
        let refused = check(Status::Fail(ErrorKind::Refused));
        let access = check(Status::Fail(ErrorKind::Access));
        assert_eq!(
            worst(std::slice::from_ref(&refused)),
            Some(ErrorKind::Error)
        );
        assert_eq!(
            worst(&[refused.clone(), access.clone()]),
            Some(ErrorKind::Access)
        );
        assert_eq!(worst(&[access, refused]), Some(ErrorKind::Access));
    }
}
