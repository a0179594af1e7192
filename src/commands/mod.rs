//! The subcommands. Each file or folder holds the arguments and the work of one. This file lists
//! them, parses the command line and runs it.

pub(crate) mod access;
mod access_callers;
mod access_gone_server;
mod access_output;
mod access_question;
mod access_what_if;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod fix;
pub(crate) mod grants;
pub(crate) mod history;
pub(crate) mod ids;
pub(crate) mod scan;
pub(crate) mod show;
pub(crate) mod undo;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::build_info;
use crate::cli::site_variables::{self, OptionsOfVariables};
use crate::commands::access::AccessArgs;
use crate::commands::completions::{CompletionsArgs, ManArgs};
use crate::commands::doctor::DoctorArgs;
use crate::commands::fix::FixArgs;
use crate::commands::grants::GrantsArgs;
use crate::commands::history::HistoryArgs;
use crate::commands::ids::IdsArgs;
use crate::commands::scan::ScanArgs;
use crate::commands::show::ShowArgs;
use crate::commands::undo::UndoArgs;
use crate::error::{ErrorKind, Failure};
use crate::exit_code::{self, Outcome};
use crate::process::command_args::CommandArgs;
use crate::process::invocation::Run;
use crate::process::log;
use crate::usage_message;
use crate::workflow::named_files::{one_file_each, replace_no_changeset};

/// A command line that clap accepts.
#[derive(Debug)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// The rule between options that it breaks, if any.
    pub rules: Result<(), Failure>,
    /// The options that variables gave.
    pub variables: OptionsOfVariables,
}

impl Invocation {
    /// Parses the words of a command line, the program's name first, and checks every rule.
    ///
    /// # Errors
    ///
    /// clap's message, which may be help or the version.
    pub fn parse<W: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let (mut definition, matches) = site_variables::parse(Cli::command, &words)?;
        let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))?;
        let given = site_variables::given(&definition, &matches);
        let variables = given.map(OptionsOfVariables::of).unwrap_or_default();
        let mut command = cli.command;
        let servers = match &mut command {
            Command::Scan(args) => Some(&mut args.servers),
            Command::Fix(args) => Some(&mut args.servers),
            Command::Undo(_)
            | Command::History(_)
            | Command::Show(_)
            | Command::Access(_)
            | Command::Ids(_)
            | Command::Grants(_)
            | Command::Doctor(_)
            | Command::Completions(_)
            | Command::Man(_) => None,
        };
        if let Some(servers) = servers {
            servers.keep_is_of_variable = variables.gave("--keep");
        }
        Ok(Self {
            command,
            rules: given.map_or(Ok(()), |given| given.check()),
            variables,
        })
    }
}

/// Finds and repairs stale MCP-server references in a LiteLLM proxy's PostgreSQL database.
///
/// When an MCP server is deleted, LiteLLM leaves its id in every key, team and organization that
/// was granted it. `scan` reports these stale references. `fix` removes them in one transaction,
/// and holds those whose removal would widen somebody's access.
#[derive(Debug, Parser)]
#[command(
    version = build_info::VERSION,
    long_version = build_info::LONG_VERSION,
    propagate_version = true,
    max_term_width = 100,
    after_help = exit_code::help("mcp-prune", EXAMPLES)
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mcp-prune scan --db-url postgresql://readonly@db/litellm
  mcp-prune fix --dry-run  (database from DATABASE_URL or other variables)
  mcp-prune fix --yes --format json";

/// The subcommands.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, once")]
pub enum Command {
    /// Report stale references; never writes
    Scan(ScanArgs),
    /// Remove stale references in one transaction
    Fix(Box<FixArgs>),
    /// Take back a repair: put back what its journal holds
    Undo(UndoArgs),
    /// List the journals: which runs changed what, and which were undone
    History(HistoryArgs),
    /// Print what a journal or a plan holds
    Show(ShowArgs),
    /// Tell who may use which servers and tools, and why; never writes
    Access(AccessArgs),
    /// Print the ids that LiteLLM gives to the servers of a config.yaml
    Ids(IdsArgs),
    /// Print the GRANT statements that a role needs
    Grants(GrantsArgs),
    /// Check that this database, role and machine are ready for scan and fix; never writes
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page of the program, or of one command
    Man(ManArgs),
}

