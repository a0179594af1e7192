//! The reports of `history` and `show`: the journals of a folder, and what one of them holds.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::{Serialize, Serializer};

use crate::litellm::reference_sites::Group;
use crate::printable::printable;
use crate::repair::changeset::{Change, ChangesetPurpose, Header, Identity, UndoneRun};
use crate::repair::recorded_owner::RecordedOwner;
use crate::repair::undone_runs::{RunFate, UndoneState};
use crate::report::csv::{self, Cells, Writer};
use crate::report::json::{self, ChangeV1, Each, OwnerV1, UndoesV1};
use crate::report::list_format::ListFormat;
use crate::report::shown_text::{count, list, nobody, rows_in_words};
use crate::report::text_table::{DisplayOptions, Grid, GridCell, Tone};
use crate::report::{json_text, markdown, table};

/// A journal or a plan, or a file that was to be one.
#[derive(Debug)]
pub(crate) struct ListedJournal {
    /// The file.
    pub file: String,
    /// The first line; `None` where it cannot be read.
    pub header: Option<Header>,
    /// How many rows of the database it changes, as far as it can be read.
    pub rows: u64,
    /// What the file says of the run.
    pub state: FileState,
    /// What is wrong with a file that cannot be read as a whole.
    pub problem: Option<String>,
    /// Whether it was undone; `None` where it is no whole journal, and where no folder was read.
    pub fate: Option<RunFate>,
}

/// What a file says of the run that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileState {
    /// It is a journal, and the run was committed.
    Committed,
    /// It is a whole journal that does not say whether the run was committed.
    Uncertain,
    /// It is a whole plan.
    Saved,
    /// Its closing line is missing: the run is at work, or ended before its commit.
    CutShort,
    /// A line is damaged, or another version wrote it.
    Damaged,
    /// It cannot be read.
    Unreadable,
}

impl FileState {
    /// Returns the name in JSON.
    fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Uncertain => "uncertain",
            Self::Saved => "saved",
            Self::CutShort => "cut-short",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
        }
    }

    /// Says it in words.
    fn in_words(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Uncertain => "perhaps committed",
            Self::Saved => "saved",
            Self::CutShort => "cut short",
            Self::Damaged => "damaged",
            Self::Unreadable => "cannot be read",
        }
    }
}

impl ListedJournal {
    /// Returns the kind of the file: what its run did.
    fn kind(&self) -> Option<&'static str> {
        let header = self.header.as_ref()?;
        let is_partial = header.undoes.as_ref().is_some_and(UndoneRun::is_partial);
        Some(match header.purpose {
            ChangesetPurpose::Plan => "plan",
            ChangesetPurpose::Fix => "fix",
            ChangesetPurpose::Undo if is_partial => "partial-undo",
            ChangesetPurpose::Undo => "undo",
        })
    }

    /// Says what became of the run, in words, and how that looks.
    fn fate_in_words(&self) -> (String, Tone) {
        let Some(RunFate { undone, undone_by }) = &self.fate else {
            let tone = if self.problem.is_some() {
                Tone::Bad
            } else {
                Tone::Plain
            };
            return (self.state.in_words().to_owned(), tone);
        };
        let by = undone_by.join(", ");
        let (words, tone) = match undone {
            UndoneState::No => ("not undone".to_owned(), Tone::Plain),
            UndoneState::Partly => (format!("partly undone by {by}"), Tone::Unsure),
            UndoneState::Wholly => (format!("undone by {by}"), Tone::Good),
            UndoneState::Unknown => (format!("perhaps undone by {by}"), Tone::Unsure),
        };
        if self.state == FileState::Uncertain {
            return (format!("perhaps committed, {words}"), Tone::Unsure);
        }
        (words, tone)
    }

    /// Tells whether the journal says who owned its rows. Those of older versions do not.
    fn records_owners(&self) -> bool {
        self.header
            .as_ref()
            .is_some_and(|header| header.user.is_some() && header.purpose != ChangesetPurpose::Undo)
    }

    /// Returns the database as a short text: "litellm at db:5432".
    fn database(&self) -> String {
        self.header.as_ref().map_or_else(String::new, |header| {
            let Identity {
                host,
                port,
                name,
                schema,
            } = &header.database;
            let port = if *port == 0 {
                String::new()
            } else {
                format!(":{port}")
            };
            let schema = match schema.as_str() {
                "public" => String::new(),
                schema => format!(", schema {schema}"),
            };
            format!("{name} at {host}{port}{schema}")
        })
    }

    /// Returns a field of the first line; an empty text where it cannot be read.
    fn field(&self, field: impl Fn(&Header) -> Option<&str>) -> &str {
        self.header.as_ref().and_then(field).unwrap_or_default()
    }

    fn run(&self) -> &str {
        self.field(|header| Some(&header.run))
    }

    fn time(&self) -> &str {
        self.field(|header| Some(&header.time))
    }

    fn user(&self) -> &str {
        self.field(|header| header.user.as_deref())
    }

    /// Describes what an undo took back: "1a2b3c4d --owner team:platform".
    fn undoes(&self) -> String {
        let undoes = self
            .header
            .as_ref()
            .and_then(|header| header.undoes.as_ref());
        undoes.map_or_else(String::new, |undone| {
            format!("{} {}", undone.run, undone.part())
                .trim_end()
                .to_owned()
        })
    }
}

