//! Lays out what was found: by deleted server, the most pressing first; then what is never changed,
//! one line a server.

use std::collections::BTreeMap;

use crate::litellm::finding::{Finding, FindingKind};
use crate::litellm::reference_sites::Group;
use crate::repair::plan::RowPlan;
use crate::report::Report;
use crate::report::cell_text::width;
use crate::report::decisions::Decision;
use crate::report::named_owners::NamedOwners;
use crate::report::shown_text::{count, printable};
use crate::report::table::groups::{ServerGroup, ServerRow, by_server};
use crate::report::table::layout::{Layout, first_of};
use crate::report::table::owner_lines::{Brevity, LineWriter, denies_everything};
use crate::report::table::owner_names::{OwnerNames, site_name};
use crate::report::text_table::{DisplayOptions, GridCell};

/// The lines that a report may take before it is folded.
const UNFOLDED: usize = 100;

/// How many tools of a server are named.
const TOOLS: usize = 4;

/// How many rows alike have a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fold {
    /// All.
    Nothing,
    /// Two. More are one line.
    Several,
    /// None: all are one line.
    Everything(Brevity),
}

impl Fold {
    fn folds(self, rows: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::Several => rows > 2,
            Self::Everything(_) => rows > 0,
        }
    }

    fn brevity(self) -> Brevity {
        match self {
            Self::Nothing | Self::Several => Brevity::Short,
            Self::Everything(brevity) => brevity,
        }
    }
}

/// Lays out everything that was found, folded if it would be long.
pub(super) fn lay_out(report: &Report, look: DisplayOptions) -> Layout {
    let plans = report.plans();
    let audits = plans.iter().map(|plan| &plan.audit);
    let owners = OwnerNames::of(audits, report.names(), look);
    let audits = plans.iter().map(|plan| &plan.audit);
    let named = NamedOwners::of(audits, look.is_wide());
    let (config_ids, deleted) = by_server(plans, |kind| kind == FindingKind::Stale)
        .into_iter()
        .partition(|group| group.is_config_id);
    let found = Found {
        plans,
        toolsets: by_server(plans, |kind| kind == FindingKind::DanglingToolset),
        deleted,
        config_ids,
        unverified: by_server(plans, |kind| kind == FindingKind::Unverified),
        inactive: by_server(plans, |kind| kind == FindingKind::Inactive),
        lines: LineWriter {
            owners: &owners,
            named: &named,
            on_empty: report.facts.said.policy.on_empty,
            look,
        },
        look,
    };
    if look.is_wide() {
        return found.lay_out(Fold::Nothing);
    }
    let may_fit = found.lines_unfolded() <= UNFOLDED;
    let shortest = found.lay_out(Fold::Everything(Brevity::Shortest));
    let room = shortest.height().max(UNFOLDED);
    let folds = [
        Fold::Nothing,
        Fold::Several,
        Fold::Everything(Brevity::Short),
    ];
    let longer = folds
        .into_iter()
        .filter(|fold| may_fit || *fold != Fold::Nothing);
    let mut longer = longer.map(|fold| found.lay_out(fold));
    longer
        .find(|layout| layout.height() <= room)
        .unwrap_or(shortest)
}

/// What was found, in groups.
struct Found<'a> {
    plans: &'a [RowPlan],
    toolsets: Vec<ServerGroup<'a>>,
    deleted: Vec<ServerGroup<'a>>,
    config_ids: Vec<ServerGroup<'a>>,
    unverified: Vec<ServerGroup<'a>>,
    inactive: Vec<ServerGroup<'a>>,
    lines: LineWriter<'a>,
    look: DisplayOptions,
}

impl<'a> Found<'a> {
    /// Returns a number of lines that the report has at least if nothing is folded.
    fn lines_unfolded(&self) -> usize {
        let groups = [&self.toolsets, &self.deleted, &self.config_ids];
        let decided = groups
            .into_iter()
            .flatten()
            .flat_map(|group| group.decided.values());
        decided.map(Vec::len).sum()
    }

