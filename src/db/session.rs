//! A connection and the settings of its transactions.

use crate::database::Database;
#[cfg(feature = "embedded")]
use crate::db::connect::EMPTY_PATH;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection};

use crate::db::batch;
use crate::db::connect::{Setting, Target};
use crate::db::decode;
use crate::db::errors::failed;
use crate::db::purpose::Purpose;
use crate::db::schema::{self, Schema};
use crate::db::server_version::ServerVersion;
use crate::db::sql::{constants, statement_in};
use crate::db::target_session::ServerAccess;
use crate::db::transaction::OpenTransaction;
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::Choice;
use crate::repair::policy::WriteConsent;

/// How long a transaction may wait and work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the lock of one table. Rows are never waited for by the server.
    pub lock: Duration,
    /// For one statement.
    pub statement: Duration,
}

/// How long the server keeps an open transaction, and its locks, after this program fell silent.
const IDLE: Duration = Duration::from_mins(1);

// In a transaction of its own: if a role's transactions are serializable by default, a replica
// refuses them.
const WHO: &str = "
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT pg_catalog.current_database()::pg_catalog.text, current_user::pg_catalog.text,
       pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('server_version'),
       pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
       pg_catalog.current_setting('default_transaction_read_only')::pg_catalog.bool, {timeouts};
COMMIT";

// In the order of their names.
const TIMEOUTS: &str = "
(SELECT pg_catalog.string_agg(s.setting, ' ' ORDER BY s.name)
 FROM pg_catalog.pg_settings AS s
 WHERE s.name {=} ANY (
     '{idle_in_transaction_session_timeout,lock_timeout,statement_timeout}'))";

/// The settings of every transaction. A role or a database may have other defaults for each of
/// them. A setting that a server does not know is skipped.
const SETTINGS: [(&str, &str); 14] = [
    // Belt and braces: every name in every statement has its schema.
    ("search_path", ""),
    // A query is an error if a policy would hide rows, and no policy is evaluated.
    ("row_security", "off"),
    // The form in which the server writes types and values as text, which journals and digests
    // compare.
    ("quote_all_identifiers", "off"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    // Any other value leaves out rows that a GIN index finds.
    ("gin_fuzzy_search_limit", "0"),
    // A repair that is reported as committed is on the server's disk.
    ("synchronous_commit", "local"),
    // Ends a statement, and with it the locks, soon after Ctrl-C ended this program. PostgreSQL 14
    // and later have it, and on Linux it works for certain.
    ("client_connection_check_interval", "1000"),
    // Makes parallel workers apply filters that few rows pass (see `RARE`). Compiling such a
    // statement takes longer than running it.
    ("parallel_tuple_cost", "10"),
    ("jit", "off"),
    // Rows are asked for by their primary keys, thousands at a time. With the default of 4, the
    // planner reads a table of 100,000 rows from end to end for each 2,000 of them. 1.1, as some
    // servers have it, is no faster.
    ("random_page_cost", "2"),
];

/// A further setting of transactions that write nothing. After the schema is read, the owner of a
/// table could replace it by a view, whose functions would then be called (CVE-2024-7348).
///
/// A transaction that writes goes without it: the owner of a table may have triggers, which act on
/// what is written and may well read views.
const NO_VIEWS: (&str, &str) = ("restrict_nonsystem_relation_kind", "view, foreign-table");

const SET: &str = "
SELECT pg_catalog.set_config(s.name, w.value, true)
FROM pg_catalog.pg_settings AS s
JOIN ROWS FROM (pg_catalog.unnest({names}), pg_catalog.unnest({values})) AS w (name, value)
     ON w.name {=} s.name
WHERE (s.name {<>} 'synchronous_commit' OR s.setting {=} 'off')
      AND (s.name {<>} 'client_connection_check_interval' OR pg_catalog.version() {~~} '%linux%')";

// One round trip: statements without parameters go together.
const BEGIN: &str = "{rollback}{begin};
{set};
SELECT {timeouts};
{first}";

/// A connection within a transaction.
pub(crate) type Connection = PgConnection;

/// A connection to one database, and the schema to work on.
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    database: Database,
    timeouts: Timeouts,
    /// Whether the session has these timeouts from its start. A pooler may not have passed them on.
    keeps_timeouts: bool,
    /// Whether a transaction may be open that nobody ended.
    is_open: bool,
    access: ServerAccess,
    version: ServerVersion,
    /// The embedded server, if there is one; it is dropped after the connection.
    #[cfg(feature = "embedded")]
    server: Option<crate::db::embedded::Embedded>,
}

