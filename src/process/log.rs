//! Tells on stderr what is done and how long it takes, with -v; with -vv, each statement as well.
//!
//! sqlx announces each statement as an event of `tracing`, with its text and never with a value
//! that is bound to it. This is the subscriber; other events are not asked for, as the notices of a
//! server may hold values.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::cli::verbosity::Verbosity;
use crate::db::connect::STATEMENT_EVENTS;
use crate::process::stderr;
use crate::report::shown_text::count;

/// The log of the process; empty until [`begin`] is called, and for good without `-v`.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    begun: Instant,
    tells_statements: bool,
    counts: Mutex<Counts>,
}

/// What was counted since the beginning, and since the stage began.
struct Counts {
    total: Count,
    stage: Option<(&'static str, Instant, Count)>,
}

/// How many statements were run, and how many rows they returned or wrote.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    statements: usize,
    rows: usize,
}

impl Count {
    fn add(&mut self, rows: usize) {
        self.statements += 1;
        self.rows += rows;
    }
}

/// "2 statements, 1 row".
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { statements, rows } = *self;
        let statements = count(statements, "statement");
        write!(f, "{statements}, {}", count(rows, "row"))
    }
}

/// Begins to tell what is done.
pub(crate) fn begin(verbosity: Verbosity) {
    if verbosity == Verbosity::Off {
        return;
    }
    let log = Log {
        begun: Instant::now(),
        tells_statements: verbosity >= Verbosity::Statements,
        counts: Mutex::new(Counts {
            total: Count::default(),
            stage: None,
        }),
    };
    if LOG.set(log).is_ok() {
        // Nothing else of this process sets one.
        let _ = tracing::subscriber::set_global_default(StatementSubscriber);
    }
}

/// Prints a line about what is done, if `-v` was given.
pub(crate) fn tell(what: impl fmt::Display) {
    if let Some(log) = LOG.get() {
        log.tell(&what);
    }
}

/// Ends the stage that was begun before, and tells how long it took; begins the next, if any.
pub(crate) fn stage(next: Option<&'static str>) {
    let Some(log) = LOG.get() else { return };
    let goes_on = |(name, ..): &(&str, Instant, Count)| Some(*name) == next;
    if log.counts().stage.as_ref().is_some_and(goes_on) {
        return;
    }
    let next = next.map(|name| (name, Instant::now(), Count::default()));
    let ended = std::mem::replace(&mut log.counts().stage, next);
    if let Some((name, begun, counted)) = ended {
        let took = begun.elapsed().as_secs_f64();
        log.tell(&format_args!("{name}: {counted}, {took:.3} s"));
    }
}

/// Tells how the run ended.
pub(crate) fn end(code: u8) {
    let Some(log) = LOG.get() else { return };
    stage(None);
    let total = log.counts().total;
    log.tell(&format_args!("end: exit code {code}, {total}"));
}

impl Log {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // A panic elsewhere leaves the numbers usable.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, what: &dyn fmt::Display) {
        let since = self.begun.elapsed().as_secs_f64();
        stderr::log(format_args!("+{since:.3} s: {what}"));
    }

    fn count(&self, statement: &Statement) {
        let rows = usize::try_from(statement.rows).unwrap_or(usize::MAX);
        {
            let mut counts = self.counts();
            counts.total.add(rows);
            if let Some((_, _, stage)) = &mut counts.stage {
                stage.add(rows);
            }
        }
        if self.tells_statements {
            let took = statement.took.as_secs_f64() * 1000.0;
            let rows = count(rows, "row");
            let text: Vec<&str> = statement.text().split_whitespace().collect();
            let text = text.join(" ");
            self.tell(&format_args!("{took:.1} ms, {rows}: {text}"));
        }
    }
}

/// A statement as sqlx announces it.
#[derive(Debug, Default)]
struct Statement {
    /// The whole text; empty where the summary is all of it.
    whole: String,
    summary: String,
    rows: u64,
    took: Duration,
}

impl Statement {
    fn text(&self) -> &str {
        match self.whole.trim() {
            "" => &self.summary,
            whole => whole,
        }
    }
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // Of a SELECT both numbers are the same.
        if ["rows_affected", "rows_returned"].contains(&field.name()) {
            self.rows = self.rows.max(value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.took = Duration::try_from_secs_f64(value).unwrap_or_default();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The subscriber of the events that announce statements. It takes no other events.
struct StatementSubscriber;

impl Subscriber for StatementSubscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == STATEMENT_EVENTS
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // sqlx announces statements as DEBUG, and slow ones as WARN.
        Some(LevelFilter::DEBUG)
    }

    fn event(&self, event: &Event<'_>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        if let Some(log) = LOG.get() {
            log.count(&statement);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
