//! One run of a command: its name, and how it ends.

use std::path::{Path, PathBuf};

use super::atomic_file::name_of;
use super::config::config_paths;
use super::metrics::MetricsFile;
use super::output::ReportTo;
use super::{console, indented, warn};
use crate::cli::{Command, ConnectionArgs, OutputArgs};
use crate::exit::{self, Outcome};
use crate::failure::{self, Failure};
use crate::litellm::finding::Kind;
use crate::report::command_line::CommandLine;
use crate::report::{Tally, count};

/// One run of a command, by whose name its traces are known: in its reports, its journal, and the
/// server's log.
#[derive(Debug)]
pub struct Run {
    id: String,
    /// Where its report goes.
    pub(super) report: ReportTo,
    /// Whether findings and held references count as success.
    pub(super) exit_zero: bool,
    /// What it found and did, once that is known.
    pub(super) tally: Option<Tally>,
    /// What it has written to the database, once that cannot be lost any more.
    pub(super) committed: Option<Committed>,
}

/// What a run has written, and how to take it back: told even where the report is not.
#[derive(Debug)]
pub(super) struct Committed {
    /// "the repair" or "the undo".
    pub(super) what: &'static str,
    /// The file with the old values, and the command that puts them back; `None` without a journal.
    pub(super) journal: Option<(PathBuf, CommandLine)>,
}

impl Committed {
    /// Says where the old values are.
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
    /// Names a run: eight random hexadecimal digits.
    #[must_use]
    pub fn new() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let random = RandomState::new().hash_one(()) & 0xffff_ffff;
        Self {
            id: format!("{random:08x}"),
            report: ReportTo::stdout(),
            exit_zero: false,
            tally: None,
            committed: None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs `work` and sees to it that the operator learns how it ended; returns the exit code.
    ///
    /// A command line that breaks one of the `rules` between options is told, and no file is touched:
    /// not even the name of one may be what it should.
    pub fn of(
        mut self,
        command: &Command,
        rules: Result<(), Failure>,
        work: impl FnOnce(&mut Self) -> Result<Outcome, Failure>,
    ) -> u8 {
        let output = command.output();
        let quiet = output.is_some_and(|output| output.quiet);
        if quiet {
            console::hold_back();
        }
        self.exit_zero = command.exit_zero();
        let meant = rules.and_then(|()| one_file_each(command));
        let metrics = output.and_then(OutputArgs::metrics_file);
        let metrics = metrics
            .filter(|_| meant.is_ok())
            .and_then(|path| MetricsFile::at(path, command.name()));
        let outcome = meant.and_then(|()| self.report(command, work));
        let outcome = outcome.unwrap_or_else(|failure| {
            if failure.kind() != failure::Kind::BrokenPipe {
                console::say(format_args!("error: {failure}"));
            }
            Outcome::Failed(failure.kind())
        });
        let code = exit::code(outcome, self.exit_zero);
        if let Some(metrics) = metrics {
            metrics.write(&self.id, code, outcome.succeeded(), self.tally.as_ref());
        }
        // Elsewhere the report on stdout, or the error, is the last word and says it.
        let unseen = command.file().is_some() && outcome.succeeded();
        if code != 0 && (quiet || (unseen && output.is_some())) {
            let (command, why) = (command.name(), self.why(outcome));
            console::say(format_args!(
                "mcp-prune {command}: exit {code}: {why} (run {})",
                self.id
            ));
        }
        code
    }

    /// Why the exit code is not 0, in short.
    fn why(&self, outcome: Outcome) -> String {
        let tally = self.tally.clone().unwrap_or_default();
        match outcome {
            Outcome::Looked { .. } => {
                let kinds = [Kind::Stale, Kind::Unverified, Kind::DanglingToolset];
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

    /// Adds to a failure that the work was committed before it, and how to take that back.
    fn after_commit(&self, failure: Failure) -> Failure {
        match &self.committed {
            None => failure,
            Some(committed) => failure
                .context(format!("{} was committed, but", committed.what))
                .hint(committed.old_values()),
        }
    }

    /// The outcome of work that is done, whatever became of its report: what was written stands even
    /// if nobody reads of it.
    pub(super) fn stands(
        &self,
        outcome: Outcome,
        printed: Result<(), Failure>,
    ) -> Result<Outcome, Failure> {
        match (printed, &self.committed) {
            (Ok(()), _) => Ok(outcome),
            (Err(failure), Some(committed)) if failure.kind() == failure::Kind::BrokenPipe => {
                console::say(format_args!(
                    "warning: {} was committed, but nobody read the report; {}",
                    committed.what,
                    committed.old_values()
                ));
                Ok(outcome)
            }
            (Err(failure), None) if failure.kind() == failure::Kind::BrokenPipe => Ok(outcome),
            (Err(failure), Some(_)) => Err(failure),
            (Err(failure), None) => Err(failure.context("nothing was written, and")),
        }
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
        let outcome = work(self).map_err(|failure| self.after_commit(failure));
        if let Err(failure) = &outcome
            && failure.kind() != failure::Kind::BrokenPipe
            && command.streams()
        {
            let code = exit::code(Outcome::Failed(failure.kind()), false);
            self.report.end_with_error(&self.id, failure, code);
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

/// Refuses two options with one file, unless both only read it: what is written last would take the place
/// of the other, and that may be the old values, a backup or the proxy's config.
fn one_file_each(command: &Command) -> Result<(), Failure> {
    let mut names: Vec<(&str, PathBuf)> = Vec::new();
    let same = |names: &[(&str, PathBuf)], option: &str, path: &Path| {
        let name = name_of(path);
        let (other, _) = names.iter().find(|(_, taken)| *taken == name)?;
        let message = format!("{other} and {option} are the same file, {}", path.display());
        let hint = "nothing was done; give each a file of its own";
        Some(Failure::new(failure::Kind::Usage, message).hint(hint))
    };
    for (option, path) in command.files() {
        if let Some(failure) = same(&names, option, path) {
            return Err(failure);
        }
        names.push((option, name_of(path)));
    }
    let files = command.files_read().into_iter();
    let files = files.map(|(option, path)| (option.to_owned(), path.to_owned()));
    let configs = command.litellm_configs().map(config_paths);
    let configs = configs.into_iter().flatten();
    let configs = configs.map(|(source, path)| (source.to_string(), path));
    let script = command.connection().and_then(ConnectionArgs::script);
    let script = script.map(|(source, path)| (source.to_owned(), path));
    let mut read = files.chain(configs).chain(script);
    read.find_map(|(option, path)| same(&names, &option, &path))
        .map_or(Ok(()), Err)
}
