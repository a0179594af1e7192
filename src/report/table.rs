//! The report for people: what is wrong at a glance, then row by row, then what to do next.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use crate::litellm::empty_list_effect::{Effect, Inherited};
use crate::litellm::finding::{Audit, Finding, FindingKind, OwnerImpact};
use crate::litellm::owners::OwnerKind;
use crate::litellm::proxy_cache::{ACCESS_GROUPS_FOR, ROWS_FOR};
use crate::litellm::reference_sites::{Group, ScannedTable};
use crate::litellm::release::Release;
use crate::litellm::value::Value;
use crate::printable::printable;
use crate::redis;
use crate::repair::changeset::{Change, ColumnContent};
use crate::repair::conflict::Conflict;
use crate::repair::empty_lists::SettledByChoice;
use crate::repair::plan::{Edit, Held, Reason, RowPlan};
use crate::repair::policy::OnEmpty;
use crate::report::advice::{self, Advised};
use crate::report::baseline::{self, BaselineFacts};
use crate::report::compared_access::paragraphs;
use crate::report::decisions::Decisions;
use crate::report::render::{AnyReport, RenderOptions, ReportFormat};
use crate::report::shown_text::{affected_in_words, count, nobody};
use crate::report::summary::Summary;
use crate::report::text_table::{DisplayOptions, Grid, GridCell, Tone};
use crate::report::{ConfigIds, Ending, Report, UndoReport};

/// The format for people at a terminal.
#[derive(Debug)]
pub(crate) struct TableFormat;

impl ReportFormat for TableFormat {
    fn write(
        &self,
        report: AnyReport<'_>,
        options: &RenderOptions,
        mut out: &mut dyn Write,
    ) -> io::Result<()> {
        match report {
            AnyReport::Repair(report) => write(report, options.look, &mut out),
            AnyReport::Undo(undone) => write_undone(undone, options.look, &mut out),
        }
    }

    fn write_ending(
        &self,
        report: AnyReport<'_>,
        options: &RenderOptions,
        mut out: &mut dyn Write,
    ) -> io::Result<()> {
        match report {
            AnyReport::Repair(report) => write_closing(report, options.look, &mut out),
            AnyReport::Undo(undone) => write_undone_closing(undone, options.look, &mut out),
        }
    }

    fn is_for_people(&self) -> bool {
        true
    }
}

/// Writes `report` for a person to read.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write(report: &Report, look: DisplayOptions, out: &mut impl Write) -> io::Result<()> {
    if matches!(report.ending, Ending::Moved { .. }) {
        return write_moved("planned", &report.facts.conflicts, look, out)
            .and_then(|()| write_closing(report, look, out));
    }
    let summary = report.summary();
    for server in report.facts.deleted.iter() {
        let deleted = format!("As if deleted: {}.", printable(&server.to_string()));
        writeln!(out, "{}", look.prose(&deleted))?;
    }
    let headline = headline(summary, report.facts.baseline.as_ref());
    writeln!(out, "{}", look.heading(&headline))?;
    for line in baseline::in_words(report) {
        writeln!(out, "{}", look.prose(&line))?;
    }
    if let Some(whose) = whose(report) {
        writeln!(out, "{}", look.prose(&whose))?;
    }
    if let Some(looked_at) = looked_at(report) {
        writeln!(out, "{}", look.prose(&looked_at))?;
    }
    if report.plans().is_empty() {
        write_affected(report, look, out)?;
        return write_closing(report, look, out);
    }
    let stale = report.stale_references();
    if !stale.is_empty() {
        let mut table = Grid::new(["DELETED SERVER", "ROWS"], look);
        table.leave_out(stale.len().saturating_sub(table.room()));
        for (reference, rows) in stale.into_iter().take(table.room()) {
            table.row([printable(reference).into(), rows.to_string().into()]);
        }
        writeln!(out)?;
        table.write(out)?;
    }
    let config_ids = report.config_ids();
    if !config_ids.is_empty() {
        let mut table = Grid::new(["CONFIG SERVER, EDITED OR REMOVED", "ROWS"], look);
        for (reference, rows) in config_ids {
            table.row([printable(reference).into(), rows.to_string().into()]);
        }
        writeln!(out)?;
        table.write(out)?;
    }
    writeln!(out)?;
    findings(report, look).write(out)?;
    let mut impacts = report.plans().iter().flat_map(|plan| &plan.audit.impacts);
    if impacts.any(|impact| impact.if_emptied.is_some()) {
        writeln!(out)?;
        prospects(report, look).write(out)?;
    }
    if !report.ending.is_of_scan() && summary.rows_changed > 0 {
        writeln!(out)?;
        changes(report, look).write(out)?;
    }
    write_affected(report, look, out)?;
    write_closing(report, look, out)
}

