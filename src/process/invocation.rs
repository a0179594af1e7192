//! One run of a command: its id, and how it ends.

use std::path::PathBuf;

use crate::command_line::CommandLine;
use crate::error::{self, Failure};
use crate::exit_code::{self, Outcome};
use crate::litellm::finding::FindingKind;
use crate::process::command_args::CommandArgs;
use crate::process::log;
use crate::process::metrics_file::MetricsFile;
use crate::process::report_sink::ReportTo;
use crate::process::stderr::{self, indented, warn};
use crate::report::shown_text::count;
use crate::report::summary::Tally;

/// One run of a command. Its id marks its reports, its journal and its lines in the server's log.
#[derive(Debug)]
pub(crate) struct Run {
    id: String,
    /// Where its report goes.
    pub(crate) report: ReportTo,
    /// Whether findings and held references count as success.
    pub(crate) exit_zero: bool,
    /// What it found and did, once that is known.
    pub(crate) tally: Option<Tally>,
    /// What it has written to the database, once that is committed.
    pub(crate) committed: Option<Committed>,
}

/// What a run has written, and how to take it back. This is told even if the report is not printed.
#[derive(Debug)]
pub(crate) struct Committed {
    /// "the repair" or "the undo".
    pub(crate) what: &'static str,
    /// The file with the old values, and the command that puts them back; `None` without a journal.
    pub(crate) journal: Option<(PathBuf, CommandLine)>,
}

impl Committed {
    /// Returns where the old values are, and the command that puts them back.
    fn old_values(&self) -> String {
        match &self.journal {
            None => "no old values were kept (--no-journal)".to_owned(),
            Some((path, take_back)) => format!(
                "the old values are in {}. To take it back:\n{}",
                path.display(),
                indented(take_back)
            ),
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// Begins a run, with eight random hexadecimal digits as its id.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            id: format!("{:08x}", fastrand::u32(..)),
            report: ReportTo::stdout(),
            exit_zero: false,
            tally: None,
            committed: None,
        }
    }

    /// Returns the id of the run.
    #[must_use]
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Runs `work`, tells the operator how it ended, and returns the exit code.
    ///
    /// A command line that breaks one of the `rules` between options is refused before any file is
    /// touched: the option that names a file may be the wrong one.
    pub(crate) fn of(
        mut self,
        command: &dyn CommandArgs,
        rules: Result<(), Failure>,
        work: impl FnOnce(&mut Self) -> Result<Outcome, Failure>,
    ) -> u8 {
        let output = command.output();
        let quiet = output.is_some_and(|output| output.quiet);
        if quiet {
            stderr::hold_back();
        }
        self.exit_zero = command.exit_zero();
        let verbosity = || match command.connection() {
            Some(connection) => connection.log.verbosity().map(log::begin),
            None => Ok(()),
        };
        let meant = rules.and_then(|()| verbosity());
        let metrics = output.and_then(|output| output.metrics_file.as_deref());
        let metrics = metrics
            .filter(|_| meant.is_ok())
            .and_then(|path| MetricsFile::at(path, command.name()));
        let outcome = meant.and_then(|()| self.report(command, work));
        let outcome = outcome.unwrap_or_else(|failure| {
            if failure.kind() != error::ErrorKind::BrokenPipe {
                stderr::say(format_args!("error: {failure}"));
            }
            Outcome::Failed(failure.kind())
        });
        let counted = if self.exit_zero {
            outcome.with_exit_zero()
        } else {
            outcome
        };
        let code = exit_code::code(counted);
        debug_assert!(
            exit_code::is_listed(command.name(), code),
            "the help of {} does not list exit code {code}",
            command.name()
        );
        log::end(code);
        if let Some(metrics) = metrics {
            metrics.write(&self.id, code, outcome.succeeded(), self.tally.as_ref());
        }
        // Otherwise the report on stdout, or the error, is the last line and says it.
        let unseen = command.file().is_some() && outcome.succeeded();
        if code != 0 && (quiet || (unseen && output.is_some())) {
            let (command, why) = (command.name(), self.why(outcome));
            stderr::say(format_args!(
                "mcp-prune {command}: exit {code}: {why} (run {})",
                self.id
            ));
        }
        code
    }

