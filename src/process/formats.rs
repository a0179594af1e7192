//! The list of output formats.

use crate::cli::output::Format;
use crate::error::{ErrorKind, Failure};
use crate::report::csv::{Cells, CsvFormat};
use crate::report::json::JsonFormat;
use crate::report::list_format::ListFormat;
use crate::report::markdown::MarkdownFormat;
use crate::report::ndjson::NdjsonFormat;
use crate::report::render::ReportFormat;
use crate::report::sql_script::SqlFormat;
use crate::report::table::TableFormat;
use crate::report::text_table::DisplayOptions;

impl Format {
    /// Returns what writes reports in this format.
    pub(crate) fn writer(self) -> &'static dyn ReportFormat {
        match self {
            Self::Table => &TableFormat,
            Self::Json => &JsonFormat,
            Self::Ndjson => &NdjsonFormat,
            Self::Csv => &CsvFormat,
            Self::Markdown => &MarkdownFormat,
            Self::Sql => &SqlFormat,
        }
    }
}

/// Chooses the format of an answer that is a list: callers, or journals. `is_raw` leaves the cells
/// of CSV as they are, and `table` is how a table looks.
///
/// # Errors
///
/// If the format is one of repairs alone.
pub(crate) fn list_format(
    format: Format,
    is_raw: bool,
    table: DisplayOptions,
) -> Result<ListFormat, Failure> {
    Ok(match format {
        Format::Table => ListFormat::Table(table),
        Format::Json => ListFormat::Json,
        Format::Ndjson => ListFormat::Ndjson,
        Format::Csv if is_raw => ListFormat::Csv(Cells::Raw),
        Format::Csv => ListFormat::Csv(Cells::Guarded),
        Format::Markdown => ListFormat::Markdown,
        Format::Sql => {
            let message = "only fix --dry-run makes a script";
            return Err(Failure::new(ErrorKind::Usage, message));
        }
    })
}
