//! The script that does what `fix` would, for whoever may not let a program write: a DBA, or a
//! migration tool. Beside it there may be a second script, which takes the first one back.
//!
//! The code comes from `db/`, and knows the tables. Written here are the rows, as literals with a
//! comment each, and the head that says what the script does. Rows are put aside as they are
//! planned, so that memory does not grow with their number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};

use crate::litellm::reference_sites::{Group, SiteTable};
use crate::prose::wrapped;
use crate::repair::changeset::RowChange;
use crate::repair::plan::{Edit, EmptyOutcome, Reason, RowPlan};
use crate::repair::script_code::{ScriptCode, TableCode};
use crate::report::collected_plans::CollectedPlans;
use crate::report::compared_access::{Tense, paragraphs};
use crate::report::put_aside::PutAside;
use crate::report::render::{AnyReport, RenderOptions, ReportFormat};
use crate::report::shown_text::{count, nobody, printable};
use crate::report::sql_literal::{OptionalLiteral, SqlArray, SqlLiteral, in_comment};
use crate::report::{Ending, Report};

/// How many owners of a row, and how many references of a column, a comment names.
const NAMED: usize = 10;

/// How wide the sentences of comments are.
const COLUMNS: usize = 90;

/// The format of a script for `psql`.
#[derive(Debug)]
pub(crate) struct SqlFormat;

impl ReportFormat for SqlFormat {
    fn write(
        &self,
        report: AnyReport<'_>,
        options: &RenderOptions,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        match report {
            AnyReport::Repair(report) => write(report, Direction::Repair, &options.command, out),
            AnyReport::Undo(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "only fix --dry-run makes a script",
            )),
        }
    }

    fn collection(&self) -> CollectedPlans {
        CollectedPlans::counted()
    }
}

/// Which of the two scripts is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The one that repairs.
    Repair,
    /// The one that takes the repair back.
    TakeBack,
}

/// What the script of a repair is made of.
#[derive(Debug)]
pub(crate) struct SqlScript {
    /// When it was made, in UTC.
    time: String,
    /// How long it may wait for the lock of a table, in milliseconds.
    lock_timeout: String,
    /// How long it may take in all, an interval; `None` for no limit.
    time_limit: Option<String>,
    /// The ids of the rows of the server table that count as deleted.
    pub(crate) left_out: Vec<String>,
    /// The digest of the other rows; `None` if they may have changed.
    pub(crate) servers_then: Option<String>,
    /// Whether the server table need not have a row.
    pub(crate) no_servers: bool,
    /// The references that were removed or renamed.
    gone: BTreeSet<String>,
    /// The new names of renamed references that a row answers to.
    served: BTreeSet<String>,
    held: BTreeMap<Reason, usize>,
    repair: ScriptRows,
    /// `None` unless the second script was asked for.
    take_back: Option<ScriptRows>,
}

/// The code of a script, and the rows that it writes.
#[derive(Debug)]
struct ScriptRows {
    code: ScriptCode,
    /// The tables that it writes rows of, as places in the code.
    tables: Vec<usize>,
    /// The loops over these rows, in pieces.
    loops: PutAside<String>,
}

/// Digests of what a plan for a row depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowDigests<'a> {
    /// Of everything in the row that grants servers.
    pub(crate) beside: Option<&'a str>,
    /// Of the row's owners, if they are compared.
    pub(crate) owners: Option<&'a str>,
}

impl SqlScript {
    /// Begins a script, and with `take_back` the one that takes it back.
    pub(crate) fn new(
        time: String,
        (lock_timeout, time_limit): (String, Option<String>),
        repair: ScriptCode,
        take_back: Option<ScriptCode>,
    ) -> Self {
        Self {
            time,
            lock_timeout,
            time_limit,
            left_out: Vec::new(),
            servers_then: None,
            no_servers: false,
            gone: BTreeSet::new(),
            served: BTreeSet::new(),
            held: BTreeMap::new(),
            repair: ScriptRows::of(repair),
            take_back: take_back.map(ScriptRows::of),
        }
    }

    /// Counts what a plan leaves as it is.
    pub(crate) fn count_held(&mut self, plan: &RowPlan) {
        for held in &plan.held {
            *self.held.entry(held.reason).or_default() += 1;
        }
    }

