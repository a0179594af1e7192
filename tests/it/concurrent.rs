//! `fix` beside others who write the same tables.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::runtime::Runtime;

use crate::program::{Ran, mcp_prune, run, run_on, wait_until};
use crate::samples::{GONE, LIVE};
use crate::server::{TestDatabase, block_on, concurrent_server, runtime};

/// Makes rows `p-1` to `p-N`, each with a live and a deleted server, and each of a team of its own.
pub(crate) fn rows(number: usize) -> TestDatabase {
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('{LIVE}');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               SELECT 'p-' || n, ARRAY['{LIVE}', '{GONE}'] FROM generate_series(1, {number}) AS n;
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id")
               SELECT 't-' || n, 'p-' || n FROM generate_series(1, {number}) AS n;"#
    ))
}

async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// Another session, which the test drives by hand.
pub(crate) struct Other {
    runtime: Runtime,
    connection: PgConnection,
}

impl Other {
    pub(crate) fn connect(database: &TestDatabase) -> Self {
        let runtime = runtime();
        let connection = runtime.block_on(database.connect());
        Self {
            runtime,
            connection,
        }
    }

    pub(crate) fn execute(&mut self, sql: &str) {
        self.runtime.block_on(execute(&mut self.connection, sql));
    }
}

/// Runs `sql` in a transaction that stays open while `work` is done.
pub(crate) fn while_open<T>(database: &TestDatabase, sql: &str, work: impl FnOnce() -> T) -> T {
    let mut other = Other::connect(database);
    other.execute("BEGIN");
    other.execute(sql);
    let done = work();
    other.execute("ROLLBACK");
    done
}

/// Starts `fix`, which asks for locked rows for so many seconds.
fn start_fix(database: &TestDatabase, lock_timeout: &str) -> Child {
    start_fix_of(database, lock_timeout, &[])
}

