//! The format of an answer that is a list: of callers, or of journals.

use crate::report::csv::Cells;
use crate::report::text_table::DisplayOptions;

/// How to write a list.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ListFormat {
    /// For people.
    Table(DisplayOptions),
    /// One JSON object.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// A line for each item of the list, or several lines.
    Csv(Cells),
    /// For a change ticket.
    Markdown,
}
