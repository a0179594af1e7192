//! `completions` and `man`: print what packagers install beside the program.

use std::future::ready;
use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::commands::Cli;
use crate::error::{ErrorKind, Failure};
use crate::exit_code::Outcome;
use crate::process::command_args::{CommandArgs, Work};
use crate::process::invocation::Run;

const NAME: &str = "mcp-prune";

/// The arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CommandArgs for CompletionsArgs {
    fn name(&self) -> &'static str {
        "completions"
    }

    fn run<'a>(&'a self, _: &'a mut Run) -> Work<'a> {
        Box::pin(ready(completions(self.shell)))
    }
}

/// The arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The command
    command: Option<String>,
}

impl CommandArgs for ManArgs {
    fn name(&self) -> &'static str {
        "man"
    }

    fn run<'a>(&'a self, _: &'a mut Run) -> Work<'a> {
        Box::pin(ready(page(self.command.as_deref())))
    }
}

/// Prints the completion script of a shell.
///
/// # Errors
///
/// Where it could not be printed.
fn completions(shell: Shell) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    printed(&script)
}

/// Prints the manual page of the program, or of one of its commands.
///
/// # Errors
///
/// Where there is no such command, and where it could not be printed.
fn page(command: Option<&str>) -> Result<Outcome, Failure> {
    // `mcp-prune help` has no page of its own, so no page may refer to one.
    // A page is of the version, and not of one build.
    let mut program = Cli::command()
        .disable_help_subcommand(true)
        .long_version(None::<&str>);
    program.build();
    let command = match command {
        None => Some(program),
        Some(name) => program.find_subcommand(name).cloned(),
    };
    let command = command.ok_or_else(|| {
        Failure::new(ErrorKind::Usage, "there is no such command")
            .hint("mcp-prune --help lists them")
    })?;
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        // Without this, the page of a command would name the command alone.
        .source(concat!("mcp-prune ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .context("cannot make the manual page")?;
    printed(&page)
}

/// Prints text as it is.
pub(crate) fn printed(text: &[u8]) -> Result<Outcome, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(Outcome::Looked { found: false }),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::new(
            ErrorKind::BrokenPipe,
            "standard output was closed",
        )),
        Err(error) => Err(Failure::caused(ErrorKind::Error, error)),
    }
}