fn start_fix_of(database: &TestDatabase, lock_timeout: &str, more: &[&str]) -> Child {
    let fix = ["fix", "--yes", "--lock-timeout", lock_timeout];
    mcp_prune(&[&fix[..], more].concat())
        .env("DATABASE_URL", database.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until a run has ended, and returns what it left behind.
pub(crate) fn ended(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_locked_row_makes_it_busy_within_the_lock_timeout() {
    if concurrent_server("a locked row").is_none() {
        return;
    }
    let database = rows(3);
    let before = database.permission_rows();
    let lock = r#"SET application_name = 'proxy 7';
                  SELECT FROM "LiteLLM_ObjectPermissionTable"
                  WHERE "object_permission_id" = 'p-2' FOR UPDATE"#;
    let started = Instant::now();
    while_open(&database, lock, || {
        run_on(database.url(), &["fix", "--yes", "--lock-timeout", "1"])
            .exits(6)
            .says("keeps row p-2 of \"LiteLLM_ObjectPermissionTable\" locked")
            .says("(proxy 7) keeps row p-2")
    });
    // Not a measurement: a wait without limit would be found by this.
    assert!(started.elapsed() < Duration::from_mins(1));
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn the_holder_of_a_lock_is_named_as_far_as_the_role_may_see_it() {
    if concurrent_server("who keeps a lock").is_none() {
        return;
    }
    let database = rows(3);
    let busy = |url: &str| run_on(url, &["fix", "--yes", "--lock-timeout", "1"]).exits(6);
    let name = "SET application_name = 'proxy 8'; ";
    let lock = |how: &str| {
        format!(
            r#"{name} SELECT FROM "LiteLLM_ObjectPermissionTable"
               WHERE "object_permission_id" = 'p-3' {how}"#
        )
    };
    // Two that share a row are told by one of them.
    while_open(&database, &lock("FOR KEY SHARE"), || {
        while_open(&database, &lock("FOR SHARE"), || {
            busy(database.url()).says("(proxy 8) keeps row p-3 of")
        })
    });
    // Who locked a row is in a column that a role needs the whole table for.
    let role = crate::connection::role(&database, "least");
    let url = crate::connection::url_of(&database, &role, "s3cret");
    crate::connection::grant_what_is_asked(&database, &url, &["fix", "--yes"]);
    while_open(&database, &lock("FOR UPDATE"), || {
        busy(&url).says("somebody else keeps row p-3 of")
    });
    let table = format!(r#"{name} LOCK TABLE "LiteLLM_TeamTable""#);
    while_open(&database, &table, || {
        busy(database.url()).says("(proxy 8) keeps table \"LiteLLM_TeamTable\" locked")
    });
    let table = format!(r#"{name} LOCK TABLE "LiteLLM_ObjectPermissionTable" IN SHARE MODE"#);
    while_open(&database, &table, || {
        busy(database.url()).says("(proxy 8) keeps table \"LiteLLM_ObjectPermissionTable\" locked")
    });
}

#[test]
fn a_second_run_is_told_of_the_first() {
    if concurrent_server("two runs at once").is_none() {
        return;
    }
    let database = rows(1);
    let lock = format!(
        "SELECT pg_advisory_xact_lock({})",
        0x6d63_702d_7072_756e_i64
    );
    while_open(&database, &lock, || {
        run_on(database.url(), &["fix", "--yes"])
            .exits(6)
            .says("another run of mcp-prune is repairing this database: process ")
    });
    run_on(database.url(), &["fix", "--yes"]).exits(0);
}

#[test]
fn an_interrupted_fix_writes_nothing() {
    if concurrent_server("an interrupted fix").is_none() {
        return;
    }
    let database = rows(2_500);
    let before = database.permission_rows();
    // The last chunk waits for this row, so that the first ones are written when the signal comes.
    let lock = r#"SELECT FROM "LiteLLM_ObjectPermissionTable"
                  WHERE "object_permission_id" = 'p-999' FOR UPDATE"#;
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129), ("KILL", -9)] {
        while_open(&database, lock, || {
            let child = start_fix(&database, "600");
            wait_for_lock(&database);
            let kill = run(std::process::Command::new("kill").args([
                "-s",
                signal,
                &child.id().to_string(),
            ]));
            assert_eq!(kill.status, 0, "{kill}");
            let ran: crate::program::Ran = child.wait_with_output().unwrap().into();
            ran.exits(status);
        });
        assert_eq!(database.permission_rows(), before, "after SIG{signal}");
    }
    run_on(database.url(), &["fix", "--yes"]).exits(0);
}

/// Waits until `fix` has found a row locked and is about to ask for it again.
pub(crate) fn wait_for_lock(database: &TestDatabase) {
    wait_until("fix asks for a locked row", || is_asking_again(database));
}

fn is_asking_again(database: &TestDatabase) -> bool {
    let asking = database.texts(
        "SELECT pid::text FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'mcp-prune/%'
           AND state = 'idle in transaction' AND query LIKE 'ROLLBACK TO SAVEPOINT%'",
    );
    !asking.is_empty()
}

/// Starts `fix` where it finds a row locked, and returns it while it asks for that row. A busy
/// machine may not let this test look until a run has given up; the next one asks for longer.
fn start_fix_that_asks_again(database: &TestDatabase) -> Child {
    for lock_timeout in ["4", "16", "64"] {
        let mut child = start_fix(database, lock_timeout);
        while child.try_wait().unwrap().is_none() {
            if is_asking_again(database) {
                return child;
            }
            thread::sleep(Duration::from_millis(20));
        }
        ended(child).exits(6);
    }
    panic!("three runs of fix have ended, and none was seen while it asked for a locked row");
}

/// A row that nobody links to may be emptied, because nobody can link to it before the commit.
#[test]
fn nobody_links_to_a_row_that_is_being_emptied() {
    if concurrent_server("a new owner").is_none() {
        return;
    }
    let database = rows(2_500);
    database.load(&format!(
        r#"UPDATE "LiteLLM_TeamTable" SET "object_permission_id" = NULL WHERE "team_id" = 't-1';
           UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['{GONE}']
           WHERE "object_permission_id" = 'p-1'"#
    ));
    let child = {
        let mut other = Other::connect(&database);
        other.execute("BEGIN");
        other.execute(&touch("p-999"));
        let child = start_fix(&database, "600");
        wait_for_lock(&database);
        let mut linking = Other::connect(&database);
        linking.execute("SET lock_timeout = '500ms'");
        let linked = linking.runtime.block_on(
            sqlx::raw_sql(
                r#"UPDATE "LiteLLM_TeamTable" SET "object_permission_id" = 'p-1'
                   WHERE "team_id" = 't-1'"#,
            )
            .execute(&mut linking.connection),
        );
        assert!(linked.unwrap_err().to_string().contains("lock timeout"));
        other.execute("COMMIT");
        child
    };
    ended(child).exits(0);
}

/// The hash of a key.
const HASH: &str = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b";

/// Runs `fix` on 2,500 rows while another session has changed row `p-999`, which is in the second
/// chunk, and not committed it. `meanwhile` is done while `fix` asks for that row, and gets the
/// journal. Returns what `fix` said and its journal.
fn fix_meets(
    database: &TestDatabase,
    change: &str,
    meanwhile: impl FnOnce(&Path),
) -> (Ran, String) {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let mut other = Other::connect(database);
    other.execute("BEGIN");
    other.execute(change);
    let journal_option = ["-v", "--journal", journal.to_str().unwrap()];
    let child = start_fix_of(database, "600", &journal_option);
    wait_for_lock(database);
    meanwhile(&journal);
    other.execute("COMMIT");
    let ran = ended(child);
    (ran, fs::read_to_string(&journal).unwrap())
}

const STARTED_OVER: &str = "starting over, attempt 2 of 3";

/// Returns the line of a row in a journal.
fn line<'j>(journal: &'j str, row: &str) -> &'j str {
    let key = format!(r#""key":"{row}""#);
    let mut lines = journal.lines();
    lines.find(|line| line.contains(&key)).unwrap()
}

#[test]
fn before_a_row_is_locked_every_old_value_is_in_the_journal() {
    if concurrent_server("the journal comes first").is_none() {
        return;
    }
    let database = rows(2_500);
    let (ran, journal) = fix_meets(&database, &touch("p-999"), |journal| {
        let journal = fs::read_to_string(journal).unwrap();
        assert_eq!(journal.matches(r#""type":"row""#).count(), 2_500);
        assert!(!journal.contains(r#""type":"end""#));
    });
    let ran = ran.exits(0);
    // What it does not look at has changed, so the plan stands.
    assert!(!ran.stderr.contains(STARTED_OVER), "{ran}");
    assert_eq!(journal.matches(r#""type":"row""#).count(), 2_500);
}

#[test]
fn a_row_that_changed_since_it_was_planned_is_planned_anew() {
    if concurrent_server("a changed row").is_none() {
        return;
    }
    let database = rows(2_500);
    let change = format!(
        r#"UPDATE "LiteLLM_ObjectPermissionTable"
           SET "mcp_servers" = ARRAY['{GONE}', '{LIVE}', 'granted meanwhile']
           WHERE "object_permission_id" = 'p-999'"#
    );
    let (ran, journal) = fix_meets(&database, &change, |_| {});
    let ran = ran.exits(0);
    assert!(ran.stderr.contains(STARTED_OVER), "{ran}");
    assert!(line(&journal, "p-999").contains("granted meanwhile"));
    let stored = database.texts(
        r#"SELECT "mcp_servers"::text FROM "LiteLLM_ObjectPermissionTable"
           WHERE "object_permission_id" = 'p-999'"#,
    );
    assert_eq!(stored, [format!(r#"{{{LIVE},"granted meanwhile"}}"#)]);
}

#[test]
fn a_row_that_is_gone_since_it_was_planned_is_left_out() {
    if concurrent_server("a row that is gone").is_none() {
        return;
    }
    let database = rows(2_500);
    let change = r#"DELETE FROM "LiteLLM_TeamTable" WHERE "team_id" = 't-999';
                    DELETE FROM "LiteLLM_ObjectPermissionTable"
                    WHERE "object_permission_id" = 'p-999'"#;
    let (ran, journal) = fix_meets(&database, change, |_| {});
    let ran = ran.exits(0);
    assert!(ran.stderr.contains(STARTED_OVER), "{ran}");
    assert_eq!(journal.matches(r#""type":"row""#).count(), 2_499);
}

#[test]
fn a_row_with_another_owner_than_when_it_was_planned_is_planned_anew() {
    if concurrent_server("another owner").is_none() {
        return;
    }
    let database = rows(2_500);
    let (ran, journal) = fix_meets(&database, &touch("p-999"), |_| {
        // Of the same chunk, and so not locked yet.
        database.execute(
            r#"INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id")
               VALUES ('linked meanwhile', 'p-998')"#,
        );
    });
    let ran = ran.exits(0);
    assert!(ran.stderr.contains(STARTED_OVER), "{ran}");
    assert!(line(&journal, "p-998").contains("linked meanwhile"));
}

#[test]
fn what_is_granted_while_a_lock_is_waited_for_counts() {
    if concurrent_server("a grant during the wait").is_none() {
        return;
    }
    // Few callers are compared once rows are locked; more before that, and again after a wait.
    for others in [0, 2_100] {
        grants_during_a_wait(others);
    }
}

/// Repairs the row of a key, and those of so many teams, while somebody holds the row of the key
/// and grants its team a server.
fn grants_during_a_wait(others: usize) {
    // A key of a team without servers: to empty its row changes nothing.
    let database = rows(others);
    database.load(&format!(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-key', ARRAY['{GONE}']), ('p-team', ARRAY[]::text[]);
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id")
               VALUES ('t-key', 'p-team');
           INSERT INTO "LiteLLM_VerificationToken" ("token", "team_id", "object_permission_id")
               VALUES ('{HASH}', 't-key', 'p-key')"#
    ));
    let options = ["-v", "--no-config-servers", "--on-empty", "unchanged"];
    let lock = r#"SELECT FROM "LiteLLM_ObjectPermissionTable"
                  WHERE "object_permission_id" = 'p-key' FOR UPDATE"#;
    let child = while_open(&database, lock, || {
        let child = start_fix_of(&database, "600", &options);
        wait_for_lock(&database);
        database.execute(&format!(
            r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['{LIVE}']
               WHERE "object_permission_id" = 'p-team'"#
        ));
        child
    });
    let ran = ended(child).exits(0);
    assert!(ran.stderr.contains(STARTED_OVER), "{ran}");
    let stored = database.texts(
        r#"SELECT "mcp_servers"::text FROM "LiteLLM_ObjectPermissionTable"
           WHERE "object_permission_id" = 'p-key'"#,
    );
    assert_eq!(stored, ["{no-mcp-servers}"]);
}

#[test]
fn a_server_that_comes_back_keeps_its_grants() {
    if concurrent_server("a returning server").is_none() {
        return;
    }
    let database = rows(2);
    let before = database.permission_rows();
    // The server is created while fix waits for p-2, after it has read the server table.
    let lock = r#"SELECT FROM "LiteLLM_ObjectPermissionTable"
                  WHERE "object_permission_id" = 'p-2' FOR UPDATE"#;
    let child = while_open(&database, lock, || {
        let child = start_fix(&database, "600");
        wait_for_lock(&database);
        database.execute(&format!(
            r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('{GONE}')"#
        ));
        child
    });
    // It started anew, and then found nothing stale.
    let ran = ended(child).exits(0);
    assert!(ran.stdout.contains("No stale references."), "{ran}");
    assert_eq!(database.permission_rows(), before);
}

/// Two writers lock the same rows in opposite order: `fix` gives way, so PostgreSQL has no deadlock
/// to break by cancelling the other one.
#[test]
fn nobody_else_is_cancelled_for_a_deadlock() {
    if concurrent_server("a deadlock").is_none() {
        return;
    }
    let database = rows(2_500);
    let mut other = Other::connect(&database);
    other.execute("SET deadlock_timeout = '10ms'");
    other.execute("BEGIN");
    other.execute(&touch("p-999"));
    let child = start_fix_that_asks_again(&database);
    // Of the first chunk, and so locked by now: this waits until fix has lost its patience.
    other.execute(&touch("p-1"));
    other.execute("COMMIT");
    ended(child)
        .exits(6)
        .says("keeps row p-999 of \"LiteLLM_ObjectPermissionTable\" locked");
    run_on(database.url(), &["fix", "--yes"]).exits(0);
    for row in ["p-1", "p-999"] {
        let stored = database.texts(&format!(
            r#"SELECT ("mcp_servers" || "vector_stores")::text FROM "LiteLLM_ObjectPermissionTable"
               WHERE "object_permission_id" = '{row}'"#
        ));
        assert_eq!(stored, [format!("{{{LIVE},touched}}")], "{row}");
    }
}

/// Waits until `fix` waits for a table that another session has locked.
fn wait_for_table(database: &TestDatabase) {
    let waiting = "SELECT l.pid::text
         FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
         WHERE a.datname = current_database() AND a.application_name LIKE 'mcp-prune/%'
           AND l.locktype = 'relation' AND NOT l.granted";
    wait_until("fix waits for a table", || {
        !database.texts(waiting).is_empty()
    });
}

/// Whoever holds a whole table may want a row next. So `fix` waits for tables while it has no row,
/// and that for those too which only tell who has an access group.
#[test]
fn a_table_that_is_only_read_is_waited_for_before_a_row_is_locked() {
    if concurrent_server("a table that is read").is_none() {
        return;
    }
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('{LIVE}');
           INSERT INTO "LiteLLM_AccessGroupTable"
               ("access_group_id", "access_group_name", "access_mcp_server_ids")
               VALUES ('ag-1', 'both', ARRAY['{LIVE}', '{GONE}'])"#
    ));
    let table = r#"LOCK TABLE "LiteLLM_AgentsTable""#;
    let child = while_open(&database, table, || {
        let child = start_fix_of(&database, "600", &["--sites", "access-groups"]);
        wait_for_table(&database);
        database.execute(
            r#"SELECT FROM "LiteLLM_AccessGroupTable"
               WHERE "access_group_id" = 'ag-1' FOR UPDATE NOWAIT"#,
        );
        child
    });
    ended(child).exits(0);
    let servers = r#"SELECT "access_mcp_server_ids"::text FROM "LiteLLM_AccessGroupTable""#;
    assert_eq!(database.texts(servers), [format!("{{{LIVE}}}")]);
}

/// Returns the statement of a writer that changes another column of a row.
fn touch(row: &str) -> String {
    format!(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "vector_stores" = ARRAY['touched']
           WHERE "object_permission_id" = '{row}'"#
    )
}

/// Rows that the writers work on.
const ROWS: usize = 60;

/// Writers edit and delete rows, and delete and re-create servers, as LiteLLM does, while `fix`
/// runs over and over. What they granted last must be there in the end.
#[test]
fn beside_writers_nothing_is_lost_and_nothing_wrongly_removed() {
    if concurrent_server("concurrent writers").is_none() {
        return;
    }
    let comes_and_goes = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    let database = rows(ROWS);
    let stop = AtomicBool::new(false);
    let fixes = thread::scope(|scope| {
        // A server that is created and deleted; its grants are made while it is there.
        scope.spawn(|| {
            block_on(async {
                let mut connection = database.connect().await;
                loop {
                    for sql in [
                        format!(
                            r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id")
                               VALUES ('{comes_and_goes}')"#
                        ),
                        format!(
                            r#"UPDATE "LiteLLM_ObjectPermissionTable"
                               SET "mcp_servers" = "mcp_servers" || '{comes_and_goes}'::text
                               WHERE "object_permission_id" IN ('p-7', 'p-8')"#
                        ),
                        format!(
                            r#"DELETE FROM "LiteLLM_MCPServerTable"
                               WHERE "server_id" = '{comes_and_goes}'"#
                        ),
                    ] {
                        // In the end it stays, and so must what was granted while it was there.
                        if stop.load(Ordering::Relaxed) && sql.contains("DELETE") {
                            return;
                        }
                        execute(&mut connection, &sql).await;
                    }
                }
            });
        });
        // An admin who writes whole rows, each with a mark of its own that must survive.
        scope.spawn(|| {
            block_on(async {
                let mut connection = database.connect().await;
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let row = 10 + round % 40;
                    let sql = format!(
                        r#"UPDATE "LiteLLM_ObjectPermissionTable"
                           SET "mcp_servers" = ARRAY['{GONE}', '{LIVE}', 'name-{round}'],
                               "vector_stores" = ARRAY['name-{round}']
                           WHERE "object_permission_id" = 'p-{row}'"#
                    );
                    execute(&mut connection, &sql).await;
                }
            });
        });
        // Keys and their rows go.
        scope.spawn(|| {
            block_on(async {
                let mut connection = database.connect().await;
                for row in 51..=ROWS {
                    execute(
                        &mut connection,
                        &format!(r#"DELETE FROM "LiteLLM_TeamTable" WHERE "team_id" = 't-{row}'"#),
                    )
                    .await;
                    execute(
                        &mut connection,
                        &format!(
                            r#"DELETE FROM "LiteLLM_ObjectPermissionTable"
                               WHERE "object_permission_id" = 'p-{row}'"#
                        ),
                    )
                    .await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        });
        let ended = |_| run_on(database.url(), &["fix", "--yes", "--lock-timeout", "10"]);
        let fixes: Vec<Ran> = (0..25).map(ended).collect();
        stop.store(true, Ordering::Relaxed);
        fixes
    });
    for ran in &fixes {
        assert!([0, 3, 5, 6].contains(&ran.status), "{ran}");
    }
    let fixes: Vec<i32> = fixes.iter().map(|ran| ran.status).collect();
    println!("{fixes:?}");
    assert!(fixes.contains(&0), "some runs must get through: {fixes:?}");
    run_on(database.url(), &["fix", "--yes"]).exits(0);

    // Nothing stale is left, the live server is in every row it was in, and every row that the
    // admin wrote holds the mark it was written with.
    let broken = database.texts(&format!(
        r#"SELECT p::text FROM "LiteLLM_ObjectPermissionTable" AS p
           WHERE "mcp_servers" && ARRAY['{GONE}']
              OR NOT "mcp_servers" @> ARRAY['{LIVE}']
              OR NOT "mcp_servers" @> "vector_stores""#
    ));
    assert_eq!(broken, Vec::<String>::new());
    let granted = database.texts(&format!(
        r#"SELECT "object_permission_id" FROM "LiteLLM_ObjectPermissionTable"
           WHERE "mcp_servers" @> ARRAY['{comes_and_goes}'] ORDER BY 1"#
    ));
    assert_eq!(granted, ["p-7", "p-8"]);
    let rows = database.texts(r#"SELECT count(*)::text FROM "LiteLLM_ObjectPermissionTable""#);
    assert_eq!(rows, ["50"]);
}
