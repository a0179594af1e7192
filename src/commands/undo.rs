//! `undo`: puts back what a journal says was taken away, where the row is still as written.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::connection::ConnectionArgs;
use crate::cli::filters::PartArgs;
use crate::cli::journals::folder_of_variable;
use crate::cli::output::{OutputArgs, without_sql};
use crate::cli::repair::{ComparisonArgs, REPAIR, WriteArgs};
use crate::command_line::CommandLine;
use crate::database::Database;
use crate::db::purpose::Purpose;
use crate::db::schema::Schema;
use crate::db::session::{Connection, SchemaTransaction};
use crate::db::verification::Verification;
use crate::db::{credential_rows, log_exposure, savepoint};
use crate::error::{ErrorKind, Failure};
use crate::exit_code::{self, Outcome};
use crate::litellm::access::basis::AccessBasis;
use crate::litellm::access::other_values::OtherValues;
use crate::litellm::reference_sites::{Choice, ScannedTable, SiteTable, TABLES};
use crate::litellm::row::Row;
use crate::process::atomic_file::folder_of;
use crate::process::command_args::{CommandArgs, NamedFile, Work};
use crate::process::invocation::Run;
use crate::process::print::cannot_put_aside;
use crate::process::stderr::warn;
use crate::repair::access_comparison::{AcceptedDifferences, ComparedAccess};
use crate::repair::changeset::{Change, ChangesetPurpose, RowChange, UndoneRun};
use crate::repair::conflict::InseparableColumn;
use crate::repair::credentials_change::CredentialsChange;
use crate::repair::{conflict, credentials_conflict};
use crate::report::undone_changes::UndoneChanges;
use crate::report::{Ending, FollowUp, UndoFacts, UndoReport};
use crate::workflow::CHUNK;
use crate::workflow::access_basis::read_basis;
use crate::workflow::access_proof::{AccessProof, ReadCallers, TwoStates};
use crate::workflow::apply_changes::{
    begin_verification, end_verification, lock_tables, moved, write_credentials, write_rows,
};
use crate::workflow::cache_invalidation::ChangedRows;
use crate::workflow::changeset_file::{ChangesetDraft, ChangesetFile, SavedChangeset};
use crate::workflow::journal_folder::NamedJournal;
use crate::workflow::lock_retry::Patience;
use crate::workflow::preconditions::{PlannedBy, check_access};
use crate::workflow::repeat_options::undo;
use crate::workflow::same_database::refuse_another;
use crate::workflow::server_sources::ServerSources;
use crate::workflow::undo_part::UndoPart;
use crate::workflow::write_run::{Attempt, Prepared, WriteFacts, WriteJob, WriteOptions};

const UNDO_HELP: &str = "\
A row is put back if it still holds what the repair wrote. If it is as before the repair already, \
it counts as back. What an undo of a part left is taken further, if the journal of that undo is in \
the same folder. If a row holds anything else, nothing at all is written (exit code 5); \
--skip-changed leaves such rows as they are, and puts back the others.

RUN is the name of a run, or its first digits: 4 to 8 hexadecimal digits, which history lists. It \
is looked for in the folder of --journal or of MCP_PRUNE_JOURNAL; the variable counts beside \
--no-journal too. To name a file with such a name, write ./ before it.

--owner, --row and --reference take back a part of the run. The rest can be taken back later, in \
parts or as a whole.

Examples:
  mcp-prune undo --dry-run 1a2b3c4d
  mcp-prune undo --yes fix-20260102T030405Z-1a2b3c4d.ndjson
  mcp-prune undo 1a2b3c4d --owner team:platform --reference github

An undo writes a journal too: to repair again, undo that journal. That is refused (exit code 4) if \
anybody's access would change; then run fix.";

