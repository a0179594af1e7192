//! Reports: what a command found and did, apart from the format that it is written in.

pub(crate) mod access;
pub(crate) mod access_changes;
pub(crate) mod access_naming;
pub(crate) mod access_what_if;
pub(crate) mod advice;
pub(crate) mod affected_callers;
pub(crate) mod baseline;
pub(crate) mod cell_text;
pub(crate) mod collected_plans;
pub(crate) mod compared_access;
pub(crate) mod csv;
pub(crate) mod decisions;
pub(crate) mod journals;
pub(crate) mod json;
pub(crate) mod json_text;
pub(crate) mod list_format;
pub(crate) mod markdown;
pub(crate) mod metrics;
pub(crate) mod named_owners;
pub(crate) mod ndjson;
pub(crate) mod overview;
pub(crate) mod put_aside;
pub(crate) mod render;
pub(crate) mod shown_text;
pub(crate) mod spool;
pub(crate) mod sql_literal;
pub(crate) mod sql_script;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod text_table;
pub(crate) mod ticket;
pub(crate) mod undone_changes;

use std::io;

use crate::command_line::CommandLine;
use crate::database::Database;
use crate::error::Failure;
use crate::litellm::config::ConfigServer;
use crate::litellm::deleted_servers::DeletedServers;
use crate::litellm::known_names::KnownNames;
use crate::litellm::release::Release;
use crate::litellm::schema_drift::SchemaDrift;
use crate::litellm::server::ConfigServers;
use crate::litellm::server_catalog::ServerCatalog;
use crate::repair::access_comparison::ComparedAccess;
use crate::repair::changeset::UndoneRun;
use crate::repair::conflict::Conflict;
use crate::repair::empty_lists::SettledByChoice;
use crate::repair::plan::RowPlan;
use crate::repair::policy::Policy;
use crate::report::affected_callers::AffectedCallers;
use crate::report::baseline::BaselineFacts;
use crate::report::collected_plans::CollectedPlans;
use crate::report::compared_access::Tense;
use crate::report::render::{AnyReport, Render};
pub(crate) use crate::report::shown_text::count;
use crate::report::sql_script::SqlScript;
use crate::report::summary::{Summary, Tally};
use crate::report::ticket::TicketCommands;
use crate::report::undone_changes::UndoneChanges;

/// How a command ended, which decides how its report reads.
#[derive(Debug)]
pub(crate) enum Ending {
    /// `scan` read everything.
    Scanned {
        /// The dry run that repairs what was found, to which options are added.
        dry_run: CommandLine,
    },
    /// `--dry-run`: everything was done and rolled back.
    DryRun {
        /// The file that the plan was saved to.
        plan: Option<String>,
        /// The commands that may come next.
        follow_up: FollowUp,
    },
    /// Everything was done and rolled back, and the operator has not answered the prompt yet.
    Proposed,
    /// Everything was done and committed.
    Applied {
        /// The journal; `None` with `--no-journal`.
        journal: Option<WrittenJournal>,
        /// Whether the proxies' Redis was given, so that they were told what was written.
        notified: bool,
    },
    /// Nothing was found that may be changed.
    NothingToDo,
    /// The operator answered no.
    Declined,
    /// The rows are no longer as the plan or journal has them; nothing was written.
    Moved {
        /// The command that leaves these rows alone and writes the others.
        carry_out: Option<CommandLine>,
    },
}

impl Ending {
    /// Tells whether the report is of `scan`, which does not even plan to write.
    #[must_use]
    pub(crate) fn is_of_scan(&self) -> bool {
        matches!(self, Self::Scanned { .. })
    }

    /// Returns the command of a [`Report`] with this ending: `scan` or `fix`, as `undo` makes none.
    #[must_use]
    pub(crate) fn command(&self) -> &'static str {
        if self.is_of_scan() { "scan" } else { "fix" }
    }

    /// Tells whether the report speaks of what was done or of what would be.
    #[must_use]
    pub(crate) fn tense(&self) -> Tense {
        if matches!(self, Self::Applied { .. }) {
            Tense::Done
        } else {
            Tense::Would
        }
    }

    /// Returns the name of the outcome in JSON.
    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Scanned { .. } => "scanned",
            Self::DryRun { .. } => "dry-run",
            Self::Proposed => "proposed",
            Self::Applied { .. } => "applied",
            Self::NothingToDo => "nothing-to-do",
            Self::Declined => "declined",
            Self::Moved { .. } => "moved",
        }
    }

    /// Returns the file that takes back what was written.
    #[must_use]
    pub(crate) fn journal(&self) -> Option<&str> {
        match self {
            Self::Applied { journal, .. } => journal.as_ref().map(|journal| journal.path.as_str()),
            Self::Scanned { .. }
            | Self::DryRun { .. }
            | Self::Proposed
            | Self::NothingToDo
            | Self::Declined
            | Self::Moved { .. } => None,
        }
    }

    /// Returns the file that the plan was saved to.
    #[must_use]
    pub(crate) fn plan(&self) -> Option<&str> {
        match self {
            Self::DryRun { plan, .. } => plan.as_deref(),
            Self::Scanned { .. }
            | Self::Proposed
            | Self::Applied { .. }
            | Self::NothingToDo
            | Self::Declined
            | Self::Moved { .. } => None,
        }
    }
}

