//! A hot standby: `scan` works there, and commands that would write refuse.

use std::process::Stdio;

use serde_json::Value;

use crate::concurrent::{Other, ended};
use crate::program::{Ran, mcp_prune, run_on, wait_until};
use crate::samples::script;
use crate::server::{Server, TestDatabase, server_to_crash};

/// A primary and its hot standby, with one database with stale references on both. The standby is
/// stopped first.
struct Replicated {
    on_standby: TestDatabase,
    on_primary: TestDatabase,
    _standby: Server,
    _primary: Server,
}

impl Replicated {
    fn new(test: &str) -> Option<Self> {
        let mut primary = server_to_crash(test)?;
        let standby = primary.standby();
        let on_primary = primary.create(None);
        for file in ["schema", "cases/beside_live"] {
            on_primary.load(&script(file));
        }
        let replicated = Self {
            on_standby: TestDatabase::at(standby.url(on_primary.name())),
            on_primary,
            _standby: standby,
            _primary: primary,
        };
        replicated.replay();
        Some(replicated)
    }

    /// Waits until the standby has replayed all that the primary has done, committed or not.
    fn replay(&self) {
        // A commit has the log of everything before it written out.
        self.on_primary.execute("CREATE TEMPORARY TABLE flushed ()");
        let [done] = &self.on_primary.texts("SELECT pg_current_wal_lsn()::text")[..] else {
            panic!("a place in the log");
        };
        // The first one is connected to while the database itself may not have arrived.
        let maintenance = self
            .on_standby
            .url()
            .replace(self.on_standby.name(), "postgres");
        let replayed = format!("SELECT (pg_last_wal_replay_lsn() >= '{done}')::text");
        wait_until_true(&TestDatabase::at(maintenance), &replayed);
    }

    fn scan(database: &TestDatabase) -> (i32, Value) {
        let ran = run_on(database.url(), &["scan", "--format", "json"]);
        let mut report = ran.json();
        let port = report["database"]["port"].take();
        let run = report["run"].take();
        assert!(port.is_number() && run.is_string(), "{report}");
        (ran.status, report)
    }

    /// Checks that `scan` gives the same answer on both, with this status.
    #[track_caller]
    fn scans_alike(&self, status: i32) {
        self.replay();
        let found = Self::scan(&self.on_primary);
        assert_eq!(found.0, status, "{}", found.1);
        assert_eq!(Self::scan(&self.on_standby), found);
    }
}

/// Waits until a query returns `true`.
fn wait_until_true(database: &TestDatabase, query: &str) {
    wait_until(query, || database.texts(query) == ["true"]);
}

/// Checks that a command refused because the server is a replica, and says what to do.
#[track_caller]
fn refused(ran: Ran) {
    let _ = ran
        .exits(4)
        .says("this server is a replica, which cannot be written")
        .says("hint: point --db-url at the primary server");
}

#[test]
fn a_standby_is_scanned_as_its_primary_is_and_never_written() {
    let Some(replicated) = Replicated::new("a hot standby") else {
        return;
    };
    let Replicated {
        on_standby,
        on_primary,
        ..
    } = &replicated;
    let before = on_primary.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let fix = ["fix", "--yes", "--journal", journal];
    // No transaction on a standby can be what this database wants all of them to be.
    let isolation = |level: &str| {
        on_primary.execute(&format!(
            "DO $$ BEGIN
                 EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation {level}',
                                current_database());
             END $$"
        ));
    };
    isolation("= serializable");
    replicated.scans_alike(2);
    isolation("TO DEFAULT");
    replicated.replay();
    refused(run_on(on_standby.url(), &fix));
    refused(run_on(on_standby.url(), &["fix", "--dry-run"]));
    assert!(!std::fs::exists(journal).unwrap());

    let _ = run_on(on_primary.url(), &fix).exits(0);
    replicated.scans_alike(0);
    // Each of the two has a name of its own.
    let undo = ["undo", "--yes", "--no-journal", "--other-database", journal];
    refused(run_on(on_standby.url(), &undo));
    let _ = run_on(on_primary.url(), &undo).exits(0);
    replicated.scans_alike(2);
    assert_eq!(on_standby.permission_rows(), before);

    for (purpose, code, status) in [("scan", 0, "warn"), ("fix", 1, "fail")] {
        let args = ["doctor", "--for", purpose, "--format", "json"];
        let ran = run_on(on_standby.url(), &args).exits(code);
        let report = ran.json();
        let checks = report["checks"].as_array().unwrap();
        let unfit = checks.iter().filter(|check| check["status"] == status);
        let unfit: Vec<&Value> = unfit.map(|check| &check["name"]).collect();
        assert!(unfit.contains(&&Value::from("primary")), "{ran}");
    }
}

