//! Through PgBouncer in each of its modes, with a single connection to the server.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::program::run_on;
use crate::samples::demo;
use crate::server::{TestDatabase, concurrent_server, skip};

/// A pooler of this test's own; ends with it.
struct PgBouncer {
    port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

impl PgBouncer {
    /// Starts PgBouncer in front of a server, with settings such as `pool_mode`.
    fn start(server: &str, settings: &str) -> Option<Self> {
        let path = std::env::var("PATH").unwrap() + ":/usr/sbin";
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let config = folder.path().join("pgbouncer.ini");
        let address = server.trim_end_matches('/').rsplit('@').next()?;
        let (host, server_port) = address.split_once(':')?;
        let settings = format!(
            "[databases]\n* = host={host} port={server_port} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\ndefault_pool_size = 1\n{settings}\n"
        );
        std::fs::write(&config, settings).unwrap();
        // It refuses to run as root, too.
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let mut command = Command::new(if root { "setpriv" } else { "pgbouncer" });
        if root {
            command.args([
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                "pgbouncer",
            ]);
        }
        let process = command
            .arg(&config)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let pooler = Self {
            port,
            process,
            _folder: folder,
        };
        for _ in 0..600 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Some(pooler);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Notes who writes a row, as the server's log does with `application_name` in `log_line_prefix`.
pub(crate) const NOTES_WHO_WRITES: &str = r#"
CREATE TABLE writer (name text, at timestamptz);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.writer VALUES (current_setting('application_name'), clock_timestamp());
        RETURN NEW;
    END $$;
CREATE TRIGGER note AFTER UPDATE ON "LiteLLM_ObjectPermissionTable" FOR EACH ROW EXECUTE FUNCTION note();"#;

/// Starts PgBouncer in front of the tests' server; without both, skips the test and returns `None`.
fn pooler(settings: &str) -> Option<PgBouncer> {
    let server = concurrent_server("a pooler")?;
    let pooler = PgBouncer::start(&server.url(""), settings);
    if pooler.is_none() {
        skip("a pooler", "needs pgbouncer");
    }
    pooler
}

impl PgBouncer {
    fn url(&self, database: &TestDatabase) -> String {
        let (port, name) = (self.port, database.name());
        format!("postgresql://postgres@127.0.0.1:{port}/{name}")
    }
}

#[test]
fn every_command_works_through_a_pooler_in_transaction_or_session_mode() {
    for settings in [
        "pool_mode = transaction",
        "pool_mode = session",
        // Then the pooler accepts the option that empties the search path, and drops it.
        "pool_mode = transaction\nignore_startup_parameters = options\nserver_reset_query =",
    ] {
        let Some(pooler) = pooler(settings) else {
            return;
        };
        works_through(&pooler);
    }
}

fn works_through(pooler: &PgBouncer) {
    let database = demo();
    database.load(NOTES_WHO_WRITES);
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    // Without a word of the pooler in the URL, and with it.
    let silent = pooler.url(&database);
    let url = format!("{silent}?pgbouncer=true");
    for _ in 0..2 {
        run_on(&url, &["scan"]).exits(2);
        run_on(&silent, &["fix", "--dry-run"]).exits(2);
    }
    assert_eq!(database.permission_rows(), before);
    let fix = ["fix", "--yes", "--journal", journal, "--format", "json"];
    let run = run_on(&url, &fix).exits(3).json()["run"].clone();
    let writer = database.texts("SELECT name FROM writer ORDER BY at DESC LIMIT 1");
    assert_eq!(writer, [format!("mcp-prune/{}", run.as_str().unwrap())]);
    assert_ne!(database.permission_rows(), before);
    let doctor = run_on(&silent, &["doctor"]).exits(0);
    doctor.prints("pooler: ").prints("is in between");
    run_on(&url, &["undo", "--dry-run", journal]).exits(0);
    run_on(&url, &["undo", "--yes", journal]).exits(0);
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn a_pooler_in_statement_mode_is_refused_with_what_to_do() {
    let Some(pooler) = pooler("pool_mode = statement") else {
        return;
    };
    let database = demo();
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    run_on(database.url(), &["fix", "--yes", "--journal", journal]).exits(3);
    let repaired = database.permission_rows();
    assert_ne!(repaired, before);
    let url = pooler.url(&database);
    for args in [
        &["scan"][..],
        &["fix", "--dry-run"],
        &["fix", "--yes"],
        &["undo", "--yes", "--other-database", journal],
        &["access", "--server", "github"],
    ] {
        run_on(&url, args)
            .exits(7)
            .says("error: ")
            .says("statement pooling mode")
            .says(
                "hint: connect to the server itself, or through a pool in session or transaction",
            );
    }
    let doctor = run_on(&url, &["doctor"]).exits(7);
    doctor.prints("statement pooling mode");
    assert_eq!(database.permission_rows(), repaired);
}

#[test]
fn a_pooler_that_refuses_an_option_of_the_url_is_named_with_its_setting() {
    let Some(pooler) = pooler("pool_mode = transaction") else {
        return;
    };
    let url = pooler.url(&demo());
    run_on(&format!("{url}?options=-c%20geqo%3Doff"), &["scan"])
        .exits(7)
        .says("unsupported startup parameter")
        .says(
            "hint: leave it out of the URL, or name it in the pooler's ignore_startup_parameters",
        );
}
