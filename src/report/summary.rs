//! Counts of what was found and done.

use std::collections::BTreeMap;

use crate::litellm::finding::FindingKind;
use crate::repair::plan::RowPlan;

/// Counts of what a run found and did; `None` for what the command does not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The findings that are there after the run: after a repair, those that it left.
    pub findings: Option<BTreeMap<FindingGroup, usize>>,
    /// The findings that a baseline acknowledges, which are not among the others.
    pub acknowledged: Option<BTreeMap<FindingGroup, usize>>,
    /// What a baseline lists and is no longer found.
    pub baseline_gone: Option<usize>,
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
    /// Counts the findings of a kind.
    #[must_use]
    pub(crate) fn of_kind(&self, kind: FindingKind) -> usize {
        let findings = self.findings.iter().flatten();
        let of_kind = findings.filter(|(found, _)| found.kind == kind.name());
        of_kind.map(|(_, count)| count).sum()
    }
}

/// What the findings of one count have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FindingGroup {
    /// What is wrong.
    pub kind: &'static str,
    /// The group of sites.
    pub place: &'static str,
    /// The kind of all the row's owners; `mixed` where they are of several, `none` without any.
    pub owner_kind: &'static str,
}

/// Counts over a report, in rows and in references (a reference counts once per column of a row).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
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
    /// Notes: what is not stale, but worth knowing.
    pub notes: usize,
    /// Rows whose owners would lose their last grant.
    pub last_grant_rows: usize,
    /// Rows with something to change.
    pub rows_changed: usize,
    /// How many of them are to be deleted: credentials of deleted servers.
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
    /// Tells whether something is stale, or may be, so that somebody should look.
    #[must_use]
    pub(crate) fn needs_attention(&self) -> bool {
        self.stale + self.unverified + self.dangling_toolsets > 0
    }

    /// Adds one row.
    pub(crate) fn count(&mut self, plan: &RowPlan) {
        let findings = &plan.audit.findings;
        let rows = |is_meant: bool| if is_meant { plan.rows() } else { 0 };
        self.rows += rows(!findings.is_empty());
        self.stale_rows += rows(plan.audit.is_stale());
        self.last_grant_rows += usize::from(findings.iter().any(|f| f.last_grant));
        for finding in findings {
            *match finding.kind {
                FindingKind::Stale => &mut self.stale,
                FindingKind::Unverified => &mut self.unverified,
                FindingKind::Inactive => &mut self.inactive,
                FindingKind::Malformed(_) => &mut self.malformed,
                FindingKind::DanglingToolset => &mut self.dangling_toolsets,
                FindingKind::Note(_) => &mut self.notes,
            } += 1;
        }
        self.rows_changed += rows(plan.changes_something());
        self.rows_deleted += rows(plan.deletion.is_some());
        self.rows_held += rows(!plan.held.is_empty());
        self.references_held += plan.held.len();
        self.references_remapped += plan.edits.iter().map(|e| e.remapped().len()).sum::<usize>();
        self.references_removed += plan.edits.iter().map(|e| e.removed().len()).sum::<usize>();
    }
}
