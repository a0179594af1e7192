//! The folder of the journals: the journals in it, and the run that a short name means.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::error::{ErrorKind, Failure, reason};
use crate::process::atomic_file::folder_of;
use crate::repair::changeset::{ChangesetPurpose, Contents, Header};
use crate::repair::undone_runs::{ChangedItems, RunRecord, fates};
use crate::report::journals::{FileState, ListedJournal};
use crate::workflow::changeset_file::{
    LineFault, Lines, SavedChangeset, cannot, open_regular, state_folder,
};
use crate::workflow::journal_retention::is_name;

/// How many digits a run's name has.
const RUN_DIGITS: usize = 8;

/// The fewest digits by which a run can be named.
const FEWEST_DIGITS: usize = 4;

/// How many journals an error names.
const NAMED: usize = 10;

/// How much of a file is read to see whether it is a changeset.
const BEGINNING: u64 = 1 << 16;

/// A journal as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamedJournal {
    /// The file.
    File(PathBuf),
    /// The name of a run, or its first digits.
    Run(String),
}

impl NamedJournal {
    /// Reads JOURNAL|RUN: a word of 4 to 8 hexadecimal digits names a run, whatever files there
    /// are; `./` before it makes it a file.
    #[must_use]
    pub(crate) fn read(word: &Path) -> Self {
        let is_run = |text: &&str| {
            (FEWEST_DIGITS..=RUN_DIGITS).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        match word.to_str().filter(is_run) {
            Some(run) => Self::Run(run.to_ascii_lowercase()),
            None => Self::File(word.to_owned()),
        }
    }

    /// Returns the file, if it is named as one.
    #[must_use]
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Run(_) => None,
        }
    }

    /// Returns the file of the journal. The name of a run is looked up in the folder that
    /// `--journal` names, else in the user's own.
    pub(crate) fn find(
        &self,
        journal: Option<&Path>,
        fits: &[ChangesetPurpose],
    ) -> Result<PathBuf, Failure> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Run(run) => JournalFolder::of(journal)?.find(run, fits),
        }
    }
}

/// The folder in which journals are kept.
#[derive(Debug)]
pub(crate) struct JournalFolder {
    path: PathBuf,
    /// Whether the operator named it: then it has to be there.
    is_named: bool,
}

impl JournalFolder {
    /// Chooses the folder that `--journal` names, itself or by a journal in it, else the user's
    /// own.
    pub(crate) fn of(journal: Option<&Path>) -> Result<Self, Failure> {
        let path = match journal {
            Some(path) if path.is_file() => folder_of(path).to_owned(),
            Some(path) => path.to_owned(),
            None => state_folder()?,
        };
        Ok(Self {
            path,
            is_named: journal.is_some(),
        })
    }

    /// Returns the path of the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether a journal of the folder is of an undo of `run`, or of a part of it, that may
    /// have been committed.
    pub(crate) fn has_undo_of(&self, run: &str) -> Result<bool, Failure> {
        let mut journals = self
            .journals()?
            .into_iter()
            .filter(|journal| matches!(journal.state, FileState::Committed | FileState::Uncertain));
        Ok(journals.any(|journal| {
            let undoes = journal.header.and_then(|header| header.undoes);
            undoes.is_some_and(|undone| undone.run == run)
        }))
    }

    /// Reads every journal of the folder, the newest first. What is broken is listed too.
    pub(crate) fn journals(&self) -> Result<Vec<ListedJournal>, Failure> {
        let (mut journals, mut records) = (Vec::new(), Vec::new());
        for path in self.files()? {
            let (journal, record) = read(&path);
            records.extend(record.map(|record| (journals.len(), record)));
            journals.push(journal);
        }
        let (places, records): (Vec<usize>, Vec<RunRecord>) = records.into_iter().unzip();
        for (place, fate) in places.into_iter().zip(fates(&records)) {
            journals[place].fate = Some(fate);
        }
        journals.sort_by_cached_key(|journal| std::cmp::Reverse(order(journal)));
        Ok(journals)
    }