    /// Adds a row that is written. Rows come table by table.
    ///
    /// `has_row` tells whether a row of the server table answers to a reference.
    ///
    /// # Errors
    ///
    /// An I/O error if the row cannot be put aside.
    pub(crate) fn add(
        &mut self,
        plan: &RowPlan,
        change: &RowChange,
        digests: RowDigests<'_>,
        has_row: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        for edit in &plan.edits {
            self.gone.extend(edit.removed().iter().cloned());
            self.gone.extend(edit.remapped().keys().cloned());
            let new = edit.remapped().values().filter(|new| has_row(new));
            self.served.extend(new.cloned());
        }
        let about = |direction| comments(plan, change, direction);
        self.repair
            .add(change, &about(Direction::Repair), digests)?;
        if let Some(take_back) = &mut self.take_back {
            let about = about(Direction::TakeBack);
            take_back.add(&change.inverse(), &about, RowDigests::default())?;
        }
        Ok(())
    }

    fn rows(&self, direction: Direction) -> Option<&ScriptRows> {
        match direction {
            Direction::Repair => Some(&self.repair),
            Direction::TakeBack => self.take_back.as_ref(),
        }
    }
}

impl ScriptRows {
    fn of(code: ScriptCode) -> Self {
        Self {
            code,
            tables: Vec::new(),
            loops: PutAside::new(),
        }
    }

    fn add(
        &mut self,
        change: &RowChange,
        comments: &str,
        digests: RowDigests<'_>,
    ) -> io::Result<()> {
        let tables = &self.code.tables;
        let is_meant = |table: &'static SiteTable| table == change.table();
        let Some(at) = tables.iter().position(|code| is_meant(code.table)) else {
            let message = format!("no code for table \"{}\"", change.table().table);
            return Err(io::Error::other(message));
        };
        let mut text = String::new();
        if self.tables.last() == Some(&at) {
            text.push(',');
        } else {
            if let Some(last) = self.tables.last() {
                text.push_str(&tables[*last].row);
            }
            text.push_str(&tables[at].rows);
            text.push_str("VALUES");
            self.tables.push(at);
        }
        let values = |value: fn(&crate::repair::changeset::ColumnChange) -> serde_json::Value| {
            let columns = change.columns().iter();
            let object: serde_json::Map<_, _> = columns
                .map(|column| (column.site().name.to_owned(), value(column)))
                .collect();
            serde_json::Value::Object(object).to_string()
        };
        let (old, new) = (
            values(|column| column.before().to_json()),
            values(|column| column.after().to_json()),
        );
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n{comments}      ({},\n       {},\n       {},\n       {}, {})",
            SqlLiteral(change.key()),
            SqlLiteral(&old),
            SqlLiteral(&new),
            OptionalLiteral(digests.beside),
            OptionalLiteral(digests.owners),
        );
        self.loops.add(&text)
    }

    /// Lists the code of the tables that the script writes rows of.
    fn used(&self) -> impl DoubleEndedIterator<Item = &TableCode> {
        self.tables.iter().map(|at| &self.code.tables[*at])
    }

    /// Writes the one statement of the script.
    fn write(&self, constants: &[(&str, &str, String)], out: &mut dyn Write) -> io::Result<()> {
        let code = &self.code;
        // What others chose has no dollar sign, apart from the name of a schema.
        let mut tag = "$mcp_prune$".to_owned();
        while self
            .used()
            .any(|table| table.rows.contains(&tag) || table.row.contains(&tag))
        {
            tag.insert(1, '_');
        }
        writeln!(out, "DO {tag}\n#variable_conflict error\nDECLARE")?;
        for (name, sql_type, value) in constants {
            writeln!(out, "  {name} CONSTANT {sql_type} DEFAULT {value};")?;
        }
        write!(out, "{}", code.variables.trim_start_matches('\n'))?;
        for table in self.used() {
            write!(out, "{}", table.variables)?;
        }
        write!(out, "\nBEGIN{}", code.begin)?;
        for table in self.used() {
            write!(out, "{}", table.lock)?;
        }
        for text in self.loops.iter() {
            out.write_all(text?.as_bytes())?;
        }
        if let Some(last) = self.used().next_back() {
            write!(out, "{}", last.row)?;
        }
        for table in self.used() {
            write!(out, "{}", table.check)?;
        }
        writeln!(out, "\n{}\nEND\n{tag};", code.end)
    }
}

