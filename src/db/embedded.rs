//! The PostgreSQL inside the process: started, filled from a script, thrown away at the end.

use std::fs::{File, Permissions};
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use pglite_oxide::PgliteServer;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tempfile::TempDir;

use super::script::{Piece, Script};
use crate::failure::{Failure, Kind};

/// The number in the name of the socket.
const PORT: u16 = 5432;

/// Bytes of `COPY` rows sent at a time.
const CHUNK: usize = 64 * 1024;

/// A server of this process's own, for one connection at a time.
#[derive(Debug)]
pub struct Embedded {
    /// Taken when dropped.
    server: Option<PgliteServer>,
    options: PgConnectOptions,
    /// The folder of its socket, removed when dropped.
    _folder: TempDir,
}

impl Embedded {
    /// Starts a server with one empty database.
    ///
    /// # Errors
    ///
    /// Why it does not start.
    pub async fn start_empty() -> Result<Self, Failure> {
        // The server asks for no password and holds a copy of somebody's database: nobody else may
        // get at its socket.
        let folder = tempfile::Builder::new()
            .prefix("mcp-prune-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a folder for the embedded PostgreSQL")?;
        let socket = folder.path().join(format!(".s.PGSQL.{PORT}"));
        // The runtime of the server blocks, which an async thread must not.
        let builder = PgliteServer::builder().temporary().unix(&socket);
        let started = tokio::task::spawn_blocking(|| builder.start()).await;
        let server = started
            .map_err(anyhow::Error::from)
            .and_then(|server| server)
            .context("cannot start the embedded PostgreSQL")?;
        // Everything is said, so that no PG* variable of the environment gets a word in. Only
        // PGOPTIONS cannot be left out: what of it could keep a script from loading is said after
        // it, and the last word counts.
        let options = PgConnectOptions::new_without_pgpass()
            .socket(folder.path())
            .port(PORT)
            .username("postgres")
            .password("")
            .database("template1")
            .ssl_mode(PgSslMode::Disable)
            .application_name("mcp-prune")
            .extra_float_digits(None)
            .options([
                ("search_path", "public"),
                ("default_transaction_read_only", "off"),
            ])
            .statement_cache_capacity(0);
        Ok(Self {
            server: Some(server),
            options,
            _folder: folder,
        })
    }

    /// Starts a server and loads a script into it.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read or loaded, with the line of the statement.
    pub async fn start(file: &Path) -> Result<Self, Failure> {
        let unreadable = || format!("cannot read {}", file.display());
        let script = File::open(file).with_context(unreadable)?;
        if script.metadata().with_context(unreadable)?.is_dir() {
            return Err(anyhow::anyhow!("is a directory")
                .context(unreadable())
                .into());
        }
        let server = Self::start_empty().await?;
        let loaded = server.load(Script::new(BufReader::new(script))).await;
        loaded.map_err(|failure| failure.context(format!("cannot load {}", file.display())))?;
        Ok(server)
    }

    /// How to connect, whatever the environment says.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    async fn load(&self, mut script: Script<BufReader<File>>) -> Result<(), Failure> {
        let mut connection = PgConnection::connect_with(&self.options)
            .await
            .context("cannot connect to the embedded PostgreSQL")?;
        while let Some(piece) = script.next()? {
            let (sql, line) = match piece {
                Piece::Statement { sql, .. } if is_for_nobody(&sql) => continue,
                Piece::Statement { sql, line } => {
                    // The operator's own file, on a server that holds nothing else and is thrown
                    // away: here running text as SQL is the purpose.
                    let done = sqlx::raw_sql(AssertSqlSafe(sql.clone()))
                        .execute(&mut connection)
                        .await;
                    match done {
                        Ok(_) => continue,
                        Err(error) if is_harmless(&sql, &error) => continue,
                        Err(error) => return Err(at_line(line, &error)),
                    }
                }
                Piece::Copy { sql, line } => (sql, line),
                // Rows come only after a COPY, which reads them all.
                Piece::CopyRow(_) | Piece::CopyEnd => continue,
            };
            copy(&mut connection, &sql, &mut script)
                .await?
                .map_err(|error| at_line(line, &error))?;
        }
        // The server would roll it back, as psql would, and rows would be missing.
        let left_open = sqlx::raw_sql("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
            .fetch_one(&mut connection)
            .await
            .and_then(|row| row.try_get(0))
            .context("cannot tell whether the script ended its transaction")?;
        if left_open {
            return Err(
                Failure::new(Kind::Error, "its last transaction is never committed")
                    .hint("end the file with COMMIT"),
            );
        }
        // A new session comes next: `pg_dump` empties the search path of the one it is loaded in.
        connection
            .close()
            .await
            .context("cannot close the connection to the embedded PostgreSQL")?;
        Ok(())
    }
}

impl Drop for Embedded {
    /// Stops the server on a thread of its own, because it waits for a client that is still
    /// connected and for a statement that still runs. It does not outlive the process anyway.
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        let files = server.root().to_owned();
        let stopping = std::thread::spawn(move || drop(server));
        for _ in 0..100 {
            if stopping.is_finished() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // What it did not get to: a copy of somebody's database must not stay behind.
        std::fs::remove_dir_all(files).ok();
    }
}

