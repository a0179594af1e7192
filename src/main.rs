//! Starts the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_prune::run(std::env::args_os())
}