/// Makes the comments of a row: who owns it, and what is done to each column and why.
fn comments(plan: &RowPlan, change: &RowChange, direction: Direction) -> String {
    let owners: Vec<String> = plan.audit.owners().map(ToString::to_string).collect();
    let mut lines = vec![if owners.is_empty() {
        nobody(change.table().group).to_owned()
    } else {
        shortened(owners.iter().map(String::as_str))
    }];
    for edit in &plan.edits {
        let what = match direction {
            Direction::Repair => done(edit, change.table().group),
            Direction::TakeBack => vec![format!(
                "puts back {}",
                shortened(
                    edit.removed()
                        .iter()
                        .chain(edit.remapped().keys())
                        .map(String::as_str)
                )
            )],
        };
        lines.extend(
            what.into_iter()
                .map(|what| format!("  {}: {what}", edit.site().name)),
        );
    }
    let mut comments = String::new();
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(comments, "      -- {}", in_comment(&line));
    }
    comments
}

/// Says what an edit does, and why.
fn done(edit: &Edit, group: Group) -> Vec<String> {
    let mut done = Vec::new();
    if !edit.removed().is_empty() {
        let removed = shortened(edit.removed().iter().map(String::as_str));
        done.push(format!(
            "removes {removed}, because no server has that id or name"
        ));
    }
    for (old, new) in edit.remapped().iter().take(NAMED) {
        let (old, new) = (printable(old), printable(new));
        done.push(format!("renames {old} to {new}, as --remap says"));
    }
    let more = edit.remapped().len().saturating_sub(NAMED);
    if more > 0 {
        done.push(format!("renames {more} more, as the remaps say"));
    }
    match edit.ending() {
        EmptyOutcome::No if edit.after().is_empty() && group == Group::Permissions => {
            done.push("is empty then, which gives nobody access".to_owned());
        }
        EmptyOutcome::No => {}
        EmptyOutcome::Denied => done.push("holds no-mcp-servers then, which denies".to_owned()),
        EmptyOutcome::Cleared => done.push("is empty then, as --on-empty says".to_owned()),
    }
    done
}

/// Lists the first names, and says how many more there are.
fn shortened<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.map(printable).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

/// The types of the constants that a script declares.
const TEXT: &str = "pg_catalog.text";
const TEXTS: &str = "pg_catalog.text[]";
const TRUTH: &str = "pg_catalog.bool";

/// Writes one of the two scripts; `command` is the command line that it is of.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write(
    report: &Report,
    direction: Direction,
    command: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let script = report.facts.script.as_ref();
    let Some((script, rows)) = script.and_then(|s| Some((s, s.rows(direction)?))) else {
        return Err(io::Error::other("no script was made"));
    };
    let mut told = vec![match direction {
        Direction::Repair => "Removes references to deleted MCP servers from LiteLLM's tables.",
        Direction::TakeBack => {
            "Takes back a script of mcp-prune: puts back the references that it removed or renamed."
        }
    }
    .to_owned()];
    told.push(origin(report, script, command));
    if matches!(report.ending, Ending::Moved { .. }) {
        told.push("There is no script: rows are no longer as planned. Plan anew.".to_owned());
        return comment(&told, out);
    }
    told.extend(contents(report, script, direction));
    if report.summary().rows_changed == 0 {
        told.push("There is nothing to do, so no statement follows.".to_owned());
        return comment(&told, out);
    }
    let conditions = conditions(script, rows, direction).into_iter();
    told.extend(conditions.map(str::to_owned));
    comment(&told, out)?;
    writeln!(out)?;
    rows.write(&constants(script, direction), out)
}

/// Returns the constants of a script: name, type and value.
fn constants(
    script: &SqlScript,
    direction: Direction,
) -> Vec<(&'static str, &'static str, String)> {
    let literal = |text: &str| SqlLiteral(text).to_string();
    let optional = |text: &Option<String>| OptionalLiteral(text.as_deref()).to_string();
    let texts = |texts: &BTreeSet<String>| {
        let texts: Vec<String> = texts.iter().cloned().collect();
        SqlArray(&texts).to_string()
    };
    let mut constants = vec![
        ("lock_timeout", TEXT, literal(&script.lock_timeout)),
        ("time_limit", TEXT, optional(&script.time_limit)),
    ];
    if direction == Direction::Repair {
        constants.extend([
            ("gone", TEXTS, texts(&script.gone)),
            ("served", TEXTS, texts(&script.served)),
            ("left_out", TEXTS, SqlArray(&script.left_out).to_string()),
            ("servers_then", TEXT, optional(&script.servers_then)),
            ("no_servers", TRUTH, script.no_servers.to_string()),
        ]);
    }
    constants
}

