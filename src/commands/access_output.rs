//! `access`: prints, saves and compares the callers as they come.

use std::io;

use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use crate::report::access::{self, AccessHead};
use crate::report::access_changes::{self, ChangeCounts, ChangeStep, ChangesHead};
use crate::report::access_naming::{self, NamingColumn};
use crate::report::list_format::ListFormat;
use crate::workflow::saved_access::{SavedAccessWriter, SavedCaller, SavedCallers, SavedHeader};
use crate::workflow::saved_access_comparison::{PlacedAccess, SavedComparison};

/// The next caller; `Err` where the command failed.
pub(super) type AccessEntry = Result<PlacedAccess, ()>;

/// What is known before the first caller.
pub(super) struct AnswerHead {
    /// The run and its database.
    pub(super) head: AccessHead,
    /// Who names the servers asked about, where nobody may use them.
    pub(super) named: Option<Vec<NamingColumn>>,
    /// The first line of the file that is saved.
    pub(super) saved: Option<SavedHeader>,
    /// What access is compared with.
    pub(super) changes: Option<ChangesHead>,
}

/// Where the answer goes.
pub(super) struct AnswerOutput {
    /// How to print it.
    pub(super) format: ListFormat,
    /// What is known before the first caller; it does not come where the command failed before.
    pub(super) head: oneshot::Receiver<AnswerHead>,
    /// The callers.
    pub(super) entries: Receiver<AccessEntry>,
    /// The file that they are saved in.
    pub(super) saving: Option<SavedAccessWriter>,
    /// The callers that they are compared with.
    pub(super) then: Option<SavedCallers>,
    /// The channel to whoever waits for what was written.
    pub(super) done: oneshot::Sender<AnswerWritten>,
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct AnswerWritten {
    /// How many callers were saved.
    pub(super) saved: usize,
    /// How many of these are not complete.
    pub(super) incomplete: usize,
    /// How many callers gained and lost, where access was compared.
    pub(super) counts: Option<ChangeCounts>,
    /// Why the file could not be written.
    pub(super) save_error: Option<io::Error>,
    /// Why the saved file can no longer be read.
    pub(super) since_error: Option<io::Error>,
}

impl AnswerOutput {
    /// Writes the answer, in a thread that may wait.
    pub(super) fn write(self, out: &mut dyn io::Write) -> io::Result<()> {
        let Self {
            format,
            head,
            mut entries,
            mut saving,
            then,
            done,
        } = self;
        // Where it failed before, there is nothing to print.
        let Ok(head) = head.blocking_recv() else {
            return Ok(());
        };
        if let Some(named) = &head.named {
            return access_naming::write(&head.head, format, named, out);
        }
        let mut written = AnswerWritten::default();
        if let (Some(writer), Some(header)) = (&mut saving, &head.saved) {
            written.save_error = writer.begin(header).err();
        }
        let only_saves = saving.is_some() && then.is_none();
        let tee = std::iter::from_fn(|| {
            let entry = entries.blocking_recv()?;
            if let (Some(writer), Ok(entry)) = (&mut saving, &entry) {
                written.incomplete += usize::from(!entry.access.complete);
                if let Err(error) = writer.caller(saved_caller(entry)) {
                    written.save_error.get_or_insert(error);
                }
                if written.save_error.is_some() {
                    return Some(Err(()));
                }
            }
            Some(entry)
        });
        let (mut counts, mut since_error) = (None, None);
        let printed = match (then, &head.changes) {
            (Some(then), Some(changes)) => {
                let mut comparison = SavedComparison::between(then, tee);
                let step = || match comparison.step() {
                    Ok(step) => {
                        if let ChangeStep::End(found) = &step {
                            counts = Some(*found);
                        }
                        step
                    }
                    Err(error) => {
                        since_error = Some(error);
                        ChangeStep::Cut
                    }
                };
                access_changes::write(changes, format, step, out)
            }
            _ if only_saves => {
                let mut tee = tee;
                let whole: Result<(), ()> = tee.try_for_each(|entry| entry.map(drop));
                whole.map_err(|()| io::Error::other("the command failed before all was saved"))
            }
            _ => {
                let mut tee = tee;
                let next = || Some(tee.next()?.map(|placed| placed.access));
                access::write(&head.head, format, next, out)
            }
        };
        (written.counts, written.since_error) = (counts, since_error);
        if let Some(writer) = saving.filter(|_| printed.is_ok()) {
            match writer.end() {
                Ok(callers) => written.saved = callers,
                Err(error) => written.save_error = Some(error),
            }
        }
        // Nobody waits for it after a signal.
        let _ = done.send(written);
        printed
    }
}

fn saved_caller(entry: &PlacedAccess) -> SavedCaller {
    SavedCaller {
        place: entry.place.clone(),
        caller: entry.access.who.clone(),
        servers: entry.access.servers.clone(),
        complete: entry.access.complete,
    }
}
