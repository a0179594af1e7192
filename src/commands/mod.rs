//! The subcommands, one file each, from arguments to outcome; and in this file what they share.

pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod fix;
pub(crate) mod grants;
pub(crate) mod ids;
pub(crate) mod scan;
pub(crate) mod undo;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::cli::connection::ConnectionArgs;
use crate::cli::option_rules::Given;
use crate::cli::output::OutputArgs;
use crate::cli::servers::{ServerArgs, kept_sources};
use crate::commands::doctor::DoctorArgs;
use crate::commands::fix::FixArgs;
use crate::commands::grants::GrantsArgs;
use crate::commands::ids::IdsArgs;
use crate::commands::scan::ScanArgs;
use crate::commands::undo::UndoArgs;
use crate::error::{ErrorKind, Failure};
use crate::exit_code::{self, Outcome};
use crate::process::invocation::Run;
use crate::usage_message;

/// A command line that clap accepts.
#[derive(Debug)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// The rule between options that it breaks, if any.
    pub rules: Result<(), Failure>,
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
        let mut definition = Cli::command();
        let matches = definition.try_get_matches_from_mut(words)?;
        let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))?;
        let given = matches.subcommand().and_then(|(name, matches)| {
            let definition = definition.find_subcommand(name)?;
            Some(Given {
                definition,
                matches,
            })
        });
        Ok(Self {
            command: cli.command,
            rules: given.map_or(Ok(()), |given| given.check()),
        })
    }
}

/// Finds and repairs stale MCP-server references in a LiteLLM proxy's PostgreSQL database.
///
/// When an MCP server is deleted, LiteLLM leaves its id in every grant. `scan` reports the grants
/// that name deleted servers. `fix` removes these references in one transaction, and holds those
/// whose removal would widen somebody's access.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mcp-prune scan --db-url postgresql://readonly@db/litellm
  mcp-prune fix --dry-run  (database from DATABASE_URL or other variables)
  mcp-prune fix --yes --format json

Exit codes:
  0 clean or repaired, 1 error, 2 stale or unverified found,
  3 repaired but some held, 4 refused, 5 changed meanwhile, 6 busy,
  7 no access, 64 usage, 128+N ended by signal N";

/// The subcommands.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
pub enum Command {
    /// Report stale references; never writes
    Scan(ScanArgs),
    /// Remove stale references in one transaction
    Fix(FixArgs),
    /// Take back a repair: put back what its journal holds
    Undo(UndoArgs),
    /// Print the ids that LiteLLM gives to the servers of a config.yaml
    Ids(IdsArgs),
    /// Print the GRANT statements that a role needs
    Grants(GrantsArgs),
    /// Check that this database, role and machine are ready for scan and fix; never writes
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program, or of one command
    Man {
        /// The command
        command: Option<String>,
    },
}

impl Command {
    /// Returns the output options of a command that makes a report.
    #[must_use]
    pub fn output(&self) -> Option<&OutputArgs> {
        match self {
            Self::Scan(args) => Some(&args.output),
            Self::Fix(args) => Some(&args.output),
            Self::Undo(args) => Some(&args.output),
            Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => None,
        }
    }

