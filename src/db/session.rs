//! A connection and the settings of its transactions.

use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::{Connection as _, PgConnection, Postgres, Row as _, Transaction};

use super::schema::{Database, Purpose, Schema};
use super::sql::failed;
use super::target::Target;
use crate::failure::{Failure, Kind};
use crate::litellm::sites::Choice;
use crate::repair::policy::WriteConsent;

/// How long a transaction may wait and work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For one row lock.
    pub lock: Duration,
    /// For one statement.
    pub statement: Duration,
}

/// How long the server keeps an open transaction of ours whose client fell silent, locks and all.
const IDLE: Duration = Duration::from_mins(1);

const WHO: &str = "SELECT current_database()::text, current_user::text, pg_is_in_recovery()";

/// A connection within a transaction.
pub type Connection = PgConnection;

/// A connection to one database, and the schema to work on.
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    database: Database,
    timeouts: Timeouts,
    is_replica: bool,
    /// The server, where it is our own; dropped after the connection.
    #[cfg(feature = "embedded")]
    server: Option<super::embedded::Embedded>,
}

impl Session {
    /// Connects to `target` to work on `schema`, else on the one the URL names, else on `public`.
    ///
    /// # Errors
    ///
    /// Why it cannot be connected to, or the embedded server not be loaded.
    pub async fn open(
        target: Target,
        schema: Option<String>,
        timeouts: Timeouts,
    ) -> Result<Self, Failure> {
        match target {
            Target::Server(server) => {
                let schema = schema.or_else(|| server.schema().map(str::to_owned));
                let connection = server.connect().await?;
                Self::new(connection, (server.host(), server.port()), schema, timeouts).await
            }
            #[cfg(feature = "embedded")]
            Target::Embedded(file) => {
                let server = super::embedded::Embedded::start(&file).await?;
                let connection = PgConnection::connect_with(&server.connect_options())
                    .await
                    .map_err(failed("connect to the embedded PostgreSQL"))?;
                let address = (format!("embedded:{}", file.display()), 0);
                let mut session = Self::new(connection, address, schema, timeouts).await?;
                session.server = Some(server);
                Ok(session)
            }
            #[cfg(not(feature = "embedded"))]
            Target::Embedded(_) => Err(Failure::new(
                Kind::Usage,
                "this mcp-prune was built without the embedded PostgreSQL",
            )
            .hint("build it in: cargo install --path . --features embedded")),
        }
    }

    async fn new(
        mut connection: PgConnection,
        (host, port): (String, u16),
        schema: Option<String>,
        timeouts: Timeouts,
    ) -> Result<Self, Failure> {
        let row = sqlx::raw_sql(WHO)
            .fetch_one(&mut connection)
            .await
            .map_err(failed("ask the server which database this is"))?;
        let database = Database {
            host,
            port,
            // Prisma's default, and so LiteLLM's.
            schema: schema.unwrap_or_else(|| "public".to_owned()),
            name: row.get(0),
            user: row.get(1),
        };
        Ok(Self {
            connection,
            database,
            timeouts,
            is_replica: row.get(2),
            #[cfg(feature = "embedded")]
            server: None,
        })
    }