    fn lay_out(&self, fold: Fold) -> Layout {
        let mut layout = Layout::new(self.look);
        let mut folded = 0;
        let toolsets = ("TOOLSETS THAT ARE GONE", &self.toolsets);
        let deleted = ("DELETED SERVERS", &self.deleted);
        let rows = self.toolsets.iter().flat_map(|group| group.decided.iter());
        let mut rows = rows.flat_map(|(decision, rows)| rows.iter().map(|row| (*decision, row)));
        let parts = if rows.any(|(decision, row)| denies_everything(row.plan, decision)) {
            [toolsets, deleted]
        } else {
            [deleted, toolsets]
        };
        let config_ids = ("CONFIG SERVERS, EDITED OR REMOVED", &self.config_ids);
        for (heading, groups) in parts.into_iter().chain([config_ids]) {
            folded += self.blocks(&mut layout, heading, groups, fold);
        }
        folded += self.malformed(&mut layout, fold);
        self.left_alone(
            &mut layout,
            "UNVERIFIED: no row has it, a server of a config.yaml may",
            &self.unverified,
        );
        self.left_alone(
            &mut layout,
            "INACTIVE: the server is there, and no proxy serves it",
            &self.inactive,
        );
        self.notes(&mut layout);
        if folded > 0 {
            let told = "Rows alike share a line: --wide shows each, and so does --format json.";
            layout.note(format!("\n{told}"));
        }
        layout
    }

    /// Returns how many lines are shown of each part.
    fn limit(&self) -> usize {
        self.look.limit.unwrap_or(usize::MAX)
    }

