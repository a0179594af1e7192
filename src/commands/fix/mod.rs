//! `fix`: plans every change, compares access, locks, writes and checks the rows, all in one
//! transaction, and then commits or not.

pub(crate) mod options;
pub(crate) mod plan_options;
mod planning;

use std::path::Path;
use std::sync::Arc;

use clap::Args;

use crate::cli::connection::ConnectionArgs;
use crate::cli::filters::FilterArgs;
use crate::cli::output::{OUTPUT, OutputArgs};
use crate::cli::repair::RepairArgs;
use crate::cli::servers::{PreviousArgs, ServerArgs};
use crate::command_line::CommandLine;
use crate::commands::fix::options::FixOptions;
use crate::commands::fix::planning::{PlannedRepair, PlanningPass, lock};
use crate::database::Database;
use crate::db::access_registry::{self, DeletedAre};
use crate::db::purpose::Purpose;
use crate::db::schema::Schema;
use crate::db::session::{Connection, SchemaTransaction, Session};
use crate::db::verification::Verification;
use crate::error::{ErrorKind, Failure};
use crate::exit_code::{self, Outcome};
use crate::litellm::access::basis::AccessBasis;
use crate::litellm::access::difference::AccessDifference;
use crate::litellm::reference_sites::Choice;
use crate::litellm::server_catalog::ServerCatalog;
use crate::process::command_args::{CommandArgs, NamedFile, Work};
use crate::process::invocation::Run;
use crate::process::progress::Progress;
use crate::repair::access_comparison::{AcceptedDifferences, ComparedAccess};
use crate::repair::conflict::{self};
use crate::repair::empty_lists::EmptyListDecisions;
use crate::repair::selection::Selection;
use crate::report::collected_plans::CollectedPlans;
use crate::report::ticket::{TicketCommands, TicketJournal};
use crate::report::{Announcements, Ending, FollowUp, RepairFacts, Report};
use crate::workflow::CHUNK;
use crate::workflow::access_basis::read_basis;
use crate::workflow::access_proof::{AccessProof, ReadCallers, TwoStates};
use crate::workflow::apply_changes::{
    begin_verification, delete_credentials, end_verification, lock_tables, moved,
};
use crate::workflow::candidate_rows::CandidateRows;
use crate::workflow::changeset_file::ChangesetDraft;
use crate::workflow::empty_list_search::{self, HeldRows, SearchProof, SearchedLists};
use crate::workflow::journal_retention::JournalRetention;
use crate::workflow::lock_retry::Patience;
use crate::workflow::planned_rows::ComparedWithPlan;
use crate::workflow::planner::Planner;
use crate::workflow::preconditions::{PlannedBy, check_access, check_as_shown, check_size};
use crate::workflow::repeat_options::{RepeatedOptions, repeat_rows, undo};
use crate::workflow::script_rows::ScriptRowReader;
use crate::workflow::survey::{SURVEY_STAGE, Survey, refuse_drift, warn_of_schema};
use crate::workflow::undo_script_file::UndoScriptFile;
use crate::workflow::write_run::{Attempt, Prepared, WriteFacts, WriteJob, WriteOptions};

const FIX_HELP: &str = "\
Only stale references are ever changed, and some of them are held. Unless --on-empty says \
otherwise, fix holds the last reference of a list if its owner would then inherit servers, or if \
the list would no longer limit anybody.

Examples:
  mcp-prune fix --dry-run          (the same statements, then ROLLBACK)
  mcp-prune fix --dry-run --on-empty unchanged  (hold as little as possible)
  mcp-prune fix                    (on a terminal: shows the plan and asks)
  mcp-prune fix --yes --exit-zero  (cron: held references are no failure)
  mcp-prune fix --dry-run --sites credentials --delete-rows
  mcp-prune fix --dry-run --if-deleted github  (before you delete the server)
  mcp-prune fix --dry-run --format sql  (for a DBA who runs it with psql)";