    /// Tells whether findings and held references count as success.
    #[must_use]
    pub fn exit_zero(&self) -> bool {
        match self {
            Self::Scan(args) => args.exit_zero,
            Self::Fix(args) => args.exit_zero,
            Self::Undo(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => false,
        }
    }

    /// Returns the command's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scan(_) => "scan",
            Self::Fix(_) => "fix",
            Self::Undo(_) => "undo",
            Self::Ids(_) => "ids",
            Self::Grants(_) => "grants",
            Self::Doctor(_) => "doctor",
            Self::Completions { .. } => "completions",
            Self::Man { .. } => "man",
        }
    }

    /// Lists the files that the command writes, and the changeset that it reads, each with the name
    /// of its option.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        let [journal, plan_out, changeset] = match self {
            Self::Fix(args) => [
                ("--journal", args.repair.write.journal.journal.as_deref()),
                ("--plan-out", args.repair.plan_out.as_deref()),
                ("--plan", args.repair.plan.as_deref()),
            ],
            Self::Undo(args) => [
                ("--journal", args.write.journal.journal.as_deref()),
                ("--plan-out", None),
                ("JOURNAL", Some(args.from.as_path())),
            ],
            Self::Scan(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => [("", None); 3],
        };
        let metrics = self.output().and_then(OutputArgs::metrics_file);
        let files = [
            ("--output", self.file()),
            ("--metrics-file", metrics),
            journal,
            plan_out,
            changeset,
        ];
        let named = files.into_iter();
        named
            .filter_map(|(name, file)| Some((name, file?)))
            .collect()
    }

    /// Returns the connection options of a command that connects to a database.
    #[must_use]
    pub fn connection(&self) -> Option<&ConnectionArgs> {
        match self {
            Self::Scan(args) => Some(&args.connection),
            Self::Fix(args) => Some(&args.connection),
            Self::Undo(args) => Some(&args.connection),
            Self::Grants(args) => Some(&args.connection),
            Self::Doctor(args) => Some(&args.connection),
            Self::Ids(_) | Self::Completions { .. } | Self::Man { .. } => None,
        }
    }

    fn servers(&self) -> Option<&ServerArgs> {
        match self {
            Self::Scan(args) => Some(&args.servers),
            Self::Fix(args) => Some(&args.servers),
            Self::Doctor(args) => Some(&args.servers),
            Self::Undo(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Completions { .. }
            | Self::Man { .. } => None,
        }
    }

    /// Returns the config.yaml files that options name, for a command that reads any.
    #[must_use]
    pub fn litellm_configs(&self) -> Option<&[PathBuf]> {
        if let Self::Ids(args) = self {
            return Some(&args.litellm_config);
        }
        let servers = self.servers().filter(|servers| !servers.no_config_servers);
        servers.map(|servers| servers.litellm_config.as_slice())
    }

    /// Lists the files that options name and that are only read, each with the name of its option.
    ///
    /// Not those of [`Self::litellm_configs`], which may come from the environment as well.
    #[must_use]
    pub fn files_read(&self) -> Vec<(&'static str, &Path)> {
        let (previous, remaps) = match self {
            Self::Scan(args) => (Some(&args.previous), None),
            Self::Fix(args) => (
                Some(&args.repair.previous),
                args.repair.remap_file.as_deref(),
            ),
            Self::Undo(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => (None, None),
        };
        let url = self
            .connection()
            .and_then(|args| args.db_url_file.as_deref());
        let mut files = Vec::new();
        files.extend(url.map(|file| ("--db-url-file", file)));
        files.extend(remaps.map(|file| ("--remap-file", file)));
        let previous = previous
            .into_iter()
            .flat_map(|args| &args.previous_litellm_config);
        files.extend(previous.map(|file| ("--previous-litellm-config", file.as_path())));
        let keep = self.servers().map(|servers| kept_sources(&servers.keep).1);
        let keep = keep.into_iter().flatten();
        files.extend(keep.map(|file| ("--keep", file)));
        files
    }

    /// Returns the file of `--output`; `None` where the answer goes to stdout.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        let file = match self {
            Self::Scan(args) => &args.output.file,
            Self::Fix(args) => &args.output.file,
            Self::Undo(args) => &args.output.file,
            Self::Ids(args) => &args.answer.file,
            Self::Doctor(args) => &args.answer.file,
            Self::Grants(_) | Self::Completions { .. } | Self::Man { .. } => return None,
        };
        let file = file.output.as_deref();
        file.filter(|file| *file != Path::new("-"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::connection::{positive_seconds, seconds};

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
    fn a_keep_entry_with_an_at_sign_is_a_file() {
        let keep = ["gh".to_owned(), "@keep.txt".to_owned()];
        assert_eq!(
            kept_sources(&keep),
            (vec!["gh".to_owned()], vec![Path::new("keep.txt")])
        );
    }

    #[test]
    fn timeouts_are_seconds_within_what_the_server_takes() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for text in ["-1", "x", "NaN", "inf", "2147484", "0.0004"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(positive_seconds("0").is_err());
        assert!(positive_seconds("0.001").is_err());
        assert_eq!(positive_seconds("5"), Ok(Duration::from_secs(5)));
    }
}

/// Parses a command line, the program's name first, runs it, and returns the exit code.
#[must_use]
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let invocation = match Invocation::parse(words) {
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
    let Invocation { command, rules } = invocation;
    Run::new()
        .of(&command, rules, |run| execute(&command, run))
        .into()
}

fn execute(command: &Command, run: &mut Run) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused(ErrorKind::Error, error))?;
    let outcome = match command {
        Command::Scan(args) => runtime.block_on(scan::run(args, run)),
        Command::Fix(args) => runtime.block_on(fix::run(args, run)),
        Command::Undo(args) => runtime.block_on(undo::run(args, run)),
        Command::Ids(args) => runtime.block_on(ids::run(args, run)),
        Command::Grants(args) => runtime.block_on(grants::run(args, run)),
        Command::Doctor(args) => runtime.block_on(doctor::run(args, run)),
        Command::Completions { shell } => completions::completions(*shell),
        Command::Man { command } => completions::page(command.as_deref()),
    };
    // After a signal, a thread may still wait at the prompt for an answer.
    runtime.shutdown_background();
    outcome
}
