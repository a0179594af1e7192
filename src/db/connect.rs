//! Reads where and how to connect from a database URL and libpq's environment, and connects.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection};

use crate::db::connect_error::{Transport, explain};
use crate::db::connection_url::{Settings, parameters, unquoted, usage};
use crate::db::target_session::TargetSession;
use crate::error::{ErrorKind, Failure};

/// The name of this tool in `pg_stat_activity` and in the server's log. The name of the run follows
/// it; an `application_name` of the URL is ignored.
pub(crate) const APPLICATION_NAME: &str = "mcp-prune";

/// The option that empties the search path. In the start-up message it overrules the settings of a
/// role or a database, so that not even the very first statement searches a schema where others may
/// create functions.
///
/// Source: PostgreSQL 17 manual, 19.1.4 "Parameter Interaction via the Shell", and `pg_dump`, which
/// empties the path as well (CVE-2018-1058).
pub(crate) const EMPTY_PATH: [(&str, &str); 1] = [("search_path", "")];

/// How long to wait for a connection by default. libpq waits for ever, Prisma 5 seconds.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The target of the events of `tracing` that announce statements.
///
/// Source: sqlx-core 0.9.0, `src/logger.rs`, `QueryLogger::finish`.
pub(crate) const STATEMENT_EVENTS: &str = "sqlx::query";

/// Where the database is.
#[derive(Debug)]
pub enum Target {
    /// A PostgreSQL server to connect to.
    Server(Box<ServerTarget>),
    /// An SQL file to load into a PostgreSQL inside this process.
    Embedded(PathBuf),
}

impl Target {
    /// Reads `url`, completed by libpq's `PG*` variables and password file. Without a URL it uses
    /// these alone.
    ///
    /// A URL is LiteLLM's `DATABASE_URL` as Prisma reads it, or libpq's, or `embedded:FILE.sql`.
    ///
    /// # Errors
    ///
    /// Usage, if the URL or a variable does not say clearly where to connect and how safely. The
    /// message names parameters and never shows the URL, because a password may be anywhere in it.
    pub fn resolve(url: Option<&str>) -> Result<Self, Failure> {
        // Like libpq, this takes the effective user, and not USER or LOGNAME.
        Self::resolve_in(url, &|name| std::env::var(name).ok(), &|| {
            whoami::username().ok()
        })
    }

    pub(crate) fn resolve_in(
        url: Option<&str>,
        environment: &dyn Fn(&str) -> Option<String>,
        system_user: &dyn Fn() -> Option<String>,
    ) -> Result<Self, Failure> {
        let mut settings = Settings {
            parameters: BTreeMap::new(),
            environment,
            system_user,
        };
        if url.is_none() {
            settings.refuse_without_database()?;
        }
        if let Some(url) = url.map(unquoted) {
            match url.strip_prefix("embedded:") {
                None => settings.parameters = parameters(url)?,
                Some("") => {
                    return Err(usage("the database URL `embedded:` names no file")
                        .hint("write embedded:FILE.sql"));
                }
                Some(file) => return Ok(Self::Embedded(file.into())),
            }
        }
        Ok(Self::Server(Box::new(settings.server()?)))
    }

    /// Adds the name of the run to the name by which the server knows the connection.
    #[must_use]
    pub fn of_run(self, run: &str) -> Self {
        match self {
            Self::Server(mut server) => {
                let name = format!("{APPLICATION_NAME}/{run}");
                server.options = server.options.application_name(&name);
                Self::Server(server)
            }
            // Nobody else uses that server, and it writes no log.
            Self::Embedded(file) => Self::Embedded(file),
        }
    }
}

/// A PostgreSQL server and how to connect to it.
pub struct ServerTarget {
    pub(crate) options: PgConnectOptions,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) schema: Option<String>,
    pub(crate) pooled: bool,
    /// The kind of server that it has to be.
    pub(crate) target_session: TargetSession,
    pub(crate) warnings: Vec<String>,
}

impl ServerTarget {
    /// Tells whether the URL announces a pooler with Prisma's `pgbouncer=true`.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// Tells whether the server's certificate must be signed by a known authority.
    #[must_use]
    pub fn checks_certificate(&self) -> bool {
        matches!(
            self.options.get_ssl_mode(),
            PgSslMode::VerifyCa | PgSslMode::VerifyFull
        )
    }

    /// Returns the schema of `?schema=`, a parameter of Prisma's.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Returns a sentence about each connection parameter that has no effect.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns the host name or address, or the directory of a Unix-domain socket.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.options.get_host();
        let socket = self.options.get_socket();
        socket.map_or_else(|| host.to_owned(), |path| path.display().to_string())
    }

    /// Returns the port, which is also part of the name of a Unix-domain socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.options.get_port()
    }

    /// Connects and authenticates, without another try.
    ///
    /// # Errors
    ///
    /// Access, with a hint that fits the reason. Neither text holds the password.
    pub async fn connect(&self) -> Result<PgConnection, Failure> {
        let connecting = self.with_empty_path();
        let outcome = match self.connect_timeout {
            None => connecting.await,
            Some(limit) => tokio::time::timeout(limit, connecting).await.map_err(|_| {
                let reason = format!("no answer within {} seconds", limit.as_secs_f32());
                self.failed(
                    &reason,
                    "check the host, the port and the firewalls, or raise connect_timeout",
                )
            })?,
        };
        outcome.map_err(|error| {
            let transport = if self.host().starts_with('/') {
                Transport::UnixSocket
            } else {
                Transport::Tcp
            };
            let (reason, hint) = explain(&error, transport);
            self.failed(&reason, hint)
        })
    }

    /// Connects with an empty search path from the start, unless a pooler refuses that.
    ///
    /// Poolers do not pass options on: PgBouncer refuses them as a protocol violation, Amazon's RDS
    /// Proxy as an unsupported feature. With a pooler the path is emptied in each transaction.
    ///
    /// Source: issues 875 and 1074 of pgbouncer/pgbouncer; psycopg/psycopg2 issue 1577.
    async fn with_empty_path(&self) -> Result<PgConnection, sqlx::Error> {
        if !self.pooled {
            let options = self.options.clone().options(EMPTY_PATH);
            match PgConnection::connect_with(&options).await {
                Err(error) if refuses_options(&error) => {}
                outcome => return outcome,
            }
        }
        PgConnection::connect_with(&self.options).await
    }

    fn failed(&self, reason: &str, hint: &str) -> Failure {
        let (host, port) = (self.host(), self.port());
        let address = match host.as_bytes() {
            [b'/', ..] => format!("{host}/.s.PGSQL.{port}"),
            bytes if bytes.contains(&b':') => format!("[{host}]:{port}"),
            _ => format!("{host}:{port}"),
        };
        Failure::new(
            ErrorKind::Access,
            format!("cannot connect to {address}: {reason}"),
        )
        .hint(hint)
    }
}

/// Written by hand, because sqlx's options show the password.
impl fmt::Debug for ServerTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTarget")
            .field("host", &self.host())
            .field("port", &self.port())
            .field("ssl_mode", &self.options.get_ssl_mode())
            .field("schema", &self.schema)
            .field("connect_timeout", &self.connect_timeout)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// Tells whether a pooler may have refused a start-up message for the options in it.
fn refuses_options(error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(DatabaseError::code);
    matches!(state.as_deref(), Some("08P01" | "0A000"))
}
