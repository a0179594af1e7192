//! The report for a change ticket: GitHub-flavoured Markdown.
//!
//! Made of the types of [`super::json`], so that what is added there is shown here too.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::command_line::CommandLine;
use crate::litellm::reference_sites::TABLES;
use crate::printable::printable;
use crate::repair::access_comparison::ComparedAccess;
use crate::report::advice::{self, Advised};
use crate::report::baseline;
use crate::report::compared_access::paragraphs;
use crate::report::json::{self, DatabaseV1, FindingV1, OwnerV1, ValueV1};
use crate::report::named_owners::NamedOwners;
use crate::report::overview::Overview;
use crate::report::render::{AnyReport, RenderOptions, ReportFormat};
use crate::report::shown_text::{affected_in_words, count, nobody, rows_in_words};
use crate::report::summary::Summary;
use crate::report::ticket::{self, ConcernedOwner};
use crate::report::{Ending, Report, UndoReport, table};

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
    let overview = &Overview::of(report)?;
    let head = json::head(report);
    let summary = report.summary();
    title(&report.ending, report.ending.command(), out)?;
    let headline = table::headline(summary, report.facts.baseline.as_ref());
    writeln!(out, "## Summary\n\n{}\n", prose(&headline))?;
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
    facts.extend(counts(report, summary));
    write_facts(&facts, out)?;
    let mut sentences = baseline::in_words(report);
    sentences.extend(table::looked_at(report));
    for sentence in sentences {
        writeln!(out, "\n{}", prose(&sentence))?;
    }

    who(report, out)?;
    if report.ending.is_of_scan() {
        affected(report, overview, out)?;
    }
    consequences(report, overview, out)?;
    if report.ending.is_of_scan() {
        findings(report, out)?;
    }
    changes(report, out)?;
    held(report, out)?;
    conflicts(json::conflicts(&report.facts.conflicts), out)?;
    section("Command", out)?;
    fence(command, out)?;
    implementation(report, overview, out)?;
    let changes = summary.rows_changed > 0;
    if changes && !matches!(report.ending, Ending::Declined | Ending::Moved { .. }) {
        section("Verification", out)?;
        advise(
            &ticket::expectation(report),
            &report.facts.ticket.verify,
            out,
        )?;
    }
    back_out(report, overview, out)
}

/// Writes which owners are concerned, and what becomes of their references.
fn who(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let header = ["Who", "What changes", "What stays"];
    let mut table = TableWriter::new("Who is concerned", header, out);
    ticket::concerned(report, |concerned| {
        let ConcernedOwner {
            name,
            changes,
            stays,
        } = concerned;
        let [changes, stays] = [changes, stays].map(|lines| Vec::from_iter(lines).join("<br>"));
        table.row(&[name, changes, stays])
    })
}

/// Writes what follows from the repair, and what that assumes.
fn consequences(report: &Report, overview: &Overview, out: &mut impl Write) -> io::Result<()> {
    let lines = table::advice(report, overview);
    if !lines.is_empty() {
        section("Consequences and assumptions", out)?;
        for line in lines {
            writeln!(out, "- {}", prose(&line))?;
        }
    }
    let named = named_owners(overview);
    let header = ["Last grant of", "If its list were empty", "Row"];
    let mut table = TableWriter::new("If a last grant were removed", header, out);
    for plan in report.plans_with_last_grants() {
        let plan = plan?;
        for impact in &plan.audit.impacts {
            let (owner, Some(if_emptied)) = (&impact.owner, &impact.if_emptied) else {
                continue;
            };
            let gain = table::effect(owner.kind(), &if_emptied.effect, report.names(), named);
            table.row(&[
                owner_named(owner.kind().name(), owner.id(), owner.name()),
                prose(&gain),
                code(&plan.audit.row),
            ])?;
        }
    }
    Ok(())
}

