//! Reads the state of the server, of this connection and of the schema, for `doctor`.

use std::time::Duration;

use crate::db::advisory_lock::LOCK_KEY;
use crate::db::decode;
use crate::db::errors::failed;
use crate::db::lock_holders::IS_ADVISORY_LOCK;
use crate::db::purpose::Purpose;
use crate::db::schema::{Examined, Schema};
use crate::db::session::Session;
use crate::db::side_effects::SideEffects;
use crate::db::sql::statement_in;
use crate::error::Failure;
use crate::litellm::reference_sites::{Choice, PERMISSIONS};
use crate::litellm::server::SERVER_TABLE;

/// The state of a server, a connection and a schema.
#[derive(Debug)]
pub(crate) struct ServerStatus {
    /// The protocol, such as `TLSv1.3`, if the server's connection is encrypted.
    pub tls: Option<String>,
    /// The port that the server itself listens on; none behind a Unix-domain socket.
    pub server_port: Option<u16>,
    /// How long the server's process has been running.
    pub backend_age: Duration,
    /// The process that holds the advisory lock that only one run at a time holds.
    pub lock_holder: Option<i32>,
    /// How many rows the permission table has, as the planner estimates it.
    pub permission_rows: Option<u64>,
    /// How many rows the server table has, as the planner estimates it.
    pub server_rows: Option<u64>,
    /// The schema, and the results of the checks on it.
    pub examined: Examined,
    /// The triggers and rules that act on what `fix` writes.
    pub effects: SideEffects,
}

// reltuples is -1 before the first ANALYZE, until PostgreSQL 13 also 0 (52.11, "pg_class").
const VITALS: &str = r"
SELECT (SELECT s.version FROM pg_catalog.pg_stat_ssl AS s
        WHERE s.pid {=} pg_catalog.pg_backend_pid() AND s.ssl),
       pg_catalog.inet_server_port(),
       (SELECT pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() {-} a.backend_start)
        FROM pg_catalog.pg_stat_activity AS a WHERE a.pid {=} pg_catalog.pg_backend_pid()),
       (SELECT l.pid FROM pg_catalog.pg_locks AS l WHERE {is_advisory_lock} LIMIT 1),
       (SELECT c.reltuples::pg_catalog.float8
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
        WHERE n.nspname {=} $2 AND c.relname {=} $3 AND c.relkind {=} ANY ('{r,p}')),
       (SELECT c.reltuples::pg_catalog.float8
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
        WHERE n.nspname {=} $2 AND c.relname {=} $4 AND c.relkind {=} ANY ('{r,p}'))";

impl ServerStatus {
    /// Reads all of it in one read-only transaction, which is rolled back.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn read(session: &mut Session) -> Result<Self, Failure> {
        let database = session.database().clone();
        let mut transaction = session.start(Purpose::Read).await?;
        let condition = [("{is_advisory_lock}", IS_ADVISORY_LOCK.to_owned())];
        let row = sqlx::query(statement_in("pg_catalog", VITALS, &condition))
            .persistent(false)
            .bind(LOCK_KEY)
            .bind(&database.schema)
            .bind(PERMISSIONS.table)
            .bind(SERVER_TABLE)
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed("ask the server about itself"))?;
        let choice = Choice::default();
        let examined = Schema::ask(&mut transaction, &database, Purpose::Read, &choice).await?;
        let effects = SideEffects::read(&mut transaction, &examined.schema).await?;
        transaction.rollback().await.map_err(failed("roll back"))?;
        let port: Option<i32> = decode::read(&row, 1, "the server's port")?;
        let age: Option<f64> = decode::read(&row, 2, "the age of the server's process")?;
        Ok(Self {
            tls: decode::read(&row, 0, "the connection's encryption")?,
            server_port: port.and_then(|port| port.try_into().ok()),
            backend_age: age
                .and_then(|age| Duration::try_from_secs_f64(age).ok())
                .unwrap_or_default(),
            lock_holder: decode::read(&row, 3, "the holder of the advisory lock")?,
            permission_rows: estimate(decode::read(&row, 4, "the number of permission rows")?),
            server_rows: estimate(decode::read(&row, 5, "the number of servers")?),
            examined,
            effects,
        })
    }
}

/// Returns the planner's estimate as a number of rows, or `None` if the planner has none.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive estimate, far below what a u64 holds"
)]
fn estimate(rows: Option<f64>) -> Option<u64> {
    rows.filter(|rows| *rows > 0.0).map(|rows| rows as u64)
}
