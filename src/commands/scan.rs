//! `scan`: reports what is stale; never writes.

use std::path::Path;
use std::sync::Arc;

use clap::Args;

use crate::cli::connection::ConnectionArgs;
use crate::cli::filters::{BaselineArgs, FilterArgs};
use crate::cli::output::{OUTPUT, OutputArgs, without_sql};
use crate::cli::repair::COMPARE_AT_MOST;
use crate::cli::servers::{DeletionArgs, PreviousArgs, ServerArgs};
use crate::command_line::CommandLine;
use crate::db::credential_rows;
use crate::db::detect::{self, Search};
use crate::db::purpose::Purpose;
use crate::db::session::Session;
use crate::error::Failure;
use crate::exit_code::{self, Outcome};
use crate::litellm::reference_sites::ScannedTable;
use crate::process::command_args::{CommandArgs, NamedFile, Work};
use crate::process::invocation::Run;
use crate::process::print::{cannot_put_aside, print};
use crate::process::progress::Progress;
use crate::process::signals::Interrupt;
use crate::repair::plan::RowPlan;
use crate::report::ticket::TicketCommands;
use crate::report::{Announcements, Ending, RepairFacts, Report};
use crate::workflow::baseline_files::BaselineFiles;
use crate::workflow::deletion_effects;
use crate::workflow::empty_list_search::HeldRows;
use crate::workflow::filters::chosen_sites;
use crate::workflow::linked_owners::LinkedOwners;
use crate::workflow::planner::Planner;
use crate::workflow::repeat_options::repeat_rows;
use crate::workflow::server_sources::ServerSources;
use crate::workflow::survey::{
    EmptyServerTable, SURVEY_STAGE, Survey, SurveyOptions, SurveyedRows, warn_of_schema,
};
use crate::workflow::{CHUNK, OWNED};

const SCAN_HELP: &str = "\
Verdicts:
  stale             no server has this id, alias or name
  unverified        no row has it, but a server of a config.yaml may
  inactive          its server exists, but is pending, rejected or a draft
  malformed         LiteLLM cannot read the value
  dangling-toolset  the row is granted a toolset that is gone
  note              with --notes: not stale, but worth knowing

Only stale references are ever changed.

Examples:
  mcp-prune scan --db-url 'postgresql://readonly@db/litellm?schema=public'
  mcp-prune scan --no-config-servers --format json | jq .summary
  mcp-prune scan --if-deleted github  (who would lose or gain something)
  mcp-prune scan --write-baseline known  (then: scan --baseline known)
  mcp-prune scan --db-url embedded:backup.sql

scan runs in one read-only transaction, needs only SELECT, and works on a replica.";

/// Options of `scan`.
#[derive(Debug, Args)]
#[command(after_help = exit_code::help("scan", SCAN_HELP), mut_arg("format", without_sql))]
pub struct ScanArgs {
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which servers exist besides those of the table.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// The configs from before an edit.
    #[command(flatten)]
    pub previous: PreviousArgs,
    /// The servers that are to be deleted.
    #[command(flatten)]
    pub deletions: DeletionArgs,
    /// Where to look.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// The baselines to read and to write.
    #[command(flatten)]
    pub baselines: BaselineArgs,
    /// Also report what is not stale, but worth knowing: names that several servers share, names
    /// that this release of LiteLLM does not resolve, duplicates, servers granted by their tools
    /// alone
    #[arg(long, help_heading = OUTPUT)]
    pub notes: bool,
    /// How to answer.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Exit with 0 instead of 2 (found)
    #[arg(long, help_heading = OUTPUT)]
    pub exit_zero: bool,
}

impl CommandArgs for ScanArgs {
    fn name(&self) -> &'static str {
        "scan"
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

    fn own_files(&self) -> Vec<NamedFile<'_>> {
        let new = self.baselines.write_baseline.as_deref();
        new.map(|file| ("--write-baseline", file))
            .into_iter()
            .collect()
    }

    fn baseline(&self) -> Option<&Path> {
        self.baselines.baseline.as_deref()
    }

    fn connection(&self) -> Option<&ConnectionArgs> {
        Some(&self.connection)
    }

    fn servers(&self) -> Option<&ServerArgs> {
        Some(&self.servers)
    }

    fn previous(&self) -> Option<&PreviousArgs> {
        Some(&self.previous)
    }
}

/// Runs `scan`.
///
/// # Errors
///
/// Fails where the database cannot be read or the report cannot be written.
pub(crate) async fn run(args: &ScanArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let ScanArgs {
        servers,
        previous,
        deletions,
        filters,
        ..
    } = args;
    let sources = ServerSources::of_options(servers, previous, deletions, None, filters)?;
    let baselines = BaselineFiles::open(&args.baselines)?;
    let mut interrupt = Interrupt::listen()?;
    let scanning = Box::pin(scan(args, run, &sources, baselines));
    let report = Arc::new(interrupt.guard(scanning).await?);
    let printed = print(&report, &args.output, run, &mut interrupt).await;
    let found = report.leaves_something_new();
    Run::looked(Outcome::Looked { found }, printed)
}

async fn scan(
    args: &ScanArgs,
    run: &Run,
    sources: &ServerSources,
    baselines: BaselineFiles<'_>,
) -> Result<Report, Failure> {
    let timeout = args.connection.statement_timeout;
    let mut session = args.connection.open(timeout, run).await?;
    let report = look(args, run, &mut session, sources, baselines).await?;
    session.close().await;
    Ok(report)
}