/// Writes the commands that come next, before anything can be verified.
fn implementation(report: &Report, overview: &Overview, out: &mut impl Write) -> io::Result<()> {
    let mut commands = advice::commands(report, overview);
    let named = report.facts.ticket.journal.as_ref();
    match &report.ending {
        // Its command is the back-out.
        Ending::Applied { .. } => return Ok(()),
        Ending::DryRun { follow_up, .. } => {
            for Advised { command, .. } in &mut commands {
                if let Some(named) = named.filter(|_| *command == follow_up.carry_out) {
                    command.option("--journal", &named.file);
                }
            }
        }
        Ending::Scanned { .. }
        | Ending::Proposed
        | Ending::NothingToDo
        | Ending::Declined
        | Ending::Moved { .. } => {}
    }
    if commands.is_empty() {
        return Ok(());
    }
    section("Implementation", out)?;
    if report.ending.is_of_scan() {
        let sentence = "Make a dry run. As Markdown, its report has the commands that follow.";
        writeln!(out, "{sentence}\n")?;
    } else {
        let sentence = "The repair shows what it would do, and asks. Add --yes where there is no \
                        terminal to ask on.";
        writeln!(out, "{sentence}\n")?;
    }
    for (at, Advised { lead, command }) in commands.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        advise(lead, command, out)?;
    }
    Ok(())
}

/// Writes how a repair is taken back.
fn back_out(report: &Report, overview: &Overview, out: &mut impl Write) -> io::Result<()> {
    let sentence = match (&report.ending, &report.facts.ticket.journal) {
        (Ending::DryRun { .. }, _) if report.summary().rows_changed == 0 => return Ok(()),
        (Ending::DryRun { .. }, Some(named)) => {
            section("Back-out", out)?;
            let lead = format!(
                "To take it back, run this in the folder of {}, the journal that the repair writes:",
                named.file
            );
            return advise(&lead, &named.take_back, out);
        }
        (Ending::DryRun { .. }, None) => {
            "The report of the repair ends with the command that takes it back, unless it was told \
             to keep no journal."
        }
        (Ending::Applied { journal, .. }, _) => {
            section("Back-out", out)?;
            let [Advised { lead, command }] = &advice::commands(report, overview)[..] else {
                return match journal {
                    None => writeln!(out, "Nothing takes it back: no journal was kept."),
                    Some(_) => Ok(()),
                };
            };
            return advise(lead, command, out);
        }
        (
            Ending::Scanned { .. }
            | Ending::Proposed
            | Ending::NothingToDo
            | Ending::Declined
            | Ending::Moved { .. },
            _,
        ) => return Ok(()),
    };
    section("Back-out", out)?;
    writeln!(out, "{sentence}")
}

fn section(title: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n## {title}\n")
}

/// Writes a command to be pasted.
fn fence(command: impl std::fmt::Display, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "```sh\n{command}\n```")
}

/// Writes a command to be pasted, below what it is for.
fn advise(lead: &str, command: &CommandLine, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}\n", prose(lead))?;
    fence(command, out)?;
    for note in command.notes() {
        writeln!(out, "\n{}", prose(note))?;
    }
    Ok(())
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
    let mut facts = vec![
        ("Run", code(head.run)),
        ("Database", database(&head.database)),
    ];
    let undoes = &undone.facts.undoes;
    if undoes.is_partial() {
        let run = code(&undoes.run);
        facts.push(("Only of", format!("{run}: {}", code(&undoes.part()))));
    }
    facts.push(("Rows put back", undone.facts.rows().to_string()));
    facts.push(("Rows back already", undone.facts.back.to_string()));
    write_facts(&facts, out)?;
    let header = ["Table", "Row", "Column", "Before", "After"];
    let mut table = TableWriter::new("Before and after", header, out);
    for change in undone.facts.changes.iter() {
        let change = change?;
        let change = json::put_back(&change);
        let at = (change.table, change.row);
        for cells in columns(at, &[], &change.before, &change.after) {
            let [of, row, _, column, before, after] = cells;
            table.row(&[of, row, column, before, after])?;
        }
    }
    access(undone.facts.access.as_ref(), &undone.ending, out)?;
    if let Some(failure) = &undone.facts.access_failure {
        writeln!(out, "\n## Access\n\n{}", prose(&failure.paragraph()))?;
    }
    conflicts(json::conflicts(&undone.facts.conflicts), out)?;
    let title = if matches!(undone.ending, Ending::Applied { .. }) {
        "Back-out"
    } else {
        "Implementation"
    };
    commands(command, &advice::undone_commands(undone), title, out)
}

