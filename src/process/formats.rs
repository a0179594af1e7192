//! The list of output formats.

use crate::cli::output::Format;
use crate::report::csv::CsvFormat;
use crate::report::json::JsonFormat;
use crate::report::markdown::MarkdownFormat;
use crate::report::ndjson::NdjsonFormat;
use crate::report::render::ReportFormat;
use crate::report::sql_script::SqlFormat;
use crate::report::table::TableFormat;

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
