//! The JSON report, with types of its own, so that the program's types can change and the report
//! does not. The other formats for programs are made of the same types.
//!
//! Version 1. Fields and kinds may be added; none change their meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use crate::database::Database;
use crate::litellm::credentials::ServerRows;
use crate::litellm::deleted_servers::DeletedServer;
use crate::litellm::empty_list_effect::{Effect, IfEmptied};
use crate::litellm::finding::{Audit, Finding, FindingKind};
use crate::litellm::ids::ServerId;
use crate::litellm::known_names::{KnownNames, KnownServer};
use crate::litellm::proxy_cache::{ACCESS_GROUPS_FOR, ROWS_FOR};
use crate::litellm::release::NEWEST_KNOWN;
use crate::litellm::schema_drift::SchemaDrift;
use crate::litellm::value::{Tool, Value};
use crate::repair::changeset::{Change, ColumnContent, UndoneRun};
use crate::repair::conflict::Conflict;
use crate::repair::empty_lists::SettledByChoice;
use crate::repair::plan::{Edit, RowPlan};
use crate::report::affected_callers::AffectedCallers;
use crate::report::baseline::BaselineV1;
use crate::report::compared_access::ComparedAccessV1;
use crate::report::decisions::Decisions;
use crate::report::render::{AnyReport, RenderOptions, ReportFormat};
use crate::report::summary::Summary;
use crate::report::undone_changes::UndoneChanges;
use crate::report::{ConfigIds, Ending, Report, UndoReport, json_text};

pub(crate) const VERSION: u32 = 1;

/// What a toolset that is gone means for the owners of the row.
const DANGLING: &str =
    "denies every MCP server to a team, organization, user or agent, and grants a key nothing";

#[derive(Serialize)]
pub(crate) struct Head<'a> {
    version: u32,
    command: &'static str,
    pub(crate) run: &'a str,
    pub(crate) database: DatabaseV1<'a>,
    pub(crate) servers: ServersV1,
    litellm: LitellmV1,
    /// The servers that were taken as deleted; absent where none was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) if_deleted: Vec<DeletedServerV1<'a>>,
}

#[derive(Serialize)]
pub(crate) struct DeletedServerV1<'a> {
    /// How the operator named it.
    references: Vec<&'a str>,
    /// Several if a config alone does not tell which.
    ids: Vec<&'a str>,
    /// Its alias and its name.
    names: Vec<&'a str>,
    place: &'static str,
}

#[derive(Serialize)]
pub(crate) struct LitellmV1 {
    /// The oldest release that has this schema.
    schema_of: String,
    /// What stale references do in that release.
    consequence: &'static str,
    /// What no known release has; not there where a known release may have made the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<DriftV1>,
}

#[derive(Serialize)]
pub(crate) struct DriftV1 {
    /// The newest release that this program knows.
    newest_known: String,
    tables: Vec<String>,
    /// Those of unknown tables among them.
    columns: Vec<UnknownColumnV1>,
}

#[derive(Serialize)]
struct UnknownColumnV1 {
    table: String,
    column: String,
    #[serde(rename = "type")]
    sql_type: String,
    /// By name and type alone.
    may_hold_references: bool,
}

#[derive(Serialize)]
pub(crate) struct DatabaseV1<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) name: &'a str,
    pub(crate) schema: &'a str,
    pub(crate) user: &'a str,
}

#[derive(Serialize)]
pub(crate) struct ServersV1 {
    pub(crate) database: usize,
    pub(crate) inactive: usize,
    /// Null if config servers are not known.
    pub(crate) config: Option<usize>,
}

/// A list of a report that is made while it is written, so that it is never in memory as a whole.
struct ReportList<'a> {
    report: &'a Report,
    entries: Entries,
}

/// What a list has of each row.
#[derive(Clone, Copy)]
enum Entries {
    Findings,
    Changes,
    Held,
}

