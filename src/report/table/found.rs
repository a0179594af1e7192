//! Lays out what was found: by deleted server, the most pressing first; then what is never changed,
//! one line a server.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use crate::litellm::finding::{Finding, FindingKind};
use crate::litellm::reference_sites::Group;
use crate::repair::plan::RowPlan;
use crate::report::Report;
use crate::report::cell_text::width;
use crate::report::decisions::Decision;
use crate::report::overview::Overview;
use crate::report::shown_text::{count, printable};
use crate::report::table::groups::{AlikeRows, ServerGroup, ServerGroups, ServerRow, TOOLS};
use crate::report::table::layout::{Layout, first_of};
use crate::report::table::owner_lines::{Brevity, LineWriter};
use crate::report::table::owner_names::{OwnerNames, site_name};
use crate::report::text_table::{DisplayOptions, GridCell};

/// The lines that a report may take before it is folded.
const UNFOLDED: usize = 100;

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
///
/// # Errors
///
/// An I/O error if the rows cannot be read back.
pub(super) fn lay_out(
    report: &Report,
    overview: &Overview,
    look: DisplayOptions,
) -> io::Result<Layout> {
    let owners = OwnerNames::new(report.names(), overview, look);
    let lines = LineWriter {
        owners: &owners,
        named: overview.named(look.is_wide()),
        on_empty: report.facts.said.policy.on_empty,
        look,
    };
    let found = Found::gather(report, lines)?;
    if look.is_wide() {
        return Ok(found.lay_out(Fold::Nothing));
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
    let longer = longer.find(|layout| layout.height() <= room);
    Ok(longer.unwrap_or(shortest))
}

/// Findings of some kind that are alike, by what they say and where they are.
type AlikeFindings = BTreeMap<(String, String), AlikeRows>;

/// What was found, in groups.
struct Found<'a> {
    toolsets: Vec<ServerGroup>,
    deleted: Vec<ServerGroup>,
    config_ids: Vec<ServerGroup>,
    unverified: Vec<ServerGroup>,
    inactive: Vec<ServerGroup>,
    malformed: AlikeFindings,
    notes: AlikeFindings,
    lines: LineWriter<'a>,
    look: DisplayOptions,
}

impl<'a> Found<'a> {
    /// Counts all rows, and then keeps those that may be shown.
    fn gather(report: &Report, lines: LineWriter<'a>) -> io::Result<Self> {
        let look = lines.look;
        let kinds: [fn(FindingKind) -> bool; 4] = [
            |kind| kind == FindingKind::Stale,
            |kind| kind == FindingKind::DanglingToolset,
            |kind| kind == FindingKind::Unverified,
            |kind| kind == FindingKind::Inactive,
        ];
        let mut servers = kinds.map(|is_meant| ServerGroups::new(is_meant, look.is_wide()));
        let mut alike = [AlikeFindings::new(), AlikeFindings::new()];
        for plan in report.plans() {
            let plan = plan?;
            for groups in &mut servers {
                groups.count(&plan);
            }
            for finding in &plan.audit.findings {
                if let Some((place, alike_in)) = lines.alike(&plan, finding) {
                    alike[place].entry(alike_in).or_default().count(&plan);
                }
            }
        }
        want_rows(&mut servers, &mut alike, look);
        for plan in report.plans() {
            let plan = Rc::new(plan?);
            for groups in &mut servers {
                groups.keep(&plan);
            }
            for finding in &plan.audit.findings {
                let alike_in = lines.alike(&plan, finding);
                let rows = alike_in.and_then(|(place, alike_in)| alike[place].get_mut(&alike_in));
                if let Some(rows) = rows {
                    rows.keep(&plan, &[]);
                }
            }
        }
        let [stale, toolsets, unverified, inactive] = servers.map(ServerGroups::into_groups);
        let (config_ids, deleted) = stale.into_iter().partition(|group| group.is_config_id);
        let [malformed, notes] = alike;
        Ok(Self {
            toolsets,
            deleted,
            config_ids,
            unverified,
            inactive,
            malformed,
            notes,
            lines,
            look,
        })
    }

