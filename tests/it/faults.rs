//! `fix` cut off at every stage: afterwards the database is wholly as before or wholly repaired,
//! and `scan` and `undo` say which.
//!
//! The program itself has no code for this. A trigger stops it at a gate, an advisory lock that the
//! test holds. A proxy stops it at the stages that no trigger reaches.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::concurrent::{Other, ended, wait_for_lock};
use crate::program::{Ran, mcp_prune, run, run_on, wait_until};
use crate::proxy::{AtCommit, Proxy};
use crate::samples::{GONE, LIVE, script};
use crate::server::{Server, TestDatabase, concurrent_server, server_to_crash, skip};
use crate::server_version::{Feature, has};

/// More rows than are written at a time.
const ROWS: usize = 2_500;

/// Stops `fix` when it writes a row of the second chunk, with the first one written.
const MIDWAY: &str = r#"
CREATE TRIGGER gate AFTER UPDATE ON "LiteLLM_ObjectPermissionTable" FOR EACH ROW
    WHEN (NEW."object_permission_id" = 'p-999') EXECUTE FUNCTION gate()"#;

/// Stops `fix` once all rows are written, when it runs the triggers that are deferred to the
/// commit.
const DEFERRED: &str = r#"
CREATE CONSTRAINT TRIGGER gate AFTER UPDATE ON "LiteLLM_ObjectPermissionTable"
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW."object_permission_id" = 'p-999') EXECUTE FUNCTION gate()"#;

/// Stops `fix` within its `COMMIT`: a deferred trigger fires another deferred one.
const AT_COMMIT: &str = r#"
CREATE TABLE late ();
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS
    $$ BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO late DEFAULT VALUES; RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON late
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gate();
CREATE CONSTRAINT TRIGGER again AFTER UPDATE ON "LiteLLM_ObjectPermissionTable"
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW."object_permission_id" = 'p-999') EXECUTE FUNCTION again()"#;

/// The code of a gate that waits until the test opens it.
const WAITS: &str = "PERFORM pg_advisory_xact_lock(7);";

/// The code of a gate that refuses the first transaction and lets the next ones through. It counts
/// with a sequence, as that is not rolled back.
const FAILS_ONCE: &str = "IF nextval('public.tries') = 1 THEN
    RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF;";

/// The journal that a run leaves behind.
#[derive(Clone, Copy)]
enum Journal {
    Removed,
    CutShort,
    /// A whole journal of a repair that was not committed.
    Sealed,
}

/// A database with a stale reference in each row, and a journal for its repair.
struct Company {
    database: TestDatabase,
    rows: usize,
    before: Vec<String>,
    after: Vec<String>,
    folder: tempfile::TempDir,
}

impl Company {
    /// Makes one on the server that all tests share; `None` if the test is skipped.
    fn new(test: &str) -> Option<Self> {
        let server = concurrent_server(test)?;
        Some(Self::on(server, ROWS))
    }

