//! The files that hold changesets: journals, which `undo` takes, and saved plans.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::{Timestamp, Unit};

use crate::cli::repair::{JournalArgs, WriteArgs};
use crate::database::Database;
use crate::error::{ErrorKind, Failure};
use crate::process::atomic_file::folder_of;
use crate::process::invocation::Run;
use crate::process::stderr::warn;
use crate::repair::changeset::{
    Change, ChangesetPurpose, Contents, Damage, Decoder, Encoder, Header, RowLine,
};

impl Run {
    /// Builds the first line of a changeset of this run.
    pub(crate) fn header(&self, purpose: ChangesetPurpose, database: &Database) -> Header {
        let mut header = Header::new(purpose, self.id().to_owned(), now(), database.identity());
        header.user = Some(database.user.clone());
        header
    }
}

/// Returns the time in UTC, to the second.
pub(crate) fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}

/// The file of a new journal or plan. Each run of the transaction begins a [`ChangesetDraft`] in
/// it.
///
/// It deletes itself when dropped, unless the last draft was sealed.
#[derive(Debug)]
pub(crate) struct ChangesetFile {
    path: PathBuf,
    file: BufWriter<File>,
    is_sealed: bool,
}

/// A changeset of which the first line is written, and to which rows are added.
#[derive(Debug)]
pub(crate) struct ChangesetDraft<'a> {
    out: &'a mut ChangesetFile,
    encoder: Encoder,
}

/// A whole changeset that is on disk: only with it may the transaction be committed.
#[derive(Debug)]
pub(crate) struct SealedChangeset<'a> {
    out: &'a mut ChangesetFile,
    encoder: Encoder,
    /// How long the file is with the closing line.
    length: u64,
}

impl ChangesetFile {
    /// Opens the journal of a run. A dry run has none; if it names one, this only makes sure that
    /// the journal could be created.
    pub(crate) fn of_run(
        write: &WriteArgs,
        command: &str,
        run: &Run,
    ) -> Result<Option<Self>, Failure> {
        if !write.dry_run {
            return Self::journal(&write.journal, command, run);
        }
        if write.journal.journal.is_some() {
            Self::rehearse(&write.journal)?;
        }
        Ok(None)
    }

    /// Opens the journal of a run: where `--journal` says, else in a folder of the user's own.
    ///
    /// `None` with `--no-journal`.
    fn journal(args: &JournalArgs, command: &str, run: &Run) -> Result<Option<Self>, Failure> {
        if args.no_journal {
            return Ok(None);
        }
        let time = now().replace([':', '-'], "");
        let name = format!("{command}-{time}-{}.ndjson", run.id());
        let path = match &args.journal {
            Some(path) if path.is_dir() => path.join(name),
            Some(path) => path.clone(),
            None => {
                let folder = state_folder()?;
                let made = DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&folder);
                made.map_err(|error| cannot_make("journal's folder", &folder, error))?;
                folder.join(name)
            }
        };
        Self::create("journal", path).map(Some)
    }

    /// Returns where the journal of a `fix` would go. Fails if it could not be created there.
    ///
    /// The file that is created to find that out is deleted at once.
    ///
    /// `None` with `--no-journal`.
    pub(crate) fn rehearse(args: &JournalArgs) -> Result<Option<PathBuf>, Failure> {
        if args.no_journal {
            return Ok(None);
        }
        let (place, folder) = match &args.journal {
            Some(path) if path.is_dir() => (path.clone(), path.clone()),
            Some(path) if path.symlink_metadata().is_ok() => {
                let exists = std::io::ErrorKind::AlreadyExists.into();
                return Err(cannot_make("journal", path, exists));
            }
            Some(path) => (path.clone(), folder_of(path).to_owned()),
            None => {
                let folder = state_folder()?;
                // The first repair creates the folders that are missing.
                let existing = folder.ancestors().find(|folder| folder.exists());
                let existing = existing.unwrap_or(&folder).to_owned();
                (folder, existing)
            }
        };
        let probe = folder.join(format!(".mcp-prune-doctor-{}", Run::new().id()));
        new_file(&probe)
            .and_then(|_| std::fs::remove_file(&probe))
            .map_err(|error| cannot_make("journal", &place, error))?;
        Ok(Some(place))
    }

    /// Opens the file of a plan.
    pub(crate) fn plan(path: &Path) -> Result<Self, Failure> {
        Self::create("plan", path.to_owned())
    }

    fn create(what: &str, path: PathBuf) -> Result<Self, Failure> {
        let file = new_file(&path).map_err(|error| cannot_make(what, &path, error))?;
        if is_open_to_others(folder_of(&path), &file) {
            warn(format_args!(
                "others may write to the folder of the {what} {}: keep it where only you may, for \
                 what is in it gets into the database",
                path.display()
            ));
        }
        Ok(Self {
            path,
            file: BufWriter::new(file),
            is_sealed: false,
        })
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Empties the file and writes the first line, when a transaction begins or starts over.
    pub(crate) fn begin(&mut self, header: Header) -> Result<ChangesetDraft<'_>, Failure> {
        self.is_sealed = false;
        let mut encoder = Encoder::default();
        let line = encoder.header(header);
        let begun = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().set_len(0))
            .and_then(|()| self.file.seek(SeekFrom::Start(0)).map(drop))
            .and_then(|()| self.file.write_all(line.as_bytes()));
        begun.map_err(|error| self.failed(error))?;
        Ok(ChangesetDraft { out: self, encoder })
    }

    /// Writes `line`, and waits until everything written is on disk.
    fn write_through(&mut self, line: &str) -> std::io::Result<()> {
        self.file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.get_ref().sync_all())
    }

    fn failed(&self, error: std::io::Error) -> Failure {
        cannot("write", &self.path, error)
            .hint("nothing was written to the database; make room, or name a file elsewhere")
    }
}

