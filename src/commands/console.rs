//! Standard error: what a person should know besides the report, in order, or with -q held back until it
//! turns out that there is something to say.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One for the process, as its stderr is.
static CONSOLE: Mutex<Console> = Mutex::new(Console { held_back: None });

struct Console {
    /// What was to be said so far, while it is not known whether to.
    held_back: Option<String>,
}

fn console() -> MutexGuard<'static, Console> {
    // What it holds is text, which is as good as before.
    CONSOLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Console {
    fn say(&mut self, line: &dyn Display) {
        // Nobody is left to tell if stderr is gone.
        let _ = match &mut self.held_back {
            Some(text) => writeln!(text, "{line}").map_err(io::Error::other),
            None => writeln!(io::stderr(), "{line}"),
        };
    }

    fn let_out(&mut self) {
        if let Some(text) = self.held_back.take() {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

/// Warns of what a reader of the report should know first.
pub(crate) fn warn(warning: impl Display) {
    console().say(&format_args!("warning: {warning}"));
}

/// Notes what the command works on.
pub(crate) fn note(note: impl Display) {
    console().say(&note);
}

/// Holds back what is said from here on.
pub(super) fn hold_back() {
    console().held_back = Some(String::new());
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
