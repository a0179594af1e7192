//! Groups what was found by server and by what `fix` does about it.

use std::collections::{BTreeMap, HashMap};

use crate::litellm::finding::{Finding, FindingKind};
use crate::litellm::reference_sites::Group;
use crate::repair::plan::{Reason, RowPlan};
use crate::report::decisions::{Decision, Decisions};

/// The most sites that a table has.
const SITES: usize = 4;

/// A row that names a server, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerRow<'a> {
    /// The row.
    pub(super) plan: &'a RowPlan,
    /// The places of its findings about the server, one for each site.
    findings: [Option<u32>; SITES],
}

impl<'a> ServerRow<'a> {
    fn new(plan: &'a RowPlan) -> Self {
        let findings = [None; SITES];
        Self { plan, findings }
    }

    /// Adds a finding by its place in the row.
    fn add(&mut self, at: usize) {
        let mut places = self.findings.iter_mut();
        if let Some(free) = places.find(|place| place.is_none()) {
            *free = u32::try_from(at).ok();
        }
    }

    /// Returns the findings of the row that are about the server.
    pub(super) fn findings(self) -> impl Iterator<Item = &'a Finding> {
        let places = self.findings.into_iter().flatten();
        let places = places.filter_map(|place| usize::try_from(place).ok());
        places.filter_map(move |place| self.plan.audit.findings.get(place))
    }
}

/// A reference, and the rows that hold it.
#[derive(Debug)]
pub(super) struct ServerGroup<'a> {
    /// The reference as stored.
    pub(super) reference: &'a str,
    /// How many rows hold it.
    pub(super) rows: usize,
    /// How many owners permission rows with it have.
    pub(super) owners: usize,
    /// Whether a list has nothing else, so that it denies today.
    pub(super) denies: bool,
    /// Whether it may be the id of a config server that was edited or removed.
    pub(super) is_config_id: bool,
    /// The first finding, which tells the server's name if it is known.
    pub(super) first: &'a Finding,
    /// The rows, by what is done.
    pub(super) decided: BTreeMap<Decision<'a>, Vec<ServerRow<'a>>>,
}

impl ServerGroup<'_> {
    /// Returns the order of consequence: what denies today comes first, then what is held.
    fn rank(&self) -> u8 {
        let holds = |decision: &Decision<'_>| matches!(decision, Decision::Hold(_));
        match (self.denies, self.decided.keys().any(holds)) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    }
}

/// Groups the findings of one kind by reference, in the order of their consequence.
pub(super) fn by_server(
    plans: &[RowPlan],
    is_meant: fn(FindingKind) -> bool,
) -> Vec<ServerGroup<'_>> {
    let mut groups: HashMap<&str, ServerGroup<'_>> = HashMap::new();
    for plan in plans {
        let meant = |finding: &&Finding| is_meant(finding.kind);
        if !plan.audit.findings.iter().any(|finding| meant(&finding)) {
            continue;
        }
        let decisions = Decisions::of(plan);
        let findings = plan.audit.findings.iter().enumerate();
        for (at, finding) in findings.filter(|(_, finding)| meant(finding)) {
            let Some(reference) = finding.reference.as_deref() else {
                continue;
            };
            let decision = decisions.of_finding(finding);
            let group = groups.entry(reference).or_insert_with(|| ServerGroup {
                reference,
                rows: 0,
                owners: 0,
                denies: false,
                is_config_id: false,
                first: finding,
                decided: BTreeMap::new(),
            });
            group.add(plan, at, decision);
        }
    }
    let mut groups: Vec<ServerGroup<'_>> = groups.into_values().collect();
    groups.sort_by(|one, other| {
        let order = |group: &ServerGroup<'_>| (group.rank(), std::cmp::Reverse(group.rows));
        order(one)
            .cmp(&order(other))
            .then_with(|| one.reference.cmp(other.reference))
    });
    groups
}

impl<'a> ServerGroup<'a> {
    fn add(&mut self, plan: &'a RowPlan, at: usize, decision: Decision<'a>) {
        let is_same = |row: &ServerRow<'_>| std::ptr::eq(row.plan, plan);
        // The findings of one row come after each other, so it is the last one of a decision.
        let is_new = !self
            .decided
            .values()
            .any(|rows| rows.last().is_some_and(is_same));
        if is_new {
            self.rows += plan.rows();
            if plan.audit.table.group() == Group::Permissions {
                self.owners += plan.audit.impacts.len();
            }
        }
        let findings = &plan.audit.findings;
        self.denies |= findings.get(at).is_some_and(|finding| finding.last_grant);
        self.is_config_id |= matches!(
            decision,
            Decision::Hold(Reason::MaybeEdited | Reason::MaybeRenewed)
        );
        let rows = self.decided.entry(decision).or_default();
        if !rows.last().is_some_and(is_same) {
            rows.push(ServerRow::new(plan));
        }
        if let Some(row) = rows.last_mut() {
            row.add(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::reference_sites::{ScannedTable, TABLES};

    #[test]
    fn a_row_has_room_for_a_finding_of_each_site() {
        for table in TABLES {
            let sites = match table {
                ScannedTable::References(table) => table.sites.len(),
                ScannedTable::Credentials(_) => 1,
            };
            assert!(sites <= SITES, "{table:?}");
        }
    }
}
