//! What a command has to say, before it is written in one form or another.

pub mod access;
mod advice;
pub mod command_line;
pub mod csv;
mod decisions;
pub mod doctor;
pub mod found;
pub mod grid;
pub mod json;
mod json_text;
pub mod markdown;
pub mod metrics;
pub mod ndjson;
mod spool;
pub mod table;
mod text;

pub(crate) use self::text::count;

use std::collections::BTreeMap;
use std::io::{self, Write};

use self::command_line::CommandLine;
use self::csv::Cells;
use self::decisions::Decisions;
use self::found::Found;
use self::grid::Look;
use crate::db::schema::Database;
use crate::litellm::config::ConfigServer;
use crate::litellm::finding::{Finding, Kind};
use crate::litellm::release::Release;
use crate::litellm::server::{ConfigServers, ServerCatalog};
use crate::repair::changeset::Change;
use crate::repair::compare::Conflict;
use crate::repair::plan::{Edit, Reason, RowPlan};
use crate::repair::policy::Policy;

/// How a command ended, and so how its report reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// `scan` looked.
    Scanned,
    /// `fix --dry-run` did everything and rolled it back.
    DryRun,
    /// Everything was done and rolled back to ask the operator, who has not answered yet.
    Proposed,
    /// `fix` committed.
    Applied,
    /// `fix` found nothing that it may change.
    NothingToDo,
    /// The operator answered no.
    Declined,
    /// The rows are no longer as the plan or journal has them, and nothing was written.
    Moved,
}

impl Ending {
    /// The command that ends so, where it is `scan` or `fix`.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Scanned => "scan",
            Self::DryRun
            | Self::Proposed
            | Self::Applied
            | Self::NothingToDo
            | Self::Declined
            | Self::Moved => "fix",
        }
    }

    /// The name of the outcome in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scanned => "scanned",
            Self::DryRun => "dry-run",
            Self::Proposed => "proposed",
            Self::Applied => "applied",
            Self::NothingToDo => "nothing-to-do",
            Self::Declined => "declined",
            Self::Moved => "moved",
        }
    }
}

/// What a command has to say, in every form it can be said in.
pub trait Render {
    /// Counts what was found and done.
    fn tally(&self) -> Tally;

    /// Whether it is worth to be read; with `exit_zero`, what is held is not.
    fn matters(&self, exit_zero: bool) -> bool;

    /// Writes it for a person to read.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn table(&self, look: Look, out: &mut dyn Write) -> io::Result<()>;

    /// Writes only how it ended, to a person who was shown the rest before.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn closing(&self, look: Look, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it as one JSON object and a newline.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn json(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it as one JSON object a line, entry by entry.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn ndjson(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it as CSV, entry by entry; `cells` tells what becomes of formulas.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn csv(&self, cells: Cells, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it for a change ticket; `command` is the command line without a password.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn markdown(&self, command: &str, out: &mut dyn Write) -> io::Result<()>;
}

/// What a run found and did, counted. What the command does not do is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The findings that are there after the run: of a repair, what it left.
    pub findings: Option<BTreeMap<Alike, usize>>,
    /// Rows written.
    pub rows_changed: Option<usize>,
    /// Rows with something held.
    pub rows_held: Option<usize>,
    /// Stale references held.
    pub references_held: Option<usize>,
    /// References removed.
    pub references_removed: Option<usize>,
    /// References renamed.
    pub references_remapped: Option<usize>,
}

impl Tally {
    /// How many findings of a kind are there.
    #[must_use]
    pub fn of_kind(&self, kind: Kind) -> usize {
        let findings = self.findings.iter().flatten();
        let of_kind = findings.filter(|(found, _)| found.kind == kind.name());
        of_kind.map(|(_, count)| count).sum()
    }
}

/// What findings have in common that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alike {
    /// What is wrong.
    pub kind: &'static str,
    /// The group of places.
    pub place: &'static str,
    /// The kind of all the row's owners; `mixed` where they are of several, `none` without any.
    pub owner_kind: &'static str,
}

impl Render for Report {
    fn matters(&self, exit_zero: bool) -> bool {
        let summary = self.summary();
        let leaves_something = match self.ending {
            Ending::Scanned => return summary.needs_attention(),
            Ending::DryRun | Ending::Proposed | Ending::Declined => summary.needs_attention(),
            Ending::Applied | Ending::NothingToDo => summary.rows_held > 0,
            Ending::Moved => return true,
        };
        summary.rows_changed > 0 || (leaves_something && !exit_zero)
    }

