//! Groups what was found by server and by what `fix` does about it.
//!
//! Rows are read twice: the first time they are counted, the second time the few are kept that the
//! report shows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::litellm::finding::{Finding, FindingKind};
use crate::litellm::reference_sites::Group;
use crate::repair::plan::{Reason, RowPlan};
use crate::report::decisions::{Decision, Decisions};
use crate::report::table::effects::is_gain;
use crate::report::table::owner_lines::denies_everything;
use crate::report::table::owner_names::site_name;

/// How many tools of a server are named.
pub(super) const TOOLS: usize = 4;

/// How many rows are named of those that share a line.
const BRIEFLY: usize = 2;

/// A row that names a server, and where.
#[derive(Debug, Clone)]
pub(super) struct ServerRow {
    /// The row.
    pub(super) plan: Rc<RowPlan>,
    /// The places of its findings about the server.
    findings: Vec<usize>,
}

impl ServerRow {
    /// Returns the findings of the row that are about the server.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        let places = self.findings.iter();
        places.filter_map(|place| self.plan.audit.findings.get(*place))
    }
}

/// Rows that are alike: how many they are, what is said of all of them, and the first of them.
#[derive(Debug, Default)]
pub(super) struct AlikeRows {
    /// How many they are.
    pub(super) number: usize,
    /// How many of them are permission rows without an owner.
    pub(super) without_owner: usize,
    /// The sites of the findings, as reports call them.
    pub(super) sites: BTreeSet<String>,
    /// How many rows have an owner who would inherit something.
    pub(super) gaining: usize,
    /// To how many rows a toolset that is gone denies everything.
    pub(super) denied: usize,
    /// The first tools that are named beside the server, one more than a title shows.
    tools: Vec<String>,
    /// How many rows are to be shown, each in a line of its own.
    wanted: usize,
    /// Whether the first owners are named, in a line for all rows.
    is_named: bool,
    /// The first rows, as many as are to be shown.
    pub(super) first: Vec<ServerRow>,
    /// The first rows that have an owner or need none, if they are to be named.
    pub(super) named: Vec<Rc<RowPlan>>,
}

impl AlikeRows {
    /// Counts a row.
    pub(super) fn count(&mut self, plan: &RowPlan) {
        self.number += 1;
        self.without_owner += usize::from(lacks_an_owner(plan));
    }

    /// Adds what findings of a row say of the server.
    fn add_findings(&mut self, plan: &RowPlan, of_row: &[usize], decision: &Decision, whole: bool) {
        let findings = of_row.iter();
        let findings = findings.filter_map(|place| plan.audit.findings.get(*place));
        let mut is_last = false;
        for finding in findings {
            is_last |= finding.last_grant;
            self.sites
                .insert(site_name(plan.audit.table, finding.column, whole));
            for tool in &finding.tools {
                if self.tools.len() <= TOOLS && !self.tools.contains(tool) {
                    self.tools.push(tool.clone());
                }
            }
        }
        let effects = plan.audit.impacts.iter();
        let mut effects = effects.filter_map(|impact| impact.if_emptied.as_ref());
        let gains = is_last && effects.any(|emptied| is_gain(&emptied.effect));
        self.gaining += usize::from(gains);
        self.denied += usize::from(denies_everything(plan, decision));
    }

    /// Asks for the first rows, and for the first owners.
    pub(super) fn want(&mut self, rows: usize, is_named: bool) {
        self.wanted = rows.min(self.number);
        self.is_named = is_named;
    }

    /// Keeps a row that was counted, if it is to be shown.
    pub(super) fn keep(&mut self, plan: &Rc<RowPlan>, findings: &[usize]) {
        if self.first.len() < self.wanted {
            let (plan, findings) = (Rc::clone(plan), findings.to_vec());
            self.first.push(ServerRow { plan, findings });
        }
        if self.is_named && self.named.len() < BRIEFLY && !lacks_an_owner(plan) {
            self.named.push(Rc::clone(plan));
        }
    }
}

/// Tells whether a row should have an owner and has none.
fn lacks_an_owner(plan: &RowPlan) -> bool {
    plan.audit.impacts.is_empty() && plan.audit.table.group() == Group::Permissions
}

/// A reference, and the rows that hold it.
#[derive(Debug, Default)]
pub(super) struct ServerGroup {
    /// The reference as stored.
    pub(super) reference: String,
    /// How many rows hold it.
    pub(super) rows: usize,
    /// How many owners permission rows with it have.
    pub(super) owners: usize,
    /// Whether a list has nothing else, so that it denies today.
    denies: bool,
    /// Whether it may be the id of a config server that was edited or removed.
    pub(super) is_config_id: bool,
    /// The name of the config server that it became.
    pub(super) successor: Option<String>,
    /// The rows, by what is done.
    pub(super) decided: BTreeMap<Decision, AlikeRows>,
}