/// Options of `undo`.
#[derive(Debug, Args)]
#[command(after_help = exit_code::help("undo", UNDO_HELP), mut_arg("format", without_sql))]
pub struct UndoArgs {
    /// The journal of the fix or undo to take back, or the name of its run
    #[arg(value_name = "JOURNAL|RUN")]
    pub from: PathBuf,
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The part of the run to take back.
    #[command(flatten)]
    pub part: PartArgs,
    /// Whether to write, and what to keep of it.
    #[command(flatten)]
    pub write: WriteArgs,
    /// How many callers to compare.
    #[command(flatten)]
    pub comparison: ComparisonArgs,
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
        // The name of a run is no file.
        let is_file = NamedJournal::read(&self.from).file().is_some();
        files.extend(is_file.then_some(("JOURNAL", self.from.as_path())));
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
    let saved = SavedChangeset::open(&args.journal()?)?;
    saved.check_purpose(
        &JOURNALS,
        "undo takes the journal that fix or undo has kept; a plan is for fix --plan",
    )?;
    let out = ChangesetFile::of_run(&args.write, "undo", run)?;
    let undo = Undo { args, saved };
    options.carry_out(&undo, &args.connection, out, run).await
}

/// The purposes of the changesets that `undo` takes.
const JOURNALS: [ChangesetPurpose; 2] = [ChangesetPurpose::Fix, ChangesetPurpose::Undo];

/// An undo: it puts back what a journal says was taken away.
struct Undo<'a> {
    args: &'a UndoArgs,
    saved: SavedChangeset,
}

impl WriteJob for Undo<'_> {
    type Facts = UndoFacts;
    type Left = ();

    const PURPOSE: Purpose = Purpose::PutBack;
    const STAGE: &'static str = "writing and verifying rows";
    const QUESTION: &'static str = "Put back";
    const DONE: &'static str = "the undo";

    fn sites(&self) -> Choice {
        self.saved.contents.sites()
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
            carry_out: self.args.follow_up(self.saved.path()),
            dry_run: None,
        }
    }

    fn after_moved(&self) -> Option<CommandLine> {
        Some(self.args.skipping(self.saved.path()))
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
    ) -> Result<Prepared<'a, UndoFacts, ()>, Failure> {
        let Attempt {
            run,
            database,
            patience,
            out,
            progress,
            keeps: _,
            tells,
        } = attempt;
        let made = &self.saved.contents.header;
        let undoes = self.args.part.of_run(&made.run);
        let mut header = run.header(ChangesetPurpose::Undo, database);
        header.undoes = Some(undoes.clone());
        let draft = out.map(|out| out.begin(header)).transpose()?;
        let (connection, schema) = open.parts();
        lock_tables(connection, schema).await?;
        let verification = begin_verification(connection, schema).await?;
        if schema
            .site_tables()
            .iter()
            .any(|table| matches!(table, ScannedTable::Credentials(_)))
        {
            warn_of_log(&log_exposure::limit(connection).await?);
        }
        let of_run = (made.run.as_str(), made.purpose);
        let part = UndoPart::find(&self.args.part, of_run, connection, schema, database).await?;
        progress.stage("writing and verifying rows");
        let mut put_back = PutBack {
            schema,
            journal: self.saved.path(),
            part,
            patience,
            draft,
            verification,
            undone: nothing_undone(run, database, undoes),
        };
        let mut made = self.saved.changes()?;
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
                put_back.changes(connection, of_table).await?;
            }
            progress.rows(made.len());
        }
        let PutBack {
            part,
            mut draft,
            mut verification,
            mut undone,
            ..
        } = put_back;
        part.ensure_all_found()?;
        end_verification(connection, schema, &mut verification).await?;
        progress.stage("comparing access");
        if undone.conflicts.is_empty() || self.args.skip_changed {
            let most = self.args.comparison.compare_at_most;
            match compare_access(connection, schema, database, &undone.changes, most).await? {
                Ok(access) => undone.access = access,
                Err(failure) => undone.access_failure = Some(failure.into()),
            }
            self.ensure_proven(&undone)?;
        }
        if let Some(draft) = &mut draft {
            draft.leave(undone.conflicts.len());
        }
        let mut written = ChangedRows::default();
        if tells {
            for change in undone.changes.iter() {
                if let Change::Row(change) = change.map_err(cannot_put_aside)? {
                    written.add([&change]);
                }
            }
        }
        Ok(Prepared {
            left: (),
            is_moved: !undone.conflicts.is_empty() && !self.args.skip_changed,
            facts: undone,
            draft,
            written,
        })
    }
}