/// The commands that may come after a dry run, each as it is pasted into a shell.
#[derive(Debug)]
pub(crate) struct FollowUp {
    /// The command that writes what was only shown.
    pub carry_out: CommandLine,
    /// The dry run again, to which options are added; `None` where it cannot be varied.
    pub dry_run: Option<CommandLine>,
}

/// The journal of what was committed.
#[derive(Debug)]
pub(crate) struct WrittenJournal {
    /// The file.
    pub path: String,
    /// The command that takes back what was written.
    pub take_back: CommandLine,
}

/// The report of a command: what it found and did, and how it ended. Neither is changed
/// afterwards.
#[derive(Debug)]
pub(crate) struct Report<F = RepairFacts> {
    facts: F,
    ending: Ending,
}

/// The report of `undo`.
pub(crate) type UndoReport = Report<UndoFacts>;

impl<F> Report<F> {
    /// Makes the report of a command that ended.
    #[must_use]
    pub(crate) fn new(facts: F, ending: Ending) -> Self {
        Self { facts, ending }
    }

    /// Returns what the command found and did.
    #[must_use]
    pub(crate) fn facts(&self) -> &F {
        &self.facts
    }

    /// Returns how the command ended.
    #[must_use]
    pub(crate) fn ending(&self) -> &Ending {
        &self.ending
    }

    /// Takes the report apart, to make one with another ending.
    #[must_use]
    pub(crate) fn into_facts(self) -> F {
        self.facts
    }
}

impl Render for Report {
    fn matters(&self, exit_zero: bool) -> bool {
        let summary = self.summary();
        let leaves_something = match self.ending {
            Ending::Scanned { .. } => return self.leaves_something_new(),
            Ending::DryRun { .. } | Ending::Proposed | Ending::Declined => {
                summary.needs_attention()
            }
            Ending::Applied { .. } | Ending::NothingToDo => summary.rows_held > 0,
            Ending::Moved { .. } => return true,
        };
        summary.rows_changed > 0 || (leaves_something && !exit_zero)
    }

    fn tally(&self) -> Tally {
        let repaired = matches!(self.ending, Ending::Applied { .. });
        let findings = Some(self.facts.found.alike(repaired));
        if self.ending.is_of_scan() {
            let read = self.facts.baseline.as_ref();
            let read = read.and_then(|baseline| baseline.read.as_ref());
            return Tally {
                findings,
                acknowledged: read.map(|read| read.acknowledged.clone()),
                baseline_gone: read.map(|read| read.gone),
                ..Tally::default()
            };
        }
        let summary = self.summary();
        let written = |number: usize| Some(if repaired { number } else { 0 });
        Tally {
            findings,
            rows_changed: written(summary.rows_changed),
            rows_held: Some(summary.rows_held),
            references_held: Some(summary.references_held),
            references_removed: written(summary.references_removed),
            references_remapped: written(summary.references_remapped),
            ..Tally::default()
        }
    }

    fn as_any(&self) -> AnyReport<'_> {
        AnyReport::Repair(self)
    }
}

impl Render for UndoReport {
    fn matters(&self, _: bool) -> bool {
        !self.facts.changes.is_empty() || !self.facts.conflicts.is_empty()
    }

    fn tally(&self) -> Tally {
        let applied = matches!(self.ending, Ending::Applied { .. });
        Tally {
            rows_changed: Some(if applied {
                self.facts.changes.number()
            } else {
                0
            }),
            ..Tally::default()
        }
    }

    fn as_any(&self) -> AnyReport<'_> {
        AnyReport::Undo(self)
    }
}

/// The servers of configs, with their ids.
#[derive(Debug)]
pub(crate) struct ConfigIds {
    /// In the order of the files.
    pub servers: Vec<ConfigServer>,
}

/// What `undo` found and did, apart from how it ended.
#[derive(Debug)]
pub(crate) struct UndoFacts {
    /// The name of the run.
    pub run: String,
    /// The database.
    pub database: Database,
    /// The run that is taken back, whole or in part.
    pub undoes: UndoneRun,
    /// What was put back, or would be.
    pub changes: UndoneChanges,
    /// How many rows were already back.
    pub back: usize,
    /// The columns that now hold something else.
    pub conflicts: Vec<Conflict>,
    /// The access of everybody whom the undo concerns; `None` where nothing is put back, and where
    /// the comparison failed.
    pub access: Option<ComparedAccess>,
    /// Why access could not be compared. That does not keep the undo from its work.
    pub access_failure: Option<ComparisonFailure>,
}