/// Options of `fix`.
#[derive(Debug, Args)]
#[command(after_help = exit_code::help("fix", FIX_HELP))]
pub struct FixArgs {
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which servers exist besides those of the table.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Where to repair.
    #[command(flatten)]
    pub filters: FilterArgs,
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
            ("--undo-sql", repair.undo_sql.as_deref()),
        ];
        let files = files.into_iter();
        files
            .filter_map(|(name, file)| Some((name, file?)))
            .collect()
    }
}

/// Runs `fix`.
///
/// # Errors
///
/// Fails where nothing was written, and says why.
pub(crate) async fn run(args: &FixArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let options = FixOptions::resolve(args)?;
    let accepted = options.policy().accepted();
    carry_out_accepting(args, run, options, accepted).await
}

/// Runs `fix` as if its planner were wrong: whatever the options let the plan do to anybody's
/// access, nobody accepted it. A test shows that it is stopped.
///
/// # Errors
///
/// Why nothing was written.
pub(crate) async fn run_unaccepted(args: &FixArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let options = FixOptions::resolve(args)?;
    carry_out_accepting(args, run, options, AcceptedDifferences::default()).await
}

async fn carry_out_accepting(
    args: &FixArgs,
    run: &mut Run,
    options: FixOptions<'_>,
    accepted: AcceptedDifferences,
) -> Result<Outcome, Failure> {
    let writing = WriteOptions::check("fix", &args.repair.write, &args.output)?;
    // The journal is opened first, so that nothing is changed that could not be taken back.
    let out = options.open_file(run)?;
    let undo_sql = args.repair.undo_sql.as_deref();
    let fix = Fix {
        args,
        undo_script: undo_sql.map(UndoScriptFile::new).transpose()?,
        retention: options.retention(out.as_ref()),
        options,
        accepted,
    };
    writing.carry_out(&fix, &args.connection, out, run).await
}

/// A repair: it removes what is stale, or what a saved plan says.
struct Fix<'a> {
    args: &'a FixArgs,
    options: FixOptions<'a>,
    /// Where the script goes that takes back the printed one.
    undo_script: Option<UndoScriptFile>,
    /// The differences of access that the operator accepted.
    accepted: AcceptedDifferences,
    /// How long older journals are kept.
    retention: Option<JournalRetention>,
}

