//! Cancels work on SIGINT, SIGTERM and SIGHUP.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::command_line::CommandLine;
use crate::db::session::SchemaTransaction;
use crate::error::{ErrorKind, Failure};
use crate::process::stderr::{self, indented, warn};
use crate::repair::policy::WriteConsent;
use crate::workflow::changeset_file::ChangesetFile;

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
        self.race(work, "; nothing was written").await
    }

    pub(crate) async fn race<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
        what: &str,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            number = self.signal() => Err(ended(number, what)),
        }
    }

    /// Puts the old values on disk, commits, and then notes in the journal that it was committed.
    /// Returns where the journal is.
    ///
    /// `take_back` makes the command that puts the old values back.
    pub(crate) async fn commit(
        &mut self,
        open: SchemaTransaction<'_>,
        consent: &WriteConsent,
        mut journal: Option<&mut ChangesetFile>,
        take_back: impl Fn(&Path) -> CommandLine,
    ) -> Result<Option<PathBuf>, Failure> {
        if let Some(journal) = journal.as_deref_mut() {
            journal.seal()?;
        }
        let committed = self.guard_commit(open.commit(consent)).await;
        let Some(journal) = journal else {
            return committed.map(|()| None);
        };
        match committed {
            Ok(()) => {
                if let Err(failure) = journal.committed() {
                    warn(format_args!("everything was committed, but {failure}"));
                }
                Ok(Some(journal.path().to_owned()))
            }
            Err(failure) => {
                warn(format_args!(
                    "the old values are in {}. If the commit succeeded all the same, this takes it \
                     back:\n{}",
                    journal.path().display(),
                    indented(&take_back(journal.path()))
                ));
                Err(failure)
            }
        }
    }

    /// Waits for a `COMMIT` that is under way, even after a signal: without its answer nobody would
    /// know whether it succeeded. A second signal ends the wait.
    async fn guard_commit(
        &mut self,
        commit: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        tokio::pin!(commit);
        tokio::select! {
            done = &mut commit => return done,
            // Somebody is there to read this, so not even -q holds it back.
            _ = self.signal() => stderr::say(
                "warning: waiting for the COMMIT to end; a second signal ends the wait",
            ),
        }
        tokio::select! {
            done = commit => done,
            number = self.signal() => Err(ended(
                number,
                " during COMMIT: all of the repair was written or none of it; scan tells which",
            )),
        }
    }

    async fn signal(&mut self) -> u8 {
        let [(first, hangup), (second, interrupt), (third, terminate)] = &mut self.signals;
        tokio::select! {
            _ = hangup.recv() => *first,
            _ = interrupt.recv() => *second,
            _ = terminate.recv() => *third,
        }
    }
}

/// Makes the failure of a run that a signal ended; `when` goes on with the sentence.
fn ended(signal: u8, when: &str) -> Failure {
    let message = format!("ended by signal {signal}{when}");
    Failure::new(ErrorKind::Interrupted(signal), message)
}