/// Says who made a script, when and of what.
fn origin(report: &Report, script: &SqlScript, command: &str) -> String {
    let facts = &report.facts;
    // Indented lines are not wrapped.
    format!(
        "  made by:   mcp-prune {}, run {}, at {}\n  database:  {}\n  read as:   {}\n  \
         command:   {}",
        crate::build_info::VERSION,
        facts.run,
        script.time,
        facts.database.identity(),
        printable(&facts.database.user),
        in_comment(command),
    )
}

/// Says how much a script writes, what is held, and whose access changes.
fn contents(report: &Report, script: &SqlScript, direction: Direction) -> Vec<String> {
    let facts = &report.facts;
    let summary = report.summary();
    let rows = count(summary.rows_changed, "row");
    if direction == Direction::TakeBack {
        return vec![format!("Writes {rows}.")];
    }
    let mut told = vec![format!(
        "Writes {rows}: removes {}, renames {}.",
        count(summary.references_removed, "reference"),
        count(summary.references_remapped, "reference"),
    )];
    let held = script.held.iter();
    let reasons: Vec<String> = held
        .map(|(reason, number)| format!("{number} ({reason})"))
        .collect();
    told.push(if reasons.is_empty() {
        "Holds nothing: every stale reference that was looked at goes.".to_owned()
    } else {
        format!(
            "Holds {}: {}.",
            count(summary.references_held, "stale reference"),
            reasons.join(", ")
        )
    });
    for server in facts.deleted.iter() {
        told.push(format!(
            "Counts as deleted: {}",
            printable(&server.to_string())
        ));
    }
    if let Some(access) = &facts.access {
        told.extend(paragraphs(access, Tense::Would));
    }
    told
}

/// Says how a script is run, when it refuses, and what it assumes.
fn conditions(script: &SqlScript, rows: &ScriptRows, direction: Direction) -> Vec<&'static str> {
    let mut told = vec![
        "It is one statement, so all of it is done or nothing, in a transaction of its own or in \
         yours. Run it with psql --set ON_ERROR_STOP=1, or in a migration tool, as the owner of \
         the tables or as a role with what `mcp-prune grants --for fix` prints. It needs \
         PostgreSQL's language plpgsql.",
    ];
    if rows.used().any(|table| table.ends_deferral) {
        told.push(
            "It says SET CONSTRAINTS ALL IMMEDIATE, so that deferred triggers act before it \
             compares the rows once more. In a transaction of yours this stays in force until the \
             end: later statements are checked at once, and not at COMMIT.",
        );
    }
    if direction == Direction::TakeBack {
        told.push(
            "It writes nothing and fails if a row is gone or is locked, or if a column that it \
             writes does not hold what the repair left in it. It does not look at servers, owners \
             or access.",
        );
        return told;
    }
    told.push(
        "It writes nothing and fails if a row is gone or is locked, if what a row grants or who \
         owns a permission row is not as it was then, if a server that it removes references to \
         is there again, or if one that it renames references to is not served any more. It does \
         not compare access anew.",
    );
    if script.servers_then.is_some() {
        told.push(
            "It also fails if any server was added, changed or deleted, because the choice of \
             --on-empty depends on them.",
        );
    }
    told.push(
        "It assumes that the servers of config.yaml files, the release and settings of LiteLLM, \
         and the teams, users and access groups of the owners are as they were. If not, or if it \
         waited for long, make a new script.",
    );
    told
}

/// Writes paragraphs as comments that end with their lines.
fn comment(paragraphs: &[String], out: &mut dyn Write) -> io::Result<()> {
    for (at, paragraph) in paragraphs.iter().enumerate() {
        if at > 0 {
            writeln!(out, "--")?;
        }
        // The line breaks are of this program: what others chose has none by now.
        for line in wrapped(paragraph, Some(COLUMNS)).lines() {
            writeln!(out, "-- {}", in_comment(line))?;
        }
    }
    Ok(())
}