impl WriteJob for Fix<'_> {
    type Facts = RepairFacts;
    type Left = LeftHeld;

    const PURPOSE: Purpose = Purpose::Write;
    const STAGE: &'static str = SURVEY_STAGE;
    const QUESTION: &'static str = "Repair";
    const DONE: &'static str = "the repair";

    fn sites(&self) -> Choice {
        self.options.sites().clone()
    }

    fn check_database(&self, database: &Database) -> Result<(), Failure> {
        self.options.check_database(database)
    }

    fn save_dry_run(&self, report: &Report) -> Result<(), Failure> {
        let file = self.undo_script.as_ref();
        file.map_or(Ok(()), |file| file.save(report))
    }

    fn succeeded(&self, facts: &RepairFacts) {
        if let Some(retention) = &self.retention {
            retention.apply(&facts.database);
        }
    }

    fn after_dry_run(&self, plan: Option<&Path>) -> FollowUp {
        self.args.follow_up(plan)
    }

    fn take_back(&self, journal: &Path) -> CommandLine {
        self.args.take_back(journal)
    }

    fn moved(&self, facts: &RepairFacts) -> Failure {
        let mut conflicts = facts.conflicts.iter();
        if conflicts.all(|conflict| conflict.found == conflict::ConflictKind::Done) {
            let message = "this plan was carried out already; nothing was written";
            return Failure::new(ErrorKind::Moved, message).hint("scan tells what there is now");
        }
        moved(
            facts.conflicts.len(),
            "the report tells which; plan anew, or look into who changed them; config files and \
             --keep have to be as when it was planned",
        )
    }

    fn outcome(&self, report: &Report) -> Outcome {
        let summary = report.summary();
        match report.ending() {
            Ending::DryRun { .. } | Ending::Scanned { .. } | Ending::Proposed => Outcome::Looked {
                found: summary.needs_attention(),
            },
            Ending::Declined | Ending::Moved { .. } => Outcome::Looked { found: true },
            Ending::Applied { .. } | Ending::NothingToDo => Outcome::Repaired {
                held: summary.rows_held > 0,
            },
        }
    }

    async fn prepare<'a>(
        &self,
        open: &mut SchemaTransaction<'_>,
        attempt: Attempt<'a>,
    ) -> Result<Prepared<'a, RepairFacts, LeftHeld>, Failure> {
        let Attempt {
            run,
            database,
            patience,
            out,
            progress,
            keeps,
            tells,
        } = attempt;
        let (connection, schema) = open.parts();
        self.lock_known_tables(connection, schema).await?;
        let verification = begin_verification(connection, schema).await?;
        let plan = self.options.read_plan()?;
        let survey = self.options.survey(plan.as_ref());
        let survey = Survey::take(connection, schema, database, survey, progress).await?;
        let Survey {
            selection,
            catalog,
            found,
            unmatched,
        } = survey;
        let draft = out.map(|out| out.begin(self.options.header(run, database, &catalog)));
        let draft = draft.transpose()?;
        if patience.is_last_attempt() {
            // Nobody else can change them while they are planned.
            progress.stage("locking rows");
            lock(&found, connection, schema, patience, progress).await?;
        }
        progress.stage("comparing access");
        let first_choices = EmptyListDecisions::FIRST_CHOICES;
        let planner = self.planner(schema, &catalog, first_choices, &selection);
        let searched = self.search_lists(connection, &planner, &found).await?;
        let planner = self.planner(schema, &catalog, &searched.decisions, &selection);
        progress.stage("planning rows");
        let compared = ComparedWithPlan::on(patience);
        let found_plans = self.collection(keeps, &catalog);
        let limits = self.options.limits();
        let naming = limits.rows_naming(connection, schema).await?;
        let script = self.options.begin_script(schema, &catalog, &verification);
        let mut pass = PlanningPass {
            planner: &planner,
            script,
            plan,
            draft,
            tells,
            repair: PlannedRepair::new(found_plans, unmatched, naming, compared),
        };
        pass.tables(connection, &found, progress).await?;
        let PlanningPass {
            mut draft,
            script,
            repair,
            ..
        } = pass;
        self.check(connection, &planner, &repair).await?;
        let mut access = None;
        if repair.conflicts.is_empty() {
            access = self
                .prove_and_lock(
                    connection, &planner, &repair, &mut draft, patience, progress,
                )
                .await?;
            let draft = draft.as_mut();
            self.write(connection, schema, &repair, draft, verification, progress)
                .await?;
        }
        let script = ScriptRowReader::finish(script, connection, &planner).await?;
        Ok(Prepared {
            is_moved: !repair.conflicts.is_empty(),
            facts: RepairFacts {
                run: run.id().to_owned(),
                database: database.clone(),
                said: Announcements {
                    policy: self.options.policy(),
                },
                release: schema.release(),
                drift: schema.drift(),
                servers: (&catalog).into(),
                found: repair.found,
                conflicts: repair.conflicts,
                deleted: catalog.deleted().clone(),
                affected: None,
                access,
                settled: None,
                baseline: None,
                ticket: self.args.ticket(run.id()),
                script,
            },
            left: LeftHeld {
                held: repair.held,
                decisions: searched.decisions,
                catalog,
                selection,
            },
            draft,
            written: repair.written,
        })
    }

    /// Counts what the other choices would settle.
    async fn look_again(
        &self,
        session: &mut Session,
        left: LeftHeld,
        facts: &mut RepairFacts,
    ) -> Result<(), Failure> {
        if left.held.is_empty() {
            return Ok(());
        }
        let database = session.database().clone();
        let mut open = session.begin(Purpose::Read, &self.sites()).await?;
        let (connection, schema) = open.parts();
        let planner = self.planner(schema, &left.catalog, &left.decisions, &left.selection);
        let (sources, most) = (self.options.sources(), self.options.compare_at_most());
        let settled = left
            .held
            .settled(connection, &database, &planner, sources, most);
        facts.settled = settled.await?;
        open.rollback().await
    }
}

