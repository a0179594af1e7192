//! The report of `access --server` for a server that is gone: who still names it.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::printable::one_line;
use crate::report::access::AccessHead;
use crate::report::csv::Writer;
use crate::report::json::{self, DatabaseV1};
use crate::report::list_format::ListFormat;
use crate::report::text_table::{DisplayOptions, Grid};
use crate::report::{count, json_text};

/// An owner of a row that names a server.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NamingOwner {
    /// Its kind.
    pub kind: &'static str,
    /// Its id; of a key the first characters of the hash.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
}

/// A column that names a server that nobody may use.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NamingColumn {
    /// The server, as it is named.
    pub reference: String,
    /// The id of a server that is there, if the reference is not the id itself.
    #[serde(skip)]
    pub id: Option<String>,
    /// Its verdict, as `scan` gives it.
    pub verdict: &'static str,
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The primary key of the row.
    pub row: String,
    /// The owners of the row.
    pub owners: Vec<NamingOwner>,
}

#[derive(Serialize)]
struct NamingDocument<'a> {
    version: u32,
    command: &'static str,
    run: &'a str,
    database: DatabaseV1<'a>,
    release: &'a str,
    callers: [(); 0],
    named: &'a [NamingColumn],
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum NamingLine<'a> {
    Header {
        version: u32,
        command: &'static str,
        run: &'a str,
        database: DatabaseV1<'a>,
        release: &'a str,
    },
    Named(&'a NamingColumn),
    Summary {
        callers: usize,
    },
}

const COLUMNS: [&str; 8] = [
    "reference",
    "verdict",
    "owner_kind",
    "owner",
    "owner_name",
    "table",
    "column",
    "row",
];

/// Writes who names servers that nobody may use.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write(
    head: &AccessHead,
    format: ListFormat,
    named: &[NamingColumn],
    mut out: &mut dyn Write,
) -> io::Result<()> {
    let (run, release) = (head.run.as_str(), head.release.as_str());
    let database = json::database(&head.database);
    let (version, command) = (1, "access");
    match format {
        ListFormat::Table(look) => write_table(named, look, out),
        ListFormat::Markdown => {
            writeln!(
                out,
                "# MCP servers that nobody may use\n\n{}\n",
                head.database
            )?;
            writeln!(out, "| reference | verdict | owner | column | row |")?;
            writeln!(out, "| --- | --- | --- | --- | --- |")?;
            for column in named {
                let cells = [
                    column.reference.clone(),
                    column.verdict.to_owned(),
                    column.owners_shown(", "),
                    column.label(),
                    column.row.clone(),
                ];
                let cells = cells.map(|cell| one_line(&cell).replace('|', "\\|"));
                writeln!(out, "| {} |", cells.join(" | "))?;
            }
            Ok(())
        }
        ListFormat::Json => {
            let document = NamingDocument {
                version,
                command,
                run,
                database,
                release,
                callers: [],
                named,
            };
            json_text::write_pretty(&document, &mut out)?;
            writeln!(out)
        }
        ListFormat::Ndjson => {
            let header = NamingLine::Header {
                version,
                command,
                run,
                database,
                release,
            };
            let named = named.iter().map(NamingLine::Named);
            let lines = std::iter::once(header).chain(named);
            for line in lines.chain([NamingLine::Summary { callers: 0 }]) {
                json_text::write_compact(&line, &mut out)?;
                writeln!(out)?;
            }
            Ok(())
        }
        ListFormat::Csv(cells) => {
            let mut csv = Writer::new(BufWriter::new(out), cells);
            csv.write_record(COLUMNS)?;
            for column in named {
                let nobody = NamingOwner {
                    kind: "",
                    id: String::new(),
                    name: None,
                };
                let owners = column.owners.iter();
                let nobody = column.owners.is_empty().then_some(&nobody);
                for owner in owners.chain(nobody) {
                    csv.write_record([
                        column.reference.as_str(),
                        column.verdict,
                        owner.kind,
                        &owner.id,
                        owner.name.as_deref().unwrap_or_default(),
                        column.table,
                        column.column,
                        &column.row,
                    ])?;
                }
            }
            csv.flush()
        }
    }
}

impl NamingColumn {
    fn owners_shown(&self, separator: &str) -> String {
        if self.owners.is_empty() {
            return "no owner".to_owned();
        }
        let owners = self.owners.iter().map(|owner| {
            let kind = owner.kind.replace('_', " ");
            let shown = match &owner.name {
                Some(name) => format!("{kind} {name} ({})", owner.id),
                None => format!("{kind} {}", owner.id),
            };
            one_line(&shown).into_owned()
        });
        owners.collect::<Vec<String>>().join(separator)
    }

    fn label(&self) -> String {
        format!("{}.{}", self.table, self.column)
    }
}

/// Writes a table for each server.
fn write_table(
    named: &[NamingColumn],
    look: DisplayOptions,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    let mut rest = named;
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|c| c.reference == first.reference);
        let (of_server, others) = rest.split_at(same.count());
        let why = match first.verdict {
            "inactive" => "is there, but no proxy serves it",
            "unverified" => {
                "has no row; a server of a config.yaml that is not known may answer to it. Unless \
                 one does"
            }
            "reserved" => "is a word that LiteLLM reserves",
            _ => "is gone",
        };
        let rows = count(of_server.len(), "column");
        let id = first.id.as_deref().map(|id| format!(" ({})", one_line(id)));
        let text = format!(
            "Server {}{} {why}: nobody may use it. It is still named in {rows}:",
            one_line(&first.reference),
            id.unwrap_or_default()
        );
        writeln!(out, "{}\n", look.prose(&text))?;
        let mut rows = Grid::of_ids(["OWNER", "COLUMN", "ROW"], look);
        for column in of_server {
            rows.row([
                column.owners_shown("\n").into(),
                column.label().into(),
                one_line(&column.row).into_owned().into(),
            ]);
        }
        rows.write(&mut out)?;
        if !others.is_empty() {
            writeln!(out)?;
        }
        rest = others;
    }
    Ok(())
}