/// `target_session_attrs`, asked of a primary, of a standby, and of a primary whose transactions
/// are read-only by default.
#[test]
fn a_server_of_another_kind_than_the_url_asks_for_is_refused() {
    let Some(replicated) = Replicated::new("target_session_attrs") else {
        return;
    };
    let asks = |server: &TestDatabase, word: &str, command: &[&str]| {
        let url = format!("{}?target_session_attrs={word}", server.url());
        run_on(&url, command)
    };
    let replica = "this server is a replica";
    let writable = "this server is no replica, and can be written";
    let read_only = "transactions on this server are read-only by default";
    let check = |server: &TestDatabase, is: &str, fitting: &[&str]| {
        let words = [
            "any",
            "prefer-standby",
            "primary",
            "read-only",
            "read-write",
            "standby",
        ];
        for word in words {
            let ran = asks(server, word, &["scan"]);
            if fitting.contains(&word) {
                let _ = ran.exits(2);
                continue;
            }
            let told = format!("{is}, but target_session_attrs={word} asks for another kind");
            let ran = ran.exits(4).says(&told).says("PGTARGETSESSIONATTRS");
            assert_eq!(ran.stdout, "", "{word}");
        }
    };
    let Replicated {
        on_primary,
        on_standby,
        ..
    } = &replicated;
    let any = ["any", "prefer-standby"];
    check(
        on_primary,
        writable,
        &[&any[..], &["primary", "read-write"]].concat(),
    );
    check(
        on_standby,
        replica,
        &[&any[..], &["read-only", "standby"]].concat(),
    );
    for command in [&["fix", "--dry-run"][..], &["access"], &["grants"]] {
        let ran = asks(on_standby, "read-write", command).exits(4);
        let _ = ran.says("target_session_attrs=read-write asks for another kind");
    }
    let doctor = asks(on_standby, "primary", &["doctor"]).exits(1);
    let _ = doctor.prints("target_session_attrs=primary asks for another kind of server");
    let mut command = mcp_prune(&["scan"]);
    command.env("DATABASE_URL", on_primary.url());
    let ran = crate::program::run(command.env("PGTARGETSESSIONATTRS", "standby"));
    let _ = ran.exits(4).says("target_session_attrs=standby");

    on_primary.execute(
        "DO $$ BEGIN
             EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',
                            current_database());
         END $$",
    );
    check(
        on_primary,
        read_only,
        &[&any[..], &["primary", "read-only"]].concat(),
    );
}

#[test]
fn a_scan_that_the_standby_ends_to_go_on_with_replay_says_so() {
    let Some(replicated) = Replicated::new("a conflict with recovery") else {
        return;
    };
    let Replicated {
        on_standby,
        on_primary,
        ..
    } = &replicated;
    on_standby.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0");
    on_standby.execute("SELECT pg_reload_conf()");
    let now = "SELECT (current_setting('max_standby_streaming_delay') = '0')::text";
    wait_until_true(on_standby, now);

    // An exclusive lock is replayed too: the scan waits for it, and has read the servers by then.
    let mut gate = Other::connect(on_primary);
    gate.execute(r#"BEGIN; LOCK TABLE "LiteLLM_ObjectPermissionTable""#);
    replicated.replay();
    let scan = mcp_prune(&["scan"])
        .env("DATABASE_URL", on_standby.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let waits =
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'mcp-prune/%'
                     AND datname = current_database() AND wait_event_type = 'Lock')::text";
    wait_until_true(on_standby, waits);
    // And then replay needs what the scan has.
    gate.execute(r#"LOCK TABLE "LiteLLM_MCPServerTable""#);
    replicated.replay();
    let ran = ended(scan)
        .exits(6)
        .says("conflict with recovery")
        .says("hint: run it again, or run it on the primary");
    assert_eq!(ran.stdout, "", "{ran}");
    gate.execute("ROLLBACK");
    replicated.scans_alike(2);
}