impl Fix<'_> {
    /// Warns of what is not known of the schema, or refuses it with `--strict`, and locks the
    /// tables.
    async fn lock_known_tables(
        &self,
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<(), Failure> {
        if self.args.repair.guards.strict {
            refuse_drift(schema)?;
        }
        warn_of_schema(schema);
        lock_tables(connection, schema).await
    }
}

/// The held references of a repair, and what is needed to count what other choices would settle.
struct LeftHeld {
    /// The rows with something held because a list would run empty.
    held: HeldRows,
    /// What became of the lists that would run empty.
    decisions: EmptyListDecisions,
    catalog: ServerCatalog,
    selection: Selection,
}

impl Fix<'_> {
    /// Makes an empty collection of plans. It keeps every row that is compared with what was shown.
    fn collection(&self, keeps: bool, catalog: &ServerCatalog) -> CollectedPlans {
        let plans = if keeps {
            CollectedPlans::put_aside()
        } else {
            self.args.output.format.writer().collection()
        };
        plans.with_names(Arc::clone(catalog.names()))
    }

    /// Refuses a repair in which a reference was not found, or which is larger than it may be.
    async fn check(
        &self,
        connection: &mut Connection,
        planner: &Planner<'_>,
        repair: &PlannedRepair,
    ) -> Result<(), Failure> {
        let unmatched = &repair.unmatched;
        unmatched
            .ensure_all_found(connection, planner, planner.selection)
            .await?;
        let (limits, summary) = (self.options.limits(), repair.found.summary());
        check_size(limits, repair.naming, summary)
    }

    /// Compares access, puts the journal on disk and locks what will be written.
    ///
    /// If few callers depend on it, their access is compared once it is locked. To compare many
    /// takes long, and others would wait for the rows; so that comes first, and again only if the
    /// locks had to be waited for.
    async fn prove_and_lock(
        &self,
        connection: &mut Connection,
        planner: &Planner<'_>,
        repair: &PlannedRepair,
        draft: &mut Option<ChangesetDraft<'_>>,
        patience: &mut Patience,
        progress: &Progress,
    ) -> Result<Option<ComparedAccess>, Failure> {
        let schema = planner.schema;
        let by = match (planner.policy.is_searched(), patience.is_last_attempt()) {
            (true, _) => PlannedBy::Search,
            (false, true) => PlannedBy::Rules,
            (false, false) => PlannedBy::RulesWithoutLocks,
        };
        let mut access = None;
        progress.stage("comparing access");
        let states = repair.states();
        let mut callers = ReadCallers::default();
        let are_many = self.options.compare_at_most() > CHUNK
            && !states.after.is_empty()
            && callers.count_owners(connection, schema, states).await? > CHUNK;
        if are_many {
            access = self
                .prove(connection, planner, repair, &mut callers, by)
                .await?;
        }
        draft.as_mut().map_or(Ok(()), ChangesetDraft::sync)?;
        let waits = patience.waits();
        repair.lock(connection, schema, patience, progress).await?;
        if !are_many || patience.waits() > waits {
            progress.stage("comparing access");
            callers = ReadCallers::default();
            access = self
                .prove(connection, planner, repair, &mut callers, by)
                .await?;
        }
        Ok(access)
    }

    /// Compares access. If rows were planned without locks, it may differ because somebody changed
    /// them since, and then the repair starts over.
    async fn prove(
        &self,
        connection: &mut Connection,
        planner: &Planner<'_>,
        repair: &PlannedRepair,
        callers: &mut ReadCallers,
        by: PlannedBy,
    ) -> Result<Option<ComparedAccess>, Failure> {
        let compared = self.compare_access(connection, planner, repair.states(), callers, by);
        let compared = compared.await;
        let differs =
            |failure: &Failure| matches!(failure.kind(), ErrorKind::Refused | ErrorKind::Moved);
        if compared.as_ref().is_err_and(differs) {
            // A server that came back is a reason too, and the better one to tell.
            let sources = self.options.sources();
            let now = sources.catalog(connection, planner.schema).await?;
            repair.removed.check_still_gone(&now)?;
        }
        compared
    }

    /// Writes what was planned, once it is locked, and checks it. Deleted servers must not have
    /// come back meanwhile.
    async fn write(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        repair: &PlannedRepair,
        mut draft: Option<&mut ChangesetDraft<'_>>,
        mut verification: Verification,
        progress: &Progress,
    ) -> Result<(), Failure> {
        progress.stage("writing and verifying rows");
        let verified = &mut verification;
        repair
            .rows
            .write(connection, schema, verified, progress)
            .await?;
        for deletion in repair.deletions.iter().cloned() {
            let size = deletion.size();
            let draft = draft.as_deref_mut();
            delete_credentials(connection, schema, deletion, draft, verified).await?;
            progress.rows(size);
        }
        end_verification(connection, schema, verified).await?;
        let now = self.options.sources().catalog(connection, schema).await?;
        repair.removed.check_still_gone(&now)
    }

    /// Makes a planner that applies the operator's policy and these decisions.
    fn planner<'p>(
        &self,
        schema: &'p Schema,
        catalog: &'p ServerCatalog,
        decisions: &'p EmptyListDecisions,
        selection: &'p Selection,
    ) -> Planner<'p> {
        Planner {
            schema,
            catalog,
            policy: self.options.policy(),
            decisions,
            selection,
            notes: false,
        }
    }

    /// Decides what becomes of lists that would run empty, where the operator's choice asks that
    /// nobody's access changes.
    async fn search_lists(
        &self,
        connection: &mut Connection,
        planner: &Planner<'_>,
        candidates: &CandidateRows,
    ) -> Result<SearchedLists, Failure> {
        if !planner.policy.is_searched() {
            return Ok(SearchedLists::default());
        }
        let (schema, catalog) = (planner.schema, planner.catalog);
        let release = schema.release();
        let sources = self.options.sources();
        let basis = read_basis(connection, schema, sources, catalog, release).await?;
        let proof = AccessProof {
            basis: &basis,
            catalog,
            most: self.options.compare_at_most(),
        };
        let of_choice = SearchProof::of_choice(proof, planner.policy.on_empty);
        if catalog.deleted().is_empty() {
            return empty_list_search::search(connection, planner, candidates, &[of_choice]).await;
        }
        let while_served = while_served(connection, schema, catalog, &basis).await?;
        // Until the servers are deleted nobody may gain what they still serve.
        let while_served = SearchProof {
            proof: AccessProof {
                basis: &while_served,
                ..proof
            },
            counts: AccessDifference::widens,
        };
        let proofs = [of_choice, while_served];
        empty_list_search::search(connection, planner, candidates, &proofs).await
    }

    /// Compares the access of everybody who depends on a row that will be written, as the row is
    /// and as it will be. Refuses a difference that the operator did not accept.
    async fn compare_access(
        &self,
        connection: &mut Connection,
        planner: &Planner<'_>,
        states: TwoStates<'_>,
        callers: &mut ReadCallers,
        by: PlannedBy,
    ) -> Result<Option<ComparedAccess>, Failure> {
        let Planner {
            schema, catalog, ..
        } = *planner;
        if states.after.is_empty() {
            return Ok(None);
        }
        let release = schema.release();
        let sources = self.options.sources();
        let basis = read_basis(connection, schema, sources, catalog, release).await?;
        let proof = AccessProof {
            basis: &basis,
            catalog,
            most: self.options.compare_at_most(),
        };
        let mut access = proof.compare(connection, schema, callers, states).await?;
        access.without_deleted = !catalog.deleted().is_empty();
        check_access(&access, self.accepted, by)?;
        if !catalog.deleted().is_empty() {
            // Until they are deleted these servers are served. Access to them may be lost, as was
            // asked, and must not be gained.
            let while_served = while_served(connection, schema, catalog, &basis).await?;
            let proof = AccessProof {
                basis: &while_served,
                catalog,
                most: self.options.compare_at_most(),
            };
            let access = proof.compare(connection, schema, callers, states).await?;
            let accepted = AcceptedDifferences {
                narrowing: true,
                ..self.accepted
            };
            check_access(&access, accepted, by)?;
        }
        Ok(Some(access))
    }
}