/// Writes who loses or gains something by the deletion of servers.
fn write_affected(report: &Report, look: DisplayOptions, out: &mut impl Write) -> io::Result<()> {
    let Some(affected) = &report.facts.affected else {
        return Ok(());
    };
    writeln!(out, "\n{}", look.prose(&affected_in_words(affected)))?;
    let mut table = Grid::new(["CALLER", "LOSES", "GAINS"], look);
    affected.each(|caller| {
        if table.room() == 0 {
            table.leave_out(1);
            return Ok(());
        }
        let loses = caller.loses.iter().map(|s| printable(&s.shown()));
        let gains = caller.gains.iter().map(|s| printable(&s.shown_gain()));
        let (loses, gains): (Vec<String>, Vec<String>) = (loses.collect(), gains.collect());
        table.row([
            printable(&caller.shown()).into(),
            loses.join("\n").into(),
            gains.join("\n").into(),
        ]);
        Ok(())
    })?;
    if affected.losing() + affected.gaining() > 0 {
        writeln!(out)?;
        table.write(out)?;
    }
    Ok(())
}

/// Writes only the conflicts: nothing of the rest was written.
fn write_moved(
    as_what: &str,
    moved: &[Conflict],
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let columns = count(moved.len(), "column");
    let are = if moved.len() == 1 { "is" } else { "are" };
    let headline = format!("{columns} {are} no longer as {as_what}.");
    writeln!(out, "{}\n", look.heading(&headline))?;
    conflicts(moved, look).write(out)
}

/// Writes what `undo` did, or would do, for a person to read.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_undone(
    undone: &UndoReport,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    if matches!(undone.ending, Ending::Moved { .. }) {
        return write_moved("the journal has it", &undone.facts.conflicts, look, out)
            .and_then(|()| write_undone_closing(undone, look, out));
    }
    let back = match undone.facts.back {
        0 => String::new(),
        back => format!(", {back} already back"),
    };
    let headline = format!("{} to put back{back}.", count(undone.facts.rows(), "row"));
    writeln!(out, "{}", look.heading(&headline))?;
    if !undone.facts.conflicts.is_empty() {
        writeln!(
            out,
            "\nLeft as they are, because they were changed since then:\n"
        )?;
        conflicts(&undone.facts.conflicts, look).write(out)?;
    }
    if !undone.facts.changes.is_empty() {
        let mut table = Grid::new(["ROW", "COLUMN", "NOW", "AS BEFORE"], look);
        for change in &undone.facts.changes {
            for content in change.contents() {
                table.row([
                    printable(change.key()).into(),
                    site_label(change.table(), content.column).into(),
                    shown_content(&content.before, look).into(),
                    shown_content(&content.after, look).into(),
                ]);
            }
        }
        writeln!(out)?;
        table.write(out)?;
    }
    write_undone_closing(undone, look, out)
}

/// Writes only how an undo ended.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_undone_closing(
    undone: &UndoReport,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let rows = count(undone.facts.rows(), "row");
    let line = match undone.ending {
        Ending::Applied { notified, .. } => {
            let done = format!(
                "Put back {rows}; verified and committed (run {}).",
                undone.facts.run
            );
            // No proxy caches whole rows.
            if undone
                .facts
                .changes
                .iter()
                .all(|change| matches!(change, Change::Credentials(_)))
            {
                done
            } else {
                format!("{done} {}", after_care(notified))
            }
        }
        Ending::Proposed => format!("It would put back {rows}."),
        Ending::DryRun { .. } if undone.facts.changes.is_empty() => {
            "Nothing was written (dry run): there is nothing to put back.".to_owned()
        }
        Ending::DryRun { .. } => {
            format!("Nothing was written (dry run). It would put back {rows}.")
        }
        Ending::Declined => "Declined: nothing was written.".to_owned(),
        Ending::Moved { .. } => "Nothing was written.".to_owned(),
        Ending::NothingToDo | Ending::Scanned { .. } => "There is nothing to put back.".to_owned(),
    };
    if let Some(access) = &undone.facts.access {
        for paragraph in paragraphs(access, undone.ending.tense()) {
            writeln!(out, "\n{}", look.prose(&paragraph))?;
        }
    }
    writeln!(out, "\n{}", look.prose(&line))?;
    write_commands(&advice::undone_commands(undone), look, out)
}