    /// Returns in short why the exit code is not 0.
    fn why(&self, outcome: Outcome) -> String {
        let tally = self.tally.clone().unwrap_or_default();
        match outcome {
            Outcome::Looked { .. } => {
                let kinds = [
                    FindingKind::Stale,
                    FindingKind::Unverified,
                    FindingKind::DanglingToolset,
                ];
                let counts = kinds.map(|kind| (tally.of_kind(kind), kind.name()));
                let counts = counts.iter().filter(|(count, _)| *count > 0);
                let counts: Vec<String> = counts.map(|(n, kind)| format!("{n} {kind}")).collect();
                format!("found {}", counts.join(", "))
            }
            Outcome::Repaired { .. } => {
                let held = tally.references_held.unwrap_or(0);
                format!("{} held", count(held, "reference"))
            }
            Outcome::Failed(kind) => match &self.committed {
                None => kind.to_string(),
                Some(committed) => format!("{} was committed, but {kind}", committed.what),
            },
        }
    }

    /// Adds to a failure that the work was committed before, and how to take that back.
    fn after_commit(&self, failure: Failure) -> Failure {
        match &self.committed {
            None => failure,
            Some(committed) => failure
                .context(format!("{} was committed, but", committed.what))
                .hint(committed.old_values()),
        }
    }

    /// Returns the outcome of work that is done, whether or not its report could be printed: what
    /// was committed stays committed.
    pub(crate) fn stands(
        &self,
        outcome: Outcome,
        printed: Result<(), Failure>,
    ) -> Result<Outcome, Failure> {
        match (printed, &self.committed) {
            (Ok(()), _) => Ok(outcome),
            (Err(failure), Some(committed)) if failure.kind() == error::ErrorKind::BrokenPipe => {
                stderr::say(format_args!(
                    "warning: {} was committed, but nobody read the report; {}",
                    committed.what,
                    committed.old_values()
                ));
                Ok(outcome)
            }
            (Err(failure), None) if failure.kind() == error::ErrorKind::BrokenPipe => Ok(outcome),
            (Err(failure), Some(_)) => Err(failure),
            (Err(failure), None) => Err(failure.context("nothing was written, and")),
        }
    }

    /// Returns the outcome of a command that only reads. It stands, also if nobody reads the report
    /// to its end.
    pub(crate) fn looked(
        outcome: Outcome,
        printed: Result<(), Failure>,
    ) -> Result<Outcome, Failure> {
        match printed {
            Err(failure) if failure.kind() != error::ErrorKind::BrokenPipe => Err(failure),
            Ok(()) | Err(_) => Ok(outcome),
        }
    }

    /// Runs `work`, after opening the file that the report goes to.
    fn report(
        &mut self,
        command: &dyn CommandArgs,
        work: impl FnOnce(&mut Self) -> Result<Outcome, Failure>,
    ) -> Result<Outcome, Failure> {
        if let Some(file) = command.file() {
            self.report = ReportTo::file(file)?;
        }
        let outcome = work(self).map_err(|failure| self.after_commit(failure));
        if let Err(failure) = &outcome
            && failure.kind() != error::ErrorKind::BrokenPipe
            && let Some(format) = command.format()
        {
            let code = exit_code::code(Outcome::Failed(failure.kind()));
            self.report
                .end_with_error(format.writer(), &self.id, failure, code);
        }
        match (self.report.place(), outcome) {
            (Ok(()), outcome) => outcome,
            (Err(failure), Ok(_)) => Err(self.after_commit(failure)),
            (Err(second), Err(first)) => {
                warn(second.message());
                Err(first)
            }
        }
    }
}
