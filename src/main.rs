//! Parses, runs, and exits.

use std::process::ExitCode;

use mcp_prune::cli::Command;
use mcp_prune::cli::option_rules::CommandLine;
use mcp_prune::commands::run::Run;
use mcp_prune::commands::{access, doctor, fix, grants, ids, manual, scan, undo};
use mcp_prune::exit::{self, Outcome};
use mcp_prune::failure::{Failure, Kind};
use mcp_prune::usage_message;

fn main() -> ExitCode {
    let line = match CommandLine::parse(std::env::args_os()) {
        Ok(line) => line,
        Err(message) => {
            // `--help` and `--version` come as errors too, which go to stdout.
            let printed = usage_message::print(&message).is_ok();
            return match (message.use_stderr(), printed) {
                (true, _) => exit::code(Outcome::Failed(Kind::Usage), false).into(),
                (false, _) => ExitCode::SUCCESS,
            };
        }
    };
    let CommandLine { command, rules } = line;
    let code = Run::new().of(&command, rules, |run| execute(&command, run));
    code.into()
}

fn execute(command: &Command, run: &mut Run) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused(Kind::Error, error))?;
    let outcome = match command {
        Command::Scan(args) => runtime.block_on(scan::run(args, run)),
        Command::Fix(args) => runtime.block_on(fix::run(args, run)),
        Command::Undo(args) => runtime.block_on(undo::run(args, run)),
        Command::Access(args) => runtime.block_on(access::run(args, run)),
        Command::Ids(args) => runtime.block_on(ids::run(args, run)),
        Command::Grants(args) => runtime.block_on(grants::run(args, run)),
        Command::Doctor(args) => runtime.block_on(doctor::run(args, run)),
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { command } => manual::page(command.as_deref()),
    };
    // A thread may still wait for an answer at the prompt that a signal ended.
    runtime.shutdown_background();
    outcome
}
