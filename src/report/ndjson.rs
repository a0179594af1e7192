//! The report as a stream: one JSON object a line, each with its `type`, and the summary last.
//!
//! Made of the types of [`super::json`], and so part of the same promise.

use std::io::{self, Write};

use serde::Serialize;

use super::found::RowLines;
use super::json::{
    self, AfterCareV1, ChangeV1, ConflictV1, FindingV1, FixSummaryV1, Head, HeldV1, PutBackV1,
    ScanSummaryV1, UndoHead, UndoSummaryV1,
};
use super::json_text;
use super::{Ending, Report, Undone};
use crate::failure::Failure;
use crate::repair::plan::RowPlan;

/// What a line says.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Header(Box<HeaderV1<'a>>),
    Finding(FindingV1<'a>),
    Change(ChangeV1<'a>),
    #[serde(rename = "change")]
    PutBack(PutBackV1<'a>),
    Held(HeldV1<'a>),
    Conflict(ConflictV1<'a>),
    Summary(SummaryV1<'a>),
    Error(ErrorV1<'a>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum HeaderV1<'a> {
    Report(Head<'a>),
    Undo(UndoHead<'a>),
}

#[derive(Serialize)]
struct SummaryV1<'a> {
    outcome: &'static str,
    #[serde(flatten)]
    counts: CountsV1,
    /// The file the old values were saved to.
    journal: Option<&'a str>,
    /// The file the plan was saved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_care: Option<AfterCareV1>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum CountsV1 {
    Scan(ScanSummaryV1),
    Fix(FixSummaryV1),
    Undo(UndoSummaryV1),
}

#[derive(Serialize)]
struct ErrorV1<'a> {
    run: &'a str,
    /// The exit code.
    code: u8,
    message: String,
    hint: Option<&'a str>,
}

/// Writes `report` line by line.
///
/// # Errors
///
/// What `out` says.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let header = HeaderV1::Report(json::head(report));
    line(&Line::Header(Box::new(header)), out)?;
    let summary = report.summary();
    let scanned = report.ending == Ending::Scanned;
    let row_lines = if scanned {
        RowLines::Findings
    } else {
        RowLines::Decisions
    };
    report.found.write_lines(row_lines, out)?;
    let counts = if scanned {
        CountsV1::Scan(json::scan_summary(summary))
    } else {
        let conflicts = json::conflicts(&report.conflicts);
        lines(conflicts.map(Line::Conflict), out)?;
        CountsV1::Fix(json::fix_summary(summary))
    };
    let summary = SummaryV1 {
        outcome: report.ending.name(),
        counts,
        journal: report.journal.as_deref(),
        plan: report.plan.as_deref(),
        after_care: json::after_care(report.ending),
    };
    line(&Line::Summary(summary), out)
}

/// Writes the lines of rows: their findings, or the changes and what is held, row by row.
pub(super) fn write_rows(
    plans: &[RowPlan],
    row_lines: RowLines,
    out: &mut impl Write,
) -> io::Result<()> {
    if row_lines == RowLines::Findings {
        return lines(json::findings(plans).map(Line::Finding), out);
    }
    for plan in plans.chunks(1) {
        lines(json::changes(plan).map(Line::Change), out)?;
        lines(json::held(plan).map(Line::Held), out)?;
    }
    Ok(())
}

/// Writes what `undo` did line by line.
///
/// # Errors
///
/// What `out` says.
pub fn write_undone(undone: &Undone, out: &mut impl Write) -> io::Result<()> {
    let header = HeaderV1::Undo(json::undo_head(undone));
    line(&Line::Header(Box::new(header)), out)?;
    lines(json::put_back(undone).map(Line::PutBack), out)?;
    let conflicts = json::conflicts(&undone.conflicts);
    lines(conflicts.map(Line::Conflict), out)?;
    let summary = SummaryV1 {
        outcome: undone.ending.name(),
        counts: CountsV1::Undo(json::undo_summary(undone)),
        journal: undone.journal.as_deref(),
        plan: None,
        after_care: json::after_care(undone.ending),
    };
    line(&Line::Summary(summary), out)
}

/// Writes why a command failed, the last line of all.
///
/// # Errors
///
/// What `out` says.
pub fn write_error(run: &str, failure: &Failure, code: u8, out: &mut impl Write) -> io::Result<()> {
    let error = ErrorV1 {
        run,
        code,
        message: failure.message(),
        hint: failure.advice(),
    };
    line(&Line::Error(error), out)
}

fn lines<'a>(mut lines: impl Iterator<Item = Line<'a>>, out: &mut impl Write) -> io::Result<()> {
    lines.try_for_each(|entry| line(&entry, out))
}

fn line(line: &Line<'_>, out: &mut impl Write) -> io::Result<()> {
    json_text::write_compact(line, out)?;
    out.write_all(b"\n")
}
