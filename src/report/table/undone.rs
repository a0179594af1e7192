//! The report of `undo` for people, and of what is no longer as a plan or journal has it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use crate::litellm::reference_sites::{Group, ScannedTable};
use crate::repair::changeset::{Change, ColumnContent};
use crate::repair::conflict::Conflict;
use crate::report::advice;
use crate::report::compared_access::{in_short, paragraphs};
use crate::report::shown_text::{count, list, nobody, printable, rows_in_words};
use crate::report::table::closing::{after_care, write_commands};
use crate::report::table::layout::{Layout, OwnerLine, first_of};
use crate::report::table::owner_names::site_name;
use crate::report::text_table::{DisplayOptions, GridCell, Tone};
use crate::report::{Ending, UndoReport};

/// Writes only the conflicts: nothing of the rest was written.
pub(super) fn write_moved(
    as_what: &str,
    moved: &[Conflict],
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let columns = count(moved.len(), "column");
    let are = if moved.len() == 1 { "is" } else { "are" };
    let headline = format!("{columns} {are} no longer as {as_what}.");
    writeln!(out, "{}\n", look.heading(&headline))?;
    if look.is_summary() {
        return Ok(());
    }
    conflicts(moved, look).write(out)
}

/// Writes what `undo` did, or would do, for a person to read.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_undone(
    undone: &UndoReport,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    if matches!(undone.ending, Ending::Moved { .. }) {
        return write_moved("the journal has it", &undone.facts.conflicts, look, out)
            .and_then(|()| write_undone_closing(undone, look, out));
    }
    let back = match undone.facts.back {
        0 => String::new(),
        back => format!(", {back} already back"),
    };
    let headline = format!("{} to put back{back}.", count(undone.facts.rows(), "row"));
    writeln!(out, "{}", look.heading(&headline))?;
    let undoes = &undone.facts.undoes;
    if undoes.is_partial() {
        let part = printable(&undoes.part());
        let of_run = format!("Only a part of run {}: {part}.", undoes.run);
        writeln!(out, "\n{}", look.prose(&of_run))?;
    }
    if !undone.facts.conflicts.is_empty() && !look.is_summary() {
        writeln!(
            out,
            "\nLeft as they are, because they were changed since then:\n"
        )?;
        conflicts(&undone.facts.conflicts, look).write(out)?;
    }
    if !undone.facts.changes.is_empty() && !look.is_summary() {
        changes(undone, look)?.write(out)?;
    }
    write_undone_closing(undone, look, out)
}

/// Writes only how an undo ended.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_undone_closing(
    undone: &UndoReport,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let rows = count(undone.facts.rows(), "row");
    let line = match undone.ending {
        Ending::Applied { notified, .. } => {
            let done = format!(
                "Put back {rows}; verified and committed (run {}).",
                undone.facts.run
            );
            // No proxy caches whole rows.
            if undone.facts.changes.has_lists() {
                format!("{done} {}", after_care(notified))
            } else {
                done
            }
        }
        Ending::Proposed => format!("It would put back {rows}."),
        Ending::DryRun { .. } if undone.facts.changes.is_empty() => {
            "Nothing was written (dry run): there is nothing to put back.".to_owned()
        }
        Ending::DryRun { .. } => {
            format!("Nothing was written (dry run). It would put back {rows}.")
        }
        Ending::Declined => "Declined: nothing was written.".to_owned(),
        Ending::Moved { .. } => "Nothing was written.".to_owned(),
        Ending::NothingToDo | Ending::Scanned { .. } => "There is nothing to put back.".to_owned(),
    };
    if let Some(failure) = &undone.facts.access_failure {
        writeln!(out, "\n{}", look.prose(&failure.paragraph()))?;
    }
    if let Some(access) = &undone.facts.access {
        let tense = undone.ending.tense();
        let paragraphs = if look.is_summary() {
            vec![in_short(access, tense)]
        } else {
            paragraphs(access, tense)
        };
        for paragraph in paragraphs {
            writeln!(out, "\n{}", look.prose(&paragraph))?;
        }
    }
    writeln!(out, "\n{}", look.prose(&line))?;
    write_commands(&advice::undone_commands(undone), look, out)
}

/// How many owners of a row are named, unless all are.
const OWNERS: usize = 3;

/// What becomes of a reference by an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Move {
    PutBack,
    TakeAway,
}

impl Move {
    fn name(self) -> &'static str {
        match self {
            Self::PutBack => "put back",
            Self::TakeAway => "take away",
        }
    }
}

/// The rows in which the same becomes of a server.
#[derive(Default)]
struct MovedRows {
    number: usize,
    /// How many of them are shown.
    wanted: usize,
    lines: Vec<OwnerLine>,
}

/// Lists what becomes of references in a row, each with its columns.
fn moves(change: &Change) -> BTreeMap<(Move, String), Vec<&'static str>> {
    let mut moves: BTreeMap<(Move, String), Vec<&'static str>> = BTreeMap::new();
    for content in change.contents() {
        let (now, then) = (references(&content.before), references(&content.after));
        let back = then.difference(&now).map(|name| (Move::PutBack, name));
        let away = now.difference(&then).map(|name| (Move::TakeAway, name));
        for (becomes, reference) in back.chain(away) {
            let columns = moves.entry((becomes, reference.clone())).or_default();
            columns.push(content.column);
        }
    }
    moves
}

