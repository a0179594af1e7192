//! What every report can do, and what every format can do with it.
//!
//! A new format has a file of its own, with its [`ReportFormat`]. It is then listed in
//! `cli/output.rs` and `process/formats.rs`.

use std::io::{self, Write};

use crate::error::Failure;
use crate::report::collected_plans::CollectedPlans;
use crate::report::csv::Cells;
use crate::report::summary::Tally;
use crate::report::text_table::DisplayOptions;
use crate::report::{Report, UndoReport};

/// A report that can be written in every format.
pub(crate) trait Render {
    /// Counts what was found and done.
    fn tally(&self) -> Tally;

    /// Tells whether `--quiet` prints it; with `exit_zero`, held references alone are no reason to.
    fn matters(&self, exit_zero: bool) -> bool;

    /// Returns the report, as the formats tell reports apart.
    fn as_any(&self) -> AnyReport<'_>;
}

/// One of the two kinds of reports.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AnyReport<'a> {
    /// Of `scan` and `fix`.
    Repair(&'a Report),
    /// Of `undo`.
    Undo(&'a UndoReport),
}

/// The options for how a report is written. Each format takes those that concern it.
#[derive(Debug, Clone)]
pub(crate) struct RenderOptions {
    /// How tables look.
    pub look: DisplayOptions,
    /// How CSV cells are written.
    pub cells: Cells,
    /// The command line without a password, for a change ticket.
    pub command: String,
}

/// A format that reports are written in. Every default is that of a format for programs, which is
/// written once the whole report is known.
pub(crate) trait ReportFormat: Sync {
    /// Writes a report.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn write(
        &self,
        report: AnyReport<'_>,
        options: &RenderOptions,
        out: &mut dyn Write,
    ) -> io::Result<()>;

    /// Writes how a run ended after its plan was shown on the terminal. A program was not shown
    /// the plan, so it gets the whole report.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn write_ending(
        &self,
        report: AnyReport<'_>,
        options: &RenderOptions,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.write(report, options, out)
    }

    /// Writes why a run failed, if a report in this format can end with that. Returns whether it
    /// can.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn write_error(
        &self,
        _run: &str,
        _failure: &Failure,
        _code: u8,
        _out: &mut dyn Write,
    ) -> io::Result<bool> {
        Ok(false)
    }

    /// Makes an empty collection of what this format needs of each row.
    fn collection(&self) -> CollectedPlans {
        CollectedPlans::put_aside()
    }

    /// Tells whether a person reads it, who wants to know what was looked at if nothing was found.
    fn is_for_people(&self) -> bool {
        false
    }
}