impl Serialize for ReportList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (report, names) = (self.report, self.report.names());
        let mut list = serializer.serialize_seq(None)?;
        match self.entries {
            Entries::Findings => {
                for plan in report.plans() {
                    let plan = plan.map_err(S::Error::custom)?;
                    findings(&plan, names).try_for_each(|entry| list.serialize_element(&entry))?;
                }
            }
            Entries::Changes => {
                for plan in report.plans_with_changes() {
                    let plan = plan.map_err(S::Error::custom)?;
                    let mut changed = change(&plan, names).into_iter();
                    changed.try_for_each(|entry| list.serialize_element(&entry))?;
                }
            }
            Entries::Held => {
                for plan in report.plans_with_holds() {
                    let plan = plan.map_err(S::Error::custom)?;
                    held(&plan, names).try_for_each(|entry| list.serialize_element(&entry))?;
                }
            }
        }
        list.end()
    }
}

/// The rows that are put back, of which only one is in memory at a time.
struct PutBackList<'a>(&'a UndoneChanges);

impl Serialize for PutBackList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for change in self.0.iter() {
            let change = change.map_err(S::Error::custom)?;
            list.serialize_element(&put_back(&change))?;
        }
        list.end()
    }
}

/// A list that is made while it is written, so that it is never in memory as a whole.
pub(crate) struct Each<F>(pub(crate) F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

#[derive(Serialize)]
struct ScanV1<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_by: Option<SettledByV1>,
    summary: ScanSummaryV1,
    /// The baselines; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<BaselineV1<'a>>,
    findings: ReportList<'a>,
    /// The callers whose access changes; absent without servers that are taken as deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    affected_callers: Option<&'a AffectedCallers>,
}

#[derive(Serialize)]
pub(crate) struct ScanSummaryV1 {
    rows: usize,
    stale: usize,
    unverified: usize,
    inactive: usize,
    malformed: usize,
    dangling_toolsets: usize,
    last_grant_rows: usize,
    notes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    callers_compared: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callers_losing: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callers_gaining: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct FindingV1<'a> {
    pub(crate) kind: &'static str,
    pub(crate) table: &'static str,
    pub(crate) row: &'a str,
    /// The name of an access group or a toolset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) row_name: Option<&'a str>,
    pub(crate) column: &'static str,
    /// Null where the whole value is malformed.
    pub(crate) reference: Option<&'a str>,
    /// What people call the server, where it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<&'a str>,
    /// The review state of a server that is not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approval_status: Option<&'a str>,
    pub(crate) last_grant: bool,
    /// What is wrong with a malformed value, what a note is about, or what a deleted toolset does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// The config server whose former id a stale reference is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) successor: Option<SuccessorV1<'a>>,
    /// How many rows of credentials belong to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<u64>,
    /// Why a repair with the same options would hold a stale reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<&'static str>,
    pub(crate) owners: Vec<OwnerV1<'a>>,
}

#[derive(Serialize)]
pub(crate) struct SuccessorV1<'a> {
    pub(crate) name: &'a str,
    pub(crate) ids: Vec<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct OwnerV1<'a> {
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    pub(crate) name: Option<&'a str>,
    /// What this owner would gain if its last grant were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) if_emptied: Option<IfEmptiedV1<'a>>,
}

#[derive(Serialize)]
pub(crate) struct IfEmptiedV1<'a> {
    effect: &'static str,
    /// The team or organization inherited from.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    /// The ids of the servers that would be gained.
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Vec<&'a str>>,
    /// What people call those of them that have a name, by id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    server_names: BTreeMap<&'a str, &'a str>,
    /// Whether servers of an unknown config.yaml may be gained as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<bool>,
    /// The keys under the ceiling; absent where any key may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assuming: Option<&'static str>,
}

#[derive(Serialize)]
struct FixV1<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    outcome: &'static str,
    changes: ReportList<'a>,
    held: ReportList<'a>,
    summary: FixSummaryV1,
    /// How many held references each choice would settle.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_by: Option<SettledByV1>,
    /// The access of everybody whom it concerns, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<ComparedAccessV1<'a>>,
    /// Where a saved plan no longer holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<ConflictV1<'a>>,
    /// The file the old values were saved to.
    journal: Option<&'a str>,
    /// The file the plan was saved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_care: Option<AfterCareV1>,
}

