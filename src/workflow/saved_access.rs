//! The file that `access --save` writes and `access --since` compares with.
//!
//! It is NDJSON: a header, a line for each caller in the order of [`CallerPlace`], and a last line
//! without which the file is not whole. It holds no key: 16 characters of a hash tell keys apart.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::database::Database;
use crate::error::{ErrorKind, Failure};
use crate::litellm::ids::{EndUserId, TeamId, ToolsetId, UserId};
use crate::process::atomic_file::folder_of;
use crate::repair::changeset::Identity;
use crate::report::access::{ShownCaller, ShownServer, Via};
use crate::report::access_changes::{ComparedBasis, ComparedFile};
use crate::workflow::changeset_file::now;

/// The version of the format.
const FORMAT: u32 = 1;

/// The most that a line may have, in bytes. A limit keeps a wrong file from filling the memory.
const MOST_BYTES: u64 = 64 << 20;

/// What the first line says the file is.
const PURPOSE: &str = "access";

/// The place of a caller in the file. Two runs with the same options list callers in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CallerPlace {
    /// The position of the owner asked about.
    pub subject: usize,
    /// How the caller comes.
    pub via: Via,
    /// What tells the key apart, or the user of a session, or the team of a caller without a key.
    pub id: String,
    /// The end user on whose behalf it asks.
    pub end_user: Option<EndUserId>,
    /// The user behind it: of an agent, or of a team's caller without a key.
    pub user: Option<UserId>,
    /// The team of the human behind an agent.
    pub team: Option<TeamId>,
    /// The toolset on whose route it asks.
    pub toolset: Option<ToolsetId>,
}

/// What decides which callers are listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedCallers {
    /// Whether `--every-caller` was given.
    pub every_caller: bool,
    /// The end user of `--as`.
    pub end_user: Option<EndUserId>,
    /// The toolset of `--toolset`.
    pub toolset: Option<ToolsetId>,
    /// The owners asked about, by kind and id, in order.
    pub owners: Vec<String>,
}

/// What the answers depend on besides the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerBasis {
    /// The release whose rules were applied.
    pub release: String,
    /// Whether `--litellm-version` named it.
    pub release_was_named: bool,
    /// Whether the servers of every `config.yaml` were known.
    pub configs_known: bool,
    /// The settings by name; null for one that was not known.
    pub settings: BTreeMap<String, Option<bool>>,
}

impl AnswerBasis {
    /// Returns what a report says of it.
    pub(crate) fn shown(&self) -> ComparedBasis {
        let Self {
            release,
            release_was_named: _,
            configs_known,
            settings,
        } = self;
        ComparedBasis {
            release: release.clone(),
            configs_known: *configs_known,
            settings: settings.clone(),
        }
    }
}

/// The first line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedHeader {
    format: u32,
    purpose: String,
    /// The version of the tool that wrote it.
    pub tool: String,
    /// The run that wrote it.
    pub run: String,
    /// When that was, in UTC.
    pub time: String,
    /// The database.
    pub database: Identity,
    /// Which callers it lists.
    pub listed: ListedCallers,
    /// What the answers depend on.
    pub basis: AnswerBasis,
}

impl SavedHeader {
    /// Builds the first line of a file of now.
    pub(crate) fn new(
        run: &str,
        database: &Database,
        listed: ListedCallers,
        basis: AnswerBasis,
    ) -> Self {
        Self {
            format: FORMAT,
            purpose: PURPOSE.to_owned(),
            tool: crate::build_info::VERSION.to_owned(),
            run: run.to_owned(),
            time: now(),
            database: database.identity(),
            listed,
            basis,
        }
    }
}

/// A caller in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedCaller {
    /// Its place in the order.
    pub place: CallerPlace,
    /// Who asks.
    pub caller: ShownCaller,
    /// The servers that it may use.
    pub servers: Vec<ShownServer>,
    /// Whether nothing that was not known could change the answer.
    pub complete: bool,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SavedLine {
    Header(SavedHeader),
    Caller(SavedCaller),
    End { callers: usize },
}

/// A file being written. It takes its name once it is whole; dropped before, it is deleted.
#[derive(Debug)]
pub(crate) struct NewSavedAccess {
    path: PathBuf,
    temporary: NamedTempFile,
}

/// The lines of a file being written.
#[derive(Debug)]
pub(crate) struct SavedAccessWriter {
    out: BufWriter<File>,
    callers: usize,
}

impl NewSavedAccess {
    /// Creates the file beside `path`, where there is none yet. Only its owner may read it: it says
    /// who may use what.
    pub(crate) fn beside(path: &Path) -> Result<Self, Failure> {
        let there = path.symlink_metadata().is_ok();
        let made = if there {
            let kind = io::ErrorKind::AlreadyExists;
            Err(io::Error::new(kind, "there is such a file already"))
        } else {
            let mut file = tempfile::Builder::new();
            let file = file.prefix(".mcp-prune-").suffix(".tmp");
            file.tempfile_in(folder_of(path))
        };
        let temporary = made.map_err(|error| cannot_save(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
        })
    }

