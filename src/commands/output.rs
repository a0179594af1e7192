//! Writes a report to stdout or a file, in the form that the operator asked for.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Interrupt;
use super::atomic_file::AtomicFile;
use super::console;
use super::run::Run;
use super::shown_url::ShownUrl;
use crate::cli::{Format, OutputArgs};
use crate::failure::{Failure, Kind};
use crate::repair::selection::NamedOwner;
use crate::report::Render;
use crate::report::csv::Cells;
use crate::report::found::Found;
use crate::report::ndjson;
use crate::shell::quoted;

/// Where a report goes.
#[derive(Debug)]
pub(super) struct ReportTo {
    /// The file that it goes to; `None` is stdout.
    file: Option<AtomicFile>,
    path: PathBuf,
    written: Written,
}

/// How much of a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    /// Perhaps half a line at the end.
    Part,
    Whole,
}

impl ReportTo {
    /// Returns the place for a report on stdout.
    pub(super) fn stdout() -> Self {
        Self {
            file: None,
            path: PathBuf::new(),
            written: Written::Nothing,
        }
    }

    /// Opens the file for a report. Fails if it cannot be written.
    pub(super) fn file(path: &Path) -> Result<Self, Failure> {
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
    pub(super) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Writes the output of `write`.
    pub(super) async fn write(
        &mut self,
        interrupt: &mut Interrupt,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Failure> {
        self.written = Written::Part;
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
            .race(writing, " while the report was printed")
            .await?;
        written.map_err(|error| {
            if self.is_file() {
                cannot_write(&self.path, error)
            } else if error.kind() == io::ErrorKind::BrokenPipe {
                Failure::new(Kind::BrokenPipe, "standard output was closed")
            } else {
                Failure::caused(Kind::Error, error).context("cannot write the report")
            }
        })?;
        self.written = Written::Whole;
        Ok(())
    }

    /// Adds the error as the last line of a stream; nothing where a line was cut short.
    pub(super) fn end_with_error(&mut self, run: &str, failure: &Failure, code: u8) {
        if self.written == Written::Part {
            return;
        }
        // If stdout is gone, nobody can be told.
        let told = match &self.file {
            Some(file) => ndjson::write_error(run, failure, code, &mut file.file()),
            None => ndjson::write_error(run, failure, code, &mut io::stdout().lock()),
        };
        if told.is_ok() {
            self.written = Written::Whole;
        }
    }

    /// Replaces the old file with the new one, if that is whole.
    pub(super) fn place(&mut self) -> Result<(), Failure> {
        let whole = self.written == Written::Whole;
        let Some(file) = self.file.take().filter(|_| whole) else {
            return Ok(());
        };
        let placed = file.replace();
        placed.map_err(|error| cannot_write(&self.path, error))
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    let failure = Failure::caused(Kind::Error, error);
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

/// Chooses whether plans are kept in memory or put aside, by what the form of the report needs.
pub(super) fn gathering(args: &OutputArgs) -> Found {
    match args.format {
        Format::Ndjson => Found::put_aside(),
        Format::Table | Format::Json | Format::Csv | Format::Markdown => Found::kept(),
    }
}

/// Builds the error for plans that cannot be put aside until they are printed.
pub(super) fn cannot_put_aside(error: io::Error) -> Failure {
    Failure::caused(Kind::Error, error)
        .context("cannot put the report aside")
        .hint("make room in the folder for temporary files, or name another with TMPDIR")
}

/// Prints a report as the operator asked for it.
pub(super) async fn print<R: Render + Send + Sync + 'static>(
    report: &Arc<R>,
    args: &OutputArgs,
    run: &mut Run,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    run.tally = Some(report.tally());
    if args.quiet && !report.matters(run.exit_zero) {
        if !run.report.is_file() {
            return Ok(());
        }
    } else {
        console::let_out();
    }
    let report = Arc::clone(report);
    let format = args.format;
    let cells = if args.csv_raw {
        Cells::Raw
    } else {
        Cells::Guarded
    };
    let look = args.look(run, &io::stdout());
    let render = move |out: &mut dyn Write| match format {
        Format::Table => report.table(look, out),
        Format::Json => report.json(out),
        Format::Ndjson => report.ndjson(out),
        Format::Csv => report.csv(cells, out),
        Format::Markdown => report.markdown(&command_line(), out),
    };
    run.report.write(interrupt, render).await
}

/// Prints how a run ended that asked first. A person has seen the plan, so a table only says what
/// is new.
pub(super) async fn print_end<R: Render + Send + Sync + 'static>(
    report: &Arc<R>,
    args: &OutputArgs,
    run: &mut Run,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    if run.report.is_file() {
        let look = args.look(run, &io::stderr());
        console::show(|out| report.closing(look, out)).map_err(anyhow::Error::from)?;
    } else if args.format == Format::Table {
        run.tally = Some(report.tally());
        let report = Arc::clone(report);
        let look = args.look(run, &io::stdout());
        let write = move |out: &mut dyn Write| report.closing(look, out);
        return run.report.write(interrupt, write).await;
    }
    print(report, args, run, interrupt).await
}

/// The options whose URLs may hold a password.
const WITH_URL: [&str; 2] = ["--db-url", "--notify-redis"];

/// Returns the command line as it may be shown to others, quoted for a shell.
fn command_line() -> String {
    let mut words = vec!["mcp-prune".to_owned()];
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if let Some((option, value)) = text.split_once('=')
            && let Some(shown) = without_secret(option, value)
        {
            words.push(quoted(format!("{option}={shown}")));
        } else if without_secret(&text, "").is_some() {
            let value = arguments.next().unwrap_or_default();
            let shown = without_secret(&text, &value.to_string_lossy());
            words.push(text.into_owned());
            words.push(quoted(shown.unwrap_or_default()));
        } else {
            words.push(quoted(&argument));
        }
    }
    words.join(" ")
}

/// Returns the value of `--db-url`, `--notify-redis` or `--owner` without a secret; `None` for any
/// other option.
fn without_secret(option: &str, value: &str) -> Option<String> {
    if WITH_URL.contains(&option) {
        Some(without_password(value))
    } else if option == "--owner" {
        let owner = value.parse::<NamedOwner>();
        Some(owner.map_or_else(|_| value.to_owned(), |owner| owner.argument()))
    } else {
        None
    }
}

/// Returns a URL without its password; `...` where the password cannot be told from the rest.
fn without_password(url: &str) -> String {
    ShownUrl::of(url).map_or_else(|| "...".to_owned(), |shown| shown.text)
}