/// How many of the references held in lists that would run empty each choice of `--on-empty` would
/// settle.
#[derive(Serialize)]
pub(crate) struct SettledByV1 {
    held: usize,
    unchanged: usize,
    deny: usize,
    clear: usize,
}

impl From<SettledByChoice> for SettledByV1 {
    fn from(settled: SettledByChoice) -> Self {
        let SettledByChoice {
            held,
            deny,
            unchanged,
            clear,
        } = settled;
        Self {
            held,
            unchanged,
            deny,
            clear,
        }
    }
}

/// For how many seconds running proxies may serve what was there before.
#[derive(Serialize)]
pub(crate) struct AfterCareV1 {
    rows_for: u32,
    access_groups_for: u32,
}

pub(crate) fn after_care(ending: &Ending) -> Option<AfterCareV1> {
    matches!(ending, Ending::Applied { .. }).then_some(AfterCareV1 {
        rows_for: ROWS_FOR,
        access_groups_for: ACCESS_GROUPS_FOR,
    })
}

#[derive(Serialize)]
pub(crate) struct ConflictV1<'a> {
    pub(crate) kind: &'static str,
    pub(crate) table: &'static str,
    pub(crate) row: &'a str,
    pub(crate) column: &'static str,
    pub(crate) expected: ValueV1,
    /// Null if something else than a value was found.
    pub(crate) found: Option<ValueV1>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

#[derive(Serialize)]
struct IdsV1<'a> {
    version: u32,
    command: &'static str,
    servers: Vec<ConfigServerV1<'a>>,
}

#[derive(Serialize)]
struct ConfigServerV1<'a> {
    name: &'a str,
    /// Several if the file alone does not tell which, that of the newest Python first.
    ids: Vec<&'a str>,
    /// Whether the file pins the id.
    pinned: bool,
    former_ids: Vec<&'a str>,
    /// Variables that its id depends on, and that are not set here.
    unset: Vec<&'a str>,
}

#[derive(Serialize)]
struct UndoV1<'a> {
    #[serde(flatten)]
    head: UndoHead<'a>,
    outcome: &'static str,
    changes: PutBackList<'a>,
    conflicts: Vec<ConflictV1<'a>>,
    summary: UndoSummaryV1,
    /// The access of everybody whom it concerns, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<ComparedAccessV1<'a>>,
    /// Why access was not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_failure: Option<&'a str>,
    /// What can be done about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_failure_hint: Option<&'a str>,
    journal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_care: Option<AfterCareV1>,
}

#[derive(Serialize)]
pub(crate) struct UndoHead<'a> {
    version: u32,
    command: &'static str,
    pub(crate) run: &'a str,
    pub(crate) database: DatabaseV1<'a>,
    /// The run that is taken back, whole or in part.
    undoes: UndoesV1<'a>,
}

/// A run that is taken back; the filters are absent where all of it is.
#[derive(Serialize)]
pub(crate) struct UndoesV1<'a> {
    run: &'a str,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    owners: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    references: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    rows: &'a BTreeSet<String>,
}