    /// The database, as the server itself names it.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Returns the sentence that tells what of an embedded script was left out, if anything was.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        #[cfg(feature = "embedded")]
        return self.server.as_ref()?.warning();
        #[cfg(not(feature = "embedded"))]
        None
    }

    /// Whether the server is a replica, which cannot be written.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.is_replica
    }

    /// Begins a transaction for `purpose` and reads which tables and columns there are, at the places
    /// chosen.
    ///
    /// To read is `REPEATABLE READ, READ ONLY`: one snapshot, and the server itself refuses every
    /// write. To write is `READ COMMITTED`: a row is judged as it is once locked.
    ///
    /// Everything is set for this transaction alone, so that a pooler may hand the server
    /// connection to somebody else afterwards.
    ///
    /// # Errors
    ///
    /// What [`Schema::read`] says, and refused where a replica would have to be written.
    pub async fn begin(&mut self, purpose: Purpose, choice: &Choice) -> Result<Open<'_>, Failure> {
        if purpose == Purpose::Write && self.is_replica {
            return Err(Failure::new(
                Kind::Refused,
                "this server is a replica, which cannot be written",
            )
            .hint("point --db-url at the primary server"));
        }
        let database = self.database.clone();
        let mut transaction = self.start(purpose).await?;
        let schema = Schema::read(&mut transaction, &database, purpose, choice).await?;
        Ok(Open {
            transaction,
            schema,
        })
    }

    /// Begins a transaction as [`Self::begin`] does, whatever there is to work on.
    pub(super) async fn start(
        &mut self,
        purpose: Purpose,
    ) -> Result<Transaction<'_, Postgres>, Failure> {
        let begin = match purpose {
            Purpose::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            Purpose::Write => "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE",
        };
        let mut transaction = self
            .connection
            .begin_with(begin)
            .await
            .map_err(failed("begin a transaction"))?;
        // pg_temp is named last because it would come first unnamed, and so could shadow a table.
        sqlx::query(
            "SELECT set_config('search_path', quote_ident($1) || ', pg_temp', true),
                    set_config('lock_timeout', $2, true),
                    set_config('statement_timeout', $3, true),
                    set_config('idle_in_transaction_session_timeout', $4, true),
                    -- Ends a statement soon after Ctrl-C took its client away, and with it the
                    -- locks. PostgreSQL 14 and later have it, on Linux for certain.
                    (SELECT set_config(name, '1000', true) FROM pg_settings
                     WHERE name = 'client_connection_check_interval'
                       AND version() LIKE '%linux%'),
                    -- What few rows pass is for the workers to filter (see `RARE`), and to compile
                    -- it takes longer than to run it.
                    (SELECT set_config(name, '10', true) FROM pg_settings
                     WHERE name = 'parallel_tuple_cost'),
                    (SELECT set_config(name, 'off', true) FROM pg_settings WHERE name = 'jit')",
        )
        .persistent(false)
        .bind(&self.database.schema)
        .bind(milliseconds(self.timeouts.lock))
        .bind(milliseconds(self.timeouts.statement))
        .bind(milliseconds(IDLE))
        .execute(&mut *transaction)
        .await
        .map_err(failed("set the transaction's timeouts"))?;
        Ok(transaction)
    }

    /// Says goodbye to the server.
    pub async fn close(self) {
        // The work is done or rolled back by now: a failure here changes nothing for anybody.
        let _ = self.connection.close().await;
        #[cfg(feature = "embedded")]
        drop(self.server);
    }
}

/// A transaction, and the schema it sees. Dropped, it is rolled back.
#[derive(Debug)]
pub struct Open<'c> {
    transaction: Transaction<'c, Postgres>,
    schema: Schema,
}

impl Open<'_> {
    /// The connection within the transaction, and the schema.
    pub fn parts(&mut self) -> (&mut PgConnection, &Schema) {
        (&mut self.transaction, &self.schema)
    }

    /// Leaves the database as it was.
    ///
    /// # Errors
    ///
    /// What the server said; nothing was written all the same.
    pub async fn rollback(self) -> Result<(), Failure> {
        self.transaction
            .rollback()
            .await
            .map_err(failed("roll back"))
    }

    /// Makes the changes permanent.
    ///
    /// # Errors
    ///
    /// Whether anything was written is then unknown if the connection was lost, and the message
    /// says so.
    pub async fn commit(self, _consent: &WriteConsent) -> Result<(), Failure> {
        self.transaction.commit().await.map_err(|error| {
            let unknown = may_have_reached_the_server(&error);
            let failure = failed("commit")(error);
            if unknown {
                failure
                    .context("the connection was lost during COMMIT, so the outcome is unknown")
                    .hint("all of the repair was written or none of it; scan tells which")
            } else {
                failure
            }
        })
    }
}

/// Whether a failed `COMMIT` may have been carried out: the connection was lost, be it that a pooler
/// says so (class 08) or that the server ended the session (57P0x).
fn may_have_reached_the_server(error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(DatabaseError::code);
    state.is_none_or(|state| state.starts_with("08") || state.starts_with("57P"))
}

/// PostgreSQL reads a bare number of these settings as milliseconds.
fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}
