//! The list of output formats.

use crate::cli::output::Format;
use crate::error::{ErrorKind, Failure};
use crate::report::access::AccessFormat;
use crate::report::csv::{Cells, CsvFormat};
use crate::report::json::JsonFormat;
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
pub(crate) fn access_format(
    format: Format,
    is_raw: bool,
    table: DisplayOptions,
) -> Result<AccessFormat, Failure> {
    Ok(match format {
        Format::Table => AccessFormat::Table(table),
        Format::Json => AccessFormat::Json,
        Format::Ndjson => AccessFormat::Ndjson,
        Format::Csv if is_raw => AccessFormat::Csv(Cells::Raw),
        Format::Csv => AccessFormat::Csv(Cells::Guarded),
        Format::Markdown => AccessFormat::Markdown,
        Format::Sql => {
            let message = "only fix --dry-run makes a script";
            return Err(Failure::new(ErrorKind::Usage, message));
        }
    })
}