fn access(
    access: Option<&ComparedAccess>,
    ending: &Ending,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(access) = access else { return Ok(()) };
    writeln!(out, "\n## Access\n")?;
    for paragraph in paragraphs(access, ending.tense()) {
        writeln!(out, "{}", prose(&paragraph))?;
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

pub(super) fn write_facts(facts: &[(&str, String)], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "| | |\n|---|---|")?;
    for (name, value) in facts {
        writeln!(out, "| {name} | {value} |")?;
    }
    Ok(())
}

fn findings(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let header = [
        "Table",
        "Row",
        "Owners",
        "Column",
        "Reference",
        "Verdict",
        "Last grant",
    ];
    let mut table = TableWriter::new("Findings", header, out);
    for plan in report.plans() {
        let plan = plan?;
        let mut findings = json::findings(&plan, report.names());
        findings.try_for_each(|finding| table.row(&finding_cells(finding)))?;
    }
    Ok(())
}

fn finding_cells(finding: FindingV1<'_>) -> [String; 7] {
    let detail = finding.detail.or(finding.rows.map(rows_in_words));
    let name = finding.server_name;
    let reference =
        finding
            .reference
            .map(|reference| match name.filter(|name| *name != reference) {
                Some(name) => format!("{} ({})", code(reference), code(name)),
                None => code(reference),
            });
    let reference = match (reference, detail) {
        (Some(reference), Some(detail)) => format!("{reference}<br>({detail})"),
        (Some(reference), None) => reference,
        (None, Some(detail)) => format!("({detail})"),
        (None, None) => String::new(),
    };
    [
        code(finding.table),
        match finding.row_name {
            Some(name) => format!("{} ({})", code(finding.row), code(name)),
            None => code(finding.row),
        },
        owners(finding.table, &finding.owners),
        code(finding.column),
        reference,
        finding.kind.to_owned(),
        if finding.last_grant { "yes" } else { "" }.to_owned(),
    ]
}

/// Returns the names of owners; ids are shown too, because a ticket outlives the terminal.
fn named_owners(overview: &Overview) -> NamedOwners<'_> {
    overview.named(true)
}

/// Writes who loses or gains something by the deletion of servers.
fn affected(report: &Report, overview: &Overview, out: &mut impl Write) -> io::Result<()> {
    let Some(affected) = &report.facts.affected else {
        return Ok(());
    };
    writeln!(
        out,
        "\n## Access\n\n{}",
        prose(&affected_in_words(affected))
    )?;
    let mut is_first = true;
    let owners = named_owners(overview);
    affected.each(|caller| {
        if std::mem::take(&mut is_first) {
            writeln!(out, "\n| Caller | Loses | Gains |\n|---|---|---|")?;
        }
        let loses = caller.loses.iter().map(|server| code(&server.shown()));
        let gains = caller.gains.iter().map(|server| code(&server.shown_gain()));
        let cells = [loses.collect::<Vec<_>>(), gains.collect()];
        let [loses, gains] = cells.map(|lines| lines.join("<br>"));
        let shown = caller.shown_named(owners, report.names());
        writeln!(out, "| {} | {loses} | {gains} |", code(&shown))
    })
}

fn changes(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let title = match report.ending {
        Ending::Applied { .. } => "Before and after",
        Ending::Scanned { .. }
        | Ending::DryRun { .. }
        | Ending::Proposed
        | Ending::NothingToDo
        | Ending::Declined
        | Ending::Moved { .. } => "Before and after a repair",
    };
    let header = ["Table", "Row", "Owners", "Column", "Before", "After"];
    let mut table = TableWriter::new(title, header, out);
    for plan in report.plans_with_changes() {
        let plan = plan?;
        let changed = json::change(&plan, report.names()).into_iter();
        let mut rows =
            changed.flat_map(|c| columns((c.table, c.row), &c.owners, &c.before, &c.after));
        rows.try_for_each(|row| table.row(&row))?;
    }
    Ok(())
}

