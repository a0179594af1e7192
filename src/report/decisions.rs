//! Looks up what a plan decides about each finding of its row.

use std::collections::HashMap;

use crate::litellm::finding::{Finding, FindingKind};
use crate::repair::plan::{Edit, Held, RowPlan};

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

    /// Tells what `fix` does about `finding`: "remove", why it is held, or "leave".
    pub(crate) fn disposition(&self, finding: &Finding) -> String {
        match (self.held(finding), finding.kind) {
            (Some(held), _) => format!("hold: {}", held.reason),
            (None, FindingKind::Stale) => {
                let mut edits = self.plan.edits.iter();
                let edit = edits.find(|edit| edit.site().name == finding.column);
                let reference = finding.reference.as_deref().unwrap_or_default();
                if let Some(new) = edit.and_then(|edit| edit.remapped().get(reference)) {
                    return format!("remap to {}", crate::report::shown_text::printable(new));
                }
                if edit.is_some_and(Edit::takes_rows) {
                    return "delete".to_owned();
                }
                let chosen = edit.and_then(|edit| edit.ending().name());
                chosen.unwrap_or("remove").to_owned()
            }
            (
                None,
                FindingKind::Unverified
                | FindingKind::Inactive
                | FindingKind::Malformed(_)
                | FindingKind::DanglingToolset
                | FindingKind::Note(_),
            ) => "leave".to_owned(),
        }
    }
}