/// Writes commands to be pasted: each on one line of its own, however wide the terminal is.
fn write_commands(
    commands: &[Advised],
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    for Advised { lead, command } in commands {
        writeln!(out, "\n{}\n  {command}", look.prose(lead))?;
        for note in command.notes() {
            writeln!(out, "{}", look.prose(note))?;
        }
    }
    Ok(())
}

/// Writes the ids of config servers for a person to read.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_ids(
    ids: &ConfigIds,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = Grid::new(["SERVER", "ID", "FORMER IDS", "NOT SET HERE"], look);
    for server in &ids.servers {
        table.row([
            printable(&server.name).into(),
            list(server.ids_in_order().into_iter(), look).into(),
            list(server.former_ids.iter().map(String::as_str), look).into(),
            list(server.unset.iter().map(String::as_str), look).into(),
        ]);
    }
    table.write(out)?;
    let to_pin = ids.servers.iter().filter(|server| !server.is_pinned);
    let mut lines = to_pin.filter_map(|server| Some((&server.name, server.current.as_ref()?)));
    if let Some(first) = lines.next() {
        writeln!(
            out,
            "\nTo keep an id whatever is edited (LiteLLM 1.101 or later), write its line into the server's \
             entry:"
        )?;
        for (name, id) in std::iter::once(first).chain(lines) {
            writeln!(out, "\n{}:\n    server_id: \"{id}\"", printable(name))?;
        }
    }
    Ok(())
}

/// Returns what is left to do after the commit; `notified` if the proxies were told by Redis.
fn after_care(notified: bool) -> String {
    let quicker = if notified {
        "restart those that were not notified"
    } else if redis::IS_BUILT_IN {
        "restart them, or give --notify-redis"
    } else {
        "restart them"
    };
    format!(
        "Running proxies may serve the old rows for {ROWS_FOR} seconds (unified access groups for \
         {ACCESS_GROUPS_FOR}). To be quicker, {quicker}."
    )
}

/// Makes the table of what is not as a plan or journal has it.
fn conflicts(conflicts: &[Conflict], look: DisplayOptions) -> Grid<4> {
    let mut table = Grid::new(["ROW", "COLUMN", "EXPECTED", "FOUND"], look);
    for conflict in conflicts {
        let found = conflict.found.value().map_or_else(
            || format!("({})", printable(&conflict.found.to_string())),
            |content| shown_content(content, look),
        );
        table.row([
            printable(&conflict.row).into(),
            site_label(conflict.table, conflict.column).into(),
            shown_content(&conflict.expected, look).into(),
            found.into(),
        ]);
    }
    table
}

/// Says in one sentence what was found.
pub(crate) fn headline(summary: Summary, baseline: Option<&BaselineFacts>) -> String {
    let new = baseline.and_then(|baseline| baseline.read.as_ref());
    let new = if new.is_some() { "new " } else { "" };
    if summary.rows == 0 {
        return format!("No {new}stale references.");
    }
    let stale = match summary.stale {
        0 => format!("No {new}stale references"),
        stale => format!(
            "{} in {}",
            count(stale, &format!("{new}stale reference")),
            count(summary.stale_rows, "row")
        ),
    };
    let mut counts = vec![stale];
    let others = [
        (summary.unverified, "unverified"),
        (summary.inactive, "inactive"),
        (summary.malformed, "malformed"),
        (summary.dangling_toolsets, "to a deleted toolset"),
        (summary.notes, "noted"),
    ];
    counts.extend(
        others
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, kind)| format!("{number} {kind}")),
    );
    format!("{}.", counts.join(", "))
}

/// Says what was looked at, where nothing was found.
pub(crate) fn looked_at(report: &Report) -> Option<String> {
    let tables = report.facts.found.looked_at();
    if tables.is_empty() {
        return None;
    }
    let mut groups: BTreeMap<Group, usize> = BTreeMap::new();
    for (table, rows) in tables {
        *groups.entry(table.group()).or_default() += rows;
    }
    let groups = groups.into_iter().map(|(group, rows)| match group {
        Group::Permissions => count(rows, "permission row"),
        Group::AccessGroups => count(rows, "access group"),
        Group::Toolsets => count(rows, "toolset"),
        Group::Defaults => count(rows, "saved setting"),
        Group::Credentials => format!("{} with credentials", count(rows, "server")),
    });
    let groups: Vec<String> = groups.collect();
    let servers = report.facts.servers;
    let config = match servers.config {
        None => String::new(),
        Some(config) => format!(" and {} of config files", count(config, "server")),
    };
    Some(format!(
        "Looked at {} that name servers, and at {} of the database{config}.",
        groups.join(", "),
        count(servers.database, "server"),
    ))
}

