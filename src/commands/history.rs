//! `history`: lists the journals of a folder. It needs no database.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::journals::JournalFolderArgs;
use crate::cli::output::{FileArgs, Format, ListReportArgs, without_sql};
use crate::error::Failure;
use crate::exit_code::{self, Outcome};
use crate::process::command_args::{CommandArgs, NamedFile, Work};
use crate::process::invocation::Run;
use crate::process::signals::Interrupt;
use crate::report::journals::JournalList;
use crate::workflow::journal_folder::JournalFolder;

const HISTORY_HELP: &str = "\
Every journal and plan of the folder is listed, the newest first. A file that is damaged or cut \
short is listed too, and the report says what is wrong with it. A run counts as undone by the \
journals in this folder alone.

Examples:
  mcp-prune history
  mcp-prune history --journal /var/lib/mcp-prune --format csv
  mcp-prune show 1a2b3c4d   (what a run changed)
  mcp-prune undo 1a2b3c4d   (take it back)";

/// Options of `history`.
#[derive(Debug, Args)]
#[command(after_help = exit_code::help("history", HISTORY_HELP), mut_arg("format", without_sql))]
pub struct HistoryArgs {
    /// Where the journals are.
    #[command(flatten)]
    pub folder: JournalFolderArgs,
    /// How to print them.
    #[command(flatten)]
    pub report: ListReportArgs,
}

impl CommandArgs for HistoryArgs {
    fn name(&self) -> &'static str {
        "history"
    }

    fn run<'a>(&'a self, this: &'a mut Run) -> Work<'a> {
        Box::pin(run(self, this))
    }

    fn answer_file(&self) -> Option<&FileArgs> {
        Some(&self.report.file)
    }

    fn format(&self) -> Option<Format> {
        Some(self.report.format)
    }

    fn own_files(&self) -> Vec<NamedFile<'_>> {
        self.folder.own_files()
    }
}

impl JournalFolderArgs {
    /// Lists the journal that `--journal` names, which no report may replace.
    pub(super) fn own_files(&self) -> Vec<NamedFile<'_>> {
        let journal = self.journal.iter().map(PathBuf::as_path);
        journal.map(|path| ("--journal", path)).collect()
    }
}

/// Runs `history`.
///
/// # Errors
///
/// Why the folder could not be read or the report not be written.
async fn run(args: &HistoryArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let folder = JournalFolder::of(args.folder.journal.as_deref())?;
    let list = JournalList {
        folder: folder.path().display().to_string(),
        journals: folder.journals()?,
    };
    let format = args.report.list_format(run)?;
    let write = move |out: &mut dyn Write| list.write(format, out);
    run.report.write(&mut interrupt, write).await?;
    Ok(Outcome::Looked { found: false })
}
