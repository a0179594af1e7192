//! Writes the file that says how the last run went, for node_exporter's textfile collector.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;

use crate::error::reason;
use crate::process::atomic_file::AtomicFile;
use crate::process::stderr;
use crate::report::metrics::{self, Measured};
use crate::report::summary::Tally;

/// A file that is written however the run ends.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    path: PathBuf,
    command: &'static str,
    started: Instant,
}

impl MetricsFile {
    /// Opens the file for a run that starts now. If it cannot be written, this warns and returns
    /// `None`: a repair goes on without it.
    pub(crate) fn at(path: &Path, command: &'static str) -> Option<Self> {
        let file = Self {
            path: path.to_owned(),
            command,
            started: Instant::now(),
        };
        match AtomicFile::beside(path) {
            Ok(_) => Some(file),
            Err(error) => {
                file.warn(&error);
                None
            }
        }
    }

    /// Writes how the run ended. A failure here is only a warning: the run has ended already.
    pub(crate) fn write(&self, run: &str, exit_code: u8, succeeded: bool, tally: Option<&Tally>) {
        let ended = Timestamp::now().as_second();
        let last_success = if succeeded {
            Some(ended)
        } else {
            let before = std::fs::read_to_string(&self.path).unwrap_or_default();
            metrics::last_success(&before, self.command)
        };
        let text = metrics::write(&Measured {
            command: self.command,
            run,
            exit_code,
            duration: self.started.elapsed(),
            ended,
            last_success,
            tally,
        });
        let written = text
            .map_err(io::Error::other)
            .and_then(|text| self.replace(&text));
        if let Err(error) = written {
            self.warn(&error);
        }
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let new = AtomicFile::beside(&self.path)?;
        new.file().write_all(text.as_bytes())?;
        if new.is_new() {
            // The collector is another user, so everybody may read the file, whatever the umask.
            new.file().set_permissions(Permissions::from_mode(0o644))?;
        }
        new.replace()
    }

    fn warn(&self, error: &io::Error) {
        let (path, error) = (self.path.display(), reason(error));
        // The operator relies on the file, so not even -q holds this back.
        stderr::say(format_args!(
            "warning: cannot write --metrics-file {path}: {error}"
        ));
    }
}