/// Counts the owners, by kind, of rows with stale references.
pub(crate) fn whose(report: &Report) -> Option<String> {
    let stale = || report.plans().iter().filter(|plan| plan.audit.is_stale());
    let owners = stale().flat_map(|plan| plan.audit.owners());
    let owners: BTreeSet<(OwnerKind, &str)> = owners.map(|o| (o.kind(), o.id())).collect();
    let mut kinds: BTreeMap<OwnerKind, usize> = BTreeMap::new();
    for (kind, _) in owners {
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds = kinds.into_iter();
    let mut counts: Vec<String> = kinds
        .map(|(kind, number)| count(number, &kind.name().replace('_', " ")))
        .collect();
    let without_owner = stale()
        .filter(|plan| plan.audit.impacts.is_empty())
        .filter(|plan| {
            !matches!(
                plan.audit.table.group(),
                Group::Defaults | Group::Credentials
            )
        });
    match without_owner.count() {
        0 => {}
        number => counts.push(format!("{} without an owner", count(number, "row"))),
    }
    (!counts.is_empty()).then(|| format!("Affected: {}.", counts.join(", ")))
}

fn findings(report: &Report, look: DisplayOptions) -> Grid<7> {
    let header = [
        "OWNER",
        "COLUMN",
        "REFERENCE",
        "VERDICT",
        "LAST GRANT",
        "FIX",
        "ROW",
    ];
    let mut table = Grid::new(header, look);
    for plan in report.plans() {
        let findings = &plan.audit.findings;
        let shown = table.room().min(findings.len());
        table.leave_out(findings.len() - shown);
        if shown == 0 {
            continue;
        }
        let decisions = Decisions::of(plan);
        let owners = owners(&plan.audit, look);
        for (at, finding) in findings.iter().take(shown).enumerate() {
            let again = at > 0;
            let fix = decisions.disposition(finding);
            let held = fix.starts_with("hold: ");
            table.row([
                GridCell::from(owners.as_str()).ditto(again),
                site_label(plan.audit.table, finding.column).into(),
                subject(&plan.audit, finding).into(),
                GridCell::toned(finding.kind.name(), tone(finding.kind)),
                if finding.last_grant { "yes" } else { "" }.into(),
                GridCell::toned(fix, if held { Tone::Unsure } else { Tone::Plain }),
                GridCell::from(printable(&plan.audit.row)).ditto(again),
            ]);
        }
    }
    table
}

fn tone(kind: FindingKind) -> Tone {
    match kind {
        FindingKind::Stale => Tone::Bad,
        FindingKind::Unverified | FindingKind::Malformed(_) | FindingKind::DanglingToolset => {
            Tone::Unsure
        }
        FindingKind::Inactive | FindingKind::Note(_) => Tone::Plain,
    }
}

/// Makes the table of what each owner would gain if the last grants of its row were removed.
fn prospects(report: &Report, look: DisplayOptions) -> Grid<3> {
    let mut table = Grid::new(["LAST GRANT OF", "IF ITS LIST WERE EMPTY", "ROW"], look);
    for plan in report.plans() {
        let audit = &plan.audit;
        for OwnerImpact { owner, if_emptied } in &audit.impacts {
            let Some(if_emptied) = if_emptied else {
                continue;
            };
            table.row([
                printable(&owner.to_string()).into(),
                effect(owner.kind(), &if_emptied.effect).into(),
                printable(&audit.row).into(),
            ]);
        }
    }
    table
}

/// How many of the servers that an owner would gain are named; JSON has them all.
const GAINED: usize = 5;

/// Says what an owner would gain.
pub(crate) fn effect(owner: OwnerKind, effect: &Effect) -> String {
    let inherits = |inherited: &Inherited, of: &str| {
        let from = printable(&inherited.from);
        let servers: Vec<String> = inherited
            .servers
            .iter()
            .map(|id| printable(id.as_str()))
            .collect();
        let more = if inherited.incomplete {
            ", and those that a config.yaml names"
        } else {
            ""
        };
        match servers.len() {
            0 if inherited.incomplete => {
                format!("gains the servers of {of} {from} that a config.yaml names")
            }
            0 => format!("inherits from {of} {from}, which has no server now"),
            n => {
                let gained = count(n, "server");
                let named = servers[..n.min(GAINED)].join(", ");
                let others = match n.saturating_sub(GAINED) {
                    0 => String::new(),
                    others => format!(" and {others} more"),
                };
                format!("gains {gained} of {of} {from}: {named}{others}{more}")
            }
        }
    };
    match effect {
        Effect::InheritsTeam(inherited) => inherits(inherited, "team"),
        Effect::InheritsOrganization(inherited) => inherits(inherited, "organization"),
        Effect::LiftsCeiling { keys: Some(keys) } => {
            let owner = owner.name().replace('_', " ");
            let keys = count(usize::try_from(*keys).unwrap_or(usize::MAX), "key");
            format!("lifts the limit for every caller of this {owner} ({keys} today)")
        }
        Effect::LiftsCeiling { keys: None } => {
            "lifts the limit for every key that names it".to_owned()
        }
        Effect::OpensAll => "reaches every server".to_owned(),
        Effect::Nothing => "gains nothing now".to_owned(),
    }
}

fn changes(report: &Report, look: DisplayOptions) -> Grid<4> {
    let mut table = Grid::new(["ROW", "COLUMN", "BEFORE", "AFTER"], look);
    for plan in report.plans() {
        for edit in &plan.edits {
            if table.room() == 0 {
                table.leave_out(1);
                continue;
            }
            table.row([
                printable(&plan.audit.row).into(),
                site_label(plan.audit.table, edit.site().name).into(),
                shown(edit.before(), look).into(),
                shown(&edit.after(), look).into(),
            ]);
        }
        if let Some(deleted) = &plan.deletion {
            if table.room() == 0 {
                table.leave_out(1);
                continue;
            }
            table.row([
                printable(&plan.audit.row).into(),
                site_label(plan.audit.table, plan.audit.table.key()).into(),
                rows_in_words(deleted.rows).into(),
                rows_in_words(0).into(),
            ]);
        }
    }
    table
}

/// Writes only how it ended and what to do next.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_closing(
    report: &Report,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let lines = if matches!(report.ending, Ending::Moved { .. }) {
        vec!["Nothing was written. Make a new plan.".to_owned()]
    } else {
        advice(report, report.summary())
    };
    for line in lines {
        writeln!(out, "\n{}", look.prose(&line))?;
    }
    write_commands(&advice::commands(report), look, out)
}

