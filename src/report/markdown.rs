//! The report for a change ticket: GitHub-flavoured Markdown.
//!
//! Made of the types of [`super::json`], so that what is added there is shown here too.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::litellm::reference_sites::TABLES;
use crate::printable::printable;
use crate::repair::access_comparison::ComparedAccess;
use crate::report::advice::{self, Advised};
use crate::report::compared_access::paragraphs;
use crate::report::json::{self, DatabaseV1, OwnerV1, ValueV1};
use crate::report::render::{AnyReport, RenderOptions, ReportFormat};
use crate::report::shown_text::{affected_in_words, count, nobody};
use crate::report::summary::Summary;
use crate::report::{Ending, Report, UndoReport};

/// The format for a change ticket.
#[derive(Debug)]
pub(crate) struct MarkdownFormat;

impl ReportFormat for MarkdownFormat {
    fn write(
        &self,
        report: AnyReport<'_>,
        options: &RenderOptions,
        mut out: &mut dyn Write,
    ) -> io::Result<()> {
        match report {
            AnyReport::Repair(report) => write(report, &options.command, &mut out),
            AnyReport::Undo(undone) => write_undone(undone, &options.command, &mut out),
        }
    }

    fn is_for_people(&self) -> bool {
        true
    }
}

/// Writes `report`; `command` is the command line it is of.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write(report: &Report, command: &str, out: &mut impl Write) -> io::Result<()> {
    let head = json::head(report);
    title(&report.ending, report.ending.command(), out)?;
    let mut facts = vec![
        ("Run", code(head.run)),
        ("Database", database(&head.database)),
    ];
    let servers = &head.servers;
    let config = servers
        .config
        .map_or("unknown".to_owned(), |n| n.to_string());
    facts.push((
        "MCP servers",
        format!(
            "{} in the database ({} not served), {config} in config files",
            servers.database, servers.inactive
        ),
    ));
    for server in report.facts.deleted.iter() {
        facts.push(("As if deleted", code(&server.to_string())));
    }
    facts.push(("LiteLLM", format!("{} or later", report.facts.release)));
    facts.extend(counts(report, report.summary()));
    write_facts(&facts, out)?;
    if let Some(looked_at) = crate::report::table::looked_at(report) {
        writeln!(out, "\n{looked_at}")?;
    }

    if report.ending.is_of_scan() {
        findings(report, out)?;
        affected(report, out)?;
    }
    changes(report, out)?;
    held(report, out)?;
    access(report.facts.access.as_ref(), &report.ending, out)?;
    conflicts(json::conflicts(&report.facts.conflicts), out)?;
    commands(command, &advice::commands(report), out)
}

/// Writes what `undo` did; `command` is the command line it is of.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_undone(
    undone: &UndoReport,
    command: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    title(&undone.ending, "undo", out)?;
    let head = json::undo_head(undone);
    write_facts(
        &[
            ("Run", code(head.run)),
            ("Database", database(&head.database)),
            ("Rows put back", undone.facts.rows().to_string()),
            ("Rows back already", undone.facts.back.to_string()),
        ],
        out,
    )?;
    let changed = json::put_back(undone).flat_map(|change| {
        columns(
            (change.table, change.row),
            &[],
            &change.before,
            &change.after,
        )
    });
    table(
        "Changes",
        &["Table", "Row", "Column", "Before", "After"],
        changed.map(|[table, row, _, column, before, after]| [table, row, column, before, after]),
        out,
    )?;
    access(undone.facts.access.as_ref(), &undone.ending, out)?;
    conflicts(json::conflicts(&undone.facts.conflicts), out)?;
    commands(command, &advice::undone_commands(undone), out)
}

fn access(
    access: Option<&ComparedAccess>,
    ending: &Ending,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(access) = access else { return Ok(()) };
    writeln!(out, "\n## Access\n")?;
    for paragraph in paragraphs(access, ending.tense()) {
        writeln!(out, "{paragraph}")?;
    }
    Ok(())
}

fn title(ending: &Ending, command: &str, out: &mut impl Write) -> io::Result<()> {
    let ending = match ending {
        Ending::Scanned { .. } => "findings",
        Ending::DryRun { .. } | Ending::Proposed => "dry run, nothing was written",
        Ending::Applied { .. } => "verified and committed",
        Ending::NothingToDo => "there was nothing to do",
        Ending::Declined => "declined, nothing was written",
        Ending::Moved { .. } => "the rows had changed, nothing was written",
    };
    writeln!(out, "# mcp-prune {command}: {ending}\n")
}

