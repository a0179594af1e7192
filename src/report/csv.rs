//! The report as CSV (RFC 4180): a line for each finding, or for each column of a row that was
//! changed, held or not as expected.
//!
//! Made of the types of [`super::json`]. Columns may be added at the end; none change.

use std::borrow::Cow;
use std::io::{self, Write};

use csv::{Terminator, WriterBuilder};

use crate::litellm::known_names::KnownNames;
use crate::printable::one_line;
use crate::repair::plan::RowPlan;
use crate::report::json::{self, OwnerV1, ValueV1};
use crate::report::render::{AnyReport, RenderOptions, ReportFormat};
use crate::report::{Report, UndoReport};

/// The columns of `scan`.
const FINDINGS: [&str; 13] = [
    "kind",
    "table",
    "row",
    "column",
    "reference",
    "last_grant",
    "owners",
    "detail",
    "successor",
    "rows",
    "held",
    "row_name",
    "server_name",
];

/// The columns of `fix` and `undo`. For a conflict, `before` is what was expected, `after` what was
/// found.
pub(super) const ENTRIES: [&str; 9] = [
    "type",
    "table",
    "row",
    "column",
    "before",
    "after",
    "reference",
    "reason",
    "owners",
];

/// The format for spreadsheets.
#[derive(Debug)]
pub(crate) struct CsvFormat;

impl ReportFormat for CsvFormat {
    fn write(
        &self,
        report: AnyReport<'_>,
        options: &RenderOptions,
        mut out: &mut dyn Write,
    ) -> io::Result<()> {
        match report {
            AnyReport::Repair(report) => write(report, options.cells, &mut out),
            AnyReport::Undo(undone) => write_undone(undone, options.cells, &mut out),
        }
    }
}

/// Writes `report` line by line.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write(report: &Report, cells: Cells, out: &mut impl Write) -> io::Result<()> {
    let mut csv = Writer::new(out, cells);
    if report.ending.is_of_scan() {
        findings(report, &mut csv)?;
    } else {
        csv.write_record(ENTRIES)?;
        for plan in report.plans_with_changes() {
            let plan = plan?;
            let Some(change) = json::change(&plan, report.names()) else {
                continue;
            };
            let at = (change.table, change.row);
            columns(&mut csv, at, &change.before, &change.after, &change.owners)?;
        }
        for plan in report.plans_with_holds() {
            held(&plan?, report.names(), &mut csv)?;
        }
        conflicts(json::conflicts(&report.facts.conflicts), &mut csv)?;
    }
    csv.flush()
}

/// Writes what `undo` did line by line.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_undone(
    undone: &UndoReport,
    cells: Cells,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut csv = Writer::new(out, cells);
    csv.write_record(ENTRIES)?;
    for change in undone.facts.changes.iter() {
        let change = change?;
        let change = json::put_back(&change);
        let at = (change.table, change.row);
        columns(&mut csv, at, &change.before, &change.after, &[])?;
    }
    conflicts(json::conflicts(&undone.facts.conflicts), &mut csv)?;
    csv.flush()
}

/// How to write a cell that a spreadsheet would run as a formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cells {
    /// With an apostrophe before it, which makes it text; control characters are escaped.
    Guarded,
    /// As it is, for programs.
    Raw,
}

impl Cells {
    /// Makes a cell safe for a spreadsheet, unless cells are raw.
    ///
    /// Source: OWASP, "CSV Injection".
    fn guard(self, cell: &str) -> Cow<'_, str> {
        let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
        match self {
            Self::Guarded if is_formula => Cow::Owned(format!("'{}", one_line(cell))),
            Self::Guarded => one_line(cell),
            Self::Raw => Cow::Borrowed(cell),
        }
    }
}

pub(super) struct Writer<W: Write> {
    csv: csv::Writer<W>,
    cells: Cells,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W, cells: Cells) -> Self {
        let mut csv = WriterBuilder::new();
        let csv = csv.terminator(Terminator::CRLF).from_writer(out);
        Self { csv, cells }
    }

    pub(super) fn write_record<'c>(
        &mut self,
        record: impl IntoIterator<Item = &'c str>,
    ) -> io::Result<()> {
        for cell in record {
            let field = self.cells.guard(cell);
            self.csv.write_field(field.as_bytes()).map_err(io_error)?;
        }
        self.csv.write_record(None::<&[u8]>).map_err(io_error)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.csv.flush()
    }
}

/// Returns what the output said. The conversion of the crate hides its kind, and with it that
/// nobody reads any more.
fn io_error(error: csv::Error) -> io::Error {
    let told = error.to_string();
    if let csv::ErrorKind::Io(error) = error.into_kind() {
        error
    } else {
        io::Error::other(told)
    }
}