    /// Returns what writes the lines.
    pub(crate) fn writer(&self) -> Result<SavedAccessWriter, Failure> {
        let file = self.temporary.as_file().try_clone();
        let file = file.map_err(|error| cannot_save(&self.path, error))?;
        Ok(SavedAccessWriter {
            out: BufWriter::with_capacity(1 << 16, file),
            callers: 0,
        })
    }

    /// Gives the whole file its name, and waits until it is on disk.
    pub(crate) fn place(self) -> Result<(), Failure> {
        let Self { path, temporary } = self;
        let placed = temporary.as_file().sync_all().and_then(|()| {
            let placed = temporary.persist_noclobber(&path);
            placed.map_err(|failed| failed.error)?;
            File::open(folder_of(&path))?.sync_all()
        });
        placed.map_err(|error| cannot_save(&path, error))
    }
}

impl SavedAccessWriter {
    /// Writes the first line.
    pub(crate) fn begin(&mut self, header: &SavedHeader) -> io::Result<()> {
        self.line(&SavedLine::Header(header.clone()))
    }

    /// Writes the line of a caller.
    pub(crate) fn caller(&mut self, caller: SavedCaller) -> io::Result<()> {
        self.callers += 1;
        self.line(&SavedLine::Caller(caller))
    }

    /// Writes the last line, and returns how many callers there are.
    pub(crate) fn end(mut self) -> io::Result<usize> {
        let callers = self.callers;
        self.line(&SavedLine::End { callers })?;
        self.out.flush()?;
        Ok(callers)
    }

    fn line(&mut self, line: &SavedLine) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }
}

/// Builds the error for a file that cannot be written.
pub(crate) fn cannot_save(path: &Path, error: io::Error) -> Failure {
    let hint = if error.kind() == io::ErrorKind::AlreadyExists {
        "no file is written over; name one that is not there yet"
    } else {
        "name a file in a folder you may write"
    };
    let failure = Failure::caused(ErrorKind::Error, error);
    let failure = failure.context(format!("cannot write --save {}", path.display()));
    failure.hint(format_args!("nothing was saved; {hint}"))
}

/// Saved access: a file that was read once and is whole.
#[derive(Debug)]
pub(crate) struct SavedAccess {
    path: PathBuf,
    header: SavedHeader,
}

impl SavedAccess {
    /// Reads and checks the whole file, a line at a time.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let (header, mut lines) = begin(path)?;
        let mut last: Option<CallerPlace> = None;
        for caller in &mut lines {
            let caller = caller.map_err(|error| unreadable(path, error))?;
            if last.is_some_and(|last| last > caller.place) {
                return Err(damaged(path, "its lines are not in their order"));
            }
            last = Some(caller.place);
        }
        Ok(Self {
            path: path.to_owned(),
            header,
        })
    }

    /// Returns what a report says of the file.
    pub(crate) fn shown(&self) -> ComparedFile {
        let SavedHeader {
            run, time, basis, ..
        } = &self.header;
        ComparedFile {
            file: self.path.display().to_string(),
            run: run.clone(),
            time: time.clone(),
            basis: basis.shown(),
        }
    }

    /// Opens the file again and returns its callers.
    pub(crate) fn callers(&self) -> Result<SavedCallers, Failure> {
        begin(&self.path).map(|(_, lines)| lines)
    }

    /// Refuses a file of another database.
    ///
    /// Databases are told apart as those of a changeset: see [`super::same_database`].
    pub(crate) fn refuse_another_database(&self, here: &Database) -> Result<(), Failure> {
        let (made, here) = (&self.header.database, here.identity());
        if made.may_be(&here) {
            return Ok(());
        }
        let path = self.path.display();
        let message = format!("--since {path} is of {made}, and this is {here}");
        Err(Failure::new(ErrorKind::Refused, message).hint(
            "connect to the database that the file is of; or say --other-database if this is a \
             copy, or the same database under another name, such as a replica",
        ))
    }

    /// Refuses a file that lists other callers than this run.
    pub(crate) fn refuse_other_options(&self, now: &ListedCallers) -> Result<(), Failure> {
        let ListedCallers {
            every_caller,
            end_user,
            toolset,
            owners,
        } = &self.header.listed;
        let named = |option: &str, value: Option<&str>| match value {
            Some(value) => format!("{option} {value}"),
            None => format!("no {option}"),
        };
        let end_users = [end_user, &now.end_user].map(|id| id.as_ref().map(EndUserId::as_str));
        let toolsets = [toolset, &now.toolset].map(|id| id.as_ref().map(ToolsetId::as_str));
        let options = |owners: &[String]| match owners {
            [] => "no owner".to_owned(),
            owners => owners.join(" "),
        };
        let (then, now) = if *every_caller != now.every_caller {
            let said = |is: bool| if is { "" } else { "no " }.to_owned() + "--every-caller";
            (said(*every_caller), said(now.every_caller))
        } else if *end_user != now.end_user {
            end_users.map(|id| named("--as", id)).into()
        } else if *toolset != now.toolset {
            toolsets.map(|id| named("--toolset", id)).into()
        } else if *owners != now.owners {
            (options(owners), options(&now.owners))
        } else {
            return Ok(());
        };
        let path = self.path.display();
        let message = format!("--since {path} was saved with {then}, and this run has {now}");
        Err(Failure::new(ErrorKind::Usage, message)
            .hint("name the same callers as then, or save again with the present options"))
    }
}