impl Undo<'_> {
    /// Refuses an undo that repairs again, if somebody's access would change, or if that is not
    /// known; and the undo of a part by `--reference`, if it takes references away and somebody
    /// would gain.
    ///
    /// What a repair removed has to come back in any case. But the undo of an undo removes it
    /// again, and what that rests on may have changed. The columns of a row belong together:
    /// without a part of a rename, a server may be there without the limit of its tools.
    fn ensure_proven(&self, undone: &UndoFacts) -> Result<(), Failure> {
        let repairs_again = self.saved.contents.header.purpose == ChangesetPurpose::Undo;
        let takes_a_part = !self.args.part.reference.is_empty() && undone.changes.takes_away();
        if undone.changes.is_empty() || !(repairs_again || takes_a_part) {
            return Ok(());
        }
        if let Some(failure) = &undone.access_failure {
            return Err(unproven(&failure.message));
        }
        let Some(access) = &undone.access else {
            // Only defaults of new keys and credentials change, which give nobody access now.
            return Ok(());
        };
        if access.not_compared > 0 {
            return Err(unproven("not every caller was compared"));
        }
        let accepted = AcceptedDifferences {
            widening: false,
            narrowing: !repairs_again,
        };
        check_access(access, accepted, PlannedBy::Journal)
    }
}

/// Builds the error for an undo that takes references away and that nobody can judge.
fn unproven(why: &str) -> Failure {
    let message = format!(
        "this undo takes references away, and it is not known what that changes of anybody's \
         access: {why}; nothing was written"
    );
    Failure::new(ErrorKind::Refused, message).hint(
        "to repair again, run fix, which looks at what is stale now; to take back more of the run, \
         leave --reference out; --compare-at-most tells how many callers are compared",
    )
}

/// What an undo puts back, and has put back so far.
struct PutBack<'a, 'd> {
    schema: &'a Schema,
    /// The file of what is taken back.
    journal: &'a Path,
    part: UndoPart<'a>,
    patience: &'a mut Patience,
    draft: Option<ChangesetDraft<'d>>,
    verification: Verification,
    undone: UndoFacts,
}

impl PutBack<'_, '_> {
    /// Takes back the changes of one table that belong to the part.
    async fn changes(
        &mut self,
        connection: &mut Connection,
        made: Vec<&Change>,
    ) -> Result<(), Failure> {
        let made = self.part.select(made, connection, self.schema).await?;
        let mut of_rows = Vec::new();
        for change in made {
            match change {
                Change::Row(change) => of_rows.push(change),
                // A server may have several changes, each of some of its rows.
                Change::Credentials(change) => self.credentials(connection, change).await?,
            }
        }
        match of_rows.first() {
            None => Ok(()),
            Some(first) => self.rows(connection, first.table(), &of_rows).await,
        }
    }

