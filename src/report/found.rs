//! What a command finds, row by row: kept for a report that needs all of it at once, or put aside as
//! lines for one that does not, so that memory does not grow with it.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::sync::{Mutex, PoisonError};

use super::decisions::Decisions;
use super::spool::Spool;
use super::{Alike, Summary, ndjson};
use crate::litellm::finding::Kind;
use crate::litellm::owners::Owner;
use crate::litellm::sites::SiteTable;
use crate::repair::plan::RowPlan;

/// What was found.
#[derive(Debug)]
pub struct Found {
    summary: Summary,
    /// How many findings are alike, and how many of them a repair leaves.
    alike: BTreeMap<Alike, [usize; 2]>,
    plans: Vec<RowPlan>,
    /// How many rows of each table name anything, where that was counted.
    looked_at: Vec<(&'static SiteTable, usize)>,
    /// What is put aside; behind a lock because a report is written by another thread.
    lines: Option<Mutex<Spool>>,
}

impl Found {
    /// Keeps every row.
    #[must_use]
    pub fn kept() -> Self {
        Self {
            summary: Summary::default(),
            alike: BTreeMap::new(),
            plans: Vec::new(),
            looked_at: Vec::new(),
            lines: None,
        }
    }

    /// Keeps no row, only its lines of NDJSON: in memory as long as they are few, then in a file
    /// without a name in the folder for temporary files, where there is one. They are not printed at once, because a reader
    /// who takes his time must not hold up a transaction, and one that is tried again must not leave
    /// lines behind.
    #[must_use]
    pub fn put_aside() -> Self {
        Self {
            lines: Some(Mutex::new(Spool::new())),
            ..Self::kept()
        }
    }

    /// Takes what was found of rows, in their order; `scanned` where it was only looked for.
    ///
    /// # Errors
    ///
    /// Where the lines cannot be put aside.
    pub fn add(&mut self, mut plans: Vec<RowPlan>, scanned: bool) -> io::Result<()> {
        for plan in &plans {
            self.summary.count(plan);
            self.count_alike(plan);
        }
        let Some(lines) = &mut self.lines else {
            self.plans.append(&mut plans);
            return Ok(());
        };
        let lines = lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut lines = BufWriter::with_capacity(1 << 16, lines);
        ndjson::write_rows(&plans, scanned, &mut lines)?;
        lines.flush()
    }

    /// Remembers how many rows of each table were looked at, for a report that has nothing else to say.
    pub fn tell_looked_at(&mut self, tables: Vec<(&'static SiteTable, usize)>) {
        self.looked_at = tables;
    }

    /// Returns how many rows of each table name anything; empty where that was not counted.
    pub(super) fn looked_at(&self) -> &[(&'static SiteTable, usize)] {
        &self.looked_at
    }

    fn count_alike(&mut self, plan: &RowPlan) {
        let owner_kind = owner_kind(&plan.audit.owners);
        let decisions = Decisions::of(plan);
        for finding in &plan.audit.findings {
            let alike = Alike {
                kind: finding.kind.name(),
                place: plan.audit.table.group.name(),
                owner_kind,
            };
            let [found, left] = self.alike.entry(alike).or_default();
            *found += 1;
            *left += usize::from(finding.kind != Kind::Stale || decisions.held(finding).is_some());
        }
    }

    /// How many findings are alike: those that a repair has left, or all.
    #[must_use]
    pub fn alike(&self, repaired: bool) -> BTreeMap<Alike, usize> {
        let counted = self.alike.iter();
        let counted = counted.map(|(alike, counts)| (*alike, counts[usize::from(repaired)]));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Counts over everything.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The rows with findings, ordered by table and primary key; none where they are put aside.
    #[must_use]
    pub fn plans(&self) -> &[RowPlan] {
        &self.plans
    }

    /// Writes the lines of all rows.
    pub(super) fn write_lines(&self, scanned: bool, out: &mut impl Write) -> io::Result<()> {
        let Some(lines) = &self.lines else {
            return ndjson::write_rows(&self.plans, scanned, out);
        };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.write_to(out)
    }
}

fn owner_kind(owners: &[Owner]) -> &'static str {
    let mut kinds = owners.iter().map(|owner| owner.kind);
    match kinds.next() {
        None => "none",
        Some(first) if kinds.all(|kind| kind == first) => first.name(),
        Some(_) => "mixed",
    }
}

#[cfg(test)]
mod tests {
    use super::super::spool::IN_MEMORY;
    use super::*;
    use crate::litellm::last_grant::{Surroundings, World};
    use crate::litellm::owners::OwnerKind;
    use crate::litellm::row::Row;
    use crate::litellm::samples::{GONE, REGIME, catalog, owner, row};
    use crate::litellm::sites::PERMISSIONS;
    use crate::repair::policy::Policy;

    #[test]
    fn what_is_put_aside_is_what_would_have_been_kept() {
        let world = World {
            regime: REGIME,
            catalog: &catalog(false),
            around: &Surroundings::default(),
            all_cleared: false,
        };
        let plan = |at: usize| {
            let row = Row {
                key: at.to_string(),
                owners: vec![owner(OwnerKind::Team, false)],
                ..row(&format!(r#"["id-1","{GONE}"]"#), "null")
            };
            RowPlan::of(&PERMISSIONS, &row, world, Policy::default())
        };
        for scanned in [true, false] {
            let lines = |mut found: Found| {
                for at in 0..20 {
                    let chunk = (1_000 * at..1_000 * (at + 1)).map(plan).collect();
                    found.add(chunk, scanned).unwrap();
                }
                assert_eq!(found.summary().stale, 20_000);
                let mut lines = Vec::new();
                found.write_lines(scanned, &mut lines).unwrap();
                (lines, found.plans().len())
            };
            let (kept, rows) = lines(Found::kept());
            let (put_aside, none) = lines(Found::put_aside());
            assert!(put_aside.len() > IN_MEMORY, "it should have gone to a file");
            assert!(put_aside == kept);
            assert_eq!((rows, none), (20_000, 0));
        }
    }
}