impl Drop for ChangesetFile {
    fn drop(&mut self) {
        if !self.is_sealed {
            // If that fails, the file lacks its closing line, and so no undo takes it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl<'a> ChangesetDraft<'a> {
    /// Returns whether it is a plan.
    pub(crate) fn is_plan(&self) -> bool {
        self.encoder.is_plan()
    }

    /// Writes the lines of changes.
    pub(crate) fn rows<C>(&mut self, changes: impl IntoIterator<Item = C>) -> Result<(), Failure>
    where
        RowLine: From<C>,
    {
        for change in changes {
            let line = self.encoder.row(change);
            let written = self.out.file.write_all(line.as_bytes());
            written.map_err(|error| self.out.failed(error))?;
        }
        Ok(())
    }

    /// Waits until everything written so far is on disk, so that little is left to wait for when
    /// it is sealed.
    pub(crate) fn sync(&mut self) -> Result<(), Failure> {
        let synced = self.out.write_through("");
        synced.map_err(|error| self.out.failed(error))
    }

    /// Notes how many columns an undo leaves as they are, because they were changed since.
    pub(crate) fn leave(&mut self, columns: usize) {
        let columns = u64::try_from(columns).unwrap_or(u64::MAX);
        self.encoder.leave(columns);
    }

    /// Writes the closing line and waits until the file, and its name in its folder, are on disk.
    pub(crate) fn seal(self) -> Result<SealedChangeset<'a>, Failure> {
        let Self { out, mut encoder } = self;
        let sealed = out
            .write_through(&encoder.end())
            .and_then(|()| File::open(folder_of(&out.path))?.sync_all())
            .and_then(|()| out.file.stream_position());
        let length = sealed.map_err(|error| out.failed(error))?;
        out.is_sealed = true;
        Ok(SealedChangeset {
            out,
            encoder,
            length,
        })
    }
}

impl SealedChangeset<'_> {
    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        self.out.path()
    }

    /// Adds that the repair was committed. If that fails, the file is left as it was sealed.
    pub(crate) fn committed(&mut self) -> Result<(), Failure> {
        let line = self.encoder.committed(now());
        // Not through the buffer, which would write the rest of the line when it is dropped.
        let mut file = self.out.file.get_ref();
        let written = file.write_all(line.as_bytes());
        written.and_then(|()| file.sync_all()).map_err(|error| {
            // If that fails too, the file ends in half a line, which its readers allow.
            let _ = file.set_len(self.length).and_then(|()| file.sync_all());
            cannot("finish", &self.out.path, error)
        })
    }
}

/// Creates a file that was not there. Only its owner may read it: it says who may use what.
pub(crate) fn new_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// Returns whether another user may replace `file`, which this user has just created in `folder`.
///
/// The group of `file` does not count as somebody else: many systems give each user a group.
fn is_open_to_others(folder: &Path, file: &File) -> bool {
    let (Ok(folder), Ok(file)) = (folder.metadata(), file.metadata()) else {
        return false;
    };
    let mode = folder.mode();
    mode & 0o002 != 0 || (mode & 0o020 != 0 && folder.gid() != file.gid())
}

/// Builds the error for a new file that cannot be created, with a hint where it can be.
fn cannot_make(what: &str, path: &Path, error: std::io::Error) -> Failure {
    let hint = if error.kind() == std::io::ErrorKind::AlreadyExists {
        "no file is written over; name one that is not there yet"
    } else {
        "name a file in a folder you may write"
    };
    let option = if what == "plan" {
        "--plan-out"
    } else {
        "--journal"
    };
    cannot(&format!("make the {what}"), path, error)
        .hint(format_args!("nothing was done; {hint}, with {option}"))
}

pub(super) fn cannot(doing: &str, path: &Path, error: std::io::Error) -> Failure {
    let failure = Failure::caused(ErrorKind::Error, error);
    failure.context(format!("cannot {doing} {}", path.display()))
}

