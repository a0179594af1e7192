//! Asks the operator before anything is written, unless an option has answered already.

use std::io::{self, IsTerminal as _, Write as _};

use crate::cli::repair::WriteArgs;
use crate::error::{ErrorKind, Failure};
use crate::printable::one_line;
use crate::repair::policy::WriteConsent;

/// Returns whether the operator is to be asked. Fails if that is needed and there is no terminal.
pub(crate) fn asks(write: &WriteArgs, command: &str) -> Result<bool, Failure> {
    let asks = !write.dry_run && !write.yes;
    if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::new(
            ErrorKind::Usage,
            format!("{command} asks before it writes, and there is no terminal to ask on"),
        )
        .hint("say --yes to write, or --dry-run to look"));
    }
    Ok(asks)
}

/// Asks `question` on the terminal: what would be written, and where.
pub(crate) async fn ask(question: &str) -> Result<Option<WriteConsent>, Failure> {
    let asked = write!(io::stderr(), "\n{} [y/N] ", one_line(question));
    asked.map_err(anyhow::Error::from)?;
    // On a thread of its own, so that a signal still ends the run while the operator thinks.
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