    /// Takes back changes of rows of `table`, each of another row.
    async fn rows(
        &mut self,
        connection: &mut Connection,
        table: &'static SiteTable,
        made: &[&RowChange],
    ) -> Result<(), Failure> {
        let by_key = made.iter().map(|change| (change.key(), *change));
        let mut by_key: BTreeMap<&str, &RowChange> = by_key.collect();
        let keys: Vec<String> = by_key.keys().map(|key| (*key).to_owned()).collect();
        let locked = self.patience.lock(
            connection,
            self.schema,
            ScannedTable::References(table),
            &keys,
        );
        let locked = locked.await?;
        if self.part.is_of_owners() {
            // Until the row was locked, somebody may have linked its owner to another one.
            let owned = self
                .part
                .owned(table, &locked, connection, self.schema)
                .await?;
            by_key.retain(|key, _| {
                owned.contains(*key) || locked.binary_search_by(|k| k.as_str().cmp(key)).is_err()
            });
        }
        let read =
            self.verification
                .cells_and_fingerprints(connection, self.schema, table, &locked);
        let read = read.await?;
        let rows = read.rows.iter();
        let stored: HashMap<&str, &Row> = rows.map(|row| (row.key.as_str(), row)).collect();
        let mut changes = Vec::new();
        for (key, change) in by_key {
            let row = stored.get(key).copied();
            let mut todo = conflict::take_back(change, row, self.part.taken());
            let is_moved = todo.as_ref().is_ok_and(|todo| !todo.conflicts.is_empty());
            if is_moved && self.part.learns_of_earlier(self.journal)? {
                todo = conflict::take_back(change, row, self.part.taken());
            }
            let todo = todo.map_err(|column| inseparable(&column))?;
            self.undone.back += todo.back;
            self.undone.conflicts.extend(todo.conflicts);
            changes.extend(todo.change);
        }
        let schema = self.schema;
        let proof = &mut self.verification;
        // The owners are those of the run that is taken back, not those of now.
        let written: Vec<RowChange> = changes.iter().map(RowChange::without_owners).collect();
        if let Some(draft) = &mut self.draft {
            draft.rows(&written)?;
        }
        write_rows(connection, schema, table, &read, &written, proof).await?;
        for change in changes {
            let change = Change::Row(change);
            self.undone.changes.add(&change).map_err(cannot_put_aside)?;
        }
        Ok(())
    }

    /// Takes back a change of the credentials of a server.
    async fn credentials(
        &mut self,
        connection: &mut Connection,
        made: &CredentialsChange,
    ) -> Result<(), Failure> {
        let table = made.table();
        let server = [made.server().to_owned()];
        let locked = self.patience.lock(
            connection,
            self.schema,
            ScannedTable::Credentials(table),
            &server,
        );
        let locked = locked.await?;
        let numbers = credential_rows::numbers(connection, self.schema, table, &locked).await?;
        let number = numbers.first().map_or(0, |number| number.rows);
        let there =
            credential_rows::in_the_place_of(connection, self.schema, table, &[made]).await?;
        let todo = credentials_conflict::take_back_rows(made, number, &there);
        self.undone.back += todo.back;
        self.undone.conflicts.extend(todo.conflicts);
        let Some(change) = todo.change else {
            return Ok(());
        };
        if let Some(draft) = &mut self.draft {
            draft.rows([&change])?;
        }
        let proof = &mut self.verification;
        write_credentials(connection, self.schema, table, &change, proof).await?;
        let change = Change::Credentials(change.into_report());
        self.undone.changes.add(&change).map_err(cannot_put_aside)
    }
}

/// Compares the access of everybody who depends on a row that is put back; `None` where there is
/// nothing to compare.
///
/// The comparison stops no undo that only puts back, see [`Undo::ensure_proven`]. If it fails, the
/// inner error says why. The outer error means that the connection is lost, and that nothing is
/// put back.
async fn compare_access(
    connection: &mut Connection,
    schema: &Schema,
    database: &Database,
    changes: &UndoneChanges,
    most: usize,
) -> Result<Result<Option<ComparedAccess>, Failure>, Failure> {
    let mut before = OtherValues::default();
    for change in changes.iter() {
        if let Change::Row(change) = change.map_err(cannot_put_aside)? {
            for column in change.columns() {
                before.set(change.table(), change.key(), column.site(), column.before());
            }
        }
    }
    if before.is_empty() {
        return Ok(Ok(None));
    }
    if most == 0 {
        return Ok(Ok(Some(ComparedAccess {
            not_compared: changes.number(),
            ..ComparedAccess::default()
        })));
    }
    if let Err(failure) = schema.check_may_compare(database) {
        return Ok(Err(failure));
    }
    let compare =
        async |connection: &mut Connection| compare_states(connection, schema, &before, most).await;
    savepoint::attempt(connection, compare).await
}

