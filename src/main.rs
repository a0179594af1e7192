//! Parses, runs, prints the error, and exits.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use mcp_prune::cli::{Cli, Command, Format};
use mcp_prune::commands::{doctor, fix, grants, ids, manual, scan, undo};
use mcp_prune::exit::{self, Outcome};
use mcp_prune::failure::{Failure, Kind};
use mcp_prune::report::ndjson;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // `--help` and `--version` come as errors too, which go to stdout.
            let printed = message.print().is_ok();
            return match (message.use_stderr(), printed) {
                (true, _) => exit::code(Outcome::Failed(Kind::Usage), false).into(),
                (false, _) => ExitCode::SUCCESS,
            };
        }
    };
    let (outcome, exit_zero) = run(&cli);
    let outcome = outcome.unwrap_or_else(|failure| {
        if failure.kind() != Kind::BrokenPipe {
            tell(&cli, &failure);
        }
        Outcome::Failed(failure.kind())
    });
    exit::code(outcome, exit_zero).into()
}

/// Says why the command failed: to people on stderr, and where the report is a stream, as its end.
fn tell(cli: &Cli, failure: &Failure) {
    // Nobody is left to tell if stdout or stderr is gone.
    if cli
        .command
        .output()
        .is_some_and(|output| output.format == Format::Ndjson)
    {
        let code = exit::code(Outcome::Failed(failure.kind()), false);
        let _ = ndjson::write_error(failure, code, &mut io::stdout().lock());
    }
    let _ = writeln!(io::stderr(), "error: {failure}");
}

fn run(cli: &Cli) -> (Result<Outcome, Failure>, bool) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return (Err(Failure::caused(Kind::Error, error)), false);
        }
    };
    let ended = match &cli.command {
        Command::Scan(args) => (runtime.block_on(scan::run(args)), args.exit_zero),
        Command::Undo(args) => (runtime.block_on(undo::run(args)), false),
        Command::Ids(args) => (runtime.block_on(ids::run(args)), false),
        Command::Grants(args) => (runtime.block_on(grants::run(args)), false),
        Command::Doctor(args) => (runtime.block_on(doctor::run(args)), false),
        Command::Completions { shell } => (manual::completions(*shell), false),
        Command::Man { command } => (manual::page(command.as_deref()), false),
        Command::Fix(args) => (runtime.block_on(fix::run(args)), args.exit_zero),
    };
    // A thread may still wait for an answer at the prompt that a signal ended.
    runtime.shutdown_background();
    ended
}