/// The callers of a file, one after the other; an error where it is not as it was written.
#[derive(Debug)]
pub(crate) struct SavedCallers {
    reader: BufReader<File>,
    read: usize,
    is_over: bool,
}

impl Iterator for SavedCallers {
    type Item = io::Result<SavedCaller>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let caller = self.read().transpose();
        self.is_over = !matches!(caller, Some(Ok(_)));
        caller
    }
}

impl SavedCallers {
    fn read(&mut self) -> io::Result<Option<SavedCaller>> {
        let line = read_line(&mut self.reader)?;
        let Some(line) = line else {
            return Err(broken("it ends before its last line, so it was cut short"));
        };
        match serde_json::from_str(&line) {
            Ok(SavedLine::Caller(caller)) => {
                self.read += 1;
                Ok(Some(caller))
            }
            Ok(SavedLine::End { callers }) if callers != self.read => {
                Err(broken("lines are missing"))
            }
            Ok(SavedLine::End { .. }) => match read_line(&mut self.reader)? {
                None => Ok(None),
                Some(_) => Err(broken("lines follow its last one")),
            },
            Ok(SavedLine::Header(_)) | Err(_) => {
                let at = self.read + 2;
                Err(broken(&format!("line {at} is not as it was written")))
            }
        }
    }
}

/// Reads a line without its end; `None` where there is none, or it is not whole.
fn read_line(reader: &mut BufReader<File>) -> io::Result<Option<String>> {
    let mut line = String::new();
    reader.take(MOST_BYTES).read_line(&mut line)?;
    Ok(line.strip_suffix('\n').map(str::to_owned))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Opens a file and reads its first line.
fn begin(path: &Path) -> Result<(SavedHeader, SavedCallers), Failure> {
    /// What every version of the format has.
    #[derive(Deserialize)]
    struct AnyHeader {
        format: u32,
        purpose: String,
    }
    let file = File::open(path).map_err(|error| {
        let failure = Failure::caused(ErrorKind::Error, error);
        failure.context(format!("cannot read --since {}", path.display()))
    })?;
    let mut reader = BufReader::new(file);
    let first = read_line(&mut reader).map_err(|error| unreadable(path, error))?;
    let first = first.unwrap_or_default();
    let any: Option<AnyHeader> = serde_json::from_str(&first).ok();
    let Some(any) = any.filter(|any| any.purpose == PURPOSE) else {
        let message = format!("--since {} is no file of access --save", path.display());
        return Err(Failure::new(ErrorKind::Error, message)
            .hint("name a file that access --save wrote; a report of access is none"));
    };
    if any.format != FORMAT {
        let (path, format) = (path.display(), any.format);
        let message =
            format!("--since {path} has format {format}, and this mcp-prune reads format {FORMAT}");
        return Err(Failure::new(ErrorKind::Error, message)
            .hint("compare with the mcp-prune that saved it, or save again with this one"));
    }
    match serde_json::from_str(&first) {
        Ok(SavedLine::Header(header)) => {
            let callers = SavedCallers {
                reader,
                read: 0,
                is_over: false,
            };
            Ok((header, callers))
        }
        Ok(_) | Err(_) => Err(damaged(path, "line 1 is not as it was written")),
    }
}

/// Builds the error for a file that can no longer be read, or is not as it was written.
pub(crate) fn unreadable(path: &Path, error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidData {
        return damaged(path, &error.to_string());
    }
    let failure = Failure::caused(ErrorKind::Error, error);
    failure.context(format!("cannot read --since {}", path.display()))
}

fn damaged(path: &Path, what: &str) -> Failure {
    let message = format!("--since {} is damaged: {what}", path.display());
    Failure::new(ErrorKind::Error, message)
        .hint("use the file as access --save wrote it; without it there is nothing to compare with")
}
