//! Options that say how to answer, and where.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, Args, ValueEnum};

use crate::cli::numbers::whole_number;

pub(crate) const OUTPUT: &str = "Output";

/// How to print an answer that is no report.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// How to print the answer
    #[arg(long, value_enum, default_value_t, help_heading = OUTPUT)]
    pub format: AnswerFormat,
    /// Where it goes.
    #[command(flatten)]
    pub file: FileArgs,
}

/// How to print an answer that is no report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// For people
    #[default]
    Table,
    /// One JSON object, "version": 1
    Json,
}

/// How to answer.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that may be given or not"
)]
pub struct OutputArgs {
    /// How to print the report
    #[arg(long, value_enum, default_value_t, help_heading = OUTPUT)]
    pub format: Format,
    /// With --format csv: write every cell as it is, for programs
    ///
    /// Without this option, cells are safe for a spreadsheet: one that begins with =, +, - or @
    /// gets an apostrophe before it, so that it is not run as a formula, and control characters are
    /// escaped.
    #[arg(long, help_heading = OUTPUT)]
    pub csv_raw: bool,
    /// Where it goes.
    #[command(flatten)]
    pub file: FileArgs,
    /// Show at most N rows of each table; 0 shows all. Other formats always show all
    #[arg(long, value_name = "N", default_value = "200", value_parser = whole_number,
          help_heading = OUTPUT)]
    pub limit: usize,
    /// Also show row ids and column names in a table, and fold nothing
    ///
    /// Without this option, a table of more than 100 lines is folded: the rows of one server about
    /// which fix does the same become one line.
    #[arg(long, help_heading = OUTPUT)]
    pub wide: bool,
    /// List each row that names an unverified or inactive server, instead of one line a server
    #[arg(long, help_heading = OUTPUT)]
    pub all_references: bool,
    /// Print about ten lines: counts, what fix does, and the next command
    #[arg(long, help_heading = OUTPUT)]
    pub summary: bool,
    /// Print nothing unless something was found (scan), changed (fix, undo), held, or failed
    ///
    /// With --exit-zero, held references are not printed either. If the exit code is not 0, the
    /// last line on stderr says why. The file of --output is written in any case.
    #[arg(long, short, help_heading = OUTPUT)]
    pub quiet: bool,
    /// Write how the run went to this file, even if it fails, for node_exporter's textfile
    /// collector
    ///
    /// Use one file for each command, FILE.prom in the collector's folder: each run replaces the
    /// whole file. Only the time when the same command last succeeded is kept from the old file.
    #[arg(long, env = "MCP_PRUNE_METRICS_FILE", hide_env_values = true, value_name = "FILE",
          value_hint = clap::ValueHint::FilePath, help_heading = OUTPUT)]
    pub metrics_file: Option<PathBuf>,
}

/// How to print a report that is a list: callers, or journals.
#[derive(Debug, Args)]
pub struct ListReportArgs {
    /// How to print the report
    #[arg(long, value_enum, default_value_t, help_heading = OUTPUT)]
    pub format: Format,
    /// With --format csv: write every cell as it is, for programs
    #[arg(long, help_heading = OUTPUT)]
    pub csv_raw: bool,
    /// Show at most N rows of each table; 0 shows all. Other formats always show all
    #[arg(long, value_name = "N", default_value = "200", value_parser = whole_number,
          help_heading = OUTPUT)]
    pub limit: usize,
    /// Where it goes.
    #[command(flatten)]
    pub file: FileArgs,
}

/// Where a report goes.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Write the report to this file; - is stdout
    ///
    /// The file is replaced once the report is complete. If the run fails before that, the old file
    /// stays. Only a report as NDJSON replaces it even then, and its last line is the error.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub output: Option<PathBuf>,
    /// When to colour tables; auto does on a terminal, unless NO_COLOR is set or TERM is dumb
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", help_heading = OUTPUT)]
    pub color: Color,
}

/// When to colour tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Everywhere, in files and pipes too
    Always,
    /// Nowhere
    Never,
}

/// Removes `sql` from the formats that an argument takes, because only `fix` has it.
pub(crate) fn without_sql(format: Arg) -> Arg {
    let formats = Format::value_variants().iter();
    let formats = formats.filter(|format| **format != Format::Sql);
    let names = formats.filter_map(ValueEnum::to_possible_value);
    format.value_parser(
        PossibleValuesParser::new(names).try_map(|name| Format::from_str(&name, false)),
    )
}

/// How to print the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON object, "version": 1
    Json,
    /// One JSON object per line: a header, each entry, a summary; after a failure the error comes
    /// last
    Ndjson,
    /// One line for each finding, change or held reference, after a header (RFC 4180)
    Csv,
    /// For a change ticket
    Markdown,
    /// With fix --dry-run: a script for psql that does the same, for a DBA to read and run
    Sql,
}
