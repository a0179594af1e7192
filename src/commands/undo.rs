//! `undo`: puts back what a journal says was taken away, where the row is still as written.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::connection::ConnectionArgs;
use crate::cli::output::OutputArgs;
use crate::cli::repair::{REPAIR, WriteArgs};
use crate::command_line::CommandLine;
use crate::database::Database;
use crate::db::session::SchemaTransaction;
use crate::db::{credential_rows, log_exposure, rows};
use crate::error::{ErrorKind, Failure};
use crate::exit_code::Outcome;
use crate::litellm::reference_sites::{Choice, SiteTable, TABLES};
use crate::litellm::row::Row;
use crate::process::command_args::{CommandArgs, NamedFile, Work};
use crate::process::invocation::Run;
use crate::process::stderr::warn;
use crate::repair::changeset::{self, Change};
use crate::repair::conflict;
use crate::report::{Ending, FollowUp, UndoFacts, UndoReport};
use crate::workflow::CHUNK;
use crate::workflow::apply_changes::{
    begin_verification, end_verification, lock_tables, moved, write_rows,
};
use crate::workflow::cache_invalidation::ChangedRows;
use crate::workflow::changeset_file::{ChangesetFile, SavedChangeset};
use crate::workflow::repeat_options::undo;
use crate::workflow::same_database::refuse_another;
use crate::workflow::write_run::{Attempt, Prepared, WriteFacts, WriteJob, WriteOptions};

const UNDO_HELP: &str = "\
A row is put back if it still holds what the repair wrote. If it is as before the repair already, \
it counts as back. If it holds anything else, nothing at all is written (exit code 5); \
--skip-changed leaves such rows as they are, and puts back the others.

Examples:
  mcp-prune undo --dry-run fix-20260102T030405Z-1a2b3c4d.ndjson
  mcp-prune undo --yes fix-20260102T030405Z-1a2b3c4d.ndjson

An undo writes a journal too: to repair again, undo that journal.";

/// Options of `undo`.
#[derive(Debug, Args)]
#[command(after_help = UNDO_HELP)]
pub struct UndoArgs {
    /// The journal of the fix or undo to take back
    #[arg(value_name = "JOURNAL")]
    pub from: PathBuf,
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Whether to write, and what to keep of it.
    #[command(flatten)]
    pub write: WriteArgs,
    /// Leave rows that were changed since then as they are, and put back the others
    #[arg(long, help_heading = REPAIR)]
    pub skip_changed: bool,
    /// Accept a journal of another database, such as a copy, or of this one under another name
    #[arg(long, help_heading = REPAIR)]
    pub other_database: bool,
    /// How to answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl CommandArgs for UndoArgs {
    fn name(&self) -> &'static str {
        "undo"
    }

    fn run<'a>(&'a self, this: &'a mut Run) -> Work<'a> {
        Box::pin(run(self, this))
    }

    fn output(&self) -> Option<&OutputArgs> {
        Some(&self.output)
    }

    fn connection(&self) -> Option<&ConnectionArgs> {
        Some(&self.connection)
    }

    fn own_files(&self) -> Vec<NamedFile<'_>> {
        let journal = self.write.journal.journal.as_deref();
        let mut files = Vec::new();
        files.extend(journal.map(|file| ("--journal", file)));
        files.push(("JOURNAL", self.from.as_path()));
        files
    }
}

/// Runs `undo`.
///
/// # Errors
///
/// Fails where nothing was written, and says why.
pub(crate) async fn run(args: &UndoArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let options = WriteOptions::check("undo", &args.write, &args.output)?;
    let saved = SavedChangeset::open(&args.from)?;
    saved.check_purpose(
        &[
            changeset::ChangesetPurpose::Fix,
            changeset::ChangesetPurpose::Undo,
        ],
        "undo takes the journal that fix or undo has kept; a plan is for fix --plan",
    )?;
    let out = ChangesetFile::of_run(&args.write, "undo", run)?;
    let undo = Undo { args, saved };
    options.carry_out(&undo, &args.connection, out, run).await
}