/// Says what follows from what was found and done, what it assumes, and how it ended: a paragraph
/// each.
pub(crate) fn advice(report: &Report, summary: Summary) -> Vec<String> {
    let mut lines = successors(report);
    let impacts = report.plans().iter().flat_map(|plan| &plan.audit.impacts);
    let effects = impacts.filter_map(|impact| impact.if_emptied.as_ref());
    let assumed: BTreeSet<&str> = effects.filter_map(|effect| effect.assuming).collect();
    if !assumed.is_empty() {
        let assumed: Vec<&str> = assumed.into_iter().collect();
        let assumed = assumed.join(", and that ");
        lines.push(format!("This assumes that {assumed}."));
    }
    if summary.unverified > 0 && report.facts.servers.config.is_none() {
        lines.push(
            "Unverified references may name servers of a config.yaml, which have no row. Give it \
             with --litellm-config FILE, or --no-config-servers if there is none."
                .to_owned(),
        );
    }
    let is_in_a_list = |plan: &&RowPlan| plan.audit.table.group() != Group::Credentials;
    let mut lists = report.plans().iter().filter(is_in_a_list);
    if lists.any(|plan| plan.audit.is_stale()) {
        let release = report.facts.release;
        let consequence = release.consequence();
        lines.push(format!(
            "The schema is one of LiteLLM {release} or later. {consequence}"
        ));
    }
    lines.extend(held(report));
    if let Some(access) = &report.facts.access {
        lines.extend(paragraphs(access, report.ending.tense()));
    }
    let repair = repair(summary);
    let last = match report.ending {
        Ending::Scanned { .. }
            if summary.rows_changed > 0 && report.facts.servers.database == 0 =>
        {
            format!("A repair would {repair}, but fix refuses to while the server table is empty.")
        }
        Ending::Scanned { .. } if summary.rows_changed > 0 => format!("A repair would {repair}."),
        Ending::Scanned { .. } if summary.rows == 0 => return lines,
        Ending::Scanned { .. } | Ending::NothingToDo => {
            "There is nothing that fix may change.".to_owned()
        }
        Ending::DryRun { .. } if summary.rows_changed == 0 => {
            "Nothing was written (dry run): there is nothing that fix may change.".to_owned()
        }
        Ending::DryRun { .. } => format!("Nothing was written (dry run). It would {repair}."),
        Ending::Proposed => format!("It would {repair}."),
        // Nothing else matters then, see `write_closing`.
        Ending::Moved { .. } => return Vec::new(),
        Ending::Applied { .. } if summary.rows_changed == summary.rows_deleted => {
            format!(
                "Done: {repair}; verified and committed (run {}).",
                report.facts.run
            )
        }
        Ending::Applied { notified, .. } => format!(
            "Done: {repair}; verified and committed (run {}). {}",
            report.facts.run,
            after_care(notified)
        ),
        Ending::Declined => "Declined: nothing was written.".to_owned(),
    };
    lines.push(last);
    if matches!(report.ending, Ending::Applied { .. }) && !report.facts.deleted.is_empty() {
        lines.push("Now delete the server in LiteLLM, and then run scan.".to_owned());
    }
    let united = report
        .plans()
        .iter()
        .filter(|plan| plan.edits.iter().any(Edit::unites));
    let united: Vec<String> = united.map(|plan| printable(&plan.audit.row)).collect();
    if !united.is_empty() {
        lines.push(format!(
            "Where the new server already had tools, both lists are merged: row {}.",
            united.join(", ")
        ));
    }
    lines
}

