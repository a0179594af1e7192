//! The file of `--undo-sql`. As with a journal, no file is written over, only its owner may read
//! it, and it is whole or not there.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{ErrorKind, Failure};
use crate::process::atomic_file::folder_of;
use crate::process::shown_command_line::command_line;
use crate::report::Report;
use crate::report::sql_script::{Direction, write};
use crate::workflow::changeset_file::new_file;

/// A new file for the script that takes another one back. It deletes itself when dropped, unless
/// the script was written.
#[derive(Debug)]
pub(crate) struct UndoScriptFile {
    path: PathBuf,
    file: File,
    is_whole: Cell<bool>,
}

impl UndoScriptFile {
    /// Creates the file. Fails if there is one.
    pub(crate) fn new(path: &Path) -> Result<Self, Failure> {
        let file = new_file(path).map_err(|error| {
            let hint = if error.kind() == std::io::ErrorKind::AlreadyExists {
                "nothing was done; no file is written over: name one that is not there yet, with \
                 --undo-sql"
            } else {
                "nothing was done; name a file in a folder you may write, with --undo-sql"
            };
            cannot("make", path, error).hint(hint)
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            is_whole: Cell::new(false),
        })
    }

    /// Writes the script of a dry run, and waits until the file is on disk.
    pub(crate) fn save(&self, report: &Report) -> Result<(), Failure> {
        let mut out = BufWriter::new(&self.file);
        let written = write(report, Direction::TakeBack, &command_line(), &mut out)
            .and_then(|()| out.flush())
            .and_then(|()| self.file.sync_all())
            .and_then(|()| File::open(folder_of(&self.path))?.sync_all());
        written.map_err(|error| {
            cannot("write", &self.path, error).hint("no script was made; make room")
        })?;
        self.is_whole.set(true);
        Ok(())
    }
}

impl Drop for UndoScriptFile {
    fn drop(&mut self) {
        if !self.is_whole.get() {
            // If that fails, the file is empty or its last statement is cut short: nothing runs it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn cannot(doing: &str, path: &Path, error: std::io::Error) -> Failure {
    let failure = Failure::caused(ErrorKind::Error, error);
    failure.context(format!("cannot {doing} the script {}", path.display()))
}