impl<'a> From<&'a UndoneRun> for UndoesV1<'a> {
    fn from(undone: &'a UndoneRun) -> Self {
        let UndoneRun {
            run,
            owners,
            references,
            rows,
        } = undone;
        Self {
            run,
            owners,
            references,
            rows,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct PutBackV1<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a str,
    pub(crate) before: BTreeMap<&'static str, ValueV1>,
    pub(crate) after: BTreeMap<&'static str, ValueV1>,
}

#[derive(Serialize)]
pub(crate) struct UndoSummaryV1 {
    rows_put_back: usize,
    rows_back_already: usize,
    conflicts: usize,
}

#[derive(Serialize)]
pub(crate) struct ChangeV1<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a str,
    /// The name of an access group or a toolset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) row_name: Option<&'a str>,
    pub(crate) before: BTreeMap<&'static str, ValueV1>,
    pub(crate) after: BTreeMap<&'static str, ValueV1>,
    /// What was chosen for columns that would run empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) on_empty: BTreeMap<&'static str, &'static str>,
    /// What people call the servers in `before` and `after`, by reference.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) server_names: BTreeMap<String, &'a str>,
    pub(crate) owners: Vec<OwnerV1<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ValueV1 {
    Array(Vec<String>),
    Keys(BTreeMap<String, Vec<String>>),
    Tools(Vec<ToolV1>),
    /// The number of rows, by server.
    Rows(BTreeMap<String, u64>),
}

#[derive(Serialize)]
pub(crate) struct ToolV1 {
    pub(crate) server_id: String,
    pub(crate) tool_name: String,
}

#[derive(Serialize)]
pub(crate) struct HeldV1<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a str,
    /// The name of an access group or a toolset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) row_name: Option<&'a str>,
    pub(crate) column: &'static str,
    pub(crate) reference: &'a str,
    pub(crate) reason: &'static str,
    /// Who would gain or lose what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) because: Option<&'a str>,
    pub(crate) owners: Vec<OwnerV1<'a>>,
}

#[derive(Serialize)]
pub(crate) struct FixSummaryV1 {
    rows_changed: usize,
    /// How many of them are deleted, because they are credentials of deleted servers.
    #[serde(skip_serializing_if = "is_zero")]
    rows_deleted: usize,
    references_removed: usize,
    references_remapped: usize,
    rows_held: usize,
    /// Found and never changed.
    unverified: usize,
    inactive: usize,
    malformed: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The format of one JSON object.
#[derive(Debug)]
pub(crate) struct JsonFormat;

impl ReportFormat for JsonFormat {
    fn write(
        &self,
        report: AnyReport<'_>,
        _: &RenderOptions,
        mut out: &mut dyn Write,
    ) -> io::Result<()> {
        match report {
            AnyReport::Repair(report) => write(report, &mut out),
            AnyReport::Undo(undone) => write_undone(undone, &mut out),
        }
    }
}

/// Writes `report` as one JSON object and a newline.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if report.ending.is_of_scan() {
        return write_object(&scan(report), out);
    }
    write_object(&fix(report, report.summary()), out)
}

/// Writes what `undo` did as one JSON object and a newline.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_undone(undone: &UndoReport, out: &mut impl Write) -> io::Result<()> {
    let object = UndoV1 {
        head: undo_head(undone),
        outcome: undone.ending.name(),
        changes: PutBackList(&undone.facts.changes),
        conflicts: conflicts(&undone.facts.conflicts).collect(),
        summary: undo_summary(undone),
        access: undone.facts.access.as_ref().map(Into::into),
        access_failure: access_failure(undone),
        access_failure_hint: access_failure_hint(undone),
        journal: undone.ending.journal(),
        after_care: after_care(&undone.ending),
    };
    write_object(&object, out)
}

/// Writes the ids of config servers as one JSON object and a newline.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_ids(ids: &ConfigIds, out: &mut impl Write) -> io::Result<()> {
    let servers = ids.servers.iter().map(|server| ConfigServerV1 {
        name: &server.name,
        ids: server.ids_in_order(),
        pinned: server.is_pinned,
        former_ids: server.former_ids.iter().map(String::as_str).collect(),
        unset: server.unset.iter().map(String::as_str).collect(),
    });
    let object = IdsV1 {
        version: VERSION,
        command: "ids",
        servers: servers.collect(),
    };
    write_object(&object, out)
}

pub(crate) fn write_object(object: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    json_text::write_pretty(object, out)?;
    out.write_all(b"\n")
}

/// Makes the beginning of every report of `scan` and `fix`.
pub(crate) fn head(report: &Report) -> Head<'_> {
    Head {
        version: VERSION,
        command: report.ending.command(),
        run: &report.facts.run,
        database: database(&report.facts.database),
        servers: ServersV1 {
            database: report.facts.servers.database,
            inactive: report.facts.servers.inactive,
            config: report.facts.servers.config,
        },
        litellm: LitellmV1 {
            schema_of: report.facts.release.to_string(),
            consequence: report.facts.release.consequence(),
            drift: drift(&report.facts.drift),
        },
        if_deleted: report.facts.deleted.iter().map(deleted).collect(),
    }
}

