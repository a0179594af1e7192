//! One run of a command: its name, and how it ends.

use crate::cli::{Command, Format};
use crate::exit::{self, Outcome};
use crate::failure::{Failure, Kind};

use super::output::ReportTo;
use super::warn;

/// One run of a command, by whose name its traces are known: in its reports, its journal, and the
/// server's log.
#[derive(Debug)]
pub struct Run {
    id: String,
    /// Where its report goes.
    pub(super) report: ReportTo,
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
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs `work`, with the file that the report is to go to at hand before anything else is done.
    ///
    /// # Errors
    ///
    /// Why the command failed, or its report could not be put in its place.
    pub fn of(
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
