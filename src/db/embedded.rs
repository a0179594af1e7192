//! The PostgreSQL inside the process: started, filled from a script, thrown away at the end.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;
use pglite_oxide::PgliteServer;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::script::{Piece, Script};
use crate::failure::{Failure, Kind};

/// Bytes of `COPY` rows sent at a time.
const CHUNK: usize = 64 * 1024;

/// A server of this process's own, for one connection at a time.
#[derive(Debug)]
pub struct Embedded {
    /// Taken when dropped.
    server: Option<PgliteServer>,
    options: PgConnectOptions,
}

impl Embedded {
    /// Starts a server with one empty database.
    ///
    /// # Errors
    ///
    /// Why it does not start.
    pub async fn start_empty() -> Result<Self, Failure> {
        // The runtime of the server blocks, which an async thread must not.
        let started = tokio::task::spawn_blocking(PgliteServer::temporary_tcp).await;
        let server = started
            .map_err(anyhow::Error::from)
            .and_then(|server| server)
            .context("cannot start the embedded PostgreSQL")?;
        let address = server
            .tcp_addr()
            .context("the embedded PostgreSQL has no address")?;
        // Everything is said, so that no PG* variable of the environment gets a word in.
        let options = PgConnectOptions::new_without_pgpass()
            .host(&address.ip().to_string())
            .port(address.port())
            .username("postgres")
            .password("")
            .database("template1")
            .ssl_mode(PgSslMode::Disable)
            .application_name("mcp-prune")
            .extra_float_digits(None)
            .statement_cache_capacity(0);
        Ok(Self {
            server: Some(server),
            options,
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
    /// connected, as it is after Ctrl-C. Nothing of the server outlives the process anyway.
    fn drop(&mut self) {
        let server = self.server.take();
        let stopping = std::thread::spawn(move || drop(server));
        // Long enough to remove its files where nobody is connected any more.
        for _ in 0..100 {
            if stopping.is_finished() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
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
            matches!(
                rest.as_slice(),
                ["DEFAULT", "PRIVILEGES", ..] | [.., "OWNER", "TO", _]
            )
        }
        Some(_) | None => false,
    }
}

/// Whether an error leaves the database as the statement wants it, or concerns only settings.
fn is_harmless(sql: &str, error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(DatabaseError::code);
    match state.as_deref() {
        // duplicate_schema: `public` is there already.
        Some("42P06") => true,
        // undefined_object: a setting of a newer server.
        Some("42704") => sql
            .get(..4)
            .is_some_and(|word| word.eq_ignore_ascii_case("SET ")),
        _ => false,
    }
}

fn at_line(line: u64, error: &sqlx::Error) -> Failure {
    let message = match error.as_database_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    };
    Failure::new(Kind::Error, format!("line {line}: {message}"))
        .hint("the file must be SQL, such as pg_dump --format=plain writes")
}
