//! What kept the tool from doing its work: the one error type that reaches `main`.
//!
//! A finding is never a [`Failure`]: stale references are the answer, not an error.

use std::fmt;

use crate::litellm::api_key::without_keys;
use crate::printable::{lines, one_line};

/// The kinds of failure that a caller or a script treats differently.
///
/// [`crate::exit::code`] gives each its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything without a kind of its own; nothing was written.
    Error,
    /// A guard refused to work on this database.
    Refused,
    /// What was planned or agreed to is no longer what the database holds.
    Moved,
    /// Others were writing the same rows, and a lock was not to be had in time.
    Busy,
    /// Another run of this tool holds the lock that one run at a time holds.
    Taken,
    /// No connection, no authentication, or a missing privilege.
    Access,
    /// The command line asks for something that cannot be.
    Usage,
    /// The reader of standard output went away.
    BrokenPipe,
    /// A signal, by its number.
    Interrupted(u8),
}

/// What happened, in short.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "it failed",
            Self::Refused => "a guard refused",
            Self::Moved => "changed meanwhile",
            Self::Busy => "busy: others hold locks",
            Self::Taken => "busy: another run is at it",
            Self::Access => "no access",
            Self::Usage => "wrong usage",
            Self::BrokenPipe => "nobody reads",
            Self::Interrupted(signal) => return write!(f, "ended by signal {signal}"),
        })
    }
}

/// Why a command could not do its work, and what the operator can do about it.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// Makes a failure of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self::caused(kind, anyhow::anyhow!("{message}"))
    }

    /// Makes a failure of `kind` out of an error and its causes.
    pub fn caused(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
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

    /// Puts `context` before the message, as in "context: message".
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display + Send + Sync + 'static) -> Self {
        self.error = self.error.context(context);
        self
    }

    /// Returns the message with all its causes, on one line, fit to be shown on a terminal and less any key
    /// that somebody took for a name.
    #[must_use]
    pub fn message(&self) -> String {
        let message = format!("{:#}", self.error);
        one_line(&without_keys(&message)).into_owned()
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The kind a caller branches on.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::caused(Kind::Error, error)
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