#[derive(Serialize)]
struct JournalV1<'a> {
    file: &'a str,
    /// Null where the first line cannot be read, as are the next fields.
    kind: Option<&'static str>,
    run: Option<&'a str>,
    time: Option<&'a str>,
    database: Option<JournalDatabaseV1<'a>>,
    /// Null also in a journal of an older version.
    user: Option<&'a str>,
    rows: u64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undoes: Option<UndoesV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undone: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undone_by: Option<&'a [String]>,
}

/// A database as a journal knows it: the role is a field of the journal.
#[derive(Serialize)]
struct JournalDatabaseV1<'a> {
    host: &'a str,
    port: u16,
    name: &'a str,
    schema: &'a str,
}

impl<'a> From<&'a Identity> for JournalDatabaseV1<'a> {
    fn from(database: &'a Identity) -> Self {
        let Identity {
            host,
            port,
            name,
            schema,
        } = database;
        Self {
            host,
            port: *port,
            name,
            schema,
        }
    }
}

impl<'a> From<&'a ListedJournal> for JournalV1<'a> {
    fn from(journal: &'a ListedJournal) -> Self {
        let header = journal.header.as_ref();
        let fate = journal.fate.as_ref();
        Self {
            file: &journal.file,
            kind: journal.kind(),
            run: header.map(|header| header.run.as_str()),
            time: header.map(|header| header.time.as_str()),
            database: header.map(|header| (&header.database).into()),
            user: header.and_then(|header| header.user.as_deref()),
            rows: journal.rows,
            state: journal.state.name(),
            problem: journal.problem.as_deref(),
            undoes: header
                .and_then(|header| header.undoes.as_ref())
                .map(Into::into),
            undone: fate.map(|fate| undone_name(fate.undone)),
            undone_by: fate.map(|fate| fate.undone_by.as_slice()),
        }
    }
}

fn undone_name(undone: UndoneState) -> &'static str {
    match undone {
        UndoneState::No => "no",
        UndoneState::Partly => "partly",
        UndoneState::Wholly => "wholly",
        UndoneState::Unknown => "unknown",
    }
}

/// The journals of a folder.
#[derive(Debug)]
pub(crate) struct JournalList {
    /// The folder.
    pub folder: String,
    /// The newest first.
    pub journals: Vec<ListedJournal>,
}

#[derive(Serialize)]
struct HistoryV1<'a, J> {
    version: u32,
    command: &'static str,
    folder: &'a str,
    journals: J,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum HistoryLine<'a> {
    Header {
        version: u32,
        command: &'static str,
        folder: &'a str,
    },
    Journal(Box<JournalV1<'a>>),
    Summary {
        journals: usize,
    },
}

