//! The advisory lock that keeps a second run out.

use sqlx::PgConnection;

use crate::db::decode;
use crate::db::errors::failed;
use crate::db::lock_holders;
use crate::db::sql::statement_in;
use crate::error::{ErrorKind, Failure};

/// The key of the advisory lock: "mcp-prun" in ASCII. Advisory locks are local to a database.
pub(crate) const LOCK_KEY: i64 = 0x6d63_702d_7072_756e;

const LOCK_OUT: &str = "SELECT pg_catalog.pg_try_advisory_xact_lock({key})";

/// Takes the advisory lock that only one run at a time holds, until the transaction ends.
///
/// Source: PostgreSQL 17 manual, section 13.3.5, "Advisory Locks".
///
/// # Errors
///
/// Taken if another run holds it.
pub(crate) async fn lock_out_other_runs(connection: &mut PgConnection) -> Result<(), Failure> {
    let key = [("{key}", LOCK_KEY.to_string())];
    let row = sqlx::raw_sql(statement_in("pg_catalog", LOCK_OUT, &key))
        .fetch_one(&mut *connection)
        .await
        .map_err(failed("take the advisory lock"))?;
    let locked: bool = decode::read(&row, 0, "the advisory lock")?;
    if locked {
        return Ok(());
    }
    let holder = lock_holders::of_advisory_lock(connection, LOCK_KEY).await;
    Err(Failure::new(
        ErrorKind::Taken,
        format!("another run of mcp-prune is repairing this database: {holder}"),
    )
    .hint("wait until it has ended, then run this again"))
}
