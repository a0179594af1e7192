//! Options of the commands that read journals and need no database.

use std::path::PathBuf;

use clap::{Args, ValueHint};

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
