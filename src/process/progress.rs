//! Shows on a terminal's stderr what a long run is doing, and clears it when the run is done.

use std::fmt::Write;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::process::{log, stderr};

/// The progress of a run, stage by stage. Dropped, it is cleared from the terminal.
///
/// Off a terminal, and with -q, nothing is shown.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins to show progress, with the first stage.
    pub(crate) fn begin(doing: &'static str) -> Self {
        log::stage(Some(doing));
        if stderr::is_quiet() || !io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The template is right, and has a test. If it were not, the default one would show less.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}{rows} ({elapsed})") {
            bar.set_style(style.tick_chars("|/-\\ ").with_key("rows", rows));
        }
        bar.set_message(doing);
        bar.enable_steady_tick(Duration::from_millis(200));
        stderr::beside(Some(bar.clone()));
        Self { bar }
    }

    /// Shows the next stage.
    pub(crate) fn stage(&self, doing: &'static str) {
        log::stage(Some(doing));
        self.bar.set_position(0);
        self.bar.reset_eta();
        self.bar.set_message(doing);
    }

    /// Adds rows that are done to the count of this stage.
    pub(crate) fn rows(&self, more: usize) {
        self.bar.inc(u64::try_from(more).unwrap_or(u64::MAX));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        log::stage(None);
        if !self.bar.is_hidden() {
            stderr::beside(None);
            self.bar.finish_and_clear();
        }
    }
}

/// Writes how many rows are done, and how many a second, once there are any.
fn rows(state: &ProgressState, out: &mut dyn Write) {
    if state.pos() > 0 {
        let (rows, rate) = (HumanCount(state.pos()), state.per_sec());
        // This writes to memory, which does not fail.
        let _ = write!(out, ": {rows} rows, {rate:.0}/s");
    }
}
