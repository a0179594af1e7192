//! `undo`: puts back what a journal says was taken away, where it is still as it was written.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use super::aftercare::{AfterCare, Written};
use super::journal::{ChangesetFile, SavedChangeset};
use super::output::print;
use super::progress::Progress;
use super::retry::{Patience, retried};
use super::run::Run;
use super::writing::{moved, write_rows};
use super::{CHUNK, Interrupt, consent, console, warn};
use crate::cli::{Format, UndoArgs};
use crate::db::schema::{Database, Purpose};
use crate::db::session::{Open, Session};
use crate::db::{read, whole, write};
use crate::exit::Outcome;
use crate::failure::{Failure, Kind};
use crate::litellm::row::Row;
use crate::litellm::sites::{SiteTable, TABLES};
use crate::repair::changeset::{self, Change, Identity};
use crate::repair::compare;
use crate::repair::policy::WriteConsent;
use crate::report::{Ending, Render as _, Undone, table};

/// Runs `undo`.
///
/// # Errors
///
/// Why nothing was written.
pub async fn run(args: &UndoArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let asks = consent::asks(&args.write, "undo")?;
    let after_care = AfterCare::read(&args.write.notify)?;
    let saved = SavedChangeset::open(&args.from)?;
    saved.check_purpose(
        &[changeset::Purpose::Fix, changeset::Purpose::Undo],
        "undo takes the journal that fix or undo has kept; a plan is for fix --plan",
    )?;
    let mut out = if args.write.dry_run {
        None
    } else {
        ChangesetFile::journal(&args.write.journal, "undo", run)?
    };
    let mut undo = Undo {
        args,
        saved,
        run,
        after_care,
        interrupt: Interrupt::listen()?,
    };
    let open = args.connection.open(args.write.lock_timeout, undo.run);
    let mut session = undo.interrupt.guard(open).await?;
    warn_of_another(&undo.saved.contents.header.database, session.database());

    let consent = WriteConsent::from_flag(args.write.yes);
    let looked = if consent.is_some() {
        &mut out
    } else {
        &mut None
    };
    let finish = consent.as_ref().map(|consent| (consent, None));
    let mut undone = undo.put_back(&mut session, finish, looked).await?;
    if undone.ending == Ending::Moved {
        let undone = Arc::new(undone);
        print(&undone, &args.output, undo.run, &mut undo.interrupt).await?;
        return Err(moved(
            undone.conflicts.len(),
            "the report tells which; look into who changed them, or say --skip-changed",
        ));
    }
    if asks && !undone.changes.is_empty() {
        let look = args.output.look(undo.run, &io::stderr());
        console::show(|out| table::write_undone(&undone, look, out))
            .map_err(anyhow::Error::from)?;
        let answer = consent::ask("Put back", undone.rows());
        let answer = undo.interrupt.guard(answer).await?;
        undone.ending = Ending::Declined;
        if let Some(consent) = answer {
            let finish = Some((&consent, Some(undone.changes.as_slice())));
            undone = undo.put_back(&mut session, finish, &mut out).await?;
        }
        if args.output.format == Format::Table && !undo.run.report.is_file() {
            undo.run.tally = Some(undone.tally());
            let look = args.output.look(undo.run, &io::stdout());
            table::write_undone_closing(&undone, look, &mut io::stdout().lock())
                .map_err(anyhow::Error::from)?;
        } else {
            if undo.run.report.is_file() {
                console::show(|out| table::write_undone_closing(&undone, look, out))
                    .map_err(anyhow::Error::from)?;
            }
            print(
                &Arc::new(undone),
                &args.output,
                undo.run,
                &mut undo.interrupt,
            )
            .await?;
        }
    } else {
        let printed = print(
            &Arc::new(undone),
            &args.output,
            undo.run,
            &mut undo.interrupt,
        )
        .await;
        if let Err(failure) = printed
            && failure.kind() != Kind::BrokenPipe
        {
            return Err(failure.context("the undo is done as the journal says, but"));
        }
    }
    session.close().await;
    Ok(Outcome::Repaired { held: false })
}

/// A journal may be of a copy, or of a database that moved; which rows fit is then what decides.
fn warn_of_another(written: &Identity, database: &Database) {
    if written.name != database.name || written.schema != database.schema {
        warn(format_args!(
            "the journal is of database \"{}\", schema \"{}\"",
            written.name, written.schema
        ));
    }
}

struct Undo<'a> {
    args: &'a UndoArgs,
    saved: SavedChangeset,
    run: &'a mut Run,
    after_care: AfterCare,
    interrupt: Interrupt,
}

/// With whose word to commit, and what they were shown, if anything.
type Finish<'a> = Option<(&'a WriteConsent, Option<&'a [Change]>)>;

