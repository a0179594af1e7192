//! The report in about ten lines: `--summary`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::printable::printable;
use crate::report::compared_access::in_short;
use crate::report::overview::Overview;
use crate::report::shown_text::{affected_in_words, count};
use crate::report::table::closing::{ending_line, last_step};
use crate::report::table::layout::first_of;
use crate::report::table::{headline, whose};
use crate::report::text_table::DisplayOptions;
use crate::report::{Report, advice, baseline};

/// The lines that a report may have. On a narrow terminal it takes more, because what decides
/// whether to repair is never left out.
const LINES: usize = 10;

/// How many reasons are named.
const REASONS: usize = 3;

/// Writes the counts, what is held, how it ended, and the next command.
///
/// If that takes more lines than it may, what can be missed most easily is left out.
pub(super) fn write(
    report: &Report,
    overview: &Overview,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let deletions = report.facts.deleted.iter();
    let mut needed: Vec<String> = deletions
        .map(|server| format!("As if deleted: {}.", printable(&server.to_string())))
        .collect();
    needed.push(headline(report.summary(), report.facts.baseline.as_ref()));
    let head = needed.len();
    needed.extend(baseline::in_words(report));
    needed.extend(held(report, overview));
    needed.extend(report.facts.affected.as_ref().map(affected_in_words));
    let needed: Vec<String> = needed.iter().map(|line| look.prose(line)).collect();
    let end = end(report, overview, look);
    let lines = |text: &String| text.lines().count();
    let used = needed.iter().chain(&end).map(lines).sum::<usize>();
    let mut room = LINES.saturating_sub(used);
    let mut more = Vec::new();
    for line in [whose(overview), deleted(overview)].into_iter().flatten() {
        let line = look.prose(&line);
        if lines(&line) <= room {
            room -= lines(&line);
            more.push(line);
        }
    }
    let (first, rest) = needed.split_at(head);
    for line in first.iter().chain(&more).chain(rest).chain(&end) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Writes how it ended, and the next command.
pub(super) fn write_ending(
    report: &Report,
    overview: &Overview,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let lines = end(report, overview, look);
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn end(report: &Report, overview: &Overview, look: DisplayOptions) -> Vec<String> {
    let access = report.facts.access.as_ref();
    let access = access.map(|access| in_short(access, report.ending.tense()));
    let ending = ending_line(report, report.summary());
    let said = access.into_iter().chain(ending).chain(last_step(report));
    let mut lines: Vec<String> = said.map(|line| look.prose(&line)).collect();
    let mut commands = advice::commands(report, overview).into_iter();
    // After a scan, what repairs comes first; else, what carries out or takes back comes last.
    let next = if report.ending.is_of_scan() {
        commands.next()
    } else {
        commands.next_back()
    };
    if let Some(next) = next {
        lines.push(format!("{}\n  {}", look.prose(&next.lead), next.command));
        lines.extend(next.command.notes().iter().map(|note| look.prose(note)));
    }
    lines
}

fn deleted(overview: &Overview) -> Option<String> {
    let stale = overview.stale_references();
    let servers = stale.iter().map(|(reference, _)| *reference);
    let number = count(stale.len(), "deleted server");
    (!stale.is_empty()).then(|| format!("Of {number}: {}.", first_of(servers, 1)))
}

fn held(report: &Report, overview: &Overview) -> Option<String> {
    let summary = report.summary();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (reason, number) in &overview.held {
        *reasons.entry(reason.to_string()).or_default() += number;
    }
    let mut reasons: Vec<(usize, String)> = reasons.into_iter().map(|(why, n)| (n, why)).collect();
    reasons.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let reasons: Vec<String> = reasons
        .iter()
        .map(|(n, why)| format!("{n} {why}"))
        .collect();
    (summary.references_held > 0).then(|| {
        format!(
            "Held: {} in {}: {}.",
            count(summary.references_held, "reference"),
            count(summary.rows_held, "row"),
            first_of(reasons.iter().map(String::as_str), REASONS)
        )
    })
}