impl Command {
    /// Returns the arguments of the subcommand.
    pub(crate) fn args(&self) -> &dyn CommandArgs {
        match self {
            Self::Scan(args) => args,
            Self::Fix(args) => args.as_ref(),
            Self::Undo(args) => args,
            Self::History(args) => args,
            Self::Show(args) => args,
            Self::Access(args) => args,
            Self::Ids(args) => args,
            Self::Grants(args) => args,
            Self::Doctor(args) => args,
            Self::Completions(args) => args,
            Self::Man(args) => args,
        }
    }
}

/// Parses a command line, the program's name first, runs it, and returns the exit code.
#[must_use]
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Invocation {
        command,
        rules,
        variables,
    } = match Invocation::parse(words) {
        Ok(invocation) => invocation,
        Err(message) => {
            // `--help` and `--version` come as errors too, which go to stdout.
            let printed = usage_message::print(&message).is_ok();
            return match (message.use_stderr(), printed) {
                (true, _) => exit_code::code(Outcome::Failed(ErrorKind::Usage)).into(),
                (false, _) => ExitCode::SUCCESS,
            };
        }
    };
    let args = command.args();
    let rules = rules.and_then(|()| one_file_each(args));
    let rules = rules.and_then(|()| replace_no_changeset(args));
    let rules = rules.map_err(|failure| variables.named_in(failure));
    let work = |run: &mut Run| {
        if let Some(told) = variables.told() {
            log::tell(told);
        }
        execute(args, run).map_err(|failure| variables.named_in(failure))
    };
    Run::new().of(args, rules, work).into()
}

/// Runs a `fix` whose plan nobody accepted, for a test of what stops it. Returns what kind of
/// failure stopped it, and its message; `None` where nothing did.
#[must_use]
pub fn run_unaccepted_fix(
    words: impl IntoIterator<Item = OsString>,
) -> Option<(ErrorKind, String)> {
    let invocation = Invocation::parse(words).ok()?;
    let Command::Fix(args) = &invocation.command else {
        return None;
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().ok()?;
    let outcome = runtime.block_on(fix::run_unaccepted(args, &mut Run::new()));
    let failure = outcome.err()?;
    Some((failure.kind(), failure.message()))
}

/// Runs a command on an asynchronous runtime of this one thread.
fn execute(args: &dyn CommandArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused(ErrorKind::Error, error))?;
    let outcome = runtime.block_on(args.run(run));
    // After a signal, a thread may still wait at the prompt for an answer.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::servers::kept_sources;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_is_read_at_80_columns() {
        let definition = Cli::command();
        for command in std::iter::once(&definition).chain(definition.get_subcommands()) {
            let Some(help) = command.get_after_help() else {
                continue;
            };
            let help = help.to_string();
            let name = command.get_name();
            let mut before = "";
            for line in help.lines() {
                // A terminal breaks a paragraph, which is one line here, and no list or example.
                if line.starts_with("  ") {
                    assert!(line.chars().count() <= 80, "{name}: {line}");
                } else if !line.is_empty() {
                    assert_eq!(before, "", "{name}: a paragraph is broken at {line}");
                }
                before = line;
            }
        }
    }

    #[test]
    fn every_help_lists_the_exit_codes_of_its_command() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().unwrap().to_string();
            let codes = exit_code::help(command.get_name(), "");
            assert!(help.ends_with(&codes), "{help}");
            let of_program = exit_code::help("mcp-prune", "");
            assert_ne!(codes, of_program, "{}", command.get_name());
        }
    }

    #[test]
    fn a_keep_entry_with_an_at_sign_is_a_file() {
        let keep = ["gh".to_owned(), "@keep.txt".to_owned()];
        assert_eq!(
            kept_sources(&keep),
            (vec!["gh".to_owned()], vec![Path::new("keep.txt")])
        );
    }
}