/// Compares access with the rows as they are, and with these values in some columns before.
async fn compare_states(
    connection: &mut Connection,
    schema: &Schema,
    before: &OtherValues,
    most: usize,
) -> Result<Option<ComparedAccess>, Failure> {
    let sources = ServerSources::default();
    let catalog = sources.catalog(connection, schema).await?;
    let release = schema.release();
    let basis = read_basis(connection, schema, &sources, &catalog, release).await?;
    // Nothing depends on the result but a report, so servers that a config may add are left out.
    let basis = AccessBasis {
        configs_known: true,
        later: Vec::new(),
        unknown: Vec::new(),
        ..basis
    };
    let proof = AccessProof {
        basis: &basis,
        catalog: &catalog,
        most,
    };
    let states = TwoStates {
        before,
        after: &OtherValues::default(),
    };
    let mut callers = ReadCallers::default();
    let access = proof.compare(connection, schema, &mut callers, states);
    access.await.map(Some)
}

impl WriteFacts for UndoFacts {
    fn rows_written(&self) -> usize {
        self.rows()
    }

    fn check_as_shown(&self, shown: &Self) -> Result<(), Failure> {
        let (mut now, mut then) = (self.changes.iter(), shown.changes.iter());
        let is_as_shown = loop {
            let now = now.next().transpose().map_err(cannot_put_aside)?;
            let then = then.next().transpose().map_err(cannot_put_aside)?;
            if now != then || now.is_none() {
                break now == then;
            }
        };
        let moved = |message| {
            Err(Failure::new(ErrorKind::Moved, message)
                .hint("nothing was written; run it again to see it as it is now"))
        };
        if !is_as_shown {
            return moved("the rows are no longer as shown");
        }
        if shown.access != self.access || shown.access_failure != self.access_failure {
            return moved("what the undo changes of somebody's access is no longer as shown");
        }
        Ok(())
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
fn nothing_undone(run: &Run, database: &Database, undoes: UndoneRun) -> UndoFacts {
    UndoFacts {
        run: run.id().to_owned(),
        database: database.clone(),
        undoes,
        changes: UndoneChanges::new(),
        back: 0,
        conflicts: Vec::new(),
        access: None,
        access_failure: None,
    }
}

/// Builds the error for a part that the journal does not tell from the rest.
fn inseparable(column: &InseparableColumn) -> Failure {
    let InseparableColumn { row, column } = column;
    let message = format!(
        "the journal does not tell these references from the others that were changed in {column} \
         of row {row}"
    );
    Failure::new(ErrorKind::Error, message).hint(
        "nothing was written; leave --reference out, or name every reference of this row that the \
         repair changed",
    )
}

/// Builds the error for a journal whose table this database does not have.
fn no_table(table: ScannedTable) -> Failure {
    let message = format!(
        "the journal has rows of \"{}\", a table that this database does not have",
        table.name()
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
    /// Returns the undo of the journal in `file` that this dry run showed.
    pub(crate) fn follow_up(&self, file: &Path) -> CommandLine {
        let on_changed = if self.skip_changed {
            OnChanged::Skip
        } else {
            OnChanged::Refuse
        };
        self.repeated(file, on_changed)
    }

    /// Returns the undo that leaves alone the rows that were changed since.
    pub(crate) fn skipping(&self, file: &Path) -> CommandLine {
        self.repeated(file, OnChanged::Skip)
    }

    /// Returns the file of the journal to take back.
    fn journal(&self) -> Result<PathBuf, Failure> {
        let named = self.write.journal.journal.clone();
        let kept = named.or_else(folder_of_variable);
        let kept = kept.as_deref();
        // A file is where the journal of this undo goes.
        let folder = kept.map(|path| if path.is_dir() { path } else { folder_of(path) });
        NamedJournal::read(&self.from).find(folder, &JOURNALS)
    }

    fn repeated(&self, file: &Path, on_changed: OnChanged) -> CommandLine {
        let Self {
            from,
            connection,
            part,
            write,
            comparison,
            skip_changed: _,
            other_database,
            output: _,
        } = self;
        let mut command = CommandLine::new("undo");
        // Beside --no-journal, only the variable tells in which folder the run is.
        let is_by_variable = write.journal.no_journal && folder_of_variable().is_some();
        command.path(if is_by_variable { file } else { from });
        connection.repeat(&mut command);
        part.repeat(&mut command);
        comparison.repeat(&mut command);
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