    fn on(server: &Server, rows: usize) -> Self {
        let database = server.create(None);
        database.load(&script("schema"));
        database.load(&format!(
            r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias")
                   VALUES ('{LIVE}', 'github');
               INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
                   SELECT 'p-' || n, ARRAY['{LIVE}', '{GONE}', 'github']
                   FROM generate_series(1, {rows}) AS n;
               INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id")
                   SELECT 't-' || n, 'p-' || n FROM generate_series(1, {rows}) AS n;"#
        ));
        let before = database.permission_rows();
        let after = before
            .iter()
            .map(|row| row.replace(&format!(",{GONE}"), ""))
            .collect();
        Self {
            database,
            rows,
            before,
            after,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// Builds a gate that does `what` when its trigger fires.
    fn build_gate(&self, what: &str, trigger: &str) {
        self.database.execute(&format!(
            "CREATE SEQUENCE tries;
             CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN {what} RETURN NEW; END $$;
             {trigger}"
        ));
    }

    /// Builds a gate and keeps it shut until the returned value is dropped.
    fn shut_gate(&self, trigger: &str) -> Other {
        self.build_gate(WAITS, trigger);
        let mut keeper = Other::connect(&self.database);
        keeper.execute("SELECT pg_advisory_lock(7)");
        keeper
    }

    fn fix(&self, url: &str, args: &[&str]) -> Command {
        let journal = self.journal();
        let usual = ["--yes", "--journal", journal.to_str().unwrap()];
        // No gate is to be taken for a row that somebody keeps locked.
        let patient = ["--lock-timeout", "600"];
        let mut command = mcp_prune(&[&["fix"], &usual[..], &patient, args].concat());
        command.env("DATABASE_URL", url);
        command
    }

    fn start_fix(&self, url: &str) -> Child {
        self.fix(url, &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts `fix` and waits until it stands at the gate.
    fn start_fix_up_to_the_gate(&self) -> Child {
        let fix = self.start_fix(self.database.url());
        self.wait_for_session("wait_event = 'advisory'", true);
        fix
    }

    /// Waits until the server has noticed that `fix` is gone.
    fn wait_until_left(&self) {
        self.wait_for_session("true", false);
    }

    /// Waits until the server has noticed that `fix` is gone, with the gate shut. A server that
    /// notices nothing while it stands at the gate is let through before.
    fn wait_until_left_at(&self, gate: Other, test: &str) {
        if has(
            Feature::NoticesLostClients,
            &format!("{test}, at a shut gate"),
        ) {
            self.wait_until_left();
            drop(gate);
        } else {
            drop(gate);
            self.wait_until_left();
        }
    }

    fn wait_for_session(&self, like: &str, there: bool) {
        let sql = format!(
            "SELECT pid::text FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'mcp-prune/%' AND {like}"
        );
        let what = format!("a session of fix where {like} is there: {there}");
        wait_until(&what, || self.database.texts(&sql).is_empty() != there);
    }

    /// Ends the session of `fix` as an administrator does.
    fn terminate(&self) {
        let ended = self.database.texts(
            "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'mcp-prune/%'",
        );
        assert_eq!(ended, ["true"]);
    }

    fn undo(&self) -> Ran {
        let journal = self.journal();
        let journal = journal.to_str().unwrap();
        // What was repaired through a proxy on another port is undone without it.
        let args = [
            "undo",
            "--yes",
            "--no-journal",
            "--other-database",
            "--format",
            "json",
            journal,
        ];
        run_on(self.database.url(), &args)
    }

    fn stale(&self) -> Value {
        let scan = run_on(self.database.url(), &["scan", "--format", "json"]);
        scan.json()["summary"]["stale"].clone()
    }

    #[track_caller]
    fn holds(&self, rows: &[String]) {
        // Not assert_eq, which would print thousands of rows.
        assert!(self.database.permission_rows() == rows, "rows are lost");
    }

    /// Checks that nothing was written, that `scan` and `undo` say so, and that the next `fix`
    /// repairs everything.
    #[track_caller]
    fn is_as_before(&self, journal: Journal) {
        self.holds(&self.before);
        assert_eq!(self.stale(), self.rows);
        match journal {
            Journal::Removed => assert!(!self.journal().exists()),
            Journal::CutShort => drop(self.undo().exits(1).says(", line ")),
            Journal::Sealed => {
                let undo = self.undo().exits(0).json();
                assert_eq!(undo["outcome"], "nothing-to-do");
                assert_eq!(undo["summary"]["rows_back_already"], self.rows);
            }
        }
        self.holds(&self.before);
        run_on(self.database.url(), &["fix", "--yes", "--no-journal"]).exits(0);
        self.holds(&self.after);
    }

    /// Checks that everything was written, that `scan` says so, and that `undo` takes it back.
    #[track_caller]
    fn is_repaired(&self) {
        self.holds(&self.after);
        assert_eq!(self.stale(), 0);
        let undo = self.undo().exits(0).json();
        assert_eq!(
            undo["summary"],
            json!({"rows_put_back": self.rows, "rows_back_already": 0, "conflicts": 0})
        );
        self.holds(&self.before);
    }
}

/// The message of `fix` if it cannot know whether its `COMMIT` succeeded.
const UNKNOWN: &str = "the connection was lost during COMMIT, so the outcome is unknown";

fn kill(mut fix: Child) {
    fix.kill().unwrap();
    ended(fix).exits(-9);
}

fn send(signal: &str, fix: &Child) {
    run(Command::new("kill").args(["-s", signal, &fix.id().to_string()])).exits(0);
}

#[test]
fn killed_before_it_began_it_leaves_everything_as_it_was() {
    let Some(company) = Company::new("killed before it began") else {
        return;
    };
    // A server that never says a word.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let fix = company.start_fix(&format!("postgresql://postgres@127.0.0.1:{port}/silent"));
    let _connection = listener.accept().unwrap();
    kill(fix);
    company.is_as_before(Journal::CutShort);
}

#[test]
fn killed_while_it_waits_for_a_row_it_leaves_everything_as_it_was() {
    let Some(company) = Company::new("killed while waiting for a row") else {
        return;
    };
    let mut other = Other::connect(&company.database);
    other.execute("BEGIN");
    other.execute(
        r#"SELECT FROM "LiteLLM_ObjectPermissionTable"
           WHERE "object_permission_id" = 'p-999' FOR UPDATE"#,
    );
    let fix = company.start_fix(company.database.url());
    wait_for_lock(&company.database);
    kill(fix);
    drop(other);
    company.wait_until_left();
    company.is_as_before(Journal::CutShort);
}

#[test]
fn killed_in_the_middle_of_the_updates_it_leaves_everything_as_it_was() {
    let test = "killed in the middle of the updates";
    let Some(company) = Company::new(test) else {
        return;
    };
    let gate = company.shut_gate(MIDWAY);
    kill(company.start_fix_up_to_the_gate());
    company.wait_until_left_at(gate, test);
    company.is_as_before(Journal::CutShort);
}

#[test]
fn killed_during_commit_it_leaves_everything_as_it_was() {
    let test = "killed during COMMIT";
    // Else the server goes on with the COMMIT, as it does once the work is in its hands.
    if !has(Feature::NoticesLostClients, test) {
        return;
    }
    let Some(company) = Company::new(test) else {
        return;
    };
    let gate = company.shut_gate(AT_COMMIT);
    kill(company.start_fix_up_to_the_gate());
    company.wait_until_left();
    drop(gate);
    company.is_as_before(Journal::Sealed);
}

#[test]
fn killed_before_it_heard_of_its_commit_it_can_be_undone() {
    let Some(company) = Company::new("killed after COMMIT") else {
        return;
    };
    let proxy = Proxy::before(port_of(&company), AtCommit::HoldAnswer);
    let fix = company.start_fix(&proxy.url(company.database.name()));
    proxy.wait_for_answer();
    kill(fix);
    company.is_repaired();
}

fn port_of(company: &Company) -> u16 {
    let url = company.database.url();
    let (_, port) = url.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap();
    port.parse().unwrap()
}

#[test]
fn a_connection_lost_before_commit_leaves_everything_as_it_was() {
    let Some(company) = Company::new("a connection lost before COMMIT") else {
        return;
    };
    let proxy = Proxy::before(port_of(&company), AtCommit::Cut);
    let fix = company.start_fix(&proxy.url(company.database.name()));
    let ran = ended(fix).exits(1).says(UNKNOWN);
    ran.says(&format!(
        "this takes it back:\n  mcp-prune undo {}",
        company.journal().display()
    ));
    company.wait_until_left();
    company.is_as_before(Journal::Sealed);
}

#[test]
fn a_connection_lost_after_commit_can_be_undone() {
    let Some(company) = Company::new("a connection lost after COMMIT") else {
        return;
    };
    let proxy = Proxy::before(port_of(&company), AtCommit::CutAnswer);
    let fix = company.start_fix(&proxy.url(company.database.name()));
    ended(fix).exits(1).says(UNKNOWN);
    company.is_repaired();
}

#[test]
fn a_session_ended_in_the_middle_of_the_updates_leaves_everything_as_it_was() {
    let Some(company) = Company::new("a session ended during the updates") else {
        return;
    };
    let gate = company.shut_gate(MIDWAY);
    let fix = company.start_fix_up_to_the_gate();
    company.terminate();
    ended(fix).exits(1).says("nothing was written");
    drop(gate);
    company.is_as_before(Journal::Removed);
}

#[test]
fn a_session_ended_during_commit_leaves_everything_as_it_was() {
    let Some(company) = Company::new("a session ended during COMMIT") else {
        return;
    };
    let gate = company.shut_gate(AT_COMMIT);
    let fix = company.start_fix_up_to_the_gate();
    company.terminate();
    ended(fix).exits(1).says(UNKNOWN);
    drop(gate);
    company.is_as_before(Journal::Sealed);
}

#[test]
fn a_signal_during_commit_waits_for_it_and_a_second_one_does_not() {
    let Some(company) = Company::new("a signal during COMMIT") else {
        return;
    };
    for (second, status) in [(false, 0), (true, 130)] {
        let proxy = Proxy::before(port_of(&company), AtCommit::HoldAnswer);
        let mut fix = company.start_fix(&proxy.url(company.database.name()));
        proxy.wait_for_answer();
        send("INT", &fix);
        let stderr = BufReader::new(fix.stderr.take().unwrap());
        let mut told = stderr.lines().map(Result::unwrap);
        assert!(told.any(|line| line.contains("waiting for the COMMIT")));
        if second {
            send("INT", &fix);
            assert!(told.any(|line| line.contains("all of the repair was written or none of it")));
        } else {
            proxy.release();
        }
        ended(fix).exits(status);
        company.is_repaired();
        std::fs::remove_file(company.journal()).unwrap();
    }
}

#[test]
fn a_signal_after_the_commit_does_not_say_that_the_run_ended_or_wrote_nothing() {
    let Some(company) = Company::new("a signal after the commit") else {
        return;
    };
    // A last grant is held, so that the report tells which choice would settle it.
    company.database.execute(&format!(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-last', ARRAY['{GONE}']);
           INSERT INTO "LiteLLM_VerificationToken" ("token", "team_id", "object_permission_id")
               VALUES ('k', 't-1', 'p-last')"#
    ));
    let gate = company.shut_gate(MIDWAY);
    let fix = company.start_fix_up_to_the_gate();
    // It gets the table as soon as fix has committed, and before fix reads it again.
    let url = company.database.url().to_owned();
    let (opened, waits) = std::sync::mpsc::channel::<()>();
    let locker = std::thread::spawn(move || {
        let mut other = Other::connect(&TestDatabase::at(url));
        other.execute("SET application_name = 'locker'; BEGIN");
        other.execute(r#"LOCK TABLE "LiteLLM_VerificationToken""#);
        let _ = waits.recv();
        other.execute("ROLLBACK");
    });
    let waiting = |application: &str| {
        let sql = format!(
            "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database()
             AND application_name LIKE '{application}' AND wait_event = 'relation'"
        );
        wait_until("a session waits for a table", || {
            !company.database.texts(&sql).is_empty()
        });
    };
    waiting("locker");
    drop(gate);
    waiting("mcp-prune/%");
    send("TERM", &fix);
    let told = ended(fix).exits(3).prints("verified and committed");
    drop(opened);
    locker.join().unwrap();
    let told = told.says(
        "warning: the repair was committed, but the report is not complete: signal 15 came before \
         the rest of it was read",
    );
    assert!(!told.stderr.contains("ended by signal"), "{told}");
    assert!(!told.to_string().contains("othing was written"), "{told}");
}

#[test]
fn a_server_that_crashes_holds_all_of_a_repair_or_nothing() {
    let test = "a server that crashes";
    let Some(mut server) = server_to_crash(test) else {
        return;
    };
    for (trigger, told, journal) in [
        (
            MIDWAY,
            "cannot write the rows that name servers",
            Journal::Removed,
        ),
        (AT_COMMIT, UNKNOWN, Journal::Sealed),
    ] {
        let company = Company::on(&server, ROWS);
        let gate = company.shut_gate(trigger);
        let fix = company.start_fix_up_to_the_gate();
        server.crash_and_restart();
        ended(fix).exits(1).says(told);
        drop(gate);
        company.is_as_before(journal);
    }

    let company = Company::on(&server, ROWS);
    let proxy = Proxy::before(port_of(&company), AtCommit::HoldAnswer);
    let fix = company.start_fix(&proxy.url(company.database.name()));
    proxy.wait_for_answer();
    server.crash_and_restart();
    drop(proxy);
    ended(fix).exits(1).says(UNKNOWN);
    company.is_repaired();
}

#[test]
fn a_full_disk_stops_everything() {
    let test = "a full disk";
    let Some(server) = concurrent_server(test) else {
        return;
    };
    if run(Command::new("unshare").args(["-m", "true"])).status != 0 {
        return skip(test, "may not mount a disk of its own");
    }
    // The one is full while rows are written, the other when the journal is sealed.
    for rows in [ROWS, 20] {
        let company = Company::on(server, rows);
        let fix = company.fix(company.database.url(), &[]);
        let mut on_a_small_disk = Command::new("unshare");
        on_a_small_disk
            .args(["-m", "sh", "-c"])
            .arg(r#"mount -t tmpfs -o size=4k tmpfs "$0" && exec "$@""#)
            .arg(company.folder.path())
            .arg(fix.get_program())
            .args(fix.get_args())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DATABASE_URL", company.database.url());
        let told = format!("cannot write {}", company.journal().display());
        run(&mut on_a_small_disk)
            .exits(1)
            .says(&told)
            .says("nothing was written to the database");
        company.is_as_before(Journal::Removed);
    }
}

#[test]
fn a_signal_ends_what_is_deferred_to_the_commit() {
    let test = "a signal during what is deferred";
    let Some(company) = Company::new(test) else {
        return;
    };
    let gate = company.shut_gate(DEFERRED);
    let fix = company.start_fix_up_to_the_gate();
    send("TERM", &fix);
    ended(fix).exits(143).says("nothing was written");
    company.wait_until_left_at(gate, test);
    company.is_as_before(Journal::Removed);
}

// PostgreSQL stops the clock before a COMMIT does its work, so what is deferred is done before.
#[test]
fn a_statement_that_takes_too_long_leaves_everything_as_it_was() {
    for trigger in [MIDWAY, DEFERRED] {
        let Some(company) = Company::new("a statement that takes too long") else {
            return;
        };
        let gate = company.shut_gate(trigger);
        run(&mut company.fix(company.database.url(), &["--statement-timeout", "1"]))
            .exits(1)
            .says("raise --statement-timeout");
        drop(gate);
        company.is_as_before(Journal::Removed);
    }
}

#[test]
fn a_serialization_failure_is_tried_again() {
    for trigger in [MIDWAY, DEFERRED, AT_COMMIT] {
        let Some(company) = Company::new("a serialization failure") else {
            return;
        };
        company.build_gate(FAILS_ONCE, trigger);
        run(&mut company.fix(company.database.url(), &[])).exits(0);
        let tries = company.database.texts("SELECT last_value::text FROM tries");
        assert_eq!(tries, ["2"]);
        company.is_repaired();
    }
}

#[test]
fn a_partial_undo_that_is_killed_leaves_nothing_half_written() {
    let Some(company) = Company::new("a partial undo that is killed") else {
        return;
    };
    let url = company.database.url();
    run(&mut company.fix(url, &[])).exits(0);
    company.holds(&company.after);
    let gate = company.shut_gate(MIDWAY);
    let (journal, own) = (company.journal(), company.folder.path().join("own"));
    let part = [
        "undo",
        "--yes",
        "--reference",
        GONE,
        "--lock-timeout",
        "600",
    ];
    let files = [
        "--journal",
        own.to_str().unwrap(),
        journal.to_str().unwrap(),
    ];
    let start = || {
        let mut undo = mcp_prune(&[&part[..], &files[..]].concat());
        undo.env("DATABASE_URL", url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        undo.spawn().unwrap()
    };
    let undo = start();
    company.wait_for_session("wait_event = 'advisory'", true);
    kill(undo);
    company.wait_until_left_at(gate, "a partial undo that is killed");
    company.holds(&company.after);
    // Its own journal is cut short, and nobody takes the run for undone.
    let cut = ["undo", "--yes", "--no-journal", own.to_str().unwrap()];
    run_on(url, &cut).exits(1).says(", line ");
    let journals = crate::history::history(company.folder.path());
    let states: Vec<&Value> = journals.iter().map(|journal| &journal["state"]).collect();
    assert_eq!(states, ["cut-short", "committed"]);
    assert_eq!(journals[1]["undone"], "no");
    // A journal is never written over.
    ended(start()).exits(1).says("no file is written over");
    std::fs::remove_file(&own).unwrap();
    ended(start()).exits(0);
    company.holds(&company.before);
    let journals = crate::history::history(company.folder.path());
    assert_eq!(journals[1]["undone"], "wholly");
}
