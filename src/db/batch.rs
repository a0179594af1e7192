//! Several statements without parameters in one round trip.

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Either, PgConnection};

use crate::db::errors::failed;
use crate::error::Failure;

/// A batch that failed.
pub(crate) struct FailedBatch {
    /// The place of the statement that failed.
    pub(crate) at: usize,
    /// Why it failed.
    pub(crate) failure: Failure,
}

/// Runs a batch of as many statements as there are phrases in `doing`, each of which completes the
/// sentence "cannot ...". Returns the rows of each statement.
///
/// # Errors
///
/// What the server said of the first statement that failed; none after it was run.
pub(crate) async fn run(
    connection: &mut PgConnection,
    sql: AssertSqlSafe<String>,
    doing: &[&'static str],
) -> Result<Vec<Vec<PgRow>>, FailedBatch> {
    let mut rows: Vec<Vec<PgRow>> = doing.iter().map(|_| Vec::new()).collect();
    let mut at = 0;
    let mut answers = sqlx::raw_sql(sql).fetch_many(connection);
    loop {
        let doing = doing.get(at).or(doing.last()).copied().unwrap_or_default();
        let answer = answers.try_next().await.map_err(failed(doing));
        match answer.map_err(|failure| FailedBatch { at, failure })? {
            Some(Either::Left(_)) => at += 1,
            Some(Either::Right(row)) => {
                if let Some(of_statement) = rows.get_mut(at) {
                    of_statement.push(row);
                }
            }
            None => return Ok(rows),
        }
    }
}