/// Makes a line for each column of a changed row: table, row, owners, column, before, after.
pub(super) fn columns(
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
    let header = ["Table", "Row", "Owners", "Column", "Reference", "Reason"];
    let mut table = TableWriter::new("Held, left as it is", header, out);
    for plan in report.plans_with_holds() {
        let plan = plan?;
        for held in json::held(&plan, report.names()) {
            table.row(&[
                code(held.table),
                code(held.row),
                owners(held.table, &held.owners),
                code(held.column),
                code(held.reference),
                held.reason.to_owned(),
            ])?;
        }
    }
    Ok(())
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

fn commands(command: &str, next: &[Advised], title: &str, out: &mut impl Write) -> io::Result<()> {
    section("Command", out)?;
    fence(command, out)?;
    for Advised { lead, command } in next {
        section(title, out)?;
        advise(lead, command, out)?;
    }
    Ok(())
}

/// Writes a section with a table, or nothing if there are no rows.
pub(super) fn table<const N: usize>(
    title: &str,
    header: &[&str; N],
    mut rows: impl Iterator<Item = [String; N]>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = TableWriter::new(title, *header, out);
    rows.try_for_each(|row| table.row(&row))
}

/// Writes a section with a table, row by row; nothing if there are no rows.
struct TableWriter<'a, W, const N: usize> {
    title: &'a str,
    header: [&'a str; N],
    is_begun: bool,
    out: &'a mut W,
}

impl<'a, W: Write, const N: usize> TableWriter<'a, W, N> {
    fn new(title: &'a str, header: [&'a str; N], out: &'a mut W) -> Self {
        Self {
            title,
            header,
            is_begun: false,
            out,
        }
    }

    fn row(&mut self, cells: &[String; N]) -> io::Result<()> {
        if !std::mem::replace(&mut self.is_begun, true) {
            let (title, header) = (self.title, self.header.join(" | "));
            let line = ["---"; N].join("|");
            writeln!(self.out, "\n## {title}\n\n| {header} |\n|{line}|")?;
        }
        writeln!(self.out, "| {} |", cells.join(" | "))
    }
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
    let owners = owners.iter();
    let owners: Vec<String> = owners
        .map(|owner| owner_named(owner.kind, owner.id, owner.name))
        .collect();
    owners.join("<br>")
}

/// Names an owner by kind, name and id.
pub(super) fn owner_named(kind: &str, id: &str, name: Option<&str>) -> String {
    let kind = kind.replace('_', " ");
    match name {
        Some(name) if !name.is_empty() => format!("{kind} {} ({})", code(name), code(id)),
        Some(_) | None => format!("{kind} {}", code(id)),
    }
}

/// Writes a value into one cell, a reference a line, tool permissions with their tools.
pub(super) fn value(value: Option<&ValueV1>) -> String {
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
            .map(|(server, rows)| format!("{}: {}", code(server), rows_in_words(*rows)))
            .collect(),
    };
    if lines.is_empty() {
        "(empty)".to_owned()
    } else {
        lines.join("<br>")
    }
}

/// Writes a sentence in which names that others chose may stand: whatever Markdown or HTML would
/// obey is shown as it is. Options stay readable, as a hyphen within a line means nothing.
pub(crate) fn prose(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 8);
    // At the beginning of a line, these begin a list or a heading.
    let number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let mark = match text.chars().next() {
        Some('-' | '+' | '=') => Some(0),
        Some('0'..='9') if number.starts_with(['.', ')']) => Some(text.len() - number.len()),
        Some(_) | None => None,
    };
    for (at, c) in text.char_indices() {
        if mark == Some(at) {
            shown.push('\\');
        }
        match c {
            // GitHub would notify somebody of that name, backslash or not.
            '@' => shown.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '|' | '~' | '$' | '#' => {
                shown.extend(['\\', c]);
            }
            // A line break would end the list, the cell or the paragraph.
            '\n' | '\r' => shown.push(' '),
            c => shown.push(c),
        }
    }
    shown
}

/// Quotes text that others chose for the cell of a table: between more backticks than it has in a
/// row, and with its bars escaped.
pub(crate) fn code(text: &str) -> String {
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
    fn nothing_in_a_sentence_is_obeyed() {
        for (text, shown) in [
            ("fix --on-empty deny", "fix --on-empty deny"),
            ("no-mcp-servers (1 key)", "no-mcp-servers (1 key)"),
            ("<b>a|b</b>", r"\<b\>a\|b\</b\>"),
            ("[a](http://x) `b`", r"\[a\](http://x) \`b\`"),
            (r"*a* _b_ ~c~ \ #1 !", r"\*a\* \_b\_ \~c\~ \\ \#1 !"),
            ("- a", r"\- a"),
            ("12. a - b", r"12\. a - b"),
            ("12 rows", "12 rows"),
            ("> a", r"\> a"),
            ("&lt; @ann $x$\n# b", r"\&lt; &#64;ann \$x\$ \# b"),
        ] {
            assert_eq!(prose(text), shown);
        }
    }

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
