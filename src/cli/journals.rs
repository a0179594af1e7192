//! Options of the commands that read journals and need no database.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::output::{FileArgs, Format, OUTPUT};

const JOURNALS: &str = "Journals";

/// Where the journals are.
#[derive(Debug, Args)]
pub struct JournalFolderArgs {
    /// The folder of the journals, or a journal in it [default: $XDG_STATE_HOME/mcp-prune, else
    /// ~/.local/state/mcp-prune]
    #[arg(long, value_name = "DIR|FILE", value_hint = ValueHint::AnyPath,
          help_heading = JOURNALS)]
    pub journal: Option<PathBuf>,
}

/// How to print what journals hold.
#[derive(Debug, Args)]
pub struct JournalReportArgs {
    /// How to print the report
    #[arg(long, value_enum, default_value_t, help_heading = OUTPUT)]
    pub format: Format,
    /// With --format csv: write every cell as it is, for programs
    #[arg(long, help_heading = OUTPUT)]
    pub csv_raw: bool,
    /// Show at most N rows of each table; 0 shows all. Other formats always show all
    #[arg(long, value_name = "N", default_value = "200", help_heading = OUTPUT)]
    pub limit: usize,
    /// Where it goes.
    #[command(flatten)]
    pub file: FileArgs,
}