    fn tally(&self) -> Tally {
        let repaired = self.ending == Ending::Applied;
        let findings = Some(self.found.alike(repaired));
        if self.ending == Ending::Scanned {
            return Tally {
                findings,
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
        }
    }

    fn table(&self, look: Look, mut out: &mut dyn Write) -> io::Result<()> {
        table::write(self, look, &mut out)
    }

    fn closing(&self, look: Look, mut out: &mut dyn Write) -> io::Result<()> {
        table::write_closing(self, look, &mut out)
    }

    fn json(&self, mut out: &mut dyn Write) -> io::Result<()> {
        json::write(self, &mut out)
    }

    fn ndjson(&self, mut out: &mut dyn Write) -> io::Result<()> {
        ndjson::write(self, &mut out)
    }

    fn csv(&self, cells: Cells, mut out: &mut dyn Write) -> io::Result<()> {
        csv::write(self, cells, &mut out)
    }

    fn markdown(&self, command: &str, mut out: &mut dyn Write) -> io::Result<()> {
        markdown::write(self, command, &mut out)
    }
}

impl Render for Undone {
    fn matters(&self, _: bool) -> bool {
        !self.changes.is_empty() || !self.conflicts.is_empty()
    }

    fn tally(&self) -> Tally {
        let applied = self.ending == Ending::Applied;
        Tally {
            rows_changed: Some(if applied { self.changes.len() } else { 0 }),
            ..Tally::default()
        }
    }

    fn table(&self, look: Look, mut out: &mut dyn Write) -> io::Result<()> {
        table::write_undone(self, look, &mut out)
    }

    fn closing(&self, look: Look, mut out: &mut dyn Write) -> io::Result<()> {
        table::write_undone_closing(self, look, &mut out)
    }

    fn json(&self, mut out: &mut dyn Write) -> io::Result<()> {
        json::write_undone(self, &mut out)
    }

    fn ndjson(&self, mut out: &mut dyn Write) -> io::Result<()> {
        ndjson::write_undone(self, &mut out)
    }

    fn csv(&self, cells: Cells, mut out: &mut dyn Write) -> io::Result<()> {
        csv::write_undone(self, cells, &mut out)
    }

    fn markdown(&self, command: &str, mut out: &mut dyn Write) -> io::Result<()> {
        markdown::write_undone(self, command, &mut out)
    }
}

/// The servers of configs, with their ids.
#[derive(Debug)]
pub struct ConfigIds {
    /// In the order of the files.
    pub servers: Vec<ConfigServer>,
}

/// The commands that may come next, each as it is pasted into a shell.
#[derive(Debug, Default)]
pub struct FollowUp {
    /// The dry run of a repair of what was found, to be varied.
    pub dry_run: Option<CommandLine>,
    /// What does that which was only shown.
    pub carry_out: Option<CommandLine>,
    /// What takes back that which was written.
    pub take_back: Option<CommandLine>,
}

/// What `undo` found and did.
#[derive(Debug)]
pub struct Undone {
    /// The name of the run.
    pub run: String,
    /// The database.
    pub database: Database,
    /// How the command ended.
    pub ending: Ending,
    /// What was put back, or would be.
    pub changes: Vec<Change>,
    /// The rows that were back already.
    pub back: usize,
    /// The columns that hold something else by now.
    pub conflicts: Vec<Conflict>,
    /// The file that takes the undo back, where something was written.
    pub journal: Option<String>,
    /// The commands that may come next.
    pub follow_up: FollowUp,
    /// Whether the proxies' Redis was given, so that they were told what was written.
    pub notified: bool,
}

impl Undone {
    /// How many rows were put back, or would be.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.changes.iter().map(Change::size).sum()
    }
}

/// The servers that references were resolved against, in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerCounts {
    /// Rows of the server table.
    pub database: usize,
    /// Those of them that no proxy serves.
    pub inactive: usize,
    /// Servers of a `config.yaml`, or `None` where nothing is known of them.
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

/// What the command line said already, so that no hint proposes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// How the repair is to be done.
    pub policy: Policy,
}

/// Everything a command found and did.
#[derive(Debug)]
pub struct Report {
    /// The name of the run.
    pub run: String,
    /// The database.
    pub database: Database,
    /// The servers.
    pub servers: ServerCounts,
    /// The least LiteLLM that has migrated the schema.
    pub release: Release,
    /// How the command ended.
    pub ending: Ending,
    /// The rows with findings.
    pub found: Found,
    /// Where a saved plan no longer holds.
    pub conflicts: Vec<Conflict>,
    /// What the command line said.
    pub said: Said,
    /// The commands that may come next.
    pub follow_up: FollowUp,
    /// Whether the proxies' Redis was given, so that they were told what was written.
    pub notified: bool,
    /// The file that takes the repair back, where something was written.
    pub journal: Option<String>,
    /// The file that the plan was saved to.
    pub plan: Option<String>,
}