/// Says in words what a repair does.
fn repair(summary: Summary) -> String {
    let edited = summary.rows_changed - summary.rows_deleted;
    let rows = count(edited, "row");
    let removed = summary.references_removed;
    let remove = format!("remove {} from {rows}", count(removed, "stale reference"));
    let remap = match summary.references_remapped {
        0 => None,
        n if removed == 0 => Some(format!("remap {} in {rows}", count(n, "reference"))),
        n => Some(format!("remap {} and {remove}", count(n, "reference"))),
    };
    let edit = remap.unwrap_or(remove);
    let delete = format!("delete {}", count(summary.rows_deleted, "row"));
    match (edited, summary.rows_deleted) {
        (_, 0) => edit,
        (0, _) => delete,
        (_, _) => format!("{edit}, and {delete}"),
    }
}

/// Explains why references are held: a paragraph for each explanation, and what helps.
fn held(report: &Report) -> Vec<String> {
    let plans = || report.plans().iter();
    let mut reasons: Vec<Reason> = plans().flat_map(|p| &p.held).map(|h| h.reason).collect();
    reasons.sort_unstable();
    reasons.dedup_by_key(|reason| reason.explanation());
    let paragraphs = reasons.into_iter().map(|reason| {
        let explanation = reason.explanation();
        let of_row = |plan: &RowPlan| {
            let held = plan.held.iter();
            held.filter(|h| h.reason.explanation() == explanation)
                .count()
        };
        let rows = plans().map(|plan| (of_row(plan), plan.rows()));
        let rows = rows.filter(|(references, _)| *references > 0);
        let (references, rows) = rows.fold((0, 0), |(r, n), (held, rows)| (r + held, n + rows));
        format!(
            "Held: {} in {}. {explanation}{}{}",
            count(references, "reference"),
            count(rows, "row"),
            because(report, explanation),
            what_helps(reason, report)
        )
    });
    let said = report.facts.said.policy.on_empty;
    let numbers = report.facts.settled.filter(|_| said != OnEmpty::Clear);
    let settled = numbers.map(|numbers| settled(numbers, said));
    paragraphs
        .chain(settled)
        .chain(refused_edits(report))
        .collect()
}

/// Lists callers who would gain or lose something, of those references that are held with this
/// explanation; empty, or with a space before it.
fn because(report: &Report, explanation: &str) -> String {
    const NAMED: usize = 3;
    let held = report.plans().iter().flat_map(|plan| &plan.held);
    let held = held.filter(|held| held.reason.explanation() == explanation);
    let because: BTreeSet<&str> = held.filter_map(|held| held.because.as_deref()).collect();
    let named: Vec<String> = because.iter().take(NAMED).map(|b| printable(b)).collect();
    match because.len().saturating_sub(NAMED) {
        _ if named.is_empty() => String::new(),
        0 => format!(" Who: {}.", named.join("; ")),
        more => format!(" Who: {}; and {}.", named.join("; "), count(more, "other")),
    }
}

/// Says how many of the held references each choice would settle that was not `said`.
fn settled(settled: SettledByChoice, said: OnEmpty) -> String {
    let SettledByChoice {
        held,
        deny,
        unchanged,
        clear,
    } = settled;
    let of_unchanged = format!("{unchanged} with --on-empty unchanged");
    let of_deny = format!("{deny} with --on-empty deny");
    let of_clear = format!(
        "{clear} with --on-empty clear --accept-widening, by which somebody may gain access"
    );
    let choices = match said {
        OnEmpty::Hold | OnEmpty::Clear => vec![of_unchanged, of_deny, of_clear],
        OnEmpty::Deny { .. } => vec![of_unchanged, of_clear],
        OnEmpty::Unchanged => vec![of_deny, of_clear],
    };
    format!(
        "Of {} held in a list that would run empty, fix would settle {}.",
        count(held, "reference"),
        choices.join("; ")
    )
}