/// Describes what no known release has; `None` if there is nothing.
fn drift(drift: &SchemaDrift) -> Option<DriftV1> {
    if drift.is_none() {
        return None;
    }
    let columns = drift.columns().iter().map(|column| UnknownColumnV1 {
        table: column.table.clone(),
        column: column.name.clone(),
        sql_type: column.sql_type.clone(),
        may_hold_references: column.is_suspect(),
    });
    Some(DriftV1 {
        newest_known: NEWEST_KNOWN.to_string(),
        tables: drift.tables().iter().cloned().collect(),
        columns: columns.collect(),
    })
}

fn deleted(server: &DeletedServer) -> DeletedServerV1<'_> {
    fn each(texts: &BTreeSet<String>) -> Vec<&str> {
        texts.iter().map(String::as_str).collect()
    }
    DeletedServerV1 {
        references: each(&server.references),
        ids: each(&server.ids),
        names: each(&server.names),
        place: server.place.name(),
    }
}

pub(crate) fn database(database: &Database) -> DatabaseV1<'_> {
    DatabaseV1 {
        host: &database.host,
        port: database.port,
        name: &database.name,
        schema: &database.schema,
        user: &database.user,
    }
}

/// Makes the beginning of the report of an undo.
pub(crate) fn undo_head(undone: &UndoReport) -> UndoHead<'_> {
    UndoHead {
        version: VERSION,
        command: "undo",
        run: &undone.facts.run,
        database: database(&undone.facts.database),
        undoes: (&undone.facts.undoes).into(),
    }
}

/// Returns why an undo did not compare access.
pub(crate) fn access_failure(undone: &UndoReport) -> Option<&str> {
    let failure = undone.facts.access_failure.as_ref();
    failure.map(|failure| failure.message.as_str())
}

/// Returns what can be done so that an undo compares access.
pub(crate) fn access_failure_hint(undone: &UndoReport) -> Option<&str> {
    let failure = undone.facts.access_failure.as_ref();
    failure.and_then(|failure| failure.hint.as_deref())
}

pub(crate) fn undo_summary(undone: &UndoReport) -> UndoSummaryV1 {
    UndoSummaryV1 {
        rows_put_back: undone.facts.rows(),
        rows_back_already: undone.facts.back,
        conflicts: undone.facts.conflicts.len(),
    }
}

/// Describes a row that is put back.
pub(crate) fn put_back(change: &Change) -> PutBackV1<'_> {
    let (before, after) = values(change);
    PutBackV1 {
        table: change.table().name(),
        row: change.key(),
        before,
        after,
    }
}

/// Returns what each column of a change holds before and after.
pub(crate) fn values(
    change: &Change,
) -> (
    BTreeMap<&'static str, ValueV1>,
    BTreeMap<&'static str, ValueV1>,
) {
    let contents = change.contents().into_iter();
    let both = contents.map(|content| {
        let before = (content.column, content.before.into());
        (before, (content.column, content.after.into()))
    });
    both.unzip()
}

/// Lists what is not as a plan or journal has it.
pub(crate) fn conflicts(conflicts: &[Conflict]) -> impl Iterator<Item = ConflictV1<'_>> {
    conflicts.iter().map(conflict)
}

fn conflict(conflict: &Conflict) -> ConflictV1<'_> {
    let value = |content: &ColumnContent| content.clone().into();
    let found = &conflict.found;
    let detail = found.value().is_none().then(|| found.to_string());
    ConflictV1 {
        kind: conflict.found.name(),
        table: conflict.table.name(),
        row: &conflict.row,
        column: conflict.column,
        expected: value(&conflict.expected),
        found: found.value().map(value),
        detail,
    }
}

