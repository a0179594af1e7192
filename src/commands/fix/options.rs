//! The options of `fix`, resolved once: from the command line, and with `--plan` from the plan.

use std::path::Path;

use crate::cli::filters::FilterArgs;
use crate::cli::output::Format;
use crate::cli::repair::{EmptyArgs, OnEmptyArg, RepairArgs, WriteArgs};
use crate::commands::fix::FixArgs;
use crate::database::Database;
use crate::db::detect::Search;
use crate::db::schema::Schema;
use crate::db::verification::Verification;
use crate::error::Failure;
use crate::litellm::reference_sites::Choice;
use crate::litellm::server_catalog::ServerCatalog;
use crate::process::invocation::Run;
use crate::repair::changeset::{ChangesetPurpose, Header, PlannedWith};
use crate::repair::policy::{self, Policy};
use crate::workflow::changeset_file::{ChangesetFile, SavedChangeset};
use crate::workflow::filters::chosen_sites;
use crate::workflow::journal_retention::JournalRetention;
use crate::workflow::preconditions::SizeLimits;
use crate::workflow::same_database::refuse_another;
use crate::workflow::saved_plan::SavedPlan;
use crate::workflow::script_rows::{ScriptRowReader, Scripts};
use crate::workflow::server_sources::ServerSources;
use crate::workflow::survey::{EmptyServerTable, SurveyOptions, SurveyedRows};

/// What a repair does, to which rows, and what is kept of it. It does not change once it is
/// resolved.
pub(crate) struct FixOptions<'a> {
    policy: Policy,
    sites: Choice,
    sources: ServerSources,
    filters: &'a FilterArgs,
    /// The plan to carry out, instead of what the filters take.
    plan: Option<SavedChangeset>,
    /// Whether the plan may be of another database.
    accepts_other_database: bool,
    limits: SizeLimits,
    /// The most callers whose access is compared.
    compare_at_most: usize,
    empty_server_table: EmptyServerTable,
    write: &'a WriteArgs,
    /// The file to save the plan to.
    plan_out: Option<&'a Path>,
    /// The scripts to make instead of a report, with `--format sql`.
    scripts: Option<Scripts>,
    /// The options that a plan keeps, with `--plan-out`.
    planned_with: Option<PlannedWith>,
    /// How many days older journals are kept.
    journal_retention: Option<u32>,
}

impl<'a> FixOptions<'a> {
    /// Resolves the options, and reads every file that they name.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, or an option contradicts the plan.
    pub(crate) fn resolve(args: &'a FixArgs) -> Result<Self, Failure> {
        let repair = &args.repair;
        let plan = repair.plan.as_deref().map(open_plan).transpose()?;
        let header = plan.as_ref().map(|plan| &plan.contents.header);
        let sources = args.sources(header)?;
        Ok(Self {
            policy: header.and_then(policy_of_plan).unwrap_or(args.policy()),
            sites: match &plan {
                Some(plan) => plan.contents.sites(),
                None => chosen_sites(&args.filters.sites, sources.usual_sites()),
            },
            limits: SizeLimits::from(&repair.guards),
            compare_at_most: repair.comparison.compare_at_most,
            empty_server_table: if repair.allow_empty_server_table {
                EmptyServerTable::Expected
            } else {
                EmptyServerTable::Fails
            },
            write: &repair.write,
            plan_out: repair.plan_out.as_deref(),
            scripts: args.scripts(),
            planned_with: args.planned_with(&sources)?,
            journal_retention: repair.journal_retention,
            sources,
            filters: &args.filters,
            accepts_other_database: repair.other_database,
            plan,
        })
    }

    /// Opens the file of the plan, or else the journal; `None` where neither is kept.
    pub(crate) fn open_file(&self, run: &Run) -> Result<Option<ChangesetFile>, Failure> {
        let journal = ChangesetFile::of_run(self.write, "fix", run)?;
        match self.plan_out {
            Some(path) => ChangesetFile::plan(path).map(Some),
            None => Ok(journal),
        }
    }

    /// Returns how long the journals beside `journal` are kept.
    pub(crate) fn retention(&self, journal: Option<&ChangesetFile>) -> Option<JournalRetention> {
        JournalRetention::read(self.journal_retention, journal)
    }