/// An undo: it puts back what a journal says was taken away.
struct Undo<'a> {
    args: &'a UndoArgs,
    saved: SavedChangeset,
}

impl WriteJob for Undo<'_> {
    type Facts = UndoFacts;

    const STAGE: &'static str = "writing and verifying rows";
    const QUESTION: &'static str = "Put back";
    const DONE: &'static str = "the undo";

    fn places(&self) -> Choice {
        self.saved.contents.places()
    }

    fn check_database(&self, database: &Database) -> Result<(), Failure> {
        if self.args.other_database {
            return Ok(());
        }
        let made = &self.saved.contents.header;
        refuse_another(made.purpose, &made.database, database)
    }

    fn after_dry_run(&self, _: Option<&Path>) -> FollowUp {
        FollowUp {
            carry_out: self.args.follow_up(),
            dry_run: None,
        }
    }

    fn after_moved(&self) -> Option<CommandLine> {
        Some(self.args.skipping())
    }

    fn take_back(&self, journal: &Path) -> CommandLine {
        self.args.take_back(journal)
    }

    fn moved(&self, undone: &UndoFacts) -> Failure {
        moved(
            undone.conflicts.len(),
            "the report tells which; look into who changed them, or say --skip-changed",
        )
    }

    fn outcome(&self, undone: &UndoReport) -> Outcome {
        match undone.ending() {
            Ending::Applied { .. } | Ending::NothingToDo => Outcome::Repaired { held: false },
            // An undo does not look for stale references, so it reports none.
            Ending::Scanned { .. }
            | Ending::DryRun { .. }
            | Ending::Proposed
            | Ending::Declined
            | Ending::Moved { .. } => Outcome::Looked { found: false },
        }
    }

    async fn prepare<'a>(
        &self,
        open: &mut SchemaTransaction<'_>,
        attempt: Attempt<'a>,
    ) -> Result<Prepared<'a, UndoFacts>, Failure> {
        let Attempt {
            run,
            database,
            patience,
            out,
            progress,
            keeps: _,
            tells: _,
        } = attempt;
        let header = run.header(changeset::ChangesetPurpose::Undo, database);
        let mut draft = out.map(|out| out.begin(header)).transpose()?;
        let mut undone = nothing_undone(run, database);
        let (connection, schema) = open.parts();
        lock_tables(connection, schema).await?;
        let mut verification = begin_verification(connection, schema, database).await?;
        if schema.site_tables().iter().any(|t| t.each().is_some()) {
            warn_of_log(&log_exposure::limit(connection).await?);
        }
        let mut made = self.saved.changes()?;
        progress.stage("writing and verifying rows");
        loop {
            let made = made.take_chunk(CHUNK)?;
            if made.is_empty() {
                break;
            }
            for table in TABLES {
                let of_table: Vec<&Change> = made.iter().filter(|c| c.table() == table).collect();
                if of_table.is_empty() {
                    continue;
                }
                if !schema.site_tables().contains(&table) {
                    return Err(no_table(table));
                }
                // A server may have several changes of whole rows, each of some of its rows.
                let at_once = table.each().map_or(of_table.len(), |_| 1);
                for changes in of_table.chunks(at_once) {
                    let by_key = changes.iter().map(|change| (change.key(), *change));
                    let by_key: BTreeMap<&str, &Change> = by_key.collect();
                    let keys: Vec<String> = by_key.keys().map(|key| (*key).to_owned()).collect();
                    let locked = patience.lock(connection, schema, table, &keys).await?;
                    let rows = rows::cells(connection, schema, table, &locked).await?;
                    let stored: HashMap<&str, &Row> =
                        rows.iter().map(|row| (row.key.as_str(), row)).collect();
                    let there = match table.each() {
                        None => Vec::new(),
                        Some(_) => {
                            credential_rows::in_the_place_of(connection, schema, table, changes)
                                .await?
                        }
                    };
                    let mut changes = Vec::new();
                    for (key, change) in by_key {
                        let row = stored.get(key).copied();
                        let todo = match table.each() {
                            None => conflict::take_back(change, row),
                            Some(each) => conflict::take_back_rows(change, each, row, &there),
                        };
                        undone.back += todo.back;
                        undone.conflicts.extend(todo.conflicts);
                        changes.extend(todo.change);
                    }
                    if let Some(draft) = &mut draft {
                        draft.rows(&changes)?;
                    }
                    write_rows(
                        connection,
                        schema,
                        table,
                        &rows,
                        &changes,
                        &mut verification,
                    )
                    .await?;
                    let changes = changes.into_iter().map(Change::into_report);
                    undone.changes.extend(changes);
                }
            }
            progress.rows(made.len());
        }
        end_verification(connection, schema, &verification).await?;
        let mut written = ChangedRows::default();
        written.add(&undone.changes);
        Ok(Prepared {
            is_moved: !undone.conflicts.is_empty() && !self.args.skip_changed,
            facts: undone,
            draft,
            written,
        })
    }
}

