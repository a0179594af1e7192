//! Where a report goes: standard output, or a file that is there as a whole or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{ErrorKind, Failure};
use crate::process::atomic_file::AtomicFile;
use crate::process::print::is_damage;
use crate::process::signals::{Interrupt, ended};
use crate::report::render::ReportFormat;

/// Where a report goes.
#[derive(Debug)]
pub(crate) struct ReportTo {
    /// The file that it goes to; `None` is stdout.
    file: Option<AtomicFile>,
    path: PathBuf,
    written: WriteProgress,
}

/// How much of a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteProgress {
    Nothing,
    /// Perhaps half a line at the end.
    Part,
    Whole,
}

impl ReportTo {
    /// Returns the place for a report on stdout.
    pub(crate) fn stdout() -> Self {
        Self {
            file: None,
            path: PathBuf::new(),
            written: WriteProgress::Nothing,
        }
    }

    /// Opens the file for a report. Fails if it cannot be written.
    pub(crate) fn file(path: &Path) -> Result<Self, Failure> {
        let file = AtomicFile::beside(path).map_err(|error| {
            cannot_write(path, error)
                .hint("nothing was done; say --output FILE with a file in a folder you may write")
        })?;
        Ok(Self {
            file: Some(file),
            path: path.to_owned(),
            ..Self::stdout()
        })
    }

    /// Returns whether the report goes to a file.
    pub(crate) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Writes the output of `write`.
    pub(crate) async fn write(
        &mut self,
        interrupt: &mut Interrupt,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Failure> {
        self.written = WriteProgress::Part;
        let file = self.file.as_ref().map(|file| file.file().try_clone());
        let file = file
            .transpose()
            .map_err(|error| cannot_write(&self.path, error))?;
        // On a thread of its own, so that a signal still ends the run while nobody reads.
        let writing = tokio::task::spawn_blocking(move || match file {
            Some(file) => buffered(file, write),
            None => buffered(io::stdout().lock(), write),
        });
        let writing = async {
            writing
                .await
                .map_err(|error| anyhow::Error::from(error).into())
        };
        let written = interrupt
            .race(writing, |signal| {
                ended(signal, " while the report was printed")
            })
            .await?;
        written.map_err(|error| {
            if is_damage(&error) {
                Failure::caused(ErrorKind::Error, error)
                    .context("cannot read back the rows of the report")
                    .hint("check the disk with the folder for temporary files (TMPDIR)")
            } else if self.is_file() {
                cannot_write(&self.path, error)
            } else if error.kind() == io::ErrorKind::BrokenPipe {
                Failure::new(ErrorKind::BrokenPipe, "standard output was closed")
            } else {
                Failure::caused(ErrorKind::Error, error).context("cannot write the report")
            }
        })?;
        self.written = WriteProgress::Whole;
        Ok(())
    }

    /// Adds the error to a report whose format can end with one; nothing where a line was cut
    /// short.
    pub(crate) fn end_with_error(
        &mut self,
        format: &dyn ReportFormat,
        run: &str,
        failure: &Failure,
        code: u8,
    ) {
        if self.written == WriteProgress::Part {
            return;
        }
        // If stdout is gone, nobody can be told.
        let told = match &self.file {
            Some(file) => format.write_error(run, failure, code, &mut file.file()),
            None => format.write_error(run, failure, code, &mut io::stdout().lock()),
        };
        if told.is_ok_and(|is_said| is_said) {
            self.written = WriteProgress::Whole;
        }
    }

    /// Replaces the old file with the new one, if that is whole.
    pub(crate) fn place(&mut self) -> Result<(), Failure> {
        let whole = self.written == WriteProgress::Whole;
        let Some(file) = self.file.take().filter(|_| whole) else {
            return Ok(());
        };
        let placed = file.replace();
        placed.map_err(|error| cannot_write(&self.path, error))
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    let failure = Failure::caused(ErrorKind::Error, error);
    failure.context(format!("cannot write --output {}", path.display()))
}

fn buffered(
    out: impl Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let written = write(&mut out).and_then(|()| out.flush());
    // After a failure, flushing the rest of the buffer would only fail again.
    drop(out.into_parts());
    written
}