impl Session {
    /// Connects to `target`, to work on `schema`, else on the schema that the URL names, else on
    /// `public`.
    ///
    /// # Errors
    ///
    /// Why the connection failed, or why the embedded server could not be loaded. Refused if the
    /// server is not of the kind that `target_session_attrs` asks for.
    pub async fn open(
        target: Target,
        schema: Option<String>,
        timeouts: Timeouts,
    ) -> Result<Self, Failure> {
        match target {
            Target::Server(server) => {
                let schema = schema.or_else(|| server.schema().map(str::to_owned));
                let connection = server.connect(&timeouts.settings()).await?;
                let address = (server.host(), server.port());
                let session = Self::new(connection, address, schema, timeouts).await?;
                server.target_session.ensure(session.access)?;
                Ok(session)
            }
            #[cfg(feature = "embedded")]
            Target::Embedded(file) => {
                let server = crate::db::embedded::Embedded::start(&file).await?;
                let options = server.connect_options().options(EMPTY_PATH);
                let connection = PgConnection::connect_with(&options)
                    .await
                    .map_err(failed("connect to the embedded PostgreSQL"))?;
                let address = (format!("embedded:{}", file.display()), 0);
                let mut session = Self::new(connection, address, schema, timeouts).await?;
                session.server = Some(server);
                Ok(session)
            }
            #[cfg(not(feature = "embedded"))]
            Target::Embedded(_) => Err(Failure::new(
                ErrorKind::Usage,
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
        let told = [("{timeouts}", TIMEOUTS.to_owned())];
        let row = sqlx::raw_sql(statement_in("pg_catalog", WHO, &told))
            .fetch_one(&mut connection)
            .await
            .map_err(failed("ask the server which database this is"))?;
        let database = Database {
            host,
            port,
            // Prisma's default, and so LiteLLM's.
            schema: schema.unwrap_or_else(|| "public".to_owned()),
            name: decode::read(&row, 0, "the database's name")?,
            user: decode::read(&row, 1, "the role's name")?,
        };
        Ok(Self {
            connection,
            database,
            keeps_timeouts: timeouts.are(decode::read(&row, 6, "the timeouts")?),
            timeouts,
            is_open: false,
            access: ServerAccess::of(
                decode::read(&row, 2, "whether the server is a replica")?,
                decode::read(&row, 5, "whether transactions are read-only")?,
            ),
            version: ServerVersion {
                text: decode::read(&row, 3, "the server's version")?,
                number: decode::read(&row, 4, "the number of the server's version")?,
            },
            #[cfg(feature = "embedded")]
            server: None,
        })
    }

    /// Returns the database, as the server itself names it.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Returns a sentence about the statements of an embedded script that were left out, if any
    /// were.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        #[cfg(feature = "embedded")]
        return self.server.as_ref()?.warning();
        #[cfg(not(feature = "embedded"))]
        None
    }

    /// Tells whether the server is a replica, which cannot be written.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.access == ServerAccess::Replica
    }

    /// Returns the version that the server reports.
    #[must_use]
    pub(crate) fn version(&self) -> &ServerVersion {
        &self.version
    }

    /// Begins a transaction for `purpose`, and reads and checks the tables of `choice`.
    ///
    /// A reading transaction is `REPEATABLE READ, READ ONLY`: it has one snapshot, and the server
    /// itself refuses every write. A writing one is `READ COMMITTED`: it sees a row as it is once
    /// it is locked.
    ///
    /// All settings are for this transaction alone, because a pooler may hand the server connection
    /// to another client afterwards.
    ///
    /// # Errors
    ///
    /// What reading the schema says; refused if the server is too old, or if a replica would have
    /// to be written.
    pub async fn begin(
        &mut self,
        purpose: Purpose,
        choice: &Choice,
    ) -> Result<SchemaTransaction<'_>, Failure> {
        self.version.ensure_supported()?;
        if purpose.writes() && self.is_replica() {
            return Err(Failure::new(
                ErrorKind::Refused,
                "this server is a replica, which cannot be written",
            )
            .hint("point --db-url at the primary server"));
        }
        let database = self.database.clone();
        let first = Some(FirstStatement {
            sql: schema::catalog(),
            doing: schema::READING,
        });
        let (mut transaction, rows) = self.start_with(purpose, first).await?;
        let schema = Schema::read(&mut transaction, rows, &database, purpose, choice).await?;
        Ok(SchemaTransaction {
            transaction,
            schema,
        })
    }