    /// Lists the files that are journals, or that may be. Nothing but a regular file is opened.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let entries = match self.path.read_dir() {
            Ok(entries) => entries,
            // The first repair creates the folder.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.is_named => {
                return Ok(Vec::new());
            }
            Err(error) => {
                let failure = cannot("read the folder of journals", &self.path, error);
                return Err(failure.hint("name the folder with --journal DIR"));
            }
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| cannot("read", &self.path, error))?;
            let path = entry.path();
            let is_ours = entry.file_name().to_str().is_some_and(is_name);
            if path.is_file() && (is_ours || begins_as_changeset(&path)) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Finds the journal of the run whose name begins with the digits `run`.
    fn find(&self, run: &str, fits: &[ChangesetPurpose]) -> Result<PathBuf, Failure> {
        let mut known: Vec<(Header, PathBuf)> = Vec::new();
        for path in self.files()? {
            let header = read_header(&path);
            known.extend(header.map(|header| (header, path)));
        }
        known.retain(|(header, _)| fits.contains(&header.purpose));
        known.sort_by(|(one, _), (other, _)| other.time.cmp(&one.time));
        let is_meant = |(header, _): &&(Header, PathBuf)| header.run.starts_with(run);
        let meant: Vec<&(Header, PathBuf)> = known.iter().filter(is_meant).collect();
        let folder = self.path.display();
        match meant[..] {
            [(_, path)] => Ok(path.clone()),
            [] => {
                let message = format!("no journal in {folder} is of a run {run}");
                let hint = if known.is_empty() {
                    "there are no journals; name the folder with --journal DIR, or name the file"
                        .to_owned()
                } else {
                    let known: Vec<_> = known.iter().collect();
                    format!(
                        "the runs there are {}; name the folder with --journal DIR, or name the \
                         file, as in ./{run}",
                        listed(&known, |(header, _)| described(header))
                    )
                };
                Err(Failure::new(ErrorKind::Error, message).hint(hint))
            }
            _ => {
                let message = format!("the run {run} is ambiguous in {folder}");
                let same = meant.iter().all(|(header, _)| header.run == meant[0].0.run);
                let hint = if same {
                    let files = listed(&meant, |(_, path)| path.display().to_string());
                    format!("name one of the files: {files}")
                } else {
                    let runs = listed(&meant, |(header, _)| described(header));
                    format!("give more digits, as in {runs}")
                };
                Err(Failure::new(ErrorKind::Error, message).hint(hint))
            }
        }
    }
}

/// Lists the first journals, and says how many more there are.
fn listed(journals: &[&(Header, PathBuf)], shown: impl Fn(&(Header, PathBuf)) -> String) -> String {
    let named = journals.iter().take(NAMED).map(|journal| shown(journal));
    let mut named: Vec<String> = named.collect();
    if journals.len() > NAMED {
        named.push(format!("{} older ones", journals.len() - NAMED));
    }
    named.join(", ")
}

/// Describes a run: "1a2b3c4d (fix, 2026-01-02T03:04:05Z)".
fn described(header: &Header) -> String {
    let what = match header.purpose {
        ChangesetPurpose::Plan => "plan",
        ChangesetPurpose::Fix => "fix",
        ChangesetPurpose::Undo => "undo",
    };
    format!("{} ({what}, {})", header.run, header.time)
}

/// Returns what journals are sorted by: the time, then the file.
fn order(journal: &ListedJournal) -> (String, String) {
    let written = journal.header.as_ref().map(|header| header.time.clone());
    let time = written.or_else(|| time_of_name(Path::new(&journal.file)));
    (time.unwrap_or_default(), journal.file.clone())
}

/// Returns the time in the name that `fix` and `undo` give to a journal, as its first line would
/// write it.
fn time_of_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str().filter(|name| is_name(name))?;
    let time = name.split('-').nth(1)?;
    let part = |from: usize, to: usize| time.get(from..to);
    let date = format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?);
    Some(format!(
        "{date}T{}:{}:{}Z",
        part(9, 11)?,
        part(11, 13)?,
        part(13, 15)?
    ))
}

