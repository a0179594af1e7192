//! The report in ten lines at most: `--summary`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::report::Report;
use crate::report::advice;
use crate::report::shown_text::{affected_in_words, count};
use crate::report::table::closing::ending_line;
use crate::report::table::layout::first_of;
use crate::report::table::{headline, whose};
use crate::report::text_table::DisplayOptions;

/// The lines that a report may have.
const LINES: usize = 10;

/// How many reasons are named.
const REASONS: usize = 3;

/// Writes the counts, what is held, how it ended, and the next command.
///
/// If that takes more lines than it may, what can be missed most easily is left out.
pub(super) fn write(report: &Report, look: DisplayOptions, out: &mut impl Write) -> io::Result<()> {
    let needed = [
        Some(headline(report.summary(), report.facts.baseline.as_ref())),
        held(report),
        report.facts.affected.as_ref().map(affected_in_words),
    ];
    let needed: Vec<String> = needed
        .into_iter()
        .flatten()
        .map(|l| look.prose(&l))
        .collect();
    let end = end(report, look);
    let lines = |text: &String| text.lines().count();
    let used = needed.iter().chain(&end).map(lines).sum::<usize>();
    let mut room = LINES.saturating_sub(used);
    let mut more = Vec::new();
    for line in [whose(report), deleted(report)].into_iter().flatten() {
        let line = look.prose(&line);
        if lines(&line) <= room {
            room -= lines(&line);
            more.push(line);
        }
    }
    let (first, rest) = needed.split_at(1);
    for line in first.iter().chain(&more).chain(rest).chain(&end) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Writes how it ended, and the next command.
pub(super) fn write_ending(
    report: &Report,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let lines = end(report, look);
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn end(report: &Report, look: DisplayOptions) -> Vec<String> {
    let ending = ending_line(report, report.summary());
    let next = advice::commands(report).pop();
    let next = next.map(|next| format!("{}\n  {}", look.prose(&next.lead), next.command));
    let ending = ending.map(|ending| look.prose(&ending));
    ending.into_iter().chain(next).collect()
}

fn deleted(report: &Report) -> Option<String> {
    let stale = report.stale_references();
    let servers = stale.iter().map(|(reference, _)| *reference);
    let number = count(stale.len(), "deleted server");
    (!stale.is_empty()).then(|| format!("Of {number}: {}.", first_of(servers, 1)))
}

fn held(report: &Report) -> Option<String> {
    let summary = report.summary();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for held in report.plans().iter().flat_map(|plan| &plan.held) {
        *reasons.entry(held.reason.to_string()).or_default() += 1;
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
