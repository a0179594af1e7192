//! Looks up what a plan decides about each finding of its row.

use std::collections::HashMap;

use crate::litellm::finding::{Finding, FindingKind};
use crate::repair::plan::{Edit, EmptyOutcome, Held, Reason, RowPlan};

/// What `fix` does about a reference. Those that need a decision of the operator come first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Decision {
    /// It stays, for this reason.
    Hold(Reason),
    /// It goes, and its list runs empty.
    Clear,
    /// It goes, and its list becomes the deny marker.
    Deny,
    /// It becomes this one.
    Remap(String),
    /// Its whole rows are deleted.
    Delete,
    /// It goes.
    Remove,
    /// It stays, because only stale references are ever changed.
    Leave,
}

impl Decision {
    /// Returns the word for it in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Hold(_) => "hold",
            Self::Clear => "clear",
            Self::Deny => "deny",
            Self::Remap(_) => "remap",
            Self::Delete => "delete",
            Self::Remove => "remove",
            Self::Leave => "leave",
        }
    }
}

/// The decisions of one plan, indexed by column and reference, because a row may have very many.
pub(crate) struct Decisions<'a> {
    plan: &'a RowPlan,
    held: HashMap<(&'static str, &'a str), &'a Held>,
}

impl<'a> Decisions<'a> {
    /// Collects the decisions of `plan`.
    pub(crate) fn of(plan: &'a RowPlan) -> Self {
        let held = plan.held.iter();
        Self {
            plan,
            held: held
                .map(|held| ((held.column, held.reference.as_str()), held))
                .collect(),
        }
    }

    /// Returns the held reference of `finding`, a finding of the row.
    pub(crate) fn held(&self, finding: &Finding) -> Option<&'a Held> {
        let reference = finding.reference.as_deref()?;
        self.held.get(&(finding.column, reference)).copied()
    }

    /// Tells what `fix` does about `finding`.
    pub(crate) fn of_finding(&self, finding: &Finding) -> Decision {
        match (self.held(finding), finding.kind) {
            (Some(held), _) => Decision::Hold(held.reason),
            (None, FindingKind::Stale) if self.plan.deletion.is_some() => Decision::Delete,
            (None, FindingKind::Stale) => {
                let mut edits = self.plan.edits.iter();
                let edit = edits.find(|edit| edit.site().name == finding.column);
                let reference = finding.reference.as_deref().unwrap_or_default();
                if let Some(new) = edit.and_then(|edit| edit.remapped().get(reference)) {
                    return Decision::Remap(new.clone());
                }
                match edit.map(Edit::ending) {
                    Some(EmptyOutcome::Denied) => Decision::Deny,
                    Some(EmptyOutcome::Cleared) => Decision::Clear,
                    Some(EmptyOutcome::No) | None => Decision::Remove,
                }
            }
            (
                None,
                FindingKind::Unverified
                | FindingKind::Inactive
                | FindingKind::Malformed(_)
                | FindingKind::DanglingToolset
                | FindingKind::Note(_),
            ) => Decision::Leave,
        }
    }
}