/// Returns the folder where programs keep data between runs.
///
/// Source: XDG Base Directory Specification 0.8, `$XDG_STATE_HOME`.
pub(super) fn state_folder() -> Result<PathBuf, Failure> {
    let absolute = |variable| {
        let folder = std::env::var_os(variable).map(PathBuf::from);
        folder.filter(|folder| folder.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME");
    let state = state.or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let folder = state.map(|state| state.join("mcp-prune"));
    folder.ok_or_else(|| {
        Failure::new(
            ErrorKind::Error,
            "there is no folder for the journal: neither XDG_STATE_HOME nor HOME is set",
        )
        .hint("say --journal FILE, or --no-journal to do without undo")
    })
}

/// A changeset on disk, whole and unedited.
#[derive(Debug)]
pub(crate) struct SavedChangeset {
    path: PathBuf,
    /// What it is.
    pub(crate) contents: Contents,
}

impl SavedChangeset {
    /// Reads and checks the whole file.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let contents = || -> Result<Contents, LineFault> {
            let mut lines = Lines::open(path)?;
            while lines.read()?.is_some() {}
            lines.finish()
        };
        Ok(Self {
            path: path.to_owned(),
            contents: contents().map_err(|fault| fault.failure(path))?,
        })
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file again and returns its changes.
    pub(crate) fn changes(&self) -> Result<Lines, Failure> {
        Lines::open(&self.path).map_err(|fault| fault.failure(&self.path))
    }

    /// Fails if the changeset is for another purpose than those that fit.
    pub(crate) fn check_purpose(
        &self,
        fits: &[ChangesetPurpose],
        hint: &str,
    ) -> Result<(), Failure> {
        if fits.contains(&self.contents.header.purpose) {
            return Ok(());
        }
        let message = format!("{} is for something else", self.path.display());
        Err(Failure::new(ErrorKind::Usage, message).hint(hint))
    }
}

/// Why a changeset file cannot be read further.
#[derive(Debug)]
pub(super) enum LineFault {
    /// The file cannot be read.
    Unreadable(std::io::Error),
    /// The file ends too soon: before its closing line, or within a line.
    CutShort(Damage),
    /// A line is damaged, or another version wrote it.
    Damaged(Damage),
}

impl LineFault {
    /// Builds the error for the file at `path`.
    fn failure(self, path: &Path) -> Failure {
        match self {
            Self::Unreadable(error) => cannot("read", path, error),
            Self::CutShort(damage) | Self::Damaged(damage) => damaged(path, &damage),
        }
    }
}

/// The changes of a changeset file, one after the other.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    decoder: Decoder,
}

impl Lines {
    /// Opens a file and reads its first line.
    pub(super) fn open(path: &Path) -> Result<Self, LineFault> {
        let mut lines = Self {
            path: path.to_owned(),
            reader: BufReader::new(open_regular(path).map_err(LineFault::Unreadable)?),
            decoder: Decoder::default(),
        };
        if let Some(line) = lines.line()? {
            lines.decode(&line)?;
        }
        Ok(lines)
    }

    /// Returns the first line; `None` where the file is empty.
    pub(super) fn header(&self) -> Option<&Header> {
        self.decoder.header()
    }

    /// Returns how many rows of the database the changes write that were read so far.
    pub(super) fn rows(&self) -> u64 {
        self.decoder.rows()
    }

    /// Reads the next changes, until they have `most` rows or more; none at the end.
    pub(crate) fn take_chunk(&mut self, most: usize) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        let mut rows = 0;
        while rows < most
            && let Some(change) = self.next().transpose()?
        {
            rows += change.size();
            changes.push(change);
        }
        Ok(changes)
    }

    /// Reads the next change; `None` at the end.
    pub(super) fn read(&mut self) -> Result<Option<Change>, LineFault> {
        while let Some(line) = self.line()? {
            if let Some(change) = self.decode(&line)? {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    /// Returns the contents, once every change was read.
    pub(super) fn finish(self) -> Result<Contents, LineFault> {
        self.decoder.finish().map_err(LineFault::CutShort)
    }

    /// Reads the text of the next line, with its newline if it has one; `None` at the end.
    fn line(&mut self) -> Result<Option<String>, LineFault> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        let read = read.map_err(LineFault::Unreadable)?;
        Ok((read > 0).then_some(line))
    }

    /// Decodes a line; a row yields its change.
    fn decode(&mut self, line: &str) -> Result<Option<Change>, LineFault> {
        match line.strip_suffix('\n') {
            Some(line) => self.decoder.line(line).map_err(LineFault::Damaged),
            None => self.decoder.last_line(line).map_err(LineFault::CutShort),
        }
    }
}

/// Opens a regular file to read it. Opening anything else might wait for somebody to write into it.
pub(super) fn open_regular(path: &Path) -> std::io::Result<File> {
    let metadata = path.metadata()?;
    if metadata.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    File::open(path)
}

impl Iterator for Lines {
    type Item = Result<Change, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let change = self.read().transpose()?;
        Some(change.map_err(|fault| fault.failure(&self.path)))
    }
}

fn damaged(path: &Path, damage: &Damage) -> Failure {
    Failure::new(ErrorKind::Error, format!("{}, {damage}", path.display())).hint(
        "nothing was done; use the file as it was written. A run that ended before its commit has \
         nothing to take back",
    )
}