    /// Lays out a block for each server, and returns how many rows were folded.
    fn blocks(
        &self,
        layout: &mut Layout,
        heading: &str,
        groups: &[ServerGroup<'a>],
        fold: Fold,
    ) -> usize {
        if groups.is_empty() {
            return 0;
        }
        layout.heading(heading);
        let (mut shown, mut all, mut folded) = (0, 0, 0);
        for group in groups {
            if shown < self.limit() {
                layout.title(self.title(group));
            }
            for (decision, rows) in &group.decided {
                if fold.folds(rows.len()) {
                    all += 1;
                    if shown < self.limit() {
                        shown += 1;
                        folded += if rows.len() > 1 { rows.len() } else { 0 };
                        let brevity = fold.brevity();
                        layout.owner(self.lines.folded(rows, *decision, brevity));
                    }
                    continue;
                }
                let room = self.limit().saturating_sub(shown).min(rows.len());
                for row in &rows[..room] {
                    layout.owner(self.lines.line(*row, *decision));
                }
                shown += room;
                all += rows.len();
            }
        }
        layout.left_out(shown, all, "lines");
        folded
    }

    /// Says what is known of a server that is gone.
    fn title(&self, group: &ServerGroup<'_>) -> String {
        let reference = printable(group.reference);
        let successor = group.first.successor.as_ref();
        let known = successor.map(|successor| successor.name.as_str());
        let known = known.or_else(|| self.lines.owners.known().other_name(group.reference));
        let name = known.map_or(String::new(), |name| format!(" ({})", printable(name)));
        let mut counts = vec![count(group.rows, "row")];
        if group.owners > 0 {
            counts.push(count(group.owners, "owner"));
        }
        let title = format!("{reference}{name}: {}", counts.join(", "));
        let mut tools: Vec<&str> = Vec::new();
        let rows = group.decided.values().flatten();
        for tool in rows.flat_map(|row| row.findings()).flat_map(|f| &f.tools) {
            if !tools.contains(&tool.as_str()) {
                tools.push(tool);
                if tools.len() > TOOLS {
                    break;
                }
            }
        }
        let all = tools.len();
        let with_tools = |named: usize| {
            let more = if named < all { " and more" } else { "" };
            let named = first_of(tools[..named].iter().copied(), named);
            format!("{title}; tools: {named}{more}")
        };
        let fits = |text: &String| self.look.width.is_none_or(|columns| width(text) <= columns);
        let titles = (1..=all.min(TOOLS)).rev().map(with_tools);
        titles.into_iter().find(fits).unwrap_or(title)
    }

    /// Lays out what is never changed: one line a server, or all rows if that is asked for.
    fn left_alone(&self, layout: &mut Layout, heading: &str, groups: &[ServerGroup<'a>]) {
        if groups.is_empty() {
            return;
        }
        layout.heading(heading);
        let (mut shown, mut all) = (0, 0);
        for group in groups {
            let rows: Vec<ServerRow<'_>> = group.decided.values().flatten().copied().collect();
            all += if self.look.all_references {
                rows.len()
            } else {
                1
            };
            if shown >= self.limit() {
                continue;
            }
            let title = format!(
                "{}: {}",
                self.there(group.reference),
                count(group.rows, "row")
            );
            if self.look.all_references {
                layout.title(title);
                for row in rows.iter().take(self.limit() - shown) {
                    layout.owner(self.lines.line(*row, Decision::Leave));
                    shown += 1;
                }
            } else {
                let plans = || rows.iter().map(|row| row.plan);
                let with = |brevity| format!("{title}; {}", self.lines.several(plans(), brevity));
                let whole = count(group.owners, "owner");
                let titles = [
                    with(Brevity::Short),
                    with(Brevity::Shortest),
                    format!("{title}, {whole}"),
                ];
                let columns = self.look.width.unwrap_or(usize::MAX);
                let mut fitting = titles.into_iter().filter(|text| width(text) <= columns);
                layout.title(fitting.next().unwrap_or(title));
                shown += 1;
            }
        }
        let what = if self.look.all_references {
            "lines"
        } else {
            "servers"
        };
        layout.left_out(shown, all, what);
    }

    /// Names a server that may be there: by name, id and review state, as far as they are known.
    fn there(&self, reference: &str) -> String {
        let shown = printable(reference);
        let Some(server) = self.lines.owners.known().server(reference) else {
            return shown;
        };
        let other = match &server.name {
            Some(name) if name != reference => Some(name),
            Some(_) | None => server.ids.first().filter(|id| *id != reference),
        };
        let named = match other {
            Some(other) => format!("{shown} ({})", printable(other)),
            None => shown,
        };
        match &server.not_served {
            Some(status) => format!("{named}, {}", printable(status)),
            None => named,
        }
    }

    /// Lays out the values that LiteLLM cannot read, and returns how many rows were folded.
    fn malformed(&self, layout: &mut Layout, fold: Fold) -> usize {
        let what = |finding: &Finding| match finding.kind {
            FindingKind::Malformed(malformed) => Some(malformed.to_string()),
            FindingKind::Stale
            | FindingKind::Unverified
            | FindingKind::Inactive
            | FindingKind::DanglingToolset
            | FindingKind::Note(_) => None,
        };
        self.alike(
            layout,
            "MALFORMED: LiteLLM cannot read the value",
            fold,
            what,
        )
    }

    /// Lays out what is worth knowing.
    fn notes(&self, layout: &mut Layout) {
        let names = self.lines.owners.known();
        let what = |finding: &Finding| match finding.kind {
            FindingKind::Note(note) => {
                let reference = finding.reference.as_deref().unwrap_or_default();
                let name = names.other_name(reference);
                let name = name.map_or(String::new(), |name| format!(" ({})", printable(name)));
                Some(format!("{}{name}: {note}", printable(reference)))
            }
            FindingKind::Stale
            | FindingKind::Unverified
            | FindingKind::Inactive
            | FindingKind::DanglingToolset
            | FindingKind::Malformed(_) => None,
        };
        self.alike(layout, "NOTES", Fold::Nothing, what);
    }

    /// Lays out findings that are alike, by what they say, and returns how many rows were folded.
    fn alike(
        &self,
        layout: &mut Layout,
        heading: &str,
        fold: Fold,
        what: impl Fn(&Finding) -> Option<String>,
    ) -> usize {
        let mut alike: BTreeMap<(String, String), Vec<&RowPlan>> = BTreeMap::new();
        for plan in self.plans {
            for finding in &plan.audit.findings {
                let Some(told) = what(finding) else { continue };
                let table = plan.audit.table;
                let site = match table.group() {
                    Group::Credentials => table.label(),
                    Group::Permissions
                    | Group::AccessGroups
                    | Group::Toolsets
                    | Group::Defaults => site_name(table, finding.column, self.look.is_wide()),
                };
                alike.entry((told, site)).or_default().push(plan);
            }
        }
        if alike.is_empty() {
            return 0;
        }
        layout.heading(heading);
        let (mut shown, mut all, mut folded) = (0, 0, 0);
        for ((told, site), plans) in alike {
            let leave = || GridCell::from(Decision::Leave.name());
            let said = format!("{site}; {told}");
            if fold.folds(plans.len()) {
                all += 1;
                if shown < self.limit() {
                    shown += 1;
                    folded += if plans.len() > 1 { plans.len() } else { 0 };
                    let who = self.lines.several(plans.into_iter(), fold.brevity());
                    layout.owner([leave(), who.into(), said.into()]);
                }
                continue;
            }
            all += plans.len();
            for plan in plans.into_iter().take(self.limit().saturating_sub(shown)) {
                shown += 1;
                let row = if self.look.is_wide() {
                    format!("{said}; row {}", printable(&plan.audit.row))
                } else {
                    said.clone()
                };
                let who = self.lines.owners.row(&plan.audit);
                layout.owner([leave(), who.into(), row.into()]);
            }
        }
        layout.left_out(shown, all, "lines");
        folded
    }
}
