//! The report as a stream: one JSON object a line, each with its `type`, and the summary last.
//!
//! Made of the types of [`super::json`], so the same promise holds.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::Failure;
use crate::report::affected_callers::AffectedCaller;
use crate::report::baseline::BaselineV1;
use crate::report::compared_access::ComparedAccessV1;
use crate::report::json::{
    self, AfterCareV1, ChangeV1, ConflictV1, FindingV1, FixSummaryV1, Head, HeldV1, PutBackV1,
    ScanSummaryV1, SettledByV1, UndoHead, UndoSummaryV1,
};
use crate::report::render::{AnyReport, RenderOptions, ReportFormat};
use crate::report::{Report, UndoReport, json_text};

/// One line, by its type.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum NdjsonLine<'a> {
    Header(Box<HeaderV1<'a>>),
    Finding(FindingV1<'a>),
    AffectedCaller(&'a AffectedCaller),
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
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_by: Option<SettledByV1>,
    /// The baselines of a scan; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<BaselineV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<ComparedAccessV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_failure: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_failure_hint: Option<&'a str>,
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

/// The format of a stream: lines of JSON, and after a failure the error.
#[derive(Debug)]
pub(crate) struct NdjsonFormat;

impl ReportFormat for NdjsonFormat {
    fn write(
        &self,
        report: AnyReport<'_>,
        _: &RenderOptions,
        mut out: &mut dyn Write,
    ) -> io::Result<()> {
        match report {
            AnyReport::Repair(report) => write(report, &mut out),
            AnyReport::Undo(undone) => write_undone(undone, &mut out),
        }
    }

    fn write_error(
        &self,
        run: &str,
        failure: &Failure,
        code: u8,
        mut out: &mut dyn Write,
    ) -> io::Result<bool> {
        write_error(run, failure, code, &mut out).map(|()| true)
    }
}

/// Writes `report` line by line.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let header = HeaderV1::Report(json::head(report));
    json_text::write_line(&NdjsonLine::Header(Box::new(header)), out)?;
    let counts = if report.ending.is_of_scan() {
        for plan in report.plans() {
            lines(
                json::findings(&plan?, report.names()).map(NdjsonLine::Finding),
                out,
            )?;
        }
        if let Some(affected) = &report.facts.affected {
            affected
                .each(|caller| json_text::write_line(&NdjsonLine::AffectedCaller(&caller), out))?;
        }
        CountsV1::Scan(json::scan_summary(report))
    } else {
        for plan in report.plans() {
            let (plan, names) = (plan?, report.names());
            lines(
                json::change(&plan, names)
                    .into_iter()
                    .map(NdjsonLine::Change),
                out,
            )?;
            lines(json::held(&plan, names).map(NdjsonLine::Held), out)?;
        }
        let conflicts = json::conflicts(&report.facts.conflicts);
        lines(conflicts.map(NdjsonLine::Conflict), out)?;
        CountsV1::Fix(json::fix_summary(report.summary()))
    };
    let summary = SummaryV1 {
        outcome: report.ending.name(),
        counts,
        journal: report.ending.journal(),
        plan: report.ending.plan(),
        after_care: json::after_care(&report.ending),
        settled_by: report.facts.settled.map(Into::into),
        baseline: report.facts.baseline.as_ref().map(Into::into),
        access: report.facts.access.as_ref().map(Into::into),
        access_failure: None,
        access_failure_hint: None,
    };
    json_text::write_line(&NdjsonLine::Summary(summary), out)
}

/// Writes what `undo` did line by line.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_undone(undone: &UndoReport, out: &mut impl Write) -> io::Result<()> {
    let header = HeaderV1::Undo(json::undo_head(undone));
    json_text::write_line(&NdjsonLine::Header(Box::new(header)), out)?;
    for change in undone.facts.changes.iter() {
        let change = change?;
        json_text::write_line(&NdjsonLine::PutBack(json::put_back(&change)), out)?;
    }
    let conflicts = json::conflicts(&undone.facts.conflicts);
    lines(conflicts.map(NdjsonLine::Conflict), out)?;
    let summary = SummaryV1 {
        outcome: undone.ending.name(),
        counts: CountsV1::Undo(json::undo_summary(undone)),
        journal: undone.ending.journal(),
        plan: None,
        after_care: json::after_care(&undone.ending),
        settled_by: None,
        baseline: None,
        access: undone.facts.access.as_ref().map(Into::into),
        access_failure: json::access_failure(undone),
        access_failure_hint: json::access_failure_hint(undone),
    };
    json_text::write_line(&NdjsonLine::Summary(summary), out)
}

/// Writes why a command failed, as the last line.
///
/// # Errors
///
/// What `out` says.
fn write_error(run: &str, failure: &Failure, code: u8, out: &mut impl Write) -> io::Result<()> {
    let error = ErrorV1 {
        run,
        code,
        message: failure.message(),
        hint: failure.advice(),
    };
    json_text::write_line(&NdjsonLine::Error(error), out)
}

fn lines<'a>(
    mut lines: impl Iterator<Item = NdjsonLine<'a>>,
    out: &mut impl Write,
) -> io::Result<()> {
    lines.try_for_each(|entry| json_text::write_line(&entry, out))
}
