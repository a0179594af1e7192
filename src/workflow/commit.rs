//! Commits a transaction whose old values are on disk, and waits for the answer.

use std::path::{Path, PathBuf};

use crate::command_line::CommandLine;
use crate::db::session::SchemaTransaction;
use crate::error::Failure;
use crate::process::signals::{Interrupt, ended};
use crate::process::stderr::{self, indented, warn};
use crate::repair::policy::WriteConsent;
use crate::workflow::changeset_file::SealedChangeset;

impl Interrupt {
    /// Commits, and then notes in the journal that it was committed. Returns where the journal is.
    ///
    /// The old values are on disk by then: the journal is sealed.
    ///
    /// `take_back` makes the command that puts the old values back.
    pub(crate) async fn commit(
        &mut self,
        open: SchemaTransaction<'_>,
        consent: &WriteConsent,
        journal: Option<SealedChangeset<'_>>,
        take_back: impl Fn(&Path) -> CommandLine,
    ) -> Result<Option<PathBuf>, Failure> {
        let committed = self.guard_commit(open.commit(consent)).await;
        let Some(mut journal) = journal else {
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
            biased;
            done = &mut commit => return done,
            // Somebody is there to read this, so not even -q holds it back.
            _ = self.signal() => stderr::say(
                "warning: waiting for the COMMIT to end; a second signal ends the wait",
            ),
        }
        tokio::select! {
            biased;
            done = commit => done,
            number = self.signal() => Err(ended(
                number,
                " during COMMIT: all of the repair was written or none of it; scan tells which",
            )),
        }
    }
}
