//! The report for people: what is wrong at a glance, then server by server, then what to do next.

mod closing;
mod config_ids;
mod effects;
mod found;
mod groups;
mod held;
mod layout;
mod owner_lines;
mod owner_names;
mod short;
mod undone;

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::litellm::reference_sites::Group;
use crate::printable::printable;
use crate::report::baseline::{self, BaselineFacts};
use crate::report::overview::Overview;
use crate::report::render::{AnyReport, RenderOptions, ReportFormat};
use crate::report::shown_text::{affected_in_words, count};
use crate::report::summary::Summary;
pub(crate) use crate::report::table::closing::{advice, write_closing};
pub(crate) use crate::report::table::config_ids::write_ids;
pub(crate) use crate::report::table::effects::effect;
pub(crate) use crate::report::table::owner_names::site_name;
use crate::report::table::undone::write_moved;
pub(crate) use crate::report::table::undone::{shown_content, write_undone, write_undone_closing};
use crate::report::text_table::{DisplayOptions, Grid};
use crate::report::{Ending, Report};

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
            AnyReport::Repair(report) => {
                write_closing(report, &Overview::of(report)?, options.look, &mut out)
            }
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
    let overview = &Overview::of(report)?;
    if matches!(report.ending, Ending::Moved { .. }) {
        return write_moved("planned", &report.facts.conflicts, look, out)
            .and_then(|()| write_closing(report, overview, look, out));
    }
    if look.is_summary() {
        return short::write(report, overview, look, out);
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
    if let Some(whose) = whose(overview) {
        writeln!(out, "{}", look.prose(&whose))?;
    }
    if let Some(looked_at) = looked_at(report) {
        writeln!(out, "{}", look.prose(&looked_at))?;
    }
    found::lay_out(report, overview, look)?.write(out)?;
    write_affected(report, overview, look, out)?;
    write_closing(report, overview, look, out)
}

/// Writes who loses or gains something by the deletion of servers.
fn write_affected(
    report: &Report,
    overview: &Overview,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(affected) = &report.facts.affected else {
        return Ok(());
    };
    writeln!(out, "\n{}", look.prose(&affected_in_words(affected)))?;
    let mut table = Grid::of_ids(["CALLER", "LOSES", "GAINS"], look);
    let owners = overview.named(look.is_wide());
    affected.each(|caller| {
        if table.room() == 0 {
            table.leave_out(1);
            return Ok(());
        }
        let loses = caller.loses.iter().map(|s| printable(&s.shown()));
        let gains = caller.gains.iter().map(|s| printable(&s.shown_gain()));
        let (loses, gains): (Vec<String>, Vec<String>) = (loses.collect(), gains.collect());
        table.row([
            printable(&caller.shown_named(owners, report.names())).into(),
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
pub(crate) fn whose(overview: &Overview) -> Option<String> {
    let kinds = overview.owners.iter();
    let mut counts: Vec<String> = kinds
        .map(|(kind, number)| count(*number, &kind.name().replace('_', " ")))
        .collect();
    match overview.ownerless {
        0 => {}
        number => counts.push(format!("{} without an owner", count(number, "row"))),
    }
    (!counts.is_empty()).then(|| format!("Affected: {}.", counts.join(", ")))
}
