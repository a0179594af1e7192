//! The report of `doctor`, for people and as JSON, version 1.

use std::io::{self, Write};

use serde::Serialize;

use crate::commands::doctor::checks::{Check, Status};
use crate::db::reference_search::{OtherPlace, Sign};
use crate::printable::one_line;
use crate::report::json_text;
use crate::report::text_table::{DisplayOptions, Grid, GridCell, Tone};

/// Everything that was looked at.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    /// The name of the run.
    pub run: String,
    /// In the order in which things have to work.
    pub checks: Vec<Check>,
}

#[derive(Serialize)]
struct DiagnosisV1<'a> {
    version: u32,
    command: &'static str,
    run: &'a str,
    checks: Vec<CheckV1<'a>>,
}

#[derive(Serialize)]
struct CheckV1<'a> {
    name: &'static str,
    status: &'static str,
    found: &'a str,
    /// Null where there is nothing to do.
    advice: Option<&'a str>,
    /// Not there where no column outside the sites is told of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<PlaceV1<'a>>,
}

#[derive(Serialize)]
struct PlaceV1<'a> {
    table: &'a str,
    column: &'a str,
    #[serde(rename = "type")]
    sql_type: &'a str,
    path: &'a [String],
    sign: &'static str,
}

impl<'a> From<&'a OtherPlace> for PlaceV1<'a> {
    fn from(place: &'a OtherPlace) -> Self {
        Self {
            table: &place.column.table,
            column: &place.column.name,
            sql_type: &place.column.sql_type,
            path: &place.path,
            sign: match place.sign {
                Sign::Name => "name",
                Sign::Value => "value",
            },
        }
    }
}

fn tone(status: Status) -> Tone {
    match status {
        Status::Ok => Tone::Good,
        Status::Warn => Tone::Unsure,
        Status::Fail(_) => Tone::Bad,
        Status::Skipped => Tone::Plain,
    }
}

impl Diagnosis {
    /// Writes it for a person to read.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub(crate) fn table(&self, look: DisplayOptions, out: &mut impl Write) -> io::Result<()> {
        let mut rows = Grid::new(["CHECK", "STATUS", "FOUND"], look);
        for check in &self.checks {
            let status = GridCell::toned(check.status.name(), tone(check.status));
            rows.row([
                check.name.into(),
                status,
                one_line(&check.found).into_owned().into(),
            ]);
        }
        rows.write(out)?;
        // Below the table, because a GRANT is long and has to be copied.
        for check in &self.checks {
            if let Some(advice) = &check.advice {
                let line = format!("{}: {advice}", check.name);
                writeln!(out, "\n{}", look.prose(&line))?;
            }
        }
        Ok(())
    }

    /// Writes it as one JSON object and a newline.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub(crate) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let checks = self.checks.iter().map(|check| CheckV1 {
            name: check.name,
            status: check.status.name(),
            found: &check.found,
            advice: check.advice.as_deref(),
            places: check.places.iter().map(PlaceV1::from).collect(),
        });
        let object = DiagnosisV1 {
            version: 1,
            command: "doctor",
            run: &self.run,
            checks: checks.collect(),
        };
        json_text::write_pretty(&object, out)?;
        out.write_all(b"\n")
    }
}
