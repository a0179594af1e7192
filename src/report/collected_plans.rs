//! Collects the plans of all rows: kept for a report that needs them all at once, else put aside as
//! lines, so that memory does not grow with the table.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::litellm::finding::{Audit, Finding, FindingKind};
use crate::litellm::known_names::KnownNames;
use crate::litellm::owners::Owner;
use crate::litellm::reference_sites::ScannedTable;
use crate::repair::plan::RowPlan;
use crate::report::decisions::Decisions;
use crate::report::ndjson;
use crate::report::spool::Spool;
use crate::report::summary::{FindingGroup, Summary};

/// What the lines of a report list of each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entries {
    /// Its findings, as `scan` does.
    Findings,
    /// Its changes and held references, as `fix` does.
    Decisions,
}

/// The plans of all rows with findings, and counts over them.
#[derive(Debug)]
pub(crate) struct CollectedPlans {
    summary: Summary,
    /// Counts of findings by what they have in common: all, and those that a repair leaves.
    alike: BTreeMap<FindingGroup, [usize; 2]>,
    plans: Vec<RowPlan>,
    /// What people call servers, access groups and toolsets.
    names: Arc<KnownNames>,
    /// How many rows of each table name anything; empty where that was not counted.
    looked_at: Vec<(ScannedTable, usize)>,
    rows: KeptRows,
}

/// What a collection keeps of each row.
#[derive(Debug)]
enum KeptRows {
    /// Its plan.
    Plans,
    /// Its lines, which are put aside; behind a lock, because another thread writes the report.
    Lines(Mutex<Spool>),
    /// Nothing: it is only counted.
    None,
}

impl CollectedPlans {
    /// Makes a collection that keeps every row.
    #[must_use]
    pub(crate) fn kept() -> Self {
        Self {
            summary: Summary::default(),
            alike: BTreeMap::new(),
            plans: Vec::new(),
            names: Arc::default(),
            looked_at: Vec::new(),
            rows: KeptRows::Plans,
        }
    }

    /// Makes a collection that keeps no rows, only their lines of NDJSON.
    ///
    /// Few lines stay in memory; more go to an unnamed file in the folder for temporary files, if
    /// there is one. They are not printed at once: a slow reader must not hold up a transaction,
    /// and a transaction that is tried again must not leave lines behind.
    #[must_use]
    pub(crate) fn put_aside() -> Self {
        Self {
            rows: KeptRows::Lines(Mutex::new(Spool::new())),
            ..Self::kept()
        }
    }

    /// Makes a collection that keeps no rows, and only counts them.
    #[must_use]
    pub(crate) fn counted() -> Self {
        Self {
            rows: KeptRows::None,
            ..Self::kept()
        }
    }

    /// Adds rows with findings, in their order, for a report of `scan`.
    ///
    /// # Errors
    ///
    /// An I/O error if the lines cannot be put aside.
    pub(crate) fn add_findings(&mut self, plans: Vec<RowPlan>) -> io::Result<()> {
        self.add(plans, Entries::Findings)
    }

    /// Adds rows with what was decided about them, in their order, for a report of `fix`.
    ///
    /// # Errors
    ///
    /// An I/O error if the lines cannot be put aside.
    pub(crate) fn add_decisions(&mut self, plans: Vec<RowPlan>) -> io::Result<()> {
        self.add(plans, Entries::Decisions)
    }

    fn add(&mut self, mut plans: Vec<RowPlan>, entries: Entries) -> io::Result<()> {
        for plan in &plans {
            self.summary.count(plan);
            self.count_alike(plan);
        }
        let lines = match &mut self.rows {
            KeptRows::Plans => {
                self.plans.append(&mut plans);
                return Ok(());
            }
            KeptRows::Lines(lines) => lines,
            KeptRows::None => return Ok(()),
        };
        let lines = lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut lines = BufWriter::with_capacity(1 << 16, lines);
        ndjson::write_rows(&plans, &self.names, entries, &mut lines)?;
        lines.flush()
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

    /// Returns the rows with findings, by table and primary key; none if they are put aside.
    #[must_use]
    pub(crate) fn plans(&self) -> &[RowPlan] {
        &self.plans
    }

    /// Writes the lines of all rows.
    pub(crate) fn write_lines(&self, entries: Entries, out: &mut impl Write) -> io::Result<()> {
        let KeptRows::Lines(lines) = &self.rows else {
            return ndjson::write_rows(&self.plans, &self.names, entries, out);
        };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.write_to(out)
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
    use crate::report::spool::IN_MEMORY;

    #[test]
    fn what_is_put_aside_is_what_would_have_been_kept() {
        let context = AccessContext {
            behavior: BEHAVIOR,
            catalog: &catalog(),
            related: &RelatedGrants::default(),
            all_cleared: false,
        };
        let plan = |at: usize| {
            let row = Row {
                key: at.to_string(),
                owners: vec![owner(OwnerKind::Team, Standing::InTeam)],
                ..row(&format!(r#"["id-1","{GONE}"]"#), "null")
            };
            RowPlan::of(&PERMISSIONS, &row, context, Policy::default().into())
        };
        for entries in [Entries::Findings, Entries::Decisions] {
            let lines = |mut found: CollectedPlans| {
                for at in 0..20 {
                    let chunk = (1_000 * at..1_000 * (at + 1)).map(plan).collect();
                    found.add(chunk, entries).unwrap();
                }
                assert_eq!(found.summary().stale, 20_000);
                let mut lines = Vec::new();
                found.write_lines(entries, &mut lines).unwrap();
                (lines, found.plans().len())
            };
            let (kept, rows) = lines(CollectedPlans::kept());
            let (put_aside, none) = lines(CollectedPlans::put_aside());
            assert!(put_aside.len() > IN_MEMORY, "it should have gone to a file");
            assert!(put_aside == kept);
            assert_eq!((rows, none), (20_000, 0));
        }
    }
}