/// Lays out what is put back, a block for each server: counts all rows, and then makes lines of
/// those that are shown.
fn changes(undone: &UndoReport, look: DisplayOptions) -> io::Result<Layout> {
    let changes = &undone.facts.changes;
    let mut servers: BTreeMap<(Move, String), MovedRows> = BTreeMap::new();
    for change in changes.iter() {
        for server in moves(&change?).into_keys() {
            servers.entry(server).or_default().number += 1;
        }
    }
    let mut room = look.limit.unwrap_or(usize::MAX);
    for rows in servers.values_mut() {
        rows.wanted = rows.number.min(room);
        room -= rows.wanted;
    }
    for change in changes.iter() {
        let change = change?;
        for (server, columns) in moves(&change) {
            let becomes = server.0;
            let Some(rows) = servers.get_mut(&server) else {
                continue;
            };
            if rows.lines.len() == rows.wanted {
                continue;
            }
            let tone = match becomes {
                Move::PutBack => Tone::Good,
                Move::TakeAway => Tone::Unsure,
            };
            rows.lines.push([
                GridCell::toned(becomes.name(), tone),
                changed_row(&change, look).into(),
                where_in(&change, &columns, look).into(),
            ]);
        }
    }
    let (mut shown, mut all) = (0, 0);
    let mut layout = Layout::new(look);
    layout.heading("SERVERS");
    for ((_, reference), rows) in servers {
        all += rows.number;
        if rows.wanted == 0 {
            continue;
        }
        shown += rows.wanted;
        let title = format!("{}: {}", printable(&reference), count(rows.number, "row"));
        layout.title(title);
        for line in rows.lines {
            layout.owner(line);
        }
    }
    layout.left_out(shown, all, "lines");
    Ok(layout)
}

/// Names the sites of a row that change, and what stays beside.
fn where_in(change: &Change, columns: &[&'static str], look: DisplayOptions) -> String {
    if let Change::Credentials(credentials) = change {
        return count(credentials.size(), "row");
    }
    let sites: Vec<String> = columns
        .iter()
        .map(|column| site_name(change.table(), column, look.is_wide()))
        .collect();
    let mut beside = BTreeSet::new();
    let contents = change.contents().into_iter();
    for content in contents.filter(|content| columns.contains(&content.column)) {
        let (now, then) = (references(&content.before), references(&content.after));
        beside.extend(then.intersection(&now).cloned());
    }
    let sites = sites.join(", ");
    match beside.len() {
        0 => sites,
        _ if look.is_wide() => {
            let names = beside.iter().map(String::as_str);
            format!("{sites}; beside {}", first_of(names, usize::MAX))
        }
        others => format!("{sites}; beside {}", count(others, "other")),
    }
}

fn references(content: &ColumnContent) -> BTreeSet<String> {
    match content {
        ColumnContent::References(value) => value.references().map(str::to_owned).collect(),
        ColumnContent::Rows(rows) => {
            let by_server = rows.clone().by_server();
            by_server.into_keys().collect()
        }
    }
}

/// Names a row by the owners that it had when it was changed; by its key where none is recorded.
fn changed_row(change: &Change, look: DisplayOptions) -> String {
    let label = row_label(change.table(), change.key());
    let owners = match change {
        Change::Row(row) if row.table().group == Group::Permissions => row.owners(),
        Change::Row(_) | Change::Credentials(_) => &[],
    };
    if owners.is_empty() {
        return label;
    }
    let most = if look.is_wide() { usize::MAX } else { OWNERS };
    let owners: Vec<String> = owners.iter().map(ToString::to_string).collect();
    let named = first_of(owners.iter().map(String::as_str), most);
    if look.is_wide() {
        format!("{named}; row {label}")
    } else {
        named
    }
}

/// Names a row by its key.
fn row_label(table: ScannedTable, key: &str) -> String {
    let key = printable(key);
    match table.group() {
        Group::Permissions => key,
        Group::AccessGroups => format!("access group {key}"),
        Group::Toolsets => format!("toolset {key}"),
        Group::Defaults => nobody(Group::Defaults).to_owned(),
        Group::Credentials => table.label(),
    }
}

/// Lays out what is not as a plan or journal has it.
fn conflicts(conflicts: &[Conflict], look: DisplayOptions) -> Layout {
    let mut layout = Layout::new(look);
    let limit = look.limit.unwrap_or(usize::MAX);
    for conflict in conflicts.iter().take(limit) {
        let site = site_name(conflict.table, conflict.column, true);
        let row = row_label(conflict.table, &conflict.row);
        layout.title(format!("{row}, {site}"));
        let found = conflict.found.value().map_or_else(
            || format!("({})", printable(&conflict.found.to_string())),
            |content| shown_content(content, look),
        );
        let expected = shown_content(&conflict.expected, look);
        layout.owner(["expected".into(), expected.into(), "".into()]);
        layout.owner([
            GridCell::toned("found", Tone::Unsure),
            found.into(),
            "".into(),
        ]);
    }
    layout.left_out(conflicts.len().min(limit), conflicts.len(), "columns");
    layout
}

/// Shows references, or the number of rows.
pub(crate) fn shown_content(content: &ColumnContent, look: DisplayOptions) -> String {
    match content {
        ColumnContent::References(value) => list(value.references(), look).replace('\n', ", "),
        ColumnContent::Rows(rows) => rows_in_words(rows.rows),
    }
}