    /// Begins a transaction as [`Self::begin`] does, and does not look at the schema.
    pub(crate) async fn start(&mut self, purpose: Purpose) -> Result<OpenTransaction<'_>, Failure> {
        let (transaction, _) = self.start_with(purpose, None).await?;
        Ok(transaction)
    }

    /// Begins a transaction, and returns the rows of the first statement in it.
    ///
    /// All of it is one round trip if the session keeps its timeouts. Else these are set before the
    /// first statement.
    async fn start_with(
        &mut self,
        purpose: Purpose,
        first: Option<FirstStatement>,
    ) -> Result<(OpenTransaction<'_>, Vec<PgRow>), Failure> {
        let (at_once, later) = if self.keeps_timeouts {
            (first, None)
        } else {
            (None, first)
        };
        let (told, mut rows) = self.send_begin(purpose, at_once).await?;
        self.keeps_timeouts = self.timeouts.are(&told);
        if !self.keeps_timeouts {
            self.set_timeouts().await?;
        }
        if let Some(FirstStatement { sql, doing }) = later {
            let first = [("{first}", sql)];
            let sql = statement_in(&self.database.schema, "{first}", &first);
            rows = sqlx::raw_sql(sql)
                .fetch_all(&mut self.connection)
                .await
                .map_err(failed(doing))?;
        }
        let transaction = OpenTransaction::new(&mut self.connection, &mut self.is_open);
        Ok((transaction, rows))
    }

    /// Begins a transaction with all settings but the timeouts. Returns the timeouts that it has,
    /// and the rows of the first statement.
    async fn send_begin(
        &mut self,
        purpose: Purpose,
        first: Option<FirstStatement>,
    ) -> Result<(String, Vec<PgRow>), Failure> {
        let begin = match purpose {
            Purpose::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            Purpose::Write | Purpose::PutBack => "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE",
        };
        let mut settings = SETTINGS.to_vec();
        if !purpose.writes() {
            settings.push(NO_VIEWS);
        }
        let (names, values): (Vec<&str>, Vec<&str>) = settings.into_iter().unzip();
        let (first, doing) = match first {
            Some(FirstStatement { sql, doing }) => (sql, doing),
            None => (String::new(), BEGINNING),
        };
        let rollback = if self.is_open { "ROLLBACK;\n" } else { "" };
        let fragments = [
            ("{rollback}", rollback.to_owned()),
            ("{begin}", begin.to_owned()),
            ("{set}", SET.to_owned()),
            ("{names}", constants(names)),
            ("{values}", constants(values)),
            ("{timeouts}", TIMEOUTS.to_owned()),
            ("{first}", first),
        ];
        let mut doing = vec![BEGINNING, SETTING, SETTING, doing];
        if self.is_open {
            doing.insert(0, BEGINNING);
        }
        let of_timeouts = doing.len() - 2;
        self.is_open = true;
        let sql = statement_in(&self.database.schema, BEGIN, &fragments);
        let answers = batch::run(&mut self.connection, sql, &doing).await;
        let mut answers = answers.map_err(|failed| failed.failure)?;
        let rows = answers.pop().unwrap_or_default();
        let told = answers.get(of_timeouts).and_then(|rows| rows.first());
        let told = told
            .map(|row| decode::read(row, 0, "the timeouts"))
            .transpose()?;
        Ok((told.unwrap_or_default(), rows))
    }

    /// Sets the timeouts of the transaction.
    async fn set_timeouts(&mut self) -> Result<(), Failure> {
        let (names, values): (Vec<&str>, Vec<String>) =
            self.timeouts.settings().into_iter().unzip();
        let fragments = [
            ("{names}", "$1::pg_catalog.text[]".to_owned()),
            ("{values}", "$2::pg_catalog.text[]".to_owned()),
        ];
        sqlx::query(statement_in("pg_catalog", SET, &fragments))
            .persistent(false)
            .bind(names)
            .bind(values)
            .execute(&mut self.connection)
            .await
            .map_err(failed(SETTING))?;
        Ok(())
    }

    /// Says goodbye to the server, which rolls back a transaction that is still open.
    pub async fn close(mut self) {
        // The work is done or rolled back by now, so a failure here changes nothing.
        if self.is_open && !self.keeps_timeouts {
            // This may be a pooler, which would have to end its connection to the server, too.
            let open = OpenTransaction::new(&mut self.connection, &mut self.is_open);
            let _ = open.rollback().await;
        }
        let _ = self.connection.close().await;
        #[cfg(feature = "embedded")]
        drop(self.server);
    }
}

