//! The list of output formats.

use std::io;

use crate::cli::output::{Format, ListReportArgs};
use crate::error::{ErrorKind, Failure};
use crate::process::invocation::Run;
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

impl ListReportArgs {
    /// Chooses the format of a report that is a list.
    ///
    /// # Errors
    ///
    /// If the format is one of repairs alone.
    pub(crate) fn list_format(&self, run: &Run) -> Result<ListFormat, Failure> {
        Ok(match self.format {
            Format::Table => ListFormat::Table(DisplayOptions {
                limit: Some(self.limit).filter(|limit| *limit > 0),
                ..self.file.look(run, &io::stdout())
            }),
            Format::Json => ListFormat::Json,
            Format::Ndjson => ListFormat::Ndjson,
            Format::Csv if self.csv_raw => ListFormat::Csv(Cells::Raw),
            Format::Csv => ListFormat::Csv(Cells::Guarded),
            Format::Markdown => ListFormat::Markdown,
            Format::Sql => {
                let message = "only fix --dry-run makes a script";
                return Err(Failure::new(ErrorKind::Usage, message));
            }
        })
    }
}