impl JournalList {
    /// Writes the list.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub(crate) fn write(&self, format: ListFormat, mut out: &mut dyn Write) -> io::Result<()> {
        match format {
            ListFormat::Table(look) => self.write_table(look, &mut out),
            ListFormat::Json => {
                let object = HistoryV1 {
                    version: json::VERSION,
                    command: "history",
                    folder: &self.folder,
                    journals: Each(|| self.journals.iter().map(JournalV1::from)),
                };
                json::write_object(&object, &mut out)
            }
            ListFormat::Ndjson => self.write_lines(&mut out),
            ListFormat::Csv(cells) => self.write_csv(cells, &mut out),
            ListFormat::Markdown => self.write_markdown(&mut out),
        }
    }

    fn write_table(&self, look: DisplayOptions, out: &mut impl Write) -> io::Result<()> {
        let number = count(self.journals.len(), "journal");
        let headline = format!("{number} in {}.", printable(&self.folder));
        writeln!(out, "{}", look.heading(&headline))?;
        if self.journals.is_empty() {
            return Ok(());
        }
        let databases = self.journals.iter().map(ListedJournal::database);
        let databases: BTreeSet<String> = databases.filter(|name| !name.is_empty()).collect();
        let is_one = databases.len() < 2;
        if let Some(database) = databases.first().filter(|_| is_one) {
            let line = format!("Database: {}", printable(database));
            writeln!(out, "\n{}", look.prose(&line))?;
        }
        let mut grid = Grid::new(["WHEN", "RUN", "KIND", "ROWS", "WHO", "STATE"], look);
        for journal in &self.journals {
            let (fate, tone) = journal.fate_in_words();
            let shown = |text: &str| match text {
                "" => "?".to_owned(),
                text => printable(text),
            };
            let mut who = shown(journal.user());
            if !is_one {
                who = format!("{who}\n{}", shown(&journal.database()));
            }
            grid.row([
                shown(journal.time()).into(),
                shown(journal.run()).into(),
                shown(journal.kind().unwrap_or_default()).into(),
                journal.rows.to_string().into(),
                who.into(),
                GridCell::toned(fate, tone),
            ]);
        }
        writeln!(out)?;
        grid.write(out)?;
        let broken = self.journals.iter();
        let broken = broken.filter_map(|journal| Some((&journal.file, journal.problem.as_ref()?)));
        for (at, (file, problem)) in broken.enumerate() {
            if at == 0 {
                writeln!(
                    out,
                    "\nThese files are not whole, and undo takes none of them:"
                )?;
            }
            let line = format!("{}: {}", printable(file), printable(problem));
            writeln!(out, "\n{}", look.prose(&line))?;
        }
        Ok(())
    }

    fn write_lines(&self, out: &mut impl Write) -> io::Result<()> {
        let header = HistoryLine::Header {
            version: json::VERSION,
            command: "history",
            folder: &self.folder,
        };
        let summary = HistoryLine::Summary {
            journals: self.journals.len(),
        };
        json_text::write_line(&header, out)?;
        for journal in &self.journals {
            json_text::write_line(&HistoryLine::Journal(Box::new(journal.into())), out)?;
        }
        json_text::write_line(&summary, out)
    }

    fn write_csv(&self, cells: Cells, out: &mut impl Write) -> io::Result<()> {
        let mut csv = Writer::new(out, cells);
        csv.write_record([
            "file",
            "kind",
            "run",
            "time",
            "database",
            "user",
            "rows",
            "state",
            "undone",
            "undone_by",
            "undoes",
            "problem",
        ])?;
        for journal in &self.journals {
            let fate = journal.fate.as_ref();
            csv.write_record([
                journal.file.as_str(),
                journal.kind().unwrap_or_default(),
                journal.run(),
                journal.time(),
                &journal.database(),
                journal.user(),
                &journal.rows.to_string(),
                journal.state.name(),
                fate.map_or("", |fate| undone_name(fate.undone)),
                &fate.map_or_else(String::new, |fate| fate.undone_by.join(" ")),
                &journal.undoes(),
                journal.problem.as_deref().unwrap_or_default(),
            ])?;
        }
        csv.flush()
    }

    fn write_markdown(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "# mcp-prune history\n")?;
        let facts = [
            ("Folder", markdown::code(&self.folder)),
            ("Journals", self.journals.len().to_string()),
        ];
        markdown::write_facts(&facts, out)?;
        let rows = self.journals.iter().map(|journal| {
            let code = |text: &str| match text {
                "" => String::new(),
                text => markdown::code(text),
            };
            let problem = journal
                .problem
                .as_deref()
                .map(|why| format!("<br>{}", code(why)));
            [
                journal.time().to_owned(),
                code(journal.run()),
                journal.kind().unwrap_or_default().to_owned(),
                journal.rows.to_string(),
                code(journal.user()),
                code(&journal.database()),
                journal.fate_in_words().0 + &problem.unwrap_or_default(),
                code(&journal.file),
            ]
        });
        let header = [
            "When", "Run", "Kind", "Rows", "Who", "Database", "State", "File",
        ];
        markdown::table("Journals", &header, rows, out)
    }
}