/// Lists the findings of a row by column and position.
pub(crate) fn findings<'a>(
    plan: &'a RowPlan,
    names: &'a KnownNames,
) -> impl Iterator<Item = FindingV1<'a>> {
    let decisions = Decisions::of(plan);
    plan.audit.findings.iter().map(move |finding| FindingV1 {
        kind: finding.kind.name(),
        table: plan.audit.table.name(),
        row: &plan.audit.row,
        row_name: names.row(plan.audit.table, &plan.audit.row),
        column: finding.column,
        reference: finding.reference.as_deref(),
        server_name: of_server(finding, names).and_then(|server| server.name.as_deref()),
        approval_status: of_server(finding, names).and_then(|server| server.not_served.as_deref()),
        last_grant: finding.last_grant,
        detail: match finding.kind {
            FindingKind::Malformed(malformed) => Some(malformed.to_string()),
            FindingKind::Note(note) => Some(note.to_string()),
            FindingKind::DanglingToolset => Some(DANGLING.to_owned()),
            FindingKind::Stale | FindingKind::Unverified | FindingKind::Inactive => None,
        },
        successor: finding.successor.as_ref().map(|successor| SuccessorV1 {
            name: &successor.name,
            ids: successor.ids.iter().map(String::as_str).collect(),
        }),
        rows: plan.audit.credentials(),
        held: decisions.held(finding).map(|held| held.reason.name()),
        owners: owners(&plan.audit, names),
    })
}

/// Returns the server that a finding is about, if it is there.
fn of_server<'a>(finding: &Finding, names: &'a KnownNames) -> Option<&'a KnownServer> {
    let reference = finding.reference.as_deref()?;
    match finding.kind {
        FindingKind::Inactive | FindingKind::Note(_) => names.server(reference),
        FindingKind::Stale
        | FindingKind::Unverified
        | FindingKind::Malformed(_)
        | FindingKind::DanglingToolset => None,
    }
}

/// Lists the held references of a row.
pub(crate) fn held<'a>(
    plan: &'a RowPlan,
    names: &'a KnownNames,
) -> impl Iterator<Item = HeldV1<'a>> {
    plan.held.iter().map(move |held| HeldV1 {
        table: plan.audit.table.name(),
        row: &plan.audit.row,
        row_name: names.row(plan.audit.table, &plan.audit.row),
        column: held.column,
        reference: &held.reference,
        reason: held.reason.name(),
        because: held.because.as_deref(),
        owners: owners(&plan.audit, names),
    })
}

pub(crate) fn scan_summary(report: &Report) -> ScanSummaryV1 {
    let summary = report.summary();
    let affected = report.facts.affected.as_ref();
    ScanSummaryV1 {
        rows: summary.rows,
        stale: summary.stale,
        unverified: summary.unverified,
        inactive: summary.inactive,
        malformed: summary.malformed,
        dangling_toolsets: summary.dangling_toolsets,
        last_grant_rows: summary.last_grant_rows,
        notes: summary.notes,
        callers_compared: affected.map(AffectedCallers::compared),
        callers_losing: affected.map(AffectedCallers::losing),
        callers_gaining: affected.map(AffectedCallers::gaining),
    }
}

pub(crate) fn fix_summary(summary: Summary) -> FixSummaryV1 {
    FixSummaryV1 {
        rows_changed: summary.rows_changed,
        rows_deleted: summary.rows_deleted,
        references_removed: summary.references_removed,
        references_remapped: summary.references_remapped,
        rows_held: summary.rows_held,
        unverified: summary.unverified,
        inactive: summary.inactive,
        malformed: summary.malformed,
    }
}

fn scan(report: &Report) -> impl Serialize {
    let list = |entries| ReportList { report, entries };
    ScanV1 {
        head: head(report),
        settled_by: report.facts.settled.map(Into::into),
        summary: scan_summary(report),
        baseline: report.facts.baseline.as_ref().map(Into::into),
        findings: list(Entries::Findings),
        affected_callers: report.facts.affected.as_ref(),
    }
}

fn fix(report: &Report, summary: Summary) -> impl Serialize {
    let list = |entries| ReportList { report, entries };
    FixV1 {
        head: head(report),
        outcome: report.ending.name(),
        conflicts: conflicts(&report.facts.conflicts).collect(),
        changes: list(Entries::Changes),
        held: list(Entries::Held),
        summary: fix_summary(summary),
        settled_by: report.facts.settled.map(Into::into),
        access: report.facts.access.as_ref().map(Into::into),
        journal: report.ending.journal(),
        plan: report.ending.plan(),
        after_care: after_care(&report.ending),
    }
}