/// Returns what the operator can do about what `reason` holds, or whom it harms; empty, or with a
/// space before it. Never proposes an option that was given.
fn what_helps(reason: Reason, report: &Report) -> String {
    let on_empty = report.facts.said.policy.on_empty;
    let narrows = |held: &Held| held.reason == Reason::WouldNarrow;
    match reason {
        Reason::WouldWiden | Reason::WouldNarrow
            if on_empty
                == OnEmpty::Deny {
                    accept_narrowing: false,
                }
                && report.plans().iter().flat_map(|p| &p.held).any(narrows) =>
        {
            " Add --accept-narrowing to write no-mcp-servers where it only takes access away."
                .to_owned()
        }
        Reason::DanglingToolset => locked_out(report),
        Reason::LastGrant
        | Reason::Marker(_)
        | Reason::WouldWiden
        | Reason::WouldNarrow
        | Reason::FailsOpen
        | Reason::KeptByKey
        | Reason::NeedsId
        | Reason::NeedsDeleteRows
        | Reason::NotRemapped
        | Reason::OauthClient
        | Reason::MaybeEdited
        | Reason::MaybeRenewed
        | Reason::StillServed => String::new(),
    }
}

/// Says how to edit keys that LiteLLM refuses to edit while their last references are held.
///
/// Source: LiteLLM 1.86.7 `management_helpers/object_permission_utils.py`,
/// `validate_key_mcp_servers_against_team`, looks at the servers that a request names, not at those
/// stored. 1.86.7 and 1.87.5 know the marker, and no schema tells them from older ones.
fn refused_edits(report: &Report) -> Option<String> {
    let refuses = Release::REFUSES_EDITS..Release::DROPS_ON_EDIT;
    if !refuses.contains(&report.facts.release) {
        return None;
    }
    let is_last = |held: &Held| held.reason.is_of_empty_list();
    let is_stuck = |plan: &&RowPlan| {
        let mut owners = plan.audit.owners();
        plan.audit.table.group() == Group::Permissions
            && owners.any(|owner| owner.kind() == OwnerKind::Key)
            && plan.held.iter().any(is_last)
    };
    let rows = report.plans().iter().filter(is_stuck).count();
    (rows > 0).then(|| {
        let whose = if rows == 1 {
            "belongs to a key"
        } else {
            "belong to keys"
        };
        format!(
            "{} {whose}: LiteLLM answers 403 to an edit of such a key that still names a held \
             reference. To edit it, set its MCP servers anew in LiteLLM: to servers that its team \
             has, or, once LiteLLM is upgraded to 1.86.7 or 1.87.5, to no-mcp-servers for none. Or \
             run fix with --on-empty clear --accept-widening, if the key may gain what is shown.",
            count(rows, "row")
        )
    })
}