/// Why access could not be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComparisonFailure {
    /// What happened.
    pub message: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

impl From<Failure> for ComparisonFailure {
    fn from(failure: Failure) -> Self {
        Self {
            message: failure.message(),
            hint: failure.advice().map(str::to_owned),
        }
    }
}

impl ComparisonFailure {
    /// Says that access was not compared, and why, in a paragraph.
    #[must_use]
    pub(crate) fn paragraph(&self) -> String {
        let Self { message, hint } = self;
        match hint {
            Some(hint) => format!("Access was not compared: {message} (hint: {hint})."),
            None => format!("Access was not compared: {message}."),
        }
    }
}

impl UndoFacts {
    /// Counts the rows that were put back, or would be.
    #[must_use]
    pub(crate) fn rows(&self) -> usize {
        self.changes.rows()
    }
}

/// How many servers the references were resolved against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerCounts {
    /// Rows of the server table.
    pub database: usize,
    /// Rows of servers that no proxy serves.
    pub inactive: usize,
    /// Servers of config.yaml files; `None` if they are not known.
    pub config: Option<usize>,
}

impl From<&ServerCatalog> for ServerCounts {
    fn from(catalog: &ServerCatalog) -> Self {
        Self {
            database: catalog.rows(),
            inactive: catalog.inactive(),
            config: match catalog.config() {
                ConfigServers::Unknown(_) => None,
                ConfigServers::Known(servers) => Some(servers.len()),
            },
        }
    }
}

/// The options that were given, so that no hint proposes them again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Announcements {
    /// How to repair.
    pub policy: Policy,
}

/// What `scan` or `fix` found and decided, apart from how it ended.
#[derive(Debug)]
pub(crate) struct RepairFacts {
    /// The name of the run.
    pub run: String,
    /// The database.
    pub database: Database,
    /// The servers.
    pub servers: ServerCounts,
    /// The oldest LiteLLM release that has this schema.
    pub release: Release,
    /// What the schema has that no known release has.
    pub drift: SchemaDrift,
    /// The rows with findings.
    pub found: CollectedPlans,
    /// The columns that are no longer as a saved plan has them.
    pub conflicts: Vec<Conflict>,
    /// The options that were given.
    pub said: Announcements,
    /// The servers that were taken as deleted.
    pub deleted: DeletedServers,
    /// The callers whose access changes by their deletion; `None` unless `scan` was asked that.
    pub affected: Option<AffectedCallers>,
    /// The access of everybody whom the repair concerns; `None` where nothing is written.
    pub access: Option<ComparedAccess>,
    /// How many held references each choice would settle; `None` where none is held in a list that
    /// would run empty, or where this role may not read what access depends on.
    pub settled: Option<SettledByChoice>,
    /// The baselines of a scan; `None` without any.
    pub baseline: Option<BaselineFacts>,
    /// The commands that only a change ticket has.
    pub ticket: TicketCommands,
    /// The script that does the same; `None` unless the operator asked for one.
    pub script: Option<SqlScript>,
}

impl Report {
    /// Counts everything.
    #[must_use]
    pub(crate) fn summary(&self) -> Summary {
        self.facts.found.summary()
    }

    /// Tells whether a scan found something that no baseline acknowledges. One that it wrote
    /// acknowledges everything.
    #[must_use]
    pub(crate) fn leaves_something_new(&self) -> bool {
        let baseline = self.facts.baseline.as_ref();
        let is_written = baseline.is_some_and(|baseline| baseline.written.is_some());
        !is_written && self.summary().needs_attention()
    }

    /// Returns what people call servers, access groups and toolsets.
    pub(crate) fn names(&self) -> &KnownNames {
        self.facts.found.names()
    }

    /// Reads back the rows with findings, by table and primary key, if they are kept. An item is an
    /// I/O error if one cannot be read.
    pub(crate) fn plans(&self) -> impl Iterator<Item = io::Result<RowPlan>> {
        self.facts.found.plans()
    }

    /// Reads back the same rows if any of them changes; else none, as that takes time.
    pub(crate) fn plans_with_changes(&self) -> impl Iterator<Item = io::Result<RowPlan>> {
        let has_any = self.summary().rows_changed > 0;
        has_any.then(|| self.plans()).into_iter().flatten()
    }

    /// Reads back the same rows if any of them holds a reference; else none.
    pub(crate) fn plans_with_holds(&self) -> impl Iterator<Item = io::Result<RowPlan>> {
        let has_any = self.summary().references_held > 0;
        has_any.then(|| self.plans()).into_iter().flatten()
    }

    /// Reads back the same rows if any of them has a last grant; else none.
    pub(crate) fn plans_with_last_grants(&self) -> impl Iterator<Item = io::Result<RowPlan>> {
        let has_any = self.summary().last_grant_rows > 0;
        has_any.then(|| self.plans()).into_iter().flatten()
    }
}
