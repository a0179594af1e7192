//! Retries where others write the same rows: waits for locked rows, and starts transactions over.

use std::time::{Duration, Instant};

use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::db::{credential_rows, lock_holders, rows};
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::ScannedTable;
use crate::process::log;
use crate::workflow::CHUNK;

/// How often the whole transaction is tried when others write the same rows.
const ATTEMPTS: u32 = 3;

/// The first wait before a locked row, or the whole transaction, is tried again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// The longest wait: each is twice the one before, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a run still waits for rows that somebody else has locked. The time for it begins with
/// the first of them, as whatever comes before may take longer than all of it.
pub(crate) struct Patience {
    /// Which try of the transaction this is, from 1.
    attempt: u32,
    lock_timeout: Duration,
    until: Option<Instant>,
    pause: Duration,
    /// How often it has waited so far.
    waits: u32,
}

impl Patience {
    fn new(lock_timeout: Duration) -> Self {
        Self {
            attempt: 1,
            lock_timeout,
            until: None,
            pause: SHORTEST_PAUSE,
            waits: 0,
        }
    }

    /// Tells whether this is the last try of the transaction. If rows change again and again while
    /// they are planned, they have to be locked before.
    #[must_use]
    pub(crate) fn is_last_attempt(&self) -> bool {
        self.attempt == ATTEMPTS
    }

    /// Returns how often the run has waited so far.
    #[must_use]
    pub(crate) fn waits(&self) -> u32 {
        self.waits
    }

    /// Waits a little, longer each time, and never past the lock timeout. Returns `false` at once
    /// if that is over.
    async fn wait(&mut self) -> bool {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + self.lock_timeout);
        if now >= until {
            return false;
        }
        tokio::time::sleep(jittered(self.pause).min(until - now)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.waits += 1;
        true
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
                    None if self.wait().await => log::tell(format_args!(
                        "others have locked rows of {}: asking again",
                        table.name()
                    )),
                    None => {
                        let held = lock_holders::of_rows(connection, schema, table, chunk).await;
                        let message = format!("{held}; nothing was written");
                        return Err(Failure::new(ErrorKind::Busy, message)
                            .hint("run it again later, or raise --lock-timeout"));
                    }
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
    loop {
        let failure = match transaction(&mut patience).await {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        let fresh_start_helps = match failure.kind() {
            ErrorKind::Collided => true,
            ErrorKind::Moved => on_moved == OnMovedRows::StartOver,
            // A lock was waited for as long as the operator said.
            ErrorKind::Busy
            | ErrorKind::Error
            | ErrorKind::Refused
            | ErrorKind::Taken
            | ErrorKind::Access
            | ErrorKind::Usage
            | ErrorKind::BrokenPipe
            | ErrorKind::Interrupted(_) => false,
        };
        if !fresh_start_helps || patience.is_last_attempt() {
            return Err(failure);
        }
        patience.attempt += 1;
        let attempt = patience.attempt;
        log::tell(format_args!(
            "starting over, attempt {attempt} of {ATTEMPTS}: {}",
            failure.kind()
        ));
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

    /// Tries a run whose search takes longer than the lock timeout.
    #[tokio::test]
    async fn the_time_before_the_first_locked_row_does_not_count() {
        let mut patience = Patience::new(Duration::from_millis(20));
        tokio::time::sleep(Duration::from_millis(40)).await;
        assert!(patience.wait().await);
        while patience.wait().await {}
        // A transaction that is started over has no new time.
        assert!(!patience.wait().await);
    }

    /// Runs a transaction that always fails so, and counts how often it is tried.
    async fn tries(kind: ErrorKind) -> u32 {
        let mut tries = 0;
        let transaction = async |_: &mut Patience| {
            tries += 1;
            Err::<(), _>(Failure::new(kind, "in the way"))
        };
        let on_moved = OnMovedRows::StartOver;
        let ended = retried(Duration::from_secs(5), on_moved, transaction).await;
        assert_eq!(ended.unwrap_err().kind(), kind);
        tries
    }

    #[tokio::test]
    async fn a_collision_is_tried_again_and_a_lock_timeout_is_not() {
        assert_eq!(tries(ErrorKind::Collided).await, ATTEMPTS);
        assert_eq!(tries(ErrorKind::Moved).await, ATTEMPTS);
        assert_eq!(tries(ErrorKind::Busy).await, 1);
        assert_eq!(tries(ErrorKind::Error).await, 1);
    }

    #[tokio::test]
    async fn the_last_attempt_is_told() {
        let mut told = Vec::new();
        let transaction = async |patience: &mut Patience| {
            told.push(patience.is_last_attempt());
            Err::<(), _>(Failure::new(ErrorKind::Moved, "in the way"))
        };
        let on_moved = OnMovedRows::StartOver;
        let ended = retried(Duration::from_secs(5), on_moved, transaction).await;
        assert!(ended.is_err());
        assert_eq!(told, [false, false, true]);
    }

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
