//! `show`: prints what a journal or a plan holds. It needs no database.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::cli::journals::JournalFolderArgs;
use crate::cli::output::{FileArgs, Format, ListReportArgs, without_sql};
use crate::error::Failure;
use crate::exit_code::{self, Outcome};
use crate::process::command_args::{CommandArgs, NamedFile, Work};
use crate::process::invocation::Run;
use crate::process::signals::Interrupt;
use crate::repair::changeset::ChangesetPurpose;
use crate::report::journals::JournalContents;
use crate::workflow::changeset_file::SavedChangeset;
use crate::workflow::journal_folder::NamedJournal;

const SHOW_HELP: &str = "\
RUN is the name of a run, or its first digits: 4 to 8 hexadecimal digits, which history lists. It \
is looked for in the folder of --journal. To name a file with such a name, write ./ before it.

Of credentials only the number of rows is printed, never a secret. Owners are those who owned a \
row when it was changed.

Examples:
  mcp-prune show 1a2b3c4d
  mcp-prune show 1a2b3c4d --format csv
  mcp-prune show fix-20260102T030405Z-1a2b3c4d.ndjson";

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = exit_code::help("show", SHOW_HELP), mut_arg("format", without_sql))]
pub struct ShowArgs {
    /// The journal or the plan to print, or the name of its run
    #[arg(value_name = "JOURNAL|RUN")]
    pub from: PathBuf,
    /// Where the journals are.
    #[command(flatten)]
    pub folder: JournalFolderArgs,
    /// How to print it.
    #[command(flatten)]
    pub report: ListReportArgs,
}

impl CommandArgs for ShowArgs {
    fn name(&self) -> &'static str {
        "show"
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
        // A journal that is named twice is only read.
        if NamedJournal::read(&self.from).file().is_some() {
            vec![("JOURNAL", self.from.as_path())]
        } else {
            self.folder.own_files()
        }
    }
}

/// Runs `show`.
///
/// # Errors
///
/// Why the file could not be found or read, or the report not be written.
async fn run(args: &ShowArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let any = [
        ChangesetPurpose::Plan,
        ChangesetPurpose::Fix,
        ChangesetPurpose::Undo,
    ];
    let mut interrupt = Interrupt::listen()?;
    let path = NamedJournal::read(&args.from).find(args.folder.journal.as_deref(), &any)?;
    let saved = SavedChangeset::open(&path)?;
    let journal = saved.listed();
    let mut changes = saved.changes()?;
    let next = move || {
        let change = changes.next().transpose();
        change.map_err(|failure| io::Error::other(failure.message()))
    };
    let contents = JournalContents { journal, next };
    let format = args.report.list_format(run)?;
    let write = move |out: &mut dyn Write| contents.write(format, out);
    run.report.write(&mut interrupt, write).await?;
    Ok(Outcome::Looked { found: false })
}
