//! `fix`: plans, writes and checks every change in one transaction, and then commits or not.

pub(crate) mod plan_options;

use std::path::Path;

use clap::Args;

use crate::cli::connection::ConnectionArgs;
use crate::cli::filters::PlaceArgs;
use crate::cli::output::{OUTPUT, OutputArgs};
use crate::cli::repair::RepairArgs;
use crate::cli::servers::{PreviousArgs, ServerArgs};
use crate::command_line::CommandLine;
use crate::database::Database;
use crate::db::detect::{self, Search};
use crate::db::schema::Schema;
use crate::db::session::{Connection, SchemaTransaction};
use crate::db::verification::Verification;
use crate::db::{owners, rows};
use crate::error::{ErrorKind, Failure};
use crate::exit_code::Outcome;
use crate::litellm::reference_sites::Choice;
use crate::litellm::server_catalog::ServerCatalog;
use crate::process::command_args::{CommandArgs, NamedFile, Work};
use crate::process::invocation::Run;
use crate::process::print::{cannot_put_aside, gathering};
use crate::process::progress::Progress;
use crate::repair::changeset::{self, Change, PlannedWith};
use crate::repair::conflict;
use crate::repair::plan::RowPlan;
use crate::repair::policy::Policy;
use crate::repair::selection::Selection;
use crate::report::collected_plans::CollectedPlans;
use crate::report::{Announcements, Ending, FollowUp, Report};
use crate::workflow::CHUNK;
use crate::workflow::apply_changes::{
    begin_verification, carry_out, end_verification, lock_tables, moved,
};
use crate::workflow::cache_invalidation::ChangedRows;
use crate::workflow::changeset_file::{ChangesetFile, SavedChangeset};
use crate::workflow::filters::{UnmatchedReferences, places};
use crate::workflow::journal_retention::JournalRetention;
use crate::workflow::lock_retry::Patience;
use crate::workflow::planner::Planner;
use crate::workflow::preconditions::{
    RemovedReferences, check_as_shown, check_nothing_left, check_size, refuse_empty_server_table,
};
use crate::workflow::repeat_options::undo;
use crate::workflow::same_database::refuse_another;
use crate::workflow::saved_plan::SavedPlan;
use crate::workflow::server_sources::{ServerSources, warn_of_config_servers, warn_unset};
use crate::workflow::survey::{tell_left_out, warn_unknown_owners};
use crate::workflow::write_run::{Attempt, Prepared, WriteJob, WriteOptions, WriteReport};

const FIX_HELP: &str = "\
Only stale references are ever changed. Some of them are held: unless --on-empty says otherwise, \
the last entry of a list whose owner would then inherit servers, or which would no longer limit \
anybody.

Examples:
  mcp-prune fix --dry-run          (the same statements, then ROLLBACK)
  mcp-prune fix                    (on a terminal: shows the plan and asks)
  mcp-prune fix --yes --exit-zero  (cron: held references are no failure)
  mcp-prune fix --dry-run --sites credentials --delete-rows";

/// Options of `fix`.
#[derive(Debug, Args)]
#[command(after_help = FIX_HELP)]
pub struct FixArgs {
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which servers exist besides those of the table.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Where to repair.
    #[command(flatten)]
    pub places: PlaceArgs,
    /// How far to go.
    #[command(flatten)]
    pub repair: RepairArgs,
    /// How to answer.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Exit with 0 instead of 2 (found) or 3 (held)
    #[arg(long, help_heading = OUTPUT)]
    pub exit_zero: bool,
}

impl CommandArgs for FixArgs {
    fn name(&self) -> &'static str {
        "fix"
    }

    fn run<'a>(&'a self, this: &'a mut Run) -> Work<'a> {
        Box::pin(run(self, this))
    }

    fn output(&self) -> Option<&OutputArgs> {
        Some(&self.output)
    }

    fn exit_zero(&self) -> bool {
        self.exit_zero
    }

    fn connection(&self) -> Option<&ConnectionArgs> {
        Some(&self.connection)
    }

    fn servers(&self) -> Option<&ServerArgs> {
        Some(&self.servers)
    }

    fn previous(&self) -> Option<&PreviousArgs> {
        Some(&self.repair.previous)
    }

    fn remap_file(&self) -> Option<&Path> {
        self.repair.remap_file.as_deref()
    }

    fn own_files(&self) -> Vec<NamedFile<'_>> {
        let repair = &self.repair;
        let files = [
            ("--journal", repair.write.journal.journal.as_deref()),
            ("--plan-out", repair.plan_out.as_deref()),
            ("--plan", repair.plan.as_deref()),
        ];
        let files = files.into_iter();
        files
            .filter_map(|(name, file)| Some((name, file?)))
            .collect()
    }
}

