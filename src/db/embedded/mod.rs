//! Runs a PostgreSQL inside the process: starts it, loads a script into it, and discards it at the
//! end.

pub(crate) mod archive;
pub(crate) mod loading;
pub(crate) mod psql_script;
pub(crate) mod statement;

use std::fs::{File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use pglite_oxide::PgliteServer;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tempfile::TempDir;

use crate::db::embedded::loading::{Loading, Unloaded};
use crate::error::Failure;

/// The number in the name of the socket.
const PORT: u16 = 5432;

/// A server inside this process, which serves one connection at a time.
#[derive(Debug)]
pub struct Embedded {
    /// `None` only while it is dropped.
    server: Option<PgliteServer>,
    options: PgConnectOptions,
    unloaded: Option<Unloaded>,
    /// The folder of its socket, which is removed when it is dropped.
    _folder: TempDir,
}

impl Embedded {
    /// Starts a server with one empty database.
    ///
    /// # Errors
    ///
    /// Why it does not start.
    pub async fn start_empty() -> Result<Self, Failure> {
        // The server asks for no password and holds a copy of a database: nobody else may reach its
        // socket.
        let folder = tempfile::Builder::new()
            .prefix("mcp-prune-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a folder for the embedded PostgreSQL")?;
        let socket = folder.path().join(format!(".s.PGSQL.{PORT}"));
        // The runtime of the server blocks, and an async thread must not block.
        let builder = PgliteServer::builder().temporary().unix(&socket);
        let started = tokio::task::spawn_blocking(|| builder.start()).await;
        let server = started
            .map_err(anyhow::Error::from)
            .and_then(|server| server)
            .context("cannot start the embedded PostgreSQL")?;
        // Every parameter is given, so that no PG* variable of the environment has an effect. Only
        // PGOPTIONS cannot be left out. The options below come after it and win; they set
        // everything of it that could keep a script from loading.
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
            unloaded: None,
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
        let unloadable =
            |failure: Failure| failure.context(format!("cannot load {}", file.display()));
        let opened = File::open(file).with_context(unreadable)?;
        if opened.metadata().with_context(unreadable)?.is_dir() {
            return Err(unloadable(archive::refuse_folder(file)));
        }
        let mut script = BufReader::new(opened);
        archive::ensure_text(file, script.fill_buf().with_context(unreadable)?)
            .map_err(unloadable)?;
        let mut server = Self::start_empty().await?;
        // The statements of the script hold values, which -vv must not tell.
        let silent = server.options.clone().disable_statement_logging();
        let mut connection = PgConnection::connect_with(&silent)
            .await
            .context("cannot connect to the embedded PostgreSQL")?;
        let loaded = Loading::begin(file, script).run(&mut connection).await;
        server.unloaded = loaded.map_err(unloadable)?;
        // Everything else happens in a new session, because a script of `pg_dump` empties the
        // search path of its own.
        connection
            .close()
            .await
            .context("cannot close the connection to the embedded PostgreSQL")?;
        Ok(server)
    }

    /// Returns a sentence about the statements of the script that were left out, if any were.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.unloaded.as_ref().map(ToString::to_string)
    }

    /// Returns how to connect to it, independent of the environment.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }
}

impl Drop for Embedded {
    /// Stops the server on a thread of its own, because stopping waits for a connected client and
    /// for a running statement. The server does not outlive the process in any case.
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
        // The thread did not get to it, and a copy of a database must not stay behind.
        std::fs::remove_dir_all(files).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(future)
    }

    /// Loads a script into a server, or returns why it cannot be loaded.
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
            // The table is found without its schema, because a fresh session has its own search
            // path.
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
            ("BEGIN;\nSET no_such_setting = 0;", "line 2: unrecognized"),
            ("SELECT 1;\n\n  SELEKT;", "line 3: syntax error"),
            (
                "CREATE TABLE \"LiteLLM_TeamTable\" (a vector);",
                "line 1: type \"vector\"",
            ),
            (
                "CREATE TABLE \"LiteLLM_TeamTable\" (a int);\n\
                 COPY \"LiteLLM_TeamTable\" FROM stdin;\nx\n\\.\n",
                "line 2: invalid input syntax",
            ),
            // A COMMIT would roll back.
            (
                "BEGIN;\nCREATE TABLE t (a vector);\nCOMMIT;",
                "line 2: type \"vector\" does not exist, and the transaction is aborted",
            ),
        ] {
            let refused = block_on(loaded(script)).unwrap_err();
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn what_is_not_read_is_left_out_and_told() {
        let script = "CREATE TABLE kept (a int);
            CREATE TABLE public.o (id uuid DEFAULT public.uuid_generate_v4() NOT NULL);
            COPY public.o (id) FROM stdin;\n1\n2\n\\.\n
            CREATE TABLE counted (a int);\nCOPY counted FROM stdin;\nx\n\\.\n
            INSERT INTO kept VALUES (1);";
        block_on(async {
            let server = loaded(script).await.unwrap();
            let warning = server.warning().unwrap();
            assert!(
                warning.starts_with("3 statements of ")
                    && warning
                        .ends_with("line 2: function public.uuid_generate_v4() does not exist"),
                "{warning}"
            );
            let mut connection = PgConnection::connect_with(&server.connect_options())
                .await
                .unwrap();
            let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM kept")
                .fetch_one(&mut connection)
                .await
                .unwrap();
            assert_eq!(kept, 1);
            connection.close().await.unwrap();
            assert_eq!(loaded("SELECT 1").await.unwrap().warning(), None);
        });
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
