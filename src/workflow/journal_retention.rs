//! Deletes old journals after a repair, where `--journal-retention` asks for it.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::database::Database;
use crate::process::atomic_file::folder_of;
use crate::process::stderr::{note, warn};
use crate::repair::changeset::{ChangesetPurpose, Contents};
use crate::report::shown_text::count;
use crate::workflow::changeset_file::{ChangesetFile, SavedChangeset};

const SECONDS_A_DAY: i64 = 86_400;

/// How long the journals beside the one of this run are kept.
#[derive(Debug)]
pub(crate) struct JournalRetention {
    days: u32,
    folder: PathBuf,
}

impl JournalRetention {
    /// Returns the retention that `--journal-retention` asks for; `None` without it, or without a
    /// journal.
    pub(crate) fn read(days: Option<u32>, journal: Option<&ChangesetFile>) -> Option<Self> {
        Some(Self {
            days: days?,
            folder: folder_of(journal?.path()).to_owned(),
        })
    }

    /// Deletes the journals of `database` that are older than that.
    ///
    /// A failure here is only a warning: the repair is already committed.
    pub(crate) fn apply(&self, database: &Database) {
        let folder = self.folder.display();
        match self.delete_older(database, Timestamp::now().as_second()) {
            Ok(0) => {}
            Ok(deleted) => note(format_args!(
                "deleted {} older than {} from {folder}: their repairs cannot be undone any more",
                count(deleted, "journal"),
                count(self.days as usize, "day"),
            )),
            Err(error) => warn(format_args!(
                "cannot delete old journals in {folder}: {error}"
            )),
        }
    }

    fn delete_older(&self, database: &Database, now: i64) -> io::Result<usize> {
        let oldest_kept = now - i64::from(self.days) * SECONDS_A_DAY;
        let mut deleted = 0;
        for entry in self.folder.read_dir()? {
            let entry = entry?;
            // A link is left alone: its target is somewhere else.
            if !entry.file_type()?.is_file() || !entry.file_name().to_str().is_some_and(is_name) {
                continue;
            }
            let path = entry.path();
            if is_older(&path, database, oldest_kept) {
                std::fs::remove_file(path)?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

/// Returns whether a file is a whole journal of `database`, of a run that was committed, from
/// before a time. Any other file belongs to somebody else or is evidence of a run that failed, and
/// stays.
fn is_older(path: &Path, database: &Database, oldest_kept: i64) -> bool {
    let Ok(SavedChangeset { contents, .. }) = SavedChangeset::open(path) else {
        return false;
    };
    let Contents {
        header, committed, ..
    } = contents;
    let is_journal = match header.purpose {
        ChangesetPurpose::Fix | ChangesetPurpose::Undo => true,
        ChangesetPurpose::Plan => false,
    };
    let written = header.time.parse().map(Timestamp::as_second);
    is_journal
        && committed
        && header.database == database.identity()
        && written.is_ok_and(|written| written < oldest_kept)
}

/// Returns whether `fix` or `undo` gives such a name to a journal: COMMAND-TIME-RUN.ndjson.
pub(super) fn is_name(name: &str) -> bool {
    let Some(parts) = name.strip_suffix(".ndjson") else {
        return false;
    };
    let parts: Vec<&str> = parts.split('-').collect();
    let [command, time, run] = parts[..] else {
        return false;
    };
    let is_time = time.len() == 16
        && time.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    let is_run = run.len() == 8 && run.bytes().all(|byte| byte.is_ascii_hexdigit());
    ["fix", "undo"].contains(&command) && is_time && is_run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_this_program_gives() {
        for name in [
            "fix-20260102T030405Z-1a2b3c4d.ndjson",
            "undo-20260102T030405Z-00000000.ndjson",
        ] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "fix-20260102T030405Z-1a2b3c4d.ndjson.gz",
            "fix-20260102T030405Z.ndjson",
            "fix-20260102-1a2b3c4d.ndjson",
            "fix-2026010203040506-1a2b3c4d.ndjson",
            "scan-20260102T030405Z-1a2b3c4d.ndjson",
            "plan.ndjson",
            "fix-.ndjson",
            "",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
