//! Writes to standard error what a person should know besides the report. With -q it is held back
//! until there is a finding, a change or an error.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;
use terminal_size::{Width, terminal_size_of};

use crate::command_line::CommandLine;
use crate::litellm::api_key::without_keys;
use crate::printable::lines;
use crate::prose::wrapped;

/// There is one for the process, as there is one stderr.
static CONSOLE: Mutex<Console> = Mutex::new(Console {
    quiet: false,
    held_back: None,
    told: Vec::new(),
    bar: None,
});

struct Console {
    quiet: bool,
    /// The text held back so far; `None` where text is printed at once.
    held_back: Option<String>,
    /// The warnings and notes so far: a transaction that runs again does not repeat them.
    told: Vec<String>,
    /// The progress bar at the bottom of the terminal.
    bar: Option<ProgressBar>,
}

fn console() -> MutexGuard<'static, Console> {
    // A panic elsewhere leaves the text usable.
    CONSOLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Console {
    /// Prints lines, without any API key that was given in place of a name. Control characters that
    /// others put into a name are shown and not obeyed.
    fn say(&mut self, line: &dyn Display) {
        let line = line.to_string();
        let line = without_keys(&line);
        let line = lines(&line);
        // If stderr is gone, nobody can be told.
        let _ = match &mut self.held_back {
            Some(text) => writeln!(text, "{line}").map_err(io::Error::other),
            None => self.print(|| writeln!(io::stderr(), "{}", wrapped(&line, columns()))),
        };
    }

    fn tell(&mut self, line: String) {
        if !self.told.contains(&line) {
            self.say(&line);
            self.told.push(line);
        }
    }

    fn let_out(&mut self) {
        if let Some(text) = self.held_back.take() {
            let text = wrapped(&text, columns());
            let _ = self.print(|| io::stderr().write_all(text.as_bytes()));
        }
    }

    fn print<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

/// Returns the width of the terminal that stderr goes to; `None` where it goes elsewhere.
fn columns() -> Option<usize> {
    let (Width(columns), _) = terminal_size_of(io::stderr())?;
    Some(columns.into())
}

/// Prints a warning, once in a run: what a reader of the report should know first.
pub(crate) fn warn(warning: impl Display) {
    console().tell(format!("warning: {warning}"));
}

/// Prints a note, once in a run: what the command works on.
pub(crate) fn note(note: impl Display) {
    console().tell(note.to_string());
}

/// Prints a line about what is being done.
pub(crate) fn log(line: impl Display) {
    console().say(&line);
}

/// Begins to hold back all text.
pub(crate) fn hold_back() {
    let mut console = console();
    console.quiet = true;
    console.held_back = Some(String::new());
}

/// Returns whether `--quiet` was given.
pub(crate) fn is_quiet() -> bool {
    console().quiet
}

/// Prints all later text above this progress bar.
pub(crate) fn beside(bar: Option<ProgressBar>) {
    console().bar = bar;
}

/// Prints the text that was held back.
pub(crate) fn let_out() {
    console().let_out();
}

/// Prints a line, after all that was held back.
pub(crate) fn say(line: impl Display) {
    let mut console = console();
    console.let_out();
    console.say(&line);
}

/// Prints the output of `write`, after all that was held back.
pub(crate) fn show(
    write: impl FnOnce(&mut io::StderrLock<'static>) -> io::Result<()>,
) -> io::Result<()> {
    console().let_out();
    write(&mut io::stderr().lock())
}

/// Returns a command on a line of its own, and below it the sentences on what else to give.
pub(crate) fn indented(command: &CommandLine) -> String {
    let mut lines = vec![format!("  {command}")];
    lines.extend_from_slice(command.notes());
    lines.join("\n")
}