const BEGINNING: &str = "begin a transaction";

const SETTING: &str = "set the transaction's timeouts";

/// A statement without parameters that goes to the server together with the `BEGIN`.
struct FirstStatement {
    /// Its text, with the placeholders that [`statement_in`] fills.
    sql: String,
    /// What it does, for an error.
    doing: &'static str,
}

/// A transaction and the schema that it sees. Dropping it rolls it back.
#[derive(Debug)]
pub struct SchemaTransaction<'c> {
    transaction: OpenTransaction<'c>,
    schema: Schema,
}

impl SchemaTransaction<'_> {
    /// Returns the connection within the transaction, and the schema.
    pub fn parts(&mut self) -> (&mut PgConnection, &Schema) {
        (&mut self.transaction, &self.schema)
    }

    /// Leaves a transaction that wrote nothing: the server rolls it back when the session is closed
    /// or begins another one. That saves a round trip.
    pub(crate) fn leave(self) {
        drop(self);
    }

    /// Rolls the transaction back.
    ///
    /// # Errors
    ///
    /// What the server said; even then nothing was written.
    pub async fn rollback(self) -> Result<(), Failure> {
        self.transaction
            .rollback()
            .await
            .map_err(failed("roll back"))
    }

    /// Commits the transaction.
    ///
    /// # Errors
    ///
    /// What the server said. If the connection was lost, nobody knows whether the changes were
    /// written, and the message says so.
    pub async fn commit(self, _consent: &WriteConsent) -> Result<(), Failure> {
        self.transaction.commit().await.map_err(|error| {
            let unknown = may_have_reached_the_server(&error);
            let failure = failed("commit")(error);
            if unknown {
                failure
                    .context("the connection was lost during COMMIT, so the outcome is unknown")
                    .hint("run scan to see which: all of the repair was written, or none of it")
            } else {
                failure
            }
        })
    }
}

/// Tells whether a failed `COMMIT` may have been carried out, because the connection was lost.
/// Without an answer it may have been; so it may if a pooler reports the loss (class 08) or if the
/// server ended the session (57P0x).
fn may_have_reached_the_server(error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(DatabaseError::code);
    state.is_none_or(|state| state.starts_with("08") || state.starts_with("57P"))
}

impl Timeouts {
    /// Returns the settings in the order of their names. PostgreSQL takes a bare number for
    /// milliseconds.
    fn settings(self) -> Vec<Setting> {
        let settings = [
            ("idle_in_transaction_session_timeout", IDLE),
            ("lock_timeout", self.lock),
            ("statement_timeout", self.statement),
        ];
        let settings = settings.map(|(name, timeout)| (name, timeout.as_millis().to_string()));
        settings.into()
    }

    /// Tells whether these are the timeouts that the server told, in the order of their names.
    fn are(self, told: &str) -> bool {
        let settings = self.settings();
        let wanted: Vec<&str> = settings.iter().map(|(_, value)| value.as_str()).collect();
        told == wanted.join(" ")
    }
}