impl WriteFacts for UndoFacts {
    fn rows_written(&self) -> usize {
        self.rows()
    }

    fn check_as_shown(&self, shown: &Self) -> Result<(), Failure> {
        if shown.changes == self.changes {
            return Ok(());
        }
        Err(
            Failure::new(ErrorKind::Moved, "the rows are no longer as shown")
                .hint("nothing was written; run it again to see them as they are now"),
        )
    }
}

/// Warns where the server may write into its log the secrets that are put back.
fn warn_of_log(settings: &[String]) {
    if !settings.is_empty() {
        warn(format_args!(
            "the secrets that are put back may get into the server's log, by {}, and this role may not change \
             that: use a role that may (from PostgreSQL 15 on one with GRANT SET ON PARAMETER \
             log_parameter_max_length, log_error_verbosity TO ...), or have it changed meanwhile",
            settings.join(", ")
        ));
    }
}

/// Makes the facts of an undo that has not done anything yet.
fn nothing_undone(run: &Run, database: &Database) -> UndoFacts {
    UndoFacts {
        run: run.id().to_owned(),
        database: database.clone(),
        changes: Vec::new(),
        back: 0,
        conflicts: Vec::new(),
    }
}

/// Builds the error for a journal whose table this database does not have.
fn no_table(table: &SiteTable) -> Failure {
    let message = format!(
        "the journal has rows of \"{}\", a table that this database does not have",
        table.table
    );
    Failure::new(ErrorKind::Moved, message)
        .hint("run undo on the database that the journal was written for")
}

/// What an undo does where rows were changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnChanged {
    /// It writes nothing at all.
    Refuse,
    /// It leaves these rows alone.
    Skip,
}

impl UndoArgs {
    /// Returns the undo that this dry run showed.
    pub(crate) fn follow_up(&self) -> CommandLine {
        self.repeated(if self.skip_changed {
            OnChanged::Skip
        } else {
            OnChanged::Refuse
        })
    }

    /// Returns the undo that leaves alone the rows that were changed since.
    pub(crate) fn skipping(&self) -> CommandLine {
        self.repeated(OnChanged::Skip)
    }

    fn repeated(&self, on_changed: OnChanged) -> CommandLine {
        let Self {
            from,
            connection,
            write,
            skip_changed: _,
            other_database,
            output: _,
        } = self;
        let mut command = CommandLine::new("undo");
        command.path(from);
        connection.repeat(&mut command);
        write.repeat(&mut command);
        command.flag_if("--other-database", *other_database);
        command.flag_if("--skip-changed", on_changed == OnChanged::Skip);
        command
    }

    /// Returns the undo of this undo, whose old values are in `journal`.
    pub(crate) fn take_back(&self, journal: &Path) -> CommandLine {
        undo(journal, &self.connection, &self.write)
    }
}
