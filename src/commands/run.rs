//! One run of a command: its name, and how it ends.

use std::io::{self, Write as _};

use crate::cli::{Command, Format};
use crate::exit::{self, Outcome};
use crate::failure::{Failure, Kind};

use super::metrics::MetricsFile;
use super::output::ReportTo;
use super::warn;
use crate::report::Tally;

/// One run of a command, by whose name its traces are known: in its reports, its journal, and the
/// server's log.
#[derive(Debug)]
pub struct Run {
    id: String,
    /// Where its report goes.
    pub(super) report: ReportTo,
    /// What it found and did, once that is known.
    pub(super) tally: Option<Tally>,
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// Names a run: eight random hexadecimal digits.
    #[must_use]
    pub fn new() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let random = RandomState::new().hash_one(()) & 0xffff_ffff;
        Self {
            id: format!("{random:08x}"),
            report: ReportTo::stdout(),
            tally: None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs `work` and sees to it that the operator learns how it ended; returns the exit code.
    pub fn of(
        mut self,
        command: &Command,
        work: impl FnOnce(&mut Self) -> Result<Outcome, Failure>,
    ) -> u8 {
        let metrics = command.output().and_then(|o| o.metrics_file.as_deref());
        let metrics = metrics.and_then(|path| MetricsFile::at(path, command.name()));
        let outcome = self.report(command, work).unwrap_or_else(|failure| {
            if failure.kind() != Kind::BrokenPipe {
                // Nobody is left to tell if stderr is gone.
                let _ = writeln!(io::stderr(), "error: {failure}");
            }
            Outcome::Failed(failure.kind())
        });
        let code = exit::code(outcome, command.exit_zero());
        if let Some(metrics) = metrics {
            metrics.write(&self.id, code, outcome.succeeded(), self.tally.as_ref());
        }
        code
    }

    /// Runs `work`, with the file that the report is to go to at hand before anything else is done.
    fn report(
        &mut self,
        command: &Command,
        work: impl FnOnce(&mut Self) -> Result<Outcome, Failure>,
    ) -> Result<Outcome, Failure> {
        if let Some(file) = command.file() {
            self.report = ReportTo::file(file)?;
        }
        let outcome = work(self);
        if let Err(failure) = &outcome
            && failure.kind() != Kind::BrokenPipe
            && command.output().is_some_and(|o| o.format == Format::Ndjson)
        {
            let code = exit::code(Outcome::Failed(failure.kind()), false);
            self.report.end_with_error(&self.id, failure, code);
        }
        match (self.report.place(), outcome) {
            (Ok(()), outcome) => outcome,
            (Err(failure), Ok(Outcome::Repaired { .. })) => {
                Err(failure.context("what was to be written to the database is, but"))
            }
            (Err(failure), Ok(_)) => Err(failure),
            (Err(second), Err(first)) => {
                warn(second.message());
                Err(first)
            }
        }
    }
}
