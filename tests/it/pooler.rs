//! Through PgBouncer in transaction mode, with a single connection to the server.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::program::run_on;
use crate::samples::demo;
use crate::server::{concurrent_server, skip};

/// A pooler of this test's own; ends with it.
struct PgBouncer {
    port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

impl PgBouncer {
    fn start(server: &str) -> Option<Self> {
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
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 1\n"
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

#[test]
fn every_command_works_through_a_pooler_in_transaction_mode() {
    let Some(server) = concurrent_server("a pooler") else {
        return;
    };
    let Some(pooler) = PgBouncer::start(&server.url("")) else {
        skip("a pooler", "needs pgbouncer");
        return;
    };
    let database = demo();
    database.load(NOTES_WHO_WRITES);
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let url = format!(
        "postgresql://postgres@127.0.0.1:{}/{}?pgbouncer=true",
        pooler.port,
        database.name()
    );
    for _ in 0..2 {
        run_on(&url, &["scan"]).exits(2);
        run_on(&url, &["fix", "--dry-run"]).exits(2);
    }
    assert_eq!(database.permission_rows(), before);
    let fix = ["fix", "--yes", "--journal", journal, "--format", "json"];
    let run = run_on(&url, &fix).exits(3).json()["run"].clone();
    let writer = database.texts("SELECT name FROM writer ORDER BY at DESC LIMIT 1");
    assert_eq!(writer, [format!("mcp-prune/{}", run.as_str().unwrap())]);
    assert_ne!(database.permission_rows(), before);
    // Without a word of it in the URL.
    let silent = url.strip_suffix("?pgbouncer=true").unwrap();
    let doctor = run_on(silent, &["doctor"]).exits(0);
    doctor.prints("pooler: ").prints("is in between");
    run_on(&url, &["undo", "--dry-run", journal]).exits(0);
    run_on(&url, &["undo", "--yes", journal]).exits(0);
    assert_eq!(database.permission_rows(), before);
}