impl FixArgs {
    /// Returns what a repair does with emptied columns and with rows of credentials.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            on_empty: self.repair.empty.on_empty(),
            delete_rows: self.repair.delete_rows,
        }
    }
}

/// Runs `fix`.
///
/// # Errors
///
/// Fails where nothing was written, and says why.
pub(crate) async fn run(args: &FixArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let write = &args.repair.write;
    let options = WriteOptions::check("fix", write, &args.output)?;
    let saved = match &args.repair.plan {
        None => None,
        Some(path) => {
            let saved = SavedChangeset::open(path)?;
            saved.check_purpose(
                &[changeset::ChangesetPurpose::Plan],
                "--plan takes what fix --dry-run --plan-out saved; a journal is for undo",
            )?;
            Some(saved)
        }
    };
    let header = saved.as_ref().map(|saved| &saved.contents.header);
    let beyond = args.beyond(header)?;
    let planned_with = args.planned_with(&beyond)?;
    let policy = match header.and_then(|header| Some((header.on_empty?, header.delete_rows))) {
        Some((on_empty, delete_rows)) => Policy {
            delete_rows,
            ..on_empty.into()
        },
        None => args.policy(),
    };
    // The journal is opened first, so that nothing is changed that could not be taken back.
    let journal = ChangesetFile::of_run(write, "fix", run)?;
    let out = match &args.repair.plan_out {
        Some(path) => Some(ChangesetFile::plan(path)?),
        None => journal,
    };
    let retention = JournalRetention::read(args.repair.journal_retention, out.as_ref());
    let places = match &saved {
        Some(saved) => saved.contents.places(),
        None => places(&args.places.sites, beyond.knows_configs()),
    };
    let fix = Fix {
        args,
        policy,
        places,
        saved,
        planned_with,
        beyond,
        retention,
    };
    options.carry_out(&fix, &args.connection, out, run).await
}

/// A repair: it removes what is stale, or what a saved plan says.
struct Fix<'a> {
    args: &'a FixArgs,
    policy: Policy,
    places: Choice,
    /// The plan to carry out, with `--plan`.
    saved: Option<SavedChangeset>,
    /// The options that a plan keeps, with `--plan-out`.
    planned_with: Option<PlannedWith>,
    beyond: ServerSources,
    /// How long older journals are kept.
    retention: Option<JournalRetention>,
}