fn counts(report: &Report, summary: Summary) -> Vec<(&'static str, String)> {
    let stale = format!(
        "{} in {}",
        count(summary.stale, "reference"),
        count(summary.stale_rows, "row")
    );
    let mut facts = vec![
        ("Stale", stale),
        ("Unverified, left alone", summary.unverified.to_string()),
        ("Inactive, left alone", summary.inactive.to_string()),
        ("Malformed, left alone", summary.malformed.to_string()),
        (
            "Of deleted toolsets, left alone",
            summary.dangling_toolsets.to_string(),
        ),
    ];
    let (changed, held) = match report.ending {
        Ending::Applied { .. } | Ending::NothingToDo => {
            ("Rows changed", "Rows with something held")
        }
        Ending::Scanned { .. }
        | Ending::DryRun { .. }
        | Ending::Proposed
        | Ending::Declined
        | Ending::Moved { .. } => ("Rows that would change", "Rows with something to hold"),
    };
    facts.push((changed, summary.rows_changed.to_string()));
    facts.push((held, summary.rows_held.to_string()));
    facts
}

fn write_facts(facts: &[(&str, String)], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "| | |\n|---|---|")?;
    for (name, value) in facts {
        writeln!(out, "| {name} | {value} |")?;
    }
    Ok(())
}

fn findings(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let findings = json::findings(report.plans(), report.names()).map(|finding| {
        let rows = |rows| count(usize::try_from(rows).unwrap_or(usize::MAX), "row");
        let detail = finding.detail.or(finding.rows.map(rows));
        let reference = match (finding.reference, detail) {
            (Some(reference), Some(detail)) => format!("{}<br>({detail})", code(reference)),
            (Some(reference), None) => code(reference),
            (None, Some(detail)) => format!("({detail})"),
            (None, None) => String::new(),
        };
        [
            code(finding.table),
            code(finding.row),
            owners(finding.table, &finding.owners),
            code(finding.column),
            reference,
            finding.kind.to_owned(),
            if finding.last_grant { "yes" } else { "" }.to_owned(),
        ]
    });
    let header = [
        "Table",
        "Row",
        "Owners",
        "Column",
        "Reference",
        "Verdict",
        "Last grant",
    ];
    table("Findings", &header, findings, out)
}

/// Writes who loses or gains something by the deletion of servers.
fn affected(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let Some(affected) = &report.facts.affected else {
        return Ok(());
    };
    writeln!(out, "\n## Access\n\n{}", affected_in_words(affected))?;
    let mut is_first = true;
    affected.each(|caller| {
        if std::mem::take(&mut is_first) {
            writeln!(out, "\n| Caller | Loses | Gains |\n|---|---|---|")?;
        }
        let loses = caller.loses.iter().map(|server| code(&server.shown()));
        let gains = caller.gains.iter().map(|server| code(&server.shown_gain()));
        let cells = [loses.collect::<Vec<_>>(), gains.collect()];
        let [loses, gains] = cells.map(|lines| lines.join("<br>"));
        writeln!(out, "| {} | {loses} | {gains} |", code(&caller.shown()))
    })
}

fn changes(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let changes = json::changes(report.plans(), report.names());
    let rows = changes.flat_map(|c| columns((c.table, c.row), &c.owners, &c.before, &c.after));
    let title = match report.ending {
        Ending::Applied { .. } => "Changes",
        Ending::Scanned { .. }
        | Ending::DryRun { .. }
        | Ending::Proposed
        | Ending::NothingToDo
        | Ending::Declined
        | Ending::Moved { .. } => "Changes that a repair would make",
    };
    let header = ["Table", "Row", "Owners", "Column", "Before", "After"];
    table(title, &header, rows, out)
}

/// Makes a line for each column of a changed row: table, row, owners, column, before, after.
fn columns(
    (table, row): (&str, &str),
    of: &[OwnerV1<'_>],
    before: &BTreeMap<&'static str, ValueV1>,
    after: &BTreeMap<&'static str, ValueV1>,
) -> Vec<[String; 6]> {
    let columns = before.iter();
    columns
        .map(|(column, before)| {
            [
                code(table),
                code(row),
                owners(table, of),
                code(column),
                value(Some(before)),
                value(after.get(column)),
            ]
        })
        .collect()
}

fn held(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let held = json::held(report.plans(), report.names()).map(|held| {
        [
            code(held.table),
            code(held.row),
            owners(held.table, &held.owners),
            code(held.column),
            code(held.reference),
            held.reason.to_owned(),
        ]
    });
    let header = ["Table", "Row", "Owners", "Column", "Reference", "Reason"];
    table("Held, left as it is", &header, held, out)
}

fn conflicts<'a>(
    conflicts: impl Iterator<Item = json::ConflictV1<'a>>,
    out: &mut impl Write,
) -> io::Result<()> {
    let conflicts = conflicts.map(|conflict| {
        let found = match (&conflict.found, &conflict.detail) {
            (None, Some(detail)) => format!("({})", code(detail)),
            (found, _) => value(found.as_ref()),
        };
        [
            code(conflict.table),
            code(conflict.row),
            code(conflict.column),
            value(Some(&conflict.expected)),
            found,
            conflict.kind.to_owned(),
        ]
    });
    let header = ["Table", "Row", "Column", "Expected", "Found", "Reason"];
    table("Not as expected", &header, conflicts, out)
}