impl ServerGroup {
    /// Returns the order of consequence: what denies today comes first, then what is held.
    fn rank(&self) -> u8 {
        let holds = |decision: &Decision| matches!(decision, Decision::Hold(_));
        match (self.denies, self.decided.keys().any(holds)) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    }

    /// Lists the first tools that are named beside the server, one more than a title shows.
    pub(super) fn tools(&self) -> Vec<&str> {
        let mut tools: Vec<&str> = Vec::new();
        for tool in self.decided.values().flat_map(|rows| &rows.tools) {
            if tools.len() <= TOOLS && !tools.contains(&tool.as_str()) {
                tools.push(tool);
            }
        }
        tools
    }
}

/// What is found about one server in one row.
struct RowFindings<'a> {
    reference: &'a str,
    /// The places of the findings, by what is done.
    decided: BTreeMap<Decision, Vec<usize>>,
}

/// The findings of some kind, by server.
#[derive(Debug)]
pub(super) struct ServerGroups {
    is_meant: fn(FindingKind) -> bool,
    /// Whether sites are called by their whole names.
    whole: bool,
    places: HashMap<String, usize>,
    groups: Vec<ServerGroup>,
}

impl ServerGroups {
    /// Makes groups without rows.
    pub(super) fn new(is_meant: fn(FindingKind) -> bool, whole: bool) -> Self {
        Self {
            is_meant,
            whole,
            places: HashMap::new(),
            groups: Vec::new(),
        }
    }

    /// Lists the findings of a row, by server.
    fn of_row<'p>(&self, plan: &'p RowPlan) -> Vec<RowFindings<'p>> {
        let findings = plan.audit.findings.iter().enumerate();
        let mut meant = findings.filter(|(_, finding)| (self.is_meant)(finding.kind));
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut servers: Vec<RowFindings<'p>> = Vec::new();
        let Some(first) = meant.next() else {
            return servers;
        };
        let decisions = Decisions::of(plan);
        for (at, finding) in std::iter::once(first).chain(meant) {
            let Some(reference) = finding.reference.as_deref() else {
                continue;
            };
            let place = *places.entry(reference).or_insert_with(|| {
                servers.push(RowFindings {
                    reference,
                    decided: BTreeMap::new(),
                });
                servers.len() - 1
            });
            let decision = decisions.of_finding(finding);
            servers[place].decided.entry(decision).or_default().push(at);
        }
        servers
    }

    /// Counts a row.
    pub(super) fn count(&mut self, plan: &RowPlan) {
        for RowFindings { reference, decided } in self.of_row(plan) {
            let place = if let Some(place) = self.places.get(reference) {
                *place
            } else {
                self.places.insert(reference.to_owned(), self.groups.len());
                let first = decided.values().flatten().copied().min();
                let first = first.and_then(|at| plan.audit.findings.get(at));
                let successor = first.and_then(|finding| finding.successor.as_ref());
                self.groups.push(ServerGroup {
                    reference: reference.to_owned(),
                    successor: successor.map(|successor| successor.name.clone()),
                    ..ServerGroup::default()
                });
                self.groups.len() - 1
            };
            let group = &mut self.groups[place];
            group.rows += plan.rows();
            if plan.audit.table.group() == Group::Permissions {
                group.owners += plan.audit.impacts.len();
            }
            for (decision, of_row) in decided {
                let mut findings = of_row.iter();
                group.denies |= findings.any(|at| plan.audit.findings[*at].last_grant);
                group.is_config_id |= matches!(
                    decision,
                    Decision::Hold(Reason::MaybeEdited | Reason::MaybeRenewed)
                );
                let rows = group.decided.entry(decision.clone()).or_default();
                rows.count(plan);
                rows.add_findings(plan, &of_row, &decision, self.whole);
            }
        }
    }

    /// Puts the groups into the order of their consequence, once every row is counted.
    pub(super) fn sort(&mut self) {
        self.groups.sort_by(|one, other| {
            let order = |group: &ServerGroup| (group.rank(), std::cmp::Reverse(group.rows));
            order(one)
                .cmp(&order(other))
                .then_with(|| one.reference.cmp(&other.reference))
        });
        let places = self.groups.iter().enumerate();
        let places = places.map(|(place, group)| (group.reference.clone(), place));
        self.places = places.collect();
    }

    /// Keeps the parts of a row that are to be shown.
    pub(super) fn keep(&mut self, plan: &Rc<RowPlan>) {
        for RowFindings { reference, decided } in self.of_row(plan) {
            let place = self.places.get(reference);
            let Some(group) = place.and_then(|place| self.groups.get_mut(*place)) else {
                continue;
            };
            for (decision, findings) in decided {
                if let Some(rows) = group.decided.get_mut(&decision) {
                    rows.keep(plan, &findings);
                }
            }
        }
    }

    /// Returns the groups, to ask for their rows.
    pub(super) fn groups_mut(&mut self) -> &mut [ServerGroup] {
        &mut self.groups
    }

    /// Returns the groups.
    pub(super) fn into_groups(self) -> Vec<ServerGroup> {
        self.groups
    }
}