impl Undo<'_> {
    /// Runs the transaction, again where others were in the way.
    async fn put_back(
        &mut self,
        session: &mut Session,
        finish: Finish<'_>,
        out: &mut Option<ChangesetFile>,
    ) -> Result<Undone, Failure> {
        let lock_timeout = self.args.write.lock_timeout;
        let progress = Progress::begin("writing and verifying rows");
        let attempt = async |patience: &mut Patience| {
            let undone = self.attempt(session, finish, patience, out.as_mut(), &progress);
            undone.await
        };
        retried(lock_timeout, true, attempt).await
    }

    async fn attempt(
        &mut self,
        session: &mut Session,
        finish: Finish<'_>,
        patience: &mut Patience,
        mut out: Option<&mut ChangesetFile>,
        progress: &Progress,
    ) -> Result<Undone, Failure> {
        let mut undone = Undone {
            run: self.run.id().to_owned(),
            database: session.database().clone(),
            ending: Ending::DryRun,
            changes: Vec::new(),
            back: 0,
            conflicts: Vec::new(),
            journal: None,
        };
        let places = self.saved.contents.places();
        let begin = session.begin(Purpose::Write, &places);
        let mut open = self.interrupt.guard(begin).await?;
        if let Some(out) = out.as_deref_mut() {
            out.begin(self.run.header(changeset::Purpose::Undo, &undone.database))?;
        }
        let work = prepare(
            &mut open,
            &self.saved,
            patience,
            out.as_deref_mut(),
            &mut undone,
            progress,
        );
        self.interrupt.guard(work).await?;
        if !undone.conflicts.is_empty() && !self.args.skip_changed {
            undone.ending = Ending::Moved;
        }
        let Some((consent, shown)) = finish.filter(|_| undone.ending != Ending::Moved) else {
            self.interrupt.guard(open.rollback()).await?;
            return Ok(undone);
        };
        if shown.is_some_and(|shown| shown != undone.changes) {
            return Err(Failure::new(Kind::Moved, "the rows are no longer as shown")
                .hint("nothing was written; run it again to see them as they are now"));
        }
        let mut out = out.filter(|_| !undone.changes.is_empty());
        progress.stage("committing");
        self.interrupt
            .commit(open, consent, out.as_deref_mut())
            .await?;
        let mut written = Written::default();
        written.add(&undone.changes);
        self.after_care
            .tell(session, &written, &mut self.interrupt)
            .await;
        undone.journal = out.map(|out| out.path().display().to_string());
        undone.ending = if undone.changes.is_empty() {
            Ending::NothingToDo
        } else {
            Ending::Applied
        };
        Ok(undone)
    }
}

/// Does everything up to the decision: locks, compares, writes and checks.
async fn prepare(
    open: &mut Open<'_>,
    saved: &SavedChangeset,
    patience: &mut Patience,
    mut out: Option<&mut ChangesetFile>,
    undone: &mut Undone,
    progress: &Progress,
) -> Result<(), Failure> {
    let (connection, schema) = open.parts();
    write::lock_out_other_runs(connection).await?;
    for table in schema.site_tables() {
        write::enter(connection, schema, table).await?;
    }
    let mut made = saved.changes()?;
    progress.stage("writing and verifying rows");
    loop {
        let made = made.take_chunk(CHUNK)?;
        if made.is_empty() {
            return Ok(());
        }
        for table in TABLES {
            let of_table: Vec<&Change> = made.iter().filter(|c| c.table == table).collect();
            if of_table.is_empty() {
                continue;
            }
            if !schema.site_tables().contains(&table) {
                return Err(no_table(table));
            }
            // Of whole rows a server may have several changes, of some of its rows each.
            let at_once = table.each().map_or(of_table.len(), |_| 1);
            for changes in of_table.chunks(at_once) {
                let by_key = changes.iter().map(|change| (change.key.as_str(), *change));
                let by_key: BTreeMap<&str, &Change> = by_key.collect();
                let keys: Vec<String> = by_key.keys().map(|key| (*key).to_owned()).collect();
                let locked = patience.lock(connection, table, &keys).await?;
                let rows = read::cells(connection, schema, table, &locked).await?;
                let stored: HashMap<&str, &Row> =
                    rows.iter().map(|row| (row.key.as_str(), row)).collect();
                let there = match table.each() {
                    None => Vec::new(),
                    Some(_) => whole::in_the_place_of(connection, table, changes).await?,
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
                write_rows(connection, schema, table, &rows, &changes).await?;
                let changes = changes.into_iter().map(Change::to_report);
                undone.changes.extend(changes);
            }
        }
        progress.rows(made.len());
    }
}

fn no_table(table: &SiteTable) -> Failure {
    let message = format!(
        "the journal is of rows of \"{}\", which are not here",
        table.table
    );
    Failure::new(Kind::Moved, message).hint("undo it on the database that it is of")
}
