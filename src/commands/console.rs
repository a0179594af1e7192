//! Standard error: what a person should know besides the report, in order, or with -q held back until it
//! turns out that there is something to say.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;
use terminal_size::{Width, terminal_size_of};

use crate::printable::lines;
use crate::prose::wrapped;

use crate::litellm::api_key::without_keys;

/// One for the process, as its stderr is.
static CONSOLE: Mutex<Console> = Mutex::new(Console {
    quiet: false,
    held_back: None,
    told: Vec::new(),
    bar: None,
});

struct Console {
    quiet: bool,
    /// What was to be said so far, while it is not known whether to.
    held_back: Option<String>,
    /// The warnings and notes so far: a transaction that runs again does not repeat them.
    told: Vec<String>,
    /// What is at the bottom of the terminal, and is to stay there.
    bar: Option<ProgressBar>,
}

fn console() -> MutexGuard<'static, Console> {
    // What it holds is text, which is as good as before.
    CONSOLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Console {
    /// Says lines of this program, less any key that somebody took for a name; what others put into them
    /// is shown and not obeyed.
    fn say(&mut self, line: &dyn Display) {
        let line = line.to_string();
        let line = without_keys(&line);
        let line = lines(&line);
        // Nobody is left to tell if stderr is gone.
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

/// Returns how wide the terminal is that stderr goes to; `None` where it goes elsewhere.
fn columns() -> Option<usize> {
    let (Width(columns), _) = terminal_size_of(io::stderr())?;
    Some(columns.into())
}

/// Warns, once, of what a reader of the report should know first.
pub(crate) fn warn(warning: impl Display) {
    console().tell(format!("warning: {warning}"));
}

/// Notes, once, what the command works on.
pub(crate) fn note(note: impl Display) {
    console().tell(note.to_string());
}

/// Holds back what is said from here on.
pub(super) fn hold_back() {
    let mut console = console();
    console.quiet = true;
    console.held_back = Some(String::new());
}

/// Whether only what matters is to be said.
pub(super) fn is_quiet() -> bool {
    console().quiet
}

/// Has what is said appear above this bar from here on.
pub(super) fn beside(bar: Option<ProgressBar>) {
    console().bar = bar;
}

/// Says what was held back: there is something to say.
pub(super) fn let_out() {
    console().let_out();
}

/// Says a line, after all that was held back.
pub(super) fn say(line: impl Display) {
    let mut console = console();
    console.let_out();
    console.say(&line);
}

/// Shows what `write` writes, after all that was held back.
pub(super) fn show(
    write: impl FnOnce(&mut io::StderrLock<'static>) -> io::Result<()>,
) -> io::Result<()> {
    console().let_out();
    write(&mut io::stderr().lock())
}
