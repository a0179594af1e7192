//! Retries where others write the same rows: waits for locked rows, and starts transactions over.

use std::time::{Duration, Instant};

use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::db::{credential_rows, lock_holders, rows};
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::ScannedTable;
use crate::workflow::CHUNK;

/// How often the whole transaction is tried when others write the same rows.
const ATTEMPTS: u32 = 3;

/// The first wait before a locked row, or the whole transaction, is tried again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// The longest wait: each is twice the one before, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a run still waits for rows that somebody else has locked.
pub(crate) struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(lock_timeout: Duration) -> Self {
        Self {
            until: Instant::now() + lock_timeout,
            pause: SHORTEST_PAUSE,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits a little, longer each time, and never past the lock timeout.
    async fn wait(&mut self) {
        let left = self.until.saturating_duration_since(Instant::now());
        tokio::time::sleep(jittered(self.pause).min(left)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Locks the rows with the given keys, and tries again while somebody else has one of them
    /// locked. Returns the keys of the rows that are still there, in byte order.
    pub(crate) async fn lock(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
        table: ScannedTable,
        keys: &[String],
    ) -> Result<Vec<String>, Failure> {
        let mut locked = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK) {
            locked.extend(loop {
                let locked = match table {
                    ScannedTable::References(table) => {
                        rows::lock(connection, schema, table, chunk).await?
                    }
                    ScannedTable::Credentials(table) => {
                        credential_rows::lock(connection, schema, table, chunk).await?
                    }
                };
                match locked {
                    Some(locked) => break locked,
                    None if self.is_over() => {
                        let held = lock_holders::of_rows(connection, schema, table, chunk).await;
                        let message = format!("{held}; nothing was written");
                        return Err(Failure::new(ErrorKind::Busy, message)
                            .hint("run it again later, or raise --lock-timeout"));
                    }
                    None => self.wait().await,
                }
            });
        }
        // The server orders by the bytes of its own encoding, which need not be UTF-8.
        locked.sort_unstable();
        Ok(locked)
    }
}

/// What follows from rows that changed while a transaction was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnMovedRows {
    /// The transaction starts over, with the rows as they are now.
    StartOver,
    /// The run fails, since the operator was shown the rows as they were.
    Fail,
}

/// Runs a transaction, and starts it over if others were in the way.
pub(crate) async fn retried<T>(
    lock_timeout: Duration,
    on_moved: OnMovedRows,
    mut transaction: impl AsyncFnMut(&mut Patience) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut patience = Patience::new(lock_timeout);
    let mut attempt = 1;
    loop {
        let failure = match transaction(&mut patience).await {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        let fresh_start_helps = match failure.kind() {
            ErrorKind::Busy => !patience.is_over(),
            ErrorKind::Moved => on_moved == OnMovedRows::StartOver,
            ErrorKind::Error
            | ErrorKind::Refused
            | ErrorKind::Taken
            | ErrorKind::Access
            | ErrorKind::Usage
            | ErrorKind::BrokenPipe
            | ErrorKind::Interrupted(_) => false,
        };
        if !fresh_start_helps || attempt == ATTEMPTS {
            return Err(failure);
        }
        attempt += 1;
        tokio::time::sleep(jittered(SHORTEST_PAUSE)).await;
    }
}

/// Returns a random duration from half of `pause` to all of it, so that two writers do not collide
/// again and again.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() * 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_over_the_second_half_of_what_is_asked_for() {
        fastrand::seed(7);
        let pause = Duration::from_millis(100);
        let pauses: Vec<Duration> = (0..1000).map(|_| jittered(pause)).collect();
        for pause_taken in &pauses {
            assert!((pause / 2..=pause).contains(pause_taken), "{pause_taken:?}");
        }
        // Each fifth of the range gets about 200 of them.
        for fifth in 0..5 {
            let from = pause / 2 + pause / 10 * fifth;
            let range = from..from + pause / 10;
            let count = pauses.iter().filter(|taken| range.contains(taken)).count();
            assert!((100..300).contains(&count), "{count} in {range:?}");
        }
    }
}