/// Feeds the rows that follow a `COPY`. The outer error is the script's, the inner the server's.
async fn copy(
    connection: &mut PgConnection,
    sql: &str,
    script: &mut Script<BufReader<File>>,
) -> Result<Result<(), sqlx::Error>, Failure> {
    let mut rows = match connection.copy_in_raw(sql).await {
        Ok(rows) => rows,
        Err(error) => return Ok(Err(error)),
    };
    let mut chunk = Vec::with_capacity(CHUNK);
    while let Some(Piece::CopyRow(row)) = script.next()? {
        chunk.extend_from_slice(&row);
        if chunk.len() >= CHUNK {
            if let Err(error) = rows.send(chunk.as_slice()).await {
                return Ok(Err(error));
            }
            chunk.clear();
        }
    }
    if let Err(error) = rows.send(chunk.as_slice()).await {
        return Ok(Err(error));
    }
    Ok(rows.finish().await.map(|_| ()))
}

/// Whether a statement says who owns what and may do what. The roles it names are those of the
/// server the dump was made on, and nobody but this process connects here.
fn is_for_nobody(sql: &str) -> bool {
    let mut words = sql.split_ascii_whitespace();
    match words.next() {
        Some("GRANT" | "REVOKE") => true,
        Some("ALTER") => {
            let rest: Vec<&str> = words.collect();
            // A quoted role may have spaces in its name.
            rest.starts_with(&["DEFAULT", "PRIVILEGES"])
                || rest.windows(2).any(|pair| pair == ["OWNER", "TO"])
        }
        // As `pg_dump --use-set-session-authorization` has it.
        Some("SET") => words.next() == Some("SESSION") && words.next() == Some("AUTHORIZATION"),
        Some(_) | None => false,
    }
}

/// Whether an error leaves the database as the statement wants it, or loses no rows.
///
/// Source: PostgreSQL 17 manual, appendix A, "PostgreSQL Error Codes".
fn is_harmless(sql: &str, error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(DatabaseError::code);
    match state.as_deref() {
        // duplicate_schema: `public` is there already.
        Some("42P06") => true,
        // feature_not_supported: this server has no extensions. A table that needs one fails.
        Some("0A000") => begins_with(sql, "CREATE EXTENSION "),
        // undefined_object: a setting of a newer server, or an extension left out above.
        Some("42704") => begins_with(sql, "SET ") || begins_with(sql, "COMMENT ON EXTENSION "),
        _ => false,
    }
}

fn begins_with(sql: &str, words: &str) -> bool {
    sql.get(..words.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(words))
}

fn at_line(line: u64, error: &sqlx::Error) -> Failure {
    let message = match error.as_database_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    };
    Failure::new(Kind::Error, format!("line {line}: {message}"))
        .hint("the file must be SQL, such as pg_dump --format=plain writes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(future)
    }

    /// What a script loads into, or why it does not.
    async fn loaded(script: &str) -> Result<Embedded, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script.sql");
        std::fs::write(&file, script).unwrap();
        Embedded::start(&file)
            .await
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_a_dump_says_about_its_server_is_left_out() {
        let script = "\\restrict token
            SET no_such_setting = 0;
            SELECT pg_catalog.set_config('search_path', '', false);
            CREATE SCHEMA public;
            CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
            COMMENT ON EXTENSION vector IS 'not here';
            SET SESSION AUTHORIZATION 'nobody';
            CREATE TABLE public.t (a text);
            ALTER TABLE public.t OWNER TO \"some body\";
            GRANT SELECT ON TABLE public.t TO nobody;
            REVOKE ALL ON SCHEMA public FROM nobody;
            ALTER DEFAULT PRIVILEGES FOR ROLE nobody GRANT SELECT ON TABLES TO nobody;
            CREATE FUNCTION public.f() RETURNS int LANGUAGE plpgsql
                AS $_$ BEGIN PERFORM 1; RETURN 2; END; $_$;
            \nCOPY public.t (a) FROM stdin;\none\\ttab; \\\\\n\\N\n\\.\n\n\\unrestrict token\n";
        block_on(async {
            let server = loaded(script).await.unwrap();
            let mut connection = PgConnection::connect_with(&server.connect_options())
                .await
                .unwrap();
            // Found without its schema: the search path is a fresh session's.
            let rows: Vec<Option<String>> = sqlx::query_scalar("SELECT a FROM t")
                .fetch_all(&mut connection)
                .await
                .unwrap();
            assert_eq!(rows, [Some("one\ttab; \\".to_owned()), None]);
        });
    }

    #[test]
    fn nothing_is_lost_unnoticed() {
        for (script, told) in [
            (
                "CREATE TABLE t ();\nBEGIN;\nCREATE TABLE u ();",
                "its last transaction is never committed",
            ),
            ("BEGIN;\nSET no_such_setting = 0;", "aborted"),
            ("SELECT 1;\n\n  SELEKT;", "line 3: syntax error"),
            ("CREATE TABLE t (a vector);", "line 1: type \"vector\""),
        ] {
            let refused = block_on(loaded(script)).unwrap_err();
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn a_client_that_stays_keeps_neither_the_process_nor_the_files() {
        block_on(async {
            let server = Embedded::start_empty().await.unwrap();
            let files = server.server.as_ref().unwrap().root().to_owned();
            let connected = PgConnection::connect_with(&server.connect_options())
                .await
                .unwrap();
            assert!(files.exists());
            let begin = Instant::now();
            drop(server);
            assert!(begin.elapsed() < Duration::from_secs(10));
            assert!(!files.exists());
            // It stays until the process ends, lest the server wake up once more.
            std::mem::forget(connected);
        });
    }
}
