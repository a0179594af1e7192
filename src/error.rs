//! The one error type that reaches `main`: why a command could not do its work.
//!
//! A finding is never a [`Failure`]: stale references are the answer, not an error.

use std::fmt;

use crate::litellm::api_key::without_keys;
use crate::printable::{lines, one_line};

/// The kinds of failure that a caller or a script treats differently.
///
/// `exit_code.rs` gives each its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Anything without a kind of its own; nothing was written.
    Error,
    /// A guard refused to work on this database.
    Refused,
    /// The database no longer holds what was planned or agreed to.
    Moved,
    /// Others were writing the same rows, and a lock could not be had in time.
    Busy,
    /// The server ended the transaction in favour of another one: a deadlock, or a serialization
    /// failure. The same work may succeed in a new transaction.
    Collided,
    /// Another run of this tool holds the lock that allows one run at a time.
    Taken,
    /// No connection, no authentication, or a missing privilege.
    Access,
    /// The command line is wrong.
    Usage,
    /// The reader of standard output went away.
    BrokenPipe,
    /// A signal, by its number.
    Interrupted(u8),
}

/// What happened, in short.
impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "it failed",
            Self::Refused => "a guard refused",
            Self::Moved => "changed meanwhile",
            Self::Busy => "busy: others hold locks",
            Self::Collided => "busy: others write the same rows",
            Self::Taken => "busy: another run is at work",
            Self::Access => "no access",
            Self::Usage => "wrong usage",
            Self::BrokenPipe => "nobody reads the output",
            Self::Interrupted(signal) => return write!(f, "ended by signal {signal}"),
        })
    }
}

/// Why a command could not do its work, and what the operator can do about it.
#[derive(Debug)]
pub struct Failure {
    kind: ErrorKind,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// Makes a failure of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self::caused(kind, anyhow::anyhow!("{message}"))
    }

    /// Makes a failure of `kind` out of an error and its causes.
    pub fn caused(kind: ErrorKind, error: impl Into<anyhow::Error>) -> Self {
        Self {
            kind,
            error: error.into(),
            hint: None,
        }
    }

    /// Adds what the operator can do, one sentence in the imperative.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        let hint = hint.to_string();
        self.hint = Some(lines(&without_keys(&hint)).into_owned());
        self
    }

    /// Adds a sentence to what the operator can do, on a line of its own.
    #[must_use]
    pub fn also_hint(self, more: impl fmt::Display) -> Self {
        match self.hint.clone() {
            None => self.hint(more),
            Some(hint) => self.hint(format_args!("{hint}\n{more}")),
        }
    }

    /// Puts `context` before the message, as in "context: message".
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display + Send + Sync + 'static) -> Self {
        self.error = self.error.context(context);
        self
    }

    /// Returns the message with all its causes on one line, safe for a terminal, and without any
    /// key that somebody gave as a name.
    #[must_use]
    pub fn message(&self) -> String {
        let message = in_plain_words(&format!("{:#}", self.error));
        one_line(&without_keys(&message)).into_owned()
    }

    /// Returns what the operator can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns the kind, on which callers branch.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Returns the system's text for an error, without the number that Rust adds.
#[must_use]
pub(crate) fn reason(error: &std::io::Error) -> String {
    in_plain_words(&error.to_string())
}

/// Removes what Rust's standard library adds to messages, such as " (os error 2)".
fn in_plain_words(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        let digits = after.trim_start_matches(|c: char| c.is_ascii_digit());
        text.push_str(before);
        rest = digits.strip_prefix(')').unwrap_or(digits);
    }
    // This message comes from the standard library, not from the system.
    (text + rest).replace("stream did not contain valid UTF-8", "it is not UTF-8 text")
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::caused(ErrorKind::Error, error)
    }
}

/// The message with all its causes on one line, then the hint, if any, on a second.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_told_without_rusts_number() {
        let error = std::io::Error::from_raw_os_error(2);
        assert!(error.to_string().contains("os error"), "{error}");
        assert_eq!(reason(&error), "No such file or directory");
        let failure = Failure::caused(ErrorKind::Error, error).context("cannot read x");
        assert_eq!(
            failure.message(),
            "cannot read x: No such file or directory"
        );
    }
}