/// What a journal holds: its first line, and its changes one after the other.
pub(crate) struct JournalContents<F> {
    /// The journal.
    pub journal: ListedJournal,
    /// Returns the next change; `None` at the end.
    pub next: F,
}

#[derive(Serialize)]
struct ShowV1<'a, C> {
    version: u32,
    command: &'static str,
    journal: JournalV1<'a>,
    changes: C,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ShowLine<'a> {
    Header {
        version: u32,
        command: &'static str,
        journal: Box<JournalV1<'a>>,
    },
    Change(ChangeV1<'a>),
    Summary {
        changes: usize,
    },
}

/// Changes that are read while they are written.
struct ReadChanges<'a> {
    next: RefCell<&'a mut dyn FnMut() -> io::Result<Option<Change>>>,
    failed: RefCell<Option<io::Error>>,
}

impl Serialize for ReadChanges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq as _;
        let mut list = serializer.serialize_seq(None)?;
        let mut next = self.next.borrow_mut();
        loop {
            match next() {
                Ok(Some(change)) => list.serialize_element(&shown_change(&change))?,
                Ok(None) => return list.end(),
                Err(error) => {
                    *self.failed.borrow_mut() = Some(error);
                    return list.end();
                }
            }
        }
    }
}

/// Makes the entry of a change; of credentials it tells the number of rows.
fn shown_change(change: &Change) -> ChangeV1<'_> {
    let (before, after) = json::values(change);
    ChangeV1 {
        table: change.table().name(),
        row: change.key(),
        row_name: None,
        before,
        after,
        on_empty: std::collections::BTreeMap::new(),
        // A journal holds references, not what people called them.
        server_names: std::collections::BTreeMap::new(),
        owners: owners_of(change).iter().map(OwnerV1::from).collect(),
    }
}

/// Returns the text for a row of which a journal names no owner.
fn without_owners(journal: &ListedJournal, change: &Change) -> &'static str {
    let group = change.table().group();
    let has_owners = match group {
        Group::Permissions | Group::AccessGroups | Group::Toolsets => true,
        Group::Defaults | Group::Credentials => false,
    };
    if has_owners && !journal.records_owners() {
        return "not recorded";
    }
    nobody(group)
}

fn owners_of(change: &Change) -> &[RecordedOwner] {
    match change {
        Change::Row(change) => change.owners(),
        Change::Credentials(_) => &[],
    }
}

impl<F: FnMut() -> io::Result<Option<Change>>> JournalContents<F> {
    /// Writes the journal.
    ///
    /// # Errors
    ///
    /// What `out` says, and why the file can no longer be read.
    pub(crate) fn write(mut self, format: ListFormat, mut out: &mut dyn Write) -> io::Result<()> {
        match format {
            ListFormat::Table(look) => self.write_table(look, &mut out),
            ListFormat::Json => {
                let changes = ReadChanges {
                    next: RefCell::new(&mut self.next),
                    failed: RefCell::new(None),
                };
                let object = ShowV1 {
                    version: json::VERSION,
                    command: "show",
                    journal: (&self.journal).into(),
                    changes: &changes,
                };
                json::write_object(&object, &mut out)?;
                changes.failed.into_inner().map_or(Ok(()), Err)
            }
            ListFormat::Ndjson => self.write_lines(&mut out),
            ListFormat::Csv(cells) => self.write_csv(cells, &mut out),
            ListFormat::Markdown => self.write_markdown(&mut out),
        }
    }

    /// Says in a line what the run did.
    fn headline(&self) -> String {
        let Self { journal, .. } = self;
        let rows = rows_in_words(journal.rows);
        let kind = journal.kind().unwrap_or_default().replace('-', " ");
        let did = match journal.state {
            FileState::Committed => "changed",
            FileState::Saved => "would change",
            FileState::Uncertain
            | FileState::CutShort
            | FileState::Damaged
            | FileState::Unreadable => "perhaps changed",
        };
        format!("Run {} ({kind}) {did} {rows}.", journal.run())
    }