impl WriteJob for Fix<'_> {
    type Report = Report;

    const STAGE: &'static str = "looking for stale references";
    const QUESTION: &'static str = "Repair";
    const DONE: &'static str = "the repair";

    fn places(&self) -> Choice {
        self.places.clone()
    }

    fn check_database(&self, database: &Database) -> Result<(), Failure> {
        match &self.saved {
            Some(plan) if !self.args.repair.other_database => {
                let made = &plan.contents.header;
                refuse_another(made.purpose, &made.database, database)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn succeeded(&self, report: &Report) {
        if let Some(retention) = &self.retention {
            retention.apply(&report.database);
        }
    }

    fn after_dry_run(&self, plan: Option<&Path>) -> FollowUp {
        self.args.follow_up(plan)
    }

    fn take_back(&self, journal: &Path) -> CommandLine {
        self.args.take_back(journal)
    }

    fn moved(&self, report: &Report) -> Failure {
        let mut conflicts = report.conflicts.iter();
        if conflicts.all(|conflict| conflict.found == conflict::ConflictKind::Done) {
            let message = "this plan was carried out already; nothing was written";
            return Failure::new(ErrorKind::Moved, message).hint("scan tells what there is now");
        }
        moved(
            report.conflicts.len(),
            "the report tells which; plan anew, or look into who changed them; config files and \
             --keep have to be as when it was planned",
        )
    }

    fn outcome(&self, report: &Report) -> Outcome {
        let summary = report.summary();
        match report.ending {
            Ending::DryRun | Ending::Scanned | Ending::Proposed => Outcome::Looked {
                found: summary.needs_attention(),
            },
            Ending::Declined | Ending::Moved => Outcome::Looked { found: true },
            Ending::Applied | Ending::NothingToDo => Outcome::Repaired {
                held: summary.rows_held > 0,
            },
        }
    }

    async fn prepare(
        &self,
        open: &mut SchemaTransaction<'_>,
        attempt: Attempt<'_>,
    ) -> Result<Prepared<Report>, Failure> {
        let Attempt {
            run,
            database,
            patience,
            mut out,
            progress,
            keeps,
            tells,
        } = attempt;
        let (connection, schema) = open.parts();
        let mut verification = begin(connection, schema, database).await?;
        let mut planned = self.saved.as_ref().map(SavedPlan::read).transpose()?;
        let selection = self.selection(connection, schema, database, planned.as_ref());
        let selection = selection.await?;
        let catalog = self.beyond.catalog(connection, schema).await?;
        warn_unset(&catalog);
        warn_of_config_servers(&catalog);
        if let Some(out) = out.as_deref_mut() {
            out.begin(self.header(run, database, &catalog))?;
        }
        progress.stage("looking for stale references");
        let found = match &planned {
            Some(planned) => planned.rows(),
            None => detect::detect(connection, schema, &catalog, Search::References).await?,
        };
        self.check_server_table(&catalog, &found)?;
        let locked = lock(found, &selection, connection, schema, patience, progress).await?;
        let judge = Planner {
            schema,
            catalog: &catalog,
            policy: self.policy,
            selection: &selection,
            notes: false,
        };
        let mut report = self.gathering(keeps);
        let mut written = ChangedRows::default();
        let mut removed = RemovedReferences::default();
        let mut asked = self.asked();
        let mut conflicts = Vec::new();
        progress.stage("writing and verifying rows");
        for (table, keys) in locked {
            // Owners are read after all locks, so that they are still the owners at the commit.
            let owners = owners::holders(connection, schema, table, &keys).await?;
            for chunk in keys.chunks(CHUNK) {
                let mut rows = rows::rows(connection, schema, table, chunk, &owners).await?;
                rows.retain(|row| selection.takes(row));
                let mut now = judge.plan(connection, table, &rows).await?;
                if let Some(planned) = &mut planned {
                    conflicts.extend(planned.hold(table, &rows, &mut now, &catalog));
                }
                let changes: Vec<Change> = now.iter().filter_map(RowPlan::change).collect();
                if tells {
                    written.add(&changes);
                }
                let out = out.as_deref_mut();
                let proof = &mut verification;
                let carried_out = carry_out(connection, schema, table, &rows, changes, out, proof);
                let stored = carried_out.await?;
                check_nothing_left(&stored, &now, &catalog)?;
                removed.add(&now);
                asked.see(&now);
                report.add_decisions(now).map_err(cannot_put_aside)?;
                progress.rows(chunk.len());
            }
        }
        let left = planned.iter();
        conflicts.extend(left.flat_map(|left| left.without_row(&catalog)));
        asked.check(connection, &judge, &selection).await?;
        check_size(&self.args.repair, connection, schema, report.summary()).await?;
        end_verification(connection, schema, &verification).await?;
        let now = self.beyond.catalog(connection, schema).await?;
        removed.check_still_gone(&now)?;
        Ok(Prepared {
            is_moved: !conflicts.is_empty(),
            report: Report {
                run: run.id().to_owned(),
                database: database.clone(),
                said: self.said(),
                release: schema.release(),
                servers: (&catalog).into(),
                ending: Ending::DryRun,
                found: report,
                conflicts,
                follow_up: FollowUp::default(),
                notified: tells,
                journal: None,
                plan: None,
            },
            written,
        })
    }
}

/// Warns of what is not looked at, and takes the locks that come before the locks of rows.
async fn begin(
    connection: &mut Connection,
    schema: &Schema,
    database: &Database,
) -> Result<Verification, Failure> {
    warn_unknown_owners(schema);
    tell_left_out(schema);
    lock_tables(connection, schema).await?;
    begin_verification(connection, schema, database).await
}

/// Locks the rows that may change, in all tables, before the first row is read.
async fn lock(
    found: detect::CandidateRows,
    selection: &Selection,
    connection: &mut Connection,
    schema: &Schema,
    patience: &mut Patience,
    progress: &Progress,
) -> Result<detect::CandidateRows, Failure> {
    progress.stage("locking rows");
    let mut locked = detect::CandidateRows::new();
    for (table, mut keys) in found {
        keys.retain(|key| selection.takes_key(key));
        if table.may_change() {
            keys = patience.lock(connection, schema, table, &keys).await?;
        }
        progress.rows(keys.len());
        locked.push((table, keys));
    }
    Ok(locked)
}

impl Fix<'_> {
    /// Refuses an empty server table: beside it every reference would be stale.
    fn check_server_table(
        &self,
        catalog: &ServerCatalog,
        found: &detect::CandidateRows,
    ) -> Result<(), Failure> {
        let may_be_empty = self.args.repair.allow_empty_server_table;
        if catalog.rows() > 0 || found.is_empty() || may_be_empty {
            return Ok(());
        }
        let rows = found.iter().map(|(_, keys)| keys.len()).sum();
        Err(refuse_empty_server_table(rows))
    }

    /// Finds the rows that the operator asked about; for a saved plan these are the plan's rows.
    async fn selection(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        database: &Database,
        planned: Option<&SavedPlan>,
    ) -> Result<Selection, Failure> {
        if let Some(planned) = planned {
            return Ok(planned.selection());
        }
        let selection = self.args.places.selection(connection, schema, database);
        selection.await
    }

    /// Lists the references that must be found in the rows looked at; none for a saved plan, which
    /// is compared with its rows instead.
    fn asked(&self) -> UnmatchedReferences {
        if self.saved.is_some() {
            return UnmatchedReferences::default();
        }
        self.args.places.asked(self.beyond.remaps.keys())
    }

    fn said(&self) -> Announcements {
        Announcements {
            policy: self.policy,
        }
    }

    fn gathering(&self, keeps: bool) -> CollectedPlans {
        if keeps {
            CollectedPlans::kept()
        } else {
            gathering(&self.args.output)
        }
    }

    fn header(&self, run: &Run, database: &Database, catalog: &ServerCatalog) -> changeset::Header {
        let purpose = if self.args.repair.write.dry_run {
            changeset::ChangesetPurpose::Plan
        } else {
            changeset::ChangesetPurpose::Fix
        };
        let mut header = run.header(purpose, database);
        header.on_empty = Some(self.policy.into());
        header.delete_rows = self.policy.delete_rows;
        header.remaps.clone_from(catalog.remaps());
        header.id_history.clone_from(catalog.history());
        header.servers = Some(catalog.digest());
        header.planned_with.clone_from(&self.planned_with);
        header
    }
}

impl WriteReport for Report {
    fn ending(&self) -> Ending {
        self.ending
    }

    fn end(&mut self, ending: Ending, follow_up: FollowUp) {
        self.ending = ending;
        self.follow_up = follow_up;
    }

    fn plan_is_in(&mut self, path: &Path) {
        self.plan = Some(path.display().to_string());
    }

    fn journal_is_in(&mut self, path: &Path) {
        self.journal = Some(path.display().to_string());
    }

    fn rows_written(&self) -> usize {
        self.summary().rows_changed
    }

    fn check_as_shown(&self, shown: &Self) -> Result<(), Failure> {
        check_as_shown(shown.plans(), self.plans())
    }
}

impl FixArgs {
    /// Returns the repair that this dry run showed, and the dry run itself, to be varied.
    ///
    /// `plan` is the file that the dry run was saved to. It holds the options of planning.
    pub(crate) fn follow_up(&self, plan: Option<&Path>) -> FollowUp {
        let mut carry_out = CommandLine::new("fix");
        if let Some(plan) = plan {
            carry_out.option("--plan", plan);
        }
        self.repeat(plan.is_some(), &mut carry_out);
        let mut dry_run = CommandLine::new("fix");
        dry_run.flag("--dry-run");
        self.repeat(false, &mut dry_run);
        FollowUp {
            carry_out: Some(carry_out),
            // A saved plan cannot be varied.
            dry_run: Some(dry_run).filter(|_| self.repair.plan.is_none()),
            take_back: None,
        }
    }

    /// Adds every option that decides what is repaired; with `is_planned`, only those that the plan
    /// does not hold.
    fn repeat(&self, is_planned: bool, command: &mut CommandLine) {
        let Self {
            connection,
            servers,
            places,
            repair,
            output: _,
            exit_zero: _,
        } = self;
        connection.repeat(command);
        servers.repeat(command);
        if !is_planned {
            places.repeat(command);
        }
        repair.repeat(is_planned, command);
    }

    /// Returns the undo of this repair, whose old values are in `journal`.
    pub(crate) fn take_back(&self, journal: &Path) -> CommandLine {
        undo(journal, &self.connection, &self.repair.write)
    }
}
