//! Options of the commands that read journals and need no database.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueHint};

const JOURNALS: &str = "Journals";

/// The variable that names the folder of the journals.
pub(crate) const JOURNAL: &str = "MCP_PRUNE_JOURNAL";

/// Returns the folder that the variable names; `None` where it is not set. `--no-journal` sets the
/// variable aside, but the journals of earlier runs are in this folder all the same.
pub(crate) fn folder_of_variable() -> Option<PathBuf> {
    let folder = std::env::var_os(JOURNAL).filter(|folder: &OsString| !folder.is_empty());
    folder.map(PathBuf::from)
}

/// Where the journals are.
#[derive(Debug, Args)]
pub struct JournalFolderArgs {
    /// The folder of the journals, or a journal in it [default: $XDG_STATE_HOME/mcp-prune, else
    /// ~/.local/state/mcp-prune]
    #[arg(long, env = JOURNAL, hide_env_values = true, value_name = "DIR|FILE", value_hint = ValueHint::AnyPath,
          help_heading = JOURNALS)]
    pub journal: Option<PathBuf>,
}