fn findings(report: &Report, csv: &mut Writer<impl Write>) -> io::Result<()> {
    csv.write_record(FINDINGS)?;
    for plan in report.plans() {
        findings_of(&plan?, report.names(), csv)?;
    }
    affected(report, csv)
}

fn findings_of(plan: &RowPlan, names: &KnownNames, csv: &mut Writer<impl Write>) -> io::Result<()> {
    for finding in json::findings(plan, names) {
        let successor = finding.successor.map(|successor| successor.ids.join(" "));
        csv.write_record([
            finding.kind,
            finding.table,
            finding.row,
            finding.column,
            finding.reference.unwrap_or_default(),
            if finding.last_grant { "true" } else { "false" },
            &owners(&finding.owners),
            &finding.detail.unwrap_or_default(),
            &successor.unwrap_or_default(),
            &finding
                .rows
                .map_or_else(String::new, |rows| rows.to_string()),
            finding.held.unwrap_or_default(),
            finding.row_name.unwrap_or_default(),
            finding.server_name.unwrap_or_default(),
        ])?;
    }
    Ok(())
}

/// Writes a line for each server that a caller loses or gains by the deletion of servers.
fn affected(report: &Report, csv: &mut Writer<impl Write>) -> io::Result<()> {
    let Some(affected) = &report.facts.affected else {
        return Ok(());
    };
    affected.each(|caller| {
        let shown = caller.shown();
        let loses = caller.loses.iter().map(|server| ("loses", server));
        let gains = caller.gains.iter().map(|server| ("gains", server));
        for (kind, server) in loses.chain(gains) {
            let detail = match kind {
                "loses" => server.shown(),
                _ => server.shown_gain(),
            };
            let id = server.id.as_str();
            let name = server.name.as_deref().unwrap_or_default();
            let record = [
                kind, "", "", "", id, "", &shown, &detail, "", "", "", "", name,
            ];
            csv.write_record(record)?;
        }
        Ok(())
    })
}

pub(super) type Columns = std::collections::BTreeMap<&'static str, ValueV1>;

pub(super) fn columns(
    csv: &mut Writer<impl Write>,
    (table, row): (&str, &str),
    before: &Columns,
    after: &Columns,
    of: &[OwnerV1<'_>],
) -> io::Result<()> {
    for (column, before) in before {
        csv.write_record([
            "change",
            table,
            row,
            column,
            &value(Some(before)),
            &value(after.get(column)),
            "",
            "",
            &owners(of),
        ])?;
    }
    Ok(())
}

fn held(plan: &RowPlan, names: &KnownNames, csv: &mut Writer<impl Write>) -> io::Result<()> {
    for held in json::held(plan, names) {
        csv.write_record([
            "held",
            held.table,
            held.row,
            held.column,
            "",
            "",
            held.reference,
            held.reason,
            &owners(&held.owners),
        ])?;
    }
    Ok(())
}

fn conflicts<'a>(
    conflicts: impl Iterator<Item = json::ConflictV1<'a>>,
    csv: &mut Writer<impl Write>,
) -> io::Result<()> {
    for conflict in conflicts {
        csv.write_record([
            "conflict",
            conflict.table,
            conflict.row,
            conflict.column,
            &value(Some(&conflict.expected)),
            &value(conflict.found.as_ref()),
            "",
            conflict.kind,
            "",
        ])?;
    }
    Ok(())
}

/// Returns a value as JSON, because it is a list or an object.
pub(super) fn value(value: Option<&ValueV1>) -> String {
    let text = value.map(serde_json::to_string);
    // It holds only strings and numbers, in lists and objects, so this cannot fail.
    text.and_then(Result::ok).unwrap_or_default()
}

/// Writes the owners into one cell: `key 784395b4 release-bot; team core`.
fn owners(owners: &[OwnerV1<'_>]) -> String {
    let owners: Vec<String> = owners
        .iter()
        .map(|owner| {
            let words = [Some(owner.kind), Some(owner.id), owner.name];
            words.into_iter().flatten().collect::<Vec<_>>().join(" ")
        })
        .collect();
    owners.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_unless_asked_for() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"] {
            let shown = format!("'{}", one_line(formula));
            assert_eq!(Cells::Guarded.guard(formula), shown);
            assert_eq!(Cells::Raw.guard(formula), formula);
        }
        for text in ["", "a=b", "'=1", "[\"=1\"]", "0b8f8e0c-2f5d"] {
            assert_eq!(Cells::Guarded.guard(text), text);
        }
    }
}