    /// Returns a number of lines that the report has at least if nothing is folded.
    fn lines_unfolded(&self) -> usize {
        let groups = [&self.toolsets, &self.deleted, &self.config_ids];
        let groups = groups.into_iter().flatten();
        groups.map(lines_of).sum()
    }

    fn lay_out(&self, fold: Fold) -> Layout {
        let mut layout = Layout::new(self.look);
        let mut folded = 0;
        let toolsets = ("TOOLSETS THAT ARE GONE", &self.toolsets);
        let deleted = ("DELETED SERVERS", &self.deleted);
        let mut rows = self
            .toolsets
            .iter()
            .flat_map(|group| group.decided.values());
        let parts = if rows.any(|rows| rows.denied > 0) {
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
        groups: &[ServerGroup],
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
                if fold.folds(rows.number) {
                    all += 1;
                    if shown < self.limit() {
                        shown += 1;
                        folded += if rows.number > 1 { rows.number } else { 0 };
                        let brevity = fold.brevity();
                        layout.owner(self.lines.folded(rows, decision, brevity));
                    }
                    continue;
                }
                let room = self.limit().saturating_sub(shown);
                for row in rows.first.iter().take(room) {
                    layout.owner(self.lines.line(row, decision));
                    shown += 1;
                }
                all += rows.number;
            }
        }
        layout.left_out(shown, all, "lines");
        folded
    }

    /// Says what is known of a server that is gone.
    fn title(&self, group: &ServerGroup) -> String {
        let reference = printable(&group.reference);
        let known = group.successor.as_deref();
        let known = known.or_else(|| self.lines.owners.known().other_name(&group.reference));
        let name = known.map_or(String::new(), |name| format!(" ({})", printable(name)));
        let mut counts = vec![count(group.rows, "row")];
        if group.owners > 0 {
            counts.push(count(group.owners, "owner"));
        }
        let title = format!("{reference}{name}: {}", counts.join(", "));
        let tools = group.tools();
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
    fn left_alone(&self, layout: &mut Layout, heading: &str, groups: &[ServerGroup]) {
        if groups.is_empty() {
            return;
        }
        layout.heading(heading);
        let (mut shown, mut all) = (0, 0);
        for group in groups {
            let rows: Vec<&AlikeRows> = group.decided.values().collect();
            all += if self.look.all_references {
                lines_of(group)
            } else {
                1
            };
            if shown >= self.limit() {
                continue;
            }
            let title = format!(
                "{}: {}",
                self.there(&group.reference),
                count(group.rows, "row")
            );
            if self.look.all_references {
                layout.title(title);
                let first = rows.iter().flat_map(|rows| &rows.first);
                for row in first.take(self.limit() - shown) {
                    layout.owner(self.lines.line(row, &Decision::Leave));
                    shown += 1;
                }
            } else {
                let with = |brevity| format!("{title}; {}", self.lines.several(&rows, brevity));
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
        let heading = "MALFORMED: LiteLLM cannot read the value";
        self.alike(layout, heading, fold, &self.malformed)
    }

    /// Lays out what is worth knowing.
    fn notes(&self, layout: &mut Layout) {
        self.alike(layout, "NOTES", Fold::Nothing, &self.notes);
    }

    /// Lays out findings that are alike, by what they say, and returns how many rows were folded.
    fn alike(
        &self,
        layout: &mut Layout,
        heading: &str,
        fold: Fold,
        alike: &AlikeFindings,
    ) -> usize {
        if alike.is_empty() {
            return 0;
        }
        layout.heading(heading);
        let (mut shown, mut all, mut folded) = (0, 0, 0);
        for ((told, site), rows) in alike {
            let leave = || GridCell::from(Decision::Leave.name());
            let said = format!("{site}; {told}");
            if fold.folds(rows.number) {
                all += 1;
                if shown < self.limit() {
                    shown += 1;
                    folded += if rows.number > 1 { rows.number } else { 0 };
                    let who = self.lines.several(&[rows], fold.brevity());
                    layout.owner([leave(), who.into(), said.into()]);
                }
                continue;
            }
            all += rows.number;
            for ServerRow { plan, .. } in rows.first.iter().take(self.limit().saturating_sub(shown))
            {
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

impl LineWriter<'_> {
    /// Says of a malformed value or a note what it is and where: with which findings it shares a
    /// block, and whether that is the block of malformed values (0) or of notes (1). Returns `None`
    /// for every other finding.
    fn alike(&self, plan: &RowPlan, finding: &Finding) -> Option<(usize, (String, String))> {
        let (place, told) = match finding.kind {
            FindingKind::Malformed(malformed) => (0, malformed.to_string()),
            FindingKind::Note(note) => {
                let reference = finding.reference.as_deref().unwrap_or_default();
                let name = self.owners.known().other_name(reference);
                let name = name.map_or(String::new(), |name| format!(" ({})", printable(name)));
                (1, format!("{}{name}: {note}", printable(reference)))
            }
            FindingKind::Stale
            | FindingKind::Unverified
            | FindingKind::Inactive
            | FindingKind::DanglingToolset => return None,
        };
        let table = plan.audit.table;
        let site = match table.group() {
            Group::Credentials => table.label(),
            Group::Permissions | Group::AccessGroups | Group::Toolsets | Group::Defaults => {
                site_name(table, finding.column, self.look.is_wide())
            }
        };
        Some((place, (told, site)))
    }
}

/// Counts the rows of a group, one for each line.
fn lines_of(group: &ServerGroup) -> usize {
    group.decided.values().map(|rows| rows.number).sum()
}

/// Asks for the rows that a report may show, once all are counted: whatever is folded, no more
/// lines of a part are shown than its limit.
fn want_rows(
    [stale, toolsets, unverified, inactive]: &mut [ServerGroups; 4],
    [malformed, notes]: &mut [AlikeFindings; 2],
    look: DisplayOptions,
) {
    let limit = look.limit.unwrap_or(usize::MAX);
    for groups in [&mut *stale, &mut *toolsets] {
        groups.sort();
    }
    let lines = |groups: &mut ServerGroups| groups.groups_mut().iter().map(lines_of).sum::<usize>();
    let may_fit = lines(stale) + lines(toolsets) <= UNFOLDED;
    // Each row has its own line only in a wide report, in a short one, and where few are alike.
    let most = if look.is_wide() || may_fit { limit } else { 2 };
    let (stale, toolsets) = (stale.groups_mut(), toolsets.groups_mut());
    let (config_ids, deleted): (Vec<_>, Vec<_>) =
        { stale.iter_mut() }.partition(|group| group.is_config_id);
    for groups in [toolsets.iter_mut().collect(), deleted, config_ids] {
        let rows = groups
            .into_iter()
            .flat_map(|group| group.decided.values_mut());
        want_within(limit, most, !look.is_wide(), rows);
    }
    for groups in [unverified, inactive] {
        groups.sort();
        let mut left = limit;
        for group in groups.groups_mut().iter_mut().take(limit) {
            for rows in group.decided.values_mut() {
                let lines = if look.all_references { left } else { 0 };
                rows.want(lines, true);
                left -= rows.number.min(lines);
            }
        }
    }
    want_within(limit, most, !look.is_wide(), malformed.values_mut());
    want_within(limit, limit, false, notes.values_mut());
}

/// Asks for at most `most` of the rows that are alike, as long as a part has room for lines; where
/// they may be folded into one, that one takes the room.
fn want_within<'r>(
    limit: usize,
    most: usize,
    may_fold: bool,
    rows: impl Iterator<Item = &'r mut AlikeRows>,
) {
    let mut room = limit;
    for rows in rows {
        if room == 0 {
            return;
        }
        rows.want(room.min(most), may_fold);
        room -= if may_fold { 1 } else { rows.number.min(room) };
    }
}