/// Returns the same with the servers served that are taken as deleted: so it is until they are.
async fn while_served(
    connection: &mut Connection,
    schema: &Schema,
    catalog: &ServerCatalog,
    basis: &AccessBasis,
) -> Result<AccessBasis, Failure> {
    let (served, rules) = (DeletedAre::Served, basis.rules);
    let registry = access_registry::registry(connection, schema, catalog, served, rules);
    Ok(basis.serving(registry.await?))
}

impl WriteFacts for RepairFacts {
    fn rows_written(&self) -> usize {
        self.found.summary().rows_changed
    }

    fn check_as_shown(&self, shown: &Self) -> Result<(), Failure> {
        check_as_shown(shown.found.plans(), self.found.plans())?;
        if self.access == shown.access {
            return Ok(());
        }
        let message = "what the repair changes of somebody's access is no longer as shown";
        Err(Failure::new(ErrorKind::Moved, message)
            .hint("nothing was written; run it again to see it as it is now"))
    }
}

impl FixArgs {
    /// Returns the repair that this dry run showed, and the dry run itself, to be varied.
    ///
    /// `plan` is the file that the dry run was saved to. It holds the options of planning.
    pub(crate) fn follow_up(&self, plan: Option<&Path>) -> FollowUp {
        let mut carry_out = CommandLine::new("fix");
        let mut options = RepeatedOptions::All;
        if let Some(plan) = plan {
            carry_out.option("--plan", plan);
            options = RepeatedOptions::NotInThePlan;
        }
        self.repeat(options, &mut carry_out);
        let mut dry_run = CommandLine::new("fix");
        dry_run.flag("--dry-run");
        self.repeat(RepeatedOptions::All, &mut dry_run);
        FollowUp {
            carry_out,
            // A saved plan cannot be varied.
            dry_run: Some(dry_run).filter(|_| self.repair.plan.is_none()),
        }
    }

