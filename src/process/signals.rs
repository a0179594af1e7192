//! Cancels work on SIGINT, SIGTERM and SIGHUP.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{ErrorKind, Failure};

/// Cancels the running future on SIGINT, SIGTERM or SIGHUP; dropping it rolls back.
pub(crate) struct Interrupt {
    signals: [(u8, Signal); 3],
}

impl Interrupt {
    /// Takes over SIGINT, SIGTERM and SIGHUP. From here on they only end what [`Self::guard`] runs.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let one = |number: u8, kind: SignalKind| -> anyhow::Result<(u8, Signal)> {
            Ok((number, signal(kind).context("cannot listen for signals")?))
        };
        Ok(Self {
            signals: [
                one(1, SignalKind::hangup())?,
                one(2, SignalKind::interrupt())?,
                one(15, SignalKind::terminate())?,
            ],
        })
    }

    /// Runs `work` until it is done or a signal comes.
    pub(crate) async fn guard<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.race(work, |signal| ended(signal, "; nothing was written"))
            .await
    }

    /// Runs `work` until it is done or a signal comes, of which `failure` makes the failure. Work
    /// that is done counts as done, whatever signal has come.
    pub(crate) async fn race<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
        failure: impl FnOnce(u8) -> Failure,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = work => done,
            number = self.signal() => Err(failure(number)),
        }
    }

    /// Waits for a signal and returns its number.
    pub(crate) async fn signal(&mut self) -> u8 {
        let [(first, hangup), (second, interrupt), (third, terminate)] = &mut self.signals;
        tokio::select! {
            _ = hangup.recv() => *first,
            _ = interrupt.recv() => *second,
            _ = terminate.recv() => *third,
        }
    }
}

/// Makes the failure of work that a signal cut short after the commit; `when` goes on with the
/// sentence. The run itself goes on: it tells what was committed.
pub(crate) fn cut_short(signal: u8, when: &str) -> Failure {
    let message = format!("signal {signal} came{when}");
    Failure::new(ErrorKind::Interrupted(signal), message)
}

/// Makes the failure of a run that a signal ended; `when` goes on with the sentence.
pub(crate) fn ended(signal: u8, when: &str) -> Failure {
    let message = format!("ended by signal {signal}{when}");
    Failure::new(ErrorKind::Interrupted(signal), message)
}
