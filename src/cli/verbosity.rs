//! The option that says how much is told on stderr about what is done.

use clap::{ArgAction, Args};

use crate::cli::option_rules::usage;
use crate::cli::output::OUTPUT;
use crate::error::Failure;

/// The variable that stands for the option.
pub(crate) const LOG: &str = "MCP_PRUNE_LOG";

/// How much is told on stderr about what is done.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Tell on stderr what is done and how long it takes; -vv also tells each statement
    ///
    /// Only the text of a statement is told, never a value. With --quiet, these lines are printed
    /// only if something else is printed. MCP_PRUNE_LOG stands for the option: info for -v, debug
    /// for -vv. The option wins.
    // Not read by clap: the variable has names for its values, and the option has none.
    #[arg(long, short, action = ArgAction::Count, help_heading = OUTPUT, display_order = 900)]
    pub verbose: u8,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Only what every run tells.
    Off,
    /// The steps of the run, with their times.
    Steps,
    /// Each statement as well.
    Statements,
}

impl LogArgs {
    /// Returns how much is told, by the option or else by the variable.
    pub(crate) fn verbosity(&self) -> Result<Verbosity, Failure> {
        let variable = std::env::var_os(LOG).unwrap_or_default();
        let variable = variable.to_string_lossy();
        match (self.verbose, variable.as_ref()) {
            (0, "" | "off" | "0") => Ok(Verbosity::Off),
            (0, "info" | "1") | (1, _) => Ok(Verbosity::Steps),
            (0, "debug" | "2") | (2.., _) => Ok(Verbosity::Statements),
            (0, _) => Err(usage(format!(
                "{LOG} is none of off, info and debug (or 0, 1 and 2)"
            ))
            .hint(format_args!("correct {LOG}, or unset it"))),
        }
    }
}