    /// Refuses a database that the saved plan is not of.
    pub(crate) fn check_database(&self, database: &Database) -> Result<(), Failure> {
        match &self.plan {
            Some(plan) if !self.accepts_other_database => {
                let made = &plan.contents.header;
                refuse_another(made.purpose, &made.database, database)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the sites that are repaired.
    pub(crate) fn sites(&self) -> &Choice {
        &self.sites
    }

    /// Returns what is done with lists that would run empty and with rows of credentials.
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// Returns the limits for the size of the repair.
    pub(crate) fn limits(&self) -> SizeLimits {
        self.limits
    }

    /// Returns the most callers whose access is compared.
    pub(crate) fn compare_at_most(&self) -> usize {
        self.compare_at_most
    }

    /// Returns what is known of servers besides the rows of their table.
    pub(crate) fn sources(&self) -> &ServerSources {
        &self.sources
    }

    /// Reads the saved plan, with `--plan`.
    pub(crate) fn read_plan(&self) -> Result<Option<SavedPlan>, Failure> {
        self.plan.as_ref().map(SavedPlan::read).transpose()
    }

    /// Returns the options of the survey; `plan` is the saved plan, if there is one.
    pub(crate) fn survey<'s>(&'s self, plan: Option<&'s SavedPlan>) -> SurveyOptions<'s> {
        SurveyOptions {
            sources: &self.sources,
            rows: match plan {
                Some(plan) => SurveyedRows::Planned(plan),
                None => SurveyedRows::Found(self.filters, Search::References),
            },
            empty_server_table: self.empty_server_table,
        }
    }

    /// Begins the scripts; `None` without `--format sql`.
    pub(crate) fn begin_script(
        &self,
        schema: &Schema,
        catalog: &ServerCatalog,
        verification: &Verification,
    ) -> Option<ScriptRowReader> {
        let scripts = self.scripts;
        scripts.map(|scripts| ScriptRowReader::begin(scripts, schema, catalog, verification))
    }

    /// Builds the first line of the journal or the plan.
    pub(crate) fn header(&self, run: &Run, database: &Database, catalog: &ServerCatalog) -> Header {
        let purpose = if self.write.dry_run {
            ChangesetPurpose::Plan
        } else {
            ChangesetPurpose::Fix
        };
        let mut header = run.header(purpose, database);
        header.on_empty = Some(self.policy.into());
        header.delete_rows = self.policy.delete_rows;
        header.remaps.clone_from(catalog.remaps());
        header.id_history.clone_from(catalog.history());
        header.if_deleted.clone_from(catalog.deleted());
        header.servers = Some(catalog.digest());
        header.planned_with.clone_from(&self.planned_with);
        header
    }
}

/// Opens the plan of `--plan`.
fn open_plan(path: &Path) -> Result<SavedChangeset, Failure> {
    let plan = SavedChangeset::open(path)?;
    plan.check_purpose(
        &[ChangesetPurpose::Plan],
        "--plan takes what fix --dry-run --plan-out saved; a journal is for undo",
    )?;
    Ok(plan)
}

/// Returns the policy that a plan was made with; `None` for a plan of a version that did not say.
fn policy_of_plan(plan: &Header) -> Option<Policy> {
    let on_empty = plan.on_empty?;
    Some(Policy {
        delete_rows: plan.delete_rows,
        ..on_empty.into()
    })
}

impl FixArgs {
    /// Reads the server knowledge of the options, or of the plan that is carried out.
    fn sources(&self, plan: Option<&Header>) -> Result<ServerSources, Failure> {
        let Self {
            servers,
            filters,
            repair,
            ..
        } = self;
        match plan {
            None => {
                let RepairArgs {
                    previous,
                    deletions,
                    ..
                } = repair;
                ServerSources::of_options(servers, previous, deletions, Some(repair), filters)
            }
            Some(plan) => {
                let sources = ServerSources::of_plan(servers, plan)?;
                self.check_plan(plan, &sources)?;
                Ok(sources)
            }
        }
    }

    /// Returns which scripts are made; `None` without `--format sql`.
    fn scripts(&self) -> Option<Scripts> {
        (self.output.format == Format::Sql).then(|| Scripts {
            take_back: self.repair.undo_sql.is_some(),
            lock_timeout: self.repair.write.lock_timeout,
            time_limit: self.connection.statement_timeout,
        })
    }

    /// Returns what a repair does with emptied columns and with rows of credentials.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            on_empty: self.repair.empty.on_empty(),
            delete_rows: self.repair.delete_rows,
        }
    }
}

impl EmptyArgs {
    /// Returns what to do with a column that would become empty. That the options go together is
    /// checked before, in `option_rules`.
    fn on_empty(&self) -> policy::OnEmpty {
        match self.on_empty.unwrap_or_default() {
            OnEmptyArg::Hold => policy::OnEmpty::Hold,
            OnEmptyArg::Deny => policy::OnEmpty::Deny {
                accept_narrowing: self.accept_narrowing,
            },
            OnEmptyArg::Unchanged => policy::OnEmpty::Unchanged,
            OnEmptyArg::Clear => policy::OnEmpty::Clear,
        }
    }
}