async fn look(
    args: &ScanArgs,
    run: &Run,
    session: &mut Session,
    sources: &ServerSources,
    mut baselines: BaselineFiles<'_>,
) -> Result<Report, Failure> {
    let database = session.database().clone();
    baselines.check_database(&database)?;
    let sites = chosen_sites(&args.filters.sites, sources.usual_sites());
    let progress = Progress::begin(SURVEY_STAGE);
    let mut open = session.begin(Purpose::Read, &sites).await?;
    let (connection, schema) = open.parts();
    warn_of_schema(schema);
    let options = SurveyOptions {
        sources,
        rows: SurveyedRows::Found(&args.filters, args.search()),
        empty_server_table: EmptyServerTable::Warns,
    };
    let survey = Survey::take(connection, schema, &database, options, &progress).await?;
    let Survey {
        selection,
        catalog,
        found,
        mut unmatched,
    } = survey;
    let planner = Planner::of_a_scan(schema, &catalog, &selection, args.notes);
    let format = args.output.format.writer();
    let mut held = HeldRows::default();
    let mut report = format.collection().with_names(Arc::clone(catalog.names()));
    progress.stage("reading rows");
    for listed in found.tables() {
        let mut add = |mut plans: Vec<RowPlan>, looked_at| {
            unmatched.mark_found(&plans);
            baselines.sift(&mut plans);
            progress.rows(looked_at);
            report.add(&plans).map_err(cannot_put_aside)
        };
        match listed.table() {
            ScannedTable::References(table) => {
                // A scan keeps no old values, so it has room for more owners.
                const AT_ONCE: usize = 2 * OWNED;
                let mut owners = LinkedOwners::read(connection, schema, listed, AT_ONCE).await?;
                let mut owners = owners.in_order();
                for keys in listed.parts(AT_ONCE) {
                    let keys = keys?;
                    let mut owned = owners.name_rows(table, &keys)?;
                    for chunk in keys.chunks(CHUNK) {
                        let mut rows = owned.read(connection, schema, chunk).await?;
                        rows.retain(|row| selection.takes(row));
                        let plans = held.plan(connection, &planner, table, rows).await?;
                        add(plans, chunk.len())?;
                    }
                }
                owners.finish()?;
            }
            ScannedTable::Credentials(table) => {
                for servers in listed.parts(CHUNK) {
                    let servers = servers?;
                    let numbers = credential_rows::numbers(connection, schema, table, &servers);
                    let mut rows = numbers.await?;
                    rows.retain(|rows| selection.takes_credentials(rows));
                    let plans = planner.plan_credentials(table, &rows);
                    held.add(&plans)?;
                    add(plans, servers.len())?;
                }
            }
        }
    }
    let ensured = unmatched.ensure_all_found(connection, &planner, &selection);
    ensured.await?;
    let settled = held.settled(connection, &database, &planner, sources, COMPARE_AT_MOST);
    let settled = settled.await?;
    if report.summary().rows == 0 && args.tells_looked_at() {
        report.tell_looked_at(detect::looked_at(connection, schema).await?);
    }
    let affected =
        deletion_effects::compare(connection, schema, &database, sources, &catalog, &progress);
    let affected = Box::pin(affected).await?;
    let (release, drift) = (schema.release(), schema.drift());
    let baseline = baselines.close(&database, schema, &args.filters, args.again())?;
    open.leave();
    let facts = RepairFacts {
        run: run.id().to_owned(),
        database,
        release,
        drift,
        servers: (&catalog).into(),
        found: report,
        conflicts: Vec::new(),
        said: Announcements::default(),
        deleted: catalog.deleted().clone(),
        affected,
        access: None,
        settled,
        baseline,
        ticket: TicketCommands {
            verify: args.verify(),
            looks_further: args.baselines.baseline.is_some() || !args.filters.reference.is_empty(),
            journal: None,
        },
        script: None,
    };
    let dry_run = args.follow_up();
    Ok(Report::new(facts, Ending::Scanned { dry_run }))
}

impl ScanArgs {
    /// Returns what the rows are searched for.
    fn search(&self) -> Search {
        if self.notes {
            Search::ReferencesAndNotes
        } else {
            Search::References
        }
    }

    /// Tells whether a report without findings says what was looked at.
    ///
    /// Counting it reads the tables once more, so it is only done for a person, who would see
    /// nothing else.
    fn tells_looked_at(&self) -> bool {
        let is_for_people = self.output.format.writer().is_for_people();
        is_for_people && !self.output.quiet && !self.filters.narrows()
    }

    /// Returns the dry run of the repair of what was found.
    pub(crate) fn follow_up(&self) -> CommandLine {
        let Self {
            connection,
            servers,
            previous,
            deletions,
            filters,
            // `fix` ignores baselines.
            baselines: _,
            notes: _,
            output: _,
            exit_zero: _,
        } = self;
        let mut dry_run = CommandLine::new("fix");
        dry_run.flag("--dry-run");
        connection.repeat(&mut dry_run);
        previous.repeat(&mut dry_run);
        deletions.repeat(&mut dry_run);
        servers.repeat_beside(deletions, &mut dry_run);
        filters.repeat(&mut dry_run);
        dry_run
    }

    /// Returns the scan that tells what a repair left.
    fn verify(&self) -> CommandLine {
        let mut scan = self.unfiltered();
        repeat_rows(&self.filters, &mut scan);
        scan
    }

    /// Returns this scan, without baselines.
    fn again(&self) -> CommandLine {
        let mut scan = self.unfiltered();
        self.filters.repeat(&mut scan);
        scan
    }

    /// Returns this scan without baselines and without filters.
    fn unfiltered(&self) -> CommandLine {
        let mut scan = CommandLine::new("scan");
        self.connection.repeat(&mut scan);
        self.previous.repeat(&mut scan);
        self.servers.repeat(&mut scan);
        scan
    }
}