/// Counts over a report, in rows and in references (a reference counts once per column of a row).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows with a finding.
    pub rows: usize,
    /// Stale references.
    pub stale: usize,
    /// Rows with a stale reference.
    pub stale_rows: usize,
    /// Unverified references.
    pub unverified: usize,
    /// References to servers that are not served.
    pub inactive: usize,
    /// Malformed values.
    pub malformed: usize,
    /// References to toolsets that are gone.
    pub dangling_toolsets: usize,
    /// What is worth knowing besides.
    pub notes: usize,
    /// Rows whose owners would lose their last grant.
    pub last_grant_rows: usize,
    /// Rows with something to change.
    pub rows_changed: usize,
    /// Rows of them that are to be deleted, with what deleted servers left behind.
    pub rows_deleted: usize,
    /// References to remove.
    pub references_removed: usize,
    /// References to rename.
    pub references_remapped: usize,
    /// Rows with something held.
    pub rows_held: usize,
    /// References held.
    pub references_held: usize,
}

impl Summary {
    /// Whether somebody should look: something is stale, or may be.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.stale + self.unverified + self.dangling_toolsets > 0
    }

    /// Adds one row.
    fn count(&mut self, plan: &RowPlan) {
        let findings = &plan.audit.findings;
        let rows = |is_meant: bool| if is_meant { plan.rows() } else { 0 };
        self.rows += rows(!findings.is_empty());
        self.stale_rows += rows(plan.audit.is_stale());
        self.last_grant_rows += usize::from(findings.iter().any(|f| f.last_grant));
        for finding in findings {
            *match finding.kind {
                Kind::Stale => &mut self.stale,
                Kind::Unverified => &mut self.unverified,
                Kind::Inactive => &mut self.inactive,
                Kind::Malformed(_) => &mut self.malformed,
                Kind::DanglingToolset => &mut self.dangling_toolsets,
                Kind::Note(_) => &mut self.notes,
            } += 1;
        }
        self.rows_changed += rows(!plan.edits.is_empty());
        self.rows_deleted += rows(plan.edits.iter().any(Edit::takes_rows));
        self.rows_held += rows(!plan.held.is_empty());
        self.references_held += plan.held.len();
        self.references_remapped += plan.edits.iter().map(|e| e.remapped().len()).sum::<usize>();
        let lists = plan.edits.iter().filter(|edit| !edit.takes_rows());
        self.references_removed += lists.map(|e| e.removed().len()).sum::<usize>();
    }
}

impl Report {
    /// Counts everything.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.found.summary()
    }

    /// The rows with findings, where they are kept.
    pub(crate) fn plans(&self) -> &[RowPlan] {
        self.found.plans()
    }

    /// Returns the references to deleted servers, each with the number of rows that hold it, most
    /// rows first.
    #[must_use]
    pub fn stale_references(&self) -> Vec<(&str, usize)> {
        self.references(false)
    }

    /// Returns what looks like ids of config servers that were edited or removed, in the same way.
    #[must_use]
    pub fn config_ids(&self) -> Vec<(&str, usize)> {
        self.references(true)
    }

    fn references(&self, are_config_ids: bool) -> Vec<(&str, usize)> {
        let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
        for plan in self.plans() {
            let decisions = Decisions::of(plan);
            let mut references: Vec<&str> = plan
                .audit
                .findings
                .iter()
                .filter(|finding| finding.kind == Kind::Stale)
                .filter(|finding| is_config_id(&decisions, finding) == are_config_ids)
                .filter_map(|finding| finding.reference.as_deref())
                .collect();
            references.sort_unstable();
            references.dedup();
            let of_plan = plan.rows();
            for reference in references {
                *rows.entry(reference).or_default() += of_plan;
            }
        }
        let mut rows: Vec<(&str, usize)> = rows.into_iter().collect();
        rows.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        rows
    }
}

/// Tells whether a finding may be of a config server that was edited or removed.
fn is_config_id(decisions: &Decisions<'_>, finding: &Finding) -> bool {
    decisions
        .held(finding)
        .is_some_and(|held| matches!(held.reason, Reason::MaybeEdited | Reason::MaybeRenewed))
}
