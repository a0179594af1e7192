//! A report in each of the formats.

use std::io::{self, Write};

use crate::report::csv::Cells;
use crate::report::summary::Tally;
use crate::report::text_table::DisplayOptions;

/// A report that can be written in every format.
pub(crate) trait Render {
    /// Counts what was found and done.
    fn tally(&self) -> Tally;

    /// Tells whether `--quiet` prints it; with `exit_zero`, held references alone are no reason to.
    fn matters(&self, exit_zero: bool) -> bool;

    /// Writes it for a person to read.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn table(&self, look: DisplayOptions, out: &mut dyn Write) -> io::Result<()>;

    /// Writes only how it ended, for a person who was shown the rest before.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn closing(&self, look: DisplayOptions, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it as one JSON object and a newline.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn json(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it as one JSON object a line, entry by entry.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn ndjson(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it as CSV, entry by entry; `cells` tells how to write formulas.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn csv(&self, cells: Cells, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it for a change ticket; `command` is the command line without a password.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn markdown(&self, command: &str, out: &mut dyn Write) -> io::Result<()>;
}