fn commands(command: &str, next: &[Advised], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n## Command\n\n```sh\n{command}\n```")?;
    for Advised { lead, command } in next {
        writeln!(out, "\n{lead}\n\n```sh\n{command}\n```")?;
        for note in command.notes() {
            writeln!(out, "\n{note}")?;
        }
    }
    Ok(())
}

/// Writes a section with a table, or nothing if there are no rows.
fn table<const N: usize>(
    title: &str,
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
    out: &mut impl Write,
) -> io::Result<()> {
    for (at, row) in rows.enumerate() {
        if at == 0 {
            let line = vec!["---"; N].join("|");
            writeln!(out, "\n## {title}\n\n| {} |\n|{line}|", header.join(" | "))?;
        }
        writeln!(out, "| {} |", row.join(" | "))?;
    }
    Ok(())
}

fn database(database: &DatabaseV1<'_>) -> String {
    format!(
        "{} on {}, schema {}, as user {}",
        code(database.name),
        code(&format!("{}:{}", database.host, database.port)),
        code(database.schema),
        code(database.user)
    )
}

fn owners(table: &str, owners: &[OwnerV1<'_>]) -> String {
    if owners.is_empty() {
        let table = TABLES.iter().find(|known| known.name() == table);
        return table.map_or("", |table| nobody(table.group())).to_owned();
    }
    let owners: Vec<String> = owners
        .iter()
        .map(|owner| {
            let kind = owner.kind.replace('_', " ");
            match owner.name {
                Some(name) if !name.is_empty() => {
                    format!("{kind} {} ({})", code(name), code(owner.id))
                }
                _ => format!("{kind} {}", code(owner.id)),
            }
        })
        .collect();
    owners.join("<br>")
}

/// Writes a value into one cell, a reference a line, tool permissions with their tools.
fn value(value: Option<&ValueV1>) -> String {
    let lines: Vec<String> = match value {
        None => return "(nothing)".to_owned(),
        Some(ValueV1::Array(references)) => references.iter().map(|r| code(r)).collect(),
        Some(ValueV1::Keys(tools)) => tools
            .iter()
            .map(|(reference, tools)| {
                let tools: Vec<String> = tools.iter().map(|tool| code(tool)).collect();
                format!("{}: {}", code(reference), tools.join(", "))
            })
            .collect(),
        Some(ValueV1::Tools(tools)) => tools
            .iter()
            .map(|tool| format!("{}: {}", code(&tool.server_id), code(&tool.tool_name)))
            .collect(),
        Some(ValueV1::Rows(rows)) => rows
            .iter()
            .map(|(server, rows)| {
                let rows = count(usize::try_from(*rows).unwrap_or(usize::MAX), "row");
                format!("{}: {rows}", code(server))
            })
            .collect(),
    };
    if lines.is_empty() {
        "(empty)".to_owned()
    } else {
        lines.join("<br>")
    }
}

/// Quotes text that others chose for the cell of a table: between more backticks than it has in a
/// row, and with its bars escaped.
fn code(text: &str) -> String {
    let mut text = printable(text);
    if text.contains("\\|") {
        // A backslash before a bar cannot be told from an escaped bar.
        text = format!("{:?}", text.replace('|', "\u{1}")).replace("\\u{1}", "\\u{7c}");
    }
    let text = text.replace('|', "\\|");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // A backtick at the edge of the text would be read as part of the fence.
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_backticks_of_others_stay_in_their_cell() {
        for (text, shown) in [
            ("github", "`github`"),
            ("a|b", r"`a\|b`"),
            ("a`b``c", "```a`b``c```"),
            ("`a", "`` `a ``"),
            ("a\\|b", r#"`"a\\\u{7c}b"`"#),
            (" a\n", r#"`" a\n"`"#),
            ("<b>*x*", "`<b>*x*`"),
        ] {
            assert_eq!(code(text), shown);
        }
    }
}
