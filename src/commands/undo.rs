//! `undo`: puts back what a journal says was taken away, where the row is still as written.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::aftercare::Written;
use super::journal::{ChangesetFile, SavedChangeset};
use super::run::Run;
use super::same_database::refuse_another;
use super::write_run::{Attempt, Prepared, WriteJob, WriteOptions, WriteReport};
use super::writing::{begin_verification, end_verification, lock_tables, moved, write_rows};
use super::{CHUNK, warn};
use crate::cli::UndoArgs;
use crate::db::schema::Database;
use crate::db::session::Open;
use crate::db::{log_exposure, read, whole};
use crate::exit::Outcome;
use crate::failure::{Failure, Kind};
use crate::litellm::row::Row;
use crate::litellm::sites::{Choice, SiteTable, TABLES};
use crate::repair::changeset::{self, Change};
use crate::repair::compare;
use crate::report::command_line::CommandLine;
use crate::report::{Ending, FollowUp, Undone};

/// Runs `undo`.
///
/// # Errors
///
/// Fails where nothing was written, and says why.
pub async fn run(args: &UndoArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let options = WriteOptions::check("undo", &args.write, &args.output)?;
    let saved = SavedChangeset::open(&args.from)?;
    saved.check_purpose(
        &[changeset::Purpose::Fix, changeset::Purpose::Undo],
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
    type Report = Undone;

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
        self.args.follow_up()
    }

    fn after_moved(&self) -> FollowUp {
        self.args.skipping()
    }

    fn take_back(&self, journal: &Path) -> CommandLine {
        self.args.take_back(journal)
    }

    fn moved(&self, undone: &Undone) -> Failure {
        moved(
            undone.conflicts.len(),
            "the report tells which; look into who changed them, or say --skip-changed",
        )
    }

    fn outcome(&self, undone: &Undone) -> Outcome {
        match undone.ending {
            Ending::Applied | Ending::NothingToDo => Outcome::Repaired { held: false },
            // An undo does not look for stale references, so it reports none.
            Ending::Scanned
            | Ending::DryRun
            | Ending::Proposed
            | Ending::Declined
            | Ending::Moved => Outcome::Looked { found: false },
        }
    }

    async fn prepare(
        &self,
        open: &mut Open<'_>,
        attempt: Attempt<'_>,
    ) -> Result<Prepared<Undone>, Failure> {
        let Attempt {
            run,
            database,
            patience,
            mut out,
            progress,
            keeps: _,
            tells,
        } = attempt;
        if let Some(out) = out.as_deref_mut() {
            out.begin(run.header(changeset::Purpose::Undo, database))?;
        }
        let mut undone = nothing_undone(run, database, tells);
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
                    let rows = read::cells(connection, schema, table, &locked).await?;
                    let stored: HashMap<&str, &Row> =
                        rows.iter().map(|row| (row.key.as_str(), row)).collect();
                    let there = match table.each() {
                        None => Vec::new(),
                        Some(_) => {
                            whole::in_the_place_of(connection, schema, table, changes).await?
                        }
                    };
                    let mut changes = Vec::new();
                    for (key, change) in by_key {
                        let row = stored.get(key).copied();
                        let todo = match table.each() {
                            None => compare::take_back(change, row),
                            Some(each) => compare::take_back_rows(change, each, row, &there),
                        };
                        undone.back += todo.back;
                        undone.conflicts.extend(todo.conflicts);
                        changes.extend(todo.change);
                    }
                    if let Some(out) = out.as_deref_mut() {
                        out.rows(&changes)?;
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
                    let changes = changes.into_iter().map(Change::to_report);
                    undone.changes.extend(changes);
                }
            }
            progress.rows(made.len());
        }
        end_verification(connection, schema, &verification).await?;
        let mut written = Written::default();
        written.add(&undone.changes);
        Ok(Prepared {
            is_moved: !undone.conflicts.is_empty() && !self.args.skip_changed,
            report: undone,
            written,
        })
    }
}

impl WriteReport for Undone {
    fn ending(&self) -> Ending {
        self.ending
    }

    fn end(&mut self, ending: Ending, follow_up: FollowUp) {
        self.ending = ending;
        self.follow_up = follow_up;
    }

    fn plan_is_in(&mut self, _: &Path) {}

    fn journal_is_in(&mut self, path: &Path) {
        self.journal = Some(path.display().to_string());
    }

    fn rows_written(&self) -> usize {
        self.rows()
    }

    fn check_as_shown(&self, shown: &Self) -> Result<(), Failure> {
        if shown.changes == self.changes {
            return Ok(());
        }
        Err(Failure::new(Kind::Moved, "the rows are no longer as shown")
            .hint("nothing was written; run it again to see them as they are now"))
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

/// Builds the report of an undo that has not done anything yet.
fn nothing_undone(run: &Run, database: &Database, notified: bool) -> Undone {
    Undone {
        run: run.id().to_owned(),
        database: database.clone(),
        ending: Ending::DryRun,
        changes: Vec::new(),
        back: 0,
        conflicts: Vec::new(),
        journal: None,
        follow_up: FollowUp::default(),
        notified,
    }
}

/// Builds the error for a journal whose table this database does not have.
fn no_table(table: &SiteTable) -> Failure {
    let message = format!(
        "the journal has rows of \"{}\", a table that this database does not have",
        table.table
    );
    Failure::new(Kind::Moved, message)
        .hint("run undo on the database that the journal was written for")
}
