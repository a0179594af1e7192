//! Work within a transaction that may fail without failing the transaction.

use sqlx::{Connection as _, PgConnection};

use crate::db::errors::failed;
use crate::error::Failure;

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
    let mut savepoint = connection.begin().await.map_err(failed(DOING))?;
    match work(&mut savepoint).await {
        Ok(done) => {
            savepoint.commit().await.map_err(failed(DOING))?;
            Ok(Ok(done))
        }
        Err(failure) => match savepoint.rollback().await {
            Ok(()) => Ok(Err(failure)),
            // The first failure says more.
            Err(_) => Err(failure),
        },
    }
}