    /// Returns who owned the row of a change, one a line.
    fn owners(&self, change: &Change, look: DisplayOptions) -> String {
        let owners: Vec<String> = owners_of(change).iter().map(ToString::to_string).collect();
        if !owners.is_empty() {
            return list(owners.iter().map(String::as_str), look);
        }
        without_owners(&self.journal, change).to_owned()
    }

    fn write_table(mut self, look: DisplayOptions, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}\n", look.heading(&self.headline()))?;
        for (name, value) in self.facts() {
            writeln!(
                out,
                "{}",
                look.prose(&format!("{name}: {}", printable(&value)))
            )?;
        }
        let mut grid = Grid::of_ids(["OWNER", "ROW", "COLUMN", "BEFORE", "AFTER"], look);
        let mut is_any = false;
        while let Some(change) = (self.next)()? {
            is_any = true;
            let contents = change.contents();
            if grid.room() == 0 {
                grid.leave_out(contents.len());
                continue;
            }
            for content in contents {
                grid.row([
                    self.owners(&change, look).into(),
                    printable(change.key()).into(),
                    table::site_name(change.table(), content.column, true).into(),
                    table::shown_content(&content.before, look).into(),
                    table::shown_content(&content.after, look).into(),
                ]);
            }
        }
        if is_any {
            writeln!(out)?;
            grid.write(out)?;
        }
        Ok(())
    }

    /// Lists what the first line tells, by name.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let Self { journal, .. } = self;
        let mut facts = vec![
            ("File", journal.file.clone()),
            ("When", journal.time().to_owned()),
            ("Database", journal.database()),
        ];
        let user = journal.user().to_owned();
        facts.extend((!user.is_empty()).then_some(("Who", user)));
        let undoes = journal.undoes();
        facts.extend((!undoes.is_empty()).then_some(("Takes back", undoes)));
        facts.push(("State", journal.state.in_words().to_owned()));
        facts
    }

    fn write_lines(mut self, out: &mut impl Write) -> io::Result<()> {
        let header = ShowLine::Header {
            version: json::VERSION,
            command: "show",
            journal: Box::new((&self.journal).into()),
        };
        json_text::write_line(&header, out)?;
        let mut changes = 0;
        while let Some(change) = (self.next)()? {
            changes += 1;
            json_text::write_line(&ShowLine::Change(shown_change(&change)), out)?;
        }
        json_text::write_line(&ShowLine::Summary { changes }, out)
    }

    fn write_csv(mut self, cells: Cells, out: &mut impl Write) -> io::Result<()> {
        let mut csv = Writer::new(out, cells);
        csv.write_record(csv::ENTRIES)?;
        while let Some(change) = (self.next)()? {
            let shown = shown_change(&change);
            let at = (shown.table, shown.row);
            csv::columns(&mut csv, at, &shown.before, &shown.after, &shown.owners)?;
        }
        csv.flush()
    }

    fn write_markdown(mut self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "# mcp-prune show: {}\n",
            self.headline().trim_end_matches('.')
        )?;
        let facts = self.facts().into_iter();
        let facts: Vec<_> = facts
            .map(|(name, value)| (name, markdown::code(&value)))
            .collect();
        markdown::write_facts(&facts, out)?;
        let mut failed = None;
        let Self { journal, next } = &mut self;
        let rows = std::iter::from_fn(|| {
            next().unwrap_or_else(|error| {
                failed = Some(error);
                None
            })
        });
        let rows = rows.flat_map(|change| {
            let shown = shown_change(&change);
            let at = (shown.table, shown.row);
            let mut lines = markdown::columns(at, &shown.owners, &shown.before, &shown.after);
            if shown.owners.is_empty() {
                for [_, _, owners, ..] in &mut lines {
                    without_owners(journal, &change).clone_into(owners);
                }
            }
            lines
        });
        let header = ["Table", "Row", "Owners", "Column", "Before", "After"];
        markdown::table("Changes", &header, rows, out)?;
        failed.map_or(Ok(()), Err)
    }
}

impl<'a> From<&'a RecordedOwner> for OwnerV1<'a> {
    fn from(owner: &'a RecordedOwner) -> Self {
        Self {
            kind: &owner.kind,
            id: &owner.id,
            name: owner.name.as_deref(),
            if_emptied: None,
        }
    }
}