    /// Returns the commands that only a change ticket has.
    fn ticket(&self, run: &str) -> TicketCommands {
        let mut verify = CommandLine::new("scan");
        self.connection.repeat(&mut verify);
        self.repair.previous.repeat(&mut verify);
        self.servers.repeat(&mut verify);
        repeat_rows(&self.filters, &mut verify);
        let journal = &self.repair.write.journal;
        // Journals are deleted beside the new one, so with a retention its folder matters.
        let is_said = journal.journal.is_some() || journal.no_journal;
        let is_free = !is_said && self.repair.journal_retention.is_none();
        let journal = is_free.then(|| {
            let file = format!("fix-{run}.ndjson");
            let take_back = self.take_back(Path::new(&file));
            TicketJournal { file, take_back }
        });
        TicketCommands {
            verify,
            // A plan has filters of its own, and a reference that is gone cannot be asked for.
            looks_further: self.repair.plan.is_some() || !self.filters.reference.is_empty(),
            journal,
        }
    }

    /// Adds the options that decide what is repaired.
    fn repeat(&self, options: RepeatedOptions, command: &mut CommandLine) {
        let Self {
            connection,
            servers,
            filters,
            repair,
            output: _,
            exit_zero: _,
        } = self;
        connection.repeat(command);
        servers.repeat_beside(&repair.deletions, command);
        if options == RepeatedOptions::All {
            filters.repeat(command);
        }
        repair.repeat(options, command);
    }

    /// Returns the undo of this repair, whose old values are in `journal`.
    pub(crate) fn take_back(&self, journal: &Path) -> CommandLine {
        undo(journal, &self.connection, &self.repair.write)
    }
}
