//! Says in one line what `fix` does about a server in one row, or in several that are alike.

use std::collections::BTreeSet;

use crate::litellm::empty_list_effect::Effect;
use crate::litellm::finding::Finding;
use crate::litellm::reference_sites::Group;
use crate::litellm::server::NO_SERVERS;
use crate::repair::plan::{Edit, Held, Reason, RowPlan};
use crate::repair::policy::OnEmpty;
use crate::report::decisions::Decision;
use crate::report::named_owners::NamedOwners;
use crate::report::shown_text::{count, printable, rows_in_words};
use crate::report::table::effects::effect;
use crate::report::table::groups::{AlikeRows, ServerRow};
use crate::report::table::layout::OwnerLine;
use crate::report::table::owner_names::{OwnerNames, site_name};
use crate::report::text_table::{DisplayOptions, GridCell, Tone};

/// How many of the servers that are left in a list are named, unless all are.
const LEFT: usize = 3;

/// How much is said of rows that are folded into one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brevity {
    /// The first two are named.
    Short,
    /// The first is named, and it should all fit one line.
    Shortest,
}

/// What lines of a report are made with.
#[derive(Clone, Copy)]
pub(super) struct LineWriter<'a> {
    pub(super) owners: &'a OwnerNames<'a>,
    pub(super) named: NamedOwners<'a>,
    /// What `fix` was told to do about lists that run empty.
    pub(super) on_empty: OnEmpty,
    pub(super) look: DisplayOptions,
}