/// Says to whom toolsets that are gone deny access.
///
/// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`,
/// `UnloadableEntitlementError`: a team, an organization, a user and an agent are denied
/// everything; for a key the toolset is empty.
fn locked_out(report: &Report) -> String {
    let dangles = |plan: &&RowPlan| {
        let mut held = plan.held.iter();
        held.any(|held| held.reason == Reason::DanglingToolset)
    };
    let owners = || {
        let plans = report.plans().iter().filter(dangles);
        plans.flat_map(|plan| plan.audit.owners())
    };
    let named = |is_meant: fn(OwnerKind) -> bool| {
        let meant = owners().filter(|owner| is_meant(owner.kind()));
        let names: BTreeSet<String> = meant.map(ToString::to_string).collect();
        let first: Vec<String> = names.iter().take(GAINED).map(|n| printable(n)).collect();
        let others = match names.len().saturating_sub(GAINED) {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        (!first.is_empty()).then(|| format!("{}{others}", first.join(", ")))
    };
    let denied = named(|kind| match kind {
        OwnerKind::Team | OwnerKind::Organization | OwnerKind::User | OwnerKind::Agent => true,
        OwnerKind::Key | OwnerKind::EndUser | OwnerKind::Project => false,
    });
    let denied = denied.map(|names| {
        format!(" This is an outage: LiteLLM denies every MCP server to all callers of {names}.")
    });
    let keys = named(|kind| kind == OwnerKind::Key)
        .map(|names| format!(" Such a toolset grants nothing to {names}."));
    [denied, keys].into_iter().flatten().collect()
}

/// Returns the reference, or what is wrong with the whole value.
fn subject(audit: &Audit, finding: &Finding) -> String {
    match (finding.kind, &finding.reference) {
        (FindingKind::Malformed(malformed), _) => format!("({malformed})"),
        (FindingKind::Note(note), Some(reference)) => format!("{}\n({note})", printable(reference)),
        (_, Some(reference)) => match audit.credentials() {
            None => printable(reference),
            Some(rows) => format!("{}\n({})", printable(reference), rows_in_words(rows)),
        },
        (_, None) => String::new(),
    }
}

/// Lists what stale ids of config servers became, a line each.
fn successors(report: &Report) -> Vec<String> {
    let plans = report.plans().iter();
    let findings = plans.flat_map(|plan| &plan.audit.findings);
    let lines: BTreeSet<String> = findings
        .filter_map(|finding| {
            let successor = finding.successor.as_ref()?;
            let ids: Vec<String> = successor.ids.iter().map(|id| printable(id)).collect();
            let old = printable(finding.reference.as_deref()?);
            let name = printable(&successor.name);
            let now = ids.join(" or ");
            Some(format!(
                "{old} is an old id of config server {name}, now {now}."
            ))
        })
        .collect();
    lines.into_iter().collect()
}

/// Lists the owners, one a line.
fn owners(audit: &Audit, look: DisplayOptions) -> String {
    if audit.impacts.is_empty() {
        return nobody(audit.table.group()).to_owned();
    }
    let owners: Vec<String> = audit.owners().map(ToString::to_string).collect();
    list(owners.iter().map(String::as_str), look)
}

/// Returns the column of a permission row; elsewhere with the group that it belongs to.
fn site_label(table: ScannedTable, name: &str) -> String {
    match table.group() {
        Group::Permissions => name.to_owned(),
        Group::AccessGroups | Group::Toolsets | Group::Defaults => {
            let name = name.strip_prefix("param_value.").unwrap_or(name);
            format!("{}: {name}", table.group().name())
        }
        Group::Credentials => table.label(),
    }
}

/// Shows references, one a line, or the number of rows.
fn shown_content(content: &ColumnContent, look: DisplayOptions) -> String {
    match content {
        ColumnContent::References(value) => shown(value, look),
        ColumnContent::Rows(rows) => rows_in_words(rows.rows),
    }
}

/// Shows a value: one reference a line.
fn shown(value: &Value, look: DisplayOptions) -> String {
    list(value.references(), look)
}

fn rows_in_words(rows: u64) -> String {
    count(usize::try_from(rows).unwrap_or(usize::MAX), "row")
}

/// Lists text that others chose, one a line, and as many as a table may have rows.
fn list<'a>(mut texts: impl Iterator<Item = &'a str>, look: DisplayOptions) -> String {
    let most = look.limit.unwrap_or(usize::MAX);
    let mut lines: Vec<String> = texts.by_ref().take(most).map(printable).collect();
    match texts.count() {
        0 if lines.is_empty() => return "(empty)".to_owned(),
        0 => {}
        more => lines.push(format!("({more} more: --limit 0 shows all)")),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::ids::ServerId;

    #[test]
    fn of_many_servers_gained_the_first_are_named() {
        let gains = |servers: usize| {
            let inherited = Inherited {
                from: "platform".to_owned(),
                servers: (1..=servers).map(|n| ServerId(format!("{n:02}"))).collect(),
                incomplete: false,
            };
            effect(OwnerKind::Key, &Effect::InheritsTeam(inherited))
        };
        assert_eq!(
            gains(5),
            "gains 5 servers of team platform: 01, 02, 03, 04, 05"
        );
        assert_eq!(
            gains(30),
            "gains 30 servers of team platform: 01, 02, 03, 04, 05 and 25 more"
        );
    }

    #[test]
    fn a_lifted_limit_tells_the_number_of_keys() {
        for (keys, shown) in [
            (
                0,
                "lifts the limit for every caller of this end user (no keys today)",
            ),
            (
                1,
                "lifts the limit for every caller of this end user (1 key today)",
            ),
            (
                12,
                "lifts the limit for every caller of this end user (12 keys today)",
            ),
        ] {
            let lifts = Effect::LiftsCeiling { keys: Some(keys) };
            assert_eq!(effect(OwnerKind::EndUser, &lifts), shown);
        }
    }
}
