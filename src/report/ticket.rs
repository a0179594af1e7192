//! What a change ticket says besides the other reports: who is concerned, and the commands that
//! verify a repair and take it back.

use std::collections::BTreeSet;
use std::io;

use serde::{Deserialize, Serialize};

use crate::command_line::CommandLine;
use crate::litellm::finding::FindingKind;
use crate::litellm::owners::OwnerKind;
use crate::repair::plan::{EmptyOutcome, RowPlan};
use crate::report::Report;
use crate::report::decisions::Decisions;
use crate::report::markdown::{code, owner_named, prose};
use crate::report::put_aside::Sorter;
use crate::report::shown_text::{count, nobody, rows_in_words};

/// The commands of a change ticket besides those that every report suggests.
#[derive(Debug)]
pub(crate) struct TicketCommands {
    /// The scan that tells what a repair leaves.
    pub verify: CommandLine,
    /// Whether that scan also looks at references that this report leaves out, so that the report
    /// cannot tell how many the scan will find.
    pub looks_further: bool,
    /// The journal that the repair of a dry run is to write; `None` where the options say which, or
    /// that there is none.
    pub journal: Option<TicketJournal>,
}

/// A journal that is named before it is written, so that the undo can be written down too.
#[derive(Debug)]
pub(crate) struct TicketJournal {
    /// The file.
    pub file: String,
    /// The undo that takes it.
    pub take_back: CommandLine,
}

/// What becomes of the references of one owner, in Markdown.
#[derive(Debug)]
pub(crate) struct ConcernedOwner {
    /// Who it is.
    pub name: String,
    /// What changes, a line each.
    pub changes: BTreeSet<String>,
    /// What stays, a line each.
    pub stays: BTreeSet<String>,
}

/// A row of an owner, or a row without one. They are sorted by owner, and then in their order.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct ConcernedRow {
    /// Rows without an owner come last.
    is_ownerless: bool,
    kind: Option<OwnerKind>,
    /// The id of the owner, or the key of a row without one.
    id: String,
    place: usize,
    name: String,
    changes: Vec<String>,
    stays: Vec<String>,
}

/// Lists who is concerned to `each`: the owners of rows with findings, by kind and id, and then
/// rows without an owner.
///
/// # Errors
///
/// What `each` says, or an I/O error if the rows cannot be read back.
pub(crate) fn concerned(
    report: &Report,
    mut each: impl FnMut(ConcernedOwner) -> io::Result<()>,
) -> io::Result<()> {
    let mut rows = Sorter::new();
    for (place, plan) in report.plans().enumerate() {
        let plan = plan?;
        let (changes, stays) = (changes(&plan), stays(&plan));
        let row = |kind: Option<OwnerKind>, id: &str, name: String| ConcernedRow {
            is_ownerless: kind.is_none(),
            kind,
            id: id.to_owned(),
            place,
            name,
            changes: changes.clone(),
            stays: stays.clone(),
        };
        if plan.audit.impacts.is_empty() {
            let (group, key) = (plan.audit.table.group(), plan.audit.row.as_str());
            rows.add(row(
                None,
                key,
                format!("{}: row {}", nobody(group), code(key)),
            ))?;
        }
        for owner in plan.audit.owners() {
            let (kind, id) = (owner.kind(), owner.id());
            let name = owner_named(kind.name(), id, owner.name());
            rows.add(row(Some(kind), id, name))?;
        }
    }
    let mut last: Option<((Option<OwnerKind>, String), ConcernedOwner)> = None;
    for row in rows.sorted() {
        let row = row?;
        let this = (row.kind, row.id);
        if let Some((_, owner)) = last.take_if(|(of, _)| *of != this) {
            each(owner)?;
        }
        let (_, owner) = last.get_or_insert_with(|| {
            let owner = ConcernedOwner {
                name: String::new(),
                changes: BTreeSet::new(),
                stays: BTreeSet::new(),
            };
            (this, owner)
        });
        owner.name = row.name;
        owner.changes.extend(row.changes);
        owner.stays.extend(row.stays);
    }
    last.map_or(Ok(()), |(_, owner)| each(owner))
}

/// Says what a repair changes of a row, a line for each column.
fn changes(plan: &RowPlan) -> Vec<String> {
    let mut lines = Vec::new();
    for edit in &plan.edits {
        let mut parts = Vec::new();
        let removed: Vec<String> = edit.removed().iter().map(|r| code(r)).collect();
        if !removed.is_empty() {
            parts.push(format!("without {}", removed.join(", ")));
        }
        for (old, new) in edit.remapped() {
            parts.push(format!("{} becomes {}", code(old), code(new)));
        }
        match edit.ending() {
            EmptyOutcome::No => {}
            EmptyOutcome::Denied => parts.push("the deny marker in its place".to_owned()),
            EmptyOutcome::Cleared => parts.push("so the list is empty".to_owned()),
        }
        lines.push(format!("{}: {}", code(edit.site().name), parts.join(", ")));
    }
    if let Some(deleted) = &plan.deletion {
        let rows = rows_in_words(deleted.rows);
        lines.push(format!(
            "{rows} of server {} deleted",
            code(&deleted.server)
        ));
    }
    lines
}

/// Says what a repair leaves of what was found, and why, a line for each reference.
fn stays(plan: &RowPlan) -> Vec<String> {
    let decisions = Decisions::of(plan);
    let findings = plan.audit.findings.iter();
    let left = findings.filter_map(|finding| {
        let why = match (decisions.held(finding), finding.kind) {
            (Some(held), _) => prose(&held.reason.to_string()),
            (None, FindingKind::Stale) => return None,
            (None, kind) => kind.name().to_owned(),
        };
        let reference = finding
            .reference
            .as_deref()
            .map_or(String::new(), |r| code(r) + " ");
        Some(format!("{}: {reference}({why})", code(finding.column)))
    });
    left.collect()
}

/// Says what the scan should find that verifies a repair.
pub(crate) fn expectation(report: &Report) -> String {
    let exits = [
        FindingKind::Stale,
        FindingKind::Unverified,
        FindingKind::DanglingToolset,
    ];
    let left = report.facts.found.alike(true);
    let left = left.into_iter();
    let left = left.filter(|(group, _)| exits.iter().any(|kind| kind.name() == group.kind));
    let left: usize = left.map(|(_, count)| count).sum();
    let when = if report.facts.deleted.is_empty() {
        ""
    } else {
        "Once the server is deleted in LiteLLM, run it. "
    };
    if report.facts.ticket.looks_further {
        format!(
            "{when}It also looks at references that this ticket does not list. It should list \
             none of those that the repair removes or renames:"
        )
    } else if left == 0 {
        format!("{when}It should find nothing, and exit with 0:")
    } else {
        let left = count(left, "reference");
        format!("{when}It should find only what stays ({left}), and exit with 2:")
    }
}
