//! The operator's word before anything is written: an option, or an answer on a terminal.

use std::io::{self, IsTerminal as _, Write as _};

use crate::cli::WriteArgs;
use crate::failure::{Failure, Kind};
use crate::printable::one_line;
use crate::repair::policy::WriteConsent;

/// Whether the operator is to be asked; refused where there is nobody to ask.
pub(super) fn asks(write: &WriteArgs, command: &str) -> Result<bool, Failure> {
    let asks = !write.dry_run && !write.yes;
    if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::new(
            Kind::Usage,
            format!("{command} asks before it writes, and there is no terminal to ask on"),
        )
        .hint("say --yes to write, or --dry-run to look"));
    }
    Ok(asks)
}

/// Asks on the terminal; `question` says what would be written, and where.
pub(super) async fn ask(question: &str) -> Result<Option<WriteConsent>, Failure> {
    let asked = write!(io::stderr(), "\n{} [y/N] ", one_line(question));
    asked.map_err(anyhow::Error::from)?;
    // On a thread of its own, so that a signal is heard while the operator thinks.
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = line
        .await
        .map_err(anyhow::Error::from)?
        .map_err(|error| anyhow::Error::from(error).context("cannot read the answer"))?;
    Ok(WriteConsent::from_answer(&line))
}