impl SavedChangeset {
    /// Describes the file, without looking whether its run was undone.
    pub(crate) fn listed(&self) -> ListedJournal {
        ListedJournal {
            file: self.path().display().to_string(),
            header: Some(self.contents.header.clone()),
            rows: self.contents.rows,
            state: file_state(&self.contents),
            problem: None,
            fate: None,
        }
    }
}

/// Returns what a whole file says of its run.
fn file_state(contents: &Contents) -> FileState {
    match contents.header.purpose {
        ChangesetPurpose::Plan => FileState::Saved,
        ChangesetPurpose::Fix | ChangesetPurpose::Undo if contents.committed => {
            FileState::Committed
        }
        ChangesetPurpose::Fix | ChangesetPurpose::Undo => FileState::Uncertain,
    }
}

/// Tells whether the first line of a file looks like that of a changeset. Whatever else is in the
/// folder is somebody else's.
pub(super) fn begins_as_changeset(path: &Path) -> bool {
    let beginning = || -> std::io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let file = BufReader::new(open_regular(path)?.take(BEGINNING));
        { file }.read_until(b'\n', &mut line)?;
        Ok(line)
    };
    let looks_so = |line: &Vec<u8>| {
        let line = String::from_utf8_lossy(line);
        line.starts_with('{') && line.contains("\"type\":\"changeset\"")
    };
    beginning().is_ok_and(|line| looks_so(&line))
}

/// Reads the first line of a changeset.
fn read_header(path: &Path) -> Option<Header> {
    Lines::open(path).ok()?.header().cloned()
}

/// Reads a journal or a plan as far as it goes.
fn read(path: &Path) -> (ListedJournal, Option<RunRecord>) {
    let (mut header, mut rows) = (None, 0);
    let mut items = ChangedItems::default();
    let mut contents = || -> Result<Contents, LineFault> {
        let mut lines = Lines::open(path)?;
        header = lines.header().cloned();
        while let Some(change) = lines.read()? {
            rows = lines.rows();
            items.add(&change);
        }
        lines.finish()
    };
    let (state, problem, record) = match contents() {
        Ok(contents) => {
            let state = file_state(&contents);
            let is_plan = state == FileState::Saved;
            (state, None, (!is_plan).then(|| record(&contents, items)))
        }
        Err(fault) => {
            let (state, problem) = match fault {
                LineFault::Unreadable(error) => (FileState::Unreadable, reason(&error)),
                LineFault::CutShort(damage) => (FileState::CutShort, damage.to_string()),
                LineFault::Damaged(damage) => (FileState::Damaged, damage.to_string()),
            };
            (state, Some(problem), None)
        }
    };
    let journal = ListedJournal {
        file: path.display().to_string(),
        header,
        rows,
        state,
        problem,
        fate: None,
    };
    (journal, record)
}

/// Makes the record of a whole journal.
fn record(contents: &Contents, items: ChangedItems) -> RunRecord {
    let Contents {
        header,
        left,
        committed,
        ..
    } = contents;
    let undoes = header.undoes.as_ref();
    RunRecord {
        run: header.run.clone(),
        time: header.time.clone(),
        database: header.database.clone(),
        purpose: header.purpose,
        undoes: undoes.map(|undone| undone.run.clone()),
        is_complete: *left == 0 && undoes.is_some_and(|undone| !undone.is_partial()),
        is_committed: *committed,
        items,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_hexadecimal_digits_is_a_run_and_anything_else_a_file() {
        for (word, run) in [
            ("1a2b3c4d", Some("1a2b3c4d")),
            ("1A2B", Some("1a2b")),
            ("beef", Some("beef")),
            ("./beef", None),
            ("bee", None),
            ("1a2b3c4d5", None),
            ("fix-1a2b3c4d", None),
            ("journal", None),
        ] {
            let named = NamedJournal::read(Path::new(word));
            let expected = match run {
                Some(run) => NamedJournal::Run(run.to_owned()),
                None => NamedJournal::File(PathBuf::from(word)),
            };
            assert_eq!(named, expected, "{word}");
        }
    }
}