/// Describes what changes of a row; `None` if nothing does.
pub(crate) fn change<'a>(plan: &'a RowPlan, names: &'a KnownNames) -> Option<ChangeV1<'a>> {
    if !plan.changes_something() {
        return None;
    }
    let columns = |value: fn(&Edit) -> Value, rows: fn(&ServerRows) -> ServerRows| {
        let edits = plan.edits.iter();
        let edits = edits.map(|edit| (edit.site().name, value(edit).into()));
        let deletion = plan.deletion.iter().map(|deleted| {
            let rows = ValueV1::Rows(rows(deleted).by_server());
            (plan.audit.table.key(), rows)
        });
        edits.chain(deletion).collect()
    };
    let stored = plan.edits.iter();
    let stored = stored.flat_map(|edit| [edit.before().clone(), edit.after()]);
    let references: BTreeSet<String> = stored
        .flat_map(|value| value.references().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let server_names = references.into_iter().filter_map(|reference| {
        let name = names.other_name(&reference)?;
        Some((reference, name))
    });
    Some(ChangeV1 {
        table: plan.audit.table.name(),
        row: &plan.audit.row,
        row_name: names.row(plan.audit.table, &plan.audit.row),
        before: columns(|edit| edit.before().clone(), ServerRows::clone),
        after: columns(Edit::after, ServerRows::none_left),
        on_empty: plan
            .edits
            .iter()
            .filter_map(|edit| Some((edit.site().name, edit.ending().name()?)))
            .collect(),
        server_names: server_names.collect(),
        owners: owners(&plan.audit, names),
    })
}

fn owners<'a>(audit: &'a Audit, names: &'a KnownNames) -> Vec<OwnerV1<'a>> {
    let impacts = audit.impacts.iter();
    impacts
        .map(|impact| OwnerV1 {
            kind: impact.owner.kind().name(),
            id: impact.owner.id(),
            name: impact.owner.name(),
            if_emptied: impact
                .if_emptied
                .as_ref()
                .map(|effect| if_emptied(effect, names)),
        })
        .collect()
}

fn if_emptied<'a>(if_emptied: &'a IfEmptied, names: &'a KnownNames) -> IfEmptiedV1<'a> {
    let effect = &if_emptied.effect;
    let (inherited, keys) = match effect {
        Effect::InheritsTeam(inherited) | Effect::InheritsOrganization(inherited) => {
            (Some(inherited), None)
        }
        Effect::LiftsCeiling { keys } => (None, *keys),
        Effect::OpensAll | Effect::Nothing => (None, None),
    };
    IfEmptiedV1 {
        effect: effect.name(),
        from: inherited.map(|inherited| inherited.from.as_str()),
        servers: inherited.map(|i| i.servers.iter().map(ServerId::as_str).collect()),
        server_names: inherited
            .into_iter()
            .flat_map(|inherited| &inherited.servers)
            .filter_map(|id| Some((id.as_str(), names.other_name(id.as_str())?)))
            .collect(),
        incomplete: inherited.map(|inherited| inherited.incomplete),
        keys,
        assuming: if_emptied.assuming,
    }
}

impl From<ColumnContent> for ValueV1 {
    fn from(content: ColumnContent) -> Self {
        match content {
            ColumnContent::References(value) => value.into(),
            ColumnContent::Rows(rows) => Self::Rows(rows.by_server()),
        }
    }
}

impl From<Value> for ValueV1 {
    fn from(value: Value) -> Self {
        match value {
            Value::Array(references) => Self::Array(references),
            Value::Keys(tools) => Self::Keys(tools),
            Value::Tools(tools) => {
                let tool = |tool: Tool| ToolV1 {
                    server_id: tool.server_id,
                    tool_name: tool.tool_name,
                };
                Self::Tools(tools.into_iter().map(tool).collect())
            }
        }
    }
}