impl LineWriter<'_> {
    /// Says what is done about a server in one row.
    pub(super) fn line(self, row: &ServerRow, decision: &Decision) -> OwnerLine {
        let plan = &row.plan;
        let findings: Vec<&Finding> = row.findings().collect();
        let columns: Vec<&'static str> = findings.iter().map(|finding| finding.column).collect();
        let mut said = vec![self.sites(plan, &columns)];
        said.extend(self.consequences(plan, &findings, &columns, decision));
        if let Group::AccessGroups | Group::Toolsets = plan.audit.table.group() {
            said.push(shared(plan));
        }
        if self.look.is_wide() {
            said.push(format!("row {}", printable(&plan.audit.row)));
        }
        let denies = denies_everything(plan, decision);
        [
            action(decision, denies),
            self.owners.row(&plan.audit).into(),
            said.join("; ").into(),
        ]
    }

    /// Says the same of rows about which the same is decided, in one line.
    pub(super) fn folded(
        self,
        rows: &AlikeRows,
        decision: &Decision,
        brevity: Brevity,
    ) -> OwnerLine {
        let (gaining, denied) = (rows.gaining, rows.denied);
        let sites: Vec<&str> = rows.sites.iter().map(String::as_str).collect();
        let mut said = vec![sites.join(", ")];
        match decision {
            Decision::Hold(Reason::DanglingToolset) if denied == 0 => {
                said.push("grants nothing".to_owned());
            }
            Decision::Hold(Reason::DanglingToolset) => {
                said.push(format!("denies {denied} every server today"));
            }
            Decision::Hold(reason) => said.push(reason.to_string()),
            Decision::Clear => said.push(self.runs_empty("lists run empty")),
            Decision::Deny => said.push(format!("become {NO_SERVERS}")),
            Decision::Remap(new) => said.push(format!("become {}", self.by_id(new))),
            Decision::Delete | Decision::Remove | Decision::Leave => {}
        }
        let all = rows.number;
        let is_held = matches!(decision, Decision::Hold(_));
        let may_gain = match decision {
            Decision::Clear => self.on_empty != OnEmpty::Unchanged,
            // The reason says who gains or loses.
            Decision::Hold(reason) => !matches!(*reason, Reason::WouldWiden | Reason::WouldNarrow),
            Decision::Deny
            | Decision::Remap(_)
            | Decision::Delete
            | Decision::Remove
            | Decision::Leave => false,
        };
        if gaining > 0 && may_gain {
            // Another level may limit the owner, so a gain is not certain.
            let who = if gaining == all {
                format!("all {all}")
            } else {
                format!("{gaining} of {all}")
            };
            said.push(match (is_held, brevity) {
                (true, Brevity::Short) if all == 1 => "if removed, may gain access".to_owned(),
                (true, Brevity::Short) => format!("if removed, {who} may gain access"),
                (true, Brevity::Shortest) => format!("{gaining} may gain"),
                (false, Brevity::Short) if all == 1 => "may gain access".to_owned(),
                (false, Brevity::Short) => format!("{who} may gain access"),
                (false, Brevity::Shortest) => format!("{gaining} may gain access"),
            });
        }
        [
            action(decision, denied > 0),
            self.several(&[rows], brevity).into(),
            said.join("; ").into(),
        ]
    }

    /// Names the first owners of rows, and counts the others.
    pub(super) fn several(self, rows: &[&AlikeRows], brevity: Brevity) -> String {
        let most = match brevity {
            Brevity::Short => 2,
            Brevity::Shortest => 1,
        };
        let mut without: usize = rows.iter().map(|rows| rows.without_owner).sum();
        let all: usize = rows.iter().map(|rows| rows.number).sum();
        let named = rows.iter().flat_map(|rows| &rows.named).take(most);
        let named = named.filter_map(|plan| self.owners.briefly(&plan.audit));
        let named: Vec<String> = named.collect();
        let mut more = all - without - named.len();
        let mut told = named.join(", ");
        if brevity == Brevity::Shortest && !named.is_empty() {
            more += std::mem::take(&mut without);
        }
        if more > 0 {
            told = format!("{told} and {more} more");
        }
        match without {
            0 => told,
            _ if told.is_empty() && without == 1 => "no owner".to_owned(),
            _ if told.is_empty() => format!("{} without an owner", count(without, "row")),
            _ => format!("{told}, {} without an owner", count(without, "row")),
        }
    }

    fn sites(self, plan: &RowPlan, columns: &[&'static str]) -> String {
        let table = plan.audit.table;
        if table.group() == Group::Credentials {
            return rows_in_words(plan.audit.rows);
        }
        let mut sites = Vec::new();
        for column in columns {
            let site = site_name(table, column, self.look.is_wide());
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
        sites.join(", ")
    }

    /// Names a server by what people call it, and with its id where rows are named.
    fn server(self, reference: &str) -> String {
        if self.look.is_wide() {
            return self.by_id(reference);
        }
        printable(self.owners.known().name_or(reference))
    }

    /// Names a server as it is stored, and by what people call it.
    fn by_id(self, reference: &str) -> String {
        let stored = printable(reference);
        match self.owners.known().other_name(reference) {
            Some(name) => format!("{} ({stored})", printable(name)),
            None => stored,
        }
    }

    fn consequences(
        self,
        plan: &RowPlan,
        findings: &[&Finding],
        columns: &[&'static str],
        decision: &Decision,
    ) -> Vec<String> {
        let is_last = findings.iter().any(|finding| finding.last_grant);
        let mut said = Vec::new();
        match decision {
            Decision::Hold(Reason::DanglingToolset) => said.push(dangling(plan).to_owned()),
            Decision::Hold(reason) => {
                let held = findings.iter().find_map(|finding| held_by(plan, finding));
                let because = held.and_then(|held| held.because.as_deref());
                said.push(because.map_or_else(|| reason.to_string(), printable));
                // What a proof found is exact, and says it all.
                if is_last && because.is_none() {
                    said.extend(
                        self.effects(plan, false)
                            .map(|told| format!("if removed, {told}")),
                    );
                }
            }
            Decision::Clear => {
                said.push(self.runs_empty("list runs empty"));
                said.extend(self.effects(plan, self.on_empty == OnEmpty::Unchanged));
            }
            Decision::Deny => said.push(format!("becomes {NO_SERVERS}")),
            Decision::Remap(new) => {
                said.push(format!("becomes {}", self.by_id(new)));
                if edits(plan, columns).any(Edit::unites) {
                    said.push("tools of both are merged".to_owned());
                }
            }
            Decision::Remove => said.push(self.left(plan, columns)),
            Decision::Delete | Decision::Leave => {}
        }
        said
    }

    /// Says that a list runs empty, and that this changes nothing today where that was required.
    fn runs_empty(self, told: &str) -> String {
        match self.on_empty {
            OnEmpty::Unchanged => format!("{told}, access unchanged today"),
            OnEmpty::Hold | OnEmpty::Deny { .. } | OnEmpty::Clear => told.to_owned(),
        }
    }

    /// Says what the owners of a row would inherit, each by name if there are several.
    /// Where access is proved to be as before, only a lifted limit is said: callers may come.
    fn effects(self, plan: &RowPlan, is_unchanged: bool) -> Option<String> {
        let several = plan.audit.impacts.len() > 1;
        let told = plan.audit.impacts.iter().filter_map(|impact| {
            let emptied = impact.if_emptied.as_ref()?;
            if is_unchanged && !matches!(emptied.effect, Effect::LiftsCeiling { .. }) {
                return None;
            }
            let kind = impact.owner.kind();
            let told = effect(kind, &emptied.effect, self.owners.known(), self.named);
            Some(if several {
                format!("{} {told}", self.owners.owner(&impact.owner))
            } else {
                told
            })
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Says what is left in the lists that a reference is removed from.
    fn left(self, plan: &RowPlan, columns: &[&'static str]) -> String {
        let most = if self.look.is_wide() {
            self.look.limit.unwrap_or(usize::MAX)
        } else {
            LEFT
        };
        // A row may hold very many, so only those that are named are made into text.
        let (mut named, mut seen, mut more) = (Vec::new(), BTreeSet::new(), 0);
        for edit in edits(plan, columns) {
            let stays = |reference: &&str| !edit.removed().contains(*reference);
            for reference in edit.before().references().filter(stays) {
                let new = edit.remapped().get(reference);
                let reference = new.map_or(reference, String::as_str);
                if !seen.insert(self.owners.known().id_or(reference)) {
                    continue;
                }
                if named.len() < most {
                    let name = self.server(reference);
                    let is_of_another = named.contains(&name);
                    named.push(if is_of_another {
                        self.by_id(reference)
                    } else {
                        name
                    });
                } else {
                    more += 1;
                }
            }
        }
        match (named.is_empty(), more) {
            (true, _) => "nothing is left".to_owned(),
            (false, 0) => format!("left: {}", named.join(", ")),
            (false, more) => format!("left: {} and {more} more", named.join(", ")),
        }
    }
}

fn action(decision: &Decision, denies: bool) -> GridCell {
    let tone = match decision {
        Decision::Hold(_) if denies => Tone::Bad,
        Decision::Clear => Tone::Bad,
        Decision::Hold(_) | Decision::Deny => Tone::Unsure,
        Decision::Remap(_) | Decision::Delete | Decision::Remove => Tone::Good,
        Decision::Leave => Tone::Plain,
    };
    GridCell::toned(decision.name(), tone)
}

fn edits<'p>(plan: &'p RowPlan, columns: &[&'static str]) -> impl Iterator<Item = &'p Edit> {
    let edits = plan.edits.iter();
    edits.filter(|edit| columns.contains(&edit.site().name))
}

fn held_by<'p>(plan: &'p RowPlan, finding: &Finding) -> Option<&'p Held> {
    let mut held = plan.held.iter();
    held.find(|held| {
        held.column == finding.column
            && Some(held.reference.as_str()) == finding.reference.as_deref()
    })
}

/// Says how many owners have an access group or a toolset.
fn shared(plan: &RowPlan) -> String {
    match plan.audit.impacts.len() {
        0 => "nobody has it".to_owned(),
        1 => "1 owner has it".to_owned(),
        owners => format!("{owners} owners have it"),
    }
}

/// Tells whether a toolset that is gone denies everything to an owner of the row.
pub(super) fn denies_everything(plan: &RowPlan, decision: &Decision) -> bool {
    let mut owners = plan.audit.owners();
    *decision == Decision::Hold(Reason::DanglingToolset)
        && owners.any(|owner| owner.kind().is_denied_by_missing_toolset())
}

fn dangling(plan: &RowPlan) -> &'static str {
    if denies_everything(plan, &Decision::Hold(Reason::DanglingToolset)) {
        "denies every server today"
    } else {
        "grants nothing"
    }
}
