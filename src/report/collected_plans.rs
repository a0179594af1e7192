//! Collects the plans of all rows: counts them, and puts them aside, so that memory does not grow
//! with the table. A report reads them back row by row, as often as it needs.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::litellm::finding::{Audit, Finding, FindingKind};
use crate::litellm::known_names::KnownNames;
use crate::litellm::owners::Owner;
use crate::litellm::reference_sites::ScannedTable;
use crate::repair::plan::RowPlan;
use crate::report::decisions::Decisions;
use crate::report::put_aside::PutAside;
use crate::report::summary::{FindingGroup, Summary};

/// The plans of all rows with findings, and counts over them.
#[derive(Debug)]
pub(crate) struct CollectedPlans {
    summary: Summary,
    /// Counts of findings by what they have in common: all, and those that a repair leaves.
    alike: BTreeMap<FindingGroup, [usize; 2]>,
    /// `None` if they are only counted.
    plans: Option<PutAside<RowPlan>>,
    /// What people call servers, access groups and toolsets.
    names: Arc<KnownNames>,
    /// How many rows of each table name anything; empty where that was not counted.
    looked_at: Vec<(ScannedTable, usize)>,
}

impl CollectedPlans {
    /// Makes a collection that puts every row aside.
    #[must_use]
    pub(crate) fn put_aside() -> Self {
        Self {
            plans: Some(PutAside::new()),
            ..Self::counted()
        }
    }

    /// Makes a collection that keeps no rows, and only counts them.
    #[must_use]
    pub(crate) fn counted() -> Self {
        Self {
            summary: Summary::default(),
            alike: BTreeMap::new(),
            plans: None,
            names: Arc::default(),
            looked_at: Vec::new(),
        }
    }

    /// Adds rows with findings, in their order.
    ///
    /// # Errors
    ///
    /// An I/O error if they cannot be put aside.
    pub(crate) fn add(&mut self, plans: &[RowPlan]) -> io::Result<()> {
        for plan in plans {
            self.summary.count(plan);
            self.count_alike(plan);
            if let Some(put_aside) = &mut self.plans {
                put_aside.add(plan)?;
            }
        }
        Ok(())
    }

    /// Adds what people call servers, access groups and toolsets; comes before the first row.
    #[must_use]
    pub(crate) fn with_names(self, names: Arc<KnownNames>) -> Self {
        Self { names, ..self }
    }

    /// Returns what people call servers, access groups and toolsets.
    #[must_use]
    pub(crate) fn names(&self) -> &KnownNames {
        &self.names
    }

    /// Remembers how many rows of each table were looked at, for a report without findings.
    pub(crate) fn tell_looked_at(&mut self, tables: Vec<(ScannedTable, usize)>) {
        self.looked_at = tables;
    }

    /// Returns how many rows of each table name anything; empty where that was not counted.
    pub(crate) fn looked_at(&self) -> &[(ScannedTable, usize)] {
        &self.looked_at
    }

    fn count_alike(&mut self, plan: &RowPlan) {
        let decisions = Decisions::of(plan);
        for finding in &plan.audit.findings {
            let alike = group_of(&plan.audit, finding);
            let [found, left] = self.alike.entry(alike).or_default();
            *found += 1;
            *left += usize::from(
                finding.kind != FindingKind::Stale || decisions.held(finding).is_some(),
            );
        }
    }

    /// Counts the findings that are alike: all, or those left if a repair was made.
    #[must_use]
    pub(crate) fn alike(&self, repaired: bool) -> BTreeMap<FindingGroup, usize> {
        let counted = self.alike.iter();
        let counted = counted.map(|(alike, counts)| (*alike, counts[usize::from(repaired)]));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Returns the counts over everything.
    #[must_use]
    pub(crate) fn summary(&self) -> Summary {
        self.summary
    }

    /// Reads back the rows with findings, by table and primary key; none if they are only counted.
    /// An item is an I/O error if one cannot be read.
    pub(crate) fn plans(&self) -> impl Iterator<Item = io::Result<RowPlan>> {
        self.plans.iter().flat_map(PutAside::iter)
    }
}

/// Returns what a finding has in common with others.
pub(crate) fn group_of(audit: &Audit, finding: &Finding) -> FindingGroup {
    FindingGroup {
        kind: finding.kind.name(),
        place: audit.table.group().name(),
        owner_kind: owner_kind(audit.owners()),
    }
}

/// Names the kind of the owners: `none` without any, `mixed` where they are of several kinds.
fn owner_kind<'a>(owners: impl Iterator<Item = &'a Owner>) -> &'static str {
    let mut kinds = owners.map(Owner::kind);
    match kinds.next() {
        None => "none",
        Some(first) if kinds.all(|kind| kind == first) => first.name(),
        Some(_) => "mixed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::access_context::{AccessContext, RelatedGrants};
    use crate::litellm::owners::OwnerKind;
    use crate::litellm::reference_sites::PERMISSIONS;
    use crate::litellm::row::Row;
    use crate::litellm::test_support::{BEHAVIOR, GONE, Standing, catalog, owner, row};
    use crate::repair::policy::Policy;

    #[test]
    fn plans_come_back_as_they_were_added() {
        let context = AccessContext {
            behavior: BEHAVIOR,
            catalog: &catalog(),
            related: &RelatedGrants::default(),
            all_cleared: false,
        };
        let plan = |at: usize| {
            let servers = [r#"["id-1","{GONE}"]"#, r#"["{GONE}"]"#][at % 2];
            let tools = [r#"{"{GONE}":["a"]}"#, "[]", "null"][at % 3];
            let standing = [Standing::InTeam, Standing::Alone][at % 2];
            let row = Row {
                key: at.to_string(),
                owners: vec![
                    owner(OwnerKind::Key, standing),
                    owner(OwnerKind::Team, standing),
                ],
                ..row(
                    &servers.replace("{GONE}", GONE),
                    &tools.replace("{GONE}", GONE),
                )
            };
            RowPlan::of(&PERMISSIONS, &row, context, Policy::default().into())
        };
        let plans: Vec<RowPlan> = (0..20_000).map(plan).collect();
        let mut found = CollectedPlans::put_aside();
        for chunk in plans.chunks(2_000) {
            found.add(chunk).unwrap();
        }
        for _ in 0..2 {
            let read = found.plans().collect::<io::Result<Vec<RowPlan>>>();
            assert!(read.unwrap() == plans);
        }
        let mut counted = CollectedPlans::counted();
        counted.add(&plans).unwrap();
        assert_eq!(counted.summary(), found.summary());
        assert_eq!(counted.plans().count(), 0);
    }
}
