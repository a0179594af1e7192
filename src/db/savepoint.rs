//! Work within a transaction that may fail without failing the transaction.

use sqlx::{Error, PgConnection};

use crate::db::errors::failed;
use crate::db::sql::statement;
use crate::error::Failure;

/// The statement that sets a savepoint.
pub(crate) const SET: &str = "SAVEPOINT mcp_prune";

/// The statement that takes back the savepoint that was set last, and leaves what was done since.
pub(crate) const RELEASE: &str = "RELEASE SAVEPOINT mcp_prune";

/// Sets a savepoint.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn set(connection: &mut PgConnection) -> Result<(), Error> {
    run(connection, SET).await
}

/// Takes back the savepoint that was set last, and leaves what was done since.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn release(connection: &mut PgConnection) -> Result<(), Error> {
    run(connection, RELEASE).await
}

/// Rolls back to the savepoint that was set last, and takes it back.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn roll_back(connection: &mut PgConnection) -> Result<(), Error> {
    const BACK: &str = "ROLLBACK TO SAVEPOINT mcp_prune; RELEASE SAVEPOINT mcp_prune";
    run(connection, BACK).await
}

async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
    let ran = sqlx::raw_sql(statement(sql)).execute(connection).await;
    ran.map(drop)
}

/// Does `work` under a savepoint. If it fails, everything that it did is rolled back, and the
/// transaction goes on: a failed statement would have ended it otherwise.
///
/// # Errors
///
/// The outer error means that the transaction is lost, such as by a lost connection. The inner one
/// is that of `work`.
pub(crate) async fn attempt<T>(
    connection: &mut PgConnection,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
) -> Result<Result<T, Failure>, Failure> {
    const DOING: &str = "set a savepoint";
    set(connection).await.map_err(failed(DOING))?;
    match work(connection).await {
        Ok(done) => {
            release(connection).await.map_err(failed(DOING))?;
            Ok(Ok(done))
        }
        Err(failure) => match roll_back(connection).await {
            Ok(()) => Ok(Err(failure)),
            // The first failure says more.
            Err(_) => Err(failure),
        },
    }
}
